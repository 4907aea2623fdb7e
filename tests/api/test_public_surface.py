"""The public names are those of the contract, and what is public today is written down.

``surface.json``: ``contract`` are the promised names, ``added`` names that came later with the reason for each,
``today`` what is importable now; after a deliberate change ``python tests/api/test_public_surface.py`` rewrites it.
"""

import importlib
import json
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pmg_eval

SURFACE = Path(__file__).with_name("surface.json")
surface: dict[str, dict[str, Any]] = json.loads(SURFACE.read_text(encoding="utf-8"))
NAMESPACES = sorted(surface["contract"])


def existing() -> list[str]:
    inside = {f"pmg_eval.{module.name}" for module in pkgutil.iter_modules(pmg_eval.__path__)}
    return [name for name in NAMESPACES if name == "pmg_eval" or name in inside]


def listed(namespace: str) -> list[str]:
    return sorted(importlib.import_module(namespace).__all__)


def offered(module: ModuleType) -> set[str]:
    """Names without an underscore that completion offers (``dir``) and that are not modules."""
    names = {name for name in dir(module) if not name.startswith("_") and name != "annotations"}
    return {name for name in names if not isinstance(getattr(module, name), ModuleType)}


def test_today_is_written_down() -> None:
    assert {namespace: listed(namespace) for namespace in existing()} == surface["today"]


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_public_names_are_promised(namespace: str) -> None:
    today = set(surface["today"].get(namespace, []))
    allowed = set(surface["contract"][namespace]) | set(surface["added"].get(namespace, {}))
    assert today <= allowed, f"hide it, or add it to surface.json with a reason: {sorted(today - allowed)}"


def test_an_added_name_has_a_reason_and_exists() -> None:
    for namespace, names in surface["added"].items():
        assert set(names) <= set(surface["today"][namespace])
        assert all(len(reason) > 20 for reason in names.values())


def test_nothing_else_is_offered() -> None:
    for namespace in existing():
        module = importlib.import_module(namespace)
        assert offered(module) <= set(module.__all__), f"{namespace}: an underscore, or a __dir__, hides a name"


def test_dir_shows_the_public_names() -> None:
    for namespace in existing():
        module = importlib.import_module(namespace)
        assert set(module.__all__) <= set(dir(module)), namespace


def test_no_module_bears_the_name_of_what_its_package_exports() -> None:
    shadowed = []
    for info in pkgutil.walk_packages(pmg_eval.__path__, "pmg_eval."):
        if "__main__" in info.name:
            continue
        parent, _, name = info.name.rpartition(".")
        importlib.import_module(info.name)
        value = getattr(importlib.import_module(parent), name)
        if not isinstance(value, ModuleType):
            shadowed.append(info.name)
    assert shadowed == [], "the function hides the module: rename it to _name.py"


if __name__ == "__main__":
    surface["today"] = {namespace: listed(namespace) for namespace in existing()}
    SURFACE.write_text(json.dumps(surface, indent=2) + "\n", encoding="utf-8")
