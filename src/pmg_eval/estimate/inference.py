"""From a law of the error to intervals and tests: written once for every estimator."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate.bias import METHOD as BIASED
from pmg_eval.estimate.bias import by_bias, need_one_law
from pmg_eval.estimate.carriers import Covariance, Draws, Influence
from pmg_eval.estimate.guard import Guard, guard, unguarded
from pmg_eval.estimate.kernels import Clustered
from pmg_eval.estimate.nouns import Test
from pmg_eval.estimate.scales import SCALES
from pmg_eval.estimate.stored import NUMBERS, Stored, from_covariance, level_of, stored_of
from pmg_eval.estimate.support_intervals import RULES, check_kinds
from pmg_eval.estimate.terms import REFERENCE, SUPPORT
from pmg_eval.numerics.rows import Array

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate


def check_level(level: object) -> None:
    """Refuse a confidence level outside (0, 1)."""
    if not isinstance(level, float | int | np.number) or isinstance(level, bool) or not 0 < level < 1:
        raise DataError("PMG-LEVEL", f"level={level!r} must lie between 0 and 1", fix="for example 0.95")


def guard_of(estimate: Estimate[Any], guarded: bool) -> Guard:
    """The guard of an estimate, or raw algebra."""
    if estimate.uncertainty is None or not guarded:
        return unguarded(len(estimate))
    return guard(estimate.uncertainty, estimate.terms, estimate.dependence)


def to_frame(estimate: Estimate[Any], level: float | None, guarded: bool) -> pd.DataFrame:
    """See :meth:`Estimate.to_frame`."""
    level = level_of(estimate, level)
    check_level(level)
    stored = stored_of(estimate)
    if stored is None:
        columns = _computed(estimate, level, guarded)
    elif stored.holds(level, guarded):
        columns = stored.columns
    else:
        columns = _at_another_level(estimate, stored, level, guarded)
    frame = estimate.terms[estimate.labels].copy()
    frame["estimate"] = estimate.values
    for name in NUMBERS:
        frame[name] = columns[name]
    for name in SUPPORT:
        if name in estimate.terms:
            frame[name] = estimate.terms[name]
    return frame.assign(method=columns["method"], status=columns["status"])


def _computed(estimate: Estimate[Any], level: float, guarded: bool) -> dict[str, Any]:
    """The columns of :meth:`Estimate.to_frame` that follow from the law of the error."""
    terms = estimate.terms
    numbers: dict[str, Any] = dict.fromkeys(NUMBERS, np.full(len(terms), np.nan))
    status = terms["status"].astype(str).to_numpy(dtype=object)
    method = terms["method"].astype(str).to_numpy(dtype=object)
    if estimate.uncertainty is not None:
        care = guard_of(estimate, guarded)
        numbers = (
            _by_draws(estimate, level) if isinstance(estimate.uncertainty, Draws) else _by_wald(estimate, level, care)
        )
        if isinstance(estimate.uncertainty, Covariance) and estimate.uncertainty.bias is not None:
            numbers |= by_bias(estimate, estimate.uncertainty.bias, level)
        status = np.array([_joined(own, why) for own, why in zip(status, care.reason, strict=True)], dtype=object)
        if _repaired(estimate):
            status = np.array([_joined(own, REPAIRED) for own in status], dtype=object)
        method = np.array([name or _method(estimate, guarded) for name in method], dtype=object)
    _support_rules(estimate, level, numbers)
    silent = ~np.isfinite(estimate.values) | (status == REFERENCE)
    for name in NUMBERS:
        numbers[name] = np.where(silent, np.nan, numbers[name])
    if estimate.uncertainty is not None:
        status = _say_why(estimate, numbers, status, level)
    return {**numbers, "method": method, "status": status}


def _at_another_level(estimate: Estimate[Any], stored: Stored, level: float, guarded: bool) -> dict[str, Any]:
    """Numbers of a saved result at a level (or without the guard) that its file does not have."""
    bare = from_covariance(estimate)
    try:
        lost = stored.unlike(_computed(bare, stored.level, True))
    except DataError as refused:  # an interval from counts without its counts
        lost = refused.what
    if lost:
        raise InferenceError(
            "PMG-STORED-LEVEL",
            f"this result was saved with {stored.level:.4g} intervals; {level:.4g} intervals cannot be had from them: "
            f"{lost}",
            fix=f"level={stored.level:.4g}, or save the result itself at the level that you need",
        )
    found = _computed(bare, level, guarded)
    # What the file remarks (a repaired covariance) still holds where there is an interval as before, or still none.
    alike = np.isnan(found["conf_low"]) == np.isnan(stored.columns["conf_low"])
    return {**found, "status": np.where(alike, stored.columns["status"], found["status"])}


def anticipation_of(estimate: Estimate[Any]) -> int:
    """Periods before the start in which the programme may have worked: they are no pre-treatment periods."""
    return int(estimate.provenance.options.get("anticipation", 0))


REPAIRED = "two-way covariance repaired: negative eigenvalues set to zero"


def _repaired(estimate: Estimate[Any]) -> bool:
    law, kernel = estimate.uncertainty, estimate.dependence
    return isinstance(law, Influence) and isinstance(kernel, Clustered) and kernel.repaired(law)


def _say_why(estimate: Estimate[Any], numbers: dict[str, Array], status: Any, level: float) -> Any:
    """No interval without a reason: a finite estimate whose interval is missing says which."""
    bare = np.isfinite(estimate.values) & ~np.isfinite(numbers["conf_low"]) & (status == "")
    if not bare.any():
        return status
    status = status.copy()
    p_min = _smallest_p(estimate)
    beyond = bare & ((1 - level < p_min * (1 - 1e-12)) | isinstance(estimate.uncertainty, Draws))
    status[beyond] = f"a {level:.0%} interval is not attainable: the smallest p is " + np.array(
        [f"{p:.3g}" for p in p_min[beyond]], dtype=object
    )
    zero = numbers["std_error"] == 0
    status[bare & ~beyond & zero] = "no variation: the standard error is zero"
    status[bare & ~beyond & ~zero] = "no standard error under this variance: some cell has none"
    return status


def _smallest_p(estimate: Estimate[Any]) -> Array:
    """Smallest p that the law can show for each term: of its draws, or of the draws behind its covariance."""
    if isinstance(estimate.uncertainty, Draws):
        return estimate.uncertainty.p_min
    if "p_min" in estimate.terms:
        return np.asarray(estimate.terms["p_min"].to_numpy(dtype=np.float64, na_value=np.nan))
    return np.zeros(len(estimate))


def _joined(own: str, why: str) -> str:
    return "; ".join(part for part in (own, why) if part)


def _method(estimate: Estimate[Any], guarded: bool) -> str:
    if isinstance(estimate.uncertainty, Draws):
        return "draws, by inversion"
    law = estimate.uncertainty
    if isinstance(law, Covariance) and law.bias is not None:
        return BIASED
    kind = "influence" if isinstance(law, Influence) else "covariance"
    if getattr(law, "corrected", False):
        kind = "jackknife"
    suffix = "guard" if guarded else "no small-sample guard"
    return f"{kind}, {estimate.dependence.name}, {suffix}"


def _by_wald(estimate: Estimate[Any], level: float, care: Guard) -> dict[str, Array]:
    """Wald on the estimate's scale with t quantiles."""
    scale = SCALES[estimate.scale]
    with np.errstate(all="ignore"):
        se = estimate.se * care.factor
        slope = np.abs(scale.slope(estimate.values))
        centre = scale.to(estimate.values)
        quantile = t_quantile((1 + level) / 2, care.df)
        low, high = (scale.back(centre + side * quantile * slope * se) for side in (-1, 1))
        if not scale.increasing:
            low, high = high, low
        distance = estimate.values * np.nan if np.isnan(scale.null) else centre - scale.null_on_scale()
        statistic = np.where(slope * se > 0, distance / (slope * se), np.nan)
        p_value = _two_sided_p(statistic, care.df)
        # No variation at all is not certainty: an interval of width zero is not shown.
        flat = ~(se > 0) | np.isnan(low) | np.isnan(high)  # half an interval is none
        # The covariance of a placebo law cannot show what that law could not.
        attainable = _smallest_p(estimate)
        p_value = np.fmax(p_value, np.where(np.isnan(statistic), np.nan, attainable))
        flat |= 1 - level < attainable * (1 - 1e-12)
    return {
        "std_error": se,
        "statistic": statistic,
        "p_value": p_value,
        "conf_low": np.where(flat, np.nan, low),
        "conf_high": np.where(flat, np.nan, high),
        "df": care.df,
    }


