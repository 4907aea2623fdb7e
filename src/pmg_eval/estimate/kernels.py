r"""Dependence between rows of the influence function, chosen after fitting.

With contributions :math:`\psi_i/n` the covariance is :math:`n^{-2}\sum_{ij}K_{ij}\psi_i\psi_j'`. A *dependence* names
the kernel K and its small-sample factor. It needs labels of the rows (a cluster, a period, coordinates) and refuses,
naming what is missing, when the rows were already summed over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.numerics.rows import Array, Rows

if TYPE_CHECKING:
    from pmg_eval.estimate.carriers import Influence


_EARTH_KM = 6371.01
_PAIRS = 1 << 22  # distances held at once


@dataclass(frozen=True)
class SmallSample:
    """Small-sample factor of a clustered covariance.

    Parameters
    ----------
    parameters : {"none", "regressors", "nonnested", "full"}
        Which parameters K count in (n-1)/(n-K): none (no such factor), the regressors but no absorbed effect, all but
        the effects nested in a cluster, or all.
        n is the number of observations behind the estimate.
    clusters : bool
        Multiply by G/(G-1).
    group_count : {"min", "own"}
        Several cluster variables: G of the smallest one for every piece ("min"), or each piece its own.
    """

    parameters: Literal["none", "regressors", "nonnested", "full"] = "none"
    clusters: bool = True
    group_count: Literal["min", "own"] = "min"

    def __post_init__(self) -> None:
        if self.parameters not in ("none", "regressors", "nonnested", "full") or self.group_count not in ("min", "own"):
            raise DataError("PMG-CORRECTION", f"unknown small-sample rule {self}")


PRESETS: dict[str, SmallSample] = {
    "none": SmallSample("none", clusters=False),
    "G": SmallSample("none"),
    "fixest": SmallSample("nonnested"),
    "stata": SmallSample("full"),
}
Correction = Literal["none", "G", "fixest", "stata"]


def _small_sample(correction: Correction | SmallSample) -> SmallSample:
    if isinstance(correction, SmallSample):
        return correction
    if correction not in PRESETS:
        raise DataError(
            "PMG-CORRECTION", f"unknown small-sample correction {correction!r}", fix=f"one of {sorted(PRESETS)}"
        )
    return PRESETS[correction]


class Dependence(Protocol):
    """What a kernel must offer: a name, the sum of products of rows, its diagonal, and degrees of freedom."""

    @property
    def name(self) -> str: ...

    def meat(self, influence: Influence) -> Array: ...

    def diagonal(self, influence: Influence) -> Array: ...

    def df(self, influence: Influence) -> float | None: ...


def label(influence: Influence, name: str) -> pd.Series[Any]:
    """Row label ``name``, or an error that says which labels there are."""
    if name not in influence.rows.columns:
        raise InferenceError(
            "PMG-LABEL",
            f"this estimate's influence rows carry no label {name!r} (they are {', '.join(map(str, influence.rows))})",
            fix="name the column as `cluster=` or `region=` of the Panel, or use an estimator whose rows keep it",
        )
    return influence.rows[name]


def group_codes(influence: Influence, names: Sequence[str]) -> tuple[Any, int]:
    """Integer codes of the groups formed by the labels together, and their number."""
    codes: Any = np.zeros(len(influence.rows), dtype=np.int64)
    for name in names:
        column = label(influence, name)
        found, levels = pd.factorize(column, sort=False, use_na_sentinel=True)
        if (found < 0).any():
            raise InferenceError("PMG-LABEL-MISSING", f"label {name!r} is missing for some rows of the influence")
        codes = codes * len(levels) + found
    codes, levels = pd.factorize(codes)
    return codes.astype(np.int64), len(levels)


def _nested(levels: Any, clusters: Any) -> bool:
    """Whether every level lies in one cluster."""
    first = np.zeros(int(levels.max()) + 1, dtype=np.int64)
    first[levels] = clusters
    return bool(np.array_equal(first[levels], clusters))


@dataclass(frozen=True)
class Independent:
    """Rows are independent (for rows that are units: robust to anything within a unit)."""

    correction: Literal["none", "hc1"] = "none"

    @property
    def name(self) -> str:
        return "independent" if self.correction == "none" else f"independent ({self.correction})"

    def _factor(self, influence: Influence) -> float:
        if self.correction == "none":
            return 1.0
        n, params = influence.need_sizes()
        return n / (n - params)

    def meat(self, influence: Influence) -> Array:
        return self._factor(influence) * influence.psi.gram()

    def diagonal(self, influence: Influence) -> Array:
        return self._factor(influence) * influence.psi.column_sumsq()

    def df(self, influence: Influence) -> float | None:
        return None


@dataclass(frozen=True)
class Clustered:
    """Arbitrary dependence within clusters; several cluster variables by inclusion and exclusion."""

    by: tuple[str, ...]
    correction: Correction | SmallSample = "none"

    @property
    def name(self) -> str:
        return f"clustered({' & '.join(self.by)}, correction={_correction_name(self.correction)})"

    def _pieces(self, influence: Influence) -> list[tuple[float, Rows]]:
        rule = _small_sample(self.correction)
        coded = {
            names: group_codes(influence, names)
            for size in range(1, len(self.by) + 1)
            for names in combinations(self.by, size)
        }
        smallest = min(coded[(name,)][1] for name in self.by)
        if smallest < 2:
            raise InferenceError("PMG-ONE-CLUSTER", f"one cluster only in {self.by}", fix="cluster on a finer label")
        shared = self._parameter_factor(influence, rule, coded)
        pieces = []
        for names, (codes, count) in coded.items():
            groups = smallest if rule.group_count == "min" else count
            factor = shared * (groups / (groups - 1) if rule.clusters else 1.0)
            sign = 1.0 if len(names) % 2 else -1.0
            pieces.append((sign * factor, influence.psi.sum_rows(codes, count)))
        return pieces

    def _parameter_factor(self, influence: Influence, rule: SmallSample, coded: dict[Any, Any]) -> float:
        if rule.parameters == "none":
            return 1.0
        n, params = influence.need_sizes()
        if rule.parameters == "regressors" and influence.n_params_nested:
            params -= sum(influence.n_params_nested.values()) + 1
        if rule.parameters == "nonnested":
            clusters = [coded[(name,)][0] for name in self.by]
            for name, count in influence.n_params_nested.items():
                levels, _ = group_codes(influence, [name])
                if any(_nested(levels, codes) for codes in clusters):
                    params -= count
        return (n - 1) / (n - params)

    def _raw(self, influence: Influence) -> Array:
        total = np.zeros((influence.psi.shape[1],) * 2)
        for factor, rows in self._pieces(influence):
            total += factor * rows.gram()
        return total

    def meat(self, influence: Influence) -> Array:
        raw = self._raw(influence)
        return raw if len(self.by) == 1 else _clipped(raw)[0]

    def repaired(self, influence: Influence) -> bool:
        """Whether inclusion and exclusion gave negative eigenvalues, which :meth:`meat` sets to zero."""
        return len(self.by) > 1 and _clipped(self._raw(influence))[1]

    def diagonal(self, influence: Influence) -> Array:
        if len(self.by) > 1:
            return np.asarray(np.diag(self.meat(influence)))
        total = np.zeros(influence.psi.shape[1])
        for factor, rows in self._pieces(influence):
            total += factor * rows.column_sumsq()
        return total

    def df(self, influence: Influence) -> float | None:
        return float(min(group_codes(influence, [name])[1] for name in self.by) - 1)


def _clipped(matrix: Array) -> tuple[Array, bool]:
    """The nearest positive semidefinite matrix, and whether that changed anything."""
    value, vector = np.linalg.eigh((matrix + matrix.T) / 2)
    if value.min(initial=0.0) >= -1e-12 * max(float(value.max(initial=0.0)), 1e-300):
        return matrix, False
    return np.asarray((vector * np.clip(value, 0, None)) @ vector.T), True


@dataclass(frozen=True)
class Hac:
    r"""Bartlett weights :math:`1-\ell/(L+1)` for rows that lie :math:`\ell\le L` periods apart.

    ``within`` names the label inside which rows are serially dependent (Newey-West in a panel); ``within=None`` sums
    the rows of each period first, so that everything within a period is dependent too (Driscoll-Kraay; for a single
    series it is Newey-West).
    """

    lags: int
    time: str = "time"
    within: str | None = None
    correction: Literal["none", "T", "fixest"] = "none"

    @property
    def name(self) -> str:
        kind = "driscoll-kraay" if self.within is None else f"newey-west within {self.within}"
        return f"hac({kind}, lags={self.lags}, correction={self.correction})"

    def _positions(self, influence: Influence) -> Any:
        column = label(influence, self.time)
        if isinstance(column.dtype, pd.PeriodDtype):
            return np.asarray(column.array.asi8)
        return np.asarray(column, dtype=np.int64)

    def meat(self, influence: Influence) -> Array:
        position = self._positions(influence)
        position = position - position.min()
        span = int(position.max()) + 1
        if not 0 <= self.lags < span:
            raise InferenceError("PMG-LAGS", f"lags={self.lags} must lie between 0 and {span - 1}")
        if self.within is None:
            group, n_groups = np.zeros(len(position), dtype=np.int64), 1
        else:
            group, n_groups = group_codes(influence, [self.within])
        k = influence.psi.shape[1]
        # The (group, period) grid with zeros where nothing was observed: a lag is a shift along the period axis.
        grid = influence.psi.sum_rows(group * span + position, n_groups * span).dense().reshape(n_groups, span, k)
        total = np.einsum("gtk,gtl->kl", grid, grid)
        for lag in range(1, self.lags + 1):
            cross = np.einsum("gtk,gtl->kl", grid[:, lag:], grid[:, :-lag])
            total += (1 - lag / (self.lags + 1)) * (cross + cross.T)
        return np.asarray(self._factor(influence, position) * total)

    def _factor(self, influence: Influence, position: Any) -> float:
        if self.correction == "none":
            return 1.0
        periods = len(np.unique(position))
        factor = periods / (periods - 1)
        if self.correction == "fixest":
            n, params = influence.need_sizes()
            factor *= (n - 1) / (n - params)  # fixest counts all effects here
        return factor

    def diagonal(self, influence: Influence) -> Array:
        return np.asarray(np.diag(self.meat(influence)))

    def df(self, influence: Influence) -> float | None:
        return float(len(np.unique(self._positions(influence))) - 1)


def great_circle_km(one: Array, other: Array) -> Array:
    """Distances (m, n) in km between places (m, 2) and (n, 2), latitude and longitude in radians."""
    lat, lon = one[:, :1], one[:, 1:]
    far, wide = other[:, 0], other[:, 1]
    half = np.sin((lat - far) / 2) ** 2 + np.cos(lat) * np.cos(far) * np.sin((lon - wide) / 2) ** 2
    return np.asarray(2 * _EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1))))


@dataclass(frozen=True)
class Conley:
    """Spatial dependence that fades to zero at ``cutoff_km`` (great-circle distance of ``latitude``, ``longitude``)."""

    cutoff_km: float
    latitude: str = "latitude"
    longitude: str = "longitude"
    kernel: Literal["uniform", "bartlett"] = "bartlett"

    @property
    def name(self) -> str:
        return f"conley({self.kernel}, cutoff_km={self.cutoff_km})"

    def meat(self, influence: Influence) -> Array:
        spots, codes = np.unique(np.deg2rad(self._places(influence)), axis=0, return_inverse=True)
        rows = influence.psi.sum_rows(codes.astype(np.int64).ravel(), len(spots)).dense()
        total = np.zeros((rows.shape[1],) * 2)
        step = max(1, _PAIRS // len(spots))  # a block of distances, never all of them
        for start in range(0, len(spots), step):
            part = slice(start, start + step)
            distance = great_circle_km(spots[part], spots)
            weight = (distance <= self.cutoff_km).astype(np.float64)
            if self.kernel == "bartlett":
                weight *= 1 - distance / self.cutoff_km
            total += rows[part].T @ (weight @ rows)
        return total

    def _places(self, influence: Influence) -> Array:
        """Latitude and longitude (N, 2) in degrees, or an error that says what is wrong with the labels."""
        names = (self.latitude, self.longitude)
        columns = [pd.to_numeric(label(influence, name), errors="coerce") for name in names]
        for name, column, limit in zip(names, columns, (90, 180), strict=True):
            if not (column.abs() <= limit).all():
                raise InferenceError(
                    "PMG-PLACE",
                    f"label {name!r} is not a number of degrees between {-limit} and {limit} in every row",
                    fix="coordinates in degrees (WGS 84), not in meters of a national grid; none may be missing",
                )
        return np.column_stack(columns).astype(np.float64)

    def diagonal(self, influence: Influence) -> Array:
        return np.asarray(np.diag(self.meat(influence)))

    def df(self, influence: Influence) -> float | None:
        return None


@dataclass(frozen=True)
class Recorded:
    """The dependence behind a saved covariance, by name: there are no rows left to sum in another way."""

    name: str

    def meat(self, influence: Influence) -> Array:
        raise InferenceError("PMG-NO-INFLUENCE", f"{self.name} is the name of a kernel in a file, not a kernel")

    def diagonal(self, influence: Influence) -> Array:
        return self.meat(influence)

    def df(self, influence: Influence) -> float | None:
        return None


def _correction_name(correction: Correction | SmallSample) -> str:
    if isinstance(correction, str):
        return correction
    return f"{correction.parameters}/{'G' if correction.clusters else 'no G'}/{correction.group_count}"


def independent(correction: Literal["none", "hc1"] = "none") -> Independent:
    """Rows of the influence function are independent.

    Parameters
    ----------
    correction : {"none", "hc1"}
        "hc1" multiplies by n/(n - K) (needs the sizes of a regression).
    """
    return Independent(correction)


def clustered(*by: str, correction: Correction | SmallSample = "none") -> Clustered:
    r"""Rows may depend on each other within clusters.

    .. math:: n^{-2}\sum_g \psi_g\psi_g',\qquad \psi_g=\sum_{i\in g}\psi_i

    Several labels: inclusion and exclusion (Cameron, Gelbach and Miller 2011, doi:10.1198/jbes.2010.07136).

    Parameters
    ----------
    *by : str
        Labels of the rows: ``"unit"``, ``"time"``, or a cluster column of the panel.
    correction : {"none", "G", "fixest", "stata"} or SmallSample
        none; G/(G-1); G/(G-1)·(n-1)/(n-K) without the parameters nested in clusters; the same with all parameters.
    """
    if not by:
        raise DataError("PMG-CLUSTER", "clustered() needs at least one label", fix='for example clustered("unit")')
    _small_sample(correction)
    return Clustered(tuple(by), correction)


def hac(
    lags: int, *, time: str = "time", within: str | None = None, correction: Literal["none", "T", "fixest"] = "none"
) -> Hac:
    """Serial dependence with Bartlett weights (Newey-West; Driscoll-Kraay when ``within`` is None).

    Parameters
    ----------
    lags : int
        Largest number of periods between dependent rows (0 = none beyond the period itself).
    time, within : str
        Labels of the rows: period, and the unit within which rows are serially dependent.
    correction : {"none", "T", "fixest"}
        Small-sample factor: none, T/(T-1), or T/(T-1)·(n-1)/(n-K).

    References
    ----------
    Newey and West (1987), doi:10.2307/1913610; Driscoll and Kraay (1998), doi:10.1162/003465398557825.
    """
    if lags < 0:
        raise DataError("PMG-LAGS", f"lags={lags} is negative")
    return Hac(int(lags), time, within, correction)


def conley(
    cutoff_km: float,
    *,
    latitude: str = "latitude",
    longitude: str = "longitude",
    kernel: Literal["uniform", "bartlett"] = "bartlett",
) -> Conley:
    r"""Spatial dependence up to a distance.

    .. math:: n^{-2}\sum_{ij}K(d_{ij})\psi_i\psi_j',\qquad K(d)=1[d\le c]\ \text{or}\ \max(0,1-d/c)

    with great-circle distances between the places of the rows; rows at one place count as one.

    Parameters
    ----------
    cutoff_km : float
        Distance c from which areas are independent. It is a choice: show the error for several.
    latitude, longitude : str
        Labels of the rows, in degrees: columns named in ``cluster=`` of the Panel,
        ``Panel(..., cluster=["latitude", "longitude"])``.
    kernel : {"bartlett", "uniform"}
        Dependence that fades with distance, or all or nothing (whose sum may be negative: then there is no error).

    Raises
    ------
    DataError
        PMG-CUTOFF, PMG-OPTION.
    InferenceError
        PMG-LABEL, PMG-PLACE (when used).

    References
    ----------
    Conley (1999), doi:10.1016/S0304-4076(98)00084-0.
    """
    if not cutoff_km > 0:
        raise DataError("PMG-CUTOFF", f"cutoff_km={cutoff_km} must be positive")
    if kernel not in ("uniform", "bartlett"):
        raise DataError("PMG-OPTION", f"unknown kernel {kernel!r}", fix='"bartlett" or "uniform"')
    return Conley(float(cutoff_km), latitude, longitude, kernel)
