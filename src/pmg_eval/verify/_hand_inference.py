"""Enumerations, pooling and adjustments that can be counted or solved by hand."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval import did, infer, resample
from pmg_eval.estimate import fit_linear, hac
from pmg_eval.verify._case import Case
from pmg_eval.verify._hand_did import TWO_BY_TWO
from pmg_eval.verify._small import Paths, details, effects, panel, study, two_way

# Changes 10, 1, 2, 3: as if each of the four had been the one.
ONE_OF_FOUR: Paths = {"A": (2, [0, 10]), "B": (0, [0, 1]), "C": (0, [0, 2]), "D": (0, [0, 3])}
SIX: Paths = {
    "A": (2, [1, 6, 4]),
    "B": (3, [3, 9, 8]),
    "C": (0, [2, 3, 7]),
    "D": (0, [4, 6, 5]),
    "E": (0, [0, 2, 1]),
    "F": (0, [5, 5, 9]),
}
# Without 0, 3, 6 the mean past is 4.5, 3, 1.5: errors -4.5, 0, 4.5.
RISING: Paths = {"T": (4, [0, 3, 6, 10, 7]), "a": (0, [0] * 5), "b": (0, [0] * 5), "c": (0, [0] * 5)}


def _overall(data: Any, outcome: str) -> Any:
    return did.imputation(data, outcome).average()


def _randomization() -> Mapping[str, Any]:
    one = resample.randomize(_overall, panel(ONE_OF_FOUR), "y")
    two = resample.randomize(_overall, panel(TWO_BY_TWO), "y")
    return {"one of four": one.p_value, "one of four, smallest p": one.p_min, "two of four": two.p_value}


def _wild() -> Mapping[str, Any]:
    fit = two_way(SIX)
    return {"coefficient": fit.values[0], "p": resample.wild(fit, draws=64, invert=False, ties=False).p_value}


def _jackknife_plus() -> Mapping[str, Any]:
    found = resample.jackknife_plus(did.imputation, panel(RISING), "y", level=0.5, quantile="interpolated")
    safe = resample.jackknife_plus(
        did.imputation, panel(RISING), "y", level=0.5, conservative=True, quantile="interpolated"
    )
    return {
        "first year, low": _first(found, "conf_low"),
        "first year, high": _first(found, "conf_high"),
        "mean, low": found.conf_low,
        "mean, high": found.conf_high,
        "conservative, low": _first(safe, "conf_low"),
        "conservative, high": _first(safe, "conf_high"),
    }


def _first(test: Any, name: str) -> float:
    return float(test.details[name].iloc[0])


def _pooling() -> Mapping[str, Any]:
    apart = effects([0, 3, 6], [1, 1, 1])
    found: dict[str, Any] = {}
    for method in ("dl", "reml", "pm"):
        pooled = infer.pool(apart, method=method, inference="wald")
        found |= {
            f"{method} tau2": details(pooled).tau2,
            f"{method} mean": pooled.values[0],
            f"{method} SE": pooled.se[0],
        }
    return found | {"Q": details(pooled).q, "I2": details(pooled).i2}


def _unequal() -> Mapping[str, Any]:
    pooled = infer.pool(effects([1, 2, 6], [1, 2, 4]), method="dl", inference="wald")
    common = infer.pool(effects([1, 2, 6], [1, 2, 4]), method="fixed")
    return {
        "common mean": common.values[0],
        "common SE": common.se[0],
        "Q": details(pooled).q,
        "tau2": details(pooled).tau2,
    }


def _adjusted() -> Mapping[str, Any]:
    several = effects([3, 2.5, 1], [1, 1, 1])
    found: dict[str, Any] = {}
    for method in ("holm", "bonferroni", "bh"):
        table = infer.adjust(several, method=method)
        ratio = table["p_adjusted"] / table["p_value"]
        found |= {f"{method} {place}": ratio.iloc[place] for place in range(3)}
    return found


def _equivalence() -> Mapping[str, Any]:
    table = infer.equivalence(effects([0.1], [0.01]), 0.5)
    return {"p": table["p_value"].iloc[0], "inside": float(table["verdict"].iloc[0] == "equivalent")}


def _honest() -> Mapping[str, Any]:
    law = np.full((4, 4), 0.01) + np.diag([0.01] * 4)
    before_and_after = study([0.1, -0.1, 0.8, 0.9], law, 2)
    found: dict[str, Any] = {}
    for name, restriction in (
        ("relative", infer.RelativeMagnitude(strengths=(0.5, 1.0))),
        ("smooth", infer.Smoothness(strengths=(0.0, 0.1))),
    ):
        bounds = infer.honest(before_and_after, restriction=restriction, reference=-1, guard=False).bounds.iloc[1:]
        for row in bounds.to_dict("records"):
            found |= {
                f"{name} {row['strength']:g}, low": row["id_low"],
                f"{name} {row['strength']:g}, high": row["id_high"],
            }
    return found


def _serial() -> Mapping[str, Any]:
    fit = fit_linear(
        np.array([1.0, -1.0, 2.0, -2.0]), np.ones((4, 1)), ["mean"], pd.DataFrame({"unit": 0, "time": range(4)})
    )
    return {f"{lags} lags": fit.cov(hac(lags))[0, 0] for lags in (0, 1, 2)}


CASES = (
    Case(
        "inference/randomization",
        "by hand",
        "randomization inference by enumeration: one area of four, two of four",
        "by hand: |8| against |-4|, |-8/3|, |-4/3|; the two arms exchanged give -4 as well: 2 of 6",
        _randomization,
        {"one of four": Fraction(1, 4), "one of four, smallest p": Fraction(1, 4), "two of four": Fraction(1, 3)},
    ),
    Case(
        "inference/wild-bootstrap",
        "by hand",
        "wild cluster bootstrap by enumeration, six areas and three years, null imposed",
        "by hand: the 64 regressions, 36 of them with a larger |t| (CV1)",
        _wild,
        {"coefficient": Fraction(5, 6), "p": Fraction(9, 16)},
    ),
    Case(
        "inference/jackknife-plus",
        "by hand",
        "prediction intervals from three earlier years, each left out once, at 50 %",
        "by hand: quartiles of 1, 7, 4 and 10, 7, 13; of -1/2, 11/2, 5/2 and 17/2, 11/2, 23/2; 11/2 - 9/2, 17/2 + 9/2",
        _jackknife_plus,
        {
            "first year, low": Fraction(5, 2),
            "first year, high": Fraction(23, 2),
            "mean, low": Fraction(1),
            "mean, high": Fraction(10),
            "conservative, low": Fraction(1),
            "conservative, high": Fraction(13),
        },
    ),
    Case(
        "inference/pooling",
        "by hand",
        "random-effects mean of 0, 3, 6 with variances 1: DerSimonian-Laird, REML, Paule-Mandel agree",
        "by hand: Q = 18, tau2 = (18 - 2)/(3 - 1) = 9 - 1 = 8, variance (8 + 1)/3, I2 = 16/18",
        _pooling,
        {
            **{f"{method} tau2": Fraction(8) for method in ("dl", "reml", "pm")},
            **{f"{method} mean": Fraction(3) for method in ("dl", "reml", "pm")},
            **{f"{method} SE": sqrt(3) for method in ("dl", "reml", "pm")},
            "Q": Fraction(18),
            "I2": Fraction(800, 9),
        },
        tolerance=1e-8,
    ),
    Case(
        "inference/pooling-unequal",
        "by hand",
        "the same with 1, 2, 6 and variances 1, 2, 4",
        "by hand: weights 1, 1/2, 1/4: mean 2, Q = 1 + 0 + 4, tau2 = (5 - 2)/(7/4 - (21/16)/(7/4)) = 3",
        _unequal,
        {"common mean": Fraction(2), "common SE": sqrt(4 / 7), "Q": Fraction(5), "tau2": Fraction(3)},
    ),
    Case(
        "inference/multiplicity",
        "by hand",
        "adjusted over unadjusted p-values of three independent tests, z = 3, 2.5, 1",
        "by hand: Holm 3, 2, 1; Bonferroni 3, 3, 3; Benjamini-Hochberg 3, 3/2, 1",
        _adjusted,
        {
            **{f"holm {place}": Fraction(ratio) for place, ratio in enumerate((3, 2, 1))},
            **{f"bonferroni {place}": Fraction(3) for place in range(3)},
            **{f"bh {place}": Fraction(ratio) for place, ratio in enumerate(("3", "3/2", "1"))},
        },
    ),
    Case(
        "inference/equivalence",
        "by hand",
        "two one-sided tests of 0.1 with standard error 0.1 against a margin of 0.5",
        "by hand: the normal tail beyond (0.5 - 0.1)/0.1 = 4",
        _equivalence,
        {"p": 3.1671241833119924e-05, "inside": Fraction(1)},
        tolerance=1e-9,
    ),
    Case(
        "inference/honest",
        "by hand",
        "effects allowed at the start when trends may diverge: estimates 0.1, -0.1, (0) | 0.8, 0.9",
        "by hand: largest change before the start 0.2 times the strength; slope 0.1 of the last change, +- M",
        _honest,
        {
            "relative 0.5, low": Fraction(7, 10),
            "relative 0.5, high": Fraction(9, 10),
            "relative 1, low": Fraction(6, 10),
            "relative 1, high": Fraction(1),
            "smooth 0, low": Fraction(7, 10),
            "smooth 0, high": Fraction(7, 10),
            "smooth 0.1, low": Fraction(6, 10),
            "smooth 0.1, high": Fraction(8, 10),
        },
    ),
    Case(
        "inference/serial-dependence",
        "by hand",
        "variance of the mean of 1, -1, 2, -2 with Bartlett weights",
        "by hand: (10 + 2*(1 - 1/2)*(-7))/16; and two thirds of -7 with one third of 4 for two lags",
        _serial,
        {"0 lags": Fraction(10, 16), "1 lags": Fraction(3, 16), "2 lags": Fraction(10 * 3 - 28 + 8, 48)},
    ),
)
