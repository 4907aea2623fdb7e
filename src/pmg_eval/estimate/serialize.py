"""Versioned JSON: numbers, labels, covariance and provenance; no influence values, no microdata, no pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate.carriers import Covariance, Influence, Support
from pmg_eval.estimate.kernels import Recorded, independent
from pmg_eval.estimate.provenance import Provenance
from pmg_eval.estimate.shape import Name, check_shape
from pmg_eval.estimate.stored import NUMBERS, Stored, level_of, stored_of
from pmg_eval.estimate.support_intervals import check_kinds
from pmg_eval.estimate.terms import LABELS, REFERENCE, SUPPORT, make_terms
from pmg_eval.numerics.rows import Array

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate

SCHEMA = "pmg-eval-estimate/1"
SUPPORT_FIELDS = ("n_treated", "n_effective", "inflation", "df_treated")
_MAX_TERMS = 1000
T = TypeVar("T")


def jsonable(value: Any) -> Any:
    """Numbers, text, booleans or null; a missing or infinite number becomes null."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, pd.Period):
        return {"period": str(value), "freq": value.freqstr}
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [jsonable(item) for item in value]
    return str(value)


def _revived(value: Any) -> Any:
    if isinstance(value, dict) and "period" in value:
        return pd.Period(value["period"], freq=value["freq"])
    return value


def _column(values: list[Any]) -> Any:
    """A column as it was: whole numbers stay whole where some are missing."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, pd.Period) for value in present):
        return pd.array(values)
    if len(present) < len(values) and all(type(value) is int for value in present):
        return pd.array(values, dtype="Int64")
    return pd.Series(values, dtype=None if values else object)


def table_of(rows: list[dict[str, Any]], columns: Sequence[str] = ()) -> pd.DataFrame:
    """A table from its saved rows; ``columns`` name them where there is no row."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(columns)
    return pd.DataFrame({name: _column([_revived(row[name]) for row in rows]) for name in names})


def to_dict(estimate: Estimate[Any], level: float | None) -> dict[str, Any]:
    """See :meth:`Estimate.to_dict`."""
    frame = estimate.to_frame(level)
    rows = [{str(key): jsonable(value) for key, value in row.items()} for row in frame.to_dict("records")]
    return {
        "schema": SCHEMA,
        "level": level_of(estimate, level),
        "scale": estimate.scale,
        "terms": rows,
        "interval": [str(name) for name in estimate.terms["interval"]],
        "term_method": [str(name) for name in estimate.terms["method"]],
        "term_status": [str(name) for name in estimate.terms["status"]],
        "uncertainty": _saved_law(estimate),
        "provenance": jsonable(estimate.provenance.to_dict()),
    }


def _saved_law(estimate: Estimate[Any]) -> dict[str, Any]:
    """What a file keeps of the law; a result that was read back keeps the name of the law it had."""
    law, dependence = estimate.uncertainty, estimate.dependence
    if law is None:
        return {"carrier": "none"}
    stored = stored_of(estimate)
    carrier = type(law).__name__.lower() if stored is None else stored.carrier
    saved: dict[str, Any] = {"carrier": carrier, "dependence": dependence.name}
    if len(estimate) <= _MAX_TERMS and not (isinstance(law, Covariance) and law.matrix is None):
        saved["covariance"] = jsonable(law.cov(dependence))
    support = law.support(dependence)
    if support is not None:
        numbers = (support.n_treated, support.n_effective, support.inflation, support.df)
        saved |= {name: jsonable(column) for name, column in zip(SUPPORT_FIELDS, numbers, strict=True)}
    saved["corrected"] = bool(getattr(law, "corrected", False))
    saved["df"] = dependence.df(law) if isinstance(law, Influence) else getattr(law, "df", None)
    return saved


def to_json(estimate: Estimate[Any], level: float | None) -> str:
    """See :meth:`Estimate.to_json`."""
    return json.dumps(to_dict(estimate, level), indent=1, allow_nan=False)


