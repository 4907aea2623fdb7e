"""Every row of the catalogue of malformed panels, put to the synthetic controls: the named error, or the right number.

The right number comes from the frame the row was meant to be, by nonnegative least squares and linear programs of
scipy on the plain outcomes, written down from the papers; they share nothing with the library.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog, nnls

import pmg_eval as pe
from bad_input import cases
from bad_input.cases import CASES, Call, Case, base
from bad_input.meant import MEANT, Frame, meant
from pmg_eval import synth
from pmg_eval.errors import DataError, DesignError, InferenceError, PmgEvalWarning
from pmg_eval.estimate import Estimate

Numbers = dict[tuple[Any, int], float]

ESTIMATORS: dict[str, Callable[..., Estimate[Any]]] = {
    "classic": synth.classic,
    "classic, any fit": partial(synth.classic, poor_fit="keep"),
    "sdid": synth.sdid,
    "sdid by unit": partial(synth.sdid, weights="unit"),
    "hull": synth.hull,
}
ERRORS = [case for case in CASES if case.kind == "error"]
FINE = [case for case in CASES if case.kind == "ok"]
DESIGN = {"PMG-NO-TREATED", "PMG-NO-CONTROL"}
# Sound panels that hold no synthetic control: nobody stays untreated; one period before the start.
NO_DONORS, TOO_SHORT = "9", "34"


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


# ---- slow answers ----------------------------------------------------------------------------------------------------


def split(frame: Frame) -> tuple[Frame, pd.Series[Any], np.ndarray]:
    """Wide outcomes, starts of the treated that have an earlier period, outcomes (J, T) of the donors."""
    wide = frame.pivot(index="unit", columns="year", values="y")
    start = frame.groupby("unit")["start"].first().reindex(wide.index)
    first, last = wide.columns[0], wide.columns[-1]
    donors = wide[(start > last) & wide.notna().all(axis=1)].to_numpy()
    return wide, start[(start > first) & (start <= last)], donors


def on_simplex(A: np.ndarray, b: np.ndarray, ridge: float = 0.0) -> np.ndarray:
    """argmin |b - Aw|^2 + ridge |w|^2 over w >= 0, sum w = 1: nonnegative least squares, homogenized."""
    differences = np.vstack([A - b[:, None], np.sqrt(ridge) * np.eye(A.shape[1])])
    size = np.sqrt(np.square(differences).sum() / A.shape[1])
    found = nnls(np.vstack([differences, np.full(A.shape[1], size)]), np.append(np.zeros(len(differences)), size))[0]
    return np.asarray(found / found.sum())


def by_nnls(frame: Frame) -> tuple[Numbers, set[Any], dict[Any, tuple[float, float]]]:
    """Unit by year gaps of those outside the hull, the units inside it, and for all the range of the mean effect."""
    wide, start, donors = split(frame)
    gaps, inside, ranges = {}, set(), {}
    for unit in start.index:
        own = wide.loc[unit].to_numpy()
        seen = ~np.isnan(own)
        before, after = seen & (wide.columns < start[unit]), seen & (wide.columns >= start[unit])
        if not before.any():
            continue
        A, b = donors[:, before].T, own[before]
        w = on_simplex(A, b)
        outside = np.abs(A @ w - b).max() > 1e-6
        if outside or not after.any():
            gaps |= {(unit, int(wide.columns[t])): float(own[t] - donors[:, t] @ w) for t in np.flatnonzero(seen)}
        if not after.any():
            continue
        later = donors[:, after].mean(axis=1)
        level = own[after].mean()
        if outside:
            ranges[unit] = (level - later @ w, level - later @ w)
            continue
        inside.add(unit)
        rows, total = np.vstack([A, np.ones(len(later))]), np.append(b, 1.0)
        low, high = (linprog(side * later, A_eq=rows, b_eq=total).fun for side in (1, -1))
        ranges[unit] = (level + high, level - low)
    return gaps, inside, ranges


def by_sdid(frame: Frame) -> Numbers:
    """Cohort by year, by the formulas of Arkhangelsky et al. (2021), cohort by cohort."""
    wide, start, donors = split(frame)
    found = {}
    for cohort in sorted(set(start)):
        own = wide.loc[start.index[start == cohort]].to_numpy()
        late = (wide.columns >= cohort) & ~np.isnan(own)
        own, post = own[late.any(axis=1)], late.any(axis=0)
        pre = (wide.columns < cohort) & ~np.isnan(own).any(axis=0)
        if pre.sum() < 2:
            continue
        early, mean = donors[:, pre], own[:, pre].mean(axis=0)
        noise = np.diff(early, axis=1).std(ddof=1) if early.size > len(early) + 1 else 0.0
        ridge = np.sqrt(len(own) * post.sum()) * noise**2 * pre.sum()  # the objective is divided by T0
        omega = on_simplex((early - early.mean(axis=1)[:, None]).T, mean - mean.mean(), ridge)
        target = donors[:, post].mean(axis=1)
        centered = early - early.mean(axis=0)
        lam = on_simplex(centered, target - target.mean(), (1e-6 * noise) ** 2 * len(donors))
        control = omega @ (donors - (early @ lam)[:, None])
        for t in np.flatnonzero((~np.isnan(own)).any(axis=0)):
            change = np.nanmean(own[:, t] - own[:, pre] @ lam)
            found[float(cohort), int(wide.columns[t])] = float(change - control[t])
    return found


def numbers(estimate: Estimate[Any], key: str) -> Numbers:
    terms = estimate.terms
    known = np.isfinite(estimate.values)
    return {
        (row[key], row["period"]): float(value)
        for (_, row), value in zip(terms[known].iterrows(), estimate.values[known], strict=True)
    }


def expect(found: Numbers, want: Numbers, atol: float) -> None:
    assert set(found) == set(want)
    np.testing.assert_allclose([found[key] for key in want], list(want.values()), atol=atol)


def complete(estimate: Estimate[Any]) -> None:
    """No missing number without a word about it."""
    frame = estimate.to_frame()
    wanted = ["estimate"] if estimate.uncertainty is None else ["estimate", "std_error", "conf_low", "conf_high"]
    empty = frame[wanted].isna().any(axis=1)
    assert (frame.loc[empty, "status"] != "").all(), frame[empty]


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.id)
def test_error(case: Case, estimator: str) -> None:
    with pytest.raises(DesignError if case.code in DESIGN else DataError) as caught:
        run(estimator, case.call())
    assert caught.value.code == case.code
    assert all(problem.what and problem.fix for problem in caught.value.problems)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_9_without_never_treated_there_is_no_donor(estimator: str) -> None:
    with pytest.raises(DesignError) as caught:
        run(estimator, by_name("no_never_treated").call())
    assert caught.value.code == "PMG-NO-DONORS"
    assert caught.value.fix


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_34_one_period_before_the_start(estimator: str) -> None:
    """No weights can be fitted to it, and the hull says why: everybody between two donors fits, in many ways."""
    call = by_name("two_periods_only").call()
    if estimator == "hull":
        table = run(estimator, call).details.table
        assert (table["n_pre"] == 1).all()
        assert table["inside"].all()
        assert not table["unique"].any()
        return
    with pytest.raises(DesignError) as caught:
        run(estimator, call)
    assert caught.value.code == "PMG-SHORT-PRE"
    assert "did.imputation" in caught.value.fix


# ---- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("case", [case for case in FINE if case.same], ids=lambda case: case.id)
def test_harmless(case: Case, estimator: str) -> None:
    found, want = run(estimator, case.call()), clean(estimator)
    np.testing.assert_allclose(found.values, want.values, rtol=1e-10, atol=1e-12)
    assert found.terms["status"].tolist() == want.terms["status"].tolist()
    assert [str(label) for label in found.terms["cohort"]] == [str(label) for label in want.terms["cohort"]]
    if estimator == "sdid":
        np.testing.assert_allclose(found.average().se, want.average().se, rtol=1e-10)


def test_clean_numbers() -> None:
    """About the planted effect of 1; the three areas that their donors cannot imitate are refused or far off."""
    assert clean("sdid").average().values[0] == pytest.approx(1, abs=0.1)
    assert clean("sdid by unit").average().values[0] == pytest.approx(1, abs=0.1)
    refused = clean("classic").terms.loc[np.isnan(clean("classic").values), "unit"].unique()
    assert 0 < len(refused) < 6
    assert clean("classic").average().values[0] == pytest.approx(1, abs=0.1)
    frame = clean("sdid").average().to_frame().iloc[0]
    assert frame["conf_low"] < 1 < frame["conf_high"]


@pytest.mark.parametrize(
    "case", [case for case in FINE if case.number in MEANT and case.number != NO_DONORS], ids=lambda case: case.id
)
def test_right_number(case: Case) -> None:
    frame = MEANT[case.number]()
    gaps, inside, ranges = by_nnls(frame)
    scale = frame["y"].abs().max()
    table = run("hull", case.call()).details.table.set_index("unit")
    known = table[table["low"].notna()]
    assert set(known.index) == set(ranges)
    assert set(known.index[known["inside"]]) == inside
    want = np.array([ranges[unit] for unit in known.index])
    np.testing.assert_allclose(known[["low", "high"]].to_numpy(), want, atol=1e-6 * scale)
    if case.number == TOO_SHORT:
        return
    check_classic(case, gaps, table, 1e-6 * scale)
    want_cohorts = by_sdid(frame)
    if not want_cohorts:  # units that miss different periods leave no common one
        with pytest.raises(DesignError, match="PMG-SHORT-PRE"):
            run("sdid", case.call())
        return
    cohorts = run("sdid", case.call())
    complete(cohorts)
    complete(cohorts.average())
    expect(numbers(cohorts, "cohort"), want_cohorts, 1e-6 * scale)


def check_classic(case: Case, gaps: Numbers, table: pd.DataFrame, atol: float) -> None:
    """Gaps of areas outside the hull; inside it one of the perfect fits. The refusing version shows no other number."""
    estimate = run("classic, any fit", case.call())
    complete(estimate)
    found = numbers(estimate, "unit")
    long = set(table.index[table["n_pre"] >= 4])
    assert {unit for unit, _ in found} == long
    expect(
        {key: value for key, value in found.items() if not table.loc[key[0], "inside"]},
        {key: value for key, value in gaps.items() if key[0] in long},
        atol,
    )
    terms = estimate.terms.assign(value=estimate.values)
    for unit, rows in terms[terms["unit"].isin(table.index[table["inside"]]) & terms["value"].notna()].groupby("unit"):
        np.testing.assert_allclose(rows.loc[rows["event_time"] < 0, "value"], 0.0, atol=atol)
        mean = rows.loc[rows["event_time"] >= 0, "value"].mean()
        assert table.loc[unit, "low"] - atol <= mean <= table.loc[unit, "high"] + atol
    refusing = run("classic", case.call())
    complete(refusing)
    kept = np.isfinite(refusing.values)
    assert kept.any()
    np.testing.assert_array_equal(refusing.values[kept], estimate.values[kept])


@pytest.mark.parametrize("estimator", ["classic", "sdid", "sdid by unit"])
def test_26_start_inside_a_year(estimator: str) -> None:
    """A start of 2016.5: counted, left out, or as half a treated year, whose effect is doubled."""
    want = clean(estimator)
    treated = run(estimator, by_name("fractional_cohort_treated").call())
    np.testing.assert_allclose(treated.values, want.values, rtol=1e-12)
    dropped = run(estimator, by_name("fractional_cohort_drop").call())
    assert set(dropped.terms["cohort"]) == {2017, 2018}
    assert not ((dropped.terms["cohort"] == 2017) & (dropped.terms["period"] == 2016)).any()
    assert dropped.average().values[0] == pytest.approx(1, abs=0.1)
    shared = run(estimator, by_name("fractional_cohort_share").call())
    half = ((want.terms["cohort"] == 2016) & (want.terms["period"] == 2016)).to_numpy()
    np.testing.assert_allclose(shared.values, np.where(half, 2 * want.values, want.values), atol=1e-10)


def test_26_start_inside_a_year_in_the_hull() -> None:
    want = clean("hull").details.table
    shared = run("hull", by_name("fractional_cohort_share").call()).details.table
    factor = np.where(want["cohort"] == 2016, 3 / 2.5, 1.0)  # three years of gaps over two and a half treated years
    np.testing.assert_allclose(shared["low"], factor * want["low"], atol=1e-10)
    np.testing.assert_allclose(shared["high"], factor * want["high"], atol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_38_and_39_scale_and_offset(estimator: str) -> None:
    want = clean(estimator)
    far = run(estimator, by_name("offset_1e12").call())
    # The data keep a spacing of 1.2e-4, the thousandth part of their noise: so do weights and what they imply.
    np.testing.assert_allclose(far.values, want.values, atol=5e-3)
    tiny = run(estimator, by_name("scale_1e_minus_12").call())
    np.testing.assert_allclose(tiny.values, 1e-12 * want.values, rtol=1e-7, atol=1e-21)
    assert tiny.terms["status"].tolist() == want.terms["status"].tolist()
    if estimator == "sdid":
        np.testing.assert_allclose(far.average().se, want.average().se, rtol=1e-2)
        first, second = want.average().to_frame().iloc[0], tiny.average().to_frame().iloc[0]
        assert second["p_value"] == pytest.approx(first["p_value"], rel=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_53_and_61_unsigned_counts(estimator: str) -> None:
    signed = run(estimator, by_name("signed_counts").call())
    for name in ("uint8_counts", "uint32_counts"):
        np.testing.assert_allclose(run(estimator, by_name(name).call()).values, signed.values, rtol=1e-12, atol=1e-12)


# ---- what stands beside the number -----------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", ["always_treated", "cohort_at_first_period"])
def test_6_and_7_always_treated_are_no_donors(name: str, estimator: str) -> None:
    estimate = run(estimator, by_name(name).call())
    rest = run(estimator, cases.clean().with_(base().query("id > 5")))
    np.testing.assert_allclose(estimate.values, rest.values, rtol=1e-10, atol=1e-12)
    assert any("5 unit" in note for note in estimate.provenance.notes)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_8_later_starts_are_donors_and_a_note_says_so(estimator: str) -> None:
    estimate = run(estimator, by_name("cohort_after_window").call())
    np.testing.assert_allclose(estimate.values, clean(estimator).values, rtol=1e-10, atol=1e-12)
    assert any("not yet treated" in note for note in estimate.provenance.notes)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_12_donors_with_a_gap_are_left_out_by_name(estimator: str) -> None:
    """A quarter of the never-treated misses one year: they are no donors, in the details and in a note."""
    frame = base()
    frame.loc[(frame["id"] > 55) & (frame["year"] == 2013), "y"] = np.nan
    estimate = run(estimator, cases.clean().with_(frame, missing="pairwise"))
    rest = run(estimator, cases.clean().with_(base().query("id <= 55")))
    np.testing.assert_allclose(estimate.values, rest.values, rtol=1e-10, atol=1e-12)
    excluded = estimate.details.excluded
    assert excluded["donor"].tolist() == [56, 57, 58, 59, 60]
    assert excluded["reason"].unique().tolist() == ["not observed in 1 of 8 periods"]
    assert any("not observed in 1 of 8 periods" in note for note in estimate.provenance.notes)


def test_31_one_treated_unit_has_no_pooled_standard_error() -> None:
    estimate = run("sdid", by_name("single_treated_unit").call())
    for table in (estimate, estimate.average(), estimate.average(by="cohort")):
        frame = table.to_frame()
        assert frame[["std_error", "p_value", "conf_low", "conf_high"]].isna().all(axis=None)
        assert frame["status"].str.contains("effect_per_area").all()
    with pytest.raises(InferenceError, match="effect_per_area"):
        estimate.average().test()


@pytest.mark.parametrize("estimator", ["classic", "classic, any fit", "sdid by unit", "hull"])
def test_31_areas_have_no_law_of_their_own(estimator: str) -> None:
    with pytest.raises(InferenceError) as caught:
        run(estimator, by_name("single_treated_unit").call()).cov()
    assert caught.value.code == "PMG-NO-LAW"
    assert "effect_per_area" in caught.value.fix


def test_32_one_donor() -> None:
    """The comparison of two: no jackknife without the only donor, no placebo; one effective donor is warned about."""
    call = by_name("single_control").call()
    frame = run("sdid", call).average().to_frame()
    assert np.isfinite(frame["estimate"]).all()
    assert frame[["std_error", "conf_low"]].isna().all(axis=None)
    assert (frame["status"] != "").all()
    with pytest.warns(PmgEvalWarning, match="PMG-FEW-DONORS"):
        ESTIMATORS["classic"](pe.Panel(call.frame, **call.roles), "y")
    table = run("hull", call).details.table
    assert table["unique"].all()
    assert (table["effective_donors"] == 1).all()


def test_33_one_unit_in_a_cohort() -> None:
    frame = run("sdid", by_name("one_unit_in_cohort").call()).average(by="cohort").to_frame().set_index("cohort")
    assert np.isfinite(frame["estimate"]).all()
    assert np.isfinite(frame.loc[2016, "std_error"])
    assert frame.loc[2018, ["std_error", "p_value"]].isna().all()
    assert "effect_per_area" in frame.loc[2018, "status"]


def test_many_perfect_fits_are_warned_about() -> None:
    """By the classic estimator, with the range that the hull has."""
    call = by_name("outcome_bool").call()
    with pytest.warns(PmgEvalWarning) as caught:
        estimate = ESTIMATORS["classic"](pe.Panel(call.frame, **call.roles), "y")
    warning = next(item.message for item in caught if getattr(item.message, "code", "") == "PMG-NON-UNIQUE")
    assert isinstance(warning, PmgEvalWarning)
    table = run("hull", call).details.table
    many = table[~table["unique"]]
    said = [line.replace(":", " ").replace(" to ", " ").split() for line in warning.where]
    np.testing.assert_allclose(np.array(said, dtype=float), many.reset_index()[["unit", "low", "high"]], atol=1e-3)
    fit = estimate.details.fit.set_index("unit")
    assert fit["inside_hull"].tolist() == table["inside"].tolist()
    assert fit["unique"].tolist() == table["unique"].tolist()


def test_51_truth_values_are_read_as_probabilities_with_a_note() -> None:
    for name in ESTIMATORS:
        estimate = run(name, by_name("outcome_bool").call())
        assert any("linear probability" in note for note in estimate.provenance.notes)


def test_56_input_is_not_changed() -> None:
    call = by_name("shuffled_rows").call()
    before = call.frame.copy(deep=True)
    for name in ESTIMATORS:
        run(name, call)
    pd.testing.assert_frame_equal(call.frame, before)


def test_refusals_show_no_outcome() -> None:
    """Areas and mean errors of fits, but no cell."""
    frame = meant(base())
    for call in (by_name("no_never_treated").call(), by_name("two_periods_only").call(), poor()):
        with pytest.raises(DesignError) as caught:
            run("classic", call)
        shown = str(caught.value)
        assert not [value for value in frame["y"].astype(str) if value in shown]


def poor() -> Call:
    """All treated areas on a level that no donor has."""
    frame = base()
    return cases.clean().with_(frame.assign(y=frame["y"] + 50 * (frame["g"] > 0)))


def test_areas_beyond_all_donors() -> None:
    """Refused by name by the classic estimator; a constant difference does not matter to the other."""
    with pytest.raises(DesignError) as caught:
        run("classic", poor())
    assert caught.value.code == "PMG-POOR-FIT"
    assert len(caught.value.where) == 40
    assert "synth.sdid" in caught.value.fix
    np.testing.assert_allclose(run("sdid", poor()).values, clean("sdid").values, atol=1e-9)
    table = run("hull", poor()).details.table
    assert not table["inside"].any()
    assert (table["distance"] > 40).all()


# ---- nothing is left out ---------------------------------------------------------------------------------------------


def test_every_row_is_here() -> None:
    asserted = {case.number for case in ERRORS} | {case.number for case in FINE if case.same} | set(MEANT)
    asserted |= {"26b", "26d", "38", "39"}
    assert asserted == {case.number for case in CASES}
