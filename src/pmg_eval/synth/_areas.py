"""The synthetic control of every treated unit, and which of them are refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pmg_eval.errors import NumericalError
from pmg_eval.numerics.rows import Array
from pmg_eval.synth._door import FEWEST_PRE, Design, Positions
from pmg_eval.synth._fit import Fit, fit_weights
from pmg_eval.synth._predictors import Table
from pmg_eval.synth._prefit import Placebos

Mask = NDArray[np.bool_]

SHORT = f"fewer than {FEWEST_PRE} periods before the start: did.imputation or synth.sdid need fewer"
NOTHING_BEFORE = "not observed before the start"
POOR = "fit before the start worse than that of nine tenths of the placebos"


@dataclass(frozen=True, eq=False)
class Area:
    """One treated unit.

    Attributes
    ----------
    unit : int
        Position in ``panel.units``.
    before, after : (T,) bool
        Periods of the fit, and treated periods.
    donors : (J,) int
    fit : Fit or None
        None where nothing could be fitted.
    synthetic : (T,) float
        Path of the synthetic control, on the scale of the fit.
    pre_rmspe, post_rmspe : float
        Root mean squared gaps; exactly zero before the start where the fit is perfect.
    limit : float
        90th percentile of the placebos' pre-treatment error, where the area lies above it.
    short, poor : bool
        Refused for the length of its past, or for its fit (``kept``: shown all the same).
    trouble : str
        Numerical reason for which there is no fit.
    """

    unit: int
    before: Mask
    after: Mask
    donors: Positions
    fit: Fit | None
    synthetic: Array
    pre_rmspe: float = np.nan
    post_rmspe: float = np.nan
    limit: float = np.nan
    short: bool = False
    poor: bool = False
    kept: bool = False
    trouble: str = ""

    @property
    def shown(self) -> bool:
        """Whether its effects are given."""
        return self.fit is not None and not self.short and (self.kept or not self.poor)

    @property
    def reason(self) -> str:
        """Why not; or what stands against them."""
        if not self.before.any():
            return NOTHING_BEFORE
        if self.short:
            return SHORT
        if self.trouble:
            return self.trouble
        return POOR if self.poor else ""


class Windows:
    """Paths of the donors and of their placebos, shared by the areas of one cohort."""

    def __init__(self, design: Design, table: Table | None) -> None:
        self.design, self.table = design, table
        self._pool = np.ascontiguousarray(design.outcome[design.donors])
        self._paths: dict[bytes, Array] = {}
        self._placebos: dict[bytes, Placebos] = {}

    def area(self, unit: int) -> Area:
        """Fit one treated unit."""
        design = self.design
        before, after = design.before(unit), design.after(unit)
        kept = None
        donors, pool = design.donors, self._pool
        if design.others:
            kept = design.donors != unit
            donors, pool = design.donors[kept], self._pool[kept]
        short = int(before.sum()) < (1 if design.others else FEWEST_PRE)
        if short:
            nothing = np.full(design.outcome.shape[1], np.nan)
            return Area(unit, before, after, donors, None, nothing, short=True)
        if self.table is None:
            paths = self.paths(before)
            columns, goal = paths if kept is None else paths[:, kept], design.outcome[unit, before]
        else:
            columns, goal = self.table.scaled(unit, donors, before)
        try:
            fit = fit_weights(columns, goal)
        except NumericalError as error:  # one area without a number, not all of them
            nothing = np.full(design.outcome.shape[1], np.nan)
            return Area(unit, before, after, donors, None, nothing, trouble=error.what)
        synthetic = fit.weights @ pool
        gap = design.outcome[unit] - synthetic
        rounding = 1e-14 * float(np.abs(design.outcome[unit, before]).max())
        # A perfect fit is exactly zero: what rounding leaves has no rank and no ratio.
        perfect = fit.inside if self.table is None else _rms(gap[before]) <= rounding
        error = 0.0 if perfect else _rms(gap[before])
        return Area(unit, before, after, donors, fit, synthetic, error, _rms(gap[after]))

    def paths(self, before: Mask) -> Array:
        """Outcomes (m, J) of the whole pool before a start."""
        key = before.tobytes()
        if key not in self._paths:
            self._paths[key] = np.ascontiguousarray(self._pool[:, before].T)
        return self._paths[key]

    def judged(self, area: Area, keep: bool) -> Area:
        """The area, refused when its fit is poor."""
        if area.fit is None or area.pre_rmspe == 0:
            return area
        placebos = self.placebos(area.before)
        if not placebos.refuse(area.pre_rmspe):
            return area
        return replace(area, poor=True, kept=keep, limit=placebos.limit())

    def placebos(self, before: Mask) -> Placebos:
        """Fits of the donors against each other over the same periods."""
        key = before.tobytes()
        if key not in self._placebos:
            self._placebos[key] = Placebos(self.paths(before), lambda j: self._error(j, before), self.table is None)
        return self._placebos[key]

    def _error(self, donor: int, before: Mask) -> float:
        """Root mean squared error of a donor against the other donors."""
        from pmg_eval.numerics.simplex import simplex_lstsq

        paths = self.paths(before)
        others = np.arange(paths.shape[1]) != donor
        if self.table is None:
            columns, goal = paths[:, others], paths[:, donor]
        else:
            pool = self.design.donors
            columns, goal = self.table.scaled(int(pool[donor]), pool[others], before)
        weights = simplex_lstsq(columns, goal).weights
        return _rms(paths[:, donor] - paths[:, others] @ weights)


def effect_range(design: Design, area: Area) -> tuple[float, float]:
    """Smallest and largest mean effect after the start over all best fits (the observed over the expected number)."""
    seen = area.after
    if area.fit is None or not seen.any():
        return np.nan, np.nan
    own, donors = design.outcome[area.unit, seen], design.outcome[np.ix_(area.donors, np.flatnonzero(seen))]
    if design.exposure is None:
        low, high = area.fit.range_of(donors.mean(axis=1))
        # effects of a first period with a treated share count per fully treated period, see the terms
        share = float(first_share(design, area.unit)[seen].mean())
        return (float(own.mean()) - high) / share, (float(own.mean()) - low) / share
    people = design.exposure[area.unit, seen]
    events = float(own @ people)
    low, high = area.fit.range_of(donors @ people)
    with np.errstate(divide="ignore"):
        return float(np.divide(events, high)), float(np.divide(events, max(low, 0.0)))


def first_share(design: Design, unit: int) -> Array:
    """Treated share (T,) of every period: below one in a first period that treatment started inside of."""
    panel = design.panel
    share = np.ones(len(panel.time_codes))
    if panel.share is not None:
        share[panel.time_codes == panel.cohort[unit]] = panel.share[unit]
    return share


def fit_areas(design: Design, table: Table | None, keep: bool) -> list[Area]:
    """All treated units, in the order of the panel."""
    windows = Windows(design, table)
    areas = [windows.area(int(unit)) for unit in design.treated]
    return areas if design.others else [windows.judged(area, keep) for area in areas]


def _rms(values: Array) -> float:
    return math.sqrt(float(values @ values) / len(values)) if len(values) else math.nan
