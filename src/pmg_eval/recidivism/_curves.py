"""The curves of all groups, and the tables made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import InferenceError
from pmg_eval.numerics.rows import Array
from pmg_eval.recidivism import _robust, _variance
from pmg_eval.recidivism._bounds import ConfType, bounds, quantile, upper_without_events
from pmg_eval.recidivism._risk import Curve, RiskTable, curve

_KEPT = 1_000_000


@dataclass(frozen=True, eq=False)
class Curves:
    """The curves of all groups, computed when they are asked for (kept when they are small).

    Attributes
    ----------
    interest : list of lists of int
        Causes behind each kind of event.
    names : (K,) str
        Names of the kinds.
    shown : list of int
        Kinds (0..K-1) that are reported.
    variance : {"greenwood", "delta", "aalen", "robust"}
    """

    table: RiskTable
    interest: Sequence[Sequence[int]]
    names: tuple[str, ...]
    shown: Sequence[int]
    start: int | None
    variance: str
    _kept: dict[int, Curve] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table.groups)

    def __getitem__(self, group: int) -> Curve:
        if group not in self._kept:
            found = curve(self.table, group, self.interest, self.start)
            if len(self.table.at_risk) > _KEPT:
                return found
            self._kept[group] = found
        return self._kept[group]

    def __iter__(self) -> Iterator[Curve]:
        return (self[group] for group in range(len(self)))

    @property
    def robust(self) -> bool:
        return self.variance == "robust"

    @cached_property
    def rows(self) -> list[_robust.GroupRows]:
        """Rows of the spells per group, for the robust variance."""
        spells = self.table.spells
        if spells is None:
            raise InferenceError(
                "PMG-NEED-SPELLS", "a robust variance needs the spells one by one", fix="give Spells instead of Counts"
            )
        frequency = spells.weight_kind == "frequency" and not spells.cluster_columns
        return list(_robust.group_rows(spells.rows(), list(self), self.interest, start=self.start, frequency=frequency))

    @property
    def df(self) -> float | None:
        """Degrees of freedom: clusters less one where clusters were named."""
        spells = self.table.spells
        return spells.n_clusters - 1.0 if self.robust and spells is not None and spells.cluster_columns else None

    def standard_errors(self, group: int) -> list[Array]:
        """One array (T,) per shown kind of event."""
        found = self[group]
        if self.robust:
            return [np.sqrt(_robust.robust_variance(found, self.rows[group], kind)) for kind in self.shown]
        return _variance.standard_errors(found, self.shown, self.variance)


def curve_frame(curves: Curves) -> pd.DataFrame:
    """Every event day of every group and cause, and the end of follow-up; without intervals."""
    tables: dict[str, list[Any]] = {
        name: [] for name in ("place", "kind", "time", "estimate", "std_error", "n_at_risk", "n_events")
    }
    for group, found in enumerate(curves):
        for kind, se in zip(curves.shown, curves.standard_errors(group), strict=True):
            value = found.incidence[:, kind]
            if curves.variance == "greenwood":
                value = 1.0 - found.survival
            keep = np.flatnonzero(found.events[:, kind] > 0)
            keep = keep[found.day[keep] < found.blocked]
            day, columns = found.day[keep], (value[keep], se[keep], found.at_risk[keep], found.events[keep, kind])
            end = min(found.last, found.blocked - 1)
            if end >= 0 and (not len(day) or day[-1] < end):  # the last step goes on to the end of follow-up
                last = [column[-1] if len(day) else 0.0 for column in columns[:2]]
                extra = (*last, int(found.risk_at([end])[0]), 0)
                day = np.append(day, end)
                columns = tuple(np.append(c, e) for c, e in zip(columns, extra, strict=True))  # type: ignore[assignment]
            tables["place"].append(np.full(len(day), group))
            tables["kind"].append(np.full(len(day), kind))
            tables["time"].append(day)
            for name, column in zip(("estimate", "std_error", "n_at_risk", "n_events"), columns, strict=True):
                tables[name].append(column)
    joined = {name: np.concatenate(columns) for name, columns in tables.items()}
    group_labels = curves.table.groups["group"].array[joined.pop("place")]
    names = np.array(curves.names, dtype=object)[joined.pop("kind")]
    whole = {name: joined[name].astype(np.int64) for name in ("time", "n_at_risk", "n_events")}
    return pd.DataFrame({"group": group_labels, "cause": names, **joined, **whole})


def with_interval(
    frame: pd.DataFrame, level: float, conf_type: ConfType, df: float | None, *, of_survival: bool
) -> pd.DataFrame:
    """The frame with ``conf_low`` and ``conf_high`` after ``std_error``."""
    share, se = frame["estimate"].to_numpy(), frame["std_error"].to_numpy()
    low, high = bounds(share, se, quantile(level, df), conf_type, of_survival=of_survival)
    none = share == 0.0
    exact = upper_without_events(frame["n_at_risk"].to_numpy(dtype=np.float64), level)
    low, high = np.where(none, 0.0, low), np.where(none, exact, high)
    low = np.where(np.isnan(high), np.nan, low)
    columns = list(frame.columns)
    place = columns.index("std_error") + 1
    frame = frame.assign(conf_low=low, conf_high=high)
    return frame[[*columns[:place], "conf_low", "conf_high", *columns[place:]]]


def keepable(curves: Curves) -> Curves | pd.DataFrame:
    """What a result may hold of its curves: counts, from which they are computed when asked for, never spells.

    Robust standard errors need the spells, so these curves are computed at once.
    """
    if curves.robust:
        return curve_frame(curves)
    return replace(curves, table=replace(curves.table, spells=None))


__all__ = ["Curves", "curve_frame", "keepable", "with_interval"]
