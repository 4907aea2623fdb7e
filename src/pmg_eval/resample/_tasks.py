"""Run many independent tasks, in order, on one or several processes; same results whatever ``n_jobs``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from pmg_eval._progress import tell
from pmg_eval.errors import DataError

T = TypeVar("T")
R = TypeVar("R")


def run(function: Callable[[T], R], tasks: Iterable[T], n_jobs: int, what: str = "") -> list[R]:
    """``[function(task) for task in tasks]``, possibly in parallel (joblib; ``n_jobs=-1`` uses every core).

    ``what`` names the work for whoever listens to the progress.
    """
    if n_jobs == 0:
        raise DataError("PMG-JOBS", "n_jobs=0", fix="1 (one process), more, or -1 (every core)")
    todo = list(tasks)
    done: list[R] = []
    for result in _results(function, todo, n_jobs):
        done.append(result)
        tell(what, len(done), len(todo))
    return done


def _results(function: Callable[[T], R], tasks: list[T], n_jobs: int) -> Iterable[R]:
    if n_jobs == 1:
        return map(function, tasks)
    from joblib import Parallel, delayed

    results: Iterable[R] = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(function)(task) for task in tasks)
    return results
