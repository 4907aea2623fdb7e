"""Spells cannot be changed, keep nobody, count right, and say what they are without personal values."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from pmg_eval.errors import DataError
from pmg_eval.panel import Spells
from pmg_eval.panel import _spells_count as counting

SECRET = 8_123_456_789_012_345


def frame(n: int = 40, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    out = pd.DataFrame({"id": SECRET + np.arange(n), "days": rng.integers(1, 15, n), "new": rng.integers(0, 2, n)})
    out["why"] = np.where(out["new"] == 1, rng.choice(["recidivism", "death"], n), None)
    out["cohort"] = rng.choice([2019, 2020, 2021], n)
    out["sex"] = rng.choice(["boys", "girls"], n)
    out["start"] = np.maximum(out["days"] - rng.integers(1, 6, n), 0)
    return out


def make(df: Any = None, **roles: Any) -> Spells:
    return Spells(frame() if df is None else df, **{"person": "id", "exit": "days", "event": "new", **roles})


def code(df: Any = None, **roles: Any) -> str:
    with pytest.raises(DataError) as caught:
        make(df, **roles)
    return caught.value.code


def test_counts_are_those_of_a_loop() -> None:
    df = frame(200)
    data = make(df, cause="why", group="cohort", entry="start")
    cells = data.cells
    assert data.causes == ("death", "recidivism")
    assert data.groups["group"].tolist() == [2019, 2020, 2021]
    seen = 0
    for row in range(len(cells)):
        own = df[df["cohort"] == data.groups["group"][cells.group[row]]]
        today = own[own["days"] == cells.day[row]]
        assert cells.entered[row] == (own["start"] == cells.day[row]).sum()
        want = [(today["new"] == 0).sum(), (today["why"] == "death").sum(), (today["why"] == "recidivism").sum()]
        assert cells.exits[row].tolist() == want
        seen += len(today)
    assert seen == 200
    keys = list(zip(cells.group, cells.day, strict=True))
    assert keys == sorted(set(keys))


@pytest.mark.parametrize("entry", [None, "start"])
@pytest.mark.parametrize("weight", [None, "frequency", "survey"])
def test_sparse_counting_is_dense_counting(
    monkeypatch: pytest.MonkeyPatch, entry: str | None, weight: str | None
) -> None:
    df = frame(300, seed=1).assign(w=lambda d: 1 + d["id"] % 3)
    roles: dict[str, Any] = {"group": ["cohort", "sex"], "cause": "why"}
    roles |= {} if entry is None else {"entry": entry}
    roles |= {} if weight is None else {"weight": "w", "weight_kind": weight}
    dense = make(df, **roles).cells
    monkeypatch.setattr(counting, "_DENSE_PER_ROW", 0)
    monkeypatch.setattr(counting, "_DENSE_ANYWAY", 0)
    sparse = make(df, **roles).cells
    for name in ("group", "day", "entered", "exits", "entered_weight", "exits_weight"):
        left, right = getattr(dense, name), getattr(sparse, name)
        assert (left is None) == (right is None)
        if left is not None:
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype
    assert (dense.exits_weight is not None) == (weight == "survey")


def test_frozen() -> None:
    data = make()
    with pytest.raises(AttributeError, match="frozen"):
        data.time_unit = "weeks"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del data._core
    with pytest.raises(ValueError, match="read-only"):
        data.cells.exits[0, 0] = 9
    lent = data.groups
    lent.loc[0, "group"] = "changed"
    assert data.groups["group"].tolist() == ["all"]


def test_nobody_can_be_read_back() -> None:
    """No id, and nothing else of the table, is kept or shown."""
    df = frame().assign(name="Jansen", id=lambda d: d["id"].astype(str) + "-x")
    data = make(df, cause="why", group="cohort", cluster="sex")
    everything = repr(data) + data._repr_html_() + str(pickle.dumps(data)) + str(vars(data._core))
    assert "812345678901" not in everything
    assert "Jansen" not in everything
    assert data._core.person is None
    with pytest.raises(DataError) as caught:
        make(pd.concat([df, df.iloc[[3]]]), group="cohort")
    assert "812345678901" not in str(caught.value) + str(caught.value.problems)
    assert caught.value.where == ("row 40",)


def test_repr_says_what_they_are() -> None:
    text = repr(make(cause="why", group="cohort", time_unit="weeks"))
    assert "40 persons, 40 spells, weeks 0 to 14" in text
    assert "2019 (" in text
    assert "death (" in text
    assert "person=id" in text
    assert "<table>" in make()._repr_html_()


def test_copies() -> None:
    data = make(group="cohort")
    for twin in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):  # noqa: S301 (between our own processes)
        assert twin.fingerprint == data.fingerprint
        assert twin.causes == data.causes


@pytest.mark.parametrize(
    "to", [pl.from_pandas, pa.Table.from_pandas, lambda df: df.set_index(pd.Index(range(40)[::-1]))]
)
def test_containers(to: Any) -> None:
    df = frame()
    assert (
        make(to(df), cause="why", group="sex", entry="start").fingerprint
        == make(df, cause="why", group="sex", entry="start").fingerprint
    )


@pytest.mark.parametrize(
    "dtypes",
    [{"days": "int8"}, {"days": "uint16"}, {"days": "float32"}, {"days": "Int64"}, {"days": object, "new": object},
     {"new": bool}, {"new": "boolean"}, {"new": "Float64"}, {"why": "category", "cohort": "category"},
     {"days": "int64[pyarrow]", "why": "string[pyarrow]"}, {"id": str}, {"id": object}],
)  # fmt: skip
def test_dtypes(dtypes: dict[str, Any]) -> None:
    roles = {"cause": "why", "group": "cohort"}
    assert make(frame().astype(dtypes), **roles).fingerprint == make(**roles).fingerprint


def test_timedeltas_in_any_container() -> None:
    df = frame().assign(days=lambda d: pd.to_timedelta(d["days"], unit="D"))
    assert make(df).fingerprint == make().fingerprint
    assert make(pl.from_pandas(df)).fingerprint == make().fingerprint
    assert make(df.assign(days=df["days"].astype(object))).fingerprint == make().fingerprint
    assert code(df.assign(days=df["days"].mask(df["new"] == 1))) == "PMG-TIME-MISSING"


def test_input_is_not_changed() -> None:
    df = frame()
    before = df.copy(deep=True)
    make(df, cause="why", group=["cohort", "sex"], entry="start", cluster="sex").cells  # noqa: B018
    pd.testing.assert_frame_equal(df, before)


def test_ids_are_never_floats() -> None:
    df = frame().assign(id=2**60 + np.arange(40))
    assert make(df).n_persons == 40
    assert code(df.assign(id=df["id"].astype(float))) == "PMG-PERSON-TYPE"
    assert code(df.assign(id=[*range(39), "39"])) == "PMG-PERSON-MIXED"
    assert code(df.assign(id=df["id"] > 2**60)) == "PMG-PERSON-TYPE"
    assert code(df.assign(id=df["id"].astype("Int64").mask(df.index == 3))) == "PMG-PERSON-MISSING"
    assert code(df.assign(id=[*map(str, range(39)), "  "])) == "PMG-PERSON-MISSING"


def test_several_group_columns() -> None:
    data = make(group=["cohort", "sex"])
    groups = data.groups
    assert groups["group"].tolist() == [f"{c}, {s}" for c in (2019, 2020, 2021) for s in ("boys", "girls")]
    assert groups["cohort"].tolist() == [2019, 2019, 2020, 2020, 2021, 2021]
    assert data.group_columns == ("cohort", "sex")
    assert data.persons_per_group.tolist() == frame().groupby(["cohort", "sex"]).size().tolist()
    clash = pd.DataFrame({"id": [1, 2], "days": 1, "new": 1, "a": ["x, y", "x"], "b": ["z", "y, z"]})
    assert code(clash, group=["a", "b"]) == "PMG-GROUP"
    assert code(frame().assign(sex=None), group="sex") == "PMG-GROUP-MISSING"
    assert code(group=["sex", "sex"]) == "PMG-ROLES"


def test_unused_categories_and_groups_do_not_appear() -> None:
    df = frame().assign(sex=lambda d: d["sex"].astype(pd.CategoricalDtype(["other", "girls", "boys"])))
    assert make(df, group="sex").groups["group"].tolist() == ["boys", "girls"]
    one = df.assign(w=(df["sex"] == "girls").astype(int))
    data = make(one, group="sex", weight="w", weight_kind="frequency", cause="why")
    assert data.groups["group"].tolist() == ["girls"]
    assert data.persons_per_group.tolist() == [int(one["w"].sum())]
    only = one[one["w"] == 1]
    assert data.fingerprint == make(only, group="sex", cause="why").fingerprint


def test_causes() -> None:
    assert make().causes == ("new",)
    assert make(frame().rename(columns={"new": "time"}), event="time").causes == ("event",)
    assert code(cause="cohort") == "PMG-CAUSE-TYPE"
    marked = frame().assign(why=lambda d: d["why"].fillna("Censored"))
    assert make(marked, cause="why").fingerprint == make(cause="why").fingerprint
    assert code(marked.assign(new=1), cause="why") == "PMG-CAUSE-NAME"
    assert code(frame().assign(why=lambda d: d["why"].fillna("end")), cause="why") == "PMG-CAUSE-CENSORED"
    assert code(frame().assign(why=lambda d: d["why"].where(d["new"] == 0, "entered")), cause="why") == "PMG-CAUSE-NAME"
    blank = frame().assign(why=lambda d: d["why"].where(d["why"] != "death", "  "))
    assert code(blank, cause="why") == "PMG-CAUSE-MISSING"


def test_roles_and_options() -> None:
    assert code(exit="dayz") == "PMG-COLUMN"
    assert code(time_unit="hours") == "PMG-OPTION"
    assert code(same_day="half") == "PMG-OPTION"
    assert code(weight_kind="survey") == "PMG-ROLES"
    assert code(weight="days", weight_kind="survey") == "PMG-ROLES"
    assert code(entry="days") == "PMG-ROLES"
    assert code(frame().assign(w=0), weight="w", weight_kind="survey") == "PMG-WEIGHT"
    assert code(frame().assign(c=1), cluster="c") == "PMG-CLUSTER"
    assert code(frame().assign(c=None), cluster="c") == "PMG-CLUSTER"
    assert code(frame().to_dict("list")) == "PMG-FRAME"


def test_several_spells_of_a_person() -> None:
    rows = [(1, 0, 4, 0), (1, 7, 9, 0), (1, 9, 12, 1), (2, 0, 5, 1), (3, 1, 6, 0)]
    df = pd.DataFrame(rows, columns=["id", "start", "days", "new"])
    data = make(df, entry="start")
    assert (data.n_rows, data.n_persons, data.persons_per_group.tolist()) == (5, 3, [3])
    assert str(data.notes[0]) == (
        "[PMG-GAP] 1 person(s) have several spells, with gaps of 3 days in total, during which they are not at risk"
    )
    assert data.event_then_spell == ()
    again = make(df.assign(new=[0, 1, 1, 1, 0]), entry="start")
    assert again.event_then_spell == ("row 1",)
    assert data.rows().cluster.tolist() == [0, 0, 0, 1, 2]


def test_a_long_spell_overlaps_with_more_than_its_neighbor() -> None:
    df = pd.DataFrame([(1, 0, 20, 0), (1, 2, 3, 0), (1, 5, 6, 0), (2, 0, 3, 0)], columns=["id", "start", "days", "new"])
    with pytest.raises(DataError) as caught:
        make(df, entry="start")
    assert caught.value.code == "PMG-OVERLAP"
    assert caught.value.where == ("row 1", "row 2")


def test_index_cases_in_two_cohorts_are_two_clocks() -> None:
    df = pd.concat([frame().assign(cohort=2019), frame(seed=2).assign(cohort=2021)])
    data = make(df, group="cohort")
    assert (data.n_rows, data.n_persons) == (80, 40)
    assert data.persons_per_group.tolist() == [40, 40]
    assert data.notes[0].code == "PMG-PERSON-GROUPS"
    with pytest.raises(DataError, match="PMG-OVERLAP"):
        make(df)


def test_weights() -> None:
    df = frame().assign(w=lambda d: d["id"] % 4)
    data = make(df, weight="w", weight_kind="frequency")
    assert data.n_rows == (df["w"] > 0).sum()
    assert data.persons_per_group.tolist() == [df["w"].sum()]
    assert data.cells.exits.sum() == df["w"].sum()
    assert data.notes[0].code == "PMG-ZERO-WEIGHT"
    assert not data.needs_robust
    survey = make(df, weight="w", weight_kind="survey")
    assert survey.needs_robust
    assert survey.cells.exits.sum() == (df["w"] > 0).sum()
    assert survey.cells.exits_weight.sum() == df["w"].sum()
    assert survey.fingerprint != make(df.assign(w=df["w"] * 2), weight="w", weight_kind="survey").fingerprint


def test_rows_come_back_from_their_packing() -> None:
    df = frame()
    data = make(df, cause="why", group="cohort", entry="start")
    rows = data.rows()
    assert rows.leave.tolist() == df["days"].tolist()
    assert rows.entry.tolist() == df["start"].tolist()
    assert (rows.group + 2019).tolist() == df["cohort"].tolist()
    assert [(None, "death", "recidivism")[state] for state in rows.state] == df["why"].astype(object).where(
        df["new"] == 1, None
    ).tolist()
    assert make(df).rows().entry.tolist() == [-1] * 40


def test_late_entry_is_after_day_0() -> None:
    assert make(entry="start").late_entry
    assert not make().late_entry
    assert not make(frame().assign(start=0), entry="start").late_entry
