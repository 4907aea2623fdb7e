"""synth.classic: the best weights and which of them, what is refused, other designs, predictors, and bad input."""

from __future__ import annotations

import json
import warnings
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import linprog, nnls

import pmg_eval as pe
from pmg_eval.errors import DataError, DesignError, NumericalError, PmgEvalWarning
from pmg_eval.estimate import Estimate
from pmg_eval.synth import Predictor, SynthDetails, _areas, classic, hull

Array = np.ndarray
FIRST = 2010
keep = partial(classic, poor_fit="keep")


def walks(units: int, periods: int, seed: int, spread: float = 2.0) -> Array:
    """(units, periods) random walks around levels of their own, in 64ths (so that shifts are exact)."""
    rng = np.random.default_rng(seed)
    paths = rng.normal(20, spread, (units, 1)) + rng.normal(size=periods).cumsum() + rng.normal(size=(units, periods))
    return np.round(64 * paths) / 64


def frame(outcome: Array, starts: dict[int, int]) -> pd.DataFrame:
    """Long table of (units, periods); ``starts`` maps unit to first treated year."""
    units, periods = outcome.shape
    return pd.DataFrame(
        {
            "unit": np.repeat(np.arange(units), periods),
            "year": np.tile(FIRST + np.arange(periods), units),
            "start": np.repeat([starts.get(unit, 0) for unit in range(units)], periods),
            "y": outcome.ravel(),
        }
    )


def panel(outcome: Array | pd.DataFrame, starts: dict[int, int] | None = None, **roles: Any) -> pe.Panel:
    df = outcome if isinstance(outcome, pd.DataFrame) else frame(outcome, starts or {})
    return pe.Panel(df, **{"unit": "unit", "time": "year", "cohort": "start", "never": 0, **roles})


def quiet(estimator: Any, *args: Any, **options: Any) -> Estimate[SynthDetails]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        return estimator(*args, **options)


def weights_of(found: Estimate[SynthDetails], unit: Any, units: int) -> Array:
    table = found.details.weights
    own = table[table["unit"] == unit]
    out = np.zeros(units)
    out[own["donor"].to_numpy()] = own["weight"]
    return out


def best_error(donors: Array, own: Array) -> float:
    """Smallest root mean squared error of a weighted mean: nonnegative least squares of the homogenized problem."""
    away = (donors - own).T
    size = np.sqrt(np.square(away).mean()) + 1e-300
    ray = nnls(np.vstack([away, np.full(len(donors), size)]), np.append(np.zeros(len(own)), size))[0]
    return float(np.sqrt(np.square(away @ (ray / ray.sum())).mean()))


# --- the best weights ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(units=st.integers(3, 40), before=st.integers(4, 15), seed=st.integers(0, 10_000))
def test_weights_are_on_the_simplex_and_nothing_is_better(units: int, before: int, seed: int) -> None:
    y = walks(units, before + 3, seed)
    found = quiet(keep, panel(y, {0: FIRST + before}), "y")
    row = found.details.fit.iloc[0]
    weights = weights_of(found, 0, units)[1:]
    assert weights.min() >= -1e-12
    assert abs(weights.sum() - 1) <= 1e-10
    donors, own = y[1:, :before], y[0, :before]
    residual = own - weights @ donors
    objective = float(residual @ residual)
    size = float(own @ own)
    assert_allclose(row["objective"], objective, rtol=1e-9, atol=1e-12 * size)
    # optimality, in the data's own terms: no donor is a direction of descent
    assert (donors - weights @ donors) @ residual == pytest.approx(0, abs=1e-8 * size) or (
        ((donors - weights @ donors) @ residual).max() <= 1e-8 * size
    )
    random = np.random.default_rng(seed).dirichlet(np.full(units - 1, 0.3), 1000)
    assert objective <= np.square(own - random @ donors).sum(axis=1).min() + 1e-12 * size
    assert_allclose(found.values, y[0] - weights @ y[1:], atol=1e-10)
    assert_allclose(found.average().values, (y[0] - weights @ y[1:])[before:].mean(), atol=1e-10)
    assert_allclose(row["effective_donors"], 1 / np.square(weights).sum(), rtol=1e-9)
    assert_allclose(row["max_weight"], weights.max())
    assert_allclose(row["post_rmspe"], np.sqrt(np.square(y[0] - weights @ y[1:])[before:].mean()), rtol=1e-9)
    assert row["kkt_gap"] <= 1e-10


@pytest.mark.parametrize("change", [lambda y: y * 1e9, lambda y: y * 1e-9, lambda y: y + 1e9, lambda y: -3 * y])
@pytest.mark.parametrize(("units", "before"), [(12, 9), (40, 5)], ids=["outside", "inside"])
def test_units_of_measurement_do_not_matter(change: Any, units: int, before: int) -> None:
    """The shift by 1e9 is exact in 64ths; a peer answers -7.9 instead of 2.0 there."""
    y = walks(units, before + 4, seed=7)
    if units == 40:
        y[0] = np.round(64 * (0.5 * y[1:5].mean(axis=0) + 0.5 * y[1:].mean(axis=0))) / 64
    y[0, before:] += 2.0
    plain, moved = (quiet(keep, panel(values, {0: FIRST + before}), "y") for values in (y, change(y)))
    factor = change(np.array([1.0]))[0] - change(np.array([0.0]))[0]
    assert_allclose(weights_of(moved, 0, units), weights_of(plain, 0, units), atol=1e-9)
    assert_allclose(moved.values / factor, plain.values, atol=1e-8)
    for name in ("inside_hull", "unique", "refused"):
        assert moved.details.fit[name].tolist() == plain.details.fit[name].tolist()
    assert plain.details.fit["inside_hull"].tolist() == [units == 40]


