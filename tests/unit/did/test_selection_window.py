"""Areas chosen on a bad period: estimates that compare with that period say so."""

import numpy as np
import pandas as pd

import pmg_eval as pe
from pmg_eval import did


def panel(window: tuple[int, int] | None) -> pe.Panel:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        [(i, t, 2016 if i < 6 else 0, rng.normal()) for i in range(30) for t in range(2010, 2019)],
        columns=["area", "year", "start", "y"],
    )
    return pe.Panel(frame, unit="area", time="year", cohort="start", never=0, selection_window=window)


def test_cells_with_their_base_in_the_window_are_marked() -> None:
    estimate = did.group_time(panel((2014, 2015)), "y")
    marked = estimate.terms["status"] == "base in selection window"
    post = estimate.terms["event_time"] >= 0
    assert marked[post].all()
    assert any("selection window (2014 to 2015)" in note for note in estimate.provenance.notes)
    # the averages keep the mark
    assert (estimate.average().terms["status"] == "base in selection window").all()


def test_moving_the_base_before_the_window_removes_the_mark() -> None:
    donut = did.group_time(panel((2014, 2015)), "y", anticipation=2)
    post = donut.terms["event_time"] >= 0
    assert (donut.terms["status"][post] == "").all()


def test_without_a_window_nothing_is_marked_and_numbers_are_the_same() -> None:
    plain, marked = did.group_time(panel(None), "y"), did.group_time(panel((2014, 2015)), "y")
    assert (plain.terms["status"] == "").all()
    assert np.array_equal(plain.values, marked.values)
