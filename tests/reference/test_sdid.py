"""synth.sdid against R synthdid and against the optimum of the published objective in 60 digits.

R stops Frank-Wolfe when the objective falls by less than (1e-5 x noise)^2 in one step, which leaves its weights (hence
estimates and standard errors) good to 1e-4 or so relative to the noise; the 60-digit optimum has no such tolerance.
"""

from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls

from _shared import dataset, reference
from pmg_eval.panel import Panel
from pmg_eval.synth._door import design
from pmg_eval.synth._sdid import sdid
from pmg_eval.synth._sdid_fit import Block, fit_blocks
from pmg_eval.synth._sdid_law import jackknife
from pmg_eval.synth._sdid_result import terms_of

STOPPING = 1e-3  # of R's Frank-Wolfe, relative to the scale of the numbers


class Case(NamedTuple):
    file: str
    make: Any
    outcome: str
    scale: float  # size of the effects
    exact: float  # optimum of the published objective, from `in_decimals`
    objectives: tuple[float, float]


def california() -> Panel:
    df = dataset("california_prop99")
    df = df.assign(start=np.where(df["State"] == "California", 1989, 0))
    return Panel(df, unit="State", time="Year", cohort="start", never=0)


def castle(*cohorts: int) -> Panel:
    df = dataset("castle_panel")
    return Panel(df[df["g"].isin([0, *cohorts])], unit="sid", time="year", cohort="g", never=0)


CASES = {
    "california": Case(
        "synthdid_california",
        california,
        "PacksPerCapita",
        15.0,
        -15.6053979163285737532981,
        (9.3578644213372291867624, 77.3493584873373978236225),
    ),
    "castle 2007": Case(
        "synthdid_castle_2007cohort",
        lambda: castle(2007),
        "l_homicide",
        0.1,
        0.1296797117721066399910,
        (0.0100083422191816523075, 0.0125230516513241865382),
    ),
    "castle 2006": Case(
        "synthdid2_castle_2006_se",
        lambda: castle(2006),
        "l_homicide",
        0.1,
        0.0855921573701136087605,
        (0.0121061849920692431834, 0.0229477703474013954247),
    ),
}
cases = pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))


# ---- the optimum, in decimals ----------------------------------------------------------------------------------------
Numbers = list[Decimal]


