"""Two one-sided tests: against another implementation, by hand, and dual to the interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from pmg_eval import did, infer
from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Draws, Estimate, make_terms
from unit.estimate.made import by_covariance, by_influence, support
from unit.resample.panels import counts, panel_of


def drawn(values, errors, p_min=0.0, **more) -> Estimate[None]:
    k = len(values)
    law = Draws(np.asarray(errors, dtype=float), np.full(k, float(p_min)))
    return Estimate(np.asarray(values, dtype=float), make_terms({"unit": range(k)}, k), law, **more)


def test_the_mean_of_a_sample_as_statsmodels_has_it() -> None:
    from statsmodels.stats.weightstats import DescrStatsW

    x = np.random.default_rng(2).normal(0.1, 1.0, 40)
    sample = DescrStatsW(x)
    mean = by_covariance([x.mean()], [x.std(ddof=1) / np.sqrt(40)], df=39)
    for low, high in ((-0.5, 0.5), (-0.4, 0.3), (-0.05, 0.02)):
        found = infer.equivalence(mean, (low, high)).iloc[0]
        assert found["p_value"] == pytest.approx(sample.ttost_mean(low, high)[0], rel=1e-10)
    assert_allclose(found[["conf_low", "conf_high"]].astype(float), sample.tconfint_mean(alpha=0.1), rtol=1e-10)
    assert found["smallest_margin"] == pytest.approx(np.abs(sample.tconfint_mean(alpha=0.1)).max())


def test_ratios_are_tested_on_the_log_scale() -> None:
    """Ratio 0.97 with SE 0.03: log se 0.03/0.97; margin (0.9, 1/0.9) is symmetric there."""
    ratio = by_covariance([0.97], [0.03], scale="log")
    se = 0.03 / 0.97
    want = stats.norm.cdf((np.log(0.9) - np.log(0.97)) / se)
    for margin in (0.9, 1 / 0.9, (0.9, 1 / 0.9)):
        found = infer.equivalence(ratio, margin).iloc[0]
        assert found["p_value"] == pytest.approx(want, rel=1e-12)
        assert_allclose([found["margin_low"], found["margin_high"]], [0.9, 1 / 0.9])
    edge = np.exp(np.log(0.97) - stats.norm.ppf(0.95) * se)
    assert found["conf_low"] == pytest.approx(edge)
    assert found["smallest_margin"] == pytest.approx(edge)
    assert infer.equivalence(ratio, found["smallest_margin"] * 0.999)["verdict"].iloc[0] == "equivalent"
    assert infer.equivalence(ratio, found["smallest_margin"] * 1.001)["verdict"].iloc[0] == "inconclusive"


def test_draws_by_hand() -> None:
    """Nineteen draws 1..19, estimate 0, margin 18.5: one draw beyond, two-sided p = 2/20, one-sided 1/20.

    The 90 % interval has half width 18 (rank ceil(0.9 x 20)); 18 < 18.5, but 18 is not inside 18.
    """
    estimate = drawn([0.0], np.arange(1, 20)[:, None])
    found = infer.equivalence(estimate, 18.5).iloc[0]
    assert found["p_value"] == pytest.approx(1 / 20)
    assert (found["conf_low"], found["conf_high"]) == (-18, 18)
    assert found["verdict"] == "equivalent"
    assert infer.equivalence(estimate, 18.0)["verdict"].iloc[0] == "inconclusive"
    assert infer.equivalence(estimate, 18.0)["p_value"].iloc[0] == pytest.approx(3 / 40)
    # five placebo areas cannot show anything at 5 %: 90 % interval and verdict are missing, and the row says why
    few = infer.equivalence(drawn([0.0], np.arange(1, 20)[:, None], p_min=1 / 6), 100.0).iloc[0]
    assert few["verdict"] == "not possible"
    assert few["p_value"] == pytest.approx(1 / 12)
    assert "not attainable" in few["status"]


def test_verdicts() -> None:
    """SE 1, margin 3: shown means |estimate| > 1.96, small means |estimate| < 3 - 1.645."""
    values = [0.0, 1.3, 1.5, 2.5, -6.0, np.nan]
    found = infer.equivalence(by_covariance(values, np.ones(6), {"unit": range(6)}), 3.0)
    want = ["equivalent", "equivalent", "inconclusive", "different", "different", "not possible"]
    assert found["verdict"].tolist() == want
    tight = infer.equivalence(by_covariance([0.3], [0.1]), 1.0).iloc[0]
    assert tight["verdict"] == "different but within the margin"
    assert tight["p_difference"] == pytest.approx(2 * stats.norm.sf(3))


def inside(found) -> np.ndarray:
    return (found["conf_low"] > found["margin_low"]) & (found["conf_high"] < found["margin_high"])


ends = st.tuples(st.floats(-5, -0.01), st.floats(0.01, 5))


@given(ends, st.integers(0, 2**20), st.sampled_from([0.01, 0.05, 0.1, 0.23]), st.sampled_from([None, 3, 27]))
def test_p_is_below_alpha_exactly_when_the_interval_lies_inside(margin, seed, alpha, df) -> None:
    rng = np.random.default_rng(seed)
    estimate = by_covariance(rng.normal(size=6), rng.random(6), {"unit": range(6)}, df=df)
    found = infer.equivalence(estimate, margin, alpha=alpha)
    assert_array_equal(found["p_value"] < alpha, inside(found))
    assert_array_equal(found["verdict"].isin(["equivalent", "different but within the margin"]), inside(found))


@given(ends, st.integers(0, 2**20), st.sampled_from([0.01, 0.05, 0.1, 0.23]), st.integers(9, 60), st.booleans())
def test_the_same_for_draws(margin, seed, alpha, count, ties) -> None:
    """At most alpha: a share of draws can equal it. With ties and a smallest attainable p."""
    rng = np.random.default_rng(seed)
    errors = rng.normal(size=(count, 5))
    errors = np.round(2 * errors) / 2 if ties else errors
    estimate = drawn(rng.normal(size=5), errors, p_min=rng.choice([0.0, 0.05, 0.3]))
    found = infer.equivalence(estimate, margin, alpha=alpha)
    assert_array_equal(found["p_value"] <= alpha + 1e-12, inside(found))


def test_draws_of_ratios_are_dual_too() -> None:
    rng = np.random.default_rng(8)
    estimate = drawn(np.exp(0.1 * rng.normal(size=200)), 0.05 * rng.normal(size=(99, 200)), scale="log")
    found = infer.equivalence(estimate, 0.85)
    assert 0.2 < inside(found).mean() < 0.9
    assert_array_equal(found["p_value"] <= 0.05 + 1e-12, inside(found))


def test_the_guard_is_in_both() -> None:
    """Four treated units: t with 3 degrees of freedom and an inflated standard error."""
    psi = np.random.default_rng(0).normal(size=(30, 1))
    treated = np.zeros((30, 1))
    treated[:4] = 0.25
    estimate = by_influence([0.1], {"estimand": "att"}, psi, treated=treated)
    row = estimate.to_frame(0.9).iloc[0]
    found = infer.equivalence(estimate, 1.0).iloc[0]
    assert row["df"] == 3
    assert found["p_value"] == pytest.approx(stats.t.cdf((0.1 - 1) / row["std_error"], 3))
    assert found["conf_high"] == row["conf_high"]
    one = by_covariance([0.1], [0.05], known_support=support([1.0], [1.0]))
    alone = infer.equivalence(one, 1.0).iloc[0]
    assert alone["verdict"] == "not possible"
    assert "one treated unit" in alone["status"]


def test_rate_ratios_of_an_estimator() -> None:
    found = infer.equivalence(did.imputation(panel_of(counts(effect=0.0)), "suspects", family="poisson").average(), 0.5)
    assert found["verdict"].tolist() == ["equivalent"]
    assert found.attrs == {"alpha": 0.05, "level": 0.9, "margin": [0.5, 2.0]}


@pytest.mark.parametrize("margin", [None, 0, -1.0, np.nan, np.inf, (1, 2), (-1, 1, 2), "0.1", True, (1, -1)])
def test_no_verdict_without_a_margin(margin) -> None:
    with pytest.raises(DataError, match="margin"):
        infer.equivalence(by_covariance([0.1], [0.1]), margin)


@pytest.mark.parametrize("margin", [None, 0, 1, -0.9, (0.5, 0.9), (-0.1, 1.1)])
def test_no_verdict_without_a_margin_for_ratios(margin) -> None:
    with pytest.raises(DataError, match="margin"):
        infer.equivalence(by_covariance([1.1], [0.1], scale="log"), margin)


def test_refusals() -> None:
    difference = by_covariance([0.1], [0.1])
    for alpha in (0, 0.5, 1):
        with pytest.raises(DataError, match="alpha"):
            infer.equivalence(difference, 1.0, alpha=alpha)
    with pytest.raises(InferenceError, match="levels"):
        infer.equivalence(by_covariance([0.1], [0.01], scale="logit"), 0.1)
    counted = by_covariance([0.3], [0.1], {"interval": "wilson", "n_events": [3], "n_persons": [10]})
    with pytest.raises(InferenceError, match="levels"):
        infer.equivalence(counted, 0.1)
    bare = Estimate(np.array([1.0]), make_terms({"estimand": "gap"}, 1))
    with pytest.raises(InferenceError, match="law"):
        infer.equivalence(bare, 0.1)
    saved = Estimate.from_json(drawn([0.0], np.arange(1, 20)[:, None]).to_json())
    with pytest.raises(InferenceError, match="not in the file"):
        infer.equivalence(saved, 0.1)
