r"""Two-period comparisons as array algebra: many outcome changes of one treated and one control group at once.

With :math:`\omega` normalised weights, every estimator here is

.. math:: \hat\theta = \sum_i(\omega^1_i-\omega^0_i)(\Delta Y_i-x_i'\hat\beta),

so its derivative in the log weights is a known vector times :math:`\Delta Y`, plus a matrix of small rank. All changes
that share the groups and the covariates cost two matrix products. Arrays are stored period by unit: rows contiguous.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmg_eval.numerics.wls import factorize

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

TRIM = 0.995  # controls at least this likely to be treated are left out (DRDID)
OVERLAP = 0.999  # a unit this likely to be treated has no counterpart: the cell fails (did)
_HOPELESS = 1 - 1e-10
_MAX_STEPS = 100
_SINGULAR = 1e-13
_CONDITION = 1e12


@dataclass(frozen=True, eq=False)
class Propensity:
    """Fitted treatment probabilities of the m units of a comparison.

    Attributes
    ----------
    odds : (m,) array
        :math:`p/(1-p)`; 0 on trimmed controls.
    score : (p, m) array
        Derivative of the coefficients in the log weight of each unit.
    lowest, highest : float
        Range of the fitted probabilities.
    n_trimmed : int
        Controls left out.
    status : str
        "" or "overlap" or "singular".
    """

    odds: Array
    score: Array
    lowest: float
    highest: float
    n_trimmed: int
    status: str = ""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Estimates of k changes, and their derivative in the log weight of the m units."""

    values: Array
    derivative: Array


def fit_propensity(design: Array, treated: Mask, weight: Array) -> Propensity:
    """Logit of treatment on the design (p, m) by Newton's method; see :class:`Propensity`."""
    scaled = weight / weight.mean()
    gram = design @ design.T
    size = np.sqrt(np.diag(gram))
    if not size.all() or np.linalg.eigvalsh(gram / np.outer(size, size))[0] < _SINGULAR * len(size):
        return _no_propensity(len(weight), "singular")
    found = _newton(design, treated.astype(np.float64), scaled)
    if found is None:
        return _no_propensity(len(weight), "overlap")
    chance, inverse = found
    lowest, highest = float(chance.min()), float(chance.max())
    score = inverse @ (design * (scaled * (treated - chance)))
    trimmed = ~treated & (chance >= TRIM)
    odds = np.where(trimmed, 0.0, chance / (1 - chance))
    status = "overlap" if highest >= OVERLAP else ""
    return Propensity(odds, score, lowest, highest, int(np.count_nonzero(trimmed)), status)


def _no_propensity(m: int, status: str) -> Propensity:
    return Propensity(np.zeros(m), np.zeros((0, m)), np.nan, np.nan, 0, status)


def _newton(design: Array, outcome: Array, weight: Array) -> tuple[Array, Array] | None:
    """Fitted probabilities and inverse Hessian; None when some unit is separated as treated for certain."""
    share = float(weight @ outcome / weight.sum())
    coef = np.zeros(len(design))
    coef[0] = np.log(share / (1 - share))  # the first row of a design is the intercept
    step = np.zeros_like(coef)
    previous = np.inf
    for _ in range(_MAX_STEPS):
        chance = _logistic(coef @ design)
        curvature = weight * chance * (1 - chance)
        hessian = (design * curvature) @ design.T
        gradient = design @ (weight * (outcome - chance))
        information = float(curvature.sum())
        inverse = _inverse(hessian)
        if inverse is None or chance.max() >= _HOPELESS:
            return None
        new = inverse @ gradient
        decrement = float(gradient @ new) / information
        if decrement > 4 * previous:  # overshot: the way back to half of the last step
            step = step / 2
            coef = coef - step
            continue
        if previous < 1e-13:  # the last step was the quadratic one: this is the maximum
            return chance, inverse
        previous, step = max(decrement, 1e-300), new
        coef = coef + step
    return None


def _logistic(index: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(index, -700, 700))))


def _inverse(hessian: Array) -> Array | None:
    size = np.sqrt(np.diag(hessian))
    if not (size > 0).all():
        return None
    try:
        inverse = np.linalg.inv(hessian / np.outer(size, size)) / np.outer(size, size)
    except np.linalg.LinAlgError:
        return None
    return inverse if np.isfinite(inverse).all() else None


