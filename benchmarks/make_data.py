"""Seeded panels for the benchmarks: python benchmarks/make_data.py SIZE FILE.npz

Three cohorts (2022, 2023, 2024, in the ratio 15 : 4 : 8), treatment selected on a covariate x that also bends the
untreated trend (so it has to be adjusted for), and an effect that grows with the years since the start.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEED = 20240501
LAST_YEAR = 2024
COHORTS = (2022, 2023, 2024)
SPLIT = (15, 4, 8)


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


def make(size: Size, seed: int = SEED) -> dict[str, NDArray[np.generic]]:
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


def write(name: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **make(SIZES[name]))  # type: ignore[arg-type]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    write(arguments.size, arguments.file)
