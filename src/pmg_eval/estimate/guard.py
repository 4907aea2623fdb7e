r"""The small-sample guard that every estimate carries.

With :math:`\omega_i` the weight of treated unit i in a term, :math:`n_1` treated units and :math:`n_0` comparison
units, intervals and tests use

.. math:: df=\max\{1,\min((\textstyle\sum\omega^2)^2/\sum\omega^4,\,n_0)-1\},\qquad
          SE\cdot\sqrt{n_1/(n_1-1)}.

Where residuals are centred within cohorts (group-time cells, the conservative variance of imputation) a cohort of
:math:`n_g` units says nothing about :math:`1/n_g` of its variance, and a cohort of one nothing at all. The factor is
then :math:`\sum\omega^2/\sum\omega^2(1-1/n_g)` (the same as above for one cohort), and df is at most
:math:`(\sum_{n_g>1}\omega^2)^2/\sum\omega^4n_g/(n_g-1)`.

With one treated unit the influence of that unit on its own effect is zero: what looks like a standard error is noise of
the controls (nominal 95 % intervals cover 6-22 %). There is no number to give, so the guard gives none and names
``pmg_eval.effect_per_area``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pmg_eval.estimate.carriers import Covariance, Draws, Influence, Support, Uncertainty
from pmg_eval.estimate.kernels import Dependence
from pmg_eval.numerics.rows import Array

ONE_TREATED = "one treated unit: no standard error; use effect_per_area"
ONE_CONTROL = "one comparison unit: no standard error, its own noise is not seen"
LONE_COHORTS = "every treated unit is alone in its cohort: no standard error; use resample.jackknife or effect_per_area"
PRETREND = "pretrend"


@dataclass(frozen=True, eq=False)
class Guard:
    """Degrees of freedom (inf = normal), factor on the standard error, and the reason where there is none."""

    df: Array
    factor: Array
    reason: list[str]


def unguarded(k: int) -> Guard:
    """Raw algebra: normal quantiles, no factor."""
    return Guard(np.full(k, np.inf), np.ones(k), [""] * k)


def guard(uncertainty: Uncertainty, terms: pd.DataFrame, dependence: Dependence) -> Guard:
    """The guard of k terms under a dependence."""
    k = len(terms)
    plain = unguarded(k)
    if isinstance(uncertainty, Draws):
        return plain
    limit = np.inf
    corrected = False
    if isinstance(uncertainty, Influence):
        limit = dependence.df(uncertainty) or np.inf
        corrected = uncertainty.corrected
    elif isinstance(uncertainty, Covariance):
        limit = uncertainty.df or np.inf
        corrected = uncertainty.corrected
    support = uncertainty.support(dependence)
    if support is None:
        return Guard(np.full(k, limit), plain.factor, plain.reason)
    return _few_treated(support, terms, limit, corrected)


def _few_treated(support: Support, terms: pd.DataFrame, limit: float, corrected: bool) -> Guard:
    n_treated, inflation, df = support.n_treated, support.inflation, support.df
    known = np.isfinite(n_treated)
    if "estimand" in terms:  # regressions before the start do not centre the treated units by cohort
        pre = (terms["estimand"] == PRETREND).to_numpy(dtype=bool)
        with np.errstate(divide="ignore", invalid="ignore"):
            inflation = np.where(pre, n_treated / (n_treated - 1), inflation)
        df = np.where(pre, support.n_effective - 1, df)
    controls = np.full(len(terms), np.inf)
    if "n_control" in terms:
        controls = terms["n_control"].to_numpy(dtype=np.float64, na_value=np.nan)
        df = np.fmin(df, controls - 1)
    alone = known & (n_treated <= 1)
    single = known & (controls <= 1)
    lone = known & ~alone & ~np.isfinite(inflation) & (not corrected)
    factor = np.sqrt(np.where(known & np.isfinite(inflation), inflation, 1.0))
    if corrected:
        factor = np.ones_like(factor)
    factor = np.where(alone | single | lone, np.nan, factor)
    reason = np.select([alone, single, lone], [ONE_TREATED, ONE_CONTROL, LONE_COHORTS], "")
    df = np.where(known, np.fmax(1.0, df), np.inf)
    return Guard(np.minimum(df, limit), factor, reason.tolist())
