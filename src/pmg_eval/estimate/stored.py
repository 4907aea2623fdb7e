"""Results read back from a file: their numbers as they were printed, and what can still be computed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pmg_eval.estimate.carriers import Covariance

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate

NUMBERS = ("std_error", "statistic", "p_value", "conf_low", "conf_high", "df")
LEVEL = 0.95
_READ_BACK = "covariance of the placebo law (read back)"
_NOTE = (
    "read back from a file, which does not hold the placebo law itself: what was computed from it since then uses the "
    "covariance of that law"
)


@dataclass(frozen=True, eq=False)
class Stored:
    """The numbers of a saved result as they were printed, kept beside its covariance.

    A file holds the covariance of a law, not the law: the intervals of a placebo law do not follow from it, and those
    of other laws only up to rounding. So what was printed at the level of the file is printed again, to the last digit;
    another level is computed from the covariance where that reproduces what was printed, and refused where it does
    not. Selected terms keep their numbers; a map of them has only the covariance (see :func:`from_covariance`).

    Attributes
    ----------
    columns : dict of (k,) arrays
        :data:`NUMBERS`, ``method`` and ``status``.
    level : float
        Confidence level of the intervals.
    carrier : {"influence", "draws", "covariance"}
        What the law was before it was saved.
    """

    columns: dict[str, Any]
    level: float
    carrier: str

    def take(self, index: Any) -> Stored:
        """The numbers of some terms."""
        return replace(self, columns={name: column[index] for name, column in self.columns.items()})

    def holds(self, level: float, guarded: bool) -> bool:
        """Whether these are the numbers asked for (a placebo law has no guard to switch off)."""
        return math.isclose(level, self.level, rel_tol=1e-12) and (guarded or self.carrier == "draws")

    def unlike(self, computed: dict[str, Any]) -> str:
        """Why other intervals than the printed ones cannot be had from the covariance; empty when they can."""
        if self.carrier == "draws":
            return "the placebo law behind them is not in the file"
        same = np.ones(len(self.columns["status"]), dtype=bool)
        for name in NUMBERS:
            same &= np.isclose(self.columns[name], computed[name], rtol=1e-6, atol=1e-12, equal_nan=True)
        lost = int((~same).sum())
        return f"{lost} of {len(same)} do not follow from the covariance in the file" if lost else ""


def stored_of(estimate: Estimate[Any]) -> Stored | None:
    """The printed numbers of an estimate that was read back, else None."""
    law = estimate.uncertainty
    return law.stored if isinstance(law, Covariance) else None


def level_of(estimate: Estimate[Any], level: float | None) -> float:
    """The level asked for; else that of the file an estimate comes from, or 95 %."""
    stored = stored_of(estimate)
    return level if level is not None else LEVEL if stored is None else stored.level


def from_covariance(estimate: Estimate[Any]) -> Estimate[Any]:
    """The estimate without its printed numbers: all that a file knows of the joint law is the covariance."""
    law, stored = estimate.uncertainty, stored_of(estimate)
    if stored is None or not isinstance(law, Covariance):
        return estimate
    bare = replace(estimate, uncertainty=replace(law, stored=None))
    if stored.carrier != "draws":
        return bare
    terms = bare.terms.assign(interval="wald", method=_READ_BACK)
    return replace(bare, terms=terms, provenance=bare.provenance.noting(_NOTE))


__all__ = ["LEVEL", "NUMBERS", "Stored", "from_covariance", "level_of", "stored_of"]
