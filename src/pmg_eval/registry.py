"""Every estimator once: its call, the data it needs, and the laws it claims.

``evaluate`` and the laws in the test-suite pick estimators up from here; an estimator is added by one ``register`` call
in its family's ``__init__``. Laws belong to a kind of data: an estimator claims each law of its kind or says why not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pmg_eval.errors import DesignError

DataKind = Literal["panel", "counts", "spells"]

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

SPELL_LAWS: dict[str, str] = {
    "influence": "psi summed to persons is the derivative of the estimate in the log weight of the person",
    "row_order": "the order of rows does not matter",
    "relabel_persons": "other ids change nothing",
    "irrelevant_columns": "unused columns change nothing",
    "integer_weights": "a frequency of k is the same as k persons alike",
    "scale_weights": "survey weights x constant: nothing changes",
    "zero_weight": "somebody with weight zero changes nothing",
    "entry_zero": "entry on day 0 for everybody is no entry at all (without events on day 0)",
    "split_spell": "cutting a spell in two on a day without its end changes nothing",
    "groups_apart": "a group alone gives what it gives beside others",
    "additive_counts": "counts of two parts, added, give the estimate from all",
    "complete": "without censoring the estimate is the plain share",
    "monotone": "the share never falls with the horizon, and lies between 0 and 1",
    "time_unit": "all times x k: the same numbers at k x the horizon",
    "one_cause": "with one cause cumulative incidence is 1 - Kaplan-Meier, with the same variance",
    "causes_sum": "the incidences of all causes and the share without event sum to one",
}

LAWS_OF: dict[DataKind, dict[str, str]] = {"panel": LAWS, "counts": LAWS, "spells": SPELL_LAWS}


@dataclass(frozen=True)
class Entry:
    """One registered estimator (with options that make it a variant of its own).

    Attributes
    ----------
    name : str
        Public name and variant, for example ``"did.group_time[ipw]"``.
    function : callable
        ``function(panel, outcome, **options) -> Estimate``; ``function(spells, **options)`` for spells.
    options : dict
    data : {"panel", "counts", "spells"}
        What valid data look like: a continuous outcome, counts with exposure, or spells at risk.
    laws : frozenset of str
        Laws claimed (keys of ``LAWS_OF[data]``).
    not_claimed : dict
        Reason for every other law.
    """

    name: str
    function: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    data: DataKind = "panel"
    laws: frozenset[str] = frozenset()
    not_claimed: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, data: Any, *outcome: str) -> Any:
        """The estimate with the entry's options."""
        return self.function(data, *outcome, **self.options)


REGISTRY: dict[str, Entry] = {}
"""Estimators of panels, by name."""

SPELL_REGISTRY: dict[str, Entry] = {}
"""Estimators of spells, by name."""


def register(entry: Entry) -> None:
    """Add an estimator to the registry of its kind; every law of that kind is either claimed or has its reason.

    Raises
    ------
    DesignError
        A name taken already, an unknown law, or a law without claim and reason.
    """
    registry = SPELL_REGISTRY if entry.data == "spells" else REGISTRY
    if entry.name in registry:
        raise DesignError("PMG-REGISTRY", f"{entry.name} is registered already")
    laws = set(LAWS_OF[entry.data])
    unknown = (entry.laws | set(entry.not_claimed)) - laws
    silent = laws - entry.laws - set(entry.not_claimed)
    if unknown or silent:
        raise DesignError(
            "PMG-REGISTRY", f"{entry.name}: laws unknown {sorted(unknown)}, without claim or reason {sorted(silent)}"
        )
    registry[entry.name] = entry
