"""What the estimators of this family ask of their arguments before they look at the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pmg_eval.errors import DataError
from pmg_eval.panel import Panel


def need_option(name: str, value: object, allowed: Sequence[Any]) -> None:
    """Refuse an option that no data could make right."""
    if not isinstance(value, str | bool) or value not in allowed:
        raise DataError("PMG-OPTION", f"unknown {name}={value!r}", fix=f"one of {', '.join(map(str, allowed))}")


def need_anticipation(value: object) -> None:
    """Refuse anything but a whole number of periods."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise DataError(
            "PMG-OPTION", f"anticipation={value!r} must be a number of periods, 0 or more", fix="for example 1"
        )


def need_formula(value: object) -> None:
    """Refuse covariates that are not a formula."""
    if not (value is None or isinstance(value, str)):
        raise DataError("PMG-OPTION", "covariates must be a formula", fix='for example covariates="~ x + z"')


def need_counts(panel: Panel, outcome: str) -> None:
    """Refuse negative values where a rate is estimated."""
    negative = np.flatnonzero(panel.column(outcome) < 0)
    if len(negative):
        units, times = panel.units[panel.row_unit[negative]], panel.times[panel.row_time[negative]]
        raise DataError(
            "PMG-NEGATIVE",
            f'{outcome!r} has negative values; family="poisson" needs counts',
            where=[f"{unit} in {time}" for unit, time in zip(units, times, strict=True)],
            fix='family="gaussian", or check the data',
        )
