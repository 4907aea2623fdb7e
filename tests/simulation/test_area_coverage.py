"""Small versions of the coverage studies (`scripts/coverage.py` runs the large one).

Bounds are three Monte-Carlo standard errors around 95 %. For areas it is the larger of the binomial one over all areas
and the measured one over panels, because the areas of one panel share their controls.
"""

import numpy as np
import pytest

import pmg_eval as pe
from pmg_eval import did, resample
from simulation.area_coverage import area_coverage
from simulation.pmg_panels import DESIGNS, N_AREAS, WAVES, panel_table
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
