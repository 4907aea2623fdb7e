"""synth.sdid: the laws it claims, its law of the error from the definition, designs, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pmg_eval as pe
from pmg_eval.errors import DataError, DesignError
from pmg_eval.estimate import Estimate
from pmg_eval.synth import _sdid_fit
from pmg_eval.synth._door import Design, design
from pmg_eval.synth._sdid import sdid
from pmg_eval.synth._sdid_fit import Block, fit_blocks, noise_level, time_weights, unit_weights
from pmg_eval.synth._sdid_result import terms_of

FIRST, YEARS = 2010, 10
Array = np.ndarray


def frame(
    seed: int = 0, sizes: dict[int, int] | None = None, n_control: int = 15, kind: str = "gaussian"
) -> pd.DataFrame:
    """A staggered panel with factors: unit, year, start (0 = never), weight, people, y."""
    rng = np.random.default_rng(seed)
    sizes = {2015: 3, 2017: 4} if sizes is None else sizes
    start = np.concatenate([np.repeat(list(sizes), list(sizes.values())), np.zeros(n_control, dtype=int)])
    n = len(start)
    factor = rng.normal(size=(n, 1)) * rng.normal(size=YEARS).cumsum()
    mean = rng.normal(10, 3, (n, 1)) + rng.normal(size=YEARS).cumsum() + 0.5 * factor
    y = mean + rng.normal(size=(n, YEARS))
    people = np.repeat(rng.integers(500, 5000, n), YEARS) * np.tile(1 + 0.02 * np.arange(YEARS), n)
    df = pd.DataFrame(
        {
            "unit": np.repeat(np.arange(n), YEARS),
            "year": np.tile(FIRST + np.arange(YEARS), n),
            "start": np.repeat(start, YEARS),
            "weight": np.repeat(rng.uniform(0.5, 2, n), YEARS),
            "people": people,
            "y": y.ravel(),
        }
    )
    if kind == "poisson":
        df["y"] = rng.poisson(people * np.exp(-3.5 + 0.05 * y.ravel())).astype(float)
    return df


def panel(df: pd.DataFrame, **roles: Any) -> pe.Panel:
    return pe.Panel(df, **{"unit": "unit", "time": "year", "cohort": "start", "never": 0, **roles})


def treated(df: pd.DataFrame) -> Array:
    return ((df["start"] > 0) & (df["year"] >= df["start"])).to_numpy(dtype=float)


def same(after: Estimate[Any], before: Estimate[Any], factor: float = 1.0, rtol: float = 1e-9) -> None:
    scale = abs(factor) * np.abs(before.values).max()
    np.testing.assert_allclose(after.values, factor * before.values, rtol=rtol, atol=rtol * scale)
    np.testing.assert_allclose(after.se, abs(factor) * before.se, rtol=rtol, atol=rtol * scale)


# ---- laws ------------------------------------------------------------------------------------------------------------
seeds = st.integers(0, 10_000)


@settings(deadline=None, max_examples=10)
@given(seed=seeds, constant=st.sampled_from([-1e3, 7.0, 1e9]))
def test_adding_a_constant(seed: int, constant: float) -> None:
    df = frame(seed)
    df["y"] = np.round(df["y"] * 2**20) / 2**20  # so that the constant itself does not round the data
    same(sdid(panel(df.assign(y=df["y"] + constant)), "y"), sdid(panel(df), "y"))


@settings(deadline=None, max_examples=10)
@given(seed=seeds, factor=st.sampled_from([-2.0, 1e-9, 1e9, 0.3]))
def test_scaling_the_outcome(seed: int, factor: float) -> None:
    df = frame(seed)
    before, after = sdid(panel(df), "y"), sdid(panel(df.assign(y=factor * df["y"])), "y")
    same(after, before, factor)
    np.testing.assert_allclose(after.details.weights["weight"], before.details.weights["weight"], atol=1e-9)


@settings(deadline=None, max_examples=10)
@given(seed=seeds)
def test_adding_unit_effects(seed: int) -> None:
    df = frame(seed)
    added = np.random.default_rng(seed).normal(0, 50, df["unit"].max() + 1)[df["unit"]]
    same(sdid(panel(df.assign(y=df["y"] + added)), "y"), sdid(panel(df), "y"))


@settings(deadline=None, max_examples=10)
@given(seed=seeds, effect=st.floats(-50, 50))
def test_a_planted_effect(seed: int, effect: float) -> None:
    df = frame(seed)
    before, after = sdid(panel(df), "y"), sdid(panel(df.assign(y=df["y"] + effect * treated(df))), "y")
    post = (before.terms["event_time"] >= 0).to_numpy(dtype=float)
    np.testing.assert_allclose(after.values, before.values + effect * post, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(after.se, before.se, rtol=1e-8)
    np.testing.assert_allclose(after.average().se, before.average().se, rtol=1e-8)


@settings(deadline=None, max_examples=10)
@given(seed=seeds, effect=st.floats(-5, 5))
def test_a_homogeneous_effect_without_noise_is_recovered(seed: int, effect: float) -> None:
    df = frame(seed)
    rng = np.random.default_rng(seed)
    clean = rng.normal(size=100)[df["unit"]] + rng.normal(size=YEARS)[df["year"] - FIRST] + effect * treated(df)
    found = sdid(panel(df.assign(y=clean)), "y")
    post = (found.terms["event_time"] >= 0).to_numpy(dtype=float)
    np.testing.assert_allclose(found.values, effect * post, atol=1e-10)


def test_without_any_noise_at_all() -> None:
    """Straight parallel lines: first differences have no spread, and the penalty is zero."""
    df = frame(1)
    found = sdid(panel(df.assign(y=df["unit"] + 2.0 * df["year"] + 3.0 * treated(df))), "y")
    assert found.details.fit["noise"].max() == 0
    np.testing.assert_allclose(found.average().values, 3.0, rtol=1e-10)
    np.testing.assert_allclose(found.details.weights["weight"], 1 / 15, rtol=1e-6)


def arrays(seed: int, units: int = 12, before: int = 6, after: int = 3) -> tuple[Array, Array, Array, Array]:
    """Controls before (J, T0) and after (J, T1), and one treated unit."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(units + 1, before + after)).cumsum(axis=1) + rng.normal(size=(units + 1, 1))
    return y[:-1, :before], y[:-1, before:], y[-1, :before], y[-1, before:]


