from __future__ import annotations

import numpy as np
import pytest

from pmg_eval.errors import NumericalError
from pmg_eval.numerics.absorb import TwoWay, two_way
from pmg_eval.numerics.groups import group_sum
from pmg_eval.numerics.wls import lstsq

Panel = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def panel(n: int = 30, T: int = 7, keep: float = 0.7, seed: int = 0) -> Panel:
    """Rows in random order: unit, time, weight, two columns."""
    rng = np.random.default_rng(seed)
    cell = rng.permutation(n * T)[: int(keep * n * T)]
    columns = rng.normal(size=(cell.size, 2)) + rng.normal(size=(n, 2))[cell // T]
    return cell // T, cell % T, rng.exponential(size=cell.size), columns


def by_dummies(unit: np.ndarray, time: np.ndarray, columns: np.ndarray, w: np.ndarray | None) -> np.ndarray:
    X = np.column_stack([unit[:, None] == np.unique(unit), time[:, None] == np.unique(time)]).astype(float)
    return lstsq(X, columns, w).resid


@pytest.mark.parametrize("keep", [1.0, 0.7, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_residuals_are_those_of_dummies(keep: float, weighted: bool) -> None:
    unit, time, w, columns = panel(keep=keep)
    weight = w if weighted else None
    within = two_way(columns, unit, time, weight)
    np.testing.assert_allclose(within, by_dummies(unit, time, columns, weight), atol=1e-12)
    np.testing.assert_allclose(two_way(columns[:, 1], unit, time, weight), within[:, 1], atol=1e-14)


def test_closed_form_of_a_balanced_panel_has_the_digits_of_the_general_form() -> None:
    unit, time, _, columns = panel(keep=1.0)
    closed, general = TwoWay(unit, time, 30, 7), TwoWay(unit, time, 30, 7, np.ones(210))
    assert closed.balanced
    assert not general.balanced
    np.testing.assert_allclose(closed.residualize(columns), general.residualize(columns), atol=1e-14)
    np.testing.assert_allclose(closed.schur_pinv, general.schur_pinv, atol=1e-16)
    for one, other in zip(closed.solve(columns), general.solve(columns), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-14)
    assert (closed.rank, closed.components) == (general.rank, general.components) == (36, 1)
    np.testing.assert_array_equal(closed.component_unit, general.component_unit)
    np.testing.assert_array_equal(closed.unit_weight_sum, general.unit_weight_sum)
    np.testing.assert_array_equal(closed.time_weight_sum, general.time_weight_sum)
    np.testing.assert_array_equal(closed.cell_weight, general.cell_weight)


def test_a_repeated_cell_is_not_balanced() -> None:
    unit, time = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])
    assert not TwoWay(unit, time, 2, 2).balanced
    y = np.array([1.0, 3.0, 5.0, 7.0])
    np.testing.assert_allclose(two_way(y, unit, time), [-1.0, 1.0, 0.0, 0.0], atol=1e-15)


@pytest.mark.parametrize("keep", [1.0, 0.6])
def test_weighted_residuals_are_orthogonal_to_the_effects(keep: float) -> None:
    unit, time, w, columns = panel(keep=keep)
    within = two_way(1e9 + columns, unit, time, w)
    assert np.abs(group_sum(unit, w[:, None] * within, 30)).max() < 1e-13
    assert np.abs(group_sum(time, w[:, None] * within, 7)).max() < 1e-13


def test_effects_added_to_a_column_do_not_matter() -> None:
    unit, time, w, columns = panel()
    rng = np.random.default_rng(9)
    a, d = 1e3 * rng.normal(size=30), 1e3 * rng.normal(size=7)
    moved = columns + (a[unit] + d[time])[:, None]
    np.testing.assert_allclose(two_way(moved, unit, time, w), two_way(columns, unit, time, w), atol=1e-11)


def test_solve_recovers_normalized_effects() -> None:
    unit, time, w, _ = panel()
    rng = np.random.default_rng(9)
    a, d = rng.normal(size=30), rng.normal(size=7)
    d -= d.mean()
    found_a, found_d = TwoWay(unit, time, 30, 7, w).solve(a[unit] + d[time])
    np.testing.assert_allclose(found_a, a, atol=1e-13)
    np.testing.assert_allclose(found_d, d, atol=1e-13)


def test_schur_pinv_is_the_moore_penrose_inverse() -> None:
    unit, time, w, _ = panel()
    effects = TwoWay(unit, time, 30, 7, w)
    B = np.zeros((30, 7))
    B[unit, time] = w
    S = np.diag(B.sum(axis=0)) - (B / B.sum(axis=1, keepdims=True)).T @ B
    np.testing.assert_allclose(effects.schur_pinv, np.linalg.pinv(S, hermitian=True), atol=1e-14)
    np.testing.assert_allclose(effects.cell_weight, B, rtol=1e-15)


def test_disconnected_sets_absent_codes_and_rank() -> None:
    # {0,1} x {0,1}, {2} x {3} and {4} x {4,5} do not touch; unit 3 and time 2 have no weight.
    unit = np.array([0, 0, 1, 1, 2, 4, 4, 3, 3])
    time = np.array([0, 1, 0, 1, 3, 4, 5, 2, 0])
    w = np.array([1.0, 2, 1, 1, 1, 1, 1, 0, 0])
    y = np.array([1.0, 2, 3, 5, 7, 11, 13, 17, 19])
    effects = TwoWay(unit, time, 5, 6, w)
    assert effects.components == 3
    assert effects.rank == 4 + 5 - 3
    assert effects.rank == lstsq(np.column_stack([unit[:, None] == range(5), time[:, None] == range(6)]), y, w).rank
    np.testing.assert_array_equal(effects.component_time, [0, 0, -1, 1, 2, 2])
    np.testing.assert_array_equal(effects.component_unit, [0, 0, 1, -1, 2])
    a, d = effects.solve(y)
    assert np.isnan(a[3])
    assert np.isnan(d[2])
    assert np.isfinite(a[[0, 1, 2, 4]]).all()
    np.testing.assert_allclose([d[0] + d[1], d[3], d[4] + d[5]], 0, atol=1e-15)
    within = effects.residualize(y)
    np.testing.assert_allclose(within[:7], by_dummies(unit[:7], time[:7], y[:7], w[:7]), atol=1e-14)
    np.testing.assert_array_equal(within[7:], 0)
    np.testing.assert_array_equal(effects.estimable(np.array([0, 0, 3]), np.array([1, 3, 0])), [True, False, False])


def test_rows_of_weight_zero_get_the_prediction_error() -> None:
    unit, time, w, columns = panel(n=20, keep=1.0)
    w[:30] = 0
    effects = TwoWay(unit, time, 20, 7, w)
    a, d = effects.solve(columns)
    np.testing.assert_allclose(effects.residualize(columns), columns - a[unit] - d[time], atol=1e-14)
    changed = columns.copy()
    changed[:30] += 5
    np.testing.assert_allclose(effects.residualize(changed)[30:], effects.residualize(columns)[30:], atol=1e-14)
    np.testing.assert_allclose(
        effects.residualize(columns)[30:], two_way(columns[30:], unit[30:], time[30:], w[30:], 20, 7), atol=1e-14
    )


def test_repeated_cross_sections_fit_every_row() -> None:
    # Every row its own unit: nothing is left, every period is a component, and the weights stay sparse.
    time = np.arange(1000) % 20
    effects = TwoWay(np.arange(1000), time, 1000, 20)
    assert effects.components == 20
    assert effects.rank == 1000
    assert not isinstance(effects.cell_weight, np.ndarray)
    np.testing.assert_array_equal(effects.residualize(np.random.default_rng(0).normal(size=1000)), 0)


def test_sparse_and_dense_weights_agree() -> None:
    rng = np.random.default_rng(5)
    unit, time = rng.integers(0, 80, size=500), rng.integers(0, 60, size=500)
    w, y = rng.exponential(size=500), rng.normal(size=(500, 4))
    sparse, dense = TwoWay(unit, time, 80, 60, w), TwoWay(np.tile(unit, 4), np.tile(time, 4), 80, 60, np.tile(w, 4) / 4)
    assert not isinstance(sparse.cell_weight, np.ndarray)
    assert isinstance(dense.cell_weight, np.ndarray)
    np.testing.assert_allclose(sparse.schur_pinv, dense.schur_pinv, atol=1e-12)
    np.testing.assert_allclose(sparse.residualize(y), dense.residualize(np.tile(y, (4, 1)))[:500], atol=1e-12)


@pytest.mark.parametrize("light", [1e-6, 1e-9, 1e-12])
def test_a_period_of_very_small_weight_is_fitted_as_well_as_the_others(light: float) -> None:
    unit, time, w, columns = panel()
    w = w * np.where(time == 3, light, 1.0) * np.where(unit == 2, 1e6, 1.0)
    within = two_way(columns, unit, time, w)
    relative = np.abs(group_sum(time, w[:, None] * within, 7)) / group_sum(time, w, 7)[:, None]
    assert relative.max() < 1e-14
    np.testing.assert_allclose(within, by_dummies(unit, time, columns, w), atol=1e-9)


def test_influence_of_a_row_on_a_prediction() -> None:
    """The documented algebra is the derivative of the prediction with respect to the weight of a row."""
    unit, time, w, columns = panel(n=8, T=4, keep=0.8)
    y = columns[:, 0]
    effects = TwoWay(unit, time, 8, 4, w)
    a, d = effects.solve(y)
    s = w * (y - a[unit] - d[time])
    share = effects.cell_weight / effects.unit_weight_sum[:, None]
    i, t, row = int(unit[0]), int((time[0] + 1) % 4), 5
    spread = (np.eye(4)[t] - share[i]) @ effects.schur_pinv @ (np.eye(4)[time[row]] - share[unit[row]])
    predicted = s[row] * ((unit[row] == i) / effects.unit_weight_sum[i] + spread)
    step = 1e-5
    shifted = []
    for sign in (1, -1):
        moved = w.copy()
        moved[row] *= 1 + sign * step
        a, d = TwoWay(unit, time, 8, 4, moved).solve(y)
        shifted.append(a[i] + d[t])
    assert (shifted[0] - shifted[1]) / (2 * step) == pytest.approx(predicted, rel=1e-6, abs=1e-10)


def test_refusals() -> None:
    with pytest.raises(NumericalError, match="PMG-WEIGHT") as caught:
        TwoWay(np.array([0, 1]), np.array([0, 1]), 2, 2, np.array([1.0, -1.0]))
    assert caught.value.where == (1,)
    with pytest.raises(NumericalError, match="PMG-WEIGHT"):
        TwoWay(np.array([0, 1]), np.array([0, 1]), 2, 2, np.array([1.0, np.nan]))
    unit, time = np.repeat(np.arange(5), 4), np.tile(np.arange(4), 5)
    w = np.where((unit < 2) == (time < 2), 1.0, 1e-18)
    with pytest.raises(NumericalError, match="PMG-NEARLY-DISCONNECTED"):
        TwoWay(unit, time, 5, 4, w)


def test_the_smallest_panels() -> None:
    assert TwoWay(np.zeros(1, int), np.zeros(1, int), 1, 1).residualize(np.ones(1)).tolist() == [0.0]
    empty = TwoWay(np.zeros(0, int), np.zeros(0, int), 2, 3)
    assert (empty.components, empty.rank) == (0, 0)
    assert empty.residualize(np.zeros((0, 2))).shape == (0, 2)