def test_a_unit_equal_to_a_donor_gets_that_donor() -> None:
    y = walks(15, 12, 1)
    y[0, :8] = y[6, :8]
    found = quiet(classic, panel(y, {0: 2018}), "y")
    assert found.details.weights[["donor", "weight"]].values.tolist() == [[6, 1.0]]
    row = found.details.fit.iloc[0]
    assert row["pre_rmspe"] == 0
    assert np.isnan(row["rmspe_ratio"])
    assert row["inside_hull"]
    assert row["unique"]
    assert_allclose(found.average().values, (y[0] - y[6])[8:].mean())


def test_a_convex_combination_is_reproduced() -> None:
    """A past longer than the number of donors, so there is one way only."""
    y = walks(7, 20, 2)
    y[0] = 0.5 * y[1] + 0.25 * y[3] + 0.25 * y[6]
    y[0, 15:] += 3.0
    found = quiet(classic, panel(y, {0: 2025}), "y")
    assert_allclose(weights_of(found, 0, 7), [0, 0.5, 0, 0.25, 0, 0, 0.25], atol=1e-12)
    assert_allclose(found.where(event_time=slice(0, None)).values, 3.0, atol=1e-10)
    assert found.details.fit["unique"].tolist() == [True]


def test_donors_without_weight_change_nothing() -> None:
    y = walks(30, 16, 3)
    whole = quiet(keep, panel(y, {0: 2022}), "y")
    used = np.flatnonzero(weights_of(whole, 0, 30))
    assert 1 < len(used) < 12
    part = frame(y, {0: 2022}).query("unit == 0 or unit in @used")
    few = quiet(keep, panel(part), "y")
    assert_allclose(few.values, whole.values, atol=1e-11)
    named = quiet(keep, panel(y, {0: 2022}), "y", donors=used.tolist())
    assert_allclose(named.values, whole.values, atol=1e-11)
    assert named.provenance.options["donors"] == [str(unit) for unit in used]
    assert set(named.details.excluded["donor"]) == set(range(1, 30)) - set(used)


def test_many_areas_are_fitted_as_each_of_them_alone() -> None:
    y = walks(60, 14, 4)
    starts = {unit: 2019 + unit % 4 for unit in range(9)}
    together = quiet(keep, panel(y, starts), "y")
    for unit, start in starts.items():
        alone = frame(y, starts).query("unit == @unit or unit >= 9")
        single = quiet(keep, panel(alone), "y")
        assert_allclose(together.where(unit=unit).values, single.values, atol=1e-10)
        assert together.details.fit.set_index("unit").loc[unit, "n_pre"] == start - FIRST
    assert together.details.fit["n_post"].tolist() == [FIRST + 14 - starts[unit] for unit in range(9)]
    assert_allclose(
        together.average(by="unit").values[3], together.where(unit=3, event_time=slice(0, None)).values.mean()
    )


# --- weights that are not unique -------------------------------------------------------------------------------------


def closest(donors: Array, own: Array) -> Array:
    """The perfect fit with the smallest weighted squared distance, by HiGHS."""
    price = np.square(donors - own).sum(axis=1)
    equal = np.vstack([(donors - own).T, np.ones(len(donors))])
    found = linprog(price, A_eq=equal, b_eq=np.append(np.zeros(len(own)), 1.0), bounds=(0, None))
    assert found.status == 0
    return np.asarray(found.x)


@pytest.mark.parametrize("seed", range(6))
def test_inside_the_hull_the_nearest_donors_are_taken_and_the_range_is_printed(seed: int) -> None:
    y = walks(60, 9, seed, spread=1.0)
    y[0] = y[1:].mean(axis=0) + 0.2 * (y[0] - y[1:].mean(axis=0))
    data = panel(y, {0: 2016})
    with pytest.warns(PmgEvalWarning, match="PMG-NON-UNIQUE") as caught:
        found = classic(data, "y")
    row = found.details.fit.iloc[0]
    assert row["inside_hull"]
    assert not row["unique"]
    assert row["pre_rmspe"] == 0
    assert_allclose(weights_of(found, 0, 60)[1:], closest(y[1:, :6], y[0, :6]), atol=1e-9)
    table = hull(data, "y").details.table.iloc[0]
    assert caught[0].message.where == (f"0: {table['low']:.4g} to {table['high']:.4g}",)
    assert table["low"] <= found.average().values[0] <= table["high"]
    assert any("not unique" in note for note in found.provenance.notes)