def regression_weights(design: Array, weight: Array) -> Array | None:
    r"""The (p, m) matrix A with :math:`\hat\beta=A\,y` for weighted least squares on the design (p, m).

    ``A`` is also the derivative per unit of residual: :math:`d\hat\beta/d\log w_i=A_i\,(y_i-x_i'\hat\beta)`. None when
    the design is singular.
    """
    if design.shape[1] < design.shape[0]:
        return None
    factor = factorize(design.T, weight)
    if factor.rank < len(design) or factor.condition > _CONDITION or factor.root_weight is None:
        return None
    unscaled = np.empty_like(factor.r)
    unscaled[factor.kept] = np.linalg.inv(factor.r) / factor.scale[factor.kept, None]
    return np.asarray(unscaled @ (factor.q * factor.root_weight[:, None]).T)


def compare(
    change: Array,
    treated: Mask,
    weight: Array,
    design: Array | None,
    propensity: Propensity | None,
    regression: Array | None,
) -> Comparison | None:
    """Difference-in-differences of k changes of m units.

    Parameters
    ----------
    change : (k, m) array
        Outcome changes.
    treated : (m,) bool
    weight : (m,) array, positive
    design : (p, m) array or None
        Covariates with an intercept; None = no covariates.
    propensity : Propensity or None
        Weights controls by their odds; None = by `weight` alone.
    regression : (p, number of controls) array or None
        Output of :func:`regression_weights` for the controls; None = no outcome regression.

    Returns
    -------
    Comparison or None
        None when no control is left.

    Notes
    -----
    Both nuisance models: doubly robust (drdid_panel). Propensity only: Hajek-type weighting (std_ipw_did_panel).
    Regression only: outcome regression (reg_did_panel), where the weighted mean of the controls' residuals drops out.
    """
    own = weight * treated
    own /= own.sum()
    other = weight * ~treated
    if propensity is not None:
        other *= propensity.odds
    total = other.sum()
    if not total > 0:
        return None
    other /= total
    uses_residual_mean = propensity is not None or regression is None
    if not uses_residual_mean:
        other = np.zeros_like(other)
    if design is None or (propensity is None and regression is None):
        return _plain(change, own, other)
    return _adjusted(change, own, other, design, treated, propensity, regression)


def _plain(change: Array, own: Array, other: Array) -> Comparison:
    """Difference of weighted means."""
    means = change @ np.column_stack([own, other])
    derivative = (own - other) * change
    derivative -= means[:, :1] * own - means[:, 1:] * other
    return Comparison(means[:, 0] - means[:, 1], derivative)


def _adjusted(
    change: Array,
    own: Array,
    other: Array,
    design: Array,
    treated: Mask,
    propensity: Propensity | None,
    regression: Array | None,
) -> Comparison:
    p, m = design.shape
    solver = np.zeros((p, m))
    if regression is not None:
        solver[:, ~treated] = regression
    weighted = other * design
    # One pass over the data gives every sum that is needed.
    sums = change @ np.vstack([own, other, solver, weighted]).T
    coef = sums[:, 2 : 2 + p]
    mean_own, mean_other = design @ own, weighted.sum(axis=1)
    residual_own = sums[:, 0] - coef @ mean_own
    residual_other = sums[:, 1] - coef @ mean_other
    # A regression coefficient moves the estimate by minus the gap in covariate means it has to bridge.
    gap = own - other - (mean_own - mean_other) @ solver
    loadings = [gap * design, own[None], other[None]]
    factors = [-coef, -residual_own[:, None], residual_other[:, None]]
    if propensity is not None:
        moved = sums[:, 2 + p :] - coef @ (weighted @ design.T) - residual_other[:, None] * mean_other
        loadings.append(propensity.score)
        factors.append(-moved)
    derivative = np.hstack(factors) @ np.vstack(loadings)
    derivative += gap * change
    return Comparison(residual_own - residual_other, derivative)


def per_full_dose(result: Comparison, treated: Mask, weight: Array, share: Array) -> Comparison:
    r"""Effect per fully treated period, :math:`\theta/\bar s`, when unit i was treated for a share of the period."""
    own = weight * treated
    own /= own.sum()
    mean = float(own @ np.where(treated, share, 0.0))
    values = result.values / mean
    moved = own * (np.where(treated, share, 0.0) - mean) / mean
    return Comparison(values, result.derivative / mean - values[:, None] * moved)
