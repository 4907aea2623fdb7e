"""From spells to counts: how many enter, are censored or have an event, per group and day. One pass, never a sort.

A row is one packed integer ``(group, day, state)``, so the table of counts is one ``bincount`` over these keys. Where
the full grid would be much larger than the data (thousands of areas x thousands of days) the same integers are counted
by a sparse matrix instead, whose cost follows the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pmg_eval.panel._ingest import FloatArray, IntArray, frozen

CENSORED = 0
BEFORE = -1  # "entry" of those who are at risk from before day 0, so that events on day 0 count
_DENSE_PER_ROW = 4
_DENSE_ANYWAY = 1 << 20


@dataclass(frozen=True)
class Packing:
    """How (group, day, state) becomes one integer: groups outermost, then days -1..last, then states 0..K."""

    n_groups: int
    last_day: int
    n_states: int

    @property
    def slots(self) -> int:
        """Days of a group: -1 to ``last_day``."""
        return self.last_day + 2

    @property
    def size(self) -> int:
        return self.n_groups * self.slots * self.n_states

    def moment(self, group: IntArray, day: IntArray) -> IntArray:
        """(group, day) as one integer."""
        return np.asarray(group * self.slots + (day + 1), dtype=np.int64)

    def key(self, group: IntArray, day: IntArray, state: IntArray) -> IntArray:
        """(group, day, state) as one integer."""
        return np.asarray(self.moment(group, day) * self.n_states + state, dtype=np.int64)

    def split(self, key: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Group, day and state of keys."""
        moment, state = np.divmod(key, self.n_states)
        group, slot = np.divmod(moment, self.slots)
        return group, slot - 1, state


@dataclass(frozen=True, eq=False)
class Cells:
    """Counts of the days on which something happens, sorted by (group, day).

    Attributes
    ----------
    group, day : (M,) int
        Position of the group, and the day; -1 is "before day 0".
    entered : (M,) int
        Spells that start to be at risk after this day.
    exits : (M, 1 + K) int
        Spells that end on this day: censored, then one column per cause.
    entered_weight, exits_weight : the same as sums of survey weights, or None
    """

    group: IntArray
    day: IntArray
    entered: IntArray
    exits: IntArray
    entered_weight: FloatArray | None = None
    exits_weight: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.day)


def count(packing: Packing, key: IntArray, entry: IntArray | None, weight: Any, *, whole: bool) -> Cells:
    """Count rows.

    Parameters
    ----------
    key : (N,) int
        Packed (group, day, state) of the end of each spell.
    entry : (N,) int or None
        Packed (group, day) of the start; None when all are at risk from before day 0.
    weight : (N,) float or None
    whole : bool
        Weights are numbers of persons: they replace the counts. Otherwise they are kept beside them.
    """
    if packing.size <= max(_DENSE_PER_ROW * len(key), _DENSE_ANYWAY):
        cells = _dense(packing, key, entry, weight if whole else None)
        if weight is None or whole:
            return cells
        return _weighted(cells, _dense(packing, key, entry, weight, whole=False))
    cells = _sparse(packing, key, entry, weight if whole else None)
    if weight is None or whole:
        return cells
    return _weighted(cells, _sparse(packing, key, entry, weight, whole=False))


def _weighted(cells: Cells, sums: Cells) -> Cells:
    """Numbers and sums of weights side by side (rows of weight zero were left out, so the cells are the same)."""
    return Cells(
        cells.group,
        cells.day,
        cells.entered,
        cells.exits,
        frozen(np.asarray(sums.entered, dtype=np.float64)),
        frozen(np.asarray(sums.exits, dtype=np.float64)),
    )


def _numbers(values: Any, whole: bool) -> Any:
    return np.rint(values).astype(np.int64) if whole else values


