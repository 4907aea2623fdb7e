"""Results as JSON: the published schema, the same frame after reading, damaged files, provenance."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

import pmg_eval as pe
from pmg_eval import did, resample
from pmg_eval.errors import DataError
from pmg_eval.estimate import Draws, Estimate, Provenance, make_terms
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
    assert new["method"].tolist() == kernel
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


def test_draws_are_read_back_as_what_is_left_of_them() -> None:
    """Wald intervals from the covariance, saying so; but nothing where the law itself could show nothing."""
    errors = np.random.default_rng(0).normal(size=(999, 2))
    columns = {"unit": ["a", "b"], "n_placebo": [99, 9], "p_min": [0.01, 0.1], "interval": "placebo"}
    before = Estimate(np.array([9.0, 9.0]), make_terms(columns, 2), Draws(errors, np.array([0.01, 0.1])))
    saved = json.loads(before.to_json())
    assert problems(saved, "estimate") == []
    assert saved["terms"][0]["conf_low"] == pytest.approx(before.to_frame()["conf_low"][0])
    after = Estimate.from_dict(saved)
    frame = after.to_frame()
    assert "read back" in frame["method"][0]
    assert any("placebo law itself is not stored" in note for note in after.provenance.notes)
    assert frame["conf_low"].notna().tolist() == [True, False]
    assert frame["p_value"].tolist() == [0.01, 0.1]
    assert after.to_frame(0.9)["conf_low"].notna().all()


def test_above_a_thousand_terms_the_covariance_stays_out() -> None:
    many = by_influence(np.zeros(1_001), {"event_time": range(1_001)}, np.ones((3, 1_001)))
    saved = many.to_dict()
    assert "covariance" not in saved["uncertainty"]
    assert problems(saved, "estimate") == []
    assert Estimate.from_dict(saved).uncertainty is None


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
        "a strange period": changed({"period": "x", "freq": "Q-DEC"}, "terms", 0, "event_time"),
    }


@pytest.mark.parametrize("name", list(damaged()))
def test_a_damaged_file_is_named(name: str) -> None:
    with pytest.raises(DataError) as caught:
        Estimate.from_json(damaged()[name])
    assert caught.value.code == "PMG-RESULT-FORMAT"
    assert caught.value.fix


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
