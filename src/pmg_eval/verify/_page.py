"""The certificate as a page: one file, no script, every text escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from pmg_eval.verify._case import Checked, Kind

if TYPE_CHECKING:
    from pmg_eval.verify._certificate import Certificate

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_GROUPS: dict[Kind, tuple[str, str]] = {
    "by hand": ("hand", "Worked out by hand"),
    "reference": ("reference", "Numbers of other packages"),
    "stored": ("stored", "Results stored by this package"),
    "own": ("own", "Your own cases"),
}
_VERDICT = {"pass": ("pass", "pass"), "fail": ("attention", "fail"), "skipped": ("impossible", "not run")}


def page(certificate: Certificate) -> str:
    """HTML text."""
    style = files("pmg_eval.report").joinpath("templates", "page.css").read_text(encoding="utf-8")
    title = f"Certificate of verification: pmg_eval {certificate.version}"
    groups = [(*_GROUPS[kind], cases) for kind in _GROUPS if (cases := _of(certificate.cases, kind))]
    contents = [
        ("summary", "Summary"),
        *((name, heading) for name, heading, _ in groups),
        ("files", "Files"),
        ("where", "Where"),
    ]
    sections = [
        _section("summary", "Summary", _summary(certificate)),
        *(_section(name, heading, _cases(heading, cases)) for name, heading, cases in groups),
        _section("files", "Files", _files(certificate)),
        _section("where", "Where", _where(certificate)),
    ]
    links = "\n".join(f'<li><a href="#{name}">{_text(heading)}</a></li>' for name, heading in contents)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light">
<title>{_text(title)}</title>
<style>
{style}
</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
<p class="kind">Installation and computation checked</p>
<h1>{_text(title)}</h1>
<p class="lead">{_text(certificate.date)}</p>
</header>
<div class="columns">
<nav aria-label="Contents">
<p class="nav-title" id="contents">Contents</p>
<ul aria-labelledby="contents">
{links}
</ul>
</nav>
<main id="main" tabindex="-1">
{"".join(sections)}</main>
</div>
<footer><p>Made by python -m pmg_eval.verify, offline.</p></footer>
</body>
</html>
"""


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _of(cases: Sequence[Checked], kind: Kind) -> list[Checked]:
    return [case for case in cases if case.kind == kind]


def _section(name: str, heading: str, body: str) -> str:
    head = f'<h2 id="{name}-heading">{_text(heading)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-heading">\n{head}\n{body}</section>\n'


def _summary(certificate: Certificate) -> str:
    counts = certificate.counts
    verdict = (
        "Every case that was run gave the known numbers"
        if not certificate.failed
        else f"{counts['fail']} of {counts['pass'] + counts['fail']} cases did not give the known numbers"
    )
    files = {
        "intact": "the files are those of the wheel",
        "changed": "files of the installation have been changed",
    }.get(certificate.files.status, f"files could not be compared ({certificate.files.reason})")
    digits = [case.digits for case in certificate.cases if not math.isnan(case.digits)]
    facts = [
        ("Passed", counts["pass"]),
        ("Failed", counts["fail"]),
        ("Not run", counts["skipped"]),
        ("Numbers compared", sum(len(case.got) for case in certificate.cases)),
        ("Median correct digits", f"{sorted(digits)[len(digits) // 2]:.1f}" if digits else "-"),
        ("Seconds", f"{sum(case.seconds for case in certificate.cases):.1f}"),
    ]
    failures = "".join(f"<li>{_text(case.id)}: {_text(case.reason)}</li>" for case in certificate.failed)
    listed = f"<h3>Failed</h3>\n<ul>{failures}</ul>\n" if failures else ""
    return (
        f'<p class="headline"><strong>{"Passed" if certificate.passed else "Not passed"}.</strong> '
        f"{_text(verdict)}; {_text(files)}.</p>\n{_facts(facts)}{listed}"
        "<p>Digits are correct significant digits of the worst number of a case (minus log10 of its relative error, at "
        "most 15).</p>\n"
    )


def _facts(facts: Iterable[tuple[str, object]]) -> str:
    rows = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>\n" for name, value in facts)
    return f'<dl class="facts">\n{rows}</dl>\n'


def _table(caption: str, heads: Sequence[tuple[str, str]], rows: Iterable[str]) -> str:
    head = "".join(
        f'<th scope="col"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{_text(name)}</th>'
        for name, kind in heads
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(caption)}">\n<table>\n'
        f"<caption><span>{_text(caption)}</span></caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody>\n</table>\n</div>\n"
    )


def _cases(heading: str, cases: Sequence[Checked]) -> str:
    heads = (("Case", ""), ("Outcome", ""), ("Digits", "number"), ("Tolerance", "number"), ("Numbers", "number"),
             ("What", ""), ("Source", ""))  # fmt: skip
    rows = []
    for case in cases:
        kind, word = _VERDICT[case.status]
        digits = "-" if math.isnan(case.digits) else f"{case.digits:.1f}"
        note = f" ({case.reason})" if case.reason else ""
        rows.append(
            f'<tr><th scope="row" class="unbroken">{_text(case.id).replace("/", "/<wbr>", 1)}</th>'
            f'<td><span class="verdict {kind}">{word}</span></td>'
            f'<td class="number">{digits}</td><td class="number">{case.tolerance:.0e}</td>'
            f'<td class="number">{len(case.names)}</td><td class="prose">{_text(case.what + note)}</td>'
            f'<td class="prose">{_text(case.source)}</td></tr>'
        )
    # the section has the heading as its name already; two landmarks of one name cannot be told apart
    return _table(f"{heading}: the cases", heads, rows) + "".join(_numbers(case) for case in cases)


def _numbers(case: Checked) -> str:
    got = case.got or (math.nan,) * len(case.names)
    heads = (("Number", ""), ("Exact", "number"), ("Expected", "number"), ("Computed", "number"))
    rows = (
        f'<tr><th scope="row">{_text(name)}</th><td class="number">{_text(exact)}</td>'
        f'<td class="number">{expected!r}</td><td class="number">{value!r}</td></tr>'
        for name, exact, expected, value in zip(case.names, case.exact, case.expected, got, strict=True)
    )
    return f"<details>\n<summary>{_text(case.id)}</summary>\n{_table(case.what, heads, rows)}</details>\n"


def _files(certificate: Certificate) -> str:
    found = certificate.files
    facts = [
        ("Status", found.status),
        ("Files of the package", len(found.hashes)),
        ("Compared with the wheel's list", found.compared),
    ]
    why = f"<p>{_text(found.reason)}</p>\n" if found.reason else ""
    problems = "".join(f"<li>{_text(problem)}</li>" for problem in found.problems)
    listed = f"<ul>{problems}</ul>\n" if problems else ""
    digest = (
        '<dl class="facts identity"><div class="whole"><dt>SHA-256 of all files</dt>'
        f"<dd>{_text(found.digest)}</dd></div></dl>\n"
    )
    return f"{_facts(facts)}{why}{listed}{digest}"


def _where(certificate: Certificate) -> str:
    digest = (
        '<dl class="facts identity"><div class="whole"><dt>SHA-256 of the computed numbers, nine digits</dt>'
        f"<dd>{_text(certificate.digest)}</dd></div></dl>\n"
    )
    return _facts(certificate.system.items()) + _facts(certificate.versions.items()) + digest
