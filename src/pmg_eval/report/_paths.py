"""Observed paths of the treated areas and those of synthetic difference-in-differences, to be drawn and tabulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate
from pmg_eval.numerics.rows import Array
from pmg_eval.report._columns import capital, floats
from pmg_eval.report._like import measured
from pmg_eval.report._words import NOTHING, clean, number

COLUMNS = {"unit", "cohort", "period", "observed", "synthetic"}


@dataclass(frozen=True, eq=False)
class Path:
    """What was observed in one area, and the mix of comparison areas shifted to its level.

    Attributes
    ----------
    unit, cohort : str
    periods : sequence of str
        Labels of the area's periods.
    place : ndarray (t,)
        Position of each period among all periods of the page.
    observed, synthetic : ndarray (t,)
    start : float
        Position of the first treated period (beyond the last one when there is none).
    effect : str
        The area's effect in words, empty when it is not known.
    """

    unit: str
    cohort: str
    periods: Sequence[str]
    place: Array
    observed: Array
    synthetic: Array
    start: float
    effect: str

    @property
    def gap(self) -> Array:
        """Observed minus synthetic."""
        return self.observed - self.synthetic

    @property
    def after(self) -> Any:
        """Which periods lie at or after the start."""
        return self.place >= self.start

    def mean(self, what: Literal["observed", "synthetic", "gap"], *, after: bool) -> float:
        """Mean over the periods before or after the start."""
        values = getattr(self, what)[self.after == after]
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else math.nan

    @property
    def misfit(self) -> float:
        """Root mean square of the gap before the start."""
        before = self.gap[~self.after]
        before = before[np.isfinite(before)]
        return float(np.sqrt(np.mean(before**2))) if len(before) else math.nan

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value of either path (NaN when nothing is known)."""
        values = np.concatenate([self.observed, self.synthetic])
        values = values[np.isfinite(values)]
        return (float(values.min()), float(values.max())) if len(values) else (math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Paths:
    """All paths of a page.

    Attributes
    ----------
    paths : sequence of Path
        From the smallest effect to the largest; areas without an effect last.
    periods : sequence of str
        All periods in order.
    rate : bool
        Values are rates per 1,000.
    outcome : str
        Name of what is counted or measured.
    """

    paths: Sequence[Path]
    periods: Sequence[str]
    rate: bool
    outcome: str = ""

    @classmethod
    def of(cls, frame: pd.DataFrame, areas: Estimate[Any], *, rate: bool, outcome: str = "") -> Paths:
        """Rows of ``unit, cohort, period, observed, synthetic``, ordered by the effects of the areas."""
        if not set(frame.columns) >= COLUMNS or len(frame) == 0:
            return cls([], [], rate, outcome)
        rows = floats(frame, "observed", "synthetic")
        ordered = _in_order(rows["period"])
        where = {period: position for position, period in enumerate(ordered)}
        effects = _effects(areas)
        found = []
        codes: dict[Any, int] = {}
        rows["code"] = [codes.setdefault(unit, len(codes)) for unit in rows["unit"]]  # labels may be of any kind
        for unit, code in codes.items():
            part = rows.loc[rows["code"] == code]
            place = part["period"].map(where).to_numpy(dtype=np.float64)
            found.append((effects.get(clean(unit), (math.inf, ""))[0], _path(part, unit, place, where, effects)))
        found.sort(key=lambda pair: pair[0])
        return cls([path for _, path in found], [period_words(period) for period in ordered], rate, outcome)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def values(self) -> str:
        """Name of the axis."""
        name = capital(clean(self.outcome)) or ("Events" if self.rate else "Outcome")
        return f"{name} per 1,000" if self.rate else name


def _path(part: pd.DataFrame, unit: Any, place: Array, where: dict[Any, int], effects: dict[str, Any]) -> Path:
    order = np.argsort(place, kind="stable")
    part, place = part.iloc[order], place[order]
    cohort = part["cohort"].iloc[0]
    known = {period_words(period): position for period, position in where.items()}
    start = known.get(period_words(cohort), len(known) if not _earlier(cohort, where) else 0)
    return Path(
        unit=clean(unit),
        cohort=period_words(cohort),
        periods=[period_words(period) for period in part["period"]],
        place=place,
        observed=part["observed"].to_numpy(dtype=np.float64),
        synthetic=part["synthetic"].to_numpy(dtype=np.float64),
        start=float(start),
        effect=effects.get(clean(unit), (math.inf, ""))[1],
    )


def _earlier(cohort: Any, where: dict[Any, int]) -> bool:
    """Whether a start that is no period of its own lies before all periods."""
    try:
        return bool(cohort < next(iter(where)))
    except TypeError:  # labels that cannot be compared
        return False


def _in_order(periods: pd.Series[Any]) -> list[Any]:
    found = list(dict.fromkeys(periods))
    try:
        return sorted(found)
    except TypeError:  # labels of several kinds: as they come
        return found


def period_words(value: Any) -> str:
    """A period as a reader writes it: a day without its midnight."""
    return clean(value).removesuffix(" 00:00:00")


def _effects(areas: Estimate[Any]) -> dict[str, tuple[float, str]]:
    """Effect of each area: for sorting, and in words."""
    if len(areas) == 0 or "unit" not in areas.terms:
        return {}
    frame, measure = measured(areas)
    found = {}
    for _, row in frame.iterrows():
        value = row["estimate"]
        words = measure.natural(value) if math.isfinite(value) else ""
        found[clean(row["unit"])] = (value if not math.isnan(value) else math.inf, words)
    return found


def decimals_for(paths: Sequence[Path]) -> int:
    """Decimals with which the values of these paths differ visibly (three digits of the usual spread)."""
    spans = np.array([high - low for low, high in (path.limits for path in paths)])
    spans = spans[np.isfinite(spans) & (spans > 0)]
    if len(spans) == 0:
        return 2
    return min(max(2 - math.floor(math.log10(float(np.median(spans)))), 0), 6)


def paths_text(content: Paths) -> str:
    """The figure in words."""
    if len(content) == 1:
        return _one_text(content)
    after = [(path.mean("gap", after=True), path.unit) for path in content.paths]
    after = [pair for pair in after if math.isfinite(pair[0])]
    digits = decimals_for(content.paths)
    parts = [
        f"{len(content)} small line charts, one per area, from {content.periods[0]} to {content.periods[-1]}: observed "
        "as a solid line, the synthetic path as a dashed line, the start of the programme as a vertical line"
    ]
    if after:
        below = sum(value < 0 for value, _ in after)
        (least, first), (most, last) = min(after), max(after)
        parts.append(
            f"After the start, the observed line lies on average below the synthetic one in {below} of {len(after)} "
            f"areas. The mean gap ranges from {number(least, digits)} ({first}) to {number(most, digits)} ({last})"
        )
    return ". ".join(parts) + ". The numbers are in the table that follows."


def _one_text(content: Paths) -> str:
    path = content.paths[0]
    digits = decimals_for(content.paths)
    parts = [
        f"Line chart of {path.unit} from {content.periods[0]} to {content.periods[-1]}: observed as a solid line, "
        f"the synthetic path as a dashed line; the programme started in {path.cohort}; below it the gap between them"
    ]
    before, after = path.mean("gap", after=False), path.mean("gap", after=True)
    if math.isfinite(before) and math.isfinite(after):
        parts.append(
            f"The gap is {number(before, digits)} on average before the start and {number(after, digits)} after it; "
            f"its typical size before the start is {number(path.misfit, digits)}"
        )
    elif math.isfinite(before):
        parts.append(f"The gap is {number(before, digits)} on average before the start; nothing is known after it")
    return ". ".join(parts) + ". The numbers are in the table that follows."


def difference_words(path: Path) -> str:
    """Mean gap after the start in percent of the synthetic path."""
    synthetic, gap = path.mean("synthetic", after=True), path.mean("gap", after=True)
    if not math.isfinite(gap) or not synthetic > 0:
        return NOTHING
    return f"{number(100 * gap / synthetic, 1)}\u00a0%"


__all__ = ["Path", "Paths", "decimals_for", "difference_words", "paths_text", "period_words"]
