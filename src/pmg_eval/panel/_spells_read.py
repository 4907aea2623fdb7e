"""Columns of a table of spells as arrays: times, events, causes, labels, weights, persons."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.panel._ingest import BoolArray, FloatArray, IntArray, distinct, kind_of, numeric
from pmg_eval.panel._report import Report, plain, short
from pmg_eval.panel._units import _id_kind

TIME_UNITS = {"days": 365, "weeks": 52, "months": 12, "years": 1}
"""Time units, and how many of them are one year of follow-up."""

RESERVED = frozenset({"censored", "entered", "time", "group"})
_LONGEST = {"days": 54_787, "weeks": 7_827, "months": 1_800, "years": 150}  # 150 years
_MOST_ROWS = 1_000
_MOST_VALUES = 10
_EXACT = 2.0**53


def rows_of(mask: Any) -> tuple[str, ...]:
    """Rows (counted from 0) where something is wrong: numbers, never ids."""
    return tuple(f"row {row}" for row in np.flatnonzero(mask)[:_MOST_ROWS])


def _count(mask: Any, noun: str) -> str:
    number = int(np.count_nonzero(mask))
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# ---- times ----------------------------------------------------------------------------------------------------------


def read_times(column: pd.Series[Any], role: str, unit: str, report: Report) -> IntArray | None:
    """Whole numbers (N,) in the time unit, from integers, whole floats or (for days) timedeltas."""
    if pd.api.types.is_timedelta64_dtype(column.dtype) or _holds_timedeltas(column):
        numbers = _days(column, role, unit, report)
    else:
        numbers = _plain_numbers(column, role, report)
    if numbers is None:
        return None
    before = len(report.problems)
    wrong = _wrong_times(numbers, role, unit)
    for code, mask, what, fix in wrong:
        if mask.any():
            report.problem(code, f"{role}: {_count(mask, 'row')} {what}", rows_of(mask), fix)
    return None if len(report.problems) > before else numbers.astype(np.int64)


def _wrong_times(numbers: Any, role: str, unit: str) -> list[tuple[str, BoolArray, str, str]]:
    if numbers.dtype.kind != "f":
        low, high = (numbers.min(), numbers.max()) if len(numbers) else (0, 0)
        if low >= 0 and high <= _LONGEST[unit]:
            return []
        return [
            ("PMG-TIME-NEG", np.asarray(numbers < 0), "with a negative time", _NEGATIVE),
            ("PMG-TIME-RANGE", np.asarray(numbers > _LONGEST[unit]), f"beyond 150 years in {unit}", _RANGE),
        ]
    with np.errstate(invalid="ignore"):
        missing, infinite = np.isnan(numbers), np.isinf(numbers)
        negative = numbers < 0
        long = (numbers > _LONGEST[unit]) & ~infinite
        part = ~missing & ~infinite & ~long & ~negative & (numbers != np.floor(numbers))
    fix = "round to whole numbers"
    if unit == "days" and part.any() and np.nanmedian(np.where(infinite, np.nan, numbers)) < 10:
        fix = "these look like years: multiply by 365.25 and round, or count whole years with time_unit='years'"
    return [
        (
            "PMG-TIME-MISSING",
            missing,
            "without a time",
            "a spell without an end cannot be used: censor it at the extract",
        ),
        ("PMG-TIME-INFINITE", infinite, "with an infinite time", "censor open spells at the end of follow-up"),
        ("PMG-TIME-NEG", negative & ~infinite, "with a negative time", _NEGATIVE),
        ("PMG-TIME-RANGE", long, f"beyond 150 years in {unit}", _RANGE),
        ("PMG-TIME-FRACTION", part, f"that are not whole {unit}", fix),
    ]


_NEGATIVE = "an event before the index date is no recidivism: leave it out, or check the index date"
_RANGE = "check the unit (time_unit=) and codes such as 99999"


def _holds_timedeltas(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_object_dtype(column.dtype) and pd.api.types.infer_dtype(column, skipna=True) == "timedelta"


def _days(column: pd.Series[Any], role: str, unit: str, report: Report) -> FloatArray | None:
    if unit != "days":
        report.problem("PMG-TIME-TYPE", f"{role} holds time differences", fix='time_unit="days", or convert to numbers')
        return None
    lengths = pd.to_timedelta(column).to_numpy()
    missing = np.isnat(lengths)
    out = np.full(len(lengths), np.nan)
    one = np.timedelta64(1, "D")
    out[~missing] = lengths[~missing] // one
    part = np.zeros(len(lengths), dtype=np.bool_)
    part[~missing] = (lengths[~missing] % one) != np.timedelta64(0, "D")
    if part.any():
        report.problem(
            "PMG-TIME-FRACTION",
            f"{role}: {_count(part, 'row')} with parts of a day",
            rows_of(part),
            "subtract dates, not moments: .dt.normalize() both first",
        )
        return None
    return out


def _plain_numbers(column: pd.Series[Any], role: str, report: Report) -> Any:
    """Integers as they are, everything else numeric as float64."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iu":
        return column.to_numpy()
    kind = kind_of(column)
    numbers = numeric(column) if kind != "bool" else None
    if numbers is not None:
        return numbers
    found = {"text": "text", "bool": "truth values", "datetime": "dates", "period": "periods"}.get(kind)
    fix = "convert with pd.to_numeric"
    if kind in ("datetime", "period"):
        fix = "time runs from the index date: subtract it, for example (df['exit'] - df['index_date']).dt.days"
    report.problem(
        "PMG-TIME-TYPE", f"{role} must hold whole numbers; got {found or 'values of several or unknown types'}", fix=fix
    )
    return None


