r"""Multiplicative counterfactuals: Poisson pseudo maximum likelihood on untreated observations.

:math:`\hat\mu_{it}=E_{it}\exp(\hat a_i+\hat d_t+x_{it}'\hat b)`. Because the Poisson link is canonical, imputing from
untreated observations and pooling everything with saturated effects give the same averages (Wooldridge 2023,
doi:10.1093/ectj/utad016).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pmg_eval.did._door import need_counts
from pmg_eval.did._imputation_fit import Array, Baseline, Codes, Grid, Mask, additive, partial_out
from pmg_eval.did._pretrend import EventTimes, Pretrend, dummies, event_times, result
from pmg_eval.errors import DesignError, NumericalError
from pmg_eval.numerics.ppml import PpmlFit, ppml

if TYPE_CHECKING:
    from pmg_eval.panel import Panel

_NEWTON_STEPS = 30
_LARGEST_MOVE = 2.0  # no mean changes by more than this factor's exponential in one step
_SETTLED = 1e-7


def exposure_of(panel: Panel, outcome: str, grid: Grid) -> Array:
    """Exposure (n, T), ones without the role; checks that the outcome can be a count or amount."""
    need_counts(panel, outcome)
    if panel.exposure is None:
        return np.ones_like(grid.outcome)
    return np.nan_to_num(panel.wide_rows(panel.exposure), nan=0.0)


def _fit(grid: Grid, exposure: Array, weight: Array, extra: list[Array]) -> tuple[PpmlFit, Mask]:
    """Fit on the cells with positive weight; the treated cells come along with weight zero, to be predicted."""
    cells = grid.untreated.copy()
    cells[grid.unit, grid.period] = True
    cells &= exposure > 0
    unit, period = np.nonzero(cells)
    columns = [*grid.covariates, *extra]
    matrix = np.array([column[cells] for column in columns]).T if columns else None
    fit = ppml(
        grid.outcome[cells],
        exposure[cells],
        unit,
        period,
        matrix,
        weight[cells],
        n_units=len(grid.outcome),
        n_times=grid.outcome.shape[1],
    )
    return fit, cells


def _on_grid(fit: PpmlFit, cells: Mask) -> tuple[Array, Mask]:
    """Means and rows in use, (n, T)."""
    expected, used = np.zeros(cells.shape), np.zeros_like(cells)
    expected[cells], used[cells] = np.nan_to_num(fit.mu, nan=0.0), fit.used
    return expected, used


def _baseline(grid: Grid, weight: Array, fit: PpmlFit, cells: Mask) -> Baseline:
    """The fit as a baseline at its working weights; separated observations have none."""
    expected, used = _on_grid(fit, cells)
    model = additive(np.where(used, weight * expected, 0.0))
    zero_units, zero_periods = np.zeros(len(cells), dtype=np.bool_), np.zeros(cells.shape[1], dtype=np.bool_)
    zero_units[fit.dropped_units], zero_periods[fit.dropped_times] = True, True
    residual = grid.outcome - expected
    return Baseline(
        expected=expected,
        residual=residual,
        score=np.where(used, weight * residual, 0.0),
        model=model,
        partialled=partial_out(model, grid),
        coefficients=fit.coef[: len(grid.covariates)],
        zero_units=zero_units,
        zero_periods=zero_periods,
    )


def poisson_baseline(grid: Grid, exposure: Array) -> Baseline:
    """Counterfactual means from untreated observations."""
    weight = np.where(grid.untreated, grid.weight, 0.0)
    try:
        fit, cells = _fit(grid, exposure, weight, [])
    except NumericalError as error:
        if error.code == "PMG-NO-EVENTS":
            raise DesignError(
                "PMG-NO-EVENTS",
                "all untreated counts are zero, so expected counts are too",
                fix="use larger areas, longer periods or a more common outcome",
            ) from error
        raise
    return _baseline(grid, weight, fit, cells)


def poisson_pretrend(grid: Grid, exposure: Array, baseline: Baseline) -> Pretrend | None:
    """Poisson regression of untreated counts on event-time dummies: ratios to the reference period."""
    every = event_times(grid, grid.untreated)
    if not len(every.values):
        return None
    counts = every.table(grid.weight * grid.outcome, len(every.values)).sum(axis=0)
    possible = counts > 0
    while possible[-1]:
        weight = np.where(grid.untreated, grid.weight, 0.0)
        gone = ~possible[every.slot]
        weight[every.unit[gone], every.period[gone]] = 0.0
        used = (weight > 0) & (baseline.model.weight > 0)
        fitted = _newton(grid, weight, used, baseline.expected, np.zeros(int(possible.sum()) - 1))
        if fitted is None:
            decided = _decided(grid, exposure, weight, every, possible)
            if decided is None:
                break
            if not isinstance(decided, Pretrend):
                possible[decided] = False
                continue
            fitted = decided
        return _completed(every, possible, grid, fitted)
    return _completed(every, np.zeros(len(possible), dtype=np.bool_), grid, None)


def _newton(grid: Grid, weight: Array, used: Mask, expected: Array, coefficient: Array) -> Pretrend | None:
    """Newton's method with the effects absorbed, from means and coefficients; None when it does not settle."""
    events = event_times(grid, used)
    mean = np.where(used, expected, 0.0)
    settled, identified = False, None
    for _ in range(_NEWTON_STEPS):
        model = additive(weight * mean)
        partialled = partial_out(model, grid)
        net = dummies(model, partialled, events)
        if identified is None:
            identified = net.identified
        if (net.identified != identified).any():  # means run to zero: the data identify it, but not as a finite ratio
            return None
        residual = np.where(used, weight * (grid.outcome - mean), 0.0)
        if settled:
            ratio = np.exp(coefficient)
            return result(events, model, ratio, net.psi(residual) * ratio, net.identified, reference=1.0)
        working = np.divide(residual, model.weight, out=np.zeros_like(residual), where=used)
        _, rest = partialled.split(model.residual(working))
        step, score = net.step(model.weight * rest)
        move = np.where(used, working - np.divide(score, model.weight, out=np.zeros_like(score), where=used), 0.0)
        largest = float(np.abs(move).max())
        shorten = min(1.0, _LARGEST_MOVE / max(largest, 1e-300))
        mean, coefficient = mean * np.exp(shorten * move), coefficient + shorten * step
        settled = largest < _SETTLED  # the step just taken squares this
    return None


