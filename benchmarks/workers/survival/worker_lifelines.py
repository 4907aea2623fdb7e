"""lifelines. Its Aalen-Johansen breaks ties at random; the variance is on by default."""

from typing import Any

from _measure import measure

HORIZON = 730


def load() -> Any:
    import lifelines

    return lifelines


def prepare(tool: Any, frame: Any) -> Any:
    return frame["exit"].to_numpy(), frame["cause"].to_numpy()


def fit(tool: Any, data: Any, variant: str) -> Any:
    days, cause = data
    if variant == "kaplan_meier":
        fitted = tool.KaplanMeierFitter().fit(days, cause == 1)
        return 1 - fitted.survival_function_, fitted.confidence_interval_, None
    fitted = tool.AalenJohansenFitter(calculate_variance=True, seed=1).fit(days, cause, event_of_interest=1)
    return fitted.cumulative_density_, fitted.confidence_interval_, fitted.variance_


def numbers(tool: Any, data: Any, result: Any, variant: str) -> dict[str, Any]:
    curve, _, variance = result
    # Kaplan-Meier: lifelines shows the interval, not the standard error.
    std_error = None if variance is None else float(variance.loc[:HORIZON].iloc[-1]) ** 0.5
    return {"simple": float(curve.loc[:HORIZON].iloc[-1, 0]), "std_error": std_error}


measure(load, prepare, fit, numbers, floor="exit")