# ---- events and causes ----------------------------------------------------------------------------------------------


def read_event(column: pd.Series[Any], report: Report) -> BoolArray | None:
    """Whether the spell ends with an event (N,), from 0/1 or truth values."""
    kind = kind_of(column)
    numbers = numeric(column) if kind in ("integer", "float", "bool") else None
    if numbers is None:
        if kind == "empty" or column.isna().all():
            report.problem("PMG-EVENT-MISSING", "event is missing everywhere", fix="give 1 = event, 0 = censored")
        else:
            report.problem(
                "PMG-EVENT-TYPE",
                f"event must be 0/1 or truth values{_values(column)}",
                fix="1 = event, 0 = censored; which kind of event it was belongs in cause=",
            )
        return None
    missing = np.isnan(numbers)
    if missing.any():
        report.problem(
            "PMG-EVENT-MISSING",
            f"event is missing in {_count(missing, 'row')}",
            rows_of(missing),
            "unknown is neither 0 nor 1: censor the spell where the status was last known",
        )
    yes = np.asarray(numbers == 1.0)
    wrong = ~(yes | (numbers == 0.0) | missing)
    if wrong.any():
        _event_codes(wrong, np.unique(numbers[~missing]), report)
    return None if missing.any() or wrong.any() else yes


def _event_codes(wrong: BoolArray, codes: FloatArray, report: Report) -> None:
    shown = short([int(code) if float(code).is_integer() else code for code in codes.tolist()])
    fix = "1 = event, 0 = censored; which kind of event it was belongs in cause=, as text"
    if set(codes) <= {1.0, 2.0}:
        fix = "1/2 coding: use df['event'] == 2 (or == 1, whichever is the event)"
    report.problem("PMG-EVENT-CODES", f"event holds codes other than 0 and 1: {shown}", rows_of(wrong), fix)


def _values(column: pd.Series[Any]) -> str:
    """The distinct values, when they are few enough to be codes rather than data."""
    try:
        found = plain(distinct(column)[1])
    except TypeError:
        return ""
    return f"; got {short(sorted(map(str, found)))}" if len(found) <= _MOST_VALUES else ""


