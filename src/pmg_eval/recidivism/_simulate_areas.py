"""Municipalities without the programme: sizes, rates, counts, borders, and which of them are chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd

from pmg_eval.recidivism._simulate_codes import (
    AGES,
    BORDER_CHANGES,
    COVID_AREA_SD,
    COVID_FACTOR,
    COVID_YEARS,
    FIRST_SHARE,
    GROWTH_SD,
    KNOT_YEARS,
    LARGE_SHARE,
    MEAN_POPULATION,
    NOISE_RHO,
    NOISE_SD,
    RATE_CV,
    RATES_PER_1000,
    SELECTION_YEARS,
    SIZE_SD,
    VERY_SERIOUS_SHARE,
    YOUTH_SHARE,
    YOUTH_SHARE_SD,
    Array,
    Ints,
)
from pmg_eval.recidivism._simulate_options import Options

ANCHOR_YEAR = 2022.0
_FOLDER = "pmg_eval.recidivism"


@cache
def named_areas() -> pd.DataFrame:
    """The 27 areas (three waves) and the 20 municipalities added in 2024, with their dates.

    Returns
    -------
    DataFrame (47 rows)
        ``area_code, name, wave`` (0 = added in 2024), ``population_2024`` (CBS 37230ned), ``plan_date, treated_from,
        contaminated_from`` (NaT where there is none), ``dates_known`` ("year", "expected" or "day": how far the dates
        are published).
    """
    with files(_FOLDER).joinpath("_areas.csv").open("rb") as source:
        table = pd.read_csv(source)
    for column in ("plan_date", "treated_from", "contaminated_from"):
        table[column] = pd.to_datetime(table[column]).astype("datetime64[s]")
    return table


@dataclass(frozen=True, eq=False)
class Municipalities:
    """Untreated municipalities; n areas, T years, two age groups (12-17, 18-24), three kinds of suspects.

    Attributes
    ----------
    years : (T,) int
    population : (n, T + 1) float
        Inhabitants on 1 January, in the borders of that day; the last column is the day after the panel.
    youth : (n, T + 1, 2) float
        Of these aged 12-17 and 18-24.
    person_years : (n, T, 2) float
    level : (n,) float
        Lasting rate relative to the country.
    mean, count : (n, T, 2, 3) float, int
        Expected and realized suspects without the programme.
    position : (n, 2) float
        Kilometers on a plane that is as large as the country.
    """

    years: Ints
    population: Array
    youth: Array
    person_years: Array
    level: Array
    mean: Array
    count: Ints
    position: Array

    def take(self, order: Ints) -> Municipalities:
        """The areas in another order."""
        return replace(
            self,
            population=self.population[order],
            youth=self.youth[order],
            person_years=self.person_years[order],
            level=self.level[order],
            mean=self.mean[order],
            count=self.count[order],
            position=self.position[order],
        )

    def selection_rate(self) -> Array:
        """Realized suspects per 1,000 person-years in the years on which areas are chosen."""
        window = (self.years >= SELECTION_YEARS[0]) & (self.years <= SELECTION_YEARS[1])
        suspects = self.count[:, window].sum(axis=(1, 2, 3))
        return np.asarray(1000.0 * suspects / self.person_years[:, window].sum(axis=(1, 2)))


def municipalities(options: Options, streams: dict[str, np.random.Generator]) -> Municipalities:
    """Draw the municipalities of one country, nobody chosen yet."""
    n, years = options.n_areas, options.year_range
    size = streams["size"]
    population = np.exp(SIZE_SD * size.standard_normal(n))
    population *= n * MEAN_POPULATION / population.sum()
    share = np.exp(np.array(YOUTH_SHARE_SD) * size.standard_normal((n, 2)))
    share *= np.array(YOUTH_SHARE) * population.sum() / (population[:, None] * share).sum(axis=0)
    growth = GROWTH_SD * size.standard_normal(n)

    def inhabitants(moment: Array) -> Array:
        return np.asarray(population[:, None] * np.exp(growth[:, None] * (moment - ANCHOR_YEAR)))

    first_days = np.append(years, years[-1] + 1).astype(np.float64)
    residents = inhabitants(first_days)
    person_years = inhabitants(years + 0.5)[:, :, None] * share[:, None, :]
    level = streams["rate"].gamma(1 / RATE_CV**2, RATE_CV**2, n)
    level *= population.sum() / (population * level).sum()
    mean = person_years[..., None] * _rates(options, level, streams)
    return Municipalities(
        years=years,
        population=residents,
        youth=residents[:, :, None] * share[:, None, :],
        person_years=person_years,
        level=level,
        mean=mean,
        count=streams["count"].poisson(mean).astype(np.int64),
        position=streams["layout"].uniform(0.0, 1.0, (n, 2)) * np.array([200.0, 300.0]),
    )


def _rates(options: Options, level: Array, streams: dict[str, np.random.Generator]) -> Array:
    """Expected suspects per person-year (n, T, 2, 3): country x area x year noise x covid x kind of suspect."""
    n, years = len(level), options.year_range
    noise = _autoregressive(streams["noise"], n, len(years))
    covid = np.isin(years, COVID_YEARS)
    own_shock = np.exp(COVID_AREA_SD * streams["covid"].standard_normal(n) - COVID_AREA_SD**2 / 2)
    rates = np.empty((n, len(years), len(AGES), 3))
    for age, name in enumerate(AGES):
        rate = level[:, None] * noise * national_rate(name, years) / 1000.0
        if options.registration_shock:
            rate = rate * np.where(covid, COVID_FACTOR[name] * own_shock[:, None], 1.0)
        first = (1 - VERY_SERIOUS_SHARE) * FIRST_SHARE[name]
        kinds = np.array([first, 1 - VERY_SERIOUS_SHARE - first, VERY_SERIOUS_SHARE])
        rates[:, :, age] = rate[:, :, None] * kinds
    return rates


def national_rate(age: str, years: Ints) -> Array:
    """Suspects per 1,000 (T,) without the covid shock: published knots, log-linear between them."""
    knots = np.array(RATES_PER_1000[age])
    knots[KNOT_YEARS.index(2021.0)] /= COVID_FACTOR[age]
    return np.asarray(np.exp(np.interp(years, KNOT_YEARS, np.log(knots))))


def _autoregressive(rng: np.random.Generator, n: int, n_years: int) -> Array:
    """Year noise (n, T) with mean 1: the exponential of a stationary AR(1)."""
    shock = NOISE_SD * rng.standard_normal((n, n_years))
    for year in range(1, n_years):
        shock[:, year] = NOISE_RHO * shock[:, year - 1] + np.sqrt(1 - NOISE_RHO**2) * shock[:, year]
    return np.asarray(np.exp(shock - NOISE_SD**2 / 2))


def chosen_order(drawn: Municipalities, selection: bool, rng: np.random.Generator) -> Ints:
    """Positions of all areas: the 27 in the order of :func:`named_areas`, then the 20, then the others.

    The large municipalities with the highest rates of 2017-2021 are chosen, the next 20 are those added in 2024; with
    ``selection=False`` both are a random draw of the large ones. Within each group the largest gets the name of the
    largest.
    """
    named = named_areas()
    n, n_treated = len(drawn.level), int((named["wave"] > 0).sum())
    middle = drawn.population[:, -1]
    large = np.argsort(-middle, kind="stable")[: max(len(named), round(LARGE_SHARE * n))]
    by = -drawn.selection_rate()[large] if selection else rng.random(len(large))
    ranked = large[np.argsort(by, kind="stable")]
    order = np.empty(n, dtype=np.int64)
    real = named["population_2024"].to_numpy(dtype=np.float64)
    for group in (slice(0, n_treated), slice(n_treated, len(named))):
        members = ranked[group]
        places = np.argsort(-real[group], kind="stable") + group.start
        order[places] = members[np.argsort(-middle[members], kind="stable")]
    order[len(named) :] = np.setdiff1d(np.arange(n), ranked[: len(named)])
    return order


def with_border_changes(country: Municipalities, rng: np.random.Generator) -> Municipalities:
    """Take the part that joined later out of the years before, from inhabitants and (by thinning) from suspects."""
    years, codes = country.years, named_areas()["area_code"].tolist()
    kept = np.ones((len(country.level), len(years)))
    resident = np.ones((len(country.level), len(years) + 1))
    for code, date, share in BORDER_CHANGES:
        day = np.datetime64(date, "D")
        year = int(date[:4])
        start = np.datetime64(f"{year}-01-01", "D")
        before = float((day - start) / (np.datetime64(f"{year + 1}-01-01", "D") - start))
        part = np.where(years < year, 1.0, np.where(years == year, before, 0.0))
        area = codes.index(code)
        kept[area] = 1 - share * part
        first_days = np.append(years, years[-1] + 1)
        resident[area] = np.where(first_days < year + (before > 0), 1 - share, 1.0)
    factor = kept[:, :, None, None]
    changed = np.flatnonzero((kept < 1).any(axis=1))
    count = country.count.copy()
    count[changed] = rng.binomial(count[changed], factor[changed])
    return replace(
        country,
        population=country.population * resident,
        youth=country.youth * resident[:, :, None],
        person_years=country.person_years * kept[:, :, None],
        mean=country.mean * factor,
        count=count,
    )
