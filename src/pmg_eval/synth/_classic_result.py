"""From fitted areas to terms and to the tables of the details."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import make_terms
from pmg_eval.numerics.rows import Array
from pmg_eval.synth._areas import Area, first_share
from pmg_eval.synth._details import SynthDetails
from pmg_eval.synth._door import Design, time_labels
from pmg_eval.synth._predictors import Table

METHOD = "synthetic control"
ZERO_BASE = "zero_base"


def terms_of(design: Design, areas: Sequence[Area], outcome: str) -> tuple[Array, pd.DataFrame]:
    """Values and terms: units one after the other, observed periods ascending."""
    panel = design.panel
    units = np.array([area.unit for area in areas], dtype=np.intp)
    observed = design.outcome[units]
    row, period = np.nonzero(~np.isnan(observed))
    synthetic = np.array([area.synthetic for area in areas])[row, period]
    own = observed[row, period]
    shown = np.array([area.shown for area in areas])[row]
    weight = panel.unit_weight[units][row]
    cohort = panel.cohort[units].astype(np.int64)
    n_control = np.array([len(area.donors) for area in areas])[row]
    status = np.array([area.reason for area in areas], dtype=object)[row]
    columns: dict[str, Any] = {
        "estimand": "gap" if design.exposure is None else "rate_ratio",
        "outcome": outcome,
        "unit": panel.units.take(units[row]),
        "cohort": time_labels(panel, cohort[row]),
        "period": panel.times.take(period),
        "event_time": panel.time_codes[period] - cohort[row],
        "n_units": n_control + 1,
        "n_treated": 1,
        "n_control": n_control,
        "method": METHOD,
    }
    if design.exposure is None:
        value = np.array([area.gap for area in areas])[row, period]
        if panel.share is not None:
            share = np.array([first_share(design, area.unit) for area in areas])[row, period]
            value, weight = value / share, weight * share
    else:
        people = design.exposure[units][row, period]
        expected = np.where(shown, people * synthetic, 0.0)
        possible = expected > 0
        value = np.where(possible, own * people / np.where(possible, expected, 1.0), np.nan)
        status[shown & ~possible] = ZERO_BASE
        weight = weight * expected
        columns["n_events"], columns["exposure"] = own * people, people
    columns["weight"], columns["status"] = weight, status
    return np.where(shown, value, np.nan), make_terms(columns, len(row))


def details_of(design: Design, areas: Sequence[Area], table: Table | None) -> SynthDetails:
    """Weights, predictors, fit and paths of every area."""
    fitted = [area for area in areas if area.fit is not None]
    return SynthDetails(
        weights=_weights(design, fitted),
        predictors=_predictors(design, fitted, table),
        fit=_fit(design, areas),
        paths=_paths(design, fitted),
        excluded=design.excluded,
    )


def _weights(design: Design, fitted: Sequence[Area]) -> pd.DataFrame:
    """Positive weights, largest first within a unit."""
    chosen, donors, weights = [], [], []
    for area in fitted:
        own = area.fit.weights if area.fit is not None else np.empty(0)
        active = np.flatnonzero(own)
        active = active[np.argsort(-own[active], kind="stable")]
        chosen.append(np.full(len(active), area.unit))
        donors.append(area.donors[active])
        weights.append(own[active])
    units = design.panel.units
    return pd.DataFrame(
        {
            "unit": units.take(_joined(chosen, np.intp)),
            "donor": units.take(_joined(donors, np.intp)),
            "weight": _joined(weights, np.float64),
        }
    )


def _joined(parts: Sequence[Any], dtype: Any) -> Any:
    return np.concatenate(parts).astype(dtype) if parts else np.empty(0, dtype=dtype)


def _predictors(design: Design, fitted: Sequence[Area], table: Table | None) -> pd.DataFrame:
    columns = ["unit", "predictor", "treated", "synthetic", "donors", "v"]
    rows = []
    for area in fitted:
        if table is None or area.fit is None:
            break
        donors, own = table.of(area.unit, area.donors, area.before)
        for number, predictor in enumerate(table.predictors):
            mean = float(donors[number].mean())
            fitted_value = float(donors[number] @ area.fit.weights)
            unit = design.panel.units[area.unit]
            rows.append((unit, predictor.name, float(own[number]), fitted_value, mean, float(table.v[number])))
    return pd.DataFrame(rows, columns=columns)


def _fit(design: Design, areas: Sequence[Area]) -> pd.DataFrame:
    panel = design.panel
    units = np.array([area.unit for area in areas], dtype=np.intp)

    def each(of: Any, missing: float = np.nan) -> Array:
        return np.array([missing if area.fit is None else of(area.fit) for area in areas], dtype=np.float64)

    pre, post = np.array([area.pre_rmspe for area in areas]), np.array([area.post_rmspe for area in areas])
    largest = each(lambda fit: fit.weights.max())
    # of positive weights: the dot product of a row with itself
    square = each(lambda fit: fit.weights @ fit.weights)
    perfect = pre == 0
    return pd.DataFrame(
        {
            "unit": panel.units.take(units),
            "cohort": time_labels(panel, panel.cohort[units].astype(np.int64)),
            "n_pre": np.array([area.before for area in areas]).sum(axis=1),
            "n_post": np.array([area.after for area in areas]).sum(axis=1),
            "n_donors": np.array([len(area.donors) for area in areas]),
            "objective": each(lambda fit: fit.objective),
            "pre_rmspe": pre,
            "post_rmspe": post,
            "rmspe_ratio": np.where(perfect, np.nan, post / np.where(perfect, 1.0, pre)),
            "effective_donors": 1 / square,
            "max_weight": largest,
            "kkt_gap": each(lambda fit: fit.kkt_gap),
            "fit_limit": np.array([area.limit for area in areas]),
            "inside_hull": np.array([area.fit is not None and area.fit.inside for area in areas]),
            "unique": np.array([area.fit is not None and area.fit.unique for area in areas]),
            "refused": ["" if area.shown else area.reason for area in areas],
        }
    )


def _paths(design: Design, fitted: Sequence[Area]) -> pd.DataFrame:
    panel = design.panel
    units = np.array([area.unit for area in fitted], dtype=np.intp)
    observed = design.outcome[units]
    row, period = np.nonzero(~np.isnan(observed))
    synthetic = np.array([area.synthetic for area in fitted]).reshape(observed.shape)
    return pd.DataFrame(
        {
            "unit": panel.units.take(units[row]),
            "cohort": time_labels(panel, panel.cohort[units[row]].astype(np.int64)),
            "period": panel.times.take(period),
            "observed": observed[row, period],
            "synthetic": synthetic[row, period],
        }
    )
