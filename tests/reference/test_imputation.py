"""did.imputation against R didimputation, did2s and etwfe."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from _shared import dataset, reference
from pmg_eval.did._imputation import imputation
from pmg_eval.estimate import Estimate, clustered
from pmg_eval.panel import Panel

# R didimputation runs fixest at its default fixef.tol = 1e-6. Estimates that rest on effects removed by iteration are
# therefore good to 1e-7 only: etwfe, which has no such step, agrees with ours to 1e-13 on the same numbers
# (test_same_numbers_from_etwfe), and so does a dense QR (test_dense_least_squares).
ITERATION = 2e-7


def castle(weight: str | None = None) -> Panel:
    return Panel(dataset("castle_panel"), unit="sid", time="year", cohort="g", never=0, weight=weight)


def mpdta(*, without_2004: bool = False) -> Panel:
    df = dataset("mpdta").rename(columns={"first.treat": "g"})
    if without_2004:
        df = df[df["g"] != 2004]
    return Panel(df, unit="countyreal", time="year", cohort="g", never=0)


def at(estimate: Estimate[Any], event_time: int) -> int:
    return int(np.flatnonzero(estimate.terms["event_time"] == event_time)[0])


def static_and_event(name: str) -> tuple[dict[str, Any], pd.DataFrame]:
    results = reference(name)["results"]
    return results["static"], pd.DataFrame(results["event"]).astype({"term": int}).set_index("term")


CASES = [
    ("didimputation_castle", castle, "l_homicide", 3e-9),
    ("didimputation_castle_popwt", lambda: castle("popwt"), "l_homicide", ITERATION),
    ("didimputation_mpdta", lambda: mpdta(without_2004=True), "lemp", ITERATION),
]


@pytest.mark.parametrize(("name", "make", "outcome", "tolerance"), CASES, ids=[case[0] for case in CASES])
def test_didimputation_estimates(name: str, make: Any, outcome: str, tolerance: float) -> None:
    static, event = static_and_event(name)
    result = imputation(make(), outcome)
    np.testing.assert_allclose(result.average().values, static["estimate"], rtol=tolerance)
    study = result.average(by="event_time")
    compared = 0
    for time, row in event.iterrows():
        if not np.isnan(row["estimate"]):
            np.testing.assert_allclose(
                study.values[at(study, int(time))], row["estimate"], rtol=1e-11 if time < 0 else tolerance
            )
            compared += 1
    assert compared == {"didimputation_mpdta": 5}.get(name, 14)


@pytest.mark.parametrize(("name", "make", "outcome"), [CASES[0][:3], CASES[2][:3]], ids=["castle", "mpdta"])
def test_didimputation_standard_errors(name: str, make: Any, outcome: str) -> None:
    static, event = static_and_event(name)
    result = imputation(make(), outcome)
    np.testing.assert_allclose(result.average().se, static["std.error"], rtol=1e-10)
    study = result.average(by="event_time")
    for time, row in event.iterrows():
        if time >= 0 and not np.isnan(row["estimate"]):
            np.testing.assert_allclose(study.se[at(study, int(time))], row["std.error"], rtol=1e-10)


def test_the_published_number() -> None:
    np.testing.assert_allclose(imputation(castle(), "l_homicide").average().se, 0.06088397952746645, rtol=1e-10)


@pytest.mark.parametrize(("name", "make", "outcome", "tolerance"), CASES, ids=[case[0] for case in CASES])
def test_didimputation_pretrend_standard_errors_with_the_factor_of_fixest(
    name: str, make: Any, outcome: str, tolerance: float
) -> None:
    # Tolerance: scores of dummies demeaned at fixef.tol = 1e-6; the relative differences vary in size over the terms,
    # so they are no small-sample factor.
    _, event = static_and_event(name)
    study = imputation(make(), outcome).average(by="event_time").assuming(clustered("unit", correction="fixest"))
    for time, row in event[event.index < 0].iterrows():
        np.testing.assert_allclose(study.se[at(study, int(time))], row["std.error"], rtol=3e-7)


def test_mpdta_nulls_are_the_cohort_with_one_untreated_period() -> None:
    """Fixest drops units with a single untreated row as singletons: cohort 2004, and with it horizons 2 and 3."""
    _, event = static_and_event("didimputation_mpdta")
    assert event.index[event["estimate"].isna()].tolist() == [2, 3]
    study = imputation(mpdta(), "lemp").average(by="event_time")
    assert np.isfinite(study.values[[at(study, 2), at(study, 3)]]).all()
    without = imputation(mpdta(without_2004=True), "lemp").average(by="event_time")
    assert without.terms["event_time"].max() == 1


def dense(df: pd.DataFrame, unit: str, outcome: str, weight: str | None) -> tuple[pd.DataFrame, Any, Any, Any]:
    """Untreated design, weights and imputed effects, by plain least squares."""
    df = df.sort_values([unit, "year"]).reset_index(drop=True)
    cohort = df["g"].replace(0, np.inf).to_numpy(dtype=float)
    treated = df["year"].to_numpy() >= cohort
    design = pd.get_dummies(df[[unit, "year"]].astype(str)).to_numpy(dtype=float)
    w = np.ones(len(df)) if weight is None else df[weight].to_numpy(dtype=float)
    root = np.sqrt(w[~treated])[:, None]
    y = df[outcome].to_numpy()
    fit = np.linalg.lstsq(root * design[~treated], root[:, 0] * y[~treated], rcond=1e-12)[0]
    df = df.assign(tau=y - design @ fit, treated=treated, cell=cohort * 10_000 + df["year"])
    return df, design, w, treated


@pytest.mark.parametrize("weight", [None, "popwt"])
def test_dense_least_squares(weight: str | None) -> None:
    df, _, w, treated = dense(dataset("castle_panel"), "sid", "l_homicide", weight)
    overall = np.average(df["tau"][treated], weights=w[treated])
    np.testing.assert_allclose(imputation(castle(weight), "l_homicide").average().values, overall, rtol=1e-12)


@pytest.mark.parametrize("horizon", [None, 0, 1, 2, 3, 4, 5])
def test_weighted_variance_of_didimputation_uses_squared_weights(horizon: int | None) -> None:
    r"""With weights R didimputation 0.5.0 takes v = -W Z (Z0'W^2 Z0)^-1 Z1'W omega for the untreated rows.

    Those v do not reproduce the estimate as sum(v y); the right ones, with Z0'W Z0, do, and give our standard error.
    """
    static, event = static_and_event("didimputation_castle_popwt")
    published = static if horizon is None else event.loc[horizon]
    df, design, w, treated = dense(dataset("castle_panel"), "sid", "l_homicide", "popwt")
    chosen = treated if horizon is None else treated & (df["year"] - df["g"] == horizon).to_numpy()
    omega = np.where(chosen, w, 0.0)
    omega /= omega.sum()
    y = df["l_homicide"].to_numpy()

    def variance(v: Any) -> float:
        mass, cell = v**2, df["cell"].to_numpy()
        use = treated & (v != 0)
        totals = pd.DataFrame({"cell": cell[use], "m": mass[use], "mt": (mass * df["tau"])[use]}).groupby("cell").sum()
        center = pd.Series(cell).map(totals["mt"] / totals["m"]).to_numpy()
        eps = np.where(use, df["tau"] - center, np.where(treated, 0.0, df["tau"]))
        return float(np.sqrt((pd.Series(v * eps).groupby(df["sid"].to_numpy()).sum() ** 2).sum()))

    def weights(power: int) -> Any:
        bread = np.linalg.pinv(design[~treated].T @ (w[~treated, None] ** power * design[~treated]), rcond=1e-13)
        inner = design[treated].T @ ((w[treated] if power == 2 else 1.0) * omega[treated])
        return np.where(treated, omega, -w * (design @ (bread @ inner)))

    theirs, ours = weights(2), weights(1)
    estimate = float(omega @ df["tau"])
    np.testing.assert_allclose(variance(theirs), published["std.error"], rtol=1e-7)
    assert abs(theirs @ y - estimate) > 1e-3
    np.testing.assert_allclose(ours @ y, estimate, rtol=1e-8)
    result = imputation(castle("popwt"), "l_homicide")
    averaged = result.average() if horizon is None else result.average(by="event_time").where(event_time=horizon)
    np.testing.assert_allclose(averaged.se, variance(ours), rtol=1e-8)


def test_did2s_static_is_the_derivative_variance() -> None:
    results = reference("did2s_castle_static")["results"]
    overall = imputation(castle(), "l_homicide", variance="derivative").average()
    np.testing.assert_allclose(overall.values, results["coef"], rtol=3e-9)
    np.testing.assert_allclose(overall.se, results["se"], rtol=1e-10)
    np.testing.assert_allclose(overall.se, 0.06097898814313281, rtol=1e-10)


def test_did2s_event_study_after_treatment() -> None:
    """The second stage of did2s has one mean per horizon, so its GMM variance is our derivative variance.

    Its rows before treatment are means of in-sample residuals (no reference period in the first stage): a different
    estimand, which we do not report.
    """
    results = reference("did2s_castle_event")["results"]
    study = imputation(castle(), "l_homicide", variance="derivative").average(by="event_time")
    compared = 0
    for name, value, se in zip(results["coef"], results["coef"].values(), results["se"], strict=True):
        time = int(name.split("::")[1])
        if time >= 0:
            np.testing.assert_allclose(study.values[at(study, time)], value, rtol=3e-9)
            np.testing.assert_allclose(study.se[at(study, time)], se, rtol=1e-10)
            compared += 1
    assert compared == 6


def by_cell(result: Estimate[Any]) -> pd.DataFrame:
    frame = result.terms.assign(value=result.values * result.terms["weight"])
    sums = frame.groupby(["cohort", "period"])[["value", "weight"]].sum()
    return sums["value"] / sums["weight"]


def test_same_numbers_from_etwfe() -> None:
    """The saturated regression has the same averages (Wooldridge), computed without iteration in the first stage."""
    results = reference("etwfe_mpdta_nocov")["results"]
    result = imputation(mpdta(), "lemp", pretrend=False)
    np.testing.assert_allclose(result.average().values, results["emfx_simple"]["estimate"], rtol=1e-11)
    for by, key in (("event_time", "emfx_event"), ("period", "emfx_calendar"), ("cohort", "emfx_group")):
        np.testing.assert_allclose(result.average(by=by).values, results[key]["estimate"], rtol=1e-10)  # type: ignore[arg-type]
    linear = reference("etwfe_byhand_castle_linear")["results"]["coef"]
    cells = by_cell(imputation(castle(), "l_homicide", pretrend=False))
    for name, value in linear.items():
        cohort, period = map(int, name.split("::")[1].split("_"))
        np.testing.assert_allclose(cells[(cohort, period)], value, rtol=1e-11)


def test_poisson_equals_the_saturated_poisson_regression_of_etwfe() -> None:
    """Imputation and pooling coincide for the canonical link (Wooldridge 2023); counts on a balanced panel."""
    results = reference("etwfe_castle_poisson_counts")["results"]
    cells = by_cell(imputation(castle(), "homicides", family="poisson", pretrend=False))
    assert len(results["coef"]) == len(cells) == 20
    for name, value in zip(results["coef_names"], results["coef"], strict=True):
        cohort, period = int(name.split("::")[1].split(":")[0]), int(name.split("::")[2])
        np.testing.assert_allclose(np.log(cells[(cohort, period)]), value, rtol=1e-9)
