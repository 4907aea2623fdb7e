"""Coverage and power of the interval of each area, with Monte-Carlo errors."""

import warnings
from dataclasses import dataclass

import numpy as np

import pmg_eval as pe
from simulation.pmg_panels import Design, panel_table

EFFECT = -0.10


@dataclass(frozen=True)
class Cell:
    """One design: shares over areas, with the standard error over replicates (areas of one replicate are dependent)."""

    design: str
    areas: int
    median_count: float
    given: float
    coverage: float
    coverage_error: float
    power: float
    width: float


def area_coverage(design: Design, replicates: int, seed: int, level: float = 0.95) -> Cell:
    """Share of area intervals that cover the true rate ratio, over ``replicates`` panels."""
    covered, found, given, width, counts = [], [], [], [], []
    for child in np.random.default_rng(seed).spawn(replicates):
        table = panel_table(design, child, EFFECT)
        panel = pe.Panel(table, unit="area", time="year", cohort="start", exposure="youth")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            frame = pe.effect_per_area(panel, "suspects", draws=4_999, rng=1).to_frame(level)
        known = frame["conf_low"].notna()
        frame = frame.loc[known]
        covered.append(((frame["conf_low"] <= np.exp(EFFECT)) & (frame["conf_high"] >= np.exp(EFFECT))).mean())
        found.append((frame["conf_high"] < 1).mean())
        given.append(known.mean())
        width.append(np.log(frame["conf_high"] / frame["conf_low"]).median())
        treated = table.loc[np.isfinite(table["start"]) & (table["year"] < table["start"])]
        counts.append(treated.groupby("area")["suspects"].mean().median())
    return Cell(
        design.name,
        int(replicates * 27),
        float(np.mean(counts)),
        float(np.mean(given)),
        float(np.nanmean(covered)),
        float(np.nanstd(covered, ddof=1) / np.sqrt(replicates)),
        float(np.nanmean(found)),
        float(np.nanmean(width)),
    )
