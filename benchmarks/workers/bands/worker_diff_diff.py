"""diff-diff: group-time effects by event time with 999 multiplier draws (see workers/did for its numbers)."""

from typing import Any

from _measure import DRAWS, measure


def load() -> Any:
    import diff_diff

    return diff_diff


def prepare(tool: Any, frame: Any) -> Any:
    return frame


def fit(tool: Any, frame: Any, variant: str) -> Any:
    estimator = tool.CallawaySantAnna(
        control_group="never_treated",
        estimation_method="dr",
        base_period="varying",
        n_bootstrap=DRAWS,
        cband=True,
        seed=1,
    )
    event = estimator.fit(frame, "y", "unit", "time", "cohort", covariates=["x"]).aggregate("event_study")
    event.to_dataframe()
    return event


def numbers(tool: Any, frame: Any, event: Any, variant: str) -> dict[str, Any]:
    return {"simple": float(event.att[-1]), "critical": float(event.cband_crit_value)}


measure(load, prepare, fit, numbers)
