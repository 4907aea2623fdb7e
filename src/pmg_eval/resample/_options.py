"""What an estimator can do for single areas, by the options it has.

An option ``donors`` means that it compares one unit with others and can enumerate the in-space placebos in one call:
``donors="others"`` gives every unit with a start against all others. An option ``weights`` beside it means that
``weights="unit"`` estimates every treated unit by itself.
"""

from __future__ import annotations

from functools import partial
from inspect import Parameter, signature
from typing import Any

from pmg_eval.typing import Estimator


def _parameters(estimator: Estimator) -> frozenset[str]:
    target: Any = estimator
    while isinstance(target, partial):
        target = target.func
    try:
        return frozenset(signature(target).parameters)
    except (TypeError, ValueError):  # a builtin without a signature
        return frozenset()


def options_of(estimator: Estimator) -> tuple[str, ...] | None:
    """Names of the options of an estimator, without panel and outcome; None when it takes any, or does not say."""
    target: Any = estimator
    while isinstance(target, partial):
        target = target.func
    try:
        found = signature(target).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return None
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in found.values()):
        return None
    return tuple(found)[2:]


def _bound(estimator: Estimator, name: str) -> Any:
    return estimator.keywords.get(name) if isinstance(estimator, partial) else None


def _with(estimator: Any, **options: Any) -> Estimator:
    bound: Estimator = partial(estimator, **options)
    return bound


def enumerates(estimator: Estimator) -> bool:
    """Whether one call can give all in-space placebos."""
    return "donors" in _parameters(estimator)


def by_unit(estimator: Estimator) -> Estimator:
    """The estimator of single units."""
    return _with(estimator, weights="unit") if {"donors", "weights"} <= _parameters(estimator) else estimator


def bare(estimator: Estimator) -> Estimator:
    """The estimator of effects alone, without terms for the periods before."""
    return _with(estimator, pretrend=False) if "pretrend" in _parameters(estimator) else estimator


def against_others(estimator: Estimator) -> Estimator:
    """The estimator of in-space placebos."""
    return _with(by_unit(estimator), donors="others")


def named_donors(estimator: Estimator) -> list[Any] | None:
    """The donors the caller bound by name, if any."""
    bound = _bound(estimator, "donors")
    return None if bound is None or isinstance(bound, str) else list(bound)
