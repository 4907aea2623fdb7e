"""Power of the pre-test and the bias that passes it: R's pretrends, closed forms, simulation.

The reference numbers are those that R pretrends (its README) prints for the event study of He and Wang (2017),
doi:10.1257/app.20160079, whose coefficients and covariance the Stata version of the package lists to ten decimals. R
integrates at random (mvtnorm to 1e-3, seen: 9e-5) and searches slopes to 1e-5; ours has 5e-6.
"""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy
from numpy.testing import assert_allclose
from scipy import integrate, stats

from pmg_eval import did, infer
from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Covariance, Draws, Estimate, make_terms
from pmg_eval.infer._normal_box import Box
from unit.estimate.made import by_covariance, by_influence, support
from unit.resample.panels import counts, panel_of, staggered

TIME = [-4, -3, -2, 0, 1, 2, 3]
BETA = [0.0667031482, -0.0077017923, -0.0307690538, 0.084030658, 0.2424418181, 0.2198789865, 0.1910925359]
LOWER = [
    *[0.0089065712],
    *[0.0044883136, 0.0059369169],
    *[0.0014587025, 0.0027500791, 0.0030386248],
    *[0.0012157689, 0.0013505858, 0.0009056166, 0.0039247409],
    *[0.0020327645, 0.0014315459, 0.0006791299, 0.002596118, 0.008065897],
    *[0.0013225015, 0.0012067792, 0.0010167636, 0.0017326149, 0.0058753751, 0.007881579],
    *[0.0019617728, 0.0013847158, 0.0007090144, 0.0022345525, 0.0037414359, 0.0036507095, 0.0097884266],
]
SIGMA = np.zeros((7, 7))
SIGMA[np.tril_indices(7)] = LOWER
SIGMA = SIGMA + np.tril(SIGMA, -1).T
R_LEVEL = 2 * stats.norm.cdf(1.96) - 1  # R's threshold is 1.96
R_SLOPE = 0.05205871


def he_wang() -> Estimate[None]:
    return by_covariance(BETA, SIGMA, {"event_time": TIME})


def power_at(found, test="any") -> float:
    return float(found.tests.set_index("test").loc[test, "power"])


def test_r_pretrends_linear() -> None:
    found = infer.pretrend_power(he_wang(), reference=-1, level=R_LEVEL, slope=R_SLOPE)
    assert found.slopes["slope"].iloc[0] == pytest.approx(R_SLOPE, abs=2e-5)
    tests = found.tests.set_index("test")
    assert power_at(found) == pytest.approx(0.4999776, abs=2e-4)
    assert tests.loc["any", "bayes_factor"] == pytest.approx(0.56901, abs=2e-4)
    assert found.likelihood_ratio == pytest.approx(0.1057627, abs=1e-6)
    assert_allclose(found.terms["violation"], R_SLOPE * (np.array(TIME) + 1), rtol=1e-12)
    assert_allclose(found.terms["std_error"], np.sqrt(np.diag(SIGMA)), rtol=1e-12)
    r = [-0.09230764, -0.05555285, -0.02790950, 0.06490184, 0.12084694, 0.16946498, 0.22453827]
    assert_allclose(found.terms["after_any"], r, atol=2e-5)
    assert found.terms["role"].tolist() == ["pre"] * 3 + ["post"] * 4


def test_r_pretrends_quadratic() -> None:
    def bent(time):
        return 0.024 * (time + 1) ** 2

    for violation in (bent, dict(zip(TIME, bent(np.array(TIME)), strict=True)), bent(np.array(TIME))):
        found = infer.pretrend_power(he_wang(), reference=-1, level=R_LEVEL, violation=violation, power=0.2)
        assert power_at(found) == pytest.approx(0.6624282, abs=2e-4)
        assert found.tests["bayes_factor"].iloc[0] == pytest.approx(0.3841516, abs=2e-4)
        assert found.likelihood_ratio == pytest.approx(0.4332635, abs=1e-6)
        assert np.isnan(found.slope)
    shifted = infer.pretrend_power(he_wang(), reference=-1, violation=lambda time: 5 + bent(time))
    assert_allclose(shifted.terms["violation"], bent(np.array(TIME)), atol=1e-12)  # relative to the reference


