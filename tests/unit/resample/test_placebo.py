"""Area effects with the law of areas that were not treated."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from pmg_eval import did, resample
from pmg_eval.errors import DataError, DesignError, NumericalError, PmgEvalWarning
from pmg_eval.estimate import Estimate
from pmg_eval.resample._area import area_effects, control_error
from pmg_eval.resample._placebo_law import fit_variance
from unit.estimate.made import by_covariance
from unit.resample.panels import counts, panel_of, staggered

imputed = partial(did.imputation, pretrend=False)
ratios = partial(did.imputation, pretrend=False, family="poisson")


@pytest.fixture(scope="module")
def panel() -> pe.Panel:
    return panel_of(staggered(n=70, effect=2.0))


@pytest.fixture(scope="module")
def areas(panel) -> Estimate:
    return resample.placebo(imputed, panel, "rate", draws=4_999)


# --- the size model --------------------------------------------------------------------------------------------------


def test_the_size_model_recovers_its_parameters() -> None:
    rng = np.random.default_rng(0)
    size = np.exp(rng.normal(4, 1, 40_000))
    for a, b in ((0.02, 3.0), (0.5, 0.0), (0.0, 2.0)):
        error = rng.normal(size=len(size)) * np.sqrt(a + b / size)
        found = fit_variance(error, size)
        mean = (1 / size).mean()
        assert_allclose((found[0], found[1] * mean), (a, b * mean), rtol=0.05, atol=0.01 * (a + b * mean))
        assert_allclose(fit_variance(10 * error, size), 100 * np.array(found), rtol=1e-6)


def test_the_size_model_never_goes_negative() -> None:
    rng = np.random.default_rng(1)
    for seed in range(20):
        size = np.exp(np.random.default_rng(seed).normal(0, 1, 12))
        a, b = fit_variance(rng.normal(size=12), size)
        assert min(a, b) >= 0
        assert a + b > 0
    a, b = fit_variance(rng.normal(size=200), np.ones(200))  # all of one size: only the sum is known
    assert a + b == pytest.approx(1, abs=0.4)
    with pytest.raises(DesignError) as caught:
        fit_variance(np.zeros(5), np.ones(5))
    assert caught.value.code == "PMG-NO-VARIATION"


def test_small_areas_have_wider_intervals_by_the_fitted_model() -> None:
    table = staggered(n=80, starts={2005: 6})
    size = {area: 10.0 ** (1 + i % 3) for i, area in enumerate(table["area"].unique())}
    table["youth"] = table["area"].map(size)
    table["rate"] = 5 + (table["rate"] - 5) / np.sqrt(table["youth"])
    found = resample.placebo(partial(imputed, family="gaussian"), panel_of(table), "rate", draws=4_999)
    placebos, fitted = found.details.placebos, found.details.variance.iloc[0]
    assert_allclose(placebos["sigma"] ** 2, fitted["a"] + fitted["b"] / placebos["size"], rtol=1e-12)
    assert placebos["size"].tolist() == [size[unit] for unit in placebos["unit"]]
    checks = found.details.checks
    assert_allclose(checks["sigma"] ** 2, fitted["a"] + fitted["b"] / checks["size"], rtol=1e-12)
    own = np.sqrt(np.maximum(found.se**2 - checks["control_se"] ** 2, 0))
    assert_allclose(own / checks["sigma"], own[0] / checks["sigma"][0], rtol=0.05)
    assert own[0] > 1.5 * own[1] > 1.5 * own[2]


# --- what comes out --------------------------------------------------------------------------------------------------


def test_one_row_per_treated_area(panel, areas) -> None:
    frame = areas.to_frame()
    treated = np.isfinite(panel.cohort)
    assert frame["unit"].tolist() == panel.units[treated].tolist()
    assert frame["cohort"].tolist() == panel.cohort[treated].tolist()
    assert (frame["n_placebo"] == 59).all()
    assert_allclose(frame["p_min"], 1 / 60)
    assert (frame["n_control"] > 0).all()
    assert frame[["std_error", "p_value", "conf_low", "conf_high"]].notna().all().all()
    assert_allclose(areas.values, imputed(panel, "rate").average(by="unit").values)
    assert (frame["p_value"] >= frame["p_min"]).all()
    assert "by inversion" in frame["method"][0]
    placebos = areas.details.placebos
    assert placebos.groupby("cohort")["unit"].nunique().tolist() == [59, 59]
    assert not set(placebos["unit"]) & set(frame["unit"])


def test_law_equals_scaled_placebos_plus_shared_error(areas) -> None:
    """One size for all: the quantiles of the draws are those of the placebo effects, a little wider."""
    details = areas.details
    assert_allclose(details.placebos["sigma"], details.checks["sigma"].iloc[0], rtol=0.2)
    errors = areas.uncertainty.errors
    for column, cohort in enumerate(areas.terms["cohort"]):
        own = details.placebos.loc[details.placebos["cohort"] == cohort, "effect"]
        spread = np.sqrt(own.var(ddof=0) + own.mean() ** 2 + details.checks["control_se"][column] ** 2)
        assert np.sqrt((errors[:, column] ** 2).mean()) == pytest.approx(spread, rel=0.05)


def test_plain_ranks_by_hand(areas) -> None:
    for column, unit in enumerate(areas.terms["unit"]):
        own = areas.details.placebos["cohort"] == areas.terms["cohort"][column]
        effect = areas.details.placebos.loc[own, "effect"]
        check = areas.details.checks.set_index("unit").loc[unit]
        assert check["p_plain"] == pytest.approx((1 + (effect.abs() >= abs(areas.values[column])).sum()) / 60)
        assert check["p_size_matched"] == check["p_plain"]  # 59 areas are all within the 60 nearest
        assert areas.to_frame()["p_value"][column] == pytest.approx(check["p_plain"], abs=0.08)


def test_the_error_of_shared_controls_is_in_the_covariance(panel, areas) -> None:
    shared = control_error(area_effects(imputed, panel, "rate"))
    covariance = areas.cov()
    off = ~np.eye(len(areas), dtype=bool)
    error = covariance[0, 0] / np.sqrt(4_999)  # of one covariance of independent draws
    assert (shared[off] > 0).all()
    assert np.abs(covariance[off] - shared[off]).max() < 5 * error
    assert covariance[off].mean() == pytest.approx(shared[off].mean(), rel=0.2)
    # areas of one cohort share exactly the same controls, so their pooled error does not vanish
    pooled = areas.average()
    floor = np.sqrt(shared.mean())
    assert pooled.se[0] > floor
    assert pooled.se[0] ** 2 == pytest.approx(np.diag(covariance).mean() / len(areas) + shared[off].mean(), rel=0.15)


def test_a_large_effect_is_found_and_the_null_is_kept(areas) -> None:
    assert (areas.to_frame()["p_value"] < 0.1).mean() > 0.5
    null = resample.placebo(imputed, panel_of(staggered(seed=5, n=70)), "rate", draws=999).to_frame()
    assert (null["p_value"] < 0.1).mean() < 0.4
    assert ((null["conf_low"] <= 0) & (null["conf_high"] >= 0)).mean() > 0.7


def test_same_seed_same_bits_whatever_the_number_of_processes() -> None:
    panel = panel_of(staggered(n=50, starts={2004: 3}))
    runs = [resample.placebo(imputed, panel, "rate", draws=499, rng=3, n_jobs=n) for n in (1, 1, 2)]
    assert len({run.to_json() for run in runs}) == 1
    assert np.array_equal(runs[0].uncertainty.errors, runs[2].uncertainty.errors)
    other = resample.placebo(imputed, panel, "rate", draws=499, rng=4)
    assert not np.array_equal(runs[0].uncertainty.errors, other.uncertainty.errors)
    assert runs[0].provenance.seed == 3
    generator = resample.placebo(imputed, panel, "rate", draws=499, rng=np.random.default_rng(3))
    assert np.array_equal(runs[0].uncertainty.errors, generator.uncertainty.errors)


def test_provenance_tells_pools_and_seeds_apart() -> None:
    panel = panel_of(staggered(n=50, starts={2004: 3}))
    pool = panel.units[5:].tolist()
    options = ({}, {"rng": 1}, {"eligible": pool}, {"batches": 5}, {"draws": 998})
    found = [resample.placebo(imputed, panel, "rate", **{"draws": 999, **option}) for option in options]
    assert len({one.provenance.digest for one in found}) == len(options)
    assert found[2].provenance.options["placebo"]["eligible"] == pool
    assert found[0].provenance.options["outcome"] == "rate" or "outcome" not in found[0].provenance.options


# --- joint and one by one --------------------------------------------------------------------------------------------


def test_both_paths_agree_where_the_estimators_agree() -> None:
    """One cohort, balanced: imputation is the difference from the mean of all pre-periods, as is an average base."""
    panel = panel_of(staggered(n=60, starts={2005: 4}))
    joint = resample.placebo(imputed, panel, "rate", draws=4_999)
    single = resample.placebo(partial(did.group_time, base_period="average"), panel, "rate", draws=4_999)
    assert_allclose(single.values, joint.values, rtol=1e-10)
    assert single.terms["unit"].tolist() == joint.terms["unit"].tolist()
    assert_allclose(single.se, joint.se, rtol=0.05)  # batches compare a placebo with nine tenths of the pool
    assert_allclose(single.details.checks["control_se"], joint.details.checks["control_se"], rtol=1e-6)
    effects = [e.details.placebos.set_index("unit")["effect"] for e in (joint, single)]
    assert effects[0].corr(effects[1]) > 0.98


def test_areas_estimated_alone_have_their_weights_in_the_whole_panel() -> None:
    """The pooled effect of areas of very unequal weight is the estimator's own: shares of one panel, not of many."""
    table = staggered(seed=9, n=30, starts={2004: 3, 2006: 2})
    table["people"] = table["area"].map({"a000": 400.0, "a003": 20.0}).fillna(1.0)  # of about 25 that are never treated
    panel = panel_of(table, weight="people")
    estimator = partial(did.group_time, controls=did.NeverTreated(), base_period="universal")
    own = estimator(panel, "rate")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        areas = resample.placebo(estimator, panel, "rate", draws=999)
        cells = resample.placebo(estimator, panel, "rate", by="cell", draws=999)
    assert_allclose(areas.average().values, own.average().values, rtol=1e-12)
    assert_allclose(areas.terms["weight"] / areas.terms["weight"].iloc[1], [400, 1, 1, 20 * 3 / 5, 3 / 5], rtol=1e-12)
    post = own.average(by="event_time").where(event_time=slice(0, 9))
    assert_allclose(cells.average(by="event_time").values, post.values, rtol=1e-12)


