r"""Errors that are part noise, part bias of an unknown law: intervals that hold whatever that law is.

Shrinkage pulls an area towards the mean, by an amount that depends on how far the area truly is from it. The error is

.. math:: \hat\theta_i-\theta_i=e_i+\sum_jb_{ij}u_j,

with normal noise e and independent standardized deviations u of the true effects, of which only the second moment (one)
and perhaps a bound on the kurtosis are known. It is closed under linear maps. The covariance counts both parts; the
interval takes the worst case over the laws of u (:mod:`pmg_eval.numerics.worst_case`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pmg_eval.errors import InferenceError
from pmg_eval.estimate.scales import SCALES
from pmg_eval.numerics.rows import Array

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate

METHOD = "empirical Bayes, robust to the law of the effects"


@dataclass(frozen=True, eq=False)
class Bias:
    r"""The part of an error that is no noise.

    Attributes
    ----------
    loading : (k, q) float
        :math:`b_{ij}`, on the scale of the values.
    kurtosis : float
        Bound on the kurtosis of each u (``inf``: none).
    """

    loading: Array
    kurtosis: float

    def map(self, matrix: Any) -> Bias:
        """The bias of linear combinations."""
        return replace(self, loading=np.asarray(matrix @ self.loading))

    def take(self, index: Any) -> Bias:
        """The bias of some terms."""
        return replace(self, loading=self.loading[index])

    def second(self) -> Array:
        """Second moment of the bias of each term; (k,)."""
        return np.asarray((self.loading**2).sum(axis=1))

    def fourth(self) -> Array:
        r"""Kurtosis of the bias of each term: :math:`3+(\kappa-3)\sum_jb_{ij}^4/(\sum_jb_{ij}^2)^2`; (k,)."""
        if np.isinf(self.kurtosis):
            return np.full(len(self.loading), np.inf)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = (self.loading**4).sum(axis=1) / self.second() ** 2
        return np.asarray(np.fmax(1.0, 3 + (self.kurtosis - 3) * np.where(np.isnan(share), 1.0, share)))


def noise_and_moments(bias: Bias, variance: Array) -> tuple[Array, Array, Array]:
    """Standard deviation of the noise, second moment and kurtosis of the bias over it; (k,) each."""
    second = bias.second()
    noise = np.sqrt(np.clip(variance - second, 0.0, None))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(second > 0, second / noise**2, 0.0 * noise)
    return noise, ratio, bias.fourth()


def by_bias(estimate: Estimate[Any], bias: Bias, level: float) -> dict[str, Array]:
    """Interval and p-value in the worst case; the p is that of the interval, so that both say the same."""
    from pmg_eval.numerics.worst_case import critical_values, worst_noncoverage

    scale = SCALES[estimate.scale]
    with np.errstate(all="ignore"):
        noise, ratio, kurtosis = noise_and_moments(bias, estimate.se**2)
        centre, slope = scale.to(estimate.values), np.abs(scale.slope(estimate.values))
        noise = noise * slope
        half = critical_values(np.where(noise > 0, ratio, np.nan), kurtosis, level) * noise
        low, high = scale.back(centre - half), scale.back(centre + half)
        if not scale.increasing:
            low, high = high, low
        far = np.abs(centre - scale.null_on_scale()) / noise
    known = np.isfinite(half) & np.isfinite(centre) & (half > 0)
    p_value = np.full(len(estimate), np.nan)
    for row in np.flatnonzero(known & np.isfinite(far)):
        p_value[row] = min(1.0, worst_noncoverage(float(ratio[row]), float(kurtosis[row]), float(far[row])))
    return {
        "conf_low": np.where(known, low, np.nan),
        "conf_high": np.where(known, high, np.nan),
        "p_value": p_value,
    }


def need_one_law(estimate: Estimate[Any], what: str) -> None:
    """Refuse a joint statement about errors with a bias of unknown law: its worst case is known term by term only."""
    if getattr(estimate.uncertainty, "bias", None) is not None:
        raise InferenceError(
            "PMG-ROBUST-JOINT",
            f"no {what} of shrunken effects without a law of the true effects",
            fix='infer.shrink(..., method="parametric"), or single terms and their linear maps',
        )


__all__ = ["METHOD", "Bias", "by_bias", "need_one_law", "noise_and_moments"]
