"""Bootstrap laws: enumerated cases and closed forms, copies that are told apart, refusals."""

from dataclasses import replace
from functools import partial
from itertools import product
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from pmg_eval import did, resample
from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import Draws, Estimate, Influence, Rows, make_terms
from pmg_eval.resample._bootstrap import _signs, _weighted
from pmg_eval.resample._bootstrap_units import resampled, urn_of
from unit.resample.panels import counts, panel_of, staggered
from unit.resample.test_randomize import changes

TERMS = make_terms({"estimand": "att"}, 1)


def mean_change(panel: pe.Panel, outcome: str) -> Estimate:
    """Mean change of the treated; its influence values are the deviations from it."""
    wide, treated = panel.wide(outcome), np.isfinite(panel.cohort)
    change = wide[:, 1] - wide[:, 0]
    mean = change[treated].mean()
    psi = (np.where(treated, change - mean, 0) * len(change) / treated.sum())[:, None]
    weights = (treated / treated.sum())[:, None]
    law = Influence(Rows(left=psi), panel.unit_labels, len(change), treated=Rows(left=weights))
    return Estimate(np.array([mean]), TERMS, law)


def overall(panel: pe.Panel, outcome: str) -> Estimate:
    return did.imputation(panel, outcome, pretrend=False).average()


def lawless(panel: pe.Panel, outcome: str) -> Estimate:
    return replace(overall(panel, outcome), uncertainty=None)


def by_cohort(panel: pe.Panel, outcome: str) -> Estimate:
    return did.group_time(panel, outcome).average(by="cohort")


# ---- drawing units ------------------------------------------------------------------------------------------------


def test_all_resamples_of_three_units_exactly() -> None:
    """27 equally likely resamples of 1, 2, 6: mean of the means 3, variance (n-1)/n s2/n = 14/9."""
    panel = changes([1, 2, 6, 0, 0], [2, 2, 2, 0, 0])
    means = [mean_change(resampled(panel, [*chosen, 3, 4]), "y").values[0] for chosen in product(range(3), repeat=3)]
    assert_allclose(np.mean(means), 3)
    assert_allclose(np.var(means), 14 / 9)


def test_standard_error_of_a_mean_is_the_closed_form() -> None:
    values = np.random.default_rng(2).normal(size=12)
    panel = changes([*values, 0, 0], [2] * 12 + [0, 0])
    found = resample.bootstrap(mean_change, panel, "y", kind="cluster", draws=800, rng=5)
    want = sqrt(11 / 12) * values.std(ddof=1) / sqrt(12)
    spread = found.details.spread().iloc[0]
    assert abs(found.se[0] - want) < 3 * spread["std_error_error"]
    assert 0.015 * want < spread["std_error_error"] < 0.04 * want
    assert abs(spread["bias"]) < 3.5 * spread["bias_error"]
    assert spread["failed"] == 0
    assert found.details.errors.shape == (800, 1)


def test_a_resample_is_the_table_with_its_rows_copied() -> None:
    """Against a panel made from the table with copies under names of their own, for integer and text labels."""
    table = staggered(n=10, periods=6, starts={2002: 2, 2004: 2}).assign(people=7.0, share=0.5)
    table.loc[table["area"] == "a003", "people"] = 9.0
    chosen = [0, 0, 0, 2, 3, 4, 4, 7, 8, 9]
    names = sorted(table["area"].unique())
    for numbers in (False, True):
        label = {name: 100 + 3 * i if numbers else name for i, name in enumerate(names)}
        own = table.assign(area=table["area"].map(label))
        panel = panel_of(own, region="region", exposure="people")
        parts = [own[own["area"] == label[names[unit]]].assign(area=f"c{i}") for i, unit in enumerate(chosen)]
        want = panel_of(pd.concat(parts), region="region", exposure="people")
        got = resampled(panel.for_outcome("rate"), chosen)
        assert got.n_units == 10
        assert got.units.is_unique
        assert got.units.is_monotonic_increasing
        assert {label[names[unit]] for unit in chosen} <= set(got.units)
        for estimator in (overall, by_cohort):
            assert_allclose(estimator(got, "rate").values, estimator(want, "rate").values, rtol=1e-10)
        order = np.lexsort((got.wide("rate")[:, 0], got.cohort))
        other = np.lexsort((want.wide("rate")[:, 0], want.cohort))
        assert_allclose(got.wide("rate")[order], want.wide("rate")[other])
        assert_allclose(got.wide("people")[order], want.wide("people")[other])
        assert got.unit_labels["region"].iloc[order].tolist() == want.unit_labels["region"].iloc[other].tolist()
        assert len(got.row_labels) == len(got.frame) == 60
        assert got.frame["area"].nunique() == 10
        again = resampled(got.select(np.arange(10) != 3), [1, 1, 8])  # of a part of a resample
        assert again.n_units == 3
        assert_allclose(np.sort(again.wide("rate")[:, 0]), np.sort(got.wide("rate")[[1, 1, 9], 0]))


