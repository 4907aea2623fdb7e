"""Predictors of a synthetic control: averages of columns over periods before the start."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmg_eval.errors import DataError, DesignError
from pmg_eval.numerics.rows import Array
from pmg_eval.synth._door import Design, Positions


@dataclass(frozen=True)
class Predictor:
    """The mean of a column over some periods; missing values are left out.

    Attributes
    ----------
    column : column name
        Numeric; the outcome itself is a column too (lagged outcomes).
    periods : (first, last), optional
        Labels of periods, both included. Default: all periods of the unit before its start (and before anticipation).
    name : str
        How tables call it; by default the column and the periods.

    Examples
    --------
    >>> Predictor("income", (1985, 1993)).name
    'income 1985-1993'
    """

    column: Hashable
    periods: tuple[Any, Any] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        column, periods = _given(self.column), _given(self.periods)
        if not isinstance(column, Hashable) or column is None:
            raise DataError("PMG-PREDICTOR", "a predictor needs the name of one column", fix='Predictor("income")')
        if periods is not None:
            if not isinstance(periods, tuple | list) or len(periods) != 2:
                raise DataError(
                    "PMG-PREDICTOR",
                    f"periods of predictor {self.column!r} must be (first, last)",
                    fix="one period twice for a single one: (1990, 1990)",
                )
            object.__setattr__(self, "periods", tuple(periods))
        if not self.name:
            span = "" if periods is None else f" {periods[0]}-{periods[1]}"
            object.__setattr__(self, "name", f"{self.column}{span}")


def _given(value: Any) -> Any:
    """What the caller gave, whatever the annotation promised."""
    return value


def importance(predictors: Sequence[Predictor] | None, v: Sequence[float] | None) -> Array | None:
    """Weights of the predictors, summing to one; None without predictors.

    Raises
    ------
    DataError
        PMG-V, PMG-PREDICTOR.
    """
    if predictors is None:
        if v is not None:
            raise DataError("PMG-V", "v weighs predictors, and there are none", fix="predictors=[synth.Predictor(...)]")
        return None
    if not _are_predictors(predictors):
        raise DataError(
            "PMG-PREDICTOR", "predictors must be a list of synth.Predictor", fix='[synth.Predictor("income")]'
        )
    if v is None:
        raise DataError(
            "PMG-V",
            "predictors need their importance v: choosing it by the fit before the start (nested V) is not there yet",
            fix="v=[1] * number of predictors weighs them equally; without predictors the outcome itself is fitted",
        )
    try:
        weights = np.asarray(list(v), dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("PMG-V", "v must be a list of numbers", fix="one number for each predictor") from None
    if (
        weights.shape != (len(predictors),)
        or not np.isfinite(weights).all()
        or (weights < 0).any()
        or not weights.any()
    ):
        raise DataError(
            "PMG-V",
            f"v must be {len(predictors)} numbers, not negative and not all zero",
            fix="one number for each predictor",
        )
    return np.asarray(weights / weights.sum())


def _are_predictors(given: Any) -> bool:
    return isinstance(given, Sequence) and len(given) > 0 and all(isinstance(item, Predictor) for item in given)


class Table:
    """Values of the predictors, for the window that each unit asks for."""

    def __init__(self, design: Design, predictors: Sequence[Predictor], v: Array) -> None:
        self.design, self.predictors, self.v = design, tuple(predictors), v
        self._last = design.panel.cohort[design.treated] - design.anticipation
        self._fixed = {number: self._mean(item, self._span(item)) for number, item in enumerate(predictors)}

    def _span(self, item: Predictor) -> Any:
        """Mask (T,) of the predictor's own periods; None for those of each unit."""
        if item.periods is None:
            return None
        panel = self.design.panel
        first, last = (panel.time_code(label) for label in item.periods)
        inside = (panel.time_codes >= first) & (panel.time_codes <= last)
        if not inside.any():
            raise DataError("PMG-PREDICTOR", f"predictor {item.name!r} has no observed period", fix="check its periods")
        late = panel.units[self.design.treated[self._last <= panel.time_codes[inside][-1]]]
        if len(late):
            raise DesignError(
                "PMG-PREDICTOR-POST",
                f"predictor {item.name!r} uses periods in which the programme may already have worked",
                where=list(late),
                fix="end its periods before the earliest start (and anticipation), or leave periods out",
            )
        return inside

    def _mean(self, item: Predictor, span: Any) -> Array | None:
        if span is None:
            return None
        values = self.design.panel.wide(item.column)[:, span]
        seen = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(seen, values, 0.0).sum(axis=1) / seen.sum(axis=1))

    def of(self, unit: int, donors: Positions, before: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Predictors of the donors (M, J) and of the unit (M,), in the column's units.

        ``before`` (T,) marks the periods of predictors without periods of their own.

        Raises
        ------
        DataError
            PMG-PREDICTOR-MISSING (no value in all periods), PMG-PREDICTOR-CONSTANT.
        """
        rows = []
        for number, item in enumerate(self.predictors):
            fixed = self._fixed[number]
            row = self._mean(item, before) if fixed is None else fixed
            rows.append(row)
        everybody = np.append(donors, unit)
        table = np.array(rows)[:, everybody]
        self._check(table, everybody)
        return table[:, :-1], table[:, -1]

    def scaled(self, unit: int, donors: Positions, before: NDArray[np.bool_]) -> tuple[Array, Array]:
        r"""The same over their standard deviation (treated and donors, as R Synth does), times :math:`\sqrt v`."""
        controls, own = self.of(unit, donors, before)
        spread = np.column_stack([controls, own]).std(axis=1, ddof=1)
        factor = np.sqrt(self.v) / spread
        return factor[:, None] * controls, factor * own

    def _check(self, table: Array, everybody: Positions) -> None:
        missing = np.argwhere(~np.isfinite(table))
        if len(missing):
            units = self.design.panel.units
            raise DataError(
                "PMG-PREDICTOR-MISSING",
                "predictors without a finite value in their periods",
                where=[f"{self.predictors[m].name} of {units[everybody[j]]}" for m, j in missing],
                fix="other periods, or donors= without these units",
            )
        constant = np.flatnonzero(np.ptp(table, axis=1) == 0)
        if len(constant):
            raise DataError(
                "PMG-PREDICTOR-CONSTANT",
                "predictors that are the same for the area and all its donors",
                where=[self.predictors[m].name for m in constant],
                fix="leave them out: they cannot tell donors apart",
            )
