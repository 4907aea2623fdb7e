"""Small tables in one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from pmg_eval.estimate import Covariance, Estimate, LinearFit, fit_linear, make_terms
from pmg_eval.panel import Panel, Spells

D = TypeVar("D")
Paths = Mapping[str, tuple[int, Sequence[float]]]


def panel(paths: Paths, first: int = 1, *, weight: Mapping[str, float] | None = None, people: Any = None) -> Panel:
    """Areas with their start (0: never) and their path of ``y``; person-years per area and period in ``people``."""
    rows = [
        (area, first + place, start, value)
        for area, (start, values) in paths.items()
        for place, value in enumerate(values)
    ]
    table = pd.DataFrame(rows, columns=["area", "year", "start", "y"])
    roles: dict[str, Any] = {}
    if weight is not None:
        table["w"] = table["area"].map(weight)
        roles["weight"] = "w"
    if people is not None:
        table["people"] = np.concatenate([people[area] for area in paths])
        roles["exposure"] = "people"
    return Panel(table, unit="area", time="year", cohort="start", never=0, **roles)


def spells(days: Sequence[int], event: Sequence[int], cause: Sequence[str] | None = None) -> Spells:
    """One spell per person from day 0: its end, whether it ends with the event, and the cause."""
    table = pd.DataFrame({"person": range(len(days)), "days": days, "new": event})
    if cause is None:
        return Spells(table, person="person", exit="days", event="new")
    table["why"] = pd.Series(cause, dtype=object).where(table["new"] == 1, None)
    return Spells(table, person="person", exit="days", event="new", cause="why")


def effects(values: Sequence[float], variances: Sequence[float]) -> Estimate[None]:
    """Independent normal estimates of areas."""
    terms = make_terms({"estimand": "att", "unit": [f"area {place}" for place in range(len(values))]}, len(values))
    return Estimate(np.array(values, dtype=float), terms, Covariance(np.diag(np.array(variances, dtype=float))), None)


def study(values: Sequence[float], covariance: Any, before: int) -> Estimate[None]:
    """An event study of which the last period before the start is the reference (not among the values)."""
    times = [*range(-before - 1, -1), *range(len(values) - before)]
    terms = make_terms({"estimand": "att", "event_time": times}, len(values))
    return Estimate(np.array(values, dtype=float), terms, Covariance(np.array(covariance, dtype=float)), None)


def two_way(paths: Paths) -> Estimate[LinearFit]:
    """Regression on treatment with unit and period effects."""
    rows = [
        (area, place, float(start > 0 and place + 1 >= start), value)
        for area, (start, values) in paths.items()
        for place, value in enumerate(values)
    ]
    table = pd.DataFrame(rows, columns=["unit", "time", "treated", "y"])
    return fit_linear(
        table["y"].to_numpy(dtype=float),
        table[["treated"]].to_numpy(),
        ["treated"],
        table[["unit", "time"]],
        absorb=True,
    )


def details(estimate: Estimate[D]) -> D:
    """What the method keeps; all methods here keep something."""
    if estimate.details is None:
        raise ValueError("an estimate without details")
    return estimate.details


def at(estimate: Estimate[Any], **labels: Any) -> float:
    """The one value with these labels."""
    (value,) = estimate.where(**labels).values
    return float(value)
