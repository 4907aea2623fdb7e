"""A difference in differences that can be worked out by hand: no law of its own, all placebos in one call."""

from typing import Any, Literal

import numpy as np
import pandas as pd

import pmg_eval as pe
from pmg_eval.estimate import Estimate, make_terms


def differences(panel: pe.Panel, outcome: str, *, donors: Literal["others"] | None = None) -> Estimate[Any]:
    """Outcome less the unit's own mean before its start, less the same of its donors: one term per treated cell.

    Donors are the never-treated, or with ``"others"`` everybody else whatever their start. Weights are 1.
    """
    wide, codes = panel.wide(outcome), panel.time_codes
    rows, values = [], []
    for start in np.unique(panel.cohort[np.isfinite(panel.cohort)]):
        change = wide - np.nanmean(wide[:, codes < start], axis=1, keepdims=True)
        seen = np.isfinite(change)
        pool = np.ones(panel.n_units, dtype=bool) if donors else ~np.isfinite(panel.cohort)
        total, number = np.where(seen & pool[:, None], change, 0.0).sum(axis=0), (seen & pool[:, None]).sum(axis=0)
        for unit in np.flatnonzero(panel.cohort == start):
            column = np.flatnonzero((codes >= start) & seen[unit])
            own, count = (change[unit, column], 1) if donors else (0.0, 0)
            values.append(change[unit, column] - (total[column] - own) / (number[column] - count))
            event = codes[column] - start
            rows += [(panel.units[unit], int(start), int(start + e), int(e), pool.sum() - count) for e in event]
    names = ["unit", "cohort", "period", "event_time", "n_control"]
    table = pd.DataFrame(rows, columns=names)
    terms = make_terms({"estimand": "att", "weight": 1.0, "n_treated": 1, **{n: table[n] for n in names}}, len(table))
    return Estimate(np.concatenate(values), terms)


def noise_panel(values: np.ndarray, starts: dict[int, int], size: np.ndarray | None = None) -> pe.Panel:
    """Outcomes (n, T) as a panel of years 0..T-1; the first units start as ``starts`` says (unit -> year)."""
    n, periods = values.shape
    start = np.full(n, np.inf)
    for unit, year in starts.items():
        start[unit] = year
    table = pd.DataFrame(
        {
            "area": np.repeat(np.arange(n), periods),
            "year": np.tile(np.arange(periods), n),
            "start": np.repeat(start, periods),
            "rate": values.ravel(),
            "people": np.repeat(np.ones(n) if size is None else size, periods),
        }
    )
    return pe.Panel(table, unit="area", time="year", cohort="start", exposure="people")


def paths(values: np.ndarray, start: int, pool: np.ndarray) -> np.ndarray:
    """Placebo effects (J, H) of the units in ``pool`` against all others in it, worked out again."""
    chosen = values[pool]
    change = chosen[:, start:] - chosen[:, :start].mean(axis=1, keepdims=True)
    return np.asarray(change - (change.sum(axis=0) - change) / (len(chosen) - 1))
