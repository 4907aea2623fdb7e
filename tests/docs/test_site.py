"""The documentation site builds without a warning, asks nothing of the outside, and describes every public name."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from pmg_eval.cli import _schema

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
NAMESPACES = (
    "pmg_eval",
    "pmg_eval.did",
    "pmg_eval.synth",
    "pmg_eval.recidivism",
    "pmg_eval.resample",
    "pmg_eval.report",
)

# What a browser would fetch without being asked (a link that a reader may follow is none of it).
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object|input)\b[^>]*?\b(?:src|data)\s*=\s*["']?(?:https?:)?//[^"'\s>]+
      | <link\b[^>]*?\bhref\s*=\s*["']?(?:https?:)?//[^"'\s>]+
      | \burl\(\s*["']?(?:https?:)?//[^"')]+
      | @import\s+["'](?:https?:)?//[^"']+""",
    re.VERBOSE | re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],  # --quiet would undo --strict
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "WARNING" not in run.stderr
    return folder


@pytest.mark.gate
def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    pages = [path for kind in ("html", "css") for path in site.rglob(f"*.{kind}")]
    assert len(pages) > 20
    found = {path.relative_to(site).as_posix(): FETCHED.findall(path.read_text(encoding="utf-8")) for path in pages}
    assert {page: hits for page, hits in found.items() if hits} == {}


@pytest.mark.gate
@pytest.mark.parametrize(
    "line",
    [
        '<script src="https://elsewhere/x.js">', '<link rel="stylesheet" href="//fonts/x.css">', "<img alt='' src=http://x/y>",
        "a { background: url(https://x/y.png) }", '@import "https://x/y.css";',
    ],
)  # fmt: skip
def test_a_request_to_elsewhere_is_seen(line: str) -> None:
    assert FETCHED.search(line)
    assert not FETCHED.search('<a href="https://elsewhere">read on</a> <script src="assets/x.js"></script>')


@pytest.mark.gate
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_public_name_is_in_the_reference(site: Path, namespace: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    module = importlib.import_module(namespace)
    here = [
        name for name in module.__all__ if not name.startswith("_") and not hasattr(getattr(module, name), "__path__")
    ]
    assert [name for name in here if f'id="{namespace}.{name}"' not in text] == []


@pytest.mark.gate
def test_formulas_and_references_are_markup(site: Path) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    formulas = re.findall(r"<math.*?</math>", text, re.DOTALL)
    assert len(formulas) > 20
    assert [formula for formula in formulas if "\\" in formula or "&#92;" in formula] == []  # a command not known
    assert re.findall(r":(?:math|func|class|meth):`|\.\. math::", text) == []
    assert 'href="did.html#pmg_eval.did.imputation"' in text  # a role that became a link


@pytest.mark.gate
def test_every_page_is_in_the_navigation(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    pages = [path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")]
    assert [page for page in pages if f'href="{page}"' not in start and page not in ("index.html",)] == []


# --- what pages say about files ---------------------------------------------------------------------------------------


def toml_blocks() -> list[str]:
    pages = [*DOCS.glob("*.md"), ROOT / "README.md"]
    return [
        block for page in pages for block in re.findall(r"^```toml\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    ]


def test_specifications_in_the_pages_are_valid() -> None:
    blocks = toml_blocks()
    assert len(blocks) >= 2
    validator = jsonschema.Draft202012Validator(_schema.spec_schema())
    from pmg_eval.cli._spec import _plain

    for block in blocks:
        document = _plain(tomllib.loads(block))
        validator.validate(document)
        assert _schema.problems(document, _schema.spec_schema()) == []


def test_the_specification_in_the_help_is_valid() -> None:
    from pmg_eval.cli._parser import _EVALUATE

    inside = "\n".join(line for line in _EVALUATE.splitlines() if line.startswith("  "))
    assert _schema.problems(tomllib.loads(inside), _schema.spec_schema()) == []


def test_exit_codes_of_the_page_are_those_of_the_program() -> None:
    from pmg_eval.cli._main import DONE, EXISTS, INTERRUPTED, REFUSED, USAGE
    from pmg_eval.cli._parser import EXIT_CODES

    text = (DOCS / "command_line.md").read_text(encoding="utf-8")
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert codes == [DONE, REFUSED, USAGE, EXISTS, INTERRUPTED]
    assert codes == [int(code) for code in re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE)]


def test_every_estimator_of_today_stands_in_the_lists() -> None:
    for page in ("choose.md", "assumptions.md"):
        text = (DOCS / page).read_text(encoding="utf-8")
        for namespace in ("did", "synth", "recidivism"):
            module = importlib.import_module(f"pmg_eval.{namespace}")
            functions = [
                name for name in module.__all__ if name.islower() and name not in ("cases_avoided", "simulate")
            ]
            assert [name for name in functions if f"{namespace}.{name}" not in text] == [], page
