"""What everything that estimates again asks of its arguments before any work."""

from __future__ import annotations

from collections.abc import Hashable
from numbers import Real
from typing import Any

import numpy as np

from pmg_eval.errors import DataError
from pmg_eval.estimate import Estimate
from pmg_eval.panel import Panel
from pmg_eval.typing import Estimator

_FOR_EXAMPLE = 'for example did.imputation, or functools.partial(did.imputation, family="poisson")'


def need_estimator(estimator: object, what: str = "the estimator") -> None:
    """Refuse the result of an estimator, or its name, where the estimator itself is meant.

    Raises
    ------
    DataError
        PMG-ESTIMATOR.
    """
    if not callable(estimator):
        raise DataError(
            "PMG-ESTIMATOR",
            f"{what} must be a function of a panel and an outcome, not {type(estimator).__name__}",
            fix=_FOR_EXAMPLE,
        )


def need_estimate(found: object) -> None:
    """Refuse an estimator that returns a bare number, a table or nothing."""
    if not isinstance(found, Estimate):
        raise DataError(
            "PMG-ESTIMATOR",
            f"the estimator must return an Estimate, not {type(found).__name__}",
            fix=f"{_FOR_EXAMPLE}; a function of your own ends with `return ....average()`",
        )


def estimated(estimator: Estimator, panel: Panel, outcome: str) -> Estimate[Any]:
    """The first estimate of an estimator that has not been seen before.

    Raises
    ------
    DataError
        PMG-ESTIMATOR; whatever the estimator raises.
    """
    need_estimator(estimator)
    found = estimator(panel, outcome)
    need_estimate(found)
    return found


def need_given(estimate: object) -> None:
    """Refuse what is no estimate where one is analyzed further.

    Raises
    ------
    DataError
        PMG-TYPE.
    """
    if not isinstance(estimate, Estimate):
        raise DataError(
            "PMG-TYPE",
            f"an Estimate is needed, not {type(estimate).__name__}",
            fix="pass what an estimator or pe.effect_per_area returns, before to_frame()",
        )


def need_seed(rng: object) -> None:
    """Refuse a seed that would not give the same numbers again.

    Raises
    ------
    DataError
        PMG-SEED.
    """
    if not isinstance(rng, np.random.Generator) and not is_whole(rng, 0):
        raise DataError(
            "PMG-SEED",
            f"rng={rng!r} must be a whole number, 0 or more, or a numpy Generator",
            fix="for example 0",
        )


def need_whole(name: str, value: object, least: int = 1, *, code: str = "PMG-DRAWS", example: str = "999") -> None:
    """Refuse what is no count of at least ``least``."""
    if not is_whole(value, least):
        raise DataError(code, f"{name}={value!r} must be a whole number, {least} or more", fix=f"for example {example}")


def need_share(name: str, value: object, top: float = 1.0, example: str = "0.05") -> None:
    """Refuse what does not lie between 0 and ``top``."""
    if not is_number(value) or not 0 < value < top:  # type: ignore[operator]
        raise DataError("PMG-LEVEL", f"{name}={value!r} must lie between 0 and {top:g}", fix=f"for example {example}")


def is_whole(value: object, least: int) -> bool:
    """Whether a value is an integer of at least ``least`` (and no truth value)."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least


def is_number(value: object) -> bool:
    """Whether a value is one real number (NaN and infinities are)."""
    return isinstance(value, Real) and not isinstance(value, bool)


def need_label(name: str, value: object) -> None:
    """Refuse a list of labels where one is meant (a ``Panel`` takes several clusters, these functions one)."""
    if not isinstance(value, Hashable):
        raise DataError("PMG-COLUMN", f"{name}={value!r} must name one label of the areas", fix=f'{name}="region"')


def need_jobs(n_jobs: object) -> None:
    """Refuse what is no number of processes."""
    if not is_whole(n_jobs, -1) or n_jobs == 0:
        raise DataError("PMG-JOBS", f"n_jobs={n_jobs!r}", fix="1 (one process), more, or -1 (every core)")
