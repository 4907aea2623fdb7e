r"""Noncoverage of a normal interval whose centre is biased by an unknown amount: the worst case, given moments.

An estimator is off by noise, normal with standard deviation one, plus a bias b drawn from an unknown law with second
moment :math:`m_2` and kurtosis at most :math:`\kappa=E[b^4]/m_2^2`. The interval of half-width :math:`\chi` misses with
probability :math:`r(b^2,\chi)=\Phi(-\chi-|b|)+\Phi(-\chi+|b|)` given b, hence at worst with

.. math:: \rho(m_2,\kappa,\chi)=\sup_F E_F[r(t,\chi)]\quad\text{s.t.}\quad E_F[t]=m_2,\ E_F[t^2]\le\kappa m_2^2,\ t=b^2,

and the critical value is the :math:`\chi` at which that is one minus the level.

r is first convex and then concave in t, so without a bound on the kurtosis the supremum is the least concave majorant:
r itself from the tangent point :math:`t_0` on, and the chord from 0 to :math:`t_0` before it (two points, 0 and
:math:`t_0`). Where that law has too large a kurtosis the bound binds, and the worst law has two points
:math:`m_2-s` and :math:`m_2+(\kappa-1)m_2^2/s` with :math:`0<s\le m_2`: one number to maximize over.

References
----------
Armstrong, Kolesár and Plagborg-Møller (2022), Robust empirical Bayes confidence intervals, doi:10.3982/ECTA18597.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pmg_eval.errors import DataError
from pmg_eval.numerics.rows import Array

_ROOT3 = math.sqrt(3.0)
_GRID = np.linspace(0.0, 1.0, 65)[1:]
_GOLDEN = (math.sqrt(5.0) - 1) / 2


def _tail(x: float) -> float:
    """Probability that a standard normal is below x."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _density(x: float) -> float:
    return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def noncoverage(t: float, chi: float) -> float:
    r"""Noncoverage at squared bias t: :math:`\Phi(-\chi-\sqrt t)+\Phi(-\chi+\sqrt t)`."""
    bias = math.sqrt(t)
    return _tail(-chi - bias) + _tail(-chi + bias)


def tangent_point(chi: float) -> float:
    r"""Where the chord from t = 0 touches :math:`r(\cdot,\chi)`: below it the majorant is that chord, above it r.

    Zero when r is concave throughout (:math:`\chi\le\sqrt3`).
    """
    if chi <= _ROOT3:
        return 0.0
    from scipy.optimize import brentq

    def convex(x: float) -> float:  # sign of the second derivative at bias x / chi
        return x / math.tanh(x) - 1 - (x / chi) ** 2

    low = 0.99 * math.sqrt(15 * (1 - 3 / chi**2))  # convex there: x coth x >= 1 + x^2/3 - x^4/45
    if not convex(low) > 0:  # chi so near sqrt(3) that nothing is left but rounding
        return 0.0
    inflection = brentq(convex, low, chi**2) / chi

    def gap(bias: float) -> float:  # r(t) - r(0) - t r'(t): negative before the tangent point, positive after
        slope = (_density(bias - chi) - _density(bias + chi)) / (2 * bias)
        return noncoverage(bias**2, chi) - noncoverage(0.0, chi) - bias**2 * slope

    if not gap(inflection) < 0:
        return 0.0
    return float(brentq(gap, inflection, chi + 12, xtol=1e-14, rtol=8.9e-16)) ** 2


def worst_noncoverage(m2: float, kurtosis: float, chi: float) -> float:
    r"""Largest noncoverage :math:`\rho(m_2,\kappa,\chi)` of a half-width chi.

    Parameters
    ----------
    m2 : float
        Second moment of the bias over the standard deviation of the noise.
    kurtosis : float
        Bound on the fourth moment over the squared second moment, at least 1; ``inf`` for none.
    chi : float
        Half-width over the standard deviation of the noise.
    """
    if not (m2 >= 0 and kurtosis >= 1 and chi >= 0):
        raise DataError("PMG-MOMENTS", "a second moment is at least 0, a kurtosis at least 1, a half-width at least 0")
    tangent = tangent_point(chi)
    if m2 >= tangent or kurtosis == 1:
        return noncoverage(m2, chi)
    if tangent <= kurtosis * m2 or m2 == 0:
        start = noncoverage(0.0, chi)
        return start + m2 / tangent * (noncoverage(tangent, chi) - start)
    return _two_points(m2, kurtosis, chi)


