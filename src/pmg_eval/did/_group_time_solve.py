"""All cells of a group-time analysis solved: panels, repeated cross-sections, and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pmg_eval.did._cells import Comparison, Propensity, compare, fit_propensity, per_full_dose, regression_weights
from pmg_eval.did._cells_design import Cell, Pool, PoolKey
from pmg_eval.did._cells_poisson import Counts, RatioCell, compare_counts, reference_counts
from pmg_eval.did._cells_rc import Sections, doubly_robust_sections, regressed_sections, weighted_sections
from pmg_eval.did._covariates import Design

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Method = Literal["dr", "ipw", "or"]


@dataclass(frozen=True, eq=False)
class Sample:
    """Arrays of the units that take part (rows, for repeated cross-sections).

    Attributes
    ----------
    outcome : (T, n) array, or (n,) for repeated cross-sections
        NaN = not observed.
    weight : (n,) array
    share : (n,) array or None
        Treated share of the first treated period.
    """

    outcome: Array
    weight: Array
    share: Array | None
    design: Design
    pool: Pool

    @property
    def n(self) -> int:
        return len(self.weight)


@dataclass(eq=False)
class Solution:
    """Results of k cells, filled in cell by cell.

    Attributes
    ----------
    values : (k,) array
    psi : (k, n) array
        Influence values, one contiguous row per cell.
    expected : (k,) array
        Expected counts without treatment, and their influence `expected_psi` (k, n): rate ratios only, else empty.
    members : list
        Treated units of a cell and their shares, where they differ between cells of a cohort.
    """

    values: Array
    psi: Array
    status: list[str]
    n_treated: NDArray[np.int64]
    n_control: NDArray[np.int64]
    n_trimmed: NDArray[np.int64]
    lowest: Array
    highest: Array
    expected: Array
    expected_psi: Array
    members: list[tuple[NDArray[np.intp], Array] | None]

    @classmethod
    def empty(cls, k: int, n: int, *, ratios: bool = False) -> Solution:
        return cls(
            values=np.full(k, np.nan),
            psi=np.zeros((k, n)),
            status=[""] * k,
            n_treated=np.zeros(k, dtype=np.int64),
            n_control=np.zeros(k, dtype=np.int64),
            n_trimmed=np.zeros(k, dtype=np.int64),
            lowest=np.full(k, np.nan),
            highest=np.full(k, np.nan),
            expected=np.full(k if ratios else 0, np.nan),
            expected_psi=np.zeros((k if ratios else 0, n)),
            members=[None] * k,
        )

    def count(self, j: int, treated: Mask) -> None:
        """Note the units of a cell, and whether one side is empty."""
        self.n_treated[j] = np.count_nonzero(treated)
        self.n_control[j] = len(treated) - self.n_treated[j]
        self.status[j] = "no_treated" if not self.n_treated[j] else "no_control" if not self.n_control[j] else ""

    def note(self, cells: Sequence[int], propensity: Propensity) -> None:
        """Note the propensity of cells, and why it cannot be used."""
        for j in cells:
            self.n_trimmed[j] = propensity.n_trimmed
            self.lowest[j], self.highest[j] = propensity.lowest, propensity.highest
        self.fail(cells, propensity.status)

    def fail(self, cells: Sequence[int], status: str) -> None:
        """The reason why cells have no estimate ("" = they have one)."""
        for j in cells:
            self.status[j] = status

    def store(self, j: int, units: NDArray[np.intp], result: Comparison) -> None:
        """The estimate of a cell, and its influence in the rows of its units."""
        self.values[j] = result.values[0]
        self.psi[j][units] = self.psi.shape[1] * result.derivative[0]

    def store_ratio(self, j: int, units: NDArray[np.intp], result: RatioCell) -> None:
        """The rate ratio and the expected count of a cell, and their influence."""
        n = self.psi.shape[1]
        self.values[j], self.status[j] = result.ratio, result.status
        self.psi[j][units] = n * result.ratio_derivative
        self.expected[j] = result.expected
        self.expected_psi[j][units] = n * result.expected_derivative


def _members(units: NDArray[np.intp], treated: Mask, weight: Array) -> tuple[NDArray[np.intp], Array] | None:
    """Treated units of a cell and their shares of it."""
    if not treated.any():
        return None
    return units[treated], weight[treated] / weight[treated].sum()


@dataclass(frozen=True, eq=False)
class _Family:
    """Cells of one cohort with the same controls, covariates and observed units: solved at once.

    ``shared`` identifies controls, covariates and observed units, which families of other cohorts may have in common.
    """

    members: list[int]
    cells: list[Cell]
    shared: tuple[PoolKey, tuple[int, ...], tuple[int, ...]]


def _families(sample: Sample, cells: Sequence[Cell], complete: bool) -> list[_Family]:
    found: dict[Any, _Family] = {}
    for j, cell in enumerate(cells):
        if cell.is_reference:
            continue
        observed = () if complete else (cell.period, *cell.base)
        shared = (sample.pool.key(cell), sample.design.key(cell.covariates), observed)
        family = found.setdefault((cell.cohort, shared), _Family([], [], shared))
        family.members.append(j)
        family.cells.append(cell)
    return list(found.values())


def solve_panel(sample: Sample, cells: Sequence[Cell], method: Method) -> Solution:
    """Mean differences of units observed over time."""
    solution = Solution.empty(len(cells), sample.n)
    complete = bool(np.isfinite(sample.outcome).all())
    solvers: dict[Any, Array | None] = {}
    for j, cell in enumerate(cells):
        if cell.is_reference:
            _reference(solution, j, sample, cell)
    for family in _families(sample, cells, complete):
        _solve_family(sample, family, method, solution, complete, solvers)
    return solution


def _reference(solution: Solution, j: int, sample: Sample, cell: Cell) -> None:
    """The base period itself: zero by construction."""
    treated = sample.pool.treated(cell)
    solution.count(j, treated[treated | sample.pool.controls(cell)])
    solution.values[j], solution.status[j] = 0.0, "reference"


def _solve_family(
    sample: Sample,
    family: _Family,
    method: Method,
    solution: Solution,
    complete: bool,
    solvers: dict[Any, Array | None],
) -> None:
    first = family.cells[0]
    treated = sample.pool.treated(first)
    included = treated | sample.pool.controls(first)
    if not complete:
        included &= np.isfinite(sample.outcome[[first.period, *first.base]]).all(axis=0)
    units = np.flatnonzero(included)
    own, weight = treated[units], sample.weight[units]
    for j in family.members:
        solution.count(j, own)
        if not complete:
            solution.members[j] = _members(units, own, weight)
    if own.all() or not own.any():
        return
    full = sample.design.at(first.covariates)
    design = None if full is None else _columns(full, units)
    propensity = regression = None
    if design is not None and method != "ipw":
        if family.shared not in solvers:
            solvers[family.shared] = regression_weights(design[:, ~own], weight[~own])
        regression = solvers[family.shared]
        if regression is None:
            solution.fail(family.members, "singular")
            return
    if design is not None and method != "or":
        propensity = fit_propensity(design, own, weight)
        solution.note(family.members, propensity)
        if propensity.status:
            return
    result = compare(_changes(sample, family.cells, units), own, weight, design, propensity, regression)
    if result is None:
        solution.fail(family.members, "overlap")
        return
    for row, (j, cell) in enumerate(zip(family.members, family.cells, strict=True)):
        one = Comparison(result.values[row : row + 1], result.derivative[row : row + 1])
        if sample.share is not None and sample.pool.starts_in(cell):
            one = per_full_dose(one, own, weight, sample.share[units])
        solution.store(j, units, one)


def _changes(sample: Sample, cells: Sequence[Cell], units: NDArray[np.intp]) -> Array:
    """Outcome minus base of every cell (k, m)."""
    values = _columns(sample.outcome, units)
    change = np.empty((len(cells), len(units)))
    means: dict[tuple[int, ...], Array] = {}
    for row, cell in enumerate(cells):
        if len(cell.base) == 1:
            base = values[cell.base[0]]
        else:
            if cell.base not in means:
                means[cell.base] = values[list(cell.base)].mean(axis=0)
            base = means[cell.base]
        np.subtract(values[cell.period], base, out=change[row])
    return change


def _columns(values: Array, units: NDArray[np.intp]) -> Array:
    """Columns of some units, without a copy when it is all of them."""
    return values if len(units) == values.shape[1] else np.take(values, units, axis=1)


def solve_sections(sample: Sample, period: NDArray[np.int64], cells: Sequence[Cell], method: Method) -> Solution:
    """Mean differences with repeated cross-sections; `period` (n,) is the position of each row's period."""
    solution = Solution.empty(len(cells), sample.n)
    for j, cell in enumerate(cells):
        if cell.is_reference:
            _reference(solution, j, sample, cell)
            continue
        treated = sample.pool.treated(cell)
        in_period, in_base = period == cell.period, period == cell.base[0]
        units = np.flatnonzero((treated | sample.pool.controls(cell)) & (in_period | in_base))
        own, after, weight = treated[units], in_period[units], sample.weight[units]
        solution.count(j, own)
        solution.members[j] = _members(units, own & after, weight)
        empty = _empty_group(own, after)
        if empty:
            solution.fail([j], empty)
            continue
        result = _solve_section(sample, solution, j, units, own, after, method)
        if isinstance(result, str):
            solution.fail([j], result)
            continue
        if sample.share is not None and sample.pool.starts_in(cell):
            result = per_full_dose(result, own & after, weight, sample.share[units])
        solution.store(j, units, result)
    return solution


