"""Several estimators side by side, in tables and words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate
from pmg_eval.report._beside import Beside, same_direction
from pmg_eval.report._canvas import term_names
from pmg_eval.report._columns import REMARKS, Column, capital, effect_columns, estimator_name, remarks, table
from pmg_eval.report._like import ALPHA, measured
from pmg_eval.report._tables import Cell, Table
from pmg_eval.report._words import MINUS, NOTHING, Measure, counted, number

_APART = 2.0  # standard errors from which a difference gets a sentence


def estimators_table(numbers: pd.DataFrame, measure: Measure) -> Table:
    """The overall effect by estimator."""
    return table(
        "Overall effect by estimator",
        [
            ("Estimator", [estimator_name(value) for value in numbers["estimator"]], ""),
            *effect_columns(numbers.drop(columns="p_value", errors="ignore"), measure),
        ],
    )


def difference_table(agreement: Estimate[Any]) -> Table:
    """Differences between estimators, with the standard error of the difference itself."""
    frame, measure = measured(agreement)
    unsized = frame.drop(columns="n_treated", errors="ignore")
    names = [str(name).replace("_", " ").replace(" - ", f" {MINUS} ") for name in term_names(unsized, agreement.labels)]
    columns: list[Column] = effect_columns(frame, measure)
    words = {"Change": "Difference", "Effect": "Difference", "Rate ratio": "Ratio of the ratios"}
    columns = [(words.get(name, name), cells, kind) for name, cells, kind in columns]
    return table("Difference between estimators", [("Comparison", names, ""), *columns, remarks(frame, measure)])


def wave_agreement_table(content: Beside) -> Table:
    """Every estimator overall and per wave, with its difference to the headline."""
    rows = [row for name in content.names for e in content.estimators if (row := content.row(name, e)) is not None]
    frame = pd.DataFrame(rows)
    measure = content.measure
    words = "Ratio to the first estimator" if measure.ratio else "Difference to the first estimator"
    differing = bool(np.isfinite(frame["difference"]).any())
    columns: list[Column] = [
        ("Wave", [name.removeprefix("Wave ") for name in frame["name"]], ""),
        ("Estimator", list(frame["estimator"]), ""),
        *effect_columns(frame.drop(columns="p_value"), measure)[:2],
    ]
    if differing:
        columns += [
            (words, [number(value, measure.decimals + 1) for value in frame["difference"]], "number"),
            ("Its standard error", [number(value, measure.decimals + 1) for value in frame["difference_se"]], "number"),
            ("z", [number(value, 2) for value in frame["z"]], "number"),
        ]
    return table(
        "Estimators side by side, overall and per wave", [*columns, _statuses([[row] for _, row in frame.iterrows()])]
    )


def area_agreement_table(content: Beside) -> Table:
    """One row per area, one column per estimator."""
    measure = content.measure
    rows = {name: [content.row(name, estimator) for estimator in content.estimators] for name in content.names}
    columns: list[Column] = [("Area", list(content.names), "")]
    if any(content.waves.values()):
        columns.append(("Wave", [content.waves.get(name, "") for name in content.names], ""))
    for position, estimator in enumerate(content.estimators):
        cells = [Cell(_with_interval(rows[name][position], measure), "pair") for name in content.names]
        columns.append((estimator, cells, "number"))
    return table("Estimators side by side, per area", [*columns, _statuses(list(rows.values()))])


def _with_interval(row: pd.Series[Any] | None, measure: Measure) -> str:
    if row is None or np.isnan(row["estimate"]):
        return NOTHING
    ends = measure.natural_interval(row["conf_low"], row["conf_high"])
    return measure.natural(row["estimate"]) + ("" if ends == NOTHING else f" ({ends})")


def _statuses(rows: list[list[pd.Series[Any] | None]]) -> Column:
    """What the estimators of each row remark, each remark once and with the names of those it concerns."""
    cells = []
    for group in rows:
        said: dict[str, list[str]] = {}
        for row in group:
            if row is not None and row["status"]:
                said.setdefault(row["status"], []).append(row["estimator"])
        several = len(group) > 1
        cells.append("; ".join(f"{', '.join(names)}: {words}" if several else words for words, names in said.items()))
    return REMARKS, [capital(words) for words in cells], "prose"


def agreement_sentence(agreement: Estimate[Any] | None) -> str:
    """Whether the overall numbers of the estimators differ by more than their joint uncertainty."""
    if agreement is None or len(agreement) == 0:
        return "No second estimator could be computed for the pooled effect, so there is nothing to compare it with."
    if "cohort" in agreement.terms and agreement.terms["cohort"].isna().any():
        agreement = agreement.take(np.flatnonzero(agreement.terms["cohort"].isna()))
    frame, measure = measured(agreement)
    known = frame["conf_low"].notna() & frame["conf_high"].notna()
    if not known.any():
        return "The estimators are shown side by side; their difference has no interval."
    apart = known & ((frame["conf_low"] > measure.null) | (frame["conf_high"] < measure.null))
    if apart.any():
        return (
            "The estimators differ by more than chance explains. They weigh areas and periods differently, so look at "
            "the effects per wave and over time before relying on one number."
        )
    subject = "The difference between the estimators is within chance: its interval includes"
    if int(known.sum()) > 1:
        subject = "The differences between the estimators are within chance: their intervals include"
    return f"{subject} no difference. They use the same data, so this does not count as independent confirmation."


def area_agreement_sentence(content: Beside) -> str:
    """How often the estimators point the same way in an area, and how often they differ by more than chance."""
    same, several = same_direction(content)
    if several == 0:
        return "Only one estimator gave effects per area."
    one = several == 1
    said = (
        f"In {same} of {counted(several, 'area')}, all estimators lie on the same side of no effect."
        if not one
        else f"The estimators lie on {'the same side' if same else 'both sides'} of no effect."
    )
    distance = content.frame.dropna(subset="z")
    if len(distance):
        apart = int((distance["z"].abs() > _APART).groupby(distance["name"]).any().sum())
        areas = distance["name"].nunique()
        said += (
            f" In {apart} of {counted(areas, 'area')}, another estimator is further from the first than in nearly all "
            f"areas without the programme (|z| above {_APART:.0f}; about {number(ALPHA * len(distance), 1)} of the "
            f"{len(distance)} comparisons would be by chance)."
        )
    return said


__all__ = [
    "agreement_sentence",
    "area_agreement_sentence",
    "area_agreement_table",
    "difference_table",
    "estimators_table",
    "wave_agreement_table",
]
