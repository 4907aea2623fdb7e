"""From drawn errors to the result: terms, and which draws stand behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pmg_eval.estimate import Draws, Estimate, make_terms
from pmg_eval.estimate.scales import SCALES
from pmg_eval.numerics.rows import Array
from pmg_eval.resample._area_cells import Cells
from pmg_eval.resample._area_effects import AreaEffects
from pmg_eval.resample._placebo_law import Placebos, Start, on_scale, placebo_counts
from pmg_eval.resample._placebo_rare import NO_CELL_EVENT


@dataclass(frozen=True)
class Text:
    """What the terms say besides numbers."""

    outcome: str
    method: str
    label: Callable[[float], Any]

    def columns(self, effects: AreaEffects, area: Any) -> dict[str, Any]:
        return {
            "estimand": effects.estimand,
            "outcome": self.outcome,
            "unit": effects.units.take(area),
            "cohort": [self.label(code) for code in effects.cohort[area]],
            "n_treated": 1,
            "interval": "placebo",
            "method": self.method,
        }


def by_area(
    effects: AreaEffects,
    pools: Mapping[Start, Placebos],
    errors: Array,
    status: list[str],
    p_min: Array,
    text: Text,
    score: Array,
) -> Estimate[Any]:
    """One term per treated area."""
    k = len(effects.values)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.abs(SCALES[effects.scale].slope(effects.values))
    natural = np.where(np.isfinite(slope) & (slope > 0), errors / np.where(slope > 0, slope, 1), errors)
    n_placebo = placebo_counts(effects, pools)
    terms = make_terms(
        {
            **text.columns(effects, np.arange(k)),
            "weight": effects.weight,
            "n_control": effects.n_control,
            "n_placebo": n_placebo,
            "p_min": p_min,
            "status": status,
        },
        k,
    )
    law = _law(natural, p_min, effects, np.arange(k), n_placebo, p_min, score)
    return Estimate(effects.values, terms, law, scale=effects.scale, provenance=effects.provenance)


def by_cell(
    effects: AreaEffects,
    cells: Cells,
    drawn: tuple[Array, Any],
    status: list[str],
    p_area: Array,
    text: Text,
    score: Array,
) -> Estimate[Any]:
    """One term per treated area and period."""
    errors, n_placebo = drawn
    area = cells.area
    single = np.where(p_area >= 1, 1.0, 1 / (n_placebo + 1))
    p_min, words_of = single[area], np.array(status, dtype=object)[area]
    said = np.where(cells.status != "", cells.status, words_of)
    if effects.scale == "log":
        empty = (cells.values == 0) & (said == "")
        said, p_min = np.where(empty, NO_CELL_EVENT, said), np.where(cells.values == 0, 1.0, p_min)
    code = effects.cohort[area].astype(np.int64) + cells.event_time
    terms = make_terms(
        {
            **text.columns(effects, area),
            "period": [text.label(one) for one in code],
            "event_time": cells.event_time,
            "weight": cells.weight,
            "n_control": cells.n_control,
            "n_placebo": n_placebo[area],
            "p_min": p_min,
            "status": said,
        },
        len(area),
    )
    law = _law(errors, p_min, effects, area, n_placebo, p_area, score)
    return Estimate(cells.values, terms, law, scale=effects.scale, provenance=effects.provenance)


def _law(
    errors: Array, p_min: Array, effects: AreaEffects, area: Any, n_placebo: Any, single: Array, score: Array
) -> Draws:
    from scipy import sparse

    k, s = len(area), len(effects.values)
    behind = sparse.csr_array((np.ones(k, dtype=np.bool_), (np.arange(k), area)), shape=(k, s))
    own = 1 / (np.asarray(n_placebo, dtype=np.float64) + 1)
    # Two rare areas are tested no more than one; pooled with others they count like them.
    return Draws(errors, p_min, behind, own, np.where(single >= 1, 1.0, own), score)


def p_error(effects: AreaEffects, found: Estimate[Any], errors: Array) -> Array:
    """Monte-Carlo standard error (k,) of the p-value of each area; ``errors`` (R, k) on the scale of the interval."""
    law, distance = found.uncertainty, on_scale(effects.values, effects.scale)
    if not isinstance(law, Draws):
        raise TypeError("draws expected")
    p_value = replace(law, errors=errors).p_value(np.where(np.isfinite(distance), distance, 0.0))
    return np.where(np.isfinite(distance), law.p_error(p_value), np.nan)
