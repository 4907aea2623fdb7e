"""Areas with too few events for a test: what can be said of them all the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._area_effects import AreaEffects
from pmg_eval.resample._placebo_law import Placebos, Start, starts_of

LEVEL = 0.95
NO_EVENT = "no event after the start: a ratio of zero has no interval on the log scale; see details.rare"
UNDER_ONE = "under 1 event a period before the start: descriptive only, no test (details.rare); pool areas or years"
UNDER_FIVE = "under 5 events a period before the start: little power"
NO_CELL_EVENT = "no event in this period: a ratio of zero has no interval on the log scale"
COLUMNS = [
    *("unit", "events_before", "events_after", "expected_after", "rate_ratio", "exact_low", "exact_high"),
    *("overdispersed_low", "overdispersed_high", "dispersion"),
]


def status_of(effects: AreaEffects, panel: Panel, outcome: str, p_min: Array) -> tuple[list[str], Array]:
    """What a reader must know about an area: few or no events. Below one event a period nothing is tested."""
    status, p_min = list(effects.status), p_min.copy()
    if effects.scale != "log":
        return status, p_min
    mean = _events(effects, panel, outcome).mean_before
    for row, value in enumerate(effects.values):
        if np.isnan(value):
            continue
        if value == 0:
            status[row], p_min[row] = NO_EVENT, 1.0
        elif mean[row] < 1:
            status[row], p_min[row] = UNDER_ONE, 1.0
        elif mean[row] < 5:
            status[row] = UNDER_FIVE
    return status, p_min


@dataclass(frozen=True, eq=False)
class _Events:
    """Counts (k,) before and after the start, and the growth that the comparison areas had."""

    before: Array
    after: Array
    growth: Array
    mean_before: Array


def _events(effects: AreaEffects, panel: Panel, outcome: str) -> _Events:
    r"""Counts of areas; growth :math:`\sum_{after}E_t\lambda_t/\sum_{before}E_t\lambda_t` at comparison rates."""
    wide = panel.wide(outcome)
    seen = np.isfinite(wide)
    exposure = np.ones_like(wide) if panel.exposure is None else panel.wide_rows(panel.exposure)
    clean = ~np.isfinite(panel.cohort) & (panel.contaminated_from > panel.time_codes[-1])
    people = np.where(seen, np.nan_to_num(exposure), 0.0)
    counts = np.where(seen, wide, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = counts[clean].sum(axis=0) / people[clean].sum(axis=0)
        own = panel.units.get_indexer(effects.units)
        later = panel.time_codes >= effects.cohort[:, None]
        expected = people[own] * np.nan_to_num(rate)
        growth = np.where(later, expected, 0.0).sum(axis=1) / np.where(later, 0.0, expected).sum(axis=1)
        before = np.where(later, 0.0, counts[own]).sum(axis=1)
        mean = before / (~later & seen[own]).sum(axis=1)
    return _Events(before, np.where(later, counts[own], 0.0).sum(axis=1), growth, mean)


def rare_table(effects: AreaEffects, pools: Mapping[Start, Placebos], panel: Panel, outcome: str) -> pd.DataFrame:
    r"""Areas with fewer than one event a period before the start, or none after it: ratios of counts.

    With B events before, A after and growth q of the comparison areas (taken as known), A given A + B is binomial with
    odds :math:`\rho q`. ``exact_low, exact_high`` is the interval of Clopper and Pearson. Counts vary more than that:
    the placebo areas' own counts give an intra-class correlation r (Pearson's statistic equal to its degrees of
    freedom, Williams 1982), and the second interval inverts the beta-binomial with the same mean and ``dispersion``
    :math:`1+(A+B-1)r`; r = 0 gives the exact interval, and it is never inside that.
    """
    if effects.scale != "log":
        return pd.DataFrame(columns=COLUMNS)
    events = _events(effects, panel, outcome)
    whole = (events.before == np.rint(events.before)) & (events.after == np.rint(events.after))
    chosen = whole & np.isfinite(events.growth) & (events.growth > 0)
    chosen &= (events.mean_before < 1) | (events.after == 0)
    spread = {start: _correlation(pool, panel, outcome) for start, pool in pools.items()}
    rows = []
    for row, start in enumerate(starts_of(effects)):
        if not chosen[row]:
            continue
        before, after, growth = int(events.before[row]), int(events.after[row]), float(events.growth[row])
        r = spread.get(start, max(spread.values(), default=0.0))
        expected = before * growth
        rows.append(
            (
                effects.units[row],
                before,
                after,
                expected,
                after / expected if expected > 0 else np.nan,
                *ratio_interval(after, before, growth, 0.0),
                *ratio_interval(after, before, growth, r),
                1 + max(before + after - 1, 0) * r,
            )
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _correlation(pool: Placebos, panel: Panel, outcome: str) -> float:
    events = _events(pool.effects, panel, outcome)
    return intraclass(events.after, events.before + events.after, events.growth / (1 + events.growth))


def intraclass(after: Array, total: Array, share: Array) -> float:
    r"""Intra-class correlation r of A given A + B: :math:`\sum(A-np)^2/(np(1-p)(1+(n-1)r))=J`, at least 0."""
    from scipy.optimize import brentq

    known = (total > 1) & np.isfinite(share) & (share > 0) & (share < 1)
    after, total, share = after[known], total[known], share[known]
    square = (after - total * share) ** 2 / (total * share * (1 - share))

    def excess(r: float) -> float:
        return float((square / (1 + (total - 1) * r)).sum() - len(square))

    if len(square) == 0 or excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, 1.0, xtol=1e-14)) if excess(1.0) < 0 else 1.0


def ratio_interval(after: int, before: int, growth: float, r: float, level: float = LEVEL) -> tuple[float, float]:
    """Rate ratio to which A of A + B events belong, by inverting binomial (r = 0) or beta-binomial tails.

    Beta-binomial counts pile up at 0 and at A + B, which can pull an end inwards: never inside the exact interval.
    """
    total = after + before
    if total == 0:
        return 0.0, np.inf
    ends = [_share_interval(after, total, each, (1 - level) / 2) for each in (0.0, r)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    return low / (1 - low) / growth, (high / (1 - high) / growth if high < 1 else np.inf)


def _share_interval(after: int, total: int, r: float, tail: float) -> tuple[float, float]:
    from scipy import special
    from scipy.optimize import brentq

    if r <= 1e-8:  # closer to zero the beta-binomial is nothing but rounding
        low = special.betaincinv(after, total - after + 1, tail) if after > 0 else 0.0
        high = special.betaincinv(after + 1, total - after, 1 - tail) if after < total else 1.0
        return float(low), float(high)
    from scipy.stats import betabinom

    scale = (1 - min(r, 1 - 1e-9)) / min(r, 1 - 1e-9)
    tiny = 1e-10

    def upper(p: float) -> float:  # P(X >= A), rising in p
        return float(betabinom.sf(after - 1, total, p * scale, (1 - p) * scale)) - tail

    def lower(p: float) -> float:  # P(X <= A), falling in p
        return float(betabinom.cdf(after, total, p * scale, (1 - p) * scale)) - tail

    low = float(brentq(upper, tiny, 1 - tiny, xtol=1e-13)) if after > 0 and upper(tiny) < 0 else 0.0
    high = float(brentq(lower, tiny, 1 - tiny, xtol=1e-13)) if after < total and lower(1 - tiny) < 0 else 1.0
    return low, high
