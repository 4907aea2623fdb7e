"""The pool of comparison areas that might have been chosen instead."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.panel import Panel


def listed(eligible: Any) -> list[Any]:
    """The labels that ``eligible`` lists; one bare label, a mask or a table is refused."""
    if isinstance(eligible, str) or not isinstance(eligible, Collection | pd.Index | pd.Series | np.ndarray):
        raise DataError("PMG-POOL", "eligible must be a list of unit labels", fix='for example ["a", "b"]')
    return list(eligible)


def pool_mask(panel: Panel, eligible: Sequence[Any] | None) -> Any:
    """Mask (n,) of eligible comparison units: never treated and not contaminated within the panel.

    ``eligible`` narrows them to the labels it lists; an unknown or treated label is an error, not ignored.
    """
    clean = ~np.isfinite(panel.cohort) & (panel.contaminated_from > panel.time_codes[-1])
    if eligible is None:
        return clean
    wanted = pd.Index(listed(eligible))
    position = panel.units.get_indexer(wanted)
    unknown = wanted[position < 0]
    if len(unknown):
        raise DataError("PMG-POOL", "eligible names units that are not in the panel", where=list(unknown))
    unfit = wanted[~clean[position]]
    if len(unfit):
        raise DataError(
            "PMG-POOL",
            "eligible names treated or contaminated units",
            where=list(unfit),
            fix="name untreated areas only",
        )
    mask = np.zeros(panel.n_units, dtype=bool)
    mask[position] = True
    return mask
