"""What a check is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ALPHA = 0.05


@dataclass(frozen=True)
class Check:
    """One question put to the design, what was found, and how it reads."""

    check: str
    question: str
    finding: str
    verdict: Literal["pass", "attention", "not possible"]
