"""From a law of the error to intervals, simultaneous bands and tests: written once for every estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate.carriers import Draws, Influence
from pmg_eval.estimate.guard import Guard, guard, unguarded
from pmg_eval.estimate.kernels import Clustered, group_codes
from pmg_eval.estimate.nouns import Test
from pmg_eval.estimate.scales import SCALES
from pmg_eval.estimate.support_intervals import RULES
from pmg_eval.estimate.terms import NOTES, REFERENCE, SUPPORT
from pmg_eval.numerics.rows import Array

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate

_COLUMNS = ("std_error", "statistic", "p_value", "conf_low", "conf_high", "df")


def check_level(level: float) -> None:
    """Refuse a confidence level outside (0, 1)."""
    if not 0 < level < 1:
        raise DataError("PMG-LEVEL", f"level={level} must lie between 0 and 1", fix="for example 0.95")


def _guard_of(estimate: Estimate[Any], guarded: bool) -> Guard:
    if estimate.uncertainty is None or not guarded:
        return unguarded(len(estimate))
    return guard(estimate.uncertainty, estimate.terms, estimate.dependence)


def to_frame(estimate: Estimate[Any], level: float, guarded: bool) -> pd.DataFrame:
    """See :meth:`Estimate.to_frame`."""
    check_level(level)
    terms = estimate.terms
    k = len(terms)
    numbers = dict.fromkeys(_COLUMNS, np.full(k, np.nan))
    status = terms["status"].astype(str).to_numpy(dtype=object)
    method = terms["method"].astype(str).to_numpy(dtype=object)
    if estimate.uncertainty is not None:
        care = _guard_of(estimate, guarded)
        numbers = (
            _by_draws(estimate, level) if isinstance(estimate.uncertainty, Draws) else _by_wald(estimate, level, care)
        )
        status = np.array([_joined(own, why) for own, why in zip(status, care.reason, strict=True)], dtype=object)
        if _repaired(estimate):
            status = np.array([_joined(own, REPAIRED) for own in status], dtype=object)
        method = np.array([name or _method(estimate, guarded) for name in method], dtype=object)
    _support_rules(estimate, level, numbers)
    silent = ~np.isfinite(estimate.values) | (status == REFERENCE)
    for name in _COLUMNS:
        numbers[name] = np.where(silent, np.nan, numbers[name])
    frame = terms[estimate.labels].copy()
    frame["estimate"] = estimate.values
    for name in _COLUMNS:
        frame[name] = numbers[name]
    for name in SUPPORT:
        if name in terms:
            frame[name] = terms[name]
    return frame.assign(method=method, status=status)


REPAIRED = "two-way covariance repaired: negative eigenvalues set to zero"


def _repaired(estimate: Estimate[Any]) -> bool:
    law, kernel = estimate.uncertainty, estimate.dependence
    return isinstance(law, Influence) and isinstance(kernel, Clustered) and kernel.repaired(law)


def _joined(own: str, why: str) -> str:
    return "; ".join(part for part in (own, why) if part)


def _method(estimate: Estimate[Any], guarded: bool) -> str:
    kind = "influence" if isinstance(estimate.uncertainty, Influence) else "covariance"
    suffix = "guard" if guarded else "no small-sample guard"
    return f"{kind}, {estimate.dependence.name}, {suffix}"


def _by_wald(estimate: Estimate[Any], level: float, care: Guard) -> dict[str, Array]:
    """Wald on the estimate's scale with t quantiles."""
    from scipy import stats

    scale = SCALES[estimate.scale]
    with np.errstate(all="ignore"):
        se = estimate.se * care.factor
        slope = np.abs(scale.slope(estimate.values))
        centre = scale.to(estimate.values)
        quantile = _t(stats, (1 + level) / 2, care.df)
        low, high = (scale.back(centre + side * quantile * slope * se) for side in (-1, 1))
        if not scale.increasing:
            low, high = high, low
        distance = estimate.values * np.nan if np.isnan(scale.null) else centre - scale.null_on_scale()
        statistic = np.where(slope * se > 0, distance / (slope * se), np.nan)
        p_value = 2 * np.where(
            np.isfinite(care.df), stats.t.sf(np.abs(statistic), care.df), stats.norm.sf(np.abs(statistic))
        )
        # No variation at all is not certainty: an interval of width zero is not shown.
        flat = ~(se > 0)
    return {
        "std_error": se,
        "statistic": statistic,
        "p_value": p_value,
        "conf_low": np.where(flat, np.nan, low),
        "conf_high": np.where(flat, np.nan, high),
        "df": care.df,
    }


