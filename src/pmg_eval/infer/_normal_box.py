r"""Probability and mean of a normal vector inside a box around zero.

:math:`X=\mu+LZ` with L lower triangular turns the box into a chain of intervals, one per coordinate given those before
(Genz 1992, doi:10.2307/1390838). The last coordinate is integrated exactly, the others over a shifted lattice; one
coordinate alone is therefore exact.

Where standard errors are estimated, the sides of the box are not fixed: they are multiplied by
:math:`\sqrt{\chi^2_{df}/df}`, by one random number for all coordinates (as in simultaneous bands), which is one more
coordinate of the lattice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pmg_eval.numerics.rows import Array

SHIFTS, POINTS = 8, 4_096
_TINY = 1e-300
# Generating vector for any power of two of points (Cools, Kuo and Nuyens 2006, doi:10.1137/06065074X).
_KUO = np.array(
    [
        *(1, 182667, 469891, 498753, 110745, 446247, 250185, 118627, 245333, 283199, 408519, 391023, 246327, 126539),
        *(399185, 461527, 300343, 69681, 516695, 436179, 106383, 238523, 413283, 70841, 47719, 300129, 113029, 123925),
    ]
)


@dataclass(frozen=True)
class Inside:
    """What holds inside the box: its probability, the mean there, and the standard error of both."""

    probability: float
    error: float
    mean: Array
    mean_error: Array


@dataclass(frozen=True, eq=False)
class Box:
    """A box ``|x_i| <= half_i`` and a covariance; the lattice is drawn once, so that results are smooth in the mean.

    Attributes
    ----------
    root : (k, k) float
        Lower Cholesky factor of the covariance.
    half : (k,) float or (shifts, points, k) float
        Half widths, possibly infinite, and possibly random.
    lattice : (shifts, points, k - 1) float
        Points in the unit cube.
    """

    root: Array
    half: Array
    lattice: Array

    @classmethod
    def of(cls, covariance: Array, half: Array, rng: int | np.random.Generator, df: Array | None = None) -> Box:
        """The box with a lattice drawn from ``rng``, and sides with ``df`` (k,) degrees of freedom."""
        root = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        generator = np.random.default_rng(rng)
        k = len(half)
        if df is None or not np.isfinite(df).any():
            return cls(root, half, _lattice(k - 1, generator))
        lattice = _lattice(k, generator)
        return cls(root, half * _chi(lattice[..., -1:], df), lattice[..., :-1])

    def inside(self, mean: Array) -> Inside:
        """Probability of the box and mean inside it under a normal law with this mean."""
        k = len(mean)
        shifts, points, _ = self.lattice.shape
        weight: Array = np.ones((shifts, points))
        score: Array = np.zeros((shifts, points, k))
        for i in range(k):
            centre = mean[i] + score[..., :i] @ self.root[i, :i]
            low, high = ((side * self.half[..., i] - centre) / self.root[i, i] for side in (-1, 1))
            if i == k - 1:
                mass, first = _interval(low, high)
                score[..., i] = first / np.maximum(mass, _TINY)
            else:
                mass, score[..., i] = _point(low, high, self.lattice[..., i])
            weight = weight * mass
        each = weight.mean(axis=1)
        total = float(each.mean())
        known = np.maximum(each, _TINY)
        scores = np.einsum("sp,spi->si", weight, score) / points
        means = mean + (scores / known[:, None]) @ self.root.T
        pooled = mean + self.root @ (scores.mean(axis=0) / max(total, _TINY))
        spread = np.sqrt(shifts)
        return Inside(total, float(each.std(ddof=1) / spread), pooled, means.std(axis=0, ddof=1) / spread)


def _chi(share: Array, df: Array) -> Array:
    """Quantiles (..., k) of sqrt(chi2/df), one share for all."""
    from scipy import special

    finite = np.where(np.isfinite(df), df, 1.0)
    found = np.sqrt(2 * special.gammaincinv(finite / 2, np.clip(share, 1e-15, 1 - 1e-15)) / finite)
    return np.where(np.isfinite(df), found, 1.0)


def _interval(low: Array, high: Array) -> tuple[Array, Array]:
    """Probability of an interval, and the integral of z over it."""
    from scipy import special

    flip = low > 0  # the lower tail keeps its digits
    a, b = np.where(flip, -high, low), np.where(flip, -low, high)
    density = (np.exp(-0.5 * low**2) - np.exp(-0.5 * high**2)) / np.sqrt(2 * np.pi)
    return special.ndtr(b) - special.ndtr(a), density


def _point(low: Array, high: Array, share: Array) -> tuple[Array, Array]:
    """Probability of an interval, and the point that leaves ``share`` of it below."""
    from scipy import special

    flip = low > 0
    a, b = np.where(flip, -high, low), np.where(flip, -low, high)
    start = special.ndtr(a)
    mass = special.ndtr(b) - start
    found = special.ndtri(np.clip(start + np.where(flip, 1 - share, share) * mass, _TINY, 1 - 1e-16))
    return mass, np.where(flip, -found, found)


def _lattice(dimensions: int, generator: np.random.Generator) -> Array:
    """A rank-one lattice with random shifts, folded so that its ends meet (which makes the error fall with 1/n^2)."""
    if dimensions == 0:
        return np.zeros((2, 1, 0))  # exact: nothing to draw
    shifts = generator.random((SHIFTS, 1, dimensions))
    beyond = 2 * generator.integers(0, 2**19, size=max(0, dimensions - len(_KUO))) + 1
    vector = np.concatenate([_KUO[:dimensions], beyond]).astype(np.int64)
    points = (np.arange(POINTS)[:, None] * vector % POINTS) / POINTS
    return np.asarray(np.abs(2 * ((points + shifts) % 1.0) - 1))


__all__ = ["Box", "Inside"]