def estimate_at(zeta: float, control: tuple[Array, Array], unit: tuple[Array, Array], zeta_unit: float = 0.0) -> float:
    """SDID by the formula, with penalties held fixed."""
    omega = unit_weights(control[0], unit[0], zeta_unit or zeta).weights
    lam = time_weights(control[0], control[1].mean(axis=1), 1e-6 * zeta).weights
    return float((unit[1] - omega @ control[1]).mean() - lam @ (unit[0] - omega @ control[0]))


@pytest.mark.parametrize("seed", range(10))
def test_period_effects_with_the_penalty_held_fixed(seed: int) -> None:
    """With it estimated they change the answer: the noise level includes them."""
    pre, post, own_pre, own_post = arrays(seed)
    shift = np.random.default_rng(seed + 1).normal(0, 30, 9)
    before = estimate_at(0.8, (pre, post), (own_pre, own_post))
    after = estimate_at(0.8, (pre + shift[:6], post + shift[6:]), (own_pre + shift[:6], own_post + shift[6:]))
    assert after == pytest.approx(before, rel=1e-9)
    assert noise_level(pre + shift[:6]) > 2 * noise_level(pre)


@pytest.mark.parametrize("seed", range(10))
def test_copies_of_all_donors_with_the_penalty_held_fixed(seed: int) -> None:
    """k copies share each weight, so that the same penalty on the sums is one of sqrt(k) zeta."""
    pre, post, own_pre, own_post = arrays(seed)
    before = estimate_at(0.8, (pre, post), (own_pre, own_post))
    copies = (np.repeat(pre, 3, axis=0), np.repeat(post, 3, axis=0))
    after = estimate_at(0.8, copies, (own_pre, own_post), zeta_unit=0.8 * np.sqrt(3))
    assert after == pytest.approx(before, rel=1e-9)


def test_a_penalty_without_end_gives_uniform_weights_and_difference_in_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_sdid_fit, "noise_level", lambda before: 1e13)
    df = frame(3, {2015: 3})
    y = df["y"].to_numpy().reshape(-1, YEARS)
    gap = y[:3].mean(axis=0) - y[3:].mean(axis=0)
    np.testing.assert_allclose(sdid(panel(df), "y").average().values, gap[5:].mean() - gap[:5].mean(), rtol=1e-8)


def test_four_means() -> None:
    """One donor and no choice of weights: the difference of four means, by hand."""
    df = pd.DataFrame(
        {"unit": list("aaabbb"), "year": [1, 2, 3] * 2, "start": [3] * 3 + [0] * 3, "y": [1.0, 3, 9, 2, 2, 5]}
    )
    found = sdid(panel(df), "y")
    assert found.average().values[0] == pytest.approx((9 - 5) - (2 - 2), rel=1e-14)
    np.testing.assert_allclose(found.values, [-1 - 0, 1 - 0, 4], rtol=1e-14)
    np.testing.assert_allclose(found.details.time_weights["weight"], 0.5, rtol=1e-14)


# ---- the optimum -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(5))
def test_weights_are_on_the_simplex_and_optimal(seed: int) -> None:
    df = frame(seed)
    found = sdid(panel(df), "y")
    for table in (found.details.weights, found.details.time_weights):
        assert (table["weight"] > 0).all()
        np.testing.assert_allclose(table.groupby("cohort")["weight"].sum(), 1, atol=1e-12)
    assert found.details.fit["kkt_gap"].max() <= 1e-10
    y, rng = df["y"].to_numpy().reshape(-1, YEARS), np.random.default_rng(seed)
    for row in found.details.fit.itertuples():
        n_pre, control = row.n_pre, y[-15:]
        mean = y[(df["start"].to_numpy()[::YEARS] == row.cohort)].mean(axis=0)
        assert row.noise == pytest.approx(np.diff(control[:, :n_pre]).std(ddof=1), rel=1e-12)
        assert row.zeta_unit == pytest.approx((row.n_treated * row.n_post) ** 0.25 * row.noise, rel=1e-12)
        after = control[:, n_pre:].mean(axis=1)
        for w in rng.dirichlet(np.full(15, 0.5), 300):
            assert row.objective_unit <= (mean - w @ control)[:n_pre].var() + row.zeta_unit**2 * w @ w
        for w in rng.dirichlet(np.full(n_pre, 0.5), 300):
            assert row.objective_time <= (after - control[:, :n_pre] @ w).var() + row.zeta_time**2 * w @ w


