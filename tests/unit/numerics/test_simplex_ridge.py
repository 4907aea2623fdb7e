from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from pmg_eval.errors import NumericalError
from pmg_eval.numerics import _simplex_ridge
from pmg_eval.numerics._simplex_ridge import simplex_ridge
from pmg_eval.numerics.simplex import SimplexFit


def problem(m: int, J: int, seed: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(m, J)).cumsum(axis=0)
    return A, A @ rng.dirichlet(np.full(J, 0.3)) + noise * rng.normal(size=m)


def objective(A: np.ndarray, b: np.ndarray, w: np.ndarray, ridge: float, intercept: bool) -> float:
    r = b - A @ w
    r = r - r.mean() if intercept else r
    return float(r @ r + ridge * w @ w)


def by_enumeration(A: np.ndarray, b: np.ndarray, ridge: float, intercept: bool) -> np.ndarray:
    """The best of the equality-constrained minimizers of all supports that are feasible."""
    if intercept:
        A, b = A - A.mean(axis=0), b - b.mean()
    J = A.shape[1]
    found = []
    for size in range(1, J + 1):
        for support in combinations(range(J), size):
            S = list(support)
            kkt = np.ones((size + 1, size + 1))
            kkt[:size, :size] = A[:, S].T @ A[:, S] + ridge * np.eye(size)
            kkt[size, size] = 0
            w = np.linalg.solve(kkt, np.append(A[:, S].T @ b, 1.0))[:size]
            if w.min() >= 0:
                full = np.zeros(J)
                full[S] = w
                found.append(full)
    return min(found, key=lambda w: objective(A, b, w, ridge, False))


def by_nnls(A: np.ndarray, b: np.ndarray, ridge: float) -> np.ndarray:
    """On the simplex ||Aw - b||^2 = ||(A - b1')w||^2, and NNLS of it with a row for the sum has the same ray."""
    m, J = A.shape
    homogeneous = np.vstack([A - b[:, None], np.sqrt(ridge) * np.eye(J)])
    size = np.sqrt(np.square(homogeneous).sum() / J)
    ray = nnls(np.vstack([homogeneous, np.full(J, size)]), np.append(np.zeros(m + J), size))[0]
    return np.asarray(ray / ray.sum())


def check(fit: SimplexFit) -> None:
    assert fit.weights.min() >= 0
    assert fit.weights.sum() == pytest.approx(1, abs=1e-14)
    assert 0 <= fit.kkt_gap <= 1e-10
    np.testing.assert_array_equal(fit.active, np.flatnonzero(fit.weights))