def test_the_range_agrees_with_hull_for_counts_and_for_several_areas() -> None:
    rng = np.random.default_rng(5)
    df = frame(walks(70, 9, 5), {0: 2015, 1: 2016})
    df["people"] = np.repeat(rng.integers(2_000, 9_000, 70), 9) * np.tile(1 + 0.03 * np.arange(9), 70)
    df["y"] = rng.poisson(0.01 * df["people"])
    data = panel(df, exposure="people")
    with pytest.warns(PmgEvalWarning, match="PMG-NON-UNIQUE") as caught:
        found = classic(data, "y", family="poisson")
    table = hull(data, "y", family="poisson").details.table
    inside = table[table["inside"] & ~table["unique"]]
    assert len(inside) >= 1
    said = [f"{row.unit}: {row.low:.4g} to {row.high:.4g}" for row in inside.itertuples()]
    assert list(caught[0].message.where) == said
    effects = found.average(by="unit").values
    assert (effects >= table["low"] - 1e-9).all()
    assert (effects <= table["high"] + 1e-9).all()


@pytest.mark.parametrize("seed", range(25))
def test_hull_and_uniqueness_are_those_of_the_other_program(seed: int) -> None:
    """Whole numbers and few periods: many targets on faces, edges and corners."""
    rng = np.random.default_rng(seed)
    y = np.round(rng.normal(5, 1 + seed % 3, (25, 7)))
    y[:5, :4] = y[rng.integers(5, 25, 5), :4]
    starts = dict.fromkeys(range(5), 2014)
    found = quiet(keep, panel(y, starts), "y").details.fit
    table = hull(panel(y, starts), "y").details.table
    assert found["inside_hull"].tolist() == table["inside"].tolist()
    assert found["unique"].tolist() == table["unique"].tolist()
    assert_allclose(found["pre_rmspe"], table["distance"], atol=1e-9)


def test_identical_donors_share_their_weight_equally() -> None:
    """Equal before the start and not afterwards: their order must not decide."""
    y = walks(12, 18, 8)
    y[0, :14] = (y[3] + y[5])[:14] / 2 + 0.05
    y[7, :14] = y[3, :14]
    data = panel(y, {0: 2024})
    with pytest.warns(PmgEvalWarning, match="PMG-NON-UNIQUE"):
        found = keep(data, "y")
    weights = weights_of(found, 0, 12)
    assert weights[3] == weights[7] > 0.1
    assert found.details.fit["unique"].tolist() == [False]
    alone = quiet(keep, panel(frame(y, {0: 2024}).query("unit != 7")), "y")
    assert_allclose(weights[3] + weights[7], weights_of(alone, 0, 12)[3], atol=1e-10)
    assert_allclose(found.values[:14], alone.values[:14], atol=1e-10)
    order = np.random.default_rng(0).permutation(np.arange(1, 12))
    renamed = frame(y, {0: 2024})
    renamed["unit"] = renamed["unit"].map({0: 0} | dict(zip(range(1, 12), order, strict=True)))
    assert_allclose(quiet(keep, panel(renamed), "y").values, found.values, atol=1e-10)


def test_few_effective_donors_are_a_warning() -> None:
    y = walks(15, 14, 1)
    y[0] = 0.9 * y[3] + 0.1 * y[5]
    with pytest.warns(PmgEvalWarning, match="PMG-FEW-DONORS") as caught:
        found = classic(panel(y, {0: 2023}), "y")
    assert caught[0].message.where == ("0",)
    assert found.details.fit["effective_donors"][0] == pytest.approx(1 / 0.82)
    assert caught[0].filename == __file__


# --- what is refused -------------------------------------------------------------------------------------------------


def refused_by_brute_force(y: Array, treated: list[int], donors: list[int], before: int) -> list[bool]:
    """Every placebo solved: fewer than a tenth of them fit as badly; below ten donors, three times the worst."""
    errors = [best_error(y[[k for k in donors if k != j], :before], y[j, :before]) for j in donors]
    answers = []
    for unit in treated:
        own = best_error(y[donors, :before], y[unit, :before])
        if len(donors) < 10:
            answers.append(own > 3 * max(errors))
        else:
            answers.append(sum(error >= own * (1 - 1e-9) for error in errors) < 0.1 * len(donors))
    return answers


