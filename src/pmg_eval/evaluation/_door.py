"""What an evaluation asks of its arguments before any work: a refusal after minutes is a refusal too late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.evaluation._family import Family
from pmg_eval.panel import Panel, Spells
from pmg_eval.panel._door import need_panel
from pmg_eval.recidivism import Counts
from pmg_eval.recidivism._horizons import resolve
from pmg_eval.resample._pool import pool_mask

ALL_AREAS = ("all", "overall")


def need_evaluation(
    panel: Panel,
    outcome: str,
    *,
    family: Any = None,
    anticipation: Any = 0,
    eligible: Any = None,
    title: Any = None,
    draws: Any = 499,
    rng: Any = 0,
    n_jobs: Any = 1,
    spells: Any = None,
    horizons: Any = None,
    truth: Any = None,
) -> None:
    """Refuse what :func:`pmg_eval.evaluate` could not use; the outcome itself is for ``Panel.for_outcome``.

    Raises
    ------
    DataError
        PMG-PANEL, PMG-OPTION, PMG-POOL, PMG-DRAWS, PMG-SEED, PMG-JOBS, PMG-SPELLS, PMG-HORIZON-TYPE, PMG-TRUTH.
    """
    need_panel(panel)
    if not (family is None or (isinstance(family, str) and family in get_args(Family))):
        raise DataError("PMG-OPTION", f"unknown family={family!r}", fix='"gaussian", "poisson", or None')
    if not _whole(anticipation, 0):
        raise DataError("PMG-OPTION", f"anticipation={anticipation!r} must be a number of periods, 0 or more")
    if not (title is None or isinstance(title, str)):
        raise DataError("PMG-OPTION", f"title must be text, not {type(title).__name__}")
    if not _whole(draws, 1):
        raise DataError("PMG-DRAWS", f"draws={draws!r} must be a whole number, 1 or more", fix="for example 499")
    if not _whole(rng, 0):
        raise DataError("PMG-SEED", f"rng={rng!r} must be a whole number, 0 or more", fix="for example 0")
    if not _whole(n_jobs, -1) or n_jobs == 0:
        raise DataError("PMG-JOBS", f"n_jobs={n_jobs!r}", fix="1 (one process), more, or -1 (every core)")
    if eligible is not None:
        _need_eligible(panel, eligible)
    _need_spells(spells, horizons)
    if truth is not None:
        _need_truth(panel, truth)


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least


def _need_eligible(panel: Panel, eligible: Any) -> None:
    if isinstance(eligible, str) or not isinstance(eligible, Sequence | set | pd.Index | pd.Series | np.ndarray):
        raise DataError("PMG-POOL", "eligible must be a list of unit labels", fix='for example ["a", "b"]')
    if len(eligible) == 0:
        raise DataError("PMG-POOL", "eligible names no unit", fix="leave it out for every clean comparison area")
    pool_mask(panel, list(eligible))


def _need_spells(spells: Any, horizons: Any) -> None:
    if spells is None:
        if horizons is not None:
            raise DataError("PMG-SPELLS", "horizons= are follow-up times of persons: give spells= too")
        return
    if not isinstance(spells, Spells | Counts):
        raise DataError(
            "PMG-SPELLS",
            f"spells must be pe.Spells or recidivism.Counts, not {type(spells).__name__}",
            fix="pe.Spells(df, person=..., exit=..., event=...) says what the columns mean",
        )
    resolve(horizons, spells.time_unit, None)


def _need_truth(panel: Panel, truth: Any) -> None:
    if not isinstance(truth, pd.DataFrame) or not {"unit", "truth"} <= set(truth.columns):
        raise DataError(
            "PMG-TRUTH", "truth must be a table with columns unit and truth", fix="one row per treated area"
        )
    if not pd.api.types.is_numeric_dtype(truth["truth"]):
        raise DataError("PMG-TRUTH", "the column truth must hold numbers")
    areas = truth.loc[truth["unit"].notna() & ~truth["unit"].isin(ALL_AREAS), "unit"]
    unknown = areas[~areas.isin(panel.units)]
    if len(unknown):
        raise DataError("PMG-TRUTH", "truth names units that are not in the panel", where=unknown.tolist())
    if areas.duplicated().any():
        raise DataError("PMG-TRUTH", "truth names units twice", where=areas[areas.duplicated()].tolist())
