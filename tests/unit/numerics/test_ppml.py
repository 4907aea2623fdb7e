from __future__ import annotations

import numpy as np
import pytest

from _shared import dataset, needs_shared, reference
from pmg_eval.errors import NumericalError
from pmg_eval.numerics.groups import group_sum
from pmg_eval.numerics.ppml import PpmlFit, ppml

Data = dict[str, np.ndarray]


def panel(n: int = 12, T: int = 6, mean: float = 5.0, seed: int = 0, keep: float = 1.0) -> Data:
    rng = np.random.default_rng(seed)
    cell = np.sort(rng.permutation(n * T)[: int(keep * n * T)])
    unit, time = cell // T, cell % T
    exposure = rng.lognormal(sigma=1.0, size=n)[unit] * rng.uniform(0.8, 1.2, size=cell.size)
    X = np.column_stack([(unit < n // 3) & (time >= T // 2), rng.normal(size=cell.size)]).astype(float)
    eta = rng.normal(size=n)[unit] * 0.3 + rng.normal(size=T)[time] * 0.5 + X @ np.array([-0.2, 0.1])
    return {
        "y": rng.poisson(mean * exposure * np.exp(eta)).astype(float),
        "exposure": exposure,
        "unit": unit,
        "time": time,
        "X": X,
        "w": rng.uniform(0.5, 2, size=cell.size),
    }


def by_dummies(data: Data, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """statsmodels GLM: coefficients of X, means, their naive covariance and the deviance."""
    import statsmodels.api as sm

    rows = np.ones(data["y"].size, dtype=bool) if rows is None else rows
    d = {name: value[rows] for name, value in data.items()}
    unit, time = d["unit"][:, None] == np.unique(d["unit"]), d["time"][:, None] == np.unique(d["time"])[1:]
    design = np.column_stack([d["X"], unit, time]).astype(float)
    model = sm.GLM(d["y"], design, family=sm.families.Poisson(), offset=np.log(d["exposure"]), var_weights=d["w"])
    fit = model.fit(tol=1e-14, maxiter=200)
    p = d["X"].shape[1]
    return fit.params[:p], fit.fittedvalues, fit.cov_params()[:p, :p], fit.deviance


def scores_vanish(data: Data, fit: PpmlFit) -> None:
    rest = np.where(fit.used, data["w"] * (data["y"] - np.nan_to_num(fit.mu)), 0.0)
    total = float(np.sum(data["w"] * data["y"]))
    for codes in (data["unit"], data["time"]):
        assert np.abs(group_sum(codes, rest, int(codes.max()) + 1)).max() <= 1e-11 * total
    assert np.abs(fit.x_within.T @ rest).max(initial=0) <= 1e-11 * total


@pytest.mark.parametrize("mean", [2.0, 50.0, 1e6])
@pytest.mark.parametrize("keep", [1.0, 0.8])
def test_equals_a_glm_with_dummies(mean: float, keep: float) -> None:
    data = panel(mean=mean, keep=keep)
    fit = ppml(**data)
    coef, mu, cov, deviance = by_dummies(data, fit.used)
    np.testing.assert_allclose(fit.coef, coef, rtol=1e-8)
    np.testing.assert_allclose(fit.mu[fit.used], mu, rtol=1e-8)
    np.testing.assert_allclose(fit.bread, cov, rtol=1e-7)
    assert fit.deviance == pytest.approx(deviance, rel=1e-8)
    scores_vanish(data, fit)
    assert fit.score <= 1e-12
    eta = fit.unit_effect[data["unit"]] + fit.time_effect[data["time"]] + data["X"] @ fit.coef
    np.testing.assert_allclose((data["exposure"] * np.exp(eta))[fit.used], fit.mu[fit.used], rtol=1e-12)
    assert fit.time_effect.sum() == pytest.approx(0, abs=1e-11)
    np.testing.assert_allclose(fit.unit_weight_sum, group_sum(data["unit"], data["w"] * data["y"], 12), rtol=1e-11)


@pytest.mark.parametrize("mean", [0.05, 0.5, 1e6])
def test_converges_from_rare_and_large_counts(mean: float) -> None:
    data = panel(n=200, T=10, mean=mean)
    # A period effect of a factor 1000 is far from the start.
    data["y"] = np.random.default_rng(1).poisson(mean * data["exposure"] * 1000.0 ** (data["time"] == 4)).astype(float)
    fit = ppml(**data)
    assert fit.score <= 1e-12
    assert fit.iterations <= 10
    scores_vanish(data, fit)


@needs_shared
def test_equals_fixest_fepois_with_an_offset() -> None:
    castle, expected = dataset("castle_panel"), reference("fixest_fepois_castle_offset")["results"]
    unit, time = castle["sid"].factorize()[0], castle["year"].factorize(sort=True)[0]
    y, population = castle["homicides"].to_numpy(float), castle["population"].to_numpy(float)
    fit = ppml(y, population, unit, time, castle[["treated_bin"]].to_numpy(float))
    by_state = group_sum(unit, fit.x_within[:, 0] * (y - fit.mu), 50)
    clustered = expected["V"]["cluster_K.none"]  # factor G / (G - 1) only
    assert fit.coef[0] == pytest.approx(clustered["coef"][0], rel=1e-10)
    assert np.sqrt(50 / 49 * by_state @ by_state) * fit.bread[0, 0] == pytest.approx(clustered["se"], rel=1e-10)


def test_an_event_where_almost_none_is_expected() -> None:
    """Weights of 1e5 against each other: the working residuals have no digits, the scores do."""
    unit = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    time = np.tile(np.arange(4), 3)
    y = np.array([2.0, 0, 0, 1, 0, 1, 0, 12, 0, 0, 8, 0])
    w = np.array([1e-3, 0.2, 2e-3, 2e-3, 50, 10, 0.3, 0.4, 5e-3, 0.6, 2, 0.9])
    x = np.array([20.0, -1, 3, 5, 0, 0, 2, 1, -4, 1, 0, 6])
    data = {"y": y, "exposure": np.ones(12), "unit": unit, "time": time, "X": x[:, None], "w": w}
    fit = ppml(**data)
    assert fit.score <= 1e-12
    scores_vanish(data, fit)


def test_exposure_and_outcome_in_other_units() -> None:
    data = panel()
    plain = ppml(**data)
    for factor in (1e-6, 7.0, 1e6):
        both = ppml(**(data | {"y": factor * data["y"], "exposure": factor * data["exposure"]}))
        np.testing.assert_allclose(both.coef, plain.coef, rtol=1e-10)
        np.testing.assert_allclose(both.unit_effect, plain.unit_effect, atol=1e-10)
        np.testing.assert_allclose(both.bread, plain.bread / factor, rtol=1e-9)
    by_unit = ppml(**(data | {"exposure": data["exposure"] * np.exp(np.arange(12))[data["unit"]]}))
    np.testing.assert_allclose(by_unit.coef, plain.coef, rtol=1e-10)
    np.testing.assert_allclose(by_unit.unit_effect, plain.unit_effect - np.arange(12), atol=1e-10)
    heavier = ppml(**(data | {"w": 1e-3 * data["w"]}))
    np.testing.assert_allclose(heavier.coef, plain.coef, rtol=1e-10)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9])
def test_covariates_in_other_units(offset: float) -> None:
    data = panel()
    plain = ppml(**data)
    moved = ppml(**(data | {"X": data["X"] * np.array([1.0, 1e6]) + np.array([0.0, offset * 1e6])}))
    np.testing.assert_allclose(moved.coef * np.array([1.0, 1e6]), plain.coef, rtol=1e-10 + 1e-15 * offset)
    np.testing.assert_allclose(moved.mu, plain.mu, rtol=1e-10 + 1e-15 * offset)


def test_maximizes_the_conditional_multinomial_likelihood() -> None:
    """Given the totals of the units the counts are multinomial; the unit effects drop out (Hausman et al.)."""
    from scipy.optimize import minimize

    data = panel(n=15, T=4)
    time = (data["time"][:, None] == np.arange(1, 4)).astype(float)
    design = np.column_stack([data["X"], time])

    def negative(theta: np.ndarray) -> tuple[float, np.ndarray]:
        rate = data["exposure"] * np.exp(design @ theta)
        share = rate / group_sum(data["unit"], rate, 15)[data["unit"]]
        average = group_sum(data["unit"], share[:, None] * design, 15)[data["unit"]]
        return (
            -float(np.sum(data["w"] * data["y"] * np.log(share))),
            -(data["w"] * data["y"]) @ (design - average),
        )

    # Weights constant within units keep the conditional likelihood multinomial.
    data["w"] = np.random.default_rng(2).uniform(0.5, 2, size=15)[data["unit"]]
    best = minimize(negative, np.zeros(5), jac=True, method="BFGS", options={"gtol": 1e-9})
    fit = ppml(**data)
    np.testing.assert_allclose(fit.coef, best.x[:2], atol=1e-7)
    np.testing.assert_allclose(fit.time_effect[1:] - fit.time_effect[0], best.x[2:], atol=1e-7)
    theta = np.concatenate([fit.coef, fit.time_effect[1:] - fit.time_effect[0]])
    assert np.abs(negative(theta)[1]).max() < 1e-9


def test_saturated_two_by_two_is_the_ratio_of_ratios() -> None:
    rng = np.random.default_rng(3)
    unit, time = np.repeat(np.arange(10), 2), np.tile([0, 1], 10)
    treated = ((unit < 4) & (time == 1)).astype(float)[:, None]
    y = rng.poisson(20, size=20).astype(float)
    fit = ppml(y, None, unit, time, treated)
    total = {(g, t): y[((unit < 4) == g) & (time == t)].sum() for g in (True, False) for t in (0, 1)}
    ratio = (total[True, 1] / total[True, 0]) / (total[False, 1] / total[False, 0])
    assert fit.coef[0] == pytest.approx(np.log(ratio), rel=1e-11)


def test_integer_weights_are_copies() -> None:
    data = panel()
    data["w"] = (np.arange(72) % 3).astype(float) + 1
    repeated = {name: np.repeat(value, data["w"].astype(int), axis=0) for name, value in data.items()}
    repeated["w"] = np.ones(repeated["y"].size)
    one, other = ppml(**data), ppml(**repeated)
    np.testing.assert_allclose(one.coef, other.coef, rtol=1e-10)
    np.testing.assert_allclose(one.time_effect, other.time_effect, atol=1e-11)
    np.testing.assert_allclose(one.bread, other.bread, rtol=1e-9)


def test_all_zero_units_and_periods_are_left_out_and_listed() -> None:
    data = panel(n=14, T=7)
    empty = (data["unit"] == 3) | (data["unit"] == 8) | (data["time"] == 2)
    data["y"][empty] = 0
    fit = ppml(**data)
    np.testing.assert_array_equal(fit.dropped_units, [3, 8])
    np.testing.assert_array_equal(fit.dropped_times, [2])
    np.testing.assert_array_equal(fit.separated, empty)
    np.testing.assert_array_equal(fit.used, ~empty)
    assert np.isnan(fit.unit_effect[[3, 8]]).all()
    assert np.isnan(fit.time_effect[2])
    assert np.all(fit.mu[empty] == 0)
    without = ppml(**{name: value[~empty] for name, value in data.items()}, n_units=14, n_times=7)
    np.testing.assert_allclose(fit.coef, without.coef, rtol=1e-13)
    np.testing.assert_allclose(fit.mu[~empty], without.mu, rtol=1e-13)


def test_zeros_that_effects_fit_perfectly_in_an_unbalanced_panel() -> None:
    # Unit 0 has events only in period 0 and unit 1 only in period 1; the zero (0, 1) can be pushed to -infinity.
    unit, time = np.array([0, 0, 1]), np.array([0, 1, 1])
    fit = ppml(np.array([4.0, 0, 3]), None, unit, time)
    np.testing.assert_array_equal(fit.separated, [False, True, False])
    np.testing.assert_allclose(fit.mu, [4, 0, 3], rtol=1e-14)
    assert fit.dropped_units.size == 0
    # With the fourth cell, also a zero, the two pushes oppose each other: nothing is separated.
    fit = ppml(np.array([4.0, 0, 3, 0]), None, np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]))
    assert fit.used.all()
    np.testing.assert_allclose(fit.mu, [16 / 7, 12 / 7, 9 / 7, 12 / 7], rtol=1e-12)


