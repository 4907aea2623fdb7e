"""The one result noun, the carriers of its error, and what is derived from them (L1)."""

from pmg_eval.estimate._estimate import Estimate
from pmg_eval.estimate._stack import stack
from pmg_eval.estimate.carriers import Covariance, Draws, Influence, Support, Uncertainty
from pmg_eval.estimate.kernels import (
    Clustered,
    Conley,
    Dependence,
    Hac,
    Independent,
    SmallSample,
    clustered,
    conley,
    hac,
    independent,
)
from pmg_eval.estimate.linear import LinearFit, fit_linear
from pmg_eval.estimate.nouns import Sensitivity, Test
from pmg_eval.estimate.provenance import Provenance
from pmg_eval.estimate.terms import make_terms
from pmg_eval.numerics.rows import Rows

__all__ = [
    "Clustered",
    "Conley",
    "Covariance",
    "Dependence",
    "Draws",
    "Estimate",
    "Hac",
    "Independent",
    "Influence",
    "LinearFit",
    "Provenance",
    "Rows",
    "Sensitivity",
    "SmallSample",
    "Support",
    "Test",
    "Uncertainty",
    "clustered",
    "conley",
    "fit_linear",
    "hac",
    "independent",
    "make_terms",
    "stack",
]
