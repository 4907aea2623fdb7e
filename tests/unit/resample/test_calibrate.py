"""Size and coverage of methods whose size and coverage are known."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pmg_eval as pe
from pmg_eval import did, infer, resample
from pmg_eval.errors import DataError, DesignError
from pmg_eval.estimate import Covariance, Estimate, Test, make_terms
from pmg_eval.resample._calibrate import Default
from unit.resample.panels import counts, panel_of, staggered
from unit.resample.test_power import means_with, normal_panel, overall, ratio, untreated_variance


def coin(panel: pe.Panel, outcome: str) -> Test:
    """Rejects by chance: a p-value that is uniform whatever the data."""
    seed = int(panel.with_values(outcome, panel.column(outcome)).fingerprint[:12], 16)
    return Test("a coin", 0.0, float(np.random.default_rng(seed).uniform()), "uniform")


def test_a_coin_has_its_size_and_no_coverage() -> None:
    found = resample.calibrate(
        normal_panel(60, treated=5), "rate", {"coin": coin}, effects=[-1.0], scale="identity", alpha=0.2, replicates=500
    )
    row = found.table.iloc[0]
    assert row["size"] == pytest.approx(0.2, abs=3 * row["size_error"])
    assert row["size_error"] == pytest.approx(np.sqrt(0.2 * 0.8 / 500), rel=0.1)
    power = found.curve.set_index("effect").loc[-1.0]
    assert power["rejected"] == pytest.approx(0.2, abs=3 * power["error"])
    assert row[["coverage", "width", "bias", "mde"]].isna().all()
    assert row["given"] == row["refused"] == 0
    assert "no coverage" in row["note"]


def test_a_correct_a_narrow_and_a_biased_method_are_told_apart() -> None:
    """Closed forms: half the standard error covers 2 Phi(0.98) - 1 = 67.3 %."""
    panel = normal_panel()
    s2 = untreated_variance(panel)

    def biased(given: pe.Panel, outcome: str) -> Estimate:
        right = means_with(s2)(given, outcome)
        return Estimate(right.values + 0.3, right.terms, right.uncertainty)

    methods = {"right": means_with(s2), "narrow": means_with(s2 / 4), "biased": biased}
    found = resample.calibrate(panel, "rate", methods, effects=[-0.5, -1.2], replicates=100, rng=3)
    table = found.table.set_index("method")
    spread = np.sqrt(s2 * (1 / 30 + 1 / 140))
    for name, coverage in (("right", 0.95), ("narrow", 0.673)):
        row = table.loc[name]
        assert row["size"] == pytest.approx(1 - coverage, abs=3 * row["size_error"])
        assert row["coverage"] == pytest.approx(coverage, abs=3 * row["coverage_error"])
        assert row["bias"] == pytest.approx(0, abs=3 * row["bias_error"])
    assert table["bias_error"]["right"] == pytest.approx(spread / np.sqrt(100), rel=0.25)
    assert table["bias"]["biased"] - table["bias"]["right"] == pytest.approx(0.3)  # the same assignments
    assert table["width"]["narrow"] == pytest.approx(table["width"]["right"] / 2)
    assert table["mde"]["right"] == pytest.approx(-2.802 * spread, abs=3 * table["mde_error"]["right"])
    assert (table[["given"]] == 1).all().all()
    assert (table["note"] == "").all()
    assert found.mde()["method"].tolist() == list(methods)
    assert abs(found.mde(0.5)["effect"][0]) < abs(found.mde(0.8)["effect"][0])


def test_every_method_sees_the_same_data() -> None:
    panel = panel_of(counts(n=60))
    found = resample.calibrate(panel, "suspects", {"one": ratio, "other": ratio}, effects=[0.8], replicates=5)
    one, other = (found.curve[found.curve["method"] == name].drop(columns="method") for name in ("one", "other"))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True), check_exact=True)


def test_the_default_policy_by_its_estimator() -> None:
    """Same numbers as naming the policy oneself; the pool leaves out who is treated in the replicate."""
    panel = panel_of(staggered(n=60, starts={2004: 2}))
    estimator = partial(did.imputation, pretrend=False)
    pool = [f"a{i:03d}" for i in range(10, 60)]
    found = resample.calibrate(panel, "rate", estimator=estimator, effects=[2.0], eligible=pool, replicates=4)
    assert found.table["method"].tolist() == ["default"]
    assert found.table["refused"].tolist() == [0]
    placed = panel.select(~np.isfinite(panel.cohort))
    placed = placed.with_cohort(np.where(np.isin(placed.units, ["a020", "a021"]), 2004.0, np.inf))
    ours = Default(estimator, tuple(pool))(placed, "rate").to_frame()
    rest = [unit for unit in pool if unit not in ("a020", "a021")]
    theirs = infer.default(estimator, placed, "rate", eligible=rest, beside=False).to_frame()
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def test_effects_by_default() -> None:
    panel = normal_panel(80, treated=10)
    found = resample.calibrate(panel, "rate", {"right": means_with(untreated_variance(panel))}, replicates=40)
    detected = found.mde().iloc[0]
    assert detected["direction"] == "decrease"
    assert detected["reason"] == ""  # the default brackets 80 %
    assert resample.calibrate(
        panel_of(counts(n=80)), "suspects", {"guard": ratio}, replicates=2
    ).provenance.options["effects"] == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]  # fmt: skip


def test_another_scale_is_tested_but_not_covered() -> None:
    panel = panel_of(counts(n=60))
    found = resample.calibrate(
        panel, "suspects", {"ratio": ratio, "difference": overall}, effects=[0.9, 0.7, 0.5], replicates=12
    )
    table = found.table.set_index("method")
    assert found.scale == "log"
    assert np.isfinite(table.loc["ratio", ["coverage", "width", "bias"]].astype(float)).all()
    assert table.loc["difference", ["coverage", "width", "bias"]].isna().all()
    assert 0 <= table.loc["difference", "size"] <= 1
    assert table.loc["difference", "note"].startswith("no estimate on the log scale: no coverage")


def test_refusals_are_neither_coverage_nor_size(tmp_path: Path) -> None:
    panel = normal_panel(60, treated=5)

    def half(given: pe.Panel, outcome: str) -> Estimate:
        """Refuses whenever it would have missed; answers with an interval that contains everything."""
        if int(given.fingerprint[0], 16) % 2:
            raise DesignError("PMG-NO", "not today")
        wide = np.array([[1e12]])
        return Estimate(np.array([0.0]), make_terms({"estimand": "att"}, 1), Covariance(wide))

    found = resample.calibrate(
        panel, "rate", {"half": half}, effects=[-1.0], scale="identity", replicates=80, checkpoint=tmp_path / "c.jsonl"
    )
    row = found.table.iloc[0]
    assert 0.2 < row["refused"] < 0.8
    assert row["given"] == pytest.approx(1 - row["refused"])
    assert row["size"] == 0
    assert row["coverage"] == 1
    assert row["coverage_error"] > 0
    assert found.refusals["replicates"].sum() == round(row["refused"] * 160)


def test_what_cannot_be_calibrated() -> None:
    panel = panel_of(staggered(n=60))
    with pytest.raises(DataError, match="PMG-METHODS"):
        resample.calibrate(panel, "rate")
    with pytest.raises(DataError, match="PMG-METHODS"):
        resample.calibrate(panel, "rate", {"default": overall}, estimator=did.imputation)
    with pytest.raises(DataError, match="PMG-OPTION"):
        resample.calibrate(panel, "rate", {"guard": overall}, start=2004, areas=[2, 3], effects=[1.0])
    with pytest.raises(DataError, match="PMG-EFFECTS"):  # nothing to derive them from
        resample.calibrate(panel, "rate", {"coin": coin}, scale="identity")
