"""Labels and numbers as a reader sees them: cleaned text, consistent decimals, changes in percent."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate.scales import SCALES, ScaleName

MINUS, NBSP = "\u2212", "\u00a0"
NOTHING = "\u2013"  # an en dash stands for a number that is not there
# Control characters break SVG, lone surrogates break UTF-8, and direction overrides can make a label read as another.
_UNWANTED = {"Cc", "Cs", "Cn", "Co"}
_HYPHEN = re.compile(r"(?<![\w.-])-(?=\d)")  # before a number, not within a date or a name
_PERCENT = re.compile(r"(\d) %")
_DIRECTION = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def missing(value: Any) -> bool:
    """Whether a cell holds nothing (None, NaN, NA, NaT)."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def clean(value: Any) -> str:
    """A label as one line of printable text; characters that would break or forge it become U+FFFD."""
    if missing(value):
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)  # a year that met a missing value on its way
    text = " ".join(str(value).split())
    return "".join(
        "\ufffd" if unicodedata.category(letter) in _UNWANTED or ord(letter) in _DIRECTION else letter
        for letter in text
    )


def columns_of(text: str) -> int:
    """Width of a text in columns: East Asian wide letters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def shortened(text: str, columns: int) -> str:
    """The text, cut with an ellipsis where it is wider than ``columns``."""
    if columns_of(text) <= columns:
        return text
    kept, used = [], 1
    for letter in text:
        used += columns_of(letter)
        if used > columns:
            break
        kept.append(letter)
    return "".join(kept).rstrip() + "…"


def counted(n: int, one: str, many: str = "") -> str:
    """``"1 area"``, ``"3 areas"``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def typeset(text: str) -> str:
    """A sentence with true minus signs, and percent signs that stay with their number."""
    return _PERCENT.sub(rf"\1{NBSP}%", _HYPHEN.sub(MINUS, clean(text)))


def whole(value: Any) -> str:
    """A count, without decimals; a dash when missing."""
    if missing(value) or not math.isfinite(float(value)):
        return NOTHING
    return f"{round(float(value)):,}".replace("-", MINUS)


def number(value: float, decimals: int) -> str:
    """A number with a true minus sign and thousands separators."""
    if missing(value) or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    size = abs(value)
    if size >= 1e9 or (0 < size < 1e-6):
        text = f"{value:.3g}"
    else:
        text = f"{value:,.{decimals}f}"
        if float(text.replace(",", "")) == 0:
            text = text.lstrip("-")
    return text.replace("-", MINUS)


def percent(value: float, decimals: int = 1, *, signed: bool = True) -> str:
    """A percentage; a signed one shows its plus."""
    text = number(value, decimals)
    if text == NOTHING:
        return text
    plus = "+" if signed and value > 0 and text.strip("0.,") else ""
    return f"{plus}{text}{NBSP}%"


def p_value(value: float, smallest: float | None = None) -> str:
    """A p-value with three decimals; says so when it is the smallest the method can give."""
    if missing(value) or math.isnan(value):
        return NOTHING
    text = "< 0.001" if value < 0.0005 else f"{value:.3f}"
    if smallest is not None and not missing(smallest) and value <= smallest * (1 + 1e-9):
        text += " (min.)"
    return text


@dataclass(frozen=True)
class Measure:
    """How the values of one estimate are written.

    Attributes
    ----------
    scale : str
        Scale of the estimate; ``"log"`` means that values are ratios, also written as a change in percent.
    decimals : int
        Decimals that all values share, from the size of their uncertainty: two significant digits of the standard error
        (ratios: two or three decimals).
    """

    scale: ScaleName
    decimals: int

    @classmethod
    def of(cls, frame: pd.DataFrame, scale: ScaleName) -> Measure:
        """Decimals for the rows of a ``to_frame()``."""
        with np.errstate(all="ignore"):
            half = (frame["conf_high"] - frame["conf_low"]).to_numpy(dtype=np.float64) / 4
        sizes = half[np.isfinite(half) & (half > 0)]
        if len(sizes) == 0:
            values = np.abs(frame["estimate"].to_numpy(dtype=np.float64))
            sizes = values[np.isfinite(values) & (values > 0)] / 10
        if len(sizes) == 0:
            return cls(scale, 2)
        power = math.floor(math.log10(float(np.median(sizes))))
        return cls(scale, min(max(-power, 2), 3) if scale == "log" else min(max(1 - power, 0), 6))

    @property
    def ratio(self) -> bool:
        """Whether values are ratios."""
        return self.scale == "log"

    @property
    def null(self) -> float:
        """Value of no effect (NaN when the scale has none)."""
        return SCALES[self.scale].null

    def value(self, value: float) -> str:
        """The value itself."""
        return number(value, self.decimals)

    def interval(self, low: float, high: float) -> str:
        """Limits joined by "to"; a dash when there are none."""
        if missing(low) or missing(high) or math.isnan(low) or math.isnan(high):
            return NOTHING
        return f"{self.value(low)} to {self.value(high)}"

    def change(self, value: float) -> str:
        """A ratio as a change in percent."""
        return percent(100 * (value - 1))

    def change_interval(self, low: float, high: float) -> str:
        """Limits of a ratio as changes in percent."""
        if missing(low) or missing(high) or math.isnan(low) or math.isnan(high):
            return NOTHING
        return f"{self.change(low)} to {self.change(high)}"

    def natural(self, value: float) -> str:
        """In percent for ratios, in the unit of the outcome otherwise."""
        return self.change(value) if self.ratio else self.value(value)

    def natural_interval(self, low: float, high: float) -> str:
        """See :meth:`natural`."""
        return self.change_interval(low, high) if self.ratio else self.interval(low, high)
