r"""Fixed-length intervals under smoothness: the best affine estimator and its worst bias, exactly.

An estimator :math:`a'\hat\beta_{pre}+l'\hat\beta_{post}` has a bounded bias when it cancels straight lines. With
:math:`w_j=\sum_{t>j}(t-j)a_{-t}` and :math:`c_j=\sum_{t>j}(t-j)l_t` the coefficients of the bends :math:`m_{-j}` and
:math:`m_j`, that is :math:`w_0=c_0`, and the largest bias is

.. math:: M\Big(\sum_{j\ge0}|c_j|+\sum_{j\ge1}|w_j|\Big).

The half-length is :math:`\sigma\,cv(bias/\sigma)`, cv(t) the quantile of :math:`|N(t,1)|`. It is convex in w, and grows
in the bias and in :math:`\sigma`, so the best w lies on the path of
:math:`\min_w\tfrac12\sigma^2(w)+\lambda\sum_{j\ge1}|w_j|`, which is piecewise linear in :math:`\lambda` (a lasso with
P - 1 coefficients); on it, :math:`\lambda=M\sigma\,H_b/H_\sigma` is one equation in one unknown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pmg_eval.errors import NumericalError
from pmg_eval.numerics.rows import Array

_RIDGE = 1e-13  # relative to the mean variance: makes the path unique where the covariance is singular


@dataclass(frozen=True, eq=False)
class Affine:
    """The estimator: weights of all coefficients (P+T,), its standard error, worst bias and half-length."""

    weights: Array
    std_error: float
    bias: float
    half: float


@dataclass(frozen=True, eq=False)
class Path:
    r"""Estimators from the least bias (:math:`\lambda` large) to the least variance (0).

    Attributes
    ----------
    start : (P+T,) float
        Weights of the coefficients where all free :math:`w_j` are zero.
    turn : (P+T, P-1) float
        How the weights move with the free :math:`w_j`.
    bias : float
        Worst bias per unit of M where all free :math:`w_j` are zero.
    knots : (K,) float
        Values of :math:`\lambda`, descending.
    free : (K, P-1) float
        The free :math:`w_j` there; linear in between.
    covariance : (P+T, P+T) float
    """

    start: Array
    turn: Array
    bias: float
    knots: Array
    free: Array
    covariance: Array

    def at(self, penalty: float) -> Array:
        """The free coefficients at a penalty."""
        found = [np.interp(penalty, self.knots[::-1], column[::-1]) for column in self.free.T]
        return np.array(found, dtype=np.float64)

    def estimator(self, penalty: float, strength: float, level: float) -> Affine:
        """The estimator at a penalty, judged at a strength."""
        free = self.at(penalty)
        weights = self.start + self.turn @ free
        std_error = math.sqrt(max(float(weights @ self.covariance @ weights), 0.0))
        bias = strength * (self.bias + float(np.abs(free).sum()))
        half = std_error * folded_quantile(bias / std_error, level) if std_error > 0 else bias
        return Affine(weights, std_error, bias, half)


def folded_quantile(bias: float, level: float) -> float:
    r"""cv: the c with :math:`\Phi(c-t)-\Phi(-c-t)` = level, at t = ``bias``."""
    from scipy import special

    if not np.isfinite(bias):
        return np.inf
    c = bias + float(special.ndtri(level)) if bias > 1 else float(special.ndtri((1 + level) / 2)) + 0.3 * bias
    for _ in range(100):
        gap = float(special.ndtr(c - bias) - special.ndtr(-c - bias)) - level
        density = (math.exp(-0.5 * (c - bias) ** 2) + math.exp(-0.5 * (c + bias) ** 2)) / math.sqrt(2 * math.pi)
        step = gap / density
        c -= max(-1.0, min(1.0, step))
        if abs(step) <= 1e-15 * (1 + c):
            break
    return c


def path_of(covariance: Array, target: Array, n_pre: int) -> Path:
    """All estimators that are best for some trade-off of bias and variance."""
    n_post = len(target)
    ahead = np.maximum(np.arange(1, n_post + 1)[:, None] - np.arange(n_post)[None, :], 0.0)  # (t - j)+
    after = ahead.T @ target
    # second differences turn w back into the weights a of the pre-periods, here in the order -1..-P
    back = np.eye(n_pre) - 2 * np.eye(n_pre, k=1) + np.eye(n_pre, k=2)
    start = np.concatenate([(back[:, 0] * after[0])[::-1], target])
    turn = np.vstack([back[::-1, 1:], np.zeros((n_post, n_pre - 1))])
    square = turn.T @ covariance @ turn
    ridge = _RIDGE * float(np.trace(square)) / max(n_pre - 1, 1)
    knots, free = _lasso(square + ridge * np.eye(n_pre - 1), turn.T @ covariance @ start)
    return Path(start, turn, float(np.abs(after).sum()), knots, free, covariance)


def flci(path: Path, strength: float, level: float) -> Affine:
    """The estimator with the shortest interval."""
    from scipy.optimize import brentq

    def surplus(penalty: float) -> float:
        """Negative where the penalty is too small."""
        one = path.estimator(penalty, strength, level)
        if one.std_error == 0:
            return penalty
        at = one.bias / one.std_error
        value = folded_quantile(at, level)
        slope = math.tanh(min(at * value, 350.0))  # of cv
        return penalty - strength * one.std_error * slope / (value - at * slope)

    penalty = float(path.knots[0])
    if strength == 0 or len(path.knots) == 1:
        penalty = float(path.knots[-1])
    elif surplus(penalty) > 0:
        penalty = float(brentq(surplus, 0.0, penalty, xtol=1e-300, rtol=1e-14, maxiter=500))
    return path.estimator(penalty, strength, level)


def _lasso(square: Array, slope: Array) -> tuple[Array, Array]:
    r"""Path of :math:`\min\tfrac12x'Qx+q'x+\lambda\sum|x|`: values of lambda, and x there (homotopy)."""
    k = len(slope)
    if k == 0 or not np.abs(slope).max() > 0:
        return np.zeros(1), np.zeros((1, k))
    active: list[int] = [int(np.abs(slope).argmax())]
    penalty, x = float(np.abs(slope).max()), np.zeros(k)
    sign = -np.sign(slope)
    knots, points = [penalty], [x]
    for _ in range(100 * k + 100):
        block = np.linalg.inv(square[np.ix_(active, active)])
        # x_A = -Q_AA^-1 (q_A + lambda s_A); gradient of the others is linear in lambda, too
        still, move = -block @ slope[active], -block @ sign[active]
        constant = slope + square[:, active] @ still
        along = square[:, active] @ move
        following, event = 0.0, -1
        for j in range(k):
            if j in active:
                i = active.index(j)
                crossings = [-still[i] / move[i]] if move[i] != 0 else []
            else:  # |constant + lambda along| reaches lambda
                crossings = [constant[j] / (s - along[j]) for s in (1.0, -1.0) if s != along[j]]
            for value in crossings:
                if following < value < penalty * (1 - 1e-10):
                    following, event = float(value), j
        x = np.zeros(k)
        x[active] = still + following * move
        penalty = following
        knots.append(penalty)
        points.append(x)
        if event < 0:
            return np.array(knots), np.array(points)
        if event in active:
            x[event] = 0.0
            active.remove(event)
            if not active:
                return np.array([*knots, 0.0]), np.array([*points, x])
        else:
            active.append(event)
            sign[event] = -np.sign(constant[event] + penalty * along[event])
    raise NumericalError("PMG-PATH", "the path of affine estimators did not end", fix="report a bug")
