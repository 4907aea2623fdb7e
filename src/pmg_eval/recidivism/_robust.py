r"""The infinitesimal jackknife: how much every spell moves the estimate, summed over clusters.

For spell i in :math:`(e_i,x_i]` with weight :math:`w_i`,

.. math:: \psi_i^k(t)=w_i\Big\{1\{i\text{ has an event of cause }k\text{ by }t\}\frac{\hat S(x_i-)}{Y(x_i)}
          -1\{i\text{ has any event by }t\}\frac{\hat F_k(t)-\hat F_k(x_i)}{Y(x_i)-d(x_i)}
          -\sum_{e_i<s\le x_i\wedge t}\Big[\hat S(s-)\frac{d_k}{Y^2}-\big(\hat F_k(t)-\hat F_k(s)\big)
          \frac{d}{Y(Y-d)}\Big]\Big\}

is the derivative of :math:`\hat F_k(t)` in :math:`\log w_i`. Everything but the two indicators is a difference of
prefix sums, so a horizon costs one pass over the spells. Without late entry and weights :math:`\sum_i\psi_i^2` is
Greenwood's variance; with late entry the two differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pmg_eval.errors import DesignError
from pmg_eval.numerics.groups import group_sum
from pmg_eval.numerics.rows import Array
from pmg_eval.panel._spells import SpellRows
from pmg_eval.recidivism._risk import Curve, Whole

_MOST_VALUES = 100_000_000
_MOST_GRID = 20_000_000


@dataclass(frozen=True, eq=False)
class Prefix:
    """Prefix sums over event days, with a leading zero: P_k, A and Q_k of the formula, and values at the event days."""

    p: Array
    a: Array
    q: Array
    own: Array
    any_: Array
    incidence: Array

    @classmethod
    def of(cls, curve: Curve) -> Prefix:
        mass, events = curve.weight_at_risk, curve.weight_events
        every = events.sum(axis=1)
        left = np.where(curve.survival > 0, mass - every, np.inf)  # nothing happens after S = 0
        step = every / (mass * left)
        return cls(
            p=_padded(np.cumsum(curve.before[:, None] * events / mass[:, None] ** 2, axis=0)),
            a=np.append(0.0, np.cumsum(step)),
            q=_padded(np.cumsum(curve.incidence * step[:, None], axis=0)),
            own=np.append(0.0, curve.before / mass),
            any_=np.append(0.0, 1 / left),
            incidence=_padded(curve.incidence),
        )


def _padded(values: Array) -> Array:
    return np.vstack([np.zeros((1, values.shape[1])), values])


@dataclass(frozen=True, eq=False)
class GroupRows:
    """The spells of one group.

    Attributes
    ----------
    begin, end : (n,) int
        Number of event days up to the start and up to the end of each spell.
    kind : (n,) int
        Which event of interest ends it (1..K); 0 = none.
    weight : (n,) float
        Factor of the row in the sum over clusters.
    cluster : (n,) int
    """

    begin: Whole
    end: Whole
    leave: Whole
    kind: Whole
    weight: Array
    cluster: Whole


def group_rows(
    rows: SpellRows,
    curves: Sequence[Curve],
    interest: Sequence[Sequence[int]],
    *,
    start: int | None,
    frequency: bool,
) -> Iterator[GroupRows]:
    """Split rows by group.

    Frequencies enter as square roots: a row of 3 is three persons whose squares add up, not one of weight 3.
    """
    order = np.argsort(rows.group, kind="stable")
    bounds = np.searchsorted(rows.group[order], np.arange(len(curves) + 1))
    lookup = np.zeros(int(rows.state.max(initial=0)) + 1, dtype=np.int64)
    for number, kind in enumerate(interest, 1):
        lookup[[place for place in kind if place < len(lookup)]] = number
    for group, curve in enumerate(curves):
        mine = order[bounds[group] : bounds[group + 1]]
        if start is not None:
            mine = mine[rows.leave[mine] > start]
        entry = rows.entry[mine] if start is None else np.maximum(rows.entry[mine], start)
        weight = rows.weight[mine]
        yield GroupRows(
            begin=curve.place(entry),
            end=curve.place(rows.leave[mine]),
            leave=rows.leave[mine],
            kind=lookup[rows.state[mine]],
            weight=np.sqrt(weight) if frequency else weight,
            cluster=rows.cluster[mine],
        )


def psi(curve: Curve, rows: GroupRows, times: Sequence[int], causes: Sequence[int]) -> Array:
    """Influence (n, K' H) of the spells of a group on its own terms, causes outermost; already times the weight."""
    sums = Prefix.of(curve)
    place = curve.place(times)
    out = np.empty((len(rows.end), len(causes) * len(place)))
    column = 0
    for k in causes:
        for at in place:
            until = np.minimum(rows.end, at)
            begin = np.minimum(rows.begin, at)
            at_time = sums.incidence[at, k]
            found = -(sums.p[until, k] - sums.p[begin, k])
            found += at_time * (sums.a[until] - sums.a[begin]) - (sums.q[until, k] - sums.q[begin, k])
            happened = (rows.kind > 0) & (rows.end <= at)
            end = rows.end[happened]
            found[happened] -= (at_time - sums.incidence[end, k]) * sums.any_[end]
            own = happened & (rows.kind == k + 1)
            found[own] += sums.own[rows.end[own]]
            out[:, column] = rows.weight * found
            column += 1
    return out


def cluster_covariance(clusters: Sequence[Whole], values: Iterable[Array], width: int) -> Array:
    """Covariance of the terms of all groups (groups outermost) from influence values of rows, summed over clusters.

    Parameters
    ----------
    clusters : one (n_g,) int array per group
        Clusters may reach over groups; their terms are then correlated.
    values : one (n_g, width) array per group

    Raises
    ------
    DesignError
        PMG-TOO-MANY: more clusters x terms than fit into memory.
    """
    total = np.zeros((len(clusters) * width, len(clusters) * width))
    n_codes = 1 + max(int(codes.max(initial=-1)) for codes in clusters)
    shared = _shared(clusters, n_codes)
    if shared and n_codes * len(total) > _MOST_VALUES:
        raise DesignError(
            "PMG-TOO-MANY",
            f"{n_codes:,} clusters that reach over groups times {len(total):,} terms",
            fix="fewer horizons, or groups one by one",
        )
    sums = np.zeros((n_codes if shared else 0, len(total)))
    for number, (codes, rows) in enumerate(zip(clusters, values, strict=True)):
        block = slice(number * width, (number + 1) * width)
        if shared:
            sums[:, block] = _cluster_sums(codes, rows, n_codes)
            continue
        names, place = np.unique(codes, return_inverse=True)
        if len(names) < len(codes):
            rows = _cluster_sums(np.asarray(place).ravel(), rows, len(names))
        total[block, block] = rows.T @ rows
    return np.asarray(sums.T @ sums) if shared else total


def _cluster_sums(codes: Whole, values: Array, n: int) -> Array:
    return np.column_stack([group_sum(codes, column, n) for column in values.T])


def _shared(clusters: Sequence[Whole], n_codes: int) -> bool:
    """Whether a cluster has rows in more than one group."""
    seen = np.full(n_codes, -1, dtype=np.int64)
    for number, codes in enumerate(clusters):
        if (seen[codes] >= 0).any():
            return True
        seen[codes] = number
    return False


def robust_covariance(
    curves: Sequence[Curve], groups: Sequence[GroupRows], times: Sequence[int], causes: Sequence[int]
) -> Array:
    """Covariance of all terms: groups outermost, then causes, then horizons."""
    values = (psi(curve, rows, times, causes) for curve, rows in zip(curves, groups, strict=True))
    return cluster_covariance([rows.cluster for rows in groups], values, len(causes) * len(times))


def robust_variance(curve: Curve, rows: GroupRows, cause: int) -> Array:
    """Var (T,) of F_k on every event day; NaN where clusters x days are too many to be held."""
    names, codes = np.unique(rows.cluster, return_inverse=True)
    days = len(curve.day)
    if len(names) == len(rows.cluster):
        return _own_rows(curve, rows, cause)
    if len(names) * days > _MOST_GRID:
        return np.full(days, np.nan)
    codes = np.asarray(codes, dtype=np.int64).ravel()
    out = np.empty(days)
    step = max(1, _MOST_GRID // max(len(rows.cluster), 1))
    for first in range(0, days, step):
        block = curve.day[first : first + step]
        sums = _cluster_sums(codes, psi(curve, rows, [int(day) for day in block], [cause]), len(names))
        out[first : first + step] = (sums**2).sum(axis=0)
    return out


def _own_rows(curve: Curve, rows: GroupRows, cause: int) -> Array:
    r"""Every row is its own cluster: squares expand into prefix sums.

    Ended spells contribute :math:`w(u+F(t)v)` with fixed u and v; those still at risk
    :math:`w(u_0(t)-u_e+F(t)(A(t)-v_e))` with u_e and v_e fixed at their entry.
    """
    sums, days = Prefix.of(curve), len(curve.day)
    base = -sums.p[:, cause] - sums.q[:, cause]
    f, end, begin = curve.incidence[:, cause], rows.end, rows.begin
    event = rows.kind > 0
    u = base[end] - base[begin] + np.where(event, sums.incidence[end, cause] * sums.any_[end], 0.0)
    u += np.where(rows.kind == cause + 1, sums.own[end], 0.0)
    v = sums.a[end] - sums.a[begin] - np.where(event, sums.any_[end], 0.0)
    square = rows.weight**2
    # censored after the t-th event day and before the next one: all event days up to t were survived, so it has ended
    place = np.where(event, end, end + 1)

    def by_end(values: Array) -> Array:
        return np.cumsum(group_sum(place, values, days + 2)[:-1])[1:]

    def at_risk(values: Array) -> Array:
        came = np.cumsum(group_sum(begin, values, days + 1))[1:]
        return came - by_end(values)

    ended = by_end(square * u * u) + 2 * f * by_end(square * u * v) + f * f * by_end(square * v * v)
    ue, ve = base[begin], sums.a[begin]
    alpha = base[1:] + f * sums.a[1:]
    still = alpha**2 * at_risk(square) - 2 * alpha * (at_risk(square * ue) + f * at_risk(square * ve))
    still += at_risk(square * ue * ue) + 2 * f * at_risk(square * ue * ve) + f * f * at_risk(square * ve * ve)
    return np.asarray(np.maximum(ended + still, 0.0))
