"""Many targets on the same columns: the simplex problems of all placebos of a panel, in a few array operations.

Each problem is started by nonnegative least squares; then all supports are solved together and all optimality
conditions are checked together. A problem that is not settled beyond doubt in this way (negative weights on its
support, nearly dependent columns, a gap above rounding) is left to
:func:`~pmg_eval.numerics.simplex.simplex_lstsq`, which costs five times as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmg_eval.numerics.simplex import Array, nnls_start

_GAP = 1e-12  # relative optimality gap of a problem that is settled here
_SETTLED = 1e-9  # size of the last correction of the weights; also what tells that the columns are independent
_DUST = 1e-13
_BLOCK = 256  # targets at once: bounds the memory


@dataclass(frozen=True, eq=False)
class SimplexFits:
    """Weights of many problems.

    Attributes
    ----------
    weights : (k, J) array
        At least 0, summing to 1.
    objective, kkt_gap : (k,) arrays
        As in :class:`~pmg_eval.numerics.simplex.SimplexFit`, without penalties.
    slack : (k, J) array
        Rate at which the fit gets worse towards each column, in units of its residual (0 for columns in use): r'(fit -
        a_j)/|r|; infinite for the column that a problem must not use.
    settled : (k,) bool
        Whether the row can be trusted: optimal, with independent columns in use. Other rows are not filled.
    """

    weights: Array
    objective: Array
    kkt_gap: Array
    slack: Array
    settled: NDArray[np.bool_]


def simplex_many(columns: Array, goals: Array, without: NDArray[np.intp] | None = None) -> SimplexFits:
    """Nearest points of the hull of the columns to many targets.

    Parameters
    ----------
    columns : (m, J) array
        Finite.
    goals : (m, k) array
    without : (k,) int array, optional
        A column that each problem must not use (a unit is not its own donor).

    Returns
    -------
    SimplexFits
    """
    if without is None:
        without = np.full(goals.shape[1], -1)
    # Differences to one column first: exact for what all columns have in common, however large.
    shifted = columns - columns[:, :1]
    middle = shifted.mean(axis=1, keepdims=True)
    shifted, targets = shifted - middle, goals - columns[:, :1] - middle
    blocks = [np.arange(first, min(first + _BLOCK, len(without))) for first in range(0, len(without), _BLOCK)]
    parts = [_block(shifted, targets[:, own], without[own]) for own in blocks]
    return SimplexFits(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in SimplexFits.__dataclass_fields__)
    )


def _block(columns: Array, goals: Array, without: NDArray[np.intp]) -> SimplexFits:
    count, total = goals.shape[1], columns.shape[1]
    weights = np.zeros((count, total))
    settled = np.zeros(count, dtype=bool)
    for number in range(count):
        away = columns - goals[:, number : number + 1]
        kept = np.arange(total) != without[number]
        found = nnls_start(away[:, kept], 0.0) if kept.any() else None
        if found is not None:
            weights[number, kept] = found
            settled[number] = True
    slack = np.full((count, total), np.inf)
    objective, gap = np.full(count, np.nan), np.full(count, np.nan)
    on = np.flatnonzero(settled)
    if len(on) and int((weights[on] > 0).sum(axis=1).max()) > 1:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # dependent columns: not settled
            weights[on], settled[on] = _on_support(columns, goals[:, on], weights[on])
    on = np.flatnonzero(settled)
    if len(on):
        objective[on], gap[on], slack[on] = _conditions(columns, goals[:, on], weights[on], without[on])
        settled[on] = gap[on] <= _GAP
    return SimplexFits(weights, objective, gap, slack, settled)


def _on_support(columns: Array, goals: Array, weights: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The least squares weights on each support: normal equations, and two corrections from the residuals."""
    count = len(weights)
    order = np.argsort(-weights, axis=1)[:, : int((weights > 0).sum(axis=1).max())]
    inside = np.take_along_axis(weights, order, axis=1) > 0
    base, others, real = order[:, 0], order[:, 1:], inside[:, 1:]
    differences = columns[:, others].transpose(1, 0, 2) - columns[:, base].T[:, :, None]
    differences *= real[:, None, :]
    length = np.sqrt(np.square(differences).sum(axis=1))
    length[length == 0] = 1.0
    differences /= length[:, None, :]
    rest = (goals - columns[:, base]).T
    system = differences.transpose(0, 2, 1) @ differences
    system[:, np.arange(real.shape[1]), np.arange(real.shape[1])] += ~real  # unused places: 1 x = 0
    try:
        inverse = np.linalg.inv(system)
    except np.linalg.LinAlgError:
        return weights, np.zeros(count, dtype=bool)
    found = np.zeros(real.shape)
    step = found
    for _ in range(3):
        left = rest - (differences @ found[:, :, None])[:, :, 0]
        step = (inverse @ (differences.transpose(0, 2, 1) @ left[:, :, None]))[:, :, 0]
        found = found + step
    share = found / length
    out = np.zeros_like(weights)
    np.put_along_axis(out, others, np.where(real, share, 0.0), axis=1)
    out[np.arange(count), base] = 1 - np.where(real, share, 0.0).sum(axis=1)
    out = without_dust(out)
    settled = (np.abs(step / length).max(axis=1, initial=0.0) <= _SETTLED) & (out.min(axis=1) >= 0)
    return out, settled


def without_dust(weights: Array) -> Array:
    """Weights (J,) or (k, J) without those that are rounding: they are no part of the fit."""
    kept = np.where(np.abs(weights) > _DUST, weights, 0.0)
    return np.asarray(kept / kept.sum(axis=-1, keepdims=True))


def _conditions(columns: Array, goals: Array, weights: Array, without: NDArray[np.intp]) -> tuple[Array, Array, Array]:
    """Objective, relative gap, and slack of every column."""
    fit = columns @ weights.T
    rest = goals - fit
    objective = np.square(rest).sum(axis=0)
    gains = rest.T @ columns - (rest * fit).sum(axis=0)[:, None]
    square = np.square(columns).sum(axis=0) - 2 * (fit.T @ columns) + np.square(fit).sum(axis=0)[:, None]
    own = np.flatnonzero(without >= 0)
    gains[own, without[own]] = -np.inf
    square[own, without[own]] = 0.0
    distance, miss = np.sqrt(np.maximum(square.max(axis=1), 0.0)), np.sqrt(objective)
    scale = distance * np.maximum(distance, miss)
    gap = np.maximum(gains.max(axis=1), 0.0) / np.where(scale > 0, scale, 1.0)
    return objective, gap, -gains / np.where(miss > 0, miss, 1.0)[:, None]
