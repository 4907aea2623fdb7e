r"""Least squares on the unit simplex, solved exactly by a primal active-set method.

.. math::

    \min_{w, a_0} \; \lVert b - a_0 1 - A w \rVert^2 + \rho \lVert w \rVert^2 + l'w
    \quad \text{subject to} \quad w \ge 0, \; 1'w = 1 .

Starting from one column, the column whose exchange against the current fit lowers the objective fastest joins the
support; the problem on the support (without signs) is solved in closed form; a step that would make a weight negative
stops at the boundary, where that column leaves. The objective falls at every step, so the method ends after finitely
many, at a point whose optimality is checked: with the fit :math:`\hat y = Aw` and residual :math:`r = b - a_0 - \hat y`
no column may have :math:`r'(a_j - \hat y) + \rho(\lVert w \rVert^2 - w_j) - (l_j - l'w)/2 > 0`.

References
----------
Lawson, C. L., Hanson, R. J. (1974). Solving Least Squares Problems, ch. 23. doi:10.1137/1.9781611971217.
Wolfe, P. (1976). Finding the nearest point in a polytope. Math. Programming 11, 128-149. doi:10.1007/BF01580381.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmg_eval.errors import NumericalError

Array = NDArray[np.float64]
Support = NDArray[np.intp]

_GAP = 1e-10  # relative optimality gap a result must have
_ENTER = 1e-13  # relative gain below which a column does not enter
_GRAM_FLOOR = 1e-4
_NNLS_RIDGE = 2000  # columns up to which nnls with a ridge, which needs a row per column, starts
_SOLID = 1e-7  # diagonal of a triangular factor, relative to the largest, above which columns are independent
_FLAT = 1e-14  # eigenvalues of the reduced problem, relative to the largest, that count as zero


@dataclass(frozen=True, eq=False)
class SimplexFit:
    """Weights on the simplex that minimize a (penalized) sum of squares.

    Attributes
    ----------
    weights : (J,) array
        At least 0, summing to 1.
    intercept : float
        :math:`a_0`; 0 without intercept.
    objective : float
        Minimum reached, penalties included.
    kkt_gap : float
        Largest violation of the optimality conditions, relative to d max(d, |r|) with d the largest distance of a
        column to the fit and r the residual; at most 1e-10.
    iterations : int
        Problems on a support that were solved.
    active : int array
        Columns with positive weight.
    """

    weights: Array
    intercept: float
    objective: float
    kkt_gap: float
    iterations: int
    active: Support


class _Problem(Protocol):
    """What the active-set method asks of the data, in factored or in Gram form."""

    def target(self, support: Support, weights: Array) -> tuple[Array, bool]:
        """Best point of the plane through the support, or (with False) a direction of unbounded descent."""

    def gains(self, weights: Array) -> tuple[Array, float]:
        """Half the rate of descent towards every column, and the scale that makes it relative."""

    def objective(self, weights: Array) -> float: ...


def simplex_lstsq(
    A: ArrayLike,
    b: ArrayLike,
    *,
    ridge: float = 0.0,
    intercept: bool = False,
    linear: ArrayLike | None = None,
    start: ArrayLike | None = None,
) -> SimplexFit:
    r"""Exact minimizer of :math:`\lVert b - a_0 1 - Aw \rVert^2 + \rho\lVert w\rVert^2 + l'w` on the simplex.

    Parameters
    ----------
    A : (m, J) array
        Columns to combine (donors), finite. J may exceed m; columns may repeat.
    b : (m,) array
        Target.
    ridge : float
        :math:`\rho \ge 0`, in squared units of A.
    intercept : bool
        Fit :math:`a_0`; otherwise it is 0.
    linear : (J,) array, optional
        :math:`l`, a price per unit of weight (for example the distance of each donor to the target).
    start : (J,) array, optional
        Weights to start from (a warm start); the best single column by default.

    Returns
    -------
    SimplexFit

    Raises
    ------
    NumericalError
        PMG-NOT-FINITE, PMG-NO-DONORS (J = 0), PMG-KKT when the optimality gap stays above 1e-10.

    Notes
    -----
    The weights do not change when A and b are multiplied by a number (ridge and linear by its square) or when the same
    vector is added to b and to every column; all differences are taken before anything is squared. Where the minimizer
    is not unique (repeated columns, a target inside the hull of more than m + 1 columns) one of them is returned; the
    fit Aw is the same for all.

    Examples
    --------
    >>> fit = simplex_lstsq(np.array([[0.0, 2.0, 9.0], [0.0, 0.0, 9.0]]), np.array([0.5, -1.0]))
    >>> fit.weights
    array([0.75, 0.25, 0.  ])
    """
    columns, goal = np.ascontiguousarray(A, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _check(columns, goal)
    price = np.zeros(columns.shape[1]) if linear is None else np.asarray(linear, dtype=np.float64)
    away = _spread(columns - goal[:, None], intercept)
    weights = None
    if start is None and not price.any():
        weights = nnls_start(away, ridge)
    # Differences to one donor near the target: exact for what donors have in common, however large.
    nearest = int(np.square(away).sum(axis=0).argmin()) if weights is None else int(weights.argmax())
    reference = columns[:, nearest].copy()
    shifted = _spread(columns - reference[:, None], intercept)
    remote = _spread((goal - reference)[:, None], intercept)[:, 0]
    factored = _Factored(shifted, remote, ridge, price, plain=ridge == 0 and not price.any())
    rounds = 0
    if weights is None:
        # The Gram matrix finds the support quickly, ...
        gram = _Gram(shifted.T @ shifted, shifted.T @ remote, float(remote @ remote), ridge, price)
        weights, rounds = _active_set(gram, _initial(start, nearest, columns.shape[1]))[:2]
    # ... the columns themselves settle it to full precision.
    weights, more, gap = _active_set(factored, weights)
    level = float(np.mean(goal - reference - (columns - reference[:, None]) @ weights)) if intercept else 0.0
    return _checked(factored, weights, level, rounds + more, gap)


def simplex_gram(
    G: ArrayLike,
    c: ArrayLike,
    bb: float,
    *,
    ridge: float = 0.0,
    linear: ArrayLike | None = None,
    start: ArrayLike | None = None,
) -> SimplexFit:
    r"""Exact minimizer of :math:`w'Gw - 2c'w + b'b + \rho\lVert w\rVert^2 + l'w` on the simplex.

    The form for many problems on the same columns: with one Gram matrix of all units, the problem "unit k against the
    others" needs only its rows and columns.

    Parameters
    ----------
    G : (J, J) array
        :math:`A'A`, symmetric positive semidefinite.
    c : (J,) array
        :math:`A'b`.
    bb : float
        :math:`b'b`.
    ridge, linear, start
        As in `simplex_lstsq`.

    Returns
    -------
    SimplexFit
        ``intercept`` is 0: center the columns before forming G to fit one.

    Raises
    ------
    NumericalError
        As `simplex_lstsq`.

    Notes
    -----
    Subtract from every row of the data what the columns have in common (for example their mean) before forming G:
    squares of a large offset cannot be undone afterwards.
    """
    gram, cross = np.asarray(G, dtype=np.float64), np.asarray(c, dtype=np.float64)
    _check(gram, cross)
    price = np.zeros(cross.shape[0]) if linear is None else np.asarray(linear, dtype=np.float64)
    problem = _Gram(gram, cross, float(bb), ridge, price)
    alone = np.diag(gram) - 2 * cross + price
    weights, rounds, gap = _active_set(problem, _initial(start, int(np.argmin(alone)), cross.shape[0]))
    if gap > _GAP:
        # Nearly collinear columns: columns with these inner products resolve what differences of them cannot.
        joint = np.block([[gram, cross[:, None]], [cross[None, :], np.array([[float(bb)]])]])
        value, vector = np.linalg.eigh(joint)
        columns = np.sqrt(np.maximum(value, 0.0))[:, None] * vector.T
        weights, more, _ = _active_set(_Factored(columns[:, :-1], columns[:, -1], ridge, price), weights)
        rounds += more
    return _checked(problem, weights, 0.0, rounds)


def simplex_gap(A: ArrayLike, b: ArrayLike, weights: ArrayLike) -> tuple[float, float]:
    r"""Objective :math:`\lVert b - Aw \rVert^2` of weights on the simplex, and their relative optimality gap.

    The gap is that of :class:`SimplexFit`: 0 at a minimum, at most 1e-10 for what the solvers return.
    """
    columns, goal = np.asarray(A, dtype=np.float64), np.asarray(b, dtype=np.float64)
    held = np.asarray(weights, dtype=np.float64)
    reference = columns[:, int(held.argmax())]
    problem = _Factored(columns - reference[:, None], goal - reference, 0.0, np.zeros(len(held)))
    return problem.objective(held), _gap(problem, held)


@dataclass(frozen=True, eq=False)
class _Factored:
    """The columns themselves: no precision is lost to squaring. ``plain``: known to have neither ridge nor price."""

    columns: Array
    goal: Array
    ridge: float
    price: Array
    plain: bool = False

    def target(self, support: Support, weights: Array) -> tuple[Array, bool]:
        base = int(np.argmax(weights))
        others = _without(support, base)
        anchor = self.columns[:, support[base]]
        differences = self.columns[:, others] - anchor[:, None]
        rest = self.goal - anchor
        if self.ridge > 0:
            root = np.sqrt(self.ridge)
            size = others.shape[0]
            differences = np.vstack([differences, root * np.eye(size), np.full((1, size), -root)])
            rest = np.concatenate([rest, np.zeros(size), [-root]])
        elif self.plain and 0 < others.shape[0] <= rest.shape[0]:
            # The usual case: independent columns, nothing but the fit.
            inner, triangle = np.linalg.qr(differences)
            diagonal = np.abs(triangle.diagonal())
            if diagonal.min() > _SOLID * diagonal.max():
                return _with_base(np.linalg.solve(triangle, rest @ inner), base, 1.0), True
        left, singular, right = np.linalg.svd(differences, full_matrices=False)
        price = self.price[others] - self.price[support[base]]
        solid = singular > _FLAT * singular.max(initial=0.0)
        basis = right[solid].T
        along = (left[:, solid].T @ rest) / singular[solid] - 0.5 * (basis.T @ price) / np.square(singular[solid])
        return _from_plane(basis, along, price, weights, base)

    def gains(self, weights: Array) -> tuple[Array, float]:
        fit = self.columns @ weights
        rest = self.goal - fit
        towards = self.columns - fit[:, None]
        distance = float(np.sqrt(np.square(towards).sum(axis=0).max()))
        gains, scale = rest @ towards, distance * max(distance, float(np.sqrt(rest @ rest)))
        if self.plain:
            return gains, scale
        more, size = _penalty_gains(weights, self.ridge, self.price)
        return gains + more, scale + size

    def objective(self, weights: Array) -> float:
        rest = self.goal - self.columns @ weights
        return float(rest @ rest + self.ridge * (weights @ weights) + self.price @ weights)


@dataclass(frozen=True, eq=False)
class _Gram:
    """Only the inner products of the columns."""

    gram: Array
    cross: Array
    square: float
    ridge: float
    price: Array

    def target(self, support: Support, weights: Array) -> tuple[Array, bool]:
        base = int(weights.argmax())
        others = _without(support, base)
        anchor = support[base]
        to_anchor = self.gram[others, anchor]
        corner = self.gram[anchor, anchor] + self.ridge
        reduced = self.gram[others[:, None], others] - (to_anchor[:, None] + (to_anchor - corner))
        reduced.flat[:: others.shape[0] + 1] += self.ridge
        price = self.price[others] - self.price[anchor]
        slope = self.cross[others] - (self.cross[anchor] - corner) - to_anchor - 0.5 * price
        value, vector = np.linalg.eigh(reduced)
        solid = value > _FLAT * value.max(initial=0.0)
        basis = vector[:, solid]
        return _from_plane(basis, (basis.T @ slope) / value[solid], price, weights, base)

    def gains(self, weights: Array) -> tuple[Array, float]:
        shared = self.gram @ weights
        length = float(weights @ shared)
        level = float(self.cross @ weights)
        size = np.diag(self.gram)
        distance = np.sqrt(max(float((size - 2 * shared).max()) + length, 0.0))
        rest = np.sqrt(max(length - 2 * level + self.square, 0.0))
        gains, scale = _penalty_gains(weights, self.ridge, self.price)
        # Cancellation leaves this much of the sizes that went in; a smaller scale would measure rounding.
        floor = _GRAM_FLOOR * max(float(size.max()), self.square)
        return self.cross - level - shared + length + gains, max(distance * max(distance, rest), floor) + scale

    def objective(self, weights: Array) -> float:
        squares = float(weights @ self.gram @ weights - 2 * self.cross @ weights) + self.square
        return max(squares, 0.0) + float(self.ridge * (weights @ weights) + self.price @ weights)


def _from_plane(basis: Array, along: Array, price: Array, weights: Array, base: int) -> tuple[Array, bool]:
    """Weights on the support from the solution in the directions that matter to the fit.

    In a direction without effect on the fit only the price counts: it falls without bound, or nothing moves.
    """
    current = _without(weights, base)
    if basis.shape[1] < price.shape[0]:
        idle = price - basis @ (basis.T @ price)
        if np.abs(idle).max() > 1e-10 * np.abs(price).max(initial=0.0):
            return _with_base(-idle, base, 0.0), False
        current = current - basis @ (basis.T @ current) + basis @ along
    else:
        current = basis @ along
    return _with_base(current, base, 1.0), True


def _without(values: NDArray[Any], position: int) -> NDArray[Any]:
    return np.concatenate((values[:position], values[position + 1 :]))


def _with_base(values: Array, base: int, total: float) -> Array:
    """Insert what is missing from the total at the place of the base."""
    return np.concatenate((values[:base], [total - values.sum()], values[base:]))


def _penalty_gains(weights: Array, ridge: float, price: Array) -> tuple[Array, float]:
    """What ridge and price add to the gains and to their scale."""
    dearer = price - float(price @ weights)
    gains = ridge * (float(weights @ weights) - weights) - 0.5 * dearer
    return gains, ridge + 0.5 * float(np.abs(dearer).max())


def _check(columns: Array, goal: Array) -> None:
    if columns.shape[1] == 0:
        raise NumericalError("PMG-NO-DONORS", "there is no donor to combine", fix="widen the donor pool")
    if not (np.isfinite(columns).all() and np.isfinite(goal).all()):
        bad = np.flatnonzero(~np.isfinite(columns).all(axis=0)).tolist()
        raise NumericalError(
            "PMG-NOT-FINITE", "missing or infinite values in the target or in donors (columns given)", where=bad
        )


def _spread(columns: Array, intercept: bool) -> Array:
    return columns - columns.mean(axis=0) if intercept else columns


def _initial(start: ArrayLike | None, nearest: int, size: int) -> Array:
    weights = np.zeros(size)
    if start is not None:
        weights = np.maximum(np.asarray(start, dtype=np.float64), 0.0)
    total = float(weights.sum())
    if total > 0 and np.isfinite(total):
        return weights / total
    weights = np.zeros(size)
    weights[nearest] = 1.0
    return weights


@cache
def _nnls_is_compiled() -> bool:
    """From 1.15 on scipy's nnls is compiled; before, it was slower than what follows it, and could cycle."""
    import scipy

    return tuple(int(part) for part in scipy.__version__.split(".")[:2]) >= (1, 15)


