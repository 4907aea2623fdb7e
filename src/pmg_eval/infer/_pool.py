"""Random-effects pooling of areas whose errors are correlated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError
from pmg_eval.estimate import Covariance, Estimate, Support, make_terms
from pmg_eval.estimate.inference import check_level
from pmg_eval.estimate.scales import SCALES
from pmg_eval.infer._pool_details import PoolDetails, pool_details
from pmg_eval.infer._pool_fit import METHODS, NAMES, Method, Model, heterogeneity
from pmg_eval.infer._pool_input import Areas, gather, label_of
from pmg_eval.infer._pool_robust import INFERENCES, CoefficientLaw, Inference, clusters_of, coefficient_law
from pmg_eval.infer._pool_robust import NAMES as INFERENCE_NAMES

ASSUMPTIONS = (
    "the true effects of the areas are draws from one law around the mean (or the regression on the moderators)",
    "that law does not depend on how precisely an area is measured",
)
REFERENCES = ("10.18637/jss.v036.i03", "10.1002/jrsm.1164", "10.1002/sim.1482")


def pool(
    estimate: Estimate[Any],
    *,
    method: Method = "reml",
    moderators: str | Sequence[str] | pd.DataFrame | None = None,
    inference: Inference | None = None,
    cluster: str | Sequence[Any] | None = None,
    level: float = 0.95,
) -> Estimate[PoolDetails]:
    r"""Mean effect over areas (or its regression on moderators), how far areas differ, and what to expect elsewhere.

    The estimates of areas are noisy *and* correlated, because areas share their controls. With y the k estimates (log
    ratios where effects are ratios), V the covariance of their errors and X the moderators,

    .. math:: y=X\beta+u+e,\quad u\sim(0,\tau^2I),\quad e\sim(0,V),\qquad
              \hat\beta=(X'M^{-1}X)^{-1}X'M^{-1}y,\quad M=V+\hat\tau^2I .

    All estimators of :math:`\tau^2` use the whole V; with a diagonal V they are those of metafor. With
    :math:`P=M^{-1}-M^{-1}X(X'M^{-1}X)^{-1}X'M^{-1}`, :math:`P_0` the same at :math:`\tau^2=0`, and p columns:

    - ``reml``: maximizes :math:`-\frac12(\log|M|+\log|X'M^{-1}X|+y'Py)`; ``ml`` without the middle term;
    - ``pm`` (Paule-Mandel; ``eb`` is the same root): :math:`y'Py=k-p`;
    - ``dl``: :math:`(y'P_0y-(k-p))/\mathrm{tr}P_0`; ``hs``: :math:`(y'P_0y-k)/\mathrm{tr}V^{-1}`;
    - ``he``: :math:`(y'Hy-\mathrm{tr}HV)/(k-p)` with least-squares residuals Hy; ``sj``: two steps from var(y);
    - ``fixed``: :math:`\tau^2=0`, one common effect.

    Parameters
    ----------
    estimate : Estimate
        One row per area, typically ``pe.effect_per_area(...)``: any law whose covariance is known.
    method : str
        Estimator of the heterogeneity.
    moderators : str, sequence of str, or DataFrame, optional
        Columns of ``estimate.terms``, or a table indexed by unit. Numbers enter as they are, anything else as
        indicators of its values but the first. An intercept is added.
    inference : str, optional
        ``"hartung_knapp"`` (default with heterogeneity): variance times :math:`y'Py/(k-p)`, t with k - p df;
        ``"hartung_knapp_floor"``: the same, never narrower in variance than ``"wald"`` (for few, homogeneous areas,
        where plain Hartung-Knapp can be too short); ``"wald"``: normal (default of ``method="fixed"``); ``"CR0"``,
        ``"CR1p"`` (times G/(G - p)), ``"CR2"``: robust to dependence of the true effects within ``cluster``.
    cluster : str or sequence, optional
        Column of ``estimate.terms``, or one label per row, for the cluster-robust kinds.
    level : float
        Of the intervals in ``details``.

    Returns
    -------
    Estimate[PoolDetails]
        One row ``group="mean"``, or one per moderator (``"intercept"`` first), on the scale of the estimate: ratios
        stay ratios. Law: covariance with t. ``details`` has heterogeneity, prediction interval and the areas left out.

    Raises
    ------
    DesignError
        Fewer than three usable areas (two for ``method="fixed"``), or fewer than two more than coefficients.
    InferenceError
        No law of the error; clusters whose errors are correlated.

    Assumes
    -------
    1. True effects are draws from one law around the mean. Probe: ``details.areas``, moderators, the law of
    ``infer.shrink``. 2. That law does not depend on the precision of an area (large cities are not different). Probe:
    the size of an area as a moderator. 3. V is known: with few placebo areas it is itself an estimate.

    When not to use it: as the effect of the programme *on the persons it reached*: areas count by precision, not by
    size. That is ``estimate.average()``. With fewer than about eight areas :math:`\tau^2` is hardly known: read its
    interval.

    Notes
    -----
    Prediction intervals use t with k - p df under Hartung-Knapp and the normal law under Wald, as metafor does (the
    Cochrane handbook uses k - 2). R-squared is that of metafor.

    References
    ----------
    Viechtbauer (2010), doi:10.18637/jss.v036.i03; Veroniki et al. (2016), doi:10.1002/jrsm.1164; Knapp and Hartung
    (2003), doi:10.1002/sim.1482.

    Examples
    --------
    >>> import numpy as np, pmg_eval as pe
    >>> from pmg_eval.estimate import make_terms
    >>> areas = pe.Estimate(np.array([-2.0, 0.0, 2.0, 4.0]), make_terms({"unit": list("abcd")}, 4),
    ...                     pe.Covariance(np.eye(4)))
    >>> pooled = pool(areas)
    >>> round(float(pooled.values[0]), 6), round(pooled.details.tau2, 6), pooled.to_frame()["df"].tolist()
    (1.0, 5.666667, [3.0])
    """
    if method not in METHODS:
        raise DataError("PMG-OPTION", f"unknown method {method!r}", fix=f"one of {', '.join(METHODS)}")
    if inference is None:
        inference = "wald" if method == "fixed" else "hartung_knapp"
    if inference not in INFERENCES:
        raise DataError("PMG-OPTION", f"unknown inference {inference!r}", fix=f"one of {', '.join(INFERENCES)}")
    check_level(level)
    areas = gather(estimate, moderators)
    _enough(estimate, areas, method)
    model = Model.of(areas.y, areas.v, areas.x)
    found = heterogeneity(model, method)
    law = coefficient_law(model, areas, found[0], inference, clusters_of(estimate, areas, cluster))
    details = pool_details(estimate, areas, model, method, inference, found, law, level)
    return _result(estimate, areas, details, law)


def _enough(estimate: Estimate[Any], areas: Areas, method: Method) -> None:
    k, p = areas.x.shape
    lost = [row for row, why in enumerate(areas.reason) if why]
    if k >= p + (1 if method == "fixed" else 2):
        return
    reasons = sorted({areas.reason[row] for row in lost})
    said = f"; left out: {'; '.join(reasons)}" if reasons else ""
    if method != "fixed" and k >= p + 1 and p == 1:
        raise DesignError(
            "PMG-FEW-AREAS",
            f"{k} areas cannot show how far areas differ{said}",
            where=label_of(estimate, lost),
            fix='report them side by side with their contrast("unit"), or method="fixed" if one common effect is meant',
        )
    raise DesignError(
        "PMG-FEW-AREAS",
        f"{k} usable areas for {p} coefficient{'s' if p > 1 else ''}{said}",
        where=label_of(estimate, lost),
        fix="effect_per_area gives areas a law of their own; or fewer moderators",
    )


def _only(terms: pd.DataFrame, name: str) -> dict[str, Any]:
    """A label that all areas share."""
    return {name: terms[name].iloc[0]} if name in terms and terms[name].nunique(dropna=False) == 1 else {}


def _result(estimate: Estimate[Any], areas: Areas, details: PoolDetails, law: CoefficientLaw) -> Estimate[PoolDetails]:
    terms, p = estimate.terms.iloc[areas.position], len(details.coef)
    scale = SCALES[estimate.scale]
    values = scale.back(details.coef)
    slope = 1 / np.abs(scale.slope(values))
    shared = bool((law.df == law.df[0]).all())  # a Satterthwaite df is each coefficient's own
    support = None if shared else Support(np.full(p, float(details.k)), law.df + 1, np.ones(p), law.df)
    df = float(law.df[0]) if shared and np.isfinite(law.df[0]) else None
    covariance = Covariance(law.cov * np.outer(slope, slope), support, corrected=True, df=df)
    kind = "" if details.method == "fixed" else "random effects, "
    columns = {
        **_only(terms, "estimand"),
        **_only(terms, "outcome"),
        "group": list(areas.names),
        "n_units": details.k,
        "method": f"{kind}{NAMES[details.method]}, {INFERENCE_NAMES[details.inference]}",
    }
    options = {
        "method": details.method,
        "inference": details.inference,
        "moderators": [name for name in areas.names if name not in ("mean", "intercept")],
    }
    provenance = estimate.provenance.then("infer.pool")
    provenance = replace(
        provenance,
        options={**provenance.options, "pool": options},
        assumptions=(*provenance.assumptions, *ASSUMPTIONS),
        references=(*provenance.references, *REFERENCES),
    )
    notes = [
        f"pooling leaves out {label}: {areas.reason[row]}"
        for row, label in zip(*_left_out(estimate, areas), strict=True)
    ]
    return Estimate(
        values, make_terms(columns, p), covariance, details, estimate.scale, provenance=provenance.noting(*notes)
    )


def _left_out(estimate: Estimate[Any], areas: Areas) -> tuple[list[int], list[Any]]:
    rows = [row for row, why in enumerate(areas.reason) if why]
    return rows, label_of(estimate, rows)


__all__ = ["pool"]
