"""Which placebo areas stand for a treated area, and how their errors are scaled to its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, warn
from pmg_eval.estimate.scales import SCALES, ScaleName
from pmg_eval.numerics.rows import Array
from pmg_eval.resample._area_effects import AreaEffects

NEEDED, ADVISED = 19, 39  # placebos for a two-sided 5 % test at all, and for a credible one
MATCHED = 60
LawName = Literal["ferman_pinto", "conley_taber", "size_matched"]
Start: TypeAlias = tuple[float, float]
"""Cohort and treated share of its first period: what a placebo area imitates."""


@dataclass(frozen=True)
class SizeModel:
    r"""Every placebo, scaled: errors have variance :math:`\sigma^2=a+b/size` (Ferman and Pinto 2019)."""


@dataclass(frozen=True)
class Plain:
    """Every placebo as it is: errors do not depend on size (Conley and Taber 2011).

    With areas of very different size intervals are too wide for large areas and too narrow for small ones (trust the
    check ``p_size_matched`` more).
    """


@dataclass(frozen=True)
class SizeMatched:
    """The placebos nearest in log size, as they are: no model, but fewer of them.

    Attributes
    ----------
    n : int
        How many; 19 or more.
    """

    n: int = MATCHED

    def __post_init__(self) -> None:
        given: Any = self.n
        if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < NEEDED:
            raise DataError("PMG-OPTION", f"n={self.n!r} must be a whole number of at least {NEEDED}")


Law: TypeAlias = SizeModel | Plain | SizeMatched
_NAMED: Mapping[str, Law] = {"ferman_pinto": SizeModel(), "conley_taber": Plain(), "size_matched": SizeMatched()}


def law_of(option: Any) -> Law:
    """The law that an option is or names."""
    if isinstance(option, SizeModel | Plain | SizeMatched):
        return option
    if not isinstance(option, str) or option not in _NAMED:
        raise DataError(
            "PMG-OPTION",
            f"unknown law={option!r}",
            fix=f"{', '.join(map(repr, _NAMED))}, or SizeModel(), Plain(), SizeMatched(n=...)",
        )
    return _NAMED[option]


def words(law: Law) -> str:
    """What ``terms.method`` says."""
    if isinstance(law, SizeMatched):
        return f"placebo law, {law.n} nearest in size, by inversion"
    return f"placebo law, {'size-scaled' if isinstance(law, SizeModel) else 'unscaled'}, by inversion"


@dataclass(frozen=True, eq=False)
class Placebos:
    """Placebo effects of one start on the interval's scale, and their size model.

    Attributes
    ----------
    units : Index (J); effect, size : (J,)
    effects : AreaEffects
        What they come from.
    a, b : float
    law : Law
    """

    units: pd.Index[Any]
    effect: Array
    size: Array
    effects: AreaEffects
    a: float
    b: float
    law: Law

    def sigma(self, size: Array) -> Array:
        return np.sqrt(self.a + self.b / size)

    def near(self, size: float, n: int = MATCHED) -> Any:
        """Positions of the ``n`` nearest in log size, the nearest first."""
        return np.argsort(np.abs(np.log(self.size / size)), kind="stable")[:n]

    def used(self, size: float) -> tuple[Any, Array]:
        """Positions (m,) of the placebos of an area of this size, and the factor (m,) of their errors."""
        if isinstance(self.law, SizeMatched):
            near = self.near(size, self.law.n)
            return near, np.ones(len(near))
        every = np.arange(len(self.effect))
        if isinstance(self.law, Plain):
            return every, np.ones(len(every))
        # Beyond the largest placebo area the model is extrapolation: b/size alone would promise next to no error.
        return every, self.sigma(np.array([min(size, float(self.size.max()))])) / self.sigma(self.size)


def placebos_of(effects: AreaEffects, law: Law) -> Placebos:
    """Errors of placebo areas with the size model fitted to them."""
    error = on_scale(effects.values, effects.scale)
    finite = np.isfinite(error)
    if not finite.any():
        raise DesignError(
            "PMG-NO-PLACEBO", "no placebo area has an effect", fix="check the events of the placebo areas"
        )
    # An area without any event afterwards has log ratio -inf: it counts as the most extreme of the others.
    error = np.where(finite, error, -np.abs(error[finite]).max(initial=0.0))
    a, b = fit_variance(error[finite], effects.size[finite])
    if not isinstance(law, SizeModel):
        a, b = float((error**2).mean()), 0.0
    return Placebos(effects.units, error, effects.size, effects, a, b, law)


def on_scale(values: Array, name: ScaleName) -> Array:
    """Distance from no effect on the scale of the interval."""
    scale = SCALES[name]
    with np.errstate(divide="ignore", invalid="ignore"):
        return scale.to(values) - scale.null_on_scale()


def starts_of(effects: AreaEffects) -> list[Start]:
    return [(float(cohort), float(share)) for cohort, share in zip(effects.cohort, effects.share, strict=True)]


def placebo_counts(effects: AreaEffects, pools: Mapping[Start, Placebos]) -> Any:
    """Placebos (k,) behind each area."""
    return np.array(
        [
            len(pools[start].used(float(size))[0]) if start in pools else 0
            for start, size in zip(starts_of(effects), effects.size, strict=True)
        ]
    )


def need_matched(law: Law, pools: Mapping[Start, Placebos], n_treated: int) -> None:
    """Refuse size matching where treated areas would share nearly the same few placebos."""
    if not isinstance(law, SizeMatched) or n_treated < 2:
        return
    fewest = min(law.n, *(len(pool.size) for pool in pools.values()))
    if fewest < 3 * n_treated:
        raise DesignError(
            "PMG-MATCHED-POOL",
            f"{fewest} placebos matched in size for {n_treated} treated areas: the same few would be drawn for all of "
            "them, and pooled intervals too narrow",
            fix=f'SizeMatched(n={3 * n_treated}) or more, law="ferman_pinto", or one treated area at a time',
        )


def warn_few(count: int, stacklevel: int) -> None:
    """Say that a pool cannot show much."""
    if count < ADVISED:
        warn(
            "PMG-FEW-PLACEBOS",
            f"{count} placebo areas: the smallest two-sided p is {1 / (count + 1):.3f}",
            fix=f"{ADVISED} or more are advised, {NEEDED} are needed for a 5 % test",
            stacklevel=stacklevel,
        )


def fit_variance(error: Array, size: Array, iterations: int = 10) -> tuple[float, float]:
    r"""Non-negative a, b of :math:`E[e^2]=a+b/M`, weighted by the inverse variance of :math:`e^2` (reweighted).

    Raises
    ------
    DesignError
        All placebo effects are zero: nothing varies.
    """
    square = error**2
    level = float(square.mean())
    if not level > 0:
        raise DesignError(
            "PMG-NO-VARIATION", "all placebo effects are zero", fix="check the outcome of the comparison areas"
        )
    inverse = 1 / size
    if inverse.max() == inverse.min():  # all of one size: only the sum is known
        return level, 0.0
    unit = float(inverse.mean())
    design = np.column_stack([np.ones_like(inverse), inverse / unit])
    sigma2 = np.full(len(error), level)
    coefficient = np.array([level, 0.0])
    for _ in range(iterations):
        coefficient = _two_nonnegative(design / sigma2[:, None], square / sigma2)
        sigma2 = np.maximum(design @ coefficient, 1e-6 * level)
    return float(coefficient[0]), float(coefficient[1] / unit)


def _two_nonnegative(design: Array, target: Array) -> Array:
    """Least squares with two coefficients that may not be negative: the inner solution, or the better edge.

    Written out because both columns are the same when all areas have one size, where scipy's nnls may fail.
    """
    gram, cross = design.T @ design, design.T @ target
    determinant = gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2
    if determinant > 1e-12 * gram[0, 0] * gram[1, 1]:
        inner = np.array([gram[1, 1] * cross[0] - gram[0, 1] * cross[1], gram[0, 0] * cross[1] - gram[0, 1] * cross[0]])
        if (inner >= 0).all():
            return np.asarray(inner / determinant)
    edges = np.diag(np.maximum(cross / np.diag(gram), 0.0))
    loss = [float(edge @ gram @ edge - 2 * edge @ cross) for edge in edges]
    return np.asarray(edges[int(np.argmin(loss))])


def rank_p(found: float, placebo_effect: Array) -> float:
    """Share of the placebos at least as large, the area itself counted."""
    return float((1 + (np.abs(placebo_effect) >= abs(found) * (1 - 1e-12)).sum()) / (1 + len(placebo_effect)))


def rank_half_width(placebo_effect: Array, level: float) -> float:
    """The two-sided quantile that goes with :func:`rank_p`; NaN where the level is not attainable."""
    rank = int(np.ceil(level * (len(placebo_effect) + 1) - 1e-9))
    return float(np.sort(np.abs(placebo_effect))[rank - 1]) if rank <= len(placebo_effect) else np.nan
