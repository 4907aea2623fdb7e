"""Effects of single areas, real or placebo, from any estimator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Estimate, Influence
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._area_cells import contributions, joint_cells, single_cells
from pmg_eval.resample._area_effects import AreaEffects, joint, shares, sizes, with_fit, without_law
from pmg_eval.resample._door import estimated, need_estimator
from pmg_eval.resample._options import by_unit
from pmg_eval.typing import Estimator


def area_effects(estimator: Estimator, panel: Panel, outcome: str, cells: bool = False) -> AreaEffects:
    """Effects of the treated areas of a panel; with ``cells`` also period by period.

    Raises
    ------
    DesignError
        No treated area has an effect.
    """
    need_estimator(estimator)
    first = estimated(by_unit(estimator), panel, outcome)
    treated = np.flatnonzero(np.isfinite(panel.cohort) & (panel.cohort <= panel.time_codes[-1]))
    if "unit" in first.terms:
        found = without_law(first, panel) if first.uncertainty is None else joint(first.average(by="unit"), panel)
        found = with_fit(found, first)
        if cells:
            found = replace(found, cells=joint_cells(first, panel, found.units))
    else:
        some_before = treated[~panel.always_treated[treated]]
        found = _one_by_one(estimator, panel, outcome, some_before, first, cells)
    without = panel.units[treated].difference(found.units, sort=False)
    if len(without) == 0:
        return found
    shown = ", ".join(map(str, without[:5])) + (f" (first 5 of {len(without)})" if len(without) > 5 else "")
    note = f"treated areas without an effect (no untreated period, no comparison, or no treated observation): {shown}"
    return replace(found, provenance=found.provenance.noting(note))


def _one_by_one(
    estimator: Estimator, panel: Panel, outcome: str, treated: Any, first: Estimate[Any], cells: bool
) -> AreaEffects:
    never = ~np.isfinite(panel.cohort)
    only = len(treated) == 1 and never.sum() == panel.n_units - 1  # that was the first estimate
    singles: dict[int, Estimate[Any]] = {}
    periods: dict[int, Estimate[Any]] = {}
    status = dict.fromkeys(treated, "")
    for unit in treated:
        mask = never.copy()
        mask[unit] = True
        try:
            single = first if only else estimator(panel.select(mask), outcome)
            singles[unit] = single if len(single) == 1 else single.average()
            periods[unit] = single
            status[unit] = str(singles[unit].terms["status"].iloc[0])
        except (DesignError, NumericalError, DataError, InferenceError) as refused:
            status[unit] = refused.what  # this area has no effect under the estimator (no pre-period, no overlap)
    if not singles:
        raise DesignError("PMG-NO-AREA", "no treated area has an effect under this estimator")
    others, alone = None, panel.units[never]
    if all(isinstance(single.uncertainty, Influence) for single in singles.values()):
        known = {unit: contributions(single, alone, [0])[:, 0] for unit, single in singles.items()}
        others = np.column_stack([known.get(unit, np.zeros(never.sum())) for unit in treated])
    labels = panel.units[treated]
    weight = np.array([_weight(singles[unit]) if unit in singles else 0.0 for unit in treated])
    factor = _to_one_panel(weight, treated, panel, never, first)
    weight = weight * factor
    cohort = panel.cohort[treated]
    head = next(iter(singles.values()))
    position = {int(unit): at for at, unit in enumerate(treated)}
    periodic = single_cells(periods, panel, position, alone) if cells else None
    if periodic is not None:
        periodic = replace(periodic, weight=periodic.weight * factor[periodic.area])
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
        first.provenance,
        list(status.values()),
        shares(panel, treated),
        cells=periodic,
    )


def _weight(single: Estimate[Any]) -> float:
    return float(single.terms["weight"].iloc[0]) if "weight" in single.terms else 1.0


def _to_one_panel(weight: Array, treated: Any, panel: Panel, never: Any, first: Estimate[Any]) -> Array:
    """What (k,) makes weights of areas that were estimated alone those of areas in one panel.

    A weight that is a share of all units (``did.group_time``) is one of another total wherever an area stands alone; a
    number of units or of events is not. Whichever adds up to the weight of the estimate of all areas.
    """
    nothing = np.ones(len(weight))
    if "weight" not in first.terms:
        return nothing
    total = first.terms["weight"].to_numpy(dtype=np.float64, na_value=0.0)
    used = np.isfinite(first.values) & (total > 0)
    if "event_time" in first.terms:
        used &= (first.terms["event_time"] >= 0).to_numpy(dtype=bool, na_value=False)
    size, others = panel.unit_weight[treated], float(panel.unit_weight[never].sum())
    factor = (others + size) / (others + size.sum())
    as_share, as_number = ((weight * each).sum() - total[used].sum() for each in (factor, nothing))
    return factor if abs(as_share) < abs(as_number) else nothing


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
