"""Intervals and tests written out by hand; the guard; what may not be asked."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

import pmg_eval as pe
from _shared import needs_shared, reference
from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Covariance, Estimate, make_terms
from unit.estimate.made import by_covariance, by_influence, support

Z = stats.norm.ppf(0.975)


# --- Wald on a scale -------------------------------------------------------------------------------------------------


def row(value: float, se: float, level: float = 0.95, **more) -> pd.Series:
    return by_covariance([value], [se], **more).to_frame(level).iloc[0]


def test_identity() -> None:
    found = row(3.0, 2.0, 0.9)
    half = stats.norm.ppf(0.95) * 2
    assert_allclose(found[["conf_low", "conf_high"]].astype(float), [3 - half, 3 + half], rtol=1e-13)
    assert found["statistic"] == 1.5
    assert found["p_value"] == pytest.approx(2 * stats.norm.sf(1.5), rel=1e-12)
    assert found["df"] == np.inf


def test_log() -> None:
    """Ratio 0.8 with SE 0.1: log 0.8 -+ z 0.1/0.8, no effect is 1."""
    found = row(0.8, 0.1, scale="log")
    assert_allclose(found["conf_low"], np.exp(np.log(0.8) - Z * 0.125), rtol=1e-13)
    assert_allclose(found["conf_high"], np.exp(np.log(0.8) + Z * 0.125), rtol=1e-13)
    assert found["statistic"] == pytest.approx(np.log(0.8) / 0.125, rel=1e-13)
    assert found["std_error"] == 0.1


def test_logit() -> None:
    found = row(0.3, 0.05, scale="logit")
    centre, half = np.log(0.3 / 0.7), Z * 0.05 / 0.21
    want = 1 / (1 + np.exp(-np.array([centre - half, centre + half])))
    assert_allclose(found[["conf_low", "conf_high"]].astype(float), want, rtol=1e-13)
    assert np.isnan(found["p_value"])  # a probability has no value of no effect


def test_log_log() -> None:
    """The log-log interval of a survival probability, S^exp(+-z se/(S log S)), for the share 1 - S with the event."""
    found = row(0.3, 0.04, scale="cloglog")
    shift = np.exp(Z * 0.04 / (0.7 * abs(np.log(0.7))))
    assert_allclose(found["conf_low"], 1 - 0.7 ** (1 / shift), rtol=1e-13)
    assert_allclose(found["conf_high"], 1 - 0.7**shift, rtol=1e-13)


def test_t_where_degrees_of_freedom_are_few() -> None:
    found = row(3.0, 2.0, df=4.0)
    assert_allclose(found["conf_high"] - 3, stats.t.ppf(0.975, 4) * 2, rtol=1e-12)
    assert found["p_value"] == pytest.approx(2 * stats.t.sf(1.5, 4), rel=1e-12)


@pytest.mark.parametrize("scale", ["identity", "log", "logit", "cloglog"])
def test_intervals_are_nested_in_level_and_hold_the_estimate(scale: str) -> None:
    frames = [row(0.4, 0.1, level, scale=scale) for level in (0.5, 0.8, 0.95, 0.999)]
    lows, highs = ([frame[end] for frame in frames] for end in ("conf_low", "conf_high"))
    assert lows == sorted(lows, reverse=True)
    assert highs == sorted(highs)
    assert lows[0] < 0.4 < highs[0]


@given(value=st.floats(0.05, 20), se=st.floats(1e-3, 5), df=st.sampled_from([None, 1.0, 3.5, 40.0]))
def test_interval_and_p_are_dual(value: float, se: float, df: float | None) -> None:
    """0 (or 1) lies outside the interval of level 1 - a exactly when p < a."""
    for scale, null in (("identity", 0.0), ("log", 1.0)):
        estimate = by_covariance([value], [se], scale=scale, df=df)
        p = estimate.to_frame()["p_value"][0]
        for level in (0.5, 0.9, 0.95, 0.99):
            if abs(p - (1 - level)) < 1e-9:
                continue
            ends = estimate.to_frame(level).iloc[0]
            outside = not ends["conf_low"] <= null <= ends["conf_high"]
            assert outside == (p < 1 - level)


def test_values_outside_the_scale_are_silent() -> None:
    frame = by_covariance([-0.2, 0.0, 1.0], [0.1, 0.1, 0.1], {"group": list("abc")}, scale="logit").to_frame()
    assert frame[["conf_low", "conf_high"]].isna().all().all()


def test_no_variation_is_not_certainty() -> None:
    frame = by_covariance([2.0], [0.0]).to_frame()
    assert frame[["statistic", "p_value", "conf_low", "conf_high"]].isna().all().all()


# --- the guard -------------------------------------------------------------------------------------------------------


def guarded(shares: list[float], *, dependence=None, states=None, n_control=None, **more) -> Estimate[None]:
    treated = np.zeros((30, 1))
    treated[: len(shares), 0] = shares
    rows = pd.DataFrame({"unit": np.arange(30), "state": np.arange(30) if states is None else states})
    columns = {"estimand": ["att"], **({} if n_control is None else {"n_control": [n_control]})}
    found = by_influence([1.0], columns, treated=treated, rows=rows, **more)
    return found if dependence is None else found.assuming(dependence)


def check(estimate: Estimate[None], df: float, factor: float) -> None:
    frame = estimate.to_frame().iloc[0]
    assert frame["df"] == pytest.approx(df, rel=1e-12)
    assert frame["std_error"] == pytest.approx(estimate.se[0] * factor, rel=1e-12)
    assert frame["conf_high"] - 1 == pytest.approx(stats.t.ppf(0.975, df) * frame["std_error"], rel=1e-9)
    assert frame["method"].endswith("guard")


def test_df_and_factor_by_the_formula() -> None:
    check(guarded([0.25] * 4), 3, np.sqrt(4 / 3))
    # 0.4, 0.3, 0.2, 0.1: (0.3)^2 / 0.0354 - 1
    check(guarded([0.4, 0.3, 0.2, 0.1]), 0.09 / 0.0354 - 1, np.sqrt(4 / 3))
    check(guarded([0.25] * 4, n_control=3), 2, np.sqrt(4 / 3))
    check(guarded([0.9, 0.1]), 1, np.sqrt(2))  # never below one


def test_a_cluster_coarser_than_units_counts_clusters() -> None:
    states = np.r_[0, 0, 1, 1, np.arange(2, 28)]
    merged = guarded([0.4, 0.3, 0.2, 0.1], states=states, dependence=pe.clustered("state"))
    check(merged, 1, np.sqrt(2))  # weights 0.7 and 0.3
    check(guarded([0.25] * 4, states=states, dependence=pe.clustered("state")), 1, np.sqrt(2))
    few = np.arange(30) % 3  # clusters limit the degrees of freedom as well
    check(guarded([1 / 12] * 12, states=few, dependence=pe.clustered("state")), 2, np.sqrt(3 / 2))
    check(guarded([1 / 12] * 12, states=few, dependence=pe.clustered("unit")), 11, np.sqrt(12 / 11))


def in_cohorts(shares: list[float], sizes: list[float], **more) -> Estimate[None]:
    """Residuals of each treated unit are centred within a cohort of this size."""
    group_size = np.full(30, np.nan)
    group_size[: len(sizes)] = sizes
    return guarded(shares, group_size=group_size, **more)


def test_a_cohort_says_nothing_about_the_share_that_centring_takes() -> None:
    # weights 1/4, 1/4 in a cohort of two and 1/2 alone: sum w^2 = 3/8, of which 1/16 is seen; df = (1/8)^2/(1/64) = 1
    check(in_cohorts([0.25, 0.25, 0.5], [2, 2, 1]), 1, np.sqrt(6))
    # two cohorts of two: half of the variance is seen; df = (1/4)^2/(4/256/(1/2)) = 2, fewer than the 3 of one cohort
    check(in_cohorts([0.25] * 4, [2] * 4), 2, np.sqrt(2))
    # one cohort of four is the plain formula, and leave-one-out centring needs nothing
    check(in_cohorts([0.25] * 4, [4] * 4), 3, np.sqrt(4 / 3))
    check(in_cohorts([0.25] * 4, [np.inf] * 4), 3, 1)


def test_cohorts_of_one_unit_each_have_no_standard_error() -> None:
    frame = in_cohorts([0.5, 0.5], [1, 1]).to_frame().iloc[0]
    assert frame[["std_error", "conf_low"]].isna().all()
    assert "alone in its cohort" in frame["status"]


def test_one_comparison_unit_has_no_standard_error() -> None:
    frame = guarded([0.25] * 4, n_control=1).to_frame().iloc[0]
    assert np.isnan(frame["std_error"])
    assert "one comparison unit" in frame["status"]


def test_pretrends_are_not_centred_by_cohort() -> None:
    treated = np.zeros((30, 2))
    treated[:4] = 0.25
    size = np.full(30, np.nan)
    size[:4] = 1
    columns = {"estimand": ["pretrend", "att"], "event_time": [-1, 0]}
    frame = by_influence([1.0, 1.0], columns, treated=treated, group_size=size).to_frame()
    assert frame["std_error"].notna().tolist() == [True, False]
    assert frame["df"][0] == 3


def test_a_missing_interval_has_its_reason() -> None:
    flat = by_covariance([2.0], [0.0]).to_frame()
    assert flat["status"].tolist() == ["no variation: the standard error is zero"]
    unknown = by_covariance([2.0], [np.nan]).to_frame()
    assert "no standard error" in unknown["status"][0]


def test_one_treated_unit_has_no_standard_error() -> None:
    alone = guarded([1.0])
    frame = alone.to_frame().iloc[0]
    assert frame["estimate"] == 1
    assert frame[["std_error", "p_value", "conf_low", "conf_high"]].isna().all()
    assert "effect_per_area" in frame["status"]
    assert alone.se[0] > 0  # raw algebra stays raw
    with pytest.raises(InferenceError) as caught:
        alone.test()
    assert caught.value.code == "PMG-ONE-TREATED"
    with pytest.raises(InferenceError):
        alone.band(rng=1)
    one_state = guarded([0.5, 0.5], states=np.r_[0, 0, np.arange(1, 29)], dependence=pe.clustered("state"))
    assert "effect_per_area" in one_state.to_frame()["status"][0]


def test_a_jackknife_is_not_inflated_again() -> None:
    check(guarded([0.25] * 4, corrected=True), 3, 1.0)


def test_without_guard_it_says_so() -> None:
    frame = guarded([1.0]).to_frame(guard=False).iloc[0]
    assert frame["std_error"] > 0
    assert frame["df"] == np.inf
    assert frame["status"] == ""
    assert frame["method"] == "influence, independent, no small-sample guard"
    assert guarded([0.5, 0.5]).test(guard=False).method.endswith("no small-sample guard")


# --- joint tests -----------------------------------------------------------------------------------------------------


@pytest.fixture
def study() -> Estimate[None]:
    columns = {"event_time": [-3, -2, -1, 0, 1], "status": ["", "", "reference", "", "no_control"]}
    psi = np.random.default_rng(2).normal(size=(40, 5))
    psi[:, 2] = 0
    return by_influence([0.3, -0.2, 0.0, 1.0, np.nan], columns, psi)


def wald(value: np.ndarray, cov: np.ndarray) -> float:
    return float(value @ np.linalg.inv(cov) @ value)


def test_named_hypotheses(study) -> None:
    v, cov = study.values, study.cov()
    pre = study.test("pre")
    assert pre.statistic == pytest.approx(wald(v[:2], cov[:2, :2]))
    assert pre.p_value == pytest.approx(stats.chi2.sf(pre.statistic, 2))
    assert pre.distribution == "chi-squared(2)"
    everything = study.test()
    used = [0, 1, 3]  # neither the reference nor the lost cell
    assert everything.statistic == pytest.approx(wald(v[used], cov[np.ix_(used, used)]))
    assert study.test("all").statistic == everything.statistic
    differ = np.array([[-1.0, 1, 0, 0, 0], [-1, 0, 0, 1, 0]])
    equal = study.test("equal")
    v0 = np.nan_to_num(v)
    assert equal.statistic == pytest.approx(wald(differ @ v0, differ @ cov @ differ.T))
    assert equal.hypothesis == "all terms are equal"


def test_a_matrix_with_its_value(study) -> None:
    """The lost cell has coefficient zero, so it plays no part."""
    matrix = np.array([[1.0, 1.0, 0, 0, 0]])
    found = study.test(matrix, 0.5)
    var = float((matrix @ study.cov() @ matrix.T)[0, 0])
    assert found.statistic == pytest.approx((0.1 - 0.5) ** 2 / var)
    assert study.test(matrix, 0.1).p_value == pytest.approx(1)


def test_few_degrees_of_freedom_give_f() -> None:
    treated = np.zeros((30, 2))
    treated[:6] = 1 / 6
    estimate = by_influence([0.3, 0.5], {"group": list("ab")}, treated=treated)
    found = estimate.test()
    want = wald(estimate.values, estimate.cov() * 6 / 5) / 2
    assert found.statistic == pytest.approx(want)
    assert found.distribution == "F(2, 5)"
    assert found.p_value == pytest.approx(stats.f.sf(want, 2, 5))


@pytest.mark.parametrize("scale", ["identity", "log"])
@pytest.mark.parametrize("df", [None, 4.0])
def test_a_test_of_one_term_is_the_p_value_of_its_row(scale: str, df: float | None) -> None:
    estimate = by_covariance([0.7], [0.2], scale=scale, df=df)
    assert estimate.test().p_value == pytest.approx(estimate.to_frame()["p_value"][0], rel=1e-9)


def test_named_hypotheses_of_ratios_are_about_logs() -> None:
    ratios = by_covariance([0.7, 1.2], [0.1, 0.2], {"group": list("ab")}, scale="log")
    logs = by_covariance(np.log([0.7, 1.2]), [0.1 / 0.7, 0.2 / 1.2], {"group": list("ab")})
    for name in ("all", "equal"):
        assert ratios.test(name).statistic == pytest.approx(logs.test(name).statistic)
    natural = by_covariance([0.7, 1.2], [0.1, 0.2], {"group": list("ab")})
    assert ratios.test([[1.0, -1.0]]).statistic == pytest.approx(natural.test([[1.0, -1.0]]).statistic)


def test_refusals(study) -> None:
    def code(*arguments, of=study) -> str:
        with pytest.raises((InferenceError, DataError)) as caught:
            of.test(*arguments)
        return caught.value.code

    assert code("post") == "PMG-OPTION"
    assert code(np.ones((1, 2))) == "PMG-SHAPE"
    assert code(np.zeros((1, 5))) == "PMG-SHAPE"
    assert code([[0.0, 0, 0, 0, 1]]) == "PMG-NO-SE"  # the lost cell itself
    assert code([[0.0, 0, 1, 0, 0]]) == "PMG-NO-SE"  # the reference
    assert code("pre", of=by_influence([1.0], {"cohort": [1]})) == "PMG-TERMS"
    assert code("pre", of=study.where(event_time=slice(0, None))) == "PMG-NO-TERMS"
    assert code("equal", of=study.where(event_time=0)) == "PMG-NO-TERMS"
    assert code(of=by_covariance([0.5], [0.1], scale="logit")) == "PMG-NO-NULL"
    psi = np.random.default_rng(1).normal(size=(3, 5))
    more_terms_than_units = by_influence(np.ones(5), {"event_time": range(5)}, psi)
    assert code(of=more_terms_than_units) == "PMG-SINGULAR"
    unknown = psi.copy()
    unknown[:, 0] = np.nan
    assert code(of=by_influence(np.ones(5), {"event_time": range(5)}, unknown)) == "PMG-NO-SE"


# --- intervals from counts -------------------------------------------------------------------------------------------


def counted(rule: str, events: list[float], base: list[float], name: str) -> Estimate[None]:
    columns = {"group": range(len(events)), "n_events": events, name: base, "interval": rule}
    share = np.array(events, dtype=float) / base
    return by_covariance(share, np.full(len(events), 0.01), columns)


@pytest.mark.parametrize(
    ("rule", "theirs"), [("wilson", "wilson"), ("clopper_pearson", "beta"), ("jeffreys", "jeffreys")]
)
def test_proportions_against_statsmodels(rule: str, theirs: str) -> None:
    events, persons = [0, 1, 5, 90, 100], [10, 20, 20, 100, 100]
    frame = counted(rule, events, persons, "n_persons").to_frame(0.9)
    low, high = proportion_confint(np.array(events), np.array(persons), alpha=0.1, method=theirs)
    inner = slice(1, 4)
    assert_allclose(frame["conf_low"][inner], low[inner], rtol=1e-12)
    assert_allclose(frame["conf_high"][inner], high[inner], rtol=1e-12)
    assert frame["conf_low"][0] == 0
    assert frame["conf_high"][4] == 1
    assert_allclose([frame["conf_high"][0], frame["conf_low"][4]], [high[0], low[4]], rtol=1e-12)


@needs_shared
def test_proportions_and_rates_against_phe_and_epitools() -> None:
    phe = reference("phe_dsr_rate_proportion")["results"]
    want = phe["proportion"]
    frame = counted("wilson", want["x"], want["n"], "n_persons").to_frame()
    assert_allclose(frame["conf_low"], want["lowercl"], rtol=1e-8, atol=1e-12)
    assert_allclose(frame["conf_high"], want["uppercl"], rtol=1e-8)
    rates = phe["rate_rows3to8"]
    for rule, name in (("exact_poisson", "Exact"), ("byar", "Byars")):
        used = [i for i, method in enumerate(rates["method"]) if method == name]
        frame = counted(rule, [rates["x"][i] for i in used], [rates["n"][i] / 1e5 for i in used], "exposure").to_frame()
        assert_allclose(frame["conf_low"], [rates["lowercl"][i] for i in used], rtol=1e-8)
        assert_allclose(frame["conf_high"], [rates["uppercl"][i] for i in used], rtol=1e-8)
    epitools = reference("epitools_age_adjusted")["results"]
    exact = epitools["pois_exact"]
    frame = counted("exact_poisson", exact["x"], exact["pt"], "exposure").to_frame()
    assert_allclose(frame["conf_low"], exact["lower"], atol=1e-6)  # epitools searches numerically, to 3e-7
    assert_allclose(frame["conf_high"], exact["upper"], atol=1e-6)


def test_byar_by_hand() -> None:
    """5 events in 100: 5 (1 - 1/45 - z/(3 sqrt 5))^3 and 6 (1 - 1/54 + z/(3 sqrt 6))^3."""
    frame = counted("byar", [5, 0], [100, 100], "exposure").to_frame()
    assert frame["conf_low"][0] == pytest.approx(0.05 * (1 - 1 / 45 - Z / (3 * np.sqrt(5))) ** 3, rel=1e-13)
    assert frame["conf_high"][0] == pytest.approx(0.06 * (1 - 1 / 54 + Z / (3 * np.sqrt(6))) ** 3, rel=1e-13)
    assert frame["conf_low"][1] == 0
    assert 0.03 < frame["conf_high"][1] < 0.04


def test_a_rule_from_counts_is_gone_after_a_map() -> None:
    share = counted("wilson", [2, 5], [10, 20], "n_persons")
    assert share.map([[1.0, -1.0]]).terms["interval"].tolist() == ["wald"]
    assert share.contrast("group").terms["interval"].tolist() == ["wald"]
    applied = share.apply(lambda x: 1 - x, lambda x: -np.ones_like(x))
    frame = applied.to_frame()
    assert_allclose(frame["conf_high"] - frame["estimate"], Z * 0.01, rtol=1e-12)


def test_a_rule_needs_its_counts_and_must_exist() -> None:
    with pytest.raises(DataError) as caught:
        by_covariance([0.2], [0.1], {"group": ["a"], "interval": "wilson"}).to_frame()
    assert caught.value.where == ("n_events", "n_persons")
    with pytest.raises(DataError) as caught:
        by_covariance([0.2], [0.1], {"group": ["a"], "interval": "wilsn"}).to_frame()
    assert caught.value.code == "PMG-INTERVAL"


# --- Test and Sensitivity --------------------------------------------------------------------------------------------


def test_a_test_in_words_and_as_json() -> None:
    found = pe.Test("no effect", 2.0, 0.05, "F(1, 4)", p_min=0.02, note="few areas")
    assert str(found) == (
        "no effect: statistic 2, p = 0.05 (F(1, 4)); the smallest p this test can give is 0.02. few areas"
    )
    saved = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert saved["schema"] == "pmg-eval-test/1"
    assert json.dumps(pe.Test("x", np.nan, np.nan, "none").to_dict(), allow_nan=False)
    with pytest.raises(DataError) as caught:
        pe.Test("x", 1.0, 1.2, "F")
    assert caught.value.code == "PMG-P-VALUE"


def test_a_sensitivity_needs_its_columns() -> None:
    bounds = pd.DataFrame({"strength": [0.0], "conf_low": [-1.0], "conf_high": [np.nan], "method": ["x"]})
    found = pe.Sensitivity("trend", bounds, np.nan)
    copy = found.to_frame()
    copy.loc[0, "strength"] = 5
    assert found.to_frame()["strength"][0] == 0
    assert found.to_dict()["bounds"][0]["conf_high"] is None
    with pytest.raises(DataError) as caught:
        pe.Sensitivity("trend", bounds.drop(columns="method"), 1.0)
    assert caught.value.where == ("method",)


def test_covariance_keeps_the_fewest_treated_units_of_a_map() -> None:
    law = {"known_support": support([3, 8, np.nan], [2.5, 8, np.nan])}
    columns = {"group": list("abc")}
    estimate = by_covariance([1.0, 2.0, 3.0], [0.1, 0.1, 0.1], columns, **law)
    assert estimate.to_frame()["df"].tolist() == [1.5, 7.0, np.inf]
    found = estimate.map([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]).to_frame()
    assert found["df"].tolist() == [1.5, 7.0, np.inf]
    assert make_terms(columns, 3).shape == (3, 4)


def test_interval_by_another_method() -> None:
    """A proportion with its own Wilson interval, and the same by Clopper and Pearson."""
    terms = make_terms({"estimand": "prevalence", "n_events": [7], "n_persons": [40], "interval": "wilson"}, 1)
    estimate = Estimate(np.array([7 / 40]), terms, Covariance(np.array([[0.0036]])))
    own, exact = estimate.interval(), estimate.interval(method="clopper_pearson")
    assert exact["conf_low"][0] < own["conf_low"][0]
    assert exact["conf_high"][0] > own["conf_high"][0]
    with pytest.raises(DataError, match="PMG-INTERVAL"):
        estimate.interval(method="best")
