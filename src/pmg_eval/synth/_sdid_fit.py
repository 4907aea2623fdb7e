r"""Unit and time weights of synthetic difference-in-differences: arrays in, arrays out.

With control outcomes :math:`y_{jt}` (J units, :math:`T_0` periods before, :math:`T_1` after), the mean outcome
:math:`\bar y_t` of :math:`N_1` treated units and :math:`\hat\sigma` the standard deviation of all first differences
:math:`y_{jt}-y_{j,t-1}` of the controls before the start,

.. math::
   \hat\omega=\arg\min_{\omega\in\Delta_J,\,a}\frac1{T_0}\sum_{t\le T_0}(\bar y_t-a-\omega'y_{\cdot t})^2
       +\zeta_\omega^2\lVert\omega\rVert^2,\qquad \zeta_\omega=(N_1T_1)^{1/4}\hat\sigma,

   \hat\lambda=\arg\min_{\lambda\in\Delta_{T_0},\,a}\frac1J\sum_j(\bar y_{j,post}-a-\lambda'y_{j,pre})^2
       +\zeta_\lambda^2\lVert\lambda\rVert^2,\qquad \zeta_\lambda=10^{-6}\hat\sigma.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pmg_eval.numerics._simplex_ridge import simplex_ridge
from pmg_eval.numerics.rows import Array
from pmg_eval.numerics.simplex import SimplexFit, simplex_lstsq
from pmg_eval.synth._door import Design, Positions

Mask = NDArray[np.bool_]
FEWEST = 2  # periods before the start: with one there is no first difference and no choice of weights
_TIME_RIDGE = 1e-6
_LEAST_NORM = 1e-12  # ridge relative to the squared columns that only chooses among equal fits


def noise_level(before: Array) -> float:
    """Standard deviation (n - 1) of all changes between consecutive observed periods; ``before`` is (J, T0)."""
    changes = np.diff(before, axis=1)
    return float(changes.std(ddof=1)) if changes.size > 1 else 0.0


def unit_weights(before: Array, treated: Array, zeta: float) -> SimplexFit:
    """Unit weights from the controls before the start (J, T0) and the treated mean (T0,).

    The objective of the result is T0 times the one above.
    """
    ridge = zeta**2 * before.shape[1] or _least_norm(before - before.mean(axis=1, keepdims=True))
    return simplex_ridge(before.T, treated, ridge, intercept=True)


def time_weights(before: Array, after: Array, zeta: float, *, start: Array | None = None) -> SimplexFit:
    """Time weights from the controls before the start (J, T0) and their mean after it (J,).

    The objective of the result is J times the one above.
    """
    both = np.column_stack([before, after])
    both = both - both[0]  # a period effect, however large, leaves exactly
    both -= both.mean(axis=0)  # the intercept
    small: Array = np.asarray(np.linalg.qr(both, mode="r"))  # the same inner products in T0 + 1 rows
    ridge = zeta**2 * before.shape[0] or _least_norm(small[:, :-1])
    return simplex_lstsq(small[:, :-1], small[:, -1], ridge=ridge, start=start)


def _least_norm(columns: Array) -> float:
    """A ridge that picks the most even weights among equal fits, where the noise and with it the penalty vanish."""
    return _LEAST_NORM * float(np.square(columns).sum()) or 1.0


@dataclass(frozen=True, eq=False)
class Window:
    """Outcomes as changes since the first period of a fit: what units differ by from the start cannot matter then.

    Attributes
    ----------
    pre, post : (T,) bool
        Periods the weights are fitted on, and treated periods.
    base : (n,) float
        Outcome in the first period of ``pre``.
    change : (n, T) float
        Outcome minus ``base``; NaN where not observed.
    before : (n, T0), after : (n,) float
        Changes in ``pre``, and their mean over ``post``.
    """

    pre: Mask
    post: Mask
    base: Array
    change: Array
    before: Array
    after: Array

    @classmethod
    def of(cls, outcome: Array, pre: Mask, post: Mask) -> Window:
        base = outcome[:, np.flatnonzero(pre)[0]]
        change = outcome - base[:, None]
        return cls(pre, post, base, change, change[:, pre], change[:, post].mean(axis=1))


@dataclass(frozen=True, eq=False)
class Block:
    r"""One fit: a cohort (or one treated unit) and its donors.

    Attributes
    ----------
    cohort : float
        Calendar code of the start.
    treated, donors : int arrays (n1,), (J,)
        Positions in the panel.
    rows : (T,) bool
        Periods in which some treated unit is observed: the periods with a term.
    mass : (n1,) float
        Relative weights of the treated units, summing to one.
    window : Window
    unit, time : SimplexFit
        :math:`\omega` (J,) and :math:`\lambda` (T0,).
    noise, zeta_unit, zeta_time : float
    level : (n1,) float
        :math:`\lambda`-weighted outcome before the start of every treated unit.
    own : (n1, T) float
        Outcome of every treated unit minus ``level``; NaN where not observed.
    control : (T,) float
        The same difference for the weighted donors.
    """

    cohort: float
    treated: Positions
    donors: Positions
    rows: Mask
    mass: Array
    window: Window
    unit: SimplexFit
    time: SimplexFit
    noise: float
    zeta_unit: float
    zeta_time: float
    level: Array
    own: Array
    control: Array

    @classmethod
    def of(
        cls,
        cohort: float,
        treated: Positions,
        donors: Positions,
        mass: Array,
        window: Window,
        unit: SimplexFit,
        time: SimplexFit,
        penalties: tuple[float, float, float],
    ) -> Block:
        """The paths that follow from the weights."""
        past = window.before[treated] @ time.weights
        change = unit.weights @ window.change[donors]
        return cls(
            cohort=cohort,
            treated=treated,
            donors=donors,
            rows=np.asarray(~np.isnan(window.change[treated]).all(axis=0)),
            mass=mass,
            window=window,
            unit=unit,
            time=time,
            noise=penalties[0],
            zeta_unit=penalties[1],
            zeta_time=penalties[2],
            level=window.base[treated] + past,
            own=window.change[treated] - past[:, None],
            control=change - change[window.pre] @ time.weights,
        )

    def parts(self) -> Array:
        """Share (n1, T) of every treated unit in the treated mean of each period, among those observed."""
        seen = np.where(np.isnan(self.own), 0.0, self.mass[:, None])
        total = seen.sum(axis=0)
        return np.asarray(seen / np.where(total > 0, total, 1.0))

    def treated_change(self) -> Array:
        """Treated mean (T,) of ``own``."""
        return np.asarray((self.parts() * np.nan_to_num(self.own)).sum(axis=0))

    def donor_changes(self) -> Array:
        """Outcome of every donor minus its time-weighted mean before the start (J, T)."""
        change = self.window.change[self.donors]
        return np.asarray(change - (self.window.before[self.donors] @ self.time.weights)[:, None])


@dataclass(frozen=True, eq=False)
class Refused:
    """A cohort (or unit) that cannot be fitted: its treated periods keep their rows, with the reason."""

    cohort: float
    treated: Positions
    rows: Mask
    n_pre: int
    reason: str


def fit_blocks(design: Design, weights: Literal["cohort", "unit"]) -> list[Block | Refused]:
    """Every cohort, or every treated unit, in the order of starts (and units)."""
    starts = design.panel.cohort[design.treated]
    if weights == "unit":
        groups = [design.treated[at : at + 1] for at in np.argsort(starts, kind="stable")]
    else:
        groups = [design.treated[starts == start] for start in np.unique(starts)]
    memory: dict[Any, Any] = {}
    return [_fit(design, group, memory) for group in groups]


def _fit(design: Design, members: Positions, memory: dict[Any, Any]) -> Block | Refused:
    panel, outcome = design.panel, design.outcome
    cohort = float(panel.cohort[members[0]])
    after = np.array([design.after(unit) for unit in members])
    kept = after.any(axis=1)
    post = np.asarray(after.any(axis=0))
    if not kept.any():
        return Refused(cohort, members, post, 0, "no treated period is observed")
    members = members[kept]
    pre = np.asarray(np.array([design.before(unit) for unit in members]).all(axis=0))
    if pre.sum() < FEWEST:
        return Refused(cohort, members, post, int(pre.sum()), _short(len(members)))
    window = _window(outcome, pre, post, memory)
    donors = design.donors_of(int(members[0]))
    mass = _mass(design, members, pre)
    before = window.before[donors]
    noise = noise_level(before)
    zeta_unit = (len(members) * int(post.sum())) ** 0.25 * noise
    zeta_time = _TIME_RIDGE * noise
    time = _time(design, window, donors, zeta_time, memory)
    unit = unit_weights(before, mass @ window.before[members], zeta_unit)
    penalties = (noise, zeta_unit, zeta_time)
    return Block.of(cohort, members, donors, mass, window, unit, time, penalties)


def _short(members: int) -> str:
    where = " in which all its units are observed" if members > 1 else ""
    return f"fewer than {FEWEST} periods before the start{where}: no weights; did.imputation"


def _window(outcome: Array, pre: Mask, post: Mask, memory: dict[Any, Any]) -> Window:
    key = (pre.tobytes(), post.tobytes())
    if key not in memory:
        memory[key] = Window.of(outcome, pre, post)
    window: Window = memory[key]
    return window


def _time(design: Design, window: Window, donors: Positions, zeta: float, memory: dict[Any, Any]) -> SimplexFit:
    """Time weights. They concern donors only: one pool and window has one, pools that differ by a unit nearly so."""
    key = (window.pre.tobytes(), window.post.tobytes(), "time")
    if key not in memory:
        pool = design.donors if design.others else donors
        memory[key] = time_weights(window.before[pool], window.after[pool], zeta)
    fit: SimplexFit = memory[key]
    if not design.others:
        return fit
    return time_weights(window.before[donors], window.after[donors], zeta, start=fit.weights)


def _mass(design: Design, members: Positions, pre: Mask) -> Array:
    """Relative weights of treated units: those of the panel, for rates times the mean person-years before the start."""
    mass = design.panel.unit_weight[members]
    if design.exposure is not None:
        mass = mass * design.exposure[members][:, pre].mean(axis=1)
    return np.asarray(mass / mass.sum())
