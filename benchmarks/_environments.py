"""One environment per package, made once from peers.toml."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FOLDER = HERE / ".envs"
OURS = "pmg_eval"


@dataclass(frozen=True)
class Tool:
    """One package and the interpreter of its environment."""

    name: str
    python: Path
    versions: dict[str, str]


class Unavailable(Exception):
    """A package cannot be installed here."""


def _interpreter(version: str | None, given: dict[str, str]) -> str:
    if version is None:
        return sys.executable
    if version in given:
        return given[version]
    search = ["sh", str(ROOT / "scripts" / "find_python.sh"), version]
    found = subprocess.run(search, capture_output=True, text=True, check=False).stdout.strip()
    if not found:
        raise Unavailable(f"needs Python {version}; name one with --interpreter {version}=PATH")
    return found


def _install(folder: Path, interpreter: str, packages: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([interpreter, "-m", "venv", str(folder)], [*pip, "--upgrade", "pip"], [*pip, *packages]):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"cannot be installed: {done.stderr.strip().splitlines()[-1]}")


def prepare(name: str, peer: dict[str, Any], given: dict[str, str]) -> Tool:
    """The package's environment, made if it is not there or not what peers.toml says."""
    folder = FOLDER / name
    stamp = folder / "installed.json"
    interpreter = _interpreter(peer.get("python"), given)
    wanted = {"install": peer["install"], "pyproject": (ROOT / "pyproject.toml").read_text() if name == OURS else ""}
    if not stamp.exists() or json.loads(stamp.read_text()) != wanted:
        print(f"installing {name}: {' '.join(peer['install'])}", flush=True)
        _install(folder, interpreter, peer["install"])
        stamp.write_text(json.dumps(wanted))
    python = folder / "bin" / "python"
    listing = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = {item["name"].lower().replace("_", "-"): item["version"] for item in json.loads(listing.stdout)}
    versions = {package: installed[package] for package in ("numpy", "pandas", "scipy") if package in installed}
    version = subprocess.run([str(python), "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    return Tool(name, python, {"version": installed[name.replace("_", "-")], "python": version, **versions})