def t_quantile(probability: float, df: Array) -> Array:
    """Quantile of t, or of the normal where df is infinite."""
    from scipy import special  # scipy.stats would cost half a second at first use

    finite = np.isfinite(df)
    return np.asarray(
        np.where(finite, special.stdtrit(np.where(finite, df, 1.0), probability), special.ndtri(probability))
    )


def _two_sided_p(statistic: Array, df: Array) -> Array:
    from scipy import special

    size = -np.abs(statistic)
    finite = np.isfinite(df)
    return np.asarray(2 * np.where(finite, special.stdtr(np.where(finite, df, 1.0), size), special.ndtr(size)))


def _by_draws(estimate: Estimate[Any], level: float) -> dict[str, Array]:
    """Inversion of the law of the error, on the estimate's scale."""
    law = estimate.uncertainty
    if not isinstance(law, Draws):
        raise InferenceError("PMG-NO-LAW", "draws expected", fix="report a bug")
    scale = SCALES[estimate.scale]
    with np.errstate(all="ignore"):
        centre = scale.to(estimate.values)
        slope = np.abs(scale.slope(estimate.values))
        # Draws are errors on the natural scale; to first order they are slope times that on the interval's scale.
        scaled = law.times(np.where(np.isfinite(slope), slope, 1.0))
        half = scaled.half_width(level)
        low, high = scale.back(centre - half), scale.back(centre + half)
        if not scale.increasing:
            low, high = high, low
        deviation = centre - scale.null_on_scale()
        deviation = np.where(np.isfinite(deviation), deviation, np.nan)
        p_value = np.where(np.isnan(deviation), np.nan, scaled.p_value(deviation))
        statistic = deviation / np.sqrt(scaled.variance(estimate.dependence))  # 0/0 in a row of reference
        unattainable = ~np.isfinite(half) | ~np.isfinite(centre)  # a ratio of zero is not known exactly
    return {
        "std_error": estimate.se,
        "statistic": statistic,
        "p_value": p_value,
        "conf_low": np.where(unattainable, np.nan, low),
        "conf_high": np.where(unattainable, np.nan, high),
        "df": np.full(len(estimate), np.nan),
    }


