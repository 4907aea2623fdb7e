"""Effects of single areas, real or placebo, from any estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Estimate, Influence, Provenance
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._area_effects import AreaEffects, joint, shares, sizes, with_fit, without_law
from pmg_eval.resample._options import against_others, by_unit, enumerates, named_donors
from pmg_eval.resample._tasks import run
from pmg_eval.typing import Estimator

_AT_ONCE = 100  # placebo areas of one call: how often progress is told


def area_effects(estimator: Estimator, panel: Panel, outcome: str) -> AreaEffects:
    """Effects of the treated areas of a panel.

    Raises
    ------
    DesignError
        No treated area has an effect.
    """
    first = by_unit(estimator)(panel, outcome)
    treated = np.flatnonzero(np.isfinite(panel.cohort) & (panel.cohort <= panel.time_codes[-1]))
    if "unit" in first.terms:
        found = without_law(first, panel) if first.uncertainty is None else joint(first.average(by="unit"), panel)
        found = with_fit(found, first)
    else:
        some_before = treated[~panel.always_treated[treated]]
        found = _one_by_one(estimator, panel, outcome, some_before, first.provenance)
    without = panel.units[treated].difference(found.units, sort=False)
    if len(without) == 0:
        return found
    shown = ", ".join(map(str, without[:5])) + (f" (first 5 of {len(without)})" if len(without) > 5 else "")
    note = f"treated areas without an effect (no untreated period, no comparison, or no treated observation): {shown}"
    return replace(found, provenance=found.provenance.noting(note))


def _one_by_one(estimator: Estimator, panel: Panel, outcome: str, treated: Any, provenance: Provenance) -> AreaEffects:
    never = ~np.isfinite(panel.cohort)
    singles: dict[int, Estimate[Any]] = {}
    status = dict.fromkeys(treated, "")
    for unit in treated:
        mask = never.copy()
        mask[unit] = True
        try:
            single = estimator(panel.select(mask), outcome)
            singles[unit] = single if len(single) == 1 else single.average()
            status[unit] = str(singles[unit].terms["status"].iloc[0])
        except (DesignError, NumericalError, DataError, InferenceError) as refused:
            status[unit] = refused.what  # this area has no effect under the estimator (no pre-period, no overlap)
    if not singles:
        raise DesignError("PMG-NO-AREA", "no treated area has an effect under this estimator")
    others = None
    if all(isinstance(single.uncertainty, Influence) for single in singles.values()):
        known = {unit: _contributions(single, panel.units[never]) for unit, single in singles.items()}
        others = np.column_stack([known.get(unit, np.zeros(never.sum())) for unit in treated])
    labels = panel.units[treated]
    weight = np.array([_weight(singles[unit]) if unit in singles else 0.0 for unit in treated])
    cohort = panel.cohort[treated]
    head = next(iter(singles.values()))
    return AreaEffects(
        labels,
        np.array([singles[unit].values[0] if unit in singles else np.nan for unit in treated]),
        cohort,
        sizes(panel, labels, cohort, weight, head.scale),
        weight,
        int(never.sum()),
        others,
        head.scale,
        str(head.terms["estimand"].iloc[0]) if "estimand" in head.terms else "att",
        False,
        provenance,
        list(status.values()),
        shares(panel, treated),
    )


def _weight(single: Estimate[Any]) -> float:
    return float(single.terms["weight"].iloc[0]) if "weight" in single.terms else 1.0


def _contributions(single: Estimate[Any], never: pd.Index[Any]) -> Array:
    law = single.uncertainty
    if not isinstance(law, Influence):
        raise InferenceError("PMG-NO-INFLUENCE", "influence values expected", fix="report a bug")
    law = law.by_unit()
    position = pd.Index(law.rows["unit"]).get_indexer(never)
    return np.where(position >= 0, law.psi.dense()[np.maximum(position, 0), 0] / law.n, 0.0)


def placebo_effects(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    start: tuple[float, float],
    pool: Any,
    effects: AreaEffects,
    batches: int,
    n_jobs: int,
) -> AreaEffects:
    """Effects of the eligible areas as if they had had this ``start`` (cohort and treated share of its first period).

    Real treated areas are left out, and so is a placebo area in which nothing can be estimated.
    """
    cohort, share = start
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
    task: Callable[[Any], AreaEffects | None] = lambda group: _as_if(estimator, untreated, outcome, start, group)  # noqa: E731
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
    )


def _joined(parts: list[Array | None], order: Any) -> Array | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known)[order] if len(known) == len(parts) else None


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
    estimator: Estimator, untreated: Panel, outcome: str, start: tuple[float, float], group: Any
) -> AreaEffects | None:
    cohort = np.full(untreated.n_units, np.inf)
    cohort[group] = start[0]
    share = None
    if untreated.share is not None:
        share = np.ones(untreated.n_units)
        share[group] = start[1]
    try:
        return area_effects(estimator, untreated.with_cohort(cohort, share), outcome)
    except (DesignError, NumericalError, InferenceError):
        return None


def control_error(effects: AreaEffects) -> Array:
    """Covariance (k, k) of the error that areas share through their controls, on the interval's scale.

    Zero for an estimator without a law (synthetic controls): the placebos are compared with donors just as the areas
    are, so the error of a synthetic control is in each placebo's effect already.
    """
    from pmg_eval.estimate.scales import SCALES

    k = len(effects.values)
    if effects.others is None:
        return np.zeros((k, k))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.abs(SCALES[effects.scale].slope(effects.values))
    scaled = effects.others * np.where(np.isfinite(slope), slope, 0.0)
    return np.asarray(scaled.T @ scaled)
