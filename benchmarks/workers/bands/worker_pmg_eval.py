"""pmg_eval: 999 draws for the band of an event study, of the kind that the package beside it makes."""

from typing import Any

from _measure import DRAWS, event_columns, measure


def load() -> Any:
    import pmg_eval
    from pmg_eval import did, estimate  # noqa: F401 (reached as pmg_eval.did)

    return pmg_eval


def prepare(pe: Any, frame: Any) -> Any:
    panel = pe.Panel(frame, unit="unit", time="time", cohort="cohort", never=0)
    return panel, frame["y"].to_numpy(), *event_columns(frame), frame[["unit", "time"]].copy()


def study(pe: Any, data: Any, variant: str) -> Any:
    panel, y, names, columns, rows = data
    if variant == "regression":
        return pe.estimate.fit_linear(y, columns, names, rows, absorb=True)
    cells = pe.did.group_time(panel, "y", controls=pe.did.NeverTreated(), covariates="~ x", method="dr")
    return cells.average(by="event_time")


def fit(pe: Any, data: Any, variant: str) -> Any:
    # pyfixest draws normals from the covariance, diff-diff multiplies influence rows
    method = "gaussian" if variant == "regression" else "multiplier"
    return study(pe, data, variant).band(rng=1, draws=DRAWS, method=method)


def numbers(pe: Any, data: Any, band: Any, variant: str) -> dict[str, Any]:
    return {"simple": float(band["estimate"].iloc[-1]), "critical": float(band.attrs["critical_value"])}


measure(load, prepare, fit, numbers)
