"""Imputation estimator of Borusyak, Jaravel and Spiess: counterfactuals from untreated observations only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from pmg_eval.did._covariates import evaluate, names_in
from pmg_eval.did._door import need_anticipation, need_formula, need_option
from pmg_eval.did._imputation_fit import Array, Baseline, Grid, gaussian_baseline
from pmg_eval.did._imputation_result import (
    Family,
    ImputationDetails,
    Variance,
    details_of,
    influence_of,
    terms_of,
    treated_cells,
)
from pmg_eval.did._pretrend import Pretrend
from pmg_eval.did._pretrend import pretrend as fit_pretrend
from pmg_eval.errors import DataError, DesignError, NumericalError
from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.panel._door import need_panel

if TYPE_CHECKING:
    from pmg_eval.panel import Panel

_REFERENCES = {
    "imputation": "10.1093/restud/rdae007",  # Borusyak, Jaravel and Spiess (2024)
    "derivative": "10.48550/arXiv.2207.05943",  # Gardner (2022), two-stage
    "poisson": "10.1093/ectj/utad016",  # Wooldridge (2023), nonlinear difference-in-differences
}
_ASSUMPTIONS = {
    "gaussian": "parallel trends in levels: without treatment, outcome = unit effect + period effect (+ covariates)",
    "poisson": "parallel trends in growth: untreated mean = exposure * exp(unit + period effect (+ covariates))",
}


def imputation(
    panel: Panel,
    outcome: str,
    *,
    covariates: str | None = None,
    family: Family = "gaussian",
    variance: Variance = "conservative",
    anticipation: int = 0,
    pretrend: bool = True,
) -> Estimate[ImputationDetails]:
    r"""Effect of every treated (unit, period) against its imputed untreated outcome.

    With :math:`\hat a_i,\hat d_t,\hat b` fitted by weighted least squares on untreated observations only,

    .. math:: \hat\tau_{it}=Y_{it}-\hat a_i-\hat d_t-x_{it}'\hat b\qquad(\text{treated cells}),

    the unit of the outcome. With ``family="poisson"`` the counterfactual mean is
    :math:`\hat\mu_{it}=E_{it}\exp(\hat a_i+\hat d_t+x_{it}'\hat b)` (E: the panel's exposure), fitted by Poisson
    pseudo maximum likelihood, the effect is the rate ratio :math:`Y_{it}/\hat\mu_{it}` and its weight the expected
    number :math:`w_{it}\hat\mu_{it}`, so that averages are observed over expected.

    Parameters
    ----------
    panel : Panel
        Units observed over time with ``cohort=``; unbalanced panels are fine.
    outcome : str
        Numeric column; counts (at least 0) for ``family="poisson"``.
    covariates : str, optional
        Formula of time-varying covariates, for example ``"~ unemployment + np.log(income)"``. They must not be affected
        by treatment. Default none.
    family : {"gaussian", "poisson"}
        Additive or multiplicative counterfactual. Default additive; counts with zeros call for Poisson.
    variance : {"conservative", "leave_out", "derivative"}
        What a treated cell's own deviation is measured from. ``"conservative"`` (default): the mean of its cohort and
        event time, with fixed weights of the cells, as in Borusyak, Jaravel and Spiess (2024). ``"leave_out"``: that
        mean without the cell itself, which removes the downward bias in small cohorts. ``"derivative"``: the average
        that is reported, which is the law of sampling units and Gardner's (2022) two-stage variance.
    anticipation : int
        Periods before treatment that are already counted as treated cells. Default 0.
    pretrend : bool
        Add one term per event time before treatment (``estimand="pretrend"``), for event studies and ``test("pre")``.

    Returns
    -------
    Estimate[ImputationDetails]
        One term per treated cell: ``estimand`` ("att", or "rate_ratio" on the log scale), ``outcome, unit, cohort,
        period, event_time``; support ``weight, n_units, n_treated, n_control`` (and ``n_events, exposure``). Pre-trend
        terms have no unit, cohort or period; the last period before treatment is their reference. They enter
        ``.average(by="event_time")`` only, every other average is over treated cells. Influence rows are units and stay
        factored (sparse own block + rank T).

    Raises
    ------
    DataError
        Unknown options or columns, negative counts, missing values (by the panel's policy).
    DesignError
        PMG-CROSS-SECTION (no unit effects), PMG-NO-TREATED, PMG-NO-UNTREATED, PMG-NO-CONTROL (no treated cell
        can be imputed), PMG-COLLINEAR (a covariate that untreated observations cannot identify), PMG-SHARE (a share of
        the first period with ``family="poisson"``).

    Notes
    -----
    Assumes: (1) the counterfactual model above (probe: pre-trend terms, ``test("pre")``, ``infer.honest``); (2) no
    anticipation beyond ``anticipation`` (probe: raise it); (3) covariates unaffected by treatment (probe: leave them
    out); (4) no spillovers to untreated observations (probe: ``contaminated_from=`` of the panel); (5) units
    independent, or the dependence of ``assuming(...)``.

    When not to use: with few untreated periods per unit and drifting effects of unit trends, all pre-periods count
    equally, so a slow divergence biases the effect more than ``group_time`` (last period only); for the effect of one
    area use ``pe.effect_per_area``: no standard error can come from that area's own row. With cohorts of one or two
    areas the conservative variance is too small (it centres each cohort at its own mean: intervals covered 69 % with
    eight cohorts of one area, 91 % with four of two): ``variance="derivative"`` (96-98 %) or ``resample.jackknife``.

    A cell is NaN with a status when it is not identified: ``"no_control"`` (its period has no untreated observation
    connected to the unit), ``"zero_base"`` (Poisson, all untreated counts of the unit zero). ``"leave_out_undefined"``
    marks cells that are alone in their cohort and event time: their value stands, their leave-out variance and that of
    any average that contains them is NaN. With ``partial_period="share"`` the effect of the first period is divided by
    the treated share and weighted by it.

    Influence of a cell, with :math:`z` the design, :math:`W` the weights and :math:`e` the residuals of the untreated
    observations: :math:`\psi_i=n\,[1\{i=j\}\epsilon_{js}-(\sum_tw_{it}e_{it}z_{it})'(Z_0'WZ_0)^{-1}z_{js}]`, where
    :math:`\epsilon_{js}` is the deviation named under ``variance``. Poisson: working weights :math:`w\mu`, deviation
    from the ratio of observed to expected in the cohort and event time.

    Deviations from R didimputation 0.5.0: units with a single untreated observation are kept (there fixest drops them
    as singletons, and whole horizons become NA); with weights, its variance uses :math:`(Z_0'W^2Z_0)^{-1}`, under which
    the estimate is not the weighted sum of outcomes that the formula takes it to be; ours uses :math:`(Z_0'WZ_0)^{-1}`.
    Its pre-trend standard errors carry fixest's small-sample factor: ``clustered("unit", correction="fixest")``.

    References
    ----------
    Borusyak, Jaravel and Spiess (2024), Review of Economic Studies, doi:10.1093/restud/rdae007. Gardner (2022),
    arXiv:2207.05943. Wooldridge (2023), Econometrics Journal, doi:10.1093/ectj/utad016.

    Examples
    --------
    >>> import pandas as pd, pmg_eval as pe
    >>> df = pd.DataFrame({"area": list("aaabbbccc"), "year": [1, 2, 3] * 3, "start": [3] * 3 + [0] * 6,
    ...                    "cases": [5.0, 6, 9, 1, 2, 3, 2, 3, 4]})
    >>> panel = pe.Panel(df, unit="area", time="year", cohort="start", never=0)
    >>> float(pe.did.imputation(panel, "cases").average().values[0].round(6))
    2.0
    """
    need_panel(panel)
    _check_options(panel, covariates, family, variance, anticipation, pretrend)
    panel, matrix, names = _with_covariates(panel, outcome, covariates)
    grid, always = _grid(panel, outcome, matrix, names, anticipation)
    try:
        baseline, pre, exposure = _fit(panel, outcome, grid, family, pretrend)
    except NumericalError as error:
        raise _with_labels(error, panel, grid) from None
    cells = treated_cells(panel, grid, baseline, family, variance)
    return Estimate(
        values=cells.value if pre is None else np.concatenate([cells.value, pre.value]),
        terms=terms_of(panel, grid, baseline, cells, pre, outcome, family, exposure),
        uncertainty=influence_of(panel, grid, baseline, cells, pre, variance),
        details=details_of(panel, grid, baseline, cells, always, family, variance),
        scale="log" if family == "poisson" else "identity",
        provenance=_provenance(
            panel,
            grid,
            always,
            outcome,
            covariates,
            family=family,
            variance=variance,
            anticipation=int(anticipation),
            pretrend=pretrend,
        ),
    )


def _fit(
    panel: Panel, outcome: str, grid: Grid, family: Family, pretrend: bool
) -> tuple[Baseline, Pretrend | None, Array | None]:
    """The counterfactual, the pre-trend, and the exposure of counts."""
    if family == "gaussian":
        baseline = gaussian_baseline(grid)
        return baseline, fit_pretrend(grid, baseline) if pretrend else None, None
    from pmg_eval.did._imputation_poisson import exposure_of, poisson_baseline, poisson_pretrend

    exposure = exposure_of(panel, outcome, grid)
    baseline = poisson_baseline(grid, exposure)
    return baseline, poisson_pretrend(grid, exposure, baseline) if pretrend else None, exposure


def _with_labels(error: NumericalError, panel: Panel, grid: Grid) -> NumericalError:
    """The numerical core counts columns and periods; the user knows their names."""
    names: list[Any] = {
        "PMG-SEPARATION": list(grid.names),
        "PMG-NEARLY-DISCONNECTED": panel.times.tolist(),
    }.get(error.code, [])
    if not names or any(position >= len(names) for position in error.where):
        return error
    what = error.what.replace(" (column indices given)", "")
    return NumericalError(error.code, what, where=[names[position] for position in error.where], fix=error.fix)


def _check_options(
    panel: Panel, covariates: object, family: str, variance: str, anticipation: int, pretrend: object
) -> None:
    need_option("family", family, get_args(Family))
    need_option("variance", variance, get_args(Variance))
    need_option("pretrend", pretrend, (True, False))
    need_anticipation(anticipation)
    need_formula(covariates)
    if not panel.is_panel:
        raise DesignError(
            "PMG-CROSS-SECTION",
            "imputation needs units observed over time; these are repeated cross-sections (unit=None)",
            fix="did.group_time, or a Panel of area means with weights",
        )
    if panel.share is not None and family == "poisson":
        raise DesignError(
            "PMG-SHARE",
            'partial_period="share" divides an additive effect by the treated share; a rate ratio has no such reading',
            fix='partial_period="treated" or "drop", or family="gaussian"',
        )


def _with_covariates(panel: Panel, outcome: str, covariates: str | None) -> tuple[Panel, Array, tuple[str, ...]]:
    """The panel after its missing-value policy, and the columns (p, N) of the formula without its intercept."""
    if covariates is None:
        panel = panel.for_outcome(outcome)
        return panel, np.zeros((0, panel.n_rows)), ()
    needed = names_in(covariates, panel.frame)
    if outcome in needed:
        raise DataError("PMG-FORMULA", f"covariates={covariates!r} contain the outcome itself", fix="leave it out")
    panel = panel.for_outcome(outcome, columns=tuple(needed))
    matrix = evaluate(covariates, panel.frame)
    return panel, matrix.to_numpy(dtype=np.float64).T, tuple(str(name) for name in matrix.columns)


def _grid(
    panel: Panel, outcome: str, matrix: Array, names: tuple[str, ...], anticipation: int
) -> tuple[Grid, tuple[Any, ...]]:
    """The panel as (n, T) arrays, and the treated units without an untreated observation."""
    values = panel.wide(outcome)
    observed = np.isfinite(values)
    weight = np.where(observed, panel.wide_rows(panel.weight), 0.0)
    code = panel.time_codes.astype(np.float64)
    event = code - panel.cohort[:, None]
    treated = observed & (event >= -anticipation) & (weight > 0)  # a weight of zero is no observation
    clean = code < panel.contaminated_from[:, None]
    untreated = observed & ~treated & clean & (weight > 0)
    if not treated.any():
        raise DesignError(
            "PMG-NO-TREATED",
            "no treated observation",
            fix="check cohort= and never= of the Panel: the first treated period",
        )
    informed = np.asarray(untreated.any(axis=1))
    always = np.asarray(treated.any(axis=1)) & ~informed
    unit, period = np.nonzero(treated & informed[:, None])
    if not len(unit):
        raise DesignError(
            "PMG-NO-UNTREATED",
            "no treated unit has an untreated observation: there is nothing to impute from",
            where=panel.units[always].tolist(),
            fix="add earlier periods",
        )
    scales = np.ones(len(matrix))
    if len(matrix):
        top = np.abs(matrix).max(axis=1)
        top[top == 0] = 1.0
        matrix = matrix / top[:, None]  # squares of very large values would overflow
        matrix = matrix - matrix.mean(axis=1, keepdims=True)
        spread = matrix.std(axis=1)
        spread[spread == 0] = 1.0
        matrix = matrix / spread[:, None]
        scales = top * spread
    columns = [np.where(observed, panel.wide_rows(column), 0.0) for column in matrix]
    grid = Grid(
        outcome=np.where(observed, values, 0.0),
        weight=weight,
        untreated=untreated,
        unit=unit,
        period=period,
        event=event,
        covariates=np.array(columns).reshape(len(columns), *values.shape),
        names=names,
        scales=scales,
    )
    return grid, tuple(panel.units[always].tolist())


def _lone_cohorts(panel: Panel, grid: Grid) -> list[str]:
    """Cohorts of one area, whose deviation from their own mean is zero whatever their noise."""
    starts, size = np.unique(panel.cohort[np.unique(grid.unit)], return_counts=True)
    lone = [str(panel.time_label(start)) for start in starts[size == 1]]
    if not lone:
        return []
    return [
        f"{len(lone)} cohorts of one area ({', '.join(lone[:5])}): the noise of these areas is not in the standard "
        'error of pooled effects; variance="derivative" or resample.jackknife include it'
    ]


def _provenance(
    panel: Panel, grid: Grid, always: tuple[Any, ...], outcome: str, covariates: str | None, **options: Any
) -> Provenance:
    family, variance = options["family"], options["variance"]
    notes = [str(notice.text) for notice in panel.notes]
    if always:
        shown = ", ".join(map(str, always[:5]))
        notes.append(f"no clean untreated observation (always treated), dropped: {len(always)} units ({shown})")
    if variance == "conservative":
        notes += _lone_cohorts(panel, grid)
    references = [_REFERENCES["imputation"]]
    references += [_REFERENCES[name] for name in (family, variance) if name in _REFERENCES]
    return Provenance(
        estimator="did.imputation",
        options={"outcome": outcome, "covariates": covariates, **options},
        data=panel.fingerprint,
        assumptions=(
            _ASSUMPTIONS[family],
            f"no anticipation more than {options['anticipation']} periods before treatment",
            "untreated observations are not affected by the treatment of others",
        ),
        references=tuple(references),
        notes=tuple(notes),
    )
