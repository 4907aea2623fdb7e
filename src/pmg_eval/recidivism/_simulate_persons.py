"""Persons with an index case: who they are, what they did, when they are at risk, how likely they are to reoffend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pmg_eval.recidivism._simulate_areas import Municipalities
from pmg_eval.recidivism._simulate_codes import (
    ADOLESCENT_LAW,
    AGE_EDGES,
    AGE_RANGE,
    AGE_SPREAD,
    COUNTED_DISPOSALS,
    CUSTODY_DAYS,
    CUSTODY_SHAPE,
    CUSTODY_SHARE,
    DEATH_PER_YEAR,
    DISPOSAL_DAYS,
    DISPOSAL_SHAPE,
    DISPOSAL_WEIGHTS,
    EMIGRATION_PER_YEAR,
    FEMALE_SHARE,
    FRAILTY_VARIANCE,
    HORIZON,
    JUVENILE_CUSTODY,
    JUVENILE_KNOTS,
    LOG_AGE,
    LOG_AREA,
    LOG_CUSTODY_EXIT,
    LOG_FEMALE,
    LOG_LEVEL,
    LOG_PRIORS,
    MAX_MONTHS,
    MEAN_PRIORS,
    NEVER_AGAIN,
    NO_PRIORS,
    OFFENCE_SHARES,
    PEAK_AGE,
    REGISTRATION_DAYS,
    REGISTRATION_SHAPE,
    SERIOUS,
    SERVICE_DAYS,
    SUPERVISION_DAYS,
    VERY_SERIOUS,
    Array,
    Bools,
    Ints,
)
from pmg_eval.recidivism._simulate_options import Options

DAYS_PER_YEAR = 365.25
_AGE_STEP = 0.02


@dataclass(frozen=True, eq=False)
class Persons:
    """Index cases, sorted by index date; all arrays have one row per person, days count from 1970.

    Attributes
    ----------
    area : position of the municipality
    index, offence_day, registered : days of the start of the clock, of the index offence, of its registration
    birth : day of birth (with fraction)
    female, juvenile : truth values; juvenile = under 18 at the index offence
    band : 0 (12-17), 1 (18-24), 2 (25+) at the index offence
    priors : earlier cases
    first_contact : age in years
    offence, disposal, index_event, law : codes
    exit_day : day on which the person dies or leaves the country
    dies : whether it is death
    expected : expected new cases within two years without programme, covid, custody, death, emigration
    """

    area: Ints
    index: Ints
    offence_day: Ints
    registered: Ints
    birth: Array
    female: Bools
    juvenile: Bools
    band: Ints
    priors: Ints
    first_contact: Array
    offence: Ints
    disposal: Ints
    index_event: Ints
    law: Ints
    exit_day: Ints
    dies: Bools
    expected: Array

    def __len__(self) -> int:
        return len(self.area)


def draw_persons(options: Options, country: Municipalities, streams: dict[str, np.random.Generator]) -> Persons:
    """Index cases, proportional to the expected suspects of area and year without the programme."""
    rng, n = streams["person"], options.n_persons
    area, index = _where_and_when(country, n, rng)
    age = _ages(n, rng)
    band = np.searchsorted(np.array(AGE_EDGES), age, side="right")
    juvenile = band == 0
    female = rng.random(n) < np.where(juvenile, *FEMALE_SHARE)
    priors = np.where(
        rng.random(n) < np.array(NO_PRIORS)[band], 0, rng.geometric(1 / np.array(MEAN_PRIORS)[band])
    ).astype(np.int64)
    offence, disposal, _ = draw_case(juvenile, rng)
    # An index case was disposed of in a way that counts: technical dismissals and acquittals start no clock.
    again = disposal >= COUNTED_DISPOSALS
    disposal = np.where(again, 3, disposal)
    law = np.where(juvenile, 0, np.where((band == 1) & (rng.random(n) < ADOLESCENT_LAW), 2, 1))
    index_event = np.select(
        [(disposal == 0) & (law == 0), disposal == 0, disposal == 2, disposal == 1], [2, 1, 3, 4], 0
    )
    registered, offence_day = _history(index, index_event, juvenile, offence, rng)
    first_contact = np.where(priors == 0, age, np.maximum(12.0, age - rng.gamma(2.0, 0.8, n) * np.sqrt(priors)))
    dies, exit_day = _exits(index, streams["exit"])
    linear = _log_hazard(country, area, index, age, juvenile, female, priors, index_event)
    return Persons(
        area=area,
        index=index,
        offence_day=offence_day,
        registered=registered,
        birth=offence_day - age * DAYS_PER_YEAR,
        female=female,
        juvenile=juvenile,
        band=band.astype(np.int64),
        priors=priors,
        first_contact=first_contact,
        offence=offence,
        disposal=disposal,
        index_event=index_event.astype(np.int64),
        law=law.astype(np.int64),
        exit_day=exit_day,
        dies=dies,
        expected=np.exp(linear) * _frailty(n, streams["frailty"]),
    )


def _where_and_when(country: Municipalities, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Municipality and index day of every person, sorted by day."""
    weight = country.mean.sum(axis=(2, 3)).ravel().cumsum()
    cell = np.minimum(np.searchsorted(weight, rng.random(n) * weight[-1], side="right"), len(weight) - 1)
    area, year = np.divmod(cell, len(country.years))
    starts = (np.append(country.years, country.years[-1] + 1) - 1970).astype("datetime64[Y]").astype("datetime64[D]")
    first = starts.astype(np.int64)
    day = first[year] + np.floor(rng.random(n) * np.diff(first)[year]).astype(np.int64)
    order = np.argsort(day, kind="stable")
    return area[order].astype(np.int64), day[order]


