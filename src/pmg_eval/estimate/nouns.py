"""Results that are not estimates: a test, and a sensitivity analysis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate.provenance import Provenance


@dataclass(frozen=True, eq=False)
class Test:
    """A test: statistic, null distribution, p-value, the smallest p it can attain, and the hypothesis in words.

    Attributes
    ----------
    hypothesis : str
        What is tested, in words.
    statistic : float
    p_value : float
    distribution : str
        For example ``"F(4, 18)"`` or ``"1,000 random assignments"``.
    p_min : float
        Smallest attainable p-value (0 for continuous distributions).
    p_error : float
        Monte-Carlo standard error of ``p_value`` (0 when exact).
    method, note : str
    estimate, conf_low, conf_high, level : float
        Of a test that was inverted: the estimate, and the set of values that it does not reject at ``level`` (its
        hull); NaN when it was not inverted, infinite where a side is unbounded.
    details : DataFrame or None
        What is particular to the method (draws, permutations, clusters).
    """

    __test__ = False  # not a test case of pytest, whatever its name

    hypothesis: str
    statistic: float
    p_value: float
    distribution: str
    p_min: float = 0.0
    p_error: float = 0.0
    method: str = ""
    note: str = ""
    estimate: float = np.nan
    conf_low: float = np.nan
    conf_high: float = np.nan
    level: float = np.nan
    details: pd.DataFrame | None = field(default=None, repr=False, compare=False)
    provenance: Provenance = field(default_factory=Provenance, repr=False)

    def __post_init__(self) -> None:
        if not (np.isnan(self.p_value) or 0 <= self.p_value <= 1):
            raise DataError("PMG-P-VALUE", "a p-value must lie between 0 and 1")

    def __eq__(self, other: object) -> bool:
        # NaN, of a test that was not inverted, equals itself here
        return isinstance(other, Test) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.hypothesis, self.statistic, self.p_value, self.distribution))

    def __str__(self) -> str:
        text = f"{self.hypothesis}: statistic {self.statistic:.4g}, p = {self.p_value:.4g} ({self.distribution})"
        if self.p_min > 0:
            text += f"; the smallest p this test can give is {self.p_min:.4g}"
        if np.isfinite(self.level):
            text += f"; {self.level:.0%} set [{self.conf_low:.4g}, {self.conf_high:.4g}]"
        return f"{text}. {self.note}" if self.note else text

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        from pmg_eval.estimate.serialize import jsonable

        return {
            "schema": "pmg-eval-test/1",
            "hypothesis": self.hypothesis,
            "statistic": jsonable(self.statistic),
            "p_value": jsonable(self.p_value),
            "distribution": self.distribution,
            "p_min": self.p_min,
            "p_error": self.p_error,
            "method": self.method,
            "note": self.note,
            "estimate": jsonable(self.estimate),
            "conf_low": jsonable(self.conf_low),
            "conf_high": jsonable(self.conf_high),
            "level": jsonable(self.level),
            "provenance": self.provenance.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Bounds of an effect as a function of how strongly an assumption may fail.

    Attributes
    ----------
    assumption : str
        What may fail, and the meaning of ``strength``.
    bounds : DataFrame
        Columns ``strength, conf_low, conf_high, method``.
    breakdown : float
        Smallest strength at which the interval contains no effect (NaN when it never does in the range tried).
    """

    assumption: str
    bounds: pd.DataFrame
    breakdown: float
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        missing = [c for c in ("strength", "conf_low", "conf_high", "method") if c not in self.bounds.columns]
        if missing:
            raise DataError("PMG-COLUMN", "a Sensitivity lacks columns", where=missing)

    def __str__(self) -> str:
        where = "never in the range tried" if np.isnan(self.breakdown) else f"at {self.breakdown:.3g}"
        table = self.bounds[["strength", "conf_low", "conf_high", "method"]].to_string(index=False)
        return f"{self.assumption}\nThe interval contains no effect: {where}.\n{table}"

    def to_frame(self) -> pd.DataFrame:
        """A copy of the bounds."""
        return self.bounds.copy()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        from pmg_eval.estimate.serialize import jsonable

        return {
            "schema": "pmg-eval-sensitivity/1",
            "assumption": self.assumption,
            "bounds": [{key: jsonable(value) for key, value in row.items()} for row in self.bounds.to_dict("records")],
            "breakdown": jsonable(self.breakdown),
            "provenance": self.provenance.to_dict(),
        }