def test_separation_check_agrees_with_a_linear_program() -> None:
    from scipy.optimize import linprog

    rng = np.random.default_rng(4)
    found = 0
    for _ in range(60):
        keep = rng.random(20) < 0.6
        unit, time = np.repeat(np.arange(5), 4)[keep], np.tile(np.arange(4), 5)[keep]
        y = rng.poisson(0.5, size=unit.size).astype(float)
        if not y.any():
            continue
        design = np.column_stack([unit[:, None] == np.arange(5), time[:, None] == np.arange(4)]).astype(float)
        zero = y == 0
        separated = np.zeros(y.size, dtype=bool)
        # Zeros that some direction with design @ g = 0 on events and <= 0 on zeros makes negative.
        for row in np.flatnonzero(zero):
            program = linprog(
                design[row],
                A_ub=design[zero],
                b_ub=np.zeros(zero.sum()),
                A_eq=design[~zero],
                b_eq=np.zeros((~zero).sum()),
                bounds=(-1, 1),
            )
            separated[row] = program.fun < -1e-7
        found += separated.any()
        fit = ppml(y, None, unit, time, n_units=5, n_times=4)
        np.testing.assert_array_equal(fit.separated, separated)
    assert found > 20


def test_a_covariate_that_fits_zeros_is_named() -> None:
    data = panel(n=20, T=5)
    only_zeros = ((data["unit"] == 4) & (data["time"] >= 3)).astype(float)
    data["y"][only_zeros == 1] = 0
    data["X"] = np.column_stack([data["X"], only_zeros])
    with pytest.raises(NumericalError, match="PMG-SEPARATION") as caught:
        ppml(**data)
    assert caught.value.where == (2,)
    # The same through a combination: the difference of two columns is the indicator, up to effects.
    other = np.random.default_rng(1).normal(size=100)
    data["X"] = np.column_stack([other + np.arange(20)[data["unit"]], data["X"][:, 0], 3 * only_zeros + other])
    with pytest.raises(NumericalError, match="PMG-SEPARATION") as caught:
        ppml(**data)
    assert caught.value.where == (0, 2)


