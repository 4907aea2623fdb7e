"""Seeded data for the benchmarks: python benchmarks/make_data.py NAME FILE.npz

s, m, l: panels for group-time effects. Three cohorts (2022, 2023, 2024, in the ratio 15 : 4 : 8), treatment selected on
a covariate x that also bends the untreated trend (so it has to be adjusted for), and an effect that grows with the
years since the start. california: one treated unit among 39. areas: 27 treated areas and 313 others over 14 years.
states: 50 units over 11 years, 21 treated.
persons-100k, persons-1m, persons-5m: days until a new offense, a death or the end of observation.

Prints in one line what the data are. Arrays are sorted by unit and period.
"""

import argparse
import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 20240501
LAST_YEAR = 2024
COHORTS = (2022, 2023, 2024)
SPLIT = (15, 4, 8)
FACTORS = 3
LAST_DAY = 5110  # 14 years
SHARED = Path(os.environ.get("PMG_EVAL_SHARED") or Path(__file__).resolve().parents[2] / "shared")

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Size:
    units: int
    years: int
    treated: int


SIZES = {
    "s": Size(300, 10, 27),  # exactly 15, 4 and 8 treated units
    "m": Size(10_000, 20, 2_700),
    "l": Size(100_000, 20, 27_000),
}


def make(size: Size, seed: int = SEED) -> Columns:
    """Columns unit, time, cohort (0 = never), x and y, one row per unit and year, rows sorted."""
    rng = np.random.default_rng([seed, size.units, size.years])
    n = size.units
    x = rng.normal(size=n)
    eager = 0.5 * x + rng.logistic(size=n)
    treated = np.argsort(-eager, kind="stable")[: size.treated]
    cohort = np.zeros(n, dtype=np.int64)
    per_cohort = [size.treated * part // sum(SPLIT) for part in SPLIT]
    cohort[rng.permutation(treated)] = np.repeat(COHORTS, per_cohort)

    years = np.arange(LAST_YEAR - size.years + 1, LAST_YEAR + 1)
    since = years[None, :] - cohort[:, None]
    effect = np.where((cohort > 0)[:, None] & (since >= 0), -0.2 - 0.1 * since, 0.0)
    trend = 0.05 * (years - years[0])
    common = rng.normal(scale=0.2, size=size.years)
    unit = rng.normal(size=n) + 0.5 * x
    y = unit[:, None] + common + trend * (1.0 + 0.3 * x[:, None]) + effect + rng.normal(scale=0.5, size=(n, size.years))
    return {
        "unit": np.repeat(np.arange(n), size.years),
        "time": np.tile(years, n),
        "cohort": np.repeat(cohort, size.years),
        "x": np.repeat(x, size.years),
        "y": y.ravel(),
    }


def group_time(name: str) -> tuple[Columns, str]:
    size = SIZES[name]
    return make(size), f"simulated, {size.units} units x {size.years} years, {size.treated} treated"


def california() -> tuple[Columns, str]:
    """The tobacco panel where the reference data lie beside the checkout, else one of its shape."""
    file = SHARED / "data" / "california_prop99.csv"
    if not file.exists():
        rng = np.random.default_rng([SEED, 39, 31])
        years = np.arange(1970, 2001)
        y = _rates(rng, 39, len(years), level=120.0, spread=0.2, noise=0.02)
        treated = int(np.argsort(y.mean(axis=1))[13])
        y[treated, years >= 1989] *= 0.8
        cohort = np.where(np.arange(39) == treated, 1989, 0)
        return _long(np.arange(39), years, cohort, y), "simulated, 39 units x 31 years, one treated from 1989"
    with file.open(encoding="utf-8", newline="") as opened:
        rows = sorted(csv.DictReader(opened), key=lambda row: (row["State"], int(row["Year"])))
    states = np.unique([row["State"] for row in rows])
    years = np.unique([int(row["Year"]) for row in rows])
    y = np.array([float(row["PacksPerCapita"]) for row in rows]).reshape(len(states), len(years))
    cohort = np.where(states == "California", 1989, 0)
    return _long(states, years, cohort, y), "california_prop99.csv, 39 states x 31 years, California from 1989"


def areas() -> tuple[Columns, str]:
    """Counts per 1,000 youths of 340 areas; the 27 treated ones were picked because they are bad and large.

    As in life: small areas are noise, large ones often lie inside their hull (here 9 of the 27).
    """
    rng = np.random.default_rng([SEED, 340, 14])
    years = np.arange(LAST_YEAR - 12, LAST_YEAR + 2)
    youths = 3300 * np.exp(rng.normal(scale=0.9, size=340))
    rates = _rates(rng, 340, len(years), level=14.0, spread=0.25, noise=0.03)
    picked = np.log(rates[:, :9].mean(axis=1)) + 0.3 * np.log(youths / 3300) + rng.normal(scale=0.35, size=340)
    cohort = np.zeros(340, dtype=np.int64)
    cohort[rng.permutation(np.argsort(-picked)[: sum(SPLIT)])] = np.repeat(COHORTS, SPLIT)
    rates[(cohort[:, None] > 0) & (years >= cohort[:, None])] *= 0.9
    y = rng.poisson(rates * youths[:, None] / 1000) / youths[:, None] * 1000
    return _long(np.arange(340), years, cohort, y), "simulated, 27 treated areas (15, 4, 8) and 313 others x 14 years"


def states() -> tuple[Columns, str]:
    """A panel of the size of the castle-doctrine one: two-way effects, shocks that last, an effect of a tenth."""
    rng = np.random.default_rng([SEED, 50, 11])
    years = np.arange(2000, 2011)
    shocks = np.cumsum(rng.normal(scale=0.1, size=(50, 11)), axis=1)
    y = rng.normal(scale=0.5, size=(50, 1)) + shocks + rng.normal(scale=0.1, size=(50, 11))
    cohort = np.zeros(50, dtype=np.int64)
    cohort[:21] = np.repeat([2005, 2006, 2007, 2008, 2009], [1, 13, 4, 2, 1])
    y[(cohort[:, None] > 0) & (years >= cohort[:, None])] += 0.1
    return _long(np.arange(50), years, cohort, y), "simulated, 50 units x 11 years, 21 treated"


def _rates(
    rng: np.random.Generator, n: int, years: int, *, level: float, spread: float, noise: float
) -> NDArray[np.float64]:
    """Falling rates with a level per unit, three factors that wander, and noise (the last two relative)."""
    size = level * np.exp(rng.normal(scale=spread, size=n))
    factors = 0.3 * np.cumsum(rng.normal(size=(FACTORS, years)), axis=1)
    bent = 0.1 * rng.normal(size=(n, FACTORS)) @ factors
    year = rng.normal(scale=noise, size=(n, years))
    return np.asarray(size[:, None] * np.exp(-0.04 * np.arange(years) + bent + year))


def _long(units: NDArray[Any], years: NDArray[Any], cohort: NDArray[Any], y: NDArray[np.float64]) -> Columns:
    n, t = y.shape
    columns: Columns = {"unit": np.repeat(units, t), "time": np.tile(years, n), "cohort": np.repeat(cohort, t)}
    return {**columns, "y": y.ravel()}


def persons(n: int) -> tuple[Columns, str]:
    """Whole days: exit, event (0/1) and cause (0 = observation ended, 1 = new offense, 2 = death), one row per person.

    More than half can offend again, sooner rather than later; observation ends somewhere between half a year and
    fourteen years.
    """
    rng = np.random.default_rng([SEED, n])
    end = rng.integers(180, LAST_DAY + 1, size=n).astype(np.float64)
    again = np.where(rng.random(n) < 0.55, np.ceil(1100 * rng.weibull(0.75, size=n)), np.inf)
    death = np.ceil(rng.exponential(45_000, size=n))
    first = np.minimum(again, death)
    cause = np.where(first > end, 0, np.where(again <= death, 1, 2))
    columns: Columns = {
        "person": np.arange(n),
        "exit": np.minimum(first, end).astype(np.int64),
        "event": (cause > 0).astype(np.int64),
        "cause": cause.astype(np.int64),
    }
    return columns, f"simulated, {n} persons, whole days up to {LAST_DAY}, two kinds of events"


MAKERS: dict[str, Callable[[], tuple[Columns, str]]] = {
    **{name: partial(group_time, name) for name in SIZES},
    "california": california,
    "areas": areas,
    "states": states,
    "persons-100k": partial(persons, 100_000),
    "persons-1m": partial(persons, 1_000_000),
    "persons-5m": partial(persons, 5_000_000),
}


def write(name: str, path: Path) -> str:
    columns, description = MAKERS[name]()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **columns)
    return description


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=MAKERS)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    print(write(arguments.name, arguments.file))