def test_time_weighted_rows_before_the_start_average_to_zero() -> None:
    found = sdid(panel(frame(4)), "y")
    weights = found.details.time_weights.set_index(["cohort", "period"])["weight"]
    pre = found.terms.assign(value=found.values).query("event_time < 0").set_index(["cohort", "period"])["value"]
    sums = (pre * weights.reindex(pre.index).fillna(0)).groupby("cohort").sum()
    np.testing.assert_allclose(sums, 0, atol=1e-12)


# ---- terms and details -----------------------------------------------------------------------------------------------
def test_terms_and_paths() -> None:
    df = frame(5)
    found = sdid(panel(df, weight="weight"), "y")
    assert found.labels == ["estimand", "outcome", "cohort", "period", "event_time"]
    assert len(found) == 2 * YEARS
    assert found.terms["event_time"].tolist() == [*range(-5, 5), *range(-7, 3)]
    assert set(found.terms["n_control"]) == {15}
    own = df.groupby("start")["weight"].sum() / YEARS
    np.testing.assert_allclose(found.where(cohort=2017).terms["weight"], own[2017])
    np.testing.assert_allclose(found.details.paths["observed"] - found.details.paths["synthetic"], found.values)
    late = df[df["start"] == 2017]
    mean = late.groupby("year").apply(lambda g: np.average(g["y"], weights=g["weight"]), include_groups=False)
    np.testing.assert_allclose(found.details.paths.query("cohort == 2017")["observed"], mean, rtol=1e-12)
    fit = found.details.fit.set_index("cohort").loc[2015]
    values = found.where(cohort=2015).values
    assert fit["pre_rmspe"] == pytest.approx(np.sqrt(np.mean(values[:5] ** 2)))
    assert fit["post_rmspe"] == pytest.approx(np.sqrt(np.mean(values[5:] ** 2)))
    time = found.details.time_weights.query("cohort == 2015")["weight"]
    assert fit["effective_periods"] == pytest.approx(1 / np.sum(time**2))


def test_json_and_quarters() -> None:
    df = frame(6)
    quarters = pd.PeriodIndex(pd.period_range("2010Q1", periods=YEARS, freq="Q"))
    df["quarter"] = quarters[df["year"] - FIRST]
    df["begin"] = [quarters[s - FIRST] if s else pd.NaT for s in df["start"]]
    found = sdid(panel(df, time="quarter", cohort="begin", never=None), "y")
    np.testing.assert_allclose(found.values, sdid(panel(df), "y").values, rtol=1e-12)
    assert found.terms["cohort"].iloc[0] == pd.Period("2011Q2")
    saved = json.loads(found.to_json())
    again = pe.Estimate.from_dict(saved)
    np.testing.assert_allclose(again.values, found.values)
    assert len(found.details.paths) == 2 * YEARS


def test_every_area_alone() -> None:
    """weights="unit": the same as a panel with that unit as the only treated one."""
    df = frame(7)
    found = sdid(panel(df), "y", weights="unit")
    assert found.labels == ["estimand", "outcome", "unit", "cohort", "period", "event_time"]
    assert found.uncertainty is None
    for unit in range(7):
        alone = sdid(panel(df[(df["unit"] == unit) | (df["start"] == 0)]), "y")
        np.testing.assert_allclose(found.where(unit=unit).values, alone.values, rtol=1e-10)
    assert set(found.details.fit["unit"]) == set(range(7))
    assert len(found.average(by="unit")) == 7


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_placebos_in_space(kind: Any) -> None:
    """donors="others": the same as rebuilding the panel with everybody else untreated."""
    df = frame(8, {2015: 4, 2017: 5}, n_control=0, kind=kind)
    roles = {"exposure": "people"} if kind == "poisson" else {}
    found = sdid(panel(df, **roles), "y", donors="others", family=kind)
    assert found.provenance.options["weights"] == "unit"
    assert set(found.terms["n_control"]) == {8}
    for unit in range(9):
        alone = df.assign(start=df["start"].where(df["unit"] == unit, 0))
        one = sdid(panel(alone, **roles), "y", family=kind)
        np.testing.assert_allclose(found.where(unit=unit).values, one.values, rtol=1e-9)
        np.testing.assert_allclose(found.where(unit=unit).terms["weight"], one.terms["weight"], rtol=1e-9)


def test_anticipation_leaves_periods_out_of_the_fit() -> None:
    df = frame(9, {2016: 3})
    found = sdid(panel(df), "y", anticipation=2)
    assert found.details.fit["n_pre"].tolist() == [4]
    assert found.details.time_weights["period"].max() < 2014
    moved = df.assign(y=df["y"] + 100.0 * ((df["start"] > 0) & (df["year"].between(2014, 2015))))
    after = sdid(panel(moved), "y", anticipation=2)
    np.testing.assert_allclose(after.values - found.values, [0] * 4 + [100] * 2 + [0] * 4, atol=1e-9)


