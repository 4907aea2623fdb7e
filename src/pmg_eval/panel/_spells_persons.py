"""Several spells of one person: duplicates, overlaps, events that are not the last, gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pmg_eval.panel._ingest import BoolArray, IntArray
from pmg_eval.panel._report import Report
from pmg_eval.panel._spells_count import BEFORE
from pmg_eval.panel._spells_read import rows_of


@dataclass(frozen=True)
class Histories:
    """What repeated persons look like.

    Attributes
    ----------
    first : (N,) bool or None
        The first spell of each person in each group (None: every row is).
    gap_time : int
        Time between spells, summed over persons.
    n_repeated : int
        Persons with more than one spell in a group.
    n_across : int
        Persons who occur in more than one group.
    event_then_spell : tuple of str
        Rows whose event is followed by another spell of the person.
    """

    first: BoolArray | None = None
    gap_time: int = 0
    n_repeated: int = 0
    n_across: int = 0
    event_then_spell: tuple[str, ...] = ()


def histories(
    person: IntArray | None, group: IntArray, entry: IntArray | None, leave: IntArray, event: Any, report: Report
) -> Histories:
    """Check the spells of every person within each group (each group is a clock of its own).

    Parameters
    ----------
    person : (N,) int or None
        None when nobody has two rows.
    entry : (N,) int or None
        None: everybody is at risk from before day 0.
    leave : (N,) int
        End of the spells.
    """
    if person is None:
        return Histories()
    several = np.flatnonzero(np.bincount(person)[person] > 1)
    start = np.full(len(several), BEFORE, dtype=np.int64) if entry is None else entry[several]
    order = several[np.lexsort((several, leave[several], start, group[several], person[several]))]
    begin = np.full(len(order), BEFORE, dtype=np.int64) if entry is None else entry[order]
    end = leave[order]
    next_same = (person[order][1:] == person[order][:-1]) & (group[order][1:] == group[order][:-1])
    again = np.zeros(len(order), dtype=np.bool_)
    again[1:] = next_same
    twice = np.zeros_like(again)
    twice[1:] = next_same & (begin[1:] == begin[:-1]) & (end[1:] == end[:-1])
    # a long spell can overlap with more than its neighbor: compare with the latest end so far
    overlap = again & ~twice & (begin < _latest_end_before(end, again))
    _report_rows(order, twice, overlap, entry is None, report)
    gap = np.zeros(len(order), dtype=np.int64)
    gap[1:] = np.where(next_same, begin[1:] - end[:-1], 0)
    followed = np.zeros_like(again)
    followed[:-1] = next_same
    ended = order[followed & event[order]]
    first = np.ones(len(leave), dtype=np.bool_)
    first[order[again]] = False
    in_groups = np.bincount(person[first])
    return Histories(
        first=first,
        gap_time=int(np.maximum(gap, 0).sum()),
        n_repeated=len(np.unique(person[order[again]])),
        n_across=int((in_groups > 1).sum()),
        event_then_spell=tuple(f"row {row}" for row in np.sort(ended)[:1_000]),
    )


def _latest_end_before(end: IntArray, again: BoolArray) -> IntArray:
    """The largest end among the earlier spells of the same person and group; -1 for the first."""
    if not len(end):
        return end
    block = np.cumsum(~again)
    # within blocks by shifting each block above the one before, so that one running maximum serves all
    lift = block * (int(end.max()) + 2)
    running = np.maximum.accumulate(end + lift) - lift
    before = np.full(len(end), -1, dtype=np.int64)
    before[1:] = running[:-1]
    return np.where(again, before, -1)


def _report_rows(order: IntArray, twice: BoolArray, overlap: BoolArray, no_entry: bool, report: Report) -> None:
    def rows(mask: BoolArray) -> tuple[str, ...]:
        marked = np.zeros(int(order.max()) + 1 if len(order) else 0, dtype=np.bool_)
        marked[order[mask]] = True
        return rows_of(marked)

    if twice.any():
        what = f"{int(twice.sum())} spell(s) of a person occur twice (same start and end)"
        report.problem("PMG-DUPLICATE", what, rows(twice), "keep one row per spell; look for a join that doubled rows")
    if overlap.any():
        fix = "merge the spells of a person (overlaps of registers), or cut them where the next one starts"
        if no_entry:
            fix = "one row per person, or entry= for persons with several spells, or group= for several index cases"
        what = f"{int(overlap.sum())} spell(s) overlap with another one of the same person: at risk twice on one day"
        report.problem("PMG-OVERLAP", what, rows(overlap), fix)
