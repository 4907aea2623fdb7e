"""Pooling with a full covariance: dense linear algebra and brute-force maximization are the oracle."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from pmg_eval import Covariance, Draws, Estimate, Influence
from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Rows, Support, make_terms
from pmg_eval.infer import PoolDetails, pool
from pmg_eval.infer._pool_fit import Model, solve_q

METHODS = ("reml", "ml", "pm", "eb", "dl", "he", "hs", "sj", "fixed")


def areas_of(y: Any, v: Any, scale: Any = "identity", **labels: Any) -> Estimate[Any]:
    k = len(y)
    return Estimate(
        np.asarray(y), make_terms({"unit": list(range(k)), **labels}, k), Covariance(np.asarray(v)), scale=scale
    )


def problem(seed: int, k: int = 9, p: int = 2, spread: float = 1.0) -> tuple[Any, Any, Any]:
    """Effects, a covariance with shared errors, and moderators."""
    rng = np.random.default_rng(seed)
    loading = rng.normal(size=(k, 3)) * 0.4
    v = np.diag(rng.uniform(0.2, 2.0, k)) + loading @ loading.T
    x = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    y = x @ rng.normal(size=p) + spread * rng.normal(size=k) + np.linalg.cholesky(v) @ rng.normal(size=k)
    return y, v, x


def moderators_of(x: Any) -> Any:
    return None if x.shape[1] == 1 else pd.DataFrame(x[:, 1:], columns=[f"m{j}" for j in range(1, x.shape[1])])


def pooled_of(y: Any, v: Any, x: Any, method: Any = "reml", **options: Any) -> tuple[Estimate[Any], PoolDetails]:
    result = pool(areas_of(y, v), method=method, moderators=moderators_of(x), **options)
    assert result.details is not None
    return result, result.details


def projection(m: Any, x: Any) -> Any:
    inverse = np.linalg.inv(m)
    return inverse - inverse @ x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse)


def dense_likelihood(tau2: float, y: Any, v: Any, x: Any, *, restricted: bool) -> float:
    m = v + tau2 * np.eye(len(y))
    value = np.linalg.slogdet(m)[1] + y @ projection(m, x) @ y
    if restricted:
        value += np.linalg.slogdet(x.T @ np.linalg.solve(m, x))[1]
    return float(-0.5 * value)


# -- heterogeneity -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_likelihood_by_brute_force(method: Any, seed: int) -> None:
    y, v, x = problem(seed, p=1 + seed % 3, spread=1.5)
    details = pooled_of(y, v, x, method)[1]
    value = partial(dense_likelihood, y=y, v=v, x=x, restricted=method == "reml")
    grid = np.concatenate([[0.0], np.geomspace(1e-4, 100, 400)])
    start = grid[np.argmax([value(t) for t in grid])]
    found = optimize.minimize_scalar(
        lambda t: -value(t), bounds=(0.8 * start, 1.25 * start + 1e-4), method="bounded", options={"xatol": 1e-10}
    )
    assert value(details.tau2) >= -found.fun - 1e-12
    np.testing.assert_allclose(details.tau2, found.x if start > 0 else 0.0, rtol=2e-6, atol=2e-6)
    if details.tau2 > 0:  # the score is zero to the last digits, where a maximizer sees only half of them
        step = 1e-4 * details.tau2
        slope = (value(details.tau2 + step) - value(details.tau2 - step)) / (2 * step)
        assert abs(slope) < 1e-6
    constant = -0.5 * len(y) * np.log(2 * np.pi)
    ordinary = dense_likelihood(details.tau2, y, v, x, restricted=False) + constant
    np.testing.assert_allclose(details.log_likelihood, ordinary, rtol=1e-12)


def test_two_peaks_of_the_likelihood() -> None:
    """Imprecise areas far apart and precise ones close together: the higher of two maxima is found."""
    y = np.array([0.0, 0.02, -0.02, 0.01, 8.0, -8.0])
    v = np.diag([1e-4, 1e-4, 1e-4, 1e-4, 4.0, 4.0])
    x = np.ones((6, 1))
    details = pooled_of(y, v, x)[1]
    grid = np.concatenate([[0.0], np.geomspace(1e-7, 1e3, 4_000)])
    best = max(dense_likelihood(t, y, v, x, restricted=True) for t in grid)
    assert dense_likelihood(details.tau2, y, v, x, restricted=True) >= best - 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_moment_estimators_as_dense_formulas(seed: int) -> None:
    y, v, x = problem(seed, p=1 + seed % 3, spread=2.0)
    k, p = x.shape
    weight = np.linalg.inv(v)
    fixed, plain = projection(v, x), projection(np.eye(k), x)
    q = y @ fixed @ y
    start = np.var(y)
    expected = {
        "dl": (q - (k - p)) / np.trace(fixed),
        "hs": (q - k) / np.trace(weight),
        "he": (y @ plain @ y - np.trace(plain @ v)) / (k - p),
        "sj": start * (y @ projection(v + start * np.eye(k), x) @ y) / (k - p),
    }
    scale = {"dl": np.trace(fixed), "hs": np.trace(weight), "he": k - p, "sj": (k - p) / start}
    form = {"dl": fixed, "hs": fixed, "he": plain, "sj": projection(v + start * np.eye(k), x)}
    for method, tau2 in expected.items():
        details = pooled_of(y, v, x, method)[1]
        np.testing.assert_allclose(details.tau2, max(0.0, tau2), rtol=1e-10, atol=1e-13)
        m = v + max(0.0, tau2) * np.eye(k)
        spread = np.sqrt(2 * np.trace(form[method] @ m @ form[method] @ m)) / scale[method]
        np.testing.assert_allclose(details.tau2_se, spread, rtol=1e-10)
        np.testing.assert_allclose([details.q, details.q_p], [q, stats.chi2.sf(q, k - p)], rtol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_paule_mandel_and_q_profile_solve_their_equations(seed: int) -> None:
    y, v, x = problem(seed, p=1 + seed % 3, spread=2.0)
    k, p = x.shape
    details = pooled_of(y, v, x, "pm", level=0.9)[1]

    def q(tau2: float) -> float:
        return float(y @ projection(v + tau2 * np.eye(k), x) @ y)

    if details.tau2 > 0:
        np.testing.assert_allclose(q(details.tau2), k - p, rtol=1e-11)
    np.testing.assert_allclose(details.tau2, pooled_of(y, v, x, "eb")[1].tau2, rtol=1e-14)
    if details.tau2_low > 0:
        np.testing.assert_allclose(q(details.tau2_low), stats.chi2.ppf(0.95, k - p), rtol=1e-11)
    np.testing.assert_allclose(q(details.tau2_high), stats.chi2.ppf(0.05, k - p), rtol=1e-11)


def test_moment_estimators_are_unbiased_with_shared_errors() -> None:
    """The mean of the untruncated estimators over draws is the heterogeneity; ignoring the shared error it is not."""
    rng = np.random.default_rng(3)
    k, tau2, shared = 8, 4.0, 1.5
    v = np.diag(rng.uniform(0.2, 0.6, k)) + shared
    x = np.ones((k, 1))
    root = np.linalg.cholesky(v + tau2 * np.eye(k))
    found, ignoring = [], []
    for _ in range(1500):
        y = root @ rng.normal(size=k)
        model, naive = Model.of(y, v, x), Model.of(y, np.diag(np.diag(v)), x)
        fit, other = model.fit(0.0), naive.fit(0.0)
        found.append((fit.q - model.df) / fit.trace)
        ignoring.append((other.q - naive.df) / other.trace)
    error = 3 * np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - tau2) < error
    assert np.mean(ignoring) < tau2 - error


def test_interval_of_the_heterogeneity_may_be_empty() -> None:
    details = pooled_of(np.zeros(8) + np.arange(8) * 1e-3, np.eye(8), np.ones((8, 1)))[1]
    assert details.tau2 == 0
    assert np.isnan([details.tau2_low, details.tau2_high]).all()
    assert details.q_p == pytest.approx(1.0)


# -- mean --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
def test_coefficients_are_generalized_least_squares(method: Any) -> None:
    y, v, x = problem(21, p=2)
    wald, details = pooled_of(y, v, x, method, inference="wald")
    inverse = np.linalg.inv(v + details.tau2 * np.eye(len(y)))
    cov = np.linalg.inv(x.T @ inverse @ x)
    np.testing.assert_allclose(wald.values, cov @ x.T @ inverse @ y, rtol=1e-10)
    np.testing.assert_allclose(wald.cov(), cov, rtol=1e-10)
    knapp = pooled_of(y, v, x, method, inference="hartung_knapp")[0]
    factor = y @ projection(v + details.tau2 * np.eye(len(y)), x) @ y / (len(y) - 2)
    np.testing.assert_allclose(knapp.cov(), cov * factor, rtol=1e-9)
    assert knapp.to_frame()["df"].tolist() == [7.0, 7.0]
    assert np.isinf(wald.to_frame()["df"]).all()
    floor = pooled_of(y, v, x, method, inference="hartung_knapp_floor")[0]
    np.testing.assert_allclose(floor.cov(), cov * max(1.0, factor), rtol=1e-9)


def test_law_99_no_heterogeneity_is_the_common_effect() -> None:
    y, v, x = problem(5, p=1, spread=0.0)
    y = y * 0.3
    fixed = pooled_of(y, v, x, "fixed", inference="hartung_knapp")
    for method in ("reml", "ml", "pm", "dl", "hs"):
        random = pooled_of(y, v, x, method)
        assert random[1].tau2 == 0
        np.testing.assert_allclose(random[0].values, fixed[0].values, rtol=1e-13)
        np.testing.assert_allclose(random[0].se, fixed[0].se, rtol=1e-13)
        assert random[1].q == fixed[1].q
    weight = np.linalg.inv(v).sum(axis=0)
    np.testing.assert_allclose(fixed[0].values, (weight @ y) / weight.sum(), rtol=1e-12)
    np.testing.assert_allclose(fixed[1].areas["weight"], weight / weight.sum(), rtol=1e-12)


@given(seed=st.integers(0, 10_000), method=st.sampled_from(METHODS))
def test_order_scale_and_origin(seed: int, method: Any) -> None:
    y, v, _ = problem(seed, k=6, p=1)
    base = pool(areas_of(y, v), method=method)
    order = np.random.default_rng(seed).permutation(6)
    permuted = pool(areas_of(y[order], v[np.ix_(order, order)]), method=method)
    scaled = pool(areas_of(5 - 100 * y, 1e4 * v), method=method)
    for other, values, tau2 in ((permuted, base.values, 1.0), (scaled, 5 - 100 * base.values, 1e4)):
        assert base.details is not None
        assert other.details is not None
        np.testing.assert_allclose(other.values, values, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(other.details.tau2, tau2 * base.details.tau2, rtol=1e-7, atol=1e-9 * tau2)
        np.testing.assert_allclose(other.details.i2, base.details.i2, rtol=1e-7, atol=1e-6)


def test_prediction_interval_by_hand() -> None:
    """Four areas with unit errors: tau^2 = 17/3, M = 20/3, t with 3 df."""
    result, details = pooled_of(np.array([-2.0, 0.0, 2.0, 4.0]), np.eye(4), np.ones((4, 1)))
    assert details.tau2 == pytest.approx(17 / 3, rel=1e-12)
    assert result.se[0] == pytest.approx(np.sqrt(20 / 12), rel=1e-12)
    half = stats.t.ppf(0.975, 3) * np.sqrt(20 / 12 + 17 / 3)
    assert details.prediction_low == pytest.approx(1 - half, rel=1e-12)
    assert details.prediction_high == pytest.approx(1 + half, rel=1e-12)
    assert details.i2 == pytest.approx(85.0)
    assert details.h2 == pytest.approx(20 / 3)
    assert details.to_frame()["k"].tolist() == [4]


# -- what goes in ------------------------------------------------------------------------------------------------------
def test_ratios_are_pooled_as_logarithms_and_stay_ratios() -> None:
    y, v, _ = problem(4, p=1)
    ratio = np.exp(y)
    ours = pool(areas_of(ratio, v * np.outer(ratio, ratio), scale="log"))
    plain = pool(areas_of(y, v))
    assert ours.details is not None
    assert plain.details is not None
    assert ours.scale == "log"
    np.testing.assert_allclose(ours.values, np.exp(plain.values), rtol=1e-12)
    for name in ("conf_low", "conf_high"):
        np.testing.assert_allclose(ours.to_frame()[name], np.exp(plain.to_frame()[name]), rtol=1e-10)
    assert ours.details.tau2 == pytest.approx(plain.details.tau2, rel=1e-10)
    assert ours.details.prediction_low == pytest.approx(np.exp(plain.details.prediction_low), rel=1e-10)


def test_draws_give_the_covariance_and_areas_without_an_effect_are_listed() -> None:
    y, v, _ = problem(7, p=1)
    rng = np.random.default_rng(1)
    errors = rng.normal(size=(400, 9)) @ np.linalg.cholesky(v).T
    missing = np.array([2, 6])
    values = y.copy()
    values[missing] = np.nan
    errors[:, missing] = np.nan
    status = ["" if row not in missing else "no event" for row in range(9)]
    terms = make_terms({"unit": list("abcdefghi"), "status": status, "outcome": "suspects"}, 9)
    result = pool(Estimate(values, terms, Draws(errors, np.full(9, 0.01))))
    kept = np.setdiff1d(np.arange(9), missing)
    plain = pool(areas_of(y[kept], np.cov(errors[:, kept], rowvar=False)))
    np.testing.assert_allclose(result.values, plain.values, rtol=1e-12)
    assert result.details is not None
    assert result.details.k == 7
    table = result.details.areas
    assert table.loc[~table["used"], ["unit", "reason"]].values.tolist() == [["c", "no event"], ["g", "no event"]]
    assert result.provenance.notes == ("pooling leaves out c: no event", "pooling leaves out g: no event")
    assert result.terms["outcome"].tolist() == ["suspects"]
    assert result.terms["n_units"].tolist() == [7]


def test_a_rare_area_with_a_ratio_of_zero_is_left_out() -> None:
    terms = make_terms({"unit": list("abcd"), "status": ["", "", "", "no event after the start"]}, 4)
    estimate = Estimate(np.array([0.8, 0.9, 1.1, 0.0]), terms, Covariance(np.eye(4) * 0.04), scale="log")
    details = pool(estimate).details
    assert details is not None
    assert details.areas["reason"].tolist() == ["", "", "", "no event after the start"]


def test_control_noise_of_single_areas_is_no_standard_error() -> None:
    law = Influence(Rows(left=np.eye(6)), pd.DataFrame({"unit": range(6)}), 6, treated=Rows(left=np.eye(6)))
    estimate = Estimate(np.arange(6.0), make_terms({"unit": list(range(6))}, 6), law)
    with pytest.raises(DesignError, match=r"one treated unit.*effect_per_area"):
        pool(estimate)


def test_the_guard_enters() -> None:
    support = Support(np.full(4, 2.0), np.full(4, 2.0))
    estimate = Estimate(np.arange(4.0), make_terms({"cohort": list(range(4))}, 4), Covariance(np.eye(4), support))
    doubled = pool(areas_of(np.arange(4.0), 2 * np.eye(4)))
    np.testing.assert_allclose(pool(estimate).se, doubled.se, rtol=1e-12)
    np.testing.assert_allclose(pool(estimate).details.q, doubled.details.q, rtol=1e-12)


def test_moderators_from_terms_and_by_label() -> None:
    y, v, _ = problem(9, k=8, p=1)
    kind = ["city", "village", "city", "town"] * 2
    result = pool(
        areas_of(y, v, cohort=[2020.0, 2021.0, 2023.0] * 2 + [2020.0, 2024.0], group=kind),
        moderators=["cohort", "group"],
    )
    assert result.terms["group"].tolist() == ["intercept", "cohort", "group: town", "group: village"]
    size = pd.DataFrame({"size": [1.0, 2.0, 4.0, 3.0, 9.0, 5.0, 6.0, np.nan]})
    straight = pool(areas_of(y, v), moderators=size)
    shuffled = pool(areas_of(y, v), moderators=size.iloc[[3, 1, 0, 2, 7, 5, 6, 4]])
    np.testing.assert_array_equal(straight.values, shuffled.values)
    assert straight.details is not None
    assert straight.details.areas["reason"].tolist() == [""] * 7 + ["no value of a moderator"]
    assert np.isnan(straight.details.prediction_low)


def test_cluster_robust_with_moderators_has_a_df_per_coefficient() -> None:
    y, _, x = problem(13, k=12, p=2)
    groups = np.repeat(range(4), 3).tolist()
    result = pool(
        areas_of(y, np.diag(np.linspace(0.2, 1, 12))), moderators=moderators_of(x), inference="CR2", cluster=groups
    )
    df = result.to_frame()["df"].to_numpy()
    assert df[0] != df[1]
    assert (df <= 4).all()
    assert result.test().p_value <= 1


def test_correlation_within_clusters_is_whitened() -> None:
    """A cluster of two areas with one shared error counts as its mean does: the same mean, CR0 from two scores."""
    y, groups = np.array([1.0, 3.0, 4.0, 8.0, 6.0, 6.5]), np.repeat([0, 1, 2], 2).tolist()
    block = np.kron(np.eye(3), np.array([[1.0, 0.5], [0.5, 1.0]]))
    result = pool(areas_of(y, block), method="fixed", inference="CR0", cluster=groups)
    means = y.reshape(3, 2).mean(axis=1)
    np.testing.assert_allclose(result.values, means.mean(), rtol=1e-12)
    np.testing.assert_allclose(result.cov()[0, 0], ((means - means.mean()) ** 2).sum() / 9, rtol=1e-12)


def test_round_trip() -> None:
    y, v, _ = problem(2, p=1)
    result = pool(areas_of(y, v))
    back = Estimate.from_json(result.to_json())
    pd.testing.assert_frame_equal(back.to_frame(), result.to_frame(), check_dtype=False)
    pd.testing.assert_frame_equal(back.to_frame(0.9), result.to_frame(0.9), check_dtype=False)


# -- refusals ----------------------------------------------------------------------------------------------------------
def test_refusals() -> None:
    y, v, _ = problem(1, p=1)
    good = areas_of(y, v)
    two = areas_of(y[:2], v[:2, :2])
    with pytest.raises(DesignError, match=r'2 areas cannot show.*method="fixed"'):
        pool(two)
    assert len(pool(two, method="fixed")) == 1
    with pytest.raises(DesignError, match="1 usable areas"):
        pool(areas_of(y[:1], v[:1, :1]), method="fixed")
    with pytest.raises(DesignError, match="PMG-FEW-AREAS"):
        pool(areas_of(y[:4], v[:4, :4]), moderators=pd.DataFrame(np.arange(12.0).reshape(4, 3) ** 2))
    with pytest.raises(InferenceError, match="PMG-NO-LAW"):
        pool(Estimate(y, good.terms))
    for options in ({"method": "REML"}, {"inference": "hk"}, {"level": 1.5}, {"moderators": "nothing"}):
        with pytest.raises(DataError):
            pool(good, **options)
    with pytest.raises(DataError, match="PMG-TYPE"):
        pool("areas")
    with pytest.raises(NumericalError, match="collinear"):
        pool(good, moderators=pd.DataFrame({"a": np.arange(9.0), "b": 2 * np.arange(9.0)}))
    with pytest.raises(NumericalError, match="PMG-SINGULAR"):
        pool(areas_of(y[:3], np.ones((3, 3))))
    with pytest.raises(DataError, match="none of the units"):
        pool(good, moderators=pd.DataFrame({"a": [1.0]}, index=["elsewhere"]))
    with pytest.raises(DataError, match="more than one row"):
        pool(good, moderators=pd.DataFrame({"a": [1.0, 2.0]}, index=[0, 0]))
    with pytest.raises(InferenceError, match="share their controls"):
        pool(good, inference="CR2", cluster=list(range(9)))
    with pytest.raises(DataError, match="needs clusters"):
        pool(good, inference="CR2")
    with pytest.raises(DataError, match="3 clusters for 9 areas"):
        pool(good, inference="CR2", cluster=[1, 2, 3])
    with pytest.raises(DesignError, match="1 clusters"):
        pool(areas_of(y, np.diag(np.diag(v))), inference="CR0", cluster=[1] * 9)


def test_a_target_above_q_gives_no_heterogeneity() -> None:
    assert solve_q(Model.of(np.zeros(4), np.eye(4), np.ones((4, 1))), 3.0) == 0.0


def test_details_are_printed_in_a_line() -> None:
    y, v, x = problem(0)
    alone, found = pooled_of(y, v, x[:, :1]), pooled_of(y, v, x)[1]
    shown = repr(alone[1])
    assert shown.startswith(f"PoolDetails(9 areas, method='reml', tau2={alone[1].tau2:.4g} [")
    assert f"prediction [{alone[1].prediction_low:.4g}, " in shown
    assert "prediction" not in repr(found)  # with moderators there is one per area
    assert max(len(shown), len(repr(found))) < 250


def test_moderators_and_clusters_of_the_wrong_kind() -> None:
    y, v, _ = problem(0)
    with pytest.raises(DataError, match="moderators must be names"):
        pool(areas_of(y, v), moderators=3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="cluster must be a column"):
        pool(areas_of(y, v), cluster=3)  # type: ignore[arg-type]
