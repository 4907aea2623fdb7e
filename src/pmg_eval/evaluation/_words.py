"""The finding in plain words; never a bare p-value, never "no effect" for a wide interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate
from pmg_eval.panel import Panel


def headline(effects: Estimate[Any], areas: Estimate[Any], outcome: str, family: str) -> str:
    """Two or three sentences: overall effect with its interval, and how many single areas stand out."""
    row = effects.where(group="overall").to_frame().iloc[0]
    sentences = [_overall(row, outcome, family)]
    frame = areas.to_frame()
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


def _overall(row: pd.Series[Any], outcome: str, family: str) -> str:
    value, low, high = row["estimate"], row["conf_low"], row["conf_high"]
    if family == "poisson":
        # the weight of a ratio is the number expected without the programme
        cases = row["weight"] * (value - 1)
        number = f"{abs(cases):,.0f} {'more' if cases > 0 else 'fewer'} than the {row['weight']:,.0f} expected"
        said = f"{outcome} were {_percent(value)} than expected without the programme, {number}"
        interval = f"(95 % interval: {_signed(low)} to {_signed(high)})"
        null = 1.0
    else:
        said = f"{outcome} changed by {value:.3g} compared with what would have happened without the programme"
        interval = f"(95 % interval: {low:.3g} to {high:.3g})"
        null = 0.0
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"In the treated periods, {said}; no interval can be given for the pooled effect: {row['status']}."
    if low > null or high < null:
        return f"In the treated periods, {said} {interval}."
    return f"In the treated periods, {said} {interval}: inconclusive, the interval contains no effect and others."


def _percent(ratio: float) -> str:
    return f"{abs(100 * (ratio - 1)):.1f} % {'lower' if ratio < 1 else 'higher'}"


def _signed(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def caveats(checks: pd.DataFrame, areas: Estimate[Any], panel: Panel) -> tuple[str, ...]:
    """What must be read together with the headline."""
    found = [f"{row['check']}: {row['finding']}." for _, row in checks.loc[checks["verdict"] == "attention"].iterrows()]
    if (checks["verdict"] == "not possible").any():
        names = ", ".join(checks.loc[checks["verdict"] == "not possible", "check"])
        found.append(f"Not possible with these data: {names}.")
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
