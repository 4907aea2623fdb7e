"""The declared policy for missing cells, applied to one outcome (and covariates) at a time.

A cell is missing when its value is missing, or when the unit has no row in a period in which others have one.
Cells taken out by declaration (``partial_period="drop"``) are not missing.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, warn
from pmg_eval.panel._core import Core, design_problem, raise_design
from pmg_eval.panel._ingest import BoolArray, FloatArray, IntArray, column_problem, kind_of
from pmg_eval.panel._report import Cell, Notice, Report, plain, short
from pmg_eval.panel._text import unreadable
from pmg_eval.panel._time import label_list

_Z_ONE_PERCENT = 2.5758293035489004
_NOTABLE_DIFFERENCE = 0.05
_FLOAT32_RANGE = 1e6 * float(np.finfo(np.float32).eps)  # relative range that leaves six digits
_STACK = 5  # warnings point at the caller of Panel.for_outcome


def for_outcome(core: Core, outcome: Any, columns: Sequence[Any] = ()) -> Core:
    """The core with the missing policy applied to outcome, covariates and exposure.

    Raises
    ------
    DataError
        PMG-COLUMN, PMG-OUTCOME-*, PMG-COVARIATE-*, PMG-EXPOSURE-MISSING, PMG-ROW-ABSENT, PMG-COMPLETE.
    DesignError
        PMG-NO-TREATED, PMG-NO-CONTROL when what is left cannot answer the question.
    """
    unusable = [name for name in (outcome, *columns) if not isinstance(name, Hashable)]
    if unusable:
        raise DataError("PMG-COLUMN", f"one column name is needed, not a {type(unusable[0]).__name__}")
    names = dict.fromkeys((outcome, *columns))
    if core.complete.issuperset(names):
        return core
    report = Report()
    for name in names:
        problem = column_problem(core.root.frame, name, "outcome" if name == outcome else "covariate")
        if problem is not None:
            report.problems.append(problem)
    _raise(report)
    y = _outcome(core, outcome, report)
    masks = {"PMG-OUTCOME-MISSING": np.isnan(y)} if y is not None else {}
    covariates = np.zeros(len(core.row_unit), dtype=np.bool_)
    for name in names:
        if name != outcome:
            covariates |= _covariate_missing(core, name, report)
    masks["PMG-COVARIATE-MISSING"] = covariates
    if core.exposure is not None:
        masks["PMG-EXPOSURE-MISSING"] = np.isnan(core.exposure)
    if core.policy == "error":
        _refuse(core, masks, report)
    _raise(report)
    if y is None:  # unreachable: a problem was reported
        raise DataError("PMG-OUTCOME-TYPE", f"outcome {outcome!r} is not numeric")
    bad = np.logical_or.reduce(list(masks.values()))
    kept = core if core.policy == "error" else _apply(core, bad, report)
    _check_variation(kept, y if kept is core else kept.on_rows(core.root.column(outcome)), outcome)
    notes = core.notes + tuple(notice for notice in report.notices if notice not in core.notes)
    return replace(kept, notes=notes, complete=core.complete | frozenset(names))


def _raise(report: Report) -> None:
    if report.problems:
        raise DataError.of(report.problems)


def _cells(core: Core, unit: IntArray, time: IntArray) -> tuple[Cell, ...]:
    labels = label_list(core.calendar, core.time_codes)
    names = plain(core.units.take(unit))
    if not core.is_panel:
        names = tuple(f"row {name}" for name in names)
    return tuple(Cell(name, labels[at]) for name, at in zip(names, time, strict=True))


def _row_cells(core: Core, mask: BoolArray) -> tuple[Cell, ...]:
    return _cells(core, core.row_unit[mask], core.row_time[mask])


# ---- the outcome --------------------------------------------------------------------------------------------------


def _outcome(core: Core, name: Any, report: Report) -> FloatArray | None:
    series = core.root.series(name, "outcome")
    kind = kind_of(series)
    if kind not in ("integer", "float", "bool", "empty"):
        _not_numbers(core, name, series, kind, report)
        return None
    y = core.on_rows(core.root.column(name))
    if len(y) == 0 or np.isnan(y).all():
        report.problem("PMG-OUTCOME-EMPTY", f"outcome {name!r} has no valid values", fix="check how the file was read")
        return None
    infinite = np.isinf(y)
    if infinite.any():
        fix = "a rate with zero population? correct these cells or make them missing"
        report.problem("PMG-OUTCOME-INFINITE", f"outcome {name!r} is infinite", _row_cells(core, infinite), fix)
        return None
    if kind == "bool":
        report.notice("PMG-OUTCOME-BOOL", f"outcome {name!r} is False/True, read as 0/1 (a linear probability)")
    if str(series.dtype).lower().startswith(("float32", "float[")):
        _check_single_precision(name, y)
    return y


def _not_numbers(core: Core, name: Any, series: pd.Series[Any], kind: str, report: Report) -> None:
    values = series if core.rows is None else series.iloc[core.rows]
    found = unreadable(values)
    if found is None:
        what = f"outcome {name!r} must be numeric; its values are {kind if kind != 'other' else 'of another type'}"
        report.problem("PMG-OUTCOME-TYPE", what, fix="convert it to numbers first")
        return
    report.problem("PMG-OUTCOME-TEXT", f"outcome {name!r} {found.said}", _row_cells(core, found.mask), found.fix)


def _check_single_precision(name: Any, y: FloatArray) -> None:
    observed = y[~np.isnan(y)]
    largest = float(np.abs(observed).max())
    if largest > 0 and np.ptp(observed) < _FLOAT32_RANGE * largest and not np.all(observed == np.round(observed)):
        # significant digits left in the differences: log10(range / (largest * eps))
        warn(
            "PMG-FLOAT32",
            f"outcome {name!r} was stored in single precision and has fewer than 6 useful digits",
            fix="read it as float64; computing in float64 cannot bring lost digits back",
            stacklevel=_STACK + 1,
        )


def _check_variation(core: Core, y: FloatArray, name: Any) -> None:
    if len(y) == 0 or np.any(y != y[0]):
        return
    if y[0] == 0 and core.exposure is not None:
        raise DataError(
            "PMG-OUTCOME-ZERO", f"all counts of {name!r} are zero", fix="nothing can be estimated from them"
        )
    raise DataError(
        "PMG-OUTCOME-CONSTANT", f"outcome {name!r} has no variation", fix="an effect on a constant is not estimated"
    )


def _covariate_missing(core: Core, name: Any, report: Report) -> BoolArray:
    """Missing cells of a covariate; text and categories are allowed (factors)."""
    series = core.root.series(name, "covariate")
    values = core.root.numbers(name)
    if values is None:
        missing = series.isna().to_numpy()
        return np.asarray(missing if core.rows is None else missing[core.rows], dtype=np.bool_)
    x = core.on_rows(values)
    infinite = np.isinf(x)
    if infinite.any():
        what = f"covariate {name!r} is infinite"
        report.problem("PMG-COVARIATE-INFINITE", what, _row_cells(core, infinite), "correct these cells")
    return np.isnan(x)


# ---- the policies -------------------------------------------------------------------------------------------------

_NAMES = {
    "PMG-OUTCOME-MISSING": "missing value(s) of the outcome",
    "PMG-COVARIATE-MISSING": "cell(s) with a missing covariate",
    "PMG-EXPOSURE-MISSING": "cell(s) without exposure",
}
_FIX = 'fill them in, or declare missing="pairwise" (use what is observed) or "drop_unit" (only complete units)'


def _refuse(core: Core, masks: dict[str, BoolArray], report: Report) -> None:
    for code, mask in masks.items():
        if mask.any():
            report.problem(code, f"{int(mask.sum())} {_NAMES[code]}", _row_cells(core, mask), _FIX)
    if not core.is_panel:
        return
    absent = ~_present(core)
    if absent.any():
        unit, time = np.nonzero(absent)
        what = f"{len(unit)} (unit, period) without a row: the panel is not balanced"
        report.problem("PMG-ROW-ABSENT", what, _cells(core, unit, time), _FIX)


def _present(core: Core, bad: BoolArray | None = None) -> BoolArray:
    """Cells (n, T) that are observed, or that are not expected to be."""
    present = np.zeros((core.n_units, len(core.time_codes)), dtype=np.bool_)
    good = slice(None) if bad is None else ~bad
    present[core.row_unit[good], core.row_time[good]] = True
    return present if core.exempt is None else present | core.exempt


@dataclass(frozen=True, eq=False)
class _Lost:
    """Missing cells as positions, and how many cells there should be per arm (control, treated)."""

    unit: IntArray
    time: IntArray
    arm: BoolArray
    expected: tuple[int, int]

    def counts(self) -> tuple[int, int]:
        treated = int(self.arm[self.unit].sum())
        return len(self.unit) - treated, treated


def _lost(core: Core, bad: BoolArray) -> _Lost:
    arm = core.arm
    if core.is_panel:
        unit, time = np.nonzero(~_present(core, bad))
        cells = np.full(core.n_units, len(core.time_codes))
        if core.exempt is not None:
            cells = cells - core.exempt.sum(axis=1)
    else:
        unit, time = core.row_unit[bad], core.row_time[bad]
        cells = np.ones(core.n_units, dtype=np.int64)
    return _Lost(unit, time, arm, (int(cells[~arm].sum()), int(cells[arm].sum())))


def _apply(core: Core, bad: BoolArray, report: Report) -> Core:
    lost = _lost(core, bad)
    if len(lost.unit) == 0:
        return core
    kept = core
    if core.policy == "pairwise":
        kept = core.take_rows(~bad) if bad.any() else core
        _pairwise_notices(core, kept, lost, report)
    elif core.is_panel:
        kept = _complete_units(core, bad, report)
    else:
        kept = core.take_rows(~bad)
        report.notices.append(_cells_notice(core, lost))
    _check_left(core, kept)
    newly = int(kept.always_treated.sum()) - int(core.always_treated.sum())
    if newly > 0:
        text = f"{newly} more unit(s) are treated from the first period that is left on"
        report.notices.append(
            Notice("PMG-ALWAYS-TREATED", text, plain(kept.units[np.flatnonzero(kept.always_treated)]))
        )
    if core.policy == "pairwise" and core.is_panel:
        _warn_base(kept)
    _warn_arms(lost, core, kept)
    return kept


def _complete_units(core: Core, bad: BoolArray, report: Report) -> Core:
    """Only units with every cell; a period missing for everybody does not condemn the units."""
    empty = np.asarray(~_present(core, bad).any(axis=0))
    if empty.any() and not empty.all():
        keep_rows = ~empty[core.row_time]
        report.notices.append(_period_notice(core, empty))
        bad = bad[keep_rows]
        core = core.take_rows(keep_rows)
    complete = np.asarray(_present(core, bad).all(axis=1))
    if not complete.any():
        raise DataError(
            "PMG-COMPLETE", "no unit has all its cells", fix='use missing="pairwise", or leave out incomplete periods'
        )
    dropped = plain(core.units[np.flatnonzero(~complete)])
    if dropped:
        arm = core.arm
        text = (
            f"{len(dropped)} of {core.n_units} unit(s) left out because a cell is missing: "
            f"{int((~complete & arm).sum())} treated, {int((~complete & ~arm).sum())} comparison"
        )
        report.notices.append(Notice("PMG-UNITS-LOST", text, dropped))
    return core.take_units(complete)


def _pairwise_notices(core: Core, kept: Core, lost: _Lost, report: Report) -> None:
    report.notices.append(_cells_notice(core, lost))
    if kept.n_units < core.n_units and core.is_panel:
        gone = core.units.difference(kept.units)
        text = f"{len(gone)} unit(s) without any observed cell left out"
        report.notices.append(Notice("PMG-UNITS-LOST", text, plain(gone)))
    empty = ~np.isin(core.time_codes, kept.time_codes)
    if empty.any():
        report.notices.append(_period_notice(core, empty))


def _cells_notice(core: Core, lost: _Lost) -> Notice:
    """How many cells are lost by arm and period."""
    labels = label_list(core.calendar, core.time_codes)
    arms = []
    for name, mask in (("treated", lost.arm), ("comparison", ~lost.arm)):
        by_period = np.bincount(lost.time[mask[lost.unit]], minlength=len(labels))
        detail = [f"{labels[at]}: {by_period[at]}" for at in np.flatnonzero(by_period)]
        arms.append(f"{name} {int(by_period.sum())}" + (f" ({', '.join(detail)})" if detail else ""))
    units = plain(core.units.take(np.unique(lost.unit))) if core.is_panel else ()
    return Notice("PMG-CELLS-LOST", f"{len(lost.unit)} cell(s) not observed: {'; '.join(arms)}", units)


def _period_notice(core: Core, empty: BoolArray) -> Notice:
    labels = label_list(core.calendar, core.time_codes[empty])
    return Notice("PMG-PERIODS-LOST", f"period(s) observed for no unit left out: {short(labels, 12)}")


def _check_left(core: Core, kept: Core) -> None:
    if len(kept.time_codes) < 2:
        raise DataError(
            "PMG-ONE-PERIOD", "only one period is left after missing cells", fix="a before and an after are needed"
        )
    raise_design(design_problem(kept))


def _warn_base(core: Core) -> None:
    """Treated units that were not observed in the last period before their treatment."""
    observed = np.zeros((core.n_units, len(core.time_codes)), dtype=np.bool_)
    observed[core.row_unit, core.row_time] = True
    usable = core.arm & ~core.always_treated
    base = np.where(usable, np.searchsorted(core.time_codes, core.cohort) - 1, 0)
    if core.exempt is not None:
        everyone = np.arange(core.n_units)
        for _ in range(len(core.time_codes)):
            base = np.where((base > 0) & core.exempt[everyone, base], base - 1, base)
    lacking = usable & ~observed[np.arange(core.n_units), base]
    if lacking.any():
        warn(
            "PMG-MISSING-BASE",
            f"{int(lacking.sum())} of {int(usable.sum())} treated unit(s) lack the last period before treatment",
            where=plain(core.units[np.flatnonzero(lacking)]),
            fix='comparisons with that period leave them out; consider missing="drop_unit"',
            stacklevel=_STACK + 1,
        )


def _warn_arms(lost: _Lost, core: Core, kept: Core) -> None:
    """Warn when what is lost differs between treated and comparison (two-proportion z test, 1 %)."""
    if core.policy == "drop_unit":
        arm, left = core.arm, kept.arm
        total = np.array([int((~arm).sum()), int(arm.sum())])
        gone = total - np.array([int((~left).sum()), int(left.sum())])
        what = "units"
    else:
        total, gone, what = np.array(lost.expected), np.array(lost.counts()), "cells"
    if (total == 0).any():
        return
    share = gone / total
    pooled = gone.sum() / total.sum()
    spread = np.sqrt(pooled * (1 - pooled) * (1 / total).sum())
    difference = abs(share[1] - share[0])
    if spread > 0 and difference > _NOTABLE_DIFFERENCE and difference / spread > _Z_ONE_PERCENT:
        warn(
            "PMG-MISSING-ARM",
            f"missing {what} differ between treated ({share[1]:.1%}) and comparison ({share[0]:.1%})",
            fix="find out why: a difference in who is observed can look like an effect",
            stacklevel=_STACK + 1,
        )
