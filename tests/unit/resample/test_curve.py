"""Specification curve: joint tests by hand, the same paths for all, refusals, and uniform p-values under no effect."""

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import pmg_eval as pe
from pmg_eval import did, resample, synth
from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import Estimate, make_terms
from unit.estimate.made import by_covariance
from unit.resample.panels import counts, panel_of, staggered


def changes(values, starts, shift: float = 0.0) -> pe.Panel:
    """Two periods; the outcome is zero before and these values after."""
    n = len(values)
    table = pd.DataFrame({"area": np.repeat(range(n), 2), "year": [1, 2] * n, "start": np.repeat(starts, 2)})
    table["y"] = np.column_stack([np.zeros(n), np.asarray(values) + shift]).ravel()
    table["z"] = table["y"] ** 3
    return pe.Panel(table, unit="area", time="year", cohort="start", never=0)


def difference(panel: pe.Panel, outcome: str, factor: float = 1.0, se: float = 1.0) -> Estimate:
    wide = panel.wide(outcome)
    change, treated = wide[:, -1] - wide[:, 0], np.isfinite(panel.cohort)
    return by_covariance([factor * (change[treated].mean() - change[~treated].mean())], [se])


def test_all_assignments_by_hand() -> None:
    """Changes 5, 1, 2, 3; the differences are 3, -7/3, -1, 1/3 when area 1, 2, 3, 4 is treated.

    Specifications: once and twice that (median 1.5 times), both with SE 1. Observed 3 and 6: both significant, average
    z 9/sqrt(2). Treating area 2 gives -7/3 and -14/3, both significant as well; areas 3 and 4 (-1, -2; 1/3, 2/3) one
    and none.
    """
    both = {"once": difference, "twice": partial(difference, factor=2.0)}
    found = resample.curve(both, changes([5, 1, 2, 3], [2, 0, 0, 0]), "y")
    tests = found.tests.set_index("statistic")
    assert_allclose(tests["observed"], [4.5, 1.0, 9 / np.sqrt(2)], rtol=1e-6)
    assert_allclose(tests["p_value"], [1 / 4, 2 / 4, 1 / 4])
    assert (tests["p_error"] == 0).all()
    assert (tests["p_min"] == 0.25).all()
    assert found.median == 4.5
    assert (found.share_same_sign, found.share_significant) == (1.0, 1.0)
    assert found.table["specification"].tolist() == ["once", "twice"]
    assert_allclose(found.table["p_value"], 2 * stats.norm.sf([3, 6]))
    assert str(found).startswith("2 specifications: median 4.5; 100% share its sign, 100% are significant with it")


def test_a_grid_is_crossed_and_sorted() -> None:
    panel = panel_of(staggered(effect=1.0))
    grid = {"base_period": ["varying", "average"], "anticipation": [0, 1], "controls": [did.NeverTreated()]}
    found = resample.curve(grid, panel, "rate", estimator=did.group_time, draws=0)
    assert len(found.table) == 4
    assert found.table["estimate"].is_monotonic_increasing
    assert found.table["rank"].tolist() == [0, 1, 2, 3]
    for row in found.table.itertuples():
        options = {"base_period": row.base_period, "anticipation": row.anticipation}
        alone = did.group_time(panel, "rate", controls=did.NeverTreated(), **options).average().to_frame(0.95).iloc[0]
        assert_allclose(
            [row.estimate, row.conf_low, row.conf_high], alone[["estimate", "conf_low", "conf_high"]].astype(float)
        )
        assert row.n_treated == 11
    assert set(found.table["controls"]) == {repr(did.NeverTreated())}
    assert found.median == pytest.approx(np.median(found.table["estimate"]))
    assert found.tests.empty
    wide = resample.curve(grid, panel, "rate", estimator=did.group_time, draws=0, level=0.5)
    assert (wide.table["conf_high"] < found.table["conf_high"]).all()


