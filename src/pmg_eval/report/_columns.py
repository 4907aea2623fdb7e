"""Columns that the tables of a page share: effects with their intervals, counts, remarks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate.guard import LONE_COHORTS, ONE_TREATED
from pmg_eval.report._like import INTERVAL
from pmg_eval.report._tables import REFERENCE_WORDS, Cell, Table, remark
from pmg_eval.report._words import Measure, clean, p_value, whole

Column = tuple[str, Sequence[str | Cell], str]  # heading, cells, kind ("", "number" or "prose")
REMARKS = "Remarks"
_SYMBOL = re.compile(r"\w [=<>≤≥]")  # "p = 0.07" stays
_ESTIMATORS = {
    "imputation": "Imputation",
    "group_time": "Group-time",
    "sdid": "Synthetic difference-in-differences",
    "classic": "Synthetic control",
}

# A status of the library, the remark in its place, and the note below the table that explains it.
_EXPLAINED = (
    (
        ONE_TREATED,
        "one area",
        "One area: a number that rests on one treated area has no standard error, so no interval stands beside it. "
        "See Effect per area.",
    ),
    (
        LONE_COHORTS,
        "single areas",
        "Single areas: where every treated area is the only one of its wave there is no standard error, so no interval "
        "stands beside the number. See Effect per area.",
    ),
)


def table(caption: str, columns: Sequence[Column]) -> Table:
    """Columns as (heading, cells, kind); a remark on every row becomes a note, and an empty column of remarks goes."""
    notes: list[str] = []
    told = [_once(column, notes) if column[0] == REMARKS else column for column in columns]
    kept = [column for column in told if column[0] != REMARKS or any(column[1])]
    rows = [list(row) for row in zip(*[cells for _, cells, _ in kept], strict=True)]
    numeric = frozenset(j for j, (_, _, kind) in enumerate(kept) if kind == "number")
    prose = frozenset(j for j, (_, _, kind) in enumerate(kept) if kind == "prose")
    return Table(caption, [name for name, _, _ in kept], rows, numeric, prose, notes)


def _once(column: Column, notes: list[str]) -> Column:
    """Remarks without what the notes now say: why single areas have no standard error, and what all rows share."""
    heading, cells, kind = column
    words = [cell.text if isinstance(cell, Cell) else cell for cell in cells]
    for status, short, why in _EXPLAINED:
        found = re.compile(re.escape(status), re.IGNORECASE)
        if any(found.search(text) for text in words):
            words = [capital(found.sub(short, text)) for text in words]
            notes.append(why)
    # the reference period has a remark of its own
    said = {text for text in words if not text.lower().startswith(REFERENCE_WORDS)}
    shared = said.pop() if len(said) == 1 and len(words) > 1 else ""
    if shared:
        words = ["" if text == shared else text for text in words]
        if shared not in {capital(short) for _, short, _ in _EXPLAINED}:
            notes.append(f"For all rows: {shared[:1].lower() + shared[1:]}.")
    return heading, words, kind


def effect_columns(frame: pd.DataFrame, measure: Measure) -> list[Column]:
    """Effect, interval and p; ratios also as a change in percent, which comes first."""
    ends = list(zip(frame["conf_low"], frame["conf_high"], strict=True))
    columns: list[Column]
    if measure.ratio:
        columns = [
            ("Change", [measure.change(value) for value in frame["estimate"]], "number"),
            (INTERVAL, [measure.change_interval(*pair) for pair in ends], "number"),
            ("Rate ratio", [measure.value(value) for value in frame["estimate"]], "number"),
        ]
    else:
        columns = [
            ("Effect", [measure.value(value) for value in frame["estimate"]], "number"),
            (INTERVAL, [measure.interval(*pair) for pair in ends], "number"),
        ]
    if "p_value" in frame:
        smallest = frame["p_min"] if "p_min" in frame else [None] * len(frame)
        cells = [p_value(p, least) for p, least in zip(frame["p_value"], smallest, strict=True)]
        columns.append(("p", cells, "number"))
    return columns


def remarks(frame: pd.DataFrame, measure: Measure) -> Column:
    """What the status of each row says."""
    return REMARKS, [capital(remark(row, ratio=measure.ratio)) for _, row in frame.iterrows()], "prose"


def counts(frame: pd.DataFrame, name: str, heading: str) -> list[Column]:
    """A column of counts, where there is one."""
    return [(heading, [whole(value) for value in frame[name]], "number")] if name in frame else []


def estimator_name(name: object) -> str:
    """What a reader calls an estimator."""
    words = clean(name)
    return _ESTIMATORS.get(words, capital(words.replace("_", " ")))


def labels(frame: pd.DataFrame) -> list[Column]:
    """Area and, where it is there, wave."""
    columns: list[Column] = [("Area", [clean(value) for value in frame["unit"]], "")]
    if "cohort" in frame and frame["cohort"].notna().any():
        columns.append(("Wave", [clean(value) for value in frame["cohort"]], ""))
    return columns


def floats(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """The frame with these columns as plain numbers; NaN where a column or a number is not there."""
    numbers = {
        name: pd.to_numeric(frame[name], errors="coerce").astype("float64") if name in frame else np.nan
        for name in names
    }
    return frame.reset_index(drop=True).assign(**{name: _aligned(column) for name, column in numbers.items()})


def _aligned(column: Any) -> Any:
    return column.to_numpy(dtype=np.float64, na_value=np.nan) if isinstance(column, pd.Series) else column


def capital(words: str) -> str:
    """With a capital first letter."""
    return words if _SYMBOL.match(words) else words[:1].upper() + words[1:]
