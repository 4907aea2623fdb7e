"""Examples in docstrings run, and public callables have one where they compute something."""

import doctest
import importlib
import pkgutil

import pytest

import pmg_eval

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(pmg_eval.__path__, "pmg_eval.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


@pytest.mark.parametrize("name", ["did.group_time", "did.imputation", "resample.jackknife", "resample.placebo",
                                  "effect_per_area", "stack", "Panel"])  # fmt: skip
def test_estimators_have_an_executed_example_and_say_what_they_assume(name: str) -> None:
    target = pmg_eval
    for part in name.split("."):
        target = getattr(target, part)
    assert ">>>" in target.__doc__
    assert "Raises" in target.__doc__
