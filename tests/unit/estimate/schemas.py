"""The published JSON schemas, with a validator that resolves one from the other."""

import json
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SCHEMAS: dict[str, dict[str, Any]] = {
    name: json.loads(files("pmg_eval").joinpath("schema", f"{name}-1.json").read_text(encoding="utf-8"))
    for name in ("estimate", "evaluation")
}
_REGISTRY = Registry().with_resources((s["$id"], Resource.from_contents(s)) for s in SCHEMAS.values())


def problems(document: Any, name: str) -> list[str]:
    """What the schema has against a document."""
    found = Draft202012Validator(SCHEMAS[name], registry=_REGISTRY).iter_errors(document)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found]
