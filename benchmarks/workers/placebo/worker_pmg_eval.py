"""pmg_eval: the effect with its placebo law; the rank of the RMSPE ratio stands in its details."""

from typing import Any

from _measure import measure


def load() -> Any:
    import pmg_eval
    from pmg_eval import resample, synth  # noqa: F401 (reached as pmg_eval.synth)

    return pmg_eval


def prepare(pe: Any, frame: Any) -> Any:
    return pe.Panel(frame, unit="unit", time="time", cohort="cohort", never=0)


def fit(pe: Any, panel: Any, variant: str) -> Any:
    effect = pe.resample.placebo(pe.synth.classic, panel, "y")
    return effect, effect.to_frame()


def numbers(pe: Any, panel: Any, result: Any, variant: str) -> dict[str, Any]:
    effect = result[0]
    return {"simple": float(effect.values[0]), "p_value": float(effect.details.checks["p_rmspe_ratio"].iloc[0])}


measure(load, prepare, fit, numbers)
