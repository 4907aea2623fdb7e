"""The frame that a row of the catalogue was meant to be, for slow answers that know nothing of the library.

One row per observation: unit, year, start (+inf = never), y.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from bad_input import cases
from bad_input.cases import base

Frame = pd.DataFrame


def meant(frame: Frame, **columns: Any) -> Frame:
    """One row per observation: unit, year, start (+inf = never), y."""
    start = frame["g"].astype(float).replace(0.0, float("inf"))
    out = pd.DataFrame({"unit": frame["id"], "year": frame["year"], "start": start, "y": frame["y"].astype(float)})
    return out.assign(**columns)


def late_start(frame: Frame) -> Frame:
    """Wave 2016 began in the middle of the year, whose rows are left out."""
    moved = frame.assign(start=frame["start"].replace(2016.0, 2017.0))
    return moved[~((moved["start"] == 2017) & (moved["year"] == 2016))]


def _nan(share: float | None) -> Frame:
    return meant(cases._nan_outcome(share)).dropna()


MEANT: dict[str, Callable[[], Frame]] = {
    "6": lambda: meant(base()).query("unit > 5"),
    "7": lambda: meant(base()).query("unit > 5"),
    "8": lambda: meant(base()).assign(start=lambda df: df["start"].mask(df["unit"] > 55, 2025.0)),
    "9": lambda: meant(base()).query("start < inf"),
    "12b": lambda: _nan(None),
    "12c": lambda: meant(base()).query("unit != 1"),
    "13b": lambda: _nan(0.2),
    "13c": lambda: meant(base()).query("not (unit <= 30 and (year == 2012 or year == 2013))"),
    "26c": lambda: late_start(meant(base())),
    "27": lambda: meant(base()).query("year != 2013"),
    "28": lambda: meant(base()).query("year != 2015"),
    "29b": lambda: meant(cases._base_year_gone()),
    "30b": lambda: meant(cases._unbalanced()),
    "31": lambda: meant(base()).query("unit == 1 or start == inf"),
    "32": lambda: meant(base()).query("start == 2016 or unit == 60"),
    "33": lambda: meant(base()).query("start != 2018 or unit == 21"),
    "34": lambda: meant(base()).query("year in (2015, 2016)"),
    "51": lambda: meant(base()).assign(y=lambda df: (df["y"] > 0.5) * 1.0),
    "54": lambda: meant(base()).assign(y=lambda df: df["y"].astype("float32").astype(float)),
    **dict.fromkeys(("53", "61", "62"), lambda: meant(base()).assign(y=lambda df: (10 * df["y"]).round() + 60)),
    "60": lambda: meant(base()).assign(year=lambda df: df["year"] - 2010, start=lambda df: df["start"] - 2010),
}
