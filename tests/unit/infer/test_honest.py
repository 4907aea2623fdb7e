"""What goes into a sensitivity analysis and what comes out; the tests themselves are in test_honest_sets."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import pmg_eval as pe
from pmg_eval import did, infer
from pmg_eval.errors import DataError, DesignError, InferenceError, PmgEvalWarning
from pmg_eval.estimate import Draws, Estimate, make_terms
from unit.estimate.made import by_covariance, by_influence, support
from unit.resample.panels import counts, panel_of, staggered

TIME = [-4, -3, -2, 0, 1, 2]
VALUES = np.array([0.2, 0.1, -0.1, 1.0, 1.3, 1.2])
COV = 0.02 * (np.eye(6) + 0.5)
ONE = infer.RelativeMagnitude(strengths=(1.0,))


def study(values: Any = VALUES, cov: Any = COV, time: Any = TIME, **more: Any) -> Estimate[None]:
    return by_covariance(values, cov, {"event_time": time}, **more)


def ends(found: pe.Sensitivity) -> Any:
    return found.bounds[["conf_low", "conf_high"]].to_numpy()


def test_columns_and_first_row() -> None:
    found = infer.honest(study(), reference=-1)
    assert list(found.bounds) == [
        *("strength", "conf_low", "conf_high", "id_low", "id_high", "conf_error", "method", "status"),
    ]
    assert found.bounds["method"].tolist() == ["original"] + 5 * ["C-LF"]
    assert found.bounds["strength"].tolist() == [0, 0, 0.5, 1, 1.5, 2]
    assert_allclose(ends(found)[0], 1 + np.array([-1, 1]) * 1.959963984540054 * np.sqrt(0.03))
    assert found.assumption.startswith("effect at event time 0: trends diverge from one period to the next by at most")
    saved = json.loads(json.dumps(found.to_dict()))
    assert saved["breakdown"] == found.breakdown
    assert len(saved["bounds"]) == 6


def test_identified_sets_by_hand() -> None:
    # largest change before the start: 0.2 (from -3 to -2); one, two and three steps after the reference
    table = infer.honest(study(), reference=-1, target=2).bounds
    assert_allclose(table["id_low"][1:], 1.2 - 3 * 0.2 * np.array([0, 0.5, 1, 1.5, 2]))
    assert_allclose(table["id_high"][1:], 1.2 + 3 * 0.2 * np.array([0, 0.5, 1, 1.5, 2]))
    average = infer.honest(study(), reference=-1, target="average", restriction=ONE).bounds.iloc[-1]
    assert_allclose([average["id_low"], average["id_high"]], 3.5 / 3 + np.array([-1, 1]) * 0.2 * 6 / 3)
    # the line from -2 to -1 goes up by 0.1 a period; bends add M, 3 M, 6 M
    bent = infer.honest(study(), reference=-1, target=1, restriction=infer.Smoothness(strengths=(0.0, 0.05))).bounds
    assert_allclose(bent["id_low"][1:], [1.3 - 0.2, 1.3 - 0.2 - 3 * 0.05])
    assert_allclose(bent["id_high"][1:], [1.3 - 0.2, 1.3 - 0.2 + 3 * 0.05])
    # bends before the start: -0.1 and 0.3 (at -3 and -2)
    both = infer.honest(study(), reference=-1, restriction=infer.Combined(strengths=(1.0,))).bounds.iloc[-1]
    assert_allclose([both["id_low"], both["id_high"]], 1 - 0.1 + np.array([-0.3, 0.3]))
    positive = infer.RelativeMagnitude(strengths=(1.0,), sign="positive")
    falling = infer.RelativeMagnitude(strengths=(1.0,), monotone="decreasing")
    for restriction, expected in ((positive, [0.8, 1.0]), (falling, [1.0, 1.2])):
        row = infer.honest(study(), reference=-1, restriction=restriction).bounds.iloc[-1]
        assert_allclose([row["id_low"], row["id_high"]], expected, atol=1e-9)


def test_the_estimates_may_contradict_the_restriction() -> None:
    steep = np.array([3.0, 2.0, 1.0, 0.0, 0.0, 0.0])  # falls by one a period before, stays after
    rising = infer.Smoothness(strengths=(0.1,), sign="positive")
    row = infer.honest(study(steep), reference=-1, restriction=rising).bounds.iloc[-1]
    assert np.isnan(row["id_low"])
    assert "allow no effect" in row["status"]
    sure = infer.honest(study(steep, COV * 1e-6), reference=-1, restriction=rising).bounds.iloc[-1]
    assert np.isnan([sure["conf_low"], sure["conf_high"]]).all()
    assert "contradict" in sure["status"]
    bent = infer.honest(study(), reference=-1, restriction=infer.Smoothness(strengths=(0.01,))).bounds.iloc[-1]
    assert bent["status"] == "estimates before the start bend by up to 0.3 themselves"


def test_targets() -> None:
    def row(target: Any) -> Any:
        return ends(infer.honest(study(), reference=-1, target=target, restriction=ONE, method="Conditional"))

    same = [("first", 0), ("first", {0: 1.0}), ("first", [1, 0, 0]), ("average", np.full(3, 1 / 3)), (1, {1: 1})]
    for left, right in same:
        assert_allclose(row(left), row(right), rtol=1e-9)
    for bad in (7, {-2: 1.0}, [1.0], [0, 0, 0], {0: np.nan}):
        with pytest.raises(DataError, match="PMG-TARGET"):
            row(bad)
    with pytest.raises(DataError, match="PMG-OPTION"):
        row("last")


def test_breakdown_is_where_the_interval_reaches_no_effect() -> None:
    for options in ({}, {"restriction": infer.Smoothness()}, {"target": "average", "method": "Conditional"}):
        found = infer.honest(study(), reference=-1, **options)
        kind = options.get("restriction", infer.RelativeMagnitude())
        for factor, inside in ((1.0, True), (1 - 1e-6, False)):
            strengths = (factor * found.breakdown,)
            again = infer.honest(study(), reference=-1, **{**options, "restriction": type(kind)(strengths=strengths)})
            low, high = ends(again)[-1]
            assert bool(low <= 0 <= high) is inside
    table = infer.honest(study(), reference=-1).bounds
    breakdown = infer.honest(study(), reference=-1).breakdown
    inside = ((table["conf_low"] <= 0) & (table["conf_high"] >= 0)).to_numpy()[1:]
    assert_array_equal(inside, table["strength"].to_numpy()[1:] >= breakdown)
    # found past the largest strength, and nowhere
    assert infer.honest(study(), reference=-1, restriction=infer.RelativeMagnitude(strengths=(0.5,))).breakdown > 0.5
    sure = infer.honest(study(VALUES + 100 * (np.array(TIME) >= 0)), reference=-1)
    assert np.isnan(sure.breakdown)
    assert infer.honest(study(VALUES - 1.0 * (np.array(TIME) >= 0)), reference=-1).breakdown == 0


def test_monte_carlo_error() -> None:
    tables = [infer.honest(study(), reference=-1, rng=seed, draws=1_000) for seed in range(6)]
    spread = np.std([ends(table) for table in tables], axis=0).max(axis=1)[1:]
    said = np.mean([table.bounds["conf_error"] for table in tables], axis=0)[1:]
    assert (spread < 3 * said).all()
    assert (spread > said / 10).all()
    assert "Monte-Carlo error of the breakdown value" in tables[0].provenance.notes[-1]
    exact = infer.honest(study(), reference=-1, method="Conditional")
    assert (exact.bounds["conf_error"] == 0).all()
    assert not exact.provenance.notes


def test_same_seed_same_bits() -> None:
    one, two = (infer.honest(study(), reference=-1, rng=3) for _ in range(2))
    assert json.dumps(one.to_dict()) == json.dumps(two.to_dict())
    three = infer.honest(study(), reference=-1, rng=np.random.default_rng(3))
    assert_array_equal(ends(one), ends(three))


@pytest.mark.parametrize("factor", [1e-9, 1e6, -1.0])
def test_scale_equivariance(factor: float) -> None:
    for options in (
        {"method": "Conditional"},
        {"restriction": infer.Smoothness()},
        {"restriction": infer.RelativeMagnitude(sign="positive" if factor > 0 else "negative"), "target": "average"},
    ):
        if factor < 0 and len(options) == 2:  # simulated: the draws are not mirrored
            continue
        plain = infer.honest(study(), reference=-1, **options)
        if "target" in options:
            plain = infer.honest(study(), reference=-1, target="average", restriction=options["restriction"])
        scaled = infer.honest(study(factor * VALUES, factor**2 * COV), reference=-1, **options)
        names = ["conf_low", "conf_high", "id_low", "id_high"]
        there = (
            factor * plain.bounds[names if factor > 0 else ["conf_high", "conf_low", "id_high", "id_low"]].to_numpy()
        )
        assert_allclose(scaled.bounds[names].to_numpy(), there, rtol=2e-6, atol=1e-6 * abs(factor))
        power = abs(factor) if isinstance(options.get("restriction"), infer.Smoothness) else 1.0
        assert scaled.breakdown == pytest.approx(power * plain.breakdown, rel=1e-5)


def test_ratios_are_judged_as_logs() -> None:
    ratio = study(np.exp(VALUES), COV * np.outer(np.exp(VALUES), np.exp(VALUES)), scale="log")
    for options in ({}, {"restriction": infer.Smoothness(), "target": "average"}):
        found, logs = infer.honest(ratio, reference=-1, **options), infer.honest(study(), reference=-1, **options)
        for name in ("conf_low", "conf_high", "id_low", "id_high"):
            assert_allclose(found.bounds[name], np.exp(logs.bounds[name]), rtol=1e-7)
        assert found.breakdown == pytest.approx(logs.breakdown, rel=1e-6)
    grid = infer.honest(ratio, reference=-1, restriction=ONE, grid=np.linspace(0.5, 20, 60))
    assert ends(grid)[-1] == pytest.approx(np.exp(ends(logs)[0]), abs=10)
    assert set(ends(grid)[-1].round(9)) <= set(np.linspace(0.5, 20, 60).round(9))


def test_guard_and_draws_give_the_interval_of_the_estimate() -> None:
    guarded = study(known_support=support([8.0] * 6, [8.0] * 6))
    for estimate in (guarded, by_influence(VALUES, {"event_time": TIME}, treated=np.ones((30, 6)))):
        found = infer.honest(estimate, reference=-1, target=1, restriction=ONE)
        own = estimate.to_frame().iloc[4]
        assert_allclose(ends(found)[0], own[["conf_low", "conf_high"]].astype(float), rtol=1e-9)
        raw = infer.honest(estimate, reference=-1, target=1, restriction=ONE, guard=False)
        own = estimate.to_frame(guard=False).iloc[4]
        assert_allclose(ends(raw)[0], own[["conf_low", "conf_high"]].astype(float), rtol=1e-9)
    errors = np.random.default_rng(0).standard_t(4, size=(400, 6)) @ np.linalg.cholesky(COV).T
    drawn = Estimate(VALUES, make_terms({"event_time": TIME}, 6), Draws(errors, np.full(6, 1 / 401)))
    found = infer.honest(drawn, reference=-1, restriction=ONE)
    assert_allclose(ends(found)[0], drawn.to_frame().iloc[3][["conf_low", "conf_high"]].astype(float), rtol=1e-9)
    assert "set of draws" in found.provenance.notes[0]
    few = Estimate(VALUES, make_terms({"event_time": TIME}, 6), Draws(errors[:15], np.full(6, 1 / 16)))
    with pytest.raises(InferenceError, match="PMG-UNATTAINABLE"):
        infer.honest(few, reference=-1)


def test_too_few_pre_periods() -> None:
    two = study().where(event_time=slice(-2, None))
    assert infer.honest(two, reference=-1).breakdown > 0
    assert (infer.honest(two, reference=-1, restriction=infer.Smoothness()).bounds["strength"].diff()[2:] > 0).all()
    with pytest.raises(DesignError, match=r"PMG-FEW-PRE.*Combined needs 2.*RelativeMagnitude"):
        infer.honest(two, reference=-1, restriction=infer.Combined())
    for restriction in (infer.RelativeMagnitude(), infer.Smoothness()):
        with pytest.raises(DesignError, match=r"PMG-FEW-PRE.*there are none.*universal"):
            infer.honest(study().where(event_time=slice(0, None)), reference=-1, restriction=restriction)


def test_gaps_and_missing_terms() -> None:
    for lost in (-2, 1):
        with pytest.raises(DesignError, match=rf"PMG-GAP.*where: {lost}"):
            infer.honest(study().where(event_time=lambda time, lost=lost: time != lost), reference=-1)
        hole = np.where(np.array(TIME) == lost, np.nan, VALUES)
        with pytest.raises(DesignError, match=rf"PMG-GAP.*where: {lost}"):
            infer.honest(study(hole), reference=-1)
    # outer periods without a value are left out, and said
    outer = study(np.array([np.nan, *VALUES[1:5], np.nan]))
    found = infer.honest(outer, reference=-1)
    assert_allclose(ends(found), ends(infer.honest(study().where(event_time=slice(-3, 1)), reference=-1)))
    assert any("event times -4" in note for note in found.provenance.notes)
    assert any("event times 2" in note for note in found.provenance.notes)
    nothing = study(np.where(np.array(TIME) >= 0, np.nan, VALUES))
    with pytest.raises(InferenceError, match="PMG-NO-SE"):
        infer.honest(nothing, reference=-1)
    flat = study(cov=np.diag([0.02, 0.02, 0.02, 0.02, 0.02, 0.02]) * 0)
    with pytest.raises((InferenceError, DesignError), match="PMG-"):
        infer.honest(flat, reference=-1)


def test_singular_covariance() -> None:
    root = np.random.default_rng(1).normal(size=(6, 2)) * 0.1
    for restriction in (infer.RelativeMagnitude(), infer.Smoothness(), infer.Combined(sign="positive")):
        table = infer.honest(study(cov=root @ root.T), reference=-1, restriction=restriction).bounds
        known = table.iloc[1:].dropna(subset=["id_low", "conf_low"])
        assert len(known) >= 3
        if restriction != infer.Smoothness():
            assert (known["conf_low"] <= known["id_low"] + 1e-7).all()
            assert (known["conf_high"] >= known["id_high"] - 1e-7).all()
    with pytest.raises(InferenceError, match="PMG-COVARIANCE"):
        infer.honest(study(cov=0.02 * (2 * np.eye(6) - 1 + np.eye(6) * 0)), reference=-1)


def test_one_post_period() -> None:
    single = study().where(event_time=slice(None, 0))
    for restriction in (infer.RelativeMagnitude(strengths=(0.0,)), infer.RelativeMagnitude(strengths=(0.0, 1.0))):
        found = infer.honest(single, reference=-1, restriction=restriction, method="Conditional")
        # without any violation: the two-sided z-test
        assert_allclose(ends(found)[1], ends(found)[0], rtol=0, atol=1e-6)
    assert infer.honest(single, reference=-1, target="average").breakdown > 0


def test_estimators() -> None:
    panel = panel_of(staggered(n=60, starts={2004: 12, 2006: 12}, effect=1.5))
    cells = did.group_time(panel, "rate", base_period="universal")
    event = cells.average(by="event_time")
    found = infer.honest(event, restriction=ONE)
    row = event.to_frame().set_index("event_time").loc[0]
    assert_allclose(ends(found)[0], row[["conf_low", "conf_high"]].astype(float), rtol=1e-9)
    assert found.bounds["id_low"].iloc[1] < row["estimate"]
    later = did.group_time(panel, "rate", base_period="universal", anticipation=1).average(by="event_time")
    assert infer.honest(later, restriction=ONE).assumption.startswith("effect at event time 0")
    for base in ("varying", "average"):
        with pytest.raises(InferenceError, match=r"PMG-BASE-PERIOD.*universal"):
            infer.honest(did.group_time(panel, "rate", base_period=base).average(by="event_time"))
    imputed = did.imputation(panel, "rate").average(by="event_time")
    with pytest.raises(InferenceError, match=r"PMG-BASE-PERIOD.*too narrow"):
        infer.honest(imputed)
    with pytest.warns(PmgEvalWarning, match="PMG-BASE-PERIOD"):
        assert len(infer.honest(imputed, reference=-1, restriction=ONE).bounds) == 2
    for wrong in (cells, cells.average()):
        with pytest.raises(DataError, match="PMG-TERMS"):
            infer.honest(wrong)
    alone = panel_of(staggered(starts={2004: 1}))
    with pytest.raises(InferenceError, match="effect_per_area"):
        infer.honest(did.group_time(alone, "rate", base_period="universal").average(by="event_time"))
    with pytest.raises(InferenceError, match="PMG-NO-LAW"):
        infer.honest(Estimate(VALUES, make_terms({"event_time": TIME}, 6)), reference=-1)


def test_counts() -> None:
    panel = panel_of(counts(n=60, starts={2004: 12, 2006: 12}, effect=-0.4))
    event = did.group_time(panel, "suspects", family="poisson", base_period="universal").average(by="event_time")
    found = infer.honest(event, restriction=ONE)
    row = event.to_frame().set_index("event_time").loc[0]
    assert_allclose(ends(found)[0], row[["conf_low", "conf_high"]].astype(float), rtol=1e-9)
    assert 0 < ends(found)[1][0] < row["estimate"] < ends(found)[1][1]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"method": "FLCI"}, "PMG-FLCI"),
        ({"method": "FLCI", "restriction": infer.Combined()}, "PMG-FLCI"),
        ({"method": "FLCI", "restriction": infer.Smoothness(sign="positive")}, "PMG-FLCI"),
        ({"method": "FLCI", "restriction": infer.Smoothness(monotone="decreasing")}, "PMG-FLCI"),
        ({"method": "C-F"}, "PMG-OPTION"),
        ({"restriction": "RM"}, "PMG-"),
        ({"level": 1.0}, "PMG-LEVEL"),
        ({"draws": 10}, "PMG-OPTION"),
        ({"grid": 5}, "PMG-GRID"),
        ({"grid": [1.0, 0.0]}, "PMG-GRID"),
    ],
)
def test_refusals(options: dict[str, Any], code: str) -> None:
    with pytest.raises((DataError, InferenceError), match=code):
        infer.honest(study(), reference=-1, **options)


@pytest.mark.parametrize("kind", [infer.RelativeMagnitude, infer.Smoothness, infer.Combined])
def test_restrictions_check_themselves(kind: Any) -> None:
    for bad in ({"sign": "up"}, {"monotone": "up"}, {"sign": "positive", "monotone": "increasing"}):
        with pytest.raises(DataError, match="PMG-OPTION"):
            kind(**bad)
    for strengths in ((), (-1.0,), (np.nan,), 1.0):
        with pytest.raises(DataError, match="PMG-STRENGTHS"):
            kind(strengths=strengths)
    assert kind() == kind()


def test_frame_is_a_copy() -> None:
    found = infer.honest(study(), reference=-1, restriction=ONE)
    copy = found.to_frame()
    copy["strength"] = 9.0
    assert isinstance(copy, pd.DataFrame)
    assert found.bounds["strength"].max() == 1.0
