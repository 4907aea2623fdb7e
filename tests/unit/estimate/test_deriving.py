"""where, take, map, apply, contrast; what an estimate shows of itself; frozen."""

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Estimate, make_terms
from unit.estimate.made import by_covariance, by_influence

EVENT = [-2, -1, 0, 1]


@pytest.fixture
def study() -> Estimate[None]:
    columns = {
        "estimand": "att",
        "cohort": pd.PeriodIndex(["2020Q1"] * 4, freq="Q"),
        "event_time": EVENT,
        "weight": [1.0, 1.0, 2.0, 3.0],
        "n_treated": 5,
        "n_control": 9,
        "status": ["", "reference", "", "no_control"],
    }
    psi = np.random.default_rng(5).normal(size=(30, 4))
    psi[:, 1] = 0
    return by_influence([1.0, 0.0, 2.0, np.nan], columns, psi)


def test_frame_columns_in_the_order_of_the_design(study) -> None:
    numbers = ["estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high", "df"]
    names = ["estimand", "cohort", "event_time", *numbers, "weight", "n_treated", "n_control", "method", "status"]
    frame = study.to_frame()
    assert list(frame) == names
    assert len(frame) == len(study) == 4
    assert frame.index.equals(pd.RangeIndex(4))


def test_reference_and_missing_rows(study) -> None:
    frame = study.to_frame()
    numbers = ["std_error", "statistic", "p_value", "conf_low", "conf_high", "df"]
    assert frame.loc[1, "estimate"] == 0
    assert frame["status"].tolist() == ["", "reference", "", "no_control"]
    assert frame.loc[[1, 3], numbers].isna().all().all()
    assert frame.loc[[0, 2], numbers].notna().all().all()
    assert np.isnan(study.se[3])


def test_interval_is_the_frame_without_the_rest(study) -> None:
    short, frame = study.interval(0.9), study.to_frame(0.9)
    assert list(short) == ["estimand", "cohort", "event_time", "estimate", "conf_low", "conf_high", "status"]
    assert short.equals(frame[list(short)])
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(DataError) as caught:
            study.interval(level)
        assert caught.value.code == "PMG-LEVEL"


def test_where_takes_values_lists_slices_and_functions(study) -> None:
    def times(**conditions) -> list[int]:
        return study.where(**conditions).terms["event_time"].tolist()

    assert times(event_time=0) == [0]
    assert times(event_time=[1, -2]) == [-2, 1]
    assert times(event_time=slice(-1, 0)) == [-1, 0]
    assert times(event_time=slice(None, -1)) == [-2, -1]
    assert times(event_time=lambda column: column % 2 == 0) == [-2, 0]
    assert times(cohort=pd.Period("2020Q1", freq="Q"), status="") == [-2, 0]
    assert times(status="none") == []
    with pytest.raises(DataError) as caught:
        study.where(cohrt=2020)
    assert "cohort" in caught.value.where


def test_where_with_missing_labels() -> None:
    columns = {"cohort": pd.array([2020, None, 2021], dtype="Int64"), "unit": ["a", None, "b"]}
    estimate = by_influence([1.0, 2.0, 3.0], columns)
    assert estimate.where(cohort=slice(2020, None)).values.tolist() == [1, 3]
    assert estimate.where(cohort=slice(None, 2020)).values.tolist() == [1]
    assert estimate.where(cohort=2021).values.tolist() == [3]
    assert estimate.where(unit="a").values.tolist() == [1]


def test_take_by_position_and_by_mask(study) -> None:
    one, other = study.take([2, 0]), study.take([True, False, True, False])
    assert one.values.tolist() == [2, 1]
    assert other.values.tolist() == [1, 2]
    assert_allclose(one.cov(), other.cov()[::-1, ::-1])
    assert one.terms["event_time"].tolist() == [0, -2]


