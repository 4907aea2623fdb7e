r"""Unit and period effects fitted on untreated observations: the arrays behind ``did.imputation``.

Everything lives on the (n, T) grid of units and periods. With working weights :math:`\omega_{it}` (zero outside the
untreated observations), :math:`A_i=\sum_t\omega_{it}` and :math:`m_{it}=\omega_{it}/A_i`, eliminating the unit effects
leaves the T x T Schur complement :math:`S=\mathrm{diag}(\sum_i\omega_{it})-\sum_i\omega_i m_i'` of
:class:`~pmg_eval.numerics.absorb.TwoWay`. The score of a unit has no part along its own dummy (its weighted residuals
sum to zero), so only periods and covariates are left in the influence of a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmg_eval.errors import DesignError, NumericalError
from pmg_eval.numerics.absorb import TwoWay
from pmg_eval.numerics.wls import Factor, factorize

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Grid:
    """A panel as (n, T) arrays, split into untreated observations and treated cells.

    Attributes
    ----------
    outcome, weight : (n, T) float
        Zero where nothing was observed.
    untreated : (n, T) bool
        Observations that may inform the counterfactual.
    unit, period : (k,) int
        Treated cells, by unit and then period.
    event : (n, T) float
        Event time; -inf for never treated units.
    covariates : (p, n, T) float
        Centered and scaled over the observations.
    names : tuple of str
        Names of the covariates;  ``scales`` (p,) undo the scaling.
    """

    outcome: Array
    weight: Array
    untreated: Mask
    unit: Codes
    period: Codes
    event: Array
    covariates: Array
    names: tuple[str, ...]
    scales: Array


@dataclass(frozen=True, eq=False)
class Additive:
    """Weighted additive model ``unit effect + period effect`` on the untreated observations.

    Attributes
    ----------
    weight : (n, T) float
        Working weights, zero outside the untreated observations.
    share : (n, T) float
        Weights of a unit divided by their sum (zero for a unit without untreated observations).
    effects : TwoWay
        The factored normal equations, one row per cell of the grid.
    """

    weight: Array
    share: Array
    effects: TwoWay

    def residual(self, values: Array) -> Array:
        """``values`` (..., n, T) minus the unit and period effects fitted to their untreated part, at every cell."""
        columns = values.reshape(-1, self.weight.size)
        if len(columns) == 1:
            return self.effects.residualize(columns[0]).reshape(values.shape)
        return np.ascontiguousarray(self.effects.residualize(columns.T).T).reshape(values.shape)

    def period_loading(self, unit: Codes, period: Codes) -> Array:
        """``S^+ (e_s - m_j)`` for cells (j, s): (T, k)."""
        inverse = self.effects.schur_pinv
        return np.asarray(inverse[:, period] - (inverse @ self.share.T)[:, unit])

    def identified(self, unit: Codes, period: Codes) -> Mask:
        """Whether the untreated observations determine the prediction for cells (j, s)."""
        return self.effects.estimable(unit, period)


def additive(weight: Array) -> Additive:
    """Factor the additive model for working weights (n, T); zero marks what must not inform it."""
    n, periods = weight.shape
    unit, time = np.repeat(np.arange(n), periods), np.tile(np.arange(periods), n)
    effects = TwoWay(unit, time, n, periods, weight.ravel())
    total = effects.unit_weight_sum[:, None]
    share = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    return Additive(weight, share, effects)


@dataclass(frozen=True, eq=False)
class Partialled:
    """Covariates net of unit and period effects.

    Attributes
    ----------
    residual : (p, n, T) float
        At every cell, the effects being fitted on the untreated observations.
    factor : Factor or None
        Weighted QR of the untreated part; None without covariates.
    used : (n, T) bool
        Rows of that part.
    """

    residual: Array
    factor: Factor | None
    used: Mask

    @property
    def bread(self) -> Array:
        """Inverse (p, p) of the weighted cross product; zero on dropped columns."""
        return np.zeros((0, 0)) if self.factor is None else self.factor.bread

    @property
    def rank(self) -> int:
        return 0 if self.factor is None else self.factor.rank

    @property
    def dropped(self) -> tuple[int, ...]:
        """Columns that are collinear with effects and earlier columns."""
        return () if self.factor is None else self.factor.dropped

    def split(self, target: Array) -> tuple[Array, Array]:
        """Coefficients (p,) of ``target`` (n, T), which is net of the effects, and what is left of it everywhere."""
        if self.factor is None:
            return np.zeros(0), target
        coefficients = self.factor.solve(target[self.used]).coef
        return coefficients, target - np.tensordot(coefficients, self.residual, axes=1)


def partial_out(model: Additive, grid: Grid) -> Partialled:
    """Covariates net of the effects; a column that only treated cells could tell apart is an error."""
    used = model.weight > 0
    if not len(grid.covariates):
        return Partialled(grid.covariates, None, used)
    residual = model.residual(grid.covariates)
    weight = model.weight[used]
    length = np.sqrt((weight * grid.covariates[:, used] ** 2).sum(axis=1))
    factor = factorize(residual[:, used].T, weight, reference=length)
    partialled = Partialled(residual, factor, used)
    if factor.dropped:
        _refuse_extrapolation(model, grid, partialled)
    return partialled


def _refuse_extrapolation(model: Additive, grid: Grid, partialled: Partialled) -> None:
    """A dropped column must be explained by the others in the treated cells too."""
    valid = model.identified(grid.unit, grid.period)
    cells = (grid.unit[valid], grid.period[valid])
    unexplained = []
    for column in partialled.dropped:
        _, rest = partialled.split(partialled.residual[column])
        # Covariates are scaled to one, so this is far above rounding and far below any real variation.
        if np.abs(rest[cells]).max(initial=0.0) > 1e-7:
            unexplained.append(grid.names[column])
    if unexplained:
        raise DesignError(
            "PMG-COLLINEAR",
            "these covariates vary in the treated cells but not, net of the other terms, among untreated observations",
            where=unexplained,
            fix="drop them: the untreated observations cannot tell what they do",
        )


@dataclass(frozen=True, eq=False)
class Baseline:
    """The fitted counterfactual and what its influence is made of.

    Attributes
    ----------
    expected, residual : (n, T) float
        Counterfactual outcome and outcome minus it; meaningful where ``model.identified``.
    score : (n, T) float
        Weighted residual of the untreated observations (their sum over a unit, and over a period, is zero).
    model : Additive
        At the working weights (weights times the variance function).
    partialled : Partialled
    coefficients : (p,) float
        On the scale of :attr:`Grid.covariates`.
    zero_units, zero_periods : (n,), (T,) bool
        Poisson: without a positive untreated count, so that their expected counts are zero.
    """

    expected: Array
    residual: Array
    score: Array
    model: Additive
    partialled: Partialled
    coefficients: Array
    zero_units: Mask
    zero_periods: Mask

    def loadings(self, unit: Codes, period: Codes) -> Array:
        """``right`` (T+p, k): derivative of the linear predictor of cells (j, s) in the scores of :meth:`left`."""
        covariate = self.partialled.bread @ self.partialled.residual[:, unit, period]
        return np.vstack([self.model.period_loading(unit, period), covariate])

    def left(self) -> Array:
        """Scores (n, T+p) of each unit: the unit-dummy part is zero by the unit's own normal equation."""
        covariate = np.einsum("it,pit->ip", self.score, self.partialled.residual)
        return np.hstack([self.score, covariate])


def gaussian_baseline(grid: Grid) -> Baseline:
    """Weighted least squares of the outcome on effects and covariates over the untreated observations."""
    model = additive(np.where(grid.untreated, grid.weight, 0.0))
    partialled = partial_out(model, grid)
    residual = model.residual(grid.outcome)
    coefficients, residual = partialled.split(residual)
    if not np.isfinite(residual).all():
        raise NumericalError(
            "PMG-NOT-FINITE", "the fit on untreated observations overflowed", fix="rescale the outcome"
        )
    return Baseline(
        expected=grid.outcome - residual,
        residual=residual,
        score=model.weight * residual,
        model=model,
        partialled=partialled,
        coefficients=coefficients,
        zero_units=np.zeros(len(grid.weight), dtype=np.bool_),
        zero_periods=np.zeros(grid.weight.shape[1], dtype=np.bool_),
    )
