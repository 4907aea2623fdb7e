"""The catalogue of malformed panels (research note "trust", table 2.1; ``number`` is its row).

``CASES`` is a list of named cases. A case builds a call ``Panel(frame, **roles).for_outcome(outcome)``; its ``kind`` is
"error" (with the ``code`` of the error) or "ok". Estimators can be run on the "ok" cases:

>>> for case in CASES:
...     if case.kind == "ok":
...         panel, outcome = case.panel(), case.call().outcome

``same`` says that the arrays must equal those of the clean panel; ``warns`` names warnings to expect.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import polars as pl

from pmg_eval.panel import Panel

UNITS, FIRST, LAST = 60, 2011, 2018
YEARS = np.arange(FIRST, LAST + 1)


@dataclass(frozen=True)
class Call:
    """Arguments of one call."""

    frame: Any
    roles: dict[str, Any]
    outcome: str = "y"
    columns: tuple[str, ...] = ()

    def panel(self) -> Panel:
        return Panel(self.frame, **self.roles).for_outcome(self.outcome, self.columns)

    def with_(self, frame: Any = None, outcome: str | None = None, drop: tuple[str, ...] = (), **roles: Any) -> Call:
        kept = {name: value for name, value in self.roles.items() if name not in drop}
        return replace(
            self,
            frame=self.frame if frame is None else frame,
            roles={**kept, **roles},
            outcome=self.outcome if outcome is None else outcome,
        )


@dataclass(frozen=True)
class Case:
    number: str
    name: str
    kind: Literal["error", "ok"]
    make: Callable[[], Call]
    code: str = ""
    same: bool = False
    warns: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    note: str = field(default="", compare=False)

    def call(self) -> Call:
        return self.make()

    def panel(self) -> Panel:
        """The panel of an "ok" case, its expected warnings silenced."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.make().panel()

    @property
    def id(self) -> str:
        return f"{self.number}-{self.name}"


def base() -> pd.DataFrame:
    """60 units x 8 years, cohorts 2016, 2018 and never (0), 20 each; effect 1, noise sd 0.1."""
    rng = np.random.default_rng(20_240_501)
    ids = np.repeat(np.arange(1, UNITS + 1), len(YEARS))
    years = np.tile(YEARS, UNITS)
    cohort = np.repeat(np.repeat([2016, 2018, 0], 20), len(YEARS))
    unit_effect = np.repeat(rng.normal(size=UNITS), len(YEARS))
    year_effect = np.tile(0.1 * np.arange(len(YEARS)), UNITS)
    treated = (cohort > 0) & (years >= cohort)
    y = unit_effect + year_effect + treated + rng.normal(scale=0.1, size=len(ids))
    return pd.DataFrame({"id": ids, "year": years, "g": cohort, "y": y, "d": treated.astype(int)})


def clean() -> Call:
    return Call(base(), {"unit": "id", "time": "year", "cohort": "g", "never": 0})


def treated_path() -> Call:
    return clean().with_(drop=("cohort", "never"), treatment="d")


CASES: list[Case] = []


def _add(number: str, kind: Literal["error", "ok"], code: str = "", **more: Any) -> Callable[[Any], Any]:
    def register(make: Callable[[], Call]) -> Callable[[], Call]:
        CASES.append(Case(number, make.__name__.strip("_"), kind, make, code=code, **more))
        return make

    return register


def _set(column: str, mask: Callable[[pd.DataFrame], Any], value: Any) -> Call:
    frame = base()
    values = frame[column].astype(float) if isinstance(value, float) else frame[column]
    frame[column] = values.mask(mask(frame), value)
    return clean().with_(frame)


_add("0", "ok", same=True)(clean)
_add("0b", "ok", same=True)(treated_path)


@_add("1", "error", "PMG-DUPLICATE")
def dup_identical_row() -> Call:
    return clean().with_(pd.concat([base(), base().iloc[[5]]]))


@_add("2", "error", "PMG-DUPLICATE")
def dup_conflicting_row() -> Call:
    return clean().with_(pd.concat([base(), base().iloc[[5]].assign(y=99.0)]))


@_add("3", "error", "PMG-DUPLICATE")
def stacked_twice() -> Call:
    return clean().with_(pd.concat([base(), base()]))


@_add("4", "error", "PMG-COHORT-VARIES")
def cohort_varies() -> Call:
    return _set("g", lambda df: (df.id == 3) & (df.year > 2016), 2017)


@_add("5", "error", "PMG-COHORT-VARIES")
def switches_off_as_g0() -> Call:
    return _set("g", lambda df: (df.id <= 5) & (df.year >= 2018), 0)


