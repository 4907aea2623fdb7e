"""What is particular to curves: the step functions themselves, intervals of other kinds, the groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from pmg_eval.recidivism._bounds import ConfType
from pmg_eval.recidivism._curves import Curves, curve_frame, with_interval


def _frame(source: Curves | pd.DataFrame) -> pd.DataFrame:
    return curve_frame(source) if isinstance(source, Curves) else source


@dataclass(frozen=True, eq=False)
class KaplanMeierDetails:
    """Curves of :func:`kaplan_meier`.

    Attributes
    ----------
    groups : DataFrame
        ``group`` (and its columns), ``n_persons``, events, ``last_time`` (end of follow-up).
    variance : {"greenwood", "robust"}
    time_unit : str
    start : int or None
    df : float or None
        Degrees of freedom of intervals (None: normal).
    source : Curves or DataFrame
        Counts from which the curves are computed when asked for, or the curves.
    """

    groups: pd.DataFrame
    variance: str
    time_unit: str
    start: int | None
    df: float | None
    source: Curves | pd.DataFrame

    @cached_property
    def _steps(self) -> pd.DataFrame:
        return _frame(self.source)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Share with the event on every event day and at the end of follow-up, with 95 % log-log intervals.

        ``group, cause, time, estimate, std_error, conf_low, conf_high, n_at_risk, n_events``. Where nobody has had an
        event the upper limit is exact (from those at risk).
        """
        return self.band()

    @property
    def survival(self) -> pd.DataFrame:
        """The same for the share without the event: ``group, time, survival, std_error, conf_low, conf_high, ...``."""
        frame = self.curves
        flipped = frame.assign(estimate=1 - frame["estimate"], conf_low=1 - frame["conf_high"])
        flipped["conf_high"] = 1 - frame["conf_low"]
        return flipped.rename(columns={"estimate": "survival"}).drop(columns="cause")

    def band(self, level: float = 0.95, conf_type: ConfType = "log-log") -> pd.DataFrame:
        """The curves with pointwise intervals.

        Parameters
        ----------
        level : float
        conf_type : {"log-log", "log", "logit", "arcsine", "plain"}
            Transformation of the survival curve on which the interval is symmetric, as in R ``survfit(conf.type=)``.
        """
        return with_interval(self._steps, level, conf_type, self.df, of_survival=True)


@dataclass(frozen=True, eq=False)
class IncidenceDetails:
    """Curves of :func:`cumulative_incidence`.

    Attributes
    ----------
    groups : DataFrame
        ``group`` (and its columns), ``n_persons``, events per cause, ``last_time`` (end of follow-up).
    variance : {"delta", "aalen", "robust"}
    time_unit : str
    start : int or None
    df : float or None
    source : Curves or DataFrame
    """

    groups: pd.DataFrame
    variance: str
    time_unit: str
    start: int | None
    df: float | None
    source: Curves | pd.DataFrame

    @cached_property
    def _steps(self) -> pd.DataFrame:
        return _frame(self.source)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Cumulative incidence of each cause on its event days and at the end of follow-up, with 95 % intervals.

        ``group, cause, time, estimate, std_error, conf_low, conf_high, n_at_risk, n_events``.
        """
        return self.band()

    def band(self, level: float = 0.95, conf_type: ConfType = "log-log") -> pd.DataFrame:
        """The curves with pointwise intervals.

        Parameters
        ----------
        level : float
        conf_type : {"log-log", "log", "logit", "arcsine", "plain"}
            ``"log-log"`` is symmetric on log(-log(1 - F)), so that one cause gives Kaplan-Meier's interval; the others
            are those of R ``survfit(conf.type=)`` for the incidence F itself.
        """
        return with_interval(self._steps, level, conf_type, self.df, of_survival=False)
