r"""Linear regression as an estimate whose details allow design-based small-sample corrections.

``LinearFit`` is the one thing CR2, CR3, leverage and the restricted wild bootstrap accept: they need the design, not
just the influence function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError, NumericalError
from pmg_eval.estimate._clusters import POWER, ClusterAlgebra, Kind, orthonormal
from pmg_eval.estimate._estimate import Estimate
from pmg_eval.estimate.carriers import Influence
from pmg_eval.estimate.kernels import clustered
from pmg_eval.estimate.provenance import Provenance
from pmg_eval.estimate.terms import make_terms
from pmg_eval.numerics.absorb import TwoWay
from pmg_eval.numerics.groups import group_sum
from pmg_eval.numerics.rows import Array, Rows
from pmg_eval.numerics.wls import factorize


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
    coef : (p,) float
        Coefficients.
    """

    design: Array
    resid: Array
    weight: Array
    bread: Array
    rows: pd.DataFrame
    names: tuple[str, ...]
    absorbed: bool
    n_params: int
    coef: Array

    def __repr__(self) -> str:
        n, p = self.design.shape
        return f"LinearFit({n:,} observations, {p} regressors: {', '.join(self.names[:5])}{', ...' if p > 5 else ''})"

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
            total = np.where(total > 0, total, 1.0)
            means = group_sum(unit, dummies * self.weight[:, None], unit.max() + 1) / total[:, None]
            columns = np.hstack([(dummies - means[unit]) * root[:, None], design])
        return design, self.resid * root, orthonormal(columns), unit

    def leverage(self) -> Array:
        """Diagonal of the hat matrix, absorbed effects included; (N,)."""
        _, _, basis, unit = self._whitened()
        own = np.einsum("ij,ij->i", basis, basis)
        if self.absorbed:
            total = group_sum(unit, self.weight, unit.max() + 1)[unit]
            own = own + self.weight / np.where(total > 0, total, 1.0)
        return np.asarray(own)

    def algebra(self, cluster: str = "unit") -> ClusterAlgebra:
        """What each cluster contributes, for the corrections below and the wild bootstrap.

        Raises
        ------
        InferenceError
            No such row label, clusters that split units, or one cluster only.
        """
        design, resid, basis, unit = self._whitened()
        codes, names = self._cluster_codes(cluster, unit)
        order = np.argsort(codes, kind="stable")
        variance = None
        if not self.absorbed and np.ptp(self.weight) > 0:
            variance = np.divide(1.0, self.weight, out=np.zeros_like(resid), where=self.weight > 0)[order]
        return ClusterAlgebra(
            basis=basis[order],
            resid=resid[order],
            start=np.searchsorted(codes[order], np.arange(len(names) + 1)),
            loading=basis.T @ (design @ self.bread),
            names=np.asarray(names),
            variance=variance,
        )

    def cluster_robust(self, cluster: str = "unit", kind: Kind = "CR2") -> tuple[Array, Array]:
        r"""Cluster-robust covariance with Satterthwaite degrees of freedom (Bell-McCaffrey).

        .. math:: V=B\Big(\sum_g X_g'A_ge_ge_g'A_gX_g\Big)B,\qquad
            A_g=I\ (CR0),\ (I-H_{gg})^{-1/2}\ (CR2),\ (I-H_{gg})^{-1}\ (CR3)

        CR3 is the jackknife: :math:`BX_g'(I-H_{gg})^{-1}e_g=\hat\beta-\hat\beta_{(-g)}`, the change of the estimate
        when cluster g is left out. The directions of absorbed unit effects inside a cluster are no information and are
        projected out; a cluster that fits a direction of a *coefficient* perfectly is refused rather than
        pseudo-inverted.

        Parameters
        ----------
        cluster : str
            Label of the rows; clusters must hold whole units.
        kind : {"CR0", "CR1", "CR1S", "CR2", "CR3", "CV3", "CV3J"}
            No correction; G/(G-1); G(N-1)/((G-1)(N-p)); bias-reduced; jackknife (clubSandwich's CR3); the jackknife
            times (G-1)/G (MacKinnon, Nielsen and Webb's CV3); the same around the mean of the estimates without a
            cluster (what ``resample.jackknife`` returns).

        Returns
        -------
        cov : (p, p), df : (p,)

        Raises
        ------
        InferenceError
            Clusters that split units, or a fully fitted cluster (use ``resample.jackknife`` or a placebo law).

        Assumes
        -------
        1. Clusters are independent. 2. The degrees of freedom are those under independent errors with variance 1/w.

        References
        ----------
        Bell and McCaffrey (2002); Pustejovsky and Tipton (2018), doi:10.1080/07350015.2016.1247004; MacKinnon, Nielsen
        and Webb (2023), doi:10.1002/jae.2969.
        """
        if kind not in POWER:
            raise DataError("PMG-OPTION", f"unknown kind {kind!r}", fix=f"one of {', '.join(POWER)}")
        algebra = self.algebra(cluster)
        return algebra.covariance(kind, self._factor(kind, algebra.count))

    def _factor(self, kind: str, count: int) -> float:
        n = len(self.resid)
        if kind == "CR1":
            return count / (count - 1)
        if kind in ("CV3", "CV3J"):
            return (count - 1) / count
        return count * (n - 1) / ((count - 1) * (n - self.n_params)) if kind == "CR1S" else 1.0

    def clusters(self, cluster: str = "unit") -> pd.DataFrame:
        r"""Which clusters the coefficients rest on.

        Parameters
        ----------
        cluster : str
            Label of the rows; clusters must hold whole units.

        Returns
        -------
        DataFrame (G rows)
            ``cluster``; ``n_obs``; ``leverage``, the trace of its block of the hat matrix, absorbed effects included
            (their sum is the number of parameters); ``leverage_within``, the same once unit effects are projected out;
            and for every regressor x ``partial_leverage_x``, the share of :math:`\sum w\dot x^2` that lies in the
            cluster, :math:`\dot x` being x given all other regressors (their sum is 1), and ``without_x``, the
            coefficient when the cluster is left out (missing where it does not exist without it).
            ``.attrs["effective_clusters"]``: for every regressor :math:`G^*=(\sum_g\gamma_g)^2/\sum_g\gamma_g^2` of its
            partial leverages, the number of equal clusters that would carry as much information (Carter, Schnepel and
            Steigerwald's number for uncorrelated errors; with unit effects the one for perfectly correlated errors does
            not exist, because the effects take them up). ``.attrs["leverage_cv"]``, ``.attrs["leverage_within_cv"]``:
            coefficients of variation.

        References
        ----------
        MacKinnon, Nielsen and Webb (2023), doi:10.1177/1536867X231212433; Carter, Schnepel and Steigerwald (2017),
        doi:10.1162/REST_a_00639.
        """
        algebra = self.algebra(cluster)
        leverage, partial, added = algebra.diagnostics()
        # Every unit's own effect fits one direction of its cluster.
        units: Any = 0.0
        if self.absorbed:
            first = self.rows.loc[self.weight > 0].drop_duplicates("unit")[cluster]
            units = first.value_counts().reindex(algebra.names).fillna(0).to_numpy(dtype=np.float64)
        columns: dict[str, Any] = {
            "cluster": algebra.names,
            "n_obs": np.diff(algebra.start),
            "leverage": leverage + units,
            "leverage_within": leverage,
        }
        for place, name in enumerate(self.names):
            columns[f"partial_leverage_{name}"] = partial[:, place]
            columns[f"without_{name}"] = self.coef[place] - added[:, place]
        table = pd.DataFrame(columns)
        effective = 1 / (partial**2).sum(axis=0)
        table.attrs["effective_clusters"] = dict(zip(self.names, effective.tolist(), strict=True))
        for name in ("leverage", "leverage_within"):
            table.attrs[f"{name}_cv"] = float(table[name].std() / table[name].mean())
        return table

    def _cluster_codes(self, cluster: str, unit: Any) -> tuple[Any, Any]:
        if cluster not in self.rows:
            raise InferenceError("PMG-LABEL", f"no row label {cluster!r}", where=list(self.rows.columns))
        codes, names = pd.factorize(self.rows[cluster])
        if (codes < 0).any():
            raise InferenceError("PMG-LABEL-MISSING", f"label {cluster!r} is missing for some rows")
        if len(names) < 2:
            raise InferenceError("PMG-ONE-CLUSTER", f"one cluster only in {cluster!r}", fix="cluster on a finer label")
        if self.absorbed:
            first = np.zeros(unit.max() + 1, dtype=np.int64)
            first[unit] = codes
            if not np.array_equal(first[unit], codes):
                raise InferenceError(
                    "PMG-CLUSTER", f"clusters of {cluster!r} split units", fix='cluster on "unit" or something coarser'
                )
        return codes, names


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
    coef = np.asarray(fit.coef)
    details = LinearFit(x, fit.resid, weight, factor.bread, rows, tuple(names), absorb, n_params, coef)
    return Estimate(
        coef,
        terms,
        law,
        details,
        provenance=Provenance(estimator=estimator, options={"absorb": absorb, "names": list(names)}),
        dependence=clustered("unit") if "unit" in rows else clustered(*rows.columns[:1]),
    )
