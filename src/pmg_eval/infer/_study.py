"""An event study on the scale of its intervals: what is before, what is after, against which period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Draws, Estimate
from pmg_eval.estimate.guard import PRETREND
from pmg_eval.estimate.inference import anticipation_of, guard_of, t_quantile
from pmg_eval.estimate.scales import SCALES
from pmg_eval.estimate.stored import from_covariance
from pmg_eval.estimate.terms import REFERENCE
from pmg_eval.numerics.rows import Array

ENOUGH = 5  # a pre-period that rests on fewer areas says little about all of them
STUDY = ("event_time", "role", "estimate", "std_error")
_UNIVERSAL = 'did.group_time(..., base_period="universal").average(by="event_time")'


@dataclass(frozen=True, eq=False)
class Study:
    """k event times in ascending order.

    Attributes
    ----------
    table : DataFrame (k)
        :data:`STUDY` and ``status``, on the natural scale.
    rows : (k,) int
        Their positions among the terms of the estimate.
    time, values : (k,) float
        Event times, and coefficients on the interval's scale (0 is no effect).
    covariance : (k, k) float
        On that scale, with the guard's factors; NaN where there is none.
    half : (k,) float
        Half width of the interval: what a significant coefficient exceeds.
    df : (k,) float
    pre, post : (k,) bool
        Pre-periods that are tested; everything from the (anticipated) start on.
    reference : int
    imputed : bool
        Effects are measured against all periods before, pre-treatment coefficients against the reference.
    law : Draws or None
        The draws, for estimates that have some.
    """

    table: pd.DataFrame
    rows: Any
    time: Array
    values: Array
    covariance: Array
    half: Array
    df: Array
    pre: Any
    post: Any
    reference: int
    imputed: bool
    law: Draws | None


def study_of(estimate: Estimate[Any], reference: int | None, level: float, guarded: bool) -> Study:
    """The event study in an estimate.

    Raises
    ------
    DataError
        PMG-TERMS.
    InferenceError
        PMG-NO-LAW, PMG-BASE-PERIOD, PMG-NO-NULL.
    """
    rows = _rows(estimate)
    known = from_covariance(estimate).take(rows)
    scale = SCALES[known.scale]
    if np.isnan(scale.null):
        raise InferenceError("PMG-NO-NULL", f"on the {known.scale} scale there is no value of no effect")
    if known.uncertainty is None:
        raise InferenceError("PMG-NO-LAW", "the power of a test needs the law of the error", fix="resample.placebo")
    time = known.terms["event_time"].to_numpy(dtype=np.float64)
    base = _reference(estimate, known, reference)
    on_scale = known if known.scale == "identity" else known.apply(scale.to, scale.slope)
    law = on_scale.uncertainty if isinstance(on_scale.uncertainty, Draws) else None
    care = guard_of(on_scale, guarded)
    covariance = on_scale.cov() * np.outer(care.factor, care.factor)
    se = np.sqrt(np.where(np.diag(covariance) > 0, np.diag(covariance), np.nan))
    half = law.half_width(level) if law is not None else t_quantile((1 + level) / 2, care.df) * se
    anticipation = anticipation_of(estimate)
    is_reference = time == base
    before = (time < -anticipation) & ~is_reference
    enough, why = _informative(known, before, se)
    role = np.select([is_reference, before & enough, before], ["reference", "pre", "left out"], "post").astype(object)
    role[(time >= -anticipation) & (time < 0) & ~is_reference] = "anticipation"
    status = known.terms["status"].astype(str).to_numpy(dtype=object)
    status = np.where(status == "", np.array(care.reason, dtype=object), status)
    status = np.where((status == "") & before & ~enough, why, status)
    table = pd.DataFrame(
        {
            "event_time": known.terms["event_time"].astype("int64").to_numpy(),
            "role": role,
            "estimate": known.values,
            "std_error": np.where(is_reference, 0.0, known.se * care.factor),
            "status": status,
        }
    )
    return Study(
        table=table,
        rows=rows,
        time=time,
        values=on_scale.values,
        covariance=covariance,
        half=half,
        df=care.df,
        pre=before & enough,
        post=~before & ~is_reference,
        reference=base,
        imputed=bool("estimand" in known.terms and (known.terms["estimand"] == PRETREND).any()),
        law=law,
    )


def _rows(estimate: Estimate[Any]) -> Any:
    """Positions of the terms with an event time, ascending in it."""
    if "event_time" not in estimate.terms:
        raise DataError("PMG-TERMS", "no event study: terms have no event_time", fix='average(by="event_time")')
    event = pd.to_numeric(estimate.terms["event_time"], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    rows = np.flatnonzero(np.isfinite(event))
    if len(rows) == 0:
        raise DataError("PMG-TERMS", "no term has an event time", fix='average(by="event_time")')
    rows = rows[np.argsort(event[rows], kind="stable")]
    if (np.diff(event[rows]) == 0).any():
        raise DataError(
            "PMG-TERMS",
            "several terms have the same event time: this is not one event study",
            fix='average(by="event_time"), or where(group=...) for one of several',
        )
    return rows


def _reference(estimate: Estimate[Any], study: Estimate[Any], reference: int | None) -> int:
    """Event time of the period that all coefficients are measured against."""
    base = estimate.provenance.options.get("base_period")
    if base in ("varying", "average"):
        against = "each the period before it" if base == "varying" else "the average of all periods before the start"
        raise InferenceError(
            "PMG-BASE-PERIOD",
            f'with base_period="{base}" pre-treatment coefficients are measured against {against}, not against one '
            "reference period",
            fix=_UNIVERSAL,
        )
    marked = study.terms["event_time"].to_numpy()[(study.terms["status"] == REFERENCE).to_numpy()]
    if reference is not None:
        return int(reference)
    if len(marked) != 1:
        raise InferenceError(
            "PMG-BASE-PERIOD",
            f"{len(marked)} terms have the status {REFERENCE!r}: the reference period is not known",
            fix=f"{_UNIVERSAL}, or name its event time with reference=",
        )
    return int(marked[0])


def _informative(study: Estimate[Any], before: Any, se: Array) -> tuple[Any, str]:
    """Terms that can be tested: with a standard error, and on at least five areas where others have them."""
    enough = np.isfinite(study.values) & (se > 0)
    if "n_treated" not in study.terms:
        return enough, "no standard error"
    treated = study.terms["n_treated"].to_numpy(dtype=np.float64, na_value=np.nan)
    most = np.nanmax(treated[before], initial=0.0)
    few = treated < min(ENOUGH, most)
    return enough & ~few, f"no standard error, or fewer than {ENOUGH} treated areas"
