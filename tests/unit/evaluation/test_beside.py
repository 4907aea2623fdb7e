"""Other estimators beside the headline, per wave and per area; the base period; the reader; persons; the truth."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

import pmg_eval as pe
from pmg_eval import did, recidivism, resample, synth
from pmg_eval._progress import listening
from pmg_eval.errors import DataError
from pmg_eval.evaluation import _evaluate
from unit.estimate.schemas import problems
from unit.resample.panels import counts, panel_of, staggered


@pytest.fixture(scope="module")
def rates() -> tuple[pe.Panel, pe.Evaluation]:
    panel = panel_of(staggered(n=48, periods=8, starts={2005: 4, 2006: 3}, effect=-1.0))
    return panel, pe.evaluate(panel, "rate", draws=19, rng=5)


@pytest.fixture(scope="module")
def events() -> tuple[pe.Panel, pe.Evaluation]:
    panel = panel_of(counts(n=48, periods=8, starts={2005: 4, 2006: 3}, effect=-0.2))
    return panel, pe.evaluate(panel, "suspects", draws=19)


def rows(table: pd.DataFrame, **labels: Any) -> pd.DataFrame:
    for name, value in labels.items():
        table = table.loc[table[name] == value]
    return table


@pytest.mark.parametrize(("name", "estimator"), [("group_time", did.group_time), ("sdid", synth.sdid)])
def test_waves_under_another_estimator(rates, name: str, estimator: Any) -> None:
    panel, found = rates
    table = rows(found.wave_agreement, estimator=name)
    assert table["cohort"].tolist() == ["all", "2005", "2006"]
    want = estimator(panel, "rate")
    assert_allclose(table["estimate"], [want.average().values[0], *want.average(by="cohort").values])

    def both(panel: pe.Panel, outcome: str) -> pe.Estimate:
        mine, theirs = did.imputation(panel, outcome), estimator(panel, outcome)
        return pe.stack(*[e.average(by="cohort") for e in (mine, theirs)], names=("mine", "theirs"))

    gap = resample.jackknife(both, panel, "rate").contrast("group")
    assert_allclose(table["difference"][1:], gap.values, rtol=1e-9)
    assert_allclose(table["difference_se"][1:], gap.to_frame()["std_error"], rtol=1e-8)
    assert_allclose(table["z"][1:], gap.values / gap.to_frame()["std_error"], rtol=1e-8)
    assert_allclose(table["difference_p"][1:], gap.to_frame()["p_value"], rtol=1e-8)


def test_waves_of_ratios_are_compared_as_ratios(events) -> None:
    _, found = events
    for cohort in ("all", "2005", "2006"):
        mine = rows(found.wave_agreement, cohort=cohort).set_index("estimator")["estimate"]
        for name in ("group_time", "sdid"):
            gap = rows(found.wave_agreement, cohort=cohort, estimator=name)["difference"].iloc[0]
            assert_allclose(gap, mine[name] / mine["imputation"])
    assert found.agreement is not None
    assert found.agreement.scale == "log"
    assert found.wave_agreement["status"].eq("").all()


@pytest.mark.filterwarnings(
    "ignore::pmg_eval.errors.PmgEvalWarning"
)  # the pre-fit of some areas; it is no subject here
def test_areas_under_another_estimator(rates, events) -> None:
    for outcome, (panel, found) in (("rate", rates), ("suspects", events)):
        for name, estimator in (("group_time", did.group_time), ("sdid", synth.sdid)):
            want = pe.effect_per_area(panel, outcome, estimator=estimator, rng=found.provenance.seed).to_frame()
            table = rows(found.area_agreement, estimator=name)
            assert table["unit"].tolist() == want["unit"].tolist()
            for column in ("estimate", "conf_low", "conf_high", "p_value"):
                assert_allclose(table[column], want[column], err_msg=f"{name} {column}")
        assert found.area_agreement["unit"].tolist() == sorted(found.area_agreement["unit"].tolist())


def test_distance_of_an_area_is_measured_by_the_placebo_areas(rates) -> None:
    panel, found = rates
    mine = pe.effect_per_area(panel, "rate", rng=5)
    theirs = pe.effect_per_area(panel, "rate", estimator=did.group_time, rng=5)
    key = ["cohort", "unit"]
    placebos = [e.details.placebos.set_index(key)["effect"] for e in (mine, theirs)]
    gap = (placebos[1] - placebos[0]).xs(2006)
    z = rows(found.area_agreement, estimator="group_time", cohort=2006)["z"]
    want = (theirs.values - mine.values)[(mine.terms["cohort"] == 2006).to_numpy()] / np.sqrt((gap**2).mean())
    assert_allclose(z, want)
    assert rows(found.area_agreement, estimator="imputation")["z"].isna().all()


def test_base_period_is_a_stacked_difference(rates) -> None:
    panel, found = rates
    pair = [did.group_time(panel, "rate", base_period=base).average() for base in ("varying", "average")]
    frame = pe.stack(*pair, names=("a", "b")).contrast("group").to_frame().iloc[0]
    row = found.checks.set_index("check").loc["base period"]
    assert f"{pair[0].values[0]:+.3g} against the last period before" in row["finding"]
    assert f"{pair[1].values[0]:+.3g} against the average" in row["finding"]
    assert f"{abs(frame['statistic']):.2f} standard errors" in row["finding"]
    assert row["verdict"] == ("attention" if abs(frame["statistic"]) > 1 else "pass")


def test_areas_chosen_on_a_bad_last_year_are_flagged() -> None:
    table = staggered(n=60, periods=8, starts={2006: 10}, noise=0.3)
    last = (table["start"] == 2006) & (table["year"] == 2005)
    table.loc[last, "rate"] += 1.0
    found = pe.evaluate(panel_of(table), "rate", draws=19)
    row = found.checks.set_index("check").loc["base period"]
    assert row["verdict"] == "attention"
    assert "base period" in found.summary[-1]


def test_hull_is_that_of_the_direct_call(rates) -> None:
    panel, found = rates
    want = synth.hull(panel, "rate").details.table
    assert_frame_equal(found.hull, want[list(found.hull.columns)])
    finding = found.checks.set_index("check").loc["convex hull", "finding"]
    assert finding.startswith(f"{int((~want['inside']).sum())} of 7 areas lie outside")


def test_paths_average_to_the_area_effect(rates, events) -> None:
    panel, found = rates
    post = found.paths.loc[found.paths["period"] >= found.paths["cohort"]]
    gap = (post["observed"] - post["synthetic"]).groupby(post["unit"]).mean()
    table = rows(found.area_agreement, estimator="sdid").set_index("unit")
    assert_allclose(gap.loc[table.index], table["estimate"], rtol=1e-9)
    panel, found = events
    wide = panel.wide("suspects") / panel.wide_rows(panel.exposure) * 1000
    first = found.paths.iloc[0]
    assert_allclose(first["observed"], wide[panel.units.get_loc(first["unit"]), 0])


def test_summary_is_for_a_reader_without_statistics(rates, events) -> None:
    for _, found in (rates, events):
        assert found.summary[0] == found.headline
        methods, areas, design = found.summary[-3:]
        assert "3 methods with different assumptions" in methods
        assert "in another such area the effect would be expected within" in areas
        assert "checks of the design" in design
        mixed = any("mixed evidence" in finding for finding in found.checks["finding"])
        assert (len(found.summary) == 5) == mixed
        assert ("Not all valid ways" in found.summary[1]) == mixed


def test_an_estimator_that_refuses_is_left_out_and_said() -> None:
    found = pe.evaluate(panel_of(staggered(n=46, periods=2, starts={2001: 5})), "rate", draws=19)
    assert "sdid" not in set(found.wave_agreement["estimator"])
    assert any("synthetic difference-in-differences could not be used" in text for text in found.caveats)


def test_one_treated_area_has_its_placebo_law_as_headline() -> None:
    found = pe.evaluate(panel_of(staggered(n=46, periods=9, starts={2006: 1}, effect=-9.0)), "rate", draws=19)
    assert found.kind == "one"
    area = found.areas.to_frame().iloc[0]
    assert f"{area['conf_low']:.3g} to {area['conf_high']:.3g}" in found.headline
    assert "45 comparison areas" in found.headline
    assert set(found.area_agreement["estimator"]) == {"imputation", "group_time", "sdid", "classic"}
    assert problems(json.loads(found.to_json()), "evaluation") == []


def test_one_area_has_a_placebo_in_time_by_its_placebo_law() -> None:
    table = staggered(n=46, periods=9, starts={2006: 1}, effect=-9.0)
    found = pe.evaluate(panel_of(table), "rate", draws=19)
    early = table.loc[table["year"] < 2006].assign(start=lambda d: d["start"].replace(2006, 2004))
    want = pe.effect_per_area(panel_of(early), "rate").to_frame().iloc[0]
    row = found.checks.set_index("check").loc["placebo in time"]
    said = f"estimate {want['estimate']:+.3g}, 95 % interval {want['conf_low']:+.3g} to {want['conf_high']:+.3g}"
    assert row["finding"] == said


# --- the reader -------------------------------------------------------------------------------------------------------


def test_what_was_written_is_read(rates, events) -> None:
    for _, found in (rates, events):
        text = found.to_json()
        assert problems(json.loads(text), "evaluation") == []
        back = pe.Evaluation.from_json(text)
        for name in ("title", "outcome", "family", "kind", "headline", "summary", "caveats", "data"):
            assert getattr(back, name) == getattr(found, name), name
        for name in ("waves", "checks", "wave_agreement", "area_agreement", "hull", "paths", "agreement_table"):
            assert_frame_equal(getattr(back, name), getattr(found, name), check_dtype=False)
        assert_allclose(back.effects.to_frame()["conf_high"], found.effects.to_frame()["conf_high"])
        assert_allclose(back.agreement.se, found.agreement.se)
        assert back.provenance.data == found.provenance.data
        again = json.loads(back.to_json())
        assert problems(again, "evaluation") == []
        assert again["checks"] == json.loads(text)["checks"]
        assert "<table" in back.to_html()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "pmg-eval-evaluation/2"}', "null", '"x"'])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(DataError) as caught:
        pe.Evaluation.from_json(text)
    assert caught.value.code == "PMG-RESULT-FORMAT"


def test_a_damaged_result_is_refused(rates) -> None:
    saved = rates[1].to_dict()
    for name in ("effects", "checks", "summary", "provenance", "kind"):
        with pytest.raises(DataError) as caught:
            pe.Evaluation.from_dict({key: value for key, value in saved.items() if key != name})
        assert caught.value.code == "PMG-RESULT-FORMAT"


# --- the words ------------------------------------------------------------------------------------------------------


def test_one_area_is_told_when_methods_disagree() -> None:
    """The distances of the one area to the headline decide, against those of the placebo areas."""
    table = staggered(n=46, periods=9, starts={2006: 1}, effect=-2.0, noise=0.1)
    table.loc[(table["area"] == "a000") & (table["year"] == 2005), "rate"] += 5  # the base of group-time effects
    found = pe.evaluate(panel_of(table), "rate", draws=19)
    far = rows(found.area_agreement, estimator="group_time")["z"].iloc[0]
    assert abs(far) > 3
    assert "They disagree more than chance explains (group-time effects" in found.summary[1]


def test_a_large_area_that_carries_the_weight_is_named() -> None:
    table = counts(n=48, periods=8, starts={2005: 7}, effect=-0.2)
    table["youth"] = table["youth"].astype(float)
    big = table["area"] == "a000"
    table.loc[big, ["youth", "suspects"]] *= 40
    row = pe.evaluate(panel_of(table), "suspects", draws=19).checks.set_index("check").loc["number of areas"]
    assert row["verdict"] == "attention"
    assert "count like 1." in row["finding"]
    assert "a000 has" in row["finding"]


def test_controls_are_those_that_can_be_used() -> None:
    table = staggered(n=60, periods=6, starts={2004: 7})
    table["other"] = np.where(table["area"].isin(["a050", "a051"]), 2004, np.inf)
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0, contaminated_from="other")
    eligible = [f"a{i:03d}" for i in range(8, 48)]
    found = pe.evaluate(panel, "rate", draws=19, eligible=eligible)
    finding = found.checks.set_index("check").loc["number of areas", "finding"]
    assert "7 treated areas and 51 never treated that no other programme touched (of 53), of which 40" in finding


def test_an_outcome_that_is_nearly_counts_is_a_warning() -> None:
    table = counts(n=46, periods=6, starts={2004: 5}).assign(suspects=lambda d: d["suspects"].astype(float))
    table.loc[3, "suspects"] = 1.05
    with pytest.warns(pe.PmgEvalWarning, match="thousands separator"):
        found = pe.evaluate(panel_of(table), "suspects", draws=19)
    assert found.family == "gaussian"
    assert any("is no count in 1 cells" in text for text in found.caveats)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"draws": 1.5}, "PMG-DRAWS"),
        ({"draws": 0}, "PMG-DRAWS"),
        ({"rng": None}, "PMG-SEED"),
        ({"rng": -1}, "PMG-SEED"),
        ({"rng": True}, "PMG-SEED"),
        ({"n_jobs": 0}, "PMG-JOBS"),
        ({"title": 5}, "PMG-OPTION"),
        ({"anticipation": -1}, "PMG-OPTION"),
        ({"eligible": []}, "PMG-POOL"),
        ({"eligible": "a001"}, "PMG-POOL"),
        ({"eligible": ["nowhere"]}, "PMG-POOL"),
        ({"spells": pd.DataFrame()}, "PMG-SPELLS"),
        ({"horizons": ["1y"]}, "PMG-SPELLS"),
        ({"truth": pd.DataFrame({"unit": ["a000", "a000"], "truth": [1.0, 2.0]})}, "PMG-TRUTH"),
        ({"truth": pd.DataFrame({"unit": ["zzz"], "truth": [1.0]})}, "PMG-TRUTH"),
        ({"truth": pd.DataFrame({"unit": ["a000"], "truth": ["much"]})}, "PMG-TRUTH"),
    ],
)
def test_options_are_refused_before_any_work(
    options: dict[str, Any], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_evaluate, "Parts", None)  # nothing is estimated
    with pytest.raises(pe.PmgEvalError) as caught:
        pe.evaluate(panel_of(staggered(n=20, periods=6, starts={2004: 5})), "rate", **options)
    assert caught.value.code == code


# --- persons, truth, progress -----------------------------------------------------------------------------------------


def test_persons_behind_the_areas(rates) -> None:
    panel, _ = rates
    rng = np.random.default_rng(4)
    n = 400
    table = pd.DataFrame(
        {
            "id": np.arange(n),
            "exit": rng.integers(1, 1200, n),
            "event": rng.integers(0, 2, n),
            "cohort": rng.choice(["2019", "2020"], n),
        }
    )
    table["cause"] = np.where(table["event"] == 1, rng.choice(["recidivism", "death"], n, p=[0.9, 0.1]), None)
    spells = pe.Spells(table, person="id", exit="exit", event="event", cause="cause", group="cohort")
    found = pe.evaluate(panel, "rate", draws=19, spells=spells)
    want = recidivism.cumulative_incidence(spells)
    assert found.recidivism is not None
    assert_frame_equal(found.recidivism.to_frame(), want.to_frame())
    two = want.where(horizon=730, outcome="recidivism").values * 100
    said = f"Within 730 days, {two.min():.0f} to {two.max():.0f} % of the persons (in 2 groups) had the event"
    assert any(text.startswith(said) for text in found.summary)
    assert problems(json.loads(found.to_json()), "evaluation") == []
    back = pe.Evaluation.from_json(found.to_json())
    assert_allclose(back.recidivism.values, want.values)
    one = pe.Spells(table.drop(columns="cause"), person="id", exit="exit", event="event")
    alone = pe.evaluate(panel, "rate", draws=19, spells=one)
    assert_allclose(alone.recidivism.values, recidivism.kaplan_meier(one).values)


def test_the_truth_stands_beside_and_is_never_used(rates) -> None:
    panel, found = rates
    units = found.areas.terms["unit"]
    truth = pd.DataFrame({"unit": units, "truth": -1.0})
    told = pe.evaluate(panel, "rate", draws=19, rng=5, truth=truth)
    assert_frame_equal(told.areas.to_frame(), found.areas.to_frame())
    frame = found.areas.to_frame()
    inside = int(((frame["conf_low"] <= -1) & (frame["conf_high"] >= -1)).sum())
    assert f"{inside} of {len(frame)} area intervals contain it" in told.summary[-1]
    assert problems(json.loads(told.to_json()), "evaluation") == []
    for wrong in ([1, 2], truth.rename(columns={"truth": "true"})):
        with pytest.raises(DataError) as caught:
            pe.evaluate(panel, "rate", truth=wrong)
        assert caught.value.code == "PMG-TRUTH"


def test_progress_is_told() -> None:
    seen: list[tuple[str, int, int]] = []
    panel = panel_of(staggered(n=46, periods=6, starts={2004: 2}))
    with listening(lambda *told: seen.append(told)):
        pe.evaluate(panel, "rate", draws=19)
    steps = [done for what, done, _ in seen if what == "evaluation"]
    assert steps == list(range(1, _evaluate.STEPS + 1))
    assert {"jackknife over units", "placebo areas", "random assignments"} <= {what for what, _, _ in seen}
    assert all(0 < done <= total for _, done, total in seen)
