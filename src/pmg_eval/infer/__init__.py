"""From an estimate to a statement: the default policy, sensitivity, pooling, multiplicity, equivalence."""

from pmg_eval.infer._default import default
from pmg_eval.infer._tried import DefaultDetails

__all__ = ["DefaultDetails", "default"]
