"""pmg_eval: cohort by cohort, averaged over treated unit-years; the jackknife comes with it where it exists."""

from typing import Any

from _measure import measure


def load() -> Any:
    import pmg_eval
    from pmg_eval import synth  # noqa: F401 (reached as pmg_eval.synth)

    return pmg_eval


def prepare(pe: Any, frame: Any) -> Any:
    return pe.Panel(frame, unit="unit", time="time", cohort="cohort", never=0)


def fit(pe: Any, panel: Any, variant: str) -> Any:
    return pe.synth.sdid(panel, "y").average().to_frame()


def numbers(pe: Any, panel: Any, result: Any, variant: str) -> dict[str, Any]:
    return {"simple": float(result["estimate"].iloc[0])}


measure(load, prepare, fit, numbers)
