"""One call from a panel to the answer: every number in it is the number of a direct call."""

import json
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

import pmg_eval as pe
from pmg_eval import did, infer, resample
from pmg_eval.errors import DataError, DesignError, InferenceError, PmgEvalWarning
from pmg_eval.evaluation import _evaluate
from pmg_eval.evaluation._family import family_of, for_areas
from unit.estimate.schemas import problems
from unit.resample.panels import counts, panel_of, staggered


@pytest.fixture(scope="module")
def rates() -> tuple[pe.Panel, pe.Evaluation]:
    panel = panel_of(staggered(n=46, periods=7, starts={2004: 4, 2005: 3}, effect=-1.0))
    return panel, pe.evaluate(panel, "rate", draws=99, rng=5)


@pytest.fixture(scope="module")
def events() -> tuple[pe.Panel, pe.Evaluation]:
    panel = panel_of(counts(n=46, periods=7, starts={2004: 4, 2005: 3}, effect=-0.2))
    return panel, pe.evaluate(panel, "suspects", draws=99, title="A title", anticipation=1)


def few(panel: pe.Panel, outcome: str = "rate", **options: Any) -> pe.Evaluation:
    """An evaluation with 19 to 38 placebo areas: enough for intervals, few enough to be fast, and it warns."""
    with pytest.warns(PmgEvalWarning, match="placebo areas"):
        return pe.evaluate(panel, outcome, draws=19, **options)


def group(found: pe.Evaluation, name: str) -> pe.Estimate:
    return found.effects.where(group=name)


# --- every number equals a direct call ------------------------------------------------------------------------------


def test_event_times_have_the_jackknife_before_and_the_placebo_law_after(rates) -> None:
    panel, found = rates
    name, average = "event_time", {"by": "event_time"}
    cells = resample.placebo(partial(did.imputation, pretrend=False), panel, "rate", by="cell", rng=5)

    def direct(panel: pe.Panel, outcome: str) -> pe.Estimate:
        return did.imputation(panel, outcome).average(**average)

    want = resample.jackknife(direct, panel, "rate")
    part = group(found, name)
    assert_allclose(part.values, want.values, rtol=1e-12)
    mine, theirs, after = part.to_frame(), want.to_frame(), (part.terms["event_time"] >= 0).to_numpy(dtype=bool)
    for column in ("std_error", "statistic", "p_value", "conf_low", "conf_high", "df"):
        assert_allclose(mine[column][~after], theirs[column][~after], rtol=1e-8, err_msg=column)
    pooled = cells.average(by="event_time").to_frame()
    for column in ("std_error", "p_value", "conf_low", "conf_high"):
        assert_allclose(mine[column][after], pooled[column], rtol=1e-9, err_msg=column)
    assert mine["n_treated"].tolist() == theirs["n_treated"].tolist()


def test_few_areas_have_the_pooled_placebo_law(rates, events) -> None:
    """Seven areas: the wider of two; a cohort of few: the placebo law of its areas."""
    panel, found = rates
    areas = pe.effect_per_area(panel, "rate", estimator=partial(did.imputation, pretrend=False), rng=5)
    part, want = group(found, "cohort").to_frame(), areas.average(by="cohort").to_frame()
    for column in ("estimate", "std_error", "p_value", "conf_low", "conf_high"):
        assert_allclose(part[column], want[column], rtol=1e-9, err_msg=column)
    overall = group(found, "overall").to_frame().iloc[0]
    tried = found.inference.loc[found.inference["cohort"] == "all"]
    both = tried.loc[tried["method"].isin(["jackknife", "placebo law"])]
    assert overall["conf_high"] - overall["conf_low"] == (both["conf_high"] - both["conf_low"]).max()
    panel, found = events
    areas = pe.effect_per_area(panel, "suspects", estimator=partial(did.imputation, anticipation=1))
    part, want = group(found, "cohort").to_frame(), areas.average(by="cohort").to_frame()
    assert_allclose(part["conf_high"], want["conf_high"], rtol=1e-9)


