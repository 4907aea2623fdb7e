"""Sums, means and first rows of groups given by integer codes; every function costs one pass over the rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

_FEW_COLUMNS = 2  # up to here bincount per column beats the sparse product


def group_sum(codes: Codes, values: ArrayLike, n_groups: int) -> Array:
    r"""Sum of the values in every group, :math:`s_g = \sum_{i: c_i = g} v_i`.

    Parameters
    ----------
    codes : (N,) int array
        Group of every row, ``0 <= code < n_groups``.
    values : (N,) or (N, m) array
        Numbers or booleans; they are added as float64, so unsigned integers do not wrap around.
    n_groups : int
        Number of groups; groups without rows get 0.

    Returns
    -------
    (n_groups,) or (n_groups, m) float64 array

    Examples
    --------
    >>> group_sum(np.array([0, 2, 0]), np.array([1.0, 2.0, 3.0]), 3)
    array([4., 0., 2.])
    """
    columns = np.asarray(values, dtype=np.float64)
    if columns.ndim == 1:
        return np.asarray(np.bincount(codes, weights=columns, minlength=n_groups), dtype=np.float64)
    if columns.shape[1] <= _FEW_COLUMNS:
        total = np.empty((n_groups, columns.shape[1]))
        for column in range(columns.shape[1]):
            total[:, column] = np.bincount(codes, weights=columns[:, column], minlength=n_groups)
        return total
    from scipy import sparse

    n = columns.shape[0]
    # One column per row of the data: the product adds rows where they stand, without sorting the codes.
    summer = sparse.csc_array((np.ones(n), codes, np.arange(n + 1)), shape=(n_groups, n))
    return np.asarray(summer @ columns, dtype=np.float64)


def group_mean(codes: Codes, values: ArrayLike, n_groups: int, w: Array | None = None) -> Array:
    r"""(Weighted) mean of every group, :math:`\sum_{c_i = g} w_i v_i / \sum_{c_i = g} w_i`.

    Parameters
    ----------
    codes : (N,) int array
        Group of every row.
    values : (N,) or (N, m) array
        Values to average.
    n_groups : int
        Number of groups.
    w : (N,) array, optional
        Weights, at least 0; ones by default.

    Returns
    -------
    (n_groups,) or (n_groups, m) float64 array
        NaN for groups without rows or without weight.

    Examples
    --------
    >>> group_mean(np.array([0, 2, 0]), np.array([1.0, 2.0, 3.0]), 3)
    array([ 2., nan,  2.])
    """
    columns = np.asarray(values, dtype=np.float64)
    if w is None:
        mass = np.bincount(codes, minlength=n_groups).astype(np.float64)
        total = group_sum(codes, columns, n_groups)
    else:
        mass = group_sum(codes, w, n_groups)
        total = group_sum(codes, columns * (w if columns.ndim == 1 else w[:, None]), n_groups)
    present = np.where(mass > 0, mass, np.nan)
    return total / (present if columns.ndim == 1 else present[:, None])


def first_of_group(codes: Codes, n_groups: int) -> Codes:
    """Position of the first row of every group, -1 for groups without rows.

    Parameters
    ----------
    codes : (N,) int array
        Group of every row, in any order.
    n_groups : int
        Number of groups.

    Returns
    -------
    (n_groups,) int64 array

    Examples
    --------
    >>> first_of_group(np.array([1, 0, 1]), 3)
    array([ 1,  0, -1])
    """
    first = np.full(n_groups, -1, dtype=np.int64)
    # Written backwards, so the earliest row is the one that stays.
    first[codes[::-1]] = np.arange(codes.shape[0] - 1, -1, -1, dtype=np.int64)
    return first
