"""How a placebo law came about: tables beside the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import warn
from pmg_eval.estimate.scales import SCALES
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._area_effects import AreaEffects
from pmg_eval.resample._placebo_law import MATCHED, Placebos, Start, on_scale, rank_half_width, rank_p, starts_of
from pmg_eval.resample._placebo_rare import rare_table

LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class PlaceboDetails:
    r"""How the placebo law came about.

    Attributes
    ----------
    placebos : DataFrame
        One row per cohort and placebo area: ``cohort, unit, effect`` (on the estimate's scale), ``size``, ``sigma``;
        for synthetic controls ``pre_rmspe, rmspe_ratio`` (NaN at a perfect fit).
    variance : DataFrame
        Fitted a and b of :math:`\sigma^2=a+b/size` per cohort (a alone for a law without size model).
    checks : DataFrame
        Per treated area: ``p_plain`` (placebo ranks without scaling), ``p_size_matched`` (among the ``n_matched`` areas
        nearest in size) and the 95 % interval that goes with it, ``matched_low, matched_high`` (NaN where so few areas
        cannot give one), ``sigma``, ``size``, ``control_se``, ``capped`` (larger than every
        placebo area, so that ``sigma`` is that of the largest), and ``p_error``, the Monte-Carlo standard error of the
        p-value of a row (NaN with ``by="cell"``); for synthetic controls ``pre_rmspe``, ``pre_rmspe_rank`` (share of
        the placebos that fit as badly before the start, or worse), ``rmspe_ratio`` (root mean squared gap after over
        before the start) and ``p_rmspe_ratio``, its rank among the placebos', both NaN at a perfect fit. A placebo with
        a perfect fit, whose ratio is unbounded, counts as at least as large.
    rare : DataFrame
        Areas with under one event a period before the start, or none after it: ``unit, events_before, events_after,
        expected_after`` (with the growth of the comparison areas), ``rate_ratio, exact_low, exact_high`` (95 %, taking
        counts as Poisson and that growth as known), ``overdispersed_low, overdispersed_high`` (beta-binomial),
        ``dispersion`` (variance over that of the exact interval). Descriptive: no test follows from them.
    """

    placebos: pd.DataFrame
    variance: pd.DataFrame
    checks: pd.DataFrame
    rare: pd.DataFrame

    def __repr__(self) -> str:
        rare = f", {len(self.rare)} with few events" if len(self.rare) else ""
        return (
            f"PlaceboDetails({len(self.checks)} treated areas{rare}, {len(self.placebos)} placebo effects; "
            "more in checks, placebos, variance and rare)"
        )


def details_of(
    effects: AreaEffects,
    pools: Mapping[Start, Placebos],
    shared: Array,
    p_error: Array,
    panel: Panel,
    outcome: str,
) -> PlaceboDetails:
    """All tables; warns of synthetic controls that fit badly."""
    columns = {**_checks(effects, pools, shared), "p_error": p_error}
    if effects.pre_rmspe is not None:
        columns |= _fit_checks(effects, pools)
    checks = pd.DataFrame(columns)
    _warn_fit(checks)
    tables, fitted = [], []
    for (cohort, share), pool in pools.items():
        label = panel.time_label(int(cohort))
        shown = {} if panel.share is None else {"share": share}
        sigma = pool.sigma(pool.size)
        numbers = {"unit": pool.units, "effect": pool.effect, "size": pool.size, "sigma": sigma}
        tables.append(pd.DataFrame({"cohort": label, **shown, **numbers, **_placebo_fit(pool)}))
        fitted.append({"cohort": label, **shown, "a": pool.a, "b": pool.b})
    rare = rare_table(effects, pools, panel, outcome)
    placebos = tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
    return PlaceboDetails(placebos, pd.DataFrame(fitted), checks, rare)


def _checks(effects: AreaEffects, pools: Mapping[Start, Placebos], shared: Array) -> dict[str, Any]:
    """Ranks and scales of every area (NaN for an area without an effect)."""
    names = ["p_plain", "p_size_matched", "matched_low", "matched_high", "n_matched", "sigma", "size", "control_se"]
    names += ["capped"]
    found, rows = on_scale(effects.values, effects.scale), np.full((len(effects.values), len(names)), np.nan)
    for column, start in enumerate(starts_of(effects)):
        if np.isnan(found[column]):
            continue
        pool, size = pools[start], float(effects.size[column])
        near = pool.effect[pool.near(size, MATCHED)]
        rows[column] = (
            rank_p(found[column], pool.effect),
            rank_p(found[column], near),
            *_inverted(effects, column, rank_half_width(near, LEVEL)),
            len(near),
            pool.sigma(np.array([min(size, float(pool.size.max()))]))[0],
            size,
            np.sqrt(shared[column, column]),
            size > pool.size.max(),
        )
    table: dict[str, Any] = {"unit": effects.units, **dict(zip(names, rows.T, strict=True))}
    table["capped"] = np.nan_to_num(table["capped"]) > 0
    table["n_matched"] = np.nan_to_num(table["n_matched"]).astype(np.int64)
    return table


def _inverted(effects: AreaEffects, column: int, half: float) -> tuple[float, float]:
    """The interval of one area on the natural scale."""
    scale = SCALES[effects.scale]
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = scale.to(effects.values[column : column + 1])
        ends = [float(scale.back(centre + side * half)[0]) for side in (-1, 1)]
    if not np.isfinite(centre[0]):
        return np.nan, np.nan
    return min(ends), max(ends)


def _ratio(pre: Array, post: Array) -> Array:
    """Gap after over gap before the start; NaN at a perfect fit."""
    return np.where(pre > 0, post / np.where(pre > 0, pre, 1.0), np.nan)


def _fit_checks(effects: AreaEffects, pools: Mapping[Start, Placebos]) -> dict[str, Array]:
    """Fit before the start and its rank, ratio of the gaps and its rank, per area."""
    rows = []
    for column, start in enumerate(starts_of(effects)):
        if effects.pre_rmspe is None or effects.post_rmspe is None or np.isnan(effects.values[column]):
            rows.append((np.nan,) * 4)
            continue
        pre = float(effects.pre_rmspe[column])
        ratio = float(_ratio(effects.pre_rmspe, effects.post_rmspe)[column])
        rank = p_value = np.nan
        others = pools[start].effects if start in pools else None
        if others is not None and others.pre_rmspe is not None and others.post_rmspe is not None:
            rank = float((others.pre_rmspe >= pre * (1 - 1e-9)).mean())
            smaller = _ratio(others.pre_rmspe, others.post_rmspe) < ratio * (1 - 1e-12)
            p_value = np.nan if np.isnan(ratio) else float(1 + (~smaller).sum()) / (1 + len(smaller))
        rows.append((pre, rank, ratio, p_value))
    return dict(zip(("pre_rmspe", "pre_rmspe_rank", "rmspe_ratio", "p_rmspe_ratio"), np.array(rows).T, strict=True))


def _warn_fit(checks: pd.DataFrame) -> None:
    poor = checks["pre_rmspe_rank"].to_numpy() < 0.5 if "pre_rmspe_rank" in checks else np.zeros(0, dtype=np.bool_)
    if poor.any():
        warn(
            "PMG-PRE-FIT",
            "areas fitted worse before their start than the median placebo: errors may be larger than their law",
            where=list(checks["unit"][poor]),
            fix="read details.checks (rmspe_ratio), or synth.sdid",
            stacklevel=5,
        )


def _placebo_fit(pool: Placebos) -> dict[str, Any]:
    effects = pool.effects
    if effects.pre_rmspe is None or effects.post_rmspe is None:
        return {}
    return {"pre_rmspe": effects.pre_rmspe, "rmspe_ratio": _ratio(effects.pre_rmspe, effects.post_rmspe)}
