"""resample.conformal and resample.jackknife_plus against R augsynth 0.2.0.

R's weights come from a quadratic programme solved to about 1e-9; ours are exact. Its sets are the outermost accepted
points of a grid of 50 around the effect, two root mean squares of all effects to either side, so that each end lies at
most one grid step inside the true one.
"""

from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from _shared import dataset, needs_shared, reference
from pmg_eval import resample, synth
from pmg_eval.estimate import Estimate, Test
from pmg_eval.estimate.terms import make_terms
from pmg_eval.numerics.simplex import simplex_lstsq

pytestmark = [needs_shared, pytest.mark.filterwarnings("ignore::pmg_eval.PmgEvalWarning")]

KEEP = partial(synth.classic, poor_fit="keep")


@cache
def kansas() -> pe.Panel:
    table = dataset("kansas")
    table["quarter"] = (4 * (table["year_qtr"] - 1990)).round().astype(int)
    table["start"] = np.where(table["fips"] == 20, 89, -1)
    columns = ["fips", "quarter", "start", "lngdpcapita"]
    return pe.Panel(table[columns], unit="fips", time="quarter", cohort="start", never=-1)


def texas() -> pe.Panel:
    table = dataset("texas")
    table["start"] = np.where(table["state"] == "Texas", 1993, -1)
    table["thousands"] = table["bmprison"] / 1000
    return pe.Panel(table, unit="state", time="year", cohort="start", never=-1)


def post(part: dict[str, Any], name: str, count: int) -> Any:
    return np.array(part["att"][name][-count:], dtype=float)


# --- moving block, synthetic control on outcomes ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def kansas_test() -> Test:
    return resample.conformal(synth.classic, kansas(), "lngdpcapita")


def test_kansas_p_values(kansas_test: Test) -> None:
    theirs = reference("augsynth_kansas_none_conformal")["results"]["conformal_block"]
    assert kansas_test.details is not None
    assert kansas_test.p_value == theirs["average"]["p_val"] == 0.4
    assert_allclose(kansas_test.details["p_value"], post(theirs, "p_val", 16), rtol=1e-12)
    assert_allclose(kansas_test.details["estimate"], post(theirs, "Estimate", 16), atol=2e-8)
    assert_allclose(kansas_test.estimate, theirs["average"]["Estimate"], atol=2e-8)


def test_kansas_sets_lie_within_one_grid_step(kansas_test: Test) -> None:
    theirs = reference("augsynth_kansas_none_conformal")["results"]["conformal_block"]
    assert kansas_test.details is not None
    effect = post(theirs, "Estimate", 16)
    step = 4 * np.sqrt(np.square(effect).mean()) / 49
    inside_low = post(theirs, "lower_bound", 16) - kansas_test.details["conf_low"]
    inside_high = kansas_test.details["conf_high"] - post(theirs, "upper_bound", 16)
    for inside in (inside_low, inside_high):
        assert (inside > -1e-6).all()
        assert (inside < step).all()


@pytest.mark.parametrize(("q", "part"), [(1, "conformal_block"), (2, "conformal_block_q2")])
def test_texas_p_values(q: int, part: str) -> None:
    theirs = reference("augsynth_texas_none_scaled_conformal")["results"][part]
    ours = resample.conformal(KEEP, texas(), "thousands", q=q, invert=False)
    assert ours.details is not None
    assert ours.p_value == theirs["average"]["p_val"] == 1 / 16
    assert_allclose(ours.details["p_value"], post(theirs, "p_val", 8), rtol=1e-12)
    # 9 periods cannot reject at 5 %: R prints the ends of its grid, ours are refused
    step = 2 * np.sqrt(np.square(post(theirs, "Estimate", 8)).mean())
    assert_allclose(post(theirs, "upper_bound", 8) - post(theirs, "Estimate", 8), step, rtol=1e-6)
    with pytest.raises(pe.InferenceError, match="PMG-UNATTAINABLE"):
        resample.conformal(KEEP, texas(), "thousands", q=q)


