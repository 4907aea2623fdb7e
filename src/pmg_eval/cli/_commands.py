"""What the sub-commands do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pmg_eval.cli._bar import progress
from pmg_eval.cli._job import Job
from pmg_eval.cli._read import read_table
from pmg_eval.cli._show import Out, evaluation_text, files_text, panel_text, paragraph, warnings_text
from pmg_eval.cli._spec import Source, Spec, check_data, panel_options, read_spec, source
from pmg_eval.cli._write import reserve, write
from pmg_eval.errors import DesignError, PmgEvalError, PmgEvalWarning
from pmg_eval.panel import Panel

if TYPE_CHECKING:
    from pmg_eval.evaluation import Evaluation

_T = TypeVar("_T")


def evaluate_spec(path: Path, folder: Path, out: Out, *, force: bool, n_jobs: int) -> None:
    """Evaluate what a specification says and write page and numbers."""
    spec = read_spec(path)
    html, json = reserve(folder, [spec.html, spec.json], force=force)
    panel = read_panel(spec.data)
    if panel.notes:
        out.say("\n".join(paragraph(str(note), "note: ") for note in panel.notes) + "\n")
    options = {**_evaluation_options(spec), **_spells_options(spec), "n_jobs": n_jobs}
    job = Job(panel, spec.evaluation["outcome"], options)
    result = _observed(job, out)
    write(result, html, json, force=force)
    out.say(evaluation_text(result) + "\n")
    out.say(files_text([html, json]))


def demonstrate(names: list[str], folder: Path, out: Out, *, force: bool, n_jobs: int) -> None:
    """Evaluate the demonstration data and write a page and numbers for each."""
    from pmg_eval.cli._demos import DEMOS

    files = reserve(folder, [f"{name}.{kind}" for name in names for kind in ("html", "json")], force=force)
    for name, html, json in zip(names, files[::2], files[1::2], strict=True):
        out.say(f"{DEMOS[name].title} ...\n")
        job = DEMOS[name].make()
        result = _observed(replace(job, options={**job.options, "n_jobs": n_jobs}), out)
        write(result, html, json, force=force)
        out.say(evaluation_text(result) + "\n")
    out.say(files_text(files))


def check_spec(path: Path, out: Out) -> None:
    """Read what a specification names and say what is there, or everything that ``evaluate`` would refuse.

    Nothing is computed or written.
    """
    spec = read_spec(path)
    outcome = spec.evaluation["outcome"]
    refused: list[PmgEvalError] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PmgEvalWarning)
        panel = _tried(lambda: read_panel(spec.data), refused)
        complete = None if panel is None else _tried(lambda: panel.for_outcome(outcome), refused)
        persons = _tried(lambda: _spells_options(spec), refused)
        if panel is not None:
            refused += _evaluation_refusals(panel, outcome, _evaluation_options(spec), persons or {})
    if refused or complete is None:
        raise type(refused[0]).of(problem for error in refused for problem in error.problems)
    _say(complete, caught, out)
    if persons:
        out.say(f"\n{persons['spells']!r}\n")
    out.say("No problem found.")


def _evaluation_refusals(
    panel: Panel, outcome: str, options: Mapping[str, Any], persons: Mapping[str, Any]
) -> list[PmgEvalError]:
    """What ``evaluate`` would refuse before any work; option by option, so that all mistakes come in one report."""
    from pmg_eval.evaluation._door import need_evaluation

    refused: list[PmgEvalError] = []
    for given in [{name: value} for name, value in options.items()] + [dict(persons)]:
        _tried(partial(need_evaluation, panel, outcome, **given), refused)
    # the estimators say the same, but only when they run
    before = panel.cohort - options.get("anticipation", 0) - panel.time_codes[0]
    if not (before[np.isfinite(panel.cohort)] > 0).any():
        what = f"no treated area has a period earlier than {options['anticipation']} period(s) before its start"
        refused.append(DesignError("PMG-NO-UNTREATED", what, fix="a smaller anticipation, or earlier periods"))
    return refused


def check_file(path: Path, given: Mapping[str, Any], outcome: str | None, out: Out) -> None:
    """The same for a data file whose roles stand on the command line."""
    table = {"file": str(path), **given}
    check_data(table)
    _check(source(table, Path()), outcome, out)


def _check(data: Source, outcome: str | None, out: Out) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PmgEvalWarning)
        panel = read_panel(data)
        if outcome is not None:
            panel = panel.for_outcome(outcome)
    _say(panel, caught, out)
    out.say(
        "No problem found." + ("" if outcome is not None else " (No outcome was named: its column was not checked.)")
    )


def _say(panel: Panel, caught: Sequence[warnings.WarningMessage], out: Out) -> None:
    out.say(panel_text(panel))
    if caught:
        out.say(warnings_text(caught))


def _tried(make: Callable[[], _T], refused: list[PmgEvalError]) -> _T | None:
    """The result; a refusal goes to the list, so that the rest is looked at as well."""
    try:
        return make()
    except PmgEvalError as error:
        refused.append(error)
        return None


def read_panel(data: Source) -> Panel:
    """The panel of a file."""
    labels = data.columns("unit", "cluster", "region")
    dates = data.columns("time", "cohort", "contaminated_from") if "freq" in data.roles else ()
    return Panel(read_table(data, labels, dates), **panel_options(data))


def read_spells(data: Source) -> Any:
    """The spells of a file."""
    from pmg_eval.panel import Spells

    return Spells(read_table(data, data.columns("person", "cause", "group", "cluster")), **data.roles)


def _evaluation_options(spec: Spec) -> dict[str, Any]:
    names = {"seed": "rng"}
    return {names.get(key, key): value for key, value in spec.evaluation.items() if key != "outcome"}


def _spells_options(spec: Spec) -> dict[str, Any]:
    if spec.spells is None:
        return {}
    horizons = {"horizons": spec.horizons} if spec.horizons else {}
    return {"spells": read_spells(spec.spells), **horizons}


def _observed(job: Job, out: Out) -> Evaluation:
    """Run with a progress bar; warnings of the library are read to the end and shown once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PmgEvalWarning)
        with progress(out.stderr, quiet=out.quiet):
            result = job.run()
    if caught:
        out.say(warnings_text(caught) + "\n")
    return result
