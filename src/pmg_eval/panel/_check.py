"""The door: one pass over the table that finds every problem of every role, then builds the core arrays.

Codes of problems (all in one ``DataError``, the first two of the second block in a ``DesignError``):

=====================  ==============================================================================================
PMG-FRAME              not an in-memory table
PMG-EMPTY              no rows
PMG-COLUMN             a column named by a role does not exist (closest match) or exists twice
PMG-ROLES              roles that do not go together (both or neither of cohort and treatment, a column in two roles)
PMG-OPTION             an unknown value of ``missing`` or ``partial_period``
PMG-FREQ               dates without ``freq``, integers with ``freq="Q"``, ``freq`` against the Periods' own
PMG-TIME-TYPE          periods that are text, truth values, fractions, several types, year-month codes
PMG-TIME-MISSING       rows without a period
PMG-UNIT-TYPE          ids that are neither integers nor text, or floats that are not exact integers
PMG-UNIT-MIXED         ids of several types
PMG-UNIT-BLANKS        ids that differ in nothing but blanks at their ends
PMG-UNIT-MISSING       rows without a unit
PMG-DUPLICATE          a (unit, period) more than once
PMG-ONE-PERIOD         fewer than two periods
PMG-COHORT-TYPE        start dates of another kind than the periods, text, truth values
PMG-COHORT-MISSING     missing start without ``never=None``
PMG-COHORT-RANGE       a start no programme can have (-1, 0, more than a century off, -inf)
PMG-COHORT-VARIES      start not constant within the unit
PMG-PARTIAL-PERIOD     start inside a period without ``partial_period=``
PMG-TREATMENT-CODES    a treatment path that is not 0/1 (or is missing somewhere)
PMG-REVERSAL           treatment that is switched off
PMG-WEIGHT             weights missing, negative, infinite, or all zero
PMG-EXPOSURE           exposure that is not positive and finite
PMG-DOSE               dose missing, negative or infinite
PMG-FOCUS-SHARE        share outside (0, 1], varying, or missing for a treated unit
PMG-CLUSTER            missing cluster labels
PMG-REGION             missing region labels
PMG-NEIGHBORS          neighbors that are not units of the panel, or not a mapping or pairs
PMG-CONTAMINATED       ``contaminated_from`` not constant within the unit
PMG-SELECTION-WINDOW   a window that is not (start, end) in labels of periods, or lies outside the observed ones
---------------------  ----------------------------------------------------------------------------------------------
PMG-NO-TREATED         (DesignError) nobody starts treatment inside the window
PMG-NO-CONTROL         (DesignError) everybody starts at the same date
---------------------  ----------------------------------------------------------------------------------------------
PMG-OUTCOME-TEXT       (``for_outcome``) text where numbers should be, and its kind (suppressed counts, decimal commas)
PMG-OUTCOME-TYPE       neither numbers nor truth values (dates, complex, lists)
PMG-OUTCOME-EMPTY      no observed value at all
PMG-OUTCOME-INFINITE   infinite values
PMG-OUTCOME-MISSING    missing values with ``missing="error"``
PMG-OUTCOME-CONSTANT   no variation
PMG-OUTCOME-ZERO       all counts zero (with the exposure role)
PMG-COVARIATE-INFINITE, PMG-COVARIATE-MISSING, PMG-EXPOSURE-MISSING, PMG-ROW-ABSENT  the same for other cells
PMG-COMPLETE           ``missing="drop_unit"`` leaves no unit
PMG-COLUMN-TYPE        a column that is asked for as numbers and is not
PMG-CROSS-SECTION      something that needs units followed over time
PMG-SHAPE              an array that does not fit the panel
=====================  ==============================================================================================

Warnings: PMG-MISSING-BASE, PMG-MISSING-ARM, PMG-FLOAT32. Notices: PMG-GAP, PMG-TIMEZONE, PMG-ALWAYS-TREATED,
PMG-COHORT-AFTER, PMG-NO-NEVER, PMG-PARTIAL-TREATED, PMG-PARTIAL-DROPPED, PMG-PARTIAL-SHARE, PMG-START-UNSEEN,
PMG-WEIGHT-VARIES, PMG-LABEL-VARIES, PMG-NEIGHBORS-ONE-WAY, PMG-CONTAMINATED-PARTIAL, PMG-CELLS-LOST, PMG-UNITS-LOST,
PMG-PERIODS-LOST, PMG-OUTCOME-BOOL, PMG-SELECTION-WINDOW-PARTIAL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pmg_eval.errors import DataError
from pmg_eval.panel._core import Core, Root, design_problem, raise_design
from pmg_eval.panel._ingest import frozen, to_pandas
from pmg_eval.panel._report import Report
from pmg_eval.panel._roles import focus_share, labels, number_role, selection_window, unit_weight
from pmg_eval.panel._starts import apply_partial, contaminated_from, starts_of, window_notices
from pmg_eval.panel._table import Request, Table, check_columns, check_request, identify
from pmg_eval.panel._units import parse_neighbors


def build(given: Any, request: Request) -> Core:
    """Validate ``given`` against the roles and return the core arrays.

    Raises
    ------
    DataError
        With every problem found (codes in the module's table).
    DesignError
        PMG-NO-TREATED or PMG-NO-CONTROL, when the data are sound.
    """
    report = Report()
    check_request(request, report)
    frame = to_pandas(given)
    available = check_columns(frame, request, report)
    if len(frame) == 0:
        report.problem("PMG-EMPTY", "the table has no rows", fix="check the selection or the file")
        _raise(report)
    table = identify(frame, request, available, report)
    starts = starts_of(table, request, available)
    numbers = {role: number_role(table, role, available) for role in ("weight", "exposure", "dose", "focus_share")}
    unit_labels, row_labels = labels(table, request, available)
    contaminated = contaminated_from(table, request, available)
    focus = focus_share(table, numbers["focus_share"], starts)
    neighbors = None
    if request.neighbors is not None and table.identified and not table.cross_section:
        neighbors = parse_neighbors(request.neighbors, table.units, report)
    window = selection_window(table, request.selection_window)
    _raise(report)
    if table.times is None or starts is None:  # unreachable: a problem was reported
        raise DataError("PMG-ROLES", "units, periods or starts could not be read")
    root = _root(table, unit_labels, row_labels)
    weight = np.ones(len(table.order)) if numbers["weight"] is None else numbers["weight"]
    core = Core(
        root=root,
        is_panel=not table.cross_section,
        calendar=table.times.calendar,
        time_codes=frozen(table.times.codes),
        row_unit=frozen(table.row_unit),
        row_time=frozen(table.row_time),
        n_units=len(table.units),
        cohort=frozen(starts.code),
        share=None,
        weight=frozen(weight),
        unit_weight=frozen(unit_weight(table, weight)),
        exposure=numbers["exposure"],
        contaminated_from=frozen(contaminated),
        dose=numbers["dose"],
        focus_share=focus,
        neighbors=None if neighbors is None else frozen(neighbors),
        exempt=None,
        selection_window=window,
        roles=request.roles,
        policy=request.missing,
        partial_period=request.partial_period,
    )
    core = apply_partial(core, starts, table, request.partial_period)
    window_notices(core, report)
    raise_design(design_problem(core))
    return replace(core, notes=tuple(report.notices))


def _raise(report: Report) -> None:
    if report.problems:
        raise DataError.of(report.problems)


def _root(table: Table, unit_labels: Mapping[str, Any], row_labels: tuple[str, ...]) -> Root:
    if table.times is None:
        raise DataError("PMG-TIME-MISSING", "no periods")
    frame = table.frame.reset_index(drop=True)
    in_order = len(table.order) == len(frame) and bool(np.all(np.diff(table.order) > 0))
    # always our own copy: what the user does to the input later must not reach a validated panel
    frame = frame.copy() if in_order else frame.take(table.order).reset_index(drop=True)
    times = table.times.calendar.index(table.times.codes)
    return Root(frame, table.units, times, table.row_unit, table.row_time, unit_labels, row_labels)
