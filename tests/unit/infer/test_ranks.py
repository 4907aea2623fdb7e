"""Rank sets: hand-worked cases, all pairs of all draws at once, and their familywise coverage."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pmg_eval import Covariance, Draws, Estimate
from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import make_terms
from pmg_eval.infer import Ranks, ranks, shrink
from pmg_eval.infer._rank_sets import rank_sets


def areas_of(y: Any, v: Any, scale: Any = "identity", **labels: Any) -> Estimate[Any]:
    k = len(y)
    terms = make_terms({"unit": list("abcdefghijklmnop"[:k]), **labels}, k)
    return Estimate(np.asarray(y, dtype=np.float64), terms, Covariance(np.asarray(v)), scale=scale)


def sets_of(result: Ranks) -> dict[str, tuple[int, int]]:
    return {row.unit: (row.rank_low, row.rank_high) for row in result.table.itertuples()}


# -- by hand -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shared", [0.0, 5.0])
def test_two_areas(shared: float) -> None:
    """One difference with error sqrt(2): told apart beyond 1.96 sqrt(2), whatever error they share."""
    threshold = stats.norm.ppf(0.975) * np.sqrt(2)
    far = ranks(areas_of([0.0, 1.05 * threshold], np.eye(2) + shared))
    near = ranks(areas_of([0.0, 0.95 * threshold], np.eye(2) + shared))
    assert sets_of(far) == {"a": (1, 1), "b": (2, 2)}
    assert sets_of(near) == {"a": (1, 2), "b": (1, 2)}
    assert far.critical == pytest.approx(1.96, abs=3 * far.critical_error)
    assert far.borderline == near.borderline == 0
    assert far.table["shrunk"].isna().all()


def test_identical_areas_may_have_any_rank() -> None:
    result = ranks(areas_of(np.zeros(6), np.eye(6)))
    assert result.table["rank"].tolist() == [1] * 6
    assert set(sets_of(result).values()) == {(1, 6)}


def test_areas_far_apart_have_one_rank() -> None:
    result = ranks(areas_of([30.0, 10.0, 20.0, 0.0], np.eye(4)))
    assert sets_of(result) == {"d": (1, 1), "b": (2, 2), "c": (3, 3), "a": (4, 4)}
    assert result.table["unit"].tolist() == ["d", "b", "c", "a"]
    turned = ranks(areas_of([30.0, 10.0, 20.0, 0.0], np.eye(4)), best="highest")
    assert turned.table["unit"].tolist() == ["a", "c", "b", "d"]


def test_step_down() -> None:
    """Two groups far apart: after the first step only pairs within the groups are open, with a smaller quantile."""
    y = np.array([0.0, 2.9, 100.0, 102.9])
    one = stats.studentized_range.ppf(0.95, 4, np.inf) / np.sqrt(2)  # 2.569: largest of all six differences
    inside = stats.norm.ppf((1 + np.sqrt(0.95)) / 2)  # 2.236: the larger of two
    assert inside < 2.9 / np.sqrt(2) * 1.2 < one * 1.2
    result = ranks(areas_of(y * 1.2, np.eye(4)), draws=40_000)
    assert result.critical == pytest.approx(one, abs=3 * result.critical_error)
    assert 2.9 * 1.2 / np.sqrt(2) < one
    assert sets_of(result) == {"a": (1, 1), "b": (2, 2), "c": (3, 3), "d": (4, 4)}


def test_one_small_noisy_area_among_precise_ones() -> None:
    """The noisy area has the best estimate, and nothing is known about its rank."""
    result = ranks(areas_of([-3.0, -1.0, 0.0, 1.0], np.diag([25.0, 0.001, 0.001, 0.001])))
    assert sets_of(result) == {"a": (1, 4), "b": (1, 2), "c": (2, 3), "d": (3, 4)}
    assert result.table["expected_rank"].iloc[0] > 1.5


# -- against all pairs at once -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
def test_all_pairs_of_all_draws(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, level = 5, 0.9
    root = rng.normal(size=(k, k)) * 0.4 + np.diag(rng.uniform(0.3, 1.5, k))
    errors = rng.normal(size=(499, k)) @ root.T
    score = 3 * rng.normal(size=k)
    found = rank_sets(score, np.cov(errors, rowvar=False), errors, level)
    pairs = list(itertools.permutations(range(k), 2))
    se = {(i, j): np.std(errors[:, i] - errors[:, j], ddof=1) for i, j in pairs}
    rejected: set[tuple[int, int]] = set()
    while True:
        left = [pair for pair in pairs if pair not in rejected]
        largest = np.max([(errors[:, i] - errors[:, j]) / se[i, j] for i, j in left], axis=0)
        quantile = np.sort(largest)[int(np.ceil(level * 500)) - 1]
        new = {(i, j) for i, j in left if (score[i] - score[j]) / se[i, j] > quantile}
        if not rejected:
            assert found.critical == pytest.approx(quantile, rel=1e-12)
        if not new:
            break
        rejected |= new
    assert {tuple(pair) for pair in np.argwhere(found.better).tolist()} == rejected
    assert found.low.tolist() == [1 + sum((j, i) in rejected for j in range(k)) for i in range(k)]
    assert found.high.tolist() == [k - sum((i, j) in rejected for j in range(k)) for i in range(k)]


def test_all_sets_hold_together() -> None:
    """Six areas, two of them equal, a shared error: all ranks inside in at least 95 % of samples, and not in all."""
    rng = np.random.default_rng(4)
    theta = np.array([0.0, 0.0, 0.0, 3.0, 3.0, 9.0])
    v = np.diag([0.5, 1.0, 2.0, 0.5, 1.0, 1.0]) + 4.0
    root = np.linalg.cholesky(v)
    errors = rng.normal(size=(1_000, 6)) @ root.T
    held, told = 0, 0
    samples = 600
    for _ in range(samples):
        found = rank_sets(theta + root @ rng.normal(size=6), v, errors, 0.95)
        # a wrong set needs an area shown better than one that is at least as good
        wrong = found.better & (theta[:, None] <= theta[None, :])
        held += not wrong.any()
        told += int(found.low.max() == 6 or found.high.min() == 1)
    error = np.sqrt(0.95 * 0.05 / samples)
    assert 0.95 - 3 * error < held / samples < 0.999
    assert told / samples > 0.9


# -- shrunken ranks ----------------------------------------------------------------------------------------------------
def test_probability_of_being_best_by_integration() -> None:
    y, v = np.array([-1.0, -0.5, 0.0, 1.5]), np.diag([0.3, 0.6, 0.5, 0.4])
    areas = areas_of(y, v)
    result = ranks(areas, draws=20_000)
    pulled = shrink(areas)
    draws = np.random.default_rng(99).multivariate_normal(pulled.values, pulled.cov(), size=200_000)
    place = stats.rankdata(draws, axis=1)
    table = result.table.set_index("unit").loc[list("abcd")]
    tolerance = 4 * np.sqrt(0.25 / 20_000)
    np.testing.assert_allclose(table["p_best"], (place == 1).mean(axis=0), atol=tolerance)
    np.testing.assert_allclose(table["p_worst"], (place == 4).mean(axis=0), atol=tolerance)
    np.testing.assert_allclose(table["expected_rank"], place.mean(axis=0), atol=4 * 1.2 / np.sqrt(20_000))
    assert table["p_best"].sum() == pytest.approx(1.0)
    assert table["expected_rank"].sum() == pytest.approx(10.0)
    worst = np.maximum(table["p_best"] * (1 - table["p_best"]), table["p_worst"] * (1 - table["p_worst"]))
    np.testing.assert_allclose(table["p_error"], np.sqrt(worst / 20_000), rtol=1e-12)
    np.testing.assert_allclose(table["shrunk"], pulled.values, rtol=1e-12)
    np.testing.assert_allclose(table["shrunk_low"], pulled.to_frame()["conf_low"], rtol=1e-12)


def test_the_picked_area_is_too_extreme_and_its_shrunken_value_is_not() -> None:
    """Effects N(0, 1), errors N(0, 1): the best raw value is off by more than one, the shrunken one is not."""
    rng = np.random.default_rng(6)
    raw, pulled = [], []
    for _ in range(80):
        theta = rng.normal(size=16)
        areas = areas_of(theta + rng.normal(size=16), np.eye(16))
        row = int(np.argmin(areas.values))
        raw.append(areas.values[row] - theta[row])
        pulled.append(shrink(areas, method="parametric").values[row] - theta[row])
    assert np.mean(raw) < -0.8
    assert abs(np.mean(pulled)) < 4 * np.std(pulled) / np.sqrt(80) + 0.1  # tau^2 is estimated from 16 areas


def test_pick_says_what_picking_does() -> None:
    result = ranks(areas_of([-2.0, 0.0, 2.0, 4.0], np.eye(4)))
    best, worst, other = result.pick("best"), result.pick("worst"), result.pick("b")
    assert best["unit"].tolist() == ["a"]
    assert "picked as best of 4" in best["note"][0]
    assert "regression to the mean" in best["note"][0]
    assert f"{best['shrunk'][0]:.4g}" in best["note"][0]
    assert "picked as worst of 4" in worst["note"][0]
    assert worst["shrunk"][0] < worst["estimate"][0]
    assert other["note"].tolist() == [""]
    with pytest.raises(DataError, match="PMG-UNIT"):
        result.pick("z")


# -- laws --------------------------------------------------------------------------------------------------------------
def test_same_seed_same_table_and_scales_do_not_matter() -> None:
    y, v = np.array([0.7, 0.9, 1.0, 1.4, 1.1]), np.diag([0.01, 0.02, 0.03, 0.01, 0.05])
    ratio = areas_of(y, v, scale="log")
    first, again, other = ranks(ratio, rng=3), ranks(ratio, rng=3), ranks(ratio, rng=4)
    pd.testing.assert_frame_equal(first.table, again.table)
    assert not first.table["p_best"].equals(other.table["p_best"])
    logs = ranks(areas_of(np.log(y), v / np.outer(y, y)), rng=3)
    pd.testing.assert_frame_equal(
        first.table[["unit", "rank", "rank_low", "rank_high"]], logs.table[["unit", "rank", "rank_low", "rank_high"]]
    )
    np.testing.assert_allclose(first.table["shrunk"], np.exp(logs.table["shrunk"]), rtol=1e-9)


def test_placebo_law_is_used_as_it_is_and_what_it_cannot_show_has_no_rank() -> None:
    rng = np.random.default_rng(8)
    errors = rng.normal(size=(999, 5))
    p_min = np.array([0.01, 0.01, 1.0, 0.01, 0.06])
    values = np.array([0.0, 4.0, -9.0, 8.0, 1.0])
    areas = Estimate(values, make_terms({"unit": list("abcde"), "p_min": p_min}, 5), Draws(errors, p_min))
    result = ranks(areas)
    assert result.table["unit"].tolist() == ["a", "b", "d"]
    assert result.dropped["unit"].tolist() == ["c", "e"]
    assert "the smallest p is 1" in result.dropped["reason"][0]
    assert result.draws == 999
    used = errors[:, [0, 1, 3]]
    known = rank_sets(-values[[0, 1, 3]], np.cov(used, rowvar=False), -used, 0.95)
    assert result.critical == pytest.approx(known.critical, rel=1e-12)
    assert ranks(areas, level=0.9).table["unit"].tolist() == ["a", "e", "b", "d"]
    bare = ranks(areas, level=0.9)
    np.testing.assert_array_equal(bare.table["conf_low"], areas.take([0, 4, 1, 3]).to_frame(0.9)["conf_low"])


def test_few_degrees_of_freedom_widen_the_sets() -> None:
    y = np.array([0.0, 2.9, 8.0])
    terms = make_terms({"unit": list("abc")}, 3)
    normal = ranks(Estimate(y, terms, Covariance(np.eye(3))))
    heavy = ranks(Estimate(y, terms, Covariance(np.eye(3), df=3.0)))
    expected = stats.studentized_range.ppf(0.95, 3, 3) / np.sqrt(2)  # 4.18 against 2.34
    assert heavy.critical == pytest.approx(expected, abs=3 * heavy.critical_error)
    assert sets_of(normal) == {"a": (1, 2), "b": (1, 2), "c": (3, 3)}
    assert sets_of(heavy) == {"a": (1, 2), "b": (1, 3), "c": (2, 3)}


def test_out() -> None:
    result = ranks(areas_of([-2.0, 0.0, 2.0, 4.0], np.eye(4)))
    saved = result.to_dict()
    assert saved["schema"] == "pmg-eval-ranks/1"
    assert [row["unit"] for row in saved["table"]] == list("abcd")
    assert str(result).startswith("Ranks of 4 areas (lowest is best), 95% simultaneous sets")
    assert repr(result) == str(result)
    assert result.to_frame().columns[0] == "unit"
    copy = result.to_frame()
    copy["rank"] = 0
    assert result.table["rank"].tolist() == [1, 2, 3, 4]


def test_refusals() -> None:
    good = areas_of([-2.0, 0.0, 2.0, 4.0], np.eye(4))
    with pytest.raises(DataError, match="PMG-SHRUNK"):
        ranks(shrink(good))
    for options in ({"best": "smallest"}, {"draws": 0}, {"level": 0.0}):
        with pytest.raises(DataError):
            ranks(good, **options)
    with pytest.raises(DesignError, match=r"1 areas to rank\. What to do: two areas or more"):
        ranks(areas_of([1.0], np.eye(1)))
    law = Draws(np.random.default_rng(1).normal(size=(99, 3)), np.full(3, 0.1))
    with pytest.raises(InferenceError, match="a larger placebo pool"):
        ranks(Estimate(np.arange(3.0), good.terms.iloc[:3], law))
    with pytest.raises(DataError, match="without unit labels"):
        ranks(Estimate(np.arange(3.0), make_terms({"cohort": [1, 2, 3]}, 3), Covariance(np.eye(3)))).pick("a")
