"""Coverage of pooled intervals: those an estimate gives by itself (the guard), without re-estimation."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from pmg_eval import did, synth
from pmg_eval.typing import Estimator
from simulation.area_coverage import EFFECT
from simulation.pmg_panels import N_AREAS, WAVES, Design, Waves, panel_of, panel_table

POOLED: Mapping[str, Estimator] = {
    "sdid": partial(synth.sdid, family="poisson"),
    "imputation": partial(did.imputation, family="poisson", pretrend=False),
}
COHORTS: tuple[Waves, ...] = (WAVES, ((2022, 8),), ((2022, 4),), ((2022, 2),))


@dataclass(frozen=True)
class Pooled:
    """One design, cohorts and estimator; ``ratio`` is the mean standard error over the standard deviation."""

    design: str
    cohorts: str
    estimator: str
    replicates: int
    given: float
    coverage: float
    coverage_error: float
    power: float
    width: float
    bias: float
    bias_error: float
    ratio: float
    df: float


def pooled_coverages(
    design: Design,
    waves: Waves,
    replicates: int,
    seed: int,
    estimators: Mapping[str, Estimator] = POOLED,
    n_areas: int = N_AREAS,
) -> list[Pooled]:
    """Share of pooled 95 % intervals that contain the true rate ratio."""
    truth = float(np.exp(EFFECT))
    rows = []
    for child in np.random.default_rng(seed).spawn(replicates):
        panel = panel_of(panel_table(design, child, EFFECT, waves, n_areas))
        for name, estimator in estimators.items():
            average = estimator(panel, "suspects").average()
            found = average.to_frame().iloc[0]
            rows.append({"name": name, **found[["estimate", "std_error", "conf_low", "conf_high", "df"]]})
    table = pd.DataFrame(rows)
    table["known"] = table["conf_low"].notna()
    table["covered"] = (table["conf_low"] <= truth) & (table["conf_high"] >= truth)
    table["below"] = table["conf_high"] < 1
    table["width"] = np.log(table["conf_high"] / table["conf_low"])
    table["error"] = np.log(table["estimate"] / truth)
    table["log_error"] = table["std_error"] / table["estimate"]
    sizes = "/".join(str(size) for _, size in waves)
    return [_cell(design, sizes, name, table[table["name"] == name]) for name in estimators]


def _cell(design: Design, sizes: str, name: str, table: pd.DataFrame) -> Pooled:
    known = table[table["known"]]
    count, share = len(known), float(known["covered"].mean())
    return Pooled(
        design=design.name,
        cohorts=sizes,
        estimator=name,
        replicates=len(table),
        given=float(table["known"].mean()),
        coverage=share,
        coverage_error=float(np.sqrt(share * (1 - share) / count)),
        power=float(known["below"].mean()),
        width=float(known["width"].median()),
        bias=float(known["error"].mean()),
        bias_error=float(known["error"].std(ddof=1) / np.sqrt(count)),
        ratio=float(known["log_error"].mean() / known["error"].std(ddof=1)),
        df=float(known["df"].median()),
    )
