"""Best fits in a convex hull, against hand-worked polygons and the list of all vertices of the weights' polytope."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmg_eval.errors import NumericalError
from pmg_eval.synth._fit import fit_weights
from unit.synth import polytope


class BestFit:
    """The library's fit, with the names of the oracle (HiGHS programs, ``polytope.py``)."""

    def __init__(self, pre: Any, target: Any) -> None:
        self.fit = fit_weights(np.asarray(pre, dtype=float), np.asarray(target, dtype=float))
        self.distance = 0.0 if self.fit.inside else np.sqrt(self.fit.objective / len(target))
        self.inside, self.weights, self.candidates = self.fit.inside, self.fit.weights, self.fit.candidates

    def is_unique(self) -> bool:
        return self.fit.unique

    def range_of(self, values: Any) -> tuple[float, float]:
        return self.fit.range_of(np.asarray(values, dtype=float))


best_fit = BestFit


def effect_range(pre: Any, target: Any, post: Any) -> tuple[float, float]:
    return best_fit(pre, target).range_of(np.mean(post, axis=0))


SQUARE = np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
AROUND = np.array([0.0, 5.0, 0.0, 5.0])  # values at the corners, going round


def vertices(A: np.ndarray, p: np.ndarray) -> np.ndarray:
    """All basic solutions of w >= 0, sum w = 1, A w = p, by trying every set of independent columns."""
    J = A.shape[1]
    system, total = np.vstack([A, np.ones(J)]), np.append(p, 1.0)
    found = []
    for size in range(1, np.linalg.matrix_rank(system) + 1):
        for chosen in combinations(range(J), size):
            part = system[:, chosen]
            if np.linalg.matrix_rank(part) < size:
                continue
            w = np.linalg.lstsq(part, total, rcond=None)[0]
            if np.abs(part @ w - total).max() < 1e-8 and w.min() > -1e-8:
                full = np.zeros(J)
                full[list(chosen)] = w
                found.append(full)
    return np.array(found)


def separated(A: np.ndarray, b: np.ndarray) -> bool:
    """A direction that has the target above every column, in the box [-1, 1]^m (a program in y, not in w)."""
    from scipy.optimize import linprog

    m, J = A.shape
    rows = np.vstack([A - b[:, None], np.ones(J)]).T  # y'(a_j - b) + margin <= 0
    found = linprog(np.append(np.zeros(m), -1.0), A_ub=rows, b_ub=np.zeros(J), bounds=[(-1, 1)] * m + [(0, None)])
    return bool(-found.fun > 1e-7)


@pytest.mark.parametrize(
    ("target", "inside", "unique", "distance", "low", "high"),
    [
        ((0.5, 0.5), True, False, 0.0, 0.0, 5.0),  # center: one diagonal or the other
        ((0.0, 0.0), True, True, 0.0, 0.0, 0.0),  # corner
        ((0.3, 0.0), True, True, 0.0, 1.5, 1.5),  # on an edge
        ((0.25, 0.5), True, False, 0.0, 1.25, 3.75),
        ((2.0, 2.0), False, True, 1.0, 0.0, 0.0),  # nearest a corner
        ((0.5, -2.0), False, True, np.sqrt(2.0), 2.5, 2.5),  # nearest an edge
    ],
)
def test_square(target: Any, inside: bool, unique: bool, distance: float, low: float, high: float) -> None:
    """(0.25, 0.5) by hand: w2 + w3 = 0.25 and w3 + w4 = 0.5, so w2 + w4 = 0.75 - 2 w3 with 0 <= w3 <= 0.25."""
    fit = best_fit(SQUARE, target)
    assert fit.inside is inside
    assert fit.is_unique() is unique
    assert fit.distance == pytest.approx(distance, abs=1e-12)
    assert fit.range_of(AROUND) == pytest.approx((low, high), abs=1e-9)
    np.testing.assert_allclose(fit.weights.sum(), 1.0, atol=1e-12)


def test_beyond_a_square_face_the_fit_is_one_and_the_weights_are_many() -> None:
    """Nearest to (0.5, 0.5, 3) in the unit cube is the center of its upper face: the lower corners have no say."""
    cube = np.hstack([np.vstack([SQUARE, np.zeros(4)]), np.vstack([SQUARE, np.ones(4)])])
    fit = best_fit(cube, [0.5, 0.5, 3.0])
    assert not fit.inside
    assert fit.distance == pytest.approx(2 / np.sqrt(3))
    assert sorted(fit.candidates) == [4, 5, 6, 7]
    assert not fit.is_unique()
    assert fit.range_of([100.0, -100.0, 100.0, -100.0, *AROUND]) == pytest.approx((0.0, 5.0), abs=1e-9)


