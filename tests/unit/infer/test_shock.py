"""Common shocks: Moran's I by hand, by every permutation and by its formula; the change of areas; errors by region."""

from itertools import permutations
from math import erfc, sqrt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

import pmg_eval as pe
from pmg_eval import did, infer, resample
from pmg_eval.errors import DataError, DesignError, PmgEvalWarning
from pmg_eval.infer._moran import moran

RNG = np.random.default_rng(0)


def matrix(pairs: list[tuple[int, int]], n: int) -> sparse.csr_array:
    both = [*pairs, *[(j, i) for i, j in pairs]]
    left, right = zip(*both, strict=True)
    return sparse.csr_array((np.ones(len(both)), (left, right)), shape=(n, n))


def test_by_hand() -> None:
    """Four areas in a row with values 1, 2, 4, 5: I = 0.4.

    Deviations -2, -1, 1, 2; neighbors' products 2, -1, 2, so the double sum is 6; S0 = 6, sum of squares 10:
    I = 4/6 · 6/10. E = -1/3. S1 = 1/2 · 6 · 4 = 12, S2 = 4 + 16 + 16 + 4 = 40:
    normal V = (16·12 - 4·40 + 3·36) / (15·36) - 1/9 = 140/540 - 1/9 = 4/27. b2 = 4·34/100 = 1.36:
    randomization V = (4(7·12 - 160 + 108) - 1.36(12·12 - 320 + 216)) / (3·2·1·36) - 1/9 = (128 - 54.4)/216 - 1/9.
    """
    links = matrix([(0, 1), (1, 2), (2, 3)], 4)
    values = np.array([1.0, 2.0, 4.0, 5.0])
    normal = moran(values, links, "normal", 1, RNG)
    random = moran(values, links, "randomization", 1, RNG)
    assert normal.value == random.value == pytest.approx(0.4)
    assert normal.expected == pytest.approx(-1 / 3)
    assert normal.variance == pytest.approx(4 / 27)
    assert random.variance == pytest.approx(73.6 / 216 - 1 / 9)
    z = (0.4 + 1 / 3) / sqrt(4 / 27)
    assert normal.p_value == pytest.approx(erfc(z / sqrt(2)) / 2, rel=1e-12)


@pytest.mark.parametrize("standardized", [False, True])
def test_moments_over_every_permutation(standardized: bool) -> None:
    """Mean and variance of I over all 720 orders of six values are the formulas' (exactly, whatever the weights)."""
    links = matrix([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5), (1, 4)], 6)
    if standardized:
        links = sparse.csr_array(sparse.diags_array(1 / links.sum(axis=1)) @ links)
    values = np.array([0.3, -1.2, 4.0, 2.2, 0.1, -3.0])
    dense = links.toarray()
    found = []
    for order in permutations(values):
        z = np.array(order) - values.mean()
        found.append(6 / dense.sum() * (z @ dense @ z) / (z @ z))
    ours = moran(values, links, "randomization", 1, RNG)
    assert_allclose(np.mean(found), -1 / 5, rtol=1e-12)
    assert_allclose(ours.variance, np.var(found), rtol=1e-10)
    exact = np.mean(np.array(found) >= ours.value - 1e-12)
    drawn = moran(values, links, "permutation", 4_000, np.random.default_rng(1))
    assert drawn.value == pytest.approx(ours.value)
    assert abs(drawn.p_value - exact) < 4 * drawn.p_error
    assert drawn.p_min == 1 / 4_001


def test_normal_moments_by_simulation() -> None:
    links = matrix([(i, (i + 1) % 12) for i in range(12)] + [(0, 6), (3, 9)], 12)
    rng = np.random.default_rng(2)
    z = rng.normal(size=(40_000, 12))
    z = z - z.mean(axis=1, keepdims=True)
    found = 12 / links.sum() * np.einsum("ij,ij->i", z, (links @ z.T).T) / (z**2).sum(axis=1)
    ours = moran(np.arange(12.0), links, "normal", 1, RNG)
    assert abs(found.mean() - ours.expected) < 4 * found.std() / 200
    assert abs(found.var() - ours.variance) < 5 * ((found - found.mean()) ** 2).std() / 200


