"""Effects of areas with the law of areas that were not treated (Conley-Taber, Ferman-Pinto, Alvarez-Ferman)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from pmg_eval.errors import DataError, DesignError
from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._area import area_effects, control_error
from pmg_eval.resample._area_placebos import placebo_effects
from pmg_eval.resample._door import need_jobs, need_seed, need_whole
from pmg_eval.resample._placebo_details import PlaceboDetails, details_of
from pmg_eval.resample._placebo_draws import area_errors, cell_errors, number_of_draws, scores
from pmg_eval.resample._placebo_law import (
    Law,
    LawName,
    Placebos,
    SizeModel,
    Start,
    law_of,
    need_matched,
    placebo_counts,
    placebos_of,
    starts_of,
    warn_few,
    words,
)
from pmg_eval.resample._placebo_rare import status_of
from pmg_eval.resample._placebo_result import Text, by_area, by_cell, p_error
from pmg_eval.resample._pool import pool_mask
from pmg_eval.typing import Estimator

ASSUMPTIONS = (
    "without the programme, the error of a treated area would have been drawn from the law of the placebo areas, "
    "after scaling by sigma^2 = a + b/size",
    "placebo areas are independent of each other and untouched by the programme",
)
_UNSCALED = "without the programme, the error of a treated area would have been drawn from the law of the placebo areas"
_REFERENCES = ("10.1162/rest_a_00759", "10.1162/REST_a_00049", "10.48550/arXiv.2302.03131")


def placebo(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    by: Literal["unit", "cell"] = "unit",
    law: Law | LawName = "ferman_pinto",
    eligible: Sequence[Any] | None = None,
    draws: int | None = None,
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

    A law from J areas is known as well as J areas tell: one area is judged by its rank among them and itself,
    :math:`p=(1+\#)/(1+J)`, and averages over areas multiply every draw by one :math:`\sqrt{J/\chi^2_J}`, as t does.
    A treated area larger than every placebo area has the error of the largest size that was seen (``checks.capped``).

    The draws are joint, so that ``.average()`` (also ``by="cohort"``) has the law of the weighted average over areas:
    inference for a pooled effect of few treated areas with their own starts and effects (Alvarez and Ferman). With
    ``by="cell"`` there is one term per area and period, for ``.average(by="event_time")`` and uniform bands: the path
    of the *same* placebo J over the periods stands for area i, its average scaled as above, its deviations from that
    average by a size model of each event time.

    Parameters
    ----------
    estimator : callable
        ``estimator(panel, outcome) -> Estimate``. With unit labels (``did.imputation``) all areas come from one fit;
        otherwise each area is estimated alone against the never-treated. One with an option ``donors``
        (``synth.classic``, ``synth.sdid``) estimates every placebo against all other untreated areas.
    panel, outcome : Panel, str
    by : {"unit", "cell"}
        One term per treated area, or per treated area and period after the start.
    law : {"ferman_pinto", "conley_taber", "size_matched"}, or SizeModel(), Plain(), SizeMatched(n=...)
        How placebos stand for an area: all of them scaled by the size model (default); all as they are, for areas of
        one size; the 60 (``n``) nearest in log size as they are, which is refused where it would have fewer than three
        times as many placebos as there are treated areas. ``terms.method`` says which.
    eligible : sequence of unit labels, optional
        Placebo pool (default: never treated, not contaminated within the panel).
    draws : int, optional
        Draws that represent the law. Each placebo is used equally often. Default 19,999; fewer (at least 999) where
        the array of errors, draws x terms, would exceed 200 MB.
    rng : int or Generator
        Seed.
    batches : int
        Estimators with unit labels estimate the placebos of one batch together, against the areas of the other batches.
    n_jobs : int
        Processes; the result does not depend on it.

    Returns
    -------
    Estimate[PlaceboDetails]
        One row per treated area (label ``unit``, ``cohort``; with ``by="cell"`` also ``period``, ``event_time``);
        ``n_placebo`` and ``p_min`` say what the pool can show. The p_min of an average is the product over its areas.

    Raises
    ------
    DesignError
        Fewer than two eligible areas, no treated area with an effect; PMG-MATCHED-POOL (too few placebos matched in
        size for several areas); PMG-NO-CELLS (``by="cell"`` with an estimator that has one number per area).

    Warns
    -----
    PMG-FEW-PLACEBOS
        Fewer than 39 placebos; with fewer than 19 no two-sided 5 % test exists and 95 % intervals are not given.
    PMG-PRE-FIT
        Synthetic controls that fit worse before the start than the median placebo: errors may be larger than their law.

    Assumes
    -------
    1. After scaling by size, untreated errors of treated and placebo areas have one law. Probe: ``details.checks``
    (size-matched ranks and intervals), and the same call with another law or pool. 2. Placebo areas are independent and
    untouched (a shock common to some areas: name a pool that shares it).

    Notes
    -----
    The noise of the comparison areas is in a placebo effect once already; adding c counts it a second time in the part
    that belongs to single areas. With :math:`n_1` treated and :math:`n_0` comparison areas of equal weight the
    variance of the average is too large by the share :math:`1/(n_0+n_1)`, which is left as a safety margin.

    When not to use: with 20 or more treated areas a jackknife needs no model of sizes. A size-matched or unscaled law
    for an average over areas of very different size.

    Deviations from the references: Conley and Taber take residuals of one regression, here every placebo is estimated
    again without the treated areas (equal for many comparison areas). Ferman and Pinto fit a and b by least squares and
    repair negative values; here they are constrained and weighted. Alvarez and Ferman scale single periods; here the
    average and the deviations from it are scaled separately, because a factor per period gave averages over large
    areas intervals that cover 90-92 %.

    References
    ----------
    Ferman and Pinto (2019), doi:10.1162/rest_a_00759; Conley and Taber (2011), doi:10.1162/REST_a_00049; Alvarez and
    Ferman (2023), arXiv:2302.03131; Williams (1982), doi:10.2307/2347977, for ``details.rare``.

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
    >>> pooled = areas.average()
    >>> bool(abs(pooled.values[0] - did.imputation(panel, "rate").average().values[0]) < 1e-12)
    True
    >>> cells = resample.placebo(did.imputation, panel, "rate", by="cell")
    >>> cells.average(by="event_time").terms["event_time"].tolist()
    [0, 1]
    """
    need_seed(rng)
    need_jobs(n_jobs)
    _check_options(by, draws, batches)
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    chosen = law_of(law)
    need_panel(panel)
    panel = panel.for_outcome(outcome)
    pool = pool_mask(panel, eligible)
    if pool.sum() < 2:
        raise DesignError(
            "PMG-POOL", f"{int(pool.sum())} eligible placebo areas", fix="a panel with more untreated areas"
        )
    effects = area_effects(estimator, panel, outcome, by == "cell")
    known = ~np.isnan(effects.values)
    if not known.any():
        raise DesignError("PMG-NO-AREA", "no treated area has an effect", where=sorted(set(effects.status) - {""}))
    pools: dict[Start, Placebos] = {}
    for start in sorted({start for start, has in zip(starts_of(effects), known, strict=True) if has}):
        others = placebo_effects(estimator, panel, outcome, start, pool, effects, batches, n_jobs, by == "cell")
        pools[start] = placebos_of(others, chosen)
    need_matched(chosen, pools, int(known.sum()))
    warn_few(int(placebo_counts(effects, pools)[known].min()), stacklevel=4)
    shared = control_error(effects)
    draws = number_of_draws(draws, len(effects.values) if effects.cells is None else len(effects.cells.values))
    status, p_min = status_of(effects, panel, outcome, 1 / (placebo_counts(effects, pools) + 1))
    text = Text(outcome, words(chosen), panel.time_label)
    if effects.cells is None:
        errors = area_errors(effects, pools, shared, draws, generator)
        found = by_area(effects, pools, errors, status, p_min, text, scores(draws, generator))
        error = p_error(effects, found, errors)
    else:
        drawn = cell_errors(effects, effects.cells, pools, draws, generator)
        found = by_cell(effects, effects.cells, drawn, status, p_min, text, scores(draws, generator))
        error = np.full(len(effects.values), np.nan)
    options = {
        "draws": draws,
        "eligible": None if eligible is None else [str(unit) for unit in eligible],
        "batches": batches,
        "by": by,
    }
    details = details_of(effects, pools, shared, error, panel, outcome)
    return replace(found, details=details, provenance=_recorded(effects.provenance, options, chosen, rng))


def _recorded(provenance: Provenance, options: dict[str, Any], law: Law, rng: int | np.random.Generator) -> Provenance:
    """Where the estimates come from, and how their law came about."""
    first = ASSUMPTIONS[0] if isinstance(law, SizeModel) else _UNSCALED
    return replace(
        provenance.then("resample.placebo"),
        options={**provenance.options, "placebo": {**options, "law": repr(law)}},
        seed=None if isinstance(rng, np.random.Generator) else int(rng),
        assumptions=(*provenance.assumptions, first, ASSUMPTIONS[1]),
        references=(*provenance.references, *_REFERENCES),
    )


def _check_options(by: object, draws: int | None, batches: int) -> None:
    if by not in ("unit", "cell"):
        raise DataError("PMG-OPTION", f"unknown by={by!r}", fix='"unit" or "cell"')
    if draws is not None:
        need_whole("draws", draws, example="19_999, or None")
    need_whole("batches", batches, code="PMG-OPTION", example="10")
