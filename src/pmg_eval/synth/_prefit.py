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
from numpy.typing import NDArray

from pmg_eval.numerics.rows import Array
from pmg_eval.numerics.simplex import nnls_start

WORST = 0.1
FEWEST_RANKED = 10
TIMES_THE_WORST = 3.0
_STEPS = 24
_BLOCK = 1024  # donors at once: bounds the memory of one step
_TIE = 1e-9
_FURTHEST = 32  # donors of a preliminary fit
_EXACT_LIMIT = 150  # donors up to which the limit is computed exactly


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
        self._known, self._narrowed = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
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
            self._refine(int(np.where(open_, middle, -1.0).argmax()))
            answer = self._answer(level)
        return answer

    def limit(self) -> float:
        """The 90th percentile: the smallest error that a tenth of the placebos reach (the largest, below ten).

        With many donors, for what it costs, an upper bound within a percent or two: a refused area lies above both.
        """
        near = self._by_outcome and len(self) > _EXACT_LIMIT
        while near and self._steps < _STEPS:
            self._step()
        enough = self._narrowed if near else self._known
        while not enough[worst := np.argpartition(-self._high, self._rank - 1)[: self._rank]].all():
            unknown = worst[~enough[worst]]
            self._refine(int(unknown[self._high[unknown].argmax()]))
        return float(self._high[worst].min())

    def _answer(self, level: float) -> bool | None:
        """Whether too few placebos reach the level; None while the bounds allow both."""
        if int((self._low >= level).sum()) >= self._rank:
            return False
        return True if int((self._high >= level).sum()) < self._rank else None

    def _refine(self, donor: int) -> None:
        """Narrower bounds of one placebo, from the donors that reach furthest; the second time its error itself."""
        if self._by_outcome and not self._narrowed[donor] and len(self) > 2 * _FURTHEST:
            self._narrowed[donor] = True
            reach = (self._paths[:, donor] - self._points[:, donor]) @ self._paths
            reach[donor] = -np.inf
            chosen = np.argpartition(-reach, _FURTHEST)[:_FURTHEST]
            weights = nnls_start(self._paths[:, chosen] - self._paths[:, donor : donor + 1], 0.0)
            if weights is not None:
                self._points[:, donor] = self._paths[:, chosen] @ weights
                self._bound(np.array([donor]))
                return
        self._low[donor] = self._high[donor] = self._exact(donor)
        self._known[donor] = self._narrowed[donor] = True

    def _step(self) -> None:
        """Bounds from where the points are, then move the points."""
        self._steps += 1
        for first in range(0, len(self), _BLOCK):
            own = np.arange(first, min(first + _BLOCK, len(self)))
            away, furthest = self._bound(own)
            towards = self._paths[:, furthest] - self._points[:, own]
            square = np.square(towards).sum(axis=0)
            share = np.clip((away * towards).sum(axis=0) / np.where(square > 0, square, 1.0), 0.0, 1.0)
            self._points[:, own] += share * towards

    def _bound(self, own: NDArray[np.intp]) -> tuple[Array, NDArray[np.intp]]:
        """Bounds of some placebos; their distance from the points, and the donor that reaches furthest that way."""
        away = self._paths[:, own] - self._points[:, own]
        length = np.sqrt(np.square(away).sum(axis=0))
        reach = away.T @ self._paths
        rows = np.arange(len(own))
        mine = reach[rows, own].copy()
        reach[rows, own] = -np.inf
        furthest = reach.argmax(axis=1)
        gap = (mine - reach[rows, furthest]) / np.where(length > 0, length, 1.0)
        open_ = ~self._known[own]
        unknown = own[open_]
        self._low[unknown] = np.maximum(self._low[unknown], gap[open_] / self._root)
        if self._by_outcome:
            self._high[unknown] = np.minimum(self._high[unknown], length[open_] / self._root)
        return away, furthest
