"""Rules of the whole run: how many examples, no silent skips, no network."""

import os
import sys
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from _shared import MISSING

# "default": the same examples in every run, so that a red gate is never chance. "full" (make test-full): new ones.
_COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("default", max_examples=25, derandomize=True, **_COMMON)
settings.register_profile("full", max_examples=200, **_COMMON)
settings.load_profile("default")  # --hypothesis-profile=full comes later and wins


@pytest.fixture(scope="session")
def fuzz_frames() -> int:
    """How many mutated data frames the fuzz test tries: 200, or what PMG_EVAL_FUZZ says."""
    return int(os.environ.get("PMG_EVAL_FUZZ", "200"))


# --- a test that is skipped or expected to fail proves nothing ------------------------------------------------------

_not_run: dict[str, str] = {}


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped:
        return
    expected_failure = getattr(report, "wasxfail", None)
    if expected_failure is not None:
        reason = f"expected to fail: {expected_failure}"
    else:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not reason.endswith(MISSING):
        _not_run[report.nodeid] = reason


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    if _not_run and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    yield


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _not_run:
        terminalreporter.section("not run for a reason that is not allowed", red=True)
        for test, reason in _not_run.items():
            terminalreporter.line(f"{test}: {reason}")


# --- the library never uses the network -----------------------------------------------------------------------------


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    # Local sockets (an address that is a path) are how processes on one machine talk, asyncio and joblib among them.
    if event in {"socket.getaddrinfo", "socket.gethostbyname"} or (
        event in {"socket.connect", "socket.sendto"} and isinstance(arguments[1], tuple)
    ):
        raise RuntimeError(f"a test used the network: {event}")


sys.addaudithook(_refuse_network)
