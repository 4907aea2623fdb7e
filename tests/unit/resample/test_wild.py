"""Wild cluster bootstrap against regressions run one by one, and what it refuses."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from pmg_eval import resample
from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Estimate, LinearFit, fit_linear
from pmg_eval.resample import _wild_algebra

CLUSTERS, TIMES = 6, 5


def data(unbalanced: bool = False) -> pd.DataFrame:
    """Twelve units in six clusters, two regressors, unequal weights."""
    rng = np.random.default_rng(11)
    d = pd.DataFrame([(i, t) for i in range(2 * CLUSTERS) for t in range(TIMES)], columns=["unit", "time"])
    d["province"] = d["unit"] // 2
    d["x"] = ((d["unit"] % 5 < 2) & (d["time"] >= 2)).astype(float)
    d["z"] = rng.normal(size=len(d))
    shock = rng.normal(size=(CLUSTERS, TIMES))[d["province"], d["time"]]
    d["y"] = 0.4 * d["x"] + d["unit"] % 3 + rng.normal(size=len(d)) + shock
    d["w"] = rng.uniform(0.5, 2, len(d))
    return d.drop(index=[3, 17, 18, 40]).reset_index(drop=True) if unbalanced else d


def fitted(d: pd.DataFrame, weighted: bool = False) -> Estimate[LinearFit]:
    weight = d["w"].to_numpy() if weighted else None
    return fit_linear(
        d["y"].to_numpy(),
        d[["x", "z"]].to_numpy(),
        ["x", "z"],
        d[["unit", "time", "province"]],
        absorb=True,
        weight=weight,
    )


class Slow:
    """The bootstrap as a sequence of regressions with every dummy written out."""

    def __init__(self, d: pd.DataFrame, weighted: bool, kind: str, restricted: bool, null: float) -> None:
        dummies = [pd.get_dummies(d[name], dtype=float).to_numpy() for name in ("unit", "time")]
        self.root = np.sqrt(d["w"].to_numpy()) if weighted else np.ones(len(d))
        self.others = np.hstack([d[["z"]].to_numpy(), dummies[0], dummies[1][:, 1:]]) * self.root[:, None]
        self.x = d["x"].to_numpy() * self.root
        self.full = np.column_stack([self.x, self.others])
        self.y = d["y"].to_numpy() * self.root
        self.group = pd.factorize(d["province"])[0]
        self.kind, self.restricted, self.null = kind, restricted, null
        self.beta = self.fit(self.full, self.y)[0]

    def fit(self, design: np.ndarray, outcome: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(design, outcome, rcond=1e-10)[0]

    def t(self, outcome: np.ndarray, null: float) -> float:
        beta = self.fit(self.full, outcome)
        if self.kind[1] == "1":
            dot = self.x - self.others @ self.fit(self.others, self.x)
            scores = np.bincount(self.group, dot * (outcome - self.full @ beta)) / (dot @ dot)
            n = len(outcome)
            factor = CLUSTERS / (CLUSTERS - 1) * (n - 1) / (n - 2)
            return float((beta[0] - null) / np.sqrt(factor * (scores**2).sum()))
        left_out = [self.fit(self.full[self.group != g], outcome[self.group != g])[0] for g in range(CLUSTERS)]
        spread = ((np.array(left_out) - beta[0]) ** 2).sum() * (CLUSTERS - 1) / CLUSTERS
        return float((beta[0] - null) / np.sqrt(spread))

    def draws(self, signs: np.ndarray) -> list[float]:
        """t* of every vector of multipliers."""
        design, target, fixed = self.full, self.y, np.zeros(len(self.y))
        if self.restricted:
            design, fixed = self.others, self.null * self.x
            target = self.y - fixed
        center = design @ self.fit(design, target) + fixed
        resid = self.y - center
        if self.kind[0] == "3":
            for g in range(CLUSTERS):
                far = self.group != g
                resid[~far] = target[~far] - design[~far] @ self.fit(design[far], target[far])
        null = self.null if self.restricted else self.beta
        return [self.t(center + sign[self.group] * resid, null) for sign in signs]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("restricted", [True, False])
@pytest.mark.parametrize("kind", ["11", "13", "31", "33"])
def test_every_draw_is_a_regression(kind: str, restricted: bool, weighted: bool) -> None:
    d = data(unbalanced=weighted)
    slow = Slow(d, weighted, kind, restricted, null=0.3)
    test = resample.wild(fitted(d, weighted), term="x", cluster="province", kind=kind, restricted=restricted, null=0.3)  # type: ignore[call-overload]
    signs = 1.0 - 2.0 * ((np.arange(64)[:, None] >> np.arange(CLUSTERS)) & 1)
    assert test.details is not None
    assert_allclose(test.statistic, slow.t(slow.y, 0.3), rtol=1e-9)
    picked = np.arange(0, 64, 3)
    assert_allclose(test.details["t"].to_numpy()[picked], slow.draws(signs[picked]), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("weights", ["rademacher", "webb", "mammen", "normal"])
def test_random_draws_are_the_multipliers(weights: Any) -> None:
    """The same multipliers, given to the regressions: seed, order and blocks are all there is to a draw."""
    d = data()
    test = resample.wild(fitted(d), term="x", cluster="province", weights=weights, draws=20, rng=4)
    generator = np.random.default_rng(4).spawn(1)[0]
    blocks = list(_wild_algebra.multipliers(weights, 20, CLUSTERS, generator))
    assert test.details is not None
    slow = Slow(d, False, "11", True, 0.0)
    assert_allclose(test.details["t"], slow.draws(np.vstack(blocks)), rtol=1e-8)


@pytest.mark.parametrize("weights", ["rademacher", "webb", "mammen", "normal"])
def test_multipliers_have_mean_zero_and_variance_one(weights: Any) -> None:
    drawn = np.vstack(list(_wild_algebra.multipliers(weights, 40_000, 7, np.random.default_rng(1))))
    assert drawn.shape == (40_000, 7)
    assert abs(drawn.mean()) < 4 / np.sqrt(drawn.size)
    assert abs((drawn**2).mean() - 1) < 4 * (drawn**2).std() / np.sqrt(drawn.size) + 1e-12
    assert len(np.unique(drawn)) == {"rademacher": 2, "webb": 6, "mammen": 2, "normal": drawn.size}[weights]
    if weights == "mammen":
        assert abs((drawn**3).mean() - 1) < 0.05


def test_same_seed_same_bits_and_another_seed_others() -> None:
    estimate = fitted(data())
    runs = [
        resample.wild(estimate, term="x", cluster="unit", weights="webb", draws=200, rng=rng)
        for rng in (7, 7, np.random.default_rng(7), 8)
    ]
    draws = [run.details["t"].to_numpy() for run in runs if run.details is not None]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] == draws[2]).all()
    assert not (draws[0] == draws[3]).any()
    assert runs[0].provenance.seed == 7


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", ["11", "13", "31", "33"])
@pytest.mark.parametrize("alternative", ["two-tailed", "equal-tailed", "greater", "less"])
def test_the_interval_holds_what_is_not_rejected(alternative: Any, kind: Any, ties: bool) -> None:
    """Duality: p is at least alpha just inside each end and below it just outside."""
    estimate = fitted(data())
    options: dict[str, Any] = {"term": "x", "cluster": "unit", "kind": kind, "alternative": alternative, "ties": ties}
    test = resample.wild(estimate, level=0.9, **options)
    bounded = [end for end in ((test.conf_low, 1), (test.conf_high, -1)) if np.isfinite(end[0])]
    assert len(bounded) == (1 if alternative in ("greater", "less") else 2)
    assert {"greater": test.conf_high == np.inf, "less": test.conf_low == -np.inf}.get(alternative, True)
    for end, inward in bounded:
        inside, outside = (
            resample.wild(estimate, null=end + inward * step, invert=False, **options).p_value for step in (1e-8, -1e-8)
        )
        assert inside >= 0.1 > outside
    inverted = resample.wild(estimate, invert=False, **options)
    assert inverted.p_value == test.p_value
    assert np.isnan([inverted.conf_low, inverted.conf_high, inverted.level]).all()
    assert (test.conf_low <= 0 <= test.conf_high) == (test.p_value >= 0.1)


def test_p_counts_draws() -> None:
    d = data()
    estimate = fitted(d)
    for alternative in ("two-tailed", "equal-tailed", "greater", "less"):
        test = resample.wild(estimate, term=0, cluster="province", alternative=alternative, ties=False)  # type: ignore[arg-type]
        signs = 1.0 - 2.0 * ((np.arange(64)[:, None] >> np.arange(CLUSTERS)) & 1)
        drawn = np.array(Slow(d, False, "11", True, 0.0).draws(signs))
        t = test.statistic
        above, below = (drawn > t + 1e-7).sum(), (drawn < t - 1e-7).sum()
        size = (np.abs(drawn) > abs(t) + 1e-7).sum()
        counted = {"two-tailed": size, "equal-tailed": 2 * min(above, below), "greater": above, "less": below}
        assert test.p_value == counted[alternative] / 64
        tied = resample.wild(estimate, term=0, cluster="province", alternative=alternative)  # type: ignore[arg-type]
        assert tied.p_value == min(1.0, (counted[alternative] + (1 if alternative in ("greater", "less") else 2)) / 64)
        assert tied.p_value >= tied.p_min


def test_ties_of_random_draws_count_the_data() -> None:
    estimate = fitted(data())
    strict, tied = (
        resample.wild(estimate, term="x", cluster="province", weights="normal", draws=99, ties=ties)
        for ties in (False, True)
    )
    assert tied.p_value == pytest.approx((strict.p_value * 99 + 1) / 100)
    assert strict.p_error == pytest.approx(np.sqrt(strict.p_value * (1 - strict.p_value) / 99))


def small(count: int, treated: int, effect: float = 3.0) -> Estimate[LinearFit]:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame([(i, t) for i in range(count) for t in range(6)], columns=["unit", "time"])
    x = ((rows["unit"] < treated) & (rows["time"] >= 3)).to_numpy(dtype=float)
    y = rng.normal(size=count)[rows["unit"]] + rng.normal(size=len(rows)) + effect * x
    return fit_linear(y, x[:, None], ["x"], rows, absorb=True)


def test_few_clusters_cannot_reject_and_say_so() -> None:
    """Four clusters: sixteen sign vectors, two of which are the data: no p below 1/8."""
    test = resample.wild(small(4, 2))
    assert test.p_min == 2 / 16
    assert (test.conf_low, test.conf_high) == (-np.inf, np.inf)
    assert "Cannot reject at 0.05" in str(test)
    assert "too few clusters" in test.note
    assert resample.wild(small(4, 2), alternative="greater").p_min == 1 / 16


def test_one_treated_cluster_cannot_reject_and_says_so() -> None:
    """The restricted bootstrap of one treated cluster: the multiplier of that cluster decides, whatever the effect."""
    test = resample.wild(small(30, 1, effect=3.0), draws=999)
    assert test.statistic > 10
    assert test.p_value > 0.1
    assert test.p_min > 0.05
    assert (test.conf_low, test.conf_high) == (-np.inf, np.inf)
    assert "Cannot reject at 0.05, whatever the effect" in test.note
    assert "effective clusters" in test.note
    # p_min is the smallest p of all effects tried: adding an effect to the data moves the null, nothing else
    se = test.estimate / test.statistic
    smallest = min(
        resample.wild(small(30, 1), draws=999, null=test.estimate - step * se, invert=False).p_value
        for step in np.linspace(-20, 20, 41)
    )
    assert smallest >= test.p_min


def test_the_unrestricted_bootstrap_of_few_treated_warns() -> None:
    test = resample.wild(small(30, 1), draws=999, restricted=False)
    assert test.p_value < 0.05
    assert "rejects too often" in test.note
    assert resample.wild(small(30, 15, effect=0.0), draws=999, restricted=False).note == ""


def test_a_p_of_zero_is_read_as_below_the_smallest() -> None:
    test = resample.wild(small(12, 6, effect=9.0), ties=False)
    assert test.p_value == 0
    assert test.p_min == 2 / 2**12
    assert "read it as below" in test.note
    assert resample.wild(small(12, 6, effect=9.0)).p_value == 2 / 2**12


def test_refusals() -> None:
    estimate = fitted(data())
    with pytest.raises(InferenceError, match=r"PMG-LINEAR-FIT.*resample\.jackknife"):
        resample.wild(Estimate(np.zeros(1), pd.DataFrame({"estimand": ["x"]})))  # type: ignore[arg-type]
    with pytest.raises(InferenceError, match="PMG-LINEAR-FIT"):
        resample.wild(estimate.map(np.eye(2)))  # type: ignore[arg-type]
    with pytest.raises(InferenceError, match="was mapped"):
        resample.wild(estimate.apply(np.exp, np.exp), term="x")
    for term in (None, "y", 2, True):
        with pytest.raises(DataError, match="PMG-TERM"):
            resample.wild(estimate, term=term)
    with pytest.raises(InferenceError, match="PMG-LABEL"):
        resample.wild(estimate, term="x", cluster="country")
    with pytest.raises(InferenceError, match="split units"):
        resample.wild(estimate, term="x", cluster="time")
    with pytest.raises(InferenceError, match="PMG-FULLY-FITTED"):
        resample.wild(small(30, 1), kind="13")
    for wrong in ({"weights": "six"}, {"kind": "12"}, {"alternative": "both"}):
        with pytest.raises(DataError, match="PMG-OPTION"):
            resample.wild(estimate, term="x", **wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="PMG-DRAWS"):
        resample.wild(estimate, term="x", draws=0)
    with pytest.raises(DataError, match="PMG-LEVEL"):
        resample.wild(estimate, term="x", level=95)


def test_terms_are_found_after_taking_some() -> None:
    estimate = fitted(data())
    whole = resample.wild(estimate, term="z", cluster="province")
    for part in (estimate.where(group="z"), estimate.take([1])):
        assert resample.wild(part, cluster="province").p_value == whole.p_value
    assert resample.wild(estimate, term=-1, cluster="province").p_value == whole.p_value
    assert whole.to_dict()["provenance"]["options"]["term"] == "z"


def test_the_unrestricted_interval_is_the_quantile_of_its_draws() -> None:
    """The draws do not move with the null: 90 % of 64 draws by hand, the 58th largest of |t*| and its mirror image."""
    test = resample.wild(fitted(data()), term="x", cluster="province", restricted=False, level=0.9)
    assert test.details is not None
    se = test.estimate / test.statistic
    # p(r) = #(|t*| > |t|)/64 is at least 0.1 while at least seven draws are larger
    reach = np.sort(np.abs(test.details["t"]))[-7]
    assert_allclose(
        [test.conf_low, test.conf_high], [test.estimate - reach * se, test.estimate + reach * se], rtol=1e-8
    )
