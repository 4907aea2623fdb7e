"""The joint placebo law of (area, period) cells, and of averages over few treated areas."""

import warnings
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from pmg_eval import did, resample, synth
from pmg_eval.errors import DataError, DesignError, PmgEvalWarning
from pmg_eval.estimate import Estimate, stack
from pmg_eval.resample._placebo_draws import number_of_draws
from unit.resample.differences import differences, noise_panel, paths
from unit.resample.panels import counts, panel_of, staggered

imputed = partial(did.imputation, pretrend=False)
ratios = partial(did.imputation, pretrend=False, family="poisson")


def quiet(*args, **options) -> Estimate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        return resample.placebo(*args, **{"draws": 1_999, **options})


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(46, 9))


@pytest.fixture(scope="module")
def cells(noise) -> Estimate:
    """Three treated areas with two starts, 43 placebos."""
    return quiet(differences, noise_panel(noise, {0: 5, 1: 5, 2: 7}), "rate", by="cell", draws=4_300)


# --- the law, by hand ------------------------------------------------------------------------------------------------


def test_one_term_per_treated_area_and_period(cells) -> None:
    terms = cells.terms
    assert terms["unit"].tolist() == [0] * 4 + [1] * 4 + [2] * 2
    assert terms["period"].tolist() == [5, 6, 7, 8, 5, 6, 7, 8, 7, 8]
    assert terms["event_time"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert (terms["n_placebo"] == 43).all()
    assert (terms["method"] == "placebo law, size-scaled, by inversion").all()
    assert cells.to_frame()[["std_error", "p_value", "conf_low", "conf_high"]].notna().all().all()


def test_every_draw_is_the_whole_path_of_one_placebo(noise, cells) -> None:
    """All areas have one size: nothing is scaled, and the error path of an area is that of a placebo, worked out."""
    for unit, start in ((0, 5), (1, 5), (2, 7)):
        own = cells.uncertainty.errors[:, (cells.terms["unit"] == unit).to_numpy()]
        known = paths(noise, start, np.arange(3, 46))
        gap = np.abs(own[:, None, :] - known).max(axis=2)
        assert gap.min(axis=1).max() < 1e-12
        assert np.bincount(gap.argmin(axis=1), minlength=43).tolist() == [100] * 43  # each equally often


def test_areas_are_drawn_independently(noise, cells) -> None:
    first, second = (cells.uncertainty.errors[:, column] for column in (0, 4))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(4_300)
    same = paths(noise, 5, np.arange(3, 46))
    repeated = np.abs(first[:, None] - same[:, 0]).argmin(axis=1) == np.abs(second[:, None] - same[:, 0]).argmin(axis=1)
    assert repeated.mean() == pytest.approx(1 / 43, abs=4 * np.sqrt(1 / 43 / 4_300))


def test_the_pooled_p_value_is_that_of_all_combinations(noise, cells) -> None:
    """Alvarez and Ferman by brute force: 43^3 combinations of placebos, in the weights of the estimator (4:4:2)."""
    level = [paths(noise, start, np.arange(3, 46)).mean(axis=1) for start in (5, 5, 7)]
    law = np.abs((4 * level[0][:, None, None] + 4 * level[1][:, None] + 2 * level[2]) / 10).ravel()
    many = quiet(differences, noise_panel(noise, {0: 5, 1: 5, 2: 7}), "rate", by="cell", draws=20_000)
    for found in (many.average(), many.average(by="unit").average()):
        frame = found.to_frame(0.9)
        exact = float((law >= abs(found.values[0])).mean())
        assert frame["p_value"][0] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
        half = float(frame["conf_high"][0] - found.values[0])
        assert (law <= half).mean() == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 20_000))
    by_cohort = many.average(by="cohort")
    two = np.abs((level[0][:, None] + level[1]) / 2).ravel()
    assert (two <= by_cohort.to_frame(0.9)["conf_high"][0] - by_cohort.values[0]).mean() == pytest.approx(0.9, abs=0.01)


