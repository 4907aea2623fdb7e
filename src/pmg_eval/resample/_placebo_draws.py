"""Draws of the errors of treated areas from those of placebo areas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pmg_eval.errors import DesignError
from pmg_eval.estimate.scales import SCALES
from pmg_eval.numerics.rows import Array
from pmg_eval.resample._area_cells import Cells
from pmg_eval.resample._area_effects import AreaEffects
from pmg_eval.resample._area_placebos import paths_of
from pmg_eval.resample._placebo_law import Placebos, SizeModel, Start, fit_variance, starts_of

MOST_DRAWS, FEWEST_DRAWS, MEMORY = 19_999, 999, 200_000_000
"""Draws unless the caller says otherwise: as many as fit into so many bytes."""


def number_of_draws(asked: int | None, terms: int) -> int:
    """Draws asked for, or as many as keep the array of errors below 200 MB."""
    if asked is not None:
        return asked
    return int(np.clip(MEMORY // (8 * max(terms, 1)), FEWEST_DRAWS, MOST_DRAWS))


def repeated(values: Any, draws: int, generator: np.random.Generator) -> Any:
    """Random order in which each value comes equally often (the last round is cut short)."""
    if draws < len(values):
        return generator.permutation(values)[:draws]
    return generator.permutation(np.tile(values, -(-draws // len(values)))[:draws])


def scores(draws: int, generator: np.random.Generator) -> Array:
    """Evenly spaced uniform numbers in random order, for the error of the scale of the law."""
    return np.asarray(generator.permutation((np.arange(draws) + 0.5) / draws))


def area_errors(
    effects: AreaEffects,
    pools: Mapping[Start, Placebos],
    shared: Array,
    draws: int,
    generator: np.random.Generator,
) -> Array:
    """Errors (R, k) on the interval's scale; NaN for an area without an effect."""
    value, vector = np.linalg.eigh(shared)
    root = vector * np.sqrt(np.clip(value, 0, None))
    errors = generator.standard_normal((draws, len(effects.values))) @ root.T
    for column, start in enumerate(starts_of(effects)):
        if np.isnan(effects.values[column]):
            errors[:, column] = np.nan
            continue
        index, factor = pools[start].used(float(effects.size[column]))
        errors[:, column] += repeated(factor * pools[start].effect[index], draws, generator)
    return np.asarray(errors)


@dataclass(frozen=True, eq=False)
class _Shapes:
    """How placebo errors of one start run over the periods, around their average.

    ``deviation`` (J, H) sums to zero with the weights of the placebo; ``sigma`` (J, H) is its standard deviation by the
    size model of each event time, ``a`` and ``b`` (H,) the model, ``largest`` (H,) the largest size it was fitted to.
    """

    event_time: Any
    deviation: Array
    sigma: Array
    a: Array
    b: Array
    largest: Array


def _shapes(pool: Placebos) -> _Shapes:
    paths = paths_of(pool.effects)
    with np.errstate(invalid="ignore"):
        average = np.nansum(paths.weight * paths.values, axis=1) / paths.weight.sum(axis=1)
    deviation = paths.values - average[:, None]
    size = paths.weight if pool.effects.scale == "log" else np.broadcast_to(pool.size[:, None], deviation.shape)
    periods = len(paths.event_time)
    largest = np.max(size, axis=0)
    sigma, a, b = np.ones_like(deviation), np.zeros(periods), np.zeros(periods)
    if periods == 1:
        return _Shapes(paths.event_time, np.where(np.isnan(deviation), np.nan, 0.0), sigma, a, b, largest)
    for column in range(periods):
        known = np.isfinite(deviation[:, column]) & (size[:, column] > 0)
        if not (isinstance(pool.law, SizeModel) and (deviation[known, column] != 0).any()):
            continue
        a[column], b[column] = fit_variance(deviation[known, column], size[known, column])
        sigma[known, column] = np.sqrt(a[column] + b[column] / size[known, column])
    return _Shapes(paths.event_time, deviation, sigma, a, b, largest)


def cell_errors(
    effects: AreaEffects, cells: Cells, pools: Mapping[Start, Placebos], draws: int, generator: np.random.Generator
) -> tuple[Array, Any]:
    r"""Errors (R, c) of (area, period) cells on the natural scale, and the placebos (k,) that each area had.

    The whole path of one placebo area J stands for area i: its average as in :func:`area_errors`, and around that its
    deviations scaled period by period, re-centered so that the average stays what it was. One factor for the whole path
    would be wrong for single periods, factors of single periods wrong for the average: sampling noise is independent
    over periods, shocks are not.
    """
    errors = _control_errors(cells, draws, generator)
    shapes = {start: _shapes(pool) for start, pool in pools.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        natural = 1 / np.abs(SCALES[effects.scale].slope(cells.values))
    number = np.zeros(len(effects.values), dtype=np.int64)
    for at, start in enumerate(starts_of(effects)):
        own = np.flatnonzero((cells.area == at) & np.isfinite(cells.values))
        errors[:, (cells.area == at) & ~np.isfinite(cells.values)] = np.nan
        if np.isnan(effects.values[at]) or len(own) == 0:
            continue
        pool, shape = pools[start], shapes[start]
        column = np.searchsorted(shape.event_time, cells.event_time[own])
        index, factor = pool.used(float(effects.size[at]))
        kept = _complete(shape, cells.event_time[own], column, index)
        index, factor = index[kept], factor[kept]
        number[at] = len(index)
        order = repeated(np.arange(len(index)), draws, generator)
        size = cells.weight[own] if effects.scale == "log" else np.full(len(own), effects.size[at])
        ratio = np.ones((len(index), len(own)))
        if isinstance(pool.law, SizeModel) and (shape.a + shape.b > 0).any():
            size = np.minimum(size, shape.largest[column])
            ratio = np.sqrt(shape.a[column] + shape.b[column] / size) / shape.sigma[np.ix_(index, column)]
        deviation = (shape.deviation[np.ix_(index, column)] * ratio)[order]
        mass = cells.weight[own] * natural[own]
        if mass.sum() > 0:
            deviation -= (deviation @ mass / mass.sum())[:, None]
        level = (factor * pool.effect[index])[order]
        errors[:, own] += (level[:, None] + deviation) * natural[own]
    return errors, number


def _complete(shape: _Shapes, event_time: Any, column: Any, index: Any) -> Any:
    """Which placebos have every period of an area."""
    known = column < len(shape.event_time)
    known[known] &= shape.event_time[column[known]] == event_time[known]
    complete = (
        np.isfinite(shape.deviation[np.ix_(index, column)]).all(axis=1) if known.all() else np.zeros(len(index), bool)
    )
    if complete.sum() < 2:
        raise DesignError(
            "PMG-NO-PLACEBO",
            f"{int(complete.sum())} placebo areas are observed in all periods of a treated area",
            fix='by="unit", or leave out the periods that few areas have',
        )
    return np.flatnonzero(complete)


def _control_errors(cells: Cells, draws: int, generator: np.random.Generator) -> Array:
    """Normal draws (R, c) of the error that cells share through their controls; zeros without a law."""
    if cells.others is None:
        return np.zeros((draws, len(cells.values)))
    known = np.where(np.isfinite(cells.others), cells.others, 0.0)
    root = np.linalg.qr(known, mode="r")  # root' root is the covariance; min(m, c) rows
    return np.asarray(generator.standard_normal((draws, len(root))) @ root)
