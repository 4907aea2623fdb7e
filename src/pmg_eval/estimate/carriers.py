r"""What an estimate knows about its error: influence values, draws, or a covariance.

All three are closed under linear maps; Influence -> Draws -> Covariance only loses information.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np
import pandas as pd

from pmg_eval.errors import InferenceError
from pmg_eval.estimate.kernels import Clustered, Dependence, group_codes, label
from pmg_eval.numerics.rows import Array, Rows

if TYPE_CHECKING:
    from pmg_eval.estimate.bias import Bias
    from pmg_eval.estimate.stored import Stored


@dataclass(frozen=True, eq=False)
class Support:
    r"""How many treated units stand behind each term, for the small-sample guard.

    Attributes
    ----------
    n_treated : (k,) float
        Treated units (or clusters) with a non-zero weight; NaN when the term has no treated units.
    n_effective : (k,) float
        :math:`(\sum\omega^2)^2/\sum\omega^4` of the weights.
    inflation : (k,) float
        What the variance of the treated units must be multiplied by because their residuals are centred:
        :math:`n_1/(n_1-1)`, or :math:`\sum\omega^2/\sum\omega^2(1-1/n_g)` when they are centred within groups of
        :math:`n_g` units (infinite when every unit is alone in its group).
    df : (k,) float
        Degrees of freedom of that variance.
    """

    n_treated: Array
    n_effective: Array
    inflation: Array = field(default_factory=lambda: np.empty(0))
    df: Array = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if not len(self.inflation):
            with np.errstate(divide="ignore", invalid="ignore"):
                object.__setattr__(self, "inflation", self.n_treated / (self.n_treated - 1))
        if not len(self.df):
            object.__setattr__(self, "df", self.n_effective - 1)


class Uncertainty(Protocol):
    """Law of the estimation error of k terms."""

    def map(self, matrix: Any) -> Self: ...

    def take(self, index: Any) -> Self: ...

    def cov(self, dependence: Dependence) -> Array: ...

    def variance(self, dependence: Dependence) -> Array: ...

    def support(self, dependence: Dependence) -> Support | None: ...


def _support(treated: Rows, group_size: Array | None) -> Support:
    count, second, fourth = treated.column_powers()
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.where(fourth > 0, second**2 / fourth, np.nan)
        n_treated = np.where(count > 0, count, np.nan)
        if group_size is None:
            return Support(n_treated, effective)
        several = group_size > 1
        kept = np.where(several, 1 - 1 / group_size, 0.0)  # share of the variance that centring leaves
        scales = np.column_stack([kept, several, np.where(several, 1 / np.where(several, kept, 1.0), 0.0)])
        squares, fourths = treated.power_sums(scales)
        informative, known, spread = squares[:, 0], squares[:, 1], fourths[:, 2]
        df = np.fmin(effective - 1, np.where(spread > 0, known**2 / spread, 0.0))
        return Support(n_treated, effective, second / informative, df)


@dataclass(frozen=True, eq=False)
class Influence:
    r"""Influence values: :math:`\hat\theta-\theta\approx\frac1n\sum_i\psi_i`.

    Attributes
    ----------
    psi : Rows (N, k)
        One row per observation the estimator saw: (unit, time) where the score is a sum over them, units otherwise.
    rows : DataFrame (N)
        Labels of the rows.
    n : int
        The divisor above.
    kind : {"derivative", "score"}
        ``"derivative"``: psi is n times the derivative of the estimate in the (log) weight of the row. ``"score"``: the
        published variance of the method is not that derivative.
    n_obs, n_params : int or None
        Sizes of a regression, for small-sample factors: observations and parameters.
    n_params_nested : mapping
        Parameters of effects that are absorbed per level of a label (``{"unit": 49, "time": 10}``); they do not count
        where the clusters hold whole levels.
    weight_psi : Rows (N, k) or None
        The same for the ``weight`` of each term; None means fixed weights.
    treated : Rows (N, k) or None
        Weight of every treated unit in each term (for the guard).
    group_size : (N,) float or None
        Size of the group within which the residual of each treated unit is centred (NaN for other rows); None when all
        treated units of a term are centred together; infinite when they need no correction (leave-one-out centring).
    corrected : bool
        The values already carry a small-sample correction (the jackknife's pseudo-rows do).
    """

    psi: Rows
    rows: pd.DataFrame
    n: int
    kind: Literal["derivative", "score"] = "derivative"
    n_obs: int | None = None
    n_params: int | None = None
    n_params_nested: Mapping[str, int] = field(default_factory=dict)
    weight_psi: Rows | None = None
    treated: Rows | None = None
    group_size: Array | None = None
    corrected: bool = False

    def __post_init__(self) -> None:
        if self.psi.shape[0] != len(self.rows):
            raise InferenceError(
                "PMG-ROWS", f"{self.psi.shape[0]} influence rows but {len(self.rows)} row labels", fix="report a bug"
            )

    def need_sizes(self) -> tuple[int, int]:
        """(observations, parameters), or an error when the estimator does not have them."""
        if self.n_obs is None or self.n_params is None:
            raise InferenceError(
                "PMG-SIZES",
                "this small-sample factor needs a number of parameters, which this estimator does not have",
                fix='use correction="none" or "G", or resample.jackknife',
            )
        return self.n_obs, self.n_params

    def map(self, matrix: Any) -> Influence:
        # Who stands behind a difference does not cancel because the weights do: absolute coefficients.
        treated = None if self.treated is None else self.treated.map(abs(matrix))
        return replace(self, psi=self.psi.map(matrix), weight_psi=None, treated=treated)

    def take(self, index: Any) -> Influence:
        def part(rows: Rows | None) -> Rows | None:
            return None if rows is None else rows.take_columns(index)

        return replace(
            self, psi=self.psi.take_columns(index), weight_psi=part(self.weight_psi), treated=part(self.treated)
        )

    def cov(self, dependence: Dependence) -> Array:
        meat = dependence.meat(self) / self.n**2
        return (meat + meat.T) / 2

    def variance(self, dependence: Dependence) -> Array:
        return np.asarray(dependence.diagonal(self) / self.n**2)

    def support(self, dependence: Dependence) -> Support | None:
        if self.treated is None:
            return None
        treated, group_size = self.treated, self.group_size
        if isinstance(dependence, Clustered) and len(dependence.by) == 1 and dependence.by[0] != "unit":
            treated, group_size = treated.sum_rows(*group_codes(self, dependence.by)), None
        return _support(treated, group_size)

    def by_unit(self) -> Influence:
        """Rows summed to units, so that estimates with (unit, time) rows can be stacked with those with unit rows."""
        codes, n_units = group_codes(self, ["unit"])
        if n_units == len(self.rows):
            return self
        unit = label(self, "unit")
        keep = ~unit.duplicated()
        constant = [
            name for name in self.rows.columns if self.rows.groupby("unit", sort=False)[name].nunique().le(1).all()
        ]

        def summed(rows: Rows | None) -> Rows | None:
            return None if rows is None else rows.sum_rows(codes, n_units)

        return replace(
            self,
            psi=self.psi.sum_rows(codes, n_units),
            rows=self.rows.loc[keep, constant].reset_index(drop=True),
            weight_psi=summed(self.weight_psi),
            treated=summed(self.treated),
            group_size=None if self.group_size is None else self.group_size[keep.to_numpy()],
        )


@lru_cache(maxsize=32)
def _mixing(df: float, count: int) -> Array:
    r""":math:`\sqrt{J/\chi^2_J}` at the quantiles (i + 1/2)/count; kept, because every number of a law needs it."""
    from scipy import special

    return np.asarray(np.sqrt(df / 2 / special.gammaincinv(df / 2, (np.arange(count) + 0.5) / count)))


@dataclass(frozen=True, eq=False)
class Draws:
    r"""Replicates of the estimation error (placebo law, bootstrap, posterior).

    A placebo law is known from J areas only. A term that follows one of them is judged by its rank among them and
    itself, :math:`p=(1+\#)/(1+J)`. A combination of several has many more values than J, but their scale is known no
    better: every draw is multiplied by one :math:`\sqrt{J/\chi^2_J}`, as t does for a normal error.

    Attributes
    ----------
    errors : (R, k) float
        Draws of estimate minus truth.
    p_min : (k,) float
        Smallest p-value the law can attain for each term.
    sources : sparse (k, s) bool or None
        Which independent draws stand behind each term: all cells of one area follow the same placebo, so that their
        average can show no more than one of them. None: every term has its own.
    source_p : (s,) float or None
        Smallest p-value that one such draw can attain; a combination attains the product over its draws.
    lone_p : (s,) float or None
        The same where one or two draws stand behind a term: 1 for what is too rare to be tested alone or in pairs.
    score : (R,) float or None
        The numbers (i + 1/2)/R in random order, from which the chi-squares above follow, the same for all terms of a
        draw; None: the law is known (a bootstrap).
    """

    errors: Array
    p_min: Array
    sources: Any = None
    source_p: Array | None = None
    lone_p: Array | None = None
    score: Array | None = None

    def _behind(self) -> tuple[Array, Array]:
        """Number of draws behind each term (k,), and the largest smallest p among them (NaN: not from a pool)."""
        k = self.errors.shape[1]
        if self.sources is None or self.source_p is None or self.score is None:
            return np.zeros(k), np.full(k, np.nan)
        behind = np.asarray(self.sources.toarray(), dtype=np.bool_)
        share = np.minimum(self.source_p, 0.5)  # a term without a placebo has no error either
        return behind.sum(axis=1), np.where(behind, share, 0.0).max(axis=1, initial=0.0)

    def judged(self, several: bool = False) -> Array:
        """Errors as intervals and tests take them: combinations with the error of their scale.

        ``several``: the terms are judged together, so that all of them count as one combination.
        """
        number, share = self._behind()
        mixed = number > (0 if several else 1)
        if self.score is None or not mixed.any():
            return self.errors
        errors = self.errors.copy()
        place = np.floor(self.score * len(self.score)).astype(np.int64)
        if several:
            share = np.full(len(share), share[mixed].max())
        for one in np.unique(share[mixed]):
            columns = np.flatnonzero(mixed & (share == one))
            errors[:, columns] *= _mixing(1 / one - 1, len(self.score))[place][:, None]
        return errors

    def lone(self) -> Array:
        """1/(1+J) (k,) for terms that follow one of J placebos, 0 for others."""
        number, share = self._behind()
        return np.where(number == 1, share, 0.0)

    def times(self, factor: Array) -> Draws:
        """The errors of every term multiplied by a number (k,)."""
        return replace(self, errors=self.errors * factor)

    def map(self, matrix: Any) -> Draws:
        mapped = np.asarray((matrix @ self.errors.T).T)
        if self.sources is None or self.source_p is None or self.lone_p is None:
            # Terms are drawn independently, so a combination of several attains the product of their smallest p-values.
            attainable, behind = np.where(_dense(matrix) != 0, self.p_min, 1.0).prod(axis=1), None
        else:
            from scipy import sparse

            used = sparse.csr_array(matrix)
            used.eliminate_zeros()
            behind = abs(used).sign() @ self.sources.astype(np.float64) > 0
            one = behind.astype(np.float64)
            several = np.exp(one @ np.log(self.source_p))
            attainable = np.where(one.sum(axis=1) > 2, several, np.exp(one @ np.log(self.lone_p)))
        return replace(self, errors=mapped, p_min=np.maximum(attainable, 1 / (len(self.errors) + 1)), sources=behind)

    def take(self, index: Any) -> Draws:
        behind = None if self.sources is None else self.sources[index]
        return replace(self, errors=self.errors[:, index], p_min=self.p_min[index], sources=behind)

    def cov(self, dependence: Dependence) -> Array:
        return np.atleast_2d(np.cov(self.errors, rowvar=False))

    def variance(self, dependence: Dependence) -> Array:
        return np.asarray(self.errors.var(axis=0, ddof=1))

    def support(self, dependence: Dependence) -> Support | None:
        return None

    def p_value(self, deviation: Array) -> Array:
        """Two-sided p of ``estimate - null``: the share of draws at least as large, not below what is attainable.

        NaN where a draw is missing.
        """
        size, share, count = np.abs(self.judged()), self.lone(), len(self.errors)
        # Ties of a deviation with a draw that is the same number up to rounding count as at least as large.
        extreme = (size >= np.abs(deviation) * (1 - 1e-12)).sum(axis=0)
        p = np.where(share > 0, share + (1 - share) * extreme / count, (1 + extreme) / (count + 1))
        p = np.minimum(np.maximum(p, self.p_min), 1.0)  # rounding could lift a share of all draws above one
        return np.where(np.isnan(self.errors).any(axis=0), np.nan, p)

    def p_error(self, p_value: Array) -> Array:
        r"""Monte-Carlo standard error (k,) of p-values of this law: :math:`\sqrt{q(1-q)/R}` for a share q of draws."""
        share = self.lone()
        drawn = np.clip((p_value - share) / (1 - share), 0.0, 1.0)
        return np.asarray((1 - share) * np.sqrt(drawn * (1 - drawn) / len(self.errors)))

    def half_width(self, level: float) -> Array:
        """The two-sided quantile of the error; infinite where the level is not attainable."""
        count, share = len(self.errors), self.lone()
        # 0.07 * 100 is 7, not 8; the area itself counts among the placebos of a term that follows one of them
        own = count - np.floor(count * (1 - level - share) / (1 - share) + 1e-9)
        rank = np.where(share > 0, own, np.ceil(level * (count + 1) - 1e-9)).astype(np.int64)
        ordered = np.sort(np.abs(self.judged()), axis=0)
        width = ordered[np.clip(rank, 1, count) - 1, np.arange(len(rank))]
        return np.where((rank > count) | (1 - level < self.p_min * (1 - 1e-12)), np.inf, width)

    def monte_carlo(self, level: float, deviation: Array) -> MonteCarlo:
        r"""How far the numbers of this law would move with other draws.

        With R draws: :meth:`p_error` for p; :math:`\sqrt{(m_4-m_2^2)/R}/(2\sqrt{m_2})` for the standard error, with m
        the central moments of the draws; for the half width half the distance between the order statistics one binomial
        standard error :math:`\sqrt{R\,level(1-level)}` below and above its own.

        Parameters
        ----------
        level : float
        deviation : (k,) float
            Estimate minus null.
        """
        count = len(self.errors)
        p = self.p_value(deviation)
        centred = self.errors - self.errors.mean(axis=0)
        second, fourth = (centred**2).mean(axis=0), (centred**4).mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.sqrt(np.maximum(fourth - second**2, 0) / count) / (2 * np.sqrt(second))
        width = quantile_error(np.abs(self.judged()), level)
        width = np.where(np.isfinite(self.half_width(level)), width, np.nan)
        return MonteCarlo(self.p_error(p), np.where(second > 0, spread, 0.0 * second), width)


@dataclass(frozen=True, eq=False)
class MonteCarlo:
    """Monte-Carlo standard errors (k,) of p-values, standard errors and half widths of intervals."""

    p_value: Array
    std_error: Array
    half_width: Array


def quantile_error(draws: Array, level: float) -> Array:
    """Monte-Carlo standard error (k,) of a quantile of draws (R, k), by order statistics; NaN without two of them."""
    count = len(draws)
    middle, reach = level * (count + 1), np.sqrt(count * level * (1 - level))
    low, high = int(np.floor(middle - reach)), int(np.ceil(middle + reach))
    low, high = max(low, 1), min(high, count)
    if low >= high:
        return np.full(draws.shape[1], np.nan)
    ordered = np.partition(draws, [low - 1, high - 1], axis=0)
    # Ranks are cut at the ends of the sample, and rounded outwards: per standard error that they are apart.
    return np.asarray((ordered[high - 1] - ordered[low - 1]) * reach / (high - low))


def _dense(matrix: Any) -> Array:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)


def _fewest(used: Any, number: Array) -> Array:
    """Smallest known number among the terms used; NaN when none of them has one."""
    fewest = np.where(used & np.isfinite(number), number, np.inf).min(axis=1, initial=np.inf)
    return np.where(np.isfinite(fewest), fewest, np.nan)


@dataclass(frozen=True, eq=False)
class Covariance:
    """A covariance matrix alone (saved results, aggregated counts).

    Attributes
    ----------
    matrix : (k, k) float or None
        None: a saved result of so many terms that its file leaves the covariance out.
    known_support : Support or None
        Treated units behind each term, kept so that the guard still works.
    corrected : bool
        See :class:`Influence`.
    df : float or None
        Degrees of freedom of the variance.
    stored : Stored or None
        Of a saved result: its numbers as they were printed, which its terms keep until they are mapped.
    bias : Bias or None
        The part of the covariance that is bias of an unknown law (shrinkage), for which intervals take the worst case.
    """

    matrix: Array | None
    known_support: Support | None = None
    corrected: bool = False
    df: float | None = None
    stored: Stored | None = None
    bias: Bias | None = None

    def map(self, matrix: Any) -> Covariance:
        support = None
        if self.known_support is not None:
            # The weights are gone, so a combination is credited with the fewest units among its parts.
            used = _dense(matrix) != 0
            known = self.known_support
            support = Support(
                _fewest(used, known.n_treated),
                _fewest(used, known.n_effective),
                np.where(used, known.inflation, -np.inf).max(axis=1),
                _fewest(used, known.df),
            )
        half = np.asarray(matrix @ self._known())
        bias = None if self.bias is None else self.bias.map(matrix)
        return replace(self, matrix=np.asarray(matrix @ half.T), known_support=support, stored=None, bias=bias)

    def take(self, index: Any) -> Covariance:
        support = self.known_support
        if support is not None:
            support = Support(
                support.n_treated[index], support.n_effective[index], support.inflation[index], support.df[index]
            )
        matrix = None if self.matrix is None else self.matrix[np.ix_(index, index)]
        stored = None if self.stored is None else self.stored.take(index)
        bias = None if self.bias is None else self.bias.take(index)
        return replace(self, matrix=matrix, known_support=support, stored=stored, bias=bias)

    def _known(self) -> Array:
        if self.matrix is None:
            raise InferenceError(
                "PMG-NO-COVARIANCE",
                "the file of this result leaves its covariance out, because it has too many terms",
                fix="compute it before saving, or save the terms that you need (where(...))",
            )
        return self.matrix

    def cov(self, dependence: Dependence) -> Array:
        return self._known()

    def variance(self, dependence: Dependence) -> Array:
        return np.asarray(np.diag(self._known()))

    def support(self, dependence: Dependence) -> Support | None:
        return self.known_support
