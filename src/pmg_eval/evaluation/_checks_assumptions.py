"""Checks of what no standard error covers: diverging trends, and shocks that areas share."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from pmg_eval import did
from pmg_eval.errors import PmgEvalError, PmgEvalWarning
from pmg_eval.estimate import Estimate
from pmg_eval.evaluation._check import ALPHA, Check
from pmg_eval.evaluation._family import Family
from pmg_eval.evaluation._figures import interval
from pmg_eval.infer import RelativeMagnitude, common_shock, honest
from pmg_eval.panel import Panel

MODEST = 1.0  # trends that diverge as much after the start as they did before


def diverging_trends(panel: Panel, outcome: str, family: Family, anticipation: int) -> Check:
    """How strongly trends may diverge before the average effect is not clear any more (Rambachan and Roth)."""
    question = "How far may trends diverge after the start before the group-time effect is in doubt?"
    name = "diverging trends"
    event_study = partial(did.group_time, family=family, anticipation=anticipation, base_period="universal")
    try:
        with warnings.catch_warnings():  # that cells are few was said where the effects are estimated
            warnings.simplefilter("ignore", PmgEvalWarning)
            study = event_study(panel, outcome).average(by="event_time")
            found = honest(study, restriction=RelativeMagnitude(strengths=(MODEST,)), target="average")
    except PmgEvalError as refused:
        return Check(name, question, refused.what, "not possible")
    bounds = found.to_frame()
    row = bounds.loc[(bounds["method"] != "original") & (bounds["strength"] == MODEST)].iloc[0]
    within = interval(float(row["conf_low"]), float(row["conf_high"]), study.scale)
    said = f"if they diverge as much from one period to the next as they did at most before, the interval is {within}"
    if found.breakdown == 0:
        already = "already with parallel trends the interval of this average includes a zero effect"
        return Check(name, question, f"{already}; {said}", "attention")
    if np.isnan(found.breakdown):
        return Check(name, question, f"no divergence that was tried puts it in doubt; {said}", "pass")
    finding = f"up to {found.breakdown:.2f} times the largest change of the difference before the start; {said}"
    return Check(name, question, finding, "pass" if found.breakdown >= MODEST else "attention")


def shared_shocks(effects: Estimate[Any], panel: Panel, outcome: str, family: Family) -> Check:
    """Whether comparison areas that are neighbors changed alike (Moran's I)."""
    question = "Do neighboring areas move together, so that there are fewer independent ones?"
    name = "shared shocks"
    try:
        with warnings.catch_warnings():  # few regions: said below by the number itself
            warnings.simplefilter("ignore", PmgEvalWarning)
            found = common_shock(effects.where(group="overall"), _rates(panel, outcome, family), outcome)
    except PmgEvalError as refused:
        return Check(name, question, refused.what, "not possible")
    moran = found.moran
    finding = f"Moran's I of changes in comparison areas {moran.statistic:.2f}, p = {moran.p_value:.3f}"
    ratio = found.errors["ratio"].to_numpy(dtype=np.float64)
    if np.isfinite(ratio).any():
        finding += (
            f"; clustered on regions, the standard error is {ratio[np.isfinite(ratio)][0]:.2f} times that by area"
        )
    return Check(name, question, finding, "attention" if moran.p_value < ALPHA else "pass")


def _rates(panel: Panel, outcome: str, family: Family) -> Panel:
    """Counts as rates: otherwise the changes of large areas are the largest whatever happens."""
    if family != "poisson" or panel.exposure is None:
        return panel
    count, people = panel.wide(outcome), panel.wide_rows(panel.exposure)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = (count / people)[panel.row_unit, panel.row_time]
    return panel.with_values(outcome, rate)
