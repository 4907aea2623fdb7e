"""wildboottest on a statsmodels regression: unit effects taken out beforehand (exact: they lie inside clusters)."""

from typing import Any

from _measure import WILD_DRAWS, measure, within_units


def load() -> Any:
    import statsmodels.api
    import wildboottest.wildboottest

    return statsmodels.api, wildboottest.wildboottest


def prepare(tool: Any, frame: Any) -> Any:
    return frame


def fit(tool: Any, frame: Any, variant: str) -> Any:
    y, design = within_units(frame)
    model = tool[0].OLS(y, design)
    names = model.exog_names
    result = tool[1].wildboottest(
        model, param=names[0], cluster=frame["unit"], B=WILD_DRAWS, weights_type="rademacher", seed=1, show=False
    )
    return model.fit().params[0], result


def numbers(tool: Any, frame: Any, result: Any, variant: str) -> dict[str, Any]:
    estimate, table = result
    return {"simple": float(estimate), "p_value": float(table["p-value"].iloc[0])}


measure(load, prepare, fit, numbers)
