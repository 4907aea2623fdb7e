"""Every row E0-E42 and E51-E59 of the catalogue of malformed spells (research note "trust", table 2.2).

A row gives the named error, or the number of the frame that was meant: by a product over days that knows nothing of the
library. Rows of Cox regression belong to another estimator; where the same table reaches these, the row is put to them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from pmg_eval import recidivism
from pmg_eval.errors import DataError, InferenceError, PmgEvalError, PmgEvalWarning
from pmg_eval.panel import Spells

Frame = pd.DataFrame
ROLES = {"person": "id", "exit": "days", "event": "new"}


def base() -> Frame:
    """60 persons, whole days with ties, some censored."""
    rng = np.random.default_rng(20_240_502)
    days = rng.integers(1, 41, 60)
    new = (rng.random(60) < 0.55).astype(int)
    kind = rng.choice(["recidivism", "death"], 60, p=[0.7, 0.3])
    return pd.DataFrame({"id": np.arange(1, 61), "days": days, "new": new, "why": np.where(new == 1, kind, None)})


def survival(frame: Frame, time: int = 10, entry: Any = -1) -> float:
    """Product over days, in fractions."""
    left, value = frame.assign(entry=entry), Fraction(1)
    for day in sorted(set(frame.loc[frame["new"] == 1, "days"])):
        if day <= time:
            at_risk = int(((left["entry"] < day) & (left["days"] >= day)).sum())
            value *= 1 - Fraction(int(((left["days"] == day) & (left["new"] == 1)).sum()), at_risk)
    return float(value)


@dataclass(frozen=True)
class Case:
    numbers: str
    make: Callable[[], tuple[Any, dict[str, Any]]]
    code: str = ""
    meant: Callable[[], Frame] | None = None
    says: str = ""
    estimator: Callable[[Spells], Any] | None = None

    @property
    def id(self) -> str:
        return f"E{self.numbers}-{self.make.__name__}"


CASES: list[Case] = []


def case(numbers: str, code: str = "", **more: Any) -> Callable[[Any], Any]:
    def add(make: Any) -> Any:
        CASES.append(Case(numbers, make, code, **more))
        return make

    return add


def changed(column: str, value: Any, rows: Any = (3, 17)) -> Frame:
    frame = base()
    values = frame[column].astype(object)
    values.iloc[list(rows)] = value
    return frame.assign(**{column: values.infer_objects()})


# ---- times -----------------------------------------------------------------------------------------------------------


@case("0,1", meant=base)
def clean() -> Any:
    return base(), ROLES


@case("2,3,4", "PMG-TIME-NEG", says="2 rows with a negative time")
def negative_duration() -> Any:
    return changed("days", -5), ROLES


@case("7,8", "PMG-TIME-MISSING", says="row 3, row 17")
def nan_duration() -> Any:
    return changed("days", np.nan), ROLES


@case("7b", "PMG-TIME-MISSING")
def missing_integer() -> Any:
    return base().assign(days=base()["days"].astype("Int64").mask(base()["id"] == 4)), ROLES


@case("9,10", "PMG-TIME-INFINITE")
def infinite_duration() -> Any:
    return changed("days", np.inf), ROLES


@case("25", meant=base)
def timedeltas() -> Any:
    return base().assign(days=pd.to_timedelta(base()["days"], unit="D")), ROLES


@case("25b", "PMG-TIME-TYPE")
def timedeltas_in_weeks() -> Any:
    return base().assign(days=pd.to_timedelta(base()["days"], unit="D")), {**ROLES, "time_unit": "weeks"}


@case("25c", "PMG-TIME-FRACTION")
def parts_of_a_day() -> Any:
    return base().assign(days=pd.to_timedelta(base()["days"], unit="D") + pd.Timedelta(hours=5)), ROLES


@case("25d", "PMG-TIME-TYPE", says="subtract it")
def dates() -> Any:
    return base().assign(days=pd.Timestamp("2020-01-01") + pd.to_timedelta(base()["days"], unit="D")), ROLES


@case("26", "PMG-TIME-TYPE", says="got text")
def text_durations() -> Any:
    return base().assign(days=base()["days"].astype(str)), ROLES


@case("27", meant=base)
def object_durations() -> Any:
    return base().assign(days=base()["days"].astype(object)), ROLES


@case("58", "PMG-TIME-RANGE", says="150 years")
def huge_durations() -> Any:
    return base().assign(days=base()["days"] + 10**18), ROLES


@case("58b", "PMG-TIME-RANGE")
def huge_float_durations() -> Any:
    return changed("days", 1e18), ROLES


@case("58c", "PMG-TIME-FRACTION", says="look like years")
def years_in_a_day_column() -> Any:
    return base().assign(days=base()["days"] / 36.5), ROLES


@case("59", meant=base)
def int8_durations() -> Any:
    return base().astype({"days": "int8", "new": "uint8"}), ROLES


@case("59b", meant=base)
def polars_frame() -> Any:
    return pl.from_pandas(base()), ROLES


# ---- events ----------------------------------------------------------------------------------------------------------


@case("11", "PMG-EVENT-MISSING", says="row 3, row 17")
def nan_status() -> Any:
    return changed("new", np.nan), ROLES


@case("12,13", "PMG-EVENT-CODES", says="other than 0 and 1: 0, 1, 2")
def status_code_2() -> Any:
    return changed("new", 2), ROLES


@case("14,15", "PMG-EVENT-CODES", says="1/2 coding")
def coded_1_2() -> Any:
    return base().assign(new=base()["new"] + 1), ROLES


@case("16", "PMG-EVENT-TYPE", says="censored, event")
def status_strings() -> Any:
    return base().assign(new=base()["new"].map({0: "censored", 1: "event"})), ROLES


@case("17", meant=base)
def status_booleans() -> Any:
    return base().assign(new=base()["new"].astype(bool)), ROLES


@case("18", "PMG-EVENT-CODES", says="-1")
def status_minus_1() -> Any:
    return changed("new", -1), ROLES


@case("19", meant=lambda: base().assign(new=0))
def all_censored() -> Any:
    return base().assign(new=0), ROLES


@case("20", "PMG-CAUSE", estimator=lambda s: recidivism.cumulative_incidence(s), says="nobody has an event")
def no_event_of_any_cause() -> Any:
    return base().assign(new=0, why=None), {**ROLES, "cause": "why"}


@case("21", "PMG-EMPTY")
def no_rows() -> Any:
    return base().iloc[:0], ROLES


@case("23", "PMG-COLUMN", says="name of a column")
def values_of_another_length() -> Any:
    return base(), {**ROLES, "event": base()["new"].iloc[:59]}


@case("24", "PMG-COLUMN", says="aligned by nothing but position")
def values_with_another_index() -> Any:
    return base(), {**ROLES, "event": base()["new"].set_axis(range(100, 160))}


# ---- entry, weights --------------------------------------------------------------------------------------------------


@case("28", "PMG-ENTRY", says="1 spell(s) with entry after exit")
def entry_after_exit() -> Any:
    return base().assign(entry=np.where(base()["id"] == 9, 99, 0)), {**ROLES, "entry": "entry"}


@case("29", "PMG-NO-RISK-TIME", says="row 8")
def entry_equals_exit() -> Any:
    return base().assign(entry=np.where(base()["id"] == 9, base()["days"], 0)), {**ROLES, "entry": "entry"}


@case("32", meant=lambda: base().iloc[10:])
def weights_zero() -> Any:
    return base().assign(w=(base().index >= 10).astype(int)), {**ROLES, "weight": "w", "weight_kind": "frequency"}


@case("33", "PMG-WEIGHT")
def weights_negative() -> Any:
    return base().assign(w=np.where(base()["id"] == 5, -1.0, 1.0)), {**ROLES, "weight": "w", "weight_kind": "survey"}


@case("34", meant=base)
def weights_fractional() -> Any:
    return base().assign(w=0.25), {**ROLES, "weight": "w", "weight_kind": "survey"}


@case("34b", "PMG-WEIGHT", says="no whole number")
def fractional_frequencies() -> Any:
    return base().assign(w=0.25), {**ROLES, "weight": "w", "weight_kind": "frequency"}


@case("35", "PMG-WEIGHT")
def weights_nan() -> Any:
    return base().assign(w=np.where(base()["id"] == 5, np.nan, 1.0)), {**ROLES, "weight": "w", "weight_kind": "survey"}


@case("35b", "PMG-ROLES", says='weight_kind="frequency"')
def weights_of_no_kind() -> Any:
    return base().assign(w=1), {**ROLES, "weight": "w"}


# ---- causes ----------------------------------------------------------------------------------------------------------

CAUSE = {**ROLES, "cause": "why"}


@case("38", "PMG-CAUSE", estimator=lambda s: recidivism.cumulative_incidence(s, cause="7"), says="death, recidivism")
def no_event_of_interest() -> Any:
    return base(), CAUSE


@case("39", "PMG-CAUSE-TYPE", says="map({1: 'recidivism'")
def causes_as_integers() -> Any:
    return base().assign(why=base()["new"] * 2), CAUSE


@case("39b", "PMG-CAUSE", estimator=lambda s: recidivism.cumulative_incidence(s, cause=0), says="0 is censoring")
def cause_0_asked_for() -> Any:
    return base(), CAUSE


@case("39c", "PMG-CAUSE-CENSORED", says="death")
def deaths_as_censoring() -> Any:
    frame = base()
    return frame.assign(new=(frame["why"] == "recidivism").astype(int)), CAUSE


@case("39d", "PMG-CAUSE-MISSING")
def cause_missing() -> Any:
    return base().assign(why=base()["why"].mask(base()["id"] < 20)), CAUSE


# ---- spells of persons -----------------------------------------------------------------------------------------------

TWO = {**ROLES, "entry": "start"}


def cut(middle: int = 5) -> Frame:
    """Everybody followed longer than 5 days has two rows."""
    frame = base().assign(start=0)
    long = frame["days"] > middle
    return pd.concat(
        [frame[~long], frame[long].assign(start=middle), frame[long].assign(days=middle, new=0)], ignore_index=True
    )


@case("51", meant=base)
def spells_cut_in_two() -> Any:
    return cut(), TWO


@case("52", "PMG-OVERLAP", says="at risk twice")
def overlapping_spells() -> Any:
    frame = cut()
    return frame.assign(start=np.where((frame["start"] == 5) & (frame["id"] % 2 == 0), 3, frame["start"])), TWO


@case("52b", "PMG-OVERLAP", says="group= for several index cases")
def two_rows_without_entry() -> Any:
    return pd.concat([base(), base().iloc[[4]].assign(days=77)]), ROLES


@case("53", "PMG-ENTRY")
def start_after_stop() -> Any:
    frame = cut()
    return frame.assign(start=frame["start"].mask(frame.index == 2, 500)), TWO


@case("54", "PMG-NO-RISK-TIME")
def start_equals_stop_with_event() -> Any:
    frame = cut()
    place = int(np.flatnonzero(frame["new"] == 1)[0])
    return frame.assign(start=frame["start"].mask(frame.index == place, frame["days"])), TWO


@case("56", "PMG-DUPLICATE")
def identical_spell_twice() -> Any:
    return pd.concat([cut(), cut().iloc[[7]]], ignore_index=True), TWO


@case("57", "PMG-EVENT-THEN-SPELL", estimator=lambda s: recidivism.kaplan_meier(s, horizons=10), says="row")
def event_in_a_middle_spell() -> Any:
    frame = cut()
    first = int(np.flatnonzero((frame["days"] == 5) & (frame["start"] == 0) & frame.duplicated("id", keep=False))[0])
    return frame.assign(new=frame["new"].mask(frame.index == first, 1)), TWO


# ---- the rows --------------------------------------------------------------------------------------------------------

ELSEWHERE = {5, 6, 22, 30, 31, 36, 37, 40, 41, 42, 55}
FINE = [one for one in CASES if not one.code]
ERRORS = [one for one in CASES if one.code]


def test_catalogue_is_complete() -> None:
    numbers = {int(n.rstrip("abcd")) for one in CASES for n in one.numbers.split(",")}
    assert numbers | ELSEWHERE == set(range(43)) | set(range(51, 60))


def copied(frame: Any) -> Any:
    return frame.copy(deep=True) if isinstance(frame, pd.DataFrame) else frame.clone()


def unchanged(frame: Any, before: Any) -> None:
    if isinstance(frame, pd.DataFrame):
        pd.testing.assert_frame_equal(frame, before)
    else:
        assert frame.equals(before)


def put(one: Case, frame: Any, roles: dict[str, Any]) -> Any:
    data = Spells(frame, **roles)
    return data if one.estimator is None else one.estimator(data)


@pytest.mark.parametrize("one", ERRORS, ids=lambda one: one.id)
def test_error(one: Case) -> None:
    frame, roles = one.make()
    before = copied(frame)
    with pytest.raises(PmgEvalError) as caught:
        put(one, frame, roles)
    assert isinstance(caught.value, DataError)
    assert [problem.code for problem in caught.value.problems] == [one.code]
    assert one.says in str(caught.value)
    unchanged(frame, before)


@pytest.mark.parametrize("one", FINE, ids=lambda one: one.id)
def test_fine(one: Case) -> None:
    frame, roles = one.make()
    before = copied(frame)
    found = recidivism.kaplan_meier(Spells(frame, **roles), horizons=10)
    assert one.meant is not None
    assert 1 - found.values[0] == pytest.approx(survival(one.meant()), rel=1e-14)
    unchanged(frame, before)


def test_an_estimator_error_is_no_error_of_the_spells() -> None:
    for one in CASES:
        if one.estimator is not None:
            frame, roles = one.make()
            assert Spells(frame, **roles).n_persons == 60


def test_all_problems_in_one_report() -> None:
    frame = changed("days", -5).assign(w=-1.0)
    with pytest.raises(DataError) as caught:
        Spells(pd.concat([frame, frame.iloc[[0]]]), **{**ROLES, "event": "neww"}, weight="w", weight_kind="survey")
    assert [problem.code for problem in caught.value.problems] == ["PMG-COLUMN"]
    with pytest.raises(DataError) as caught:
        Spells(frame.assign(new=2), **ROLES, weight="w", weight_kind="survey")
    assert [problem.code for problem in caught.value.problems] == ["PMG-TIME-NEG", "PMG-EVENT-CODES", "PMG-WEIGHT"]


def test_same_day() -> None:
    """E5, E6: exits on day 0 are counted, and it is said; the other choices are at hand."""
    frame = changed("days", 0)
    with pytest.warns(PmgEvalWarning, match=r"PMG-SAME-DAY.*2 spell.*exclude"):
        counted = Spells(frame, **ROLES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        silent = Spells(frame, **ROLES, same_day="count")
        without = Spells(frame, **ROLES, same_day="exclude")
    with pytest.raises(DataError, match="PMG-SAME-DAY"):
        Spells(frame, **ROLES, same_day="error")
    values = [recidivism.kaplan_meier(data, horizons=10).values[0] for data in (counted, silent, without)]
    assert values[0] == values[1] == pytest.approx(1 - survival(frame))
    assert values[2] == pytest.approx(1 - survival(frame[frame["days"] > 0]))
    assert "2 spell(s)" in str(without.notes[0])
    with pytest.raises(DataError, match="no time at risk") as caught:  # nobody else is at risk on day 0
        Spells(frame.assign(start=0), **ROLES, entry="start")
    assert caught.value.code == "PMG-NO-RISK-TIME"
    assert Spells(frame.assign(start=0), **ROLES, entry="start", same_day="exclude").n_rows == 58


def test_one_person() -> None:
    """E22."""
    found = recidivism.kaplan_meier(Spells(base().iloc[[2]].assign(days=5, new=1), **ROLES), horizons=10).to_frame()
    assert found["estimate"].tolist() == [1.0]
    assert np.isnan(found["std_error"][0])
    np.testing.assert_allclose(found[["conf_low", "conf_high"]].to_numpy(dtype=float)[0], [0.025, 1.0])  # exact, n = 1


def test_all_censored_has_an_exact_upper_limit() -> None:
    """E19: 1 - 0.025^(1/n) with those still at risk, never an interval of width zero."""
    frame = base().assign(new=0)
    found = recidivism.kaplan_meier(Spells(frame, **ROLES), horizons=10).to_frame().iloc[0]
    at_risk = int((frame["days"] >= 10).sum())
    assert found["estimate"] == found["conf_low"] == 0
    assert found["conf_high"] == pytest.approx(1 - 0.025 ** (1 / at_risk), rel=1e-12)
    assert found["status"] == f"no event: exact upper limit from the {at_risk} at risk at the horizon"


@pytest.mark.filterwarnings("ignore:.PMG-FEW-AT-RISK")
def test_early_risk_set_that_runs_empty() -> None:
    """E30, E31: the product would be zero for ever; the warning offers a conditional curve."""
    late = base().assign(start=3, days=base()["days"] + 3)
    early = pd.DataFrame({"id": [901, 902], "days": [2, 3], "new": 1, "why": "recidivism", "start": 0})
    data = Spells(pd.concat([early, late], ignore_index=True), **ROLES, entry="start")
    with pytest.raises(InferenceError, match="start=3") as caught:
        recidivism.kaplan_meier(data, horizons=13)
    assert caught.value.code == "PMG-EMPTY-RISK-SET"
    with pytest.warns(PmgEvalWarning, match=r"PMG-EMPTY-RISK-SET.*start=3"):
        both = recidivism.kaplan_meier(data, horizons=[2, 13])
    assert both.values[0] == 0.5
    assert np.isnan(both.values[1])
    assert "start=3" in both.terms["status"][1]
    found = recidivism.kaplan_meier(data, horizons=13, start=3)
    assert 1 - found.values[0] == pytest.approx(survival(late, 13, entry=3), rel=1e-14)


def test_cumulative_incidence_is_exact_with_ties_and_sums_to_one() -> None:
    """E36, E37, E40, E42."""
    data = Spells(base(), **CAUSE)
    found = recidivism.cumulative_incidence(data, horizons=[10, 30])
    free, want = Fraction(1), {"recidivism": Fraction(0), "death": Fraction(0)}
    at = {}
    for day in range(1, 41):
        here = base()[base()["days"] == day]
        at_risk = int((base()["days"] >= day).sum())
        for cause in want if at_risk else ():
            want[cause] += free * Fraction(int((here["why"] == cause).sum()), at_risk)
        free *= 1 - (Fraction(int(here["new"].sum()), at_risk) if at_risk else 0)
        at[day] = {**want, "free": free}
    for cause in want:
        part = found.where(outcome=cause)
        np.testing.assert_allclose(part.values, [float(at[10][cause]), float(at[30][cause])], rtol=1e-14)
    assert found.where(horizon=10).values.sum() + float(at[10]["free"]) == pytest.approx(1.0, abs=1e-15)
    again = Spells(base().sample(frac=1, random_state=3), **CAUSE)
    np.testing.assert_array_equal(recidivism.cumulative_incidence(again, horizons=[10, 30]).values, found.values)


def test_no_phantom_cause() -> None:
    """E41: a category that never happens is no cause."""
    kinds = pd.CategoricalDtype(["death", "emigration", "recidivism"])
    data = Spells(base().assign(why=base()["why"].astype(kinds)), **CAUSE)
    assert data.causes == ("death", "recidivism")
    assert data.fingerprint == Spells(base(), **CAUSE).fingerprint


def test_gaps_are_not_at_risk_and_are_reported() -> None:
    """E55: somebody detained from day 5 to day 8 is not at risk then."""
    frame = cut()
    away = (frame["start"] == 5) & (frame["days"] > 8) & (frame["id"] % 2 == 0)
    gone = frame.assign(start=frame["start"].mask(away, 8))
    data = Spells(gone, **TWO)
    notice = next(notice for notice in data.notes if notice.code == "PMG-GAP")
    assert f"{3 * int(away.sum()):,} days in total" in notice.text
    found = recidivism.kaplan_meier(data, horizons=10)
    value = Fraction(1)
    for day in range(1, 11):
        at_risk = int(((gone["start"] < day) & (gone["days"] >= day)).sum())
        value *= 1 - Fraction(int(((gone["days"] == day) & (gone["new"] == 1)).sum()), at_risk)
    assert 1 - found.values[0] == pytest.approx(float(value), rel=1e-14)
    assert notice.text in found.provenance.notes