def test_ratios_one_by_one_and_together() -> None:
    panel = panel_of(counts(n=60, starts={2005: 3}))
    joint = resample.placebo(ratios, panel, "suspects", draws=999)
    single = resample.placebo(
        partial(did.group_time, family="poisson", base_period="average"), panel, "suspects", draws=999
    )
    assert joint.scale == single.scale == "log"
    assert_allclose(np.log(single.values), np.log(joint.values), atol=0.02)
    assert_allclose(single.se, joint.se, rtol=0.25)
    assert (joint.to_frame()["conf_low"] > 0).all()


def test_an_estimator_without_a_law_has_placebos_too() -> None:
    """Classic synthetic control gives a number only; its law is all placebo."""

    def gap(panel: pe.Panel, outcome: str) -> Estimate:
        wide, treated = panel.wide(outcome), np.isfinite(panel.cohort)
        after = panel.time_codes >= panel.cohort[treated].min()
        change = wide[:, after].mean(axis=1) - wide[:, ~after].mean(axis=1)
        bare = by_covariance([change[treated].mean() - change[~treated].mean()], [1.0])
        return Estimate(bare.values, bare.terms)

    panel = panel_of(staggered(n=50, starts={2005: 2}))
    found = resample.placebo(gap, panel, "rate", draws=999)
    assert found.to_frame()["conf_low"].notna().all()
    assert (found.details.checks["control_se"] == 0).all()


