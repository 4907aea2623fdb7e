"""Confidence sets by inversion, sequential draws, order among the treated, and checkpoints of randomization."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from pmg_eval import did, resample
from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import Estimate
from pmg_eval.resample._randomize_invert import hull, regions
from unit.resample.panels import counts, panel_of, staggered
from unit.resample.test_randomize import changes, difference, quick


def ratio(panel: pe.Panel, outcome: str) -> Estimate:
    """Ratio of ratios of totals: the saturated Poisson regression of two periods."""
    wide, treated = panel.wide(outcome), np.isfinite(panel.cohort)
    value = wide[treated, 1].sum() * wide[~treated, 0].sum() / (wide[treated, 0].sum() * wide[~treated, 1].sum())
    return quick(value, 0.1 * value, "log")


def rough_t(panel: pe.Panel, outcome: str) -> Estimate:
    """Difference of mean changes with Welch's standard error."""
    wide, treated = panel.wide(outcome), np.isfinite(panel.cohort)
    change = wide[:, -1] - wide[:, 0]
    one, other = change[treated], change[~treated]
    error = np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other))
    return quick(one.mean() - other.mean(), error)


def test_a_set_by_hand() -> None:
    """Changes 5, 1, 2, 3, the first treated: estimates 3, -7/3, -1, 1/3 from y and 1, -1/3, -1/3, -1/3 from D.

    |a_r - tau b_r| >= |3 - tau| on [1, 4], at 3 alone, and on [2, 5]; what happened always.
    """
    panel = changes([5, 1, 2, 3], [2, 0, 0, 0])
    half = resample.randomize(difference, panel, "y", invert=True, level=0.5)
    assert_allclose([half.estimate, half.conf_low, half.conf_high], [3, 1, 5], rtol=1e-12)
    quarter = resample.randomize(difference, panel, "y", invert=True, level=0.25)
    assert_allclose([quarter.conf_low, quarter.conf_high], [2, 4], rtol=1e-12)
    whole = resample.randomize(difference, panel, "y", invert=True, level=0.8)
    assert (whole.conf_low, whole.conf_high) == (-np.inf, np.inf)
    assert "not attainable" in whole.note
    assert half.level == 0.5
    assert "50% set [1, 5]" in str(half)
    assert np.isnan(resample.randomize(difference, panel, "y").conf_low)


@pytest.mark.parametrize("shares", [0.0, 1.0])
def test_the_pieces_by_brute_force(shares: float) -> None:
    """Every kind of draw (flatter, steeper, parallel, reflected, lost) against the inequality on a grid."""
    rng = np.random.default_rng(5)
    a, b = 1.3, 1.0
    draws = np.r_[rng.normal(size=40), a, -a, 0.4, 2.0, -2.0, 0.4, 2.0, np.inf, a]
    slopes = np.r_[rng.uniform(-0.9, 0.9, 40) + 3 * shares, b, -b, b, b, b, -b, -b, 0.1, 0.3]
    starts, ends = regions(draws, slopes, a, b)
    grid = np.linspace(-6, 6, 4_001)
    with np.errstate(invalid="ignore"):
        want = (np.abs(draws[:, None] - grid * slopes[:, None]) >= np.abs(a - grid * b) * (1 - 1e-12)).sum(axis=0)
    got = ((starts[:, None] <= grid) & (grid <= ends[:, None])).sum(axis=0)
    assert np.mean(got != want) < 0.002  # points of the grid that are ends up to rounding
    for need in (3, 20, 40):
        low, high, whole = hull(starts, ends, need)
        inside = grid[want >= need]
        assert low <= inside.min() <= low + 0.004 or low == -np.inf
        assert high - 0.004 <= inside.max() <= high or high == np.inf
        held = want[(grid >= low + 0.004) & (grid <= high - 0.004)] >= need
        assert whole == held.all()


def p_of(estimator, table: pd.DataFrame, effect: float, *, log: bool = False, **options) -> float:
    """The test of a panel made anew, from whose treated cells the effect has been taken."""
    on = (table["start"] > 0) & (table["year"] >= table["start"])
    y = table["y"] * np.exp(-effect * on) if log else table["y"] - effect * on
    panel = pe.Panel(table.assign(y=y), unit="area", time="year", cohort="start", never=0)
    return resample.randomize(estimator, panel, "y", until=None, **options).p_value


def imputed(panel: pe.Panel, outcome: str) -> Estimate:
    return did.imputation(panel, outcome, pretrend=False).average()


