r"""Two-period Poisson comparisons with unit effects and exposure, by the conditional (binomial) likelihood.

Given a unit's total :math:`Y_{i\cdot}=Y_{ib}+Y_{it}`, its count in the later period is binomial with

.. math:: p_i(\delta)=\frac{E_{it}e^{\delta}}{E_{ib}+E_{it}e^{\delta}},

so unit effects drop out. :math:`\delta` solves :math:`\sum w_i(Y_{it}-Y_{i\cdot}p_i(\delta))=0` in each group, and the
log rate ratio is the difference of the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_MAX_STEPS = 200
_TOLERANCE = 1e-13
_LONGEST_STEP = 3.0
_LONGEST_TREND = (
    50.0  # on the log scale: no rate changes by a factor of 1e21, covariates that say so separate the counts
)


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts and exposures of some units in the base and in the period compared with it."""

    base: Array
    later: Array
    base_exposure: Array
    later_exposure: Array
    weight: Array
    design: Array | None

    def of(self, units: Mask) -> Counts:
        """Those of a subset."""
        design = None if self.design is None else self.design[:, units]
        return Counts(
            self.base[units],
            self.later[units],
            self.base_exposure[units],
            self.later_exposure[units],
            self.weight[units],
            design,
        )


@dataclass(frozen=True, eq=False)
class RatioCell:
    """Rate ratio of one cell, the expected count without treatment, and their derivatives in the log weights.

    Attributes
    ----------
    ratio, expected : float
    ratio_derivative, expected_derivative : (m,) arrays
    share : (m,) array
        Weight of every treated unit in the log ratio (its part of the information); 0 without an event.
    status : str
        "", "zero_events" (with a ratio of 0 when only the treated later count is zero, NaN otherwise), "singular".
    """

    ratio: float
    expected: float
    ratio_derivative: Array
    expected_derivative: Array
    share: Array
    status: str = ""


def compare_counts(counts: Counts, treated: Mask) -> RatioCell:
    """Rate ratio of the treated relative to the others; see :class:`RatioCell`."""
    own, other = counts.of(treated), counts.of(~treated)
    trend = _trend(other)
    if isinstance(trend, str):
        return _failed(len(treated), trend)
    coef, moved = trend
    drift = np.full(len(own.base), coef[0]) if own.design is None else coef @ own.design
    if np.abs(drift).max() > _LONGEST_TREND:
        return _failed(len(treated), "singular")
    if not own.weight @ own.base > 0:
        return _failed(len(treated), "zero_events")
    if not own.weight @ own.later > 0:
        return _none_left(own, treated, drift, moved)
    effect = _solve_scalar(own, drift)
    total = own.base + own.later
    chance = _chance(own, drift + effect)
    spread = own.weight * total * chance * (1 - chance)
    information = spread.sum()
    log_derivative = np.zeros(len(treated))
    log_derivative[treated] = own.weight * (own.later - total * chance) / information
    columns = np.ones((1, len(spread))) if own.design is None else own.design
    log_derivative[~treated] = -(columns @ spread / information) @ moved
    ratio = float(np.exp(effect))
    expected = float(own.weight @ own.later) / ratio
    expected_derivative = -expected * log_derivative
    expected_derivative[treated] += own.weight * own.later / ratio
    share = np.zeros(len(treated))
    share[treated] = spread / information
    return RatioCell(ratio, expected, ratio * log_derivative, expected_derivative, share)


def reference_counts(counts: Counts, treated: Mask) -> RatioCell:
    """The base period against itself: ratio 1, expected equal to observed."""
    own = treated * counts.weight * counts.base
    zero = np.zeros(len(treated))
    return RatioCell(1.0, float(own.sum()), zero, own, zero)


def _none_left(own: Counts, treated: Mask, drift: Array, moved: Array) -> RatioCell:
    """No event after treatment: the ratio is 0, and the expected count is the limit of the usual one."""
    each = own.weight * own.base * own.later_exposure / own.base_exposure * np.exp(drift)
    derivative = np.zeros(len(treated))
    derivative[treated] = each
    columns = np.ones((1, len(each))) if own.design is None else own.design
    derivative[~treated] = (columns @ each) @ moved
    share = np.zeros(len(treated))
    share[treated] = each / each.sum()
    return RatioCell(0.0, float(each.sum()), np.zeros(len(treated)), derivative, share, "zero_events")


