"""`Counts`: the sufficient statistics of first-event estimators; they can be added, shipped and kept."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.panel import Spells
from pmg_eval.panel._ingest import IntArray, frozen
from pmg_eval.panel._spells_count import Cells, fingerprint
from pmg_eval.recidivism._counts_read import ReadCounts, merge_cells, read_counts


@dataclass(frozen=True, eq=False)
class Counts:
    """How many enter, are censored or have an event, per group and day: what may have to leave a secure environment.

    Counts of parts add up to the counts of the whole, exactly: ``Counts.of(a) + Counts.of(b)``.

    Attributes
    ----------
    cells : Cells
        Sorted by (group, day); only days on which something happens. Day -1 stands for "before day 0".
    groups : DataFrame (G)
        ``group`` (the label), and the columns it was joined from when there are several.
    causes : tuple of str
        Kinds of events, sorted.
    n_persons : (G,) int
    time_unit : str
    group_columns : tuple
        Names of the group columns; empty when there is one group "all".
    same_day : {None, "count", "exclude"}
        What was done with exits on day 0.
    definition : str
        What counts as an event, where the data come from, as of when: counts with different definitions are not added.

    Examples
    --------
    >>> import pandas as pd, pmg_eval as pe
    >>> from pmg_eval.recidivism import Counts
    >>> df = pd.DataFrame({"id": [1, 2, 3, 4], "days": [40, 730, 200, 40], "new": [1, 0, 1, 1]})
    >>> spells = pe.panel.Spells(df, person="id", exit="days", event="new")
    >>> Counts.of(spells).to_frame()
      group  time  entered  censored  new
    0   all    -1        4         0    0
    1   all    40        0         0    2
    2   all   200        0         0    1
    3   all   730        0         1    0
    """

    cells: Cells
    groups: pd.DataFrame
    causes: tuple[str, ...]
    n_persons: IntArray
    time_unit: str = "days"
    group_columns: tuple[Hashable, ...] = ()
    same_day: str | None = None
    definition: str = ""

    # ---- making ---------------------------------------------------------------------------------------------------

    @classmethod
    def of(cls, spells: Spells, *, definition: str = "") -> Self:
        """Count spells.

        Raises
        ------
        DataError
            PMG-SPELLS (not spells), PMG-EVENT-THEN-SPELL.
        InferenceError
            PMG-NEED-SPELLS: survey or ipw weights and clusters are not in the counts.
        """
        if not isinstance(spells, Spells):
            raise DataError("PMG-SPELLS", f"spells are needed, not {type(spells).__name__}", fix="make a Spells first")
        if spells.needs_robust:
            raise InferenceError(
                "PMG-NEED-SPELLS",
                "counts cannot carry survey weights or clusters: their variance needs the spells one by one",
                fix="give the Spells to the estimator",
            )
        refuse_event_then_spell(spells)
        return cls(
            cells=spells.cells,
            groups=spells.groups,
            causes=spells.causes,
            n_persons=spells.persons_per_group,
            time_unit=spells.time_unit,
            group_columns=spells.group_columns,
            same_day=spells.same_day,
            definition=definition,
        )

    @classmethod
    def from_frame(
        cls,
        df: Any,
        *,
        time: Hashable = "time",
        group: Hashable | Sequence[Hashable] | None = None,
        entered: Hashable | None = None,
        censored: Hashable = "censored",
        causes: Sequence[Hashable] | None = None,
        n_persons: Mapping[Any, int] | None = None,
        time_unit: str = "days",
        definition: str = "",
    ) -> Self:
        """Counts from a table such as ``GROUP BY`` returns.

        Parameters
        ----------
        df : pandas or polars DataFrame, or pyarrow Table
            One row per group and day (rows that occur twice are added).
        time, censored : column names
        group : column name or list of them, optional
            Default: the column "group" when there is one.
        entered : column name, optional
            Spells that start to be at risk after this day (day -1: before day 0). Default: the column "entered" when
            there is one; without it everybody is at risk from before day 0.
        causes : list of column names, optional
            Events per cause. Default: all other columns.
        n_persons : mapping group -> int, optional
            Where persons have several spells. Default: the number of spells.

        Raises
        ------
        DataError
            PMG-COLUMN, PMG-OPTION, PMG-COUNTS (counts that are missing, negative, not whole, text, or more exits than
            there are at risk).
        """
        found: ReadCounts = read_counts(df, time, group, entered, censored, causes, n_persons, time_unit)
        return cls(
            cells=found.cells,
            groups=found.groups,
            causes=found.causes,
            n_persons=found.n_persons,
            time_unit=time_unit,
            group_columns=found.group_columns,
            same_day="count" if found.any_on_day_zero else None,
            definition=definition,
        )

    # ---- using ----------------------------------------------------------------------------------------------------

    def __add__(self, other: Counts) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        _check_addable(self, other)
        causes = tuple(sorted({*self.causes, *other.causes}))
        both = pd.concat([self.groups, other.groups], ignore_index=True)
        groups = both.drop_duplicates("group", ignore_index=True)
        groups = groups.iloc[_order(groups["group"])].reset_index(drop=True)
        place = pd.Index(groups["group"]).get_indexer(pd.Index(both["group"])).astype(np.int64)
        parts = (place[: len(self.groups)], place[len(self.groups) :])
        n_persons = np.zeros(len(groups), dtype=np.int64)
        for counts, position in zip((self, other), parts, strict=True):
            np.add.at(n_persons, position, counts.n_persons)
        return Counts(
            cells=_added([(c.cells, p, c.causes) for c, p in zip((self, other), parts, strict=True)], causes),
            groups=groups,
            causes=causes,
            n_persons=frozen(n_persons),
            time_unit=self.time_unit,
            group_columns=self.group_columns,
            same_day=self.same_day or other.same_day,
            definition=self.definition,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counts):
            return NotImplemented
        return (
            (self.causes, self.time_unit, self.group_columns, self.same_day, self.definition)
            == (other.causes, other.time_unit, other.group_columns, other.same_day, other.definition)
            and self.groups.equals(other.groups)
            and np.array_equal(self.n_persons, other.n_persons)
            and all(
                np.array_equal(getattr(self.cells, name), getattr(other.cells, name))
                for name in ("group", "day", "entered", "exits")
            )
        )

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        exits = self.cells.exits.sum(axis=0)
        ends = ", ".join(f"{name} ({n:,})" for name, n in zip(("censored", *self.causes), exits, strict=True))
        size = f"{int(self.n_persons.sum()):,} persons in {len(self.groups):,} group(s), {len(self.cells):,} cells"
        text = f"Counts\n  size: {size}, in {self.time_unit}\n  ends: {ends}"
        return text + (f"\n  definition: {self.definition}" if self.definition else "")

    def to_frame(self) -> pd.DataFrame:
        """One row per group and day: ``group`` (and its columns), ``time``, ``entered``, ``censored``, causes.

        ``from_frame`` reads it. It holds small numbers: disclosure control comes before it leaves the building.
        """
        cells = self.cells
        frame = self.groups.iloc[cells.group].reset_index(drop=True)
        frame["time"] = cells.day
        frame["entered"] = cells.entered
        frame["censored"] = cells.exits[:, 0]
        for place, cause in enumerate(self.causes, 1):
            frame[cause] = cells.exits[:, place]
        return frame

    @property
    def late_entry(self) -> bool:
        """Whether somebody starts to be at risk after day 0."""
        return bool((self.cells.entered[self.cells.day > 0] > 0).any())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the counts; that of the spells they were made of."""
        labels = [self.time_unit, *self.groups["group"], "", *self.causes]
        return fingerprint(self.cells, labels, self.n_persons)