def test_ends_of_a_linear_estimator_are_exact() -> None:
    """p is at least alpha at the ends and below it just outside; the estimate has p = 1."""
    table = staggered(n=12, periods=4, starts={2002: 3, 2003: 1}, effect=1.0).rename(columns={"rate": "y"})
    options = {"draws": 29, "rng": 3}
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    found = resample.randomize(imputed, panel, "y", invert=True, level=0.9, until=None, **options)
    assert_allclose(found.estimate, imputed(panel, "y").values[0], rtol=1e-12)
    assert p_of(imputed, table, found.estimate, **options) == 1
    for end, out in ((found.conf_low, -1), (found.conf_high, 1)):
        assert p_of(imputed, table, end - out * 1e-9, **options) >= 0.1 - 1e-9
        assert p_of(imputed, table, end + out * 1e-9, **options) < 0.1


@pytest.mark.parametrize("kind", ["ratio", "t", "enumerated ratio"])
def test_searched_ends(kind: str) -> None:
    rng = np.random.default_rng(2)
    n, treated = (9, 3) if kind == "enumerated ratio" else (30, 8)
    table = changes([0.0] * n, [2] * treated + [0] * (n - treated)).frame
    log = kind != "t"
    estimator, options = (ratio, {}) if log else (rough_t, {"statistic": "t"})
    mean = rng.uniform(50, 200, n)[:, None] * np.exp(np.c_[np.zeros(n), -0.4 * (np.arange(n) < treated)])
    table["y"] = (rng.poisson(mean).astype(float) if log else rng.normal(size=(n, 2)) + np.array([0, 0.5])).ravel()
    options |= {"draws": 199, "rng": 1}
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    found = resample.randomize(estimator, panel, "y", invert=True, level=0.9, until=None, **options)
    ends = np.array([found.estimate, found.conf_low, found.conf_high])
    assert_allclose(found.estimate, estimator(panel, "y").values[0], rtol=1e-9)
    centre, low, high = np.log(ends) if log else ends
    assert low < centre < high
    assert p_of(estimator, table, centre, log=log, **options) == 1
    for end, out in ((low, -1), (high, 1)):
        slack = 3e-4 * abs(end - centre)
        assert p_of(estimator, table, end, log=log, **options) >= 0.1 - 1e-9
        assert p_of(estimator, table, end + out * slack, log=log, **options) < 0.1


def test_the_search_agrees_with_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = changes(list(np.random.default_rng(8).normal(size=20) + 2 * (np.arange(20) < 6)), [2] * 6 + [0] * 14)
    options = {"draws": 199, "rng": 2, "until": None, "invert": True}
    exact = resample.randomize(difference, panel, "y", **options)
    monkeypatch.setattr("pmg_eval.resample._randomize_invert._closed_form", lambda *_: None)
    searched = resample.randomize(difference, panel, "y", **options)
    assert searched != exact
    width = exact.conf_high - exact.conf_low
    assert exact.conf_low <= searched.conf_low <= exact.conf_low + 1e-4 * width
    assert exact.conf_high - 1e-4 * width <= searched.conf_high <= exact.conf_high


@pytest.mark.parametrize("estimator", [difference, ratio, rough_t])
def test_zero_is_in_the_set_exactly_when_p_is_at_least_alpha(estimator) -> None:
    """Law 101, and sets nested in the level; values on a coarse grid make ties."""
    rng = np.random.default_rng(11)
    seen = set()
    for seed in range(30 if estimator is difference else 9):
        values = np.round(rng.normal(size=12) * 2) + 14 + 2 * (seed % 3) * (np.arange(12) < 5)
        panel = changes(list(values), [2] * 5 + [0] * 7)
        if estimator is ratio:
            panel = panel.with_values("y", panel.column("y") + 10)
        options = {"draws": 99 if estimator is difference else 39, "rng": seed, "until": None}
        options |= {"statistic": "t"} if estimator is rough_t else {}
        previous = None
        for level in (0.8, 0.95):
            found = resample.randomize(estimator, panel, "y", invert=True, level=level, **options)
            null = 1.0 if estimator is ratio else 0.0
            inside = found.conf_low <= null <= found.conf_high
            assert inside == (found.p_value >= 1 - level - 1e-9)
            seen.add(inside)
            if previous is not None:
                assert found.conf_low <= previous.conf_low + 1e-9
                assert found.conf_high >= previous.conf_high - 1e-9
            previous = found
    assert seen == {True, False}


