"""The folder with reference data and numbers of other packages; it lies beside the checkout and is not part of it."""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

SHARED = Path(os.environ.get("PMG_EVAL_SHARED") or Path(__file__).resolve().parents[2] / "shared")

# The only reason for which a test may be skipped (conftest.py).
MISSING = "the reference data folder ../shared is not on this machine"

_PANDAS = tuple(int(part) for part in version("pandas").split(".")[:2])
# From 3.1 on pandas reads decimal numbers exactly and warns when told to.
_EXACT: dict[str, Any] = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=MISSING)


def shared_path(*parts: str) -> Path:
    """Path in the folder; without the folder the test (or the module, at import) is skipped."""
    if not SHARED.is_dir():
        pytest.skip(MISSING, allow_module_level=True)
    path = SHARED.joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(f"{'/'.join(parts)} is not in the reference data folder {SHARED}")
    return path


def reference(name: str) -> dict[str, Any]:
    """``reference("bacon_castle")``: the numbers, with dataset, package, version, call, options and results."""
    loaded: dict[str, Any] = json.loads(shared_path("reference", f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def dataset(name: str) -> pd.DataFrame:
    """``dataset("castle_panel")``, ``dataset("nist/longley")``: a CSV file of the folder ``data``, plain or gzipped."""
    packed = SHARED / "data" / f"{name}.csv.gz"
    path = packed if packed.exists() else shared_path("data", f"{name}.csv")
    return pd.read_csv(path, **_EXACT)
