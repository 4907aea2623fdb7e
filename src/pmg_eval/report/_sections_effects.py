"""Effects overall, per wave, over time and per area, in tables and words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate
from pmg_eval.estimate.scales import ScaleName
from pmg_eval.numerics.rows import Array
from pmg_eval.report._columns import Column, counts, effect_columns, floats, labels, remarks, table
from pmg_eval.report._event_study import Study
from pmg_eval.report._forest import ordered
from pmg_eval.report._like import ALPHA, LEVEL, measured
from pmg_eval.report._tables import Table
from pmg_eval.report._truth import truth_columns
from pmg_eval.report._words import Measure, clean, number, p_value, percent, whole


def wave_effects(effects: Estimate[Any], truth: Array | None = None) -> Table:
    """Effect overall and per wave; of simulated data with the truth per row."""
    frame, measure = measured(effects)
    frame = frame.assign(truth=np.nan if truth is None else truth)
    names = ["All waves" if row["group"] == "overall" else clean(row.get("cohort")) for _, row in frame.iterrows()]
    return table(
        "Effect overall and per wave, in numbers",
        [
            ("Wave", names, ""),
            *effect_columns(frame, measure),
            *truth_columns(frame, measure),
            *counts(frame, "n_treated", "Areas"),
            *counts(frame, "n_control", "Comparison areas"),
            remarks(frame, measure),
        ],
    )


def event_table(content: Study) -> Table:
    """The event study in numbers, with the simultaneous interval beside the pointwise one."""
    frame, measure = content.frame, content.measure
    columns: list[Column] = [("Periods since start", [number(value, 0) for value in frame["event_time"]], "number")]
    # No p per period: the shape is what counts, and the joint test of the pre-periods stands among the checks.
    effects = effect_columns(frame.drop(columns="p_value"), measure)
    if content.banded:
        pairs = zip(frame["band_low"], frame["band_high"], strict=True)
        both = ("For all periods at once", [measure.natural_interval(*pair) for pair in pairs], "number")
        effects = [*effects[:2], both, *effects[2:]]
    return table(
        "Effect by time since the start",
        [
            *columns,
            *effects,
            *counts(frame, "n_treated", "Areas"),
            remarks(frame, measure),
        ],
    )


def area_table(areas: Estimate[Any], truth: Array | None = None) -> Table:
    """Effect per area, from the smallest to the largest; of simulated data with the truth per area."""
    frame, measure = measured(areas)
    frame = ordered(frame.assign(truth=np.nan if truth is None else truth))
    return table(
        "Effect per area, from the smallest to the largest",
        [
            *labels(frame),
            *effect_columns(frame, measure),
            *truth_columns(frame, measure),
            *counts(frame, "n_placebo", "Placebo areas"),
            remarks(frame, measure),
        ],
    )


def league_table(league: pd.DataFrame, scale: ScaleName) -> Table:
    """Areas together: what a league table of areas may say."""
    names = ("estimate", "conf_low", "conf_high", "p_value", "p_adjusted", "shrunk", "shrunk_low", "shrunk_high")
    numbers = floats(league, *names, "rank", "rank_low", "rank_high")
    measure = Measure.of(numbers, scale)
    shrunk = zip(numbers["shrunk_low"], numbers["shrunk_high"], strict=True)
    return table(
        "Areas together: adjusted p, effects pulled toward their mean, and ranks",
        [
            *labels(numbers),
            ("Adjusted p", [p_value(value) for value in numbers["p_adjusted"]], "number"),
            ("Shrunken effect", [measure.natural(value) for value in numbers["shrunk"]], "number"),
            ("Its 95 % interval", [measure.natural_interval(*pair) for pair in shrunk], "number"),
            ("Rank", [whole(value) for value in numbers["rank"]], "number"),
            ("Ranks it may have", [_range(row) for _, row in numbers.iterrows()], "number"),
        ],
    )


def _range(row: pd.Series[Any]) -> str:
    low, high = whole(row["rank_low"]), whole(row["rank_high"])
    return low if low == high else f"{low} to {high}"


LEAGUE_NOTE = (
    "Read areas together from this table. The adjusted p keeps the chance of any false finding among all areas below "
    "5 %. "
    "The shrunken effect pulls each area toward the mean by as much as its own number is noise, because the area that "
    "looks best or worst owes part of that to chance. The ranks an area may have hold for all areas at once."
)


def area_notes(areas: Estimate[Any]) -> list[str]:
    """How to read many areas at once: chance findings, and what p can show at best."""
    frame = areas.to_frame(LEVEL)
    tested = int(np.isfinite(frame["p_value"].to_numpy(dtype=np.float64)).sum())
    notes = []
    if tested > 1:
        once = 1 - LEVEL**tested
        notes.append(
            f"{tested} areas are tested separately. If the programme did nothing anywhere, about "
            f"{number(ALPHA * tested, 1)} of them would still have p below 0.05, and with a chance of "
            f"{percent(100 * once, 0, signed=False)} at least one would (if the areas were independent). "
            "Do not pick the best or the worst area from this list."
        )
    if "p_min" in frame and tested:
        smallest = frame["p_min"].to_numpy(dtype=np.float64)
        smallest = smallest[np.isfinite(frame["p_value"].to_numpy(dtype=np.float64)) & (smallest < 1)]
        if len(smallest):
            notes.append(_attainable(float(smallest.max()), tested))
    notes.append(
        "The interval of an area comes from areas without the programme: each was analyzed as if it had taken part, "
        "and what was found there shows how large an effect can appear by chance in an area of that size."
    )
    return notes


def _attainable(smallest: float, tested: int) -> str:
    said = (
        f"The smallest p-value that this number of comparison areas allows is {p_value(smallest)} (marked min. in the "
        "table). It depends on how many areas there are to compare with, not on the size of an effect."
    )
    needed = ALPHA / tested
    if tested > 1 and smallest > needed:
        said += (
            f" No single area can therefore pass a test that corrects for {tested} areas (Bonferroni: p below "
            f"{number(needed, 4)})."
        )
    return said
