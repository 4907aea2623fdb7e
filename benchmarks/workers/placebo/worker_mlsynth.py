"""mlsynth: outcome-only synthetic control with its placebo test; it wants a column that is one where treated."""

from typing import Any

from _measure import measure


def load() -> Any:
    from mlsynth import VanillaSC

    return VanillaSC


def prepare(tool: Any, frame: Any) -> Any:
    treated = (frame["cohort"] > 0) & (frame["time"] >= frame["cohort"])
    return frame[["unit", "time", "y"]].assign(treated=treated.astype(int))


def fit(tool: Any, frame: Any, variant: str) -> Any:
    settings = {
        "df": frame,
        "outcome": "y",
        "treat": "treated",
        "unitid": "unit",
        "time": "time",
        "backend": "outcome-only",
        "inference": "placebo",
        "display_graphs": False,
    }
    return tool(settings).fit()


def numbers(tool: Any, frame: Any, result: Any, variant: str) -> dict[str, Any]:
    return {"simple": float(result.effects.att), "p_value": float(result.inference.p_value)}


measure(load, prepare, fit, numbers)
