"""did.group_time: the universal law, invariants, hand-worked cells, statuses, refusals."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pmg_eval import did
from pmg_eval.did._cells import TRIM, fit_propensity
from pmg_eval.did._cells_rc import Sections, doubly_robust_sections
from pmg_eval.did._covariates import names_in
from pmg_eval.errors import DataError, DesignError
from pmg_eval.estimate import Estimate, Influence
from pmg_eval.numerics.ppml import ppml
from pmg_eval.panel import Panel

Result = Estimate[did.GroupTimeDetails]


def simulated(n: int = 60, periods: int = 6, seed: int = 4, *, cross_sections: bool = False) -> pd.DataFrame:
    """Cohorts 3, 5, 9 (after the last period), never; covariates x (constant), z (varying); counts with exposure."""
    rng = np.random.default_rng(seed)
    start = rng.choice([0, 3, 5, 9], n, p=[0.35, 0.25, 0.2, 0.2])
    x = rng.normal(size=n) + 0.4 * (start == 3)
    df = pd.DataFrame({"area": np.repeat(np.arange(n), periods), "year": np.tile(np.arange(1, periods + 1), n)})
    unit = df["area"].to_numpy()
    df["start"] = start[unit]
    df["x"] = x[unit] + (rng.normal(size=len(df)) if cross_sections else 0)
    df["z"] = 0.5 * df["x"] + rng.normal(size=len(df))
    df["w"] = 1.0 + unit % 3 / 2
    treated = (df["start"] > 0) & (df["year"] >= df["start"])
    df["y"] = unit / 9 + df["year"] * (1 + 0.2 * df["x"]) + treated + rng.normal(size=len(df))
    df["people"] = rng.uniform(50, 150, n)[unit] * (1 + 0.05 * df["year"])
    df["cases"] = rng.poisson(df["people"] * np.exp(-2 + 0.3 * df["x"] + 0.1 * df["year"] - 0.5 * treated))
    return df


def panel_of(df: pd.DataFrame, **roles: Any) -> Panel:
    return Panel(df, **{"unit": "area", "time": "year", "cohort": "start", "never": 0, **roles})


def law(estimate: Result) -> Influence:
    assert isinstance(estimate.uncertainty, Influence)
    return estimate.uncertainty


def cell(estimate: Estimate[Any], cohort: Any, period: Any) -> int:
    terms = estimate.terms
    return int(np.flatnonzero((terms["cohort"] == cohort) & (terms["period"] == period))[0])


# ---- the universal law -------------------------------------------------------------------------------------------


def assert_law(panel: Panel, outcome: str, **options: Any) -> None:
    """psi = n dθ/d log w, for the values and for their weights."""
    estimate = did.group_time(panel, outcome, **options)
    found = law(estimate)
    assert found.kind == "derivative"
    assert found.weight_psi is not None
    usable = np.isfinite(estimate.values)
    assert usable.any()
    psi, weight_psi = found.psi.dense(), found.weight_psi.dense()
    np.testing.assert_allclose(psi.mean(axis=0), 0, atol=1e-11 * np.abs(psi).max())
    step = 1e-5
    rows = np.random.default_rng(0).choice(len(found.rows), 3, replace=False)
    for row in rows:
        unit = int(np.flatnonzero(panel.units == found.rows["unit"].iloc[row])[0])
        moved = []
        for sign in (1, -1):
            multiplier = np.ones(panel.n_units)
            multiplier[unit] = np.exp(sign * step)
            moved.append(did.group_time(panel.with_weight(multiplier), outcome, **options))
        slope = found.n * (moved[0].values - moved[1].values) / (2 * step)
        np.testing.assert_allclose(slope[usable], psi[row, usable], atol=1e-6 * max(1.0, np.abs(psi).max()))
        slope = found.n * (moved[0].terms["weight"] - moved[1].terms["weight"]).to_numpy() / (2 * step)
        np.testing.assert_allclose(
            slope[usable], weight_psi[row, usable], atol=1e-6 * max(1.0, np.abs(weight_psi).max())
        )


@pytest.mark.parametrize("base_period", ["varying", "universal", "average"])
@pytest.mark.parametrize("covariates", [None, "~ x", "~ x + z"])
@pytest.mark.parametrize("method", ["dr", "ipw", "or"])
def test_law_panel(method: str, covariates: str | None, base_period: str) -> None:
    panel = panel_of(simulated(), weight="w")
    assert_law(panel, "y", method=method, covariates=covariates, base_period=base_period)


@pytest.mark.parametrize(("method", "covariates"), [("dr", None), ("ipw", "~ x + z"), ("or", "~ x + z")])
def test_law_cross_sections(method: str, covariates: str | None) -> None:
    panel = panel_of(simulated(120, cross_sections=True), unit=None, weight="w")
    assert_law(panel, "y", method=method, covariates=covariates)


def test_law_doubly_robust_cross_sections_exact() -> None:
    rng = np.random.default_rng(1)
    m = 200
    treated, after = rng.uniform(size=m) < 0.4, rng.uniform(size=m) < 0.5
    design = np.vstack([np.ones(m), rng.normal(size=m) + 0.3 * treated])
    outcome, weight = rng.normal(size=m) + design[1] * (1 + after), rng.uniform(0.5, 2, m)

    def solved(weights: Any, *, exact: bool) -> Any:
        data = Sections(outcome, weights, treated, after, design)
        return doubly_robust_sections(data, fit_propensity(design, treated, weights), exact=exact)

    for row in range(5):
        up, down = weight.copy(), weight.copy()
        up[row] *= np.exp(1e-5)
        down[row] *= np.exp(-1e-5)
        slope = (solved(up, exact=True).values[0] - solved(down, exact=True).values[0]) / 2e-5
        assert solved(weight, exact=True).derivative[0, row] == pytest.approx(slope, abs=1e-9)
    exact, published = (solved(weight, exact=flag).derivative[0] for flag in (True, False))
    assert np.abs(exact - published).max() > 0


def test_law_anticipation_and_never_treated() -> None:
    panel = panel_of(simulated(), weight="w")
    assert_law(panel, "y", covariates="~ x + z", anticipation=1, controls=did.NeverTreated())


def test_law_contaminated_controls() -> None:
    df = simulated()
    df["dirty"] = np.where((df["area"] % 7 == 0) & (df["start"] == 0), 4, 0)
    assert_law(panel_of(df, weight="w", contaminated_from="dirty"), "y", covariates="~ x")


@pytest.mark.parametrize("method", ["dr", "or"])
def test_law_share_of_the_first_period(method: str) -> None:
    panel = panel_of(partial_starts(), freq="Y", partial_period="share", never=None, weight="w")
    assert_law(panel, "y", covariates="~ x", method=method)


@pytest.mark.parametrize("base_period", ["varying", "universal", "average"])
@pytest.mark.parametrize("covariates", [None, "~ x + z"])
def test_law_poisson(covariates: str | None, base_period: str) -> None:
    panel = panel_of(simulated(), weight="w", exposure="people")
    assert_law(panel, "cases", family="poisson", method="or", covariates=covariates, base_period=base_period)


@pytest.mark.filterwarnings("ignore:.*PMG-MISSING-BASE")
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_law_unbalanced(family: str) -> None:
    assert_law(panel_of(unbalanced(), weight="w", exposure="people", missing="pairwise"), "cases", family=family)


def test_law_of_a_ratio_of_zero() -> None:
    df = simulated()
    df.loc[(df["start"] == 3) & (df["year"] == 4), "cases"] = 0
    panel = panel_of(df, weight="w", exposure="people")
    estimate = did.group_time(panel, "cases", family="poisson")
    position = cell(estimate, 3, 4)
    assert estimate.values[position] == 0
    assert estimate.terms["status"][position] == "zero_events"
    assert estimate.terms["weight"][position] > 0
    assert np.isnan(estimate.interval()["conf_high"][position])
    assert_law(panel, "cases", family="poisson")
    assert_law(panel, "cases", family="poisson", method="or", covariates="~ x")


def partial_starts() -> pd.DataFrame:
    """Dates of start inside the year, in cohorts 2003 and 2005."""
    df = simulated()
    df["year"] = pd.to_datetime((2000 + df["year"]).astype(str) + "-01-01")
    month = 1 + df["area"] % 12
    dated = (2000 + df["start"]).astype(str) + "-" + month.astype(str).str.zfill(2) + "-01"
    df["start"] = pd.to_datetime(dated.where(df["start"] > 0))
    return df


def unbalanced() -> pd.DataFrame:
    df = simulated(80)
    lost = np.random.default_rng(2).uniform(size=len(df)) < 0.1
    return df[~(lost & (df["year"] != 2))]


# ---- invariants --------------------------------------------------------------------------------------------------

OPTIONS: list[dict[str, Any]] = [
    {"covariates": "~ x + z"},
    {"covariates": "~ x", "method": "ipw", "base_period": "universal"},
    {"covariates": "~ z", "method": "or", "base_period": "average", "controls": did.NeverTreated()},
]


def same(left: Result, right: Result, scale: float = 1.0, shift: Any = 0.0) -> None:
    usable = np.isfinite(left.values)
    np.testing.assert_allclose(right.values[usable], (scale * left.values + shift)[usable], rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(right.se[usable], abs(scale) * left.se[usable], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("options", OPTIONS)
def test_shifts_of_the_outcome(options: dict[str, Any]) -> None:
    df = simulated()
    plain = did.group_time(panel_of(df, weight="w"), "y", **options)

    def moved(outcome: Any) -> Result:
        return did.group_time(panel_of(df.assign(y=outcome), weight="w"), "y", **options)

    same(plain, moved(df["y"] + df["area"] ** 2 / 100))
    same(plain, moved(df["y"] + np.sin(df["year"])))
    same(plain, moved(-3 * df["y"]), scale=-3)
    treated = (df["start"] > 0) & (df["year"] >= df["start"])
    same(plain, moved(df["y"] + 7.0 * treated), shift=7.0 * (plain.terms["event_time"] >= 0).to_numpy())


@pytest.mark.parametrize("options", OPTIONS)
def test_order_weights_and_covariate_scale(options: dict[str, Any]) -> None:
    df = simulated()
    plain = did.group_time(panel_of(df, weight="w"), "y", **options)
    shuffled = df.sample(frac=1, random_state=3).assign(w=lambda frame: 12 * frame["w"])
    same(plain, did.group_time(panel_of(shuffled, weight="w"), "y", **options))
    affine = df.assign(x=5 - 3 * df["x"], z=1e3 * df["z"] + 7)
    same(plain, did.group_time(panel_of(affine, weight="w"), "y", **options))
    far = did.group_time(panel_of(df.assign(x=df["x"] + 1e9), weight="w"), "y", **options)
    np.testing.assert_allclose(far.values, plain.values, rtol=1e-5, atol=1e-6)


def test_integer_weights_are_copies() -> None:
    df = simulated().assign(w=lambda frame: 1 + frame["area"] % 3)
    weighted = did.group_time(panel_of(df, weight="w"), "y", covariates="~ x + z")
    copies = pd.concat(
        [df[df["w"] > copy].assign(area=lambda frame, c=copy: frame["area"] + 1000 * c) for copy in range(3)]
    )
    same_values = did.group_time(panel_of(copies.assign(w=1.0)), "y", covariates="~ x + z")
    np.testing.assert_allclose(same_values.values, weighted.values, rtol=1e-9)
    np.testing.assert_allclose(same_values.terms["weight"], weighted.terms["weight"], rtol=1e-12)


def test_units_of_weight_zero_change_nothing() -> None:
    df = simulated()
    plain = did.group_time(panel_of(df, weight="w"), "y", covariates="~ x")
    extra = df[df["area"] < 4].assign(area=lambda frame: frame["area"] + 500, w=0.0, y=99.0)
    added = did.group_time(panel_of(pd.concat([df, extra]), weight="w"), "y", covariates="~ x")
    same(plain, added)
    assert added.terms["n_units"].tolist() == plain.terms["n_units"].tolist()


def test_constant_and_collinear_covariates_are_dropped_with_a_note() -> None:
    df = simulated().assign(one=4.0, double=lambda frame: 2 * frame["x"] - 1)
    plain = did.group_time(panel_of(df), "y", covariates="~ x")
    wide = did.group_time(panel_of(df), "y", covariates="~ x + one + double")
    same(plain, wide)
    assert wide.details is not None
    assert wide.details.covariates == ("x",)
    assert any("one, double" in note for note in wide.provenance.notes)
    nothing = did.group_time(panel_of(df), "y", covariates="~ one")
    same(did.group_time(panel_of(df), "y"), nothing)


def test_formula_agrees_with_columns() -> None:
    df = simulated().assign(kind=lambda frame: np.where(frame["area"] % 2, "town", "city"))
    df["is_town"] = (df["kind"] == "town") * 1
    df["square"] = df["z"] ** 2
    left = did.group_time(panel_of(df), "y", covariates="~ C(kind) + I(z ** 2)")
    right = did.group_time(panel_of(df), "y", covariates="is_town + square")
    same(left, right)
    assert names_in("~ C(kind) + np.log(z) + `w`", df) == ["kind", "z", "w"]


def test_without_covariates_all_methods_are_the_same() -> None:
    panel = panel_of(simulated(), weight="w")
    first, *others = (did.group_time(panel, "y", method=method) for method in ("dr", "ipw", "or"))  # type: ignore[arg-type]
    for other in others:
        np.testing.assert_array_equal(other.values, first.values)
        np.testing.assert_array_equal(other.se, first.se)


def test_universal_base_is_a_long_difference() -> None:
    panel = panel_of(simulated())
    options: dict[str, Any] = {"controls": did.NeverTreated(), "covariates": "~ x", "method": "or"}
    short = did.group_time(panel, "y", **options)
    long = did.group_time(panel, "y", base_period="universal", **options)
    for cohort, base in ((3, 2), (5, 4)):
        for period in range(1, base):
            steps = sum(short.values[cell(short, cohort, t)] for t in range(period + 1, base + 1))
            assert long.values[cell(long, cohort, period)] == pytest.approx(-steps, abs=1e-12)
        reference = cell(long, cohort, base)
        assert long.terms["status"][reference] == "reference"
        assert long.values[reference] == 0
        assert not law(long).psi.dense()[:, reference].any()


def test_average_base_is_the_mean_of_the_periods_before() -> None:
    df = simulated()
    estimate = did.group_time(panel_of(df), "y", base_period="average", controls=did.NeverTreated(), anticipation=1)
    wide = df.pivot(index="area", columns="year", values="y")
    start = df.groupby("area")["start"].first()
    change = wide[5] - wide[[1, 2, 3]].mean(axis=1)
    assert estimate.values[cell(estimate, 5, 5)] == pytest.approx(change[start == 5].mean() - change[start == 0].mean())
    # With a single period before the start the cell of that period is zero by construction.
    assert estimate.terms.loc[estimate.terms["status"] == "reference", ["cohort", "period"]].values.tolist() == [[3, 1]]
    assert estimate.details is not None
    row = estimate.details.cells.iloc[cell(estimate, 5, 5)]
    assert (row["base_first"], row["base_last"]) == (1, 3)


def test_anticipation_moves_the_base() -> None:
    panel = panel_of(simulated())
    estimate = did.group_time(panel, "y", anticipation=1)
    assert estimate.details is not None
    table = estimate.details.cells
    assert table.loc[(table["cohort"] == 5) & (table["period"] >= 5), "base_last"].unique().tolist() == [3]
    assert table.loc[(table["cohort"] == 5) & (table["period"] == 4), "base_last"].tolist() == [3]


def test_cohorts_after_the_window_are_controls_until_their_start_only() -> None:
    df = simulated()
    start = df.groupby("area")["start"].first()
    n3, n5, never, later = ((start == code).sum() for code in (3, 5, 0, 9))
    counts = did.group_time(panel_of(df), "y").terms.set_index(["cohort", "period"])["n_control"]
    assert counts[(3, 3)] == n5 + never + later
    assert counts[(3, 5)] == never + later
    assert counts[(5, 2)] == n3 + never + later
    strict = did.group_time(panel_of(df), "y", controls=did.NeverTreated())
    assert set(strict.terms["n_control"]) == {never}
    assert strict.details is not None
    assert (strict.details.n_never, strict.details.n_later) == (never, later)


def test_contaminated_controls_leave_at_their_date() -> None:
    df = simulated()
    df["dirty"] = np.where((df["area"] % 7 == 0) & (df["start"] == 0), 4, 0)
    dirty = df.loc[df["dirty"] > 0, "area"].nunique()
    assert dirty > 0
    clean = did.group_time(panel_of(df), "y").terms["n_control"]
    fewer = did.group_time(panel_of(df, contaminated_from="dirty"), "y").terms
    expected = clean - np.where(fewer["period"] >= 4, dirty, 0)
    assert fewer["n_control"].tolist() == expected.tolist()


# ---- hand-worked and independent -----------------------------------------------------------------------------------


def test_two_groups_two_periods() -> None:
    df = pd.DataFrame({"area": [1, 1, 2, 2, 3, 3], "year": [1, 2] * 3, "start": [2, 2, 0, 0, 0, 0]})
    df["y"] = [1.0, 6.0, 2.0, 3.0, 5.0, 8.0]
    estimate = did.group_time(panel_of(df), "y")
    assert estimate.values.tolist() == [3.0]
    # controls' changes 1 and 3: variance of their mean sum((c - 2)^2) / 2^2
    assert estimate.se[0] == pytest.approx(np.sqrt(0.5))
    assert estimate.terms.loc[0, ["n_units", "n_treated", "n_control"]].tolist() == [3, 1, 2]
    assert estimate.terms["weight"][0] == pytest.approx(1 / 3)
    assert "effect_per_area" in estimate.to_frame()["status"][0]


def doubly_robust_by_hand(frame: pd.DataFrame) -> float:
    """drdid_panel written as in the paper, with a plain logit, on columns change, treated, x."""
    design = np.column_stack([np.ones(len(frame)), frame["x"]])
    treated = frame["treated"].to_numpy(dtype=float)
    coef = np.zeros(2)
    for _ in range(100):
        chance = 1 / (1 + np.exp(-design @ coef))
        hessian = design.T @ (design * (chance * (1 - chance))[:, None])
        coef = coef + np.linalg.solve(hessian, design.T @ (treated - chance))
    chance = 1 / (1 + np.exp(-design @ coef))
    beta = np.linalg.lstsq(design[treated == 0], frame["change"][treated == 0], rcond=None)[0]
    residual = frame["change"].to_numpy() - design @ beta
    odds = (1 - treated) * chance / (1 - chance) * (chance < TRIM)
    return float(np.average(residual, weights=treated) - np.average(residual, weights=odds))


def test_trimming_of_controls() -> None:
    rng = np.random.default_rng(0)
    treated = np.arange(400) < 200
    x = rng.normal(size=400) + 3.2 * treated
    x[300] = 4.2  # a control that looks treated
    df = pd.DataFrame({"area": np.repeat(np.arange(400), 2), "year": np.tile([1, 2], 400)})
    df["start"], df["x"] = np.where(np.repeat(treated, 2), 2, 0), np.repeat(x, 2)
    df["y"] = rng.normal(size=800) + df["x"] * df["year"]
    change = df.groupby("area")["y"].diff().dropna().to_numpy()
    high = 0.0
    for largest in np.linspace(3, 6, 61):  # let the highest propensity lie between trimming and failure
        df["x"] = np.repeat(np.minimum(x, largest), 2)
        estimate = did.group_time(panel_of(df), "y", covariates="~ x")
        assert estimate.details is not None
        table = estimate.details.cells.iloc[0]
        high = table["propensity_high"]
        if TRIM < high < 0.999 and table["n_trimmed"]:
            frame = pd.DataFrame({"change": change, "treated": treated, "x": np.minimum(x, largest)})
            assert estimate.values[0] == pytest.approx(doubly_robust_by_hand(frame), rel=1e-9)
            return
    pytest.fail(f"no cell with trimmed controls was made (highest propensity {high})")


def test_ratio_of_ratios() -> None:
    df = pd.DataFrame({"area": [1, 1, 2, 2, 3, 3, 4, 4], "year": [1, 2] * 4, "start": [2] * 4 + [0] * 4})
    df["cases"] = [10, 6, 20, 9, 30, 33, 50, 67]
    estimate = did.group_time(panel_of(df), "cases", family="poisson")
    ratio = (15 / 30) / (100 / 80)
    assert estimate.values[0] == pytest.approx(ratio, rel=1e-12)
    assert estimate.terms["weight"][0] == pytest.approx(15 / ratio, rel=1e-12)
    assert estimate.scale == "log"
    assert estimate.terms["estimand"][0] == "rate_ratio"
    assert any("no exposure" in note for note in estimate.provenance.notes)
    frame = estimate.interval(guard=False)
    assert np.sqrt(frame["conf_low"] * frame["conf_high"])[0] == pytest.approx(ratio)


def test_poisson_score_with_exposure_and_unit_effects() -> None:
    """A rate ratio planted without noise is found; multiplying a unit's exposure changes nothing."""
    df = simulated()
    treated = (df["start"] > 0) & (df["year"] >= df["start"])
    df["cases"] = df["people"] * np.exp(df["area"] / 30 + 0.2 * np.cos(df["year"]) + np.log(0.7) * treated)
    estimate = did.group_time(panel_of(df, exposure="people"), "cases", family="poisson")
    np.testing.assert_allclose(estimate.values, np.where(estimate.terms["event_time"] >= 0, 0.7, 1.0), rtol=1e-11)
    scaled = df.assign(people=df["people"] * (1 + df["area"] % 5))
    again = did.group_time(panel_of(scaled, exposure="people"), "cases", family="poisson")
    np.testing.assert_allclose(again.values, estimate.values, rtol=1e-11)
    np.testing.assert_allclose(again.se, estimate.se, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("covariates", [None, "~ x"])
def test_each_cell_is_a_poisson_regression_with_unit_and_period_effects(covariates: str | None) -> None:
    df = simulated()
    estimate = did.group_time(
        panel_of(df, weight="w", exposure="people"),
        "cases",
        family="poisson",
        method="or",
        covariates=covariates,
        controls=did.NeverTreated(),
    )

    def drift(pair: pd.DataFrame, offset: Any) -> tuple[float, Any]:
        """Log growth between the two periods net of unit effects, and the slope on x."""
        later = (pair["year"] == pair["year"].max()).to_numpy()
        slopes = (later * pair["x"]).to_numpy()[:, None] if covariates and not offset.any() else None
        fit = ppml(
            pair["cases"],
            pair["people"] * np.exp(later * offset),
            pd.factorize(pair["area"])[0],
            later.astype(np.int64),
            slopes,
            pair["w"],
        )
        return float(fit.time_effect[1] - fit.time_effect[0]), fit.coef[0] if slopes is not None else 0.0

    for cohort, base, period in ((3, 2, 4), (3, 2, 6), (5, 4, 5), (5, 2, 3)):
        pair = df[df["year"].isin([base, period])]
        trend, slope = drift(pair[pair["start"] == 0], np.zeros((pair["start"] == 0).sum()))
        own = pair[pair["start"] == cohort]
        effect, _ = drift(own, trend + slope * own["x"].to_numpy())
        assert np.log(estimate.values[cell(estimate, cohort, period)]) == pytest.approx(effect, rel=1e-9, abs=1e-10)


def test_average_ratio_is_observed_over_expected() -> None:
    df = simulated()
    panel = panel_of(df, weight="w", exposure="people")
    estimate = did.group_time(panel, "cases", family="poisson")
    post = df[(df["start"].isin([3, 5])) & (df["year"] >= df["start"])]
    observed = (post["w"] * post["cases"]).sum()
    expected = estimate.terms.loc[estimate.terms["event_time"] >= 0, "weight"].sum()
    assert estimate.average().values[0] == pytest.approx(observed / expected, rel=1e-12)
    avoided = did.cases_avoided(estimate.average())
    assert avoided.values[0] == pytest.approx(expected - observed, rel=1e-10)


def test_poisson_covariates_find_a_trend_that_depends_on_x() -> None:
    df = simulated(200)
    treated = (df["start"] > 0) & (df["year"] >= df["start"])
    df["cases"] = df["people"] * np.exp(0.1 * df["year"] * df["x"] + np.log(0.8) * treated)
    estimate = did.group_time(panel_of(df, exposure="people"), "cases", family="poisson", method="or", covariates="~ x")
    np.testing.assert_allclose(estimate.values, np.where(estimate.terms["event_time"] >= 0, 0.8, 1.0), rtol=1e-10)


def test_units_without_events_change_nothing() -> None:
    df = simulated()
    extra = df[(df["area"] < 3)].assign(area=lambda frame: frame["area"] + 500, start=0, cases=0)
    left = did.group_time(panel_of(df, exposure="people"), "cases", family="poisson")
    right = did.group_time(panel_of(pd.concat([df, extra]), exposure="people"), "cases", family="poisson")
    np.testing.assert_allclose(right.values, left.values, rtol=1e-11)
    np.testing.assert_allclose(right.se, left.se, rtol=1e-10)


# ---- starts inside a period, gaps, missing cells -------------------------------------------------------------------


def test_share_divides_the_effect_of_the_first_period() -> None:
    df = partial_starts()
    month = 1 + df["area"] % 12
    share = (13 - month) / 12
    year, start = df["year"].dt.year, df["start"].dt.year
    df["y"] = df["area"] + np.sin(year) + np.where(year == start, 2 * share, 0) + np.where(year > start, 2.0, 0)
    panel = panel_of(df, freq="Y", partial_period="share", never=None)
    estimate = did.group_time(panel, "y")
    post = (estimate.terms["event_time"] >= 0).to_numpy()
    # the treated share counts days, the example months
    np.testing.assert_allclose(estimate.values[post], 2.0, rtol=0.01)
    np.testing.assert_allclose(estimate.values[~post], 0.0, atol=1e-12)


def test_dropped_first_period_uses_the_period_before_it() -> None:
    """Cohort 2004 holds units that start in the course of 2003 and units that start on 1 January 2004."""
    df = partial_starts()
    january = (df["area"] % 12 == 0) & df["start"].notna()
    df.loc[january, "start"] += pd.DateOffset(years=1)
    year, start = df["year"].dt.year, df["start"].dt.year
    partial = ~january & (year == start)
    df["y"] = df["area"] + np.sin(year) + np.where(partial, 0.7, 0) + np.where(~partial & (year >= start), 2.0, 0)
    estimate = did.group_time(panel_of(df, freq="Y", partial_period="drop", never=None), "y")
    terms = estimate.terms
    post = (terms["event_time"] >= 0).to_numpy()
    np.testing.assert_allclose(estimate.values[post], 2.0, rtol=1e-12)
    assert estimate.details is not None
    table = estimate.details.cells
    assert set(table.loc[(table["cohort"] == 2004) & (table["period"] >= 2004), "base_last"]) == {2002}
    cohort = df.loc[(january & (start == 2004)) | (~january & (start == 2003)), "area"].nunique()
    assert set(terms.loc[post & (terms["cohort"] == 2004), "n_treated"]) == {cohort}
    assert any("cohort 2004" in note and "base is 2002" in note for note in estimate.provenance.notes)


def test_quarters() -> None:
    df = simulated()
    plain = did.group_time(panel_of(df), "y")
    quarter = pd.PeriodIndex.from_ordinals(200 + df["year"], freq="Q")
    start = pd.Series(pd.PeriodIndex.from_ordinals(200 + df["start"], freq="Q")).where(df["start"] > 0)
    estimate = did.group_time(panel_of(df.assign(year=quarter, start=start), never=None), "y")
    np.testing.assert_array_equal(estimate.values, plain.values)
    assert estimate.terms["event_time"].tolist() == plain.terms["event_time"].tolist()
    assert estimate.terms["period"].iloc[0] == quarter[1]


def test_gap_in_the_calendar() -> None:
    df = simulated()
    df = df[df["year"] != 4]
    estimate = did.group_time(panel_of(df), "y", base_period="universal")
    assert estimate.details is not None
    table = estimate.details.cells
    assert table.loc[table["cohort"] == 5, "base_last"].unique().tolist() == [3]
    reference = estimate.terms[(estimate.terms["cohort"] == 5) & (estimate.terms["status"] == "reference")]
    assert reference["event_time"].tolist() == [-2]
    assert any("cohort 5" in note and "base is 3" in note for note in estimate.provenance.notes)


@pytest.mark.filterwarnings("ignore:.*PMG-MISSING-BASE")
def test_pairs_with_missing_cells_use_what_is_observed() -> None:
    df = unbalanced()
    estimate = did.group_time(panel_of(df, missing="pairwise"), "y", controls=did.NeverTreated())
    wide = df.pivot(index="area", columns="year", values="y")
    start = df.groupby("area")["start"].first()
    change = (wide[5] - wide[4]).dropna()
    own, other = change[start.loc[change.index] == 5], change[start.loc[change.index] == 0]
    position = cell(estimate, 5, 5)
    assert estimate.values[position] == pytest.approx(own.mean() - other.mean())
    assert estimate.terms.loc[position, ["n_treated", "n_control"]].tolist() == [len(own), len(other)]
    psi = law(estimate).psi.dense()[:, position]
    assert np.count_nonzero(psi) <= len(own) + len(other)
    treated = law(estimate).treated
    assert treated is not None
    assert treated.column_powers()[0][position] == len(own)


# ---- statuses ----------------------------------------------------------------------------------------------------


def status(estimate: Result, cohort: Any, period: Any) -> str:
    return str(estimate.terms["status"][cell(estimate, cohort, period)])


def test_no_control_left() -> None:
    df = simulated()
    df = df[df["start"].isin([3, 5])]
    estimate = did.group_time(panel_of(df), "y")
    assert [status(estimate, 3, t) for t in (2, 3, 4, 5, 6)] == ["", "", "", "no_control", "no_control"]
    assert np.isnan(estimate.values[cell(estimate, 5, 6)])
    assert not law(estimate).psi.dense()[:, cell(estimate, 5, 6)].any()
    assert "leaves out" in estimate.average().terms["status"][0]


def test_overlap_fails() -> None:
    df = simulated().assign(x=lambda frame: frame["x"] + 100 * (frame["start"] == 3))
    estimate = did.group_time(panel_of(df), "y", covariates="~ x", controls=did.NeverTreated())
    assert status(estimate, 3, 3) == "overlap"
    assert status(estimate, 5, 5) == ""
    regression = did.group_time(panel_of(df), "y", covariates="~ x", controls=did.NeverTreated(), method="or")
    assert status(regression, 3, 3) == ""


def test_a_covariate_without_variation_among_controls_is_singular() -> None:
    df = simulated().assign(flag=lambda frame: (frame["start"] == 3) & (frame["area"] % 2 == 0))
    for method in ("dr", "or"):
        estimate = did.group_time(
            panel_of(df),
            "y",
            covariates="~ flag",
            controls=did.NeverTreated(),
            method=method,  # type: ignore[arg-type]
        )
        assert status(estimate, 3, 4) == "singular"
    nobody = df.assign(flag=(df["start"] == 9) & (df["area"] % 2 == 0))
    estimate = did.group_time(panel_of(nobody), "y", covariates="~ flag", controls=did.NeverTreated(), method="ipw")
    assert status(estimate, 3, 4) == "singular"


def test_category_without_treated_units_is_no_failure() -> None:
    """The logit has no finite maximum, but its limit is well defined: those controls get no weight."""
    df = simulated(300)
    df["flag"] = (df["start"] == 0) & (df["area"] % 4 == 0)
    estimate = did.group_time(panel_of(df), "y", covariates="~ flag", controls=did.NeverTreated(), method="ipw")
    kept = did.group_time(panel_of(df[~df["flag"]]), "y", controls=did.NeverTreated())
    np.testing.assert_allclose(estimate.values, kept.values, atol=1e-9)
    np.testing.assert_allclose(estimate.se, kept.se, rtol=1e-6)


def test_zero_events() -> None:
    df = simulated()
    df.loc[(df["start"] == 3) & (df["year"] == 2), "cases"] = 0
    estimate = did.group_time(panel_of(df, exposure="people"), "cases", family="poisson")
    assert status(estimate, 3, 3) == "zero_events"
    assert np.isnan(estimate.values[cell(estimate, 3, 3)])
    never = simulated()
    never.loc[(never["start"] == 0) & (never["year"] == 6), "cases"] = 0
    estimate = did.group_time(
        panel_of(never, exposure="people"), "cases", family="poisson", controls=did.NeverTreated()
    )
    assert status(estimate, 5, 6) == "zero_events"
    assert np.isnan(estimate.values[cell(estimate, 5, 6)])


def test_cross_sections_need_all_four_groups() -> None:
    df = simulated(cross_sections=True)
    lost = df[~((df["start"] == 5) & (df["year"] == 6))]
    estimate = did.group_time(panel_of(lost, unit=None), "y")
    assert status(estimate, 5, 6) == "no_treated"
    assert np.isfinite(estimate.values[cell(estimate, 5, 5)])


def test_base_of_ratio_reference_row_is_one() -> None:
    estimate = did.group_time(
        panel_of(simulated(), exposure="people"), "cases", family="poisson", base_period="universal"
    )
    assert estimate.values[cell(estimate, 3, 2)] == 1
    study = estimate.average(by="event_time")
    assert study.values[study.terms["event_time"] == -1].tolist() == [1.0]


# ---- refusals and the record -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        ({"method": "reg"}, DataError, "PMG-OPTION"),
        ({"family": "normal"}, DataError, "PMG-OPTION"),
        ({"base_period": "last"}, DataError, "PMG-OPTION"),
        ({"controls": "nevertreated"}, DataError, "PMG-OPTION"),
        ({"controls": did.NeverTreated}, DataError, "PMG-OPTION"),
        ({"anticipation": -1}, DataError, "PMG-OPTION"),
        ({"anticipation": 0.5}, DataError, "PMG-OPTION"),
        ({"covariates": ["x"]}, DataError, "PMG-OPTION"),
        ({"covariates": "y ~ x"}, DataError, "PMG-FORMULA"),
        ({"covariates": "~ "}, DataError, "PMG-FORMULA"),
        ({"covariates": "~ x +* z"}, DataError, "PMG-FORMULA"),
        ({"covariates": "~ np.log(x - x)"}, DataError, "PMG-COVARIATE"),
        ({"covariates": "~ xx"}, DataError, "PMG-COLUMN"),
        ({"family": "poisson", "covariates": "~ x"}, DesignError, "PMG-POISSON-COVARIATES"),
        ({"family": "poisson"}, DataError, "PMG-NEGATIVE"),
        ({"anticipation": 9}, DesignError, "PMG-NO-TREATED"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_refusals(options: dict[str, Any], error: type[Exception], code: str) -> None:
    df = simulated()
    df["y"] = df["y"] - 5
    with pytest.raises(error) as caught:
        did.group_time(panel_of(df), "y", **options)
    assert caught.value.code == code  # type: ignore[attr-defined]


def test_design_refusals() -> None:
    df = simulated()
    with pytest.raises(DesignError, match="NotYetTreated") as caught:
        did.group_time(panel_of(df[df["start"] > 0]), "y", controls=did.NeverTreated())
    assert caught.value.code == "PMG-NO-NEVER-TREATED"
    sections = panel_of(df, unit=None)
    for options in ({"base_period": "average"}, {"family": "poisson"}):
        with pytest.raises(DesignError) as caught:
            did.group_time(sections, "cases", **options)  # type: ignore[arg-type]
        assert caught.value.code == "PMG-CROSS-SECTION"
    shares = panel_of(partial_starts(), freq="Y", partial_period="share", never=None)
    with pytest.raises(DesignError) as caught:
        did.group_time(shares, "cases", family="poisson")
    assert caught.value.code == "PMG-SHARE"


def test_always_treated_cohorts_are_left_out_with_a_note() -> None:
    df = simulated()
    df.loc[df["area"] < 3, "start"] = 1
    estimate = did.group_time(panel_of(df), "y")
    rest = did.group_time(panel_of(df[df["area"] >= 3]), "y")
    np.testing.assert_array_equal(estimate.values, rest.values)
    np.testing.assert_allclose(estimate.se, rest.se, rtol=1e-14)
    assert estimate.details is not None
    assert estimate.details.dropped.to_dict("list") == {"cohort": [1], "n_units": [3]}
    assert any("cohorts 1" in note for note in estimate.provenance.notes)


def test_record() -> None:
    estimate = did.group_time(panel_of(simulated()), "y", covariates="~ x")
    saved = estimate.provenance.to_dict()
    assert json.loads(json.dumps(saved["options"])) == {
        "outcome": "y",
        "controls": "NotYetTreated()",
        "covariates": "~ x",
        "method": "dr",
        "family": "gaussian",
        "anticipation": 0,
        "base_period": "varying",
    }
    assert saved["estimator"] == "did.group_time"
    assert any("parallel trends given ~ x" in text for text in saved["assumptions"])
    assert "10.1016/j.jeconom.2020.12.001" in saved["references"]
    assert estimate.details is not None
    assert estimate.details.options == saved["options"]
    Estimate.from_json(estimate.to_json())


def test_a_custom_rule_of_controls() -> None:
    """Any object with `eligible` will do: here, only those that start after the last period."""

    class Later:
        def eligible(self, cohort: Any, until: float) -> Any:
            return np.isfinite(cohort) & (cohort > 6)

        def __repr__(self) -> str:
            return "Later()"

    df = simulated()
    estimate = did.group_time(panel_of(df), "y", controls=Later())
    assert set(estimate.terms["n_control"]) == {df.loc[df["start"] == 9, "area"].nunique()}
    assert estimate.provenance.options["controls"] == "Later()"
