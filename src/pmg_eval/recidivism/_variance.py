r"""Variances of step functions, from prefix sums and matrix products: no loop over days.

The estimates depend on the day's event shares :math:`q_{js}=d_{js}/Y_s` through

.. math:: \partial\hat F_k(t)/\partial q_{js}=\hat S(s-)\,g_{kj}(s,t),\qquad
          g_{kj}(s,t)=1\{j=k\}-\frac{\hat F_k(t)-\hat F_k(s)}{\hat S(s)},

so that with :math:`U_{jm}(s)=\hat S(s-)^2\,\mathrm{Cov}(q_{js},q_{ms})`

.. math:: \mathrm{Cov}(\hat F_k(t),\hat F_l(u))=\sum_{s\le t\wedge u}\sum_{jm}g_{kj}(s,t)\,U_{jm}(s)\,g_{lm}(s,u).

``delta``: multinomial events on each day, :math:`U_{jm}=\hat S(s-)^2(q_j1\{j=m\}-q_jq_m)/Y` (Greenwood's formula when
there is one cause). ``aalen``: :math:`U_{jj}=\hat S(s-)^2\,\frac{Y-d_j}{Y-1}\,\frac{d_j}{Y^2}` and zero elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pmg_eval.numerics.rows import Array
from pmg_eval.recidivism._risk import Curve


def greenwood(curve: Curve) -> Array:
    r"""Prefix sums (T,) of :math:`d/(Y(Y-d))`; infinite from the day on which everybody at risk has an event."""
    events, mass = curve.weight_events.sum(axis=1), curve.weight_at_risk
    ended = curve.survival == 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = events / (mass * (mass - events))
    return np.cumsum(np.where(ended, np.inf, steps))


def greenwood_covariance(curve: Curve, times: Sequence[int]) -> Array:
    r"""Cov (H, H) of 1 - S: :math:`\hat S(t)\hat S(u)\sum_{s\le t\wedge u}d/(Y(Y-d))`; NaN where S is zero."""
    place = curve.place(times)
    total = np.append(0.0, greenwood(curve))[place]
    survival = np.append(1.0, curve.survival)[place]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.outer(survival, survival) * np.minimum.outer(total, total))


@dataclass(frozen=True, eq=False)
class Parts:
    r"""Covariance of the day's event shares times S(s-) squared.

    Attributes
    ----------
    each : (T, K, K) or (T, K) float
        :math:`U_{jm}`, or its diagonal when the rest is zero.
    row : (T, K) float
        :math:`u_j=\sum_mU_{jm}`.
    total : (T,) float
    inverse : (T,) float
        1 / S(s), zero where S is zero (nothing happens after it).
    """

    each: Array
    row: Array
    total: Array
    inverse: Array

    def between(self, k: int, m: int) -> Array:
        """U_km (T,)."""
        if self.each.ndim == 3:
            return np.asarray(self.each[:, k, m])
        return np.asarray(self.each[:, k]) if k == m else np.zeros(len(self.total))


def parts(curve: Curve, variance: str) -> Parts:
    """The day's contributions under a variance."""
    mass, events = curve.weight_at_risk, curve.weight_events
    square = curve.before**2
    with np.errstate(divide="ignore"):
        inverse = np.where(curve.survival > 0, 1 / curve.survival, 0.0)
    if variance == "aalen":
        with np.errstate(divide="ignore", invalid="ignore"):
            finite = np.where(mass[:, None] > 1, (mass[:, None] - events) / (mass[:, None] - 1), 1.0)
        each = square[:, None] * finite * events / mass[:, None] ** 2
        return Parts(each, each, each.sum(axis=1), inverse)
    share = events / mass[:, None]
    scale = (square / mass)[:, None]
    every = share.sum(axis=1, keepdims=True)
    one = np.eye(share.shape[1])
    each = scale[:, :, None] * (share[:, :, None] * one - share[:, :, None] * share[:, None, :])
    row = scale * share * (1 - every)
    return Parts(each, row, row.sum(axis=1), inverse)


def incidence_covariance(curve: Curve, times: Sequence[int], causes: Sequence[int], variance: str) -> Array:
    """Cov (K' H, K' H) of F_k at some times, causes outermost."""
    part = parts(curve, variance)
    place = curve.place(times)
    within = np.arange(len(curve.day)) < place[:, None]
    at = curve.incidence_at(times)
    terms: list[tuple[int, int]] = [(k, h) for k in causes for h in range(len(place))]
    if not len(curve.day):
        return np.zeros((len(terms), len(terms)))
    ahead = np.array([(at[h, k] - curve.incidence[:, k]) * part.inverse * within[h] for k, h in terms])
    own = np.array([part.row[:, k] * within[h] for k, h in terms])
    cross = own @ ahead.T
    cov = (ahead * part.total) @ ahead.T - cross - cross.T
    earlier, n = np.minimum.outer(place, place), len(place)
    for i, k in enumerate(causes):
        for j, m in enumerate(causes):
            sums = np.append(0.0, np.cumsum(part.between(k, m)))
            cov[i * n : (i + 1) * n, j * n : (j + 1) * n] += sums[earlier]
    return np.asarray((cov + cov.T) / 2)


def incidence_variance(curve: Curve, cause: int, variance: str) -> Array:
    """Var (T,) of F_k on every event day, by seven prefix sums."""
    part = parts(curve, variance)
    f = curve.incidence[:, cause]
    own = part.row[:, cause] * part.inverse
    all_ = part.total * part.inverse**2
    c0, c1 = np.cumsum(own), np.cumsum(own * f)
    a0, a1, a2 = np.cumsum(all_), np.cumsum(all_ * f), np.cumsum(all_ * f * f)
    found = np.cumsum(part.between(cause, cause)) - 2 * (f * c0 - c1) + f * f * a0 - 2 * f * a1 + a2
    return np.asarray(np.maximum(found, 0.0))


def standard_errors(curve: Curve, causes: Sequence[int], variance: str) -> list[Any]:
    """Standard errors (T,) of the curves of some causes; NaN where S is zero and Greenwood's formula has no value."""
    if variance == "greenwood":
        with np.errstate(invalid="ignore"):
            return [curve.survival * np.sqrt(greenwood(curve))]
    return [np.sqrt(incidence_variance(curve, cause, variance)) for cause in causes]
