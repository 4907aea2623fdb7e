"""From arguments to an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pmg_eval.cli._parser import DEMO_NAMES, given_roles, parser
from pmg_eval.cli._schema import schema_text
from pmg_eval.cli._show import Out, error_text
from pmg_eval.errors import DataError, PmgEvalError

DONE, REFUSED, USAGE, EXISTS, INTERRUPTED = 0, 1, 2, 3, 130
_USAGE_CODES = ("PMG-SPEC", "PMG-FILE", "PMG-PATH")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``pmg-eval``.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Returns
    -------
    int
        The exit code (``pmg-eval --help`` lists them). A wrong command line exits with 2 by ``SystemExit``, as argparse
        does.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a sign must not end the work
    given = parser().parse_args(arguments)
    out = Out(sys.stdout, sys.stderr, quiet=getattr(given, "quiet", False))
    try:
        _run(given, out)
    except PmgEvalError as error:
        out.complain(error_text(error))
        return exit_code(error)
    except KeyboardInterrupt:
        out.complain("interrupted; no half-written file is left")
        return INTERRUPTED
    except BrokenPipeError:
        # the reader has gone (`pmg-eval schema | head`); Python must not complain again when it closes the stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as refused:  # a full disk, a folder without permission
        out.complain(f"error: {refused.strerror or type(refused).__name__}: {refused.filename or 'a file'}")
        return REFUSED
    return DONE


def exit_code(error: PmgEvalError) -> int:
    """The exit code of an error."""
    if error.code == "PMG-EXISTS":
        return EXISTS
    return USAGE if error.code.startswith(_USAGE_CODES) else REFUSED


def _run(given: argparse.Namespace, out: Out) -> None:
    # imported here: --help and --version need no statistics
    from pmg_eval.cli import _commands as commands

    match given.command:
        case "demo":
            names = list(dict.fromkeys(given.names)) or list(DEMO_NAMES)
            commands.demonstrate(names, given.out, out, force=given.force, n_jobs=given.n_jobs)
        case "evaluate":
            commands.evaluate_spec(given.spec, given.out, out, force=given.force, n_jobs=given.n_jobs)
        case "check" if given.file.suffix == ".toml":
            _nothing_else(given)
            commands.check_spec(given.file, out)
        case "check":
            commands.check_file(given.file, given_roles(given), given.outcome, out)
        case _:
            out.give(schema_text(given.name))


def _nothing_else(given: argparse.Namespace) -> None:
    """With a specification, what is said on the command line as well would be ignored: refuse it."""
    named = ["--" + name.replace("_", "-") for name in given_roles(given)]
    named += ["--outcome"] if given.outcome is not None else []
    if named:
        raise DataError("PMG-SPEC-KEY", "options that a specification says itself", where=named, fix="leave them out")
