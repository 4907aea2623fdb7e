r"""Heterogeneity :math:`\tau^2` of effects whose errors are correlated.

The model is :math:`y=X\beta+u+e` with :math:`u\sim(0,\tau^2I)` and :math:`e\sim(0,V)`. With :math:`V=U\Lambda U'` the
rotated data :math:`U'y,\ U'X` have the *diagonal* covariance :math:`\Lambda+\tau^2I` at every :math:`\tau^2`. All
quadratic forms and traces below are invariant under the rotation, so the estimators written for independent studies
hold as they are for correlated ones, at the cost of one eigenvalue decomposition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pmg_eval.errors import NumericalError
from pmg_eval.numerics.rows import Array

Method = Literal["reml", "ml", "pm", "eb", "dl", "he", "hs", "sj", "fixed"]
METHODS: tuple[Method, ...] = get_args(Method)
NAMES: dict[Method, str] = {
    "reml": "REML",
    "ml": "maximum likelihood",
    "pm": "Paule-Mandel",
    "eb": "empirical Bayes (Morris)",
    "dl": "DerSimonian-Laird",
    "he": "Hedges",
    "hs": "Hunter-Schmidt",
    "sj": "Sidik-Jonkman",
    "fixed": "one common effect",
}


@dataclass(frozen=True, eq=False)
class Fit:
    """Generalized least squares at one heterogeneity: coefficients, their (X'M^-1X)^-1, and sums of the projection."""

    coef: Array
    bread: Array
    q: float  # y'Py
    qq: float  # y'PPy
    trace: float  # tr P
    trace2: float  # tr PP
    log_det: float  # log|M|
    log_det_bread: float


@dataclass(frozen=True, eq=False)
class Model:
    """Effects, moderators and error covariance in the basis in which the covariance is diagonal."""

    y: Array
    x: Array
    variance: Array
    spread: float  # mean squared deviation of the effects as they were, where Sidik-Jonkman starts

    @classmethod
    def of(cls, y: Array, v: Array, x: Array) -> Model:
        value, vector = np.linalg.eigh(v)
        off = v - np.diag(np.diag(v))
        if not off.any():  # no rounding where nothing has to be turned
            value, vector = np.diag(v).copy(), np.eye(len(y))
        return cls(vector.T @ y, vector.T @ x, value, float(np.mean((y - y.mean()) ** 2)))

    @property
    def df(self) -> int:
        """Areas minus coefficients."""
        return len(self.y) - int(self.x.shape[1])

    def fit(self, tau2: float, weight: Array | None = None) -> Fit:
        """GLS at this heterogeneity, or least squares with other weights (projection P of those weights)."""
        w = 1 / (self.variance + tau2) if weight is None else weight
        root = np.sqrt(w)
        q, r = np.linalg.qr(self.x * root[:, None])
        if not (np.abs(np.diag(r)) > 1e-12 * np.linalg.norm(r, axis=0)).all():
            raise NumericalError("PMG-COLLINEAR", "moderators are collinear", fix="drop one of them")
        scaled = self.y * root
        inside = q.T @ scaled
        coef = np.linalg.solve(r, inside)
        inverse = np.linalg.solve(r, np.eye(len(r)))
        rest = (scaled - q @ inside) * root  # P y
        square = (q * w[:, None]).T @ q
        trace2 = float((w**2).sum() - 2 * np.einsum("ij,i,ij->", q, w**2, q) + (square**2).sum())
        return Fit(
            np.asarray(coef),
            np.asarray(inverse @ inverse.T),
            float(rest @ (self.y - self.x @ coef)),
            float(rest @ rest),
            float(w.sum() - np.trace(square)),
            trace2,
            -float(np.log(w).sum()),
            -2 * float(np.log(np.abs(np.diag(r))).sum()),
        )

    def top(self) -> float:
        """A heterogeneity above every estimate: what least squares would attribute to it if nothing else varied."""
        plain = self.fit(0.0, np.ones_like(self.y))
        return 4 * (plain.q / max(self.df, 1) + float(self.variance.max())) + np.finfo(float).tiny


def log_likelihood(model: Model, tau2: float, *, restricted: bool = False) -> float:
    """Log-likelihood, or the restricted one without constants in the design."""
    fit = model.fit(tau2)
    n = len(model.y) - (model.x.shape[1] if restricted else 0)
    value = -0.5 * (n * np.log(2 * np.pi) + fit.log_det + fit.q)
    return float(value + 0.5 * fit.log_det_bread if restricted else value)


def heterogeneity(model: Model, method: Method) -> tuple[float, float]:
    """tau^2 (not below 0) and its standard error (NaN for a common effect)."""
    if method == "fixed":
        return 0.0, np.nan
    if method in ("reml", "ml"):
        return _likelihood(model, restricted=method == "reml")
    if method in ("pm", "eb"):
        tau2 = solve_q(model, float(model.df))  # Morris' iteration ends at the same root
        return tau2, float(len(model.y) * np.sqrt(2 / model.df) / (1 / (model.variance + tau2)).sum())
    if method == "sj":
        start = model.spread
        weight = 1 / (model.variance + start)
        tau2 = start * model.fit(start).q / model.df
        return tau2, _moment_se(model, tau2, weight, model.df / start)
    weight = np.ones_like(model.y) if method == "he" else 1 / model.variance
    fit = model.fit(0.0, weight)
    if method == "hs":
        scale, expected = float(weight.sum()), float(len(model.y))
    else:
        scale, expected = fit.trace, _trace_pv(model, weight)
    tau2 = max(0.0, (fit.q - expected) / scale)
    return tau2, _moment_se(model, tau2, weight, scale)


def _projection(model: Model, weight: Array) -> Array:
    """P of these weights, as a matrix."""
    root = np.sqrt(weight)
    q, _ = np.linalg.qr(model.x * root[:, None])
    return np.asarray((np.eye(len(root)) - q @ q.T) * np.outer(root, root))


def _trace_pv(model: Model, weight: Array) -> float:
    root = np.sqrt(weight)
    q, _ = np.linalg.qr(model.x * root[:, None])
    kept = 1 - np.einsum("ij,ij->i", q, q)
    return float((kept * weight * model.variance).sum())


def _moment_se(model: Model, tau2: float, weight: Array, scale: float) -> float:
    r"""Standard error of (y'Py - c)/scale under normality: :math:`\sqrt{2\,\mathrm{tr}(PMPM)}/scale`."""
    half = _projection(model, weight) * (model.variance + tau2)
    return float(np.sqrt(2 * np.einsum("ij,ji->", half, half)) / scale)


def solve_q(model: Model, target: float) -> float:
    r"""The :math:`\tau^2` at which the weighted sum of squares equals target (0 where it is below it at once)."""
    if model.fit(0.0).q <= target:
        return 0.0
    high = model.top()
    while model.fit(high).q > target:
        high *= 4
    return _root(lambda tau2: model.fit(tau2).q - target, 0.0, high)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-15 * max(high, 1e-300), rtol=8.9e-16, maxiter=500))


