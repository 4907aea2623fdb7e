"""The coverage study, in chunks that a later call continues; writes docs/evidence/coverage.md from what there is.

python scripts/coverage.py [--cells PATTERN ...] [--replicates N] [--seconds CPU] [--redo] [--out FOLDER]

Cells are named "NN common|rare DESIGN" ("27 common city shock"); a pattern is a shell pattern ("27*"). "areas" is the
table of single areas. One process per call; several calls may work on different cells at the same time.
"""

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from time import process_time

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import pmg_eval as pe  # noqa: E402
from simulation.area_coverage import area_coverage  # noqa: E402
from simulation.coverage_gate import passes  # noqa: E402
from simulation.coverage_page import PAGE, page  # noqa: E402
from simulation.coverage_store import (  # noqa: E402
    FOLDER,
    Stored,
    code_hash,
    computed,
    missing,
    read,
    wanted,
    with_chunk,
    write,
)
from simulation.coverage_study import CELLS, REPLICATES, SEED  # noqa: E402
from simulation.pmg_panels import DESIGNS, Scenario  # noqa: E402

AREA_REPLICATES = 200


def said(scenario: Scenario, stored: Stored) -> str:
    default = stored.sums()["default"]
    verdict = {None: "no gate", True: "inside", False: "OUTSIDE"}[passes(scenario, default)]
    each = stored.cpu_seconds / stored.replicates
    return (
        f"{stored.cell:28s} {stored.replicates:5d} replicates, {each:.2f} CPU-s each: "
        f"{100 * default.coverage:5.1f} ± {100 * default.coverage_error:.1f} %, {verdict}"
    )


def study(cells: list[Scenario], replicates: int, seconds: float, redo: bool, folder: Path) -> None:
    """Chunk after chunk over all cells, so that they grow together; stops after the chunk at hand."""
    code = code_hash()
    for number, size in enumerate(wanted(replicates)):
        for scenario in cells:
            stored = read(folder, scenario.name)
            if not missing(stored, number, size, code if redo else None):
                continue
            if process_time() > seconds:
                print(f"stopped after {process_time():.0f} CPU-seconds; the same call continues")
                return
            stored = with_chunk(stored, computed(scenario, number, size, code))
            write(folder, scenario, stored)
            print(said(scenario, stored), flush=True)


def areas(folder: Path) -> None:
    """The table of single areas: no chunks, some ten minutes."""
    cells = []
    for design in DESIGNS:
        cells.append(asdict(area_coverage(design, AREA_REPLICATES, SEED)))
        print(cells[-1], flush=True)
    origin = {
        "replicates": AREA_REPLICATES,
        "seed": SEED,
        "version": pe.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "code": code_hash(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "areas.json").write_text(json.dumps({**origin, "cells": cells}, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="*", default=["*"], metavar="PATTERN")
    parser.add_argument("--replicates", type=int, default=REPLICATES)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="CPU-seconds after which no chunk begins")
    parser.add_argument("--redo", action="store_true", help="also chunks that other code computed")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the results; the page stands beside it")
    given = parser.parse_args()
    chosen = [scenario for scenario in CELLS if any(fnmatch(scenario.name, pattern) for pattern in given.cells)]
    if not chosen and "areas" not in given.cells:
        parser.error(f"no such cells; there are: {', '.join(scenario.name for scenario in CELLS)}, areas")
    study(chosen, given.replicates, given.seconds, given.redo, given.out)
    if "areas" in given.cells:
        areas(given.out)
    target = PAGE if given.out == FOLDER else given.out.with_suffix(".md")
    target.write_text(page(given.out), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