# --- what it refuses, and what it says ------------------------------------------------------------------------------


def test_few_placebos_warn_and_too_few_give_no_interval() -> None:
    table = staggered(n=30, starts={2004: 2})
    with pytest.warns(PmgEvalWarning, match="28 placebo areas") as caught:
        found = resample.placebo(imputed, panel_of(table), "rate", draws=999)
    assert caught[0].message.code == "PMG-FEW-PLACEBOS"
    assert found.to_frame()["conf_low"].notna().all()
    with pytest.warns(PmgEvalWarning, match="0.071"):
        few = resample.placebo(imputed, panel_of(staggered(n=15, starts={2004: 2})), "rate", draws=999)
    frame = few.to_frame()
    assert frame[["conf_low", "conf_high"]].isna().all().all()
    assert_allclose(frame["p_min"], 1 / 14)
    assert (frame["p_value"] >= 1 / 14).all()
    assert few.to_frame(0.9)["conf_low"].notna().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resample.placebo(imputed, panel_of(staggered(n=41, starts={2004: 2})), "rate", draws=99)


def test_exactly_nineteen_placebos_give_a_95_percent_interval() -> None:
    with pytest.warns(PmgEvalWarning):
        found = resample.placebo(imputed, panel_of(staggered(n=21, starts={2004: 2})), "rate", draws=999)
    assert found.to_frame()["conf_low"].notna().all()
    assert found.to_frame(0.951)["conf_low"].isna().all()


