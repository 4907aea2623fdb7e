"""What the one validation pass collects: problems (fatal) and notices (dropped or assumed, goes to provenance)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pmg_eval.errors import Problem


class Cell(NamedTuple):
    """One unit in one period, as the messages name it."""

    unit: Any
    time: Any

    def __str__(self) -> str:
        return f"{self.unit} in {self.time}"


@dataclass(frozen=True)
class Notice:
    """Something that was dropped or assumed, with the units concerned (all of them; the text stays short)."""

    code: str
    text: str
    units: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"[{self.code}] {self.text}"


class Report:
    """Collects everything, so that the user repairs a file once and not error by error."""

    __slots__ = ("notices", "problems")

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notices: list[Notice] = []

    def problem(self, code: str, what: str, where: Iterable[Any] = (), fix: str = "") -> None:
        self.problems.append(Problem(code, what, tuple(where), fix))

    def notice(self, code: str, text: str, units: Iterable[Any] = ()) -> None:
        self.notices.append(Notice(code, text, tuple(units)))


def plain(labels: Any) -> tuple[Any, ...]:
    """Labels as plain Python objects (an ``np.int64`` prints its type inside a tuple)."""
    return tuple(label.item() if isinstance(label, np.generic) else label for label in labels)


def short(labels: Sequence[Any], most: int = 5) -> str:
    """The first labels in words."""
    shown = ", ".join(str(label) for label in labels[:most])
    return shown + (f" and {len(labels) - most} more" if len(labels) > most else "")
