"""What Kaplan-Meier and cumulative incidence do alike: terms at horizons, the law of their error, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DesignError, warn
from pmg_eval.estimate import Covariance, Estimate, Provenance, make_terms
from pmg_eval.numerics.rows import Array
from pmg_eval.recidivism import _horizons, _robust, _variance
from pmg_eval.recidivism._curves import Curves
from pmg_eval.recidivism._risk import FOREVER, Curve, RiskTable

_MOST_TERMS = 20_000
_MOST_DEFAULT = 1_000
_ONE = 1 - 1e-12  # a share of one up to rounding
_VARIANCES = {"greenwood": "Greenwood variance", "delta": "delta variance", "aalen": "Aalen variance"}
_SUPPORT = ("values", "unknown", "n_persons", "n_events", "interval", "status")
NO_EVENT = "no event: exact upper limit from the {n:,} at risk at the horizon"
NOBODY_LEFT = "no event, and nobody at risk at the horizon: no interval"
ALL_EVENTS = "everybody had the event: exact lower limit"
ALL_OR_CENSORED = "everybody had the event or was censored: no interval"


@dataclass(frozen=True)
class Words:
    """What an estimator says about itself."""

    estimator: str
    method: str
    assumptions: tuple[str, ...]
    references: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Fitted:
    """The estimate without details, and a table of the groups."""

    estimate: Estimate[Any]
    groups: pd.DataFrame


def fit(curves: Curves, horizons: list[int] | None, words: Words) -> Fitted:
    """Values at the horizons with their law; one pass over the groups.

    Raises
    ------
    DesignError
        PMG-TOO-MANY terms.
    InferenceError
        PMG-HORIZON, PMG-EMPTY-RISK-SET, PMG-NEED-SPELLS.
    """
    table = curves.table
    if curves.robust:
        _ = curves.rows  # counts are refused before anything is computed
    times = horizons
    if times is None:
        most = _MOST_DEFAULT // (len(curves) * len(curves.shown))
        times = _horizons.default_horizons(curves, table.time_unit, curves.start, most)
    number = len(curves) * len(curves.shown) * len(times)
    if number > _MOST_TERMS:
        raise DesignError("PMG-TOO-MANY", f"{number:,} terms ask for a covariance of that size", fix="fewer horizons=")
    found = _Pass(curves, times)
    for group, one in enumerate(curves):
        found.add(group, one)
    if all(found.columns["unknown"]):
        _horizons.refuse_unidentified(table.labels, found.lasts, found.restarts, table.time_unit)
    _warn(found, table, horizons is not None)
    method = f"{words.method}, {_robust_words(table) if curves.robust else _VARIANCES[curves.variance]}"
    estimate: Estimate[Any] = Estimate(
        np.array(found.columns["values"], dtype=np.float64),
        make_terms({**found.terms(), "method": method}, number),
        Covariance(found.law(), df=curves.df),
        scale="cloglog",
        provenance=_provenance(curves, times, words),
    )
    return Fitted(estimate, found.groups())


class _Pass:
    """Numbers of all terms (groups outermost, then causes, then horizons), gathered group by group."""

    def __init__(self, curves: Curves, times: list[int]) -> None:
        self.curves, self.times, self.shown = curves, times, list(curves.shown)
        self.labels = curves.table.labels
        self.columns: dict[str, list[Any]] = {name: [] for name in _SUPPORT}
        self.lasts: list[int] = []
        self.restarts: list[int] = []
        self.scarce: list[str] = []
        self.events: list[Any] = []
        self.width = len(self.shown) * len(times)
        number = len(curves) * self.width
        # with many groups only the blocks are ever touched: the rest of the pages is never filled
        self.matrix = np.zeros((0 if curves.robust else number,) * 2)

    def add(self, group: int, curve: Curve) -> None:
        """One group."""
        table, times = self.curves.table, self.times
        why = [_horizons.why_not(curve, time, table.time_unit) for time in times]
        at_risk, happened = curve.risk_at(times), curve.events_by(times)
        few = _horizons.few_at_risk(curve, at_risk, times)
        values = curve.incidence_at(times)
        if self.curves.variance == "greenwood":
            values = 1.0 - np.append(1.0, curve.survival)[curve.place(times)][:, None]
        persons = _persons(table, group, curve)
        for kind in self.shown:
            for h, time in enumerate(times):
                lost = bool(why[h])
                term = _Term(values[h, kind], int(happened[h, kind]), int(at_risk[h]), persons)
                interval, known, text = ("wald", persons, why[h]) if lost else term.support(curve, time)
                told = "; ".join(part for part in (text, "" if lost else few[h]) if part)
                row = (np.nan if lost else term.value, lost, known, term.events, interval, told)
                for name, value in zip(_SUPPORT, row, strict=True):
                    self.columns[name].append(value)
        self.lasts.append(curve.last)
        self.restarts.append(curve.restart if curve.blocked != FOREVER else -1)
        self.events.append(curve.events.sum(axis=0))
        thin = [text and not lost and persons >= _horizons.FEW for text, lost in zip(few, why, strict=True)]
        self.scarce += [f"{self.labels[group]} at {time}" for time, yes in zip(times, thin, strict=True) if yes]
        if not self.curves.robust:
            self._block(group, curve)

    def _block(self, group: int, curve: Curve) -> None:
        block = slice(group * self.width, (group + 1) * self.width)
        if self.curves.variance == "greenwood":
            own = _variance.greenwood_covariance(curve, self.times)
        else:
            own = _variance.incidence_covariance(curve, self.times, self.shown, self.curves.variance)
        flat = self.flat(block)
        own[flat] = np.nan
        own[:, flat] = np.nan
        self.matrix[block, block] = own

    def flat(self, block: slice = slice(None)) -> Any:
        """Terms without a standard error: not identified, no event, or everybody had the event."""
        values = np.array(self.columns["values"][block])
        return np.isnan(values) | (np.array(self.columns["n_events"][block]) == 0) | (values >= _ONE)

    def law(self) -> Array:
        """Covariance of all terms."""
        curves = self.curves
        if not curves.robust:
            return self.matrix
        matrix = _robust.robust_covariance(list(curves), curves.rows, self.times, self.shown)
        flat = self.flat()
        matrix[flat] = np.nan
        matrix[:, flat] = np.nan
        return matrix

    def terms(self) -> dict[str, Any]:
        """Label and support columns."""
        names, n_groups = self.curves.names, len(self.curves)
        outcome = np.repeat([names[kind] for kind in self.shown], len(self.times))
        out: dict[str, Any] = {"outcome": np.tile(outcome, n_groups)}
        if self.curves.table.group_columns:
            out["group"] = self.curves.table.groups["group"].array[np.repeat(np.arange(n_groups), self.width)]
        out["horizon"] = np.tile(np.array(self.times, dtype=np.int64), n_groups * len(self.shown))
        return out | {name: self.columns[name] for name in _SUPPORT[2:]}

    def groups(self) -> pd.DataFrame:
        """The groups: label and columns, persons, events, last day of follow-up."""
        table = self.curves.table
        out = table.groups.assign(n_persons=table.n_persons)
        events = np.array(self.events)
        for kind in self.shown:
            out[f"n_{self.curves.names[kind]}"] = events[:, kind]
        return out.assign(last_time=self.lasts)


@dataclass(frozen=True)
class _Term:
    """One number and what stands behind it."""

    value: float
    events: int
    at_risk: int
    persons: int

    def support(self, curve: Curve, time: int) -> tuple[str, int, str]:
        """Kind of interval, the persons it rests on, and what to say."""
        if self.events == 0:
            known = self.at_risk or (self.persons if curve.complete_until(time) else 0)
            return (
                ("clopper_pearson", known, NO_EVENT.format(n=known)) if known else ("wald", self.persons, NOBODY_LEFT)
            )
        if self.value >= _ONE:
            exact = curve.complete_until(time) and self.events == self.persons
            return ("clopper_pearson", self.persons, ALL_EVENTS) if exact else ("wald", self.persons, ALL_OR_CENSORED)
        return "wald", self.persons, ""


def _persons(table: RiskTable, group: int, curve: Curve) -> int:
    """Persons behind the curve: of the group, or with ``start`` those who end after it (at most)."""
    everybody = int(table.n_persons[group])
    if not curve.conditional:
        return everybody
    after = curve.risk[0] + curve.entered.sum() if len(curve.days) else 0
    return min(everybody, int(after))


def _robust_words(table: RiskTable) -> str:
    spells = table.spells
    if spells is None:
        return "robust variance"
    by = ", ".join(map(str, spells.cluster_columns)) or "person"
    return f"robust variance, {spells.n_clusters:,} clusters ({by})"


def _warn(found: _Pass, table: RiskTable, asked: bool) -> None:
    blocked = [str(label) for label, restart in zip(table.labels, found.restarts, strict=True) if restart >= 0]
    if blocked:
        warn(
            "PMG-EMPTY-RISK-SET",
            "the risk set was empty before others entered: from then on the product would stay where it is for ever, "
            "so nothing is reported after that day",
            where=blocked,
            fix=f"start={max(found.restarts)} gives the share among those who are event-free then",
            stacklevel=5,
        )
    if asked and found.scarce:
        warn(
            "PMG-FEW-AT-RISK",
            f"fewer than {_horizons.FEW} at risk at the horizon",
            where=found.scarce,
            fix="a shorter horizon, or fewer groups",
            stacklevel=5,
        )


def options_of(table: RiskTable) -> dict[str, Any]:
    """What the data say about themselves, for the provenance."""
    options: dict[str, Any] = {
        "time_unit": table.time_unit,
        "group": [str(name) for name in table.group_columns],
        "definition": table.definition,
    }
    if table.spells is not None:
        options["weight_kind"] = table.spells.weight_kind
        options["cluster"] = [str(name) for name in table.spells.cluster_columns]
    return options


def _provenance(curves: Curves, times: Sequence[int], words: Words) -> Provenance:
    table = curves.table
    notes = [*table.notes, *words.notes]
    if curves.start is not None:
        notes.append(f"conditional on being at risk and event-free after {curves.start} {table.time_unit}")
    return Provenance(
        estimator=words.estimator,
        options={
            "cause": [curves.names[kind] for kind in curves.shown],
            "horizons": [int(time) for time in times],
            "start": curves.start,
            "variance": curves.variance,
            **options_of(table),
        },
        data=table.fingerprint,
        assumptions=words.assumptions,
        references=words.references,
        notes=tuple(notes),
    )
