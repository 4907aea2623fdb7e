"""synthdid-py, the port of the authors' R package with its stopping rule."""

from typing import Any

from _measure import measure


def load() -> Any:
    import synthdid

    return synthdid


def prepare(tool: Any, frame: Any) -> Any:
    treated = (frame["cohort"] > 0) & (frame["time"] >= frame["cohort"])
    return frame[["unit", "time", "y"]].assign(treated=treated.astype(int))


def fit(tool: Any, frame: Any, variant: str) -> Any:
    return tool.staggered_synthdid_estimate(frame, unit="unit", time="time", outcome="y", treatment="treated").att


def numbers(tool: Any, data: Any, result: Any, variant: str) -> dict[str, Any]:
    return {"simple": float(result)}


measure(load, prepare, fit, numbers)