@_add("5b", "error", "PMG-REVERSAL")
def switches_off_as_path() -> Call:
    frame = base()
    frame.loc[(frame.id <= 5) & (frame.year >= 2018), "d"] = 0
    return treated_path().with_(frame)


@_add("6", "ok", notices=("PMG-ALWAYS-TREATED",))
def always_treated() -> Call:
    return _set("g", lambda df: df.id <= 5, 2005)


@_add("7", "ok", notices=("PMG-ALWAYS-TREATED",))
def cohort_at_first_period() -> Call:
    return _set("g", lambda df: df.id <= 5, FIRST)


@_add("8", "ok", notices=("PMG-COHORT-AFTER",))
def cohort_after_window() -> Call:
    return _set("g", lambda df: df.id > 55, 2025)


@_add("9", "ok", notices=("PMG-NO-NEVER",))
def no_never_treated() -> Call:
    return clean().with_(base().query("g > 0"))


@_add("10", "error", "PMG-NO-TREATED")
def nobody_treated() -> Call:
    return clean().with_(base().assign(g=0))


@_add("11", "error", "PMG-NO-CONTROL")
def everyone_same_date() -> Call:
    return clean().with_(base().assign(g=2016))


def _nan_outcome(share: float | None) -> pd.DataFrame:
    frame = base()
    if share is None:
        frame.loc[7, "y"] = np.nan
    else:
        frame.loc[np.random.default_rng(5).random(len(frame)) < share, "y"] = np.nan
    return frame


@_add("12", "error", "PMG-OUTCOME-MISSING")
def nan_outcome_one() -> Call:
    return clean().with_(_nan_outcome(None))


@_add("12b", "ok", notices=("PMG-CELLS-LOST",))
def nan_outcome_one_pairwise() -> Call:
    return clean().with_(_nan_outcome(None), missing="pairwise")


@_add("12c", "ok", notices=("PMG-UNITS-LOST",))
def nan_outcome_one_drop_unit() -> Call:
    return clean().with_(_nan_outcome(None), missing="drop_unit")


@_add("13", "error", "PMG-OUTCOME-MISSING")
def nan_outcome_fifth() -> Call:
    return clean().with_(_nan_outcome(0.2))


@_add("13b", "ok", notices=("PMG-CELLS-LOST",), warns=("PMG-MISSING-BASE",))
def nan_outcome_fifth_pairwise() -> Call:
    return clean().with_(_nan_outcome(0.2), missing="pairwise")


@_add("13c", "ok", notices=("PMG-CELLS-LOST",), warns=("PMG-MISSING-ARM",))
def nan_outcome_treated_pairwise() -> Call:
    frame = base()
    frame.loc[(frame.id <= 30) & (frame.year == 2012), "y"] = np.nan
    frame.loc[(frame.id <= 30) & (frame.year == 2013), "y"] = np.nan
    return clean().with_(frame, missing="pairwise")


@_add("14", "error", "PMG-OUTCOME-INFINITE")
def inf_outcome() -> Call:
    return _set("y", lambda df: (df.id == 3) & (df.year == 2014), np.inf)


@_add("15", "error", "PMG-OUTCOME-EMPTY")
def all_nan_outcome() -> Call:
    return clean().with_(base().assign(y=np.nan))


@_add("16", "error", "PMG-UNIT-MISSING")
def nan_unit_id() -> Call:
    return _set("id", lambda df: df.index == 9, np.nan)


@_add("17", "error", "PMG-TIME-MISSING")
def nan_time() -> Call:
    return _set("year", lambda df: df.index == 9, np.nan)


def _nan_never() -> pd.DataFrame:
    frame = base()
    return frame.assign(g=frame.g.where(frame.g > 0))


@_add("18", "error", "PMG-COHORT-MISSING")
def nan_cohort_undeclared() -> Call:
    return clean().with_(_nan_never(), drop=("never",))


@_add("18b", "ok", same=True)
def nan_cohort_declared() -> Call:
    return clean().with_(_nan_never(), never=None)


@_add("19", "ok", same=True)
def inf_cohort_means_never() -> Call:
    return clean().with_(base().assign(g=base().g.replace(0, np.inf)), drop=("never",))


@_add("20", "error", "PMG-COHORT-RANGE")
def minus_one_undeclared() -> Call:
    return clean().with_(base().assign(g=base().g.replace(0, -1)), drop=("never",))


@_add("20b", "error", "PMG-COHORT-RANGE")
def zero_undeclared() -> Call:
    return clean().with_(drop=("never",))


@_add("20c", "ok", same=True)
def minus_one_declared() -> Call:
    return clean().with_(base().assign(g=base().g.replace(0, -1)), never=-1)


