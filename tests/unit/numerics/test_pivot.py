"""The small linear program, against HiGHS."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from pmg_eval.errors import NumericalError
from pmg_eval.numerics import pivot
from pmg_eval.numerics.pivot import lowest


def check(matrix: np.ndarray, start: np.ndarray, price: np.ndarray) -> np.ndarray:
    found = lowest(matrix, start, price)
    best = linprog(price, A_eq=matrix, b_eq=matrix @ start, bounds=(0, None))
    assert best.status == 0
    assert found.min() >= 0
    np.testing.assert_allclose(matrix @ found, matrix @ start, atol=1e-9 * (1 + np.abs(matrix).max()))
    assert price @ found == pytest.approx(best.fun, abs=1e-7 * (1 + np.abs(price).max()))
    used = matrix[:, found > 1e-12]
    assert np.linalg.matrix_rank(used, tol=1e-9 * np.abs(matrix).max()) == used.shape[1]  # a vertex
    return found


@settings(deadline=None)
@given(
    m=st.integers(1, 12),
    J=st.integers(1, 60),
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["normal", "whole", "twins", "flat"]),
    dense=st.booleans(),
)
def test_the_lowest_price(m: int, J: int, seed: int, kind: str, dense: bool) -> None:
    rng = np.random.default_rng(seed)
    columns, price = rng.normal(size=(m, J)), rng.normal(size=J)
    if kind == "whole":  # many ties, many degenerate vertices
        columns, price = np.round(2 * columns), np.round(price)
    if kind == "twins":
        columns[:, J // 2 :] = columns[:, : J - J // 2]
    if kind == "flat":  # rows that depend on each other
        columns = np.vstack([columns, columns.sum(axis=0)])
    start = rng.dirichlet(np.ones(J)) if dense else np.bincount(rng.integers(0, J, 3), minlength=J) / 3
    check(np.vstack([columns, np.ones(J)]), start, price)


def test_a_corner_stays_where_it_is() -> None:
    matrix = np.vstack([np.random.default_rng(0).normal(size=(3, 4)), np.ones(4)])
    start = np.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(lowest(matrix, start, np.array([5.0, -3.0, 1.0, 0.0])), start, atol=1e-14)
    many = np.vstack([np.random.default_rng(0).normal(size=(3, 9)), np.ones(9)])
    np.testing.assert_allclose(lowest(many, np.r_[start, np.zeros(5)], np.zeros(9)), np.r_[start, np.zeros(5)])


def test_columns_of_very_different_size() -> None:
    rng = np.random.default_rng(3)
    columns = rng.normal(size=(5, 40)) * 10.0 ** rng.integers(-4, 5, 40)
    columns[:, 0] = -columns[:, 1:].sum(axis=1)
    check(np.vstack([columns, np.ones(40)]), np.full(40, 1 / 40), rng.normal(size=40))


def test_a_degenerate_program_ends() -> None:
    """Beale's example cycles under the plain rule."""
    matrix = np.array([[0.25, -60, -0.04, 9, 1, 0, 0], [0.5, -90, -0.02, 3, 0, 1, 0], [0, 0, 1, 0, 0, 0, 1]])
    price = np.array([-0.75, 150, -0.02, 6, 0, 0, 0])
    found = check(matrix, np.array([0, 0, 0, 0, 0, 0, 1.0]), price)
    assert price @ found == pytest.approx(-0.05)


def test_it_says_so_when_it_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    matrix = np.vstack([rng.normal(size=(6, 50)), np.ones(50)])
    monkeypatch.setattr(pivot, "_COST", -1e9)  # everything looks cheaper
    with pytest.raises(NumericalError, match="PMG-LP"):
        lowest(matrix, rng.dirichlet(np.ones(50)), rng.normal(size=50))
