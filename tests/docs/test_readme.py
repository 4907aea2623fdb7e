"""Every python block of the README and of the documentation runs, and prints what the page says it prints."""

import re
from pathlib import Path

import pytest

from _blocks import executed, outputs

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
VERIFY = ROOT / "docs" / "verify.md"
INFERENCE = sorted((ROOT / "docs" / "inference").glob("*.md"))


def run_blocks(page: Path, folder: Path, least: int) -> None:
    text = page.read_text(encoding="utf-8")
    wanted = outputs(text)
    found = executed(text, folder, page.name)
    assert len(found) == len(wanted) >= least
    for (code, printed), output in zip(found, wanted, strict=True):
        assert printed == output, code


@pytest.mark.parametrize("page", [README, TUTORIAL], ids=lambda page: page.name)
def test_blocks_print_what_the_page_says(tmp_path: Path, page: Path) -> None:
    run_blocks(page, tmp_path, 2)
    for made in tmp_path.glob("*.html"):
        assert "<h1" in made.read_text(encoding="utf-8")
    assert list(tmp_path.glob("*.html")), "the page that evaluate writes is part of the text"


@pytest.mark.parametrize("page", [*INFERENCE, VERIFY], ids=lambda page: page.stem)
def test_blocks_of_the_other_pages(tmp_path: Path, page: Path) -> None:
    run_blocks(page, tmp_path, 1)


def test_relative_links_and_pictures_exist() -> None:
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (README.parent / target).exists(), target


def test_the_commands_are_the_makefile_s() -> None:
    """The plain commands for people without make are those that the Makefile runs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in (README, ROOT / "CONTRIBUTING.md"):
        text = page.read_text(encoding="utf-8")
        for command in ("-m ruff check .", "-m ruff format --check .", "-m mypy", "-m pytest"):
            assert command in makefile
            assert command in text, page.name
    assert "-m pmg_eval demo" in makefile
    assert "-m pmg_eval demo" in README.read_text(encoding="utf-8")
