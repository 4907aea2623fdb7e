"""The same areas under other estimators, with the same placebo law, and how far they are from the headline."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError, PmgEvalWarning
from pmg_eval.estimate import Estimate
from pmg_eval.estimate.scales import SCALES
from pmg_eval.evaluation._areas import effect_per_area
from pmg_eval.evaluation._parts import HEADLINE
from pmg_eval.panel import Panel
from pmg_eval.resample import PlaceboDetails
from pmg_eval.typing import Estimator

REFUSALS = (DataError, DesignError, InferenceError, NumericalError)
COLUMNS = ["unit", "cohort", "estimator", "estimate", "conf_low", "conf_high", "p_value", "z", "status"]


def areas_beside(
    areas: Estimate[Any],
    others: Mapping[str, Estimator],
    panel: Panel,
    outcome: str,
    *,
    eligible: Sequence[Any] | None,
    rng: int,
    n_jobs: int,
) -> tuple[dict[str, Estimate[Any]], dict[str, str]]:
    """Areas under each estimator (the headline's first), and why an estimator has none."""
    found, refused = {HEADLINE: areas}, {}
    if not isinstance(areas.details, PlaceboDetails):  # no comparison areas: there is no law for anybody
        return found, {}
    for name, estimator in others.items():
        try:
            with warnings.catch_warnings():  # what they warn about stands in their status or was said by the headline
                warnings.simplefilter("ignore", PmgEvalWarning)
                found[name] = effect_per_area(
                    panel, outcome, estimator=estimator, eligible=eligible, rng=rng, n_jobs=n_jobs
                )
        except REFUSALS as why:
            refused[name] = why.what
    return found, refused


def area_table(found: Mapping[str, Estimate[Any]]) -> pd.DataFrame:
    """One row per area and estimator.

    ``z`` is the difference to the headline (of logs for ratios) over the standard deviation of the same difference
    among the placebo areas of the cohort, where both estimators should find the same nothing.
    """
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    first = found[HEADLINE]
    tables = []
    for name, estimate in found.items():
        frame = estimate.to_frame().assign(estimator=name, z=np.nan)
        if name != HEADLINE:
            frame["z"] = _distance(first, estimate)
        tables.append(frame.reindex(columns=COLUMNS))
    table = pd.concat(tables, ignore_index=True)
    order = {unit: position for position, unit in enumerate(first.terms["unit"])}
    return table.sort_values("unit", key=lambda units: units.map(order), kind="stable", ignore_index=True)


def _distance(first: Estimate[Any], other: Estimate[Any]) -> Any:
    """Standardized difference of each area of ``other`` to ``first``."""
    to = SCALES[first.scale].to
    with np.errstate(divide="ignore", invalid="ignore"):
        mine = pd.Series(to(first.values), index=pd.Index(first.terms["unit"]))
        theirs = to(other.values)
        gap = theirs - mine.reindex(pd.Index(other.terms["unit"])).to_numpy()
    spread = _placebo_spread(first.details, other.details)
    return gap / other.terms["cohort"].map(spread).to_numpy(dtype=np.float64)


def _placebo_spread(first: Any, other: Any) -> dict[Any, float]:
    """Per cohort, from two PlaceboDetails: standard deviation over placebo areas of the difference of their effects."""
    keys = [name for name in ("cohort", "share", "unit") if name in first.placebos and name in other.placebos]
    both = first.placebos.merge(other.placebos, on=keys, suffixes=("", "_other"))
    both = both.assign(gap=both["effect_other"] - both["effect"])
    spread = both.groupby("cohort")["gap"].agg(lambda gap: float(np.sqrt(np.mean(np.square(gap)))))
    return {cohort: value if value > 0 else np.nan for cohort, value in spread.items()}
