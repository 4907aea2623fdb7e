"""pmg_eval: the regression and its restricted wild cluster bootstrap."""

from typing import Any

from _measure import WILD_DRAWS, measure, treated


def load() -> Any:
    import pmg_eval
    from pmg_eval import estimate, resample  # noqa: F401 (reached as pmg_eval.estimate)

    return pmg_eval


def prepare(pe: Any, frame: Any) -> Any:
    return frame["y"].to_numpy(), treated(frame)[:, None], frame[["unit", "time"]].copy()


def fit(pe: Any, data: Any, variant: str) -> Any:
    y, start, rows = data
    regression = pe.estimate.fit_linear(y, start, ["start"], rows, absorb=True)
    return pe.resample.wild(regression, draws=WILD_DRAWS, invert=variant == "p and interval", rng=1)


def numbers(pe: Any, data: Any, test: Any, variant: str) -> dict[str, Any]:
    ends = [test.conf_low, test.conf_high] if variant == "p and interval" else None
    return {"simple": test.estimate, "p_value": test.p_value, "interval": ends}


measure(load, prepare, fit, numbers)
