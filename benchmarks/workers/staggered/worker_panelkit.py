"""panelkit has no staggered synthetic control: a loop over the treated areas, each with all untreated ones."""

from typing import Any

from _measure import measure


def load() -> Any:
    import panelkit

    return panelkit


def prepare(tool: Any, columns: Any) -> Any:
    """Per treated area the donors with the area below them, and the number of periods before its start."""
    import numpy as np

    times = np.unique(columns["time"])
    outcome = columns["y"].reshape(-1, len(times))
    cohort = columns["cohort"][:: len(times)]
    donors = np.flatnonzero(cohort == 0)
    areas = np.flatnonzero(cohort)
    return [(outcome[np.append(donors, area)], len(donors), int((times < cohort[area]).sum())) for area in areas]


def fit(tool: Any, data: Any, variant: str) -> Any:
    return [tool.SyntheticControl().fit(outcome, [row], before).att for outcome, row, before in data]


def numbers(tool: Any, data: Any, result: Any, variant: str) -> dict[str, Any]:
    return {"units": [float(value) for value in result]}


measure(load, prepare, fit, numbers, as_frame=False)
