"""The factored matrix is the dense one, whatever its form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse

from pmg_eval.numerics.rows import Rows


@st.composite
def matrices(draw, n: int | None = None, k: int | None = None) -> Rows:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 7)) if n is None else n
    k = draw(st.integers(1, 6)) if k is None else k
    rank = draw(st.integers(1, 3))
    form = draw(st.sampled_from(["dense", "factored", "own", "own + dense", "own + factored"]))
    own = sparse.csr_array(rng.normal(size=(n, k)) * rng.integers(0, 2, (n, k))) if "own" in form else None
    if "dense" in form:
        return Rows(left=rng.normal(size=(n, k)), own=own)
    if "factored" in form:
        return Rows(left=rng.normal(size=(n, rank)), right=rng.normal(size=(rank, k)), own=own)
    return Rows(own=own)


def close(rows: Rows, want: np.ndarray) -> None:
    assert rows.shape == want.shape
    assert_allclose(rows.dense(), want, rtol=1e-12, atol=1e-12)


@given(rows=matrices(), data=st.data())
def test_map_by_dense_and_sparse_matrices(rows: Rows, data) -> None:
    k = rows.shape[1]
    matrix = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(data.draw(st.integers(1, 5)), k))
    matrix[np.abs(matrix) < 0.5] = 0
    want = rows.dense() @ matrix.T
    close(rows.map(matrix), want)
    close(rows.map(sparse.csr_array(matrix)), want)


@given(data=st.data())
def test_plus(data) -> None:
    one = data.draw(matrices())
    other = data.draw(matrices(*one.shape))
    close(one.plus(other), one.dense() + other.dense())
    close(other.plus(one), one.dense() + other.dense())


@given(rows=matrices(), data=st.data())
def test_sums_of_rows(rows: Rows, data) -> None:
    n = rows.shape[0]
    codes = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), dtype=np.int64)
    want = np.zeros((4, rows.shape[1]))
    np.add.at(want, codes, rows.dense())
    close(rows.sum_rows(codes, 4), want)


@given(rows=matrices(), data=st.data())
def test_columns_and_their_powers(rows: Rows, data) -> None:
    dense, k = rows.dense(), rows.shape[1]
    index = data.draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=6))
    close(rows.take_columns(np.array(index)), dense[:, index])
    factor = np.linspace(-2, 3, k)
    close(rows.scale_columns(factor), dense * factor)
    close(rows.compact(), dense)
    assert_allclose(rows.gram(), dense.T @ dense, rtol=1e-12, atol=1e-12)
    assert_allclose(rows.column_sumsq(), (dense**2).sum(axis=0), rtol=1e-10, atol=1e-12)
    count, second, fourth = rows.column_powers()
    assert count.tolist() == np.count_nonzero(dense, axis=0).tolist()
    assert_allclose(second, (dense**2).sum(axis=0), rtol=1e-10, atol=1e-12)
    assert_allclose(fourth, (dense**4).sum(axis=0), rtol=1e-10, atol=1e-12)


def test_nothing_of_size_n_by_k_is_built_before_k_is_small() -> None:
    """3,000 x 40,000 would be 960 MB: own block and loading stay, and a sparse map to three columns is dense."""
    n, k = 3_000, 40_000
    own = sparse.csr_array((np.ones(k), (np.arange(k) % n, np.arange(k))), shape=(n, k))
    rng = np.random.default_rng(0)
    rows = Rows(left=rng.normal(size=(n, 4)), right=rng.normal(size=(4, k)), own=own)
    picks = sparse.csr_array((np.ones(k), (np.arange(k) % 3, np.arange(k))), shape=(3, k))
    for form in (rows, rows.plus(rows), rows.scale_columns(np.ones(k)), rows.take_columns(np.arange(k))):
        assert form.own is not None
        assert max(part.size for part in (form.left, form.right, form.own)) < 10 * k
    assert rows.map(picks).compact().own is None
    assert rows.column_sumsq().shape == (k,)


def test_a_matrix_of_nothing_is_an_error() -> None:
    for ask in ("shape", "dense"):
        with pytest.raises(ValueError, match="own or left"):
            getattr(Rows(), ask)() if ask == "dense" else Rows().shape
