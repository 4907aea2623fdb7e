"""Repeated cross-sections (``unit=None``): every row is its own unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pmg_eval.errors import DataError, DesignError
from pmg_eval.panel import Cell, Panel


def survey(rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    town = rng.integers(0, 10, rows)
    return pd.DataFrame(
        {
            "year": rng.integers(2019, 2024, rows),
            "town": town,
            "start": np.where(town < 3, 2021, np.where(town < 5, 2022, 0)),
            "victim": rng.random(rows),
            "w": rng.random(rows),
        }
    )


def make(frame: pd.DataFrame | None = None, **roles: Any) -> Panel:
    return Panel(
        survey() if frame is None else frame, **{"unit": None, "time": "year", "cohort": "start", "never": 0, **roles}
    )


def test_rows_are_units() -> None:
    frame = survey()
    panel = make(frame, weight="w", cluster="town")
    assert not panel.is_panel
    assert not panel.balanced
    assert panel.n_units == panel.n_rows == 200
    assert panel.units.tolist() == list(range(200))
    assert panel.row_unit.tolist() == list(range(200))
    assert panel.times[panel.row_time].tolist() == frame["year"].tolist()
    np.testing.assert_array_equal(panel.unit_weight, frame["w"])
    np.testing.assert_array_equal(panel.column("victim"), frame["victim"])
    assert panel.unit_labels["town"].tolist() == frame["town"].tolist()
    assert list(panel.row_labels.columns) == ["unit", "town", "time"]
    assert "repeated cross-sections" in repr(panel)


def test_no_unit_by_period_table() -> None:
    with pytest.raises(DesignError, match="PMG-CROSS-SECTION"):
        make().wide("victim")


def test_roles_that_need_units() -> None:
    frame = survey().assign(on=0)
    for roles in ({"cohort": None, "treatment": "on"}, {"neighbors": {1: [2]}}):
        with pytest.raises(DataError) as caught:
            make(frame, **roles)
        assert caught.value.code == "PMG-ROLES"


def test_missing_outcomes() -> None:
    frame = survey()
    frame.loc[[4, 9], "victim"] = np.nan
    with pytest.raises(DataError) as caught:
        make(frame).for_outcome("victim")
    assert caught.value.where == (Cell("row 4", frame["year"][4]), Cell("row 9", frame["year"][9]))
    for policy in ("pairwise", "drop_unit"):
        panel = make(frame, missing=policy).for_outcome("victim")
        assert panel.n_units == panel.n_rows == 198
        assert 4 not in panel.units
        assert [notice.code for notice in panel.notes] == ["PMG-CELLS-LOST"]
        np.testing.assert_array_equal(panel.column("victim"), frame["victim"].dropna())
        assert panel.row_unit.tolist() == list(range(198))


def test_select_and_weights() -> None:
    panel = make(weight="w", cluster="town").for_outcome("victim")
    mask = panel.unit_labels["town"].to_numpy() != 4
    part = panel.select(mask)
    np.testing.assert_array_equal(part.column("victim"), panel.column("victim")[mask])
    np.testing.assert_array_equal(part.weight, panel.weight[mask])
    assert 4 not in part.row_labels["town"].to_numpy()
    assert part.for_outcome("victim") is part
    doubled = part.with_weight(np.full(part.n_units, 2.0))
    np.testing.assert_array_equal(doubled.weight, 2 * part.weight)
    rows = part.select_rows(part.row_time > 0)
    assert rows.n_units == rows.n_rows < part.n_rows


def test_starts_inside_a_period() -> None:
    frame = survey().assign(start=lambda df: df["start"] + 0.5 * (df["start"] == 2021))
    dropped = make(frame, partial_period="drop")
    gone = (frame["start"] == 2021.5) & (frame["year"] == 2021)
    assert dropped.n_rows == 200 - gone.sum()
    assert set(dropped.cohort) == {2022.0, np.inf}
    shared = make(frame, partial_period="share")
    assert shared.share is not None
    assert set(shared.share) == {0.5, 1.0}


def test_problems_name_rows() -> None:
    frame = survey().astype({"start": float})
    frame.loc[7, "start"] = -3
    frame.loc[8, "w"] = -1
    with pytest.raises(DataError) as caught:
        make(frame, weight="w")
    assert {problem.code: problem.where for problem in caught.value.problems} == {
        "PMG-COHORT-RANGE": ("row 7",),
        "PMG-WEIGHT": (Cell("row 8", frame["year"][8]),),
    }
