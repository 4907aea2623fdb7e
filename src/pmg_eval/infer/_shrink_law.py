r"""Shrinkage with correlated errors: the linear map, and what its error is made of.

With :math:`M=V+\tau^2I`, :math:`L=\tau^2M^{-1}` and :math:`H=X(X'M^{-1}X)^{-1}X'M^{-1}` the best linear predictor is
:math:`\hat\theta=Ay,\ A=H+L(I-H)`. As :math:`AX=X`, its error is exactly

.. math:: \hat\theta-\theta=Ae+(A-I)u,

noise with covariance :math:`AVA'`, and bias linear in the deviations u of the true effects from their mean. With a
diagonal V and a known mean these are Armstrong, Kolesár and Plagborg-Møller's: noise :math:`w_i\sigma_i`, normalized
bias with second moment :math:`(1-1/w_i)^2\tau^2/\sigma_i^2`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pmg_eval.numerics.rows import Array


@dataclass(frozen=True, eq=False)
class Shrinkage:
    """All (k, k): the map A, the mean H, the weights L, covariance of the noise and loading of the bias."""

    matrix: Array
    mean: Array
    weight: Array
    noise: Array
    loading: Array


def shrinkage(v: Array, x: Array, tau2: float, *, known_mean: bool = False) -> Shrinkage:
    """The best linear predictor of the true effects at this heterogeneity.

    ``known_mean`` leaves out what the estimation of the mean adds to the error (as in the paper, whose areas are many).
    """
    k = len(v)
    inverse = np.linalg.inv(v + tau2 * np.eye(k))
    weight = np.asarray(tau2 * inverse, dtype=np.float64)
    hat = np.zeros((k, k)) if known_mean else x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse)
    matrix = hat + weight @ (np.eye(k) - hat)
    noise = np.asarray(matrix @ v @ matrix.T)
    return Shrinkage(
        np.asarray(matrix), np.asarray(hat), np.asarray(weight), noise, np.sqrt(tau2) * (matrix - np.eye(k))
    )


def posterior_covariance(v: Array, x: Array, tau2: float, coef_cov: Array) -> Array:
    r"""Covariance of the error under the coefficients' own law: :math:`\tau^2(I-L)+(I-L)XV_\beta X'(I-L)'`.

    Equal to noise plus bias of :func:`shrinkage` where that law is :math:`(X'M^{-1}X)^{-1}`.
    """
    left = np.eye(len(v)) - tau2 * np.linalg.inv(v + tau2 * np.eye(len(v)))
    total = tau2 * left + left @ x @ coef_cov @ x.T @ left.T
    return np.asarray((total + total.T) / 2)


def smallest_tau2(v: Array) -> float:
    r"""Heterogeneity below which data of this precision cannot tell it from that value.

    The posterior mean of :math:`\tau^2` under a flat prior on the non-negative numbers, at the smallest value that its
    moment estimate can take:
    :math:`2\sum_{ij}V_{ij}^2/(k\sum_iV_{ii})`, which is that of the paper where V is diagonal.
    """
    return float(2 * (v**2).sum() / (len(v) * np.trace(v)))


def moment_tau2(resid: Array, v: Array) -> float:
    r"""Moment estimate :math:`\frac1k\sum_i(\hat\varepsilon_i^2-V_{ii})`, before truncation."""
    return float(np.mean(resid**2 - np.diag(v)))


def moment_kurtosis(resid: Array, v: Array, tau2: float) -> float:
    r"""Kurtosis of the true effects around their mean, from fourth moments, truncated from below as in the paper.

    :math:`\max\{\sum(\hat\varepsilon^4-6\sigma^2\hat\varepsilon^2+3\sigma^4)/(k\tau^4),\
    1+32\sum_{ij}V_{ij}^4/(\tau^4k\sum\sigma^4)\}`
    """
    variance, k = np.diag(v), len(v)
    fourth = float(np.mean(resid**4 - 6 * variance * resid**2 + 3 * variance**2))
    least = 1 + 32 * float((v**4).sum()) / (tau2**2 * k * float((variance**2).sum()))
    return max(fourth / tau2**2, least)


__all__ = ["Shrinkage", "moment_kurtosis", "moment_tau2", "posterior_covariance", "shrinkage", "smallest_tau2"]