def _support_rules(estimate: Estimate[Any], level: float, numbers: dict[str, Array]) -> None:
    """Intervals computed from counts (Wilson, Byar, ...) replace the Wald interval of the terms that name one."""
    names = estimate.terms["interval"].to_numpy()
    check_kinds(names)
    for name in set(names) & set(RULES):
        low, high = RULES[name](estimate.terms, level)
        chosen = names == name
        numbers["conf_low"] = np.where(chosen, low, numbers["conf_low"])
        numbers["conf_high"] = np.where(chosen, high, numbers["conf_high"])


def wald_test(estimate: Estimate[Any], hypothesis: Any, value: Any, guarded: bool) -> Test:
    """See :meth:`Estimate.test`."""
    from scipy import special

    if estimate.uncertainty is None:
        raise InferenceError("PMG-NO-LAW", "a test needs the law of the error", fix="resample.placebo")
    need_one_law(estimate, "joint test")
    words, part, matrix, target = _restriction(estimate, hypothesis, value)
    care = guard_of(part, guarded)
    alone = [why for why in care.reason if why]
    if alone:
        raise InferenceError("PMG-ONE-TREATED", f"no joint test: {alone[0]}", fix="pmg_eval.effect_per_area")
    own = part.cov() * np.outer(care.factor, care.factor)
    cov = matrix @ own @ matrix.T
    q = len(matrix)
    dust = 1e-14 * matrix**2 @ np.diag(own)  # a variance that is nothing but rounding
    if not (np.isfinite(cov).all() and np.isfinite(part.values).all() and (np.diag(cov) > dust).all()):
        raise InferenceError(
            "PMG-NO-SE",
            "a term of the hypothesis has no estimate or no standard error",
            where=sorted(set(part.terms["status"]) - {""}),
            fix="test the terms that have one (where(...)); the column status says why",
        )
    rank = int(
        np.linalg.matrix_rank(cov / np.outer(np.sqrt(np.diag(cov)), np.sqrt(np.diag(cov))), hermitian=True, tol=1e-10)
    )
    if rank < q:
        raise InferenceError(
            "PMG-SINGULAR",
            f"the covariance of the {q} restrictions has rank {rank}: fewer independent units than restrictions",
            fix="test fewer terms (where(...)), or use band()",
        )
    gap = matrix @ part.values - target
    statistic = float(gap @ np.linalg.solve(cov, gap))
    if isinstance(part.uncertainty, Draws):
        return _test_by_draws(words, part.uncertainty, matrix, cov, statistic, estimate)
    df = float(care.df.min())
    if np.isfinite(df):
        p_value = float(special.fdtrc(q, df, statistic / q))
        return _test(words, statistic / q, p_value, f"F({q}, {df:.4g})", estimate, guarded)
    return _test(words, statistic, float(special.chdtrc(q, statistic)), f"chi-squared({q})", estimate, guarded)


