"""From an estimate of many areas to effects, their joint covariance and moderators, on the scale of the intervals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError, NumericalError
from pmg_eval.estimate import Covariance, Estimate
from pmg_eval.estimate.inference import guard_of
from pmg_eval.estimate.scales import SCALES
from pmg_eval.estimate.terms import REFERENCE
from pmg_eval.numerics.rows import Array
from pmg_eval.resample._door import need_given

_DUST = 1e-12


@dataclass(frozen=True, eq=False)
class Areas:
    """The areas of an estimate that can be pooled, on the working scale (log for ratios).

    Attributes
    ----------
    position : (n,) int
        Their rows in the estimate.
    y : (n,), v : (n, n), x : (n, p) float
        Effects, covariance of their errors (small-sample guard applied) and moderators (the intercept first).
    names : tuple of str
        Columns of x.
    reason : list of str
        For every row of the estimate why it is left out; empty for those used.
    """

    position: Any
    y: Array
    v: Array
    x: Array
    names: tuple[str, ...]
    reason: list[str]


def gather(estimate: Any, moderators: str | Sequence[str] | pd.DataFrame | None = None) -> Areas:
    """The usable areas of an estimate.

    Raises
    ------
    DataError
        Not an estimate, or moderators that do not fit it.
    InferenceError
        An estimate without a law of its error.
    NumericalError
        Errors that determine each other exactly.
    """
    need_given(estimate)
    _need_areas(estimate)
    if estimate.uncertainty is None:
        raise InferenceError(
            "PMG-NO-LAW",
            "areas are combined by how precise they are, and this estimate has no law of its error",
            fix="pmg_eval.effect_per_area or resample.placebo give one",
        )
    table, names = _moderators(estimate, moderators)
    centre, slope, reason = _effects(estimate)
    gaps = np.asarray(np.isnan(table).any(axis=1))
    reason = [why or ("no value of a moderator" if gap else "") for why, gap in zip(reason, gaps, strict=True)]
    position = np.flatnonzero([not why for why in reason])
    part = estimate.take(position)
    factor = guard_of(part, True).factor * slope[position]
    v = part.cov() * np.outer(factor, factor) if len(position) else np.zeros((0, 0))
    _need_definite(v)
    return Areas(position, centre[position], (v + v.T) / 2, table[position], names, reason)


def _need_areas(estimate: Estimate[Any]) -> None:
    """Refuse what is not one raw effect per area: periods of the same areas, effects that are shrunk already."""
    for name in ("event_time", "period"):
        if name in estimate.terms and estimate.terms[name].nunique() > 1:
            raise DataError(
                "PMG-TERMS",
                f"these terms are different periods ({name}) of the same areas, and one effect per area is needed",
                fix='pe.effect_per_area(...), or average(by="unit")',
            )
    law = estimate.uncertainty
    if isinstance(law, Covariance) and law.bias is not None:
        raise DataError("PMG-SHRUNK", "these effects are shrunk already", fix="pass the raw effects")


def _effects(estimate: Estimate[Any]) -> tuple[Array, Array, list[str]]:
    """Effects and slopes of the scale, and why an area has none."""
    scale = SCALES[estimate.scale]
    care = guard_of(estimate, True)
    with np.errstate(all="ignore"):
        centre, slope = scale.to(estimate.values), np.abs(scale.slope(estimate.values))
        se = estimate.se * care.factor * slope
    reason = []
    for row, status in enumerate(estimate.terms["status"].astype(str)):
        why = ""
        if status == REFERENCE:
            why = "reference period"
        elif np.isnan(estimate.values[row]):
            why = status or "no estimate"
        elif not np.isfinite(centre[row]):
            why = status or f"no value on the {estimate.scale} scale"
        elif not se[row] > 0 or not np.isfinite(se[row]):
            why = care.reason[row] or status or "no standard error"
        reason.append(why)
    return centre, slope, reason


def _need_definite(v: Array) -> None:
    if not len(v):
        return
    root = np.sqrt(np.diag(v))
    least = np.linalg.eigvalsh(v / np.outer(root, root))[0]
    if not least > _DUST:
        raise NumericalError(
            "PMG-SINGULAR",
            "the errors of these areas determine each other: their covariance has no inverse",
            fix="pool areas without sums or averages of them, from a law with more draws than areas",
        )


def _moderators(estimate: Estimate[Any], moderators: Any) -> tuple[Array, tuple[str, ...]]:
    """Intercept and moderators of every row of the estimate."""
    k = len(estimate)
    if moderators is None:
        return np.ones((k, 1)), ("mean",)
    if isinstance(moderators, pd.DataFrame):
        table = _aligned(estimate, moderators)
    else:
        if not isinstance(moderators, Collection | pd.Index):
            what = f"moderators must be names of columns of .terms or a table, not {type(moderators).__name__}"
            raise DataError("PMG-TYPE", what, fix="a DataFrame indexed by unit")
        chosen = [moderators] if isinstance(moderators, str) else list(moderators)
        missing = [str(name) for name in chosen if name not in estimate.terms]
        if missing:
            raise DataError(
                "PMG-COLUMN",
                f"terms have no column {missing[0]!r} to use as a moderator",
                where=list(estimate.terms.columns),
                fix="name a column of .terms, or pass a DataFrame indexed by unit",
            )
        table = estimate.terms[chosen]
    columns: dict[str, Array] = {"intercept": np.ones(k)}
    for name in table.columns:
        columns |= _numeric(str(name), table[name].reset_index(drop=True))
    return np.column_stack(list(columns.values())), tuple(columns)


def _aligned(estimate: Estimate[Any], table: pd.DataFrame) -> pd.DataFrame:
    if "unit" not in estimate.terms:
        raise DataError("PMG-TERMS", "terms without a unit cannot be joined to moderators", where=estimate.labels)
    if table.index.has_duplicates:
        raise DataError("PMG-DUPLICATE", "moderators with more than one row for a unit", where=_repeated(table))
    units = pd.Index(estimate.terms["unit"])
    absent = units[~units.isin(table.index)]
    if len(absent) == len(units):
        raise DataError(
            "PMG-ALIGN", "the moderators know none of the units", where=list(units), fix="index them by unit"
        )
    return table.reindex(units)


def _repeated(table: pd.DataFrame) -> list[Any]:
    return list(table.index[table.index.duplicated()].unique())


def _numeric(name: str, column: pd.Series[Any]) -> dict[str, Array]:
    """A number as it is; anything else as indicators of its values but the first."""
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return {name: np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))}
    gaps = column.isna().to_numpy()
    text = column.astype(str)
    values = sorted(set(text[~gaps]))
    return {f"{name}: {value}": np.where(gaps, np.nan, (text == value).to_numpy(np.float64)) for value in values[1:]}


def label_of(estimate: Estimate[Any], rows: Any) -> list[Any]:
    """How the rows are called in messages: by unit, else by all labels."""
    terms = estimate.terms.iloc[np.asarray(rows, dtype=np.int64)]
    if "unit" in terms:
        return list(terms["unit"])
    names = estimate.labels
    return [", ".join(str(value) for value in row) for row in terms[names].itertuples(index=False)]


__all__ = ["Areas", "gather", "label_of"]
