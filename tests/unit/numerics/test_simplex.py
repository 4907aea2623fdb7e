from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmg_eval.errors import NumericalError
from pmg_eval.numerics import simplex
from pmg_eval.numerics.simplex import SimplexFit, simplex_gram, simplex_lstsq


def problem(m: int, J: int, seed: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(m, J)).cumsum(axis=0)
    return A, A @ rng.dirichlet(np.full(J, 0.3)) + noise * rng.normal(size=m)


def objective(
    A: np.ndarray,
    b: np.ndarray,
    w: np.ndarray,
    ridge: float = 0.0,
    intercept: bool = False,
    linear: np.ndarray | float = 0.0,
) -> float:
    r = b - A @ w
    r = r - r.mean() if intercept else r
    return float(r @ r + ridge * w @ w + np.sum(linear * w))


def by_enumeration(A: np.ndarray, b: np.ndarray, ridge: float, intercept: bool, linear: np.ndarray) -> float:
    """Smallest objective over the equality-constrained minimizers of all supports that are feasible."""
    if intercept:
        A, b = A - A.mean(axis=0), b - b.mean()
    J = A.shape[1]
    best = np.inf
    for size in range(1, min(J, A.shape[0] + 1) + 1 if ridge == 0 else J + 1):
        for support in combinations(range(J), size):
            S = list(support)
            kkt = np.zeros((size + 1, size + 1))
            kkt[:size, :size] = A[:, S].T @ A[:, S] + ridge * np.eye(size)
            kkt[:size, size] = kkt[size, :size] = 1
            w = np.linalg.lstsq(kkt, np.append(A[:, S].T @ b - linear[S] / 2, 1.0), rcond=None)[0][:size]
            if w.min() >= -1e-12 and abs(w.sum() - 1) < 1e-9:
                full = np.zeros(J)
                full[S] = w
                best = min(best, objective(A, b, full, ridge, False, linear))
    return best


def check(fit: SimplexFit) -> None:
    assert fit.weights.min() >= 0
    assert fit.weights.sum() == pytest.approx(1, abs=1e-14)
    assert 0 <= fit.kkt_gap <= 1e-10
    np.testing.assert_array_equal(fit.active, np.flatnonzero(fit.weights))


@settings(deadline=None)
@given(
    m=st.integers(1, 6),
    J=st.integers(1, 7),
    seed=st.integers(0, 10_000),
    ridge=st.sampled_from([0.0, 0.3]),
    intercept=st.booleans(),
    price=st.sampled_from([0.0, 0.5]),
    noise=st.sampled_from([0.0, 0.1, 5.0]),
)
def test_the_minimum_over_all_supports(
    m: int, J: int, seed: int, ridge: float, intercept: bool, price: float, noise: float
) -> None:
    A, b = problem(m, J, seed, noise)
    linear = price * np.square(A - b[:, None]).sum(axis=0)
    fit = simplex_lstsq(A, b, ridge=ridge, intercept=intercept, linear=linear)
    check(fit)
    best = by_enumeration(A, b, ridge, intercept, linear)
    scale = 1 + np.square(A - b[:, None]).sum(axis=0).max()
    assert fit.objective == pytest.approx(objective(A, b, fit.weights, ridge, intercept, linear), abs=1e-12 * scale)
    assert fit.objective == pytest.approx(best, abs=1e-11 * scale)
    level = np.mean(b - A @ fit.weights) if intercept else 0.0
    assert fit.intercept == pytest.approx(level, abs=1e-12 * scale)


@pytest.mark.parametrize(("m", "J"), [(19, 38), (12, 313), (60, 20), (31, 31)])
@pytest.mark.parametrize("ridge", [0.0, 2.0])
def test_against_the_homogenized_nnls(m: int, J: int, ridge: float) -> None:
    """On the simplex ||Aw - b||^2 = ||(A - b1')w||^2, and NNLS of it with a row for the sum has the same ray."""
    from scipy.optimize import nnls

    A, b = problem(m, J, seed=m + J, noise=4.0)  # outside the hull, so the weights are unique
    homogeneous = np.vstack([A - b[:, None], np.sqrt(ridge) * np.eye(J)])
    size = np.sqrt(np.square(homogeneous).sum() / J)
    ray = nnls(np.vstack([homogeneous, np.full(J, size)]), np.append(np.zeros(m + J), size))[0]
    for fit in (simplex_lstsq(A, b, ridge=ridge), simplex_gram(A.T @ A, A.T @ b, b @ b, ridge=ridge)):
        check(fit)
        np.testing.assert_allclose(fit.weights, ray / ray.sum(), atol=1e-9)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_scale_and_offset_do_not_matter(intercept: bool, scale: float, offset: float) -> None:
    A, b = np.round(problem(12, 30, seed=4)[0] * 64) / 64, np.round(problem(12, 30, seed=4)[1] * 64) / 64
    plain = simplex_lstsq(A, b, ridge=0.5, intercept=intercept)
    moved = simplex_lstsq(scale * (A + offset), scale * (b + offset), ridge=0.5 * scale**2, intercept=intercept)
    check(moved)
    # With the offset the data themselves are rounded, at 1e-16 x 1e9, unless the scale is a power of two.
    np.testing.assert_allclose(moved.weights, plain.weights, atol=1e-11 if offset == 0 or scale == 1 else 1e-6)
    assert moved.objective == pytest.approx(
        scale**2 * plain.objective, rel=1e-11 if offset == 0 or scale == 1 else 1e-5
    )


