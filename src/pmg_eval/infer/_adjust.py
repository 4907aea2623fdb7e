"""p-values of many tests at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError, warn
from pmg_eval.estimate import Covariance, Draws, Estimate
from pmg_eval.estimate.adapters import term_index
from pmg_eval.estimate.bands import _deviations
from pmg_eval.estimate.inference import _smallest_p, _two_sided_p, guard_of
from pmg_eval.estimate.scales import SCALES
from pmg_eval.estimate.stored import from_covariance
from pmg_eval.estimate.terms import REFERENCE, select
from pmg_eval.numerics.rows import Array
from pmg_eval.resample._door import need_given, need_seed, need_whole

Method = Literal["romano_wolf", "holm", "bonferroni", "bh", "by"]
Law = Literal["gaussian", "multiplier"]
_STATSMODELS = {"holm": "holm", "bonferroni": "bonferroni", "bh": "fdr_bh", "by": "fdr_by"}
_FALSE_DISCOVERY = ("bh", "by")
_EQUAL = 1 + 1e-12  # the same p-value up to rounding


def adjust(
    estimate: Estimate[Any],
    *,
    method: Method = "romano_wolf",
    primary: Hashable | Mapping[str, Any] | None = None,
    law: Law = "gaussian",
    draws: int = 9_999,
    rng: int | np.random.Generator = 0,
) -> pd.DataFrame:
    r"""p-values adjusted for the number of tests.

    Romano-Wolf steps down through the tests, ordered :math:`p_{(1)}\le\dots\le p_{(m)}`, with the joint law of their
    errors (here in its minimum-p form, because terms may have different laws and degrees of freedom):

    .. math:: \tilde p_{(s)}=\max_{r\le s}\ \Pr\{\min_{j\ge r}P_{(j)}\le p_{(r)}\},

    where P are the p-values that errors drawn together would give. Tests that move together cost little: with perfect
    dependence nothing is added, under independence it equals Holm's correction almost exactly.

    Parameters
    ----------
    estimate : Estimate
        One test per term, of no effect. Several outcomes or estimators: ``pe.stack(...)`` first. Terms without a
        p-value are left out and listed; choose the family with ``where(...)`` (for example without the
        pre-treatment terms of an event study).
    method : {"romano_wolf", "holm", "bonferroni", "bh", "by"}, default "romano_wolf"
        The first three control the probability of any false finding. ``"bh"`` and ``"by"`` control the expected share
        of false findings among the findings (for exploration); ``"by"`` under any dependence.
    primary : label or mapping of labels, optional
        The outcome (or unit, ...) declared in advance: its p-value stays as it is, the others are adjusted without it.
        A value is looked for in every label column, ``{"outcome": "suspects"}`` in one.
    law : {"gaussian", "multiplier"}, default "gaussian"
        How errors are drawn where the estimate has no draws of its own: normal with its covariance (and t with the
        guard's degrees of freedom), or random signs on its influence rows.
    draws : int
        Number of such draws. An estimate with a placebo or bootstrap law brings its own, which are used instead.
    rng : int or Generator
        Seed.

    Returns
    -------
    DataFrame
        ``estimate.to_frame()`` with ``p_adjusted`` (missing where there is no p-value), for Romano-Wolf its Monte-Carlo
        standard error ``p_error``, and for ``"bh"``/``"by"`` the same number under its usual name ``q_value``.
        ``.attrs``: ``method, n_tests, primary, left_out, law, draws, seed, monte_carlo_error`` (the largest).

    Raises
    ------
    DataError
        PMG-OPTION, PMG-DRAWS, PMG-PRIMARY (no term has this label).
    InferenceError
        PMG-NO-P (no term has a p-value), PMG-JOINT-LAW (the joint law of some terms is not known).

    Warns
    -----
    PMG-PRIMARY
        More than one test is called primary.

    Notes
    -----
    Assumes: (1) the joint law of the errors is that of the draws, or normal with the covariance: probe with the other
    ``law`` and with ``"holm"``, which assumes nothing about dependence; (2) the family of tests was fixed before
    looking. Bands (``estimate.band()``) answer the same question with intervals.

    When not to use: to choose among specifications (``resample.curve``), or for one declared outcome.

    An adjusted p-value is never below its own p-value, and p-values that a placebo law cannot resolve stay equal: with
    300 placebo areas nothing is told apart below 1/301, neither for a term nor for its draws. A single test keeps its
    p-value exactly. Deviation from Romano and Wolf's maximum-t form: terms are compared by p-values.

    References
    ----------
    Romano and Wolf (2005), doi:10.1111/j.1468-0262.2005.00615.x, (2016), doi:10.1016/j.spl.2016.02.012; Westfall and
    Young (1993), ISBN 978-0-471-55761-6; Holm (1979); Benjamini and Hochberg (1995),
    doi:10.1111/j.2517-6161.1995.tb02031.x; Benjamini and Yekutieli (2001), doi:10.1214/aos/1013699998.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import infer
    >>> law = pe.Covariance(np.array([[1.0, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]))
    >>> three = pe.Estimate([2.5, 2.2, 1.0], pd.DataFrame({"outcome": ["thefts", "burglaries", "assaults"]}), law)
    >>> for method in ("holm", "romano_wolf"):
    ...     infer.adjust(three, method=method)["p_adjusted"].round(2).tolist()
    [0.04, 0.06, 0.32]
    [0.03, 0.05, 0.32]
    """
    need_given(estimate)
    _check(method, law, draws)
    need_seed(rng)
    frame = estimate.to_frame()
    p_value = frame["p_value"].to_numpy(dtype=np.float64)
    chosen = _primary(estimate, frame, primary)
    known = np.isfinite(p_value)
    family = np.flatnonzero(known & ~chosen)
    if not known.any():
        raise InferenceError("PMG-NO-P", "no term has a p-value", fix="see the column status")
    adjusted = np.where(chosen, p_value, np.nan)
    error = np.where(chosen & known, 0.0, np.nan)
    used: dict[str, Any] = {"law": None, "draws": None, "seed": None}
    if method == "romano_wolf":
        adjusted[family], error[family], used = _romano_wolf(estimate, family, p_value[family], law, draws, rng)
    elif len(family):
        adjusted[family] = _by_statsmodels(p_value[family], method)
    frame["p_adjusted"] = adjusted
    if method == "romano_wolf":
        frame["p_error"] = error
    if method in _FALSE_DISCOVERY:
        frame["q_value"] = adjusted
    unused = ~known & (frame["status"] != REFERENCE).to_numpy()
    frame.attrs.update(
        method=method,
        n_tests=len(family),
        primary=_names(estimate, chosen),
        left_out=_names(estimate, unused),
        monte_carlo_error=float(np.nanmax(error, initial=0.0)),
        **used,
    )
    return frame


def _check(method: object, law: object, draws: int) -> None:
    for name, value, allowed in (("method", method, get_args(Method)), ("law", law, get_args(Law))):
        if value not in allowed:
            raise DataError("PMG-OPTION", f"unknown {name}={value!r}", fix=f"one of {', '.join(allowed)}")
    need_whole("draws", draws, example="9_999")


def _primary(estimate: Estimate[Any], frame: pd.DataFrame, primary: Any) -> Any:
    """Mask (k,) of the terms that stay unadjusted."""
    if primary is None:
        return np.zeros(len(frame), dtype=bool)
    if not isinstance(primary, Hashable | Mapping):
        raise DataError(
            "PMG-PRIMARY", f"primary={primary!r} must be one label", fix='for example primary={"outcome": "suspects"}'
        )
    if isinstance(primary, Mapping):
        chosen = np.isin(np.arange(len(frame)), select(estimate.terms, primary))
    else:
        chosen = np.zeros(len(frame), dtype=bool)
        for name in estimate.labels:
            chosen |= (frame[name] == primary).fillna(False).to_numpy(dtype=bool)
    if not chosen.any():
        raise DataError(
            "PMG-PRIMARY",
            f"no term has the label {primary!r}",
            where=_names(estimate, np.ones(len(frame), dtype=bool)),
            fix='name a label of one term, for example primary={"outcome": "suspects"}',
        )
    if chosen.sum() > 1:
        warn(
            "PMG-PRIMARY",
            f"{int(chosen.sum())} tests are called primary and stay unadjusted",
            where=_names(estimate, chosen),
            fix="declare one before looking at the results, and adjust the others",
            stacklevel=4,
        )
    return chosen


def _names(estimate: Estimate[Any], mask: Any) -> list[str]:
    return [str(name) for name in term_index(estimate)[np.asarray(mask)]]


def _by_statsmodels(p_value: Array, method: str) -> Array:
    from statsmodels.stats.multitest import multipletests

    if len(p_value) == 1:
        return p_value
    found = np.asarray(multipletests(p_value, method=_STATSMODELS[method])[1], dtype=np.float64)
    return np.asarray(np.minimum(np.maximum(found, p_value), 1.0))  # rounding only


def _romano_wolf(
    estimate: Estimate[Any], family: Any, p_value: Array, law: Law, draws: int, rng: int | np.random.Generator
) -> tuple[Array, Array, dict[str, Any]]:
    """Adjusted p, its Monte-Carlo error, and what was drawn."""
    part = from_covariance(estimate).take(family)
    seed = None if isinstance(rng, np.random.Generator) else int(rng)
    used: dict[str, Any] = {"law": law, "draws": draws, "seed": seed}
    if isinstance(part.uncertainty, Draws):
        used = {"law": "its own draws", "draws": len(part.uncertainty.errors), "seed": estimate.provenance.seed}
    if len(family) < 2:
        return p_value, np.zeros(len(family)), used
    order = np.argsort(p_value, kind="stable")
    observed = p_value[order]
    below = np.zeros(len(family), dtype=np.int64)
    for block in _drawn_p(part, law, draws, rng):
        # smallest p among the tests that are still in at each step
        least = np.minimum.accumulate(block[:, order[::-1]], axis=1)[:, ::-1]
        below += (least <= observed * _EQUAL).sum(axis=0)
    count = int(used["draws"])
    stepwise = (1 + below) / (1 + count)
    stepwise[-1] = observed[-1]  # one test is left: its own p-value, without Monte-Carlo error
    stepped = np.maximum.accumulate(np.maximum(stepwise, observed))
    adjusted = np.empty(len(family))
    adjusted[order] = stepped
    error = np.sqrt(adjusted * (1 - adjusted) / count)
    return adjusted, np.where(adjusted == p_value, 0.0, error), used


def _drawn_p(part: Estimate[Any], law: Law, draws: int, rng: int | np.random.Generator) -> Iterator[Array]:
    """Blocks (r, m) of the p-values that drawn errors would give to all tests."""
    floor = _smallest_p(part)
    if isinstance(part.uncertainty, Draws):
        yield np.maximum(_p_of_draws(part, part.uncertainty), floor)
        return
    biased = isinstance(part.uncertainty, Covariance) and part.uncertainty.bias is not None
    if biased or not np.isfinite(part.cov()).all():
        raise InferenceError(
            "PMG-JOINT-LAW",
            "the joint law of some of the terms is not known, so they cannot be drawn together",
            fix='method="holm", which needs none, or only the terms of one law (where(...))',
        )
    care = guard_of(part, True)
    for block in _deviations(part, care, np.random.default_rng(rng), draws, law):
        yield np.maximum(_two_sided_p(block, care.df), floor)


def _p_of_draws(part: Estimate[Any], law: Draws) -> Array:
    """p-value (R, m) that each draw would have had among the others and the estimate itself."""
    scale = SCALES[part.scale]
    observed = (scale.to(part.values) - scale.null_on_scale()) / np.abs(scale.slope(part.values))
    found = np.empty(law.errors.shape)
    total, share = len(law.errors) + 1, law.lone()
    for column, size in enumerate(np.abs(law.judged()).T):
        ranked = np.sort(np.append(size, abs(observed[column])))
        found[:, column] = (total - np.searchsorted(ranked, size * (1 - 1e-12))) / total
    return np.asarray(share + (1 - share) * found)


__all__ = ["adjust"]
