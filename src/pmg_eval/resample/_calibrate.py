"""Calibration: actual size, coverage and detectable effect of several methods on the user's own panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._door import need_estimator, need_jobs, need_seed, need_share
from pmg_eval.resample._plant import Ground, PlantScale
from pmg_eval.resample._power import detectable_effects, effect_words, printed, provenance_of, ready, scale_of, summary
from pmg_eval.resample._power_runs import Method, Runs, attempt, runs, share_error
from pmg_eval.typing import Estimator

RATIOS = (0.9, 0.8, 0.7, 0.6, 0.5)
MULTIPLES = (-0.5, -1.0, -1.5, -2.5)
"""Default effects on the identity scale, in half widths of the method's interval: it finds about 1.4 with 80 %."""
PILOT = 25


@dataclass(frozen=True, eq=False)
class Calibration:
    """How honest and how sharp methods are on this panel.

    Attributes
    ----------
    table : DataFrame
        One row per method: ``size`` (share of the replicates *without* an effect in which it rejects no effect, of
        those in which it answers), ``size_error`` (Monte-Carlo, as all errors here), ``coverage`` of the planted
        effect among the intervals given (mean over the effects), ``coverage_error``, ``width`` (median without an
        effect, on the scale of the effects: of log ratios, or in the unit of the outcome), ``bias`` (mean error on
        that scale over the effects), ``bias_error``, ``mde`` (smallest reduction, or else increase, found with the
        ``power`` asked for), ``mde_error``, ``given`` (share with an interval), ``refused`` (share without an answer),
        ``note``.
    curve : DataFrame
        One row per method and effect, with the columns of :class:`~pmg_eval.resample.PowerCurve`.
    refusals : DataFrame
        ``method, areas, effect, reason, replicates``. A refusal counts neither as coverage nor as a rejection.
    alpha, power : float
    replicates : int
    scale : {"identity", "log"}
    provenance : Provenance
    """

    table: pd.DataFrame
    curve: pd.DataFrame
    refusals: pd.DataFrame
    alpha: float
    power: float
    replicates: int
    scale: PlantScale
    provenance: Provenance
    _runs: Runs = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.table.copy()

    def mde(self, power: float = 0.8) -> pd.DataFrame:
        """The smallest effect that each method finds with this probability, per direction.

        Returns
        -------
        DataFrame
            ``method, direction, effect, error`` (Monte-Carlo), ``reason`` where the effects tried do not bracket it.
        """
        rows = [
            {"method": name, **row}
            for column, name in enumerate(self._runs.names)
            for row in detectable_effects(self._runs, 0, column, power)
        ]
        return pd.DataFrame(rows, columns=["method", "direction", "effect", "error", "reason"])

    def __str__(self) -> str:
        words = (
            f"Calibration at alpha = {self.alpha:g}, mde ({effect_words(self.scale)}) with {self.power:.0%} power, "
            f"{self.replicates:,} replicates"
        )
        return printed(words, self.table, self.refusals)

    def __repr__(self) -> str:
        return str(self)


