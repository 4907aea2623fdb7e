"""What a person reads in the terminal: the finding, the areas, where the files are."""

from __future__ import annotations

import re
import shutil
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pandas as pd

from pmg_eval.errors import PmgEvalError, PmgEvalWarning
from pmg_eval.panel import Panel
from pmg_eval.report._tables import remark
from pmg_eval.report._words import NBSP, Measure, clean, columns_of, p_value

if TYPE_CHECKING:
    from pmg_eval.evaluation import Evaluation

_MOST_AREAS = 60


class Out:
    """Where text goes: results to ``stdout``, complaints to ``stderr``; nothing but complaints when ``quiet``."""

    def __init__(self, stdout: TextIO, stderr: TextIO, *, quiet: bool) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.quiet = quiet

    def say(self, text: str = "") -> None:
        """A line of the result."""
        if not self.quiet:
            self.stdout.write(text + "\n")
            self.stdout.flush()

    def give(self, text: str) -> None:
        """What was asked for itself: also when quiet."""
        self.stdout.write(text)
        self.stdout.flush()

    def complain(self, text: str) -> None:
        """Why something was not done."""
        self.stderr.write(text + "\n")
        self.stderr.flush()


def width() -> int:
    """Columns to use: those of the terminal, at most 100."""
    return max(40, min(100, shutil.get_terminal_size((100, 24)).columns))


def paragraph(text: str, bullet: str = "") -> str:
    """A text in lines that fit; lines after the first stand below the text of the first.

    Labels come from data: signs that would steer the terminal are replaced.
    """
    return textwrap.fill(
        clean(text).replace(NBSP, " "),
        width(),
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """Columns that line up, two spaces apart."""
    lines = [[clean(cell).replace(NBSP, " ") for cell in row] for row in (head, *rows)]
    widths = [max(columns_of(row[j]) for row in lines) for j in range(len(head))]

    def cell(text: str, j: int) -> str:
        space = " " * (widths[j] - columns_of(text))
        return space + text if j in right else text + space

    return "\n".join(("  " + "  ".join(cell(text, j) for j, text in enumerate(row))).rstrip() for row in lines)


def evaluation_text(result: Evaluation) -> str:
    """Headline, what must be read with it, and the areas."""
    said = list(getattr(result, "summary", ())) or [result.headline]
    parts = [clean(result.title), *map(paragraph, said)]
    parts += ["\n".join(paragraph(text, "- ") for text in result.caveats)] if result.caveats else []
    return "\n\n".join([*parts, areas_text(result)])


def areas_text(result: Evaluation) -> str:
    """One line for each treated area: start, effect, interval, p, and for simulated data the truth."""
    frame = result.areas.to_frame()
    measure = Measure.of(frame, result.areas.scale)
    truth = _truth(result, frame)
    head = ["area", "start", "change" if measure.ratio else "effect", "95 % interval", "p"]
    head += ["truth"] if truth is not None else []
    rows = []
    remarks: dict[str, str] = {}
    for position, (_, row) in enumerate(frame.head(_MOST_AREAS).iterrows()):
        said = remark(row, ratio=measure.ratio)
        mark = remarks.setdefault(said, f"({chr(ord('a') + len(remarks) % 26)})") if said else ""
        cells = [
            clean(row["unit"]),
            clean(row["cohort"]),
            measure.natural(row["estimate"]),
            measure.natural_interval(row["conf_low"], row["conf_high"]),
            p_value(row["p_value"], row["p_min"]),
        ]
        cells += [measure.natural(truth.iloc[position])] if truth is not None else []
        rows.append([*cells, mark])
    marked = bool(remarks)
    shown = table([*head, ""] if marked else head, rows if marked else [row[:-1] for row in rows], frozenset({2, 4, 5}))
    kind = "change in percent against what was expected" if measure.ratio else "difference from what was expected"
    lines = [f"Treated areas ({kind} without the programme):", shown]
    if len(frame) > _MOST_AREAS:
        lines.append(f"  and {len(frame) - _MOST_AREAS} more, on the page")
    lines += [paragraph(said, f"  {mark} ") for said, mark in remarks.items()]
    return "\n".join(lines)


def _truth(result: Evaluation, frame: pd.DataFrame) -> pd.Series[Any] | None:
    """The true effect of each area where the data were simulated, else None."""
    known = getattr(result, "truth", None)
    if known is None:
        return None
    values: pd.Series[Any] = frame["unit"].map(known.dropna(subset=["unit"]).set_index("unit")["truth"])
    return values


def panel_text(panel: Panel) -> str:
    """The panel as it describes itself, in lines that fit."""
    lines = []
    for line in repr(panel).splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        lines.append(paragraph(line.strip(), indent) if line.strip() else "")
    return "\n".join(lines)


def files_text(files: Sequence[Path]) -> str:
    """Where the results are."""
    lines = [f"  {path.resolve()}" for path in files]
    return "\n".join(["Written:", *lines])


def warnings_text(caught: Iterable[warnings.WarningMessage]) -> str:
    """Warnings of the library, each once."""
    said = dict.fromkeys(str(item.message) for item in caught if isinstance(item.message, PmgEvalWarning))
    return "\n".join(paragraph(text, "note: ") for text in said)


def error_text(error: PmgEvalError) -> str:
    """Every problem on its own line(s), numbered when there are several."""
    found = [_in_toml(str(problem)) for problem in error.problems]
    if len(found) == 1:
        lines = [paragraph(found[0], "error: ")]
    else:
        lines = [f"error: {len(found)} problems"]
        lines += [paragraph(text, f"  {number}. ") for number, text in enumerate(found, 1)]
    if any(re.search(r"\brow \d", text) for text in found):
        lines.append("Rows are counted from 0: row 0 is the line below the heading.")
    return "\n".join(lines)


_IN_TOML = (
    ("never=None", 'never = "missing"'),
    ('missing="', 'missing = "'),
    ("read the file with na_values=", "give [data] na = "),
    ('read the file with decimal=","', 'give [data] decimal = ","'),
    ("str.strip() on this column, if they mean the same", "correct the file, if they mean the same"),
    ("rng=", "seed = "),
)
_THOUSANDS = re.compile(r'(read the file )?with thousands="."')


def _in_toml(text: str) -> str:
    """What to do in the words of a specification instead of those of Python."""
    for python, toml in _IN_TOML:
        text = text.replace(python, toml)
    return _THOUSANDS.sub("write the numbers without it", text)
