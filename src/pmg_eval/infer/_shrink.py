"""Empirical-Bayes shrinkage of area effects, with intervals that do not trust the normal law of the effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate import Covariance, Estimate, make_terms
from pmg_eval.estimate.bias import Bias, noise_and_moments
from pmg_eval.estimate.inference import check_level, t_quantile
from pmg_eval.estimate.scales import SCALES, ScaleName
from pmg_eval.infer._pool import pool
from pmg_eval.infer._pool_details import PoolDetails
from pmg_eval.infer._pool_input import Areas, gather
from pmg_eval.infer._shrink_law import (
    Shrinkage,
    moment_kurtosis,
    posterior_covariance,
    shrinkage,
    smallest_tau2,
)
from pmg_eval.numerics.rows import Array

Law = Literal["robust", "parametric"]
NORMAL = "empirical Bayes, normal law of the effects"
REFERENCES = ("10.3982/ECTA18597", "10.1080/01621459.1983.10477920", "10.1214/ss/1177011926")


@dataclass(frozen=True, eq=False)
class ShrinkDetails:
    r"""How far each area was pulled, and both kinds of interval.

    Attributes
    ----------
    method : {"robust", "parametric"}
    scale : str
        Scale of the numbers below (``"log"`` for ratios), except ``raw``, ``mean`` and ``shrunk`` of ``areas``.
    tau2 : float
        Heterogeneity that was used.
    tau2_estimated, tau2_floor : float
        Its estimate, and the floor that the robust method puts under it (0 where none was put).
    kurtosis : float
        Bound on the kurtosis of the true effects (``inf``: none).
    pooled : PoolDetails
        What the areas were shrunk towards.
    areas : DataFrame
        Labels; ``raw``, ``mean``, ``shrunk``; ``raw_se``; ``std_error`` (root of the mean squared error);
        ``reliability`` (weight of an area's own estimate); ``noise`` (standard deviation of the noise), ``bias_m2`` and
        ``bias_kurtosis`` (of the bias over the noise); ``df``; ``reason`` an area was left out.
    """

    method: Law
    scale: ScaleName
    tau2: float
    tau2_estimated: float
    tau2_floor: float
    kurtosis: float
    pooled: PoolDetails
    areas: pd.DataFrame

    def intervals(self, level: float = 0.95) -> pd.DataFrame:
        """Raw, parametric and robust intervals side by side, and how often the parametric one may miss at worst.

        Returns
        -------
        DataFrame
            Labels, ``raw, raw_low, raw_high, shrunk, robust_low, robust_high, parametric_low, parametric_high,
            parametric_miss``. The last is the largest probability that a parametric interval misses, over all laws of
            the true effects with this second moment (and kurtosis).
        """
        from pmg_eval.numerics.worst_case import critical_values, worst_noncoverage

        check_level(level)
        table, scale = self.areas, SCALES[self.scale]
        own = ["raw", "raw_se", "mean", "shrunk", "std_error", "reliability", "noise", "bias_m2", "bias_kurtosis", "df"]
        column = {name: table[name].to_numpy(dtype=np.float64) for name in own}
        z = t_quantile((1 + level) / 2, np.full(len(table), np.inf))
        half = {
            "raw": z * column["raw_se"],
            "robust": critical_values(column["bias_m2"], column["bias_kurtosis"], level) * column["noise"],
            "parametric": t_quantile((1 + level) / 2, np.where(np.isnan(column["df"]), np.inf, column["df"]))
            * column["std_error"],
        }
        result = table.drop(columns=[*own, "reason"])
        for name, width in half.items():
            centre = column["raw" if name == "raw" else "shrunk"]
            if name != "parametric":
                result["raw" if name == "raw" else "shrunk"] = centre
            with np.errstate(all="ignore"):
                ends = np.sort([scale.back(scale.to(centre) + side * width) for side in (-1, 1)], axis=0)
            result[f"{name}_low"], result[f"{name}_high"] = ends
        miss = np.full(len(table), np.nan)
        for row in np.flatnonzero(column["noise"] > 0):
            chi = float(half["parametric"][row] / column["noise"][row])
            miss[row] = worst_noncoverage(float(column["bias_m2"][row]), float(column["bias_kurtosis"][row]), chi)
        return result.assign(parametric_miss=miss)

    def __repr__(self) -> str:
        floor = f" (estimated {self.tau2_estimated:.4g})" if self.tau2 != self.tau2_estimated else ""
        return (
            f"ShrinkDetails({len(self.areas)} areas, method={self.method!r}, tau2={self.tau2:.4g}{floor}, "
            f"{self.scale} scale; more in intervals(), areas and pooled)"
        )


def shrink(
    estimate: Estimate[Any],
    *,
    method: Law = "robust",
    prior: Estimate[PoolDetails] | None = None,
    moderators: str | Sequence[str] | pd.DataFrame | None = None,
    kurtosis: float | Literal["estimate"] = np.inf,
) -> Estimate[ShrinkDetails]:
    r"""Effect of every area, pulled towards the mean of all as far as it is noise.

    With y the estimates, V the covariance of their errors and :math:`\tau^2` the variance of the true effects, the best
    linear predictor is

    .. math:: \hat\theta=X\hat\beta+\tau^2(V+\tau^2I)^{-1}(y-X\hat\beta),

    where an area keeps the weight :math:`\tau^2/(\tau^2+\sigma_i^2)` of its own deviation if V is diagonal. The error
    that areas share through their controls moves all of them alike; it says nothing about differences, so it is not
    shrunk against, and it stays in the intervals.

    The error of :math:`\hat\theta_i` is noise plus a bias that depends on how far the area truly is from the mean. The
    *parametric* interval takes that distance as normal; if a few areas are truly different it misses exactly those.
    The *robust* interval (Armstrong, Kolesár and Plagborg-Møller) is

    .. math:: \hat\theta_i\pm\mathrm{cva}(m_{2i},\kappa)\,s_i,

    with :math:`s_i` the standard deviation of the noise, :math:`m_{2i}` the second moment of bias over noise, and cva
    the half-width that covers in the worst case over all laws with that moment: 95 % of the intervals cover on average
    over the areas, whatever the law of the true effects is.

    Parameters
    ----------
    estimate : Estimate
        One row per area, as for :func:`pool`.
    method : {"robust", "parametric"}
        The interval. The robust method also puts a floor under :math:`\tau^2` (posterior mean at the smallest moment
        estimate), so that areas are never taken to be the same because they happen to look alike.
    prior : Estimate[PoolDetails], optional
        Result of :func:`pool` on the same areas; default: REML with Hartung-Knapp. ``pool(method="fixed")`` takes
        :math:`\tau^2=0` at its word, without a floor.
    moderators : optional
        Shrink towards a regression, as in :func:`pool`.
    kurtosis : float or "estimate"
        Bound on the kurtosis of the true effects around their mean. ``"estimate"`` takes it from fourth moments, as the
        paper does for hundreds of areas; with tens of areas it hardly shortens the intervals and is mostly noise.

    Returns
    -------
    Estimate[ShrinkDetails]
        The rows of the estimate, shrunk; p-values belong to the intervals. Law: covariance, with the bias kept apart;
        linear maps (differences between areas) keep it apart too. Joint tests and bands need ``"parametric"``.

    Raises
    ------
    DesignError, InferenceError
        As :func:`pool`.
    DataError
        A prior of other areas.

    Assumes
    -------
    1. True effects are independent draws around the mean with variance :math:`\tau^2`, unrelated to precision. Probe:
    ``details.areas`` (reliability against raw), size as a moderator. 2. Errors are normal with known V. Coverage is *on
    average over areas*: an area that was picked because it is extreme is covered less often (:func:`ranks`).

    When not to use it: for one area that is of interest by itself, say the first to start; its own interval
    (``effect_per_area``) covers it whatever the others are. With fewer than about eight areas, V and :math:`\tau^2`
    are too uncertain for coverage to be more than a hope.

    Deviations from the reference (R ebci): :math:`\tau^2` by REML instead of moments, the whole covariance, and the
    error of the mean counted, which the paper leaves out because its areas are many; the critical value is the same.

    References
    ----------
    Armstrong, Kolesár and Plagborg-Møller (2022), doi:10.3982/ECTA18597; Morris (1983),
    doi:10.1080/01621459.1983.10477920; Robinson (1991), doi:10.1214/ss/1177011926.

    Examples
    --------
    >>> import numpy as np, pmg_eval as pe
    >>> from pmg_eval.estimate import make_terms
    >>> areas = pe.Estimate(np.array([-2.0, 0.0, 2.0, 4.0]), make_terms({"unit": list("abcd")}, 4),
    ...                     pe.Covariance(np.eye(4)))
    >>> shrink(areas).values.round(2).tolist()  # heterogeneity 5.67: a weight of 0.85
    [-1.55, 0.15, 1.85, 3.55]
    """
    if method not in get_args(Law):
        raise DataError("PMG-OPTION", f"unknown method {method!r}", fix='"robust" or "parametric"')
    _check_kurtosis(kurtosis)
    areas, pooled = _areas(estimate, prior, moderators)
    floor = smallest_tau2(areas.v) if method == "robust" and pooled.method != "fixed" else 0.0
    tau2 = max(pooled.tau2, floor)
    predictor = shrinkage(areas.v, areas.x, tau2)
    if kurtosis == "estimate":
        deviation = areas.y - predictor.mean @ areas.y
        kurtosis = moment_kurtosis(deviation, areas.v, tau2) if tau2 > 0 else np.inf
    bias = Bias(predictor.loading, float(kurtosis))
    if method == "robust":
        total, df = predictor.noise + bias.loading @ bias.loading.T, np.inf
    else:
        total, df = posterior_covariance(areas.v, areas.x, tau2, pooled.coef_cov), float(pooled.coef_df.min())
    table = _table(estimate, areas, predictor, bias, total, df)
    details = ShrinkDetails(method, estimate.scale, tau2, pooled.tau2, floor, bias.kurtosis, pooled, table)
    return _result(estimate, areas, details, total, bias if method == "robust" else None, df)


def _check_kurtosis(kurtosis: Any) -> None:
    if not (kurtosis == "estimate" or (isinstance(kurtosis, int | float) and kurtosis >= 1)):
        raise DataError("PMG-OPTION", f"kurtosis={kurtosis!r}", fix='a number of at least 1, inf, or "estimate"')


def _areas(
    estimate: Estimate[Any],
    prior: Estimate[PoolDetails] | None,
    moderators: str | Sequence[str] | pd.DataFrame | None,
) -> tuple[Areas, PoolDetails]:
    """The areas, and what they were pooled to."""
    if prior is None:
        pooled = pool(estimate, moderators=moderators).details
        if pooled is None:
            raise DataError("PMG-TYPE", "pooling without details", fix="report a bug")
        return gather(estimate, moderators), pooled
    if moderators is not None:
        raise DataError("PMG-OPTION", "both a prior and moderators", fix="pool(estimate, moderators=...) as the prior")
    found: Any = getattr(prior, "details", None)
    if not isinstance(found, PoolDetails):
        raise DataError("PMG-TYPE", "the prior is not a result of infer.pool", fix="prior=infer.pool(estimate, ...)")
    areas, table = gather(estimate), found.areas
    used = np.flatnonzero(table["used"])
    same = (
        found.scale == estimate.scale
        and len(table) == len(estimate)
        and set(estimate.labels) <= set(table.columns)
        and table[estimate.labels].equals(estimate.terms[estimate.labels])
        and np.isin(used, areas.position).all()
    )
    if not same:
        raise DataError("PMG-ALIGN", "the prior was pooled from other areas", fix="prior=infer.pool(estimate, ...)")
    kept = np.isin(areas.position, used)
    reason = [str(why) for why in table["reason"]]
    part = Areas(used, areas.y[kept], areas.v[np.ix_(kept, kept)], found.design, areas.names, reason)
    return part, found


def _table(
    estimate: Estimate[Any], areas: Areas, predictor: Shrinkage, bias: Bias, total: Array, df: float
) -> pd.DataFrame:
    back = SCALES[estimate.scale].back
    sd, ratio, kurtosis = noise_and_moments(bias, np.diag(predictor.noise) + bias.second())
    columns = {
        "raw": back(areas.y),
        "raw_se": np.sqrt(np.diag(areas.v)),
        "mean": back(predictor.mean @ areas.y),
        "shrunk": back(predictor.matrix @ areas.y),
        "std_error": np.sqrt(np.diag(total)),
        "reliability": np.diag(predictor.weight),
        "noise": sd,
        "bias_m2": ratio,
        "bias_kurtosis": kurtosis,
        "df": np.full(len(areas.y), df),
    }
    table = estimate.terms[estimate.labels].copy()
    for name, column in columns.items():
        table[name] = _spread(column, areas, len(estimate))
    return table.assign(reason=areas.reason)


def _spread(column: Array, areas: Areas, k: int) -> Array:
    """Numbers of the areas used at their rows, NaN elsewhere."""
    full = np.full((k, *column.shape[1:]), np.nan)
    full[areas.position] = column
    return full


def _result(
    estimate: Estimate[Any], areas: Areas, details: ShrinkDetails, total: Array, bias: Bias | None, df: float
) -> Estimate[ShrinkDetails]:
    k = len(estimate)
    values = details.areas["shrunk"].to_numpy(dtype=np.float64)
    with np.errstate(all="ignore"):
        slope = 1 / np.abs(SCALES[estimate.scale].slope(values))
    matrix = np.full((k, k), np.nan)
    matrix[np.ix_(areas.position, areas.position)] = total
    matrix = matrix * np.outer(slope, slope)
    natural = None
    if bias is not None:
        natural = Bias(_spread(bias.loading, areas, k) * slope[:, None], bias.kurtosis)
    law = Covariance(matrix, corrected=True, df=df if np.isfinite(df) else None, bias=natural)
    gone = ("n_placebo", "p_min", "interval")  # of the placebo law, which is no longer the law
    kept: dict[str, Any] = {str(name): estimate.terms[name] for name in estimate.terms if name not in gone}
    kept["method"] = "" if bias is not None else NORMAL
    own = estimate.terms["status"].astype(str)
    kept["status"] = [why or status for why, status in zip(areas.reason, own, strict=True)]
    provenance = estimate.provenance.then("infer.shrink")
    options = {"method": details.method, "tau2": details.tau2, "kurtosis": _plain(details.kurtosis)}
    provenance = replace(
        provenance,
        options={**provenance.options, "shrink": options},
        assumptions=(
            *provenance.assumptions,
            "the true effects of the areas are independent draws around their mean, unrelated to precision",
        ),
        references=(*provenance.references, *REFERENCES),
    )
    return Estimate(values, make_terms(kept, k), law, details, estimate.scale, provenance=provenance)


def _plain(number: float) -> float | str:
    return number if np.isfinite(number) else "none"


__all__ = ["ShrinkDetails", "shrink"]