def refuse_event_then_spell(spells: Spells) -> None:
    """First-event estimators know no life after the event."""
    if spells.event_then_spell:
        raise DataError(
            "PMG-EVENT-THEN-SPELL",
            f"{len(spells.event_then_spell):,} event(s) are followed by another spell of the person",
            where=spells.event_then_spell,
            fix="for the time to the first event leave out what comes after it; repeated events need another estimator",
        )


def _check_addable(one: Counts, other: Counts) -> None:
    for name, words in (
        ("time_unit", "time units"),
        ("definition", "definitions"),
        ("group_columns", "group columns"),
    ):
        left, right = getattr(one, name), getattr(other, name)
        if left != right:
            raise DataError(
                "PMG-COUNTS", f"counts with different {words}: {left!r} and {right!r}", fix="make them alike"
            )
    rules = {one.same_day, other.same_day} - {None}
    if len(rules) > 1:
        raise DataError(
            "PMG-COUNTS", "counts with different rules for exits on day 0", fix="the same same_day= for both"
        )


def _order(labels: pd.Series[Any]) -> Any:
    try:
        return np.argsort(labels.to_numpy(dtype=object), kind="stable")
    except TypeError:
        return np.argsort(labels.astype(str).to_numpy(dtype=object), kind="stable")


def _added(parts: Sequence[tuple[Cells, IntArray, tuple[str, ...]]], causes: tuple[str, ...]) -> Cells:
    """Cells of several counts in common groups and causes."""
    group = np.concatenate([place[cells.group] for cells, place, _ in parts])
    day = np.concatenate([cells.day for cells, _, _ in parts])
    entered = np.concatenate([cells.entered for cells, _, _ in parts])
    exits = np.zeros((len(day), len(causes) + 1), dtype=np.int64)
    row = 0
    for cells, _, own in parts:
        columns = [0, *(1 + causes.index(cause) for cause in own)]
        exits[row : row + len(cells), columns] = cells.exits
        row += len(cells)
    return merge_cells(group, day, entered, exits)
