"""What every worker does: import the tool, read the data, prepare it, call the tool, print one line of JSON.

A worker is one fresh process: python WORKER FILE.npz --variant band --calls 2, with this folder on PYTHONPATH. The
clock runs over the call only, from the prepared data to the table of results; importing and preparing stand on lines
of their own.
"""

import argparse
import gc
import json
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

DRAWS = 999
WILD_DRAWS = 9_999
PASSES = 9


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


def one_pass(days: Any) -> float:
    """CPU seconds of one numpy pass that counts the days, in this process: the floor under any counting estimator."""
    import numpy as np

    days = np.array(days, dtype=np.int64)  # writeable: bincount copies what it may not write to, as pandas 3 hands out
    took = []
    for _ in range(PASSES):
        with _Clock() as clock:
            np.bincount(days)
        took.append(clock.cpu)
    return statistics.median(took)


def treated(frame: Any) -> Any:
    """1.0 where a unit is treated, else 0.0."""
    return ((frame["cohort"] > 0) & (frame["time"] >= frame["cohort"])).to_numpy(dtype=float)


def within_units(frame: Any) -> tuple[Any, Any]:
    """Outcome, and (treated, period dummies), less their means per unit; rows are sorted and balanced."""
    import numpy as np

    years = np.unique(frame["time"])
    dummies = (frame["time"].to_numpy()[:, None] == years[1:]).astype(float)
    columns = np.column_stack([frame["y"], treated(frame), dummies]).reshape(-1, len(years), len(years) + 1)
    columns = (columns - columns.mean(axis=1, keepdims=True)).reshape(len(frame), -1)
    return columns[:, 0].copy(), columns[:, 1:].copy()


def event_columns(frame: Any) -> tuple[list[str], Any]:
    """Names and dummies of the event times, those of -1 and of the first three left out."""
    import numpy as np

    since = np.where(frame["cohort"] > 0, frame["time"] - frame["cohort"], -1)
    events = [int(e) for e in np.unique(since[frame["cohort"] > 0]) if e != -1][3:]
    return [f"e{'m' if e < 0 else ''}{abs(e)}" for e in events], (since[:, None] == events).astype(float)


def _read(file: str, as_frame: bool) -> Any:
    import numpy as np

    with np.load(file) as stored:
        columns = {name: stored[name] for name in stored.files}
    if not as_frame:
        return columns
    import pandas as pd

    return pd.DataFrame(columns)


def measure(
    load: Callable[[], Any],
    prepare: Callable[[Any, Any], Any],
    fit: Callable[[Any, Any, str], Any],
    numbers: Callable[[Any, Any, Any, str], dict[str, Any]],
    *,
    as_frame: bool = True,
    floor: str | None = None,
) -> None:
    """Run one worker.

    load() -> tool; prepare(tool, frame) -> data; fit(tool, data, variant) -> result;
    numbers(tool, data, result, variant) -> {"simple": 1.0, ...}, computed off the clock to see that the tools answer
    the same question (which numbers: the suite's `compared` in _suites.py).
    as_frame=False: prepare gets a dict of arrays. floor: the column whose bare count is timed in the same process.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--variant", default="")
    parser.add_argument("--calls", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    with _Clock() as importing:
        tool = load()
    source = _read(arguments.file, as_frame)
    days = None if floor is None else source[floor]
    with _Clock() as preparing:
        data = prepare(tool, source)
    measured: dict[str, Any] = {} if days is None else {"floor": one_pass(days)}
    before = _peak_mib()
    calls, peak, result = [], before, None
    for number in range(arguments.calls):
        if number > 0:  # prepared anew: nothing a first call has kept may help the next
            data = prepare(tool, source)
            gc.collect()
        with _Clock() as call:
            result = fit(tool, data, arguments.variant)
        calls.append(call.as_dict())
        if number == 0:
            peak = _peak_mib()
    print(
        json.dumps(
            {
                "import": importing.as_dict(),
                "prepare": preparing.as_dict(),
                "calls": calls,
                "peak_mib": peak,
                "extra_mib": peak - before,
                "numbers": numbers(tool, data, result, arguments.variant),
                **measured,
            }
        )
    )
