"""Conformal inference: hand-worked permutations, refusals, laws."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import pmg_eval as pe
from pmg_eval import did, resample, synth
from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import Estimate
from pmg_eval.estimate.terms import make_terms

pytestmark = pytest.mark.filterwarnings("ignore::pmg_eval.PmgEvalWarning")  # what the real fit says of itself

KEEP = partial(synth.classic, poor_fit="keep")


def against_mean(panel: pe.Panel, outcome: str, *, donors: str = "untreated") -> Estimate[None]:
    """Gap to the mean of the donors, nothing fitted: with donors at zero the residuals are the outcomes."""
    assert donors == "untreated"
    wide = panel.wide(outcome)
    treated = np.flatnonzero(np.isfinite(panel.cohort))
    gap = wide[treated] - wide[~np.isfinite(panel.cohort)].mean(axis=0)
    row, period = np.indices(gap.shape).reshape(2, -1)
    columns = {
        "estimand": "gap",
        "unit": panel.units[treated[row]],
        "period": panel.times[period],
        "event_time": panel.time_codes[period] - panel.cohort[treated[row]].astype(int),
    }
    return Estimate(gap.ravel(), make_terms(columns, gap.size), None, None)


def by_hand(path: list[float], start: int, **more: Any) -> pe.Panel:
    """One treated area with this path, three donors at zero."""
    rows = [("A", t, start, value) for t, value in enumerate(path)]
    rows += [(f"d{j}", t, -1, 0.0) for j in range(3) for t in range(len(path))]
    return pe.Panel(
        pd.DataFrame(rows, columns=["area", "year", "start", "rate"]),
        unit="area", time="year", cohort="start", never=-1, **more,
    )  # fmt: skip


def noise(seed: int, units: int = 7, periods: int = 24, start: int = 20, effect: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rate = rng.normal(10, 1, (units, periods))
    rate[0] = rate[1:4].mean(axis=0) + rng.normal(0, 0.4, periods) + effect * (np.arange(periods) >= start)
    rows = [(f"a{i}", t, start if i == 0 else -1, rate[i, t]) for i in range(units) for t in range(periods)]
    return pd.DataFrame(rows, columns=["area", "year", "start", "rate"])


def panel_of(table: pd.DataFrame) -> pe.Panel:
    return pe.Panel(table, unit="area", time="year", cohort="start", never=-1)


# --- by hand: residuals 1, -1, 2, 0 before the start and 3, -2 after it ----------------------------------------------

HAND = by_hand([1, -1, 2, 0, 3, -2], 4)


def test_cyclic_shifts_by_hand() -> None:
    """Sums of two neighbors on the circle: 2, 3, 2, 3, 5 (what happened), 3."""
    found = resample.conformal(against_mean, HAND, "rate", level=0.8)
    assert found.p_value == 1 / 6
    assert found.p_min == 1 / 6
    assert found.p_error == 0
    assert_allclose(found.statistic, 5 / np.sqrt(2))
    assert_allclose(found.estimate, 0.5)


def test_set_of_constant_effects_by_hand() -> None:
    """S(h) = |3-h| + |2+h|; a second shift reaches it where 1 >= |3-h|: h in [2, 4] has p >= 2/6 > 0.2."""
    found = resample.conformal(against_mean, HAND, "rate", level=0.8)
    assert_allclose([found.conf_low, found.conf_high], [2, 4], atol=2e-6)
    assert found.conf_low >= 2
    assert found.conf_high <= 4


def test_single_periods_by_hand() -> None:
    """Residuals 1, -1, 2, 0 beside 3 - h (or -2 - h): p is the share of absolute values at least as large."""
    table = resample.conformal(against_mean, HAND, "rate", level=0.8).details
    assert table is not None
    assert table["p_value"].tolist() == [1 / 5, 2 / 5]
    assert_allclose(table["conf_low"], [1, -4], atol=3e-6)
    assert_allclose(table["conf_high"], [5, 0], atol=3e-6)
    assert table["event_time"].tolist() == [0, 1]
    assert table["period"].tolist() == [4, 5]
    assert table["n_periods"].tolist() == [5, 5]


def test_iid_permutations_by_hand() -> None:
    """15 pairs of the absolute values 1, 1, 2, 0, 3, 2: two reach 5."""
    found = resample.conformal(against_mean, HAND, "rate", permutations="iid", level=0.8)
    assert found.p_value == 2 / 15
    assert found.p_min == 1 / 15
    squares = resample.conformal(against_mean, HAND, "rate", permutations="iid", q=2, invert=False)
    assert squares.p_value == 2 / 15
    assert_allclose(squares.statistic, np.sqrt(13 / np.sqrt(2)))


def test_a_path_that_is_true_is_not_rejected() -> None:
    found = resample.conformal(against_mean, HAND, "rate", null=[3, -2], invert=False)
    assert found.p_value == 1
    assert found.details is not None
    assert found.details["p_value"].tolist() == [1, 1]
    assert np.isnan([found.level, found.conf_low]).all()


def test_average_effect_by_hand() -> None:
    """Means of pairs: 0, 1 before, 0.5 after; p of the null h is the share of 0, 1, |0.5 - h| at least |0.5 - h|."""
    found = resample.conformal(against_mean, HAND, "rate", average=True, level=0.6)
    assert found.p_value == 2 / 3
    assert found.p_min == 1 / 3
    assert_allclose([found.conf_low, found.conf_high], [-0.5, 1.5], atol=2e-6)
    away = resample.conformal(against_mean, HAND, "rate", average=True, null=[3.0, 1.0], invert=False)
    assert away.p_value == 1 / 3
    longer = by_hand([9, 1, -1, 2, 0, 3, -2], 5)  # the first period fills no block
    assert resample.conformal(against_mean, longer, "rate", average=True, invert=False).p_value == 2 / 3


def test_periods_of_anticipation_are_left_out() -> None:
    found = resample.conformal(against_mean, by_hand([1, -1, 2, 99, 3, -2], 4), "rate", anticipation=1, invert=False)
    assert found.details is not None
    assert found.details["p_value"].tolist() == [1 / 4, 2 / 4]


def test_periods_in_which_the_area_is_not_observed_are_left_out() -> None:
    table = by_hand([1, -1, 2, 0, 3, -2], 4).frame
    table = table[~((table["area"] == "A") & (table["year"] == 3))]
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=-1, missing="pairwise")
    found = resample.conformal(against_mean, panel, "rate", invert=False)
    assert found.details is not None
    assert found.details["p_value"].tolist() == [1 / 4, 2 / 4]


def test_a_started_period_shows_part_of_the_effect() -> None:
    """Half of an effect of 2 shows in the first period: the path 2, 2 leaves nothing."""
    table = by_hand([1, -1, 2, 0, 1, 2], 4).frame
    table["start"] = np.where(table["area"] == "A", 4.5, np.inf)
    panel = pe.Panel(table, unit="area", time="year", cohort="start", partial_period="share")
    found = resample.conformal(against_mean, panel, "rate", null=2.0, invert=False)
    assert found.p_value == 1
    assert_allclose(found.statistic, 0, atol=1e-12)


def test_synthetic_did_leaves_deviations_from_the_mean() -> None:
    """Donors that do not move: time weights are equal, and residuals are 1, -1, 2, 0, 1, 2 minus 5/6."""
    found = resample.conformal(synth.sdid, by_hand([1, -1, 2, 0, 1, 2], 4), "rate", invert=False)
    assert_allclose(found.statistic, 8 / 6 / np.sqrt(2))
    assert found.p_value == 5 / 6


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_level_that_cannot_be_attained_is_refused() -> None:
    panel = by_hand(np.random.default_rng(0).normal(size=14).tolist(), 11)
    with pytest.raises(InferenceError, match=r"PMG-UNATTAINABLE.*p_min = 0\.0714.*level=0\.928.*iid.*placebo"):
        resample.conformal(against_mean, panel, "rate")
    assert resample.conformal(against_mean, panel, "rate", level=0.928).p_min == 1 / 14
    only = resample.conformal(against_mean, panel, "rate", invert=False)
    assert only.note == "14 periods cannot give a p below 0.0714"


def test_twenty_periods_attain_five_percent() -> None:
    """p = 1/20 is small enough for a 5 % test."""
    path = [*np.random.default_rng(0).normal(size=19), 50.0]
    found = resample.conformal(against_mean, by_hand(path, 19), "rate")
    assert found.p_value == 0.05
    assert 0 < found.conf_low < 50 < found.conf_high < 100


def test_single_periods_that_cannot_reject_say_so() -> None:
    path = np.random.default_rng(0).normal(size=24).tolist()
    table = resample.conformal(against_mean, by_hand(path, 16), "rate").details
    assert table is not None
    assert np.isinf(table["conf_low"]).all()
    assert table["status"].str.startswith("17 periods cannot give a p below 0.0588").all()


@pytest.mark.parametrize(
    "estimator", [did.imputation, lambda p, y: did.group_time(p, y), lambda p, y: synth.sdid(p, y)]
)
def test_estimators_without_gaps_before_the_start_are_refused(estimator: Any) -> None:
    with pytest.raises(InferenceError, match="PMG-NO-GAPS"):
        resample.conformal(estimator, panel_of(noise(0)), "rate")


def test_ratios_are_refused() -> None:
    table = noise(0).assign(people=100.0)
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=-1, exposure="people")
    with pytest.raises(InferenceError, match="PMG-SCALE"):
        resample.conformal(partial(KEEP, family="poisson"), panel, "rate")


def test_one_area_at_a_time() -> None:
    table = noise(1)
    second = table[table["area"] == "a0"].assign(area="b", start=21)
    panel = panel_of(pd.concat([table, second]))
    with pytest.raises(DesignError, match="PMG-ONE-AREA"):
        resample.conformal(KEEP, panel, "rate")
    with pytest.raises(DataError, match="PMG-UNIT"):
        resample.conformal(KEEP, panel, "rate", unit="a1")
    with pytest.raises(DataError, match="PMG-UNIT"):
        resample.conformal(KEEP, panel, "rate", unit="nowhere")
    one = resample.conformal(KEEP, panel, "rate", unit="a0", invert=False)
    alone = resample.conformal(KEEP, panel_of(table), "rate", invert=False)
    assert one.p_value == alone.p_value
    assert_allclose(one.statistic, alone.statistic)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"permutations": "all"}, "PMG-OPTION"), ({"q": 0.5}, "PMG-OPTION"), ({"q": np.inf}, "PMG-OPTION"),
        ({"level": 1.0}, "PMG-LEVEL"), ({"draws": 0}, "PMG-DRAWS"), ({"null": [1.0]}, "PMG-SHAPE"),
        ({"null": np.nan}, "PMG-SHAPE"), ({"anticipation": -1}, "PMG-OPTION"),
    ],
)  # fmt: skip
def test_options_are_checked(options: dict[str, Any], code: str) -> None:
    with pytest.raises(DataError, match=code):
        resample.conformal(KEEP, HAND, "rate", **options)


def test_no_average_over_a_past_that_is_too_short() -> None:
    with pytest.raises(DesignError, match="PMG-SHORT-PRE"):
        resample.conformal(against_mean, by_hand([1, 2, 3, 4, 5], 2), "rate", average=True, invert=False)


def test_a_perfect_fit_cannot_be_tested() -> None:
    table = noise(0, periods=6, start=4, units=40)
    found = resample.conformal(KEEP, panel_of(table), "rate", permutations="iid", invert=False)
    assert found.p_value == 1
    assert "the fit leaves nothing" in found.note


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [KEEP, synth.sdid])
def test_interval_and_p_agree(estimator: Any) -> None:
    panel = panel_of(noise(2, periods=21, effect=1.0))
    found = resample.conformal(estimator, panel, "rate")
    width = found.conf_high - found.conf_low
    for edge, sign in ((found.conf_low, 1), (found.conf_high, -1)):
        for step, kept in ((1e-3, True), (-1e-3, False)):
            p = resample.conformal(estimator, panel, "rate", null=edge + sign * step * width, invert=False).p_value
            assert (p > 0.05) == kept


@pytest.mark.parametrize("estimator", [KEEP, synth.sdid])
def test_shift_scale_and_a_constant_effect(estimator: Any) -> None:
    """Effects are in units of the outcome; what all areas share cancels; a known effect moves the set by itself.

    (The penalty of sdid depends on changes between neighboring periods, so for it only a level is shared.)
    """
    table = noise(3, periods=21)
    first = resample.conformal(estimator, panel_of(table), "rate")
    drift = 1000 + (np.sin(table["year"]) if estimator is KEEP else 0)
    after = (table["area"] == "a0") & (table["year"] >= 20)
    changed = table.assign(rate=7 * (table["rate"] + drift + 5 * after))
    second = resample.conformal(estimator, panel_of(changed), "rate", null=35.0)
    assert second.p_value == first.p_value
    assert_allclose(second.conf_low, 7 * (first.conf_low + 5), rtol=1e-4)
    assert_allclose(second.conf_high, 7 * (first.conf_high + 5), rtol=1e-4)
    assert second.details is not None
    assert first.details is not None
    assert second.details["p_value"].tolist() == first.details["p_value"].tolist()


def test_one_call_for_many_nulls_gives_what_single_calls_give() -> None:
    """The area may be in the panel once per null (options ``donors``); a plain function is called for each."""
    panel = panel_of(noise(4, periods=21, effect=0.5))
    many = resample.conformal(KEEP, panel, "rate")
    single = resample.conformal(lambda p, y: KEEP(p, y), panel, "rate")
    assert many.p_value == single.p_value
    assert_allclose([many.conf_low, many.conf_high], [single.conf_low, single.conf_high], atol=1e-5)
    assert many.details is not None
    assert single.details is not None
    assert_allclose(many.details["conf_low"], single.details["conf_low"], atol=1e-5)


def test_same_bits_for_one_and_two_processes() -> None:
    panel = panel_of(noise(5))
    options: dict[str, Any] = {"permutations": "iid", "draws": 200, "rng": 3, "invert": False}
    one = resample.conformal(KEEP, panel, "rate", **options)
    two = resample.conformal(KEEP, panel, "rate", n_jobs=2, **options)
    assert one.p_value == two.p_value
    assert one.details is not None
    pd.testing.assert_frame_equal(one.details, two.details)


def test_random_permutations_agree_with_all_of_them() -> None:
    panel = by_hand(np.random.default_rng(7).normal(size=16).tolist(), 11)  # 4,368 subsets of five
    exact = resample.conformal(against_mean, panel, "rate", permutations="iid", invert=False, draws=5_000)
    drawn = resample.conformal(against_mean, panel, "rate", permutations="iid", invert=False, draws=2_000)
    assert exact.p_error == 0
    assert exact.distribution.startswith("all 4,368")
    assert abs(exact.p_value - drawn.p_value) < 3 * drawn.p_error
    assert drawn.p_min == 1 / 2001
    assert_allclose(drawn.p_error, np.sqrt(drawn.p_value * (1 - drawn.p_value) / 2000))


def test_p_is_uniform_under_exchangeable_noise() -> None:
    """Ten places of one period: p minus a uniform part of 1/10 is exactly uniform."""
    p = []
    rng = np.random.default_rng(11)
    for _ in range(60):
        rate = rng.standard_t(5, size=(5, 10))
        rows = [(i, t, 9 if i == 0 else -1, rate[i, t]) for i in range(5) for t in range(10)]
        panel = panel_of(pd.DataFrame(rows, columns=["area", "year", "start", "rate"]))
        found = resample.conformal(KEEP, panel, "rate", permutations="iid", invert=False)
        p.append(found.p_value - rng.uniform() / 10)
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_the_result_says_what_was_done() -> None:
    found = resample.conformal(KEEP, panel_of(noise(6)), "rate", null=0.5, invert=False)
    assert found.hypothesis == "an effect of 0.5 on 'rate' in a0 in 4 treated periods"
    assert found.provenance.options["null"] == [0.5] * 4
    assert found.provenance.seed == 0
    assert found.method == "conformal, block permutations"
    assert "24 cyclic shifts" in str(found)


def test_a_set_with_a_gap_around_the_null_says_so() -> None:
    """Effects that grow: no effect is rejected, and so is not every constant effect on both sides of it."""
    table = noise(0, periods=16, start=10)
    table.loc[(table["area"] == "a0") & (table["year"] >= 10), "rate"] += 3 * (table["year"] - 10)
    found = resample.conformal(synth.sdid, panel_of(table), "rate", level=0.9)
    assert found.p_value <= 0.1
    assert found.conf_low < 0 < found.conf_high
    assert "the set has a gap: the tested effect lies between its ends and is rejected" in found.note
    assert "gap" not in resample.conformal(synth.sdid, panel_of(table), "rate", invert=False).note
