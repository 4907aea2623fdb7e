"""Event study: effects by time since the start, pointwise bars, and a shaded simultaneous band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate import Estimate
from pmg_eval.report._axis import EffectAxis
from pmg_eval.report._canvas import (
    LINE,
    PAD,
    arrow,
    bars,
    blank,
    check_width,
    frame_of,
    hairline,
    has_intervals,
    heading,
    heading_height,
    legend_handle,
    point,
    text,
)
from pmg_eval.report._style import (
    AFTER,
    BAND,
    BAND_EDGE,
    BEFORE,
    COMPACT,
    FONT,
    INK,
    MUTED,
    NO_INTERVAL,
    REFERENCE,
    SERIES,
    WIDE,
    Mark,
)
from pmg_eval.report._tables import is_reference
from pmg_eval.report._words import Measure, clean, counted, percent, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Study:
    """Event-study rows ready to be drawn.

    Attributes
    ----------
    frame : DataFrame
        ``event_time, estimate, conf_low, conf_high, status``, ``series`` and, with a band, ``band_low, band_high``.
    measure : Measure
    series : sequence of str
        Names of the curves.
    level : float
    """

    frame: pd.DataFrame
    measure: Measure
    series: Sequence[str]
    level: float

    @property
    def banded(self) -> bool:
        """Whether there is a band to shade."""
        return "band_low" in self.frame and bool(self.frame["band_low"].notna().any())


def study(estimate: Estimate[Any], band: pd.DataFrame | None = None, level: float = 0.95) -> Study:
    """Rows of an event study: pointwise intervals, with the simultaneous ones beside them.

    Raises
    ------
    DataError
        No event times, more than four curves, or several terms for one event time of a curve.
    """
    if "event_time" not in estimate.terms:
        fix = 'average(by="event_time")'
        raise DataError("PMG-TERMS", "these terms have no event_time", where=estimate.labels, fix=fix)
    used = np.flatnonzero(estimate.terms["event_time"].notna())
    if len(used) == 0:
        raise DataError("PMG-TERMS", "no term has an event_time", fix='average(by="event_time")')
    part = estimate.take(used)
    frame = frame_of(part, level)
    frame["event_time"] = frame["event_time"].astype("float64")
    # Pre-trends and effects may bear different estimands; they are one curve.
    others = [n for n in part.labels if n not in ("event_time", "estimand") and frame[n].nunique(dropna=False) > 1]
    frame["series"] = [" · ".join(clean(row[name]) for name in others) for _, row in frame.iterrows()]
    names = list(dict.fromkeys(frame["series"]))
    if len(names) > len(SERIES) or frame.duplicated(["series", "event_time"]).any():
        raise DataError(
            "PMG-PLOT",
            f"an event study shows one term per event time and at most {len(SERIES)} curves, these are {len(names)}",
            where=others,
            fix='average(by="event_time") first, or where(...)',
        )
    if band is not None:
        frame = _with_band(frame, band, others)
    frame = frame.sort_values(["series", "event_time"], kind="stable", ignore_index=True)
    return Study(frame, Measure.of(frame, estimate.scale), names, level)


def _with_band(frame: pd.DataFrame, band: pd.DataFrame, others: Sequence[str]) -> pd.DataFrame:
    """The band's limits beside the rows they belong to, matched by label."""
    lacking = [name for name in ("event_time", "conf_low", "conf_high") if name not in band]
    if lacking:
        raise DataError("PMG-COLUMN", "the band lacks columns", where=lacking, fix="estimate.band()")
    keys = ["event_time", *(name for name in others if name in band)]
    right = band.loc[band["event_time"].notna(), [*keys, "conf_low", "conf_high"]].copy()
    right["event_time"] = right["event_time"].astype("float64")
    right = right.rename(columns={"conf_low": "band_low", "conf_high": "band_high"}).drop_duplicates(keys)
    merged = frame.merge(right, on=keys, how="left")
    for name in ("band_low", "band_high"):
        merged[name] = merged[name].astype("float64")
    return merged


