"""Medians, ratios and tables from the runs."""

import statistics
from collections.abc import Callable
from typing import Any

from _environments import OURS
from _suites import FLOOR, SUITES, Aim, Suite

Runs = list[dict[str, Any]]


def summarize(runs: Runs) -> dict[str, Any]:
    """Medians over the processes; CPU seconds, MiB. A later call is the median of those of its process."""
    failed = next((run["failed"] for run in runs if "failed" in run), None)
    if failed:
        return {"failed": failed}

    def median(pick: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(pick(run) for run in runs)

    def later(run: dict[str, Any]) -> float:
        return statistics.median(call["cpu"] for call in run["calls"][1:])

    several = len(runs[0]["calls"]) > 1
    summary = {
        "import_cpu": median(lambda run: run["import"]["cpu"]),
        "prepare_cpu": median(lambda run: run["prepare"]["cpu"]),
        "first_cpu": median(lambda run: run["calls"][0]["cpu"]),
        "first_wall": median(lambda run: run["calls"][0]["wall"]),
        "later_cpu": median(later) if several else None,
        "total_cpu": median(lambda run: run["import"]["cpu"] + run["prepare"]["cpu"] + run["calls"][0]["cpu"]),
        "extra_mib": median(lambda run: run["extra_mib"]),
        "peak_mib": median(lambda run: run["peak_mib"]),
        "numbers": runs[0]["numbers"],
    }
    if "floor" in runs[0]:
        summary["floor_cpu"] = median(lambda run: run["floor"])
        summary["later_floors"] = median(lambda run: later(run) / run["floor"])
    return summary


def relate(summaries: dict[str, dict[str, Any]], compared: dict[str, str]) -> None:
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
        summary["difference"] = {key: _gap(mine.get(key), theirs.get(key)) for key in compared}
        if "event_time" in mine:
            summary["difference"]["event_time"] = _largest_gap(mine, theirs, "estimate")
            summary["difference"]["std_error"] = _largest_gap(mine, theirs, "std_error")


def _gap(mine: Any, theirs: Any) -> float | None:
    """Absolute difference of two numbers, or the largest over two lists; None (also within a list) is not compared."""
    if isinstance(mine, list) and isinstance(theirs, list):
        gaps = [_gap(m, t) for m, t in zip(mine, theirs, strict=True)]
        return max((gap for gap in gaps if gap is not None), default=None)
    return None if mine is None or theirs is None else abs(mine - theirs)


def _largest_gap(mine: dict[str, Any], theirs: dict[str, Any], key: str) -> float | None:
    """Largest difference over the event times both report, relative to the largest value."""
    ours = dict(zip(mine["event_time"], mine[key], strict=True))
    other = dict(zip(theirs["event_time"], theirs[key], strict=True))
    common = ours.keys() & other.keys()
    if not common:
        return None
    return max(abs(ours[e] - other[e]) for e in common) / max(abs(ours[e]) for e in common)


# --- tables ----------------------------------------------------------------------------------------------------------


COLUMNS = (
    *("data", "variant", "package", "import", "prepare", "first call", "×", "later call", "×", "all three", "×"),
    *("extra MiB", "peak MiB"),
)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _cells(summary: dict[str, Any], suite: Suite) -> list[str]:
    ratio, difference = summary.get("ratio", {}), summary.get("difference", {})
    gaps = [difference.get(key) for key in suite.compared]
    return [
        _number(summary["import_cpu"], 2),
        _number(summary["prepare_cpu"], 3),
        _number(summary["first_cpu"], 4),
        _number(ratio.get("first_cpu"), 1),
        _number(summary["later_cpu"], 4),
        _number(ratio.get("later_cpu"), 1),
        _number(summary["total_cpu"], 2),
        _number(ratio.get("total_cpu"), 1),
        _number(summary["extra_mib"], 0),
        _number(summary["peak_mib"], 0),
        *([_number(summary.get("floor_cpu"), 4), _number(summary.get("later_floors"), 1)] if suite.floor else []),
        *("-" if gap is None else f"{gap:.0e}" for gap in gaps),
    ]


def table(suite: Suite, result: dict[str, Any]) -> str:
    columns = (*COLUMNS, *((FLOOR, "later call in passes") if suite.floor else ()), *suite.compared.values())
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for cell in result["cells"]:
        for name, summary in cell["tools"].items():
            head = f"| {cell['data']} | {cell['variant']} | {name} |"
            if "failed" in summary:
                lines.append(f"{head} {summary['failed']} |{' |' * (len(columns) - 4)}")
            else:
                lines.append(f"{head} {' | '.join(_cells(summary, suite))} |")
    return "\n".join(lines)


def _reached(aim: Aim, result: dict[str, Any]) -> tuple[float, bool] | None:
    """What was measured for an aim (later calls), and whether that is enough; None if it was not measured."""
    tools = next(
        (cell["tools"] for cell in result["cells"] if (cell["data"], cell["variant"]) == (aim.data, aim.variant)), {}
    )
    if aim.against == FLOOR:
        value = tools.get(OURS, {}).get("later_floors")
        return None if value is None else (value, value <= aim.factor)
    value = tools.get(aim.against, {}).get("ratio", {}).get("later_cpu")
    return None if value is None else (value, value >= aim.factor)


def aims(results: dict[str, Any]) -> str:
    """The aims of all suites that were measured, and what became of them."""
    lines = ["| aim | measured | |", "|---|---|---|"]
    for name, suite in SUITES.items():
        for aim in suite.aims:
            reached = _reached(aim, results["suites"].get(name, {"cells": []}))
            wanted = (
                f"at most {aim.factor:g} times one pass" if aim.against == FLOOR else f"{aim.against} / {aim.factor:g}"
            )
            found = "not measured | " if reached is None else f"{reached[0]:.1f} | {'met' if reached[1] else 'missed'}"
            lines.append(f"| {aim.words}: {wanted} | {found} |")
    return "\n".join(lines)


def _section(name: str, result: dict[str, Any]) -> str:
    suite = SUITES[name]
    versions = "; ".join(
        f"{tool} {found['version']} (Python {found['python']}, numpy {found['numpy']})"
        for tool, found in result["versions"].items()
    )
    missing = "".join(f"\nNot measured: {tool}, {reason}.\n" for tool, reason in result["not_measured"].items())
    sources = dict.fromkeys(f"{cell['data']}: {cell['source']}" for cell in result["cells"] if cell.get("source"))
    data = f"\n{'; '.join(sources)}.\n" if sources else ""
    note = f"\n{result['note']}\n" if "note" in result else ""
    threads = "default threads" if suite.threads is None else f"{suite.threads} thread for everybody"
    return (
        f"## {suite.title} (`{name}`)\n\n"
        f"{result['date']}, {result['machine']}, medians of {result['repeats']} fresh processes, {threads}.\n\n"
        f"{versions}.\n{missing}{data}{note}\n{table(suite, result)}\n"
    )


def markdown(results: dict[str, Any]) -> str:
    sections = "\n".join(_section(name, results["suites"][name]) for name in SUITES if name in results["suites"])
    return (
        "# Benchmark results\n\n"
        "Written by `benchmarks/run.py`. CPU seconds; × is the multiple of pmg_eval's. What is measured: README.md.\n\n"
        "## Aims\n\n"
        f"Later calls, as multiples: of the other package's time over ours, or of ours over one bare pass.\n\n"
        f"{aims(results)}\n\n{sections}"
    )
