"""Periods and start dates: what counts as time, calendar codes, parts of periods.

Inside the library a period is one integer, its *calendar code*: the year itself, or the pandas ordinal of a quarter,
month, week or day; event time is a difference of codes. Text is never ordered.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.panel._ingest import BoolArray, FloatArray, IntArray, distinct, kind_of, numeric
from pmg_eval.panel._report import Report, plain, short

FREQUENCIES = ("Y", "Q", "M")
_RANK = {"Y": 0, "A": 0, "Q": 1, "M": 2, "W": 3, "D": 4}
_PER_CENTURY = {"Y": 100, "A": 100, "Q": 400, "M": 1_200, "W": 5_218, "D": 36_525}
_UNIX_YEAR = 1970
_EXACT = 2.0**53


@dataclass(frozen=True)
class Calendar:
    """How codes and labels correspond: plain integers (``freq=None``) or pandas periods of one frequency."""

    freq: str | None = None

    @property
    def base(self) -> str:
        return "Y" if self.freq is None else self.freq[0]

    @property
    def yearly(self) -> bool:
        return _RANK[self.base] == 0

    @property
    def century(self) -> int:
        """Periods in a hundred years (a hundred, for plain integers)."""
        return _PER_CENTURY[self.base]

    def label(self, code: int) -> Any:
        """Label of one calendar code: an int for years and plain integers, otherwise a Period."""
        return int(code) if self.yearly else pd.Period(ordinal=int(code), freq=self.freq)

    def index(self, codes: IntArray) -> pd.Index[Any]:
        if self.yearly:
            return pd.Index(codes)
        return pd.PeriodIndex([pd.Period(ordinal=int(code), freq=self.freq) for code in codes], freq=self.freq)

    def codes(self, periods: pd.PeriodIndex) -> IntArray:
        ordinals = np.asarray(periods.asi8, dtype=np.int64)
        return ordinals + _UNIX_YEAR if self.yearly else ordinals

    def code(self, label: Any) -> int | None:
        """Calendar code of one label, None when it is not one of this calendar."""
        if isinstance(label, np.datetime64):
            label = pd.Timestamp(label)
        if isinstance(label, (int, np.integer)) and not isinstance(label, bool):
            return int(label) if self.yearly else None
        if self.freq is None:
            return int(label) if isinstance(label, (float, np.floating)) and float(label).is_integer() else None
        if isinstance(label, pd.Period):
            return int(self.codes(pd.PeriodIndex([label]))[0]) if label.freqstr == self.freq else None
        if isinstance(label, dt.date):
            stamp = pd.Timestamp(label).tz_localize(None)
            return int(self.codes(pd.DatetimeIndex([stamp]).to_period(self.freq))[0])
        return None


@dataclass(frozen=True)
class Times:
    """The time column: position of each row (-1 = missing) in the observed periods."""

    position: IntArray
    codes: IntArray
    calendar: Calendar


@dataclass(frozen=True)
class Starts:
    """Start dates of distinct values: code of the period that contains the start, and the part of it that is left.

    ``code`` is +inf for never; ``share`` is 1 when the start is the start of the period.
    """

    code: FloatArray
    share: FloatArray

    @property
    def partial(self) -> BoolArray:
        return self.share < 1.0


def _wall_time(values: pd.Series[Any]) -> tuple[pd.DatetimeIndex, str]:
    """Dates without their time zone (local date of the zone they carry), and the name of that zone."""
    dtype = values.dtype
    if pd.api.types.is_object_dtype(dtype) or isinstance(dtype, pd.ArrowDtype):
        stamps = [pd.Timestamp(value) for value in values.astype(object)]
        zones = sorted({str(stamp.tz) for stamp in stamps if stamp.tz is not None})
        return pd.DatetimeIndex([stamp.tz_localize(None) for stamp in stamps]), short(zones)
    index = pd.DatetimeIndex(values)
    return (index, "") if index.tz is None else (index.tz_localize(None), str(index.tz))


def _zone_notice(zone: str, role: str, report: Report) -> None:
    if zone:
        report.notice("PMG-TIMEZONE", f"{role}: moments in time zone {zone} are read as the local date of that zone")


def _year_month(values: FloatArray) -> bool:
    """Whether integers look like 201203 or 20120301: differences of such codes are not numbers of periods."""
    month = values % 100 if values.max() < 10**7 else values // 100 % 100
    year = values // 100 if values.max() < 10**7 else values // 10_000
    return bool(np.all((year >= 1800) & (year <= 2200) & (month >= 1) & (month <= 12)))


def _integer_codes(values: pd.Series[Any], role: str, report: Report) -> IntArray | None:
    numbers = numeric(values)
    if numbers is None:
        return None
    if not np.all(np.isfinite(numbers)) or np.any(np.abs(numbers) >= _EXACT) or np.any(numbers != np.floor(numbers)):
        report.problem(
            "PMG-TIME-TYPE",
            f"{role} holds numbers that are not whole",
            fix="give whole years, or dates with freq=, or pandas Periods",
        )
        return None
    if len(numbers) and _year_month(numbers):
        report.problem(
            "PMG-TIME-TYPE",
            f"{role} holds year-month codes written as one number",
            fix='convert to dates with pd.to_datetime(..., format="%Y%m") and give freq="M"',
        )
        return None
    return numbers.astype(np.int64)


def _frequency_problem(freq: Any, calendar_freq: str | None, kind: str) -> tuple[str, str] | None:
    """What is wrong between the declared and the carried frequency, and what to do."""
    if freq is not None and freq not in FREQUENCIES:
        return f"freq={freq!r} is not known", 'one of "Y", "Q", "M"'
    if kind in ("integer", "float") and freq in ("Q", "M"):
        return (
            f'freq="{freq}" was declared but the periods are plain integers',
            "give pandas Periods or dates, or leave freq out and count in whole periods",
        )
    if kind == "datetime" and freq is None:
        return "periods are dates, and it is not said what one period is", 'declare freq="Y", "Q" or "M"'
    if kind == "period" and calendar_freq is not None:
        if calendar_freq[0] not in _RANK:
            return f"periods of frequency {calendar_freq} are not supported", "use years, quarters, months, weeks, days"
        if freq is not None and _RANK[freq] != _RANK[calendar_freq[0]]:
            return f'freq="{freq}" but the periods have frequency {calendar_freq}', "leave freq out"
    return None


def parse_time(column: pd.Series[Any], freq: Any, report: Report) -> Times | None:
    """Read the time column; problems PMG-TIME-TYPE and PMG-FREQ go to the report."""
    categories_ordered = isinstance(column.dtype, pd.CategoricalDtype) and column.dtype.ordered
    try:
        codes, values = distinct(column)
        kind = kind_of(values)
    except TypeError:
        kind = "other"
    if kind == "empty" or (kind not in ("text", "mixed", "other", "bool") and len(values) == 0):
        return None  # nothing but missing periods: PMG-TIME-MISSING says so
    if kind not in ("integer", "float", "datetime", "period"):
        found = "text" if kind == "text" else "truth values" if kind == "bool" else "values of several or unknown types"
        report.problem(
            "PMG-TIME-TYPE",
            f"period must be integer, date or pandas Period; got {found}",
            fix="text is not ordered as time: convert with astype(int), pd.to_datetime or pd.PeriodIndex",
        )
        return None
    carried = None
    if kind == "period":
        carried = _period_freq(values)
        if carried is None:
            report.problem("PMG-TIME-TYPE", "periods of different frequency in one column", fix="use one frequency")
            return None
    wrong = _frequency_problem(freq, carried, kind)
    if wrong is not None:
        report.problem("PMG-FREQ", wrong[0], fix=wrong[1])
        return None
    if kind in ("integer", "float"):
        calendar = Calendar()
        value_codes = _integer_codes(values, "the time column", report)
        if value_codes is None:
            return None
    elif kind == "period":
        calendar = Calendar(carried)
        value_codes = calendar.codes(_period_index(values))
    else:
        dates, zone = _wall_time(values)
        _zone_notice(zone, "time", report)
        periods = dates.to_period(freq)
        calendar = Calendar(periods.freqstr)
        value_codes = calendar.codes(periods)
    if categories_ordered and np.any(np.diff(value_codes) <= 0):
        report.problem(
            "PMG-TIME-TYPE",
            "the ordered categories of the time column are not in ascending order",
            fix="convert the column to integers",
        )
        return None
    observed, position = np.unique(value_codes, return_inverse=True)
    return Times(np.append(position, -1)[codes].astype(np.int64), observed.astype(np.int64), calendar)


def _period_freq(values: pd.Series[Any]) -> str | None:
    if isinstance(values.dtype, pd.PeriodDtype):
        return str(_period_index(values).freqstr)
    found = {value.freqstr for value in values}
    return str(found.pop()) if len(found) == 1 else None


def _period_index(values: pd.Series[Any]) -> pd.PeriodIndex:
    return pd.PeriodIndex(values.array if isinstance(values.dtype, pd.PeriodDtype) else list(values))


def gap_notice(times: Times, report: Report) -> None:
    """Notice PMG-GAP when periods inside the window are observed for nobody."""
    steps = np.diff(times.codes)
    if np.any(steps > 1):
        before = [str(times.calendar.label(int(code))) for code in times.codes[:-1][steps > 1]]
        report.notice(
            "PMG-GAP",
            f"{int((steps - 1).sum())} period(s) observed for no unit (after {short(before)}); "
            "event time stays calendar based",
        )


def is_missing(value: Any) -> bool:
    """Whether a scalar is None, NaN, NaT or NA."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def _never_mask(values: pd.Series[Any], never: Any) -> BoolArray:
    """Distinct values that mean "never": +inf always, and the declared sentinel."""
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        mask = np.isposinf(numbers)
        if isinstance(never, (int, float, np.integer, np.floating)):
            mask = mask | (numbers == float(never))
        return np.asarray(mask, dtype=np.bool_)
    out = np.zeros(len(values), dtype=np.bool_)
    for place, value in enumerate(values):
        if isinstance(value, (float, np.floating)) and np.isposinf(value):
            out[place] = True
        elif never is not None and not isinstance(value, bool) and pd.api.types.is_scalar(value):
            out[place] = _same(value, never)
    return out


