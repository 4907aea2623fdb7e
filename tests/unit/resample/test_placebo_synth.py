"""Placebo laws of synthetic controls: who is compared with whom, and what the fit before the start says."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import nnls

import pmg_eval as pe
from pmg_eval import did, resample, synth
from pmg_eval.errors import DesignError, PmgEvalWarning
from pmg_eval.estimate import Estimate
from pmg_eval.resample import _area_placebos
from pmg_eval.resample._area_effects import joint, without_law
from pmg_eval.resample._options import against_others, by_unit, enumerates, named_donors
from unit.resample.panels import counts, panel_of, staggered

STARTS = {2006: 2, 2007: 2}
keep = partial(synth.classic, poor_fit="keep")


def quiet(*args: Any, **options: Any) -> Estimate[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        return resample.placebo(*args, **{"draws": 199, **options})


@pytest.fixture(scope="module")
def panel() -> pe.Panel:
    return panel_of(staggered(seed=3, n=46, periods=14, starts=STARTS, effect=1.0))


@pytest.fixture(scope="module")
def areas(panel: pe.Panel) -> Estimate[Any]:
    return quiet(keep, panel, "rate")


def gap(others: np.ndarray, own: np.ndarray, before: int) -> np.ndarray:
    """Own minus the best weighted mean of the others, by nonnegative least squares."""
    away = (others - own)[:, :before].T
    size = np.sqrt(np.square(away).mean())
    ray = nnls(np.vstack([away, np.full(len(others), size)]), np.append(np.zeros(before), size))[0]
    return np.asarray(own - ray / ray.sum() @ others)


# --- who is compared with whom ---------------------------------------------------------------------------------------


def test_every_placebo_is_compared_with_all_other_untreated_areas(panel: pe.Panel, areas: Estimate[Any]) -> None:
    untreated = panel.wide("rate")[4:]
    placebos = areas.details.placebos
    compared = 0
    for cohort in (2006, 2007):
        own = placebos[placebos["cohort"] == cohort].set_index("unit")
        assert own.index.tolist() == panel.units[4:].tolist()
        for j in range(42):
            found = gap(np.delete(untreated, j, axis=0), untreated[j], cohort - 2000)
            pre, post = found[: cohort - 2000], found[cohort - 2000 :]
            row = own.iloc[j]
            if np.abs(pre).max() < 1e-9:  # inside the hull: one of many best fits
                assert row["pre_rmspe"] == 0
                assert np.isnan(row["rmspe_ratio"])
                continue
            compared += 1
            assert_allclose(row["effect"], post.mean(), rtol=1e-6, atol=1e-8)
            assert_allclose(row["pre_rmspe"], np.sqrt(np.square(pre).mean()), rtol=1e-8)
            assert_allclose(row["rmspe_ratio"], np.sqrt(np.square(post).mean()) / row["pre_rmspe"], rtol=1e-6)
    assert compared > 60
    assert areas.terms["n_placebo"].tolist() == [42] * 4
    assert_allclose(areas.values, keep_average(panel).values)


def keep_average(panel: pe.Panel) -> Estimate[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        return keep(panel, "rate").average(by="unit")


def test_a_narrower_pool_has_the_same_donors(panel: pe.Panel, areas: Estimate[Any]) -> None:
    pool = panel.units[10:35].tolist()
    narrow = quiet(keep, panel, "rate", eligible=pool)
    placebos = narrow.details.placebos
    assert placebos["unit"].unique().tolist() == pool
    whole = areas.details.placebos.set_index(["cohort", "unit"])["effect"]
    assert_allclose(
        placebos.set_index(["cohort", "unit"])["effect"],
        whole.loc[list(zip(placebos["cohort"], placebos["unit"], strict=True))],
    )


def test_contaminated_areas_are_neither_placebos_nor_donors() -> None:
    table = staggered(seed=3, n=46, periods=14, starts=STARTS)
    table["dirty"] = np.where(table["area"] == "a020", 2010, np.inf)
    found = quiet(keep, panel_of(table, contaminated_from="dirty"), "rate")
    clean = quiet(keep, panel_of(table.query("area != 'a020'")), "rate")
    assert_allclose(found.details.placebos["effect"], clean.details.placebos["effect"], atol=1e-12)
    assert_allclose(found.values, clean.values)


def test_named_donors_are_the_placebos(panel: pe.Panel) -> None:
    names = panel.units[6:30].tolist()
    found = quiet(partial(keep, donors=names), panel, "rate")
    alone = panel.select(np.isfinite(panel.cohort) | panel.units.isin(names))
    want = quiet(keep, alone, "rate")
    assert found.details.placebos["unit"].unique().tolist() == names
    assert_allclose(found.values, want.values)
    assert_allclose(found.details.placebos["effect"], want.details.placebos["effect"])
    assert (found.terms["n_control"] == 24).all()
    with pytest.raises(DesignError, match="PMG-POOL"):
        quiet(partial(keep, donors=names), panel, "rate", eligible=[names[0], "a040", "a041"])


def test_same_bits_whatever_the_number_of_processes_and_of_calls(
    monkeypatch: pytest.MonkeyPatch, panel: pe.Panel
) -> None:
    monkeypatch.setattr(_area_placebos, "_AT_ONCE", 15)
    one, two = (quiet(keep, panel, "rate", n_jobs=n) for n in (1, 2))
    assert one.to_json() == two.to_json()
    assert np.array_equal(one.uncertainty.errors, two.uncertainty.errors)
    monkeypatch.setattr(_area_placebos, "_AT_ONCE", 100)
    assert_allclose(quiet(keep, panel, "rate").uncertainty.errors, one.uncertainty.errors, rtol=1e-9, atol=1e-12)


def test_progress_is_told_while_placebos_are_computed(monkeypatch: pytest.MonkeyPatch, panel: pe.Panel) -> None:
    from pmg_eval._progress import listening

    monkeypatch.setattr(_area_placebos, "_AT_ONCE", 20)
    seen: list[tuple[str, int, int]] = []
    with listening(lambda what, done, total: seen.append((what, done, total))):
        quiet(keep, panel, "rate")
    assert seen == [("placebo areas", done, 3) for _ in (2006, 2007) for done in (1, 2, 3)]


def test_what_an_estimator_can_do_is_read_from_its_options() -> None:
    calls: list[dict[str, Any]] = []

    def spy(panel: pe.Panel, outcome: str, *, donors: Any = "untreated", weights: str = "cohort") -> Estimate[Any]:
        calls.append({"donors": donors, "weights": weights, "treated": int(np.isfinite(panel.cohort).sum())})
        return synth.classic(panel, outcome, donors=donors, poor_fit="keep")

    panel = panel_of(staggered(seed=3, n=46, periods=14, starts={2006: 2}))
    quiet(partial(partial(spy, weights="cohort")), panel, "rate")
    assert calls == [
        {"donors": "untreated", "weights": "unit", "treated": 2},
        {"donors": "others", "weights": "unit", "treated": 44},
    ]
    assert enumerates(spy)
    assert enumerates(synth.classic)
    assert not enumerates(did.imputation)
    assert not enumerates(print)
    assert by_unit(did.imputation) is did.imputation
    assert by_unit(synth.classic) is synth.classic
    assert against_others(synth.classic).keywords == {"donors": "others"}  # type: ignore[attr-defined]
    assert named_donors(partial(spy, donors=("a", "b"))) == ["a", "b"]
    assert named_donors(partial(spy, donors="others")) is None
    assert named_donors(spy) is None


# --- the fit before the start ----------------------------------------------------------------------------------------


def test_ranks_of_the_fit_by_hand(areas: Estimate[Any]) -> None:
    checks = areas.details.checks.set_index("unit")
    for column, unit in enumerate(areas.terms["unit"]):
        own = areas.details.placebos[areas.details.placebos["cohort"] == areas.terms["cohort"][column]]
        row = checks.loc[unit]
        assert row["pre_rmspe_rank"] == pytest.approx((own["pre_rmspe"] >= row["pre_rmspe"] * (1 - 1e-9)).mean())
        if row["pre_rmspe"] == 0:
            assert np.isnan(row["rmspe_ratio"])
            assert np.isnan(row["p_rmspe_ratio"])
            continue
        larger = (own["rmspe_ratio"] >= row["rmspe_ratio"]) | own["rmspe_ratio"].isna()
        assert row["p_rmspe_ratio"] == pytest.approx((1 + larger.sum()) / 43)
    assert (checks["control_se"] == 0).all()  # each placebo's own synthetic control error is in its law


def test_a_poor_fit_is_a_warning() -> None:
    table = staggered(seed=3, n=50, periods=14, starts={2006: 3})
    table.loc[table["area"] == "a001", "rate"] += 4 * np.sin(table["year"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = resample.placebo(keep, panel_of(table), "rate", draws=99)
    warning = next(w for w in caught if "PMG-PRE-FIT" in str(w.message))
    assert warning.filename == __file__
    said: Any = warning.message
    ranks = found.details.checks.set_index("unit")["pre_rmspe_rank"]
    assert list(said.where) == ranks.index[ranks < 0.5].tolist()
    assert "a001" in said.where


def test_a_refused_area_keeps_its_row() -> None:
    table = staggered(seed=3, n=50, periods=14, starts={2003: 1, 2006: 3})
    table.loc[table["area"] == "a002", "rate"] += 500
    found = quiet(synth.classic, panel_of(table), "rate")
    frame = found.to_frame()
    assert frame["unit"].tolist() == ["a000", "a001", "a002", "a003"]
    assert frame["estimate"].notna().tolist() == [False, False, False, True]
    assert "fewer than 4 periods" in frame["status"][0]
    assert frame["status"].str.contains("nine tenths").tolist() == [False, True, True, False]
    assert found.details.checks["p_rmspe_ratio"].isna()[[0, 2]].all()
    assert found.details.placebos["cohort"].unique().tolist() == [2006]


def test_other_estimators_have_no_fit_to_show() -> None:
    panel = panel_of(staggered(n=50, starts={2004: 3}))
    found = quiet(partial(did.imputation, pretrend=False), panel, "rate")
    assert "pre_rmspe" not in found.details.checks
    assert "pre_rmspe" not in found.details.placebos


def test_synthetic_difference_in_differences_too() -> None:
    panel = panel_of(staggered(seed=1, n=45, periods=14, starts={2006: 3}, effect=2.0))
    found = quiet(synth.sdid, panel, "rate")
    single = synth.sdid(panel, "rate", weights="unit").average(by="unit")
    assert_allclose(found.values, single.values)
    assert {"pre_rmspe", "rmspe_ratio"} <= set(found.details.placebos)
    assert (found.details.checks["control_se"] == 0).all()
    assert found.to_frame()["conf_low"].notna().all()


# --- plain sums ------------------------------------------------------------------------------------------------------


def test_plain_sums_are_the_averages() -> None:
    """Refused units, cells without a ratio, weights, counts."""
    table = counts(n=40, periods=12, starts={2003: 1, 2005: 3, 2006: 2}, people=20_000.0)
    table.loc[(table["area"] == "a003") & (table["year"] < 2005), "suspects"] *= 40
    table["w"] = 1.0 + (table["area"] == "a001")
    table.loc[(table["start"] == 0) & (table["year"] == 2007), "suspects"] = 0
    panel = panel_of(table, weight="w")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        first = synth.classic(panel, "suspects", family="poisson")
    quick, slow = without_law(first, panel), joint(first.average(by="unit"), panel)
    assert quick.units.tolist() == slow.units.tolist()
    for name in ("values", "cohort", "size", "weight", "n_control", "share"):
        assert_allclose(getattr(quick, name), getattr(slow, name), rtol=1e-12, err_msg=name)
    assert quick.status == slow.status
    assert len(set(quick.status)) >= 3
    assert (quick.scale, quick.estimand, quick.joint) == (slow.scale, slow.estimand, slow.joint)


def test_effects_per_area_on_counts() -> None:
    table = counts(seed=2, n=60, periods=14, starts={2007: 3}, effect=np.log(0.5), people=30_000.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        found = pe.effect_per_area(panel_of(table), "suspects", estimator=keep, draws=999)
    assert found.scale == "log"
    assert found.provenance.options["family"] == "poisson"
    assert_allclose(found.values, 0.5, atol=0.2)
    frame = found.to_frame()
    assert (frame["conf_low"] > 0).all()
    assert (frame["conf_high"] < 1).all()
    assert (found.terms["n_placebo"] == 57).all()
    assert isinstance(found.details.placebos, pd.DataFrame)
