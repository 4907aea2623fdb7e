"""What an evaluation returns."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.estimate.serialize import checked, jsonable, parsed, rebuilt, table_of
from pmg_eval.estimate.shape import row_columns
from pmg_eval.estimate.terms import make_terms
from pmg_eval.resample import PlaceboDetails

SCHEMA = "pmg-eval-evaluation/1"
TABLES = (
    *("waves", "band", "checks", "inference", "agreement_table", "wave_agreement", "area_agreement", "league"),
    *("hull", "paths", "truth"),
)
ESTIMATES = ("effects", "areas", "agreement", "recidivism")
LABELS = {"effects": "group", "areas": "unit"}
PLAIN = ("title", "outcome", "family", "kind", "headline")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Effects overall, per cohort, per area and by event time, with the checks that go with them.

    Attributes
    ----------
    title, outcome, family
    kind : {"many", "one"}
        Several treated areas, or one.
    effects : Estimate
        Label ``group`` is ``"overall"``, ``"cohort"`` or ``"event_time"``, with the law that
        :func:`pmg_eval.infer.default` chooses (before the start: the jackknife).
    areas : Estimate
        One row per treated area, placebo law.
    band : DataFrame
        Event-study rows with a simultaneous band.
    checks : DataFrame
        ``check, question, finding, verdict`` ("pass", "attention" or "not possible").
    inference : DataFrame
        What was tried for the overall effect (cohort ``"all"``) and per cohort: ``cohort, method, role, valid,
        estimate, conf_low, conf_high, p_value, p_min, p_error, note``; empty when no method is valid.
    agreement : Estimate or None
        Other estimators minus the headline, overall (``cohort`` missing) and per cohort, with the joint standard
        error; ratios of ratios when the family is poisson.
    agreement_table : DataFrame
        ``estimator, estimate, conf_low, conf_high``: the overall effect under every estimator.
    wave_agreement : DataFrame
        ``cohort, estimator, estimate, conf_low, conf_high, difference, difference_se, z, difference_p, status``; cohort
        ``"all"`` is the overall effect.
    area_agreement : DataFrame
        ``unit, cohort, estimator, estimate, conf_low, conf_high, p_value, z, status``.
    league : DataFrame
        Areas together, from the smallest effect: ``unit, cohort, estimate, conf_low, conf_high, p_value, p_adjusted``
        (Romano-Wolf), ``shrunk, shrunk_low, shrunk_high`` (robust empirical Bayes), ``rank, rank_low, rank_high`` (hold
        for all areas at once), ``note``; empty for fewer than three areas.
    hull : DataFrame
        ``unit, cohort, inside, unique, low, high, distance, n_pre``.
    paths : DataFrame
        ``unit, cohort, period, observed, synthetic``; rates per 1,000 person-years when the family is poisson.
    recidivism : Estimate or None
        Share of persons with a new event at each horizon.
    truth : DataFrame or None
        ``unit, truth`` of simulated data.
    waves : DataFrame
        ``cohort, n_areas, first_period, areas``.
    data : dict
        Facts about the panel.
    headline : str
        The overall finding in plain words.
    summary : tuple of str
        The finding, the agreement of methods, and the design, for a reader without statistics.
    caveats : tuple of str
        What the reader must know.
    provenance : Provenance
    """

    title: str
    outcome: str
    family: Literal["gaussian", "poisson"]
    kind: Literal["many", "one"]
    effects: Estimate[Any]
    areas: Estimate[PlaceboDetails]
    band: pd.DataFrame
    checks: pd.DataFrame
    inference: pd.DataFrame
    agreement: Estimate[Any] | None
    agreement_table: pd.DataFrame
    wave_agreement: pd.DataFrame
    area_agreement: pd.DataFrame
    league: pd.DataFrame
    hull: pd.DataFrame
    paths: pd.DataFrame
    recidivism: Estimate[Any] | None
    truth: pd.DataFrame | None
    waves: pd.DataFrame
    data: dict[str, Any]
    headline: str
    summary: tuple[str, ...]
    caveats: tuple[str, ...]
    provenance: Provenance

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values (schema ``pmg-eval-evaluation/1``)."""
        saved: dict[str, Any] = {"schema": SCHEMA} | {name: getattr(self, name) for name in PLAIN}
        saved |= {"summary": list(self.summary), "caveats": list(self.caveats), "data": jsonable(self.data)}
        for name in ESTIMATES:
            estimate = getattr(self, name)
            saved[name] = None if estimate is None else estimate.to_dict()
        for name in TABLES:
            table = getattr(self, name)
            saved[name] = None if table is None else _records(table)
        return saved | {"provenance": jsonable(self.provenance.to_dict())}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Evaluation:
        """Read what :meth:`to_dict` wrote.

        Numbers come back as they were printed (see :meth:`pmg_eval.Estimate.from_dict`), so the page of what was read
        is the page of the evaluation, except for what is drawn from details (curves of persons), which are not stored.

        Raises
        ------
        DataError
            PMG-RESULT-FORMAT for anything that is not such a result, or a damaged one.
        """
        return checked(saved, "evaluation", SCHEMA, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, saved: dict[str, Any]) -> Evaluation:
        fields: dict[str, Any] = {name: saved[name] for name in PLAIN}
        for name in ESTIMATES:
            fields[name] = None if saved[name] is None else _labelled(rebuilt(saved[name]), name)
        for name in TABLES:
            rows = saved.get(name, [])  # files before a table was added lack it
            fields[name] = None if rows is None else table_of(rows, row_columns(name))
        return cls(
            **fields,
            data=dict(saved["data"]),
            summary=tuple(saved["summary"]),
            caveats=tuple(saved["caveats"]),
            provenance=Provenance.from_dict(saved["provenance"]),
        )

    def to_json(self, path: str | Path | None = None, *, overwrite: bool = False) -> str:
        """The evaluation as JSON text, written to ``path`` if given (temporary file and rename; never half a file)."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        if path is not None:
            _write(path, text, overwrite)
        return text

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """Read what :meth:`to_json` wrote (its text, not a path)."""
        return cls.from_dict(parsed(text))

    def to_html(self, path: str | Path | None = None, *, overwrite: bool = False) -> str:
        """One self-contained page, written to ``path`` if given."""
        from pmg_eval import report

        text = str(report.html(self))
        if path is not None:
            _write(path, text, overwrite)
        return text

    def __str__(self) -> str:
        return "\n\n".join([self.title, *self.summary, *[f"- {text}" for text in self.caveats]])


def _labelled(estimate: Estimate[Any], name: str) -> Estimate[Any]:
    """The estimate with the labels that its readers rely on; a file without terms cannot name them."""
    label = LABELS.get(name)
    if label is None:
        return estimate
    if len(estimate) == 0:
        return replace(estimate, terms=make_terms({label: [], **estimate.terms}, 0))
    what = [column for column in estimate.labels if column != "estimand"]
    if label not in what or estimate.terms[what].duplicated().any():
        raise DataError("PMG-RESULT-FORMAT", f"a damaged result: {name} has two terms of one name, or no {label}")
    return estimate


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): jsonable(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _write(path: str | Path, text: str, overwrite: bool) -> None:
    from pmg_eval.report import write_text

    write_text(path, text, overwrite=overwrite)
