r"""Exact removal of unit and time effects from columns of a panel, balanced or not, weighted or not.

With weights :math:`w`, unit totals :math:`W_i = \sum_t w_{it}` and the (n, T) matrix :math:`B` of cell weights, the
normal equations of :math:`\min \sum_{it} w_{it} (y_{it} - a_i - d_t)^2` are solved by eliminating the units:

.. math::

    a_i = \bar y_i - \frac{B_i d}{W_i}, \qquad
    S d = \sum_i \Big( w_{i\cdot} y_{i\cdot} - B_i' \bar y_i \Big), \qquad
    S = \operatorname{diag}\Big(\sum_i B_i\Big) - \sum_i \frac{B_i' B_i}{W_i} .

:math:`S` is the Laplacian of a graph on the periods (two periods are joined by the units observed in both), so its
null space is known from the connected components of the panel and its pseudo-inverse needs no rank tolerance. There is
no iteration over alternating means. The eliminated dimension is the unit; the cost of the rest is :math:`O(T^3)`.

References
----------
Abowd, J. M., Creecy, R. H., Kramarz, F. (2002). Computing person and firm effects using linked longitudinal
employer-employee data. US Census Bureau, LEHD Technical Paper 2002-06.
Wansbeek, T., Kapteyn, A. (1989). Estimation of the error-components model with incomplete panels. J. Econometrics 41,
341-361. doi:10.1016/0304-4076(89)90066-9.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmg_eval.errors import NumericalError
from pmg_eval.numerics.groups import group_sum

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

_DENSE_UP_TO = 8  # cells per observed row up to which the (n, T) weights are kept as a dense array
_TIED_AT_LEAST = 1e-13  # smallest eigenvalue of the scaled Laplacian that rounding leaves meaningful


@dataclass(frozen=True, eq=False)
class TwoWay:
    r"""Unit and time effects of a panel, factored once and applied to any number of columns.

    Parameters
    ----------
    unit : (N,) int array
        Unit of every row, ``0 <= code < n_units``, in any order.
    time : (N,) int array
        Period of every row, ``0 <= code < n_times``.
    n_units, n_times : int
        Number of codes; codes without a row of positive weight are allowed and are "absent".
    w : (N,) array, optional
        Weights, at least 0; ones by default.

    Attributes
    ----------
    balanced : bool
        Without weights and with every (unit, time) exactly once: the closed form is used.
    components : int
        Connected components of the bipartite graph of units and periods (rows with positive weight).
    component_unit, component_time : (n_units,), (n_times,) int arrays
        Component of every unit and period, -1 when absent. A cell (i, t) has an estimable :math:`a_i + d_t` exactly
        when unit and period carry the same label, and that is not -1.
    rank : int
        Present units + present periods - components.
    unit_weight_sum, time_weight_sum : (n_units,), (n_times,) arrays
        :math:`W_i` and the totals per period.
    cell_weight : (n_units, n_times) array or scipy csr_array
        :math:`B`; both kinds support ``@`` and ``.T``.
    schur_pinv : (n_times, n_times) array
        Moore-Penrose inverse of :math:`S`; zero on absent periods.

    Raises
    ------
    NumericalError
        PMG-WEIGHT for negative or missing weights; PMG-NEARLY-DISCONNECTED where two blocks of periods are tied only by
        weights at the limit of rounding.

    Notes
    -----
    *Normalization.* The period effects sum to zero over the periods of each component; the units carry the level.

    *Influence.* With :math:`s_{js} = w_{js} e_{js}`, the effect of the row (j, s) on a prediction is
    :math:`\hat a_i + \hat d_t \leftarrow s_{js} \{ 1[i=j]/W_i + (e_t - B_i/W_i)' S^+ (e_s - B_j/W_j) \}`.

    Examples
    --------
    >>> unit, time = np.repeat([0, 1], 2), np.tile([0, 1], 2)
    >>> TwoWay(unit, time, 2, 2).residualize(np.array([1.0, 2.0, 3.0, 6.0]))
    array([ 0.5, -0.5, -0.5,  0.5])
    """

    unit: Codes
    time: Codes
    n_units: int
    n_times: int
    w: Array | None = None
    balanced: bool = field(init=False)
    components: int = field(init=False)
    component_unit: Codes = field(init=False, repr=False)
    component_time: Codes = field(init=False, repr=False)
    rank: int = field(init=False)
    unit_weight_sum: Array = field(init=False, repr=False)
    time_weight_sum: Array = field(init=False, repr=False)
    cell_weight: Any = field(init=False, repr=False)
    schur_pinv: Array = field(init=False, repr=False)
    _inverse: Array = field(init=False, repr=False)  # of S, reflexive: more accurate for periods of very small weight

    def __post_init__(self) -> None:
        if self.w is not None and not bool(np.all(self.w >= 0)):
            raise NumericalError(
                "PMG-WEIGHT", "negative or missing weights", where=np.flatnonzero(~(self.w >= 0)).tolist()
            )
        cells = self.n_units * self.n_times
        dense = cells <= _DENSE_UP_TO * self.unit.shape[0]
        weight: Any = self._dense_weight() if dense else self._sparse_weight()
        balanced = self.w is None and self.unit.shape[0] == cells and cells > 0 and bool(np.all(weight == 1))
        values: dict[str, Any] = {"balanced": balanced, "cell_weight": weight}
        values["unit_weight_sum"] = np.asarray(weight.sum(axis=1), dtype=np.float64)
        values["time_weight_sum"] = np.asarray(weight.sum(axis=0), dtype=np.float64)
        if balanced:
            values["components"] = 1
            values["component_unit"] = np.zeros(self.n_units, dtype=np.int64)
            values["component_time"] = np.zeros(self.n_times, dtype=np.int64)
            values["schur_pinv"] = values["_inverse"] = (np.eye(self.n_times) - 1.0 / self.n_times) / self.n_units
        else:
            joint = _joint_weights(weight, values["unit_weight_sum"])
            labels = _components(joint, values["time_weight_sum"] > 0)
            values["components"] = int(labels.max(initial=-1)) + 1
            values["component_time"] = labels
            values["component_unit"] = self._unit_components(labels)
            values["_inverse"] = _laplacian_inverse(joint, labels)
            values["schur_pinv"] = _centered(_centered(values["_inverse"], labels).T, labels)
        present = np.count_nonzero(values["component_unit"] >= 0) + np.count_nonzero(values["component_time"] >= 0)
        values["rank"] = int(present) - values["components"]
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _dense_weight(self) -> Array:
        cell = self.unit * self.n_times + self.time
        size = self.n_units * self.n_times
        counted = np.bincount(cell, weights=self.w, minlength=size)
        return counted.astype(np.float64, copy=False).reshape(self.n_units, self.n_times)

    def _sparse_weight(self) -> Any:
        from scipy import sparse

        weight = np.ones(self.unit.shape[0]) if self.w is None else self.w
        return sparse.coo_array((weight, (self.unit, self.time)), shape=(self.n_units, self.n_times)).tocsr()

    def _unit_components(self, labels: Codes) -> Codes:
        """A unit belongs to the component of any period in which it has weight."""
        used = slice(None) if self.w is None else self.w > 0
        component = np.full(self.n_units, -1, dtype=np.int64)
        component[self.unit[used]] = labels[self.time[used]]
        return component

    def estimable(self, unit: Codes, time: Codes) -> NDArray[np.bool_]:
        """Which cells (unit, time) have an estimable prediction :math:`a_i + d_t`."""
        label = self.component_unit[unit]
        return np.asarray((label >= 0) & (label == self.component_time[time]))

    def solve(self, columns: ArrayLike, *, refine: bool = True) -> tuple[Array, Array]:
        """Unit and time effects of every column.

        Parameters
        ----------
        columns : (N,) or (N, m) array
            Values; rows of weight 0 do not matter but must be finite.
        refine : bool
            Repeat the solve on the residuals, which makes them orthogonal to the effects to the last digit. Newton
            steps, which correct themselves, go without.

        Returns
        -------
        unit_effects : (n_units,) or (n_units, m) array
            NaN for absent units.
        time_effects : (n_times,) or (n_times, m) array
            Sum to zero over the periods of each component; NaN for absent periods.
        """
        given = np.asarray(columns, dtype=np.float64)
        unit_effect, time_effect = self._solve_once(given)
        if refine:
            unit_more, time_more = self._solve_once(self._less(given, unit_effect, time_effect))
            unit_effect += unit_more
            time_effect += time_more
        unit_effect[self.component_unit < 0] = np.nan
        time_effect[self.component_time < 0] = np.nan
        return unit_effect, time_effect

    def residualize(self, columns: ArrayLike, *, refine: bool = True) -> Array:
        """Columns minus their unit and time effects, the (weighted) two-way within transformation.

        Parameters
        ----------
        columns : (N,) or (N, m) array
            Values.
        refine : bool
            As in `solve`.

        Returns
        -------
        (N,) or (N, m) array
            In rows of weight 0 the prediction error of the fit; 0 where such a row has no estimable prediction.
        """
        resid = np.asarray(columns, dtype=np.float64)
        for _ in range(2 if refine else 1):
            # The effects of the residual are subtracted from the residual, not added up: they may be 1e9 times smaller.
            resid = self._less(resid, *self._solve_once(resid))
        if self.w is not None:
            resid[~self.estimable(self.unit, self.time)] = 0.0
        return resid

    def _less(self, columns: Array, unit_effect: Array, time_effect: Array) -> Array:
        resid = columns - unit_effect[self.unit]
        resid -= time_effect[self.time]
        return resid

    def _solve_once(self, columns: Array) -> tuple[Array, Array]:
        """One elimination; absent units and periods get 0."""
        weighted = columns
        if self.w is not None:
            weighted = columns * (self.w if columns.ndim == 1 else self.w[:, None])
        total = self.unit_weight_sum if columns.ndim == 1 else self.unit_weight_sum[:, None]
        inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        unit_mean = group_sum(self.unit, weighted, self.n_units) * inverse
        time_sum = group_sum(self.time, weighted, self.n_times)
        if self.balanced:
            time_effect = time_sum / self.n_units
            return unit_mean, time_effect - time_effect.mean(axis=0)
        time_effect = _centered(self._inverse @ (time_sum - self.cell_weight.T @ unit_mean), self.component_time)
        return unit_mean - (self.cell_weight @ time_effect) * inverse, time_effect


def two_way(
    columns: ArrayLike,
    unit: Codes,
    time: Codes,
    w: Array | None = None,
    n_units: int | None = None,
    n_times: int | None = None,
) -> Array:
    r"""Two-way within transformation, :math:`y_{it} - \hat a_i - \hat d_t`.

    Parameters
    ----------
    columns : (N,) or (N, m) array
        Values.
    unit, time : (N,) int arrays
        Codes.
    w : (N,) array, optional
        Weights.
    n_units, n_times : int, optional
        Number of codes; the largest code plus one by default.

    Returns
    -------
    (N,) or (N, m) array
        See `TwoWay.residualize`.
    """
    n = int(unit.max(initial=-1)) + 1 if n_units is None else n_units
    periods = int(time.max(initial=-1)) + 1 if n_times is None else n_times
    return TwoWay(unit, time, n, periods, w).residualize(columns)


def _joint_weights(weight: Any, unit_total: Array) -> Array:
    r"""Off-diagonal part of :math:`\sum_i B_i'B_i/W_i`: how strongly two periods are tied by common units."""
    inverse = np.divide(1.0, unit_total, out=np.zeros_like(unit_total), where=unit_total > 0)
    if isinstance(weight, np.ndarray):
        joint = np.asarray((weight * inverse[:, None]).T @ weight)
    else:
        from scipy import sparse

        joint = np.asarray((weight.T @ (sparse.diags_array(inverse) @ weight)).toarray())
    joint = np.asarray((joint + joint.T) / 2, dtype=np.float64)
    np.fill_diagonal(joint, 0.0)
    return joint


def _components(joint: Array, present: NDArray[np.bool_]) -> Codes:
    """Connected components of the periods, -1 for absent ones. Units join through the periods they share."""
    labels = np.full(present.shape[0], -1, dtype=np.int64)
    if not present.any():
        return labels
    tied = joint[np.ix_(present, present)] > 0
    if int(np.count_nonzero(tied, axis=1).max()) == tied.shape[0] - 1:  # one period is tied to all others
        labels[present] = 0
        return labels
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    labels[present] = connected_components(csr_array(tied.astype(np.int8)), directed=False)[1]
    return labels


def _laplacian_inverse(joint: Array, labels: Codes) -> Array:
    """Reflexive inverse of the Laplacian with edge weights ``joint``, component by component.

    The diagonal is summed from the edges, which avoids the cancellation of "total minus explained" when most units are
    seen once. The eigenproblem is scaled to a unit diagonal, so periods of very different weight do no harm, and its
    one null vector is known. Centered on both sides this is the Moore-Penrose inverse; a right-hand side is not
    centered first, because that would spread the rounding of heavy periods over light ones.
    """
    inverse = np.zeros_like(joint)
    for label in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == label)
        if members.shape[0] == 1:
            continue
        edges = joint[np.ix_(members, members)]
        root = 1.0 / np.sqrt(edges.sum(axis=1))
        scaled = np.eye(members.shape[0]) - root[:, None] * edges * root
        value, vector = np.linalg.eigh(scaled)
        if value[1] < _TIED_AT_LEAST:
            raise NumericalError(
                "PMG-NEARLY-DISCONNECTED",
                "some periods are tied to the others by almost no weight, so the period effects are not determined",
                where=members.tolist(),
                fix="drop units of negligible weight, or fit the blocks of periods separately",
            )
        basis = root[:, None] * (vector[:, 1:] / np.sqrt(value[1:]))
        inverse[np.ix_(members, members)] = basis @ basis.T
    return inverse


def _centered(values: Array, labels: Codes) -> Array:
    """Rows (periods) less their mean over the component; rows of absent periods stay."""
    centered = values.copy()
    for label in range(int(labels.max(initial=-1)) + 1):
        members = labels == label
        centered[members] -= values[members].mean(axis=0)
    return centered