def table(common: float, seed: int = 1, n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    d = pd.DataFrame([(i, 2015 + t) for i in range(n) for t in range(6)], columns=["area", "year"])
    d["start"] = np.select([d["area"] % 10 == 0, d["area"] % 10 == 5], [2018, 2019], 0)
    d["district"] = d["area"] // 5
    shock = rng.normal(size=(n // 5, 6))
    d["rate"] = rng.normal(size=len(d)) + common * shock[d["district"], d["year"] - 2015] + d["area"] % 7 + d["year"]
    return d


def panel(d: pd.DataFrame, **roles: Any) -> pe.Panel:
    return pe.Panel(d, unit="area", time="year", cohort="start", never=0, **{"region": "district", **roles})


def overall(p: pe.Panel) -> pe.Estimate:
    return did.imputation(p, "rate").average()


def test_changes_are_changes_minus_their_mean() -> None:
    """Balanced panel: mean from 2018 on minus mean before, minus the average of the untreated areas."""
    d = table(0.0)
    p = panel(d)
    found = infer.common_shock(overall(p), p, "rate").changes
    never = d[d["start"] == 0]
    late = never[never["year"] >= 2018].groupby("area")["rate"].mean()
    early = never[never["year"] < 2018].groupby("area")["rate"].mean()
    want = (late - early) - (late - early).mean()
    assert found["unit"].tolist() == want.index.tolist()
    assert_allclose(found["change"], want, rtol=1e-9, atol=1e-12)
    # four or three untreated areas per district (one in ten starts early, one late)
    size = never.drop_duplicates("area").groupby("district")["area"].transform("size").to_numpy()
    assert found["n_neighbors"].tolist() == (size - 1).tolist()


def test_contaminated_and_half_seen_areas_are_left_out() -> None:
    d = table(0.0)
    d["dirty"] = np.where(d["area"] == 3, 2019.0, np.inf)
    d = d[(d["area"] != 4) | (d["year"] < 2018)]
    p = panel(d, contaminated_from="dirty", missing="pairwise")
    found = infer.common_shock(overall(p), p, "rate").changes
    assert not {0, 3, 4, 5} & set(found["unit"])
    assert {1, 2, 6} <= set(found["unit"])


def test_a_common_shock_is_found_and_none_is_not() -> None:
    quiet, loud = table(0.0, seed=2), table(1.5)
    for d, shocked in ((quiet, False), (loud, True)):
        p = panel(d)
        for law in ("randomization", "normal", "permutation"):
            found = infer.common_shock(overall(p), p, "rate", law=law, draws=499)  # type: ignore[arg-type]
            assert (found.moran.p_value < 0.05) is shocked
            assert ("areas are not independent" in found.note) is shocked
            assert "Moran" in str(found)


def test_p_values_of_independent_areas_are_uniform() -> None:
    """Size of the one-sided test over 400 panels without shocks."""
    p_values = []
    links = matrix([(5 * i + j, 5 * i + k) for i in range(12) for j in range(5) for k in range(j)], 60)
    for seed in range(400):
        p_values.append(moran(np.random.default_rng(seed).normal(size=60), links, "randomization", 1, RNG).p_value)
    p = np.array(p_values)
    for level in (0.05, 0.5):
        assert abs((p < level).mean() - level) < 3 * np.sqrt(level * (1 - level) / 400) + 0.01


def test_errors_by_region_are_sums_over_regions() -> None:
    p = panel(table(1.0))
    estimate = did.imputation(p, "rate").average(by="cohort")
    found = infer.common_shock(estimate, p, "rate").to_frame()
    assert found["cohort"].tolist() == [2018, 2019]
    psi = estimate.influence()
    district = psi.index.get_level_values("unit").to_numpy().astype(int) // 5
    raw = np.sqrt((psi.groupby(district).sum() ** 2).sum().to_numpy() * 24 / 23) / len(psi)
    by_region = estimate.assuming(pe.clustered("region", correction="G"))
    assert_allclose(by_region.se, raw, rtol=1e-10)
    frame = by_region.to_frame()
    assert_allclose(found["std_error_region"], frame["std_error"], rtol=1e-12)
    assert_allclose(found["ratio"], frame["std_error"] / estimate.to_frame()["std_error"], rtol=1e-12)
    assert found["n_regions"].tolist() == [24, 24]
    assert found["status"].tolist() == ["", ""]


def test_few_regions_warn() -> None:
    d = table(0.0).assign(province=lambda d: d["area"] // 20)
    p = panel(d, region="province")
    with pytest.warns(PmgEvalWarning, match=r"PMG-FEW-CLUSTERS.*6 regions"):
        found = infer.common_shock(overall(p), p, "rate")
    assert found.errors["status"].tolist() == ["6 regions: a lower bound"]


def test_neighbors_by_borders_or_by_region() -> None:
    d = table(0.0)
    borders = {i: [i + 1] for i in range(119)}
    p = panel(d, neighbors=borders, cluster="district")
    bordering = infer.common_shock(overall(p), p, "rate")
    assert "bordering areas" in bordering.moran.hypothesis
    same = infer.common_shock(overall(p), p, "rate", neighbors="region")
    named = infer.common_shock(overall(p), p, "rate", neighbors="region", region="district")
    assert same.moran.statistic == named.moran.statistic != bordering.moran.statistic
    assert named.moran.details is not None
    assert "areas of the same district" in named.moran.hypothesis
    # I from its definition, untreated neighbors with equal weights
    change = bordering.changes.set_index("unit")["change"]
    z = change - change.mean()
    near = {i: [j for j in (i - 1, i + 1) if j in z.index] for i in z.index}
    total = sum(z[i] * np.mean([z[j] for j in near[i]]) for i in z.index)
    assert bordering.moran.statistic == pytest.approx(total / (z**2).sum(), rel=1e-10)
    assert bordering.changes["n_neighbors"].tolist() == [len(near[i]) for i in z.index]


def test_an_estimate_without_influence_rows_still_gets_moran() -> None:
    p = panel(table(0.0))
    bare = resample.placebo(lambda q, y: did.imputation(q, y).average(by="unit"), p, "rate", draws=99)
    found = infer.common_shock(bare, p, "rate")
    assert found.errors["std_error_region"].isna().all()
    assert set(found.errors["status"]) == {"no influence rows to sum to regions"}
    assert np.isfinite(found.moran.p_value)


def test_refusals() -> None:
    d = table(0.0)
    p = panel(d)
    estimate = overall(p)
    with pytest.raises(DataError, match="PMG-COLUMN"):
        infer.common_shock(estimate, p, "rate", region="country")
    for wrong in ({"law": "exact"}, {"neighbors": "near"}):
        with pytest.raises(DataError, match="PMG-OPTION"):
            infer.common_shock(estimate, p, "rate", **wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no borders"):
        infer.common_shock(estimate, p, "rate", neighbors="borders")
    bare = panel(d, region=None)
    with pytest.raises(DataError, match="neither borders nor regions"):
        infer.common_shock(estimate, bare, "rate")
    alone = panel(d.assign(district=d["area"]))
    with pytest.raises(DesignError, match="PMG-FEW-AREAS"):
        infer.common_shock(estimate, alone, "rate")
    with pytest.raises(DataError, match="PMG-DRAWS"):
        infer.common_shock(estimate, p, "rate", draws=0)
