"""One self-contained page about one evaluation."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pmg_eval.report import _parts as parts
from pmg_eval.report import _sections as sections
from pmg_eval.report import _sections_source as source
from pmg_eval.report._columns import capital
from pmg_eval.report._extra import require
from pmg_eval.report._like import EvaluationLike
from pmg_eval.report._svg import default_style
from pmg_eval.report._words import clean

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = "pmg_eval.report"
_CONTENTS = (
    ("summary", "Summary"),
    ("data", "Data"),
    ("overall", "Effect overall and per wave"),
    ("event-study", "Event study"),
    ("areas", "Effect per area"),
    ("paths", "Observed and synthetic path"),
    ("checks", "Checks"),
    ("agreement", "Agreement of estimators"),
    ("recidivism", "Persons with a new event"),
    ("assumptions", "Assumptions and references"),
    ("notes", "Notes and what was left out"),
    ("provenance", "Provenance"),
)


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
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    loader = FunctionLoader(_resource)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=loader
    )
    return environment.get_template("page.html.jinja")


@cache
def _resource(name: str) -> str:
    return files(_TEMPLATES).joinpath("templates", name).read_text(encoding="utf-8")


def _context(evaluation: EvaluationLike) -> dict[str, Any]:
    from markupsafe import Markup

    record = evaluation.provenance
    waves = parts.shown("waves", sections.waves_table(evaluation.waves)) if len(evaluation.waves) else None
    context = {
        "style": Markup(_resource("page.css")),  # noqa: S704 (a file of this package)
        "title": clean(evaluation.title) or "Evaluation",
        "outcome": clean(evaluation.outcome),
        "brief": sections.brief(evaluation),
        "figures": sections.key_figures(evaluation),
        "limits": sections.limits(evaluation),
        "facts": [(capital(clean(name)), clean(value)) for name, value in evaluation.data.items()],
        "waves": waves,
        "overall": parts.overall(evaluation),
        "event": parts.event(evaluation),
        "areas": parts.areas(evaluation),
        "paths": parts.paths(evaluation),
        "checks": parts.checks(evaluation),
        "agreement": parts.agreement(evaluation),
        "recidivism": parts.recidivism(evaluation),
        "assumptions": [clean(text) for text in record.assumptions],
        "references": [clean(doi) for doi in record.references],
        "notes": source.left_out(evaluation),
        "parts": parts.shown("parts", source.parts_table(evaluation)),
        "identity": source.identity(record),
        "version": clean(record.versions.get("pmg_eval", "")),
        "ratio": evaluation.effects.scale == "log",
    }
    return context | {"contents": _contents(context, evaluation.kind)}


def _contents(context: dict[str, Any], kind: str) -> list[tuple[str, str]]:
    """Sections in order; of one area the paths come first, and what an evaluation does not have is not announced."""
    optional = [name for name in ("paths", "recidivism") if context[name] is None]
    shown = [pair for pair in _CONTENTS if pair[0] not in optional]
    if kind == "one":
        shown.sort(key=lambda pair: {"summary": 0, "paths": 1}.get(pair[0], 2))
    return shown