def calibrate(
    panel: Panel,
    outcome: str,
    methods: Mapping[str, Method] | None = None,
    *,
    estimator: Estimator | None = None,
    effects: Sequence[float] | None = None,
    start: Any = None,
    areas: int | None = None,
    eligible: Sequence[Any] | None = None,
    planned: bool = False,
    scale: PlantScale | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    replicates: int = 199,
    rng: int | np.random.Generator = 0,
    n_jobs: int = 1,
    checkpoint: str | Path | None = None,
) -> Calibration:
    r"""Actual size, coverage, bias and detectable effect of each method, on the user's own panel.

    In every replicate never-treated areas, drawn from the eligible pool, get the starts of the programme; areas really
    treated are left out. Without an effect a method should reject in a share ``alpha`` of the replicates; with a
    planted effect its intervals should contain that effect in a share ``1 - alpha``. All methods see the same
    assignments and the same planted data.

    Parameters
    ----------
    panel, outcome : Panel, str
    methods : mapping name -> callable, optional
        ``method(panel, outcome)``: a complete analysis that returns an estimate with one term, or a
        :class:`~pmg_eval.Test` (of which only rejections count).
    estimator : callable, optional
        Adds the method ``"default"``: :func:`pmg_eval.infer.default` of this estimator, with the same ``eligible``.
        Needed when there are no ``methods``.
    effects : sequence of float, optional
        Effects to plant. Ratios for ``scale="log"`` (default 0.9, 0.8, 0.7, 0.6, 0.5), differences for ``"identity"``
        (default: reductions of 0.5 to 2.5 half widths of the first method's interval in 25 placebo programmes).
    start, areas, eligible, planned, scale, alpha, replicates, rng, n_jobs, checkpoint
        As for :func:`~pmg_eval.resample.power`; ``areas`` is one number here.
    power : float
        Of the detectable effect in the table.

    Returns
    -------
    Calibration
        ``.table``, ``.curve``, ``.refusals``, ``.mde()``.

    Raises
    ------
    DataError
        PMG-METHODS (neither methods nor an estimator), PMG-EFFECTS, PMG-OPTION, PMG-POOL, PMG-ONE-TERM,
        PMG-PLANT-SCALE, PMG-CHECKPOINT.
    DesignError
        PMG-POOL, PMG-START.
    InferenceError
        PMG-REFUSED: every method refused in every replicate.

    Warns
    -----
    PMG-SMALL-POOL
        The pool is smaller than three times the programme.

    Notes
    -----
    How effects are planted. A difference is added to the outcome. A ratio r multiplies it; where the outcome is a
    count, r < 1 keeps each event with probability r (a Poisson count of mean :math:`\lambda` becomes one of
    :math:`r\lambda`, whatever :math:`\lambda`), and r > 1 adds :math:`Poisson((r-1)\lambda)` events. That
    :math:`\lambda` is not known: it is drawn given the count, from the gamma law :math:`Gamma(1/\phi+Y,\,1/(\phi m)+1)`
    with the mean m of unit and period effects and one overdispersion :math:`\phi` for all cells. If rates are gamma
    distributed around m, the larger count is distributed exactly as one of mean :math:`r\lambda`. Effects are nested:
    events that are gone at 0.9 are gone at 0.8.

    Assumes: (1) areas of the programme differ from eligible ones no more than these from each other. Areas chosen on
    their own outcome do (regression to the mean), and no calibration on other areas shows it: probe with
    :func:`~pmg_eval.resample.placebo_in_time`. (2) The rows of the eligible areas are untouched by the programme.

    What the numbers are conditional on. The panel is one draw: a shock that happened to hit large areas is in all
    replicates. Monte-Carlo errors are those of the assignments, not of another panel. A method whose estimate is on
    another scale than the effects is tested, but its coverage is not defined (NaN, with a note).

    References
    ----------
    Bertrand, Duflo and Mullainathan (2004), doi:10.1162/003355304772839588; MacKinnon, Nielsen and Webb (2023),
    doi:10.1016/j.jeconom.2022.04.001 (simulations on the design at hand).

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import did, resample
    >>> rng = np.random.default_rng(1)
    >>> table = pd.DataFrame([(i, t, 4 if i < 6 else 0, rng.normal()) for i in range(60) for t in range(6)],
    ...                      columns=["area", "year", "start", "rate"])
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> def overall(panel, outcome):
    ...     return did.imputation(panel, outcome, pretrend=False).average()
    >>> found = resample.calibrate(panel, "rate", {"guard": overall}, effects=[-1.0], replicates=20)
    >>> found.table[["method", "size", "coverage"]].round(2).values.tolist()
    [['guard', 0.0, 1.0]]
    """
    need_seed(rng)
    need_jobs(n_jobs)
    need_share("power", power, example="0.8")
    panel, ground = ready(panel, outcome, start, areas, eligible, planned, alpha, replicates)
    if len(ground.sizes) != 1:
        raise DataError("PMG-OPTION", "calibrate takes one number of areas", fix="resample.power gives a curve in it")
    chosen = _methods(methods, estimator, eligible)
    scale = scale_of(chosen.values(), ground, outcome, scale)
    options = {"start": start, "areas": areas, "eligible": eligible, "planned": planned}
    if effects is None:
        effects = RATIOS if scale == "log" else _multiples(next(iter(chosen.values())), ground, outcome, alpha)
    found = runs(
        chosen,
        panel,
        outcome,
        ground,
        effects=effects,
        scale=scale,
        alpha=alpha,
        replicates=replicates,
        rng=rng,
        n_jobs=n_jobs,
        checkpoint=checkpoint,
        options=options,
    )
    curve = [
        {"method": name, "effect": float(effect), **summary(found, 0, place, column)}
        for column, name in enumerate(found.names)
        for place, effect in enumerate(found.effects)
    ]
    return Calibration(
        pd.DataFrame([_row(found, column, power) for column in range(len(found.names))]),
        pd.DataFrame(curve),
        found.refusals(),
        alpha,
        power,
        replicates,
        scale,
        provenance_of("resample.calibrate", found, panel, outcome, options, alpha, rng),
        found,
    )


