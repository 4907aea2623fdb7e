"""Effects of single areas, from one estimate that has all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate, Influence, Provenance
from pmg_eval.estimate.scales import ScaleName
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._area_cells import Cells


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
    cells : Cells or None
        The same period by period, when asked for.
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
    cells: Cells | None = None


def sizes(panel: Panel, units: pd.Index[Any], cohort: Array, estimate_weight: Array, scale: ScaleName) -> Array:
    """Events expected after the start for ratios; else mean exposure; else one."""
    if scale == "log":
        return np.maximum(estimate_weight, np.finfo(float).tiny)
    if panel.exposure is None:
        return np.ones(len(units))
    wide = panel.wide_rows(panel.exposure)
    return np.asarray(np.nanmean(wide[panel.units.get_indexer(units)], axis=1))


def shares(panel: Panel, position: Any) -> Array:
    return np.ones(len(position)) if panel.share is None else panel.share[position]


def joint(units: Estimate[Any], panel: Panel) -> AreaEffects:
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
        sizes(panel, labels, cohort, weight, units.scale),
        weight,
        n_control,
        others,
        units.scale,
        str(units.terms["estimand"].iloc[0]),
        True,
        units.provenance,
        [str(why) for why in units.terms["status"]],
        shares(panel, position),
    )


def summed(first: Estimate[Any], panel: Panel) -> AreaEffects:
    """Values, weights and sizes of ``joint``, and nothing else: all that a placebo is asked for, much faster."""
    terms = first.terms
    unit = panel.units.get_indexer(pd.Index(terms["unit"].array))
    after = unit >= 0
    if "event_time" in terms:
        after &= (terms["event_time"] >= 0).to_numpy(dtype=bool, na_value=False)
    weight = terms["weight"].to_numpy(dtype=np.float64) if "weight" in terms else np.ones(len(terms))
    usable = after & np.isfinite(first.values) & (weight > 0)
    unit, weight = unit[usable], weight[usable]
    total = np.bincount(unit, weight, minlength=panel.n_units)
    position = np.flatnonzero(total > 0)
    size = np.asarray(total[position], dtype=np.float64)
    values = np.bincount(unit, weight * first.values[usable], minlength=panel.n_units)[position] / size
    labels, cohort = panel.units[position], panel.cohort[position]
    return AreaEffects(
        labels,
        values,
        cohort,
        sizes(panel, labels, cohort, size, first.scale),
        size,
        0,
        None,
        first.scale,
        "",
        True,
        first.provenance,
        [""] * len(position),
        shares(panel, position),
    )


def without_law(first: Estimate[Any], panel: Panel) -> AreaEffects:
    """As ``joint(first.average(by="unit"), panel)``, by plain sums.

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
        sizes(panel, labels, cohort, size, first.scale),
        size,
        np.where(size > 0, weakest[position], 0).astype(np.int64),
        None,
        first.scale,
        str(terms["estimand"].iloc[0]),
        True,
        first.provenance.then('average(by="unit")'),
        status,
        shares(panel, position),
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


def with_fit(effects: AreaEffects, first: Estimate[Any]) -> AreaEffects:
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
