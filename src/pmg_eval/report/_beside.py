"""Several estimators of the same areas or waves side by side: a forest plot with one line per estimator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.estimate.scales import ScaleName
from pmg_eval.report._axis import EffectAxis
from pmg_eval.report._canvas import (
    LINE,
    PAD,
    Name,
    bars,
    blank,
    check_width,
    hairline,
    heading,
    heading_height,
    legend_handle,
    text,
    width_of,
)
from pmg_eval.report._columns import estimator_name, floats
from pmg_eval.report._forest import interval_line
from pmg_eval.report._like import ALL, LEVEL
from pmg_eval.report._style import COMPACT, GRID, INK, MUTED, SERIES, WIDE, Mark
from pmg_eval.report._words import Measure, clean, counted, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TALL = 8  # areas from which the axis is labelled at both ends
_MOST = 120  # areas in one figure
_STEP = 12.5  # between the lines of two estimators, in points


@dataclass(frozen=True, eq=False)
class Beside:
    """Estimates of the same things by several estimators.

    Attributes
    ----------
    frame : DataFrame
        ``name`` (area or wave), ``estimator`` (as a reader calls it), the numbers, ``status``.
    names, estimators : sequence of str
        In the order of the figure and the table; the headline's estimator is the first.
    waves : dict
        Wave of each area, where there is one.
    measure : Measure
    """

    frame: pd.DataFrame
    names: Sequence[str]
    estimators: Sequence[str]
    waves: dict[str, str]
    measure: Measure

    @classmethod
    def of_areas(cls, frame: pd.DataFrame, scale: ScaleName) -> Beside:
        """Areas from the smallest to the largest effect under the first estimator."""
        rows = _prepared(frame, [clean(unit) for unit in frame["unit"]])
        first = rows.loc[rows["estimator"] == rows["estimator"].iloc[0]] if len(rows) else rows
        names = list(first.sort_values("estimate", kind="stable", na_position="last")["name"])
        names = list(dict.fromkeys([*names, *rows["name"]]))
        waves = {}
        if "cohort" in frame:
            waves = dict(zip(rows["name"], [clean(value) for value in frame["cohort"]], strict=True))
        return cls._made(rows, names, waves, scale)

    @classmethod
    def of_waves(cls, frame: pd.DataFrame, scale: ScaleName) -> Beside:
        """All waves together, then each wave."""
        said = [clean(value) for value in frame["cohort"]]
        rows = _prepared(frame, ["All waves" if wave in ("", ALL) else f"Wave {wave}" for wave in said])
        names = sorted(dict.fromkeys(rows["name"]), key=lambda name: name != "All waves")
        return cls._made(rows, names, {}, scale)

    @classmethod
    def _made(cls, rows: pd.DataFrame, names: Sequence[str], waves: dict[str, str], scale: ScaleName) -> Beside:
        return cls(rows, names, list(dict.fromkeys(rows["estimator"])), waves, Measure.of(rows, scale))

    def row(self, name: str, estimator: str) -> pd.Series[Any] | None:
        """The estimate of one thing by one estimator, if there is one."""
        return self._rows.get((name, estimator))

    @cached_property
    def _rows(self) -> dict[tuple[str, str], pd.Series[Any]]:
        return {(row["name"], row["estimator"]): row for _, row in self.frame.iterrows()}


def _prepared(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    rows = floats(frame, "estimate", "conf_low", "conf_high", "p_value", "difference", "difference_se", "z")
    rows["name"] = names
    rows["estimator"] = [estimator_name(value) for value in frame["estimator"]]
    rows["status"] = [clean(value) for value in frame["status"]] if "status" in frame else ""
    return rows


def beside(content: Beside, *, width: float = WIDE, title: str | None = None) -> Figure:
    """Draw one block per area or wave with one line per estimator.

    Parameters
    ----------
    content : Beside
    width : float
        Width in points; below 480 the names stand above their lines.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Estimators differ by shape and color; an open shape has no interval.
    """
    check_width(width)
    return _Drawing(content, width).draw(title)


class _Drawing:
    """One drawing in progress."""

    def __init__(self, content: Beside, width: float) -> None:
        self.content = content
        self.width = width
        self.compact = width < COMPACT
        self.names = list(content.names[:_MOST])
        self.shown = list(content.estimators[: len(SERIES)])
        frame = content.frame
        self.axis = EffectAxis.of(frame.loc[frame["name"].isin(self.names)], content.measure.scale)
        self.columns = int((width - 2 * PAD if self.compact else 0.3 * width) / width_of("m"))
        self.words = [Name(name).within(self.columns) for name in self.names]
        self.row = _STEP * len(self.shown) + (30.0 if self.compact else 9.0)

    def draw(self, title: str | None) -> Figure:
        n = len(self.names)
        handles = [legend_handle(self._mark(position, filled=True)) for position in range(len(self.shown))]
        ticks = 2 * LINE if self.axis.ratio else LINE
        tall = n > _TALL
        left_out = len(self.content.names) - n
        top = heading_height(title, handles, self.width) + (ticks + 4 if tall else 2)
        bottom = ticks + (2 if left_out else 1) * LINE + 8 + PAD
        inner = n * self.row
        left = PAD + 8 if self.compact else PAD + width_of(self.words) + 14
        figure, axes = blank(self.width, top + bottom + inner, left=left, right=PAD + 16, top=top, bottom=bottom)
        length = self.width - left - PAD - 16
        self.axis.apply(axes, "x", 5 if self.compact else 8, length=length, margin=PAD + 8, changes=True)
        axes.set_ylim(inner, 0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.tick_params(labeltop=tall)
        hairline(axes, "x")
        if math.isfinite(self.axis.null):
            axes.axvline(self.axis.null, color=INK, linewidth=1.1, zorder=2)
        for position, name in enumerate(self.names):
            self._block(axes, position, name, (PAD - left) / length)
        below = f"{self.axis.title}; {bars(self.content.frame, LEVEL)}"
        below += f"\n{left_out:,} further rows are not drawn" if left_out else ""
        centered = {"transform": axes.transAxes, "ha": "center", "va": "top", "color": MUTED}
        text(axes, 0.5, -(ticks + 6) / inner, below, **centered)
        heading(figure, title, handles, self.width)
        return figure

    def _mark(self, position: int, *, filled: bool) -> Mark:
        shape, color = SERIES[position]
        return Mark(shape, color, filled, self.shown[position], 6.5)

    def _block(self, axes: Axes, position: int, name: str, left: float) -> None:
        top = position * self.row
        first = top + (26.0 if self.compact else 4.5) + _STEP / 2
        style: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "ha": "left"}
        if self.compact:  # the lines behind must not run through the words
            style |= {"zorder": 5, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 2.0}}
        where = top + 14.0 if self.compact else top + self.row / 2
        text(axes, left, where, self.words[position], **style)
        if position:
            rule: dict[str, Any] = {"color": GRID, "linewidth": 0.7, "clip_on": False, "zorder": 1}
            axes.plot([left, 1.0], [top, top], transform=axes.get_yaxis_transform(), **rule)
        for line, estimator in enumerate(self.shown):
            row = self.content.row(name, estimator)
            if row is not None:
                mark = self._mark(line, filled=not math.isnan(row["conf_low"]))
                interval_line(axes, self.axis, first + line * _STEP, row, mark)


def beside_text(content: Beside, what: str) -> str:
    """The plot in words: who is compared, how wide they range, and how often they point the same way."""
    parts = [f"Forest plot of {counted(len(content.names), what)} with {_listed(content.estimators)} side by side"]
    for estimator in content.estimators:
        values = content.frame.loc[content.frame["estimator"] == estimator, "estimate"]
        values = values[np.isfinite(values)]
        if len(values):
            low, high = content.measure.natural(values.min()), content.measure.natural(values.max())
            parts.append(f"{estimator}: from {low} to {high}")
    same, all_of_them = same_direction(content)
    if all_of_them:
        parts.append(f"All point the same way in {same} of {number(all_of_them, 0)}")
    return ". ".join(parts) + ". The numbers are in the table that follows."


def same_direction(content: Beside) -> tuple[int, int]:
    """Number of areas (waves) where all estimators lie on one side of no effect, and of those with two or more."""
    known = content.frame.loc[np.isfinite(content.frame["estimate"])]
    sides = np.sign(known["estimate"] - content.measure.null)
    grouped = sides.groupby(known["name"])
    several = grouped.count() > 1
    return int(((grouped.nunique() == 1) & several).sum()), int(several.sum())


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


__all__ = ["Beside", "beside", "beside_text", "same_direction"]
