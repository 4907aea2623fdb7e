"""Which family an outcome asks for, and estimators with that family bound."""

from __future__ import annotations

from functools import partial
from inspect import signature
from typing import Any, Literal

import numpy as np

from pmg_eval.panel import Panel
from pmg_eval.typing import Estimator

Family = Literal["gaussian", "poisson"]


def family_of(panel: Panel, outcome: str) -> Family:
    """``"poisson"`` for counts (whole numbers, none negative) of a panel with an exposure role, else ``"gaussian"``."""
    if panel.exposure is None:
        return "gaussian"
    values = panel.for_outcome(outcome).column(outcome)
    return "poisson" if (values >= 0).all() and np.array_equal(values, np.round(values)) else "gaussian"


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