def _empty_group(own: Mask, after: Mask) -> str:
    """Repeated cross-sections need rows in all four groups."""
    if not (own & after).any() or not (own & ~after).any():
        return "no_treated"
    return "" if (~own & after).any() and (~own & ~after).any() else "no_control"


def _solve_section(
    sample: Sample, solution: Solution, j: int, units: NDArray[np.intp], own: Mask, after: Mask, method: Method
) -> Comparison | str:
    """Estimate of one cell, or the reason why there is none."""
    full = sample.design.at(())
    design = np.ones((1, len(units))) if full is None else full[:, units]
    data = Sections(sample.outcome[units], sample.weight[units], own, after, design)
    if full is None:
        return weighted_sections(data, None)
    if method == "or":
        return regressed_sections(data)
    propensity = fit_propensity(design, own, data.weight)
    solution.note([j], propensity)
    if propensity.status:
        return propensity.status
    return weighted_sections(data, propensity) if method == "ipw" else doubly_robust_sections(data, propensity)


def solve_counts(sample: Sample, exposure: Array, cells: Sequence[Cell]) -> Solution:
    """Rate ratios by the conditional Poisson likelihood; `exposure` is (T, n)."""
    solution = Solution.empty(len(cells), sample.n, ratios=True)
    observed = np.isfinite(sample.outcome) & (exposure > 0)
    complete = bool(observed.all())
    for j, cell in enumerate(cells):
        base = np.array(cell.base)
        treated = sample.pool.treated(cell)
        included = treated | sample.pool.controls(cell)
        if not complete:
            included &= observed[[cell.period, *cell.base]].all(axis=0)
        units = np.flatnonzero(included)
        own, weight = treated[units], sample.weight[units]
        solution.count(j, own)
        if solution.status[j] and not cell.is_reference:
            continue
        full = sample.design.at(cell.covariates)
        counts = Counts(
            base=sample.outcome[np.ix_(base, units)].sum(axis=0),
            later=sample.outcome[cell.period, units],
            base_exposure=exposure[np.ix_(base, units)].sum(axis=0),
            later_exposure=exposure[cell.period, units],
            weight=weight,
            design=None if full is None else full[:, units],
        )
        # Without an event in either period a unit says nothing: it is not counted, and the guard does not rely on it.
        eventful = counts.base + counts.later > 0
        solution.n_treated[j] = np.count_nonzero(own & eventful)
        solution.n_control[j] = np.count_nonzero(~own & eventful)
        if cell.is_reference:
            solution.store_ratio(j, units, reference_counts(counts, own))
            solution.fail([j], "reference")
            continue
        found = compare_counts(counts, own)
        solution.store_ratio(j, units, found)
        solution.members[j] = _members(units, found.share > 0, found.share)
    return solution
