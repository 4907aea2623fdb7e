"""Cases of the user, from a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.panel import Panel
from pmg_eval.registry import REGISTRY
from pmg_eval.verify._case import Case

SCHEMA = "pmg-eval-cases/1"
# From 3.1 on pandas reads decimal numbers exactly, and warns when told to.
_EXACT: dict[str, Any] = (
    {} if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1) else {"float_precision": "round_trip"}
)
_NEEDED = ("id", "estimator", "panel", "data", "outcome", "expected")
_OPTIONAL = ("what", "source", "options", "average", "tolerance")
_ROLES = (
    "unit",
    "time",
    "cohort",
    "treatment",
    "weight",
    "cluster",
    "exposure",
    "region",
    "never",
    "partial_period",
    "missing",
)
_FIELDS = ("estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high", "df")
_AVERAGES = ("overall", "event_time", "cohort", "period", "unit")


def read(path: str | Path) -> tuple[Case, ...]:
    """Cases of a file.

    Parameters
    ----------
    path : str or path
        JSON: ``{"schema": "pmg-eval-cases/1", "cases": [...]}``; the keys of a case stand in ``docs/verify.md``.

    Raises
    ------
    DataError
        PMG-FILE (not there, not JSON), PMG-CASES with everything that is wrong with the first case that is wrong.
    """
    source = Path(path)
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
    except OSError as refused:
        raise DataError(
            "PMG-FILE", f"the file of cases cannot be read: {refused.strerror}", where=[source.name]
        ) from None
    except ValueError as broken:  # not UTF-8, not JSON
        raise DataError("PMG-FILE", f"the file of cases is no JSON: {broken}", where=[source.name]) from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not isinstance(content.get("cases"), list):
        raise DataError(
            "PMG-CASES", 'a file of cases is {"schema": "' + SCHEMA + '", "cases": [...]}', where=[source.name]
        )
    found = tuple(_case(entry, place) for place, entry in enumerate(content["cases"], 1))
    names = [case.id for case in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError("PMG-CASES", "two cases have the same id", where=twice)
    return found


def _case(entry: Any, place: int) -> Case:
    where = f"case {place}"
    if not isinstance(entry, dict):
        raise DataError("PMG-CASES", "a case is an object", where=[where])
    where = f"{where} ({entry.get('id', 'without id')})"
    problems = _problems(entry)
    if problems:
        raise DataError("PMG-CASES", "; ".join(problems), where=[where], fix="docs/verify.md describes the format")
    return Case(
        id=f"own/{entry['id']}",
        kind="own",
        what=entry.get("what", f"{entry['estimator']} on {entry['outcome']!r}"),
        source=entry.get("source", "the user"),
        compute=partial(_compute, entry),
        expected={_name(number): number["value"] for number in entry["expected"]},
        tolerance=float(entry.get("tolerance", 1e-8)),
    )


def _problems(entry: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a case."""
    found = [f"{name!r} is missing" for name in _NEEDED if name not in entry]
    found += [f"unknown key {name!r}" for name in entry if name not in (*_NEEDED, *_OPTIONAL)]
    texts = ("id", "estimator", "outcome", "what", "source", "average")
    found += [f"{name!r} must be text" for name in texts if name in entry and not isinstance(entry[name], str)]
    maps = ("panel", "data", "options")
    found += [f"{name!r} must be an object" for name in maps if name in entry and not isinstance(entry[name], dict)]
    if found:
        return found
    if entry["estimator"] not in REGISTRY:
        found.append(f"unknown estimator {entry['estimator']!r}; known: {', '.join(sorted(REGISTRY))}")
    found += [f"unknown role {name!r} in 'panel'" for name in entry["panel"] if name not in _ROLES]
    if entry.get("average", "overall") not in _AVERAGES:
        found.append(f"'average' must be one of {', '.join(_AVERAGES)}")
    tolerance = entry.get("tolerance", 1e-8)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 < tolerance < 1:
        found.append("'tolerance' must be a number between 0 and 1")
    return found + _data_problems(entry["data"]) + _expected_problems(entry["expected"])


def _data_problems(data: Mapping[str, Any]) -> list[str]:
    if set(data) == {"csv"} and isinstance(data["csv"], str):
        return []
    lists = all(isinstance(column, list) for column in data.values())
    if data and lists and len({len(column) for column in data.values()}) == 1:
        return []
    return ["'data' must be columns of equal length, {name: [values]}, or {\"csv\": text}"]


def _expected_problems(expected: Any) -> list[str]:
    if not isinstance(expected, list) or not expected:
        return ['\'expected\' must be a list of {"value": number, "field": ..., "where": {...}}']
    found = []
    for number in expected:
        if not isinstance(number, dict) or set(number) - {"value", "field", "where"} or "value" not in number:
            found.append("a number of 'expected' has the keys value, field, where")
            continue
        value = number["value"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            found.append(f"{value!r} is no finite number")
        if number.get("field", "estimate") not in _FIELDS:
            found.append(f"unknown field {number['field']!r}; known: {', '.join(_FIELDS)}")
        if not isinstance(number.get("where", {}), dict):
            found.append("'where' must be an object of labels")
    if found:
        return found
    names = [_name(number) for number in expected]
    return [f"{name!r} is expected twice" for name in sorted({name for name in names if names.count(name) > 1})]


def _name(number: Mapping[str, Any]) -> str:
    labels = ", ".join(f"{label} {value}" for label, value in number.get("where", {}).items())
    return " ".join(part for part in (number.get("field", "estimate"), labels) if part)


def _compute(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    data = entry["data"]
    table = pd.read_csv(StringIO(data["csv"]), **_EXACT) if "csv" in data else pd.DataFrame(data)
    registered = REGISTRY[entry["estimator"]]
    options = {**registered.options, **entry.get("options", {})}
    estimate = registered.function(Panel(table, **entry["panel"]), entry["outcome"], **options)
    average = entry.get("average")
    if average is not None:
        estimate = estimate.average(by=None if average == "overall" else average)
    found = {}
    for number in entry["expected"]:
        rows = estimate.where(**number.get("where", {})).to_frame()
        if len(rows) != 1:
            raise DataError(
                "PMG-CASES", f"{len(rows)} rows fit {number.get('where', {})}", fix="name one row in 'where'"
            )
        found[_name(number)] = rows.iloc[0][number.get("field", "estimate")]
    return found
