"""The scripts in examples/ run as a reader would run them, without a warning of Python, and say something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_example(script: Path, tmp_path: Path) -> None:
    quiet = ["-W", "error", "-W", "ignore::pmg_eval.PmgEvalWarning"]
    run = subprocess.run(
        [sys.executable, *quiet[:2], "-c", _RUN, str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert len(run.stdout.splitlines()) >= 5
    for page in tmp_path.rglob("*.html"):
        assert "<h1" in page.read_text(encoding="utf-8")


# warnings of the library (few placebo areas) are part of what an example teaches; all others are errors
_RUN = """
import runpy, sys, warnings
from pmg_eval import PmgEvalWarning
warnings.simplefilter("ignore", PmgEvalWarning)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_there_are_examples() -> None:
    assert {"castle", "register", "texas"} <= {script.stem for script in EXAMPLES}