@_add("21", "error", "PMG-TIME-TYPE")
def year_strings() -> Call:
    return clean().with_(base().assign(year=base().year.astype(str)))


@_add("22", "error", "PMG-TIME-TYPE")
def year_and_cohort_strings() -> Call:
    return clean().with_(base().assign(year=base().year.astype(str), g=base().g.astype(str)))


def _dates(years: pd.Series[Any], month_day: str = "01-01") -> pd.Series[Any]:
    text = years.where(years > 0).astype("Int64").astype("string") + "-" + month_day
    return pd.to_datetime(text, format="%Y-%m-%d")


@_add("23", "error", "PMG-COHORT-TYPE")
def datetime_time_integer_cohort() -> Call:
    return clean().with_(base().assign(year=_dates(base().year)), freq="Y")


@_add("23b", "error", "PMG-FREQ")
def datetime_without_freq() -> Call:
    frame = base().assign(year=_dates(base().year), g=_dates(base().g))
    return clean().with_(frame, never=None)


@_add("24", "ok", same=True, notices=("PMG-TIMEZONE",))
def datetime_both_timezone() -> Call:
    late = _dates(base().year, "12-31") + pd.Timedelta(hours=23, minutes=30)  # 1 January in Amsterdam, but not in UTC
    frame = base().assign(year=late.dt.tz_localize("UTC"), g=_dates(base().g).dt.tz_localize("Europe/Amsterdam"))
    return clean().with_(frame, freq="Y", never=None)


@_add("25", "ok", same=True)
def period_dtype() -> Call:
    frame = base().assign(year=_dates(base().year).dt.to_period("Y"), g=_dates(base().g).dt.to_period("Y"))
    return clean().with_(frame, never=None)


def _fractional() -> pd.DataFrame:
    return base().assign(g=base().g.astype(float).replace(2016.0, 2016.5))


@_add("26", "error", "PMG-PARTIAL-PERIOD")
def fractional_cohort() -> Call:
    return clean().with_(_fractional())


@_add("26b", "ok", notices=("PMG-PARTIAL-TREATED",))
def fractional_cohort_treated() -> Call:
    return clean().with_(_fractional(), partial_period="treated")


@_add("26c", "ok", notices=("PMG-PARTIAL-DROPPED",))
def fractional_cohort_drop() -> Call:
    return clean().with_(_fractional(), partial_period="drop")


@_add("26d", "ok", notices=("PMG-PARTIAL-SHARE",))
def fractional_cohort_share() -> Call:
    return clean().with_(_fractional(), partial_period="share")


@_add("27", "ok", notices=("PMG-GAP",))
def gap_year_for_all() -> Call:
    return clean().with_(base().query("year != 2013"))


@_add("28", "ok", notices=("PMG-GAP",))
def gap_base_year_for_all() -> Call:
    return clean().with_(base().query("year != 2015"))


def _base_year_gone() -> pd.DataFrame:
    return base().query("not (year == 2015 and id <= 10)")


@_add("29", "error", "PMG-ROW-ABSENT")
def base_year_missing_half_of_wave() -> Call:
    return clean().with_(_base_year_gone())


@_add("29b", "ok", warns=("PMG-MISSING-BASE",), notices=("PMG-CELLS-LOST",))
def base_year_missing_half_of_wave_pairwise() -> Call:
    return clean().with_(_base_year_gone(), missing="pairwise")


def _unbalanced() -> pd.DataFrame:
    return base()[np.random.default_rng(8).random(len(base())) > 0.1]


@_add("30", "error", "PMG-ROW-ABSENT")
def unbalanced_tenth() -> Call:
    return clean().with_(_unbalanced())


@_add("30b", "ok", warns=("PMG-MISSING-BASE",), notices=("PMG-CELLS-LOST",))
def unbalanced_tenth_pairwise() -> Call:
    return clean().with_(_unbalanced(), missing="pairwise")


@_add("31", "ok")
def single_treated_unit() -> Call:
    return clean().with_(base().query("id == 1 or g == 0"))


@_add("32", "ok")
def single_control() -> Call:
    return clean().with_(base().query("g == 2016 or id == 60"))


@_add("33", "ok")
def one_unit_in_cohort() -> Call:
    return clean().with_(base().query("g != 2018 or id == 21"))


@_add("34", "ok")
def two_periods_only() -> Call:
    return clean().with_(base().query("year in (2015, 2016)"))


@_add("35", "error", "PMG-ONE-PERIOD")
def one_period_only() -> Call:
    return clean().with_(base().query("year == 2016"))


@_add("36", "error", "PMG-OUTCOME-CONSTANT")
def constant_outcome() -> Call:
    return clean().with_(base().assign(y=3.0))


