"""The finding in plain words; never a bare p-value, never "no effect" for a wide interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate
from pmg_eval.estimate.scales import ScaleName
from pmg_eval.evaluation._figures import counted, effect, figure, interval
from pmg_eval.evaluation._parts import ALL, HEADLINE
from pmg_eval.panel import Panel

ALPHA = 0.05
NAMES = {
    "imputation": "imputation",
    "group_time": "group-time effects",
    "sdid": "synthetic difference-in-differences",
    "classic": "a synthetic control",
}


def headline(effects: Estimate[Any], areas: Estimate[Any], outcome: str, family: str) -> str:
    """Two or three sentences: overall effect with its interval, and how many single areas stand out."""
    row = effects.where(group="overall").to_frame().iloc[0]
    frame = areas.to_frame()
    if len(frame) == 1:
        return _one_area(frame.iloc[0], row, outcome, family)
    sentences = [_overall(row, outcome, family)]
    null = 1.0 if areas.scale == "log" else 0.0
    known = frame["conf_low"].notna()
    low = int((frame.loc[known, "conf_high"] < null).sum())
    high = int((frame.loc[known, "conf_low"] > null).sum())
    sentences.append(
        f"Of {len(frame)} treated areas, {low} {'has' if low == 1 else 'have'} an interval wholly below no effect and "
        f"{high} wholly above"
        + (f"; for {int((~known).sum())} no interval can be given" if (~known).any() else "")
        + ". With many areas some stand out by chance."
    )
    return " ".join(sentences)


def _one_area(area: pd.Series[Any], row: pd.Series[Any], outcome: str, family: str) -> str:
    """One treated area: its placebo law is the answer."""
    kept = row.copy()
    kept["estimate"], kept["conf_low"], kept["conf_high"] = area["estimate"], area["conf_low"], area["conf_high"]
    kept["status"] = area["status"] or "too few comparison areas"
    said = _overall(kept, outcome, family, "one area")
    law = ""
    if np.isfinite(area["conf_low"]):
        count = int(area["n_placebo"])
        law = f" The interval comes from {count} comparison areas analysed as if they had had the programme."
    return f"One area had the programme: {area['unit']}. {said}{law}"


def _overall(row: pd.Series[Any], outcome: str, family: str, what: str = "the pooled effect") -> str:
    value, low, high = row["estimate"], row["conf_low"], row["conf_high"]
    if family == "poisson":
        # the weight of a ratio is the number expected without the programme
        cases = row["weight"] * (value - 1)
        number = f"{abs(cases):,.0f} {'more' if cases > 0 else 'fewer'} than the {row['weight']:,.0f} expected"
        said = f"{outcome} were {_percent(value)} than expected without the programme, {number}"
        null = 1.0
    else:
        side = "higher" if value > 0 else "lower"
        said = (
            f"{outcome} per treated area and period were on average {figure(abs(value))} {side} than expected without "
            "the programme"
        )
        null = 0.0
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"In the treated periods, {said}; no interval can be given for {what}: {row['status']}."
    within = f"(95 % interval: {interval(low, high, 'log' if family == 'poisson' else 'identity')})"
    if low > null or high < null:
        return f"In the treated periods, {said} {within}."
    return f"In the treated periods, {said} {within}: inconclusive, the interval contains no effect and others."


def _percent(ratio: float) -> str:
    if ratio >= 10:
        return f"{figure(ratio)} times higher"
    return f"{abs(100 * (ratio - 1)):.1f} % {'lower' if ratio < 1 else 'higher'}"


def summary(
    first: str,
    waves: pd.DataFrame,
    areas: pd.DataFrame,
    checks: pd.DataFrame,
    family: str,
    recidivism: Estimate[Any] | None,
    truth: pd.DataFrame | None,
    spread: str = "",
    mixed: str = "",
) -> tuple[str, ...]:
    """The finding for a reader without statistics: what was found, whether methods agree, what to watch."""
    apart = f"Not all valid ways to judge chance agree ({mixed})." if mixed else ""
    found = [first, apart, *_methods(waves, areas, family), spread, _design(checks)]
    if recidivism is not None:
        found.append(_again(recidivism))
    if truth is not None:
        found.append(_true(truth, areas))
    return tuple(text for text in found if text)


def _methods(waves: pd.DataFrame, areas: pd.DataFrame, family: str) -> list[str]:
    """Whether other estimators say the same, in one sentence.

    Pooled differences have t intervals with few degrees of freedom; with one treated area, the distances of that area
    are judged against those of the placebo areas.
    """
    one = areas["unit"].nunique() == 1
    rows = areas if one else waves.loc[waves["cohort"] == ALL]
    rows = rows.loc[np.isfinite(rows["estimate"].to_numpy(dtype=np.float64))]
    if len(rows) < 2:
        return ["Only one method could be used on these data: nothing stands beside it."]
    scale: ScaleName = "log" if family == "poisson" else "identity"
    numbers = ", ".join(
        f"{NAMES.get(name, name)} {effect(value, scale)}"
        for name, value in zip(rows["estimator"], rows["estimate"], strict=True)
    )
    said = f"{len(rows)} methods with different assumptions: {numbers}."
    others = rows.loc[rows["estimator"] != HEADLINE]
    p_value = _tails(others["z"]) if one else others["difference_p"].to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(p_value).any():
        return [f"{said} Whether they differ by more than chance explains cannot be said."]
    apart = [NAMES.get(name, name) for name in others.loc[p_value < ALPHA, "estimator"]]
    if apart:
        return [f"{said} They disagree more than chance explains ({' and '.join(apart)} against {HEADLINE})."]
    null = 1.0 if family == "poisson" else 0.0
    sides = set(np.sign(rows["estimate"].to_numpy(dtype=np.float64) - null))
    if len(sides) > 1:
        return [f"{said} They differ in sign, but not by more than chance explains."]
    return [f"{said} They point in the same direction and differ by no more than chance explains."]


def _tails(z: pd.Series[Any]) -> Any:
    """Normal probability of more than |z|, both sides."""
    from scipy.special import ndtr

    return 2 * ndtr(-np.abs(z.to_numpy(dtype=np.float64, na_value=np.nan)))


def _design(checks: pd.DataFrame) -> str:
    watch = checks.loc[checks["verdict"] == "attention", "check"].tolist()
    asked = counted(int((checks["verdict"] != "not possible").sum()), "check", "checks")
    if not watch:
        return f"Of {asked} of the design, none speaks against it; that is no proof."
    return f"Of {asked} of the design, {len(watch)} {_ask(len(watch))} for attention: {', '.join(watch)}."


def _ask(number: int) -> str:
    return "asks" if number == 1 else "ask"


_TWO_YEARS = {"days": 730, "weeks": 104, "months": 24, "years": 2}


def _again(estimate: Estimate[Any]) -> str:
    """The share with a new case at the horizon nearest to two years, for the most frequent cause."""
    frame = estimate.to_frame()
    frame = frame.loc[np.isfinite(frame["estimate"].to_numpy(dtype=np.float64))]
    if len(frame) == 0:
        return "No share of persons with a new event could be given: follow-up is too short."
    unit = str(estimate.provenance.options.get("time_unit", "days"))
    away = (frame["horizon"] - _TWO_YEARS.get(unit, 0)).abs()
    frame = frame.loc[away == away.min()]
    cause = frame.groupby("outcome")["n_events"].sum().idxmax()
    mine = frame.loc[frame["outcome"] == cause]
    shares = 100 * mine["estimate"].to_numpy(dtype=np.float64)
    least, most = f"{shares.min():.0f}", f"{shares.max():.0f}"
    spread = f"{least} %" if least == most else f"{least} to {most} %"
    groups = "" if len(mine) == 1 else f" (in {len(mine)} groups)"
    return f"Within {mine['horizon'].iloc[0]:,} {unit}, {spread} of the persons{groups} had the event {cause!r}."


def _true(truth: pd.DataFrame, areas: pd.DataFrame) -> str:
    mine = areas.loc[areas["estimator"] == HEADLINE].merge(truth, on="unit", how="inner", suffixes=("", "_truth"))
    known = mine.loc[mine["conf_low"].notna() & mine["truth"].notna()]
    if len(known) == 0:
        return ""
    inside = int(((known["conf_low"] <= known["truth"]) & (known["truth"] <= known["conf_high"])).sum())
    intervals = counted(len(known), "area interval contains", "area intervals contain")
    return (
        f"These data are simulated and the truth is known: {inside} of {intervals} it (95 % should, in the long run)."
    )


def caveats(
    checks: pd.DataFrame, areas: Estimate[Any], panel: Panel, refused: Mapping[str, str], no_counts: str
) -> tuple[str, ...]:
    """What must be read together with the headline."""
    found = [f"{row['check']}: {row['finding']}." for _, row in checks.loc[checks["verdict"] == "attention"].iterrows()]
    if (checks["verdict"] == "not possible").any():
        names = ", ".join(checks.loc[checks["verdict"] == "not possible", "check"])
        found.append(f"Not possible with these data: {names}.")
    found += [f"{_named(name)} could not be used: {why}." for name, why in refused.items()]
    found += [f"{no_counts}."] if no_counts else []
    pool = areas.terms.loc[areas.terms["n_placebo"] > 0, "n_placebo"]
    p_min = 1 / (pool.min() + 1)
    if p_min > 0.05:
        found.append(f"Single areas cannot reach p < {p_min:.3f} with this number of comparison areas.")
    if panel.selection_window is not None:
        found.append("Areas were chosen on the outcome: part of a decline may be regression to the mean.")
    found.append(
        "An effect estimated here is causal only if treated and comparison areas would have moved in parallel."
    )
    return tuple(found)


def _named(name: str) -> str:
    method, _, rest = name.partition(" ")
    return " ".join(part for part in (NAMES.get(method, method), rest) if part)
