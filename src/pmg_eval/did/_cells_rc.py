r"""Two-period comparisons with repeated cross-sections: levels of different units instead of changes of the same ones.

Four group means (treated and comparison units, before and after) take the place of the mean changes; regressions are
fitted in each of the four, the propensity on all rows of the comparison. Where there is no estimate, the functions
return the reason: "overlap" (every control was trimmed) or "singular" (a regression of one of the four groups).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmg_eval.did._cells import Comparison, Propensity, regression_weights

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sections:
    """The m rows of one comparison.

    Attributes
    ----------
    outcome, weight : (m,) arrays
    treated, after : (m,) bool
    design : (p, m) array
        Covariates with an intercept (the intercept alone without covariates).
    """

    outcome: Array
    weight: Array
    treated: Mask
    after: Mask
    design: Array


@dataclass(frozen=True, eq=False)
class _Line:
    """A regression in one of the four groups: fit for all m rows, and derivative of its coefficients (p, m)."""

    fit: Array
    moved: Array


def _line(data: Sections, rows: Mask) -> _Line | None:
    solver = regression_weights(data.design[:, rows], data.weight[rows])
    if solver is None:
        return None
    coef = solver @ data.outcome[rows]
    fit = coef @ data.design
    moved = np.zeros_like(data.design)
    moved[:, rows] = solver * (data.outcome[rows] - fit[rows])
    return _Line(fit, moved)


def _shares(weight: Array) -> Array:
    return np.asarray(weight / weight.sum())


def _mean(share: Array, values: Array) -> tuple[float, Array]:
    """A weighted mean and its derivative in the log weights."""
    mean = float(share @ values)
    return mean, share * (values - mean)


def weighted_sections(data: Sections, propensity: Propensity | None) -> Comparison | str:
    """Difference of four weighted means (std_ipw_did_rc; without a propensity, plain means)."""
    odds = np.ones_like(data.weight) if propensity is None else propensity.odds
    value, derivative = 0.0, np.zeros_like(data.outcome)
    drift = np.zeros(len(data.design))
    for rows, sign in ((data.after, 1.0), (~data.after, -1.0)):
        mean, moved = _mean(_shares(data.weight * (data.treated & rows)), data.outcome)
        raw = data.weight * odds * (~data.treated & rows)
        if not raw.sum() > 0:
            return "overlap"
        share = _shares(raw)
        other, other_moved = _mean(share, data.outcome)
        value += sign * (mean - other)
        derivative += sign * (moved - other_moved)
        drift += sign * (data.design @ (share * (data.outcome - other)))
    if propensity is not None:
        derivative -= drift @ propensity.score
    return Comparison(np.array([value]), derivative[None])


def regressed_sections(data: Sections) -> Comparison | str:
    """Outcome regression (reg_did_rc): trend of the comparison group predicted at all treated rows."""
    after = _line(data, ~data.treated & data.after)
    before = _line(data, ~data.treated & ~data.after)
    if after is None or before is None:
        return "singular"
    first, first_moved = _mean(_shares(data.weight * (data.treated & data.after)), data.outcome)
    second, second_moved = _mean(_shares(data.weight * (data.treated & ~data.after)), data.outcome)
    all_treated = _shares(data.weight * data.treated)
    trend, trend_moved = _mean(all_treated, after.fit - before.fit)
    derivative = first_moved - second_moved - trend_moved - (data.design @ all_treated) @ (after.moved - before.moved)
    return Comparison(np.array([first - second - trend]), derivative[None])


def doubly_robust_sections(data: Sections, propensity: Propensity, *, exact: bool = False) -> Comparison | str:
    r"""Locally efficient doubly robust estimator (drdid_rc).

    With ``exact=False`` the influence is DRDID's published one, in which the estimation of the comparison group's
    regression before treatment enters the augmented means with the opposite sign; the two agree to first order, because
    that regression's covariate means are balanced by the propensity. ``exact=True`` is the derivative.
    """
    lines = [_line(data, group & rows) for group in (~data.treated, data.treated) for rows in (data.after, ~data.after)]
    other_after, other_before, own_after, own_before = lines
    if other_after is None or other_before is None or own_after is None or own_before is None:
        return "singular"
    value, derivative = 0.0, np.zeros_like(data.outcome)
    drift = np.zeros(len(data.design))
    everyone = _shares(data.weight * data.treated)
    for rows, sign, other, own in (
        (data.after, 1.0, other_after, own_after),
        (~data.after, -1.0, other_before, own_before),
    ):
        share = _shares(data.weight * (data.treated & rows))
        raw = data.weight * propensity.odds * (~data.treated & rows)
        if not raw.sum() > 0:
            return "overlap"
        odds_share = _shares(raw)
        residual = data.outcome - other.fit
        gap = own.fit - other.fit
        parts = (_mean(share, residual), _mean(odds_share, residual), _mean(everyone, gap), _mean(share, gap))
        for (mean, moved), direction in zip(parts, (1.0, -1.0, 1.0, -1.0), strict=True):
            value += sign * direction * mean
            derivative += sign * direction * moved
        drift += sign * (data.design @ (odds_share * (residual - parts[1][0])))
        balance = data.design @ (odds_share - share)
        wider = data.design @ (everyone - share)
        derivative += sign * (wider @ (own.moved - other.moved))
        derivative += (sign if exact else 1.0) * (balance @ other.moved)
    derivative -= drift @ propensity.score
    return Comparison(np.array([value]), derivative[None])
