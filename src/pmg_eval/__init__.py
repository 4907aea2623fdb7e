"""Evaluation statistics: what an intervention did, per area and overall.

>>> import pmg_eval as pe
>>> from pmg_eval import did, infer, recidivism, resample, synth
"""

from pmg_eval import did, infer, recidivism, resample, synth
from pmg_eval._version import __version__
from pmg_eval.errors import (
    DataError,
    DesignError,
    DisclosureError,
    InferenceError,
    NumericalError,
    PmgEvalError,
    PmgEvalWarning,
)
from pmg_eval.estimate import (
    Covariance,
    Draws,
    Estimate,
    Influence,
    Sensitivity,
    Test,
    clustered,
    conley,
    hac,
    independent,
    stack,
)
from pmg_eval.evaluation import Evaluation, effect_per_area, evaluate
from pmg_eval.panel import Panel, Spells

__all__ = [
    "Covariance",
    "DataError",
    "DesignError",
    "DisclosureError",
    "Draws",
    "Estimate",
    "Evaluation",
    "InferenceError",
    "Influence",
    "NumericalError",
    "Panel",
    "PmgEvalError",
    "PmgEvalWarning",
    "Sensitivity",
    "Spells",
    "Test",
    "__version__",
    "clustered",
    "conley",
    "did",
    "effect_per_area",
    "evaluate",
    "hac",
    "independent",
    "infer",
    "recidivism",
    "resample",
    "stack",
    "synth",
]
