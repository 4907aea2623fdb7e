"""Follow-up times: what was asked for, what is the default, and what the data can say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.panel._spells_read import TIME_UNITS
from pmg_eval.recidivism._risk import FOREVER, Curve, Whole

Horizon = int | str
FEW = 10
_MOST_YEARS = 5


def resolve(horizons: Any, unit: str, start: int | None) -> list[int] | None:
    """Whole numbers in the time unit, ascending; ``"2y"`` is two years (730 days).

    Raises
    ------
    DataError
        PMG-HORIZON-TYPE.
    """
    if horizons is None:
        return None
    given = [horizons] if isinstance(horizons, str) or np.ndim(horizons) == 0 else list(horizons)
    found = sorted({one_time(value, unit, "horizons") for value in given})
    if not found:
        raise DataError("PMG-HORIZON-TYPE", "horizons= names none", fix=f"for example {TIME_UNITS[unit]} or '1y'")
    if start is not None and found[0] <= start:
        raise DataError(
            "PMG-HORIZON-TYPE", f"horizon {found[0]} is not after start={start}", fix="horizons count from day 0, too"
        )
    return found


def one_time(value: Any, unit: str, name: str) -> int:
    """One time in the unit of the data."""
    if isinstance(value, str) and value.endswith("y") and value[:-1].isdigit():
        return int(value[:-1]) * TIME_UNITS[unit]
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0:
        return int(value)
    raise DataError(
        "PMG-HORIZON-TYPE",
        f"{name}={value!r} must be whole {unit}, 0 or more",
        fix=f'for example {TIME_UNITS[unit]}, or "1y"',
    )


def last_identified(curve: Curve) -> int:
    """The latest day on which the curve of a group is identified; ``FOREVER`` when everybody has had an event."""
    if curve.blocked != FOREVER:
        return curve.blocked - 1
    return FOREVER if curve.ended else curve.last


def default_horizons(curves: Iterable[Curve], unit: str, start: int | None, most: int) -> list[int]:
    """Whole years (at most five) that half of the groups reach, and the last time at which every group is identified.

    A group reaches a time when it is identified then and ten are still at risk. With many groups the list stays
    shorter than ``most``: only the last year.
    """
    year = TIME_UNITS[unit]
    longest, common = 0, FOREVER
    reached = []
    for curve in curves:
        known = last_identified(curve)
        longest, common = max(longest, curve.last), min(common, known)
        many = np.flatnonzero(curve.risk >= FEW)
        reached.append(min(known, int(curve.days[many[-1]])) if len(many) else known)
    common = longest if common == FOREVER else common
    half = sorted(reached)[len(reached) // 2]
    first = -1 if start is None else start
    years = [time for time in range(year, (_MOST_YEARS + 1) * year, year) if first < time <= min(half, longest)]
    found = sorted({*years, *([common] if common > first else [])})
    if len(found) > most:
        found = years[-1:] or found[-1:]
    return found or [longest]


def why_not(curve: Curve, time: int, unit: str) -> str:
    """Why the curve is not identified at a time; empty when it is."""
    if not len(curve.days):
        return "nobody of this group is at risk after the start"
    if time >= curve.blocked:
        if curve.blocked <= 0:
            return f"nobody is at risk at first: start={curve.restart} gives the share among those event-free then"
        return (
            f"the risk set was empty on day {curve.blocked} and others entered later: start={curve.restart} gives the "
            "share among those event-free then"
        ).replace("day", unit.removesuffix("s"), 1)
    if time > last_identified(curve):
        return f"not identified: follow-up of this group ends at {curve.last} {unit}"
    return ""


def refuse_unidentified(labels: Sequence[Any], lasts: Sequence[int], restarts: Sequence[int], unit: str) -> None:
    """The error when no term at all is identified.

    Parameters
    ----------
    lasts : (G,) int
        Last day of follow-up.
    restarts : (G,) int
        Day from which the risk set is never empty; negative when it never was.

    Raises
    ------
    InferenceError
        PMG-HORIZON, or PMG-EMPTY-RISK-SET.
    """
    blocked = [number for number, restart in enumerate(restarts) if restart >= 0]
    if len(blocked) == len(labels):
        raise InferenceError(
            "PMG-EMPTY-RISK-SET",
            "nobody was at risk for a while and others entered later: the share since day 0 is not identified",
            where=[str(labels[number]) for number in blocked],
            fix=f"start={max(restarts)}: the share among those who are event-free then",
        )
    raise InferenceError(
        "PMG-HORIZON",
        "no group was followed as long as the horizon",
        where=[f"{label}: {last} {unit}" for label, last in zip(labels, lasts, strict=True)],
        fix="a shorter horizon; a plateau carried forward would not be an estimate",
    )


def few_at_risk(curve: Curve, at_risk: Whole, times: Sequence[int]) -> list[str]:
    """Flags of terms that rest on a handful; empty where everybody has had an event by then."""
    known = curve.day[-1] if curve.ended else FOREVER
    return [
        f"few at risk: {int(n)}" if n < FEW and time < known else "" for n, time in zip(at_risk, times, strict=True)
    ]
