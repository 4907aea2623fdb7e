"""Randomization inference on adoption paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import factorial, prod
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Provenance, Test
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._pool import pool_mask
from pmg_eval.resample._tasks import run
from pmg_eval.typing import Estimator


def randomize(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    eligible: Sequence[Any] | None = None,
    within: str | None = None,
    statistic: Literal["estimate", "t"] = "estimate",
    draws: int = 999,
    rng: int | np.random.Generator = 0,
    n_jobs: int = 1,
) -> Test:
    r"""Test of no effect for any area: reassign whole adoption paths within the eligible pool and estimate again.

    .. math:: p=\frac{1+\#\{r:|s_r|\ge|s|\}}{1+R}

    When the number of distinct assignments does not exceed ``draws`` they are enumerated and the test is exact.

    Parameters
    ----------
    estimator : callable
        ``estimator(panel, outcome) -> Estimate`` with one term (for example the overall average).
    panel, outcome : Panel, str
    eligible : sequence of unit labels, optional
        Comparison areas that might have been chosen instead (the pool matters more than the standard error's formula:
        a shock common to large cities needs a pool of large cities). Default: every never-treated, uncontaminated unit.
        Treated units always belong to the pool.
    within : str, optional
        A unit label (region, size class): paths are permuted inside its levels only.
    statistic : {"estimate", "t"}
        The estimate on its scale, or the estimate over its own standard error.
    draws, rng, n_jobs
        Random assignments, seed (each draw has its own, so ``n_jobs`` does not matter), processes.

    Returns
    -------
    Test
        With the smallest attainable p and the Monte-Carlo standard error of p.

    Raises
    ------
    DesignError
        No eligible comparison area, or fewer than two distinct assignments.
    InferenceError
        PMG-NO-STATISTIC: the observed estimate is missing or infinite.

    Assumes
    -------
    1. Which of the eligible areas adopted, and when, was as good as random inside the pool (and the levels of
    ``within``). It does not protect against selection on diverging trends.

    References
    ----------
    MacKinnon and Webb (2020), doi:10.1016/j.jeconom.2020.04.024.
    """
    if draws < 1:
        raise DataError("PMG-DRAWS", f"draws={draws} must be positive")
    need_panel(panel)
    panel = panel.for_outcome(outcome)
    panel = panel.for_outcome(outcome)  # a unit the policy for missing cells drops cannot be assigned anything
    observed = _statistic(estimator(panel, outcome), statistic)
    if not np.isfinite(observed):
        raise InferenceError(
            "PMG-NO-STATISTIC",
            f"the observed {statistic} is not a finite number, so nothing can be compared with it",
            fix="check the estimate and its status; a ratio of zero has no logarithm",
        )
    pool = np.flatnonzero(np.isfinite(panel.cohort) | pool_mask(panel, eligible))
    if np.isfinite(panel.cohort[pool]).all():
        raise DesignError("PMG-POOL", "the pool holds no untreated area", fix="name eligible comparison areas")
    blocks = _blocks(panel, pool, within)
    # An adoption path is a start and, where the panel keeps it, the treated share of the first period.
    starts = panel.cohort if panel.share is None else np.column_stack([panel.cohort, panel.share])
    paths, path = np.unique(starts, axis=0, return_inverse=True)
    path = path.ravel()
    total = prod(_distinct(path[block]) for block in blocks)
    if total < 2:
        raise DesignError("PMG-POOL", "only one assignment is possible", fix="a larger pool or coarser `within`")
    if total <= draws:
        exact, tasks = True, list(_every(path, blocks))
    else:
        exact, tasks = False, list(_random(path, blocks, draws, rng))

    def under(assigned: Any) -> float:
        start = paths[assigned]
        other = panel.with_cohort(start) if panel.share is None else panel.with_cohort(start[:, 0], start[:, 1])
        try:
            found = _statistic(estimator(other, outcome), statistic)
        except (DesignError, NumericalError, InferenceError):
            found = np.nan
        return np.inf if np.isnan(found) else found  # what cannot be estimated counts against the effect

    placebo = np.abs(np.array(run(under, tasks, n_jobs, "random assignments")))
    extreme = int((placebo >= abs(observed) * (1 - 1e-12)).sum())
    if exact:  # the assignment that happened is among them
        p_value, p_min, words = extreme / total, 1 / total, f"all {total:,} assignments"
    else:
        p_value, p_min = (1 + extreme) / (1 + draws), max(1 / (1 + draws), 1 / total)
        words = f"{draws:,} random assignments"
    return Test(
        hypothesis=f"no effect on {outcome!r} in any area",
        statistic=float(observed),
        p_value=max(p_value, p_min),
        distribution=f"{words} of adoption paths in a pool of {len(pool)} areas",
        p_min=p_min,
        p_error=0.0 if exact else float(np.sqrt(p_value * (1 - p_value) / draws)),
        method="randomization inference",
        note="" if p_min <= 0.05 else f"This pool cannot give a p below {p_min:.3g}.",
        provenance=Provenance(
            estimator="resample.randomize",
            options={
                "outcome": outcome,
                "eligible": None if eligible is None else [str(unit) for unit in eligible],
                "within": within,
                "statistic": statistic,
                "draws": draws,
            },
            data=panel.fingerprint,
            seed=None if isinstance(rng, np.random.Generator) else int(rng),
        ),
    )


def _statistic(estimate: Any, kind: str) -> float:
    from pmg_eval.estimate.scales import SCALES

    if len(estimate) != 1:
        raise DataError("PMG-ONE-TERM", f"randomization needs one term, not {len(estimate)}", fix="average() it first")
    scale = SCALES[estimate.scale]
    with np.errstate(all="ignore"):
        value = float(scale.to(estimate.values)[0] - scale.null_on_scale())
        if kind == "estimate":
            return value
        if kind != "t":
            raise DataError("PMG-OPTION", f"unknown statistic {kind!r}", fix='"estimate" or "t"')
        return float(value / (np.abs(scale.slope(estimate.values))[0] * estimate.se[0]))


def _blocks(panel: Panel, pool: Any, within: str | None) -> list[Any]:
    if within is None:
        return [pool]
    if within not in panel.unit_labels:
        raise DataError("PMG-COLUMN", f"no unit label {within!r}", where=list(panel.unit_labels.columns))
    codes, _ = pd.factorize(panel.unit_labels[within].iloc[pool], sort=True)
    return [pool[codes == level] for level in range(codes.max() + 1)]


def _distinct(path: Any) -> int:
    counts = np.unique(path, return_counts=True)[1]
    return factorial(len(path)) // prod(factorial(int(count)) for count in counts)


def _every(path: Any, blocks: list[Any]) -> Iterator[Any]:
    """All distinct reassignments; the one that happened included."""
    head, *rest = blocks
    later = list(_every(path, rest)) if rest else [path]
    for order in _multiset(path[head]):
        for base in later:
            changed = base.copy()
            changed[head] = order
            yield changed


def _multiset(values: Any) -> Iterator[tuple[int, ...]]:
    """Distinct orderings of a multiset without visiting repeated ones."""
    levels, counts = np.unique(values, return_counts=True)
    left = dict(zip(levels.tolist(), counts.tolist(), strict=True))

    def extend(prefix: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(prefix) == len(values):
            yield prefix
            return
        for level, count in left.items():
            if count:
                left[level] -= 1
                yield from extend((*prefix, level))
                left[level] += 1

    yield from extend(())


def _random(path: Any, blocks: list[Any], draws: int, rng: int | np.random.Generator) -> Iterator[Any]:
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    for child in generator.spawn(draws):
        changed = path.copy()
        for block in blocks:
            changed[block] = child.permutation(path[block])
        yield changed
