"""Files that are either the old one or the new one, never half of one."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from pmg_eval.errors import DataError

_PRIVATE = 0o600


def write_text(path: str | os.PathLike[str], text: str, *, overwrite: bool = False) -> Path:
    """Write UTF-8 text atomically: a temporary file in the same folder, flushed to disk, then renamed.

    A reader, a crash or a full disk sees the old file or the new one. A new file can be read by its owner only (mode
    0600: results may still need a disclosure check); a file that is replaced keeps its mode.

    Parameters
    ----------
    path : str or path
        Where to write; its folder must exist.
    text : str
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DataError
        ``PMG-EXISTS`` when the file is there and ``overwrite`` is False; ``PMG-PATH`` when the folder is not there, the
        path is a folder, or no file can have this name; ``PMG-TEXT`` when the text cannot be encoded.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from pmg_eval.report import write_text
    >>> with TemporaryDirectory() as folder:
    ...     write_text(Path(folder, "page.html"), "<p>Hello</p>").name
    'page.html'
    """
    target = _target(path, overwrite)
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as broken:
        raise DataError(
            "PMG-TEXT", f"a character at position {broken.start} is half of a pair and cannot be written as UTF-8"
        ) from None
    _replace(target, data, overwrite)
    return target


def _target(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Where the file will stand, once nothing speaks against it."""
    try:
        target = Path(path)
        if _found(target) and not overwrite:
            raise _exists(target)
        target = Path(os.path.realpath(target))  # a link is followed: what it points to is replaced, not the link
        if target.is_dir():
            raise DataError("PMG-PATH", "the path is a folder", where=[target.name], fix="add a file name")
        if not target.parent.is_dir():
            raise DataError("PMG-PATH", "the folder does not exist", where=[target.parent.name], fix="make it first")
    except (TypeError, ValueError, OSError) as refused:  # a number, a null character, a name that is too long
        why = refused.strerror if isinstance(refused, OSError) else f"{type(path).__name__} that is no path"
        raise DataError("PMG-PATH", f"no file can be written there: {why}", fix="give the path of a file") from None
    return target


def _found(target: Path) -> bool:
    """Whether something has this name, be it a link to nowhere; an error where the system cannot know."""
    try:
        target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _exists(target: Path) -> DataError:
    return DataError("PMG-EXISTS", "the file exists already", where=[target.name], fix="overwrite=True replaces it")


def _replace(target: Path, data: bytes, overwrite: bool) -> None:
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else _PRIVATE
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        if overwrite:
            temporary.replace(target)
        else:
            _place_new(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _place_new(temporary: Path, target: Path) -> None:
    """Give the file its name unless somebody else took it meanwhile (a link fails where a rename would overwrite)."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise _exists(target) from None
    except OSError:  # a file system without links
        if os.path.lexists(target):
            raise _exists(target) from None
        temporary.replace(target)


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system can open folders."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
