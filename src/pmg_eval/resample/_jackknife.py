"""Cluster jackknife (CV3) of any estimator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Estimate, Influence, Rows, independent
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._align import aligned, label_keys
from pmg_eval.resample._checkpoint import job_key
from pmg_eval.resample._door import estimated, need_label
from pmg_eval.resample._tasks import run
from pmg_eval.typing import Estimator


@dataclass(frozen=True, eq=False)
class JackknifeDetails:
    """What the jackknife keeps.

    Attributes
    ----------
    leave_one_out : DataFrame (G, k)
        Estimates without each unit (or cluster), NaN where the term does not exist without it.
    """

    leave_one_out: pd.DataFrame

    def __repr__(self) -> str:
        count, k = self.leave_one_out.shape
        terms = "1 term" if k == 1 else f"{k} terms"
        return f"JackknifeDetails({count} estimates of {terms}; more in spread() and leave_one_out)"

    def spread(self) -> pd.DataFrame:
        """Smallest and largest estimate of every term, and the unit whose omission gives it."""
        table = self.leave_one_out
        low, high = table.min(), table.max()
        # a term that is missing in every replicate has no extreme
        safe = table.loc[:, table.notna().any()]
        return pd.DataFrame(
            {
                "low": low,
                "without_low": safe.idxmin().astype(object),  # labels stay what they are where some are missing
                "high": high,
                "without_high": safe.idxmax().astype(object),
            }
        ).reindex(table.columns)


def jackknife(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    cluster: str | None = None,
    n_jobs: int = 1,
    checkpoint: str | Path | None = None,
) -> Estimate[JackknifeDetails]:
    r"""Leave each unit (or cluster) out and estimate again.

    The pseudo-rows :math:`\psi_g=\sqrt{G(G-1)}\,(\bar\theta_{(-)}-\hat\theta_{(-g)})` are influence values whose
    covariance is the cluster jackknife

    .. math:: \widehat V_{CV3}=\frac{G-1}{G}\sum_g(\hat\theta_{(-g)}-\bar\theta_{(-)})(\cdot)',

    so everything that works on an estimate works on this one. Intervals use t with the guard's degrees of freedom.

    Parameters
    ----------
    estimator : callable
        ``estimator(panel, outcome) -> Estimate``; bind options with ``functools.partial``.
    panel : Panel
    outcome : str
    cluster : str, optional
        A label of the panel's units (cluster or region column); default: every unit by itself. Repeated
        cross-sections need one.
    n_jobs : int
        Processes; the result does not depend on it.
    checkpoint : path, optional
        File from which an interrupted run continues (see docs/inference/checkpoints.md).

    Returns
    -------
    Estimate[JackknifeDetails]
        The estimator's own values and terms; rows of psi are the clusters.

    Raises
    ------
    DesignError
        Fewer than three clusters.
    DataError
        PMG-CHECKPOINT: the checkpoint belongs to another job or is damaged.

    Assumes
    -------
    1. Clusters are independent. 2. No single cluster carries a term: where a term does not exist without some
    cluster, its standard error is NaN and ``status`` says so.

    References
    ----------
    MacKinnon, Nielsen and Webb (2023), doi:10.1002/jae.2969.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import did, resample
    >>> rng = np.random.default_rng(1)
    >>> table = pd.DataFrame([(i, t, 3 if i < 5 else 0, rng.normal()) for i in range(20) for t in range(5)],
    ...                      columns=["area", "year", "start", "rate"])
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> overall = lambda panel, outcome: did.imputation(panel, outcome).average()
    >>> resample.jackknife(overall, panel, "rate").to_frame()["df"].tolist()
    [4.0]
    """
    need_label("cluster", cluster)
    need_panel(panel)
    panel = panel.for_outcome(outcome)  # once: its warnings come once, and the units it drops are not left out again
    full = estimated(estimator, panel, outcome)
    names, codes = _clusters(panel, cluster)
    count = len(names)
    if count < 3:
        raise DesignError("PMG-FEW-CLUSTERS", f"a jackknife over {count} clusters", fix="at least three are needed")
    keys = label_keys(full)
    # An estimator may have a way to its values alone (in the order of given terms): labels and a law, which a replicate
    # does not need, cost more than the estimate.
    values = getattr(estimator, "values", None)

    def without(group: int) -> Any:
        part = panel.select(codes != group)
        try:
            return aligned(estimator(part, outcome), keys) if values is None else values(part, outcome, full.terms)
        except (DesignError, InferenceError, NumericalError, DataError):
            return np.full(len(keys), np.nan)  # shows as a NaN standard error with the reason in `status`

    what = f"jackknife over {cluster or 'unit'}s"
    key = None if checkpoint is None else job_key(estimator, panel, outcome, {"cluster": cluster}, None)
    found = run(without, range(count), n_jobs, what, checkpoint=checkpoint, key=key)
    replicates = np.array(found, dtype=np.float64)
    psi = np.sqrt(count * (count - 1)) * (replicates.mean(axis=0) - replicates)
    reference = (full.terms["status"] == "reference").to_numpy()
    psi[:, reference] = 0.0
    status = _status(full, replicates, names, reference)
    law = Influence(
        Rows(left=psi),
        _labels(panel, names, cluster),
        count,
        treated=_treated(full, panel, codes, count),
        corrected=True,
    )
    terms = full.terms.assign(
        status=status, method=f"jackknife over {count} {cluster or 'unit'}s, t with the guard's df"
    )
    provenance = replace(
        full.provenance.then(f"jackknife(cluster={cluster!r})"),
        references=(*full.provenance.references, "10.1002/jae.2969"),
    )
    table = pd.DataFrame(replicates, index=names, columns=pd.RangeIndex(len(keys)))
    return Estimate(
        full.values, terms, law, JackknifeDetails(table), full.scale, provenance=provenance, dependence=independent()
    )


def _clusters(panel: Panel, cluster: str | None) -> tuple[pd.Index[Any], Any]:
    if cluster is None:
        if not panel.is_panel:
            raise DesignError(
                "PMG-CLUSTER", "repeated cross-sections have no units to leave out", fix="name a cluster= of the panel"
            )
        return panel.units, np.arange(panel.n_units)
    if cluster not in panel.unit_labels:
        raise DataError("PMG-CLUSTER", f"no unit label {cluster!r}", where=list(panel.unit_labels.columns))
    codes, names = pd.factorize(panel.unit_labels[cluster], sort=True)
    return pd.Index(names), codes


def _labels(panel: Panel, names: pd.Index[Any], cluster: str | None) -> pd.DataFrame:
    return panel.unit_labels if cluster is None else pd.DataFrame({cluster: names})


def _treated(full: Estimate[Any], panel: Panel, codes: Any, count: int) -> Rows | None:
    """Weights of the treated units, summed to the clusters, aligned by unit label.

    An estimator that does not say whom its terms weigh (a synthetic control) weighs treated units alike here, so that
    t has at most as many degrees of freedom as there are of them.
    """
    law = full.uncertainty
    if not isinstance(law, Influence):
        return _alike(full, panel).sum_rows(codes.astype(np.int64), count) if panel.is_panel else None
    if law.treated is None or "unit" not in law.rows:
        return None
    law = law.by_unit()
    position = panel.units.get_indexer(pd.Index(law.rows["unit"]))
    if law.treated is None or (position < 0).any():
        return None
    return law.treated.sum_rows(codes[position].astype(np.int64), count)


def _alike(full: Estimate[Any], panel: Panel) -> Rows:
    """Equal weights of the treated units, of the cohort that a term names."""
    started = np.isfinite(panel.cohort) & ~panel.always_treated & (panel.cohort <= panel.time_codes[-1])
    treated = np.repeat(started[:, None], len(full), axis=1)
    if "cohort" in full.terms:
        labels = np.array(
            [panel.time_label(int(code)) if on else None for code, on in zip(panel.cohort, started, strict=True)]
        )
        for column, cohort in enumerate(full.terms["cohort"]):
            if not pd.isna(cohort):
                treated[:, column] &= labels == cohort
    return Rows(left=treated.astype(np.float64))


def _status(full: Estimate[Any], replicates: Any, names: pd.Index[Any], reference: Any) -> list[str]:
    status = []
    for column, old in enumerate(full.terms["status"].astype(str)):
        lost = ~np.isfinite(replicates[:, column])
        if lost.any() and np.isfinite(full.values[column]) and not reference[column]:
            shown = ", ".join(map(str, names[lost][:3])) + (", ..." if lost.sum() > 3 else "")
            old = "; ".join(part for part in (old, f"undefined without {shown}: no jackknife") if part)
        status.append(old)
    return status
