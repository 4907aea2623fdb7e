from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pmg_eval.errors import NumericalError
from pmg_eval.numerics.wls import Factor, factorize, lstsq


def data(n: int = 40, p: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, p - 1))])
    return X, rng.normal(size=n), rng.exponential(size=n)


def exact_solution(X: np.ndarray, y: np.ndarray, w: np.ndarray | None = None) -> list[float]:
    """Normal equations in rational arithmetic."""
    rows = [[Fraction(float(v)) for v in row] for row in X]
    weight = [Fraction(1 if w is None else float(v)) for v in (w if w is not None else y)] if w is not None else None
    p = X.shape[1]

    def dot(a: int, b: int) -> Fraction:
        return sum(
            (row[a] * (row[b] if b < p else Fraction(float(y[i]))) * (weight[i] if weight else 1))
            for i, row in enumerate(rows)
        )

    system = [[dot(a, b) for b in range(p + 1)] for a in range(p)]
    for k in range(p):
        pivot = next(i for i in range(k, p) if system[i][k] != 0)
        system[k], system[pivot] = system[pivot], system[k]
        system[k] = [value / system[k][k] for value in system[k]]
        for i in range(p):
            if i != k:
                system[i] = [a - system[i][k] * b for a, b in zip(system[i], system[k], strict=True)]
    return [float(row[p]) for row in system]


def test_plain_and_weighted_fit() -> None:
    X, y, w = data()
    for weight in (None, w):
        fit = lstsq(X, y, weight)
        root = np.ones_like(y) if weight is None else np.sqrt(weight)
        np.testing.assert_allclose(fit.coef, np.linalg.lstsq(X * root[:, None], y * root)[0], rtol=1e-12)
        np.testing.assert_allclose(fit.resid, y - X @ fit.coef, atol=1e-13)
        np.testing.assert_allclose(fit.bread, np.linalg.inv(X.T @ (root[:, None] ** 2 * X)), rtol=1e-11)
        assert (fit.rank, fit.dropped) == (4, ())


def test_ill_conditioned_fit_has_all_digits() -> None:
    rng = np.random.default_rng(3)
    x = 2000.0 + np.arange(30) / 8
    X = np.column_stack([x**k for k in range(3)])
    y = np.round(1e3 * rng.normal(size=30))
    w = rng.integers(1, 5, size=30).astype(float) ** 2  # square roots are exact
    for weight in (None, w):
        fit = lstsq(X, y, weight)
        assert fit.condition > 1e6
        np.testing.assert_allclose(fit.coef, exact_solution(X, y, weight), rtol=1e-12)


def test_many_right_hand_sides_are_the_single_ones() -> None:
    X, _, w = data()
    X[:, 3] = 1e6 + X[:, 3]  # conditioned badly enough to be refined
    Y = np.random.default_rng(1).normal(size=(40, 5)) * 10.0 ** np.arange(-2, 3)
    fit = lstsq(X, Y, w)
    assert fit.coef.shape == (4, 5)
    assert fit.resid.shape == (40, 5)
    for column in range(5):
        one = lstsq(X, Y[:, column], w)
        np.testing.assert_allclose(fit.coef[:, column], one.coef, rtol=1e-11)
        np.testing.assert_allclose(fit.resid[:, column], one.resid, rtol=1e-9, atol=1e-12 * np.abs(Y[:, column]).max())


def test_the_later_of_collinear_columns_is_dropped() -> None:
    X, y, w = data(p=4)
    repeated = np.column_stack([X[:, 0], X[:, 1], 3 - 2 * X[:, 1], X[:, 2], np.zeros(40), X[:, 3], X[:, 1] + X[:, 3]])
    fit = lstsq(repeated, y, w)
    full = lstsq(X, y, w)
    assert fit.dropped == (2, 4, 6)
    assert fit.rank == 4
    np.testing.assert_allclose(fit.coef[[0, 1, 3, 5]], full.coef, rtol=1e-11)
    np.testing.assert_allclose(fit.resid, full.resid, atol=1e-13)
    assert np.all(fit.coef[[2, 4, 6]] == 0)
    np.testing.assert_allclose(fit.bread[np.ix_([0, 1, 3, 5], [0, 1, 3, 5])], full.bread, rtol=1e-10)
    assert not fit.bread[[2, 4, 6]].any()
    assert not fit.bread[:, [2, 4, 6]].any()


def test_dummy_trap_in_many_rows() -> None:
    rng = np.random.default_rng(4)
    group = rng.integers(0, 8, size=100_000)
    X = np.column_stack([np.ones(100_000), group[:, None] == np.arange(8), rng.normal(size=100_000)]).astype(float)
    fit = lstsq(X, rng.normal(size=100_000), rng.exponential(size=100_000))
    assert fit.rank == 9
    assert fit.dropped == (8,)


