"""Every row of the catalogue of malformed panels, put to the estimators: the named error, or the right number.

The right number comes from the frame the row was meant to be (``MEANT``), by two-group means and by a regression with
dummies that know nothing of the library.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pmg_eval as pe
from bad_input import cases
from bad_input.cases import CASES, Call, Case, base
from bad_input.meant import MEANT, Frame, meant
from pmg_eval import did
from pmg_eval.errors import DataError, DesignError, InferenceError, PmgEvalError, PmgEvalWarning
from pmg_eval.estimate import Estimate

Numbers = dict[tuple[float, int], float]

ESTIMATORS: dict[str, Callable[..., Estimate[Any]]] = {"group_time": did.group_time, "imputation": did.imputation}
ERRORS = [case for case in CASES if case.kind == "error"]
FINE = [case for case in CASES if case.kind == "ok"]
DESIGN = {"PMG-NO-TREATED", "PMG-NO-CONTROL"}


def by_name(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def run(estimator: str, call: Call) -> Estimate[Any]:
    """The estimator as a user calls it: a panel from the frame, no policy applied beforehand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        return ESTIMATORS[estimator](pe.Panel(call.frame, **call.roles), call.outcome)


@lru_cache
def clean(estimator: str) -> Estimate[Any]:
    return run(estimator, cases.clean())


def areas(call: Call) -> Estimate[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)  # twenty areas are few placebos
        return pe.effect_per_area(pe.Panel(call.frame, **call.roles), call.outcome, draws=199)


# ---- slow answers, from the frame that was meant ---------------------------------------------------------------------


def by_means(frame: Frame) -> Numbers:
    """Cohort by period: change since the last observed period before the start, against units not yet treated."""
    wide = frame.pivot(index="unit", columns="year", values="y")
    start = frame.groupby("unit")["start"].first().reindex(wide.index)
    start = start[start > wide.columns[0]]
    wide = wide.loc[start.index]
    found = {}
    for cohort in sorted(set(start[start <= wide.columns[-1]])):
        seen = wide[start == cohort].notna().sum()
        before = [year for year in wide.columns if year < cohort and seen[year]]
        for year in wide.columns[wide.columns >= cohort]:
            change = (wide[year] - wide[before[-1]]).dropna()
            controls = change[start[change.index] > year]
            if len(controls):
                found[float(cohort), int(year)] = float(change[start[change.index] == cohort].mean() - controls.mean())
    return found


def by_dummies(frame: Frame) -> Numbers:
    """Unit by period: outcome minus the prediction of a regression of untreated outcomes on unit and year dummies."""
    dummies = pd.get_dummies(frame[["unit", "year"]].astype(str), dtype=float).to_numpy()
    treated = (frame["year"] >= frame["start"]).to_numpy()
    free, y = dummies[~treated], frame["y"].to_numpy()
    inverse = np.linalg.pinv(free, rcond=1e-10)
    seen = np.abs(dummies - dummies @ inverse @ free).max(axis=1) < 1e-8
    effect = y - dummies @ (inverse @ y[~treated])
    rows = np.flatnonzero(treated & seen)
    return {(int(frame["unit"].iloc[row]), int(frame["year"].iloc[row])): float(effect[row]) for row in rows}


def cells(estimate: Estimate[Any]) -> Numbers:
    """Estimated treated cells, in the labels of the slow answers."""
    terms = estimate.terms
    key = "unit" if "unit" in terms else "cohort"
    real = (terms["estimand"] == "att") & (terms["event_time"] >= 0) & np.isfinite(estimate.values)
    return {
        (row[key], row["period"]): float(value)
        for (_, row), value in zip(terms[real].iterrows(), estimate.values[real.to_numpy()], strict=True)
    }


