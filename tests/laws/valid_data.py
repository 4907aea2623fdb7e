"""Valid data for every registered estimator, from a seed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

import pmg_eval as pe

FIRST, YEARS = 2010, 7
STARTS = (2013, 2014, 2016)


def table(kind: str, seed: int) -> pd.DataFrame:
    """A small staggered panel: unit, year, start (0 = never), outcome y, covariates x (fixed), z (varying), weight."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 6, len(STARTS))
    start = np.concatenate([np.repeat(STARTS, sizes), np.zeros(int(rng.integers(14, 20)), dtype=int)])
    n = len(start)
    year = np.tile(FIRST + np.arange(YEARS), n)
    frame = pd.DataFrame(
        {
            "unit": np.repeat(np.arange(n) * 3 + 5, YEARS),
            "year": year,
            "start": np.repeat(start, YEARS).astype(np.int64),
        }
    )
    # overlap: x spreads more widely among the comparison units than its mean differs
    x = rng.normal(0.3 * (start > 0), 1.0)
    frame["x"] = np.repeat(x, YEARS)
    frame["z"] = rng.normal(size=n * YEARS)
    frame["weight"] = np.repeat(rng.uniform(0.5, 2.0, n), YEARS)
    effect = np.repeat(rng.normal(size=n), YEARS), np.tile(rng.normal(size=YEARS), n)
    treated = ((frame["start"] > 0) & (frame["year"] >= frame["start"])).to_numpy()
    if kind == "panel":
        frame["y"] = (
            effect[0] + effect[1] + 0.4 * frame["x"] * np.tile(np.arange(YEARS), n) / YEARS + rng.normal(size=n * YEARS)
        )
        frame["y"] += 0.7 * treated
    else:
        frame["people"] = np.repeat(rng.integers(500, 5000, n), YEARS) * np.tile(1 + 0.01 * np.arange(YEARS), n)
        rate = 0.03 * np.exp(0.2 * effect[0] + 0.1 * effect[1] - 0.3 * treated)
        frame["y"] = rng.poisson(frame["people"] * rate).astype(float)
    return frame


def panel(frame: pd.DataFrame, *, weighted: bool = True) -> pe.Panel:
    """The frame as a panel."""
    return pe.Panel(
        frame,
        unit="unit",
        time="year",
        cohort="start",
        never=0,
        weight="weight" if weighted else None,
        exposure="people" if "people" in frame else None,
    )


def treated(frame: pd.DataFrame) -> np.ndarray:
    """0/1 treatment path."""
    return ((frame["start"] > 0) & (frame["year"] >= frame["start"])).to_numpy(dtype=float)


@dataclass(frozen=True)
class Averages:
    """Values, standard errors and influence of all averages of an estimate, in one row order.

    Without a law: standard errors are NaN and there is no influence.
    """

    values: np.ndarray
    se: np.ndarray
    psi: np.ndarray
    n: int
    units: np.ndarray
    event_time: np.ndarray


def averages(estimate: pe.Estimate) -> Averages:
    """Overall averages of three kinds and the event study, side by side."""
    parts = [estimate.average(), estimate.average(overall="cohort"), estimate.average(by="event_time")]
    law = parts[0].uncertainty
    values = np.concatenate([part.values for part in parts])
    times = [p.terms["event_time"].to_numpy(dtype=float) if "event_time" in p.terms else np.zeros(1) for p in parts]
    if law is None:
        nothing = np.full(len(values), np.nan)
        return Averages(values, nothing, np.empty((0, len(values))), 0, np.empty(0), np.concatenate(times))
    return Averages(
        values,
        np.concatenate([part.se for part in parts]),
        np.hstack([part.uncertainty.psi.dense() for part in parts]),
        law.n,
        law.rows["unit"].to_numpy(),
        np.concatenate(times),
    )
