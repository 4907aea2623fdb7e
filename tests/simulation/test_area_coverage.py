"""Small versions of the coverage studies (`scripts/coverage.py` runs the large one).

Bounds are three Monte-Carlo standard errors around 95 %. For areas it is the larger of the binomial one over all areas
and the measured one over panels, because the areas of one panel share their controls.
"""

import numpy as np
import pytest

import pmg_eval as pe
from pmg_eval import did, resample
from simulation.area_coverage import area_coverage, area_coverages
from simulation.pmg_panels import DESIGNS, N_AREAS, WAVES, Design, panel_table, selected_table
from simulation.pooled_coverage import POOLED, pooled_coverages
from simulation.selection import flags, pooled_rejections
from unit.resample.panels import panel_of, staggered


@pytest.mark.parametrize("design", [DESIGNS[0], DESIGNS[2]], ids=lambda design: design.name)
def test_area_intervals_cover(design) -> None:
    cell = area_coverage(design, replicates=12, seed=11)
    error = max(np.sqrt(0.95 * 0.05 / cell.areas), cell.coverage_error)
    assert cell.given == 1
    assert cell.coverage == pytest.approx(0.95, abs=3 * error)
    assert 0.2 < cell.width < 1.5


def test_the_panels_are_what_they_say() -> None:
    table = panel_table(DESIGNS[1], np.random.default_rng(0), -0.5)
    assert table["area"].nunique() == N_AREAS
    first = table.groupby("area")["start"].first()
    assert first[np.isfinite(first)].value_counts().to_dict() == {float(year): size for year, size in WAVES}
    assert first.index[np.isfinite(first)].min() >= 200
    assert table.groupby("area")["youth"].first().is_monotonic_decreasing
    treated = table["year"] >= table["start"]
    rate = table["suspects"].groupby(treated).sum() / table["youth"].groupby(treated).sum()
    assert rate[True] / rate[False] < 0.75


def test_pooled_jackknife_intervals_cover() -> None:
    """30 panels with 5 treated areas: t with 4 degrees of freedom."""

    def overall(panel: pe.Panel, outcome: str) -> pe.Estimate:
        return did.imputation(panel, outcome, pretrend=False).average()

    covered = []
    for seed in range(30):
        panel = panel_of(staggered(seed=100 + seed, n=16, periods=6, starts={2003: 5}, effect=0.7))
        row = resample.jackknife(overall, panel, "rate").to_frame().iloc[0]
        covered.append(row["conf_low"] <= 0.7 <= row["conf_high"])
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 30)


def test_area_intervals_of_synthetic_controls_cover() -> None:
    """Fewer areas than the programme's panels, so that a few seconds are enough."""
    cells = {cell.estimator: cell for cell in area_coverages(DESIGNS[0], 5, seed=11, n_areas=80)}
    assert list(cells) == ["imputation", "sdid", "classic"]
    for cell in cells.values():
        error = max(np.sqrt(0.95 * 0.05 / cell.areas), cell.coverage_error)
        assert cell.coverage == pytest.approx(0.95, abs=3 * error)
        assert abs(cell.bias) < 0.05
        assert 0.9 < cell.relative_width < 1.4
    assert cells["imputation"].relative_width == 1
    assert cells["imputation"].refused == cells["sdid"].refused == 0
    assert cells["classic"].refused + cells["classic"].given == 1


def test_pooled_intervals_of_sdid_cover_with_few_areas() -> None:
    sdid = {"sdid": POOLED["sdid"]}
    for waves in (WAVES, ((2022, 2),)):
        (cell,) = pooled_coverages(DESIGNS[0], waves, 40, 5, sdid, n_areas=100)
        assert cell.given == 1
        assert cell.coverage >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 40)
        assert 0.8 < cell.ratio < 1.7
        assert cell.df <= sum(size for _, size in waves) - 1


def test_areas_chosen_on_a_bad_spell_are_chosen_on_it() -> None:
    design = Design("all", 0, 120, 0.01)
    for rule in ("rate", "rise"):
        table = selected_table(design, np.random.default_rng(1), rule, n_areas=120)
        plain = panel_table(design, np.random.default_rng(1), 0.0, n_areas=120)
        assert (table["suspects"] == plain["suspects"]).all()  # no effect: only the starts differ
        first = table[table["year"].between(2019, 2021)]
        score = first.groupby("area")["suspects"].sum()
        if rule == "rate":
            score = score / first.groupby("area")["youth"].first()
        else:
            score = score / table[table["year"] < 2019].groupby("area")["suspects"].sum()
        start = table.groupby("area")["start"].first()
        assert set(start.index[start == 2022]) == set(score.nlargest(15).index)
        assert start[np.isfinite(start)].value_counts().to_dict() == {float(year): size for year, size in WAVES}


def test_selection_on_a_bad_spell_is_found_and_its_check_sees_it() -> None:
    design = Design("all", 0, 120, 0.01)
    tests = {cell.method: cell for cell in pooled_rejections(design, "rise", 10, 3, n_areas=120, headline=False)}
    assert tests["group-time, last period"].bias < -0.04  # they fall back by themselves
    assert tests["group-time, last period"].down > 0.4
    checks = {cell.check: cell.attention for cell in flags(design, "rise", 10, 3, n_areas=120)}
    assert checks["base period"] >= 0.9
    assert checks["placebo in time"] >= 0.8
    clean = {cell.check: cell.attention for cell in flags(design, "chance", 30, 3, n_areas=120)}
    assert 0.32 - 3 * np.sqrt(0.32 * 0.68 / 30) < clean["base period"] < 0.32 + 3 * np.sqrt(0.32 * 0.68 / 30)
    assert clean["placebo in time"] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 30)
