r"""Confidence sets by inversion of a randomization test.

The null "the effect is :math:`\tau` in every treated cell" is imposed by taking the effect out of the treated cells
(:math:`y-\tau D`, or :math:`y/e^{\tau D}` on the log scale) and re-estimating under the same assignments. For an
estimator that is linear in the outcome one pass gives the exact set: draw r is at least as extreme as what happened
where :math:`|a_r-\tau b_r|\ge|a-\tau b|` with a, b the estimates from y and from D, a set with ends in closed form.
Other estimators are evaluated at values of :math:`\tau` until the ends are bracketed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pmg_eval.errors import InferenceError, PmgEvalError
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel

TIE = 1 - 1e-12  # numbers that are the same up to rounding are at least as large as each other
PRECISION = 1e-4  # of the distance between the estimate and the end of the set
_MOST = 30  # values of the effect tried for one end
_FARTHEST = 4  # steps of a factor of eight in search of a value outside the set
_LOG_LIMIT = 20.0  # exp(20): no rate ratio is that large


@dataclass(frozen=True)
class Inverted:
    """Estimate, hull of the set (on the scale of the statistic), and remarks."""

    estimate: float
    low: float
    high: float
    note: str


@dataclass(frozen=True, eq=False)
class Imposed:
    """The panel with an effect taken out of the treated cells."""

    panel: Panel
    outcome: str
    log: bool

    @property
    def direction(self) -> Array:
        """Treatment (N,) of every row: 1, the treated share of the first period, or 0."""
        panel = self.panel
        start = panel.cohort[panel.row_unit]
        code = panel.time_codes[panel.row_time]
        on = (code >= start).astype(np.float64)
        return on if panel.share is None else np.where(code == start, panel.share[panel.row_unit], on)

    def without(self, effect: float) -> Panel:
        """The panel as it would be under no effect, if ``effect`` were true."""
        values = self.panel.column(self.outcome)
        changed = values * np.exp(-effect * self.direction) if self.log else values - effect * self.direction
        return self.panel.with_values(self.outcome, changed)

    def treatment(self) -> Panel:
        """The panel whose outcome is the treatment itself, missing where the outcome is."""
        missing = np.isnan(self.panel.column(self.outcome))
        return self.panel.with_values(self.outcome, np.where(missing, np.nan, self.direction))


def imposed(panel: Panel, outcome: str, scale: str) -> Imposed:
    """How to impose an effect on a scale.

    Raises
    ------
    InferenceError
        PMG-INVERSION: the scale has no constant effect that could be imposed.
    """
    if scale not in ("identity", "log"):
        raise InferenceError(
            "PMG-INVERSION", f"no constant effect can be imposed on the {scale} scale", fix="invert=False"
        )
    if scale == "log" and panel.share is not None:
        raise InferenceError(
            "PMG-INVERSION",
            "a rate ratio of a period that is treated in part has no single meaning",
            fix='partial_period="treated" or "drop"',
        )
    return Imposed(panel, outcome, scale == "log")


Evaluate = Callable[[Panel], tuple[float, Array]]
"""Statistic of the assignment that happened, and those of all draws, of a panel."""


def confidence_set(
    evaluate: Evaluate,
    observe: Callable[[Panel], float],
    spot: Callable[[Panel, Sequence[int]], Array],
    cells: Imposed,
    found: tuple[float, Array],
    *,
    guess: float,
    need: int,
    linear: bool,
) -> Inverted:
    """The set of effects that at least ``need`` draws do not contradict.

    Parameters
    ----------
    evaluate, observe, spot
        Statistics of a panel: of all draws, of what happened only, of some draws.
    cells : Imposed
    found : (statistic, (R,))
        Those of the panel itself.
    guess : float
        The estimate on its scale.
    need : int
        Draws at least as extreme that keep an effect in the set.
    linear : bool
        Try the closed form first (the statistic is an estimate on the identity scale).
    """
    if need <= 0:
        note = "Every effect is in the set: its level is not attainable with these assignments."
        return Inverted(guess, -np.inf, np.inf, note)
    if linear:
        exact = _closed_form(evaluate, spot, cells, found, need)
        if exact is not None:
            return exact
    return _searched(evaluate, observe, cells, found, guess, need)


# ---- closed form --------------------------------------------------------------------------------------------------


def _closed_form(
    evaluate: Evaluate,
    spot: Callable[[Panel, Sequence[int]], Array],
    cells: Imposed,
    found: tuple[float, Array],
    need: int,
) -> Inverted | None:
    """The exact set, or None when the estimator is not linear in the outcome."""
    a, draws = found
    try:
        b, slopes = evaluate(cells.treatment())
    except PmgEvalError:  # an estimator that cannot take such an outcome
        return None
    if not (np.isfinite(b) and abs(b) > 1e-8):
        return None
    usable = np.flatnonzero(np.isfinite(draws) & np.isfinite(slopes))
    if not len(usable):
        return None
    checked = usable[[0, len(usable) // 2, -1]].tolist()
    effect = a / b + (float(np.std(draws[usable])) or 1.0)
    direct = spot(cells.without(effect), checked)
    want = np.r_[a, draws[checked]] - effect * np.r_[b, slopes[checked]]
    size = np.abs(np.r_[a, draws[checked]]) + abs(effect)
    if not (np.abs(direct - want) <= 1e-8 * size).all():
        return None
    low, high, whole = hull(*regions(draws, slopes, a, b), need)
    note = "" if whole else "The set has gaps; its hull is given."
    return Inverted(a / b, low, high, note)


def regions(draws: Array, slopes: Array, a: float, b: float) -> tuple[Array, Array]:
    r"""Closed intervals (starts, ends) of :math:`\tau` where :math:`|a_r-\tau b_r|\ge|a-\tau b|`, of all draws.

    The inequality is :math:`(A-\tau B)(C-\tau D)\ge0` with :math:`A,B` the differences and :math:`C,D` the sums.
    """
    lost = ~(np.isfinite(draws) & np.isfinite(slopes))  # what cannot be estimated contradicts nothing
    draws, slopes = np.where(lost, a, draws), np.where(lost, b, slopes)
    difference, sums = _snapped(draws - a, abs(a) * (1 - TIE)), _snapped(draws + a, abs(a) * (1 - TIE))
    fall, rise = _snapped(slopes - b, 1e-9 * abs(b)), _snapped(slopes + b, 1e-9 * abs(b))
    everywhere = (difference == 0) & (fall == 0) | (sums == 0) & (rise == 0)
    product = fall * rise
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = difference / fall, sums / rise
    left, right = np.fmin(first, second), np.fmax(first, second)
    starts, ends = [np.full(everywhere.sum(), -np.inf)], [np.full(everywhere.sum(), np.inf)]
    inside = ~everywhere & (product < 0)
    starts.append(left[inside])
    ends.append(right[inside])
    outside = ~everywhere & (product > 0)
    starts += [np.full(outside.sum(), -np.inf), right[outside]]
    ends += [left[outside], np.full(outside.sum(), np.inf)]
    for constant, root, slope in ((difference, second, rise), (sums, first, fall)):
        line = ~everywhere & (product == 0) & (slope != 0)  # constant x (root - tau) x slope >= 0
        below = line & (constant * slope > 0)
        above = line & (constant * slope < 0)
        starts += [np.full(below.sum(), -np.inf), root[above]]
        ends += [root[below], np.full(above.sum(), np.inf)]
    return np.concatenate(starts), np.concatenate(ends)


def _snapped(values: Array, tolerance: float) -> Array:
    return np.where(np.abs(values) <= tolerance, 0.0, values)


def hull(starts: Array, ends: Array, need: int) -> tuple[float, float, bool]:
    """Smallest and largest point in at least ``need`` of the closed intervals, and whether all between are as well."""
    starts, ends = np.sort(starts), np.sort(ends)

    def count(points: Array) -> Any:
        return np.searchsorted(starts, points, "right") - np.searchsorted(ends, points, "left")

    lows, highs = starts[count(starts) >= need], ends[count(ends) >= need]
    if not len(lows):
        return np.nan, np.nan, True
    low, high = float(lows[0]), float(highs[-1])
    points = np.unique(np.r_[starts, ends])
    points = points[np.isfinite(points) & (points >= low) & (points <= high)]
    middles = (points[1:] + points[:-1]) / 2
    return low, high, bool((count(middles) >= need).all())


# ---- search -------------------------------------------------------------------------------------------------------


def _root(observe: Callable[[Panel], float], cells: Imposed, found: tuple[float, Array], guess: float) -> float:
    """The effect under which nothing is left, by the secant method from the estimate itself."""
    one, left = 0.0, found[0]
    finite = found[1][np.isfinite(found[1])]
    nothing = 1e-7 * max(abs(left), 1e-3 * float(np.std(finite)) if len(finite) else 0.0)
    two = guess if guess != 0 else 1e-3
    right = observe(cells.without(two))
    for _ in range(50):
        if abs(right) <= nothing:
            return two
        if not np.isfinite(right) or right == left:
            break
        one, left, two = two, right, two - right * (two - one) / (right - left)
        right = observe(cells.without(two))
    raise InferenceError(
        "PMG-INVERSION", "no constant effect explains the estimate, so the test cannot be inverted", fix="invert=False"
    )


@dataclass(frozen=True, eq=False)
class _Point:
    """Statistics with one effect taken out."""

    effect: float
    observed: float
    draws: Array

    @property
    def extreme(self) -> int:
        return int((np.abs(self.draws) >= abs(self.observed) * TIE).sum())


def _searched(
    evaluate: Evaluate,
    observe: Callable[[Panel], float],
    cells: Imposed,
    found: tuple[float, Array],
    guess: float,
    need: int,
) -> Inverted:
    """Ends of the set around the estimate that differ from the true ones by at most PRECISION, inside."""
    centre = _root(observe, cells, found, guess)

    def at(effect: float) -> _Point:
        return _Point(effect, *evaluate(cells.without(effect)))

    zero = _Point(0.0, *found)
    middle = at(centre)
    ends = []
    for side in (-1.0, 1.0):
        here = zero if side * (0.0 - centre) > 0 else None
        inner, outer = middle, None
        if here is not None:
            inner, outer = (here, None) if here.extreme >= need else (middle, here)
        if outer is None:
            inner, outer = _outside(at, inner, _spread(middle), side, need, cells.log)
        ends.append(side * np.inf if outer is None else _narrowed(at, inner, outer, centre, need))
    return Inverted(centre, ends[0], ends[1], "")


def _spread(middle: _Point) -> float:
    finite = middle.draws[np.isfinite(middle.draws)]
    return float(np.std(finite)) if len(finite) and np.std(finite) > 0 else max(abs(middle.effect), 1e-3)


def _outside(
    at: Callable[[float], _Point], inner: _Point, step: float, side: float, need: int, log: bool
) -> tuple[_Point, _Point | None]:
    """The last value tried inside the set and the first outside, or None when none is found."""
    for _ in range(_FARTHEST):
        effect = inner.effect + side * step
        if log and abs(effect) > _LOG_LIMIT:
            break
        point = at(effect)
        if point.extreme < need:
            return inner, point
        inner, step = point, step * 8
    return inner, None


def _narrowed(at: Callable[[float], _Point], inner: _Point, outer: _Point, centre: float, need: int) -> float:
    """The end between a value inside and one outside: where straight lines between them predict it, or halfway."""
    for number in range(_MOST):
        width = outer.effect - inner.effect
        precision = PRECISION * max(abs(inner.effect - centre), abs(width) * PRECISION)
        if abs(width) <= precision:
            break
        guess = _predicted(inner, outer, need)
        if not np.isfinite(guess) or number % 3 == 2:
            guess = inner.effect + width / 2
        else:  # a little to the side that is not bracketed yet
            guess += np.sign(width) * precision * (0.4 if number % 3 else -0.4)
        low, high = sorted((inner.effect + 0.01 * width, outer.effect - 0.01 * width))
        point = at(float(np.clip(guess, low, high)))
        inner, outer = (point, outer) if point.extreme >= need else (inner, point)
    return inner.effect


def _predicted(inner: _Point, outer: _Point, need: int) -> float:
    width = outer.effect - inner.effect
    with np.errstate(invalid="ignore"):
        slopes = -(outer.draws - inner.draws) / width
        constants = inner.draws + inner.effect * slopes
    slope = -(outer.observed - inner.observed) / width
    low, high, _ = hull(*regions(constants, slopes, inner.observed + inner.effect * slope, slope), need)
    return high if width > 0 else low


def need_of(alpha: float, count: int, exact: bool) -> int:
    """Draws at least as extreme that make p reach alpha; p = extreme/count, or (1 + extreme)/(1 + count)."""
    if exact:
        return int(np.ceil(alpha * count - 1e-9))
    return int(np.ceil(alpha * (count + 1) - 1e-9)) - 1
