"""Results as JSON: the published schema, the same frame after reading, damaged files, provenance."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

import pmg_eval as pe
from pmg_eval import did, resample
from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Draws, Estimate, Provenance, make_terms
from pmg_eval.estimate.shape import check_shape
from unit.estimate.made import by_covariance, by_influence
from unit.estimate.schemas import SCHEMAS, problems
from unit.resample.panels import counts, panel_of, staggered

MICRODATA = 0.123456789123


def quarterly() -> pe.Panel:
    table = staggered()
    for name in ("year", "start"):
        quarter = pd.PeriodIndex.from_ordinals(table[name] - 2000 + 120, freq="Q").astype(object)
        table[name] = np.where(table[name] > 0, quarter, pd.NaT)
    table = table.astype({"year": "period[Q-DEC]", "start": "period[Q-DEC]"})
    return pe.Panel(table, unit="area", time="year", cohort="start", never=None)


def examples() -> dict[str, Estimate]:
    panel, count = panel_of(staggered(), cluster="region"), panel_of(counts())
    both = pe.stack(did.group_time(panel, "rate").average(by="event_time"), did.imputation(panel, "rate").average())
    return {
        "cells": did.group_time(panel, "rate", base_period="universal"),
        "ratios": did.imputation(count, "suspects", family="poisson").average(by="event_time"),
        "quarters": did.group_time(quarterly(), "rate"),
        "pretrends of no cohort": did.imputation(quarterly(), "rate").average(by="event_time"),
        "cells and pretrends": did.imputation(panel_of(staggered(n=20, starts={2004: 2, 2006: 2})), "rate"),
        "stacked": both,
        "one treated": did.group_time(panel_of(staggered(starts={2004: 1})), "rate").average(),
        "clustered": both.assuming(pe.clustered("region", correction="G")),
        "jackknife": resample.jackknife(
            lambda panel, outcome: did.imputation(panel, outcome).average(by="cohort"), panel, "rate", cluster="region"
        ),
        "covariance": by_covariance([0.2, 0.4], [0.1, 0.0], {"unit": [3, 7]}, scale="logit", df=3.0),
        "counts": by_covariance([0.2], [0.1], {"n_events": [2], "n_persons": [10], "interval": "wilson"}),
        "missing": by_influence([np.nan, 1.0], {"event_time": [0, 1], "status": ["no_control", ""]}),
        "no law": Estimate(np.array([1.0, np.inf]), make_terms({"event_time": [0, 1]}, 2)),
        "nothing": by_covariance([1.0], [0.1]).take([]),
    }


@pytest.fixture(scope="module")
def made() -> dict[str, Estimate]:
    return examples()


NAMES = [
    *("cells", "ratios", "quarters", "pretrends of no cohort", "cells and pretrends", "stacked", "one treated"),
    *("clustered", "jackknife", "covariance", "counts", "missing", "no law", "nothing"),
]


@pytest.mark.parametrize("name", NAMES)
def test_documents_follow_the_schema(made, name: str) -> None:
    text = made[name].to_json(0.9)
    assert problems(json.loads(text), "estimate") == []
    assert "NaN" not in text
    assert "Infinity" not in text
    assert made[name].to_json(0.9) == text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("guard", [True, False])
def test_the_same_frame_after_reading(made, name: str, guard: bool) -> None:
    before, text = made[name], made[name].to_json()
    after = Estimate.from_json(text)
    if name == "nothing":
        assert len(after) == 0
        return
    old, new = before.to_frame(0.8, guard=guard), after.to_frame(0.8, guard=guard)
    if name == "no law":
        old["estimate"] = old["estimate"].where(np.isfinite(old["estimate"]))  # infinite is null
    kernel = [method.replace("influence", "covariance") for method in old["method"]]
    assert new["method"].tolist() == kernel  # another level is computed from what the file has
    drop = {"method"}
    assert_frame_equal(
        old.drop(columns=drop), new.drop(columns=drop), check_dtype=False, check_column_type=False, rtol=1e-12
    )
    again = Estimate.from_json(after.to_json())
    assert_frame_equal(again.to_frame(), after.to_frame(), rtol=1e-12)
    assert after.provenance == before.provenance
    assert after.provenance.digest == before.provenance.digest


def test_what_was_read_can_be_worked_with(made) -> None:
    before = made["stacked"]
    after = Estimate.from_json(before.to_json())
    matrix = np.ones((1, len(before)))
    assert_allclose(after.map(matrix).se, before.map(matrix).se, rtol=1e-12)
    assert after.terms["event_time"].dtype == before.terms["event_time"].dtype
    assert_allclose(after.where(event_time=0).values, before.where(event_time=0).values)
    with pytest.raises(pe.InferenceError):
        after.assuming(pe.clustered("region"))


def test_no_influence_values_and_no_microdata() -> None:
    psi = np.full((50, 1), MICRODATA)
    rows = pd.DataFrame({"unit": [f"person {i}" for i in range(50)]})
    text = by_influence([1.0], {"estimand": "att"}, psi, rows=rows).to_json()
    assert "person" not in text
    assert str(MICRODATA)[:8] not in text
    panel = panel_of(staggered())
    small, large = (did.group_time(p, "rate").to_json() for p in (panel, panel_of(staggered(n=400))))
    assert len(large) < 1.1 * len(small)
    assert "a001" not in small


# --- what was printed is printed again --------------------------------------------------------------------------------

PRINTED = ["std_error", "statistic", "p_value", "conf_low", "conf_high", "df", "status", "method"]


def by_draws(draws: int = 999) -> Estimate:
    """Three areas under a skewed placebo law: one sure, one whose law is too short for 95 %, one without an effect."""
    errors = np.random.default_rng(0).exponential(size=(draws, 3)) * [1.0, 2.0, 3.0]
    p_min = np.array([0.01, 0.1, 0.01])
    columns = {
        "estimand": "att",
        "unit": ["a", "b", "c"],
        "event_time": [0, 0, 0],
        "weight": [2.0, 1.0, 1.0],
        "n_placebo": [99, 9, 99],
        "p_min": p_min,
        "interval": "placebo",
        "method": "placebo law",
    }
    return Estimate(
        np.array([9.0, 9.0, 0.5]), make_terms(columns, 3), Draws(errors, p_min), provenance=Provenance("placebo")
    )


def same_print(read: Estimate, frame: pd.DataFrame, level: float | None = None) -> None:
    """To the last bit, with the missing and infinite numbers where they were."""
    assert_frame_equal(read.to_frame(level)[PRINTED], frame[PRINTED], check_exact=True, check_dtype=False)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("name", [*NAMES, "draws"])
def test_a_file_read_and_written_is_the_same_file(made, name: str, level: float) -> None:
    before = {**made, "draws": by_draws()}[name]
    text = before.to_json(level)
    after = Estimate.from_json(text)
    assert after.to_json(level) == text == Estimate.from_json(after.to_json(level)).to_json(level)
    same_print(after, before.to_frame(level), level)
    if after.uncertainty is not None:  # the level of the file, unless told otherwise
        assert after.to_json() == text
        same_print(after, before.to_frame(level))
        assert f"{level:.0%} intervals" in after.summary() == repr(after)
        assert len(after) == 0 or f"{level:.0%}".removesuffix("%") in after._repr_html_()
        assert after.tidy()["conf.low"].equals(after.to_frame()["conf_low"])


def test_the_numbers_of_a_placebo_law_stay_those_of_the_file() -> None:
    before = by_draws()
    text = before.to_json()
    after = Estimate.from_json(text)
    wald = 9.0 - 1.959963984540054 * before.se[0]
    assert abs(before.to_frame()["conf_low"][0] - wald) > 0.5  # the law is nothing like a normal one
    printed = before.to_frame()
    same_print(after.where(unit=["c", "a"]), printed.iloc[[0, 2]].reset_index(drop=True))
    same_print(after.take([2, 0]).take([1]), printed.iloc[[0]])
    assert after.to_frame()["status"][1] == "a 95% interval is not attainable: the smallest p is 0.1"
    same_print(after, before.to_frame(guard=False))  # there is no guard to switch off
    assert_allclose(after.interval()["conf_high"], before.interval()["conf_high"])
    assert after.pvalues.tolist() == before.pvalues.tolist()


@pytest.mark.parametrize("level", [0.8, 0.99])
def test_a_placebo_law_has_no_other_level(level: float) -> None:
    after = Estimate.from_json(by_draws().to_json())
    for ask in (after.to_frame, after.to_json, after.interval, after.take([0]).summary, after.tidy):
        with pytest.raises(InferenceError, match="placebo law behind them is not in the file") as caught:
            ask(level)
        assert caught.value.code == "PMG-STORED-LEVEL"
        assert "level=0.95" in caught.value.fix


def test_what_is_computed_from_a_placebo_law_in_a_file_uses_its_covariance_and_says_so() -> None:
    before = by_draws()
    after = Estimate.from_json(before.to_json())
    weights = np.array([[0.5, 0.5, 0.0]])
    derived = {
        "map": after.map(weights),
        "apply": after.apply(np.exp, np.exp),
        "average": after.average(),
        "contrast": after.contrast("unit"),
    }
    cov = np.cov(before.uncertainty.errors, rowvar=False)
    assert_allclose(derived["map"].se, np.sqrt(weights @ cov @ weights.T)[0])
    assert_allclose(derived["average"].se, np.sqrt(np.array([0.5, 0.25, 0.25]) @ cov @ [0.5, 0.25, 0.25]))
    for name, found in derived.items():
        frame = found.to_frame(0.8)
        assert set(frame["method"]) == {"covariance of the placebo law (read back)"}, name
        assert (found.terms["interval"] == "wald").all(), name
        assert any("does not hold the placebo law" in note for note in found.provenance.notes), name
        assert problems(json.loads(found.to_json()), "estimate") == []
        assert Estimate.from_json(found.to_json()).to_json() == found.to_json(), name
    half = 1.2815515655446004 * derived["map"].se[0]
    assert_allclose(derived["map"].to_frame(0.8)["conf_high"][0] - derived["map"].values[0], half)
    assert after.band(rng=1)["method"][0] == "covariance of the placebo law (read back)"
    assert any("does not hold the placebo law" in note for note in after.test().provenance.notes)
    asked = after.interval(0.9, method="wald")
    assert_allclose(asked["conf_high"][0], 9.0 + 1.6448536269514722 * before.se[0])
    # what the law could not show, its covariance cannot show either
    logged = derived["apply"].to_frame()
    assert logged["conf_low"].notna().tolist() == [True, False, True]
    assert logged["status"][1] == "a 95% interval is not attainable: the smallest p is 0.1"
    assert logged["p_value"][0] >= 0.01
    assert derived["apply"].to_frame(0.9)["conf_low"].notna().all()


def test_other_levels_are_refused_where_the_file_contradicts_itself(made) -> None:
    """A number was changed, or the counts of an interval are gone: what is printed stands, nothing is made up."""
    saved = made["covariance"].to_dict()
    saved["terms"][0]["conf_high"] = 0.987
    after = Estimate.from_dict(saved)
    assert after.to_frame()["conf_high"][0] == 0.987
    with pytest.raises(InferenceError, match="1 of 2 do not follow from the covariance") as caught:
        after.to_frame(0.9)
    assert caught.value.code == "PMG-STORED-LEVEL"
    assert Estimate.from_dict(saved).take([1]).to_frame(0.9).shape[0] == 1
    saved = made["counts"].to_dict()
    del saved["terms"][0]["n_events"]
    after = Estimate.from_dict(saved)
    assert after.to_frame()["conf_high"][0] == made["counts"].to_frame()["conf_high"][0]
    with pytest.raises(InferenceError, match="an interval from counts needs support columns"):
        after.to_frame(0.9)


def test_a_repaired_covariance_is_remembered_at_every_level() -> None:
    rng = np.random.default_rng(2)
    rows = pd.DataFrame({"unit": [0, 0, 1, 1], "time": [0, 1, 0, 1]})
    psi = np.column_stack([[1.0, -1.0, -1.0, 1.0], rng.normal(size=4)])
    law = by_influence([1.0, 2.0], {"event_time": [0, 1]}, psi, rows=rows)
    before = law.assuming(pe.clustered("unit", "time"))
    after = Estimate.from_json(before.to_json())
    assert after.to_frame(0.8)["status"].tolist() == before.to_frame(0.8)["status"].tolist()
    assert "repaired" in after.to_frame(0.8)["status"][1]


def test_above_a_thousand_terms_the_covariance_stays_out() -> None:
    many = by_influence(np.zeros(1_001), {"event_time": range(1_001)}, np.ones((3, 1_001)))
    saved = many.to_dict()
    assert "covariance" not in saved["uncertainty"]
    assert problems(saved, "estimate") == []
    after = Estimate.from_dict(saved)
    assert after.to_dict() == saved
    same_print(after, many.to_frame())
    same_print(after.where(event_time=[5, 7]), many.where(event_time=[5, 7]).to_frame())
    assert "covariance" not in after.take([0]).to_dict()["uncertainty"]
    for ask in (
        after.cov,
        lambda: after.se,
        lambda: after.to_frame(0.9),
        after.average,
        lambda: after.map(np.eye(1_001)),
    ):
        with pytest.raises(InferenceError, match="too many terms"):
            ask()


# --- damaged ---------------------------------------------------------------------------------------------------------


def damaged() -> dict[str, str]:
    whole = did.group_time(panel_of(staggered(n=20)), "rate").average(by="event_time").to_dict()
    text = json.dumps(whole)

    def without(*path) -> str:
        copy = json.loads(text)
        inner = copy
        for step in path[:-1]:
            inner = inner[step]
        del inner[path[-1]]
        return json.dumps(copy)

    def changed(value, *path) -> str:
        copy = json.loads(text)
        inner = copy
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        return json.dumps(copy)

    return {
        "empty": "",
        "cut off": text[: len(text) // 2],
        "another file": '{"a": 1}',
        "a list": "[1, 2]",
        "a number": "3",
        "null": "null",
        "another version": changed("pmg-eval-estimate/2", "schema"),
        "not a number": text.replace("null", "NaN", 1) if "null" in text else changed(0, "level")[:-1] + ", NaN}",
        "nested too deep": "[" * 100_000,
        "no terms": without("terms"),
        "terms of another kind": changed({"a": 1}, "terms"),
        "a term without estimate": without("terms", 1, "estimate"),
        "a term without label": without("terms", 1, "event_time"),
        "text for a number": changed("large", "terms", 0, "estimate"),
        "an interval too few": without("interval", 0),
        "no provenance": without("provenance"),
        "no uncertainty": without("uncertainty"),
        "no dependence": without("uncertainty", "dependence"),
        "a covariance too small": without("uncertainty", "covariance", 0),
        "a covariance of text": changed("x", "uncertainty", "covariance", 0, 0),
        "an unknown scale": changed("probit", "scale"),
        "an unknown interval": changed("wilsn", "interval", 0),
        "a strange period": changed({"period": "x", "freq": "Q-DEC"}, "terms", 0, "cohort"),
        "a number too large": json.dumps(whole | {"level": 0.5}).replace('"level": 0.5', '"level": 1e999'),
        "support too short": without("uncertainty", "n_treated", 0),
        "half of the support": without("uncertainty", "inflation"),
        "an option of another kind": changed("one", "provenance", "options", "anticipation"),
    }


@pytest.mark.parametrize("name", list(damaged()))
def test_a_damaged_file_is_named(name: str) -> None:
    with pytest.raises(DataError) as caught:
        Estimate.from_json(damaged()[name])
    assert caught.value.code == "PMG-RESULT-FORMAT"
    assert caught.value.fix


def changes(document: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The document with each kind of key taken away or replaced once (the first of a list stands for all)."""
    seen = set()

    def paths(inner: Any, at: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        kind = tuple("*" if isinstance(step, int) else step for step in at)
        if at and kind not in seen:
            seen.add(kind)
            yield at
        pairs = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        for key, item in pairs:
            yield from paths(item, (*at, key))

    for path in list(paths(document, ())):
        for new in ("gone", None, [], {}, 0, -1.5, "x", True, [None], {"period": "2005", "freq": "Y"}):
            copy = json.loads(json.dumps(document))
            holder = copy
            for step in path[:-1]:
                holder = holder[step]
            if new == "gone":
                del holder[path[-1]]
            else:
                holder[path[-1]] = new
            yield path, copy


@pytest.mark.parametrize("name", ["quarters", "jackknife", "covariance", "counts", "no law"])
def test_our_reading_of_the_schema_is_that_of_jsonschema(made, name: str) -> None:
    """Both refuse the same documents; what passes is read or refused by name, and can be printed and written."""
    document = made[name].to_dict()
    document["terms"], document["uncertainty"] = document["terms"][:3], made[name].take([0]).to_dict()["uncertainty"]
    check_shape(document, "estimate")
    refused = 0
    for path, changed in changes(document):
        if problems(changed, "estimate"):
            refused += 1
            with pytest.raises(DataError) as caught:
                check_shape(changed, "estimate")
            assert caught.value.code == "PMG-RESULT-FORMAT", path
        else:
            check_shape(changed, "estimate")
    assert refused > 100


def read_or_refused(saved: dict[str, Any]) -> Estimate | None:
    try:
        return Estimate.from_dict(saved)
    except DataError as refused:
        if refused.code != "PMG-RESULT-FORMAT":
            raise
        return None


@pytest.mark.parametrize("name", ["ratios", "counts", "draws"])
def test_a_changed_file_is_refused_by_name_or_can_be_used(made, name: str) -> None:
    before = {**made, "draws": by_draws()}[name]
    for path, changed in changes(before.take(range(min(len(before), 3))).to_dict()):
        after = read_or_refused(changed)
        if after is not None:
            assert str(after)
            assert problems(after.to_dict(), "estimate") == [], path


def test_a_message_tells_where_and_not_what(made) -> None:
    saved = made["cells"].to_dict()
    saved["terms"][1]["estimate"] = "Erika Mustermann"
    with pytest.raises(DataError, match=r"terms\[1\].estimate must be a number or null") as caught:
        Estimate.from_dict(saved)
    assert "Erika" not in str(caught.value)
    with pytest.raises(DataError) as caught:
        Estimate.from_dict({"schema": ["Erika"]})
    assert "Erika" not in str(caught.value)


# --- the schema itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_are_schemas_and_refuse_what_is_not_listed(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["additionalProperties"] is False
    assert problems({}, name)


def test_the_schema_bites(made) -> None:
    whole = made["cells"].to_dict()
    assert problems({**whole, "psi": [1.0]}, "estimate")
    assert problems({**whole, "scale": "probit"}, "estimate")
    for broken in ({"estimate": "x"}, {"estimate": True}, {"residual": 1.0}, {"event_time": 0.5}, {"status": None}):
        terms = [{**whole["terms"][0], **broken}, *whole["terms"][1:]]
        assert problems({**whole, "terms": terms}, "estimate"), broken
    assert problems({**whole, "uncertainty": {"carrier": "influence"}}, "estimate")


# --- provenance ------------------------------------------------------------------------------------------------------


def test_the_digest_is_of_what_determines_the_numbers() -> None:
    base = Provenance("did.imputation", {"a": 1, "b": None}, "f" * 64, seed=3)
    assert base.digest == replace(base, versions={"numpy": "0"}).digest
    assert base == replace(base, versions={"numpy": "0"})
    assert base.digest == replace(base, options={"b": None, "a": 1}).digest
    assert base.digest == base.noting("a note").digest == replace(base, assumptions=("x",)).digest
    others = [
        replace(base, estimator="did.group_time"),
        replace(base, options={"a": 2, "b": None}),
        replace(base, data="e" * 64),
        replace(base, seed=4),
        base.then("average(by=None)"),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 6


def test_provenance_round_trip_and_notes() -> None:
    base = Provenance("x", {"a": [1, 2]}, notes=("one",)).noting("two", "one").then("map").then("average")
    assert base.notes == ("one", "two")
    assert base.steps == ("map", "average")
    back = Provenance.from_dict(json.loads(json.dumps(base.to_dict())))
    assert back == base
    assert back.versions == base.versions
    assert {"pmg_eval", "python", "numpy", "pandas", "scipy"} <= set(base.versions)


def test_results_say_where_they_come_from() -> None:
    panel = panel_of(staggered())
    one, other = did.group_time(panel, "rate"), did.group_time(panel, "rate", anticipation=1)
    assert one.provenance.data == other.provenance.data == panel.for_outcome("rate").fingerprint
    assert one.provenance.digest != other.provenance.digest
    assert did.group_time(panel_of(staggered(seed=1)), "rate").provenance.digest != one.provenance.digest
    assert one.average().provenance.steps == ("average(by=None, balance=None)",)