def from_json(text: str) -> Estimate[None]:
    """See :meth:`Estimate.from_json`."""
    return from_dict(parsed(text))


def parsed(text: str) -> Any:
    """The values of a result file."""
    try:
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, TypeError, RecursionError) as broken:
        what = broken.msg if isinstance(broken, json.JSONDecodeError) else type(broken).__name__
        raise DataError("PMG-RESULT-FORMAT", f"not a result file: {what}", fix="read what to_json wrote") from None


def _not_json(constant: str) -> float:
    raise json.JSONDecodeError(f"{constant} is not JSON", constant, 0)


def from_dict(saved: dict[str, Any]) -> Estimate[None]:
    """See :meth:`Estimate.from_dict`."""
    return checked(saved, "estimate", SCHEMA, rebuilt)


def checked(saved: Any, name: Name, schema: str, rebuild: Callable[[dict[str, Any]], T]) -> T:
    """Rebuild a saved result that has the right shape; whatever does not fit together is a damaged file."""
    found = saved.get("schema") if hasattr(saved, "get") else type(saved).__name__
    if found != schema:
        said = f"schema {found!r} is not {schema!r}" if isinstance(found, str) else f"it does not name {schema!r}"
        raise DataError("PMG-RESULT-FORMAT", said, fix="read what to_json wrote")
    check_shape(saved, name)
    try:
        return rebuild(saved)
    except (DataError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as broken:
        if isinstance(broken, DataError) and broken.code == "PMG-RESULT-FORMAT":
            raise
        raise DataError(
            "PMG-RESULT-FORMAT",
            f"a damaged result: {type(broken).__name__} {broken}",
            fix="write it again with to_json",
        ) from None


def rebuilt(saved: dict[str, Any]) -> Estimate[None]:
    """The estimate of a document whose shape was checked."""
    from pmg_eval.estimate._estimate import Estimate

    rows = saved["terms"]
    values = np.array([row["estimate"] for row in rows], dtype=np.float64)
    columns: dict[str, Any] = {
        name: _column([_revived(row[name]) for row in rows])
        for name in (*LABELS, *SUPPORT)
        if any(name in row for row in rows)
    }
    check_kinds(saved["interval"])
    columns.update(interval=saved["interval"], method=saved["term_method"], status=saved["term_status"])
    law = _rebuilt_law(saved, values)
    return Estimate(
        values,
        make_terms(columns, len(rows)),
        law,
        scale=saved["scale"],
        provenance=Provenance.from_dict(saved["provenance"]),
        dependence=independent() if law is None else Recorded(saved["uncertainty"]["dependence"]),
    )


def _rebuilt_law(saved: dict[str, Any], values: Array) -> Covariance | None:
    """The covariance, beside the numbers as they were printed."""
    found, rows, k = saved["uncertainty"], saved["terms"], len(values)
    if found["carrier"] == "none":
        return None
    numbers = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in NUMBERS}
    texts = {name: np.array([row[name] for row in rows], dtype=object) for name in ("method", "status")}
    if found["carrier"] != "draws":  # a file has no infinite numbers: without a number, df are those of the normal
        normal = np.isnan(numbers["df"]) & np.isfinite(values) & (texts["status"] != REFERENCE)
        normal &= np.array(saved["interval"], dtype=object) != "placebo"
        numbers["df"] = np.where(normal, np.inf, numbers["df"])
    matrix = support = None
    if "covariance" in found:
        matrix = np.array(found["covariance"], dtype=np.float64).reshape(k, k)
    if any(name in found for name in SUPPORT_FIELDS):
        support = Support(*(np.array(found[name], dtype=np.float64).reshape(k) for name in SUPPORT_FIELDS))
    stored = Stored({**numbers, **texts}, float(saved["level"]), found["carrier"])
    return Covariance(matrix, support, found["corrected"], found["df"], stored)


__all__ = [
    "SCHEMA",
    "checked",
    "from_dict",
    "from_json",
    "jsonable",
    "parsed",
    "rebuilt",
    "table_of",
    "to_dict",
    "to_json",
]