@pytest.mark.parametrize("target", [(0.3, 0.0), (0.5, -2.0), (-1.0, -1.0)])
def test_a_twin_with_weight_makes_weights_many_but_not_what_they_imply(target: Any) -> None:
    """The corner (0, 0) twice; the second time with the same future, or with another."""
    twins = np.hstack([SQUARE, SQUARE[:, :1]])
    fit = best_fit(twins, target)
    assert not fit.is_unique()
    low, high = fit.range_of([2.0, 5.0, 0.0, 5.0, 2.0])
    assert low == high
    share = {(0.3, 0.0): 0.7, (0.5, -2.0): 0.5, (-1.0, -1.0): 1.0}[target]
    low, high = fit.range_of([2.0, 5.0, 0.0, 5.0, 4.0])
    assert high - low == pytest.approx(2 * share, abs=1e-9)


def test_a_twin_without_weight_changes_nothing() -> None:
    twins = np.hstack([SQUARE, SQUARE[:, 2:3]])
    assert best_fit(twins, [0.3, 0.0]).is_unique()
    assert best_fit(twins, [0.5, -2.0]).is_unique()


def test_twins_of_the_target() -> None:
    assert best_fit(SQUARE, SQUARE[:, 1]).is_unique()
    twice = best_fit(np.hstack([SQUARE, SQUARE[:, 1:2]]), SQUARE[:, 1])
    assert twice.inside
    assert not twice.is_unique()
    inner = best_fit(np.hstack([SQUARE, [[0.5], [0.5]]]), [0.5, 0.5])  # the donor itself, or the corners around it
    assert inner.inside
    assert not inner.is_unique()
    assert inner.range_of([*AROUND, 9.0]) == pytest.approx((0.0, 9.0), abs=1e-9)


def test_one_period() -> None:
    """On a line: between the donors many pairs fit, at or beyond the end one donor does."""
    line = np.array([[1.0, 2.0, 4.0]])
    between = best_fit(line, [3.0])
    assert between.inside
    assert not between.is_unique()
    assert between.range_of([0.0, 1.0, 0.0]) == pytest.approx((0.0, 0.5), abs=1e-9)  # w: (1/3, 0, 2/3) to (0, .5, .5)
    for target, inside in ((4.0, True), (7.0, False)):
        end = best_fit(line, [target])
        assert end.inside is inside
        assert end.is_unique()
        assert end.range_of([0.0, 1.0, 6.0]) == pytest.approx((6.0, 6.0))


def test_one_donor() -> None:
    alone = best_fit([[1.0], [2.0]], [1.0, 3.0])
    assert (alone.inside, alone.is_unique(), alone.range_of([4.0])) == (False, True, (4.0, 4.0))
    assert alone.distance == pytest.approx(np.sqrt(0.5))


@given(
    m=st.integers(1, 4),
    J=st.integers(1, 7),
    kind=st.sampled_from(["inside", "anywhere", "whole numbers", "a twin", "on a line"]),
    seed=st.integers(0, 10_000),
)
def test_against_all_vertices(m: int, J: int, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(m, J))
    if kind == "whole numbers":
        A = rng.integers(-2, 3, size=(m, J)).astype(float)
    if kind == "a twin":
        A[:, -1] = A[:, 0]
    if kind == "on a line":
        A = np.outer(rng.normal(size=m), rng.integers(-3, 4, size=J)) + rng.normal(size=(m, 1))
    b = A @ rng.dirichlet(np.full(J, 0.5))
    if kind in ("anywhere", "whole numbers"):
        b = rng.normal(size=m) if kind == "anywhere" else rng.integers(-1, 2, size=m).astype(float)
    fit = best_fit(A, b)
    assert fit.inside is not separated(A, b)
    corners = vertices(A, A @ fit.weights)
    values = rng.normal(size=J)
    implied = corners @ values
    assert fit.range_of(values) == pytest.approx((implied.min(), implied.max()), abs=1e-6)
    assert fit.is_unique() is bool(np.ptp(corners, axis=0).max() < 1e-6)


