"""Areas chosen on their own outcome, no effect at all: how often each method finds one, and what the checks say."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval import did, resample, synth
from pmg_eval.evaluation._checks import _base_period
from pmg_eval.panel import Panel
from pmg_eval.typing import Estimator
from simulation.area_coverage import BESIDE, area_frames
from simulation.pmg_panels import N_AREAS, Design, Rule, panel_of, selected_table

ALPHA = 0.05
IMPUTATION = partial(did.imputation, family="poisson", pretrend=False)


@dataclass(frozen=True)
class Rejected:
    """Rejection rates at 5 % of a true null; ``down`` is the share that finds a reduction, ``bias`` in log points."""

    design: str
    rule: str
    method: str
    tests: int
    rejected: float
    error: float
    down: float
    bias: float


@dataclass(frozen=True)
class Flagged:
    """How often a check of ``evaluate`` asks for attention."""

    design: str
    rule: str
    check: str
    panels: int
    attention: float
    error: float
    possible: float


def area_rejections(
    design: Design,
    rule: Rule,
    replicates: int,
    seed: int,
    estimators: Mapping[str, Estimator] = BESIDE,
    n_areas: int = N_AREAS,
) -> list[Rejected]:
    """Tests of single areas, by their placebo law."""
    frames = []
    for replicate, child in enumerate(np.random.default_rng(seed).spawn(replicates)):
        table = selected_table(design, child, rule, n_areas=n_areas)
        for name, frame in area_frames(estimators, table, 1.0).items():
            frames.append(frame.assign(replicate=replicate, method=f"one area, {name}"))
    areas = pd.concat(frames)
    areas = areas[areas["known"]]
    return [_rejected(design, rule, f"one area, {name}", areas) for name in estimators]


def pooled_rejections(
    design: Design, rule: Rule, replicates: int, seed: int, n_areas: int = N_AREAS, headline: bool = True
) -> list[Rejected]:
    """Tests of the pooled effect: the headline of ``evaluate``, and what stands beside it."""
    methods = {"sdid, fixed-weight jackknife": _own(synth.sdid), "group-time, last period": _own(did.group_time)}
    if headline:
        methods = {"headline: imputation, jackknife": _headline, **methods}
    rows = []
    for replicate, child in enumerate(np.random.default_rng(seed).spawn(replicates)):
        panel = panel_of(selected_table(design, child, rule, n_areas=n_areas))
        for name, estimate in methods.items():
            row = estimate(panel).to_frame().iloc[0]
            error = np.log(row["estimate"])
            rows.append({"replicate": replicate, "method": name, "error": error, **row[["p_value", "conf_high"]]})
    table = pd.DataFrame(rows)
    return [_rejected(design, rule, name, table) for name in methods]


def flags(design: Design, rule: Rule, replicates: int, seed: int, n_areas: int = N_AREAS) -> list[Flagged]:
    """The base-period check and the placebo in time."""
    found: dict[str, list[str]] = {"base period": [], "placebo in time": []}
    for child in np.random.default_rng(seed).spawn(replicates):
        panel = panel_of(selected_table(design, child, rule, n_areas=n_areas))
        found["base period"].append(_base_period(panel, "suspects", "poisson", 0).verdict)
        row = resample.placebo_in_time(IMPUTATION, panel, "suspects").average().to_frame().iloc[0]
        clear = row["conf_low"] <= 1 <= row["conf_high"]
        found["placebo in time"].append("pass" if clear else "attention")
    cells = []
    for name, verdicts in found.items():
        possible = [verdict for verdict in verdicts if verdict != "not possible"]
        share = float(np.mean([verdict == "attention" for verdict in possible]))
        error = float(np.sqrt(share * (1 - share) / len(possible)))
        cells.append(Flagged(design.name, rule, name, replicates, share, error, len(possible) / replicates))
    return cells


def _headline(panel: Panel) -> Any:
    return resample.jackknife(lambda panel, outcome: IMPUTATION(panel, outcome).average(), panel, "suspects")


def _own(estimator: Any) -> Any:
    return lambda panel: estimator(panel, "suspects", family="poisson").average()


def _rejected(design: Design, rule: Rule, method: str, table: pd.DataFrame) -> Rejected:
    table = table[table["method"] == method]
    rejected = table["p_value"] < ALPHA
    share = rejected.groupby(table["replicate"]).mean()
    return Rejected(
        design=design.name,
        rule=rule,
        method=method,
        tests=len(table),
        rejected=float(share.mean()),
        error=float(share.std(ddof=1) / np.sqrt(len(share))),
        down=float((rejected & (table["conf_high"] < 1)).groupby(table["replicate"]).mean().mean()),
        bias=float(table["error"].mean()),
    )
