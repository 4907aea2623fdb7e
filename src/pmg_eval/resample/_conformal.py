"""Conformal inference for one treated area (Chernozhukov, Wüthrich and Zhu)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate import Provenance, Test
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._conformal_panel import OneArea, gaps, one_area
from pmg_eval.resample._conformal_plan import Answer, Plan
from pmg_eval.resample._conformal_test import Permutations
from pmg_eval.resample._door import is_number, need_estimate, need_estimator, need_seed, need_share, need_whole
from pmg_eval.resample._options import by_unit
from pmg_eval.resample._tasks import run
from pmg_eval.typing import Estimator

REFERENCE = "10.1080/01621459.2021.1920957"


def conformal(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    unit: Any = None,
    null: float | Sequence[float] = 0.0,
    permutations: Permutations = "block",
    q: float = 1.0,
    average: bool = False,
    invert: bool = True,
    level: float = 0.95,
    anticipation: int = 0,
    draws: int = 9_999,
    rng: int | np.random.Generator = 0,
    n_jobs: int = 1,
) -> Test:
    r"""Test of an effect path of one treated area, by exchanging residuals between periods.

    The estimator is fitted under the null on *all* T periods: the effects of the null are subtracted from the treated
    periods of the area, and its gaps :math:`\hat u_t` are what the fit leaves. With T\ :sub:`1` treated periods,

    .. math:: S(\hat u)=\Big(\frac1{\sqrt{T_1}}\sum_{t\ge g}|\hat u_t|^q\Big)^{1/q},\qquad
              p=\frac1{|\Pi|}\sum_{\pi\in\Pi}1\{S(\hat u_\pi)\ge S(\hat u)\},

    over the T cyclic shifts of time (``"block"``; deterministic, p is a multiple of 1/T) or over all permutations
    (``"iid"``: which of the T residuals stand after the start; enumerated when there are at most ``draws`` choices).

    Parameters
    ----------
    estimator : callable
        ``estimator(panel, outcome) -> Estimate`` with a gap per unit and period, those before the start included:
        ``synth.classic``, ``synth.sdid``; bind options with ``functools.partial``.
    panel, outcome : Panel, str
    unit : label, optional
        The treated area; needed when several are treated. The others are left out.
    null : float or sequence of T1 floats
        Effect in every treated period, or a path. Unit of the outcome.
    permutations : {"block", "iid"}
        ``"block"`` allows for dependence over time, ``"iid"`` does not but has more permutations.
    q : float
        Norm of the statistic, at least 1: 1 for lasting effects, larger for short ones.
    average : bool
        Test the *average* effect instead of the path: periods are averaged in blocks of T\ :sub:`1` (the earliest
        that fill no block are left out), which leaves T\ :sub:`0`/T\ :sub:`1` + 1 of them.
    invert : bool
        Also find the effects that are not rejected: the constant effect (with ``average`` the average effect), and the
        effect of every treated period by itself (fitted on the past and that period). False: p-values only.
    level : float
        Of these sets.
    anticipation : int
        Periods before the start that are left out, because the programme may have worked in them.
    draws, rng, n_jobs
        Random permutations (``"iid"``), seed (a child for every test), processes (over periods).

    Returns
    -------
    Test
        p of the null; ``estimate`` is the estimator's mean effect over treated periods, ``conf_low``, ``conf_high`` the
        hull of the constant effects with p > 1 - level, infinite where none is rejected, NaN where all are. ``details``
        has per period: ``period, event_time, estimate, p_value`` (of the null's value in that period), ``p_error``,
        ``conf_low, conf_high, p_min, n_periods, status``.

    Raises
    ------
    InferenceError
        PMG-UNATTAINABLE: with T periods no p is small enough for the level. PMG-NO-GAPS: the estimator has no gaps
        before the start (``did.imputation``, ``did.group_time``). PMG-SCALE: ratios.
    DesignError
        PMG-ONE-AREA, PMG-NO-TREATED, PMG-NO-DONORS, PMG-SHORT-PRE, PMG-CROSS-SECTION; what the estimator refuses.
    DataError
        PMG-UNIT, PMG-OPTION, PMG-LEVEL, PMG-DRAWS.

    Notes
    -----
    Assumes: (1) without the programme, gaps of the area are stationary and weakly dependent (``"block"``; for
    ``"iid"`` exchangeable) over all periods. Probe: a plot of the gaps before the start; the same test on the earlier
    years alone, with a start that was none. (2) The estimator treats periods alike: its fit does not depend on their
    order. ``synth.classic`` on outcomes does not; predictors of given years and the penalty of ``synth.sdid`` (changes
    between neighboring periods) do so a little. (3) The null is about every treated period: an effect that fades is
    rejected as well as one that lasts.

    When not to use: with fewer than 20 periods at 95 % (``"block"``; refused), with a past that is fitted perfectly
    (the residuals of a perfect fit carry no information; ``synth.hull``), for several areas
    (``resample.placebo``).

    Refits are not refused for a poor fit, and the period that a panel needs after the start is the mean of the others.
    Sets are found on a grid that reaches a million residual standard deviations, and their ends are good to a
    millionth of one. An effect is rejected when p <= 1 - level.

    Deviations from R augsynth 0.2.0: sets by narrowing instead of a grid of 50 points (R's ends lie up to one grid step
    inside ours); random permutations count the one that happened, so that p is never 0; a set of constant effects.

    References
    ----------
    Chernozhukov, Wüthrich and Zhu (2021), JASA, doi:10.1080/01621459.2021.1920957.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import resample, synth
    >>> rng = np.random.default_rng(0)
    >>> rate = rng.normal(10, 1, (9, 24))
    >>> rate[0] = rate[1:4].mean(axis=0) + rng.normal(0, 0.1, 24) + 3 * (np.arange(24) >= 22)
    >>> table = pd.DataFrame([(i, t, 22 if i == 0 else 0, rate[i, t]) for i in range(9) for t in range(24)],
    ...                      columns=["area", "year", "start", "rate"])
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> test = resample.conformal(synth.classic, panel, "rate")
    >>> round(test.p_value, 4), test.conf_low < 3 < test.conf_high
    (0.0417, True)
    """
    _check(permutations, q, level, draws)
    need_seed(rng)
    need_estimator(estimator)
    area = one_area(panel, outcome, unit, anticipation)
    path = _path(null, area)
    effect = _effects(estimator, area)
    plan = Plan(estimator, area, path, effect, permutations, float(q), level if invert else None, draws)
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    periods: list[int] = np.flatnonzero(area.after).tolist()
    children = generator.spawn(1 + len(periods))
    whole = plan.answer(plan.averaged() if average else plan.joint(), children[0], needed=True)
    if len(periods) == 1 and not average:
        rows = [whole.row()]
    else:
        tasks = list(zip(periods, children[1:], strict=True))
        rows = run(
            lambda task: plan.answer(plan.single(task[0]), task[1], needed=False).row(), tasks, n_jobs, "periods"
        )
    details = pd.DataFrame(rows)
    details.insert(0, "period", area.labels(periods))
    details.insert(1, "event_time", area.codes[periods] - area.start)
    seed = None if isinstance(rng, np.random.Generator) else int(rng)
    return _result(plan, whole, details, average=average, anticipation=anticipation, seed=seed)


def _check(permutations: object, q: float, level: float, draws: int) -> None:
    if not isinstance(permutations, str) or permutations not in ("block", "iid"):
        raise DataError("PMG-OPTION", f"unknown permutations={permutations!r}", fix='"block" or "iid"')
    if not (is_number(q) and np.isfinite(q) and q >= 1):
        raise DataError("PMG-OPTION", f"q={q!r} must be finite and at least 1", fix="1, or 2")
    need_share("level", level, example="0.95")
    need_whole("draws", draws)


def _path(null: float | Sequence[float], area: OneArea) -> Array:
    treated = int(area.after.sum())
    numbers = [null] if np.ndim(null) == 0 else list(null)  # type: ignore[arg-type]
    values = np.asarray(null, dtype=np.float64) if all(map(is_number, numbers)) else np.array(np.nan)
    if values.shape not in ((), (treated,)) or not np.isfinite(values).all():
        what = f"null is one finite number, or one for each of the {treated} treated periods; got {null!r}"
        raise DataError("PMG-SHAPE", what, fix="null=0.0")
    return np.full(treated, values)


def _effects(estimator: Estimator, area: OneArea) -> Array:
    """The estimator's gaps (T,) from the fit on the past, with its own warnings and refusals."""
    found = by_unit(estimator)(area.panel, area.outcome)
    need_estimate(found)
    effects: Array = gaps(found, [area.unit], area.codes, area.start)[0]
    return effects


def _hypothesis(path: Array, average: bool) -> str:
    kind = "average effect" if average else "effect"
    tested = np.array([path.mean()]) if average else path
    if not tested.any():
        return f"no {kind}"
    return f"an {kind} of {tested[0]:.6g}" if (tested == tested[0]).all() else "a given path of effects"


def _result(
    plan: Plan, whole: Answer, details: pd.DataFrame, *, average: bool, anticipation: int, seed: int | None
) -> Test:
    area, treated = plan.area, len(plan.path)
    what = _hypothesis(plan.path, average)
    where, count = whole.places, len(whole.question.after)
    how = "cyclic shifts" if plan.permutations == "block" else "permutations"
    words = f"all {where.distinct:,} {how}" if where.exact else f"{plan.draws:,} random {how}"
    notes = [whole.status] if whole.status else []
    null = whole.question.null[whole.question.after]
    rejected = plan.level is not None and whole.p_value <= (1 - plan.level) * (1 + 1e-9)
    if rejected and (null == null[0]).all() and whole.conf_low < null[0] < whole.conf_high:
        notes.append("the set has a gap: the tested effect lies between its ends and is rejected")
    if where.p_min > 0.05:
        notes.append(f"{count} periods cannot give a p below {where.p_min:.3g}")
    return Test(
        hypothesis=f"{what} on {area.outcome!r} in {area.unit} in {treated} treated periods",
        statistic=whole.statistic,
        p_value=whole.p_value,
        distribution=f"{words} of {count} {'means over blocks of periods' if average else 'periods'}",
        p_min=where.p_min,
        p_error=whole.p_error,
        method=f"conformal, {plan.permutations} permutations",
        note="; ".join(notes),
        estimate=whole.question.center,
        conf_low=whole.conf_low,
        conf_high=whole.conf_high,
        level=np.nan if plan.level is None else plan.level,
        details=details,
        provenance=Provenance(
            estimator="resample.conformal",
            options={
                "outcome": area.outcome,
                "unit": str(area.unit),
                "null": plan.path.tolist(),
                "permutations": plan.permutations,
                "q": plan.q,
                "average": average,
                "level": plan.level,
                "anticipation": anticipation,
                "draws": plan.draws,
            },
            data=area.panel.fingerprint,
            assumptions=(
                "without the programme, gaps of the area are stationary and weakly dependent over all periods"
                if plan.permutations == "block"
                else "without the programme, gaps of the area are exchangeable over all periods",
                "the fit treats all periods alike",
            ),
            references=(REFERENCE,),
            seed=seed,
        ),
    )