def test_probability_of_the_box_against_scipy() -> None:
    half = 1.96 * np.sqrt(np.diag(SIGMA))
    for size, tolerance in ((1, 1e-12), (2, 2e-6), (3, 2e-5), (5, 1e-4)):
        block = SIGMA[:size, :size]
        box = Box.of(block, half[:size], 0)
        for slope in (0.0, R_SLOPE, 0.15):
            mean = slope * (np.array(TIME[:size]) + 1)
            exact = stats.multivariate_normal.cdf(
                half[:size], mean=mean, cov=block, lower_limit=-half[:size], maxpts=200_000, abseps=1e-8, releps=1e-8
            )
            inside = box.inside(mean)
            assert inside.probability == pytest.approx(exact, abs=tolerance)
            assert inside.error < tolerance


def test_mean_inside_the_box_by_simulation() -> None:
    block, half = SIGMA[:3, :3], 1.5 * np.sqrt(np.diag(SIGMA)[:3])
    mean = np.array([-0.2, -0.1, -0.1])
    draws = np.random.default_rng(1).multivariate_normal(mean, block, 200_000)
    kept = draws[(np.abs(draws) <= half).all(axis=1)]
    inside = Box.of(block, half, 0).inside(mean)
    assert_allclose(inside.mean, kept.mean(axis=0), atol=4 * kept.std() / np.sqrt(len(kept)))


def test_one_pre_period_is_a_truncated_normal() -> None:
    """SE 0.2 before and 0.3 after, covariance 0.03: regression coefficient 0.75."""
    two = by_covariance([0.1, 0.5], [[0.04, 0.03], [0.03, 0.09]], {"event_time": [-2, 0]})
    found = infer.pretrend_power(two, reference=-1, slope=0.3)
    critical = stats.norm.ppf(0.975)
    low, high = (-critical * 0.2 + 0.3) / 0.2, (critical * 0.2 + 0.3) / 0.2
    inside = stats.truncnorm(low, high, loc=-0.3, scale=0.2).mean()
    passed = stats.norm.cdf(high) - stats.norm.cdf(low)
    assert power_at(found) == pytest.approx(1 - passed, rel=1e-12)
    assert power_at(found, "joint") == pytest.approx(1 - passed, rel=1e-9)  # one term: the same test
    assert found.tests["bayes_factor"].iloc[0] == pytest.approx(passed / 0.95, rel=1e-12)
    for after in ("after_any", "after_joint"):
        assert_allclose(found.terms[after], [inside, 0.3 + 0.75 * (inside + 0.3)], rtol=1e-9)
    assert found.likelihood_ratio == pytest.approx(stats.norm.pdf(0.1, -0.3, 0.2) / stats.norm.pdf(0.1, 0, 0.2))
    slope = found.slopes.loc[found.slopes["test"] == "any"].set_index("power")["slope"]
    for power, value in slope.items():
        assert stats.norm.sf(critical - value / 0.2) + stats.norm.cdf(-critical - value / 0.2) == pytest.approx(power)
    assert_allclose(found.slopes["slope"].iloc[:2], found.slopes["slope"].iloc[2:], rtol=1e-9)


def test_independent_pre_periods_multiply() -> None:
    se = np.array([0.3, 0.2, 0.1, 0.2])
    four = by_covariance([0.0, 0.1, 0.0, 0.4], se, {"event_time": [-4, -3, -2, 0]})
    found = infer.pretrend_power(four, reference=-1, slope=0.12)
    mean, half = 0.12 * np.array([-3, -2, -1]), stats.norm.ppf(0.975) * se[:3]
    one = stats.norm.cdf((half - mean) / se[:3]) - stats.norm.cdf((-half - mean) / se[:3])
    assert power_at(found) == pytest.approx(1 - one.prod(), abs=1e-6)
    assert found.tests["size"].iloc[0] == pytest.approx(1 - 0.95**3, abs=1e-6)
    each = [
        stats.truncnorm((-h - m) / s, (h - m) / s, loc=m, scale=s).mean()
        for m, h, s in zip(mean, half, se[:3], strict=True)
    ]
    assert_allclose(found.terms["after_any"], [*each, 0.12], atol=1e-5)  # nothing is learnt about the effect
    distance = ((mean / se[:3]) ** 2).sum()
    critical = stats.chi2.isf(0.05, 3)
    assert power_at(found, "joint") == pytest.approx(stats.ncx2.sf(critical, 3, distance), rel=1e-8)
    assert found.tests["size"].iloc[1] == pytest.approx(0.05, rel=1e-9)
    slope = found.slopes.query("test == 'joint' and power == 0.8")["slope"].iloc[0]
    assert stats.ncx2.sf(critical, 3, (slope / 0.12) ** 2 * distance) == pytest.approx(0.8, abs=1e-8)


