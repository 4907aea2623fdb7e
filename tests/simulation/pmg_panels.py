"""Panels like the programme's: 340 municipalities, 14 years, three waves, over-dispersed autocorrelated counts."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

import pmg_eval as pe

N_AREAS, N_YEARS, FIRST = 340, 14, 2012
Waves = tuple[tuple[int, int], ...]
WAVES: Waves = ((2022, 15), (2023, 4), (2024, 8))
Rule = Literal["chance", "rate", "rise"]


@dataclass(frozen=True)
class Design:
    """Which areas are treated (ranks by population) and how common the outcome is (yearly rate)."""

    name: str
    low: int
    high: int
    rate: float


DESIGNS = (
    Design("large areas, common", 0, 60, 0.0100),
    Design("small areas, common", 200, 340, 0.0100),
    Design("large areas, rare", 0, 60, 0.0007),
    Design("small areas, rare", 200, 340, 0.0007),
)


def panel_table(
    design: Design, rng: np.random.Generator, effect: float, waves: Waves = WAVES, n_areas: int = N_AREAS
) -> pd.DataFrame:
    """Counts with exposure; ``effect`` is the log rate ratio of every treated area from its start on.

    Counts are Poisson(exp(log population + area + common trend + AR(1) with rho 0.6, sd 0.12 + effect x treated)):
    the design of trust.md 3.2. The AR(1) part does not shrink with size, the Poisson part does.
    """
    population = np.sort(np.exp(rng.normal(9.0, 1.0, n_areas)))[::-1].round()
    start = np.full(n_areas, np.inf)
    chosen = rng.permutation(np.arange(design.low, min(design.high, n_areas)))
    for year, size in waves:
        start[chosen[:size]] = year
        chosen = chosen[size:]
    shock = np.zeros((n_areas, N_YEARS))
    shock[:, 0] = rng.normal(0, 0.12, n_areas)
    for t in range(1, N_YEARS):
        shock[:, t] = 0.6 * shock[:, t - 1] + rng.normal(0, 0.12 * 0.8, n_areas)
    years = FIRST + np.arange(N_YEARS)
    log_rate = np.log(design.rate) + rng.normal(0, 0.3, n_areas)[:, None] - 0.02 * np.arange(N_YEARS) + shock
    mean = population[:, None] * np.exp(log_rate + effect * (years >= start[:, None]))
    return pd.DataFrame(
        {
            "area": np.repeat(np.arange(n_areas), N_YEARS),
            "year": np.tile(years, n_areas),
            "start": np.repeat(start, N_YEARS),
            "youth": np.repeat(population, N_YEARS),
            "suspects": rng.poisson(mean).ravel(),
        }
    )


def selected_table(
    design: Design, rng: np.random.Generator, rule: Rule, waves: Waves = WAVES, n_areas: int = N_AREAS
) -> pd.DataFrame:
    """A programme without any effect in areas chosen on their own outcome, wave after wave.

    ``"rate"``: the highest rates of the three years before the start. ``"rise"``: the largest ratio of that rate to the
    area's own rate in all years before. ``"chance"``: the design's own draw.
    """
    table = panel_table(design, rng, 0.0, waves, n_areas)
    if rule == "chance":
        return table
    suspects = table["suspects"].to_numpy().reshape(n_areas, N_YEARS)
    population = table["youth"].to_numpy().reshape(n_areas, N_YEARS)[:, 0]
    start = np.full(n_areas, np.inf)
    free = np.arange(design.low, min(design.high, n_areas))
    for year, size in waves:
        before = year - FIRST
        score = suspects[free, before - 3 : before].mean(axis=1)
        score = score / (
            population[free] if rule == "rate" else np.maximum(suspects[free, : before - 3].mean(axis=1), 1)
        )
        start[free[np.argsort(-score, kind="stable")[:size]]] = year
        free = free[np.isinf(start[free])]
    return table.assign(start=np.repeat(start, N_YEARS))


def panel_of(table: pd.DataFrame) -> pe.Panel:
    return pe.Panel(table, unit="area", time="year", cohort="start", exposure="youth")
