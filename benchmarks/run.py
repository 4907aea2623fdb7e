"""Time and memory of one task in several packages: python benchmarks/run.py [--sizes s m l] [--tools pmg_eval csdid]

The task: group-time effects (doubly robust, one covariate, never-treated controls, varying base period), averaged to an
event study with analytic standard errors as a table; with and without a simultaneous band. See README.md beside this.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENVIRONMENTS = HERE / ".envs"
DATA = HERE / ".data"

OURS = "pmg_eval"
REPEATS = {"s": 5, "m": 5, "l": 3}
CALLS = {"s": 2, "m": 2, "l": 1}
LIMIT_SECONDS = 600
MAKES_DATA = "make_data.py"


@dataclass(frozen=True)
class Tool:
    """One package and the interpreter of its environment."""

    name: str
    python: Path
    versions: dict[str, str]


class Unavailable(Exception):
    """A package cannot be installed here."""


# --- environments ----------------------------------------------------------------------------------------------------


def find_interpreter(version: str | None, given: dict[str, str]) -> str:
    if version is None:
        return sys.executable
    if version in given:
        return given[version]
    search = ["sh", str(ROOT / "scripts" / "find_python.sh"), version]
    found = subprocess.run(search, capture_output=True, text=True, check=False).stdout.strip()
    if not found:
        raise Unavailable(f"needs Python {version}; name one with --interpreter {version}=PATH")
    return found


def prepare_environment(name: str, peer: dict[str, Any], given: dict[str, str]) -> Tool:
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    stamp = folder / "installed.json"
    interpreter = find_interpreter(peer.get("python"), given)
    wanted = {"install": peer["install"], "pyproject": (ROOT / "pyproject.toml").read_text() if name == OURS else ""}
    if not stamp.exists() or json.loads(stamp.read_text()) != wanted:
        print(f"installing {name}: {' '.join(peer['install'])}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([interpreter, "-m", "venv", str(folder)], [*pip, "--upgrade", "pip"], [*pip, *peer["install"]]):
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Unavailable(f"cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        stamp.write_text(json.dumps(wanted))
    listing = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = {item["name"].replace("_", "-"): item["version"] for item in json.loads(listing.stdout)}
    versions = {package: installed[package] for package in ("numpy", "pandas", "scipy")}
    version = subprocess.run([str(python), "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    return Tool(name, python, {"version": installed[name.replace("_", "-")], "python": version, **versions})


# --- measuring -------------------------------------------------------------------------------------------------------


def run_worker(tool: Tool, data: Path, band: bool, calls: int) -> dict[str, Any]:
    """One fresh process."""
    command = [str(tool.python), str(HERE / "workers" / f"worker_{tool.name}.py"), str(data), "--calls", str(calls)]
    try:
        done = subprocess.run(
            [*command, *(["--band"] if band else [])],
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


def measure(tools: list[Tool], data: Path, band: bool, repeats: int, calls: int) -> dict[str, list[dict[str, Any]]]:
    """All tools in turn, then all again, the order turned by one each time."""
    runs: dict[str, list[dict[str, Any]]] = {tool.name: [] for tool in tools}
    for repeat in range(repeats):
        shift = repeat % len(tools)
        for tool in tools[shift:] + tools[:shift]:
            if any("failed" in run for run in runs[tool.name]):
                continue
            run = run_worker(tool, data, band, calls)
            runs[tool.name].append(run)
            said = run.get("failed") or f"{run['calls'][0]['cpu']:.3f} CPU s"
            print(f"  {repeat + 1}/{repeats} {tool.name}: {said}", flush=True)
    return runs


def summarize(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians; CPU seconds, MiB."""
    failed = next((run["failed"] for run in runs if "failed" in run), None)
    if failed:
        return {"failed": failed}

    def median(pick: Any) -> float:
        return statistics.median(pick(run) for run in runs)

    several = len(runs[0]["calls"]) > 1
    return {
        "import_cpu": median(lambda run: run["import"]["cpu"]),
        "prepare_cpu": median(lambda run: run["prepare"]["cpu"]),
        "first_cpu": median(lambda run: run["calls"][0]["cpu"]),
        "first_wall": median(lambda run: run["calls"][0]["wall"]),
        "later_cpu": median(lambda run: run["calls"][1]["cpu"]) if several else None,
        "total_cpu": median(lambda run: run["import"]["cpu"] + run["prepare"]["cpu"] + run["calls"][0]["cpu"]),
        "extra_mib": median(lambda run: run["extra_mib"]),
        "peak_mib": median(lambda run: run["peak_mib"]),
        "numbers": runs[0]["numbers"],
    }


