"""Joint tests of a specification curve: the same random adoption paths for all specifications."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DesignError, PmgEvalWarning
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._checkpoint import job_key
from pmg_eval.resample._curve_plan import Found, Place, Specification, effect_and_p
from pmg_eval.resample._describe import described
from pmg_eval.resample._randomize_paths import Paths, _distinct, paths_of
from pmg_eval.resample._tasks import run

STATISTICS = ("median", "share significant", "average z")
COLUMNS = ["statistic", "observed", "p_value", "p_error", "p_min"]
_TIE = 1 - 1e-12


def joint_tests(
    specs: list[Specification],
    found: list[Found],
    panels: Mapping[Place, Panel],
    *,
    level: float,
    draws: int,
    eligible: Sequence[Any] | None,
    within: str | None,
    rng: int | np.random.Generator,
    n_jobs: int,
    checkpoint: str | Path | None,
) -> pd.DataFrame:
    """Median effect, share significant in one direction and average z, against random assignments."""
    if draws == 0:
        return pd.DataFrame(columns=COLUMNS)
    paths, starts = _shared_paths(panels, eligible, within)
    observed = _summary(np.array([one.effect for one in found]), np.array([one.p_value for one in found]), level)
    if len({one.scale for one in found}) > 1:
        observed[0] = np.nan  # a median over log ratios and differences has no meaning
    exact = paths.total <= draws
    key = None
    if checkpoint is not None:
        key = _key(specs, panels, {"eligible": eligible, "within": within, "level": level, "exact": exact}, rng)
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    tasks = paths.every() if exact else paths.random(generator, draws)

    def under(assigned: Any) -> list[float]:
        changed = {at: start.panel(panels[at], assigned) for at, start in starts.items()}
        with warnings.catch_warnings():  # what there is to warn of was said for what happened
            warnings.simplefilter("ignore", PmgEvalWarning)
            both = np.array([effect_and_p(spec, changed[spec.at]) for spec in specs])
        lost = np.isnan(both[:, 0])  # what cannot be estimated counts against the effect
        return _summary(np.where(lost, np.inf, both[:, 0]), np.where(lost, 0.0, both[:, 1]), level)

    drawn = np.array(run(under, tasks, n_jobs, "curve under random assignments", checkpoint=checkpoint, key=key))
    return _tests(np.array(observed), drawn, paths.total, exact)


def _tests(observed: Array, drawn: Array, total: int, exact: bool) -> pd.DataFrame:
    rows = []
    count = len(drawn)
    p_min = 1 / total if exact else max(1 / (1 + count), 1 / total)
    for name, value, under in zip(STATISTICS, observed, drawn.T, strict=True):
        if np.isnan(value):
            rows.append((name, value, np.nan, np.nan, p_min))
            continue
        extreme = int((~(under < value * _TIE)).sum())
        p_value = extreme / count if exact else (1 + extreme) / (1 + count)
        error = 0.0 if exact else float(np.sqrt(p_value * (1 - p_value) / count))
        rows.append((name, value, max(p_value, p_min), error, p_min))
    return pd.DataFrame(rows, columns=COLUMNS)


def _summary(effect: Array, p_value: Array, level: float) -> list[float]:
    """Absolute median effect, larger share significant in one direction, absolute average z."""
    from scipy import special

    tested = np.isfinite(p_value)
    if not tested.any():
        return [abs(float(np.median(effect))), np.nan, np.nan]
    sign = np.sign(effect[tested])
    significant = p_value[tested] <= (1 - level) * (1 + 1e-12)
    share = max(float((significant & (sign * side > 0)).mean()) for side in (1, -1))
    z = -sign * special.ndtri(np.maximum(p_value[tested] / 2, 1e-300))
    return [abs(float(np.median(effect))), share, abs(float(z.sum() / np.sqrt(len(z))))]


def _shared_paths(
    panels: Mapping[Place, Panel], eligible: Sequence[Any] | None, within: str | None
) -> tuple[Paths, dict[Place, _Starts]]:
    """Assignments of the areas of the first panel, and what each of them means in every panel."""
    first = next(iter(panels.values()))
    paths = paths_of(first, eligible, within, "pool")
    units = first.units
    in_pool = np.zeros(len(units), dtype=bool)
    in_pool[np.concatenate(paths.blocks)] = True
    columns, positions = [], {}
    for at, panel in panels.items():
        position = panel.units.get_indexer(units)
        treated = panel.units[np.isfinite(panel.cohort)]
        lost = treated.difference(units[in_pool & (position >= 0)], sort=False)
        for other in panels.values():
            lost = lost.append(treated.difference(other.units, sort=False))
        if len(lost):
            raise DesignError(
                "PMG-POOL",
                "treated areas that are not in all panels cannot exchange their starts",
                where=list(lost.unique()),
                fix="panels of the same areas, or draws=0",
            )
        in_pool &= position >= 0
        known = np.where(position >= 0, panel.cohort[np.maximum(position, 0)], np.inf)
        share = np.ones(len(units)) if panel.share is None else panel.share[np.maximum(position, 0)]
        columns += [known, share]
        positions[at] = position
    levels, path = np.unique(np.column_stack(columns), axis=0, return_inverse=True)
    path = path.ravel()
    blocks = [block[in_pool[block]] for block in paths.blocks]
    total = prod(_distinct(path[block]) for block in blocks)
    if total < 2:
        raise DesignError("PMG-POOL", "only one assignment is possible", fix="a larger pool or coarser `within`")
    starts = {
        at: _Starts(levels[:, 2 * number], levels[:, 2 * number + 1], positions[at])
        for number, at in enumerate(positions)
    }
    return replace(
        paths, levels=levels, path=path, blocks=[block for block in blocks if len(block)], total=total
    ), starts


@dataclass(frozen=True, eq=False)
class _Starts:
    """Start and treated share (m,) that every path means in one panel, and where its units stand (n,) in it."""

    cohort: Array
    share: Array
    position: Any

    def panel(self, panel: Panel, assigned: Any) -> Panel:
        """The panel with these paths; areas outside the pool keep theirs."""
        here = self.position >= 0
        cohort = panel.cohort.copy()
        cohort[self.position[here]] = self.cohort[assigned[here]]
        if panel.share is None:
            return panel.with_cohort(cohort)
        share = panel.share.copy()
        share[self.position[here]] = self.share[assigned[here]]
        return panel.with_cohort(cohort, share)


def _key(
    specs: list[Specification], panels: Mapping[Place, Panel], options: Mapping[str, Any], rng: Any
) -> dict[str, Any]:
    keys = [job_key(None, panel, at[1], options, rng) for at, panel in panels.items()]
    named = [[spec.name, list(spec.at), described(spec.estimator)] for spec in specs]
    return {"data": [key["data"] for key in keys], "options": [keys[0]["options"], named], "seed": keys[0]["seed"]}
