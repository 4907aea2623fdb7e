"""Packages that only drawing and pages need: imported where used, named when missing."""

from __future__ import annotations

from importlib import import_module

from pmg_eval.errors import DataError


def require(package: str) -> None:
    """Raise the error that says what to install when an optional package is missing.

    Raises
    ------
    DataError
        ``PMG-EXTRA``.
    """
    try:
        import_module(package)
    except ModuleNotFoundError as missing:
        raise DataError(
            "PMG-EXTRA",
            f"figures and pages need {missing.name or package!r}, which is not installed",
            fix='pip install "pmg_eval[report]"',
        ) from missing
