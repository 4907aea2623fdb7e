"""Small multiples: one small chart per treated area, all in one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pmg_eval.numerics.rows import Array
from pmg_eval.report._axis import plain_ticks, tick_words
from pmg_eval.report._canvas import (
    PAD,
    check_width,
    heading,
    heading_height,
    line,
    sheet,
    stroke_handle,
    text,
    width_of,
)
from pmg_eval.report._paths import Path, Paths
from pmg_eval.report._style import (
    BAND,
    BOLD,
    COMPACT,
    FONT,
    GRID,
    LETTER,
    MUTED,
    OBSERVED,
    START,
    SYNTHETIC,
    WIDE,
    Stroke,
)
from pmg_eval.report._words import columns_of, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 60  # areas in one figure: half from each end of the order
SMALL = FONT - 1
_PLOT = 92.0  # height of a chart
_GUTTER = 18.0
_UNEQUAL = 4.0  # longest range over the median one, from which charts get scales of their own


def chosen(content: Paths) -> Sequence[Path]:
    """The areas that are drawn: all, or those at both ends of the order."""
    if len(content) <= MOST:
        return content.paths
    return [*content.paths[: MOST // 2], *content.paths[-(MOST // 2) :]]


def same_span(content: Paths) -> bool:
    """Whether all charts cover the same range, so that the same gap has the same height everywhere."""
    spans = np.array([high - low for low, high in (path.limits for path in chosen(content))])
    spans = spans[np.isfinite(spans)]
    return bool(len(spans) and spans.max() <= _UNEQUAL * max(float(np.median(spans)), 1e-300))


def panels(content: Paths, *, width: float = WIDE, title: str | None = None) -> Figure:
    """Draw one small chart per area: observed and synthetic, the start as a vertical line.

    Parameters
    ----------
    content : Paths
        In the order of the charts.
    width : float
        Width in points: two columns on a phone, four or five on a desk.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Every chart has a level of its own; all cover the same range unless ranges differ too much
        (:func:`same_span`).
    """
    check_width(width)
    return _Panels(content, width).draw(title)


@dataclass(frozen=True)
class _Box:
    """The plot of one chart, in points from the top left corner, and what its edges stand for."""

    left: float
    top: float
    right: float
    bottom: float
    low: float
    high: float
    last: float  # position of the last period

    def x(self, place: Array | float) -> Array:
        """Points of positions among the periods."""
        step = (self.right - self.left) / (self.last + 1)
        return np.asarray(self.left + step * (np.asarray(place) + 0.5))

    def y(self, value: Array | float) -> Array:
        """Points of values."""
        share = (np.asarray(value) - self.low) / (self.high - self.low)
        return np.asarray(self.bottom - share * (self.bottom - self.top))


class _Panels:
    """One drawing in progress."""

    def __init__(self, content: Paths, width: float) -> None:
        self.content, self.width = content, width
        self.paths = chosen(content)
        self.columns = 2 if width < COMPACT else 4 if width < 960 else 5
        self.columns = max(1, min(self.columns, len(self.paths)))
        self.cell = (width - 2 * PAD - (self.columns - 1) * _GUTTER) / self.columns
        self.limits = _limits(self.paths, same=same_span(content), rate=content.rate)
        self.ticks = [plain_ticks(low, high, 3) for low, high in self.limits]
        self.margin = max((width_of(tick_words(ticks), SMALL) for ticks in self.ticks), default=0.0) + 6
        longest = max((columns_of(path.unit) * BOLD + columns_of(path.effect) + 1 for path in self.paths), default=0)
        self.stacked = longest * LETTER * FONT > self.cell
        self.head = (2 if self.stacked else 1) * 17.0 + 4

    def draw(self, title: str | None) -> Figure:
        handles = [stroke_handle(stroke) for stroke in (OBSERVED, SYNTHETIC, START)]
        top = heading_height(title, handles, self.width) + 6
        row = self.head + _PLOT + 18 + _GUTTER
        rows = math.ceil(len(self.paths) / self.columns)
        figure, axes = sheet(self.width, top + rows * row - _GUTTER + PAD)
        for position, path in enumerate(self.paths):
            down, across = divmod(position, self.columns)
            self._panel(axes, position, path, PAD + across * (self.cell + _GUTTER), top + down * row)
        heading(figure, title, handles, self.width, handle=2.4)
        return figure

    def _panel(self, axes: Axes, position: int, path: Path, left: float, top: float) -> None:
        low, high = self.limits[position]
        last = max(len(self.content.periods) - 1, 0)
        plot = top + self.head
        box = _Box(left + self.margin, plot, left + self.cell, plot + _PLOT, low, high, last)
        self._head(axes, path, left, top)
        for tick, words in zip(self.ticks[position], tick_words(self.ticks[position]), strict=True):
            y = float(box.y(float(tick)))
            axes.plot([box.left, box.right], [y, y], color=GRID, linewidth=0.8, zorder=1)
            text(axes, box.left - 5, y, words, ha="right", va="center", fontsize=SMALL, color=MUTED)
        axes.plot([box.left, box.right], [box.bottom] * 2, color=MUTED, linewidth=0.8, zorder=2)
        self._lines(axes, path, box)
        self._labels(axes, path, box)

    def _head(self, axes: Axes, path: Path, left: float, top: float) -> None:
        room = self.cell if self.stacked else self.cell - width_of([path.effect]) - 6
        name = shortened(path.unit, int(room / (LETTER * FONT * BOLD)))
        text(axes, left, top + 2, name, va="top", weight="bold")
        if self.stacked:
            text(axes, left, top + 19, path.effect, va="top", color=MUTED)
        else:
            text(axes, left + self.cell, top + 2, path.effect, va="top", ha="right", color=MUTED)

    def _lines(self, axes: Axes, path: Path, box: _Box) -> None:
        x, observed, synthetic = box.x(path.place), box.y(path.observed), box.y(path.synthetic)
        known = path.after & np.isfinite(path.gap)
        if known.any():
            style: dict[str, Any] = {"facecolor": BAND, "edgecolor": "none", "zorder": 1.5}
            axes.fill_between(x, observed, synthetic, where=known, **style)
        if 0 < path.start <= box.last:
            where = float(box.x(path.start - 0.5))
            line(axes, [where, where], [box.top, box.bottom], START, zorder=2)
        line(axes, x, synthetic, Stroke(SYNTHETIC.color, SYNTHETIC.dashes, "", 1.6), zorder=3)
        line(axes, x, observed, Stroke(OBSERVED.color, OBSERVED.dashes, "", 1.8), zorder=4)

    def _labels(self, axes: Axes, path: Path, box: _Box) -> None:
        """The start, the first and the last period, as far as their labels stand clear of each other."""
        periods = self.content.periods
        wanted = [int(path.start)] if 0 < path.start <= box.last else []
        wanted += [0, int(box.last)]
        taken: list[tuple[float, float]] = []
        for position in dict.fromkeys(wanted):
            words = periods[position]
            half = width_of([words], SMALL) / 2
            middle = min(max(float(box.x(float(position))), box.left + half - 8), box.right - half + 2)
            if all(middle + half + 5 <= low or middle - half - 5 >= high for low, high in taken):
                taken.append((middle - half, middle + half))
                text(axes, middle, box.bottom + 4, words, ha="center", va="top", fontsize=SMALL, color=MUTED)


def _limits(paths: Sequence[Path], *, same: bool, rate: bool) -> list[tuple[float, float]]:
    """Limits of every chart: its own middle, and the longest range of all or its own; rates do not go below zero."""
    ends = [path.limits for path in paths]
    longest = max((high - low for low, high in ends if math.isfinite(low)), default=0.0)
    found = []
    for low, high in ends:
        if math.isnan(low):
            low, high = 0.0, 1.0
        span = longest if same else high - low
        if not span > 1e-9 * max(abs(low), abs(high)):
            span = max(abs(high), 1.0) * 0.2
        middle, half = (low + high) / 2, 0.56 * span
        bottom = middle - half
        if rate and bottom < 0 <= low:
            bottom = 0.0
        found.append((bottom, bottom + 2 * half))
    return found


__all__ = ["MOST", "chosen", "panels", "same_span"]