def test_effects_of_counts(events) -> None:
    panel, found = events

    def direct(panel: pe.Panel, outcome: str) -> pe.Estimate:
        return did.imputation(panel, outcome, family="poisson", anticipation=1).average(by="cohort")

    want = resample.jackknife(direct, panel, "suspects")
    part = group(found, "cohort")
    assert found.effects.scale == "log"
    assert_allclose(part.values, want.values, rtol=1e-10)
    beside = found.inference.loc[(found.inference["method"] == "jackknife") & (found.inference["cohort"] != "all")]
    assert_allclose(beside["conf_high"], want.to_frame()["conf_high"], rtol=1e-8)


def test_areas(rates, events) -> None:
    panel, found = rates
    direct = pe.effect_per_area(panel, "rate", estimator=partial(did.imputation, pretrend=False), rng=5)
    assert_frame_equal(found.areas.to_frame(), direct.to_frame())
    panel, found = events
    direct = pe.effect_per_area(panel, "suspects", estimator=partial(did.imputation, anticipation=1))
    assert_frame_equal(found.areas.to_frame(), direct.to_frame())
    assert found.areas.scale == "log"


def test_areas_are_the_placebo_path(rates) -> None:
    panel, _ = rates
    areas = pe.effect_per_area(panel, "rate", draws=499, rng=2)
    want = resample.placebo(partial(did.imputation, pretrend=False, family="gaussian"), panel, "rate", draws=499, rng=2)
    assert_frame_equal(areas.to_frame(), want.to_frame())


def test_agreement_is_the_joint_jackknife_of_two_estimators(rates, events) -> None:
    panel, found = rates

    def both(panel: pe.Panel, outcome: str) -> pe.Estimate:
        return pe.stack(did.imputation(panel, outcome).average(), did.group_time(panel, outcome).average())

    want = resample.jackknife(both, panel, "rate")
    overall = found.agreement.where(cohort=pd.isna, contrast="group_time - imputation")
    assert_allclose(overall.values, want.values[1] - want.values[0])
    assert_allclose(overall.se, want.contrast("group").se)
    assert found.agreement_table["estimator"].tolist() == ["imputation", "group_time", "sdid"]
    assert_allclose(found.agreement_table["estimate"][:2], want.values)
    panel, found = events
    options = {"family": "poisson", "anticipation": 1}
    ratio = [
        estimator(panel, "suspects", **options).average().values[0] for estimator in (did.imputation, did.group_time)
    ]
    assert found.agreement.scale == "log"
    assert_allclose(found.agreement.where(cohort=pd.isna).values[0], ratio[1] / ratio[0])
    assert_allclose(found.agreement_table["estimate"][:2], ratio)


def test_band_is_the_band_of_the_event_study(rates) -> None:
    _, found = rates
    study = group(found, "event_time")
    before = study.where(event_time=slice(None, -1))
    assert_allclose(found.band["conf_high"][: len(before)], before.band(rng=5)["conf_high"], rtol=1e-8)
    with pytest.raises(InferenceError, match="laws of different kinds"):
        study.band(rng=5)
    frame = study.to_frame()
    known = frame["conf_low"].notna()
    assert (found.band["conf_low"][known] <= frame["conf_low"][known]).all()
    assert found.band["event_time"].tolist() == sorted(found.band["event_time"])


