"""The tables of a simulation: the register as an evaluator would get it, and the truth beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.recidivism._simulate_areas import Municipalities, named_areas
from pmg_eval.recidivism._simulate_codes import (
    AGE_BANDS,
    BORDER_CHANGES,
    COUNTED_DISPOSALS,
    DISPOSALS,
    ENROLLED,
    HORIZON,
    INDEX_EVENTS,
    KINDS,
    MAX_MONTHS,
    MISSING_DATE,
    NEW_CLASSIFICATION,
    OFFENCES,
    PROGRAMMES,
    UNTOUCHED,
    Array,
    Bools,
    Ints,
)
from pmg_eval.recidivism._simulate_events import Worlds, first_day
from pmg_eval.recidivism._simulate_options import Options
from pmg_eval.recidivism._simulate_persons import DAYS_PER_YEAR, Persons

_NEW_DAY = int(np.datetime64(NEW_CLASSIFICATION, "D").astype(np.int64))


def dates(days: Ints, known: Bools | None = None) -> Any:
    """Day numbers as datetime64[s]; NaT where not known."""
    found = days.astype("datetime64[D]").astype("datetime64[s]")
    if known is not None:
        found[~known] = np.datetime64("NaT", "s")
    return found


def codes(values: Ints, categories: Iterable[str]) -> Any:
    """Codes as a categorical; -1 is missing."""
    return pd.Categorical.from_codes(values, categories=pd.Index(list(categories)))


# --- areas -----------------------------------------------------------------------------------------------------------


def area_table(country: Municipalities) -> pd.DataFrame:
    """One row per municipality, in the order of ``country``."""
    named = named_areas()
    others = len(country.level) - len(named)
    added = pd.DataFrame(
        {
            "area_code": [f"SIM{number:04d}" for number in range(1, others + 1)],
            "name": [f"Simulated municipality {number}" for number in range(1, others + 1)],
            "wave": 0,
            "dates_known": "",
        }
    )
    areas = pd.concat([named.drop(columns="population_2024"), added], ignore_index=True)
    areas["wave"] = areas["wave"].astype(np.int64)
    for column in ("plan_date", "treated_from", "contaminated_from"):
        areas[column] = areas[column].astype("datetime64[s]")
    changed = pd.Series({code: date for code, date, _ in BORDER_CHANGES})
    areas["border_change"] = pd.to_datetime(areas["area_code"].map(changed)).astype("datetime64[s]")
    areas["population"] = np.round(country.population[:, -1]).astype(np.int64)
    areas["youth_12_24"] = np.round(country.youth[:, -1].sum(axis=1)).astype(np.int64)
    areas["rate_level"] = country.level
    areas["selection_rate_per_1000"] = country.selection_rate()
    areas["x_km"], areas["y_km"] = country.position.T
    return areas


def start_year(start: pd.Series[pd.Timestamp]) -> pd.Series[float]:
    """Year of the start with its fraction (2023.5 = in the middle of 2023); +inf for never."""
    year = start.dt.year + (start.dt.quarter - 1) / 4
    return year.astype(np.float64).fillna(np.inf)


def area_year_table(country: Municipalities, areas: pd.DataFrame, count: Ints) -> pd.DataFrame:
    """One row per municipality and year; ``count`` are suspects by age group and kind (n, T, 2, 3)."""
    n, n_years = count.shape[:2]
    youth = np.round(country.youth[:, :-1]).astype(np.int64)
    exposure = np.round(country.person_years, 1)
    per_age = count.sum(axis=3)
    frame = pd.DataFrame(
        {
            "area_code": np.repeat(areas["area_code"].to_numpy(), n_years),
            "year": np.tile(country.years, n),
            "population": np.round(country.population[:, :-1]).astype(np.int64).ravel(),
            "population_12_17": youth[:, :, 0].ravel(),
            "population_18_24": youth[:, :, 1].ravel(),
            "person_years_12_17": exposure[:, :, 0].ravel(),
            "person_years_18_24": exposure[:, :, 1].ravel(),
            "person_years": exposure.sum(axis=2).round(1).ravel(),
            "suspects_12_17": per_age[:, :, 0].ravel(),
            "suspects_18_24": per_age[:, :, 1].ravel(),
            "suspects": per_age.sum(axis=2).ravel(),
            "first_suspects": count[..., KINDS.index("first")].sum(axis=2).ravel(),
            "very_serious_suspects": count[..., KINDS.index("very_serious")].sum(axis=2).ravel(),
        }
    )
    frame["wave"] = np.repeat(areas["wave"].to_numpy(), n_years)
    frame["treated_from"] = np.repeat(areas["treated_from"].to_numpy(), n_years)
    frame["cohort"] = np.repeat(start_year(areas["treated_from"]).to_numpy(), n_years)
    contaminated = np.floor(start_year(areas["contaminated_from"]).to_numpy())
    frame["contaminated_from"] = np.repeat(contaminated, n_years)
    border = areas["border_change"].dt.year.to_numpy(dtype=np.float64, na_value=np.nan)
    frame["border_changed"] = frame["year"].to_numpy() == np.repeat(border, n_years)
    return frame


def truth_area_table(country: Municipalities, areas: pd.DataFrame, expected: Array, count: Ints) -> pd.DataFrame:
    """Both potential outcomes of every municipality and year: suspects aged 12-24."""
    n, n_years = count.shape[:2]
    without, with_programme = country.mean.sum(axis=(2, 3)), expected.sum(axis=(2, 3))
    same = (expected == country.mean).all(axis=(2, 3))
    return pd.DataFrame(
        {
            "area_code": np.repeat(areas["area_code"].to_numpy(), n_years),
            "year": np.tile(country.years, n),
            "rate_per_1000_without": (1000 * without / country.person_years.sum(axis=2)).ravel(),
            "expected_without": without.ravel(),
            "expected_with": with_programme.ravel(),
            "log_effect": np.where(same, 0.0, np.log(with_programme / without)).ravel(),
            "suspects_without": country.count.sum(axis=(2, 3)).ravel(),
            "suspects_with": count.sum(axis=(2, 3)).ravel(),
        }
    )


def neighbor_table(pairs: Ints, areas: pd.DataFrame) -> pd.DataFrame:
    """Borders in both directions."""
    code = areas["area_code"].to_numpy()
    return pd.DataFrame({"area_code": code[pairs[:, 0]], "neighbor_code": code[pairs[:, 1]]})


# --- persons ---------------------------------------------------------------------------------------------------------


def index_table(persons: Persons, areas: pd.DataFrame, as_of: int, rng: np.random.Generator) -> pd.DataFrame:
    """One row per person: the index case (*uitgangszaak*)."""
    n = len(persons)
    identity = np.arange(1, n + 1)
    known = rng.random(n) >= MISSING_DATE
    return pd.DataFrame(
        {
            "person_id": identity,
            "case_id": identity,
            "index_date": dates(persons.index),
            "index_event": codes(persons.index_event, INDEX_EVENTS),
            "offence_date": dates(persons.offence_day, known),
            "registration_date": dates(persons.registered),
            **_offence(persons.offence, persons.registered, persons.disposal),
            "sex": codes(persons.female.astype(np.int64), ["male", "female"]),
            "birth_date": dates(np.floor(persons.birth).astype(np.int64)),
            "age_band": codes(persons.band, AGE_BANDS),
            "law": codes(persons.law, ["juvenile", "adult", "adolescent"]),
            "n_prior_cases": persons.priors.astype(np.int16),
            "age_first_contact": persons.first_contact.astype(np.float32),
            "area_code": codes(persons.area, areas["area_code"]),
            "area_ref_date": dates(np.full(n, as_of)),
            "wave": areas["wave"].to_numpy()[persons.area],
            "cohort": 1970 + persons.index.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64),
        }
    )


def _offence(offence: Ints, registered: Ints, disposal: Ints) -> dict[str, Any]:
    return {
        "offence_code": codes(offence, [kind.code for kind in OFFENCES]),
        "scm_version": codes((registered >= _NEW_DAY).astype(np.int64), ["1993", "2010"]),
        "max_penalty_months": MAX_MONTHS[offence],
        "disposal": codes(disposal, DISPOSALS),
    }


def event_table(worlds: Worlds, as_of: int, rng: np.random.Generator) -> pd.DataFrame:
    """New cases (*nieuwe strafzaken*) as the register knows them at the extract date."""
    events = worlds.events
    known = rng.random(len(events.day)) >= MISSING_DATE
    seen = np.flatnonzero(worlds.with_programme & ~events.never_registered & (events.registered <= as_of))
    events, known = events.take(seen), known[seen]
    closed = events.disposed <= as_of
    status = np.where(~closed, 2, np.where(events.disposal < COUNTED_DISPOSALS, 0, 1))
    return pd.DataFrame(
        {
            "person_id": events.person + 1,
            "case_id": 1_000_000_000 + np.arange(len(seen)),
            "offence_date": dates(events.day, known),
            "registration_date": dates(events.registered),
            "disposal_date": dates(events.disposed, closed),
            **_offence(events.offence, events.registered, np.where(closed, events.disposal, -1)),
            "counts_as": codes(status, ["recidivism", "not_counted", "open"]),
            "source": codes(np.zeros(len(seen), dtype=np.int64), ["justice"]),
        }
    )


def risk_table(persons: Persons, worlds: Worlds, as_of: int) -> pd.DataFrame:
    """When a person cannot reoffend here: custody, abroad, dead; half-open [start, end), end NaT = not known yet."""
    events = worlds.events
    rows = np.flatnonzero(worlds.with_programme & (events.custody > 0))
    rows = rows[events.day[rows] + 1 < np.minimum(as_of, persons.exit_day[events.person[rows]])]
    person, start = events.person[rows], events.day[rows] + 1
    end = np.minimum(start + events.custody[rows], persons.exit_day[person])
    young = persons.birth[person] + 18 * DAYS_PER_YEAR > events.day[rows]
    gone = np.flatnonzero(persons.exit_day < as_of)
    person = np.concatenate([person, gone])
    start = np.concatenate([start, persons.exit_day[gone]])
    end = np.concatenate([end, np.full(len(gone), UNTOUCHED)])
    state = np.concatenate([np.where(young, 1, 0), np.where(persons.dies[gone], 3, 2)])
    order = np.lexsort((start, person))
    known = end[order] <= as_of
    return pd.DataFrame(
        {
            "person_id": person[order] + 1,
            "start": dates(start[order]),
            "end": dates(np.where(known, end[order], as_of), known),
            "state": codes(state[order], ["prison", "jji", "abroad", "dead"]),
        }
    )


def intervention_table(persons: Persons, areas: pd.DataFrame, as_of: int, rng: np.random.Generator) -> pd.DataFrame:
    """Persons of the treated areas who took part in a named intervention; taking part has no effect of its own."""
    n = len(persons)
    uniform, wait, spell, place, done = rng.random(n), *rng.random((4, n))
    start_day = areas["treated_from"].to_numpy().astype("datetime64[D]")
    opened = np.where(np.isnat(start_day), UNTOUCHED, start_day.astype(np.int64))
    age = (persons.index - persons.birth) / DAYS_PER_YEAR
    referral = persons.index + np.floor(90 * wait).astype(np.int64)
    start = referral + 7 + np.floor(60 * place).astype(np.int64)
    end = start + 90 + np.floor(180 * spell).astype(np.int64)
    able = (uniform < ENROLLED) & (persons.index >= opened[persons.area]) & (age < 28)
    rows = np.flatnonzero(able & (start < np.minimum(persons.exit_day, as_of)))
    released = np.isin(persons.index_event[rows], (1, 2))
    kind = np.where(age[rows] < 16, 0, np.where(released & (age[rows] >= 18), 2, 1))
    ends = np.minimum(end[rows], persons.exit_day[rows])
    known = ends <= as_of
    completed = pd.Series(done[rows] < 0.6, dtype="boolean").where(pd.Series(known), pd.NA)
    return pd.DataFrame(
        {
            "person_id": rows + 1,
            "programme": codes(kind, PROGRAMMES),
            "referral_date": dates(referral[rows]),
            "start": dates(start[rows]),
            "end": dates(np.where(known, ends, as_of), known),
            "completed": completed,
        }
    )


def truth_person_table(persons: Persons, worlds: Worlds, index: pd.DataFrame) -> pd.DataFrame:
    """Both potential outcomes of every person within two years of the index case."""
    events = worlds.events
    found: dict[str, Any] = {
        name: index[name] for name in ("person_id", "cohort", "area_code", "wave", "sex", "age_band")
    }
    for world, happens in (("without", worlds.without), ("with", worlds.with_programme)):
        day = first_day(happens, events, persons, visible=True)
        any_offence = first_day(happens, events, persons, visible=False)
        found[f"first_day_{world}"] = day
        found[f"recidivism_730_{world}"] = day <= HORIZON
        found[f"offended_730_{world}"] = any_offence <= HORIZON
    return pd.DataFrame(found)


def extract_table(options: Options) -> pd.DataFrame:
    """One row: what this extract is."""
    return pd.DataFrame(
        {
            "as_of": dates(np.array([options.as_of])),
            "source": ["simulated register (pmg_eval.recidivism.simulate); not data about real persons or areas"],
            "source_version": ["1"],
            "definition": ["new case with a disposal that counts (no technical dismissal, no acquittal)"],
            "definition_version": ["1"],
            "suppression": ["none"],
        }
    )
