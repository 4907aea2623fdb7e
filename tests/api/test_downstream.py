"""A typed package of somebody else, checked by mypy --strict against the installed library."""

import subprocess
import sys
from pathlib import Path

import pytest

GOOD = '''
"""A small library on top of pmg_eval."""

from collections.abc import Callable
from typing import assert_type

import pandas as pd

import pmg_eval as pe
from pmg_eval import did

Estimator = Callable[[pe.Panel, str], pe.Estimate]


def build(df: pd.DataFrame) -> pe.Panel:
    return pe.Panel(df, unit="area", time="year", cohort="start", never=0, exposure="youths")


def effects(panel: pe.Panel) -> pd.DataFrame:
    fit = did.group_time(
        panel, "suspects", controls=did.NeverTreated(), covariates="~ x", method="dr", base_period="universal"
    )
    by_event_time = fit.average(by="event_time")
    assert_type(by_event_time.to_frame(level=0.9), pd.DataFrame)
    return by_event_time.to_frame()


def simple(panel: pe.Panel, outcome: str) -> pe.Estimate:
    return did.group_time(panel, outcome).average(by=None, overall="simple").assuming(pe.clustered("region"))


def imputed(panel: pe.Panel, outcome: str) -> pe.Estimate:
    return did.imputation(panel, outcome).average(by=None, overall="simple")


def number(panel: pe.Panel, estimator: Estimator = simple) -> float:
    estimate = estimator(panel, "suspects")
    return float(estimate.values[0])


def compare(panel: pe.Panel) -> pe.Estimate:
    return pe.stack(simple(panel, "suspects"), imputed(panel, "suspects"))


def safe(df: pd.DataFrame) -> str:
    try:
        return compare(build(df)).to_json()
    except pe.DataError as problem:
        return f"{problem.code}: {problem.fix}"
'''

# Each line must be an error: where it is not, the annotation it meets is Any.
BAD = """
import pandas as pd

import pmg_eval as pe
from pmg_eval import did


def misuse(df: pd.DataFrame, panel: pe.Panel) -> None:
    pe.Panel(df, unit="area", time="year", cohrt="start")
    did.group_time(panel, "suspects", method="drr")
    did.group_time(panel, "suspects", controls="never")
    did.group_time(panel)
    count: int = did.group_time(panel, "suspects").to_frame()
    did.group_time(panel, "suspects").avrage(by="event_time")
"""


def check(folder: Path, text: str) -> tuple[int, str]:
    package = folder / "downstream"
    package.mkdir()
    (package / "__init__.py").write_text(text, encoding="utf-8")
    (package / "py.typed").touch()
    options = ["--strict", "--no-color-output", "--cache-dir", str(folder / "cache")]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "downstream"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return run.returncode, run.stdout + run.stderr


@pytest.mark.gate
def test_a_typed_package_passes(tmp_path: Path) -> None:
    status, output = check(tmp_path, GOOD)
    assert status == 0, output


@pytest.mark.gate
def test_misuse_is_found(tmp_path: Path) -> None:
    status, output = check(tmp_path, BAD)
    first = BAD.splitlines().index("def misuse(df: pd.DataFrame, panel: pe.Panel) -> None:") + 1
    expected = set(range(first + 1, len(BAD.splitlines()) + 1))
    found = {int(line.split(":")[1]) for line in output.splitlines() if ": error:" in line}
    assert status == 1, output
    assert found == expected, output