def test_refusals_are_listed_with_their_reason_and_take_no_part() -> None:
    panel = panel_of(staggered(n=30, starts={2004: 6}))
    specs = {
        "good": did.imputation,
        "no column": partial(did.imputation, covariates="~ income"),
        "no ratio": lambda p, y: Estimate(np.array([np.nan]), make_terms({"status": "zero_events"}, 1)),
        "too early": partial(did.group_time, anticipation=9),
    }
    found = resample.curve(specs, panel, "rate", draws=19)
    assert found.table["specification"].iloc[0] == "good"
    reasons = found.table.set_index("specification")["refused"]
    assert reasons["good"] == ""
    assert "PMG-COLUMN" in reasons["no column"]
    assert reasons["no ratio"] == "zero_events"
    assert reasons["too early"].startswith("[PMG-")
    assert found.table["rank"].isna().tolist() == [False, True, True, True]
    assert "(3 refused)" in str(found)
    alone = resample.curve({"good": did.imputation}, panel, "rate", draws=19)
    pd.testing.assert_frame_equal(alone.tests, found.tests)
    with pytest.raises(InferenceError, match="none of 1 specifications"):
        resample.curve({"no column": specs["no column"]}, panel, "rate")


def test_one_specification_is_the_randomization_test() -> None:
    panel = panel_of(staggered(n=10, starts={2004: 2}, effect=1.0))
    overall = lambda p, y: did.imputation(p, y).average()  # noqa: E731
    test = resample.randomize(overall, panel, "rate", draws=45)  # all of them
    found = resample.curve({"imputation": overall}, panel, "rate", draws=45).tests.set_index("statistic")
    assert found.loc["median", "p_value"] == test.p_value
    assert test.p_min == found.loc["median", "p_min"] == 1 / 45
    assert found.loc["median", "observed"] == pytest.approx(abs(test.statistic))


def test_all_panels_and_outcomes_get_the_same_paths() -> None:
    """Two samples with their own start dates: an area is treated in both or in none, with the path of one area."""
    table = staggered(n=12, starts={2004: 2, 2006: 2})
    later = table.assign(start=table["start"].where(table["start"] == 0, table["start"] + 1))
    first, second = panel_of(table), panel_of(later[later["area"] != "a011"])
    seen: list[dict] = []

    def watch(panel: pe.Panel, outcome: str) -> Estimate:
        seen.append(dict(zip(panel.units, panel.cohort, strict=True)))
        return by_covariance([1.0], [1.0])

    found = resample.curve({"watch": watch}, {"expected": first, "started": second}, "rate", draws=15, rng=2)
    assert found.table[["panel", "outcome"]].to_numpy().tolist() == [["expected", "rate"], ["started", "rate"]]
    drawn = list(zip(seen[0::2], seen[1::2], strict=True))
    assert len(drawn) == 16
    assert len({tuple(one.values()) for one, _ in drawn}) > 10
    for one, other in drawn:
        assert sorted(one.values()) == sorted(first.cohort)
        assert {unit: start + 1 for unit, start in one.items() if unit != "a011"} == other
        assert one["a011"] == np.inf  # not in both: it keeps what it has
    with pytest.raises(DesignError, match="not in all panels"):
        resample.curve({"watch": watch}, {"all": first, "some": panel_of(table[table["area"] != "a000"])}, "rate")


def test_eligible_areas_and_levels_of_a_label() -> None:
    panel = panel_of(staggered(n=16, starts={2004: 2}), region="region")
    seen: list[set] = []

    def watch(panel: pe.Panel, outcome: str) -> Estimate:
        seen.append(set(panel.units[np.isfinite(panel.cohort)]))
        return by_covariance([1.0], [1.0])

    resample.curve({"watch": watch}, panel, "rate", eligible=["a002", "a003"], draws=50)
    assert set().union(*seen) == {"a000", "a001", "a002", "a003"}
    assert len(seen) == 1 + 6  # all of them
    seen.clear()
    resample.curve({"watch": watch}, panel, "rate", within="region", draws=50)  # r0 has a000, a008; r1 a001, a009
    assert set().union(*seen) == {"a000", "a008", "a001", "a009"}
    assert len(seen) == 1 + 4


