"""Many areas at once: adjusted p-values, shrunken effects, uncertain ranks, and how much the areas differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import PmgEvalError
from pmg_eval.estimate import Estimate
from pmg_eval.evaluation._figures import interval
from pmg_eval.infer import adjust, pool, ranks

FEWEST, MOST = 3, 120
"""Areas from which effects can be pooled, and up to which ranks are computed (every pair is compared)."""
LEAGUE = [
    *("unit", "cohort", "estimate", "conf_low", "conf_high", "p_value", "p_adjusted"),
    *("shrunk", "shrunk_low", "shrunk_high", "rank", "rank_low", "rank_high", "note"),
]
_RANKED = ("unit", "shrunk", "shrunk_low", "shrunk_high", "rank", "rank_low", "rank_high", "note")
ALPHA = 0.05


def league(areas: Estimate[Any], rng: int) -> tuple[pd.DataFrame, str]:
    """One row per area with a law, and a sentence about the spread of the effects; nothing for fewer than three.

    Adjusted p-values are Romano-Wolf's from the joint placebo draws. Shrunken effects and their intervals are robust
    empirical Bayes; rank intervals hold for all areas at once.
    """
    nothing = pd.DataFrame(columns=LEAGUE)
    known = np.isfinite(areas.to_frame()["conf_low"].to_numpy(dtype=np.float64))
    part = areas.take(known)
    if not FEWEST <= len(part) <= MOST:
        return nothing, ""
    try:
        adjusted = adjust(part, rng=rng)
        ranked = ranks(part, rng=rng).to_frame()
        # the variance of the mean is at least that of no heterogeneity: areas that agree by luck prove nothing
        pooled = pool(part, inference="hartung_knapp_floor")
    except PmgEvalError:  # areas that cannot be pooled (all alike, no common scale) are shown one by one
        return nothing, ""
    table = adjusted.merge(ranked[list(_RANKED)], on="unit", how="left", validate="one_to_one")
    return table.reindex(columns=LEAGUE).sort_values("rank", kind="stable", ignore_index=True), _spread(pooled)


def _spread(pooled: Estimate[Any]) -> str:
    found = pooled.details
    if found is None:
        return ""
    said = interval(found.prediction_low, found.prediction_high, pooled.scale)
    where = f"in another such area the effect would be expected within {said}"
    if found.q_p < ALPHA:
        return f"The effects of the areas differ by more than chance explains (p = {found.q_p:.3f}): {where}."
    return f"The effects of the areas do not differ by more than chance explains (p = {found.q_p:.3f}); {where}."


__all__ = ["LEAGUE", "league"]
