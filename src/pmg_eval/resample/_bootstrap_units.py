"""Whole units, or clusters of them, drawn with replacement within strata: a panel with copies that are told apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError
from pmg_eval.panel import Panel
from pmg_eval.panel._core import Core, Root
from pmg_eval.panel._ingest import frozen


@dataclass(frozen=True, eq=False)
class Urn:
    """What is drawn.

    Attributes
    ----------
    members : list of (m,) int
        Positions of the units of each cluster.
    strata : list of (s,) int
        Clusters of each stratum; as many are drawn from it as it has.
    names : list of str
        What the strata are.
    what : str
        ``"unit"`` or the label of the clusters.
    """

    members: list[Any]
    strata: list[Any]
    names: list[str]
    what: str

    @property
    def count(self) -> int:
        """Number of clusters."""
        return len(self.members)

    def lone(self) -> list[str]:
        """Strata of one cluster: it is drawn every time, so that nothing is known of its variation."""
        return [name for name, stratum in zip(self.names, self.strata, strict=True) if len(stratum) == 1]

    def draw(self, generator: np.random.Generator) -> Any:
        """Positions of units, with repetitions."""
        chosen = np.concatenate([stratum[generator.integers(0, len(stratum), len(stratum))] for stratum in self.strata])
        return np.concatenate([self.members[cluster] for cluster in chosen])


def urn_of(panel: Panel, cluster: str | None, strata: str | None) -> Urn:
    """Clusters and strata of a panel.

    Raises
    ------
    DataError
        PMG-CLUSTER, PMG-COLUMN: no such label.
    DesignError
        PMG-CLUSTER: repeated cross-sections without a cluster.
    """
    if cluster is None:
        if not panel.is_panel:
            raise DesignError(
                "PMG-CLUSTER", "repeated cross-sections have no units to draw", fix="name a cluster= of the panel"
            )
        members: list[Any] = list(np.arange(panel.n_units)[:, None])
    else:
        codes, names = pd.factorize(_label(panel, cluster, "PMG-CLUSTER"), sort=True)
        members = [np.flatnonzero(codes == code) for code in range(len(names))]
    kinds = _kinds(panel, members, strata)
    code, levels = pd.factorize(pd.Series(kinds, dtype=object))
    return Urn(
        members, [np.flatnonzero(code == k) for k in range(len(levels))], list(map(str, levels)), cluster or "unit"
    )


def _label(panel: Panel, name: str, code: str) -> Any:
    if name not in panel.unit_labels:
        raise DataError(code, f"no unit label {name!r}", where=list(panel.unit_labels.columns))
    return panel.unit_labels[name]


def _kinds(panel: Panel, members: list[Any], strata: str | None) -> list[str]:
    """What stratum each cluster belongs to: the cohorts (or labels) that it holds."""
    if strata is None:
        return ["all"] * len(members)
    if strata == "cohort":
        never = np.isposinf(panel.cohort)
        shown = ["never" if no else str(panel.time_label(start)) for start, no in zip(panel.cohort, never, strict=True)]
    else:
        shown = _label(panel, strata, "PMG-COLUMN").astype(str).tolist()
    return [" + ".join(sorted({shown[unit] for unit in units})) for units in members]


def resampled(panel: Panel, chosen: Any) -> Panel:
    """The panel of these units (positions with repetitions), every copy a unit of its own; not validated again."""
    core, root = panel._core, panel._core.root
    chosen = np.sort(np.asarray(chosen))
    labels = _copies(core.units, chosen)
    order = np.argsort(labels, kind="stable")
    chosen, labels = chosen[order], labels[order]
    counts = np.bincount(core.row_unit, minlength=core.n_units)
    first = np.cumsum(counts) - counts
    by_unit = np.argsort(core.row_unit, kind="stable")
    sizes = counts[chosen]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows = by_unit[np.repeat(first[chosen], sizes) + within]
    row_unit = frozen(np.repeat(np.arange(len(chosen)), sizes))
    row_time = frozen(core.row_time[rows])
    in_root = rows if core.rows is None else core.rows[rows]
    labelled = chosen if core.unit_index is None else core.unit_index[chosen]
    frame = root.frame.take(in_root).reset_index(drop=True)
    if core.is_panel:
        frame[core.roles["unit"]] = labels.take(row_unit)
    copied = Root(
        frame,
        labels,
        root.times,
        row_unit,
        row_time,
        {
            name: labels if column is root.units else column.take(labelled)
            for name, column in root.unit_label_columns.items()
        },
        root.row_label_columns,
        {name: frozen(numbers[in_root]) for name, numbers in root._columns.items()},
    )
    return Panel._of(_core_of(core, copied, chosen, rows, row_unit, row_time))


def _core_of(core: Core, root: Root, chosen: Any, rows: Any, row_unit: Any, row_time: Any) -> Core:
    def per_row(values: Any) -> Any:
        return None if values is None else frozen(values[rows])

    def per_unit(values: Any) -> Any:
        return None if values is None else frozen(values[chosen])

    return replace(
        core,
        root=root,
        row_unit=row_unit,
        row_time=row_time,
        n_units=len(chosen),
        cohort=per_unit(core.cohort),
        share=per_unit(core.share),
        weight=per_row(core.weight),
        unit_weight=per_unit(core.unit_weight),
        exposure=per_row(core.exposure),
        contaminated_from=per_unit(core.contaminated_from),
        dose=per_row(core.dose),
        focus_share=per_unit(core.focus_share),
        neighbors=None if core.neighbors is None else _borders(core.neighbors, chosen),
        exempt=per_unit(core.exempt),
        rows=None,
        unit_index=None,
    )


def _copies(units: pd.Index[Any], chosen: Any) -> pd.Index[Any]:
    """Labels of sorted positions: the first copy keeps its own, the others get a new one of the same kind."""
    labels: pd.Index[Any] = units.take(chosen)
    number = np.arange(len(chosen)) - np.searchsorted(chosen, chosen)
    again = np.flatnonzero(number)
    if labels.dtype.kind in "iu":
        values = labels.to_numpy().copy()
        values[again] = int(units.max()) + 1 + np.arange(len(again))
        labels = pd.Index(values)
        return labels
    texts = [str(label) for label in labels]
    mark = "copy"
    while any(mark in text for text in texts):  # two units must not come to bear one name
        mark += "_"
    for place in again:
        texts[place] = f"{texts[place]} ({mark} {number[place]})"
    labels = pd.Index(texts)
    return labels


def _borders(neighbors: Any, chosen: Any) -> Any:
    """Borders between all copies of two neighbors."""
    places: dict[int, list[int]] = {}
    for place, unit in enumerate(chosen.tolist()):
        places.setdefault(unit, []).append(place)
    pairs = [(i, j) for one, two in neighbors.tolist() for i in places.get(one, ()) for j in places.get(two, ())]
    return frozen(np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2))