def test_the_pool(panel) -> None:
    pool = panel.units[20:65].tolist()
    found = resample.placebo(imputed, panel, "rate", eligible=pool, draws=99)
    assert set(found.details.placebos["unit"]) == set(pool)

    def code(eligible) -> tuple[str, tuple]:
        with pytest.raises((DataError, DesignError)) as caught:
            resample.placebo(imputed, panel, "rate", eligible=eligible)
        return caught.value.code, caught.value.where

    assert code(["a020", "zz"]) == ("PMG-POOL", ("zz",))
    assert code(["a020", "a000"]) == ("PMG-POOL", ("a000",))
    assert code(["a020"])[0] == "PMG-POOL"
    with pytest.raises(DataError) as caught:
        resample.placebo(imputed, panel, "rate", draws=0)
    assert caught.value.code == "PMG-DRAWS"


def test_contaminated_areas_are_no_placebos() -> None:
    table = staggered(n=50, starts={2004: 2})
    table["dirty"] = np.where(table["area"] == "a010", 2006, np.inf)
    found = resample.placebo(imputed, panel_of(table, contaminated_from="dirty"), "rate", draws=99)
    assert "a010" not in set(found.details.placebos["unit"])
    assert (found.terms["n_placebo"] == 47).all()


def test_status_of_rare_outcomes() -> None:
    """No event afterwards, under one a period before, under five a period before, and an ordinary area."""
    table = counts(n=60, starts={2005: 4}, level=0.02)
    before, unit = table["year"] < 2005, table["area"]
    table.loc[(unit == "a000") & ~before, "suspects"] = 0
    table.loc[unit == "a001", "suspects"] = [0, 1, 0, 0, 1, 1, 0, 2, 1]
    table.loc[unit == "a002", "suspects"] = [2, 3, 1, 4, 2, 3, 2, 1, 2]
    frame = resample.placebo(ratios, panel_of(table), "suspects", draws=999).to_frame()
    assert [status.split(":")[0] for status in frame["status"]] == [
        "no event after the start",
        "under 1 event a period before the start",
        "under 5 events a period before the start",
        "",
    ]
    assert frame["estimate"][0] == 0
    assert frame["conf_low"].notna().tolist() == [False, False, True, True]
    assert frame["p_min"].tolist()[:2] == [1, 1]
    assert not frame["p_value"][:2].lt(1).any()


def test_a_placebo_area_without_events_counts_as_the_most_extreme() -> None:
    table = counts(n=60, starts={2005: 2}, level=0.02)
    table.loc[(table["area"] == "a030") & (table["year"] >= 2005), "suspects"] = 0
    effect = resample.placebo(ratios, panel_of(table), "suspects", draws=99).details.placebos.set_index("unit")[
        "effect"
    ]
    assert len(effect) == 58
    assert effect["a030"] == -effect.drop("a030").abs().max()


def test_a_treated_area_without_an_effect_keeps_its_row() -> None:
    """No event at all before the start: nothing to divide by. The row stays, with the reason; the others go on."""
    table = counts(n=60, starts={2005: 3})
    table.loc[(table["area"] == "a001") & (table["year"] < 2005), "suspects"] = 0
    table.loc[(table["area"] == "a030") & (table["year"] < 2005), "suspects"] = 0  # and a comparison area like that
    found = resample.placebo(ratios, panel_of(table), "suspects", draws=999)
    frame = found.to_frame()
    assert frame["unit"].tolist() == ["a000", "a001", "a002"]
    assert frame["estimate"].notna().tolist() == [True, False, True]
    assert frame["status"].tolist() == ["", "zero_base", ""]
    assert frame["conf_low"].notna().tolist() == [True, False, True]
    assert (frame["n_placebo"] == 56).all()
    assert found.average().to_frame()["conf_low"].notna().all()
    assert found.details.checks["p_plain"].isna().tolist() == [False, True, False]