def _dense(packing: Packing, key: IntArray, entry: IntArray | None, weight: Any, whole: bool = True) -> Cells:
    exits: Any = np.bincount(key, weights=weight, minlength=packing.size).reshape(-1, packing.n_states)
    if entry is None:
        entered: Any = np.zeros((packing.n_groups, packing.slots), dtype=exits.dtype)
        entered[:, 0] = exits.reshape(packing.n_groups, -1).sum(axis=1)
        entered = entered.ravel()
    else:
        entered = np.bincount(entry, weights=weight, minlength=packing.n_groups * packing.slots)
    occupied = np.flatnonzero(exits.any(axis=1) | (entered != 0))
    return _cells(packing, occupied, _numbers(entered[occupied], whole), _numbers(exits[occupied], whole))


def _sparse(packing: Packing, key: IntArray, entry: IntArray | None, weight: Any, whole: bool = True) -> Cells:
    ends, sums = _counted(packing, key, packing.n_states, weight)
    moments, state = np.divmod(ends, packing.n_states)
    if entry is None:
        starts = np.arange(packing.n_groups, dtype=np.int64) * packing.slots
        group = moments // packing.slots
        begun: Any = np.bincount(group, weights=sums, minlength=packing.n_groups)
        starts, begun = starts[begun > 0], begun[begun > 0]
    else:
        starts, begun = _counted(packing, entry, 1, weight)
    occupied, place = _merged(starts, moments)
    entered = np.zeros(len(occupied), dtype=begun.dtype)
    exits = np.zeros((len(occupied), packing.n_states), dtype=sums.dtype)
    entered[place[: len(starts)]] = begun
    exits[place[len(starts) :], state] = sums
    return _cells(packing, occupied, _numbers(entered, whole), _numbers(exits, whole))


def _merged(left: IntArray, right: IntArray) -> tuple[IntArray, IntArray]:
    """Distinct values of two ascending arrays, ascending, and the place of every given value among them."""
    both = np.concatenate([left, right])
    order = np.argsort(both, kind="stable")  # two runs in order: merged, not sorted
    ascending = both[order]
    new = np.ones(len(both), dtype=np.bool_)
    new[1:] = ascending[1:] != ascending[:-1]
    place = np.empty(len(both), dtype=np.int64)
    place[order] = np.cumsum(new) - 1
    return ascending[new], place


def _counted(packing: Packing, key: IntArray, states: int, weight: Any) -> tuple[IntArray, Any]:
    """Distinct keys in ascending order and the sum of each, by the counting sort of sparse matrices."""
    from scipy import sparse

    width = packing.slots * states
    group, place = np.divmod(key, width)
    data = np.ones(len(key)) if weight is None else weight
    index = np.int32 if max(width, packing.n_groups) < np.iinfo(np.int32).max else np.int64
    pairs: Any = (group.astype(index), place.astype(index))
    table = sparse.coo_array((data, pairs), shape=(packing.n_groups, width)).tocsr()
    table.sum_duplicates()
    groups = np.repeat(np.arange(packing.n_groups, dtype=np.int64), np.diff(table.indptr))
    return groups * width + table.indices, table.data


def _cells(packing: Packing, occupied: IntArray, entered: Any, exits: Any) -> Cells:
    group, slot = np.divmod(occupied, packing.slots)
    return Cells(frozen(group), frozen(slot - 1), frozen(entered), frozen(exits))


def fingerprint(cells: Cells, labels: Iterable[Any], n_persons: IntArray, more: Iterable[bytes] = ()) -> str:
    """SHA-256 (hex) of counts and their labels; the same for spells and for the counts made of them."""
    digest = hashlib.sha256()

    def add(name: str, content: bytes) -> None:
        digest.update(f"{name}:{len(content)};".encode())
        digest.update(content)

    add("labels", "\x1f".join(map(str, labels)).encode("utf-8", "surrogatepass"))
    for name in ("group", "day", "entered", "exits"):
        add(name, np.ascontiguousarray(getattr(cells, name), dtype="<i8").tobytes())
    add("persons", np.ascontiguousarray(n_persons, dtype="<i8").tobytes())
    for number, content in enumerate(more):
        add(f"rows {number}", content)
    return digest.hexdigest()
