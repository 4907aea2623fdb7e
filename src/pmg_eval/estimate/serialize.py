"""Versioned JSON: numbers, labels, covariance and provenance; no influence values, no microdata, no pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate.carriers import Covariance, Influence, Support
from pmg_eval.estimate.kernels import Recorded, independent
from pmg_eval.estimate.provenance import Provenance
from pmg_eval.estimate.support_intervals import check_kinds
from pmg_eval.estimate.terms import LABELS, SUPPORT, make_terms

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate

SCHEMA = "pmg-eval-estimate/1"
SUPPORT_FIELDS = ("n_treated", "n_effective", "inflation", "df_treated")
_MAX_TERMS = 1000


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


def to_dict(estimate: Estimate[Any], level: float) -> dict[str, Any]:
    """See :meth:`Estimate.to_dict`."""
    frame = estimate.to_frame(level)
    law = estimate.uncertainty
    uncertainty: dict[str, Any] = {"carrier": "none"}
    if law is not None:
        uncertainty = {"carrier": type(law).__name__.lower(), "dependence": estimate.dependence.name}
        if len(estimate) <= _MAX_TERMS:
            uncertainty["covariance"] = jsonable(law.cov(estimate.dependence))
        support = law.support(estimate.dependence)
        if support is not None:
            uncertainty["n_treated"] = jsonable(support.n_treated)
            uncertainty["n_effective"] = jsonable(support.n_effective)
            uncertainty["inflation"] = jsonable(support.inflation)
            uncertainty["df_treated"] = jsonable(support.df)
        uncertainty["corrected"] = bool(getattr(law, "corrected", False))
        uncertainty["df"] = estimate.dependence.df(law) if isinstance(law, Influence) else getattr(law, "df", None)
    rows = [{str(key): jsonable(value) for key, value in row.items()} for row in frame.to_dict("records")]
    return {
        "schema": SCHEMA,
        "level": level,
        "scale": estimate.scale,
        "terms": rows,
        "interval": [str(name) for name in estimate.terms["interval"]],
        "term_method": [str(name) for name in estimate.terms["method"]],
        "term_status": [str(name) for name in estimate.terms["status"]],
        "uncertainty": uncertainty,
        "provenance": jsonable(estimate.provenance.to_dict()),
    }


def to_json(estimate: Estimate[Any], level: float) -> str:
    """See :meth:`Estimate.to_json`."""
    return json.dumps(to_dict(estimate, level), indent=1, allow_nan=False)


def from_json(text: str) -> Estimate[None]:
    """See :meth:`Estimate.from_json`."""
    try:
        saved = json.loads(text, parse_constant=_not_json)
    except (ValueError, TypeError, RecursionError) as broken:
        what = broken.msg if isinstance(broken, json.JSONDecodeError) else type(broken).__name__
        raise DataError("PMG-RESULT-FORMAT", f"not a result file: {what}", fix="read what to_json wrote") from None
    return from_dict(saved)


def _not_json(constant: str) -> float:
    raise json.JSONDecodeError(f"{constant} is not JSON", constant, 0)


def from_dict(saved: dict[str, Any]) -> Estimate[None]:
    """See :meth:`Estimate.from_dict`."""
    from pmg_eval.estimate._estimate import Estimate

    found = saved.get("schema") if hasattr(saved, "get") else type(saved).__name__
    if found != SCHEMA:
        raise DataError("PMG-RESULT-FORMAT", f"schema {found!r} is not {SCHEMA!r}", fix="read what to_json wrote")
    try:
        return _rebuilt(saved, Estimate)
    except (DataError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as broken:
        raise DataError(
            "PMG-RESULT-FORMAT",
            f"a damaged result: {type(broken).__name__} {broken}",
            fix="write it again with to_json",
        ) from None


def _rebuilt(saved: dict[str, Any], build: Any) -> Estimate[None]:
    rows = saved["terms"]
    values = np.array([row["estimate"] for row in rows], dtype=np.float64)
    columns: dict[str, Any] = {
        name: _column([_revived(row[name]) for row in rows])
        for name in (*LABELS, *SUPPORT)
        if any(name in row for row in rows)
    }
    check_kinds(saved["interval"])
    columns.update(interval=saved["interval"], method=saved["term_method"], status=saved["term_status"])
    found = saved["uncertainty"]
    law = None
    if "covariance" in found:
        matrix = np.array(found["covariance"], dtype=np.float64).reshape(len(rows), len(rows))
        support = None
        if "n_treated" in found:
            support = Support(*(np.array(found[name], dtype=np.float64) for name in SUPPORT_FIELDS))
        law = Covariance(matrix, support, bool(found.get("corrected", False)), found.get("df"))
    dependence = independent() if law is None else Recorded(str(found["dependence"]))
    provenance = Provenance.from_dict(saved["provenance"])
    if found["carrier"] == "draws":
        provenance = provenance.noting(
            "read back from a file: the placebo law itself is not stored, so intervals printed now are Wald intervals "
            "from its covariance; the original intervals stand in the file"
        )
        columns["interval"] = "wald"
        columns["method"] = "covariance of the placebo law (read back)"
    estimate = build(
        values,
        make_terms(columns, len(rows)),
        law,
        scale=saved["scale"],
        provenance=provenance,
        dependence=dependence,
    )
    return estimate  # type: ignore[no-any-return]


__all__ = ["SCHEMA", "from_dict", "from_json", "jsonable", "table_of", "to_dict", "to_json"]
