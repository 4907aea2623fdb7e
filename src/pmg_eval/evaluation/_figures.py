"""Numbers as a sentence writes them."""

from __future__ import annotations

import numpy as np

from pmg_eval.estimate.scales import ScaleName


def figure(value: float) -> str:
    """Three digits; large numbers written out."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def signed(value: float) -> str:
    """With its sign."""
    return f"{'+' if value > 0 else ''}{figure(value)}"


def change(ratio: float) -> str:
    """A ratio as a change in percent; beyond tenfold as a multiple."""
    return f"{figure(ratio)} times" if ratio >= 10 else f"{100 * (ratio - 1):+.1f} %"


def effect(value: float, scale: ScaleName) -> str:
    """An effect on its scale: a change in percent for ratios, else a signed number."""
    if np.isnan(value):
        return "unknown"
    return change(value) if scale == "log" else signed(value)


def interval(low: float, high: float, scale: ScaleName) -> str:
    """Both ends of an interval."""
    return f"{effect(low, scale)} to {effect(high, scale)}"


def counted(number: int, one: str, many: str) -> str:
    """``1 area``, ``2 areas``."""
    return f"{number:,} {one if number == 1 else many}"
