"""Every python block of the README runs, and prints what the README says it prints."""

import contextlib
import io
import os
import re
import warnings
from pathlib import Path

from pmg_eval import PmgEvalWarning

README = Path(__file__).resolve().parents[2] / "README.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def executed(text: str, folder: Path) -> list[tuple[str, str]]:
    """(code, what it printed) of every python block, run one after the other in one namespace."""
    namespace: dict[str, object] = {}
    results = []
    before = Path.cwd()
    os.chdir(folder)
    try:
        for kind, code in _BLOCK.findall(text):
            if kind != "python":
                continue
            out = io.StringIO()
            with contextlib.redirect_stdout(out), warnings.catch_warnings():
                warnings.simplefilter("ignore", PmgEvalWarning)  # few placebo areas: said in the text
                exec(compile(code, str(README), "exec"), namespace)  # noqa: S102 - the README's own code
            results.append((code, out.getvalue()))
    finally:
        os.chdir(before)
    return results


def test_blocks_print_what_the_readme_says(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    wanted = [code for kind, code in _BLOCK.findall(text) if kind == "output"]
    found = executed(text, tmp_path)
    assert len(found) == len(wanted) >= 2
    for (code, printed), output in zip(found, wanted, strict=True):
        assert printed == output, code
    page = (tmp_path / "castle.html").read_text(encoding="utf-8")
    assert "<h1" in page


def test_relative_links_and_pictures_exist() -> None:
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (README.parent / target).exists(), target


def test_the_commands_are_the_makefile_s() -> None:
    """The plain commands for people without make are those that the Makefile runs."""
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    for command in ("-m ruff check .", "-m ruff format --check .", "-m mypy", "-m pytest", "examples/castle.py"):
        assert command in makefile
        assert command in text
