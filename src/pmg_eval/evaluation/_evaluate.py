"""One call from a panel to the answer: effects, areas, checks, and other estimators beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval import did, recidivism, synth
from pmg_eval._progress import tell
from pmg_eval.errors import DesignError
from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.evaluation._areas import effect_per_area
from pmg_eval.evaluation._beside import REFUSALS, area_table, areas_beside
from pmg_eval.evaluation._checks import all_checks
from pmg_eval.evaluation._door import need_evaluation
from pmg_eval.evaluation._family import Family, family_of, not_counts
from pmg_eval.evaluation._inference import Inference, inference
from pmg_eval.evaluation._league import league
from pmg_eval.evaluation._parts import ALL, GROUPS, Parts, differences, wave_table
from pmg_eval.evaluation._result import Evaluation
from pmg_eval.evaluation._synthetic import area_paths, hull_table
from pmg_eval.evaluation._words import caveats, headline, summary
from pmg_eval.panel import Panel
from pmg_eval.resample import jackknife
from pmg_eval.typing import Estimator

if TYPE_CHECKING:
    from pmg_eval.panel import Spells
    from pmg_eval.recidivism import Counts

STEPS = 6


@dataclass(frozen=True)
class _Methods:
    """The headline estimator and those beside it, with the family and anticipation bound."""

    headline: Callable[..., Estimate[Any]]
    pooled: dict[str, Estimator]
    areas: dict[str, Estimator]
    refused: dict[str, str]


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
    spells: Spells | Counts | None = None,
    horizons: Sequence[int | str] | None = None,
    truth: pd.DataFrame | None = None,
) -> Evaluation:
    """Evaluate a programme: overall, per cohort, per area, over time, with checks and other estimators beside it.

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
    spells : Spells or recidivism.Counts, optional
        Persons behind the areas: adds the share with a new event over time
        (:func:`pmg_eval.recidivism.cumulative_incidence`, or Kaplan-Meier when there is one cause).
    horizons : list of int or str, optional
        Follow-up times of that share, for example ``["1y", "2y"]``.
    truth : DataFrame, optional
        ``unit, truth`` of simulated data, on the scale of the effects; shown beside the estimates, never used.

    Returns
    -------
    Evaluation
        ``.effects``, ``.areas`` (estimates), ``.checks``, ``.agreement``, ``.wave_agreement``, ``.area_agreement``;
        ``.to_html(path)``, ``.to_json(path)``.

    Raises
    ------
    DataError, DesignError
        What the panel or the headline estimator refuses. Another estimator that refuses is left out, and
        ``caveats`` say why.

    Notes
    -----
    The headline is :func:`pmg_eval.did.imputation` with the inference of :func:`pmg_eval.infer.default`: a jackknife
    over areas or, with few of them, the pooled placebo law or the wider of the two; ``inference`` has all that was
    tried. Effects by event time follow it; before the start they have the jackknife. :func:`pmg_eval.did.group_time`
    and :func:`pmg_eval.synth.sdid` stand beside it, overall, per cohort and per area, with the standard error of their
    difference. With one treated area its placebo law is the headline, and :func:`pmg_eval.synth.classic` stands beside
    it too. The headline is never the estimator or the law with the smallest p-value.
    """
    need_evaluation(
        panel,
        outcome,
        family=family,
        anticipation=anticipation,
        eligible=eligible,
        title=title,
        draws=draws,
        rng=rng,
        n_jobs=n_jobs,
        spells=spells,
        horizons=horizons,
        truth=truth,
    )
    chosen: Family = family or family_of(panel, outcome)
    # areas and periods of the complete case the estimators will use, so that all parts speak of the same data
    panel = panel.for_outcome(outcome)
    one = int((np.isfinite(panel.cohort) & ~panel.always_treated).sum()) < 2
    methods = _methods(panel, outcome, chosen, anticipation, one)
    tell("evaluation", 1, STEPS)
    others = tuple(methods.pooled)
    parts = Parts(partial(methods.headline, pretrend=True), tuple(methods.pooled.items()))
    # with one treated area the guard prints no standard error and says where to look
    whole = parts(panel, outcome) if one else jackknife(parts, panel, outcome, n_jobs=n_jobs)
    difference = differences(whole, others)
    tell("evaluation", 2, STEPS)
    areas = _areas(methods.headline, panel, outcome, eligible, rng, n_jobs)
    chosen_law = inference(
        *(whole, areas, methods.headline, panel, outcome), eligible=eligible, draws=draws, rng=rng, n_jobs=n_jobs
    )
    effects = chosen_law.effects
    tell("evaluation", 3, STEPS)
    beside, refused = areas_beside(areas, methods.areas, panel, outcome, eligible=eligible, rng=rng, n_jobs=n_jobs)
    refused = {**methods.refused, **{f"{name} per area": why for name, why in refused.items()}}
    tell("evaluation", 4, STEPS)
    hull, no_hull = hull_table(panel, outcome, chosen, anticipation)
    checks = all_checks(
        whole.where(group=list(GROUPS)),
        methods.headline,
        panel,
        outcome,
        family=chosen,
        anticipation=anticipation,
        eligible=eligible,
        inference=chosen_law.overall,
        rng=rng,
        n_jobs=n_jobs,
        hull=hull,
        no_hull=no_hull,
    )
    tell("evaluation", 5, STEPS)
    again = None if spells is None else _recidivism(spells, horizons)
    waves, facts = _facts(panel)
    wave_agreement = wave_table(whole, effects, difference, others)
    area_agreement = area_table(beside)
    together, spread = league(areas, rng)
    first = headline(effects, areas, outcome, chosen)
    provenance = Provenance(
        estimator="evaluate",
        options={"family": chosen, "anticipation": anticipation, "draws": draws, "eligible": _listed(eligible)},
        data=panel.fingerprint,
        **_sources(effects, areas, *beside.values(), *([] if again is None else [again])),
        seed=rng,
    )
    tell("evaluation", STEPS, STEPS)
    return Evaluation(
        title=title or f"What the programme did to {outcome}",
        outcome=outcome,
        family=chosen,
        kind="one" if one else "many",
        effects=effects,
        areas=areas,
        band=chosen_law.band,
        checks=checks,
        inference=chosen_law.table,
        agreement=difference,
        agreement_table=_overall_rows(wave_agreement),
        wave_agreement=wave_agreement,
        area_agreement=area_agreement,
        league=together,
        hull=hull,
        paths=area_paths(panel, outcome, chosen, anticipation),
        recidivism=again,
        truth=None if truth is None else truth.reset_index(drop=True),
        waves=waves,
        data=facts,
        headline=first,
        summary=summary(
            first, wave_agreement, area_agreement, checks, chosen, again, truth, spread, _mixed(chosen_law)
        ),
        caveats=caveats(checks, areas, panel, refused, not_counts(panel, outcome) if family is None else ""),
        provenance=provenance,
    )


def _methods(panel: Panel, outcome: str, family: Family, anticipation: int, one: bool) -> _Methods:
    """Estimators with their options; one that the design does not allow is left out with its reason."""
    candidates: dict[str, Estimator] = {
        "group_time": partial(did.group_time, family=family, anticipation=anticipation),
        "sdid": partial(synth.sdid, family=family, anticipation=anticipation),
    }
    areas = dict(candidates)
    if one:
        areas["classic"] = partial(synth.classic, family=family, anticipation=anticipation)
    pooled, refused = {}, {}
    for name, estimator in candidates.items():
        try:
            estimator(panel, outcome).average()
        except REFUSALS as why:
            refused[name] = why.what
            continue
        pooled[name] = estimator
    for name in refused:
        areas.pop(name, None)
    first = partial(did.imputation, family=family, anticipation=anticipation, pretrend=False)
    return _Methods(first, pooled, areas, refused)


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


def _recidivism(spells: Spells | Counts, horizons: Sequence[int | str] | None) -> Estimate[Any]:
    if len(spells.causes) > 1:
        return recidivism.cumulative_incidence(spells, horizons=horizons)
    return recidivism.kaplan_meier(spells, horizons=horizons)


def _sources(*estimates: Estimate[Any]) -> dict[str, Any]:
    """Assumptions, references and notes of all parts, each once."""
    return {
        name: tuple(dict.fromkeys(text for e in estimates for text in getattr(e.provenance, name)))
        for name in ("assumptions", "references", "notes")
    }


def _mixed(found: Inference) -> str:
    return "" if found.overall is None else found.overall.mixed()


def _listed(eligible: Sequence[Any] | None) -> list[str] | None:
    return None if eligible is None else [str(unit) for unit in eligible]


def _overall_rows(waves: pd.DataFrame) -> pd.DataFrame:
    columns = ["estimator", "estimate", "conf_low", "conf_high"]
    return waves.loc[waves["cohort"] == ALL, columns].reset_index(drop=True)


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
