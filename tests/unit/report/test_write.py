import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pmg_eval.errors import DataError
from pmg_eval.report import write_text


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix == ".tmp"]


def test_a_new_file_is_private(tmp_path: Path) -> None:
    path = write_text(tmp_path / "page.html", "é\n")
    assert path.read_bytes() == "é\n".encode()
    assert leftovers(tmp_path) == []
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(DataError, match="PMG-EXISTS") as caught:
        write_text(path, "new")
    assert caught.value.code == "PMG-EXISTS"
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    path.chmod(0o640)
    write_text(path, "new", overwrite=True)
    assert path.read_text() == "new"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_somebody_else_was_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    link = os.link

    def late(source: Any, target: Any) -> None:
        Path(target).write_text("theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(DataError, match="PMG-EXISTS"):
        write_text(path, "ours")
    assert path.read_text() == "theirs"
    assert leftovers(tmp_path) == []


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    assert write_text(tmp_path / "page.html", "text").read_text() == "text"
    with pytest.raises(DataError, match="PMG-EXISTS"):
        write_text(tmp_path / "page.html", "again")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("breaks", ["fsync", "chmod", "replace"])
def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: str) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os if breaks == "fsync" else Path, breaks, fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new", overwrite=True)
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "page.html"
    target.write_text("old")
    link = tmp_path / "link.html"
    link.symlink_to(target)
    write_text(link, "new", overwrite=True)
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (lambda folder: folder, "PMG-EXISTS"),
        (lambda folder: folder / "missing" / "page.html", "PMG-PATH"),
        (lambda folder: folder / ("x" * 300), "PMG-PATH"),
        (lambda folder: f"{folder}/a\0b", "PMG-PATH"),
        (lambda folder: 5, "PMG-PATH"),
        (lambda folder: b"page.html", "PMG-PATH"),
    ],
)
def test_paths_that_cannot_be(tmp_path: Path, path: Callable[[Path], Any], code: str) -> None:
    with pytest.raises(DataError) as caught:
        write_text(path(tmp_path), "text")
    assert caught.value.code == code


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="PMG-PATH"):
        write_text(tmp_path, "text", overwrite=True)


def test_half_a_pair_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="PMG-TEXT"):
        write_text(tmp_path / "page.html", "\ud800")
    assert list(tmp_path.iterdir()) == []


LOOP = """
import sys
from pmg_eval.report import write_text
print("ready", flush=True)
number = 0
while True:
    number = 1 - number
    write_text(sys.argv[1], str(number) * 2_000_000, overwrite=True)
"""


def test_a_killed_process_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("0" * 2_000_000)
    for delay in (0.01, 0.03, 0.08):
        process = subprocess.Popen([sys.executable, "-c", LOOP, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay)
        process.kill()
        process.wait()
        process.stdout.close()
        found = path.read_text()
        assert len(found) == 2_000_000
        assert len(set(found)) == 1