@dataclass(frozen=True, eq=False)
class Default:
    """The default policy as a method; areas of the pool that have a start are no placebos."""

    estimator: Estimator
    eligible: tuple[Any, ...] | None

    def __call__(self, panel: Panel, outcome: str) -> Estimate[Any]:
        from pmg_eval.infer import default  # at the call: infer imports this room

        eligible = self.eligible
        if eligible is not None:
            untreated = set(panel.units[~np.isfinite(panel.cohort)])
            eligible = tuple(unit for unit in eligible if unit in untreated)
        return default(self.estimator, panel, outcome, eligible=eligible, beside=False)


def _methods(
    methods: Mapping[str, Method] | None, estimator: Estimator | None, eligible: Sequence[Any] | None
) -> dict[str, Method]:
    if not isinstance(methods, Mapping | None):
        raise DataError(
            "PMG-METHODS", f"methods must be a mapping, not {type(methods).__name__}", fix="methods={name: callable}"
        )
    chosen = dict(methods or {})
    for name, method in chosen.items():
        need_estimator(method, f"the method {name!r}")
    if estimator is not None:
        need_estimator(estimator)
        if "default" in chosen:
            raise DataError("PMG-METHODS", 'a method is named "default" already', fix="another name for it")
        chosen = {"default": Default(estimator, None if eligible is None else tuple(eligible)), **chosen}
    if not chosen:
        raise DataError("PMG-METHODS", "nothing to calibrate", fix="methods={name: callable}, or estimator=")
    return chosen


def _multiples(method: Method, ground: Ground, outcome: str, alpha: float) -> list[float]:
    """Effects in half widths of a method's interval where there is nothing (or, without one, in two deviations)."""
    order = np.random.default_rng(0)
    assigned = (ground.assigned(order.permutation(ground.pool), max(ground.sizes)) for _ in range(PILOT))
    rows = [attempt(method, panel, outcome, "identity", alpha)[1:4] for panel in assigned]
    estimate, low, high = np.array(rows, dtype=np.float64).T
    half = (high - low)[np.isfinite(high - low)] / 2
    known = estimate[np.isfinite(estimate)]
    unit = float(np.median(half)) if len(half) else 2 * float(known.std()) if len(known) else 0.0
    if not unit > 0:
        raise DataError(
            "PMG-EFFECTS", "no default for the effects to plant", fix="effects=[...] in units of the outcome"
        )
    return [float(f"{multiple * unit:.2g}") for multiple in MULTIPLES]


def _row(found: Runs, method: int, power: float) -> dict[str, Any]:
    null = found.rejected[:, 0, 0, method]
    answered = null[~np.isnan(null)]
    size = float(answered.mean()) if len(answered) else np.nan
    covered = found.covered()[:, 0, 1:, method]
    coverage, coverage_error = _mean_over_effects(covered)
    error = (found.estimate - found.distances[:, None])[:, 0, 1:, method]
    bias, bias_error = _mean_over_effects(np.where(np.isfinite(error), error, np.nan))
    detected = detectable_effects(found, 0, method, power)[0]
    given = ~np.isnan(found.low[:, 0, :, method])
    notes = [detected["reason"] and f"mde: {detected['reason']}"]
    if len(answered) and not np.isfinite(found.estimate[:, 0, :, method]).any():
        notes.insert(0, f"no estimate on the {found.scale} scale: no coverage")
    return {
        "method": found.names[method],
        "size": size,
        "size_error": float(share_error(size, len(answered))) if len(answered) else np.nan,
        "coverage": coverage,
        "coverage_error": coverage_error,
        "width": summary(found, 0, 0, method)["width"],
        "bias": bias,
        "bias_error": bias_error,
        "mde": detected["effect"],
        "mde_error": detected["error"],
        "given": float(given.mean()),
        "refused": float((found.reason[:, 0, :, method] != "").mean()),
        "note": "; ".join(note for note in notes if note),
    }


def _mean_over_effects(values: Array) -> tuple[float, float]:
    """Mean over effects and replicates with its error over replicates, whose effects are dependent."""
    known = ~np.isnan(values)
    some = known.any(axis=1)
    count = int(some.sum())
    if not count:
        return np.nan, np.nan
    each = np.where(known, values, 0.0).sum(axis=1)[some] / known.sum(axis=1)[some]
    mean = float(each.mean())
    if np.isin(each, (0.0, 1.0)).all():  # shares of one effect, or all alike: the error is never zero
        return mean, float(share_error(mean, count))
    return mean, float(each.std(ddof=1) / np.sqrt(count)) if count > 1 else np.nan
