"""What a page says first: the figures of the summary, its limits, the waves and the checks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.report._columns import Column, capital, table
from pmg_eval.report._forest import verdicts
from pmg_eval.report._like import ALPHA, INTERVAL, EvaluationLike, group, measured
from pmg_eval.report._style import ABOVE, BELOW, NO_INTERVAL
from pmg_eval.report._tables import Cell, Table
from pmg_eval.report._words import NOTHING, Measure, clean, counted, number, p_value, typeset, whole


def brief(evaluation: EvaluationLike) -> list[str]:
    """The result in plain sentences, the finding first."""
    found = [typeset(text) for text in (evaluation.summary or (evaluation.headline,))]
    return list(dict.fromkeys(text for text in found if text))


def key_figures(evaluation: EvaluationLike) -> list[tuple[str, str, str]]:
    """Label, figure and note: the overall effect, the areas behind it, the areas that stand out."""
    areas, areas_measure = measured(evaluation.areas)
    name = f"Effect on {clean(evaluation.outcome)}"
    if evaluation.kind == "one" and len(areas) == 1:
        return _of_one(areas.iloc[0], areas_measure, name)
    figures = []
    overall, measure = measured(group(evaluation.effects, "overall"))
    if len(overall):
        row = overall.iloc[0]
        figures.append((name, measure.natural(row["estimate"]), _beside(row, measure)))
        treated, control = whole(row.get("n_treated")), whole(row.get("n_control"))
        if treated != NOTHING:
            against = "" if control == NOTHING else f"compared with {control} without the programme"
            figures.append(("Areas with the programme", treated, against))
    if len(areas):
        figures.append(_standing_out(areas, areas_measure))
    return figures


def _of_one(row: pd.Series[Any], measure: Measure, name: str) -> list[tuple[str, str, str]]:
    """The figures of a single treated area, whose placebo law is the answer."""
    figures = [(name, measure.natural(row["estimate"]), _beside(row, measure))]
    many = whole(row.get("n_placebo"))
    against = "" if many in (NOTHING, "0") else f"compared with {many} without the programme"
    figures.append(("Areas with the programme", "1", against))
    p = row["p_value"]
    if np.isfinite(p):
        least = row.get("p_min", math.nan)
        note = f"the smallest that {many} comparison areas allow is {p_value(least)}" if np.isfinite(least) else ""
        figures.append(("p-value", p_value(p), note))
    return figures


def _beside(row: pd.Series[Any], measure: Measure) -> str:
    low, high = row["conf_low"], row["conf_high"]
    if math.isnan(low) or math.isnan(high):
        return "no interval can be given"
    said = f"{INTERVAL}: {measure.natural_interval(low, high)}"
    includes = measure.null >= low and measure.null <= high
    return f"{said}. Inconclusive: the interval includes no effect" if includes else said


def _standing_out(areas: pd.DataFrame, measure: Measure) -> tuple[str, str, str]:
    name = "Areas whose interval excludes no effect"
    marks = verdicts(areas, measure.null)
    given = len(marks) - marks.count(NO_INTERVAL)
    if given == 0:
        return name, NOTHING, f"no interval can be given for {'the area' if len(areas) == 1 else 'any single area'}"
    below, above = marks.count(BELOW), marks.count(ABOVE)
    note = (
        f"{below} below and {above} above no effect; about {number(ALPHA * given, 1)} would stand out by chance alone"
    )
    if given < len(areas):
        note += f"; no interval can be given for {len(areas) - given} more"
    return name, f"{below + above} of {given}", note


def limits(evaluation: EvaluationLike) -> list[str]:
    """What the result does not say."""
    outcome = clean(evaluation.outcome)
    return [
        *(capital(typeset(text)) for text in evaluation.caveats),
        "An interval that includes no effect does not show that nothing happened. It says that the data cannot tell.",
        "The intervals cover chance. They do not cover a failure of the assumptions listed below.",
        f"The result is about {outcome} in these areas and periods, not about other outcomes, other places, costs, or "
        "why something happened.",
    ]


def waves_table(waves: pd.DataFrame) -> Table:
    """Which areas started when."""
    names = [clean(value) for value in waves["cohort"]]
    starts = [clean(value) for value in waves["first_period"]]
    # Waves are named by their first period unless the evaluation says otherwise.
    columns: list[Column] = [("Wave", names, "")]
    columns += [("First period with the programme", starts, "")] if starts != names else []
    return table(
        "Waves: the areas that started in the same period",
        [
            *columns,
            ("Areas", [whole(value) for value in waves["n_areas"]], "number"),
            ("Which areas", [clean(value) for value in waves["areas"]], "prose"),
        ],
    )


_VERDICTS = {
    "pass": Cell("Passed", "verdict pass"),
    "attention": Cell("Not passed", "verdict attention"),
    "not possible": Cell("Not possible", "verdict impossible"),
}


def checks_table(checks: pd.DataFrame) -> Table:
    """Every check with its question, finding and verdict in words."""
    verdict = [_VERDICTS.get(str(value), Cell(clean(value), "verdict")) for value in checks["verdict"]]
    return table(
        "Checks of the design",
        [
            ("Check", [capital(clean(value)) for value in checks["check"]], ""),
            ("Verdict", verdict, ""),
            ("Question", [clean(value) for value in checks["question"]], "prose"),
            ("Finding", [capital(typeset(value)) for value in checks["finding"]], "prose"),
        ],
    )


def checks_sentence(checks: pd.DataFrame) -> str:
    """How many checks were passed."""
    verdicts_found = [str(value) for value in checks["verdict"]]
    parts = [
        f"{verdicts_found.count(key)} {words}"
        for key, words in (("pass", "passed"), ("attention", "not passed"), ("not possible", "not possible"))
        if key in verdicts_found
    ]
    return f"{counted(len(verdicts_found), 'check')}: {', '.join(parts)}." if parts else "No check was made."