def test_a_covariate_that_vanishes_on_events_but_is_not_one_sided_is_estimated() -> None:
    data = panel(n=20, T=5, mean=20.0)
    cells = (data["unit"] == 4) & (data["time"] >= 3)
    data["y"][cells] = 0
    data["X"] = np.zeros((100, 1))
    data["X"][cells, 0] = [1.0, -1.0]
    fit = ppml(**data)
    scores_vanish(data, fit)
    coef, mu, _, _ = by_dummies(data)
    np.testing.assert_allclose(fit.coef, coef, atol=1e-8)
    np.testing.assert_allclose(fit.mu, mu, rtol=1e-7)


def test_collinear_covariates_are_dropped() -> None:
    data = panel()
    plain = ppml(**data)
    X = np.column_stack([data["X"][:, 0], 2000.0 + data["time"], data["X"][:, 1], np.arange(12)[data["unit"]] ** 2.0])
    X = np.column_stack([X, X[:, 0] - X[:, 2], np.ones(72)])
    fit = ppml(**(data | {"X": X}))
    assert fit.dropped == (1, 3, 4, 5)
    np.testing.assert_allclose(fit.coef[[0, 2]], plain.coef, rtol=1e-10)
    assert not fit.bread[[1, 3, 4, 5]].any()
    assert not fit.x_within[:, [1, 3, 4, 5]].any()
    np.testing.assert_allclose(fit.mu, plain.mu, rtol=1e-10)


