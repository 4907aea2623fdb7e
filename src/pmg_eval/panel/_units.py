"""Unit ids, labels of units, and borders between units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.panel._ingest import IntArray, distinct, to_pandas
from pmg_eval.panel._report import Report, plain

_EXACT = 2.0**53
_FIX_TYPE = "give integers or text, one type for all rows"


def parse_units(column: pd.Series[Any], report: Report) -> tuple[IntArray, pd.Index[Any]] | None:
    """Codes (N,) into sorted labels (-1 = missing), and the labels.

    Integers stay integers of 64 bits (they never pass through floats), text stays text; ids of several types are
    PMG-UNIT-MIXED because 1 and "1" are different units; everything else is PMG-UNIT-TYPE.
    """
    kind = _id_kind(column)
    if kind == "mixed":
        report.problem(
            "PMG-UNIT-MIXED", 'ids of several types in the unit column (1 and "1" are different units)', fix=_FIX_TYPE
        )
        return None
    if kind == "other":
        report.problem("PMG-UNIT-TYPE", "unit ids must be integers or text", fix=_FIX_TYPE)
        return None
    codes, values = distinct(column)
    labels = _labels(values, kind, report)
    if labels is None or (kind == "text" and _same_but_for_blanks(labels, "PMG-UNIT-BLANKS", "unit", report)):
        return None
    blank = np.zeros(len(labels), dtype=np.bool_)
    if kind == "text":
        blank = np.fromiter((not label.strip() for label in labels), dtype=np.bool_, count=len(labels))
    order = np.argsort(labels, kind="stable")
    order = order[~blank[order]]
    rank = np.full(len(labels) + 1, -1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    ordered = labels[order]
    index = pd.Index(list(ordered)) if kind == "text" else pd.Index(ordered)
    return rank[codes], index


def _same_but_for_blanks(labels: Iterable[Any], code: str, role: str, report: Report) -> bool:
    """Refuse labels that are one label when blanks at their ends are not counted; nothing is stripped silently."""
    found: dict[str, list[str]] = {}
    for label in labels:
        if isinstance(label, str) and label.strip():
            found.setdefault(label.strip(), []).append(label)
    same = [label for _, group in sorted(found.items()) if len(group) > 1 for label in sorted(group)]
    if same:
        what = f"{role} labels that differ in nothing but blanks at their ends"
        fix = "write each label in one way: str.strip() on this column, if they mean the same"
        report.problem(code, what, tuple(f'"{label}"' for label in same), fix)
    return bool(same)


def _id_kind(column: pd.Series[Any]) -> str:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _id_kind(distinct(column)[1])
    if pd.api.types.is_bool_dtype(dtype):
        return "other"
    if pd.api.types.is_integer_dtype(dtype):
        return "integer"
    if pd.api.types.is_float_dtype(dtype):
        return "float"
    if pd.api.types.is_object_dtype(dtype):
        # the whole column, not its distinct values: 1, 1.0 and True are one key of a hash table
        inferred = pd.api.types.infer_dtype(column, skipna=True)
        known = {"integer": "integer", "floating": "float", "string": "text", "empty": "text"}
        return known.get(inferred, "mixed" if inferred.startswith("mixed") else "other")
    if pd.api.types.is_string_dtype(dtype):
        return "text"
    return "other"


def _labels(values: pd.Series[Any], kind: str, report: Report) -> Any:
    if kind == "text":
        return np.array(values.astype(object).to_numpy(dtype=object), dtype=object)
    if kind == "integer":
        whole = list(values) if pd.api.types.is_object_dtype(values.dtype) else values.to_numpy()
        for dtype in (np.int64, np.uint64):
            limits = np.iinfo(dtype)
            if len(whole) == 0 or (int(min(whole)) >= limits.min and int(max(whole)) <= limits.max):
                return np.array(whole, dtype=dtype)
        report.problem("PMG-UNIT-TYPE", "integer ids beyond 64 bits", fix="give such ids as text")
        return None
    numbers = values.to_numpy(dtype=np.float64)
    with np.errstate(invalid="ignore"):
        whole_number = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < _EXACT)
    if not whole_number.all():
        report.problem(
            "PMG-UNIT-TYPE",
            "decimal unit ids that are not whole or too large to be exact",
            fix="read the id column as integer or text",
        )
        return None
    return numbers.astype(np.int64)


def parse_neighbors(given: Any, units: pd.Index[Any], report: Report) -> IntArray | None:
    """Pairs (E, 2) of positions into units, both directions, sorted; problems are PMG-NEIGHBORS."""
    pairs = _pairs(given, report)
    if pairs is None:
        return None
    left, right = pairs
    positions = np.column_stack([_positions(left, units), _positions(right, units)])
    unknown = positions < 0
    if unknown.any():
        names = dict.fromkeys(
            label for label, bad in zip([*left, *right], [*unknown[:, 0], *unknown[:, 1]], strict=True) if bad
        )
        report.problem(
            "PMG-NEIGHBORS",
            f"{len(names)} unit(s) in neighbors are not in the panel",
            plain(names),
            "leave them out, and check that ids have the type of the unit column",
        )
        return None
    own = positions[:, 0] == positions[:, 1]
    if own.any():
        names_own = plain(units.take(np.unique(positions[own, 0])))
        report.problem("PMG-NEIGHBORS", "units named as their own neighbor", names_own, "leave them out")
        return None
    one_way = np.unique(positions, axis=0).reshape(-1, 2)
    both = np.unique(np.vstack([one_way, one_way[:, ::-1]]), axis=0).reshape(-1, 2)
    if len(both) > len(one_way):
        added = len(both) - len(one_way)
        report.notice("PMG-NEIGHBORS-ONE-WAY", f"{added} border(s) given in one direction count in both")
    return both.astype(np.int64)


def _positions(labels: list[Any], units: pd.Index[Any]) -> IntArray:
    lookup = {label: place for place, label in enumerate(plain(units))}
    return np.array([lookup.get(label, -1) for label in plain(labels)], dtype=np.int64)


def _pairs(given: Any, report: Report) -> tuple[list[Any], list[Any]] | None:
    if isinstance(given, Mapping):
        wrong = [unit for unit, near in given.items() if isinstance(near, str) or not isinstance(near, Iterable)]
        if wrong:
            report.problem(
                "PMG-NEIGHBORS", "neighbors must map each unit to a list of units", plain(wrong), "give a list"
            )
            return None
        left = [unit for unit, near in given.items() for _ in near]
        return left, [other for near in given.values() for other in near]
    try:
        table = to_pandas(given)
    except DataError:
        table = None
    if table is None or table.shape[1] != 2:
        report.problem(
            "PMG-NEIGHBORS",
            "neighbors must be a mapping from unit to a list of units, or a table with two columns of units",
        )
        return None
    return table.iloc[:, 0].tolist(), table.iloc[:, 1].tolist()


def label_codes(column: pd.Series[Any], role: str, code: str, report: Report) -> IntArray | None:
    """Codes (N,) of a label column; missing labels are reported."""
    try:
        codes, values = distinct(column)
    except TypeError:
        report.problem(code, f"{role} column {column.name!r} holds values that are not labels", fix="give text or ids")
        return None
    if _same_but_for_blanks(values, code, f"{role} column {column.name!r} has", report):
        return None
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        report.problem(
            code,
            f"{role} column {column.name!r} has {len(missing)} missing label(s)",
            tuple(f"row {row}" for row in missing),
            "fill them in; rows without a label cannot be left out silently",
        )
        return None
    return codes


def as_columns(cluster: Any) -> tuple[Any, ...]:
    """One column name or a list of them."""
    if cluster is None:
        return ()
    return tuple(cluster) if isinstance(cluster, (list, tuple)) else (cluster,)
