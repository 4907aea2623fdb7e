"""The parts of a page that stand beside the effects: each says its numbers, and goes when there is nothing to say."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pmg_eval import report
from pmg_eval.estimate.guard import LONE_COHORTS, ONE_TREATED
from pmg_eval.report._beside import Beside
from pmg_eval.report._event_study import study as event_content
from pmg_eval.report._sections import brief, key_figures
from pmg_eval.report._sections_agreement import (
    agreement_sentence,
    area_agreement_sentence,
    area_agreement_table,
    wave_agreement_table,
)
from pmg_eval.report._sections_effects import area_table, event_table, league_table, wave_effects
from pmg_eval.report._sections_inference import inference_sentence, inference_table
from pmg_eval.report._sections_recidivism import horizons_table, recidivism_notes
from pmg_eval.report._sections_synth import hull_sentence, hull_table
from pmg_eval.report._tables import Cell, Table
from pmg_eval.report._truth import Truth, coverage_words
from unit.report import grown
from unit.report.test_figures import alone
from unit.report.test_page import EMPTY, Read

Build = Callable[..., Any]


@pytest.fixture(scope="module")
def built(evaluation: Build) -> Any:
    return evaluation(names=["Delft", "Breda", "Venlo"])


def cells(table: Table) -> list[list[str]]:
    return [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in table.rows]


# --- summary ---------------------------------------------------------------------------------------------------------


def test_the_summary_box_comes_first_and_says_each_sentence_once(built: Any) -> None:
    told = replace(built, summary=("It fell.", "Methods agree.", "It fell."))
    assert brief(told) == ["It fell.", "Methods agree."]
    read = Read(report.html(told))
    boxes = [path for tag, a, path in read.elements if a.get("class") == "brief"]
    assert boxes == [("html", "body", "div", "main", "section")]
    classes = [a["class"] for _, a, _ in read.elements if a.get("class") in ("brief", "keys", "limits")]
    assert classes == ["brief", "keys", "limits"]
    assert read.words.count("It fell.") == 1


def test_without_a_summary_the_headline_stands_in(built: Any) -> None:
    assert brief(replace(built, summary=())) == ["Suspects were 8.6\u00a0% lower than expected plain."]


def test_one_area_is_answered_by_its_own_row(evaluation: Build) -> None:
    one = evaluation("identity", ["Texas"])
    frame = one.areas.to_frame().iloc[0]
    (_, value, beside), (_, many, against), (name, p, least) = key_figures(one)
    assert value.replace("−", "-") == f"{frame['estimate']:.2f}"
    assert beside.startswith(f"95 % interval: {frame['conf_low']:.2f}".replace("-", "−"))
    assert (many, against) == ("1", "compared with 55 without the programme")
    assert (name, p) == ("p-value", f"{frame['p_value']:.3f}")
    assert least == "the smallest that 55 comparison areas allow is 0.018"
    sections = [a["id"] for a in Read(report.html(one)).of("section")]
    assert sections[:3] == ["summary", "paths", "data"]


@pytest.fixture(scope="module")
def texas(evaluation: Build) -> Any:
    """One treated area as ``evaluate`` gives it: only its placebo law, the guard's words everywhere else."""
    one = evaluation("identity", ["Texas"])
    waves = one.wave_agreement.loc[one.wave_agreement["cohort"] == "all"]
    missing = dict.fromkeys(["conf_low", "conf_high", "difference_se", "z"], np.nan)
    return replace(
        one,
        effects=alone(one.effects),
        band=pd.DataFrame(),
        wave_agreement=waves.assign(status=ONE_TREATED, **missing),
        truth=None,
    )


def test_why_one_area_has_no_standard_error_is_said_once_per_table(texas: Any) -> None:
    read = Read(report.html(texas))
    assert "effect_per_area" not in read.words
    assert "one treated unit" not in read.words.lower()
    notes = [a for a in read.of("p") if a.get("class") == "table-note"]
    assert len(notes) == 3  # overall, event study, estimators side by side
    assert read.words.count("See Effect per area.") == 3
    study = event_table(event_content(texas.effects.where(group="event_time")))
    assert {row[study.head.index("Remarks")] for row in study.rows} == {"", "Reference period: zero by construction"}
    assert "bar is the 95 % interval of one period" not in read.words


def test_a_few_single_areas_are_marked_in_their_rows(built: Any) -> None:
    part = built.effects.where(group=["overall", "cohort"])
    status = ["", "", ONE_TREATED, ONE_TREATED]
    table = wave_effects(replace(part, terms=part.terms.assign(status=status)))
    assert [row[-1] for row in table.rows] == ["", "", "One area", "One area"]
    (note,) = table.notes
    assert note.startswith("One area: a number that rests on one treated area has no standard error")
    everywhere = wave_effects(replace(part, terms=part.terms.assign(status=LONE_COHORTS)))
    assert "Remarks" not in everywhere.head
    assert len(everywhere.notes) == 1


