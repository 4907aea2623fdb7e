"""What an estimate brings to a sensitivity analysis: coefficients, covariance, target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pmg_eval.errors import DataError, DesignError, InferenceError, warn
from pmg_eval.estimate import Draws, Estimate
from pmg_eval.infer._honest_options import Combined, Restriction
from pmg_eval.infer._study import Study, study_of
from pmg_eval.numerics.rows import Array

Target = Literal["first", "average"] | int | Mapping[int, float] | Array
_UNIVERSAL = 'did.group_time(..., base_period="universal").average(by="event_time")'
_DRAWS = (
    "the law of the estimate is a set of draws: its covariance is used, scaled to the draws' quantiles, and normality "
    "assumed"
)


@dataclass(frozen=True, eq=False)
class Coefficients:
    """P pre- and T post-periods without a gap around the reference, on the scale of the intervals.

    Attributes
    ----------
    values, covariance : (P+T,), (P+T, P+T) float
        The covariance is such that normal quantiles give the estimate's own intervals (guard, draws).
    target : (T,) float
        Weights of the post-periods in the effect.
    n_pre : int
    words : str
        The effect in words.
    notes : tuple of str
        What was left out or assumed.
    """

    values: Array
    covariance: Array
    target: Array
    n_pre: int
    words: str
    notes: tuple[str, ...]

    @property
    def std_error(self) -> float:
        """Of the effect, without any violation."""
        post = self.covariance[self.n_pre :, self.n_pre :]
        return float(np.sqrt(self.target @ post @ self.target))

    @property
    def effect(self) -> float:
        """Its estimate."""
        return float(self.target @ self.values[self.n_pre :])


def coefficients(
    estimate: Estimate[Any], restriction: Restriction, target: Target, reference: int | None, level: float, guard: bool
) -> Coefficients:
    """The event study in an estimate, checked for what a sensitivity analysis needs."""
    if estimate.uncertainty is None:
        raise InferenceError("PMG-NO-LAW", "a sensitivity analysis needs the law of the error", fix="resample.placebo")
    study = study_of(estimate, reference, level, guard)
    _common_base(study, reference)
    pre, post, notes = _periods(study, restriction)
    used = np.concatenate([pre, post])
    covariance = _covariance(study, used, level, guard)
    if study.law is not None:
        notes = [*notes, _DRAWS]
    weights, words = _target(target, study.time[post].astype(int))
    found = Coefficients(study.values[used], covariance, weights, len(pre), words, tuple(notes))
    if not found.std_error > 0:
        raise InferenceError("PMG-NO-SE", f"{words} has no variation: its standard error is zero")
    return found


def _common_base(study: Study, reference: int | None) -> None:
    if not study.imputed:
        return
    what = (
        "imputed effects are measured against all periods before the start, pre-treatment coefficients against the "
        "reference period: under a trend the bounds would be too narrow"
    )
    if reference is None:
        raise InferenceError("PMG-BASE-PERIOD", what, fix=f"{_UNIVERSAL}; or say reference= to take them as they are")
    warn("PMG-BASE-PERIOD", what, fix=_UNIVERSAL, stacklevel=5)


def _periods(study: Study, restriction: Restriction) -> tuple[Any, Any, list[str]]:
    """Positions of the pre- and post-periods in use."""
    known = np.isfinite(study.values) & (np.diag(study.covariance) > 0)
    late = study.post & (study.time < study.reference)
    if late.any():
        raise DesignError(
            "PMG-BASE-PERIOD",
            "periods that may already be affected lie before the reference period",
            where=study.time[late].astype(int).tolist(),
            fix="the reference must be the last period before the (anticipated) start",
        )
    pre, post = np.flatnonzero(study.pre & known), np.flatnonzero(study.post)
    notes = []
    dropped = study.time[(study.time < study.reference) & ~(study.pre & known)].astype(int)
    if len(pre):
        dropped = dropped[dropped < study.time[pre].min()]
    if len(dropped):
        notes.append(f"left out, too few areas or no standard error: event times {_list(dropped)}")
    last = int(np.flatnonzero(known[post]).max(initial=-1))
    if last + 1 < len(post):
        notes.append(f"left out, no standard error: event times {_list(study.time[post[last + 1 :]].astype(int))}")
    post = post[: last + 1]
    if len(post) == 0:
        why = sorted({str(one) for one in study.table["status"].to_numpy()[study.post]} - {""})
        raise InferenceError(
            "PMG-NO-SE", "no effect after the start has a standard error", where=why, fix="pmg_eval.effect_per_area"
        )
    _enough(restriction, len(pre))
    wanted = [*range(int(study.reference) - len(pre), int(study.reference))]
    wanted += range(int(study.reference) + 1, int(study.reference) + 1 + len(post))
    lost = sorted(set(wanted) - set(study.time[np.concatenate([pre, post[known[post]]])].astype(int).tolist()))
    if lost:
        raise DesignError(
            "PMG-GAP",
            "a restriction from one period to the next needs event times without a gap around the reference "
            f"{study.reference}; these are missing or have no standard error",
            where=lost,
            fix="keep the periods next to the reference, for example where(event_time=slice(-3, None))",
        )
    return pre, post, notes


def _list(times: Any) -> str:
    return ", ".join(str(int(time)) for time in times)


def _enough(restriction: Restriction, n_pre: int) -> None:
    name, need = type(restriction).__name__, 2 if isinstance(restriction, Combined) else 1
    if n_pre >= need:
        return
    other = "RelativeMagnitude() or Smoothness(), which need one" if n_pre == 1 else _UNIVERSAL
    raise DesignError(
        "PMG-FEW-PRE",
        f"{name} needs {need} pre-period{'s' if need > 1 else ''} with a standard error besides the reference; "
        f"there {'is 1' if n_pre == 1 else 'are none'}",
        fix=other if n_pre else f"an estimate with pre-treatment coefficients: {other}",
    )


def _covariance(study: Study, used: Any, level: float, guard: bool) -> Array:
    """Covariance whose normal intervals are those of the estimate."""
    from scipy import special

    covariance = study.covariance[np.ix_(used, used)]
    if guard or not isinstance(study.law, Draws):
        own = study.half[used] / (special.ndtri((1 + level) / 2) * np.sqrt(np.diag(covariance)))
        if not np.isfinite(own).all():
            raise InferenceError(
                "PMG-UNATTAINABLE",
                f"some event times have no {level:.0%} interval",
                where=study.time[used][~np.isfinite(own)].astype(int).tolist(),
                fix="a lower level",
            )
        covariance = covariance * np.outer(own, own)
    size = np.sqrt(np.diag(covariance))
    if not np.isfinite(covariance).all() or np.linalg.eigvalsh(covariance / np.outer(size, size)).min() < -1e-8:
        raise InferenceError("PMG-COVARIANCE", "the covariance has holes, or is not positive semidefinite")
    return covariance


def _target(target: Target, time: Any) -> tuple[Array, str]:
    """Weights of the post-periods, and the effect in words."""
    treated = time >= 0
    first = treated if treated.any() else np.ones(len(time), dtype=bool)  # event times may start elsewhere
    if isinstance(target, str):
        if target not in ("first", "average"):
            raise DataError("PMG-OPTION", f"unknown target={target!r}", fix='"first", "average", event time or weights')
        weights = first / first.sum()
        if target == "average":
            return weights, f"average effect, event times {int(time[first].min())} to {int(time[first].max())}"
        target = int(time[first].min())
    if isinstance(target, int | np.integer) and not isinstance(target, bool):
        target = {int(target): 1.0}
    if isinstance(target, Mapping):
        unknown = sorted(set(target) - set(time.tolist()))
        if unknown:
            raise DataError("PMG-TARGET", "no effect to judge at these event times", where=unknown)
        weights = np.array([float(target.get(int(one), 0.0)) for one in time])
    else:
        weights, given = np.zeros(len(time)), np.asarray(target, dtype=np.float64)
        if given.shape != (int(first.sum()),):
            raise DataError("PMG-TARGET", f"{given.size} weights for {int(first.sum())} event times")
        weights[first] = given
    if not np.isfinite(weights).all() or not weights.any():
        raise DataError("PMG-TARGET", "weights must be finite and not all zero")
    used = np.flatnonzero(weights)
    if len(used) == 1 and weights[used[0]] == 1:
        return weights, f"effect at event time {int(time[used[0]])}"
    parts = " ".join(f"{weights[i]:+.3g} [{int(time[i])}]" for i in used)
    return weights, f"weighted effect {parts}"


__all__ = ["Coefficients", "Target", "coefficients"]