def test_a_uniform_band_by_brute_force(noise, cells) -> None:
    """Event times 2 and 3 rest on two areas of one cohort: the largest standardized error over all placebo pairs."""
    event = cells.average(by="event_time").where(event_time=[2, 3])
    path = paths(noise, 5, np.arange(3, 46))[:, 2:]
    pairs = np.array([(path[i] + path[j]) / 2 for i, j in product(range(43), repeat=2)])
    largest = (np.abs(pairs) / pairs.std(axis=0)).max(axis=1)
    band = event.band(0.9, rng=1)
    assert (largest <= band.attrs["critical_value"]).mean() == pytest.approx(0.9, abs=0.02)
    assert (band["conf_high"] - event.values > 1.1 * (event.to_frame(0.9)["conf_high"] - event.values)).all()


def test_the_average_over_periods_has_the_law_of_areas(noise) -> None:
    panel = noise_panel(noise, {0: 5, 1: 5, 2: 7})
    areas, cells = (quiet(differences, panel, "rate", by=by) for by in ("unit", "cell"))
    errors = [np.sort(found.uncertainty.errors, axis=0) for found in (cells.average(by="unit"), areas)]
    assert_allclose(errors[0], errors[1], atol=1e-12)
    columns = ["estimate", "p_value", "conf_low", "conf_high", "p_min"]
    pair = [found.to_frame().assign(p_min=found.uncertainty.p_min) for found in (cells.average(by="unit"), areas)]
    assert_allclose(pair[0][columns], pair[1][columns], atol=1e-12)
    assert_allclose(cells.details.checks["p_plain"], areas.details.checks["p_plain"])


# --- scaling ---------------------------------------------------------------------------------------------------------


def test_average_and_deviations_have_size_models_of_their_own() -> None:
    """Shocks that last and do not shrink with size, and sampling noise that is independent over periods and does."""
    rng = np.random.default_rng(8)
    n, before, after = 900, 12, 4
    size = np.exp(rng.normal(1.5, 1, n))
    size[:2] = 100.0, 1.0
    lasting = 0.5 * rng.normal(size=(n, 1)) * (np.arange(before + after) >= before)
    values = lasting + rng.normal(size=(n, before + after)) / np.sqrt(size)[:, None]
    found = quiet(differences, noise_panel(values, {0: before, 1: before}, size), "rate", by="cell", draws=9_999)
    errors = found.uncertainty.errors
    for area, people in ((0, 100.0), (1, 1.0)):
        own = errors[:, 4 * area : 4 * area + 4]
        level = 0.25 + 1 / people * (1 / after + 1 / before)
        assert own.mean(axis=1).std() ** 2 == pytest.approx(level, rel=0.2)
        spread = (own - own.mean(axis=1, keepdims=True)).var(axis=0)
        assert_allclose(spread, np.full(4, 1 / people * (1 - 1 / after)), rtol=0.25)
        assert_allclose(own.var(axis=0), np.full(4, 0.25 + 1 / people * (1 + 1 / before)), rtol=0.2)


def test_control_error_is_counted_twice_by_a_small_known_share() -> None:
    """One cohort, one size: the variance of the average is s^2 (1/n1 + 1/n0); ours is larger by 1/(n0 + n1)."""
    for n, treated in ((44, 4), (90, 8)):
        table = staggered(seed=n, n=n, starts={2005: treated})
        wide = panel_of(table).wide("rate")
        change = wide[treated:, 5:].mean(axis=1) - wide[treated:, :5].mean(axis=1)
        exact = change.var(ddof=1) * (1 / treated + 1 / (n - treated))
        for by in ("unit", "cell"):
            pooled = resample.placebo(imputed, panel_of(table), "rate", by=by, batches=n, draws=19_999).average()
            ratio = float(pooled.se[0] ** 2 / exact)
            assert ratio == pytest.approx(1 + 1 / n, abs=4 * np.sqrt(2 / 19_999))


