"""Forest plot: one row per area, wave or group, its interval, and the line of no effect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate
from pmg_eval.numerics.rows import Array
from pmg_eval.report._axis import EffectAxis
from pmg_eval.report._canvas import (
    LINE,
    PAD,
    Name,
    arrow,
    bars,
    blank,
    check_width,
    fitting,
    frame_of,
    hairline,
    heading,
    heading_height,
    legend_handle,
    point,
    term_names,
    text,
    width_of,
)
from pmg_eval.report._style import (
    ABOVE,
    BELOW,
    COMPACT,
    FONT,
    GRID,
    INCLUDES,
    INK,
    MUTED,
    NO_INTERVAL,
    PLAIN,
    TRUTH,
    WIDE,
    Mark,
)
from pmg_eval.report._words import Measure, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TALL = 15  # rows from which the axis is labelled at both ends
_MOST = 400  # rows in one figure; beyond that nobody reads it
LEGEND = (BELOW, INCLUDES, ABOVE, PLAIN, NO_INTERVAL)


def verdicts(frame: pd.DataFrame, null: float) -> list[Mark]:
    """Where every interval lies relative to no effect."""
    return [_verdict(low, high, null) for low, high in zip(frame["conf_low"], frame["conf_high"], strict=True)]


def _verdict(low: float, high: float, null: float) -> Mark:
    if math.isnan(low) or math.isnan(high):
        return NO_INTERVAL
    if math.isnan(null):
        return PLAIN
    return BELOW if high < null else ABOVE if low > null else INCLUDES


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows from the smallest estimate to the largest, missing ones last; ties keep their order."""
    return frame.sort_values("estimate", kind="stable", na_position="last").reset_index(drop=True)


def forest(
    estimate: Estimate[Any],
    *,
    level: float = 0.95,
    width: float = WIDE,
    sort: bool = True,
    title: str | None = None,
    truth: Array | None = None,
) -> Figure:
    """Draw one row per term: point, interval, and both in numbers; the height grows with the number of terms.

    Parameters
    ----------
    estimate : Estimate
        Terms labelled by unit, cohort, group or contrast.
    level : float
        Confidence level of the intervals.
    width : float
        Width in points (CSS pixels in a page); below 480 the labels stand above their lines.
    sort : bool
        Order by estimate instead of by the order of the terms.
    title : str, optional
    truth : ndarray (k,), optional
        True effect of each term (simulated data), NaN where it is not known: drawn as an upright line.

    Returns
    -------
    matplotlib.figure.Figure
        Ratios (scale ``"log"``) are drawn on a logarithmic axis around 1, differences around 0. An interval that
        reaches beyond the axis ends in an arrow.
    """
    check_width(width)
    frame = frame_of(estimate.take(range(min(len(estimate), _MOST))), level)
    if truth is not None:
        frame["truth"] = truth[: len(frame)]
    frame = ordered(frame) if sort else frame
    names = term_names(frame, estimate.labels)
    drawing = _Forest(frame, names, Measure.of(frame, estimate.scale), width, level)
    return drawing.draw(title, len(estimate) - len(frame))


@dataclass(frozen=True)
class _Layout:
    """Sizes of a forest plot; on a phone the label stands above the line instead of beside it."""

    compact: bool
    columns: int
    left: float
    right: float
    row: float

    @classmethod
    def of(cls, names: Sequence[Name], numbers: Sequence[str], width: float) -> _Layout:
        room = width_of(numbers)
        if width < COMPACT:
            columns = int((width - 2 * PAD - room - 8) / width_of("m"))
            return cls(True, max(columns, 10), PAD + 8, PAD + 8, 44.0)
        columns = int(0.32 * width / width_of("m"))
        longest = width_of([name.within(columns) for name in names])
        return cls(False, columns, PAD + longest + 14, PAD + room + 16, 26.0)


