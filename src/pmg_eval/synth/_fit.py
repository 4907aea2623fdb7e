r"""Weights of one synthetic control: the best fit, whether other weights fit as well, and which of them are taken.

The nearest point of the donors' hull is unique, the weights that reach it need not be: inside the hull (usual when
there are more donors than periods) infinitely many do. Of all of them those with the smallest
:math:`\sum_jw_jd_j^2` are taken, d the distance of a donor to the target: the limit of the penalized synthetic control
of Abadie and L'Hour (2021) as its penalty vanishes, which does not depend on the order or the names of the donors.
Donors that are equal in what is fitted share their weight equally.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pmg_eval.errors import NumericalError
from pmg_eval.numerics.pivot import lowest
from pmg_eval.numerics.rows import Array
from pmg_eval.numerics.simplex import SimplexFit, simplex_gap, simplex_lstsq
from pmg_eval.numerics.simplex_many import simplex_many, without_dust
from pmg_eval.synth._door import Positions

# A target is inside when it cannot be separated from the donors by more than this angle.
_ANGLE = 1e-6
_MOVES = 1e-6  # weights that can move by less are unique
_RANK = 1e-9  # diagonal of the triangular factor of unit columns, below which they are dependent
_GAP = 1e-10


@dataclass(frozen=True, eq=False)
class Fit:
    """Weights on the simplex and what is known about them.

    Attributes
    ----------
    weights : (J,) float
    objective : float
        Sum of squares that was minimized.
    kkt_gap : float
        See :class:`pmg_eval.numerics.simplex.SimplexFit`.
    inside : bool
        The fit is perfect up to rounding: the target lies in the hull of the donors.
    unique : bool
        No other weights fit as well.
    candidates : (C,) int
        Donors that have weight in some best fit.
    conditions : (m + 1, C) float or None
        What is the same in all best fits; None when there is only one.
    """

    weights: Array
    objective: float
    kkt_gap: float
    inside: bool
    unique: bool
    candidates: Positions
    conditions: Array | None = None

    def range_of(self, values: Array) -> tuple[float, float]:
        """Smallest and largest weighted mean of ``values`` (J,) over all best fits."""
        if self.conditions is None:
            here = float(values @ self.weights)
            return here, here
        level = float(values[int(self.weights.argmax())])
        goal = values[self.candidates] - level
        held = self.weights[self.candidates]
        low, high = (float(goal @ lowest(self.conditions, held, side * goal)) for side in (1.0, -1.0))
        return level + low, level + high


def fit_many(columns: Array, goals: Array, without: Positions | None = None) -> list[Fit | NumericalError]:
    """Best fit of many goals (m, k); ``without`` (k,) is a column each of them must not use.

    What one pass over all of them cannot settle (a goal inside the hull, weights that are not unique) is looked at one
    by one; a goal that cannot be fitted gets its error.
    """
    found = simplex_many(columns, goals, without)
    longest, rounding = _sizes(columns, goals)
    miss = np.sqrt(found.objective)
    near = np.count_nonzero(found.slack <= _ANGLE * longest + rounding, axis=1)
    plain = found.settled & (miss > _ANGLE * longest + rounding) & (near == np.count_nonzero(found.weights, axis=1))
    fits: list[Fit | NumericalError] = []
    for number, simple in enumerate(plain.tolist()):
        weights = found.weights[number]
        kept = np.arange(len(weights)) if without is None else np.delete(np.arange(len(weights)), without[number])
        own, active = weights[kept], np.flatnonzero(weights[kept])
        objective, gap = float(found.objective[number]), float(found.kkt_gap[number])
        if simple:
            fits.append(Fit(own, objective, gap, False, True, active))
            continue
        settled = SimplexFit(own, 0.0, objective, gap, 1, active) if found.settled[number] else None
        try:
            fits.append(fit_weights(np.ascontiguousarray(columns[:, kept]), goals[:, number], settled))
        except NumericalError as error:
            fits.append(error)
    return fits


def _sizes(columns: Array, goals: Array) -> tuple[float, float]:
    """A length that no difference of two columns exceeds, and the rounding of the data."""
    top, low, root = float(columns.max()), float(columns.min()), float(np.sqrt(len(columns)))
    largest = max(top, -low, float(np.abs(goals).max()))
    return (top - low) * root, float(4 * np.finfo(np.float64).eps) * root * largest


def fit_weights(columns: Array, goal: Array, found: SimplexFit | None = None) -> Fit:
    """Best fit of ``goal`` (m,) by a weighted mean of the columns (m, J), by the rules of this module.

    ``found`` is a solution, if there is one already.

    Raises
    ------
    NumericalError
        PMG-KKT, PMG-NOT-FINITE: those of ``simplex_lstsq``.
    """
    if found is None:
        found = simplex_lstsq(columns, goal)
        kept = without_dust(found.weights)
        found = replace(found, weights=kept, active=np.flatnonzero(kept))
    weights, used = found.weights, found.active
    away = columns - goal[:, None]
    nearby = away[:, used]
    rest = -(nearby @ weights[used])
    miss = float(np.sqrt(rest @ rest))
    longest, rounding = _sizes(columns, goal)
    distance = np.sqrt(np.square(nearby).sum(axis=0))
    inside = miss <= _ANGLE * float(weights[used] @ distance) + rounding
    towards = away + rest[:, None]
    candidates = np.arange(len(weights)) if inside else _face(rest, miss, towards, used, rounding, longest)
    only = Fit(weights, found.objective, found.kkt_gap, inside, True, candidates)
    if len(candidates) == len(used) and _independent(towards[:, used]):
        return only
    return _closest(columns, goal, only, towards[:, candidates])


def _face(rest: Array, miss: float, towards: Array, used: Positions, rounding: float, longest: float) -> Positions:
    """Donors that can have weight: outside the hull every best fit lies on the face that the residual supports.

    No donor is beyond it, rest'(a_j - fit) <= 0, and those on it have 0.
    """
    slope = rest @ towards
    near = slope >= -miss * (_ANGLE * longest + rounding)
    near[used] = True
    if np.count_nonzero(near) > len(used):  # an angle, measured
        length = np.sqrt(np.square(towards).sum(axis=0))
        near = slope >= -miss * (_ANGLE * length + rounding)
        near[used] = True
    return np.flatnonzero(near)


def _closest(columns: Array, goal: Array, found: Fit, towards: Array) -> Fit:
    """The best fit by the nearest donors, and whether there is another one."""
    held = found.weights[found.candidates]
    price = np.square(columns[:, found.candidates] - goal[:, None]).sum(axis=0)
    level = float(np.sqrt(np.median(price)))
    conditions = np.vstack([towards, np.full(len(held), level if level > 0 else 1.0)])
    try:
        nearest = lowest(conditions, held, price)
        unique = bool(np.abs(nearest - held).max() <= _MOVES)
        if unique:  # it may be the nearest already
            elsewhere = lowest(conditions, nearest, -1.0 * (nearest <= 0))
            unique = bool(np.abs(elsewhere - nearest).max() <= _MOVES)
    except NumericalError:  # a best fit is at hand: leave it, and do not call it unique
        return Fit(found.weights, found.objective, found.kkt_gap, found.inside, False, found.candidates, conditions)
    if unique:
        return found
    weights = np.zeros(len(found.weights))
    weights[found.candidates] = without_dust(nearest)
    weights = _shared(columns, weights, found.candidates)
    objective, gap = simplex_gap(columns, goal, weights)
    if not gap <= _GAP:
        weights, objective, gap = found.weights, found.objective, found.kkt_gap
    return Fit(weights, objective, gap, found.inside, False, found.candidates, conditions)


def _shared(columns: Array, weights: Array, candidates: Positions) -> Array:
    """Equal weight for donors that are equal in what is fitted."""
    for donor in np.flatnonzero(weights):
        twins = candidates[(columns[:, candidates] == columns[:, donor : donor + 1]).all(axis=0)]
        if len(twins) > 1:
            weights[twins] = weights[twins].sum() / len(twins)
    return weights


def _independent(towards: Array) -> bool:
    """Affine independence of the columns in use (about the fit, which is their weighted mean)."""
    rows, count = towards.shape
    if count == 1:
        return True
    if count > rows + 1:
        return False
    length = np.sqrt(np.square(towards).sum(axis=0))
    # They have one dependence, the fit itself, in which all take part: the others are independent, or there are more.
    triangle = np.asarray(np.linalg.qr(towards / np.where(length > 0, length, 1.0), mode="r"))
    return bool(np.abs(triangle.diagonal()[: count - 1]).min() > _RANK)
