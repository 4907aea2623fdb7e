"""The default inference (:func:`pmg_eval.infer.default`) on the parts an evaluation has computed already."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pmg_eval.errors import DesignError, InferenceError, PmgEvalWarning
from pmg_eval.estimate import Estimate, Test
from pmg_eval.estimate.stored import side_by_side
from pmg_eval.evaluation._checks import Overall
from pmg_eval.evaluation._parts import ALL, GROUPS
from pmg_eval.infer import DefaultDetails
from pmg_eval.infer._settle import PooledBy, design_of, pooled_law, settle
from pmg_eval.infer._tried import COLUMNS, Method
from pmg_eval.panel import Panel
from pmg_eval.resample import JackknifeDetails, placebo, randomize
from pmg_eval.typing import Estimator

LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Inference:
    """Effects with the law of the policy.

    Attributes
    ----------
    effects : Estimate
        Overall, per cohort and by event time (label ``group``).
    overall : DefaultDetails or None
        None when no method is valid.
    table : DataFrame
        What was tried, overall (cohort ``"all"``) and per cohort.
    band : DataFrame
        Event times with a simultaneous interval; under the placebo law the periods before and after the start each
        have their own.
    """

    effects: Estimate[Any]
    overall: DefaultDetails | None
    table: pd.DataFrame
    band: pd.DataFrame


def inference(
    whole: Estimate[Any],
    areas: Estimate[Any],
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    eligible: Sequence[Any] | None,
    draws: int,
    rng: int,
    n_jobs: int,
) -> Inference:
    """The policy for the overall effect and the cohorts; event times follow the headline's law.

    Before the start there is no placebo path to compare with (the terms come from one regression): the jackknife stays.
    """

    def random() -> Test:
        overall = Overall(estimator)
        return randomize(
            overall, panel, outcome, eligible=eligible, draws=draws, until=4 * draws, rng=rng, n_jobs=n_jobs
        )

    first, waves, study = (whole.where(group=name) for name in GROUPS)
    try:
        overall = _settled(first, areas, panel, None, random)
    except InferenceError:  # no method is valid: the guard says at each term why there is no interval
        nothing = pd.DataFrame(columns=["cohort", *COLUMNS])
        return Inference(whole.where(group=list(GROUPS)), None, nothing, _band([study], rng))
    try:
        cohorts = _settled(waves, areas, panel, "cohort", None)
    except InferenceError:  # a cohort without a law of its own keeps the guard's words
        effects = side_by_side(overall, waves, study, names=GROUPS, level=LEVEL)
        return Inference(effects, overall.details, _rows(overall), _band([study], rng))
    table = pd.concat([_rows(overall), _rows(cohorts)], ignore_index=True)
    if _by_jackknife(overall) and _by_jackknife(cohorts):
        return Inference(whole.where(group=list(GROUPS)), overall.details, table, _band([study], rng))
    after = (study.terms["event_time"] >= 0).to_numpy(dtype=bool)
    before, post = study.take(~after), study.take(after)
    try:
        with warnings.catch_warnings():  # that there are few placebo areas was said for the areas
            warnings.simplefilter("ignore", PmgEvalWarning)
            cells = placebo(estimator, panel, outcome, by="cell", eligible=eligible, rng=rng, n_jobs=n_jobs)
        post = pooled_law(cells, post, "event_time")
    except (DesignError, InferenceError):  # the areas have a law, their periods have none: the jackknife stays
        effects = side_by_side(overall, cohorts, study, names=GROUPS, level=LEVEL)
        return Inference(effects, overall.details, table, _band([study], rng))
    effects = side_by_side(overall, cohorts, before, post, names=(*GROUPS, GROUPS[-1]), level=LEVEL)
    return Inference(effects, overall.details, table, _band([before, post], rng))


def _settled(
    part: Estimate[Any], areas: Estimate[Any], panel: Panel, by: PooledBy | None, random: Method | None
) -> Estimate[DefaultDetails]:
    return settle(
        part,
        design_of(part, panel),
        lambda: _jackknifed(part),
        lambda: pooled_law(areas, part, by),
        level=LEVEL,
        random=random,
        beside=True,
    )


def _by_jackknife(settled: Estimate[DefaultDetails]) -> bool:
    return settled.details is not None and isinstance(settled.details.law, JackknifeDetails)


def _band(parts: Sequence[Estimate[Any]], rng: int) -> pd.DataFrame:
    """Simultaneous intervals within each part; pointwise rows where no term has a standard error."""
    found = []
    for part in parts:
        if len(part) == 0:
            continue
        try:
            found.append(part.band(LEVEL, rng=rng))
        except InferenceError:  # `status` says why
            found.append(part.to_frame(LEVEL))
    return pd.concat([frame.dropna(axis=1, how="all") for frame in found], ignore_index=True).reindex(
        columns=found[0].columns
    )


def _jackknifed(part: Estimate[Any]) -> Estimate[Any]:
    if not isinstance(part.details, JackknifeDetails):
        raise InferenceError("PMG-ONE-TREATED", "one treated area: leaving it out leaves nothing")
    return part


def _rows(settled: Estimate[DefaultDetails]) -> pd.DataFrame:
    """What was tried, with the cohort as a word."""
    if settled.details is None:
        raise InferenceError("PMG-NO-LAW", "the policy gives details", fix="report a bug")
    tried = settled.details.tried
    cohort = [ALL] * len(tried) if "cohort" not in tried else [str(label) for label in tried["cohort"]]
    return tried.assign(cohort=cohort)[["cohort", *COLUMNS]]
