"""statspai: treated units of one start date only, point estimate."""

from typing import Any

from _measure import measure


def load() -> Any:
    import statspai

    return statspai


def prepare(tool: Any, frame: Any) -> Any:
    treated = frame[frame["cohort"] > 0]
    return frame[["unit", "time", "y"]], treated["unit"].iloc[0], int(treated["cohort"].iloc[0])


def fit(tool: Any, data: Any, variant: str) -> Any:
    frame, unit, start = data
    return tool.sdid(
        frame,
        outcome="y",
        unit="unit",
        time="time",
        treated_unit=unit,
        treatment_time=start,
        se_method="noinference",
    )


def numbers(tool: Any, data: Any, result: Any, variant: str) -> dict[str, Any]:
    return {"simple": float(result.estimate)}


measure(load, prepare, fit, numbers)