def nnls_start(away: Array, ridge: float) -> Array | None:
    r"""Weights near the minimum from nonnegative least squares, or None when it fails.

    With columns :math:`d_j=a_j-b` the objective is :math:`q(w)=\lVert Dw\rVert^2+\rho\lVert w\rVert^2`. For
    :math:`u=tw`, the minimum over t of :math:`t^2q(w)+s^2(t-1)^2` is :math:`s^2q/(q+s^2)`, which increases in q, so the
    nonnegative u that minimizes :math:`\lVert Du\rVert^2+\rho\lVert u\rVert^2+s^2(1'u-1)^2` is a multiple of the
    weights, whatever s. Rounding differs from that of the problem itself, so this is a start, not the answer.
    """
    if not _nnls_is_compiled() or (ridge > 0 and away.shape[1] > _NNLS_RIDGE):
        return None
    from scipy.optimize import nnls

    rows, count = away.shape
    size = np.sqrt(np.square(away).sum() / count + ridge)
    if not size > 0:
        return None
    extra = count if ridge > 0 else 0
    matrix = np.zeros((rows + extra + 1, count))
    matrix[:rows] = away
    if extra:
        matrix[rows : rows + count].flat[:: count + 1] = np.sqrt(ridge)
    matrix[-1] = size
    aim = np.zeros(rows + extra + 1)
    aim[-1] = size
    try:
        ray = np.asarray(nnls(matrix, aim)[0])
    except RuntimeError:  # no convergence
        return None
    total = float(ray.sum())
    return ray / total if 0 < total < np.inf else None


