"""Averages with estimated weights: worked by hand, and their influence against the derivative in unit weights."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Draws, Estimate, Rows, make_terms
from unit.estimate.made import by_influence

# Two cohorts: 2005 with effects 1 and 3, 2006 with effect 6; shares 0.2 and 0.3; a pre-period of each.
COHORT = [2005, 2005, 2005, 2006, 2006]
PERIOD = [2004, 2005, 2006, 2005, 2006]
EVENT = [-1, 0, 1, -1, 0]
VALUE = [100.0, 1.0, 3.0, 50.0, 6.0]
WEIGHT = [0.2, 0.2, 0.2, 0.3, 0.3]


def cells(values=VALUE, weight=WEIGHT, **columns) -> Estimate[None]:
    found = {"estimand": "att", "cohort": COHORT, "period": PERIOD, "event_time": EVENT, "weight": weight}
    return by_influence(values, {**found, **columns})


def by_hand() -> dict[str, tuple[dict, dict]]:
    return {
        "simple": ({}, {None: 2.6 / 0.7}),
        "overall cohort": ({"overall": "cohort"}, {None: (0.2 * 2 + 0.3 * 6) / 0.5}),
        "overall event_time": ({"overall": "event_time"}, {None: (4 + 3) / 2}),
        "overall period": ({"overall": "period"}, {None: (1 + (0.2 * 3 + 0.3 * 6) / 0.5) / 2}),
        "by cohort": ({"by": "cohort"}, {2005: 2.0, 2006: 6.0}),
        "by period": ({"by": "period"}, {2005: 1.0, 2006: 2.4 / 0.5}),
        "by event_time": ({"by": "event_time"}, {-1: (20 + 15) / 0.5, 0: 2.0 / 0.5, 1: 3.0}),
        "balance 1": ({"balance": 1}, {None: 2.0}),
        "balance 0": ({"balance": 0}, {None: 4.0}),
        "balanced event study": ({"by": "event_time", "balance": 1}, {-1: 100.0, 0: 1.0, 1: 3.0}),
        "balanced cohorts": ({"overall": "cohort", "balance": 1}, {None: 2.0}),
    }


@pytest.mark.parametrize("case", by_hand())
def test_by_hand(case: str) -> None:
    options, want = by_hand()[case]
    found = cells().average(**options)
    label = options.get("by")
    keys = [None] if label is None else found.terms[label].tolist()
    assert dict(zip(keys, found.values.round(12), strict=True)) == pytest.approx(want, rel=1e-12)


def test_weights_of_averages_are_sums_and_averages_can_be_averaged() -> None:
    whole = cells()
    for label in ("cohort", "period", "event_time"):
        inner = whole.where(event_time=slice(0, None)).average(by=label)
        assert_allclose(inner.terms["weight"].sum(), 0.7)
        outer, direct = inner.average(), whole.average()
        assert_allclose(outer.values, direct.values, rtol=1e-14)
        assert_allclose(outer.influence(), direct.influence(), rtol=1e-12, atol=1e-14)


def functions(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Five cells and their weights as weighted means over 12 units."""
    rng = np.random.default_rng(8)
    y, q = rng.normal(size=(12, 5)) + np.array(VALUE) / 50, rng.uniform(0.5, 2, size=(12, 5))
    return weight @ y / weight.sum(), weight @ q / weight.sum()


@pytest.mark.parametrize("case", by_hand())
def test_influence_is_the_weight_derivative(case: str) -> None:
    """sum(w theta)/sum(w) with w estimated: psi_i is n times the derivative in the weight of unit i."""
    options = by_hand()[case][0]
    n, step = 12, 1e-5

    def average_at(weight: np.ndarray) -> np.ndarray:
        values, shares = functions(weight)
        return cells(values, shares).average(**options).values

    def shifted(i: int, sign: float) -> np.ndarray:
        weight = np.ones(n)
        weight[i] += sign * step
        return weight

    def derivative(function) -> np.ndarray:
        both = [(function(shifted(i, 1)) - function(shifted(i, -1))) / (2 * step) for i in range(n)]
        return n * np.array(both)

    values, shares = functions(np.ones(n))
    psi = derivative(lambda w: functions(w)[0])
    weight_psi = derivative(lambda w: functions(w)[1])
    columns = {"cohort": COHORT, "period": PERIOD, "event_time": EVENT, "weight": shares}
    found = by_influence(values, columns, psi, weight_psi=weight_psi).average(**options)
    assert_allclose(found.influence().to_numpy(), derivative(average_at), rtol=1e-7, atol=1e-8)


