"""From a fitted counterfactual to terms, influence and details of ``did.imputation``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.did._imputation_fit import Array, Baseline, Codes, Grid, Mask
from pmg_eval.did._pretrend import Pretrend
from pmg_eval.errors import DesignError
from pmg_eval.estimate import Influence
from pmg_eval.estimate.terms import make_terms
from pmg_eval.numerics.groups import group_sum
from pmg_eval.numerics.rows import Rows

if TYPE_CHECKING:
    from pmg_eval.panel import Panel

Family = Literal["gaussian", "poisson"]
Variance = Literal["conservative", "leave_out", "derivative"]


@dataclass(frozen=True)
class ImputationDetails:
    """What the untreated observations were able to say.

    Attributes
    ----------
    family, variance : str
    n_untreated : int
        Untreated observations with a positive weight.
    rank : int
        Identified parameters of the counterfactual model (unit and period effects, covariates).
    n_components : int
        Connected components of the graph of units and periods joined by untreated observations; effects are imputed
        within a component only.
    always_treated : tuple
        Treated units without an untreated observation: no terms.
    no_control : tuple
        Periods in which some treated cell could not be imputed for want of an untreated unit.
    zero_base : tuple
        Units whose untreated counts are all zero (``family="poisson"``): their expected counts are 0, their cells NaN.
    leave_out_undefined : tuple of (cohort, event time)
        Cells with one unit, for which the leave-out variance does not exist.
    coefficients : dict of str to float
        Covariates of the counterfactual model; 0 for one that is collinear with the effects.
    dropped_covariates : tuple of str
    """

    family: str
    variance: str
    n_untreated: int
    rank: int
    n_components: int
    always_treated: tuple[Any, ...] = ()
    no_control: tuple[Any, ...] = ()
    zero_base: tuple[Any, ...] = ()
    leave_out_undefined: tuple[tuple[Any, int], ...] = ()
    coefficients: dict[str, float] | None = None
    dropped_covariates: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Cells:
    """Treated cells: values, weights, and what their influence is made of.

    Attributes
    ----------
    value, weight : (k,) float
        Effect (NaN where ``status`` says why) and weight of each cell.
    own : (k,) float
        Deviation of the cell from its cohort x event time, in the cell's own row (zero for ``"derivative"``).
    slope : (k,) float
        Derivative of the value in the cell's linear predictor.
    weight_slope : (k,) float or None
        The same for the weight (Poisson: the weight is an expected count); None when weights do not depend on the fit.
    status : (k,) object
    """

    value: Array
    weight: Array
    own: Array
    slope: Array
    weight_slope: Array | None
    status: Any


def treated_cells(panel: Panel, grid: Grid, baseline: Baseline, family: Family, variance: Variance) -> Cells:
    cells = (grid.unit, grid.period)
    identified = baseline.model.identified(*cells)
    if not identified.any() and not (family == "poisson" and baseline.zero_units.any()):
        raise DesignError(
            "PMG-NO-CONTROL",
            "no treated cell has an untreated unit in its period that is tied to it by earlier periods",
            where=panel.times[np.unique(grid.period)].tolist(),
            fix="add comparison units, or end the window before the last unit is treated",
        )
    status = np.where(identified, "", "no_control").astype(object)
    weight = grid.weight[cells]
    if family == "poisson":
        status[baseline.zero_units[grid.unit] | baseline.zero_periods[grid.period]] = "zero_base"
        good = status == ""
        expected = np.where(good, baseline.expected[cells], np.nan)
        value = grid.outcome[cells] / expected
        weight = weight * np.where(good, expected, 0.0)
        slope, weight_slope, power = -value, weight, 1
    else:
        good = identified
        share = np.ones(len(weight))
        if panel.share is not None:
            share = np.where(grid.event[cells] == 0, panel.share[grid.unit], 1.0)
        value = np.where(good, baseline.residual[cells], np.nan) / share
        weight = weight * share
        slope, weight_slope, power = -1 / share, None, 2
    own = np.zeros(len(value))
    if variance != "derivative":
        own = _deviation(panel.cohort[grid.unit], grid.period, value, weight**power, good, variance)
        alone = good & np.isnan(own)
        status[alone] = "leave_out_undefined"
    return Cells(value, weight, own, np.where(good, slope, 0.0), weight_slope, status)


def _deviation(cohort: Array, period: Codes, value: Array, mass: Array, good: Mask, variance: Variance) -> Array:
    """Value minus the mean of its cohort and period (hence event time) with weights ``mass``; 0 where not ``good``."""
    starts, code = np.unique(cohort, return_inverse=True)
    group = code * (int(period.max()) + 1) + period
    size = len(starts) * (int(period.max()) + 1)
    mass = np.where(good, mass, 0.0)
    known = np.where(good, value, 0.0)
    total = group_sum(group, mass, size)
    safe = np.where(total > 0, total, 1.0)
    deviation = np.where(mass > 0, known - (group_sum(group, mass * known, size) / safe)[group], 0.0)
    if variance == "leave_out":
        alone = group_sum(group, mass > 0, size)[group] <= 1
        rest = np.where(alone, np.nan, 1 - mass / safe[group])
        deviation = np.where(mass > 0, deviation / rest, 0.0)
    return np.asarray(deviation)


def influence_of(
    panel: Panel, grid: Grid, baseline: Baseline, cells: Cells, pre: Pretrend | None, variance: Variance
) -> Influence:
    n, model = panel.n_units, baseline.model
    scores = baseline.left()
    loadings = n * baseline.loadings(grid.unit, grid.period)
    extra = 0 if pre is None else len(pre.value)
    psi_scores = scores if pre is None else np.hstack([scores, pre.psi])

    def right(slope: Array) -> Array:
        """Loadings times slope, with the pre-trend terms appended as columns of their own."""
        block = np.zeros((psi_scores.shape[1], len(slope) + extra))
        block[: len(loadings), : len(slope)] = loadings * slope
        block[len(loadings) :, len(slope) :] = np.eye(extra)
        return block

    weight_psi = None
    if cells.weight_slope is not None:
        own = _own(grid.unit, n * cells.weight, n, extra) if variance == "derivative" else None
        weight_right = right(cells.weight_slope)[: len(loadings)]
        weight_psi = Rows(left=scores, right=weight_right, own=own)
    elif variance == "derivative":
        weight_psi = Rows(own=_own(grid.unit, n * cells.weight, n, extra))
    present = int((model.effects.component_unit >= 0).sum())
    return Influence(
        psi=Rows(
            left=psi_scores,
            right=right(cells.slope),
            own=None if variance == "derivative" else _own(grid.unit, n * cells.own, n, extra),
        ),
        rows=panel.unit_labels,
        n=n,
        kind="derivative" if variance == "derivative" else "score",
        n_obs=int((model.weight > 0).sum()),
        n_params=model.effects.rank + baseline.partialled.rank + (0 if pre is None else pre.rank),
        n_params_nested={"unit": present - model.effects.components},
        weight_psi=weight_psi,
        treated=Rows(own=_own(grid.unit, np.ones(len(grid.unit)), n, extra, pre)),
        group_size=_group_size(panel, np.unique(grid.unit[np.isfinite(cells.value) & (cells.weight > 0)]), variance),
    )


def _group_size(panel: Panel, unit: Codes, variance: Variance) -> Array | None:
    """Units with which each treated one is centred: those of its cohort; leave-out means need no correction."""
    if variance == "derivative":
        return None
    size = np.full(panel.n_units, np.nan)
    if variance == "leave_out":
        size[unit] = np.inf
        return size
    _, cohort, count = np.unique(panel.cohort[unit], return_inverse=True, return_counts=True)
    size[unit] = count[cohort.ravel()]
    return size


def _own(unit: Codes, data: Array, n: int, extra: int, pre: Pretrend | None = None) -> Any:
    """Sparse (n, k + extra) matrix: ``data`` of each cell in its unit's row, pre-trend weights in the last columns."""
    from scipy import sparse

    k = len(data)
    if pre is None:
        start = np.searchsorted(unit, np.arange(n + 1))  # cells come by unit
        return sparse.csr_array((data, np.arange(k), start), shape=(n, k + extra))
    row, column = np.nonzero(pre.unit_weight)
    rows, columns = np.concatenate([unit, row]), np.concatenate([np.arange(k), k + column])
    values = np.concatenate([data, pre.unit_weight[row, column]])
    return sparse.csr_array((values, (rows, columns)), shape=(n, k + extra))


