"""Simultaneous bands: known critical values, the two kinds of draws, few degrees of freedom."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import pmg_eval as pe
from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Draws, Estimate, make_terms
from unit.estimate.made import by_covariance, by_influence


def independent_terms(k: int, rows: int = 300) -> Estimate[None]:
    """k terms on disjoint rows: exactly uncorrelated, and close to normal under random signs."""
    psi = np.kron(np.eye(k), np.random.default_rng(4).normal(size=(rows, 1)))
    return by_influence(np.zeros(k), {"event_time": range(k)}, psi)


def sidak(k: int, level: float) -> float:
    return float(stats.norm.ppf((1 + level ** (1 / k)) / 2))


@pytest.mark.parametrize("method", ["gaussian", "multiplier"])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_independent_terms_give_sidak(method: str, level: float) -> None:
    """Monte-Carlo error of the quantile from 19,999 draws is about 0.01 (0.015 at 95 %); 4 of them."""
    found = independent_terms(5).band(level, rng=1, method=method)
    assert found.attrs["critical_value"] == pytest.approx(sidak(5, level), abs=0.05)


def test_equal_terms_give_the_pointwise_interval() -> None:
    psi = np.random.default_rng(0).normal(size=(40, 1)).repeat(3, axis=1)
    found = by_influence([1.0, 1.0, 1.0], {"event_time": range(3)}, psi).band(rng=1)
    assert found.attrs["critical_value"] == pytest.approx(1.96, abs=0.04)


def test_gaussian_and_multiplier_draws_agree_for_correlated_terms() -> None:
    rng = np.random.default_rng(6)
    psi = rng.normal(size=(400, 1)) + rng.normal(size=(400, 6))
    estimate = by_influence(np.zeros(6), {"event_time": range(6)}, psi)
    gaussian, multiplier = (estimate.band(rng=2, method=m).attrs["critical_value"] for m in ("gaussian", "multiplier"))
    assert gaussian == pytest.approx(multiplier, abs=0.05)
    assert 1.96 < gaussian < sidak(6, 0.95)


@pytest.mark.parametrize("scale", ["identity", "log", "logit", "cloglog"])
def test_contains_the_pointwise_interval(scale: str) -> None:
    psi = np.random.default_rng(1).normal(size=(50, 4))
    estimate = by_influence([0.3, 0.5, 0.6, 0.9], {"event_time": range(4)}, psi / 20, scale=scale)
    for level in (0.5, 0.95):
        band, frame = estimate.band(level, rng=3), estimate.to_frame(level)
        assert (band["conf_low"] <= frame["conf_low"]).all()
        assert (band["conf_high"] >= frame["conf_high"]).all()
        assert list(band) == list(frame)
    one = estimate.where(event_time=0)
    assert_allclose(one.band(rng=3)["conf_high"], one.to_frame()["conf_high"], rtol=0.01)


def test_same_seed_same_bits_and_the_seed_is_kept() -> None:
    estimate = independent_terms(3)
    assert estimate.band(rng=5).equals(estimate.band(rng=5))
    assert not estimate.band(rng=5).equals(estimate.band(rng=6))
    drawn = estimate.band()
    assert drawn.equals(estimate.band(rng=drawn.attrs["seed"]))
    assert estimate.band(rng=np.random.default_rng(5)).equals(estimate.band(rng=5))


def treated_terms(sizes: list[int], psi: np.ndarray) -> Estimate[None]:
    treated = np.zeros((len(psi), len(sizes)))
    for column, size in enumerate(sizes):
        treated[:size, column] = 1 / size
    return by_influence(np.zeros(len(sizes)), {"event_time": range(len(sizes))}, psi, treated=treated)


def test_few_degrees_of_freedom_give_heavy_tails() -> None:
    """Equal correlations, df = 3 everywhere: the quantile of the largest |t_3| sharing one chi-square."""
    psi = np.kron(np.eye(3), np.random.default_rng(4).normal(size=(60, 1)))
    estimate = treated_terms([4, 4, 4], psi)
    band = estimate.band(rng=1)
    half = band["conf_high"] / band["std_error"]
    rng = np.random.default_rng(9)
    deviation = np.abs(rng.normal(size=(200_000, 3))).max(axis=1) / np.sqrt(rng.chisquare(3, 200_000) / 3)
    want = np.quantile(deviation, 0.95)
    assert want > stats.t.ppf(0.975, 3) + 0.5
    assert_allclose(half, want, rtol=0.05)  # the 95 % quantile of 19,999 draws with these tails: 1.2 % error


def test_a_term_on_two_areas_does_not_widen_the_others() -> None:
    psi = np.kron(np.eye(3), np.random.default_rng(4).normal(size=(60, 1)))
    mixed, alone = treated_terms([2, 30, 30], psi).band(rng=1), treated_terms([30, 30, 30], psi).band(rng=1)
    half = [frame["conf_high"] / frame["std_error"] for frame in (mixed, alone)]
    assert half[0][0] > 12.7
    assert_allclose(half[0][1:], half[1][1:], rtol=0.1)


def test_terms_without_a_standard_error_get_no_band() -> None:
    psi = np.random.default_rng(1).normal(size=(50, 3))
    columns = {"event_time": range(3), "status": ["reference", "", "no_control"]}
    band = by_influence([0.0, 1.0, np.nan], columns, psi).band(rng=1)
    assert band["conf_low"].notna().tolist() == [False, True, False]
    with pytest.raises(InferenceError) as caught:
        by_covariance([1.0], [0.0]).band(rng=1)
    assert caught.value.code == "PMG-NO-SE"


def test_the_small_sample_factor_of_a_kernel_widens_both_kinds_alike() -> None:
    rows = pd.DataFrame({"unit": range(200), "state": np.arange(200) % 8})
    psi = np.random.default_rng(3).normal(size=(200, 2))
    estimate = by_influence([0.0, 0.0], {"event_time": range(2)}, psi, rows=rows)
    for method in ("gaussian", "multiplier"):
        plain, corrected = (
            estimate.assuming(pe.clustered("state", correction=rule)).band(rng=1, method=method)["conf_high"]
            for rule in ("none", "G")
        )
        assert_allclose(corrected / plain, np.sqrt(8 / 7), rtol=1e-9)


def test_draws_of_any_number_and_what_they_cannot_show() -> None:
    """A placebo law brings its own draws; a term without an attainable interval gets no band either."""
    errors = np.random.default_rng(2).normal(size=(4_999, 3)) * [1, 2, 1]
    terms = make_terms({"unit": list("abc"), "interval": "placebo"}, 3)
    estimate = Estimate(np.zeros(3), terms, Draws(errors, np.array([0.01, 0.01, 0.2])))
    band, frame = estimate.band(rng=1), estimate.to_frame()
    assert band["conf_low"].notna().tolist() == [True, True, False]
    assert (band["conf_high"][:2] > frame["conf_high"][:2]).all()
    assert_allclose(band["conf_high"][1] / band["conf_high"][0], 2, rtol=0.05)
    assert band.attrs["critical_value"] == pytest.approx(sidak(2, 0.95), abs=0.1)


def test_refusals() -> None:
    estimate = independent_terms(2, 20)
    with pytest.raises(DataError, match="gausian"):
        estimate.band(method="gausian")
    with pytest.raises(InferenceError) as caught:
        by_covariance([1.0], [0.5]).band(method="multiplier")
    assert caught.value.code == "PMG-NO-INFLUENCE"
    with pytest.raises(InferenceError, match="draws cannot give"):
        estimate.band(0.99, draws=20)
    rows = pd.DataFrame({"unit": np.arange(40) // 4, "time": np.arange(40) % 4, "state": np.arange(40) % 3})
    panel = by_influence([1.0], {"group": ["a"]}, np.random.default_rng(0).normal(size=(40, 1)), rows=rows)
    for kernel in (pe.hac(1), pe.clustered("unit", "state")):
        with pytest.raises(InferenceError) as caught:
            panel.assuming(kernel).band(method="multiplier")
        assert caught.value.code == "PMG-MULTIPLIER"
        assert panel.assuming(kernel).band(rng=1)["conf_low"].notna().all()
