"""Where the numbers of a page come from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from pmg_eval.estimate import Provenance
from pmg_eval.report._columns import table
from pmg_eval.report._like import EvaluationLike
from pmg_eval.report._tables import Table
from pmg_eval.report._words import NOTHING, clean, counted

_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


def parts_table(evaluation: EvaluationLike) -> Table:
    """Estimator, options and seed of every part."""
    parts = [
        ("Evaluation", evaluation.provenance),
        ("Effect overall, per wave, over time", evaluation.effects.provenance),
        ("Effect per area", evaluation.areas.provenance),
    ]
    if evaluation.agreement is not None:
        parts.append(("Agreement of estimators", evaluation.agreement.provenance))
    if evaluation.recidivism is not None:
        parts.append(("Persons with a new event", evaluation.recidivism.provenance))
    return table(
        "How each part was computed",
        [
            ("Part", [name for name, _ in parts], ""),
            ("Estimator and steps", [_steps(source) for _, source in parts], "prose"),
            ("Seed", [NOTHING if source.seed is None else str(source.seed) for _, source in parts], "number"),
            ("Options", [_options(source.options) for _, source in parts], "prose"),
        ],
    )


def _steps(source: Provenance) -> str:
    return ", ".join([clean(source.estimator) or NOTHING, *map(clean, source.steps)])


def _options(options: Mapping[str, Any]) -> str:
    parts = [f"{clean(key)} = {_option(value)}" for key, value in options.items()]
    return "; ".join(parts) or NOTHING


def _option(value: Any) -> str:
    return _HASH.sub(r"\1…", clean(json.dumps(value, default=str, ensure_ascii=False)))


def identity(source: Provenance) -> list[tuple[str, str]]:
    """Versions and fingerprints."""
    seed = "none" if source.seed is None else str(source.seed)
    rows = [("Data fingerprint", source.data or NOTHING), ("Result digest", source.digest), ("Seed", seed)]
    return rows + [(clean(name), clean(version)) for name, version in source.versions.items()]


def left_out(evaluation: EvaluationLike) -> list[str]:
    """Notes of all parts, each once, and terms without an estimate."""
    parts = [evaluation.provenance, evaluation.effects.provenance, evaluation.areas.provenance]
    if evaluation.agreement is not None:
        parts.append(evaluation.agreement.provenance)
    if evaluation.recidivism is not None:
        parts.append(evaluation.recidivism.provenance)
    notes = [clean(note) for source in parts for note in source.notes]
    unestimated = evaluation.areas.terms.loc[~np.isfinite(evaluation.areas.values), "unit"]
    if len(unestimated):
        names = ", ".join(map(clean, unestimated[:40])) + (", ..." if len(unestimated) > 40 else "")
        notes.append(f"No effect could be given for {counted(len(unestimated), 'area')}: {names}.")
    return list(dict.fromkeys(note for note in notes if note))
