"""The one inversion of layers: ``Estimate.plot`` and ``_repr_html_`` ask a registered backend, as pandas does.

A backend is named by the module that offers ``plot(estimate, **options)`` and ``html(estimate)``; it is imported when
first asked for, never at import of the library.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from pmg_eval.errors import DataError

_backend_module = "pmg_eval.report.display"


class Backend(Protocol):
    """What a display backend offers."""

    def plot(self, estimate: Any, **options: Any) -> Any: ...

    def html(self, estimate: Any) -> str: ...


def register(module: str) -> None:
    """Use the display functions of another module."""
    global _backend_module
    _backend_module = module


def backend() -> Any:
    """The module that draws."""
    try:
        return import_module(_backend_module)
    except ModuleNotFoundError as missing:
        raise DataError(
            "PMG-EXTRA",
            f"drawing needs {missing.name!r}, which is not installed",
            fix='pip install "pmg_eval[report]"',
        ) from missing