def test_what_passes_the_joint_test_by_simulation() -> None:
    found = infer.pretrend_power(he_wang(), reference=-1, slope=0.07)
    delta = 0.07 * (np.array(TIME) + 1)
    draws = np.random.default_rng(2).multivariate_normal(delta, SIGMA, 400_000)
    statistic = np.einsum("ri,ij,rj->r", draws[:, :3], np.linalg.inv(SIGMA[:3, :3]), draws[:, :3], optimize=True)
    kept = draws[statistic <= stats.chi2.isf(0.05, 3)]
    assert power_at(found, "joint") == pytest.approx(1 - len(kept) / len(draws), abs=4 * 0.5 / np.sqrt(len(draws)))
    assert_allclose(found.terms["after_joint"], kept.mean(axis=0), atol=4 * 0.1 / np.sqrt(len(kept)))


def test_power_rises_with_the_slope_and_the_sign_does_not_matter() -> None:
    powers = [
        power_at(infer.pretrend_power(he_wang(), reference=-1, slope=s, power=0.2)) for s in (0, 0.02, 0.05, -0.05, 0.2)
    ]
    assert powers[0] < powers[1] < powers[2] < powers[4]
    assert powers[2] == pytest.approx(powers[3], abs=2e-5)
    default = infer.pretrend_power(he_wang(), reference=-1, power=0.8)
    assert power_at(default) == pytest.approx(0.8, abs=1e-8)
    assert "80% power against a slope of" in str(default)
    assert infer.pretrend_power(he_wang(), reference=-1, power=0.1).slopes["slope"].isna().iloc[0]  # size is 0.12


# --- event studies of estimators -------------------------------------------------------------------------------------


def universal(panel, outcome="rate", **options):
    options = {"base_period": "universal", **options}
    return did.group_time(panel, outcome, **options).average(by="event_time")


def test_the_guard_gives_the_thresholds_of_the_table() -> None:
    """One pre-period of four treated units: the non-central t with 3 degrees of freedom, and the SE of to_frame."""
    psi = np.random.default_rng(0).normal(size=(30, 2))
    treated = np.zeros((30, 2))
    treated[:4] = 0.25
    study = by_influence([0.1, 0.2], {"event_time": [-2, 0]}, psi, treated=treated)
    row = study.to_frame().iloc[0]
    found = infer.pretrend_power(study, reference=-1, slope=0.5)
    critical, shift = stats.t.ppf(0.975, 3), 0.5 / row["std_error"]

    def density(v: float) -> float:
        bound = critical * np.sqrt(v / 3)
        return float((stats.norm.sf(bound - shift) + stats.norm.cdf(-bound - shift)) * stats.chi2.pdf(v, 3))

    want = integrate.quad(density, 0, np.inf, epsabs=1e-12)[0]
    assert row["df"] == 3
    assert power_at(found) == pytest.approx(want, abs=1e-5)
    # F(1, 3) is the square of t(3); the non-central F of older scipy is good to 1e-5 only
    exact = tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 15)
    assert power_at(found, "joint") == pytest.approx(want, abs=1e-9 if exact else 1e-5)
    assert_allclose(found.tests["size"], 0.05, atol=1e-5)
    assert_allclose(found.terms["after_any"], found.terms["after_joint"], atol=1e-4)
    assert found.terms["std_error"].iloc[0] == pytest.approx(row["std_error"])
    plain = infer.pretrend_power(study, reference=-1, slope=0.5, guard=False)
    shift = 0.5 / study.se[0]
    assert power_at(plain) == pytest.approx(stats.norm.sf(1.959964 - shift) + stats.norm.cdf(-1.959964 - shift))


