"""Is an effect small enough not to matter? Two one-sided tests against a declared margin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Covariance, Draws, Estimate
from pmg_eval.estimate.inference import _smallest_p, guard_of
from pmg_eval.estimate.scales import SCALES
from pmg_eval.estimate.stored import from_covariance, stored_of
from pmg_eval.estimate.support_intervals import RULES
from pmg_eval.numerics.rows import Array
from pmg_eval.resample._door import is_number, need_given, need_share

Margin = float | tuple[float, float]
EQUIVALENT, SMALL, DIFFERENT = "equivalent", "different but within the margin", "different"
INCONCLUSIVE, NOT_POSSIBLE = "inconclusive", "not possible"
_ROUNDING = 1 + 1e-12


def equivalence(estimate: Estimate[Any], margin: Margin | None = None, *, alpha: float = 0.05) -> pd.DataFrame:
    r"""Whether each effect lies within a margin that was declared to be irrelevant (TOST).

    Two one-sided tests, :math:`H_{low}:\theta\le m_{low}` and :math:`H_{high}:\theta\ge m_{high}`, both at level
    alpha; their larger p is the p-value of "the effect may be outside the margin". It is at most alpha exactly when the
    :math:`1-2\alpha` interval lies inside the margin.

    Parameters
    ----------
    estimate : Estimate
        Effects, one test per term.
    margin : float or (low, high)
        Largest effect that would not matter, in the unit of the estimate. For differences a number m means (-m, m).
        For ratios 0.9 (or 1/0.9) means (0.9, 1/0.9). It must be declared before looking at the estimate; there is no
        default, because "no effect" has no meaning without it.
    alpha : float, default 0.05
        Level of each one-sided test.

    Returns
    -------
    DataFrame
        Labels, ``estimate, margin_low, margin_high``, ``conf_low, conf_high`` (the :math:`1-2\alpha` interval),
        ``p_value`` (of the two one-sided tests together), ``p_difference`` (two-sided, of no effect at all),
        ``smallest_margin`` (the narrowest symmetric margin inside which the interval would fit; for ratios the one
        below 1), ``verdict`` and ``status``. Verdicts:

        - ``"equivalent"``: inside the margin, and no effect is shown;
        - ``"different but within the margin"``: an effect is shown, and it is too small to matter;
        - ``"different"``: an effect is shown, and it may matter;
        - ``"inconclusive"``: neither; the data cannot tell, which is not the same as no effect;
        - ``"not possible"``: no interval at this level; ``status`` says why.

    Raises
    ------
    DataError
        PMG-MARGIN (missing, or it does not contain the value of no effect), PMG-LEVEL (alpha).
    InferenceError
        PMG-NO-NULL (shares and other levels have no value of no effect), PMG-NO-LAW, PMG-STORED-LEVEL (a placebo law
        that was read back from a file).

    Notes
    -----
    Assumes what the interval assumes. A "shown" effect has a two-sided p of at most alpha. Placebo and bootstrap laws:
    the one-sided p is half the two-sided one of the same inversion, so that the duality with the interval is exact; a
    margin is never met where :math:`2\alpha` is below the smallest attainable p.

    When not to use: with a margin chosen after the estimate was seen, or to confirm parallel trends period by period
    (use :func:`pretrend_power` and ``infer.honest``).

    References
    ----------
    Schuirmann (1987), doi:10.1007/BF01068419; Lakens (2017), doi:10.1177/1948550617697177; Bilinski and Hatfield
    (2018), arXiv:1805.03273.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import infer
    >>> law = pe.Covariance(np.diag([0.02, 0.08]) ** 2)
    >>> two = pe.Estimate([0.01, 0.01], pd.DataFrame({"outcome": ["thefts", "assaults"]}), law)
    >>> infer.equivalence(two, 0.05)[["outcome", "p_value", "verdict"]].round(3).values.tolist()
    [['thefts', 0.023, 'equivalent'], ['assaults', 0.309, 'inconclusive']]
    """
    need_given(estimate)
    need_share("alpha", alpha, 0.5)
    scale = SCALES[estimate.scale]
    if np.isnan(scale.null) or estimate.terms["interval"].isin(list(RULES)).any():
        raise InferenceError(
            "PMG-NO-NULL",
            "these terms are levels: there is no value of no effect that they could be equivalent to",
            fix="an effect: contrast(...), or a difference of two terms (map)",
        )
    low, high = _margin(estimate, margin)
    known = _with_law(estimate)
    frame = estimate.to_frame(1 - 2 * alpha)
    two_sided = frame["p_value"].to_numpy(dtype=np.float64)
    interval = frame[["conf_low", "conf_high"]].to_numpy(dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = scale.to(known.values)
        ends = scale.to(np.array([low, high]))
        inside = [_one_sided(known, centre - ends[0]), _one_sided(known, ends[1] - centre)]
        p_value = np.where(np.isnan(two_sided), np.nan, np.maximum(*inside))
        reach = np.abs(scale.to(interval) - scale.null_on_scale()).max(axis=1)
    smallest = np.exp(-reach) if estimate.scale == "log" else reach
    found = frame[[*estimate.labels, "estimate"]].assign(
        margin_low=low,
        margin_high=high,
        conf_low=interval[:, 0],
        conf_high=interval[:, 1],
        p_value=p_value,
        p_difference=two_sided,
        smallest_margin=smallest,
        verdict=_verdicts(p_value, two_sided, interval, alpha),
        status=frame["status"],
    )
    found.attrs.update(alpha=alpha, level=1 - 2 * alpha, margin=[low, high])
    return found


def _margin(estimate: Estimate[Any], margin: Any) -> tuple[float, float]:
    ratio = estimate.scale == "log"
    if margin is None:
        raise DataError(
            "PMG-MARGIN",
            "equivalence needs a margin: the largest effect that would not matter, declared beforehand",
            fix="margin=0.9 for a rate ratio (10 % less or the inverse)" if ratio else "margin= in the outcome's unit",
        )
    if isinstance(margin, tuple | list | np.ndarray):
        ends = [float(value) for value in margin] if all(map(is_number, margin)) else []
    elif not is_number(margin):
        ends = []
    else:
        size = float(margin)
        ends = ([size, 1 / size] if size > 0 else []) if ratio else [-size, size]
        ends = sorted(ends) if ratio else ends
    null = 1.0 if ratio else 0.0
    fits = len(ends) == 2 and np.isfinite(ends).all() and ends[0] < null < ends[1] and (ends[0] > 0 or not ratio)
    if not fits:
        raise DataError(
            "PMG-MARGIN",
            f"margin={margin!r} is no range around {null:g}, the value of no effect",
            fix="(0.9, 1 / 0.9), or 0.9 for short" if ratio else "a positive number, or (low, high) around 0",
        )
    return ends[0], ends[1]


def _with_law(estimate: Estimate[Any]) -> Estimate[Any]:
    if estimate.uncertainty is None:
        raise InferenceError(
            "PMG-NO-LAW", "equivalence needs the law of the error", fix="resample.placebo or pmg_eval.effect_per_area"
        )
    stored = stored_of(estimate)
    if stored is not None and stored.carrier in ("draws", "mixed"):
        raise InferenceError(
            "PMG-STORED-LEVEL",
            "the placebo law behind these intervals is not in the file, so no other test can be had from it",
            fix="equivalence before the result is saved",
        )
    if isinstance(estimate.uncertainty, Covariance) and estimate.uncertainty.bias is not None:
        raise InferenceError(
            "PMG-NO-LAW",
            "shrunken effects have intervals for the worst case of a bias, not the law of an error",
            fix="equivalence of the effects before shrinkage",
        )
    return from_covariance(estimate)


def _one_sided(estimate: Estimate[Any], distance: Array) -> Array:
    """One-sided p (k,) of estimates that lie ``distance`` inside a bound, on the interval's scale."""
    from scipy import special

    scale = SCALES[estimate.scale]
    slope = np.abs(scale.slope(estimate.values))
    law = estimate.uncertainty
    if isinstance(law, Draws):
        half = law.times(np.where(np.isfinite(slope), slope, 1.0)).p_value(distance) / 2
        return np.where(np.isnan(distance), np.nan, np.where(distance > 0, half, 1 - half))
    care = guard_of(estimate, True)
    statistic = distance / (slope * estimate.se * care.factor)
    finite = np.isfinite(care.df)
    tail = np.where(finite, special.stdtr(np.where(finite, care.df, 1.0), -statistic), special.ndtr(-statistic))
    return np.fmax(tail, np.where(np.isnan(tail), np.nan, _smallest_p(estimate) / 2))


def _verdicts(p_value: Array, two_sided: Array, interval: Array, alpha: float) -> Any:
    missing = np.isnan(p_value) | np.isnan(interval).any(axis=1)
    small, shown = p_value <= alpha * _ROUNDING, two_sided <= alpha * _ROUNDING
    return np.select(
        [missing, small & shown, small, shown], [NOT_POSSIBLE, SMALL, EQUIVALENT, DIFFERENT], INCONCLUSIVE
    ).astype(object)


__all__ = ["equivalence"]
