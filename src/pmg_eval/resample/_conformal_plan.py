"""The tests that one call of ``resample.conformal`` makes: of all treated periods, and of each."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from pmg_eval.errors import DesignError, InferenceError
from pmg_eval.numerics.rows import Array
from pmg_eval.resample._conformal_panel import OneArea, Window, prepared, residuals, window
from pmg_eval.resample._conformal_test import Permutations, Places, invert, places, rounding
from pmg_eval.typing import Estimator


@dataclass(frozen=True, eq=False)
class Question:
    """A null about some periods.

    Attributes
    ----------
    frame : Window
    after : (T,) bool
        Its treated periods.
    null : (T,) float
        Effects to test, zero before the start.
    share : (T,) float
        Part of an effect that shows.
    center : float
        The estimator's own (mean) effect.
    """

    frame: Window
    after: Any
    null: Array
    share: Array
    center: float


@dataclass(frozen=True, eq=False)
class Answer:
    """What a test says; ``conf_low`` and ``conf_high`` are NaN when nothing was inverted."""

    question: Question
    places: Places
    statistic: float
    p_value: float
    p_error: float
    conf_low: float = np.nan
    conf_high: float = np.nan
    status: str = ""

    def row(self) -> dict[str, Any]:
        """Columns of the table per period."""
        return {
            "estimate": self.question.center,
            "p_value": self.p_value,
            "p_error": self.p_error,
            "conf_low": self.conf_low,
            "conf_high": self.conf_high,
            "p_min": self.places.p_min,
            "n_periods": len(self.question.after),
            "status": self.status,
        }


@dataclass(frozen=True, eq=False)
class Plan:
    """What every test of one call shares.

    Attributes
    ----------
    path : (T1,) float
        The null.
    effect : (T,) float
        The estimator's own gaps, from the fit on the past.
    level : float or None
        None: nothing is inverted.
    """

    estimator: Estimator
    area: OneArea
    path: Array
    effect: Array
    permutations: Permutations
    q: float
    level: float | None
    draws: int

    def joint(self) -> Question:
        """The null path in all treated periods."""
        area = self.area
        null = np.zeros(len(area.codes))
        null[area.after] = self.path
        everything = window(area, np.ones(len(null), dtype=bool))
        return Question(everything, area.after, null, area.share, self._mean)

    def averaged(self) -> Question:
        """The mean of the null, with periods averaged over as many as are treated."""
        area, length = self.area, len(self.path)
        blocks = int((~area.after).sum()) // length
        if blocks < 1:
            what = f"the past is shorter than the {length} treated periods, so it holds no mean over as many"
            raise DesignError("PMG-SHORT-PRE", what, fix="average=False")
        keep = area.after.copy()
        keep[np.flatnonzero(~area.after)[-blocks * length :]] = True
        after = np.arange(blocks + 1) == blocks
        share = np.where(after, area.share[area.after].mean(), 1.0)
        return Question(window(area, keep, length), after, np.where(after, self.path.mean(), 0.0), share, self._mean)

    def single(self, period: int) -> Question:
        """The null of one treated period, beside the past."""
        area = self.area
        keep = ~area.after
        keep[period] = True
        after = area.after[keep]
        null = np.where(after, self.path[int(area.after[:period].sum())], 0.0)
        return Question(window(area, keep), after, null, area.share[keep], float(self.effect[period]))

    @property
    def _mean(self) -> float:
        return float(self.effect[self.area.after].mean())

    def answer(self, question: Question, generator: np.random.Generator, *, needed: bool) -> Answer:
        """Test, and invert where that can exclude anything (else it is refused, or with ``needed=False`` said)."""
        after = question.after
        where = places(after, self.permutations, self.draws, generator)
        attained = self.level is None or where.attains(self.level)
        if needed and not attained:
            raise unattainable(where, after, self.permutations, self.level)
        estimator, many = prepared(self.estimator)
        frame = question.frame
        small = rounding(frame.own[self.area.outcome].to_numpy(dtype=np.float64)[:-1])

        def p_of(nulls: Array) -> Array:
            left = residuals(estimator, many, frame, nulls * question.share)
            return where.p_values(left, self.q, small)

        left = residuals(estimator, many, frame, (question.null * question.share)[None])
        perfect = bool((np.abs(left) <= small).all())
        p_value = float(where.p_values(left, self.q, small)[0])
        statistic = np.power(np.abs(left[0][after]), self.q).sum() / np.sqrt(after.sum())
        error = 0.0 if where.exact else float(np.sqrt(p_value * (1 - p_value) / self.draws))
        low, high, status = np.nan, np.nan, ""
        if not attained:
            low, high = -np.inf, np.inf
            status = (
                f"{len(after)} periods cannot give a p below {where.p_min:.3g}: nothing can be rejected at this level"
            )
        elif self.level is not None:
            constant = lambda values: p_of(values[:, None] * after)  # noqa: E731
            sections = 31 if many > 1 else 1
            low, high = invert(constant, question.center, self._scale(small), 1 - self.level, sections)
            status = _status(low, high)
        if perfect:
            status = "the fit leaves nothing, which cannot be tested" + ("; " + status if status else "")
        return Answer(question, where, float(statistic ** (1 / self.q)), p_value, error, low, high, status)

    def _scale(self, small: float) -> float:
        """Size of a residual: before the start, else after it."""
        for part in (self.effect[~self.area.after], self.effect[self.area.after]):
            size = float(np.sqrt(np.square(part).mean()))
            if size > small:
                return size
        return max(small, float(np.sqrt(np.finfo(np.float64).tiny)))


def _status(low: float, high: float) -> str:
    if np.isnan(low):
        return "every constant effect is rejected"
    return "unbounded: large effects are not rejected" if np.isinf(low) or np.isinf(high) else ""


def attainable(p_min: float) -> str:
    """The largest level that can be had, rounded down."""
    return f"{np.floor((1 - p_min) * 1000 + 1e-9) / 1000:g}"


def unattainable(where: Places, after: Any, permutations: str, level: float | None) -> InferenceError:
    """The refusal of a level, with what can be had instead."""
    count, treated = len(after), int(after.sum())
    subsets = comb(count, treated)
    ways = [f"level={attainable(where.p_min)} or less", "invert=False (p-values only)"]
    if permutations == "block" and subsets > count:
        ways.append(f'permutations="iid" ({subsets:,} permutations, without allowance for dependence over time)')
    elif permutations == "iid" and not where.exact:
        ways.append("more draws")
    ways.append("resample.placebo (compares areas, not periods)")
    return InferenceError(
        "PMG-UNATTAINABLE",
        f"level={level} needs a p-value of {1 - (level or 0):.3g}, and the smallest that {count} periods "
        f"({treated} treated) can give is p_min = {where.p_min:.3g}",
        fix="; ".join(ways),
    )