def test_rows_of_weight_zero_are_predicted() -> None:
    data = panel(n=20, T=6)
    data["w"][(data["unit"] < 5) & (data["time"] >= 4)] = 0
    data["X"] = data["X"][:, 1:]
    fit = ppml(**data)
    held = data["w"] == 0
    changed = ppml(**(data | {"y": np.where(held, 1e5, data["y"])}))
    np.testing.assert_array_equal(fit.mu, changed.mu)
    eta = fit.unit_effect[data["unit"]] + fit.time_effect[data["time"]] + data["X"] @ fit.coef
    np.testing.assert_allclose(fit.mu[held], (data["exposure"] * np.exp(eta))[held], rtol=1e-13)
    assert not fit.used[held].any()
    assert not fit.separated[held].any()
    # A unit never seen with weight has no prediction.
    data["w"][data["unit"] == 0] = 0
    assert np.isnan(ppml(**data).mu[data["unit"] == 0]).all()


def test_documented_influence_is_the_weight_derivative_of_a_prediction() -> None:
    data = panel(n=8, T=5, keep=0.9, mean=8.0)
    fit = ppml(**data, n_units=8, n_times=5)
    assert fit.used.all()
    unit, time, w = data["unit"], data["time"], data["w"]
    score = w * (data["y"] - fit.mu)
    share = fit.two_way.cell_weight / fit.unit_weight_sum[:, None]
    i, t, x = 2, 4, np.array([1.0, 0.3])
    of_coef = (fit.x_within * score[:, None]) @ fit.bread
    spread = (np.eye(5)[t] - share[i]) @ fit.schur_pinv @ (np.eye(5)[time] - share[unit]).T
    influence = (unit == i) * score / fit.unit_weight_sum[i] + spread * score
    influence = influence + of_coef @ (x - fit.x_unit[i] - fit.x_time[t])
    step = 1e-5
    for row in range(0, unit.size, 7):
        eta = []
        for sign in (1, -1):
            moved = w.copy()
            moved[row] *= 1 + sign * step
            other = ppml(**(data | {"w": moved}), n_units=8, n_times=5)
            eta.append(other.unit_effect[i] + other.time_effect[t] + x @ other.coef)
        assert (eta[0] - eta[1]) / (2 * step) == pytest.approx(influence[row], rel=1e-6, abs=1e-9)


