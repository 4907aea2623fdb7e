"""The synthetic control of every treated unit, and which of them are refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pmg_eval.errors import NumericalError
from pmg_eval.numerics.rows import Array
from pmg_eval.numerics.simplex import simplex_lstsq
from pmg_eval.synth._door import FEWEST_PRE, Design, Positions
from pmg_eval.synth._fit import Fit, fit_many, fit_weights
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
    synthetic, gap : (T,) float
        Path of the synthetic control, and what is left, on the scale of the fit.
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
    gap: Array
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

    def areas(self) -> list[Area]:
        """Fit all treated units; those with the same periods before the start together."""
        design = self.design
        units = design.treated
        seen = ~np.isnan(design.outcome[units])
        start = design.panel.cohort[units][:, None]
        before = (design.panel.time_codes < start - design.anticipation) & seen
        after = (design.panel.time_codes >= start) & seen
        enough = before.sum(axis=1) >= (1 if design.others else FEWEST_PRE)
        found: dict[int, Area] = {
            int(at): self._without(int(units[at]), before[at], after[at], "", short=True)
            for at in np.flatnonzero(~enough)
        }
        windows: dict[bytes, list[int]] = {}
        for at in np.flatnonzero(enough).tolist():
            windows.setdefault(before[at].tobytes(), []).append(at)
        for members in windows.values():
            fitted = self._together(units[members], before[members[0]], after[members])
            found.update(zip(members, fitted, strict=True))
        return [found[at] for at in range(len(units))]

    def _together(self, units: Positions, before: Mask, after: NDArray[np.bool_]) -> list[Area]:
        """Areas with the same periods (T,) before their start: weights, paths and errors."""
        design = self.design
        own = design.outcome[units]
        others = (
            units[:, None] != design.donors if design.others else np.ones((len(units), len(design.donors)), dtype=bool)
        )
        if self.table is None:
            without = np.where(others.all(axis=1), -1, others.argmin(axis=1)) if design.others else None
            fits = fit_many(self.paths(before), np.ascontiguousarray(own[:, before].T), without)
        else:
            fits = [
                self._by_predictors(int(unit), design.donors[kept], before)
                for unit, kept in zip(units, others, strict=True)
            ]
        weights = np.zeros(others.shape)
        for fit, row, kept in zip(fits, weights, others, strict=True):
            row[kept] = fit.weights if isinstance(fit, Fit) else 0.0
        # Differences to one donor: exact for what units have in common, however large.
        base = self._pool[0]
        change = weights @ (self._pool - base)
        synthetic, gap = base + change, (own - base) - change
        error = np.sqrt(np.square(gap[:, before]).mean(axis=1))
        # A perfect fit is exactly zero: what rounding leaves has no rank and no ratio.
        rounding = 1e-14 * np.abs(own[:, before]).max(axis=1)
        with np.errstate(invalid="ignore"):
            later = np.sqrt(np.where(after, np.square(gap), 0.0).sum(axis=1) / after.sum(axis=1))
        areas = []
        for at, (unit, fit) in enumerate(zip(units.tolist(), fits, strict=True)):
            if not isinstance(fit, Fit):  # one area without a number, not all of them
                areas.append(self._without(unit, before, after[at], fit.what))
                continue
            perfect = fit.inside if self.table is None else error[at] <= rounding[at]
            pre = 0.0 if perfect else float(error[at])
            donors = design.donors[others[at]] if design.others else design.donors
            areas.append(Area(unit, before, after[at], donors, fit, synthetic[at], gap[at], pre, float(later[at])))
        return areas

    def _by_predictors(self, unit: int, donors: Positions, before: Mask) -> Fit | NumericalError:
        if self.table is None:
            raise ValueError("no predictors")
        try:
            return fit_weights(*self.table.scaled(unit, donors, before))
        except NumericalError as error:
            return error

    def _without(self, unit: int, before: Mask, after: Mask, trouble: str, short: bool = False) -> Area:
        nothing = np.full(self.design.outcome.shape[1], np.nan)
        donors = self.design.donors_of(unit)
        return Area(unit, before, after, donors, None, nothing, nothing, short=short, trouble=trouble)

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
        paths = self.paths(before)
        others = np.arange(paths.shape[1]) != donor
        if self.table is None:
            weights = simplex_lstsq(paths[:, others], paths[:, donor]).weights
        else:
            pool = self.design.donors
            weights = fit_weights(*self.table.scaled(int(pool[donor]), pool[others], before)).weights
        base = paths[:, donor]
        return _rms((paths[:, others] - base[:, None]) @ weights)


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
    areas = windows.areas()
    return areas if design.others else [windows.judged(area, keep) for area in areas]


def _rms(values: Array) -> float:
    return math.sqrt(float(values @ values) / len(values))