def paths(m: int, J: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Persistent donors, recorded in 64ths, and their futures."""
    rng = np.random.default_rng(seed)
    A = np.round(64 * (rng.normal(size=(m, J)).cumsum(axis=0) + 3 * rng.normal(size=J))) / 64
    return A, np.round(64 * rng.normal(size=(2, J))) / 64, rng.dirichlet(np.full(J, 0.3))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 1e9])
@pytest.mark.parametrize("seed", range(3))
def test_scale_and_offset_do_not_matter(scale: float, offset: float, seed: int) -> None:
    A, post, w = paths(7, 30, seed)
    targets = [A @ w, A[:, 0], (A[:, 1] + A[:, 2]) / 2, A[:, 3] + 5]
    for target in targets:
        plain, moved = best_fit(A, target), best_fit(scale * (A + offset), scale * (target + offset))
        assert moved.inside is plain.inside
        assert moved.is_unique() is plain.is_unique()
        # With the offset the data are rounded to 1e-7, as are the target and what follows from it.
        loose = 1e-7 if offset == 0 else 1e-4
        assert moved.distance == pytest.approx(scale * plain.distance, abs=loose * scale)
        low, high = effect_range(A, target, post)
        found = effect_range(scale * (A + offset), scale * (target + offset), scale * (post + offset))
        assert found == pytest.approx((scale * (low + offset), scale * (high + offset)), abs=loose * scale)


def test_order_of_donors_does_not_matter() -> None:
    A, post, w = paths(9, 60, 5)
    low, high = effect_range(A, A @ w, post)
    assert high - low > 1
    order = np.random.default_rng(6).permutation(60)
    assert effect_range(A[:, order], A @ w, post[:, order]) == pytest.approx((low, high), abs=1e-7)


@pytest.mark.parametrize("distance", [1e3, 1e6])
def test_one_far_donor_does_not_blunt_the_tolerance(distance: float) -> None:
    """The point below the edge stays outside, and the center inside, whatever lies far above."""
    far = np.hstack([SQUARE, [[0.5], [distance]]])
    below = best_fit(far, [0.5, -0.01])
    assert not below.inside
    assert below.is_unique()
    assert below.range_of([*AROUND, 1.0]) == pytest.approx((2.5, 2.5), abs=1e-7)
    assert best_fit(far, [0.5, 0.5]).range_of([*AROUND, 0.0]) == pytest.approx((0.0, 5.0), abs=1e-6)


@pytest.mark.parametrize("alike", [1e-2, 1e-3])
def test_paths_that_hardly_differ(alike: float) -> None:
    """Donors on one trend but for a hundredth: the small differences decide, and rounding does not."""
    rng = np.random.default_rng(3)
    A = np.outer(np.linspace(1, 2, 8), rng.normal(size=40)) + alike * rng.normal(size=(8, 40))
    b, values = A @ rng.dirichlet(np.full(40, 0.3)), rng.normal(size=40)
    fit = best_fit(A, b)
    assert fit.inside
    low, high = fit.range_of(values)
    assert high - low > 0.1
    again = best_fit(1000 * A[:, ::-1], 1000 * b).range_of(values[::-1])
    assert again == pytest.approx((low, high), abs=1e-6)


def test_fewer_periods_widen_the_range() -> None:
    """Perfect fits over all periods are perfect fits over the last ones: exact nesting."""
    A, post, w = paths(12, 50, 11)
    b = A @ w
    ranges = [effect_range(A[-m:], b[-m:], post) for m in (12, 9, 6, 3, 1)]
    for (low, high), (wide_low, wide_high) in pairwise(ranges):
        assert wide_low <= low + 1e-7
        assert wide_high >= high - 1e-7


@pytest.mark.parametrize(
    ("A", "b", "code"),
    [
        ([[1.0, np.nan]], [1.0], "PMG-NOT-FINITE"),
        ([[1.0, 2.0]], [np.inf], "PMG-NOT-FINITE"),
        (np.zeros((2, 0)), [1.0, 2.0], "PMG-NO-DONORS"),
    ],
)
def test_refusals(A: Any, b: Any, code: str) -> None:
    with pytest.raises(NumericalError) as caught:
        best_fit(A, b)
    assert caught.value.code == code


@given(m=st.integers(1, 12), J=st.integers(2, 60), where=st.sampled_from(["in", "out"]), seed=st.integers(0, 10_000))
def test_against_the_oracle(m: int, J: int, where: str, seed: int) -> None:
    """The same answers as general linear programs give, on panels as large as real ones."""
    A, post, w = paths(m, J, seed)
    b = A @ w if where == "in" else A @ w + np.random.default_rng(seed).normal(size=m)
    fit, want = best_fit(A, b), polytope.best_fit(A, b)
    assert fit.inside is want.inside
    assert fit.is_unique() is want.is_unique()
    assert fit.distance == pytest.approx(want.distance, abs=1e-9)
    values = post.mean(axis=0)
    assert fit.range_of(values) == pytest.approx(want.range_of(values), abs=1e-6)


def test_no_program_where_nothing_can_move(monkeypatch: pytest.MonkeyPatch) -> None:
    from pmg_eval.synth import _fit

    monkeypatch.setattr(_fit, "lowest", None)
    fit: BestFit = best_fit(*_california_like())
    assert not fit.inside
    assert fit.is_unique()
    low, high = fit.range_of(np.arange(38.0))
    assert low == high


def _california_like() -> tuple[np.ndarray, np.ndarray]:
    A, _, w = paths(19, 38, 2)
    return A, A @ w + 4 * np.random.default_rng(1).normal(size=19)
