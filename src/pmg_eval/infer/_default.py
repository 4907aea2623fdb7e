"""The default inference: which law stands behind an effect, given how many areas were treated."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError, PmgEvalWarning
from pmg_eval.estimate import Covariance, Estimate, LinearFit
from pmg_eval.estimate.average import average_values
from pmg_eval.estimate.inference import check_level
from pmg_eval.infer._settle import Design, PooledBy, design_of, pooled_law, settle
from pmg_eval.infer._tried import DefaultDetails, row_of, tried_table
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample import jackknife, placebo, randomize
from pmg_eval.resample._door import estimated, need_jobs, need_seed, need_whole
from pmg_eval.typing import Estimator

By = Literal["cohort", "unit"]
RANDOM_DRAWS, PLACEBO_DRAWS = 499, 19_999


@dataclass(frozen=True)
class _Average:
    """An estimator's average, as an estimator."""

    estimator: Estimator
    by: PooledBy | None

    def __call__(self, panel: Panel, outcome: str) -> Estimate[Any]:
        found = self.estimator(panel, outcome)
        if isinstance(found.details, LinearFit):
            return found
        return found.average(by=self.by) if self.by else found.average()

    def values(self, panel: Panel, outcome: str, terms: pd.DataFrame) -> Array:
        """The averages alone, in the order of ``terms``."""
        return average_values(self.estimator(panel, outcome), terms, self.by)


def default(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    by: By | None = None,
    eligible: Sequence[Any] | None = None,
    level: float = 0.95,
    draws: int | None = None,
    rng: int | np.random.Generator = 0,
    n_jobs: int = 1,
    beside: bool = True,
) -> Estimate[DefaultDetails]:
    r"""An effect with the inference that holds for the number of areas behind it.

    With :math:`n_1=(\sum\omega^2)^2/\sum\omega^4` treated areas (as many equal ones; :math:`\omega` their weights) and
    :math:`n_0` comparison areas:

    ===================================== ==============================================================================
    :math:`n_1\ge20,\ n_0\ge40`           jackknife over areas (CV3), t with the guard's degrees of freedom
    :math:`6\le n_1<20` (or few controls) the wider of that jackknife and the pooled placebo law
    :math:`1<n_1<6`                       the pooled placebo law: the placebo errors of every treated area at its own
                                          start, scaled by size, combined with the estimator's weights
    one treated area                      the placebo law of that area
    fewer than 19 placebo areas           no placebo law: the jackknife; with one treated area no interval
    ===================================== ==============================================================================

    The choice depends on the design, never on the p-values. Whatever else is valid for the design stands beside it in
    ``details.tried``; when a valid method lies on the other side of 5 %, ``details.agreement`` is ``"mixed"``.

    Parameters
    ----------
    estimator : callable
        ``estimator(panel, outcome) -> Estimate`` with terms that can be averaged, or a regression
        (``details`` a :class:`~pmg_eval.estimate.LinearFit` with one regressor: CR3 with Bell-McCaffrey degrees of
        freedom takes the place of the jackknife).
    panel, outcome : Panel, str
    by : {"cohort", "unit"}, optional
        One term per cohort, or per treated area (always the placebo law). Default: the overall average.
    eligible : sequence of unit labels, optional
        Comparison areas that might have been chosen instead (placebo and randomization pool).
    level : float
        Confidence level at which the wider of two is decided and methods are compared.
    draws : int, optional
        Random assignments of the randomization test beside (default 499; up to four times as many while its p is too
        close to 5 % to tell); with ``by="unit"`` draws of the placebo law
        (default 19,999).
    rng, n_jobs : int
        Seed; processes (results do not depend on them).
    beside : bool
        ``False`` leaves out what the headline does not need (for simulations).

    Returns
    -------
    Estimate[DefaultDetails]
        The estimator's own values; the law of the headline. ``terms.method`` names it.

    Raises
    ------
    InferenceError
        PMG-NO-INFERENCE: no method is valid for this design (one treated area and no placebo pool), with the reasons.

    Assumes
    -------
    1. The estimator's identifying assumption (parallel trends, a good synthetic control): no law of the error repairs
    its failure. Probe: :func:`pmg_eval.infer.honest`, :func:`pmg_eval.resample.placebo_in_time`. 2. Areas are
    independent. Probe: :func:`pmg_eval.infer.common_shock`. 3. For the placebo law, see
    :func:`pmg_eval.resample.placebo`.

    Notes
    -----
    Why not a clustered standard error: with 2, 5 and 8 treated areas its nominal 95 % intervals cover 61-65, 88 and
    90 %, with one 6-22 %. The evidence page has the coverage of this policy.

    References
    ----------
    Ferman and Pinto (2019), doi:10.1162/rest_a_00759; Alvarez and Ferman (2023), arXiv:2302.03131; MacKinnon, Nielsen
    and Webb (2023), doi:10.1002/jae.2969; Bell and McCaffrey (2002).

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import did, infer
    >>> rng = np.random.default_rng(1)
    >>> table = pd.DataFrame([(i, t, 4 if i < 3 else 0, rng.normal()) for i in range(60) for t in range(6)],
    ...                      columns=["area", "year", "start", "rate"])
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> effect = infer.default(did.imputation, panel, "rate")
    >>> effect.details.headline, effect.details.agreement
    ('placebo law', 'agree')
    """
    need_panel(panel)
    check_level(level)
    if by not in (None, "cohort", "unit"):
        raise DataError("PMG-OPTION", f"unknown by={by!r}", fix='None, "cohort" or "unit"')
    need_seed(rng)
    need_jobs(n_jobs)
    need_whole("draws", 1 if draws is None else draws)
    panel = panel.for_outcome(outcome)
    if not panel.is_panel:
        raise InferenceError(
            "PMG-CROSS-SECTION",
            "repeated cross-sections have no areas to leave out or to compare with",
            fix="resample.jackknife(cluster=...) over the areas that the persons live in",
        )
    pool = _Pool(estimator, panel, outcome, eligible, rng, n_jobs)
    if by == "unit":
        return _areas(pool, level, PLACEBO_DRAWS if draws is None else draws)
    own = estimated(estimator, panel, outcome)
    if isinstance(own.details, LinearFit) and by is not None:
        raise DataError("PMG-OPTION", "a regression has one coefficient, none per cohort", fix="by=None")
    average = _Average(estimator, by)
    whole = average(panel, outcome)
    design = design_of(whole, panel, own)
    return settle(
        whole,
        design,
        lambda: _spread(average, own, panel, outcome, n_jobs),
        lambda: pool.average(by, whole),
        level=level,
        random=(lambda: _random(average, pool, RANDOM_DRAWS if draws is None else draws))
        if beside and by is None
        else None,
        beside=beside,
    )


