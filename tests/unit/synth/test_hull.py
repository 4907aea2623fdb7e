"""synth.hull: hand-worked areas, what is said about each, and the claim that short windows leave the effect open."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from _shared import dataset, needs_shared
from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Estimate
from pmg_eval.panel import Panel
from pmg_eval.synth import _hull
from pmg_eval.synth._hull import hull

# Years 1 and 2 are the corners of a square (b, d, c, e) around a; year 3 follows.
PATHS = {"a": (2, 2, 5), "b": (1, 1, 4), "c": (3, 3, 4), "d": (1, 3, 1), "e": (3, 1, 1)}


def panel_of(paths: dict[str, tuple[float, ...]], starts: dict[str, float] | None = None, **roles: Any) -> Panel:
    starts = {"a": 3} if starts is None else starts
    rows = [(area, year, starts.get(area, 0), y) for area, path in paths.items() for year, y in enumerate(path, 1)]
    df = pd.DataFrame(rows, columns=["area", "year", "start", "y"]).dropna()
    for name in [name for name in roles if name.startswith("col_")]:
        df[name[4:]] = roles.pop(name)
    return Panel(df, unit="area", time="year", cohort="start", never=0, **roles)


def row(estimate: Estimate[Any], unit: Any = "a") -> dict[str, Any]:
    table = estimate.details.table
    return dict(table[table["unit"] == unit].iloc[0])


def test_many_perfect_fits_by_hand() -> None:
    """b and c average to a and go on to 4; d and e average to a and go on to 1: the effect is between 1 and 4."""
    found = hull(panel_of(PATHS), "y")
    frame = found.to_frame()
    assert found.labels == ["estimand", "outcome", "unit", "cohort", "contrast"]
    assert frame[["estimand", "unit", "cohort", "contrast"]].to_numpy().tolist() == [
        ["att", "a", 3, "low"],
        ["att", "a", 3, "high"],
    ]
    np.testing.assert_allclose(frame["estimate"], [1.0, 4.0], atol=1e-9)
    assert set(frame["status"]) == {"inside, many perfect fits"}
    assert frame[["std_error", "p_value", "conf_low", "conf_high"]].isna().all(axis=None)
    assert (frame["n_control"] == 4).all()
    said = row(found)
    assert (said["inside"], said["unique"], said["distance"], said["both_signs"]) == (True, False, 0.0, False)
    assert (said["n_pre"], said["n_post"], said["n_donors"]) == (2, 1, 4)
    assert said["width"] == pytest.approx(3.0)
    assert np.isnan(said["effective_donors"])
    lower = hull(panel_of({**PATHS, "a": (2, 2, 3)}), "y")
    assert row(lower)["both_signs"]


@pytest.mark.parametrize(
    ("a", "inside", "distance", "low", "high", "effective", "status"),
    [
        ((1, 1, 5), True, 0.0, 1.0, 1.0, 1.0, "inside, unique weights"),  # b itself
        ((1, 2, 5), True, 0.0, 2.5, 2.5, 2.0, "inside, unique weights"),  # half b, half d
        ((0, 2, 5), False, np.sqrt(0.5), 2.5, 2.5, 2.0, "outside the hull"),  # the same, at distance 1 in one year
        ((9, 9, 5), False, 6.0, 1.0, 1.0, 1.0, "outside the hull"),  # beyond c
    ],
)
def test_one_fit_by_hand(
    a: Any, inside: bool, distance: float, low: float, high: float, effective: float, status: str
) -> None:
    found = hull(panel_of({**PATHS, "a": a}), "y")
    said = row(found)
    assert (said["inside"], said["unique"], said["status"]) == (inside, True, status)
    assert said["distance"] == pytest.approx(distance, abs=1e-12)
    assert said["effective_donors"] == pytest.approx(effective)
    np.testing.assert_allclose(found.values, [low, high], atol=1e-9)
    assert said["width"] == 0.0


def test_a_twin_of_a_donor() -> None:
    """Outside, with many best fits: of one future, or of two."""
    same = row(hull(panel_of({**PATHS, "a": (0, 0, 5), "b2": (1, 1, 4)}), "y"))
    assert (same["inside"], same["unique"], same["status"]) == (False, False, "outside the hull, many best fits")
    assert same["low"] == same["high"] == pytest.approx(1.0)
    other = row(hull(panel_of({**PATHS, "a": (0, 0, 5), "b2": (1, 1, 7)}), "y"))
    assert (other["low"], other["high"]) == pytest.approx((-2.0, 1.0))
    assert other["both_signs"]


def test_one_period_before() -> None:
    """Level 2 between 1, 3, 1 and 3: any mixture of half low, half high."""
    found = hull(panel_of({area: path[1:] for area, path in PATHS.items()}, {"a": 2}), "y")
    assert row(found)["n_pre"] == 1
    np.testing.assert_allclose(found.values, [5 - 4, 5 - 1], atol=1e-9)  # b with d or c .. : 1 + (4 or 1)


def test_anticipation_is_not_fitted() -> None:
    wild = {**PATHS, "a": (2, 2, 40, 5)} | {k: (*v[:2], 0, v[2]) for k, v in PATHS.items() if k != "a"}
    found = hull(panel_of(wild, {"a": 4}), "y", anticipation=1)
    np.testing.assert_allclose(found.values, [1.0, 4.0], atol=1e-9)
    assert row(found)["n_pre"] == 2
    assert found.provenance.options["anticipation"] == 1


def test_rate_ratio_by_hand() -> None:
    """Rates per 1,000 of PATHS; a has 1,000 person-years, later 2,000: expected 8 or 2 events, observed 10."""
    people = {"a": [1000, 1000, 2000], "b": [500] * 3, "c": [700] * 3, "d": [900] * 3, "e": [100] * 3}
    counts = {k: tuple(r * n / 1000 for r, n in zip(PATHS[k], people[k], strict=True)) for k in PATHS}
    panel = panel_of(counts, col_people=[n for each in people.values() for n in each], exposure="people")
    found = hull(panel, "y", family="poisson")
    np.testing.assert_allclose(found.values, [10 / 8, 10 / 2], rtol=1e-9)
    assert found.scale == "log"
    assert set(found.terms["estimand"]) == {"rate_ratio"}
    assert not row(found)["both_signs"]


def test_rate_ratio_where_a_fit_expects_no_event() -> None:
    paths = {**PATHS, "d": (1, 3, 0), "e": (3, 1, 0)}
    found = hull(panel_of(paths, col_people=1000.0, exposure="people"), "y", family="poisson")
    assert found.values[0] == pytest.approx(5 / 4)
    assert np.isnan(found.values[1])
    assert (
        found.terms["status"].tolist() == ["inside, many perfect fits; no upper bound: a best fit expects no event"] * 2
    )


def test_share_of_the_first_period() -> None:
    """Start in the middle of year 3: the gaps of years 3 and 4 over 1.5 treated years."""
    paths = {"a": (2, 2, 5, 8), "b": (1, 1, 4, 4), "c": (3, 3, 4, 4), "d": (1, 3, 1, 2), "e": (3, 1, 1, 2)}
    found = hull(panel_of(paths, {"a": 3.5}, partial_period="share"), "y")
    np.testing.assert_allclose(found.values, [(1 + 4) / 1.5, (4 + 6) / 1.5], atol=1e-9)
    people = panel_of(paths, {"a": 3.5}, partial_period="share", col_people=1000.0, exposure="people")
    with pytest.raises(DesignError) as caught:
        hull(people, "y", family="poisson")
    assert caught.value.code == "PMG-SHARE"


def test_gaps() -> None:
    """An area may have them, on both sides of its start; a donor with one is left out and named."""
    paths = {
        "a": (2, np.nan, 2, 5, np.nan),
        "b": (1, 0, 1, 4, 9),
        "c": (3, 0, 3, 4, 9),
        "d": (1, 0, 3, 1, 9),
        "e": (3, 0, 1, 1, 9),
        "f": (2, np.nan, 2, 5, 9),
    }
    found = hull(panel_of(paths, {"a": 4}, missing="pairwise"), "y")
    np.testing.assert_allclose(found.values, [1.0, 4.0], atol=1e-9)
    assert (row(found)["n_pre"], row(found)["n_post"]) == (2, 1)
    assert found.details is not None
    assert found.details.excluded.to_numpy().tolist() == [["f", "not observed in 1 of 5 periods"]]
    assert any("1 units (not observed in 1 of 5 periods)" in note for note in found.provenance.notes)


def test_an_area_that_cannot_be_placed_keeps_its_rows() -> None:
    """z starts in year 2 and anticipation takes its only earlier year."""
    paths = {**PATHS, "z": (1, 1, 1)}
    found = hull(panel_of(paths, {"a": 3, "z": 2}), "y", anticipation=1)
    assert found.terms["unit"].tolist() == ["a", "a", "z", "z"]
    assert np.isnan(found.values[2:]).all()
    assert set(found.terms["status"][2:]) == {"not observed before its start"}
    assert (row(found, "z")["n_pre"], row(found, "z")["inside"]) == (0, False)
    with pytest.raises(DesignError) as caught:
        hull(panel_of(PATHS), "y", anticipation=2)
    assert caught.value.code == "PMG-SHORT-PRE"


def test_numerical_trouble_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def trouble(*_: Any) -> Any:
        raise NumericalError("PMG-LP", "no solution was found")

    monkeypatch.setattr(_hull, "fit_weights", trouble)
    found = hull(panel_of(PATHS), "y")
    assert np.isnan(found.values).all()
    assert set(found.terms["status"]) == {"no solution was found"}


def test_donors() -> None:
    """A list narrows the pool; placebos see everybody."""
    two = hull(panel_of(PATHS), "y", donors=["b", "c"])
    assert row(two)["status"] == "inside, unique weights"
    np.testing.assert_allclose(two.values, [1.0, 1.0], atol=1e-9)
    assert set(two.details.excluded["donor"]) == {"d", "e"} if two.details is not None else False
    panel = panel_of(PATHS)
    everybody = hull(panel.with_cohort(np.full(5, 3.0)), "y", donors="others")
    assert everybody.details is not None
    table = everybody.details.table
    assert table["unit"].tolist() == list("abcde")
    assert (table["n_donors"] == 4).all()
    assert table["inside"].tolist() == [True, False, False, False, False]
    np.testing.assert_allclose(everybody.values[:2], [1.0, 4.0], atol=1e-9)
    # Of b the nearest mixture lies on the edge between d and e, at (2, 2), where a is too: futures 1 and 5.
    assert (row(everybody, "b")["low"], row(everybody, "b")["high"]) == pytest.approx((4 - 5, 4 - 1))
    assert row(everybody, "b")["distance"] == pytest.approx(1.0)


def test_bounds_are_not_averaged() -> None:
    found = hull(panel_of(PATHS), "y")
    for by in (None, "unit", "cohort"):
        with pytest.raises(InferenceError) as caught:
            found.average(by=by)  # type: ignore[arg-type]
        assert caught.value.code == "PMG-NO-TERMS"
    with pytest.raises(InferenceError) as caught:
        found.cov()
    assert caught.value.code == "PMG-NO-LAW"


def test_saved_and_printed() -> None:
    found = hull(panel_of({**PATHS, "a": (1, 1, 5)}), "y")
    saved = json.loads(found.to_json())
    assert "NaN" not in found.to_json()
    np.testing.assert_allclose(Estimate.from_dict(saved).values, [1.0, 1.0])
    assert "synth.hull" in found.summary()
    assert found.provenance.options == {"outcome": "y", "donors": "untreated", "family": "gaussian", "anticipation": 0}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"donors": "all"}, "PMG-OPTION"),
        ({"donors": ["q"]}, "PMG-DONORS"),
        ({"donors": ["a"]}, "PMG-DONORS"),
        ({"family": "binomial"}, "PMG-OPTION"),
        ({"anticipation": -1}, "PMG-OPTION"),
    ],
)
def test_options(options: Any, code: str) -> None:
    with pytest.raises(DataError) as caught:
        hull(panel_of(PATHS), "y", **options)
    assert caught.value.code == code


def test_periods_as_labels() -> None:
    df = pd.DataFrame(
        [
            (a, f"{2019 + t}-01-01", "2022-01-01" if a == "a" else None, y)
            for a, p in PATHS.items()
            for t, y in enumerate(p, 1)
        ],
        columns=["area", "day", "start", "y"],
    )
    df["day"], df["start"] = pd.to_datetime(df["day"]), pd.to_datetime(df["start"])
    found = hull(Panel(df, unit="area", time="day", cohort="start", never=None, freq="Y"), "y")
    assert found.terms["cohort"].astype(str).tolist() == ["2022", "2022"]
    np.testing.assert_allclose(found.values, [1.0, 4.0], atol=1e-9)


# ---- the claim -------------------------------------------------------------------------------------------------------


def programme(seed: int, years: int) -> Panel:
    """27 treated among 200 areas, persistent rates, no effect; the last ``years`` before the start and three after."""
    rng = np.random.default_rng(seed)
    shock = rng.normal(size=(200, 16)).cumsum(axis=1)
    rate = 13 + 3 * rng.normal(size=(200, 1)) + 0.5 * shock + 0.5 * rng.normal(size=(200, 16))
    year = np.arange(16)
    df = pd.DataFrame({"area": np.repeat(np.arange(200), 16), "year": np.tile(year, 200), "rate": rate.ravel()})
    df["start"] = np.where(df["area"] < 27, 13, 0)
    return Panel(df[df["year"] >= 13 - years], unit="area", time="year", cohort="start", never=0)


@pytest.mark.parametrize("seed", range(3))
def test_short_windows_leave_the_effect_open(seed: int) -> None:
    """Fewer years before the start: the same areas and more are inside, and every range is wider."""
    tables = {years: hull(programme(seed, years), "rate").details.table for years in (4, 7, 12)}  # type: ignore[union-attr]
    inside = {years: table["inside"].to_numpy() for years, table in tables.items()}
    assert inside[4].sum() > inside[7].sum() > inside[12].sum()
    assert inside[4].sum() >= 18
    for short, long in ((4, 7), (7, 12)):
        assert inside[short][inside[long]].all()
        both = inside[long]
        assert (tables[short]["low"][both] <= tables[long]["low"][both] + 1e-6).all()
        assert (tables[short]["high"][both] >= tables[long]["high"][both] - 1e-6).all()
    open_ = tables[4][inside[4]]
    assert open_["both_signs"].mean() > 0.5  # the truth is zero: the range says nothing either way
    assert not open_["unique"].any()


@needs_shared
def test_california() -> None:
    """Outside the hull of the 38 other states: objective 52.129571, one set of weights, effect -19.5136."""
    df = dataset("california_prop99")
    df["start"] = np.where(df["State"] == "California", 1989, 0)
    found = hull(Panel(df, unit="State", time="Year", cohort="start", never=0), "PacksPerCapita")
    said = row(found, "California")
    assert (said["inside"], said["unique"], said["status"]) == (False, True, "outside the hull")
    assert (said["n_pre"], said["n_donors"]) == (19, 38)
    assert 19 * said["distance"] ** 2 == pytest.approx(52.129571, abs=1e-6)
    np.testing.assert_allclose(found.values, [-19.5136, -19.5136], atol=1e-4)
