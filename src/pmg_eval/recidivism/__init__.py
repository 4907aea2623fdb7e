"""Recidivism (L2): shares with an event, from spells at risk or from counts of them."""

from pmg_eval.recidivism import _register as _register
from pmg_eval.recidivism._counts import Counts
from pmg_eval.recidivism._cumulative_incidence import cumulative_incidence
from pmg_eval.recidivism._details import IncidenceDetails, KaplanMeierDetails
from pmg_eval.recidivism._gray import gray_test
from pmg_eval.recidivism._kaplan_meier import kaplan_meier
from pmg_eval.recidivism._prevalence import PrevalenceDetails, prevalence
from pmg_eval.recidivism._simulate import simulate
from pmg_eval.recidivism._simulate_result import Simulation

__all__ = [
    "Counts",
    "IncidenceDetails",
    "KaplanMeierDetails",
    "PrevalenceDetails",
    "Simulation",
    "cumulative_incidence",
    "gray_test",
    "kaplan_meier",
    "prevalence",
    "simulate",
]
