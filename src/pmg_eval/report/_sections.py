"""The parts of an evaluation page as text and tables: what is said, before how it looks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.report._canvas import frame_of, term_names
from pmg_eval.report._event_study import Study
from pmg_eval.report._forest import ordered, verdicts
from pmg_eval.report._style import ABOVE, BELOW
from pmg_eval.report._tables import Cell, Table, remark
from pmg_eval.report._words import MINUS, NOTHING, Measure, clean, counted, number, p_value, percent, whole

LEVEL = 0.95
ALPHA = 1 - LEVEL
INTERVAL = "95 % interval"
_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


class EvaluationLike(Protocol):
    """What a page needs of an evaluation (see ``pmg_eval.Evaluation``)."""

    @property
    def title(self) -> str:
        """Heading of the page."""

    @property
    def outcome(self) -> str:
        """Name of the outcome."""

    @property
    def family(self) -> Literal["gaussian", "poisson"]:
        """Differences, or rate ratios."""

    @property
    def effects(self) -> Estimate[Any]:
        """Label ``group``: ``"overall"``, ``"cohort"`` or ``"event_time"``."""

    @property
    def areas(self) -> Estimate[Any]:
        """One row per treated area."""

    @property
    def band(self) -> pd.DataFrame:
        """Event-study rows with a simultaneous band."""

    @property
    def checks(self) -> pd.DataFrame:
        """Columns ``check, question, finding, verdict``."""

    @property
    def agreement(self) -> Estimate[Any] | None:
        """Differences between estimators."""

    @property
    def agreement_table(self) -> pd.DataFrame:
        """Columns ``estimator, estimate, conf_low, conf_high``."""

    @property
    def waves(self) -> pd.DataFrame:
        """Columns ``cohort, n_areas, first_period, areas``."""

    @property
    def data(self) -> Mapping[str, Any]:
        """Facts about the panel."""

    @property
    def headline(self) -> str:
        """The finding in plain words."""

    @property
    def caveats(self) -> Sequence[str]:
        """What must be read with it."""

    @property
    def provenance(self) -> Provenance:
        """Where the numbers come from."""


def group(effects: Estimate[Any], *names: str) -> Estimate[Any]:
    """The terms of some groups, possibly none."""
    if "group" not in effects.terms:
        return effects.take([])
    return effects.take(np.flatnonzero(effects.terms["group"].isin(names).to_numpy()))


def measured(estimate: Estimate[Any]) -> tuple[pd.DataFrame, Measure]:
    """The numbers of an estimate and how they are written."""
    frame = frame_of(estimate, LEVEL)
    return frame, Measure.of(frame, estimate.scale)


# --- summary ---------------------------------------------------------------------------------------------------------


def key_figures(evaluation: EvaluationLike) -> list[tuple[str, str, str]]:
    """Label, figure and note: the overall effect, the areas behind it, the areas that stand out."""
    figures = []
    overall, measure = measured(group(evaluation.effects, "overall"))
    if len(overall):
        row = overall.iloc[0]
        name = f"Effect on {clean(evaluation.outcome)}"
        figures.append((name, measure.natural(row["estimate"]), _beside(row, measure)))
        treated, control = whole(row.get("n_treated")), whole(row.get("n_control"))
        if treated != NOTHING:
            against = "" if control == NOTHING else f"compared with {control} without the programme"
            figures.append(("Areas with the programme", treated, against))
    areas, measure = measured(evaluation.areas)
    if len(areas):
        figures.append(_standing_out(areas, measure))
    return figures


def _beside(row: pd.Series[Any], measure: Measure) -> str:
    low, high = row["conf_low"], row["conf_high"]
    if math.isnan(low) or math.isnan(high):
        return "no interval can be given"
    said = f"{INTERVAL}: {measure.natural_interval(low, high)}"
    includes = measure.null >= low and measure.null <= high
    return f"{said}. Inconclusive: the interval includes no effect" if includes else said


def _standing_out(areas: pd.DataFrame, measure: Measure) -> tuple[str, str, str]:
    marks = verdicts(areas, measure.null)
    below, above = marks.count(BELOW), marks.count(ABOVE)
    tested = int(np.isfinite(areas["p_value"].to_numpy(dtype=np.float64)).sum())
    note = (
        f"{below} below and {above} above no effect; about {number(ALPHA * tested, 1)} would stand out by chance alone"
    )
    return "Areas whose interval excludes no effect", f"{below + above} of {len(areas)}", note


def limits(evaluation: EvaluationLike) -> list[str]:
    """What the result does not say."""
    outcome = clean(evaluation.outcome)
    return [
        *(capital(clean(text)) for text in evaluation.caveats),
        "An interval that includes no effect does not show that nothing happened. It says that the data cannot tell.",
        "The intervals cover chance. They do not cover a failure of the assumptions listed below.",
        f"The result is about {outcome} in these areas and periods, not about other outcomes, other places, costs, or "
        "why something happened.",
    ]


# --- tables ----------------------------------------------------------------------------------------------------------


def _table(caption: str, columns: Sequence[tuple[str, Sequence[str | Cell], str]]) -> Table:
    """Columns as (heading, cells, kind); a column of remarks without any remark is left out."""
    kept = [column for column in columns if column[0] != "Remarks" or any(column[1])]
    rows = [list(row) for row in zip(*[cells for _, cells, _ in kept], strict=True)]
    numeric = frozenset(j for j, (_, _, kind) in enumerate(kept) if kind == "number")
    prose = frozenset(j for j, (_, _, kind) in enumerate(kept) if kind == "prose")
    return Table(caption, [name for name, _, _ in kept], rows, numeric, prose)


def _effects(frame: pd.DataFrame, measure: Measure) -> list[tuple[str, Sequence[str | Cell], str]]:
    """Effect, interval and p; ratios also as a change in percent, which comes first."""
    ends = list(zip(frame["conf_low"], frame["conf_high"], strict=True))
    columns: list[tuple[str, Sequence[str | Cell], str]]
    if measure.ratio:
        columns = [
            ("Change", [measure.change(value) for value in frame["estimate"]], "number"),
            (INTERVAL, [measure.change_interval(*pair) for pair in ends], "number"),
            ("Rate ratio", [measure.value(value) for value in frame["estimate"]], "number"),
        ]
    else:
        columns = [
            ("Effect", [measure.value(value) for value in frame["estimate"]], "number"),
            (INTERVAL, [measure.interval(*pair) for pair in ends], "number"),
        ]
    if "p_value" in frame:
        smallest = frame["p_min"] if "p_min" in frame else [None] * len(frame)
        cells = [p_value(p, least) for p, least in zip(frame["p_value"], smallest, strict=True)]
        columns.append(("p", cells, "number"))
    return columns


def _remarks(frame: pd.DataFrame, measure: Measure) -> tuple[str, list[str], str]:
    return "Remarks", [capital(remark(row, ratio=measure.ratio)) for _, row in frame.iterrows()], "prose"


def _counts(frame: pd.DataFrame, name: str, heading: str) -> list[tuple[str, Sequence[str | Cell], str]]:
    return [(heading, [whole(value) for value in frame[name]], "number")] if name in frame else []


def waves_table(waves: pd.DataFrame) -> Table:
    """Which areas started when."""
    names = [clean(value) for value in waves["cohort"]]
    starts = [clean(value) for value in waves["first_period"]]
    # Waves are named by their first period unless the evaluation says otherwise.
    columns: list[tuple[str, Sequence[str | Cell], str]] = [("Wave", names, "")]
    columns += [("First period with the programme", starts, "")] if starts != names else []
    return _table(
        "Waves: the areas that started in the same period",
        [
            *columns,
            ("Areas", [whole(value) for value in waves["n_areas"]], "number"),
            ("Which areas", [clean(value) for value in waves["areas"]], "prose"),
        ],
    )


def wave_effects(effects: Estimate[Any]) -> Table:
    """Effect overall and per wave."""
    frame, measure = measured(effects)
    names = ["All waves" if row["group"] == "overall" else clean(row.get("cohort")) for _, row in frame.iterrows()]
    return _table(
        "Effect overall and per wave",
        [
            ("Wave", names, ""),
            *_effects(frame, measure),
            *_counts(frame, "n_treated", "Areas"),
            *_counts(frame, "n_control", "Comparison areas"),
            _remarks(frame, measure),
        ],
    )


def event_table(content: Study) -> Table:
    """The event study in numbers, with the simultaneous interval beside the pointwise one."""
    frame, measure = content.frame, content.measure
    columns: list[tuple[str, Sequence[str | Cell], str]] = [
        ("Periods since start", [number(value, 0) for value in frame["event_time"]], "number")
    ]
    # No p per period: the shape is what counts, and the joint test of the pre-periods stands among the checks.
    effects = _effects(frame.drop(columns="p_value"), measure)
    if content.banded:
        pairs = zip(frame["band_low"], frame["band_high"], strict=True)
        both = ("For all periods at once", [measure.natural_interval(*pair) for pair in pairs], "number")
        effects = [*effects[:2], both, *effects[2:]]
    return _table(
        "Effect by time since the start",
        [
            *columns,
            *effects,
            *_counts(frame, "n_treated", "Areas"),
            _remarks(frame, measure),
        ],
    )


def area_table(areas: Estimate[Any]) -> Table:
    """Effect per area, from the smallest to the largest."""
    frame, measure = measured(areas)
    frame = ordered(frame)
    columns: list[tuple[str, Sequence[str | Cell], str]] = [("Area", [clean(value) for value in frame["unit"]], "")]
    if "cohort" in frame:
        columns.append(("Wave", [clean(value) for value in frame["cohort"]], ""))
    return _table(
        "Effect per area, from the smallest to the largest",
        [
            *columns,
            *_effects(frame, measure),
            *_counts(frame, "n_placebo", "Placebo areas"),
            _remarks(frame, measure),
        ],
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


_VERDICTS = {
    "pass": Cell("Passed", "verdict pass"),
    "attention": Cell("Not passed", "verdict attention"),
    "not possible": Cell("Not possible", "verdict impossible"),
}


def checks_table(checks: pd.DataFrame) -> Table:
    """Every check with its question, finding and verdict in words."""
    verdict = [_VERDICTS.get(str(value), Cell(clean(value), "verdict")) for value in checks["verdict"]]
    return _table(
        "Checks of the design",
        [
            ("Check", [capital(clean(value)) for value in checks["check"]], ""),
            ("Verdict", verdict, ""),
            ("Question", [clean(value) for value in checks["question"]], "prose"),
            ("Finding", [capital(clean(value)) for value in checks["finding"]], "prose"),
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


def capital(words: str) -> str:
    """With a capital first letter."""
    return words if words[1:2] == " " else words[:1].upper() + words[1:]  # "p = 0.07" stays


def estimators_table(table: pd.DataFrame, measure: Measure) -> Table:
    """The overall effect by estimator."""
    return _table(
        "Overall effect by estimator",
        [
            ("Estimator", [clean(value).replace("_", " ") for value in table["estimator"]], ""),
            *_effects(table.drop(columns="p_value", errors="ignore"), measure),
        ],
    )


def difference_table(agreement: Estimate[Any]) -> Table:
    """Differences between estimators, with the standard error of the difference itself."""
    frame, measure = measured(agreement)
    unsized = frame.drop(columns="n_treated", errors="ignore")
    names = [str(name).replace("_", " ").replace(" - ", f" {MINUS} ") for name in term_names(unsized, agreement.labels)]
    columns: list[tuple[str, Sequence[str | Cell], str]] = _effects(frame, measure)
    words = {"Change": "Difference", "Effect": "Difference", "Rate ratio": "Ratio of the ratios"}
    columns = [(words.get(name, name), cells, kind) for name, cells, kind in columns]
    return _table("Difference between estimators", [("Comparison", names, ""), *columns, _remarks(frame, measure)])


def agreement_sentence(agreement: Estimate[Any] | None) -> str:
    """Whether the estimators differ by more than their joint uncertainty."""
    if agreement is None or len(agreement) == 0:
        return "No second estimator could be computed, so there is nothing to compare."
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
    return (
        "The difference between the estimators is within chance: its interval includes no difference. They use the "
        "same data, so this does not count as independent confirmation."
    )


# --- provenance ------------------------------------------------------------------------------------------------------


def parts_table(evaluation: EvaluationLike) -> Table:
    """Estimator, options and seed of every part."""
    parts = [
        ("Evaluation", evaluation.provenance),
        ("Effect overall, per wave, over time", evaluation.effects.provenance),
        ("Effect per area", evaluation.areas.provenance),
    ]
    if evaluation.agreement is not None:
        parts.append(("Agreement of estimators", evaluation.agreement.provenance))
    return _table(
        "How each part was computed",
        [
            ("Part", [name for name, _ in parts], ""),
            ("Estimator and steps", [_steps(source) for _, source in parts], "prose"),
            ("Seed", [NOTHING if source.seed is None else str(source.seed) for _, source in parts], "number"),
            ("Options", [_options(source.options) for _, source in parts], "prose"),
        ],
    )


def _steps(source: Provenance) -> str:
    return ", ".join([clean(source.estimator) or NOTHING, *map(clean, source.steps)])


def _options(options: Mapping[str, Any]) -> str:
    parts = [f"{clean(key)} = {_option(value)}" for key, value in options.items()]
    return "; ".join(parts) or NOTHING


def _option(value: Any) -> str:
    return _HASH.sub(r"\1…", clean(json.dumps(value, default=str, ensure_ascii=False)))


def identity(source: Provenance) -> list[tuple[str, str]]:
    """Versions and fingerprints."""
    seed = "none" if source.seed is None else str(source.seed)
    rows = [("Data fingerprint", source.data or NOTHING), ("Result digest", source.digest), ("Seed", seed)]
    return rows + [(clean(name), clean(version)) for name, version in source.versions.items()]


def left_out(evaluation: EvaluationLike) -> list[str]:
    """Notes of all parts, each once, and terms without an estimate."""
    parts = [evaluation.provenance, evaluation.effects.provenance, evaluation.areas.provenance]
    if evaluation.agreement is not None:
        parts.append(evaluation.agreement.provenance)
    notes = [clean(note) for source in parts for note in source.notes]
    unestimated = evaluation.areas.terms.loc[~np.isfinite(evaluation.areas.values), "unit"]
    if len(unestimated):
        names = ", ".join(map(clean, unestimated[:40])) + (", ..." if len(unestimated) > 40 else "")
        notes.append(f"No effect could be given for {counted(len(unestimated), 'area')}: {names}.")
    return list(dict.fromkeys(note for note in notes if note))
