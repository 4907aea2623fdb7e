"""Time and memory of common tasks in several packages.

python benchmarks/run.py                     every suite
python benchmarks/run.py placebo survival    some of them; the results of the others stay as they are

Options narrow a run down: --data, --tools, --repeat. See README.md beside this.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from _environments import HERE, Tool, Unavailable, prepare
from _report import aims, markdown, relate, summarize, table
from _suites import SUITES, Cell, Suite

DATA = HERE / ".data"
WORKERS = HERE / "workers"
LIMIT_SECONDS = 600
MAKES_DATA = "make_data.py"
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS")


def run_worker(tool: Tool, suite: str, cell: Cell) -> dict[str, Any]:
    """One fresh process."""
    threads = SUITES[suite].threads
    environment = {**os.environ, "PYTHONPATH": str(WORKERS)}
    if threads is not None:
        environment.update(dict.fromkeys(THREADS, str(threads)))
    script = WORKERS / suite / f"worker_{tool.name}.py"
    options = ["--variant", cell.variant, "--calls", str(cell.calls)]
    try:
        done = subprocess.run(
            [str(tool.python), str(script), str(DATA / f"{cell.data}.npz"), *options],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no answer within {LIMIT_SECONDS} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def measure(tools: list[Tool], suite: str, cell: Cell, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """All tools in turn, then all again, the order turned by one each time."""
    runs: dict[str, list[dict[str, Any]]] = {tool.name: [] for tool in tools}
    for repeat in range(repeats):
        shift = repeat % len(tools)
        for tool in tools[shift:] + tools[:shift]:
            if any("failed" in run for run in runs[tool.name]):
                continue
            run = run_worker(tool, suite, cell)
            runs[tool.name].append(run)
            said = run.get("failed") or f"{run['calls'][0]['cpu']:.3f}, then {run['calls'][-1]['cpu']:.4f} CPU s"
            print(f"  {repeat + 1}/{repeats} {tool.name}: {said}", flush=True)
    return runs


def measure_cell(tools: list[Tool], suite: str, cell: Cell, repeats: int) -> dict[str, Any]:
    print(f"{suite}: {cell.data}, {cell.variant}", flush=True)
    make = [str(tools[0].python), str(HERE / MAKES_DATA), cell.data, str(DATA / f"{cell.data}.npz")]
    source = subprocess.run(make, check=True, capture_output=True, text=True).stdout.strip()
    runs = measure(tools, suite, cell, repeats)
    summaries = {name: summarize(found) for name, found in runs.items()}
    relate(summaries, SUITES[suite].compared)
    for found in runs.values():  # the numbers of each run are all the same
        for run in found:
            run.pop("numbers", None)
    return {"data": cell.data, "variant": cell.variant, "source": source, "tools": summaries, "runs": runs}


def measure_suite(
    name: str, suite: Suite, cells: list[Cell], tools: dict[str, Tool], missing: dict[str, str], repeat: int | None
) -> dict[str, Any]:
    asked = {tool for cell in cells for tool in cell.tools}
    measured = []
    for cell in cells:
        able = [tools[tool] for tool in cell.tools if tool in tools]
        if able:
            measured.append(measure_cell(able, name, cell, repeat or cell.repeats))
    counts = dict.fromkeys(str(repeat or cell.repeats) for cell in cells)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "repeats": " or ".join(counts),
        "threads": suite.threads,
        "versions": {tool: found.versions for tool, found in tools.items() if tool in asked},
        "not_measured": {tool: reason for tool, reason in missing.items() if tool in asked},
        "cells": measured,
    }


def parse() -> tuple[argparse.Namespace, dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = tomllib.loads((HERE / "peers.toml").read_text(encoding="utf-8"))
    data = sorted({cell.data for suite in SUITES.values() for cell in suite.cells})
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"any of {', '.join(SUITES)} (default: all)")
    parser.add_argument("--data", nargs="+", default=data, choices=data)
    parser.add_argument("--tools", nargs="+", default=list(peers), choices=list(peers))
    parser.add_argument("--repeat", type=int, help="fresh processes per package (default: 5, for the largest panel 3)")
    parser.add_argument("--interpreter", action="append", default=[], metavar="VERSION=PATH")
    parser.add_argument("--output", type=Path, default=HERE, help="folder for results.json and results.md")
    arguments = parser.parse_args()
    arguments.suites = arguments.suites or list(SUITES)
    unknown = set(arguments.suites) - set(SUITES)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    return arguments, peers


def main() -> None:
    arguments, peers = parse()
    given = dict(item.split("=", 1) for item in arguments.interpreter)
    cells = {
        name: [cell for cell in SUITES[name].cells if cell.data in arguments.data and set(cell.tools) & set(peers)]
        for name in arguments.suites
    }
    wanted = {tool for found in cells.values() for cell in found for tool in cell.tools} & set(arguments.tools)
    tools: dict[str, Tool] = {}
    missing: dict[str, str] = {}
    for name in peers:
        if name not in wanted:
            continue
        try:
            tools[name] = prepare(name, peers[name], given)
        except Unavailable as reason:
            missing[name] = str(reason)
            print(f"{name}: {reason}", flush=True)
    if not tools:
        sys.exit("nothing to measure")

    file = arguments.output / "results.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"suites": {}}
    for name, found in cells.items():
        if found:
            results["suites"][name] = measure_suite(name, SUITES[name], found, tools, missing, arguments.repeat)
    arguments.output.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (arguments.output / "results.md").write_text(markdown(results), encoding="utf-8")
    for name in cells:
        if name in results["suites"]:
            print(f"\n{table(SUITES[name], results['suites'][name])}")
    print(f"\n{aims(results)}")


if __name__ == "__main__":
    main()
