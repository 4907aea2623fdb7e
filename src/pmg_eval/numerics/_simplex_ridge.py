"""Weights on the simplex with a ridge penalty: many columns, few rows, many columns in use.

With a ridge the weights are dense (a hundred of 300 donors), which takes an active set that moves one column at a time
hundreds of rounds. Here the support changes in blocks: a semismooth Newton method on the dual, whose systems are as
large as the number of rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmg_eval.numerics.simplex import _GAP, Array, SimplexFit, _check, _Factored, _gap, _spread, simplex_lstsq

_ROUNDS = 60
_HALVINGS = 30
_DESCENT = 1e-4  # share of the descent promised by the slope that a full step must keep
_TIE = 1e-14  # a column this close to the border of the support may be on either side
_SMALL_RIDGE = 1e-9  # relative to the columns: below it the dual loses too many digits


def simplex_ridge(
    A: ArrayLike, b: ArrayLike, ridge: float, *, intercept: bool = False, start: ArrayLike | None = None
) -> SimplexFit:
    r"""Exact minimizer of :math:`\lVert b - a_0 1 - Aw \rVert^2 + \rho\lVert w\rVert^2` on the simplex, :math:`\rho>0`.

    The same problem and the same answer as :func:`~pmg_eval.numerics.simplex.simplex_lstsq`, by a method made for
    m << J. At the minimum :math:`\rho w_j = \max(0, a_j'r - \nu)` with r the residual and :math:`\nu` the price of the
    sum, so (r, :math:`\nu`) minimizes a convex piecewise quadratic function of m + 1 numbers. Newton's method on it,
    with a line search, ends after finitely many systems of size m + 1.

    Parameters
    ----------
    A : (m, J) array
        Columns to combine (donors), finite.
    b : (m,) array
        Target.
    ridge : float
        :math:`\rho \ge 0`, in squared units of A. Where it is negligible beside the columns, the active set of
        ``simplex_lstsq`` does the work.
    intercept : bool
        Fit :math:`a_0`; otherwise it is 0.
    start : (J,) array, optional
        Weights to start from (a warm start); uniform by default.

    Returns
    -------
    SimplexFit
        ``iterations``: systems solved.

    Raises
    ------
    NumericalError
        PMG-NOT-FINITE, PMG-NO-DONORS (J = 0), PMG-KKT when the optimality gap stays above 1e-10.

    Notes
    -----
    Invariant as ``simplex_lstsq``: differences are taken before anything is squared. When the method does not reach the
    optimum (rounding, a ridge close to nothing) the active set does.

    Examples
    --------
    >>> simplex_ridge(np.array([[0.0, 2.0, 9.0], [0.0, 0.0, 9.0]]), np.array([0.5, -1.0]), 2.0).weights
    array([0.625, 0.375, 0.   ])
    """
    columns, goal = np.asarray(A, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _check(columns, goal)
    # Differences to what the donors have in common: exact, however large that is.
    common = columns.mean(axis=1)
    shifted = _spread(columns - common[:, None], intercept)
    remote = _spread((goal - common)[:, None], intercept)[:, 0]
    size = float(np.square(shifted).sum(axis=0).max())
    weights, rounds = _first(start, columns.shape[1]), 0
    problem = _Factored(shifted, remote, ridge, np.zeros(columns.shape[1]))
    if ridge > _SMALL_RIDGE * size:
        weights, rounds = _newton(shifted, remote, ridge, weights)
    gap = _gap(problem, weights) if rounds else np.inf
    if not gap <= _GAP:
        return simplex_lstsq(columns, goal, ridge=ridge, intercept=intercept, start=start)
    level = float(np.mean(goal - common - (columns - common[:, None]) @ weights)) if intercept else 0.0
    return SimplexFit(weights, level, problem.objective(weights), gap, rounds, np.flatnonzero(weights))


def _first(start: ArrayLike | None, size: int) -> Array:
    """Weights to start from, on the simplex."""
    weights = np.ones(size) if start is None else np.maximum(np.asarray(start, dtype=np.float64), 0.0)
    total = float(weights.sum())
    return weights / total if 0 < total < np.inf else np.full(size, 1 / size)


def _newton(columns: Array, goal: Array, ridge: float, weights: Array) -> tuple[Array, int]:
    r"""Minimize :math:`\tfrac\rho2 r'r + \tfrac12\lVert\max(0, B'z)\rVert^2 - \rho c'z` over z = (r, price).

    B holds the columns above a row of -s, and c is the goal above -s: the gradient is zero where r is the residual of
    the weights :math:`\max(0, B'z)/\rho` and these sum to one. The scale s keeps the systems well conditioned.
    """
    m = columns.shape[0]
    scale = float(np.sqrt(max(np.square(columns).mean() * m, ridge)))
    bordered = np.vstack([columns, np.full((1, columns.shape[1]), -scale)])
    penalty = np.append(np.full(m, ridge), 0.0)
    aim = ridge * np.append(goal, -scale)
    point = np.empty(m + 1)
    point[:m] = goal - columns @ weights
    within = weights > 0
    point[m] = float(np.mean((columns.T @ point[:m] - ridge * weights)[within])) / scale
    pull = bordered.T @ point
    support = pull > 0
    if not support.any():
        support = within
    for rounds in range(1, _ROUNDS + 1):
        inside = bordered[:, support]
        system = inside @ inside.T
        system.flat[:: m + 2] += penalty
        try:
            target = np.linalg.solve(system, aim)
        except np.linalg.LinAlgError:
            return weights, 0
        reached = bordered.T @ target
        switched = (reached > 0) != support
        if not switched.any() or np.abs(reached[switched]).max() <= _TIE * np.abs(reached).max():
            found = np.maximum(reached, 0.0)
            total = float(found.sum())
            return (_settled(columns, goal, ridge, found / total, support), rounds) if total > 0 else (weights, 0)
        length = _step(point, target - point, pull, reached - pull, penalty, aim)
        point, pull = point + length * (target - point), pull + length * (reached - pull)
        support = pull > 0
        if not support.any():
            break
    return weights, 0


def _step(point: Array, move: Array, pull: Array, moved: Array, penalty: Array, aim: Array) -> float:
    """Length of the Newton step: 1 where that is clearly downhill, else the minimum along the line."""

    def at(length: float) -> tuple[Array, Array]:
        return point + length * move, np.maximum(pull + length * moved, 0.0)

    def height(place: Array, positive: Array) -> float:
        return float(0.5 * (penalty * place - 2 * aim) @ place + 0.5 * positive @ positive)

    def slope(place: Array, positive: Array) -> float:
        return float((penalty * place - aim) @ move + positive @ moved)

    begin = at(0.0)
    if height(*at(1.0)) <= height(*begin) + _DESCENT * slope(*begin):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if slope(*at(middle)) > 0:
            high = middle
        else:
            low = middle
    return high


def _settled(columns: Array, goal: Array, ridge: float, weights: Array, support: NDArray[np.bool_]) -> Array:
    """The weights on their support to full precision: one correction from the residuals of the primal conditions."""
    inside = columns[:, support]
    own = weights[support]
    count = own.shape[0]
    outer = inside @ inside.T
    outer.flat[:: outer.shape[0] + 1] += ridge
    error = inside.T @ (goal - inside @ own) - ridge * own
    both = np.column_stack([error - error.mean(), np.ones(count)])
    both = (both - inside.T @ np.linalg.solve(outer, inside @ both)) / ridge  # Woodbury
    step = both[:, 0] + both[:, 1] * (1 - own.sum() - both[:, 0].sum()) / both[:, 1].sum()
    out = np.zeros_like(weights)
    out[support] = np.maximum(own + step, 0.0)
    return np.asarray(out / out.sum())