# --- jackknife+ ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "panel", "outcome", "part", "atol"),
    [
        ("augsynth_kansas_none_conformal", kansas, "lngdpcapita", "jackknife_plus", 3e-7),
        ("augsynth_kansas_none_conformal", kansas, "lngdpcapita", "jackknife_plus_conservative", 3e-7),
        ("augsynth_texas_none_scaled_conformal", texas, "thousands", "jackknife_plus", 5e-6),
        ("augsynth_texas_none_conformal", texas, "bmprison", "jackknife_plus", 0.02),
    ],
)
def test_jackknife_plus(name: str, panel: Any, outcome: str, part: str, atol: float) -> None:
    """The tolerance is R's quadratic programme: weights good to 1e-9 (1e-6 in refits) times outcomes of 10 to 1e5."""
    theirs = reference(name)["results"][part]
    ours = resample.jackknife_plus(KEEP, panel(), outcome, conservative="conservative" in part, quantile="interpolated")
    assert ours.details is not None
    count = len(ours.details)
    assert_allclose(ours.details["conf_low"], post(theirs, "lower_bound", count), atol=atol)
    assert_allclose(ours.details["conf_high"], post(theirs, "upper_bound", count), atol=atol)
    assert_allclose(ours.conf_low, theirs["average"]["lower_bound"], atol=atol)
    assert_allclose(ours.conf_high, theirs["average"]["upper_bound"], atol=atol)


# --- ridge augmented synthetic control: the resampling with somebody else's estimator --------------------------------


def ridge_augmented(panel: pe.Panel, outcome: str, *, penalty: float, fixed_effects: bool) -> Estimate[None]:
    """Simplex weights plus a ridge correction, on outcomes centered by the donors (augsynth's formula), one area."""
    wide = panel.wide(outcome)
    treated = int(np.flatnonzero(np.isfinite(panel.cohort))[0])
    before = panel.time_codes < panel.cohort[treated]
    if fixed_effects:
        wide = wide - wide[:, before].mean(axis=1, keepdims=True)
    donors, own = np.delete(wide, treated, axis=0), wide[treated]
    past, mine = donors[:, before] - donors[:, before].mean(axis=0), own[before] - donors[:, before].mean(axis=0)
    weights = simplex_lstsq(past.T, mine).weights
    inner = np.linalg.solve(past.T @ past + penalty * np.eye(before.sum()), mine - weights @ past)
    gap = own - (weights + past @ inner) @ donors
    columns = {
        "estimand": "gap",
        "unit": panel.units[np.full(len(gap), treated)],
        "period": panel.times,
        "event_time": panel.time_codes - int(panel.cohort[treated]),
    }
    return Estimate(gap, make_terms(columns, len(gap)), None, None)


def california() -> pe.Panel:
    table = dataset("california_prop99")
    table["start"] = np.where(table["State"] == "California", 1989, -1)
    return pe.Panel(table, unit="State", time="Year", cohort="start", never=-1)


RIDGE = partial(ridge_augmented, penalty=50.0, fixed_effects=True)


def test_california_ridge_moving_block() -> None:
    results = reference("augsynth_california_ridge_lambda_conformal")["results"]
    theirs = results["conformal_block"]
    assert_allclose(RIDGE(california(), "PacksPerCapita").values, results["att"], atol=2e-5)
    ours = resample.conformal(RIDGE, california(), "PacksPerCapita", invert=False)
    assert ours.details is not None
    assert_allclose(ours.p_value, theirs["average"]["p_val"], rtol=1e-12)
    assert_allclose(ours.details["p_value"], post(theirs, "p_val", 12), rtol=1e-12)


def test_california_ridge_jackknife_plus() -> None:
    theirs = reference("augsynth_california_ridge_lambda_conformal")["results"]["jackknife_plus"]
    ours = resample.jackknife_plus(RIDGE, california(), "PacksPerCapita", quantile="interpolated")
    assert ours.details is not None
    assert_allclose(ours.details["conf_low"], post(theirs, "lower_bound", 12), atol=3e-5)
    assert_allclose(ours.details["conf_high"], post(theirs, "upper_bound", 12), atol=3e-5)
    assert_allclose(ours.conf_low, theirs["average"]["lower_bound"], atol=3e-5)
    assert_allclose(ours.conf_high, theirs["average"]["upper_bound"], atol=3e-5)


def test_kansas_ridge_iid() -> None:
    """R chooses the penalty anew in every refit and draws 1,000 permutations: ours keep the penalty of the full fit."""
    results = reference("augsynth_kansas_ridge_inference")["results"]
    ridge = partial(ridge_augmented, penalty=results["lambda"], fixed_effects=False)
    ours = resample.conformal(ridge, kansas(), "lngdpcapita", permutations="iid", invert=False, draws=2_000)
    assert ours.details is not None
    theirs = np.array(results["conformal"]["p_val"][-16:], dtype=float)
    assert_allclose(ours.p_value, results["conformal_average"]["p_val"], atol=0.025)
    assert_allclose(ours.details["p_value"], theirs, atol=0.025)
