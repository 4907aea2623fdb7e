"""What to say about text where numbers should be: which cells, what they hold, and the likely reason.

A value may be confidential, so only codes are quoted (``<5``, ``-``, ``n/a``: the same for everybody); of numbers in
another notation the pattern alone is shown, and any other text is not shown at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.panel._ingest import BoolArray

_PLAIN = re.compile(r"[-+]?\d[\d.]*")
_SUPPRESSED = re.compile(r"[<≤>≥]=?\s?\d{1,3}|\d{1,2}\s?[-–]\s?\d{1,2}")
_SIGNS = re.compile(r"""[^\w\s"'\\]{1,3}|[xX]""")
_WORDS = {
    *("na", "n/a", "nan", "null", "none", "missing", "unknown", "suppressed", "confidential"),
    *("nb", "n.b.", "nvt", "n.v.t.", "onbekend", "geheim"),  # Dutch
}
_HEAD = r"[-+]?[1-9]\d{0,2}"
_EITHER = re.compile(_HEAD + r",\d{3}")  # 1,050: one thousand and fifty, or a little more than one
_THOUSANDS = re.compile(_HEAD + r"((\.\d{3})+|(,\d{3}){2,}|(,\d{3})+\.\d+|([' \u00a0\u202f]\d{3})+([.,]\d+)?)")
_DECIMAL_COMMA = re.compile(r"[-+]?\d{1,3}((\.\d{3})*|\d*),\d+")
_NAMES = {".": "dot", ",": "comma", "'": "apostrophe"}
_MOST = 5  # codes that are named


@dataclass(frozen=True, eq=False)
class Unreadable:
    """Cells of a column that hold text and no number.

    Attributes
    ----------
    mask : ndarray (N,) of bool
        The cells; none of them when every text is a number in quotes.
    said : str
        What the column holds: the end of a sentence.
    fix : str
    """

    mask: BoolArray
    said: str
    fix: str


def unreadable(values: pd.Series[Any]) -> Unreadable | None:
    """Which cells of a column hold text that is no number, and why; None when there is no text at all."""
    cells = list(values.astype(object))
    places = np.array([row for row, value in enumerate(cells) if isinstance(value, str)], dtype=np.int64)
    if len(places) == 0:
        return None
    texts = pd.Series([cells[row].strip() for row in places], dtype=object)
    bad = pd.to_numeric(texts, errors="coerce").isna().to_numpy(dtype=np.bool_)
    # "1.050" reads as 1.05: where every dot stands before three digits, it may part thousands
    dots = np.array([bool(_PLAIN.fullmatch(text)) and "." in text for text in texts])
    if dots.any() and all(_THOUSANDS.fullmatch(text) for text in texts[dots]):
        bad = bad | dots
    mask = np.zeros(len(cells), dtype=np.bool_)
    mask[places[bad]] = True
    if not bad.any():
        return Unreadable(mask, "holds numbers that are stored as text", "convert it with pd.to_numeric")
    said, fixes = _kinds(list(dict.fromkeys(texts[bad])))
    shown = f": {'; '.join(said)}" if said else ""
    return Unreadable(mask, f"holds text where numbers should be, in {int(bad.sum())} cell(s){shown}", "; ".join(fixes))


def _kinds(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the distinct texts are, and what to do about each kind."""
    kinds: dict[str, list[str]] = {"code": [], "thousands": [], "decimal": [], "either": [], "other": []}
    for text in texts:
        kinds[_kind(text)].append(text)
    if kinds["decimal"]:  # 1,5 beside 1,050: the comma is the decimal sign
        kinds["decimal"] += kinds.pop("either")
    elif any("," in text for text in kinds["thousands"]):
        kinds["thousands"] += kinds.pop("either")
    said, fixes = [], []
    if kinds["code"]:
        said.append(_listed(kinds["code"]))
        fixes.append(_code_fix(kinds["code"]))
    if kinds["decimal"]:
        said.append(f'decimal commas (such as "{_pattern(kinds["decimal"][0])}")')
        fixes.append('read the file with decimal=","')
    if kinds.get("either"):
        said.append(f'numbers with a comma (such as "{_pattern(kinds["either"][0])}")')
        fixes.append('read the file with decimal="," or, where the comma parts thousands, with thousands=","')
    if kinds["thousands"]:
        said.append(f'numbers such as "{_pattern(kinds["thousands"][0])}"')
        sign = next(letter for letter in kinds["thousands"][0].lstrip("+-") if not letter.isdigit())
        fixes.append(
            f'if the {_NAMES.get(sign, "space")} is a thousands separator, read the file with thousands="{sign}"'
        )
    if kinds["other"]:
        said += ["other text"] if said else []
        fixes.append("decide what the text stands for and correct these cells")
    return said, fixes


def _kind(text: str) -> str:
    if not text or text.lower() in _WORDS or _SUPPRESSED.fullmatch(text) or _SIGNS.fullmatch(text):
        return "code"
    if _EITHER.fullmatch(text):
        return "either"
    if _THOUSANDS.fullmatch(text):
        return "thousands"
    return "decimal" if _DECIMAL_COMMA.fullmatch(text) else "other"


def _listed(codes: Sequence[str]) -> str:
    shown = ", ".join(f'"{text}"' for text in codes[:_MOST])
    return shown + (f" and {len(codes) - _MOST} more" if len(codes) > _MOST else "")


def _code_fix(codes: Sequence[str]) -> str:
    listed = ", ".join(f'"{text}"' for text in codes[:_MOST])
    fix = f'where that means "not known", read the file with na_values=[{listed}] and declare missing="pairwise"'
    if any(_SUPPRESSED.fullmatch(text) for text in codes):
        return (
            "these look like small counts that were suppressed: ask for the counts, or take larger areas or longer "
            f"periods (without the small ones, small areas look busier than they are); {fix}"
        )
    return fix


def _pattern(text: str) -> str:
    """The notation without the value."""
    return re.sub(r"\d", "9", text)
