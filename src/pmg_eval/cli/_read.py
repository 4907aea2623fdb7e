"""Data files as tables, read without guessing what labels mean.

Columns that are labels (areas, clusters, regions, persons) are read as text exactly as they stand, so that ``0363``
keeps its zero and the area ``NA`` is not a missing one; a specification lists those that are whole numbers. Columns of
numbers hold an empty cell, ``NA`` or ``NaN`` where a number is missing, and what the specification adds; anything else
that is not a number is refused later, by the role of the column.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.cli._bytes import need_text, undecodable
from pmg_eval.cli._spec import Source, not_there
from pmg_eval.errors import DataError, Problem

_NA = ("", "NA", "NaN", "nan")
_CSV = (".csv", ".tsv", ".txt")
_QUARTER = r"^\d{4}-?Q[1-4]$"
_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
# From 3.1 on pandas reads decimal numbers exactly and warns when told to.
_EXACT: Mapping[str, Any] = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}


def read_table(data: Source, labels: Sequence[str], dates: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a file.

    Parameters
    ----------
    data : Source
    labels : sequence of str
        Columns that are labels: text, unless among ``data.integers``.
    dates : sequence of str
        Columns to read as dates (``2022-07-01``, ``2022-07``, ``2022Q3``, or ``data.date_format``).

    Returns
    -------
    DataFrame
        Columns in the order of the file.

    Raises
    ------
    DataError
        PMG-FILE, PMG-CSV, PMG-ENCODING, PMG-COLUMN, PMG-INTEGER, PMG-DATE, PMG-EXTRA, PMG-EMPTY.
    """
    path = data.file
    if not path.is_file():
        raise not_there(path, "data file")
    kinds = [suffix.lower() for suffix in path.suffixes]
    if kinds[-1:] == [".parquet"]:
        frame = _parquet(path)
    elif kinds and (kinds[-1] in _CSV or (kinds[-1] == ".gz" and kinds[-2:-1] and kinds[-2] in _CSV)):
        sep = data.sep or ("\t" if ".tsv" in kinds[-2:] else ",")
        frame = _csv(path, data, sep, labels, dates)
    else:
        raise DataError(
            "PMG-FILE", "a file of an unknown kind", where=[path.name], fix="save the table as .csv or .parquet"
        )
    frame = _with_integers(frame, data.integers)
    return _with_dates(frame, dates, data)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError:
        raise DataError("PMG-EXTRA", "parquet files need pyarrow", fix="pip install pyarrow") from None
    except (OSError, ValueError) as broken:
        raise DataError("PMG-FILE", f"not a parquet file ({type(broken).__name__})", where=[path.name]) from None


def _csv(path: Path, data: Source, sep: str, labels: Sequence[str], dates: Sequence[str]) -> pd.DataFrame:
    as_text = {*labels, *dates, *data.integers}
    try:
        need_text(path, data.encoding)
        header = [str(name) for name in _rows(path, data, sep, header=None, nrows=1, dtype=str).iloc[0]]
        _check_header(header, sep, path)
        return _rows(
            path,
            data,
            sep,
            dtype={name: str for name in header if name in as_text},
            na_values={name: [""] if name in as_text else [*_NA, *data.na] for name in header},
            index_col=False,
            low_memory=False,
            **_EXACT,
        )
    except pd.errors.EmptyDataError:
        raise DataError("PMG-EMPTY", "the file has no rows", where=[path.name]) from None
    except (pd.errors.ParserError, pd.errors.ParserWarning):
        raise DataError(
            "PMG-CSV",
            "rows have different numbers of cells",
            where=[path.name],
            fix="check sep and decimal, and that text with the separating sign in it stands in quotes",
        ) from None
    except (UnicodeError, LookupError):
        raise undecodable(path, data.encoding) from None
    except (OSError, EOFError) as refused:
        raise DataError("PMG-FILE", f"cannot be read ({type(refused).__name__})", where=[path.name]) from None


def _rows(path: Path, data: Source, sep: str, **options: Any) -> pd.DataFrame:
    encoding = "utf-8-sig" if data.encoding.lower() in ("utf-8", "utf8") else data.encoding
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with a cell too many would be cut
        frame: pd.DataFrame = pd.read_csv(
            path, sep=sep, decimal=data.decimal, encoding=encoding, keep_default_na=False, **options
        )
    return frame


def _check_header(header: Sequence[str], sep: str, path: Path) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError("PMG-COLUMN", "columns that occur twice", where=twice, fix="keep one of each, or rename them")
    others = [sign for sign in (";", "\t", ",", "|") if sign != sep and sign in header[0]]
    if len(header) == 1 and others:
        shown = "\\t" if others[0] == "\t" else others[0]
        raise DataError(
            "PMG-CSV", f"the file has one column only, with {shown!r} in its name", where=[path.name],
            fix=f'sep = "{shown}"',
        )  # fmt: skip


def _with_integers(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    wrong = []
    changed: dict[str, Any] = {}
    for name in names:
        if name not in frame:
            wrong.append(Problem("PMG-COLUMN", f"there is no column {name!r} (integers)", (), "correct its name"))
            continue
        try:
            changed[name] = pd.to_numeric(frame[name]).astype("Int64")
        except (ValueError, TypeError):
            wrong.append(
                Problem("PMG-INTEGER", f"column {name!r} holds other things than whole numbers", (), "read it as text")
            )
    if wrong:
        raise DataError.of(wrong)
    return frame.assign(**changed)


def _with_dates(frame: pd.DataFrame, names: Sequence[str], data: Source) -> pd.DataFrame:
    never = data.roles.get("never")
    changed: dict[str, Any] = {}
    wrong = []
    for name in dict.fromkeys(names):
        if name not in frame or not pd.api.types.is_string_dtype(frame[name]):
            continue  # not there: the role says so; not text: dates of a parquet file
        text = frame[name].astype(object)
        code = (text == str(never)) if never is not None and name in data.columns("cohort") else text.isna() & False
        parsed = _dates(text.mask(code), data.date_format)
        bad = np.flatnonzero((parsed.isna() & text.notna() & ~code).to_numpy())
        if len(bad):
            what = f"column {name!r} has {len(bad)} cell(s) that cannot be read as a date"
            fix = 'write dates as 2022-07-01, or give date_format = "%d-%m-%Y"'
            wrong.append(Problem("PMG-DATE", what, tuple(f"row {row}" for row in bad), fix))
        # among dates +inf means never, as everywhere; a missing start stays one
        changed[name] = parsed.astype(object).mask(code, np.inf) if code.any() else parsed
    if wrong:
        raise DataError.of(wrong)
    return frame.assign(**changed)


def _dates(text: pd.Series[Any], date_format: str) -> pd.Series[Any]:
    if date_format:
        return pd.to_datetime(text, format=date_format, errors="coerce")
    quarters = text.dropna().astype(str)
    if len(quarters) and quarters.str.match(_QUARTER).all():
        starts = pd.PeriodIndex(quarters.str.replace("-", ""), freq="Q").to_timestamp()
        return pd.Series(starts, index=quarters.index).reindex(text.index)
    return pd.to_datetime(text, format="ISO8601", errors="coerce")
