"""Where a number comes from: estimator, options after defaulting, data fingerprint, assumptions, references."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from importlib import metadata
from json import dumps
from typing import Any

from pmg_eval._version import __version__

_PACKAGES = ("numpy", "pandas", "scipy")


@cache
def _found_versions() -> dict[str, str]:
    found = {"pmg_eval": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        found[name] = metadata.version(name)
    return found


def _versions() -> dict[str, str]:
    return dict(_found_versions())


@dataclass(frozen=True)
class Provenance:
    """Part of every result.

    Attributes
    ----------
    estimator : str
        Public name, for example ``"did.group_time"``.
    options : dict
        All options after defaulting (JSON values only).
    data : str
        Fingerprint (SHA-256) of the panel's canonical columns, ``""`` when there is none.
    assumptions, references, notes : tuple of str
        What must hold; DOIs; what was dropped or assumed on the way.
    seed : int or None
        Seed of the random numbers used, always recorded when some were.
    versions : dict
        Package versions (outside :attr:`digest`).
    """

    estimator: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    assumptions: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seed: int | None = None
    steps: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=_versions, compare=False)

    def then(self, step: str) -> Provenance:
        """The same with one more step (average, map, stack) in its history."""
        return replace(self, steps=(*self.steps, step))

    def noting(self, *notes: str) -> Provenance:
        """The same with further notes."""
        return replace(self, notes=(*self.notes, *(note for note in notes if note not in self.notes)))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {
            "estimator": self.estimator,
            "options": self.options,
            "data": self.data,
            "assumptions": list(self.assumptions),
            "references": list(self.references),
            "notes": list(self.notes),
            "seed": self.seed,
            "steps": list(self.steps),
            "versions": dict(self.versions),
            "digest": self.digest,
        }

    @property
    def digest(self) -> str:
        """Hash of everything that determines the numbers (not of package versions)."""
        parts = [self.estimator, self.options, self.data, list(self.steps), self.seed]
        return sha256(dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Provenance:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            estimator=saved["estimator"],
            options=dict(saved["options"]),
            data=saved["data"],
            assumptions=tuple(saved["assumptions"]),
            references=tuple(saved["references"]),
            notes=tuple(saved["notes"]),
            seed=saved["seed"],
            steps=tuple(saved["steps"]),
            versions=dict(saved["versions"]),
        )
