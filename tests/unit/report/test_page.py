import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from pmg_eval import report
from pmg_eval.errors import DataError
from pmg_eval.estimate import make_terms
from pmg_eval.report._sections_effects import area_notes

Build = Callable[..., Any]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Read(HTMLParser):
    """Elements with their ancestors, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str], tuple[str, ...]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}, tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}, tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> does not close what is open"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes, _ in self.elements if tag in tags]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def page(evaluation: Build) -> str:
    return report.html(evaluation())


@pytest.fixture(scope="module")
def read(page: str) -> Read:
    return Read(page)


# --- one file that does nothing --------------------------------------------------------------------------------------


def test_it_loads_and_runs_nothing(page: str, read: Read) -> None:
    used = {tag for tag, _, _ in read.elements}
    assert not used & {"script", "img", "iframe", "object", "embed", "form", "input", "base", "audio", "video", "image"}
    for _, attributes, _ in read.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))
        for url in re.findall(r"url\(([^)]*)\)", attributes.get("style", "") + attributes.get("clip-path", "")):
            assert url.startswith("#")
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    policy = next(a["content"] for a in read.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_same_evaluation_same_bytes_whatever_the_style(evaluation: Build, page: str) -> None:
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "svg.fonttype": "path", "text.color": "red"}):
        assert report.html(evaluation()) == page


def test_it_is_not_heavy(page: str) -> None:
    assert len(page.encode()) < 800_000  # 27 areas, seven figures at two widths


# --- structure -------------------------------------------------------------------------------------------------------


def test_headings_and_landmarks(read: Read) -> None:
    levels = [int(tag[1]) for tag, _, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(read.of(landmark)) == 1
    assert read.of("html")[0]["lang"] == "en"
    first_link = read.of("a")[0]
    assert first_link["class"] == "skip"
    assert read.open == []


def test_identifiers(read: Read) -> None:
    ids = [a["id"] for _, a, _ in read.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in read.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(name, "").split()) <= set(ids)
        target = attributes.get("href", "")
        assert not target.startswith("#") or target[1:] in ids


def test_tables(read: Read) -> None:
    tables = [path for tag, _, path in read.elements if tag == "table"]
    assert len(tables) == len(read.of("caption")) >= 7
    assert all(path[-1] == "div" for path in tables)
    assert len([a for a in read.of("div") if a.get("class") == "scroll" and a["tabindex"] == "0"]) == len(tables)
    assert all(a.get("scope") in ("col", "row") for a in read.of("th"))
    assert [path for tag, _, path in read.elements if tag == "table" and "details" in path]  # 27 areas are folded


def test_figures_speak(read: Read) -> None:
    drawings = read.of("svg")
    assert [a["class"] for a in drawings] == ["wide", "narrow"] * 7
    assert all(a["role"] == "img" and len(a["aria-labelledby"].split()) == 2 for a in drawings)
    assert [a["viewbox"].split()[2] for a in drawings] == ["800", "340"] * 7
    assert len(read.of("desc")) == 14
    assert "Forest plot of 27 areas." in read.words
    assert "Event study of 10 periods." in read.words
    assert "27 small line charts, one per area, from 2012 to 2025" in read.words
    assert "Step curves of the share of persons with the event over time, for 3 groups" in read.words
    assert "Forest plot of 4 rows with Imputation, Group-time and Synthetic difference-in-differences" in read.words


def test_sections_in_order(read: Read) -> None:
    sections = [a["id"] for a in read.of("section")]
    assert sections == [
        *("summary", "data", "overall", "event-study", "areas", "paths", "checks", "agreement", "recidivism"),
        *("assumptions", "notes", "provenance"),
    ]
    links = [a["href"] for a in read.of("a") if a.get("class") != "skip"]
    assert links == [f"#{name}" for name in sections]


# --- what it says ----------------------------------------------------------------------------------------------------


def test_the_summary_in_natural_units(read: Read) -> None:
    assert "−8.6\u00a0%" in read.words or "−8.6 %" in read.words
    assert "What this does not say" in read.words
    assert "does not show that nothing happened" in read.words
    assert "27" in read.words
    assert "compared with 53 without the programme" in read.words


def test_verdicts_in_words(read: Read) -> None:
    assert "3 checks: 1 passed, 1 not passed, 1 not possible." in read.words
    for words in ("Passed", "Not passed", "Not possible"):
        assert words in read.words


def test_multiplicity_and_smallest_p(evaluation: Build) -> None:
    first, second, _ = area_notes(evaluation().areas)
    assert first.startswith("27 areas are tested separately. If the programme did nothing anywhere, about 1.4 of them")
    assert "75\u00a0%" in first
    assert "allows is 0.018" in second
    assert "No single area can therefore pass a test that corrects for 27 areas (Bonferroni: p below 0.0019)" in second


def test_provenance(read: Read) -> None:
    assert "cd" * 32 in read.words
    assert "doi:10.1162/rest_a_00759" in read.words
    assert "draws = 499" in read.words
    assert "1 area dropped: Nowhere" in read.words


def test_differences_have_no_percent(evaluation: Build) -> None:
    said = Read(report.html(evaluation("identity"))).words
    assert "in the unit of the outcome" in said
    assert "Rate ratio" not in said
    assert "−1.80" in said


@pytest.mark.parametrize(("shift", "words"), [(0.01, "within chance"), (0.5, "differ by more than chance")])
def test_agreement(evaluation: Build, shift: float, words: str) -> None:
    built = evaluation(names=["a", "b"])
    apart = replace(built, agreement=replace(built.agreement, values=np.array([1 + shift])))
    assert words in Read(report.html(apart)).words


# --- labels are text -------------------------------------------------------------------------------------------------


def shape(text: str) -> Counter[tuple[str, frozenset[str]]]:
    """Elements with the names of their attributes; a class may say that a word is long.

    Of the strokes of a drawing only the kinds: how many ticks an axis has depends on the room that names leave.
    """
    found = Counter((tag, frozenset(a) - {"class"}) for tag, a, _ in Read(text).elements)
    return Counter({key: 1 if key[0] in ("g", "path", "use", "text") else many for key, many in found.items()})


def test_hostile_names_add_nothing_to_the_structure(evaluation: Build, payloads: tuple[str, ...]) -> None:
    hostile = report.html(evaluation(names=payloads))
    assert shape(hostile) == shape(report.html(evaluation(names=[f"Area {i:02d}" for i in range(len(payloads))])))
    hostile.encode("utf-8")
    said = Read(hostile).words
    assert all(words in said for words in payloads[:6])


def test_hostile_words_everywhere(evaluation: Build, payloads: tuple[str, ...]) -> None:
    few = ["a", "b"]
    plain = shape(report.html(evaluation(names=few)))
    for words in (payloads[0], payloads[3], " ".join(payloads)):
        text = report.html(evaluation(names=few, words=words))
        assert shape(text) == plain
        assert " ".join(words.split("\u202e")[0].split()) in Read(text).words
        assert "<script" not in text
        text.encode("utf-8")


# --- less than everything --------------------------------------------------------------------------------------------


EMPTY = {
    "inference": pd.DataFrame(),
    "league": pd.DataFrame(),
    "wave_agreement": pd.DataFrame(),
    "area_agreement": pd.DataFrame(),
    "hull": pd.DataFrame(),
    "paths": pd.DataFrame(),
    "recidivism": None,
    "truth": None,
    "summary": (),
}


def test_one_treated_area_and_nothing_else(evaluation: Build) -> None:
    built = evaluation(names=["Only one"])
    bare = replace(
        built,
        effects=replace(built.effects.where(group="overall"), uncertainty=None),
        areas=replace(built.areas, uncertainty=None),
        agreement=None,
        agreement_table=built.agreement_table.iloc[:0],
        band=pd.DataFrame(),
        checks=built.checks.iloc[:0],
        waves=built.waves.iloc[:0],
        data={},
        caveats=(),
        **EMPTY,
    )
    said = Read(report.html(bare)).words
    for words in (
        "no interval can be given",
        "No effects by time since the start were estimated.",
        "No check was made.",
        "No second estimator could be computed",
        "No area started within the data.",
    ):
        assert words in said


def test_areas_without_an_estimate_are_named(evaluation: Build) -> None:
    built = evaluation(names=["Here", "<b>Gone</b>", "There"])
    values = built.areas.values.copy()
    values[1] = np.nan
    terms = make_terms({**built.areas.terms, "status": ["", "no event before the start", ""]}, 3)
    said = Read(report.html(replace(built, areas=replace(built.areas, values=values, terms=terms)))).words
    assert "No effect could be given for 1 area: <b>Gone</b>." in said
    assert "No event before the start" in said


def test_no_area_at_all(evaluation: Build) -> None:
    built = evaluation()
    said = Read(report.html(replace(built, areas=built.areas.take([]), effects=built.effects.take([])))).words
    assert "No effect of a single area was estimated." in said
    assert "No overall effect was estimated." in said


def test_periods_as_labels(evaluation: Build) -> None:
    built = evaluation(names=["a", "b"])
    terms = built.areas.terms.assign(cohort=pd.PeriodIndex(["2022Q1", "2022Q2"], freq="Q"))
    assert "2022Q2" in report.html(replace(built, areas=replace(built.areas, terms=terms)))


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_extras(evaluation: Build, page: str, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match="PMG-EXTRA") as caught:
        report.html(evaluation())
    assert caught.value.fix == 'pip install "pmg_eval[report]"'


# --- style -----------------------------------------------------------------------------------------------------------


def contrast(one: str, other: str) -> float:
    def luminance(color: str) -> float:
        channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_has_a_contrast_of_seven() -> None:
    css = files("pmg_eval.report").joinpath("templates", "page.css").read_text(encoding="utf-8")
    colors = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", css))
    for text in ("ink", "muted", "accent", "pass", "attention"):
        for ground in ("paper", "surface"):
            assert contrast(colors[text], colors[ground]) >= 7
    assert ":focus-visible" in css
    assert "@media print" in css
