"""statspai: classic synthetic control without predictors, placebos of all donors on by default."""

from typing import Any

from _measure import measure


def load() -> Any:
    import statspai

    return statspai


def prepare(tool: Any, frame: Any) -> Any:
    """The frame, the treated unit and its start, which the call asks for."""
    treated = frame[frame["cohort"] > 0]
    return frame[["unit", "time", "y"]], treated["unit"].iloc[0], int(treated["cohort"].iloc[0])


def fit(tool: Any, data: Any, variant: str) -> Any:
    frame, unit, start = data
    result = tool.synth(
        frame, outcome="y", unit="unit", time="time", treated_unit=unit, treatment_time=start, placebo=True
    )
    return result, result.model_info["placebo_table"]


def numbers(tool: Any, data: Any, result: Any, variant: str) -> dict[str, Any]:
    return {"simple": float(result[0].estimate), "p_value": float(result[0].pvalue)}


measure(load, prepare, fit, numbers)