def eliminated(matrix: list[Numbers], right: Numbers) -> Numbers:
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    n = len(rows)
    for i in range(n):
        pivot = max(range(i, n), key=lambda k: abs(rows[k][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for k in range(n):
            if k != i and rows[k][i]:
                factor = rows[k][i] / rows[i][i]
                rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    return [row[n] / row[i] for i, row in enumerate(rows)]


def nnls_support(columns: Any, goal: Any, ridge: float) -> list[int]:
    """On the simplex ||Aw - b||^2 = ||(A - b1')w||^2, whose minimizer is a ray of non-negative least squares."""
    m, J = columns.shape
    homogeneous = np.vstack([columns - goal[:, None], np.sqrt(ridge) * np.eye(J)])
    size = np.sqrt(np.square(homogeneous).sum() / J)
    ray = nnls(np.vstack([homogeneous, np.full(J, size)]), np.append(np.zeros(m + J), size))[0]
    return [int(j) for j in np.flatnonzero(ray > 1e-14 * ray.sum())]


def optimum(columns: list[Numbers], goal: Numbers, ridge: Decimal) -> tuple[Numbers, Decimal]:
    """Weights on the simplex with an intercept; ``columns`` is a list of J columns. All conditions are verified."""
    m, J = len(goal), len(columns)
    columns = [[value - sum(column) / m for value in column] for column in columns]
    goal = [value - sum(goal) / m for value in goal]
    floats = np.array([[float(value) for value in column] for column in columns]).T
    support = nnls_support(floats, np.array([float(value) for value in goal]), float(ridge))

    def dot(a: Numbers, b: Numbers) -> Decimal:
        return sum((x * y for x, y in zip(a, b, strict=True)), Decimal(0))

    for _ in range(50):
        kkt = [
            [dot(columns[i], columns[j]) + (ridge if i == j else 0) for j in support] + [Decimal(1)] for i in support
        ]
        kkt.append([Decimal(1)] * len(support) + [Decimal(0)])
        *weights, price = eliminated(kkt, [*(dot(columns[j], goal) for j in support), Decimal(1)])
        fit = [sum((w * columns[j][i] for w, j in zip(weights, support, strict=True)), Decimal(0)) for i in range(m)]
        rest = [a - b for a, b in zip(goal, fit, strict=True)]
        out = {j for j, w in zip(support, weights, strict=True) if w <= 0}
        into = {j for j in range(J) if j not in support and dot(columns[j], rest) > price}
        if not out and not into:
            full = [Decimal(0)] * J
            for j, w in zip(support, weights, strict=True):
                full[j] = w
            return full, dot(rest, rest) + ridge * dot(weights, weights)
        support = sorted(({*support} - out) | into)
    raise AssertionError("the support was not settled")


def in_decimals(case: Case) -> tuple[float, float, float]:
    """Estimate and the two objectives, from the definition in Arkhangelsky et al. (2021), section 2."""
    panel = case.make()
    outcome, late = panel.wide(case.outcome), np.isfinite(panel.cohort)
    n_pre = int((panel.time_codes < panel.cohort[late][0]).sum())
    with localcontext(prec=60):
        control = [[Decimal(float(v)) for v in row] for row in outcome[~late]]
        treated = [[Decimal(float(v)) for v in row] for row in outcome[late]]
        mean = [sum(column) / len(treated) for column in zip(*treated, strict=True)]
        n_post = len(mean) - n_pre
        changes = [row[t] - row[t - 1] for row in control for t in range(1, n_pre)]
        center = sum(changes) / len(changes)
        variance = sum((change - center) ** 2 for change in changes) / (len(changes) - 1)
        ridge = Decimal(len(treated) * n_post).sqrt() * variance * n_pre
        omega, first = optimum([row[:n_pre] for row in control], mean[:n_pre], ridge)
        periods = [list(column) for column in zip(*control, strict=True)]
        after = [sum(row[n_pre:]) / n_post for row in control]
        lam, second = optimum(periods[:n_pre], after, Decimal("1e-12") * variance * len(control))
        gap = [value - sum(w * row[t] for w, row in zip(omega, control, strict=True)) for t, value in enumerate(mean)]
        past = sum(w * g for w, g in zip(lam, gap[:n_pre], strict=True))
        return float(sum(gap[n_pre:]) / n_post - past), float(first / n_pre), float(second / len(control))


@cases
def test_the_optimum_in_sixty_digits(case: Case) -> None:
    found = in_decimals(case)
    np.testing.assert_allclose(found, [case.exact, *case.objectives], rtol=1e-14)
    estimate = sdid(case.make(), case.outcome)
    fit = estimate.details.fit.iloc[0]
    np.testing.assert_allclose(estimate.average().values, case.exact, rtol=1e-10)
    np.testing.assert_allclose(fit[["objective_unit", "objective_time"]].to_numpy(float), case.objectives, rtol=1e-12)
    assert fit["kkt_gap"] <= 1e-12


def test_california_as_published() -> None:
    """Three exact implementations agree on -15.60540 and on these time weights (synthdid issue 96)."""
    estimate = sdid(california(), "PacksPerCapita")
    assert round(float(estimate.average().values[0]), 5) == -15.60540
    time = estimate.details.time_weights
    assert time["period"].tolist() == [1986, 1987, 1988]
    np.testing.assert_allclose(time["weight"], [0.366, 0.206, 0.427], atol=5e-4)
    options = reference("synthdid_california")["results"]["synthdid_estimate"]["opts"]
    fit = estimate.details.fit.iloc[0]
    np.testing.assert_allclose(fit[["zeta_unit", "zeta_time"]].to_numpy(float), [
        options["zeta.omega"], options["zeta.lambda"]], rtol=1e-12)  # fmt: skip


@cases
def test_estimates_of_r(case: Case) -> None:
    published = reference(case.file)["results"]["synthdid_estimate"]
    estimate = sdid(case.make(), case.outcome)
    np.testing.assert_allclose(estimate.average().values, published["estimate"], atol=STOPPING * case.scale)
    post = (estimate.terms["event_time"] >= 0).to_numpy()
    # single years are not averaged over, so R's weights show more in them: three times the tolerance
    np.testing.assert_allclose(estimate.values[post], published["curve"], atol=3 * STOPPING * case.scale)


# ---- R's own weights -------------------------------------------------------------------------------------------------
def in_our_order(case: Case, study: Any, block: Block, omega: Any) -> Any:
    """R sorts units as text."""
    units = reference(case.file)["results"]["units"]
    order = [units.index(str(unit)) for unit in study.panel.units[block.donors]]
    assert sorted(order) == list(range(len(omega)))
    return np.asarray(omega, dtype=float)[order]


def at_weights(case: Case, omega: Any, lam: Any) -> tuple[Any, Block]:
    """Our block with given weights in place of the optimal ones."""
    study = design(case.make(), case.outcome)
    (block,) = fit_blocks(study, "cohort")
    assert isinstance(block, Block)
    given = [
        replace(fit, weights=np.asarray(weights, dtype=float), active=np.flatnonzero(weights))
        for fit, weights in ((block.unit, in_our_order(case, study, block, omega)), (block.time, lam))
    ]
    block = Block.of(
        block.cohort,
        block.treated,
        block.donors,
        block.mass,
        block.window,
        given[0],
        given[1],
        (block.noise, block.zeta_unit, block.zeta_time),
    )
    return study, block


@cases
def test_objective_never_above_that_of_r(case: Case) -> None:
    published = reference(case.file)["results"]["synthdid_estimate"]
    study, block = at_weights(case, published["omega"], published["lambda"])
    omega, lam = block.unit.weights, block.time.weights
    levels = study.outcome[block.donors]
    pre, post = block.window.pre, block.window.post
    treated = block.mass @ study.outcome[block.treated]
    rest = (treated - omega @ levels)[pre]
    theirs_unit = rest.var() + block.zeta_unit**2 * omega @ omega
    theirs_time = (levels[:, post].mean(axis=1) - levels[:, pre] @ lam).var() + block.zeta_time**2 * lam @ lam
    assert case.objectives[0] <= theirs_unit
    assert case.objectives[1] <= theirs_time
    ours = sdid(case.make(), case.outcome).details.fit.iloc[0]
    assert ours["objective_unit"] <= theirs_unit
    assert ours["objective_time"] <= theirs_time


@cases
def test_estimate_at_the_weights_of_r(case: Case) -> None:
    """The formula alone, without the optimization: SDID, DiD (uniform weights)."""
    results = reference(case.file)["results"]
    for name in ("synthdid_estimate", "did_estimate"):
        study, block = at_weights(case, results[name]["omega"], results[name]["lambda"])
        value = terms_of(study, block).value[block.window.post]
        np.testing.assert_allclose(value.mean(), results[name]["estimate"], rtol=1e-10)
        np.testing.assert_allclose(value, results[name]["curve"], rtol=1e-10)


@cases
def test_synthetic_control_is_the_same_formula_without_the_past(case: Case) -> None:
    results = reference(case.file)["results"]["sc_estimate"]
    n_pre = len(results["lambda"])
    study, block = at_weights(case, results["omega"], np.full(n_pre, 1 / n_pre))
    levels = block.mass @ study.outcome[block.treated] - block.unit.weights @ study.outcome[block.donors]
    value = terms_of(study, block).value
    np.testing.assert_allclose(value + levels[block.window.pre].mean(), levels, rtol=1e-10)
    np.testing.assert_allclose(levels[block.window.post], results["curve"], rtol=1e-10)


@pytest.mark.parametrize("name", ["castle 2006", "castle 2007"])
@pytest.mark.parametrize("kind", ["synthdid_estimate", "did_estimate"])
def test_jackknife_of_r_at_the_weights_of_r(name: str, kind: str) -> None:
    case = CASES[name]
    published = reference(case.file)["results"][kind]
    study, block = at_weights(case, published["omega"], published["lambda"])
    law = jackknife(study, [block], [terms_of(study, block)])
    post = block.window.post[block.rows]
    se = np.linalg.norm(law.psi.dense()[:, post].mean(axis=1)) / law.n
    np.testing.assert_allclose(se, published["se_jackknife"], rtol=1e-8)


@pytest.mark.parametrize("name", ["castle 2006", "castle 2007"])
def test_jackknife_of_r_at_the_optimum(name: str) -> None:
    """The weights of R are a little off (STOPPING), and so is its standard error; the next test has no such excuse."""
    case = CASES[name]
    published = reference(case.file)["results"]["synthdid_estimate"]["se_jackknife"]
    np.testing.assert_allclose(sdid(case.make(), case.outcome).average().se, published, rtol=STOPPING)


@pytest.mark.parametrize("name", ["castle 2006", "castle 2007"])
def test_jackknife_unit_by_unit(name: str) -> None:
    """Every unit left out in a loop, from the definition (algorithm 3), for all terms at once."""
    case = CASES[name]
    panel = case.make()
    outcome, late = panel.wide(case.outcome), np.isfinite(panel.cohort)
    estimate = sdid(panel, case.outcome)
    weights, time = estimate.details.weights, estimate.details.time_weights
    omega = pd.Series(weights["weight"].to_numpy(), weights["donor"]).reindex(panel.units[~late]).fillna(0).to_numpy()
    lam = pd.Series(time["weight"].to_numpy(), time["period"]).reindex(panel.times).fillna(0).to_numpy()
    replicates = []
    for unit in range(panel.n_units):
        keep = np.arange(panel.n_units) != unit
        w = omega[keep[~late]] / omega[keep[~late]].sum()
        gap = outcome[keep & late].mean(axis=0) - w @ outcome[keep & ~late]
        replicates.append(gap - lam @ gap)
    n = len(replicates)
    deviations = np.array(replicates) - np.mean(replicates, axis=0)
    np.testing.assert_allclose(estimate.cov(), (n - 1) / n * deviations.T @ deviations, rtol=1e-10, atol=1e-16)


def test_staggered_average_weighs_cohorts_by_treated_unit_periods() -> None:
    """Clarke et al. (2024): the cohorts' estimates, each from a panel of its own with the same donors."""
    together = sdid(castle(2005, 2006, 2007, 2008, 2009), "l_homicide")
    values, weights = [], []
    for cohort, count in ((2005, 1), (2006, 13), (2007, 4), (2008, 2), (2009, 1)):
        alone = sdid(castle(cohort), "l_homicide")
        found = together.where(cohort=cohort)
        np.testing.assert_allclose(found.values, alone.values, rtol=1e-12, atol=1e-14)
        values.append(float(alone.average().values[0]))
        weights.append(count * (2011 - cohort))
    np.testing.assert_allclose(together.average().values, np.average(values, weights=weights), rtol=1e-12)


def test_one_treated_unit_has_no_standard_error() -> None:
    """R gives NA for California; so does every interval of ours."""
    assert reference("synthdid_california")["results"]["synthdid_estimate"]["se_jackknife"] is None
    row = sdid(california(), "PacksPerCapita").average().to_frame().iloc[0]
    assert np.isnan(row["std_error"])
    assert "effect_per_area" in row["status"]


def test_all_placebos_of_california() -> None:
    """panelkit 0.3 enumerates the 38 donors too: standard deviation 9.49417 (drawing 200 of them gave 7 to 11)."""
    panel = california()
    placebo = panel.select(~np.isfinite(panel.cohort)).with_cohort(np.full(38, 1989.0))
    effects = sdid(placebo, "PacksPerCapita", donors="others").average(by="unit").values
    np.testing.assert_allclose(effects.std(ddof=1), 9.49417, rtol=1e-6)