def _likelihood(model: Model, *, restricted: bool) -> tuple[float, float]:
    """The global maximum: the likelihood may have several, so a grid finds the peak and its score the digits."""

    def score(tau2: float) -> float:
        fit = model.fit(tau2)
        return fit.qq - (fit.trace if restricted else float((1 / (model.variance + tau2)).sum()))

    high = model.top()
    while score(high) > 0:
        high *= 4
    grid = np.concatenate([[0.0], high * np.geomspace(1e-8, 1.0, 40)])
    values = [log_likelihood(model, tau2, restricted=restricted) for tau2 in grid]
    best = int(np.argmax(values))
    tau2 = 0.0
    if best > 0 or score(0.0) > 0:
        low, up = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        tau2 = _root(score, float(low), float(up)) if score(float(low)) > 0 > score(float(up)) else float(grid[best])
    fit = model.fit(tau2)
    information = fit.trace2 if restricted else float((1 / (model.variance + tau2) ** 2).sum())
    return tau2, float(np.sqrt(2 / information))


def q_profile(model: Model, level: float) -> tuple[float, float]:
    r"""Interval of :math:`\tau^2` from :math:`y'P(\tau^2)y\sim\chi^2_{n-p}`; NaN when even 0 is too large."""
    from scipy.special import chdtri

    tail = (1 - level) / 2
    lower, upper = float(chdtri(model.df, tail)), float(chdtri(model.df, 1 - tail))
    if model.fit(0.0).q < upper:
        return np.nan, np.nan
    return solve_q(model, lower), solve_q(model, upper)


__all__ = ["METHODS", "NAMES", "Fit", "Method", "Model", "heterogeneity", "log_likelihood", "q_profile", "solve_q"]
