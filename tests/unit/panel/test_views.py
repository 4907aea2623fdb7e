"""A panel cannot be changed, its sub-panels agree with panels built anew, and it says nothing confidential."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_input.cases import base, clean
from pmg_eval.errors import DataError
from pmg_eval.panel import Notice, Panel


def make(frame: pd.DataFrame | None = None, **roles: Any) -> Panel:
    return Panel(base() if frame is None else frame, **{**clean().roles, **roles})


def rich() -> Panel:
    frame = base().assign(
        w=lambda df: 1.0 + df["id"] % 3, people=lambda df: 100.0 + df["year"], x=lambda df: df["y"] ** 2,
        area=lambda df: "R" + (df["id"] % 4).astype(str), team=lambda df: df["id"] + df["year"], part=0.5,
        amount=lambda df: df["d"] * 2.0,
    )  # fmt: skip
    gone = np.random.default_rng(1).random(len(frame)) < 0.03
    return make(
        frame[~gone], weight="w", exposure="people", cluster=["area", "team"], region="area", focus_share="part",
        dose="amount", missing="pairwise", neighbors={1: [2, 3], 5: [60]},
    )  # fmt: skip


def assert_equal(found: Panel, expected: Panel) -> None:
    assert found.units.equals(expected.units)
    assert found.times.equals(expected.times)
    for name in (
        "time_codes", "cohort", "share", "row_unit", "row_time", "weight", "unit_weight", "exposure", "dose",
        "focus_share", "contaminated_from", "neighbors", "always_treated",
    ):  # fmt: skip
        left, right = getattr(found, name), getattr(expected, name)
        assert (left is None) == (right is None), name
        if left is not None:
            np.testing.assert_array_equal(left, right, err_msg=name)
            assert left.dtype == right.dtype
    pd.testing.assert_frame_equal(found.frame, expected.frame)
    pd.testing.assert_frame_equal(found.unit_labels, expected.unit_labels)
    pd.testing.assert_frame_equal(found.row_labels, expected.row_labels)
    for name in ("y", "x"):
        if name in expected.frame:
            np.testing.assert_array_equal(found.wide(name), expected.wide(name))


def test_frozen() -> None:
    panel = make()
    with pytest.raises(AttributeError, match="frozen"):
        panel.cohort = np.zeros(60)  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        panel.extra = 1
    with pytest.raises(AttributeError, match="frozen"):
        del panel._core
    for array in (panel.cohort, panel.wide("y"), panel.weight, panel.row_unit, panel.time_codes, panel.column("y")):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_frames_are_lent() -> None:
    panel = make()
    for name in ("frame", "unit_labels", "row_labels"):
        frame = getattr(panel, name)
        frame.iloc[0, 0] = 999
        frame["new"] = 1
        assert "new" not in getattr(panel, name)
        assert getattr(panel, name).iloc[0, 0] != 999
    assert panel.frame["y"].to_numpy()[0] == panel.column("y")[0]


def test_later_changes_of_the_input_do_not_reach_the_panel() -> None:
    frame = base()
    panel = make(frame)
    expected = frame["y"].tolist()
    frame["y"] = 0.0
    frame.loc[:, "g"] = 7
    assert panel.column("y").tolist() == expected
    values = base()["y"].to_numpy().copy()
    shared = base().assign(y=values)
    panel = make(shared)
    values[:] = 0
    assert panel.column("y").tolist() == expected


def test_copies_and_pickles() -> None:
    panel = rich().for_outcome("y")
    for other in (copy.copy(panel), copy.deepcopy(panel), pickle.loads(pickle.dumps(panel))):  # noqa: S301
        assert_equal(other, panel)
        assert other.fingerprint == panel.fingerprint


@given(st.lists(st.booleans(), min_size=60, max_size=60).filter(lambda keep: any(keep)))
def test_select_equals_a_new_panel(keep: list[bool]) -> None:
    mask = np.array(keep)
    panel = rich()
    panel.wide("y")
    part = panel.select(mask)
    assert part.units.tolist() == panel.units[mask].tolist()
    np.testing.assert_array_equal(part.cohort, panel.cohort[mask])
    np.testing.assert_array_equal(part.wide("y"), panel.wide("y")[mask])
    np.testing.assert_array_equal(part.wide("x"), panel.wide("x")[mask])
    np.testing.assert_array_equal(part.frame["id"].to_numpy(), part.units.to_numpy()[part.row_unit])
    np.testing.assert_array_equal(part.frame["year"].to_numpy(), part.time_codes[part.row_time])
    pd.testing.assert_frame_equal(part.unit_labels, panel.unit_labels[mask].reset_index(drop=True))
    again = part.select(np.ones(part.n_units, dtype=bool))
    assert_equal(again, part)


def test_select_equals_validation_of_the_rows() -> None:
    panel = rich()
    mask = np.arange(60) % 7 != 3  # 60 is left out, and with it a border
    frame = panel.frame[mask[panel.row_unit]]
    fresh = make(
        frame.sample(frac=1, random_state=1), weight="w", exposure="people", cluster=["area", "team"], region="area",
        focus_share="part", dose="amount", missing="pairwise", neighbors={1: [2, 3]},
    )  # fmt: skip
    assert_equal(panel.select(mask), fresh)


def test_select_rows() -> None:
    panel = make()
    late = panel.select_rows(panel.time_codes[panel.row_time] >= 2014)
    assert late.times.tolist() == [2014, 2015, 2016, 2017, 2018]
    np.testing.assert_array_equal(late.wide("y"), panel.wide("y")[:, 3:])
    some = late.select_rows(late.row_unit > 4).select(np.arange(55) < 10)
    assert some.units.tolist() == list(range(6, 16))
    np.testing.assert_array_equal(some.wide("y"), panel.wide("y")[5:15, 3:])
    for bad in (np.ones(3, dtype=bool), np.ones(480)):
        with pytest.raises(DataError, match="PMG-SHAPE"):
            panel.select_rows(bad)


def test_with_cohort() -> None:
    panel = make().for_outcome("y")
    new = panel.cohort[::-1].copy()
    other = panel.with_cohort(new)
    new[:] = 0
    assert other.cohort.tolist() == panel.cohort[::-1].tolist()
    assert other.share is None
    assert panel.cohort[0] == 2016
    assert other.wide("y") is panel.wide("y")
    assert other.fingerprint != panel.fingerprint
    assert panel.with_cohort(panel.cohort, share=np.full(60, 0.5)).share is not None
    with pytest.raises(DataError, match="PMG-SHAPE"):
        panel.with_cohort(np.zeros(3))


def test_with_weight() -> None:
    panel = rich()
    factor = np.linspace(0, 2, 60)
    other = panel.with_weight(factor)
    np.testing.assert_array_equal(other.unit_weight, panel.unit_weight * factor)
    np.testing.assert_array_equal(other.weight, panel.weight * factor[panel.row_unit])
    with pytest.raises(DataError, match="PMG-SHAPE"):
        panel.with_weight(np.ones((60, 1)))


def test_wide_rows_and_columns() -> None:
    panel = rich()
    np.testing.assert_array_equal(panel.wide_rows(panel.column("y")), panel.wide("y"))
    assert panel.wide("y") is panel.wide("y")
    assert np.isnan(panel.wide("y")).sum() == 480 - panel.n_rows
    with pytest.raises(DataError, match="PMG-SHAPE"):
        panel.wide_rows(np.zeros(3))
    with pytest.raises(DataError, match="PMG-COLUMN-TYPE"):
        panel.wide("area")
    with pytest.raises(DataError, match="did you mean 'people'"):
        panel.column("poeple")


def test_fingerprint() -> None:
    panel = make().for_outcome("y")
    same = make(base().sample(frac=1, random_state=2).assign(more=1).astype({"id": "int32"})).for_outcome("y")
    assert same.fingerprint == panel.fingerprint
    assert len(panel.fingerprint) == 64
    frame = base()
    frame.loc[0, "y"] += 1e-9
    different = [
        make(frame).for_outcome("y"),
        make(base().assign(id=lambda df: df["id"] + 1)).for_outcome("y"),
        make(),
        make().for_outcome("y", ["d"]),
        panel.with_cohort(panel.cohort + 1),
        panel.with_weight(np.full(60, 2.0)),
        make(base().assign(kind="a")).for_outcome("y", ["kind"]),
        make(base().assign(kind="b")).for_outcome("y", ["kind"]),
    ]
    assert len({panel.fingerprint, *(other.fingerprint for other in different)}) == len(different) + 1


def test_repr() -> None:
    panel = make(base().query("year != 2013").assign(secret=123456.5)).for_outcome("y")
    text = repr(panel)
    for part in ("60 units x 7 periods (2011 to 2018), 420 rows", "balanced", "2016 (20), 2018 (20)", "PMG-GAP", "y"):
        assert part in text
    assert "123456" not in text
    assert "never treated (20)" in panel._repr_html_()
    assert "not balanced" in repr(rich())
    assert "3 more" in repr(make(base().assign(g=lambda df: 2011 + df["id"] % 15)))


def test_html_is_escaped() -> None:
    name = '<script>"&'
    panel = make(base().rename(columns={"id": name}), unit=name)
    html = panel._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;&quot;&amp;" in html


def test_notice_is_readable() -> None:
    assert str(Notice("PMG-GAP", "a gap", (1,))) == "[PMG-GAP] a gap"


def test_plain_pandas_does_not_import_narwhals() -> None:
    code = (
        "import sys, pandas as pd\n"
        "from pmg_eval.panel import Panel\n"
        "df = pd.DataFrame({'u': [1, 1, 2, 2], 't': [1, 2, 1, 2], 'g': [2, 2, 0, 0], 'y': [1., 2., 3., 5.]})\n"
        "Panel(df, unit='u', time='t', cohort='g', never=0).for_outcome('y')\n"
        "for name in ('narwhals', 'polars'):\n"
        "    if name in sys.modules: raise SystemExit(name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_slices_are_fast() -> None:
    units, periods = 340, 14
    frame = pd.DataFrame({"id": np.repeat(np.arange(units), periods), "year": np.tile(np.arange(periods), units)})
    frame["g"] = np.where(frame["id"] < 30, 9, np.inf)
    frame["y"] = np.random.default_rng(0).normal(size=len(frame))
    panel = Panel(frame, unit="id", time="year", cohort="g").for_outcome("y")
    panel.wide("y")
    mask = np.arange(units) != 7
    for call in (
        lambda: panel.select(mask).wide("y"),
        lambda: panel.with_cohort(panel.cohort),
        lambda: panel.with_weight(np.ones(units)),
    ):
        best = min(_seconds(call) for _ in range(20))
        assert best < 1e-3


def _seconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
