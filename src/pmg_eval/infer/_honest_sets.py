"""The interval at a strength, by the chosen method; what does not depend on the strength is computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pmg_eval.infer._honest_flci import Path, flci, path_of
from pmg_eval.infer._honest_options import Restriction
from pmg_eval.infer._honest_rays import extreme_rays, some_rays
from pmg_eval.infer._honest_study import Coefficients
from pmg_eval.infer._honest_system import System, system_of, without_shape
from pmg_eval.infer._honest_test import SHARE, Decision, ends, moments_of, on_grid
from pmg_eval.numerics.rows import Array

REACH = 20.0  # standard errors around the identified set, as in the reference package
_POINTS = 400  # points at which rays are sought when they are too many to list
_SAID = {
    "": "",
    "empty": "no effect is compatible with the restriction: the data contradict it",
    "open": "open: the set reaches the edge of the grid",
    "hull": "hull of a set with gaps",
}


@dataclass(frozen=True)
class Interval:
    """Ends on the scale of the intervals, and a remark."""

    low: float
    high: float
    status: str = ""

    def outside(self, effect: float) -> float:
        """How far the effect lies outside; at most 0 inside, infinite for an empty set."""
        far = max(self.low - effect, effect - self.high)
        return float("inf") if np.isnan(far) else far


@dataclass(frozen=True, eq=False)
class Judge:
    """A restriction, a method and a study.

    Attributes
    ----------
    found : Coefficients
    system : System
    method : str
    level : float
    grid : int or array
    rays : (V, J) float
        For the tests.
    noise : (P+T, R) float
        Draws of the coefficients' noise, the same at every strength.
    path : Path or None
        For FLCI.
    chosen : bool
        Rays are a choice.
    """

    found: Coefficients
    system: System
    method: str
    level: float
    grid: int | Array
    rays: Array
    noise: Array
    path: Path | None
    chosen: bool

    def interval(self, strength: float) -> Interval:
        """The interval at a strength."""
        if self.path is not None:
            best = flci(self.path, strength, self.level)
            center = float(best.weights @ self.found.values)
            return Interval(center - best.half, center + best.half)
        return self._set(strength, 0.0)

    def error(self, strength: float, interval: Interval) -> float:
        """How far the ends move with one standard error of the simulated critical values."""
        if self.noise.shape[1] == 0:
            return 0.0
        moved = self._set(strength, 1.0)
        return float(np.max(np.abs([moved.low - interval.low, moved.high - interval.high])))

    def _set(self, strength: float, shift: float) -> Interval:
        decision = self._decision(strength, shift)
        if isinstance(self.grid, int):
            inner = without_shape(self.system, strength, self.found.values, self.found.target)
            low, high, said = ends(decision, inner, REACH * self.found.std_error, self.grid)
        else:
            low, high, said = on_grid(decision, self.grid)
        parts = [_SAID[said], f"a choice of {len(self.rays)} implied inequalities" if self.chosen else ""]
        return Interval(low, high, "; ".join(part for part in parts if part))

    def _decision(self, strength: float, shift: float) -> Decision:
        found, alpha = self.found, 1 - self.level
        # Directions of the largest change give the same moments when the strength is zero.
        count = len(self.system.pieces) if strength > 0 else 1
        pieces = tuple(
            moments_of(self.system, self.rays, strength, i, found.values, found.covariance, found.target)
            for i in range(count)
        )
        if self.noise.shape[1] == 0:
            return Decision(pieces, np.full(count, np.inf), alpha)
        share = alpha / SHARE
        simulated = np.array([moments.ceiling(self.noise, share) for moments in pieces])
        return Decision(pieces, simulated[:, 0] + shift * simulated[:, 1], (alpha - share) / (1 - share))


def judge_of(
    found: Coefficients,
    restriction: Restriction,
    method: str,
    level: float,
    draws: int,
    rng: int | np.random.Generator,
    grid: int | Array,
) -> Judge:
    """Prepare what all strengths share."""
    n_pre, k = found.n_pre, len(found.values)
    system = system_of(restriction, n_pre, k - n_pre)
    noise = np.zeros((k, 0))
    if method == "FLCI":
        path = path_of(found.covariance, found.target, n_pre)
        return Judge(found, system, method, level, grid, np.zeros((0, 0)), noise, path, False)
    rays = extreme_rays(system.sides, system.steps[:, n_pre:], found.target)
    chosen = rays is None
    if rays is None:
        rays = _chosen_rays(system, found)
    if method == "C-LF":
        noise = _noise(found.covariance, draws, np.random.default_rng(rng))
    return Judge(found, system, method, level, grid, rays, noise, None, chosen)


def _noise(covariance: Array, draws: int, generator: np.random.Generator) -> Array:
    """(k, draws) of a normal law, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T  # the symmetric one does not turn with rounding
    return np.asarray(root @ generator.standard_normal((len(covariance), draws)))


def _chosen_rays(system: System, found: Coefficients) -> Array:
    """Rays that matter at simulated coefficients; the estimates themselves play no part, nor does the seed."""
    generator: Any = np.random.default_rng(0)
    typical = _noise(found.covariance, _POINTS, generator) * generator.choice([1.0, 3.0], _POINTS)
    effect = generator.uniform(-REACH, REACH, _POINTS) / 4 * found.std_error
    post = system.sides @ found.target / (found.target @ found.target)
    unit = float(np.sqrt(np.diag(found.covariance)).mean())
    points, scales = np.empty((2, len(system.sides), _POINTS))
    for i, strength in enumerate(np.resize([0.0, 0.5, 1.0, 2.0], _POINTS)):
        piece = int(generator.integers(len(system.pieces)))
        rows, limits = system.rows(strength if system.relative else strength * unit, piece)
        points[:, i] = rows @ typical[:, i] - limits - post * effect[i]
        variance = np.einsum("ji,ik,jk->j", rows, found.covariance, rows)
        scales[:, i] = np.sqrt(np.maximum(variance, (1e-9 * unit) ** 2))
    return some_rays(system.sides, found.target, scales, points)
