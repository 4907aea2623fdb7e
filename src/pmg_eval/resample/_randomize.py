"""Randomization inference on adoption paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Estimate, Provenance, Test
from pmg_eval.estimate.inference import check_level
from pmg_eval.estimate.scales import SCALES, ScaleName
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._checkpoint import job_key
from pmg_eval.resample._door import estimated, need_label, need_seed, need_whole
from pmg_eval.resample._randomize_invert import TIE, Inverted, confidence_set, imposed, need_of
from pmg_eval.resample._randomize_paths import Among, Paths, paths_of
from pmg_eval.resample._tasks import run
from pmg_eval.typing import Estimator

Statistic = Literal["estimate", "t"]


def randomize(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    eligible: Sequence[Any] | None = None,
    within: str | None = None,
    among: Among = "pool",
    statistic: Statistic = "estimate",
    invert: bool = False,
    level: float = 0.95,
    draws: int = 999,
    until: int | None = 9_999,
    rng: int | np.random.Generator = 0,
    n_jobs: int = 1,
    checkpoint: str | Path | None = None,
) -> Test:
    r"""Test of no effect for any area: reassign whole adoption paths and estimate again.

    .. math:: p=\frac{1+\#\{r:|s_r|\ge|s|\}}{1+R}

    When the number of distinct assignments does not exceed ``draws`` they are enumerated and the test is exact
    (:math:`p=\#\{r:|s_r|\ge|s|\}/R` with what happened among the R).

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
    among : {"pool", "treated"}
        ``"pool"``: any area of the pool might have got any path. ``"treated"``: the treated areas were given, only the
        order in which they started was random; comparison areas keep their role.
    statistic : {"estimate", "t"}
        The estimate on its scale, or the estimate over its own standard error (holds its size also where areas differ
        in noise, as large and small ones do).
    invert : bool
        Also give the confidence set of the effects that the test does not reject (see Notes).
    level : float
        Confidence level of the set; 1 - level is also the alpha of ``until``.
    draws : int
        Random assignments.
    until : int or None
        While p lies within two Monte-Carlo standard errors of 1 - level, draw on, ``draws`` at a time, up to this many
        (all of them, when there are no more). None: exactly ``draws``, for which p is exactly valid; with a rule
        that looks at p the size is right up to the Monte-Carlo error.
    rng : int or Generator
        Seed; each draw has its own child, so that ``n_jobs`` does not matter.
    n_jobs : int
        Processes.
    checkpoint : path, optional
        File from which an interrupted run continues (see docs/inference/checkpoints.md). ``draws`` and ``until`` may
        be raised on the way.

    Returns
    -------
    Test
        With the smallest attainable p and the Monte-Carlo standard error of p; ``details`` has one row per draw; the
        notes of ``provenance`` say how many draws were used and on which grid p lies. With ``invert=True``
        ``estimate`` (the effect with p = 1), ``conf_low``, ``conf_high`` on the estimate's own scale (ratios for rate
        ratios), infinite where a side is unbounded.

    Raises
    ------
    DesignError
        PMG-POOL: no eligible comparison area, or fewer than two distinct assignments.
    InferenceError
        PMG-NO-STATISTIC: the observed estimate is missing or infinite. PMG-INVERSION: no constant effect can be
        imposed on this scale, or none explains the estimate.
    DataError
        PMG-OPTION, PMG-DRAWS, PMG-ONE-TERM, PMG-CHECKPOINT.

    Notes
    -----
    The set holds every :math:`\tau_0` with :math:`p(\tau_0)\ge1-level`, where :math:`p(\tau_0)` is this same test, with
    the same draws, of the panel without the effect: :math:`y-\tau_0D` in treated cells (identity scale) or
    :math:`y/e^{\tau_0D}` (log scale). So zero lies outside exactly when p < 1 - level. For estimates that are linear in
    the outcome (checked on three draws) the ends are exact and cost as much as the test itself; for others (and for
    ``statistic="t"``) they are searched with re-estimates of all draws, about ten times the cost, and lie inside by at
    most 1e-4 of their distance from the estimate.

    Assumes
    -------
    1. Which of the eligible areas adopted, and when, was as good as random inside the pool (and the levels of
    ``within``); with ``among="treated"`` only the order. It does not protect against selection on diverging trends:
    probe with ``resample.placebo_in_time`` and pre-trend tests. 2. For the set: the effect is the same in every treated
    cell. The test itself needs no such thing.

    References
    ----------
    MacKinnon and Webb (2020), doi:10.1016/j.jeconom.2020.04.024; Rosenbaum (2002), doi:10.1214/ss/1042727942.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import did, resample
    >>> rng = np.random.default_rng(1)
    >>> table = pd.DataFrame([(i, t, 3 if i < 5 else 0, rng.normal() + 2 * (i < 5 and t >= 3)) for i in range(20)
    ...                      for t in range(5)], columns=["area", "year", "start", "rate"])
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> overall = lambda panel, outcome: did.imputation(panel, outcome, pretrend=False).average()
    >>> test = resample.randomize(overall, panel, "rate", draws=199, invert=True)
    >>> print(f"p = {test.p_value}, {test.estimate:.2f} [{test.conf_low:.2f}, {test.conf_high:.2f}]")
    p = 0.005, 1.25 [0.59, 1.83]
    """
    _check(draws, until, level, statistic)
    need_seed(rng)
    need_label("within", within)
    need_panel(panel)
    panel = panel.for_outcome(outcome)  # a unit the policy for missing cells drops cannot be assigned anything
    estimate = estimated(estimator, panel, outcome)
    observed = _statistic(estimate, statistic)
    if not np.isfinite(observed):
        raise InferenceError(
            "PMG-NO-STATISTIC",
            f"the observed {statistic} is not a finite number, so nothing can be compared with it",
            fix="check the estimate and its status; a ratio of zero has no logarithm",
        )
    paths = paths_of(panel, eligible, within, among)
    cells = imposed(panel, outcome, estimate.scale) if invert else None
    options = {
        "eligible": None if eligible is None else [str(unit) for unit in eligible],
        "within": within,
        "among": among,
        "statistic": statistic,
    }
    exact = paths.total <= draws
    key = None
    if checkpoint is not None:
        part = {**options, "exact": exact, "invert": invert, **({"level": level, "draws": draws} if invert else {})}
        key = job_key(estimator, panel, outcome, part, rng)
    execute = _runner(n_jobs, checkpoint, key)
    job = _Job(estimator, outcome, statistic, paths, estimate)
    drawn = _drawn(job, panel, observed, 1 - level, draws, until, rng, execute)
    test = _test(drawn, paths, outcome)
    if cells is not None:
        test = _with_set(test, drawn, job, cells, estimate, level, execute)
    stored = {"outcome": outcome, **options, "draws": draws, "until": until, "level": level, "invert": invert}
    seed = None if isinstance(rng, np.random.Generator) else int(rng)
    grid = f"{drawn.used:,} assignments used; p lies on multiples of 1/{drawn.steps:,}"
    return replace(
        test,
        provenance=Provenance(
            estimator="resample.randomize", options=stored, data=panel.fingerprint, seed=seed, notes=(grid,)
        ),
    )


def _check(draws: int, until: int | None, level: float, statistic: str) -> None:
    need_whole("draws", draws)
    if until is not None:
        need_whole("until", until, example="9_999, or None for exactly `draws`")
    check_level(level)
    if statistic not in ("estimate", "t"):
        raise DataError("PMG-OPTION", f"unknown statistic {statistic!r}", fix='"estimate" or "t"')


def _statistic(estimate: Any, kind: str) -> float:
    if len(estimate) != 1:
        raise DataError("PMG-ONE-TERM", f"randomization needs one term, not {len(estimate)}", fix="average() it first")
    value = _distance(estimate.values, estimate.scale)
    if kind == "estimate":
        return value
    with np.errstate(all="ignore"):
        return float(value / (np.abs(SCALES[estimate.scale].slope(estimate.values))[0] * estimate.se[0]))


def _distance(values: Array, name: ScaleName) -> float:
    """Distance from no effect on the estimate's scale."""
    scale = SCALES[name]
    with np.errstate(all="ignore"):
        return float(scale.to(values)[0] - scale.null_on_scale())