def expect_cells(found: Numbers, want: Numbers) -> None:
    assert set(found) == set(want)
    np.testing.assert_allclose([found[key] for key in want], list(want.values()), rtol=1e-9, atol=1e-10)


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.id)
def test_error(case: Case, estimator: str) -> None:
    with pytest.raises(DesignError if case.code in DESIGN else DataError) as caught:
        run(estimator, case.call())
    assert caught.value.code == case.code
    assert all(problem.what and problem.fix for problem in caught.value.problems)


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.id)
def test_error_of_effect_per_area(case: Case) -> None:
    with pytest.raises(PmgEvalError) as caught:
        areas(case.call())
    assert caught.value.code == case.code


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.id)
def test_errors_do_not_show_outcomes(case: Case) -> None:
    call = case.call()
    with pytest.raises(PmgEvalError) as caught:
        run("imputation", call)
    frame = call.frame
    if "y" in frame and len(frame) and case.name not in ("all_zero_counts", "constant_outcome"):
        shown = str(caught.value)
        assert not [value for value in frame["y"].dropna().astype(str).unique() if len(value) > 3 and value in shown]


# ---- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("case", [case for case in FINE if case.same], ids=lambda case: case.id)
def test_harmless(case: Case, estimator: str) -> None:
    found, want = run(estimator, case.call()).average(), clean(estimator).average()
    np.testing.assert_allclose(found.values, want.values, rtol=1e-10)
    np.testing.assert_allclose(found.se, want.se, rtol=1e-10)
    assert found.to_frame()["status"].tolist() == [""]


def test_clean_numbers() -> None:
    """About the planted effect, and as far from it as two-hundred observations with noise 0.1 may be."""
    for name, slow in (("group_time", by_means), ("imputation", by_dummies)):
        estimate = clean(name)
        expect_cells(cells(estimate), slow(meant(base())))
        overall = estimate.average().to_frame().iloc[0]
        assert abs(overall["estimate"] - 1) < 0.1
        assert overall["conf_low"] < 1 < overall["conf_high"]


@pytest.mark.parametrize("case", [case for case in FINE if case.number in MEANT], ids=lambda case: case.id)
def test_right_number(case: Case) -> None:
    frame = MEANT[case.number]()
    for name, slow in (("group_time", by_means), ("imputation", by_dummies)):
        estimate = run(name, case.call())
        expect_cells(cells(estimate), slow(frame))
        complete(estimate)


