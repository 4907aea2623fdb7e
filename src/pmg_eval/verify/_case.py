"""One case: numbers that are known, and what this installation makes of them."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from pmg_eval.errors import PmgEvalError

Kind = Literal["by hand", "reference", "stored", "own"]
Status = Literal["pass", "fail", "skipped"]
Number = Fraction | float | int

MOST_DIGITS = 15.0
_FAILURES = (
    *(PmgEvalError, ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError),
    *(OSError, MemoryError),
)


@dataclass(frozen=True, eq=False)
class Case:
    """Numbers known from elsewhere, and a computation that must give them.

    Attributes
    ----------
    id : str
        ``"did/two-by-two"``: stable, unique.
    kind : {"by hand", "reference", "stored", "own"}
        Where the numbers come from: exact arithmetic; another package; an earlier run; the user.
    what : str
        What is computed, in words.
    source : str
        Package and version, or how it was worked out by hand.
    compute : callable
        Returns the numbers by name.
    expected : dict of str to number
        A Fraction is exact.
    tolerance : float
        Largest relative error (absolute where the expected number is zero, on the scale of one).
    skip : callable, optional
        Why the case cannot be run here; empty when it can.
    """

    id: str
    kind: Kind
    what: str
    source: str
    compute: Callable[[], Mapping[str, Any]]
    expected: Mapping[str, Number]
    tolerance: float = 1e-10
    skip: Callable[[], str] | None = None


@dataclass(frozen=True)
class Checked:
    """A case after it was run.

    Attributes
    ----------
    digits : float
        LRE of the worst number: minus log10 of its relative error, at most 15; NaN when nothing was computed.
    reason : str
        Why it failed or was skipped.
    """

    id: str
    kind: Kind
    what: str
    source: str
    names: tuple[str, ...]
    expected: tuple[float, ...]
    exact: tuple[str, ...]
    got: tuple[float, ...]
    digits: float
    tolerance: float
    status: Status
    reason: str
    seconds: float


def error_of(got: float, expected: float) -> float:
    """Relative error; absolute where zero is expected. Infinite for what is no number."""
    if got == expected:
        return 0.0
    if not (math.isfinite(got) and math.isfinite(expected)):
        return math.inf
    return abs(got - expected) / (abs(expected) if expected else 1.0)


def digits_of(error: float) -> float:
    """LRE: correct significant digits."""
    return MOST_DIGITS if error <= 10**-MOST_DIGITS else max(-math.log10(error), 0.0) if error < math.inf else 0.0


def check(case: Case) -> Checked:
    """Run a case. Whatever goes wrong inside is a failed case, not an exception."""
    begun = time.perf_counter()
    names = tuple(case.expected)
    got: tuple[float, ...] = ()
    reason = case.skip() if case.skip is not None else ""
    status: Status = "skipped" if reason else "pass"
    digits = math.nan
    if not reason:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # few units: these are textbook cases
                found = case.compute()
            got = tuple(float(found[name]) for name in names)
        except _FAILURES as failure:
            status, reason = "fail", f"{type(failure).__name__}: {failure}"
        else:
            errors = [error_of(mine, float(case.expected[name])) for mine, name in zip(got, names, strict=True)]
            digits = digits_of(max(errors))
            wrong = [name for name, error in zip(names, errors, strict=True) if not error <= case.tolerance]
            if wrong:
                status, reason = "fail", f"outside the tolerance: {', '.join(wrong)}"
    return Checked(
        id=case.id,
        kind=case.kind,
        what=case.what,
        source=case.source,
        names=names,
        expected=tuple(float(case.expected[name]) for name in names),
        exact=tuple(str(value) if isinstance(value, Fraction | int) else "" for value in case.expected.values()),
        got=got,
        digits=digits,
        tolerance=case.tolerance,
        status=status,
        reason=reason,
        seconds=time.perf_counter() - begun,
    )
