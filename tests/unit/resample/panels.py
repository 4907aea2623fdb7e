"""Small staggered panels for resampling and evaluation."""

from typing import Any

import numpy as np
import pandas as pd

import pmg_eval as pe

STARTS = {2004: 6, 2006: 5}


def staggered(
    seed: int = 0,
    n: int = 40,
    periods: int = 9,
    starts: dict[int, int] = STARTS,
    effect: float = 0.0,
    noise: float = 1.0,
) -> pd.DataFrame:
    """Columns area, year, start (0 = never), region, rate: unit and period effects, noise, a constant effect."""
    rng = np.random.default_rng(seed)
    start = np.zeros(n, dtype=int)
    start[: sum(starts.values())] = np.repeat(list(starts), list(starts.values()))
    year = 2000 + np.arange(periods)
    on = (start[:, None] > 0) & (year >= start[:, None])
    rate = 5 + rng.normal(size=(n, 1)) + 0.3 * np.arange(periods) + noise * rng.normal(size=(n, periods)) + effect * on
    return pd.DataFrame(
        {
            "area": np.repeat([f"a{i:03d}" for i in range(n)], periods),
            "year": np.tile(year, n),
            "start": np.repeat(start, periods),
            "region": np.repeat([f"r{i % 8}" for i in range(n)], periods),
            "rate": rate.ravel(),
        }
    )


def counts(
    seed: int = 0, effect: float = 0.0, level: float = 0.01, people: float = 8_000.0, **more: Any
) -> pd.DataFrame:
    """The same with Poisson ``suspects`` among ``youth``; ``effect`` is a log rate ratio."""
    table = staggered(seed, noise=0.0, **more)
    rng = np.random.default_rng(seed + 10_000)
    areas = table["area"].unique()
    size = dict(zip(areas, np.round(people * np.exp(0.8 * rng.normal(size=len(areas)))), strict=True))
    table["youth"] = table["area"].map(size)
    on = (table["start"] > 0) & (table["year"] >= table["start"])
    frailty = np.exp(0.05 * rng.normal(size=len(table)))
    mean = level * table["youth"] * np.exp(0.03 * (2000 - table["year"]) + effect * on) * frailty
    table["suspects"] = rng.poisson(mean)
    return table.drop(columns="rate")


def panel_of(table: pd.DataFrame, **roles: Any) -> pe.Panel:
    if "youth" in table:
        roles = {"exposure": "youth", **roles}
    return pe.Panel(table, unit="area", time="year", cohort="start", never=0, **roles)
