"""Pointwise intervals of a curve, by the transformations of R ``survfit(conf.type=)``."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from pmg_eval.errors import DataError
from pmg_eval.estimate.inference import check_level, t_quantile
from pmg_eval.numerics.rows import Array

ConfType = Literal["log-log", "log", "logit", "arcsine", "plain"]


def quantile(level: float, df: float | None) -> float:
    """Two-sided quantile of the normal, or of t."""
    check_level(level)
    return float(t_quantile((1 + level) / 2, np.array([np.inf if df is None else df]))[0])


def bounds(share: Array, se: Array, half: float, conf_type: ConfType, *, of_survival: bool) -> tuple[Array, Array]:
    r"""Interval (T,) of a share F with an event.

    Parameters
    ----------
    half : float
        Quantile.
    conf_type : {"log-log", "log", "logit", "arcsine", "plain"}
        ``"log-log"``: symmetric on :math:`\log(-\log(1-F))`; ``"log"``: on :math:`\log(1-F)` with ``of_survival`` (as
        R does for Kaplan-Meier) and on :math:`\log F` without (as R does for Aalen-Johansen). The other three are the
        same for F and 1 - F.

    Returns
    -------
    low, high : (T,)
        NaN where the standard error is zero or missing.
    """
    if conf_type not in get_args(ConfType):
        raise DataError("PMG-OPTION", f"unknown conf_type={conf_type!r}", fix=f"one of {', '.join(get_args(ConfType))}")
    free = 1.0 - share
    with np.errstate(all="ignore"):
        if conf_type == "plain":
            low, high = share - half * se, share + half * se
        elif conf_type == "log-log":
            spread = half * se / (free * -np.log1p(-share))
            centre = np.log(-np.log1p(-share))
            low, high = (-np.expm1(-np.exp(centre + side * spread)) for side in (-1, 1))
        elif conf_type == "log" and of_survival:
            low, high = (1 - free * np.exp(-side * half * se / free) for side in (-1, 1))
        elif conf_type == "log":
            low, high = (share * np.exp(side * half * se / share) for side in (-1, 1))
        elif conf_type == "logit":
            centre = np.log(share / free)
            low, high = (1 / (1 + np.exp(-(centre + side * half * se / (share * free)))) for side in (-1, 1))
        else:
            angle = np.arcsin(np.sqrt(share))
            shift = half * se / (2 * np.sqrt(share * free))
            low = np.sin(np.maximum(angle - shift, 0.0)) ** 2
            high = np.sin(np.minimum(angle + shift, np.pi / 2)) ** 2
        flat = ~(se > 0)
        clipped = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
    return np.where(flat, np.nan, clipped[0]), np.where(flat, np.nan, clipped[1])


def upper_without_events(at_risk: Array, level: float) -> Array:
    r"""Exact (Clopper-Pearson) upper limit when none of n has had an event: :math:`1-(\alpha/2)^{1/n}`."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(at_risk > 0, -np.expm1(np.log((1 - level) / 2) / at_risk), np.nan))
