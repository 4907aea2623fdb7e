"""statsmodels: both estimators come with standard errors and without a table for competing risks (made here)."""

from typing import Any

from _measure import measure

HORIZON = 730


def load() -> Any:
    from statsmodels.duration import survfunc

    return survfunc


def prepare(tool: Any, frame: Any) -> Any:
    return frame["exit"].to_numpy(), frame["cause"].to_numpy()


def fit(tool: Any, data: Any, variant: str) -> Any:
    import pandas as pd

    days, cause = data
    if variant == "kaplan_meier":
        return tool.SurvfuncRight(days, (cause == 1).astype(int)).summary()
    fitted = tool.CumIncidenceRight(days, cause)
    return pd.DataFrame({"share": fitted.cinc[0], "std_error": fitted.cinc_se[0]}, index=fitted.times)


def numbers(tool: Any, data: Any, result: Any, variant: str) -> dict[str, Any]:
    row = result.loc[:HORIZON].iloc[-1]
    if variant == "kaplan_meier":
        return {"simple": 1 - float(row["Surv prob"]), "std_error": float(row["Surv prob SE"])}
    return {"simple": float(row["share"]), "std_error": float(row["std_error"])}


measure(load, prepare, fit, numbers, floor="exit")
