"""Synthetic difference-in-differences of Arkhangelsky, Athey, Hirshberg, Imbens and Wager, cohort by cohort."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from pmg_eval.errors import DataError, DesignError
from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.panel import Panel
from pmg_eval.synth._details import SdidDetails
from pmg_eval.synth._door import FEWEST_PRE, Design, Donors, Family, design
from pmg_eval.synth._sdid_fit import Block, Refused, fit_blocks
from pmg_eval.synth._sdid_law import jackknife
from pmg_eval.synth._sdid_result import details_of, table_of, terms_of

Weights = Literal["cohort", "unit"]
_REFERENCES = (
    "10.1257/aer.20190159",  # Arkhangelsky, Athey, Hirshberg, Imbens and Wager (2021)
    "10.1177/1536867X241297914",  # Clarke, Pailañir, Athey and Imbens (2024), staggered adoption
)


def sdid(
    panel: Panel,
    outcome: str,
    *,
    donors: Donors = "untreated",
    weights: Weights = "cohort",
    anticipation: int = 0,
    family: Family = "gaussian",
) -> Estimate[SdidDetails]:
    r"""Effect of every cohort and period against weighted donors and weighted earlier periods.

    With unit weights :math:`\omega` that make the donors run parallel to the treated mean :math:`\bar y` before the
    start g, and time weights :math:`\lambda` that make the earlier periods of the donors resemble their later ones,

    .. math:: \hat\tau_{gt}=\Big(\bar y_t-\sum_j\omega_jy_{jt}\Big)
              -\sum_{s<g}\lambda_s\Big(\bar y_s-\sum_j\omega_jy_{js}\Big),

    the unit of the outcome. Both minimize a penalized sum of squares over the simplex with an intercept,

    .. math:: \tfrac1{T_0}\sum_{s<g}(\bar y_s-a-\omega'y_s)^2+\zeta^2\lVert\omega\rVert^2,\qquad
              \zeta=(N_1T_1)^{1/4}\hat\sigma,

    and for :math:`\lambda` the same over donors with :math:`\zeta=10^{-6}\hat\sigma`; :math:`\hat\sigma` is the
    standard deviation of all first differences of the donors before the start. The minimum is exact. With
    ``family="poisson"`` the fit is on rates per person-year and a term is observed over expected events: the expected
    rate of a treated unit is its own :math:`\lambda`-weighted past plus the change of the weighted donors.

    Parameters
    ----------
    panel : Panel
        Units observed over time with ``cohort=``.
    outcome : str
        Numeric column; counts (at least 0) for ``family="poisson"``, with the panel's exposure.
    donors : {"untreated", "others"} or list of unit labels
        ``"untreated"`` (default): untreated and uncontaminated through the last period. A list narrows that pool.
        ``"others"``: every unit with a start against all other units whatever theirs, the in-space placebo
        (``weights="unit"``).
    weights : {"cohort", "unit"}
        One :math:`\omega` and :math:`\lambda` per cohort (default), or per treated unit: effects of single areas,
        without a law (``pe.effect_per_area(panel, outcome, estimator=synth.sdid)`` gives them one).
    anticipation : int
        Periods before the start that are left out of the fit. Default 0.
    family : {"gaussian", "poisson"}
        Differences, or ratios of rates.

    Returns
    -------
    Estimate[SdidDetails]
        One term per cohort (or unit) and observed period: ``estimand`` ("att", or "rate_ratio" on the log scale),
        ``outcome, [unit,] cohort, period, event_time``; support ``weight`` (unit weights of the treated; the expected
        count), ``n_treated, n_control``. Rows before the start show the fit. ``.average()`` is the staggered estimate
        (cohorts by treated unit-periods). Influence rows are units.

    Raises
    ------
    DataError
        Unknown options or columns, negative counts, missing values (by the panel's policy).
    DesignError
        PMG-SHORT-PRE (no cohort has two periods before its start: ``did.imputation``), PMG-NO-DONORS, PMG-NO-TREATED,
        PMG-NO-EXPOSURE, PMG-SHARE, PMG-CROSS-SECTION.

    Notes
    -----
    Assumes: (1) untreated outcomes follow an additive two-way model plus a few factors that the weights balance (probe:
    rows before the start, ``details.fit``; a placebo in time); (2) no anticipation beyond ``anticipation``; (3) no
    spillovers to donors; (4) for the law: units independent, weights treated as fixed.

    When not to use: with fewer than four periods before the start (the weights fit noise; a note says so); where growth
    is proportional and levels differ widely, changes of rates are not comparable
    (``did.imputation(family="poisson")``); for the standard error of one area (``pe.effect_per_area``).

    The rows before the start were *fitted*: their :math:`\lambda`-weighted mean is zero by construction, so they are no
    test of parallel trends and ``test("pre")`` has no full rank within a cohort.

    Periods need not be equally spaced: a first difference is the change between consecutive observed periods. The fit
    is on the periods before the start in which all treated units of the cohort are observed; a term averages the units
    observed in its period. Sampling weights of the panel weigh the treated units (for rates times their mean
    person-years before the start); those of donors do not enter :math:`\omega`. With ``partial_period="share"`` the
    effect of the first period is divided by the treated share and weighted by it.

    The law is the jackknife over units with fixed weights (the default of R synthdid): :math:`\omega` without a unit is
    rescaled, :math:`\lambda` stays. It is no derivative in the units' weights (``kind="score"``). A cohort of one unit
    has none (as in R): its intervals are NaN and the status names ``effect_per_area``; in averages over cohorts that
    unit counts by its distance from the average. Nor has a cohort whose donors' weight lies on a single one.

    Deviations from R synthdid 0.0.9: the exact minimum instead of the iterate at which Frank-Wolfe stops (California
    -15.60540 against -15.60383).

    References
    ----------
    Arkhangelsky, Athey, Hirshberg, Imbens and Wager (2021), American Economic Review, doi:10.1257/aer.20190159. Clarke,
    Pailañir, Athey and Imbens (2024), Stata Journal, doi:10.1177/1536867X241297914.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import synth
    >>> rows = [(i, t, 5 if i < 2 else 0, i + t + 3.0 * (i < 2 and t >= 5)) for i in range(6) for t in range(8)]
    >>> df = pd.DataFrame(rows, columns=["area", "year", "start", "rate"])
    >>> panel = pe.Panel(df, unit="area", time="year", cohort="start", never=0)
    >>> float(synth.sdid(panel, "rate").average().values[0].round(6))
    3.0
    """
    _need_weights(weights)
    study = design(panel, outcome, donors=donors, family=family, anticipation=anticipation)
    by_unit = weights == "unit" or study.others
    blocks = fit_blocks(study, "unit" if by_unit else "cohort")
    _need_one(study, blocks)
    found = [terms_of(study, block) if isinstance(block, Block) else None for block in blocks]
    values, terms = table_of(study, blocks, found, outcome, by_unit)
    return Estimate(
        values=values,
        terms=terms,
        uncertainty=None if by_unit else jackknife(study, blocks, found),
        details=details_of(study, blocks, found, by_unit),
        scale="log" if family == "poisson" else "identity",
        provenance=_provenance(study, blocks, outcome, donors, by_unit),
    )


def _need_weights(weights: object) -> None:
    if not isinstance(weights, str) or weights not in ("cohort", "unit"):
        raise DataError("PMG-OPTION", f"unknown weights={weights!r}", fix='"cohort" or "unit"')


def _need_one(study: Design, blocks: list[Block | Refused]) -> None:
    refused = [block for block in blocks if isinstance(block, Refused)]
    if len(refused) < len(blocks):
        return
    labels = dict.fromkeys(study.panel.time_label(block.cohort) for block in refused)
    raise DesignError(
        "PMG-SHORT-PRE",
        "no cohort can be fitted: " + "; ".join(sorted({block.reason for block in refused})),
        where=list(labels),
        fix="earlier periods, or did.imputation and did.group_time, which need one period before the start",
    )


def _notes(study: Design, blocks: list[Block | Refused], by_unit: bool) -> list[str]:
    panel = study.panel
    notes = [str(notice.text) for notice in panel.notes]
    if len(study.excluded):
        reasons = study.excluded["reason"].value_counts()
        shown = "; ".join(f"{count}: {reason}" for reason, count in reasons.items())
        notes.append(f"units that are neither treated nor donors: {shown}")
    what = "treated units" if by_unit else "cohorts"
    refused = [_name(study, block, by_unit) for block in blocks if isinstance(block, Refused)]
    if refused:
        notes.append(f"{what} without an estimate (see status): {_first(refused)}")
    short = [
        _name(study, block, by_unit)
        for block in blocks
        if isinstance(block, Block) and block.window.pre.sum() < FEWEST_PRE
    ]
    if short:
        notes.append(
            f"{what} with fewer than {FEWEST_PRE} periods before the start, weights fit noise: {_first(short)}"
        )
    lone = [_name(study, block, by_unit) for block in blocks if isinstance(block, Block) and len(block.treated) == 1]
    if lone and not by_unit:
        notes.append(
            "cohorts of one unit have no standard error of their own; in that of an average they count by their "
            f"distance from it: {_first(lone)}"
        )
    if len(np.unique(np.diff(panel.time_codes))) > 1:
        notes.append("periods are not equally spaced: first differences are between consecutive observed periods")
    return notes


def _name(study: Design, block: Block | Refused, by_unit: bool) -> str:
    return str(study.panel.units[block.treated[0]] if by_unit else study.panel.time_label(block.cohort))


def _first(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" (first 5 of {len(names)})" if len(names) > 5 else "")


def _provenance(
    study: Design, blocks: list[Block | Refused], outcome: str, donors: Donors, by_unit: bool
) -> Provenance:
    options: dict[str, Any] = {
        "outcome": outcome,
        "donors": donors if isinstance(donors, str) else [str(donor) for donor in donors],
        "weights": "unit" if by_unit else "cohort",
        "anticipation": study.anticipation,
        "family": study.family,
    }
    return Provenance(
        estimator="synth.sdid",
        options=options,
        data=study.panel.fingerprint,
        assumptions=(
            "without treatment, outcomes follow unit and period effects plus factors that the weights balance",
            f"no anticipation more than {study.anticipation} periods before treatment",
            "donors are not affected by the treatment of others",
        ),
        references=_REFERENCES,
        notes=tuple(_notes(study, blocks, by_unit)),
    )
