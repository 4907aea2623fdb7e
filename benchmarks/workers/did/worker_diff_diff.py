"""diff-diff. Its dr divides by the treated, not by the controls' own weight sum, so its numbers differ a little."""

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
        n_bootstrap=DRAWS if variant == "band" else 0,
        cband=variant == "band",
        seed=1,
    )
    cells = estimator.fit(frame, "y", "unit", "time", "cohort", covariates=["x"])
    event = cells.aggregate("event_study")
    event.to_dataframe()
    return cells, event


def numbers(tool: Any, frame: Any, result: Any, variant: str) -> dict[str, Any]:
    cells, event = result
    return {
        "simple": float(cells.overall_att),
        "event_time": [int(e) for e in event.event_time],
        "estimate": [float(value) for value in event.att],
        "std_error": [float(value) for value in event.se],
        "critical": float(event.cband_crit_value) if variant == "band" else None,
    }


measure(load, prepare, fit, numbers)
