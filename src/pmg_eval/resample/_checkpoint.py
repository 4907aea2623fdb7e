"""Checkpoints of long jobs: results so far as JSON lines that only the same job can pick up again.

A file has one header line (the key of the job: data, options, seed, versions, each as a hash) and lines of consecutive
results. Every line carries a checksum over itself and all lines before it. A last line without its end (the process was
killed while writing) is dropped; any other damage, or another key, is refused. Nothing is pickled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from json import dumps, loads
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import IO, Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate.provenance import Provenance
from pmg_eval.panel import Panel
from pmg_eval.resample._describe import described

SCHEMA = "pmg-eval-checkpoint/1"
PARTS = ("data", "options", "seed", "version")
_SECONDS = 1.0  # results younger than this are lost by a kill -9, and only they


def job_key(
    estimator: Any, panel: Panel, outcome: str, options: Mapping[str, Any], seed: int | np.random.Generator | None
) -> dict[str, Any]:
    """Key of a job that calls ``estimator`` on versions of ``panel``; call it before ``seed`` is used.

    All columns of the panel belong to it, not only the outcome: an estimator may read any of them. ``options`` hold
    what determines task number i; a number of draws does not, so that a job may be continued with more of them.
    """
    return {
        "data": [panel.fingerprint, _table_hash(panel.frame)],
        "options": {"estimator": described(estimator), "outcome": str(outcome), "options": described(dict(options))},
        "seed": described(seed),
    }


def _table_hash(table: pd.DataFrame) -> str:
    digest = sha256(repr([str(name) for name in table.columns]).encode())
    digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()


class Store:
    """Results of one job: those read back, and a way to add to them."""

    def __init__(self, file: IO[bytes], results: list[Any], chain: str) -> None:
        self.results = results
        self._file, self._chain = file, chain
        self._pending: list[Any] = []
        self._written = monotonic()

    def add(self, result: Any) -> Any:
        """Keep a result; returns it as it will be read back."""
        encoded = _encoded(result)
        self._pending.append(encoded)
        self.results.append(_decoded(encoded))
        if monotonic() - self._written >= _SECONDS:
            self.flush()
        return self.results[-1]

    def flush(self) -> None:
        """Write what is pending as one line."""
        if self._pending:
            start = len(self.results) - len(self._pending)
            text, self._chain = _line({"start": start, "results": self._pending}, self._chain)
            self._file.write(text)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._pending = []
        self._written = monotonic()


@contextmanager
def opened(path: str | Path, key: Mapping[str, Any] | None, what: str) -> Iterator[Store]:
    """The store at ``path``, made when there is none; what is pending is written on the way out, error or not.

    Raises
    ------
    DataError
        PMG-CHECKPOINT: the file belongs to another job (the text says which parts of the key differ), is damaged, is
        in use, or cannot be opened.
    """
    if not isinstance(path, str | os.PathLike):
        raise DataError("PMG-CHECKPOINT", f"checkpoint={path!r} is no path", fix='checkpoint="job.jsonl"')
    header = _header(key, what)
    file = _open(Path(path))
    try:
        _lock(file, path)
        store = _read(file, header, Path(path))
        try:
            yield store
        finally:
            store.flush()
    finally:
        file.close()


def _header(key: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    if key is None or not {"data", "options", "seed"} <= set(key):
        raise DataError("PMG-CHECKPOINT", "a checkpoint needs a key with data, options and seed", fix="report a bug")
    versions = dict(Provenance().versions)
    parts = {"data": key["data"], "options": [what, key["options"]], "seed": key["seed"]}
    hashes = {name: sha256(_text(part).encode()).hexdigest() for name, part in parts.items()}
    return {"schema": SCHEMA, **hashes, "version": versions}


def _text(value: Any) -> str:
    return dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _line(content: Mapping[str, Any], chain: str) -> tuple[bytes, str]:
    """A line and the checksum that it hands to the next."""
    body = dumps(content, separators=(",", ":"), allow_nan=False)
    check = sha256((chain + body).encode()).hexdigest()[:16]
    return f'{{"check":"{check}",{body[1:]}\n'.encode(), check


def _open(path: Path) -> IO[bytes]:
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise DataError(
            "PMG-CHECKPOINT",
            f"the checkpoint cannot be opened: {error.strerror}",
            where=[path.name],
            fix="name a file in a folder that exists and can be written to",
        ) from error
    return os.fdopen(number, "r+b")


def _lock(file: IO[bytes], path: str | Path) -> None:
    """Two jobs must not write to one file; the operating system forgets the lock of a killed process."""
    try:
        import fcntl
    except ImportError:  # no such locks here; mixed lines would still be refused as damage
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DataError(
            "PMG-CHECKPOINT",
            "another job is writing to this checkpoint",
            where=[Path(path).name],
            fix="wait for it, or name another file",
        ) from error


def _read(file: IO[bytes], header: dict[str, Any], path: Path) -> Store:
    raw = file.read()
    first, chain = _line(header, "")
    *lines, torn = raw.splitlines(keepends=True) if raw and not raw.endswith(b"\n") else [*raw.splitlines(True), b""]
    if not lines:
        if not first.startswith(torn):  # not the beginning of this header: somebody's file
            raise _damaged(path, "it is not a checkpoint")
        _truncate(file, 0)
        file.write(first)
        file.flush()
        _private(path)
        return Store(file, [], chain)
    if lines[0] != first:
        raise _other_job(lines[0], header, path)
    results: list[Any] = []
    for number, line in enumerate(lines[1:], 2):
        content = _parsed(line)
        values = content.get("results")
        if not isinstance(values, list) or not values:
            raise _damaged(path, f"line {number} cannot be read")
        expected, chain = _line({"start": len(results), "results": values}, chain)
        if line != expected:
            raise _damaged(path, f"line {number} has another checksum than its content")
        results.extend(_decoded(value) for value in values)
    _truncate(file, len(raw) - len(torn))
    _private(path)
    return Store(file, results, chain)


def _truncate(file: IO[bytes], size: int) -> None:
    file.seek(size)
    file.truncate()


def _private(path: Path) -> None:
    """Readable by its owner only, also when the file was there before."""
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        content = loads(line)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return {}
    return content if isinstance(content, dict) else {}


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        "PMG-CHECKPOINT", f"the checkpoint is damaged: {why}", where=[path.name], fix="delete it, or name another file"
    )


def _other_job(line: bytes, header: dict[str, Any], path: Path) -> DataError:
    """Which parts of the key differ, without their values."""
    found = _parsed(line)
    if found.get("schema") != SCHEMA:
        return _damaged(path, "it is not a checkpoint")
    check = found.pop("check", "")
    if _line(found, "")[1] != check:
        return _damaged(path, "its header has another checksum than its content")
    differ = [part for part in PARTS if found.get(part) != header[part]]
    said = {
        "data": "the data",
        "options": "the estimator or an option",
        "seed": "the seed",
        "version": _versions_differ(found.get("version"), header["version"]),
    }
    return DataError(
        "PMG-CHECKPOINT",
        f"the checkpoint belongs to another job; what differs: {', '.join(said[part] for part in differ)}",
        where=[path.name],
        fix="repeat that job as it was, or name another file",
    )


def _versions_differ(old: Any, new: Mapping[str, str]) -> str:
    old = old if isinstance(old, dict) else {}
    names = [f"{name} {old.get(name)} -> {new[name]}" for name in new if old.get(name) != new[name]]
    return f"the version ({', '.join(names)})"


def _encoded(value: Any) -> Any:
    """JSON of numbers, text, None and lists of them; floats by their shortest exact form, others by name."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else {"float": repr(value)}
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    raise DataError(
        "PMG-CHECKPOINT", f"a {type(value).__name__} cannot be kept in a checkpoint", fix="lists of numbers can"
    )


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return float(value["float"])
    return [_decoded(item) for item in value] if isinstance(value, list) else value
