"""Covariances of one regression under every dependence, against fixest, clubSandwich, sandwich and statsmodels."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from _shared import dataset, needs_shared, reference
from pmg_eval.errors import InferenceError
from pmg_eval.estimate import (
    Dependence,
    Estimate,
    LinearFit,
    SmallSample,
    clustered,
    fit_linear,
    hac,
    independent,
)

pytestmark = needs_shared


def castle(*columns: str) -> Estimate[LinearFit]:
    d = dataset("castle_panel")
    rows = pd.DataFrame({"unit": d["sid"], "time": d["year"]})
    return fit_linear(d["l_homicide"].to_numpy(), d[list(columns)].to_numpy(dtype=float), columns, rows, absorb=True)


def base_stagg() -> Estimate[LinearFit]:
    d = dataset("base_stagg")
    treated = (d["treated"] == 1) & (d["time_to_treatment"] >= 0)
    rows = pd.DataFrame({"unit": d["id"], "time": d["year"]})
    design = np.column_stack([treated.astype(float), d["x1"]])
    return fit_linear(d["y"].to_numpy(), design, ["D", "x1"], rows, absorb=True)


ONE_WAY: dict[str, Dependence] = {
    "cluster_default": clustered("unit", correction="fixest"),
    "cluster_K.full": clustered("unit", correction="stata"),
    "cluster_K.none": clustered("unit", correction=SmallSample("regressors")),
    "cluster_G.adj_FALSE": clustered("unit", correction=SmallSample("nonnested", clusters=False)),
    "cluster_none": clustered("unit", correction="none"),
    "cluster_Gdf_conv": clustered("unit", correction=SmallSample("nonnested", group_count="own")),
    "hetero_default": independent("hc1"),
}


@pytest.mark.parametrize("name", ONE_WAY)
@pytest.mark.parametrize("data", ["castle", "base_stagg"])
def test_fixest_one_way(data: str, name: str) -> None:
    estimate = castle("treated_bin") if data == "castle" else base_stagg()
    found = reference(f"fixest_{data}_twfe")["results"]["V"][name]
    coef = found["coef"]
    assert_allclose(estimate.values, list(coef.values()) if isinstance(coef, dict) else coef, rtol=1e-8)
    assert_allclose(estimate.assuming(ONE_WAY[name]).se, np.atleast_1d(found["se"]), rtol=1e-8)


@pytest.mark.parametrize("data", ["castle", "base_stagg"])
def test_fixest_without_k_adjustment(data: str) -> None:
    """fixest's K.adj=FALSE drops the parameter factor: our plain G/(G-1)."""
    estimate = castle("treated_bin") if data == "castle" else base_stagg()
    found = reference(f"fixest_{data}_twfe")["results"]["V"]["cluster_K.adj_FALSE"]
    # castle: "equals none because K = 1" (reference-quirks); with K = 2 the two differ
    rule = clustered("unit", correction="G")
    assert_allclose(estimate.assuming(rule).se, np.atleast_1d(found["se"]), rtol=1e-8)


@pytest.mark.parametrize("data", ["castle", "base_stagg"])
def test_fixest_iid(data: str) -> None:
    """The classical covariance: sigma^2 times the bread that LinearFit keeps."""
    estimate = castle("treated_bin") if data == "castle" else base_stagg()
    fit = estimate.details
    assert fit is not None
    found = reference(f"fixest_{data}_twfe")["results"]["V"]["iid"]
    sigma2 = (fit.resid**2).sum() / (len(fit.resid) - fit.n_params)
    assert_allclose(np.sqrt(np.diag(fit.bread) * sigma2), np.atleast_1d(found["se"]), rtol=1e-8)
    assert fit.n_params == found["df_K"]


@pytest.mark.parametrize(
    ("name", "dependence"),
    [
        ("twoway_default", clustered("unit", "time", correction="fixest")),
        ("twoway_Gdf_conv", clustered("unit", "time", correction=SmallSample("nonnested", group_count="own"))),
        ("driscoll_kraay_l2", hac(2, correction="fixest")),
        ("newey_west_l2", hac(2, within="unit", correction="fixest")),
    ],
)
def test_fixest_other_dependence(name: str, dependence: Dependence) -> None:
    found = reference("fixest_castle_twfe")["results"][name]
    assert_allclose(castle("treated_bin").assuming(dependence).se, found["se"], rtol=1e-8)


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR1S", "CR2"])
@pytest.mark.parametrize("data", ["castle", "base_stagg"])
def test_clubsandwich(data: str, kind: str) -> None:
    estimate = castle("treated_bin", "unemployrt", "poverty") if data == "castle" else base_stagg()
    fit = estimate.details
    assert fit is not None
    results = reference(f"clubsandwich_{data}_twfe")["results"]
    assert_allclose(estimate.values, list(results["coef"].values()), rtol=1e-8)
    cov, df = fit.cluster_robust("unit", kind)  # type: ignore[arg-type]
    assert_allclose(np.sqrt(np.diag(cov)), results[kind]["se"], rtol=1e-8)
    assert_allclose(df, results[kind]["coef_test"]["df_Satt"], rtol=1e-8)


@pytest.mark.parametrize("data", ["castle", "base_stagg"])
def test_sandwich_heteroskedastic(data: str) -> None:
    estimate = castle("treated_bin", "unemployrt", "poverty") if data == "castle" else base_stagg()
    fit = estimate.details
    assert fit is not None
    results = reference(f"clubsandwich_{data}_twfe")["results"]
    assert_allclose(estimate.assuming(independent("hc1")).se, results["sandwich_HC1"], rtol=1e-8)
    assert_allclose(
        estimate.assuming(clustered("unit", correction="stata")).se, results["sandwich_vcovCL_HC1"], rtol=1e-8
    )
    for power, name in ((0.5, "sandwich_HC2"), (1.0, "sandwich_HC3")):
        scores = fit.design * (fit.resid / (1 - fit.leverage()) ** power)[:, None] @ fit.bread
        assert_allclose(np.sqrt(np.diag(scores.T @ scores)), results[name], rtol=1e-8)


def test_a_fully_fitted_cluster_is_refused() -> None:
    """One treated unit: the treated direction is fitted perfectly; a pseudo-inverse would report 300 df."""
    d = dataset("castle_panel")
    only = ((d["sid"] == 1) & (d["year"] >= 2006)).to_numpy(dtype=float)[:, None]
    own = ((d["sid"] == 1) & (d["year"] == 2003)).to_numpy(dtype=float)[:, None]
    rows = pd.DataFrame({"unit": d["sid"], "time": d["year"]})
    fit = fit_linear(d["l_homicide"].to_numpy(), np.hstack([only, own]), ["D", "x"], rows, absorb=True).details
    assert fit is not None
    with pytest.raises(InferenceError, match="fitted perfectly"):
        fit.cluster_robust("unit", "CR2")
