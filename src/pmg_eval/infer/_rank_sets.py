r"""Which areas are better than which, all at once, and the ranks that this leaves open.

For the ordered pairs (j, k) the hypotheses :math:`\theta_j\le\theta_k` are tested together: those with
:math:`(\hat\theta_j-\hat\theta_k)/se_{jk}` above the quantile of the largest such error are rejected, the quantile is
taken again over the pairs that are left, and so on (Romano and Wolf). The probability of even one wrong rejection is
bounded, hence that of a wrong rank set anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pmg_eval.numerics.rows import Array


@dataclass(frozen=True, eq=False)
class RankSets:
    """Ranks (1 = largest) and their simultaneous sets.

    Attributes
    ----------
    better : (k, k) bool
        Row is shown to be above column.
    rank, low, high : (k,) int
    critical, critical_error : float
        Quantile of the first step and the half-width of its 95 % Monte-Carlo interval.
    borderline : int
        Pairs that the last step would decide otherwise within that error.
    steps : int
    """

    better: Any
    rank: Any
    low: Any
    high: Any
    critical: float
    critical_error: float
    borderline: int
    steps: int


def rank_sets(score: Array, cov: Array, errors: Array, level: float) -> RankSets:
    """Rank sets of scores (the larger the better) with covariance cov, from draws (R, k) of their errors."""
    k = len(score)
    variance = np.diag(cov)
    se = np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * cov, 0.0))
    np.fill_diagonal(se, 1.0)
    distance = (score[:, None] - score[None, :]) / se
    better = np.zeros((k, k), dtype=bool)
    critical = error = np.nan
    steps = 0
    while True:
        open_ = ~better
        np.fill_diagonal(open_, False)
        if not open_.any():
            last = (np.inf, 0.0)
            break
        last = _quantile(_largest(errors, se, open_), level)
        if steps == 0:
            critical, error = last
        steps += 1
        found = open_ & (distance > last[0])
        if not found.any():
            break
        better |= found
    near = ~better & (np.abs(distance - last[0]) <= last[1])
    np.fill_diagonal(near, False)
    return RankSets(
        better,
        1 + (score[None, :] > score[:, None]).sum(axis=1),
        1 + better.sum(axis=0),
        k - better.sum(axis=1),
        float(critical),
        float(error),
        int(near.sum()),
        steps,
    )


def _largest(errors: Array, se: Array, open_: Any) -> Array:
    """Per draw the largest standardized difference over the open pairs; one row of pairs at a time."""
    largest = np.full(len(errors), -np.inf)
    for row in range(errors.shape[1]):
        columns = np.flatnonzero(open_[row])
        if len(columns):
            difference = (errors[:, [row]] - errors[:, columns]) / se[row, columns]
            np.maximum(largest, difference.max(axis=1), out=largest)
    return largest


def _quantile(largest: Array, level: float) -> tuple[float, float]:
    """The quantile that is never too small, and its Monte-Carlo error (half of a 95 % interval of order statistics)."""
    draws = len(largest)
    position = int(np.ceil(level * (draws + 1) - 1e-9))
    if position > draws:
        return np.inf, 0.0
    ordered = np.sort(largest)
    off = 1.96 * np.sqrt(draws * level * (1 - level))
    low, high = (int(np.clip(round(position + side * off), 1, draws)) for side in (-1, 1))
    return float(ordered[position - 1]), float((ordered[high - 1] - ordered[low - 1]) / 2)


__all__ = ["RankSets", "rank_sets"]
