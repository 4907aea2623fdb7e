"""Which adoption paths could have been assigned: the pool, its blocks, all assignments or random ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import factorial, prod
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError
from pmg_eval.panel import Panel
from pmg_eval.resample._pool import pool_mask

Among = Literal["pool", "treated"]


@dataclass(frozen=True, eq=False)
class Paths:
    """Adoption paths and the blocks of units inside which they may change places.

    Attributes
    ----------
    levels : (m,) or (m, 2) float
        Distinct paths: a start and, where the panel keeps it, the treated share of the first period.
    path : (n,) int
        The path that each unit has.
    blocks : list of (b,) int
        Positions of units that exchange paths.
    total : int
        Number of distinct assignments.
    words : str
        Who may be assigned what.
    """

    levels: Any
    path: Any
    blocks: list[Any]
    total: int
    words: str

    def panel(self, panel: Panel, assigned: Any) -> Panel:
        """The panel under an assignment (n,) of paths."""
        start = self.levels[assigned]
        return panel.with_cohort(start) if panel.share is None else panel.with_cohort(start[:, 0], start[:, 1])

    def every(self) -> Iterator[Any]:
        """All distinct assignments; the one that happened included."""
        return _every(self.path, self.blocks)

    def random(self, generator: np.random.Generator, count: int) -> Iterator[Any]:
        """The next ``count`` random assignments; each has its own child of the generator."""
        for child in generator.spawn(count):
            changed = self.path.copy()
            for block in self.blocks:
                changed[block] = child.permutation(self.path[block])
            yield changed


def paths_of(panel: Panel, eligible: Sequence[Any] | None, within: str | None, among: Among) -> Paths:
    """The paths of a panel and who may exchange them.

    Raises
    ------
    DataError
        PMG-OPTION, PMG-POOL (labels in ``eligible``), PMG-COLUMN.
    DesignError
        PMG-POOL: nobody untreated, or one assignment only.
    """
    treated = np.isfinite(panel.cohort)
    if among == "treated":
        if eligible is not None:
            raise DataError("PMG-OPTION", "eligible= names untreated areas, which among='treated' leaves alone")
        pool, words = np.flatnonzero(treated), f"among {int(treated.sum())} treated areas"
    elif among == "pool":
        pool = np.flatnonzero(treated | pool_mask(panel, eligible))
        words = f"in a pool of {len(pool)} areas"
        if treated[pool].all():
            raise DesignError("PMG-POOL", "the pool holds no untreated area", fix="name eligible comparison areas")
    else:
        raise DataError("PMG-OPTION", f"unknown among {among!r}", fix='"pool" or "treated"')
    starts = panel.cohort if panel.share is None else np.column_stack([panel.cohort, panel.share])
    levels, path = np.unique(starts, axis=0, return_inverse=True)
    path = path.ravel()
    blocks = _blocks(panel, pool, within)
    total = prod(_distinct(path[block]) for block in blocks)
    if total < 2:
        fix = "a larger pool or coarser `within`" if among == "pool" else "areas that start in different periods"
        raise DesignError("PMG-POOL", "only one assignment is possible", fix=fix)
    return Paths(levels, path, blocks, total, words)


def _blocks(panel: Panel, pool: Any, within: str | None) -> list[Any]:
    if within is None:
        return [pool]
    if within not in panel.unit_labels:
        raise DataError("PMG-COLUMN", f"no unit label {within!r}", where=list(panel.unit_labels.columns))
    codes, _ = pd.factorize(panel.unit_labels[within].iloc[pool], sort=True)
    return [pool[codes == level] for level in range(codes.max() + 1)]


def _distinct(path: Any) -> int:
    counts = np.unique(path, return_counts=True)[1]
    return factorial(len(path)) // prod(factorial(int(count)) for count in counts)


def _every(path: Any, blocks: list[Any]) -> Iterator[Any]:
    head, *rest = blocks
    later = list(_every(path, rest)) if rest else [path]
    for order in _multiset(path[head]):
        for base in later:
            changed = base.copy()
            changed[head] = order
            yield changed


def _multiset(values: Any) -> Iterator[tuple[int, ...]]:
    """Distinct orderings of a multiset without visiting repeated ones."""
    levels, counts = np.unique(values, return_counts=True)
    left = dict(zip(levels.tolist(), counts.tolist(), strict=True))

    def extend(prefix: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(prefix) == len(values):
            yield prefix
            return
        for level, count in left.items():
            if count:
                left[level] -= 1
                yield from extend((*prefix, level))
                left[level] += 1

    yield from extend(())
