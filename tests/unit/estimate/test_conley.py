"""Conley and region errors of difference-in-differences estimates, through the labels of a Panel."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from pmg_eval import did, resample
from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import kernels


def areas(seed: int = 0, n: int = 36) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    d = pd.DataFrame([(i, 2015 + t) for i in range(n) for t in range(7)], columns=["area", "year"])
    d["start"] = np.select([d["area"] < 6, d["area"] < 10], [2018, 2020], 0)
    d["latitude"] = (51 + 2 * rng.random(n))[d["area"]]
    d["longitude"] = (4 + 3 * rng.random(n))[d["area"]]
    d["province"] = d["area"] % 5
    d["rate"] = rng.normal(size=len(d)) + (d["start"] > 0) * (d["year"] >= d["start"])
    return d


def panel(d: pd.DataFrame, **roles: Any) -> pe.Panel:
    roles = {"cluster": ["latitude", "longitude"], **roles}
    return pe.Panel(d, unit="area", time="year", cohort="start", never=0, **roles)


def kilometers(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance from the chord through the earth (another formula than the kernel's)."""
    ends = [
        np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]) for lat, lon in np.deg2rad([a, b])
    ]
    return 2 * 6371.01 * float(np.arcsin(np.linalg.norm(ends[0] - ends[1]) / 2))


ESTIMATES = {
    "imputation": lambda p: did.imputation(p, "rate").average(),
    "imputation_event": lambda p: did.imputation(p, "rate").average(by="event_time"),
    "group_time": lambda p: did.group_time(p, "rate").average(),
    "jackknife": lambda p: resample.jackknife(lambda q, y: did.imputation(q, y).average(), p, "rate"),
}


@pytest.mark.parametrize("kernel", ["bartlett", "uniform"])
@pytest.mark.parametrize("name", ESTIMATES)
def test_conley_is_the_double_sum_over_areas(name: str, kernel: Any) -> None:
    d = areas()
    estimate = ESTIMATES[name](panel(d))
    psi = estimate.influence() / len(estimate.influence())
    units = psi.index.get_level_values("unit")
    place = d.drop_duplicates("area").set_index("area")[["latitude", "longitude"]].loc[units].to_numpy()
    value = psi.to_numpy()
    want = np.zeros((len(estimate), len(estimate)))
    for i in range(len(place)):
        for j in range(len(place)):
            distance = kilometers(tuple(place[i]), tuple(place[j]))
            weight = float(distance <= 60) * (1 - distance / 60 if kernel == "bartlett" else 1)
            want += weight * np.outer(value[i], value[j])
    assert_allclose(estimate.cov(pe.conley(60, kernel=kernel)), want, rtol=1e-9, atol=1e-12 * np.abs(want).max())


def test_distances_by_block_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = ESTIMATES["imputation_event"](panel(areas()))
    whole = estimate.cov(pe.conley(80))
    monkeypatch.setattr(kernels, "_PAIRS", 100)
    assert_allclose(estimate.cov(pe.conley(80)), whole, rtol=1e-12, atol=1e-15)


def test_a_distance_of_nothing_is_independence() -> None:
    estimate = ESTIMATES["group_time"](panel(areas()))
    assert_allclose(estimate.cov(pe.conley(1e-6)), estimate.cov(pe.independent()), rtol=1e-12)


def test_areas_at_one_place_are_one_cluster() -> None:
    """With every area at the seat of its province, a short cut-off clusters on provinces."""
    d = areas()
    seats = d.drop_duplicates("province").set_index("province")
    d["latitude"], d["longitude"] = (seats[name].loc[d["province"]].to_numpy() for name in ("latitude", "longitude"))
    estimate = ESTIMATES["imputation"](panel(d, region="province"))
    assert_allclose(estimate.cov(pe.conley(0.001)), estimate.cov(pe.clustered("region")), rtol=1e-12)
    assert_allclose(estimate.cov(pe.clustered("province")), estimate.cov(pe.clustered("region")), rtol=1e-15)


def test_known_distances() -> None:
    """One degree of latitude is 111.195 km; Amsterdam to Maastricht about 176 km."""
    amsterdam, maastricht = np.deg2rad([[52.3728, 4.8936]]), np.deg2rad([[50.8514, 5.6910]])
    assert kernels.great_circle_km(np.deg2rad([[52.0, 5.0]]), np.deg2rad([[53.0, 5.0]]))[0, 0] == pytest.approx(
        6371.01 * np.pi / 180
    )
    assert kernels.great_circle_km(amsterdam, maastricht)[0, 0] == pytest.approx(178, abs=3)


def test_refusals() -> None:
    d = areas()
    with pytest.raises(InferenceError, match="PMG-LABEL"):
        ESTIMATES["imputation"](panel(d, cluster="province")).assuming(pe.conley(50)).cov()
    d["latitude"], d["longitude"] = d["latitude"] * 2000, d["longitude"] * 1000  # meters of a national grid
    with pytest.raises(InferenceError, match=r"PMG-PLACE.*degrees"):
        ESTIMATES["imputation"](panel(d)).cov(pe.conley(50))
    with pytest.raises(DataError, match="PMG-CUTOFF"):
        pe.conley(0)
    with pytest.raises(DataError, match="PMG-OPTION"):
        pe.conley(50, kernel="epanechnikov")  # type: ignore[arg-type]
