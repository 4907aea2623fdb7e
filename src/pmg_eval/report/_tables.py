"""Tables: escaped cells, caption, scopes; one renderer for notebooks and pages (no template engine needed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd

from pmg_eval.estimate import Estimate
from pmg_eval.estimate.terms import REFERENCE
from pmg_eval.report._words import Measure, clean, counted, missing, p_value, whole

_UNBROKEN = 24  # letters
REFERENCE_WORDS = "reference period"
LONG = 16  # rows after which a page folds a table away


def escaped(value: Any) -> str:
    """A label as text that is safe in HTML content and in quoted attributes."""
    return escape(clean(value), quote=True)


@dataclass(frozen=True)
class Cell:
    """Text with a class (a verdict, for example); classes come from this package, never from data."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table as text, ready to be rendered.

    Attributes
    ----------
    caption : str
    head : sequence of str
        Column headings; the first column heads its rows.
    rows : sequence of sequences of str or Cell
    numeric : set of int
        Columns whose cells are numbers (aligned right, equal width of digits).
    prose : set of int
        Columns of running text, which need room.
    notes : sequence of str
        What holds for the table as a whole; a page shows it below.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    numeric: frozenset[int] = field(default_factory=frozenset)
    prose: frozenset[int] = field(default_factory=frozenset)
    notes: Sequence[str] = ()

    @property
    def long(self) -> bool:
        """Whether a page folds it away."""
        return len(self.rows) > LONG

    def html(self, name: str = "") -> str:
        """The ``<table>``; with ``name``, the caption gets the id ``name-caption``."""
        label = f' id="{escaped(name)}-caption"' if name else ""
        head = "".join(f'<th scope="col"{self._kind(j)}>{escaped(text)}</th>' for j, text in enumerate(self.head))
        body = "\n".join(f"<tr>{self._row(row)}</tr>" for row in self.rows)
        return (
            f"<table>\n<caption{label}><span>{escaped(self.caption)}</span></caption>\n"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        )

    def _kind(self, column: int, own: str = "", words: str = "") -> str:
        kinds = ["number"] if column in self.numeric else ["prose"] if column in self.prose else []
        kinds += [own] if own else []
        # A name without a space to break at must not push the other columns away.
        kinds += ["unbroken"] if any(len(word) > _UNBROKEN for word in words.split()) else []
        return f' class="{" ".join(kinds)}"' if kinds else ""

    def _row(self, row: Sequence[str | Cell]) -> str:
        cells = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
        first, *rest = cells
        parts = [f'<th scope="row"{self._kind(0, first.kind, first.text)}>{escaped(first.text)}</th>']
        parts += [
            f"<td{self._kind(j, cell.kind, cell.text)}>{escaped(cell.text)}</td>" for j, cell in enumerate(rest, 1)
        ]
        return "".join(parts)


_SUPPORT = ("n_treated", "n_control", "n_units", "n_persons", "n_events", "n_placebo")


def estimate_table(estimate: Estimate[Any], level: float, rows: int) -> Table:
    """An estimate in the library's own column names: labels that vary, numbers, support, status."""
    shown = estimate.take(range(min(rows, len(estimate))))
    frame = shown.to_frame(level)
    measure = Measure.of(frame, estimate.scale)
    varying = [name for name in estimate.labels if estimate.terms[name].nunique(dropna=False) > 1]
    labels = varying or estimate.labels[:1]
    columns: list[tuple[str, list[str]]] = [(name, [clean(value) for value in frame[name]]) for name in labels]
    if not columns:
        columns = [("term", [str(position) for position in range(len(frame))])]
    count = len(columns)
    columns += _number_columns(frame, measure, level)
    support = [name for name in _SUPPORT if name in frame]
    columns += [(name, [whole(value) for value in frame[name]]) for name in support]
    numeric = frozenset(range(count, len(columns)))
    if (frame["status"] != "").any():
        columns.append(("status", [clean(value) for value in frame["status"]]))
    caption = f"{clean(estimate.provenance.estimator) or 'Estimate'}: {counted(len(estimate), 'term')}"
    if len(shown) < len(estimate):
        caption += f", the first {len(shown):,} shown"
    return Table(caption, [name for name, _ in columns], _transposed(columns), numeric)


def _transposed(columns: Sequence[tuple[str, Sequence[str | Cell]]]) -> list[list[str | Cell]]:
    return [list(row) for row in zip(*[cells for _, cells in columns], strict=True)]


def _number_columns(frame: pd.DataFrame, measure: Measure, level: float) -> list[tuple[str, list[str]]]:
    smallest = frame["p_min"] if "p_min" in frame else [None] * len(frame)
    intervals = zip(frame["conf_low"], frame["conf_high"], strict=True)
    return [
        ("estimate", [measure.value(value) for value in frame["estimate"]]),
        ("std_error", [measure.value(value) for value in frame["std_error"]]),
        (f"{level:.0%} interval".replace("%", " %"), [measure.interval(low, high) for low, high in intervals]),
        ("p_value", [p_value(p, least) for p, least in zip(frame["p_value"], smallest, strict=True)]),
    ]


def is_reference(status: object) -> bool:
    """Whether a term is the reference period, whatever else its status says."""
    words = clean(status)
    return words == REFERENCE or words.startswith(f"{REFERENCE}; ")


def remark(row: pd.Series[Any], *, ratio: bool = False) -> str:
    """The status of a term in words."""
    status = clean(row["status"])
    if is_reference(status):
        return f"{REFERENCE_WORDS}: {'one' if ratio else 'zero'} by construction"
    if not status and missing(row["conf_low"]):
        return "no interval"
    return status


__all__ = ["LONG", "REFERENCE_WORDS", "Cell", "Table", "escaped", "estimate_table", "is_reference", "remark"]
