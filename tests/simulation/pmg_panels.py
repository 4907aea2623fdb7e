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
    shock = autoregressive(rng, n_areas, 0.12)
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


def autoregressive(rng: np.random.Generator, n_areas: int, spread: float) -> np.ndarray:
    """AR(1) paths (n, T) with rho 0.6 and a stationary standard deviation."""
    shock = np.zeros((n_areas, N_YEARS))
    shock[:, 0] = rng.normal(0, spread, n_areas)
    for t in range(1, N_YEARS):
        shock[:, t] = 0.6 * shock[:, t - 1] + rng.normal(0, spread * 0.8, n_areas)
    return shock


@dataclass(frozen=True)
class Scenario:
    """A cell of the coverage study: how many areas are treated and when, how common events are, and what disturbs.

    Counts are those of :func:`panel_table`, in the 60 largest of 340 municipalities (the pool from which the treated
    are drawn) and 60 of the others. ``"city shock"``: the large share an AR(1) shock (sd 0.05) with loadings between
    0.5 and 1.5. ``"heterogeneous"``: effects differ between areas (sd 0.15 on the log scale). ``"trend"``: the rates
    of treated areas grow by one percent a year more than those of others.
    """

    name: str
    waves: Waves
    rate: float
    disturbance: Literal["independent", "city shock", "heterogeneous", "trend"] = "independent"

    @property
    def n_treated(self) -> int:
        return sum(size for _, size in self.waves)


@dataclass(frozen=True)
class Truth:
    """Log effects: of the treated drawn, for a ratio of sums and for a mean of logs; and of all such areas."""

    ratio: float
    mean_log: float
    population_ratio: float
    population_mean_log: float


LARGE, OTHERS, SPREAD = 60, 60, 0.15


def scenario_table(scenario: Scenario, rng: np.random.Generator, effect: float) -> tuple[pd.DataFrame, Truth]:
    """One panel with its truth; ``log_rate`` is log((count + 0.5) / population), what linear methods are given."""
    everybody = np.sort(np.exp(rng.normal(9.0, 1.0, N_AREAS)))[::-1].round()
    population = np.concatenate([everybody[:LARGE], rng.choice(everybody[LARGE:], OTHERS, replace=False)])
    n, years = len(population), FIRST + np.arange(N_YEARS)
    start = np.full(n, np.inf)
    chosen = rng.permutation(LARGE)
    for year, size in scenario.waves:
        start[chosen[:size]] = year
        chosen = chosen[size:]
    log_rate = np.log(scenario.rate) + rng.normal(0, 0.3, n)[:, None] - 0.02 * np.arange(N_YEARS)
    log_rate = log_rate + autoregressive(rng, n, 0.12)
    own = np.full(n, effect)
    if scenario.disturbance == "city shock":
        loading = np.where(np.arange(n) < LARGE, rng.uniform(0.5, 1.5, n), 0.0)
        log_rate = log_rate + loading[:, None] * autoregressive(rng, 1, 0.05)
    elif scenario.disturbance == "heterogeneous":
        own = effect - SPREAD**2 / 2 + rng.normal(0, SPREAD, n)  # the mean ratio is exp(effect)
    elif scenario.disturbance == "trend":
        log_rate = log_rate + 0.01 * np.arange(N_YEARS) * np.isfinite(start)[:, None]
    on = years >= start[:, None]
    without = population[:, None] * np.exp(log_rate)
    with_it = without * np.exp(own[:, None] * on)
    suspects = rng.poisson(with_it)
    truth = Truth(
        ratio=float(np.log(with_it[on].sum() / without[on].sum())),
        mean_log=float(np.broadcast_to(own[:, None], on.shape)[on].mean()),
        population_ratio=effect,
        population_mean_log=effect - (SPREAD**2 / 2 if scenario.disturbance == "heterogeneous" else 0.0),
    )
    table = pd.DataFrame(
        {
            "area": np.repeat(np.arange(n), N_YEARS),
            "year": np.tile(years, n),
            "start": np.repeat(start, N_YEARS),
            "youth": np.repeat(population, N_YEARS),
            "suspects": suspects.ravel(),
            "log_rate": np.log((suspects + 0.5) / population[:, None]).ravel(),
        }
    )
    return table, truth


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
