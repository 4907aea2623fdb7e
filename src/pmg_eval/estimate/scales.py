"""Scales on which an interval is symmetric: the link, its inverse and its derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pmg_eval.numerics.rows import Array

ScaleName = Literal["identity", "log", "logit", "cloglog"]


@dataclass(frozen=True)
class Scale:
    """A link g: ``to`` = g, ``back`` = its inverse, ``slope`` = its derivative; ``null`` is the value of no effect."""

    to: Callable[[Array], Array]
    back: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    null: float
    increasing: bool = True

    def null_on_scale(self) -> float:
        """The value of no effect on the link's scale (NaN when there is none)."""
        return float(self.to(np.array([self.null]))[0])


def _same(x: Array) -> Array:
    return x


def _cloglog(x: Array) -> Array:
    """log(-log) of the complement: of the share that has not had the event."""
    return np.log(-np.log1p(-x))


# No effect is 0 for differences and 1 for ratios; a probability has no value of no effect.
SCALES: dict[ScaleName, Scale] = {
    "identity": Scale(_same, _same, np.ones_like, 0.0),
    "log": Scale(np.log, np.exp, lambda x: 1 / x, 1.0),
    "logit": Scale(lambda x: np.log(x / (1 - x)), lambda z: 1 / (1 + np.exp(-z)), lambda x: 1 / (x * (1 - x)), np.nan),
    "cloglog": Scale(_cloglog, lambda z: -np.expm1(-np.exp(z)), lambda x: -1 / ((1 - x) * np.log1p(-x)), np.nan),
}
