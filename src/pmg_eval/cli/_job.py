"""One evaluation to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pmg_eval.panel import Panel

if TYPE_CHECKING:
    from pmg_eval.evaluation import Evaluation


@dataclass(frozen=True, eq=False)
class Job:
    """One evaluation to run.

    Attributes
    ----------
    panel : Panel
    outcome : str
    options : dict
        Further arguments of ``pe.evaluate``.
    """

    panel: Panel
    outcome: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> Evaluation:
        """The evaluation."""
        from pmg_eval.evaluation import evaluate

        return evaluate(self.panel, self.outcome, **self.options)
