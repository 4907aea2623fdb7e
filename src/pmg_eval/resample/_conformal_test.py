"""Permutation of residuals: which periods may change places, p-values, and the effects that are not rejected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Literal

import numpy as np

from pmg_eval.numerics.rows import Array

Permutations = Literal["block", "iid"]
_TIE = 1e-9
_ROUNDING = 64 * np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class Places:
    """Places that the treated periods can have among all periods.

    Attributes
    ----------
    members : (R, T) float
        One row per permutation: 1 for the periods whose residuals come to stand after the start. The first row is what
        happened; it is counted in the others when these are all there are (``exact``).
    exact : bool
    distinct : int
        Number of distinct places.
    """

    members: Array
    exact: bool
    distinct: int

    @property
    def p_min(self) -> float:
        """Smallest attainable p."""
        return 1 / self.distinct if self.exact else max(1 / len(self.members), 1 / self.distinct)

    def attains(self, level: float) -> bool:
        """Whether a test at 1 - level can reject at all."""
        return self.p_min <= (1 - level) * (1 + _TIE)

    def p_values(self, residuals: Array, q: float, rounding: float) -> Array:
        """The p-value of each row of residuals (m, T); what rounding leaves of a perfect fit counts as zero."""
        size = np.abs(residuals)
        size = np.where(size <= rounding, 0.0, size)
        largest = size.max(axis=1, keepdims=True)
        powers = (size / np.where(largest > 0, largest, 1.0)) ** q
        sums = self.members @ powers.T
        extreme = (sums[1:] >= sums[0] * (1 - _TIE)).sum(axis=0)
        return np.asarray(extreme / self.distinct if self.exact else (1 + extreme) / len(self.members))


def places(after: Array, kind: Permutations, draws: int, generator: np.random.Generator) -> Places:
    """Moving blocks (cyclic shifts), or all subsets of as many periods (drawn when there are more than ``draws``)."""
    happened = after.astype(np.float64)
    periods, treated = len(after), int(after.sum())
    if kind == "block":
        moved = np.array([np.roll(happened, shift) for shift in range(periods)])
        return Places(np.vstack([happened, moved]), True, periods)
    total = comb(periods, treated)
    if total <= draws:
        members = np.zeros((total + 1, periods))
        members[0] = happened
        for row, chosen in enumerate(combinations(range(periods), treated), 1):
            members[row, list(chosen)] = 1.0
        return Places(members, True, total)
    order = generator.random((draws, periods)).argsort(axis=1)
    return Places(np.vstack([happened, order < treated]), False, total)


def rounding(path: Array) -> float:
    """Residuals up to this size are what rounding leaves of zero, for an area with this path."""
    return float(_TIE * np.ptp(path) + _ROUNDING * np.abs(path).max())


_NEAR = np.arange(-16, 17) / 4.0
_FAR = 2.0 ** np.arange(3, 21)
_OFFSETS = np.concatenate([-_FAR[::-1], _NEAR, _FAR])


def invert(
    p_of: Callable[[Array], Array], center: float, scale: float, alpha: float, sections: int
) -> tuple[float, float]:
    """Hull of the effects with p > alpha; infinite where nothing is rejected, NaN where everything is.

    A grid around the center, close at first (quarters of ``scale``), then in powers of two up to a million times
    ``scale``; the ends are then narrowed to a millionth of ``scale``, by as many ``sections`` at a time as one call of
    ``p_of`` takes well.
    """
    limit = alpha * (1 + _TIE)
    grid = center + scale * _OFFSETS
    kept = p_of(grid) > limit
    if not kept.any():
        return np.nan, np.nan
    first, last = int(kept.argmax()), len(kept) - 1 - int(kept[::-1].argmax())
    inside = np.array([grid[first], grid[last]])
    outside = np.array([grid[max(first - 1, 0)], grid[min(last + 1, len(grid) - 1)]])
    endless = np.array([first == 0, last == len(grid) - 1])
    cuts = np.arange(1, sections + 1) / (sections + 1)
    while True:
        open_ = ~endless & (np.abs(outside - inside) > np.maximum(1e-6 * scale, 1e-12 * np.abs(inside)))
        if not open_.any():
            break
        ends = np.flatnonzero(open_)
        points = inside[ends, None] + (outside - inside)[ends, None] * cuts
        good = (p_of(points.ravel()) > limit).reshape(points.shape)
        for end, row, accepted in zip(ends, points, good, strict=True):
            steps = np.concatenate([[inside[end]], row, [outside[end]]])
            reached = int(np.flatnonzero(np.concatenate([[True], accepted]))[-1])
            inside[end], outside[end] = steps[reached], steps[reached + 1]
    low, high = np.where(endless, [-np.inf, np.inf], inside)
    return float(low), float(high)