@pytest.mark.parametrize(("donors", "before"), [(12, 8), (30, 6), (31, 12), (5, 9), (2, 6), (150, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_refusals_are_those_of_all_placebos(donors: int, before: int, seed: int) -> None:
    y = walks(donors + 12, before + 2, 100 + seed)
    treated = list(range(12))
    y[treated] += np.linspace(-6, 6, 12)[:, None]
    y[0, :before] += 200  # never imitated
    want = refused_by_brute_force(y, treated, list(range(12, donors + 12)), before)
    assert True in want
    assert False in want
    found = quiet(classic, panel(y, dict.fromkeys(treated, FIRST + before)), "y")
    fit = found.details.fit
    assert (fit["refused"] != "").tolist() == want
    means = found.average(by="unit")
    assert np.isnan(means.values).tolist() == want
    assert all(("nine tenths" in status) == no for status, no in zip(means.terms["status"], want, strict=True))
    kept = quiet(keep, panel(y, dict.fromkeys(treated, FIRST + before)), "y")
    assert np.isfinite(kept.values).all()
    assert (kept.terms["status"] == found.terms["status"]).all()
    assert (kept.details.fit["refused"] == "").all()
    assert_allclose(kept.values[np.isfinite(found.values)], found.values[np.isfinite(found.values)])


@pytest.mark.parametrize("donors", [20, 100, 220])
def test_the_limit_is_the_ninetieth_percentile_or_just_above_it(donors: int) -> None:
    y = walks(donors + 1, 10, 3)
    y[0] += 100
    errors = sorted(best_error(np.delete(y[1:, :8], j, axis=0), y[1 + j, :8]) for j in range(donors))
    exact = errors[-int(np.ceil(0.1 * donors))]
    limit = quiet(keep, panel(y, {0: 2018}), "y").details.fit["fit_limit"][0]
    if donors < 150:
        assert_allclose(limit, exact, rtol=1e-9)
    else:  # an upper bound, see _prefit
        assert exact * (1 - 1e-9) <= limit <= 1.02 * exact
    with pytest.raises(DesignError, match="PMG-POOR-FIT") as caught:
        classic(panel(y, {0: 2018}), "y")
    assert "synth.sdid" in caught.value.fix
    assert caught.value.where[0].startswith("0: ")


def test_a_short_past_is_refused_by_area_or_altogether() -> None:
    y = walks(20, 12, 6)
    found = quiet(keep, panel(y, {0: 2013, 1: 2014, 2: 2016}), "y")
    status = found.average(by="unit").terms["status"].tolist()
    assert ["did.imputation" in text for text in status] == [True, False, False]
    assert found.details.fit["refused"].str.contains("synth.sdid").tolist() == [True, False, False]
    assert found.details.fit["pre_rmspe"].notna().tolist() == [False, True, True]
    assert set(found.details.weights["unit"]) == {1, 2}
    with pytest.raises(DesignError, match="PMG-SHORT-PRE") as caught:
        classic(panel(y, {0: 2013, 1: 2012}), "y")
    assert "did.imputation" in caught.value.fix
    assert caught.value.where == (0, 1)


def test_short_and_poor_together_are_poor_fit() -> None:
    y = walks(20, 12, 6)
    y[1] += 500
    with pytest.raises(DesignError, match="PMG-POOR-FIT") as caught:
        classic(panel(y, {0: 2013, 1: 2016}), "y")
    assert len(caught.value.where) == 1


def test_one_area_that_cannot_be_computed_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def trouble(columns: Array, goals: Array, without: Any = None) -> list[Any]:
        fits = fit_many(columns, goals, without)
        fits[1] = NumericalError("PMG-KKT", "not solved")
        return fits

    fit_many = _areas.fit_many
    monkeypatch.setattr(_areas, "fit_many", trouble)
    found = quiet(keep, panel(walks(20, 12, 6), {0: 2016, 1: 2016, 2: 2016}), "y").average(by="unit")
    assert np.isnan(found.values).tolist() == [False, True, False]
    assert found.terms["status"][1] == "not solved"


# --- other designs ---------------------------------------------------------------------------------------------------


def test_terms() -> None:
    y = walks(20, 10, 9)
    df = frame(y, {0: 2016, 1: 2017}).assign(w=lambda d: 1.0 + d["unit"])
    found = quiet(keep, panel(df, weight="w"), "y")
    terms = found.terms
    assert len(found) == 20
    assert found.labels == ["estimand", "outcome", "unit", "cohort", "period", "event_time"]
    assert terms["estimand"].unique().tolist() == ["gap"]
    assert terms["unit"].tolist() == [0] * 10 + [1] * 10
    assert terms["period"].tolist() == [*range(2010, 2020)] * 2
    assert (terms["event_time"] == terms["period"] - terms["cohort"]).all()
    assert terms["weight"].tolist() == [1.0] * 10 + [2.0] * 10
    assert (terms["n_control"] == 18).all()
    assert (terms["n_treated"] == 1).all()
    assert terms["method"].unique().tolist() == ["synthetic control"]
    post = [found.where(unit=unit, event_time=slice(0, None)).values for unit in (0, 1)]
    assert_allclose(found.average().values, (post[0].sum() + 2 * post[1].sum()) / (4 + 6))
    before = found.average(by="event_time")
    assert before.terms["event_time"].min() == -7
    paths = found.details.paths
    assert_allclose(paths["observed"] - paths["synthetic"], found.values, atol=1e-12)
    assert found.uncertainty is None
    assert found.to_frame()["std_error"].isna().all()
    with pytest.raises(pe.InferenceError, match="effect_per_area"):
        found.cov()
    saved = pe.Estimate.from_json(found.to_json())
    assert_allclose(saved.values, found.values)
    assert json.loads(found.to_json())["provenance"]["options"]["poor_fit"] == "keep"


def test_anticipation_leaves_periods_out_of_the_fit() -> None:
    y = walks(20, 14, 10)
    found = quiet(keep, panel(y, {0: 2021}), "y", anticipation=2)
    earlier = quiet(keep, panel(y, {0: 2019}), "y")
    assert_allclose(found.values, earlier.values, atol=1e-12)
    assert found.details.fit["n_pre"].tolist() == [9]
    assert_allclose(found.average().values, earlier.values[11:].mean())
    assert earlier.average().values[0] != pytest.approx(found.average().values[0])


def test_rates_by_hand() -> None:
    rng = np.random.default_rng(0)
    df = frame(walks(14, 11, 11), {0: 2018})
    df["people"] = np.repeat(rng.integers(1_000, 9_000, 14), 11) * np.tile(1 + 0.1 * np.arange(11), 14)
    df["y"] = rng.poisson(0.05 * df["people"])
    found = quiet(keep, panel(df, exposure="people"), "y", family="poisson")
    rate = (df["y"] / df["people"]).to_numpy().reshape(14, 11)
    people, count = (df[name].to_numpy().reshape(14, 11) for name in ("people", "y"))
    weights = weights_of(found, 0, 14)[1:]
    expected = weights @ rate[1:] * people[0]
    assert_allclose(found.values, count[0] / expected)
    assert_allclose(found.terms["weight"], expected)
    assert found.scale == "log"
    assert_allclose(found.average().values, count[0, 8:].sum() / expected[8:].sum())
    assert_allclose(np.sqrt(np.square(rate[0] - weights @ rate[1:])[:8].mean()), found.details.fit["pre_rmspe"][0])
    assert_allclose(found.details.fit["pre_rmspe"][0], best_error(rate[1:, :8], rate[0, :8]), rtol=1e-9)
    assert found.terms["n_events"].tolist() == count[0].tolist()


def test_an_expected_rate_of_zero_has_no_ratio() -> None:
    df = frame(np.zeros((12, 9)), {0: 2016})
    df["people"] = 1000.0
    df["y"] = np.random.default_rng(1).poisson(5, len(df))
    df.loc[(df["unit"] > 0) & (df["year"] == 2017), "y"] = 0
    found = quiet(keep, panel(df, exposure="people"), "y", family="poisson")
    at = found.where(period=2017)
    assert np.isnan(at.values).all()
    assert at.terms["status"].tolist() == ["zero_base"]
    assert found.average().terms["status"].tolist() == ["leaves out 1 unidentified cell"]


def test_treated_share_of_the_first_period() -> None:
    """Half a treated year: the gap counts double and weighs half."""
    y = walks(16, 10, 12)
    df = frame(y, {})
    df["start"] = pd.Series(pd.NaT, index=df.index).mask(df["unit"] == 0, pd.Timestamp("2017-07-02"))
    df["year"] = pd.to_datetime(df["year"].astype(str) + "-01-01")
    roles = {"never": None, "freq": "Y"}
    share, whole = (quiet(keep, panel(df, partial_period=p, **roles), "y") for p in ("share", "treated"))
    part = share.terms["weight"][7]
    assert part == pytest.approx(0.5, abs=0.01)
    assert_allclose(share.values[7], whole.values[7] / part)
    assert_allclose(np.delete(share.values, 7), np.delete(whole.values, 7))
    assert_allclose(share.average().values, whole.values[7:].sum() / (2 + part))
    assert str(share.terms["period"][7]) == "2017"


def test_everybody_against_everybody_else() -> None:
    """The in-space placebo: units with a start against all others whatever theirs, and no refusals."""
    y = walks(14, 10, 13)
    y[2] += 300
    data = panel(y, {0: 2016, 1: 2016, 2: 2016})
    found = quiet(classic, data, "y", donors="others")
    assert found.terms["n_control"].unique().tolist() == [13]
    for unit in range(3):
        others = np.delete(np.arange(14), unit)
        weights = weights_of(found, unit, 14)
        assert weights[unit] == 0
        assert_allclose(found.where(unit=unit).values, y[unit] - weights @ y, atol=1e-10)
        row = found.details.fit.set_index("unit").loc[unit]
        assert_allclose(row["pre_rmspe"], best_error(y[others, :6], y[unit, :6]), rtol=1e-9)
    assert np.isfinite(found.values).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classic(data, "y", donors="others")


def test_missing_cells_of_treated_units_and_of_donors() -> None:
    y = walks(20, 10, 14)
    df = frame(y, {0: 2017, 1: 2017})
    gone = df.drop(
        df.index[(df["unit"] == 0) & df["year"].isin([2012, 2018]) | (df["unit"] == 9) & (df["year"] == 2011)]
    )
    found = quiet(keep, panel(gone, missing="pairwise"), "y")
    assert found.details.fit[["n_pre", "n_post"]].values.tolist() == [[6, 2], [7, 3]]
    assert found.details.excluded.values.tolist() == [[9, "not observed in 1 of 10 periods"]]
    donors = [unit for unit in range(2, 20) if unit != 9]
    seen = [0, 1, 3, 4, 5, 6]
    assert_allclose(found.details.fit["pre_rmspe"][0], best_error(y[donors][:, seen], y[0, seen]), rtol=1e-9)
    assert 2018 not in found.where(unit=0).terms["period"].tolist()
    assert any("not observed in 1" in note for note in found.provenance.notes)


def test_quarters() -> None:
    y = walks(16, 10, 15)
    df = frame(y, {})
    quarter = pd.period_range("2019Q1", periods=10, freq="Q")
    df["year"] = np.tile(quarter.to_numpy(), 16)
    df["start"] = np.where(df["unit"] == 0, quarter[7], None)
    found = quiet(keep, panel(df, never=None), "y")
    yearly = quiet(keep, panel(y, {0: 2017}), "y")
    assert_allclose(found.values, yearly.values)
    assert str(found.terms["cohort"][0]) == str(quarter[7])
    assert str(found.details.fit["cohort"][0]) == str(quarter[7])
    assert [str(period) for period in found.terms["period"]] == [str(period) for period in quarter]


# --- predictors ------------------------------------------------------------------------------------------------------


def with_predictors(units: int = 16, periods: int = 12, seed: int = 16, **starts: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    df = frame(walks(units, periods, seed), starts.get("starts", {0: 2018}))
    df["income"] = np.repeat(rng.normal(1000, 50, units), periods) + rng.normal(0, 5, len(df))
    df["young"] = np.repeat(rng.uniform(0.1, 0.4, units), periods)
    df.loc[rng.random(len(df)) < 0.3, "young"] = np.nan
    return df


PREDICTORS = (Predictor("income"), Predictor("young", (2010, 2017)), Predictor("y", (2016, 2016), name="last but one"))


def test_predictors_by_hand() -> None:
    df = with_predictors()
    found = quiet(keep, panel(df), "y", predictors=PREDICTORS, v=[2, 1, 1])
    before = df[df["year"] < 2018]
    want = np.array(
        [
            before.groupby("unit")["income"].mean(),
            before.groupby("unit")["young"].mean(),
            df[df["year"] == 2016].set_index("unit")["y"],
        ]
    )
    scaled = np.sqrt([0.5, 0.25, 0.25])[:, None] * want / want.std(axis=1, ddof=1, keepdims=True)
    weights = weights_of(found, 0, 16)[1:]
    loss = float(np.square(scaled[:, 0] - scaled[:, 1:] @ weights).sum())
    assert_allclose(loss, 3 * best_error(scaled[:, 1:].T, scaled[:, 0]) ** 2, atol=1e-12)
    row, table = found.details.fit.iloc[0], found.details.predictors
    assert_allclose(row["objective"], loss, atol=1e-14)
    y = df["y"].to_numpy().reshape(16, 12)
    assert_allclose(row["pre_rmspe"], np.sqrt(np.square(y[0] - weights @ y[1:])[:8].mean()))
    assert table["predictor"].tolist() == ["income", "young 2010-2017", "last but one"]
    assert_allclose(table["treated"], want[:, 0])
    assert_allclose(table["synthetic"], want[:, 1:] @ weights)
    assert_allclose(table["donors"], want[:, 1:].mean(axis=1))
    assert_allclose(table["v"], [0.5, 0.25, 0.25])
    assert found.provenance.options["predictors"] == table["predictor"].tolist()
    assert found.provenance.options["v"] == [0.5, 0.25, 0.25]


@pytest.mark.parametrize("seed", range(3))
def test_refusals_with_predictors_are_those_of_all_placebos(seed: int) -> None:
    """The placebos' errors are those of their predictor weights, not the smallest ones."""
    df = with_predictors(units=34, seed=seed, starts=dict.fromkeys(range(4), 2018))
    df.loc[df["unit"] == 3, "y"] += 40
    df["younger"] = df["young"].mask(df["year"] > 2017)
    predictors, v = [Predictor("income", (2010, 2017)), Predictor("y"), Predictor("younger", (2010, 2017))], [1, 2, 3]
    found = quiet(classic, panel(df), "y", predictors=predictors, v=v)
    y = df["y"].to_numpy().reshape(34, 12)
    everybody = panel(df.assign(start=np.where(df["unit"] > 3, 2018, 0)).query("unit > 3 or unit == 0"))
    own = quiet(keep, panel(df), "y", predictors=predictors, v=v).details.fit["pre_rmspe"].to_numpy()
    errors = []
    for j in range(4, 34):
        lone = df[df["unit"] > 3].assign(start=lambda d, j=j: np.where(d["unit"] == j, 2018, 0))
        single = quiet(keep, panel(lone), "y", predictors=predictors, v=v)
        errors.append(np.sqrt(np.square(y[j] - weights_of(single, j, 34) @ y)[:8].mean()))
    want = [bool(np.sum(np.array(errors) >= error * (1 - 1e-9)) < 3) for error in own]
    assert (found.details.fit["refused"] != "").tolist() == want
    assert want[3]
    assert everybody.n_units == 31


def test_a_constant_shift_of_a_predictor_does_not_matter_and_its_scale_neither() -> None:
    df = with_predictors()
    plain = quiet(keep, panel(df), "y", predictors=PREDICTORS, v=[1, 1, 1])
    other = quiet(keep, panel(df.assign(income=1e6 - 7 * df["income"])), "y", predictors=PREDICTORS, v=[3, 3, 3])
    assert_allclose(other.values, plain.values, atol=1e-6)


def option_error(**options: Any) -> tuple[str, tuple[Any, ...]]:
    with pytest.raises((DataError, DesignError)) as caught:
        quiet(keep, panel(with_predictors()), "y", **options)
    return caught.value.code, caught.value.where


def test_options() -> None:
    two = [Predictor("income"), Predictor("y")]
    assert option_error(predictors=two)[0] == "PMG-V"
    assert option_error(v=[1, 2])[0] == "PMG-V"
    for v in ([1], [1, 2, 3], [1, -1], [0, 0], [1, np.nan], [1, np.inf], "ab", 3, [[1, 2]]):
        assert option_error(predictors=two, v=v)[0] == "PMG-V"
    for wrong in ([], ["income"], "income", [Predictor("income"), "y"], Predictor("income")):
        assert option_error(predictors=wrong, v=[1])[0] == "PMG-PREDICTOR"
    assert option_error(predictors=[Predictor("incom")], v=[1])[0] == "PMG-COLUMN"
    assert option_error(predictors=[Predictor("income", (1990, 1991))], v=[1])[0] == "PMG-PREDICTOR"
    assert option_error(predictors=[Predictor("income", (2010, 2018))], v=[1]) == ("PMG-PREDICTOR-POST", (0,))
    assert (
        option_error(predictors=[Predictor("income", (2010, 2017))], v=[1], anticipation=1)[0] == "PMG-PREDICTOR-POST"
    )
    assert option_error(poor_fit="show")[0] == "PMG-OPTION"
    assert option_error(poor_fit=True)[0] == "PMG-OPTION"
    assert option_error(family="binomial")[0] == "PMG-OPTION"
    assert option_error(anticipation=-1)[0] == "PMG-OPTION"
    assert option_error(anticipation=9) == ("PMG-SHORT-PRE", (0,))
    assert option_error(donors="never")[0] == "PMG-OPTION"
    assert option_error(donors=[1, 99]) == ("PMG-DONORS", (99,))
    assert option_error(donors=[0, 1]) == ("PMG-DONORS", ("0: treated",))
    assert option_error(family="poisson")[0] == "PMG-NO-EXPOSURE"
    with pytest.raises(DataError, match="PMG-PANEL"):
        classic(with_predictors(), "y")  # type: ignore[arg-type]


def test_a_predictor_checks_itself() -> None:
    for wrong in (
        lambda: Predictor(["a"]),
        lambda: Predictor(None),
        lambda: Predictor("a", 1990),
        lambda: Predictor("a", (1,)),
    ):
        with pytest.raises(DataError, match="PMG-PREDICTOR"):
            wrong()
    assert Predictor("a", [1, 2]) == Predictor("a", (1, 2))
    assert Predictor("a").name == "a"


def test_predictors_that_say_nothing() -> None:
    df = with_predictors()
    df["empty"] = df["income"].mask(df["unit"] == 5)
    df["same"] = 3.0
    df["infinite"] = df["income"].mask(df["unit"] == 5, np.inf)
    assert option_error_of(df, "empty") == ("PMG-PREDICTOR-MISSING", ("empty of 5",))
    assert option_error_of(df, "infinite") == ("PMG-PREDICTOR-MISSING", ("infinite of 5",))
    assert option_error_of(df, "same") == ("PMG-PREDICTOR-CONSTANT", ("same",))
    assert np.isfinite(
        quiet(
            keep, panel(df), "y", predictors=[Predictor("empty")], v=[1], donors=[u for u in range(1, 16) if u != 5]
        ).values
    ).all()


def option_error_of(df: pd.DataFrame, column: str) -> tuple[str, tuple[Any, ...]]:
    with pytest.raises(DataError) as caught:
        keep(panel(df), "y", predictors=[Predictor("income"), Predictor(column)], v=[1, 1])
    return caught.value.code, caught.value.where


# --- what peers get wrong without a word (the project's notes: synth.md 4.5, trust.md 2.3) ----------------------------


def base() -> pd.DataFrame:
    """20 units, 14 years, one treated from 2020 on, true effect 2."""
    y = walks(20, 14, 20, spread=1.0)
    y[0] = np.round(64 * (0.4 * y[1] + 0.3 * y[2] + 0.3 * y[3]) + np.random.default_rng(1).normal(0, 3, 14)) / 64
    y[0, 10:] += 2.0
    return frame(y, {0: 2020})


def gap_of(df: pd.DataFrame, **roles: Any) -> float:
    return float(quiet(classic, panel(df, **roles), "y").average().values[0])


def cell(df: pd.DataFrame, unit: int, year: int) -> Any:
    return df.index[(df["unit"] == unit) & (df["year"] == year)]


def with_cell(unit: int, year: int, value: float) -> pd.DataFrame:
    df = base()
    df.loc[cell(df, unit, year), "y"] = value
    return df


BAD = [
    ("S1 duplicate row", lambda: pd.concat([base(), base().iloc[[30]]]), "PMG-DUPLICATE"),
    ("S2 NaN in a donor before the start", lambda: with_cell(4, 2013, np.nan), "PMG-OUTCOME-MISSING"),
    ("S3 NaN in the treated before the start", lambda: with_cell(0, 2013, np.nan), "PMG-OUTCOME-MISSING"),
    ("S4 inf in a donor", lambda: with_cell(4, 2013, np.inf), "PMG-OUTCOME-INFINITE"),
    ("S5 missing row", lambda: base().drop(cell(base(), 4, 2013)), "PMG-ROW-ABSENT"),
    ("S6 far outside the hull", lambda: base().assign(y=lambda d: d["y"] + 1000 * (d["unit"] == 0)), "PMG-POOR-FIT"),
    ("S7 constant", lambda: base().assign(y=4.0), "PMG-OUTCOME-CONSTANT"),
    ("S8 all zero", lambda: base().assign(y=0.0), "PMG-OUTCOME-CONSTANT"),
    ("S11 years as text", lambda: base().astype({"year": str}), "PMG-TIME-TYPE"),
    ("S17 one period before the start", lambda: base().query("year >= 2019"), "PMG-SHORT-PRE"),
    (
        "treated in every period",
        lambda: base().assign(start=lambda d: d["start"].where(d["unit"] > 0, 2010)),
        "PMG-NO-TREATED",
    ),
]


@pytest.mark.parametrize(("make", "code"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_is_named(make: Any, code: str) -> None:
    df = make()
    before = df.copy(deep=True)
    with pytest.raises((DataError, DesignError)) as caught:
        classic(panel(df), "y")
    assert code in {problem.code for problem in caught.value.problems}
    pd.testing.assert_frame_equal(df, before)


def test_the_cell_is_named() -> None:
    for df in (with_cell(4, 2013, np.nan), base().drop(cell(base(), 4, 2013))):
        with pytest.raises(DataError, match="4 in 2013"):
            classic(panel(df), "y")


GOOD = {
    "S0 clean": (base, 1.0),
    "S12 shuffled rows": (lambda: base().sample(frac=1, random_state=3), 1.0),
    "S13 times 1e9": (lambda: base().assign(y=lambda d: 1e9 * d["y"]), 1e9),
    "S14 times 1e-9": (lambda: base().assign(y=lambda d: 1e-9 * d["y"]), 1e-9),
    "S15 plus 1e9": (lambda: base().assign(y=lambda d: 1e9 + d["y"]), 1.0),
    "S19 repeated index": (lambda: base().set_index(np.zeros(280, dtype=int)), 1.0),
}


@pytest.mark.parametrize(("make", "factor"), GOOD.values(), ids=GOOD.keys())
def test_harmless_input(make: Any, factor: float) -> None:
    assert gap_of(base()) == pytest.approx(2, abs=0.2)
    assert gap_of(make()) == pytest.approx(factor * gap_of(base()), rel=1e-8)


def test_missing_donor_cells_cost_that_donor_and_nothing_else() -> None:
    without = gap_of(base().query("unit != 4"))
    for df in (with_cell(4, 2013, np.nan), base().drop(cell(base(), 4, 2013))):
        for policy in ("pairwise", "drop_unit"):
            found = quiet(classic, panel(df, missing=policy), "y")
            assert found.average().values[0] == pytest.approx(without, rel=1e-10)
            assert 4 not in found.details.weights["donor"].tolist()


def test_s3_a_missing_cell_of_the_treated_is_left_out_of_the_fit() -> None:
    found = quiet(classic, panel(with_cell(0, 2013, np.nan), missing="pairwise"), "y")
    assert found.details.fit["n_pre"].tolist() == [9]
    assert found.average().values[0] == pytest.approx(2, abs=0.3)


def test_s9_one_donor_has_an_estimate_and_no_inference() -> None:
    df = base().query("unit in (0, 1)")
    with pytest.warns(PmgEvalWarning, match="PMG-FEW-DONORS"):
        found = classic(panel(df), "y")
    y = df["y"].to_numpy().reshape(2, 14)
    assert_allclose(found.values, y[0] - y[1])
    assert any("one donor" in note for note in found.provenance.notes)
    assert found.to_frame()["std_error"].isna().all()
    with pytest.raises(DesignError, match="PMG-POOL"):
        pe.effect_per_area(panel(df), "y", estimator=classic)


def test_s10_two_identical_donors_are_accepted_and_said_to_be_not_unique() -> None:
    df = base()
    df.loc[df["unit"] == 2, "y"] = df.loc[df["unit"] == 1, "y"].to_numpy()
    with pytest.warns(PmgEvalWarning, match="PMG-NON-UNIQUE"):
        found = classic(panel(df), "y")
    weights = weights_of(found, 0, 20)
    assert weights[1] == weights[2] > 0
    assert found.average().values[0] == pytest.approx(gap_of(df.query("unit != 2")), abs=1e-9)


def test_s16_more_donors_than_periods() -> None:
    y = walks(61, 12, 21, spread=1.0)
    y[0] = y[1:].mean(axis=0)
    with pytest.warns(PmgEvalWarning, match="PMG-NON-UNIQUE"):
        found = classic(panel(y, {0: 2018}), "y")
    assert found.details.fit["inside_hull"].tolist() == [True]


def test_s18_a_gap_year_is_accepted_with_a_note() -> None:
    found = quiet(classic, panel(base().query("year != 2014")), "y")
    assert found.details.fit["n_pre"].tolist() == [9]
    assert found.average().values[0] == pytest.approx(2, abs=0.3)
    assert any("observed for no unit" in note for note in found.provenance.notes)
