"""Wild cluster bootstrap of one coefficient of a regression."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Estimate, LinearFit, Provenance, Test
from pmg_eval.resample._wild_algebra import Kind, Weights, bootstrap, every_sign, multipliers, scores_of
from pmg_eval.resample._wild_law import REACH, Alternative, Law


def wild(
    estimate: Estimate[LinearFit],
    *,
    term: str | int | None = None,
    cluster: str = "unit",
    weights: Weights = "rademacher",
    null: float = 0.0,
    restricted: bool = True,
    kind: Kind = "11",
    alternative: Alternative = "two-tailed",
    ties: bool = True,
    draws: int = 9_999,
    level: float = 0.95,
    invert: bool = True,
    rng: int | np.random.Generator = 0,
) -> Test:
    r"""Test of one coefficient by the wild cluster bootstrap, and the interval of all nulls it does not reject.

    Every draw multiplies the residuals of each cluster by one random number :math:`v_g` and estimates again,

    .. math:: y^*=Z\tilde\delta+v_g\tilde u_g,\qquad t^*=\frac{\beta^*-r}{se^*},\qquad
        p=\frac{\#\{|t^*|>|t|\}}{B},

    where :math:`\tilde u` are the residuals of the fit that imposes :math:`\beta=r` (WCR), or of the fit itself, with
    :math:`\beta^*-\hat\beta` on top (WCU). The regressions are never run
    (:mod:`pmg_eval.resample._wild_algebra`), and the draws are kept as polynomials in the null, so that the interval
    costs no further draws.

    Parameters
    ----------
    estimate : Estimate[LinearFit]
        A (weighted, two-way absorbed) linear regression; nothing else has the design that this needs.
    term : str or int, optional
        Regressor, by name or position; needed when there are several.
    cluster : str
        Label of the rows whose levels are independent; clusters must hold whole units.
    weights : {"rademacher", "webb", "mammen", "normal"}
        Law of :math:`v_g`: signs; six points (better below a dozen clusters); two skewed points; normal.
    null : float
        Value of the coefficient that is tested.
    restricted : bool
        Impose the null on the residuals. Unrestricted draws over-reject with few treated clusters.
    kind : {"11", "13", "31", "33"}
        First digit: residuals as they are, or those of a fit without the own cluster; second digit: CV1 or the
        jackknife CV3 in the t statistic.
    alternative : {"two-tailed", "equal-tailed", "greater", "less"}
        Two-tailed compares sizes, equal-tailed doubles the smaller tail (better where the law is skewed).
    ties : bool
        Count draws that equal the observed statistic, and the data themselves among random draws, so that p is never
        zero. ``False``: the strict share, as in the reference implementations.
    draws : int
        Random draws. When all :math:`2^G` signs are no more than that, they are enumerated and the test is exact.
    level : float
        Level of the interval, and of the remark where no p below ``1 - level`` can be had.
    invert : bool
        Compute the interval, and the smallest p attainable with these data, not only p.
    rng : int or Generator
        Seed.

    Returns
    -------
    Test
        ``p_min`` is the smallest p that can count as evidence: the share of draws that repeat the data up to sign, or
        the smallest p over all effects up to 20 standard errors from the null, if that is larger. ``p_error`` is the
        Monte-Carlo standard error of p (0 when enumerated), ``details`` the bootstrapped t statistics. Where
        ``p_min`` exceeds ``1 - level`` the interval is the whole line and ``note`` says so.

    Raises
    ------
    InferenceError
        PMG-LINEAR-FIT for an estimate that is not a regression's own coefficients (use ``resample.jackknife``),
        PMG-FULLY-FITTED where the coefficient does not exist without some cluster (kinds with CV3), PMG-CLUSTER for
        clusters that split units.
    DataError
        PMG-OPTION, PMG-TERM, PMG-DRAWS, PMG-LEVEL.

    Assumes
    -------
    1. Clusters are independent (probe: ``infer.common_shock``). 2. No few clusters dominate: probe with
    ``estimate.details.clusters()``; below about ten effective clusters compare with ``resample.randomize``.

    Notes
    -----
    Not for few treated areas: with one or two treated clusters the restricted test hardly ever rejects and the
    unrestricted one nearly always does.

    CV1 is G/(G-1)·(N-1)/(N-p) with the p regressors that are not absorbed (the default of R ``fwildclusterboot``), CV3
    has (G-1)/G; no factor changes p. Where we differ from that package: its "fnw11" is our kind 11 with
    ``ties=False``; its "11" counts draws that tie with the data when rounding goes that way. Its kinds 13 and 33 put
    (G-1)/G on the CV3 of the draws but not on that of the statistic they are compared with, so its p is too large; ours
    is that of G+1 regressions per draw, run one by one. Its intervals stop after ten steps of a root search, ours at
    the exact step of p.

    References
    ----------
    Cameron, Gelbach and Miller (2008), doi:10.1162/rest.90.3.414; Roodman, Nielsen, MacKinnon and Webb (2019),
    doi:10.1177/1536867X19830877; MacKinnon, Nielsen and Webb (2023), doi:10.1002/jae.2969; MacKinnon and Webb (2017),
    doi:10.1002/jae.2508.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from pmg_eval import resample
    >>> from pmg_eval.estimate import fit_linear
    >>> rng = np.random.default_rng(1)
    >>> rows = pd.DataFrame([(i, t) for i in range(10) for t in range(6)], columns=["unit", "time"])
    >>> start = ((rows["unit"] < 4) & (rows["time"] >= 3)).to_numpy(dtype=float)
    >>> y = rng.normal(size=10)[rows["unit"]] + rng.normal(size=60) + start
    >>> fit = fit_linear(y, start[:, None], ["start"], rows, absorb=True)
    >>> test = resample.wild(fit)
    >>> test.distribution
    "all 1,024 rademacher draws over 10 clusters of 'unit', null imposed, kind 11"
    >>> round(test.p_value, 4), test.p_min, test.p_error
    (0.0059, 0.001953125, 0.0)
    """
    details, column = _coefficient(estimate, term)
    _check(weights, kind, alternative, draws, level)
    algebra = details.algebra(cluster)
    scores = scores_of(algebra, column, kind, restricted)
    count = algebra.count
    exact = weights == "rademacher" and count < 63 and (1 << count) <= draws
    used = 1 << count if exact else draws
    blocks = every_sign(count) if exact else multipliers(weights, draws, count, _generator(rng))
    distance = float(details.coef[column]) - null
    top, bottom = bootstrap(scores, blocks, used, distance if not invert else None, restricted)
    factor = _factor(kind, count, details)
    law = Law(top, bottom * factor, float(np.sqrt(scores.spread * factor)), alternative, ties, exact)
    p_value = law.p(distance)
    floor = _floor(used, exact, count, weights, alternative)
    p_min = max(floor, law.attainable(distance)) if invert and restricted else floor
    low, high = _interval(law, p_min, level, float(details.coef[column])) if invert else (np.nan, np.nan)
    few = float(1 / (algebra.diagnostics()[1][:, column] ** 2).sum())
    return Test(
        hypothesis=f"the coefficient of {details.names[column]!r} is {null:g}",
        statistic=distance / law.se,
        p_value=p_value,
        distribution=f"{'all ' if exact else ''}{used:,} {weights} draws over {count} clusters of {cluster!r}, "
        f"null {'imposed' if restricted else 'not imposed'}, kind {kind}",
        p_min=p_min,
        p_error=0.0 if exact else float(np.sqrt(p_value * (1 - p_value) / used)),
        method=f"wild cluster bootstrap ({'restricted' if restricted else 'unrestricted'}, {alternative})",
        note=_note(p_value, p_min, floor, level, few, restricted),
        estimate=float(details.coef[column]),
        conf_low=low,
        conf_high=high,
        level=level if invert else np.nan,
        details=pd.DataFrame({"t": law.t(distance)}),
        provenance=_provenance(
            estimate,
            {
                "term": details.names[column],
                "cluster": cluster,
                "weights": weights,
                "null": null,
                "restricted": restricted,
                "kind": kind,
                "alternative": alternative,
                "ties": ties,
                "draws": draws,
                "level": level,
                "invert": invert,
            },
            None if exact or isinstance(rng, np.random.Generator) else int(rng),
        ),
    )


def _provenance(estimate: Estimate[Any], options: dict[str, Any], seed: int | None) -> Provenance:
    return Provenance(
        estimator="resample.wild",
        options={"of": estimate.provenance.estimator, **options},
        data=estimate.provenance.data,
        references=("10.1177/1536867X19830877", "10.1002/jae.2969"),
        seed=seed,
    )


def _coefficient(estimate: Any, term: str | int | None) -> tuple[LinearFit, int]:
    """The regression, and which of its coefficients."""
    fix = "resample.jackknife takes any estimator"
    details = getattr(estimate, "details", None)
    if not isinstance(details, LinearFit):
        raise InferenceError("PMG-LINEAR-FIT", "the wild cluster bootstrap needs a linear regression's design", fix=fix)
    found = estimate.terms["group"].tolist() if "group" in estimate.terms else []
    if term is None and len(found) == 1:
        term = found[0]
    if isinstance(term, (int, np.integer)) and not isinstance(term, bool) and -len(found) <= term < len(found):
        term = found[int(term)]
    if term not in found:
        raise DataError(
            "PMG-TERM", f"term={term!r} is not one of this estimate", where=found, fix="name one regressor or its place"
        )
    column = details.names.index(term) if term in details.names else -1
    value = float(estimate.values[found.index(term)])
    if column < 0 or not np.isclose(value, details.coef[column], rtol=1e-9, atol=0.0):
        raise InferenceError(
            "PMG-LINEAR-FIT", "this estimate was mapped: it is not the regression's coefficient", fix=fix
        )
    return details, column


def _check(weights: str, kind: str, alternative: str, draws: int, level: float) -> None:
    for name, value, known in (
        ("weights", weights, get_args(Weights)),
        ("kind", kind, get_args(Kind)),
        ("alternative", alternative, get_args(Alternative)),
    ):
        if value not in known:
            raise DataError("PMG-OPTION", f"unknown {name} {value!r}", fix=f"one of {', '.join(known)}")
    if draws < 1:
        raise DataError("PMG-DRAWS", f"draws={draws} must be positive")
    if not 0 < level < 1:
        raise DataError("PMG-LEVEL", f"level={level} must lie between 0 and 1")


def _generator(rng: int | np.random.Generator) -> np.random.Generator:
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    return generator.spawn(1)[0]


def _factor(kind: str, count: int, details: LinearFit) -> float:
    if kind[1] == "3":
        return (count - 1) / count
    n = len(details.resid)
    return count / (count - 1) * (n - 1) / (n - len(details.names))


def _floor(used: int, exact: bool, count: int, weights: str, alternative: str) -> float:
    """Share of the draws that are the data themselves, or their mirror image where both tails count."""
    repeats = 1 if alternative in ("greater", "less") else 2
    share = repeats / 2.0**count if weights == "rademacher" else 0.0
    return min(1.0, share if exact else max(share, 1 / (used + 1)))


def _interval(law: Law, p_min: float, level: float, value: float) -> tuple[float, float]:
    if p_min > 1 - level:
        return -np.inf, np.inf
    low, high = law.interval(1 - level)  # of the distance estimate - null
    return value - high, value - low


def _note(p_value: float, p_min: float, floor: float, level: float, few: float, restricted: bool) -> str:
    alpha = 1 - level
    notes = []
    if p_min > alpha:
        why = (
            "there are too few clusters for more different draws"
            if p_min <= floor
            else f"even an effect {REACH:g} standard errors from the null would not be (a few clusters carry it: "
            f"{few:.1f} effective clusters)"
        )
        notes.append(f"Cannot reject at {alpha:.2g}, whatever the effect: {why}")
    elif p_value < p_min:
        notes.append("p is the strict share of larger draws; read it as below the smallest attainable one")
    if not restricted and few < 10:
        notes.append(
            f"{few:.1f} effective clusters: the unrestricted bootstrap rejects too often; compare restricted=True"
        )
    return ". ".join(notes) + ("." if notes else "")
