"""The demo data: counts recovered from rates, and what they show."""

import sys

import numpy as np
import pandas as pd
import pytest

import pmg_eval as pe
from _shared import dataset, needs_shared
from pmg_eval import demo, did
from pmg_eval.errors import DataError


@pytest.fixture(scope="module")
def castle() -> pd.DataFrame:
    return demo.castle()


def test_a_complete_panel_of_whole_numbers(castle) -> None:
    assert list(castle) == ["state", "year", "homicides", "population", "law"]
    assert castle.groupby("state").size().tolist() == [11] * 50
    assert castle["year"].unique().tolist() == list(range(2000, 2011))
    assert "District of Columbia" not in set(castle["state"])
    assert all(castle[name].dtype == np.int64 for name in ("year", "homicides", "population", "law"))
    adopted = castle.loc[castle["law"] == 1].groupby("state")["year"].min()
    assert len(adopted) == 21
    assert adopted.between(2006, 2010).all()  # first full years
    assert adopted["Florida"] == 2006
    assert not castle.sort_values(["state", "year"]).groupby("state")["law"].diff().lt(0).any()


def test_populations_are_plausible(castle) -> None:
    people = castle.set_index(["state", "year"])["population"]
    assert people["California", 2010] == pytest.approx(37.3e6, rel=0.02)
    assert people["Wyoming", 2000] == pytest.approx(0.494e6, rel=0.05)
    assert people.groupby("year").sum().between(270e6, 310e6).all()
    growth = castle.sort_values(["state", "year"]).groupby("state")["population"].pct_change().dropna()
    assert growth.abs().max() < 0.08


def test_all_rates_become_whole_counts() -> None:
    rng = np.random.default_rng(0)
    population = rng.integers(4e5, 3e7, 40).astype(float)
    counts = rng.poisson(population[:, None] * np.array([5e-5, 1e-3, 3e-3, 7e-3, 2e-2, 4e-3, 5e-5])) + 1
    rates = counts / population[:, None] * 1e5
    assert demo._population(rates, population * rng.uniform(0.85, 1.15, 40)).tolist() == population.tolist()


@needs_shared
def test_counts_are_those_of_the_reference_file(castle) -> None:
    theirs = dataset("castle_panel").sort_values(["sid", "year"])
    ours = castle.assign(sid=castle["state"].map({name: i + 1 for i, name in enumerate(demo._STATES)}))
    ours = ours.sort_values(["sid", "year"])
    assert ours["sid"].tolist() == theirs["sid"].tolist()
    assert ours["homicides"].tolist() == theirs["homicides"].tolist()
    gap = ours["population"].to_numpy() - theirs["population"].to_numpy()
    assert np.abs(gap).max() <= 1  # rates in single precision pin 37 million people down to three
    assert np.abs(gap / ours["population"]).max() < 1e-7


def test_it_is_ready_for_a_panel(castle) -> None:
    panel = pe.Panel(castle, unit="state", time="year", treatment="law", exposure="population")
    ratio = did.imputation(panel, "homicides", family="poisson").average()
    assert 1.0 < ratio.values[0] < 1.2


def test_without_the_package_the_error_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "causaldata", None)
    with pytest.raises(DataError) as caught:
        demo.castle()
    assert caught.value.code == "PMG-EXTRA"
    assert "pmg_eval[demo]" in caught.value.fix
