"""All averages of all estimators as one estimate, so that one jackknife gives them, and their differences, one law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate, stack
from pmg_eval.estimate.average import By, average_values
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.typing import Estimator

GROUPS = ("overall", "cohort", "event_time")
HEADLINE = "imputation"
ALL = "all"
WAVE_COLUMNS = [
    *("cohort", "estimator", "estimate", "conf_low", "conf_high"),
    *("difference", "difference_se", "z", "difference_p", "status"),
]


@dataclass(frozen=True)
class Parts:
    """The headline estimator's averages, and the overall and cohort averages of the others beside it.

    Attributes
    ----------
    headline : callable
    others : tuple of (name, callable)
    """

    headline: Estimator
    others: tuple[tuple[str, Estimator], ...] = ()

    def __call__(self, panel: Panel, outcome: str) -> Estimate[Any]:
        fit = self.headline(panel, outcome)
        parts = [fit.average(), fit.average(by="cohort"), fit.average(by="event_time")]
        names = list(GROUPS)
        for name, estimator in self.others:
            other = estimator(panel, outcome)
            parts += [other.average(), other.average(by="cohort")]
            names += [name, f"{name} by cohort"]
        return stack(*parts, names=tuple(names))

    def values(self, panel: Panel, outcome: str, terms: pd.DataFrame) -> Array:
        """The values of :meth:`__call__` alone, in the order of its ``terms``: what a jackknife estimates again."""
        fit = self.headline(panel, outcome)
        parts: list[tuple[Estimate[Any], str, By | None]] = [
            (fit, "overall", None),
            (fit, "cohort", "cohort"),
            (fit, "event_time", "event_time"),
        ]
        for name, estimator in self.others:
            other = estimator(panel, outcome)
            parts += [(other, name, None), (other, f"{name} by cohort", "cohort")]
        group = terms["group"].to_numpy()
        found = np.full(len(terms), np.nan)
        for estimate, name, by in parts:
            rows = np.flatnonzero(group == name)
            found[rows] = average_values(estimate, terms.iloc[rows], by)
        return found


def differences(whole: Estimate[Any], others: tuple[str, ...]) -> Estimate[Any] | None:
    """Every other estimator minus the headline, overall and per cohort, with the joint standard error.

    Labels: ``cohort`` (missing for the overall difference) and ``contrast``. Ratios are compared as ratios.
    """
    if not others:
        return None
    log = whole.scale == "log"
    numbers = whole.apply(np.log, lambda x: 1 / x) if log else whole
    rows, heads = [], []
    for name in others:
        for mine, theirs in (("overall", name), ("cohort", f"{name} by cohort")):
            for first, second, cohort in _pairs(whole.terms, mine, theirs):
                row = np.zeros(len(whole))
                row[first], row[second] = -1.0, 1.0
                rows.append(row)
                heads.append({"cohort": cohort, "contrast": f"{name} - {HEADLINE}"})
    difference = numbers.map(np.array(rows), _heads(heads))
    return difference.apply(np.exp, np.exp, scale="log") if log else difference


def _heads(heads: list[dict[str, Any]]) -> pd.DataFrame:
    """Labels of the differences; whole years stay whole beside the missing cohort of the overall difference."""
    cohort = [head["cohort"] for head in heads]
    whole = all(isinstance(label, int | np.integer) for label in cohort if label is not None)
    column = pd.array([pd.NA if label is None else label for label in cohort], dtype="Int64" if whole else object)
    return pd.DataFrame({"cohort": column, "contrast": [head["contrast"] for head in heads]})


def _pairs(terms: pd.DataFrame, mine: str, theirs: str) -> list[tuple[int, int, Any]]:
    """Positions of the same cohort (or of the one overall number) in both, and the cohort."""
    first = np.flatnonzero(terms["group"].to_numpy() == mine)
    second = np.flatnonzero(terms["group"].to_numpy() == theirs)
    if mine == "overall":
        return [(int(first[0]), int(second[0]), None)]
    cohorts = terms["cohort"].to_numpy(dtype=object)
    where = {cohorts[position]: int(position) for position in second}
    return [(int(p), where[cohorts[p]], cohorts[p]) for p in first if cohorts[p] in where]


def wave_table(
    whole: Estimate[Any], effects: Estimate[Any], difference: Estimate[Any] | None, others: tuple[str, ...]
) -> pd.DataFrame:
    """One row per cohort (and ``"all"``) and estimator: its interval, and its distance to the headline in z.

    The headline's intervals are those of ``effects``, the others' those of ``whole``.
    """
    frames = {False: whole.to_frame(), True: effects.to_frame()}
    gap = None if difference is None else difference.to_frame()
    rows = []
    for name in (HEADLINE, *others):
        for label in ("overall", "cohort") if name == HEADLINE else (name, f"{name} by cohort"):
            frame = frames[name == HEADLINE]
            for _, row in frame.loc[frame["group"] == label].iterrows():
                cohort = str(row["cohort"]) if label.endswith("cohort") else ALL
                found = {"cohort": cohort, "estimator": name, **_numbers(row)}
                if gap is not None and name != HEADLINE:
                    same = np.array([_label(label) == cohort for label in gap["cohort"]])
                    beside = gap.loc[same & (gap["contrast"] == f"{name} - {HEADLINE}")].iloc[0]
                    found |= {
                        "difference": beside["estimate"],
                        "difference_se": beside["std_error"],
                        "z": beside["statistic"],
                        "difference_p": beside["p_value"],
                    }
                rows.append(found)
    table = pd.DataFrame(rows, columns=WAVE_COLUMNS)
    return table.sort_values("cohort", key=lambda c: c.where(c != ALL, ""), kind="stable", ignore_index=True)


def _label(cohort: Any) -> str:
    return ALL if cohort is None or cohort is pd.NA or cohort != cohort else str(cohort)


def _numbers(row: pd.Series[Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("estimate", "conf_low", "conf_high", "status")}