@dataclass(frozen=True, eq=False)
class _Job:
    """The statistic of a panel under an assignment."""

    estimator: Estimator
    outcome: str
    statistic: Statistic
    paths: Paths
    first: Estimate[Any]

    def observe(self, panel: Panel) -> float:
        """Of the assignment that happened."""
        values = getattr(self.estimator, "values", None)  # as in the jackknife: the number without labels and law
        if values is None or self.statistic != "estimate":
            return _statistic(self.estimator(panel, self.outcome), self.statistic)
        return _distance(values(panel, self.outcome, self.first.terms), self.first.scale)

    def under(self, panel: Panel, assigned: Any) -> float:
        """Of another one; what cannot be estimated is infinite, so that it counts against the effect."""
        try:
            found = self.observe(self.paths.panel(panel, assigned))
        except (DesignError, NumericalError, InferenceError):
            return np.inf
        return np.inf if np.isnan(found) else found


Execute = Callable[[Callable[[Any], float], list[Any]], list[float]]


def _runner(n_jobs: int, checkpoint: str | Path | None, key: Any) -> Execute:
    """Runs tasks one call after the other as one job."""
    done = 0

    def execute(function: Callable[[Any], float], tasks: list[Any]) -> list[float]:
        nonlocal done
        found = run(function, tasks, n_jobs, "random assignments", checkpoint=checkpoint, key=key, first=done)
        done += len(tasks)
        return found

    return execute


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Assignments and what they gave."""

    observed: float
    tasks: list[Any]
    draws: Array
    exact: bool
    total: int

    @property
    def used(self) -> int:
        return len(self.tasks)

    @property
    def steps(self) -> int:
        """One over this is the step of p."""
        return self.used if self.exact else self.used + 1

    @property
    def p_value(self) -> float:
        extreme = int((np.abs(self.draws) >= abs(self.observed) * TIE).sum())
        return extreme / self.used if self.exact else (1 + extreme) / (1 + self.used)

    @property
    def p_min(self) -> float:
        return 1 / self.total if self.exact else max(1 / (1 + self.used), 1 / self.total)

    @property
    def p_error(self) -> float:
        return 0.0 if self.exact else float(np.sqrt(self.p_value * (1 - self.p_value) / self.used))


def _drawn(
    job: _Job,
    panel: Panel,
    observed: float,
    alpha: float,
    draws: int,
    until: int | None,
    rng: int | np.random.Generator,
    execute: Execute,
) -> _Drawn:
    """All assignments, or random ones until p is on one side of alpha."""
    paths, total = job.paths, job.paths.total

    def every() -> _Drawn:
        tasks = list(paths.every())
        return _Drawn(observed, tasks, _array(execute(lambda a: job.under(panel, a), tasks)), True, total)

    if total <= draws:  # the assignment that happened is among them
        return every()
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    found = _Drawn(observed, [], _array([]), False, total)
    limit = draws if until is None else max(draws, until)
    while True:
        more = list(paths.random(generator, min(draws, limit - found.used)))
        new = _array(execute(lambda a: job.under(panel, a), more))
        found = replace(found, tasks=[*found.tasks, *more], draws=np.concatenate([found.draws, new]))
        if found.used >= limit or abs(found.p_value - alpha) > 2 * found.p_error:
            return found
        if total <= limit:  # no more than these: exact instead of more random ones
            return every()


def _array(values: list[float]) -> Array:
    return np.array(values, dtype=np.float64)


def _test(drawn: _Drawn, paths: Paths, outcome: str) -> Test:
    words = f"all {drawn.total:,} assignments" if drawn.exact else f"{drawn.used:,} random assignments"
    return Test(
        hypothesis=f"no effect on {outcome!r} in any area",
        statistic=drawn.observed,
        p_value=max(drawn.p_value, drawn.p_min),
        distribution=f"{words} of adoption paths {paths.words}",
        p_min=drawn.p_min,
        p_error=drawn.p_error,
        method="randomization inference",
        note="" if drawn.p_min <= 0.05 else f"This pool cannot give a p below {drawn.p_min:.3g}.",
        details=pd.DataFrame({"draw": np.arange(1, drawn.used + 1), "statistic": drawn.draws}),
    )


def _with_set(test: Test, drawn: _Drawn, job: _Job, cells: Any, estimate: Any, level: float, execute: Execute) -> Test:
    """The test with its confidence set, on the scale of the estimate."""

    def evaluate(panel: Panel) -> tuple[float, Array]:
        happened = job.observe(panel)
        return happened, _array(execute(lambda a: job.under(panel, a), drawn.tasks))

    def spot(panel: Panel, draws: Sequence[int]) -> Array:
        return _array([job.observe(panel), *(job.under(panel, drawn.tasks[draw]) for draw in draws)])

    scale = SCALES[estimate.scale]
    found: Inverted = confidence_set(
        evaluate,
        job.observe,
        spot,
        cells,
        (drawn.observed, drawn.draws),
        guess=_statistic(estimate, "estimate"),
        need=need_of(1 - level, drawn.used, drawn.exact) if drawn.p_min < 1 - level else 0,
        linear=estimate.scale == "identity" and job.statistic == "estimate",
    )
    with np.errstate(over="ignore"):
        ends = scale.back(np.array([found.estimate, found.low, found.high]) + scale.null_on_scale())
    return replace(
        test,
        estimate=float(ends[0]),
        conf_low=float(ends[1]),
        conf_high=float(ends[2]),
        level=level,
        note=" ".join(part for part in (test.note, found.note) if part),
    )
