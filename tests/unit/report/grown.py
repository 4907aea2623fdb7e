"""The parts of an evaluation that stand beside its effects, made up: paths, hull, other estimators, persons, truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Covariance, Estimate, Provenance, make_terms
from pmg_eval.estimate.scales import ScaleName

YEARS = tuple(range(2012, 2026))
ESTIMATORS = ("imputation", "group_time", "sdid")
HORIZONS = (182, 365, 730)
NAMES = (
    *("Amsterdam", "Arnhem", "Breda", "'s-Gravenhage", "Eindhoven", "Groningen", "Heerlen", "Leeuwarden", "Lelystad"),
    *("Nieuwegein", "Rotterdam", "Schiedam", "Tilburg", "Utrecht", "Zaanstad", "Delft", "Dordrecht", "Roosendaal"),
    *("Vlaardingen", "Almere", "Enschede", "Helmond", "'s-Hertogenbosch", "Maastricht", "Nijmegen", "Sittard-Geleen"),
    "Venlo",
)


@dataclass(frozen=True)
class Curves:
    """Details with curves."""

    curves: pd.DataFrame


def numbers_of(areas: Estimate[Any]) -> pd.DataFrame:
    """Estimates with intervals of the areas."""
    return areas.to_frame()[["unit", "cohort", "estimate", "conf_low", "conf_high", "p_value"]].reset_index(drop=True)


def area_agreement(areas: Estimate[Any], words: str = "") -> pd.DataFrame:
    """Three estimators per area; one number is missing and says why."""
    rng = np.random.default_rng(11)
    frame = numbers_of(areas)
    tables = []
    for name in ESTIMATORS:
        shift = 0.0 if name == "imputation" else rng.normal(scale=0.05, size=len(frame))
        numbers = {column: frame[column] + shift for column in ("estimate", "conf_low", "conf_high")}
        z = np.nan if name == "imputation" else shift / 0.03
        tables.append(frame.assign(**numbers, estimator=name, z=z))
    table = pd.concat(tables, ignore_index=True)
    table["status"] = pd.Series([""] * len(table), dtype=object)
    gone = len(table) - 1
    table.loc[gone, ["estimate", "conf_low", "conf_high", "p_value", "z"]] = np.nan
    table.loc[gone, "status"] = f"too few periods {words}".strip()
    return table


def wave_agreement(scale: ScaleName) -> pd.DataFrame:
    """Three estimators overall and per wave, with differences."""
    one = 1.0 if scale == "log" else 0.0
    unit = 1.0 if scale == "log" else 20.0
    rows = []
    for i, cohort in enumerate(("all", "2022", "2023", "2024")):
        for j, name in enumerate(ESTIMATORS):
            value = one + unit * (-0.08 - 0.02 * i + 0.015 * j)
            half = unit * (0.06 + 0.03 * i)
            found = {"cohort": cohort, "estimator": name, "estimate": value}
            found |= {"conf_low": value - half, "conf_high": value + half, "status": ""}
            if j:
                difference = unit * 0.015 * j
                found |= {"difference": one + difference, "difference_se": unit * 0.02, "z": 0.75 * j}
            rows.append(found)
    return pd.DataFrame(rows)


def inference(scale: ScaleName) -> pd.DataFrame:
    """A headline, a method that agrees, one that does not, and one that is not valid."""
    one = 1.0 if scale == "log" else 0.0
    unit = 1.0 if scale == "log" else 20.0
    head = {"cohort": "all", "estimate": one - 0.09 * unit, "p_min": 0.0, "p_error": 0.0, "valid": True, "note": ""}
    ends = {"conf_low": one - 0.16 * unit, "conf_high": one - 0.02 * unit}
    none = {"estimate": np.nan, "conf_low": np.nan, "conf_high": np.nan}
    rows = [
        head | ends | {"method": "jackknife", "role": "headline", "p_value": 0.013},
        head | ends | {"method": "placebo law", "role": "beside", "p_value": 0.021, "p_min": 0.00005},
        head | none | {"method": "randomization in the pool", "role": "beside", "p_value": 0.07, "p_min": 0.002},
        head | ends | {"cohort": "2023", "method": "placebo law", "role": "headline", "p_value": 0.4},
        head | none | {"cohort": "2023", "method": "jackknife", "role": "beside", "p_value": 0.5, "valid": False},
    ]
    return pd.DataFrame(rows)


def league(names: Sequence[Any], scale: ScaleName) -> pd.DataFrame:
    """Areas together, the first two with the same possible ranks."""
    one = 1.0 if scale == "log" else 0.0
    unit = 1.0 if scale == "log" else 20.0
    k = len(names)
    value = one + unit * np.linspace(-0.2, 0.1, k)
    return pd.DataFrame(
        {
            "unit": pd.Series(list(names), dtype=object),
            "cohort": 2022,
            "estimate": value,
            "conf_low": value - 0.2 * unit,
            "conf_high": value + 0.2 * unit,
            "p_value": np.linspace(0.01, 0.6, k),
            "p_adjusted": np.linspace(0.2, 1.0, k),
            "shrunk": one + (value - one) / 2,
            "shrunk_low": one + (value - one) / 2 - 0.1 * unit,
            "shrunk_high": one + (value - one) / 2 + 0.1 * unit,
            "rank": np.arange(1, k + 1),
            "rank_low": 1,
            "rank_high": k,
            "note": "",
        }
    )


def hull(names: Sequence[Any]) -> pd.DataFrame:
    """Some areas can be imitated, some in more than one way."""
    inside = np.array([i % 3 > 0 for i in range(len(names))])
    unique = np.array([i % 3 == 1 for i in range(len(names))], dtype=object)
    unique[~inside] = None
    return pd.DataFrame(
        {
            "unit": pd.Series(list(names), dtype=object),
            "cohort": [2022 + i % 3 for i in range(len(names))],
            "inside": inside,
            "unique": unique,
            "low": np.where(inside, -2.31, np.nan),
            "high": np.where(inside, np.where(unique == True, -2.31, 0.42), np.nan),  # noqa: E712
            "distance": np.where(inside, 0.0, 1.37),
            "n_pre": [10 + i % 3 for i in range(len(names))],
        }
    )


def paths(names: Sequence[Any], areas: Estimate[Any], scale: ScaleName) -> pd.DataFrame:
    """Falling rates; from the start on the areas leave their synthetic control as their effect says."""
    rng = np.random.default_rng(5)
    tables = []
    for i, name in enumerate(names):
        level = rng.uniform(12, 30)
        trend = level * np.exp(-0.035 * np.arange(len(YEARS)) + rng.normal(scale=0.03, size=len(YEARS)).cumsum())
        after = np.array(YEARS) >= 2022 + i % 3
        effect = areas.values[i] if np.isfinite(areas.values[i]) else 1.0
        moved = trend * np.where(after, effect, 1.0) if scale == "log" else trend + np.where(after, 8 * effect, 0.0)
        observed = moved * np.exp(rng.normal(scale=0.025, size=len(YEARS)))
        tables.append(
            pd.DataFrame(
                {
                    "unit": pd.Series([name] * len(YEARS), dtype=object),
                    "cohort": 2022 + i % 3,
                    "period": YEARS,
                    "observed": observed,
                    "synthetic": trend,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def truth(areas: Estimate[Any]) -> pd.DataFrame:
    """True effects per area, per wave and overall, near the estimates but not always inside the intervals."""
    frame = areas.to_frame()
    half = (frame["conf_high"] - frame["conf_low"]) / 2
    shift = np.where(np.arange(len(frame)) % 13 == 4, 1.4, 0.3) * half
    per_area = pd.DataFrame({"unit": frame["unit"], "cohort": frame["cohort"], "truth": frame["estimate"] + shift})
    middle = float(frame["estimate"].mean())
    rest = pd.DataFrame(
        {"unit": [None] * 4, "cohort": [None, 2022, 2023, 2024], "truth": [middle + 0.01 * i for i in range(4)]}
    )
    return pd.concat([per_area.astype(object), rest.astype(object)], ignore_index=True)


def recidivism(
    groups: Sequence[Any] = ("wave 2022", "wave 2023", "wave 2024", "comparison areas"),
    causes: Sequence[str] = ("new case",),
    events: int = 240,
) -> Estimate[Curves]:
    """Shares with an event in days, by group and cause, with curves."""
    rng = np.random.default_rng(8)
    heads, values, errors, curves = [], [], [], []
    for i, group in enumerate(groups):
        for j, cause in enumerate(causes):
            n = 900 + 400 * i
            time = np.sort(rng.choice(np.arange(1, 731), size=min(events, 730), replace=False))
            share = (0.46 - 0.05 * i) * (1 - np.exp(-time / 420)) / (1 + 1.5 * j)
            error = np.sqrt(share * (1 - share) / n) + 1e-4
            at_risk = np.round(n * (1 - share) * (1 - 0.3 * time / 730)).astype(int)
            labels = {
                name: pd.Series([value] * len(time), dtype=object)
                for name, value in (("group", group), ("cause", cause))
            }
            frame = labels | {"time": time, "estimate": share, "std_error": error}
            ends = {"conf_low": share - 1.96 * error, "conf_high": share + 1.96 * error}
            curves.append(pd.DataFrame(frame | ends | {"n_at_risk": at_risk, "n_events": 1}))
            for horizon in HORIZONS:
                last = int(np.searchsorted(time, horizon, side="right")) - 1
                head = {"outcome": cause, "group": group, "horizon": horizon, "n_persons": n}
                heads.append(head | {"n_events": round(n * share[last])})
                values.append(share[last])
                errors.append(error[last])
    columns: dict[str, Any] = {name: [head[name] for head in heads] for name in heads[0]}
    columns |= {name: pd.Series(columns[name], dtype=object) for name in ("outcome", "group")}
    made = make_terms(columns | {"method": "Kaplan-Meier", "interval": "wald"}, len(heads))
    return Estimate(
        np.array(values),
        made,
        Covariance(np.diag(np.square(errors))),
        details=Curves(pd.concat(curves, ignore_index=True)),
        scale="cloglog",
        provenance=Provenance("recidivism.kaplan_meier", {"time_unit": "days"}, "ef" * 32),
    )
