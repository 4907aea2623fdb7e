r"""Risk sets and step functions: what Kaplan-Meier and Aalen-Johansen share.

With :math:`Y_s` at risk and :math:`d_{ks}` events of cause k on day s (events come before censoring, censoring before
entries),

.. math:: \hat S(t)=\prod_{s\le t}\Big(1-\frac{d_s}{Y_s}\Big),\qquad
          \hat F_k(t)=\sum_{s\le t}\hat S(s-)\frac{d_{ks}}{Y_s}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmg_eval.errors import DataError
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Spells
from pmg_eval.panel._spells_count import BEFORE, Cells
from pmg_eval.recidivism._counts import Counts, refuse_event_then_spell

Whole = NDArray[np.int64]
FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class RiskTable:
    """Cells with their risk sets, and the labels.

    Attributes
    ----------
    at_risk : (M,) int
        At risk on the day of each cell (before its exits).
    bounds : (G + 1,) int
        Cells of group g are ``bounds[g]:bounds[g + 1]``.
    spells : Spells or None
        The rows behind it, where they are known.
    """

    cells: Cells
    at_risk: Whole
    bounds: Whole
    groups: pd.DataFrame
    group_columns: tuple[Any, ...]
    causes: tuple[str, ...]
    n_persons: Whole
    time_unit: str
    late_entry: bool
    fingerprint: str
    definition: str
    notes: tuple[str, ...]
    spells: Spells | None

    @property
    def labels(self) -> list[Any]:
        """Labels of the groups."""
        return self.groups["group"].tolist()


def risk_table(data: Any) -> RiskTable:
    """Risk sets of spells or counts.

    Raises
    ------
    DataError
        PMG-SPELLS, PMG-EVENT-THEN-SPELL.
    """
    if not isinstance(data, Spells | Counts):
        raise DataError(
            "PMG-SPELLS",
            f"spells or counts are needed, not {type(data).__name__}",
            fix="pe.Spells(df, person=..., exit=..., event=...), or recidivism.Counts.from_frame(df)",
        )
    if isinstance(data, Spells):
        refuse_event_then_spell(data)
    cells = data.cells
    change = cells.entered - cells.exits.sum(axis=1)
    at_risk = np.cumsum(change) - change  # everybody leaves in the end, so the sum starts anew in every group
    n_groups = len(data.groups)
    bounds = np.searchsorted(cells.group, np.arange(n_groups + 1)).astype(np.int64)
    spells = data if isinstance(data, Spells) else None
    return RiskTable(
        cells=cells,
        at_risk=at_risk,
        bounds=bounds,
        groups=data.groups,
        group_columns=data.group_columns,
        causes=data.causes,
        n_persons=data.persons_per_group if isinstance(data, Spells) else data.n_persons,
        time_unit=data.time_unit,
        late_entry=bool((cells.entered[cells.day > 0] > 0).any()),
        fingerprint=data.fingerprint,
        definition="" if isinstance(data, Spells) else data.definition,
        notes=tuple(notice.text for notice in data.notes) if isinstance(data, Spells) else (),
        spells=spells,
    )


@dataclass(frozen=True, eq=False)
class Curve:
    r"""Step functions of one group.

    Attributes
    ----------
    day : (T,) int
        Days with an event.
    at_risk, events : (T,) and (T, K) int
        Persons at risk and events, as numbers.
    weight_at_risk, weight_events : (T,) and (T, K) float
        The same as sums of weights (:math:`Y` and :math:`d_k`).
    survival, before : (T,) float
        :math:`S(s)` and :math:`S(s-)`.
    incidence : (T, K) float
        :math:`F_k(s)`.
    days, risk : (M,) int
        All days on which the risk set changes, and the number at risk on them.
    censored, entered : (M,) int
        Censored on these days (causes that are not of interest included); at risk from the next day on.
    conditional : bool
        Whether the curve starts after day 0 by request.
    last : int
        Last day of follow-up.
    blocked : int
        From this day on nothing is identified because the risk set was empty; ``FOREVER`` when it never was.
    restart : int
        First day from which the risk set is never empty (to be given as ``start=``).
    """

    day: Whole
    at_risk: Whole
    events: Whole
    weight_at_risk: Array
    weight_events: Array
    survival: Array
    before: Array
    incidence: Array
    days: Whole
    risk: Whole
    censored: Whole
    entered: Whole
    conditional: bool
    last: int
    blocked: int
    restart: int

    @property
    def ended(self) -> bool:
        """Whether everybody has had an event in the end: then the curve is known for ever."""
        return bool(len(self.day)) and self.survival[-1] == 0.0

    def place(self, times: Sequence[int] | Whole) -> Whole:
        """Number of event days up to each time."""
        return np.searchsorted(self.day, np.asarray(times), side="right").astype(np.int64)

    def incidence_at(self, times: Sequence[int] | Whole) -> Array:
        """F_k (H, K) at some times."""
        padded = np.vstack([np.zeros((1, self.incidence.shape[1])), self.incidence])
        return np.asarray(padded[self.place(times)])

    def risk_at(self, times: Sequence[int] | Whole) -> Whole:
        """Number at risk (H,) just before some times end."""
        padded = np.append(self.risk, 0)
        return np.asarray(padded[np.searchsorted(self.days, np.asarray(times), side="left")])

    def events_by(self, times: Sequence[int] | Whole) -> Whole:
        """Events (H, K) up to some times."""
        padded = np.vstack([np.zeros((1, self.events.shape[1]), dtype=np.int64), np.cumsum(self.events, axis=0)])
        return np.asarray(padded[self.place(times)])

    def complete_until(self, time: int) -> bool:
        """Whether nobody was censored before this time and nobody came in after the start."""
        early = self.days < time
        came = early if self.conditional else early & (np.arange(len(early)) > 0)
        return not (self.censored[early].any() or self.entered[came].any())


def curve(table: RiskTable, group: int, interest: Sequence[Sequence[int]], start: int | None) -> Curve:
    """Step functions of a group.

    Parameters
    ----------
    interest : list of lists of int
        Causes (1..K) that make up each kind of event; other causes count as censoring.
    start : int or None
        Only what happens after this day, among those at risk then.
    """
    low, high = int(table.bounds[group]), int(table.bounds[group + 1])
    if start is not None:
        low += int(np.searchsorted(table.cells.day[low:high], start, side="right"))
    cells, risk = table.cells, table.at_risk[low:high]
    day, exits = cells.day[low:high], cells.exits[low:high]
    events = np.column_stack([exits[:, list(kind)].sum(axis=1) for kind in interest])
    total = events.sum(axis=1)
    if cells.exits_weight is None or cells.entered_weight is None:
        mass, part = risk.astype(np.float64), events.astype(np.float64)
    else:
        leaving, coming = cells.exits_weight[low:high], cells.entered_weight[low:high]
        mass = np.cumsum(leaving.sum(axis=1)[::-1])[::-1] - np.cumsum(coming[::-1])[::-1]
        part = np.column_stack([leaving[:, list(kind)].sum(axis=1) for kind in interest])
    happens = total > 0
    survival, before = _survival(mass[happens], part[happens].sum(axis=1), risk[happens] == total[happens])
    with np.errstate(invalid="ignore"):
        incidence = np.cumsum(before[:, None] * part[happens] / mass[happens, None], axis=0)
    blocked, restart = _empty_risk(day, risk, total, day[happens], survival, start)
    return Curve(
        day=day[happens],
        at_risk=risk[happens],
        events=events[happens],
        weight_at_risk=mass[happens],
        weight_events=part[happens],
        survival=survival,
        before=before,
        incidence=np.minimum(incidence, 1.0),
        days=day,
        risk=risk,
        censored=exits.sum(axis=1) - total,
        entered=cells.entered[low:high],
        conditional=start is not None,
        last=int(day[-1]) if len(day) else BEFORE,
        blocked=blocked,
        restart=restart,
    )


def _survival(mass: Array, events: Array, everybody: Any) -> tuple[Array, Array]:
    r"""S and S(s-), written so that it is exact where nobody is censored.

    :math:`S_j=\frac{Y_j-d_j}{Y_1}\prod_{i\le j}\frac{Y_{i-1}-d_{i-1}}{Y_i}`: the factors are exactly one where the risk
    set changes by events only.
    """
    if not len(mass):
        return mass, mass
    left = np.where(everybody, 0.0, mass - events)
    survival = left / mass[0]
    survival[1:] *= np.cumprod(left[:-1] / mass[1:])
    before = np.concatenate([[1.0], survival[:-1]])
    return survival, before


def _empty_risk(
    day: Whole, risk: Whole, total: Whole, event_day: Whole, survival: Array, start: int | None
) -> tuple[int, int]:
    """First day from which on the curve is not identified, and the day to start from instead."""
    if not len(day):
        return BEFORE, BEFORE
    # the first cell of everybody is an entry: nobody is at risk on it
    first = start is None and risk[0] == 0
    empty = np.flatnonzero(risk == 0)
    hole = empty[1:] if first else empty
    begins = int(day[0]) if first else BEFORE
    blocked = FOREVER
    restart = BEFORE
    if begins > 0:  # nobody at risk on the days before the first entry
        blocked, restart = 0, begins
    if len(hole):
        before = int(day[hole[0] - 1]) if hole[0] > 0 else BEFORE
        blocked, restart = min(blocked, before + 1), max(restart, int(day[hole[-1]]))
    gone = np.flatnonzero((total == risk) & (risk > 0))
    gone = gone[gone < len(day) - 1]
    if len(gone):  # an event for everybody at risk, and others come in later: the product would stay at zero for ever
        blocked, restart = min(blocked, int(day[gone[0]])), max(restart, int(day[gone[-1]]))
    return blocked, restart


def interest_of(table: RiskTable, cause: str | Sequence[str] | None, *, together: bool) -> list[list[int]]:
    """Positions (1..K) of the causes asked for: one kind of event, or one per cause.

    Raises
    ------
    DataError
        PMG-CAUSE: a cause that does not occur.
    """
    if cause is None:
        names: list[str] = list(table.causes)
    else:
        names = [cause] if isinstance(cause, str) else list(cause)
    if cause is None and not names:
        raise DataError("PMG-CAUSE", "nobody has an event, so there is no cause to report", fix="check event=")
    unknown = [str(name) for name in names if name not in table.causes]
    if unknown or not names or len(set(names)) < len(names):
        known = ", ".join(table.causes) or "none: nobody has an event"
        raise DataError(
            "PMG-CAUSE",
            f"no event of cause {', '.join(unknown)}" if unknown else "cause= names none, or one twice",
            fix=f"causes in the data: {known}",
        )
    places = [table.causes.index(name) + 1 for name in names]
    return [places] if together else [[place] for place in places]
