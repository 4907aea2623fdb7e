"""Whether the files of this installation are those of the wheel it came from."""

from __future__ import annotations

import csv
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import new, sha256
from importlib import metadata
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Literal

NAME = "pmg_eval"
NOT_A_WHEEL: Literal["not an installed wheel"] = "not an installed wheel"


@dataclass(frozen=True)
class Installation:
    """Files of the package.

    Attributes
    ----------
    status : {"intact", "changed", "not an installed wheel"}
        The last when there is no list of hashes to compare with (a checkout, an editable installation): nothing is
        wrong then, and nothing is shown either.
    reason : str
        Why there is nothing to compare with.
    compared : int
        Files with a recorded hash.
    problems : tuple of str
        Files that are changed, missing, or not in the list.
    hashes : dict of str to str
        SHA-256 of every file of the package as it is.
    """

    status: Literal["intact", "changed", "not an installed wheel"]
    reason: str
    compared: int
    problems: tuple[str, ...]
    hashes: dict[str, str]

    @property
    def digest(self) -> str:
        """One hash of all files and their names."""
        lines = "".join(f"{name} {value}\n" for name, value in sorted(self.hashes.items()))
        return sha256(lines.encode()).hexdigest()


def installation(package: Path | None = None, distribution: metadata.Distribution | None = None) -> Installation:
    """Compare the files beside this module with the RECORD of the installed distribution.

    Parameters
    ----------
    package, distribution : optional
        Folder of the package and what it was installed as (for tests).
    """
    folder = Path(str(files(NAME))) if package is None else package
    hashes = {name: sha256(path.read_bytes()).hexdigest() for name, path in _inside(folder)}
    if distribution is None:
        try:
            distribution = metadata.distribution(NAME)
        except metadata.PackageNotFoundError:
            return Installation(NOT_A_WHEEL, "no distribution of this name is installed", 0, (), hashes)
    reason = _no_record(distribution, folder)
    if reason:
        return Installation(NOT_A_WHEEL, reason, 0, (), hashes)
    problems, compared, listed = [], 0, set()
    for entry, mode, value in _recorded(distribution):
        parts = PurePosixPath(entry).parts
        if not parts or parts[0] != NAME or "__pycache__" in parts:
            continue
        name = "/".join(parts[1:])
        listed.add(name)
        compared += 1
        path = folder / Path(*parts[1:])
        if not path.is_file():
            problems.append(f"missing: {name}")
        elif _hash(path, mode) != value:
            problems.append(f"changed: {name}")
    problems += [f"not of the wheel: {name}" for name in hashes if name not in listed]
    return Installation("changed" if problems else "intact", "", compared, tuple(sorted(problems)), hashes)


def _inside(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix(), path


def _no_record(distribution: metadata.Distribution, folder: Path) -> str:
    """Why the hashes of the distribution say nothing about this folder."""
    origin = distribution.read_text("direct_url.json")
    if origin and json.loads(origin).get("dir_info", {}).get("editable"):
        return "an editable installation"
    if not _recorded(distribution):
        return "the installation has no list of hashes"
    if Path(str(distribution.locate_file(NAME))).resolve() != folder.resolve():
        return "the package that runs is not the one that is installed"
    return ""


def _recorded(distribution: metadata.Distribution) -> list[tuple[str, str, str]]:
    """Path, hash function and hash of every hashed file of the RECORD.

    Read from the text, because ``Distribution.files`` leaves out what is missing on disk from Python 3.13 on.
    """
    rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    hashed = [(row[0], *row[1].partition("=")[::2]) for row in rows if len(row) > 1]
    return [(name, mode, value) for name, mode, value in hashed if value]


def _hash(path: Path, mode: str) -> str:
    return urlsafe_b64encode(new(mode, path.read_bytes()).digest()).rstrip(b"=").decode()
