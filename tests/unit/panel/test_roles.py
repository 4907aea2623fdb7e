"""Each role: what is accepted, what it becomes, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from pmg_eval.errors import DataError, DesignError
from pmg_eval.panel import Cell, Panel


def table(**columns: Any) -> pd.DataFrame:
    """Units A (starts 2022), B (starts 2023), C and D (never) in 2021-2023; ``columns`` are per unit or per row."""
    frame = pd.DataFrame(
        {
            "area": np.repeat(["A", "B", "C", "D"], 3),
            "year": np.tile([2021, 2022, 2023], 4),
            "wave": np.repeat([2022, 2023, 0, 0], 3),
            "y": np.arange(12.0) ** 1.5,
        }
    )
    for name, values in columns.items():
        frame[name] = np.repeat(np.asarray(values), 3) if len(values) == 4 else values
    return frame


def panel(frame: pd.DataFrame | None = None, **roles: Any) -> Panel:
    return Panel(
        table() if frame is None else frame, **{"unit": "area", "time": "year", "cohort": "wave", "never": 0, **roles}
    )


def problems(frame: Any = None, **roles: Any) -> dict[str, tuple[Any, ...]]:
    with pytest.raises(DataError) as caught:
        panel(frame, **roles)
    return {problem.code: problem.where for problem in caught.value.problems}


def test_attributes() -> None:
    p = panel()
    assert p.is_panel
    assert p.balanced
    assert (p.n_units, p.n_periods, p.n_rows) == (4, 3, 12)
    assert p.units.tolist() == ["A", "B", "C", "D"]
    assert p.times.tolist() == [2021, 2022, 2023]
    assert p.time_codes.dtype == np.int64
    assert p.cohort.tolist() == [2022, 2023, np.inf, np.inf]
    assert p.share is None
    assert p.weight.tolist() == [1.0] * 12
    assert p.exposure is None
    assert p.dose is None
    assert p.focus_share is None
    assert p.neighbors is None
    assert p.freq is None
    assert p.contaminated_from.tolist() == [np.inf] * 4
    assert p.roles == {"unit": "area", "time": "year", "cohort": "wave", "missing": "error"}
    assert p.notes == ()
    assert p.time_label(2022) == 2022
    assert p.wide("y").shape == (4, 3)


def test_cohort_or_treatment_but_not_both() -> None:
    frame = table(on=[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    both = panel(frame, cohort=None, treatment="on")
    assert both.cohort.tolist() == [2022, 2023, np.inf, np.inf]
    assert list(problems(frame, treatment="on")) == ["PMG-ROLES"]
    assert list(problems(frame, cohort=None)) == ["PMG-ROLES"]
    assert list(problems(frame, cohort="year")) == ["PMG-ROLES", "PMG-COHORT-VARIES"]


def test_treatment_path() -> None:
    path = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    for values in (np.array(path, dtype=bool), np.array(path, dtype="uint8"), np.array(path, dtype=object)):
        assert panel(table(on=values), cohort=None, treatment="on").cohort[0] == 2022
    assert problems(table(on=[0, 1, 0, *path[3:]]), cohort=None, treatment="on") == {"PMG-REVERSAL": ("A",)}
    codes = problems(table(on=[1, 2, 2, *path[3:]]), cohort=None, treatment="on")
    assert codes == {"PMG-TREATMENT-CODES": (Cell("A", 2022), Cell("A", 2023))}
    assert list(problems(table(on=[np.nan, 1, 1, *path[3:]]), cohort=None, treatment="on")) == ["PMG-TREATMENT-CODES"]
    assert list(problems(table(on=["no"] * 12), cohort=None, treatment="on")) == ["PMG-TREATMENT-CODES"]


def test_treatment_start_that_nobody_saw_is_noted() -> None:
    path = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    frame = table(on=path)
    unseen = panel(frame.drop(index=1), cohort=None, treatment="on")
    assert unseen.cohort[0] == 2023
    assert [(notice.code, notice.units) for notice in unseen.notes] == [("PMG-START-UNSEEN", ("A",))]
    entered = panel(frame.drop(index=0), cohort=None, treatment="on")
    assert [notice.units for notice in entered.notes] == [("A",)]
    always = panel(frame.assign(on=[1, 1, 1, *path[3:]]), cohort=None, treatment="on")
    assert [notice.code for notice in always.notes] == ["PMG-ALWAYS-TREATED"]


def test_duplicates_are_named() -> None:
    frame = pd.concat([table(), table().iloc[[4, 4]]])
    assert problems(frame) == {"PMG-DUPLICATE": (Cell("B", 2022),)}
    assert str(Cell("B", 2022)) == "B in 2022"


def test_missing_keys_are_row_numbers() -> None:
    frame = table()
    frame.loc[2, "area"] = None
    frame.loc[5, "area"] = " "
    frame["year"] = frame["year"].astype(float)
    frame.loc[7, "year"] = np.nan
    assert problems(frame) == {"PMG-UNIT-MISSING": ("row 2", "row 5"), "PMG-TIME-MISSING": ("row 7",)}


def test_missing_keys_do_not_hide_other_problems() -> None:
    frame = table(w=np.where(np.arange(12) == 8, -1.0, 1.0))
    frame.loc[0:2, "area"] = None
    found = problems(frame, weight="w")
    assert found["PMG-WEIGHT"] == (Cell("C", 2023),)
    frame["year"] = frame["year"].astype(str)
    found = problems(frame, weight="w")
    assert set(found) == {"PMG-UNIT-MISSING", "PMG-TIME-TYPE", "PMG-WEIGHT"}
    assert found["PMG-WEIGHT"] == ("row 8",)
    assert list(problems(table().assign(year=np.nan))) == ["PMG-TIME-MISSING"]


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        ([1, "1", 2, 3], "PMG-UNIT-MIXED"),
        ([1, 1.5, 2, 3], "PMG-UNIT-MIXED"),
        ([1, True, 2, 3], "PMG-UNIT-MIXED"),
        ([1.0, 2.0, 3.0, 4.5], "PMG-UNIT-TYPE"),
        ([1.0, 2.0, 3.0, 2.0**53], "PMG-UNIT-TYPE"),
        ([1, 2, 3, 2**70], "PMG-UNIT-TYPE"),
        ([pd.Timestamp("2020")] * 4, "PMG-UNIT-TYPE"),
        ([True, False, True, False], "PMG-UNIT-TYPE"),
        ([b"A", b"B", b"C", b"D"], "PMG-UNIT-TYPE"),
    ],
)
def test_ids_that_are_refused(ids: list[Any], code: str) -> None:
    frame = table().assign(area=pd.Series([ids[place // 3] for place in range(12)], dtype=object))
    assert list(problems(frame)) == [code]
    if code == "PMG-UNIT-TYPE":
        assert list(problems(frame.assign(area=frame["area"].infer_objects()))) == [code]


def test_ids_keep_their_value() -> None:
    big = [2**63 + 5, 2**63 + 6, 2**63 + 7, 2**63 + 8]
    frame = table().assign(area=np.repeat(np.array(big, dtype="uint64"), 3))
    assert panel(frame).units.tolist() == big
    as_objects = pd.Series([value for value in big for _ in range(3)], dtype=object)
    assert panel(frame.assign(area=as_objects)).units.tolist() == big
    nullable = pd.Series(np.repeat(np.array([2**60 + 1, 2**60, 2**60 + 3, 2**60 + 2]), 3), dtype="Int64")
    p = panel(table().assign(area=nullable))
    assert p.units.tolist() == [2**60, 2**60 + 1, 2**60 + 2, 2**60 + 3]
    assert p.cohort.tolist() == [2023, 2022, np.inf, np.inf]


def test_polars_ids_with_gaps_do_not_become_floats() -> None:
    ids: list[int | None] = [2**53 + 1, 2**53, 2**53 + 2, 2**53 + 3]
    frame = table()
    columns = {name: frame[name].tolist() for name in ("year", "wave", "y")}
    good = pl.DataFrame({"area": [ids[place // 3] for place in range(12)], **columns})
    assert panel(good).units.tolist() == sorted(i for i in ids if i is not None)  # type: ignore[arg-type]
    ids[3] = None
    assert problems(pl.DataFrame({"area": [ids[place // 3] for place in range(12)], **columns})) == {
        "PMG-UNIT-MISSING": ("row 9", "row 10", "row 11")
    }


def test_weight() -> None:
    p = panel(table(w=[2, 0, 1, 1]), weight="w")
    assert p.unit_weight.tolist() == [2, 0, 1, 1]
    varying = panel(table(w=[3, 4, 5] + [1] * 9), weight="w")
    assert varying.unit_weight.tolist() == [3, 1, 1, 1]
    assert varying.weight[:3].tolist() == [3, 4, 5]
    assert [(notice.code, notice.units) for notice in varying.notes] == [("PMG-WEIGHT-VARIES", ("A",))]
    for bad in ([1, -1, 1, 1], [1, np.nan, 1, 1], [1, np.inf, 1, 1], [0, 0, 0, 0], ["a", "b", "c", "d"]):
        assert list(problems(table(w=bad), weight="w")) == ["PMG-WEIGHT"]


def test_exposure_and_dose() -> None:
    p = panel(table(people=[10, 20, 30, 40], dose=[0.5, 1, 0, 0]), exposure="people", dose="dose")
    assert p.exposure is not None
    assert p.exposure.dtype == np.float64
    assert p.dose is not None
    assert p.dose[:3].tolist() == [0.5] * 3
    for bad in ([0, 1, 1, 1], [-1, 1, 1, 1], [np.inf, 1, 1, 1], ["1", "2", "3", "4"]):
        assert list(problems(table(people=bad), exposure="people")) == ["PMG-EXPOSURE"]
    for bad in ([-1, 1, 1, 1], [np.nan, 1, 1, 1]):
        assert list(problems(table(dose=bad), dose="dose")) == ["PMG-DOSE"]


def test_focus_share() -> None:
    p = panel(table(share=[0.2, 1, np.nan, np.nan]), focus_share="share")
    assert p.focus_share is not None
    np.testing.assert_array_equal(p.focus_share, [0.2, 1, np.nan, np.nan])
    for bad in ([0, 1, 1, 1], [1.2, 1, 1, 1], [np.nan, 1, 1, 1], [0.1, 0.2, 0.2] + [1] * 9):
        assert list(problems(table(share=bad), focus_share="share")) == ["PMG-FOCUS-SHARE"]


def test_labels() -> None:
    frame = table(police=["N", "N", "S", "S"], team=list("aabbbbccceee"), province=[1, 1, 2, 2])
    p = panel(frame, cluster=["police", "team"], region="province")
    assert list(p.unit_labels.columns) == ["unit", "area", "province", "region", "police"]
    assert p.unit_labels["police"].tolist() == ["N", "N", "S", "S"]
    assert p.unit_labels["unit"].tolist() == p.units.tolist()
    assert list(p.row_labels.columns) == ["unit", "area", "province", "region", "police", "time", "team"]
    assert p.row_labels["time"].tolist() == frame["year"].tolist()
    assert p.row_labels["team"].tolist() == frame["team"].tolist()
    assert [(notice.code, notice.units) for notice in p.notes] == [("PMG-LABEL-VARIES", ("A",))]
    assert p.roles["cluster"] == ("police", "team")
    assert list(problems(table(police=["N", None, "S", "S"]), cluster="police")) == ["PMG-CLUSTER"]
    assert list(problems(table(police=["N", None, "S", "S"]), region="police")) == ["PMG-REGION"]
    assert list(problems(cluster="polise")) == ["PMG-COLUMN"]


def test_label_columns_keep_the_order_of_units() -> None:
    frame = table(police=["N", "E", "S", "W"]).sample(frac=1, random_state=1)
    assert panel(frame, cluster="police").unit_labels["police"].tolist() == ["N", "E", "S", "W"]


def test_neighbors() -> None:
    expected = [[0, 1], [1, 0], [1, 2], [2, 1]]
    mapping = panel(neighbors={"A": ["B"], "B": ["A", "C"], "C": ["B"], "D": []})
    assert mapping.neighbors is not None
    assert mapping.neighbors.tolist() == expected
    assert mapping.notes == ()
    pairs = panel(neighbors=pd.DataFrame({"left": ["A", "C"], "right": ["B", "B"]}))
    assert pairs.neighbors is not None
    assert pairs.neighbors.tolist() == expected
    assert [notice.code for notice in pairs.notes] == ["PMG-NEIGHBORS-ONE-WAY"]
    kept = pairs.select(np.array([False, True, True, True]))
    assert kept.neighbors is not None
    assert kept.neighbors.tolist() == [[0, 1], [1, 0]]
    nobody = panel(neighbors={})
    assert nobody.neighbors is not None
    assert nobody.neighbors.shape == (0, 2)
    for bad in ({"A": ["A"]}, {"A": "B"}, {"A": 1}, pd.DataFrame({"one": ["A"]}), 3):
        assert list(problems(neighbors=bad)) == ["PMG-NEIGHBORS"]


def test_unknown_neighbors_are_named_once() -> None:
    assert set(problems(neighbors={"A": ["Z", "B"], "Y": ["B", "Z"]})["PMG-NEIGHBORS"]) == {"Z", "Y"}
    integers = table().assign(area=np.repeat([1, 2, 3, 4], 3))
    assert problems(integers, neighbors={1: [2, "3"]}) == {"PMG-NEIGHBORS": ("3",)}


def test_contaminated_from() -> None:
    p = panel(table(other=[np.nan, np.nan, 2022, np.inf]), contaminated_from="other")
    assert p.contaminated_from.tolist() == [np.inf, np.inf, 2022, np.inf]
    inside = panel(table(other=[np.nan, np.nan, 2022.5, 0]), contaminated_from="other")
    assert inside.contaminated_from.tolist() == [np.inf, np.inf, 2022, np.inf]
    assert [notice.code for notice in inside.notes] == ["PMG-CONTAMINATED-PARTIAL"]
    assert problems(table(other=[2022, 2023, 2023] + [0] * 9), contaminated_from="other") == {
        "PMG-CONTAMINATED": ("A",)
    }
    assert list(problems(table(other=[-4.0, 0, 0, 0]), contaminated_from="other")) == ["PMG-COHORT-RANGE"]
    assert list(problems(table(other=["x", "", "", ""]), contaminated_from="other")) == ["PMG-COHORT-TYPE"]


def test_selection_window() -> None:
    assert panel(selection_window=(2019, 2021)).selection_window == (2019, 2021)
    for bad in ((2021, 2019), (2019,), "2019", ("2019", "2020"), (2019.5, 2020)):
        assert list(problems(selection_window=bad)) == ["PMG-SELECTION-WINDOW"]


def test_a_selection_window_beside_the_data() -> None:
    assert panel(selection_window=(2021, 2023)).notes == ()
    for window in ((2019, 2021), (2022, 2030)):
        (notice,) = panel(selection_window=window).notes
        assert notice.code == "PMG-SELECTION-WINDOW-PARTIAL"
        assert f"{window[0]} to {window[1]} lies partly outside the observed periods (2021 to 2023)" in notice.text
    for window in ((2016, 2019), (2024, 2024), (201, 202)):
        with pytest.raises(DataError, match=r"lies outside the observed periods \(2021 to 2023\)") as caught:
            panel(selection_window=window)
        assert caught.value.code == "PMG-SELECTION-WINDOW"


def test_labels_that_differ_in_blanks_only_are_named() -> None:
    frame = table()
    frame["area"] = frame["area"].replace({"A": "0001", "B": "0001 ", "C": "\t2", "D": "2"})
    with pytest.raises(DataError) as caught:
        panel(frame)
    (problem,) = caught.value.problems
    assert problem.code == "PMG-UNIT-BLANKS"
    assert problem.where == ('"0001"', '"0001 "', '"\t2"', '"2"')
    assert problems(frame.assign(area=frame["area"].astype("category"))) == {"PMG-UNIT-BLANKS": problem.where}
    padded = table().assign(area=lambda df: df["area"] + "  ")  # of fixed width: nothing to confuse
    assert panel(padded).units.tolist() == ["A  ", "B  ", "C  ", "D  "]


def test_clusters_and_regions_that_differ_in_blanks_only() -> None:
    frame = table(province=["N", "N ", "S", "S"])
    assert problems(frame, cluster="province") == {"PMG-CLUSTER": ('"N"', '"N "')}
    assert problems(frame, region="province") == {"PMG-REGION": ('"N"', '"N "')}


def test_text_in_a_column_of_numbers_is_located() -> None:
    people = pd.Series(["100"] * 11 + ["<5"], dtype=object)
    with pytest.raises(DataError, match=r'in 1 cell\(s\): "<5"') as caught:
        panel(table(people=people), exposure="people")
    assert caught.value.where == (Cell("D", 2023),)
    assert list(problems(table(people=pd.Series(["100"] * 12)), exposure="people")) == ["PMG-EXPOSURE"]


def test_options() -> None:
    assert list(problems(missing="drop")) == ["PMG-OPTION"]
    assert list(problems(partial_period="half")) == ["PMG-OPTION"]
    assert list(problems(freq="W")) == ["PMG-FREQ"]
    assert list(problems(time=None)) == ["PMG-ROLES"]


def test_columns() -> None:
    with pytest.raises(DataError, match="did you mean 'wave'") as caught:
        panel(cohort="waves")
    assert caught.value.code == "PMG-COLUMN"
    with pytest.raises(DataError, match="did you mean 'y'"):
        panel(weight="Y")
    with pytest.raises(DataError, match="reset_index"):
        panel(table().set_index("area"))
    with pytest.raises(DataError, match="available: area, year, wave, y"):
        panel(weight=["y"])


@pytest.mark.parametrize("given", [{"area": [1]}, [1, 2], None, np.zeros((3, 3)), "file.csv", pl.LazyFrame({"a": [1]})])
def test_not_a_table(given: Any) -> None:
    with pytest.raises(DataError) as caught:
        panel(given if given is not None else object())  # type: ignore[arg-type]
    assert caught.value.code == "PMG-FRAME"


def test_design() -> None:
    for waves, code in (
        ([0, 0, 0, 0], "PMG-NO-TREATED"),
        ([2030, 2030, 0, 0], "PMG-NO-TREATED"),
        ([2020, 2020, 0, 0], "PMG-NO-TREATED"),
        ([2022, 2022, 2022, 2022], "PMG-NO-CONTROL"),
        ([2022, 2022, 2022, 2020], "PMG-NO-CONTROL"),
    ):
        with pytest.raises(DesignError) as caught:
            panel(table().assign(wave=np.repeat(waves, 3)))
        assert caught.value.code == code
    later = panel(table().assign(wave=np.repeat([2022, 2022, 2022, 2023], 3)))
    assert [notice.code for notice in later.notes] == ["PMG-NO-NEVER"]


def test_cohort_text_is_refused_but_a_text_sentinel_is_not() -> None:
    assert list(problems(table().assign(wave=np.repeat(["2022", "2023", "0", "0"], 3)))) == ["PMG-COHORT-TYPE"]
    mixed = pd.Series(np.repeat(np.array([2022, 2023, "never", "never"], dtype=object), 3), dtype=object)
    assert panel(table().assign(wave=mixed), never="never").cohort.tolist() == [2022, 2023, np.inf, np.inf]


def test_unhashable_values() -> None:
    lists = pd.Series([[1]] * 12)
    assert list(problems(table().assign(year=lists))) == ["PMG-TIME-TYPE"]
    assert list(problems(table().assign(wave=lists))) == ["PMG-COHORT-TYPE"]
    assert list(problems(table().assign(area=lists))) == ["PMG-UNIT-MIXED"]
    assert list(problems(table().assign(c=lists), cluster="c")) == ["PMG-CLUSTER"]
