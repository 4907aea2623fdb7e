"""Kernels against statsmodels and against the formula written out, at 1e-12."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from statsmodels.stats import sandwich_covariance as sw

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Estimate, LinearFit, clustered, conley, fit_linear, hac, independent

N_UNITS, N_TIMES = 23, 9


@pytest.fixture(scope="module")
def data() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        [(i, 2000 + t, i % 5, i * 1.0 % 7, i % 3) for i in range(N_UNITS) for t in range(N_TIMES)],
        columns=["unit", "time", "state", "latitude", "longitude"],
    )
    x = np.column_stack([np.ones(len(rows)), rng.normal(size=(len(rows), 2))])
    y = x @ [1.0, 0.5, -0.2] + rng.normal(size=len(rows)) * (1 + rows["state"]) + rng.normal(size=N_UNITS)[rows["unit"]]
    return rows, x, y.to_numpy()


@pytest.fixture(scope="module")
def ours(data) -> Estimate[LinearFit]:
    rows, x, y = data
    return fit_linear(y, x, ["a", "b", "c"], rows)


@pytest.fixture(scope="module")
def theirs(data):
    _, x, y = data
    return sm.OLS(y, x).fit()


def test_hc0_and_hc1(ours, theirs) -> None:
    assert_allclose(ours.cov(independent()), theirs.get_robustcov_results("HC0").cov_params(), rtol=1e-12)
    assert_allclose(ours.cov(independent("hc1")), theirs.get_robustcov_results("HC1").cov_params(), rtol=1e-12)


def test_one_way(ours, theirs, data) -> None:
    for correction, use in (("none", False), ("stata", True)):
        want = sw.cov_cluster(theirs, data[0]["state"].to_numpy(), use_correction=use)
        assert_allclose(ours.cov(clustered("state", correction=correction)), want, rtol=1e-12)


def test_two_way(ours, theirs, data) -> None:
    groups = data[0]["unit"].to_numpy(), data[0]["time"].to_numpy()
    want = sw.cov_cluster_2groups(theirs, groups[0], groups[1], use_correction=False)[0]
    assert_allclose(ours.cov(clustered("unit", "time")), want, rtol=1e-12, atol=1e-15)


def test_newey_west_of_one_series() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(60), np.arange(60.0)])
    y = np.cumsum(rng.normal(size=60))
    rows = pd.DataFrame({"unit": 0, "time": np.arange(60)})
    want = sw.cov_hac(sm.OLS(y, x).fit(), nlags=4, use_correction=False)
    assert_allclose(fit_linear(y, x, ["a", "b"], rows).cov(hac(4)), want, rtol=1e-12)


def test_driscoll_kraay_and_newey_west_in_a_panel(ours, theirs, data) -> None:
    time = (data[0]["time"] - 2000).to_numpy()
    want = sw.cov_nw_groupsum(theirs, 3, time, use_correction=0)
    assert_allclose(ours.cov(hac(3)), want, rtol=1e-12)
    starts = [(i * N_TIMES, (i + 1) * N_TIMES) for i in range(N_UNITS)]
    want = sw.cov_nw_panel(theirs, 3, starts, use_correction="hac")
    n, k = 207, 3
    assert_allclose(ours.cov(hac(3, within="unit")), want * (n - k) / n, rtol=1e-12)


def test_conley_is_the_double_sum(ours, data) -> None:
    rows = data[0]
    psi = ours.uncertainty.psi.dense() / ours.uncertainty.n
    place = np.deg2rad(rows[["latitude", "longitude"]].to_numpy())
    want = np.zeros((3, 3))
    for i in range(len(rows)):
        half = (
            np.sin((place[:, 0] - place[i, 0]) / 2) ** 2
            + np.cos(place[:, 0]) * np.cos(place[i, 0]) * np.sin((place[:, 1] - place[i, 1]) / 2) ** 2
        )
        distance = 2 * 6371.01 * np.arcsin(np.sqrt(half))
        weight = np.clip(1 - distance / 300, 0, None)
        want += np.outer(psi[i], weight @ psi)
    assert_allclose(ours.cov(conley(300)), (want + want.T) / 2, rtol=1e-10, atol=1e-16)


def test_missing_label_names_those_there_are(ours) -> None:
    with pytest.raises(InferenceError, match="no label 'province'"):
        ours.assuming(clustered("province"))


def test_one_cluster_is_refused(ours, data) -> None:
    rows, x, y = data
    with pytest.raises(InferenceError, match="one cluster"):
        fit_linear(y, x, ["a", "b", "c"], rows.assign(country="nl")).assuming(clustered("country"))


def test_unknown_correction_and_bad_lags(ours) -> None:
    with pytest.raises(DataError, match="small-sample"):
        clustered("unit", correction="best")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="negative"):
        hac(-1)
    with pytest.raises(InferenceError, match="between 0 and 8"):
        ours.cov(hac(9))


def test_an_indefinite_two_way_sum_is_repaired_and_says_so() -> None:
    """Two rows with opposite scores in both dimensions: inclusion and exclusion gives a negative variance."""
    from pmg_eval.estimate import Influence, Rows, make_terms

    rows = pd.DataFrame({"unit": [0, 0, 1, 1], "time": [0, 1, 0, 1]})
    psi = np.array([[1.0], [-1.0], [-1.0], [1.0]])
    estimate = Estimate(np.array([1.0]), make_terms({"estimand": "x"}, 1), Influence(Rows(left=psi), rows, 4))
    frame = estimate.assuming(clustered("unit", "time")).to_frame()
    assert "repaired" in frame["status"][0]
    assert estimate.cov(clustered("unit", "time"))[0, 0] == 0
