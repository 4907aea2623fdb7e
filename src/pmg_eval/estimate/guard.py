r"""The small-sample guard that every estimate carries.

With :math:`\omega_i` the weight of treated unit i in a term, :math:`n_1` treated units and :math:`n_0` comparison
units, intervals and tests use

.. math:: df=\max\{1,\min((\textstyle\sum\omega^2)^2/\sum\omega^4,\,n_0)-1\},\qquad
          SE\cdot\sqrt{n_1/(n_1-1)}.

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
    n_treated, effective = support.n_treated, support.n_effective
    known = np.isfinite(n_treated)
    if "n_control" in terms:
        controls = terms["n_control"].to_numpy(dtype=np.float64, na_value=np.nan)
        effective = np.fmin(effective, controls)
    df = np.where(known, np.fmax(1.0, effective - 1.0), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(known & (n_treated > 1), np.sqrt(n_treated / (n_treated - 1)), 1.0)
    if corrected:
        factor = np.ones_like(factor)
    alone = known & (n_treated <= 1)
    factor = np.where(alone, np.nan, factor)
    return Guard(np.minimum(df, limit), factor, [ONE_TREATED if one else "" for one in alone])