def test_group_time_needs_one_reference_period() -> None:
    panel = panel_of(staggered(n=60, starts={2004: 12, 2006: 12}))
    for base in ("varying", "average"):
        study = did.group_time(panel, "rate", base_period=base).average(by="event_time")
        with pytest.raises(InferenceError, match=f'base_period="{base}"') as caught:
            infer.pretrend_power(study)
        assert "universal" in caught.value.fix
    found = infer.pretrend_power(universal(panel))
    assert found.reference == -1
    assert found.terms["role"].tolist() == ["pre"] * 5 + ["reference"] + ["post"] * 5
    at_reference = found.terms.loc[found.terms["role"] == "reference", ["violation", "after_any", "after_joint"]]
    assert (at_reference.to_numpy(dtype=float) == 0).all()
    assert found.slopes["slope"].is_monotonic_increasing or found.slopes["slope"].iloc[:2].is_monotonic_increasing
    early = infer.pretrend_power(universal(panel, anticipation=1))
    assert early.reference == -2
    assert early.terms.set_index("event_time").loc[-1, "role"] == "anticipation"
    assert early.terms.set_index("event_time").loc[0, "violation"] == pytest.approx(2 * early.slope)


def test_imputed_effects_have_another_base_than_their_pretrends() -> None:
    panel = panel_of(staggered(n=60, starts={2004: 12, 2006: 12}))
    study = did.imputation(panel, "rate").average(by="event_time")
    found = infer.pretrend_power(study)
    post = found.terms["role"] == "post"
    assert found.terms.loc[post, "violation"].isna().all()
    assert found.terms.loc[post, "status"].str.startswith("imputed effects are measured against all periods").all()
    assert found.terms.loc[~post, ["violation", "after_any"]].notna().to_numpy().all()
    given = {int(t): 0.1 * (t + 1) if t < 0 else 0.1 * (t + 3) for t in found.terms["event_time"]}
    full = infer.pretrend_power(study, violation=given)
    assert full.terms["after_any"].notna().all()
    with pytest.raises(DataError, match="no value in some pre-period"):
        infer.pretrend_power(study, violation={0: 1.0})


def test_ratios_are_in_log_points() -> None:
    panel = panel_of(counts(n=60, starts={2004: 12, 2006: 12}))
    study = universal(panel, "suspects", family="poisson")
    found = infer.pretrend_power(study, slope=0.1)
    log = study.apply(np.log, lambda x: 1 / x)
    same = infer.pretrend_power(log, slope=0.1)
    assert_allclose(found.tests["power"], same.tests["power"], rtol=1e-9)
    assert_allclose(found.terms["violation"], 0.1 * (found.terms["event_time"] + 1))
    assert found.scale == "log"
    assert "log points a period" in str(found)


def test_pre_periods_of_few_areas_are_left_out() -> None:
    columns = {"event_time": [-4, -3, -2, 0], "n_treated": [2, 9, 9, 9]}
    study = by_covariance([5.0, 0.1, 0.1, 0.2], [0.1] * 4, columns)
    found = infer.pretrend_power(study, reference=-1)
    assert found.terms["role"].tolist() == ["left out", "pre", "pre", "post"]
    assert "fewer than 5" in found.terms["status"].iloc[0]
    assert_allclose(found.tests["power"], infer.pretrend_power(study.take([1, 2, 3]), reference=-1).tests["power"])


def test_draws_bring_their_own_critical_values() -> None:
    """99 draws: the 95 % half width is the 95th size, and the joint statistic is compared with its own draws."""
    errors = np.random.default_rng(4).normal(size=(99, 2)) * [0.2, 0.3]
    terms = make_terms({"event_time": [-2, 0]}, 2)
    study = Estimate(np.array([0.1, 0.3]), terms, Draws(errors, np.full(2, 0.01)))
    found = infer.pretrend_power(study, reference=-1, slope=0.4)
    se, half = errors[:, 0].std(ddof=1), np.sort(np.abs(errors[:, 0]))[94]
    want = stats.norm.sf((half - 0.4) / se) + stats.norm.cdf((-half - 0.4) / se)
    assert power_at(found) == pytest.approx(want)
    assert power_at(found, "joint") == pytest.approx(want)
    few = Estimate(np.array([0.1, 0.3]), terms, Draws(errors, np.full(2, 0.2)))
    blind = infer.pretrend_power(few, reference=-1, slope=9.0)
    assert blind.tests["power"].tolist() == [0, 0]  # a pool that cannot show p = 0.05 finds nothing
    assert blind.slopes["slope"].isna().all()


