"""How far a long computation is, for whoever listens; silent by default.

>>> seen = []
>>> with listening(lambda what, done, total: seen.append((what, done, total))):
...     for done in range(1, 3):
...         tell("placebo areas", done, 2)
>>> seen
[('placebo areas', 1, 2), ('placebo areas', 2, 2)]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

Listener: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many of its parts are done, and how many there are."""

_listener: ContextVar[Listener | None] = ContextVar("pmg_eval_progress", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send the progress of everything run inside to ``listener``."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(what: str, done: int, total: int) -> None:
    """Report progress to the listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(what, done, total)
