"""The default policy: which law for how many areas, what stands beside it, and what is refused."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from scipy import stats

import pmg_eval as pe
from pmg_eval import did, infer, resample, synth
from pmg_eval.errors import DataError, DesignError, InferenceError, PmgEvalWarning
from pmg_eval.estimate import Covariance, Draws, Estimate, Influence, Rows, Test, fit_linear, make_terms
from pmg_eval.infer._settle import Design, design_of, settle

IMPUTATION = partial(did.imputation, pretrend=False)


def table_of(
    starts: dict[int, int], n: int = 70, periods: int = 8, effect: float = 0.0, seed: int = 1, size: int | None = None
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    start = np.zeros(n, dtype=int)
    at = 0
    for year, many in starts.items():
        start[at : at + many] = year
        at += many
    year = np.arange(periods)
    treated = (start[:, None] > 0) & (year >= start[:, None])
    rate = rng.normal(size=(n, periods)) + rng.normal(size=(n, 1)) + effect * treated
    return pd.DataFrame(
        {
            "area": np.repeat(np.arange(n), periods),
            "year": np.tile(year, n),
            "start": np.repeat(start, periods),
            "rate": rate.ravel(),
        }
    )


def panel_of(table: pd.DataFrame) -> pe.Panel:
    return pe.Panel(table, unit="area", time="year", cohort="start", never=0)


@pytest.fixture(scope="module")
def few() -> pe.Panel:
    return panel_of(table_of({4: 2, 5: 1}, effect=3.0))


# --- which law -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("treated", "effective", "controls", "size"),
    [
        (1, 1.0, 300, "one"),
        (2, 2.0, 300, "few"),
        (27, 1.5, 300, "few"),  # one area carries them all
        (6, 5.99, 300, "few"),
        (6, 6.0, 300, "some"),
        (27, 19.9, 300, "some"),
        (27, 20.0, 300, "many"),
        (27, 27.0, 39, "some"),  # too few areas to compare with
    ],
)
def test_the_design_decides(treated: int, effective: float, controls: int, size: str) -> None:
    assert Design(treated, np.array([effective]), controls).size == size


def test_the_effective_number_is_that_of_the_weights() -> None:
    weight = np.array([3.0, 1.0, 1.0, 0.0])
    law = Influence(Rows(left=np.ones((4, 1))), pd.DataFrame({"unit": range(4)}), 4, treated=Rows(left=weight[:, None]))
    estimate = Estimate(np.zeros(1), make_terms({"n_control": [60]}, 1), law)
    design = design_of(estimate, panel_of(table_of({4: 3})))
    assert_allclose(design.n_effective, (weight**2).sum() ** 2 / (weight**4).sum())
    assert (design.n_treated, design.n_control) == (3, 60)


def one(low: float, high: float, p: float = 0.5, p_min: float = 0.0) -> Estimate[Any]:
    """An estimate of (low + high) / 2 with roughly that interval."""
    middle, half = (low + high) / 2, (high - low) / 2
    return Estimate(np.array([middle]), make_terms({}, 1), Covariance(np.array([[(half / 1.96) ** 2]])))


def chosen(size: Design, spread: Any, pooled: Any, **options: Any) -> Estimate[Any]:
    return settle(
        one(-1, 1),
        size,
        lambda: spread,
        lambda: pooled,
        level=0.95,
        **{"random": None, "beside": True, **options},
    )


SOME, MANY = Design(8, np.array([8.0]), 90), Design(27, np.array([25.0]), 300)


def test_between_six_and_twenty_the_wider_of_two() -> None:
    narrow, wide = one(0.2, 1.0), one(-0.2, 1.4)
    for spread, pooled, name in ((narrow, wide, "placebo law"), (wide, narrow, "jackknife")):
        found = chosen(SOME, spread, pooled)
        assert found.details.headline == f"{name} (the wider of two)"
        assert_allclose(found.to_frame()["conf_low"], wide.to_frame()["conf_low"])


def test_never_the_smallest_p_and_the_disagreement_is_said() -> None:
    significant, not_so = one(0.2, 1.0), one(-0.2, 1.4)
    found = chosen(MANY, not_so, significant)
    assert found.details.headline == "jackknife"
    assert found.details.agreement == "mixed"
    said = found.details.mixed()
    assert said.startswith("mixed evidence: jackknife p = 0.1")
    assert "placebo law p = 0.003" in said
    assert chosen(MANY, significant, significant).details.agreement == "agree"
    assert chosen(MANY, significant, significant).details.mixed() == ""


def test_a_jackknife_without_power_contradicts_nothing() -> None:
    found = chosen(Design(3, np.array([3.0]), 90), one(-9, 9), one(0.2, 1.0))
    assert found.details.agreement == "alone"
    tried = found.details.tried.set_index("method")
    assert not tried.loc["jackknife", "valid"]
    assert "counts like 3.0 equal areas" in tried.loc["jackknife", "note"]


def test_a_randomization_test_that_cannot_reject_is_not_valid() -> None:
    blunt = Test("no effect", 1.0, 0.1, "all 10 assignments", p_min=0.1)
    sharp = Test("no effect", 1.0, 0.2, "999 random assignments", p_min=0.001, p_error=0.013)
    found = chosen(SOME, one(0.2, 1.0), one(0.1, 1.1), random=lambda: blunt)
    assert found.details.agreement == "agree"
    assert "smallest p is 0.1" in found.details.tried.set_index("method").loc["randomization in the pool", "note"]
    found = chosen(SOME, one(0.2, 1.0), one(0.1, 1.1), random=lambda: sharp)
    assert found.details.agreement == "mixed"
    assert "randomization in the pool p = 0.200" in found.details.mixed()


def test_what_refuses_is_kept_with_its_reason_and_the_rest_goes_on() -> None:
    def no_pool() -> Any:
        raise DesignError("PMG-POOL", "0 eligible placebo areas")

    found = settle(
        one(-1, 1),
        Design(3, np.array([3.0]), 5),
        lambda: one(-4, 4),
        no_pool,
        level=0.95,
        random=None,
        beside=True,
    )
    assert found.details.headline == "jackknife"
    assert found.details.tried.set_index("method").loc["placebo law", "note"] == "0 eligible placebo areas"
    with pytest.raises(InferenceError, match="0 eligible placebo areas") as refused:
        settle(one(-1, 1), Design(1, np.ones(1), 5), no_pool, no_pool, level=0.95, random=None, beside=True)
    assert refused.value.code == "PMG-NO-INFERENCE"
    assert refused.value.fix


# --- on panels -------------------------------------------------------------------------------------------------------


def test_few_areas_have_the_law_of_their_placebo_errors(few: pe.Panel) -> None:
    found = infer.default(IMPUTATION, few, "rate", draws=99)
    areas = resample.placebo(IMPUTATION, few, "rate")
    frame = found.to_frame()
    assert_allclose(frame["estimate"], IMPUTATION(few, "rate").average().values)
    law = areas.uncertainty
    assert isinstance(law, Draws)
    weight = areas.terms["weight"].to_numpy() / areas.terms["weight"].sum()
    n_placebo = int(areas.terms["n_placebo"].iloc[0])
    scale = np.sqrt(n_placebo / stats.chi2.ppf(law.score, n_placebo))  # as well known as so many placebos tell
    errors = np.sort(np.abs(law.errors @ weight) * scale)
    half = errors[int(np.ceil(0.95 * (len(errors) + 1))) - 1]
    assert_allclose(frame["conf_high"] - frame["estimate"], half, rtol=1e-10)
    assert found.details.headline == "placebo law"
    assert isinstance(found.details.law, resample.PlaceboDetails)
    assert found.details.tried["method"].tolist() == ["placebo law", "jackknife", "randomization in the pool"]


def test_the_jackknife_beside_is_the_jackknife(few: pe.Panel) -> None:
    found = infer.default(IMPUTATION, few, "rate", draws=19).details.tried.set_index("method").loc["jackknife"]
    direct = resample.jackknife(lambda panel, outcome: IMPUTATION(panel, outcome).average(), few, "rate").to_frame()
    assert_allclose([found["conf_low"], found["p_value"]], direct.loc[0, ["conf_low", "p_value"]].astype(float))


def test_many_equal_areas_have_the_jackknife() -> None:
    panel = panel_of(table_of({4: 12, 5: 10}))
    found = infer.default(IMPUTATION, panel, "rate", beside=False)
    assert found.details.headline == "jackknife"
    assert found.details.agreement == "alone"
    assert found.details.n_effective > 20
    assert isinstance(found.details.law, resample.JackknifeDetails)
    assert found.details.tried["method"].tolist() == ["jackknife"]


def test_one_treated_area_is_its_area_effect() -> None:
    panel = panel_of(table_of({4: 1}, effect=5.0))
    found = infer.default(IMPUTATION, panel, "rate", draws=39).to_frame()
    area = pe.effect_per_area(panel, "rate", estimator=IMPUTATION).to_frame()
    for column in ("estimate", "p_value", "conf_low", "conf_high"):
        assert_allclose(found[column], area[column], rtol=1e-10)


def test_per_cohort_and_per_unit(few: pe.Panel) -> None:
    cohorts = infer.default(IMPUTATION, few, "rate", by="cohort")
    assert cohorts.terms["cohort"].tolist() == [4, 5]
    assert cohorts.details.tried.loc[cohorts.details.tried["role"] == "headline", "cohort"].tolist() == [4, 5]
    units = infer.default(IMPUTATION, few, "rate", by="unit", draws=999)
    assert_frame_equal(units.to_frame(), resample.placebo(IMPUTATION, few, "rate", draws=999).to_frame())
    assert_allclose(cohorts.values[1], units.values[2])


def test_an_estimator_without_unit_terms(few: pe.Panel) -> None:
    found = infer.default(did.group_time, few, "rate", beside=False)
    assert_allclose(found.values, did.group_time(few, "rate").average().values)
    assert found.details.headline == "placebo law"
    assert found.to_frame()["conf_low"].notna().all()


def test_a_regression_has_cr3_with_bell_mccaffrey_df() -> None:
    table = table_of({4: 22})
    table["treated"] = ((table["start"] > 0) & (table["year"] >= table["start"])).astype(float)
    panel = panel_of(table)

    def twfe(panel: pe.Panel, outcome: str) -> Estimate[Any]:
        treated = panel.time_codes[panel.row_time] >= panel.cohort[panel.row_unit]
        rows = pd.DataFrame({"unit": panel.units[panel.row_unit], "time": panel.times[panel.row_time]})
        outcome_values = panel.wide(outcome)[panel.row_unit, panel.row_time]
        return fit_linear(outcome_values, treated[:, None].astype(float), ["treated"], rows, absorb=True)

    found = infer.default(twfe, panel, "rate", beside=False)
    cov, df = twfe(panel, "rate").details.cluster_robust("unit", "CR3")
    frame = found.to_frame()
    assert_allclose(frame["std_error"], np.sqrt(cov[0, 0]))
    assert_allclose(frame["df"], df[0])
    assert "Bell-McCaffrey" in frame["method"][0]


def test_the_seed_decides_and_processes_do_not(few: pe.Panel) -> None:
    first = infer.default(IMPUTATION, few, "rate", draws=19, rng=3)
    second = infer.default(IMPUTATION, few, "rate", draws=19, rng=3, n_jobs=2)
    assert_frame_equal(first.details.tried, second.details.tried)
    assert_frame_equal(first.to_frame(), second.to_frame())


def test_a_handful_of_placebos_gives_no_pooled_law() -> None:
    """Four treated areas and eight others: combinations of eight errors covered 87 %, the jackknife's t holds."""
    panel = panel_of(table_of({4: 4}, n=12))
    found = infer.default(IMPUTATION, panel, "rate", draws=19)
    assert found.details.headline == "jackknife"
    assert "8 placebo areas" in found.details.tried.set_index("method").loc["placebo law", "note"]
    pool = panel_of(table_of({4: 4}))
    narrow = infer.default(IMPUTATION, pool, "rate", eligible=pool.units[10:20].tolist(), draws=19)
    assert narrow.details.headline == "jackknife"


