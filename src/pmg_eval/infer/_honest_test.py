r"""Conditional and least-favorable hybrid tests of one effect, and the set of effects that they do not reject.

After elimination (:mod:`pmg_eval.infer._honest_rays`) a restriction says :math:`E[p]-q\theta\le0` for the moments
:math:`p=\Gamma(A\hat\beta-b)`, each row of :math:`\Gamma` scaled so that its weights on the standard deviations of the
inequalities sum to one. With :math:`\eta=\max_v(p_v-q_v\theta)` reached by the moment *, and
:math:`\rho_v=\Omega_{v*}/\Omega_{**}`, that moment is the largest exactly while it lies between

.. math:: v_{lo}=\max_{\rho_v<1}\frac{m_v-\rho_v\eta}{1-\rho_v},\qquad
          v_{up}=\min_{\rho_v>1}\frac{m_v-\rho_v\eta}{1-\rho_v},\qquad m=p-q\theta .

The conditional test compares :math:`\eta` with the normal law truncated to that range (and never rejects at
:math:`\eta\le0`). The hybrid first rejects at :math:`\eta>c_{LF}`, the :math:`1-\kappa` quantile of the largest moment
when all means are zero, with :math:`\kappa=\alpha/10`; else it tests at :math:`(\alpha-\kappa)/(1-\kappa)` with
:math:`v_{up}` cut at :math:`c_{LF}`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pmg_eval.infer._honest_system import System
from pmg_eval.numerics.rows import Array

SHARE = 10  # kappa = alpha / SHARE
_SAME = 1e-9  # slopes of moments that count as one
_FLAT = 1e-7  # standard deviation, relative to the largest, that counts as none
_DUST = 1e-9  # the same for values of moments
_CHUNK = 2_000_000  # numbers held while simulating


@dataclass(frozen=True, eq=False)
class Moments:
    r"""The moments of one piece of a restriction.

    Attributes
    ----------
    level, slope : (V,) float
        p and q.
    covariance : (V, V) float
        :math:`\Omega`.
    weights : (V, P+T) float
        :math:`\Gamma A`: the moments as functions of the coefficients.
    """

    level: Array
    slope: Array
    covariance: Array
    weights: Array

    def p_value(self, effect: Array, ceiling: float = np.inf) -> Array:
        """p-values of the conditional test of N effects; with a ceiling, 0 above it and truncated at it."""
        moments = self.level[:, None] - self.slope[:, None] * effect
        best = moments.argmax(axis=0)
        statistic = moments[best, np.arange(len(effect))]
        variance = np.diag(self.covariance)[best]
        flat = variance <= (self._dust / _DUST * _FLAT) ** 2
        scale = np.sqrt(np.where(flat, 1.0, variance))
        low, high = self._range(moments, best, statistic, np.where(flat, 1.0, variance))
        high = np.maximum(np.minimum(high, ceiling), statistic)
        p = _truncated(statistic / scale, low / scale, high / scale)
        p = np.where(flat | (statistic > ceiling), 0.0, p)  # a moment without noise is either kept or broken
        return np.asarray(np.where(statistic <= self._dust, 1.0, p))

    @property
    def _dust(self) -> float:
        """What counts as zero for values of the moments."""
        return _DUST * float(np.sqrt(np.diag(self.covariance).max(initial=0.0)))

    def _range(self, moments: Array, best: Array, statistic: Array, variance: Array) -> tuple[Array, Array]:
        """Between which values the moment stays the largest, given everything that is independent of it."""
        low, high = np.full(len(best), -np.inf), np.full(len(best), np.inf)
        for one in np.unique(best):
            at = np.flatnonzero(best == one)
            ratio = self.covariance[:, one, None] / variance[at]
            gap = 1 - ratio
            with np.errstate(divide="ignore", invalid="ignore"):
                bound = (moments[:, at] - ratio * statistic[at]) / gap
            low[at] = np.where(gap > _SAME, bound, -np.inf).max(axis=0)
            high[at] = np.where(gap < -_SAME, bound, np.inf).min(axis=0)
        return np.minimum(low, statistic), np.maximum(high, statistic)  # rounding

    def ceiling(self, noise: Array, share: float) -> tuple[float, float]:
        """Least-favorable critical value from draws (P+T, R) of the coefficients' noise, and its standard error."""
        largest = np.empty(noise.shape[1])
        step = max(1, _CHUNK // max(len(self.weights), 1))
        for start in range(0, noise.shape[1], step):
            largest[start : start + step] = (self.weights @ noise[:, start : start + step]).max(axis=0)
        spread = np.sqrt(share * (1 - share) / len(largest))
        around = np.clip([1 - share - spread, 1 - share, 1 - share + spread], 0.0, 1.0)
        below, value, above = np.quantile(largest, around)
        return float(value), float(above - below) / 2


def _truncated(statistic: Array, low: Array, high: Array) -> Array:
    """Probability above the statistic of a standard normal that lies between low and high; digits kept in the tail."""
    from scipy import special

    above, all_, rest = special.log_ndtr(-statistic), special.log_ndtr(-low), special.log_ndtr(-high)
    with np.errstate(invalid="ignore", divide="ignore"):
        upper, lower = -np.expm1(rest - above), -np.expm1(rest - all_)
        p = np.exp(above - all_) * upper / lower
    # a range of no length carries no evidence
    return np.where(np.isfinite(p), np.clip(p, 0.0, 1.0), 1.0)


def moments_of(
    system: System, rays: Array, strength: float, piece: int, values: Array, covariance: Array, target: Array
) -> Moments:
    """The moments of one piece at a strength."""
    rows, limits = system.rows(strength, piece)
    sd = np.sqrt(np.maximum(np.einsum("ji,ik,jk->j", rows, covariance, rows), 0.0))
    size = rays @ sd
    certain = size <= 1e-9 * sd.max(initial=0.0)
    scaled = rays / np.where(certain, 1.0, size)[:, None]  # without noise: a fact, whatever its scale
    weights = scaled @ rows
    slope = weights[:, system.n_pre :] @ target / (target @ target)
    return Moments(weights @ values - scaled @ limits, slope, weights @ covariance @ weights.T, weights)


@dataclass(frozen=True, eq=False)
class Decision:
    """All pieces of a restriction at one strength: an effect is kept when some piece keeps it.

    Attributes
    ----------
    pieces : tuple of Moments
    ceilings : (R,) float
        Least-favorable critical values; infinite for the conditional test.
    size : float
        Level of the (second-stage) test.
    """

    pieces: tuple[Moments, ...]
    ceilings: Array
    size: float

    def keeps(self, effect: Array) -> Array:
        """Which of N effects are not rejected: bool."""
        kept = np.zeros(len(effect), dtype=bool)
        for moments, ceiling in zip(self.pieces, self.ceilings, strict=True):
            open_ = np.flatnonzero(~kept)
            if len(open_) == 0:
                break
            kept[open_] = moments.p_value(effect[open_], float(ceiling)) >= self.size
        return kept


def ends(decision: Decision, inner: tuple[float, float], reach: float, points: int) -> tuple[float, float, str]:
    """Hull of the effects that are kept, and what is particular about it ("", "empty", "open", "hull").

    Parameters
    ----------
    decision : Decision
    inner : (low, high)
        Effects that the restriction allows at the estimates, most of which are kept.
    reach : float
        How far outside the search goes; doubled while the outermost point is kept.
    points : int
        Grid points; the ends are then refined between the last point kept and the first one lost.
    """
    width = reach
    for _ in range(6):
        wide = np.linspace(inner[0] - width, inner[1] + width, points)
        grid = np.unique(np.concatenate([wide, [inner[0], sum(inner) / 2, inner[1]]]))
        low, high, said = on_grid(decision, grid)
        if said != "open":
            break
        width *= 2
    if said in ("empty", "open"):
        return (np.nan, np.nan, said) if said == "empty" else (low, high, said)
    at = np.searchsorted(grid, [low, high])
    low = _refined(decision, low, float(grid[at[0] - 1]), reach)
    high = _refined(decision, high, float(grid[at[1] + 1]), reach)
    return low, high, said


def on_grid(decision: Decision, grid: Array) -> tuple[float, float, str]:
    """Smallest and largest point of an ascending grid that is kept."""
    kept = decision.keeps(grid)
    where = np.flatnonzero(kept)
    if len(where) == 0:
        return np.nan, np.nan, "empty"
    low, high = float(grid[where[0]]), float(grid[where[-1]])
    if kept[0] or kept[-1]:
        return low, high, "open"
    return low, high, "" if kept[where[0] : where[-1]].all() else "hull"


def _refined(decision: Decision, kept: float, lost: float, reach: float) -> float:
    """The last effect kept between one that is and one that is not, to less than a millionth of a standard error."""
    while abs(lost - kept) > 1e-8 * reach:
        grid = np.linspace(kept, lost, 40)
        inside = decision.keeps(grid[1:-1])
        last = len(inside) if inside.all() else int(inside.argmin())  # the one before the first that is lost
        kept, lost = float(grid[last]), float(grid[last + 1])
    return kept