def test_an_area_the_estimator_refuses_keeps_its_row() -> None:
    def picky(panel: pe.Panel, outcome: str) -> Estimate:
        if "a001" in panel.units[np.isfinite(panel.cohort)] and np.isfinite(panel.cohort).sum() == 1:
            raise NumericalError("PMG-X", "this one does not converge")
        return did.group_time(panel, outcome).average()

    found = resample.placebo(picky, panel_of(staggered(n=50, starts={2005: 3})), "rate", draws=99)
    frame = found.to_frame()
    assert frame["estimate"].notna().tolist() == [True, False, True]
    assert frame["status"][1] == "this one does not converge"
    assert frame["std_error"].notna().tolist() == [True, False, True]


def test_no_area_at_all() -> None:
    def never(panel: pe.Panel, outcome: str) -> Estimate:
        if np.isfinite(panel.cohort).sum() == 1:
            raise NumericalError("PMG-X", "no")
        return did.group_time(panel, outcome).average()

    with pytest.raises(DesignError) as caught:
        resample.placebo(never, panel_of(staggered(n=50, starts={2005: 3})), "rate")
    assert caught.value.code == "PMG-NO-AREA"
    flat = staggered(n=50, starts={2005: 3}).assign(rate=lambda d: d["year"] * 1.0)
    with pytest.raises(DesignError) as caught:
        resample.placebo(partial(did.group_time), panel_of(flat), "rate")
    assert caught.value.code == "PMG-NO-VARIATION"


def with_dates(partial_period: str) -> pe.Panel:
    """One treated year, of which the treated areas had half."""
    table = staggered(n=50, periods=6, starts={2005: 3})
    table["start"] = pd.Series(pd.NaT, index=table.index).mask(table["start"] > 0, pd.Timestamp("2005-07-02"))
    table["year"] = pd.to_datetime(table["year"].astype(str) + "-01-01")
    return pe.Panel(
        table, unit="area", time="year", cohort="start", never=None, freq="Y", partial_period=partial_period
    )


def test_placebos_have_the_treated_share_of_the_first_period() -> None:
    """An effect per fully treated year is twice that of half a year, and so is its error."""
    half, whole = (resample.placebo(imputed, with_dates(p), "rate", draws=999) for p in ("share", "treated"))
    factor = half.values / whole.values
    assert_allclose(factor, 2, rtol=0.01)
    assert_allclose(half.se / whole.se, factor, rtol=1e-6)
    assert_allclose(half.to_frame()["p_value"], whole.to_frame()["p_value"])
    assert "share" in half.details.variance


# --- a start that was not -------------------------------------------------------------------------------------------


def test_placebo_in_time_on_data_without_noise_is_zero() -> None:
    panel = panel_of(staggered(noise=0.0, effect=5.0))
    for estimator in (did.imputation, did.group_time):
        found = resample.placebo_in_time(estimator, panel, "rate").average(by="event_time")
        known = np.isfinite(found.values)
        assert_allclose(found.values[known], 0, atol=1e-12)
        assert found.terms["event_time"][known].max() == 1  # two fake periods, and no real one
        assert set(found.terms["status"][~known]) <= {"no_treated"}


def test_placebo_in_time_uses_only_what_came_before() -> None:
    table = staggered(effect=0.0)
    wild = table.assign(rate=table["rate"].mask((table["start"] > 0) & (table["year"] >= table["start"]), 1e6))
    one, other = (resample.placebo_in_time(did.imputation, panel_of(t), "rate") for t in (table, wild))
    assert_allclose(one.values, other.values)
    drift = table.assign(rate=table["rate"] + 3 * (table["start"] > 0) * (table["year"] - 2000))
    found = resample.placebo_in_time(did.imputation, panel_of(drift), "rate", periods=1).average().to_frame()
    assert found["p_value"][0] < 1e-6


def test_placebo_in_time_needs_earlier_periods() -> None:
    for periods in (0, 4, 50):
        with pytest.raises(DesignError) as caught:
            resample.placebo_in_time(did.imputation, panel_of(staggered(starts={2004: 3})), "rate", periods=periods)
        assert caught.value.code == "PMG-PLACEBO-TIME"
    assert len(resample.placebo_in_time(did.imputation, panel_of(staggered(starts={2004: 3})), "rate", periods=3))
