"""One treated area: what was observed, its synthetic path, and the gap between them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pmg_eval.numerics.rows import Array
from pmg_eval.report._axis import plain_ticks, tick_words
from pmg_eval.report._canvas import (
    LINE,
    PAD,
    axes_in,
    canvas,
    check_width,
    hairline,
    heading,
    heading_height,
    line,
    stroke_handle,
    text,
    width_of,
)
from pmg_eval.report._paths import Path, Paths
from pmg_eval.report._style import BAND, BLUE, COMPACT, FONT, INK, LETTER, MUTED, OBSERVED, START, SYNTHETIC, WIDE
from pmg_eval.report._words import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DOTTED = 40  # periods up to which each one gets its point
_HANDLE = 2.4  # length of a line in the legend, in font sizes


def path_plot(content: Paths, position: int = 0, *, width: float = WIDE, title: str | None = None) -> Figure:
    """Draw one area: both paths above, observed minus synthetic below, the start as a vertical line.

    Parameters
    ----------
    content : Paths
    position : int
        Which area.
    width : float
        Width in points.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_width(width)
    return _PathPlot(content, content.paths[position], width).draw(title)


class _PathPlot:
    """One drawing in progress."""

    def __init__(self, content: Paths, path: Path, width: float) -> None:
        self.content, self.path, self.width = content, path, width
        self.compact = width < COMPACT
        self.upper, self.lower = (200.0, 110.0) if self.compact else (260.0, 140.0)

    def draw(self, title: str | None) -> Figure:
        width = self.width
        marker = {"marker": "o", "markersize": 5} if len(self.content.periods) <= _DOTTED else {}
        handles = [stroke_handle(OBSERVED, **marker), stroke_handle(SYNTHETIC), stroke_handle(START)]
        top = heading_height(title, handles, width) + LINE + 4
        between, bottom = 2 * LINE + 12, 2 * LINE + 8 + PAD
        height = top + self.upper + between + self.lower + bottom
        figure = canvas(width, height)
        low, high = _room(*self.path.limits)
        ends = _room(*_ends(self.path.gap), zero=True)
        ticks = [plain_ticks(low, high, 5), plain_ticks(*ends, 4)]
        left = PAD + max(width_of(tick_words(found)) for found in ticks) + 12
        above = axes_in(figure, left=left, right=PAD + 10, top=top, bottom=height - top - self.upper)
        below = axes_in(figure, left=left, right=PAD + 10, top=height - bottom - self.lower, bottom=bottom)
        self._frame(above, (low, high), ticks[0], self.content.values, self.upper, left)
        self._frame(below, ends, ticks[1], "Gap: observed minus synthetic", self.lower, left)
        self._paths(above, marker)
        self._gap(below, marker)
        self._periods(above, below, width - left - PAD - 10)
        heading(figure, title, handles, width, handle=_HANDLE)
        return figure

    def _frame(
        self, axes: Axes, limits: tuple[float, float], ticks: Array, name: str, inner: float, left: float
    ) -> None:
        from matplotlib.ticker import FixedFormatter, FixedLocator

        axes.set_xlim(-0.5, len(self.content.periods) - 0.5)
        axes.set_ylim(*limits)
        axes.yaxis.set_major_locator(FixedLocator(ticks.tolist()))
        axes.yaxis.set_major_formatter(FixedFormatter(tick_words(ticks)))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        hairline(axes, "y")
        if 0 < self.path.start <= len(self.content.periods) - 1:
            where = self.path.start - 0.5
            line(axes, [where, where], limits, START, zorder=2)
        start = (PAD - left) / (self.width - left - PAD - 10)
        name = shortened(name, int((self.width - 2 * PAD) / (LETTER * FONT)))
        text(axes, start, 1 + 6 / inner, name, transform=axes.transAxes, color=MUTED, va="bottom")

    def _paths(self, axes: Axes, marker: dict[str, Any]) -> None:
        path = self.path
        inside = path.after
        known = inside & np.isfinite(path.gap)
        style: dict[str, Any] = {"facecolor": BAND, "edgecolor": "none", "zorder": 1.5}
        axes.fill_between(path.place, path.observed, path.synthetic, where=known, **style)
        line(axes, path.place, path.synthetic, SYNTHETIC, zorder=3)
        line(axes, path.place, path.observed, OBSERVED, zorder=4, **marker)

    def _gap(self, axes: Axes, marker: dict[str, Any]) -> None:
        path = self.path
        axes.axhline(0, color=INK, linewidth=1.1, zorder=2)
        after = path.after & np.isfinite(path.gap)
        axes.fill_between(path.place, 0, path.gap, where=after, facecolor=BAND, edgecolor="none", zorder=1.5)
        axes.plot(path.place, path.gap, color=BLUE, linewidth=2.0, zorder=4, **marker)

    def _periods(self, above: Axes, below: Axes, length: float) -> None:
        """Labels of the periods under the lower figure, as many as fit; the start is always among them."""
        from matplotlib.ticker import FixedFormatter, FixedLocator

        labels = self.content.periods
        room = length / max(len(labels), 1)
        step = max(1, math.ceil((width_of(labels) + 10) / room))
        first = int(self.path.start) % step if self.path.start < len(labels) else 0
        shown = list(range(first, len(labels), step))
        for axes in (above, below):
            axes.xaxis.set_major_locator(FixedLocator(shown))
        above.xaxis.set_major_formatter(FixedFormatter([""] * len(shown)))
        below.xaxis.set_major_formatter(FixedFormatter([labels[position] for position in shown]))
        for label in below.get_xticklabels():
            label.set_parse_math(False)
        style = {"transform": below.transAxes, "ha": "center", "va": "top", "color": MUTED, "fontsize": FONT}
        text(below, 0.5, -(LINE + 8) / self.lower, "Period", **style)


def _ends(values: Array) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (math.nan, math.nan)


def _room(low: float, high: float, *, zero: bool = False) -> tuple[float, float]:
    """Limits with some room around the values."""
    if math.isnan(low):
        return -1.0, 1.0
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    spread = high - low if high - low > 1e-12 * max(abs(low), abs(high)) else max(abs(high), 1.0) * 0.2
    return low - 0.08 * spread, high + 0.08 * spread


__all__ = ["path_plot"]
