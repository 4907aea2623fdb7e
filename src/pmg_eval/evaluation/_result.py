"""What an evaluation returns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.estimate.serialize import jsonable
from pmg_eval.resample import PlaceboDetails

SCHEMA = "pmg-eval-evaluation/1"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Effects overall, per cohort, per area and by event time, with the checks that go with them.

    Attributes
    ----------
    title, outcome, family
    effects : Estimate
        Label ``group`` is ``"overall"``, ``"cohort"`` or ``"event_time"``; jackknife law where it exists.
    areas : Estimate
        One row per treated area, placebo law.
    band : DataFrame
        Event-study rows with a simultaneous band.
    checks : DataFrame
        ``check, question, finding, verdict`` ("pass", "attention" or "not possible").
    agreement : Estimate or None
        Other estimators minus the headline, with the joint standard error; a ratio of ratios when the family is
        poisson.
    agreement_table : DataFrame
        ``estimator, estimate, conf_low, conf_high``.
    waves : DataFrame
        ``cohort, n_areas, first_period, areas``.
    data : dict
        Facts about the panel.
    headline : str
        The overall finding in plain words.
    caveats : tuple of str
        What the reader must know.
    provenance : Provenance
    """

    title: str
    outcome: str
    family: Literal["gaussian", "poisson"]
    effects: Estimate[Any]
    areas: Estimate[PlaceboDetails]
    band: pd.DataFrame
    checks: pd.DataFrame
    agreement: Estimate[Any] | None
    agreement_table: pd.DataFrame
    waves: pd.DataFrame
    data: dict[str, Any]
    headline: str
    caveats: tuple[str, ...]
    provenance: Provenance

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values (schema ``pmg-eval-evaluation/1``)."""
        return {
            "schema": SCHEMA,
            "title": self.title,
            "outcome": self.outcome,
            "family": self.family,
            "headline": self.headline,
            "caveats": list(self.caveats),
            "data": jsonable(self.data),
            "waves": _records(self.waves),
            "effects": self.effects.to_dict(),
            "areas": self.areas.to_dict(),
            "band": _records(self.band),
            "checks": _records(self.checks),
            "agreement": None if self.agreement is None else self.agreement.to_dict(),
            "agreement_table": _records(self.agreement_table),
            "provenance": jsonable(self.provenance.to_dict()),
        }

    def to_json(self, path: str | Path | None = None, *, overwrite: bool = False) -> str:
        """The evaluation as JSON text, written to ``path`` if given (temporary file and rename; never half a file)."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        if path is not None:
            _write(path, text, overwrite)
        return text

    def to_html(self, path: str | Path | None = None, *, overwrite: bool = False) -> str:
        """One self-contained page, written to ``path`` if given."""
        from pmg_eval import report

        text = str(report.html(self))
        if path is not None:
            _write(path, text, overwrite)
        return text

    def __str__(self) -> str:
        return "\n\n".join([self.title, self.headline, *[f"- {text}" for text in self.caveats]])


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): jsonable(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _write(path: str | Path, text: str, overwrite: bool) -> None:
    from pmg_eval.report import write_text

    write_text(path, text, overwrite=overwrite)