def test_a_target_far_from_all_donors() -> None:
    """Donors differ by 1, the target is 1e6 away: the Gram matrix of differences to the target would lose this."""
    A, _ = problem(8, 12, seed=3)
    direction = np.random.default_rng(1).normal(size=8)
    fit = simplex_lstsq(A, 1e6 * direction)
    check(fit)
    assert fit.active.tolist() == [int(np.argmax(direction @ A))]


def test_convex_combination_is_found_exactly() -> None:
    A, _ = problem(30, 10, seed=5)
    w = np.zeros(10)
    w[[2, 5, 7]] = [0.5, 0.25, 0.25]
    fit = simplex_lstsq(A, A @ w)
    check(fit)
    np.testing.assert_allclose(fit.weights, w, atol=1e-13)
    assert fit.objective < 1e-24


def test_repeated_donors_share_the_weight_of_one() -> None:
    A, b = problem(10, 6, seed=6)
    fit = simplex_lstsq(A, b)
    for twice in (simplex_lstsq(np.hstack([A, A, A[:, ::-1]]), b), simplex_lstsq(np.repeat(A, 3, axis=1), b)):
        check(twice)
        assert twice.objective == pytest.approx(fit.objective, rel=1e-12)
    folded = simplex_lstsq(np.hstack([A, A]), b, start=np.full(12, 1 / 12)).weights.reshape(2, 6).sum(axis=0)
    np.testing.assert_allclose(folded, fit.weights, atol=1e-12)


def test_nearly_repeated_donors() -> None:
    A, b = problem(10, 6, seed=6)
    fit = simplex_lstsq(np.hstack([A, A * (1 + 1e-9), A + 1e-12]), b)
    check(fit)
    assert fit.objective <= simplex_lstsq(A, b).objective + 1e-12


def test_more_donors_than_rows_with_the_target_inside() -> None:
    A = np.random.default_rng(7).normal(size=(3, 40))
    for start in (None, np.full(40, 1 / 40)):
        fit = simplex_lstsq(A, np.zeros(3), start=start)
        check(fit)
        assert fit.objective < 1e-28
    priced = simplex_lstsq(A, np.zeros(3), linear=np.random.default_rng(8).random(40))
    check(priced)
    assert priced.active.size <= 4


def test_one_donor_and_identical_donors() -> None:
    b = np.array([1.0, 5.0])
    only = simplex_lstsq(np.ones((2, 1)), b, intercept=True)
    assert only.weights.tolist() == [1.0]
    assert only.intercept == 2.0
    assert only.objective == 8.0
    assert simplex_gram(np.array([[2.0]]), np.array([6.0]), 26.0).objective == 16.0
    check(simplex_lstsq(np.ones((2, 5)) * 1e9, b, start=np.array([0.3, 0.7, 0, 0, 0])))
    check(simplex_gram(np.ones((5, 5)), np.full(5, 2.0), 7.0, start=np.full(5, 0.2)))


def test_large_ridge_gives_uniform_weights() -> None:
    A, b = problem(10, 8, seed=9)
    np.testing.assert_allclose(simplex_lstsq(A, b, ridge=1e12).weights, 1 / 8, atol=1e-10)


def test_warm_start_reaches_the_same_weights_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    A, b = problem(25, 60, seed=10)
    monkeypatch.setattr(simplex, "nnls_start", lambda *_: None)
    cold = simplex_lstsq(A, b)
    warm = simplex_lstsq(A, b, start=cold.weights)
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(warm.weights, cold.weights, atol=1e-13)
    np.testing.assert_allclose(simplex_lstsq(A, b, start=np.eye(60)[3]).weights, cold.weights, atol=1e-12)


