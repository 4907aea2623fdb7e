"""Tables and columns of any origin as pandas and numpy, without ever changing what was given.

Plain pandas never imports narwhals. Other tables go column by column through narwhals, so that pyarrow is not needed
for polars and integer ids with gaps never pass through floats.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmg_eval.errors import DataError, Problem

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
_Array = TypeVar("_Array", bound=NDArray[Any])
Kind = Literal["integer", "float", "bool", "datetime", "period", "text", "mixed", "other", "empty"]

_INFERRED: dict[str, Kind] = {
    "integer": "integer",
    "floating": "float",
    "mixed-integer-float": "float",
    "decimal": "float",
    "boolean": "bool",
    "datetime": "datetime",
    "datetime64": "datetime",
    "date": "datetime",
    "period": "period",
    "string": "text",
    "mixed": "mixed",
    "mixed-integer": "mixed",
    "empty": "empty",
}


def frozen(array: _Array) -> _Array:
    """The array, read-only (a shared cache must not be written to)."""
    array.setflags(write=False)
    return array


def to_pandas(table: Any) -> pd.DataFrame:
    """A pandas frame with the columns of ``table``; a pandas frame is returned as it is.

    Raises
    ------
    DataError
        PMG-FRAME when this is not an in-memory table.
    """
    if isinstance(table, pd.DataFrame):
        return table
    import narwhals as nw

    try:
        native: Any = nw.from_native(table, eager_only=True)
    except TypeError:
        raise DataError(
            "PMG-FRAME",
            f"a table is needed, not {type(table).__name__}",
            fix="give a pandas or polars DataFrame or a pyarrow Table (collect a lazy query first)",
        ) from None
    return pd.DataFrame({name: _from_narwhals(native[name]) for name in native.columns})


def _from_narwhals(series: Any) -> pd.Series[Any]:
    import narwhals as nw

    dtype = series.dtype
    if dtype.is_integer() or dtype == nw.Boolean:
        missing = series.is_null().to_numpy()
        if not missing.any():
            return pd.Series(series.to_numpy())
        values = np.array(series.fill_null(False if dtype == nw.Boolean else 0).to_numpy())
        mask = np.array(missing, dtype=np.bool_)
        if dtype == nw.Boolean:
            return pd.Series(pd.arrays.BooleanArray(values.astype(np.bool_), mask))
        return pd.Series(pd.arrays.IntegerArray(values, mask))
    if dtype.is_float():
        return pd.Series(series.to_numpy())
    if dtype.is_decimal():
        return pd.Series(series.cast(nw.Float64).to_numpy())
    if dtype == nw.Datetime or dtype == nw.Date:
        # through whole microseconds: polars 1.0 crashes when it exports dates with gaps
        moments = series.cast(nw.Datetime("us")) if dtype == nw.Date else series
        missing = series.is_null().to_numpy()
        stamps = np.array(moments.dt.timestamp("us").fill_null(0).to_numpy()).astype("datetime64[us]")
        stamps[missing] = np.datetime64("NaT", "us")
        zone = None if dtype == nw.Date else dtype.time_zone
        index = pd.DatetimeIndex(stamps)
        return pd.Series(index if zone is None else index.tz_localize("UTC").tz_convert(zone))
    return pd.Series(series.to_list(), dtype=object).infer_objects()


def column_problem(frame: pd.DataFrame, name: Any, role: str) -> Problem | None:
    """None when the column is there exactly once; otherwise PMG-COLUMN with the closest match."""
    found = list(frame.columns).count(name)
    if found == 1:
        return None
    if found > 1:
        return Problem("PMG-COLUMN", f"column {name!r} ({role}) occurs {found} times", (), "keep one of them")
    if name is not None and name in frame.index.names:
        fix = f"{name!r} is a level of the index, not a column: use df.reset_index()"
    else:
        columns = [str(column) for column in frame.columns]
        close = get_close_matches(str(name), columns, n=1, cutoff=0.5) or [
            column for column in columns if column.lower() == str(name).lower()
        ]
        listed = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
        fix = f"did you mean {close[0]!r}? " if close else ""
        fix += f"available: {listed}"
    return Problem("PMG-COLUMN", f"there is no column {name!r} ({role})", (), fix)


def distinct(column: pd.Series[Any]) -> tuple[IntArray, pd.Series[Any]]:
    """Codes (N,) into the distinct values, -1 where missing; unused levels of a categorical do not appear.

    Parsing then works on a handful of values, whatever the number of rows.

    Raises
    ------
    TypeError
        When values cannot be compared (lists, dicts).
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        raw = column.cat.codes.to_numpy().astype(np.int64)
        used = np.unique(raw[raw >= 0])
        position = np.full(len(column.cat.categories) + 1, -1, dtype=np.int64)
        position[used] = np.arange(len(used))
        return position[raw], pd.Series(column.cat.categories[used])
    codes, values = pd.factorize(column)
    return codes.astype(np.int64), pd.Series(values)


def kind_of(values: pd.Series[Any]) -> Kind:
    """What the values are, whatever container they come in."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return kind_of(distinct(values)[1])
    if isinstance(dtype, pd.PeriodDtype):
        return "period"
    if pd.api.types.is_bool_dtype(dtype):
        return "bool"
    if pd.api.types.is_integer_dtype(dtype):
        return "integer"
    if pd.api.types.is_float_dtype(dtype):
        return "float"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "datetime"
    if pd.api.types.is_object_dtype(dtype) or isinstance(dtype, pd.ArrowDtype):
        return _INFERRED.get(pd.api.types.infer_dtype(values.astype(object), skipna=True), "other")
    if pd.api.types.is_string_dtype(dtype):
        return "text"
    return "other"


def numeric(column: pd.Series[Any]) -> FloatArray | None:
    """Values (N,) as float64, NaN where missing; None when these are not real numbers.

    Small and unsigned integers become float64 here, before anybody takes a difference.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, values = distinct(column)
        mapped = numeric(values)
        return None if mapped is None else frozen(np.append(mapped, np.nan)[codes])
    kind = kind_of(column)
    if kind not in ("integer", "float", "bool", "empty"):
        return None
    dtype = column.dtype
    is_object = pd.api.types.is_object_dtype(dtype)
    if isinstance(dtype, np.dtype) and not is_object:
        return frozen(column.to_numpy().astype(np.float64))
    missing = column.isna().to_numpy()
    if is_object or kind == "empty":
        values_object = np.array(column.to_numpy(dtype=object))
        values_object[missing] = np.nan
        return frozen(values_object.astype(np.float64))
    out = np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return frozen(out)