# --- estimators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_points_are_the_estimators_own(family) -> None:
    panel = panel_of(counts(n=60, starts={2004: 2, 2006: 3}, effect=-0.4))
    estimator = partial(did.imputation, family=family)
    own = estimator(panel, "suspects")
    cells = quiet(estimator, panel, "suspects", by="cell", draws=299)
    areas = quiet(estimator, panel, "suspects", draws=299)
    after = own.where(estimand=own.terms["estimand"][0])
    assert_allclose(cells.values, after.values, rtol=1e-12)
    assert_allclose(cells.terms["weight"], after.terms["weight"], rtol=1e-12)
    for found in (cells.average(), areas.average()):
        assert_allclose(found.values, own.average().values, rtol=1e-12)
    for by in ("cohort", "unit", "event_time"):
        wanted = own.average(by=by)
        wanted = wanted.where(event_time=lambda e: e >= 0) if by == "event_time" else wanted
        assert_allclose(cells.average(by=by).values, wanted.values, rtol=1e-12)
    assert cells.scale == own.scale


def test_pooled_ratios_have_one_law_by_area_and_by_cell() -> None:
    panel = panel_of(counts(n=70, starts={2004: 2, 2006: 2}, level=0.003))
    areas, cells = (quiet(ratios, panel, "suspects", by=by, draws=9_999) for by in ("unit", "cell"))
    one, other = (found.average().to_frame() for found in (areas, cells))
    assert_allclose(one["std_error"], other["std_error"], rtol=0.03)
    assert_allclose(
        np.log(one["conf_high"] / one["conf_low"]), np.log(other["conf_high"] / other["conf_low"]), rtol=0.04
    )
    assert_allclose(cells.average(by="unit").se, areas.se, rtol=0.05)


def test_cells_of_estimators_without_unit_labels() -> None:
    """One cohort, balanced: group-time with an average base is imputation, cell by cell."""
    panel = panel_of(staggered(n=50, starts={2005: 3}))
    single = quiet(partial(did.group_time, base_period="average"), panel, "rate", by="cell")
    joint = quiet(imputed, panel, "rate", by="cell")
    assert single.terms["unit"].tolist() == joint.terms["unit"].tolist()
    assert_allclose(single.values, joint.values, rtol=1e-10)
    for by in (None, "event_time"):
        assert_allclose(single.average(by=by).se, joint.average(by=by).se, rtol=0.06)


def test_cells_of_synthetic_controls() -> None:
    panel = panel_of(staggered(seed=3, n=44, periods=12, starts={2007: 2}))
    keep = partial(synth.classic, poor_fit="keep")
    found, areas = quiet(keep, panel, "rate", by="cell"), quiet(keep, panel, "rate")
    errors = [np.sort(one.uncertainty.errors, axis=0) for one in (found.average(by="unit"), areas)]
    assert_allclose(errors[0], errors[1], atol=1e-12)
    assert len(found) == 10


def test_one_number_per_area_has_no_cells() -> None:
    with pytest.raises(DesignError) as caught:
        quiet(lambda p, y: did.group_time(p, y).average(), panel_of(staggered(n=50)), "rate", by="cell")
    assert caught.value.code == "PMG-NO-CELLS"
    with pytest.raises(DataError) as refused:
        quiet(imputed, panel_of(staggered(n=50)), "rate", by="period")
    assert refused.value.code == "PMG-OPTION"


# --- what it can show ------------------------------------------------------------------------------------------------


def test_smallest_p_of_one_area_and_of_several(cells) -> None:
    single = 1 / 44
    assert_allclose(cells.uncertainty.p_min, single)
    assert_allclose(cells.average(by="unit").uncertainty.p_min, single)
    assert_allclose(cells.average(by="cohort").uncertainty.p_min, [single**2, single])
    assert_allclose(
        cells.average(by="event_time").uncertainty.p_min, np.maximum([single**3] * 2 + [single**2] * 2, 1 / 4301)
    )
    assert cells.average().uncertainty.p_min[0] == 1 / 4_301
    assert_allclose(cells.average(by="unit").average().uncertainty.p_min, 1 / 4_301)
    alone = cells.where(unit=2)
    assert_allclose(alone.average().uncertainty.p_min, single)
    both = stack(cells.average(by="unit"), cells.average(by="unit"), names=["a", "b"])
    assert_allclose(both.take([0, 3]).map(np.array([[1.0, 1.0]])).uncertainty.p_min, single)


