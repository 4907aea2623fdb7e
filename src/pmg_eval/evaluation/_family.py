"""Which family an outcome asks for, and estimators with that family bound."""

from __future__ import annotations

from functools import partial
from inspect import signature
from typing import Any, Literal

import numpy as np

from pmg_eval.errors import warn
from pmg_eval.panel import Panel
from pmg_eval.typing import Estimator

Family = Literal["gaussian", "poisson"]
FEW_ODD = 0.05  # share of cells that are no counts, below which they look like typing errors


def family_of(panel: Panel, outcome: str) -> Family:
    """``"poisson"`` for counts (whole numbers, none negative) of a panel with an exposure role, else ``"gaussian"``.

    Warns
    -----
    PmgEvalWarning
        PMG-NOT-COUNTS when nearly all values are counts: the others are probably typing errors.
    """
    if panel.exposure is None:
        return "gaussian"
    values = panel.for_outcome(outcome).column(outcome)
    odd = ~((values >= 0) & (values == np.round(values)))
    if not odd.any():
        return "poisson"
    if odd.mean() < FEW_ODD:
        warn(
            "PMG-NOT-COUNTS",
            f"{not_counts(panel, outcome)}, although {(~odd).sum()} of {len(odd)} values are counts",
            fix='correct them (a thousands separator reads "1.050" as 1.05), or say family="gaussian"',
        )
    return "gaussian"


def not_counts(panel: Panel, outcome: str) -> str:
    """Why the outcome of a panel with exposure is not taken for counts, with the first cells; empty when it is."""
    if panel.exposure is None:
        return ""
    panel = panel.for_outcome(outcome)
    values = panel.column(outcome)
    odd = np.flatnonzero(~((values >= 0) & (values == np.round(values))))
    if not len(odd):
        return ""
    units, times = panel.units[panel.row_unit[odd[:3]]], panel.times[panel.row_time[odd[:3]]]
    shown = ", ".join(f"{unit} in {time}" for unit, time in zip(units, times, strict=True))
    return (
        f"{outcome!r} is no count in {len(odd)} cells (first: {shown}), so effects are differences and exposure only "
        "says how large areas are"
    )


def for_areas(estimator: Estimator, panel: Panel, outcome: str) -> Estimator:
    """The estimator as single areas need it, unless the caller bound these options.

    The outcome's family, and no pre-trend rows: nobody reads them there, and they would cost most of the time of the
    many placebo fits.
    """
    bound: dict[str, Any] = estimator.keywords if isinstance(estimator, partial) else {}
    target = estimator.func if isinstance(estimator, partial) else estimator
    try:
        options = signature(target).parameters
    except (TypeError, ValueError):  # a builtin without a signature: nothing to bind
        return estimator
    added: dict[str, Any] = {}
    if "family" in options and "family" not in bound:
        added["family"] = family_of(panel, outcome)
    if "pretrend" in options and "pretrend" not in bound:
        added["pretrend"] = False
    return partial(estimator, **added) if added else estimator
