"""The shipped JSON schemas, and the check of a specification against its own.

The schema of a specification is the one place that lists its keys: the check below, the options of ``pmg-eval check``
and editors read it. Only the few keywords that it uses are understood; the tests compare with the package jsonschema.

>>> [problem.fix for problem in problems({"unti": "area"}, {"properties": {"unit": {}}, "additionalProperties": False})]
['did you mean unit?']
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.resources import files
from typing import Any, Literal, TypeAlias

from pmg_eval.errors import Problem

Name = Literal["estimate", "evaluation", "spec"]
Schema: TypeAlias = Mapping[str, Any]

NAMES: tuple[Name, ...] = ("spec", "evaluation", "estimate")
_WORDS = {
    "string": "text in quotes",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table",
}


def schema_text(name: Name) -> str:
    """The JSON schema as it is shipped."""
    return files("pmg_eval").joinpath("schema", f"{name}-1.json").read_text(encoding="utf-8")


def spec_schema() -> Schema:
    """The schema of a specification."""
    loaded: Schema = json.loads(schema_text("spec"))
    return loaded


def resolved(schema: Schema, root: Schema) -> Schema:
    """The schema with its reference put in; keywords beside the reference win."""
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].removeprefix("#/$defs/")
    return {**root["$defs"][name], **{key: value for key, value in schema.items() if key != "$ref"}}


def problems(value: Any, schema: Schema, root: Schema | None = None, path: str = "") -> list[Problem]:
    """Everything that is wrong with a value.

    Parameters
    ----------
    value : JSON-like value
    schema : mapping
        Keywords type, enum, const, minimum, minLength, maxLength, pattern, minItems, maxItems, items,
        properties, required, additionalProperties, and references to ``$defs``.
    root : mapping, optional
        Where ``$defs`` are.
    path : str
        What the value is called in messages.

    Returns
    -------
    list of Problem
        Codes PMG-SPEC-KEY (unknown, missing), PMG-SPEC-TYPE, PMG-SPEC-VALUE.
    """
    return list(_problems(value, schema, schema if root is None else root, path))


def _problems(value: Any, schema: Schema, root: Schema, path: str) -> Iterator[Problem]:
    schema = resolved(schema, root)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        wanted = " or ".join(_WORDS[kind] for kind in kinds)
        yield Problem(
            "PMG-SPEC-TYPE", f"{path} must be {wanted}, not {_found(value)}", (), schema.get("description", "")
        )
        return
    yield from _wrong_value(value, schema, path)
    if isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from _problems(item, schema.get("items", {}), root, f"item {number} of {path}")
    if isinstance(value, dict):
        yield from _object(value, schema, root, path)


def _object(value: dict[str, Any], schema: Schema, root: Schema, path: str) -> Iterator[Problem]:
    known: Mapping[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    inside = f"[{path}] " if path else ""
    meant = set()
    for key, item in value.items():
        if key in known:
            yield from _problems(item, known[key], root, f"{inside}{key}")
        elif isinstance(others, Mapping):
            yield from _problems(item, others, root, f"{inside}{key}")
        elif not others:
            close = get_close_matches(key, [name for name in known if name not in value], n=1)
            meant.update(close)
            fix = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
            yield Problem("PMG-SPEC-KEY", f"{inside}{key} is not known", (), fix)
    for key in schema.get("required", []):
        if key not in value and key not in meant:
            what = resolved(known[key], root).get("description", "")
            yield Problem("PMG-SPEC-KEY", f"{inside}{key} is missing", (), f"add it: {what}" if what else "add it")


def _wrong_value(value: Any, schema: Schema, path: str) -> Iterator[Problem]:
    def wrong(text: str) -> Problem:
        return Problem("PMG-SPEC-VALUE", f"{path} {text}", (), schema.get("description", ""))

    if "const" in schema and value != schema["const"]:
        yield wrong(f'must be "{schema["const"]}"')
    if "enum" in schema and value not in schema["enum"]:
        close = get_close_matches(str(value), [str(item) for item in schema["enum"]], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        yield wrong(f"must be one of {', '.join(map(str, schema['enum']))}{hint}")
    if _is(value, "number") and value < schema.get("minimum", value):
        yield wrong(f"must be {schema['minimum']} or more")
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            yield wrong("must not be empty" if not value else f"must be {_count(schema, 'Length', 'character')}")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield wrong("has another form than it must have")
    if isinstance(value, list) and not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield wrong(f"must have {_count(schema, 'Items', 'item')}")


def _count(schema: Schema, of: str, noun: str) -> str:
    least, most = schema.get(f"min{of}", 0), schema.get(f"max{of}")
    number = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
    return f"{number} {noun}" + ("" if number == "1" else "s")


def _is(value: Any, kind: str) -> bool:
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "boolean": bool, "array": list, "object": dict}[kind])


def _found(value: Any) -> str:
    kind = next(
        (kind for kind in ("boolean", "integer", "number", "string", "array", "object") if _is(value, kind)), ""
    )
    return "text" if kind == "string" else _WORDS.get(kind, type(value).__name__)
