"""A progress bar on the terminal, for work that reports how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from pmg_eval._progress import listening

_FORMAT = "{desc} {n_fmt}/{total_fmt} |{bar}| {elapsed}"


class _Bar:
    """Draws what is being done; a new kind of work starts a new bar where the last one was."""

    def __init__(self, tqdm: Any, stream: TextIO) -> None:
        self._tqdm = tqdm
        self._stream = stream
        self._what = ""
        self._drawn: Any = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._drawn is None or what != self._what or total != self._drawn.total or done < self._drawn.n:
            self.close()
            self._what = what
            self._drawn = self._tqdm(
                total=total, desc=what, file=self._stream, leave=False, dynamic_ncols=True, bar_format=_FORMAT
            )
        self._drawn.update(done - self._drawn.n)

    def close(self) -> None:
        if self._drawn is not None:
            self._drawn.close()
            self._drawn = None


@contextmanager
def progress(stream: TextIO, *, quiet: bool) -> Iterator[None]:
    """Draw the progress of what runs inside, when ``stream`` is a terminal, not ``quiet``, and tqdm is installed."""
    if quiet or not stream.isatty():
        yield
        return
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield
        return
    bar = _Bar(tqdm, stream)
    try:
        with listening(bar):
            yield
    finally:
        bar.close()