def test_borders_and_cells_left_out_follow_their_units() -> None:
    table = staggered(n=6, periods=5, starts={2002: 2})
    borders = {"a000": ["a001"], "a002": ["a003"]}
    panel = panel_of(table, neighbors=borders)
    panel = panel.select_rows(~((panel.row_unit == 2) & (panel.row_time == 0)))
    got = resampled(panel, [0, 0, 1, 2, 2, 3])
    assert got.units.tolist() == ["a000", "a000 (copy 1)", "a001", "a002", "a002 (copy 1)", "a003"]
    assert {tuple(pair) for pair in got.neighbors.tolist()} == {
        *[(0, 2), (1, 2), (3, 5), (4, 5)],
        *[(2, 0), (2, 1), (5, 3), (5, 4)],
    }
    assert np.isnan(got.for_outcome("rate").wide("rate")).sum() == 2
    alike = panel_of(table.assign(area=table["area"].replace("a001", "a000 (copy 1)")))
    assert resampled(alike, [0, 0, 1, 1]).units.is_unique


def test_strata() -> None:
    panel = panel_of(staggered(n=30, starts={2003: 7, 2005: 6}), region="region")
    rng = np.random.default_rng(0)

    def cohorts(**options) -> list:
        urn = urn_of(panel, options.pop("cluster", None), **options)
        return [sorted(panel.cohort[urn.draw(rng)].tolist()) for _ in range(50)]

    assert all(found == sorted(panel.cohort.tolist()) for found in cohorts(strata="cohort"))
    assert any(found != sorted(panel.cohort.tolist()) for found in cohorts(strata=None))
    urn = urn_of(panel, None, "region")
    region = panel.unit_labels["region"].to_numpy()
    assert sorted(region[urn.draw(rng)]) == sorted(region)
    urn = urn_of(panel, "region", None)
    drawn = pd.Series(region[urn.draw(rng)]).value_counts()
    whole = pd.Series(region).value_counts()
    assert (drawn % whole[drawn.index] == 0).all()  # whole regions
    assert drawn.sum() >= 24


def test_clusters_drawn_whole() -> None:
    """The mean of cluster means of equal size: its bootstrap variance is that of the cluster means."""
    values = np.random.default_rng(3).normal(size=(9, 2)) + np.random.default_rng(4).normal(size=(9, 1))
    region = [f"r{i}" for i in range(9) for _ in range(2)] + ["z", "z"]
    panel = changes([*values.ravel(), 0, 0], [2] * 18 + [0, 0], region=region)
    found = resample.bootstrap(mean_change, panel, "y", kind="cluster", cluster="region", draws=500, few_treated="keep")
    want = values.mean(axis=1).std(ddof=0) / 3
    assert abs(found.se[0] - want) < 3 * found.details.spread()["std_error_error"][0]
    assert "bootstrap of 10 regions, within cohorts" in found.terms["method"][0]


# ---- multipliers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "third", "fourth"), [("rademacher", 0, 1), ("mammen", 1, 2), ("webb", 0, 7 / 6)])
def test_moments_of_the_multipliers(name: str, third: float, fourth: float) -> None:
    v = _signs(name, np.random.default_rng(0), (400, 500))
    count = v.size
    for power, want in ((1, 0.0), (2, 1.0), (3, third), (4, fourth)):
        assert abs((v**power).mean() - want) < 4 * (v**power).std() / sqrt(count) + 1e-12
    assert len(np.unique(v)) == {"rademacher": 2, "mammen": 2, "webb": 6}[name]


def test_all_sign_vectors_exactly() -> None:
    """2^6 Rademacher draws of six influence values have exactly the variance of the influence function."""
    psi = np.random.default_rng(1).normal(size=(6, 2))
    signs = np.array(list(product([-1.0, 1.0], repeat=6)))
    from scipy import sparse

    for rows in (Rows(left=psi), Rows(left=psi, right=np.eye(2)), Rows(own=sparse.csr_array(psi))):
        errors = _weighted(signs, rows) / 6
        assert_allclose(errors.T @ errors / 64, psi.T @ psi / 36, rtol=1e-12)


