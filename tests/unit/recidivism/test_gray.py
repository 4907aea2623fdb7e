"""Gray's test against a slow reading of the paper, and what it refuses. R's numbers: tests/reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pmg_eval import recidivism
from pmg_eval.errors import PmgEvalError
from pmg_eval.panel import Spells


def frame(n: int = 90, seed: int = 0, groups: str = "ABC") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    out = pd.DataFrame({"id": np.arange(n), "g": rng.choice(list(groups), n), "days": rng.integers(1, 12, n)})
    out["kind"] = rng.choice([0, 1, 2], n, p=[0.3, 0.4, 0.3])
    out.loc[out["g"] == groups[-1], "days"] = rng.integers(1, 7, int((out["g"] == groups[-1]).sum()))  # ends early
    out["new"], out["why"] = (out["kind"] > 0).astype(int), out["kind"].map({0: None, 1: "r", 2: "d"})
    return out


def spells(df: pd.DataFrame, **roles: Any) -> Spells:
    return Spells(df, **{"person": "id", "exit": "days", "event": "new", "cause": "why", "group": "g", **roles})


def slow(df: pd.DataFrame, rho: float) -> float:
    """Day by day and group by group, after section 2 of Gray (1988); ties as in cmprsk."""
    names = sorted(df["g"].unique())
    size = len(names)
    free, own = np.ones(size), np.zeros(size)
    pooled, score, drift = 0.0, np.zeros(size), np.zeros((size, size))
    history: list[tuple[int, np.ndarray, float, np.ndarray, float]] = []
    for day in sorted(df.loc[df["new"] == 1, "days"].unique()):
        here = df[df["days"] == day]
        risk = np.array([((df["g"] == g) & (df["days"] >= day)).sum() for g in names], dtype=float)
        one = np.array([((here["g"] == g) & (here["kind"] == 1)).sum() for g in names], dtype=float)
        two = np.array([((here["g"] == g) & (here["kind"] == 2)).sum() for g in names], dtype=float)
        here_free, here_own = free.copy(), own.copy()
        h = np.array([r / s if r else 0.0 for r, s in zip(risk, here_free, strict=True)])
        subset = h * (1 - here_own)
        weight = (1 - pooled) ** rho
        total = one.sum()
        matrix = np.zeros((size, size))
        for i in range(size):
            if risk[i]:
                score[i] += weight * (one[i] - total * subset[i] / subset.sum())
                free[i] *= 1 - (one[i] + two[i]) / risk[i]
                own[i] += here_free[i] * one[i] / risk[i]
            for j in range(size):
                matrix[i, j] = weight * h[i] * (float(i == j) - h[j] / h.sum())
        drift = drift + matrix * total / (h.sum() * (1 - pooled))
        pooled += total / h.sum()
        for k in range(size):
            if not risk[k]:
                continue
            rest = (1 - pooled) / free[k] if free[k] > 0 else 0.0
            if total:
                tie = 1 - (total - 1) / (h.sum() * here_free[k] - 1) if total > 1 else 1.0
                history.append(
                    (k, matrix[:, k], 1 - rest, drift[:, k].copy(), tie * here_free[k] * total / (h.sum() * risk[k]))
                )
            if two[k] and free[k] > 0:
                tie = 1 - (two[k] - 1) / (risk[k] - 1) if two[k] > 1 else 1.0
                history.append(
                    (k, np.zeros(size), rest, drift[:, k].copy(), tie * here_free[k] ** 2 * two[k] / risk[k] ** 2)
                )
    variance = np.zeros((size, size))
    for k, now, factor, sofar, spread in history:
        influence = now + factor * (drift[:, k] - sofar)
        variance += np.outer(influence, influence) * spread
    return float(score[:-1] @ np.linalg.solve(variance[:-1, :-1], score[:-1]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rho", [0.0, 1.0, -0.5])
def test_three_groups(seed: int, rho: float) -> None:
    df = frame(seed=seed)
    found = recidivism.gray_test(spells(df), cause="r", rho=rho)
    assert found.statistic == pytest.approx(slow(df, rho), rel=1e-10)
    assert found.distribution == "chi-squared(2)"


def test_the_order_of_groups_does_not_matter() -> None:
    df = frame()
    other = df.assign(g=df["g"].map({"A": "Z", "B": "Y", "C": "X"}))
    left, right = (recidivism.gray_test(spells(one), cause="r").statistic for one in (df, other))
    assert left == pytest.approx(right, rel=1e-10)


def test_size() -> None:
    """Under equal incidence the test rejects about 5 % (400 draws: 2.9 to 7.4 %)."""
    rejected = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        n = 120
        df = pd.DataFrame({"id": np.arange(n), "g": rng.choice(["A", "B"], n), "days": rng.integers(1, 30, n)})
        df["kind"] = rng.choice([0, 1, 2], n, p=[0.3, 0.5, 0.2])
        df["new"], df["why"] = (df["kind"] > 0).astype(int), df["kind"].map({0: None, 1: "r", 2: "d"})
        rejected += recidivism.gray_test(spells(df), cause="r").p_value < 0.05
    assert 0.029 < rejected / 400 < 0.074


def test_one_cause_and_counts() -> None:
    df = frame()
    only = df.assign(new=(df["kind"] == 1).astype(int))
    data = spells(only, cause=None)
    found = recidivism.gray_test(data)
    assert found.statistic == recidivism.gray_test(recidivism.Counts.of(data)).statistic
    assert 0 <= found.p_value <= 1
    assert "Gray's test" in found.method
    assert found.provenance.references == ("10.1214/aos/1176350951",)


def test_refusals() -> None:
    def code(call: Any) -> str:
        with pytest.raises(PmgEvalError) as caught:
            call()
        return caught.value.code

    df = frame()
    assert code(lambda: recidivism.gray_test(spells(df))) == "PMG-CAUSE"
    assert code(lambda: recidivism.gray_test(spells(df, group=None), cause="r")) == "PMG-GROUPS"
    assert code(lambda: recidivism.gray_test(spells(df), cause="r", rho="0")) == "PMG-OPTION"  # type: ignore[arg-type]
    late = spells(df.assign(s=(df["id"] == 1).astype(int), days=df["days"] + 1), entry="s")
    assert code(lambda: recidivism.gray_test(late, cause="r")) == "PMG-LATE-ENTRY"
    weighted = spells(df.assign(w=1.5), weight="w", weight_kind="survey")
    assert code(lambda: recidivism.gray_test(weighted, cause="r")) == "PMG-NEED-COUNTS"
    lone = df.assign(g=np.where(df["id"] == 0, "Q", "A"), kind=1, new=1, why="r").assign(
        days=np.where(df["id"] == 0, 1, 5), new=np.where(df["id"] == 0, 0, 1), why=np.where(df["id"] == 0, None, "r")
    )
    assert code(lambda: recidivism.gray_test(spells(lone), cause="r")) == "PMG-SINGULAR"
