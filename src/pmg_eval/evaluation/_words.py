"""The finding in plain words; never a bare p-value, never "no effect" for a wide interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate
from pmg_eval.evaluation._parts import ALL, HEADLINE
from pmg_eval.panel import Panel

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
        f"Of {len(frame)} treated areas, {low} {_have(low)} an interval wholly below no effect and {high} wholly above"
        + (f"; for {int((~known).sum())} no interval can be given" if (~known).any() else "")
        + ". With many areas some stand out by chance."
    )
    return " ".join(sentences)


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _one_area(area: pd.Series[Any], row: pd.Series[Any], outcome: str, family: str) -> str:
    """One treated area: its placebo law is the answer."""
    known = np.isfinite(area["conf_low"]) and np.isfinite(area["conf_high"])
    source = area if known else row
    kept = row.copy()
    kept["estimate"], kept["conf_low"], kept["conf_high"] = area["estimate"], area["conf_low"], area["conf_high"]
    kept["status"] = source["status"] or "too few comparison areas"
    said = _overall(kept, outcome, family, "the effect on one area")
    where = f"One area had the programme: {area['unit']}. "
    count = int(area["n_placebo"])
    law = (
        f" The interval comes from {count} comparison areas analysed as if they had had the programme." if known else ""
    )
    return where + said + law


def _overall(row: pd.Series[Any], outcome: str, family: str, what: str = "the pooled effect") -> str:
    value, low, high = row["estimate"], row["conf_low"], row["conf_high"]
    if family == "poisson":
        # the weight of a ratio is the number expected without the programme
        cases = row["weight"] * (value - 1)
        number = f"{abs(cases):,.0f} {'more' if cases > 0 else 'fewer'} than the {row['weight']:,.0f} expected"
        said = f"{outcome} were {_percent(value)} than expected without the programme, {number}"
        interval = f"(95 % interval: {_signed(low)} to {_signed(high)})"
        null = 1.0
    else:
        said = f"{outcome} changed by {_figure(value)} compared with what would have happened without the programme"
        interval = f"(95 % interval: {_figure(low)} to {_figure(high)})"
        null = 0.0
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"In the treated periods, {said}; no interval can be given for {what}: {row['status']}."
    if low > null or high < null:
        return f"In the treated periods, {said} {interval}."
    return f"In the treated periods, {said} {interval}: inconclusive, the interval contains no effect and others."


def _percent(ratio: float) -> str:
    return f"{abs(100 * (ratio - 1)):.1f} % {'lower' if ratio < 1 else 'higher'}"


def _signed(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def summary(
    first: str,
    waves: pd.DataFrame,
    areas: pd.DataFrame,
    checks: pd.DataFrame,
    family: str,
    recidivism: Estimate[Any] | None,
    truth: pd.DataFrame | None,
) -> tuple[str, ...]:
    """The finding for a reader without statistics: what was found, whether methods agree, what to watch."""
    found = [first, *_methods(waves, areas, family), _design(checks)]
    if recidivism is not None:
        found.append(_again(recidivism))
    if truth is not None:
        found.append(_true(truth, areas))
    return tuple(text for text in found if text)


def _methods(waves: pd.DataFrame, areas: pd.DataFrame, family: str) -> list[str]:
    """Whether other estimators say the same, in one sentence."""
    overall = waves.loc[waves["cohort"] == ALL]
    if len(overall) < 2:
        overall = areas if areas["unit"].nunique() == 1 else overall.iloc[:0]
    finite = overall.loc[np.isfinite(overall["estimate"].to_numpy(dtype=np.float64))]
    if len(finite) < 2:
        return ["Only one method could be used on these data: nothing stands beside it."]
    write = _signed if family == "poisson" else _plain
    numbers = ", ".join(
        f"{NAMES.get(n, n)} {write(v)}" for n, v in zip(finite["estimator"], finite["estimate"], strict=True)
    )
    null = 1.0 if family == "poisson" else 0.0
    sides = np.sign(finite["estimate"].to_numpy(dtype=np.float64) - null)
    # pooled differences have t intervals with few degrees of freedom; those of one area stand against the placebos
    p_value = finite["difference_p"] if "difference_p" in finite else 2 * _tail(finite["z"])
    apart = finite.loc[(p_value < 0.05).to_numpy(dtype=bool, na_value=False), "estimator"]
    said = f"{len(finite)} methods with different assumptions: {numbers}."
    if len(apart):
        others = " and ".join(NAMES.get(name, name) for name in apart)
        return [
            f"{said} They disagree more than chance explains ({others} against {HEADLINE}): look at the checks first."
        ]
    if len(set(sides)) > 1:
        return [f"{said} They differ in sign, but not by more than chance explains."]
    return [f"{said} They point in the same direction and differ by no more than chance explains."]


def _tail(z: pd.Series[Any]) -> pd.Series[Any]:
    """Normal tail beyond |z|."""
    from scipy.special import ndtr

    return pd.Series(ndtr(-np.abs(z.to_numpy(dtype=np.float64))), index=z.index)


def _figure(value: float) -> str:
    """Three digits, and large numbers written out."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _plain(value: float) -> str:
    return f"{'+' if value > 0 else ''}{_figure(value)}"


def _design(checks: pd.DataFrame) -> str:
    watch = checks.loc[checks["verdict"] == "attention", "check"].tolist()
    asked = int((checks["verdict"] != "not possible").sum())
    if not watch:
        return f"{asked} checks of the design found nothing that speaks against it; that is no proof."
    return f"Of {asked} checks of the design, {len(watch)} ask for attention: {', '.join(watch)}."


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
    spread = f"{shares.min():.0f} %" if len(mine) == 1 else f"{shares.min():.0f} to {shares.max():.0f} %"
    groups = "" if len(mine) == 1 else f" (in {len(mine)} groups)"
    return f"Within {mine['horizon'].iloc[0]:,} {unit}, {spread} of the persons{groups} had the event {cause!r}."


def _true(truth: pd.DataFrame, areas: pd.DataFrame) -> str:
    mine = areas.loc[areas["estimator"] == HEADLINE].merge(truth, on="unit", how="inner", suffixes=("", "_truth"))
    known = mine.loc[mine["conf_low"].notna()]
    inside = int(((known["conf_low"] <= known["truth"]) & (known["truth"] <= known["conf_high"])).sum())
    return (
        f"These data are simulated and the truth is known: {inside} of {len(known)} area intervals contain it "
        "(95 % should, in the long run)."
    )


def caveats(checks: pd.DataFrame, areas: Estimate[Any], panel: Panel, refused: Mapping[str, str]) -> tuple[str, ...]:
    """What must be read together with the headline."""
    found = [f"{row['check']}: {row['finding']}." for _, row in checks.loc[checks["verdict"] == "attention"].iterrows()]
    if (checks["verdict"] == "not possible").any():
        names = ", ".join(checks.loc[checks["verdict"] == "not possible", "check"])
        found.append(f"Not possible with these data: {names}.")
    found += [f"{NAMES.get(name, name)} could not be used: {why}." for name, why in refused.items()]
    counted = areas.terms.loc[areas.terms["n_placebo"] > 0, "n_placebo"]
    p_min = 1 / (counted.min() + 1)
    if p_min > 0.05:
        found.append(f"Single areas cannot reach p < {p_min:.3f} with this number of comparison areas.")
    if panel.selection_window is not None:
        found.append("Areas were chosen on the outcome: part of a decline may be regression to the mean.")
    found.append(
        "An effect estimated here is causal only if treated and comparison areas would have moved in parallel."
    )
    return tuple(found)
