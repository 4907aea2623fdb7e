"""The effect of every treated area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pmg_eval import did
from pmg_eval.estimate import Estimate
from pmg_eval.evaluation._family import for_areas
from pmg_eval.infer import default
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample import PlaceboDetails
from pmg_eval.typing import Estimator


def effect_per_area(
    panel: Panel,
    outcome: str,
    *,
    estimator: Estimator = did.imputation,
    eligible: Sequence[Any] | None = None,
    draws: int = 19_999,
    rng: int | np.random.Generator = 0,
    n_jobs: int = 1,
) -> Estimate[PlaceboDetails]:
    r"""What the programme did in each treated area, with an interval that holds for one area.

    The influence function of a single treated area is zero on its own row, so no clustered standard error exists for
    it. The law of its error is taken from the areas that were not treated (:func:`pmg_eval.resample.placebo`): the row
    for one treated area of :func:`pmg_eval.infer.default`.

    Parameters
    ----------
    panel : Panel
    outcome : str
        Counts (with the panel's ``exposure`` role) give rate ratios by Poisson pseudo maximum likelihood; anything
        else gives differences in the unit of the outcome.
    estimator : callable
        ``estimator(panel, outcome) -> Estimate``. An option ``family`` that you did not bind follows the outcome.
    eligible : sequence of unit labels, optional
        Comparison areas that serve as placebos (default: never treated and not contaminated).
    draws, rng, n_jobs
        See :func:`pmg_eval.resample.placebo`.

    Returns
    -------
    Estimate[PlaceboDetails]
        One row per treated area: ``unit``, ``cohort``, ``n_placebo``, ``p_min``; ``status`` names rare outcomes.

    Raises
    ------
    DesignError
        Fewer than two eligible comparison areas, or no treated area with a pre-period.

    Notes
    -----
    27 separate tests at 5 % find something by chance three times out of four: read the intervals, and adjust or
    shrink before ranking areas.

    References
    ----------
    Ferman and Pinto (2019), doi:10.1162/rest_a_00759.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> rng = np.random.default_rng(7)
    >>> rows = []
    >>> for area in range(50):
    ...     for year in range(2015, 2023):
    ...         treated = area < 2 and year >= 2020
    ...         people = 4000 * (1 + area)
    ...         suspects = rng.poisson(0.01 * people * (0.5 if treated else 1))
    ...         rows.append((area, year, 2020 if area < 2 else 0, people, suspects))
    >>> table = pd.DataFrame(rows, columns=["area", "year", "start", "youth", "suspects"])
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0, exposure="youth")
    >>> areas = pe.effect_per_area(panel, "suspects")
    >>> bool((areas.to_frame()["conf_high"] < 1).all())
    True
    """
    need_panel(panel)
    bound = for_areas(estimator, panel, outcome)
    areas = default(bound, panel, outcome, by="unit", eligible=eligible, draws=draws, rng=rng, n_jobs=n_jobs)
    found: Estimate[Any] = replace(areas, details=None if areas.details is None else areas.details.law)
    return found
