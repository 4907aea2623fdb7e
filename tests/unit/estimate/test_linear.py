"""Leverage, effective clusters and the jackknife of a regression on hand-worked and odd designs."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import LinearFit, fit_linear


def table(seed: int = 2, n: int = 14, periods: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    d = pd.DataFrame([(i, t) for i in range(n) for t in range(periods)], columns=["unit", "time"])
    d["province"] = d["unit"] // 3
    d["x"] = ((d["unit"] % 4 == 1) & (d["time"] > 2)).astype(float)
    d["z"] = rng.normal(size=len(d))
    d["y"] = d["x"] + rng.normal(size=len(d))
    d["w"] = rng.uniform(0.2, 3, len(d))
    return d


def fit(d: pd.DataFrame, weighted: bool = False, columns: tuple[str, ...] = ("x", "z")) -> LinearFit:
    weight = d["w"].to_numpy() if weighted else None
    rows = d[["unit", "time", "province"]].reset_index(drop=True)
    found = fit_linear(
        d["y"].to_numpy(), d[list(columns)].to_numpy(), columns, rows, absorb=True, weight=weight
    ).details
    assert found is not None
    return found


def test_effective_clusters_by_hand() -> None:
    """An intercept and clusters of 1, 1 and 2 rows: shares 1/4, 1/4, 1/2, so 1 / (1/16 + 1/16 + 1/4) = 8/3."""
    rows = pd.DataFrame({"unit": [0, 1, 2, 3], "town": ["a", "b", "c", "c"]})
    found = fit_linear(np.array([1.0, 2.0, 6.0, 8.0]), np.ones((4, 1)), ["mean"], rows).details
    assert found is not None
    clusters = found.clusters("town")
    assert clusters["partial_leverage_mean"].tolist() == pytest.approx([0.25, 0.25, 0.5])
    assert clusters["leverage"].tolist() == pytest.approx([0.25, 0.25, 0.5])
    assert clusters.attrs["effective_clusters"]["mean"] == pytest.approx(8 / 3)
    # means without each cluster: 16/3, 15/3, 3/2, against 17/4
    assert clusters["without_mean"].tolist() == pytest.approx([16 / 3, 5, 1.5])
    changes = np.array([16 / 3, 5, 1.5]) - 17 / 4
    assert found.cluster_robust("town", "CR3")[0][0, 0] == pytest.approx((changes**2).sum())
    assert found.cluster_robust("town", "CV3")[0][0, 0] == pytest.approx((changes**2).sum() * 2 / 3)


@pytest.mark.parametrize("weighted", [False, True])
def test_leverages_add_up(weighted: bool) -> None:
    d = table().drop(index=[4, 5, 30])
    found = fit(d, weighted)
    for cluster in ("unit", "province"):
        clusters = found.clusters(cluster)
        assert clusters["leverage"].sum() == pytest.approx(found.n_params)
        by_row = pd.Series(found.leverage()).groupby(found.rows[cluster], sort=False).sum()
        assert_allclose(clusters["leverage"], by_row, rtol=1e-10)
        assert_allclose(clusters[["partial_leverage_x", "partial_leverage_z"]].sum(), 1, rtol=1e-10)
        assert clusters["n_obs"].sum() == len(d)


def test_order_of_the_rows_does_not_matter() -> None:
    """Sorted and balanced rows go through one product, others cluster by cluster."""
    d = table(n=12)
    mixed = d.sample(frac=1, random_state=1)
    for kind in ("CR0", "CR2", "CR3", "CV3J"):
        one, other = (fit(each).cluster_robust("unit", kind) for each in (d, mixed))
        assert_allclose(one[0], other[0], rtol=1e-10)
        assert_allclose(one[1], other[1], rtol=1e-10)


def test_clusters_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [fit(table()).cluster_robust("province", kind) for kind in ("CR0", "CR2", "CR3")]
    monkeypatch.setattr("pmg_eval.estimate._clusters._CHUNK", 1)
    for (cov, df), kind in zip(whole, ("CR0", "CR2", "CR3"), strict=True):
        again = fit(table()).cluster_robust("province", kind)  # type: ignore[arg-type]
        assert_allclose(again[0], cov, rtol=1e-12)
        assert_allclose(again[1], df, rtol=1e-12)


def test_a_period_of_one_cluster_alone_is_no_reason_to_refuse() -> None:
    """Its effect is fitted perfectly, but no coefficient rests on it: CR3 is still the refit without each cluster."""
    d = table()
    d = d[(d["time"] > 0) | (d["province"] == 1)]
    found = fit(d)
    without = np.array([fit(d[d["province"] != g]).coef for g in d["province"].unique()])
    change = found.coef - without
    assert_allclose(found.cluster_robust("province", "CR3")[0], change.T @ change, rtol=1e-9)
    assert_allclose(found.clusters("province")[["without_x", "without_z"]], without, rtol=1e-9)
    assert np.isfinite(found.cluster_robust("province", "CR2")[0]).all()


def test_a_coefficient_that_one_cluster_carries_is_refused_but_shown() -> None:
    d = table()
    d["x"] = ((d["unit"] == 4) & (d["time"] > 2)).astype(float)
    found = fit(d)
    for kind in ("CR2", "CR3"):
        with pytest.raises(InferenceError, match="PMG-FULLY-FITTED") as refused:
            found.cluster_robust("unit", kind)  # type: ignore[arg-type]
        assert refused.value.where == (4,)
        assert "jackknife" in refused.value.fix
    clusters = found.clusters("unit").set_index("cluster")
    assert np.isnan(clusters.loc[4, "without_x"])
    assert clusters["without_x"].drop(4).notna().all()
    assert clusters["without_z"].notna().all()
    assert clusters.attrs["effective_clusters"]["x"] < 1.5


def test_rows_without_weight_are_not_there() -> None:
    d = table()
    d["w"] = np.where(d["unit"] == 3, 0.0, 1.0)
    with_nothing, left_out = fit(d, weighted=True), fit(d[d["unit"] != 3])
    for kind in ("CR2", "CR3"):
        one, other = (found.cluster_robust("province", kind) for found in (with_nothing, left_out))  # type: ignore[arg-type]
        assert_allclose(one[0], other[0], rtol=1e-9)
        assert_allclose(one[1], other[1], rtol=1e-9)
    assert_allclose(with_nothing.clusters("province")["leverage"], left_out.clusters("province")["leverage"], rtol=1e-9)


def test_columns_of_very_different_size() -> None:
    """A regressor counted in millionths is not taken for rounding beside dummies."""
    d = table()
    small = d.assign(z=d["z"] * 1e-12)
    one, other = fit(d).cluster_robust("unit", "CR2"), fit(small).cluster_robust("unit", "CR2")
    assert_allclose(np.sqrt(np.diag(other[0])) * [1, 1e-12], np.sqrt(np.diag(one[0])), rtol=1e-8)
    assert_allclose(other[1], one[1], rtol=1e-8)


def test_refusals() -> None:
    found = fit(table())
    with pytest.raises(DataError, match="CV3J"):
        found.cluster_robust("unit", "CR4")  # type: ignore[arg-type]
    with pytest.raises(InferenceError, match="no row label"):
        found.clusters("country")
    with pytest.raises(InferenceError, match="split units"):
        found.clusters("time")
    one = table().assign(province=1)
    with pytest.raises(InferenceError, match="one cluster"):
        fit(one).cluster_robust("province", "CR3")
    lacking = table()
    lacking["province"] = lacking["province"].where(lacking["unit"] > 2)
    with pytest.raises(InferenceError, match="missing"):
        fit(lacking).cluster_robust("province")
