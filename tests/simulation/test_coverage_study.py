"""The coverage study in small, what it rests on, and the gate over the results that are stored.

The number of replicates is that of PMG_EVAL_COVERAGE (``make test-full``), a handful otherwise.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from simulation.coverage_gate import bounds, passes
from simulation.coverage_page import PAGE, page
from simulation.coverage_store import FOLDER, Stored, code_hash, computed, missing, path_of, read, wanted, with_chunk
from simulation.coverage_store import _hash as source_hash
from simulation.coverage_store import write as store
from simulation.coverage_study import (
    CELLS,
    EFFECT,
    METHODS,
    Answer,
    Sums,
    added,
    methods_of,
    one_replicate,
    run_chunk,
    sums_of,
    two_way,
)
from simulation.pmg_panels import FIRST, LARGE, N_YEARS, Scenario, panel_of, scenario_table

NEEDED = 1_000
"""Replicates that the stored results have at least."""

REPLICATES = int(os.environ.get("PMG_EVAL_COVERAGE", "2"))
SMOKE = {
    "01 common independent": 1,
    "01 rare independent": 1,
    "02 common independent": 1,
    "04 common heterogeneous": 1,
    "08 common independent": 1,
    "27 common independent": 8,  # a jackknife over 120 areas: fewer replicates
}
BY_NAME = {scenario.name: scenario for scenario in CELLS}


@pytest.mark.parametrize("name", SMOKE)
def test_the_default_covers(name: str) -> None:
    scenario = BY_NAME[name]
    found = run_chunk(scenario, 0, max(1, REPLICATES // SMOKE[name]), {"default": METHODS["default"]})["default"]
    low, high = bounds(scenario, found)
    slack = 3 * found.coverage_error
    assert found.given == found.replicates
    assert low - slack <= found.coverage <= high + slack
    assert 0.05 < found.width < 1.5
    assert abs(found.bias) < 0.02 + 4 * found.width / 3.92 / np.sqrt(found.finite)
    laws = set(found.words)
    assert laws <= {"placebo law", "placebo law (the wider of two)", "jackknife (the wider of two)", "jackknife"}
    assert scenario.n_treated > 5 or laws == {"placebo law"}


def test_the_cells_are_those_of_the_study() -> None:
    assert len(CELLS) == len(BY_NAME) == 24
    assert {scenario.n_treated for scenario in CELLS} == {1, 2, 4, 8, 27}
    assert {scenario.disturbance for scenario in CELLS} == {"independent", "city shock", "heterogeneous", "trend"}
    for scenario in CELLS:
        assert scenario.name.startswith(f"{scenario.n_treated:02d} ")
        assert (scenario.rate < 0.001) == (" rare " in scenario.name)


@pytest.mark.parametrize(
    "name", ["27 common independent", "08 common city shock", "04 common heterogeneous", "02 common trend"]
)
def test_the_panels_are_what_they_say(name: str) -> None:
    """Events by the million, so that what is drawn shows the means."""
    scenario = BY_NAME[name]
    dense = Scenario(scenario.name, scenario.waves, 1e5, scenario.disturbance)
    table, truth = scenario_table(dense, np.random.default_rng(5), EFFECT)
    assert len(table) == 120 * N_YEARS
    start = table.groupby("area")["start"].first().to_numpy()
    treated = np.flatnonzero(np.isfinite(start))
    assert len(treated) == scenario.n_treated
    assert treated.max() < LARGE
    assert {
        (int(year), int(size)) for year, size in zip(*np.unique(start[treated], return_counts=True), strict=True)
    } == set(scenario.waves)
    assert table.groupby("area")["youth"].first().iloc[:LARGE].is_monotonic_decreasing
    # the same draws without an effect: the ratio of the sums is the truth
    without, _ = scenario_table(dense, np.random.default_rng(5), 0.0)
    on = (table["year"] >= table["start"]).to_numpy()
    logs = np.log(table["suspects"] / without["suspects"]).to_numpy()
    np.testing.assert_allclose(logs[~on], 0, atol=2e-3)
    if scenario.disturbance == "heterogeneous":  # differences between areas are in both
        assert abs(truth.ratio - EFFECT) > 1e-3
        assert truth.population_mean_log == pytest.approx(EFFECT - 0.01125)
    else:
        assert truth.ratio == pytest.approx(EFFECT)
        assert truth.mean_log == pytest.approx(EFFECT)
        assert logs[on].mean() == pytest.approx(EFFECT, abs=1e-3)


def test_heterogeneous_effects_have_the_mean_and_the_spread() -> None:
    scenario = Scenario("x", ((2022, 60),), 1e4, "heterogeneous")
    ratios = [scenario_table(scenario, np.random.default_rng(seed), EFFECT)[1] for seed in range(150)]
    mean = np.array([truth.mean_log for truth in ratios])
    assert mean.std() == pytest.approx(0.15 / np.sqrt(60), rel=0.25)
    assert mean.mean() == pytest.approx(ratios[0].population_mean_log, abs=4 * 0.15 / np.sqrt(60 * 150))


def test_a_shock_of_cities_and_a_trend_of_the_treated() -> None:
    def logs(disturbance: str) -> tuple[np.ndarray, np.ndarray]:
        scenario = Scenario("x", ((2022, 8),), 1e7, disturbance)
        table, _ = scenario_table(scenario, np.random.default_rng(3), EFFECT)
        wide = np.log(table["suspects"] / table["youth"]).to_numpy().reshape(120, N_YEARS)
        return wide, table["start"].to_numpy().reshape(120, N_YEARS)[:, 0]

    plain, start = logs("independent")
    trend, _ = logs("trend")
    expected = 0.01 * np.arange(N_YEARS) * np.isfinite(start)[:, None]
    np.testing.assert_allclose(trend - plain, expected, atol=5e-3)
    many = [
        scenario_table(Scenario("x", ((2022, 8),), 1e7, "city shock"), np.random.default_rng(seed), 0.0)[0]
        for seed in range(40)
    ]
    rates = np.array([np.log(table["suspects"] / table["youth"]).to_numpy().reshape(120, N_YEARS) for table in many])
    change = rates[:, :, 1:] - rates[:, :, :-1]
    common = change[:, :LARGE].mean(axis=1) - change[:, LARGE:].mean(axis=1)  # mean loading 1 times the shock's change
    noise = 0.12**2 * 2 * 0.4 * 2 / 60
    assert common.var() == pytest.approx(0.05**2 * 2 * 0.4 + noise, rel=0.3)


def test_the_two_way_regression_is_the_double_demeaned_one() -> None:
    table, _ = scenario_table(BY_NAME["08 common independent"], np.random.default_rng(2), EFFECT)
    answer = two_way(panel_of(table))
    y, d = (
        column.reshape(120, N_YEARS)
        for column in (table["log_rate"].to_numpy(), (table["year"] >= table["start"]).to_numpy(dtype=float))
    )
    y, d = (x - x.mean(0) - x.mean(1)[:, None] + x.mean() for x in (y, d))
    slope = (d * y).sum() / (d**2).sum()
    score = (d * (y - slope * d)).sum(axis=1)
    error = np.sqrt(120 / 119 * (score**2).sum()) / (d**2).sum()
    half = 1.9801 * error  # t with 119 degrees of freedom
    assert answer.estimate == pytest.approx(slope, rel=1e-10)
    assert (answer.low, answer.high) == pytest.approx((slope - half, slope + half), rel=1e-5)
    assert FIRST == 2012


def test_sums_by_hand_and_they_add_up() -> None:
    answers = [Answer(-0.2, -0.3, -0.05, "a"), Answer(0.1, 0.05, 0.2, "a"), Answer(-0.1, np.nan, np.nan, "none"),
               Answer(-np.inf, np.nan, np.nan, "none")]  # fmt: skip
    found = added([{"m": sums_of(answer, -0.1, 0.06)} for answer in answers])["m"]
    assert (found.replicates, found.given, found.covered, found.covered_population) == (4, 2, 1, 1)
    assert (found.below, found.above, found.finite) == (1, 1, 3)
    assert found.coverage == 0.5
    assert found.coverage_error == pytest.approx(np.sqrt(0.25 / 2))
    assert found.power == 0.25
    assert found.refused == 0.5
    assert found.bias == pytest.approx((-0.1 + 0.2 + 0.0) / 3)
    assert found.bias_error == pytest.approx(np.std([-0.1, 0.2, 0.0], ddof=1) / np.sqrt(3))
    assert found.width == pytest.approx(np.sqrt(0.25 * 0.15))
    assert found.words == {"a": 2, "none": 2}
    assert Sums(replicates=9, given=9, covered=9).coverage_error > 0


def test_chunks_are_the_same_whenever_they_run_and_differ_from_each_other(tmp_path: Path) -> None:
    scenario = BY_NAME["01 common independent"]
    quick = {name: METHODS[name] for name in ("TWFE CR1", "imputation normal")}
    first, again, second = (
        run_chunk(scenario, 0, 2, quick),
        run_chunk(scenario, 0, 2, quick),
        run_chunk(scenario, 1, 2, quick),
    )
    assert first == again
    assert first["TWFE CR1"].error != second["TWFE CR1"].error
    assert set(one_replicate(scenario, np.random.default_rng(0), methods_of(scenario))) == set(METHODS)


def test_a_run_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = BY_NAME["01 rare independent"]
    monkeypatch.setattr(
        "simulation.coverage_store.run_chunk",
        lambda scenario, number, size: {"default": Sums(replicates=size, given=number)},
    )
    assert wanted(250) == [100, 100, 50]
    stored = Stored(scenario.name)
    for number, size in enumerate(wanted(250)):
        assert missing(read(tmp_path, scenario.name), number, size, None)
        stored = with_chunk(stored, computed(scenario, number, size, "code"))
        store(tmp_path, scenario, stored)
        assert not missing(read(tmp_path, scenario.name), number, size, None)
    back = read(tmp_path, scenario.name)
    assert back.chunks == stored.chunks
    assert back.replicates == 250
    assert back.sums()["default"].given == 0 + 1 + 2
    assert missing(back, 2, 100, None)  # the last chunk grows
    assert not missing(back, 0, 100, "code")
    assert missing(back, 0, 100, "other code")
    other = {**back.chunks[0], "study": "another"}
    assert missing(Stored(scenario.name, (other,)), 0, 100, None)
    assert [path.name for path in tmp_path.iterdir()] == [path_of(tmp_path, scenario.name).name]


def test_the_hash_sees_code_and_nothing_else(tmp_path: Path) -> None:
    def hashed(text: str) -> str:
        (tmp_path / "a.py").write_text(text, encoding="utf-8")
        return source_hash([tmp_path / "a.py"])

    plain = hashed("def f(x):\n    return x + 1\n")
    assert hashed('def f(x):\n    """Says."""\n    # why\n    return (x\n            + 1)\n') == plain
    assert hashed("def f(x):\n    return x + 2\n") != plain
    assert len(code_hash()) == 16


# --- the results that are stored --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", CELLS, ids=lambda scenario: scenario.name)
def test_the_gate(scenario: Scenario) -> None:
    stored = read(FOLDER, scenario.name)
    assert stored.replicates >= NEEDED
    found = stored.sums()
    for name in ("default", "default, log rates"):
        if name in found:
            assert passes(scenario, found[name]) in (True, None), (name, asdict(found[name]))
    saved = json.loads(path_of(FOLDER, scenario.name).read_text(encoding="utf-8"))
    assert [tuple(wave) for wave in saved["waves"]] == list(scenario.waves)
    assert (saved["rate"], saved["disturbance"], saved["effect"]) == (scenario.rate, scenario.disturbance, EFFECT)


def test_the_page_is_made_from_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
