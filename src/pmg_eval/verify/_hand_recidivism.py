"""Recidivism of eight persons, in fractions."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import sqrt
from typing import Any

import pandas as pd

from pmg_eval import recidivism
from pmg_eval.panel import Spells
from pmg_eval.verify._case import Case
from pmg_eval.verify._small import at, spells

# Ends of follow-up; two persons with an event on day 5. At risk: 8 on day 2, 6 on day 5, 3 on day 8.
DAYS = [2, 3, 5, 5, 7, 8, 10, 10]
EVENT = [1, 0, 1, 1, 0, 1, 0, 0]
CAUSE = ["theft", "", "theft", "violence", "", "violence", "", ""]
# The remission times of the maintained arm of the leukemia trial in Miller (1981), + is censored:
# 9, 13, 13+, 18, 23, 28+, 31, 34, 45+, 48, 161+
WEEKS = [9, 13, 13, 18, 23, 28, 31, 34, 45, 48, 161]
RELAPSE = [1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 0]


def _kaplan_meier() -> Mapping[str, Any]:
    curve = recidivism.kaplan_meier(spells(DAYS, EVENT), horizons=[5, 8])
    return {
        "by day 5": at(curve, horizon=5),
        "by day 8": at(curve, horizon=8),
        "SE on day 5": float(curve.se[0]),
    }


def _aalen_johansen() -> Mapping[str, Any]:
    curves = recidivism.cumulative_incidence(spells(DAYS, EVENT, CAUSE), horizons=[5, 8])
    found = {
        f"{cause} by day {day}": at(curves, outcome=cause, horizon=day)
        for cause in ("theft", "violence")
        for day in (5, 8)
    }
    survival = 1 - at(recidivism.kaplan_meier(spells(DAYS, EVENT), horizons=[8]), horizon=8)
    return found | {"sum of everything on day 8": found["theft by day 8"] + found["violence by day 8"] + survival}


def _remission() -> Mapping[str, Any]:
    weeks = [9, 13, 18, 23, 31, 34, 48]
    curve = recidivism.kaplan_meier(spells(WEEKS, RELAPSE), horizons=weeks)
    return {f"week {week}": 1 - at(curve, horizon=week) for week in weeks}


def _wilson() -> Mapping[str, Any]:
    share = recidivism.prevalence(spells([2, 3, 5, 9, 9, 9, 9, 9], [1, 1, 1, 0, 0, 0, 0, 0]), horizon=9).to_frame()
    row = share.iloc[0]
    return {"share": row["estimate"], "low": row["conf_low"], "high": row["conf_high"]}


def _late_entry() -> Mapping[str, Any]:
    table = pd.DataFrame(
        {"person": range(5), "entry": [0, 0, 2, 4, 4], "days": [3, 6, 5, 6, 8], "new": [1, 0, 1, 1, 0]}
    )
    data = Spells(table, person="person", entry="entry", exit="days", event="new")
    return {"by day 6": at(recidivism.kaplan_meier(data, horizons=[6]), horizon=6)}


CASES = (
    Case(
        "recidivism/kaplan-meier",
        "by hand",
        "share with a new case, eight persons, two of them censored before the last event; Greenwood's standard error",
        "by hand: 1 - 7/8 * 4/6 and 1 - 7/8 * 4/6 * 2/3; 7/12 * sqrt(1/56 + 1/12)",
        _kaplan_meier,
        {"by day 5": Fraction(5, 12), "by day 8": Fraction(11, 18), "SE on day 5": 7 / 12 * sqrt(17 / 168)},
    ),
    Case(
        "recidivism/aalen-johansen",
        "by hand",
        "the same persons with two kinds of new case and a tie of both on day 5",
        "by hand: 1/8 + 7/8 * 1/6; the same; 7/8 * 1/6; plus 7/12 * 1/3",
        _aalen_johansen,
        {
            "theft by day 5": Fraction(13, 48),
            "theft by day 8": Fraction(13, 48),
            "violence by day 5": Fraction(7, 48),
            "violence by day 8": Fraction(49, 144),
            "sum of everything on day 8": Fraction(1),
        },
    ),
    Case(
        "recidivism/remission",
        "by hand",
        "the maintained arm of a leukemia trial, a textbook example: share in remission",
        "by hand, data of Miller (1981), Survival Analysis, p. 49: 10/11 * 9/10 * 7/8 * 6/7 * 4/5 * 3/4 * 1/2",
        _remission,
        {
            "week 9": Fraction(10, 11),
            "week 13": Fraction(9, 11),
            "week 18": Fraction(63, 88),
            "week 23": Fraction(27, 44),
            "week 31": Fraction(27, 55),
            "week 34": Fraction(81, 220),
            "week 48": Fraction(81, 440),
        },
    ),
    Case(
        "recidivism/wilson",
        "by hand",
        "three of eight persons, and the Wilson interval",
        "by hand: (p + c/2 -+ sqrt(c p (1-p) + c^2/4))/(1 + c), c = z^2/8, in 50-digit arithmetic",
        _wilson,
        {"share": Fraction(3, 8), "low": 0.13684428582359736, "high": 0.694257605397371},
    ),
    Case(
        "recidivism/late-entry",
        "by hand",
        "persons who come under observation later are at risk from then on",
        "by hand: at risk 3, 4, 3 on days 3, 5, 6: 1 - 2/3 * 3/4 * 2/3",
        _late_entry,
        {"by day 6": Fraction(2, 3)},
    ),
)
