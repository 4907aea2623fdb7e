"""Rows cut off on purpose are not missing data."""

from functools import partial

import numpy as np
import pandas as pd

import pmg_eval as pe
from pmg_eval import did, resample


def test_placebo_in_time_with_covariates() -> None:
    """The estimator applies the policy for missing cells once more for its covariates."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        [
            (i, t, 2016 if i < 6 else 0, (7 * i) % 11 * 0.1, rng.normal(), rng.normal())
            for i in range(30)
            for t in range(2010, 2020)
        ],
        columns=["area", "year", "start", "x", "z", "y"],
    )
    panel = pe.Panel(frame, unit="area", time="year", cohort="start", never=0)
    for estimator in (partial(did.group_time, covariates="~ x"), partial(did.imputation, covariates="~ z")):
        found = resample.placebo_in_time(estimator, panel, "y", periods=2).average()
        assert np.isfinite(found.values).all()
        # the periods after the real start are gone
        assert found.se[0] > 0