def test_estimated_weights_matter() -> None:
    psi, moving = np.zeros((30, 5)), np.random.default_rng(1).normal(size=(30, 5))
    columns = {"cohort": COHORT, "period": PERIOD, "event_time": EVENT, "weight": WEIGHT}
    assert by_influence(VALUE, columns, psi).average().se[0] == 0
    found = by_influence(VALUE, columns, psi, weight_psi=moving).average()
    used = [1, 2, 4]
    want = moving[:, used] @ (np.array(VALUE)[used] - 2.6 / 0.7) / 0.7
    assert_allclose(found.se[0], np.sqrt((want**2).sum()) / 30, rtol=1e-12)
    # equal weights of event times are no estimates: only the cohort shares within an event time move
    assert by_influence(VALUE, columns, psi, weight_psi=moving).average(overall="period").se[0] > 0


def lost_cells() -> Estimate[None]:
    values = [100.0, 1.0, np.nan, 50.0, 6.0]
    return cells(values, status=["", "", "no_control", "", ""], n_treated=[4, 4, 4, 6, 6], n_control=[9, 9, 0, 9, 7])


def test_a_lost_cell_is_left_out_and_named() -> None:
    lost = lost_cells()
    one = "leaves out 1 unidentified cell"
    simple = lost.average()
    assert_allclose(simple.values, (0.2 + 1.8) / 0.5)
    assert simple.terms["status"].tolist() == [one]
    by_cohort = lost.average(by="cohort")
    assert by_cohort.terms["status"].tolist() == [one, ""]
    for overall in ("cohort", "event_time", "period"):
        assert lost.average(overall=overall).terms["status"].tolist() == [one], overall
    assert "unidentified" in by_cohort.average().terms["status"][0]


def test_a_cohort_counts_by_its_size_also_when_a_cell_is_lost() -> None:
    found = lost_cells().average(overall="cohort")
    assert_allclose(found.values, (0.2 * 1 + 0.3 * 6) / 0.5)
    assert_allclose(found.terms["weight"], 0.5)


def test_a_group_without_any_identified_cell_stays_with_its_reason() -> None:
    frame = lost_cells().average(by="event_time").to_frame()
    assert frame["event_time"].tolist() == [-1, 0, 1]
    assert np.isnan(frame["estimate"][2])
    assert frame["status"].tolist() == ["", "", "no_control"]
    assert frame.loc[2, ["std_error", "p_value", "conf_low"]].isna().all()
    assert frame["n_treated"].tolist() == [10, 10, 0]
    assert frame["n_control"].tolist() == [9, 7, 0]
    assert lost_cells().average(overall="event_time").values[0] == pytest.approx(4.0)


def test_nothing_identified_is_an_error_with_the_reasons() -> None:
    with pytest.raises(InferenceError) as caught:
        lost_cells().where(event_time=1).average()
    assert caught.value.code == "PMG-NO-TERMS"
    assert caught.value.where == ("no_control",)


def test_a_reference_period_stays_a_reference() -> None:
    values = [0.0, 1.0, 3.0, 0.0, 6.0]
    found = cells(values, status=["reference", "", "", "reference", ""]).average(by="event_time")
    assert found.terms["status"].tolist() == ["reference", "", ""]
    assert found.values[0] == 0
    assert np.isnan(found.to_frame()["std_error"][0])


def test_support_columns() -> None:
    found = cells(n_treated=[4, 4, 4, 6, 6], n_control=[9, 9, 8, 9, 7], n_units=[13, 13, 12, 15, 13], n_events=range(5))
    frame = found.average(by="event_time").terms
    assert frame["n_treated"].tolist() == [10, 10, 4]  # units, not cells
    assert frame["n_control"].tolist() == [9, 7, 8]  # the weakest cell
    assert frame["n_events"].tolist() == [3, 5, 2]
    assert found.average().terms["n_treated"].tolist() == [10]