def test_without_standard_errors_the_median_is_still_tested() -> None:
    panel = panel_of(staggered(n=12, starts={2004: 1}, effect=5.0))
    found = resample.curve({"synthetic control": synth.classic}, panel, "rate", draws=39)
    tests = found.tests.set_index("statistic")["p_value"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pe.PmgEvalWarning)  # few donors under some assignments
        alone = resample.randomize(lambda p, y: synth.classic(p, y).average(), panel, "rate", draws=39)
    assert alone.p_min == pytest.approx(1 / 12)
    assert tests["median"] == alone.p_value
    assert tests[["share significant", "average z"]].isna().all()
    assert np.isnan(found.share_significant)


def test_ratios_and_mixed_scales() -> None:
    panel = panel_of(counts(n=30, starts={2004: 8}, effect=-0.3))
    ratios = {
        "imputation": partial(did.imputation, family="poisson"),
        "cells": partial(did.group_time, family="poisson"),
    }
    found = resample.curve(ratios, panel, "suspects", draws=0)
    assert_allclose(found.table["effect"], np.log(found.table["estimate"]))
    assert found.median == pytest.approx(np.exp(np.log(found.table["estimate"]).mean()))
    mixed = resample.curve({**ratios, "difference": did.imputation}, panel, "suspects", draws=9)
    assert mixed.scale == "mixed"
    assert np.isnan(mixed.median)
    assert mixed.tests["p_value"].isna().tolist() == [True, False, False]


def test_p_values_are_uniform_without_an_effect() -> None:
    """60 experiments with 20 equally likely assignments: p of the median on 1/20, ..., 1."""
    rng = np.random.default_rng(11)
    specs = {"once": difference, "cubed": lambda p, y: difference(p, "z", se=5.0)}
    p_values = []
    for _ in range(60):
        panel = changes(rng.normal(size=6), rng.permutation([2, 2, 2, 0, 0, 0]))
        p_values.append(resample.curve(specs, panel, "y", draws=20).tests["p_value"].to_numpy())
    for column in np.array(p_values).T:
        for level in (0.1, 0.2, 0.5):
            rate = (column <= level + 1e-9).mean()
            assert rate <= level + 4 * np.sqrt(level * (1 - level) / 60)


def test_processes_and_checkpoints_do_not_matter(tmp_path: Path) -> None:
    panel = panel_of(staggered(n=16, starts={2004: 3}))
    specs = {"imputation": did.imputation, "cells": did.group_time}
    one = resample.curve(specs, panel, "rate", draws=9, rng=3)
    kept = resample.curve(specs, panel, "rate", draws=9, rng=3, checkpoint=tmp_path / "job")
    again = resample.curve(specs, panel, "rate", draws=9, rng=3, n_jobs=2, checkpoint=tmp_path / "job")
    fresh = resample.curve(specs, panel, "rate", draws=9, rng=3, n_jobs=2)
    for other in (kept, again, fresh):
        assert one.to_dict() == other.to_dict()
    with pytest.raises(DataError, match="another job"):
        resample.curve({"cells": did.group_time}, panel, "rate", draws=9, rng=3, checkpoint=tmp_path / "job")
    assert one.to_dict()["schema"] == "pmg-eval-curve/1"
    pd.testing.assert_frame_equal(one.to_frame(), one.table)


@pytest.mark.parametrize(
    ("specifications", "options"),
    [
        ({}, {}),
        ([did.imputation], {}),
        ({"anticipation": [0, 1]}, {}),
        ({"anticipation": []}, {"estimator": did.group_time}),
        ({"base_period": "varying"}, {"estimator": did.group_time}),
        ({"imputation": did.imputation}, {"draws": -1}),
        ({"imputation": did.imputation}, {"level": 1.0}),
    ],
)
def test_bad_options(specifications: object, options: dict) -> None:
    with pytest.raises(DataError):
        resample.curve(specifications, panel_of(staggered(n=16, starts={2004: 3})), "rate", **options)
    with pytest.raises(DataError):
        resample.curve({"imputation": did.imputation}, panel_of(staggered(n=16, starts={2004: 3})), [])
