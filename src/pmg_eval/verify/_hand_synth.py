"""Synthetic controls whose weights are known without solving anything."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from typing import Any

from pmg_eval import resample, synth
from pmg_eval.verify._case import Case
from pmg_eval.verify._small import Paths, at, details, panel

KEEP = partial(synth.classic, poor_fit="keep")

# The treated area is B, C, D in the shares given, plus an effect in years 6 and 7.
B, C, D = [1, 4, 2, 8, 5, 7, 1], [2, 0, 6, 1, 3, 3, 6], [9, 9, 1, 2, 8, 4, 2]
# Areas that move alike (0, 1, 3, 2, 5, 4 above 0, 2 and 4): the penalty makes their weights equal.
ALIKE: Paths = {
    "T": (5, [10, 12, 12, 12, 18, 19]),
    "a": (0, [0, 1, 3, 2, 5, 4]),
    "b": (0, [2, 3, 5, 4, 7, 6]),
    "c": (0, [4, 5, 7, 6, 9, 8]),
}
# Gaps against areas that do not move: 1, -1, 2, 0 before the start and 3, -2 after it.
ALONE: Paths = {
    "T": (5, [1, -1, 2, 0, 3, -2]),
    "a": (0, [0, 0, 0, 0, 0, 0]),
    "b": (0, [0, 0, 0, 0, 0, 0]),
}


def _mixture(shares: tuple[Fraction, Fraction, Fraction]) -> Mapping[str, Any]:
    effect = [0, 0, 0, 0, 0, 2, 4]
    own = [float(shares[0] * b + shares[1] * c + shares[2] * d + e) for b, c, d, e in zip(B, C, D, effect, strict=True)]
    found = KEEP(panel({"A": (6, own), "B": (0, B), "C": (0, C), "D": (0, D)}), "y")
    weights = details(found).weights.set_index("donor")["weight"]
    return {
        "weight of B": weights.get("B", 0.0),
        "weight of C": weights.get("C", 0.0),
        "weight of D": weights.get("D", 0.0),
        "year 6": at(found, period=6),
        "year 7": at(found, period=7),
        "mean": found.average().values[0],
    }


def _alike() -> Mapping[str, Any]:
    found = synth.sdid(panel(ALIKE), "y", weights="unit")
    return {
        "year 5": at(found, period=5),
        "year 6": at(found, period=6),
        "year 2": at(found, period=2),
        "mean": found.average().values[0],
    }


def _conformal() -> Mapping[str, Any]:
    block = resample.conformal(KEEP, panel(ALONE), "y", level=0.8)
    subsets = resample.conformal(KEEP, panel(ALONE), "y", permutations="iid", invert=False)
    return {
        "cyclic shifts": block.p_value,
        "smallest p": block.p_min,
        "set, low": block.conf_low,
        "set, high": block.conf_high,
        "all pairs": subsets.p_value,
    }


CASES = (
    Case(
        "synth/equal-to-a-donor",
        "by hand",
        "a synthetic control of an area that is one of its donors before the start",
        "by hand: weight 1 on it, effects 2 and 4",
        partial(_mixture, (Fraction(0), Fraction(1), Fraction(0))),
        {
            "weight of B": Fraction(0),
            "weight of C": Fraction(1),
            "weight of D": Fraction(0),
            "year 6": Fraction(2),
            "year 7": Fraction(4),
            "mean": Fraction(3),
        },
    ),
    Case(
        "synth/mixture",
        "by hand",
        "a synthetic control of an area that is 1/2, 1/3 and 1/6 of three donors before the start",
        "by hand: the fit is perfect there and nowhere else",
        partial(_mixture, (Fraction(1, 2), Fraction(1, 3), Fraction(1, 6))),
        {
            "weight of B": Fraction(1, 2),
            "weight of C": Fraction(1, 3),
            "weight of D": Fraction(1, 6),
            "year 6": Fraction(2),
            "year 7": Fraction(4),
            "mean": Fraction(3),
        },
        tolerance=1e-9,
    ),
    Case(
        "synth/sdid-equal-weights",
        "by hand",
        "synthetic difference-in-differences with donors that move alike is difference-in-differences",
        "by hand: gaps to the donors' mean 8, 9, 7, 8 | 11, 13, less 8",
        _alike,
        {"year 5": Fraction(3), "year 6": Fraction(5), "year 2": Fraction(1), "mean": Fraction(4)},
        tolerance=1e-8,
    ),
    Case(
        "synth/conformal",
        "by hand",
        "conformal test of one area: six periods, two of them treated",
        "by hand: |3|+|-2| against five other pairs of neighbors, and among 15 pairs; |3-h|+|2+h| against 1+|2+h|",
        _conformal,
        {
            "cyclic shifts": Fraction(1, 6),
            "smallest p": Fraction(1, 6),
            "set, low": Fraction(2),
            "set, high": Fraction(4),
            "all pairs": Fraction(2, 15),
        },
        tolerance=2e-6,  # ends of sets are narrowed to a millionth of a residual
    ),
)
