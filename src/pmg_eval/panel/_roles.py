"""Roles that hold numbers or labels: weight, exposure, dose, focus share, clusters, region, selection window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pmg_eval.panel._ingest import FloatArray, frozen, numeric
from pmg_eval.panel._report import Report
from pmg_eval.panel._table import Request, Table
from pmg_eval.panel._text import unreadable
from pmg_eval.panel._time import Starts, Times
from pmg_eval.panel._units import label_codes

_NUMBER_RULES = {
    "weight": ("PMG-WEIGHT", "weights must be numbers, finite and not negative"),
    "exposure": ("PMG-EXPOSURE", "exposure (person-years) must be positive and finite"),
    "dose": ("PMG-DOSE", "dose must be a number, finite and not negative"),
    "focus_share": ("PMG-FOCUS-SHARE", "focus_share must lie in (0, 1]"),
}


def number_role(table: Table, role: str, available: Mapping[str, Any]) -> FloatArray | None:
    if role not in available:
        return None
    code, rule = _NUMBER_RULES[role]
    values = numeric(table.frame[available[role]])
    if values is None:
        _not_numbers(table, available[role], code, rule)
        return None
    values = frozen(np.asarray(table.sorted(values), dtype=np.float64))
    missing = np.isnan(values)
    bad = ~missing & ~(np.isfinite(values) & (values >= 0))
    if role in ("exposure", "focus_share"):
        bad |= values == 0  # a missing exposure is a missing cell: for_outcome applies the policy
    if role == "focus_share":
        bad |= values > 1
    if role in ("weight", "dose"):
        bad |= missing
    if bad.any():
        fix = "zero units at risk are not an observation: remove or fill in these cells" if role == "exposure" else ""
        table.report.problem(code, rule, table.cells(bad), fix or "correct these cells")
        return None
    if role == "weight" and not np.any(values > 0):
        table.report.problem(code, "all weights are zero", fix="leave weight out or correct it")
        return None
    return values


def _not_numbers(table: Table, name: Any, code: str, rule: str) -> None:
    found = unreadable(table.frame[name].take(table.order))
    if found is None:
        table.report.problem(code, f"{rule}; column {name!r} is not numeric", fix="convert it to numbers")
    else:
        table.report.problem(code, f"{rule}; column {name!r} {found.said}", table.cells(found.mask), found.fix)


def unit_weight(table: Table, weight: FloatArray) -> FloatArray:
    """The unit's weight: that of its first observed period when it varies (as R did reads panel weights)."""
    varies = table.varies(weight)
    if varies.any():
        names = table.units_of(varies)
        text = f"the weight varies within {len(names)} unit(s); the first period's is the weight of the unit"
        table.report.notice("PMG-WEIGHT-VARIES", text, names)
    return np.asarray(weight[table.first_row], dtype=np.float64)


def focus_share(table: Table, values: FloatArray | None, starts: Starts | None) -> FloatArray | None:
    if values is None or not table.identified:
        return None
    unit = values[table.first_row]
    missing = np.isnan(values)
    varies = table.varies(np.where(missing, -1.0, values))
    if varies.any():
        what = "focus_share is not constant within the unit"
        table.report.problem("PMG-FOCUS-SHARE", what, table.units_of(varies), "give one share in all rows of a unit")
        return None
    lacking = np.isnan(unit) & (np.isfinite(starts.code) if starts is not None else False)
    if lacking.any():
        what = "treated units without a focus_share"
        table.report.problem("PMG-FOCUS-SHARE", what, table.names(lacking), "fill it in (1 when all of it counts)")
        return None
    return frozen(np.asarray(unit, dtype=np.float64))


def labels(table: Table, request: Request, available: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Label columns constant within units (values (n,)) and names of those that vary."""
    constant: dict[str, Any] = {}
    varying: list[str] = []
    if "unit" in available and not table.cross_section:
        constant[request.unit] = table.units
    for role, name in available.items():
        if not (role.startswith("cluster") or role == "region"):
            continue
        code = "PMG-REGION" if role == "region" else "PMG-CLUSTER"
        codes = label_codes(table.frame[name], role.split()[0], code, table.report)
        if codes is None or not table.identified:
            continue
        changed = table.varies(table.sorted(codes))
        if changed.any():
            varying.append(name)
            names = table.units_of(changed)
            text = f"label {name!r} changes within {len(names)} unit(s): it labels rows, not units"
            table.report.notice("PMG-LABEL-VARIES", text, names)
            continue
        labels = table.frame[name].iloc[table.order[table.first_row]].array
        constant[name] = labels
        if role == "region":
            constant["region"] = labels
    return constant, tuple(varying)


def selection_window(table: Table, window: Any) -> tuple[int, int] | None:
    if window is None or table.times is None:
        return None
    calendar = table.times.calendar
    codes = [calendar.code(label) for label in window] if isinstance(window, (tuple, list)) else []
    if len(codes) != 2 or codes[0] is None or codes[1] is None or codes[0] > codes[1]:
        table.report.problem(
            "PMG-SELECTION-WINDOW",
            "selection_window must be (start, end), labels of periods in this order",
            fix="for example (2016, 2019): the years on which the areas were selected",
        )
        return None
    window_codes = codes[0], codes[1]
    _check_window(table.times, *window_codes, table.report)
    return window_codes


def _check_window(times: Times, first: int, last: int, report: Report) -> None:
    """A window is about observed periods: wholly outside it is a slip, partly outside it is said."""
    observed = times.codes
    if len(observed) == 0:
        return
    ends = [times.calendar.label(int(code)) for code in (first, last, observed[0], observed[-1])]
    what = "selection_window {} to {} lies {} the observed periods ({} to {})"
    if last < observed[0] or first > observed[-1]:
        report.problem(
            "PMG-SELECTION-WINDOW",
            what.format(*ends[:2], "outside", *ends[2:]),
            fix="correct it; if the areas were selected on earlier periods, add those or leave selection_window out",
        )
    elif first < observed[0] or last > observed[-1]:
        text = what.format(*ends[:2], "partly outside", *ends[2:])
        report.notice("PMG-SELECTION-WINDOW-PARTIAL", f"{text}: only the part inside can be taken into account")