def test_disconnected_panels_are_normalized_by_component() -> None:
    first, second = panel(n=4, T=3, mean=20.0, seed=1), panel(n=5, T=4, mean=20.0, seed=2)
    for data in (first, second):
        data["X"] = data["X"][:, 1:]
    second["unit"], second["time"] = second["unit"] + 4, second["time"] + 3
    fit = ppml(**{name: np.concatenate([first[name], second[name]]) for name in first})
    assert fit.two_way.components == 2
    np.testing.assert_allclose([fit.time_effect[:3].sum(), fit.time_effect[3:].sum()], 0, atol=1e-12)
    no_x = ppml(**(first | {"X": None}))
    assert no_x.coef.shape == (0,)
    assert no_x.bread.shape == (0, 0)
    assert no_x.x_within.shape == (12, 0)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"y": -1.0}, "PMG-NEGATIVE-COUNT"),
        ({"y": np.nan}, "PMG-NOT-FINITE"),
        ({"w": -1.0}, "PMG-WEIGHT"),
        ({"exposure": -1.0}, "PMG-EXPOSURE"),
        ({"exposure": np.nan}, "PMG-EXPOSURE"),
        ({"X": np.inf}, "PMG-NOT-FINITE"),
    ],
)
def test_refusals_name_the_row(change: dict[str, float], code: str) -> None:
    data = panel()
    for name, value in change.items():
        data[name][5] = value
    with pytest.raises(NumericalError, match=code) as caught:
        ppml(**data)
    assert caught.value.where == (5,)


def test_other_refusals() -> None:
    data = panel()
    with pytest.raises(NumericalError, match="PMG-NO-EVENTS"):
        ppml(**(data | {"y": np.zeros(72)}))
    row = int(np.flatnonzero(data["y"] > 0)[0])
    data["exposure"][row] = 0
    with pytest.raises(NumericalError, match="PMG-EXPOSURE"):
        ppml(**data)
    data["y"][row] = 0
    fit = ppml(**data)
    assert not fit.used[row]
    assert fit.mu[row] == 0
    with pytest.raises(NumericalError, match="PMG-NOT-CONVERGED"):
        ppml(**data, max_iterations=1)
