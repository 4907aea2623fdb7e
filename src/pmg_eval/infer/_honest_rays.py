r"""Elimination of nuisance parameters from linear inequalities.

The set of :math:`\gamma\ge0` with :math:`\gamma'A=q\,l'` for some number q is a cone. Every one of its rays turns the
inequalities :math:`A\delta\le b` into one about :math:`l'\delta` alone, :math:`q\,l'\delta\le\gamma'b`, and the
extreme rays together say about :math:`l'\delta` all that the inequalities say (Farkas). Without nuisance parameters the
test of Andrews, Roth and Pakes needs no linear program: its statistic is a maximum over the rays.

The rays are found by the double description method: one equation after the other, each time combining neighboring rays
on both sides of it. T periods with bounds on both sides give T + 2 rays at most. With a sign or shape restriction on an
*average* of T periods their number grows fast (T = 4: 42, T = 8: 1,613), since every period may be bounded by either.
"""

from __future__ import annotations

import numpy as np

from pmg_eval.numerics.rows import Array

LIMIT = 300  # rays, above which the list is not completed
_PAIRS = 2_000_000  # neighbors looked at in one step
_ZERO = 1e-9


def extreme_rays(sides: Array, steps: Array, target: Array) -> Array | None:
    r"""Extreme rays of :math:`\{\gamma\ge0:\gamma'A\propto l'\}`, scaled to a largest element of one.

    Parameters
    ----------
    sides : (J, T) array
        A: coefficients of the T unknowns in the inequalities.
    steps : (T, T) array
        Invertible; the unknowns in whose units the inequalities are simple (differences), so that few rays arise on the
        way. Does not change the result.
    target : (T,) array
        l, not all zero.

    Returns
    -------
    (V, J) array, or None when there are more than LIMIT
    """
    inverse = np.linalg.inv(steps)
    simple, goal = sides @ inverse, inverse.T @ target
    main = int(np.abs(goal).argmax())
    others = [t for t in range(len(goal)) if t != main]
    equations = [simple[:, t] * goal[main] - simple[:, main] * goal[t] for t in others]
    rays = np.eye(len(sides))
    while equations:
        values = rays @ np.array(equations).T
        values[np.abs(values) < _ZERO] = 0.0
        pairs = (values > 0).sum(axis=0) * (values < 0).sum(axis=0)
        first = int(pairs.argmin())  # the equation that costs least
        if pairs[first] > _PAIRS:
            return None
        equations.pop(first)
        rays = _cut(rays, values[:, first])
        if len(rays) > LIMIT:
            return None
    return rays


def _cut(rays: Array, value: Array) -> Array:
    """Rays of the part of the cone where the value is zero."""
    support = rays > 0
    inside = support.astype(np.float32)
    negative = np.flatnonzero(value < 0)
    kept = [rays[value == 0]]
    for one in np.flatnonzero(value > 0):
        union = support[one] | support[negative]
        # Two rays are neighbors when no third one lives in the union of their supports.
        lives = (inside @ (~union).T.astype(np.float32) == 0).sum(axis=0)
        near = negative[lives == 2]
        kept.append(rays[near] * value[one] - rays[one] * value[near, None])
    cut = np.vstack(kept)
    cut = cut / cut.max(axis=1, keepdims=True)
    cut[cut < _ZERO] = 0.0
    return np.asarray(cut)


def some_rays(sides: Array, target: Array, scales: Array, points: Array) -> Array:
    r"""Rays that are the largest moment somewhere: of :math:`\max\gamma'y` over rays with :math:`\gamma'sd=1`.

    For restrictions with more than LIMIT rays. Any set of rays that does not depend on the data gives a valid test;
    those that are the largest at typical points lose little, for most rays never are.

    Parameters
    ----------
    sides, target
        As for :func:`extreme_rays`.
    scales, points : (J, N) array
        N times sd (positive) and y.

    Returns
    -------
    (V, J) array
    """
    from scipy.linalg import null_space

    from pmg_eval.numerics.pivot import lowest

    equal = (sides @ null_space(target[None, :])).T
    ray = np.zeros(len(sides))
    ray[[0, sides.shape[1]]] = 1.0  # a bound from above and the same from below: nothing about the unknowns
    found = []
    for scale, point in zip(scales.T, points.T, strict=True):
        ray = lowest(np.vstack([scale, equal]), ray / (scale @ ray), -point)
        found.append(ray / ray.max())
    rays = np.array(found)
    rays[rays < _ZERO] = 0.0
    _, first = np.unique(rays.round(9), axis=0, return_index=True)
    return np.asarray(rays[np.sort(first)])
