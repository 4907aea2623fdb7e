"""The shape of saved results: the published JSON schemas are the one table that says what a file must hold.

Only the keywords that those schemas use are understood; the tests compare with the package jsonschema.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pmg_eval.errors import DataError

Name = Literal["estimate", "evaluation"]
Schema = dict[str, Any]


def _is_number(value: Any) -> bool:
    # a number too large for a float would come back as infinite
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("text", lambda value: isinstance(value, str)),
    "number": ("a number", _is_number),
    "integer": ("a whole number", lambda value: _is_number(value) and value == int(value)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "null": ("null", lambda value: value is None),
    "array": ("a list", lambda value: isinstance(value, list)),
    "object": ("an object", lambda value: isinstance(value, dict)),
}
_LIMITS: dict[str, Callable[[Any, Any], bool]] = {
    "const": lambda value, limit: value == limit,
    "enum": lambda value, limit: value in limit,
    "minimum": lambda value, limit: not _is_number(value) or value >= limit,
    "exclusiveMinimum": lambda value, limit: not _is_number(value) or value > limit,
    "exclusiveMaximum": lambda value, limit: not _is_number(value) or value < limit,
    "pattern": lambda value, limit: not isinstance(value, str) or re.search(limit, value) is not None,
    "minItems": lambda value, limit: not isinstance(value, list) or len(value) >= limit,
    "maxProperties": lambda value, limit: not isinstance(value, dict) or len(value) <= limit,
}


@cache
def schema_of(name: str) -> Schema:
    """A published schema."""
    loaded: Schema = json.loads(files("pmg_eval").joinpath("schema", f"{name}-1.json").read_text(encoding="utf-8"))
    return loaded


def _resolved(schema: Schema, home: str) -> tuple[Schema, str]:
    """The schema, or what it refers to, and the file it stands in; beside a reference there is only a description."""
    return _referred(schema["$ref"], home) if "$ref" in schema else (schema, home)


@cache
def _referred(reference: str, home: str) -> tuple[Schema, str]:
    """What ``#/$defs/...`` or ``urn:pmg-eval:schema:NAME:1#...`` means."""
    document, _, pointer = reference.partition("#")
    name = document.split(":")[-2] if document else home
    found = schema_of(name)
    for step in pointer.split("/")[1:]:
        found = found[step]
    return found, name


def check_shape(saved: Any, name: Name) -> None:
    """Refuse what does not follow the schema; the error says where, never which value stands there.

    Raises
    ------
    DataError
        PMG-RESULT-FORMAT.
    """
    fault = next(_faults(saved, schema_of(name), name, ""), None)
    if fault is not None:
        raise DataError("PMG-RESULT-FORMAT", f"a damaged result: {fault}", fix="write it again with to_json")


def row_columns(name: str) -> list[str]:
    """The columns of a table of an evaluation."""
    schema = schema_of("evaluation")["properties"][name]
    rows, _ = _resolved(schema.get("anyOf", [schema])[0]["items"], "evaluation")
    return list(rows["required"])


def _faults(value: Any, schema: Schema, home: str, at: str) -> Iterator[str]:
    schema, home = _resolved(schema, home)
    if "anyOf" in schema:
        faults = [next(_faults(value, option, home, at), None) for option in schema["anyOf"]]
        if None not in faults:
            yield str(faults[0])
    if not _of_kind(value, schema):
        yield f"{at or 'it'} must be {' or '.join(_KINDS[kind][0] for kind in _kinds(schema))}"
        return
    for keyword in _LIMITS.keys() & schema.keys():
        if not _LIMITS[keyword](value, schema[keyword]):
            yield f"{at or 'it'} does not meet {keyword} {json.dumps(schema[keyword])}"
    if isinstance(value, list) and "items" in schema:
        rows, there = _resolved(schema["items"], home)
        plain = rows.keys() <= {"type", "description"}  # a column of numbers needs no closer look
        if not (plain and all(_of_kind(item, rows) for item in value)):
            for position, item in enumerate(value):
                yield from _faults(item, rows, there, f"{at}[{position}]")
    if isinstance(value, dict):
        yield from _faults_inside(value, schema, home, at)
    if "if" in schema:
        branch = "else" if any(_faults(value, schema["if"], home, at)) else "then"
        yield from _faults(value, schema.get(branch, {}), home, at)


def _kinds(schema: Schema) -> tuple[str, ...]:
    kinds = schema.get("type", ())
    return (kinds,) if isinstance(kinds, str) else tuple(kinds)


def _of_kind(value: Any, schema: Schema) -> bool:
    kinds = _kinds(schema)
    return not kinds or any(_KINDS[kind][1](value) for kind in kinds)


def _faults_inside(value: dict[str, Any], schema: Schema, home: str, at: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    inside = f"{at}." if at else ""
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{inside}{name} is missing"
    for name, item in value.items():
        if name in known:
            yield from _faults(item, known[name], home, f"{inside}{name}")
        elif isinstance(others, dict):
            yield from _faults(item, others, home, f"{inside}{name}")
        elif not others:
            yield f"{at or 'it'} holds a key that is not known"


__all__ = ["Name", "check_shape", "row_columns", "schema_of"]
