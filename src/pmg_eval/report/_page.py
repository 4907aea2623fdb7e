"""One self-contained page about one evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from pmg_eval.estimate import Estimate
from pmg_eval.report import _sections as sections
from pmg_eval.report._event_study import Study, event_study, event_study_text, study
from pmg_eval.report._extra import require
from pmg_eval.report._forest import forest, forest_text
from pmg_eval.report._sections import LEVEL, EvaluationLike
from pmg_eval.report._style import NARROW, WIDE
from pmg_eval.report._svg import default_style, inline
from pmg_eval.report._tables import Table
from pmg_eval.report._words import Measure, clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from jinja2 import Template
    from markupsafe import Markup
    from matplotlib.figure import Figure

_TEMPLATES = "pmg_eval.report"


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


def page(evaluation: EvaluationLike) -> str:
    """An evaluation as one HTML page that loads nothing and runs nothing.

    Every label is escaped. The page forbids itself any request and any script (a content security policy), reads on a
    phone, prints, and gives each figure in words and as a table too. The same evaluation gives the same bytes.

    Parameters
    ----------
    evaluation : Evaluation
        What ``pmg_eval.evaluate`` returned.

    Returns
    -------
    str
        The page; :func:`pmg_eval.report.write_text` writes it.

    Raises
    ------
    DataError
        ``PMG-EXTRA`` without jinja2 or matplotlib.
    """
    require("jinja2")
    require("matplotlib")
    with default_style():
        context = _context(evaluation)
    return _template().render(context)


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_resource("page.html.jinja"))


@cache
def _resource(name: str) -> str:
    return files(_TEMPLATES).joinpath("templates", name).read_text(encoding="utf-8")


def _context(evaluation: EvaluationLike) -> dict[str, Any]:
    from markupsafe import Markup

    source = evaluation.provenance
    return {
        "style": Markup(_resource("page.css")),  # noqa: S704 (a file of this package)
        "title": clean(evaluation.title) or "Evaluation",
        "outcome": clean(evaluation.outcome),
        "headline": clean(evaluation.headline),
        "figures": sections.key_figures(evaluation),
        "limits": sections.limits(evaluation),
        "facts": [(sections.capital(clean(name)), clean(value)) for name, value in evaluation.data.items()],
        "waves": _shown("waves", sections.waves_table(evaluation.waves)) if len(evaluation.waves) else None,
        "overall": _overall(evaluation),
        "event": _event(evaluation),
        "areas": _areas(evaluation),
        "checks": _checks(evaluation),
        "agreement": _agreement(evaluation),
        "assumptions": [clean(text) for text in source.assumptions],
        "references": [clean(doi) for doi in source.references],
        "notes": sections.left_out(evaluation),
        "parts": _shown("parts", sections.parts_table(evaluation)),
        "identity": sections.identity(source),
        "version": clean(source.versions.get("pmg_eval", "")),
        "ratio": evaluation.effects.scale == "log",
    }


def _shown(name: str, table: Table) -> Shown:
    from markupsafe import Markup

    markup = Markup(table.html(name))  # noqa: S704 (escaped by Table)
    return Shown(name, markup, table.caption, len(table.rows), table.long)


def _picture(name: str, draw: Callable[[float], Figure], title: str, words: str, caption: str) -> Picture:
    from markupsafe import Markup

    wide, narrow = (
        Markup(inline(draw(width), f"{name}-{kind}", title, words, kind))  # noqa: S704 (escaped by the XML writer)
        for kind, width in (("wide", WIDE), ("narrow", NARROW))
    )
    return Picture(wide, narrow, caption)


def _overall(evaluation: EvaluationLike) -> dict[str, Any] | None:
    part = sections.group(evaluation.effects, "overall", "cohort")
    if len(part) == 0:
        return None
    shown: dict[str, Any] = {"table": _shown("overall", sections.wave_effects(part)), "picture": None}
    if len(part) > 2 and np.isfinite(part.values).any():
        frame, measure = sections.measured(part)
        shown["picture"] = _picture(
            "overall-figure",
            lambda width: forest(part, level=LEVEL, width=width, sort=False),
            "Effect overall and per wave",
            forest_text(frame, measure, "row"),
            "Effect over all waves and per wave. The bar is the 95 % interval; the vertical line is no effect. "
            "An arrow means that the interval goes on outside the figure.",
        )
    return shown


def _event(evaluation: EvaluationLike) -> dict[str, Any] | None:
    part = sections.group(evaluation.effects, "event_time")
    if len(part) == 0:
        return None
    band = evaluation.band if {"event_time", "conf_low", "conf_high"} <= set(evaluation.band.columns) else None
    content: Study = study(part, band, LEVEL)
    caption = "Before the start, points near the line of no effect mean that the areas moved together. "
    caption += "The bar is the 95 % interval of one period. "
    if content.banded:
        caption += (
            "The shaded box holds for all periods at once: read the shape of the curve from it. "
            "A box without an edge, or a bar with an arrow, goes on outside the figure. "
        )
    return {
        "table": _shown("event", sections.event_table(content)),
        "picture": _picture(
            "event-figure",
            lambda width: event_study(part, band, level=LEVEL, width=width),
            "Effect by time since the start",
            event_study_text(content),
            caption + "Under the axis: the number of areas behind each point.",
        ),
        "banded": content.banded,
    }


def _areas(evaluation: EvaluationLike) -> dict[str, Any] | None:
    areas: Estimate[Any] = evaluation.areas
    if len(areas) == 0:
        return None
    frame, measure = sections.measured(areas)
    return {
        "table": _shown("areas", sections.area_table(areas)),
        "notes": sections.area_notes(areas),
        "picture": _picture(
            "areas-figure",
            lambda width: forest(areas, level=LEVEL, width=width),
            "Effect per area",
            forest_text(frame, measure),
            "Areas from the smallest to the largest effect. The bar is the 95 % interval; the vertical line is no "
            "effect. Shapes say whether the interval includes it; an arrow means that it goes on outside the figure.",
        ),
    }


def _checks(evaluation: EvaluationLike) -> dict[str, Any]:
    checks = evaluation.checks
    table = _shown("checks", sections.checks_table(checks)) if len(checks) else None
    return {"sentence": sections.checks_sentence(checks), "table": table}


def _agreement(evaluation: EvaluationLike) -> dict[str, Any]:
    scale = evaluation.effects.scale
    table = evaluation.agreement_table
    sentence = sections.agreement_sentence(evaluation.agreement)
    shown: dict[str, Any] = {"sentence": sentence, "table": None, "difference": None}
    if len(table):
        numbers = table.assign(**{n: table[n].astype("float64") for n in ("estimate", "conf_low", "conf_high")})
        shown["table"] = _shown("agreement", sections.estimators_table(numbers, Measure.of(numbers, scale)))
    if evaluation.agreement is not None and len(evaluation.agreement):
        shown["difference"] = _shown("difference", sections.difference_table(evaluation.agreement))
    return shown
