"""pyfixest: an event-study regression and its simultaneous confidence band (normal draws from the covariance)."""

from typing import Any

from _measure import DRAWS, event_columns, measure


def load() -> Any:
    import pyfixest

    return pyfixest


def prepare(pf: Any, frame: Any) -> Any:
    import pandas as pd

    names, columns = event_columns(frame)
    return pd.concat([frame[["unit", "time", "y"]], pd.DataFrame(columns, columns=names)], axis=1), names


def fit(pf: Any, data: Any, variant: str) -> Any:
    frame, names = data
    regression = pf.feols(f"y ~ {' + '.join(names)} | unit + time", frame, vcov={"CRV1": "unit"})
    return regression.tidy(), regression.confint(joint=True, reps=DRAWS, seed=1)


def numbers(pf: Any, data: Any, result: Any, variant: str) -> dict[str, Any]:
    table, band = result
    half = (band.iloc[:, 1] - band.iloc[:, 0]).to_numpy() / 2
    return {
        "simple": float(table["Estimate"].iloc[-1]),
        "critical": float((half / table["Std. Error"].to_numpy()).mean()),
    }


measure(load, prepare, fit, numbers)
