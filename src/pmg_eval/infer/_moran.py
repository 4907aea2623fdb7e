"""Moran's I: whether neighboring areas resemble each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pmg_eval.numerics.rows import Array

MoranLaw = Literal["randomization", "normal", "permutation"]

_CELLS = 1 << 20  # permuted values held at once


@dataclass(frozen=True)
class Moran:
    """Moran's I with its moments under no dependence.

    Attributes
    ----------
    value, expected, variance : float
    p_value, p_min, p_error : float
        One-sided, for resemblance.
    """

    value: float
    expected: float
    variance: float
    p_value: float
    p_min: float
    p_error: float


def moran(values: Array, links: Any, law: MoranLaw, draws: int, generator: np.random.Generator) -> Moran:
    r"""Moran's I of values (n,) and weights (n, n) (sparse, zero on the diagonal).

    .. math:: I=\frac n{S_0}\frac{\sum_{ij}w_{ij}z_iz_j}{\sum_iz_i^2},\qquad E[I]=-\frac1{n-1}

    with variances (Cliff and Ord) for normal values, and for a random order of the given ones:

    .. math::

        V_N&=\frac{n^2S_1-nS_2+3S_0^2}{(n^2-1)S_0^2}-E^2,\\
        V_R&=\frac{n[(n^2-3n+3)S_1-nS_2+3S_0^2]-b_2[(n^2-n)S_1-2nS_2+6S_0^2]}{(n-1)(n-2)(n-3)S_0^2}-E^2,

    :math:`S_0=\sum w_{ij}`, :math:`S_1=\tfrac12\sum(w_{ij}+w_{ji})^2`, :math:`S_2=\sum_i(w_{i\cdot}+w_{\cdot i})^2`,
    :math:`b_2=m_4/m_2^2`.
    """
    n = len(values)
    z = values - values.mean()
    total = float(links.sum())
    scale = n / (total * float(z @ z))
    value = scale * float(z @ (links @ z))
    expected = -1 / (n - 1)
    if law == "permutation":
        found = _permuted(z, links, draws, generator) * scale
        extreme = int((found >= value - 1e-12 * abs(value)).sum())
        p = (1 + extreme) / (1 + draws)
        error = float(np.sqrt(p * (1 - p) / draws))
        return Moran(value, expected, float(found.var()), p, 1 / (1 + draws), error)
    from scipy.special import ndtr

    both = links + links.T
    s1 = float(both.multiply(both).sum()) / 2
    s2 = float((np.asarray(both.sum(axis=1)) ** 2).sum())
    if law == "normal":
        second = (n**2 * s1 - n * s2 + 3 * total**2) / ((n**2 - 1) * total**2)
    else:
        kurtosis = n * float((z**4).sum()) / float(z @ z) ** 2
        second = n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * total**2)
        second -= kurtosis * ((n**2 - n) * s1 - 2 * n * s2 + 6 * total**2)
        second /= (n - 1) * (n - 2) * (n - 3) * total**2
    variance = second - expected**2
    return Moran(value, expected, variance, float(ndtr(-(value - expected) / np.sqrt(variance))), 0.0, 0.0)


def _permuted(z: Array, links: Any, draws: int, generator: np.random.Generator) -> Array:
    """Values z'Wz of random orders of z, (draws,)."""
    found = np.empty(draws)
    step = max(1, _CELLS // len(z))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        mixed = generator.permuted(np.tile(z, (size, 1)), axis=1)
        found[start : start + size] = np.einsum("ij,ij->i", mixed, (links @ mixed.T).T)
    return found
