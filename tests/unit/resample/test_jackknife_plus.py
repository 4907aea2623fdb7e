"""Jackknife+ over periods: hand-worked bounds, refusals, coverage."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from pmg_eval import did, resample, synth
from pmg_eval.errors import DataError, DesignError, InferenceError

pytestmark = pytest.mark.filterwarnings("ignore::pmg_eval.PmgEvalWarning")  # what the real fit says of itself

KEEP = partial(synth.classic, poor_fit="keep")


def against_zero(path: list[float], start: int) -> pe.Panel:
    """One treated area with this path, three comparison areas at zero: ``did.imputation`` subtracts the mean past."""
    rows = [("A", t, start, value) for t, value in enumerate(path)]
    rows += [(f"d{j}", t, -1, 0.0) for j in range(3) for t in range(len(path))]
    table = pd.DataFrame(rows, columns=["area", "year", "start", "rate"])
    return pe.Panel(table, unit="area", time="year", cohort="start", never=-1)


HAND = against_zero([0, 3, 6, 10, 7], 3)
"""Without 0, 3, 6 the past is 4.5, 3, 1.5: errors -4.5, 0, 4.5; gaps of the first treated period 5.5, 7, 8.5."""


def test_bounds_by_hand() -> None:
    """Gap minus |error|: 1, 7, 4; plus: 10, 7, 13. Medians (level 0) 4 and 10; quartiles (level 0.5) 2.5 and 11.5."""
    found = resample.jackknife_plus(did.imputation, HAND, "rate", level=0.5, quantile="interpolated")
    assert found.details is not None
    first = found.details.iloc[0]
    assert_allclose([first["estimate"], first["conf_low"], first["conf_high"]], [7, 2.5, 11.5])
    # mean effect: gaps 4, 5.5, 7; minus |error| -0.5, 5.5, 2.5; plus 8.5, 5.5, 11.5
    assert_allclose([found.estimate, found.conf_low, found.conf_high], [5.5, 1, 10])
    assert found.details["p_value"].tolist() == [0.5, 1.0]  # none of 1, 7, 4 is below zero; -2, 4, 1 has one
    assert found.p_value == 1.0
    assert found.p_min == 0.5


def test_conservative_bounds_by_hand() -> None:
    """Smallest gap 5.5 minus, largest 8.5 plus the median error 4.5 (level 0.5)."""
    found = resample.jackknife_plus(did.imputation, HAND, "rate", level=0.5, conservative=True, quantile="interpolated")
    assert found.details is not None
    assert_allclose(found.details.loc[0, ["conf_low", "conf_high"]].tolist(), [1, 13])
    assert found.details["p_value"].tolist() == [0.25, 0.75]  # no error reaches 5.5; two of three reach 2.5
    assert found.p_min == 0.25


def test_order_statistics_by_hand() -> None:
    """Three periods: the smallest and largest at level 0.5, nothing above it."""
    found = resample.jackknife_plus(did.imputation, HAND, "rate", level=0.5, quantile="order")
    assert found.details is not None
    assert_allclose(found.details.loc[0, ["conf_low", "conf_high"]].tolist(), [1, 13])
    assert found.note == ""
    with pytest.raises(InferenceError, match=r"PMG-UNATTAINABLE.*39 periods.*there are 3.*level=0\.5"):
        resample.jackknife_plus(did.imputation, HAND, "rate", quantile="order")
    lax = resample.jackknife_plus(did.imputation, HAND, "rate", quantile="interpolated")
    assert lax.note == "3 periods guarantee no 95% interval: the bounds interpolate"


def test_p_and_order_statistics_agree() -> None:
    """At every attainable level, zero lies outside the interval exactly when p <= 1 - level."""
    rng = np.random.default_rng(4)
    panel = against_zero([*rng.normal(size=19), 1.2, 0.4], 19)
    for conservative, sides in ((False, 2), (True, 1)):
        for rank in range(1, 4):
            level = 1 - sides * rank / 20
            found = resample.jackknife_plus(
                did.imputation, panel, "rate", level=level, quantile="order", conservative=conservative
            )
            assert found.details is not None
            for row in found.details.itertuples():
                assert (row.p_value <= 1 - level + 1e-12) == (not row.conf_low <= 0 <= row.conf_high)


def test_intervals_of_single_periods_cover() -> None:
    """Order statistics at 80 % (19 earlier periods): at least 80 % of errors inside, about 90 % in truth."""
    rng = np.random.default_rng(5)
    inside = []
    for _ in range(6):
        panel = against_zero(rng.normal(size=29).tolist(), 19)
        table = resample.jackknife_plus(did.imputation, panel, "rate", level=0.8, quantile="order").details
        assert table is not None
        inside += (table["conf_low"].le(0) & table["conf_high"].ge(0)).tolist()
    assert np.mean(inside) >= 0.8
    assert np.mean(inside) <= 0.97


@pytest.mark.parametrize("estimator", [KEEP, did.imputation, synth.sdid])
def test_shift_scale_and_a_constant_effect(estimator: Any) -> None:
    """What all areas share cancels (for sdid, whose penalty depends on changes over time: a level)."""
    rng = np.random.default_rng(6)
    rate = rng.normal(10, 1, (6, 12))
    rows = [(i, t, 9 if i == 0 else -1, rate[i, t]) for i in range(6) for t in range(12)]
    table = pd.DataFrame(rows, columns=["area", "year", "start", "rate"])
    after = (table["area"] == 0) & (table["year"] >= 9)
    trend = 100 if estimator is synth.sdid else table["year"]
    moved = table.assign(rate=-2 * (table["rate"] + trend + 3 * after))
    first, second = (
        resample.jackknife_plus(
            estimator, pe.Panel(part, unit="area", time="year", cohort="start", never=-1), "rate", level=0.8
        )
        for part in (table, moved)
    )
    assert_allclose(second.estimate, -2 * (first.estimate + 3), rtol=1e-7)
    assert_allclose(
        [second.conf_high, second.conf_low], -2 * (np.array([first.conf_low, first.conf_high]) + 3), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        ({"quantile": "R"}, DataError, "PMG-OPTION"),
        ({"level": 0}, DataError, "PMG-LEVEL"),
        ({"unit": "d1"}, DataError, "PMG-UNIT"),
        ({"anticipation": 1}, DesignError, "PMG-SHORT-PRE"),
    ],
)
def test_options_are_checked(options: dict[str, Any], error: type[Exception], code: str) -> None:
    with pytest.raises(error, match=code):
        resample.jackknife_plus(did.imputation, HAND, "rate", **options)


def test_estimators_without_units_are_refused() -> None:
    with pytest.raises(InferenceError, match="PMG-NO-GAPS"):
        resample.jackknife_plus(lambda p, y: did.imputation(p, y).average(by="event_time"), HAND, "rate", level=0.4)
