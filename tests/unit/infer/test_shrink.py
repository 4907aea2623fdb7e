"""Shrinkage: critical values against R ebci and a linear program, error laws against brute force, laws 97 and 98."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from pmg_eval import Covariance, Draws, Estimate
from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import make_terms
from pmg_eval.estimate.bias import Bias, noise_and_moments
from pmg_eval.infer import ShrinkDetails, pool, shrink
from pmg_eval.infer._shrink_law import (
    moment_kurtosis,
    moment_tau2,
    posterior_covariance,
    shrinkage,
    smallest_tau2,
)
from pmg_eval.numerics.worst_case import critical_value, noncoverage, tangent_point, worst_noncoverage

# Chetty and Hendren (2018), the 40 largest commuting zones in the order of their size: theta25, se25, stayer25; public
# data that come with R ebci 1.0.0 (kolesarm/ebci), whose tests print the numbers below.
ZONES = np.array(
    [
        (-0.170313075184822, 0.0425704196095467, 44.8019828796387),
        (-0.148463621735573, 0.0444345846772194, 43.9371223449707),
        (-0.180241316556931, 0.0611373446881771, 41.0019187927246),
        (0.00795476417988539, 0.0655397698283195, 44.9248504638672),
        (0.0215693637728691, 0.0825744271278381, 42.0782051086426),
        (-0.0920152738690376, 0.0729996487498283, 38.6236839294434),
        (0.0379438959062099, 0.0933173447847366, 46.5012397766113),
        (0.0169681217521429, 0.092528335750103, 45.5503768920898),
        (0.163461312651634, 0.0671579018235207, 45.104866027832),
        (-0.0390238203108311, 0.0649381503462791, 44.2549667358398),
        (-0.0206315834075212, 0.0531811937689781, 43.2762680053711),
        (-0.0932453721761703, 0.0505367927253246, 38.2457580566406),
        (0.228561446070671, 0.0890303701162338, 46.5256958007812),
        (-0.0265373308211565, 0.0767610669136047, 42.8767700195312),
        (-0.115101739764214, 0.0883514434099197, 44.7421951293945),
        (0.000358147866791114, 0.0626248195767403, 44.6912727355957),
        (0.116146057844162, 0.1150828525424, 47.377025604248),
        (0.0537675432860851, 0.0747371837496758, 46.2336311340332),
        (0.123652413487434, 0.100241683423519, 39.870002746582),
        (-0.0118546495214105, 0.0861320868134499, 45.0362510681152),
        (-0.055973008275032, 0.111758269369602, 45.8894348144531),
        (-0.067904144525528, 0.116211496293545, 40.7333221435547),
        (0.0423108860850334, 0.114541076123714, 45.6761741638184),
        (-0.137721985578537, 0.0606485120952129, 42.1892967224121),
        (-0.0105232363566756, 0.112316124141216, 46.7757987976074),
        (0.0839677453041077, 0.12140965461731, 43.1726379394531),
        (-0.0246495418250561, 0.125863447785378, 40.8223571777344),
        (0.0301531981676817, 0.1423569470644, 40.7835578918457),
        (0.101674593985081, 0.121592745184898, 44.7277641296387),
        (0.121059730648994, 0.0966928154230118, 44.8201560974121),
        (0.0668021366000175, 0.125436455011368, 43.2923126220703),
        (-0.205736547708511, 0.105347752571106, 42.6911277770996),
        (-0.188503190875053, 0.072423979640007, 42.1606216430664),
        (-0.0158034786581993, 0.128657460212708, 40.9081878662109),
        (0.0452436916530132, 0.123329415917397, 41.7288246154785),
        (-0.0530250035226345, 0.122176773846149, 45.4039077758789),
        (0.0881482064723969, 0.0808725878596306, 44.3701133728027),
        (-0.262513875961304, 0.0826775729656219, 41.5437850952148),
        (-0.0590169094502926, 0.145759105682373, 40.2084732055664),
        (0.0627715885639191, 0.121103420853615, 50.897289276123),
    ]
)


def areas_of(y: Any, v: Any, scale: Any = "identity", **labels: Any) -> Estimate[Any]:
    k = len(y)
    terms = make_terms({"unit": list(range(k)), **labels}, k)
    return Estimate(np.asarray(y), terms, Covariance(np.asarray(v)), scale=scale)


def details_of(estimate: Estimate[Any]) -> ShrinkDetails:
    assert isinstance(estimate.details, ShrinkDetails)
    return estimate.details


def problem(seed: int, k: int = 8, shared: float = 0.3) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    v = np.diag(rng.uniform(0.2, 2.0, k)) + shared
    return 1.2 * rng.normal(size=k) + np.linalg.cholesky(v) @ rng.normal(size=k), v


# -- critical values ---------------------------------------------------------------------------------------------------
def test_critical_values_of_ebci() -> None:
    """tests/testthat/test-cv.R of kolesarm/ebci, to the digits there (which it compares at 1.5e-8 relative)."""
    assert critical_value(25, 3, 0.95) == pytest.approx(11.88358367, abs=1e-8)
    assert critical_value(1, 3, 0.8) == pytest.approx(1.8494683, abs=5e-8)
    assert critical_value(100, 3, 0.95) == pytest.approx(24.86172217, abs=1e-8)
    assert critical_value(2.8**2, 8, 0.9) == pytest.approx(7.0779747158, abs=5e-11)
    assert worst_noncoverage(1, 3, 11.9699639845401) == pytest.approx(6.0216e-05, abs=5e-10)
    assert worst_noncoverage(2.8**2, 8, 7.1324290147839279896) == pytest.approx(0.09805099, abs=5e-9)
    assert critical_value(4, 20, 0.95) == pytest.approx(critical_value(4, np.inf, 0.95), rel=1e-12)  # not binding
    assert critical_value(0.25, 15, 0.95) < critical_value(0.25, np.inf, 0.95)


def test_closed_forms() -> None:
    assert critical_value(0, np.inf, 0.95) == pytest.approx(stats.norm.ppf(0.975), rel=1e-14)
    assert critical_value(0, 3, 0.8) == pytest.approx(stats.norm.ppf(0.9), rel=1e-14)
    for bias in (0.1, 1.0, 10.0):  # kurtosis one: the bias is +-b, a folded normal quantile
        folded = optimize.brentq(lambda c, b=bias: stats.norm.cdf(c - b) - stats.norm.cdf(-c - b) - 0.95, 0, 100)
        assert critical_value(bias**2, 1, 0.95) == pytest.approx(folded, rel=1e-10)
    assert critical_value(np.inf, 3, 0.95) == np.inf
    assert np.isnan(critical_value(np.nan, 3, 0.95))
    for m2 in (1e4, 1e8):  # far out the worst law is at zero and just beyond the interval: Chebyshev
        assert critical_value(m2, np.inf, 0.95) == pytest.approx(np.sqrt(m2 / 0.05), rel=0.02)


def linear_program(m2: float, kurtosis: float, chi: float) -> float:
    """Worst noncoverage over laws of the squared bias on a grid: a lower bound that the grid makes tight."""
    top = (chi + 8) ** 2 + 4 * m2 + (0 if np.isinf(kurtosis) else min(kurtosis, 60) * m2)
    grid = np.unique(np.concatenate([np.linspace(0, np.sqrt(top), 1800) ** 2, [m2, tangent_point(chi)]]))
    miss = stats.norm.cdf(np.sqrt(grid) - chi) + stats.norm.cdf(-np.sqrt(grid) - chi)
    bound = (
        {} if np.isinf(kurtosis) else {"A_ub": [grid**2 / (kurtosis * m2**2)], "b_ub": [1.0]}
    )  # scaled: the solver's tolerances are absolute
    found = optimize.linprog(-miss, A_eq=[np.ones_like(grid), grid / m2], b_eq=[1.0, 1.0], bounds=(0, None), **bound)
    assert found.status == 0
    return float(-found.fun)


@pytest.mark.parametrize("seed", range(14))
def test_worst_case_is_a_linear_program(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m2 = float(10 ** rng.uniform(-1.5, 1.3))
    kurtosis = float(np.inf if seed % 4 == 0 else 1 + 10 ** rng.uniform(-1, 1.5))
    chi = float(rng.uniform(0.8, 2 + 3 * np.sqrt(m2)))
    ours, program = worst_noncoverage(m2, kurtosis, chi), linear_program(m2, kurtosis, chi)
    assert ours >= program - 1e-9  # nothing is worse
    assert ours == pytest.approx(program, abs=2e-5)  # and it is attained, up to the grid
    solved = critical_value(m2, kurtosis, 0.9)
    assert linear_program(m2, kurtosis, solved) == pytest.approx(0.1, abs=2e-5)


@given(m2=st.floats(0, 400), more=st.floats(0, 50), kurtosis=st.floats(1, 100), level=st.floats(0.5, 0.99))
def test_law_98(m2: float, more: float, kurtosis: float, level: float) -> None:
    """Never below the normal quantile, not decreasing in the bias, the bound on the kurtosis, or the level."""
    here = critical_value(m2, kurtosis, level)
    assert here >= stats.norm.ppf((1 + level) / 2) * (1 - 1e-9)
    assert critical_value(m2 + more, np.inf, level) >= critical_value(m2, np.inf, level) * (1 - 1e-9)
    assert critical_value(m2, kurtosis + 1, level) >= here * (1 - 1e-7)
    assert critical_value(m2, np.inf, level) >= here * (1 - 1e-7)
    assert critical_value(m2, kurtosis, 0.995) >= here * (1 - 1e-9)
    assert worst_noncoverage(m2, kurtosis, here) == pytest.approx(1 - level, abs=1e-7)


@pytest.mark.parametrize("chi", [0.5, 1.7, 1.7321, 1.75, 2.5, 8.0, 60.0])
def test_tangent(chi: float) -> None:
    """The chord from zero to the tangent point lies above the noncoverage and touches it at the end."""
    tangent = tangent_point(chi)
    if chi <= np.sqrt(3):
        assert tangent == 0
    grid = np.linspace(0, (chi + 5) ** 2, 4001)
    curve = np.array([noncoverage(t, chi) for t in grid])
    assert (np.diff(curve) >= -1e-15).all()
    if tangent > 0:
        start = noncoverage(0, chi)
        chord = start + grid / tangent * (noncoverage(tangent, chi) - start)
        assert (chord >= curve - 1e-12).all()


def test_moments_that_cannot_be() -> None:
    for arguments in ((-1.0, 3.0, 1.0), (1.0, 0.5, 1.0), (1.0, 3.0, -1.0)):
        with pytest.raises(DataError, match="PMG-MOMENTS"):
            worst_noncoverage(*arguments)
    with pytest.raises(DataError, match="PMG-LEVEL"):
        critical_value(1.0, 3.0, 1.0)


# -- the published application -----------------------------------------------------------------------------------------
def residuals(zones: Any, *, mean: bool) -> tuple[Any, Any, Any]:
    y, v = zones[:, 0], np.diag(zones[:, 1] ** 2)
    x = np.column_stack([np.ones(len(zones)), zones[:, 2]])
    return (y - x @ np.linalg.lstsq(x, y)[0] if mean else y), v, x


def test_moments_of_ebci() -> None:
    """tests/testthat/test-eb.R: estimates and posterior-mean truncation with 40 zones, no truncation with 10."""
    resid, v, _ = residuals(ZONES, mean=True)
    raw, floor = moment_tau2(resid, v), smallest_tau2(v)
    assert np.sqrt([max(raw, floor), raw]) == pytest.approx([0.0247533358, 0.016287771], abs=6e-10)
    assert moment_kurtosis(resid, v, floor) == pytest.approx(475.964641182, abs=5e-9)
    resid, v, _ = residuals(ZONES[:10], mean=True)
    raw = moment_tau2(resid, v)
    assert np.sqrt(raw) == pytest.approx(0.060852, abs=5e-7)
    variance = np.diag(v)
    fourth = np.mean(resid**4 - 6 * variance * resid**2 + 3 * variance**2)
    assert fourth / raw**2 == pytest.approx(5.959142, abs=5e-7)
    resid, v, _ = residuals(ZONES[:10], mean=False)
    assert np.sqrt(max(moment_tau2(resid, v), smallest_tau2(v))) == pytest.approx(0.085168, abs=5e-7)


@pytest.mark.parametrize(
    ("mean", "tau2", "kurtosis", "level", "printed"),
    [
        (True, 0.003702981247687573, 5.959142142344403, 0.9, [0.456490, 0.115947, 0.078879, 0.073284, 0.113034]),
        (False, 0.007253620386061232, np.inf, 0.95, [0.612815, 0.063068, 0.114249, 0.102651, 0.134688]),
    ],
)
def test_intervals_of_ebci(mean: bool, tau2: float, kurtosis: float, level: float, printed: list[float]) -> None:
    """Averages over 10 zones: shrinkage factor, worst miss of parametric intervals, half-lengths of three intervals."""
    _, v, x = residuals(ZONES[:10], mean=mean)
    found = shrinkage(v, x, tau2, known_mean=True)
    bias = Bias(found.loading, kurtosis)
    total = np.diag(found.noise) + bias.second()
    noise, m2, fourth = noise_and_moments(bias, total)
    z = stats.norm.ppf((1 + level) / 2)
    robust = np.array([critical_value(a, b, level) for a, b in zip(m2, fourth, strict=True)]) * noise
    miss = [worst_noncoverage(a, b, chi) for a, b, chi in zip(m2, fourth, z * np.sqrt(total) / noise, strict=True)]
    ours = [np.diag(found.weight), miss, robust, z * np.sqrt(total), z * np.sqrt(np.diag(v))]
    assert [np.mean(column) for column in ours] == pytest.approx(printed, abs=6e-7)


# -- the predictor and its error ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
def test_predictor_is_the_conditional_mean(seed: int) -> None:
    """Joint normal of (y, theta) with a nearly flat mean: its conditional mean and variance."""
    y, v = problem(seed)
    k, flat, tau2 = len(y), 1e5, 0.8
    prior = tau2 * np.eye(k) + flat
    gain = prior @ np.linalg.inv(prior + v)
    found = shrinkage(v, np.ones((k, 1)), tau2)
    np.testing.assert_allclose(found.matrix @ y, gain @ y, rtol=1e-4, atol=1e-5)
    total = found.noise + found.loading @ found.loading.T
    np.testing.assert_allclose(total, prior - gain @ prior, rtol=1e-3, atol=1e-4)
    bread = np.linalg.inv(np.ones((1, k)) @ np.linalg.inv(v + tau2 * np.eye(k)) @ np.ones((k, 1)))
    np.testing.assert_allclose(posterior_covariance(v, np.ones((k, 1)), tau2, bread), total, rtol=1e-9, atol=1e-12)


def test_bias_and_noise_add_up_to_the_error() -> None:
    y, v = problem(3)
    k, tau2, mu = len(y), 1.44, 5.0
    rng = np.random.default_rng(1)
    u, e = 1.2 * rng.exponential(size=k) - 1.2, np.linalg.cholesky(v) @ rng.normal(size=k)
    found = shrinkage(v, np.ones((k, 1)), tau2)
    error = found.matrix @ (mu + u + e) - (mu + u)
    np.testing.assert_allclose(error, found.matrix @ e + found.loading @ (u / 1.2), rtol=1e-9, atol=1e-12)


def test_kurtosis_of_a_sum_by_enumeration() -> None:
    """u = +-1 with probability 1/8 each and 0 else has kurtosis 4 (after scaling); three of them, all 27 outcomes."""
    values, chance = np.array([-2.0, 0.0, 2.0]), np.array([1 / 8, 3 / 4, 1 / 8])
    loading = np.array([[0.5, -0.2, 0.9]])
    grid = np.array(np.meshgrid(values, values, values)).reshape(3, -1)
    weight = np.prod(np.array(np.meshgrid(chance, chance, chance)).reshape(3, -1), axis=0)
    total = loading @ grid
    second, fourth = (weight * total**2).sum(), (weight * total**4).sum()
    bias = Bias(loading, 4.0)
    assert bias.second()[0] == pytest.approx(second, rel=1e-12)
    assert bias.fourth()[0] == pytest.approx(fourth / second**2, rel=1e-12)


@given(
    seed=st.integers(0, 10_000), shared=st.sampled_from([0.0, 0.5]), method=st.sampled_from(["robust", "parametric"])
)
def test_law_97_between_raw_and_mean(seed: int, shared: float, method: Any) -> None:
    """With independent errors, or equally precise areas with a shared one; in general a shared error is taken out."""
    rng = np.random.default_rng(seed)
    y, variance = 2 * rng.normal(size=7), rng.uniform(0.1, 3, 7) if shared == 0 else np.full(7, 0.7)
    result = shrink(areas_of(y, np.diag(variance) + shared), method=method)
    table = details_of(result).areas
    low, high = np.minimum(table["raw"], table["mean"]), np.maximum(table["raw"], table["mean"])
    assert ((result.values >= low - 1e-9) & (result.values <= high + 1e-9)).all()
    if shared:  # the order is the raw one, and precision counts without the shared error
        np.testing.assert_array_equal(np.argsort(result.values), np.argsort(y))
        tau2 = details_of(result).tau2
        weight = (result.values - result.values.mean()) @ (y - y.mean()) / ((y - y.mean()) ** 2).sum()
        assert weight == pytest.approx(tau2 / (tau2 + 0.7), rel=1e-6, abs=1e-9)


def test_law_97_limits() -> None:
    y, v = problem(2)
    for method in ("robust", "parametric"):
        nothing = shrink(areas_of(y, v), method=method, prior=pool(areas_of(y, v), method="fixed"))
        assert np.ptp(nothing.values) < 1e-12
        mean = pool(areas_of(y, v), method="fixed")
        np.testing.assert_allclose(nothing.to_frame()["conf_low"], mean.to_frame()["conf_low"].iloc[0], rtol=1e-10)
        precise = shrink(areas_of(y, 1e-10 * v), method=method)
        np.testing.assert_allclose(precise.values, y, rtol=1e-8)
        half = (precise.to_frame()["conf_high"] - precise.to_frame()["conf_low"]) / 2
        quantile = stats.norm.ppf(0.975) if method == "robust" else stats.t.ppf(0.975, len(y) - 1)
        np.testing.assert_allclose(half, quantile * np.sqrt(1e-10 * np.diag(v)), rtol=1e-4)


def test_floor_keeps_areas_apart_that_look_alike() -> None:
    y, v = np.arange(6) * 0.01, np.diag(np.linspace(0.5, 1.5, 6)) + 0.2
    robust, normal = shrink(areas_of(y, v)), shrink(areas_of(y, v), method="parametric")
    assert details_of(robust).tau2_estimated == 0
    assert details_of(robust).tau2 == pytest.approx(2 * (v**2).sum() / (6 * np.trace(v)))
    assert details_of(normal).tau2 == 0
    assert (robust.se > normal.se).all()


def test_average_coverage_when_a_few_areas_are_truly_different() -> None:
    """20 areas, 10 % far from the rest, shared error: robust intervals cover on average; the parametric are shorter."""
    rng = np.random.default_rng(5)
    k, covered, shorter = 20, [], []
    for _ in range(25):
        v = np.diag(np.exp(rng.normal(0, 0.5, k))) + 0.3
        theta = np.where(rng.random(k) < 0.1, rng.choice([-1, 1], k) * np.sqrt(10), 0.0)
        y = theta + np.linalg.cholesky(v) @ rng.normal(size=k)
        table = details_of(shrink(areas_of(y, v))).intervals()
        covered.append(((table["robust_low"] <= theta) & (theta <= table["robust_high"])).mean())
        width = table["robust_high"] - table["robust_low"]
        shorter.append((table["parametric_high"] - table["parametric_low"] <= width * (1 + 1e-12)).all())
    assert np.mean(covered) > 0.95 - 3 * np.std(covered) / np.sqrt(25)
    assert all(shorter)


# -- as an Estimate ----------------------------------------------------------------------------------------------------
def test_interval_and_p_value_say_the_same() -> None:
    y, v = problem(11)
    result = shrink(areas_of(y, v))
    p_value = result.to_frame()["p_value"].to_numpy()
    assert ((p_value > 0) & (p_value < 1)).all()
    for row, p in enumerate(p_value):
        for level, outside in ((1 - p * 1.001, True), (1 - p * 0.999, False)):
            frame = result.to_frame(level)
            assert (frame["conf_low"][row] > 0 or frame["conf_high"][row] < 0) == outside
    narrow, wide = result.to_frame(0.8), result.to_frame(0.9)
    assert (wide["conf_low"] <= narrow["conf_low"]).all()


def test_difference_of_two_areas_keeps_noise_and_bias_apart() -> None:
    y, v = problem(12)
    result = shrink(areas_of(y, v))
    details = details_of(result)
    row = np.zeros(8)
    row[0], row[5] = 1.0, -1.0
    found = shrinkage(v, np.ones((8, 1)), details.tau2)
    noise = np.sqrt(row @ found.noise @ row)
    m2 = ((row @ found.loading) ** 2).sum() / noise**2
    half = critical_value(float(m2), np.inf, 0.95) * noise
    frame = result.map(row[None, :]).to_frame()
    np.testing.assert_allclose(frame["estimate"], result.values[0] - result.values[5], rtol=1e-12)
    np.testing.assert_allclose((frame["conf_high"] - frame["conf_low"]) / 2, half, rtol=1e-9)
    assert frame["method"][0].startswith("empirical Bayes, robust")


def test_no_joint_statement_without_a_law_of_the_effects() -> None:
    y, v = problem(12)
    robust, normal = shrink(areas_of(y, v)), shrink(areas_of(y, v), method="parametric")
    for joint in (robust.test, robust.band, lambda: robust.test("equal")):
        with pytest.raises(InferenceError, match="PMG-ROBUST-JOINT"):
            joint()
    assert 0 < normal.test().p_value < 1
    assert len(normal.band(rng=1, draws=999)) == 8


def test_ratios() -> None:
    y, v = problem(13)
    ratio = np.exp(y)
    ours, plain = shrink(areas_of(ratio, v * np.outer(ratio, ratio), scale="log")), shrink(areas_of(y, v))
    for name in ("estimate", "conf_low", "conf_high"):
        np.testing.assert_allclose(ours.to_frame()[name], np.exp(plain.to_frame()[name]), rtol=1e-8)
    np.testing.assert_allclose(ours.to_frame()["p_value"], plain.to_frame()["p_value"], rtol=1e-7)
    np.testing.assert_allclose(
        details_of(ours).intervals()["parametric_low"],
        np.exp(details_of(plain).intervals()["parametric_low"]),
        rtol=1e-8,
    )


def test_intervals_table() -> None:
    y, v = problem(14)
    for kurtosis in (np.inf, "estimate", 5.0):
        details = details_of(shrink(areas_of(y, v), kurtosis=kurtosis))
        table = details.intervals(0.9)
        np.testing.assert_allclose(table["raw_high"] - table["raw"], stats.norm.ppf(0.95) * np.sqrt(np.diag(v)))
        assert (table["parametric_miss"] >= 0.1 - 1e-9).all()
        assert details.kurtosis >= 1
    normal = shrink(areas_of(y, v), method="parametric")
    shown = details_of(normal).intervals()
    np.testing.assert_allclose(shown["parametric_low"], normal.to_frame()["conf_low"], rtol=1e-12)
    robust = shrink(areas_of(y, v))
    np.testing.assert_allclose(details_of(robust).intervals()["robust_low"], robust.to_frame()["conf_low"], rtol=1e-12)


def test_round_trip_prints_the_same_and_refuses_another_level() -> None:
    y, v = problem(15)
    result = shrink(areas_of(y, v))
    text = result.to_json()
    back = Estimate.from_json(text)
    pd.testing.assert_frame_equal(back.to_frame(), result.to_frame(), check_dtype=False)
    assert back.to_json() == text
    with pytest.raises(InferenceError, match="PMG-STORED-LEVEL"):
        back.to_frame(0.9)
    normal = Estimate.from_json(shrink(areas_of(y, v), method="parametric").to_json())
    assert len(normal.to_frame(0.9)) == 8


def test_an_area_without_an_estimate_keeps_its_row() -> None:
    y, v = problem(16)
    rng = np.random.default_rng(1)
    errors = rng.normal(size=(500, 8)) @ np.linalg.cholesky(v).T
    values = y.copy()
    values[3], errors[:, 3] = np.nan, np.nan
    columns = {"unit": list("abcdefgh"), "n_placebo": 99, "p_min": 0.01, "interval": "placebo"}
    status = ["", "", "few", "no event", "", "", "", ""]
    estimate = Estimate(values, make_terms({**columns, "status": status}, 8), Draws(errors, np.full(8, 0.01)))
    result = shrink(estimate)
    frame = result.to_frame()
    assert frame["status"].tolist() == status
    assert np.isnan(frame.loc[3, ["estimate", "conf_low", "p_value"]].astype(float)).all()
    kept = np.delete(np.arange(8), 3)
    plain = shrink(areas_of(y[kept], np.cov(errors[:, kept], rowvar=False)))
    np.testing.assert_allclose(frame.loc[kept, "conf_low"], plain.to_frame()["conf_low"], rtol=1e-9)
    assert "p_min" not in frame


def test_towards_a_regression() -> None:
    y, v = problem(17)
    size = pd.DataFrame({"size": np.arange(8.0)})
    direct = shrink(areas_of(y, v), moderators=size, method="parametric")
    through = shrink(areas_of(y, v), prior=pool(areas_of(y, v), moderators=size), method="parametric")
    np.testing.assert_array_equal(direct.values, through.values)
    assert direct.details is not None
    np.testing.assert_allclose(direct.details.areas["mean"], direct.details.pooled.areas["fitted"], rtol=1e-9)
    gap = pd.DataFrame({"size": [0.0, 1.0, 2.0, np.nan, 4.0, 5.0, 6.0, 8.0]})
    partial = shrink(areas_of(y, v), prior=pool(areas_of(y, v), moderators=gap))
    assert np.isnan(partial.values).tolist() == [row == 3 for row in range(8)]
    assert partial.to_frame()["status"][3] == "no value of a moderator"


def test_refusals() -> None:
    y, v = problem(18)
    good = areas_of(y, v)
    for options in ({"method": "bayes"}, {"kurtosis": 0.5}, {"kurtosis": "moments"}, {"prior": "pooled"}):
        with pytest.raises(DataError):
            shrink(good, **options)
    with pytest.raises(DataError, match="other areas"):
        shrink(good, prior=pool(areas_of(y[:5], v[:5, :5])))
    with pytest.raises(DataError, match="both"):
        shrink(good, prior=pool(good), moderators="unit")
    with pytest.raises(DesignError, match="PMG-FEW-AREAS"):
        shrink(areas_of(y[:2], v[:2, :2]))
    with pytest.raises(InferenceError, match="PMG-NO-LAW"):
        shrink(Estimate(y, good.terms))


def test_details_are_printed_in_a_line_and_nothing_is_shrunk_twice() -> None:
    estimate = areas_of(*problem(1))
    found = shrink(estimate)
    assert repr(details_of(found)).startswith("ShrinkDetails(8 areas, method='robust', tau2=")
    assert len(repr(details_of(found))) < 200
    with pytest.raises(DataError, match="PMG-SHRUNK"):
        shrink(found)
