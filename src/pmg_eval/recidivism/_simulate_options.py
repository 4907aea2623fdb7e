"""The options of the simulator, checked once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, Problem

LAST_EXECUTION = 2024
EARLIEST, LATEST = 2010, 2035
FEWEST_AREAS, MOST_AREAS = 60, 2_000
MOST_PERSONS = 10_000_000


@dataclass(frozen=True)
class Options:
    """What was asked for; see :func:`pmg_eval.recidivism.simulate`. ``as_of`` is a day number since 1970."""

    n_persons: int
    n_areas: int
    years: tuple[int, int]
    effect: float
    phase_in: int
    spillover: float
    anticipation: bool
    selection: bool
    registration_shock: bool
    heterogeneity: float
    as_of: int

    @property
    def year_range(self) -> Any:
        """Years (T,) of the panel."""
        return np.arange(self.years[0], self.years[1] + 1, dtype=np.int64)


def checked(asked: dict[str, Any]) -> Options:
    """Options from the arguments of the call.

    Raises
    ------
    DataError
        PMG-OPTION, with every option that is wrong.
    """
    found: list[Problem] = []
    whole = {
        "n_persons": (1, MOST_PERSONS, "a number of persons"),
        "n_areas": (FEWEST_AREAS, MOST_AREAS, "a number of municipalities"),
        "phase_in": (0, 40, "a number of quarters"),
    }
    for name, (low, high, what) in whole.items():
        if not _is_whole(asked[name]) or not low <= asked[name] <= high:
            found.append(_problem(name, asked[name], f"must be {what} from {low:,} to {high:,}"))
    bounds = {"effect": (-1.0, 1.0), "spillover": (-0.5, 0.5), "heterogeneity": (0.0, 1.0)}
    for name, (lowest, highest) in bounds.items():
        if not _is_number(asked[name]) or not lowest <= asked[name] <= highest:
            found.append(_problem(name, asked[name], f"must be a number from {lowest:g} to {highest:g}"))
    for name in ("anticipation", "selection", "registration_shock"):
        if not isinstance(asked[name], bool | np.bool_):
            found.append(_problem(name, asked[name], "must be True or False"))
    years = _years(asked["years"], found)
    as_of = _day(asked["as_of"])
    if as_of is None:
        found.append(_problem("as_of", asked["as_of"], 'must be a date, for example "2026-01-01"'))
    elif years is not None:
        after = int(np.datetime64(f"{years[1] + 1}-01-01", "D").astype(np.int64))
        if not after <= as_of <= after + 10 * 366:
            what = f"must be a date from {years[1] + 1}-01-01 on (within ten years): the register covers all years"
            found.append(_problem("as_of", asked["as_of"], what))
    if found:
        raise DataError.of(found)
    if years is None or as_of is None:
        raise DataError("PMG-OPTION", "years and as_of are needed")  # reported above; for the type checker
    return Options(
        n_persons=int(asked["n_persons"]),
        n_areas=int(asked["n_areas"]),
        years=years,
        effect=float(asked["effect"]),
        phase_in=int(asked["phase_in"]),
        spillover=float(asked["spillover"]),
        anticipation=bool(asked["anticipation"]),
        selection=bool(asked["selection"]),
        registration_shock=bool(asked["registration_shock"]),
        heterogeneity=float(asked["heterogeneity"]),
        as_of=as_of,
    )


def generator_of(rng: object) -> np.random.Generator:
    """A generator from a seed or a generator."""
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, int | np.integer) and not isinstance(rng, bool) and rng >= 0:
        return np.random.default_rng(int(rng))
    raise DataError("PMG-OPTION", f"rng={rng!r} must be a seed (0 or more) or a numpy Generator", fix="for example 1")


def day_of(value: object, name: str) -> int:
    """Day number since 1970 of a date.

    Raises
    ------
    DataError
        PMG-OPTION.
    """
    day = _day(value)
    if day is None:
        raise DataError("PMG-OPTION", f"{name}={value!r} must be a date", fix='for example "2026-01-01"')
    return day


def _problem(name: str, value: object, what: str) -> Problem:
    return Problem("PMG-OPTION", f"{name}={value!r} {what}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return real and math.isfinite(float(value))  # type: ignore[arg-type]


def _years(value: object, found: list[Problem]) -> tuple[int, int] | None:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        first, last = value
        if _is_whole(first) and _is_whole(last):
            first, last = int(first), int(last)
            if EARLIEST <= first <= 2017 and LAST_EXECUTION <= last <= LATEST:
                return first, last
    what = f"must be (first, last) with first from {EARLIEST} to 2017 and last from {LAST_EXECUTION} to {LATEST}"
    found.append(_problem("years", value, f"{what}: areas are chosen on 2017-2021, the last wave starts in 2024"))
    return None


def _day(value: object) -> int | None:
    """Day number since 1970, None for what is not a date without time zone."""
    if isinstance(value, bool | int | float | np.number) or value is None:
        return None
    try:
        stamp: Any = pd.Timestamp(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return None
    if pd.isna(stamp) or stamp.tz is not None:
        return None
    return int(stamp.to_datetime64().astype("datetime64[D]").astype(np.int64))