def test_offset_and_scale_of_columns_keep_the_rank() -> None:
    X, y, _ = data(p=3)
    moved = X * np.array([1.0, 1e-9, 1e9]) + np.array([0.0, 0.0, 1e9])
    fit = lstsq(moved, y)
    plain = lstsq(X, y)
    assert fit.rank == 3
    np.testing.assert_allclose(fit.coef[1:] * np.array([1e-9, 1e9]), plain.coef[1:], rtol=1e-9)
    np.testing.assert_allclose(fit.resid, plain.resid, atol=1e-9)


@pytest.mark.parametrize("factor", [1e-100, 1e-9, 1e9, 1e100])
def test_equivariance_in_the_outcome_and_the_weights(factor: float) -> None:
    X, y, w = data()
    plain = lstsq(X, y, w)
    np.testing.assert_allclose(lstsq(X, factor * y, w).coef, factor * plain.coef, rtol=1e-12)
    np.testing.assert_allclose(lstsq(X, y, factor * w).coef, plain.coef, rtol=1e-12)
    np.testing.assert_allclose(lstsq(X * factor, y, w).coef * factor, plain.coef, rtol=1e-12)


def test_integer_weights_are_copies_and_zero_weights_are_absent() -> None:
    X, y, _ = data()
    w = np.arange(40) % 4
    fit = lstsq(X, y, w)
    copies = lstsq(np.repeat(X, w, axis=0), np.repeat(y, w))
    np.testing.assert_allclose(fit.coef, copies.coef, rtol=1e-12)
    np.testing.assert_allclose(fit.bread, copies.bread, rtol=1e-12)
    np.testing.assert_allclose(fit.resid, y - X @ copies.coef, atol=1e-12)


def test_factor_leverage_and_hat() -> None:
    X, y, w = data()
    factor = factorize(X, w)
    assert isinstance(factor, Factor)
    root = np.sqrt(w)[:, None] * X
    hat = root @ np.linalg.inv(root.T @ root) @ root.T
    np.testing.assert_allclose(factor.leverage, np.diag(hat), rtol=1e-11)
    assert factor.leverage.sum() == pytest.approx(4)
    rows = np.array([3, 5, 7])
    np.testing.assert_allclose(factor.hat(rows), hat[np.ix_(rows, rows)], atol=1e-13)
    np.testing.assert_array_equal(factor.hat(np.isin(np.arange(40), rows)), factor.hat(rows))
    np.testing.assert_array_equal(factor.solve(y).coef, lstsq(X, y, w).coef)


def test_reference_lengths_reject_what_fixed_effects_left_of_a_column() -> None:
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(10), 10)
    x = np.column_stack([rng.normal(size=10)[group] * 1e3 + 0.1, rng.normal(size=100)])
    means = np.stack([x[group == g].mean(axis=0) for g in range(10)])
    within = x - means[group]
    within[:, 0] += 1e-13 * rng.normal(size=100)
    fit = lstsq(within, rng.normal(size=100), reference=np.linalg.norm(x, axis=0))
    assert fit.dropped == (0,)
    assert lstsq(within, rng.normal(size=100)).dropped == ()


def test_shapes_at_the_edge() -> None:
    empty = lstsq(np.zeros((5, 0)), np.arange(5.0))
    assert empty.coef.shape == (0,)
    assert empty.rank == 0
    assert empty.condition == 1.0
    np.testing.assert_array_equal(empty.resid, np.arange(5.0))
    wide = lstsq(np.array([[1.0, 2.0, 4.0], [1.0, 3.0, 9.0]]), np.array([1.0, 2.0]))
    assert wide.rank == 2
    assert wide.dropped == (2,)
    np.testing.assert_allclose(wide.resid, 0, atol=1e-14)
    nothing = lstsq(np.zeros((3, 2)), np.ones(3))
    assert nothing.rank == 0
    assert nothing.dropped == (0, 1)
    np.testing.assert_array_equal(nothing.resid, np.ones(3))
    assert lstsq(np.zeros((0, 2)), np.zeros(0)).rank == 0


def test_refusals_name_the_rows() -> None:
    X, y, w = data()
    y[7] = np.nan
    with pytest.raises(NumericalError, match="PMG-NOT-FINITE") as caught:
        lstsq(X, y)
    assert caught.value.where == (7,)
    X[3, 1] = np.inf
    with pytest.raises(NumericalError, match="PMG-NOT-FINITE"):
        factorize(X)
    w[2] = -1
    with pytest.raises(NumericalError, match="PMG-WEIGHT"):
        factorize(data()[0], w)
