"""A programme that started earlier than it did, on the years before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pmg_eval.errors import DesignError
from pmg_eval.estimate import Estimate
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._door import estimated, need_estimator, need_whole
from pmg_eval.typing import Estimator


def placebo_in_time(
    estimator: Estimator, panel: Panel, outcome: str, *, periods: int = 2, anticipation: int = 0
) -> Estimate[Any]:
    """Estimate a start ``periods`` earlier, without the real treated periods: there should be no effect.

    Parameters
    ----------
    estimator : callable
        ``estimator(panel, outcome) -> Estimate``.
    panel, outcome : Panel, str
    periods : int
        How much earlier; each cohort keeps its own order.
    anticipation : int
        Periods before the start in which the programme may already have worked; they are left out too.

    Returns
    -------
    Estimate
        Whatever the estimator returns on the shortened panel; the provenance says so. Its effects are those of a
        programme that was not there.

    Raises
    ------
    DataError
        PMG-OPTION, PMG-ESTIMATOR.
    DesignError
        PMG-PLACEBO-TIME: no area has a period left before the fake start.

    Notes
    -----
    A gap from zero means diverging trends, anticipation, or regression to the mean after selection on the outcome.
    """
    need_whole("periods", periods, 0, code="PMG-OPTION", example="2")
    if periods == 0:
        raise DesignError("PMG-PLACEBO-TIME", "periods=0 must be at least 1")
    need_whole("anticipation", anticipation, 0, code="PMG-OPTION", example="0")
    need_estimator(estimator)
    need_panel(panel)
    panel = panel.for_outcome(outcome)  # the policy for missing cells is about the data, not about what is cut off here
    start = panel.cohort[panel.row_unit]
    code = panel.time_codes[panel.row_time]
    before = panel.select_rows(code < start - anticipation)
    fake = before.cohort - periods
    if not (np.isfinite(fake) & (fake > before.time_codes[0])).any():
        raise DesignError(
            "PMG-PLACEBO-TIME",
            f"no area has a period before a start {periods} periods earlier",
            fix="fewer `periods`, or a panel that begins earlier",
        )
    found = estimated(estimator, before.with_cohort(fake), outcome)
    earlier = "1 period" if periods == 1 else f"{periods} periods"
    provenance = found.provenance.then(f"placebo_in_time(periods={periods}, anticipation={anticipation})").noting(
        f"placebo in time: as if the programme had started {earlier} earlier, without its real periods"
    )
    return replace(found, provenance=provenance)
