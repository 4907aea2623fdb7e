"""When treatment starts: a cohort column or a 0/1 path, starts inside a period, contamination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.panel._core import Core
from pmg_eval.panel._ingest import BoolArray, FloatArray, IntArray, distinct, frozen, numeric
from pmg_eval.panel._report import Report, plain, short
from pmg_eval.panel._table import Request, Table
from pmg_eval.panel._time import Starts, is_missing, outside, parse_starts


def starts_of(table: Table, request: Request, available: Mapping[str, Any]) -> Starts | None:
    """Start per unit (n,), or None after a problem."""
    if table.times is None or ("cohort" in available) == ("treatment" in available):
        return None
    if "treatment" in available:
        return _treatment_starts(table, available["treatment"])
    rows = _row_starts(table, available["cohort"], request.never, "cohort")
    if rows is None:
        return None
    starts, missing = rows
    undeclared = missing & (not is_missing(request.never))
    if undeclared.any():
        table.report.problem(
            "PMG-COHORT-MISSING",
            f"{int(undeclared.sum())} row(s) without a start, and it is not said what that means",
            table.units_of(undeclared),
            "declare never=None when a missing start means never treated",
        )
    far = outside(starts.code, table.times) & ~missing
    if far.any():
        table.report.problem(
            "PMG-COHORT-RANGE",
            f"start(s) that cannot be a date of this panel: {short(_values(starts.code[far]))}",
            table.units_of(far),
            "a code for never treated must be declared, e.g. never=0 (+inf always means never); "
            "a 0/1 column belongs in treatment=",
        )
    first = table.first_row
    # a row without a start says nothing as long as it is not declared what it means
    varies = (table.varies(starts.code) | table.varies(starts.share)) & ~undeclared & ~undeclared[first][table.row_unit]
    if varies.any():
        table.report.problem(
            "PMG-COHORT-VARIES",
            "the start date is not constant within the unit",
            table.units_of(varies),
            "give each unit one start in all its rows, or give treatment= as a 0/1 path",
        )
    unit_starts = Starts(starts.code[first], starts.share[first])
    partial = unit_starts.partial & ~far[first]
    if partial.any() and request.partial_period is None:
        table.report.problem(
            "PMG-PARTIAL-PERIOD",
            "treatment starts inside a period, not at its beginning",
            table.names(partial),
            'declare partial_period="treated", "drop" or "share", or use finer periods',
        )
    return unit_starts


def _values(codes: FloatArray) -> list[str]:
    return [f"{code:g}" for code in np.unique(codes)]


def _row_starts(table: Table, name: Any, never: Any, role: str) -> tuple[Starts, BoolArray] | None:
    """Starts of each row (N,) with +inf where missing, and which are missing."""
    if table.times is None:
        return None
    try:
        codes, values = distinct(table.frame[name])
    except TypeError:
        table.report.problem("PMG-COHORT-TYPE", f"{role} holds values that are not dates or numbers")
        return None
    sentinel = None if is_missing(never) else never
    parsed = parse_starts(values, table.times.calendar, sentinel, role, table.report)
    if parsed is None:
        return None
    codes = table.sorted(codes)
    starts = Starts(np.append(parsed.code, np.inf)[codes], np.append(parsed.share, 1.0)[codes])
    return starts, codes < 0


def _treatment_starts(table: Table, name: Any) -> Starts | None:
    if table.times is None or not table.identified:
        return None
    values = numeric(table.frame[name])
    on = None if values is None else table.sorted(values)
    if on is None or not np.all((on == 0) | (on == 1)):
        bad = () if on is None else table.cells(~((on == 0) | (on == 1)))
        table.report.problem(
            "PMG-TREATMENT-CODES",
            "treatment must be 0 or 1 (or False/True) in every row",
            bad,
            "recode it, e.g. (df[column] == 2); an amount of treatment belongs in dose=",
        )
        return None
    if any(problem.code == "PMG-DUPLICATE" for problem in table.report.problems):
        return None  # a path with two values in one period has no order
    same_unit = np.diff(table.row_unit) == 0
    off = np.append(False, same_unit & (np.diff(on) < 0))
    if off.any():
        table.report.problem(
            "PMG-REVERSAL",
            "treatment is switched off again",
            table.units_of(off),
            "leave these units out, or give cohort= (first treated period) for the effect of having started",
        )
        return None
    codes = table.times.codes[table.row_time]
    first = table.first_row
    start = np.minimum.reduceat(np.where(on == 1, codes, np.inf), first)
    _unseen_notice(table, on, codes)
    return Starts(start, np.ones(len(start)))


def _unseen_notice(table: Table, on: FloatArray, codes: IntArray) -> None:
    """The period before the first treated one was not observed: the start may have been earlier."""
    if table.times is None:
        return
    new_unit = np.diff(table.row_unit, prepend=-1) > 0
    before = np.append(-1, codes[:-1])
    previous_on = np.append(0.0, on[:-1])
    entered = new_unit & (on == 1) & (codes > table.times.codes[0])
    jumped = ~new_unit & (on == 1) & (previous_on == 0) & (codes - before > 1)
    unseen = entered | jumped
    if unseen.any():
        names = table.units_of(unseen)
        table.report.notice(
            "PMG-START-UNSEEN",
            f"{len(names)} unit(s) not observed right before their first treated period, which is taken as the start",
            names,
        )


def contaminated_from(table: Table, request: Request, available: Mapping[str, Any]) -> FloatArray:
    clean = np.full(len(table.units), np.inf)
    if "contaminated_from" not in available or table.times is None:
        return clean
    rows = _row_starts(table, available["contaminated_from"], request.never, "contaminated_from")
    if rows is None:
        return clean
    starts = rows[0]
    far = outside(starts.code, table.times)
    if far.any():
        fix = "leave clean units missing, or +inf"
        what = "contaminated_from holds dates no programme can have"
        table.report.problem("PMG-COHORT-RANGE", what, table.units_of(far), fix)
        return clean
    varies = table.varies(starts.code)
    if varies.any():
        what = "contaminated_from is not constant within the unit"
        table.report.problem("PMG-CONTAMINATED", what, table.units_of(varies), "give one date in all rows of a unit")
        return clean
    first = table.first_row
    inside = starts.partial[first]
    if inside.any():
        what = "contaminated_from falls inside a period: the whole period counts as contaminated"
        table.report.notice("PMG-CONTAMINATED-PARTIAL", what, table.names(inside))
    return starts.code[first]


def apply_partial(core: Core, starts: Starts, table: Table, policy: str | None) -> Core:
    """Apply ``partial_period`` to the units whose start lies inside a period."""
    partial = starts.partial
    if policy == "share":
        core = replace(core, share=frozen(starts.share))
    if policy is None or not partial.any():
        return core
    names, count = table.names(partial), int(partial.sum())
    if policy == "treated":
        text = f"{count} unit(s) start inside a period, which counts as fully treated"
        table.report.notice("PMG-PARTIAL-TREATED", text, names)
        return core
    if policy == "share":
        text = f"{count} unit(s) start inside a period; the treated share of that period is kept"
        table.report.notice("PMG-PARTIAL-SHARE", text, names)
        return core
    exempt = partial[:, None] & (core.time_codes[None, :] == starts.code[:, None]) if core.is_panel else None
    drop = partial[core.row_unit] & (core.time_codes[core.row_time] == starts.code[core.row_unit])
    text = (
        f"{count} unit(s) start inside a period: these {int(drop.sum())} row(s) are left out, the next one is the first"
    )
    table.report.notice("PMG-PARTIAL-DROPPED", text, names)
    core = replace(core, cohort=frozen(starts.code + partial), exempt=exempt)
    return core.take_rows(~drop)


def window_notices(core: Core, report: Report) -> None:
    always, after = core.always_treated, np.isfinite(core.cohort) & ~core.arm
    units = core.units
    if always.any():
        text = f"{int(always.sum())} unit(s) treated from the first period on: kept, but no effect can be estimated"
        report.notice("PMG-ALWAYS-TREATED", text, _unit_names(core, units, always))
    if after.any():
        text = f"{int(after.sum())} unit(s) start after the last period: not yet treated here (not never treated)"
        report.notice("PMG-COHORT-AFTER", text, _unit_names(core, units, after))
    if not np.isposinf(core.cohort).any():
        report.notice("PMG-NO-NEVER", "no unit is never treated; only later-treated units can be compared with")


def _unit_names(core: Core, units: pd.Index[Any], mask: BoolArray) -> tuple[Any, ...]:
    labels = plain(units[np.flatnonzero(mask)])
    return labels if core.is_panel else tuple(f"row {label}" for label in labels)
