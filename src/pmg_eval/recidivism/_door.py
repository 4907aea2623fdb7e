"""What the estimators of this family ask of their arguments before they look at the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.recidivism._horizons import one_time
from pmg_eval.recidivism._risk import RiskTable


def need_option(name: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse an option that no data could make right."""
    if not isinstance(value, str) or value not in allowed:
        raise DataError("PMG-OPTION", f"unknown {name}={value!r}", fix=f"one of {', '.join(allowed)}")


def need_causes(cause: object) -> None:
    """Refuse causes that are not text."""
    names = [cause] if isinstance(cause, str) or not isinstance(cause, list | tuple | set | frozenset) else cause
    if cause is not None and not all(isinstance(name, str) for name in names):
        raise DataError(
            "PMG-CAUSE", f"cause={cause!r} must be text or a list of texts; 0 is censoring", fix="a label of the data"
        )


def need_start(value: object, unit: str) -> int | None:
    """The start of a conditional curve, as whole time units."""
    return None if value is None else one_time(value, unit, "start")


def variance_for(table: RiskTable, asked: str, exact: Sequence[str]) -> str:
    """The variance that is used: robust with survey weights or clusters, else what was asked for.

    Raises
    ------
    InferenceError
        PMG-VARIANCE: a variance by name that has no meaning with weights or clusters.
    """
    spells = table.spells
    if spells is None or not spells.needs_robust:
        return asked
    if asked not in ("robust", exact[0]):
        raise InferenceError(
            "PMG-VARIANCE",
            f"variance={asked!r} has no form with survey weights or clusters",
            fix='variance="robust" (the default with them)',
        )
    return "robust"


def one_label(names: Sequence[str]) -> str:
    """One label for several causes taken together."""
    return " or ".join(names)


def competing_share(table: RiskTable, interest: Sequence[int], until: int | None) -> list[tuple[Any, float]]:
    """Group and share of persons who leave by another cause (up to a time)."""
    others = [place for place in range(1, len(table.causes) + 1) if place not in interest]
    out = []
    for group, label in enumerate(table.labels):
        block = slice(int(table.bounds[group]), int(table.bounds[group + 1]))
        early = slice(None) if until is None else table.cells.day[block] <= until
        left = table.cells.exits[block][early][:, others].sum() if others else 0
        out.append((label, float(left) / float(table.n_persons[group])))
    return out
