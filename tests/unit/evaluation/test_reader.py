"""An evaluation read back from its file: the same file and page again, and damaged files refused by name."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import pmg_eval as pe
from pmg_eval.errors import DataError, InferenceError
from unit.estimate.schemas import problems
from unit.resample.panels import counts, panel_of, staggered

# What is drawn from details, which a file does not hold: the curves of persons.
FIGURES = re.compile(r'<figure>\n<svg class="wide"[^>]* aria-labelledby="recidivism-figure.*?</figure>\n*', re.DOTALL)


def spells() -> pe.Spells:
    rng, n = np.random.default_rng(4), 300
    table = pd.DataFrame({"id": np.arange(n), "exit": rng.integers(1, 1200, n), "event": rng.integers(0, 2, n)})
    table["cohort"] = rng.choice(["2019", "2020"], n)
    table["cause"] = np.where(table["event"] == 1, rng.choice(["recidivism", "death"], n, p=[0.9, 0.1]), None)
    return pe.Spells(table, person="id", exit="exit", event="event", cause="cause", group="cohort")


def evaluated(name: str) -> pe.Evaluation:
    if name == "counts":
        panel = panel_of(counts(n=48, periods=8, starts={2005: 4, 2006: 3}, effect=-0.2))
        return pe.evaluate(panel, "suspects", draws=19, anticipation=1)
    if name == "one area":
        return pe.evaluate(panel_of(staggered(n=46, periods=9, starts={2006: 1}, effect=-9.0)), "rate", draws=19)
    if name == "no comparison areas":
        return pe.evaluate(panel_of(staggered(n=20, periods=8, starts={2004: 8, 2006: 12})), "rate", draws=19)
    panel = panel_of(staggered(n=45, periods=8, starts={2005: 3, 2006: 2}, effect=-1.0))
    truth = pd.DataFrame({"unit": panel.units[:5], "truth": -1.0})
    return pe.evaluate(panel, "rate", draws=19, rng=5, spells=spells(), truth=truth)


NAMES = ["counts", "one area", "no comparison areas", "rates and persons"]


@pytest.fixture(scope="module")
def found() -> dict[str, pe.Evaluation]:
    return {name: evaluated(name) for name in NAMES}


# --- the same again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_file_and_the_page_of_what_was_read_are_the_same(found, name: str) -> None:
    text, page = found[name].to_json(), found[name].to_html()
    back = pe.Evaluation.from_json(text)
    assert back.to_json() == text
    assert str(back) == str(found[name])
    drawn = FIGURES.findall(page)
    assert len(drawn) == (2 if name == "rates and persons" else 0)  # one per cause
    assert back.to_html() == FIGURES.sub("", page)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_the_printed_one(found, name: str) -> None:
    back = pe.Evaluation.from_json(found[name].to_json())
    for part in ("effects", "areas", "agreement", "recidivism"):
        before, after = getattr(found[name], part), getattr(back, part)
        if before is None:
            assert after is None
            continue
        assert_frame_equal(after.to_frame(), before.to_frame(), check_exact=True, check_dtype=False)


def test_the_interval_of_one_area_stays_that_of_its_placebo_law(found) -> None:
    before = found["one area"]
    back = pe.Evaluation.from_json(before.to_json())
    row, wald = back.areas.to_frame().iloc[0], back.areas.interval(method="wald").iloc[0]
    assert row["conf_low"] == before.areas.to_frame()["conf_low"][0]
    assert abs(row["conf_low"] - wald["conf_low"]) > 0.01  # what its covariance gives
    assert back.headline == before.headline
    with pytest.raises(InferenceError) as caught:
        back.areas.to_frame(0.9)
    assert caught.value.code == "PMG-STORED-LEVEL"


# --- damaged files ----------------------------------------------------------------------------------------------------

TABLES = ["waves", "band", "checks", "agreement_table", "wave_agreement", "area_agreement", "hull", "paths", "truth"]


@pytest.fixture(scope="module")
def small(found) -> dict[str, Any]:
    """All parts of an evaluation with few rows each, as it is saved."""
    whole = found["rates and persons"]
    tables = {name: getattr(whole, name).head(2) for name in TABLES}
    parts = {name: getattr(whole, name).take([0, 1]) for name in ("areas", "agreement", "recidivism")}
    effects = whole.effects
    some = np.concatenate(
        [np.flatnonzero(effects.terms["group"] == name)[-3:] for name in pd.unique(effects.terms["group"])]
    )
    return replace(whole, effects=effects.take(some), **tables, **parts).to_dict()


TABLES = (
    *("waves", "band", "checks", "inference", "agreement_table", "wave_agreement", "area_agreement", "league"),
    *("hull", "paths", "truth"),
)


def test_null_lists_and_numbers_where_something_else_must_stand(small) -> None:
    """All keys of the file, each replaced by five things: refused exactly where the schema refuses it."""
    saved = small
    passed = []
    for key in saved:
        for value in (None, [], {}, "x", 3):
            changed = {**saved, key: value}
            if problems(changed, "evaluation"):
                with pytest.raises(DataError) as caught:
                    pe.Evaluation.from_json(json.dumps(changed))
                assert caught.value.code == "PMG-RESULT-FORMAT"
                assert caught.value.fix
            else:
                passed.append((key, value))
                back = pe.Evaluation.from_json(json.dumps(changed))
                assert json.loads(back.to_json()) == changed
    want = [(name, []) for name in (*TABLES, "caveats")] + [
        (name, None) for name in ("agreement", "recidivism", "truth")
    ]
    want += [(name, "x") for name in ("title", "outcome", "headline")] + [("outcome", 3), ("data", {})]
    assert sorted(passed, key=str) == sorted(want, key=str)


def test_the_page_shows_what_is_left_of_an_evaluation_of_empty_tables(found) -> None:
    saved = found["rates and persons"].to_dict()
    empty = {name: [] for name in (*TABLES, "caveats")} | {"agreement": None, "recidivism": None, "data": {}}
    page = pe.Evaluation.from_dict({**saved, **empty}).to_html()
    assert "No check was made." in page
    nothing = {"terms": [], "interval": [], "term_method": [], "term_status": [], "uncertainty": {"carrier": "none"}}
    for name in ("effects", "areas"):
        bare = {**saved, name: {**saved[name], **nothing}}
        back = pe.Evaluation.from_dict(bare)
        assert len(getattr(back, name)) == 0
        assert back.to_dict() == bare
        assert "<table" in back.to_html()


def first_of_each(inner: Any, at: tuple[Any, ...] = (), seen: set[Any] | None = None) -> Iterator[tuple[Any, ...]]:
    """Paths into a document, each kind once: the first of a list stands for all."""
    seen = set() if seen is None else seen
    kind = tuple("*" if isinstance(step, int) else step for step in at)
    if at and kind not in seen:
        seen.add(kind)
        yield at
    pairs = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
    for key, item in pairs:
        yield from first_of_each(item, (*at, key), seen)


def damaged(saved: dict[str, Any], path: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """The document without what stands at the path, or with something else in its place."""
    for value in ("gone", None, [], 0, "x"):
        copy = {**saved, path[0]: json.loads(json.dumps(saved[path[0]]))}
        holder: Any = copy
        for step in path[:-1]:
            holder = holder[step]
        if value == "gone":
            del holder[path[-1]]
        else:
            holder[path[-1]] = value
        yield copy


def read_or_refused(saved: dict[str, Any]) -> pe.Evaluation | None:
    try:
        return pe.Evaluation.from_dict(saved)
    except DataError as refused:
        if refused.code != "PMG-RESULT-FORMAT":
            raise
        return None


def test_a_corrupted_file_is_refused_by_name_or_can_be_read_and_written(small) -> None:
    refused = 0
    for path in first_of_each(small):
        for changed in damaged(small, path):
            back = read_or_refused(changed)
            if back is None:
                refused += 1
                continue
            assert str(back)
            assert back.to_dict().keys() == small.keys(), path
    assert refused > 300


PAGES = [
    ("areas", "terms", 0, "unit"),
    ("areas", "terms", 0, "conf_low"),
    ("effects", "terms", 0, "group"),
    ("effects", "terms", 0, "estimate"),
    ("effects", "terms", 5, "event_time"),
    ("effects", "uncertainty", "covariance"),
    ("paths", 0, "period"),
    ("wave_agreement", 0, "z"),
    ("area_agreement", 0, "unit"),
    ("recidivism", "terms", 0, "horizon"),
    ("truth", 0, "truth"),
    ("provenance", "options"),
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: "-".join(map(str, path)))
def test_the_page_of_a_corrupted_file_that_passes_can_be_made(small, path: tuple[Any, ...]) -> None:
    for changed in damaged(small, path):
        back = read_or_refused(changed)
        if back is not None:
            assert "<table" in back.to_html()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '"x"', "NaN", "[" * 100_000, '{"schema": []}', '{"a": 1e999}']
)
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(DataError) as caught:
        pe.Evaluation.from_json(text)
    assert caught.value.code == "PMG-RESULT-FORMAT"


def test_numbers_that_are_no_json_are_refused(found) -> None:
    text = found["one area"].to_json()
    for number in ("NaN", "Infinity", "1e999", "1" + "0" * 400):
        with pytest.raises(DataError) as caught:
            pe.Evaluation.from_json(re.sub(r'"estimate": [-\d.]+', f'"estimate": {number}', text, count=1))
        assert caught.value.code == "PMG-RESULT-FORMAT"


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["json", "html"])
@pytest.mark.parametrize("path", [5, b"x", 1.5, "x" * 300, "a\0b", "absent/x"])
def test_a_path_that_is_none_is_named(found, tmp_path: Path, monkeypatch, kind: str, path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write = getattr(found["no comparison areas"], f"to_{kind}")
    for overwrite in (True, False):
        with pytest.raises(DataError) as caught:
            write(path, overwrite=overwrite)
        assert caught.value.code == "PMG-PATH"
    assert list(tmp_path.iterdir()) == []
