"""The engine of `power` and `calibrate`: methods on placebo programmes with planted effects, and what they found."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError, PmgEvalError, PmgEvalWarning
from pmg_eval.estimate import Estimate, Test
from pmg_eval.estimate.scales import SCALES
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._checkpoint import job_key
from pmg_eval.resample._door import need_estimate
from pmg_eval.resample._plant import Ground, PlantScale, Rates, are_counts, check_effects, distance, planted, rates_of
from pmg_eval.resample._tasks import run

Method: TypeAlias = "Callable[[Panel, str], Estimate[Any] | Test]"
"""A complete analysis: panel and outcome in, an estimate with one term (or a test) out."""

_TOUCH = 1e-9  # an interval that ends at the effect, up to rounding, contains it


@dataclass(frozen=True, eq=False)
class Runs:
    """What every method found in every replicate; axes: replicate, number of areas, effect (the null first), method.

    Attributes
    ----------
    rejected : (R, S, E, M) float
        1 where "no effect" was rejected, 0 where it was not, NaN where the method refused.
    estimate, low, high : (R, S, E, M) float
        Signed distance from no effect on the scale of the effects; NaN where it is not given on that scale.
    reason : (R, S, E, M) object
        Why a method refused, or "".
    effects : (E,) float
        Natural scale, the null first.
    distances : (E,) float
    names : tuple of str
    sizes : tuple of int
    scale : {"identity", "log"}
    """

    rejected: Array
    estimate: Array
    low: Array
    high: Array
    reason: Any
    effects: Array
    distances: Array
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    scale: PlantScale

    @property
    def replicates(self) -> int:
        return len(self.rejected)

    def found(self) -> Array:
        """1 where an effect was found: who refuses finds nothing."""
        return np.nan_to_num(self.rejected, nan=0.0)

    def covered(self) -> Array:
        """1 where the interval contains the planted effect, 0 where not, NaN where there is no interval."""
        truth = self.distances[:, None]
        slack = _TOUCH * np.maximum(np.abs(truth), 1e-6)
        inside = (self.low - slack <= truth) & (truth <= self.high + slack)
        return np.where(np.isnan(self.low) | np.isnan(self.high), np.nan, inside)

    def refusals(self) -> pd.DataFrame:
        """How often each method refused, and why."""
        columns = ["method", "areas", "effect", "reason", "replicates"]
        at = np.argwhere(self.reason != "")
        rows = [
            (self.names[m], self.sizes[s], float(self.effects[e]), str(self.reason[r, s, e, m])) for r, s, e, m in at
        ]
        table = pd.DataFrame(rows, columns=columns[:-1])
        counted = table.groupby(columns[:-1], sort=True).size()
        return counted.rename("replicates").reset_index()[columns]


def runs(
    methods: Mapping[str, Method],
    panel: Panel,
    outcome: str,
    ground: Ground,
    *,
    effects: Sequence[float],
    scale: PlantScale,
    alpha: float,
    replicates: int,
    rng: int | np.random.Generator,
    n_jobs: int,
    checkpoint: str | Path | None,
    options: Mapping[str, Any],
) -> Runs:
    """Every method on the same placebo programmes and the same planted data.

    Raises
    ------
    DataError
        PMG-EFFECTS, PMG-ONE-TERM, PMG-CHECKPOINT.
    InferenceError
        PMG-REFUSED: every method refused in every replicate.
    """
    chosen = check_effects(effects, scale)
    rates = rates_of(ground.panel, outcome) if scale == "log" and are_counts(panel, outcome) else None
    job = _Replicate(tuple(methods.values()), ground, outcome, tuple(chosen), scale, rates, alpha)
    key = None
    if checkpoint is not None:
        given = {**options, "effects": chosen, "scale": scale, "alpha": alpha, "pool": ground.panel.units[ground.pool]}
        key = job_key(dict(methods), panel, outcome, given, rng)
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    what = "placebo programmes"
    rows = run(job, generator.spawn(replicates), n_jobs, what, checkpoint=checkpoint, key=key)
    shape = (replicates, len(ground.sizes), 1 + len(chosen), len(methods))
    numbers = np.array([[row[:4] for row in replicate] for replicate in rows], dtype=np.float64).reshape(*shape, 4)
    reasons = np.array([[row[4] for row in replicate] for replicate in rows], dtype=object).reshape(shape)
    if (reasons != "").all():
        raise InferenceError(
            "PMG-REFUSED",
            f"every method refused in every replicate: {reasons.flat[0]}",
            fix="call the method on the panel itself; a design that it accepts, or another method",
        )
    rejected, estimate, low, high = np.moveaxis(numbers, -1, 0)
    natural = np.array([SCALES[scale].null, *chosen])
    return Runs(
        rejected,
        estimate,
        low,
        high,
        reasons,
        natural,
        np.array([0.0, *(distance(effect, scale) for effect in chosen)]),
        tuple(methods),
        ground.sizes,
        scale,
    )


@dataclass(frozen=True, eq=False)
class _Replicate:
    """One placebo programme: all numbers of areas, all effects, all methods."""

    methods: tuple[Method, ...]
    ground: Ground
    outcome: str
    effects: tuple[float, ...]
    scale: PlantScale
    rates: Rates | None
    alpha: float

    def __call__(self, child: np.random.Generator) -> list[list[Any]]:
        where, what = child.spawn(2)
        order = where.permutation(self.ground.pool)
        rows: list[list[Any]] = []
        for size, source in zip(self.ground.sizes, what.spawn(len(self.ground.sizes)), strict=True):
            bare = self.ground.assigned(order, size)
            found = {SCALES[self.scale].null: self._all(bare)}
            for effect, panel in planted(bare, self.outcome, self.effects, self.scale, self.rates, source):
                found[effect] = self._all(panel)
            for effect in (SCALES[self.scale].null, *self.effects):
                rows += found[effect]
        return rows

    def _all(self, panel: Panel) -> list[list[Any]]:
        return [attempt(method, panel, self.outcome, self.scale, self.alpha) for method in self.methods]


def attempt(method: Method, panel: Panel, outcome: str, scale: PlantScale, alpha: float) -> list[Any]:
    """Rejected, estimate, low, high (distances from no effect) and the reason of a refusal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PmgEvalWarning)  # few placebos and the like, once per replicate
            found: object = method(panel, outcome)
            if isinstance(found, Test):
                return _of_test(found, alpha)
            if isinstance(found, Estimate) and len(found) == 1:
                return _of_estimate(found, scale, alpha)
    except PmgEvalError as refused:
        return [np.nan] * 4 + [f"{refused.code}: {refused.what}"]
    need_estimate(found)
    count = len(found) if isinstance(found, Estimate) else 0
    raise DataError("PMG-ONE-TERM", f"a method must return one term, not {count}", fix="average() it first")


