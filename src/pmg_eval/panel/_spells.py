"""`Spells`: validated, frozen time-to-event data; persons cannot be read back from it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.panel._ingest import FloatArray, IntArray, frozen
from pmg_eval.panel._report import Notice
from pmg_eval.panel._spells_check import SpellCore, SpellRequest, build
from pmg_eval.panel._spells_count import BEFORE, Cells, count, fingerprint

_MOST_SHOWN = 12


@dataclass(frozen=True, eq=False)
class SpellRows:
    """Rows as codes, for estimators that need them one by one (robust variances).

    Attributes
    ----------
    group, entry, leave, state : (N,) int
        Group, start (-1: before day 0), end, and what ended the spell (0 = censored).
    weight : (N,) float
    cluster : (N,) int
        Codes of the clusters: the cluster column, or else the persons.
    n_codes : int
        One more than the largest code.
    """

    group: IntArray
    entry: IntArray
    leave: IntArray
    state: IntArray
    weight: FloatArray
    cluster: IntArray
    n_codes: int


class Spells:
    """Spells at risk of persons, and how they end; validated once, then frozen.

    Time is counted in whole ``time_unit`` from the index date (disposal, release), which is day 0. A spell is at risk
    in (entry, exit]. Without ``entry`` everybody is at risk from before day 0, so that an event on day 0 counts. On one
    day events come first, then censoring, then entries.

    Parameters
    ----------
    df : pandas or polars DataFrame, or pyarrow Table
        One row per person, or per spell of a person; any order, any index; never changed, and not kept.
    person : column name
        Ids (integers or text). Only which rows belong together is used.
    entry : column name, optional
        Day from which the person is at risk (late entry, return from custody). None: from before day 0.
    exit : column name
        Day on which the spell ends: whole numbers, or time differences with ``time_unit="days"``. Dates are refused:
        subtract the index date.
    event : column name
        0/1 or truth values: whether the spell ends with an event (of any cause).
    cause : column name, optional
        What the event was, as text or categories; missing where the spell is censored. None: one kind of event, named
        after the event column.
    group : column name or list of them, optional
        Cohort, area, sex, ...; several columns are joined ("2019, girls") and kept. A person may occur in several
        groups (two index cases), each with its own clock.
    weight : column name, optional
    weight_kind : {"frequency", "survey", "ipw"}
        Compulsory with ``weight``. Frequencies are whole numbers of persons; the other two get robust variances.
    cluster : column name or list of them, optional
        Clusters for the robust variance (default with survey or ipw weights: the person).
    time_unit : {"days", "weeks", "months", "years"}
    same_day : {None, "count", "exclude", "error"}
        Spells that end on day 0 (same-day events). None: counted on day 0, with a warning; ``"count"``: the same
        without the warning; ``"exclude"``: left out, with a notice; ``"error"``.

    Raises
    ------
    DataError
        With *all* problems found in ``problems``; the codes are listed in ``pmg_eval.panel._spells_check``.

    Warns
    -----
    PmgEvalWarning
        PMG-SAME-DAY.

    Notes
    -----
    Rows in messages count from 0, as in ``df.iloc``; ids are never named. What is kept are one packed integer per row,
    weights, and codes of persons only where they repeat.

    Examples
    --------
    >>> import pandas as pd
    >>> from pmg_eval.panel import Spells
    >>> df = pd.DataFrame({"id": [1, 2, 3], "days": [40, 730, 200], "new": [1, 0, 1],
    ...                    "why": ["recidivism", None, "death"]})
    >>> spells = Spells(df, person="id", exit="days", event="new", cause="why")
    >>> spells.n_persons, spells.causes
    (3, ('death', 'recidivism'))
    """

    __slots__ = ("__weakref__", "_cache", "_core")

    _core: SpellCore
    _cache: dict[str, Any]

    def __init__(
        self,
        df: Any,
        *,
        person: Hashable,
        entry: Hashable | None = None,
        exit: Hashable,
        event: Hashable,
        cause: Hashable | None = None,
        group: Hashable | Sequence[Hashable] | None = None,
        weight: Hashable | None = None,
        weight_kind: Literal["frequency", "survey", "ipw"] | None = None,
        cluster: Hashable | Sequence[Hashable] | None = None,
        time_unit: Literal["days", "weeks", "months", "years"] = "days",
        same_day: Literal["count", "exclude", "error"] | None = None,
    ) -> None:
        request = SpellRequest(
            person=person,
            entry=entry,
            exit=exit,
            event=event,
            cause=cause,
            group=group,
            weight=weight,
            weight_kind=weight_kind,
            cluster=cluster,
            time_unit=time_unit,
            same_day=same_day,
        )
        self._fill(build(df, request))

    def _fill(self, core: SpellCore) -> None:
        object.__setattr__(self, "_core", core)
        object.__setattr__(self, "_cache", {})

    @classmethod
    def _of(cls, core: SpellCore) -> Spells:
        """Spells around arrays that are known to be sound."""
        spells = object.__new__(cls)
        spells._fill(core)
        return spells

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"Spells is frozen: cannot set {name!r}; make a new one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Spells is frozen: cannot delete {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Spells._of, (self._core,))

    def __repr__(self) -> str:
        lines = ["Spells", *(f"  {what}: {text}" for what, text in self._facts())]
        if self.notes:
            lines += ["  notes:", *(f"    {notice}" for notice in self.notes)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        facts = [*self._facts(), *((notice.code, notice.text) for notice in self.notes)]
        rows = "".join(f"<tr><th>{escape(what)}</th><td>{escape(text)}</td></tr>" for what, text in facts)
        return f"<table><caption>Spells</caption><tbody>{rows}</tbody></table>"

    def _facts(self) -> list[tuple[str, str]]:
        exits = self.cells.exits.sum(axis=0)
        ends = [f"{cause} ({number:,})" for cause, number in zip(("censored", *self.causes), exits, strict=True)]
        size = f"{self.n_persons:,} persons, {self.n_rows:,} spells, days {self.cells.day.min() + 1} to {self.last_day}"
        out = [("size", size.replace("days", self.time_unit)), ("ends", ", ".join(ends))]
        if self.group_columns:
            groups = [f"{g} ({n:,})" for g, n in zip(self.groups["group"], self._core.n_persons, strict=True)]
            more = f", {len(groups) - _MOST_SHOWN} more" if len(groups) > _MOST_SHOWN else ""
            out.append(("groups", ", ".join(groups[:_MOST_SHOWN]) + more))
        return [*out, ("roles", ", ".join(f"{role}={_name(name)}" for role, name in self._core.roles.items()))]

    # ---- what they are --------------------------------------------------------------------------------------------

    @property
    def n_rows(self) -> int:
        """Spells that count."""
        return len(self._core.key)

    @property
    def n_persons(self) -> int:
        """Different persons (of rows; frequencies are not counted)."""
        return self._core.n_distinct

    @property
    def persons_per_group(self) -> IntArray:
        """Persons (G,), frequencies counted."""
        return self._core.n_persons

    @property
    def groups(self) -> pd.DataFrame:
        """The groups (G rows): label ``group``, and the columns it was joined from when there are several; a copy."""
        return self._core.groups.copy()

    @property
    def group_columns(self) -> tuple[Hashable, ...]:
        """Names of the group columns; empty when there is one group "all"."""
        return self._core.group_columns

    @property
    def causes(self) -> tuple[str, ...]:
        """Kinds of events, sorted; the name of the event column when no cause was given."""
        return self._core.causes

    @property
    def time_unit(self) -> str:
        return self._core.time_unit

    @property
    def last_day(self) -> int:
        """The latest end of a spell."""
        return self._core.packing.last_day

    @property
    def late_entry(self) -> bool:
        """Whether somebody starts to be at risk after day 0."""
        return bool((self.cells.entered[self.cells.day > 0] > 0).any())

    @property
    def weight_kind(self) -> str | None:
        return self._core.weight_kind

    @property
    def cluster_columns(self) -> tuple[Hashable, ...]:
        return self._core.cluster_columns

    @property
    def n_clusters(self) -> int:
        """Clusters of a robust variance: of the cluster column, or else the persons."""
        core = self._core
        return core.n_clusters if core.cluster is not None else core.n_distinct

    @property
    def needs_robust(self) -> bool:
        """Whether the usual variance does not apply: survey or ipw weights, or clusters."""
        return self.weight_kind in ("survey", "ipw") or self._core.cluster is not None

    @property
    def same_day(self) -> str | None:
        """What was done with spells that end on day 0; None when there are none."""
        return self._core.same_day

    @property
    def event_then_spell(self) -> tuple[str, ...]:
        """Rows whose event is followed by another spell of the person: first-event estimators refuse them."""
        return self._core.event_then_spell

    @property
    def notes(self) -> tuple[Notice, ...]:
        """What was dropped or assumed; belongs in the provenance of every result."""
        return self._core.notes

    # ---- for estimators -------------------------------------------------------------------------------------------

    @property
    def cells(self) -> Cells:
        """Counts per group and day."""
        core = self._core
        if "cells" not in self._cache:
            self._cache["cells"] = count(
                core.packing, core.key, core.entry, core.weight, whole=core.weight_kind == "frequency"
            )
        cells: Cells = self._cache["cells"]
        return cells

    def rows(self) -> SpellRows:
        """The spells one by one, as codes."""
        core = self._core
        group, leave, state = core.packing.split(core.key)
        entry = np.full(len(leave), BEFORE, dtype=np.int64)
        if core.entry is not None:
            entry = core.entry - group * core.packing.slots - 1
        cluster = core.cluster if core.cluster is not None else core.person
        if cluster is None:
            cluster = np.arange(len(leave), dtype=np.int64)
        weight = np.ones(len(leave)) if core.weight is None else core.weight
        return SpellRows(group, entry, leave, state, weight, cluster, int(cluster.max()) + 1)

    def with_weight(self, multiplier: FloatArray) -> Spells:
        """The same spells with the weights of rows multiplied by (N,); not validated again."""
        from dataclasses import replace

        factor = np.asarray(multiplier, dtype=np.float64)
        weight = factor if self._core.weight is None else self._core.weight * factor
        kind = self.weight_kind if self.weight_kind in ("survey", "ipw") else "survey"
        return Spells._of(replace(self._core, weight=frozen(weight), weight_kind=kind))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the counts (and of weights and clusters where there are any); independent of the order of rows."""
        if "fingerprint" not in self._cache:
            core = self._core
            labels = [core.time_unit, *core.groups["group"], "", *core.causes]
            self._cache["fingerprint"] = fingerprint(self.cells, labels, core.n_persons, self._more())
        found: str = self._cache["fingerprint"]
        return found

    def _more(self) -> list[bytes]:
        """What the counts do not say, in an order of its own."""
        core = self._core
        parts = [core.key, core.entry, core.weight, core.cluster]
        known = [part for part in parts if part is not None]
        if not self.needs_robust:
            return []
        order = np.lexsort(known[::-1])
        return [np.ascontiguousarray(part[order]).astype(part.dtype.newbyteorder("<")).tobytes() for part in known]


def _name(name: Any) -> str:
    return ", ".join(map(str, name)) if isinstance(name, list | tuple) else str(name)