def test_treated_units_are_counted_from_their_weights() -> None:
    treated = np.zeros((30, 5))
    treated[:4, :3], treated[2:8, 3:] = 1 / 4, 1 / 6  # two units in both (a cluster of two starts, say)
    columns = {"cohort": COHORT, "event_time": EVENT, "weight": WEIGHT, "n_treated": [4, 4, 4, 6, 6]}
    assert by_influence(VALUE, columns, treated=treated).average().terms["n_treated"].tolist() == [8]


def test_estimands_and_outcomes_stay_apart() -> None:
    columns = {"estimand": ["att", "pretrend"] * 2, "outcome": ["a", "a", "b", "b"], "event_time": [0, -1, 0, -1]}
    found = by_influence([1.0, 2.0, 3.0, 4.0], columns).average(by="event_time")
    assert found.terms[["outcome", "event_time"]].to_numpy().tolist() == [["a", -1], ["a", 0], ["b", -1], ["b", 0]]
    assert found.values.tolist() == [2, 1, 4, 3]


def test_an_interval_from_counts_does_not_survive_pooling() -> None:
    columns = {"group": list("aab"), "n_events": [2, 4, 3], "n_persons": [10, 10, 10], "interval": "wilson"}
    found = by_influence([0.2, 0.4, 0.3], columns).average(by="group")
    assert found.terms["interval"].tolist() == ["wald", "wilson"]
    assert found.terms["n_events"].tolist() == [6, 3]


def test_draws_are_averaged_draw_by_draw() -> None:
    errors = np.random.default_rng(0).normal(size=(999, 3))
    errors[:, 2] = np.nan  # an area without an effect
    terms = make_terms(
        {"unit": list("abc"), "weight": [1.0, 3.0, 0.0], "interval": "placebo", "status": ["", "", "none"]}, 3
    )
    found = Estimate(np.array([1.0, 5.0, np.nan]), terms, Draws(errors, np.array([0.02, 0.02, 1.0]))).average()
    assert_allclose(found.values, 4.0)
    assert_allclose(found.uncertainty.errors[:, 0], (errors[:, 0] + 3 * errors[:, 1]) / 4)
    assert_allclose(found.uncertainty.p_min, 1 / 1000)  # two independent areas can show more than one
    assert found.terms["status"].tolist() == ["leaves out 1 unidentified cell"]


def test_factored_rows_give_the_same_average_as_dense_ones() -> None:
    rng = np.random.default_rng(3)
    own = sparse.csr_array(rng.normal(size=(30, 5)) * rng.integers(0, 2, (30, 5)))
    left, right = rng.normal(size=(30, 2)), rng.normal(size=(2, 5))
    columns = {"cohort": COHORT, "period": PERIOD, "event_time": EVENT, "weight": WEIGHT}
    moving = rng.normal(size=(30, 5))
    dense = by_influence(VALUE, columns, own.toarray() + left @ right, weight_psi=moving)
    lean = replace(dense, uncertainty=replace(dense.uncertainty, psi=Rows(left=left, right=right, own=own)))
    for options in ({}, {"by": "event_time"}, {"overall": "cohort"}):
        assert_allclose(lean.average(**options).cov(), dense.average(**options).cov(), rtol=1e-12)


def test_refusals() -> None:
    whole = cells()
    for options in ({"by": "area"}, {"overall": "best"}):
        with pytest.raises(DataError) as caught:
            whole.average(**options)
        assert caught.value.code == "PMG-OPTION"
    with pytest.raises(InferenceError, match="effect_per_area"):
        whole.average(by="unit")
    with pytest.raises(DataError) as caught:
        whole.average(balance=7)
    assert caught.value.code == "PMG-BALANCE"
    with pytest.raises(DataError, match="no event_time"):
        by_influence([1.0], {"cohort": [1]}).average(balance=0)


def test_every_kind_of_average_has_its_own_digest() -> None:
    whole = cells()
    kinds = [whole.average(**options) for options, _ in by_hand().values()]
    kinds.append(whole.average(by="cohort").average())
    assert len({kind.provenance.digest for kind in kinds}) == len(kinds)
