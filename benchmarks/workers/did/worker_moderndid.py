"""moderndid as installed by default (without numba); only the event study is bootstrapped."""

from typing import Any

from _measure import DRAWS, measure


def load() -> Any:
    import moderndid

    return moderndid


def prepare(tool: Any, frame: Any) -> Any:
    return frame


def fit(tool: Any, frame: Any, variant: str) -> Any:
    cells = tool.att_gt(
        frame,
        yname="y",
        tname="time",
        idname="unit",
        gname="cohort",
        xformla="~ x",
        est_method="dr",
        control_group="nevertreated",
        base_period="varying",
        boot=False,
        cband=False,
    )
    return cells, tool.aggte(cells, type="dynamic", cband=variant == "band", biters=DRAWS, random_state=1)


def numbers(tool: Any, frame: Any, result: Any, variant: str) -> dict[str, Any]:
    cells, event = result
    return {
        "simple": float(tool.aggte(cells, type="simple", cband=False).overall_att),
        "event_time": [int(e) for e in event.event_times],
        "estimate": [float(value) for value in event.att_by_event],
        "std_error": [float(value) for value in event.se_by_event],
        "critical": float(event.critical_values[0]) if variant == "band" else None,
    }


measure(load, prepare, fit, numbers)
