"""p-values of the bootstrapped t as a function of the null, and the set of nulls that are not rejected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pmg_eval.numerics.rows import Array

Alternative = Literal["two-tailed", "equal-tailed", "greater", "less"]

REACH = 20.0  # standard errors beyond which no effect of a study lies
_TIE = 1e-9  # relative, of squared statistics: the draw that repeats the data is equal up to rounding
_GRID = np.concatenate([np.arange(1, 25) / 4, np.arange(7.0, REACH), [REACH]])  # in standard errors
_FARTHEST = 2.0**40


@dataclass(frozen=True, eq=False)
class Law:
    """Draws as polynomials in d, the distance of the estimate from the null.

    Attributes
    ----------
    top : (2, B) float, bottom : (3, B) float
        t* is ``(1, d) @ top`` over the root of ``(1, d, d*d) @ bottom``.
    se : float
        Standard error of the estimate on the same footing.
    alternative : str
    ties : bool
        Whether draws equal to the observed statistic count as at least as extreme, the data themselves included.
    exact : bool
        Whether the draws are all there are.
    """

    top: Array
    bottom: Array
    se: float
    alternative: Alternative
    ties: bool
    exact: bool

    def t(self, d: float) -> Array:
        """Bootstrapped t statistics (B,) under the null at distance d; infinite or missing where se* is zero."""
        top, bottom = self._at(d)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(top / np.sqrt(bottom))

    def _at(self, d: float) -> tuple[Array, Array]:
        top, bottom = self.top, self.bottom
        if len(top) == 1:  # unrestricted draws do not move with the null
            return top[0], bottom[0]
        return top[0] + d * top[1], np.maximum(bottom[0] + d * (bottom[1] + d * bottom[2]), 0.0)

    def p(self, d: float) -> float:
        """p-value of the null at distance d."""
        top, bottom = self._at(d)
        square, limit = top * top * self.se**2, d * d * bottom
        larger = square >= limit * (1 - _TIE) if self.ties else square > limit * (1 + _TIE)
        if self.alternative == "two-tailed":
            extreme = int(larger.sum())
        else:
            smaller = square <= limit * (1 + _TIE) if self.ties else square < limit * (1 - _TIE)
            outer, inner = (top > 0, top <= 0) if d > 0 else (top < 0, top >= 0)
            beyond = int((larger & outer).sum())  # on the far side of the observed statistic
            short = int((smaller | inner).sum()) if d else int((larger & (top > 0)).sum())
            above, below = (beyond, short) if d > 0 else (short, beyond)
            extreme = {"greater": above, "less": below}.get(self.alternative, 2 * min(above, below))
        added = 1 if self.ties and not self.exact else 0
        return min(1.0, (extreme + added) / (len(top) + added))

    def attainable(self, d: float) -> float:
        """Smallest p at d and at effects up to ``REACH`` standard errors from the null, on either side."""
        return min(self.p(float(step)) for step in [*(self.se * _GRID), *(-self.se * _GRID), d])

    def interval(self, alpha: float) -> tuple[float, float]:
        """Distances (low, high) of the hull of the nulls with p of at least alpha; infinite where it has no end."""
        low = -np.inf if self.alternative == "greater" else -self._end(-1, alpha)
        high = np.inf if self.alternative == "less" else self._end(1, alpha)
        return low, high

    def _end(self, side: int, alpha: float) -> float:
        """How far from the estimate, on one side, a null is still not rejected."""
        inside = [self.p(side * self.se * step) >= alpha for step in _GRID]
        near, far = 0.0, _GRID[0]
        if inside[-1]:
            near, far = REACH, 2 * REACH
            while self.p(side * self.se * far) >= alpha:
                if far > _FARTHEST:
                    return np.inf
                near, far = far, 2 * far
        elif any(inside):
            last = max(place for place, kept in enumerate(inside) if kept)
            near, far = _GRID[last], _GRID[last + 1]
        while far - near > 1e-12 * far:
            middle = (near + far) / 2
            if self.p(side * self.se * middle) >= alpha:
                near = middle
            else:
                far = middle
        return float(near * self.se)
