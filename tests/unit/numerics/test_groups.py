from __future__ import annotations

import numpy as np
import pytest

from pmg_eval.numerics.groups import first_of_group, group_mean, group_sum

CODES = np.array([3, 0, 3, 1, 0, 3])


@pytest.mark.parametrize("columns", [None, 0, 1, 2, 3, 7])
def test_group_sum_is_the_loop(columns: int | None) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=6 if columns is None else (6, columns))
    expected = np.stack([values[g == CODES].sum(axis=0) for g in range(5)])
    np.testing.assert_allclose(group_sum(CODES, values, 5), expected, atol=1e-15)


@pytest.mark.parametrize("order", ["C", "F"])
def test_group_sum_does_not_depend_on_memory_order(order: str) -> None:
    values = np.asarray(np.random.default_rng(2).normal(size=(6, 4)), order=order)  # type: ignore[call-overload]
    np.testing.assert_array_equal(group_sum(CODES, values, 4), group_sum(CODES, values.copy(), 4))


def test_unsigned_integers_and_booleans_do_not_wrap() -> None:
    counts = np.array([200, 100, 100, 7, 0, 255], dtype=np.uint8)
    np.testing.assert_array_equal(group_sum(CODES, counts, 4), [100.0, 7.0, 0.0, 555.0])
    np.testing.assert_array_equal(group_sum(CODES, counts > 50, 4), [1.0, 0.0, 0.0, 3.0])


def test_group_mean_weighted_and_empty() -> None:
    values = np.arange(6.0)
    w = np.array([1.0, 2.0, 0.0, 0.0, 6.0, 1.0])
    np.testing.assert_allclose(group_mean(CODES, values, 4), [2.5, 3.0, np.nan, 7 / 3])
    np.testing.assert_allclose(group_mean(CODES, values, 4, w), [26 / 8, np.nan, np.nan, 2.5])
    both = group_mean(CODES, np.column_stack([values, -values, values**2]), 4, w)
    np.testing.assert_allclose(both[:, 1], [-26 / 8, np.nan, np.nan, -2.5])


def test_first_of_group() -> None:
    np.testing.assert_array_equal(first_of_group(CODES, 5), [1, 3, -1, 0, -1])
    assert first_of_group(np.zeros(0, dtype=np.int64), 2).tolist() == [-1, -1]


def test_no_rows() -> None:
    none = np.zeros(0, dtype=np.int64)
    np.testing.assert_array_equal(group_sum(none, np.zeros(0), 3), np.zeros(3))
    np.testing.assert_array_equal(group_sum(none, np.zeros((0, 4)), 3), np.zeros((3, 4)))
