"""panelkit: the synthetic control of the treated unit and of every donor; arrays in, no labels, no table."""

from typing import Any

from _measure import measure


def load() -> Any:
    import panelkit

    return panelkit


def prepare(tool: Any, columns: Any) -> Any:
    """Matrix with the treated unit, its row, and the number of periods before its start."""
    import numpy as np

    times = np.unique(columns["time"])
    outcome = columns["y"].reshape(-1, len(times))
    cohort = columns["cohort"][:: len(times)]
    row = int(np.flatnonzero(cohort)[0])
    return outcome, row, int((times < cohort[row]).sum())


def fit(tool: Any, data: Any, variant: str) -> Any:
    outcome, row, before = data
    result = tool.SyntheticControl(inference="placebo").fit(outcome, [row], before)
    return result.att, result.p_value, result.inference_distribution, result.placebo_atts


def numbers(tool: Any, data: Any, result: Any, variant: str) -> dict[str, Any]:
    return {"simple": float(result[0]), "p_value": float(result[1])}


measure(load, prepare, fit, numbers, as_frame=False)