def _shared_panel(effect: float = 0.0) -> pe.Panel:
    """Area 0 starts on 2 July 2003, so that the effect there is one half of the full one in 2003; area 1 in 2004."""
    starts = pd.to_datetime(["2003-07-02", "2004-01-01"]).tolist() + [pd.NaT] * 6
    dates = pd.date_range("2000-01-01", periods=7, freq="YS")
    table = pd.DataFrame({"area": np.repeat(range(8), 7), "year": np.tile(dates, 8), "start": np.repeat(starts, 7)})
    on = np.zeros((8, 7))
    on[0, 3:], on[1, 4:] = 1, 1
    on[0, 3] = 183 / 365
    table["y"] = np.random.default_rng(2).normal(size=56) + effect * on.ravel()
    return pe.Panel(table, unit="area", time="year", cohort="start", never=None, freq="Y", partial_period="share")


def test_p_falls_on_either_side_of_the_estimate() -> None:
    """Law 53 for the plain estimate, with the same draws at every effect; p is 1 at the estimate."""
    table = changes(list(np.random.default_rng(6).normal(size=16) + (np.arange(16) < 5)), [2] * 5 + [0] * 11).frame
    centre = difference(pe.Panel(table, unit="area", time="year", cohort="start", never=0), "y").values[0]
    for side in (-1, 1):
        p = [p_of(difference, table, centre + side * step, draws=79, rng=2) for step in np.linspace(0, 3, 13)]
        assert p[0] == 1
        assert (np.diff(p) <= 1e-12).all()
        assert p[-1] < 0.1


def test_a_share_of_the_first_period_is_imposed_as_a_share() -> None:
    """A planted effect of 2, of which the share in the first period, moves the set by exactly 2."""
    assert_allclose(_shared_panel().share[0], 183 / 365)
    options = {"invert": True, "level": 0.9}
    plain, planted = (resample.randomize(imputed, _shared_panel(effect), "y", **options) for effect in (0.0, 2.0))
    want = np.array([plain.estimate, plain.conf_low, plain.conf_high]) + 2
    assert_allclose([planted.estimate, planted.conf_low, planted.conf_high], want, rtol=1e-10)


def test_what_cannot_be_inverted() -> None:
    panel = changes([5, 1, 2, 3, 4, 2], [2, 2, 0, 0, 0, 0])

    def code(estimator, panel=panel, **options) -> str:
        with pytest.raises((InferenceError, DataError)) as caught:
            resample.randomize(estimator, panel, "y", invert=True, level=0.8, **options)
        return caught.value.code

    assert code(lambda panel, outcome: quick(1.0)) == "PMG-INVERSION"  # no effect taken out changes it
    shared = _shared_panel()
    assert code(lambda panel, outcome: quick(1.2, scale="log"), shared) == "PMG-INVERSION"
    assert code(lambda panel, outcome: quick(0.3, scale="logit")) == "PMG-NO-STATISTIC"
    with pytest.raises(DataError):
        resample.randomize(difference, panel, "y", level=1.5)


def test_order_among_the_treated() -> None:
    """Three treated areas starting in 2, 3, 3 and two others that keep their role: three assignments."""
    table = pd.DataFrame({"area": np.repeat(range(5), 4), "year": [1, 2, 3, 4] * 5})
    table["start"] = np.repeat([2, 3, 3, 0, 0], 4)
    table["y"] = np.random.default_rng(0).normal(size=20)
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    seen = []

    def spy(panel: pe.Panel, outcome: str) -> Estimate:
        seen.append(tuple(panel.cohort))
        return imputed(panel, outcome)

    found = resample.randomize(spy, panel, "y", among="treated")
    assert found.distribution == "all 3 assignments of adoption paths among 3 treated areas"
    assert set(seen) == {(2, 3, 3, *[np.inf] * 2), (3, 2, 3, *[np.inf] * 2), (3, 3, 2, *[np.inf] * 2)}
    values = [imputed(panel.with_cohort(np.array(start)), "y").values[0] for start in sorted(set(seen))]
    observed = imputed(panel, "y").values[0]
    assert found.p_value == np.mean(np.abs(values) >= abs(observed) - 1e-12)
    one_wave = changes([5, 1, 2, 3], [2, 2, 0, 0])
    with pytest.raises(DesignError, match="different periods"):
        resample.randomize(difference, one_wave, "y", among="treated")
    for options in ({"among": "treated", "eligible": [3]}, {"among": "waves"}):
        with pytest.raises(DataError) as caught:
            resample.randomize(difference, one_wave, "y", **options)
        assert caught.value.code == "PMG-OPTION"


def test_order_among_the_treated_within_levels() -> None:
    table = staggered(n=12, periods=6, starts={2002: 3, 2004: 3})
    region = {f"a{i:03d}": "north" if i in (0, 3, 6) else "south" for i in range(12)}
    panel = panel_of(table.assign(region=table["area"].map(region)), region="region")
    found = resample.randomize(imputed, panel, "rate", among="treated", within="region")
    assert "all 12 assignments" in found.distribution  # 2 orders in the north, 6 in the south


