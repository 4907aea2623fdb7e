"""Power: how often a method finds effects of a known size on the user's own panel."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, PmgEvalError, PmgEvalWarning
from pmg_eval.estimate import Provenance, Test
from pmg_eval.estimate.scales import SCALES
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._door import need_estimate, need_estimator, need_jobs, need_seed, need_share, need_whole
from pmg_eval.resample._plant import Ground, PlantScale, ground_of
from pmg_eval.resample._power_runs import Method, Runs, runs, share_error

NOT_REACHED = "no effect tried is found that often"
ALWAYS_REACHED = "the smallest effect tried is already found that often"
ASSUMPTIONS = (
    "the areas of the programme differ from the eligible areas no more than these differ from each other",
    "the periods of the study resemble those of the panel",
)


@dataclass(frozen=True, eq=False)
class PowerCurve:
    """How often an effect is found, by its size and the number of areas.

    Attributes
    ----------
    table : DataFrame
        One row per number of ``areas`` and ``effect``, the null first: its row is the actual size of the test.
        ``rejected`` (share of all replicates; who refuses finds nothing), ``error`` (Monte-Carlo), ``estimate``
        (median, natural scale), ``coverage`` of the effect among the intervals given, ``coverage_error``, ``width``
        (median, on the scale of the effects), ``given`` (share with an interval), ``refused`` (share without any
        answer).
    refusals : DataFrame
        ``method, areas, effect, reason, replicates``.
    alpha : float
    replicates : int
    scale : {"identity", "log"}
        Effects are differences, or ratios.
    provenance : Provenance
    """

    table: pd.DataFrame
    refusals: pd.DataFrame
    alpha: float
    replicates: int
    scale: PlantScale
    provenance: Provenance
    _runs: Runs = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.table.copy()

    def mde(self, power: float = 0.8) -> pd.DataFrame:
        """The smallest effect found with this probability, for each number of areas and direction.

        Interpolated between the two neighboring effects tried, linearly in the normal quantile of the power (which is
        made non-decreasing first).

        Parameters
        ----------
        power : float

        Returns
        -------
        DataFrame
            ``areas, direction, effect, error`` (Monte-Carlo), ``reason`` where the effects tried do not bracket it.
        """
        rows = []
        for place, size in enumerate(self._runs.sizes):
            for row in detectable_effects(self._runs, place, 0, power):
                rows.append({"areas": size, **row})
        return pd.DataFrame(rows, columns=["areas", "direction", "effect", "error", "reason"])

    def __str__(self) -> str:
        words = f"Power at alpha = {self.alpha:g} of {effect_words(self.scale)}, {self.replicates:,} replicates"
        return printed(words, self.table, self.refusals)

    def __repr__(self) -> str:
        return str(self)


def effect_words(scale: PlantScale) -> str:
    """What the planted effects are."""
    return "ratios" if scale == "log" else "differences"


def printed(words: str, table: pd.DataFrame, refusals: pd.DataFrame) -> str:
    """A heading, the table without empty columns, and where to find the refusals."""
    shown = table.loc[:, [name for name in table if table[name].notna().any() and (table[name] != "").any()]]
    text = f"{words}\n{shown.to_string(index=False, float_format=lambda number: f'{number:.3g}')}"
    return f"{text}\nRefusals: see refusals." if len(refusals) else text


def power(
    method: Method,
    panel: Panel,
    outcome: str,
    *,
    effects: Sequence[float],
    start: Any = None,
    areas: int | Sequence[int] | None = None,
    eligible: Sequence[Any] | None = None,
    planned: bool = False,
    scale: PlantScale | None = None,
    alpha: float = 0.05,
    replicates: int = 499,
    rng: int | np.random.Generator = 0,
    n_jobs: int = 1,
    checkpoint: str | Path | None = None,
) -> PowerCurve:
    r"""How often a method finds an effect, on the user's own panel with placebo programmes and planted effects.

    In every replicate areas drawn from the eligible pool get the starts of the programme, the effect is planted in
    their rows from the start on, and the method is applied. With R replicates

    .. math:: \widehat{power}(\delta)=\frac1R\sum_r1\{\text{the method rejects no effect when the effect is }\delta\}.

    Parameters
    ----------
    method : callable
        ``method(panel, outcome)``: a complete analysis that returns an estimate with one term, or a
        :class:`~pmg_eval.Test`.
    panel, outcome : Panel, str
    effects : sequence of float
        Effects to plant: ratios for ``scale="log"`` (0.9 is ten percent less), differences in the unit of the outcome
        for ``"identity"``. No effect is always added.
    start : period or mapping period -> int, optional
        Start of the placebo programmes, or how many areas start when. Default: the starts of the panel's own.
    areas : int or sequence of int, optional
        How many areas get the start; several numbers give a curve in the number of areas. Default: as many as the
        panel has.
    eligible : sequence of unit labels, optional
        The areas that might have been chosen. Default: all that are neither treated nor contaminated.
    planned : bool
        The starts in the panel are only planned: none of its rows is treated, and all areas may be drawn. Default
        ``False``: areas whose start lies in the panel are left out.
    scale : {"identity", "log"}, optional
        Default: the scale of the method's estimate.
    alpha : float
        Level of the test.
    replicates : int
    rng : int or Generator
        Seed; every replicate has its own, so ``n_jobs`` does not matter.
    n_jobs : int
    checkpoint : path, optional
        File from which an interrupted run continues (also with more replicates).

    Returns
    -------
    PowerCurve
        ``.table`` and ``.mde()``.

    Raises
    ------
    DataError
        PMG-EFFECTS, PMG-OPTION, PMG-POOL, PMG-ONE-TERM, PMG-PLANT-SCALE (neither differences nor ratios),
        PMG-CHECKPOINT.
    DesignError
        PMG-POOL (fewer eligible areas than the programme has), PMG-START.
    InferenceError
        PMG-REFUSED: the method refused in every replicate.

    Warns
    -----
    PMG-SMALL-POOL
        The pool is smaller than three times the programme.

    Notes
    -----
    Assumes: (1) the areas of the programme differ from the eligible ones no more than these from each other (probe:
    narrow ``eligible``); (2) the future resembles the periods of the panel (probe: other starts). Monte-Carlo errors
    are those of drawing assignments and effects on this panel; they do not contain what another panel would show.

    How effects are planted: see :func:`~pmg_eval.resample.calibrate`. Areas really treated are left out, so the
    comparison group is smaller than in the study itself by the size of the programme: power is slightly understated.

    When not to use: to judge a finished study by the power at its own estimate; that number is only the p-value again.

    References
    ----------
    Bertrand, Duflo and Mullainathan (2004), doi:10.1162/003355304772839588 (placebo laws); Black, Hollingsworth, Nunes
    and Simon (2022), doi:10.3386/w25568 (simulated power on one's own panel).

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
    >>> curve = resample.power(overall, panel, "rate", effects=[-0.5, -1.0, -2.0], replicates=20)
    >>> curve.table["rejected"].round(2).tolist()
    [0.0, 0.05, 0.45, 1.0]
    """
    need_estimator(method, "the method")
    need_seed(rng)
    need_jobs(n_jobs)
    panel, ground = ready(panel, outcome, start, areas, eligible, planned, alpha, replicates)
    scale = scale_of([method], ground, outcome, scale)
    options = {"start": start, "areas": areas, "eligible": eligible, "planned": planned}
    found = runs(
        {"method": method},
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
    rows = []
    for place, size in enumerate(found.sizes):
        for column, effect in enumerate(found.effects):
            rows.append({"areas": size, "effect": float(effect), **summary(found, place, column, 0)})
    provenance = provenance_of("resample.power", found, panel, outcome, options, alpha, rng)
    return PowerCurve(pd.DataFrame(rows), found.refusals(), alpha, replicates, scale, provenance, found)


def ready(
    panel: Panel,
    outcome: str,
    start: Any,
    areas: int | Sequence[int] | None,
    eligible: Sequence[Any] | None,
    planned: bool,
    alpha: float,
    replicates: int,
) -> tuple[Panel, Ground]:
    """The checks of `power` and `calibrate`, the panel after its missing-value policy, and the ground."""
    need_panel(panel)
    need_share("alpha", alpha)
    need_whole("replicates", replicates, 2, example="499")
    if not isinstance(planned, bool | np.bool_):
        raise DataError("PMG-OPTION", f"planned={planned!r}", fix="True or False")
    panel = panel.for_outcome(outcome)
    return panel, ground_of(panel, start=start, areas=areas, eligible=eligible, planned=planned)


def scale_of(methods: Iterable[Method], ground: Ground, outcome: str, given: PlantScale | None) -> PlantScale:
    """The scale asked for, or that of the first method with an estimate on one placebo programme.

    Raises
    ------
    DataError
        PMG-OPTION; PMG-PLANT-SCALE: no method gives an estimate, or it is neither a difference nor a ratio.
    """
    if given is not None:
        if given not in ("identity", "log"):
            raise DataError("PMG-OPTION", f"unknown scale={given!r}", fix='"identity" or "log"')
        return given
    fix = 'scale="log" (effects are ratios) or scale="identity" (differences)'
    panel = ground.assigned(ground.pool, max(ground.sizes))
    why = "a test does not say on which scale effects are"
    for method in methods:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PmgEvalWarning)
                found = method(panel, outcome)
        except PmgEvalError as refused:
            why = refused.what
            continue
        if isinstance(found, Test):
            continue
        need_estimate(found)
        if found.scale in ("identity", "log"):
            return "log" if found.scale == "log" else "identity"
        why = f"effects cannot be planted on the {found.scale} scale"
    raise DataError("PMG-PLANT-SCALE", f"the scale of the effects is not known: {why}", fix=fix)


def summary(found: Runs, size: int, effect: int, method: int) -> dict[str, float]:
    """What one method found of one effect with one number of areas."""
    at = (slice(None), size, effect, method)
    share = float(found.found()[at].mean())
    covered = found.covered()[at]
    covered = covered[~np.isnan(covered)]
    coverage = float(covered.mean()) if len(covered) else np.nan
    estimate = found.estimate[at]
    estimate = estimate[~np.isnan(estimate)]
    width = (found.high - found.low)[at]
    width = width[~np.isnan(width)]
    middle = np.median(estimate) + SCALES[found.scale].null_on_scale() if len(estimate) else np.nan
    return {
        "rejected": share,
        "error": float(share_error(share, found.replicates)),
        "estimate": float(SCALES[found.scale].back(np.array([middle]))[0]),
        "coverage": coverage,
        "coverage_error": float(share_error(coverage, len(covered))) if len(covered) else np.nan,
        "width": float(np.median(width)) if len(width) else np.nan,
        "given": len(covered) / found.replicates,
        "refused": float((found.reason[at] != "").mean()),
    }


def detectable_effects(found: Runs, size: int, method: int, power: float) -> list[dict[str, Any]]:
    """The smallest effect found with a probability, per direction in which effects were planted."""
    need_share("power", power, example="0.8")
    link = SCALES[found.scale]
    rows = []
    directions: tuple[tuple[Literal["decrease", "increase"], int], ...] = (("decrease", -1), ("increase", 1))
    for name, sign in directions:
        chosen = np.flatnonzero(np.sign(found.distances) == sign)
        if not len(chosen):
            continue
        chosen = chosen[np.argsort(np.abs(found.distances[chosen]))]
        rejected = found.found()[:, size, chosen, method]
        value, error, reason = detectable(np.abs(found.distances[chosen]), rejected, power)
        effect = float(link.back(np.array([sign * value + link.null_on_scale()]))[0])
        natural = error * effect if found.scale == "log" else error
        rows.append({"direction": name, "effect": effect, "error": natural, "reason": reason})
    return rows


def detectable(distances: Array, rejected: Array, power: float) -> tuple[float, float, str]:
    r"""Distance found with a probability, its Monte-Carlo error, and why there is none.

    With :math:`z=\Phi^{-1}(\widehat{power})` at the two distances around it the value is
    :math:`d_0+(d_1-d_0)(z^*-z_0)/(z_1-z_0)`; the error is its delta-method error, with the covariance of the two
    shares (they come from the same replicates).

    Parameters
    ----------
    distances : (E,) float, ascending
    rejected : (R, E) float, 0 or 1
    power : float
    """
    from scipy import special

    count = len(rejected)
    share = non_decreasing((rejected.sum(axis=0) + 0.5) / (count + 1))
    reached = np.flatnonzero(share >= power)
    if not len(reached):
        return np.nan, np.nan, f"{NOT_REACHED} (at most {share[-1]:.0%})"
    if reached[0] == 0:
        return np.nan, np.nan, f"{ALWAYS_REACHED} ({share[0]:.0%})"
    pair = np.array([reached[0] - 1, reached[0]])
    z = special.ndtri(share[pair])
    step = distances[pair[1]] - distances[pair[0]]
    part = (special.ndtri(power) - z[0]) / (z[1] - z[0])
    slope = step / (z[1] - z[0]) * np.array([part - 1, -part])  # derivative of the value in z
    slope = slope * np.sqrt(2 * np.pi) * np.exp(z**2 / 2)  # and in the shares
    spread = np.sqrt(share[pair] * (1 - share[pair]) / count)
    both = rejected[:, pair]
    deviation = both - both.mean(axis=0)
    scale = np.sqrt((deviation**2).sum(axis=0)).prod()
    correlation = float(deviation.prod(axis=1).sum() / scale) if scale > 0 else 0.0
    cov = np.outer(spread, spread) * np.array([[1.0, correlation], [correlation, 1.0]])
    return float(distances[pair[0]] + part * step), float(np.sqrt(slope @ cov @ slope)), ""


def non_decreasing(values: Array) -> Array:
    """The closest non-decreasing values (pool adjacent violators), by its max-min formula."""
    count = len(values)
    total = np.concatenate([[0.0], np.cumsum(values)])

    def mean(first: int, last: int) -> float:
        return float(total[last + 1] - total[first]) / (last + 1 - first)

    return np.array([max(min(mean(j, k) for k in range(i, count)) for j in range(i + 1)) for i in range(count)])


def provenance_of(
    name: str,
    found: Runs,
    panel: Panel,
    outcome: str,
    options: dict[str, Any],
    alpha: float,
    rng: int | np.random.Generator,
) -> Provenance:
    """What was done, as JSON values."""
    eligible = options["eligible"]
    return Provenance(
        estimator=name,
        options={
            "outcome": outcome,
            "methods": list(found.names),
            "effects": [float(effect) for effect in found.effects],
            "scale": found.scale,
            "areas": list(found.sizes),
            "start": None if options["start"] is None else str(options["start"]),
            "eligible": None if eligible is None else [str(unit) for unit in eligible],
            "planned": bool(options["planned"]),
            "alpha": alpha,
            "replicates": found.replicates,
        },
        data=panel.fingerprint,
        assumptions=ASSUMPTIONS,
        references=("10.1162/003355304772839588", "10.3386/w25568"),
        seed=None if isinstance(rng, np.random.Generator) else int(rng),
    )
