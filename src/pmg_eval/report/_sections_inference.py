"""Which law stands behind an interval, and what else was tried."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pmg_eval.estimate.scales import ScaleName
from pmg_eval.report._columns import capital, effect_columns, floats, table
from pmg_eval.report._like import INTERVAL
from pmg_eval.report._tables import Cell, Table
from pmg_eval.report._words import Measure, clean

ALPHA = 0.05
ALL = "all"


def inference_table(tried: pd.DataFrame, scale: ScaleName) -> Table:
    """Every method that was tried, overall and per wave, the headline first."""
    numbers = floats(tried, "estimate", "conf_low", "conf_high", "p_value", "p_min", "p_error")
    measure = Measure.of(numbers, scale)
    roles = [_role(row["role"], bool(row["valid"])) for _, row in numbers.iterrows()]
    return table(
        "How sure: the methods that were tried",
        [
            ("Wave", ["All waves" if wave == ALL else clean(wave) for wave in numbers["cohort"]], ""),
            ("Method", [capital(clean(name)) for name in numbers["method"]], ""),
            ("Role", roles, ""),
            *(column for column in effect_columns(numbers, measure) if column[0] in (INTERVAL, "p")),
            ("Remarks", [capital(clean(text)) for text in numbers["note"]], "prose"),
        ],
    )


def _role(role: object, valid: bool) -> Cell:
    if role == "headline":
        return Cell("headline", "pass")
    return Cell("beside") if valid else Cell("beside, not valid here")


def inference_sentence(tried: pd.DataFrame) -> str:
    """Whether the valid methods agree about the overall effect."""
    whole = tried.loc[tried["cohort"] == ALL]
    head = whole.loc[whole["role"] == "headline"]
    rest = whole.loc[(whole["role"] != "headline") & whole["valid"].astype(bool)]
    rest = rest.loc[np.isfinite(rest["p_value"].to_numpy(dtype=np.float64))]
    if len(head) == 0:
        return ""
    name, p = clean(head["method"].iloc[0]), float(head["p_value"].iloc[0])
    said = f"The interval of the headline comes from the {name}, which the number of areas decides, not its result."
    if len(rest) == 0 or not np.isfinite(p):
        return f"{said} No other method is valid for this design."
    other = rest["p_value"].to_numpy(dtype=np.float64)
    error = np.nan_to_num(rest["p_error"].to_numpy(dtype=np.float64)) if "p_error" in rest else np.zeros(len(rest))
    # a p within two Monte-Carlo errors of 0.05 contradicts nothing
    apart = rest.loc[((other < ALPHA) != (p < ALPHA)) & (np.abs(other - ALPHA) > 2 * error)]
    if len(apart) == 0:
        return f"{said} No other valid method lies clearly on the other side of p = 0.05."
    names = " and ".join(clean(text) for text in apart["method"])
    return (
        f"{said} The evidence is mixed: {names} {'lies' if len(apart) == 1 else 'lie'} on the other side of p = 0.05."
    )


__all__ = ["inference_sentence", "inference_table"]