def _checked(
    problem: _Problem, weights: Array, intercept: float, iterations: int, gap: float | None = None
) -> SimplexFit:
    gap = _gap(problem, weights) if gap is None else gap
    if not gap <= _GAP:
        raise NumericalError(
            "PMG-KKT",
            f"the simplex problem was not solved to the required optimality (relative gap {gap:.1e})",
            fix="rescale rows of very different size, or remove nearly identical donors",
        )
    return SimplexFit(weights, intercept, problem.objective(weights), gap, iterations, np.flatnonzero(weights))


def _gap(problem: _Problem, weights: Array) -> float:
    """Relative violation of the optimality conditions."""
    return _relative(*problem.gains(weights))


def _relative(gains: Array, scale: float) -> float:
    return max(float(gains.max()), 0.0) / scale if scale > 0 else 0.0


def _active_set(problem: _Problem, weights: Array) -> tuple[Array, int, float]:
    """Primal active-set method from a feasible point; returns the weights, the number of rounds, and the gap."""
    weights = weights.copy()
    blocked = np.zeros(weights.shape[0], dtype=bool)  # entered and left at once: rounding, not descent
    entered = -1
    support = np.flatnonzero(weights)
    for round_ in range(1, 30 + 20 * weights.shape[0]):
        before = weights[support]
        goal, bounded = problem.target(support, before)
        complete = bounded and bool(goal.min() >= 0.0)
        after = goal if complete else _until_the_boundary(before, goal, bounded)
        weights[support] = after / after.sum()
        if entered >= 0 and weights[entered] > 0:
            blocked[:] = False
        elif entered >= 0:
            blocked[entered] = True
        support = np.flatnonzero(weights)
        entered = -1
        if not complete:
            continue
        gains, scale = problem.gains(weights)
        open_ = np.where(blocked | (weights > 0), -np.inf, gains)
        best = int(open_.argmax())
        if not open_[best] > _ENTER * scale:
            return weights, round_, _relative(gains, scale)
        entered = best
        support = np.sort(np.append(support, best))
    return weights, round_, _gap(problem, weights)


def _until_the_boundary(before: Array, goal: Array, bounded: bool) -> Array:
    """From weights towards the goal (or in its direction), as far as none is negative."""
    move = goal - before if bounded else goal
    reach = np.full(before.shape[0], np.inf)
    np.divide(before, -move, out=reach, where=move < 0)
    first = int(reach.argmin())
    after: Array = np.maximum(before + reach[first] * move, 0.0)
    after[first] = 0.0
    return after
