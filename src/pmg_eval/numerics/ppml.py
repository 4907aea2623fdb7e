r"""Poisson pseudo-maximum likelihood with unit and time effects, exactly absorbed.

The model is :math:`\mu_{it} = E_{it} \exp(a_i + d_t + x_{it}'\beta)`; the estimator solves
:math:`\sum w (y - \mu) z = 0` for every column z of the design, whatever the distribution of y.

References
----------
Gourieroux, C., Monfort, A., Trognon, A. (1984). Pseudo maximum likelihood methods: applications to Poisson models.
Econometrica 52, 701-720. doi:10.2307/1913472.
Hausman, J., Hall, B. H., Griliches, Z. (1984). Econometric models for count data with an application to the
patents-R&D relationship. Econometrica 52, 909-938. doi:10.2307/1911191.
Correia, S., Guimarães, P., Zylkin, T. (2021). Verifying the existence of maximum likelihood estimates for generalized
linear models. arXiv:1903.01633. doi:10.48550/arXiv.1903.01633.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmg_eval.errors import NumericalError
from pmg_eval.numerics.absorb import TwoWay
from pmg_eval.numerics.groups import group_mean, group_sum
from pmg_eval.numerics.wls import factorize

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Codes = NDArray[np.int64]

_MARGIN_SWEEPS = 5  # proportional fitting before Newton: removes the bulk of the period differences
_HALVINGS = 40
_LARGEST_MOVE = 5.0  # a Newton step may change no rate by more than this factor (on the log scale)
_FLAT = 1e-9  # a covariate direction this short on the positive rows, relative to all rows, vanishes there


@dataclass(frozen=True, eq=False)
class PpmlFit:
    r"""Poisson pseudo-maximum-likelihood fit with unit and time effects.

    Attributes
    ----------
    coef : (p,) array
        Coefficients of the covariates; 0 where dropped as collinear with the effects or with earlier covariates.
    unit_effect : (n_units,) array
        :math:`\hat a_i`; NaN for units without a used row.
    time_effect : (n_times,) array
        :math:`\hat d_t`, summing to zero over the periods of each connected component; NaN without a used row.
    mu : (N,) array
        Fitted means. Separated rows have 0 (the limit of the likelihood); rows of weight 0 have their prediction, NaN
        where unit and period are not tied by used rows.
    used : (N,) bool array
        Rows the likelihood is built on: positive weight and exposure, and not separated.
    separated : (N,) bool array
        Rows with y = 0 that the unit and time effects fit perfectly (all-zero units and periods among them).
    dropped_units, dropped_times : int arrays
        Units and periods that have rows of positive weight but no used row.
    dropped : tuple of int
        Collinear covariates.
    bread : (p, p) array
        :math:`(\tilde X' M \tilde X)^{-1}` with :math:`M = \operatorname{diag}(w\mu)`; 0 on dropped covariates.
    x_within : (N, p) array
        :math:`\tilde X`, the covariates less their M-weighted unit and time effects; 0 on rows not used.
    x_unit, x_time : (n_units, p), (n_times, p) arrays
        Those effects: :math:`X = \Gamma_a[i] + \Gamma_d[t] + \tilde X`. NaN where absent.
    two_way : TwoWay
        The elimination at the optimum, with cell weights :math:`B_{it} = w\mu` over the *used* rows
        (codes unchanged, ``two_way.unit`` has one entry per used row).
    iterations : int
        Newton steps taken.
    deviance : float
        :math:`2 \sum w \{ y \log(y/\mu) - (y - \mu) \}` over used rows.
    score : float
        Largest score relative to the size of its terms, at the optimum.

    Notes
    -----
    *Influence of predictions.* With the score :math:`s_{js} = w_{js}(y_{js} - \mu_{js})` of a used row, the inverse
    information in blocks (units eliminated, then periods, then covariates) gives

    .. math::

        \hat\beta - \beta &\approx \text{bread} \sum_{js} \tilde x_{js} s_{js} \\
        \hat\eta_{it} - \eta_{it} &\approx \frac{1}{W_i} \sum_s s_{is}
            + \Big(e_t - \frac{B_i}{W_i}\Big)' S^+ \sum_{js} \Big(e_s - \frac{B_j}{W_j}\Big) s_{js}
            + \big(x_{it} - \Gamma_{a,i} - \Gamma_{d,t}\big)' (\hat\beta - \beta)

    for any cell whose unit and period are in one component (used or predicted), where :math:`W_i` is
    ``unit_weight_sum`` and :math:`S^+` is ``schur_pinv``. A prediction follows by :math:`d\mu = \mu\, d\eta`.
    These are derivatives with respect to the weights of the rows (kind "derivative").
    """

    coef: Array
    unit_effect: Array
    time_effect: Array
    mu: Array
    used: Mask
    separated: Mask
    dropped_units: Codes
    dropped_times: Codes
    dropped: tuple[int, ...]
    bread: Array
    x_within: Array
    x_unit: Array
    x_time: Array
    two_way: TwoWay
    iterations: int
    deviance: float
    score: float

    @property
    def schur_pinv(self) -> Array:
        """:math:`S^+` of the working weights at the optimum, (n_times, n_times)."""
        return self.two_way.schur_pinv

    @property
    def unit_weight_sum(self) -> Array:
        r""":math:`W_i = \sum_t w_{it}\mu_{it}` over used rows, (n_units,); equal to the unit's weighted count."""
        return self.two_way.unit_weight_sum


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of a panel for a Poisson regression."""

    y: Array
    exposure: Array
    w: Array
    x: Array
    unit: Codes
    time: Codes
    n_units: int
    n_times: int

    def select(self, mask: Mask) -> _Rows:
        return replace(
            self,
            y=self.y[mask],
            exposure=self.exposure[mask],
            w=self.w[mask],
            x=self.x[mask],
            unit=self.unit[mask],
            time=self.time[mask],
        )

    def by_unit(self, values: Array) -> Array:
        return group_sum(self.unit, values, self.n_units)

    def by_time(self, values: Array) -> Array:
        return group_sum(self.time, values, self.n_times)

    def elimination(self, w: Array) -> TwoWay:
        return TwoWay(self.unit, self.time, self.n_units, self.n_times, w)


@dataclass(frozen=True, eq=False)
class _Model:
    """The used rows with covariates centered by unit and period, so that a large offset cannot make exp() overflow."""

    rows: _Rows
    x: Array  # centered, all covariates
    x_unit: Array
    x_time: Array
    kept: NDArray[np.intp]  # covariates that are not collinear
    unit_count: Array
    time_count: Array

    def means(self, time_effect: Array, coef: Array) -> tuple[Array, Array]:
        """Unit effects in closed form (so their scores are zero), and the means; ``coef`` of the kept covariates."""
        log_rate = time_effect[self.rows.time] + self.x[:, self.kept] @ coef
        top = float(log_rate.max())
        rate = self.rows.exposure * np.exp(log_rate - top)
        total = self.rows.by_unit(self.rows.w * rate)
        ratio = np.divide(self.unit_count, total, out=np.ones_like(total), where=total > 0)
        return np.log(ratio) - top, rate * ratio[self.rows.unit]

    def deviance(self, mu: Array) -> float:
        from scipy.special import rel_entr

        return float(2 * np.sum(self.rows.w * (rel_entr(self.rows.y, mu) - (self.rows.y - mu))))

    def score(self, mu: Array, x_within: Array) -> float:
        """Largest period or covariate score, relative to the sum of the absolute values of its terms."""
        rest = self.rows.w * (self.rows.y - mu)
        gaps = np.abs(self.rows.by_time(rest)) / np.where(self.time_count > 0, self.time_count, 1.0)
        size = np.abs(x_within).T @ (self.rows.w * (self.rows.y + mu))
        gaps_x = np.abs(x_within.T @ rest) / np.where(size > 0, size, 1.0)
        return float(max(gaps.max(initial=0.0), gaps_x.max(initial=0.0)))


@dataclass(frozen=True, eq=False)
class _Optimum:
    time_effect: Array
    coef: Array
    two_way: TwoWay
    bread: Array
    iterations: int
    score: float


def ppml(
    y: ArrayLike,
    exposure: ArrayLike | None,
    unit: Codes,
    time: Codes,
    X: ArrayLike | None = None,
    w: ArrayLike | None = None,
    *,
    n_units: int | None = None,
    n_times: int | None = None,
    tol: float = 1e-12,
    max_iterations: int = 100,
) -> PpmlFit:
    r"""Poisson pseudo-maximum likelihood with unit and time effects and an exposure.

    .. math:: \max \sum_{it} w_{it} (y_{it} \log \mu_{it} - \mu_{it}),
              \qquad \mu_{it} = E_{it} \exp(a_i + d_t + x_{it}'\beta)

    Parameters
    ----------
    y : (N,) array
        Outcome, at least 0 (counts, or any non-negative amount).
    exposure : (N,) array, optional
        :math:`E`, at least 0; ones by default. Rows with exposure 0 carry no information and must have y = 0.
    unit, time : (N,) int arrays
        Codes.
    X : (N, p) array, optional
        Covariates, finite.
    w : (N,) array, optional
        Weights, at least 0; rows of weight 0 are predicted, not fitted.
    n_units, n_times : int, optional
        Number of codes; the largest code plus one by default.
    tol : float
        Largest relative score at convergence (not below the rounding of a sum over N rows).
    max_iterations : int
        Newton steps allowed.

    Returns
    -------
    PpmlFit

    Raises
    ------
    NumericalError
        PMG-NEGATIVE-COUNT, PMG-WEIGHT, PMG-NOT-FINITE for input a Poisson model cannot have;
        PMG-EXPOSURE for y > 0 with exposure 0; PMG-NO-EVENTS when nothing is left to fit;
        PMG-SEPARATION (``where`` has the column indices) when a combination of covariates and effects fits some zeros
        perfectly, so that no finite estimate exists; PMG-NOT-CONVERGED.

    Notes
    -----
    Unit effects have a closed form, so the search is Newton's method on the concave multinomial likelihood in
    :math:`(d, \beta)`; each step eliminates the effects exactly (`TwoWay`) and is halved while the deviance rises.
    Separation by the effects alone is found without tolerance: cells with y > 0 join units and periods to groups, a
    zero orders the group of its unit below that of its period, and a zero between groups that are not on a common
    cycle is separated. All-zero units and periods are special cases. Separation by covariates is a linear program in
    the few directions in which the covariates vanish on all positive rows.

    Examples
    --------
    >>> unit, time = np.repeat([0, 1], 2), np.tile([0, 1], 2)
    >>> y = np.array([2.0, 4.0, 3.0, 18.0])
    >>> fit = ppml(y, None, unit, time, X=((unit == 1) & (time == 1))[:, None])
    >>> bool(np.isclose(fit.coef[0], np.log((18 / 3) / (4 / 2))))
    True
    """
    covariates = np.zeros((len(unit), 0)) if X is None else np.asarray(X, dtype=np.float64)
    outcome = np.asarray(y, dtype=np.float64)
    data = _Rows(
        y=outcome,
        exposure=np.ones_like(outcome) if exposure is None else np.asarray(exposure, dtype=np.float64),
        w=np.ones_like(outcome) if w is None else np.asarray(w, dtype=np.float64),
        x=covariates,
        unit=np.asarray(unit, dtype=np.int64),
        time=np.asarray(time, dtype=np.int64),
        n_units=int(np.max(unit, initial=-1)) + 1 if n_units is None else n_units,
        n_times=int(np.max(time, initial=-1)) + 1 if n_times is None else n_times,
    )
    informative = _informative(data)
    separated = informative.copy()
    separated[informative] = _separated_by_effects(data.select(informative))
    used = informative & ~separated
    if not used.any():
        raise NumericalError(
            "PMG-NO-EVENTS", "no row with a positive outcome is left to fit", fix="use a longer period or larger areas"
        )
    model = _model(data.select(used))
    _refuse_separation(model)
    optimum = _newton(model, tol, max_iterations)
    return _collect(data, model, optimum, used, separated)


def _informative(data: _Rows) -> Mask:
    """Rows with weight and exposure, after refusing what a Poisson model cannot have."""
    weighted = data.w > 0
    checks = (
        ("PMG-WEIGHT", "negative or missing weights", ~(data.w >= 0)),
        ("PMG-NOT-FINITE", "missing or infinite outcomes", weighted & ~np.isfinite(data.y)),
        ("PMG-NOT-FINITE", "missing or infinite covariates", ~np.isfinite(data.x).all(axis=1)),
        ("PMG-NEGATIVE-COUNT", "negative outcomes", weighted & (data.y < 0)),
        ("PMG-EXPOSURE", "negative or missing exposure", ~(data.exposure >= 0) | np.isinf(data.exposure)),
        ("PMG-EXPOSURE", "events without exposure", weighted & (data.exposure == 0) & (data.y > 0)),
    )
    for code, what, bad in checks:
        if bad.any():
            raise NumericalError(
                code, f"{what} in a Poisson model (row positions given)", where=np.flatnonzero(bad).tolist()
            )
    return weighted & (data.exposure > 0)


def _separated_by_effects(rows: _Rows) -> Mask:
    """Zeros that unit and time effects alone fit perfectly; exact, by strongly connected components.

    A direction :math:`(a, d)` that leaves every positive row alone is one number per component of the graph of
    positive rows (+ on its units, - on its periods). A zero in the row of component c and the column of component c'
    asks for number(c) <= number(c'), and can be strict exactly when c and c' are not on a common cycle.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    zero: Mask = rows.y == 0
    if not zero.any():
        return zero
    positive = rows.elimination((~zero).astype(np.float64))
    groups = positive.components
    # A unit or period without any event is a group of its own.
    unit_group = np.where(positive.component_unit >= 0, positive.component_unit, groups + np.arange(rows.n_units))
    groups += rows.n_units
    time_group = np.where(positive.component_time >= 0, positive.component_time, groups + np.arange(rows.n_times))
    groups += rows.n_times
    tail, head = unit_group[rows.unit[zero]], time_group[rows.time[zero]]
    graph = csr_array((np.ones(tail.shape[0]), (tail, head)), shape=(groups, groups))
    cycle = connected_components(graph, directed=True, connection="strong")[1]
    separated = np.zeros(zero.shape[0], dtype=bool)
    separated[zero] = cycle[tail] != cycle[head]
    return separated


def _model(rows: _Rows) -> _Model:
    unit_count, time_count = rows.by_unit(rows.w * rows.y), rows.by_time(rows.w * rows.y)
    if rows.x.shape[1] == 0:
        none = np.zeros(0, dtype=np.intp)
        return _Model(
            rows, rows.x, np.zeros((rows.n_units, 0)), np.zeros((rows.n_times, 0)), none, unit_count, time_count
        )
    base = rows.elimination(rows.w)
    x_unit, x_time = base.solve(rows.x)
    centered = base.residualize(rows.x)
    length = np.sqrt(np.square(rows.x).T @ rows.w)
    dropped = factorize(centered, rows.w, reference=length).dropped
    kept = np.setdiff1d(np.arange(rows.x.shape[1]), dropped)
    return _Model(rows, centered, x_unit, x_time, kept, unit_count, time_count)


def _refuse_separation(model: _Model) -> None:
    """Raise when covariates (with the effects) fit zeros perfectly.

    Only directions in which the covariates vanish on all positive rows, once unit and time effects are removed there,
    can do so. There are rarely any; where there are, a linear program looks for one that is negative on a zero.
    """
    from scipy.optimize import linprog

    rows, x = model.rows, model.x[:, model.kept]
    zero = rows.y == 0
    if x.shape[1] == 0 or not zero.any():
        return
    positive = rows.elimination((~zero).astype(np.float64))
    scale = np.sqrt(np.mean(np.square(x), axis=0))
    left = positive.residualize(x)[~zero] / (scale * np.sqrt(np.count_nonzero(~zero)))
    _, singular, basis = np.linalg.svd(np.linalg.qr(left, mode="r"), full_matrices=True)
    flat = np.ones(x.shape[1], dtype=bool)
    flat[: singular.shape[0]] = singular <= _FLAT
    if not flat.any():
        return
    directions = basis[flat].T / scale[:, None]
    direction = x @ directions
    unit_move, time_move = positive.solve(direction)
    moved = (direction - unit_move[rows.unit] - time_move[rows.time])[zero]
    moved = np.where(np.abs(moved) <= _FLAT * np.abs(moved).max(axis=0), 0.0, moved / np.abs(moved).max(axis=0))
    # Zeros between components of the positive rows also move with the levels of these components.
    labels = np.arange(1, positive.components)
    levels = (positive.component_unit[rows.unit[zero], None] == labels).astype(np.float64)
    levels -= positive.component_time[rows.time[zero], None] == labels
    effect = np.unique(np.column_stack([moved, levels]), axis=0)
    found = linprog(
        effect.sum(axis=0),
        A_ub=np.vstack([effect, -effect]),
        b_ub=np.concatenate([np.zeros(effect.shape[0]), np.ones(effect.shape[0])]),
        bounds=(None, None),
        method="highs",
    )
    if found.x is None or found.fun is None:
        raise NumericalError("PMG-NOT-CONVERGED", f"the separation check failed: {found.message}")
    if found.fun > -0.5:  # a separating direction can be scaled until it reaches -1
        return
    weight = np.abs(directions @ found.x[: directions.shape[1]]) * scale
    columns = model.kept[weight > 1e-6 * weight.max()]
    raise NumericalError(
        "PMG-SEPARATION",
        "a combination of covariates fits some zeros perfectly, so no finite estimate exists (column indices given)",
        where=columns.tolist(),
        fix="drop or coarsen these covariates, or leave out the rows they single out",
    )


def _newton(model: _Model, tol: float, max_iterations: int) -> _Optimum:
    rows = model.rows
    x = model.x[:, model.kept]
    present = model.time_count > 0
    time_effect, coef = np.zeros(rows.n_times), np.zeros(x.shape[1])
    _, mu = model.means(time_effect, coef)
    for _ in range(_MARGIN_SWEEPS):
        time_effect[present] += np.log(model.time_count[present] / rows.by_time(rows.w * mu)[present])
        _, mu = model.means(time_effect, coef)
    deviance = model.deviance(mu)
    noise = 1e-13 * float(model.time_count.sum())
    target = max(tol, 8 * np.finfo(float).eps * np.sqrt(rows.y.shape[0]))
    for iteration in range(max_iterations + 1):
        two_way = rows.elimination(rows.w * mu)
        x_within = two_way.residualize(x, refine=False) if len(model.kept) else x
        score = model.score(mu, x_within)
        bread = factorize(x_within, rows.w * mu).bread if len(model.kept) else np.zeros((0, 0))
        if score <= target:
            return _Optimum(time_effect, coef, two_way, bread, iteration, score)
        # From the scores: the working residual y/mu - 1 of an event where almost none is expected has no digits left.
        coef_step = bread @ (x_within.T @ (rows.w * (rows.y - mu)))
        time_step = np.nan_to_num(two_way.solve(rows.y / mu - 1.0 - x @ coef_step, refine=False)[1])
        move = float(np.abs(time_step[rows.time] + x @ coef_step).max())
        size = min(1.0, _LARGEST_MOVE / move) if move > 0 else 1.0
        for _ in range(_HALVINGS):
            _, trial = model.means(time_effect + size * time_step, coef + size * coef_step)
            reached = model.deviance(trial)
            if reached <= deviance + noise + 1e-13 * abs(deviance):
                break
            size /= 2
        time_effect, coef = time_effect + size * time_step, coef + size * coef_step
        mu, deviance = trial, reached
    raise NumericalError(
        "PMG-NOT-CONVERGED",
        f"Poisson regression did not converge in {max_iterations} Newton steps (relative score {score:.1e})",
        fix="rescale or drop covariates with extreme values",
    )


def _collect(data: _Rows, model: _Model, optimum: _Optimum, used: Mask, separated: Mask) -> PpmlFit:
    """Effects in the original parametrization, normalized, and predictions for the rows not used."""
    two_way, n_covariates = optimum.two_way, data.x.shape[1]
    coef = np.zeros(n_covariates)
    coef[model.kept] = optimum.coef
    bread = np.zeros((n_covariates, n_covariates))
    bread[np.ix_(model.kept, model.kept)] = optimum.bread
    unit_effect, fitted = model.means(optimum.time_effect, optimum.coef)
    absent_unit, absent_time = two_way.component_unit < 0, two_way.component_time < 0
    level = group_mean(two_way.component_time[~absent_time], optimum.time_effect[~absent_time], two_way.components)
    unit_effect = np.where(absent_unit, np.nan, unit_effect + level[two_way.component_unit])
    time_effect = np.where(absent_time, np.nan, optimum.time_effect - level[two_way.component_time])
    # From centered covariates back to the covariates as given.
    unit_effect -= model.x_unit @ coef
    time_effect -= model.x_time @ coef
    unit_more, time_more = two_way.solve(model.x)
    x_within = np.zeros_like(data.x)
    x_within[used] = two_way.residualize(model.x)
    x_within[:, np.setdiff1d(np.arange(n_covariates), model.kept)] = 0.0
    mu = np.full(data.y.shape[0], np.nan)
    rest = ~used & two_way.estimable(data.unit, data.time)
    log_rate = unit_effect[data.unit[rest]] + time_effect[data.time[rest]] + data.x[rest] @ coef
    mu[rest] = data.exposure[rest] * np.exp(log_rate)
    mu[separated] = 0.0
    mu[used] = fitted
    weighted = data.w > 0
    return PpmlFit(
        coef=coef,
        unit_effect=unit_effect,
        time_effect=time_effect,
        mu=mu,
        used=used,
        separated=separated,
        dropped_units=_without(data.unit, weighted, absent_unit),
        dropped_times=_without(data.time, weighted, absent_time),
        dropped=tuple(int(column) for column in np.setdiff1d(np.arange(n_covariates), model.kept)),
        bread=bread,
        x_within=x_within,
        x_unit=model.x_unit + unit_more,
        x_time=model.x_time + time_more,
        two_way=two_way,
        iterations=optimum.iterations,
        deviance=model.deviance(fitted),
        score=optimum.score,
    )


def _without(codes: Codes, weighted: Mask, absent: Mask) -> Codes:
    """Codes that occur with weight but did not enter the fit."""
    return np.flatnonzero(absent & (np.bincount(codes[weighted], minlength=absent.shape[0]) > 0)).astype(np.int64)