def test_few_placebos_allow_a_pooled_interval_but_none_of_one_area(noise) -> None:
    found = quiet(differences, noise_panel(noise[:12], {0: 5, 1: 5}), "rate", by="cell")
    assert found.average(by="unit").to_frame()["conf_low"].isna().all()
    pooled = found.average().to_frame()
    assert pooled["conf_low"].notna().all()
    assert pooled["p_value"][0] >= 1 / 121


def test_a_period_without_events_has_no_interval_but_counts_in_the_average() -> None:
    table = counts(n=60, starts={2005: 3}, level=0.003)
    table.loc[(table["area"] == "a000") & (table["year"] == 2006), "suspects"] = 0
    found = quiet(ratios, panel_of(table), "suspects", by="cell")
    frame = found.to_frame().set_index(["unit", "period"])
    empty = frame.loc[("a000", 2006)]
    assert empty["estimate"] == 0
    assert np.isnan(empty["conf_low"])
    assert empty["status"].startswith("no event in this period")
    assert frame["conf_low"].isna().sum() == (frame["estimate"] == 0).sum()
    assert found.average().to_frame()["conf_low"].notna().all()


def test_two_rare_areas_are_not_tested_together_but_four_are() -> None:
    for number, able in ((2, False), (4, True)):
        table = counts(n=60, starts={2005: number}, level=0.004)
        rare = table["area"].isin(table["area"].unique()[:number])
        table.loc[rare, "suspects"] = np.tile([0, 1, 0, 1, 1, 1, 0, 2, 1], number)
        for by in ("unit", "cell"):
            found = quiet(ratios, panel_of(table), "suspects", by=by)
            assert found.average(by="unit").to_frame()["conf_low"].isna().all()
            assert bool(found.average().to_frame()["conf_low"].notna().all()) is able


def test_placebos_without_some_period_are_left_out() -> None:
    table = staggered(n=50, starts={2005: 2})
    gap = (table["area"].isin(["a030", "a031"])) & (table["year"] == 2007)
    panel = panel_of(table[~gap], missing="pairwise")
    found = quiet(imputed, panel, "rate", by="cell")
    assert (found.terms["n_placebo"] == 46).all()
    assert quiet(imputed, panel, "rate").terms["n_placebo"].tolist() == [48, 48]


def test_same_seed_same_bits_whatever_the_number_of_processes() -> None:
    panel = panel_of(staggered(n=50, starts={2004: 3}))
    runs = [quiet(imputed, panel, "rate", by="cell", draws=299, rng=3, n_jobs=n) for n in (1, 2)]
    assert np.array_equal(runs[0].uncertainty.errors, runs[1].uncertainty.errors)
    assert runs[0].to_json() == runs[1].to_json()
    assert runs[0].provenance.options["placebo"]["by"] == "cell"


def test_the_number_of_draws_is_bounded_by_memory() -> None:
    assert number_of_draws(None, 27) == 19_999
    assert number_of_draws(None, 5_000) * 5_000 * 8 <= 200e6
    assert number_of_draws(None, 1_000_000) == 999
    assert number_of_draws(123, 10) == 123


def test_labels_of_dates() -> None:
    table = staggered(n=50, periods=6, starts={2004: 2})
    table["start"] = pd.PeriodIndex(table["start"].replace(0, 2004).astype(str), freq="Y").where(table["start"] > 0)
    table["year"] = pd.PeriodIndex(table["year"].astype(str), freq="Y")
    dated = pe.Panel(table, unit="area", time="year", cohort="start", never=None)
    found = quiet(imputed, dated, "rate", by="cell")
    assert found.terms["period"].astype(str).tolist() == ["2004", "2005"] * 2
    assert found.average(by="period").terms["period"].astype(str).tolist() == ["2004", "2005"]