@pytest.mark.parametrize("multiplier", ["rademacher", "mammen", "webb"])
def test_the_variance_is_that_of_the_influence_function(multiplier: str) -> None:
    panel = panel_of(staggered(n=50, starts={2004: 9, 2006: 8}), region="region")
    raw = by_cohort(panel, "rate")
    found = resample.bootstrap(by_cohort, panel, "rate", multiplier=multiplier, draws=4_000, rng=1)
    error = found.details.spread()["std_error_error"]
    assert (np.abs(found.se - raw.se) < 3.5 * error).all()
    correlation = np.corrcoef(found.uncertainty.errors, rowvar=False)[0, 1]
    want = raw.cov()[0, 1] / np.prod(raw.se)
    assert abs(correlation - want) < 4 / sqrt(4_000)
    clusters = resample.bootstrap(by_cohort, panel, "rate", multiplier=multiplier, cluster="region", draws=4_000)
    want = np.sqrt(np.diag(raw.cov(pe.clustered("region"))))
    assert (np.abs(clusters.se - want) < 3.5 * clusters.details.spread()["std_error_error"]).all()


def test_the_law_is_centred_and_intervals_are_what_they_are_called() -> None:
    panel = panel_of(staggered(n=40, starts={2004: 8}))
    found = resample.bootstrap(overall, panel, "rate", draws=999)
    replicates = found.values[0] + found.details.errors[:, 0]
    ends = found.details.intervals(0.9).iloc[0]
    ordered = np.sort(replicates)
    assert_allclose([ends["percentile_low"], ends["percentile_high"]], ordered[[49, 949]])
    assert_allclose([ends["basic_low"], ends["basic_high"]], 2 * found.values[0] - ordered[[949, 49]])
    frame = found.to_frame(0.9).iloc[0]
    half = np.sort(np.abs(found.details.errors[:, 0]))[899]
    assert_allclose([frame["conf_low"], frame["conf_high"]], found.values[0] + np.array([-half, half]))
    assert isinstance(found.uncertainty, Draws)
    assert_allclose(found.values, overall(panel, "rate").values)
    assert np.isnan(found.details.intervals(0.9999)["percentile_low"][0])
    errors = [
        resample.bootstrap(overall, panel, "rate", draws=999, rng=seed).details.intervals(0.9)["percentile_low"][0]
        for seed in range(60)
    ]
    assert np.std(errors) == pytest.approx(ends["low_error"], rel=0.35)


# ---- determinism --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["multiplier", "cluster"])
def test_same_seed_same_bits_whatever_the_number_of_processes_and_more_draws_continue(kind: str) -> None:
    panel = panel_of(staggered(n=24, periods=6, starts={2003: 7}))
    one, two = (resample.bootstrap(overall, panel, "rate", kind=kind, draws=12, rng=3, n_jobs=n) for n in (1, 2))
    assert one.uncertainty.errors.tobytes() == two.uncertainty.errors.tobytes()
    assert one.to_json() == two.to_json()
    more = resample.bootstrap(overall, panel, "rate", kind=kind, draws=15, rng=3)
    assert np.array_equal(more.uncertainty.errors[:12], one.uncertainty.errors)
    other = resample.bootstrap(overall, panel, "rate", kind=kind, draws=12, rng=4)
    assert not np.array_equal(other.uncertainty.errors, one.uncertainty.errors)
    generator = resample.bootstrap(overall, panel, "rate", kind=kind, draws=12, rng=np.random.default_rng(3))
    assert np.array_equal(generator.uncertainty.errors, one.uncertainty.errors)
    assert one.provenance.seed == 3


class Failing:
    """The mean change, which stops at some calls."""

    calls = 0
    stops: tuple[int, ...] = ()

    def __call__(self, panel: pe.Panel, outcome: str) -> Estimate:
        Failing.calls += 1
        if Failing.calls in Failing.stops:
            raise KeyboardInterrupt
        return mean_change(panel, outcome)


def test_interrupted_and_resumed(tmp_path) -> None:
    panel = changes([*np.random.default_rng(2).normal(size=8), 0, 0], [2] * 8 + [0, 0])
    job = partial(resample.bootstrap, Failing(), panel, "y", kind="cluster", draws=60)
    Failing.calls, Failing.stops = 0, ()
    once = job()
    Failing.calls, Failing.stops = 0, (5, 17, 25, 40)
    for _ in Failing.stops:
        with pytest.raises(KeyboardInterrupt):
            job(checkpoint=tmp_path / "c")
    found = job(checkpoint=tmp_path / "c")
    assert found.uncertainty.errors.tobytes() == once.uncertainty.errors.tobytes()
    assert Failing.calls == 60 + 4 + 5
    with pytest.raises(DataError, match="option"):
        job(checkpoint=tmp_path / "c", strata=None)
    with pytest.raises(DataError, match="checkpoint"):
        job(checkpoint=tmp_path / "c", kind="multiplier")


# ---- few treated, failures ----------------------------------------------------------------------------------------


