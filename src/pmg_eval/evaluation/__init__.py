"""One specification to the answer (L5)."""

from pmg_eval.evaluation._areas import effect_per_area
from pmg_eval.evaluation._evaluate import evaluate
from pmg_eval.evaluation._result import Evaluation

__all__ = ["Evaluation", "effect_per_area", "evaluate"]
