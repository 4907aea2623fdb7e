"""New cases of every person in both worlds, without and with the programme, on common random numbers.

One dominating process is drawn per person; the programme keeps or prevents each of its cases (or adds cases of a
second process where it raises the rate). Without an effect the two worlds are the same cases.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from pmg_eval.recidivism._simulate_codes import (
    COUNTED_DISPOSALS,
    COVID_FACTOR,
    COVID_YEARS,
    DISPOSAL_DAYS,
    DISPOSAL_SHAPE,
    EFFECT_FACTOR,
    HORIZON,
    MAX_MONTHS,
    NEVER_REGISTERED,
    QUARTER_END,
    REGISTRATION_DAYS,
    REGISTRATION_SHAPE,
    TREATED_AGES,
    VERY_SERIOUS,
    WEIBULL,
    Array,
    Bools,
    Ints,
)
from pmg_eval.recidivism._simulate_options import Options
from pmg_eval.recidivism._simulate_persons import DAYS_PER_YEAR, Persons, draw_case, last_day
from pmg_eval.recidivism._simulate_programme import quarter_of_days


@dataclass(frozen=True, eq=False)
class Events:
    """Offences, sorted by person and day; one row each, days count from 1970.

    ``mark`` is uniform and decides what the programme does; ``extra`` says that the offence exists only where the
    programme raises the rate; ``custody`` is the number of days locked up from the next day on.
    """

    person: Ints
    day: Ints
    offence: Ints
    disposal: Ints
    custody: Ints
    registered: Ints
    disposed: Ints
    never_registered: Bools
    mark: Array
    extra: Bools

    @property
    def counts(self) -> Bools:
        """Whether the case counts as recidivism once it is disposed of, and is ever registered."""
        return (self.disposal < COUNTED_DISPOSALS) & ~self.never_registered

    def take(self, rows: Ints | Bools) -> Events:
        """The rows of a mask or of positions."""
        return Events(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True, eq=False)
class Worlds:
    """All offences and in which world each of them happens."""

    events: Events
    without: Bools
    with_programme: Bools


def draw_worlds(
    options: Options, persons: Persons, change: Array, first_quarter: int, streams: dict[str, np.random.Generator]
) -> Worlds:
    """Offences of all persons until two years after the index case or the extract, whichever is later.

    Parameters
    ----------
    change : (n, Q) float
        Effect on the log rate per area and quarter, before the factor of the kind of case.
    first_quarter : int
        Calendar quarter of the first column.
    """
    events = _draw(options, persons, 1.0, streams["event"])
    highest = float(np.exp(np.max(change) * EFFECT_FACTOR.max())) if change.size else 1.0
    if highest > 1:
        more = _draw(options, persons, highest - 1, streams["extra"], extra=True)
        events = _merged(events, more)
    factor = np.exp(_log_effect(persons, events, change, first_quarter))
    # A case of the extra process exists with probability (factor - 1) / (highest - 1).
    chance = np.where(events.extra, (factor - 1) / (highest - 1) if highest > 1 else 0.0, factor)
    with_programme = events.mark < chance
    return Worlds(events, _at_liberty(events, ~events.extra), _at_liberty(events, with_programme))


def _draw(options: Options, persons: Persons, scale: float, rng: np.random.Generator, *, extra: bool = False) -> Events:
    """A Poisson process per person with cumulative rate ``scale x expected x (t / 730)^0.75``."""
    days = (last_day(persons, options.as_of) - persons.index).astype(np.float64)
    number = rng.poisson(scale * persons.expected * (days / HORIZON) ** WEIBULL)
    person = np.repeat(np.arange(len(persons)), number)
    since = np.ceil(days[person] * rng.random(len(person)) ** (1 / WEIBULL)).astype(np.int64)
    day = persons.index[person] + np.maximum(since, 1)
    order = np.lexsort((day, person))
    day = day[order]  # person is sorted already
    juvenile = persons.birth[person] + 18 * DAYS_PER_YEAR > day
    offence, disposal, custody = draw_case(juvenile, rng)
    never = rng.random(len(day)) < NEVER_REGISTERED
    registered, disposed = _registration(day, rng)
    events = Events(
        person=person,
        day=day,
        offence=offence,
        disposal=disposal,
        custody=np.where(never, 0, custody),
        registered=registered,
        disposed=disposed,
        never_registered=never,
        mark=rng.random(len(day)),
        extra=np.full(len(day), extra),
    )
    seen = rng.random(len(day))  # drawn with and without the shock, so that later draws stay the same
    return events.take(seen < _covid(day, juvenile)) if options.registration_shock else events


def _covid(day: Ints, juvenile: Bools) -> Array:
    """Chance that an offence comes to light at all."""
    year = 1970 + day.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64)
    share = np.where(juvenile, COVID_FACTOR["12_17"], COVID_FACTOR["18_24"])
    return np.asarray(np.where(np.isin(year, COVID_YEARS), share, 1.0))


def _registration(day: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Days of registration (bunched at ends of quarters) and of the disposal."""
    n = len(day)
    registered = day + np.ceil(rng.gamma(REGISTRATION_SHAPE, REGISTRATION_DAYS / REGISTRATION_SHAPE, n)).astype(
        np.int64
    )
    month = registered.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    end = ((month // 3 + 1) * 3).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - 1
    registered = np.where(rng.random(n) < QUARTER_END, end, registered)
    handled = np.ceil(rng.gamma(DISPOSAL_SHAPE, DISPOSAL_DAYS / DISPOSAL_SHAPE, n)).astype(np.int64)
    return registered, registered + handled


def _merged(first: Events, second: Events) -> Events:
    both = Events(**{f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(first)})
    return both.take(np.lexsort((both.day, both.person)))


def _log_effect(persons: Persons, events: Events, change: Array, first_quarter: int) -> Array:
    """Effect of the programme on the log rate of each offence: place, quarter, and kind of case."""
    quarter = np.minimum(quarter_of_days(events.day) - first_quarter, change.shape[1] - 1)
    age = (events.day - persons.birth[events.person]) / DAYS_PER_YEAR
    reached = (age >= TREATED_AGES[0]) & (age < TREATED_AGES[1])
    kind = np.where(MAX_MONTHS[events.offence] >= VERY_SERIOUS, 2, np.where(persons.priors[events.person] > 0, 1, 0))
    return np.asarray(change[persons.area[events.person], quarter] * EFFECT_FACTOR[kind] * reached)


def _at_liberty(events: Events, present: Bools) -> Bools:
    """Offences of a world that remain when nobody offends in custody.

    Goes through the first, second, ... offence of all persons who are ever locked up, so the loop is as long as the
    longest career and not as the register.
    """
    happens = present.copy()
    locked = np.unique(events.person[present & (events.custody > 0)])
    if not len(locked):
        return happens
    first = np.searchsorted(events.person, locked, side="left")
    number = np.searchsorted(events.person, locked, side="right") - first
    free = np.full(len(locked), np.iinfo(np.int64).min)
    for turn in range(int(number.max())):
        active = np.flatnonzero(number > turn)
        row = first[active] + turn
        happens[row] &= events.day[row] >= free[active]
        start = happens[row] & (events.custody[row] > 0)
        release = events.day[row] + 1 + events.custody[row]
        free[active] = np.where(start, np.maximum(free[active], release), free[active])
    return happens


def first_day(world: Bools, events: Events, persons: Persons, *, visible: bool) -> Array:
    """Days (n,) from index to the first offence of a world; NaN without one.

    ``visible`` takes only cases that are ever registered and count; otherwise every offence, known or not.
    """
    rows = np.flatnonzero(world & events.counts if visible else world)[::-1]  # the first one is written last
    day = np.full(len(persons), np.nan)
    day[events.person[rows]] = events.day[rows] - persons.index[events.person[rows]]
    return day
