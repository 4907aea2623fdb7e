"""A table of counts as cells, checked."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.numerics.groups import group_sum
from pmg_eval.panel._ingest import IntArray, column_problem, frozen, kind_of, numeric, to_pandas
from pmg_eval.panel._report import Report
from pmg_eval.panel._spells_count import BEFORE, Cells
from pmg_eval.panel._spells_read import RESERVED, TIME_UNITS, read_groups, rows_of
from pmg_eval.panel._units import as_columns


@dataclass(frozen=True, eq=False)
class ReadCounts:
    """What a table of counts holds."""

    cells: Cells
    groups: pd.DataFrame
    group_columns: tuple[Hashable, ...]
    causes: tuple[str, ...]
    n_persons: IntArray
    any_on_day_zero: bool


def read_counts(
    df: Any,
    time: Hashable,
    group: Any,
    entered: Hashable | None,
    censored: Hashable,
    causes: Sequence[Hashable] | None,
    n_persons: Mapping[Any, int] | None,
    time_unit: str,
) -> ReadCounts:
    """See :meth:`Counts.from_frame`."""
    report = Report()
    frame = to_pandas(df)
    if time_unit not in TIME_UNITS:
        report.problem("PMG-OPTION", f"unknown time_unit={time_unit!r}", fix=f"one of {', '.join(TIME_UNITS)}")
    by = as_columns(group) if group is not None else ("group",) if "group" in frame.columns else ()
    entered = "entered" if entered is None and "entered" in frame.columns else entered
    taken = {time, censored, entered, *by, "group"}
    named = list(causes) if causes is not None else [name for name in frame.columns if name not in taken]
    wanted = [("time", time), ("censored", censored), *(("group", name) for name in by), *(("cause", n) for n in named)]
    wanted += [] if entered is None else [("entered", entered)]
    report.problems += [p for role, name in wanted if (p := column_problem(frame, name, role)) is not None]
    if len(frame) == 0:
        report.problem("PMG-EMPTY", "the table has no rows")
    if not named:
        report.problem("PMG-COLUMN", "no column of events", fix="causes=[...]")
    bad = sorted({str(name) for name in named} & RESERVED)
    if bad:
        report.problem("PMG-CAUSE-NAME", f"no name for a cause: {', '.join(bad)}", fix="rename the column")
    _raise(report)
    return _read(frame, time, by, entered, censored, sorted(named, key=str), n_persons, report)


def _raise(report: Report) -> None:
    if report.problems:
        raise DataError.of(report.problems)


def _read(
    frame: pd.DataFrame,
    time: Hashable,
    by: tuple[Hashable, ...],
    entered: Hashable | None,
    censored: Hashable,
    causes: list[Hashable],
    n_persons: Mapping[Any, int] | None,
    report: Report,
) -> ReadCounts:
    day = _whole(frame[time], "time", BEFORE, report)
    columns = {name: _whole(frame[name], f"column {name!r}", 0, report) for name in (censored, *causes)}
    begun = None if entered is None else _whole(frame[entered], "entered", 0, report)
    one = (np.zeros(len(frame), dtype=np.int64), pd.DataFrame({"group": ["all"]}))
    grouped = one if not by else read_groups([frame[name] for name in by], report)
    _raise(report)
    if day is None or grouped is None:
        raise DataError("PMG-COUNTS", "counts could not be read")
    exits = np.column_stack([np.asarray(columns[name]) for name in (censored, *causes)])
    codes, groups = grouped
    if begun is None:
        total = np.bincount(codes, weights=exits.sum(axis=1), minlength=len(groups))
        first = np.arange(len(groups))
        codes, day = np.concatenate([codes, first]), np.concatenate([day, np.full(len(groups), BEFORE)])
        begun = np.concatenate([np.zeros(len(exits)), total])
        exits = np.concatenate([exits, np.zeros((len(groups), exits.shape[1]), dtype=np.int64)])
    cells = _without_empty(merge_cells(codes, day, begun, exits))
    _check_risk(cells, groups, report)
    persons = _persons(cells, groups, n_persons, report)
    _raise(report)
    return ReadCounts(
        cells=cells,
        groups=groups,
        group_columns=by,
        causes=tuple(str(name) for name in causes),
        n_persons=persons,
        any_on_day_zero=bool(cells.exits[cells.day == 0].any()),
    )


def _whole(column: pd.Series[Any], what: str, least: int, report: Report) -> IntArray | None:
    """Whole numbers (N,), not below ``least``."""
    numbers = None if kind_of(column) == "bool" else numeric(column)
    if numbers is None:
        fix = "counts written as '<5' or '.' are suppressed: they cannot be added"
        report.problem("PMG-COUNTS", f"{what} must hold whole numbers", fix=fix)
        return None
    with np.errstate(invalid="ignore"):
        wrong = ~(np.isfinite(numbers) & (numbers >= least) & (numbers == np.floor(numbers)))
    if wrong.any():
        text = f"{what}: {int(wrong.sum())} value(s) missing, below {least} or not whole"
        report.problem("PMG-COUNTS", text, rows_of(wrong))
        return None
    return numbers.astype(np.int64)


def _without_empty(cells: Cells) -> Cells:
    keep = (cells.entered > 0) | cells.exits.any(axis=1)
    return Cells(*(frozen(getattr(cells, name)[keep]) for name in ("group", "day", "entered", "exits")))


def _check_risk(cells: Cells, groups: pd.DataFrame, report: Report) -> None:
    """Nobody leaves who is not at risk, and everybody leaves in the end."""
    left = cells.exits.sum(axis=1)
    total = np.zeros(len(groups), dtype=np.int64)
    np.add.at(total, cells.group, cells.entered - left)
    open_ended = np.flatnonzero(total)
    if len(open_ended):
        report.problem(
            "PMG-COUNTS",
            "the numbers that enter and leave differ",
            [str(label) for label in groups["group"].iloc[open_ended]],
            "every spell must end: censor those still at risk at the end of follow-up",
        )
        return
    at_risk = np.cumsum(cells.entered - left) - (cells.entered - left)
    short = np.flatnonzero(left > at_risk)
    if len(short):
        where = [f"{groups['group'].iloc[cells.group[row]]}, time {cells.day[row]}" for row in short]
        report.problem("PMG-COUNTS", "more leave than are at risk", where, "entered on day t: at risk after day t")


def _persons(cells: Cells, groups: pd.DataFrame, given: Mapping[Any, int] | None, report: Report) -> IntArray:
    spells = np.zeros(len(groups), dtype=np.int64)
    np.add.at(spells, cells.group, cells.exits.sum(axis=1))
    if given is None:
        return frozen(spells)
    labels = groups["group"].tolist()
    persons = np.array([given.get(label, -1) for label in labels], dtype=np.int64)
    wrong = [str(label) for label, n, most in zip(labels, persons, spells, strict=True) if not 0 < n <= most]
    if wrong:
        report.problem("PMG-COUNTS", "n_persons must name every group, with at least 1 and at most its spells", wrong)
    return frozen(persons)


def merge_cells(group: IntArray, day: IntArray, entered: Any, exits: Any) -> Cells:
    """Rows of counts with the same group and day added, sorted."""
    width = int(day.max()) + 2
    moment, place = np.unique(group * width + day + 1, return_inverse=True)
    n = len(moment)
    place = np.asarray(place, dtype=np.int64).ravel()
    summed = np.zeros((n, exits.shape[1]), dtype=np.int64)
    np.add.at(summed, place, exits)
    begun = np.rint(group_sum(place, entered, n)).astype(np.int64)
    return Cells(frozen(moment // width), frozen(moment % width - 1), frozen(begun), frozen(summed))
