"""pyfixest: feols and its wildboottest (which calls the package wildboottest on all dummies). No interval."""

from typing import Any

from _measure import WILD_DRAWS, measure, treated


def load() -> Any:
    import pyfixest
    import wildboottest.wildboottest  # noqa: F401 (what wildboottest() imports)

    return pyfixest


def prepare(pf: Any, frame: Any) -> Any:
    return frame.assign(start=treated(frame))


def fit(pf: Any, frame: Any, variant: str) -> Any:
    regression = pf.feols("y ~ start | unit + time", frame, vcov={"CRV1": "unit"})
    return regression, regression.wildboottest(reps=WILD_DRAWS, cluster="unit", param="start", seed=1)


def numbers(pf: Any, frame: Any, result: Any, variant: str) -> dict[str, Any]:
    regression, test = result
    return {"simple": float(regression.coef()["start"]), "p_value": float(test["Pr(>|t|)"])}


measure(load, prepare, fit, numbers)
