"""One treated area under a null: a panel in which every real period lies before the start."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError, PmgEvalWarning
from pmg_eval.estimate import Estimate
from pmg_eval.estimate.terms import REFERENCE
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.panel._ingest import IntArray
from pmg_eval.resample._door import is_whole
from pmg_eval.resample._options import _parameters, by_unit, enumerates, named_donors
from pmg_eval.typing import Estimator

START = "start under the null"
_KEPT_ROLES = ("weight", "exposure", "cluster", "region")


@dataclass(frozen=True, eq=False)
class OneArea:
    """A treated area and the units that stay untreated, in the periods in which the area is observed.

    Attributes
    ----------
    panel : Panel
        With the area's own start.
    outcome : str
    unit : Any
        Label of the area.
    codes : (T,) int
        Calendar codes; those of the periods of anticipation are left out.
    after : (T,) bool
    share : (T,) float
        Part of an effect that shows: below one in a first period in which treatment started.
    """

    panel: Panel
    outcome: str
    unit: Any
    codes: IntArray
    after: Any
    share: Array

    @property
    def start(self) -> int:
        return int(self.panel.cohort[self.panel.units.get_loc(self.unit)])

    def labels(self, positions: Any) -> list[Any]:
        return [self.panel.time_label(code) for code in self.codes[positions]]


def one_area(panel: Panel, outcome: str, unit: Any, anticipation: int) -> OneArea:
    """Find the area and cut the panel to it.

    Raises
    ------
    DataError
        PMG-PANEL, PMG-OPTION, PMG-UNIT.
    DesignError
        PMG-ONE-AREA (several treated areas and none is named), PMG-NO-TREATED, PMG-NO-DONORS, PMG-SHORT-PRE.
    """
    need_panel(panel)
    if not is_whole(anticipation, 0):
        raise DataError("PMG-OPTION", f"anticipation={anticipation!r} must be a number of periods, 0 or more")
    panel = panel.for_outcome(outcome)
    position = _position(panel, unit)
    label, last = panel.units[position], panel.time_codes[-1]
    untreated = (panel.cohort > last) & (panel.contaminated_from > last)
    if not untreated.any():
        raise DesignError(
            "PMG-NO-DONORS", "no unit stays untreated and uncontaminated through the last period", fix="add units"
        )
    start = panel.cohort[position]
    observed = ~np.isnan(panel.wide(outcome)[position])
    observed &= (panel.time_codes < start - anticipation) | (panel.time_codes >= start)
    untreated[position] = True
    small = panel.select(untreated)
    if not observed.all():
        small = small.select_rows(observed[small.row_time])
    codes = small.time_codes
    after = codes >= start
    if after.all() or not after.any():
        where = "before" if after.all() else "after"
        raise DesignError("PMG-SHORT-PRE", f"{label} is not observed {where} its start", where=[label])
    share = np.ones(len(codes))
    if panel.share is not None:
        share[codes == start] = panel.share[position]
    return OneArea(small, outcome, label, codes, after, share)


def _position(panel: Panel, unit: Any) -> int:
    if not panel.is_panel:
        raise DesignError("PMG-CROSS-SECTION", "repeated cross-sections have no area to follow", fix="give unit=")
    treated = (panel.cohort <= panel.time_codes[-1]) & ~panel.always_treated
    found = np.flatnonzero(treated)
    if unit is not None:
        if not isinstance(unit, Hashable):
            raise DataError("PMG-UNIT", f"unit={unit!r} must be one area", fix="a call for each area")
        position = panel.units.get_indexer(pd.Index([unit]))[0]
        if position < 0 or not treated[position]:
            what = "is not in the panel" if position < 0 else "does not start treatment inside the window"
            raise DataError(
                "PMG-UNIT", f"unit={unit!r} {what}", where=list(panel.units[found]), fix="name a treated area"
            )
        return int(position)
    if len(found) == 0:
        raise DesignError("PMG-NO-TREATED", "no unit starts treatment inside the window")
    if len(found) > 1:
        raise DesignError(
            "PMG-ONE-AREA",
            f"{len(found)} areas are treated, and this method speaks of one",
            where=list(panel.units[found]),
            fix="name it (unit=...), or resample.placebo for all of them",
        )
    return int(found[0])


# --- panels under a null -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Window:
    """Periods that take part in a test, as if all of them lay before the start.

    One period is added behind them, because a panel needs a start. It holds the mean of each unit over the window, so
    that nothing in it depends on the order of the periods (time weights fitted to it are equal), and it stands as far
    behind as the window is long, so that no anticipation of the estimator reaches back into the window.

    Attributes
    ----------
    area : OneArea
    base, own : DataFrame
        Rows of the untreated units, and of the area by period; the added period included.
    codes : (T,) int
        Of the window.
    """

    area: OneArea
    base: pd.DataFrame
    own: pd.DataFrame
    codes: IntArray

    def panel(self, nulls: Array) -> tuple[Panel, list[Any]]:
        """A panel with the area once per null (rows of (m, T)), each without its effect; and the labels."""
        area, many = self.area, len(nulls)
        unit, time = area.panel.roles["unit"], area.panel.roles["time"]
        names = [area.unit] if many == 1 else _other_labels(area.panel.units, many)
        own = self.own.iloc[np.tile(np.arange(len(self.own)), many)].copy()
        values = self.own[area.outcome].to_numpy(dtype=np.float64)[:-1] - nulls
        own[area.outcome] = np.column_stack([values, values.mean(axis=1)]).ravel()
        own[unit] = pd.Index(names).repeat(len(self.own))
        roles = {role: name for role, name in area.panel.roles.items() if role in _KEPT_ROLES}
        table = pd.concat([self.base, own], ignore_index=True)
        return Panel(table, unit=unit, time=time, cohort=START, never=None, missing="pairwise", **roles), names


def window(area: OneArea, keep: Any, block: int = 1) -> Window:
    """The periods marked in ``keep`` (T,), or means over blocks of ``block`` of them (a multiple of it)."""
    panel = area.panel
    periods = np.flatnonzero(keep)
    codes = area.codes[periods][block - 1 :: block]
    place = np.full(panel.n_periods, -1)
    place[periods] = np.arange(len(periods)) // block
    rows = place[panel.row_time] >= 0
    frame, unit, place = panel.frame, panel.row_unit[rows], place[panel.row_time][rows]
    frame[area.outcome] = panel.column(area.outcome)
    frame = frame[rows]
    if block > 1:
        key = unit * len(codes) + place
        frame = _means(frame, key, panel.roles["unit"])
        unit, place = np.divmod(np.unique(key), len(codes))
    beyond = int(2 * codes[-1] - codes[0] + 1)
    table = pd.concat([frame, _means(frame, unit, panel.roles["unit"])], ignore_index=True)
    place = np.append(place, np.full(len(table) - len(frame), len(codes)))
    labels = pd.Index([panel.time_label(code) for code in (*codes, beyond)])
    table[panel.roles["time"]] = labels.take(place)
    mine = (table[panel.roles["unit"]] == area.unit).to_numpy()
    table[START] = labels.take(np.full(len(table), len(codes))).where(mine)
    own = np.flatnonzero(mine)
    return Window(area, table.loc[~mine], table.iloc[own[np.argsort(place[own])]], codes)


def _means(frame: pd.DataFrame, key: Any, unit: str) -> pd.DataFrame:
    """Means of the numbers of each group, the first of everything else."""
    numbers = [
        name
        for name in frame.columns
        if name != unit and pd.api.types.is_numeric_dtype(frame[name]) and not pd.api.types.is_bool_dtype(frame[name])
    ]
    how = {name: "mean" if name in numbers else "first" for name in frame.columns}
    return frame.groupby(key).agg(how).reset_index(drop=True)


def _other_labels(units: pd.Index[Any], many: int) -> list[Any]:
    """Labels that no unit has."""
    if pd.api.types.is_integer_dtype(units.dtype):
        free = np.setdiff1d(np.arange(len(units) + many), units.to_numpy())[:many]
        return list(free.tolist())
    mark = "null"
    while units.astype(str).str.startswith(mark).any():
        mark += "'"
    return [f"{mark} {number}" for number in range(many)]


# --- residuals ---------------------------------------------------------------------------------------------------


def prepared(estimator: Estimator) -> tuple[Estimator, int]:
    """The estimator for refits under a null, and how many nulls one call can take.

    An estimator with an option ``donors`` compares each treated unit with donors alone, so that the area can be in the
    panel once per null. A fit under a null that is far from the truth is poor by design: it is kept.
    """
    if not enumerates(estimator):
        return estimator, 1
    options = _parameters(estimator)
    known: Any = by_unit(estimator)
    if named_donors(estimator) is None:
        known = partial(known, donors="untreated")
    if "poor_fit" in options:
        known = partial(known, poor_fit="keep")
    return known, 64


def residuals(estimator: Estimator, many: int, frame: Window, nulls: Array) -> Array:
    """What the estimator leaves of the area in each period of the window, (m, T), under each null (m, T).

    Raises
    ------
    InferenceError
        PMG-NO-GAPS, PMG-SCALE.
    """
    parts = []
    for first in range(0, len(nulls), many):
        panel, names = frame.panel(nulls[first : first + many])
        found = quietly(estimator, panel, frame.area.outcome)
        parts.append(gaps(found, names, panel.time_codes, int(panel.time_codes[-1]))[:, :-1])
    return np.concatenate(parts)


def held_out(area: OneArea, period: int) -> tuple[Panel, IntArray, int]:
    """The panel with one earlier period (position in ``codes``) moved behind all others; its codes and start."""
    panel = area.panel
    codes = np.append(np.delete(area.codes, period), area.codes[-1] + 1)
    time = panel.time_codes[panel.row_time]
    time = np.where(time == area.codes[period], codes[-1], time)
    labels = pd.Index([panel.time_label(code) for code in codes])
    frame = panel.frame
    frame[area.outcome] = panel.column(area.outcome)
    frame[panel.roles["time"]] = labels.take(np.searchsorted(codes, time))
    own = (frame[panel.roles["unit"]] == area.unit).to_numpy()
    start = int(np.searchsorted(codes, area.start))  # the start may lie in a period that is not observed
    frame[START] = labels.take(np.full(len(frame), start)).where(own)
    roles = {role: name for role, name in panel.roles.items() if role in _KEPT_ROLES}
    made = Panel(
        frame,
        unit=panel.roles["unit"],
        time=panel.roles["time"],
        cohort=START,
        never=None,
        missing="pairwise",
        **roles,
    )
    return made, codes, int(codes[start])


def quietly(estimator: Estimator, panel: Panel, outcome: str) -> Estimate[Any]:
    """Estimate without the warnings of the library: they are said of the real fit, which is not among these."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        return estimator(panel, outcome)