def borderline(panel: pe.Panel, outcome: str) -> Estimate:
    """More extreme than what happened in about five of a hundred assignments."""
    treated = np.flatnonzero(np.isfinite(panel.cohort))
    return quick(panel.wide(outcome)[treated, 1].sum())


def test_near_alpha_the_draws_go_on() -> None:
    n = 40
    values = np.random.default_rng(0).uniform(-1, 1, n)
    values[:4] = [1, 0.8, 0.5, 0.25]
    panel = changes(list(values), [2] * 4 + [0] * (n - 4))
    first = resample.randomize(borderline, panel, "y", draws=199, until=None)
    assert abs(first.p_value - 0.05) <= 2 * first.p_error  # a borderline case, or the test shows nothing
    found = resample.randomize(borderline, panel, "y", draws=199, until=1_900)
    used = len(found.details)
    assert used > 199
    assert used % 199 == 0 or used == 1_900
    assert used == 1_900 or abs(found.p_value - 0.05) > 2 * found.p_error
    whole = resample.randomize(borderline, panel, "y", draws=used, until=None)
    assert found.p_value == whole.p_value  # the same draws, whether they came at once or not
    assert found.p_error == pytest.approx(np.sqrt(found.p_value * (1 - found.p_value) / used))
    assert f"{used:,} assignments used; p lies on multiples of 1/{used + 1:,}" in found.provenance.notes
    clear = resample.randomize(borderline, panel, "y", draws=199, level=0.5)
    assert len(clear.details) == 199
    assert_allclose(clear.details["statistic"], first.details["statistic"])


def test_near_alpha_all_assignments_when_there_are_no_more() -> None:
    panel = changes(list(np.random.default_rng(3).normal(size=10) + np.r_[np.ones(3), np.zeros(7)]), [2] * 3 + [0] * 7)
    exact = resample.randomize(difference, panel, "y", draws=120)
    found = resample.randomize(difference, panel, "y", draws=19, level=1 - exact.p_value)
    assert "all 120" in found.distribution
    assert found.p_value == exact.p_value


class Counted:
    """The ratio, which counts its calls and stops at some of them; not part of the estimator's description."""

    calls = 0
    stops: tuple[int, ...] = ()

    def __call__(self, panel: pe.Panel, outcome: str) -> Estimate:
        Counted.calls += 1
        if Counted.calls in Counted.stops:
            raise KeyboardInterrupt
        return ratio(panel, outcome)


@pytest.mark.parametrize("invert", [False, True])
def test_interrupted_and_resumed(tmp_path, invert: bool) -> None:
    """Stopped in the draws or in the search of the ends: the same bits as in one go, and no draw twice."""
    rng = np.random.default_rng(4)
    table = changes([0.0] * 16, [2] * 5 + [0] * 11).frame
    table["y"] = rng.poisson(200.0, 32).astype(float)
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    job = partial(resample.randomize, Counted(), panel, "y", draws=99, invert=invert, level=0.9)
    Counted.calls, Counted.stops = 0, ()
    once, total = job(), Counted.calls
    Counted.calls, Counted.stops = 0, tuple(rng.choice(np.arange(2, total), 6, replace=False).tolist())
    for _ in Counted.stops:
        with pytest.raises(KeyboardInterrupt):
            job(checkpoint=tmp_path / "job.jsonl")
    found = job(checkpoint=tmp_path / "job.jsonl")
    assert found.to_dict() == once.to_dict()
    assert found.details.equals(once.details)
    assert Counted.calls < total + 6 * 30  # only what is estimated outside the draws is repeated
    with pytest.raises(DataError, match="the seed"):
        job(checkpoint=tmp_path / "job.jsonl", rng=1)


def test_processes_do_not_matter_for_the_set() -> None:
    panel = panel_of(counts(n=14, periods=5, starts={2003: 4}, effect=-0.3))
    estimator = partial(_poisson)
    options = {"draws": 9, "rng": 4, "invert": True, "level": 0.8, "until": None}
    one, two = (resample.randomize(estimator, panel, "suspects", n_jobs=n, **options) for n in (1, 2))
    assert one.to_dict() == two.to_dict()
    assert one.conf_low < one.estimate < one.conf_high
    assert_allclose(one.estimate, estimator(panel, "suspects").values[0], rtol=1e-7)


def _poisson(panel: pe.Panel, outcome: str) -> Estimate:
    return did.imputation(panel, outcome, family="poisson", pretrend=False).average()