def test_refusals() -> None:
    study = he_wang()
    with pytest.raises(InferenceError, match="reference period is not known"):
        infer.pretrend_power(study)
    with pytest.raises(DataError, match="no event_time"):
        infer.pretrend_power(by_covariance([1.0], [1.0]))
    with pytest.raises(DataError, match="same event time"):
        infer.pretrend_power(by_covariance([1.0, 1.0], [1.0, 1.0], {"event_time": [-2, -2]}), reference=-1)
    with pytest.raises(InferenceError, match="no pre-period"):
        infer.pretrend_power(study.where(event_time=slice(0, 3)), reference=-1)
    alone = by_covariance([0.1, 0.1], [1.0, 1.0], {"event_time": [-2, 0]}, known_support=support([1, 1], [1, 1]))
    with pytest.raises(InferenceError, match="no pre-period") as caught:
        infer.pretrend_power(alone, reference=-1)
    assert "one treated unit" in str(caught.value)
    twice = by_covariance([0.1, 0.1, 0.1], np.ones((3, 3)), {"event_time": [-3, -2, 0]})
    with pytest.raises(InferenceError, match="rank 1"):
        infer.pretrend_power(twice, reference=-1)
    with pytest.raises(InferenceError, match="law"):
        infer.pretrend_power(Estimate(np.zeros(2), make_terms({"event_time": [-2, 0]}, 2)), reference=-1)
    bad = partial(infer.pretrend_power, study, reference=-1)
    for options in ({"power": 1.0}, {"power": ()}, {"level": 2.0}, {"slope": np.inf}):
        with pytest.raises(DataError):
            bad(**options)
    for options in ({"slope": 0.1, "violation": np.zeros(7)}, {"violation": [1.0]}, {"violation": lambda t: 1.0}):
        with pytest.raises(DataError, match="violation"):
            bad(**options)


def test_result_goes_to_json_and_is_deterministic() -> None:
    first, second = (infer.pretrend_power(he_wang(), reference=-1, rng=3) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert first.to_dict()["schema"] == "pmg-eval-pretrend-power/1"
    pd.testing.assert_frame_equal(first.to_frame(), first.terms)


def test_few_degrees_of_freedom_by_simulation() -> None:
    """Three correlated pre-periods, one chi-square with 6 degrees of freedom for all of them."""
    block = SIGMA[:4, :4]
    study = by_covariance(BETA[:4], block, {"event_time": TIME[:4]}, df=6)
    found = infer.pretrend_power(study, reference=-1, slope=0.08, power=0.5)
    rng, n = np.random.default_rng(5), 300_000
    draws = rng.multivariate_normal(0.08 * (np.array(TIME[:4]) + 1), block, n)
    chi = np.sqrt(rng.chisquare(6, n) / 6)[:, None]
    size = np.abs(draws[:, :3]) / np.sqrt(np.diag(block)[:3]) / chi
    joint = np.einsum("ri,ij,rj->r", draws[:, :3], np.linalg.inv(block[:3, :3]), draws[:, :3], optimize=True)
    passes = {
        "any": (size <= stats.t.ppf(0.975, 6)).all(axis=1),
        "joint": joint / 3 / chi[:, 0] ** 2 <= stats.f.ppf(0.95, 3, 6),
    }
    for test, passed in passes.items():
        assert power_at(found, test) == pytest.approx(1 - passed.mean(), abs=4 * 0.5 / np.sqrt(n))
        assert_allclose(found.terms[f"after_{test}"], draws[passed].mean(axis=0), atol=4 * 0.1 / np.sqrt(passed.sum()))
    assert found.tests["size"].iloc[1] == pytest.approx(0.05, rel=1e-9)


def test_options_of_the_wrong_kind() -> None:
    law = Covariance(np.diag([0.2, 0.1, 0.1]) ** 2)
    study = Estimate([0.1, -0.1, 0.3], pd.DataFrame({"event_time": [-3, -2, 0]}), law)
    assert repr(infer.pretrend_power(study, reference=-1)).startswith("pre-test (2 periods")
    for options, said in (
        ({"slope": "steep"}, "slope='steep' must be a finite number"),
        ({"slope": 0.1, "violation": abs}, "not both"),
        ({"violation": "x"}, "must be a function of event time"),
        ({"power": "x"}, "power='x' must lie between"),
        ({"reference": "last"}, "must be an event time"),
        ({"rng": None}, "PMG-SEED"),
    ):
        with pytest.raises(DataError, match=said):
            infer.pretrend_power(study, **{"reference": -1, **options})