def _same(value: Any, never: Any) -> bool:
    if isinstance(value, dt.date) and isinstance(never, (dt.date, np.datetime64)):
        return bool(pd.Timestamp(value).tz_localize(None) == pd.Timestamp(never).tz_localize(None))
    try:
        return bool(value == never)
    except (TypeError, ValueError):
        return False


def parse_starts(values: pd.Series[Any], calendar: Calendar, never: Any, role: str, report: Report) -> Starts | None:
    """Read distinct start dates; PMG-COHORT-TYPE goes to the report.

    Parameters
    ----------
    values : Series
        Distinct non-missing values of a start column.
    calendar : Calendar
        That of the time column.
    never : scalar or None
        Declared sentinel (besides +inf).
    """
    code = np.full(len(values), np.inf)
    share = np.ones(len(values))
    mask = _never_mask(values, never)
    finite = values[~mask]
    if len(finite) == 0:
        return Starts(code, share)
    kind = kind_of(finite)
    wrong = _start_problem(kind, calendar, role)
    if wrong is not None:
        report.problem("PMG-COHORT-TYPE", wrong[0], fix=wrong[1])
        return None
    if calendar.freq is None:
        numbers = numeric(finite)
        if numbers is None:
            return None
        code[~mask] = np.floor(numbers)
        share[~mask] = 1.0 - np.where(np.isfinite(numbers), numbers, 0.0) % 1.0
        return Starts(code, share)
    if kind == "period":
        carried = _period_freq(finite)
        if carried == calendar.freq:
            code[~mask] = calendar.codes(_period_index(finite))
            return Starts(code, share)
        if carried is None or carried[0] not in _RANK or _RANK[carried[0]] < _RANK[calendar.base]:
            report.problem(
                "PMG-COHORT-TYPE",
                f"{role} has periods of frequency {carried}, coarser than the time column's {calendar.freq}",
                fix="give the start at least as finely as the periods",
            )
            return None
        dates = _period_index(finite).to_timestamp(how="start")
    else:
        dates, zone = _wall_time(finite)
        _zone_notice(zone, role, report)
    code[~mask], share[~mask] = _containing(dates.normalize(), calendar)
    return Starts(code, share)