def test_a_list_of_donors_and_those_left_out() -> None:
    df = frame(10)
    df["dirty"] = np.where(df["unit"] == 20, 2018.0, np.nan)
    found = sdid(panel(df, contaminated_from="dirty"), "y", donors=[10, 11, 12, 13])
    assert set(found.details.weights["donor"]) <= {10, 11, 12, 13}
    assert found.details.excluded.set_index("donor")["reason"][20].startswith("contaminated")
    narrow = df[df["unit"].isin([*range(7), 10, 11, 12, 13])]
    same(found, sdid(panel(narrow), "y"))
    with pytest.raises(DataError, match="PMG-DONORS"):
        sdid(panel(df, contaminated_from="dirty"), "y", donors=[20])


def test_a_weight_of_zero_is_no_observation() -> None:
    df = frame(11)
    df.loc[df["unit"].isin([1, 15]), "weight"] = 0.0
    found = sdid(panel(df, weight="weight"), "y")
    same(found, sdid(panel(df[~df["unit"].isin([1, 15])], weight="weight"), "y"))


def test_a_donor_weight_does_not_enter_omega() -> None:
    df = frame(12)
    heavier = df.assign(weight=df["weight"] * np.where(df["unit"] == 15, 9.0, 1.0))
    same(sdid(panel(heavier, weight="weight"), "y"), sdid(panel(df, weight="weight"), "y"))


def test_unequally_spaced_periods() -> None:
    """A first difference is between consecutive observed periods, and the result says so."""
    df = frame(13, {2016: 3})
    df = df[df["year"] != 2012]
    found = sdid(panel(df), "y")
    control = df[df["start"] == 0]["y"].to_numpy().reshape(15, 9)[:, :5]
    assert found.details.fit["noise"].iloc[0] == pytest.approx(np.diff(control).std(ddof=1))
    assert any("equally spaced" in note for note in found.provenance.notes)
    assert found.terms["event_time"].tolist() == [-6, -5, -3, -2, -1, 0, 1, 2, 3]
    assert not any("equally spaced" in note for note in sdid(panel(frame(13)), "y").provenance.notes)


# ---- shares, missing cells, rates ------------------------------------------------------------------------------------
def test_treated_share_of_the_first_period() -> None:
    df = frame(14, {2015: 3, 2017: 4})
    whole = sdid(panel(df, weight="weight"), "y")
    begin = df["start"] + np.select([df["unit"] == 0, df["unit"] == 1, df["unit"].between(2, 6)], [0.25, 0.5, 0.75], 0)
    found = sdid(panel(df.assign(start=begin), weight="weight", partial_period="share"), "y")
    own = df[df["year"] == 2010].set_index("unit")["weight"]
    share = np.average([0.75, 0.5, 0.25], weights=own[:3])
    first = found.where(cohort=2015, event_time=0)
    np.testing.assert_allclose(first.values, whole.where(cohort=2015, event_time=0).values / share, rtol=1e-10)
    np.testing.assert_allclose(first.terms["weight"], own[:3].sum() * share, rtol=1e-10)
    later = {"cohort": 2017, "event_time": [-1, 1, 2]}
    np.testing.assert_allclose(found.where(**later).values, whole.where(**later).values, rtol=1e-10)


def test_a_row_left_out_of_the_first_period() -> None:
    """Unit 0 starts inside 2014 and loses that row; the others of cohort 2015 keep theirs, but the fit stops before."""
    df = frame(15, {2015: 3})
    begin = df["start"].astype(float).mask(df["unit"] == 0, 2014.5)
    found = sdid(panel(df.assign(start=begin), partial_period="drop"), "y")
    assert found.terms["n_treated"].tolist() == [3, 3, 3, 3, 2, 3, 3, 3, 3, 3]
    assert found.details.fit["n_pre"].tolist() == [4]
    y = df["y"].to_numpy().reshape(-1, YEARS)
    omega = found.details.weights.set_index("donor")["weight"].reindex(range(3, 18)).fillna(0).to_numpy()
    lam = found.details.time_weights.set_index("period")["weight"].reindex(range(2010, 2014)).fillna(0).to_numpy()
    own, control = y - (y[:, :4] @ lam)[:, None], omega @ y[3:]
    want = own[:3].mean(axis=0) - control + lam @ control[:4]
    want[4] = own[1:3, 4].mean() - control[4] + lam @ control[:4]
    np.testing.assert_allclose(found.values, want, rtol=1e-10)


def test_missing_cells_of_treated_units_and_of_donors() -> None:
    df = frame(16)
    df.loc[(df["unit"] == 0) & (df["year"] == 2018), "y"] = np.nan
    df.loc[(df["unit"] == 20) & (df["year"] == 2018), "y"] = np.nan
    with pytest.raises(DataError, match="PMG-OUTCOME-MISSING"):
        sdid(panel(df), "y")
    found = sdid(panel(df, missing="pairwise"), "y")
    assert found.details.excluded["donor"].tolist() == [20]
    assert np.isfinite(found.values).all()
    assert found.where(cohort=2015, period=2018).terms["n_treated"].tolist() == [2]
    check_against_refits(df, found, missing="pairwise")
    complete = sdid(panel(df, missing="drop_unit"), "y")
    same(complete, sdid(panel(df[~df["unit"].isin([0, 20])]), "y"))