def test_a_remark_of_all_rows_is_said_once(built: Any) -> None:
    part = built.areas
    table = area_table(replace(part, terms=part.terms.assign(status="under 5 events a period")))
    assert "Remarks" not in table.head
    assert list(table.notes) == ["For all rows: under 5 events a period."]
    single = area_table(replace(part, terms=part.terms.assign(status=["under 5 events a period", "", ""])))
    assert list(single.notes) == []
    assert sorted(row[-1] for row in single.rows) == ["", "", "Under 5 events a period"]


def test_areas_without_any_interval_are_not_counted(built: Any) -> None:
    none = replace(built, areas=replace(built.areas, uncertainty=None))
    label, value, note = key_figures(none)[-1]
    assert (label, value) == ("Areas whose interval excludes no effect", "–")
    assert note == "no interval can be given for any single area"
    assert "No interval can be given. The vertical line" in Read(report.html(none)).words
    values = built.areas.values.copy()
    values[0] = np.nan
    _, value, note = key_figures(replace(built, areas=replace(built.areas, values=values)))[-1]
    assert value.endswith(" of 2")
    assert note.endswith("about 0.1 would stand out by chance alone; no interval can be given for 1 more")


def test_the_path_is_named_by_its_method_and_the_axis_by_its_outcome(evaluation: Build, built: Any) -> None:
    one = Read(report.html(replace(evaluation("identity", ["Texas"]), outcome="prisoners")))
    assert one.words.count("Observed and synthetic path") >= 2  # contents and heading
    assert "Texas: observed and synthetic path (synthetic difference-in-differences)" in one.words
    assert "The synthetic path is that of synthetic difference-in-differences" in one.words
    assert "Prisoners" in one.text
    assert "Outcome" not in one.text
    many = Read(report.html(built)).words
    assert "Observed and synthetic path per area (synthetic difference-in-differences)" in many
    for said in (one.words, many):
        assert "observed and synthetic control" not in said.lower()


# --- empty parts vanish ----------------------------------------------------------------------------------------------


def test_what_is_not_there_is_not_announced(built: Any) -> None:
    read = Read(report.html(replace(built, **EMPTY)))
    ids = {a["id"] for a in read.of("section")}
    assert not ids & {"paths", "recidivism"}
    assert "#paths" not in {a["href"] for a in read.of("a")}
    assert "synthetic" not in read.words.split("In short")[1].lower()
    assert "simulated" not in read.words
    assert "Overall effect by estimator" in read.words  # the shorter table of before
    assert len(read.of("svg")) == 6


