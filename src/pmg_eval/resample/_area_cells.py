"""Effects of single areas period by period, from any estimator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DesignError
from pmg_eval.estimate import Estimate, Influence
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel


@dataclass(frozen=True, eq=False)
class Cells:
    """Treated (area, period) cells; areas one after the other.

    Attributes
    ----------
    area : (c,) int
        Position of the cell's area in the effects that the cells belong to.
    event_time : (c,) int
        Periods since the start; at least 0.
    values, weight : (c,) float
        Effect on the natural scale (NaN where ``status`` says why), and the estimator's own weight.
    n_control : (c,) int
    status : (c,) object
    others : (m, c) float or None
        Contributions (psi / n) of never-treated units, as in :class:`AreaEffects`.
    """

    area: Any
    event_time: Any
    values: Array
    weight: Array
    n_control: Any
    status: Any
    others: Array | None = None


def joint_cells(first: Estimate[Any], panel: Panel, units: Any, law: bool = True) -> Cells:
    """Cells of an estimate with unit labels; without ``law`` no contributions of other units."""
    terms = first.terms
    if "event_time" not in terms:
        raise no_cells()
    rows = np.flatnonzero((terms["event_time"] >= 0).to_numpy(dtype=bool, na_value=False))
    area = units.get_indexer(terms["unit"].array[rows])
    rows, area = rows[area >= 0], area[area >= 0]
    order = np.argsort(area, kind="stable")
    rows, area = rows[order], area[order]
    return Cells(
        area,
        terms["event_time"].to_numpy(dtype=np.int64)[rows],
        first.values[rows],
        _weights(terms)[rows],
        _controls(terms, panel)[rows],
        terms["status"].to_numpy(dtype=object)[rows],
        _others(first, panel, rows) if law else None,
    )


def single_cells(singles: Mapping[int, Estimate[Any]], panel: Panel, area: Mapping[int, int], never: Any) -> Cells:
    """Cells of areas that were estimated one at a time; ``area`` is the position of each in the effects."""
    parts: list[Cells] = []
    for unit, single in singles.items():
        terms = single.terms
        if "event_time" not in terms:
            raise no_cells()
        rows = np.flatnonzero((terms["event_time"] >= 0).to_numpy(dtype=bool, na_value=False))
        parts.append(
            Cells(
                np.full(len(rows), area[unit]),
                terms["event_time"].to_numpy(dtype=np.int64)[rows],
                single.values[rows],
                _weights(terms)[rows],
                _controls(terms, panel)[rows],
                terms["status"].to_numpy(dtype=object)[rows],
                contributions(single, never, rows) if isinstance(single.uncertainty, Influence) else None,
            )
        )
    known = [part.others for part in parts if part.others is not None]

    def joined(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    return Cells(
        joined("area"),
        joined("event_time"),
        joined("values"),
        joined("weight"),
        joined("n_control"),
        joined("status"),
        np.hstack(known) if len(known) == len(parts) else None,
    )


def no_cells() -> DesignError:
    return DesignError(
        "PMG-NO-CELLS",
        "this estimator has one number per area, not one per period",
        fix='by="unit", or an estimator whose terms have event_time (not its average)',
    )


def contributions(single: Estimate[Any], never: Any, columns: Any) -> Array:
    """Contributions (psi / n) of the units ``never`` (m labels) to some terms, (m, c)."""
    law = single.uncertainty
    if not isinstance(law, Influence):
        raise TypeError("influence values expected")
    law = law.take(columns).by_unit()
    found = pd.Index(law.rows["unit"]).get_indexer(never)
    dense = law.psi.dense() / law.n
    return np.where((found >= 0)[:, None], dense[np.maximum(found, 0)], 0.0)


def _others(first: Estimate[Any], panel: Panel, rows: Any) -> Array | None:
    law = first.uncertainty
    if not isinstance(law, Influence):
        return None
    never = ~np.isfinite(panel.cohort[panel.units.get_indexer(pd.Index(law.rows["unit"]))])
    return np.asarray(law.take(rows).psi.dense()[never] / law.n)


def _weights(terms: Any) -> Array:
    if "weight" not in terms:
        return np.ones(len(terms))
    return np.asarray(terms["weight"].to_numpy(dtype=np.float64, na_value=0.0))


def _controls(terms: Any, panel: Panel) -> Any:
    if "n_control" in terms:
        return terms["n_control"].to_numpy(dtype=np.int64, na_value=0)
    return np.full(len(terms), int((~np.isfinite(panel.cohort)).sum()))
