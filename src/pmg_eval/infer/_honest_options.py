"""How far parallel trends may fail: the three restrictions, as options of :func:`pmg_eval.infer.honest`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pmg_eval.errors import DataError

Sign = Literal["positive", "negative"] | None
Monotone = Literal["increasing", "decreasing"] | None
RELATIVE = (0.0, 0.5, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class RelativeMagnitude:
    r"""Trends diverge after the start by at most a multiple of what was seen before it.

    With :math:`\delta_t` the difference in trends (0 in the reference period), from one period to the next,

    .. math:: |\delta_{t+1}-\delta_t|\le\bar M\max_{s<0}|\delta_{s+1}-\delta_s|\quad\text{for all }t\ge0 .

    Needs one pre-period besides the reference.

    Attributes
    ----------
    strengths : sequence of float
        Values of :math:`\bar M`, without unit; 1: as bad after as the worst before.
    sign : {None, "positive", "negative"}
        Also: every post-treatment :math:`\delta_t` has this sign.
    monotone : {None, "increasing", "decreasing"}
        Also: :math:`\delta_t` only goes this way, from the reference period on (and before it, as a statement about the
        truth). Not together with ``sign``, which it implies.
    """

    strengths: Sequence[float] = RELATIVE
    sign: Sign = None
    monotone: Monotone = None

    def __post_init__(self) -> None:
        _check(self.strengths, self.sign, self.monotone)


@dataclass(frozen=True)
class Smoothness:
    r"""The slope of the difference in trends changes by at most M from one period to the next.

    .. math:: |(\delta_{t+1}-\delta_t)-(\delta_t-\delta_{t-1})|\le M\quad\text{for all }t .

    M = 0: the difference before the start is a straight line, and goes on as it was. Needs one pre-period besides the
    reference.

    Attributes
    ----------
    strengths : sequence of float, optional
        Values of M, in units of the outcome per period squared (log points for ratios). Default: 0, 1/4, 1/2, 3/4 and
        1 times the largest bend before the start that the data do not exclude (its estimate plus the quantile of the
        level times its standard error; with one pre-period, where no bend is seen, the standard error of that period).
    sign, monotone
        As for :class:`RelativeMagnitude`.
    """

    strengths: Sequence[float] | None = None
    sign: Sign = None
    monotone: Monotone = None

    def __post_init__(self) -> None:
        _check(self.strengths, self.sign, self.monotone)


@dataclass(frozen=True)
class Combined:
    r"""The slope changes after the start by at most a multiple of what was seen before it.

    .. math:: |(\delta_{t+1}-\delta_t)-(\delta_t-\delta_{t-1})|
              \le\bar M\max_{s<0}|(\delta_{s+1}-\delta_s)-(\delta_s-\delta_{s-1})|\quad\text{for all }t\ge0 .

    :class:`Smoothness` whose M is read off the pre-periods, as in :class:`RelativeMagnitude`. Needs two pre-periods
    besides the reference.

    Attributes
    ----------
    strengths : sequence of float
        Values of :math:`\bar M`, without unit.
    sign, monotone
        As for :class:`RelativeMagnitude`.
    """

    strengths: Sequence[float] = RELATIVE
    sign: Sign = None
    monotone: Monotone = None

    def __post_init__(self) -> None:
        _check(self.strengths, self.sign, self.monotone)


Restriction = RelativeMagnitude | Smoothness | Combined


def _check(strengths: Sequence[float] | None, sign: Sign, monotone: Monotone) -> None:
    if sign not in (None, "positive", "negative"):
        raise DataError("PMG-OPTION", f"unknown sign={sign!r}", fix='"positive", "negative" or None')
    if monotone not in (None, "increasing", "decreasing"):
        raise DataError("PMG-OPTION", f"unknown monotone={monotone!r}", fix='"increasing", "decreasing" or None')
    if sign is not None and monotone is not None:
        raise DataError(
            "PMG-OPTION",
            "sign and monotone are two alternatives: a difference that starts at 0 and only goes up is positive",
            fix="give the one that you mean",
        )
    if strengths is None:
        return
    values = np.asarray(strengths, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not (np.isfinite(values).all() and (values >= 0).all()):
        raise DataError("PMG-STRENGTHS", f"strengths={strengths!r} must be finite numbers, at least 0")