def terms_of(
    panel: Panel,
    grid: Grid,
    baseline: Baseline,
    cells: Cells,
    pre: Pretrend | None,
    outcome: str,
    family: Family,
    exposure: Array | None,
) -> pd.DataFrame:
    unit, period = grid.unit, grid.period
    extra = 0 if pre is None else len(pre.value)
    used = baseline.model.weight > 0  # counts: without the observations of units that have no event
    controls = used.sum(axis=0)[period]
    event = grid.event[unit, period].astype(np.int64)
    columns: dict[str, Any] = {
        "estimand": "rate_ratio" if family == "poisson" else "att",
        "outcome": outcome,
        "unit": panel.units.to_numpy()[unit],
        "cohort": _time_labels(panel, panel.cohort[unit].astype(np.int64), extra),
        "period": _time_labels(panel, panel.time_codes[period], extra),
        "event_time": event,
        "weight": cells.weight,
        "n_treated": np.ones(len(unit), dtype=np.int64),
        "n_control": controls,
    }
    if exposure is not None:
        columns["n_events"] = grid.outcome[unit, period]
        columns["exposure"] = exposure[unit, period]
    status = cells.status
    if pre is not None:
        treated = np.count_nonzero(pre.unit_weight, axis=0)
        first = np.empty(len(unit) + extra, dtype=object)
        first[: len(unit)], first[len(unit) :] = columns["unit"], None
        columns["unit"] = first
        columns["estimand"] = np.repeat([columns["estimand"], "pretrend"], [len(unit), extra])
        appended = {
            "event_time": pre.events.values,
            "weight": np.ones(extra),
            "n_treated": treated,
            "n_control": int(used.any(axis=1).sum()) - treated,
        }
        if exposure is not None:
            appended["n_events"] = pre.events.table(grid.outcome, extra).sum(axis=0)
            appended["exposure"] = pre.events.table(exposure, extra).sum(axis=0)
        for name, tail in appended.items():
            columns[name] = np.concatenate([columns[name], tail])
        status = np.concatenate([status, np.array(pre.status, dtype=object)])
    columns["n_units"] = columns["n_treated"] + columns["n_control"]
    columns["status"] = status
    return make_terms(columns, len(unit) + extra)


