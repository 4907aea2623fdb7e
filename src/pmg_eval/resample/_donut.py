"""Leave out the periods around the start, in which the programme half works or areas were selected."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from pmg_eval.errors import DataError, DesignError
from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._door import estimated, need_estimator
from pmg_eval.typing import Estimator


def donut(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    before: int | Literal["selection_window"] = 1,
    after: int = 0,
) -> Estimate[Any]:
    r"""Estimate without the treated areas' periods around their start.

    Rows of treated areas with event time :math:`-before\le t-g<after` are left out; comparison areas keep all of
    theirs. Event times stay what they are, and the base lies before the hole.

    Parameters
    ----------
    estimator : callable
        ``estimator(panel, outcome) -> Estimate``. It must be able to work with periods that are not observed in some
        areas: ``did.imputation``, ``did.group_time``; synthetic controls need complete areas.
    panel, outcome : Panel, str
    before : int or "selection_window", default 1
        Periods left out before the start (anticipation, preparations). ``"selection_window"``: every period from the
        beginning of the panel's ``selection_window`` to the start, so that effects are measured against periods that
        played no part in the choice of the areas.
    after : int, default 0
        Periods left out from the start on (phase-in): with 1, event time 0.

    Returns
    -------
    Estimate
        Whatever the estimator returns on the shortened panel; the provenance says what was left out.

    Raises
    ------
    DataError
        PMG-OPTION (not a number of periods, or no selection window declared).
    DesignError
        PMG-DONUT: nothing is left out, or no treated area has periods on both sides of the hole.

    Notes
    -----
    Against regression to the mean: areas chosen for a bad period improve without any programme, which a base inside
    that period takes for an effect (with a base of the last period before the start, 3-5 % where nothing happened).
    A base before the window is protected; it pays with older comparisons, so show both. The difference between two
    estimates on the same areas has its own standard error: jackknife a function that returns their ``pe.stack``.

    With ``did.group_time`` the same base can be had with ``anticipation=before``, which keeps the left-out periods as
    terms (negative event times) instead of removing them.

    Examples
    --------
    >>> import pandas as pd, pmg_eval as pe
    >>> from pmg_eval import did, resample
    >>> table = pd.DataFrame([(i, t, 3 if i < 3 else 0) for i in range(8) for t in range(5)],
    ...                      columns=["area", "year", "start"])
    >>> table["rate"] = table["area"] + 2.0 * ((table["start"] > 0) & (table["year"] >= 3))
    >>> table.loc[(table["start"] > 0) & (table["year"] == 2), "rate"] += 1  # a bad year, for which they were chosen
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> overall = lambda panel, outcome: did.group_time(panel, outcome).average()
    >>> overall(panel, "rate").values.tolist(), resample.donut(overall, panel, "rate").values.tolist()
    ([1.0], [2.0])
    """
    need_estimator(estimator)
    need_panel(panel)
    first = _before(panel, before)
    last = _periods("after", after)
    panel = panel.for_outcome(outcome)  # the policy for missing cells is about the data, not about what is cut out here
    hole, lost = _hole(panel, first, last)
    found = estimated(estimator, panel.select_rows(~hole), outcome)
    return replace(found, provenance=_provenance(found, panel, hole, first, last, lost))


def _before(panel: Panel, before: object) -> int | str:
    if not isinstance(before, str):
        return _periods("before", before)
    if before != "selection_window":
        raise DataError("PMG-OPTION", f"unknown before={before!r}", fix='a number of periods or "selection_window"')
    if panel.selection_window is None:
        raise DataError(
            "PMG-OPTION", "the panel declares no selection window", fix="Panel(..., selection_window=(start, end))"
        )
    return before


def _periods(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise DataError("PMG-OPTION", f"{name}={value!r} must be a number of periods, 0 or more", fix="for example 1")
    return int(value)


def _hole(panel: Panel, before: int | str, after: int) -> tuple[Any, Any]:
    """Rows (N,) to leave out, and the positions of treated areas without a period on one side of them."""
    start = panel.cohort[panel.row_unit]
    code = panel.time_codes[panel.row_time]
    begin: Any = start - before if isinstance(before, int) else (panel.selection_window or (np.inf,))[0]
    hole = np.isfinite(start) & (code >= begin) & (code < start + after)
    if not hole.any():
        raise DesignError("PMG-DONUT", "no treated area has a period to leave out", fix="a larger before= or after=")
    treated = np.flatnonzero(panel.cohort <= panel.time_codes[-1])
    sides = []
    for side in (code < start, code >= start):
        seen = np.zeros(panel.n_units, dtype=bool)
        seen[panel.row_unit[~hole & side]] = True
        sides.append(seen[treated])
    whole = sides[0] & sides[1]
    if not whole.any():
        raise DesignError(
            "PMG-DONUT",
            "no treated area has periods on both sides of the hole",
            fix="a smaller before= or after=, or a panel with more periods",
        )
    return hole, treated[~whole]


def _provenance(found: Estimate[Any], panel: Panel, hole: Any, first: int | str, after: int, lost: Any) -> Provenance:
    provenance = found.provenance.then(f"donut(before={first!r}, after={after})").noting(
        f"{int(hole.sum())} rows of treated areas around their start were left out (before={first!r}, after={after})"
    )
    if len(lost):
        shown = ", ".join(map(str, panel.units[lost][:5]))
        provenance = provenance.noting(f"{len(lost)} treated areas have no periods on one side of the hole: {shown}")
    return replace(
        provenance, options={**provenance.options, "donut": {"before": first, "after": after}}, data=panel.fingerprint
    )
