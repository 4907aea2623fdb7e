"""One hash for the same data, whatever container, row order, integer width or unrelated columns they come with."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from pmg_eval.panel._core import Core

_ARRAYS = (
    "time_codes",
    "row_unit",
    "row_time",
    "cohort",
    "share",
    "weight",
    "exposure",
    "contaminated_from",
    "dose",
    "focus_share",
    "neighbors",
)


def fingerprint(core: Core) -> str:
    """SHA-256 (hex) over the calendar, the labels, the arrays of the roles and the columns used so far."""
    digest = hashlib.sha256()

    def add(name: str, content: bytes) -> None:
        digest.update(f"{name}:{len(content)};".encode())
        digest.update(content)

    add("calendar", str(core.calendar.freq).encode())
    add("units", _label_bytes(core.units))
    for name in _ARRAYS:
        array = getattr(core, name)
        if array is not None:
            add(name, _number_bytes(array))
    for column in sorted(core.complete, key=str):
        numbers = core.root.numbers(column)
        if numbers is not None:
            add(f"column {column}", _number_bytes(core.on_rows(numbers)))
        else:
            values = core.root.series(column)
            add(f"column {column}", _label_bytes(values if core.rows is None else values.iloc[core.rows]))
    return digest.hexdigest()


def _number_bytes(values: Any) -> bytes:
    """One byte pattern per number: no -0.0, one kind of NaN, little endian."""
    if values.dtype.kind != "f":
        return np.ascontiguousarray(values, dtype="<i8").tobytes()
    return np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8").tobytes()


def _label_bytes(labels: Any) -> bytes:
    dtype = getattr(labels, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind == "i":
        return _number_bytes(np.asarray(labels))
    return "\x1f".join(str(label) for label in labels).encode("utf-8", "surrogatepass")
