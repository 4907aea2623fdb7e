"""did.imputation and did.cases_avoided: laws, statuses, refusals."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pmg_eval.did._cases import cases_avoided
from pmg_eval.did._imputation import ImputationDetails, imputation
from pmg_eval.did._imputation import _grid as grid_of
from pmg_eval.did._imputation_fit import gaussian_baseline
from pmg_eval.errors import DataError, DesignError, InferenceError, PmgEvalWarning
from pmg_eval.estimate import Estimate, Influence
from pmg_eval.numerics.ppml import ppml
from pmg_eval.panel import Panel

PERIODS = 7
Average = Callable[[Estimate[Any]], Estimate[Any]]


def frame(seed: int = 0, n: int = 30, holes: float = 0.1) -> pd.DataFrame:
    """Three cohorts (never, 2003, 2005), weights, exposure, a covariate, a continuous outcome and counts."""
    rng = np.random.default_rng(seed)
    start = np.array([0, 2003, 2005])[np.arange(n) % 3]
    df = pd.DataFrame({"area": np.repeat(np.arange(n), PERIODS), "year": np.tile(2000 + np.arange(PERIODS), n)})
    unit = df["area"].to_numpy()
    df["start"] = start[unit]
    df["w"] = rng.uniform(0.5, 2, n)[unit]
    df["people"] = np.exp(rng.normal(5, 0.7, n))[unit] * rng.uniform(0.9, 1.1, len(df))
    df["x"] = rng.normal(size=len(df))
    level = rng.normal(size=n)[unit]
    treated = (df["start"] > 0) & (df["year"] >= df["start"])
    df["rate"] = level + 0.1 * (df["year"] - 2000) + 0.3 * df["x"] + 0.5 * treated + rng.normal(size=len(df))
    df["cases"] = rng.poisson(df["people"] * 0.1 * np.exp(0.3 * level - 0.2 * treated)).astype(float)
    keep = rng.uniform(size=len(df)) >= holes
    # The last periods before treatment are always there: the panel warns where they are not.
    return df[
        keep | (df["year"] <= 2001) | df["year"].isin([2003, 2004]) | (df["year"] == df["start"] - 1)
    ].reset_index(drop=True)


def panel_of(df: pd.DataFrame, **roles: Any) -> Panel:
    roles = {"weight": "w", "exposure": "people", "missing": "pairwise", **roles}
    return Panel(df, unit="area", time="year", cohort="start", never=0, **roles)


def overall(estimate: Estimate[Any]) -> Estimate[Any]:
    return estimate.average()


def by(label: Any) -> Average:
    def average(estimate: Estimate[Any]) -> Estimate[Any]:
        return estimate.average(by=label)

    return average


AVERAGES: dict[str, Average] = {
    "overall": overall,
    "event_time": by("event_time"),
    "cohort": by("cohort"),
    "period": by("period"),
    "unit": by("unit"),
    "by cohort size": lambda estimate: estimate.average(overall="cohort"),
    "event times equally": lambda estimate: estimate.average(overall="event_time"),
    "cells": lambda estimate: estimate,
}


def law(estimate: Estimate[Any]) -> Influence:
    assert isinstance(estimate.uncertainty, Influence)
    return estimate.uncertainty


def details(estimate: Estimate[ImputationDetails]) -> ImputationDetails:
    assert estimate.details is not None
    return estimate.details


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_two_by_two_is_the_difference_of_four_means() -> None:
    df = pd.DataFrame({"area": list("aabb"), "year": [1, 2] * 2, "start": [2, 2, 0, 0], "rate": [1.0, 5.0, 2.0, 3.0]})
    result = imputation(Panel(df, unit="area", time="year", cohort="start", never=0), "rate")
    terms = result.where(estimand="att")
    assert terms.values.tolist() == [3.0]
    row = terms.terms.iloc[0]
    assert (row["unit"], row["cohort"], row["period"], row["event_time"]) == ("a", 2, 2, 0)
    assert (row["weight"], row["n_treated"], row["n_control"], row["n_units"]) == (1, 1, 1, 2)


def test_two_by_two_counts_are_the_ratio_of_ratios() -> None:
    rng = np.random.default_rng(3)
    df = pd.DataFrame({"area": np.repeat(range(6), 2), "year": [1, 2] * 6, "start": np.repeat([2, 2, 2, 0, 0, 0], 2)})
    df["cases"] = rng.poisson(30, 12)
    result = imputation(Panel(df, unit="area", time="year", cohort="start", never=0), "cases", family="poisson")
    totals = df.groupby([df["start"] > 0, "year"])["cases"].sum()
    ratio = (totals[True, 2] / totals[True, 1]) / (totals[False, 2] / totals[False, 1])
    np.testing.assert_allclose(result.average().values, ratio, rtol=1e-12)
    assert result.average().scale == "log"


def test_one_cohort_balanced_equals_the_static_regression() -> None:
    df = frame(holes=0)
    df = df[df["start"] != 2003]
    panel = panel_of(df, weight=None)
    cells = df.assign(d=((df["start"] > 0) & (df["year"] >= 2005)) * 1.0)
    within = cells[["rate", "d"]] - cells.groupby("area")[["rate", "d"]].transform("mean")
    within -= cells.groupby("year")[["rate", "d"]].transform("mean") - cells[["rate", "d"]].mean()
    slope = (within["rate"] * within["d"]).sum() / (within["d"] ** 2).sum()
    np.testing.assert_allclose(imputation(panel, "rate").average().values, slope, rtol=1e-10)


# --- against plain linear algebra -------------------------------------------------------------------------------------


def oracle(df: pd.DataFrame, covariates: list[str], leave_out: bool) -> tuple[float, float]:
    """Overall effect and its standard error from dense matrices, as in the paper."""
    df = df.sort_values(["area", "year"]).reset_index(drop=True)
    treated = ((df["start"] > 0) & (df["year"] >= df["start"])).to_numpy()
    dummies = pd.get_dummies(df[["area", "year"]].astype(str)).to_numpy(dtype=float)
    z = np.hstack([dummies, df[covariates].to_numpy()])
    w, y = df["w"].to_numpy(), df["rate"].to_numpy()
    bread = np.linalg.pinv(z[~treated].T @ (w[~treated, None] * z[~treated]), rcond=1e-13)
    tau = y - z @ (bread @ (z[~treated].T @ (w * y)[~treated]))
    omega = np.where(treated, w, 0.0) / w[treated].sum()
    v = np.where(treated, omega, -w * (z @ (bread @ (z[treated].T @ omega[treated]))))
    eps = np.where(treated, 0.0, tau)
    for _, cell in df[treated].groupby(["start", "year"]):
        at, mass = cell.index.to_numpy(), omega[cell.index] ** 2
        eps[at] = tau[at] - (mass @ tau[at]) / mass.sum()
        if leave_out:
            eps[at] /= 1 - mass / mass.sum()
    np.testing.assert_allclose(v @ y, omega @ tau, rtol=1e-8)
    return float(omega @ tau), float(np.sqrt((pd.Series(v * eps).groupby(df["area"]).sum() ** 2).sum()))


@pytest.mark.parametrize("covariates", [[], ["x"], ["x", "people"]])
@pytest.mark.parametrize("variance", ["conservative", "leave_out"])
def test_formula_of_the_paper(covariates: list[str], variance: Any) -> None:
    df = frame(1)
    formula = "~ " + " + ".join(covariates) if covariates else None
    value, se = oracle(df, covariates, variance == "leave_out")
    result = imputation(panel_of(df), "rate", covariates=formula, variance=variance).average()
    np.testing.assert_allclose(result.values, value, rtol=1e-9)
    np.testing.assert_allclose(result.se, se, rtol=1e-9)


def test_pretrend_is_the_regression_on_event_time_dummies() -> None:
    df = frame(2)
    untreated = df[(df["start"] == 0) | (df["year"] < df["start"])].sort_values(["area", "year"]).reset_index(drop=True)
    event = np.where(untreated["start"] > 0, untreated["year"] - untreated["start"], 0)
    times = [e for e in np.unique(event) if e < -1]
    dummies = (event[:, None] == np.array(times)) * 1.0
    effects = pd.get_dummies(untreated[["area", "year"]].astype(str)).to_numpy(dtype=float)
    root = np.sqrt(untreated["w"].to_numpy())[:, None]
    nuisance = root * np.hstack([effects, untreated[["x"]].to_numpy()])
    u, s, _ = np.linalg.svd(nuisance, full_matrices=False)
    basis = u[:, s > 1e-10 * s[0]]
    d = root * dummies - basis @ (basis.T @ (root * dummies))
    y = root[:, 0] * untreated["rate"].to_numpy()
    coefficient = np.linalg.lstsq(d, y, rcond=None)[0]
    residual = y - basis @ (basis.T @ y) - d @ coefficient
    bread = np.linalg.inv(d.T @ d)
    scores = pd.DataFrame(d * residual[:, None]).groupby(untreated["area"]).sum().to_numpy() @ bread

    pre = imputation(panel_of(df), "rate", covariates="~ x").where(estimand="pretrend")
    assert pre.terms["event_time"].tolist() == [*times, -1]
    assert pre.terms["status"].tolist() == [""] * len(times) + ["reference"]
    assert pre.terms["cohort"].isna().all()
    assert pre.terms["unit"].isna().all()
    np.testing.assert_allclose(pre.values, [*coefficient, 0.0], rtol=1e-9)
    np.testing.assert_allclose(pre.cov()[:-1, :-1], scores.T @ scores, rtol=1e-8)
    assert pre.test("pre").p_value > 0


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariates", [None, "~ x"])
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_influence_is_the_derivative_in_log_weights(family: Any, covariates: str | None) -> None:
    df = frame(4, n=18)
    panel = panel_of(df)
    outcome = "cases" if family == "poisson" else "rate"
    fit = partial(imputation, outcome=outcome, family=family, covariates=covariates, variance="derivative")
    base = fit(panel)
    assert law(base).kind == "derivative"
    averages = dict(AVERAGES)
    if family == "poisson":
        averages["cases avoided"] = lambda estimate: cases_avoided(estimate.average(by="event_time"))
        averages["cases avoided in cells"] = cases_avoided
    step, n = 1e-4, panel.n_units
    for unit in range(0, n, 5):
        multiplier = np.ones(n)
        multiplier[unit] = np.exp(step)
        up = fit(panel.with_weight(multiplier))
        down = fit(panel.with_weight(1 / multiplier))
        for name, average in averages.items():
            slope = n * (average(up).values - average(down).values) / (2 * step)
            psi = law(average(base)).psi.dense()[unit]
            np.testing.assert_allclose(psi, slope, rtol=1e-6, atol=1e-6, err_msg=f"{name}, unit {unit}")


@pytest.mark.parametrize("seed", range(3))
def test_shifts_leave_effects_alone(seed: int) -> None:
    df = frame(seed)
    rng = np.random.default_rng(seed + 100)
    shifted = df.assign(
        rate=df["rate"] + 7 + rng.normal(0, 5, 30)[df["area"]] + rng.normal(0, 5, PERIODS)[df["year"] - 2000]
    )
    one, two = (imputation(panel_of(data), "rate") for data in (df, shifted))
    np.testing.assert_allclose(two.values, one.values, atol=1e-10)
    np.testing.assert_allclose(two.average(by="event_time").se, one.average(by="event_time").se, rtol=1e-9)


def test_effects_scale_shift_and_add() -> None:
    df = frame(5)
    treated = (df["start"] > 0) & (df["year"] >= df["start"])
    fit = imputation(panel_of(df), "rate").average(by="cohort")
    scaled = imputation(panel_of(df.assign(rate=-1e6 * df["rate"])), "rate").average(by="cohort")
    np.testing.assert_allclose(scaled.values, -1e6 * fit.values, rtol=1e-10)
    np.testing.assert_allclose(scaled.se, 1e6 * fit.se, rtol=1e-10)
    shifted = imputation(panel_of(df.assign(rate=df["rate"] + 2.5 * treated)), "rate").average(by="cohort")
    np.testing.assert_allclose(shifted.values, fit.values + 2.5, rtol=1e-12)
    np.testing.assert_allclose(shifted.se, fit.se, rtol=1e-10)
    other = imputation(panel_of(df), "x").average(by="cohort")
    both = imputation(panel_of(df.assign(rate=df["rate"] + df["x"])), "rate").average(by="cohort")
    np.testing.assert_allclose(both.values, fit.values + other.values, rtol=1e-10)


def test_a_large_level_costs_no_digits_beyond_its_own() -> None:
    df = frame(5)
    base = imputation(panel_of(df), "rate").average().values
    np.testing.assert_allclose(
        imputation(panel_of(df.assign(rate=df["rate"] + 1e9)), "rate").average().values, base, rtol=1e-6
    )


def test_noise_free_homogeneous_effect_is_exact() -> None:
    df = frame(6)
    treated = (df["start"] > 0) & (df["year"] >= df["start"])
    df = df.assign(rate=df["area"] ** 1.5 + np.sqrt(df["year"] - 1999) + 3.0 * treated)
    result = imputation(panel_of(df), "rate")
    np.testing.assert_allclose(result.where(estimand="att").values, 3.0, rtol=1e-11)
    np.testing.assert_allclose(result.where(estimand="pretrend").values, 0.0, atol=1e-11)
    counts = df.assign(
        cases=df["people"] * np.exp(0.1 * df["area"] + 0.2 * np.sin(df["year"])) * np.where(treated, 0.7, 1)
    )
    ratio = imputation(panel_of(counts), "cases", family="poisson")
    np.testing.assert_allclose(ratio.where(estimand="rate_ratio").values, 0.7, rtol=1e-9)
    np.testing.assert_allclose(ratio.where(estimand="pretrend").values, 1.0, rtol=1e-9)


def test_rows_order_labels_and_weights_scale_do_not_matter() -> None:
    df = frame(7)
    base = imputation(panel_of(df), "rate", covariates="~ x").average(by="event_time")
    names = {area: f"area {99 - area:02d}" for area in df["area"].unique()}
    other = df.sample(frac=1, random_state=1).assign(area=lambda d: d["area"].map(names), w=lambda d: 1e4 * d["w"])
    again = imputation(panel_of(other), "rate", covariates="~ I(3 * x + 10)").average(by="event_time")
    np.testing.assert_allclose(again.values, base.values, rtol=1e-10)
    np.testing.assert_allclose(again.se, base.se, rtol=1e-9)


def test_untreated_residuals_sum_to_zero_by_unit_and_period() -> None:
    grid, _ = grid_of(panel_of(frame(8)).for_outcome("rate"), "rate", np.zeros((0, 0)), (), 0)
    score = gaussian_baseline(grid).score
    np.testing.assert_allclose(score.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(score.sum(axis=1), 0, atol=1e-12)


def test_anticipation_moves_the_start() -> None:
    df = frame(9)
    early = imputation(panel_of(df), "rate", anticipation=1)
    moved = df.assign(start=np.where(df["start"] > 0, df["start"] - 1, 0))
    shifted = imputation(panel_of(moved), "rate")
    np.testing.assert_allclose(early.values, shifted.values, rtol=1e-12)
    assert (early.terms["event_time"] == shifted.terms["event_time"] - 1).all()
    assert early.average().terms["weight"][0] < early.terms.query("estimand == 'att'")["weight"].sum()


def test_control_copies_leave_effects_alone() -> None:
    df = frame(10)
    never = df[df["start"] == 0]
    copies = pd.concat([df, never.assign(area=never["area"] + 1000)])
    reweighted = df.assign(w=np.where(df["start"] == 0, 2, 1) * df["w"])
    np.testing.assert_allclose(
        imputation(panel_of(copies), "rate").average().values,
        imputation(panel_of(reweighted), "rate").average().values,
        rtol=1e-11,
    )


# --- variances --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_leave_out_exceeds_conservative(family: Any) -> None:
    outcome = "cases" if family == "poisson" else "rate"
    fits = [imputation(panel_of(frame(11)), outcome, family=family, variance=v) for v in ("conservative", "leave_out")]
    for average in (overall, by("cohort"), by("event_time")):
        small, large = (average(fit.where(estimand=["att", "rate_ratio"])).se for fit in fits)
        assert (large > small).all()


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_within_one_cohort_and_event_time_conservative_is_the_derivative(family: Any) -> None:
    df = frame(12)
    df = df[df["start"] != 2005]
    outcome = "cases" if family == "poisson" else "rate"
    panel = panel_of(df, weight=None)  # equal weights: the w-squared mean is the mean
    one, two = (imputation(panel, outcome, family=family, variance=v) for v in ("conservative", "derivative"))
    np.testing.assert_allclose(one.average(by="event_time").se, two.average(by="event_time").se, rtol=1e-10)
    assert law(one).kind == "score"


def test_leave_out_of_a_lone_unit_is_undefined() -> None:
    df = frame(13)
    df = df[(df["start"] != 2005) | (df["area"] == df.loc[df["start"] == 2005, "area"].iloc[0])]
    result = imputation(panel_of(df), "rate", variance="leave_out")
    lone = result.where(cohort=2005)
    assert (lone.terms["status"] == "leave_out_undefined").all()
    assert np.isfinite(lone.values).all()
    assert np.isnan(lone.se).all()
    assert np.isnan(result.average().se).all()
    assert np.isfinite(result.where(cohort=2003).average().se).all()
    assert {cohort for cohort, _ in details(result).leave_out_undefined} == {2005}


def test_influence_stays_factored() -> None:
    psi = law(imputation(panel_of(frame(14)), "rate")).psi
    assert psi.own is not None
    assert psi.right is not None
    assert psi.own.nnz <= psi.shape[1]
    assert psi.left is not None
    assert psi.left.shape[1] <= 2 * PERIODS


def test_support_of_averages_counts_units() -> None:
    df = frame(15, holes=0)
    study = imputation(panel_of(df), "rate").average(by="event_time")
    rows = study.terms.set_index("event_time")
    assert rows.loc[0, "n_treated"] == 20
    assert rows.loc[3, "n_treated"] == 10
    assert rows.loc[-4, "n_treated"] == 10
    assert rows.loc[-2, "n_treated"] == 20


# --- statuses and refusals --------------------------------------------------------------------------------------------


def test_without_never_treated_late_periods_have_no_control() -> None:
    df = frame(16)
    result = imputation(panel_of(df[df["start"] > 0]), "rate")
    late = result.where(estimand="att", period=[2005, 2006])
    assert (late.terms["status"] == "no_control").all()
    assert np.isnan(late.values).all()
    early = result.where(estimand="att", period=[2003, 2004])
    assert np.isfinite(early.values).all()
    assert details(result).no_control == (2005, 2006)
    assert "leaves out" in result.average().terms["status"][0]
    # A linear trend in event time cannot be told from period effects.
    pre = result.where(estimand="pretrend", event_time=lambda e: e < -1)
    assert (pre.terms["status"] == "not_identified").all()
    assert np.isnan(pre.values).all()


def test_disconnected_units_are_not_compared() -> None:
    df = frame(17, holes=0)
    # Never treated areas are seen late only, the others before: nothing joins the two.
    df = df[np.where(df["start"] == 0, df["year"] >= 2005, True)]
    df = df[df["start"] != 2003]
    with (
        pytest.warns(PmgEvalWarning, match="PMG-MISSING-ARM"),
        pytest.raises(DesignError, match="PMG-NO-CONTROL"),
    ):
        imputation(panel_of(df), "rate")


def test_always_treated_units_are_dropped_with_a_note() -> None:
    df = frame(18)
    first = df.loc[df["start"] == 2003, "area"].iloc[0]
    df.loc[df["area"] == first, "start"] = 2000
    result = imputation(panel_of(df), "rate")
    assert details(result).always_treated == (first,)
    assert any("always treated" in note for note in result.provenance.notes)
    assert first not in set(result.where(estimand="att").terms["unit"])


def test_no_treated_and_everybody_treated() -> None:
    df = frame(19)
    with pytest.raises(DesignError):
        imputation(panel_of(df.assign(start=0)), "rate")
    with pytest.raises(DesignError):
        imputation(panel_of(df.assign(start=2004)), "rate")


def test_contaminated_observations_do_not_inform() -> None:
    df = frame(20)
    near = (df["start"] == 0) & (df["area"] < 6)
    marked = df.assign(near=np.where(near, 2004, np.inf))
    cut = df[~(near & (df["year"] >= 2004))]
    one = imputation(panel_of(marked, contaminated_from="near"), "rate").average(by="event_time")
    two = imputation(panel_of(cut), "rate").average(by="event_time")
    np.testing.assert_allclose(one.values, two.values, rtol=1e-12)
    np.testing.assert_allclose(one.se, two.se, rtol=1e-10)


def test_share_of_the_first_period() -> None:
    df = frame(21, holes=0)
    half = df.assign(start=np.where(df["start"] == 2003, 2003.5, df["start"]))
    treated = ((df["start"] > 0) & (df["year"] >= df["start"])) * 1.0
    treated[(df["start"] == 2003) & (df["year"] == 2003)] = 0.5
    exact = half.assign(rate=df["area"] + np.cos(df["year"]) + 4.0 * treated)
    result = imputation(panel_of(exact, partial_period="share"), "rate")
    np.testing.assert_allclose(result.where(estimand="att").values, 4.0, rtol=1e-11)
    first = result.where(cohort=2003, event_time=0)
    np.testing.assert_allclose(
        first.terms["weight"], 0.5 * result.where(cohort=2003, event_time=1).terms["weight"], rtol=1e-12
    )
    with pytest.raises(DesignError, match="PMG-SHARE"):
        imputation(panel_of(half, partial_period="share"), "cases", family="poisson")


def test_covariate_that_is_constant_changes_nothing() -> None:
    df = frame(22).assign(one=3.7, size=lambda d: d["area"] * 2.5)
    base = imputation(panel_of(df), "rate", covariates="~ x")
    more = imputation(panel_of(df), "rate", covariates="~ x + one + size")
    np.testing.assert_allclose(more.values, base.values, rtol=1e-9)
    assert details(more).dropped_covariates == ("one", "size")
    assert details(more).rank == details(base).rank
    np.testing.assert_allclose(details(more).coefficients["x"], details(base).coefficients["x"], rtol=1e-9)  # type: ignore[index]


def test_covariate_known_only_after_treatment_is_refused() -> None:
    df = frame(23).assign(police=lambda d: ((d["start"] > 0) & (d["year"] >= d["start"])) * (1.0 + d["area"]))
    with pytest.raises(DesignError, match="police"):
        imputation(panel_of(df), "rate", covariates="~ x + police")


def test_covariate_coefficient_and_offsets() -> None:
    df = frame(24)
    df = df.assign(rate=df["area"] + df["year"] + 2.0 * df["x"])
    result = imputation(panel_of(df), "rate", covariates="~ x")
    np.testing.assert_allclose(details(result).coefficients["x"], 2.0, rtol=1e-10)  # type: ignore[index]
    np.testing.assert_allclose(result.values, 0.0, atol=1e-9)
    far = frame(24).assign(x=lambda d: d["x"] + 1e9)
    np.testing.assert_allclose(
        imputation(panel_of(far), "rate", covariates="~ x").average().values,
        imputation(panel_of(frame(24)), "rate", covariates="~ x").average().values,
        rtol=1e-6,
    )


def test_formula_with_functions_and_categories() -> None:
    df = frame(25).assign(kind=lambda d: np.where(d["x"] > 0, "p", "q"))
    result = imputation(panel_of(df), "rate", covariates="~ np.log(people) + kind")
    assert list(details(result).coefficients or {}) == ["np.log(people)", "kind[T.q]"]


@pytest.mark.parametrize("formula", ["rate ~ x", "~ x +", "~ np.log(x)"])
def test_formula_errors(formula: str) -> None:
    with pytest.raises(DataError), np.errstate(invalid="ignore"):
        imputation(panel_of(frame(26)), "rate", covariates=formula)


@pytest.mark.parametrize(
    "options", [{"family": "probit"}, {"variance": "robust"}, {"anticipation": -1}, {"anticipation": 0.5}]
)
def test_unknown_options(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="PMG-OPTION"):
        imputation(panel_of(frame(27)), "rate", **options)


def test_repeated_cross_sections_are_refused() -> None:
    df = frame(28)
    panel = Panel(df, unit=None, time="year", cohort="start", never=0)
    with pytest.raises(DesignError, match="PMG-CROSS-SECTION"):
        imputation(panel, "rate")


# --- counts -----------------------------------------------------------------------------------------------------------


def test_exposure_scale_and_zero_controls_do_not_matter() -> None:
    df = frame(29)
    base = imputation(panel_of(df), "cases", family="poisson")
    scaled = imputation(panel_of(df.assign(people=1000 * df["people"])), "cases", family="poisson")
    np.testing.assert_allclose(scaled.values, base.values, rtol=1e-10)
    np.testing.assert_allclose(scaled.terms["weight"], base.terms["weight"], rtol=1e-10)
    empty = df[df["area"] == 0].assign(area=999, cases=0.0)
    more = imputation(panel_of(pd.concat([df, empty])), "cases", family="poisson")
    np.testing.assert_allclose(more.average().values, base.average().values, rtol=1e-10)
    np.testing.assert_allclose(more.average().se, base.average().se, rtol=1e-9)
    assert details(more).zero_base == (999,)


def test_observed_over_expected() -> None:
    result = imputation(panel_of(frame(30), weight=None), "cases", family="poisson")
    average = result.average()
    np.testing.assert_allclose(average.values[0] * average.terms["weight"][0], average.terms["n_events"][0], rtol=1e-12)
    assert average.terms["exposure"][0] > 0


def test_treated_unit_with_zero_base_has_no_ratio() -> None:
    df = frame(31)
    area = df.loc[df["start"] == 2005, "area"].iloc[0]
    df.loc[(df["area"] == area) & (df["year"] < 2005), "cases"] = 0.0
    result = imputation(panel_of(df), "cases", family="poisson")
    cells = result.where(unit=area)
    assert (cells.terms["status"] == "zero_base").all()
    assert np.isnan(cells.values).all()
    assert details(result).zero_base == (area,)
    assert np.isfinite(result.average().se).all()


def test_pretrend_without_cases_has_no_ratio() -> None:
    df = frame(32)
    df.loc[(df["start"] == 2005) & (df["year"] == 2000), "cases"] = 0.0
    pre = imputation(panel_of(df), "cases", family="poisson").where(estimand="pretrend")
    assert pre.terms.set_index("event_time")["status"].to_dict() == {
        -5: "zero_base",
        -4: "",
        -3: "",
        -2: "",
        -1: "reference",
    }
    assert pre.values[-1] == 1.0
    df.loc[(df["start"] > 0) & (df["year"] == df["start"] - 1), "cases"] = 0.0
    lost = imputation(panel_of(df), "cases", family="poisson").where(estimand="pretrend")
    assert lost.terms["status"].tolist() == ["zero_base"] * 4 + ["reference"]


def test_pretrend_ratios_are_the_poisson_regression_with_dummies() -> None:
    df = frame(39)
    untreated = df[(df["start"] == 0) | (df["year"] < df["start"])].reset_index(drop=True)
    event = np.where(untreated["start"] > 0, untreated["year"] - untreated["start"], 0)
    columns = [(event == e) * 1.0 for e in (-5, -4, -3, -2)] + [untreated["x"].to_numpy()]
    codes = [pd.factorize(untreated[name], sort=True)[0] for name in ("area", "year")]
    fit = ppml(untreated["cases"], untreated["people"], *codes, np.array(columns).T, untreated["w"])
    pre = imputation(panel_of(df), "cases", family="poisson", covariates="~ x").where(estimand="pretrend")
    np.testing.assert_allclose(np.log(pre.values), [*fit.coef[:4], 0.0], rtol=1e-9, atol=1e-12)


def test_pretrend_ratio_of_zero_is_not_finite() -> None:
    """One area of the cohort is seen untreated in 2001 only; the others have no cases in that year."""
    df = frame(40, holes=0)
    areas = df.loc[df["start"] == 2005, "area"].unique()
    df.loc[df["area"].isin(areas[1:]) & (df["year"] == 2001), "cases"] = 0.0
    df = df[(df["area"] != areas[0]) | (df["year"] >= 2005) | (df["year"] == 2001)]
    with pytest.warns(PmgEvalWarning):
        pre = imputation(panel_of(df), "cases", family="poisson").where(estimand="pretrend")
    assert pre.terms["status"].tolist() == ["", "zero_base", "", "", "reference"]
    assert np.isfinite(pre.values[[0, 2, 3]]).all()


def test_poisson_refusals() -> None:
    df = frame(33)
    with pytest.raises(DataError, match="PMG-NEGATIVE"):
        imputation(panel_of(df), "rate", family="poisson")
    nothing = df.assign(cases=np.where((df["start"] > 0) & (df["year"] >= df["start"]), df["cases"], 0.0))
    with pytest.raises(DesignError, match="PMG-NO-EVENTS"):
        imputation(panel_of(nothing), "cases", family="poisson")


def test_cases_avoided() -> None:
    result = imputation(panel_of(frame(34), weight=None), "cases", family="poisson", variance="derivative")
    ratio = result.average()
    avoided = cases_avoided(ratio)
    expected = ratio.terms["weight"][0]
    np.testing.assert_allclose(avoided.values, expected - ratio.terms["n_events"], rtol=1e-12)
    assert avoided.scale == "identity"
    assert avoided.terms["estimand"].tolist() == ["cases_avoided"]
    by_cell = cases_avoided(result)
    total = by_cell.map(np.ones((1, len(by_cell))))
    np.testing.assert_allclose(total.values, avoided.values, rtol=1e-10)
    np.testing.assert_allclose(total.se, avoided.se, rtol=1e-9)


def test_cases_avoided_refuses_differences() -> None:
    panel = panel_of(frame(35))
    with pytest.raises(InferenceError, match=r"family=\"poisson\""):
        cases_avoided(imputation(panel, "rate").average())
    with pytest.raises(InferenceError, match="PMG-NOT-A-RATIO"):
        cases_avoided(imputation(panel, "cases", family="poisson").average(overall="event_time"))


# --- shape of the result ----------------------------------------------------------------------------------------------


def test_pretrend_terms_enter_the_event_study_only() -> None:
    panel = panel_of(frame(36))
    with_pre, without = imputation(panel, "rate"), imputation(panel, "rate", pretrend=False)
    assert set(without.terms["estimand"]) == {"att"}
    assert without.terms["cohort"].dtype == np.int64
    for average in (overall, by("cohort"), by("period"), by("unit")):
        np.testing.assert_array_equal(average(with_pre).values, average(without).values)
        np.testing.assert_allclose(average(with_pre).se, average(without).se, rtol=1e-14)
    study = with_pre.average(by="event_time")
    assert study.terms["event_time"].tolist() == list(range(-5, 4))


def test_quarters() -> None:
    df = frame(37)
    quarter = pd.PeriodIndex.from_ordinals(df["year"].to_numpy() - 2000 + 160, freq="Q")
    start = pd.Series(pd.NaT, index=df.index, dtype="period[Q-DEC]")
    treated = df["start"] > 0
    start[treated] = pd.PeriodIndex.from_ordinals(df.loc[treated, "start"].to_numpy() - 2000 + 160, freq="Q")
    quarterly = df.assign(year=quarter, start=start)
    panel = Panel(quarterly, unit="area", time="year", cohort="start", never=None, weight="w", missing="pairwise")
    one, two = imputation(panel, "rate"), imputation(panel_of(df), "rate")
    np.testing.assert_allclose(one.values, two.values, rtol=1e-12)
    assert isinstance(one.terms["period"].dtype, pd.PeriodDtype)
    assert one.average(by="cohort").terms["cohort"].astype(str).tolist() == ["2010Q4", "2011Q2"]


def test_provenance() -> None:
    result = imputation(panel_of(frame(38)), "cases", family="poisson", variance="derivative")
    record = result.provenance
    assert record.estimator == "did.imputation"
    assert record.options == {
        "outcome": "cases",
        "covariates": None,
        "family": "poisson",
        "variance": "derivative",
        "anticipation": 0,
        "pretrend": True,
    }
    assert record.references[0] == "10.1093/restud/rdae007"
    assert any("Gardner" in reference or "2207.05943" in reference for reference in record.references)
