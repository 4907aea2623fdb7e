"""Periods and starts of every kind: years, quarters, months, dates, parts of periods."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from pmg_eval.errors import DataError
from pmg_eval.panel import Panel


def build(times: Any, starts: Any, **roles: Any) -> Panel:
    """Three units over ``times`` with one start each."""
    count = len(times)
    frame = pd.DataFrame({"unit": np.repeat([1, 2, 3], count), "y": np.arange(3.0 * count) ** 1.2})
    frame["time"] = pd.concat([pd.Series(times)] * 3, ignore_index=True)
    frame["start"] = pd.Series([start for start in starts for _ in range(count)])
    return Panel(frame, unit="unit", time="time", cohort="start", **{"never": None, **roles})


def code_of(*arguments: Any, **roles: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        build(*arguments, **roles)
    return [problem.code for problem in caught.value.problems]


def test_quarters_and_months_from_dates() -> None:
    quarters = pd.date_range("2020-01-15", periods=8, freq="91D")
    panel = build(quarters, [pd.Timestamp("2021-01-01"), None, None], freq="Q")
    assert isinstance(panel.times, pd.PeriodIndex)
    assert panel.times[0] == pd.Period("2020Q1", freq="Q")
    assert panel.time_label(int(panel.cohort[0])) == pd.Period("2021Q1", freq="Q")
    assert panel.cohort[0] - panel.time_codes[0] == 4
    assert panel.freq == "Q-DEC"
    months = pd.date_range("2020-01-01", periods=6, freq="MS") + pd.Timedelta(days=14)
    panel = build(months, [pd.Timestamp("2020-03-01"), None, None], freq="M")
    assert panel.cohort[0] - panel.time_codes[0] == 2


def test_period_columns_carry_their_frequency() -> None:
    months = pd.period_range("2020-11", periods=5, freq="M")
    panel = build(months, [pd.Period("2021-02", freq="M"), pd.NaT, pd.NaT])
    assert panel.times.equals(months)
    assert panel.cohort[0] - panel.time_codes[0] == 3
    assert panel.time_code(pd.Period("2021-02", freq="M")) == panel.cohort[0]
    assert panel.time_code(dt.date(2021, 2, 14)) == panel.cohort[0]
    with pytest.raises(DataError):
        panel.time_code(2021)
    assert code_of(months, [pd.Period("2021-02", freq="M"), pd.NaT, pd.NaT], freq="Q") == ["PMG-FREQ"]
    weeks = pd.period_range("2020-01-06", periods=4, freq="W")
    assert build(weeks, [weeks[2], pd.NaT, pd.NaT]).cohort[0] - weeks[0].ordinal == 2
    hours = pd.period_range("2020-01-06", periods=4, freq="h")
    assert code_of(hours, [hours[2], pd.NaT, pd.NaT]) == ["PMG-FREQ"]


def test_yearly_periods_are_years() -> None:
    years = pd.period_range("2018", periods=4, freq="Y")
    panel = build(years, [years[2], pd.NaT, pd.NaT], selection_window=(2018, pd.Period("2019", freq="Y")))
    assert panel.times.tolist() == [2018, 2019, 2020, 2021]
    assert panel.cohort[0] == 2020
    assert panel.time_label(2020) == 2020
    assert panel.selection_window == (2018, 2019)


def test_starts_finer_than_the_periods() -> None:
    years = pd.period_range("2018", periods=4, freq="Y")
    january, july = pd.Period("2020-01", freq="M"), pd.Period("2020-07", freq="M")
    assert build(years, [january, pd.NaT, pd.NaT]).cohort[0] == 2020
    assert code_of(years, [july, pd.NaT, pd.NaT]) == ["PMG-PARTIAL-PERIOD"]
    panel = build(years, [july, pd.NaT, pd.NaT], partial_period="share")
    assert panel.share is not None
    assert panel.share.tolist() == [184 / 366, 1.0, 1.0]
    months = pd.period_range("2020-01", periods=12, freq="M")
    assert code_of(months, [pd.Period("2020", freq="Y"), pd.NaT, pd.NaT]) == ["PMG-COHORT-TYPE"]
    assert code_of(years, [2020, None, None]) == ["PMG-COHORT-TYPE"]
    assert code_of([2018, 2019, 2020], [january, pd.NaT, pd.NaT]) == ["PMG-COHORT-TYPE"]


def test_dates_inside_a_period() -> None:
    months = pd.date_range("2020-01-01", periods=6, freq="MS")
    starts = [pd.Timestamp("2020-03-16"), pd.Timestamp("2020-04-01 09:30"), None]
    assert code_of(months, starts, freq="M") == ["PMG-PARTIAL-PERIOD"]
    shared = build(months, starts, freq="M", partial_period="share")
    assert shared.share is not None
    assert shared.share.tolist() == [16 / 31, 1.0, 1.0]
    treated = build(months, starts, freq="M", partial_period="treated")
    dropped = build(months, starts, freq="M", partial_period="drop").for_outcome("y")
    assert dropped.cohort[0] == treated.cohort[0] + 1
    assert dropped.cohort[1] == treated.cohort[1]
    assert np.isnan(dropped.wide("y")).sum() == 1
    assert not dropped.balanced
    assert [notice.units for notice in dropped.notes if notice.code == "PMG-PARTIAL-DROPPED"] == [(1,)]


def test_dropping_part_of_a_period_may_empty_it() -> None:
    panel = build([2020, 2021, 2022, 2023], [2021.5, 2021.25, 2023], partial_period="drop", never=0)
    assert panel.n_rows == 10
    small = Panel(
        pd.DataFrame(
            {"u": [1, 1, 1, 2, 2, 3], "t": [2020, 2021, 2022, 2020, 2022, 2021], "g": [2021.5] * 3 + [0, 0, 2021.5]}
        ),
        unit="u", time="t", cohort="g", never=0, partial_period="drop",
    )  # fmt: skip
    assert small.units.tolist() == [1, 2]
    assert small.times.tolist() == [2020, 2022]


def test_time_zones() -> None:
    late = pd.Series(pd.to_datetime(["2019-12-31 23:30", "2020-12-31 23:30", "2021-12-31 23:30"]))
    start = pd.Timestamp("2020-12-31 23:30")
    utc = build(late.dt.tz_localize("UTC"), [start.floor("D") + pd.Timedelta(days=1), None, None], freq="Y")
    assert utc.times.tolist() == [2019, 2020, 2021]
    assert [notice.code for notice in utc.notes] == ["PMG-TIMEZONE"]
    amsterdam = build(
        late.dt.tz_localize("UTC").dt.tz_convert("Europe/Amsterdam"), [pd.Timestamp("2021-01-01"), None, None], freq="Y"
    )
    assert amsterdam.times.tolist() == [2020, 2021, 2022]


def test_arrow_dates() -> None:
    days = [dt.date(2019, 1, 1), dt.date(2020, 1, 1), dt.date(2021, 1, 1)]
    for kind in (pa.date32(), pa.timestamp("ms"), pa.timestamp("us", tz="Europe/Amsterdam")):
        column = pd.Series(days, dtype=pd.ArrowDtype(pa.date32())).astype(pd.ArrowDtype(kind))
        assert build(column, [pd.Timestamp("2020-01-01"), None, None], freq="Y").times.tolist() == [2019, 2020, 2021]


def test_tables_of_dates_through_narwhals() -> None:
    days = [dt.date(2019, 1, 1), dt.date(2020, 1, 1), dt.date(2021, 1, 1)] * 2
    starts = [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)] * 3 + [None] * 3
    table = pa.table(
        {
            "unit": pa.array(["a"] * 3 + ["b"] * 3).dictionary_encode(),
            "day": pa.array(days, pa.date32()),
            "start": pa.array(starts, pa.timestamp("us", tz="UTC")),
            "on": pa.array([False, True, None] * 2),
        }
    )
    for given in (table, pl.from_arrow(table)):
        panel = Panel(given, unit="unit", time="day", cohort="start", freq="Y", never=None)
        assert panel.cohort.tolist() == [2020, np.inf]
        np.testing.assert_array_equal(panel.column("on"), [0, 1, np.nan] * 2)


def test_calendar_gaps() -> None:
    panel = build([2010, 2012, 2014, 2016], [2014, None, None])
    assert [notice.code for notice in panel.notes] == ["PMG-GAP"]
    assert panel.time_codes.tolist() == [2010, 2012, 2014, 2016]


@pytest.mark.parametrize(
    "times",
    [
        ["2019", "2020", "2021"],
        [2019.5, 2020.5, 2021.5],
        [201911, 201912, 202001],
        [20191101, 20191201, 20200101],
        [True, False],
        [np.inf, 2020, 2021],
        [dt.timedelta(1), dt.timedelta(2)],
        [2019, "2020", 2021],
        [pd.Period("2020", freq="Y"), pd.Period("2020Q1", freq="Q")],
    ],
)
def test_times_that_are_refused(times: list[Any]) -> None:
    assert code_of(times, [2020, 2021, 2022]) == ["PMG-TIME-TYPE"]


def test_range_of_starts() -> None:
    for start in (0, -1, 1900, 2200, 1, -np.inf):
        assert code_of([2018, 2019, 2020], [start, 2020, 2020]) == ["PMG-COHORT-RANGE"]
    assert build([2018, 2019, 2020], [1950, 2019, 2100]).cohort.tolist() == [1950, 2019, 2100]
    # counted periods may start at zero or below
    assert build([-2, -1, 0, 1], [0, 1, None]).cohort.tolist() == [0, 1, np.inf]


def test_never_as_a_date() -> None:
    years = pd.period_range("2018", periods=4, freq="Y").to_timestamp()
    far = pd.Timestamp("2099-12-31")
    panel = build(years, [pd.Timestamp("2020-01-01"), far, far], freq="Y", never=dt.date(2099, 12, 31))
    assert panel.cohort.tolist() == [2020, np.inf, np.inf]
    mixed = pd.Series([pd.Timestamp("2020-01-01"), np.inf, np.inf], dtype=object)
    assert build(years, mixed, freq="Y").cohort.tolist() == [2020, np.inf, np.inf]


def test_fiscal_years() -> None:
    years = pd.period_range("2018", periods=4, freq="Y-MAR")
    panel = build(years, [years[2], pd.NaT, pd.NaT])
    assert panel.times.tolist() == [2018, 2019, 2020, 2021]
    assert build(years, [pd.Timestamp("2019-04-01"), None, None]).cohort[0] == 2020