@pytest.mark.parametrize("name", sorted(EMPTY))
def test_any_single_part_may_be_missing(built: Any, name: str) -> None:
    read = Read(report.html(replace(built, **{name: EMPTY[name]})))
    assert read.open == []
    ids = [a["id"] for _, a, _ in read.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_tables_that_came_back_from_a_file_have_text_and_nulls(built: Any) -> None:
    def back(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(
            [{key: None if pd.isna(v) else v for key, v in row.items()} for row in frame.to_dict("records")]
        )

    names = ("wave_agreement", "area_agreement", "hull", "paths", "truth")
    stored = replace(built, **{name: back(getattr(built, name)) for name in names})
    assert report.html(stored) == report.html(built)


def test_persons_without_curves_keep_their_table(built: Any) -> None:
    flat = replace(built, recidivism=replace(built.recidivism, details=None))
    read = Read(report.html(flat))
    assert "Share of persons with the event" in read.words
    assert "Step curves" not in read.words


# --- agreement -------------------------------------------------------------------------------------------------------


def test_waves_show_the_difference_with_its_standard_error_and_z() -> None:
    table = wave_agreement_table(Beside.of_waves(grown.wave_agreement("identity"), "identity"))
    assert list(table.head) == [
        *(
            "Wave",
            "Estimator",
            "Effect",
            "95 % interval",
            "Difference to the first estimator",
            "Its standard error",
            "z",
        )
    ]
    rows = cells(table)
    assert [row[0] for row in rows[::3]] == ["All waves", "2022", "2023", "2024"]
    assert rows[0] == ["All waves", "Imputation", "−1.6", "−2.8 to −0.4", "–", "–", "–"]
    assert rows[1] == ["All waves", "Group-time", "−1.3", "−2.5 to −0.1", "0.30", "0.40", "0.75"]


def test_ratios_are_compared_by_ratios() -> None:
    table = wave_agreement_table(Beside.of_waves(grown.wave_agreement("log"), "log"))
    assert "Ratio to the first estimator" in table.head
    assert cells(table)[1][2:] == ["−6.5\u00a0%", "−12.5\u00a0% to −0.5\u00a0%", "1.015", "0.020", "0.75"]


def test_areas_have_a_column_per_estimator_in_the_order_of_the_headline(built: Any) -> None:
    content = Beside.of_areas(built.area_agreement, "log")
    table = area_agreement_table(content)
    assert list(table.head) == [
        *("Area", "Wave", "Imputation", "Group-time", "Synthetic difference-in-differences", "Remarks")
    ]
    expected = built.areas.to_frame().sort_values("estimate")["unit"]
    assert [row[0] for row in cells(table)] == list(expected)
    last = next(row for row in cells(table) if row[0] == "Venlo")
    assert last[4] == "–"
    assert last[5] == "Synthetic difference-in-differences: too few periods plain"
    first = built.areas.to_frame().set_index("unit").loc["Delft"]
    shown = next(row for row in cells(table) if row[0] == "Delft")[2]
    assert shown.startswith(f"{100 * (first['estimate'] - 1):+.1f}".replace("-", "−"))


def agreement_rows(values: dict[str, list[float]], z: list[float]) -> pd.DataFrame:
    rows = [
        {"unit": f"u{i}", "cohort": 2022, "estimator": name, "estimate": value}
        | {"conf_low": value - 1, "conf_high": value + 1, "p_value": 0.5, "status": "", "z": np.nan}
        for name, column in values.items()
        for i, value in enumerate(column)
    ]
    frame = pd.DataFrame(rows)
    frame.loc[len(frame) - len(z) :, "z"] = z
    return frame


def test_the_sentence_counts_sides_and_distances() -> None:
    frame = agreement_rows({"imputation": [-1.0, 2.0, 3.0], "sdid": [-2.0, -1.0, 4.0]}, [0.5, -2.5, 1.0])
    said = area_agreement_sentence(Beside.of_areas(frame, "identity"))
    assert said.startswith(
        "In 2 of 3 areas, all estimators lie on the same side of no effect. In 1 of 3 areas, another"
    )
    assert "about 0.2 of the 3 comparisons" in said


def test_one_estimator_alone_is_said_to_be_alone() -> None:
    frame = agreement_rows({"imputation": [-1.0, 2.0]}, [np.nan])
    assert area_agreement_sentence(Beside.of_areas(frame, "identity")) == "Only one estimator gave effects per area."


def test_the_overall_numbers_decide_not_one_wave_of_many(built: Any) -> None:
    law = built.agreement
    one = law.terms.assign(cohort=pd.Series([None], dtype=object))
    assert "within chance" in agreement_sentence(replace(law, terms=one))
    both = replace(
        law.take([0, 0]),
        values=np.array([1.01, 9.0]),
        terms=pd.concat([one, one.assign(cohort="2022")], ignore_index=True),
    )
    assert "within chance" in agreement_sentence(both)
    assert "more than chance" in agreement_sentence(replace(both, values=np.array([9.0, 1.01])))


# --- hull ------------------------------------------------------------------------------------------------------------


def test_the_hull_in_words_and_numbers() -> None:
    table = hull_table(grown.hull(["a", "b", "c"]))
    assert list(table.head) == [
        *("Area", "Wave", "Periods before the start", "Can be imitated exactly", "In one way only"),
        *("Range of the effect", "Distance"),
    ]
    assert cells(table) == [
        ["a", "2022", "10", "no", "–", "–", "1.37"],
        ["b", "2023", "11", "yes", "yes", "−2.31", "0.00"],
        ["c", "2024", "12", "yes", "no", "−2.31 to 0.42", "0.00"],
    ]
    said = hull_sentence(grown.hull(["a", "b", "c"]))
    assert said.startswith("Before the start, 2 of 3 areas can be imitated exactly")
    assert "For 1 area, several mixes fit equally well" in said


def test_a_range_of_ratios_is_told_in_percent() -> None:
    frame = grown.hull(["a", "b", "c"]).assign(low=[np.nan, 0.9, 0.8], high=[np.nan, 0.9, np.inf])
    assert [row[5] for row in cells(hull_table(frame, ratio=True))] == [
        *("–", "−10.0\u00a0%", "−20.0\u00a0% to +∞\u00a0%")
    ]


def test_the_hull_of_one_area() -> None:
    assert hull_sentence(grown.hull(["a"])).startswith("The comparison areas cannot imitate the area exactly")


# --- truth -----------------------------------------------------------------------------------------------------------


def test_truth_is_found_by_label_whatever_the_order() -> None:
    truth = pd.DataFrame(
        {
            "unit": ["b", None, "a", None, "all"],
            "cohort": [2023.0, None, 2022.0, 2022.0, None],
            "truth": [2.0, 9.0, 1.0, 5.0, 7.0],
        }
    )
    found = Truth.of(truth.iloc[:4])
    assert found.of_areas(pd.DataFrame({"unit": ["a", "b", "c"]})).tolist()[:2] == [1.0, 2.0]
    assert np.isnan(found.of_areas(pd.DataFrame({"unit": ["c"]}))[0])
    rows = pd.DataFrame({"group": ["overall", "cohort", "cohort"], "cohort": [None, 2022, 2023]})
    assert found.of_waves(rows)[:2].tolist() == [9.0, 5.0]
    assert Truth.of(truth).overall == 7.0
    assert np.isnan(Truth.of(None).overall)


def test_coverage_in_words() -> None:
    frame = pd.DataFrame(
        {"conf_low": [0.0, 0.0, 0.0, np.nan], "conf_high": [1.0, 1.0, 1.0, np.nan], "truth": [0.5, 1.0, 1.01, 0.5]}
    )
    assert coverage_words(frame) == (
        "These data are simulated, so the true effects are known: 2 of 3 intervals contain the truth (of 95 % "
        "intervals, about 3 would be expected to)."
    )
    assert "1 of 1 interval contains the truth." in coverage_words(frame.iloc[:1])
    assert "no interval was given" in coverage_words(frame.iloc[3:])
    assert coverage_words(frame.assign(truth=np.nan)) == ""


def test_truth_beside_the_estimates_on_the_page(evaluation: Build) -> None:
    built = evaluation()
    frame = built.areas.to_frame()
    true = built.truth.iloc[:27]["truth"].to_numpy(dtype=float)
    inside = int(((frame["conf_low"] <= true) & (true <= frame["conf_high"])).sum())
    assert 0 < inside < 27
    read = Read(report.html(built))
    assert f"{inside} of 27 intervals contain the truth" in read.words
    assert read.words.count("true effect (simulated data)") == 4  # two figures at two widths
    assert "In the interval" in read.words


# --- persons ---------------------------------------------------------------------------------------------------------


def test_horizons_in_percent_with_counts() -> None:
    estimate = grown.recidivism(["first", "second"])
    table = horizons_table(estimate)
    assert list(table.head) == ["Group", "After", "Persons", "Events", "Share", "95 % interval"]
    frame = estimate.to_frame()
    first = cells(table)[0]
    assert first[:3] == ["first", "182\u00a0days", "900"]
    assert first[4] == f"{100 * frame['estimate'].iloc[0]:.1f}\u00a0%"
    assert first[5].startswith(f"{100 * frame['conf_low'].iloc[0]:.1f}\u00a0% to")
    assert "not an effect of the programme" in " ".join(recidivism_notes(estimate))


def test_kinds_of_events_have_a_column_and_a_figure_each(built: Any) -> None:
    estimate = grown.recidivism(["first"], causes=["theft <b>", "violence"])
    assert cells(horizons_table(estimate))[0][:2] == ["first", "theft <b>"]
    text = report.html(replace(built, recidivism=estimate))
    assert "Share of persons with the event (theft &lt;b&gt;)" in text
    assert "<b>" not in text
    read = Read(text)
    assert sum(a["aria-labelledby"].startswith("recidivism-figure-") for a in read.of("svg")) == 4


def test_persons_that_were_not_grouped_are_all_persons() -> None:
    assert cells(horizons_table(grown.recidivism(["all"])))[0][0] == "All persons"


def test_persons_have_their_provenance_on_the_page(built: Any) -> None:
    noted = replace(built.recidivism, provenance=built.recidivism.provenance.noting("3 persons without a date <i>"))
    read = Read(report.html(replace(built, recidivism=noted)))
    assert "recidivism.kaplan_meier" in read.words
    assert "3 persons without a date <i>" in read.words


def test_the_methods_that_were_tried_stand_beside_the_effect(built) -> None:
    tried = grown.inference("log")
    said = inference_sentence(tried)
    assert "comes from the jackknife" in said
    assert "mixed: randomization in the pool lies on the other side" in said
    assert "No other valid method lies clearly" in inference_sentence(
        tried.loc[tried["method"] != "randomization in the pool"]
    )
    assert "No other method is valid" in inference_sentence(tried.iloc[:1])
    html = inference_table(tried, "log").html()
    assert html.count("not valid here") == 1
    assert "All waves" in html
    page = str(report.html(built))
    assert "How sure: the methods that were tried" in page


def test_areas_together(built) -> None:
    table = league_table(grown.league(["Delft", "Breda", "Venlo"], "log"), "log")
    heads = [str(head) for head in table.head]
    assert heads[-1] == "Ranks it may have"
    assert [row[-1] for row in cells(table)] == ["1 to 3"] * 3
    assert cells(table)[0][heads.index("Adjusted p")] == "0.200"
    assert "Areas together" in str(report.html(built))