def test_checks(rates) -> None:
    panel, found = rates
    checks = found.checks.set_index("check")
    assert list(checks.columns) == ["question", "finding", "verdict"]
    assert set(checks["verdict"]) <= {"pass", "attention", "not possible"}

    def overall(panel: pe.Panel, outcome: str) -> pe.Estimate:
        return did.imputation(panel, outcome, pretrend=False).average()

    test = resample.randomize(overall, panel, "rate", draws=99, rng=5)
    assert f"p = {test.p_value:.3f}" in checks.loc["randomization in the pool", "finding"]
    fake = resample.placebo_in_time(did.imputation, panel, "rate", periods=2).average()
    assert f"estimate {fake.values[0]:+.3g}" in checks.loc["placebo in time", "finding"]
    assert "7 treated areas and 39 never treated" in checks.loc["number of areas", "finding"]
    spread = resample.jackknife(overall, panel, "rate").details.spread().iloc[0]
    assert f"{spread['low']:+.3g} (without {spread['without_low']})" in checks.loc["leave one area out", "finding"]


def test_waves_and_facts(rates) -> None:
    _, found = rates
    assert found.waves["cohort"].tolist() == [2004, 2005]
    assert found.waves["n_areas"].tolist() == [4, 3]
    assert found.waves["areas"][1] == ", ".join(f"a{i:03d}" for i in range(4, 7))
    assert found.data["areas"] == 46
    assert found.data["treated areas"] == 7
    assert found.data["balanced"] == "yes"


def test_words_are_those_of_the_numbers(rates, events) -> None:
    _, found = rates
    row = group(found, "overall").to_frame().iloc[0]
    assert f"on average {abs(row['estimate']):.3g} lower" in found.headline
    assert f"{row['conf_low']:+.3g} to {row['conf_high']:+.3g}" in found.headline
    frame = found.areas.to_frame()
    assert f"Of 7 treated areas, {int((frame['conf_high'] < 0).sum())} ha" in found.headline
    assert any("parallel" in text for text in found.caveats)
    _, found = events
    row = group(found, "overall").to_frame().iloc[0]
    assert f"{abs(100 * (row['estimate'] - 1)):.1f} % lower" in found.headline
    assert str(found).startswith("A title\n\n")
    null = few(panel_of(staggered(n=26, periods=6, starts={2004: 4}, noise=2.0)))
    if "inconclusive" in null.headline:
        assert "no effect" in null.headline
    assert "no effect." not in null.headline.split("Of ")[0]


# --- determinism, JSON, HTML ------------------------------------------------------------------------------------------


def test_two_runs_are_the_same_text_whatever_the_number_of_processes() -> None:
    panel = panel_of(staggered(n=25, periods=6, starts={2003: 3, 2004: 2}))
    text = few(panel).to_json()
    assert few(panel, n_jobs=2).to_json() == text
    assert few(panel_of(panel.frame.sample(frac=1, random_state=3))).to_json() == text
    assert few(panel, rng=6).to_json() != text


def test_json_follows_the_schema(rates, events) -> None:
    for _, found in (rates, events):
        text = found.to_json()
        saved = json.loads(text)
        assert problems(saved, "evaluation") == []
        assert problems({**saved, "family": "binomial"}, "evaluation")
        assert problems({**saved, "effects": {**saved["effects"], "psi": []}}, "evaluation")
        assert "NaN" not in text
        back = pe.Estimate.from_dict(saved["effects"])
        assert_allclose(back.to_frame()["conf_low"], found.effects.to_frame()["conf_low"])
        assert saved["provenance"]["seed"] == found.provenance.seed


def test_options_are_in_the_provenance(events) -> None:
    panel, found = events
    assert found.provenance.options == {"family": "poisson", "anticipation": 1, "draws": 99, "eligible": None}
    assert found.provenance.data == panel.for_outcome("suspects").fingerprint
    assert found.provenance.references


