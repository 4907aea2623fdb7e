"""The closed vocabulary of the columns of ``terms``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError

LABELS = ("estimand", "outcome", "unit", "cohort", "period", "event_time", "group", "horizon", "contrast")
SUPPORT = ("weight", "n_units", "n_treated", "n_control", "n_persons", "n_events", "exposure", "n_placebo", "p_min")
NOTES = ("interval", "method", "status")
REFERENCE = "reference"


def make_terms(columns: Mapping[str, Any], k: int) -> pd.DataFrame:
    """A terms table in the canonical column order; ``interval``, ``method`` and ``status`` are filled in if absent."""
    defaults: dict[str, Any] = {"interval": "wald", "method": "", "status": ""}
    merged = {**defaults, **columns}
    unknown = [name for name in merged if name not in (*LABELS, *SUPPORT, *NOTES)]
    if unknown:
        raise DataError("PMG-TERMS", "columns outside the vocabulary of terms", where=unknown)
    ordered = {name: merged[name] for name in (*LABELS, *SUPPORT, *NOTES) if name in merged}
    return pd.DataFrame(ordered, index=pd.RangeIndex(k))


def labels_of(terms: pd.DataFrame) -> list[str]:
    """The label columns in use."""
    return [name for name in LABELS if name in terms.columns]


def select(terms: pd.DataFrame, conditions: Mapping[str, Any]) -> Any:
    """Positions of the rows that meet all conditions (a value, a list of values, a slice, or a function)."""
    keep = np.ones(len(terms), dtype=bool)
    for name, wanted in conditions.items():
        if name not in terms.columns:
            raise DataError("PMG-TERMS", f"terms have no column {name!r}", where=list(terms.columns))
        column = terms[name]
        if callable(wanted):
            keep &= np.asarray(wanted(column), dtype=bool)
        elif isinstance(wanted, slice):
            for bound, inside in ((wanted.start, column.ge), (wanted.stop, column.le)):
                if bound is not None:
                    keep &= inside(bound).fillna(False).to_numpy(dtype=bool)
        elif isinstance(wanted, Sequence | set | np.ndarray) and not isinstance(wanted, str):
            keep &= column.isin(list(wanted)).to_numpy()
        else:
            keep &= (column == wanted).fillna(False).to_numpy(dtype=bool)
    return np.flatnonzero(keep)
