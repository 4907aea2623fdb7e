"""differences: takes the panel with an index, missing where never treated (made off the clock)."""

from typing import Any

from _measure import DRAWS, measure


def load() -> Any:
    from differences import ATTgt

    return ATTgt


def prepare(tool: Any, frame: Any) -> Any:
    return frame.assign(cohort=frame["cohort"].where(frame["cohort"] > 0)).set_index(["unit", "time"])


def fit(tool: Any, frame: Any, variant: str) -> Any:
    cells = tool(data=frame, cohort_column="cohort", base_period="varying")
    cells.fit("y ~ x", est_method="dr", control_group="never_treated", progress_bar=False)
    options = {"boot_iterations": DRAWS, "random_state": 1} if variant == "band" else {}
    return cells, cells.aggregate("event", **options)


def numbers(tool: Any, frame: Any, result: Any, variant: str) -> dict[str, Any]:
    cells, event = result
    estimate = event.xs("ATT", axis=1, level=2).iloc[:, 0]
    std_error = event.xs("std_error", axis=1, level=2).iloc[:, 0]
    critical = None
    if variant == "band":
        upper = event.xs("upper", axis=1, level=2).iloc[:, 0]
        critical = float(((upper - estimate) / std_error).iloc[0])
    return {
        "simple": float(cells.aggregate("simple").xs("ATT", axis=1, level=2).iloc[0, 0]),
        "event_time": [int(e) for e in event.index],
        "estimate": [float(value) for value in estimate],
        "std_error": [float(value) for value in std_error],
        "critical": critical,
    }


measure(load, prepare, fit, numbers)
