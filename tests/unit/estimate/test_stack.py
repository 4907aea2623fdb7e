"""The joint law of different estimators on the same units."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from pmg_eval import did, resample
from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Draws, Estimate, fit_linear, make_terms
from unit.estimate.made import by_covariance, by_influence
from unit.resample.panels import panel_of, staggered


def on(units: list[str], seed: int, values=(1.0,), **columns) -> Estimate[None]:
    psi = np.random.default_rng(seed).normal(size=(len(units), len(values)))
    found = by_influence(values, {"estimand": "att", **columns}, psi, rows=pd.DataFrame({"unit": units}))
    return replace(found, provenance=pe.estimate.Provenance(estimator=f"estimator {seed}")) if seed else found


def contributions(estimate: Estimate[None], units: list[str]) -> np.ndarray:
    law = estimate.uncertainty
    table = pd.DataFrame(law.psi.dense() / law.n, index=law.rows["unit"])
    return table.reindex(units, fill_value=0.0).to_numpy()


def test_rows_are_aligned_by_label_and_absent_ones_are_zero() -> None:
    one, other = on(list("abcd"), 1), on(list("eca"), 2, (2.0, 3.0), event_time=[0, 1])
    both = pe.stack(one, other)
    units = list("abcde")
    psi = np.hstack([contributions(one, units), contributions(other, units)])
    assert_allclose(both.cov(), psi.T @ psi, rtol=1e-12)
    assert_allclose(both.cov()[0, 0], one.cov()[0, 0])
    assert_allclose(both.cov()[1:, 1:], other.cov())
    assert sorted(both.uncertainty.rows["unit"]) == units
    assert both.values.tolist() == [1, 2, 3]


def test_labels_of_a_stack() -> None:
    both = pe.stack(on(list("ab"), 1), on(list("ab"), 2, (2.0, 3.0), event_time=[0, 1]), names=("x", "y"))
    assert both.terms["group"].tolist() == ["x", "y", "y"]
    assert both.terms["event_time"].fillna(9).tolist() == [9, 0, 1]
    assert both.terms["event_time"].dtype == "Int64"
    again = pe.stack(both, on(list("ab"), 3), names=("first", "second"))
    assert again.terms["group"].tolist() == ["first: x", "first: y", "first: y", "second"]
    assert pe.stack(on(list("ab"), 1), on(list("ab"), 2)).terms["group"].tolist() == ["estimator 1", "estimator 2"]
    same = pe.stack(on(list("ab"), 1), on(list("ab"), 1)).terms["group"].tolist()
    assert same == ["estimator 1 1", "estimator 1 2"]


def test_an_estimate_minus_itself_is_zero_with_standard_error_zero() -> None:
    panel = panel_of(staggered())
    for estimator in (did.group_time, did.imputation):
        fit = estimator(panel, "rate").average(by="event_time")
        difference = pe.stack(fit, fit, names=("once", "twice")).contrast("group")
        assert len(difference) == len(fit)
        assert difference.values.tolist() == [0.0] * len(fit)
        assert difference.se.tolist() == [0.0] * len(fit)


def test_rows_of_unit_and_time_are_summed_to_units() -> None:
    panel = panel_of(staggered())
    frame = panel.frame
    treated = ((frame["start"] > 0) & (frame["year"] >= frame["start"])).to_numpy(dtype=float)
    twfe = fit_linear(
        frame["rate"].to_numpy(), treated[:, None], ["d"], panel.row_labels, absorb=True, outcome_name="rate"
    )
    overall = did.group_time(panel, "rate").average()
    both = pe.stack(twfe, overall)
    assert len(both.uncertainty.rows) == panel.n_units
    assert_allclose(both.se, [twfe.se[0], overall.se[0]], rtol=1e-10)
    assert_allclose(pe.stack(overall, twfe).cov(), both.cov()[::-1, ::-1], rtol=1e-12)
    assert both.contrast("group").se[0] < max(both.se)


def test_estimated_weights_are_stacked_too() -> None:
    """Averaging a stack within its groups is stacking the averages."""
    panel = panel_of(staggered())
    fits = did.group_time(panel, "rate"), did.imputation(panel, "rate", variance="derivative", pretrend=False)
    for weighted, apart in ((fits[0], fits[1]), (fits[1], fits[0])):
        pooled = pe.stack(weighted, apart, names=("a", "b")).average(by="group")
        assert_allclose(pooled.cov(), pe.stack(weighted.average(), apart.average()).cov(), rtol=1e-10)


def test_labels_shared_by_all_stay_usable_for_kernels() -> None:
    panel = panel_of(staggered(), cluster="region")
    both = pe.stack(did.group_time(panel, "rate").average(), did.imputation(panel, "rate").average())
    assert_allclose(
        both.cov(pe.clustered("region"))[1, 1],
        did.imputation(panel, "rate").average().cov(pe.clustered("region"))[0, 0],
        rtol=1e-12,
    )


def test_the_difference_of_two_estimators_has_the_jackknife_standard_error() -> None:
    """CV3 of the difference against the stacked influence values.

    Both estimate the variance of the same difference; leaving one of n areas of a cohort out inflates by n/(n - 1)
    (cohorts of 13 and 11: 4 % in the standard error), and what is left over five seeds is below 1 %.
    """
    panel = panel_of(staggered(seed=3, n=120, starts={2004: 13, 2006: 11}))

    def parts(panel: pe.Panel, outcome: str) -> Estimate[None]:
        imputed = did.imputation(panel, outcome, variance="derivative", pretrend=False)
        return pe.stack(did.group_time(panel, outcome).average(), imputed.average())

    def difference(panel: pe.Panel, outcome: str) -> Estimate[None]:
        return parts(panel, outcome).contrast("group")

    stacked, jackknifed = difference(panel, "rate"), resample.jackknife(difference, panel, "rate")
    assert stacked.values[0] != 0
    assert stacked.se[0] == pytest.approx(jackknifed.se[0], rel=0.10)
    assert stacked.se[0] * np.sqrt(12 / 11) == pytest.approx(jackknifed.se[0], rel=0.02)
    assert jackknifed.se[0] < did.group_time(panel, "rate").average().se[0]


def test_the_difference_is_known_far_better_than_either_when_they_agree() -> None:
    """One pre-period is nearly all there is to differ about: average base against imputation, with one cohort."""
    panel = panel_of(staggered(seed=1, starts={2006: 10}))
    average = did.group_time(panel, "rate", base_period="average").average()
    imputed = did.imputation(panel, "rate", variance="derivative").average()
    both = pe.stack(average, imputed)
    assert both.contrast("group").se[0] < 0.01 * both.se.min()
    last = did.group_time(panel, "rate").average()
    assert pe.stack(last, imputed).contrast("group").se[0] > 0.1 * imputed.se[0]


def placebo_like(seed: int | None, draws: int = 99, units=("a", "b")) -> Estimate[None]:
    errors = np.random.default_rng(seed or 0).normal(size=(draws, len(units)))
    terms = make_terms({"unit": list(units), "n_placebo": 40, "interval": "placebo"}, len(units))
    provenance = pe.estimate.Provenance(estimator="did.imputation", seed=seed)
    return Estimate(np.zeros(len(units)), terms, Draws(errors, np.full(len(units), 0.01)), provenance=provenance)


def test_draws_of_one_run_can_be_joined() -> None:
    one = placebo_like(1)
    other = replace(one, values=np.ones(2))
    assert_allclose(pe.stack(one, other, names=("x", "y")).contrast("group").se, 0, atol=1e-15)
    for stranger in (placebo_like(2), placebo_like(None), placebo_like(1, 49), placebo_like(1, units=("b", "a"))):
        with pytest.raises(InferenceError) as caught:
            pe.stack(one, stranger)
        assert caught.value.code == "PMG-STACK"
    with pytest.raises(InferenceError):
        pe.stack(placebo_like(None), placebo_like(None))


def test_refusals() -> None:
    one = on(list("ab"), 1)

    def code(*estimates, **options) -> str:
        with pytest.raises((DataError, InferenceError)) as caught:
            pe.stack(*estimates, **options)
        return caught.value.code

    assert code(one) == "PMG-STACK"
    assert code(one, replace(one, scale="log")) == "PMG-STACK"
    assert code(one, one, names=("x",)) == "PMG-STACK"
    assert code(one, one, names=("x", "x")) == "PMG-STACK"
    assert code(one, by_covariance([1.0], [0.5])) == "PMG-STACK"
    assert code(one, replace(one, uncertainty=None)) == "PMG-STACK"
    state = pd.DataFrame({"unit": list("abcd"), "state": list("xxyy")})
    clustered = by_influence([1.0], {"estimand": "att"}, np.ones((4, 1)), rows=state).assuming(pe.clustered("state"))
    assert code(clustered, by_influence([1.0], {"estimand": "att"}, np.ones((4, 1)), rows=state)) == "PMG-STACK"
    no_units = [by_influence([1.0], {}, np.ones((n, 1)), rows=pd.DataFrame({"time": range(n)})) for n in (3, 4)]
    assert code(*no_units) == "PMG-STACK"


def test_without_a_law_or_without_units() -> None:
    bare = Estimate(np.array([1.0]), make_terms({"estimand": "att"}, 1))
    assert pe.stack(bare, bare).uncertainty is None
    series = by_influence([1.0], {"estimand": "att"}, np.ones((4, 1)), rows=pd.DataFrame({"time": range(4)}))
    assert_allclose(pe.stack(series, series).cov(), 0.25 * np.ones((2, 2)))


def test_kind_and_correction_of_a_stack() -> None:
    panel = panel_of(staggered())
    derivative, score = (did.imputation(panel, "rate", variance=v).average() for v in ("derivative", "conservative"))
    assert pe.stack(derivative, derivative).uncertainty.kind == "derivative"
    assert pe.stack(derivative, score).uncertainty.kind == "score"
    overall = partial(lambda panel, outcome: did.imputation(panel, outcome).average())
    jackknifed = resample.jackknife(overall, panel, "rate")
    assert not pe.stack(jackknifed, score).uncertainty.corrected  # the factor is applied where one of them needs it
    assert pe.stack(jackknifed, jackknifed).uncertainty.corrected
    assert pe.stack(derivative, score).average(by="group").se == pytest.approx(pe.stack(derivative, score).se)