def without_active_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Newton method has to do it alone."""

    def unexpected(*_: object, **__: object) -> SimplexFit:
        raise AssertionError("the active set was called")

    monkeypatch.setattr(_simplex_ridge, "simplex_lstsq", unexpected)


@settings(deadline=None)
@given(
    m=st.integers(1, 6),
    J=st.integers(1, 7),
    seed=st.integers(0, 10_000),
    ridge=st.sampled_from([1e-3, 0.3, 20.0]),
    intercept=st.booleans(),
    noise=st.sampled_from([0.0, 0.1, 5.0]),
)
def test_the_minimum_over_all_supports(m: int, J: int, seed: int, ridge: float, intercept: bool, noise: float) -> None:
    A, b = problem(m, J, seed, noise)
    fit = simplex_ridge(A, b, ridge, intercept=intercept)
    check(fit)
    best = by_enumeration(A, b, ridge, intercept)
    np.testing.assert_allclose(fit.weights, best, atol=1e-9)
    scale = 1 + np.square(A - b[:, None]).sum(axis=0).max()
    assert fit.objective == pytest.approx(objective(A, b, best, ridge, intercept), abs=1e-12 * scale)
    assert fit.intercept == pytest.approx(np.mean(b - A @ best) if intercept else 0.0, abs=1e-9 * scale)


@pytest.mark.parametrize(("m", "J"), [(19, 38), (12, 313), (7, 312), (60, 20), (31, 31), (1, 40)])
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 30.0, 1e4])
def test_against_the_homogenized_nnls(m: int, J: int, ridge: float, monkeypatch: pytest.MonkeyPatch) -> None:
    without_active_set(monkeypatch)
    A, b = problem(m, J, seed=m + J, noise=4.0)
    fit = simplex_ridge(A, b, ridge)
    check(fit)
    np.testing.assert_allclose(fit.weights, by_nnls(A, b, ridge), atol=1e-9)
    centered = simplex_ridge(A, b, ridge, intercept=True)
    np.testing.assert_allclose(centered.weights, by_nnls(A - A.mean(axis=0), b - b.mean(), ridge), atol=1e-9)


def test_a_dense_support_takes_few_systems() -> None:
    """An active set moves one of 300 donors at a time."""
    A, b = problem(12, 313, seed=1)
    fit = simplex_ridge(A, b, 1.0, intercept=True)
    assert fit.active.size > 250
    assert fit.iterations <= 10


@pytest.mark.parametrize("seed", range(40))
def test_newton_ends_wherever_it_starts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    without_active_set(monkeypatch)
    rng = np.random.default_rng(seed)
    m, J = int(rng.integers(2, 20)), int(rng.integers(2, 60))
    A, b = problem(m, J, seed, noise=float(rng.choice([0.1, 5.0, 100.0])))
    ridge = 10.0 ** rng.uniform(-5, 2) * np.square(A).mean() * m
    cold = simplex_ridge(A, b, ridge)
    for start in (np.eye(J)[J // 2], rng.dirichlet(np.ones(J)), cold.weights):
        warm = simplex_ridge(A, b, ridge, start=start)
        check(warm)
        np.testing.assert_allclose(warm.weights, cold.weights, atol=1e-10)


def test_no_point_of_the_simplex_is_better() -> None:
    A, b = problem(12, 40, seed=2)
    fit = simplex_ridge(A, b, 3.0, intercept=True)
    rng = np.random.default_rng(0)
    for concentration in (0.05, 1.0):
        for other in rng.dirichlet(np.full(40, concentration), 500):
            assert fit.objective <= objective(A, b, other, 3.0, True)
            assert fit.objective <= objective(A, b, 0.999 * fit.weights + 0.001 * other, 3.0, True)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_scale_and_offset_do_not_matter(intercept: bool, scale: float, offset: float) -> None:
    A, b = np.round(problem(12, 30, seed=4)[0] * 64) / 64, np.round(problem(12, 30, seed=4)[1] * 64) / 64
    plain = simplex_ridge(A, b, 0.5, intercept=intercept)
    moved = simplex_ridge(scale * (A + offset), scale * (b + offset), 0.5 * scale**2, intercept=intercept)
    check(moved)
    # With the offset the data themselves are rounded, at 1e-16 x 1e9, unless the scale is a power of two.
    exact = offset == 0 or scale == 1
    np.testing.assert_allclose(moved.weights, plain.weights, atol=1e-11 if exact else 1e-6)
    assert moved.objective == pytest.approx(scale**2 * plain.objective, rel=1e-11 if exact else 1e-5)


def test_with_an_intercept_each_column_has_a_level_of_its_own() -> None:
    A, b = problem(12, 30, seed=5)
    levels = np.random.default_rng(1).normal(size=30) * 100
    moved = simplex_ridge(A + levels, b - 7, 2.0, intercept=True)
    np.testing.assert_allclose(moved.weights, simplex_ridge(A, b, 2.0, intercept=True).weights, atol=1e-12)


def test_large_ridge_gives_uniform_weights() -> None:
    A, b = problem(10, 8, seed=9)
    np.testing.assert_allclose(simplex_ridge(A, b, 1e12).weights, 1 / 8, atol=1e-10)


def test_repeated_donors_get_the_same_weight() -> None:
    A, b = problem(10, 6, seed=6)
    twice = simplex_ridge(np.hstack([A, A]), b, 0.4).weights
    np.testing.assert_allclose(twice[:6], twice[6:], atol=1e-14)
    # two copies at w/2 cost half the ridge of one at w
    np.testing.assert_allclose(2 * twice[:6], simplex_ridge(A, b, 0.2).weights, atol=1e-12)


def test_one_donor_and_identical_donors() -> None:
    b = np.array([1.0, 5.0])
    only = simplex_ridge(np.ones((2, 1)), b, 0.5, intercept=True)
    assert only.weights.tolist() == [1.0]
    assert only.intercept == 2.0
    assert only.objective == 8.5
    np.testing.assert_allclose(simplex_ridge(np.ones((2, 5)) * 1e9, b, 1.0).weights, 0.2, rtol=1e-14)


@pytest.mark.parametrize("ridge", [0.0, 1e-14])
def test_without_a_ridge_worth_the_name_the_active_set_answers(ridge: float) -> None:
    A, b = problem(10, 6, seed=7, noise=4.0)
    fit = simplex_ridge(A, b, ridge, intercept=True)
    check(fit)
    np.testing.assert_allclose(fit.weights, by_nnls(A - A.mean(axis=0), b - b.mean(), ridge), atol=1e-9)


def test_the_active_set_answers_when_newton_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    A, b = problem(10, 20, seed=8)
    fit = simplex_ridge(A, b, 0.7)
    monkeypatch.setattr(_simplex_ridge, "_ROUNDS", 1)
    slow = simplex_ridge(A, b, 0.7, start=np.eye(20)[0])
    check(slow)
    np.testing.assert_allclose(slow.weights, fit.weights, atol=1e-11)


def test_refusals() -> None:
    with pytest.raises(NumericalError, match="PMG-NO-DONORS"):
        simplex_ridge(np.zeros((3, 0)), np.zeros(3), 1.0)
    bad = np.zeros((2, 3))
    bad[1, 2] = np.inf
    with pytest.raises(NumericalError, match="PMG-NOT-FINITE") as caught:
        simplex_ridge(bad, np.zeros(2), 1.0)
    assert caught.value.where == (2,)