def _time_labels(panel: Panel, codes: Codes, missing: int) -> Any:
    """Labels of calendar codes followed by missing ones (years stay integers: nullable where some are missing)."""
    if not isinstance(panel.times, pd.PeriodIndex):
        if not missing:
            return codes
        return pd.arrays.IntegerArray(
            np.concatenate([codes, np.zeros(missing, dtype=np.int64)]), np.arange(len(codes) + missing) >= len(codes)
        )
    distinct, position = np.unique(codes, return_inverse=True)
    labels = pd.PeriodIndex([*(panel.time_label(int(code)) for code in distinct), pd.NaT], freq=panel.times.freq)
    return labels.take(np.concatenate([position, np.full(missing, len(distinct))]))


def details_of(
    panel: Panel, grid: Grid, baseline: Baseline, cells: Cells, always: tuple[Any, ...], family: str, variance: str
) -> ImputationDetails:
    partialled, model = baseline.partialled, baseline.model
    alone = cells.status == "leave_out_undefined"
    pairs = np.unique(
        np.column_stack([panel.cohort[grid.unit[alone]], grid.event[grid.unit[alone], grid.period[alone]]]), axis=0
    )
    coefficients = baseline.coefficients / grid.scales
    return ImputationDetails(
        family=family,
        variance=variance,
        n_untreated=int((model.weight > 0).sum()),
        rank=model.effects.rank + partialled.rank,
        n_components=model.effects.components,
        always_treated=always,
        no_control=tuple(panel.times[np.unique(grid.period[cells.status == "no_control"])].tolist()),
        zero_base=tuple(panel.units[baseline.zero_units].tolist()),
        leave_out_undefined=tuple((panel.time_label(int(start)), int(event)) for start, event in pairs),
        coefficients=dict(zip(grid.names, coefficients.tolist(), strict=True)),
        dropped_covariates=tuple(grid.names[column] for column in partialled.dropped),
    )