def test_rates_by_hand() -> None:
    """One donor: expected rate = own mean before (.02) + change of the donor (.01); 30 expected of 15 observed."""
    df = pd.DataFrame(
        {
            "unit": list("aaabbb"),
            "year": [1, 2, 3] * 2,
            "start": [3] * 3 + [0] * 3,
            "y": [10.0, 30, 15, 20, 20, 30],
            "people": 1000.0,
        }
    )
    found = sdid(panel(df, exposure="people"), "y", family="poisson").where(period=3)
    assert found.scale == "log"
    assert found.values[0] == pytest.approx(0.5)
    row = found.terms.iloc[0]
    assert (row["estimand"], row["n_events"], row["exposure"]) == ("rate_ratio", 15, 1000)
    assert row["weight"] == pytest.approx(30)


def test_rates_of_a_cohort_are_observed_over_expected_of_its_units() -> None:
    df = frame(17, kind="poisson")
    found = sdid(panel(df, exposure="people", weight="weight"), "y", family="poisson")
    rates = df.assign(rate=df["y"] / df["people"])
    units = df["unit"].max() + 1
    rate, people, count = (rates[c].to_numpy().reshape(units, YEARS) for c in ("rate", "people", "y"))
    weight = df["weight"].to_numpy()[::YEARS]
    for cohort, members in ((2015, range(3)), (2017, range(3, 7))):
        own = list(members)
        n_pre = cohort - FIRST
        mass = weight[own] * people[own, :n_pre].mean(axis=1)
        omega = unit_weights(
            rate[7:, :n_pre],
            np.average(rate[own, :n_pre], axis=0, weights=mass),
            (len(own) * (YEARS - n_pre)) ** 0.25 * noise_level(rate[7:, :n_pre]),
        ).weights
        lam = time_weights(rate[7:, :n_pre], rate[7:, n_pre:].mean(axis=1), 1e-6 * noise_level(rate[7:, :n_pre]))
        control = omega @ rate[7:]
        change = control - lam.weights @ control[:n_pre]
        expected = people[own] * (rate[own, :n_pre] @ lam.weights[:, None] + change)
        part = found.where(cohort=cohort)
        np.testing.assert_allclose(part.terms["weight"], weight[own] @ expected, rtol=1e-9)
        np.testing.assert_allclose(part.values, weight[own] @ count[own] / (weight[own] @ expected), rtol=1e-9)
    scaled = df.assign(y=3 * df["y"], people=3 * df["people"])
    same(sdid(panel(scaled, exposure="people", weight="weight"), "y", family="poisson"), found)


def test_an_expected_rate_that_is_not_positive() -> None:
    df = pd.DataFrame(
        {
            "unit": list("aaaabbbb"),
            "year": [1, 2, 3, 4] * 2,
            "start": [3] * 4 + [0] * 4,
            "y": [10.0, 10, 5, 5, 90, 90, 10, 90],
            "people": 1000.0,
        }
    )
    found = sdid(panel(df, exposure="people"), "y", family="poisson")
    lost = found.where(period=3)
    assert np.isnan(lost.values).all()
    assert lost.terms["status"].iloc[0] == "the expected rate is not positive: no rate ratio"
    assert lost.terms["weight"].iloc[0] == 0
    average = found.average()
    assert average.values[0] == pytest.approx(0.5)
    assert "leaves out 1 unidentified cell" in average.terms["status"].iloc[0]


# ---- the law of the error --------------------------------------------------------------------------------------------
def at_fixed_weights(study: Design, block: Block, keep: Array) -> tuple[Array, Array]:
    """Values and weights (T,) of a block without the units that are not kept, from the definition; NaN where empty."""
    own = [u for u in block.treated if keep[u]]
    omega = block.unit.weights * keep[block.donors]
    omega = omega / omega.sum()
    y, weight, pre = study.outcome, study.panel.unit_weight, block.window.pre
    control = omega @ y[block.donors]
    control = control - block.time.weights @ control[pre]
    level = y[own][:, pre] @ block.time.weights
    share = np.ones(y.shape) if study.panel.share is None else np.tile(study.panel.share[:, None], y.shape[1])
    share[:, study.panel.time_codes != block.cohort] = 1.0
    values, weights = np.full(y.shape[1], np.nan), np.zeros(y.shape[1])
    for t in np.flatnonzero(block.rows):
        seen = [i for i, u in enumerate(own) if not np.isnan(y[u, t])]
        if not seen:
            continue
        units = [own[i] for i in seen]
        w = weight[units]
        if study.exposure is None:
            effect = np.average(y[units, t] - level[seen], weights=w) - control[t]
            values[t] = effect / np.average(share[units, t], weights=w)
            weights[t] = w @ share[units, t]
        else:
            people = study.exposure[units, t]
            weights[t] = w @ (people * (level[seen] + control[t]))
            values[t] = w @ (y[units, t] * people) / weights[t]
    return values, weights


