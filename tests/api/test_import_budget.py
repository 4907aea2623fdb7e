"""`import pmg_eval` costs numpy and pandas and changes nothing."""

import json
import subprocess
import sys
from functools import cache
from typing import Any

PROBE = """
import json, os, random, sys, warnings
import numpy as np, pandas as pd

def options(node, name="", found=None):
    found = {} if found is None else found
    for key in dir(node):
        value = getattr(node, key)
        if type(value) is type(pd.options):
            options(value, f"{name}{key}.", found)
        else:
            found[f"{name}{key}"] = repr(value)
    return found

def state():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated options warn when read
        pandas_options = options(pd.options)
    return {
        "numpy error handling": np.geterr(),
        "numpy print options": repr(np.get_printoptions()),
        "numpy random state": [getattr(part, "tolist", lambda: part)() for part in np.random.get_state()],
        "Python random state": repr(random.getstate()),
        "pandas options": pandas_options,
        "warning filters": repr(warnings.filters),
        "environment": dict(os.environ),
    }

FAMILIES = {"socket", "subprocess", "urllib", "http", "ftplib", "smtplib", "shutil", "tempfile"}
CALLS = {"os." + name for name in (
    "system exec fork forkpty posix_spawn spawn startfile mkdir remove rename rmdir putenv unsetenv chdir link symlink"
).split()}
HEAVY = set(
    "scipy statsmodels linearmodels sklearn formulaic narwhals matplotlib duckdb ibis numba polars jinja2".split()
)
events = []
def watch(event, arguments):
    if event.partition(".")[0] in FAMILIES or event in CALLS:
        events.append(event)
    elif event == "open":
        path, mode, flags = arguments
        if flags is not None and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
            events.append(f"open for writing: {path}")

before, modules = state(), set(sys.modules)
sys.addaudithook(watch)
import pmg_eval
seen = list(events)
old, roots = ({name.partition(".")[0] for name in names} for names in (modules, set(sys.modules) - modules))
after = state()
print(json.dumps({
    "events": seen,
    "changed": [name for name in before if before[name] != after[name]],
    "new": sorted(roots - old - set(sys.stdlib_module_names)),
    "heavy": sorted(HEAVY & set(sys.modules)),
    "public": [name for name in pmg_eval.__all__ if not hasattr(pmg_eval, name)],
}))
"""


@cache
def probe() -> dict[str, Any]:
    # -B: the byte code that Python itself caches is not a file the library writes.
    run = subprocess.run([sys.executable, "-B", "-c", PROBE], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_only_numpy_and_pandas_are_imported() -> None:
    assert probe()["new"] == ["pmg_eval"]
    assert probe()["heavy"] == []


def test_nothing_is_written_started_or_sent() -> None:
    assert probe()["events"] == []


def test_no_global_state_is_changed() -> None:
    assert probe()["changed"] == []


def test_every_public_name_is_there() -> None:
    assert probe()["public"] == []
