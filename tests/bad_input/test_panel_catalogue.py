"""Every row of the catalogue gives the named error, or the panel that was meant; the input is never changed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bad_input.cases import CASES, Case, clean
from pmg_eval.errors import DataError, DesignError, PmgEvalError, PmgEvalWarning
from pmg_eval.panel import Panel

DESIGN = {"PMG-NO-TREATED", "PMG-NO-CONTROL"}
ERRORS = [case for case in CASES if case.kind == "error"]
FINE = [case for case in CASES if case.kind == "ok"]


def by_name(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def copy_of(frame: Any) -> Any:
    return frame.copy(deep=True) if isinstance(frame, pd.DataFrame) else frame.clone()


def assert_unchanged(frame: Any, before: Any) -> None:
    if isinstance(frame, pd.DataFrame):
        pd.testing.assert_frame_equal(frame, before)
    else:
        assert frame.equals(before)


def test_catalogue_is_complete() -> None:
    numbers = {int(case.number.rstrip("abcdef")) for case in CASES}
    assert numbers == set(range(63))
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.id)
def test_error(case: Case) -> None:
    call = case.call()
    before = copy_of(call.frame)
    with pytest.raises(PmgEvalError) as caught:
        call.panel()
    error = caught.value
    assert [problem.code for problem in error.problems] == [case.code]
    assert isinstance(error, DesignError if case.code in DESIGN else DataError)
    assert error.code in str(error)
    assert_unchanged(call.frame, before)


@pytest.mark.parametrize("case", FINE, ids=lambda case: case.id)
def test_fine(case: Case) -> None:
    call = case.call()
    before = copy_of(call.frame)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        panel = call.panel()
    assert {item.message.code for item in caught if isinstance(item.message, PmgEvalWarning)} >= set(case.warns)
    assert not [item for item in caught if not isinstance(item.message, PmgEvalWarning)]
    assert bool(caught) == bool(case.warns)
    assert {notice.code for notice in panel.notes} >= set(case.notices)
    assert_unchanged(call.frame, before)
    if case.same:
        assert_same(panel, clean().panel())


def assert_same(panel: Panel, expected: Panel) -> None:
    assert panel.times.tolist() == expected.times.tolist()
    for name in ("time_codes", "cohort", "row_unit", "row_time", "weight", "unit_weight"):
        np.testing.assert_array_equal(getattr(panel, name), getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(panel.wide("y"), expected.wide("y"))


def test_text_of_an_outcome_is_not_shown_only_its_pattern() -> None:
    call = by_name("outcome_decimal_comma").call()
    with pytest.raises(DataError, match='decimal=","') as caught:
        call.panel()
    shown = str(caught.value)
    assert "9,9999" in shown
    assert not any(str(value) in shown for value in call.frame["y"])


def test_unsigned_counts_equal_signed_ones() -> None:
    signed = by_name("signed_counts").panel().wide("y")
    for name in ("uint8_counts", "uint32_counts"):
        unsigned = by_name(name).panel().wide("y")
        assert unsigned.dtype == np.float64
        np.testing.assert_array_equal(np.diff(unsigned), np.diff(signed))


def test_float32_is_computed_in_float64() -> None:
    wide = by_name("float32").panel().wide("y")
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide, clean().panel().wide("y"), rtol=1e-6)


def test_int8_does_not_overflow() -> None:
    panel = by_name("int8_period_index").panel()
    assert panel.time_codes.tolist() == list(range(1, 9))
    assert sorted(set(panel.cohort.tolist())) == [6.0, 8.0, np.inf]


def test_ids_are_never_floats() -> None:
    panel = by_name("ids_beyond_float_precision").panel()
    assert panel.units.dtype == np.int64
    assert panel.units.tolist() == [2**53 + place for place in range(1, 61)]


def test_partial_period_policies() -> None:
    treated, dropped, shared = (by_name(f"fractional_cohort_{how}").panel() for how in ("treated", "drop", "share"))
    assert treated.cohort[0] == 2016.0
    assert treated.share is None
    assert dropped.cohort[0] == 2017.0
    assert np.isnan(dropped.wide("y")[:20, 5]).all()
    assert dropped.n_rows == 460
    assert shared.cohort[0] == 2016.0
    assert shared.share is not None
    assert shared.share.tolist() == [0.5] * 20 + [1.0] * 40


def test_gap_keeps_calendar_time() -> None:
    panel = by_name("gap_base_year_for_all").panel()
    assert panel.time_codes.tolist() == [2011, 2012, 2013, 2014, 2016, 2017, 2018]


def test_later_cohorts_are_not_relabelled() -> None:
    panel = by_name("cohort_after_window").panel()
    assert panel.cohort[-5:].tolist() == [2025.0] * 5
    assert by_name("always_treated").panel().always_treated.tolist() == [True] * 5 + [False] * 55


def test_all_problems_in_one_report() -> None:
    frame = clean().frame.assign(w=-1.0, g=lambda df: df.g.mask(df.id.eq(1) & df.year.eq(2012), 2014))
    frame = pd.concat([frame, frame.iloc[[100]]])
    with pytest.raises(DataError) as caught:
        Panel(frame, unit="id", time="year", cohort="g", never=0, weight="w", exposure="population")
    codes = [problem.code for problem in caught.value.problems]
    assert codes == ["PMG-COLUMN", "PMG-DUPLICATE", "PMG-COHORT-VARIES", "PMG-WEIGHT"]
    assert caught.value.problems[1].where[0] == (13, 2015)
