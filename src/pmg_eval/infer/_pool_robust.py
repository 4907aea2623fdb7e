"""Covariance of pooled coefficients: Hartung-Knapp, Wald, or robust to dependence within clusters of areas."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import Estimate, fit_linear
from pmg_eval.infer._pool_fit import Model
from pmg_eval.infer._pool_input import Areas
from pmg_eval.numerics.rows import Array

Inference = Literal["hartung_knapp", "hartung_knapp_floor", "wald", "CR0", "CR1p", "CR2"]
INFERENCES: tuple[Inference, ...] = get_args(Inference)
NAMES: dict[Inference, str] = {
    "hartung_knapp": "Hartung-Knapp t",
    "hartung_knapp_floor": "Hartung-Knapp t, never below Wald",
    "wald": "normal",
    "CR0": "cluster-robust CR0, t with clusters minus coefficients",
    "CR1p": "cluster-robust CR1p, t with clusters minus coefficients",
    "CR2": "cluster-robust CR2, Satterthwaite t",
}


@dataclass(frozen=True, eq=False)
class CoefficientLaw:
    """Covariance (p, p) of the coefficients and degrees of freedom (p,) (inf = normal)."""

    cov: Array
    df: Array


def coefficient_law(
    model: Model, areas: Areas, tau2: float, inference: Inference, clusters: pd.Series[Any] | None
) -> CoefficientLaw:
    """The law of the GLS coefficients at this heterogeneity.

    Raises
    ------
    InferenceError
        Clusters whose errors are correlated with those of other clusters.
    """
    fit = model.fit(tau2)
    p = len(fit.coef)
    if inference == "wald":
        return CoefficientLaw(fit.bread, np.full(p, np.inf))
    if inference in ("hartung_knapp", "hartung_knapp_floor"):
        factor = fit.q / model.df
        if inference == "hartung_knapp_floor":
            factor = max(1.0, factor)
        return CoefficientLaw(fit.bread * factor, np.full(p, float(model.df)))
    if clusters is None:
        raise DataError("PMG-CLUSTER", f'inference="{inference}" needs clusters', fix="cluster=a column of .terms")
    return _robust(areas, tau2, inference, clusters)


def _robust(areas: Areas, tau2: float, inference: Inference, clusters: pd.Series[Any]) -> CoefficientLaw:
    codes, names = pd.factorize(clusters)
    p = areas.x.shape[1]
    if len(names) <= p:
        raise DesignError("PMG-FEW-CLUSTERS", f"{len(names)} clusters for {p} coefficients", fix="hartung_knapp")
    across = codes[:, None] != codes[None, :]
    scale = np.sqrt(np.diag(areas.v))
    if (np.abs(areas.v / np.outer(scale, scale))[across] > 1e-12).any():
        raise InferenceError(
            "PMG-CLUSTER",
            "the errors of areas in different clusters are correlated (they share their controls)",
            fix='inference="hartung_knapp", which uses the whole covariance',
        )
    m = areas.v + tau2 * np.eye(len(areas.v))
    rows = pd.DataFrame({"cluster": clusters.to_numpy()})
    if (m[~np.eye(len(m), dtype=bool)] == 0).all():
        fitted = fit_linear(areas.y, areas.x, areas.names, rows, weight=1 / np.diag(m))
    else:  # correlated within clusters only, so whitening does not mix clusters
        value, vector = np.linalg.eigh(m)
        root = (vector / np.sqrt(value)) @ vector.T
        root = np.where(across, 0.0, root)
        fitted = fit_linear(root @ areas.y, root @ areas.x, areas.names, rows)
    if fitted.details is None:
        raise InferenceError("PMG-NO-LAW", "a regression without details", fix="report a bug")
    cov, df = fitted.details.cluster_robust("cluster", "CR2" if inference == "CR2" else "CR0")
    if inference == "CR1p":
        cov = cov * len(names) / (len(names) - p)
    return CoefficientLaw(cov, df if inference == "CR2" else np.full(p, float(len(names) - p)))


def clusters_of(estimate: Estimate[Any], areas: Areas, cluster: Any) -> pd.Series[Any] | None:
    """Cluster of every area that is used."""
    if cluster is None:
        return None
    if isinstance(cluster, str):
        if cluster not in estimate.terms:
            raise DataError("PMG-COLUMN", f"terms have no column {cluster!r}", where=list(estimate.terms.columns))
        column = estimate.terms[cluster]
    else:
        if not isinstance(cluster, Collection | pd.Index | pd.Series):
            what = f"cluster must be a column of .terms or one label per area, not {type(cluster).__name__}"
            raise DataError("PMG-TYPE", what, fix='cluster="region"')
        column = pd.Series(list(cluster))
        if len(column) != len(estimate):
            raise DataError("PMG-SHAPE", f"{len(column)} clusters for {len(estimate)} areas")
    chosen: pd.Series[Any] = column.iloc[areas.position].reset_index(drop=True)
    if chosen.isna().any():
        raise DataError("PMG-CLUSTER", f"{int(chosen.isna().sum())} areas without a cluster")
    return chosen


__all__ = ["INFERENCES", "NAMES", "CoefficientLaw", "Inference", "clusters_of", "coefficient_law"]
