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


@pytest.fixture(scope="module")
def texas() -> pd.DataFrame:
    return demo.texas()


def test_texas_is_complete_and_has_one_treated_state(texas) -> None:
    assert list(texas)[:4] == ["state", "year", "prisoners", "expansion"]
    assert texas.groupby("state").size().tolist() == [16] * 51
    assert texas["year"].unique().tolist() == list(range(1985, 2001))
    none = texas.loc[texas["prisoners"] == 0]
    assert none["state"].unique().tolist() == ["Vermont"]  # as in the source
    assert texas["prisoners"].min() == 0
    on = texas.loc[texas["expansion"] == 1]
    assert on["state"].unique().tolist() == ["Texas"]
    assert on["year"].tolist() == list(range(1993, 2001))
    panel = pe.Panel(texas, unit="state", time="year", treatment="expansion")
    assert panel.balanced
    assert panel.units[np.isfinite(panel.cohort)].tolist() == ["Texas"]
    assert texas.columns[texas.isna().any()].tolist() == ["white_prisoners"]


def test_texas_doubled_its_prisoners(texas) -> None:
    by_year = texas.loc[texas["state"] == "Texas"].set_index("year")["prisoners"]
    assert by_year.loc[[1985, 1992, 1993, 1994, 1995, 2000]].tolist() == [14828, 27568, 29260, 40451, 55602, 61861]


@needs_shared
def test_texas_is_the_reference_file(texas) -> None:
    theirs = dataset("texas").sort_values(["state", "year"], ignore_index=True)
    ours = texas.sort_values(["state", "year"], ignore_index=True)
    names = {"bmprison": "prisoners", "wmprison": "white_prisoners", "ur": "unemployment", "perc1519": "aged_15_to_19",
                 "aidscapita": "aids", "income": "income", "poverty": "poverty", "black": "black", "alcohol": "alcohol",
                 "state": "state", "year": "year"}  # fmt: skip
    assert set(names.values()) | {"expansion"} == set(ours)
    for source, name in names.items():
        if name in ("state", "year", "prisoners", "white_prisoners", "income"):
            assert ours[name].equals(theirs[source].astype(ours[name].dtype))
        else:  # single precision in the source
            np.testing.assert_allclose(ours[name], theirs[source], rtol=2e-7)


@pytest.mark.parametrize("data", [demo.castle, demo.texas])
def test_without_the_package_the_error_names_the_extra(monkeypatch, data) -> None:
    monkeypatch.setitem(sys.modules, "causaldata", None)
    for name in ("castle", "texas"):
        monkeypatch.delitem(sys.modules, f"causaldata.{name}", raising=False)
    with pytest.raises(DataError) as caught:
        data()
    assert caught.value.code == "PMG-EXTRA"
    assert "pmg_eval[demo]" in caught.value.fix