def _t(stats: Any, probability: float, df: Array) -> Array:
    finite = np.isfinite(df)
    return np.asarray(np.where(finite, stats.t.ppf(probability, np.where(finite, df, 1)), stats.norm.ppf(probability)))


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
        scaled = Draws(law.errors * np.where(np.isfinite(slope), slope, 1.0), law.p_min)
        half = scaled.half_width(level)
        low, high = scale.back(centre - half), scale.back(centre + half)
        if not scale.increasing:
            low, high = high, low
        deviation = centre - scale.null_on_scale()
        p_value = np.where(np.isfinite(deviation), scaled.p_value(deviation), np.nan)
        unattainable = ~np.isfinite(half)
    return {
        "std_error": estimate.se,
        "statistic": deviation / np.sqrt(scaled.variance(estimate.dependence)),
        "p_value": p_value,
        "conf_low": np.where(unattainable, np.nan, low),
        "conf_high": np.where(unattainable, np.nan, high),
        "df": np.full(len(estimate), np.nan),
    }


def _support_rules(estimate: Estimate[Any], level: float, numbers: dict[str, Array]) -> None:
    """Intervals computed from counts (Wilson, Byar, ...) replace the Wald interval of the terms that name one."""
    names = estimate.terms["interval"].to_numpy()
    for name in set(names) & set(RULES):
        low, high = RULES[name](estimate.terms, level)
        chosen = names == name
        numbers["conf_low"] = np.where(chosen, low, numbers["conf_low"])
        numbers["conf_high"] = np.where(chosen, high, numbers["conf_high"])


def _generator(rng: int | np.random.Generator | None) -> tuple[np.random.Generator, int | None]:
    """A generator and the seed to record (drawn when none is given)."""
    if isinstance(rng, np.random.Generator):
        return rng, None
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if rng is None else int(rng)
    return np.random.default_rng(seed), seed


def band(
    estimate: Estimate[Any],
    level: float,
    rng: int | np.random.Generator | None,
    draws: int,
    method: str,
    guarded: bool,
) -> pd.DataFrame:
    """See :meth:`Estimate.band`."""
    check_level(level)
    if method not in ("gaussian", "multiplier"):
        raise DataError("PMG-OPTION", f"unknown method {method!r}", fix='"gaussian" or "multiplier"')
    frame = to_frame(estimate, level, guarded)
    used = np.flatnonzero(np.isfinite(frame["std_error"]) & (frame["std_error"] > 0))
    if len(used) == 0:
        raise InferenceError(
            "PMG-NO-SE", "no term has a standard error, so there is no band", fix="see the column status"
        )
    part = estimate.take(used)
    care = _guard_of(part, guarded)
    generator, seed = _generator(rng)
    largest = _largest_deviations(part, care, generator, draws, method)
    rank = int(np.ceil(level * (draws + 1))) - 1
    critical = float(np.sort(largest)[min(rank, draws - 1)])
    # Never narrower than the pointwise interval, which Monte-Carlo error could otherwise make it.
    from scipy import stats

    critical = max(critical, float(_t(stats, (1 + level) / 2, care.df).max()))
    scale = SCALES[estimate.scale]
    value, se = part.values, part.se * care.factor
    slope = np.abs(scale.slope(value))
    sides = [scale.back(scale.to(value) + side * critical * slope * se) for side in (-1, 1)]
    low, high = sides if scale.increasing else sides[::-1]
    for name, numbers in (("conf_low", low), ("conf_high", high)):
        column = np.full(len(frame), np.nan)
        column[used] = numbers
        frame[name] = column
    frame.attrs.update(critical_value=critical, seed=seed, draws=draws, band=method)
    return frame


