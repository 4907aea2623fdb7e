"""Values of a re-estimate in the order of the terms of the first estimate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate import Estimate
from pmg_eval.numerics.rows import Array


def label_keys(estimate: Estimate[Any]) -> pd.Index[Any]:
    """One hashable label per term.

    Raises
    ------
    DataError
        PMG-TERMS when two terms have the same labels, so that a re-estimate could not be told apart.
    """
    labels = estimate.labels
    if not labels:
        return pd.RangeIndex(len(estimate))
    keys = pd.Index(list(zip(*(estimate.terms[name].astype(str) for name in labels), strict=True)), tupleize_cols=False)
    if not keys.is_unique:
        raise DataError(
            "PMG-TERMS",
            "two terms have the same labels",
            where=list(keys[keys.duplicated()]),
            fix="give stack(...) distinct names",
        )
    return keys


def aligned(estimate: Estimate[Any], keys: pd.Index[Any]) -> Array:
    """Values of ``estimate`` at ``keys``; NaN where it has no such term."""
    position = label_keys(estimate).get_indexer(keys)
    return np.where(position >= 0, estimate.values[np.maximum(position, 0)], np.nan)
