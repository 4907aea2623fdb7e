"""What pooling says about the areas and how far they differ."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate
from pmg_eval.estimate.inference import t_quantile
from pmg_eval.estimate.scales import SCALES, ScaleName
from pmg_eval.infer._pool_fit import Method, Model, heterogeneity, log_likelihood, q_profile
from pmg_eval.infer._pool_input import Areas
from pmg_eval.infer._pool_robust import CoefficientLaw, Inference
from pmg_eval.numerics.rows import Array


@dataclass(frozen=True, eq=False)
class PoolDetails:
    r"""Heterogeneity and prediction; everything but ``prediction_*`` and ``areas`` on the scale of the intervals.

    Attributes
    ----------
    method, inference : str
    level : float
        Of the intervals here.
    scale : str
        ``"log"``: heterogeneity is that of log ratios.
    k : int
        Areas used.
    tau2, tau2_se, tau2_low, tau2_high : float
        Variance of the true effects, its standard error and its Q-profile interval (NaN when even no heterogeneity
        leaves more agreement than chance).
    q, q_df, q_p : float
        Test of one common effect, :math:`y'Py` at :math:`\tau^2=0`.
    i2, h2 : float
        Share of the variation that is heterogeneity (percent), and total over sampling variance.
    r2 : float
        Percent of the heterogeneity that the moderators explain (NaN without).
    prediction_low, prediction_high : float
        Interval for the true effect in a further area (natural scale; NaN with moderators: see ``areas``).
    log_likelihood, deviance, aic, bic, aicc : float
        At these estimates (not restricted).
    coef : (p,), coef_cov : (p, p), coef_df : (p,), design : (k, p) float
        Coefficients, their law, and the moderators of the areas used.
    areas : DataFrame
        One row per row of the estimate: labels, ``estimate``, ``std_error`` (scale of the intervals), ``weight``,
        ``fitted`` and its ``fitted_se`` (scale of the intervals), ``fitted_low/high``, ``prediction_low/high``,
        ``used`` and ``reason``.
    """

    method: Method
    inference: Inference
    level: float
    scale: ScaleName
    k: int
    tau2: float
    tau2_se: float
    tau2_low: float
    tau2_high: float
    q: float
    q_df: int
    q_p: float
    i2: float
    h2: float
    r2: float
    prediction_low: float
    prediction_high: float
    log_likelihood: float
    deviance: float
    aic: float
    bic: float
    aicc: float
    coef: Array
    coef_cov: Array
    coef_df: Array
    design: Array
    areas: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """The single numbers as one row."""
        single = [f.name for f in fields(self) if f.name not in ("coef", "coef_cov", "coef_df", "design", "areas")]
        return pd.DataFrame([{name: getattr(self, name) for name in single}])

    def __repr__(self) -> str:
        spread = (
            f"tau2={self.tau2:.4g} [{self.tau2_low:.4g}, {self.tau2_high:.4g}] ({self.scale} scale), i2={self.i2:.0f} %"
        )
        further = f"prediction [{self.prediction_low:.4g}, {self.prediction_high:.4g}], " if self.r2 != self.r2 else ""
        return (
            f"PoolDetails({self.k} areas, method={self.method!r}, {spread}, {further}q_p={self.q_p:.3g}; "
            "more in to_frame() and areas)"
        )


def pool_details(
    estimate: Estimate[Any],
    areas: Areas,
    model: Model,
    method: Method,
    inference: Inference,
    found: tuple[float, float],
    law: CoefficientLaw,
    level: float,
) -> PoolDetails:
    """Everything beside the coefficients, at the heterogeneity ``found`` (and its standard error)."""
    from scipy.special import chdtrc

    tau2, tau2_se = found
    none, fit = model.fit(0.0), model.fit(tau2)
    low, high = q_profile(model, level) if method != "fixed" else (np.nan, np.nan)
    typical = model.df / none.trace
    if method == "fixed":
        i2, h2 = (100 * max(0.0, 1 - model.df / none.q) if none.q > 0 else 0.0), none.q / model.df
    else:
        i2, h2 = 100 * tau2 / (typical + tau2), 1 + tau2 / typical
    table = _area_table(estimate, areas, model, tau2, law, level)
    used = table[table["used"]]
    alone = areas.x.shape[1] == 1
    return PoolDetails(
        method=method,
        inference=inference,
        level=level,
        scale=estimate.scale,
        k=len(areas.y),
        tau2=tau2,
        tau2_se=tau2_se,
        tau2_low=low,
        tau2_high=high,
        q=none.q,
        q_df=model.df,
        q_p=float(chdtrc(model.df, none.q)),
        i2=i2,
        h2=h2,
        r2=_explained(model, method, tau2) if not alone else np.nan,
        prediction_low=float(used["prediction_low"].iloc[0]) if alone else np.nan,
        prediction_high=float(used["prediction_high"].iloc[0]) if alone else np.nan,
        **_likelihood(model, tau2),
        coef=fit.coef,
        coef_cov=law.cov,
        coef_df=law.df,
        design=areas.x,
        areas=table,
    )


def _explained(model: Model, method: Method, tau2: float) -> float:
    """Percent of the heterogeneity of the model without moderators that is gone."""
    first = Model(model.y, model.x[:, :1], model.variance, model.spread)
    before = heterogeneity(first, method)[0]
    return 100 * max(0.0, 1 - tau2 / before) if before > 0 else np.nan


def _likelihood(model: Model, tau2: float) -> dict[str, float]:
    value = log_likelihood(model, tau2)
    saturated = -0.5 * float((np.log(2 * np.pi) + np.log(model.variance)).sum())
    k, number = len(model.y), model.x.shape[1] + 1
    few = max(k, number + 2)
    return {
        "log_likelihood": value,
        "deviance": 2 * (saturated - value),
        "aic": -2 * value + 2 * number,
        "bic": -2 * value + number * float(np.log(k)),
        "aicc": -2 * value + 2 * number * few / (few - number - 1),
    }


def _area_table(
    estimate: Estimate[Any], areas: Areas, model: Model, tau2: float, law: CoefficientLaw, level: float
) -> pd.DataFrame:
    back = SCALES[estimate.scale].back
    spread = np.sqrt(np.einsum("ij,jk,ik->i", areas.x, law.cov, areas.x))
    quantile = t_quantile((1 + level) / 2, np.full(len(areas.y), law.df.min()))
    fitted = areas.x @ model.fit(tau2).coef
    wide = np.sqrt(spread**2 + tau2)
    inverse = np.linalg.inv(areas.v + tau2 * np.eye(len(areas.v)))
    weight = np.linalg.solve(areas.x.T @ inverse @ areas.x, areas.x.T @ inverse)[0]
    columns = {
        "std_error": np.sqrt(np.diag(areas.v)),
        "weight": weight if areas.x.shape[1] == 1 else np.diag(inverse) / np.trace(inverse),
        "fitted": back(fitted),
        "fitted_se": spread,
        **_around(back, fitted, quantile * spread, "fitted"),
        **_around(back, fitted, quantile * wide, "prediction"),
    }
    table = estimate.terms[estimate.labels].copy()
    table["estimate"] = estimate.values
    for name, column in columns.items():
        spread_out = np.full(len(estimate), np.nan)
        spread_out[areas.position] = column
        table[name] = spread_out
    return table.assign(used=[not why for why in areas.reason], reason=areas.reason)


def _around(back: Any, centre: Array, half: Array, name: str) -> dict[str, Array]:
    ends = np.sort(np.column_stack([back(centre - half), back(centre + half)]), axis=1)
    return {f"{name}_low": ends[:, 0], f"{name}_high": ends[:, 1]}


__all__ = ["PoolDetails", "pool_details"]
