"""`Panel`: validated, frozen unit x period data with roles."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError
from pmg_eval.panel import _missing, _show
from pmg_eval.panel._check import build
from pmg_eval.panel._core import Core
from pmg_eval.panel._fingerprint import fingerprint
from pmg_eval.panel._ingest import BoolArray, FloatArray, IntArray, frozen
from pmg_eval.panel._report import Notice
from pmg_eval.panel._table import Request

_SHALLOW_IS_SAFE = int(pd.__version__.split(".")[0]) >= 3  # copy-on-write


class Panel:
    """Units followed over periods, with what the columns mean; validated once, then frozen.

    Parameters
    ----------
    df : pandas or polars DataFrame, or pyarrow Table
        One row per unit and period, in any order and with any index; never changed.
    unit : column name or None
        Integers or text. None: repeated cross-sections, every row is its own unit.
    time : column name
        Whole years (or any integer count of periods), pandas Periods, or dates with ``freq``. Text is refused.
    cohort : column name, optional
        First treated period, of the same kind as ``time``, constant within the unit. Exactly one of ``cohort`` and
        ``treatment`` is needed.
    treatment : column name, optional
        0/1 path; the cohort is the first period with 1. Switching off is refused.
    dose : column name, optional
        Amount of treatment per row, not negative.
    weight : column name, optional
        Sampling or importance weight per row, not negative; the unit's weight is that of its first period.
    cluster : column name or list of them, optional
        Labels for dependence; constant within units, or labels of rows only (with a notice).
    exposure : column name, optional
        Person-years behind a count, positive; nothing else.
    region : column name, optional
        Label of the area a unit lies in.
    neighbors : mapping unit -> list of units, or table with two columns, optional
        Borders; given in one direction they count in both.
    contaminated_from : column name, optional
        First period in which a comparison unit got something like the treatment; missing or +inf means clean.
    focus_share : column name, optional
        Share in (0, 1] of the unit's outcome that lies in the area really treated; may be missing for never treated.
    freq : {"Y", "Q", "M"}, optional
        What one period is, needed when periods are dates.
    never : scalar or None, default inf
        What in ``cohort`` means never treated, besides +inf: a code such as 0, or None for a missing value.
    partial_period : {"treated", "drop", "share"}, optional
        What to do when treatment starts inside a period: count it as treated, leave the unit's row of that period
        out (the next one is the first), or keep the treated share of it. None refuses.
    missing : {"error", "pairwise", "drop_unit"}
        Policy of :meth:`for_outcome`.
    selection_window : (start, end), optional
        Periods on whose outcomes the treated units were selected.

    Raises
    ------
    DataError
        With *all* problems found in ``problems``; the codes are listed in ``pmg_eval.panel._check``.
    DesignError
        PMG-NO-TREATED, PMG-NO-CONTROL.

    Notes
    -----
    Calendar code: the year (or integer) itself, or ``Period.ordinal``; event time is ``time code - cohort code``, so
    gaps in the observed periods do not shorten it. Rows in messages count from 0, as in ``df.iloc``.

    Examples
    --------
    >>> import pandas as pd
    >>> from pmg_eval.panel import Panel
    >>> df = pd.DataFrame({"area": [1, 1, 2, 2], "year": [2022, 2023] * 2, "wave": [2023, 2023, 0, 0]})
    >>> df["y"] = [4, 3, 5, 5]
    >>> panel = Panel(df, unit="area", time="year", cohort="wave", never=0)
    >>> panel.for_outcome("y").wide("y")
    array([[4., 3.],
           [5., 5.]])
    """

    __slots__ = ("__weakref__", "_cache", "_core", "_wide")

    _core: Core
    _wide: dict[Any, FloatArray]
    _cache: dict[str, Any]

    def __init__(
        self,
        df: Any,
        *,
        unit: Hashable | None,
        time: Hashable,
        cohort: Hashable | None = None,
        treatment: Hashable | None = None,
        dose: Hashable | None = None,
        weight: Hashable | None = None,
        cluster: Hashable | Sequence[Hashable] | None = None,
        exposure: Hashable | None = None,
        region: Hashable | None = None,
        neighbors: Any = None,
        contaminated_from: Hashable | None = None,
        focus_share: Hashable | None = None,
        freq: Literal["Y", "Q", "M"] | None = None,
        never: Any = np.inf,
        partial_period: Literal["treated", "drop", "share"] | None = None,
        missing: Literal["error", "pairwise", "drop_unit"] = "error",
        selection_window: tuple[Any, Any] | None = None,
    ) -> None:
        request = Request(
            unit=unit,
            time=time,
            cohort=cohort,
            treatment=treatment,
            dose=dose,
            weight=weight,
            cluster=cluster,
            exposure=exposure,
            region=region,
            neighbors=neighbors,
            contaminated_from=contaminated_from,
            focus_share=focus_share,
            freq=freq,
            never=never,
            partial_period=partial_period,
            missing=missing,
            selection_window=selection_window,
        )
        self._fill(build(df, request), {})

    def _fill(self, core: Core, wide: dict[Any, FloatArray]) -> None:
        object.__setattr__(self, "_core", core)
        object.__setattr__(self, "_wide", wide)
        object.__setattr__(self, "_cache", {})

    @classmethod
    def _of(cls, core: Core, wide: dict[Any, FloatArray] | None = None) -> Panel:
        """A panel around arrays that are known to be sound."""
        panel = object.__new__(cls)
        panel._fill(core, {} if wide is None else wide)
        return panel

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"Panel is frozen: cannot set {name!r}; make a new one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Panel is frozen: cannot delete {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Panel._of, (self._core,))

    def __repr__(self) -> str:
        return _show.text(self._core)

    def _repr_html_(self) -> str:
        return _show.html(self._core)

    # ---- sizes ----------------------------------------------------------------------------------------------------

    @property
    def is_panel(self) -> bool:
        """False for repeated cross-sections (``unit=None``)."""
        return self._core.is_panel

    @property
    def n_units(self) -> int:
        return self._core.n_units

    @property
    def n_periods(self) -> int:
        return len(self._core.time_codes)

    @property
    def n_rows(self) -> int:
        return len(self._core.row_unit)

    @property
    def balanced(self) -> bool:
        """Whether every unit has a row in every period."""
        return self.is_panel and self.n_rows == self.n_units * self.n_periods

    # ---- labels ---------------------------------------------------------------------------------------------------

    @property
    def units(self) -> pd.Index[Any]:
        """Labels (n,), sorted; row numbers for repeated cross-sections."""
        index: pd.Index[Any] = self._cached("units", lambda: self._core.units)
        return index

    @property
    def times(self) -> pd.Index[Any]:
        """Labels (T,) of the observed periods, ascending: integers, or a PeriodIndex."""
        index: pd.Index[Any] = self._cached("times", lambda: self._core.times)
        return index

    @property
    def time_codes(self) -> IntArray:
        """Calendar codes (T,)."""
        return self._core.time_codes

    def time_label(self, code: float) -> Any:
        """Label of a calendar code: an int, or a Period."""
        return self._core.calendar.label(int(code))

    def time_code(self, label: Any) -> int:
        """Calendar code of a label (observed or not).

        Raises
        ------
        DataError
            PMG-TIME-TYPE when the label is not of this panel's kind.
        """
        code = self._core.calendar.code(label)
        if code is None:
            kind = "an integer" if self.freq is None else f"a Period of frequency {self.freq} or a date"
            raise DataError("PMG-TIME-TYPE", f"{label!r} is not a period of this panel", fix=f"give {kind}")
        return code

    @property
    def freq(self) -> str | None:
        """Pandas frequency of the periods; None for plain integers."""
        return self._core.calendar.freq

    @property
    def unit_labels(self) -> pd.DataFrame:
        """Labels of units (n rows): ``unit``, the unit column, cluster and region columns constant within units."""
        root, index = self._core.root, self._core.unit_index
        labels = self._cached(
            "unit_labels",
            lambda: root.unit_labels if index is None else root.unit_labels.take(index).reset_index(drop=True),
        )
        return _lent(labels)

    @property
    def row_labels(self) -> pd.DataFrame:
        """Labels of rows (N rows): those of the units, ``time``, and cluster columns that vary within units."""
        root, rows = self._core.root, self._core.rows
        labels = self._cached(
            "row_labels",
            lambda: root.row_labels if rows is None else root.row_labels.take(rows).reset_index(drop=True),
        )
        return _lent(labels)

    # ---- arrays ---------------------------------------------------------------------------------------------------

    @property
    def frame(self) -> pd.DataFrame:
        """All columns, rows sorted by (unit, time), RangeIndex; a copy that may be changed."""
        root, rows = self._core.root, self._core.rows
        frame = self._cached(
            "frame", lambda: root.frame if rows is None else root.frame.take(rows).reset_index(drop=True)
        )
        return _lent(frame)

    @property
    def row_unit(self) -> IntArray:
        """Position (N,) of each row's unit in ``units``."""
        return self._core.row_unit

    @property
    def row_time(self) -> IntArray:
        """Position (N,) of each row's period in ``times``."""
        return self._core.row_time

    @property
    def cohort(self) -> FloatArray:
        """First treated calendar code (n,); +inf is never treated."""
        return self._core.cohort

    @property
    def share(self) -> FloatArray | None:
        """Treated share (n,) of the first treated period with ``partial_period="share"``, else None."""
        return self._core.share

    @property
    def always_treated(self) -> BoolArray:
        """Units (n,) treated from the first period on; estimators leave them out."""
        mask: BoolArray = self._cached("always_treated", lambda: frozen(self._core.always_treated))
        return mask

    @property
    def weight(self) -> FloatArray:
        """Weight (N,) of rows; ones without the role."""
        return self._core.weight

    @property
    def unit_weight(self) -> FloatArray:
        """Weight (n,) of units: that of the first observed row."""
        return self._core.unit_weight

    @property
    def exposure(self) -> FloatArray | None:
        """Person-years (N,)."""
        return self._core.exposure

    @property
    def dose(self) -> FloatArray | None:
        """Amount of treatment (N,)."""
        return self._core.dose

    @property
    def focus_share(self) -> FloatArray | None:
        """Share (n,) of the outcome in the area really treated; NaN only for never treated."""
        return self._core.focus_share

    @property
    def contaminated_from(self) -> FloatArray:
        """First contaminated calendar code (n,); +inf is clean."""
        return self._core.contaminated_from

    @property
    def neighbors(self) -> IntArray | None:
        """Borders (E, 2) as positions in ``units``, both directions, sorted."""
        return self._core.neighbors

    @property
    def selection_window(self) -> tuple[int, int] | None:
        """Calendar codes (first, last) of the selection window."""
        return self._core.selection_window

    @property
    def roles(self) -> dict[str, Any]:
        """What was declared: role -> column name, and the options given."""
        return dict(self._core.roles)

    @property
    def missing(self) -> str:
        """The policy of :meth:`for_outcome`."""
        return self._core.policy

    @property
    def partial_period(self) -> str | None:
        """The declared treatment of starts inside a period."""
        return self._core.partial_period

    @property
    def notes(self) -> tuple[Notice, ...]:
        """What was dropped or assumed; belongs in the provenance of every result."""
        return self._core.notes

    # ---- columns --------------------------------------------------------------------------------------------------

    def column(self, name: Hashable) -> FloatArray:
        """A column (N,) as float64, NaN where missing (read-only).

        Raises
        ------
        DataError
            PMG-COLUMN, PMG-COLUMN-TYPE.
        """
        return self._core.on_rows(self._core.root.column(name))

    def wide(self, name: Hashable) -> FloatArray:
        """A column as (n, T) float64, NaN where not observed (read-only, cached).

        Raises
        ------
        DataError
            PMG-COLUMN, PMG-COLUMN-TYPE.
        DesignError
            PMG-CROSS-SECTION for repeated cross-sections.
        """
        if name not in self._wide:
            self._wide[name] = frozen(self.wide_rows(self.column(name)))
        return self._wide[name]

    def wide_rows(self, values: FloatArray) -> FloatArray:
        """Values of rows (N,) as (n, T), NaN where there is no row."""
        if not self.is_panel:
            raise DesignError(
                "PMG-CROSS-SECTION",
                "repeated cross-sections have no unit x period table",
                fix="give unit= if the same units are observed again",
            )
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (self.n_rows,):
            raise DataError("PMG-SHAPE", f"values of shape {values.shape}, rows are {self.n_rows}")
        if self.balanced:
            return values.reshape(self.n_units, self.n_periods).copy()
        out = np.full((self.n_units, self.n_periods), np.nan)
        out[self.row_unit, self.row_time] = values
        return out

    # ---- other panels ---------------------------------------------------------------------------------------------

    def for_outcome(self, outcome: Hashable, columns: Sequence[Hashable] = ()) -> Panel:
        """The panel with the missing policy applied to an outcome and covariates.

        Parameters
        ----------
        outcome : column name
            Numeric and finite; truth values are read as 0/1.
        columns : sequence of column names
            Covariates; text and categories are allowed.

        Returns
        -------
        Panel
            Itself when the policy was applied to these columns before.

        Raises
        ------
        DataError
            PMG-COLUMN, PMG-OUTCOME-*, PMG-COVARIATE-*, PMG-EXPOSURE-MISSING, PMG-ROW-ABSENT, PMG-COMPLETE.
        DesignError
            PMG-NO-TREATED, PMG-NO-CONTROL for what is left.

        Warns
        -----
        PmgEvalWarning
            PMG-MISSING-BASE, PMG-MISSING-ARM, PMG-FLOAT32.
        """
        names = (columns,) if isinstance(columns, str) else tuple(columns)
        core = _missing.for_outcome(self._core, outcome, names)
        if core is self._core:
            return self
        return Panel._of(core, self._wide if core.rows is self._core.rows else None)

    def select(self, units: BoolArray) -> Panel:
        """Only the units marked in a mask (n,), all periods; not validated again."""
        mask = self._unit_array(units, np.bool_)
        index = np.flatnonzero(mask)
        wide = {name: frozen(values[index]) for name, values in self._wide.items()}
        return Panel._of(self._core.take_units(mask), wide)

    def select_rows(self, rows: BoolArray) -> Panel:
        """Only the rows marked in a mask (N,); units and periods without a row left disappear; not validated again."""
        mask = np.asarray(rows)
        if mask.dtype != np.bool_ or mask.shape != (self.n_rows,):
            raise DataError("PMG-SHAPE", f"a boolean mask of {self.n_rows} rows is needed")
        return Panel._of(self._core.without_rows(~mask))

    def with_cohort(self, cohort: FloatArray, share: FloatArray | None = None) -> Panel:
        """The same data with other start dates (n,) (calendar codes, +inf = never); not validated again.

        ``frame`` keeps the original columns: estimators read :attr:`cohort`.
        """
        core = replace(
            self._core,
            cohort=frozen(self._unit_array(cohort, np.float64).copy()),
            share=None if share is None else frozen(self._unit_array(share, np.float64).copy()),
        )
        return Panel._of(core, self._wide)

    def with_values(self, name: Hashable, values: FloatArray) -> Panel:
        """The same data with other values (N,) of a numeric column without a role (an outcome); not validated again.

        Raises DataError: PMG-ROLES for a column that has a role; PMG-SHAPE, PMG-COLUMN, PMG-COLUMN-TYPE.
        """
        core = self._core.with_values(name, np.asarray(values, dtype=np.float64))
        return Panel._of(core, {other: known for other, known in self._wide.items() if other != name})

    def with_weight(self, multiplier: FloatArray) -> Panel:
        """The same data with the weights of units multiplied by (n,); not validated again."""
        factor = self._unit_array(multiplier, np.float64)
        core = replace(
            self._core,
            weight=frozen(self._core.weight * factor[self._core.row_unit]),
            unit_weight=frozen(self._core.unit_weight * factor),
        )
        return Panel._of(core, self._wide)

    def _unit_array(self, values: Any, dtype: Any) -> Any:
        array = np.asarray(values)
        if array.shape != (self.n_units,) or (dtype is np.bool_ and array.dtype != np.bool_):
            kind = "boolean mask" if dtype is np.bool_ else "array"
            raise DataError("PMG-SHAPE", f"a {kind} of {self.n_units} units is needed, got shape {array.shape}")
        return array.astype(dtype, copy=False)

    # ---- record ---------------------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """SHA-256 of labels, periods, roles' arrays and the columns :meth:`for_outcome` was called with.

        Independent of row order, index, integer width, container and unrelated columns.
        """
        value: str = self._cached("fingerprint", lambda: fingerprint(self._core))
        return value

    def _cached(self, name: str, make: Any) -> Any:
        if name not in self._cache:
            self._cache[name] = make()
        return self._cache[name]


def _lent(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame the caller may change without changing ours."""
    return frame.copy(deep=not _SHALLOW_IS_SAFE)