def _test_by_draws(
    words: str, law: Draws, matrix: Array, cov: Array, statistic: float, estimate: Estimate[Any]
) -> Test:
    """The same statistic referred to its own draws; one term gives the p-value of its row."""
    number = np.zeros(1) if law.sources is None else np.asarray(law.sources.sum(axis=0)).ravel()
    errors = law.judged(several=bool((number > 0).sum() > 1)) @ matrix.T
    drawn = np.einsum("ri,ri->r", errors, np.linalg.solve(cov, errors.T).T)
    p_min = float(law.p_min.max())
    extreme = int((drawn >= statistic * (1 - 1e-12)).sum())
    share = float(law.lone().max()) if (number > 0).sum() == 1 else 0.0
    p_value = share + (1 - share) * extreme / len(drawn) if share > 0 else (1 + extreme) / (len(drawn) + 1)
    p_value = max(p_value, p_min)
    test = _test(words, statistic, p_value, f"{len(drawn):,} draws", estimate, True)
    return replace(test, p_min=p_min)


def _test(words: str, statistic: float, p_value: float, law: str, estimate: Estimate[Any], guarded: bool) -> Test:
    return Test(
        hypothesis=words,
        statistic=statistic,
        p_value=p_value,
        distribution=law,
        method=f"Wald, {_method(estimate, guarded)}",
        provenance=estimate.provenance.then("test"),
    )


def _restriction(estimate: Estimate[Any], hypothesis: Any, value: Any) -> tuple[str, Estimate[Any], Array, Array]:
    """Hypothesis in words, the terms it touches, A and A's right-hand side.

    The named hypotheses compare terms on the scale of their intervals, so that one term gives the p of its row.
    """
    null = SCALES[estimate.scale].null_on_scale()
    usable = np.isfinite(estimate.values) & (estimate.terms["status"] != REFERENCE).to_numpy()
    if hypothesis is None or isinstance(hypothesis, str):
        if hypothesis == "pre":
            if "event_time" not in estimate.terms:
                raise DataError("PMG-TERMS", 'test("pre") needs terms with event_time', fix='average(by="event_time")')
            usable &= (estimate.terms["event_time"] < -anticipation_of(estimate)).to_numpy(dtype=bool, na_value=False)
        elif hypothesis not in (None, "all", "equal"):
            raise DataError("PMG-OPTION", f"unknown hypothesis {hypothesis!r}", fix='"pre", "all", "equal" or a matrix')
        part = _on_scale(estimate.take(np.flatnonzero(usable)))
        if len(part) == 0:
            raise InferenceError("PMG-NO-TERMS", f"no term to test for hypothesis {hypothesis or 'all'!r}")
        identity = np.eye(len(part))
        if hypothesis == "equal":
            if len(part) < 2:
                raise InferenceError("PMG-NO-TERMS", "equality needs at least two terms")
            return "all terms are equal", part, identity[1:] - identity[:1], np.zeros(len(part) - 1)
        if np.isnan(null):
            raise InferenceError(
                "PMG-NO-NULL",
                f"on the {estimate.scale} scale there is no value of no effect",
                fix='test("equal"), or a matrix with its value',
            )
        words = "all pre-treatment terms show no effect" if hypothesis == "pre" else "all terms show no effect"
        return words, part, identity, np.full(len(part), null)
    matrix = np.atleast_2d(np.asarray(hypothesis, dtype=np.float64))
    if matrix.shape[1] != len(estimate):
        raise DataError("PMG-SHAPE", f"a hypothesis of {matrix.shape} does not fit {len(estimate)} terms")
    touched = np.flatnonzero(np.any(matrix != 0, axis=0))
    if len(touched) == 0:
        raise DataError("PMG-SHAPE", "a hypothesis without any term")
    target = np.broadcast_to(np.asarray(value, dtype=np.float64), (len(matrix),))
    return "A theta = value", estimate.take(touched), matrix[:, touched], target


def _on_scale(estimate: Estimate[Any]) -> Estimate[Any]:
    scale = SCALES[estimate.scale]
    return estimate if estimate.scale == "identity" else estimate.apply(scale.to, scale.slope)


__all__ = ["check_level", "guard_of", "t_quantile", "to_frame", "wald_test"]