def test_cohorts_have_the_wider_of_two_each() -> None:
    panel = panel_of(table_of({4: 9, 5: 8}, seed=4))
    found = infer.default(IMPUTATION, panel, "rate", by="cohort")
    frame, tried = found.to_frame(), found.details.tried
    width = {
        (method, cohort): rows["conf_high"].iloc[0] - rows["conf_low"].iloc[0]
        for (method, cohort), rows in tried.groupby(["method", "cohort"])
    }
    for _, row in frame.iterrows():
        both = [width[method, row["cohort"]] for method in ("jackknife", "placebo law")]
        assert_allclose(row["conf_high"] - row["conf_low"], max(both), rtol=1e-9)
    assert tried.loc[tried["role"] == "headline", "cohort"].tolist() == [4, 5]
    assert frame["cohort"].tolist() == [4, 5]


def test_weights_of_areas_without_influence_values() -> None:
    """A synthetic control has no influence values; its areas have weights all the same."""
    table = table_of({6: 3}, periods=9)
    table["people"] = np.where(table["area"] == 0, 1_000_000, 1_000)
    rng = np.random.default_rng(2)
    table["cases"] = rng.poisson(0.1 * table["people"])
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0, exposure="people")
    classic = partial(synth.classic, family="poisson", poor_fit="keep")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        found = infer.default(classic, panel, "cases", beside=False)
        weights = classic(panel, "cases").average(by="unit").terms["weight"].to_numpy(dtype=float)
    assert_allclose(found.details.n_effective, (weights**2).sum() ** 2 / (weights**4).sum())
    assert found.details.n_effective < 1.1


def test_cross_sections_and_regressions_by_cohort_are_refused(few: pe.Panel) -> None:
    persons = pe.Panel(table_of({4: 3}).drop(columns="area"), unit=None, time="year", cohort="start", never=0)
    with pytest.raises(InferenceError, match=r"resample\.jackknife"):
        infer.default(did.group_time, persons, "rate")
    with pytest.raises(DataError, match="PMG-POOL"):
        infer.default(IMPUTATION, few, "rate", eligible=[999])


def test_bad_options(few: pe.Panel) -> None:
    with pytest.raises(DataError, match="by='period'"):
        infer.default(IMPUTATION, few, "rate", by="period")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="level"):
        infer.default(IMPUTATION, few, "rate", level=95)


def test_warnings_of_single_areas_do_not_disturb_the_pooled_law() -> None:
    panel = panel_of(table_of({4: 3}, n=25))
    with warnings.catch_warnings():
        warnings.simplefilter("error", PmgEvalWarning)
        found = infer.default(IMPUTATION, panel, "rate", beside=False)
    assert found.to_frame()["conf_low"].notna().all()
