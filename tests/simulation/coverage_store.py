"""Results of the coverage study on disk: one JSON file per cell, a list of chunks with their origin."""

import ast
import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

import pmg_eval as pe
from simulation.coverage_study import CHUNK, EFFECT, SEED, Sums, added, run_chunk
from simulation.pmg_panels import Scenario

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "evidence" / "coverage"
ROOMS = ("did", "estimate", "infer", "numerics", "resample")
STUDY = ("coverage_study.py", "pmg_panels.py")


def code_hash() -> str:
    """Of the code of the estimators and their inference; comments, docstrings and layout do not count."""
    return _hash(path for room in ROOMS for path in sorted((ROOT / "src" / "pmg_eval" / room).rglob("*.py")))


def study_hash() -> str:
    """Of the panels and the methods that are compared."""
    return _hash(Path(__file__).with_name(name) for name in STUDY)


def _hash(paths: Iterable[Path]) -> str:
    digest = sha256()
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):  # a text that stands alone is a docstring
                kept = [part for part in body if not _is_text(part)]
                node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
        digest.update(f"{path.name}\n{ast.unparse(tree)}\n".encode())
    return digest.hexdigest()[:16]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@dataclass(frozen=True)
class Stored:
    """A cell and the chunks there are."""

    cell: str
    chunks: tuple[dict[str, Any], ...] = ()

    @property
    def replicates(self) -> int:
        return sum(chunk["replicates"] for chunk in self.chunks)

    @property
    def cpu_seconds(self) -> float:
        return sum(chunk["cpu_seconds"] for chunk in self.chunks)

    def sums(self) -> dict[str, Sums]:
        return added([{name: Sums(**found) for name, found in chunk["methods"].items()} for chunk in self.chunks])


def path_of(folder: Path, cell: str) -> Path:
    return folder / f"{cell.replace(' ', '-')}.json"


def read(folder: Path, cell: str) -> Stored:
    """What is there of a cell; nothing when there is no file."""
    path = path_of(folder, cell)
    if not path.exists():
        return Stored(cell)
    return Stored(cell, tuple(json.loads(path.read_text(encoding="utf-8"))["chunks"]))


def write(folder: Path, scenario: Scenario, stored: Stored) -> None:
    """All at once: a run that is killed leaves the old file or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, stored.cell)
    head = {
        "schema": "pmg-eval-coverage/1",
        "cell": stored.cell,
        "waves": scenario.waves,
        "rate": scenario.rate,
        "disturbance": scenario.disturbance,
        "effect": EFFECT,
        "seed": SEED,
    }
    chunks = ",\n".join(json.dumps(chunk, sort_keys=True, allow_nan=False) for chunk in stored.chunks)
    text = json.dumps(head, indent=1)[:-2] + ',\n "chunks": [\n' + chunks + "\n]\n}\n"
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def wanted(replicates: int) -> list[int]:
    """Sizes of the chunks of a run."""
    return [min(CHUNK, replicates - start) for start in range(0, replicates, CHUNK)]


def missing(stored: Stored, number: int, size: int, code: str | None) -> bool:
    """Whether a chunk has to be computed: not there, too small, of another study, or (asked for) of other code."""
    if number >= len(stored.chunks):
        return True
    chunk = stored.chunks[number]
    other = chunk["study"] != study_hash() or chunk["seed"] != SEED or (code is not None and chunk["code"] != code)
    return bool(other or chunk["replicates"] < size)


def computed(scenario: Scenario, number: int, size: int, code: str) -> dict[str, Any]:
    """One chunk with its origin."""
    before = process_time()
    methods = run_chunk(scenario, number, size)
    return {
        "chunk": number,
        "replicates": size,
        "seed": SEED,
        "version": pe.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "code": code,
        "study": study_hash(),
        "cpu_seconds": round(process_time() - before, 1),
        "methods": {name: asdict(found) for name, found in methods.items()},
    }


def with_chunk(stored: Stored, chunk: dict[str, Any]) -> Stored:
    """The chunk in its place; chunks are computed in order."""
    number = chunk["chunk"]
    return Stored(stored.cell, (*stored.chunks[:number], chunk, *stored.chunks[number + 1 :]))
