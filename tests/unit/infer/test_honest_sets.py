"""The machinery of a sensitivity analysis against linear programs, brute force, closed forms and simulation."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.optimize import linprog, minimize

from pmg_eval import infer
from pmg_eval.infer import _honest_rays
from pmg_eval.infer._honest_flci import flci, folded_quantile, path_of
from pmg_eval.infer._honest_rays import extreme_rays, some_rays
from pmg_eval.infer._honest_system import System, identified, system_of, without_shape
from pmg_eval.infer._honest_test import Decision, ends, moments_of, on_grid
from unit.infer.test_honest import study

RESTRICTIONS = [
    infer.RelativeMagnitude(),
    infer.RelativeMagnitude(sign="positive"),
    infer.RelativeMagnitude(monotone="decreasing"),
    infer.Smoothness(),
    infer.Smoothness(sign="negative"),
    infer.Smoothness(monotone="increasing"),
    infer.Combined(),
    infer.Combined(sign="positive"),
    infer.Combined(monotone="decreasing"),
]
P, T = 3, 3
AVERAGE = np.full(T, 1 / T)


def drawn(seed: int, k: int = P + T) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(k, k))
    return rng.normal(size=k), root @ root.T / k


def constraints(restriction: Any, strength: float, values: Any) -> list[tuple[Any, Any]]:
    """Rows and bounds of the whole set of delta, written out period by period; one pair per piece of the union."""
    full = np.insert(np.eye(P + T), P, 0.0, axis=0)  # delta with the reference, as a function of the others
    first = np.diff(full, axis=0)
    second = np.diff(first, axis=0)
    moves = first if isinstance(restriction, infer.RelativeMagnitude) else second
    n_before = P if isinstance(restriction, infer.RelativeMagnitude) else P - 1
    shape = []
    if restriction.sign:
        shape = [(-1 if restriction.sign == "positive" else 1) * row for row in np.eye(P + T)[P:]]
    if restriction.monotone:
        shape = [(-1 if restriction.monotone == "increasing" else 1) * row for row in first[P:]]
    pieces = []
    if isinstance(restriction, infer.Smoothness):
        rows = [side * row for side in (1, -1) for row in moves[n_before:]]
        pieces.append((np.array(rows + shape), np.array([strength] * len(rows) + [0.0] * len(shape))))
        return pieces
    for largest in (*moves[:n_before], *-moves[:n_before]):
        rows = [side * row - strength * largest for side in (1, -1) for row in moves[n_before:]]
        pieces.append((np.array(rows + shape), np.zeros(len(rows) + len(shape))))
    return pieces


@pytest.mark.parametrize("restriction", RESTRICTIONS)
def test_identified_sets_by_linear_programs_over_delta(restriction: Any) -> None:
    system = system_of(restriction, P, T)
    for seed, target in enumerate((np.eye(T)[0], AVERAGE, np.array([0.5, -1.0, 2.0]))):
        values, _ = drawn(seed)
        for strength in (0.3, 2.0):
            low, high = np.inf, -np.inf
            for rows, limits in constraints(restriction, strength, values):
                for side in (1, -1):
                    free = linprog(side * target, rows[:, P:], limits - rows[:, :P] @ values[:P], bounds=(None, None))
                    if free.status == 0:
                        effect = target @ (values[P:] - free.x)
                        low, high = min(low, effect), max(high, effect)
            found = identified(system, strength, values, target)
            if np.isfinite(low):
                assert_allclose(found, [low, high], rtol=0, atol=1e-6)
            else:
                assert np.isnan(found).all()


def lp_test(rows: Any, limits: Any, values: Any, cov: Any, target: Any, effect: float) -> tuple[float, float, float]:
    """Statistic and truncation in standard errors of the binding moment, by programs as Andrews, Roth and Pakes."""
    noise = rows @ cov @ rows.T
    sd = np.sqrt(np.diag(noise))
    post = rows[:, P:]
    basis = np.linalg.svd(target[None, :])[2][1:].T  # delta with no effect on the target
    moved = rows @ values - limits - post @ target * effect / (target @ target)
    equal, one = np.vstack([sd, (post @ basis).T]), np.eye(T)[0]

    def largest(y: Any) -> Any:
        found = linprog(-y, A_eq=equal, b_eq=one, bounds=(0, None))
        return -found.fun, found.x

    statistic, gamma = largest(moved)
    if statistic <= 0:
        return statistic, np.nan, np.nan
    variance = gamma @ noise @ gamma
    along = noise @ gamma / variance
    rest = moved - along * statistic

    def extreme(normal: Any) -> float:  # of gamma's / (1 - gamma'b): a linear-fractional program
        found = linprog(-rest, A_eq=np.vstack([normal, (post @ basis).T]), b_eq=one, bounds=(0, None))
        return np.inf if found.status == 2 else found.fun

    low, high = -extreme(sd - along), extreme(along - sd)
    return statistic / np.sqrt(variance), low / np.sqrt(variance), high / np.sqrt(variance)


@pytest.mark.parametrize("restriction", RESTRICTIONS)
def test_conditional_test_by_linear_programs(restriction: Any) -> None:
    system, rng = system_of(restriction, P, T), np.random.default_rng(0)
    checked = 0
    for seed in range(3):
        values, cov = drawn(seed)
        rays = extreme_rays(system.sides, system.steps[:, P:], AVERAGE)
        piece = int(rng.integers(len(system.pieces)))
        rows, limits = constraints(restriction, 0.2, values)[piece]
        moments = moments_of(system, rays, 0.2, piece, values, cov, AVERAGE)
        for effect in rng.normal(size=4) * 3 + AVERAGE @ values[P:]:
            statistic, low, high = lp_test(rows, limits, values, cov, AVERAGE, effect)
            p = moments.p_value(np.array([effect]))[0]
            if statistic <= 0:
                assert p == 1
                continue
            law = stats.norm.sf([statistic, low, high])
            assert p == pytest.approx((law[0] - law[2]) / (law[1] - law[2]), abs=1e-6)
            checked += 1
    assert checked >= 4


def test_truncated_law_in_the_tail() -> None:
    # moments -theta and (1 - theta) / 2 - ..., so far out that probabilities underflow
    from pmg_eval.infer._honest_test import _truncated

    p = _truncated(np.array([40.1]), np.array([40.0]), np.array([np.inf]))
    assert p[0] == pytest.approx(np.exp(stats.norm.logsf(40.1) - stats.norm.logsf(40.0)), rel=1e-10)
    assert _truncated(np.array([1.0]), np.array([1.0]), np.array([1.0]))[0] == 1
    assert _truncated(np.array([1.0]), np.array([-np.inf]), np.array([np.inf]))[0] == pytest.approx(stats.norm.sf(1))


def test_least_favorable_value() -> None:
    """One moment and its mirror image: the largest is |Z|."""
    system = system_of(infer.Smoothness(), 1, 1)
    cov = np.array([[1.0, 0.3], [0.3, 2.0]])
    moments = moments_of(
        system, extreme_rays(system.sides, np.eye(1), np.ones(1)), 0.0, 0, np.zeros(2), cov, np.ones(1)
    )
    noise = np.linalg.cholesky(cov) @ np.random.default_rng(0).normal(size=(2, 200_000))
    value, error = moments.ceiling(noise, 0.005)
    assert value == pytest.approx(stats.norm.ppf(0.9975), abs=4 * error)
    assert 0.005 < error < 0.02


def test_hybrid_rejects_at_most_a_tenth_of_alpha_first() -> None:
    values, cov = drawn(0)
    system = system_of(infer.RelativeMagnitude(), P, T)
    rays = extreme_rays(system.sides, system.steps[:, P:], AVERAGE)
    moments = moments_of(system, rays, 1.0, 0, values, cov, AVERAGE)
    grid = np.linspace(-10, 10, 201)
    plain, cut = moments.p_value(grid), moments.p_value(grid, 2.0)
    largest = (moments.level[:, None] - moments.slope[:, None] * grid).max(axis=0)
    assert (cut[largest > 2.0] == 0).all()
    assert (cut[largest <= 2.0] <= plain[largest <= 2.0] + 1e-12).all()


@pytest.mark.parametrize("restriction", RESTRICTIONS)
def test_rays_reach_the_maximum_of_the_linear_program(restriction: Any) -> None:
    rng = np.random.default_rng(0)
    for n_post, target in ((1, np.ones(1)), (4, np.eye(4)[0]), (4, np.array([0.4, 0.3, 0.2, 0.1]))):
        system = system_of(restriction, P, n_post)
        rays = extreme_rays(system.sides, system.steps[:, P:], target)
        basis = np.linalg.svd(target[None, :])[2][1:].T
        assert_allclose(rays @ (system.sides @ basis), 0, atol=1e-9)
        assert (rays >= 0).all()
        for _ in range(3):
            y, sd = rng.normal(size=len(system.sides)), rng.uniform(0.5, 2, len(system.sides))
            equal = np.vstack([sd, (system.sides @ basis).T])
            best = -linprog(-y, A_eq=equal, b_eq=np.eye(len(equal))[0], bounds=(0, None)).fun
            assert (rays @ y / (rays @ sd)).max() == pytest.approx(best, abs=1e-8)


def test_number_of_rays() -> None:
    for restriction in (infer.RelativeMagnitude(), infer.Smoothness()):
        system = system_of(restriction, 2, 23)
        assert len(extreme_rays(system.sides, system.steps[:, 2:], np.full(23, 1 / 23))) == 25
    signed = system_of(infer.RelativeMagnitude(sign="positive"), 2, 23)
    assert len(extreme_rays(signed.sides, signed.steps[:, 2:], np.eye(23)[0])) == 47
    assert extreme_rays(signed.sides, signed.steps[:, 2:], np.full(23, 1 / 23)) is None


def test_a_choice_of_rays() -> None:
    system, rng = system_of(infer.RelativeMagnitude(sign="positive"), P, T), np.random.default_rng(0)
    every = extreme_rays(system.sides, system.steps[:, P:], AVERAGE)
    scales, points = rng.uniform(0.5, 2, (9, 60)), rng.normal(size=(9, 60))
    some = some_rays(system.sides, AVERAGE, scales, points)
    assert len(some) <= len(every)
    reached = [(rays @ points / (rays @ scales)).max(axis=0) for rays in (some, every)]
    assert_allclose(*reached, atol=1e-9)


def test_a_choice_of_rays_gives_nearly_the_same_set(monkeypatch: pytest.MonkeyPatch) -> None:
    restriction = infer.RelativeMagnitude(strengths=(0.5,), sign="positive")
    full = infer.honest(study(), reference=-1, target="average", restriction=restriction).bounds.iloc[-1]
    monkeypatch.setattr(_honest_rays, "LIMIT", 5)
    some = infer.honest(study(), reference=-1, target="average", restriction=restriction).bounds.iloc[-1]
    assert some["status"].startswith("a choice of")
    assert_allclose([some["conf_low"], some["conf_high"]], [full["conf_low"], full["conf_high"]], atol=0.005)
    assert some["id_low"] == full["id_low"]


@pytest.mark.parametrize(
    ("restriction", "method"),
    [(one, "Conditional") for one in RESTRICTIONS[:7:3]] + [(infer.RelativeMagnitude(), "C-LF")],
)
def test_size_where_the_violation_is_the_worst(restriction: Any, method: str) -> None:
    """The true effect is rejected in at most 5 % of samples (and nearly as often, where one bound binds)."""
    rng, cov = np.random.default_rng(1), 0.02 * (np.eye(P + T) + 0.5)
    system = system_of(restriction, P, T)
    rays = extreme_rays(system.sides, system.steps[:, P:], AVERAGE)
    before = np.array([0.0, 1.0, 0.0])  # changes 1, -1, 0 and bends -2, 1 before the start
    for strength in (0.0, 1.0):
        bound = system.bound(strength, np.append(before, np.zeros(T)))
        known = system.steps[:, :P] @ before
        after = np.linalg.solve(system.steps[:, P:], np.full(T, bound) - known)  # every difference at its bound
        truth = np.concatenate([before, after])
        root = np.linalg.cholesky(cov)
        count, size, ceilings = len(system.pieces), 0.05, np.full(len(system.pieces), np.inf)
        if method == "C-LF":  # as much as the data know about it: nothing
            known = [moments_of(system, rays, strength, i, truth, cov, AVERAGE) for i in range(count)]
            noise = root @ rng.normal(size=(P + T, 10_000))
            ceilings = np.array([one.ceiling(noise, 0.005)[0] for one in known])
            size = (0.05 - 0.005) / (1 - 0.005)
        rejected = 0
        for draw in truth + rng.normal(size=(400, P + T)) @ root.T:
            pieces = tuple(moments_of(system, rays, strength, i, draw, cov, AVERAGE) for i in range(count))
            rejected += not Decision(pieces, ceilings, size).keeps(np.zeros(1))[0]
        assert rejected / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
        assert strength > 0 or rejected > 3


@pytest.mark.parametrize("bias", [0.0, 1e-9, 0.01, 0.5, 0.99, 1.01, 3.0, 40.0, 1e6])
def test_folded_normal_quantile(bias: float) -> None:
    for level in (0.5, 0.9, 0.95, 0.999):
        expected = stats.norm.ppf(level) + bias if bias >= 40 else stats.foldnorm.ppf(level, bias)
        assert folded_quantile(bias, level) == pytest.approx(expected, rel=1e-9)
    assert folded_quantile(np.inf, 0.95) == np.inf


@pytest.mark.parametrize("n_pre", [1, 2, 4, 6])
def test_fixed_length_interval_is_the_shortest(n_pre: int) -> None:
    """Against direct minimization over the weights of the pre-periods, the worst bias by a program over bends."""
    target = np.array([0.7, -0.2, 0.5])
    _, cov = drawn(n_pre, n_pre + 3)
    time = np.array([*range(-n_pre, 0), 1, 2, 3])
    full = np.insert(np.eye(n_pre + 3), n_pre, 0.0, axis=0)
    bends = np.linalg.pinv(np.diff(full, n=2, axis=0))  # delta as a function of bends, up to straight lines

    def half(weights: Any, strength: float) -> float:
        bias = strength * np.abs(weights @ bends).sum()
        sd = np.sqrt(weights @ cov @ weights)
        return float(sd * folded_quantile(bias / sd, 0.95))

    path = path_of(cov, target, n_pre)
    for strength in (0.0, 0.05, 0.3, 5.0):
        best = flci(path, strength, 0.95)
        assert best.weights @ time == pytest.approx(0, abs=1e-12)
        assert_allclose(best.weights[n_pre:], target)
        assert best.half == pytest.approx(half(best.weights, strength), rel=1e-8)
        assert best.bias == pytest.approx(strength * np.abs(best.weights @ bends).sum(), abs=1e-10)
        # moves that keep straight lines cancelled
        moves = np.linalg.svd(time[None, :n_pre].astype(float))[2][1:]
        moves = np.hstack([moves, np.zeros((len(moves), 3))])
        for start in (best.weights, path.start):
            if len(moves):
                found = minimize(
                    lambda x, start=start, moves=moves, strength=strength: half(start + x @ moves, strength),
                    np.zeros(len(moves)),
                    method="Powell",
                    options={"xtol": 1e-8, "ftol": 1e-12, "maxiter": 200},
                )
                assert best.half <= found.fun * (1 + 1e-8)


def test_nothing_shrinks_as_the_strength_grows() -> None:
    strengths = tuple(np.linspace(0, 0.5, 26))
    found = infer.honest(study(), reference=-1, restriction=infer.Smoothness(strengths=strengths)).bounds.iloc[1:]
    width = (found["conf_high"] - found["conf_low"]).to_numpy()
    assert (np.diff(width) >= -1e-12).all()
    for restriction in RESTRICTIONS:
        system = system_of(restriction, P, T)
        values, _ = drawn(5)
        sets = np.array([identified(system, strength, values, AVERAGE) for strength in np.linspace(0, 3, 13)])
        sets = sets[np.isfinite(sets[:, 0])]
        assert (np.diff(sets[:, 0]) <= 1e-9).all()
        assert (np.diff(sets[:, 1]) >= -1e-9).all()


@pytest.mark.parametrize("restriction", RESTRICTIONS)
def test_sets_contain_what_the_estimates_allow_and_lie_within_a_step_of_the_grid(restriction: Any) -> None:
    system = system_of(restriction, P, T)
    values, cov = drawn(7)
    rays = extreme_rays(system.sides, system.steps[:, P:], AVERAGE)
    pieces = tuple(moments_of(system, rays, 1.5, i, values, cov, AVERAGE) for i in range(len(system.pieces)))
    decision = Decision(pieces, np.full(len(pieces), np.inf), 0.05)
    inner = without_shape(system, 1.5, values, AVERAGE)
    sd = np.sqrt(AVERAGE @ cov[P:, P:] @ AVERAGE)
    low, high, _ = ends(decision, inner, 20 * sd, 1_000)
    allowed = identified(system, 1.5, values, AVERAGE)
    assert not np.isfinite(allowed[0]) or (low <= allowed[0] + 1e-6 and high >= allowed[1] - 1e-6)
    grid = np.linspace(low - 5 * sd, high + 5 * sd, 1_000)
    coarse = on_grid(decision, grid)
    step = grid[1] - grid[0]
    assert low <= coarse[0] <= low + step
    assert high - step <= coarse[1] <= high
    # the ends are where the test turns
    assert decision.keeps(np.array([low, high])).all()
    assert not decision.keeps(np.array([low - 1e-6 * sd, high + 1e-6 * sd])).any()


def test_search_goes_on_until_a_set_ends() -> None:
    system = system_of(infer.RelativeMagnitude(), P, T)
    values, cov = drawn(7)
    rays = extreme_rays(system.sides, system.steps[:, P:], AVERAGE)
    pieces = (moments_of(system, rays, 1.5, 0, values, cov, AVERAGE),)
    decision = Decision(pieces, np.full(1, np.inf), 0.05)
    wide = ends(decision, (0.0, 0.0), 20.0, 2_000)
    narrow = ends(decision, (0.0, 0.0), 2.0, 2_000)
    assert_allclose(narrow[:2], wide[:2], atol=1e-5)
    assert on_grid(decision, np.linspace(wide[0] + 0.01, wide[0] + 0.02, 5))[2] == "open"
    assert on_grid(decision, np.linspace(wide[1] + 1, wide[1] + 2, 5))[2] == "empty"


def test_systems_have_the_rows_of_the_definitions() -> None:
    system = system_of(infer.Combined(monotone="increasing"), 2, 2)
    assert isinstance(system, System)
    # columns -2, -1, 1, 2
    assert_allclose(system.bends, [[1, -2, 0, 0]])
    assert_allclose(system.steps, [[0, 1, 1, 0], [0, 0, -2, 1]])
    assert_allclose(system.shape, [[0, 0, -1, 0], [0, 0, 1, -1]])
    assert_allclose(system.before, [[1, -1, 0, 0], [0, 1, 0, 0]])
    rows, limits = system.rows(0.5, 1)  # the largest bend is negative
    assert_allclose(rows[:2], [[0.5, 0, 1, 0], [0.5, -1, -2, 1]])
    assert_allclose(limits, 0)
