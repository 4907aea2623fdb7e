"""From a rate ratio to a number of cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pmg_eval.errors import InferenceError
from pmg_eval.estimate import Estimate, Influence
from pmg_eval.numerics.rows import Rows


def cases_avoided(estimate: Estimate[Any]) -> Estimate[Any]:
    r"""Cases avoided by the treatment: expected minus observed.

    With the expected number :math:`w=\sum\hat\mu` of a term and its rate ratio :math:`\theta` (observed / expected),

    .. math:: w(1-\theta),\qquad \psi=-w\psi_\theta+(1-\theta)\psi_w,

    in cases (weighted cases, if the panel has weights); negative when there were more cases than expected.

    Parameters
    ----------
    estimate : Estimate
        Rate ratios of an estimator with ``family="poisson"`` whose weights are expected counts: its treated cells, or
        averages of them by any label.

    Returns
    -------
    Estimate
        The same terms (``estimand="cases_avoided"``) on the identity scale; pre-trend terms are left out. Their sum is
        ``.map(np.ones((1, k)))``.

    Raises
    ------
    InferenceError
        PMG-NOT-A-RATIO for estimates that are not rate ratios with the influence of their expected counts.

    Notes
    -----
    Assumes what the rate ratio assumes, and that the exposure of treated units is not affected by the treatment. Do not
    use it for averages with equal weights (``overall="cohort"``, ``"event_time"`` or ``"period"``): their weight is not
    a number of cases.

    Examples
    --------
    >>> import pandas as pd, pmg_eval as pe
    >>> df = pd.DataFrame({"area": list("aabb"), "year": [1, 2] * 2, "start": [2, 2, 0, 0], "cases": [10, 15, 20, 40]})
    >>> panel = pe.Panel(df, unit="area", time="year", cohort="start", never=0)
    >>> ratio = pe.did.imputation(panel, "cases", family="poisson").average()
    >>> float(ratio.values[0].round(6)), float(pe.did.cases_avoided(ratio).values[0].round(6))
    (0.75, 5.0)
    """
    law = estimate.uncertainty
    terms = estimate.terms
    estimand = terms["estimand"] if "estimand" in terms else terms["status"]
    ratio = (estimand == "rate_ratio").to_numpy(dtype=bool)
    if (
        estimate.scale != "log"
        or not ratio.any()
        or "weight" not in terms
        or not isinstance(law, Influence)
        or law.weight_psi is None
    ):
        raise InferenceError(
            "PMG-NOT-A-RATIO",
            "cases avoided need rate ratios weighted by expected counts, with the influence of both",
            fix='an estimator with family="poisson", for example did.imputation(panel, outcome, family="poisson")',
        )
    if not ratio.all():
        return cases_avoided(estimate.take(np.flatnonzero(ratio)))
    expected = terms["weight"].to_numpy(dtype=np.float64)
    usable = np.isfinite(estimate.values)
    gap = np.where(usable, 1 - estimate.values, 0.0)
    psi: Rows = law.psi.scale_columns(-expected).plus(law.weight_psi.scale_columns(gap)).compact()
    return replace(
        estimate,
        values=expected * (1 - estimate.values),
        terms=terms.assign(estimand="cases_avoided", weight=1.0),
        uncertainty=replace(law, psi=psi, weight_psi=None),
        scale="identity",
        provenance=estimate.provenance.then("cases_avoided"),
    )