def check_against_refits(df: pd.DataFrame, found: Estimate[Any], family: Any = "gaussian", **roles: Any) -> None:
    """Covariance and weight influence of all terms against a loop over units, weights fixed (algorithm 3)."""
    study = design(panel(df, **roles), "y", family=family)
    blocks = [block for block in fit_blocks(study, "cohort") if isinstance(block, Block)]
    used = sorted({int(u) for block in blocks for u in (*block.treated, *block.donors)})
    values, weights = [], []
    everybody = np.ones(study.panel.n_units, dtype=bool)
    for unit in (None, *used):
        keep = everybody.copy()
        if unit is not None:
            keep[unit] = False
        parts = [at_fixed_weights(study, block, keep) for block in blocks]
        values.append(np.concatenate([part[0][block.rows] for part, block in zip(parts, blocks, strict=True)]))
        weights.append(np.concatenate([part[1][block.rows] for part, block in zip(parts, blocks, strict=True)]))
    np.testing.assert_allclose(found.values, values[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.terms["weight"], weights[0], rtol=1e-10)
    n = len(used)
    law: Any = found.uncertainty
    for replicates, whole, psi in ((values, values[0], law.psi), (weights, weights[0], law.weight_psi)):
        without = np.array(replicates[1:])
        without = np.where(np.isnan(without), whole, without)  # the only unit of a cohort
        deviations = np.sqrt(n * (n - 1)) * (without.mean(axis=0) - without)
        scale = np.abs(deviations).max()
        np.testing.assert_allclose(psi.dense(), deviations, rtol=1e-8, atol=1e-10 * scale)
    assert law.rows["unit"].tolist() == study.panel.units[used].tolist()
    deviations = np.array(values[1:])
    if np.isfinite(deviations).all():
        deviations = deviations - deviations.mean(axis=0)
        np.testing.assert_allclose(found.cov(), (n - 1) / n * deviations.T @ deviations, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_jackknife_of_a_staggered_weighted_panel(seed: int) -> None:
    df = frame(seed, {2014: 2, 2015: 3, 2017: 4})
    check_against_refits(df, sdid(panel(df, weight="weight"), "y"), weight="weight")


def test_jackknife_with_shares_and_a_cohort_of_one() -> None:
    df = frame(5, {2014: 1, 2015: 3, 2017: 4})
    begin = df["start"] + np.select([df["unit"] == 2, df["unit"] == 3, df["unit"] == 5], [0.25, 0.5, 0.75], 0)
    roles = {"weight": "weight", "partial_period": "share"}
    df["start"] = begin
    check_against_refits(df, sdid(panel(df, **roles), "y"), **roles)


def test_jackknife_of_rates() -> None:
    df = frame(6, {2014: 1, 2015: 3, 2017: 4}, kind="poisson")
    roles = {"weight": "weight", "exposure": "people"}
    found = sdid(panel(df, **roles), "y", family="poisson")
    check_against_refits(df, found, "poisson", **roles)


def test_the_law_of_an_average_is_its_jackknife_to_first_order() -> None:
    """Leaving a unit out also changes the weight of its cohort; with large cohorts the two agree closely."""
    df = frame(7, {2014: 30, 2015: 40, 2017: 50}, n_control=60)
    found = sdid(panel(df, weight="weight"), "y").average()
    study = design(panel(df, weight="weight"), "y")
    blocks = [block for block in fit_blocks(study, "cohort") if isinstance(block, Block)]
    replicates = []
    for unit in range(180):
        keep = np.arange(180) != unit
        parts = [at_fixed_weights(study, block, keep) for block in blocks]
        value = np.concatenate([part[0][block.window.post] for part, block in zip(parts, blocks, strict=True)])
        weight = np.concatenate([part[1][block.window.post] for part, block in zip(parts, blocks, strict=True)])
        replicates.append(np.average(value, weights=weight))
    se = np.sqrt(179 / 180 * np.square(np.array(replicates) - np.mean(replicates)).sum())
    np.testing.assert_allclose(found.se, se, rtol=0.03)


def test_guard_and_a_cohort_of_one() -> None:
    found = sdid(panel(frame(8, {2014: 1, 2015: 3})), "y")
    by_cohort = found.average(by="cohort").to_frame()
    assert np.isnan(by_cohort["std_error"][0])
    assert "effect_per_area" in by_cohort["status"][0]
    assert np.isfinite(by_cohort["std_error"][1])
    assert by_cohort["df"][1] == pytest.approx(2)
    overall = found.average().to_frame().iloc[0]
    assert overall["n_treated"] == 4
    assert np.isfinite(overall["conf_low"])
    assert "jackknife" in overall["method"]
    assert any("cohorts of one unit" in note and "2014" in note for note in found.provenance.notes)


def test_one_donor_has_an_estimate_and_no_standard_error() -> None:
    found = sdid(panel(frame(9, {2015: 3}, n_control=1)), "y").average().to_frame().iloc[0]
    assert np.isfinite(found["estimate"])
    assert np.isnan(found["std_error"])
    assert "one comparison unit" in found["status"]


def test_all_weight_on_one_of_two_donors() -> None:
    """R gives NA there too. The treated path lies beyond one donor, seen from the other."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=YEARS), rng.normal(size=YEARS)
    rows = [first + 50 * (first - second) + rng.normal(size=YEARS) for _ in range(3)] + [first, second]
    df = pd.DataFrame(
        {
            "unit": np.repeat(np.arange(5), YEARS),
            "year": np.tile(FIRST + np.arange(YEARS), 5),
            "start": np.repeat([2016, 2016, 2016, 0, 0], YEARS),
            "y": np.concatenate(rows),
        }
    )
    found = sdid(panel(df), "y")
    assert found.details.weights["donor"].tolist() == [3]
    assert np.isfinite(found.values).all()
    assert np.isnan(found.se).all()
    assert set(found.terms["status"]) == {"all weight on one comparison unit: no jackknife"}
    assert np.isnan(found.average().to_frame()["std_error"][0])


def test_stacks_with_another_estimator_on_the_same_units() -> None:
    p = panel(frame(10))
    both = pe.stack(sdid(p, "y").average(), pe.did.imputation(p, "y").average())
    assert both.contrast("group").se[0] < both.se.max()


def test_no_law_for_single_areas() -> None:
    with pytest.raises(pe.InferenceError, match="PMG-NO-LAW"):
        sdid(panel(frame(11)), "y", weights="unit").average(by="unit").cov()


# ---- short pre-periods -----------------------------------------------------------------------------------------------
def test_one_period_before_the_start_is_refused() -> None:
    with pytest.raises(DesignError) as caught:
        sdid(panel(frame(0, {2011: 3})), "y")
    assert caught.value.code == "PMG-SHORT-PRE"
    assert caught.value.where == (2011,)
    assert "did.imputation" in str(caught.value)


def test_a_short_cohort_beside_a_longer_one() -> None:
    df = frame(1, {2011: 2, 2015: 3})
    found = sdid(panel(df), "y")
    short = found.where(cohort=2011)
    assert np.isnan(short.values).all()
    assert short.terms["period"].tolist() == list(range(2011, 2020))
    assert short.terms["status"].str.contains("fewer than 2 periods").all()
    alone = sdid(panel(df[df["start"] != 2011]), "y")
    np.testing.assert_allclose(found.average().values, alone.average().values, rtol=1e-12)
    np.testing.assert_allclose(found.average().se, alone.average().se, rtol=1e-12)
    assert "leaves out 9 unidentified cells" in found.average().terms["status"].iloc[0]
    assert found.details.fit["n_pre"].tolist() == [1, 5]


def test_a_note_below_four_periods() -> None:
    notes = sdid(panel(frame(2, {2013: 2, 2015: 2})), "y").provenance.notes
    assert any("fewer than 4 periods" in note and "2013" in note and "2015" not in note for note in notes)


def test_two_periods_before_the_start_are_enough() -> None:
    found = sdid(panel(frame(3, {2012: 3})), "y")
    assert np.isfinite(found.average().to_frame()["conf_low"]).all()


# ---- bad input (research note "trust", table 2.3; "synth", 4.5) ------------------------------------------------------
def base() -> pd.DataFrame:
    """20 units x 14 years, one treated, effect 2."""
    rng = np.random.default_rng(42)
    unit, year = np.repeat(np.arange(20), 14), np.tile(2009 + np.arange(14), 20)
    y = rng.normal(10, 2, 20)[unit] + 0.3 * (year - 2009) + rng.normal(0, 0.15, 280)
    start = np.where(unit == 0, 2018, 0)
    return pd.DataFrame({"unit": unit, "year": year, "start": start, "y": y + 2.0 * ((unit == 0) & (year >= 2018))})


def att(df: pd.DataFrame, **roles: Any) -> float:
    return float(sdid(panel(df, **roles), "y").average().values[0])


def changed(unit: int, year: int, value: float) -> pd.DataFrame:
    df = base()
    return df.assign(y=df["y"].mask((df["unit"] == unit) & (df["year"] == year), value))


CLEAN = att(base())
BAD = {
    "S1 duplicate": ("PMG-DUPLICATE", lambda: pd.concat([base(), base().iloc[[30]]])),
    "S2 missing donor cell": ("PMG-OUTCOME-MISSING", lambda: changed(5, 2012, np.nan)),
    "S3 missing treated cell": ("PMG-OUTCOME-MISSING", lambda: changed(0, 2012, np.nan)),
    "S4 infinite donor cell": ("PMG-OUTCOME-INFINITE", lambda: changed(5, 2012, np.inf)),
    "S5 missing donor row": ("PMG-ROW-ABSENT", lambda: base().drop(index=75)),
    "S7 constant": ("PMG-OUTCOME-CONSTANT", lambda: base().assign(y=3.0)),
    "S8 all zero": ("PMG-OUTCOME-CONSTANT", lambda: base().assign(y=0.0)),
    "S11 years as text": ("PMG-TIME-TYPE", lambda: base().assign(year=base()["year"].astype(str))),
    "S17 one period before": ("PMG-SHORT-PRE", lambda: base().query("year >= 2017")),
    "treated in every period": ("PMG-NO-TREATED", lambda: base().query("year >= 2018")),
    "no donors": ("PMG-NO-CONTROL", lambda: base().query("unit == 0")),
}


@pytest.mark.parametrize(("code", "make"), list(BAD.values()), ids=list(BAD))
def test_bad_input_is_named(code: str, make: Any) -> None:
    with pytest.raises((DataError, DesignError)) as caught:
        att(make())
    assert caught.value.code == code
    assert caught.value.problems[0].fix


def test_missing_donor_cells_cost_the_donor_and_nothing_else() -> None:
    without = att(base().query("unit != 5"))
    for df in (changed(5, 2012, np.nan), base().drop(index=5 * 14 + 3)):
        found = sdid(panel(df, missing="pairwise"), "y")
        assert found.details.excluded["donor"].tolist() == [5]
        assert float(found.average().values[0]) == pytest.approx(without, rel=1e-12)


HARMLESS = {
    "S12 shuffled": (lambda: base().sample(frac=1, random_state=3), 1.0),
    "S13 times 1e9": (lambda: base().assign(y=1e9 * base()["y"]), 1e9),
    "S14 times 1e-9": (lambda: base().assign(y=1e-9 * base()["y"]), 1e-9),
    "S19 duplicate index": (lambda: base().set_index(np.zeros(280, dtype=int)), 1.0),
    "S6 far outside the hull": (lambda: base().assign(y=base()["y"] + 1000.0 * (base()["unit"] == 0)), 1.0),
}


@pytest.mark.parametrize(("make", "factor"), list(HARMLESS.values()), ids=list(HARMLESS))
def test_harmless_input(make: Any, factor: float) -> None:
    assert att(make()) == pytest.approx(factor * CLEAN, rel=1e-9)


def test_s0_clean_and_s15_offset() -> None:
    assert pytest.approx(2.0, abs=0.2) == CLEAN
    # an offset of 1e9 leaves 1e-7 of the outcome itself, hence the tolerance
    assert att(base().assign(y=base()["y"] + 1e9)) == pytest.approx(CLEAN, abs=1e-6)


def test_s9_one_donor() -> None:
    row = sdid(panel(base().query("unit <= 1")), "y").average().to_frame().iloc[0]
    assert row["estimate"] == pytest.approx(2.0, abs=0.3)
    assert np.isnan([row["std_error"], row["p_value"], row["conf_low"]]).all()


def test_s10_two_identical_donors_share_their_weight() -> None:
    df = base()
    twin = df[df["unit"] == 3].assign(unit=33)
    weights = sdid(panel(pd.concat([df, twin])), "y").details.weights.set_index("donor")["weight"]
    assert weights[3] == pytest.approx(weights[33], rel=1e-9)


def test_s16_more_donors_than_periods_and_s18_a_gap_year() -> None:
    rng = np.random.default_rng(1)
    copies = [base().query("unit > 0").assign(unit=lambda d, k=k: d["unit"] + 20 * k) for k in (1, 2)]
    many = pd.concat([base(), *(c.assign(y=c["y"] + rng.normal(0, 0.15, len(c))) for c in copies)])
    assert att(many) == pytest.approx(2.0, abs=0.2)
    gap = sdid(panel(base().query("year != 2013")), "y")
    assert float(gap.average().values[0]) == pytest.approx(2.0, abs=0.2)
    assert any("equally spaced" in note for note in gap.provenance.notes)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"weights": "area"}, "PMG-OPTION"),
        ({"weights": ["unit"]}, "PMG-OPTION"),
        ({"donors": "all"}, "PMG-OPTION"),
        ({"donors": ["nobody"]}, "PMG-DONORS"),
        ({"family": "binomial"}, "PMG-OPTION"),
        ({"anticipation": -1}, "PMG-OPTION"),
        ({"anticipation": 1.5}, "PMG-OPTION"),
        ({"family": "poisson"}, "PMG-NO-EXPOSURE"),
    ],
)
def test_options(options: dict[str, Any], code: str) -> None:
    with pytest.raises((DataError, DesignError)) as caught:
        sdid(panel(base()), "y", **options)
    assert caught.value.code == code


def test_nothing_is_changed() -> None:
    df = base()
    before = df.copy(deep=True)
    first, second = sdid(panel(df), "y"), sdid(panel(df), "y")
    pd.testing.assert_frame_equal(df, before)
    assert first.to_json() == second.to_json()


def test_given_weights_are_what_the_formula_uses() -> None:
    """Uniform weights are difference-in-differences, whatever the outcome."""
    df = frame(12, {2015: 3})
    study = design(panel(df), "y")
    (block,) = fit_blocks(study, "cohort")
    assert isinstance(block, Block)
    unit = replace(block.unit, weights=np.full(15, 1 / 15))
    time = replace(block.time, weights=np.full(5, 0.2))
    uniform = Block.of(block.cohort, block.treated, block.donors, block.mass, block.window, unit, time, (1.0, 1.0, 1.0))
    y = df["y"].to_numpy().reshape(-1, YEARS)
    gap = y[:3].mean(axis=0) - y[3:].mean(axis=0)
    np.testing.assert_allclose(terms_of(study, uniform).value, gap - gap[:5].mean(), rtol=1e-10, atol=1e-12)
