"""The command line: sub-commands, options, exit codes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pmg_eval._version import __version__
from pmg_eval.cli._schema import NAMES, resolved, spec_schema

DEMO_NAMES = ("castle", "texas", "simulated")
# What the table [data] of a specification has and `check` does not take as an option.
_NOT_OPTIONS = ("file", "neighbors")

EXIT_CODES = """\
exit codes:
  0    done
  1    refused: the data or the design, or a package or permission is missing; the reason is on standard error
  2    the command line or the specification is wrong, or a file is not there
  3    a result exists already and --force was not given; nothing was computed
  130  interrupted; no half-written file is left
A traceback is an error of the program: please report it.
"""

_EVALUATE = """\
Evaluates what SPEC.toml says and writes a page (HTML) and the numbers (JSON). A small specification:

  [data]
  file = "counts.csv"
  unit = "municipality"
  time = "year"
  cohort = "start"          # first treated year; empty for areas without the programme
  never = "missing"
  exposure = "youth"

  [evaluation]
  outcome = "suspects"

All keys: pmg-eval schema spec. Columns that are labels (areas, clusters, regions, persons) are read as text, so that
0363 keeps its zero; list them in integers = ["municipality"] when they are whole numbers.
"""


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    common = argparse.ArgumentParser(add_help=False)
    # Before and after the sub-command; SUPPRESS: the second place must not undo the first.
    common.add_argument(
        "--quiet", action="store_true", default=argparse.SUPPRESS, help="no text and no progress bar, only errors"
    )
    top = argparse.ArgumentParser(
        prog="pmg-eval",
        description="Did an intervention work, overall and in each area? Reads files, writes files, sends nothing.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"pmg-eval {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _demo(commands, common)
    _evaluate(commands, common)
    _check(commands, common)
    _schema(commands, common)
    return top


def _add(commands: Any, common: argparse.ArgumentParser, name: str, help_: str, description: str) -> Any:
    return commands.add_parser(
        name,
        help=help_,
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
        allow_abbrev=False,
    )


def _demo(commands: Any, common: argparse.ArgumentParser) -> None:
    demo = _add(
        commands,
        common,
        "demo",
        "evaluate real and simulated data that come with the package",
        "castle: 21 states with a castle-doctrine law. texas: one state that doubled its prisons. simulated: a\n"
        "register and 340 municipalities of which 27 have a programme, with the true effects beside the estimates.",
    )
    # type instead of choices: argparse of Python 3.11 refuses the empty list that an optional list is by default
    demo.add_argument(
        "names", nargs="*", type=_demo_name, metavar="NAME", help=f"{', '.join(DEMO_NAMES)} (default: all)"
    )
    _writing(demo, "pmg-eval-demo")


def _demo_name(text: str) -> str:
    if text not in DEMO_NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(DEMO_NAMES)}")
    return text


def _evaluate(commands: Any, common: argparse.ArgumentParser) -> None:
    evaluate = _add(commands, common, "evaluate", "evaluate what a specification says", _EVALUATE)
    evaluate.add_argument("spec", type=Path, metavar="SPEC.toml", help="the specification")
    _writing(evaluate, ".")


def _writing(command: argparse.ArgumentParser, folder: str) -> None:
    command.add_argument(
        "--out", type=Path, default=Path(folder), metavar="DIR", help=f"folder for the files (default: {folder})"
    )
    command.add_argument("--force", action="store_true", help="replace files that exist")
    command.add_argument(
        "--n-jobs", type=_jobs, default=1, metavar="N", help="processes, -1 for every core (default: 1); same results"
    )


def _jobs(text: str) -> int:
    number = int(text)
    if number == 0 or number < -1:
        raise argparse.ArgumentTypeError("give 1 or more processes, or -1 for every core")
    return number


def _check(commands: Any, common: argparse.ArgumentParser) -> None:
    check = _add(
        commands,
        common,
        "check",
        "read data and say what is there or what is wrong; writes nothing",
        "Reads DATA (.csv, .tsv, .parquet) with the roles given here, or what a specification (.toml) names, and\n"
        "prints the panel, or every problem found with what to do. Nothing is computed or written.",
    )
    check.add_argument("file", type=Path, metavar="DATA", help="a data file, or a specification (.toml)")
    check.add_argument("--outcome", metavar="COLUMN", help="column of the outcome")
    root = spec_schema()
    for name, given in root["properties"]["data"]["properties"].items():
        if name in _NOT_OPTIONS:
            continue
        schema = resolved(given, root)
        options: dict[str, Any] = {"dest": name, "default": None, "help": schema["description"].replace("%", "%%")}
        if name == "selection_window":
            options |= {"nargs": 2, "metavar": ("FIRST", "LAST")}
        elif "array" in schema.get("type", ()):
            options |= {"nargs": "+", "metavar": "TEXT" if name == "na" else "COLUMN"}
        elif "enum" in schema:
            options |= {"choices": schema["enum"]}
        else:
            options |= {"metavar": "COLUMN" if given.get("$ref") == "#/$defs/column" else "TEXT"}
        check.add_argument("--" + name.replace("_", "-"), **options)


def given_roles(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of ``check`` as the table ``[data]`` of a specification."""
    names = spec_schema()["properties"]["data"]["properties"]
    given = {name: value for name, value in vars(arguments).items() if name in names and name != "file"}
    given = {name: value for name, value in given.items() if value is not None}
    for name in ("never", "selection_window"):
        if name in given:
            given[name] = (
                [_number(text) for text in given[name]] if name == "selection_window" else _number(given[name])
            )
    return given


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _schema(commands: Any, common: argparse.ArgumentParser) -> None:
    schema = _add(
        commands,
        common,
        "schema",
        "print a JSON schema",
        "Prints the JSON schema of a specification (spec), or of what is written (evaluation; estimate).",
    )
    schema.add_argument("name", nargs="?", choices=NAMES, default="spec", help="default: spec")
