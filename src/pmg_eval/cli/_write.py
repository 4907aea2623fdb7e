"""Where results go: checked before the work starts, written when it is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pmg_eval.errors import DataError
from pmg_eval.report import write_text
from pmg_eval.report._extra import require

if TYPE_CHECKING:
    from pmg_eval.evaluation import Evaluation


def reserve(folder: Path, names: Sequence[str], *, force: bool) -> list[Path]:
    """Paths that can be written; nothing is made yet.

    Raises
    ------
    DataError
        PMG-EXISTS (without ``force``), PMG-PATH, PMG-EXTRA when the packages that pages need are not there.
    """
    require("jinja2")
    require("matplotlib")
    if len(set(names)) < len(names):
        raise DataError("PMG-PATH", "two results of the same name", where=names, fix="give each file its own name")
    paths = [folder / name for name in names]
    there = next(parent for parent in (folder, *folder.resolve().parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise DataError("PMG-PATH", "not a folder", where=[str(there)], fix="give another folder with --out")
    if not os.access(there, os.W_OK):
        raise DataError("PMG-PATH", "the folder cannot be written to", where=[str(there)], fix="give another --out")
    blocked = [str(path) for path in paths if path.is_dir()]
    if blocked:
        raise DataError("PMG-PATH", "folders with the name of a result", where=blocked, fix="give another --out")
    existing = [str(path) for path in paths if os.path.lexists(path)]
    if existing and not force:
        raise DataError(
            "PMG-EXISTS",
            "files exist already",
            where=existing,
            fix="--force replaces them, --out puts others elsewhere",
        )
    return paths


def write(result: Evaluation, html: Path, json: Path, *, force: bool) -> None:
    """The page and the numbers; both are made before the first one is written.

    Raises
    ------
    DataError
        PMG-EXISTS when somebody else made the file meanwhile; PMG-PATH.
    """
    page, numbers = result.to_html(), result.to_json()
    html.parent.mkdir(parents=True, exist_ok=True)
    write_text(json, numbers, overwrite=force)
    write_text(html, page, overwrite=force)
