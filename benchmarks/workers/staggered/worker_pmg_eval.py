"""pmg_eval: poor fits are refused by comparison with all 313 placebos of each of the three windows, or kept."""

from typing import Any

from _measure import measure


def load() -> Any:
    import pmg_eval
    from pmg_eval import synth  # noqa: F401 (reached as pmg_eval.synth)

    return pmg_eval


def prepare(pe: Any, frame: Any) -> Any:
    return pe.Panel(frame, unit="unit", time="time", cohort="cohort", never=0)


def fit(pe: Any, panel: Any, variant: str) -> Any:
    poor_fit = "keep" if variant == "poor fit kept" else "refuse"
    return pe.synth.classic(panel, "y", poor_fit=poor_fit).average(by="unit").to_frame()


def numbers(pe: Any, panel: Any, result: Any, variant: str) -> dict[str, Any]:
    """Areas with one best fit; inside the hull there are many, with other effects, and refused areas have none."""
    areas = result.set_index("unit")["estimate"]
    fit = pe.synth.classic(panel, "y", poor_fit="keep").details.fit.set_index("unit")["unique"]
    return {
        "units": [
            float(areas[unit]) if fit[unit] and areas[unit] == areas[unit] else None for unit in sorted(areas.index)
        ]
    }


measure(load, prepare, fit, numbers)
