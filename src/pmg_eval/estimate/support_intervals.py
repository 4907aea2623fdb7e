"""Intervals computed from counts: proportions (n_events of n_persons) and rates (n_events per exposure).

Named by ``terms.interval``; they replace the Wald interval of that row. References: Brown, Cai and DasGupta (2001),
doi:10.1214/ss/1009213286; Garwood (1936), doi:10.2307/2333958; Breslow and Day (1987) for Byar's approximation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.numerics.rows import Array


def _need(terms: pd.DataFrame, *names: str) -> list[Array]:
    missing = [name for name in names if name not in terms]
    if missing:
        raise DataError("PMG-TERMS", "an interval from counts needs support columns", where=missing)
    return [terms[name].to_numpy(dtype=np.float64) for name in names]


def _wilson(terms: pd.DataFrame, level: float) -> tuple[Array, Array]:
    from scipy import stats

    events, persons = _need(terms, "n_events", "n_persons")
    z = stats.norm.ppf((1 + level) / 2)
    share = events / persons
    centre = (share + z**2 / (2 * persons)) / (1 + z**2 / persons)
    half = z / (1 + z**2 / persons) * np.sqrt(share * (1 - share) / persons + z**2 / (4 * persons**2))
    return np.where(events == 0, 0.0, centre - half), np.where(events == persons, 1.0, centre + half)


def _clopper_pearson(terms: pd.DataFrame, level: float) -> tuple[Array, Array]:
    return _beta(terms, level, 0.0)


def _jeffreys(terms: pd.DataFrame, level: float) -> tuple[Array, Array]:
    return _beta(terms, level, 0.5)


def _beta(terms: pd.DataFrame, level: float, prior: float) -> tuple[Array, Array]:
    """Beta quantiles: Clopper-Pearson (prior 0, one added on the outer side) or Jeffreys (prior 1/2 on both)."""
    from scipy import stats

    events, persons = _need(terms, "n_events", "n_persons")
    outer = 1.0 if prior == 0 else prior
    with np.errstate(invalid="ignore"):
        low = stats.beta.ppf((1 - level) / 2, events + prior, persons - events + outer)
        high = stats.beta.ppf((1 + level) / 2, events + outer, persons - events + prior)
    return np.where(events == 0, 0.0, low), np.where(events == persons, 1.0, high)


def _exact_poisson(terms: pd.DataFrame, level: float) -> tuple[Array, Array]:
    from scipy import stats

    events, exposure = _need(terms, "n_events", "exposure")
    with np.errstate(invalid="ignore"):
        low = stats.chi2.ppf((1 - level) / 2, 2 * events) / 2
    high = stats.chi2.ppf((1 + level) / 2, 2 * events + 2) / 2
    return np.where(events == 0, 0.0, low) / exposure, high / exposure


def _byar(terms: pd.DataFrame, level: float) -> tuple[Array, Array]:
    from scipy import stats

    events, exposure = _need(terms, "n_events", "exposure")
    z = stats.norm.ppf((1 + level) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        low = events * (1 - 1 / (9 * events) - z / (3 * np.sqrt(events))) ** 3
    more = events + 1
    high = more * (1 - 1 / (9 * more) + z / (3 * np.sqrt(more))) ** 3
    return np.where(events == 0, 0.0, low) / exposure, high / exposure


RULES: dict[str, Callable[[pd.DataFrame, float], tuple[Any, Any]]] = {
    "wilson": _wilson,
    "clopper_pearson": _clopper_pearson,
    "jeffreys": _jeffreys,
    "exact_poisson": _exact_poisson,
    "byar": _byar,
}


def check_kinds(names: Iterable[Any]) -> None:
    """Refuse names that are neither ``wald`` nor ``placebo`` nor a rule from counts."""
    unknown = sorted(set(map(str, names)) - set(RULES) - {"wald", "placebo"})
    if unknown:
        raise DataError("PMG-INTERVAL", "unknown kinds of interval", where=unknown, fix=f"one of {', '.join(RULES)}")
