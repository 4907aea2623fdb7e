"""The family's estimators and the laws they claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pmg_eval.recidivism._cumulative_incidence import cumulative_incidence
from pmg_eval.recidivism._kaplan_meier import kaplan_meier
from pmg_eval.recidivism._prevalence import prevalence
from pmg_eval.registry import SPELL_LAWS, Entry, register

_NOT_GREENWOOD = "the default variance is Greenwood's; the derivative is variance='robust', which claims the law"
_NOT_DELTA = "the default variance is multinomial per day; the derivative is variance='robust', which claims the law"
_NOT_AALEN = "the published variance of cmprsk; the derivative is variance='robust', which claims the law"
_NOT_BINOMIAL = "the binomial variance; with survey weights or clusters the law holds and is tested on its own"
_ONE_EVENT = "it reports one event; the law is that of cumulative_incidence"
_NO_WEIGHTED = "cmprsk's variance has no form with survey weights"
_FULL_WINDOW = "spells that enter late are refused, and splitting makes one"
_OTHER_TIES = "cmprsk's variance with ties is not Greenwood's"

_CLAIMS: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, str]]] = {
    "recidivism.kaplan_meier": (
        kaplan_meier,
        {"cause": "recidivism"},
        {"influence": _NOT_GREENWOOD, "one_cause": _ONE_EVENT, "causes_sum": _ONE_EVENT},
    ),
    "recidivism.kaplan_meier[robust]": (
        kaplan_meier,
        {"cause": "recidivism", "variance": "robust"},
        {
            "one_cause": _ONE_EVENT,
            "causes_sum": _ONE_EVENT,
            "additive_counts": "a robust variance needs the spells one by one, counts do not carry them",
        },
    ),
    "recidivism.cumulative_incidence": (cumulative_incidence, {}, {"influence": _NOT_DELTA}),
    "recidivism.cumulative_incidence[robust]": (
        cumulative_incidence,
        {"variance": "robust"},
        {
            "additive_counts": "a robust variance needs the spells one by one, counts do not carry them",
            "one_cause": "Kaplan-Meier's default variance is Greenwood's, which differs with late entry",
        },
    ),
    "recidivism.cumulative_incidence[aalen]": (
        cumulative_incidence,
        {"variance": "aalen"},
        {"influence": _NOT_AALEN, "scale_weights": _NO_WEIGHTED, "one_cause": _OTHER_TIES},
    ),
    "recidivism.prevalence": (
        prevalence,
        {"cause": "recidivism", "horizon": [4, 8]},
        {
            "influence": _NOT_BINOMIAL,
            "split_spell": _FULL_WINDOW,
            "one_cause": _ONE_EVENT,
            "causes_sum": _ONE_EVENT,
            "time_unit": "its horizon is an option of the entry, not a property of the data",
        },
    ),
}

for _name, (_function, _options, _reasons) in _CLAIMS.items():
    register(
        Entry(
            _name,
            _function,
            _options,
            data="spells",
            laws=frozenset(set(SPELL_LAWS) - set(_reasons)),
            not_claimed=_reasons,
        )
    )
