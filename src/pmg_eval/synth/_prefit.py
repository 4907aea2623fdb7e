r"""Whether the fit of an area before its start is worse than that of nine tenths of its placebos.

Each donor is compared with the other donors over the same periods. An area is refused when fewer than a tenth of
these placebos fit as badly as it does. That question rarely needs the placebos' fits. For donor j with path
:math:`y_j`, any point p of the hull of the others (a weighted mean of them) and the direction :math:`e=y_j-p` give

.. math:: \frac{\min_{k\ne j}e'(y_j-y_k)}{\lVert e\rVert}\;\le\;\text{distance of }y_j\text{ to the hull of the others}
          \;\le\;\lVert e\rVert .

The left side is the width of the gap between j and everybody else in that direction. Starting from the mean of the
others, each step moves p towards the donor that reaches furthest (Frank-Wolfe), for all donors at once: one product
of two matrices a step. A handful of steps decides nearly every area; only placebos whose bounds still lie on both
sides of the question are solved, those that are likely to answer it first. (The distance to the box of the others'
outcomes is a weaker bound: among 300 municipalities hardly anybody lies outside that box.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pmg_eval.numerics.rows import Array

WORST = 0.1
FEWEST_RANKED = 10
TIMES_THE_WORST = 3.0
_STEPS = 24
_BLOCK = 1024  # donors at once: bounds the memory of one step
_TIE = 1e-9
_EXACT_LIMIT = 60  # donors up to which the limit is computed exactly


class Placebos:
    """Pre-treatment fit of every donor against the others, known as well as was asked for.

    Parameters
    ----------
    paths : (m, J) float
        Outcomes of the donors before the start.
    exact : callable
        Root mean squared error of donor j against the others, by solving its synthetic control.
    by_outcome : bool
        The weights minimize just this error. Otherwise (predictors) only the lower bounds hold.
    """

    def __init__(self, paths: Array, exact: Callable[[int], float], by_outcome: bool) -> None:
        m, count = paths.shape
        centred = paths - paths[:, :1]
        self._paths = centred - centred.mean(axis=1, keepdims=True)
        # the mean of the others is minus a multiple of one's own path, for paths that sum to zero
        self._points = -self._paths / max(count - 1, 1)
        self._root = np.sqrt(m)
        self._low = np.zeros(count)
        self._high = np.full(count, np.inf)
        self._known = np.zeros(count, dtype=bool)
        self._exact, self._by_outcome = exact, by_outcome
        self._steps = 0
        self._rank = int(np.ceil(WORST * count - _TIE))

    def __len__(self) -> int:
        return len(self._low)

    def refuse(self, error: float) -> bool:
        """Whether an area with this pre-treatment error is refused.

        With fewer than ten donors no placebo rank is as rare as one in ten (the worst of J + 1 exchangeable areas is
        found with probability 1/(J + 1)), so a rank would refuse sound areas too often. Then only an error more than
        three times that of the worst placebo is refused; with one donor there is no placebo, and nothing is refused.
        """
        if len(self) < 2:
            return False
        if len(self) < FEWEST_RANKED:
            return error > TIMES_THE_WORST * self.limit()
        level = error * (1 - _TIE)
        while (answer := self._answer(level)) is None and self._steps < _STEPS:
            self._step()
        while answer is None:
            middle = self._low + np.where(np.isfinite(self._high), self._high, 0.0)
            open_ = (self._low < level) & (self._high >= level)
            self._solve(int(np.where(open_, middle, -1.0).argmax()))
            answer = self._answer(level)
        return answer

    def limit(self) -> float:
        """The 90th percentile: the smallest error that a tenth of the placebos reach (the largest, below ten).

        With many donors an upper bound of it within a few percent, for what it costs: a refused area lies above both.
        """
        if self._by_outcome and len(self) > _EXACT_LIMIT:
            while self._steps < _STEPS:
                self._step()
            return float(np.partition(self._high, -self._rank)[-self._rank])
        while not self._known[worst := np.argpartition(-self._high, self._rank - 1)[: self._rank]].all():
            unknown = worst[~self._known[worst]]
            self._solve(int(unknown[self._high[unknown].argmax()]))
        return float(self._high[worst].min())

    def _answer(self, level: float) -> bool | None:
        """Whether too few placebos reach the level; None while the bounds allow both."""
        if int((self._low >= level).sum()) >= self._rank:
            return False
        return True if int((self._high >= level).sum()) < self._rank else None

    def _solve(self, donor: int) -> None:
        self._low[donor] = self._high[donor] = self._exact(donor)
        self._known[donor] = True

    def _step(self) -> None:
        """Bounds from where the points are, then move the points."""
        self._steps += 1
        for first in range(0, len(self), _BLOCK):
            own = slice(first, first + _BLOCK)
            away = self._paths[:, own] - self._points[:, own]
            length = np.sqrt(np.square(away).sum(axis=0))
            reach = away.T @ self._paths
            rows = np.arange(len(length))
            mine = reach[rows, first + rows].copy()
            reach[rows, first + rows] = -np.inf
            furthest = reach.argmax(axis=1)
            gap = (mine - reach[rows, furthest]) / np.where(length > 0, length, 1.0)
            unknown = ~self._known[own]
            self._low[own] = np.where(unknown, np.maximum(self._low[own], gap / self._root), self._low[own])
            if self._by_outcome:
                self._high[own] = np.where(unknown, np.minimum(self._high[own], length / self._root), self._high[own])
            towards = self._paths[:, furthest] - self._points[:, own]
            square = np.square(towards).sum(axis=0)
            share = np.clip((away * towards).sum(axis=0) / np.where(square > 0, square, 1.0), 0.0, 1.0)
            self._points[:, own] += share * towards