def _ages(n: int, rng: np.random.Generator) -> Array:
    """Age at the index offence, in years: log-quadratic around the peak."""
    grid = np.arange(AGE_RANGE[0], AGE_RANGE[1], _AGE_STEP)
    cumulative = np.exp(-AGE_SPREAD * np.log(grid / PEAK_AGE) ** 2).cumsum()
    at = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return np.asarray(grid[np.minimum(at, len(grid) - 1)] + _AGE_STEP * rng.random(n))


def draw_case(juvenile: Bools, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Offence and disposal (codes), and days in custody (0 without), of one case per row."""
    n = len(juvenile)
    shares = OFFENCE_SHARES.cumsum()
    offence = np.minimum(np.searchsorted(shares, rng.random(n), side="right"), len(shares) - 1)
    severity = np.searchsorted([SERIOUS, VERY_SERIOUS], MAX_MONTHS, side="right")[offence]
    custody = rng.random(n) < np.array(CUSTODY_SHARE)[severity]
    weights = DISPOSAL_WEIGHTS.cumsum()
    other = np.minimum(np.searchsorted(weights, rng.random(n) * weights[-1], side="right"), len(weights) - 1)
    mean = np.array(CUSTODY_DAYS)[severity] * np.where(juvenile, JUVENILE_CUSTODY, 1.0)
    length = np.ceil(rng.gamma(CUSTODY_SHAPE, mean / CUSTODY_SHAPE)).astype(np.int64)
    return offence.astype(np.int64), np.where(custody, 0, other).astype(np.int64), np.where(custody, length, 0)


def _history(
    index: Ints, index_event: Ints, juvenile: Bools, offence: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Days of registration and of the index offence, counted back from the start of the clock."""
    n = len(index)
    severity = np.searchsorted([SERIOUS, VERY_SERIOUS], MAX_MONTHS, side="right")[offence]
    custody = np.array(CUSTODY_DAYS)[severity] * np.where(juvenile, JUVENILE_CUSTODY, 1.0)
    mean = np.select([np.isin(index_event, (1, 2)), index_event == 3, index_event == 4],
                     [custody, np.full(n, SERVICE_DAYS), np.full(n, SUPERVISION_DAYS)], 0.0)  # fmt: skip
    sanction = np.ceil(mean * rng.gamma(2.0, 0.5, n))
    handled = np.ceil(rng.gamma(DISPOSAL_SHAPE, DISPOSAL_DAYS / DISPOSAL_SHAPE, n))
    delay = np.ceil(rng.gamma(REGISTRATION_SHAPE, REGISTRATION_DAYS / REGISTRATION_SHAPE, n))
    registered = index - (sanction + handled).astype(np.int64)
    return registered, registered - delay.astype(np.int64)


def _exits(index: Ints, rng: np.random.Generator) -> tuple[Bools, Ints]:
    """Whether death comes before emigration, and the day of the first of the two."""
    years = rng.standard_exponential((2, len(index))) / np.array([[DEATH_PER_YEAR], [EMIGRATION_PER_YEAR]])
    dies = years[0] <= years[1]
    return dies, index + np.ceil(np.minimum(years[0], years[1]) * DAYS_PER_YEAR).astype(np.int64)


def _frailty(n: int, rng: np.random.Generator) -> Array:
    """Unobserved difference between persons: gamma with mean 1, and a share that never reoffends."""
    frailty = rng.gamma(1 / FRAILTY_VARIANCE, FRAILTY_VARIANCE, n)
    return np.asarray(np.where(rng.random(n) < NEVER_AGAIN, 0.0, frailty))


def _log_hazard(
    country: Municipalities,
    area: Ints,
    index: Ints,
    age: Array,
    juvenile: Bools,
    female: Bools,
    priors: Ints,
    index_event: Ints,
) -> Array:
    """Log of the expected number of new cases within two years, at frailty 1."""
    year = 1970 + index / DAYS_PER_YEAR
    trend = np.interp(year, *JUVENILE_KNOTS)
    return np.asarray(
        np.where(juvenile, LOG_LEVEL[0] + trend, LOG_LEVEL[1])
        + LOG_AGE * np.log(age / PEAK_AGE) ** 2
        + LOG_FEMALE * female
        + LOG_PRIORS * np.log1p(priors)
        + LOG_CUSTODY_EXIT * np.isin(index_event, (1, 2))
        + LOG_AREA * np.log(country.level[area])
    )


def last_day(persons: Persons, as_of: int) -> Ints:
    """Last day up to which a person can offend: two years or the extract, but never on or after the exit."""
    return np.minimum(persons.exit_day - 1, np.maximum(as_of, persons.index + HORIZON))
