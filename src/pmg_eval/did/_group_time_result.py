"""The result of a group-time analysis: terms, influence, details, provenance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmg_eval.did._cells_design import Cell
from pmg_eval.did._group_time_solve import Sample, Solution
from pmg_eval.estimate import Influence, Provenance, Rows, make_terms

if TYPE_CHECKING:
    from pmg_eval.panel import Panel

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Label = Callable[[float], Any]

_REFERENCES = ("10.1016/j.jeconom.2020.12.001", "10.1016/j.jeconom.2020.06.003")


@dataclass(frozen=True, eq=False)
class GroupTimeDetails:
    """What is particular to a group-time analysis.

    Attributes
    ----------
    cells : DataFrame (k)
        ``cohort, period, base_first, base_last`` (the base period; two labels when it is an average), ``n_trimmed``
        (controls left out because their propensity is 0.995 or more), ``propensity_low, propensity_high``.
    dropped : DataFrame
        Cohorts left out because they have no period before their (anticipated) start: ``cohort, n_units``.
    covariates : tuple of str
        Columns of the design, without the intercept.
    n_never, n_later : int
        Units that are never treated, and units first treated after the last period.
    options : dict
        All options after defaulting.
    """

    cells: pd.DataFrame
    dropped: pd.DataFrame
    covariates: tuple[str, ...]
    n_never: int
    n_later: int
    options: dict[str, Any]


def make_group_time_terms(
    sample: Sample, cells: Sequence[Cell], solution: Solution, label: Label, outcome: str, suspect: Mask
) -> pd.DataFrame:
    """One row per cell; ``suspect`` cells compare with a period in which the areas were chosen."""
    cohort = np.array([cell.cohort for cell in cells])
    period = sample.pool.calendar_codes[[cell.period for cell in cells]]
    ratios = bool(len(solution.expected))
    if ratios:
        weight = solution.expected
    else:
        starts, which = np.unique(cohort, return_inverse=True)
        sizes = np.array([sample.weight[sample.pool.cohort == start].sum() for start in starts])
        weight = (sizes / sample.weight.sum())[which.ravel()]
    return make_terms(
        {
            "estimand": "rate_ratio" if ratios else "att",
            "outcome": outcome,
            "cohort": pd.Series([label(code) for code in cohort]),
            "period": pd.Series([label(code) for code in period]),
            "event_time": (period - cohort).astype(np.int64),
            "weight": weight,
            "n_units": solution.n_treated + solution.n_control,
            "n_treated": solution.n_treated,
            "n_control": solution.n_control,
            "status": [
                SELECTED_BASE if bad and not old else old for bad, old in zip(suspect, solution.status, strict=True)
            ],
        },
        len(cells),
    )


SELECTED_BASE = "base in selection window"


def in_selection_window(panel: Panel, sample: Sample, cells: Sequence[Cell]) -> Mask:
    """Cells whose whole base lies in the periods on which the areas were selected."""
    if panel.selection_window is None:
        return np.zeros(len(cells), dtype=np.bool_)
    first, last = panel.selection_window
    codes = sample.pool.calendar_codes
    return np.array([all(first <= codes[period] <= last for period in cell.base) for cell in cells], dtype=np.bool_)


def selection_notes(panel: Panel, suspect: Mask) -> list[str]:
    """What a reader must know when areas were chosen on the very period they are compared with."""
    if panel.selection_window is None or not suspect.any():
        return []
    first, last = (panel.time_label(code) for code in panel.selection_window)
    return [
        f"{int(suspect.sum())} cells compare with a base period in the selection window ({first} to {last}): areas "
        "chosen for a bad period improve without any programme; anticipation= moves the base before the window, "
        'base_period="average" dilutes it'
    ]


def make_influence(
    labels: pd.DataFrame, sample: Sample, cells: Sequence[Cell], solution: Solution, *, published: bool
) -> Influence:
    """Influence of values and weights; `published` when it is not the derivative."""
    starts = np.unique([cell.cohort for cell in cells])
    own = (sample.pool.cohort[:, None] == starts).astype(np.float64)
    indicator = (starts[:, None] == [cell.cohort for cell in cells]).astype(np.float64)
    if len(solution.expected):
        weight_psi = Rows(left=solution.expected_psi.T)
    else:
        share = sample.weight @ own / sample.weight.sum()
        scaled = sample.weight / sample.weight.mean()
        weight_psi = Rows(left=scaled[:, None] * (own - share), right=indicator)
    live = np.isfinite(solution.values) & (np.array(solution.status) != "reference")
    treated = _members(sample, solution, live) or _cohorts(sample, own, indicator * live)
    present = own * treated.nonzero_rows()[:, None]
    return Influence(
        psi=Rows(left=solution.psi.T),
        rows=labels,
        n=sample.n,
        kind="score" if published else "derivative",
        weight_psi=weight_psi,
        treated=treated,
        # each cell centres its treated units at their own mean
        group_size=np.where(present.any(axis=1), present @ present.sum(axis=0), np.nan),
    )


def _members(sample: Sample, solution: Solution, live: Mask) -> Rows | None:
    """Weight of every treated unit in every cell, where cells of a cohort have different ones."""
    found = [(j, *member) for j, member in enumerate(solution.members) if member is not None and live[j]]
    if not found:
        return None
    from scipy import sparse

    columns = np.concatenate([np.full(len(units), j) for j, units, _ in found])
    units = np.concatenate([units for _, units, _ in found])
    shares = np.concatenate([share for _, _, share in found])
    return Rows(own=sparse.csr_array((shares, (units, columns)), shape=(sample.n, len(live))))


def _cohorts(sample: Sample, own: Array, indicator: Array) -> Rows:
    """The same where every cell has all units of its cohort."""
    weighted = sample.weight[:, None] * own
    total = weighted.sum(axis=0)
    return Rows(left=weighted / np.where(total > 0, total, 1.0), right=indicator)


def make_details(
    panel: Panel,
    sample: Sample,
    cells: Sequence[Cell],
    solution: Solution,
    label: Label,
    keep: Mask,
    options: dict[str, Any],
) -> GroupTimeDetails:
    """The audit tables."""
    codes = sample.pool.calendar_codes
    table = pd.DataFrame(
        {
            "cohort": [label(cell.cohort) for cell in cells],
            "period": [label(codes[cell.period]) for cell in cells],
            "base_first": [label(codes[cell.base[0]]) for cell in cells],
            "base_last": [label(codes[cell.base[-1]]) for cell in cells],
            "n_trimmed": solution.n_trimmed,
            "propensity_low": solution.lowest,
            "propensity_high": solution.highest,
        }
    )
    early, sizes = np.unique(panel.cohort[~keep], return_counts=True)
    cohort = sample.pool.cohort
    return GroupTimeDetails(
        cells=table,
        dropped=pd.DataFrame({"cohort": [panel.time_label(int(code)) for code in early], "n_units": sizes}),
        covariates=sample.design.columns,
        n_never=int(np.isinf(cohort).sum()),
        n_later=int((np.isfinite(cohort) & (cohort > codes[-1])).sum()),
        options=options,
    )


def make_provenance(panel: Panel, options: dict[str, Any], notes: Sequence[str]) -> Provenance:
    """Assumptions in words, references, and what was left out."""
    given = "" if options["covariates"] is None else f" given {options['covariates']}"
    whom = {"NeverTreated()": "never treated units", "NotYetTreated()": "units not yet treated"}
    rule = options["controls"]
    trend = "parallel trends in the log rate" if options["family"] == "poisson" else "parallel trends"
    assumptions = [
        f"{trend}{given} between each cohort and {whom.get(rule, rule)}",
        f"no anticipation more than {options['anticipation']} periods before the start",
        "no spillovers to comparison units in the periods used",
    ]
    if options["covariates"] is not None:
        assumptions.append("overlap: comparable units exist for every treated one; covariates not moved by treatment")
    return Provenance(
        estimator="did.group_time",
        options=options,
        data=panel.fingerprint,
        assumptions=tuple(assumptions),
        references=_REFERENCES,
        notes=(*(notice.text for notice in panel.notes), *notes),
    )