def relate(summaries: dict[str, dict[str, Any]]) -> None:
    """Add to each tool how many times ours it takes, and how far its numbers are from ours."""
    ours = summaries.get(OURS, {"failed": ""})
    if "failed" in ours:
        return
    for summary in summaries.values():
        if "failed" in summary:
            continue
        summary["ratio"] = {
            key: summary[key] / ours[key]
            for key in ("first_cpu", "later_cpu", "total_cpu", "extra_mib", "peak_mib")
            if summary[key] is not None and ours[key]
        }
        mine, theirs = ours["numbers"], summary["numbers"]
        summary["difference"] = {
            "simple": abs(theirs["simple"] - mine["simple"]),
            "event_time": largest_gap(mine, theirs, "estimate"),
            "std_error": largest_gap(mine, theirs, "std_error"),
        }


def largest_gap(mine: dict[str, Any], theirs: dict[str, Any], key: str) -> float | None:
    """Largest difference over the event times both report, relative to the largest value."""
    ours = dict(zip(mine["event_time"], mine[key], strict=True))
    other = dict(zip(theirs["event_time"], theirs[key], strict=True))
    common = ours.keys() & other.keys()
    if not common:
        return None
    return max(abs(ours[e] - other[e]) for e in common) / max(abs(ours[e]) for e in common)


# --- report ----------------------------------------------------------------------------------------------------------


COLUMNS = (
    *("data", "band", "package", "import", "prepare", "first call", "×", "later call", "×", "all three", "×"),
    *("extra MiB", "peak MiB", "ATT differs by"),
)


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def table(results: dict[str, Any]) -> str:
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    for cell in results["cells"]:
        for name, summary in cell["tools"].items():
            head = f"| {cell['size']} | {'yes' if cell['band'] else 'no'} | {name} |"
            if "failed" in summary:
                lines.append(f"{head} {summary['failed']} | | | | | | | | | | |")
                continue
            ratio = summary.get("ratio", {})
            gap = summary.get("difference", {}).get("simple")
            cells = [
                number(summary["import_cpu"], 2),
                number(summary["prepare_cpu"]),
                number(summary["first_cpu"]),
                number(ratio.get("first_cpu"), 1),
                number(summary["later_cpu"]),
                number(ratio.get("later_cpu"), 1),
                number(summary["total_cpu"], 2),
                number(ratio.get("total_cpu"), 1),
                number(summary["extra_mib"], 0),
                number(summary["peak_mib"], 0),
                "-" if gap is None else f"{gap:.0e}",
            ]
            lines.append(f"{head} {' | '.join(cells)} |")
    return "\n".join(lines)


def markdown(results: dict[str, Any]) -> str:
    versions = "; ".join(
        f"{name} {found['version']} (Python {found['python']}, numpy {found['numpy']})"
        for name, found in results["versions"].items()
    )
    missing = "".join(f"\nNot measured: {name}, {reason}.\n" for name, reason in results["not_measured"].items())
    return (
        "# Benchmark results\n\n"
        f"Written by `benchmarks/run.py` on {results['date']}, {results['machine']}. CPU seconds, medians of "
        f"{results['repeats']} fresh processes, × is the multiple of pmg_eval's. What is measured: README.md.\n\n"
        f"{versions}.\n{missing}\n{table(results)}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = tomllib.loads((HERE / "peers.toml").read_text(encoding="utf-8"))
    parser.add_argument("--sizes", nargs="+", default=list(REPEATS), choices=list(REPEATS))
    parser.add_argument("--tools", nargs="+", default=list(peers), choices=list(peers))
    parser.add_argument("--repeat", type=int, help="fresh processes per package (default: 5, for size l 3)")
    parser.add_argument("--interpreter", action="append", default=[], metavar="VERSION=PATH")
    parser.add_argument("--output", type=Path, default=HERE, help="folder for results.json and results.md")
    arguments = parser.parse_args()
    given = dict(item.split("=", 1) for item in arguments.interpreter)

    tools, not_measured = [], {}
    for name in arguments.tools:
        try:
            tools.append(prepare_environment(name, peers[name], given))
        except Unavailable as reason:
            not_measured[name] = str(reason)
            print(f"{name}: {reason}", flush=True)
    if not tools:
        sys.exit("nothing to measure")

    cells = []
    for size in arguments.sizes:
        data = DATA / f"{size}.npz"
        subprocess.run([str(tools[0].python), str(HERE / MAKES_DATA), size, str(data)], check=True)
        for band in (False, True):
            print(f"{size}, {'with' if band else 'without'} band", flush=True)
            runs = measure(tools, data, band, arguments.repeat or REPEATS[size], CALLS[size])
            summaries = {name: summarize(found) for name, found in runs.items()}
            relate(summaries)
            cells.append({"size": size, "band": band, "tools": summaries, "runs": runs})

    results = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "repeats": arguments.repeat or " / ".join(f"{REPEATS[size]} ({size})" for size in arguments.sizes),
        "versions": {tool.name: tool.versions for tool in tools},
        "not_measured": not_measured,
        "cells": cells,
    }
    for cell in cells:  # the numbers of each run are all the same
        for found in cell["runs"].values():
            for run in found:
                run.pop("numbers", None)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (arguments.output / "results.md").write_text(markdown(results), encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
