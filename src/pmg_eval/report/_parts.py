"""The sections of a page: what each one shows, as tables, pictures and words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate
from pmg_eval.report import _sections_agreement as agreed
from pmg_eval.report import _sections_effects as effects
from pmg_eval.report import _sections_inference as law
from pmg_eval.report import _sections_recidivism as persons
from pmg_eval.report import _sections_synth as synthetic
from pmg_eval.report._beside import Beside, beside, beside_text
from pmg_eval.report._canvas import has_intervals
from pmg_eval.report._columns import floats
from pmg_eval.report._curves import curves
from pmg_eval.report._event_study import Study, event_study, event_study_text, study
from pmg_eval.report._forest import forest, forest_text
from pmg_eval.report._incidence import Incidence, incidence_text, incidences
from pmg_eval.report._like import LEVEL, EvaluationLike, group, measured
from pmg_eval.report._panels import MOST, panels, same_span
from pmg_eval.report._path_plot import path_plot
from pmg_eval.report._paths import Paths, paths_text
from pmg_eval.report._sections import checks_sentence, checks_table
from pmg_eval.report._style import NARROW, WIDE
from pmg_eval.report._svg import inline
from pmg_eval.report._tables import Table
from pmg_eval.report._truth import Truth, coverage_words
from pmg_eval.report._words import Measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from markupsafe import Markup
    from matplotlib.figure import Figure

Part = dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """A figure at the two widths of a page (a style rule shows one of them), with its caption."""

    wide: Markup
    narrow: Markup
    caption: str


@dataclass(frozen=True)
class Shown:
    """A rendered table: its markup, an id, and whether it is folded away."""

    name: str
    markup: Markup
    caption: str
    rows: int
    folded: bool
    notes: Sequence[str]


def shown(name: str, table: Table) -> Shown:
    """A table as it stands on the page."""
    from markupsafe import Markup

    markup = Markup(table.html(name))  # noqa: S704 (escaped by Table)
    return Shown(name, markup, table.caption, len(table.rows), table.long, table.notes)


def picture(name: str, draw: Callable[[float], Figure], title: str, words: str, caption: str) -> Picture:
    """A figure drawn at both widths."""
    from markupsafe import Markup

    wide, narrow = (
        Markup(inline(draw(width), f"{name}-{kind}", title, words, kind))  # noqa: S704 (escaped by the XML writer)
        for kind, width in (("wide", WIDE), ("narrow", NARROW))
    )
    return Picture(wide, narrow, caption)


def _lines(frame: pd.DataFrame, shapes: str = "") -> str:
    """What the lines of a forest plot are."""
    if not has_intervals(frame):
        return "No interval can be given. The vertical line is no effect."
    said = f"The bar is the 95 % interval; the vertical line is no effect.{shapes}"
    return f"{said} An arrow means that the interval goes on outside the figure."


_TRUTH = " The upright line is the true effect."


def overall(evaluation: EvaluationLike) -> Part | None:
    """The effect over all waves and per wave."""
    part = group(evaluation.effects, "overall", "cohort")
    if len(part) == 0:
        return None
    frame, measure = measured(part)
    truth = Truth.of(evaluation.truth).of_waves(frame)
    found: Part = {
        "table": shown("overall", effects.wave_effects(part, truth)),
        "picture": None,
        "inference": None,
        "sentence": law.inference_sentence(evaluation.inference) if len(evaluation.inference) else "",
    }
    if len(evaluation.inference):
        found["inference"] = shown("inference", law.inference_table(evaluation.inference, part.scale))
    if len(part) > 2 and np.isfinite(part.values).any():
        caption = f"Effect over all waves and per wave. {_lines(frame)}"
        found["picture"] = picture(
            "overall-figure",
            lambda width: forest(part, level=LEVEL, width=width, sort=False, truth=truth),
            "Effect overall and per wave",
            forest_text(frame, measure, "row"),
            caption + (_TRUTH if np.isfinite(truth).any() else ""),
        )
    return found


def event(evaluation: EvaluationLike) -> Part | None:
    """Effects by time since the start."""
    part = group(evaluation.effects, "event_time")
    if len(part) == 0:
        return None
    band = evaluation.band if {"event_time", "conf_low", "conf_high"} <= set(evaluation.band.columns) else None
    content: Study = study(part, band, LEVEL)
    caption = "Before the start, points near the line of no effect mean that the areas moved together. "
    if has_intervals(content.frame):
        caption += "The bar is the 95 % interval of one period. "
    if content.banded:
        caption += (
            "The shaded box holds for all periods at once: read the shape of the curve from it. "
            "A box without an edge, or a bar with an arrow, goes on outside the figure. "
        )
    return {
        "table": shown("event", effects.event_table(content)),
        "picture": picture(
            "event-figure",
            lambda width: event_study(part, band, level=LEVEL, width=width),
            "Effect by time since the start",
            event_study_text(content),
            caption + "Under the axis: the number of areas behind each point.",
        ),
        "banded": content.banded,
    }


def areas(evaluation: EvaluationLike) -> Part | None:
    """The effect per area, and the truth beside it where it is known."""
    part = evaluation.areas
    if len(part) == 0:
        return None
    frame, measure = measured(part)
    truth = Truth.of(evaluation.truth).of_areas(frame)
    covered = coverage_words(frame.assign(truth=truth))
    words = forest_text(frame, measure)
    caption = f"Areas from the smallest to the largest effect. {_lines(frame, ' Shapes say whether it includes that.')}"
    together = evaluation.league
    return {
        "league": shown("league", effects.league_table(together, part.scale)) if len(together) else None,
        "league_note": effects.LEAGUE_NOTE,
        "table": shown("areas", effects.area_table(part, truth)),
        "notes": effects.area_notes(part),
        "truth": covered,
        "picture": picture(
            "areas-figure",
            lambda width: forest(part, level=LEVEL, width=width, truth=truth),
            "Effect per area",
            f"{covered} {words}" if covered else words,
            caption + (_TRUTH if covered else ""),
        ),
    }


def checks(evaluation: EvaluationLike) -> Part:
    """Verdicts of the checks."""
    found = evaluation.checks
    table = shown("checks", checks_table(found)) if len(found) else None
    return {"sentence": checks_sentence(found), "table": table}


def agreement(evaluation: EvaluationLike) -> Part:
    """Estimators side by side, overall, per wave and per area."""
    scale = evaluation.effects.scale
    found: Part = {
        "sentence": agreed.agreement_sentence(evaluation.agreement),
        "table": None,
        "difference": None,
        "waves": None,
        "areas": None,
    }
    if len(evaluation.wave_agreement):
        found["waves"] = _wave_agreement(Beside.of_waves(evaluation.wave_agreement, scale))
    else:
        table = evaluation.agreement_table
        if len(table):
            numbers = floats(table, "estimate", "conf_low", "conf_high")
            found["table"] = shown("agreement", agreed.estimators_table(numbers, Measure.of(numbers, scale)))
        if evaluation.agreement is not None and len(evaluation.agreement):
            found["difference"] = shown("difference", agreed.difference_table(evaluation.agreement))
    if len(evaluation.area_agreement):
        found["areas"] = _area_agreement(Beside.of_areas(evaluation.area_agreement, evaluation.areas.scale))
    return found


def _beside_caption(content: Beside) -> str:
    said = f"{content.estimators[0]} is the headline. Shapes and colors tell the estimators apart"
    if not has_intervals(content.frame):
        return f"{said}; no interval can be given."
    return (
        f"{said}; the bar is the 95 % interval, an open shape has none, and an arrow means that it goes on outside the "
        "figure."
    )


def _wave_agreement(content: Beside) -> Part:
    found: Part = {"table": shown("wave-agreement", agreed.wave_agreement_table(content)), "picture": None}
    if len(content.estimators) > 1 and np.isfinite(content.frame["estimate"]).any():
        found["picture"] = picture(
            "wave-agreement-figure",
            lambda width: beside(content, width=width),
            "Estimators side by side, overall and per wave",
            beside_text(content, "row"),
            _beside_caption(content),
        )
    return found


def _area_agreement(content: Beside) -> Part:
    found: Part = {
        "sentence": agreed.area_agreement_sentence(content),
        "table": shown("area-agreement", agreed.area_agreement_table(content)),
        "picture": None,
    }
    if len(content.estimators) > 1 and np.isfinite(content.frame["estimate"]).any():
        found["picture"] = picture(
            "area-agreement-figure",
            lambda width: beside(content, width=width),
            "Estimators side by side, per area",
            beside_text(content, "area"),
            f"Areas from the smallest to the largest effect of the headline. {_beside_caption(content)}",
        )
    return found


def paths(evaluation: EvaluationLike) -> Part | None:
    """Observed and synthetic paths, and whether areas can be imitated at all."""
    content = Paths.of(
        evaluation.paths, evaluation.areas, rate=evaluation.family == "poisson", outcome=evaluation.outcome
    )
    hull = evaluation.hull
    if len(content) == 0 and len(hull) == 0:
        return None
    found: Part = {"picture": None, "table": None, "hull": None, "hull_sentence": "", "rate": content.rate}
    if len(content):
        found["table"] = shown("paths", synthetic.paths_table(content))
        found["picture"] = _path_picture(content)
    if len(hull):
        found["hull"] = shown("hull", synthetic.hull_table(hull, ratio=content.rate))
        found["hull_sentence"] = synthetic.hull_sentence(hull)
    return found


def _path_picture(content: Paths) -> Picture:
    if len(content) == 1:
        return picture(
            "paths-figure",
            lambda width: path_plot(content, width=width),
            f"{content.paths[0].unit}: observed and synthetic path",
            paths_text(content),
            f"The synthetic path is that of {synthetic.METHOD}. Before the start, the two lines should run alongside "
            "each other: the better they do, the more the shaded gap after it says. Below: the gap by itself.",
        )
    caption = (
        "One chart per area, from the smallest to the largest effect; the number beside a name is the effect of the "
        f"headline. The synthetic path is that of {synthetic.METHOD}. The shaded part between the lines is the gap "
        "after the start. "
    )
    caption += (
        "Every chart has a level of its own, and all cover the same range: equal gaps look equally large."
        if same_span(content)
        else "Every chart has a scale of its own: do not compare the size of gaps between charts by eye."
    )
    if len(content) > MOST:
        caption += f" {len(content) - MOST} areas in the middle of the order are not drawn; the table has them."
    return picture(
        "paths-figure",
        lambda width: panels(content, width=width),
        "Observed and synthetic path per area",
        paths_text(content),
        caption,
    )


def recidivism(evaluation: EvaluationLike) -> Part | None:
    """Share of persons with a new event."""
    estimate = evaluation.recidivism
    if estimate is None or len(estimate) == 0:
        return None
    found = [_curve_picture(position, content, estimate) for position, content in enumerate(incidences(estimate))]
    return {
        "pictures": found,
        "table": shown("recidivism", persons.horizons_table(estimate)),
        "notes": persons.recidivism_notes(estimate),
    }


def _curve_picture(position: int, content: Incidence, estimate: Estimate[Any]) -> Picture:
    of = f" ({content.cause})" if content.cause else ""
    caption = (
        f"Share of persons with the event{of}. The shaded bands are 95 % intervals for one moment at a time; groups "
        "differ by color and dashes. Under the axis: persons at risk at the first event of any kind on or after that "
        "time (a dash: there is no later event)."
    )
    if content.left_out:
        caption += f" {content.left_out} further groups are in the table only."
    return picture(
        f"recidivism-figure-{position}",
        lambda width: curves(content, width=width),
        f"Share of persons with the event{of}",
        incidence_text(content, estimate),
        caption,
    )


__all__ = [
    "Part",
    "Picture",
    "Shown",
    "agreement",
    "areas",
    "checks",
    "event",
    "overall",
    "paths",
    "picture",
    "recidivism",
    "shown",
]
