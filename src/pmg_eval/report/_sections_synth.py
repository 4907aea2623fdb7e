"""Synthetic controls: whether an area can be imitated at all, and its paths, in tables and words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.report._columns import Column, floats, labels, table
from pmg_eval.report._paths import Paths, decimals_for, difference_words
from pmg_eval.report._tables import Cell, Table
from pmg_eval.report._words import NOTHING, Measure, clean, counted, missing, number, whole

METHOD = "synthetic difference-in-differences"


def hull_table(hull: pd.DataFrame, *, ratio: bool = False) -> Table:
    """Per area: inside the hull of its comparison areas, weights unique, range of effects (ratios as changes)."""
    frame = floats(hull, "low", "high", "distance", "n_pre")
    columns: list[Column] = [
        *labels(frame),
        ("Periods before the start", [whole(value) for value in frame["n_pre"]], "number"),
        ("Can be imitated exactly", [_yes(value) for value in _column(frame, "inside")], ""),
        ("In one way only", [_yes(value) for value in _column(frame, "unique")], ""),
    ]
    if frame["low"].notna().any():
        columns.append(("Range of the effect", _ranges(frame, ratio=ratio), "number"))
    if frame["distance"].notna().any():
        columns.append(("Distance", _distances(frame["distance"]), "number"))
    return table("How well a mix of comparison areas imitates each area", columns)


def _column(frame: pd.DataFrame, name: str) -> Any:
    return frame[name] if name in frame else [None] * len(frame)


def _yes(value: Any) -> str | Cell:
    """A truth value in words; anything else (a null that came back from a file) as a dash."""
    if missing(value):
        return NOTHING
    return "yes" if bool(value) and clean(value).lower() not in ("false", "no", "0") else "no"


def _ranges(frame: pd.DataFrame, *, ratio: bool) -> list[str]:
    measure = Measure("log", 2) if ratio else Measure("identity", _digits(frame[["low", "high"]].abs().to_numpy()))
    return [_range(low, high, measure) for low, high in zip(frame["low"], frame["high"], strict=True)]


def _range(low: float, high: float, measure: Measure) -> str:
    """One number where the ends are the same."""
    ends = measure.natural(low), measure.natural(high)
    return ends[0] if ends[0] == ends[1] else measure.natural_interval(low, high)


def _distances(distance: pd.Series[float]) -> list[str]:
    digits = _digits(distance.to_numpy(dtype=np.float64))
    return [number(value, digits) for value in distance]


def _digits(sizes: Any) -> int:
    """Decimals that show three digits of the usual size."""
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    if len(sizes) == 0:
        return 2
    return min(max(2 - math.floor(math.log10(float(np.median(sizes)))), 0), 6)


def hull_sentence(hull: pd.DataFrame) -> str:
    """How many areas can be imitated, and of those, how many in more than one way."""
    known = [value for value in _column(hull, "inside") if not missing(value)]
    inside = sum(_yes(value) == "yes" for value in known)
    if len(known) == 1:
        said = f"The comparison areas can{'' if inside else 'not'} imitate the area exactly before the start."
    else:
        said = (
            f"Before the start, {inside} of {counted(len(known), 'area')} can be imitated exactly by a mix of "
            "comparison areas."
        )
    if inside < len(known):
        said += (
            " Where that is not possible, the distance says how far the best mix stays away, and a synthetic control "
            "is only as good as its fit."
        )
    loose = sum(_yes(value) == "no" for value in _column(hull, "unique"))
    if loose:
        said += (
            f" For {counted(loose, 'area')}, several mixes fit equally well: their effect lies somewhere in the range "
            "given, and the data cannot tell where."
        )
    return said


def paths_table(content: Paths) -> Table:
    """The paths in numbers: every period of one area, or the means of each of many."""
    return _period_table(content) if len(content) == 1 else _mean_table(content)


def _period_table(content: Paths) -> Table:
    path = content.paths[0]
    digits = decimals_for(content.paths)
    when = ["after" if after else "before" for after in path.after]
    columns: list[Column] = [
        ("Period", list(path.periods), ""),
        ("Programme", when, ""),
        ("Observed", [number(value, digits) for value in path.observed], "number"),
        ("Synthetic", [number(value, digits) for value in path.synthetic], "number"),
        ("Gap", [number(value, digits) for value in path.gap], "number"),
    ]
    return table(f"{path.unit}: observed and synthetic path ({METHOD})", columns)


def _mean_table(content: Paths) -> Table:
    paths, digits = content.paths, decimals_for(content.paths)

    def means(what: str, after: bool) -> list[str]:
        return [number(path.mean(what, after=after), digits) for path in paths]  # type: ignore[arg-type]

    columns: list[Column] = [("Area", [path.unit for path in paths], ""), ("Start", [p.cohort for p in paths], "")]
    columns += [
        ("Typical gap before", [number(path.misfit, digits) for path in paths], "number"),
        ("Observed after", means("observed", True), "number"),
        ("Synthetic after", means("synthetic", True), "number"),
        ("Mean gap after", means("gap", True), "number"),
    ]
    if content.rate:
        columns.append(("In percent", [difference_words(path) for path in paths], "number"))
    return table(f"Observed and synthetic path per area ({METHOD}), means over the periods", columns)


__all__ = ["METHOD", "hull_sentence", "hull_table", "paths_table"]
