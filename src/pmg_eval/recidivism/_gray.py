r"""Gray's test that the cumulative incidence of a cause is the same in K groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import Provenance, Test
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Spells
from pmg_eval.recidivism._counts import Counts
from pmg_eval.recidivism._door import need_causes, one_label
from pmg_eval.recidivism._risk import RiskTable, interest_of, risk_table

_MOST_GROUPS = 200


def gray_test(data: Spells | Counts, *, cause: str | None = None, rho: float = 0.0) -> Test:
    r"""Whether a cause has the same cumulative incidence in all groups, over the whole of follow-up.

    With :math:`R_r=Y_r(1-\hat F_r(t-))/\hat S_r(t-)` the risk set of the subdistribution in group r,

    .. math:: z_i=\sum_t\{1-\hat F^0(t-)\}^\rho\Big\{d_{it}-d_{\cdot t}\frac{R_{it}}{R_{\cdot t}}\Big\},\qquad
              z'\hat V^{-1}z\sim\chi^2_{K-1}.

    Parameters
    ----------
    data : Spells or Counts
        With ``group``; right-censored from day 0 on.
    cause : str, optional
        Compulsory when there are several causes.
    rho : float
        Power of the weight; 0 (default) weighs all times alike, positive values stress early differences.

    Returns
    -------
    Test

    Raises
    ------
    DataError
        PMG-SPELLS, PMG-CAUSE, PMG-OPTION.
    DesignError
        PMG-GROUPS (fewer than two groups, or more than 200), PMG-LATE-ENTRY.
    InferenceError
        PMG-NEED-COUNTS (survey weights or clusters), PMG-SINGULAR.

    Notes
    -----
    Assumes independent censoring within groups. The test is on the incidence, not on the hazard: a group in which more
    people die has a lower incidence of recidivism at equal hazards. Ties are handled as in R ``cmprsk::cuminc``, whose
    statistic this is. For single horizons, late entry or weights: ``cumulative_incidence(...).where(horizon=...)
    .test("equal")``.

    References
    ----------
    Gray (1988), doi:10.1214/aos/1176350951.

    Examples
    --------
    >>> import pandas as pd
    >>> from pmg_eval import recidivism
    >>> from pmg_eval.panel import Spells
    >>> df = pd.DataFrame({"id": range(8), "days": [3, 5, 8, 9, 2, 4, 4, 7], "end": [1, 1, 0, 1, 1, 1, 1, 0],
    ...                    "why": ["r", "d", None, "r", "r", "r", "d", None], "sex": list("FFFFMMMM")})
    >>> spells = Spells(df, person="id", exit="days", event="end", cause="why", group="sex")
    >>> print(recidivism.gray_test(spells, cause="r"))
    equal cumulative incidence of r in 2 groups: statistic 0.4369, p = 0.5086 (chi-squared(1))
    """
    from scipy import special

    need_causes(cause)
    _check_rho(rho)
    table = risk_table(data)
    _check(table, cause)
    interest = interest_of(table, cause, together=True)[0]
    score, variance = _score(_grid(table, interest), float(rho))
    rank = int(np.linalg.matrix_rank(variance, hermitian=True)) if np.isfinite(variance).all() else 0
    if rank < len(score):
        raise InferenceError(
            "PMG-SINGULAR", "the scores have no full covariance: a group without events or at risk", fix="fewer groups"
        )
    statistic = float(score @ np.linalg.solve(variance, score))
    name = one_label([table.causes[place - 1] for place in interest])
    return Test(
        hypothesis=f"equal cumulative incidence of {name} in {len(table.groups)} groups",
        statistic=statistic,
        p_value=float(special.chdtrc(len(score), statistic)),
        distribution=f"chi-squared({len(score)})",
        method=f"Gray's test, rho = {float(rho):g}",
        provenance=Provenance(
            estimator="recidivism.gray_test",
            options={"cause": name, "rho": float(rho), "group": [str(column) for column in table.group_columns]},
            data=table.fingerprint,
            assumptions=("independent censoring within groups",),
            references=("10.1214/aos/1176350951",),
            notes=table.notes,
        ),
    )


def _check_rho(rho: object) -> None:
    if isinstance(rho, bool) or not isinstance(rho, int | float | np.number) or not np.isfinite(rho):
        raise DataError("PMG-OPTION", f"rho={rho!r} must be a number", fix="0 weighs all times alike")


def _check(table: RiskTable, cause: object) -> None:
    if cause is None and len(table.causes) > 1:
        raise DataError("PMG-CAUSE", f"there are several causes: {', '.join(table.causes)}", fix="cause=")
    if not 2 <= len(table.groups) <= _MOST_GROUPS:
        raise DesignError(
            "PMG-GROUPS", f"the test compares 2 to {_MOST_GROUPS} groups, not {len(table.groups)}", fix="Spells(group=)"
        )
    if table.late_entry:
        raise DesignError(
            "PMG-LATE-ENTRY",
            "Gray's test is for follow-up from day 0",
            fix='cumulative_incidence(...).where(horizon=...).test("equal")',
        )
    if table.spells is not None and table.spells.needs_robust:
        raise InferenceError(
            "PMG-NEED-COUNTS",
            "Gray's variance has no form with survey weights or clusters",
            fix='cumulative_incidence(...).where(horizon=...).test("equal")',
        )


@dataclass(frozen=True, eq=False)
class _Grid:
    """Numbers (T, G) on the days with any event: at risk, events of the cause, events of other causes."""

    at_risk: Array
    events: Array
    other: Array


def _grid(table: RiskTable, interest: list[int]) -> _Grid:
    cells = table.cells
    others = [place for place in range(1, len(table.causes) + 1) if place not in interest]
    own, other = cells.exits[:, interest].sum(axis=1), cells.exits[:, others].sum(axis=1)
    days = np.unique(cells.day[(own + other) > 0])
    shape = (len(days), len(table.groups))
    at_risk, events, rest = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for group in range(shape[1]):
        block = slice(int(table.bounds[group]), int(table.bounds[group + 1]))
        risk = np.append(table.at_risk[block], 0)
        at_risk[:, group] = risk[np.searchsorted(cells.day[block], days, side="left")]
        happens = np.flatnonzero((own + other)[block] > 0)
        place = np.searchsorted(days, cells.day[block][happens])
        events[place, group], rest[place, group] = own[block][happens], other[block][happens]
    return _Grid(at_risk, events, rest)


def _score(grid: _Grid, rho: float) -> tuple[Array, Array]:
    """Scores (G-1,) and their covariance under equal incidence."""
    risk, events, other = grid.at_risk, grid.events, grid.other
    present = risk > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(present, 1 - (events + other) / risk, 1.0)
        after = np.asarray(np.cumprod(kept, axis=0), dtype=np.float64)
        before = np.vstack([np.ones(risk.shape[1]), after[:-1]])
        steps = np.where(present, before * events / risk, 0.0)
        incidence = np.vstack([np.zeros(risk.shape[1]), np.cumsum(steps, axis=0)[:-1]])
        scale = np.where(present, risk / before, 0.0)
    total: Array = events.sum(axis=1)
    pooled_risk: Array = scale.sum(axis=1)
    pooled: Array = np.cumsum(_ratio(total, pooled_risk))
    pooled_before = np.append(0.0, pooled[:-1])
    weight = (1 - pooled_before) ** rho
    subset = scale * (1 - incidence)
    expected = _ratio(total[:, None] * subset, subset.sum(axis=1)[:, None])
    score = (weight[:, None] * (events - expected)).sum(axis=0)
    hazard = _ratio(total, pooled_risk * (1 - pooled_before))
    variance = np.zeros((risk.shape[1], risk.shape[1]))
    for k in range(risk.shape[1]):
        # influence of group k on all scores: at the time, and through its later incidence
        now = weight[:, None] * scale[:, [k]] * (np.eye(risk.shape[1])[k] - _ratio(scale, pooled_risk[:, None]))
        sofar = np.cumsum(now * hazard[:, None], axis=0)
        later = sofar[-1] - sofar
        variance += _group_part(grid, k, now, later, before[:, k], after[:, k], pooled, total, pooled_risk)
    return score[:-1], variance[:-1, :-1]


def _ratio(above: Any, below: Any) -> Array:
    """0 where nobody is left to share among."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(below > 0, above / below, 0.0))


def _group_part(
    grid: _Grid,
    k: int,
    now: Array,
    later: Array,
    before: Array,
    after: Array,
    pooled: Array,
    total: Array,
    pooled_risk: Array,
) -> Any:
    """Variance of the events in group k times their influence on the scores."""
    risk, other = grid.at_risk[:, k], grid.other[:, k]
    at = (risk > 0) & (total > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(after > 0, (1 - pooled) / after, 0.0)
        finite = np.where(total > 1, 1 - (total - 1) / (pooled_risk * before - 1), 1.0)
        spread = np.where(at, finite * before * total / (pooled_risk * risk), 0.0)
        finite_other = np.where(other > 1, 1 - (other - 1) / (risk - 1), 1.0)
        spread_other = np.where((after > 0) & (other > 0), finite_other * before**2 * other / risk**2, 0.0)
    own = now + (1 - ratio)[:, None] * later
    cross = ratio[:, None] * later
    return (own * spread[:, None]).T @ own + (cross * spread_other[:, None]).T @ cross
