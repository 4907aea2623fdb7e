"""Cumulative incidence of causes that exclude each other (Aalen-Johansen), exact with ties and late entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from pmg_eval.estimate import Estimate
from pmg_eval.panel import Spells
from pmg_eval.recidivism import _horizons
from pmg_eval.recidivism._counts import Counts
from pmg_eval.recidivism._curves import Curves, keepable
from pmg_eval.recidivism._details import IncidenceDetails
from pmg_eval.recidivism._door import need_causes, need_option, need_start, variance_for
from pmg_eval.recidivism._fit import Words, fit
from pmg_eval.recidivism._horizons import Horizon
from pmg_eval.recidivism._risk import interest_of, risk_table

Variance = Literal["delta", "aalen", "robust"]
_ASSUMPTIONS = (
    "independent censoring: those whose follow-up ends would have gone on as those who remain",
    "causes exclude each other: the first event ends the spell",
    "late entry, if any, is independent of the risk",
)
_REFERENCES = (
    "10.1214/aos/1176344247",  # Aalen (1978)
    "10.1111/j.1541-0420.2010.01420.x",  # Geskus (2011), left truncation
)
_ROBUST = "10.1080/01621459.1981.10477650"  # Efron (1981)


def cumulative_incidence(
    data: Spells | Counts,
    *,
    cause: str | Sequence[str] | None = None,
    horizons: Horizon | Sequence[Horizon] | None = None,
    start: Horizon | None = None,
    variance: Variance = "delta",
) -> Estimate[IncidenceDetails]:
    r"""Share that leaves by each cause within a follow-up time, with censoring, ties and late entry.

    .. math:: \hat F_k(\tau)=\sum_{t\le\tau}\hat S(t-)\frac{d_{kt}}{Y_t},\qquad
              \hat S(t)=\prod_{s\le t}\Big(1-\frac{\sum_kd_{ks}}{Y_s}\Big),

    so that :math:`\sum_k\hat F_k+\hat S=1` on every day. Somebody who died is not at risk and does not recidivate
    later: this is the share that was seen to happen, not that of a world without deaths.

    Parameters
    ----------
    data : Spells or Counts
        With ``cause``; counts give the same numbers, survey weights and clusters need Spells.
    cause : str or list of str, optional
        Causes to report, each on its own. Default: all.
    horizons : int, "2y", or list of them, optional
        Follow-up times :math:`\tau`; see :func:`kaplan_meier`.
    start : int or "1y", optional
        Condition on being at risk and event-free after this day.
    variance : {"delta", "aalen", "robust"}
        ``"delta"``: multinomial events on each day (the infinitesimal jackknife of R ``survfit`` when there is no late
        entry, Greenwood's formula when there is one cause). ``"aalen"``: that of R ``cmprsk::cuminc``. ``"robust"``:
        the infinitesimal jackknife clustered on the person (on ``cluster=``; always with survey or ipw weights).

    Returns
    -------
    Estimate[IncidenceDetails]
        One term per group, cause and horizon: labels ``outcome`` (cause), ``group``, ``horizon``; support ``n_persons,
        n_events``; scale "cloglog" (intervals symmetric on log(-log(1 - F))). The law is a Covariance over all causes
        and horizons of a group; groups are independent unless clusters are shared. ``details.curves``,
        ``details.band(conf_type=)``.

    Raises
    ------
    DataError
        PMG-SPELLS, PMG-CAUSE, PMG-HORIZON-TYPE, PMG-OPTION, PMG-EVENT-THEN-SPELL.
    InferenceError
        PMG-HORIZON, PMG-EMPTY-RISK-SET, PMG-NEED-SPELLS, PMG-VARIANCE.

    Warns
    -----
    PmgEvalWarning
        PMG-FEW-AT-RISK, PMG-EMPTY-RISK-SET.

    Notes
    -----
    Assumes: (1) independent censoring within groups; (2) causes that exclude each other, each spell with its first one;
    (3) entry independent of the risk. A lower incidence can come from more deaths: look at all causes together.

    When not to use: to compare causes of *hazard* (a treatment that only lowers recidivism also raises the share who
    die without it); there the cause-specific hazards speak.

    Status, exact limits and the refusal of horizons beyond follow-up are those of :func:`kaplan_meier`. Ties are
    counted, never broken at random.

    Deviations: R ``survfit`` uses the infinitesimal jackknife with late entry, too; that is ``variance="robust"``.
    R's default interval is "log" (``details.band(conf_type="log")``).

    References
    ----------
    Aalen and Johansen (1978), Scandinavian Journal of Statistics 5, 141-150. Aalen (1978), doi:10.1214/aos/1176344247.
    Geskus (2011), doi:10.1111/j.1541-0420.2010.01420.x.

    Examples
    --------
    >>> import pandas as pd
    >>> from pmg_eval import recidivism
    >>> from pmg_eval.panel import Spells
    >>> df = pd.DataFrame({"id": range(5), "days": [40, 40, 100, 300, 365], "end": [1, 1, 1, 0, 0],
    ...                    "why": ["recidivism", "death", "recidivism", None, None]})
    >>> spells = Spells(df, person="id", exit="days", event="end", cause="why")
    >>> found = recidivism.cumulative_incidence(spells, horizons=300)
    >>> found.terms["outcome"].tolist(), found.values.round(6).tolist()
    (['death', 'recidivism'], [0.2, 0.4])
    """
    need_option("variance", variance, get_args(Variance))
    need_causes(cause)
    table = risk_table(data)
    chosen = [place for kind in interest_of(table, cause, together=False) for place in kind]
    begin = need_start(start, table.time_unit)
    times = _horizons.resolve(horizons, table.time_unit, begin)
    used = variance_for(table, variance, get_args(Variance))
    everything = [[place] for place in range(1, len(table.causes) + 1)]
    shown = [place - 1 for place in sorted(chosen)]
    curves = Curves(table, everything, table.causes, shown, begin, used)
    words = Words(
        "recidivism.cumulative_incidence",
        "cumulative incidence",
        _ASSUMPTIONS,
        (*_REFERENCES, *([_ROBUST] if used == "robust" else [])),
    )
    found = fit(curves, times, words)
    details = IncidenceDetails(found.groups, used, table.time_unit, begin, curves.df, keepable(curves))
    return replace(found.estimate, details=details)
