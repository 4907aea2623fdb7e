"""Prediction intervals for the effects of one area, leaving out one earlier period at a time (jackknife+)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import Provenance, Test
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._conformal_panel import OneArea, gaps, held_out, one_area, prepared, quietly
from pmg_eval.resample._conformal_plan import attainable
from pmg_eval.resample._door import estimated, need_estimator, need_jobs, need_share
from pmg_eval.resample._options import by_unit
from pmg_eval.resample._tasks import run
from pmg_eval.typing import Estimator

Quantile = Literal["interpolated", "order"]
REFERENCE = "10.1214/20-AOS1965"
FEWEST = 3


def jackknife_plus(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    unit: Any = None,
    level: float = 0.95,
    conservative: bool = False,
    quantile: Quantile = "order",
    anticipation: int = 0,
    n_jobs: int = 1,
) -> Test:
    r"""Intervals for the effects of one treated area from the errors on earlier periods that were left out of the fit.

    Each period s before the start is left out of the fit and predicted as if it were treated: its error is
    :math:`e_s`, and the gap of treated period t from the same fit is :math:`\hat\tau_t^{(-s)}`. With
    :math:`\alpha=1-level` and n periods before the start,

    .. math:: \Big[Q_{\alpha/2}\{\hat\tau_t^{(-s)}-|e_s|\},\ Q_{1-\alpha/2}\{\hat\tau_t^{(-s)}+|e_s|\}\Big],

    and with ``conservative`` :math:`[\min_s\hat\tau_t^{(-s)}-Q_{1-\alpha}\{|e_s|\},\ \max_s\hat\tau_t^{(-s)}+
    Q_{1-\alpha}\{|e_s|\}]`.

    Parameters
    ----------
    estimator : callable
        ``estimator(panel, outcome) -> Estimate`` with a gap per unit and treated period: ``synth.classic``,
        ``synth.sdid``, ``did.imputation``; bind options with ``functools.partial``.
    panel, outcome : Panel, str
    unit : label, optional
        The treated area; needed when several are treated. The others are left out.
    level : float
    conservative : bool
        The wider interval (jackknife-minmax), which is safe for unstable fits.
    quantile : {"order", "interpolated"}
        ``"order"``: the order statistics for which the theorem holds; refused when there are too few periods for the
        level. ``"interpolated"``: between order statistics (R ``quantile`` type 7, as augsynth), without a guarantee.
    anticipation : int
        Periods before the start that are left out altogether.
    n_jobs : int
        Processes.

    Returns
    -------
    Test
        ``estimate, conf_low, conf_high`` of the mean effect over treated periods (unit of the outcome); ``details`` has
        ``period, event_time, estimate, conf_low, conf_high, p_value`` per treated period. p-values are those of the
        order statistics, whatever ``quantile``: multiples of 2/(n + 1), or 1/(n + 1) with ``conservative``.
        ``statistic`` is the estimate.

    Raises
    ------
    InferenceError
        PMG-UNATTAINABLE (``quantile="order"``), PMG-NO-GAPS, PMG-SCALE.
    DesignError
        PMG-ONE-AREA, PMG-SHORT-PRE (fewer than three periods before the start), PMG-NO-TREATED, PMG-NO-DONORS; what the
        estimator refuses.
    DataError
        PMG-UNIT, PMG-OPTION, PMG-LEVEL.

    Notes
    -----
    Assumes: (1) without the programme, errors of the treated periods are exchangeable with those of the earlier ones
    (probe: plot of the gaps; errors that grow towards the start speak against it); (2) the estimator treats periods
    alike. Then intervals of single periods with ``quantile="order"`` cover at least 1 - alpha (Barber et al., with
    alpha/2 on each side); interpolated ones have no such guarantee, least with few periods: ``note`` says what ranks
    can show. The mean effect is given the errors of single periods, which is wide when errors are independent and about
    right when they persist.

    When not to use: with serially correlated gaps and few periods (too narrow: ``resample.conformal`` with blocks, or
    ``resample.placebo``).

    References
    ----------
    Barber, Candès, Ramdas and Tibshirani (2021), Annals of Statistics, doi:10.1214/20-AOS1965.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import resample, synth
    >>> rng = np.random.default_rng(0)
    >>> rate = rng.normal(10, 1, (9, 42))
    >>> rate[0] = rate[1:4].mean(axis=0) + rng.normal(0, 0.1, 42) + 3 * (np.arange(42) >= 40)
    >>> table = pd.DataFrame([(i, t, 40 if i == 0 else 0, rate[i, t]) for i in range(9) for t in range(42)],
    ...                      columns=["area", "year", "start", "rate"])
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> found = resample.jackknife_plus(synth.classic, panel, "rate")
    >>> bool(found.conf_low < 3 < found.conf_high), round(found.p_value, 4)
    (True, 0.0488)
    """
    _check(quantile, level)
    need_estimator(estimator)
    need_jobs(n_jobs)
    area = one_area(panel, outcome, unit, anticipation)
    before: list[int] = np.flatnonzero(~area.after).tolist()
    _need_periods(len(before), level, conservative, quantile, area)
    own = gaps(estimated(by_unit(estimator), area.panel, outcome), [area.unit], area.codes, area.start, before=False)[0]
    refit, _ = prepared(estimator)
    found = np.array(run(lambda period: _without(refit, area, period), before, n_jobs, "earlier periods"))
    errors, gap = np.abs(found[:, -1]), found[:, :-1]
    gap = np.column_stack([gap, gap.mean(axis=1)])  # the last column is the mean effect
    low, high, p_value = _bounds(gap, errors, 1 - level, conservative, quantile)
    effect = np.append(own[area.after], own[area.after].mean())
    details = pd.DataFrame(
        {
            "period": area.labels(np.flatnonzero(area.after)),
            "event_time": area.codes[area.after] - area.start,
            "estimate": effect[:-1],
            "conf_low": low[:-1],
            "conf_high": high[:-1],
            "p_value": p_value[:-1],
        }
    )
    p_min = (1 if conservative else 2) / (len(before) + 1)
    guaranteed = p_min <= (1 - level) * (1 + 1e-9)
    return Test(
        hypothesis=f"no effect on {outcome!r} in {area.unit}, mean over {len(details)} treated periods",
        statistic=float(effect[-1]),
        p_value=float(p_value[-1]),
        distribution=f"errors of {len(before)} periods before the start, each left out of the fit",
        p_min=min(p_min, 1.0),
        method="jackknife+ over periods" + (", conservative" if conservative else ""),
        note="" if guaranteed else f"{len(before)} periods guarantee no {level:.0%} interval: the bounds interpolate",
        estimate=float(effect[-1]),
        conf_low=float(low[-1]),
        conf_high=float(high[-1]),
        level=level,
        details=details,
        provenance=_provenance(area, level, conservative, quantile, anticipation),
    )


def _check(quantile: object, level: float) -> None:
    if not isinstance(quantile, str) or quantile not in ("interpolated", "order"):
        raise DataError("PMG-OPTION", f"unknown quantile={quantile!r}", fix='"interpolated" or "order"')
    need_share("level", level, example="0.95")


def _need_periods(count: int, level: float, conservative: bool, quantile: str, area: OneArea) -> None:
    if count < FEWEST:
        what = f"{area.unit} is observed in {count} periods before its start, and one of them is left out at a time"
        raise DesignError("PMG-SHORT-PRE", what, fix="earlier periods, or resample.placebo")
    sides = 1 if conservative else 2
    if quantile == "order" and sides / (count + 1) > (1 - level) * (1 + 1e-9):
        needed = int(np.ceil(sides / (1 - level) - 1e-9)) - 1
        raise InferenceError(
            "PMG-UNATTAINABLE",
            f"order statistics for level={level} need {needed} periods before the start, and there are {count}: "
            f"p_min = {sides / (count + 1):.3g}",
            fix=f"level={attainable(sides / (count + 1))} or less; conservative=True; resample.placebo (areas)",
        )


def _without(estimator: Estimator, area: OneArea, period: int) -> list[float]:
    """Gaps of the treated periods, and of one earlier period that was not fitted (last)."""
    panel, codes, start = held_out(area, period)
    found = gaps(quietly(estimator, panel, area.outcome), [area.unit], codes, start, before=False)[0]
    share = np.append(area.share[area.after], 1.0)
    values: list[float] = (found[codes >= start] / share).tolist()
    return values


def _bounds(
    gap: Array, errors: Array, alpha: float, conservative: bool, quantile: Quantile
) -> tuple[Array, Array, Array]:
    """Ends (k,) and p-values (k,) from gaps (n, k) and absolute errors (n,)."""
    count = len(errors)
    spread = errors[:, None]
    if conservative:
        wide = _upper(spread, 1 - alpha, quantile)
        nearest = np.maximum(gap.min(axis=0), -gap.max(axis=0))  # distance of zero from the range of the gaps
        p_value = np.where(nearest > 0, (1 + (spread >= nearest).sum(axis=0)) / (count + 1), 1.0)
        return gap.min(axis=0) - wide, gap.max(axis=0) + wide, p_value
    low, high = gap - spread, gap + spread
    beyond = np.minimum((low <= 0).sum(axis=0), (high >= 0).sum(axis=0))
    p_value = np.minimum(2 * (1 + beyond) / (count + 1), 1.0)
    return -_upper(-low, 1 - alpha / 2, quantile), _upper(high, 1 - alpha / 2, quantile), p_value


def _upper(values: Array, share: float, quantile: Quantile) -> Array:
    if quantile == "interpolated":
        return np.quantile(values, share, axis=0)
    rank = int(np.ceil(share * (len(values) + 1) - 1e-9))
    return np.asarray(np.sort(values, axis=0)[rank - 1])


def _provenance(area: OneArea, level: float, conservative: bool, quantile: str, anticipation: int) -> Provenance:
    return Provenance(
        estimator="resample.jackknife_plus",
        options={
            "outcome": area.outcome,
            "unit": str(area.unit),
            "level": level,
            "conservative": conservative,
            "quantile": quantile,
            "anticipation": anticipation,
        },
        data=area.panel.fingerprint,
        assumptions=(
            "without the programme, errors of treated periods are exchangeable with those of earlier periods",
            "the fit treats all periods alike",
        ),
        references=(REFERENCE,),
    )
