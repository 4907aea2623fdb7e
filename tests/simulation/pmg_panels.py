"""Panels like the programme's: 340 municipalities, 14 years, three waves, over-dispersed autocorrelated counts."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

N_AREAS, N_YEARS, FIRST = 340, 14, 2012
WAVES = ((2022, 15), (2023, 4), (2024, 8))


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


def panel_table(design: Design, rng: np.random.Generator, effect: float) -> pd.DataFrame:
    """Counts with exposure; ``effect`` is the log rate ratio of every treated area from its start on.

    Counts are Poisson(exp(log population + area + common trend + AR(1) with rho 0.6, sd 0.12 + effect x treated)):
    the design of trust.md 3.2. The AR(1) part does not shrink with size, the Poisson part does.
    """
    population = np.sort(np.exp(rng.normal(9.0, 1.0, N_AREAS)))[::-1].round()
    start = np.full(N_AREAS, np.inf)
    chosen = rng.permutation(np.arange(design.low, design.high))
    for year, size in WAVES:
        start[chosen[:size]] = year
        chosen = chosen[size:]
    shock = np.zeros((N_AREAS, N_YEARS))
    shock[:, 0] = rng.normal(0, 0.12, N_AREAS)
    for t in range(1, N_YEARS):
        shock[:, t] = 0.6 * shock[:, t - 1] + rng.normal(0, 0.12 * 0.8, N_AREAS)
    years = FIRST + np.arange(N_YEARS)
    log_rate = np.log(design.rate) + rng.normal(0, 0.3, N_AREAS)[:, None] - 0.02 * np.arange(N_YEARS) + shock
    mean = population[:, None] * np.exp(log_rate + effect * (years >= start[:, None]))
    return pd.DataFrame(
        {
            "area": np.repeat(np.arange(N_AREAS), N_YEARS),
            "year": np.tile(years, N_AREAS),
            "start": np.repeat(start, N_YEARS),
            "youth": np.repeat(population, N_YEARS),
            "suspects": rng.poisson(mean).ravel(),
        }
    )
