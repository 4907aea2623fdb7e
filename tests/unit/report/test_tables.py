import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pmg_eval.estimate import Estimate, make_terms
from pmg_eval.estimate.scales import ScaleName
from pmg_eval.report._tables import Table

Areas = Callable[[Sequence[Any], ScaleName], Estimate[None]]


def test_a_notebook_shows_a_table(areas: Areas) -> None:
    shown = areas(["Delft", "Breda"], "log")._repr_html_()
    assert "<caption><span>did.imputation: 2 terms</span></caption>" in shown
    assert '<th scope="row">Delft</th>' in shown
    assert "<li>Method: placebo law</li>" in shown
    assert "95 % interval" in shown
    assert "<script" not in shown


def test_notebook_labels_are_escaped(areas: Areas, payloads: tuple[str, ...]) -> None:
    estimate = areas(payloads, "log")
    estimate = replace(estimate, provenance=estimate.provenance.noting(*payloads))
    shown = estimate._repr_html_()
    plain = areas([f"n{i}" for i in range(len(payloads))], "log")
    plain = replace(plain, provenance=plain.provenance.noting(*(f"n{i}" for i in range(len(payloads)))))
    tags = [re.sub(r' class="[^"]*"', "", tag) for tag in re.findall(r"<[^>]*>", shown)]
    expected = [re.sub(r' class="[^"]*"', "", tag) for tag in re.findall(r"<[^>]*>", plain._repr_html_())]
    assert tags == expected
    assert "mathjax_ignore" in shown
    shown.encode("utf-8")


def test_a_long_estimate_is_cut_in_a_notebook(areas: Areas) -> None:
    shown = areas(range(200), "identity")._repr_html_()
    assert "200 terms, the first 60 shown" in shown
    assert shown.count("<tr>") == 61


def test_one_term_without_labels() -> None:
    shown = Estimate(np.array([1.5]), make_terms({}, 1))._repr_html_()
    assert '<th scope="row">0</th>' in shown


@pytest.mark.parametrize("word", ["x" * 25, "漢" * 30])
def test_unbroken_words_are_marked(word: str) -> None:
    assert "unbroken" in Table("c", ["a"], [[word]]).html()
    assert "unbroken" not in Table("c", ["a"], [["short words only, however many of them there are"]]).html()