def _failed(m: int, status: str) -> RatioCell:
    zero = np.zeros(m)
    return RatioCell(np.nan, np.nan, zero, zero, zero, status)


def _chance(counts: Counts, index: Array) -> Array:
    later = counts.later_exposure * np.exp(np.clip(index, -500, 500))
    return np.asarray(later / (counts.base_exposure + later))


def _trend(counts: Counts) -> tuple[Array, Array] | str:
    """Coefficients of the controls' log trend and their derivative (p, m), or the reason why there are none."""
    if not (counts.weight @ counts.base > 0 and counts.weight @ counts.later > 0):
        return "zero_events"
    start = _crude(counts)
    if counts.design is None:
        coef = np.array([_solve_scalar(counts, np.zeros(len(counts.base)))])
        design = np.ones((1, len(counts.base)))
    else:
        design = counts.design
        found = _solve_design(counts, design, start)
        if found is None:
            return "singular"
        coef = found
    total = counts.base + counts.later
    chance = _chance(counts, coef @ design)
    hessian = (design * (counts.weight * total * chance * (1 - chance))) @ design.T
    score = design * (counts.weight * (counts.later - total * chance))
    return coef, np.asarray(np.linalg.solve(hessian, score), dtype=np.float64)


def _crude(counts: Counts) -> float:
    """Log ratio of the total rates, the solution when exposures are constant."""
    w = counts.weight
    rates = (w @ counts.later) / (w @ counts.later_exposure), (w @ counts.base) / (w @ counts.base_exposure)
    return float(np.log(rates[0] / rates[1]))


def _solve_scalar(counts: Counts, drift: Array) -> float:
    """The common shift of the index that balances the score; both totals are positive, so it exists and is unique."""
    total = counts.weight * (counts.base + counts.later)
    target = counts.weight @ counts.later
    shift = _crude(counts) - float(np.average(drift, weights=total))
    low, high = -np.inf, np.inf
    for _ in range(_MAX_STEPS):
        chance = _chance(counts, drift + shift)
        gap = float(target - total @ chance)
        low, high = (shift, high) if gap > 0 else (low, shift)
        step = gap / max(float(total @ (chance * (1 - chance))), 1e-300)
        step = float(np.clip(step, -_LONGEST_STEP, _LONGEST_STEP))
        if abs(step) <= _TOLERANCE * max(1.0, abs(shift)):
            return shift + step
        new = shift + step
        # The score falls steadily in the shift: a step beyond the bracket is replaced by its middle.
        shift = new if low < new < high else (low + high) / 2
    return shift


def _solve_design(counts: Counts, design: Array, start: float) -> Array | None:
    """Binomial regression of the later count on covariates with the log exposure ratio as offset, by Newton steps."""
    total = counts.weight * (counts.base + counts.later)
    informative = design[:, total > 0]
    size = np.sqrt(np.square(informative).sum(axis=1))
    if informative.shape[1] < len(design) or not size.all():
        return None
    if np.linalg.svd(informative / size[:, None], compute_uv=False)[-1] < 1e-10:
        return None
    coef: Array = np.zeros(len(design))
    coef[0] = start
    best = -np.inf
    step: Array = np.zeros_like(coef)
    for _ in range(_MAX_STEPS):
        index = coef @ design
        chance = _chance(counts, index)
        level = _likelihood(counts, index)
        if level < best - 1e-9 * abs(best) or not np.isfinite(level):
            step = step / 2
            coef = coef - step
            continue
        best = level
        hessian = (design * (total * chance * (1 - chance))) @ design.T
        gradient = design @ (counts.weight * counts.later - total * chance)
        try:
            step = np.asarray(np.linalg.solve(hessian, gradient), dtype=np.float64)
        except np.linalg.LinAlgError:
            return None
        coef = coef + step
        if np.abs(step).max() <= _TOLERANCE * max(1.0, float(np.abs(coef).max())):
            return coef
    return coef if np.abs(step).max() < 1e-8 else None


def _likelihood(counts: Counts, index: Array) -> float:
    """Binomial log likelihood up to a constant."""
    index = np.clip(index, -500, 500)
    both = np.log(counts.base_exposure + counts.later_exposure * np.exp(index))
    total = counts.weight * (counts.base + counts.later)
    return float((counts.weight * counts.later) @ index - total @ both)