def event_study(
    estimate: Estimate[Any],
    band: pd.DataFrame | None = None,
    *,
    level: float = 0.95,
    width: float = WIDE,
    title: str | None = None,
) -> Figure:
    """Draw effects by time since the start.

    Parameters
    ----------
    estimate : Estimate
        Terms labelled by ``event_time``; up to four curves that differ in another label.
    band : DataFrame, optional
        What ``estimate.band()`` returned: simultaneous limits, shaded behind the pointwise bars.
    level : float
        Confidence level of the pointwise bars.
    width : float
        Width in points (CSS pixels in a page).
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Hollow marks before the start, filled ones after it, a diamond at the reference period; under the axis the
        number of treated areas behind each point.

    Raises
    ------
    DataError
        No event times, more than four curves, or several terms for one event time of a curve.
    """
    check_width(width)
    return _EventStudy(study(estimate, band, level), width).draw(title)


class _EventStudy:
    """One drawing in progress."""

    def __init__(self, content: Study, width: float) -> None:
        self.content = content
        self.frame = content.frame
        self.width = width
        self.compact = width < COMPACT
        self.axis = EffectAxis.of(self.frame, content.measure.scale)
        self.barred = has_intervals(self.frame)
        self.times = np.unique(self.frame["event_time"].to_numpy())

    def draw(self, title: str | None) -> Figure:
        handles = self._handles()
        top = heading_height(title, handles, self.width) + LINE + 4
        counts = "n_treated" in self.frame
        bottom = (3 if counts else 2) * LINE + 10 + PAD
        inner = 220.0 if self.compact else 290.0
        left, right = (50.0 if self.compact else 62.0), PAD + 4
        figure, axes = blank(self.width, top + bottom + inner, left=left, right=right, top=top, bottom=bottom)
        self.axis.apply(axes, "y", 6, length=inner)
        hairline(axes, "y")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        shown = self._time_axis(axes)
        for position, name in enumerate(self.content.series):
            self._curve(axes, position, self.frame.loc[self.frame["series"] == name])
        above = f"{self.axis.title}; {bars(self.frame, self.content.level)}"
        start = (PAD - left) / (self.width - left - right)
        text(axes, start, 1 + 6 / inner, above, transform=axes.transAxes, color=MUTED, va="bottom")
        self._below(axes, inner, shown, counts)
        heading(figure, title, handles, self.width)
        return figure

    def _time_axis(self, axes: Axes) -> list[float]:
        """Limits and ticks, the line of no effect and the line of the start; returns the labelled times."""
        from matplotlib.ticker import FixedFormatter, FixedLocator

        first, last = float(self.times[0]), float(self.times[-1])
        axes.set_xlim(first - 0.6, last + 0.6)
        step = max(1, math.ceil((last - first + 1) / (9 if self.compact else 24)))
        shown = [float(time) for time in self.times if time % step == 0] or [first]
        axes.xaxis.set_major_locator(FixedLocator(shown))
        axes.xaxis.set_major_formatter(FixedFormatter([_integer(time) for time in shown]))
        if math.isfinite(self.axis.null):
            axes.axhline(self.axis.null, color=INK, linewidth=1.1, zorder=2)
        if first < 0 <= last:
            axes.axvline(-0.5, color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)), zorder=2)
            gap = 5 * (last - first + 1.2) / self.width
            where = {"transform": axes.get_xaxis_transform(), "va": "top", "fontsize": FONT - 1}
            text(axes, -0.5 + gap, 1.0, "start", color=MUTED, **where)
        return shown

    def _below(self, axes: Axes, inner: float, shown: Sequence[float], counts: bool) -> None:
        """Areas behind each point, and the name of the axis."""
        depth = 6 + LINE
        if counts:
            many = self.frame.groupby("event_time")["n_treated"].max()
            style = {"va": "top", "color": MUTED, "fontsize": FONT - 1}
            for time in shown:
                where = {"transform": axes.get_xaxis_transform(), "ha": "center"}
                text(axes, time, -depth / inner, whole(many.get(time)), **where, **style)
            text(axes, -0.01, -depth / inner, "areas", transform=axes.transAxes, ha="right", **style)
            depth += LINE
        words = "Periods since the start (0 = first treated)"
        text(axes, 0.5, -depth / inner, words, transform=axes.transAxes, ha="center", va="top", color=MUTED)

    def _curve(self, axes: Axes, position: int, rows: pd.DataFrame) -> None:
        many = len(self.content.series)
        shift = 0.0 if many == 1 else 0.18 * (position - (many - 1) / 2)
        for _, row in rows.iterrows():
            x = row["event_time"] + shift
            mark = self._mark(row, position)
            if self.content.banded:
                self._box(axes, x, row, 0.34 if many == 1 else 0.08)
            self._bar(axes, x, row, mark)

    def _mark(self, row: pd.Series[Any], position: int) -> Mark:
        if is_reference(row["status"]):
            return REFERENCE
        if self.barred and math.isnan(row["conf_low"]):
            return NO_INTERVAL
        before = row["event_time"] < 0
        if len(self.content.series) == 1:
            return BEFORE if before else AFTER
        shape, color = SERIES[position]
        return Mark(shape, color, not before, self.content.series[position])

    def _box(self, axes: Axes, x: float, row: pd.Series[Any], half: float) -> None:
        low, high = row["band_low"], row["band_high"]
        if math.isnan(low) or math.isnan(high):
            return
        low, high = self.axis.inside([low, high])
        axes.fill_between([x - half, x + half], low, high, facecolor=BAND, edgecolor="none", zorder=1.5)
        for end, beyond in ((low, row["band_low"] < low), (high, row["band_high"] > high)):
            if not beyond:  # a box without an edge goes on outside the figure
                axes.plot([x - half, x + half], [end, end], color=BAND_EDGE, linewidth=1.0, zorder=1.6)

    def _bar(self, axes: Axes, x: float, row: pd.Series[Any], mark: Mark) -> None:
        value, low, high = row["estimate"], row["conf_low"], row["conf_high"]
        axis = self.axis
        if not (math.isnan(low) or math.isnan(high)):
            drawn = axis.inside([low, high])
            axes.plot([x, x], drawn, color=mark.color, linewidth=2.0, solid_capstyle="butt", zorder=3)
            if low < axis.low:
                arrow(axes, x, drawn[0], "v", mark.color)
            if high > axis.high:
                arrow(axes, x, drawn[1], "^", mark.color)
        if math.isnan(value):
            return
        if value < axis.low or value > axis.high:
            arrow(axes, x, float(axis.inside(value)), "v" if value < axis.low else "^", mark.color)
        else:
            point(axes, x, value, mark)

    def _handles(self) -> list[Any]:
        from matplotlib.patches import Patch

        series = list(self.content.series)
        used = {self._mark(row, series.index(row["series"])) for _, row in self.frame.iterrows()}
        # Of several curves, each is shown by its mark after the start.
        curves = [Mark(*SERIES[i], True, name) for i, name in enumerate(series)] if len(series) > 1 else []
        handles: list[Any] = [legend_handle(mark) for mark in curves]
        handles += [legend_handle(mark) for mark in (BEFORE, REFERENCE, AFTER, NO_INTERVAL) if mark in used]
        if self.content.banded:
            words = f"{percent(100 * self.content.level, 0, signed=False)} for all periods at once"
            handles.append(Patch(facecolor=BAND, edgecolor=BAND_EDGE, label=words))
        return handles


def _integer(time: float) -> str:
    return f"{time:g}".replace("-", "\u2212")


def event_study_text(content: Study) -> str:
    """The plot in words."""
    frame, measure = content.frame, content.measure
    shown = frame.loc[np.isfinite(frame["estimate"]) & ~frame["status"].map(is_reference).astype(bool)]
    parts = [f"Event study of {counted(frame['event_time'].nunique(), 'period')}"]
    for name, rows in (("before", shown.loc[shown["event_time"] < 0]), ("after", shown.loc[shown["event_time"] >= 0])):
        if len(rows):
            low, high = measure.natural(rows["estimate"].min()), measure.natural(rows["estimate"].max())
            said = f"{counted(len(rows), 'estimate')} {name} the start, from {low} to {high}"
            outside = int(((rows["conf_low"] > measure.null) | (rows["conf_high"] < measure.null)).sum())
            beside = f"{outside} with a pointwise interval that excludes no effect"
            parts.append(f"{said}, {beside if has_intervals(rows) else 'without intervals'}")
    return ". ".join(parts) + ". The numbers are in the table that follows."


__all__ = ["Study", "event_study", "event_study_text", "study"]
