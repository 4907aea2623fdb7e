"""What is shipped: the wheel holds everything the library reads, and the command."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"


@pytest.mark.gate
def test_the_wheel_holds_code_data_and_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
        entry_points = archive.read(next(name for name in shipped if name.endswith("entry_points.txt"))).decode()
    package = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "pmg_eval").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in shipped if name.startswith("pmg_eval/")} == package
    for kind in (".json", ".jinja", ".css", ".csv", "py.typed"):
        assert any(name.endswith(kind) for name in package)
    assert "pmg-eval = pmg_eval.cli:main" in entry_points
    assert not [name for name in shipped if name.startswith(("tests", "docs", "benchmarks", "examples"))]