def gaps(found: Estimate[Any], units: Sequence[Any], codes: IntArray, start: int, *, before: bool = True) -> Array:
    """Terms of units by period, (m, T); each has to be there, those before the start only with ``before``.

    Raises
    ------
    InferenceError
        PMG-NO-GAPS, PMG-SCALE.
    """
    terms = found.terms
    if found.scale != "identity":
        raise InferenceError(
            "PMG-SCALE",
            f"effects on a {found.scale} scale: residuals are differences",
            fix='rates as the outcome, with family="gaussian"',
        )
    lacking = not {"unit", "event_time"} <= set(terms.columns)
    if lacking or (before and not (terms["event_time"] < 0).any()):
        when = " before the start, so there are no residuals to exchange" if before else ""
        raise InferenceError(
            "PMG-NO-GAPS",
            f"the estimator has no gap per unit and period{when}",
            fix="synth.classic or synth.sdid; for other estimators resample.placebo or resample.randomize",
        )
    out = np.full((len(units), len(codes)), np.nan)
    row = pd.Index(units).get_indexer(pd.Index(terms["unit"]))
    time = terms["event_time"].to_numpy(dtype=np.float64, na_value=np.nan) + start
    column = np.minimum(np.searchsorted(codes, time), len(codes) - 1)
    known = (row >= 0) & (codes[column] == time)
    out[row[known], column[known]] = found.values[known]
    lost = np.isnan(out).any(axis=0) & (before | (codes >= start))
    if lost.any():
        reasons = dict.fromkeys(text for text in terms["status"].astype(str) if text not in ("", REFERENCE))
        raise InferenceError(
            "PMG-NO-GAPS",
            "the estimator leaves no residual of the area in some periods" + "".join(f"; {text}" for text in reasons),
            where=codes[lost].tolist(),
            fix="an estimator that fits every period before the start",
        )
    return out
