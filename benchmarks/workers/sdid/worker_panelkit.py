"""panelkit: one block per cohort, averaged over treated unit-years."""

from typing import Any

from _measure import measure


def load() -> Any:
    import panelkit

    return panelkit


def prepare(tool: Any, columns: Any) -> Any:
    """Per cohort: untreated units with the cohort below them, rows of the cohort, periods before its start."""
    import numpy as np

    times = np.unique(columns["time"])
    outcome = columns["y"].reshape(-1, len(times))
    cohort = columns["cohort"][:: len(times)]
    donors = np.flatnonzero(cohort == 0)
    blocks = []
    for start in np.unique(cohort[cohort > 0]):
        treated = np.flatnonzero(cohort == start)
        rows = list(range(len(donors), len(donors) + len(treated)))
        blocks.append((outcome[np.concatenate([donors, treated])], rows, int((times < start).sum())))
    return blocks


def fit(tool: Any, blocks: Any, variant: str) -> Any:
    effects = [tool.SyntheticDiD().fit(outcome, rows, before).att for outcome, rows, before in blocks]
    weights = [len(rows) * (outcome.shape[1] - before) for outcome, rows, before in blocks]
    return sum(e * w for e, w in zip(effects, weights, strict=True)) / sum(weights)


def numbers(tool: Any, data: Any, result: Any, variant: str) -> dict[str, Any]:
    return {"simple": float(result)}


measure(load, prepare, fit, numbers, as_frame=False)