def _start_problem(kind: str, calendar: Calendar, role: str) -> tuple[str, str] | None:
    wanted = "integers" if calendar.freq is None else "dates or Periods"
    if kind == "bool":
        return f"{role} holds truth values", "a 0/1 path belongs in treatment=, not in cohort="
    if kind not in ("integer", "float", "datetime", "period"):
        found = "text" if kind == "text" else "values of several or unknown types"
        return f"{role} must hold the first treated period; got {found}", f"convert to {wanted}, like the time column"
    if (calendar.freq is None) != (kind in ("integer", "float")):
        found = "integers" if kind in ("integer", "float") else "dates or Periods"
        return (
            f"{role} holds {found} but the time column holds {wanted}: they must be of the same kind",
            f"convert {role} to {wanted} (never-treated: missing values with never=None, or +inf)",
        )
    return None


def _containing(dates: pd.DatetimeIndex, calendar: Calendar) -> tuple[IntArray, FloatArray]:
    """Period that contains each date and the share of its days from that date on."""
    periods = dates.to_period(calendar.freq)
    start = periods.to_timestamp(how="start")
    after = (periods + 1).to_timestamp(how="start")
    length = np.asarray((after - start) / pd.Timedelta(days=1), dtype=np.float64)
    left = np.asarray((after - dates) / pd.Timedelta(days=1), dtype=np.float64)
    return calendar.codes(periods), left / length


def outside(code: FloatArray, times: Times) -> BoolArray:
    """Start codes no programme can have: a century off, or not positive among positive periods; -inf as well."""
    first, last = int(times.codes[0]), int(times.codes[-1])
    century = times.calendar.century
    far = (code < first - century) | (np.isfinite(code) & (code > last + century)) | np.isnan(code)
    if times.calendar.freq is None and first > 0:
        far |= code <= 0
    return np.asarray(far, dtype=np.bool_)


def label_list(calendar: Calendar, codes: Any) -> tuple[Any, ...]:
    return plain(calendar.label(int(code)) for code in codes)
