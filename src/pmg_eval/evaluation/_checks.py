"""The checks that stand beside every effect."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval import did
from pmg_eval.errors import DesignError, InferenceError, NumericalError, PmgEvalWarning
from pmg_eval.estimate import Estimate, Influence, stack
from pmg_eval.estimate.average import average_values
from pmg_eval.estimate.terms import REFERENCE
from pmg_eval.evaluation._check import ALPHA, Check
from pmg_eval.evaluation._checks_assumptions import diverging_trends, shared_shocks
from pmg_eval.evaluation._family import Family
from pmg_eval.evaluation._figures import counted, effect, figure, interval
from pmg_eval.infer import DefaultDetails
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample import JackknifeDetails, placebo, placebo_in_time
from pmg_eval.resample._pool import pool_mask
from pmg_eval.typing import Estimator

ENOUGH = 6  # treated areas (as many equal ones) below which a pooled interval rests on very few
FEW = 5  # a pre-period that rests on fewer areas says little about all of them


@dataclass(frozen=True)
class Overall:
    """The overall average of an estimator, as an estimator."""

    estimator: Estimator

    def __call__(self, panel: Panel, outcome: str) -> Estimate[Any]:
        return self.estimator(panel, outcome).average()

    def values(self, panel: Panel, outcome: str, terms: pd.DataFrame) -> Array:
        """The number alone: what a randomization test estimates again."""
        return average_values(self.estimator(panel, outcome), terms, None)


def all_checks(
    effects: Estimate[Any],
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    family: Family,
    anticipation: int,
    eligible: Sequence[Any] | None,
    inference: DefaultDetails | None,
    rng: int,
    n_jobs: int,
    hull: pd.DataFrame,
    no_hull: str,
) -> pd.DataFrame:
    """Pre-trends, base period, leave-one-out, placebo in time, randomization, diverging trends, shocks, hull, size."""
    one = effects.where(group="overall").to_frame()["n_treated"].iloc[0] == 1
    checks = [
        _pre_trend(effects, anticipation),
        _detectable_slope(effects, anticipation),
        _base_period(panel, outcome, family, anticipation),
        _leave_one_out(effects),
        _in_time(estimator, panel, outcome, anticipation, eligible, rng, n_jobs),
        _randomization(inference),
        diverging_trends(panel, outcome, family, anticipation),
        shared_shocks(effects, panel, outcome, family),
        _hull(hull, no_hull),
        _concentration(effects, panel, eligible, bool(one)),
    ]
    return pd.DataFrame([vars(check) for check in checks], columns=["check", "question", "finding", "verdict"])


def _pre(effects: Estimate[Any], anticipation: int) -> Estimate[Any]:
    """Pre-treatment effects that can be tested: with a standard error, and on at least five areas where there are."""
    study = effects.where(group="event_time")
    frame = study.to_frame()
    enough = min(FEW, int(frame["n_treated"].max()))
    usable = (frame["event_time"] < -anticipation) & (frame["std_error"] > 0) & (frame["n_treated"] >= enough)
    return study.take(np.flatnonzero(usable.to_numpy(dtype=bool, na_value=False)))


def _pre_trend(effects: Estimate[Any], anticipation: int) -> Check:
    question = "Did treated and comparison areas move together before the start?"
    pre = _pre(effects, anticipation)
    name = "pre-trend"
    if len(pre) == 0:
        return Check(name, question, _untested(effects, anticipation), "not possible")
    try:
        test = pre.test()
    except InferenceError:
        return _largest(pre, question)
    if not test.distribution.startswith("F") or pre.to_frame()["df"].min() <= len(pre):
        # a joint F test with fewer degrees of freedom than restrictions finds nothing
        return _largest(pre, question)
    finding = f"joint test of {len(pre)} pre-treatment effects: p = {test.p_value:.3f} ({test.distribution})"
    return Check(name, question, finding, "pass" if test.p_value >= ALPHA else "attention")


def _untested(effects: Estimate[Any], anticipation: int) -> str:
    """Why no pre-treatment effect can be tested."""
    frame = effects.where(group="event_time").to_frame()
    before = frame.loc[(frame["event_time"] < -anticipation).to_numpy(dtype=bool, na_value=False)]
    if (before["status"] != REFERENCE).sum() == 0:
        return "fewer than two periods before the start: it cannot be tested"
    if before["n_treated"].max() <= 1:
        return "one treated area: pre-treatment effects have no standard error"
    return "pre-treatment effects have no standard error: too few treated or comparison areas"


def _largest(pre: Estimate[Any], question: str) -> Check:
    """Without a joint test: whether the simultaneous band leaves no effect outside anywhere."""
    band = pre.band(rng=0)
    null = 1.0 if pre.scale == "log" else 0.0
    outside = int(((band["conf_low"] > null) | (band["conf_high"] < null)).sum())
    finding = (
        f"the 95 % band for all {len(band)} pre-treatment periods at once leaves no effect outside in {outside} of "
        "them (too few treated areas for a joint test)"
    )
    return Check("pre-trend", question, finding, "attention" if outside else "pass")


def _detectable_slope(effects: Estimate[Any], anticipation: int) -> Check:
    """The linear drift that the pre-periods would have shown with 80 % power (2.8 standard errors of a slope)."""
    question = "How large a diverging trend would the pre-periods have shown?"
    pre = _pre(effects, anticipation)
    if pre.scale == "log":
        pre = pre.apply(np.log, lambda x: 1 / x)
    time = pre.terms["event_time"].to_numpy(dtype=np.float64) + 1 + anticipation if len(pre) else np.array([])
    if len(pre) < 2 or not np.isfinite(pre.se).all():
        why = "too few pre-periods to say" if len(pre) else _untested(effects, anticipation)
        return Check("power of the pre-trend", question, why, "not possible")
    weight = time / (time @ time)  # slope through the reference period, where the effect is zero by construction
    slope = pre.map(weight[None, :])
    detectable = 2.8 * float(slope.se[0])
    unit = (
        f"{100 * np.expm1(detectable):.1f} % a period" if effects.scale == "log" else f"{figure(detectable)} a period"
    )
    finding = f"a drift of {unit} would be found four times out of five; a smaller one can hide"
    return Check("power of the pre-trend", question, finding, "pass")


def _base_period(panel: Panel, outcome: str, family: Family, anticipation: int) -> Check:
    """The last period before the start as base against the average of all before: selection on a bad year shows here.

    Areas chosen on a bad last year fall back by themselves, which a base of that one year takes for an effect; a
    diverging trend moves the average base instead. Neither dominates, so both are shown.
    """
    question = "Does the effect depend on which earlier periods it is measured against?"
    name = "base period"
    group_time = partial(did.group_time, family=family, anticipation=anticipation)
    try:
        last = group_time(panel, outcome).average()
        mean = group_time(panel, outcome, base_period="average").average()
        both = stack(last, mean, names=("last period", "average"))
        if both.scale == "log":
            both = both.apply(np.log, lambda x: 1 / x)
        z = float(both.contrast("group").to_frame()["statistic"].iloc[0])
    except (DesignError, NumericalError, InferenceError) as refused:
        return Check(name, question, refused.what, "not possible")
    numbers = [effect(estimate.values[0], estimate.scale) for estimate in (last, mean)]
    finding = f"{numbers[0]} against the last period before, {numbers[1]} against the average of all"
    if np.isnan(z):
        same = np.isclose(last.values[0], mean.values[0], rtol=1e-9)
        why = "; they are equal" if same else "; the difference has no standard error"
        return Check(name, question, finding + why, "not possible")
    verdict: Literal["pass", "attention"] = "attention" if abs(z) > 1 else "pass"
    return Check(name, question, f"{finding}; they differ by {abs(z):.2f} standard errors of the difference", verdict)


def _hull(hull: pd.DataFrame, no_hull: str) -> Check:
    question = "Can a weighted average of comparison areas imitate each treated area before the start?"
    name = "convex hull"
    hull = hull.loc[hull["low"].notna()]  # an area without a fit says nothing about its place
    if no_hull or len(hull) == 0:
        return Check(name, question, no_hull or "no treated area could be fitted", "not possible")
    inside = hull["inside"].to_numpy(dtype=bool)
    many = inside & ~hull["unique"].to_numpy(dtype=bool)
    low, high = hull["low"].to_numpy(dtype=np.float64), hull["high"].to_numpy(dtype=np.float64)
    finding = (
        f"{int((~inside).sum())} of {len(hull)} areas lie outside: a synthetic control cannot imitate them exactly"
    )
    if many.any():
        width = float(np.median((high - low)[many]))
        finding += (
            f"; {int(many.sum())} lie inside with many equally perfect weights, whose effects differ by {width:.3g} "
            "(median): there a single synthetic control is one choice among many"
        )
    return Check(name, question, finding, "attention" if many.any() else "pass")


def _leave_one_out(effects: Estimate[Any]) -> Check:
    question = "Does one area carry the overall effect?"
    name = "leave one area out"
    if not isinstance(effects.details, JackknifeDetails):
        return Check(name, question, "one treated area: leaving it out leaves nothing", "not possible")
    position = int(np.flatnonzero((effects.terms["group"] == "overall").to_numpy())[0])
    spread = effects.details.spread().iloc[position]
    whole = effects.values[position]
    null = 1.0 if effects.scale == "log" else 0.0
    flips = (spread["low"] - null) * (spread["high"] - null) < 0
    least, most = effect(spread["low"], effects.scale), effect(spread["high"], effects.scale)
    finding = (
        f"overall {effect(whole, effects.scale)}; between {least} (without {spread['without_low']}) and {most} "
        f"(without {spread['without_high']})"
    )
    return Check(name, question, finding, "attention" if flips else "pass")


def _in_time(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    anticipation: int,
    eligible: Sequence[Any] | None,
    rng: int,
    n_jobs: int,
) -> Check:
    question = "Is there an effect where there was no programme: a start two periods earlier?"
    name = "placebo in time"
    try:
        fake = _earlier(estimator, panel, outcome, anticipation, eligible, rng, n_jobs)
        row = fake.to_frame().iloc[0]
    except (DesignError, NumericalError, InferenceError) as refused:
        return Check(name, question, refused.what, "not possible")
    found = effect(row["estimate"], fake.scale)
    if not np.isfinite(row["conf_low"]):
        return Check(name, question, f"estimate {found} without an interval", "not possible")
    finding = f"estimate {found}, 95 % interval {interval(row['conf_low'], row['conf_high'], fake.scale)}"
    null = 1.0 if fake.scale == "log" else 0.0
    clear = row["conf_low"] <= null <= row["conf_high"]
    return Check(name, question, finding, "pass" if clear else "attention")


def _earlier(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    anticipation: int,
    eligible: Sequence[Any] | None,
    rng: int,
    n_jobs: int,
    periods: int = 2,
) -> Estimate[Any]:
    """The overall effect of a start earlier than the real one; with one treated area, by its placebo law."""
    started = np.flatnonzero(np.isfinite(panel.cohort) & ~panel.always_treated)
    if len(started) != 1:
        return placebo_in_time(estimator, panel, outcome, periods=periods, anticipation=anticipation).average()
    # placebo areas must stop where the treated area does: nobody keeps a period after the real start
    first = panel.cohort[started[0]] - anticipation
    before = panel.select_rows(panel.time_codes[panel.row_time] < first)
    fake = np.full(before.n_units, np.inf)
    fake[before.units.get_indexer(panel.units[started])] = first - periods
    if not first - periods > before.time_codes[0]:
        raise DesignError("PMG-PLACEBO-TIME", f"no period before a start {periods} periods earlier")
    with warnings.catch_warnings():  # that there are few placebo areas was said for the real start
        warnings.simplefilter("ignore", PmgEvalWarning)
        return placebo(estimator, before.with_cohort(fake), outcome, eligible=eligible, rng=rng, n_jobs=n_jobs)


def _randomization(inference: DefaultDetails | None) -> Check:
    """The randomization test of the policy, and whether another valid method contradicts the headline."""
    question = "Would such an effect appear if other areas had been chosen?"
    name = "randomization in the pool"
    if inference is None:
        return Check(name, question, "no inference is valid for this design", "not possible")
    row = inference.tried.loc[inference.tried["method"] == "randomization in the pool"].iloc[0]
    if not np.isfinite(row["p_value"]):
        return Check(name, question, str(row["note"]), "not possible")
    finding = f"p = {row['p_value']:.3f} ({row['note']}; smallest attainable {row['p_min']:.2g}"
    finding += f", Monte-Carlo error {row['p_error']:.2g})" if row["p_error"] > 0 else ")"
    mixed = inference.mixed()
    if mixed:
        return Check(name, question, f"{finding}; {mixed}", "attention")
    return Check(name, question, finding, "pass" if row["valid"] else "attention")


def _concentration(effects: Estimate[Any], panel: Panel, eligible: Sequence[Any] | None, one: bool) -> Check:
    """How many areas really stand behind the effect: a large one can count like most of the others together."""
    question = "Do enough areas stand behind the comparison?"
    name = "number of areas"
    treated = int((np.isfinite(panel.cohort) & ~panel.always_treated).sum())
    clean = int(pool_mask(panel, None).sum())
    never = int((~np.isfinite(panel.cohort)).sum())
    finding = f"{counted(treated, 'treated area', 'treated areas')} and {clean:,} never treated"
    if clean < never:
        finding += f" that no other programme touched (of {never:,})"
    pool = clean if eligible is None else len(list(eligible))
    if pool < clean:
        finding += f", of which {pool:,} named eligible"
    enough = treated >= ENOUGH and min(clean, pool) >= 20
    if one:
        return Check(
            name,
            question,
            f"{finding}; intervals come from the comparison areas",
            "pass" if pool >= 39 else "attention",
        )
    effective, unit, share = _weightiest(effects)
    if np.isfinite(effective) and effective < ENOUGH:
        finding += (
            f"; the treated areas count like {effective:.1f} equal ones: {unit} has {100 * share:.0f} % of the weight"
        )
        enough = False
    elif treated < 20:
        finding += "; few treated areas: intervals use t with few degrees of freedom"
    return Check(name, question, finding, "pass" if enough else "attention")


def _weightiest(effects: Estimate[Any]) -> tuple[float, Any, float]:
    """Effective number of treated areas behind the overall effect, and the area with the largest weight."""
    law = effects.uncertainty
    if not isinstance(law, Influence) or law.treated is None or "unit" not in law.rows:
        return np.nan, "", np.nan
    overall = effects.where(group="overall")
    rows = overall.uncertainty
    support = None if rows is None else rows.support(overall.dependence)
    if support is None or not isinstance(rows, Influence) or rows.treated is None:
        return np.nan, "", np.nan
    weight = rows.treated.dense()[:, 0]
    top = int(np.argmax(weight))
    return float(support.n_effective[0]), rows.rows["unit"].iloc[top], float(weight[top] / weight.sum())