@_add("37", "error", "PMG-OUTCOME-ZERO")
def all_zero_counts() -> Call:
    return clean().with_(base().assign(y=0, population=1000.0), exposure="population")


@_add("38", "ok")
def offset_1e12() -> Call:
    return clean().with_(base().assign(y=base().y + 1e12))


@_add("39", "ok")
def scale_1e_minus_12() -> Call:
    return clean().with_(base().assign(y=base().y * 1e-12))


@_add("40", "ok", same=True)
def huge_integer_ids() -> Call:
    return clean().with_(base().assign(id=base().id + 2**62))


@_add("41", "ok", same=True)
def ids_beyond_float_precision() -> Call:
    return clean().with_(base().assign(id=base().id + 2**53))


@_add("42", "ok", same=True)
def string_ids() -> Call:
    return clean().with_(base().assign(id=base().id.map("area {:03d}".format)))


@_add("43", "error", "PMG-UNIT-MIXED")
def mixed_type_ids() -> Call:
    ids = base().id.astype(object)
    return clean().with_(base().assign(id=ids.mask(base().id == 2, "1")))


@_add("44", "ok", same=True)
def categorical_unused_levels() -> Call:
    frame = base()
    return clean().with_(frame.assign(id=pd.Categorical(frame.id, categories=range(100))))


@_add("45", "ok", same=True)
def categorical_year() -> Call:
    frame = base()
    return clean().with_(frame.assign(year=pd.Categorical(frame.year, categories=range(2000, 2030), ordered=True)))


@_add("45b", "error", "PMG-TIME-TYPE")
def categorical_year_text() -> Call:
    frame = base()
    return clean().with_(frame.assign(year=pd.Categorical(frame.year.astype(str), ordered=True)))


@_add("45c", "error", "PMG-TIME-TYPE")
def categorical_year_wrong_order() -> Call:
    frame = base()
    return clean().with_(frame.assign(year=pd.Categorical(frame.year, categories=YEARS[::-1], ordered=True)))


@_add("46", "ok", same=True)
def shuffled_rows() -> Call:
    return clean().with_(base().sample(frac=1, random_state=3))


@_add("47", "ok", same=True)
def duplicate_index() -> Call:
    return clean().with_(base().set_axis(np.zeros(len(base()), dtype=int)))


@_add("48", "ok", same=True)
def multiindex() -> Call:
    return clean().with_(base().set_index(["id", "year"], drop=False))


@_add("49", "ok", same=True)
def outcome_object_dtype() -> Call:
    return clean().with_(base().assign(y=base().y.astype(object)))


@_add("50", "error", "PMG-OUTCOME-TEXT")
def outcome_decimal_comma() -> Call:
    return clean().with_(base().assign(y=[f"{value:.4f}".replace(".", ",") for value in base().y]))


@_add("51", "ok", notices=("PMG-OUTCOME-BOOL",))
def outcome_bool() -> Call:
    return clean().with_(base().assign(y=base().y > 0.5))


@_add("52", "error", "PMG-OUTCOME-MISSING")
def nullable_integer_with_gap() -> Call:
    counts = (100 * base().y).round().astype("Int64")
    return clean().with_(base().assign(y=counts.mask(base().index == 11)))


def _counts(dtype: str) -> Call:
    counts = (10 * base().y).round() + 60
    return clean().with_(base().assign(y=counts.astype(dtype)))


@_add("53", "ok")
def uint8_counts() -> Call:
    return _counts("uint8")


@_add("54", "ok")
def float32() -> Call:
    return clean().with_(base().assign(y=base().y.astype("float32")))


@_add("55", "ok", same=True)
def pyarrow_backed() -> Call:
    return clean().with_(base().convert_dtypes(dtype_backend="pyarrow"))


@_add("56", "ok", same=True)
def polars_frame() -> Call:
    frame = base()
    return clean().with_(pl.DataFrame({name: frame[name].to_numpy() for name in frame.columns}))


@_add("57", "error", "PMG-EMPTY")
def empty() -> Call:
    return clean().with_(base().iloc[:0])


@_add("58", "error", "PMG-COLUMN")
def missing_column() -> Call:
    return clean().with_(cohort="G_year")


@_add("59", "ok", same=True)
def uint16_years() -> Call:
    return clean().with_(base().astype({"year": "uint16", "g": "uint16"}))


@_add("60", "ok")
def int8_period_index() -> Call:
    frame = base()
    frame = frame.assign(year=(frame.year - 2010).astype("int8"), g=(frame.g - 2010).clip(lower=0).astype("int8"))
    return clean().with_(frame)


@_add("61", "ok")
def uint32_counts() -> Call:
    return _counts("uint32")


@_add("62", "ok")
def signed_counts() -> Call:
    return _counts("int64")
