"""One call from a panel to the answer: effects, areas, checks, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval import did
from pmg_eval.errors import DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Estimate, Provenance, stack
from pmg_eval.evaluation._areas import effect_per_area
from pmg_eval.evaluation._checks import all_checks
from pmg_eval.evaluation._family import Family, family_of
from pmg_eval.evaluation._result import Evaluation
from pmg_eval.evaluation._words import caveats, headline
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample import jackknife
from pmg_eval.typing import Estimator

GROUPS = ("overall", "cohort", "event_time")
SECOND = "group_time"


@dataclass(frozen=True)
class Parts:
    """The headline estimator's averages and the second estimator's overall number, as one estimator.

    One jackknife of it gives every number its standard error, and the difference of the two estimators theirs.
    """

    headline: Estimator
    second: Estimator | None

    def __call__(self, panel: Panel, outcome: str) -> Estimate[Any]:
        fit = self.headline(panel, outcome)
        parts = [fit.average(), fit.average(by="cohort"), fit.average(by="event_time")]
        if self.second is None:
            return stack(*parts, names=GROUPS)
        return stack(*parts, self.second(panel, outcome).average(), names=(*GROUPS, SECOND))


def evaluate(
    panel: Panel,
    outcome: str,
    *,
    family: Family | None = None,
    anticipation: int = 0,
    eligible: Sequence[Any] | None = None,
    title: str | None = None,
    draws: int = 499,
    rng: int = 0,
    n_jobs: int = 1,
) -> Evaluation:
    """Evaluate a programme: overall, per cohort, per area, over time, with checks and a second estimator.

    Parameters
    ----------
    panel : Panel
    outcome : str
    family : {"gaussian", "poisson"}, optional
        Default: ``"poisson"`` for counts of a panel with exposure (effects are rate ratios), else ``"gaussian"``.
    anticipation : int
        Periods before the start in which the programme may already have worked.
    eligible : sequence of unit labels, optional
        Comparison areas that might have been chosen instead (randomization and placebo pool).
    title : str, optional
    draws : int
        Random assignments of the randomization test.
    rng : int
        Seed of everything random.
    n_jobs : int
        Processes; results do not depend on it.

    Returns
    -------
    Evaluation
        ``.effects``, ``.areas`` (estimates), ``.checks``, ``.agreement``; ``.to_html(path)``, ``.to_json(path)``.

    Notes
    -----
    The headline is :func:`pmg_eval.did.imputation` with a jackknife over areas (t with the guard's degrees of freedom);
    :func:`pmg_eval.did.group_time` stands beside it. With one treated area there is no pooled standard error: the
    area table is the answer.
    """
    need_panel(panel)
    chosen: Family = family or family_of(panel, outcome)
    # areas and periods of the complete case the estimators will use, so that all parts speak of the same data
    panel = panel.for_outcome(outcome)
    estimator = partial(did.imputation, family=chosen, anticipation=anticipation, pretrend=False)
    second = _possible(partial(did.group_time, family=chosen, anticipation=anticipation), panel, outcome)
    whole = _jackknifed(Parts(partial(estimator, pretrend=True), second), panel, outcome, n_jobs)
    effects = whole.where(group=list(GROUPS))
    agreement, table = _agreement(whole)
    areas = _areas(estimator, panel, outcome, eligible, rng, n_jobs)
    checks = all_checks(
        effects,
        estimator,
        panel,
        outcome,
        anticipation=anticipation,
        eligible=eligible,
        draws=draws,
        rng=rng,
        n_jobs=n_jobs,
    )
    waves, facts = _facts(panel)
    provenance = Provenance(
        estimator="evaluate",
        options={"family": chosen, "anticipation": anticipation, "draws": draws, "eligible": _listed(eligible)},
        data=panel.fingerprint,
        assumptions=tuple(dict.fromkeys((*effects.provenance.assumptions, *areas.provenance.assumptions))),
        references=tuple(dict.fromkeys((*effects.provenance.references, *areas.provenance.references))),
        notes=tuple(dict.fromkeys((*effects.provenance.notes, *areas.provenance.notes))),
        seed=rng,
    )
    return Evaluation(
        title=title or f"What the programme did to {outcome}",
        outcome=outcome,
        family=chosen,
        effects=effects,
        areas=areas,
        band=_band(effects, rng),
        checks=checks,
        agreement=agreement,
        agreement_table=table,
        waves=waves,
        data=facts,
        headline=headline(effects, areas, outcome, chosen),
        caveats=caveats(checks, areas, panel),
        provenance=provenance,
    )


def _areas(
    estimator: Estimator, panel: Panel, outcome: str, eligible: Sequence[Any] | None, rng: int, n_jobs: int
) -> Estimate[Any]:
    """Areas with their placebo law; without comparison areas the bare effects, and why they have no interval."""
    try:
        return effect_per_area(panel, outcome, estimator=estimator, eligible=eligible, rng=rng, n_jobs=n_jobs)
    except DesignError as refused:
        bare = estimator(panel, outcome).average(by="unit")
        terms = bare.terms.assign(n_placebo=0, p_min=1.0, status=f"no interval: {refused.what}")
        return replace(bare, terms=terms, uncertainty=None)


def _listed(eligible: Sequence[Any] | None) -> list[str] | None:
    return None if eligible is None else [str(unit) for unit in eligible]


def _possible(estimator: Estimator, panel: Panel, outcome: str) -> Estimator | None:
    """The estimator, or None when the design does not allow its overall number."""
    try:
        estimator(panel, outcome).average()
    except (DesignError, NumericalError, InferenceError):
        return None
    return estimator


def _jackknifed(parts: Parts, panel: Panel, outcome: str, n_jobs: int) -> Estimate[Any]:
    if (np.isfinite(panel.cohort) & ~panel.always_treated).sum() < 2:
        return parts(panel, outcome)  # one treated area: the guard prints no standard error and says where to look
    return jackknife(parts, panel, outcome, n_jobs=n_jobs)


def _band(effects: Estimate[Any], rng: int) -> pd.DataFrame:
    study = effects.where(group="event_time")
    try:
        return study.band(rng=rng)
    except InferenceError:  # no term has a standard error: the pointwise frame says why in `status`
        return study.to_frame()


def _agreement(whole: Estimate[Any]) -> tuple[Estimate[Any] | None, pd.DataFrame]:
    """The second estimator beside the first, and their difference (ratio) with its own standard error."""
    both = whole.where(group=["overall", SECOND])
    frame = both.to_frame()
    table = frame.assign(estimator=frame["group"].replace("overall", "imputation"))[
        ["estimator", "estimate", "conf_low", "conf_high"]
    ]
    if len(both) < 2:
        return None, table
    if both.scale == "log":
        logs = both.apply(np.log, lambda x: 1 / x)
        return logs.contrast("group").apply(np.exp, np.exp, scale="log"), table
    return both.contrast("group"), table


def _facts(panel: Panel) -> tuple[pd.DataFrame, dict[str, Any]]:
    started = np.isfinite(panel.cohort)
    rows = []
    for code in np.unique(panel.cohort[started]):
        members = panel.units[panel.cohort == code]
        shown = ", ".join(map(str, members[:40])) + (", ..." if len(members) > 40 else "")
        label = panel.time_label(int(code))
        rows.append({"cohort": label, "n_areas": len(members), "first_period": str(label), "areas": shown})
    facts = {
        "areas": panel.n_units,
        "periods": panel.n_periods,
        "first period": str(panel.times[0]),
        "last period": str(panel.times[-1]),
        "treated areas": int(started.sum()),
        "never-treated areas": int((~started).sum()),
        "balanced": "yes" if panel.balanced else "no",
        "exposure": "yes" if panel.exposure is not None else "no",
    }
    return pd.DataFrame(rows), facts
