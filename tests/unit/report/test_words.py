import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmg_eval.report._words import Measure, clean, columns_of, number, p_value, percent, shortened, typeset, whole


@given(st.text())
def test_a_clean_label_can_be_written_and_cannot_steer_a_terminal(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert not any(ord(letter) < 32 or 0x202A <= ord(letter) <= 0x202E for letter in cleaned)
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (np.nan, ""), (pd.NA, ""), (pd.NaT, ""), (2015.0, "2015"), (2015.5, "2015.5"), ("a  b\n", "a b")],
)
def test_labels(value: object, shown: str) -> None:
    assert clean(value) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("from -3.0 % to +20.6 %", "from −3.0\u00a0% to +20.6\u00a0%"),
        ("(-1.5)", "(−1.5)"),
        ("2010-01-05, Sittard-Geleen, A-12, 1e-05", "2010-01-05, Sittard-Geleen, A-12, 1e-05"),
    ],
)
def test_sentences_are_set_like_the_tables(given: str, shown: str) -> None:
    assert typeset(given) == shown


def test_a_period_keeps_its_name() -> None:
    assert clean(pd.Period("2022Q3", freq="Q")) == "2022Q3"


@given(st.text(), st.integers(1, 40))
def test_a_shortened_name_fits(text: str, columns: int) -> None:
    short = shortened(text, columns)
    assert columns_of(short) <= max(columns, 1)
    assert short == text or short.endswith("…")


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [
        *[(-1.234, 2, "−1.23"), (1234567.0, 0, "1,234,567"), (-0.001, 2, "0.00"), (math.nan, 1, "–")],
        *[(math.inf, 1, "∞"), (-math.inf, 1, "−∞"), (1.5e-9, 6, "1.5e−09"), (3e12, 0, "3e+12")],
    ],
)
def test_numbers(value: float, decimals: int, shown: str) -> None:
    assert number(value, decimals) == shown


def test_percentages_carry_their_sign() -> None:
    assert [percent(x) for x in (12.34, -12.34, 0.0, 0.04, math.nan)] == [
        *("+12.3\u00a0%", "−12.3\u00a0%", "0.0\u00a0%", "0.0\u00a0%", "–")
    ]


def test_p_values_say_when_they_are_the_smallest_possible() -> None:
    assert [p_value(0.0001), p_value(0.0412), p_value(1 / 56, 1 / 56), p_value(0.5, 1 / 56), p_value(math.nan)] == [
        *("< 0.001", "0.041", "0.018 (min.)", "0.500", "–")
    ]


def test_counts() -> None:
    assert [whole(27), whole(27.0), whole(None), whole(pd.NA), whole(np.inf), whole(12345)] == [
        *("27", "27", "–", "–", "–", "12,345")
    ]


@pytest.mark.parametrize(("half", "shown"), [(500.0, "1,235"), (5.0, "1,234.6"), (0.05, "1,234.568")])
def test_decimals_follow_the_uncertainty(half: float, shown: str) -> None:
    frame = pd.DataFrame({"estimate": [1234.5678], "conf_low": [1234.5 - half], "conf_high": [1234.5 + half]})
    assert Measure.of(frame, "identity").value(1234.5678) == shown


def test_a_ratio_is_also_a_change() -> None:
    measure = Measure("log", 2)
    assert measure.natural(0.9) == "−10.0\u00a0%"
    assert measure.natural_interval(0.8, 1.1) == "−20.0\u00a0% to +10.0\u00a0%"
    assert measure.natural_interval(math.nan, 1.1) == "–"
    assert Measure("identity", 1).natural_interval(-1.0, 2.0) == "−1.0 to 2.0"


@given(st.lists(st.floats(), min_size=1, max_size=5))
def test_any_numbers_can_be_written(values: list[float]) -> None:
    frame = pd.DataFrame({"estimate": values, "conf_low": values, "conf_high": values[::-1]})
    for scale in ("identity", "log"):
        measure = Measure.of(frame, scale)
        assert all(measure.natural(value) for value in values)
