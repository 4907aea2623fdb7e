"""Effects of single areas with a size-aware placebo law (Conley-Taber, Ferman-Pinto)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, warn
from pmg_eval.estimate import Draws, Estimate, make_terms
from pmg_eval.estimate.scales import SCALES, ScaleName
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._area import area_effects, control_error, placebo_effects
from pmg_eval.resample._area_effects import AreaEffects
from pmg_eval.resample._pool import pool_mask
from pmg_eval.typing import Estimator

NEEDED, ADVISED = 19, 39  # placebos for a two-sided 5 % test at all, and for a credible one
MATCHED = 60
ASSUMPTIONS = (
    "without the programme, the error of a treated area would have been drawn from the law of the placebo areas, "
    "after scaling by sigma^2 = a + b/size",
    "placebo areas are independent of each other and untouched by the programme",
)


@dataclass(frozen=True, eq=False)
class PlaceboDetails:
    r"""How the placebo law came about.

    Attributes
    ----------
    placebos : DataFrame
        One row per cohort and placebo area: ``cohort, unit, effect`` (on the estimate's scale), ``size``, ``sigma``;
        for synthetic controls ``pre_rmspe, rmspe_ratio`` (NaN at a perfect fit).
    variance : DataFrame
        Fitted a and b of :math:`\sigma^2=a+b/size` per cohort.
    checks : DataFrame
        Per treated area: ``p_plain`` (placebo ranks without scaling), ``p_size_matched`` (among the areas nearest in
        size), ``n_matched``, ``sigma``, ``size``, ``control_se``; for synthetic controls ``pre_rmspe``,
        ``pre_rmspe_rank`` (share of the placebos that fit as badly before the start, or worse), ``rmspe_ratio`` (root
        mean squared gap after over before the start) and ``p_rmspe_ratio``, its rank among the placebos', both NaN at
        a perfect fit. A placebo with a perfect fit, whose ratio is unbounded, counts as at least as large.
    """

    placebos: pd.DataFrame
    variance: pd.DataFrame
    checks: pd.DataFrame


def placebo(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    eligible: Sequence[Any] | None = None,
    draws: int = 19_999,
    rng: int | np.random.Generator = 0,
    batches: int = 10,
    n_jobs: int = 1,
) -> Estimate[PlaceboDetails]:
    r"""Effect of every treated area, with the law of its error taken from areas that were not treated.

    Each eligible area j is given the start of a treated cohort and estimated as if treated: its effect :math:`e_j` is
    pure error. Errors shrink with size, so they are standardized by :math:`\sigma_j^2=a+b/M_j` (a, b >= 0, weighted
    least squares of :math:`e_j^2` on :math:`1/M_j`), and the error of treated area i is drawn as

    .. math:: \sigma_i\,e_J/\sigma_J+c_i,\qquad J\ \text{uniform over the eligible areas},

    independently over areas, plus the error c that the areas share because they share their controls. Intervals invert
    that law. Size M is the number of events expected after the start (rate ratios), else the exposure of the panel,
    else constant.

    Parameters
    ----------
    estimator : callable
        ``estimator(panel, outcome) -> Estimate``. With unit labels (``did.imputation``) all areas come from one fit;
        otherwise each area is estimated alone against the never-treated. One with an option ``donors``
        (``synth.classic``, ``synth.sdid``) estimates every placebo against all other untreated areas.
    panel, outcome : Panel, str
    eligible : sequence of unit labels, optional
        Placebo pool (default: never treated, not contaminated within the panel).
    draws : int
        Draws that represent the law. Each placebo is used equally often.
    rng : int or Generator
        Seed.
    batches : int
        Estimators with unit labels estimate the placebos of one batch together, against the areas of the other batches.
    n_jobs : int
        Processes; the result does not depend on it.

    Returns
    -------
    Estimate[PlaceboDetails]
        One row per treated area (label ``unit``, ``cohort``); ``n_placebo`` and ``p_min`` say what the pool can show.

    Raises
    ------
    DesignError
        Fewer than two eligible areas, or no treated area with an effect.

    Warns
    -----
    PMG-FEW-PLACEBOS
        Fewer than 39 placebos; with fewer than 19 no two-sided 5 % test exists and 95 % intervals are not given.
    PMG-PRE-FIT
        Synthetic controls that fit worse before the start than the median placebo: errors may be larger than their law.

    Assumes
    -------
    1. After scaling by size, untreated errors of treated and placebo areas have one law. Probe: ``details.checks``
    (size-matched ranks), and the same call with another pool. 2. Placebo areas are independent and untouched.

    References
    ----------
    Ferman and Pinto (2019), doi:10.1162/rest_a_00759; Conley and Taber (2011), doi:10.1162/REST_a_00049.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import did, resample
    >>> rng = np.random.default_rng(1)
    >>> table = pd.DataFrame([(i, t, 4 if i < 2 else 0, rng.normal()) for i in range(60) for t in range(6)],
    ...                      columns=["area", "year", "start", "rate"])
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> areas = resample.placebo(did.imputation, panel, "rate")
    >>> areas.to_frame()[["unit", "n_placebo"]].values.tolist()
    [[0, 58], [1, 58]]
    """
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    need_panel(panel)
    panel = panel.for_outcome(outcome)
    pool = pool_mask(panel, eligible)
    if pool.sum() < 2:
        raise DesignError(
            "PMG-POOL", f"{int(pool.sum())} eligible placebo areas", fix="a panel with more untreated areas"
        )
    if draws < 1:
        raise DataError("PMG-DRAWS", f"draws={draws} must be positive")
    effects = area_effects(estimator, panel, outcome)
    known = ~np.isnan(effects.values)
    if not known.any():
        raise DesignError("PMG-NO-AREA", "no treated area has an effect", where=sorted(set(effects.status) - {""}))
    laws = {
        start: _law(placebo_effects(estimator, panel, outcome, start, pool, effects, batches, n_jobs))
        for start in sorted({start for start, has in zip(_starts(effects), known, strict=True) if has})
    }
    _warn_few(min(len(law.size) for law in laws.values()))
    shared = control_error(effects)
    errors, checks = _draws(effects, laws, shared, draws, generator)
    if effects.pre_rmspe is not None:
        checks = checks.assign(**_fit_checks(effects, laws))
        _warn_fit(checks)
    options = {
        "draws": draws,
        "eligible": None if eligible is None else [str(unit) for unit in eligible],
        "batches": batches,
    }
    effects = replace(
        effects,
        provenance=replace(
            effects.provenance,
            options={**effects.provenance.options, "placebo": options},
            seed=None if isinstance(rng, np.random.Generator) else int(rng),
        ),
    )
    return _result(effects, laws, errors, checks, panel, outcome)


Start = tuple[float, float]
"""Cohort and treated share of its first period: what a placebo area imitates."""


def _starts(effects: AreaEffects) -> list[Start]:
    return [(float(cohort), float(share)) for cohort, share in zip(effects.cohort, effects.share, strict=True)]


@dataclass(frozen=True, eq=False)
class _Law:
    """Placebo effects of one cohort on the interval's scale, and their size model."""

    units: pd.Index[Any]
    effect: Array
    size: Array
    a: float
    b: float
    pre_rmspe: Array | None = None
    post_rmspe: Array | None = None

    def sigma(self, size: Array) -> Array:
        return np.sqrt(self.a + self.b / size)


def _law(effects: AreaEffects) -> _Law:
    error = _on_scale(effects.values, effects.scale)
    finite = np.isfinite(error)
    if not finite.any():
        raise DesignError(
            "PMG-NO-PLACEBO", "no placebo area has an effect", fix="check the events of the placebo areas"
        )
    # An area without any event afterwards has log ratio -inf: it counts as the most extreme of the others.
    error = np.where(finite, error, -np.abs(error[finite]).max(initial=0.0))
    a, b = fit_variance(error[finite], effects.size[finite])
    return _Law(effects.units, error, effects.size, a, b, effects.pre_rmspe, effects.post_rmspe)


def fit_variance(error: Array, size: Array, iterations: int = 10) -> tuple[float, float]:
    r"""Non-negative a, b of :math:`E[e^2]=a+b/M`, weighted by the inverse variance of :math:`e^2` (reweighted).

    Raises
    ------
    DesignError
        All placebo effects are zero: nothing varies.
    """
    square = error**2
    level = float(square.mean())
    if not level > 0:
        raise DesignError(
            "PMG-NO-VARIATION", "all placebo effects are zero", fix="check the outcome of the comparison areas"
        )
    inverse = 1 / size
    unit = float(inverse.mean())
    design = np.column_stack([np.ones_like(inverse), inverse / unit])
    sigma2 = np.full(len(error), level)
    coefficient = np.array([level, 0.0])
    for _ in range(iterations):
        coefficient = _two_nonnegative(design / sigma2[:, None], square / sigma2)
        sigma2 = np.maximum(design @ coefficient, 1e-6 * level)
    return float(coefficient[0]), float(coefficient[1] / unit)


def _two_nonnegative(design: Array, target: Array) -> Array:
    """Least squares with two coefficients that may not be negative: the inner solution, or the better edge.

    Written out because both columns are the same when all areas have one size, where scipy's nnls may fail.
    """
    gram, cross = design.T @ design, design.T @ target
    determinant = gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2
    if determinant > 1e-12 * gram[0, 0] * gram[1, 1]:
        inner = np.array([gram[1, 1] * cross[0] - gram[0, 1] * cross[1], gram[0, 0] * cross[1] - gram[0, 1] * cross[0]])
        if (inner >= 0).all():
            return np.asarray(inner / determinant)
    edges = np.diag(np.maximum(cross / np.diag(gram), 0.0))
    loss = [float(edge @ gram @ edge - 2 * edge @ cross) for edge in edges]
    return np.asarray(edges[int(np.argmin(loss))])


def _on_scale(values: Array, name: ScaleName) -> Array:
    scale = SCALES[name]
    with np.errstate(divide="ignore", invalid="ignore"):
        return scale.to(values) - scale.null_on_scale()


def _warn_few(count: int) -> None:
    if count < ADVISED:
        warn(
            "PMG-FEW-PLACEBOS",
            f"{count} placebo areas: the smallest two-sided p is {1 / (count + 1):.3f}",
            fix=f"{ADVISED} or more are advised, {NEEDED} are needed for a 5 % test",
            stacklevel=4,
        )


def _draws(
    effects: AreaEffects, laws: dict[Start, _Law], shared: Array, draws: int, generator: np.random.Generator
) -> tuple[Array, pd.DataFrame]:
    """Errors (R, k) on the interval's scale, and the checks of every area (NaN for an area without an effect)."""
    k = len(effects.values)
    value, vector = np.linalg.eigh(shared)
    root = vector * np.sqrt(np.clip(value, 0, None))
    errors = generator.standard_normal((draws, k)) @ root.T
    found = _on_scale(effects.values, effects.scale)
    rows = []
    for column, start in enumerate(_starts(effects)):
        if np.isnan(found[column]):
            errors[:, column] = np.nan
            rows.append({"unit": effects.units[column], "n_matched": 0})
            continue
        law = laws[start]
        standard = law.effect / law.sigma(law.size)
        sigma = float(law.sigma(effects.size[column : column + 1])[0])
        repeats = -(-draws // len(standard))
        order = generator.permutation(np.tile(standard, repeats)[:draws])
        errors[:, column] += sigma * order
        near = np.argsort(np.abs(np.log(law.size / effects.size[column])), kind="stable")[:MATCHED]
        rows.append(
            {
                "unit": effects.units[column],
                "p_plain": _rank_p(found[column], law.effect),
                "p_size_matched": _rank_p(found[column], law.effect[near]),
                "n_matched": len(near),
                "sigma": sigma,
                "size": float(effects.size[column]),
                "control_se": float(np.sqrt(shared[column, column])),
            }
        )
    columns = ["unit", "p_plain", "p_size_matched", "n_matched", "sigma", "size", "control_se"]
    return errors, pd.DataFrame(rows, columns=columns)


def _rank_p(found: float, placebo_effect: Array) -> float:
    return float((1 + (np.abs(placebo_effect) >= abs(found) * (1 - 1e-12)).sum()) / (1 + len(placebo_effect)))


def _ratio(pre: Array, post: Array) -> Array:
    """Gap after over gap before the start; NaN at a perfect fit."""
    return np.where(pre > 0, post / np.where(pre > 0, pre, 1.0), np.nan)


def _fit_checks(effects: AreaEffects, laws: dict[Start, _Law]) -> dict[str, Array]:
    """Fit before the start and its rank, ratio of the gaps and its rank, per area."""
    rows = []
    for column, start in enumerate(_starts(effects)):
        law = laws.get(start)
        if effects.pre_rmspe is None or effects.post_rmspe is None or np.isnan(effects.values[column]):
            rows.append((np.nan,) * 4)
            continue
        pre = float(effects.pre_rmspe[column])
        ratio = float(_ratio(effects.pre_rmspe, effects.post_rmspe)[column])
        rank = p_value = np.nan
        if law is not None and law.pre_rmspe is not None and law.post_rmspe is not None:
            rank = float((law.pre_rmspe >= pre * (1 - 1e-9)).mean())
            smaller = _ratio(law.pre_rmspe, law.post_rmspe) < ratio * (1 - 1e-12)
            p_value = np.nan if np.isnan(ratio) else float(1 + (~smaller).sum()) / (1 + len(smaller))
        rows.append((pre, rank, ratio, p_value))
    return dict(zip(("pre_rmspe", "pre_rmspe_rank", "rmspe_ratio", "p_rmspe_ratio"), np.array(rows).T, strict=True))


def _warn_fit(checks: pd.DataFrame) -> None:
    poor = checks["pre_rmspe_rank"].to_numpy() < 0.5
    if poor.any():
        warn(
            "PMG-PRE-FIT",
            "areas fitted worse before their start than the median placebo: errors may be larger than their law",
            where=list(checks["unit"][poor]),
            fix="read details.checks (rmspe_ratio), or synth.sdid",
            stacklevel=4,
        )


def _result(
    effects: AreaEffects,
    laws: dict[Start, _Law],
    errors: Array,
    checks: pd.DataFrame,
    panel: Panel,
    outcome: str,
) -> Estimate[PlaceboDetails]:
    k = len(effects.values)
    n_placebo = np.array([len(laws[start].effect) if start in laws else 0 for start in _starts(effects)])
    scale = SCALES[effects.scale]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.abs(scale.slope(effects.values))
    natural = np.where(np.isfinite(slope) & (slope > 0), errors / np.where(slope > 0, slope, 1), errors)
    p_min = 1 / (n_placebo + 1)
    status, p_min = _status(effects, panel, outcome, p_min)
    terms = make_terms(
        {
            "estimand": effects.estimand,
            "outcome": outcome,
            "unit": effects.units,
            "cohort": [panel.time_label(int(code)) for code in effects.cohort],
            "weight": effects.weight,
            "n_treated": 1,
            "n_control": effects.n_control,
            "n_placebo": n_placebo,
            "p_min": p_min,
            "interval": "placebo",
            "method": "placebo law, size-scaled, by inversion",
            "status": status,
        },
        k,
    )
    provenance = replace(
        effects.provenance.then("resample.placebo"),
        assumptions=(*effects.provenance.assumptions, *ASSUMPTIONS),
        references=(*effects.provenance.references, "10.1162/rest_a_00759", "10.1162/REST_a_00049"),
    )
    return Estimate(
        effects.values,
        terms,
        Draws(natural, p_min),
        _details(laws, checks, panel),
        scale=effects.scale,
        provenance=provenance,
    )


def _details(laws: dict[Start, _Law], checks: pd.DataFrame, panel: Panel) -> PlaceboDetails:
    tables, fitted = [], []
    for (cohort, share), law in laws.items():
        label = panel.time_label(int(cohort))
        tables.append(
            pd.DataFrame(
                {
                    "cohort": label,
                    **({} if panel.share is None else {"share": share}),
                    "unit": law.units,
                    "effect": law.effect,
                    "size": law.size,
                    "sigma": law.sigma(law.size),
                    **_placebo_fit(law),
                }
            )
        )
        shown = {} if panel.share is None else {"share": share}
        fitted.append({"cohort": label, **shown, "a": law.a, "b": law.b})
    return PlaceboDetails(pd.concat(tables, ignore_index=True), pd.DataFrame(fitted), checks)


def _placebo_fit(law: _Law) -> dict[str, Array]:
    if law.pre_rmspe is None or law.post_rmspe is None:
        return {}
    return {"pre_rmspe": law.pre_rmspe, "rmspe_ratio": _ratio(law.pre_rmspe, law.post_rmspe)}


def _status(effects: AreaEffects, panel: Panel, outcome: str, p_min: Array) -> tuple[list[str], Array]:
    """What a reader must know about an area: few or no events. Below one event a period nothing is tested."""
    status = list(effects.status)
    p_min = p_min.copy()
    counts = effects.scale == "log"
    if not counts:
        return status, p_min
    wide = panel.wide(outcome)
    position = panel.units.get_indexer(effects.units)
    for row, unit in enumerate(position):
        if np.isnan(effects.values[row]):
            continue
        before = wide[unit, panel.time_codes < effects.cohort[row]]
        mean = float(np.nanmean(before)) if np.isfinite(before).any() else np.nan
        if effects.values[row] == 0:
            status[row] = (
                "no event after the start: a ratio of zero has no interval on the log scale; pool areas or years"
            )
            p_min[row] = 1.0
        elif mean < 1:
            status[row] = "under 1 event a period before the start: descriptive only, no test; pool areas or years"
            p_min[row] = 1.0
        elif mean < 5:
            status[row] = "under 5 events a period before the start: little power"
    return status, p_min
