"""Randomization inference: exact cases by hand, the pool, and uniform p-values where nothing happened."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import pmg_eval as pe
from pmg_eval import did, resample
from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import Covariance, Estimate, make_terms
from unit.estimate.made import by_covariance
from unit.resample.panels import counts, panel_of, staggered


def changes(values: list[float], starts: list[int], **columns) -> pe.Panel:
    """Two periods; the outcome is zero before and these values after."""
    n = len(values)
    table = pd.DataFrame({"area": np.repeat(range(n), 2), "year": [1, 2] * n, "start": np.repeat(starts, 2)})
    table["y"] = np.column_stack([np.zeros(n), values]).ravel()
    roles = {name: name for name in columns if name == "region"}
    for name, labels in columns.items():
        table[name] = np.repeat(labels, 2)
    return pe.Panel(table, unit="area", time="year", cohort="start", never=0, **roles)


TERMS = make_terms({"estimand": "att"}, 1)


def quick(value: float, error: float = 1.0, scale: str = "identity") -> Estimate:
    """One term; its table of labels is not made anew each time, which would cost more than everything else here."""
    return Estimate(np.array([value]), TERMS, Covariance(np.array([[error**2]])), scale=scale)


def difference(panel: pe.Panel, outcome: str) -> Estimate:
    """Mean change of the treated minus that of the others: fast, and simple enough to do by hand."""
    wide = panel.wide(outcome)
    change, treated = wide[:, -1] - wide[:, 0], np.isfinite(panel.cohort)
    return quick(change[treated].mean() - change[~treated].mean())


def test_all_assignments_by_hand() -> None:
    """Changes 5, 1, 2, 3, the first treated: 5 - 2 = 3; the others would give -7/3, -1, 1/3. p = 1/4."""
    found = resample.randomize(difference, changes([5, 1, 2, 3], [2, 0, 0, 0]), "y")
    assert found.statistic == 3
    assert found.p_value == found.p_min == 0.25
    assert found.p_error == 0
    assert found.distribution == "all 4 assignments of adoption paths in a pool of 4 areas"
    assert found.note == "This pool cannot give a p below 0.25."
    # -7/3 is beaten by 3 and itself
    assert resample.randomize(difference, changes([5, 1, 2, 3], [0, 2, 0, 0]), "y").p_value == 0.5


def test_paths_of_several_cohorts_are_permuted_whole() -> None:
    """Four areas, one starting in 3 and one in 4: 4 x 3 assignments; an estimator that sees the starts."""
    table = staggered(n=4, periods=6, starts={2003: 1, 2004: 1})
    panel = panel_of(table)
    seen = []

    def start_sum(panel: pe.Panel, outcome: str) -> Estimate:
        seen.append(tuple(panel.cohort))
        return by_covariance([1.0 if seen[-1] == seen[0] else 0.5], [1.0])

    found = resample.randomize(start_sum, panel, "rate")
    assert len(set(seen)) == 12
    assert all(sorted(cohort) == [2003, 2004, np.inf, np.inf] for cohort in seen)
    assert found.p_value == pytest.approx(1 / 12)
    assert seen.count(tuple(panel.cohort)) == 2  # the observed one, and the same again among all


def test_equal_changes_and_the_estimated_effect_removed() -> None:
    assert resample.randomize(difference, changes([2, 2, 2, 2, 2], [2, 2, 0, 0, 0]), "y").p_value == 1
    values = np.random.default_rng(1).normal(size=8)
    panel = changes(list(values), [2] * 3 + [0] * 5)
    effect = difference(panel, "y").values[0]
    shifted = changes(list(values - effect * np.r_[np.ones(3), np.zeros(5)]), [2] * 3 + [0] * 5)
    assert resample.randomize(difference, shifted, "y").p_value > 0.98


def test_p_lies_on_its_grid_and_drawing_approaches_enumeration() -> None:
    panel = changes(list(np.random.default_rng(3).normal(size=10) + np.r_[np.ones(3), np.zeros(7)]), [2] * 3 + [0] * 7)
    exact = resample.randomize(difference, panel, "y", draws=120)
    assert "all 120" in exact.distribution
    assert exact.p_value * 120 == pytest.approx(round(exact.p_value * 120))
    drawn = resample.randomize(difference, panel, "y", draws=119, until=None, rng=1)
    assert "119 random" in drawn.distribution
    assert drawn.p_value * 120 == pytest.approx(round(drawn.p_value * 120))
    assert drawn.p_min == 1 / 120
    assert drawn.p_error == pytest.approx(np.sqrt(drawn.p_value * (1 - drawn.p_value) / 119))
    assert abs(drawn.p_value - exact.p_value) < 4 * drawn.p_error + 1 / 120


def test_same_seed_same_p_whatever_the_number_of_processes() -> None:
    panel = panel_of(staggered(n=30, effect=0.3))

    def estimator(panel: pe.Panel, outcome: str) -> Estimate:
        return did.imputation(panel, outcome, pretrend=False).average()

    one, two = (resample.randomize(estimator, panel, "rate", draws=19, rng=4, n_jobs=n) for n in (1, 2))
    assert one.to_dict() == two.to_dict()
    again = resample.randomize(difference, panel, "rate", draws=199, rng=4)
    assert resample.randomize(difference, panel, "rate", draws=199, rng=4) == again
    generator = resample.randomize(difference, panel, "rate", draws=199, rng=np.random.default_rng(4))
    assert generator.p_value == again.p_value
    others = {resample.randomize(difference, panel, "rate", draws=199, rng=seed).p_value for seed in range(8)}
    assert len(others) > 1


def test_strata_are_permuted_inside() -> None:
    regions = ["a", "a", "a", "b", "b", "b", "c"]
    panel = changes([5, 1, 2, 9, 8, 7, 0], [2, 0, 0, 2, 0, 0, 0], region=regions)
    found = resample.randomize(difference, panel, "y", within="region")
    assert "all 9 assignments" in found.distribution  # 3 x 3 x 1
    assert "all 21 assignments" in resample.randomize(difference, panel, "y").distribution
    seen = []

    def spy(panel: pe.Panel, outcome: str) -> Estimate:
        seen.append(np.isfinite(panel.cohort))
        return difference(panel, outcome)

    resample.randomize(spy, panel, "y", within="region", draws=5)
    assert all(treated[:3].sum() == treated[3:6].sum() == 1 for treated in seen)
    with pytest.raises(DataError, match="provnce"):
        resample.randomize(difference, panel, "y", within="provnce")


def test_the_pool() -> None:
    panel = changes([5, 1, 2, 3, 4], [2, 0, 0, 0, 0])
    narrow = resample.randomize(difference, panel, "y", eligible=[1, 3])
    assert narrow.p_min == pytest.approx(1 / 3)
    assert "pool of 3 areas" in narrow.distribution
    table = panel.frame.assign(dirty=lambda d: np.where(d["area"] == 4, 2.0, np.inf))
    dirty = pe.Panel(table, unit="area", time="year", cohort="start", never=0, contaminated_from="dirty")
    assert "pool of 4 areas" in resample.randomize(difference, dirty, "y").distribution

    def code(eligible, panel=panel, **options) -> tuple[str, tuple]:
        with pytest.raises((DataError, DesignError)) as caught:
            resample.randomize(difference, panel, "y", eligible=eligible, **options)
        return caught.value.code, caught.value.where

    assert code([1, 77]) == ("PMG-POOL", (77,))
    assert code([1, 0]) == ("PMG-POOL", (0,))
    assert code([4], dirty) == ("PMG-POOL", (4,))
    assert code([])[0] == "PMG-POOL"
    split = changes([5, 1, 2, 3], [2, 0, 0, 0], region=["a", "b", "b", "b"])
    assert code(None, split, within="region")[0] == "PMG-POOL"
    assert code(None, draws=0)[0] == "PMG-DRAWS"


def test_ratios_are_compared_as_logs_and_t_divides_by_the_standard_error() -> None:
    panel = changes([5, 1, 2, 3], [2, 0, 0, 0])

    def ratio(panel: pe.Panel, outcome: str) -> Estimate:
        mean = difference(panel, outcome).values[0]
        return by_covariance([np.exp(mean)], [2 * np.exp(mean)], scale="log")

    assert resample.randomize(ratio, panel, "y").statistic == pytest.approx(3)
    assert resample.randomize(ratio, panel, "y", statistic="t").statistic == pytest.approx(1.5)
    with pytest.raises(DataError) as caught:
        resample.randomize(ratio, panel, "y", statistic="z")
    assert caught.value.code == "PMG-OPTION"


def scripted(observed: float, other) -> callable:
    """An estimator whose observed value is given, and who does something else under every other assignment."""
    first = {"used": False}

    def estimator(panel: pe.Panel, outcome: str) -> Estimate:
        if not first["used"]:
            first["used"] = True
            return by_covariance([observed], [1.0])
        if isinstance(other, Exception):
            raise other
        return by_covariance([other], [1.0])

    return estimator


@pytest.mark.parametrize("other", [DesignError("PMG-X", "x"), InferenceError("PMG-X", "x"), np.nan, np.inf])
def test_what_cannot_be_estimated_counts_against_the_effect(other) -> None:
    panel = changes([5, 1, 2, 3], [2, 0, 0, 0])
    assert resample.randomize(scripted(2.0, other), panel, "y").p_value == 1


@pytest.mark.parametrize("observed", [np.nan, np.inf])
def test_without_an_observed_statistic_there_is_no_test(observed: float) -> None:
    with pytest.raises(InferenceError) as caught:
        resample.randomize(scripted(observed, 1.0), changes([5, 1, 2, 3], [2, 0, 0, 0]), "y")
    assert caught.value.code == "PMG-NO-STATISTIC"


def test_a_perfect_fit_has_no_t() -> None:
    def perfect(panel: pe.Panel, outcome: str) -> Estimate:
        return by_covariance([1.0], [0.0])

    with pytest.raises(InferenceError):
        resample.randomize(perfect, changes([5, 1, 2, 3], [2, 0, 0, 0]), "y", statistic="t")


def test_one_term_only() -> None:
    with pytest.raises(DataError) as caught:
        resample.randomize(did.group_time, panel_of(staggered()), "rate")
    assert caught.value.code == "PMG-ONE-TERM"
    nothing = Estimate(np.zeros(0), make_terms({}, 0))
    with pytest.raises(DataError):
        resample.randomize(lambda panel, outcome: nothing, changes([5, 1], [2, 0]), "y")


def test_shares_of_the_first_period_travel_with_their_path() -> None:
    """The assignment that happened, estimated again, is the estimate that happened."""
    starts = pd.to_datetime(["2003-10-01", "2004-04-01"]).tolist() + [pd.NaT] * 4
    dates = pd.date_range("2000-01-01", periods=7, freq="YS")
    rng = np.random.default_rng(2)
    table = pd.DataFrame({"area": np.repeat(range(6), 7), "year": np.tile(dates, 6), "start": np.repeat(starts, 7)})
    table["y"] = rng.normal(size=42)
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=None, freq="Y", partial_period="share")
    seen = []

    def spy(panel: pe.Panel, outcome: str) -> Estimate:
        fit = did.imputation(panel, outcome, pretrend=False).average()
        seen.append((fit.values[0], tuple(zip(panel.cohort, panel.share, strict=True))))
        return fit

    resample.randomize(spy, panel, "y")
    same = [value for value, path in seen[1:] if path == seen[0][1]]
    assert same == [seen[0][0]]
    assert len({path for _, path in seen}) == 30


def test_p_values_are_uniform_where_nothing_happened() -> None:
    """1,000 outcomes x 19 draws; p is a multiple of 1/20, made continuous by a uniform number below it."""
    rng = np.random.default_rng(0)
    outcomes = rng.normal(size=(1_000, 14)) * np.exp(rng.normal(size=(1_000, 14)))
    panel = changes(list(outcomes[0]), [2] * 5 + [0] * 9)
    p = []
    for seed, values in enumerate(outcomes):
        drawn = panel.with_values("y", np.column_stack([np.zeros(14), values]).ravel())
        p.append(resample.randomize(difference, drawn, "y", draws=19, until=None, rng=seed).p_value)
    for level in (0.05, 0.1, 0.25, 0.5):
        error = np.sqrt(level * (1 - level) / 1_000)
        assert np.mean(np.array(p) <= level + 1e-9) == pytest.approx(level, abs=4 * error)
    assert stats.kstest(np.array(p) - np.random.default_rng(0).uniform(0, 1 / 20, 1_000), "uniform").pvalue > 1e-4


def test_provenance_records_what_determined_p() -> None:
    panel = changes([5, 1, 2, 3], [2, 0, 0, 0])
    one = resample.randomize(difference, panel, "y", rng=3)
    assert one.provenance.seed == 3
    assert one.provenance.data == panel.for_outcome("y").fingerprint
    digests = {
        test.provenance.digest
        for test in (
            one,
            resample.randomize(difference, panel, "y", rng=4),
            resample.randomize(difference, panel, "y", rng=3, eligible=[1, 2]),
            resample.randomize(difference, panel, "y", rng=3, statistic="t"),
        )
    }
    assert len(digests) == 4


def test_a_strong_effect_on_counts_is_found() -> None:
    panel = panel_of(counts(n=40, effect=-0.4))

    def ratio(panel: pe.Panel, outcome: str) -> Estimate:
        return did.imputation(panel, outcome, family="poisson", pretrend=False).average()

    found = resample.randomize(ratio, panel, "suspects", draws=99)
    assert found.p_value == found.p_min == 0.01
    assert_allclose(found.statistic, np.log(ratio(panel, "suspects").values[0]))


def test_units_that_the_missing_policy_drops_are_assigned_nothing() -> None:
    table = changes([5, 1, 2, 3, 4], [2, 0, 0, 0, 0]).frame
    table.loc[(table["area"] == 4) & (table["year"] == 1), "y"] = np.nan
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0, missing="drop_unit")
    assert "all 4 assignments" in resample.randomize(difference, panel, "y").distribution
