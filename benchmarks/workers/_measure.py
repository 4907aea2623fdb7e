"""What every worker does: import the tool, read the panel, prepare it, call the tool, print one line of JSON.

A worker is one fresh process: python WORKER FILE.npz --band --calls 2. The clock runs over the call only, from the
prepared data to the table of results; importing and preparing stand on lines of their own.
"""

import argparse
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

DRAWS = 999


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


class _Clock:
    def __enter__(self) -> "_Clock":
        self._start = _cpu(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = _cpu() - self._start[0], time.perf_counter() - self._start[1]

    def as_dict(self) -> dict[str, float]:
        return {"cpu": self.cpu, "wall": self.wall}


def measure(
    load: Callable[[], Any],
    prepare: Callable[[Any, Any], Any],
    fit: Callable[[Any, Any, bool], Any],
    numbers: Callable[[Any, Any, Any, bool], dict[str, Any]],
) -> None:
    """Run one worker.

    load() -> tool; prepare(tool, frame) -> data; fit(tool, data, band) -> result;
    numbers(tool, data, result, band) -> {"simple": ATT, "event_time": [...], "estimate": [...], "std_error": [...],
    "critical": number or None}, computed off the clock to see that the tools answer the same question.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--band", action="store_true")
    parser.add_argument("--calls", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    with _Clock() as importing:
        tool = load()
    import numpy as np
    import pandas as pd

    with np.load(arguments.file) as columns:
        frame = pd.DataFrame({name: columns[name] for name in columns.files})
    with _Clock() as preparing:
        data = prepare(tool, frame)
    before = _peak_mib()
    calls, peak, result = [], before, None
    for _ in range(arguments.calls):
        with _Clock() as call:
            result = fit(tool, data, arguments.band)
        calls.append(call.as_dict())
        if len(calls) == 1:
            peak = _peak_mib()
    print(
        json.dumps(
            {
                "import": importing.as_dict(),
                "prepare": preparing.as_dict(),
                "calls": calls,
                "peak_mib": peak,
                "extra_mib": peak - before,
                "numbers": numbers(tool, data, result, arguments.band),
            }
        )
    )