@dataclass(frozen=True, eq=False)
class _Pool:
    """What the placebo law needs."""

    estimator: Estimator
    panel: Panel
    outcome: str
    eligible: Sequence[Any] | None
    rng: int | np.random.Generator
    n_jobs: int

    def areas(self, draws: int = PLACEBO_DRAWS) -> Estimate[Any]:
        return placebo(
            self.estimator,
            self.panel,
            self.outcome,
            eligible=self.eligible,
            draws=draws,
            rng=self.rng,
            n_jobs=self.n_jobs,
        )

    def average(self, by: PooledBy | None, whole: Estimate[Any]) -> Estimate[Any]:
        """The estimator's own averages with the pooled law of its areas."""
        if isinstance(whole.details, LinearFit):
            raise InferenceError(
                "PMG-NO-LAW",
                "a regression's coefficient is no average of areas: their errors do not give its law",
            )
        with warnings.catch_warnings():  # few placebos limit single areas; pooled, many more combinations exist
            warnings.simplefilter("ignore", PmgEvalWarning)
            areas = self.areas()
        return pooled_law(areas, whole, by)


def _spread(average: _Average, own: Estimate[Any], panel: Panel, outcome: str, n_jobs: int) -> Estimate[Any]:
    """Jackknife over areas; of a regression CR3 with Bell-McCaffrey degrees of freedom."""
    if not isinstance(own.details, LinearFit):
        return jackknife(average, panel, outcome, n_jobs=n_jobs)
    if len(own) != 1:
        raise InferenceError("PMG-ONE-TERM", f"a regression with {len(own)} regressors", fix="where(...) the effect")
    cov, df = own.details.cluster_robust("unit", "CR3")
    law = Covariance(cov, corrected=True, df=float(df[0]))
    return replace(own, uncertainty=law, terms=own.terms.assign(method="CR3, t with Bell-McCaffrey df"))


def _random(average: _Average, pool: _Pool, draws: int) -> Any:
    return randomize(
        average,
        pool.panel,
        pool.outcome,
        eligible=pool.eligible,
        draws=draws,
        until=4 * draws,
        rng=pool.rng,
        n_jobs=pool.n_jobs,
    )


def _areas(pool: _Pool, level: float, draws: int) -> Estimate[DefaultDetails]:
    """Every treated area by its own placebo law."""
    areas = pool.areas(draws)
    design = Design(1, np.ones(len(areas)), float(np.nanmin(areas.terms["n_placebo"].to_numpy(dtype=np.float64))))
    tried = tried_table([row_of("placebo", areas, level, design.effective, chosen=True)])
    details = DefaultDetails(
        headline="placebo law",
        n_treated=1,
        n_effective=1.0,
        n_control=design.n_control,
        level=level,
        tried=tried,
        agreement="alone",
        law=areas.details,
    )
    return replace(areas, details=details, provenance=areas.provenance.then("infer.default"))
