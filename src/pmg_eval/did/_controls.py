"""Which units may stand in for the treated ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Controls(Protocol):
    """A rule that says which cohorts are comparison units (the treated cohort itself is always left out)."""

    def eligible(self, cohort: Array, until: float) -> Mask:
        """Which first treated periods (+inf = never) are still untreated up to and including calendar code `until`."""
        ...


@dataclass(frozen=True)
class NeverTreated:
    """Compare with units that are never treated in the data and will not be afterwards (cohort = +inf).

    Parallel trends is then assumed between each cohort and the never treated only. Units that start after the last
    observed period are no controls here: they differ from the never treated in the way that matters.

    Examples
    --------
    >>> NeverTreated().eligible(np.array([2004.0, np.inf]), until=2003)
    array([False,  True])
    """

    def eligible(self, cohort: Array, until: float) -> Mask:
        """The never treated, whatever the period."""
        return np.isinf(cohort)


@dataclass(frozen=True)
class NotYetTreated:
    """Compare with units that are untreated in both periods of the comparison, the never treated among them.

    A cohort serves as long as the later of the two periods plus the anticipation lies before its start. Parallel trends
    is then assumed between all cohorts; in return the comparison group is larger, and none need be never treated.

    Examples
    --------
    >>> NotYetTreated().eligible(np.array([2004.0, 2006.0, np.inf]), until=2004)
    array([False,  True,  True])
    """

    def eligible(self, cohort: Array, until: float) -> Mask:
        """All that start after `until`."""
        return cohort > until
