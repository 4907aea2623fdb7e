"""pmg_eval: the panel is validated off the clock (its own line), as design section 5 says."""

from typing import Any

from _measure import measure


def load() -> Any:
    import pmg_eval
    from pmg_eval import did  # noqa: F401 (reached as pmg_eval.did)

    return pmg_eval


def prepare(pe: Any, frame: Any) -> Any:
    return pe.Panel(frame, unit="unit", time="time", cohort="cohort", never=0)


def cells(pe: Any, panel: Any) -> Any:
    return pe.did.group_time(panel, "y", controls=pe.did.NeverTreated(), covariates="~ x", method="dr")


def fit(pe: Any, panel: Any, variant: str) -> Any:
    event = cells(pe, panel).average(by="event_time")
    return event.to_frame(), event.band(rng=1) if variant == "band" else None


def numbers(pe: Any, panel: Any, result: Any, variant: str) -> dict[str, Any]:
    event = cells(pe, panel).average(by="event_time")
    simple = cells(pe, panel).average(by=None, overall="simple")
    return {
        "simple": float(simple.values[0]),
        "event_time": [int(e) for e in event.terms["event_time"]],
        "estimate": [float(value) for value in event.values],
        # .se is the raw error of the influence function, without the guard for few treated units: the peers' number.
        "std_error": [float(value) for value in event.se],
        "critical": float(result[1].attrs["critical_value"]) if variant == "band" else None,
    }


measure(load, prepare, fit, numbers)
