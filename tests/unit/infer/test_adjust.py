"""Adjusted p-values: worked by hand, by closed forms and by the definition, and the laws that all of them obey."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

import pmg_eval as pe
from pmg_eval import did, infer
from pmg_eval.errors import DataError, InferenceError, PmgEvalWarning
from pmg_eval.estimate import Draws, Estimate, make_terms
from unit.estimate.made import by_covariance, by_influence
from unit.resample.panels import panel_of, staggered

METHODS = ("romano_wolf", "holm", "bonferroni", "bh", "by")


def normal(p_values, correlation=None, **more) -> Estimate[None]:
    """Terms with unit variance and these two-sided p-values."""
    z = stats.norm.isf(np.asarray(p_values) / 2)
    matrix = np.eye(len(z)) if correlation is None else np.asarray(correlation, dtype=float)
    return by_covariance(z, matrix, {"outcome": [f"y{i}" for i in range(len(z))]}, **more)


def drawn(deviation, errors, p_min=0.0, **more) -> Estimate[None]:
    errors = np.asarray(errors, dtype=float)
    k = errors.shape[1]
    law = Draws(errors, np.broadcast_to(np.asarray(p_min, dtype=float), (k,)))
    return Estimate(np.asarray(deviation, dtype=float), make_terms({"unit": list("abcdefgh")[:k]}, k), law, **more)


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_holm_bonferroni_bh_by_by_hand() -> None:
    """p = 0.01, 0.02, 0.03, 0.2. Holm 4p1, 3p2 (and 2p3 <= it), p4; BH 4/1 p1 and so on, minima from above."""
    four = normal([0.01, 0.02, 0.03, 0.2])
    want = {
        "bonferroni": [0.04, 0.08, 0.12, 0.8],
        "holm": [0.04, 0.06, 0.06, 0.2],
        "bh": [0.04, 0.04, 0.04, 0.2],
        "by": [0.04 * 25 / 12] * 3 + [0.2 * 25 / 12],
    }
    for method, numbers in want.items():
        found = infer.adjust(four, method=method)
        assert_allclose(found["p_adjusted"], numbers, rtol=1e-12)
        assert ("q_value" in found) == (method in ("bh", "by"))
        assert found.attrs["n_tests"] == 4


@pytest.mark.parametrize(
    ("partner", "p_first"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], 0.3),  # largest errors together: the draws 9/9 and 8/8 beat p = 0.2
        ([9, 8, 7, 6, 5, 4, 3, 2, 1], 0.4),  # apart: 9/1, 1/9 and 2/8
    ],
)
def test_romano_wolf_by_hand(partner: list[int], p_first: float) -> None:
    """Nine draws; estimates 8.5 and 7.5.

    p = 2/10 and 3/10. Among the draws and the estimate (10 numbers), an error of 9 has p 1/10; 8 has 3/10 in the first
    column (8, 8.5, 9) and 2/10 in the second (8, 9). Step 1 counts draws whose smaller p is at most 0.2: a nine in the
    first column, a nine or an eight in the second. Step 2 leaves the second test its own p.
    """
    errors = np.column_stack([np.arange(1, 10), partner])
    found = infer.adjust(drawn([8.5, -7.5], errors))
    assert_allclose(found["p_value"], [0.2, 0.3])
    assert_allclose(found["p_adjusted"], [p_first, max(p_first, 0.3)])
    assert_allclose(found["p_error"], np.sqrt(p_first * (1 - p_first) / 9) * (found["p_adjusted"] != found["p_value"]))
    assert found.attrs["draws"] == 9
    assert found.attrs["law"] == "its own draws"


def by_definition(deviation, errors) -> list[float]:
    """Step-down of minimum p-values, written out; every draw is ranked among the draws and the estimate."""
    rows = np.vstack([np.abs(deviation), np.abs(errors)])
    n, k = rows.shape
    p = np.array([[np.mean([other >= row[j] for other in rows[:, j]]) for j in range(k)] for row in rows])
    order = sorted(range(k), key=lambda j: p[0, j])
    adjusted, before = [0.0] * k, 0.0
    for step, j in enumerate(order):
        left = order[step:]
        before = max(before, np.mean([min(p[r, i] for i in left) <= p[0, j] + 1e-12 for r in range(n)]))
        adjusted[j] = before
    return adjusted


@pytest.mark.parametrize("seed", range(4))
def test_romano_wolf_by_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors = rng.normal(size=(59, 1)) * rng.random() + rng.normal(size=(59, 4)) * [1, 2, 5, 0.1]
    deviation = errors.std(axis=0) * rng.normal(1.5, 1, 4)
    assert_allclose(infer.adjust(drawn(deviation, errors))["p_adjusted"], by_definition(deviation, errors), rtol=1e-12)


def test_draws_on_the_log_scale_are_those_of_the_ratio() -> None:
    """Errors on the natural scale times the slope 1/ratio: the p-values of log ratios under scaled draws."""
    rng = np.random.default_rng(5)
    ratio, errors = np.array([1.3, 0.8, 1.6]), rng.normal(0, 0.2, size=(39, 3))
    found = infer.adjust(drawn(ratio, errors, scale="log"))
    assert_allclose(found["p_adjusted"], by_definition(np.log(ratio), errors / ratio), rtol=1e-12)


# --- closed forms ----------------------------------------------------------------------------------------------------


def sidak(p_values) -> np.ndarray:
    order = np.argsort(p_values)
    steps = 1 - (1 - np.sort(p_values)) ** np.arange(len(p_values), 0, -1)
    found = np.empty(len(p_values))
    found[order] = np.maximum.accumulate(steps)
    return found


@pytest.mark.parametrize("law", ["gaussian", "multiplier"])
def test_independent_tests_give_the_step_down_of_sidak(law: str) -> None:
    p = np.array([0.03, 0.004, 0.2, 0.02])
    rows = np.kron(np.eye(4), np.random.default_rng(4).normal(size=(400, 1)))  # disjoint rows: exactly uncorrelated
    scale = np.sqrt((rows**2).sum(axis=0)) / len(rows)
    independent = by_influence(stats.norm.isf(p / 2) * scale, {"outcome": list("abcd")}, rows)
    found = infer.adjust(independent, law=law, draws=39_999, rng=1)
    assert_allclose(found["p_value"], p, rtol=1e-9)
    off = np.abs(found["p_adjusted"] - sidak(p)) / np.fmax(found["p_error"], 1e-12)
    assert off.max() < (4 if law == "gaussian" else 8)  # signs on 400 rows are nearly normal
    holm = infer.adjust(independent, method="holm")["p_adjusted"]
    assert (found["p_adjusted"] <= holm + 4 * found["p_error"]).all()


def test_tests_that_are_one_test_cost_nothing() -> None:
    same = normal([0.02, 0.02, 0.02], np.ones((3, 3)))
    found = infer.adjust(same, draws=39_999)
    assert_allclose(found["p_adjusted"], 0.02, atol=0.002)  # 3 Monte-Carlo errors
    assert (found["p_adjusted"] >= found["p_value"]).all()


def test_few_degrees_of_freedom_share_their_chi_square() -> None:
    """Two independent normals over one chi with 5 degrees of freedom: P(max |t| > c) by quadrature."""
    t = 3.0
    two = by_covariance([t, t], np.eye(2), {"outcome": ["a", "b"]}, df=5)
    found = infer.adjust(two, draws=39_999, rng=3)
    inside, _ = integrate.quad(
        lambda x: (2 * stats.norm.cdf(t * np.sqrt(x / 5)) - 1) ** 2 * stats.chi2.pdf(x, 5), 0, np.inf
    )
    assert found["p_value"].iloc[0] == pytest.approx(2 * stats.t.sf(t, 5))
    assert found["p_adjusted"].iloc[0] == pytest.approx(1 - inside, abs=4 * found["p_error"].iloc[0])


def test_what_a_placebo_pool_cannot_resolve_is_not_resolved_by_many_tests() -> None:
    """Ten areas beyond every one of 49 placebos: 1 - (1 - 1/50)^10 = 0.183, not 1 / 20,000."""
    rng = np.random.default_rng(0)
    placebo = np.sort(np.abs(rng.normal(size=49)))
    errors = np.column_stack([rng.choice(placebo, 20_000) for _ in range(8)]) + 1e-6 * rng.normal(size=(20_000, 8))
    found = infer.adjust(drawn(np.full(8, 50.0), errors, p_min=1 / 50))
    assert_allclose(found["p_value"], 1 / 50)
    assert_allclose(found["p_adjusted"], 1 - (49 / 50) ** 8, atol=0.015)


# --- laws ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=8), st.floats(0, 0.95), st.sampled_from(METHODS))
def test_laws(p_values: list[float], correlation: float, method: str) -> None:
    k = len(p_values)
    estimate = normal(p_values, np.full((k, k), correlation) + (1 - correlation) * np.eye(k))
    found = infer.adjust(estimate, method=method, draws=499)
    raw, adjusted = found["p_value"].to_numpy(), found["p_adjusted"].to_numpy()
    assert (adjusted >= raw).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= -1e-12).all()
    if k == 1:
        assert_array_equal(adjusted, raw)
    if method == "holm":
        assert (adjusted <= infer.adjust(estimate, method="bonferroni")["p_adjusted"] + 1e-15).all()
    if method == "bh":
        assert (adjusted <= infer.adjust(estimate, method="by")["p_adjusted"] + 1e-15).all()


@given(st.integers(0, 2**20), st.integers(1, 5), st.sampled_from([0.0, 0.02, 0.2]))
def test_laws_of_draws(seed: int, k: int, p_min: float) -> None:
    """With ties, and with a smallest attainable p."""
    rng = np.random.default_rng(seed)
    errors = rng.integers(-6, 7, size=(49, k)) + (0.3 * rng.normal(size=(49, k)) if seed % 2 else 0.0)
    estimate = drawn(rng.integers(-9, 10, size=k), errors, p_min)
    found = infer.adjust(estimate)
    raw, adjusted = found["p_value"].to_numpy(), found["p_adjusted"].to_numpy()
    assert (adjusted >= raw).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()
    if k == 1:
        assert_array_equal(adjusted, raw)


def test_same_seed_same_bits() -> None:
    four = normal([0.01, 0.02, 0.03, 0.2])
    first, second = (infer.adjust(four, rng=7) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert first.attrs["seed"] == 7
    assert first.attrs["monte_carlo_error"] == first["p_error"].max()
    assert infer.adjust(four, rng=np.random.default_rng(7))["p_adjusted"].equals(first["p_adjusted"])


# --- the family ------------------------------------------------------------------------------------------------------


def test_the_primary_outcome_stays_as_it_is_and_is_not_counted() -> None:
    three = normal([0.02, 0.03, 0.04])
    for primary in ("y0", {"outcome": "y0"}):
        found = infer.adjust(three, method="bonferroni", primary=primary)
        assert_allclose(found["p_adjusted"], [0.02, 0.06, 0.08])
        assert (found.attrs["n_tests"], found.attrs["primary"]) == (2, ["outcome=y0"])
    assert infer.adjust(three, primary="y0")["p_error"].iloc[0] == 0
    with pytest.warns(PmgEvalWarning, match="2 tests are called primary"):
        found = infer.adjust(three, method="holm", primary={"outcome": ["y0", "y1"]})
    assert_allclose(found["p_adjusted"], [0.02, 0.03, 0.04])
    with pytest.raises(DataError, match="no term has the label 'arson'") as caught:
        infer.adjust(three, primary="arson")
    assert "outcome=y1" in caught.value.where


def test_terms_without_a_p_value_are_left_out_and_listed() -> None:
    terms = {"event_time": [-2, -1, 0, 1], "status": ["", "reference", "", ""]}
    study = by_covariance([0.5, 0.0, 2.0, np.nan], np.diag([1.0, 0, 1, 1]), terms)
    found = infer.adjust(study, method="bonferroni")
    assert found.attrs["n_tests"] == 2
    assert found.attrs["left_out"] == ["event_time=1"]  # the reference period is no test
    assert_array_equal(np.isnan(found["p_adjusted"]), [False, True, False, True])
    assert_allclose(found["p_adjusted"].iloc[2], 2 * found["p_value"].iloc[2])
    with pytest.raises(InferenceError, match="no term has a p-value"):
        infer.adjust(study.where(event_time=1))


def test_stacked_outcomes_are_one_family() -> None:
    table = staggered(effect=1.0)
    table["again"] = table["rate"] + 1e-9 * np.arange(len(table))
    panel = panel_of(table)
    one, two = (did.imputation(panel, outcome).average() for outcome in ("rate", "again"))
    found = infer.adjust(pe.stack(one, two, names=("one", "two")), draws=19_999)
    assert found.attrs["n_tests"] == 2
    assert_allclose(found["p_adjusted"], found["p_value"], atol=4 * found.attrs["monte_carlo_error"])
    assert infer.adjust(pe.stack(one, two, names=("one", "two")), method="holm")["p_adjusted"].iloc[0] == pytest.approx(
        2 * found["p_value"].iloc[0], rel=1e-3
    )


def test_a_saved_result_is_adjusted_from_its_covariance() -> None:
    estimate = did.group_time(panel_of(staggered(effect=1.0)), "rate").average(by="event_time")
    again = Estimate.from_json(estimate.to_json())
    assert_allclose(infer.adjust(again)["p_adjusted"], infer.adjust(estimate)["p_adjusted"], rtol=1e-9)


def test_bad_options() -> None:
    three = normal([0.02, 0.03, 0.04])
    for options, what in (({"method": "bonf"}, "method"), ({"law": "exact"}, "law"), ({"draws": 0}, "draws")):
        with pytest.raises(DataError, match=what):
            infer.adjust(three, **options)
    unknown = np.eye(3)
    unknown[0, 2] = unknown[2, 0] = np.nan
    with pytest.raises(InferenceError, match="cannot be drawn together"):
        infer.adjust(normal([0.02, 0.03, 0.04], unknown))
    assert infer.adjust(normal([0.02, 0.03, 0.04], unknown), method="holm")["p_adjusted"].notna().all()


def test_shrunken_effects_have_no_law_to_draw_from() -> None:
    panel = panel_of(staggered(n=60, starts={2004: 6, 2006: 6}))
    shrunk = infer.shrink(pe.effect_per_area(panel, "rate", estimator=did.imputation))
    with pytest.raises(InferenceError, match="joint law"):
        infer.adjust(shrunk)
    with pytest.raises(InferenceError, match="worst case of a bias"):
        infer.equivalence(shrunk, 1.0)
    assert (infer.adjust(shrunk, method="holm")["p_adjusted"] >= shrunk.to_frame()["p_value"]).all()
