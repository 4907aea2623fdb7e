"""Run many independent tasks, in order, on one or several processes; same results whatever ``n_jobs``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from pmg_eval.errors import DataError

T = TypeVar("T")
R = TypeVar("R")


def run(function: Callable[[T], R], tasks: Iterable[T], n_jobs: int) -> list[R]:
    """``[function(task) for task in tasks]``, possibly in parallel (joblib; ``n_jobs=-1`` uses every core)."""
    if n_jobs == 0:
        raise DataError("PMG-JOBS", "n_jobs=0", fix="1 (one process), more, or -1 (every core)")
    if n_jobs == 1:
        return [function(task) for task in tasks]
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=n_jobs)(delayed(function)(task) for task in tasks))
