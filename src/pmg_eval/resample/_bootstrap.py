"""Bootstrap: multipliers on the influence rows, or whole units drawn again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Draws, Estimate, Influence, clustered
from pmg_eval.estimate.carriers import quantile_error
from pmg_eval.estimate.inference import check_level
from pmg_eval.estimate.kernels import group_codes
from pmg_eval.estimate.terms import REFERENCE
from pmg_eval.numerics.rows import Array, Rows
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._align import aligned, label_keys
from pmg_eval.resample._bootstrap_units import Urn, resampled, urn_of
from pmg_eval.resample._checkpoint import job_key
from pmg_eval.resample._door import estimated, is_whole, need_jobs, need_label, need_seed
from pmg_eval.resample._tasks import run
from pmg_eval.typing import Estimator

Kind = Literal["multiplier", "cluster"]
Multiplier = Literal["rademacher", "mammen", "webb"]
FEW = 5  # at five treated units nominal 95 % intervals of this kind cover 61 to 88 %
_MOST_FAILED = 0.1
_FEW_WORDS = f"{FEW} treated units or fewer: no bootstrap; use infer.default or resample.placebo"
_LOST_WORDS = "missing in more than a tenth of the replicates: no bootstrap"
_BLOCK = 256  # draws of multipliers that share a child of the generator
_WEBB = np.sqrt([1.5, 1.0, 0.5, 0.5, 1.0, 1.5]) * [-1, -1, -1, 1, 1, 1]
_GOLDEN = (1 + np.sqrt(5)) / 2


@dataclass(frozen=True, eq=False)
class BootstrapDetails:
    """What the bootstrap keeps.

    Attributes
    ----------
    kind : {"multiplier", "cluster"}
    values : (k,) float
        The estimates.
    errors : (R, k) float
        Replicates minus estimates, of the replicates that are used.
    failed : (k,) float
        Share of all replicates in which a term could not be estimated.
    """

    kind: str
    values: Array
    errors: Array
    failed: Array

    def __repr__(self) -> str:
        shape = f"{len(self.errors)} replicates of {len(self.values)} term{'' if len(self.values) == 1 else 's'}"
        return f"BootstrapDetails(kind={self.kind!r}, {shape}; more in spread() and intervals())"

    def spread(self) -> pd.DataFrame:
        """Standard error and bias of every term with their Monte-Carlo standard errors, and the share that failed."""
        count = len(self.errors)
        error = self.errors.std(axis=0, ddof=1)
        found = Draws(self.errors, np.full(len(self.values), 1 / (count + 1))).monte_carlo(0.95, self.values)
        return pd.DataFrame(
            {
                "std_error": error,
                "std_error_error": found.std_error,
                "bias": self.errors.mean(axis=0),
                "bias_error": error / np.sqrt(count),
                "failed": self.failed,
            }
        )

    def intervals(self, level: float = 0.95) -> pd.DataFrame:
        r"""Percentile and basic intervals, with Monte-Carlo errors of their ends.

        With q the quantiles of :math:`\theta^*-\hat\theta` at :math:`(1\mp level)/2`: percentile
        :math:`\hat\theta+(q_-,q_+)`, basic :math:`\hat\theta-(q_+,q_-)`. ``to_frame`` uses the symmetric one,
        :math:`\hat\theta\mp` the quantile of :math:`|\theta^*-\hat\theta|` at ``level``.

        Returns
        -------
        DataFrame (k)
            ``percentile_low, percentile_high, basic_low, basic_high, low_error, high_error`` (the errors are those of
            the percentile ends; the basic ends have them in the other order). NaN where R is too small.
        """
        check_level(level)
        count, tail = len(self.errors), (1 - level) / 2
        rank = int(np.floor(tail * (count + 1) + 1e-9))
        nothing = np.full(len(self.values), np.nan)
        low = high = nothing
        if rank >= 1:
            ordered = np.partition(self.errors, [rank - 1, count - rank], axis=0)
            low, high = ordered[rank - 1], ordered[count - rank]
        return pd.DataFrame(
            {
                "percentile_low": self.values + low,
                "percentile_high": self.values + high,
                "basic_low": self.values - high,
                "basic_high": self.values - low,
                "low_error": quantile_error(self.errors, tail) if rank >= 1 else nothing,
                "high_error": quantile_error(self.errors, 1 - tail) if rank >= 1 else nothing,
            }
        )


def bootstrap(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    kind: Kind = "multiplier",
    multiplier: Multiplier = "rademacher",
    cluster: str | None = None,
    strata: str | None = "cohort",
    few_treated: Literal["refuse", "keep"] = "refuse",
    draws: int = 999,
    rng: int | np.random.Generator = 0,
    n_jobs: int = 1,
    checkpoint: str | Path | None = None,
) -> Estimate[BootstrapDetails]:
    r"""The law of an estimate by the bootstrap.

    .. math:: \text{multiplier: }\ \theta^*_r-\hat\theta=\frac1n\sum_g v_{gr}\psi_g,\qquad
              \text{cluster: }\ \theta^*_r-\hat\theta=\hat\theta(\text{units drawn with replacement})-\hat\theta

    The multiplier bootstrap estimates once and costs nothing; it has the variance of the influence function. The
    cluster bootstrap estimates anew on whole units (their whole history, so that serial dependence stays) or whole
    clusters, drawn within strata; it needs no influence function.

    Parameters
    ----------
    estimator : callable
        ``estimator(panel, outcome) -> Estimate``. Average inside it: the influence of estimated weights is in the
        estimate that it returns, and no longer in the draws.
    panel, outcome : Panel, str
    kind : {"multiplier", "cluster"}
    multiplier : {"rademacher", "mammen", "webb"}
        Law of v, with mean 0 and variance 1: :math:`\pm1`; Mammen's two points (third moment 1); Webb's six points.
    cluster : str, optional
        A unit label (cluster or region): rows are summed to it, or whole clusters are drawn. Default: every unit by
        itself.
    strata : "cohort", str or None
        Cluster bootstrap only: units are drawn within cohorts (never treated are one), so that every replicate has
        every cohort; within the levels of a unit label; or None, from all.
    few_treated : {"refuse", "keep"}
        What to do with terms behind which stand five treated units (or clusters) or fewer, and with strata of one.
        ``"keep"`` computes them and says so in ``method``.
    draws, rng, n_jobs
        Replicates, seed (each replicate has its own child), processes.
    checkpoint : path, optional
        Cluster bootstrap only: file from which an interrupted run continues, also with more ``draws`` (see
        docs/inference/checkpoints.md).

    Returns
    -------
    Estimate[BootstrapDetails]
        The estimator's own values and terms, with a :class:`Draws` law. Intervals are symmetric (see
        :meth:`BootstrapDetails.intervals` for percentile and basic ones); ``monte_carlo()`` gives the Monte-Carlo error
        of every number. Ratios: errors are on the natural scale, intervals on the log scale to first order.

    Raises
    ------
    InferenceError
        PMG-FEW-TREATED: no term has more than five treated units behind it. PMG-NO-INFLUENCE: a multiplier bootstrap of
        an estimate without influence values. PMG-BOOTSTRAP-FAILED: more than a tenth of the replicates failed.
    DesignError
        PMG-LONE-STRATUM: a stratum holds one unit, whose variation the bootstrap does not see.
    DataError
        PMG-OPTION, PMG-DRAWS, PMG-CLUSTER, PMG-COLUMN, PMG-CHECKPOINT.

    Assumes
    -------
    1. Units (clusters) are independent: probe with Moran's I of residual changes. 2. Many treated units: at 8, 5 and 2
    nominal 95 % intervals of this kind cover about 88, 88 and 63 %. 3. The estimate is smooth in the data: not a
    synthetic control of one unit.

    When not to use
    ---------------
    With few treated units (``infer.default``, ``resample.placebo``); where the jackknife is affordable it is the safer
    choice. The cluster bootstrap of a mean is smaller than the usual variance by (n-1)/n in each stratum.

    References
    ----------
    Callaway and Sant'Anna (2021), doi:10.1016/j.jeconom.2020.12.001; Cameron, Gelbach and Miller (2008),
    doi:10.1162/rest.90.3.414; Mammen (1993), doi:10.1214/aos/1176349025; Webb (2023), doi:10.1111/caje.12661; Davison
    and Hinkley (1997), doi:10.1017/CBO9780511802843.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import did, resample
    >>> rng = np.random.default_rng(1)
    >>> table = pd.DataFrame([(i, t, 3 if i < 12 else 0, rng.normal()) for i in range(40) for t in range(5)],
    ...                      columns=["area", "year", "start", "rate"])
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> overall = lambda panel, outcome: did.group_time(panel, outcome).average()
    >>> drawn = resample.bootstrap(overall, panel, "rate", draws=1_999)
    >>> bool(abs(drawn.se[0] / overall(panel, "rate").se[0] - 1) < 0.05)
    True
    """
    _check(kind, multiplier, few_treated, draws)
    need_seed(rng)
    need_jobs(n_jobs)
    need_label("cluster", cluster)
    need_label("strata", strata)
    need_panel(panel)
    panel = panel.for_outcome(outcome)
    full = estimated(estimator, panel, outcome)
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    if kind == "multiplier":
        if checkpoint is not None:
            raise DataError("PMG-OPTION", "the multiplier bootstrap is one estimate and needs no checkpoint")
        errors, count = _multiplied(full, panel, cluster, multiplier, draws, generator)
        label = f"multiplier bootstrap ({multiplier}) over {count} {cluster or 'unit'}s"
    else:
        urn = urn_of(panel, cluster, strata)
        _refuse_lone(urn, strata, few_treated)
        key = None
        if checkpoint is not None:
            key = job_key(estimator, panel, outcome, {"cluster": cluster, "strata": strata}, rng)
        errors = _redrawn(estimator, panel, outcome, full, urn, generator.spawn(draws), n_jobs, checkpoint, key)
        within = "" if strata is None else f", within {strata}s"
        label = f"bootstrap of {urn.count} {urn.what}s{within}"
    few = _few(full, panel, cluster)
    options = {"kind": kind, "multiplier": multiplier, "cluster": cluster, "strata": strata, "few_treated": few_treated}
    seed = None if isinstance(rng, np.random.Generator) else int(rng)
    return _estimate(full, errors, few, {**options, "draws": draws}, label, seed)


def _check(kind: str, multiplier: str, few_treated: str, draws: int) -> None:
    for name, value, known in (
        ("kind", kind, ("multiplier", "cluster")),
        ("multiplier", multiplier, ("rademacher", "mammen", "webb")),
        ("few_treated", few_treated, ("refuse", "keep")),
    ):
        if value not in known:
            raise DataError("PMG-OPTION", f"unknown {name} {value!r}", fix=" or ".join(f'"{item}"' for item in known))
    if not is_whole(draws, 2):
        raise DataError("PMG-DRAWS", f"draws={draws!r}", fix="at least two; 999 give a p in steps of 0.001")


# ---- multipliers --------------------------------------------------------------------------------------------------


def _multiplied(
    full: Estimate[Any], panel: Panel, cluster: str | None, multiplier: str, draws: int, generator: np.random.Generator
) -> tuple[Array, int]:
    """Errors (R, k) and the number of independent rows."""
    law = full.uncertainty
    if not isinstance(law, Influence):
        raise InferenceError(
            "PMG-NO-INFLUENCE", "the multiplier bootstrap needs influence values", fix='kind="cluster"'
        )
    codes, count = group_codes(law, [cluster or "unit"])
    rows = law.psi.sum_rows(codes, count)
    errors = np.empty((draws, len(full)))
    starts = range(0, draws, _BLOCK)
    for start, child in zip(starts, generator.spawn(len(starts)), strict=True):
        stop = min(start + _BLOCK, draws)
        # All of the block is drawn, so that more draws of the same seed begin with these.
        errors[start:stop] = _weighted(_signs(multiplier, child, (_BLOCK, count))[: stop - start], rows) / law.n
    return errors, count


def _signs(multiplier: str, generator: np.random.Generator, shape: tuple[int, int]) -> Array:
    if multiplier == "rademacher":
        return np.asarray(generator.integers(0, 2, shape, dtype=np.int8) * 2.0 - 1.0)
    if multiplier == "webb":
        return np.asarray(_WEBB[generator.integers(0, 6, shape)])
    low = generator.random(shape) < _GOLDEN / np.sqrt(5)
    return np.asarray(np.where(low, 1 - _GOLDEN, _GOLDEN))


def _weighted(weights: Array, rows: Rows) -> Array:
    """``weights @ rows`` without building the rows."""
    total = np.zeros((len(weights), rows.shape[1]))
    if rows.left is not None:
        product = weights @ rows.left
        total += product if rows.right is None else product @ rows.right
    if rows.own is not None:
        total += (rows.own.T @ weights.T).T
    return np.asarray(total)


# ---- units drawn again --------------------------------------------------------------------------------------------


def _refuse_lone(urn: Urn, strata: str | None, few_treated: str) -> None:
    lone = urn.lone()
    if lone and few_treated == "refuse":
        raise DesignError(
            "PMG-LONE-STRATUM",
            f"a stratum of {strata} holds one {urn.what}, whose variation the bootstrap does not see",
            where=lone,
            fix='strata=None, resample.jackknife, or few_treated="keep"',
        )


def _redrawn(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    full: Estimate[Any],
    urn: Urn,
    children: list[np.random.Generator],
    n_jobs: int,
    checkpoint: str | Path | None,
    key: Any,
) -> Array:
    """Errors (R, k), NaN where a term could not be estimated."""
    keys = label_keys(full)

    def replicate(child: np.random.Generator) -> Any:
        try:
            return aligned(estimator(resampled(panel, urn.draw(child)), outcome), keys)
        except (DesignError, InferenceError, NumericalError, DataError):
            return np.full(len(keys), np.nan)  # counted in `failed`

    found = run(replicate, children, n_jobs, f"bootstrap of {urn.what}s", checkpoint=checkpoint, key=key)
    return np.array(found, dtype=np.float64).reshape(len(children), len(keys)) - full.values


# ---- the result ---------------------------------------------------------------------------------------------------


def _few(full: Estimate[Any], panel: Panel, cluster: str | None) -> Any:
    """Terms (k,) that rest on five treated units (or clusters) or fewer.

    Counted by the influence function where it knows them, otherwise in the panel.
    """
    law = full.uncertainty
    if isinstance(law, Influence) and law.treated is not None and "unit" in law.rows:
        support = law.by_unit().support(clustered(cluster or "unit"))
        if support is not None:
            return support.n_treated <= FEW  # False where a term has no treated units
    inside = (panel.cohort <= panel.time_codes[-1]) & ~panel.always_treated
    behind = np.flatnonzero(inside) if cluster is None else panel.unit_labels[cluster][inside].unique()
    return np.full(len(full), len(behind) <= FEW)


def _estimate(
    full: Estimate[Any], errors: Array, few: Any, options: dict[str, Any], label: str, seed: int | None
) -> Estimate[BootstrapDetails]:
    reference = (full.terms["status"] == REFERENCE).to_numpy()
    wanted = np.isfinite(full.values) & ~reference
    keep = options["few_treated"] == "keep"
    refused = wanted & few & (not keep)
    missing = ~np.isfinite(errors)
    lost = wanted & ~refused & (missing.mean(axis=0) > _MOST_FAILED)
    _refuse_all(wanted, refused, lost)
    kept = wanted & ~refused & ~lost
    used = ~missing[:, kept].any(axis=1)
    law = np.where(kept, errors[used], np.where(reference, 0.0, np.nan))
    why = np.select([refused, lost], [_FEW_WORDS, _LOST_WORDS], "")
    status = ["; ".join(filter(None, both)) for both in zip(full.terms["status"].astype(str), why, strict=True)]
    note = " (few treated units kept)" if keep and few[wanted].any() else ""
    provenance = replace(
        full.provenance.then(f"bootstrap({', '.join(f'{name}={value!r}' for name, value in options.items())})"),
        references=(*full.provenance.references, "10.1017/CBO9780511802843"),
        seed=seed,
    ).noting(f"{int(used.sum()):,} of {len(errors):,} bootstrap replicates used")
    return Estimate(
        full.values,
        full.terms.assign(status=status, method=f"{label}, {int(used.sum()):,} draws{note}", interval="wald"),
        Draws(law, np.full(len(full), 1 / (len(law) + 1))),
        BootstrapDetails(options["kind"], full.values, law, missing.mean(axis=0)),
        full.scale,
        provenance=provenance,
        dependence=full.dependence,
    )


def _refuse_all(wanted: Any, refused: Any, lost: Any) -> None:
    """Errors where no term is left; where some are, the others say why in their status."""
    left = wanted & ~refused
    if wanted.any() and not left.any():
        raise InferenceError(
            "PMG-FEW-TREATED",
            f"every term rests on {FEW} treated units or fewer, where nominal 95 % intervals of a bootstrap cover 61 "
            "to 88 %",
            fix='infer.default or resample.placebo; few_treated="keep" computes it all the same',
        )
    if left.any() and lost[left].all():
        raise InferenceError(
            "PMG-BOOTSTRAP-FAILED",
            f"no term could be estimated in more than {1 - _MOST_FAILED:.0%} of the replicates",
            fix='strata="cohort", so that every replicate has every cohort, or resample.jackknife',
        )
