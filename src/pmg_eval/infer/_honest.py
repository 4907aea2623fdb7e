"""Sensitivity of an effect to failures of parallel trends (Rambachan and Roth 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Estimate, Sensitivity
from pmg_eval.estimate.inference import check_level
from pmg_eval.estimate.scales import SCALES, Scale
from pmg_eval.infer._honest_options import RELATIVE, Combined, RelativeMagnitude, Restriction, Smoothness
from pmg_eval.infer._honest_sets import Interval, Judge, judge_of
from pmg_eval.infer._honest_study import Coefficients, Target, coefficients
from pmg_eval.infer._honest_system import broken_before, identified
from pmg_eval.numerics.rows import Array

Method = Literal["Conditional", "C-LF", "FLCI"]
GRID = 1_000
BEYOND = 8  # how far past the largest strength the breakdown value is looked for
_PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def honest(
    estimate: Estimate[Any],
    *,
    restriction: Restriction | None = None,
    target: Target = "first",
    method: Method | None = None,
    level: float = 0.95,
    guard: bool = True,
    reference: int | None = None,
    grid: int | Sequence[float] | Array = GRID,
    draws: int = 10_000,
    rng: int | np.random.Generator = 0,
) -> Sensitivity:
    r"""Intervals for an effect that stay valid when trends diverge, within a bound that you state.

    An event study estimates :math:`\beta_t=\tau_t+\delta_t`, the effect (zero before the start) plus the difference in
    trends. Parallel trends say :math:`\delta=0`; here :math:`\delta` may be anything in a set that grows with a
    *strength*, and the interval contains :math:`\theta=\sum_tl_t\tau_t` with the stated probability whatever it is. The
    *breakdown value* is the smallest strength at which that interval contains no effect: how strongly parallel trends
    must fail before the conclusion does.

    Parameters
    ----------
    estimate : Estimate
        An event study: one term per ``event_time``, all measured against one reference period
        (``did.group_time(..., base_period="universal").average(by="event_time")``).
    restriction : RelativeMagnitude, Smoothness or Combined, optional
        What may fail and by how much (default ``RelativeMagnitude()``); see there for the sets, ``sign`` and
        ``monotone``.
    target : {"first", "average"}, int, mapping or array
        The effect :math:`\theta`: at event time 0, on average over event times 0 and later, at one event time, or with
        weights per event time (a mapping, or one weight per event time from 0 on).
    method : {"C-LF", "Conditional", "FLCI"}, optional
        Least-favorable hybrid, conditional, or fixed-length interval. Default: FLCI for ``Smoothness`` without sign and
        shape, where it is the shortest; C-LF otherwise.
    level : float, default 0.95
    guard : bool
        Widen the covariance so that without any violation the interval of each event time is the one of ``to_frame()``
        (t quantiles, few treated areas; quantiles of draws). ``False``: the raw covariance with normal quantiles, as R
        does; the same where an estimate carries a bare covariance.
    reference : int, optional
        Event time of the reference period, where no term has the status ``"reference"``.
    grid : int or array
        Points of the grid on which sets are searched, whose ends are then refined to a millionth of a standard error.
        An array of effects: the smallest and largest of them that are not rejected, as the reference package does (the
        breakdown value is that of the refined sets).
    draws : int
        Draws behind the least-favorable critical value.
    rng : int or Generator
        Seed of those draws.

    Returns
    -------
    Sensitivity
        ``bounds``: ``strength, conf_low, conf_high``, ``id_low, id_high`` (effects allowed at the estimates, without
        sampling error), ``conf_error`` (how far the ends move with one standard error of the simulated critical value),
        ``method, status``. The first row, ``method="original"``, is the interval under parallel trends. For ratios all
        of these are ratios; the strength of ``Smoothness`` is in log points, and averages are geometric.
        ``breakdown``: NaN when no effect is outside every interval up to eight times the largest strength; its
        Monte-Carlo error is in ``provenance.notes``.

    Raises
    ------
    DataError
        PMG-TERMS, PMG-LEVEL, PMG-TARGET, PMG-OPTION, PMG-GRID.
    DesignError
        PMG-FEW-PRE (too few pre-periods for the restriction), PMG-GAP (event times missing in between).
    InferenceError
        PMG-NO-LAW, PMG-NO-SE, PMG-BASE-PERIOD (no common reference period: ``base_period="varying"``, imputed effects),
        PMG-FLCI (no fixed-length interval for this restriction), PMG-UNATTAINABLE, PMG-COVARIANCE.

    Notes
    -----
    Assumes: (1) coefficients are jointly normal with the covariance of the estimate, taken as known (probe: enough
    areas, ``resample.jackknife``); (2) the restriction. The data cannot prove it, only contradict it: say before
    looking why trends should not diverge faster than they did; (3) no effect before the (anticipated) start; (4) one
    difference in trends for all cohorts of an average. Pre-periods that rest on fewer than five treated areas (where
    others rest on more) are left out, as in :func:`pretrend_power`; ``provenance.notes`` names them.

    When not to use: with one treated area (placebo laws judge it), or when the pre-periods were affected by the choice
    of areas (the largest pre-period change is then no guide).

    Deviations from R HonestDiD 0.2.6: exact elimination instead of linear programs, exact folded-normal quantile and
    exact optimum of FLCI (R simulates the one and bisects the other), set ends refined beyond the grid, 10,000 draws
    instead of 1,000; FLCI with a sign or shape restriction is refused (R ignores the restriction); with one post-period
    the same tests as with several. The hybrid with FLCI ("C-F") is not offered. An average over seven periods or more
    with a sign or shape restriction uses a choice of the implied inequalities (valid; said in ``status``).

    References
    ----------
    Rambachan and Roth (2023), doi:10.1093/restud/rdad018. Andrews, Roth and Pakes (2023), doi:10.1093/restud/rdad004.
    Armstrong and Kolesár (2018), doi:10.3982/ECTA14434. Roth (2024), arXiv:2401.12309 (the common reference period).

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import infer
    >>> law = pe.Covariance(np.full((4, 4), 0.01) + np.diag([0.01] * 4))
    >>> study = pe.Estimate([0.1, -0.1, 0.8, 0.9], pd.DataFrame({"event_time": [-3, -2, 0, 1]}), law)
    >>> found = infer.honest(study, reference=-1)
    >>> found.bounds[["strength", "conf_low", "conf_high", "id_low", "id_high", "method"]].round(2)
       strength  conf_low  conf_high  id_low  id_high    method
    0       0.0      0.52       1.08     0.8      0.8  original
    1       0.0      0.52       1.08     0.8      0.8      C-LF
    2       0.5      0.43       1.17     0.7      0.9      C-LF
    3       1.0      0.27       1.33     0.6      1.0      C-LF
    4       1.5      0.08       1.52     0.5      1.1      C-LF
    5       2.0     -0.13       1.73     0.4      1.2      C-LF
    >>> round(found.breakdown, 2)
    1.69
    """
    restriction = RelativeMagnitude() if restriction is None else restriction
    _check(restriction, level, draws)
    method = _method(restriction, method)
    found = coefficients(estimate, restriction, target, reference, level, guard)
    scale = SCALES[estimate.scale]
    judge = judge_of(found, restriction, method, level, draws, rng, _points(grid, scale))
    strengths = _strengths(found, judge, restriction, level)
    interval = cache(judge.interval)
    rows = [_original(found, level), *(_row(judge, interval, strength) for strength in strengths)]
    if not isinstance(judge.grid, int):  # a grid of effects need not contain no effect
        judge = replace(judge, grid=GRID)
        interval = cache(judge.interval)
    breakdown = _breakdown(interval, strengths)
    step = f"honest({restriction}, target={found.words!r}, method={method!r}, level={level}, guard={guard}, "
    step += f"draws={draws}, rng={'a generator' if isinstance(rng, np.random.Generator) else rng})"
    return Sensitivity(
        _words(restriction, found),
        _on_scale(pd.DataFrame(rows), scale),
        breakdown,
        estimate.provenance.then(step).noting(*found.notes, *_breakdown_error(judge, interval, breakdown)),
    )


def _method(restriction: Restriction, method: Method | None) -> Method:
    shaped = restriction.sign is not None or restriction.monotone is not None
    if method is None:
        return "FLCI" if isinstance(restriction, Smoothness) and not shaped else "C-LF"
    if method not in ("Conditional", "C-LF", "FLCI"):
        raise DataError("PMG-OPTION", f"unknown method={method!r}", fix='"C-LF", "Conditional" or "FLCI"')
    if method == "FLCI" and (shaped or not isinstance(restriction, Smoothness)):
        why = (
            "a fixed-length interval cannot use a sign or shape restriction"
            if shaped
            else f"a fixed-length interval needs a convex, symmetric set; {type(restriction).__name__} is none"
        )
        raise InferenceError("PMG-FLCI", why, fix='method="C-LF"')
    return method


def _check(restriction: Restriction, level: float, draws: int) -> None:
    if not isinstance(restriction, RelativeMagnitude | Smoothness | Combined):
        raise DataError("PMG-OPTION", "unknown restriction", fix="RelativeMagnitude(), Smoothness() or Combined()")
    check_level(level)
    if draws < 1_000:
        raise DataError("PMG-OPTION", f"draws={draws} are too few for a 99.5 % quantile", fix="10_000")


def _points(grid: int | Sequence[float] | Array, scale: Scale) -> int | Array:
    """Number of grid points, or the grid on the scale of the intervals."""
    if isinstance(grid, int | np.integer):
        if grid < 20:
            raise DataError("PMG-GRID", f"grid={grid}: at least 20 points", fix="1_000")
        return int(grid)
    with np.errstate(all="ignore"):
        points = scale.to(np.asarray(grid, dtype=np.float64))
    if points.ndim != 1 or len(points) < 2 or not (np.isfinite(points).all() and (np.diff(points) > 0).all()):
        raise DataError("PMG-GRID", "the grid must be ascending effects", fix="np.linspace(low, high, 1_000)")
    return points


def _strengths(found: Coefficients, judge: Judge, restriction: Restriction, level: float) -> tuple[float, ...]:
    if restriction.strengths is not None:
        return tuple(sorted({float(value) for value in restriction.strengths}))
    from scipy import special

    bends = judge.system.bends
    if len(bends):
        sd = np.sqrt(np.einsum("ji,ik,jk->j", bends, found.covariance, bends))
        top = float((np.abs(bends @ found.values) + special.ndtri((1 + level) / 2) * sd).max())
    else:
        top = float(np.sqrt(found.covariance[0, 0]))
    return tuple(part * top for part in _PARTS)


def _original(found: Coefficients, level: float) -> dict[str, Any]:
    from scipy import special

    half = float(special.ndtri((1 + level) / 2)) * found.std_error
    ends = {"conf_low": found.effect - half, "conf_high": found.effect + half}
    same = {"id_low": found.effect, "id_high": found.effect, "conf_error": 0.0}
    return {"strength": 0.0, **ends, **same, "method": "original", "status": "parallel trends"}


def _row(judge: Judge, interval: Callable[[float], Interval], strength: float) -> dict[str, Any]:
    found, one = judge.found, interval(strength)
    low, high = identified(judge.system, strength, found.values, found.target)
    said = [one.status, broken_before(judge.system, strength, found.values)]
    if np.isnan(low):
        said.append("the estimates before the start allow no effect under this restriction")
    return {
        "strength": strength,
        "conf_low": one.low,
        "conf_high": one.high,
        "id_low": low,
        "id_high": high,
        "conf_error": judge.error(strength, one),
        "method": judge.method,
        "status": "; ".join(part for part in said if part),
    }


def _breakdown(interval: Callable[[float], Interval], strengths: Sequence[float]) -> float:
    """Smallest strength whose interval contains no effect, between the first listed one that does and the one before.

    Strength 0 is always looked at; past the largest one it doubles, up to :data:`BEYOND` times.
    """
    top = strengths[-1]
    further = [top * factor for factor in (2, 4, BEYOND)] if top > 0 else []
    before = None
    for strength in [*sorted({0.0, *strengths}), *further]:
        if interval(strength).outside(0.0) <= 0:
            return strength if before is None else _between(interval, before, strength)
        before = strength
    return float("nan")


def _between(interval: Callable[[float], Interval], low: float, high: float) -> float:
    """Seven digits; the value returned is one whose interval contains no effect.

    Bisection, and in every other step the secant through the ends (nudged past its root), which nearly are straight
    lines in the strength.
    """
    ends = {strength: interval(strength).outside(0.0) for strength in (low, high)}
    step = 0
    while high - low > 1e-7 * high:
        step += 1
        middle = (low + high) / 2
        if step % 2 and np.isfinite(ends[low]) and ends[low] > ends[high]:
            root = low + (high - low) * ends[low] / (ends[low] - ends[high])
            nudge = 4e-8 * high * (1 if root < middle else -1)
            middle = min(max(root + nudge, low + 4e-8 * high), high - 4e-8 * high)
        ends[middle] = interval(middle).outside(0.0)
        if ends[middle] <= 0:
            high = middle
        else:
            low = middle
    return high


def _breakdown_error(judge: Judge, interval: Callable[[float], Interval], breakdown: float) -> list[str]:
    """Monte-Carlo error of the breakdown value: that of the end at no effect, over how fast this end moves."""
    if judge.method != "C-LF" or not breakdown > 0:
        return []
    here, there = interval(breakdown), interval(breakdown * 1.001)
    # the end that has just reached no effect is the nearer one
    moved = there.low - here.low if abs(here.low) < abs(here.high) else there.high - here.high
    speed = abs(moved) / (0.001 * breakdown)
    if not speed > 0:
        return []
    return [f"Monte-Carlo error of the breakdown value {breakdown:.4g}: {judge.error(breakdown, here) / speed:.2g}"]


def _on_scale(bounds: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Bounds on the natural scale of the estimate."""
    if scale is SCALES["identity"]:
        return bounds
    ends = {name: scale.back(bounds[name].to_numpy()) for name in ("conf_low", "conf_high", "id_low", "id_high")}
    size = np.maximum(np.abs(ends["conf_low"]), np.abs(ends["conf_high"]))
    return bounds.assign(**ends, conf_error=bounds["conf_error"].to_numpy() * size)


def _words(restriction: Restriction, found: Coefficients) -> str:
    meaning = {
        RelativeMagnitude: "trends diverge from one period to the next by at most `strength` times the most they did "
        "before the start",
        Smoothness: "the slope of the difference in trends changes by at most `strength` from one period to the next",
        Combined: "the slope of the difference in trends changes by at most `strength` times the most it did before "
        "the start",
    }[type(restriction)]
    also = {
        "positive": "; the difference is not negative",
        "negative": "; the difference is not positive",
        "increasing": "; the difference only grows",
        "decreasing": "; the difference only falls",
    }.get(restriction.sign or restriction.monotone or "", "")
    return f"{found.words}: {meaning}{also}"


__all__ = ["RELATIVE", "Combined", "Method", "RelativeMagnitude", "Smoothness", "honest"]
