"""csdid. It prints its tables; only the event study is bootstrapped, its cheapest way to a band."""

import io
from contextlib import redirect_stdout
from typing import Any

from _measure import DRAWS, measure


def load() -> Any:
    from csdid.att_gt import ATTgt

    return ATTgt


def prepare(tool: Any, frame: Any) -> Any:
    return frame


def fit(tool: Any, frame: Any, variant: str) -> Any:
    with redirect_stdout(io.StringIO()):
        cells = tool(
            yname="y",
            tname="time",
            idname="unit",
            gname="cohort",
            data=frame,
            control_group=["nevertreated"],
            xformla="y ~ x",
            cband=False,
        ).fit(est_method="dr", base_period="varying", bstrap=False)
        event = dict(cells.aggte("dynamic", bstrap=variant == "band", cband=variant == "band", biters=DRAWS).atte)
    return cells, event


def numbers(tool: Any, frame: Any, result: Any, variant: str) -> dict[str, Any]:
    import numpy as np

    cells, event = result
    with redirect_stdout(io.StringIO()):
        simple = cells.aggte("simple", bstrap=False, cband=False).atte
    return {
        "simple": float(simple["overall_att"]),
        "event_time": [int(e) for e in event["egt"]],
        "estimate": [float(value) for value in event["att_egt"]],
        "std_error": [float(value) for value in np.ravel(event["se_egt"])],
        "critical": float(event["crit_val_egt"]) if variant == "band" else None,
    }


measure(load, prepare, fit, numbers)
