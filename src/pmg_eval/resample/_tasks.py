"""Run many independent tasks, in order, on one or several processes; same results whatever ``n_jobs``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pmg_eval._progress import tell
from pmg_eval.errors import DataError
from pmg_eval.resample._checkpoint import opened
from pmg_eval.resample._door import need_jobs

T = TypeVar("T")
R = TypeVar("R")


def run(
    function: Callable[[T], R],
    tasks: Iterable[T],
    n_jobs: int,
    what: str = "",
    *,
    checkpoint: str | Path | None = None,
    key: Mapping[str, Any] | None = None,
    first: int = 0,
) -> list[R]:
    """``[function(task) for task in tasks]``, possibly in parallel (joblib; ``n_jobs=-1`` uses every core).

    Parameters
    ----------
    function, tasks
    n_jobs : int
        Processes.
    what : str
        Names the work for whoever listens to the progress.
    checkpoint : path, optional
        File that keeps the results (numbers, text, None, lists of them; arrays come back as lists). What it holds is
        not computed again, so a job that was interrupted continues, with the same bits as without interruption.
    key : mapping
        What determines the results (see :func:`~pmg_eval.resample._checkpoint.job_key`); needed with a checkpoint. The
        number of tasks is not part of it: more tasks of the same job add to the file.
    first : int
        Number in the whole job of the first of these tasks, for a job that is run in several calls.

    Raises
    ------
    DataError
        PMG-JOBS; PMG-CHECKPOINT for a file of another job or a damaged one.
    """
    need_jobs(n_jobs)
    todo = list(tasks)
    done: list[R] = []
    if checkpoint is None:
        for result in _results(function, todo, n_jobs):
            done.append(result)
            tell(what, first + len(done), first + len(todo))
        return done
    with opened(checkpoint, key, what) as store:
        if len(store.results) < first:
            raise DataError("PMG-CHECKPOINT", "the earlier results of the job are gone", fix="repeat the job")
        done.extend(store.results[first : first + len(todo)])
        if done:
            tell(what, first + len(done), first + len(todo))
        for result in _results(function, todo[len(done) :], n_jobs):
            done.append(store.add(result))
            tell(what, first + len(done), first + len(todo))
    return done


def _results(function: Callable[[T], R], tasks: list[T], n_jobs: int) -> Iterable[R]:
    if n_jobs == 1 or not tasks:
        return map(function, tasks)
    from joblib import Parallel, delayed

    results: Iterable[R] = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(function)(task) for task in tasks)
    return results
