"""Whether one area (or wave, or region) carries the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.estimate.scales import SCALES
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._align import aligned, label_keys
from pmg_eval.resample._checkpoint import job_key
from pmg_eval.resample._door import estimated, need_label
from pmg_eval.resample._jackknife import JackknifeDetails
from pmg_eval.resample._tasks import run
from pmg_eval.typing import Estimator

Only = Literal["treated", "all"]


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Estimates without each area (or group of areas).

    Attributes
    ----------
    full : Estimate
        With everybody.
    estimates : DataFrame (G, k)
        One row per area (or group) left out, one column per term of ``full`` (in its order); NaN where the term does
        not exist without it.
    refused : dict
        Why there is no estimate at all without these.
    by : str
    provenance : Provenance
    """

    full: Estimate[Any]
    estimates: pd.DataFrame
    refused: dict[Any, str]
    by: str
    provenance: Provenance = field(default_factory=Provenance)

    def spread(self) -> pd.DataFrame:
        """Per term: labels, ``estimate``, ``low, without_low, high, without_high`` and ``changes_sign``.

        ``low`` and ``high`` are the smallest and the largest estimate, each with what is left out to get it;
        ``changes_sign`` says whether no effect lies between them.
        """
        found = JackknifeDetails(self.estimates).spread().reset_index(drop=True)
        null = SCALES[self.full.scale].null
        labels = self.full.terms[self.full.labels].assign(estimate=self.full.values)
        crosses = (found["low"] - null) * (found["high"] - null) < 0
        return pd.concat([labels, found], axis=1).assign(changes_sign=crosses)

    def to_frame(self) -> pd.DataFrame:
        """One row per area left out and term: ``left_out``, labels, ``estimate``, ``change`` and ``status``."""
        terms = self.full.terms[self.full.labels]
        k = len(terms)
        frame = pd.DataFrame({"left_out": self.estimates.index.repeat(k)})
        for name in terms:
            frame[name] = pd.concat([terms[name]] * len(self.estimates), ignore_index=True)
        values = self.estimates.to_numpy(dtype=np.float64)
        frame["estimate"] = values.ravel()
        frame["change"] = (values - self.full.values).ravel()
        status = [self.refused.get(name, "") for name in self.estimates.index for _ in range(k)]
        gone = np.isnan(frame["estimate"]) & np.isfinite(np.tile(self.full.values, len(self.estimates)))
        frame["status"] = [
            why or ("no such term without it" if lost else "") for why, lost in zip(status, gone, strict=True)
        ]
        return frame

    def __str__(self) -> str:
        refused = f", {len(self.refused)} refused" if self.refused else ""
        shown = self.spread().to_string(index=False, float_format=lambda number: f"{number:.4g}")
        return f"Estimates without each {self.by} ({len(self.estimates)}{refused})\n{shown}"

    def __repr__(self) -> str:
        return str(self)


def leave_one_out(
    estimator: Estimator,
    panel: Panel,
    outcome: str,
    *,
    by: str = "unit",
    only: Only = "treated",
    n_jobs: int = 1,
    checkpoint: str | Path | None = None,
) -> LeaveOneOut:
    r"""Estimate again without each area in turn: :math:`\hat\theta_{(-g)}` and its range.

    Parameters
    ----------
    estimator : callable
        ``estimator(panel, outcome) -> Estimate``; bind options with ``functools.partial``.
    panel, outcome : Panel, str
    by : str, default "unit"
        What is left out together: single areas, ``"cohort"`` (all areas with one start), or the areas of one value of a
        unit label of the panel (region, cluster).
    only : {"treated", "all"}, default "treated"
        Areas (or groups with an area) that are treated; or comparison areas as well. Never treated is no cohort.
    n_jobs : int
        Processes; the result does not depend on it.
    checkpoint : path, optional
        File from which an interrupted run continues.

    Returns
    -------
    LeaveOneOut

    Raises
    ------
    DataError
        PMG-OPTION (unknown ``only``), PMG-COLUMN (unknown label), PMG-CHECKPOINT.
    DesignError
        PMG-CROSS-SECTION (areas of repeated cross-sections have no labels of units), PMG-NO-TREATED.

    Notes
    -----
    A range, not an interval: it says whether a finding hangs on one area, not how sure it is
    (:func:`jackknife` turns the same numbers into a standard error). With few areas it widens by itself.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import did, resample
    >>> rate = {0: [1, 1, 4, 4], 1: [2, 2, 3, 3], 2: [1, 1, 1, 1], 3: [0, 0, 0, 0]}
    >>> table = pd.DataFrame([(i, t, 3 if i < 2 else 0, rate[i][t - 1]) for i in rate for t in range(1, 5)],
    ...                      columns=["area", "year", "start", "rate"])
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> found = resample.leave_one_out(lambda p, y: did.imputation(p, y).average(), panel, "rate")
    >>> found.spread()[["estimate", "low", "without_low", "high", "without_high"]].round(9).values.tolist()
    [[2.0, 1.0, 0, 3.0, 1]]
    """
    if only not in ("treated", "all"):
        raise DataError("PMG-OPTION", f"unknown only={only!r}", fix='"treated" or "all"')
    need_label("by", by)
    need_panel(panel)
    panel = panel.for_outcome(outcome)
    names, members = _groups(panel, by, only)
    full = estimated(estimator, panel, outcome)
    keys = label_keys(full)

    def without(group: int) -> list[Any]:
        try:
            return ["", aligned(estimator(panel.select(~members[group]), outcome), keys).tolist()]
        except (DataError, DesignError, InferenceError, NumericalError) as refused:
            return [refused.what, [np.nan] * len(keys)]

    key = None
    if checkpoint is not None:
        key = job_key(estimator, panel, outcome, {"by": by, "only": only}, None)
    found = run(without, range(len(names)), n_jobs, f"without each {by}", checkpoint=checkpoint, key=key)
    table = pd.DataFrame([values for _, values in found], index=names, columns=pd.RangeIndex(len(keys)), dtype=float)
    return LeaveOneOut(
        full,
        table,
        {name: why for name, (why, _) in zip(names, found, strict=True) if why},
        by,
        full.provenance.then(f"leave_one_out(by={by!r}, only={only!r})"),
    )


def _groups(panel: Panel, by: str, only: Only) -> tuple[pd.Index[Any], list[Any]]:
    """What is left out, and the mask (n,) of its areas."""
    if not panel.is_panel:
        raise DesignError(
            "PMG-CROSS-SECTION", "repeated cross-sections have no areas to leave out", fix="a Panel with unit="
        )
    treated = np.isfinite(panel.cohort) & (panel.cohort <= panel.time_codes[-1])
    if by == "unit":
        codes, names = np.arange(panel.n_units), panel.units
    elif by == "cohort":
        starts, codes = np.unique(panel.cohort, return_inverse=True)
        names = pd.Index([panel.time_label(start) for start in starts[np.isfinite(starts)]])
    elif by in panel.unit_labels:
        codes, levels = pd.factorize(panel.unit_labels[by], sort=True)
        names = pd.Index(levels)
    else:
        known = ["unit", "cohort", *panel.unit_labels.columns.drop("unit")]
        raise DataError("PMG-COLUMN", f"no unit label {by!r}", where=known)
    masks = [codes == position for position in range(len(names))]
    kept = [position for position, mask in enumerate(masks) if only == "all" or (mask & treated).any()]
    if not kept:
        raise DesignError("PMG-NO-TREATED", "no treated area to leave out")
    return names[kept], [masks[position] for position in kept]
