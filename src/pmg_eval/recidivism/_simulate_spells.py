"""From the tables of the register to one spell per person."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pmg_eval.recidivism._simulate_codes import Array, Ints
from pmg_eval.recidivism._simulate_tables import codes

PERSON_GROUPS = ("cohort", "wave", "sex", "age_band", "area_code")


def spells_of(
    index_case: pd.DataFrame, event: pd.DataFrame, risk: pd.DataFrame, known: int, cut: int, months: int
) -> pd.DataFrame:
    """Days to the first case that counts, death or emigration, or the end of the follow-up.

    Parameters
    ----------
    known, cut : int
        Day numbers since 1970: what was disposed of later than ``known`` is not seen; follow-up ends on ``cut``.
    months : int
        Smallest statutory maximum of a case that counts.
    """
    start = index_days(index_case)
    exits = {"recidivism": _first_case(event, known, months, len(start))}
    for cause, state in (("death", "dead"), ("emigration", "abroad")):
        exits[cause] = _first_exit(risk, state, len(start))
    table = np.stack([*exits.values(), np.full(len(start), float(cut))])
    first = table.argmin(axis=0)  # ties: an event comes before an exit, an exit before the end of the follow-up
    ended = first < len(exits)
    frame = index_case[["person_id", *PERSON_GROUPS]].rename(columns={"person_id": "person"})
    frame.insert(1, "exit", (table.min(axis=0) - start).astype(np.int64))
    frame.insert(2, "event", ended.astype(np.int64))
    frame.insert(3, "cause", codes(np.where(ended, first, -1), exits))
    return frame[start < cut].reset_index(drop=True)


def index_days(index_case: pd.DataFrame) -> Ints:
    """Day numbers since 1970 on which the clocks start."""
    return _days(index_case["index_date"])


def _days(dates: pd.Series[pd.Timestamp]) -> Ints:
    """Day numbers since 1970; NaT becomes the smallest integer."""
    return np.asarray(dates.to_numpy().astype("datetime64[D]").astype(np.int64))


def _first_case(event: pd.DataFrame, known: int, months: int, n: int) -> Array:
    """Day of the first new case of each person that counts; +inf without one."""
    counted = (event["counts_as"] == "recidivism") & (event["max_penalty_months"] >= months)
    seen = counted.to_numpy() & (_days(event["disposal_date"]) <= known)
    when = event["offence_date"].where(event["offence_date"].notna(), event["registration_date"])
    day = np.full(n, np.inf)
    np.minimum.at(day, event["person_id"].to_numpy()[seen] - 1, _days(when)[seen].astype(np.float64))
    return day


def _first_exit(risk: pd.DataFrame, state: str, n: int) -> Array:
    """Day on which each person entered a state for good; +inf if never."""
    rows = (risk["state"] == state).to_numpy()
    day = np.full(n, np.inf)
    np.minimum.at(day, risk["person_id"].to_numpy()[rows] - 1, _days(risk["start"])[rows].astype(np.float64))
    return day