def _of_test(test: Test, alpha: float) -> list[Any]:
    if np.isnan(test.p_value):
        return [np.nan] * 4 + ["no p-value"]
    return [float(test.p_value <= alpha * (1 + 1e-12)), np.nan, np.nan, np.nan, ""]


def _of_estimate(estimate: Estimate[Any], scale: PlantScale, alpha: float) -> list[Any]:
    row = estimate.to_frame(1 - alpha).iloc[0]
    low, high, p_value = (float(row[name]) for name in ("conf_low", "conf_high", "p_value"))
    null = SCALES[estimate.scale].null
    if np.isfinite(null) and not (np.isnan(low) or np.isnan(high)):
        rejected = float(not low <= null <= high)
    elif not np.isnan(p_value):
        rejected = float(p_value <= alpha * (1 + 1e-12))
    else:
        return [np.nan] * 4 + [str(row["status"]) or "no interval and no p-value"]
    if estimate.scale != scale:
        return [rejected, np.nan, np.nan, np.nan, ""]
    link = SCALES[scale]
    with np.errstate(divide="ignore", invalid="ignore"):
        on_scale = link.to(np.array([float(row["estimate"]), low, high])) - link.null_on_scale()
    return [rejected, *on_scale.tolist(), ""]


def share_error(share: Any, count: Any) -> Any:
    """Monte-Carlo standard error of a share; never zero, because ten successes out of ten are no certainty."""
    kept = (share * count + 1) / (count + 2)
    return np.sqrt(kept * (1 - kept) / count)
