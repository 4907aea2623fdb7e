"""Which comparisons there are: cohort by period, base period, and what each pair of periods demands of controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pmg_eval.did._controls import Controls

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]
PoolKey: TypeAlias = tuple[bytes, float]
BasePeriod = Literal["varying", "universal", "average"]


@dataclass(frozen=True)
class Cell:
    """One cohort in one period, compared with a base.

    Attributes
    ----------
    cohort : float
        First treated period (calendar code).
    period : int
        Position of the period among the observed ones.
    base : tuple of int
        Positions of the base period (several when the base is an average).
    """

    cohort: float
    period: int
    base: tuple[int, ...]

    @property
    def is_reference(self) -> bool:
        """The base period itself."""
        return self.base == (self.period,)

    @property
    def latest(self) -> int:
        """Last period that enters."""
        return max(self.period, self.base[-1])

    @property
    def covariates(self) -> tuple[int, ...]:
        """Periods in which covariates are measured: the earlier one of a pair, or all of an average base."""
        return self.base if len(self.base) > 1 else (min(self.period, self.base[0]),)


@dataclass(frozen=True, eq=False)
class Calendar:
    """Observed periods, and how many units of each cohort are seen in them.

    Attributes
    ----------
    codes : (T,) int array
    seen : (C, T) int array or None
        None when every unit is observed in every period.
    skip_partial : bool
        Rows of the period in which treatment started were left out: where that thins a cohort's last period before its
        start, the period before is its base, so that all of its units are compared with the same one.
    """

    codes: Codes
    anticipation: int
    seen: NDArray[np.int64] | None = None
    skip_partial: bool = False

    def before(self, cohort: float, row: int) -> Codes:
        """Positions of the periods that can be a base: before the (anticipated) start, with units of the cohort."""
        natural = np.flatnonzero(self.codes + self.anticipation < cohort)
        if self.seen is None:
            return natural
        count = self.seen[row]
        found = natural[count[natural] > 0]
        if self.skip_partial and len(found) > 1 and count[found[-1]] < count[found[-2]]:
            found = found[:-1]
        return found if len(found) else natural

    def previous(self, period: int, row: int) -> int:
        """The last period before this one with units of the cohort (or simply the last one)."""
        if self.seen is None:
            return period - 1
        found = np.flatnonzero(self.seen[row, :period] > 0)
        return int(found[-1]) if len(found) else period - 1


def plan_cells(calendar: Calendar, cohorts: Array, base_period: BasePeriod) -> list[Cell]:
    """All cells, by cohort and period. Every cohort has at least one period before its (anticipated) start."""
    cells = []
    for row, cohort in enumerate(cohorts):
        before = calendar.before(float(cohort), row)
        last = (int(before[-1]),)
        for period, code in enumerate(calendar.codes):
            if base_period == "average":
                base = tuple(int(position) for position in before)
            elif base_period == "universal" or code >= cohort:
                base = last
            elif period == 0:
                continue
            else:
                base = (calendar.previous(period, row),)
            cells.append(Cell(float(cohort), period, base))
    return cells


def gap_notes(calendar: Calendar, cohorts: Array, label: Callable[[float], Any]) -> list[str]:
    """Cohorts whose natural base period is not in the data."""
    notes = []
    for row, cohort in enumerate(cohorts):
        base = calendar.codes[calendar.before(float(cohort), row)[-1]]
        if base != cohort - calendar.anticipation - 1:
            notes.append(
                f"cohort {label(cohort)}: the period before its start is not in the data, or not for all of its units; "
                f"its base is {label(base)}"
            )
    return notes


@dataclass(frozen=True, eq=False)
class Pool:
    """Comparison units of every cell, found once per distinct set of cohorts (and of contaminated units).

    Attributes
    ----------
    cohort : (n,) array
        First treated calendar code, +inf for never.
    contaminated_from : (n,) array or None
        First calendar code at which a unit no longer serves as a control; None when all are clean.
    usable : (n,) bool
        Units with a positive weight.
    levels, level_of : (L,), (n,) arrays
        Distinct cohorts, and the position of each unit's cohort among them.
    """

    rule: Controls
    calendar_codes: Codes
    anticipation: int
    cohort: Array
    contaminated_from: Array | None
    usable: Mask
    levels: Array
    level_of: NDArray[np.intp]
    found: dict[PoolKey, Mask] = field(default_factory=dict)

    @classmethod
    def of(
        cls, rule: Controls, codes: Codes, anticipation: int, cohort: Array, contaminated_from: Array, usable: Mask
    ) -> Pool:
        """The pool of these units."""
        levels, level_of = np.unique(cohort, return_inverse=True)
        dates = None if np.isinf(contaminated_from).all() else contaminated_from
        return cls(rule, codes, anticipation, cohort, dates, usable, levels, level_of.ravel())

    def treated(self, cell: Cell) -> Mask:
        """Units of the cell's cohort."""
        return np.asarray((self.cohort == cell.cohort) & self.usable)

    def key(self, cell: Cell) -> PoolKey:
        """Identifies the set of controls: cells with equal keys share it."""
        latest = float(self.calendar_codes[cell.latest])
        eligible = self.rule.eligible(self.levels, latest + self.anticipation) & (self.levels != cell.cohort)
        threshold = -np.inf
        if self.contaminated_from is not None:
            threshold = float(self.contaminated_from[self.contaminated_from <= latest].max(initial=-np.inf))
        return eligible.tobytes(), threshold

    def controls(self, cell: Cell) -> Mask:
        """Comparison units of a cell."""
        key = self.key(cell)
        if key not in self.found:
            eligible, threshold = key
            mask = np.frombuffer(eligible, dtype=np.bool_)[self.level_of] & self.usable
            if self.contaminated_from is not None:
                mask &= self.contaminated_from > threshold
            self.found[key] = mask
        return self.found[key]

    def starts_in(self, cell: Cell) -> bool:
        """Whether the cell is the period of start of its cohort."""
        return bool(self.calendar_codes[cell.period] == cell.cohort)
