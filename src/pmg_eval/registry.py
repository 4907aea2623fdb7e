"""Every estimator once: its call, the data it needs, and the laws it claims.

``evaluate`` and the laws in the test-suite pick estimators up from here; an estimator is added by one ``register`` call
in its family's ``__init__``. A law not claimed carries its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pmg_eval.errors import DesignError

DataKind = Literal["panel", "counts"]

LAWS: dict[str, str] = {
    "influence": "psi summed to units is n times the derivative of the estimate in the log weight of the unit",
    "row_order": "the order of rows does not matter",
    "relabel_units": "other names for the units change nothing",
    "shift_time": "shifting all periods and starts by k changes nothing",
    "irrelevant_columns": "unused columns change nothing",
    "add_constant": "outcome + constant: same effects",
    "scale_outcome": "outcome x c: effects x c",
    "unit_effects": "outcome + any unit effects: same effects",
    "period_effects": "outcome + any period effects: same effects",
    "planted_effect": "outcome + tau x treated: effects + tau, same standard errors",
    "additive": "effects of a sum of outcomes are sums of effects",
    "scale_weights": "weights x constant: nothing changes",
    "duplicate_controls": "every never-treated unit k times: same estimates",
    "zero_influence_sum": "the influence values of each term sum to zero",
    "exposure_scale": "counts and exposure x k: same rate ratios",
    "unit_rate_effects": "exposure of a unit x k in all periods: same rate ratios",
    "homogeneous": "a noise-free homogeneous effect is recovered exactly",
}


@dataclass(frozen=True)
class Entry:
    """One registered estimator (with options that make it a variant of its own).

    Attributes
    ----------
    name : str
        Public name and variant, for example ``"did.group_time[ipw]"``.
    function : callable
        ``function(panel, outcome, **options) -> Estimate``.
    options : dict
    data : {"panel", "counts"}
        What valid data look like: a continuous outcome, or counts with exposure.
    laws : frozenset of str
        Laws claimed (keys of :data:`LAWS`).
    not_claimed : dict
        Reason for every other law.
    """

    name: str
    function: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    data: DataKind = "panel"
    laws: frozenset[str] = frozenset()
    not_claimed: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, panel: Any, outcome: str) -> Any:
        """The estimate with the entry's options."""
        return self.function(panel, outcome, **self.options)


REGISTRY: dict[str, Entry] = {}


def register(entry: Entry) -> None:
    """Add an estimator; every law is either claimed or has its reason.

    Raises
    ------
    DesignError
        A name taken already, an unknown law, or a law without claim and reason.
    """
    if entry.name in REGISTRY:
        raise DesignError("PMG-REGISTRY", f"{entry.name} is registered already")
    unknown = (entry.laws | set(entry.not_claimed)) - set(LAWS)
    silent = set(LAWS) - entry.laws - set(entry.not_claimed)
    if unknown or silent:
        raise DesignError(
            "PMG-REGISTRY", f"{entry.name}: laws unknown {sorted(unknown)}, without claim or reason {sorted(silent)}"
        )
    REGISTRY[entry.name] = entry
