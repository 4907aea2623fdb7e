"""Leaving areas, waves and regions out: by hand, and by building the smaller panel from its table."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import pmg_eval as pe
from pmg_eval import did, resample
from pmg_eval.errors import DataError, DesignError
from unit.resample.panels import counts, panel_of, staggered


def overall(panel: pe.Panel, outcome: str) -> pe.Estimate:
    return did.imputation(panel, outcome).average()


def events(panel: pe.Panel, outcome: str) -> pe.Estimate:
    return did.group_time(panel, outcome).average(by="event_time")


def test_by_hand() -> None:
    """Changes 3, 1 and 2 of the treated, 0 of the others: mean 2; without each 1.5, 2.5 and 2."""
    rate = {0: [1, 4], 1: [2, 3], 2: [0, 2], 3: [1, 1], 4: [5, 5]}
    table = pd.DataFrame(
        [(i, t, 2 if i < 3 else 0, rate[i][t - 1]) for i in rate for t in (1, 2)],
        columns=["area", "year", "start", "rate"],
    )
    found = resample.leave_one_out(overall, panel_of(table), "rate")
    assert_allclose(found.estimates[0], [1.5, 2.5, 2.0])
    assert found.estimates.index.tolist() == [0, 1, 2]
    spread = found.spread().iloc[0]
    assert_allclose([spread["estimate"], spread["low"], spread["high"]], [2, 1.5, 2.5])
    assert (spread["without_low"], spread["without_high"], spread["changes_sign"]) == (0, 1, False)
    assert_allclose(found.to_frame()["change"], [-0.5, 0.5, 0.0], atol=1e-12)


def without(table: pd.DataFrame, column: str, value: object) -> pe.Panel:
    return panel_of(table[table[column] != value])


@pytest.mark.parametrize(("by", "column"), [("unit", "area"), ("cohort", "start"), ("region", "region")])
def test_the_same_as_a_panel_that_never_had_them(by: str, column: str) -> None:
    table = staggered(n=24, effect=1.0)
    found = resample.leave_one_out(events, panel_of(table, region="region"), "rate", by=by)
    treated = sorted(set(table.loc[table["start"] > 0, column]))
    assert found.estimates.index.tolist() == treated
    for name in treated[:4]:
        expected = events(without(table, column, name), "rate")
        row = found.to_frame().query("left_out == @name").set_index("event_time")["estimate"]
        assert_allclose(row.loc[expected.terms["event_time"]], expected.values, rtol=1e-9)
        assert row.drop(index=expected.terms["event_time"]).isna().all()
    lost = found.to_frame().query("status != ''")
    assert (lost["status"] == "no such term without it").all()
    assert (by == "cohort") == (len(lost) > 0)  # only one cohort is seen long after its start


def test_comparison_areas_too_are_the_rows_of_the_jackknife() -> None:
    panel = panel_of(staggered(n=16, starts={2004: 3, 2006: 3}))
    found = resample.leave_one_out(overall, panel, "rate", only="all")
    jackknife = resample.jackknife(overall, panel, "rate")
    assert_array_equal(found.estimates.to_numpy(), jackknife.details.leave_one_out.to_numpy())
    assert_array_equal(found.spread()["low"], jackknife.details.spread()["low"])
    treated = resample.leave_one_out(overall, panel, "rate")
    assert_array_equal(treated.estimates, found.estimates.iloc[:6])
    assert "leave_one_out(by='unit', only='treated')" in treated.provenance.steps


def test_the_sign_of_a_ratio_is_its_side_of_one() -> None:
    panel = panel_of(counts(n=20, starts={2004: 3}, effect=-0.1))
    poisson = partial(did.imputation, family="poisson")
    found = resample.leave_one_out(lambda p, y: poisson(p, y).average(), panel, "suspects")
    low, high = found.estimates[0].min(), found.estimates[0].max()
    assert found.spread()["changes_sign"].iloc[0] == (low < 1 < high)
    assert high < 1


def test_what_cannot_be_estimated_has_its_reason() -> None:
    panel = panel_of(staggered(n=6, starts={2004: 1}))
    found = resample.leave_one_out(overall, panel, "rate")
    assert found.estimates.isna().all(axis=None)
    assert found.to_frame()["status"].tolist() == list(found.refused.values())
    assert len(found.refused) == 1
    assert found.spread()["low"].isna().all()


def test_processes_and_checkpoints_do_not_matter(tmp_path: Path) -> None:
    panel = panel_of(staggered(n=12, starts={2004: 4}))
    one = resample.leave_one_out(events, panel, "rate")
    kept = resample.leave_one_out(events, panel, "rate", checkpoint=tmp_path / "job")
    again = resample.leave_one_out(events, panel, "rate", n_jobs=2, checkpoint=tmp_path / "job")
    for other in (kept, again):
        pd.testing.assert_frame_equal(one.estimates, other.estimates)
    with pytest.raises(DataError, match="another job"):
        resample.leave_one_out(events, panel, "rate", by="cohort", checkpoint=tmp_path / "job")


def test_refusals() -> None:
    panel = panel_of(staggered(n=12, starts={2004: 4}))
    with pytest.raises(DataError, match="only"):
        resample.leave_one_out(overall, panel, "rate", only="some")
    with pytest.raises(DataError, match="no unit label 'province'"):
        resample.leave_one_out(overall, panel, "rate", by="province")
    sections = pe.Panel(staggered(n=12, starts={2004: 4}), unit=None, time="year", cohort="start", never=0)
    with pytest.raises(DesignError, match="cross-sections"):
        resample.leave_one_out(lambda p, y: did.group_time(p, y).average(), sections, "rate")
    assert np.isfinite(resample.leave_one_out(overall, panel, "rate", by="cohort", only="all").full.values).all()
