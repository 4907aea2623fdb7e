"""Effects of areas that were not treated, as if they had been."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pmg_eval.errors import DesignError, InferenceError, NumericalError
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._area import area_effects
from pmg_eval.resample._area_cells import Cells, joint_cells
from pmg_eval.resample._area_effects import AreaEffects, summed, with_fit
from pmg_eval.resample._options import against_others, bare, by_unit, enumerates, named_donors
from pmg_eval.resample._tasks import run
from pmg_eval.typing import Estimator

_AT_ONCE = 100  # placebo areas of one call: how often progress is told


def placebo_effects(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    start: tuple[float, float],
    pool: Any,
    effects: AreaEffects,
    batches: int,
    n_jobs: int,
    cells: bool = False,
) -> AreaEffects:
    """Effects of the eligible areas as if they had had this ``start`` (cohort and treated share of its first period).

    Real treated areas are left out, and so is a placebo area in which nothing can be estimated.
    """
    cohort, share = start
    estimator = bare(estimator)
    untreated = panel.select(~np.isfinite(panel.cohort))
    members = np.flatnonzero(pool[~np.isfinite(panel.cohort)])
    if enumerates(estimator):
        # Everybody against everybody else, however many at once: no batch compares with fewer areas than another.
        untreated, members = _donors_only(untreated, members, named_donors(estimator))
        groups = np.array_split(members, -(-len(members) // _AT_ONCE))
        estimator = against_others(estimator)
    elif effects.joint:
        # never more than a third of the comparison areas at once
        count = int(np.clip(batches, 3, len(members)))
        groups = [members[start::count] for start in range(count)]
    else:
        groups = [members[i : i + 1] for i in range(len(members))]
    task: Callable[[Any], AreaEffects | None] = lambda group: _as_if(estimator, untreated, outcome, start, group, cells)  # noqa: E731
    found = [part for part in run(task, groups, n_jobs, "placebo areas") if part is not None]
    if not any(np.isfinite(part.values).any() for part in found):
        raise DesignError(
            "PMG-NO-PLACEBO", "no placebo area could be estimated", fix="check the pre-periods of the pool"
        )
    values = np.concatenate([part.values for part in found])
    units = found[0].units.append([part.units for part in found[1:]])
    order = np.argsort(untreated.units.get_indexer(units))
    order = order[~np.isnan(values[order])]
    return AreaEffects(
        units[order],
        values[order],
        np.full(len(order), cohort),
        np.concatenate([part.size for part in found])[order],
        np.concatenate([part.weight for part in found])[order],
        effects.n_control,
        None,
        found[0].scale,
        effects.estimand,
        effects.joint,
        effects.provenance,
        [""] * len(order),
        np.full(len(order), share),
        _joined([part.pre_rmspe for part in found], order),
        _joined([part.post_rmspe for part in found], order),
        _joined_cells(found, order) if cells else None,
    )


def _joined(parts: list[Array | None], order: Any) -> Array | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known)[order] if len(known) == len(parts) else None


def _joined_cells(parts: list[AreaEffects], order: Any) -> Cells:
    """Cells of all parts, with positions in the joined and ordered effects."""
    known = [
        (part.cells, offset) for part, offset in zip(parts, _offsets(parts), strict=True) if part.cells is not None
    ]
    position = np.full(sum(len(part.values) for part in parts), -1)
    position[order] = np.arange(len(order))
    area = position[np.concatenate([cells.area + offset for cells, offset in known])]
    keep = np.flatnonzero(area >= 0)
    keep = keep[np.argsort(area[keep], kind="stable")]

    def joined(name: str) -> Any:
        return np.concatenate([getattr(cells, name) for cells, _ in known])[keep]

    columns = (joined(name) for name in ("event_time", "values", "weight", "n_control", "status"))
    return Cells(area[keep], *columns)


def _offsets(parts: list[AreaEffects]) -> list[int]:
    return [sum(len(part.values) for part in parts[:at]) for at in range(len(parts))]


@dataclass(frozen=True, eq=False)
class Paths:
    """Placebo effects period by period: values, weight (J, H) at event times (H,); NaN and 0 where there is no cell."""

    event_time: Any
    values: Array
    weight: Array


def paths_of(effects: AreaEffects) -> Paths:
    """The cells of placebo areas as a table."""
    cells = effects.cells
    if cells is None:
        raise ValueError("effects without cells")
    times, column = np.unique(cells.event_time, return_inverse=True)
    values = np.full((len(effects.values), len(times)), np.nan)
    weight = np.zeros_like(values)
    values[cells.area, column] = cells.values
    weight[cells.area, column] = np.where(np.isfinite(cells.values), cells.weight, 0.0)
    return Paths(times, values, weight)


def _donors_only(untreated: Panel, members: Any, named: list[Any] | None) -> tuple[Panel, Any]:
    """Placebos of an estimator whose donors the caller named: these donors among themselves."""
    if named is None:
        return untreated, members
    chosen = untreated.units.isin(named)
    members = np.flatnonzero(np.isin(np.flatnonzero(chosen), members))
    if len(members) < 2:
        raise DesignError("PMG-POOL", f"{len(members)} eligible placebo areas among the donors", fix="name more donors")
    return untreated.select(chosen), members


def _as_if(
    estimator: Estimator, untreated: Panel, outcome: str, start: tuple[float, float], group: Any, cells: bool
) -> AreaEffects | None:
    cohort = np.full(untreated.n_units, np.inf)
    cohort[group] = start[0]
    share = None
    if untreated.share is not None:
        share = np.ones(untreated.n_units)
        share[group] = start[1]
    panel = untreated.with_cohort(cohort, share)
    try:
        first = by_unit(estimator)(panel, outcome)
        if "unit" not in first.terms:
            return area_effects(estimator, panel, outcome, cells)
    except (DesignError, NumericalError, InferenceError):
        return None
    found = with_fit(summed(first, panel), first)
    return replace(found, cells=joint_cells(first, panel, found.units, law=False)) if cells else found
