r"""The oracle of ``synth._fit``: the same questions put to general linear programs (HiGHS).

Best fits in a convex hull: whether a target lies inside, whether its weights are unique, and what they can imply.

With columns :math:`a_j` (donors) and a target b, the nearest point of the hull is :math:`p=\sum_jw_ja_j`. It is unique;
the weights that reach it need not be. They form the polytope

.. math:: W = \{w \ge 0,\; 1'w = 1,\; \textstyle\sum_j w_j (a_j - p) = 0\},

and a linear function :math:`c'w` takes its extremes over W in two linear programs.

**One tolerance, on angles.** A target is called inside when no direction y has :math:`y'(a_j-b)/\lVert a_j-b\rVert >
\tau` for all j, that is, when the hull of the *unit vectors* from the target to the columns comes closer than
:math:`\tau=10^{-6}` to zero. Angles do not know about units, offsets or one column that is far away. The reason for
the size: the simplex solver stops at a relative optimality gap of 1e-13, which resolves angles down to 6e-7, and data
are recorded with fewer than six digits. Rounding of the data themselves (1e-16 of their size, which matters after a
large offset) is added. Weights that can move by less than :math:`10^{-6}` count as unique.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmg_eval.errors import NumericalError
from pmg_eval.numerics.simplex import Array, simplex_lstsq

_ANGLE = 1e-6  # sine of the angle by which a target must be separated to lie outside
_MOVES = 1e-6  # weight that must be able to move for weights to be not unique
_RANK = 1e-9  # singular values of unit columns, below which they are dependent
_FLAT = 1e-11  # singular values of all columns, relative to the largest, that count as zero
_WIDTH = 1e-6  # width of a range, relative to the spread of its values, that such a move could give: counts as zero
_FEASIBLE = 1e-9  # feasibility and optimality tolerance of the linear programs
_WAYS = (("highs-ds", True), ("highs-ds", False), ("highs-ipm", True))


@dataclass(frozen=True, eq=False)
class BestFit:
    """The point of a hull nearest to a target, and the weights that reach it.

    Attributes
    ----------
    weights : (J,) array
        Weights of one best fit.
    inside : bool
        The target lies in the hull: the fit is perfect.
    distance : float
        Root mean square of target minus fit; 0 inside.
    candidates : (C,) int array
        Columns that can have weight in some best fit: all inside the hull, those of the nearest face outside.
    columns : (r, C) array
        Candidates minus the fit and divided by ``size``, in their r principal directions at size one: weights fit best
        where these sum to zero.
    size : (C,) array
        1, or the distance of a column that is further away than the typical one, relative to it.
    noise : float
        Rounding of ``columns`` that comes with the data.
    """

    weights: Array
    inside: bool
    distance: float
    candidates: NDArray[np.intp]
    columns: Array
    size: Array
    noise: float

    def is_unique(self) -> bool:
        r"""Whether no other weights fit as well.

        Let S be the columns with weight in this fit. Other weights w' of W either give weight to a column outside S,
        or they do not; then :math:`w'-w` is a linear dependence of :math:`(a_j, 1)`, j in S. So w is unique exactly
        when the columns of S are affinely independent and the linear program "as much weight as possible outside S"
        has maximum 0. The twin of a column of S is found by the program, or by the rank where it has weight itself.
        """
        used = self._used()
        if not self._independent(used):
            return False
        if used.all():
            return True
        elsewhere = (~used).astype(np.float64)
        now = float(elsewhere @ (self.weights[self.candidates] * self.size))
        return bool(elsewhere @ self._extreme(-elsewhere) - now <= _MOVES)

    def range_of(self, values: ArrayLike) -> tuple[float, float]:
        """Smallest and largest mean of ``values`` (J,) over the weights of all best fits.

        Raises
        ------
        NumericalError
            PMG-LP when no linear program is solved.
        """
        all_values = np.asarray(values, dtype=np.float64)
        shifted = all_values - all_values[int(self.weights.argmax())]
        middle = float(shifted @ self.weights)
        goal = shifted[self.candidates] - middle
        spread = float(np.abs(goal).max())
        here = middle + float(all_values[int(self.weights.argmax())])
        used = self._used()
        if spread == 0 or (used.all() and self._independent(used)):
            return here, here
        slope = goal / (spread * self.size)
        low = min(float(slope @ self._extreme(slope)), 0.0)
        high = max(float(slope @ self._extreme(-slope)), 0.0)
        if high - low <= _WIDTH:
            return here, here
        return here + spread * low, here + spread * high

    def _used(self) -> NDArray[np.bool_]:
        return np.asarray(self.weights[self.candidates] * self.size > _MOVES)

    def _independent(self, used: NDArray[np.bool_]) -> bool:
        """Affine independence: the only dependence of the columns (about their own mean) is the fit itself."""
        chosen = self.columns[:, used]
        count = chosen.shape[1]
        if count > chosen.shape[0] + 1:
            return False
        if count <= 1:
            return True
        length = np.linalg.norm(chosen, axis=0)
        singular = np.linalg.svd(chosen / np.where(length > 0, length, 1.0), compute_uv=False)
        return bool(singular[count - 2] > max(_RANK, self.noise))

    def _extreme(self, goal: Array) -> Array:
        """Scaled weights (C,) of a best fit with the smallest value of ``goal``."""
        from scipy.optimize import linprog

        equal = np.vstack([self.columns, 1 / self.size])
        total = np.zeros(equal.shape[0])
        total[-1] = 1.0
        message = ""
        for method, presolve in _WAYS:
            options: dict[str, Any] = {
                "presolve": presolve,
                "primal_feasibility_tolerance": _FEASIBLE,
                "dual_feasibility_tolerance": _FEASIBLE,
            }
            arguments: dict[str, Any] = {"method": method, "options": options}
            found = linprog(goal, A_eq=equal, b_eq=total, bounds=(0, None), **arguments)
            if found.status == 0:
                return np.maximum(np.asarray(found.x, dtype=np.float64), 0.0)
            message = str(found.message)
        raise NumericalError(
            "PMG-LP", f"the range over all best fits could not be computed: {message}", fix="fewer donors, or report it"
        )


def best_fit(pre: ArrayLike, target: ArrayLike) -> BestFit:
    """The nearest point of the hull of the columns, and what is known about its weights.

    Parameters
    ----------
    pre : (m, J) array
        Columns (donors), finite.
    target : (m,) array

    Returns
    -------
    BestFit

    Raises
    ------
    NumericalError
        PMG-NOT-FINITE, PMG-NO-DONORS, PMG-KKT: those of `simplex_lstsq`.

    Examples
    --------
    The center of a square is reached by either diagonal; a point beside it by one edge.

    >>> square = np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    >>> center, beside = best_fit(square, [0.5, 0.5]), best_fit(square, [0.5, -2.0])
    >>> center.inside, center.is_unique(), beside.inside, beside.is_unique()
    (True, False, False, True)
    >>> center.range_of([0.0, 5.0, 0.0, 5.0])
    (0.0, 5.0)
    """
    columns, goal = np.asarray(pre, dtype=np.float64), np.asarray(target, dtype=np.float64)
    away = columns - goal[:, None]
    if not np.isfinite(away).all() or columns.shape[1] == 0:
        simplex_lstsq(columns, goal)  # refuses, with the columns' positions
    # The digits that data of this size have: differences below it are rounding.
    rounding = 4 * np.finfo(np.float64).eps * np.sqrt(len(goal)) * max(np.abs(columns).max(), np.abs(goal).max())
    weights, inside = _perfect(away, rounding)
    if not inside:
        weights = simplex_lstsq(columns, goal).weights
    rest = -(away @ weights)
    distance = 0.0 if inside else float(np.sqrt(np.mean(np.square(rest))))
    return _described(away + rest[:, None], rest, weights, inside, distance, float(rounding))


def _perfect(away: Array, rounding: float) -> tuple[Array, bool]:
    """Weights of a perfect fit, and whether there is one."""
    length = np.linalg.norm(away, axis=0)
    weights = np.zeros(len(length))
    nearest = int(length.argmin())
    if length[nearest] <= rounding:
        weights[nearest] = 1.0
        return weights, True
    towards = away / length
    fit = simplex_lstsq(towards, np.zeros(len(away)))
    angle = float(np.linalg.norm(towards @ fit.weights))
    weights = fit.weights / length
    total = float(weights.sum())
    return weights / total, bool(angle <= _ANGLE + rounding * total)


def _described(columns: Array, rest: Array, weights: Array, inside: bool, distance: float, rounding: float) -> BestFit:
    """Scale the columns and keep those that can have weight."""
    length = np.linalg.norm(columns, axis=0)
    keep = np.ones(len(weights), dtype=bool)
    if not inside:
        # Outside, every best fit lies on the face that the residual supports: rest'(a_j - p) <= 0, with 0 on the face.
        size = float(np.linalg.norm(rest))
        keep = (rest @ columns >= -size * (_ANGLE * length + rounding)) | (weights > 0)
    candidates = np.flatnonzero(keep)
    unit = float(np.median(length[candidates])) or 1.0
    far = np.maximum(length[candidates] / unit, 1.0)
    # Periods resemble each other. The constraints are taken along the principal directions, each at its own size, so
    # that the tolerance of the linear programs means the same in a direction in which the donors hardly differ.
    _, singular, directions = np.linalg.svd(columns[:, candidates] / (unit * far), full_matrices=False)
    blur = rounding / unit * np.sqrt(len(candidates))
    solid = singular > max(_FLAT * float(singular.max(initial=0.0)), blur)
    noise = blur / float(singular[solid].min()) if solid.any() else 0.0
    scaled = np.sqrt(len(candidates)) * directions[solid]
    scaled -= (scaled @ (weights[candidates] * far))[:, None] / far  # the fit at hand stays one, whatever was rounded
    return BestFit(weights, inside, distance, candidates, scaled, far, float(noise))


def effect_range(
    pre: ArrayLike, target: ArrayLike, post: ArrayLike, weight: ArrayLike | None = None
) -> tuple[float, float]:
    """Range of the mean synthetic outcome after the start over all best fits of the time before it.

    Parameters
    ----------
    pre : (m, J) array
        Donors before the start.
    target : (m,) array
        The treated unit before the start.
    post : (p, J) array
        Donors after the start.
    weight : (p,) array, optional
        Weights of the periods after the start; equal by default.

    Returns
    -------
    low, high : float
        Equal where all best fits agree, in particular where their weights are unique.

    Raises
    ------
    NumericalError
        As `best_fit` and :meth:`BestFit.range_of`.

    Examples
    --------
    >>> square = np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    >>> effect_range(square, [0.5, 0.5], [[0.0, 5.0, 0.0, 5.0], [0.0, 7.0, 0.0, 7.0]])
    (0.0, 6.0)
    """
    shares = None if weight is None else np.asarray(weight, dtype=np.float64)
    return best_fit(pre, target).range_of(np.average(np.asarray(post, dtype=np.float64), axis=0, weights=shares))
