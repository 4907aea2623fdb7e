r"""Weighted least squares by QR, many right-hand sides from one factorization, accurate to the last digits.

The design is scaled by powers of two (no rounding), factored by Householder QR, and the solution is refined with
residuals accumulated in twice the working precision (Björck's augmented system), so that the error is that of the data
and not that of the method: about :math:`\epsilon\,\kappa` instead of :math:`\epsilon\,\kappa^2`.

References
----------
Björck, Å. (1967). Iterative refinement of linear least squares solutions I. BIT 7, 257-278. doi:10.1007/BF01939321.
Ogita, T., Rump, S. M., Oishi, S. (2005). Accurate sum and dot product. SIAM J. Sci. Comput. 26, 1955-1988.
doi:10.1137/030601818.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmg_eval.errors import NumericalError

Array = NDArray[np.float64]

_RANK_TOLERANCE = 1e-13  # NIST's Filip problem (condition 1e10) is of full rank, a repeated column is not
_ABSORBED_TOLERANCE = 1e-12  # what is left of a column that fixed effects explain is rounding
_REFINE_ABOVE = 1e2  # below this condition number QR alone is right to 1e-12
_REFINE_STEPS = 4
_BLOCK = 1 << 15  # elements per block, so that the temporaries of the exact products stay in cache
_SPLITTER = 134217729.0  # 2**27 + 1


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """Solution of a weighted least-squares problem.

    Attributes
    ----------
    coef : (p,) or (p, m) array
        Coefficients; 0 on dropped columns, so that ``X @ coef`` is the fit.
    resid : (N,) or (N, m) array
        ``Y - X @ coef`` in the unit of Y (not multiplied by the weights).
    rank : int
        Number of columns kept.
    condition : float
        Condition number of the kept columns, each scaled to unit length; above 1e12 the caller should refuse.
    bread : (p, p) array
        Inverse of X'WX on the kept columns, 0 on the dropped ones.
    dropped : tuple of int
        Columns that are linear combinations of columns before them.
    """

    coef: Array
    resid: Array
    rank: int
    condition: float
    bread: Array
    dropped: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Factor:
    r"""QR factorization of a weighted design, :math:`W^{1/2} X_K = Q R` for the kept columns K.

    Attributes
    ----------
    design : (N, p) array
        The design as given.
    root_weight : (N,) array or None
        Square roots of the weights.
    q, r : (N, rank), (rank, rank) arrays
        Orthonormal basis of the weighted columns, and the triangle of the scaled kept columns.
    kept : (rank,) int array
        Column that each column of ``r`` belongs to.
    scale : (p,) array
        Powers of two by which the columns were divided.
    rank, condition, dropped, bread
        As in `LeastSquares`.
    """

    design: Array
    root_weight: Array | None
    q: Array
    r: Array
    kept: NDArray[np.intp]
    scale: Array
    rank: int
    condition: float
    dropped: tuple[int, ...]
    bread: Array

    @property
    def leverage(self) -> Array:
        r"""Diagonal of the hat matrix, :math:`h_i = w_i x_i' (X'WX)^{-1} x_i`, (N,)."""
        return np.asarray(np.einsum("ij,ij->i", self.q, self.q))

    def hat(self, rows: NDArray[Any]) -> Array:
        r"""Block of the symmetric hat matrix :math:`W^{1/2}X(X'WX)^{-1}X'W^{1/2}` for some rows (mask or positions)."""
        block: Array = self.q[rows]
        return block @ block.T

    def solve(self, Y: ArrayLike) -> LeastSquares:
        """Least-squares fit of one or many right-hand sides.

        Parameters
        ----------
        Y : (N,) or (N, m) array
            Right-hand sides, finite.

        Returns
        -------
        LeastSquares

        Raises
        ------
        NumericalError
            PMG-NOT-FINITE when Y has missing or infinite values.
        """
        given = np.asarray(Y, dtype=np.float64)
        _require_finite(given, "the right-hand side")
        target = given[:, None] if given.ndim == 1 else given
        weighted = target if self.root_weight is None else self.root_weight[:, None] * target
        scaled, resid = self._refined(weighted)
        coef = np.zeros((self.scale.shape[0], target.shape[1]))
        coef[self.kept] = scaled / self.scale[self.kept, None]
        if self.root_weight is not None:
            columns = self.design[:, self.kept]
            accurate = self.condition > _REFINE_ABOVE
            resid = (
                _accurate_residual(columns, coef[self.kept], target) if accurate else target - columns @ coef[self.kept]
            )
        if given.ndim == 1:
            coef, resid = coef[:, 0], resid[:, 0]
        return LeastSquares(coef, resid, self.rank, self.condition, self.bread, self.dropped)

    def _refined(self, target: Array) -> tuple[Array, Array]:
        """Coefficients of the scaled kept columns and residuals in the weighted metric."""
        from scipy.linalg import solve_triangular

        columns = self.design[:, self.kept] / self.scale[self.kept]
        if self.root_weight is not None:
            columns = self.root_weight[:, None] * columns
        projected = self.q.T @ target
        coef = np.asarray(solve_triangular(self.r, projected)) if self.rank else np.zeros((0, target.shape[1]))
        resid = target - columns @ coef
        if self.condition <= _REFINE_ABOVE:
            return coef, resid
        previous = np.full(target.shape[1], np.inf)
        for _ in range(_REFINE_STEPS):
            # resid + columns coef = target and columns' resid = 0 are solved together for both unknowns.
            gap = _accurate_residual(columns, coef, target, resid)
            normal = -_accurate_cross(columns, resid)
            from_normal = np.asarray(solve_triangular(self.r, normal, trans="T"))
            turn = self.q.T @ gap - from_normal
            step = np.asarray(solve_triangular(self.r, turn))
            size = np.abs(step).max(axis=0)
            improving = size < 0.5 * previous  # a column at its limit stays as it is
            coef = coef + np.where(improving, step, 0.0)
            resid = resid + np.where(improving, gap - self.q @ turn, 0.0)
            previous = np.where(improving, size, 0.0)
            if np.all(size <= np.finfo(float).eps * np.abs(coef).max(axis=0)):
                break
        return coef, resid


def lstsq(
    X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None, *, rtol: float | None = None, reference: Array | None = None
) -> LeastSquares:
    r"""Weighted least squares, :math:`\hat\beta = \arg\min_\beta \sum_i w_i (y_i - x_i'\beta)^2`.

    Parameters
    ----------
    X : (N, p) array
        Design, finite; include a column of ones for an intercept.
    Y : (N,) or (N, m) array
        One or many right-hand sides.
    w : (N,) array, optional
        Weights, at least 0; ones by default.
    rtol, reference
        Rank decision, see `factorize`.

    Returns
    -------
    LeastSquares
        Coefficients, residuals, rank, condition number, bread and dropped columns.

    Raises
    ------
    NumericalError
        PMG-NOT-FINITE for missing or infinite input, PMG-WEIGHT for negative weights.

    Notes
    -----
    Where columns are collinear the later ones are dropped (coefficient 0). A large condition number is reported, not
    judged.

    Examples
    --------
    >>> x = np.arange(4.0)
    >>> lstsq(np.column_stack([np.ones(4), x]), 1 + 2 * x).coef.round(12)
    array([1., 2.])
    """
    return factorize(X, w, rtol=rtol, reference=reference).solve(Y)


def factorize(
    X: ArrayLike, w: ArrayLike | None = None, *, rtol: float | None = None, reference: Array | None = None
) -> Factor:
    r"""QR factorization of :math:`W^{1/2}X` with a rank decision.

    Parameters
    ----------
    X : (N, p) array
        Design.
    w : (N,) array, optional
        Weights, at least 0.
    rtol : float, optional
        A column whose distance to the span of the others, relative to its own length, is below ``rtol`` is dropped;
        1e-13 by default (NIST's Filip problem, condition number 1e10, keeps its eleven columns).
    reference : (p,) array, optional
        Lengths of the (weighted) columns before fixed effects were removed from them. A column with less than 1e-12 of
        that length left is rounding error and is dropped.

    Returns
    -------
    Factor

    Raises
    ------
    NumericalError
        PMG-NOT-FINITE, PMG-WEIGHT.
    """
    from scipy.linalg import solve_triangular

    design = np.ascontiguousarray(X, dtype=np.float64)
    _require_finite(design, "the design")
    root_weight = None
    columns = design
    if w is not None:
        weight = np.asarray(w, dtype=np.float64)
        _require_finite(weight, "the weights")
        if weight.size and weight.min() < 0:
            raise NumericalError("PMG-WEIGHT", "negative weights", where=np.flatnonzero(weight < 0).tolist())
        root_weight = np.sqrt(weight)
        columns = root_weight[:, None] * design
    length = _lengths(columns)
    alive = length > (0.0 if reference is None else _ABSORBED_TOLERANCE * reference)
    scale = np.ones(design.shape[1])
    scale[alive] = np.exp2(np.round(np.log2(length[alive])))
    positions = np.flatnonzero(alive)
    q, r, chosen = _rank_revealing(columns[:, positions] / scale[positions], _RANK_TOLERANCE if rtol is None else rtol)
    kept = positions[chosen]
    rank = kept.shape[0]
    bread = np.zeros((design.shape[1], design.shape[1]))
    condition = 1.0
    if rank:
        root = np.asarray(solve_triangular(r, np.eye(rank))) / scale[kept, None]
        bread[np.ix_(kept, kept)] = root @ root.T
        singular = np.linalg.svd(r / np.linalg.norm(r, axis=0), compute_uv=False)
        condition = float(singular[0] / singular[-1])
    dropped = tuple(int(column) for column in np.setdiff1d(np.arange(design.shape[1]), kept))
    return Factor(design, root_weight, q, r, kept, scale, rank, condition, dropped, bread)


def _rank_revealing(columns: Array, rtol: float) -> tuple[Array, Array, NDArray[np.intp]]:
    """Pivoted QR of the independent columns: q, r and the columns in the order of r."""
    from scipy.linalg import qr

    if columns.shape[1] == 0 or columns.shape[0] == 0:
        return np.zeros((columns.shape[0], 0)), np.zeros((0, 0)), np.zeros(0, dtype=np.intp)
    # The tall matrix is factored by the fast blocked routine, pivoting is done on its small triangle.
    q, triangle = np.linalg.qr(columns)
    turn, r, order = qr(triangle, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(r))
    rank = int(np.count_nonzero(diagonal > rtol * diagonal[0]))
    chosen = np.asarray(order, dtype=np.intp)
    if rank < columns.shape[1]:
        kept = _earliest_independent(triangle, rank, rtol * float(diagonal[0]))
        if kept is None:
            kept = np.sort(chosen[:rank])
        turn, r, order = qr(triangle[:, kept], mode="economic", pivoting=True)
        chosen = kept[order]
    return q @ turn, np.asarray(r, dtype=np.float64), chosen


def _earliest_independent(triangle: Array, rank: int, tolerance: float) -> NDArray[np.intp] | None:
    """The first ``rank`` columns, from the left, that do not depend on earlier ones; None when rounding blurs them."""
    basis = np.zeros((triangle.shape[0], 0))
    kept: list[int] = []
    for column in range(triangle.shape[1]):
        rest = triangle[:, column]
        for _ in range(2):  # twice is enough (Kahan-Parlett)
            rest = rest - basis @ (basis.T @ rest)
        size = float(np.linalg.norm(rest))
        if size > tolerance:
            kept.append(column)
            basis = np.column_stack([basis, rest / size])
    return np.array(kept, dtype=np.intp) if len(kept) == rank else None


def _require_finite(values: Array, what: str) -> None:
    if not np.isfinite(values).all():
        raise NumericalError(
            "PMG-NOT-FINITE",
            f"{what} has missing or infinite values",
            where=np.unique(np.nonzero(~np.isfinite(values))[0]).tolist(),
            fix="remove or impute these rows before the fit",
        )


def _lengths(columns: Array) -> Array:
    """Euclidean column lengths that neither overflow nor underflow."""
    top = np.abs(columns).max(axis=0, initial=0.0)
    safe = np.where(top > 0, top, 1.0)
    return np.asarray(safe * np.sqrt(np.square(columns / safe).sum(axis=0)) * (top > 0))


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Knuth: ``a + b = total + error`` exactly."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Dekker and Veltkamp: ``a * b = product + error`` exactly."""
    product = a * b
    wide = _SPLITTER * a
    a_high = wide - (wide - a)
    a_low = a - a_high
    wide = _SPLITTER * b
    b_high = wide - (wide - b)
    b_low = b - b_high
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _accurate_residual(columns: Array, coef: Array, target: Array, minus: Array | None = None) -> Array:
    """``target - minus - columns @ coef`` as if computed in twice the working precision."""
    result = np.empty_like(target)
    step = max(1, _BLOCK // max(1, target.shape[1]))
    for start in range(0, target.shape[0], step):
        block = slice(start, start + step)
        total = target[block].copy()
        error = np.zeros_like(total)
        if minus is not None:
            total, error = _two_sum(total, -minus[block])
        for column in range(columns.shape[1]):
            product, low = _two_product(-columns[block, column, None], coef[column][None, :])
            total, carry = _two_sum(total, product)
            error += carry + low
        result[block] = total + error
    return result


def _accurate_cross(columns: Array, values: Array) -> Array:
    """``columns.T @ values`` as if computed in twice the working precision."""
    result = np.empty((columns.shape[1], values.shape[1]))
    step = max(1, _BLOCK // max(1, columns.shape[1]))
    for column in range(values.shape[1]):
        total = np.zeros(columns.shape[1])
        error = np.zeros(columns.shape[1])
        for start in range(0, columns.shape[0], step):
            block = slice(start, start + step)
            product, low = _two_product(columns[block], values[block, column, None])
            partial, rest = _tree_sum(product, low)
            total, carry = _two_sum(total, partial)
            error += carry + rest
        result[:, column] = total + error
    return result


def _tree_sum(terms: Array, error: Array) -> tuple[Array, Array]:
    """Column sums of ``terms + error`` by pairwise addition that keeps what rounding loses."""
    lost = error.sum(axis=0)
    while terms.shape[0] > 1:
        half = terms.shape[0] // 2
        merged, carry = _two_sum(terms[:half], terms[half : 2 * half])
        lost = lost + carry.sum(axis=0)
        terms = merged if terms.shape[0] % 2 == 0 else np.concatenate([merged, terms[2 * half :]])
    return terms[0], lost