def _two_points(m2: float, kurtosis: float, chi: float) -> float:
    """The largest noncoverage of two points with mean m2 and second moment kurtosis * m2**2 of the squared bias."""
    spread = (kurtosis - 1) * m2**2

    def missed(share: float) -> float:
        step = share * m2
        low, high = noncoverage(m2 - step, chi), noncoverage(m2 + spread / step, chi)
        return (spread * low + step**2 * high) / (spread + step**2)

    found = _missed_grid(m2, spread, chi)
    best = int(found.argmax())
    left = _GRID[best - 1] if best else 0.5 * _GRID[0]
    right = _GRID[min(best + 1, len(_GRID) - 1)]
    return max(float(found[best]), _golden(missed, float(left), float(right)))


def _missed_grid(m2: float, spread: float, chi: float) -> Array:
    """``missed`` of a grid of shares at once, to bracket the peak."""
    from scipy.special import ndtr

    step = _GRID * m2
    low, high = np.sqrt(np.maximum(m2 - step, 0.0)), np.sqrt(m2 + spread / step)
    at_low = ndtr(-chi - low) + ndtr(low - chi)
    at_high = ndtr(-chi - high) + ndtr(high - chi)
    return np.asarray((spread * at_low + step**2 * at_high) / (spread + step**2))


def _golden(function: Any, left: float, right: float) -> float:
    """Maximum of a function with one peak in [left, right] (golden section; it is flat: 1e-8 gives all digits)."""
    inner = right - _GOLDEN * (right - left)
    outer = left + _GOLDEN * (right - left)
    at_inner, at_outer = function(inner), function(outer)
    while right - left > 1e-8:
        if at_inner < at_outer:
            left, inner, at_inner = inner, outer, at_outer
            outer = left + _GOLDEN * (right - left)
            at_outer = function(outer)
        else:
            right, outer, at_outer = outer, inner, at_inner
            inner = right - _GOLDEN * (right - left)
            at_inner = function(inner)
    return float(max(at_inner, at_outer))


def critical_value(m2: float, kurtosis: float, level: float) -> float:
    r"""Half-width over the standard deviation of the noise that covers with this probability in the worst case.

    Examples
    --------
    >>> round(critical_value(0.0, np.inf, 0.95), 4)
    1.96
    >>> round(critical_value(4.0, np.inf, 0.95), 4), round(critical_value(4.0, 3.0, 0.95), 4)
    (7.2164, 4.6195)
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    if not 0 < level < 1:
        raise DataError("PMG-LEVEL", f"level={level} must lie between 0 and 1", fix="for example 0.95")
    plain = float(ndtri((1 + level) / 2))
    if math.isnan(m2) or m2 == 0:
        return plain if m2 == 0 else math.nan
    if math.isinf(m2):
        return math.inf
    most = math.sqrt((1 + m2) / (1 - level)) * (1 + 1e-9)  # Chebyshev

    def excess(chi: float) -> float:
        return worst_noncoverage(m2, kurtosis, chi) - (1 - level)

    return float(brentq(excess, plain * (1 - 1e-12), most, xtol=1e-13, rtol=1e-14))


def critical_values(m2: Array, kurtosis: Array, level: float) -> Array:
    """:func:`critical_value` of every element; NaN where the moments are."""
    pairs = zip(m2, kurtosis, strict=True)
    return np.array([critical_value(float(a), float(b), level) if a == a else np.nan for a, b in pairs])


__all__ = ["critical_value", "critical_values", "noncoverage", "tangent_point", "worst_noncoverage"]
