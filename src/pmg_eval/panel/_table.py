"""The constructor's request, and the rows of the input in (unit, time) order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.panel._ingest import BoolArray, IntArray, column_problem
from pmg_eval.panel._report import Cell, Report, plain, short
from pmg_eval.panel._time import Times, gap_notice, label_list, parse_time
from pmg_eval.panel._units import as_columns, parse_units

POLICIES = ("error", "pairwise", "drop_unit")
PARTIAL = ("treated", "drop", "share")


@dataclass(frozen=True)
class Request:
    """The constructor's arguments."""

    unit: Any
    time: Any
    cohort: Any = None
    treatment: Any = None
    dose: Any = None
    weight: Any = None
    cluster: Any = None
    exposure: Any = None
    region: Any = None
    neighbors: Any = None
    contaminated_from: Any = None
    focus_share: Any = None
    freq: Any = None
    never: Any = np.inf
    partial_period: Any = None
    missing: Any = "error"
    selection_window: Any = None

    @property
    def columns(self) -> dict[str, Any]:
        """Role -> column name, for the roles that name one column."""
        single = ("unit", "time", "cohort", "treatment", "dose", "weight", "exposure", "region", "contaminated_from")
        named = {role: getattr(self, role) for role in (*single, "focus_share") if getattr(self, role) is not None}
        for place, name in enumerate(as_columns(self.cluster)):
            named["cluster" if place == 0 else f"cluster {place + 1}"] = name
        return named

    @property
    def roles(self) -> dict[str, Any]:
        """What was given, without tables (for the record)."""
        given = {part.name: getattr(self, part.name) for part in fields(self)}
        out = {name: value for name, value in given.items() if value is not None and name not in ("neighbors", "never")}
        if self.cluster is not None:
            out["cluster"] = as_columns(self.cluster)
        return out


@dataclass(frozen=True, eq=False)
class Table:
    """Rows with a unit and a period, in (unit, time) order.

    ``identified`` is False when units or periods could not be read: then rows stand for themselves, so that the other
    roles are still checked in the same pass.
    """

    frame: pd.DataFrame
    order: IntArray
    units: pd.Index[Any]
    times: Times | None
    row_unit: IntArray
    row_time: IntArray
    identified: bool
    cross_section: bool
    report: Report

    @property
    def first_row(self) -> IntArray:
        """First row (n,) of each unit."""
        return np.flatnonzero(np.diff(self.row_unit, prepend=-1) > 0)

    def sorted(self, values: Any) -> Any:
        """Values of the input rows (N_input,) in the order of the table."""
        return values[self.order]

    def cells(self, mask: BoolArray) -> tuple[Any, ...]:
        rows = np.flatnonzero(mask)
        if not self.identified or self.times is None:
            return tuple(f"row {row}" for row in self.order[rows])
        labels = label_list(self.times.calendar, self.times.codes)
        if self.cross_section:
            names: Any = [f"row {row}" for row in self.order[rows]]
        else:
            names = plain(self.units.take(self.row_unit[rows]))
        return tuple(Cell(name, labels[at]) for name, at in zip(names, self.row_time[rows], strict=True))

    def names(self, unit_mask: BoolArray) -> tuple[Any, ...]:
        labels = plain(self.units[np.flatnonzero(unit_mask)])
        return labels if self.identified and not self.cross_section else tuple(f"row {label}" for label in labels)

    def units_of(self, row_mask: BoolArray) -> tuple[Any, ...]:
        seen = np.zeros(len(self.units), dtype=np.bool_)
        seen[self.row_unit[row_mask]] = True
        return self.names(seen)

    def varies(self, values: Any) -> BoolArray:
        """Rows (N,) whose value differs from that of the unit's first row."""
        return np.asarray(values != values[self.first_row][self.row_unit], dtype=np.bool_)