def test_one_gram_matrix_serves_all_placebos() -> None:
    Y = np.random.default_rng(11).normal(size=(15, 20)).cumsum(axis=0)
    Y -= Y.mean(axis=1, keepdims=True)
    K = Y.T @ Y
    for unit in range(20):
        others = np.delete(np.arange(20), unit)
        placebo = simplex_gram(K[np.ix_(others, others)], K[others, unit], K[unit, unit])
        direct = simplex_lstsq(Y[:, others], Y[:, unit])
        np.testing.assert_allclose(placebo.weights, direct.weights, atol=1e-10)
        assert placebo.objective == pytest.approx(direct.objective, abs=1e-11 * np.trace(K))


def test_donor_order_does_not_matter() -> None:
    A, b = problem(25, 30, seed=12)
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(simplex_lstsq(A[:, order], b).weights, simplex_lstsq(A, b).weights[order], atol=1e-12)


# --- the start by nonnegative least squares --------------------------------------------------------------------------


def no_convergence(*_: object) -> None:
    raise RuntimeError("Maximum number of iterations reached.")


@pytest.mark.parametrize(("m", "J", "noise"), [(19, 38, 1.0), (12, 313, 1.0), (6, 40, 0.0), (5, 3, 2.0)])
@pytest.mark.parametrize("ridge", [0.0, 0.7])
@pytest.mark.parametrize("intercept", [False, True])
def test_with_and_without_it_the_weights_are_the_same(
    monkeypatch: pytest.MonkeyPatch, m: int, J: int, noise: float, ridge: float, intercept: bool
) -> None:
    """An old scipy, and one whose nnls does not converge, take the path from a single column."""
    A, b = problem(m, J, seed=J, noise=noise)
    quick = simplex_lstsq(A, b, ridge=ridge, intercept=intercept)
    check(quick)
    monkeypatch.setattr("scipy.optimize.nnls", no_convergence)
    for compiled in (True, False):
        monkeypatch.setattr(simplex, "_nnls_is_compiled", lambda: compiled)  # noqa: B023
        slow = simplex_lstsq(A, b, ridge=ridge, intercept=intercept)
        check(slow)
        assert slow.iterations > 1
        assert slow.objective == pytest.approx(quick.objective, rel=1e-12, abs=1e-20)
        if ridge > 0 or noise > 0.5:
            np.testing.assert_allclose(slow.weights, quick.weights, atol=1e-11)


@pytest.mark.parametrize("bad", [np.zeros(30), np.full(30, np.nan), np.full(30, np.inf), np.eye(30)[7]])
def test_a_start_that_is_no_start_or_a_bad_one_does_no_harm(monkeypatch: pytest.MonkeyPatch, bad: np.ndarray) -> None:
    A, b = problem(12, 30, seed=3, noise=2.0)
    want = simplex_lstsq(A, b)
    monkeypatch.setattr("scipy.optimize.nnls", lambda *_: (bad, 0.0))
    found = simplex_lstsq(A, b)
    check(found)
    np.testing.assert_allclose(found.weights, want.weights, atol=1e-12)


def test_gap_and_objective_of_given_weights() -> None:
    A, b = problem(12, 30, seed=3, noise=2.0)
    best = simplex_lstsq(A, b)
    value, gap = simplex.simplex_gap(A + 1e6, b + 1e6, best.weights)
    assert value == pytest.approx(best.objective, rel=1e-9)
    assert gap <= 1e-9
    uniform = np.full(30, 1 / 30)
    value, gap = simplex.simplex_gap(A, b, uniform)
    assert value == pytest.approx(objective(A, b, uniform), rel=1e-12)
    fit, r = A @ uniform, b - A @ uniform
    distance = np.linalg.norm(A - fit[:, None], axis=0).max()
    assert gap == pytest.approx((r @ (A - fit[:, None])).max() / distance / max(distance, np.linalg.norm(r)), rel=1e-10)


def test_refusals() -> None:
    with pytest.raises(NumericalError, match="PMG-NO-DONORS"):
        simplex_lstsq(np.zeros((3, 0)), np.zeros(3))
    bad = np.zeros((2, 3))
    bad[1, 2] = np.nan
    with pytest.raises(NumericalError, match="PMG-NOT-FINITE") as caught:
        simplex_lstsq(bad, np.zeros(2))
    assert caught.value.where == (2,)


def test_a_result_that_is_not_optimal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    A, b = problem(10, 6, seed=6)
    monkeypatch.setattr(simplex, "nnls_start", lambda *_: None)
    monkeypatch.setattr(simplex, "_ENTER", 1e6)  # no column may join
    with pytest.raises(NumericalError, match="PMG-KKT"):
        simplex_lstsq(A, b)
    with pytest.raises(NumericalError, match="PMG-KKT"):
        simplex_gram(A.T @ A, A.T @ b, b @ b)
