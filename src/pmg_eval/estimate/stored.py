"""Numbers as they were printed: of results read back from a file, and of laws of several kinds side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.estimate.carriers import Covariance, Support
from pmg_eval.estimate.terms import make_terms
from pmg_eval.numerics.rows import Array

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate

NUMBERS = ("std_error", "statistic", "p_value", "conf_low", "conf_high", "df")
LEVEL = 0.95
_READ_BACK = "covariance of the placebo law (read back)"
_SEVERAL = "covariance of laws of several kinds"
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
    carrier : {"influence", "draws", "covariance", "mixed"}
        What the law was before it was saved; ``"mixed"`` for terms that have laws of different kinds.
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
    if stored.carrier == "mixed":
        by_draws = bare.terms["interval"] == "placebo"
        return replace(
            bare,
            terms=bare.terms.assign(
                interval=bare.terms["interval"].mask(by_draws, "wald"),
                method=bare.terms["method"].mask(by_draws, _SEVERAL),
            ),
        )
    if stored.carrier != "draws":
        return bare
    terms = bare.terms.assign(interval="wald", method=_READ_BACK)
    return replace(bare, terms=terms, provenance=bare.provenance.noting(_NOTE))


def side_by_side(*parts: Estimate[Any], names: Sequence[str] | None = None, level: float = LEVEL) -> Estimate[None]:
    """Estimates with laws of different kinds as one table (label ``group`` if named), each with its own intervals.

    What they share is not known: covariances between the parts are NaN. Intervals are printed at ``level``; another one
    is available for terms whose covariance gives it.
    """
    from pmg_eval.estimate._estimate import Estimate

    columns: dict[str, list[Any]] = {name: [] for name in (*NUMBERS, "method", "status")}
    for part in parts:
        frame = part.to_frame(level)
        for name, found in columns.items():
            found.append(frame[name].to_numpy())
    labeled = [part.terms for part in parts]
    if names is not None:
        labeled = [terms.assign(group=name) for terms, name in zip(labeled, names, strict=True)]
    terms = pd.concat(labeled, ignore_index=True)
    law = Covariance(
        _blocks([part.cov() for part in parts]),
        _supports(parts),
        corrected=all(bool(getattr(part.uncertainty, "corrected", True)) for part in parts),
        stored=Stored({name: np.concatenate(found) for name, found in columns.items()}, level, "mixed"),
    )
    return Estimate(
        np.concatenate([part.values for part in parts]),
        make_terms(dict(terms), len(terms)),
        law,
        scale=parts[0].scale,
        provenance=parts[0].provenance.then("side_by_side"),
        dependence=parts[0].dependence,
    )


def _blocks(matrices: Sequence[Array]) -> Array:
    k = sum(len(matrix) for matrix in matrices)
    whole = np.full((k, k), np.nan)
    start = 0
    for matrix in matrices:
        stop = start + len(matrix)
        whole[start:stop, start:stop] = matrix
        start = stop
    return whole


def _supports(parts: Sequence[Estimate[Any]]) -> Support:
    """Treated units behind each term; unknown where the law does not rest on them."""
    known = []
    for part in parts:
        found = None if part.uncertainty is None else part.uncertainty.support(part.dependence)
        nothing = np.full(len(part), np.nan)
        known.append(found or Support(nothing, nothing, nothing, nothing))
    return Support(
        *(
            np.concatenate([getattr(one, name) for one in known])
            for name in ("n_treated", "n_effective", "inflation", "df")
        )
    )


__all__ = ["LEVEL", "NUMBERS", "Stored", "from_covariance", "level_of", "side_by_side", "stored_of"]