@pytest.mark.parametrize("kind", ["json", "html"])
def test_files_are_written_once(rates, tmp_path, kind: str) -> None:
    _, found = rates
    path, write = tmp_path / f"result.{kind}", getattr(found, f"to_{kind}")
    text = write(path)
    assert path.read_text(encoding="utf-8") == text == write()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(DataError) as caught:
        write(path)
    assert caught.value.code == "PMG-EXISTS"
    write(path, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    with pytest.raises(DataError) as caught:
        write(tmp_path / "absent" / "x")
    assert caught.value.code == "PMG-PATH"


def test_a_failed_write_leaves_the_old_file(rates, tmp_path, monkeypatch) -> None:
    _, found = rates
    path = tmp_path / "result.json"
    path.write_text("old", encoding="utf-8")

    def full(handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        found.to_json(path, overwrite=True)
    assert path.read_text(encoding="utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_html_shows_the_headline(rates) -> None:
    text = rates[1].to_html()
    assert rates[1].headline.split(".")[0][:30] in text
    assert "<script" not in text
    assert "http" not in text.split("<body")[1].replace("https://doi.org", "")


def test_an_evaluation_is_frozen(rates) -> None:
    with pytest.raises(AttributeError):
        rates[1].headline = "better"


# --- the family -----------------------------------------------------------------------------------------------------


def test_family_of_an_outcome() -> None:
    table = counts(n=10, starts={2004: 2}).assign(
        half=lambda d: d["suspects"] / 2, change=lambda d: d["suspects"] - 9e9
    )
    panel, bare = (
        panel_of(table),
        pe.Panel(table.drop(columns="youth"), unit="area", time="year", cohort="start", never=0),
    )
    assert family_of(panel, "suspects") == "poisson"
    assert family_of(panel, "half") == "gaussian"
    assert family_of(panel, "change") == "gaussian"
    assert family_of(bare, "suspects") == "gaussian"


def test_a_family_that_was_bound_stays() -> None:
    panel = panel_of(counts(n=41, periods=6, starts={2004: 2}))
    additive = partial(did.imputation, family="gaussian", pretrend=True)
    assert for_areas(additive, panel, "suspects").keywords == {"family": "gaussian", "pretrend": True}
    assert pe.effect_per_area(panel, "suspects", estimator=additive, draws=99).scale == "identity"
    assert pe.effect_per_area(panel, "suspects", draws=99).scale == "log"
    assert pe.effect_per_area(panel, "suspects", estimator=did.group_time, draws=99).scale == "log"

    def own(panel: pe.Panel, outcome: str) -> pe.Estimate:
        return did.imputation(panel, outcome)

    assert for_areas(own, panel, "suspects") is own
    found = pe.evaluate(panel, "suspects", family="gaussian", draws=19)
    assert found.family == "gaussian"
    assert found.effects.scale == "identity"


# --- designs at the edge ----------------------------------------------------------------------------------------------


def test_one_treated_area() -> None:
    """The pooled effect is that of the area, with its placebo law; the words say so."""
    found = few(panel_of(staggered(n=26, periods=7, starts={2005: 1}, effect=9.0)))
    overall = group(found, "overall").to_frame().iloc[0]
    assert np.isfinite(overall["estimate"])
    area = found.areas.to_frame().iloc[0]
    assert_allclose(
        overall[["p_value", "conf_low", "conf_high"]].astype(float),
        area[["p_value", "conf_low", "conf_high"]].astype(float),
    )
    study = group(found, "event_time").to_frame()
    assert study["conf_low"].notna().tolist() == (study["event_time"] >= 0).tolist()
    assert len(found.areas) == 1
    assert found.areas.to_frame()["conf_low"][0] > 0
    assert_allclose(found.areas.values[0], overall["estimate"])
    assert "The interval comes from 25 comparison areas" in found.headline
    checks = found.checks.set_index("check")["verdict"]
    assert checks["leave one area out"] == "not possible"
    assert problems(json.loads(found.to_json()), "evaluation") == []
    assert "<table" in found.to_html()


def test_two_treated_areas_in_one_wave() -> None:
    found = few(panel_of(staggered(n=26, periods=7, starts={2005: 2})))
    overall = group(found, "overall").to_frame().iloc[0]
    assert overall["method"].startswith("pooled placebo law")
    tried = found.inference.loc[found.inference["cohort"] == "all"].set_index("method")
    assert not tried.loc["jackknife", "valid"]
    assert "no power" in tried.loc["jackknife", "note"]
    assert tried.loc["jackknife", "conf_high"] - tried.loc["jackknife", "conf_low"] > 20 * overall["std_error"]
    assert problems(json.loads(found.to_json()), "evaluation") == []


def test_a_wave_of_one_area_has_its_placebo_law() -> None:
    found = few(panel_of(staggered(n=26, periods=7, starts={2004: 4, 2005: 1})))
    frame = group(found, "cohort").to_frame()
    assert frame["cohort"].tolist() == [2004, 2005]
    assert frame["conf_low"].notna().all()
    area = found.areas.where(cohort=2005).to_frame()
    assert_allclose(frame["conf_high"][1], area["conf_high"][0])
    assert found.areas.to_frame()["conf_low"].notna().all()


def test_nobody_is_never_treated() -> None:
    """There is nobody to be a placebo: pooled effects stand, areas have no interval, and both say why."""
    table = staggered(n=20, starts={2004: 8, 2006: 12})
    found = pe.evaluate(panel_of(table), "rate", draws=19)
    assert np.isfinite(group(found, "overall").values).all()
    areas = found.areas.to_frame()
    assert areas["conf_low"].isna().all()
    assert areas["status"].str.contains("eligible placebo areas").all()
    checks = found.checks.set_index("check")["verdict"]
    assert checks["randomization in the pool"] == "not possible"


def test_very_few_periods() -> None:
    """Two periods: two-by-two; everything that needs more history says that it is not possible."""
    table = staggered(n=26, periods=2, starts={2001: 5})
    found = few(panel_of(table))
    wide = table.pivot(index="area", columns="year", values="rate")
    change = (wide[2001] - wide[2000]).to_numpy()
    assert_allclose(group(found, "overall").values, change[:5].mean() - change[5:].mean())
    checks = found.checks.set_index("check")["verdict"]
    assert checks["pre-trend"] == "not possible"
    assert checks["placebo in time"] == "not possible"
    # both estimators are this one difference: nothing is left to compare, and rounding gets no p-value
    row = found.agreement.to_frame().iloc[0]
    assert row["estimate"] == 0
    assert np.isnan(row["p_value"])
    three = few(panel_of(staggered(n=26, periods=3, starts={2001: 5})))
    assert problems(json.loads(three.to_json()), "evaluation") == []


def test_few_comparison_areas_are_a_warning_and_a_caveat() -> None:
    with pytest.warns(PmgEvalWarning, match="12 placebo areas"):
        found = pe.evaluate(panel_of(staggered(n=20, starts={2004: 8})), "rate", draws=99)
    assert any("Single areas cannot reach p < 0.077" in text for text in found.caveats)
    assert found.areas.to_frame()["conf_low"].isna().all()


def test_rare_areas_do_not_make_the_caveat_about_all_areas_wrong() -> None:
    table = counts(n=27, periods=7, starts={2004: 5})
    table.loc[table["area"] == "a001", "suspects"] = [0, 1, 0, 0, 1, 0, 0]
    found = few(panel_of(table), "suspects")
    assert not any("cannot reach" in text for text in found.caveats)
    assert "descriptive only" in found.areas.to_frame()["status"][1]


def test_an_area_without_an_effect_stays_in_the_table() -> None:
    table = counts(n=27, periods=7, starts={2004: 5})
    table.loc[(table["area"] == "a001") & (table["year"] < 2004), "suspects"] = 0
    found = few(panel_of(table), "suspects")
    frame = found.areas.to_frame()
    assert len(frame) == 5
    assert np.isnan(frame["estimate"][1])
    assert frame["status"][1]
    assert "Of 5 treated areas" in found.headline
    assert problems(json.loads(found.to_json()), "evaluation") == []
    assert "a001" in found.to_html()


def test_quarters_and_missing_cells() -> None:
    table = staggered(n=26, periods=7, starts={2004: 5})
    for name in ("year", "start"):
        quarter = pd.PeriodIndex.from_ordinals(table[name] - 2000 + 120, freq="Q").astype(object)
        table[name] = pd.Series(np.where(table[name] > 0, quarter, pd.NaT)).astype("period[Q-DEC]")
    table.loc[(table["area"] == "a020") & (table["year"].dt.quarter == 2), "rate"] = np.nan
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=None, missing="drop_unit")
    found = few(panel)
    assert found.data["areas"] == 25
    assert found.waves["first_period"].tolist() == ["2001Q1"]
    assert problems(json.loads(found.to_json()), "evaluation") == []


def test_refusals() -> None:
    panel = panel_of(staggered(n=44, periods=4, starts={2002: 5}))
    for options, code in (
        ({"family": "binomial"}, "PMG-OPTION"),
        ({"eligible": ["nowhere"]}, "PMG-POOL"),
        ({"draws": 0}, "PMG-DRAWS"),
    ):
        with pytest.raises((DataError, DesignError, InferenceError)) as caught:
            pe.evaluate(panel, "rate", **options)
        assert caught.value.code == code
    with pytest.raises(DataError, match="rate"):
        pe.evaluate(panel, "rat")


def test_the_pool_narrows_both_randomization_and_placebos(rates) -> None:
    panel, _ = rates
    pool = panel.units[10:40].tolist()
    with pytest.warns(PmgEvalWarning, match="30 placebo areas"):
        found = pe.evaluate(panel, "rate", eligible=pool, draws=19)
    assert (found.areas.terms["n_placebo"] == 30).all()
    assert "pool of 37 areas" in found.checks.set_index("check").loc["randomization in the pool", "finding"]
    assert found.provenance.options["eligible"] == pool


def test_areas_together(rates) -> None:
    """Adjusted p-values, shrunken effects and ranks of the areas are those of direct calls."""
    _, found = rates
    adjusted = infer.adjust(found.areas, rng=5).set_index("unit")
    shrunk = infer.shrink(found.areas).to_frame().set_index("unit")
    league = found.league.set_index("unit")
    assert_allclose(league["p_adjusted"], adjusted["p_adjusted"][league.index])
    assert_allclose(league["shrunk_high"], shrunk["conf_high"][league.index])
    assert league["rank"].tolist() == sorted(league["rank"])
    assert ((league["rank_low"] <= league["rank"]) & (league["rank"] <= league["rank_high"])).all()
    spread = infer.pool(found.areas)
    (said,) = [text for text in found.summary if text.startswith("The effects of the areas")]
    assert f"p = {spread.details.q_p:.3f}" in said


def test_divergence_and_shared_shocks_are_checked() -> None:
    table = staggered(n=46, periods=7, starts={2004: 4, 2005: 3}, effect=-9.0)
    panel = panel_of(table, region="region")
    checks = pe.evaluate(panel, "rate", draws=19).checks.set_index("check")
    study = did.group_time(panel, "rate", base_period="universal").average(by="event_time")
    bound = infer.honest(study, restriction=infer.RelativeMagnitude(strengths=(1.0,)), target="average")
    assert f"up to {bound.breakdown:.2f} times" in checks.loc["diverging trends", "finding"]
    assert checks.loc["diverging trends", "verdict"] == ("pass" if bound.breakdown >= 1 else "attention")
    with pytest.warns(PmgEvalWarning, match="8 regions only"):
        shock = infer.common_shock(did.imputation(panel, "rate").average(), panel, "rate")
    assert f"p = {shock.moran.p_value:.3f}" in checks.loc["shared shocks", "finding"]
    assert "clustered on regions" in checks.loc["shared shocks", "finding"]


def test_groups_are_the_documented_ones(rates) -> None:
    assert set(rates[1].effects.terms["group"]) == set(_evaluate.GROUPS) == {"overall", "cohort", "event_time"}
