"""An (N, k) matrix kept in the form in which it is small.

``matrix = own + left @ right``: ``own`` is sparse (the own block of each unit), ``left @ right`` has low rank (what
all terms share: period effects, a common control group). ``right=None`` stands for the identity, so a dense matrix is
just ``Rows(left=matrix)``. Maps of the columns and sums of the rows keep the form; nothing of size N x k is built
before a map has made k small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rows:
    """``own + left @ right`` with shape (N, k)."""

    left: Array | None = None
    right: Array | None = None
    own: Any = None  # scipy.sparse array (N, k)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, k)."""
        if self.own is not None:
            return (int(self.own.shape[0]), int(self.own.shape[1]))
        if self.left is None:
            raise ValueError("Rows needs own or left")
        return (self.left.shape[0], self.left.shape[1] if self.right is None else self.right.shape[1])

    def dense(self) -> Array:
        """The matrix itself; only sensible for small k."""
        total: Array | None = None
        if self.left is not None:
            total = self.left if self.right is None else self.left @ self.right
        if self.own is not None:
            block = np.asarray(self.own.toarray(), dtype=np.float64)
            total = block if total is None else total + block
        if total is None:
            raise ValueError("Rows needs own or left")
        return total

    def map(self, matrix: Any) -> Rows:
        """Columns recombined: ``rows @ matrix.T`` for a dense or sparse (m, k) matrix."""
        transposed = matrix.T
        own = None if self.own is None else self.own @ transposed
        if own is not None and isinstance(own, np.ndarray):
            return Rows(left=own if self.left is None else own + self._low_rank(transposed))
        if self.left is None:
            return Rows(own=own)
        if self.right is None:
            mapped = np.asarray(self.left @ transposed)
            return Rows(left=mapped) if own is None else Rows(left=mapped + own.toarray())
        right = np.asarray(self.right @ transposed)
        if own is None and right.shape[1] <= right.shape[0]:
            return Rows(left=self.left @ right)
        return Rows(left=self.left, right=right, own=own)

    def _low_rank(self, transposed: Any) -> Array:
        if self.left is None:
            raise ValueError("no low-rank part")
        if self.right is None:
            return np.asarray(self.left @ transposed)
        return np.asarray(self.left @ (self.right @ transposed))

    def plus(self, other: Rows) -> Rows:
        """Sum of two matrices of the same shape."""
        if self.own is None and other.own is None and self.right is None and other.right is None:
            return Rows(left=np.asarray(self.left) + np.asarray(other.left))
        own = self.own if other.own is None else other.own if self.own is None else self.own + other.own
        if other.left is None:
            return Rows(left=self.left, right=self.right, own=own)
        if self.left is None:
            return Rows(left=other.left, right=other.right, own=own)
        k = self.shape[1]
        right = np.vstack([np.eye(k) if part.right is None else part.right for part in (self, other)])
        return Rows(left=np.hstack([self.left, other.left]), right=right, own=own)

    def compact(self, max_columns: int = 200) -> Rows:
        """The dense form when there are few columns, else unchanged."""
        few = self.shape[1] <= max_columns
        return Rows(left=self.dense()) if few and (self.own is not None or self.right is not None) else self

    def scale_columns(self, factor: Array) -> Rows:
        """Column j multiplied by ``factor[j]``."""
        own = None if self.own is None else self.own.multiply(factor[None, :]).tocsr()
        if self.left is None:
            return Rows(own=own)
        if self.right is None:
            return Rows(left=self.left * factor, own=own)
        return Rows(left=self.left, right=self.right * factor, own=own)

    def sum_rows(self, codes: NDArray[np.int64], n_groups: int) -> Rows:
        """Rows summed within groups (clusters, or rows of (unit, time) summed to units)."""
        from scipy import sparse

        n = self.shape[0]
        summer = sparse.csr_array((np.ones(n), (codes, np.arange(n))), shape=(n_groups, n))
        own = None if self.own is None else (summer @ self.own).tocsr()
        left = None if self.left is None else np.asarray(summer @ self.left)
        return Rows(left=left, right=self.right, own=own)

    def column_powers(self) -> tuple[Array, Array, Array]:
        """Number of non-zeros, sum of squares and sum of fourth powers of every column."""
        if self.left is None:
            squares = self.own.power(2)
            parts = ((self.own != 0).astype(np.float64), squares, squares.power(2))
            count, second, fourth = (np.asarray(part.sum(axis=0)).ravel() for part in parts)
            return count, second, fourth
        n, k = self.shape
        count, second, fourth = np.empty(k), np.empty(k), np.empty(k)
        step = max(1, 4_000_000 // max(n, 1))
        for start in range(0, k, step):
            cols = slice(start, start + step)
            squares = self._column_block(cols) ** 2
            count[cols] = np.count_nonzero(squares, axis=0)
            second[cols] = squares.sum(axis=0)
            fourth[cols] = np.einsum("ij,ij->j", squares, squares)
        return count, second, fourth

    def nonzero_rows(self) -> NDArray[np.bool_]:
        """Rows (N,) with some value in the parts that make them up."""
        found = np.zeros(self.shape[0], dtype=np.bool_)
        if self.own is not None:
            found |= np.diff(self.own.tocsr().indptr) > 0
        if self.left is not None:
            found |= self.left.any(axis=1)
        return found

    def power_sums(self, scales: Array) -> tuple[Array, Array]:
        """Sums over rows of ``scale * x^2`` and ``scale * x^4`` of every column, for each column of ``scales`` (N, m).

        Returns two arrays (k, m).
        """
        if self.left is None:
            squares = self.own.power(2).T
            return np.asarray(squares @ scales), np.asarray(squares.power(2) @ scales)
        k, m = self.shape[1], scales.shape[1]
        second, fourth = np.empty((k, m)), np.empty((k, m))
        step = max(1, 4_000_000 // max(self.shape[0], 1))
        for start in range(0, k, step):
            cols = slice(start, min(start + step, k))
            squares = self._column_block(cols) ** 2
            second[cols] = squares.T @ scales
            fourth[cols] = (squares**2).T @ scales
        return second, fourth

    def _column_block(self, cols: slice) -> Array:
        right = None if self.right is None else self.right[:, cols]
        left = self.left[:, cols] if self.right is None and self.left is not None else self.left
        own = None if self.own is None else self.own.tocsc()[:, cols]
        return Rows(left=left, right=right, own=own).dense()

    def take_columns(self, index: Any) -> Rows:
        """Columns selected by position."""
        own = None if self.own is None else self.own.tocsc()[:, index].tocsr()
        if self.left is None:
            return Rows(own=own)
        if self.right is None:
            return Rows(left=self.left[:, index], own=own)
        return Rows(left=self.left, right=self.right[:, index], own=own)

    def gram(self) -> Array:
        """``matrix.T @ matrix`` (k, k); only sensible for small k."""
        dense = self.dense()
        return dense.T @ dense

    def column_sumsq(self) -> Array:
        """Sum of squares of every column without building the matrix."""
        if self.own is None:
            if self.left is None:
                raise ValueError("Rows needs own or left")
            if self.right is None:
                return np.asarray(np.einsum("ij,ij->j", self.left, self.left))
            inner = self.left.T @ self.left
            return np.asarray(np.einsum("rk,rs,sk->k", self.right, inner, self.right, optimize=True))
        total = np.asarray(self.own.power(2).sum(axis=0)).ravel()
        if self.left is not None:
            low = Rows(left=self.left, right=self.right)
            coo = self.own.tocoo()
            if self.right is None:
                cross = self.left[coo.row, coo.col]
            else:
                cross = np.einsum("ij,ij->i", self.left[coo.row], self.right.T[coo.col])
            total = total + low.column_sumsq() + 2 * np.bincount(coo.col, coo.data * cross, minlength=self.shape[1])
        return np.asarray(total, dtype=np.float64)
