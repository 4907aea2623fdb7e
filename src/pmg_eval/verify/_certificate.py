"""The certificate: what was run, where, and how it came out."""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from typing import Any

from pmg_eval._version import __version__
from pmg_eval.errors import DataError
from pmg_eval.estimate.serialize import jsonable
from pmg_eval.verify import _castle, _hand_did, _hand_inference, _hand_recidivism, _hand_synth, _reference, _stored
from pmg_eval.verify._case import Case, Checked, check
from pmg_eval.verify._files import Installation, installation

SCHEMA = "pmg-eval-certificate/1"
_READ = "pmg_eval.verify.read(path) gives the cases of a file"
_PACKAGES = (
    "numpy",
    "pandas",
    "scipy",
    "statsmodels",
    "linearmodels",
    "scikit-learn",
    "formulaic",
    "narwhals",
    "joblib",
)
_EXTRAS = ("causaldata", "numba", "jinja2", "matplotlib")


@dataclass(frozen=True)
class Certificate:
    """Outcome of the verification of one installation.

    Attributes
    ----------
    date : str
        ISO 8601, UTC.
    version : str
        Of pmg_eval.
    system, versions : dict of str to str
        Platform; packages.
    files : Installation
    cases : tuple of Checked
    """

    date: str
    version: str
    system: dict[str, str]
    versions: dict[str, str]
    files: Installation
    cases: tuple[Checked, ...]

    @property
    def failed(self) -> tuple[Checked, ...]:
        """Cases outside their tolerance."""
        return tuple(case for case in self.cases if case.status == "fail")

    @property
    def passed(self) -> bool:
        """Whether no file is changed and no case has failed."""
        return self.files.status != "changed" and not self.failed

    @property
    def counts(self) -> dict[str, int]:
        """Number of cases by outcome."""
        found = Counter(case.status for case in self.cases)
        return {"pass": found["pass"], "fail": found["fail"], "skipped": found["skipped"]}

    @property
    def digest(self) -> str:
        """Hash of the computed numbers to nine significant digits: equal on machines that agree."""
        done = [case for case in self.cases if case.got]
        lines = [
            f"{case.id} {name} {value:.8e}" for case in done for name, value in zip(case.names, case.got, strict=True)
        ]
        return sha256("\n".join(lines).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; the schema is ``certificate-1.json`` beside this module."""
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "date": self.date,
            "version": self.version,
            "system": self.system,
            "versions": self.versions,
            "seeds": {"simulator": _stored.SEED},
            "counts": self.counts,
            "seconds": round(sum(case.seconds for case in self.cases), 3),
            "digest": self.digest,
            "files": {
                "status": self.files.status,
                "reason": self.files.reason,
                "compared": self.files.compared,
                "problems": list(self.files.problems),
                "digest": self.files.digest,
                "sha256": self.files.hashes,
            },
            "cases": [_entry(case) for case in self.cases],
        }

    def to_json(self) -> str:
        """Text of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def to_html(self) -> str:
        """A page that needs nothing else and runs no script."""
        from pmg_eval.verify._page import page

        return page(self)

    def __str__(self) -> str:
        counts = self.counts
        failed = "".join(f"\n  failed: {case.id}: {case.reason}" for case in self.failed)
        return (
            f"Certificate of pmg_eval {self.version}, {self.date}: {'passed' if self.passed else 'not passed'} "
            f"({counts['pass']} passed, {counts['fail']} failed, {counts['skipped']} not run; files: "
            f"{self.files.status}){failed}"
        )

    def __repr__(self) -> str:
        return str(self)


def _entry(case: Checked) -> dict[str, Any]:
    got = case.got or (None,) * len(case.names)
    numbers = [
        {
            "name": name,
            "expected": jsonable(expected),
            "exact": exact or None,
            "got": None if value is None else jsonable(value),
        }
        for name, expected, exact, value in zip(case.names, case.expected, case.exact, got, strict=True)
    ]
    return {
        "id": case.id,
        "kind": case.kind,
        "what": case.what,
        "source": case.source,
        "status": case.status,
        "reason": case.reason,
        "digits": jsonable(case.digits),
        "tolerance": case.tolerance,
        "seconds": round(case.seconds, 4),
        "numbers": numbers,
    }


def shipped() -> tuple[Case, ...]:
    """All cases of this version."""
    by_hand = (*_hand_did.CASES, *_hand_recidivism.CASES, *_hand_synth.CASES, *_hand_inference.CASES)
    return (*by_hand, *_reference.cases(), *_castle.cases(), *_stored.cases())


def certify(
    own: Sequence[Case] = (), *, cases: Iterable[Case] | None = None, tell: Callable[[Checked], None] | None = None
) -> Certificate:
    """Check the files and run every case.

    Parameters
    ----------
    own : sequence of Case
        Cases to add (:func:`pmg_eval.verify.read`).
    cases : iterable of Case, optional
        Instead of the shipped ones.
    tell : callable, optional
        Is given each case when it is done.

    Returns
    -------
    Certificate

    Raises
    ------
    DataError
        PMG-CASES: what is given is no case, or there is none.

    Examples
    --------
    >>> from pmg_eval import verify
    >>> found = verify.certify(cases=[case for case in verify.shipped() if case.id == "did/two-by-two"])
    >>> found.passed, found.cases[0].digits
    (True, 15.0)
    """
    todo: list[object] = [*_listed(shipped() if cases is None else cases), *_listed(own)]
    if not todo:
        raise DataError("PMG-CASES", "there is no case to run", fix="leave out cases= for those that are shipped")
    done = []
    for case in todo:
        if not isinstance(case, Case):
            raise DataError("PMG-CASES", f"a Case is needed, not {type(case).__name__}", fix=_READ)
        done.append(check(case))
        if tell is not None:
            tell(done[-1])
    return Certificate(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        system={
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "system": sys.platform,
            "release": platform.release(),
            "machine": platform.machine(),
        },
        versions=_versions(),
        files=installation(),
        cases=tuple(done),
    )


def _listed(cases: object) -> Iterable[object]:
    if not isinstance(cases, Iterable) or isinstance(cases, str | bytes):
        raise DataError("PMG-CASES", f"a list of cases is needed, not {type(cases).__name__}", fix=_READ)
    return cases


def _versions() -> dict[str, str]:
    found = {}
    for name in (*_PACKAGES, *_EXTRAS):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
