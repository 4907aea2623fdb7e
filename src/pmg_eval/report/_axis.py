"""Limits and ticks of an effect axis, on which one wild interval must not hide the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.estimate.scales import ScaleName
from pmg_eval.numerics.rows import Array
from pmg_eval.report._style import FONT, LETTER
from pmg_eval.report._words import Measure, columns_of, number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class EffectAxis:
    """An axis of effects: logarithmic for ratios.

    Attributes
    ----------
    low, high : float
        Limits on the natural scale.
    ratio : bool
    null : float
        Value of no effect, NaN when there is none.
    """

    low: float
    high: float
    ratio: bool
    null: float

    @classmethod
    def of(cls, frame: pd.DataFrame, scale: ScaleName) -> EffectAxis:
        """Limits that show all ordinary estimates and intervals; what reaches further is drawn as an arrow."""
        measure = Measure(scale, 2)
        to: Callable[[Array], Array] = np.log if measure.ratio else np.asarray
        with np.errstate(all="ignore"):
            value, *ends = (
                to(frame[name].to_numpy(dtype=np.float64))
                for name in ("estimate", "conf_low", "conf_high", "band_low", "band_high", "truth")
                if name in frame
            )
        low, high = _limits(value, ends, float(to(np.array([measure.null]))[0]))
        pad = 0.06 * (high - low)
        low, high = low - pad, high + pad
        if measure.ratio:
            low, high = math.exp(max(low, -300.0)), math.exp(min(high, 300.0))
        return cls(low, high, measure.ratio, measure.null)

    def inside(self, values: Any) -> Array:
        """Values clipped to the axis."""
        return np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)

    def ticks(self, most: int) -> Array:
        """Round values within the limits, at most about ``most``."""
        from matplotlib.ticker import MaxNLocator

        if self.ratio and self.high / self.low > 3.5:
            found = _round_ratios(self.low, self.high, most)
        else:
            found = np.asarray(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high))
        return found[(found >= self.low) & (found <= self.high) & ((found > 0) | (not self.ratio))]

    def labels(self, ticks: Array, *, changes: bool) -> list[str]:
        """Tick labels; for ratios with the change in percent on a second line."""
        if not self.ratio:
            return [number(tick, tick_decimals(ticks)) for tick in ticks]
        plain = [number(tick, 0) if tick >= 10 else f"{tick:.4g}" for tick in ticks]
        if not changes:
            return plain
        return [f"{text}\n{percent(100 * (tick - 1), 0)}" for text, tick in zip(plain, ticks, strict=True)]

    def share(self, values: Array) -> Array:
        """Position along the axis: 0 at its low end, 1 at its high end."""
        if self.ratio:
            return np.asarray(np.log(values / self.low) / math.log(self.high / self.low))
        return np.asarray((values - self.low) / (self.high - self.low))

    def apply(
        self,
        axes: Axes,
        which: Literal["x", "y"],
        most: int,
        *,
        length: float,
        margin: float = 0.0,
        changes: bool = False,
    ) -> None:
        """Scale, limits and ticks of one axis of a figure.

        Parameters
        ----------
        axes : Axes
        which : {"x", "y"}
        most : int
            Number of ticks, about.
        length, margin : float
            Length of the axis, and the room beside it, in points: labels must not touch each other or be cut.
        changes : bool
            Name ratios also as changes in percent.
        """
        from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

        ticks = self.ticks(most)
        labels = self.labels(ticks, changes=changes)
        if which == "x":
            ticks, labels = self._apart(ticks, labels, length, margin)
        if self.ratio:
            (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        (axes.set_xlim if which == "x" else axes.set_ylim)(self.low, self.high)
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_major_locator(FixedLocator(ticks.tolist()))
        axis.set_major_formatter(FixedFormatter(labels))
        axis.set_minor_locator(NullLocator())

    def _apart(self, ticks: Array, labels: list[str], length: float, margin: float) -> tuple[Array, list[str]]:
        """Ticks whose labels stand clear of each other and of the edge, starting with the line of no effect."""
        places = length * self.share(ticks)
        widths = [max(columns_of(line) for line in label.split("\n")) * LETTER * FONT for label in labels]
        kept: list[int] = []
        for i in sorted(range(len(ticks)), key=lambda i: (abs(ticks[i] - self.null) > 1e-12, i)):
            half = widths[i] / 2
            clear = all(abs(places[i] - places[j]) >= half + widths[j] / 2 + 8 for j in kept)
            if clear and half - margin <= places[i] <= length + margin - half:
                kept.append(i)
        kept.sort()
        return ticks[kept], [labels[i] for i in kept]

    @property
    def title(self) -> str:
        """Name of the axis."""
        if self.ratio:
            return "Rate ratio (1 = no effect)"
        return "Effect (0 = no effect)" if self.null == 0 else "Estimate"


def _limits(value: Array, ends: list[Array], null: float) -> tuple[float, float]:
    """Bounds around no effect and the ordinary estimates, each with at most four times a shorter interval's length."""
    value = np.where(np.isfinite(value), value, np.nan)  # a ratio of zero lies at minus infinity
    finite = value[np.isfinite(value)]
    if len(finite) == 0:
        centre = null if math.isfinite(null) else 0.0
        return centre - 1.0, centre + 1.0
    reach = np.concatenate([np.abs(end - value) for end in ends[:2]])
    reach = reach[np.isfinite(reach)]
    longest = 4.0 * float(np.quantile(reach, 0.35)) if len(reach) else 0.0
    middle = float(np.median(finite))
    spread = float(np.diff(np.quantile(finite, [0.1, 0.9]))[0])
    allowed = max(2 * longest, 3 * spread)
    bounds = [middle, *finite[np.abs(finite - middle) <= allowed]]
    for end in ends:
        near = ~np.isnan(end) & (np.abs(value - middle) <= allowed)
        bounds += list(np.clip(end[near], value[near] - longest, value[near] + longest))
    bounds += [null] if math.isfinite(null) else []
    low, high = float(min(bounds)), float(max(bounds))
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        room = 0.1 * max(abs(low), 1.0)
        return low - room, high + room
    return low, high


_DIGITS = ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))


def _round_ratios(low: float, high: float, most: int) -> Array:
    """The densest of some series of round ratios (1-2-5, powers of two, decades, ...) with at most ``most`` ticks."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = range(first, last + 1)
    series = [np.array([digit * 10.0**power for power in powers for digit in digits]) for digits in _DIGITS]
    series.append(2.0 ** np.arange(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1))
    for step in (2, 5, 10, 20, 50, 100):
        series.append(np.array([10.0**power for power in powers if power % step == 0]))
    shown = [ticks[(ticks >= low) & (ticks <= high)] for ticks in series]
    return max((ticks for ticks in shown if len(ticks) <= most), key=len, default=np.array([1.0]))


def tick_decimals(ticks: Array) -> int:
    """Decimals that tell the ticks apart."""
    if len(ticks) < 2:
        return 2
    step = float(np.diff(ticks).min())
    for decimals in range(7):
        if abs(round(step, decimals) - step) < 1e-6 * step:
            return decimals
    return 6


def plain_ticks(low: float, high: float, most: int) -> Array:
    """Round values within the limits, at most about ``most``."""
    from matplotlib.ticker import MaxNLocator

    found = np.asarray(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    room = 1e-9 * (high - low)
    return found[(found >= low - room) & (found <= high + room)]


def tick_words(ticks: Array) -> list[str]:
    """The ticks as a reader sees them."""
    return [number(float(tick), tick_decimals(ticks)) for tick in ticks]
