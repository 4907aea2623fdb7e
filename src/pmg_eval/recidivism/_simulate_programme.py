"""What the programme does to the log rate of every municipality in every quarter, and to counts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pmg_eval.recidivism._simulate_areas import Municipalities
from pmg_eval.recidivism._simulate_codes import ANTICIPATED, CONTAMINATION, EFFECT_FACTOR, NEIGHBORS, Array, Ints
from pmg_eval.recidivism._simulate_options import Options

_UNIX_QUARTER = 1970 * 4
LARGEST_EFFECT = 1.5


def quarter_of(dates: pd.Series[pd.Timestamp]) -> Array:
    """Calendar quarter (4 x year + quarter) of dates; +inf for NaT."""
    quarter = (dates.dt.year * 4 + dates.dt.quarter - 1).to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isnan(quarter), np.inf, quarter)


def quarter_of_days(days: Ints) -> Ints:
    """Calendar quarter of day numbers since 1970."""
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return np.asarray(months // 3 + _UNIX_QUARTER)


def neighbor_pairs(position: Array) -> Ints:
    """Pairs (E, 2) of an area and one of its nearest neighbors on the plane; both directions, sorted."""
    gap = ((position[:, None, :] - position[None, :, :]) ** 2).sum(axis=2)
    np.fill_diagonal(gap, np.inf)
    nearest = np.argsort(gap, axis=1, kind="stable")[:, :NEIGHBORS]
    pairs = np.column_stack([np.repeat(np.arange(len(position)), NEIGHBORS), nearest.ravel()])
    return np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)


def effect_on_log_rate(
    areas: pd.DataFrame, pairs: Ints, options: Options, last_year: int, rng: np.random.Generator
) -> Array:
    """Log rate with the programme minus without (n, Q), per quarter from the first year through ``last_year``.

    Own effect x phase from the execution date on (mid-quarter of a linear rise over ``phase_in`` quarters), half of it
    in municipalities added in 2024, the spillover where the programme does not run itself but does in a neighbor.
    """
    quarters = np.arange(4 * options.years[0], 4 * (last_year + 1), dtype=np.float64)
    start, plan = quarter_of(areas["treated_from"])[:, None], quarter_of(areas["plan_date"])[:, None]
    phase = _rise(quarters - start, options.phase_in)
    if options.anticipation:
        phase = np.where(quarters >= plan, np.maximum(phase, ANTICIPATED), phase)
    later = _rise(quarters - quarter_of(areas["contaminated_from"])[:, None], options.phase_in)
    own = options.effect * (1 + options.heterogeneity * rng.standard_normal(len(areas)))
    own = np.clip(own, -LARGEST_EFFECT, LARGEST_EFFECT)
    change = own[:, None] * (phase + CONTAMINATION * later)
    if options.spillover:
        near = np.zeros_like(phase)
        np.maximum.at(near, pairs[:, 0], phase[pairs[:, 1]])
        change += options.spillover * np.where((phase > 0) | (later > 0), 0.0, near)
    return np.asarray(change)


def _rise(since: Array, phase_in: int) -> Array:
    """Share of the full effect, ``since`` quarters after the start."""
    if phase_in == 0:
        return np.asarray((since >= 0).astype(np.float64))
    return np.asarray(np.where(since >= 0, np.clip((since + 0.5) / phase_in, 0.0, 1.0), 0.0))


def expected_with(country: Municipalities, change: Array) -> Array:
    """Expected suspects (n, T, 2, 3) with the programme: the mean over the quarters of each year."""
    n, n_years = country.mean.shape[:2]
    quarterly = change[:, : 4 * n_years].reshape(n, n_years, 4)
    factor = np.exp(quarterly[..., None] * EFFECT_FACTOR).mean(axis=2)
    return np.asarray(country.mean * factor[:, :, None, :])


def realized_with(without: Ints, mean_without: Array, mean_with: Array, rng: np.random.Generator) -> Ints:
    """Counts with the programme from those without: suspects prevented at random, or added.

    Thinning a Poisson count keeps it Poisson, so both counts have their own law and differ by what the programme did.
    """
    fewer, more = mean_with < mean_without, mean_with > mean_without
    kept = np.divide(mean_with, mean_without, out=np.ones_like(mean_with), where=fewer)
    count = rng.binomial(without, kept)
    added = rng.poisson(np.where(more, mean_with - mean_without, 0.0))
    return np.asarray(count + added, dtype=np.int64)
