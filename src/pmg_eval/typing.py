"""Types that more than one room uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pmg_eval.estimate import Estimate
    from pmg_eval.panel import Panel

Estimator: TypeAlias = "Callable[[Panel, str], Estimate[Any]]"
"""An estimator with its options bound: panel and outcome in, estimate out."""
