r"""The wild cluster bootstrap without a regression per draw.

With :math:`d=\hat\beta_j-r` the residuals that impose :math:`\beta_j=r` are :math:`\tilde u(d)=\hat u+d\,\dot x_j`
(:math:`\dot x_j`: regressor j given the others), so that everything is linear in d, and in the notation of
:mod:`pmg_eval.estimate._clusters` a draw v of one multiplier per cluster gives

.. math::

    \beta^*-r=C_j'w,\quad w=\sum_g v_gs_g(d),\qquad
    se^{*2}=f\sum_g\big(v_gh_g's_g(d)-h_g'L_gw\big)^2,

with :math:`h_g=C_j` for CV1 and :math:`(I-L_g)^{-1}C_j` for CV3, and :math:`s_g` either the scores
:math:`U_g'\tilde u_g` or those of the residuals that a fit without the cluster leaves,
:math:`s_g+L_gQ(I-QL_gQ)^{-1}Qs_g` with Q the projection off :math:`C_j` (the restricted fit) or I (the unrestricted
one). A draw is therefore two numbers and three, whatever the null: :math:`n_0+dn_1` over the root of
:math:`q_0+dq_1+d^2q_2`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pmg_eval.estimate._clusters import ClusterAlgebra
from pmg_eval.numerics.rows import Array
from pmg_eval.numerics.signs import CELLS, random_signs

Weights = Literal["rademacher", "webb", "mammen", "normal"]
Kind = Literal["11", "13", "31", "33"]

_MAMMEN = (1 - np.sqrt(5)) / 2, (1 + np.sqrt(5)) / 2
_WEBB: Array = np.array([sign * size**0.5 for sign in (-1, 1) for size in (0.5, 1.0, 1.5)])


@dataclass(frozen=True, eq=False)
class Scores:
    """What the draws multiply, per cluster.

    Attributes
    ----------
    constant, slope : (G, K) float
        :math:`s_g(d)` at d = 0, and per unit of d (zero without the restriction).
    own : (G, 2) float
        :math:`h_g's_g`, constant and slope.
    pull : (G, K) float
        :math:`L_gh_g`.
    loading : (K,) float
        :math:`C_j`.
    spread : float
        :math:`se^2/f` of the estimate itself.
    """

    constant: Array
    slope: Array
    own: Array
    pull: Array
    loading: Array
    spread: float


def scores_of(algebra: ClusterAlgebra, column: int, kind: Kind, restricted: bool) -> Scores:
    """One pass over the clusters."""
    loading = algebra.loading[:, column]
    size = loading @ loading
    count, width = algebra.count, len(loading)
    constant, slope, pull = (np.zeros((count, width)) for _ in range(3))
    own = np.zeros((count, 2))
    spread = 0.0
    for part, gram, score in algebra.chunks():
        toward = np.broadcast_to(loading, score.shape)
        if kind[1] == "3":
            toward = algebra.without(part, gram, column)[:, :, 0]
        spread += float(((toward * score).sum(axis=1) ** 2).sum())
        constant[part] = score
        if restricted:
            slope[part] = gram @ (loading / size)
        if kind[0] == "3":
            within = np.eye(width)
            if restricted:
                within -= np.outer(loading, loading) / size
            both = np.stack([constant[part], slope[part]], axis=2)
            both = both + gram @ _solve(within @ gram @ within, within @ both)
            constant[part], slope[part] = both[:, :, 0], both[:, :, 1]
        own[part, 0] = (toward * constant[part]).sum(axis=1)
        own[part, 1] = (toward * slope[part]).sum(axis=1)
        pull[part] = (gram @ toward[:, :, None])[:, :, 0]
    return Scores(constant, slope, own, pull, loading, spread)


def _solve(gram: Array, right: Array) -> Array:
    """(I - gram)^{-1} right; directions that one cluster alone has do not reach the coefficient and are left out."""
    value, vector = np.linalg.eigh(gram)
    gone = value > 1 - 1e-8
    factor = np.where(gone, 0.0, 1 / np.where(gone, 1.0, 1 - value))
    return np.asarray((vector * factor[:, None, :]) @ (vector.transpose(0, 2, 1) @ right))


def bootstrap(
    scores: Scores, blocks: Iterator[Array], draws: int, distance: float | None, restricted: bool
) -> tuple[Array, Array]:
    """Numerators (2, draws) and squared denominators over f (3, draws) as polynomials in d.

    At one ``distance`` only, or without the restriction, they are constants: (1, draws).
    """
    parts = [(scores.constant, scores.own[:, 0])]
    if restricted:
        parts.append((scores.slope, scores.own[:, 1]))
        if distance is not None:
            parts = [tuple(fixed + distance * moving for fixed, moving in zip(*parts, strict=True))]
    top, bottom = np.empty((len(parts), draws)), np.empty((2 * len(parts) - 1, draws))
    done = 0
    for block in blocks:
        rows = slice(done, done + len(block))
        residual = []
        for place, (score, own) in enumerate(parts):
            weighted = block @ score
            top[place, rows] = weighted @ scores.loading
            residual.append(block * own - weighted @ scores.pull.T)
        bottom[0, rows] = np.einsum("ij,ij->i", residual[0], residual[0])
        if len(parts) > 1:
            bottom[1, rows] = 2 * np.einsum("ij,ij->i", residual[0], residual[1])
            bottom[2, rows] = np.einsum("ij,ij->i", residual[1], residual[1])
        done += len(block)
    return top, bottom


def multipliers(weights: Weights, draws: int, count: int, generator: np.random.Generator) -> Iterator[Array]:
    """Blocks (rows, G) of multipliers with mean zero and variance one."""
    if weights == "rademacher":
        yield from random_signs(generator, draws, count)
        return
    step = max(1, CELLS // count)
    for start in range(0, draws, step):
        shape = (min(step, draws - start), count)
        if weights == "webb":
            yield _WEBB[generator.integers(0, 6, shape, dtype=np.int8)]
        elif weights == "mammen":
            low, high = _MAMMEN
            yield np.where(generator.random(shape) < high / np.sqrt(5), low, high)
        else:
            yield np.asarray(generator.standard_normal(shape))


def every_sign(count: int) -> Iterator[Array]:
    """All 2^G vectors of signs, in blocks."""
    total = 1 << count
    step = max(1, CELLS // count)
    for start in range(0, total, step):
        number = np.arange(start, min(start + step, total))
        yield np.asarray(1.0 - 2.0 * (number[:, None] >> np.arange(count) & 1), dtype=np.float64)
