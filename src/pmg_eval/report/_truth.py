"""The true effects of simulated data, beside the estimates they belong to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.numerics.rows import Array
from pmg_eval.report._columns import Column
from pmg_eval.report._like import ALL, LEVEL
from pmg_eval.report._words import Measure, clean, counted, missing, number

_TOGETHER = (ALL, "overall")  # what stands for no area or wave in particular where a label cannot be missing


@dataclass(frozen=True)
class Truth:
    """True effects per area, per wave and overall, by label.

    Attributes
    ----------
    areas, waves : dict
        Label as shown to its true effect.
    overall : float
        NaN when it is not known.
    """

    areas: dict[str, float]
    waves: dict[str, float]
    overall: float

    @classmethod
    def of(cls, truth: pd.DataFrame | None) -> Truth:
        """Sort the rows of ``unit, cohort, truth``; an area is whatever has a unit."""
        areas: dict[str, float] = {}
        waves: dict[str, float] = {}
        overall = math.nan
        rows = [] if truth is None or not {"unit", "truth"} <= set(truth.columns) else truth.to_dict("records")
        for row in rows:
            value = float(row["truth"]) if pd.notna(row["truth"]) else math.nan
            if not _together(row["unit"]):
                areas[clean(row["unit"])] = value
            elif not _together(row.get("cohort")):
                waves[clean(row["cohort"])] = value
            else:
                overall = value
        return cls(areas, waves, overall)

    def of_areas(self, frame: pd.DataFrame) -> Array:
        """True effect of each row with a unit."""
        return np.array([self.areas.get(clean(unit), math.nan) for unit in frame["unit"]], dtype=np.float64)

    def of_waves(self, frame: pd.DataFrame) -> Array:
        """True effect of each row of overall and wave effects."""
        found = [
            self.overall if row["group"] == "overall" else self.waves.get(clean(row.get("cohort")), math.nan)
            for _, row in frame.iterrows()
        ]
        return np.array(found, dtype=np.float64)


def _together(label: Any) -> bool:
    return missing(label) or label in _TOGETHER


def truth_columns(frame: pd.DataFrame, measure: Measure) -> list[Column]:
    """The truth, and whether the interval contains it, where ``frame`` has a column ``truth`` with a number."""
    if "truth" not in frame or not frame["truth"].notna().any():
        return []
    said = ["" if math.isnan(row["truth"]) or not _given(row) else _contains(row) for _, row in frame.iterrows()]
    return [
        ("Truth", [measure.natural(value) for value in frame["truth"]], "number"),
        ("In the interval", said, ""),
    ]


def _given(row: pd.Series[float]) -> bool:
    return not (math.isnan(row["conf_low"]) or math.isnan(row["conf_high"]))


def _contains(row: pd.Series[float]) -> str:
    return "yes" if row["conf_low"] <= row["truth"] <= row["conf_high"] else "no"


def coverage_words(frame: pd.DataFrame) -> str:
    """How many intervals contain the truth, beside how many should; empty without any truth."""
    if "truth" not in frame or not frame["truth"].notna().any():
        return ""
    judged = [_contains(row) for _, row in frame.iterrows() if _given(row) and not math.isnan(row["truth"])]
    if not judged:
        return "These data are simulated, so the true effects are known; no interval was given to compare them with."
    said = (
        f"These data are simulated, so the true effects are known: {judged.count('yes')} of "
        f"{counted(len(judged), 'interval')} {'contains' if len(judged) == 1 else 'contain'} the truth"
    )
    if len(judged) > 1:
        said += f" (of 95 % intervals, about {number(LEVEL * len(judged), 0)} would be expected to)"
    return said + "."


__all__ = ["Truth", "coverage_words", "truth_columns"]
