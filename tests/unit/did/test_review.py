"""What a hostile reading of did found: random designs against slow answers, and a test for every defect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pmg_eval import did
from pmg_eval.errors import DataError, InferenceError, NumericalError, PmgEvalError
from pmg_eval.estimate import Estimate, Influence
from pmg_eval.panel import Panel
from unit.did.random_designs import (
    Design,
    codes_of,
    conservative_error,
    design,
    difference_of_means,
    event_coefficients,
    groups,
    log_rate_ratio,
    regression,
)

SEEDS = range(40)
REFUSALS = {"PMG-NO-TREATED", "PMG-NO-CONTROL", "PMG-NO-UNTREATED", "PMG-NO-NEVER-TREATED", "PMG-COLLINEAR"}

# Random designs lose base periods and whole arms; the warnings about that are tested with the panel.
pytestmark = pytest.mark.filterwarnings("ignore:.*PMG-MISSING")


def every_design(check: Callable[[Design], None], seeds: range = SEEDS) -> None:
    """The check on every design that is not refused; most must not be."""
    refused: Counter[str] = Counter()
    for seed in seeds:
        try:
            check(design(seed))
        except PmgEvalError as error:
            refused[error.code] += 1
        except AssertionError as error:
            raise AssertionError(f"design {seed}: {error}") from error
    assert set(refused) <= REFUSALS, refused
    assert refused.total() < 0.6 * len(seeds), refused


def treated_rows(estimate: Estimate[Any]) -> Any:
    return np.flatnonzero((estimate.terms["estimand"] != "pretrend").to_numpy())


# ---- random designs ------------------------------------------------------------------------------------------------


def test_group_time_is_a_difference_of_means() -> None:
    def check(plan: Design) -> None:
        estimate = did.group_time(
            plan.panel(),
            "y",
            controls=plan.controls,
            anticipation=plan.anticipation,
            base_period=plan.base_period,  # type: ignore[arg-type]
        )
        terms, want = estimate.terms, groups(plan)
        labels = list(zip(codes_of(terms["cohort"]), codes_of(terms["period"]), strict=True))
        assert set(labels) == set(want)
        for (cohort, code), value, (_, row) in zip(labels, estimate.values, terms.iterrows(), strict=True):
            who = want[cohort, code]
            assert row["event_time"] == code - cohort
            if who is None:
                assert (row["status"], value) == ("reference", 0)
                continue
            assert (row["n_treated"], row["n_control"]) == (len(who.treated), len(who.controls))
            if not who.treated or not who.controls:
                assert np.isnan(value)
                assert row["status"] == ("no_control" if who.treated else "no_treated")
                continue
            assert value == pytest.approx(difference_of_means(plan, (cohort, code), who), abs=1e-9 * plan.spread)

    every_design(check)


def test_group_time_of_counts_is_a_ratio_of_conditional_rates() -> None:
    def check(plan: Design) -> None:
        estimate = did.group_time(
            plan.panel(),
            "cases",
            family="poisson",
            controls=plan.controls,
            anticipation=plan.anticipation,
            base_period=plan.base_period,  # type: ignore[arg-type]
        )
        terms, want = estimate.terms, groups(plan)
        labels = list(zip(codes_of(terms["cohort"]), codes_of(terms["period"]), strict=True))
        for label, value, status in zip(labels, estimate.values, terms["status"], strict=True):
            who = want[label]
            if who is None or not who.treated or not who.controls:
                continue
            ratio = log_rate_ratio(plan, label, who)
            if ratio == "zero_events":
                assert np.isnan(value)
                assert status == "zero_events"
            else:
                assert value == pytest.approx(np.exp(ratio), rel=1e-8)

    every_design(check, range(25))


@pytest.mark.parametrize("covariate", [None, "z"])
def test_imputation_is_a_regression_with_dummies(covariate: str | None) -> None:
    def check(plan: Design) -> None:
        formula = None if covariate is None else f"~ {covariate}"
        estimate = did.imputation(plan.panel(), "y", covariates=formula, anticipation=plan.anticipation)
        table, fit = plan.table, regression(plan, covariate)
        informed = table["unit"].isin(table["unit"][fit.untreated]).to_numpy()
        rows = np.flatnonzero(fit.treated & informed)
        cells = treated_rows(estimate)
        terms, values = estimate.terms.iloc[cells], estimate.values[cells]
        assert terms["unit"].tolist() == table["unit"].iloc[rows].tolist()
        assert codes_of(terms["period"]) == table["code"].iloc[rows].tolist()
        known = fit.identified[rows]
        assert (np.isfinite(values) == known).all()
        assert (terms["status"][~known] == "no_control").all()
        np.testing.assert_allclose(values[known], fit.residual[rows][known], rtol=0, atol=1e-8 * plan.spread)
        post = rows[known & (table["code"] >= table["cohort"]).to_numpy()[rows]]
        if len(post):
            overall = estimate.average()
            assert overall.terms["n_treated"][0] == table["unit"].iloc[post].nunique()
            error = conservative_error(plan, fit, post)
            assert overall.se[0] == pytest.approx(error, rel=1e-6, abs=1e-9 * plan.spread)

    every_design(check)


def test_pretrend_is_a_regression_with_event_dummies() -> None:
    def check(plan: Design) -> None:
        estimate = did.imputation(plan.panel(), "y", anticipation=plan.anticipation)
        pre = estimate.take(np.flatnonzero((estimate.terms["estimand"] == "pretrend").to_numpy()))
        want = event_coefficients(plan, regression(plan))
        assert pre.terms["event_time"].tolist() == list(want)
        np.testing.assert_allclose(pre.values, list(want.values()), rtol=1e-6, atol=1e-7 * plan.spread)
        missing = np.isnan(pre.values)
        assert (pre.terms["status"][missing] == "not_identified").all()

    every_design(check, range(100))


def test_counts_are_imputed_by_a_poisson_regression_with_dummies() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(5)
    n, years = 14, 6
    table = pd.DataFrame({"unit": np.repeat(np.arange(n), years), "code": np.tile(np.arange(2000, 2000 + years), n)})
    table["cohort"] = np.array([2003.0, 2004.0, np.inf])[np.arange(n) % 3][table["unit"]]
    table["weight"], table["dirty"] = rng.uniform(0.5, 2, n)[table["unit"]], np.inf
    table["people"] = 10.0 ** rng.uniform(1, 7, n)[table["unit"]]
    table["cases"] = rng.poisson(5 + 40 * rng.random(n)[table["unit"]])
    plan = Design(table, "Y", "error", True, 0, "varying", False)
    estimate = did.imputation(plan.panel(), "cases", family="poisson")
    free = (table["code"] < table["cohort"]).to_numpy()
    dummies = pd.get_dummies(table[["unit", "code"]].astype(str), dtype=float).to_numpy()
    full = dummies[:, 1:]  # one dummy less has full rank
    model = sm.GLM(
        table["cases"][free],
        full[free],
        family=sm.families.Poisson(),
        freq_weights=plan.weight[free],
        offset=np.log(table["people"][free]),
    ).fit(tol=1e-12, maxiter=200)
    expected = table["people"] * np.exp(full @ model.params)
    cells = treated_rows(estimate)
    np.testing.assert_allclose(estimate.values[cells], (table["cases"] / expected)[~free], rtol=1e-7)
    np.testing.assert_allclose(estimate.terms["weight"].iloc[cells], (plan.weight * expected)[~free], rtol=1e-7)
    used = plan.weight[~free]
    ratio = (used * table["cases"][~free]).sum() / (used * expected[~free]).sum()
    assert estimate.average().values[0] == pytest.approx(ratio, rel=1e-7)


def test_averages_of_cells_are_what_they_say() -> None:
    def check(plan: Design) -> None:
        estimate = did.group_time(plan.panel(), "y", controls=plan.controls, anticipation=plan.anticipation)
        table = estimate.terms.assign(value=estimate.values, cohort=codes_of(estimate.terms["cohort"]))
        table = table[np.isfinite(table["value"]) & (table["weight"] > 0)]
        post = table[table["event_time"] >= 0]
        if post.empty:
            return

        def mean(rows: pd.DataFrame) -> float:
            return float(np.average(rows["value"], weights=rows["weight"]))

        def close(found: float, want: float) -> None:
            assert found == pytest.approx(want, abs=1e-9 * plan.spread)

        study = estimate.average(by="event_time")
        for time, value in zip(study.terms["event_time"], study.values, strict=True):
            if np.isfinite(value):
                close(value, mean(table[table["event_time"] == time]))
        close(estimate.average().values[0], mean(post))
        cohorts = post.groupby("cohort")
        sizes = cohorts["weight"].first()
        close(estimate.average(overall="cohort").values[0], float(np.average(cohorts["value"].mean(), weights=sizes)))
        for label in ("event_time", "period"):
            parts = [mean(rows) for _, rows in post.groupby(label)]
            close(estimate.average(overall=label).values[0], float(np.mean(parts)))  # type: ignore[arg-type]

    every_design(check, range(100))


ESTIMATORS: list[Callable[[Design, Panel], Estimate[Any]]] = [
    lambda plan, panel: did.group_time(
        panel, "y", controls=plan.controls, anticipation=plan.anticipation, base_period=plan.base_period
    ),  # type: ignore[arg-type]
    lambda plan, panel: did.group_time(panel, "y", covariates="~ z", method="or", anticipation=plan.anticipation),
    lambda plan, panel: did.group_time(panel, "cases", family="poisson", controls=plan.controls),
    lambda plan, panel: did.imputation(panel, "y", variance="derivative", anticipation=plan.anticipation),
    lambda plan, panel: did.imputation(panel, "y", variance="derivative", covariates="~ z"),
    lambda plan, panel: did.imputation(panel, "cases", variance="derivative", family="poisson"),
]


@pytest.mark.parametrize("number", range(len(ESTIMATORS)))
def test_influence_is_the_derivative_in_random_designs(number: int) -> None:
    def check(plan: Design) -> None:
        panel = plan.panel()
        estimator = ESTIMATORS[number]
        estimate = estimator(plan, panel)
        law = estimate.uncertainty
        assert isinstance(law, Influence)
        known = np.isfinite(estimate.values)
        if not known.any():
            return
        psi = law.psi.dense()
        row = int(np.random.default_rng(0).integers(len(law.rows)))
        unit = panel.units == law.rows["unit"].iloc[row]
        up, down = (estimator(plan, panel.with_weight(np.where(unit, np.exp(step), 1.0))) for step in (1e-5, -1e-5))
        slope = law.n * (up.values - down.values) / 2e-5
        scale = np.abs(psi).max(axis=0) + 1e-3 * np.abs(estimate.values)
        assert (np.abs(slope - psi[row])[known] <= 3e-5 * scale[known] + 1e-300).all()

    every_design(check, range(number, 46, 2))


def test_no_number_is_missing_without_a_word() -> None:
    def check(plan: Design) -> None:
        panel = plan.panel()
        for estimate in (
            did.group_time(panel, "y", anticipation=plan.anticipation),
            did.imputation(panel, "y", anticipation=plan.anticipation),
            did.imputation(panel, "cases", family="poisson", anticipation=plan.anticipation),
        ):
            for by in ("event_time", "cohort", "period", None):
                try:
                    frame = estimate.average(by=by).to_frame()  # type: ignore[arg-type]
                except InferenceError:  # nothing to average, which the message says
                    continue
                empty = frame["estimate"].isna() | (frame["conf_low"].isna() & (frame["std_error"] != 0))
                assert (frame.loc[empty, "status"] != "").all(), frame[empty].to_string()

    every_design(check, range(30))


# ---- one test for every defect found ---------------------------------------------------------------------------------


def test_pretrend_that_nothing_identifies_is_no_number() -> None:
    """Only wave A is seen in the first period: its drift then cannot be told from that period."""
    seen = {0: (1, 2, 3, 4), 1: (1, 2, 3, 4), 2: (3, 4, 5), 3: (3, 4, 5), 4: (2, 3, 4, 5), 5: (2, 3, 4, 5)}
    rows = [(unit, time) for unit, times in seen.items() for time in times]
    df = pd.DataFrame(rows, columns=["area", "year"])
    df["start"] = df["area"].map({0: 3, 1: 3, 2: 4, 3: 4}).fillna(0).astype(int)
    df["rate"] = np.random.default_rng(0).normal(size=len(df))
    df["w"] = np.random.default_rng(9).uniform(0.3, 3, 6)[df["area"]]  # weights for which zeros come with rounding

    def pre(table: pd.DataFrame) -> Estimate[Any]:
        panel = Panel(table, unit="area", time="year", cohort="start", never=0, weight="w", missing="pairwise")
        return did.imputation(panel, "rate").where(estimand="pretrend")

    lost = pre(df)
    assert lost.terms["event_time"].tolist() == [-2, -1]
    assert lost.terms["status"].tolist() == ["not_identified", "reference"]
    assert np.isnan(lost.values[0])
    more = pd.concat([df, pd.DataFrame({"area": 4, "year": [1], "start": 0, "rate": 0.5, "w": 0.3})])
    assert pre(more).terms["status"].tolist() == ["", "reference"]


def counts() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    df = pd.DataFrame([(area, year) for area in range(20) for year in range(2010, 2016)], columns=["area", "year"])
    df["start"] = df["area"].map(lambda area: 2013 if area < 4 else 2014 if area < 7 else 0)
    df["cases"] = rng.poisson(8, len(df))
    df["x"] = rng.normal(size=len(df))
    return df


def panel_of(df: pd.DataFrame, **roles: Any) -> Panel:
    return Panel(df, unit="area", time="year", cohort="start", never=0, **roles)


@pytest.mark.parametrize("estimator", [did.group_time, did.imputation])
def test_areas_without_events_do_not_change_the_guard(estimator: Callable[..., Estimate[Any]]) -> None:
    """They carry no information, so neither degrees of freedom nor intervals may rest on them."""
    df = counts()
    empty = df[df["area"].isin([0, 1, 2, 10, 11])].assign(area=lambda d: d["area"] + 100, cases=0)
    for by in (None, "event_time"):
        want = estimator(panel_of(df), "cases", family="poisson").average(by=by).to_frame()
        found = estimator(panel_of(pd.concat([df, empty])), "cases", family="poisson").average(by=by).to_frame()
        columns = ["estimate", "std_error", "df", "conf_low", "conf_high", "n_treated", "n_control"]
        pd.testing.assert_frame_equal(found[columns], want[columns], rtol=1e-8)


def test_one_treated_area_with_events_is_one_treated_area() -> None:
    df = counts()
    df.loc[df["area"].isin([1, 2, 3]), "cases"] = 0
    frame = did.group_time(panel_of(df), "cases", family="poisson").where(cohort=2013).to_frame()
    assert (frame["n_treated"] == 1).all()
    assert frame["std_error"].isna().all()
    assert frame["status"].str.contains("effect_per_area").all()


def test_covariates_that_fit_the_controls_perfectly_are_refused() -> None:
    """As many controls as coefficients and almost no events: the predicted trend is beyond any number."""
    df = counts()[lambda d: d["area"].isin([0, 1, 7, 8])].assign(cases=lambda d: d["cases"] + 1.0)
    df["x"] = df["area"].map({0: 40.0, 1: -35.0, 7: 0.0, 8: 0.02})
    df.loc[(df["area"] == 8) & (df["year"] > 2012), "cases"] = 1e-9
    estimate = did.group_time(panel_of(df), "cases", family="poisson", method="or", covariates="~ x")
    late = estimate.where(period=2013)
    assert late.terms["status"].tolist() == ["singular"]
    assert np.isfinite(estimate.se[np.isfinite(estimate.values)]).all()


BAD_CALLS: list[tuple[dict[str, Any], str]] = [
    ({"anticipation": "two"}, "PMG-OPTION"),
    ({"anticipation": None}, "PMG-OPTION"),
    ({"anticipation": np.nan}, "PMG-OPTION"),
    ({"covariates": 5}, "PMG-OPTION"),
    ({"covariates": "~"}, "PMG-FORMULA"),
    ({"covariates": "~ nothing(x)"}, "PMG-FORMULA"),
    ({"covariates": "~ x *"}, "PMG-FORMULA"),
    ({"covariates": "~ x | area"}, "PMG-FORMULA"),
    ({"covariates": "~ __import__('os')"}, "PMG-FORMULA"),
    ({"covariates": "~ day"}, "PMG-FORMULA"),
    ({"covariates": "~ kind.astype(float)"}, "PMG-FORMULA"),
    ({"covariates": "~ np.log(x)"}, "PMG-COVARIATE"),
    ({"covariates": "~ np.log(nil)"}, "PMG-COVARIATE"),
    ({"family": ["poisson"]}, "PMG-OPTION"),
]


@pytest.mark.parametrize("estimator", [did.group_time, did.imputation])
@pytest.mark.parametrize(("options", "code"), BAD_CALLS)
def test_doors(estimator: Callable[..., Estimate[Any]], options: dict[str, Any], code: str) -> None:
    df = counts().assign(day=pd.Timestamp("2020-01-01"), kind="secret-word", nil=0.0)
    with pytest.raises(DataError) as caught:
        estimator(panel_of(df), "cases", **options)
    assert caught.value.code == code
    assert caught.value.fix
    assert "secret-word" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("estimator", [did.group_time, did.imputation])
def test_a_bare_table_is_no_panel(estimator: Callable[..., Estimate[Any]]) -> None:
    with pytest.raises(DataError, match=r"pe\.Panel") as caught:
        estimator(counts(), "cases")
    assert caught.value.code == "PMG-PANEL"
    with pytest.raises(DataError, match="not a list"):
        estimator(panel_of(counts()), ["cases"])
    with pytest.raises(DataError, match=r"closest|available") as caught:
        estimator(panel_of(counts()), None)
    assert "index" not in caught.value.fix


@pytest.mark.parametrize("estimator", [did.group_time, did.imputation])
def test_negative_counts_are_named(estimator: Callable[..., Estimate[Any]]) -> None:
    df = counts()
    df.loc[8, "cases"] = -1
    with pytest.raises(DataError) as caught:
        estimator(panel_of(df), "cases", family="poisson")
    assert (caught.value.code, caught.value.where) == ("PMG-NEGATIVE", ("1 in 2012",))


def test_imputation_refuses_the_outcome_as_its_own_covariate() -> None:
    with pytest.raises(DataError, match="outcome itself"):
        did.imputation(panel_of(counts()), "cases", covariates="~ x + cases")


@pytest.mark.parametrize("estimator", [did.group_time, did.imputation])
def test_covariates_of_any_size(estimator: Callable[..., Estimate[Any]]) -> None:
    df = counts()
    want = estimator(panel_of(df), "cases", covariates="~ x").average()
    huge = estimator(panel_of(df.assign(x=df["x"] * 1e300)), "cases", covariates="~ x").average()
    np.testing.assert_allclose(huge.values, want.values, rtol=1e-10)
    np.testing.assert_allclose(huge.se, want.se, rtol=1e-10)


def test_separating_covariates_are_named() -> None:
    df = counts().assign(mark=lambda d: (d["year"] % 2 == 0) & (d["area"] % 3 == 1))
    df.loc[df["mark"], "cases"] = 0
    with pytest.raises(NumericalError) as caught:
        did.imputation(panel_of(df.assign(mark=df["mark"] * 1.0)), "cases", family="poisson", covariates="~ x + mark")
    assert (caught.value.code, caught.value.where) == ("PMG-SEPARATION", ("mark",))


def test_units_of_weight_zero_are_not_there() -> None:
    df = counts().assign(w=1.0)
    extra = df[df["area"].isin([0, 12])].assign(area=lambda d: d["area"] + 50, w=0.0, cases=999)
    want = did.imputation(panel_of(df, weight="w"), "cases")
    found = did.imputation(panel_of(pd.concat([df, extra]), weight="w"), "cases")
    np.testing.assert_allclose(found.values, want.values, rtol=1e-10)
    pd.testing.assert_frame_equal(found.terms, want.terms)
    assert not [note for note in found.provenance.notes if "always treated" in note]
    np.testing.assert_allclose(found.average().se, want.average().se, rtol=1e-10)


def test_lone_cohorts_and_contaminated_areas_are_noted() -> None:
    df = counts()
    df.loc[df["area"] == 6, "start"] = 2015
    notes = did.imputation(panel_of(df), "cases").provenance.notes
    assert any("1 cohorts of one area (2015)" in note for note in notes)
    assert not any(
        "cohorts of one area" in note for note in did.imputation(panel_of(counts()), "cases").provenance.notes
    )
    df = counts().assign(dirty=lambda d: np.where(d["area"] == 5, 2012, 0))
    notes = did.group_time(panel_of(df, contaminated_from="dirty"), "cases").provenance.notes
    assert any("1 treated units were contaminated before" in note for note in notes)
