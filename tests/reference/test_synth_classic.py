"""synth.classic against R Synth and R synthdid, and against published and independently computed numbers."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from _shared import dataset, needs_shared, reference
from pmg_eval import resample, synth
from pmg_eval.errors import PmgEvalWarning
from pmg_eval.estimate import Estimate
from pmg_eval.synth import Predictor, SynthDetails

pytestmark = needs_shared


def california(**roles: Any) -> pe.Panel:
    table = dataset("california_prop99")
    table["start"] = np.where(table["State"] == "California", 1989, 0)
    return pe.Panel(table, unit="State", time="Year", cohort="start", never=0, **roles)


@pytest.fixture(scope="module")
def fit() -> Estimate[SynthDetails]:
    return synth.classic(california(), "PacksPerCapita")


# --- California, outcomes only: the exact optimum, as three exact implementations give it (notes of the project) -----


def test_the_exact_optimum(fit: Estimate[SynthDetails]) -> None:
    row = fit.details.fit.iloc[0]
    assert_allclose(row["objective"], 52.12957148, rtol=1e-9)
    assert row["kkt_gap"] <= 1e-12
    assert row["unique"]
    assert not row["inside_hull"]
    weights = fit.details.weights
    assert weights["donor"].tolist() == ["Utah", "Montana", "Nevada", "Connecticut", "New Hampshire", "Colorado"]
    assert_allclose(weights["weight"], [0.394, 0.232, 0.205, 0.109, 0.045, 0.015], atol=5e-4)
    assert_allclose(weights["weight"].sum(), 1, atol=1e-12)
    assert_allclose(fit.average().values, -19.513629768420866, rtol=1e-9)
    assert_allclose(row["pre_rmspe"] ** 2, 2.7436616567936944, rtol=1e-9)


def test_the_rank_of_the_ratio_among_all_placebos_is_three_of_thirtynine() -> None:
    with pytest.warns(PmgEvalWarning, match="PMG-FEW-PLACEBOS"):
        areas = resample.placebo(synth.classic, california(), "PacksPerCapita", draws=999)
    checks = areas.details.checks.iloc[0]
    assert checks["p_rmspe_ratio"] == 3 / 39
    placebos = areas.details.placebos
    assert len(placebos) == 38
    larger = placebos.loc[placebos["rmspe_ratio"] > checks["rmspe_ratio"], "unit"]
    assert len(larger) == 2
    assert areas.terms["n_placebo"].tolist() == [38]


def test_every_placebo_is_the_nearest_point_of_the_other_states() -> None:
    """Each of the 38 against scipy's nonnegative least squares on the homogenized problem."""
    from scipy.optimize import nnls

    panel = california()
    wide = panel.wide("PacksPerCapita")[~np.isfinite(panel.cohort)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        placebos = resample.placebo(synth.classic, panel, "PacksPerCapita", draws=99).details.placebos
    for j in range(38):
        others, own = np.delete(wide, j, axis=0), wide[j]
        away = (others - own)[:, :19].T
        size = np.sqrt(np.square(away).sum() / 37)
        ray = nnls(np.vstack([away, np.full(37, size)]), np.append(np.zeros(19), size))[0]
        gap = own - ray / ray.sum() @ others
        assert_allclose(placebos["effect"][j], gap[19:].mean(), rtol=1e-7, atol=1e-9)
        assert_allclose(placebos["pre_rmspe"][j], np.sqrt(np.square(gap[:19]).mean()), rtol=1e-9)


def test_synthdid_sc_estimate(fit: Estimate[SynthDetails]) -> None:
    """R's sc_estimate stops its Frank-Wolfe iteration 1 % above the optimum: effects differ by 0.7 %, loss only down.

    Its objective also has a ridge of (1e-6 sigma)^2 T0, which is 1e-10 of the whole.
    """
    results = reference("synthdid_california")["results"]
    theirs, options = results["sc_estimate"], results["sc_estimate"]["opts"]
    panel = california()
    wide = panel.wide("PacksPerCapita")
    donors = panel.units.get_indexer(pd.Index(results["units"][:38]))
    own = wide[panel.units.get_loc("California")]
    omega = np.array(theirs["omega"])
    gap = own - omega @ wide[donors]
    assert_allclose(gap[19:].mean(), theirs["estimate"], rtol=1e-10)  # their weights, read right
    ridge = options["zeta.omega"] ** 2 * 19
    ours = fit.details.weights.set_index("donor")["weight"].reindex(panel.units[donors]).fillna(0).to_numpy()
    assert_allclose((own - ours @ wide[donors])[19:].mean(), fit.average().values[0], rtol=1e-12)
    our_loss = fit.details.fit["objective"][0] + ridge * ours @ ours
    assert our_loss <= np.square(gap[:19]).sum() + ridge * omega @ omega + 1e-12
    assert_allclose(our_loss, np.square(gap[:19]).sum(), rtol=0.011)
    assert_allclose(fit.average().values, theirs["estimate"], rtol=0.006)
    post = fit.where(event_time=slice(0, None))
    assert_allclose(post.values, theirs["curve"], atol=0.3)


# --- R Synth with given V --------------------------------------------------------------------------------------------


def basque() -> pe.Panel:
    table = dataset("basque").query("regionno != 1")
    table["start"] = np.where(table["regionno"] == 17, 1970, 0)
    return pe.Panel(table, unit="regionno", time="year", cohort="start", never=0)


SCHOOLS = ["school.illit", "school.prim", "school.med", "school.high", "school.post.high", "invest"]
SECTORS = ["agriculture", "energy", "industry", "construction", "services.venta", "services.nonventa"]
BASQUE = [
    *(Predictor(name, (1964, 1969)) for name in SCHOOLS),
    Predictor("gdpcap", (1960, 1969)),
    *(Predictor(f"sec.{name}", (1961, 1969)) for name in SECTORS),
    Predictor("popdens", (1969, 1969)),
]


def texas() -> pe.Panel:
    """R's call fits 1985-1993, so the first period that is not fitted is 1994; one predictor leaves out 1989."""
    table = dataset("texas")
    table["not in 1989"] = table["bmprison"].mask(table["year"] == 1989)
    table["start"] = np.where(table["statefip"] == 48, 1994, 0)
    return pe.Panel(table, unit="statefip", time="year", cohort="start", never=0)


TEXAS = [
    Predictor("poverty"),
    Predictor("income", (1985, 1993)),
    Predictor("not in 1989", (1988, 1992)),
    Predictor("alcohol", (1990, 1990)),
    Predictor("aidscapita", (1990, 1991)),
    Predictor("black", (1990, 1992)),
    Predictor("perc1519", (1990, 1990)),
]


def germany() -> pe.Panel:
    table = dataset("scpi_germany")
    table["start"] = np.where(table["index"] == 7, 1991, 0)
    return pe.Panel(table, unit="index", time="year", cohort="start", never=0)


GERMANY = [
    *(Predictor(name, (1981, 1990)) for name in ("gdp", "trade", "infrate")),
    Predictor("industry", (1981, 1990)),
    Predictor("schooling", (1980, 1985)),
]

# How far R's interior point routine is from the optimum, as it stops at five digits by default (weights that are zero
# come out as 1e-7 to 1e-4): its excess loss, relative; and the largest difference of the gaps, relative to the largest
# value of the outcome. Germany was run with tight settings.
CASES = [
    ("synth_basque_equalV", basque, "gdpcap", BASQUE, 17, 1e-4, 3e-5),
    ("synth_basque_optV", basque, "gdpcap", BASQUE, 17, 3e-6, 1e-6),
    ("synth_texas_customV", texas, "bmprison", TEXAS, 48, 6e-3, 5e-4),
    ("synth_germany_V_listed", germany, "gdp", GERMANY, 7, 1e-11, 1e-11),
]
NAMES = ("name", "make", "outcome", "predictors", "unit", "excess", "tolerance")


@pytest.mark.parametrize(NAMES, CASES, ids=[case[0] for case in CASES])
def test_synth_with_given_v(
    name: str, make: Any, outcome: str, predictors: list[Predictor], unit: int, excess: float, tolerance: float
) -> None:
    results = reference(name)["results"]
    panel, v = make(), np.array(results["solution_v"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        found = synth.classic(panel, outcome, predictors=predictors, v=v.tolist(), poor_fit="keep")
    details = found.details
    donors = pd.Index([int(label) for label in results["controls"]])

    # the predictors are R's
    own, others = (np.array(results[key]["values"], dtype=float) for key in ("X1", "X0"))
    assert_allclose(details.predictors["treated"], own[:, 0], rtol=1e-12)
    assert_allclose(details.predictors["donors"], others.mean(axis=1), rtol=1e-12)
    assert_allclose(details.predictors["v"], v / v.sum(), rtol=1e-12)

    # the loss is not above R's, and is what it says
    spread = np.hstack([own, others]).std(axis=1, ddof=1)
    ours = details.weights.set_index("donor")["weight"].reindex(donors).fillna(0).to_numpy()
    theirs = np.array(results["solution_w"])

    def loss(weights: Any) -> float:
        return float(v / v.sum() @ np.square((own[:, 0] - others @ weights) / spread))

    row = details.fit.iloc[0]
    assert_allclose(loss(theirs), results["loss_w"], rtol=1e-6)
    assert_allclose(row["objective"], loss(ours), rtol=1e-9)
    assert row["objective"] <= results["loss_w"] + 1e-12
    assert_allclose(row["objective"], results["loss_w"], rtol=excess)
    assert row["kkt_gap"] <= 1e-10
    assert_allclose(details.predictors["synthetic"], others @ ours, rtol=1e-9)

    # and so are the gaps
    assert found.terms["unit"].unique().tolist() == [unit]
    assert found.terms["period"].tolist() == [int(year) for year in results["years"]]
    largest = np.abs(panel.wide(outcome)).max()
    assert_allclose(found.values, results["gaps"], atol=tolerance * largest, rtol=0)


def test_basque_loss_in_the_outcome_is_rs() -> None:
    """With R's own optimized V: the mean squared error of the outcome over the ten years for which V was chosen."""
    results = reference("synth_basque_optV")["results"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        found = synth.classic(basque(), "gdpcap", predictors=BASQUE, v=results["solution_v"], poor_fit="keep")
    fitted = found.where(period=slice(1960, 1969)).values
    assert_allclose(np.square(fitted).mean(), results["loss_v"], rtol=1e-5)
    weights = found.details.weights.set_index("donor")["weight"]
    assert_allclose(weights.loc[[10, 14]], [0.8508, 0.1492], atol=5e-4)
