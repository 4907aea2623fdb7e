"""The simulator: what it promises about the truth, the published levels, and the shape of a register."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pmg_eval import did
from pmg_eval.errors import DataError
from pmg_eval.panel import Spells
from pmg_eval.recidivism import Simulation, simulate
from pmg_eval.recidivism._simulate_areas import named_areas
from pmg_eval.recidivism._simulate_codes import OFFENCES
from pmg_eval.recidivism._simulate_events import Events, _at_liberty
from pmg_eval.recidivism._simulate_options import Options
from pmg_eval.recidivism._simulate_programme import effect_on_log_rate, neighbor_pairs, realized_with

TABLES = ("areas", "neighbors", "area_year", "index_case", "event", "risk_interval", "intervention", "extract",
          "truth_area", "truth_person")  # fmt: skip
AREA_TABLES = ("areas", "neighbors", "area_year", "truth_area")
AS_OF = pd.Timestamp("2026-01-01")


@pytest.fixture(scope="module")
def default() -> Simulation:
    return simulate()


@pytest.fixture(scope="module")
def large() -> Simulation:
    return simulate(n_persons=250_000, rng=7)


def areas_only(**options: Any) -> Simulation:
    return simulate(n_persons=1, **options)


def assert_same(one: Simulation, other: Simulation, tables: tuple[str, ...] = TABLES) -> None:
    for name in tables:
        assert getattr(one, name).equals(getattr(other, name)), name


def z_of_share(share: float, expected: float, n: int) -> float:
    return (share - expected) / np.sqrt(expected * (1 - expected) / n)


# --- reproducible ----------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_simulation_whatever_its_form() -> None:
    first = simulate(n_persons=3_000, rng=5)
    assert_same(first, simulate(n_persons=3_000, rng=5))
    assert_same(first, simulate(n_persons=3_000, rng=np.random.default_rng(5)))
    assert_same(first, simulate(n_persons=np.int64(3_000), rng=np.int64(5), as_of=dt.date(2026, 1, 1)))
    other = simulate(n_persons=3_000, rng=6)
    assert not first.area_year["suspects"].equals(other.area_year["suspects"])
    assert not first.index_case["index_date"].equals(other.index_case["index_date"])


def test_the_number_of_persons_does_not_change_the_areas() -> None:
    assert_same(simulate(n_persons=1), simulate(n_persons=4_000), AREA_TABLES)


def test_options_of_the_programme_do_not_change_the_world_without_it() -> None:
    base = simulate(n_persons=20_000, effect=0.0)
    options: list[dict[str, Any]] = [
        {"effect": -0.3},
        {"effect": 0.3, "phase_in": 0},
        {"effect": -0.2, "spillover": 0.05, "anticipation": True, "heterogeneity": 0.5},
    ]
    for option in options:
        other = simulate(n_persons=20_000, **option)
        columns = ["rate_per_1000_without", "expected_without", "suspects_without"]
        assert base.truth_area[columns].equals(other.truth_area[columns])
        assert base.index_case.equals(other.index_case)
        columns = ["first_day_without", "recidivism_730_without", "offended_730_without"]
        assert base.truth_person[columns].equals(other.truth_person[columns])
        assert not base.truth_area["suspects_with"].equals(other.truth_area["suspects_with"])
        assert not base.truth_person["first_day_with"].equals(other.truth_person["first_day_with"])


# --- the truth -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option", [{}, {"heterogeneity": 1.0, "anticipation": True}, {"selection": False, "phase_in": 0}]
)
def test_without_an_effect_both_worlds_are_the_same(option: dict[str, Any]) -> None:
    placebo = simulate(n_persons=20_000, effect=0.0, rng=3, **option)
    truth = placebo.truth_area
    assert (truth["log_effect"] == 0).all()
    assert (truth["expected_with"] == truth["expected_without"]).all()
    assert (truth["suspects_with"] == truth["suspects_without"]).all()
    for by in ("unit", "cohort", "event_time"):
        effects = placebo.truth_effects(by=by)
        assert (effects["ratio"] == 1).all()
        assert (effects["difference"] == 0).all()
    person = placebo.truth_person
    pd.testing.assert_series_equal(person["first_day_with"], person["first_day_without"], check_names=False)
    assert (placebo.truth_recidivism()["difference"] == 0).all()


def programme_table() -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "plan_date": ["2022-01-01", "2023-04-01", None, None],
            "treated_from": ["2023-01-01", "2023-07-01", None, None],
            "contaminated_from": [None, None, "2024-04-04", None],
        }
    )
    return table.apply(pd.to_datetime)


def options_of(**given: Any) -> Options:
    base: dict[str, Any] = {
        "n_persons": 1, "n_areas": 60, "years": (2022, 2024), "effect": -0.1, "phase_in": 4, "spillover": 0.0,
        "anticipation": False, "selection": True, "registration_shock": True, "heterogeneity": 0.0, "as_of": 20_000,
    }  # fmt: skip
    return Options(**{**base, **given})


def change(**given: Any) -> np.ndarray:
    pairs = np.array([[0, 2], [2, 0], [0, 3], [3, 0]])
    found = effect_on_log_rate(programme_table(), pairs, options_of(**given), 2024, np.random.default_rng(0))
    return np.asarray(found / -0.1)


def test_the_effect_rises_in_the_middle_of_each_quarter() -> None:
    full = change()
    rise = [0.125, 0.375, 0.625, 0.875]
    assert full[0] == pytest.approx([0, 0, 0, 0, *rise, 1, 1, 1, 1])
    assert full[1] == pytest.approx([0] * 6 + [*rise, 1, 1])
    assert full[2] == pytest.approx([0] * 9 + [0.0625, 0.1875, 0.3125])  # half strength, from the second quarter on
    assert full[3] == pytest.approx([0.0] * 12)


def test_other_shapes_of_the_effect() -> None:
    assert change(phase_in=0)[0] == pytest.approx([0] * 4 + [1] * 8)
    assert change(phase_in=2)[0] == pytest.approx([0] * 4 + [0.25, 0.75] + [1] * 6)
    early = change(anticipation=True)
    assert early[0] == pytest.approx([0.3] * 4 + [0.3, 0.375, 0.625, 0.875] + [1] * 4)
    assert early[1] == pytest.approx([0] * 5 + [0.3, 0.3, 0.375, 0.625, 0.875, 1, 1])
    next_door = change(phase_in=0, spillover=0.02)
    assert next_door[3] == pytest.approx([0] * 4 + [-0.2] * 8)
    assert next_door[2] == pytest.approx([0] * 4 + [-0.2] * 5 + [0.5] * 3)  # until a programme of its own starts
    assert next_door[0] == pytest.approx([0] * 4 + [1] * 8)


def by_year(simulation: Simulation, code: str) -> pd.Series:
    truth = simulation.truth_area
    return truth[truth["area_code"] == code].set_index("year")["log_effect"]


def test_years_carry_the_mean_of_their_quarters() -> None:
    # A tiny effect is linear, so yearly effects are the mean phase times the same factor.
    tiny = areas_only(effect=-1e-6)
    for code, shares in {
        "GM0363": {2022: 0.0, 2023: 0.5, 2024: 1.0},
        "GM0503": {2022: 0.0, 2023: 0.125, 2024: (0.625 + 0.875 + 2) / 4},
        "GM0153": {2023: 0.0, 2024: 0.5},
    }.items():
        effect = by_year(tiny, code)
        for year, share in shares.items():
            assert effect[year] / effect[2025] == pytest.approx(share, abs=1e-3), (code, year)
    late = by_year(tiny, "GM0193")  # Zwolle, added in April 2024
    assert late[2023] == 0
    assert late[2024] / late[2025] == pytest.approx((0.125 + 0.375 + 0.625) / (0.875 + 3), abs=1e-3)
    assert by_year(tiny, "SIM0100").eq(0).all()


def test_the_size_of_the_effect_is_the_mix_of_the_kinds() -> None:
    effect = by_year(areas_only(effect=-0.2, phase_in=0), "GM0599")[2025]
    # 94 % of cases are not very serious; 66 % (12-17) and 40 % (18-24) of these are first offenders
    young = np.log(0.06 + 0.94 * (0.66 * np.exp(-0.26) + 0.34 * np.exp(-0.17)))
    older = np.log(0.06 + 0.94 * (0.40 * np.exp(-0.26) + 0.60 * np.exp(-0.17)))
    assert young < effect < older
    assert effect == pytest.approx(-0.2, abs=0.015)


@pytest.mark.parametrize(("effect", "sign"), [(-0.3, -1), (0.3, 1)])
def test_realized_counts_are_draws_around_the_expected_ones(effect: float, sign: int) -> None:
    truth = areas_only(effect=effect, rng=11).truth_area
    for world in ("without", "with"):
        observed, expected = truth[f"suspects_{world}"], truth[f"expected_{world}"]
        treated = truth["log_effect"] != 0
        for rows in (treated, ~treated):
            gap = (observed - expected)[rows]
            assert abs(gap.sum() / np.sqrt(expected[rows].sum())) < 3
            dispersion = (gap**2 / expected[rows]).mean()
            assert abs(dispersion - 1) < 3 * np.sqrt(2.2 / rows.sum())
    assert (sign * (truth["suspects_with"] - truth["suspects_without"]) >= 0).all()


def test_prevented_and_added_suspects_have_a_poisson_law() -> None:
    rng = np.random.default_rng(2)
    n, mean = 40_000, 3.0
    without = rng.poisson(mean, n)
    for factor in (0.6, 1.5):
        counts = realized_with(without, np.full(n, mean), np.full(n, mean * factor), rng)
        assert abs(counts.mean() - mean * factor) < 4 * np.sqrt(mean * factor / n)
        assert counts.var() == pytest.approx(mean * factor, rel=0.04)
    same = realized_with(without, np.full(n, mean), np.full(n, mean), rng)
    assert (same == without).all()


def test_the_panel_shows_the_world_with_the_programme(default: Simulation) -> None:
    assert (default.area_year["suspects"] == default.truth_area["suspects_with"]).all()
    assert (default.area_year["area_code"] == default.truth_area["area_code"]).all()
    assert (default.area_year["year"] == default.truth_area["year"]).all()


def test_truth_effects_are_sums_over_treated_years(default: Simulation) -> None:
    truth = default.truth_area.set_index(["area_code", "year"])
    units = default.truth_effects().set_index("unit")
    assert len(units) == 28
    delft = truth.loc["GM0503"].loc[[2023, 2024, 2025]]
    assert units.loc["GM0503", "cohort"] == 2023
    assert units.loc["GM0503", "ratio"] == pytest.approx(delft["expected_with"].sum() / delft["expected_without"].sum())
    assert units.loc["GM0503", "difference"] == pytest.approx(
        (delft["expected_with"] - delft["expected_without"]).mean()
    )
    dropped = default.truth_effects(partial_period="drop").set_index("unit")
    delft = delft.loc[[2024, 2025]]
    assert dropped.loc["GM0503", "cohort"] == 2024
    assert dropped.loc["GM0503", "ratio"] == pytest.approx(
        delft["expected_with"].sum() / delft["expected_without"].sum()
    )
    assert units["n_area_years"].iloc[:-1].sum() == units.loc["overall", "n_area_years"] == 15 * 3 + 4 * 3 + 8 * 2
    assert dropped.loc["overall", "n_area_years"] == 15 * 3 + 4 * 2 + 8 * 2
    overall = units.loc["overall"]
    assert overall["ratio"] == pytest.approx(
        units["expected_with"].iloc[:-1].sum() / units["expected_without"].iloc[:-1].sum()
    )
    assert default.truth_effects(by="cohort")["cohort"].tolist() == [2023, 2024, "overall"]
    assert default.truth_effects(by="event_time")["event_time"].tolist() == [0, 1, 2, "overall"]
    assert default.truth_effects(by="cohort")["n_area_years"].tolist() == [57, 16, 73]


def test_truth_in_the_shape_of_an_evaluation(default: Simulation) -> None:
    table = default.truth_table()
    assert list(table) == ["unit", "cohort", "truth"]
    assert table["unit"].notna().sum() == 27
    assert table["cohort"].iloc[27:29].tolist() == [2023, 2024]
    assert pd.isna(table["cohort"].iloc[29])
    assert table["truth"].iloc[29] == default.truth_effects()["ratio"].iloc[-1]
    gaussian = default.truth_table(scale="difference")
    assert gaussian["truth"].iloc[29] == default.truth_effects()["difference"].iloc[-1]


def test_heterogeneity_is_relative_and_off_by_default() -> None:
    def spread(heterogeneity: float) -> float:
        runs = [areas_only(effect=-0.1, phase_in=0, heterogeneity=heterogeneity, rng=seed) for seed in range(10)]
        logs = [np.log(run.truth_effects(partial_period="drop")["ratio"].iloc[:-1]) for run in runs]
        return float(np.concatenate(logs).std() / 0.1)

    assert spread(0.0) < 0.05  # only the mix of ages differs
    assert spread(0.5) == pytest.approx(0.5, abs=0.06)


def test_spillover_reaches_only_neighbors_without_a_programme() -> None:
    run = areas_only(effect=-0.1, spillover=0.02, phase_in=0)
    last = run.truth_area[run.truth_area["year"] == 2025].set_index("area_code")["log_effect"]
    treated = set(run.areas.loc[run.areas["wave"] > 0, "area_code"])
    contaminated = set(run.areas.loc[run.areas["contaminated_from"].notna(), "area_code"])
    near = set(run.neighbors.loc[run.neighbors["area_code"].isin(treated), "neighbor_code"])
    plain = run.areas.loc[~run.areas["area_code"].isin(treated | contaminated), "area_code"]
    assert len(near & set(plain)) > 50
    assert (last[[code for code in plain if code in near]] > 0.01).all()
    assert (last[[code for code in plain if code not in near]] == 0).all()
    assert (last[list(treated)] < -0.09).all()


# --- selection -------------------------------------------------------------------------------------------------------


def naive(selection: bool, seed: int) -> float:
    """Log change of the 27 from 2017-2021 to 2023-2025, minus that of the municipalities without any programme."""
    run = areas_only(effect=0.0, selection=selection, rng=seed)
    rows = run.area_year[np.isinf(run.area_year["contaminated_from"])]
    period = np.select([rows["year"].between(2017, 2021), rows["year"] >= 2023], ["before", "after"], "")
    sums = rows.groupby([rows["wave"] > 0, period])[["suspects", "person_years"]].sum()
    rate = np.log(sums["suspects"] / sums["person_years"]).unstack()
    change = rate["after"] - rate["before"]
    return float(change[True] - change[False])


def test_choosing_the_worst_looks_like_an_effect_where_there_is_none() -> None:
    chosen = np.array([naive(True, seed) for seed in range(60)])
    assert chosen.mean() / (chosen.std(ddof=1) / np.sqrt(60)) < -3
    assert -0.03 < chosen.mean() < -0.005
    drawn = np.array([naive(False, seed) for seed in range(40)])
    assert abs(drawn.mean() / (drawn.std(ddof=1) / np.sqrt(40))) < 3


def test_the_27_have_the_highest_rates_of_the_large_municipalities(default: Simulation) -> None:
    areas = default.areas
    large = areas.nlargest(75, "population")
    assert (areas["wave"] > 0).sum() == 27
    # Population here is at the end of the panel, selection as well: all chosen ones are large.
    chosen, others = large[large["wave"] > 0], large[large["wave"] == 0]
    assert len(chosen) == 27
    assert chosen["selection_rate_per_1000"].min() > others["selection_rate_per_1000"].max() * 0.98
    added = others[others["contaminated_from"].notna()]
    rest = others[others["contaminated_from"].isna()]
    assert len(added) == 20
    assert added["selection_rate_per_1000"].min() > rest["selection_rate_per_1000"].max()
    free = areas_only(selection=False).areas
    assert free.loc[free["wave"] > 0, "rate_level"].mean() < 1.2 < areas.loc[areas["wave"] > 0, "rate_level"].mean()


def test_names_waves_and_dates() -> None:
    named = named_areas()
    assert named["wave"].value_counts().to_dict() == {0: 20, 1: 15, 2: 4, 3: 8}
    start = named.set_index("name")["treated_from"]
    assert start["Amsterdam"] == pd.Timestamp("2023-01-01")
    assert start["Delft"] == pd.Timestamp("2023-07-01")
    assert start["Venlo"] == pd.Timestamp("2024-01-01")
    assert named["area_code"].is_unique
    assert named.loc[named["wave"] > 0, "population_2024"].sum() == pytest.approx(5.7e6, rel=0.02)
    assert named["contaminated_from"].notna().sum() == 20


# --- levels ----------------------------------------------------------------------------------------------------------


def national(run: Simulation, age: str, year: int) -> float:
    rows = run.area_year[run.area_year["year"] == year]
    return float(1000 * rows[f"suspects_{age}"].sum() / rows[f"person_years_{age}"].sum())


@pytest.mark.parametrize(
    ("age", "year", "published"),
    [("12_17", 2012, 25.0), ("12_17", 2021, 13.0), ("12_17", 2022, 14.4), ("18_24", 2021, 19.9), ("18_24", 2022, 19.4)],
)
def test_suspects_per_1000_are_as_published(age: str, year: int, published: float) -> None:
    runs = [national(areas_only(effect=0.0, rng=seed), age, year) for seed in range(8)]
    assert np.mean(runs) == pytest.approx(published, rel=0.02)
    assert np.ptp(runs) < 0.15 * published  # year noise of 340 municipalities


def test_sizes_are_those_of_the_country(default: Simulation) -> None:
    assert default.areas["population"].sum() == pytest.approx(17.8e6, rel=0.03)
    last = default.area_year[default.area_year["year"] == 2022]
    assert last["population_12_17"].sum() == pytest.approx(1.215e6, rel=0.03)  # 17,500 suspects / 14.4 per 1,000
    assert last["population_18_24"].sum() == pytest.approx(1.881e6, rel=0.03)  # 36,490 / 19.4
    assert last["suspects_12_17"].median() == pytest.approx(33, abs=8)
    assert 25_000 < default.areas["population"].median() < 40_000
    total = default.area_year[["suspects", "first_suspects", "very_serious_suspects"]].sum()
    assert total["very_serious_suspects"] / total["suspects"] == pytest.approx(0.06, abs=0.002)
    assert 0.40 < total["first_suspects"] / total["suspects"] < 0.66


def test_areas_differ_and_years_wobble_as_assumed() -> None:
    levels, residuals, before = [], [], []
    for seed in range(5):
        run = areas_only(effect=0.0, registration_shock=False, rng=seed)
        levels.append(run.areas["rate_level"])
        log_rate = np.log(run.truth_area["rate_per_1000_without"].to_numpy().reshape(340, 14))
        two_way = log_rate - log_rate.mean(1, keepdims=True) - log_rate.mean(0) + log_rate.mean()
        residuals.append(two_way[:, 1:].ravel())
        before.append(two_way[:, :-1].ravel())
    level = np.concatenate(levels)
    assert level.std() / level.mean() == pytest.approx(0.4, abs=0.05)
    # An AR(1) with sd 0.10 and rho 0.5 less its own mean over 14 years: variance 0.01 (1 - 0.187), lag-1 about 0.40
    assert np.concatenate(residuals).std() == pytest.approx(0.0902, abs=0.004)
    assert np.corrcoef(np.concatenate(residuals), np.concatenate(before))[0, 1] == pytest.approx(0.40, abs=0.04)


def test_the_covid_years_are_registered_less() -> None:
    # 2020 and 2021 are selection years: with selection the shock would change which areas are chosen
    on, off = (areas_only(effect=0.0, selection=False, registration_shock=shock) for shock in (True, False))
    ratio = on.truth_area["expected_without"] / off.truth_area["expected_without"]
    shocked = on.truth_area["year"].isin([2020, 2021])
    assert (ratio[~shocked] == 1).all()
    assert 0.93 < ratio[shocked].mean() < 0.97
    fewer = simulate(n_persons=50_000, effect=0.0).event
    more = simulate(n_persons=50_000, effect=0.0, registration_shock=False).event
    count = [table["offence_date"].dt.year.isin([2020, 2021]).sum() for table in (fewer, more)]
    assert 0.93 < count[0] / count[1] < 0.99


def test_two_year_recidivism_is_as_published(large: Simulation) -> None:
    def share(rows: pd.Series) -> float:
        return float(truth.loc[rows, "recidivism_730_without"].mean())

    truth, index = large.truth_person, large.index_case
    minor = truth["age_band"] == "12-17"
    assert 0.33 < share(minor) < 0.38
    assert 0.25 < share(~minor) < 0.28
    assert share(minor & (truth["cohort"] == 2012)) == pytest.approx(0.335, abs=0.02)  # 33 or 34 %
    assert share(minor & truth["cohort"].between(2015, 2019)) == pytest.approx(0.37, abs=0.015)  # 38 %
    assert 0.52 < share(index["index_event"] == "jji_release") < 0.65  # 55 to 63 %
    assert 0.44 < share(index["index_event"] == "prison_release") < 0.53  # 47 to 49 %
    assert share(truth["sex"] == "female") < 0.75 * share(truth["sex"] == "male")


def test_who_the_persons_are(large: Simulation) -> None:
    index = large.index_case
    minor = index["age_band"] == "12-17"
    n = int(minor.sum())
    assert abs(z_of_share((index["n_prior_cases"][minor] == 0).mean(), 0.66, n)) < 4
    assert abs(z_of_share((index["sex"][minor] == "female").mean(), 0.24, n)) < 4
    assert index["law"][minor].eq("juvenile").all()
    assert index["law"][~minor].ne("juvenile").all()
    assert 0.2 < minor.mean() < 0.35
    treated = large.areas.loc[large.areas["wave"] > 0, "area_code"]
    expected = large.truth_area.groupby("area_code")["expected_without"].sum()
    share = expected[treated].sum() / expected.sum()
    assert abs(z_of_share(index["area_code"].isin(treated).mean(), share, len(index))) < 4


def test_offence_classes_sum_to_one() -> None:
    assert sum(kind.share for kind in OFFENCES) == pytest.approx(1)
    assert sum(kind.share for kind in OFFENCES if kind.max_months >= 96) == pytest.approx(0.06)


def test_the_hazard_falls_as_a_weibull_with_shape_075() -> None:
    run = simulate(n_persons=150_000, effect=0.0, registration_shock=False, rng=4)
    days = days_since_index(run)
    early = run.index_case.set_index("person_id")["cohort"].loc[run.event["person_id"]].to_numpy() <= 2015
    counted = early & (run.event["max_penalty_months"] < 96).to_numpy()  # custody and exits touch these least
    first, both = (days[counted] <= 365).sum(), (days[counted] <= 730).sum()
    assert first / both == pytest.approx(0.5**0.75, abs=0.012)


# --- persons and the programme ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [-0.4, 0.4])
def test_cases_of_persons_follow_the_effect(effect: float) -> None:
    years = pd.Timestamp("2024-01-01"), pd.Timestamp("2025-01-01")
    counts = {}
    for size in (0.0, effect):
        run = simulate(n_persons=250_000, effect=size, phase_in=0, as_of="2030-01-01", rng=9)
        index = run.index_case.set_index("person_id").loc[run.event["person_id"]].reset_index()
        when = run.event["offence_date"]
        age = (when - index["birth_date"]).dt.days / 365.25
        there = index["wave"].isin([1, 2]) & when.between(*years, inclusive="left") & (age < 28)
        grave = run.event["max_penalty_months"] >= 96
        first = index["n_prior_cases"] == 0
        counts[size] = [int((there & rows).sum()) for rows in (~grave & first, ~grave & ~first, grave)] + [
            int((~there & (when < years[0])).sum())
        ]
    for kind, factor in enumerate((1.3, 0.85, 0.0)):
        before, after = counts[0.0][kind], counts[effect][kind]
        ratio = np.exp(factor * effect)
        # thinned (or added) on common random numbers: the noise is that of the cases that differ
        noise = np.sqrt(abs(1 - ratio) * max(ratio, 1.0) / before) if factor else 0.03
        assert after / before == pytest.approx(ratio, abs=4 * noise + 0.01), kind
    assert counts[0.0][3] == pytest.approx(counts[effect][3], rel=0.01)


def test_the_programme_acts_on_persons_of_treated_areas_only(large: Simulation) -> None:
    person = large.truth_person
    differs = person["first_day_with"].fillna(-1) != person["first_day_without"].fillna(-1)
    assert differs.any()
    marked = large.areas[large.areas["treated_from"].notna() | large.areas["contaminated_from"].notna()]
    assert person.loc[differs, "area_code"].isin(marked["area_code"]).all()
    assert (person.loc[differs, "first_day_with"].fillna(np.inf) >= person.loc[differs, "first_day_without"]).all()
    recent = large.truth_recidivism(by=["wave", "cohort"]).set_index(["wave", "cohort"])
    assert recent.loc[(1, 2023), "difference"] < 0
    assert recent.loc[(1, 2012), "difference"] == 0
    assert recent.loc[(0, 2012), "difference"] == 0


def test_nobody_offends_in_custody_by_hand() -> None:
    zeros = np.zeros(7, dtype=np.int64)
    day = np.array([10, 12, 16, 20, 5, 6, 30])
    custody = np.array([5, 100, 0, 0, 0, 3, 0])
    person = np.array([0, 0, 0, 0, 1, 1, 1])
    events = Events(person, day, zeros, zeros, custody, day, day, zeros.astype(bool), zeros.astype(float),
                    zeros.astype(bool))  # fmt: skip
    # locked up from day 11 for five days: day 12 does not happen (nor its own custody), day 16 is the first day free
    everything = np.ones(7, dtype=bool)
    assert _at_liberty(events, everything).tolist() == [True, False, True, True, True, True, True]
    # where the first case is prevented the second happens, and the third and fourth do not
    prevented = everything.copy()
    prevented[0] = False
    assert _at_liberty(events, prevented).tolist() == [False, True, False, False, True, True, True]


# --- a register ------------------------------------------------------------------------------------------------------


def days_since_index(run: Simulation) -> np.ndarray:
    start = run.index_case.set_index("person_id")["index_date"].loc[run.event["person_id"]].to_numpy()
    return np.asarray((run.event["offence_date"].to_numpy() - start) / np.timedelta64(1, "D"))


def test_columns_and_types(default: Simulation) -> None:
    wanted = {
        "index_case": {
            "person_id": "i", "case_id": "i", "index_date": "M", "index_event": "c", "offence_date": "M",
            "registration_date": "M", "offence_code": "c", "scm_version": "c", "max_penalty_months": "i",
            "disposal": "c", "sex": "c", "birth_date": "M", "age_band": "c", "law": "c", "n_prior_cases": "i",
            "age_first_contact": "f", "area_code": "c", "area_ref_date": "M", "wave": "i", "cohort": "i",
        },
        "event": {
            "person_id": "i", "case_id": "i", "offence_date": "M", "registration_date": "M", "disposal_date": "M",
            "offence_code": "c", "scm_version": "c", "max_penalty_months": "i", "disposal": "c", "counts_as": "c",
            "source": "c",
        },
        "risk_interval": {"person_id": "i", "start": "M", "end": "M", "state": "c"},
        "area_year": {
            "area_code": "s", "year": "i", "population": "i", "population_12_17": "i", "population_18_24": "i",
            "person_years_12_17": "f", "person_years_18_24": "f", "person_years": "f", "suspects_12_17": "i",
            "suspects_18_24": "i", "suspects": "i", "first_suspects": "i", "very_serious_suspects": "i", "wave": "i",
            "treated_from": "M", "cohort": "f", "contaminated_from": "f", "border_changed": "b",
        },
        "intervention": {
            "person_id": "i", "programme": "c", "referral_date": "M", "start": "M", "end": "M", "completed": "b",
        },
    }  # fmt: skip
    for name, columns in wanted.items():
        table = getattr(default, name)
        assert list(table) == list(columns), name
        for column, kind in columns.items():
            dtype = table[column].dtype
            if kind == "c":
                assert isinstance(dtype, pd.CategoricalDtype), column
            elif kind == "s":
                assert pd.api.types.is_string_dtype(dtype), column
            else:
                assert dtype.kind == kind, column
        assert table["person_id" if "person_id" in table else "area_code"].notna().all()
    for table in (default.index_case, default.event):
        assert table["person_id"].dtype == table["case_id"].dtype == np.int64
        assert table["case_id"].is_unique
    assert default.index_case["person_id"].is_unique
    assert set(default.event["person_id"]) <= set(default.index_case["person_id"])
    assert len(default.extract) == 1
    assert default.extract["as_of"].iloc[0] == AS_OF
    assert "simulated" in default.extract["source"].iloc[0]
    assert default.areas["area_code"].is_unique
    assert len(default.area_year) == 340 * 14
    assert "not real data" in repr(default)


def test_dates_are_in_order_and_within_bounds(default: Simulation) -> None:
    index, event = default.index_case, default.event
    assert index["index_date"].between(pd.Timestamp("2012-01-01"), pd.Timestamp("2025-12-31")).all()
    known = index["offence_date"].notna()
    assert (index["offence_date"] < index["registration_date"])[known].all()
    assert (index["registration_date"] < index["index_date"]).all()
    age = (index["offence_date"] - index["birth_date"]).dt.days / 365.25
    assert age[known].between(11.99, 60.1).all()
    band = pd.cut(age[known], [0, 18, 25, 100], labels=["12-17", "18-24", "25+"], right=False).astype(str)
    assert (band == index["age_band"][known].astype(str)).mean() > 0.999  # a day of rounding at a birthday
    assert (index["age_first_contact"][known] <= age[known] + 0.01).all()
    assert (index["cohort"] == index["index_date"].dt.year).all()

    dated = event["offence_date"].notna()
    assert (days_since_index(default)[dated] >= 1).all()
    assert ((event["registration_date"] - event["offence_date"]).dt.days[dated] >= 1).all()
    assert (event["registration_date"] <= AS_OF).all()
    closed = event["disposal_date"].notna()
    assert (event["disposal_date"] > event["registration_date"])[closed].all()
    assert (event["disposal_date"][closed] <= AS_OF).all()
    assert (closed == event["disposal"].notna()).all()
    assert (event["counts_as"] == "open").eq(~closed).all()
    dismissed = event["disposal"].isin(["technical_dismissal", "acquittal"])
    assert (event["counts_as"] == "not_counted").eq(dismissed).all()
    new = event["registration_date"] >= pd.Timestamp("2015-07-01")
    assert (event["scm_version"] == np.where(new, "2010", "1993")).all()

    risk, taken = default.risk_interval, default.intervention
    assert (risk["end"] > risk["start"])[risk["end"].notna()].all()
    assert (risk["start"] < AS_OF).all()
    assert (risk["end"].dropna() <= AS_OF).all()
    start = index.set_index("person_id").loc[taken["person_id"]]
    assert (taken["referral_date"].to_numpy() >= start["index_date"].to_numpy()).all()
    assert (taken["start"] > taken["referral_date"]).all()
    assert start["wave"].gt(0).all()
    assert (taken["completed"].isna() == taken["end"].isna()).all()


def test_delays_are_long_bunched_and_sometimes_unknown(default: Simulation) -> None:
    old = default.event[default.event["registration_date"] < pd.Timestamp("2022-01-01")]
    delay = (old["registration_date"] - old["offence_date"]).dt.days
    assert 235 < delay.mean() < 265  # 240 days, and half a quarter for three in ten
    assert old["registration_date"].dt.is_quarter_end.mean() == pytest.approx(0.3 + 0.7 * 4 / 365.25, abs=0.015)
    assert default.event["offence_date"].isna().mean() == pytest.approx(0.01, abs=0.0015)
    assert default.index_case["offence_date"].isna().mean() == pytest.approx(0.01, abs=0.0015)
    # the last half year is not there yet
    recent = default.event["offence_date"].dt.year.value_counts()
    assert recent[2025] < 0.5 * recent[2024]


def test_nobody_offends_when_dead_abroad_or_locked_up(default: Simulation) -> None:
    pairs = default.event.merge(default.risk_interval, on="person_id")
    assert len(pairs) > 5_000
    inside = (pairs["offence_date"] >= pairs["start"]) & ~(pairs["offence_date"] >= pairs["end"])
    assert not inside.any()
    states = default.risk_interval["state"].value_counts()
    assert (states > 0).all()
    last = default.risk_interval[default.risk_interval["state"].isin(["dead", "abroad"])]
    assert last["person_id"].is_unique
    assert last["end"].isna().all()


def test_deaths_and_emigrations_come_at_their_rates(large: Simulation) -> None:
    last = large.risk_interval[large.risk_interval["state"].isin(["dead", "abroad"])].set_index("person_id")
    end = large.index_case["person_id"].map(last["start"]).fillna(AS_OF)
    years = float((end - large.index_case["index_date"]).dt.days.sum() / 365.25)
    for state, rate in (("dead", 0.002), ("abroad", 0.012)):
        count = int((last["state"] == state).sum())
        assert abs(count - rate * years) < 4 * np.sqrt(rate * years)


def test_borders_change_on_their_day(default: Simulation) -> None:
    rows = default.area_year.set_index(["area_code", "year"])
    groningen, amsterdam = rows.loc["GM0014"], rows.loc["GM0363"]
    assert groningen["population"][2019] / groningen["population"][2018] == pytest.approx(1.135, abs=0.02)
    assert amsterdam["population"][2023] / amsterdam["population"][2022] == pytest.approx(1.024, abs=0.012)
    assert groningen["border_changed"].sum() == amsterdam["border_changed"].sum() == 1
    assert default.area_year["border_changed"].sum() == 2
    # the rate does not jump: numerator and denominator share their borders
    truth = default.truth_area.set_index(["area_code", "year"]).loc["GM0014"]
    expected = truth["expected_without"] / groningen["person_years"] * 1000
    assert expected.to_numpy() == pytest.approx(truth["rate_per_1000_without"].to_numpy(), rel=1e-4)


def test_neighbors_are_the_nearest_in_both_directions() -> None:
    position = np.random.default_rng(1).uniform(size=(30, 2))
    pairs = {(int(a), int(b)) for a, b in neighbor_pairs(position)}
    gap = np.sqrt(((position[:, None] - position[None]) ** 2).sum(axis=2))
    wanted = set()
    for area in range(30):
        for other in sorted((j for j in range(30) if j != area), key=lambda j: gap[area, j])[:5]:
            wanted |= {(area, other), (other, area)}
    assert pairs == wanted


# --- ready for use ---------------------------------------------------------------------------------------------------


def test_the_panel_has_its_roles(default: Simulation) -> None:
    panel = default.panel()
    assert (panel.n_units, panel.n_periods, panel.balanced) == (340, 14, True)
    assert panel.selection_window == (2017, 2021)
    assert panel.exposure is not None
    assert panel.neighbors is not None
    cohorts = {
        float(code): int(number) for code, number in zip(*np.unique(panel.cohort, return_counts=True), strict=True)
    }
    assert cohorts == {2023.0: 19, 2024.0: 8, np.inf: 313}
    assert int(np.isfinite(panel.contaminated_from).sum()) == 20
    assert set(panel.contaminated_from[np.isfinite(panel.contaminated_from)]) == {2024.0}
    dropped = default.panel(partial_period="drop")
    assert dropped.n_rows == 340 * 14 - 4
    assert (dropped.cohort == 2024).sum() == 12
    assert areas_only(selection=False).panel().selection_window is None


def test_an_estimator_finds_the_truth_of_the_panel() -> None:
    gaps = []
    for seed in range(8):
        run = areas_only(effect=-0.15, selection=False, rng=seed)
        ratio = did.imputation(run.panel(), "suspects", family="poisson", pretrend=False).average().values[0]
        gaps.append(np.log(ratio) - np.log(run.truth_effects()["ratio"].iloc[-1]))
    assert abs(np.mean(gaps)) < 3 * np.std(gaps, ddof=1) / np.sqrt(8)
    assert np.std(gaps, ddof=1) < 0.06


def slow_spells(run: Simulation, as_of: str, lag: int, months: int) -> dict[int, tuple[int, int, str | None]]:
    """Person by person, as a reader of the definition would do it."""
    known = pd.Timestamp(as_of)
    cut = known - pd.Timedelta(days=lag)
    events = dict(list(run.event.groupby("person_id")))
    risks = dict(list(run.risk_interval.groupby("person_id")))
    found: dict[int, tuple[int, int, str | None]] = {}
    for person, start in zip(run.index_case["person_id"], run.index_case["index_date"], strict=True):
        if start >= cut:
            continue
        ends: list[tuple[pd.Timestamp, int, str | None]] = [(cut, 9, None)]
        for _, row in events[person].iterrows() if person in events else ():
            if (
                row["counts_as"] == "recidivism"
                and row["disposal_date"] <= known
                and row["max_penalty_months"] >= months
            ):
                date = row["registration_date"] if pd.isna(row["offence_date"]) else row["offence_date"]
                ends.append((date, 0, "recidivism"))
        for _, row in risks[person].iterrows() if person in risks else ():
            if row["state"] in ("dead", "abroad"):
                ends.append((row["start"], 1, {"dead": "death", "abroad": "emigration"}[row["state"]]))
        date, _, cause = min(ends, key=lambda end: end[:2])
        found[person] = ((date - start).days, int(cause is not None), cause)
    return found


@pytest.mark.parametrize(
    ("as_of", "lag", "criterion", "months"),
    [("2026-01-01", 365, "general", 0), ("2022-03-01", 0, "serious", 48), ("2020-01-01", 540, "very_serious", 96)],
)
def test_spells_are_those_of_the_definition(as_of: str, lag: int, criterion: Any, months: int) -> None:
    run = simulate(n_persons=1_500, rng=8)
    table = run.spell_table(as_of=as_of, registration_lag=lag, criterion=criterion)
    wanted = slow_spells(run, as_of, lag, months)
    assert table["person"].tolist() == list(wanted)
    assert table["exit"].tolist() == [value[0] for value in wanted.values()]
    assert table["event"].tolist() == [value[1] for value in wanted.values()]
    assert [None if pd.isna(cause) else cause for cause in table["cause"]] == [value[2] for value in wanted.values()]
    assert (table["exit"] >= 1).all()


def test_spells_can_be_made_of_it(default: Simulation) -> None:
    spells = default.spells()
    assert isinstance(spells, Spells)
    assert set(spells.causes) == {"recidivism", "death", "emigration"}
    assert spells.n_persons == len(default.spell_table())
    assert default.spells(group="age_band", registration_lag=730).n_persons < spells.n_persons


def test_what_the_register_shows_is_the_truth_where_follow_up_is_complete(large: Simulation) -> None:
    table = large.spell_table()
    done = table["cohort"] <= 2021
    ended = done & table["event"].eq(1) & table["exit"].le(730) & table["cause"].eq("recidivism")
    shown = ended.groupby(table["cohort"]).mean()[lambda share: share.index <= 2021]
    truth = large.truth_recidivism().set_index("cohort")["with"][shown.index]
    # dates that are missing move one case in a hundred to its registration
    assert (shown - truth).abs().max() < 0.0025
    assert (shown - truth).mean() < 0


def test_truth_of_recidivism_by_groups(default: Simulation) -> None:
    whole = default.truth_recidivism(by=None)
    assert whole["n_persons"].tolist() == [50_000]
    assert whole["without"].iloc[0] == default.truth_person["recidivism_730_without"].mean()
    groups = default.truth_recidivism(by=["sex", "age_band"])
    assert groups["n_persons"].sum() == 50_000
    assert (groups["n_persons"] * groups["with"]).sum() / 50_000 == pytest.approx(whole["with"].iloc[0])
    person = default.truth_person
    assert (person["recidivism_730_with"] == person["first_day_with"].le(730)).all()
    assert (person["offended_730_with"] | ~person["recidivism_730_with"]).all()
    hidden = person["offended_730_without"].mean() - person["recidivism_730_without"].mean()
    assert 0.01 < hidden < 0.05  # dismissed, acquitted or never registered


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n_persons", bad) for bad in (0, -1, 1.5, True, "10", None, 10**9)),
        *(("n_areas", bad) for bad in (59, 2_001, 340.0, "all")),
        *(
            ("years", bad)
            for bad in ((2018, 2025), (2012, 2023), (2000, 2025), (2025, 2012), (2012.0, 2025.0), (2012,))
        ),
        *(("years", bad) for bad in (2012, "2012", None)),
        *(("effect", bad) for bad in (np.nan, np.inf, "big", 1.1, -5, None, True)),
        *(("phase_in", bad) for bad in (-1, 2.5, 41, True)),
        *(("spillover", bad) for bad in (0.6, "x", np.nan)),
        *(("heterogeneity", bad) for bad in (-0.1, 1.1, None)),
        *(("anticipation", bad) for bad in (0, "yes", None)),
        *(("selection", bad) for bad in (1, "no")),
        *(("registration_shock", bad) for bad in (1, None)),
        *(("as_of", bad) for bad in ("2025-12-31", "soon", None, 2026, pd.NaT, "2026-01-01T00:00:00Z", "2099-01-01")),
        *(("rng", bad) for bad in ("seed", -1, None, 1.0, True)),
    ],
)
def test_an_option_that_cannot_be_is_refused(name: str, value: Any) -> None:
    with pytest.raises(DataError) as caught:
        simulate(**{"n_persons": 1, name: value})
    assert caught.value.code == "PMG-OPTION"
    assert name in caught.value.what


def test_all_wrong_options_are_reported_at_once() -> None:
    with pytest.raises(DataError) as caught:
        simulate(n_persons=0, effect="x", years=(2018, 2025), as_of="x")  # type: ignore[arg-type]
    assert [problem.what.partition("=")[0] for problem in caught.value.problems] == [
        *("n_persons", "effect", "years", "as_of"),
    ]


@pytest.mark.parametrize(
    "call",
    [
        lambda run: run.panel(partial_period="share"),
        lambda run: run.truth_effects(by="area"),
        lambda run: run.truth_effects(partial_period=None),
        lambda run: run.truth_table(scale="log"),
        lambda run: run.truth_recidivism(by="age"),
        lambda run: run.truth_recidivism(by=["sex", 3]),
        lambda run: run.spell_table(as_of="2026-01-02"),
        lambda run: run.spell_table(as_of="2012-01-01"),
        lambda run: run.spell_table(as_of="never"),
        lambda run: run.spell_table(registration_lag=-1),
        lambda run: run.spell_table(registration_lag=1.5),
        lambda run: run.spell_table(registration_lag=20_000),
        lambda run: run.spell_table(criterion="grave"),
    ],
)
def test_methods_refuse_unknown_options(default: Simulation, call: Any) -> None:
    with pytest.raises(DataError) as caught:
        call(default)
    assert caught.value.code == "PMG-OPTION"


def test_a_simulation_is_frozen(default: Simulation) -> None:
    with pytest.raises(AttributeError):
        default.areas = default.areas  # type: ignore[misc]
    with pytest.raises(TypeError):
        default.options["effect"] = 1  # type: ignore[index]


def test_smallest_and_other_windows() -> None:
    small = simulate(n_persons=1, n_areas=60, years=(2017, 2024), as_of="2025-06-30")
    assert (small.areas["wave"] > 0).sum() == 27
    assert len(small.area_year) == 60 * 8
    assert small.panel().n_periods == 8
    longer = simulate(n_persons=500, years=(2010, 2030), as_of="2035-01-01")
    assert longer.index_case["index_date"].dt.year.max() == 2030
    assert longer.truth_effects(by="event_time")["event_time"].tolist() == [*range(8), "overall"]
