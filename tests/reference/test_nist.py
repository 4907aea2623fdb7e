"""NIST StRD linear regression: log relative errors (LRE) of `lstsq` against the exact rational solutions.

The certified numbers stand in ``nist_certified.json``. The five Wampler problems are formulas and always run; the
others need the data files.
"""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from _shared import needs_shared, shared_path
from pmg_eval.numerics.wls import lstsq

CERTIFIED = json.loads(Path(__file__).with_name("nist_certified.json").read_text(encoding="utf-8"))["values"]

DEGREE = {"filip": 10, "pontius": 2, "norris": 1}
# 9 digits are the promise. Filip: powers of x up to 10 rounded to float64, times a condition number of 5e9, leave 7
# digits in any algorithm.
REQUIRED = {"filip": 7.0, "wampler3": 13.0, "wampler4": 13.0, "wampler5": 13.0}

# NIST adds this vector, times 1, 100 and 10,000, to the first polynomial.
_HALF = (759, -2048, 2048, -2048, 2523, -2048, 2048, -2048, 1838, -2048, 2048)
WAMPLER_NOISE = _HALF + _HALF[-2::-1]


def lre(found: np.ndarray, exact: list[str]) -> float:
    """Digits right in the worst number; absolute where the exact number is zero."""
    truth = np.array([float(value) for value in exact])
    error = np.abs(found - truth) / np.where(truth == 0, 1.0, np.abs(truth))
    return float(-np.log10(max(error.max(), 1e-16)))


def powers(values: list[Fraction], degree: int) -> np.ndarray:
    return np.array([[float(value**power) for power in range(degree + 1)] for value in values])


def wampler(number: int) -> tuple[np.ndarray, np.ndarray]:
    x = [Fraction(k) for k in range(21)]
    base = Fraction(1, 10) if number == 2 else Fraction(1)
    noise = {3: 1, 4: 100, 5: 10_000}.get(number, 0)
    y = [sum((base * v) ** k for k in range(6)) + noise * e for v, e in zip(x, WAMPLER_NOISE, strict=True)]
    return powers(x, 5), np.array([float(v) for v in y])


def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    with shared_path("data", "nist", f"{name}.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    y = np.array([float(row["y"]) for row in rows])
    if name == "longley":
        return np.array([[1.0, *(float(row[f"x{k}"]) for k in range(1, 7))] for row in rows]), y
    x = [Fraction(row["x"]) for row in rows]
    if name.startswith("noint"):
        return np.array([[float(value)] for value in x]), y
    return powers(x, DEGREE.get(name, 5)), y


def check(name: str, X: np.ndarray, y: np.ndarray) -> None:
    certified = CERTIFIED[name]
    assert X.shape == (certified["n"], certified["p"])
    digits = REQUIRED.get(name, 11.0)
    fit = lstsq(X, y)
    assert fit.rank == certified["p"]
    assert fit.dropped == ()
    assert lre(fit.coef, certified["coef"]) >= digits
    deviation = np.sqrt(fit.resid @ fit.resid / certified["df"])
    assert lre(np.array([deviation]), [certified["residual_sd"]]) >= digits
    assert lre(deviation * np.sqrt(np.diag(fit.bread)), certified["se"]) >= digits


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_wampler_from_its_formula(number: int) -> None:
    check(f"wampler{number}", *wampler(number))


@needs_shared
@pytest.mark.parametrize("name", sorted(CERTIFIED))
def test_strd_file(name: str) -> None:
    check(name, *read(name))


@needs_shared
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_the_wampler_formulas_are_the_files(number: int) -> None:
    X, y = wampler(number)
    X_file, y_file = read(f"wampler{number}")
    np.testing.assert_array_equal(X, X_file)
    np.testing.assert_array_equal(y, y_file)
