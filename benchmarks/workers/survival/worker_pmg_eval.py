"""pmg_eval: the spells are validated off the clock (its own line)."""

from typing import Any

from _measure import measure

HORIZON = 730
CAUSES = ("new offense", "death")


def load() -> Any:
    import pmg_eval
    from pmg_eval import recidivism  # noqa: F401 (reached as pmg_eval.recidivism)

    return pmg_eval


def prepare(pe: Any, frame: Any) -> Any:
    import pandas as pd

    # Codes with names: 0 = new offense, 1 = death, -1 = missing.
    cause = pd.Categorical.from_codes(frame["cause"].to_numpy() - 1, categories=list(CAUSES))
    return pe.Spells(frame.assign(cause=cause), person="person", exit="exit", event="event", cause="cause")


def fit(pe: Any, spells: Any, variant: str) -> Any:
    if variant == "kaplan_meier":
        return pe.recidivism.kaplan_meier(spells, cause=CAUSES[0], horizons=HORIZON).to_frame()
    return pe.recidivism.cumulative_incidence(spells, horizons=HORIZON).to_frame()


def numbers(pe: Any, spells: Any, result: Any, variant: str) -> dict[str, Any]:
    row = result if variant == "kaplan_meier" else result[result["outcome"] == CAUSES[0]]
    return {"simple": float(row["estimate"].iloc[0]), "std_error": float(row["std_error"].iloc[0])}


measure(load, prepare, fit, numbers, floor="exit")