def read_cause(
    column: pd.Series[Any] | None, event: BoolArray, name: Hashable, report: Report
) -> tuple[IntArray, tuple[str, ...]] | None:
    """State (N,) of the end of each spell, 0 = censored, and the causes behind 1, 2, ...; sorted by label.

    Without a cause column all events are of one kind, named after the event column. Labels that never go with an event
    make no cause.
    """
    if column is None:
        label = str(name)
        return event.astype(np.int64), ("event" if label in RESERVED else label,)
    codes, labels = _cause_labels(column, report)
    if codes is None:
        return None
    before = len(report.problems)
    _check_causes(codes, labels, event, report)
    if len(report.problems) > before:
        return None
    used = _used(codes[event])
    order = used[np.argsort(labels[used])] if len(used) else used
    if not len(order):
        return np.zeros(len(event), dtype=np.int64), ()
    rank = np.zeros(len(labels) + 1, dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    return np.where(event, rank[codes], 0), tuple(labels[order].tolist())


def _cause_labels(column: pd.Series[Any], report: Report) -> tuple[Any, Any]:
    try:
        codes, values = distinct(column)
        kind = kind_of(values) if len(values) else "text"
    except TypeError:
        kind = "other"
    if kind != "text":
        found = {"integer": "integers", "float": "numbers", "bool": "truth values"}.get(kind, "values of other types")
        fix = "name them: df['cause'].map({1: 'recidivism', 2: 'death'}); leave it missing where the spell is censored"
        report.problem("PMG-CAUSE-TYPE", f"cause must be text or categories of text; got {found}", fix=fix)
        return None, None
    labels = np.array([str(value).strip() for value in values], dtype=object)
    lookup, first = np.unique(labels, return_inverse=True) if len(labels) else (labels, np.zeros(0, dtype=np.int64))
    mapped = np.append(np.where(lookup[first] == "", -1, first), -1) if len(labels) else np.array([-1])
    return mapped[codes].astype(np.int64), lookup


def _check_causes(codes: IntArray, labels: Any, event: BoolArray, report: Report) -> None:
    lost = event & (codes < 0)
    if lost.any():
        report.problem(
            "PMG-CAUSE-MISSING",
            f"cause is missing in {_count(lost, 'row')} with an event",
            rows_of(lost),
            "name the cause, or 'unknown'; leaving the rows out would bias every cause",
        )
    idle = ~event & (codes >= 0)
    saying = {place for place, label in enumerate(labels) if label.casefold() == "censored"}
    named = sorted(labels[place] for place in set(_used(codes[idle])) - saying)
    if named:
        report.problem(
            "PMG-CAUSE-CENSORED",
            f"cause given where event = 0: {short(named)}",
            rows_of(idle & np.isin(codes, [p for p, label in enumerate(labels) if label in named])),
            "event says whether the spell ended with any of the causes: set it to 1 for competing exits (death, "
            "emigration), or leave cause missing where follow-up just ended",
        )
    happened = set(_used(codes[event]))
    reserved = sorted(labels[place] for place in happened if labels[place] in RESERVED or place in saying)
    if reserved:
        report.problem("PMG-CAUSE-NAME", f"no name for a cause: {short(reserved)}", fix="another name")


def _used(codes: IntArray) -> IntArray:
    """Codes that occur, ascending; -1 is none."""
    return np.flatnonzero(np.bincount(codes[codes >= 0])) if len(codes) else codes


# ---- labels, weights, persons ---------------------------------------------------------------------------------------


def read_groups(columns: list[pd.Series[Any]], report: Report) -> tuple[IntArray, pd.DataFrame] | None:
    """Group (N,) of each row, and a table of the groups: ``group``, and the columns when there are several."""
    parts: list[tuple[IntArray, pd.Series[Any]]] = []
    for column in columns:
        part = _one_label(column, report)
        if part is None:
            return None
        parts.append(part)
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for found, values in parts:
        codes = codes * max(len(values), 1) + found
    codes, used = _compact(codes)
    table: dict[str, Any] = {}
    rest = used
    for column, (_, values) in reversed(list(zip(columns, parts, strict=True))):
        rest, place = np.divmod(rest, max(len(values), 1))
        table[str(column.name)] = values.array[place]
    table = dict(reversed(list(table.items())))
    if len(columns) == 1:
        return codes, pd.DataFrame({"group": next(iter(table.values()))})
    joined = [", ".join(map(str, row)) for row in zip(*table.values(), strict=True)]
    if len(set(joined)) < len(joined):
        report.problem("PMG-GROUP", "two groups have the same joined label", fix="rename the labels that hold a comma")
        return None
    clash = {"group": "group "} if "group" in table else {}
    return codes, pd.DataFrame({"group": joined, **{clash.get(name, name): value for name, value in table.items()}})


def _one_label(column: pd.Series[Any], report: Report) -> tuple[IntArray, pd.Series[Any]] | None:
    """Codes (N,) into the sorted distinct labels of one column."""
    try:
        codes, values = distinct(column)
    except TypeError:
        report.problem("PMG-GROUP", f"group column {column.name!r} holds values that are not labels", fix="give text")
        return None
    missing = codes < 0
    if missing.any():
        report.problem(
            "PMG-GROUP-MISSING",
            f"group column {column.name!r} is missing in {_count(missing, 'row')}",
            rows_of(missing),
            "name the group ('unknown'); rows without a label cannot be left out silently",
        )
        return None
    try:
        order = np.argsort(values.to_numpy(dtype=object), kind="stable")
    except TypeError:
        order = np.argsort(values.astype(str).to_numpy(dtype=object), kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], values.iloc[order].reset_index(drop=True)


def _compact(codes: IntArray) -> tuple[IntArray, IntArray]:
    """Codes into those that occur, and these."""
    top = int(codes.max()) + 1 if len(codes) else 0
    if top > 4 * len(codes) + 1024:
        used, found = np.unique(codes, return_inverse=True)
        return found.astype(np.int64), used
    used = np.flatnonzero(np.bincount(codes, minlength=top))
    if len(used) == top:
        return codes, used
    rank = np.zeros(top, dtype=np.int64)
    rank[used] = np.arange(len(used))
    return rank[codes], used


def read_weight(column: pd.Series[Any], kind: str, report: Report) -> FloatArray | None:
    """Weights (N,), finite and not negative; whole numbers for frequencies."""
    numbers = numeric(column) if kind_of(column) != "bool" else None
    if numbers is None:
        report.problem("PMG-WEIGHT", "weights must be numbers", fix="convert with pd.to_numeric")
        return None
    with np.errstate(invalid="ignore"):
        wrong = ~(np.isfinite(numbers) & (numbers >= 0))
    if wrong.any():
        what = f"{_count(wrong, 'row')} with a weight that is missing, infinite or negative"
        report.problem("PMG-WEIGHT", what, rows_of(wrong), "a weight is the number of persons the row stands for")
        return None
    if kind == "frequency" and ((numbers != np.floor(numbers)) | (numbers >= _EXACT)).any():
        part = (numbers != np.floor(numbers)) | (numbers >= _EXACT)
        report.problem(
            "PMG-WEIGHT",
            f"{_count(part, 'row')} with a frequency that is no whole number",
            rows_of(part),
            'weight_kind="survey" or "ipw" for weights that are not numbers of persons',
        )
        return None
    if not (numbers > 0).any():
        report.problem("PMG-WEIGHT", "all weights are zero", fix="leave weight out, or check the column")
        return None
    return numbers


def read_persons(column: pd.Series[Any], report: Report) -> tuple[IntArray | None, int] | None:
    """Person (N,) as codes without meaning, None when every row is another person; and how many persons there are.

    Ids are compared as they are: integers are never cast to floats, and 1 and "1" do not meet.
    """
    kind = _id_kind(column)
    if kind == "mixed":
        report.problem(
            "PMG-PERSON-MIXED",
            'ids of several types in the person column (1 and "1" differ)',
            fix="one type for all rows",
        )
        return None
    if kind == "other" or (kind == "float" and not _exact_ids(column)):
        report.problem(
            "PMG-PERSON-TYPE", "person ids must be integers or text", fix="read the column as integer or text"
        )
        return None
    missing = column.isna().to_numpy()
    if kind == "text":
        missing = missing | _blank(column)
    if missing.any():
        report.problem(
            "PMG-PERSON-MISSING",
            f"person is missing in {_count(missing, 'row')}",
            rows_of(missing),
            "give every person an id; rows without one cannot be told apart",
        )
        return None
    if column.is_unique:
        return None, len(column)
    codes, persons = pd.factorize(column)
    return codes.astype(np.int64), len(persons)


def _exact_ids(column: pd.Series[Any]) -> bool:
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(invalid="ignore"):
        fine = np.isnan(numbers) | ((numbers == np.floor(numbers)) & (np.abs(numbers) < _EXACT))
    return bool(fine.all())


def _blank(column: pd.Series[Any]) -> BoolArray:
    codes, values = distinct(column)
    empty = np.append(np.array([not str(value).strip() for value in values], dtype=np.bool_), False)
    return np.asarray(empty[codes])


def read_cluster(columns: list[pd.Series[Any]], report: Report) -> tuple[IntArray, int] | None:
    """Cluster (N,) as codes in the order of sorted labels, and their number; at least two."""
    found = read_groups(columns, clusters := Report())
    if found is None:
        for problem in clusters.problems:
            report.problem(
                "PMG-CLUSTER", problem.what.replace("group column", "cluster column"), problem.where, problem.fix
            )
        return None
    codes, table = found
    if len(table) < 2:
        report.problem(
            "PMG-CLUSTER", "one cluster only", fix="a robust variance needs at least two clusters, better 40"
        )
        return None
    return codes, len(table)
