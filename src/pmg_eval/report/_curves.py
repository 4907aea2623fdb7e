"""Cumulative incidence and Kaplan-Meier curves as step functions, with bands, labels and numbers at risk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pmg_eval.numerics.rows import Array
from pmg_eval.report._axis import plain_ticks, tick_decimals
from pmg_eval.report._canvas import (
    LINE,
    PAD,
    blank,
    check_width,
    hairline,
    heading,
    heading_height,
    line,
    stroke_handle,
    text,
    width_of,
)
from pmg_eval.report._incidence import Curve, Incidence
from pmg_eval.report._style import BOLD, COMPACT, FONT, MUTED, WIDE
from pmg_eval.report._words import percent, shortened, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL = FONT - 1
_NAMES = 22  # letters of a group's name
_VISIBLE = 1.5  # points between two steps that can be told apart
_APART = 17.0  # points between two labels


def curves(content: Incidence, *, width: float = WIDE, title: str | None = None) -> Figure:
    """Draw the share of persons with the event over time, one step curve per group.

    Parameters
    ----------
    content : Incidence
    width : float
        Width in points; on a phone a legend replaces the labels at the ends of the curves.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Bands are pointwise. Under the axis: persons at risk at the first event on or after each labelled time.
    """
    check_width(width)
    return _Curves(content, width).draw(title)


class _Curves:
    """One drawing in progress."""

    def __init__(self, content: Incidence, width: float) -> None:
        self.content, self.width = content, width
        self.compact = width < COMPACT
        self.inner = 220.0 if self.compact else 300.0
        self.names = [shortened(curve.name, _NAMES) for curve in content.curves]
        self.high = _ceiling(content)
        self.ticks, self.labels, self.axis = content.ticks(5 if self.compact else 8)
        ends = [f"{name} {percent(99.9, 1, signed=False)}" for name in self.names]
        persons = [whole(curve.at_risk_from(0.0)) for curve in content.curves]
        if self.compact:
            self.left, self.right = PAD + 44.0, PAD + 14.0
        else:
            self.left = PAD + 33.0 + max(width_of(self.names) + width_of(persons, SMALL) / 2, 64.0) + 12.0
            self.right = PAD + BOLD * width_of(ends) + 18.0

    def draw(self, title: str | None) -> Figure:
        from matplotlib.ticker import FixedFormatter, FixedLocator

        handles: list[Any] = [stroke_handle(curve.stroke) for curve in self.content.curves] if self.compact else []
        rows = len(self.content.curves) * (2 if self.compact else 1) + 1
        top = heading_height(title, handles, self.width) + LINE + 4
        bottom = 2 * LINE + 16 + rows * LINE + PAD
        margins = {"left": self.left, "right": self.right, "top": top, "bottom": bottom}
        figure, axes = blank(self.width, top + self.inner + bottom, **margins)
        axes.set_xlim(0, max(self.content.last * 1.01, 1e-9))
        axes.set_ylim(0, self.high)
        axes.xaxis.set_major_locator(FixedLocator(self.ticks.tolist()))
        axes.xaxis.set_major_formatter(FixedFormatter(self.labels))
        marks = plain_ticks(0, self.high, 6)
        digits = tick_decimals(100 * marks)
        axes.yaxis.set_major_locator(FixedLocator(marks.tolist()))
        axes.yaxis.set_major_formatter(FixedFormatter([percent(100 * m, digits, signed=False) for m in marks]))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        hairline(axes, "y")
        length = self.width - self.left - self.right
        step = _VISIBLE * self.content.last / length
        for curve in self.content.curves:
            self._curve(axes, curve.thinned(step))
        start = (PAD - self.left) / length if self.compact else 0.0
        above = "Share of persons with the event; bands: 95\u00a0% intervals"
        above = above if not self.compact else "Share with the event; bands: 95\u00a0%"
        text(axes, start, 1 + 6 / self.inner, above, transform=axes.transAxes, color=MUTED, va="bottom")
        if not self.compact:
            self._ends(axes, length)
        self._at_risk(axes, length)
        heading(figure, title, handles, self.width, handle=2.4)
        return figure

    def _curve(self, axes: Axes, curve: Curve) -> None:
        last = axes.get_xlim()[1]
        time = np.r_[0.0, curve.time, last]
        share, low, high = (_steps(part) for part in (curve.share, curve.low, curve.high))
        style: dict[str, Any] = {
            "facecolor": curve.stroke.color,
            "alpha": 0.13,
            "edgecolor": "none",
            "zorder": 1.5,
            "step": "post",
        }
        axes.fill_between(time, low, high, where=np.isfinite(low) & np.isfinite(high), **style)
        line(axes, time, share, curve.stroke, drawstyle="steps-post", zorder=3)

    def _ends(self, axes: Axes, length: float) -> None:
        """Names beside the ends of the curves, moved apart where they would touch."""
        known = [(float(c.share[np.isfinite(c.share)][-1]), i) for i, c in enumerate(self.content.curves) if _any(c)]
        known.sort()
        heights = _apart([self.inner * value / self.high for value, _ in known], self.inner)
        for (value, position), height in zip(known, heights, strict=True):
            stroke = self.content.curves[position].stroke
            words = f"{self.names[position]} {percent(100 * value, 1, signed=False)}"
            where = {"transform": axes.transAxes, "va": "center", "color": stroke.color, "weight": "bold"}
            text(axes, 1 + 14 / length, height / self.inner, words, **where)
            leader: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False, "linewidth": 0.9}
            ends = [value / self.high, height / self.inner]
            axes.plot([1 + 2 / length, 1 + 11 / length], ends, color=stroke.color, **leader)

    def _at_risk(self, axes: Axes, length: float) -> None:
        """Name of the axis, and the persons at risk of every group under the labelled times."""
        depth = LINE + 8
        style: dict[str, Any] = {"va": "top", "color": MUTED, "transform": axes.transAxes}
        text(axes, 0.5, -depth / self.inner, self.axis, ha="center", **style)
        depth += LINE + 8
        left = (PAD - self.left) / length
        text(axes, left, -depth / self.inner, "Persons at risk" if self.compact else "At risk", **style)
        depth += LINE
        style |= {"transform": axes.get_xaxis_transform(), "fontsize": SMALL, "ha": "center"}
        for name, curve in zip(self.names, self.content.curves, strict=True):
            y = -(depth + LINE / 2 - 2) / self.inner
            sample: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
            line(axes, [left, left + 26 / length], [y, y], curve.stroke, **sample)
            text(axes, left + 33 / length, y, name, transform=axes.transAxes, va="center")
            depth += LINE if self.compact else 0
            for position, tick in enumerate(self.ticks):
                # The last label must not be cut at the edge of a phone's figure.
                many = whole(curve.at_risk_from(float(tick)))
                text(axes, float(tick), -depth / self.inner, many, **(style | self._edge(position)))
            depth += LINE

    def _edge(self, position: int) -> dict[str, str]:
        return {"ha": "left"} if self.compact and position == 0 else {}


def _any(curve: Curve) -> bool:
    return bool(np.isfinite(curve.share).any())


def _steps(values: Array) -> Array:
    """From zero at the start, and flat after the last event."""
    return np.r_[0.0, values, values[-1:]] if len(values) else np.zeros(2)


def _ceiling(content: Incidence) -> float:
    """Top of the axis: the highest curve and, unless they are very wide, the bands."""
    shares = [part[np.isfinite(part)] for curve in content.curves for part in (curve.share,)]
    bands = [part[np.isfinite(part)] for curve in content.curves for part in (curve.high,)]
    highest = max((float(part.max()) for part in shares if len(part)), default=0.0)
    widest = max((float(part.max()) for part in bands if len(part)), default=0.0)
    top = min(widest, 2.5 * highest) if highest > 0 else widest
    return min(1.08 * max(top, 1e-3), 1.0) if top < 1 else 1.0


def _apart(heights: list[float], most: float) -> list[float]:
    """Rising heights moved apart by at least the height of a label, and kept inside the figure from above."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + _APART) if placed else height)
    limit = most
    for position in range(len(placed) - 1, -1, -1):
        placed[position] = min(placed[position], limit)
        limit = placed[position] - _APART
    return placed


__all__ = ["curves"]
