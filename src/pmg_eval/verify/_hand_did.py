"""Difference-in-differences in fractions: four areas, two or three years."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from math import sqrt
from typing import Any

from pmg_eval import did, resample
from pmg_eval.estimate import clustered
from pmg_eval.verify._case import Case
from pmg_eval.verify._small import Paths, at, details, panel, two_way

# Changes 5 and 6 with the programme, 1 and 2 without: 11/2 - 3/2 = 4.
TWO_BY_TWO: Paths = {"A": (2, [1, 6]), "B": (2, [3, 9]), "C": (0, [2, 3]), "D": (0, [4, 6])}
# A starts in year 2, B in year 3. Changes of C and D: 1 and 1, then 2 and 0.
STAGGERED: Paths = {"A": (2, [1, 5, 8]), "B": (3, [2, 4, 9]), "C": (0, [0, 1, 3]), "D": (0, [2, 3, 3])}
COUNTS: Paths = {"A": (2, [8, 14]), "B": (2, [12, 16]), "C": (0, [20, 16]), "D": (0, [30, 24])}

NEVER = partial(did.group_time, controls=did.NeverTreated())


def _overall(data: Any, outcome: str) -> Any:
    return did.imputation(data, outcome).average()


def _two_by_two() -> Mapping[str, float]:
    data = panel(TWO_BY_TWO)
    grouped = did.group_time(data, "y").average()
    return {
        "imputation": did.imputation(data, "y").average().values[0],
        "group_time": grouped.values[0],
        "group_time SE": grouped.se[0],
        "two-way regression": two_way(TWO_BY_TWO).values[0],
    }


def _variances() -> Mapping[str, float]:
    fit = two_way(TWO_BY_TWO)
    factor = fit.assuming(clustered("unit", correction="G"))
    return {
        "SE without factor": fit.assuming(clustered("unit", correction="none")).se[0],
        "SE with G/(G-1)": factor.se[0],
        "CR2 variance": details(fit).cluster_robust("unit", "CR2")[0][0, 0],
        "CR3 variance": details(fit).cluster_robust("unit", "CR3")[0][0, 0],
    }


def _weighted() -> Mapping[str, float]:
    data = panel(TWO_BY_TWO, weight={"A": 1.0, "B": 3.0, "C": 2.0, "D": 2.0})
    return {
        "imputation": did.imputation(data, "y").average().values[0],
        "group_time": did.group_time(data, "y").average().values[0],
    }


def _cells() -> Mapping[str, float]:
    cells = NEVER(panel(STAGGERED), "y")
    return {
        "ATT(2,2)": at(cells, cohort=2, period=2),
        "ATT(2,3)": at(cells, cohort=2, period=3),
        "ATT(3,2)": at(cells, cohort=3, period=2),
        "ATT(3,3)": at(cells, cohort=3, period=3),
    }


def _averages() -> Mapping[str, float]:
    cells = NEVER(panel(STAGGERED), "y")
    study = cells.average(by="event_time")
    cohorts = cells.average(by="cohort")
    return {
        "simple": cells.average().values[0],
        "event time 0": at(study, event_time=0),
        "event time 1": at(study, event_time=1),
        "cohort 2": at(cohorts, cohort=2),
        "cohort 3": at(cohorts, cohort=3),
    }


def _not_yet() -> Mapping[str, float]:
    cells = did.group_time(panel(STAGGERED), "y", controls=did.NotYetTreated())
    return {"ATT(2,2)": at(cells, cohort=2, period=2), "simple": cells.average().values[0]}


def _universal() -> Mapping[str, float]:
    cells = NEVER(panel(STAGGERED), "y", base_period="universal")
    return {
        "ATT(3,1)": at(cells, cohort=3, period=1),
        "ATT(3,2)": at(cells, cohort=3, period=2),
        "ATT(3,3)": at(cells, cohort=3, period=3),
    }


def _imputed() -> Mapping[str, float]:
    cells = did.imputation(panel(STAGGERED), "y")
    study = cells.average(by="event_time")
    return {
        "A in year 2": at(cells, unit="A", period=2),
        "A in year 3": at(cells, unit="A", period=3),
        "B in year 3": at(cells, unit="B", period=3),
        "average": cells.average().values[0],
        "event time 0": at(study, event_time=0),
    }


def _rates() -> Mapping[str, float]:
    same = {area: [100.0, 100.0] for area in COUNTS}
    twice = same | {"A": [100.0, 200.0], "B": [100.0, 200.0]}
    return {
        "same person-years": _poisson(same),
        "twice the person-years afterwards": _poisson(twice),
    }


def _poisson(people: Mapping[str, Any]) -> float:
    fitted = did.imputation(panel(COUNTS, people=people), "y", family="poisson")
    return float(fitted.average().values[0])


def _jackknife() -> Mapping[str, float]:
    left_out = resample.jackknife(_overall, panel(TWO_BY_TWO), "y")
    return {"estimate": left_out.values[0], "SE": left_out.se[0]}


HALF = Fraction(1, 2)

CASES = (
    Case(
        "did/two-by-two",
        "by hand",
        "two areas with and two without the programme, two years: the difference of four means",
        "by hand: (5 + 6)/2 - (1 + 2)/2; influence values -1, 1, 1, -1",
        _two_by_two,
        {
            "imputation": Fraction(4),
            "group_time": Fraction(4),
            "group_time SE": HALF,
            "two-way regression": Fraction(4),
        },
    ),
    Case(
        "did/cluster-variances",
        "by hand",
        "the same regression, errors clustered by area: no factor, G/(G-1), CR2, CR3",
        "by hand: residual changes -1/2, 1/2, -1/2, 1/2; each area is half of its arm",
        _variances,
        {
            "SE without factor": HALF,
            "SE with G/(G-1)": sqrt(1 / 3),
            "CR2 variance": HALF,
            "CR3 variance": Fraction(1),
        },
    ),
    Case(
        "did/weights",
        "by hand",
        "sampling weights 1, 3 and 2, 2",
        "by hand: (5 + 3*6)/4 - (1 + 2)/2 = 17/4",
        _weighted,
        {"imputation": Fraction(17, 4), "group_time": Fraction(17, 4)},
    ),
    Case(
        "did/group-time-cells",
        "by hand",
        "two starts, three years, never-treated controls, base: the year before (or the last before the start)",
        "by hand: (5-1) - 1, (8-1) - 2, (4-2) - 1, (9-4) - 1",
        _cells,
        {"ATT(2,2)": Fraction(3), "ATT(2,3)": Fraction(5), "ATT(3,2)": Fraction(1), "ATT(3,3)": Fraction(4)},
    ),
    Case(
        "did/group-time-averages",
        "by hand",
        "averages of these cells: overall, by event time, by cohort",
        "by hand: (3+5+4)/3; (3+4)/2 and 5; (3+5)/2 and 4",
        _averages,
        {
            "simple": Fraction(4),
            "event time 0": Fraction(7, 2),
            "event time 1": Fraction(5),
            "cohort 2": Fraction(4),
            "cohort 3": Fraction(4),
        },
    ),
    Case(
        "did/not-yet-treated",
        "by hand",
        "the same with areas that start later as controls until they start",
        "by hand: 4 - (2+1+1)/3 = 8/3; (8/3 + 5 + 4)/3 = 35/9",
        _not_yet,
        {"ATT(2,2)": Fraction(8, 3), "simple": Fraction(35, 9)},
    ),
    Case(
        "did/universal-base",
        "by hand",
        "one base year for all years of a cohort",
        "by hand: (2-4) + 1 = -1; the base year is 0; (9-4) - 1 = 4",
        _universal,
        {"ATT(3,1)": Fraction(-1), "ATT(3,2)": Fraction(0), "ATT(3,3)": Fraction(4)},
    ),
    Case(
        "did/imputation",
        "by hand",
        "two starts, three years: unit and period effects from untreated cells only",
        "by hand: normal equations of the nine untreated cells give period effects 0, 4/3, 13/6",
        _imputed,
        {
            "A in year 2": Fraction(8, 3),
            "A in year 3": Fraction(29, 6),
            "B in year 3": Fraction(9, 2),
            "average": Fraction(4),
            "event time 0": Fraction(43, 12),
        },
    ),
    Case(
        "did/poisson",
        "by hand",
        "rate ratio of counts: observed over expected events, with and without a change of person-years",
        "by hand: (30/20)/(40/50) = 15/8, half of it with twice the person-years",
        _rates,
        {"same person-years": Fraction(15, 8), "twice the person-years afterwards": Fraction(15, 16)},
        tolerance=1e-9,
    ),
    Case(
        "did/jackknife",
        "by hand",
        "leave each of the four areas out",
        "by hand: 9/2, 7/2, 7/2, 9/2; variance 3/4 * 4 * 1/4",
        _jackknife,
        {"estimate": Fraction(4), "SE": sqrt(3 / 4)},
    ),
)
