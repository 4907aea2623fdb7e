"""The door of spells: one pass over the table that finds every problem, then packs the rows.

Codes of problems (all in one ``DataError``):

=====================  ==============================================================================================
PMG-FRAME              not an in-memory table
PMG-EMPTY              no rows (or none left)
PMG-COLUMN             a column named by a role does not exist (closest match) or exists twice
PMG-ROLES              weight without weight_kind, weight_kind without weight, one column in two roles
PMG-OPTION             an unknown time_unit, weight_kind or same_day
PMG-TIME-TYPE          times that are text, truth values, dates; time differences where the unit is not days
PMG-TIME-MISSING, -INFINITE, -NEG, -FRACTION, -RANGE   missing, infinite, negative, not whole, beyond 150 years
PMG-ENTRY              entry after exit
PMG-NO-RISK-TIME       entry equal to exit
PMG-SAME-DAY           exits on day 0 with ``same_day="error"``
PMG-EVENT-TYPE, -CODES, -MISSING                        event is text, has other codes than 0 and 1, or is missing
PMG-CAUSE-TYPE, -MISSING, -CENSORED, -NAME              causes that are numbers, missing, given for censored spells
PMG-GROUP, PMG-GROUP-MISSING                            group labels
PMG-WEIGHT             weights missing, negative, infinite, all zero, or frequencies that are not whole
PMG-CLUSTER            cluster labels missing, or one cluster only
PMG-PERSON-TYPE, -MIXED, -MISSING                       ids
PMG-DUPLICATE          the same spell of a person twice
PMG-OVERLAP            spells of a person that overlap
=====================  ==============================================================================================

Warnings: PMG-SAME-DAY. Notices: PMG-SAME-DAY, PMG-ZERO-WEIGHT, PMG-GAP, PMG-PERSON-GROUPS.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, warn
from pmg_eval.panel._ingest import FloatArray, IntArray, column_problem, frozen, to_pandas
from pmg_eval.panel._report import Notice, Report
from pmg_eval.panel._spells_count import BEFORE, Packing
from pmg_eval.panel._spells_persons import Histories, histories
from pmg_eval.panel._spells_read import (
    TIME_UNITS,
    read_cause,
    read_cluster,
    read_event,
    read_groups,
    read_persons,
    read_times,
    read_weight,
    rows_of,
)
from pmg_eval.panel._units import as_columns

WEIGHT_KINDS = ("frequency", "survey", "ipw")
SAME_DAY = (None, "count", "exclude", "error")


@dataclass(frozen=True)
class SpellRequest:
    """Roles and options as given."""

    person: Any
    entry: Any
    exit: Any
    event: Any
    cause: Any
    group: Any
    weight: Any
    weight_kind: Any
    cluster: Any
    time_unit: Any
    same_day: Any

    @property
    def columns(self) -> list[tuple[str, Any]]:
        """(role, column) of all columns asked for."""
        single = [(role, getattr(self, role)) for role in ("person", "exit", "event")]
        single += [(r, getattr(self, r)) for r in ("entry", "cause", "weight") if getattr(self, r) is not None]
        return [*single, *((role, name) for role in ("group", "cluster") for name in as_columns(getattr(self, role)))]


@dataclass(frozen=True, eq=False)
class SpellCore:
    """Packed rows of validated spells; no id and no column of the table is kept.

    Attributes
    ----------
    key : (N,) int
        (group, day of the end, state), see :class:`Packing`.
    entry : (N,) int or None
        (group, day of the start); None when everybody is at risk from before day 0.
    weight : (N,) float or None
    person : (N,) int or None
        Codes without meaning; None when every row is another person.
    cluster : (N,) int or None
    n_persons : (G,) int
        Persons per group (frequencies counted).
    n_distinct : int
        Different persons in all groups together.
    """

    packing: Packing
    key: IntArray
    entry: IntArray | None
    weight: FloatArray | None
    person: IntArray | None
    cluster: IntArray | None
    n_clusters: int
    n_persons: IntArray
    n_distinct: int
    groups: pd.DataFrame
    group_columns: tuple[Hashable, ...]
    causes: tuple[str, ...]
    time_unit: str
    weight_kind: str | None
    cluster_columns: tuple[Hashable, ...]
    same_day: str | None
    event_then_spell: tuple[str, ...]
    notes: tuple[Notice, ...]
    roles: Mapping[str, Any]


def build(given: Any, request: SpellRequest) -> SpellCore:
    """Validate ``given`` and pack it.

    Raises
    ------
    DataError
        With every problem found (codes in the module's table).
    """
    report = Report()
    _check_options(request, report)
    frame = to_pandas(given)
    columns = _columns(frame, request, report)
    if len(frame) == 0:
        report.problem("PMG-EMPTY", "the table has no rows", fix="check the selection or the file")
    if request.time_unit not in TIME_UNITS or len(frame) == 0 or any(columns[r] is None for r in ("exit", "event")):
        _raise(report)
    table = _Table(columns, request, report)
    found = table.histories()
    keep = table.kept()
    _raise(report)
    return table.packed(keep, found)


def _raise(report: Report) -> None:
    if report.problems:
        raise DataError.of(report.problems)


def _check_options(request: SpellRequest, report: Report) -> None:
    for name, value, allowed in (
        ("time_unit", request.time_unit, tuple(TIME_UNITS)),
        ("same_day", request.same_day, SAME_DAY),
        ("weight_kind", request.weight_kind, (None, *WEIGHT_KINDS)),
    ):
        if not (value is None or isinstance(value, str)) or value not in allowed:
            shown = ", ".join(repr(option) for option in allowed if option is not None)
            report.problem("PMG-OPTION", f"unknown {name}={value!r}", fix=f"one of {shown}")
    if request.weight is not None and request.weight_kind is None:
        report.problem(
            "PMG-ROLES",
            "weight without weight_kind",
            fix='weight_kind="frequency" (numbers of persons), "survey" or "ipw": they have different variances',
        )
    if request.weight is None and request.weight_kind is not None:
        report.problem("PMG-ROLES", "weight_kind without weight", fix="name the weight column")


def _columns(frame: pd.DataFrame, request: SpellRequest, report: Report) -> dict[str, Any]:
    """The columns of each role: a Series, a list of Series, or None."""
    found: dict[str, Any] = dict.fromkeys(("person", "entry", "exit", "event", "cause", "group", "weight", "cluster"))
    seen: dict[Any, str] = {}
    for role, name in request.columns:
        if not isinstance(name, Hashable):
            fix = "add the values as a column of the table: they are aligned by nothing but position otherwise"
            report.problem("PMG-COLUMN", f"{role} must be the name of a column, not {type(name).__name__}", fix=fix)
            continue
        problem = column_problem(frame, name, role)
        if problem is not None:
            report.problems.append(problem)
            continue
        if name in seen and not {role, seen[name]} <= {"group", "cluster", "person"}:
            report.problem("PMG-ROLES", f"column {name!r} is both {seen[name]} and {role}", fix="one column per role")
        elif name in seen and role == seen[name]:
            report.problem("PMG-ROLES", f"column {name!r} occurs twice in {role}", fix="name it once")
            continue
        seen.setdefault(name, role)
        if role in ("group", "cluster"):
            found[role] = [*(found[role] or []), frame[name]]
        else:
            found[role] = frame[name]
    return found


class _Table:
    """The columns as arrays, while they are being checked."""

    def __init__(self, columns: Mapping[str, Any], request: SpellRequest, report: Report) -> None:
        self.request, self.report = request, report
        unit = request.time_unit
        self.leave = read_times(columns["exit"], "exit", unit, report)
        self.entry = None if columns["entry"] is None else read_times(columns["entry"], "entry", unit, report)
        self.late = request.entry is not None
        self.n_rows = len(columns["exit"])
        event = read_event(columns["event"], report)
        self.ended = None
        if event is not None and not (request.cause is not None and columns["cause"] is None):
            self.ended = read_cause(columns["cause"], event, request.event, report)
        self.event = event
        one: tuple[IntArray, pd.DataFrame] = (np.zeros(self.n_rows, dtype=np.int64), pd.DataFrame({"group": ["all"]}))
        self.grouped = one if columns["group"] is None else read_groups(columns["group"], report)
        self.weight = None
        if columns["weight"] is not None and request.weight_kind in WEIGHT_KINDS:
            self.weight = read_weight(columns["weight"], request.weight_kind, report)
        self.cluster = None if columns["cluster"] is None else read_cluster(columns["cluster"], report)
        self.persons = None if columns["person"] is None else read_persons(columns["person"], report)
        self._check_order()

    def _check_order(self) -> None:
        """Entry before exit; day 0."""
        if self.leave is None or (self.late and self.entry is None):
            return
        report, request = self.report, self.request
        day_zero = self.leave == 0
        if self.entry is not None:
            after, same = self.entry > self.leave, self.entry == self.leave
            if request.same_day == "exclude":
                same = same & ~day_zero
            if after.any():
                what = f"{int(after.sum())} spell(s) with entry after exit"
                report.problem("PMG-ENTRY", what, rows_of(after), "swap them, or check the dates")
            if same.any():
                fix = "leave out spells without time at risk"
                if (same & day_zero).any():
                    fix += (
                        '; those on day 0: same_day="exclude", or no entry= if everybody is at risk from the index date'
                    )
                what = f"{int(same.sum())} spell(s) with entry equal to exit: no time at risk"
                report.problem("PMG-NO-RISK-TIME", what, rows_of(same), fix)
        elif request.same_day == "error" and day_zero.any():
            fix = 'same_day="count" (they count on day 0) or "exclude"'
            report.problem("PMG-SAME-DAY", f"{int(day_zero.sum())} spell(s) end on day 0", rows_of(day_zero), fix)

    def kept(self) -> Any:
        """Rows that count: not excluded on day 0, and with a weight above zero."""
        keep = np.ones(self.n_rows, dtype=np.bool_)
        report = self.report
        if self.leave is not None and not self.late_only_day_zero():
            day_zero = self.leave == 0
            number = int(day_zero.sum())
            if number and self.request.same_day == "exclude":
                keep &= ~day_zero
                report.notice(
                    "PMG-SAME-DAY", f"{number:,} spell(s) that end on day 0 were left out (same_day='exclude')"
                )
            elif number and self.request.same_day is None and not report.problems:
                warn(
                    "PMG-SAME-DAY",
                    f"{number:,} spell(s) end on day 0, the index date; they are counted as exits on day 0",
                    fix='say what they are: same_day="count" (silent), "exclude" or "error"',
                    stacklevel=5,
                )
                report.notice("PMG-SAME-DAY", f"{number:,} spell(s) end on day 0 and are counted there")
            elif number:
                report.notice("PMG-SAME-DAY", f"{number:,} spell(s) end on day 0 and are counted there")
        if self.weight is not None:
            empty = self.weight == 0
            if empty.any():
                keep &= ~empty
                report.notice("PMG-ZERO-WEIGHT", f"{int(empty.sum()):,} spell(s) with weight zero play no part")
        if not keep.any() and not report.problems:
            report.problem("PMG-EMPTY", "no spell is left", fix="check same_day= and the weights")
        return keep

    def late_only_day_zero(self) -> bool:
        """Whether day 0 is no issue because every spell starts on or after it."""
        return self.late and self.request.same_day != "exclude"

    def histories(self) -> Histories:
        if self.report.problems or self.persons is None or self.leave is None or self.grouped is None:
            return Histories()
        return histories(self.persons[0], self.grouped[0], self.entry, self.leave, self.event, self.report)

    def packed(self, keep: Any, found: Histories) -> SpellCore:
        if self.leave is None or self.ended is None or self.grouped is None or self.persons is None:
            raise DataError("PMG-EMPTY", "spells could not be read", fix="report a bug")  # a problem was reported
        everything = bool(keep.all())

        def part(values: Any) -> Any:
            return values if values is None or everything else values[keep]

        group, day, state = part(self.grouped[0]), part(self.leave), part(self.ended[0])
        group, groups = _present(group, self.grouped[1])
        causes, state = _present_causes(state, self.ended[1])
        packing = Packing(len(groups), int(day.max()), len(causes) + 1)
        weight, entry, person = part(self.weight), part(self.entry), part(self.persons[0])
        request = self.request
        mass = weight if request.weight_kind == "frequency" else None
        n_persons = _persons_per_group(group, person, mass, len(groups), found.first if everything else None)
        return SpellCore(
            packing=packing,
            key=frozen(packing.key(group, day, state)),
            entry=None if entry is None else frozen(packing.moment(group, entry)),
            weight=None if weight is None else frozen(weight),
            person=None if person is None else frozen(person),
            cluster=None if self.cluster is None else frozen(np.asarray(part(self.cluster[0]))),
            n_clusters=0 if self.cluster is None else self.cluster[1],
            n_persons=frozen(n_persons),
            n_distinct=len(day) if person is None else int(np.count_nonzero(np.bincount(person))),
            groups=groups,
            group_columns=as_columns(request.group),
            causes=causes,
            time_unit=request.time_unit,
            weight_kind=request.weight_kind,
            cluster_columns=as_columns(request.cluster),
            same_day=_day_zero_rule(request, bool((self.leave == 0).any())),
            event_then_spell=found.event_then_spell,
            notes=tuple(self.report.notices + _history_notices(found, request.time_unit)),
            roles={role: name for role, name in vars(request).items() if name is not None},
        )


def _persons_per_group(group: IntArray, person: Any, mass: Any, n_groups: int, first: Any) -> IntArray:
    """Persons in each group; a person with several spells in it counts once (with the frequency of the first)."""
    if person is not None:
        if first is None:
            _, place = np.unique(group * (int(person.max()) + 1) + person, return_index=True)
            first = np.zeros(len(group), dtype=np.bool_)
            first[place] = True
        group, mass = group[first], None if mass is None else mass[first]
    return np.rint(np.bincount(group, weights=mass, minlength=n_groups)).astype(np.int64)


def _present(group: IntArray, groups: pd.DataFrame) -> tuple[IntArray, pd.DataFrame]:
    """Only the groups that still have a row."""
    used = np.flatnonzero(np.bincount(group, minlength=len(groups)))
    if len(used) == len(groups):
        return group, groups
    rank = np.zeros(len(groups), dtype=np.int64)
    rank[used] = np.arange(len(used))
    return rank[group], groups.iloc[used].reset_index(drop=True)


def _present_causes(state: IntArray, causes: tuple[str, ...]) -> tuple[tuple[str, ...], IntArray]:
    """Only the causes that still have an event; a single named event stays even when it never happens."""
    used = np.flatnonzero(np.bincount(state, minlength=len(causes) + 1)[1:]) + 1
    if len(used) == len(causes) or len(causes) == 1:
        return causes, state
    rank = np.zeros(len(causes) + 1, dtype=np.int64)
    rank[used] = np.arange(1, len(used) + 1)
    return tuple(causes[place - 1] for place in used), rank[state]


def _day_zero_rule(request: SpellRequest, any_on_day_zero: bool) -> str | None:
    if not any_on_day_zero:
        return None
    return "exclude" if request.same_day == "exclude" else "count"


def _history_notices(found: Histories, unit: str) -> list[Notice]:
    out = []
    if found.gap_time:
        text = f"{found.n_repeated:,} person(s) have several spells, with gaps of {found.gap_time:,} {unit} in total"
        out.append(Notice("PMG-GAP", f"{text}, during which they are not at risk"))
    if found.n_across:
        text = f"{found.n_across:,} person(s) occur in several groups, each with its own clock"
        out.append(
            Notice("PMG-PERSON-GROUPS", f"{text}; groups are compared as independent unless the variance is robust")
        )
    return out


__all__ = ["BEFORE", "SpellCore", "SpellRequest", "build"]
