"""Many simplex problems at once, against each of them alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmg_eval.numerics import simplex
from pmg_eval.numerics import simplex_many as module
from pmg_eval.numerics.simplex import simplex_lstsq
from pmg_eval.numerics.simplex_many import SimplexFits, simplex_many


@pytest.fixture(scope="module", autouse=True)
def _with_a_start() -> Iterator[None]:
    """An old scipy, whose nnls is slow, is used here all the same: otherwise nothing would be settled together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simplex, "_nnls_is_compiled", lambda: True)
        yield


def walks(m: int, J: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(m, J)).cumsum(axis=0) + np.arange(m)[:, None]


def agree(found: SimplexFits, columns: np.ndarray, goals: np.ndarray, without: np.ndarray, *, atol: float) -> None:
    for i in np.flatnonzero(found.settled):
        kept = np.arange(columns.shape[1]) != without[i]
        alone = simplex_lstsq(columns[:, kept], goals[:, i])
        weights = found.weights[i]
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1, abs=1e-12)
        if without[i] >= 0:
            assert weights[without[i]] == 0
        scale = np.square(columns - goals[:, [i]]).sum(axis=0).max()
        assert found.objective[i] == pytest.approx(alone.objective, rel=1e-9, abs=1e-13 * scale)
        if alone.objective > 1e-9 * scale:
            np.testing.assert_allclose(weights[kept], alone.weights, atol=atol)
            rest = goals[:, i] - columns @ weights
            slack = rest @ (columns @ weights - columns.T).T / np.linalg.norm(rest)
            np.testing.assert_allclose(found.slack[i][kept], slack[kept], atol=1e-6 * np.sqrt(scale))


@pytest.mark.parametrize(("m", "J"), [(19, 38), (4, 60), (30, 12), (5, 2), (1, 9)])
@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_every_unit_against_the_others(m: int, J: int, offset: float) -> None:
    columns = walks(m, J, seed=m) + offset
    own = np.arange(J)
    found = simplex_many(columns, columns, own)
    assert found.settled.mean() > 0.9 or J == 2  # of one donor the gap is all rounding
    assert (found.kkt_gap[found.settled] <= 1e-12).all()
    assert np.isinf(found.slack[own, own][found.settled]).all()
    agree(found, columns, columns, own, atol=1e-7 if offset else 1e-11)


@settings(deadline=None)
@given(
    m=st.integers(1, 8),
    J=st.integers(2, 25),
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["whole", "copies", "nearly", "zero", "scales", "collinear"]),
)
def test_whatever_the_columns_are_like(m: int, J: int, seed: int, kind: str) -> None:
    """What is called settled is right, and nothing warns."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(m, J))
    if kind == "whole":
        columns = np.round(columns)
    if kind == "copies":
        columns = columns[:, rng.integers(0, J, J)]
    if kind == "nearly":
        columns = columns[:, rng.integers(0, 2, J)] + 1e-13 * columns
    if kind == "zero":
        columns[:, rng.random(J) < 0.5] = 0.0
    if kind == "scales":
        columns = columns * 10.0 ** rng.integers(-150, 150, J)
    if kind == "collinear":
        columns = columns[:, :1] * rng.normal(size=J)
    own = np.arange(J)
    found = simplex_many(columns, columns, own)
    for i in np.flatnonzero(found.settled):
        away = np.delete(columns, i, 1) - columns[:, [i]]
        size = np.abs(away).max()
        if size > 0:
            best = np.linalg.norm(away / size @ simplex_lstsq(away / size, np.zeros(m)).weights)
            mine = np.linalg.norm(away / size @ np.delete(found.weights[i], i))
            assert mine <= best + 1e-9


def test_targets_that_are_no_columns() -> None:
    columns, goals = walks(12, 50, 1), walks(12, 20, 2)
    found = simplex_many(columns, goals)
    assert found.settled.all()
    agree(found, columns, goals, np.full(20, -1), atol=1e-11)


def test_in_blocks_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = walks(8, 30, 3)
    whole = simplex_many(columns, columns, np.arange(30))
    monkeypatch.setattr(module, "_BLOCK", 7)
    parts = simplex_many(columns, columns, np.arange(30))
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-13)
    assert np.array_equal(parts.settled, whole.settled)


def test_what_is_not_certain_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly equal columns, a start that misses the support, a start that fails, one column and no column."""
    columns = walks(10, 6, 4)
    nearly = np.hstack([columns, columns * (1 + 1e-13)])
    found = simplex_many(nearly, nearly, np.arange(12))
    agree(found, nearly, nearly, np.arange(12), atol=np.inf)
    assert simplex_many(columns[:, :1], columns[:, 1:]).weights.tolist() == [[1.0]] * 5
    assert not simplex_many(columns[:, :1], columns[:, :1], np.zeros(1, dtype=int)).settled.any()
    monkeypatch.setattr(module, "nnls_start", lambda away, _: np.eye(away.shape[1])[0])
    wrong = simplex_many(columns, columns, np.arange(6))
    right = [simplex_lstsq(np.delete(columns, i, 1), columns[:, i]).active.tolist() == [0] for i in range(6)]
    assert wrong.settled.tolist() == right
    monkeypatch.setattr(module, "nnls_start", lambda away, _: None)
    assert not simplex_many(columns, columns, np.arange(6)).settled.any()  # as with an old scipy
