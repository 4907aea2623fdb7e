"""Numbers and code lists of the simulator; where each comes from stands in ``docs/simulate.md``.

A number marked [choice] there is a guess that looks Dutch, not an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

HORIZON = 730
"""Days of the two-year recidivism window."""
UNTOUCHED = np.iinfo(np.int64).max
"""Day number of what never happens."""

# --- areas -----------------------------------------------------------------------------------------------------------

AGES = ("12_17", "18_24")
SELECTION_YEARS = (2017, 2021)
LARGE_SHARE = 0.22
"""Share of municipalities that count as large enough to be chosen (75 of 340)."""
MEAN_POPULATION = 52_400.0
SIZE_SD = 0.95
YOUTH_SHARE = (0.0678, 0.1056)
YOUTH_SHARE_SD = (0.06, 0.15)
GROWTH_SD = 0.004
RATE_CV = 0.4
NOISE_SD, NOISE_RHO = 0.10, 0.5

KNOT_YEARS = (2010.0, 2012.0, 2021.0, 2022.0)
RATES_PER_1000 = {"12_17": (28.9, 25.0, 13.0, 14.4), "18_24": (42.7, 37.2, 19.9, 19.4)}
"""Suspects per 1,000 as published (2021 with the covid shock in it); log-linear between knots, constant afterwards."""
COVID_YEARS = (2020, 2021)
COVID_FACTOR = {"12_17": 0.93, "18_24": 0.97}
COVID_AREA_SD = 0.05

KINDS = ("first", "repeat", "very_serious")
FIRST_SHARE = {"12_17": 0.66, "18_24": 0.40}
EFFECT_FACTOR = np.array([1.3, 0.85, 0.0])
"""What the programme's log effect is multiplied with, per kind; about 1 on average."""

BORDER_CHANGES = (("GM0014", "2019-01-01", 27_480 / 231_000), ("GM0363", "2022-03-24", 20_766 / 882_000))
"""Area, date, share of its population that joined: Haren and Ten Boer to Groningen, Weesp to Amsterdam."""

# --- programme -------------------------------------------------------------------------------------------------------

ANTICIPATED = 0.3
"""Share of the full effect that is there from the plan date on, with the switch ``anticipation``."""
CONTAMINATION = 0.5
"""Share of the programme's effect in the municipalities that were added in 2024."""
NEIGHBORS = 5
TREATED_AGES = (12, 28)

# --- persons ---------------------------------------------------------------------------------------------------------

AGE_RANGE = (12.0, 60.0)
PEAK_AGE = 19.0
AGE_SPREAD = 3.5
"""Index cases: density in age proportional to exp(-AGE_SPREAD log(age/19)^2)."""
AGE_BANDS = ("12-17", "18-24", "25+")
AGE_EDGES = (18.0, 25.0)
FEMALE_SHARE = (0.24, 0.18)
ADOLESCENT_LAW = 0.08
NO_PRIORS = (0.66, 0.40, 0.30)
MEAN_PRIORS = (2.2, 4.0, 6.0)

NEVER_AGAIN = 0.25
WEIBULL = 0.75
FRAILTY_VARIANCE = 1.0
LOG_LEVEL = (-0.07, -0.57)
"""Log of the expected number of new cases in two years: juveniles, adults (reference person)."""
LOG_AGE = -1.1
LOG_FEMALE = -0.8
LOG_PRIORS = 0.28
LOG_CUSTODY_EXIT = 1.4
LOG_AREA = 0.3
JUVENILE_KNOTS = ((2012.0, 2019.0), (0.0, 0.27))
"""Log change of the recidivism of juveniles over index years."""
DEATH_PER_YEAR, EMIGRATION_PER_YEAR = 0.002, 0.012


@dataclass(frozen=True)
class Offence:
    """A class of offences: share of all cases, statutory maximum in months."""

    code: str
    share: float
    max_months: int


OFFENCES = (
    Offence("theft", 0.25, 48),
    Offence("burglary", 0.07, 72),
    Offence("assault", 0.18, 36),
    Offence("threat", 0.07, 36),
    Offence("vandalism", 0.12, 24),
    Offence("public_order", 0.07, 54),
    Offence("drugs", 0.08, 72),
    Offence("weapons", 0.04, 48),
    Offence("fraud", 0.05, 48),
    Offence("other", 0.01, 12),
    Offence("robbery", 0.04, 144),
    Offence("sexual", 0.015, 96),
    Offence("homicide", 0.005, 180),
)
OFFENCE_SHARES = np.array([offence.share for offence in OFFENCES])
MAX_MONTHS = np.array([offence.max_months for offence in OFFENCES], dtype=np.int16)
SERIOUS, VERY_SERIOUS = 48, 96
"""Statutory maximum in months from which an offence is serious, very serious."""
VERY_SERIOUS_SHARE = float(OFFENCE_SHARES[MAX_MONTHS >= VERY_SERIOUS].sum())
NEW_CLASSIFICATION = "2015-07-01"

CUSTODY_SHARE = (0.02, 0.07, 0.35)
"""Chance of unconditional custody: less than serious, serious, very serious."""
CUSTODY_DAYS = (40.0, 90.0, 300.0)
CUSTODY_SHAPE = 1.2
JUVENILE_CUSTODY = 0.7

DISPOSALS = (
    "unconditional_custody",
    "suspended_custody",
    "community_service",
    "fine",
    "pps_penalty_order",
    "transaction",
    "conditional_dismissal",
    "other",
    "technical_dismissal",
    "acquittal",
)
DISPOSAL_WEIGHTS = np.array([0.0, 0.12, 0.30, 0.18, 0.17, 0.04, 0.07, 0.01, 0.06, 0.05])
"""Of cases without unconditional custody; the last two do not count as recidivism."""
COUNTED_DISPOSALS = 8

INDEX_EVENTS = ("disposal", "prison_release", "jji_release", "community_service_end", "supervision_end")
REGISTRATION_SHAPE, REGISTRATION_DAYS = 3.0, 240.0
QUARTER_END = 0.3
DISPOSAL_SHAPE, DISPOSAL_DAYS = 2.0, 90.0
NEVER_REGISTERED = 0.015
MISSING_DATE = 0.01

PROGRAMMES = ("AJB", "IPTA", "RIO")
ENROLLED = 0.12
SERVICE_DAYS, SUPERVISION_DAYS = 120.0, 400.0
