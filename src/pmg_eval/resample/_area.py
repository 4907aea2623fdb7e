"""Effects of single areas, real or placebo, from any estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Estimate, Influence, Provenance
from pmg_eval.estimate.scales import ScaleName
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._options import against_others, by_unit, enumerates, named_donors
from pmg_eval.resample._tasks import run
from pmg_eval.typing import Estimator

_AT_ONCE = 100  # placebo areas of one call: how often progress is told


@dataclass(frozen=True, eq=False)
class AreaEffects:
    """One effect per area: values on the natural scale, size, and the influence of the *other* units on each.

    Attributes
    ----------
    units : Index (k); values, cohort, size, weight : (k,); n_control : (k,) int
        A treated area without an effect keeps its row: value NaN, ``status`` says why.
    share : (k,) float
        Treated share of the first treated period (1 unless the panel keeps shares).
    others : (m, k) float or None
        Contributions (psi / n) of never-treated units: the error that areas share through their controls.
    joint : bool
        All areas came from one fit of an estimator with unit labels.
    pre_rmspe, post_rmspe : (k,) float or None
        Root mean squared gap before and after the start, from estimators whose ``details.fit`` has them.
    """

    units: pd.Index[Any]
    values: Array
    cohort: Array
    size: Array
    weight: Array
    n_control: Any
    others: Array | None
    scale: ScaleName
    estimand: str
    joint: bool
    provenance: Provenance
    status: list[str]
    share: Array
    pre_rmspe: Array | None = None
    post_rmspe: Array | None = None


def _sizes(panel: Panel, units: pd.Index[Any], cohort: Array, estimate_weight: Array, scale: ScaleName) -> Array:
    """Events expected after the start for ratios; else mean exposure; else one."""
    if scale == "log":
        return np.maximum(estimate_weight, np.finfo(float).tiny)
    if panel.exposure is None:
        return np.ones(len(units))
    wide = panel.wide_rows(panel.exposure)
    return np.asarray(np.nanmean(wide[panel.units.get_indexer(units)], axis=1))


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
        found = _without_law(first, panel) if first.uncertainty is None else _joint(first.average(by="unit"), panel)
        found = _with_fit(found, first)
    else:
        some_before = treated[~panel.always_treated[treated]]
        found = _one_by_one(estimator, panel, outcome, some_before, first.provenance)
    without = panel.units[treated].difference(found.units, sort=False)
    if len(without) == 0:
        return found
    shown = ", ".join(map(str, without[:5])) + (f" (first 5 of {len(without)})" if len(without) > 5 else "")
    note = f"treated areas without an effect (no untreated period, no comparison, or no treated observation): {shown}"
    return replace(found, provenance=found.provenance.noting(note))


def _without_law(first: Estimate[Any], panel: Panel) -> AreaEffects:
    """As ``_joint(first.average(by="unit"), panel)``, by plain sums.

    Without a law there is nothing else to average, and several hundred placebos are averaged in a tenth of the time.
    """
    terms = first.terms
    weight = terms["weight"].to_numpy(dtype=np.float64)
    after = (terms["event_time"] >= 0).to_numpy(dtype=bool)
    identified = np.isfinite(first.values)
    usable = after & identified & (weight > 0)
    unit = panel.units.get_indexer(pd.Index(terms["unit"]))
    n = panel.n_units
    total = np.bincount(unit[usable], weight[usable], minlength=n)
    summed = np.bincount(unit[usable], (weight * first.values)[usable], minlength=n)
    position = np.flatnonzero(np.bincount(unit[after], minlength=n))
    with np.errstate(invalid="ignore"):
        values = summed[position] / total[position]
    lost = np.bincount(unit[after & ~identified], minlength=n)[position]
    reasons = _reasons(unit[after], terms["status"].to_numpy(dtype=object)[after], usable[after])
    labels, cohort = panel.units[position], panel.cohort[position]
    weakest = np.full(n, np.inf)
    np.fmin.at(weakest, unit[usable], terms["n_control"].to_numpy(dtype=np.float64)[usable])
    size = np.asarray(total[position], dtype=np.float64)
    status = [
        _lost_cells(number)
        if number and np.isfinite(value)
        else reasons.get(at, "" if np.isfinite(value) else "no weight")
        for at, number, value in zip(position.tolist(), lost.tolist(), values, strict=True)
    ]
    return AreaEffects(
        labels,
        values,
        cohort,
        _sizes(panel, labels, cohort, size, first.scale),
        size,
        np.where(size > 0, weakest[position], 0).astype(np.int64),
        None,
        first.scale,
        str(terms["estimand"].iloc[0]),
        True,
        first.provenance.then('average(by="unit")'),
        status,
        _shares(panel, position),
    )


def _lost_cells(number: int) -> str:
    return f"leaves out {number} unidentified cell{'s' if number > 1 else ''}"


def _reasons(unit: Any, status: Any, usable: Any) -> dict[int, str]:
    """What the cells of a unit have in common; for a unit without a usable cell everything that is said of them."""
    said = status != ""
    words: dict[int, set[str]] = {}
    for at in set(unit[said].tolist()):
        own = unit == at
        found = usable & own if (usable & own).any() else own
        words[at] = set(status[found])
        if found is own:
            words[at] -= {""}
    return {
        at: "; ".join(sorted(found)) for at, found in words.items() if len(found) == 1 or not usable[unit == at].any()
    }


def _with_fit(effects: AreaEffects, first: Estimate[Any]) -> AreaEffects:
    """Carry the fit before and after the start, where the estimator tells it."""
    fit = getattr(first.details, "fit", None)
    if not isinstance(fit, pd.DataFrame) or not {"unit", "pre_rmspe", "post_rmspe"} <= set(fit.columns):
        return effects
    position = pd.Index(fit["unit"]).get_indexer(effects.units)
    pre, post = (fit[name].to_numpy(dtype=np.float64) for name in ("pre_rmspe", "post_rmspe"))
    known = position >= 0
    return replace(
        effects,
        pre_rmspe=np.where(known, pre[position], np.nan),
        post_rmspe=np.where(known, post[position], np.nan),
    )


def _joint(units: Estimate[Any], panel: Panel) -> AreaEffects:
    labels = pd.Index(units.terms["unit"])
    position = panel.units.get_indexer(labels)
    cohort = panel.cohort[position]
    weight = units.terms["weight"].to_numpy(dtype=np.float64)
    law = units.uncertainty
    others = None
    if isinstance(law, Influence):
        never = ~np.isfinite(panel.cohort[panel.units.get_indexer(pd.Index(law.rows["unit"]))])
        others = law.psi.dense()[never] / law.n
    n_control = (
        units.terms["n_control"].to_numpy() if "n_control" in units.terms else (~np.isfinite(panel.cohort)).sum()
    )
    return AreaEffects(
        labels,
        units.values,
        cohort,
        _sizes(panel, labels, cohort, weight, units.scale),
        weight,
        n_control,
        others,
        units.scale,
        str(units.terms["estimand"].iloc[0]),
        True,
        units.provenance,
        [str(why) for why in units.terms["status"]],
        _shares(panel, position),
    )


def _shares(panel: Panel, position: Any) -> Array:
    return np.ones(len(position)) if panel.share is None else panel.share[position]


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
        _sizes(panel, labels, cohort, weight, head.scale),
        weight,
        int(never.sum()),
        others,
        head.scale,
        str(head.terms["estimand"].iloc[0]) if "estimand" in head.terms else "att",
        False,
        provenance,
        list(status.values()),
        _shares(panel, treated),
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
