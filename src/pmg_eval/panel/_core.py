"""The immutable content of a panel: one shared `Root` (the sorted input) and a small `Core` of arrays that are sliced.

A sub-panel (leave-one-out, placebo) holds positions into its root instead of a copy, so that thousands of them cost
microseconds each; labels and frames are cut out only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, Problem
from pmg_eval.panel._ingest import BoolArray, FloatArray, IntArray, column_problem, frozen, numeric
from pmg_eval.panel._report import Notice
from pmg_eval.panel._time import Calendar

_COLUMN_ROLES = (
    *("unit", "time", "cohort", "treatment", "dose", "weight", "exposure", "region", "contaminated_from"),
    "focus_share",
)


@dataclass(frozen=True, eq=False)
class Root:
    """The validated table in (unit, time) order, shared by all panels that come from it.

    ``unit_label_columns`` are constant within units, ``row_label_columns`` vary; both are kernel labels.
    """

    frame: pd.DataFrame
    units: pd.Index[Any]
    times: pd.Index[Any]
    row_unit: IntArray
    row_time: IntArray
    unit_label_columns: Mapping[str, Any]
    row_label_columns: tuple[str, ...]
    _columns: dict[Any, FloatArray] = field(default_factory=dict, repr=False)
    _labels: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    def series(self, name: Any, role: str = "column") -> pd.Series[Any]:
        problem = column_problem(self.frame, name, role)
        if problem is not None:
            raise DataError.of((problem,))
        out: pd.Series[Any] = self.frame[name]
        return out

    def numbers(self, name: Any) -> FloatArray | None:
        """Column (N,) as float64, None when it is not numeric; raises PMG-COLUMN."""
        if name not in self._columns:
            values = numeric(self.series(name))
            if values is None:
                return None
            self._columns[name] = values
        return self._columns[name]

    def column(self, name: Any) -> FloatArray:
        """Column (N,) as float64; raises PMG-COLUMN or PMG-COLUMN-TYPE."""
        values = self.numbers(name)
        if values is None:
            raise DataError("PMG-COLUMN-TYPE", f"column {name!r} is not numeric", fix="convert it to numbers first")
        return values

    def with_column(self, name: Any, values: FloatArray) -> Root:
        """The same table with other numbers (N,) in a column; whole numbers stay integers."""
        integer = self.series(name).dtype.kind in "iu"
        whole = integer and bool(np.isfinite(values).all()) and bool((values == np.rint(values)).all())
        frame = self.frame.copy(deep=False)
        frame[name] = values.astype(np.int64) if whole else values
        return replace(self, frame=frame, _columns={**self._columns, name: frozen(values)})

    @property
    def unit_labels(self) -> pd.DataFrame:
        if "unit" not in self._labels:
            columns = {"unit": self.units, **self.unit_label_columns}
            self._labels["unit"] = pd.DataFrame(columns, index=pd.RangeIndex(len(self.units)))
        return self._labels["unit"]

    @property
    def row_labels(self) -> pd.DataFrame:
        if "row" not in self._labels:
            labels = self.unit_labels.take(self.row_unit).reset_index(drop=True)
            labels["time"] = self.times.take(self.row_time)
            for name in self.row_label_columns:
                labels[name] = self.frame[name].array
            self._labels["row"] = labels
        return self._labels["row"]


@dataclass(frozen=True, eq=False)
class Core:
    """Arrays of one panel; shapes as documented on :class:`pmg_eval.panel.Panel`.

    ``rows`` and ``unit_index`` are positions into the root (None = all); ``exempt`` (n, T) marks cells that were
    taken out by declaration (``partial_period="drop"``) and therefore are not missing; ``complete`` names the columns
    to which the missing policy has been applied.
    """

    root: Root
    is_panel: bool
    calendar: Calendar
    time_codes: IntArray
    row_unit: IntArray
    row_time: IntArray
    n_units: int
    cohort: FloatArray
    share: FloatArray | None
    weight: FloatArray
    unit_weight: FloatArray
    exposure: FloatArray | None
    contaminated_from: FloatArray
    dose: FloatArray | None
    focus_share: FloatArray | None
    neighbors: IntArray | None
    exempt: BoolArray | None
    selection_window: tuple[int, int] | None
    roles: Mapping[str, Any]
    policy: str
    partial_period: str | None
    notes: tuple[Notice, ...] = ()
    rows: IntArray | None = None
    unit_index: IntArray | None = None
    complete: frozenset[Any] = frozenset()

    def take_units(self, keep: BoolArray) -> Core:
        """Only the units marked; all periods stay."""
        index = np.flatnonzero(keep)
        row_keep = np.flatnonzero(keep[self.row_unit]) if self.is_panel else index
        position = np.cumsum(keep) - 1
        return self._taken(row_keep, index, position)

    def without_rows(self, cut: BoolArray) -> Core:
        """The rows marked are left out on purpose: their cells do not count as missing afterwards."""
        if not self.is_panel:
            return self.take_rows(~cut)
        exempt = np.zeros((self.n_units, len(self.time_codes)), dtype=np.bool_)
        exempt[self.row_unit[cut], self.row_time[cut]] = True
        if self.exempt is not None:
            exempt |= self.exempt
        return replace(self, exempt=frozen(exempt)).take_rows(~cut)

    def take_rows(self, keep: BoolArray) -> Core:
        """Only the rows marked; units and periods without a row left disappear."""
        row_keep = np.flatnonzero(keep)
        seen_unit = np.zeros(self.n_units, dtype=np.bool_)
        seen_unit[self.row_unit[row_keep]] = True
        core = self._taken(row_keep, np.flatnonzero(seen_unit), np.cumsum(seen_unit) - 1)
        seen_time = np.zeros(len(self.time_codes), dtype=np.bool_)
        seen_time[core.row_time] = True
        if seen_time.all():
            return core
        return replace(
            core,
            time_codes=frozen(core.time_codes[seen_time]),
            row_time=frozen((np.cumsum(seen_time) - 1)[core.row_time]),
            exempt=None if core.exempt is None else frozen(core.exempt[:, seen_time]),
        )

    def _taken(self, rows: IntArray, units: IntArray, position: IntArray) -> Core:
        def per_row(values: FloatArray | None) -> FloatArray | None:
            return None if values is None else frozen(values[rows])

        def per_unit(values: FloatArray | None) -> FloatArray | None:
            return None if values is None else frozen(values[units])

        neighbors = self.neighbors
        if neighbors is not None:
            kept = np.zeros(self.n_units, dtype=np.bool_)
            kept[units] = True
            neighbors = frozen(position[neighbors[kept[neighbors].all(axis=1)]])
        return replace(
            self,
            row_unit=frozen(position[self.row_unit[rows]]),
            row_time=frozen(self.row_time[rows]),
            n_units=len(units),
            cohort=frozen(self.cohort[units]),
            share=per_unit(self.share),
            weight=frozen(self.weight[rows]),
            unit_weight=frozen(self.unit_weight[units]),
            exposure=per_row(self.exposure),
            contaminated_from=frozen(self.contaminated_from[units]),
            dose=per_row(self.dose),
            focus_share=per_unit(self.focus_share),
            neighbors=neighbors,
            exempt=None if self.exempt is None else frozen(self.exempt[units]),
            rows=frozen(rows if self.rows is None else self.rows[rows]),
            unit_index=frozen(units if self.unit_index is None else self.unit_index[units]),
        )

    @property
    def units(self) -> pd.Index[Any]:
        return self.root.units if self.unit_index is None else self.root.units.take(self.unit_index)

    @property
    def times(self) -> pd.Index[Any]:
        return self.calendar.index(self.time_codes)

    def on_rows(self, root_values: FloatArray) -> FloatArray:
        return root_values if self.rows is None else frozen(root_values[self.rows])

    @property
    def always_treated(self) -> BoolArray:
        first = self.time_codes[0] if len(self.time_codes) else 0
        return self.cohort <= first

    @property
    def arm(self) -> BoolArray:
        """Units (n,) whose treatment has started by the last period."""
        last = self.time_codes[-1] if len(self.time_codes) else 0
        return self.cohort <= last

    def with_values(self, name: Any, values: FloatArray) -> Core:
        """See :meth:`pmg_eval.panel.Panel.with_values`."""
        given = self.roles
        if any(name == given[role] for role in _COLUMN_ROLES if role in given) or name in given.get("cluster", ()):
            raise DataError("PMG-ROLES", f"column {name!r} has a role", fix="make another Panel")
        if values.shape != self.row_unit.shape:
            raise DataError("PMG-SHAPE", f"values of shape {values.shape}, rows are {len(self.row_unit)}")
        every = self.root.column(name).copy()
        every[slice(None) if self.rows is None else self.rows] = values
        return replace(self, root=self.root.with_column(name, every))


def design_problem(core: Core) -> Problem | None:
    """Whether somebody starts treatment inside the window, and somebody else is untreated at that date."""
    usable = core.cohort[~core.always_treated]
    starts = usable[usable <= core.time_codes[-1]]
    if len(starts) == 0:
        what = "no unit starts treatment inside the observed periods"
        if core.always_treated.any():
            what += f" ({int(core.always_treated.sum())} are treated from the first period on, with nothing before)"
        return Problem("PMG-NO-TREATED", what, (), "check the cohort column and the window of the data")
    first = int(starts.min())
    if not np.any(usable > first):
        return Problem(
            "PMG-NO-CONTROL",
            f"all units start treatment in {core.calendar.label(first)}: nobody is left to compare with after that",
            (),
            "add units that are never treated or treated later",
        )
    return None


def raise_design(problem: Problem | None) -> None:
    if problem is not None:
        raise DesignError.of((problem,))
