"""What a page asks of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.report._canvas import frame_of
from pmg_eval.report._words import Measure

LEVEL = 0.95
ALPHA = 1 - LEVEL
INTERVAL = "95 % interval"
ALL = "all"  # the name of all waves together in tables that have no missing labels


class EvaluationLike(Protocol):
    """What a page needs of an evaluation (see ``pmg_eval.Evaluation``); tables may be empty."""

    @property
    def title(self) -> str:
        """Heading of the page."""

    @property
    def outcome(self) -> str:
        """Name of the outcome."""

    @property
    def family(self) -> Literal["gaussian", "poisson"]:
        """Differences, or rate ratios."""

    @property
    def kind(self) -> Literal["many", "one"]:
        """Several treated areas, or one."""

    @property
    def summary(self) -> Sequence[str]:
        """The result in sentences that need no statistics, the finding first."""

    @property
    def effects(self) -> Estimate[Any]:
        """Label ``group``: ``"overall"``, ``"cohort"`` or ``"event_time"``."""

    @property
    def areas(self) -> Estimate[Any]:
        """One row per treated area."""

    @property
    def band(self) -> pd.DataFrame:
        """Event-study rows with a simultaneous band."""

    @property
    def checks(self) -> pd.DataFrame:
        """Columns ``check, question, finding, verdict``."""

    @property
    def inference(self) -> pd.DataFrame:
        """Columns ``cohort, method, role, valid, estimate, conf_low, conf_high, p_value, p_min, p_error, note``."""

    @property
    def agreement(self) -> Estimate[Any] | None:
        """Differences between estimators, overall (``cohort`` missing or absent) and per wave."""

    @property
    def agreement_table(self) -> pd.DataFrame:
        """Columns ``estimator, estimate, conf_low, conf_high``."""

    @property
    def wave_agreement(self) -> pd.DataFrame:
        """Columns ``cohort, estimator, estimate, conf_low, conf_high, difference, difference_se, z``.

        Cohort ``"all"``: all waves. The last three are against the headline; between ratios, the difference is a ratio.
        """

    @property
    def area_agreement(self) -> pd.DataFrame:
        """Columns ``unit, cohort, estimator, estimate, conf_low, conf_high, p_value, status``."""

    @property
    def league(self) -> pd.DataFrame:
        """Areas together: adjusted p-values, shrunken effects, rank intervals; may be empty."""

    @property
    def hull(self) -> pd.DataFrame:
        """Columns ``unit, cohort, inside, unique, low, high, distance, n_pre``."""

    @property
    def paths(self) -> pd.DataFrame:
        """Columns ``unit, cohort, period, observed, synthetic``: paths of synthetic difference-in-differences."""

    @property
    def recidivism(self) -> Estimate[Any] | None:
        """Share of persons with the event per group and horizon; ``details.curves`` has it on every day."""

    @property
    def truth(self) -> pd.DataFrame | None:
        """Columns ``unit, cohort, truth`` of simulated data; no unit: of a wave; neither: overall."""

    @property
    def waves(self) -> pd.DataFrame:
        """Columns ``cohort, n_areas, first_period, areas``."""

    @property
    def data(self) -> Mapping[str, Any]:
        """Facts about the panel."""

    @property
    def headline(self) -> str:
        """The finding in plain words."""

    @property
    def caveats(self) -> Sequence[str]:
        """What must be read with it."""

    @property
    def provenance(self) -> Provenance:
        """Where the numbers come from."""


def group(effects: Estimate[Any], *names: str) -> Estimate[Any]:
    """The terms of some groups, possibly none."""
    if "group" not in effects.terms:
        return effects.take([])
    return effects.take(np.flatnonzero(effects.terms["group"].isin(names).to_numpy()))


def measured(estimate: Estimate[Any]) -> tuple[pd.DataFrame, Measure]:
    """The numbers of an estimate and how they are written."""
    frame = frame_of(estimate, LEVEL)
    return frame, Measure.of(frame, estimate.scale)


__all__ = ["ALL", "ALPHA", "INTERVAL", "LEVEL", "EvaluationLike", "group", "measured"]
