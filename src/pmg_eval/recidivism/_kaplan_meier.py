"""Kaplan-Meier: the share with the event within a follow-up time, when follow-up ends at different times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from pmg_eval.errors import DataError, warn
from pmg_eval.estimate import Estimate
from pmg_eval.panel import Spells
from pmg_eval.recidivism import _horizons
from pmg_eval.recidivism._counts import Counts
from pmg_eval.recidivism._curves import Curves, keepable
from pmg_eval.recidivism._details import KaplanMeierDetails
from pmg_eval.recidivism._door import (
    competing_share,
    need_causes,
    need_option,
    need_start,
    one_label,
    variance_for,
)
from pmg_eval.recidivism._fit import Words, fit
from pmg_eval.recidivism._horizons import Horizon
from pmg_eval.recidivism._risk import RiskTable, interest_of, risk_table

Variance = Literal["greenwood", "robust"]
MANY_COMPETING = 0.05
_ASSUMPTIONS = (
    "independent censoring: those whose follow-up ends would have gone on as those who remain",
    "no competing exit: deaths and emigration are treated as censoring",
    "late entry, if any, is independent of the risk",
)
_REFERENCES = (
    "10.1080/01621459.1958.10501452",  # Kaplan and Meier (1958)
    "10.1093/biomet/26.4.404",  # Clopper and Pearson (1934), upper limit without events
)
_ROBUST = "10.1080/01621459.1981.10477650"  # Efron (1981)


def kaplan_meier(
    data: Spells | Counts,
    *,
    cause: str | Sequence[str] | None = None,
    horizons: Horizon | Sequence[Horizon] | None = None,
    start: Horizon | None = None,
    variance: Variance = "greenwood",
) -> Estimate[KaplanMeierDetails]:
    r"""Share with the event within a follow-up time (recidivism curve), with censoring and late entry.

    .. math:: \hat F(\tau)=1-\hat S(\tau)=1-\prod_{t\le\tau}\Big(1-\frac{d_t}{Y_t}\Big),

    with :math:`d_t` events on day t and :math:`Y_t` persons at risk (entry < t <= exit). A share between 0 and 1.

    Parameters
    ----------
    data : Spells or Counts
        Counts give the same numbers; survey weights and clusters need Spells.
    cause : str or list of str, optional
        The event; a list counts as one event, whichever comes first. Other causes count as censoring. Compulsory when
        there are several causes.
    horizons : int, "2y", or list of them, optional
        Follow-up times :math:`\tau` in the unit of the data; "2y" is 730 days, 104 weeks, 24 months or 2 years.
        Default: whole years (at most five) that half of the groups reach with ten persons, and the last time up to
        which every group is followed (only the last year where there would be more than 1,000 terms).
        ``details.curves`` has every day.
    start : int or "1y", optional
        Condition on being at risk and event-free after this day: :math:`1-S(\tau)/S(start)`. Horizons still count from
        day 0.
    variance : {"greenwood", "robust"}
        Greenwood's formula, or the infinitesimal jackknife clustered on the person (on ``cluster=``; always with survey
        or ipw weights).

    Returns
    -------
    Estimate[KaplanMeierDetails]
        One term per group and horizon: labels ``outcome`` (cause), ``group``, ``horizon``; support ``n_persons,
        n_events``; scale "cloglog", so that intervals are log(-log) on S. The law is a Covariance, with blocks over the
        horizons of a group; groups are independent unless clusters are shared (robust). ``details.curves``,
        ``details.survival``, ``details.band(conf_type=)``.

    Raises
    ------
    DataError
        PMG-SPELLS, PMG-CAUSE, PMG-HORIZON-TYPE, PMG-OPTION, PMG-EVENT-THEN-SPELL.
    InferenceError
        PMG-HORIZON (no group followed that long), PMG-EMPTY-RISK-SET, PMG-NEED-SPELLS.

    Warns
    -----
    PmgEvalWarning
        PMG-COMPETING (more than 5 % of a group leave by another cause), PMG-FEW-AT-RISK (fewer than 10 at a horizon
        that was asked for), PMG-EMPTY-RISK-SET.

    Notes
    -----
    Assumes: (1) independent censoring within groups (probe: compare early and late cohorts at the same horizon); (2) no
    competing exits, or that those who die or emigrate would have recidivated like the others (probe:
    :func:`cumulative_incidence`); (3) entry independent of the risk.

    When not to use: with more than a few per cent deaths or emigration the share is that of a world without them; use
    ``cumulative_incidence``. With complete windows :func:`prevalence` says the same with Wilson's interval.

    Beyond the last day of follow-up of a group nothing is known unless everybody has had the event: NaN with the
    follow-up in ``status`` (other programs carry the plateau on). Without any event the interval is exact
    (Clopper-Pearson from those at risk at the horizon) and there is no standard error, also where everybody has had
    the event. A risk set that runs empty before others enter makes the product zero for ever: nothing is reported from
    that day on, and the warning says which ``start=`` gives a conditional curve.

    Deviations from R ``survfit``: values are 1 - S; R's ``std.err`` is SE(S)/S. With late entry the robust variance is
    not Greenwood's.

    References
    ----------
    Kaplan and Meier (1958), doi:10.1080/01621459.1958.10501452. Efron (1981), doi:10.1080/01621459.1981.10477650.

    Examples
    --------
    >>> import pandas as pd
    >>> from pmg_eval import recidivism
    >>> from pmg_eval.panel import Spells
    >>> df = pd.DataFrame({"id": range(6), "weeks": [8, 20, 20, 31, 52, 52], "arrest": [1, 1, 0, 1, 0, 0]})
    >>> spells = Spells(df, person="id", exit="weeks", event="arrest", time_unit="weeks")
    >>> curve = recidivism.kaplan_meier(spells, horizons=[26, "1y"])
    >>> curve.values.round(4)
    array([0.3333, 0.5556])
    """
    need_option("variance", variance, get_args(Variance))
    need_causes(cause)
    table = risk_table(data)
    _need_one_event(table, cause)
    interest = interest_of(table, cause, together=True)
    begin = need_start(start, table.time_unit)
    times = _horizons.resolve(horizons, table.time_unit, begin)
    used = variance_for(table, variance, get_args(Variance))
    names = one_label([table.causes[place - 1] for place in interest[0]] or ["event"])
    curves = Curves(table, interest, (names,), [0], begin, used)
    words = Words(
        "recidivism.kaplan_meier",
        "Kaplan-Meier",
        _ASSUMPTIONS,
        (*_REFERENCES, *([_ROBUST] if used == "robust" else [])),
        tuple(_competing(table, interest[0], times)),
    )
    found = fit(curves, times, words)
    details = KaplanMeierDetails(found.groups, used, table.time_unit, begin, curves.df, keepable(curves))
    return replace(found.estimate, details=details)


def _need_one_event(table: RiskTable, cause: object) -> None:
    if cause is None and len(table.causes) > 1:
        raise DataError(
            "PMG-CAUSE",
            f"there are {len(table.causes)} causes ({', '.join(table.causes)}), and it is not said which is the event",
            fix=f"cause={table.causes[0]!r}, or a list for any of them; with competing exits use cumulative_incidence",
        )


def _competing(table: RiskTable, interest: Sequence[int], times: Sequence[int] | None) -> list[str]:
    """A note on exits by other causes up to the last horizon, and a warning when they are many."""
    shares = competing_share(table, interest, None if times is None else max(times))
    most = max(share for _, share in shares)
    if most == 0:
        return []
    many = [f"{label}: {share:.1%}" for label, share in shares if share > MANY_COMPETING]
    if many:
        warn(
            "PMG-COMPETING",
            f"more than {MANY_COMPETING:.0%} leave by another cause, which Kaplan-Meier counts as censoring: the share "
            "is that of a world without such exits",
            where=many,
            fix="recidivism.cumulative_incidence",
            stacklevel=4,
        )
    return [f"exits by other causes are treated as censoring: up to {most:.1%} of a group"]
