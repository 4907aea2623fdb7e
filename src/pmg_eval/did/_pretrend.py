r"""Pre-treatment coefficients beside imputed effects.

Untreated outcomes are regressed on event-time dummies (the last period before treatment, less anticipation, is the
reference), unit and period effects and covariates. Only untreated observations enter, so that the test is independent
of the effects under homoskedasticity (Borusyak, Jaravel and Spiess 2024, section 4.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pmg_eval.did._imputation_fit import Additive, Array, Baseline, Codes, Grid, Mask, Partialled

_LEFT_AT_LEAST = 1e-11  # share of a dummy that effects and covariates must leave; rounding leaves 1e-14
_ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class EventTimes:
    """Untreated observations of ever treated units by event time; the last one is the reference.

    Attributes
    ----------
    values : (E,) int
        Event times present, ascending.
    unit, period, slot : (c,) int
        The observations, and the position of their event time in ``values``.
    """

    values: Codes
    unit: Codes
    period: Codes
    slot: Codes

    def table(self, cells: Array, columns: int) -> Array:
        """(n, T) values laid out by unit and event time, first ``columns`` event times: (n, columns)."""
        out = np.zeros((cells.shape[0], len(self.values)))
        out[self.unit, self.slot] = cells[self.unit, self.period]
        return out[:, :columns]

    def spread(self, coefficient: Array, shape: tuple[int, int]) -> Array:
        """The coefficient of its event time at every observation, zero elsewhere: (n, T)."""
        out = np.zeros(shape)
        out[self.unit, self.period] = coefficient[self.slot]
        return out


@dataclass(frozen=True, eq=False)
class Pretrend:
    """Effects per event time before treatment; the last one is the reference.

    Attributes
    ----------
    value : (P+1,) float
        Coefficients (Poisson: rate ratios), the reference's no effect last; NaN where ``status`` says why.
    psi : (n, P+1) float
        Influence values by unit (n times each unit's contribution); zero for the reference.
    unit_weight : (n, P+1) float
        Share of each treated unit in the observations at that event time.
    status : tuple of str
    rank : int
        Number of effects that are identified.
    events : EventTimes
        The event times and their observations.
    """

    value: Array
    psi: Array
    unit_weight: Array
    status: tuple[str, ...]
    rank: int
    events: EventTimes


def event_times(grid: Grid, used: Mask) -> EventTimes:
    """Event times of the observations in use (those of never treated units have none)."""
    unit, period = np.nonzero(used & np.isfinite(grid.event))
    values, slot = np.unique(grid.event[unit, period], return_inverse=True)
    return EventTimes(values.astype(np.int64), unit, period, slot)


@dataclass(frozen=True, eq=False)
class Dummies:
    r"""Event-time dummies (all but the reference) net of unit and period effects and covariates.

    With B the weights by unit and event time, H those by event time and period and m the shares of
    :class:`~pmg_eval.did._imputation_fit.Additive`, eliminating units, periods and covariates (inverse cross product Q)
    leaves :math:`G=\mathrm{diag}(1'B)-B'A^{-1}B-CS^+C'-KQK'` with :math:`C=H-B'm` and K the moments with covariates:
    nothing of size (n T) x P is built.

    Attributes
    ----------
    events : EventTimes
    model, partialled : Additive, Partialled
        What the dummies are net of.
    on_period, on_covariate : (P, T), (P, p) float
        :math:`CS^+` and :math:`KQ`.
    inverse : (P, P) float
        Generalized inverse of G.
    identified : (P,) bool
    """

    events: EventTimes
    model: Additive
    partialled: Partialled
    on_period: Array
    on_covariate: Array
    inverse: Array
    identified: Mask

    def step(self, score: Array) -> tuple[Array, Array]:
        """Least-squares coefficients (P,) for weighted residuals (n, T) of the rest, and the residuals left."""
        coefficient = self.inverse @ self.events.table(score, len(self.inverse)).sum(axis=0)
        shift = self.model.residual(self.events.spread(np.append(coefficient, 0.0), score.shape))
        _, shift = self.partialled.split(shift)
        return coefficient, score - self.model.weight * shift

    def psi(self, score: Array) -> Array:
        """Contribution of each unit to the coefficients, times n: (n, P)."""
        covariate = np.einsum("it,pit->ip", score, self.partialled.residual)
        by_unit = self.events.table(score, len(self.inverse))
        by_unit = by_unit - score @ self.on_period.T - covariate @ self.on_covariate.T
        return np.asarray(len(by_unit) * by_unit @ self.inverse)


def dummies(model: Additive, partialled: Partialled, events: EventTimes) -> Dummies:
    """Project the dummies (see :class:`Dummies`)."""
    columns = len(events.values) - 1
    by_event = events.table(model.weight, columns)
    by_period = np.zeros((len(events.values), model.weight.shape[1]))
    np.add.at(by_period, (events.slot, events.period), model.weight[events.unit, events.period])
    total = model.effects.unit_weight_sum
    scaled = np.divide(by_event, total[:, None], out=np.zeros_like(by_event), where=total[:, None] > 0)
    cross = by_period[:columns] - by_event.T @ model.share
    on_period = cross @ model.effects.schur_pinv
    moments = np.zeros((columns, len(partialled.residual)))
    for position, column in enumerate(partialled.residual):
        moments[:, position] = events.table(model.weight * column, columns).sum(axis=0)
    on_covariate = moments @ partialled.bread
    gram = np.diag(by_event.sum(axis=0)) - by_event.T @ scaled - on_period @ cross.T - on_covariate @ moments.T
    inverse, identified = _solve((gram + gram.T) / 2, by_event.sum(axis=0))
    return Dummies(events, model, partialled, on_period, on_covariate, inverse, identified)


def _solve(gram: Array, total: Array) -> tuple[Array, Mask]:
    """Generalized inverse, and which coefficients it identifies; ``total`` are the lengths before projection.

    What is left of a dummy is judged against the dummy itself, not against what is left of the others: where effects
    explain all of them, everything that is left is rounding.
    """
    left = np.clip(np.divide(gram.diagonal(), total, out=np.zeros(len(gram)), where=total > 0), 0, None)
    alive = left > _LEFT_AT_LEAST
    size = np.sqrt(gram.diagonal(), out=np.full(len(gram), np.inf), where=alive)
    value, vector = np.linalg.eigh(gram / np.outer(size, size))
    small = value < max(1e-9, _ROUNDING / left[alive].min(initial=1.0))
    inverse = (vector[:, ~small] / value[~small]) @ vector[:, ~small].T / np.outer(size, size)
    identified = alive & (np.abs(vector[:, small]).max(axis=1, initial=0.0) < 1e-6)
    return inverse, identified


def pretrend(grid: Grid, baseline: Baseline) -> Pretrend | None:
    """Regression of untreated outcomes on event-time dummies; None when no treated unit has an untreated period."""
    events = event_times(grid, baseline.model.weight > 0)
    if not len(events.values):
        return None
    net = dummies(baseline.model, baseline.partialled, events)
    coefficient, score = net.step(baseline.score)
    return result(events, baseline.model, coefficient, net.psi(score), net.identified, reference=0.0)


def result(
    events: EventTimes, model: Additive, value: Array, psi: Array, identified: Mask, reference: float
) -> Pretrend:
    """Values and influence with the reference appended."""
    weight = events.table(model.weight, len(events.values))
    total = weight.sum(axis=0)
    status = tuple("" if fine else "not_identified" for fine in identified)
    return Pretrend(
        value=np.append(np.where(identified, value, np.nan), reference),
        psi=np.hstack([np.where(identified, psi, 0.0), np.zeros((len(psi), 1))]),
        unit_weight=weight / np.where(total > 0, total, 1.0),
        status=(*status, "reference"),
        rank=int(identified.sum()),
        events=events,
    )
