"""What a synthetic control is made of, in tables."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, eq=False)
class SynthDetails:
    """Weights, fit and paths of every treated unit.

    Attributes
    ----------
    weights : DataFrame
        ``unit, donor, weight``: positive weights only, largest first within a unit; they sum to one per unit.
    predictors : DataFrame
        ``unit, predictor, treated, synthetic, donors, v`` (empty without predictors): balance of the predictors.
    fit : DataFrame
        One row per treated unit: ``unit, cohort, n_pre, n_post, n_donors, objective, pre_rmspe, post_rmspe,
        rmspe_ratio`` (NaN at a perfect fit, where it is undefined), ``effective_donors`` (1 / sum of squared weights),
        ``max_weight, kkt_gap, fit_limit`` (90th percentile of the placebos' pre-RMSPE, with more than 150 donors an
        upper bound of it; NaN where the area is not above it),
        ``inside_hull, unique, refused`` (reason, or empty).
    paths : DataFrame
        ``unit, cohort, period, observed, synthetic`` on the scale of the fit.
    excluded : DataFrame
        ``donor, reason``.
    """

    weights: pd.DataFrame
    predictors: pd.DataFrame
    fit: pd.DataFrame
    paths: pd.DataFrame
    excluded: pd.DataFrame


@dataclass(frozen=True, eq=False)
class SdidDetails:
    """Unit and time weights, fit and paths, per cohort (or per unit with ``weights="unit"``).

    Attributes
    ----------
    weights : DataFrame
        ``cohort, [unit,] donor, weight``: positive unit weights.
    time_weights : DataFrame
        ``cohort, [unit,] period, weight``: positive weights of pre-treatment periods.
    fit : DataFrame
        ``cohort, [unit,] n_treated, n_pre, n_post, n_donors, noise, zeta_unit, zeta_time, objective_unit,
        objective_time, pre_rmspe, post_rmspe, effective_donors, effective_periods, kkt_gap``.
    paths : DataFrame
        ``cohort, [unit,] period, observed, synthetic``: the treated mean, and the weighted donors shifted by the
        time-weighted difference before the start.
    excluded : DataFrame
        ``donor, reason``.
    """

    weights: pd.DataFrame
    time_weights: pd.DataFrame
    fit: pd.DataFrame
    paths: pd.DataFrame
    excluded: pd.DataFrame
