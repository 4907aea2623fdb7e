"""Shares of persons with an event over time, ready to be drawn and tabulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate
from pmg_eval.numerics.rows import Array
from pmg_eval.report._columns import capital, floats
from pmg_eval.report._like import INTERVAL, measured
from pmg_eval.report._style import CURVES, Stroke
from pmg_eval.report._words import NOTHING, clean, counted, missing, number, percent, whole

MOST = len(CURVES)  # curves in one figure
MONTH = 365.25 / 12
_STEPS = (1, 2, 3, 6, 12, 24, 36, 60, 120)
_EVERYBODY = ("", "all")  # the only group of persons that were not grouped
_NEEDED = {"time", "estimate", "conf_low", "conf_high"}


@dataclass(frozen=True, eq=False)
class Curve:
    """The share of one group over time, as a step function.

    Attributes
    ----------
    name : str
    stroke : Stroke
    time, share, low, high : ndarray (t,)
        Days with an event and what holds from that day on.
    risk_time, at_risk : ndarray (u,)
        Days with an event of any kind, and the persons at risk just before it.
    """

    name: str
    stroke: Stroke
    time: Array
    share: Array
    low: Array
    high: Array
    risk_time: Array
    at_risk: Array

    def at_risk_from(self, time: float) -> float:
        """Persons at risk at the first event of any kind at or after a time; NaN after the last event."""
        later = int(np.searchsorted(self.risk_time, time, side="left"))
        return float(self.at_risk[later]) if later < len(self.risk_time) else math.nan

    def thinned(self, step: float) -> Curve:
        """One change per ``step`` of time at most: finer steps could not be seen."""
        bins = np.floor(self.time / step)
        keep = np.r_[bins[1:] != bins[:-1], True] if len(bins) else np.zeros(0, dtype=bool)
        kept = {name: getattr(self, name)[keep] for name in ("time", "share", "low", "high")}
        return replace(self, **kept)


@dataclass(frozen=True, eq=False)
class Incidence:
    """Curves of one kind of event.

    Attributes
    ----------
    cause : str
        Empty when there is only one.
    curves : sequence of Curve
    left_out : int
        Groups that are not drawn.
    unit : str
        Unit of time.
    """

    cause: str
    curves: Sequence[Curve]
    left_out: int
    unit: str

    @property
    def last(self) -> float:
        """Last time of any curve."""
        return max((float(curve.time[-1]) for curve in self.curves if len(curve.time)), default=1.0)

    def ticks(self, most: int) -> tuple[Array, list[str], str]:
        """Times to label, their labels, and the name of the axis: long times in days are told in months."""
        from matplotlib.ticker import MaxNLocator

        if self.unit == "days" and self.last > 3 * MONTH:
            months = self.last / MONTH
            step = next((step for step in _STEPS if months / step <= most), _STEPS[-1])
            ticks = np.arange(0, months + 0.05, step)  # 730 days are two years
            return (
                np.floor(ticks * MONTH),
                [number(float(tick), 0) for tick in ticks],
                "Months since the start of follow-up",
            )
        found = np.asarray(MaxNLocator(most, steps=[1, 2, 5, 10], integer=True).tick_values(0, self.last))
        found = found[(found >= 0) & (found <= self.last)]
        return found, [number(float(tick), 0) for tick in found], f"{capital(self.unit)} since the start of follow-up"


def time_unit(estimate: Estimate[Any]) -> str:
    """Unit of the horizons."""
    return clean(estimate.provenance.options.get("time_unit", "days")) or "days"


def incidences(estimate: Estimate[Any]) -> list[Incidence]:
    """The curves in the details of an estimate, one set per cause; none where they were not kept."""
    frame = getattr(estimate.details, "curves", None)
    if not isinstance(frame, pd.DataFrame) or not set(frame.columns) >= _NEEDED or len(frame) == 0:
        return []
    rows = floats(frame, "time", "estimate", "conf_low", "conf_high", "n_at_risk")
    rows["group"] = [clean(value) for value in frame["group"]] if "group" in frame else ""
    rows["cause"] = [clean(value) for value in frame["cause"]] if "cause" in frame else ""
    unit, several = time_unit(estimate), rows["cause"].nunique() > 1
    found = []
    for cause, part in rows.groupby("cause", sort=False):
        groups = list(dict.fromkeys(part["group"]))
        curves = [_curve(rows, part, name, position) for position, name in enumerate(groups[:MOST])]
        left_out = max(len(groups) - MOST, 0)
        found.append(Incidence(str(cause) if several else "", curves, left_out, unit))
    return found


def _curve(rows: pd.DataFrame, of_cause: pd.DataFrame, name: str, position: int) -> Curve:
    part = of_cause.loc[of_cause["group"] == name].sort_values("time", kind="stable")
    risk = rows.loc[rows["group"] == name].sort_values("time", kind="stable").drop_duplicates("time")
    color, dashes = CURVES[position]
    shown = name if name not in _EVERYBODY else "All persons"
    return Curve(
        shown,
        Stroke(color, dashes, shown),
        *(part[column].to_numpy(dtype=np.float64) for column in ("time", "estimate", "conf_low", "conf_high")),
        *(risk[column].to_numpy(dtype=np.float64) for column in ("time", "n_at_risk")),
    )


def incidence_text(content: Incidence, estimate: Estimate[Any]) -> str:
    """The figure in words: every group at its last horizon."""
    frame, _ = measured(estimate)
    frame = _of_cause(frame, content.cause)
    parts = [
        f"Step curves of the share of persons with the event{f' ({content.cause})' if content.cause else ''} over "
        f"time, for {counted(len(content.curves), 'group')}, with 95\u00a0% bands"
    ]
    for curve in content.curves:
        mine = frame.loc[[group_words(row) == curve.name for _, row in frame.iterrows()]]
        mine = mine.loc[np.isfinite(mine["estimate"])]
        if len(mine):
            row = mine.iloc[-1]
            share = share_words(row["estimate"])
            interval = share_interval(row["conf_low"], row["conf_high"])
            said = f"{curve.name}: {share} after {horizon_words(row, content.unit)}"
            parts.append(said + ("" if interval == NOTHING else f" ({INTERVAL} {interval})"))
    if content.left_out:
        parts.append(f"{counted(content.left_out, 'further group')} not drawn")
    return ". ".join(parts) + ". The numbers are in the table that follows."


def _of_cause(frame: pd.DataFrame, cause: str) -> pd.DataFrame:
    if not cause or "outcome" not in frame:
        return frame
    return frame.loc[[clean(value) == cause for value in frame["outcome"]]]


def group_words(row: pd.Series[Any]) -> str:
    """Name of a group."""
    name = clean(row.get("group"))
    return name if name not in _EVERYBODY else "All persons"


def horizon_words(row: pd.Series[Any], unit: str) -> str:
    """A horizon with its unit."""
    value: Any = row.get("horizon")
    if missing(value):
        return "the end of follow-up"
    return f"{whole(value) if isinstance(value, int | float | np.number) else clean(value)}\u00a0{unit}"


def share_words(value: float) -> str:
    """A share in percent."""
    return percent(100 * value, 1, signed=False)


def share_interval(low: float, high: float) -> str:
    """Limits of a share in percent; a dash when there are none."""
    if math.isnan(low) or math.isnan(high):
        return NOTHING
    return f"{share_words(low)} to {share_words(high)}"


__all__ = [
    "MOST",
    "Curve",
    "Incidence",
    "group_words",
    "horizon_words",
    "incidence_text",
    "incidences",
    "share_interval",
    "share_words",
    "time_unit",
]
