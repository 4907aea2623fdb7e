"""What every synthetic control asks of a panel before anything is fitted: outcomes, treated units, donors, windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmg_eval.errors import DataError, DesignError
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel

Family = Literal["gaussian", "poisson"]
Donors = Sequence[Any] | Literal["untreated", "others"]
Positions = NDArray[np.intp]
FEWEST_PRE = 4


@dataclass(frozen=True, eq=False)
class Design:
    """Outcomes as the method sees them, and who is compared with whom.

    Attributes
    ----------
    panel : Panel
        After the missing policy was applied to the outcome.
    outcome : (n, T) float
        The outcome, or with ``family="poisson"`` the count per person-year; NaN where not observed.
    exposure : (n, T) float or None
        Person-years (``family="poisson"``).
    treated : (n1,) int
        Positions of the units to estimate, in the order of ``panel.units``.
    donors : (J,) int
        Positions of the pool. With ``others`` it holds every unit that can be a donor, the treated ones included; a
        unit is never its own donor.
    others : bool
        In-space placebo: everybody is compared with everybody else.
    excluded : DataFrame
        ``donor, reason``: units that might have been donors and are not.
    """

    panel: Panel
    outcome: Array
    exposure: Array | None
    treated: Positions
    donors: Positions
    others: bool
    excluded: pd.DataFrame
    family: Family
    anticipation: int

    def donors_of(self, unit: int) -> Positions:
        """Pool of one unit: nobody is compared with itself."""
        return self.donors[self.donors != unit] if self.others else self.donors

    def before(self, unit: int) -> NDArray[np.bool_]:
        """Periods (T,) before the start (and before anticipation) in which the unit is observed."""
        start = self.panel.cohort[unit] - self.anticipation
        return np.asarray((self.panel.time_codes < start) & ~np.isnan(self.outcome[unit]))

    def after(self, unit: int) -> NDArray[np.bool_]:
        """Treated periods (T,) in which the unit is observed."""
        return np.asarray((self.panel.time_codes >= self.panel.cohort[unit]) & ~np.isnan(self.outcome[unit]))


def design(
    panel: Panel, outcome: str, *, donors: Donors = "untreated", family: Family = "gaussian", anticipation: int = 0
) -> Design:
    """Apply the missing policy, choose treated units and donors, and say who was left out and why.

    Donors are the units that stay untreated and uncontaminated through the last period. A donor with an unobserved
    period is left out (its synthetic path would be unknown there); ``Panel(missing="error")`` refuses it before.

    Raises
    ------
    DataError
        PMG-OPTION, PMG-NEGATIVE; those of :meth:`Panel.for_outcome`; PMG-DONORS for labels that cannot be donors.
    DesignError
        PMG-NO-DONORS, PMG-NO-TREATED, PMG-CROSS-SECTION, PMG-SHARE.
    """
    need_panel(panel)
    _check_options(donors, family, anticipation)
    panel = panel.for_outcome(outcome)
    if panel.share is not None and family == "poisson":
        raise DesignError(
            "PMG-SHARE",
            'partial_period="share" divides an additive effect by the treated share; a rate ratio has no such reading',
            fix='partial_period="drop", or family="gaussian"',
        )
    values, exposure = _outcome(panel, outcome, family)
    last = panel.time_codes[-1]
    others = isinstance(donors, str) and donors == "others"
    treated = np.flatnonzero((panel.cohort <= last) & ~panel.always_treated & (panel.unit_weight > 0))
    if len(treated) == 0:
        raise DesignError(
            "PMG-NO-TREATED",
            "no unit starts treatment inside the window after at least one untreated period",
            fix="check the start dates",
        )
    reason = _reasons(panel, values, last, anticipation, others)
    pool = np.flatnonzero(reason == "")
    if not isinstance(donors, str):
        pool = _chosen(panel, donors, reason)
        reason[(reason == "") & ~np.isin(np.arange(panel.n_units), pool)] = "not among the donors asked for"
    if len(pool) - int(others) < 1:
        raise DesignError(
            "PMG-NO-DONORS",
            "no unit stays untreated, uncontaminated and completely observed through the last period",
            fix="end the window earlier, or add comparison units",
        )
    shown = (reason != "") & (reason != "treated")
    excluded = pd.DataFrame({"donor": panel.units[shown], "reason": reason[shown]}).reset_index(drop=True)
    return Design(panel, values, exposure, treated, pool, others, excluded, family, int(anticipation))


def _check_options(donors: object, family: object, anticipation: object) -> None:
    if isinstance(donors, str) and donors not in ("untreated", "others"):
        raise DataError(
            "PMG-OPTION", f"unknown donors={donors!r}", fix='"untreated", "others", or a list of unit labels'
        )
    if not isinstance(family, str) or family not in ("gaussian", "poisson"):
        raise DataError("PMG-OPTION", f"unknown family={family!r}", fix='"gaussian" or "poisson"')
    if isinstance(anticipation, bool) or not isinstance(anticipation, int | np.integer) or anticipation < 0:
        raise DataError(
            "PMG-OPTION", f"anticipation={anticipation!r} must be a number of periods, 0 or more", fix="for example 1"
        )


def _outcome(panel: Panel, outcome: str, family: Family) -> tuple[Array, Array | None]:
    values = panel.wide(outcome)
    if family == "gaussian":
        return values, None
    if panel.exposure is None:
        raise DesignError(
            "PMG-NO-EXPOSURE", "rates need person-years", fix="Panel(..., exposure=...), or family='gaussian'"
        )
    negative = np.argwhere(values < 0)
    if len(negative):
        raise DataError(
            "PMG-NEGATIVE",
            f'{outcome!r} has negative values; family="poisson" needs counts',
            where=[f"{panel.units[i]} in {panel.times[t]}" for i, t in negative],
            fix='family="gaussian", or check the data',
        )
    exposure = panel.wide_rows(panel.exposure)
    return values / exposure, exposure


def _reasons(panel: Panel, values: Array, last: float, anticipation: int, others: bool) -> Any:
    """Why each unit is no donor; empty for the donors."""
    reason = np.full(panel.n_units, "", dtype=object)
    gaps = np.isnan(values).sum(axis=1)
    for unit in np.flatnonzero(gaps):
        reason[unit] = f"not observed in {gaps[unit]} of {panel.n_periods} periods"
    reason[panel.unit_weight == 0] = "weight of zero"
    reason[panel.contaminated_from <= last] = "contaminated by another programme within the window"
    if not others:
        reason[panel.cohort <= last + anticipation] = "treated"
    return reason


def _chosen(panel: Panel, donors: Sequence[Any], reason: Any) -> Positions:
    wanted = pd.Index(list(donors))
    position = panel.units.get_indexer(wanted)
    if (position < 0).any():
        raise DataError("PMG-DONORS", "donors names units that are not in the panel", where=list(wanted[position < 0]))
    unfit = reason[position] != ""
    if unfit.any():
        raise DataError(
            "PMG-DONORS",
            "donors names units that cannot be donors",
            where=[f"{unit}: {reason[p]}" for unit, p in zip(wanted[unfit], position[unfit], strict=True)],
            fix="name units that stay untreated, uncontaminated and observed",
        )
    return np.unique(position).astype(np.intp)


def time_labels(panel: Panel, codes: Any) -> Any:
    """Labels of calendar codes: integers, or periods."""
    if not isinstance(panel.times, pd.PeriodIndex):
        return codes
    distinct, position = np.unique(codes, return_inverse=True)
    index = pd.PeriodIndex([panel.time_label(int(code)) for code in distinct], freq=panel.freq)
    return index.take(position.ravel())
