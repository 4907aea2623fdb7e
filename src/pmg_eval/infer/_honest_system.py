r"""The restrictions as linear inequalities, and the effects that they allow at given coefficients.

Periods are numbered from the reference: pre-periods -P..-1, post-periods 1..T; :math:`\delta_0=0`. First differences
are :math:`u_t=\delta_t-\delta_{t-1}`, bends :math:`m_t=\delta_{t+1}-2\delta_t+\delta_{t-1}`. With x the T differences
that reach into the post-period (:math:`u_1..u_T`, or :math:`m_0..m_{T-1}`) every restriction reads

.. math:: |x_t|\le M+\bar M\,v,\qquad S\delta\le0,

where v is the largest difference of the pre-period. Which one that is, and its direction, is not known: the set is the
union over all of them, each with its own linear v ("pieces"). Inequalities about pre-periods alone are left out, as in
the reference package: they say nothing about effects, only whether the restriction itself holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pmg_eval.errors import NumericalError
from pmg_eval.infer._honest_options import Combined, Restriction, Smoothness
from pmg_eval.numerics.rows import Array


@dataclass(frozen=True, eq=False)
class System:
    r"""A restriction on P pre- and T post-periods (columns: -P..-1, 1..T).

    Attributes
    ----------
    steps : (T, P+T) float
        x: differences that reach into the post-period.
    shape : (K, P+T) float
        Rows S of sign and shape.
    pieces : (R, P+T) float
        The candidates for v (differences of pre-periods, both directions); one row of zeros for Smoothness.
    bends : (B, P+T) float
        Differences of the pre-period that the restriction speaks of.
    before : (L, P+T) float
        Rows of shape that concern the pre-periods alone.
    relative : bool
        Whether strengths multiply v.
    n_pre : int
    """

    steps: Array
    shape: Array
    pieces: Array
    bends: Array
    before: Array
    relative: bool
    n_pre: int

    def rows(self, strength: float, piece: int) -> tuple[Array, Array]:
        r"""A (J, P+T) and b (J,) of the inequalities :math:`A\delta\le b`."""
        slack = strength * self.pieces[piece]
        bound = 0.0 if self.relative else strength
        rows = np.vstack([self.steps - slack, -self.steps - slack, self.shape])
        limits = np.zeros(len(rows))
        limits[: 2 * len(self.steps)] = bound
        return rows, limits

    @property
    def sides(self) -> Array:
        """(J, T) coefficients of the post-periods, the same for every strength and piece."""
        post = self.steps[:, self.n_pre :]
        return np.vstack([post, -post, self.shape[:, self.n_pre :]])

    def bound(self, strength: float, values: Array) -> float:
        """The bound on x at these coefficients."""
        if not self.relative:
            return strength
        return strength * float(np.abs(self.bends @ values[: self.bends.shape[1]]).max())


def system_of(restriction: Restriction, n_pre: int, n_post: int) -> System:
    """The inequalities of a restriction."""
    first = _differences(n_pre, n_post)
    bends = np.diff(first, axis=0)  # centers -P+1..T-1
    second = isinstance(restriction, Smoothness | Combined)
    # u_t for t = -P+1..0 and m_t for t = -P+1..-1 stay within the pre-period (and the reference)
    inside = n_pre - 1 if second else n_pre
    moves = bends if second else first
    before, steps = moves[:inside], moves[inside:]
    relative = not isinstance(restriction, Smoothness)
    pieces = np.vstack([before, -before]) if relative else np.zeros((1, n_pre + n_post))
    shape = np.zeros((0, n_pre + n_post))
    early = np.zeros((0, n_pre + n_post))
    if restriction.sign is not None:
        unit = np.eye(n_pre + n_post)[n_pre:]
        shape = -unit if restriction.sign == "positive" else unit
    if restriction.monotone is not None:
        turned = -first if restriction.monotone == "increasing" else first
        early, shape = turned[:n_pre], turned[n_pre:]
    return System(steps, shape, pieces, before, early, relative, n_pre)


def _differences(n_pre: int, n_post: int) -> Array:
    """(P+T, P+T): differences from each period to the next, -P to T, without the column of the reference."""
    everything = np.diff(np.eye(n_pre + 1 + n_post), axis=0)
    return np.asarray(np.delete(everything, n_pre, axis=1))


def identified(system: System, strength: float, values: Array, target: Array) -> tuple[float, float]:
    """Smallest and largest effect that the restriction allows at these coefficients; NaN when it allows none."""
    low, high = without_shape(system, strength, values, target)
    if len(system.shape) == 0:
        return low, high
    from scipy.optimize import linprog

    n_pre, bound = system.n_pre, system.bound(strength, values)
    inverse = np.linalg.inv(system.steps[:, n_pre:])
    known = system.steps[:, :n_pre] @ values[:n_pre]
    size = max(float(np.abs(values).max()), bound, np.finfo(np.float64).tiny)  # the solver's tolerances are absolute
    slopes = system.shape[:, n_pre:] @ inverse
    room = (slopes @ known - system.shape[:, :n_pre] @ values[:n_pre]) / size
    ends = []
    for side in (1.0, -1.0):
        goal = side * (inverse.T @ target)
        found = linprog(goal, slopes, room, bounds=(-bound / size, bound / size), method="highs")
        if found.status == 2:
            return np.nan, np.nan
        if found.status != 0 or found.fun is None:
            raise NumericalError("PMG-LP", "the program of an identified set did not end", where=[found.message])
        ends.append(side * float(size * found.fun - goal @ known))
    effect = float(target @ values[n_pre:])
    return effect - ends[1], effect - ends[0]


def without_shape(system: System, strength: float, values: Array, target: Array) -> tuple[float, float]:
    """The same without sign and shape: a closed form, since x may be chosen freely within its bound."""
    n_pre = system.n_pre
    weight = np.linalg.solve(system.steps[:, n_pre:].T, target)
    shift = -float(weight @ (system.steps[:, :n_pre] @ values[:n_pre]))  # the difference that goes on as it was
    half = system.bound(strength, values) * float(np.abs(weight).sum())
    center = float(target @ values[n_pre:]) - shift
    return center - half, center + half


def broken_before(system: System, strength: float, values: Array) -> str:
    """Whether the pre-treatment coefficients, taken at face value, break the restriction themselves."""
    said = []
    if not system.relative and len(system.bends):
        largest = float(np.abs(system.bends @ values).max())
        if largest > strength * (1 + 1e-9):
            said.append(f"estimates before the start bend by up to {largest:.3g} themselves")
    if len(system.before) and float((system.before @ values).max()) > 0:
        said.append("estimates before the start are not monotone themselves")
    return "; ".join(said)
