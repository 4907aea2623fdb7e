"""Periods around the start left out: the same as other options of the estimators, and as a table without those rows."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from pmg_eval import did, resample
from pmg_eval.errors import DataError, DesignError
from unit.resample.panels import counts, panel_of, staggered


def by_time(estimate: pe.Estimate) -> pd.DataFrame:
    frame = estimate.average(by="event_time").to_frame()
    return frame.loc[frame["std_error"].notna()].set_index("event_time")[["estimate", "std_error"]]


@pytest.mark.parametrize("before", [1, 2])
def test_group_time_has_the_base_of_anticipation(before: int) -> None:
    """For never-treated controls the effects from the start on are those with the base so many periods earlier."""
    panel = panel_of(staggered(effect=1.0))
    estimator = partial(did.group_time, controls=did.NeverTreated())
    found = by_time(resample.donut(estimator, panel, "rate", before=before))
    want = by_time(estimator(panel, "rate", anticipation=before))
    assert_allclose(found.loc[0:], want.loc[0:], rtol=1e-10)
    assert not set(range(-before, 0)) & set(found.index)


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 0), (2, 2)])
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_the_same_as_a_table_without_those_rows(before: int, after: int, family: str) -> None:
    table = (staggered if family == "gaussian" else counts)(effect=0.5)
    outcome = "rate" if family == "gaussian" else "suspects"
    time = table["year"] - table["start"]
    cut = table[~((table["start"] > 0) & (time >= -before) & (time < after))]
    estimator = partial(did.imputation, family=family)
    found = resample.donut(estimator, panel_of(table), outcome, before=before, after=after)
    with warnings.catch_warnings():  # of missing cells, which there are none of when they are left out on purpose
        warnings.simplefilter("ignore", pe.PmgEvalWarning)
        want = estimator(panel_of(cut, missing="pairwise"), outcome)
    pd.testing.assert_frame_equal(by_time(found), by_time(want), rtol=1e-9)
    assert by_time(found).index.max() == 4  # event times stay what they are
    assert found.provenance.options["donut"] == {"before": before, "after": after}
    assert "were left out" in found.provenance.notes[-1]


def test_nothing_is_taken_from_the_comparison() -> None:
    panel = panel_of(staggered())
    seen = []

    def rows(panel: pe.Panel, outcome: str) -> pe.Estimate:
        seen.append((panel.n_rows, panel.n_units, panel.n_periods))
        return did.imputation(panel, outcome).average()

    resample.donut(rows, panel, "rate", before=1, after=1)
    assert seen == [(40 * 9 - 2 * 11, 40, 9)]


def test_areas_chosen_for_a_bad_period() -> None:
    """Bad years before the start, none of them the programme's doing: seen with the base in them, not without.

    Cohort 2004 starts inside the window, whose first year is then its only one that is left out.
    """
    table = staggered(n=60, starts={2004: 10, 2006: 10}, noise=0.0)
    bad = table["year"].isin([2003, 2004, 2005]) & (table["year"] < table["start"])
    table.loc[bad, "rate"] += 1.0
    panel = panel_of(table, selection_window=(2003, 2005))
    for estimator in (did.group_time, did.imputation):
        overall = lambda p, y, e=estimator: e(p, y).average(by="cohort")  # noqa: E731
        assert (overall(panel, "rate").values < -0.2).all()
        clean = resample.donut(overall, panel, "rate", before="selection_window")
        assert_allclose(clean.values, 0, atol=1e-9)
        assert not clean.terms["status"].str.contains("selection").any()
    plain = did.group_time(panel, "rate")
    assert plain.terms["status"].str.contains("selection window").any()
    assert clean.provenance.options["donut"] == {"before": "selection_window", "after": 0}


def test_areas_without_one_side_are_named() -> None:
    table = staggered(starts={2001: 3, 2005: 4})
    found = resample.donut(did.imputation, panel_of(table), "rate", before=1)
    assert any(
        "3 treated areas have no periods on one side of the hole: a000, a001, a002" in n for n in found.provenance.notes
    )
    assert set(found.average(by="cohort").terms["cohort"]) == {2005}


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"before": -1}, DataError, "before"),
        ({"before": 1.5}, DataError, "before"),
        ({"before": True}, DataError, "before"),
        ({"before": "window"}, DataError, "before"),
        ({"before": "selection_window"}, DataError, "no selection window"),
        ({"after": -1}, DataError, "after"),
        ({"before": 0}, DesignError, "no treated area has a period"),
        ({"before": 20}, DesignError, "both sides"),
        ({"after": 20}, DesignError, "both sides"),
    ],
)
def test_refusals(options: dict, error: type, what: str) -> None:
    with pytest.raises(error, match=what):
        resample.donut(did.imputation, panel_of(staggered(n=20, starts={2004: 4})), "rate", **options)


def test_numbers_of_numpy_are_numbers() -> None:
    panel = panel_of(staggered(n=20, starts={2004: 4}))
    found = resample.donut(did.imputation, panel, "rate", before=np.int64(1))
    assert found.to_dict()["provenance"]["options"]["donut"]["before"] == 1