def complete(estimate: Estimate[Any]) -> None:
    """No missing number without a word about it, in any table that is printed."""
    for table in (estimate, estimate.average(), estimate.average(by="event_time"), estimate.average(by="cohort")):
        frame = table.to_frame()
        empty = frame[["estimate", "std_error", "conf_low", "conf_high"]].isna().any(axis=1)
        assert (frame.loc[empty, "status"] != "").all(), frame[empty]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_26_start_inside_a_year(estimator: str) -> None:
    """0.98, where a start of 2016.5 read as a number gives 0.34."""
    treated = run(estimator, by_name("fractional_cohort_treated").call())
    np.testing.assert_allclose(treated.average().values, clean(estimator).average().values, rtol=1e-12)
    assert abs(treated.average().values[0] - 1) < 0.05
    dropped = run(estimator, by_name("fractional_cohort_drop").call())
    assert abs(dropped.average().values[0] - 1) < 0.05
    assert set(dropped.terms["cohort"].dropna()) == {2017, 2018}
    shared = cells(run(estimator, by_name("fractional_cohort_share").call()))
    starts = {2016.0} if estimator == "group_time" else set(range(1, 21))
    for key, value in cells(clean(estimator)).items():
        half = key[0] in starts and key[1] == 2016
        assert shared[key] == pytest.approx(2 * value if half else value, abs=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_38_and_39_scale_and_offset(estimator: str) -> None:
    want = clean(estimator).average()
    far = run(estimator, by_name("offset_1e12").call()).average()
    # Digits that a float64 of this size does not have cannot come back: its spacing is 1.2e-4.
    np.testing.assert_allclose(far.values, want.values, atol=5e-5)
    np.testing.assert_allclose(far.se, want.se, rtol=1e-3)
    tiny = run(estimator, by_name("scale_1e_minus_12").call()).average()
    np.testing.assert_allclose(tiny.values, 1e-12 * want.values, rtol=1e-10)
    np.testing.assert_allclose(tiny.se, 1e-12 * want.se, rtol=1e-10)
    first, second = want.to_frame().iloc[0], tiny.to_frame().iloc[0]
    assert second["p_value"] == pytest.approx(first["p_value"], rel=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_53_and_61_unsigned_counts(estimator: str) -> None:
    signed = run(estimator, by_name("signed_counts").call())
    assert signed.average().values[0] > 9
    for name in ("uint8_counts", "uint32_counts"):
        unsigned = run(estimator, by_name(name).call())
        np.testing.assert_allclose(unsigned.values, signed.values, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(unsigned.average().se, signed.average().se, rtol=1e-10)


# ---- what stands beside the number -----------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", ["always_treated", "cohort_at_first_period"])
def test_6_and_7_always_treated_are_counted(name: str, estimator: str) -> None:
    estimate = run(estimator, by_name(name).call())
    rest = run(estimator, cases.clean().with_(base().query("id > 5")))
    np.testing.assert_allclose(estimate.average().values, rest.average().values, rtol=1e-10)
    np.testing.assert_allclose(estimate.average().se, rest.average().se, rtol=1e-10)
    assert any("5 unit" in note for note in estimate.provenance.notes)


def test_8_later_starts_are_no_never_treated_units() -> None:
    call = by_name("cohort_after_window").call()
    panel = pe.Panel(call.frame, **call.roles)
    as_controls = did.group_time(panel, "y")
    np.testing.assert_allclose(as_controls.average().values, clean("group_time").average().values, rtol=1e-10)
    only_never = did.group_time(panel, "y", controls=did.NeverTreated())
    without = did.group_time(cases.clean().with_(base().query("id <= 55")).panel(), "y", controls=did.NeverTreated())
    np.testing.assert_allclose(only_never.values, without.values, rtol=1e-10)
    assert only_never.terms["n_control"].max() == 15
    assert any("not yet treated" in note for note in as_controls.provenance.notes)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_9_without_never_treated_the_average_says_what_it_leaves_out(estimator: str) -> None:
    estimate = run(estimator, by_name("no_never_treated").call())
    overall = estimate.average().to_frame().iloc[0]
    n_lost = 2 if estimator == "group_time" else 40
    assert overall["status"] == f"leaves out {n_lost} unidentified cells"
    lost = estimate.terms[~np.isfinite(estimate.values) & (estimate.terms["event_time"] >= 0)]
    assert set(lost["period"]) == {2018}
    assert set(lost["status"]) == {"no_control"}
    assert any("never treated" in note for note in estimate.provenance.notes)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_13_differential_missingness_warns(estimator: str) -> None:
    call = by_name("nan_outcome_treated_pairwise").call()
    with pytest.warns(PmgEvalWarning, match="PMG-MISSING-ARM"):
        estimate = ESTIMATORS[estimator](pe.Panel(call.frame, **call.roles), "y")
    assert any("treated 60" in note for note in estimate.provenance.notes)


def test_27_and_28_gaps_keep_calendar_time_and_name_the_base() -> None:
    gap = run("group_time", by_name("gap_year_for_all").call())
    assert 2013 not in set(gap.terms["period"])
    assert set(gap.where(cohort=2016).terms["event_time"]) == {-4, -2, -1, 0, 1, 2}
    moved = run("group_time", by_name("gap_base_year_for_all").call())
    assert moved.details is not None
    table = moved.details.cells
    assert table.loc[(table["cohort"] == 2016) & (table["period"] >= 2016), "base_last"].unique().tolist() == [2014]
    assert any("its base is 2014" in note for note in moved.provenance.notes)


def test_29_and_30_units_behind_each_cell() -> None:
    call = by_name("base_year_missing_half_of_wave_pairwise").call()
    with pytest.warns(PmgEvalWarning, match="PMG-MISSING-BASE"):
        estimate = did.group_time(pe.Panel(call.frame, **call.roles), "y")
    counts = estimate.where(cohort=2016).terms.set_index("event_time")["n_treated"]
    assert counts.loc[[0, 1, 2]].tolist() == [10, 10, 10]
    assert counts.loc[-2] == 20


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_31_single_treated_unit_has_no_pooled_standard_error(estimator: str) -> None:
    call = by_name("single_treated_unit").call()
    estimate = run(estimator, call)
    for table in (estimate.average(), estimate.average(by="event_time"), estimate.average(by="cohort")):
        frame = table.to_frame()
        real = frame[frame["status"] != "reference"]
        assert real[["std_error", "p_value", "conf_low", "conf_high"]].isna().all().all()
        assert real["status"].str.contains("effect_per_area").all()
    with pytest.raises(InferenceError, match="effect_per_area"):
        estimate.average().test()
    alone = areas(call).to_frame().iloc[0]
    assert (alone["unit"], alone["n_placebo"]) == (1, 20)
    assert alone["conf_low"] < 1 < alone["conf_high"]
    assert alone["p_value"] == pytest.approx(1 / 21)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_32_single_control_is_as_little_as_one_degree_of_freedom(estimator: str) -> None:
    overall = run(estimator, by_name("single_control").call()).average().to_frame().iloc[0]
    assert overall["n_control"] == 1
    assert np.isnan(overall["conf_low"]) or overall["df"] == 1
    with pytest.raises(DesignError) as caught:
        areas(by_name("single_control").call())
    assert caught.value.code == "PMG-POOL"


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_33_one_unit_in_a_cohort(estimator: str) -> None:
    estimate = run(estimator, by_name("one_unit_in_cohort").call())
    frame = estimate.average(by="cohort").to_frame().set_index("cohort")
    assert np.isfinite(frame["estimate"]).all()
    assert np.isfinite(frame.loc[2016, "std_error"])
    assert frame.loc[2018, ["std_error", "p_value"]].isna().all()
    assert "effect_per_area" in frame.loc[2018, "status"]
    assert np.isfinite(estimate.average().to_frame()["conf_low"]).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_34_two_periods_cannot_test_pre_trends(estimator: str) -> None:
    study = run(estimator, by_name("two_periods_only").call()).average(by="event_time")
    with pytest.raises(InferenceError) as caught:
        study.test("pre")
    assert caught.value.code == "PMG-NO-TERMS"


def test_51_truth_values_are_read_as_probabilities_with_a_note() -> None:
    for name in ESTIMATORS:
        estimate = run(name, by_name("outcome_bool").call())
        assert any("linear probability" in note for note in estimate.provenance.notes)


def test_56_input_is_not_changed() -> None:
    call = by_name("shuffled_rows").call()
    before = call.frame.copy(deep=True)
    for name in ESTIMATORS:
        run(name, call)
    areas(call)
    pd.testing.assert_frame_equal(call.frame, before)


# ---- single areas ----------------------------------------------------------------------------------------------------

NO_POOL = {"9", "32"}


@pytest.mark.parametrize("case", [case for case in FINE if case.number not in NO_POOL], ids=lambda case: case.id)
def test_effect_per_area(case: Case) -> None:
    """Every treated area with a period before its start, with its own imputed effect and a placebo law."""
    estimate = areas(case.call())
    single = run("imputation", case.call()).average(by="unit")
    assert estimate.terms["unit"].tolist() == single.terms["unit"].tolist()
    np.testing.assert_allclose(estimate.values, single.values, rtol=1e-10)
    frame = estimate.to_frame()
    assert (frame["n_placebo"] >= 13).all()
    enough = frame["n_placebo"] >= 19
    assert np.isfinite(frame.loc[enough, ["std_error", "p_value", "conf_low", "conf_high"]]).all().all()
    assert (frame.loc[enough, "conf_low"] <= frame.loc[enough, "estimate"]).all()


@pytest.mark.parametrize("number", sorted(NO_POOL))
def test_effect_per_area_needs_comparison_areas(number: str) -> None:
    case = next(case for case in CASES if case.number == number)
    with pytest.raises(DesignError) as caught:
        areas(case.call())
    assert caught.value.code == "PMG-POOL"


# ---- nothing is left out ---------------------------------------------------------------------------------------------


def test_every_row_is_here() -> None:
    asserted = {case.number for case in ERRORS} | {case.number for case in FINE if case.same} | set(MEANT)
    asserted |= {"26b", "26d", "38", "39"}
    assert asserted == {case.number for case in CASES}
    assert {int(number.rstrip("abcdef")) for number in asserted} == set(range(63))