def _decided(grid: Grid, exposure: Array, weight: Array, every: EventTimes, possible: Mask) -> Pretrend | Codes | None:
    """The fit, or the event times whose zeros the dummies fit perfectly (their ratio is not finite), or neither."""
    slots = np.flatnonzero(possible[:-1])
    columns = [every.spread((np.arange(len(every.values)) == slot) * 1.0, weight.shape) for slot in slots]
    try:
        fit, cells = _fit(grid, exposure, weight, columns)
    except NumericalError as error:
        if error.code != "PMG-SEPARATION":
            return None
        positions = np.array([int(column) - len(grid.covariates) for column in error.where], dtype=np.int64)
        positions = positions[positions >= 0]
        return slots[positions] if len(positions) else None
    expected, used = _on_grid(fit, cells)
    return _newton(grid, weight, used, expected, fit.coef[len(grid.covariates) :])


def _completed(every: EventTimes, possible: Mask, grid: Grid, fitted: Pretrend | None) -> Pretrend:
    """Event times without a finite ratio are NaN with the status ``zero_base``."""
    n, size = len(grid.outcome), len(every.values)
    weight = np.where(grid.untreated, grid.weight, 0.0)
    plain = result(every, additive(weight), np.zeros(size - 1), np.zeros((n, size - 1)), possible[:-1], reference=1.0)
    if fitted is None:
        return replace(plain, status=(*["zero_base"] * (size - 1), "reference"), rank=0)
    value, psi = plain.value.copy(), plain.psi.copy()
    unit_weight, status = plain.unit_weight.copy(), np.array(plain.status, dtype=object)
    value[:-1], status[:-1] = np.nan, "zero_base"
    slots = np.flatnonzero(np.isin(every.values, fitted.events.values))
    value[slots], psi[:, slots], unit_weight[:, slots] = fitted.value, fitted.psi, fitted.unit_weight
    status[slots] = fitted.status
    return replace(plain, value=value, psi=psi, unit_weight=unit_weight, status=tuple(status), rank=fitted.rank)
