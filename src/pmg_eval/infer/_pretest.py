"""The two pre-tests of an event study under a violation: any significant pre-period, and all of them jointly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import InferenceError
from pmg_eval.infer._normal_box import Box
from pmg_eval.infer._study import Study
from pmg_eval.numerics.rows import Array


@dataclass(frozen=True, eq=False)
class Pretest:
    """Acceptance regions of the q pre-period coefficients.

    Attributes
    ----------
    box : Box
        No coefficient is significant by itself.
    inverse : (q, q) float
        Inverse of their covariance.
    critical : float
        Largest joint statistic (chi-squared scale) that passes.
    df : float
        Degrees of freedom of the joint test; infinite for chi-squared.
    """

    box: Box
    inverse: Array
    critical: float
    df: float

    def distance(self, delta: Array) -> float:
        """Squared Mahalanobis distance from no violation: the non-centrality of the joint test."""
        return float(delta @ self.inverse @ delta)

    def pass_joint(self, delta: Array, more: int = 0) -> float:
        """Probability that the joint statistic (with ``more`` degrees of freedom) stays below the critical value."""
        from scipy import special

        if not np.isfinite(self.critical):
            return 1.0
        q, distance = len(delta) + more, self.distance(delta)
        if np.isfinite(self.df):
            ratio = self.critical / q
            return float(
                special.fdtr(q, self.df, ratio) if distance == 0 else special.ncfdtr(q, self.df, distance, ratio)
            )
        return float(special.chdtr(q, self.critical) if distance == 0 else special.chndtr(self.critical, q, distance))

    def likelihood_ratio(self, found: Array, delta: Array) -> float:
        """Normal density of the coefficients under the violation over that under none."""
        return float(np.exp(0.5 * (self.distance(found) - self.distance(found - delta))))

    def slope_any(self, time: Array, target: float) -> tuple[float, float]:
        """Slope at which some coefficient is significant with probability ``target``, and its numerical error."""
        from scipy import optimize

        def gap(slope: float) -> float:
            return 1 - self.box.inside(slope * time).probability - target

        if gap(0.0) >= 0 or not np.isfinite(self.box.half).any():
            return np.nan, np.nan
        high = float(np.nanmin(self.box.half / np.abs(time)))
        while gap(high) < 0:
            high *= 2
        slope = float(optimize.brentq(gap, 0.0, high, xtol=1e-9 * high, rtol=1e-9))  # far below its own error
        step = 1e-3 * slope  # the error of the probability over its derivative
        rate = (gap(slope + step) - gap(slope - step)) / (2 * step)
        return slope, self.box.inside(slope * time).error / rate

    def slope_joint(self, time: Array, target: float) -> float:
        """Slope at which the joint test rejects with probability ``target``."""
        from scipy import optimize

        if 1 - self.pass_joint(0 * time) >= target or not np.isfinite(self.critical):
            return np.nan

        def gap(slope: float) -> float:
            return 1 - self.pass_joint(slope * time) - target

        high = np.sqrt(self.critical / self.distance(time))
        while gap(high) < 0:
            high *= 2
        return float(optimize.brentq(gap, 0.0, high, xtol=1e-12 * high, rtol=1e-12))


def pretest(study: Study, level: float, rng: int | np.random.Generator) -> Pretest:
    """The tests of the pre-periods of a study.

    Raises
    ------
    InferenceError
        PMG-NO-PRE, PMG-SINGULAR.
    """
    pre = np.flatnonzero(study.pre)
    if len(pre) == 0:
        raise InferenceError(
            "PMG-NO-PRE",
            "no pre-period besides the reference has a standard error: parallel trends cannot be tested",
            where=sorted(set(study.table["status"]) - {""}),
            fix="more periods before the start",
        )
    covariance = study.covariance[np.ix_(pre, pre)]
    se = np.sqrt(np.diag(covariance))
    rank = int(np.linalg.matrix_rank(covariance / np.outer(se, se), hermitian=True, tol=1e-10))
    if rank < len(pre):
        raise InferenceError(
            "PMG-SINGULAR",
            f"the covariance of {len(pre)} pre-periods has rank {rank}: fewer independent units than pre-periods",
            fix="fewer pre-periods (where(event_time=...))",
        )
    inverse = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
    df = float(study.df[pre].min())
    box = Box.of(covariance, study.half[pre], rng, study.df[pre])
    return Pretest(box, inverse, _critical(study, pre, inverse, level, df), df)


def _critical(study: Study, pre: Any, inverse: Array, level: float, df: float) -> float:
    """Critical value of the joint Wald statistic: chi-squared, q times F, or that of the draws."""
    from scipy import special

    q = len(pre)
    if study.law is not None:
        errors, p_min = study.law.errors[:, pre], study.law.p_min[pre].max()
        drawn = np.sort(np.einsum("ri,ij,rj->r", errors, inverse, errors, optimize=True))
        rank = int(np.ceil(level * (len(drawn) + 1) - 1e-9))
        attainable = rank <= len(drawn) and 1 - level >= p_min * (1 - 1e-12)
        return float(drawn[rank - 1]) if attainable else np.inf
    return float(q * special.fdtri(q, df, level) if np.isfinite(df) else special.chdtri(q, 1 - level))


def standing(test: Pretest, study: Study, delta: Array) -> tuple[pd.DataFrame, dict[str, Array], float]:
    """Size, power and Bayes factor of both tests under a violation; what studies that pass expect, and its error."""
    trend = delta[study.pre]
    nothing, inside = test.box.inside(0 * trend), test.box.inside(trend)
    joint_nothing, joint = test.pass_joint(0 * trend), test.pass_joint(trend)
    rows = [
        ("any", 1 - nothing.probability, 1 - inside.probability, inside.error, inside.probability, nothing.probability),
        ("joint", 1 - joint_nothing, 1 - joint, 0.0, joint, joint_nothing),
    ]
    tests = pd.DataFrame(
        [(name, size, power, error, passed / base) for name, size, power, error, passed, base in rows],
        columns=["test", "size", "power", "power_error", "bayes_factor"],
    )
    shrunk = trend * (test.pass_joint(trend, 2) / joint if joint > 0 else np.nan)
    after = {"after_any": inside.mean if inside.probability > 0 else trend * np.nan, "after_joint": shrunk}
    expected = {name: _expected(test, study, delta, mean) for name, mean in after.items()}
    return tests, expected, float(inside.mean_error.max())


def _expected(test: Pretest, study: Study, delta: Array, pre_mean: Array) -> Array:
    """Expected coefficients of all event times, given the mean of the pre-periods among the studies that pass."""
    cross = study.covariance[:, study.pre]
    known = np.isfinite(study.values) & np.isfinite(cross).all(axis=1)
    shift = np.where(known[:, None], cross, 0.0) @ test.inverse @ (pre_mean - delta[study.pre])
    found = np.where(known, delta + shift, np.nan)
    found[study.pre] = pre_mean
    found[study.time == study.reference] = 0.0
    return np.asarray(found)
