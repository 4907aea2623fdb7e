r"""A small linear program from a feasible point, by the revised simplex method.

.. math:: \min_x \; p'x \quad \text{subject to} \quad Mx = Mx_0, \; x \ge 0 .

For the many small problems (a dozen rows, a few hundred columns) whose feasible point is known: which of the weights
that fit equally well lie closest, and how far what they imply can differ. A general solver spends 2 to 4 ms on each,
mostly before it starts; a pivot costs 30 microseconds.

References
----------
Dantzig, G. B. (1963). Linear Programming and Extensions, ch. 9. doi:10.1515/9781400884179.
Bland, R. G. (1977). New finite pivoting rules for the simplex method. doi:10.1287/moor.2.2.103.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmg_eval.errors import NumericalError

Array = NDArray[np.float64]
Columns = NDArray[np.intp]

_COST = 1e-11  # reduced cost, relative to the prices, that counts as zero
_PIVOT = 1e-9  # element of a unit column in the basis that counts as zero
_RANK = 1e-10  # singular values of unit columns, below which they are dependent
_REFRESH = 16  # exchanges after which the basis is inverted anew
_PATIENCE = 20  # steps without progress after which Bland's rule takes over


def lowest(matrix: ArrayLike, start: ArrayLike, price: ArrayLike) -> Array:
    """The point of the polytope through ``start`` with the lowest price.

    Parameters
    ----------
    matrix : (m, J) array
        What has to stay the same; rows of comparable size. The polytope must be bounded (for example by a row of
        positive numbers).
    start : (J,) array
        A feasible point, at least 0.
    price : (J,) array

    Returns
    -------
    (J,) array
        A vertex of the polytope.

    Raises
    ------
    NumericalError
        PMG-LP when the method does not end (not seen so far).

    Examples
    --------
    Weights on four corners of a square with the same mean: both diagonals, and everything between.

    >>> square = np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    >>> lowest(square, [0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 1.0])
    array([0.5, 0. , 0.5, 0. ])
    """
    rows, point = np.asarray(matrix, dtype=np.float64), np.maximum(np.asarray(start, dtype=np.float64), 0.0)
    size = np.sqrt(np.square(rows).sum(axis=0))
    size[size == 0] = 1.0
    unit, cost = rows / size, np.asarray(price, dtype=np.float64) / size
    unit, basis, held = _vertex(unit, point * size)
    top = float(np.abs(cost).max())
    if top > 0 and len(basis) < unit.shape[1]:
        basis, held = _pivots(unit, basis, held, cost / top)
    out = np.zeros(unit.shape[1])
    out[basis] = held
    return np.asarray(out / size)


def _pivots(unit: Array, basis: Columns, held: Array, cost: Array) -> tuple[Columns, Array]:
    """Exchange columns of the basis while that lowers the price."""
    total = unit[:, basis] @ held
    inverse: Array = np.empty((0, 0))
    basis, stuck, fresh = basis.copy(), 0, False
    since = _REFRESH
    for _ in range(100 + 20 * unit.shape[1]):
        if since >= _REFRESH:  # updates of the inverse gather rounding
            inverse = np.asarray(np.linalg.inv(unit[:, basis]), dtype=np.float64)
            held = np.maximum(inverse @ total, 0.0)
            since, fresh = 0, True
        reduced = cost - (cost[basis] @ inverse) @ unit
        reduced[basis] = 0.0
        # Dantzig's rule is fast; Bland's never returns to a basis it has left.
        bland = stuck > _PATIENCE
        entering = int((reduced < -_COST).argmax()) if bland else int(reduced.argmin())
        if not reduced[entering] < -_COST:
            if fresh:
                return basis, held
            since = _REFRESH  # once more, without the rounding
            continue
        along = inverse @ unit[:, entering]
        open_ = np.flatnonzero(along > _PIVOT)
        if not len(open_):  # a direction of rounding: nothing leaves
            cost = cost.copy()
            cost[entering] -= reduced[entering]
            continue
        reach = held[open_] / along[open_]
        length = float(reach.min())
        tied = open_[reach <= length * (1 + 1e-12) + 1e-15]
        leaving = int(tied[basis[tied].argmin()] if bland else tied[along[tied].argmax()])
        stuck = 0 if length > 1e-14 else stuck + 1
        held -= length * along
        np.maximum(held, 0.0, out=held)
        held[leaving] = length
        row = inverse[leaving] / along[leaving]
        inverse -= np.multiply.outer(along, row)
        inverse[leaving] = row
        basis[leaving] = entering
        since, fresh = since + 1, False
    raise NumericalError("PMG-LP", "a linear program over equally good weights did not end", fix="fewer donors")


def _vertex(unit: Array, point: Array) -> tuple[Array, Columns, Array]:
    """Rows of full rank, as many independent columns that hold the point, and what they hold."""
    used = np.flatnonzero(point)
    used, held = _without_dependence(unit, used, point[used])
    if len(used) < unit.shape[0]:
        unit, extra = _completed(unit, used)
        used, held = np.concatenate([used, extra]), np.concatenate([held, np.zeros(len(extra))])
    return unit, used, held


def _without_dependence(unit: Array, used: Columns, held: Array) -> tuple[Columns, Array]:
    """Move along dependences of the columns in use until they are independent (Caratheodory)."""
    while len(used) > 1:
        _, singular, right = np.linalg.svd(unit[:, used])
        if len(used) <= unit.shape[0] and singular[-1] > _RANK * singular[0]:
            break
        way = right[-1]
        way = way if way.max() >= -way.min() else -way
        reach = np.full(len(used), np.inf)
        np.divide(held, way, out=reach, where=way > 0)
        first = int(reach.argmin())
        held = np.maximum(held - reach[first] * way, 0.0)
        held[first] = 0.0
        used, held = used[held > 0], held[held > 0]
    return used, held


def _completed(unit: Array, used: Columns) -> tuple[Array, Columns]:
    """Further columns up to the rank of all, and the rows in coordinates of their span."""
    from scipy.linalg import qr

    inner = np.linalg.qr(unit[:, used])[0]
    rest = unit - inner @ (inner.T @ unit)
    rest[:, used] = 0.0
    outer, triangle, order = qr(rest, mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(triangle)) > _RANK).sum())
    rank = min(rank, unit.shape[0] - len(used))
    span = np.hstack([inner, outer[:, :rank]])
    return span.T @ unit, np.asarray(order[:rank], dtype=np.intp)
