"""diff-diff's wild_bootstrap_se, with its interval: unit effects taken out beforehand (exact: they lie in clusters)."""

from typing import Any

from _measure import WILD_DRAWS, measure, within_units


def load() -> Any:
    import diff_diff

    return diff_diff


def prepare(tool: Any, frame: Any) -> Any:
    return frame


def fit(tool: Any, frame: Any, variant: str) -> Any:
    import numpy as np

    y, design = within_units(frame)
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    unit = frame["unit"].to_numpy()
    result = tool.wild_bootstrap_se(design, y, y - design @ beta, unit, 0, n_bootstrap=WILD_DRAWS, seed=1)
    return beta[0], result


def numbers(tool: Any, frame: Any, result: Any, variant: str) -> dict[str, Any]:
    estimate, test = result
    return {"simple": float(estimate), "p_value": float(test.p_value), "interval": [test.ci_lower, test.ci_upper]}


measure(load, prepare, fit, numbers)
