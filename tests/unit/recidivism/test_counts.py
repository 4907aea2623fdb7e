"""Counts add up, travel as a table, and refuse what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pmg_eval import recidivism
from pmg_eval.errors import DataError, InferenceError
from pmg_eval.panel import Spells
from pmg_eval.recidivism import Counts

pytestmark = pytest.mark.filterwarnings("ignore:.PMG-FEW-AT-RISK")


def frame(n: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    out = pd.DataFrame({"id": np.arange(n), "start": rng.integers(0, 3, n), "event": rng.integers(0, 2, n)})
    out["days"] = out["start"] + rng.integers(1, 12, n)
    out["why"] = np.where(out["event"] == 1, rng.choice(["recidivism", "death"], n), None)
    out["cohort"], out["sex"] = rng.choice([2019, 2020], n), rng.choice(["boys", "girls"], n)
    return out


def spells(df: pd.DataFrame | None = None, **roles: Any) -> Spells:
    fixed = {"person": "id", "exit": "days", "event": "event", "cause": "why", "group": "cohort"}
    return Spells(frame() if df is None else df, **{**fixed, **roles})


def refused(call: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("roles", [{}, {"entry": "start"}, {"group": ["cohort", "sex"]}, {"group": None}])
def test_round_trip_through_a_table(roles: dict[str, Any]) -> None:
    counts = Counts.of(spells(**roles), definition="new conviction, 2024 file")
    table = counts.to_frame().sample(frac=1, random_state=1)
    group = roles.get("group", "group")
    back = Counts.from_frame(
        table.drop(columns="group") if isinstance(group, list) else table, group=group, definition=counts.definition
    )
    if group is None:
        assert back.groups["group"].tolist() == ["all"]
    for name in ("group", "day", "entered", "exits"):
        np.testing.assert_array_equal(getattr(back.cells, name), getattr(counts.cells, name))
    assert (back.causes, back.time_unit) == (counts.causes, counts.time_unit)
    np.testing.assert_array_equal(back.n_persons, counts.n_persons)
    assert back.fingerprint == counts.fingerprint == spells(**roles).fingerprint


def test_what_group_by_returns() -> None:
    """As a query gives it: no entered column, several rows per day, an unsigned dtype."""
    df = frame()
    query = df.assign(censored=1 - df["event"], recidivism=df["why"] == "recidivism", death=df["why"] == "death")
    query = query.astype({"censored": "uint8", "recidivism": "int8", "death": int})
    found = Counts.from_frame(query, time="days", group="cohort", causes=["recidivism", "death"])
    assert (found.cells.exits == Counts.of(spells()).cells.exits).all()
    left = recidivism.cumulative_incidence(found, horizons=[3, 6])
    right = recidivism.cumulative_incidence(spells(), horizons=[3, 6])
    np.testing.assert_array_equal(left.values, right.values)
    np.testing.assert_array_equal(left.cov(), right.cov())


def test_adding_merges_groups_causes_and_days() -> None:
    one = spells(frame().query("cohort == 2019 and why != 'death'"))
    two = spells(frame(seed=5).assign(cohort=lambda d: d["cohort"] + 1, id=lambda d: d["id"] + 500))
    both = pd.concat(
        [
            frame().query("cohort == 2019 and why != 'death'"),
            frame(seed=5).assign(cohort=lambda d: d["cohort"] + 1, id=lambda d: d["id"] + 500),
        ]
    )
    added = Counts.of(one) + Counts.of(two)
    assert added == Counts.of(spells(both)) == Counts.of(two) + Counts.of(one)
    assert added.groups["group"].tolist() == [2019, 2020, 2021]
    assert added.causes == ("death", "recidivism")
    assert hash(added) == hash(Counts.of(spells(both)))
    assert added != Counts.of(two)
    assert (added == 3) is False


def test_what_cannot_be_added() -> None:
    counts = Counts.of(spells(), definition="2019 file")
    assert refused(lambda: counts + Counts.of(spells(time_unit="weeks"), definition="2019 file")).code == "PMG-COUNTS"
    assert "definitions" in str(refused(lambda: counts + Counts.of(spells())))
    assert "group columns" in str(refused(lambda: counts + Counts.of(spells(group="sex"), definition="2019 file")))
    zero = frame().assign(days=lambda d: d["days"].where(d["id"] > 2, 0))
    kept, gone = (Counts.of(spells(zero, same_day=rule)) for rule in ("count", "exclude"))
    assert "day 0" in str(refused(lambda: kept + gone))
    assert (kept + Counts.of(spells())).same_day == "count"
    with pytest.raises(TypeError):
        counts + 1


def test_what_counts_do_not_carry() -> None:
    weighted = spells(frame().assign(w=0.5), weight="w", weight_kind="survey")
    with pytest.raises(InferenceError, match="PMG-NEED-SPELLS"):
        Counts.of(weighted)
    with pytest.raises(InferenceError, match="PMG-NEED-SPELLS"):
        Counts.of(spells(cluster="sex"))
    with pytest.raises(InferenceError, match="PMG-NEED-SPELLS"):
        recidivism.cumulative_incidence(Counts.of(spells()), variance="robust", horizons=5)
    again = frame().assign(id=lambda d: d["id"] // 2 * 2, cohort=1, start=np.arange(60) % 2 * 50)
    again["days"] += again["start"]
    assert refused(lambda: Counts.of(spells(again, entry="start"))).code == "PMG-EVENT-THEN-SPELL"
    assert refused(lambda: Counts.of(frame())).code == "PMG-SPELLS"  # type: ignore[arg-type]
    assert refused(lambda: recidivism.kaplan_meier(frame())).code == "PMG-SPELLS"  # type: ignore[arg-type]


def test_malformed_tables() -> None:
    good = Counts.of(spells(entry="start")).to_frame()

    def read(table: pd.DataFrame, **more: Any) -> DataError:
        return refused(lambda: Counts.from_frame(table, **more))

    suppressed = good.astype({"death": object})
    suppressed.loc[2, "death"] = "<5"
    assert "suppressed" in str(read(suppressed))
    assert read(good.assign(death=-1)).code == "PMG-COUNTS"
    assert read(good.assign(death=0.5)).code == "PMG-COUNTS"
    assert read(good.assign(death=np.nan)).code == "PMG-COUNTS"
    assert read(good.assign(death=True)).code == "PMG-COUNTS"
    assert read(good.assign(time=good["time"] - 5)).code == "PMG-COUNTS"
    assert "the numbers that enter and leave differ" in str(read(good.iloc[1:]))
    late = good.groupby("group")["time"].transform("max") == good["time"]
    swapped = good.assign(entered=np.where(late, good.groupby("group")["entered"].transform("sum"), 0))
    assert "more leave than are at risk" in str(read(swapped))
    assert read(good.iloc[:0]).code == "PMG-EMPTY"
    assert read(good, censored="cens").code == "PMG-COLUMN"
    assert read(good[["group", "time", "censored"]]).code == "PMG-COLUMN"
    assert read(good, time_unit="hours").code == "PMG-OPTION"
    assert read(good, n_persons={2019: 3}).code == "PMG-COUNTS"
    assert read(good.rename(columns={"death": "entered2"}), causes=["time"]).code == "PMG-CAUSE-NAME"
    assert Counts.from_frame(good, n_persons={2019: 10, 2020: 11}).n_persons.tolist() == [10, 11]


def test_shown() -> None:
    counts = Counts.of(spells(), definition="file of 2024")
    assert "60 persons in 2 group(s)" in repr(counts)
    assert "definition: file of 2024" in repr(counts)
    assert not counts.late_entry
    assert Counts.of(spells(entry="start")).late_entry


def test_counts_are_frozen() -> None:
    counts = Counts.of(spells())
    with pytest.raises(AttributeError):
        counts.time_unit = "weeks"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        (counts + counts).cells.exits[0, 0] = 1
