"""Coverage, bias and power of the interval of each area under several estimators, with Monte-Carlo errors."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

import pmg_eval as pe
from pmg_eval import did, synth
from pmg_eval.errors import PmgEvalWarning
from pmg_eval.typing import Estimator
from simulation.pmg_panels import N_AREAS, Design, panel_of, panel_table

EFFECT = -0.10
IMPUTATION: Mapping[str, Estimator] = {"imputation": did.imputation}
BESIDE: Mapping[str, Estimator] = {"imputation": did.imputation, "sdid": synth.sdid, "classic": synth.classic}
POOR = "fit before the start worse"


@dataclass(frozen=True)
class Cell:
    """One design and estimator: shares over areas.

    Standard errors are over replicates: areas of one replicate are dependent. ``bias`` is the mean error of the log
    ratio over areas with an interval, ``noise`` the root mean square of that error; ``relative_width`` the mean width
    over that of imputation in the areas where both have an interval.
    """

    design: str
    estimator: str
    areas: int
    median_count: float
    given: float
    refused: float
    coverage: float
    coverage_error: float
    power: float
    width: float
    bias: float
    bias_error: float
    noise: float
    relative_width: float


def area_frames(
    estimators: Mapping[str, Estimator], table: pd.DataFrame, truth: float, draws: int = 4_999
) -> dict[str, pd.DataFrame]:
    """One row per treated area: interval, p-value, and whether it covers, per estimator."""
    panel = panel_of(table)
    frames = {}
    for name, estimator in estimators.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if name != "imputation":  # what synthetic controls say of single areas stands in their status
                warnings.simplefilter("ignore", PmgEvalWarning)
            frame = pe.effect_per_area(panel, "suspects", estimator=estimator, draws=draws, rng=1).to_frame()
        frame = frame.set_index("unit")
        frame["known"] = frame["conf_low"].notna()
        frame["covered"] = (frame["conf_low"] <= truth) & (frame["conf_high"] >= truth)
        frame["refused"] = frame["status"].str.startswith(POOR)
        frame["width"] = np.log(frame["conf_high"] / frame["conf_low"])
        frame["error"] = np.log(frame["estimate"].where(frame["known"]) / truth)
        frames[name] = frame
    return frames


def area_coverages(
    design: Design,
    replicates: int,
    seed: int,
    estimators: Mapping[str, Estimator] = BESIDE,
    n_areas: int = N_AREAS,
) -> list[Cell]:
    """Share of area intervals that cover the true rate ratio, over ``replicates`` panels, one cell per estimator."""
    rows, counts = [], []
    for replicate, child in enumerate(np.random.default_rng(seed).spawn(replicates)):
        table = panel_table(design, child, EFFECT, n_areas=n_areas)
        frames = area_frames(estimators, table, float(np.exp(EFFECT)))
        first = next(iter(frames.values()))["width"]
        for name, frame in frames.items():
            both = frame["width"].notna() & first.reindex(frame.index).notna()
            rows.append(
                frame.assign(
                    replicate=replicate, estimator=name, first=first.where(both), mine=frame["width"].where(both)
                )
            )
        treated = table.loc[np.isfinite(table["start"]) & (table["year"] < table["start"])]
        counts.append(treated.groupby("area")["suspects"].mean().median())
    areas = pd.concat(rows)
    return [_cell(design, name, areas[areas["estimator"] == name], float(np.mean(counts))) for name in estimators]


def area_coverage(design: Design, replicates: int, seed: int) -> Cell:
    """The default of :func:`pmg_eval.effect_per_area`."""
    return area_coverages(design, replicates, seed, IMPUTATION)[0]


def _cell(design: Design, name: str, areas: pd.DataFrame, count: float) -> Cell:
    known = areas[areas["known"]]
    each = known.groupby("replicate")
    covered, error = each["covered"].mean(), each["error"].mean()
    root = np.sqrt(areas["replicate"].nunique())
    return Cell(
        design=design.name,
        estimator=name,
        areas=len(areas),
        median_count=count,
        given=float(areas["known"].mean()),
        refused=float(areas["refused"].mean()),
        coverage=float(covered.mean()),
        coverage_error=float(covered.std(ddof=1) / root),
        power=float((known["conf_high"] < 1).groupby(known["replicate"]).mean().mean()),
        width=float(each["width"].median().mean()),
        bias=float(error.mean()),
        bias_error=float(error.std(ddof=1) / root),
        noise=float(np.sqrt(np.square(known["error"]).mean())),
        relative_width=float(areas["mine"].mean() / areas["first"].mean()),
    )
