"""Laws given by draws: intervals by inversion, and p-values dual to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse, stats

from pmg_eval.errors import InferenceError
from pmg_eval.estimate import Draws, Estimate, independent, make_terms

LEVELS = [0.01, 0.07, 0.3, 0.5, 0.9, 0.93, 0.95, 0.99]


def estimate(values, errors, p_min=None, scale="identity", **columns) -> Estimate[None]:
    values = np.atleast_1d(np.asarray(values, dtype=float))
    errors = np.asarray(errors, dtype=float).reshape(-1, len(values))
    p_min = np.full(len(values), 1 / (len(errors) + 1)) if p_min is None else np.asarray(p_min, dtype=float)
    columns = {"unit": [f"area {i}" for i in range(len(values))], "interval": "placebo", **columns}
    return Estimate(values, make_terms(columns, len(values)), Draws(errors, p_min), scale=scale)


def test_by_hand() -> None:
    """Errors 1..19 in size: the 90 % half width is the 18th, and 18.5 is passed by one of 19."""
    found = estimate(18.5, np.arange(1, 20) * np.tile([1, -1], 10)[:19])
    frame = found.to_frame(0.9)
    assert frame[["conf_low", "conf_high"]].to_numpy().tolist() == [[0.5, 36.5]]
    assert frame["p_value"].tolist() == [2 / 20]
    assert found.to_frame(0.95)["conf_low"].tolist() == [-0.5]  # 19 draws can just give 95 %
    assert np.isnan(found.to_frame(0.96)["conf_low"][0])
    assert frame["std_error"][0] == pytest.approx(found.uncertainty.errors.std(ddof=1))
    assert frame["method"].tolist() == ["draws, by inversion"]


@given(
    seed=st.integers(0, 10**6),
    count=st.sampled_from([9, 19, 99, 250]),
    value=st.floats(-4, 4),
    whole=st.booleans(),
    floor=st.sampled_from([0.0, 0.04, 0.06, 1.0]),
)
def test_interval_and_p_are_dual_at_every_level(seed: int, count: int, value: float, whole: bool, floor: float) -> None:
    """0 lies outside the interval of level 1 - a exactly when p <= a; where a is not attainable there is none."""
    errors = np.random.default_rng(seed).normal(size=count)
    errors, value = (np.round(errors), round(value)) if whole else (errors, value)
    found = estimate(value, errors, [max(floor, 1 / (count + 1))])
    p = found.to_frame()["p_value"][0]
    assert p >= found.uncertainty.p_min[0]
    for level in LEVELS:
        ends = found.to_frame(level).iloc[0]
        attainable = 1 - level >= found.uncertainty.p_min[0] * (1 - 1e-9)
        assert np.isfinite(ends["conf_low"]) == attainable
        if not attainable or (whole and value == 0):
            continue
        half = ends["conf_high"] - value
        if abs(half - abs(value)) < 1e-9 and not whole:
            continue
        outside = abs(value) > half
        if whole and abs(value) == half:  # a tie counts as at least as large, on both sides of the duality
            assert p > 1 - level - 1e-9
        else:
            assert outside == (p <= 1 - level + 1e-9)


@pytest.mark.parametrize("count", [19, 100, 250, 999])
def test_interval_and_p_change_sides_at_the_same_draw(count: int) -> None:
    """A value between any two neighbouring draws: outside the interval of level 1 - a exactly when p <= a."""
    errors = np.random.default_rng(count).normal(size=count)
    size = np.r_[0, np.sort(np.abs(errors)), 9]
    for value in (size[:-1] + size[1:])[:: max(1, count // 40)] / 2:
        found = estimate(value, errors)
        p = found.to_frame()["p_value"][0]
        for level in LEVELS:
            low = found.to_frame(level)["conf_low"][0]
            if np.isfinite(low):
                assert (low > 0) == (p <= 1 - level + 1e-12), (value, level)


def test_ratios_are_inverted_on_the_log_scale() -> None:
    """Errors are on the natural scale; to first order they are value times the error of the log."""
    errors = 0.5 * np.random.default_rng(0).normal(size=999) * 0.2
    frame = estimate(0.5, errors, scale="log").to_frame().iloc[0]
    assert frame["conf_low"] * frame["conf_high"] == pytest.approx(0.25)
    half = np.sort(np.abs(errors / 0.5))[949]
    assert frame["conf_high"] == pytest.approx(0.5 * np.exp(half))
    want = (1 + (np.abs(errors / 0.5) >= abs(np.log(0.5))).sum()) / 1000
    assert frame["p_value"] == pytest.approx(want)


def test_a_ratio_of_zero_is_silent() -> None:
    frame = estimate([0.0, 0.5], np.random.default_rng(0).normal(size=(99, 2)), scale="log").to_frame()
    assert frame.loc[0, ["p_value", "conf_low", "conf_high"]].isna().all()
    assert frame.loc[1, ["p_value", "conf_low"]].notna().all()


def test_maps_act_draw_by_draw_and_attain_more_together() -> None:
    errors = np.random.default_rng(1).normal(size=(999, 2))
    found = estimate([1.0, 2.0], errors, [0.02, 0.05])
    both = found.map([[0.5, 0.5], [1.0, 0.0]])
    assert_allclose(both.uncertainty.errors, errors @ [[0.5, 1], [0.5, 0]])
    assert_allclose(both.uncertainty.p_min, [0.001, 0.02])
    assert_allclose(both.cov(), np.cov(errors @ [[0.5, 1], [0.5, 0]], rowvar=False))
    assert both.terms["interval"].tolist() == ["placebo"] * 2
    applied = found.apply(lambda x: 3 * x, lambda x: 3 + 0 * x)
    assert_allclose(applied.uncertainty.errors, 3 * errors)
    assert_allclose(applied.uncertainty.p_min, [0.02, 0.05])
    assert_allclose(applied.to_frame()["p_value"], found.to_frame()["p_value"])
    assert_allclose(found.take([1]).uncertainty.p_min, [0.05])


def test_a_missing_area_does_not_spoil_the_others() -> None:
    errors = np.random.default_rng(1).normal(size=(999, 3))
    errors[:, 1] = np.nan
    found = estimate([1.0, np.nan, 2.0], errors)
    assert found.to_frame()["conf_low"].notna().tolist() == [True, False, True]
    assert found.map([[1.0, 0.0, -1.0]]).to_frame()["conf_low"].notna().all()


def test_a_joint_test_refers_to_the_draws() -> None:
    errors = np.random.default_rng(3).normal(size=(1_999, 2))
    found = estimate([0.4, -2.6], errors, [0.01, 0.02])
    joint = found.test()
    inverse = np.linalg.inv(np.cov(errors, rowvar=False))
    size = np.einsum("ri,ij,rj->r", errors, inverse, errors)
    statistic = np.array([0.4, -2.6]) @ inverse @ [0.4, -2.6]
    assert joint.statistic == pytest.approx(statistic)
    assert joint.p_value == pytest.approx(max((1 + (size >= statistic).sum()) / 2_000, 0.02))
    assert joint.p_min == 0.02
    assert joint.distribution == "1,999 draws"
    for unit in ("area 0", "area 1"):
        one = found.where(unit=unit)
        assert one.test().p_value == one.to_frame()["p_value"][0]
    with pytest.raises(InferenceError):
        estimate([1.0], np.full(99, np.nan)).test()


def test_covariance_ignores_no_kernel() -> None:
    errors = np.random.default_rng(3).normal(size=(50, 1))
    found = estimate(1.0, errors)
    assert found.cov(independent()).shape == (1, 1)
    assert found.se[0] == pytest.approx(errors.std(ddof=1))


# --- laws from a pool of J placebos ----------------------------------------------------------------------------------


def pooled(j: int, areas: int, draws: int = 1_980) -> Draws:
    """J placebo errors, each equally often, for every area independently."""
    rng = np.random.default_rng(j)
    placebo = rng.normal(size=j)
    repeats = np.tile(np.arange(j), -(-draws // j))[:draws]
    errors = np.column_stack([placebo[rng.permutation(repeats)] for _ in range(areas)])
    own = np.full(areas, 1 / (j + 1))
    score = rng.permutation((np.arange(draws) + 0.5) / draws)
    return Draws(errors, own, sparse.eye_array(areas, format="csr", dtype=bool), own, own, score)


@pytest.mark.parametrize("j", [19, 20, 22, 33, 36])
def test_one_area_is_judged_by_its_rank_among_the_placebos_and_itself(j: int) -> None:
    law = pooled(j, 1, draws=60 * j)
    placebo = np.unique(law.errors)
    for found in (0.0, 0.3, -1.1, 9.0):
        rank = (1 + (np.abs(placebo) >= abs(found)).sum()) / (1 + j)
        assert_allclose(law.p_value(np.array([found])), [rank], rtol=1e-12)
        assert law.p_value(np.array([found]))[0] <= 1
        for level in (0.5, 0.8, 0.9, 0.95):
            half = law.half_width(level)[0]
            if abs(rank - (1 - level)) > 1e-9:  # at equality the placebo itself is the end
                assert (abs(found) > half) == (rank < 1 - level)


def test_an_average_knows_its_scale_as_well_as_j_placebos_tell() -> None:
    law = pooled(30, 4)
    mean = law.map(np.full((1, 4), 0.25))
    assert mean.score is not None
    mixed = np.abs(law.errors.mean(axis=1)) * np.sqrt(30 / stats.chi2.ppf(mean.score, 30))
    assert_allclose(np.abs(mean.judged()[:, 0]), mixed, rtol=1e-10)
    assert_allclose(mean.p_value(np.array([0.4])), [(1 + (mixed >= 0.4).sum()) / (1 + len(mixed))])
    again = law.map(np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])).map(np.array([[0.5, 0.5]]))
    assert_allclose(again.judged(), mean.judged(), rtol=1e-12)  # an average of averages is mixed once
    assert_allclose(mean.variance(independent()), law.errors.mean(axis=1).var(ddof=1))  # the law itself is raw


def test_the_error_of_a_rank_is_that_of_the_drawn_share() -> None:
    law = pooled(24, 1, draws=2_400)
    assert_allclose(law.p_error(np.array([13 / 25])), [24 / 25 * np.sqrt(0.5 * 0.5 / 2_400)])
    assert law.p_error(np.array([1.0]))[0] == 0