def test_few_treated_units_are_refused() -> None:
    few = panel_of(staggered(n=20, starts={2004: 5}))
    for kind in ("multiplier", "cluster"):
        with pytest.raises(InferenceError, match=r"infer\.default or resample\.placebo") as caught:
            resample.bootstrap(overall, few, "rate", kind=kind, draws=9)
        assert caught.value.code == "PMG-FEW-TREATED"
        kept = resample.bootstrap(overall, few, "rate", kind=kind, draws=19, few_treated="keep")
        assert kept.se[0] > 0
        assert "few treated units kept" in kept.to_frame()["method"][0]
    with pytest.raises(InferenceError):  # counted in the panel where the estimate has no influence function
        resample.bootstrap(lawless, few, "rate", kind="cluster", draws=2)
    mixed = panel_of(staggered(n=30, starts={2004: 8, 2006: 3}))
    found = resample.bootstrap(by_cohort, mixed, "rate", draws=99)
    frame = found.to_frame()
    assert frame["std_error"].notna().tolist() == [True, False]
    assert frame["p_value"].notna().tolist() == [True, False]
    assert "5 treated units or fewer" in frame["status"][1]
    regions = panel_of(staggered(n=40, starts={2004: 12}).assign(big=lambda d: d["region"] < "r4"), region="big")
    with pytest.raises(InferenceError):  # twelve areas in two clusters
        resample.bootstrap(overall, regions, "rate", cluster="big", draws=9)


def test_strata_of_one_are_refused() -> None:
    panel = panel_of(staggered(n=30, starts={2004: 8, 2006: 1}))
    with pytest.raises(DesignError) as caught:
        resample.bootstrap(overall, panel, "rate", kind="cluster", draws=4)
    assert caught.value.code == "PMG-LONE-STRATUM"
    assert caught.value.where == ("2006",)
    assert resample.bootstrap(overall, panel, "rate", kind="cluster", draws=4, strata=None).se[0] > 0


def test_replicates_that_fail() -> None:
    """Without strata a cohort of two is missing in about (28/30)^30 = 13 % of the replicates."""
    panel = panel_of(staggered(n=30, periods=6, starts={2002: 8, 2004: 2}))
    found = resample.bootstrap(by_cohort, panel, "rate", kind="cluster", strata=None, few_treated="keep", draws=120)
    frame = found.to_frame()
    assert found.details.failed[0] < 0.02
    assert 0.05 < found.details.failed[1] < 0.25
    assert frame["std_error"].notna().tolist() == [True, False] or found.details.failed[1] <= 0.1
    if found.details.failed[1] > 0.1:
        assert "more than a tenth" in frame["status"][1]

    def fragile(panel: pe.Panel, outcome: str) -> Estimate:
        if not panel.units.equals(pd.Index([f"a{i:03d}" for i in range(30)])):
            raise DesignError("PMG-X", "not the original")
        return overall(panel, outcome)

    with pytest.raises(InferenceError) as caught:
        resample.bootstrap(fragile, panel, "rate", kind="cluster", draws=5)
    assert caught.value.code == "PMG-BOOTSTRAP-FAILED"


def test_refusals() -> None:
    panel = panel_of(staggered(n=20, starts={2004: 8}), region="region")

    def code(**options) -> str:
        with pytest.raises((DataError, DesignError, InferenceError)) as caught:
            resample.bootstrap(options.pop("estimator", overall), panel, "rate", **{"draws": 4, **options})
        return caught.value.code

    assert code(kind="wild") == "PMG-OPTION"
    assert code(multiplier="normal") == "PMG-OPTION"
    assert code(few_treated="yes") == "PMG-OPTION"
    assert code(draws=1) == "PMG-DRAWS"
    assert code(cluster="province", kind="cluster") == "PMG-CLUSTER"
    assert code(cluster="province") == "PMG-LABEL"
    assert code(strata="province", kind="cluster") == "PMG-COLUMN"
    assert code(estimator=lawless) == "PMG-NO-INFLUENCE"
    people = pd.DataFrame({"year": [1, 2] * 40, "start": [2, 2, 0, 0] * 20, "y": np.arange(80.0)})
    sections = pe.Panel(people, unit=None, time="year", cohort="start", never=0)
    with pytest.raises(DesignError, match="cluster"):
        resample.bootstrap(did.group_time, sections, "y", kind="cluster", draws=4)


def test_ratios_and_reference_rows() -> None:
    panel = panel_of(counts(n=30, periods=7, starts={2003: 8}))

    def study(panel: pe.Panel, outcome: str) -> Estimate:
        return did.group_time(panel, outcome, family="poisson", base_period="universal").average(by="event_time")

    found = resample.bootstrap(study, panel, "suspects", draws=199)
    frame = found.to_frame()
    reference = frame["status"] == "reference"
    assert reference.sum() == 1
    assert frame.loc[~reference, "conf_low"].notna().all()
    assert_allclose(frame["conf_low"] * frame["conf_high"], frame["estimate"].where(~reference) ** 2)
    assert np.isfinite(found.band().loc[~reference, "conf_low"]).all()