class _Forest:
    """One drawing in progress."""

    def __init__(
        self, frame: pd.DataFrame, names: Sequence[Name], measure: Measure, width: float, level: float
    ) -> None:
        self.frame = frame
        self.level = level
        self.width = width
        self.axis = EffectAxis.of(frame, measure.scale)
        self.marks = verdicts(frame, self.axis.null)
        self.numbers = [_numbers(measure, row) for _, row in frame.iterrows()]
        self.layout = _Layout.of(names, self.numbers, width)
        columns = self.layout.columns
        self.words = fitting(names, columns) if self.layout.compact else [name.within(columns) for name in names]

    def draw(self, title: str | None, left_out: int) -> Figure:
        layout, n = self.layout, len(self.frame)
        handles = [legend_handle(mark) for mark in LEGEND if mark in self.marks]
        if "truth" in self.frame and self.frame["truth"].notna().any():
            handles.append(legend_handle(TRUTH))
        ticks = 2 * LINE if self.axis.ratio else LINE
        tall = n > _TALL
        top = heading_height(title, handles, self.width) + (ticks + 4 if tall else 2)
        bottom = ticks + (2 if left_out else 1) * LINE + 8 + PAD
        inner = n * layout.row
        margins = {"left": layout.left, "right": layout.right, "top": top, "bottom": bottom}
        figure, axes = blank(self.width, top + bottom + inner, **margins)
        length, margin = self.width - layout.left - layout.right, min(layout.left, layout.right)
        most = 5 if layout.compact else 7
        self.axis.apply(axes, "x", most, length=length, margin=margin, changes=True)
        axes.set_ylim(n - 0.5, -0.5)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.tick_params(labeltop=tall)
        hairline(axes, "x")
        if math.isfinite(self.axis.null):
            axes.axvline(self.axis.null, color=INK, linewidth=1.1, zorder=2)
        for position in range(n):
            self._row(axes, position)
        below = f"{self.axis.title}; {bars(self.frame, self.level)}"
        below += f"\n{left_out:,} further terms are not drawn" if left_out else ""
        where = {"transform": axes.transAxes, "ha": "center", "va": "top", "color": MUTED}
        text(axes, 0.5, -(ticks + 6) / inner, below, **where)
        heading(figure, title, handles, self.width)
        return figure

    def _row(self, axes: Axes, position: int) -> None:
        layout = self.layout
        inner = self.width - layout.left - layout.right
        left, right = (PAD - layout.left) / inner, 1 + (layout.right - PAD) / inner
        style: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center"}
        if layout.compact:  # the lines behind must not run through the words
            style |= {"zorder": 5, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 2.0}}
        words = position - 0.2 if layout.compact else position
        text(axes, left, words, self.words[position], ha="left", **style)
        text(axes, right, words, self.numbers[position], ha="right", **style)
        if position:
            rule: dict[str, Any] = {"color": GRID, "linewidth": 0.7, "clip_on": False, "zorder": 1}
            axes.plot([left, right], [position - 0.5] * 2, transform=axes.get_yaxis_transform(), **rule)
        y = position + (0.22 if layout.compact else 0.0)
        interval_line(axes, self.axis, y, self.frame.iloc[position], self.marks[position])


def interval_line(axes: Axes, axis: EffectAxis, y: float, row: pd.Series[Any], mark: Mark) -> None:
    """A point with its interval on a horizontal line; what reaches beyond the axis ends in an arrow."""
    value, low, high = row["estimate"], row["conf_low"], row["conf_high"]
    if not (math.isnan(low) or math.isnan(high)):
        drawn = axis.inside([low, high])
        axes.plot(drawn, [y, y], color=mark.color, linewidth=2.0, solid_capstyle="butt", zorder=3)
        if low < axis.low:
            arrow(axes, drawn[0], y, "<", mark.color)
        if high > axis.high:
            arrow(axes, drawn[1], y, ">", mark.color)
    if math.isnan(value):
        text(axes, float(axis.low), y, "not estimated", color=MUTED, va="center", fontsize=FONT - 1)
    elif value < axis.low or value > axis.high:
        arrow(axes, float(axis.inside(value)), y, "<" if value < axis.low else ">", mark.color)
    else:
        point(axes, value, y, mark)
    true = row.get("truth", math.nan)
    if not math.isnan(true):
        beyond = "<" if true < axis.low else ">" if true > axis.high else ""
        if beyond:
            arrow(axes, float(axis.inside(true)), y, beyond, TRUTH.color)
        else:
            point(axes, true, y, TRUTH)


def _numbers(measure: Measure, row: pd.Series[Any]) -> str:
    interval = measure.interval(row["conf_low"], row["conf_high"])
    value = measure.value(row["estimate"])
    return f"{value} ({interval})" if " to " in interval else value


def forest_text(frame: pd.DataFrame, measure: Measure, what: str = "area") -> str:
    """The plot in words: range of the estimates and how many intervals exclude no effect."""
    finite = frame.loc[np.isfinite(frame["estimate"])]
    if len(finite) == 0:
        return f"Forest plot of {counted(len(frame), what)}; no estimate could be given."
    low, high = finite["estimate"].min(), finite["estimate"].max()
    said = f"Forest plot of {counted(len(frame), what)}. "
    said += f"Estimates range from {measure.natural(low)} to {measure.natural(high)}. "
    marks = verdicts(frame, measure.null)
    counts = [f"{marks.count(mark)} {mark.words}" for mark in LEGEND if mark in marks]
    return said + "Number of intervals: " + "; ".join(counts) + ". The numbers are in the table that follows."


__all__ = ["forest", "forest_text", "interval_line", "ordered", "verdicts"]