def test_map_is_the_linear_algebra() -> None:
    estimate = by_influence([1.0, 2.0, 4.0], {"group": list("abc")})
    matrix = np.array([[1.0, -1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    found = estimate.map(matrix)
    assert_allclose(found.values, matrix @ [1, 2, 4])
    assert_allclose(found.cov(), matrix @ estimate.cov() @ matrix.T)
    assert found.terms["contrast"].tolist() == [0, 1]
    assert found.map([[1.0, 1.0]]).values == pytest.approx(-1 + 7 / 3)
    named = estimate.map(matrix, pd.DataFrame({"group": ["a - b", "mean"]}, index=[7, 7]))
    assert named.terms["group"].tolist() == ["a - b", "mean"]
    with pytest.raises(DataError) as caught:
        estimate.map(np.ones((1, 2)))
    assert caught.value.code == "PMG-SHAPE"


def test_a_term_with_coefficient_zero_plays_no_part(study) -> None:
    """0 x NaN is not NaN here: a failed cell does not spoil the contrasts of the others."""
    found = study.map([[1.0, 0.0, -1.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    assert found.values[0] == -1
    assert found.se[0] > 0
    assert np.isnan(found.values[1])
    psi = study.uncertainty.psi.dense().copy()
    psi[:, 3] = np.nan  # no jackknife for this term
    broken = by_influence([1.0, 0.0, 2.0, 5.0], {"event_time": EVENT}, psi)
    assert broken.map([[1.0, 0.0, -1.0, 0.0]]).se == pytest.approx(found.se[:1])
    assert np.isfinite(broken.apply(np.exp, np.exp).se).tolist() == [True, True, True, False]
    covariance = by_covariance([1.0, np.nan], [[1.0, np.nan], [np.nan, np.nan]], {"group": list("ab")})
    assert covariance.map([[2.0, 0.0]]).se.tolist() == [2.0]


def test_controls_of_a_map_are_those_of_the_weakest_part() -> None:
    estimate = by_influence([1.0, 2.0, 4.0], {"group": list("abc"), "n_control": [9, 5, 3]})
    assert estimate.map([[1.0, -1.0, 0.0], [0.0, 1.0, 1.0]]).terms["n_control"].tolist() == [5, 3]


def test_apply_is_the_delta_method_and_keeps_weights_and_support() -> None:
    treated = np.eye(30, 2)
    estimate = by_influence([2.0, 3.0], {"group": list("ab"), "weight": [1.0, 2.0]}, weight_psi=np.ones((30, 2)))
    found = estimate.apply(np.log, lambda x: 1 / x)
    assert_allclose(found.values, np.log([2.0, 3.0]))
    assert_allclose(found.se, estimate.se / [2, 3])
    assert found.uncertainty.weight_psi is estimate.uncertainty.weight_psi
    alone = by_influence([2.0, 3.0], {"group": list("ab")}, treated=treated).apply(np.square, lambda x: 0 * x)
    assert (alone.to_frame()["status"] != "").all()  # a slope of zero does not lift the guard


def test_apply_outside_the_domain_is_missing_with_a_reason() -> None:
    found = by_influence([0.0, 2.0], {"group": list("ab")}).apply(np.log, lambda x: 1 / x)
    frame = found.to_frame()
    assert np.isnan(frame["estimate"]).tolist() == [True, False]
    assert frame["status"].tolist() == ["outside the domain of the map", ""]
    assert frame["std_error"].notna().tolist() == [False, True]


def test_contrast_pairs_terms_that_differ_in_one_label_only() -> None:
    columns = {
        "estimand": ["att", "att", "pretrend", "att"],
        "group": ["a", "a", "b", "b"],
        "event_time": [0, 1, 0, 1],
        "n_control": [9, 8, 7, 6],
    }
    estimate = by_influence([1.0, 2.0, 5.0, 7.0], columns)
    found = estimate.contrast("group")
    assert found.terms[["event_time", "contrast"]].to_numpy().tolist() == [[0, "b - a"], [1, "b - a"]]
    assert found.values.tolist() == [4, 5]
    assert found.terms["n_control"].tolist() == [7, 6]
    matrix = np.array([[-1.0, 0, 1, 0], [0, -1, 0, 1]])
    assert_allclose(found.cov(), matrix @ estimate.cov() @ matrix.T)
    against_first = by_influence([1.0, 3.0, 6.0], {"cohort": [1, 2, 3]}).contrast("cohort")
    assert against_first.values.tolist() == [2, 5]
    with pytest.raises(DataError) as caught:
        estimate.where(group="a").contrast("group")
    assert caught.value.code == "PMG-CONTRAST"
    with pytest.raises(DataError, match="no column 'unit'"):
        estimate.contrast("unit")


def test_the_same_number_twice_has_no_p_value() -> None:
    """What differs by rounding only differs by nothing: no statistic out of 1e-17 over 1e-17."""
    psi = np.random.default_rng(0).normal(size=(30, 1))
    twice = by_influence([0.3, 0.1 + 0.2], {"group": list("ab")}, np.hstack([psi, psi * (1 + 1e-15)]))
    frame = twice.contrast("group").to_frame()
    assert frame["estimate"].tolist() == [0.0]
    assert frame["std_error"].tolist() == [0.0]
    assert frame[["p_value", "conf_low"]].isna().all().all()


def test_a_contrast_of_estimators_keeps_its_treated_units() -> None:
    """Equal weights of the treated cancel in a difference; who stands behind it does not."""
    treated = np.zeros((30, 2))
    treated[:3] = 1 / 3
    frame = by_influence([1.0, 2.0], {"group": list("ab")}, treated=treated).contrast("group").to_frame()
    assert frame["df"].tolist() == [2.0]
    treated[1:] = 0
    frame = by_influence([1.0, 2.0], {"group": list("ab")}, treated=treated).contrast("group").to_frame()
    assert "effect_per_area" in frame["status"][0]


def test_without_a_law() -> None:
    bare = Estimate(np.array([1.0, 2.0]), make_terms({"event_time": [0, 1]}, 2))
    assert bare.to_frame()["std_error"].isna().all()
    assert bare.average().values[0] == 1.5
    assert bare.map([[1.0, 1.0]]).values[0] == 3
    assert bare.apply(np.exp, np.exp).uncertainty is None
    for ask in (lambda: bare.cov(), lambda: bare.se, lambda: bare.test()):
        with pytest.raises(InferenceError) as caught:
            ask()
        assert caught.value.code == "PMG-NO-LAW"
        assert "placebo" in caught.value.fix
    with pytest.raises(InferenceError) as caught:
        bare.influence()
    assert caught.value.code == "PMG-NO-INFLUENCE"


def test_a_kernel_needs_influence_values() -> None:
    """A covariance cannot be clustered afterwards, and must not be printed as if it had been."""
    covariance = by_covariance([1.0], [0.5])
    for ask in (lambda: covariance.assuming(pe.clustered("unit")), lambda: covariance.cov(pe.hac(1))):
        with pytest.raises(InferenceError) as caught:
            ask()
        assert caught.value.code == "PMG-NO-INFLUENCE"
    assert covariance.assuming(pe.independent()).se.tolist() == [0.5]


def test_assuming_changes_the_law_only() -> None:
    rows = pd.DataFrame({"unit": np.arange(30), "state": np.arange(30) % 6})
    estimate = by_influence([1.0, 2.0], {"group": list("ab")}, rows=rows)
    other = estimate.assuming(pe.clustered("state", correction="G"))
    assert_allclose(other.cov(), estimate.cov(pe.clustered("state", correction="G")))
    assert other.values.tolist() == estimate.values.tolist()
    frame = other.to_frame()
    assert frame["method"].tolist() == ["influence, clustered(state, correction=G), guard"] * 2
    assert (frame["df"] == 5).all()


def test_influence_table() -> None:
    rows = pd.DataFrame({"unit": [1, 1, 2, 2], "time": [0, 1, 0, 1], "state": ["x", "x", "y", "y"]})
    estimate = by_influence([1.0], {"group": ["a"]}, [[1.0], [2.0], [-3.0], [4.0]], rows=rows)
    assert estimate.influence(units=False)[0].tolist() == [1, 2, -3, 4]
    by_unit = estimate.influence()
    assert by_unit[0].tolist() == [3, 1]
    assert by_unit.index.names == ["unit", "state"]
    assert_allclose(estimate.cov(pe.clustered("unit")), (by_unit.to_numpy() ** 2).sum() / 16)


# --- construction --------------------------------------------------------------------------------------------------


def test_frozen(study) -> None:
    with pytest.raises(FrozenInstanceError):
        study.values = np.zeros(4)
    with pytest.raises(ValueError, match="read-only"):
        study.values[0] = 9
    with pytest.raises(FrozenInstanceError):
        study.uncertainty.n = 3
    before = study.to_json()
    derived = study.take([0]), study.apply(np.exp, np.exp), study.map(np.eye(4)), study.to_frame()
    derived[3].loc[0, "estimate"] = 99
    study.summary()
    assert study.to_json() == before


def test_construction_checks_shapes_scales_and_columns() -> None:
    with pytest.raises(DataError) as caught:
        Estimate(np.zeros(2), make_terms({}, 3))
    assert caught.value.code == "PMG-TERMS"
    with pytest.raises(DataError, match="probit"):
        Estimate(np.zeros(1), make_terms({}, 1), scale="probit")
    with pytest.raises(DataError, match="horizn"):
        make_terms({"horizn": [1]}, 1)
    with pytest.raises(InferenceError, match="row labels"):
        by_influence([1.0], {"group": ["a"]}, np.zeros((3, 1)), rows=pd.DataFrame({"unit": [1, 2]}))


def test_terms_are_completed_whatever_their_index() -> None:
    terms = pd.DataFrame({"status": ["", "x"], "unit": ["a", "b"]}, index=[5, 2])
    found = Estimate(np.array([1, 2]), terms)
    assert found.terms.to_dict("list") == {
        "unit": ["a", "b"],
        "interval": ["wald"] * 2,
        "method": [""] * 2,
        "status": ["", "x"],
    }
    assert found.values.dtype == np.float64


def test_nothing_selected_is_an_estimate_of_nothing(study) -> None:
    empty = study.where(status="none")
    assert len(empty) == 0
    assert list(empty.to_frame()) == list(study.to_frame())
    assert Estimate.from_json(empty.to_json()).to_frame().shape[0] == 0


# --- other people's names ------------------------------------------------------------------------------------------


def test_statsmodels_names(study) -> None:
    frame = study.to_frame()
    index = ["event_time=-2", "event_time=-1", "event_time=0", "event_time=1"]
    assert study.params.index.tolist() == index
    assert_allclose(study.params, frame["estimate"])
    assert_allclose(study.bse, frame["std_error"])
    assert_allclose(study.pvalues, frame["p_value"])
    narrow = study.conf_int(alpha=0.2)
    assert list(narrow) == [0, 1]
    assert_allclose(narrow, study.to_frame(0.8)[["conf_low", "conf_high"]])
    assert_allclose(study.cov_params(), study.cov())
    assert study.cov_params().columns.tolist() == index


def test_broom_names(study) -> None:
    tidy = study.tidy(0.9)
    assert tidy.columns[0] == "term"
    assert {"std.error", "p.value", "conf.low", "conf.high"} <= set(tidy)
    assert_allclose(tidy["conf.high"], study.to_frame(0.9)["conf_high"])
    glance = study.glance()
    assert glance.shape[0] == 1
    assert glance.loc[0, ["n_terms", "n_rows", "scale", "dependence"]].tolist() == [4, 30, "identity", "independent"]


def test_summary_and_repr(study) -> None:
    text = study.summary(0.9)
    assert repr(study) == study.summary()
    assert "Estimate: 4 terms" in text
    assert "90% intervals" in text
    assert "no_control" in text
    assert repr(by_covariance([1.0], [0.5])).startswith("Estimate: 1 term\n")
