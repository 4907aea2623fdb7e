r"""Simultaneous (sup-t) bands.

Each term has its own degrees of freedom (the guard's), so the terms are compared by pointwise p-values: the band takes
the largest :math:`p^*` for which all terms stay within their own t quantile :math:`t_{df_j}(1-p^*/2)` in a share
``level`` of the draws. A term that rests on two areas gets a wide interval of its own without widening the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate.bias import need_one_law
from pmg_eval.estimate.carriers import Draws, Influence, quantile_error
from pmg_eval.estimate.guard import Guard
from pmg_eval.estimate.inference import check_level, guard_of, t_quantile, to_frame
from pmg_eval.estimate.kernels import Clustered, Independent, group_codes
from pmg_eval.estimate.scales import SCALES
from pmg_eval.numerics.rows import Array
from pmg_eval.numerics.signs import random_signs

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate

_CHUNK = 2_000_000


def band(
    estimate: Estimate[Any],
    level: float,
    rng: int | np.random.Generator | None,
    draws: int,
    method: str,
    guarded: bool,
) -> pd.DataFrame:
    """See :meth:`Estimate.band`."""
    from scipy import special

    check_level(level)
    if method not in ("gaussian", "multiplier"):
        raise DataError("PMG-OPTION", f"unknown method {method!r}", fix='"gaussian" or "multiplier"')
    need_one_law(estimate, "band")
    frame = to_frame(estimate, level, guarded)
    used = np.flatnonzero((frame["std_error"] > 0) & frame["conf_low"].notna() & frame["conf_high"].notna())
    if len(used) == 0:
        raise InferenceError(
            "PMG-NO-SE", "no term has a standard error, so there is no band", fix="see the column status"
        )
    part = estimate.take(used)
    care = guard_of(part, guarded)
    generator, seed = _generator(rng)
    if isinstance(part.uncertainty, Draws):
        pointwise, (critical, error) = np.nan, _from_draws(part.uncertainty, level)
        half = critical * part.se
    else:
        pointwise, around = _pointwise(part, care, level, generator, draws, method)
        critical = float(-special.ndtri(pointwise / 2))
        error = float(special.ndtri(around[1] / 2) - special.ndtri(around[0] / 2)) / 2
        half = t_quantile(1 - pointwise / 2, care.df) * part.se * care.factor
    scale = SCALES[estimate.scale]
    half = half * np.abs(scale.slope(part.values))
    sides = [scale.back(scale.to(part.values) + side * half) for side in (-1, 1)]
    low, high = sides if scale.increasing else sides[::-1]
    for name, numbers in (("conf_low", low), ("conf_high", high)):
        column = np.full(len(frame), np.nan)
        column[used] = numbers
        frame[name] = column
    frame.attrs.update(
        critical_value=critical,
        critical_value_error=error,
        pointwise_p=pointwise,
        seed=seed,
        draws=draws,
        band=method,
    )
    return frame


def _generator(rng: int | np.random.Generator | None) -> tuple[np.random.Generator, int | None]:
    """A generator and the seed to record (drawn when none is given)."""
    if isinstance(rng, np.random.Generator):
        return rng, None
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if rng is None else int(rng)
    return np.random.default_rng(seed), seed


def _from_draws(law: Draws, level: float) -> tuple[float, float]:
    """Quantile of the largest standardized error of the law itself, and its Monte-Carlo error."""
    largest = np.sort((np.abs(law.judged()) / law.errors.std(axis=0, ddof=1)).max(axis=1))
    share = float(law.lone().max())  # as in the interval of one term: the area itself counts among its placebos
    level = min(1.0, level / (1 - share)) if share < 1 - level else 1.0
    rank = int(np.ceil(level * (len(largest) + 1)))
    if rank > len(largest):
        raise InferenceError("PMG-LEVEL", f"{len(largest)} draws cannot give a {level:.4g} band", fix="more draws")
    return float(largest[rank - 1]), float(quantile_error(largest[:, None], level)[0])


def _pointwise(
    estimate: Estimate[Any], care: Guard, level: float, generator: np.random.Generator, draws: int, method: str
) -> tuple[float, tuple[float, float]]:
    """The pointwise p at which all terms hold together with probability ``level``; at most 1 - level.

    Also the same one binomial standard error of the rank below and above.
    """
    rank = int(np.ceil(level * (draws + 1)))
    if rank > draws:
        raise InferenceError("PMG-LEVEL", f"{draws} draws cannot give a {level:.4g} band", fix="more draws")
    allowed = draws - rank
    # Only draws in which some term leaves its pointwise interval can decide.
    pointwise = t_quantile((1 + level) / 2, care.df)
    kept = [block[(block > pointwise).any(axis=1)] for block in _deviations(estimate, care, generator, draws, method)]
    deviation = np.concatenate(kept)
    widest = float(np.log(1 - level))
    found = _smallest_p(deviation, care.df, allowed, -60.0, widest, 48)
    reach = int(np.ceil(np.sqrt(draws * level * (1 - level))))
    beyond = deviation[(deviation > _critical(found, care.df)).any(axis=1)]
    low = _smallest_p(beyond, care.df, max(allowed - reach, 0), found - 3.0, found, 16)
    high = _smallest_p(deviation, care.df, allowed + reach, found, min(found + 3.0, widest), 16)
    return float(np.exp(found)), (float(np.exp(low)), float(np.exp(high)))


def _smallest_p(deviation: Array, df: Array, allowed: int, low: float, high: float, steps: int) -> float:
    """Log of the pointwise p that more than ``allowed`` draws leave, by bisection; ``high`` when too few do."""
    if len(deviation) <= allowed:
        return high
    for _ in range(steps):
        middle = (low + high) / 2
        if (deviation > _critical(middle, df)).any(axis=1).sum() > allowed:
            high = middle
        else:
            low = middle
    return low


def _critical(log_p: float, df: Array) -> Array:
    return t_quantile(-np.expm1(log_p - np.log(2)), df)


def _deviations(
    estimate: Estimate[Any], care: Guard, generator: np.random.Generator, draws: int, method: str
) -> Iterator[Array]:
    """Blocks (r, k) of |t| under no effect: correlated normals over one chi-square for all terms."""
    if method == "multiplier":
        rows = _multiplier_rows(estimate)
        width = len(rows)
    else:
        root = _root(_known(estimate.cov()) / np.outer(estimate.se, estimate.se))
        width = len(root)
    inverse_root = _mixing(care.df)
    step = max(1, _CHUNK // max(width, 1))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        if method == "multiplier":
            block = np.abs(np.concatenate([signs @ rows for signs in random_signs(generator, size, width)]))
        else:
            block = np.abs(generator.standard_normal((size, width)) @ root.T)
        yield block if inverse_root is None else block * inverse_root(generator.standard_normal(size))


def _known(cov: Array) -> Array:
    """The covariance, or why there is no joint law."""
    if not np.isfinite(cov).all():
        raise InferenceError(
            "PMG-SEVERAL-LAWS",
            "these terms have laws of different kinds, whose covariance is not known: there is no band for all of them",
            fix="one band for the terms of each kind (where(...); the column method says which)",
        )
    return cov


def _mixing(df: Array) -> Any:
    """sqrt(df/chi2) of every term as a function of one normal score, so that all terms share their luck."""
    from scipy import special

    if not np.isfinite(df).any():
        return None
    grid = np.linspace(-6, 6, 481)
    levels, position = np.unique(df, return_inverse=True)
    probability = special.ndtr(grid)
    table = np.ones((len(levels), len(grid)))
    for row, value in enumerate(levels):
        if np.isfinite(value):
            table[row] = np.sqrt(value / (2 * special.gammaincinv(value / 2, probability)))

    def factor(score: Array) -> Array:
        found = np.column_stack([np.interp(score, grid, row) for row in table])
        return np.asarray(found[:, position])

    return factor


def _multiplier_rows(estimate: Estimate[Any]) -> Array:
    """Standardized contributions (rows or cluster sums) that random signs multiply."""
    law = estimate.uncertainty
    if not isinstance(law, Influence):
        raise InferenceError("PMG-NO-INFLUENCE", "multiplier draws need influence values", fix='method="gaussian"')
    rows, kernel = law.psi, estimate.dependence
    if isinstance(kernel, Clustered) and len(kernel.by) == 1:
        rows = rows.sum_rows(*group_codes(law, kernel.by))
    elif not isinstance(kernel, Independent):
        raise InferenceError(
            "PMG-MULTIPLIER",
            f"multiplier draws need independent rows or one cluster variable, not {kernel.name}",
            fix='method="gaussian"',
        )
    return np.asarray(rows.dense() / np.sqrt(rows.column_sumsq()))  # unit variance whatever the small-sample factor


def _root(correlation: Array) -> Array:
    """A matrix square root that tolerates singular correlations (collinear terms)."""
    value, vector = np.linalg.eigh((correlation + correlation.T) / 2)
    return np.asarray(vector * np.sqrt(np.clip(value, 0, None)))
