r"""Cluster algebra of a regression, in matrices as wide as the regression is.

Let U be an orthonormal basis of :math:`W^{1/2}` times the regressors that are left once unit effects are projected out
(period effects stay as columns), and :math:`C=U'W^{1/2}\tilde XB` the loading of each coefficient, so that
:math:`\hat\beta_j-\beta_j=C_j'U'W^{1/2}\varepsilon`. A cluster g enters through

.. math:: L_g=U_g'U_g,\qquad s_g=U_g'W_g^{1/2}\hat e_g .

Since :math:`(I-U_gU_g')^{-a}U_g=U_g(I-L_g)^{-a}`, CR2, CR3, leverage, the estimate without a cluster and every
bootstrapped score follow from :math:`(L_g,s_g)`: nothing of the size of a cluster, or clusters times clusters, is
built.
Unit effects lie inside clusters that hold whole units, so that what they fit perfectly is no information and is gone
before the algebra starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pmg_eval.errors import InferenceError
from pmg_eval.numerics.rows import Array

FULLY_FITTED = 1e-8  # of the share 1 - eigenvalue that a cluster leaves to the others
_LOADS = 1e-7  # relative loading from which a direction counts as part of a coefficient
_CHUNK = 1 << 21  # numbers in one stack of L_g

Kind = Literal["CR0", "CR1", "CR1S", "CR2", "CR3", "CV3", "CV3J"]
POWER: dict[str, float] = {"CR0": 0.0, "CR1": 0.0, "CR1S": 0.0, "CR2": 0.5, "CR3": 1.0, "CV3": 1.0, "CV3J": 1.0}


def orthonormal(columns: Array) -> Array:
    """An orthonormal basis of the columns; those of another size (dummies beside a count) are not lost."""
    size = np.sqrt((columns**2).sum(axis=0))
    left, singular, _ = np.linalg.svd(columns / np.where(size > 0, size, 1.0), full_matrices=False)
    return np.asarray(left[:, singular > singular[0] * 1e-10])


@dataclass(frozen=True, eq=False)
class ClusterAlgebra:
    """Rows of the basis in the order of their clusters.

    Attributes
    ----------
    basis : (N, K) float
        U, rows sorted by cluster.
    resid : (N,) float
        Residuals times the root of the weight, in the same order.
    start : (G + 1,) int
        First row of each cluster.
    loading : (K, p) float
        C.
    names : array (G,)
        Labels of the clusters.
    variance : (N,) float or None
        Inverse weights where they differ and no unit effects were projected out (0 for a weight of 0).
    """

    basis: Array
    resid: Array
    start: Any
    loading: Array
    names: Any
    variance: Array | None = None

    @property
    def count(self) -> int:
        return len(self.names)

    def chunks(self) -> Iterator[tuple[slice, Array, Array]]:
        """Clusters (a slice), their :math:`L_g` (g, K, K) and :math:`s_g` (g, K)."""
        width = self.basis.shape[1]
        step = max(1, _CHUNK // max(width * width, 1))
        size = np.diff(self.start)
        for first in range(0, self.count, step):
            part = slice(first, min(first + step, self.count))
            begin, end = self.start[part.start], self.start[part.stop]
            if (size[part] == size[first]).all():
                block = self.basis[begin:end].reshape(-1, size[first], width)
                turned = block.transpose(0, 2, 1)
                scores = (turned @ self.resid[begin:end].reshape(-1, size[first], 1))[:, :, 0]
                yield part, turned @ block, scores
                continue
            gram = np.empty((part.stop - first, width, width))
            scores = np.empty((part.stop - first, width))
            for place, group in enumerate(range(first, part.stop)):
                rows = slice(self.start[group], self.start[group + 1])
                gram[place] = self.basis[rows].T @ self.basis[rows]
                scores[place] = self.basis[rows].T @ self.resid[rows]
            yield part, gram, scores

    def without(self, part: slice, gram: Array, column: int | None = None, power: float = 1.0) -> Array:
        r""":math:`(I-L_g)^{-a}C` (g, K, p), or of one coefficient (g, K, 1).

        A direction that lies in one cluster only is dropped where no coefficient loads on it (a period seen in that
        cluster alone), and refused where one does: the coefficient does not exist without the cluster.
        """
        loading = self.loading if column is None else self.loading[:, [column]]
        found, lost = inverse_power(gram, loading, power)
        if lost.any():
            raise InferenceError(
                "PMG-FULLY-FITTED",
                "clusters that are fitted perfectly in some direction of a coefficient: their residual there is zero "
                "by construction",
                where=list(self.names[part][lost.any(axis=1)]),
                fix="resample.jackknife, randomization or effect_per_area; a pseudo-inverse would hide the cluster",
            )
        return found

    def covariance(self, kind: str, factor: float) -> tuple[Array, Array]:
        r"""Sandwich (p, p) and Satterthwaite degrees of freedom (p,).

        df is :math:`(\mathrm{tr}\,M)^2/\mathrm{tr}\,M^2` with :math:`M_{gh}=a_g'(I-H)_{gh}a_h` and :math:`a_g` the
        adjusted loadings of the rows of g: the law of the variance under independent errors.
        """
        p = self.loading.shape[1]
        scores = np.empty((self.count, p))
        trace, squares = np.zeros(p), np.zeros(p)
        inner = np.zeros((p, *[self.basis.shape[1]] * 2))
        for part, gram, score in self.chunks():
            scores[part], own, cross = self._adjusted(part, gram, score, kind)
            shared = (cross**2).sum(axis=1)
            trace += (own - shared).sum(axis=0)
            squares += (own * (own - 2 * shared)).sum(axis=0)
            for column in range(p):
                inner[column] += cross[:, :, column].T @ cross[:, :, column]
        df = trace**2 / (squares + (inner**2).sum(axis=(1, 2)))
        if kind == "CV3J":
            scores = scores - scores.mean(axis=0)
        return scores.T @ scores * factor, df

    def _adjusted(self, part: slice, gram: Array, score: Array, kind: str) -> tuple[Array, Array, Array]:
        """Per cluster: :math:`a_g'e_g` (g, p), :math:`a_g'a_g` (g, p) and :math:`U_g'a_g` (g, K, p)."""
        if POWER[kind] == 0:
            cross = gram @ self.loading
            return score @ self.loading, (self.loading * cross).sum(axis=1), cross
        inside = self.without(part, gram, power=POWER[kind])
        if kind != "CR2" or self.variance is None:
            cross = gram @ inside
            return (score[:, :, None] * inside).sum(axis=1), (inside * cross).sum(axis=1), cross
        each = [self._rooted(group) for group in range(part.start, part.stop)]
        found, own, crossed = (np.array(numbers) for numbers in zip(*each, strict=True))
        return found, own, crossed

    def _rooted(self, group: int) -> tuple[Array, Array, Array]:
        r"""CR2 of one cluster with unequal variances :math:`\Phi=W^{-1}`.

        The root that Pustejovsky and Tipton publish, :math:`A=\Phi^{1/2}G^{-1/2}\Phi^{1/2}` with
        :math:`G=\Phi^{1/2}(I-H)\Phi\,\Phi^{1/2}`; it is not the root of :math:`I-L` unless weights are equal.
        """
        rows = slice(self.start[group], self.start[group + 1])
        basis = self.basis[rows]
        variance = np.ones(len(basis)) if self.variance is None else self.variance[rows]
        value, vector = np.linalg.eigh((np.eye(len(basis)) - basis @ basis.T) * np.outer(variance, variance))
        keep = value > FULLY_FITTED * value.max(initial=0.0)
        root = vector[:, keep] / np.sqrt(value[keep])
        adjusted = variance[:, None] * (root @ (vector[:, keep].T @ (basis @ self.loading)))
        return self.resid[rows] @ adjusted, (adjusted**2).sum(axis=0), basis.T @ adjusted

    def diagnostics(self) -> tuple[Array, Array, Array]:
        r"""Leverage (G,), partial leverage (G, p), and what each cluster adds to the coefficients (G, p).

        The last is :math:`\hat\beta-\hat\beta_{(-g)}`; NaN where a coefficient does not exist without the cluster.
        """
        p = self.loading.shape[1]
        leverage, partial, added = np.empty(self.count), np.empty((self.count, p)), np.empty((self.count, p))
        size = (self.loading**2).sum(axis=0)
        for part, gram, score in self.chunks():
            leverage[part] = np.trace(gram, axis1=1, axis2=2)
            partial[part] = (self.loading * (gram @ self.loading)).sum(axis=1) / size
            inside, lost = inverse_power(gram, self.loading, 1.0)
            added[part] = np.where(lost, np.nan, (score[:, :, None] * inside).sum(axis=1))
        return leverage, partial, added


def inverse_power(gram: Array, loading: Array, power: float) -> tuple[Array, Any]:
    r""":math:`(I-L_g)^{-a}C` (g, K, p) without the directions that only g has, and who needs them (g, p)."""
    value, vector = np.linalg.eigh(gram)
    gone = value > 1 - FULLY_FITTED
    turned = vector.transpose(0, 2, 1) @ loading
    lost = (gone[:, :, None] & (np.abs(turned) > _LOADS * np.sqrt((loading**2).sum(axis=0)))).any(axis=1)
    factor = np.where(gone, 0.0, np.where(gone, 1.0, 1 - value) ** -power)
    return (vector * factor[:, None, :]) @ turned, lost
