r"""What an estimate knows about its error: influence values, draws, or a covariance.

All three are closed under linear maps; Influence -> Draws -> Covariance only loses information.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np
import pandas as pd

from pmg_eval.errors import InferenceError
from pmg_eval.estimate.kernels import Clustered, Dependence, group_codes, label
from pmg_eval.numerics.rows import Array, Rows

if TYPE_CHECKING:
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


@dataclass(frozen=True, eq=False)
class Draws:
    """Replicates of the estimation error (placebo law, bootstrap, posterior).

    Attributes
    ----------
    errors : (R, k) float
        Draws of estimate minus truth.
    p_min : (k,) float
        Smallest p-value the law can attain for each term.
    """

    errors: Array
    p_min: Array

    def map(self, matrix: Any) -> Draws:
        mapped = np.asarray((matrix @ self.errors.T).T)
        dense = _dense(matrix)
        # Terms are drawn independently, so a combination of several attains the product of their smallest p-values.
        attainable = np.where(dense != 0, self.p_min, 1.0).prod(axis=1)
        return Draws(mapped, np.maximum(attainable, 1 / (len(self.errors) + 1)))

    def take(self, index: Any) -> Draws:
        return Draws(self.errors[:, index], self.p_min[index])

    def cov(self, dependence: Dependence) -> Array:
        return np.atleast_2d(np.cov(self.errors, rowvar=False))

    def variance(self, dependence: Dependence) -> Array:
        return np.asarray(self.errors.var(axis=0, ddof=1))

    def support(self, dependence: Dependence) -> Support | None:
        return None

    def p_value(self, deviation: Array) -> Array:
        """Two-sided p of ``estimate - null``: the share of draws at least as large, not below what is attainable."""
        size = np.abs(self.errors)
        # Ties of a deviation with a draw that is the same number up to rounding count as at least as large.
        extreme = (size >= np.abs(deviation) * (1 - 1e-12)).sum(axis=0)
        return np.asarray(np.maximum((1 + extreme) / (len(self.errors) + 1), self.p_min))

    def half_width(self, level: float) -> Array:
        """The two-sided quantile of the error; infinite where the level is not attainable."""
        rank = int(np.ceil(level * (len(self.errors) + 1) - 1e-9))  # 0.07 * 100 is 7, not 8
        if rank > len(self.errors):
            return np.full(self.errors.shape[1], np.inf)
        width = np.partition(np.abs(self.errors), rank - 1, axis=0)[rank - 1]
        return np.where(1 - level < self.p_min * (1 - 1e-12), np.inf, width)


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
    """

    matrix: Array | None
    known_support: Support | None = None
    corrected: bool = False
    df: float | None = None
    stored: Stored | None = None

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
        return replace(self, matrix=np.asarray(matrix @ half.T), known_support=support, stored=None)

    def take(self, index: Any) -> Covariance:
        support = self.known_support
        if support is not None:
            support = Support(
                support.n_treated[index], support.n_effective[index], support.inflation[index], support.df[index]
            )
        matrix = None if self.matrix is None else self.matrix[np.ix_(index, index)]
        stored = None if self.stored is None else self.stored.take(index)
        return replace(self, matrix=matrix, known_support=support, stored=stored)

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
