"""Errors and warnings of the library: a stable code, what happened, where, and what to do.

Every error is a :class:`PmgEvalError`. Its text names areas and periods (public labels) but never a value of an
outcome or a person; the full list of offending labels stands in ``where``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_SHOWN = 5


def _sentence(code: str, what: str, where: tuple[Any, ...], fix: str) -> str:
    text = f"[{code}] {what}"
    if where:
        shown = ", ".join(str(item) for item in where[:_SHOWN])
        more = f" (first {_SHOWN} of {len(where)})" if len(where) > _SHOWN else ""
        text += f"; where: {shown}{more}"
    if fix:
        text += f". What to do: {fix}"
    return text


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the input: code, sentence, labels concerned, and the way out."""

    code: str
    what: str
    where: tuple[Any, ...] = ()
    fix: str = ""

    def __str__(self) -> str:
        return _sentence(self.code, self.what, self.where, self.fix)


class PmgEvalError(Exception):
    """Base of all errors of the library.

    Attributes
    ----------
    code : str
        Stable identifier, for example ``"PMG-DUPLICATE"``.
    what, fix : str
        What happened and what to do.
    where : tuple
        Labels concerned, complete (the text shows the first five).
    problems : tuple of Problem
        Everything that is wrong, when more than one thing was found at once.
    """

    def __init__(
        self, code: str, what: str, *, where: Iterable[Any] = (), fix: str = "", problems: Iterable[Problem] = ()
    ) -> None:
        self.code = code
        self.what = what
        self.where = tuple(where)
        self.fix = fix
        self.problems = tuple(problems) or (Problem(code, what, self.where, fix),)
        if len(self.problems) > 1:
            lines = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1))
            text = f"{len(self.problems)} problems found:\n{lines}"
        else:
            text = str(self.problems[0])
        super().__init__(text)

    def __reduce__(self) -> tuple[Any, ...]:
        # joblib sends errors between processes; the default would call the class with the text alone
        return (_again, (type(self), self.code, self.what, self.where, self.fix, self.problems))

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> PmgEvalError:
        """One error that reports all the problems; its code is the first one's."""
        found = tuple(problems)
        first = found[0]
        return cls(first.code, first.what, where=first.where, fix=first.fix, problems=found)


def _again(kind: type[PmgEvalError], *parts: Any) -> PmgEvalError:
    code, what, where, fix, problems = parts
    return kind(code, what, where=where, fix=fix, problems=problems)


class DataError(PmgEvalError):
    """The data cannot be read as what they are said to be."""


class DesignError(PmgEvalError):
    """The data are sound, but the question cannot be answered with them."""


class NumericalError(PmgEvalError):
    """A computation did not reach a number that can be trusted."""


class InferenceError(PmgEvalError):
    """The uncertainty asked for is not defined or not credible here."""


class DisclosureError(PmgEvalError):
    """Showing the result would disclose persons."""


class PmgEvalWarning(UserWarning):
    """Base of all warnings of the library; ``code`` is stable."""

    def __init__(self, code: str, what: str, *, where: Iterable[Any] = (), fix: str = "") -> None:
        self.code = code
        self.what = what
        self.where = tuple(where)
        self.fix = fix
        super().__init__(_sentence(code, what, self.where, fix))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_again_warning, (self.code, self.what, self.where, self.fix))


def _again_warning(code: str, what: str, where: tuple[Any, ...], fix: str) -> PmgEvalWarning:
    return PmgEvalWarning(code, what, where=where, fix=fix)


def warn(code: str, what: str, *, where: Iterable[Any] = (), fix: str = "", stacklevel: int = 3) -> None:
    """Issue a :class:`PmgEvalWarning`."""
    warnings.warn(PmgEvalWarning(code, what, where=where, fix=fix), stacklevel=stacklevel)
