"""Numbers of the authors' R packages on data small enough to be shipped as numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, partial
from importlib.resources import files
from typing import Any

from pmg_eval import infer
from pmg_eval.verify._case import Case
from pmg_eval.verify._small import details, effects, study


@cache
def numbers() -> Mapping[str, Any]:
    """The file ``reference.json``."""
    text = files("pmg_eval.verify").joinpath("reference.json").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


def _pooled(fit: str) -> Mapping[str, Any]:
    method, inference = fit.split()
    trial = numbers()["bcg"]
    pooled = infer.pool(effects(trial["yi"], trial["vi"]), method=method, inference=inference)  # type: ignore[arg-type]
    row, kept = pooled.to_frame().iloc[0], details(pooled)
    return {
        "mean": row["estimate"],
        "se": row["std_error"],
        "low": row["conf_low"],
        "high": row["conf_high"],
        "tau2": kept.tau2,
        "tau2_se": kept.tau2_se,
        "q": kept.q,
        "i2": kept.i2,
        "prediction_low": kept.prediction_low,
        "prediction_high": kept.prediction_high,
    }


def _profile() -> Mapping[str, Any]:
    trial = numbers()["bcg"]
    kept = details(infer.pool(effects(trial["yi"], trial["vi"]), method="reml"))
    return {"low": kept.tau2_low, "high": kept.tau2_high}


def _honest(method: str) -> Mapping[str, Any]:
    known = numbers()["benzarti_carloni"]
    strengths = tuple(float(strength) for strength in known[method])
    restriction = infer.Smoothness(strengths) if method == "flci" else infer.RelativeMagnitude(strengths)
    bounds = infer.honest(
        study(known["betahat"], known["sigma"], 4),
        restriction=restriction,
        method="FLCI" if method == "flci" else "Conditional",
        reference=-1,
        guard=False,
    ).bounds
    found = {"parallel trends, low": bounds["conf_low"][0], "parallel trends, high": bounds["conf_high"][0]}
    for strength, low, high in zip(known[method], bounds["conf_low"][1:], bounds["conf_high"][1:], strict=True):
        found |= {f"{strength}, low": low, f"{strength}, high": high}
    return found


def _expected_honest(method: str) -> dict[str, float]:
    known = numbers()["benzarti_carloni"]
    expected = dict(zip(("parallel trends, low", "parallel trends, high"), known["original"], strict=True))
    for strength, (low, high) in known[method].items():
        expected |= {f"{strength}, low": low, f"{strength}, high": high}
    return expected


def cases() -> tuple[Case, ...]:
    """Cases that need nothing but this package."""
    trial = numbers()["bcg"]
    pooling = [
        Case(
            f"reference/bcg-{fit.replace(' ', '-').replace('_', '-')}",
            "reference",
            f"thirteen trials of a vaccine, random effects: {fit.replace(' ', ', ').replace('_', '-')}",
            trial["source"],
            partial(_pooled, fit),
            expected,
            tolerance=1e-9,  # heterogeneity by iteration, there and here
        )
        for fit, expected in trial["fits"].items()
    ]
    low, high = trial["tau2_profile"]
    profile = Case(
        "reference/bcg-profile",
        "reference",
        "the same trials: Q-profile interval of the heterogeneity",
        trial["source"],
        _profile,
        {"low": low, "high": high},
        tolerance=1e-3,  # R's root search stops at a ten-thousandth of the scale
    )
    event_study = numbers()["benzarti_carloni"]["source"]
    smooth = Case(
        "reference/honest-flci",
        "reference",
        "effect of a tax cut when trends may bend by M: fixed-length intervals",
        event_study,
        partial(_honest, "flci"),
        _expected_honest("flci"),
        tolerance=5e-3,  # R simulates the quantile of the folded normal law
    )
    relative = Case(
        "reference/honest-conditional",
        "reference",
        "the same when trends may diverge as fast as before, times a strength: conditional sets",
        event_study,
        partial(_honest, "conditional"),
        _expected_honest("conditional"),
        tolerance=1e-2,  # R gives the outermost point of a grid of a thousand
    )
    return (*pooling, profile, smooth, relative)
