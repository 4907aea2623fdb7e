"""Plain shares: Wilson's interval, open windows, competing exits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pmg_eval import recidivism
from pmg_eval.errors import DesignError, InferenceError, PmgEvalError
from pmg_eval.panel import Spells


def frame(n: int = 80, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    out = pd.DataFrame({"id": np.arange(n), "cohort": rng.choice([2019, 2020], n), "new": rng.integers(0, 2, n)})
    out["days"] = np.where(out["new"] == 1, rng.integers(1, 900, n), 900)
    out["why"] = np.where(out["new"] == 1, rng.choice(["recidivism", "death"], n, p=[0.8, 0.2]), None)
    return out


def spells(df: pd.DataFrame | None = None, **roles: Any) -> Spells:
    return Spells(frame() if df is None else df, **{"person": "id", "exit": "days", "event": "new", **roles})


def error(call: Any) -> PmgEvalError:
    with pytest.raises(PmgEvalError) as caught:
        call()
    return caught.value


def test_share_and_wilson_interval() -> None:
    """R prop.test(24, 80, correct = FALSE): 0.2106 to 0.4075 (Wilson), by its closed form."""
    df = pd.DataFrame({"id": range(80), "days": [100] * 24 + [730] * 56, "new": [1] * 24 + [0] * 56})
    found = recidivism.prevalence(spells(df), horizon="2y").to_frame().iloc[0]
    z, p, n = 1.959963984540054, 0.3, 80
    centre, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z * np.sqrt(p * (1 - p) / n + z * z / 4 / n**2) / (1 + z * z / n),
    )
    np.testing.assert_allclose(
        found[["estimate", "std_error", "conf_low", "conf_high"]].to_numpy(dtype=float),
        [0.3, np.sqrt(0.21 / 80), centre - half, centre + half],
        rtol=1e-12,
    )
    assert (found["n_persons"], found["n_events"], found["horizon"]) == (80, 24, 730)


def test_equal_to_the_curves_when_follow_up_is_complete() -> None:
    data = spells(cause="why", group="cohort")
    share = recidivism.prevalence(data, cause="recidivism", horizon=[300, 900])
    curve = recidivism.cumulative_incidence(data, cause="recidivism", horizons=[300, 900])
    np.testing.assert_allclose(share.values, curve.values, rtol=1e-13)
    np.testing.assert_allclose(share.cov(), curve.cov(), rtol=1e-9, atol=1e-16)


def test_an_open_window_is_refused() -> None:
    df = frame()
    df.loc[df.index[df["new"] == 0][:3], "days"] = [500, 600, 899]
    caught = error(lambda: recidivism.prevalence(spells(df, group="cohort"), horizon=900))
    assert isinstance(caught, InferenceError)
    assert caught.code == "PMG-OPEN-WINDOW"
    assert sum(int(text.split(": ")[1].split(" ")[0]) for text in caught.where) == 3
    for alternative in ("kaplan_meier", "cumulative_incidence", "at most 500 days"):
        assert alternative in caught.fix
    assert recidivism.prevalence(spells(df), horizon=500).values[0] == pytest.approx(
        ((df["new"] == 1) & (df["days"] <= 500)).mean()
    )


def test_deaths_count_as_without_and_are_reported() -> None:
    df = frame()
    found = recidivism.prevalence(spells(df, cause="why"), cause="recidivism", horizon=900)
    assert found.values[0] == pytest.approx((df["why"] == "recidivism").mean())
    table = found.details.table
    assert table["n_competing"].tolist() == [int((df["why"] == "death").sum())]
    share = (df["why"] == "death").mean()
    assert table["share_competing"].tolist() == [pytest.approx(share)]
    assert f"{share:.1%}" in found.provenance.notes[-1]
    assert error(lambda: recidivism.prevalence(spells(cause="why"), horizon=900)).code == "PMG-CAUSE"


def test_late_entry_is_refused() -> None:
    caught = error(
        lambda: recidivism.prevalence(spells(frame().assign(s=(frame()["id"] == 3) * 1), entry="s"), horizon=1)
    )
    assert isinstance(caught, DesignError)
    assert caught.code == "PMG-LATE-ENTRY"


def test_nobody_and_everybody() -> None:
    df = pd.DataFrame({"id": range(4), "days": [9, 9, 9, 9], "new": [0, 0, 1, 1], "g": list("aabb")})
    found = recidivism.prevalence(spells(df, group="g"), horizon=9).to_frame()
    assert found["estimate"].tolist() == [0.0, 1.0]
    z2 = 1.959963984540054**2
    np.testing.assert_allclose(found["conf_high"], [z2 / (2 + z2), 1.0], rtol=1e-12)
    np.testing.assert_allclose(found["conf_low"], [0.0, 2 / (2 + z2)], rtol=1e-12)
    assert found["std_error"].isna().all()
    assert (
        found["status"].tolist() == ["nobody or everybody had the event: no standard error; fewer than 5 persons"] * 2
    )


def test_weights() -> None:
    df = frame().assign(w=lambda d: 1.0 + d["id"] % 3)
    frequency = recidivism.prevalence(spells(df, weight="w", weight_kind="frequency"), horizon=400).to_frame().iloc[0]
    many = df.loc[df.index.repeat(df["w"].astype(int))].assign(id=lambda d: range(len(d)))
    plain = recidivism.prevalence(spells(many), horizon=400).to_frame().iloc[0]
    for name in ("estimate", "std_error", "conf_low", "conf_high", "n_persons", "n_events"):
        assert frequency[name] == pytest.approx(plain[name], rel=1e-12)
    survey = recidivism.prevalence(spells(df, weight="w", weight_kind="survey"), horizon=400)
    assert survey.values[0] == pytest.approx(frequency["estimate"], rel=1e-12)
    y = ((df["new"] == 1) & (df["days"] <= 400)).to_numpy(dtype=float)
    residual = df["w"].to_numpy() * (y - survey.values[0])
    assert survey.se[0] == pytest.approx(np.sqrt((residual**2).sum()) / df["w"].sum(), rel=1e-12)
    row = survey.to_frame().iloc[0]
    assert row["n_persons"] == 80
    logit = np.log(row["estimate"] / (1 - row["estimate"]))
    half = 1.959963984540054 * row["std_error"] / (row["estimate"] * (1 - row["estimate"]))
    assert row["conf_low"] == pytest.approx(1 / (1 + np.exp(half - logit)), rel=1e-10)
