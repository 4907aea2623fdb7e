r"""Linear regression as an estimate whose details allow design-based small-sample corrections.

``LinearFit`` is the one thing CR2, leverage and the restricted wild bootstrap accept: they need the design, not just
the influence function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError, NumericalError
from pmg_eval.estimate._estimate import Estimate
from pmg_eval.estimate.carriers import Influence
from pmg_eval.estimate.kernels import clustered
from pmg_eval.estimate.provenance import Provenance
from pmg_eval.estimate.terms import make_terms
from pmg_eval.numerics.absorb import TwoWay
from pmg_eval.numerics.groups import group_sum
from pmg_eval.numerics.rows import Array, Rows
from pmg_eval.numerics.wls import factorize

_FULLY_FITTED = 1e-8


@dataclass(frozen=True, eq=False)
class LinearFit:
    r"""A weighted regression after absorption of unit and period effects (or of none).

    Attributes
    ----------
    design : (N, p) float
        Regressors after absorption.
    resid : (N,) float
        Residuals.
    weight : (N,) float
        Weights of the fit (working weights for a linearised GLM).
    bread : (p, p) float
        :math:`(\tilde X'W\tilde X)^{-1}`.
    rows : DataFrame (N)
        Labels; ``unit`` and ``time`` when effects were absorbed.
    names : tuple of str
        Regressors.
    absorbed : bool
        Whether unit and period effects were absorbed.
    n_params : int
        All parameters, absorbed ones included.
    """

    design: Array
    resid: Array
    weight: Array
    bread: Array
    rows: pd.DataFrame
    names: tuple[str, ...]
    absorbed: bool
    n_params: int

    def _whitened(self) -> tuple[Array, Array, Array, Any]:
        """sqrt(w)-scaled design, residuals, an orthonormal basis of everything but the unit effects, and unit codes.

        Unit effects are removed by projection (they are nested in clusters that hold whole units), the period effects
        stay as explicit columns: the leverage of a cluster must count them.
        """
        root = np.sqrt(self.weight)
        design = self.design * root[:, None]
        columns = design
        unit: Any = np.arange(len(root))
        if self.absorbed:
            unit = pd.factorize(self.rows["unit"])[0].astype(np.int64)
            time = pd.factorize(self.rows["time"], sort=True)[0]
            dummies = (time[:, None] == np.arange(1, time.max() + 1)).astype(np.float64)
            total = group_sum(unit, self.weight, unit.max() + 1)
            means = group_sum(unit, dummies * self.weight[:, None], unit.max() + 1) / total[:, None]
            columns = np.hstack([(dummies - means[unit]) * root[:, None], design])
        left, size, _ = np.linalg.svd(columns, full_matrices=False)
        basis = left[:, size > size[0] * 1e-10]
        return design, self.resid * root, np.asarray(basis), unit

    def leverage(self) -> Array:
        """Diagonal of the hat matrix, absorbed effects included; (N,)."""
        _, _, basis, unit = self._whitened()
        own = np.einsum("ij,ij->i", basis, basis)
        if self.absorbed:
            own = own + self.weight / group_sum(unit, self.weight, unit.max() + 1)[unit]
        return np.asarray(own)

    def cluster_robust(
        self, cluster: str = "unit", kind: Literal["CR0", "CR1", "CR1S", "CR2"] = "CR2"
    ) -> tuple[Array, Array]:
        r"""Cluster-robust covariance with Satterthwaite degrees of freedom (Bell-McCaffrey).

        .. math:: V=B\Big(\sum_g X_g'A_ge_ge_g'A_gX_g\Big)B,\qquad A_g=(I-H_{gg})^{-1/2}\ (CR2),\ I\ (CR0)

        The directions of absorbed unit effects inside a cluster are no information and are projected out; any *other*
        direction in which a cluster is fitted perfectly is refused rather than pseudo-inverted.

        Parameters
        ----------
        cluster : str
            Label of the rows; clusters must hold whole units.
        kind : {"CR0", "CR1", "CR1S", "CR2"}
            No correction; G/(G-1); G(N-1)/((G-1)(N-p)); bias-reduced.

        Returns
        -------
        cov : (p, p), df : (p,)

        Raises
        ------
        InferenceError
            Clusters that split units, or a fully fitted cluster (use ``resample.jackknife`` or a placebo law).

        References
        ----------
        Pustejovsky and Tipton (2018), doi:10.1080/07350015.2016.1247004.
        """
        if kind not in ("CR0", "CR1", "CR1S", "CR2"):
            raise DataError(
                "PMG-OPTION", f"unknown kind {kind!r}", fix="CR0, CR1, CR1S or CR2; CR3: resample.jackknife"
            )
        design, resid, basis, unit = self._whitened()
        codes, names = self._cluster_codes(cluster, unit)
        count = len(names)
        root = np.sqrt(self.weight)
        n, p = design.shape
        scores = np.empty((count, p))
        own = np.empty((count, p))
        cross = np.empty((count, basis.shape[1], p))
        for group in range(count):
            block = np.flatnonzero(codes == group)
            adjusted = design[block] @ self.bread
            if kind == "CR2":
                adjusted = self._adjustment(basis[block], unit[block], root[block], names[group]) @ adjusted
            scores[group] = resid[block] @ adjusted
            own[group] = np.einsum("ij,ij->j", adjusted, adjusted)
            cross[group] = basis[block].T @ adjusted
        cov = scores.T @ scores * self._factor(kind, count, n)
        return cov, _satterthwaite(own, cross)

    def _factor(self, kind: str, count: int, n: int) -> float:
        if kind == "CR1":
            return count / (count - 1)
        return count * (n - 1) / ((count - 1) * (n - self.n_params)) if kind == "CR1S" else 1.0

    def _cluster_codes(self, cluster: str, unit: Any) -> tuple[Any, Any]:
        if cluster not in self.rows:
            raise InferenceError("PMG-LABEL", f"no row label {cluster!r}", where=list(self.rows.columns))
        codes, names = pd.factorize(self.rows[cluster])
        if self.absorbed:
            first = np.zeros(unit.max() + 1, dtype=np.int64)
            first[unit] = codes
            if not np.array_equal(first[unit], codes):
                raise InferenceError(
                    "PMG-CLUSTER", f"clusters of {cluster!r} split units", fix='cluster on "unit" or something coarser'
                )
        return codes, names

    def _adjustment(self, basis: Array, unit: Any, root: Array, name: Any) -> Array:
        """(I - H_gg)^{-1/2} on what the unit effects leave."""
        projector = np.eye(len(basis))
        null = 0
        if self.absorbed:
            for one in np.unique(unit):
                direction = np.where(unit == one, root, 0.0)
                projector -= np.outer(direction, direction) / (direction @ direction)
                null += 1
        value, vector = np.linalg.eigh(projector - basis @ basis.T)
        if (value < _FULLY_FITTED).sum() > null:
            raise InferenceError(
                "PMG-FULLY-FITTED",
                f"cluster {name} is fitted perfectly in some direction: its residual there is zero by construction",
                where=[name],
                fix="resample.jackknife, randomization or effect_per_area; a pseudo-inverse would hide the cluster",
            )
        keep = value >= _FULLY_FITTED
        return np.asarray((vector[:, keep] / np.sqrt(value[keep])) @ vector[:, keep].T)


def _satterthwaite(own: Array, cross: Array) -> Array:
    r"""Degrees of freedom under independent errors.

    :math:`(\mathrm{tr}\,M)^2/\mathrm{tr}\,M^2` with :math:`M_{gh}=a_g'(I-H)_{gh}a_h`.
    """
    df = np.empty(own.shape[1])
    for column in range(own.shape[1]):
        shared = cross[:, :, column]
        matrix = np.diag(own[:, column]) - shared @ shared.T
        df[column] = np.trace(matrix) ** 2 / (matrix**2).sum()
    return df


def fit_linear(
    outcome: Array,
    design: Array,
    names: Sequence[str],
    rows: pd.DataFrame,
    *,
    absorb: bool = False,
    weight: Array | None = None,
    outcome_name: str = "",
    estimator: str = "linear",
) -> Estimate[LinearFit]:
    r"""Weighted least squares, optionally after absorbing unit and period effects.

    Influence rows are the observations, :math:`\psi_i=N(\tilde X'W\tilde X)^{-1}w_i\tilde x_ie_i`, so that every kernel
    can be chosen afterwards.

    Parameters
    ----------
    outcome : (N,), design : (N, p)
    names : p regressor names (label ``group`` of the terms)
    rows : DataFrame (N)
        Labels, with ``unit`` and ``time`` when ``absorb``.
    """
    n, p = design.shape
    weight = np.ones(n) if weight is None else weight
    y, x, n_params = outcome, design, p
    nested: dict[str, int] = {}
    if absorb:
        unit, units = pd.factorize(rows["unit"])
        time, times = pd.factorize(rows["time"], sort=True)
        effects = TwoWay(unit.astype(np.int64), time.astype(np.int64), len(units), len(times), w=weight)
        both = effects.residualize(np.column_stack([outcome, design]))
        y, x = both[:, 0], both[:, 1:]
        scale = np.sqrt((design**2 * weight[:, None]).sum(axis=0))
        gone = np.sqrt((x**2 * weight[:, None]).sum(axis=0)) <= 1e-10 * np.where(scale > 0, scale, 1)
        if gone.any():
            raise NumericalError(
                "PMG-COLLINEAR",
                "regressors that unit and period effects absorb completely",
                where=[name for name, lost in zip(names, gone, strict=True) if lost],
                fix="drop them: they do not vary within units over time",
            )
        n_params = p + effects.rank
        nested = {"unit": len(units) - 1, "time": len(times) - 1}
    factor = factorize(x, w=weight, reference=np.sqrt((design**2 * weight[:, None]).sum(axis=0)))
    if factor.dropped:
        raise NumericalError(
            "PMG-COLLINEAR",
            "regressors are collinear",
            where=[names[i] for i in factor.dropped],
            fix="drop one of them",
        )
    fit = factor.solve(y)
    psi = n * (x * (weight * fit.resid)[:, None]) @ factor.bread
    law = Influence(Rows(left=psi), rows, n, n_obs=n, n_params=n_params, n_params_nested=nested)
    terms = make_terms({"estimand": "coefficient", "outcome": outcome_name, "group": list(names)}, p)
    details = LinearFit(x, fit.resid, weight, factor.bread, rows, tuple(names), absorb, n_params)
    return Estimate(
        np.asarray(fit.coef),
        terms,
        law,
        details,
        provenance=Provenance(estimator=estimator, options={"absorb": absorb, "names": list(names)}),
        dependence=clustered("unit") if "unit" in rows else clustered(*rows.columns[:1]),
    )
