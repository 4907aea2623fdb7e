"""statspai: a separate synthetic control per area; its placebos (each donor at each start) where they are compared."""

from typing import Any

from _measure import measure


def load() -> Any:
    import statspai

    return statspai


def prepare(tool: Any, frame: Any) -> Any:
    treated = (frame["cohort"] > 0) & (frame["time"] >= frame["cohort"])
    return frame[["unit", "time", "y"]].assign(treated=treated.astype(int))


def fit(tool: Any, frame: Any, variant: str) -> Any:
    placebo = variant == "with placebos"
    result = tool.staggered_synth(frame, "y", "unit", "time", "treated", method="separate", placebo=placebo)
    return result.model_info["unit_effects"]


def numbers(tool: Any, frame: Any, result: Any, variant: str) -> dict[str, Any]:
    areas = result.sort_values("unit")
    return {"units": [float(value) for value in areas["att"]]}


measure(load, prepare, fit, numbers)
