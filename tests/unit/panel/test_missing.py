"""The three policies, what they report, and what makes an outcome unusable."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bad_input.cases import base, clean
from pmg_eval.errors import DataError, DesignError, PmgEvalWarning, Problem
from pmg_eval.panel import Cell, Panel


def with_gaps(cells: list[tuple[int, int]], column: str = "y", value: Any = np.nan) -> pd.DataFrame:
    frame = base().assign(x=1.5, people=100.0)
    for unit, year in cells:
        frame.loc[(frame["id"] == unit) & (frame["year"] == year), column] = value
    return frame


def make(frame: pd.DataFrame, **roles: Any) -> Panel:
    return Panel(frame, **{**clean().roles, **roles})


def refused(frame: pd.DataFrame, outcome: str = "y", columns: tuple[str, ...] = (), **roles: Any) -> dict[str, Any]:
    with pytest.raises(DataError) as caught:
        make(frame, **roles).for_outcome(outcome, columns)
    return {problem.code: problem.where for problem in caught.value.problems}


def notices(panel: Panel) -> dict[str, str]:
    return {notice.code: notice.text for notice in panel.notes}


def test_error_lists_all_cells_of_all_kinds() -> None:
    frame = with_gaps([(1, 2012), (50, 2013)])
    frame.loc[(frame["id"] == 2) & (frame["year"] == 2014), "x"] = np.nan
    frame.loc[(frame["id"] == 3) & (frame["year"] == 2015), "people"] = np.nan
    frame = frame[~((frame["id"] == 4) & (frame["year"] == 2016))]
    assert refused(frame, columns=("x",), exposure="people") == {
        "PMG-OUTCOME-MISSING": (Cell(1, 2012), Cell(50, 2013)),
        "PMG-COVARIATE-MISSING": (Cell(2, 2014),),
        "PMG-EXPOSURE-MISSING": (Cell(3, 2015),),
        "PMG-ROW-ABSENT": (Cell(4, 2016),),
    }


def test_pairwise_keeps_what_is_observed() -> None:
    frame = with_gaps([(1, 2012), (50, 2013)])
    frame.loc[(frame["id"] == 2) & (frame["year"] == 2014), "x"] = np.nan
    panel = make(frame, missing="pairwise").for_outcome("y", ["x"])
    wide = panel.wide("y")
    assert (panel.n_units, panel.n_periods, panel.n_rows) == (60, 8, 477)
    assert np.argwhere(np.isnan(wide)).tolist() == [[0, 1], [1, 3], [49, 2]]
    assert not panel.balanced
    text = notices(panel)["PMG-CELLS-LOST"]
    assert text == "3 cell(s) not observed: treated 2 (2012: 1, 2014: 1); comparison 1 (2013: 1)"
    assert panel.notes[0].units == (1, 2, 50)
    assert len(panel.frame) == len(panel.row_labels) == 477
    assert panel.row_labels["time"].tolist() == panel.times[panel.row_time].tolist()
    assert panel.column("y").tolist() == panel.frame["y"].tolist()


def test_pairwise_drops_what_is_empty() -> None:
    gone = [(60, year) for year in range(2011, 2019)] + [(unit, 2013) for unit in range(1, 61)]
    panel = make(with_gaps(gone), missing="pairwise").for_outcome("y")
    assert panel.n_units == 59
    assert panel.times.tolist() == [2011, 2012, 2014, 2015, 2016, 2017, 2018]
    assert panel.balanced
    assert set(notices(panel)) == {"PMG-CELLS-LOST", "PMG-UNITS-LOST", "PMG-PERIODS-LOST"}
    assert panel.units.tolist() == list(range(1, 60))
    assert panel.unit_labels["unit"].tolist() == list(range(1, 60))


def test_drop_unit() -> None:
    panel = make(with_gaps([(1, 2012), (50, 2013), (50, 2014)]), missing="drop_unit").for_outcome("y")
    assert panel.balanced
    assert panel.n_units == 58
    assert notices(panel) == {
        "PMG-UNITS-LOST": "2 of 60 unit(s) left out because a cell is missing: 1 treated, 1 comparison"
    }
    period = [(unit, 2013) for unit in range(1, 61)]
    panel = make(with_gaps([*period, (1, 2012)]), missing="drop_unit").for_outcome("y")
    assert (panel.n_units, panel.n_periods) == (59, 7)
    with pytest.raises(DataError, match="PMG-COMPLETE"):
        make(with_gaps([(unit, 2011 + unit % 8) for unit in range(1, 61)]), missing="drop_unit").for_outcome("y")


def test_a_period_absent_for_everybody_is_not_missing() -> None:
    frame = base().query("year != 2014")
    for policy in ("error", "pairwise", "drop_unit"):
        assert make(frame, missing=policy).for_outcome("y").n_rows == 420


def test_cells_left_out_by_declaration_are_not_missing() -> None:
    frame = base().assign(g=lambda df: df["g"].astype(float).replace(2016.0, 2016.5))
    for policy in ("error", "pairwise", "drop_unit"):
        panel = make(frame, missing=policy, partial_period="drop").for_outcome("y")
        assert panel.n_rows == 460
        assert panel.n_units == 60
    assert panel.select(np.arange(60) < 25).for_outcome("d").n_rows == 180
    # the base period of these units is the one before the period left out
    later = frame[~((frame["id"] == 1) & (frame["year"] == 2015))]
    with pytest.warns(PmgEvalWarning, match="PMG-MISSING-BASE.*where: 1"):
        make(later, missing="pairwise", partial_period="drop").for_outcome("y")


def test_missing_base_and_arms_warn() -> None:
    with pytest.warns(PmgEvalWarning) as caught:
        make(with_gaps([(1, 2015), (21, 2015), (22, 2017)]), missing="pairwise").for_outcome("y")
    (item,) = caught.list
    assert isinstance(item.message, PmgEvalWarning)
    assert item.message.code == "PMG-MISSING-BASE"
    assert item.message.where == (1, 22)
    assert item.filename == __file__
    cells = [(unit, year) for unit in range(1, 31) for year in (2011, 2012)]
    with pytest.warns(PmgEvalWarning, match="PMG-MISSING-ARM"):
        make(with_gaps(cells), missing="pairwise").for_outcome("y")
    with pytest.warns(PmgEvalWarning, match="PMG-MISSING-ARM.*missing units differ"):
        make(with_gaps(cells), missing="drop_unit").for_outcome("y")
    both = [(unit, 2011) for unit in (*range(1, 9), *range(41, 45))]
    make(with_gaps(both), missing="pairwise").for_outcome("y")  # equal shares: nothing to say


def test_what_is_left_must_answer_the_question() -> None:
    everybody = [(unit, year) for unit in range(1, 41) for year in range(2011, 2019)]
    with pytest.raises(DesignError, match="PMG-NO-TREATED"):
        make(with_gaps(everybody), missing="pairwise").for_outcome("y")
    controls = [(unit, year) for unit in range(21, 61) for year in range(2011, 2019)]
    with pytest.raises(DesignError, match="PMG-NO-CONTROL"):
        make(with_gaps(controls), missing="drop_unit").for_outcome("y")
    years = [(unit, year) for unit in range(1, 61) for year in range(2012, 2019)]
    with pytest.raises(DataError, match="PMG-ONE-PERIOD"):
        make(with_gaps(years), missing="pairwise").for_outcome("y")


def test_a_lost_first_period_makes_units_always_treated() -> None:
    frame = with_gaps([(unit, 2011) for unit in range(1, 61)])
    frame["g"] = frame["g"].mask(frame["id"] <= 5, 2012)
    panel = make(frame, missing="pairwise").for_outcome("y")
    assert panel.always_treated.sum() == 5
    assert "PMG-ALWAYS-TREATED" in notices(panel)


def test_second_call_is_free() -> None:
    panel = make(with_gaps([(1, 2012)]), missing="pairwise")
    once = panel.for_outcome("y", ["x"])
    assert once.for_outcome("y", ["x"]) is once
    assert once.for_outcome("y") is once
    assert once.for_outcome("y", "x") is once
    part = once.select(np.arange(60) > 10)
    assert part.for_outcome("y") is part
    moved = once.with_cohort(once.cohort)
    assert moved.for_outcome("y") is moved
    assert once.for_outcome("d") is not once
    assert panel.for_outcome("y").n_rows == panel.n_rows - 1


def test_unknown_columns() -> None:
    with pytest.raises(DataError, match="did you mean 'people'") as caught:
        make(with_gaps([])).for_outcome("yy", ["peple"])
    assert [problem.code for problem in caught.value.problems] == ["PMG-COLUMN", "PMG-COLUMN"]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (np.nan, "PMG-OUTCOME-EMPTY"),
        (None, "PMG-OUTCOME-EMPTY"),
        (1, "PMG-OUTCOME-CONSTANT"),
        (0, "PMG-OUTCOME-CONSTANT"),
        (True, "PMG-OUTCOME-CONSTANT"),
        ("1.5", "PMG-OUTCOME-TEXT"),
        ("1.234,5", "PMG-OUTCOME-TEXT"),
        (1j, "PMG-OUTCOME-TYPE"),
        (pd.Timedelta(1), "PMG-OUTCOME-TYPE"),
    ],
)
def test_outcomes_that_are_refused(values: Any, code: str) -> None:
    assert list(refused(base().assign(y=values))) == [code]


def test_text_is_located_and_not_shown() -> None:
    frame = base()
    frame["y"] = frame["y"].astype(object)
    frame.loc[3, "y"] = "secret 17"
    with pytest.raises(DataError) as caught:
        make(frame).for_outcome("y")
    assert caught.value.where == (Cell(1, 2014),)
    assert "secret" not in str(caught.value)
    frame.loc[3, "y"] = " 1.234,5"
    with pytest.raises(DataError, match=r'such as "9\.999,9"'):
        make(frame).for_outcome("y")


def texts(values: dict[int, str], fill: str = "12") -> Problem:
    """The one problem of an outcome that a file gave as text."""
    column = pd.Series([values.get(row, fill) for row in range(480)], dtype=object)
    with pytest.raises(DataError) as caught:
        make(base().assign(y=column)).for_outcome("y")
    (problem,) = caught.value.problems
    assert problem.code == "PMG-OUTCOME-TEXT"
    return problem


def test_of_text_only_the_cells_that_are_no_numbers_are_named() -> None:
    problem = texts({3: "<5", 9: "17.5", 100: " <5 ", 479: "< 10"})
    assert problem.where == (Cell(1, 2014), Cell(13, 2015), Cell(60, 2018))
    assert problem.what == 'outcome \'y\' holds text where numbers should be, in 3 cell(s): "<5", "< 10"'
    assert "suppressed" in problem.fix
    assert 'na_values=["<5", "< 10"]' in problem.fix


@pytest.mark.parametrize(
    ("text", "said", "fix"),
    [
        ("-", ': "-"', 'na_values=["-"]'),
        ("n/a", ': "n/a"', 'na_values=["n/a"]'),
        ("1-4", ': "1-4"', "suppressed"),
        ("", ': ""', 'na_values=[""]'),
        ("1.050", 'such as "9.999"', 'if the dot is a thousands separator, read the file with thousands="."'),
        ("1.050.000", 'such as "9.999.999"', 'thousands="."'),
        ("1 050", 'such as "9 999"', 'if the space is a thousands separator, read the file with thousands=" "'),
        ("1,050,000", 'such as "9,999,999"', "if the comma is a thousands separator"),
        ("1,050", '(such as "9,999")', 'decimal="," or, where the comma parts thousands, with thousands=","'),
        ("0,050", 'decimal commas (such as "9,999")', 'decimal=","'),
        ("jansen", "cell(s)", "decide what the text stands for"),
        ("06-1234567", "cell(s)", "decide what the text stands for"),
    ],
)
def test_text_is_told_by_its_kind(text: str, said: str, fix: str) -> None:
    problem = texts({7: text, 8: "980"})
    assert problem.where == (Cell(1, 2018),)
    assert problem.what.endswith(said)
    assert fix in problem.fix


def test_kinds_of_text_together() -> None:
    codes = {row: f"<{row}" for row in range(1, 9)}
    problem = texts({**codes, 20: "1.050", 21: "12,5", 22: "jansen"})
    assert problem.what.endswith(
        'in 11 cell(s): "<1", "<2", "<3", "<4", "<5" and 3 more; decimal commas (such as "99,9"); '
        'numbers such as "9.999"; other text'
    )
    assert "jansen" not in str(problem)


def test_a_dot_that_is_a_decimal_sign_elsewhere_parts_no_thousands() -> None:
    problem = texts({1: "1.050", 2: "1.5", 3: "x"})
    assert problem.where == (Cell(1, 2014),)
    assert "thousands" not in problem.fix


def test_numbers_in_quotes_are_all_numbers() -> None:
    problem = texts({})
    assert (problem.what, problem.where) == ("outcome 'y' holds numbers that are stored as text", ())
    assert "to_numeric" in problem.fix


def test_infinite_cells_are_named() -> None:
    assert refused(with_gaps([(7, 2013)], value=np.inf)) == {"PMG-OUTCOME-INFINITE": (Cell(7, 2013),)}
    found = refused(with_gaps([(7, 2013)], column="x", value=np.inf), columns=("x",))
    assert found == {"PMG-COVARIATE-INFINITE": (Cell(7, 2013),)}


def test_covariates_may_be_labels() -> None:
    frame = base().assign(kind="a", day=pd.Timestamp("2020-01-01"))
    assert make(frame).for_outcome("y", ["kind", "day"]).n_rows == 480
    frame.loc[330, "kind"] = None
    assert refused(frame, columns=("kind",)) == {"PMG-COVARIATE-MISSING": (Cell(42, 2013),)}
    assert make(frame, missing="pairwise").for_outcome("y", ["kind"]).n_rows == 479
    part = make(frame, missing="pairwise").select(np.arange(60) < 50)
    assert part.for_outcome("y", ["kind"]).n_rows == 399


def test_all_kinds_of_numbers() -> None:
    frame = base()
    counts = frame["y"].mul(10).round().add(50).astype(int)
    expected = make(frame.assign(y=counts)).for_outcome("y").wide("y")
    for values in (
        counts.astype("uint8"),
        counts.astype("Int16"),
        counts.astype("float32"),
        counts.astype("uint16[pyarrow]"),
        counts.astype("float[pyarrow]"),
        counts.astype(object),
        counts.astype("category"),
    ):
        np.testing.assert_array_equal(make(frame.assign(y=values)).for_outcome("y").wide("y"), expected)
    with_na = counts.astype("Int64").mask(frame.index == 3)
    assert refused(frame.assign(y=with_na)) == {"PMG-OUTCOME-MISSING": (Cell(1, 2014),)}
    assert refused(frame.assign(y=with_na.astype("category"))) == {"PMG-OUTCOME-MISSING": (Cell(1, 2014),)}


def test_single_precision_that_lost_digits_warns() -> None:
    frame = base()
    with pytest.warns(PmgEvalWarning, match="PMG-FLOAT32"):
        make(frame.assign(y=(frame["y"] + 1e4).astype("float32"))).for_outcome("y")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(frame.assign(y=(frame["y"] * 10).round().add(1e5).astype("float32"))).for_outcome("y")  # whole: exact
