"""Jackknife errors, leverage and the weight of single clusters against clubSandwich, summclust and metafor."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from _shared import dataset, needs_shared, reference
from pmg_eval import resample
from pmg_eval.estimate import Estimate, LinearFit, fit_linear
from pmg_eval.panel import Panel

pytestmark = needs_shared
COLUMNS = ["treated_bin", "unemployrt", "poverty"]


def castle(*columns: str, weight: str | None = None, keep: Any = slice(None)) -> Estimate[LinearFit]:
    d = dataset("castle_panel")[keep].reset_index(drop=True)
    rows = pd.DataFrame({"unit": d["sid"], "time": d["year"], "cl9": d["sid"] % 9})
    return fit_linear(
        d["l_homicide"].to_numpy(),
        d[list(columns)].to_numpy(dtype=float),
        columns,
        rows,
        absorb=True,
        weight=None if weight is None else d[weight].to_numpy(),
    )


def without_each(column: str, columns: list[str], weight: str | None = None) -> np.ndarray:
    """The regression run again without each cluster, in order of appearance."""
    d = dataset("castle_panel")
    labels = d["sid"] if column == "unit" else d["sid"] % 9
    return np.array([castle(*columns, weight=weight, keep=(labels != g)).values for g in labels.unique()])


def of(estimate: Estimate[LinearFit]) -> LinearFit:
    assert estimate.details is not None
    return estimate.details


@pytest.mark.parametrize("weight", [None, "popwt"])
@pytest.mark.parametrize("cluster", ["unit", "cl9"])
def test_cr3_is_what_leaving_clusters_out_changes(cluster: str, weight: str | None) -> None:
    """The proof that clubSandwich's CR3 on castle (0.0608, 0.0156, 0.0251) is its near-singular solve, not CR3.

    It treats the 50 state dummies as regressors, so that I - H is singular for every state (on base_stagg its file says
    so and has no number); projected out, nothing is singular, and CR3 is the jackknife to 1e-10.
    """
    estimate = castle(*COLUMNS, weight=weight)
    change = estimate.values - without_each(cluster, COLUMNS, weight)
    count = len(change)
    around = change - change.mean(axis=0)
    assert_allclose(of(estimate).cluster_robust(cluster, "CR3")[0], change.T @ change, rtol=1e-10)
    assert_allclose(of(estimate).cluster_robust(cluster, "CV3")[0], change.T @ change * (count - 1) / count, rtol=1e-10)
    assert_allclose(
        of(estimate).cluster_robust(cluster, "CV3J")[0], around.T @ around * (count - 1) / count, rtol=1e-10
    )
    table = of(estimate).clusters(cluster)
    assert_allclose(table[[f"without_{name}" for name in COLUMNS]], estimate.values - change, rtol=1e-10)


def test_clubsandwich_has_no_cr3_of_clusters_with_a_dummy() -> None:
    assert "singular" in reference("clubsandwich_base_stagg_twfe")["results"]["CR3"]["error"]
    theirs = np.array(reference("clubsandwich_castle_twfe")["results"]["CR3"]["se"])
    change = castle(*COLUMNS).values - without_each("unit", COLUMNS)
    assert (np.abs(theirs / np.sqrt((change**2).sum(axis=0)) - 1) > 0.01).all()


def test_satterthwaite_of_cr3_is_the_law_of_its_variance() -> None:
    """df from the definition: errors independent, variance of the quadratic form, rows and all dummies written out."""
    estimate = castle(*COLUMNS)
    d = dataset("castle_panel")
    dummies = [pd.get_dummies(d[name], dtype=float).to_numpy() for name in ("sid", "year")]
    everything = np.hstack([d[COLUMNS].to_numpy(dtype=float), dummies[0], dummies[1][:, 1:]])
    annihilator = np.eye(len(d)) - everything @ np.linalg.pinv(everything)
    design = of(estimate).design
    labels = (d["sid"] % 9).to_numpy()
    rows = []
    for group in pd.unique(labels):
        own = np.flatnonzero(labels == group)
        inverse = np.linalg.pinv(annihilator[np.ix_(own, own)], rcond=1e-9)
        rows.append((inverse @ (design[own] @ of(estimate).bread)).T @ annihilator[own])
    stacked = np.array(rows)
    for column, df in enumerate(of(estimate).cluster_robust("cl9", "CR3")[1]):
        spread = stacked[:, column] @ stacked[:, column].T
        assert_allclose(df, np.trace(spread) ** 2 / (spread**2).sum(), rtol=1e-8)


@pytest.mark.parametrize(("name", "cluster"), [("summclust_castle_cl9", "cl9"), ("summclust_castle_state_fe", "unit")])
def test_summclust(name: str, cluster: str) -> None:
    found = reference(name)["results"]
    fit = of(castle("post"))
    table = fit.clusters(cluster)
    assert [str(label) for label in table["cluster"]] == found["cluster_names"]
    # its sizes are in the order of the labels, everything else in that of their appearance
    assert table.sort_values("cluster")["n_obs"].tolist() == found["N_G"]
    # state_fe absorbs the states, so its leverage leaves them out; cl9 has them as dummies.
    leverage = "leverage" if cluster == "cl9" else "leverage_within"
    assert_allclose(table[leverage], found["leverage_g"], rtol=1e-8)
    assert_allclose(table[leverage].mean(), found["leverage_avg"], rtol=1e-8)
    assert_allclose(table.attrs[f"{leverage}_cv"], found["coef_of_variation"], rtol=1e-8)
    sizes = table["n_obs"].astype(float)
    assert_allclose(sizes.std() / sizes.mean(), found["coef_var_N_G"], rtol=1e-8)
    assert_allclose(table["partial_leverage_post"], found["partial_leverage"]["values"][0], rtol=1e-8)
    assert_allclose(table["without_post"], found["beta_jack"]["values"][0], rtol=1e-8)
    for kind, theirs in (("CV3", "vcov_CRV3"), ("CV3J", "vcov_CRV3J")):
        place = found[theirs]["names"].index("post")  # the rest are coefficients of dummies that we absorb
        assert_allclose(fit.cluster_robust(cluster, kind)[0], found[theirs]["values"][place][place], rtol=1e-8)  # type: ignore[arg-type]
    tidy = found["tidy"]
    se = float(np.sqrt(fit.cluster_robust(cluster, "CV3")[0][0, 0]))
    freedom = len(table) - 1
    assert_allclose([fit.coef[0], se, fit.coef[0] / se], [tidy["coef"], tidy["se"], tidy["tstat"]], rtol=1e-8)
    assert_allclose(2 * stats.t.sf(fit.coef[0] / se, freedom), tidy["p_val"], rtol=1e-8)
    half = stats.t.ppf(0.975, freedom) * se
    assert_allclose([fit.coef[0] - half, fit.coef[0] + half], [tidy["conf_int_l"], tidy["conf_int_u"]], rtol=1e-8)


@pytest.mark.parametrize("data", ["castle", "base_stagg"])
def test_clubsandwich_intervals_and_joint_test(data: str) -> None:
    """CR2 t intervals and the naive F; its HTZ test (another df for joint hypotheses) is not offered."""
    if data == "castle":
        fit = of(castle(*COLUMNS))
    else:
        d = dataset("base_stagg")
        treated = ((d["treated"] == 1) & (d["time_to_treatment"] >= 0)).astype(float)
        rows = pd.DataFrame({"unit": d["id"], "time": d["year"]})
        fit = of(fit_linear(d["y"].to_numpy(), np.column_stack([treated, d["x1"]]), ["D", "x1"], rows, absorb=True))
    found = reference(f"clubsandwich_{data}_twfe")["results"]
    cov, df = fit.cluster_robust("unit", "CR2")
    half = stats.t.ppf(0.975, df) * np.sqrt(np.diag(cov))
    assert_allclose(fit.coef - half, found["CR2_conf_int"]["CI_L"], rtol=1e-8)
    assert_allclose(fit.coef + half, found["CR2_conf_int"]["CI_U"], rtol=1e-8)
    assert_allclose(fit.coef @ np.linalg.solve(cov, fit.coef) / len(df), found["CR2_wald"]["Fstat"][1], rtol=1e-8)


def test_metafor_robust() -> None:
    """An intercept with unequal weights: the root of Pustejovsky and Tipton matters here (CR2 6e-4 apart without)."""
    d = dataset("dat_konstantopoulos2011")
    found = reference("metafor_robust_konstantopoulos")["results"]
    weight = 1 / (d["vi"] + found["model"]["tau2"]).to_numpy()
    rows = pd.DataFrame({"unit": np.arange(len(d)), "district": d["district"]})
    estimate = fit_linear(d["yi"].to_numpy(), np.ones((len(d), 1)), ["mean"], rows, weight=weight)
    assert_allclose(estimate.values, found["model"]["b"], rtol=1e-8)
    for kind, name in (("CR0", "noadjust"), ("CR1", "adjust"), ("CR2", "clubSandwich")):
        cov, df = of(estimate).cluster_robust("district", kind)  # type: ignore[arg-type]
        assert_allclose(np.sqrt(cov[0, 0]), found[f"robust_{name}"]["se"], rtol=1e-8)
        if kind == "CR2":
            assert_allclose(df, found[f"robust_{name}"]["ddf"], rtol=1e-8)


def test_the_jackknife_of_any_estimator_is_the_same_number() -> None:
    """``resample.jackknife`` of a regression refits it; CV3J does not."""
    d = dataset("castle_panel").assign(start=lambda d: d["g"].astype(float).where(d["g"] > 0, np.inf))
    panel = Panel(d, unit="sid", time="year", cohort="start")

    def regression(panel: Panel, outcome: str) -> Estimate[LinearFit]:
        rows = panel.row_labels[["unit", "time"]]
        post = panel.column("post")[:, None]
        return fit_linear(panel.column(outcome), post, ["post"], rows, absorb=True)

    by_refits = resample.jackknife(regression, panel, "l_homicide").cov()
    assert_allclose(of(castle("post")).cluster_robust("unit", "CV3J")[0], by_refits, rtol=1e-10)
