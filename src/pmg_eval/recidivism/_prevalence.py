"""Prevalence: the plain share with the event within a follow-up time that everybody completed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import Covariance, Estimate, Provenance, make_terms
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Spells
from pmg_eval.recidivism import _horizons
from pmg_eval.recidivism._counts import Counts
from pmg_eval.recidivism._door import need_causes, one_label
from pmg_eval.recidivism._fit import options_of
from pmg_eval.recidivism._horizons import Horizon
from pmg_eval.recidivism._risk import RiskTable, interest_of, risk_table
from pmg_eval.recidivism._robust import cluster_covariance

_FEW_PERSONS = 5
_MOST_TERMS = 20_000
_ASSUMPTIONS = (
    "everybody was followed for the whole time",
    "those who died or left before had no event in that time: they count as without",
)
_REFERENCES = ("10.1080/01621459.1927.10502953",)  # Wilson (1927)


@dataclass(frozen=True, eq=False)
class PrevalenceDetails:
    """The numbers behind :func:`prevalence`.

    Attributes
    ----------
    table : DataFrame
        ``group, horizon, n_persons, n_events, n_competing, share_competing``: those who left by another cause before
        the horizon count as without event.
    groups : DataFrame
        ``group`` (and its columns), ``n_persons``.
    time_unit : str
    """

    table: pd.DataFrame
    groups: pd.DataFrame
    time_unit: str


def prevalence(
    data: Spells | Counts, *, horizon: Horizon | Sequence[Horizon], cause: str | Sequence[str] | None = None
) -> Estimate[PrevalenceDetails]:
    r"""Share with the event within a follow-up time that everybody completed (recidivism prevalence).

    .. math:: \hat\pi(\tau)=\frac1n\sum_i1\{T_i\le\tau\},

    a share between 0 and 1; with weights :math:`\sum w_i1\{T_i\le\tau\}/\sum w_i`.

    Parameters
    ----------
    data : Spells or Counts
        One spell per person, from the index date on.
    horizon : int, "2y", or list of them
        Follow-up time in the unit of the data; "2y" is 730 days, 104 weeks, 24 months or 2 years.
    cause : str or list of str, optional
        The event; a list counts as one event. Compulsory when there are several causes.

    Returns
    -------
    Estimate[PrevalenceDetails]
        One term per group and horizon: labels ``outcome`` (cause), ``group``, ``horizon``; support ``n_persons,
        n_events``; interval "wilson" (with survey weights or clusters Wald on the logit scale). The law is a Covariance
        with blocks over the horizons of a group, robust (over groups, too) with weights or clusters.

    Raises
    ------
    DataError
        PMG-SPELLS, PMG-CAUSE, PMG-HORIZON-TYPE.
    DesignError
        PMG-LATE-ENTRY.
    InferenceError
        PMG-OPEN-WINDOW: somebody was censored before the horizon without an event.

    Notes
    -----
    Assumes: (1) complete follow-up: an open window is an error, because leaving the censored out and counting them as
    without event are both wrong; (2) those who died or emigrated before the horizon count as without event: their
    share stands in ``details.table`` and in the notes.

    When not to use: follow-up of different length (:func:`kaplan_meier`), many deaths
    (:func:`cumulative_incidence` gives the same number with complete follow-up, and keeps the causes apart).

    Where nobody or everybody has had the event there is an interval (Wilson) but no standard error, so contrasts with
    such a group have none.

    References
    ----------
    Wilson (1927), doi:10.1080/01621459.1927.10502953. Brown, Cai and DasGupta (2001), doi:10.1214/ss/1009213286.

    Examples
    --------
    >>> import pandas as pd
    >>> from pmg_eval import recidivism
    >>> from pmg_eval.panel import Spells
    >>> df = pd.DataFrame({"id": range(4), "days": [100, 730, 730, 800], "new": [1, 0, 0, 1]})
    >>> spells = Spells(df, person="id", exit="days", event="new")
    >>> recidivism.prevalence(spells, horizon="2y").to_frame()[["estimate", "conf_low", "conf_high"]].round(4)
       estimate  conf_low  conf_high
    0      0.25    0.0456     0.6994
    """
    need_causes(cause)
    table = risk_table(data)
    if cause is None and len(table.causes) > 1:
        listed = ", ".join(table.causes)
        raise DataError("PMG-CAUSE", f"there are several causes ({listed}): which is the event?", fix="cause=")
    if table.late_entry:
        raise DesignError(
            "PMG-LATE-ENTRY",
            "some enter after day 0: a plain share has no risk set for them",
            fix="kaplan_meier or cumulative_incidence",
        )
    interest = interest_of(table, cause, together=True)[0]
    times = _horizons.resolve(horizon, table.time_unit, None)
    if times is None:
        raise DataError("PMG-HORIZON-TYPE", "horizon=None: the follow-up time must be given", fix='for example "2y"')
    if len(times) * len(table.groups) > _MOST_TERMS:
        raise DesignError("PMG-TOO-MANY", "too many terms for one covariance", fix="fewer horizons")
    _refuse_open(table, interest, times)
    return _estimate(table, interest, times)


def _numbers(table: RiskTable, columns: Sequence[int], times: Sequence[int], *, before: bool = False) -> Any:
    """Exits (G, H) by some states up to (or before) the horizons, as numbers."""
    cells = table.cells
    chosen = cells.exits[:, list(columns)].sum(axis=1)
    by = [cells.day < time if before else cells.day <= time for time in times]
    sums = [np.bincount(cells.group, weights=chosen * early, minlength=len(table.groups)) for early in by]
    return np.rint(np.column_stack(sums)).astype(np.int64)


def _refuse_open(table: RiskTable, interest: Sequence[int], times: Sequence[int]) -> None:
    censored = _numbers(table, [0], times, before=True)
    if not censored.any():
        return
    where = [
        f"{label}: {number:,} before {time}"
        for label, row in zip(table.labels, censored, strict=True)
        for time, number in zip(times, row, strict=True)
        if number
    ]
    early = table.cells.day[table.cells.exits[:, 0] > 0].min()
    raise InferenceError(
        "PMG-OPEN-WINDOW",
        f"{int(censored.max(axis=1).sum()):,} were not followed to the horizon and had no event",
        where=where,
        fix=f"kaplan_meier or cumulative_incidence (they handle it), or a horizon of at most {early} {table.time_unit}",
    )


def _estimate(table: RiskTable, interest: Sequence[int], times: list[int]) -> Estimate[PrevalenceDetails]:
    spells = table.spells
    n_events = _numbers(table, interest, times)
    n_groups, width = n_events.shape
    persons = np.repeat(table.n_persons[:, None], width, axis=1)
    df = None
    robust = spells is not None and spells.needs_robust
    if robust and spells is not None:
        values, matrix = _weighted(spells, interest, times, n_groups)
        df = spells.n_clusters - 1.0 if spells.cluster_columns else None
    else:
        values = n_events / persons
        matrix = _binomial(values, persons)
    flat = ((n_events == 0) | (n_events == persons)).ravel()
    matrix[flat] = np.nan
    matrix[:, flat] = np.nan
    outcome = one_label([table.causes[place - 1] for place in interest] or ["event"])
    details = _details(table, interest, times, n_events, persons)
    columns: dict[str, Any] = {"outcome": outcome, "group": details.table["group"].array}
    if not table.group_columns:
        del columns["group"]
    columns |= {name: details.table[name].array for name in ("horizon", "n_persons", "n_events")}
    columns["interval"] = np.where(flat | (not robust), "wilson", "wald")
    columns["method"] = "share, robust variance" if robust else "share, binomial variance"
    columns["status"] = _status(flat, (persons < _FEW_PERSONS).ravel())
    return Estimate(
        values.ravel(),
        make_terms(columns, values.size),
        Covariance(matrix, df=df),
        details,
        scale="logit",
        provenance=_provenance(table, outcome, times, float(details.table["share_competing"].max())),
    )


def _status(flat: Any, small: Any) -> list[str]:
    said = (
        ("nobody or everybody had the event: no standard error", flat),
        (f"fewer than {_FEW_PERSONS} persons", small),
    )
    return ["; ".join(text for text, mask in said if mask[row]) for row in range(len(flat))]


def _details(
    table: RiskTable, interest: Sequence[int], times: list[int], n_events: Any, persons: Any
) -> PrevalenceDetails:
    others = [place for place in range(1, len(table.causes) + 1) if place not in interest]
    left = _numbers(table, others, times) if others else np.zeros_like(n_events)
    n_groups, width = n_events.shape
    shown = {
        "group": table.groups["group"].array[np.repeat(np.arange(n_groups), width)],
        "horizon": np.tile(np.array(times, dtype=np.int64), n_groups),
        "n_persons": persons.ravel(),
        "n_events": n_events.ravel(),
        "n_competing": left.ravel(),
        "share_competing": (left / persons).ravel(),
    }
    groups = table.groups.assign(n_persons=table.n_persons)
    return PrevalenceDetails(pd.DataFrame(shown), groups, table.time_unit)


def _binomial(values: Array, persons: Any) -> Array:
    r"""Cov (G H, G H): :math:`\pi(t)(1-\pi(u))/n` for t <= u within a group."""
    n_groups, width = values.shape
    matrix = np.zeros((values.size, values.size))
    for group in range(n_groups):
        share = values[group]
        low, high = np.minimum.outer(share, share), np.maximum.outer(share, share)
        block = slice(group * width, (group + 1) * width)
        matrix[block, block] = low * (1 - high) / persons[group, 0]
    return matrix


def _weighted(spells: Spells, interest: Sequence[int], times: Sequence[int], n_groups: int) -> tuple[Array, Array]:
    """Weighted shares (G, H), and their covariance from the sums of linearised residuals over clusters."""
    rows = spells.rows()
    frequency = spells.weight_kind == "frequency" and not spells.cluster_columns
    order = np.argsort(rows.group, kind="stable")
    bounds = np.searchsorted(rows.group[order], np.arange(n_groups + 1))
    happened = np.isin(rows.state, list(interest))
    shares = np.empty((n_groups, len(times)))
    clusters, residuals = [], []
    for group in range(n_groups):
        mine = order[bounds[group] : bounds[group + 1]]
        weight = rows.weight[mine]
        yes = happened[mine, None] & (rows.leave[mine, None] <= np.array(times))
        shares[group] = weight @ yes / weight.sum()
        factor = (np.sqrt(weight) if frequency else weight) / weight.sum()
        clusters.append(rows.cluster[mine])
        residuals.append(factor[:, None] * (yes - shares[group]))
    return shares, cluster_covariance(clusters, residuals, len(times))


def _provenance(table: RiskTable, outcome: str, times: list[int], competing: float) -> Provenance:
    notes = list(table.notes)
    if competing > 0:
        notes.append(
            f"up to {competing:.1%} of a group left by another cause before the horizon and count as without event; "
            "cumulative_incidence keeps the causes apart"
        )
    return Provenance(
        estimator="recidivism.prevalence",
        options={"cause": outcome, "horizon": [int(time) for time in times], **options_of(table)},
        data=table.fingerprint,
        assumptions=_ASSUMPTIONS,
        references=_REFERENCES,
        notes=tuple(notes),
    )