def check_request(request: Request, report: Report) -> None:
    if request.missing not in POLICIES:
        report.problem("PMG-OPTION", f"missing={request.missing!r} is not known", fix=f"one of {short(POLICIES)}")
    if request.partial_period is not None and request.partial_period not in PARTIAL:
        what = f"partial_period={request.partial_period!r} is not known"
        report.problem("PMG-OPTION", what, fix=f"one of {short(PARTIAL)}, or None to refuse")
    if request.cohort is not None and request.treatment is not None:
        report.problem("PMG-ROLES", "both cohort and treatment are given", fix="give exactly one of them")
    if request.cohort is None and request.treatment is None:
        fix = "give cohort= (first treated period) or treatment= (a 0/1 path)"
        report.problem("PMG-ROLES", "neither cohort nor treatment is given", fix=fix)
    if request.unit is None and request.treatment is not None:
        fix = "give cohort=: the first treated period of the group each row belongs to"
        report.problem("PMG-ROLES", "repeated cross-sections (unit=None) need a cohort column", fix=fix)
    if request.unit is None and request.neighbors is not None:
        report.problem("PMG-ROLES", "neighbors need units (unit=None was given)", fix="leave neighbors out")
    if request.time is None:
        report.problem("PMG-ROLES", "no time column is given", fix="give time=")
    keys = [name for name in (request.unit, request.time, request.cohort, request.treatment) if name is not None]
    twice = [name for place, name in enumerate(keys) if name in keys[:place]]
    if twice:
        report.problem("PMG-ROLES", "one column in two roles (unit, time, cohort, treatment)", twice)


def check_columns(frame: pd.DataFrame, request: Request, report: Report) -> Mapping[str, Any]:
    found = {}
    for role, name in request.columns.items():
        problem = column_problem(frame, name, role)
        if problem is None:
            found[role] = name
        else:
            report.problems.append(problem)
    return found


def identify(frame: pd.DataFrame, request: Request, available: Mapping[str, Any], report: Report) -> Table:
    rows = len(frame)
    times = parse_time(frame[available["time"]], request.freq, report) if "time" in available else None
    units: tuple[IntArray, pd.Index[Any]] | None = None
    if request.unit is None:
        units = np.arange(rows, dtype=np.int64), pd.RangeIndex(rows)
    elif "unit" in available:
        units = parse_units(frame[available["unit"]], report)
    valid = np.ones(rows, dtype=np.bool_)
    if units is not None:
        valid &= _present(units[0] >= 0, "PMG-UNIT-MISSING", "unit", report)
    if times is not None:
        valid &= _present(times.position >= 0, "PMG-TIME-MISSING", "period", report)
    elif "time" in available and not any(item.code in ("PMG-TIME-TYPE", "PMG-FREQ") for item in report.problems):
        report.problem("PMG-TIME-MISSING", "the time column has no values", fix="fill in the periods")
    if units is None or times is None or not valid.any():
        everything = np.arange(rows, dtype=np.int64)
        zeros = np.zeros(rows, dtype=np.int64)
        return Table(frame, everything, pd.RangeIndex(rows), times, everything, zeros, False, False, report)
    order = np.flatnonzero(valid)
    unit_code, time_code = units[0][order], times.position[order]
    key = unit_code * np.int64(len(times.codes)) + time_code
    if request.unit is not None and np.any(np.diff(key) < 0):
        sorting = np.argsort(key, kind="stable")
        order, unit_code, time_code, key = order[sorting], unit_code[sorting], time_code[sorting], key[sorting]
    if not valid.all():  # only when a problem was reported: codes must stay dense for the remaining checks
        seen, unit_code = np.unique(unit_code, return_inverse=True)
        units = units[0], units[1].take(seen)
    table = Table(frame, order, units[1], times, unit_code, time_code, True, request.unit is None, report)
    _check_cells(table, key)
    return table


def _present(present: BoolArray, code: str, what: str, report: Report) -> BoolArray:
    missing = np.flatnonzero(~present)
    if len(missing):
        where = tuple(f"row {row}" for row in missing)
        report.problem(code, f"{len(missing)} row(s) without a {what}", where, "fill it in, or remove these rows")
    return present


def _check_cells(table: Table, key: IntArray) -> None:
    if table.times is None:
        return
    if not table.cross_section:
        twice = key[1:] == key[:-1]
        if twice.any():
            again = np.append(False, twice)
            first_again = again & ~np.append(False, again[:-1])  # each pair once
            cells = table.cells(first_again)
            table.report.problem(
                "PMG-DUPLICATE",
                f"{len(cells)} (unit, period) pair(s) occur more than once ({int(again.sum())} surplus rows)",
                cells,
                "remove or add up the surplus rows; nothing is averaged or kept silently",
            )
    if len(table.times.codes) < 2:
        table.report.problem("PMG-ONE-PERIOD", "there is only one period", fix="a before and an after are needed")
    gap_notice(table.times, table.report)
