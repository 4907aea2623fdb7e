"""Group-time average treatment effects (Callaway and Sant'Anna)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pmg_eval.did._cells_design import BasePeriod, Calendar, Pool, gap_notes, plan_cells
from pmg_eval.did._controls import Controls, NeverTreated, NotYetTreated
from pmg_eval.did._covariates import Design, covariate_design, names_in
from pmg_eval.did._door import need_anticipation, need_counts, need_formula, need_option
from pmg_eval.did._group_time_result import (
    GroupTimeDetails,
    in_selection_window,
    make_details,
    make_group_time_terms,
    make_influence,
    make_provenance,
    selection_notes,
)
from pmg_eval.did._group_time_solve import Method, Sample, solve_counts, solve_panel, solve_sections
from pmg_eval.errors import DataError, DesignError
from pmg_eval.estimate import Estimate
from pmg_eval.panel._door import need_panel

if TYPE_CHECKING:
    from pmg_eval.panel import Panel

__all__ = ["GroupTimeDetails", "group_time"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Family = Literal["gaussian", "poisson"]


def group_time(
    panel: Panel,
    outcome: str,
    *,
    controls: Controls = NotYetTreated(),  # noqa: B008 (frozen)
    covariates: str | None = None,
    method: Method = "dr",
    family: Family = "gaussian",
    anticipation: int = 0,
    base_period: BasePeriod = "varying",
) -> Estimate[GroupTimeDetails]:
    r"""Effect on each cohort in each period: every cell is a two-group, two-period difference-in-differences.

    For cohort g (first treated period) and period t, with base period b,

    .. math:: ATT(g,t)=E[Y_t(g)-Y_t(\infty)\mid G=g]
              =E[\,\omega^1(Y_t-Y_b-m(X))\,]-E[\,\omega^0(Y_t-Y_b-m(X))\,],

    where :math:`\omega^1` are the normalised weights of cohort g, :math:`\omega^0` those of the comparison units times
    the odds of belonging to g, and :math:`m(X)` the change predicted from the comparison units. In words: how much more
    the outcome of the cohort changed than that of comparable untreated units, in units of the outcome. Cells with
    :math:`t<g` should be zero and are the evidence for parallel trends.

    Parameters
    ----------
    panel : Panel
        Units by periods with ``cohort``; ``unit=None`` for repeated cross-sections. Roles used: weight, share of the
        first period, contamination dates (contaminated units are no controls from then on), exposure (Poisson).
    outcome : str
        Numeric column; counts for ``family="poisson"``.
    controls : NotYetTreated or NeverTreated, default NotYetTreated()
        Who stands in for the treated. Not-yet-treated uses all information; never-treated assumes less.
    covariates : str, optional
        Formula such as ``"~ x + C(region)"`` for parallel trends given X; the intercept is always in. Values are those
        of the earlier of the two periods (the mean over the base periods for an average base), never later ones.
    method : {"dr", "ipw", "or"}, default "dr"
        Doubly robust (right if either model is), inverse probability weighting, outcome regression. Without covariates
        the three are the same.
    family : {"gaussian", "poisson"}, default "gaussian"
        ``"poisson"``: counts with the panel's exposure; the effect is a rate ratio (see Notes).
    anticipation : int, default 0
        Periods before the start in which behaviour may already react; the base period lies before them.
    base_period : {"varying", "universal", "average"}, default "varying"
        Varying: last period before the (anticipated) start for t >= g, and the previous period before that, so that
        pre-treatment cells are period-to-period placebos. Universal: that last period for all t, with a reference row.
        Average: mean of all periods before the (anticipated) start, less noisy but it needs all of them parallel; no
        reference row, unless there is only one such period. Where the last period before the start is not in the data
        (or was left out by ``partial_period="drop"``), the one before it is the base and the provenance says so.

    Returns
    -------
    Estimate[GroupTimeDetails]
        One term per cohort and period: ``estimand`` ("att" or "rate_ratio"), ``outcome, cohort, period, event_time``;
        ``weight`` (share of the cohort among all units; for ratios the events expected without treatment),
        ``n_units, n_treated, n_control``. Scale identity (att) or log (rate_ratio). Influence rows are units (rows of
        the data for repeated cross-sections). Averages: ``.average(by="event_time")`` and so on.

    Raises
    ------
    DataError
        PMG-OPTION (unknown option), PMG-COLUMN (unknown column), PMG-FORMULA, PMG-COVARIATE, PMG-NEGATIVE (counts).
    DesignError
        PMG-NO-TREATED, PMG-NO-NEVER-TREATED, PMG-SHARE (share with Poisson), PMG-POISSON-COVARIATES (covariates with
        a propensity), PMG-CROSS-SECTION (option that needs the same units over time).

    Notes
    -----
    Assumes: (1) parallel trends given X between cohort and controls: ``test("pre")``, ``infer.honest``; (2) no
    anticipation beyond ``anticipation``: raise it and compare; (3) overlap: ``details.cells`` shows the propensities;
    (4) no spillovers to controls: ``contaminated_from`` of the panel; (5) covariates not moved by the treatment; (6)
    units drawn independently, or dependent as stated by ``assuming(...)``.

    When not to use: a single treated area (use ``pe.effect_per_area``: the error of one area cannot be learnt from that
    area); cohorts of a handful of units with covariates (the propensity separates them: status "overlap").

    A cell that cannot be estimated is NaN with ``status``: ``"no_control"``, ``"no_treated"``, ``"overlap"`` (some
    propensity is 0.999 or more, or all controls were trimmed at 0.995), ``"singular"`` (covariates collinear among the
    controls, or separating their counts), ``"zero_events"`` (Poisson; a ratio of exactly 0 is kept as such and enters
    averages).

    Poisson: given the total of a unit over base and period, its later count is binomial with odds
    :math:`E_{it}e^{\delta}/E_{ib}`, which removes unit effects; :math:`\log RR=\delta_g-\delta_{controls}`. With
    covariates (``method="or"``) the controls' :math:`\delta` is :math:`x'\beta`. Units without an event in either
    period say nothing and are not counted. An average of ratios weighted by the
    expected counts is observed over expected events. With an average base, base counts and exposures are summed.

    With ``partial_period="share"`` the effect in the period of start is per fully treated period:
    :math:`\sum w(\Delta Y-m)/\sum ws`.

    Deviations from R did 2.5.1 (numbers equal to 1e-8 otherwise): the overlap check uses the weighted propensity; a
    unit has one weight (there it may vary over time); units first treated after the last period are never "never
    treated"; pairs with missing values use units observed in both periods as a panel (there cross-section formulas);
    the outcome regression "reg" is called "or". For repeated cross-sections with covariates and ``method="dr"`` the
    influence is DRDID's, which is not the derivative (``kind="score"``): one term has the opposite sign, to second
    order (standard errors on mpdta differ by 0.1 %).

    References
    ----------
    Callaway and Sant'Anna (2021), Journal of Econometrics, doi:10.1016/j.jeconom.2020.12.001. Sant'Anna and Zhao
    (2020), Journal of Econometrics, doi:10.1016/j.jeconom.2020.06.003.

    Examples
    --------
    >>> import pandas as pd, pmg_eval as pe
    >>> from pmg_eval import did
    >>> df = pd.DataFrame([(area, year) for area in range(5) for year in range(1, 5)], columns=["area", "year"])
    >>> df["start"] = df["area"].map({0: 3, 1: 3}).fillna(0).astype(int)
    >>> df["cases"] = df["area"] + df["year"] ** 2 + 2.0 * ((df["start"] > 0) & (df["year"] >= 3))
    >>> panel = pe.Panel(df, unit="area", time="year", cohort="start", never=0)
    >>> effects = did.group_time(panel, "cases")
    >>> effects.terms[["cohort", "period", "event_time", "n_control"]].assign(att=effects.values).to_dict("list")
    {'cohort': [3, 3, 3], 'period': [2, 3, 4], 'event_time': [-1, 0, 1], 'n_control': [3, 3, 3], 'att': [0.0, 2.0, 2.0]}
    """
    need_panel(panel)
    _check(controls, covariates, method, family, anticipation, base_period)
    if family == "poisson":
        _check_poisson(panel, covariates, method)
    if base_period == "average" and not panel.is_panel:
        raise DesignError(
            "PMG-CROSS-SECTION",
            'base_period="average" needs the same units in all base periods; these are repeated cross-sections',
            fix='base_period="universal"',
        )
    anticipation = int(anticipation)
    panel = panel.for_outcome(outcome, columns=() if covariates is None else names_in(covariates, panel.frame))
    keep, cohorts, notes = _participants(panel, controls, anticipation)
    design = covariate_design(panel, covariates)
    sample = _sample(panel, outcome, design, controls, anticipation, keep)
    calendar = _calendar(panel, sample, cohorts, anticipation)
    cells = plan_cells(calendar, cohorts, base_period)
    names = {float(code): panel.time_label(int(code)) for code in (*panel.time_codes, *cohorts)}

    def label(code: float) -> Any:
        return names[float(code)]

    suspect = in_selection_window(panel, sample, cells)
    notes += [*design.notes, *gap_notes(calendar, cohorts, label), *selection_notes(panel, suspect)]
    if family == "poisson":
        exposure, remark = _exposure(panel, outcome, sample, keep)
        notes += remark
        solution = solve_counts(sample, exposure, cells)
    elif panel.is_panel:
        solution = solve_panel(sample, cells, method)
    else:
        solution = solve_sections(sample, panel.row_time[keep], cells, method)
    options = {
        "outcome": outcome,
        "controls": repr(controls),
        "covariates": covariates,
        "method": method,
        "family": family,
        "anticipation": anticipation,
        "base_period": base_period,
    }
    labels = panel.unit_labels if keep.all() else panel.unit_labels.loc[keep].reset_index(drop=True)
    # DRDID's influence of this estimator is not exactly its derivative.
    published = not panel.is_panel and method == "dr" and not design.empty
    return Estimate(
        values=solution.values,
        terms=make_group_time_terms(sample, cells, solution, label, outcome, suspect),
        uncertainty=make_influence(labels, sample, cells, solution, published=published),
        details=make_details(panel, sample, cells, solution, label, keep, options),
        scale="log" if family == "poisson" else "identity",
        provenance=make_provenance(panel, options, notes),
    )


def _check(
    controls: object, covariates: object, method: object, family: object, anticipation: object, base_period: object
) -> None:
    """Options that no data could make right."""
    need_option("method", method, get_args(Method))
    need_option("family", family, get_args(Family))
    need_option("base_period", base_period, get_args(BasePeriod))
    if isinstance(controls, type) or not callable(getattr(controls, "eligible", None)):
        raise DataError(
            "PMG-OPTION", f"controls={controls!r} is no rule", fix="did.NotYetTreated() or did.NeverTreated()"
        )
    need_anticipation(anticipation)
    need_formula(covariates)


def _check_poisson(panel: Panel, covariates: str | None, method: str) -> None:
    if not panel.is_panel:
        raise DesignError(
            "PMG-CROSS-SECTION",
            "the Poisson comparison conditions on a unit's total over two periods; these are repeated cross-sections",
            fix="a Panel of area counts with exposure=",
        )
    if panel.share is not None:
        raise DesignError(
            "PMG-SHARE",
            'partial_period="share" divides an additive effect by the treated share; a rate ratio has no such reading',
            fix='partial_period="treated" or "drop", or family="gaussian"',
        )
    if covariates is not None and method != "or":
        raise DesignError(
            "PMG-POISSON-COVARIATES",
            f"method={method!r} weights controls by a propensity, which does not identify a rate ratio when levels "
            "differ: each control would enter by its level as well",
            fix='method="or" (without covariates all methods coincide)',
        )


def _participants(panel: Panel, controls: Controls, anticipation: int) -> tuple[Mask, Array, list[str]]:
    """Units that take part, cohorts with cells, and what was left out."""
    codes = panel.time_codes
    early = panel.cohort <= codes[0] + anticipation
    keep = ~early
    inside = keep & (panel.cohort <= codes[-1])
    if not inside.any():
        raise DesignError(
            "PMG-NO-TREATED",
            "no unit starts treatment inside the observed periods with a period before it",
            where=[panel.time_label(int(code)) for code in np.unique(panel.cohort[np.isfinite(panel.cohort)])],
            fix="check cohort= and never= of the Panel, and that the data begin before the first (anticipated) start",
        )
    if isinstance(controls, NeverTreated) and not np.isinf(panel.cohort).any():
        raise DesignError(
            "PMG-NO-NEVER-TREATED",
            "no unit is never treated",
            fix="controls=did.NotYetTreated() compares with units before their own start",
        )
    notes = []
    if early.any():
        which = ", ".join(str(panel.time_label(int(code))) for code in np.unique(panel.cohort[early]))
        notes.append(
            f"{int(early.sum())} units left out because they have no period before their (anticipated) start: "
            f"cohorts {which}"
        )
    unclean = inside & (panel.contaminated_from < panel.cohort)
    if unclean.any():
        notes.append(
            f"{int(unclean.sum())} treated units were contaminated before their own start: their base period is not "
            "clean (did.imputation leaves such periods out)"
        )
    return keep, np.unique(panel.cohort[inside]), notes


def _sample(panel: Panel, outcome: str, design: Design, controls: Controls, anticipation: int, keep: Mask) -> Sample:
    """Arrays of the participants."""
    everyone = bool(keep.all())
    if panel.is_panel:
        values = np.ascontiguousarray(panel.wide(outcome).T)
        values = values if everyone else values[:, keep]
    else:
        values = panel.column(outcome)[keep]
    weight = panel.unit_weight[keep]
    return Sample(
        outcome=values,
        weight=weight,
        share=None if panel.share is None else panel.share[keep],
        design=design if everyone else design.select(keep),
        pool=Pool.of(
            controls, panel.time_codes, anticipation, panel.cohort[keep], panel.contaminated_from[keep], weight > 0
        ),
    )


def _exposure(panel: Panel, outcome: str, sample: Sample, keep: Mask) -> tuple[Array, list[str]]:
    """Exposure (T, n) of the participants; counts are checked."""
    need_counts(panel, outcome)
    if panel.exposure is None:
        return np.ones_like(sample.outcome), ["the panel has no exposure: ratios are of counts, not of rates"]
    return np.ascontiguousarray(panel.wide_rows(panel.exposure).T)[:, keep], []


def _calendar(panel: Panel, sample: Sample, cohorts: Array, anticipation: int) -> Calendar:
    """Periods, with the number of units of each cohort observed in them where that varies."""
    codes = panel.time_codes
    if not panel.is_panel:
        seen = [np.bincount(panel.row_time[panel.cohort == start], minlength=len(codes)) for start in cohorts]
        return Calendar(codes, anticipation, np.array(seen))
    observed = np.isfinite(sample.outcome)
    if observed.all():
        return Calendar(codes, anticipation)
    seen = [observed[:, sample.pool.cohort == start].sum(axis=1) for start in cohorts]
    return Calendar(codes, anticipation, np.array(seen), panel.partial_period == "drop")
