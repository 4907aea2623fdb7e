"""Numbers of the authors' R packages on the castle and Texas data, which the package ``causaldata`` ships."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval import did, resample, synth
from pmg_eval.estimate import Estimate, LinearFit, clustered, fit_linear
from pmg_eval.panel import Panel
from pmg_eval.verify._case import Case
from pmg_eval.verify._reference import numbers
from pmg_eval.verify._small import at, details

KEEP = partial(synth.classic, poor_fit="keep")
# R's quadratic programme gives weights to 1e-9 (to 1e-6 where it is run again without a period).
PROGRAMME = 1e-6


def absent() -> str:
    """Why cases of this module cannot be run."""
    return "" if find_spec("causaldata") is not None else "the package causaldata is not installed"


@cache
def _castle() -> pd.DataFrame:
    """Homicides in 50 states; the law counts from the year in which it was passed."""
    from causaldata import castle

    raw = castle.load_pandas().data
    table = pd.DataFrame({"state": raw["sid"].astype(np.int64), "year": raw["year"].astype(np.int64)})
    # single precision in the file: the decimals it was written with
    table["l_homicide"] = raw["l_homicide"].map(str).astype(np.float64)
    first_full = table["year"].where(raw["post"] > 0).groupby(table["state"]).transform("min")
    table["start"] = first_full.sub(1).fillna(0).astype(np.int64)
    return table


def _panel() -> Panel:
    return Panel(_castle(), unit="state", time="year", cohort="start", never=0)


def _regression() -> Estimate[LinearFit]:
    table = _castle()
    rows = pd.DataFrame({"unit": table["state"], "time": table["year"], "nine": table["state"] % 9})
    treated = np.asarray((table["start"] > 0) & (table["year"] >= table["start"]), dtype=np.float64)
    return fit_linear(table["l_homicide"].to_numpy(), treated.reshape(-1, 1), ["law"], rows, absorb=True)


def _texas() -> Panel:
    from causaldata import texas

    raw = texas.load_pandas().data
    table = pd.DataFrame({"state": raw["state"].astype(str), "year": raw["year"].astype(np.int64)})
    table["thousands"] = raw["bmprison"].astype(np.float64) / 1000
    table["start"] = np.where(table["state"] == "Texas", 1993, 0)
    return Panel(table, unit="state", time="year", cohort="start", never=0)


def _group_time() -> Mapping[str, Any]:
    fitted = did.group_time(_panel(), "l_homicide", controls=did.NeverTreated(), method="or")
    found: dict[str, Any] = {}
    for cohort in numbers()["castle_did"]["cells"]:
        cell = fitted.where(cohort=int(cohort), period=int(cohort))
        found |= {f"ATT({cohort},{cohort})": cell.values[0], f"SE({cohort},{cohort})": cell.se[0]}
    for name in ("simple", "cohort", "period"):
        average = fitted.average(overall=name)
        found |= {name: average.values[0], f"{name} SE": average.se[0]}
    study = fitted.average(by="event_time")
    for event_time in numbers()["castle_did"]["event_time"]:
        row = study.where(event_time=int(event_time))
        found |= {f"event time {event_time}": row.values[0], f"event time {event_time} SE": row.se[0]}
    return found


def _expected_group_time() -> dict[str, float]:
    theirs = numbers()["castle_did"]
    expected: dict[str, float] = {}
    for cohort, (effect, error) in theirs["cells"].items():
        expected |= {f"ATT({cohort},{cohort})": effect, f"SE({cohort},{cohort})": error}
    for name in ("simple", "cohort", "period"):
        expected |= {name: theirs[name][0], f"{name} SE": theirs[name][1]}
    for event_time, (effect, error) in theirs["event_time"].items():
        expected |= {f"event time {event_time}": effect, f"event time {event_time} SE": error}
    return expected


def _imputation() -> Mapping[str, Any]:
    fitted = did.imputation(_panel(), "l_homicide")
    study = fitted.average(by="event_time")
    overall = fitted.average()
    found = {"overall": overall.values[0], "overall SE": overall.se[0]}
    for event_time in numbers()["castle_imputation"]["event"]:
        row = study.where(event_time=int(event_time))
        found |= {f"event time {event_time}": row.values[0], f"event time {event_time} SE": row.se[0]}
    return found


def _expected_imputation() -> dict[str, float]:
    theirs = numbers()["castle_imputation"]
    expected = {"overall": theirs["static"][0], "overall SE": theirs["static"][1]}
    for event_time, (effect, error) in theirs["event"].items():
        expected |= {f"event time {event_time}": effect, f"event time {event_time} SE": error}
    return expected


def _two_stage() -> Mapping[str, Any]:
    return {"SE": did.imputation(_panel(), "l_homicide", variance="derivative").average().se[0]}


def _two_way() -> Mapping[str, Any]:
    fit = _regression()
    kinds = {"default": "fixest", "K.full": "stata", "none": "none"}
    errors = {
        name: fit.assuming(clustered("unit", correction=kind)).se[0]  # type: ignore[arg-type]
        for name, kind in kinds.items()
    }
    return {"coefficient": fit.values[0], **errors}


def _wild() -> Mapping[str, Any]:
    fit = _regression()
    whole = resample.wild(fit, cluster="nine", draws=512, invert=False, ties=False)
    found = {"t": whole.statistic, "11": whole.p_value}
    for side in ("greater", "less"):
        found[side] = resample.wild(fit, cluster="nine", draws=512, alternative=side, invert=False, ties=False).p_value
    found["31"] = resample.wild(fit, cluster="nine", kind="31", draws=512, invert=False, ties=False).p_value
    return found


def _left_out() -> Mapping[str, Any]:
    fit = _regression()
    table = details(fit).clusters("nine")
    found = {"SE": float(np.sqrt(details(fit).cluster_robust("nine", "CV3")[0][0, 0]))}
    for row in table.to_dict("records"):
        found |= {
            f"without {row['cluster']}": row["without_law"],
            f"leverage of {row['cluster']}": row["partial_leverage_law"],
        }
    return found


def _expected_left_out() -> dict[str, float]:
    theirs = numbers()["castle_summclust"]
    expected = {"SE": theirs["se"]}
    expected |= {f"without {label}": value for label, value in theirs["without"].items()}
    return expected | {f"leverage of {label}": value for label, value in theirs["leverage"].items()}


def _texas_gaps() -> Mapping[str, Any]:
    found = KEEP(_texas(), "thousands")
    return {str(year): at(found, period=year) for year in range(1985, 2001)}


def _texas_tests() -> Mapping[str, Any]:
    test = resample.conformal(KEEP, _texas(), "thousands", invert=False)
    single = (
        {} if test.details is None else dict(zip(map(str, range(1993, 2001)), test.details["p_value"], strict=True))
    )
    return {"all years": test.p_value, **single}


def _texas_bounds() -> Mapping[str, Any]:
    found = resample.jackknife_plus(KEEP, _texas(), "thousands", quantile="interpolated")
    return {"low": found.conf_low, "high": found.conf_high}


def cases() -> tuple[Case, ...]:
    """Cases that need the package ``causaldata``."""
    theirs = numbers()
    texas = theirs["texas"]
    years = [str(year) for year in range(1985, 2001)]
    homicides = "log homicide rates of 50 states and castle-doctrine laws"
    prisons = "prisons in Texas against a synthetic control"

    def case(name: str, what: str, source: str, compute: Any, expected: Mapping[str, float], tolerance: float) -> Case:
        return Case(f"reference/{name}", "reference", what, source, compute, expected, tolerance, skip=absent)

    wild = theirs["castle_wild"]
    return (
        case(
            "castle-group-time",
            f"{homicides}: group-time effects, averages and standard errors",
            theirs["castle_did"]["source"],
            _group_time,
            _expected_group_time(),
            1e-10,
        ),
        case(
            "castle-imputation",
            f"{homicides}: imputation, overall and by event time, with standard errors",
            theirs["castle_imputation"]["source"],
            _imputation,
            _expected_imputation(),
            1e-8,  # R removes unit and period effects by iteration
        ),
        case(
            "castle-two-stage",
            f"{homicides}: the two-stage standard error",
            theirs["castle_two_stage"]["source"],
            _two_stage,
            {"SE": theirs["castle_two_stage"]["static_se"]},
            1e-8,
        ),
        case(
            "castle-two-way",
            f"{homicides}: two-way regression, three small-sample factors",
            theirs["castle_twfe"]["source"],
            _two_way,
            {"coefficient": theirs["castle_twfe"]["coef"], **theirs["castle_twfe"]["se"]},
            1e-9,
        ),
        case(
            "castle-wild-bootstrap",
            f"{homicides}: wild cluster bootstrap of nine clusters, enumerated (138 of 512)",
            wild["source"],
            _wild,
            {"t": wild["t"], **wild["p"]},
            1e-9,
        ),
        case(
            "castle-leave-one-out",
            f"{homicides}: coefficient without each of nine clusters, leverage, jackknife standard error",
            theirs["castle_summclust"]["source"],
            _left_out,
            _expected_left_out(),
            1e-8,
        ),
        case(
            "texas-gaps",
            f"{prisons}: gaps of sixteen years",
            texas["source"],
            _texas_gaps,
            dict(zip(years, texas["gaps"], strict=True)),
            10 * PROGRAMME,  # relative to gaps of a tenth in outcomes of fifty
        ),
        case(
            "texas-conformal",
            f"{prisons}: conformal p-values, moving blocks",
            texas["source"],
            _texas_tests,
            {"all years": texas["conformal_joint"], **dict(zip(years[8:], texas["conformal"], strict=True))},
            1e-12,
        ),
        case(
            "texas-jackknife-plus",
            f"{prisons}: jackknife+ interval of the mean effect",
            texas["source"],
            _texas_bounds,
            dict(zip(("low", "high"), texas["jackknife_plus"], strict=True)),
            PROGRAMME,
        ),
    )
