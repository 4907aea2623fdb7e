"""What synthetic controls add to an evaluation: whether areas can be imitated at all, and their paths."""

from __future__ import annotations

from functools import partial

import pandas as pd

from pmg_eval import synth
from pmg_eval.evaluation._beside import REFUSALS
from pmg_eval.evaluation._family import Family
from pmg_eval.panel import Panel

HULL = ["unit", "cohort", "inside", "unique", "low", "high", "distance", "n_pre"]
PATHS = ["unit", "cohort", "period", "observed", "synthetic"]
PER_1000 = 1000.0


def hull_table(panel: Panel, outcome: str, family: Family, anticipation: int) -> tuple[pd.DataFrame, str]:
    """Per treated area: inside the hull of its donors, weights unique, range of effects; or why there is none.

    The distance is in the unit of :func:`area_paths`.
    """
    try:
        found = synth.hull(panel, outcome, family=family, anticipation=anticipation)
    except REFUSALS as why:
        return pd.DataFrame(columns=HULL), why.what
    if found.details is None:
        return pd.DataFrame(columns=HULL), "no details"
    table = found.details.table.reindex(columns=HULL)
    if family == "poisson":
        table = table.assign(distance=PER_1000 * table["distance"])
    return table, ""


def area_paths(panel: Panel, outcome: str, family: Family, anticipation: int) -> pd.DataFrame:
    """Observed and synthetic path of every treated area (its own synthetic difference-in-differences).

    Rates per 1,000 person-years for counts. Empty where no synthetic control exists.
    """
    fit = partial(synth.sdid, weights="unit", family=family, anticipation=anticipation)
    try:
        details = fit(panel, outcome).details
    except REFUSALS:
        return pd.DataFrame(columns=PATHS)
    if details is None:
        return pd.DataFrame(columns=PATHS)
    paths = details.paths.reindex(columns=PATHS)
    if family == "poisson":
        paths = paths.assign(observed=PER_1000 * paths["observed"], synthetic=PER_1000 * paths["synthetic"])
    return paths