def _largest_deviations(
    estimate: Estimate[Any], care: Guard, generator: np.random.Generator, draws: int, method: str
) -> Array:
    """Largest |t| over the terms in every draw; heavier tails where the guard has few degrees of freedom."""
    law = estimate.uncertainty
    if isinstance(law, Draws):
        return np.asarray((np.abs(law.errors) / estimate.se).max(axis=1))
    if method == "multiplier":
        if not isinstance(law, Influence):
            raise InferenceError("PMG-NO-INFLUENCE", "multiplier draws need influence values", fix='method="gaussian"')
        largest = _multiplier(law, estimate, generator, draws)
    else:
        root = _root(estimate.cov() / np.outer(estimate.se, estimate.se))
        largest = np.empty(draws)
        step = max(1, 2_000_000 // max(len(estimate), 1))
        for start in range(0, draws, step):
            size = min(step, draws - start)
            block = generator.standard_normal((size, root.shape[1])) @ root.T
            largest[start : start + size] = np.abs(block).max(axis=1)
    df = float(care.df.min())
    if np.isfinite(df):  # a multivariate t: one chi-square for all terms
        largest = largest / np.sqrt(generator.chisquare(df, draws) / df)
    return largest


def _multiplier(law: Influence, estimate: Estimate[Any], generator: np.random.Generator, draws: int) -> Array:
    rows = law.psi
    if isinstance(estimate.dependence, Clustered):
        if len(estimate.dependence.by) > 1:
            raise InferenceError(
                "PMG-MULTIPLIER", "multiplier draws need one cluster variable", fix='method="gaussian"'
            )
        rows = rows.sum_rows(*group_codes(law, estimate.dependence.by))
    standard = rows.dense() / (law.n * estimate.se)
    largest = np.empty(draws)
    step = max(1, 20_000_000 // max(len(standard), 1))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        signs = generator.integers(0, 2, (size, len(standard)), dtype=np.int8) * 2.0 - 1.0
        largest[start : start + size] = np.abs(signs @ standard).max(axis=1)
    return largest


def _root(correlation: Array) -> Array:
    """A matrix square root that tolerates singular correlations (collinear terms)."""
    value, vector = np.linalg.eigh((correlation + correlation.T) / 2)
    return np.asarray(vector * np.sqrt(np.clip(value, 0, None)))


def wald_test(estimate: Estimate[Any], hypothesis: Any, value: Any, guarded: bool) -> Test:
    """See :meth:`Estimate.test`."""
    from scipy import stats

    words, part, matrix, target = _restriction(estimate, hypothesis, value)
    care = _guard_of(part, guarded)
    touched = np.any(matrix != 0, axis=0)
    alone = [why for why, used in zip(care.reason, touched, strict=True) if used and why]
    if alone:
        raise InferenceError("PMG-ONE-TREATED", f"no joint test: {alone[0]}", fix="pmg_eval.effect_per_area")
    factor = np.where(touched, care.factor, 1.0)
    law = part.uncertainty
    if law is None:
        raise InferenceError("PMG-NO-LAW", "a test needs the law of the error", fix="resample.placebo")
    cov = matrix @ (part.cov() * np.outer(factor, factor)) @ matrix.T
    q = len(matrix)
    rank = int(np.linalg.matrix_rank(cov / np.sqrt(np.outer(np.diag(cov), np.diag(cov))), hermitian=True, tol=1e-10))
    if rank < q:
        raise InferenceError(
            "PMG-SINGULAR",
            f"the covariance of the {q} restrictions has rank {rank}: fewer independent units than restrictions",
            fix="test fewer terms (where(...)), or use band()",
        )
    gap = matrix @ part.values - target
    statistic = float(gap @ np.linalg.solve(cov, gap))
    df = float(care.df[touched].min())
    if np.isfinite(df):
        p_value = float(stats.f.sf(statistic / q, q, df))
        return _test(words, statistic / q, p_value, f"F({q}, {df:.4g})", estimate, guarded)
    return _test(words, statistic, float(stats.chi2.sf(statistic, q)), f"chi-squared({q})", estimate, guarded)


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
    """Hypothesis in words, the terms it touches, A and A's right-hand side."""
    null = SCALES[estimate.scale].null
    usable = np.isfinite(estimate.values) & (estimate.terms["status"] != REFERENCE).to_numpy()
    if hypothesis is None or isinstance(hypothesis, str):
        if hypothesis == "pre":
            if "event_time" not in estimate.terms:
                raise DataError("PMG-TERMS", 'test("pre") needs terms with event_time', fix='average(by="event_time")')
            usable &= (estimate.terms["event_time"] < 0).to_numpy(dtype=bool, na_value=False)
        elif hypothesis not in (None, "all", "equal"):
            raise DataError("PMG-OPTION", f"unknown hypothesis {hypothesis!r}", fix='"pre", "all", "equal" or a matrix')
        part = estimate.take(np.flatnonzero(usable))
        if len(part) == 0:
            raise InferenceError("PMG-NO-TERMS", f"no term to test for hypothesis {hypothesis or 'all'!r}")
        identity = np.eye(len(part))
        if hypothesis == "equal":
            if len(part) < 2:
                raise InferenceError("PMG-NO-TERMS", "equality needs at least two terms")
            return "all terms are equal", part, identity[1:] - identity[:1], np.zeros(len(part) - 1)
        words = "all pre-treatment terms show no effect" if hypothesis == "pre" else "all terms show no effect"
        return words, part, identity, np.full(len(part), null)
    matrix = np.atleast_2d(np.asarray(hypothesis, dtype=np.float64))
    if matrix.shape[1] != len(estimate):
        raise DataError("PMG-SHAPE", f"a hypothesis of {matrix.shape} does not fit {len(estimate)} terms")
    return "A theta = value", estimate, matrix, np.broadcast_to(np.asarray(value, dtype=np.float64), (len(matrix),))


__all__ = ["NOTES", "band", "to_frame", "wald_test"]
