"""``python -m pmg_eval.verify``: run the cases, say how they came out, write the certificate."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pmg_eval.errors import DataError, PmgEvalError
from pmg_eval.report import write_text
from pmg_eval.verify import Certificate, Checked, certify, read

PASSED, FAILED, USAGE = 0, 1, 2

_AFTER = """exit codes: 0 every case passed and no file is changed; 1 a case failed or a file is changed; 2 a path or a
file of cases cannot be used. Nothing is sent anywhere, and nothing is written but the files asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verification; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pmg_eval.verify",
        description="Recompute known numbers with this installation; compare its files with the wheel they came from.",
        epilog=_AFTER,
    )
    parser.add_argument("--html", metavar="PATH", help="write the certificate as a page")
    parser.add_argument("--json", metavar="PATH", help="write the certificate as JSON")
    parser.add_argument("--cases", metavar="PATH", help="add your own cases (docs/verify.md)")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument("--quiet", action="store_true", help="print failures and the summary only")
    options = parser.parse_args(arguments)
    try:
        _reserve([path for path in (options.html, options.json) if path], force=options.force)
        own = read(options.cases) if options.cases else ()
        certificate = certify(own, tell=None if options.quiet else _say)
        for path, text in ((options.json, certificate.to_json), (options.html, certificate.to_html)):
            if path:
                write_text(path, text(), overwrite=options.force)
    except PmgEvalError as refused:
        sys.stderr.write(f"{refused}\n")
        return USAGE
    _summarize(certificate)
    return PASSED if certificate.passed else FAILED


def _reserve(paths: Sequence[str], *, force: bool) -> None:
    """Refuse before the work, not after it."""
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise DataError("PMG-PATH", "the page and the numbers have the same path", where=paths)
    for path in map(Path, paths):
        if path.is_dir() or not path.parent.is_dir():
            raise DataError("PMG-PATH", "no file can be written there", where=[str(path)], fix="make its folder first")
        if os.path.lexists(path) and not force:
            raise DataError("PMG-EXISTS", "the file exists already", where=[str(path)], fix="--force replaces it")


def _say(case: Checked) -> None:
    digits = "" if case.digits != case.digits else f"{case.digits:4.1f} digits"
    sys.stdout.write(f"{case.status:8}{case.id:42}{digits:12}{case.seconds:6.2f} s{_because(case)}\n")
    sys.stdout.flush()


def _because(case: Checked) -> str:
    return f"  {case.reason}" if case.reason else ""


def _summarize(certificate: Certificate) -> None:
    counts = certificate.counts
    files = certificate.files
    lines = [f"FAILED {case.id}: {case.reason}" for case in certificate.failed]
    lines += [f"FILE {problem}" for problem in files.problems]
    lines.append(f"files: {files.status}" + (f" ({files.reason})" if files.reason else f", {files.compared} compared"))
    lines.append(
        f"pmg_eval {certificate.version}, {certificate.date}: {counts['pass']} passed, {counts['fail']} failed, "
        f"{counts['skipped']} not run, {sum(case.seconds for case in certificate.cases):.1f} s"
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
