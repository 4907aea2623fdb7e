"""Power against closed forms, planting against the Poisson law, and the rules that hold whatever the method."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import pmg_eval as pe
from pmg_eval import did, resample
from pmg_eval._progress import listening
from pmg_eval.errors import DataError, DesignError, InferenceError, PmgEvalWarning
from pmg_eval.estimate import Covariance, Estimate, Test, make_terms
from pmg_eval.resample._plant import ground_of, planted, rates_of
from pmg_eval.resample._power import detectable, non_decreasing
from unit.resample.panels import counts, panel_of, staggered


def normal_panel(n: int = 200, seed: int = 3, start: int = 2002, treated: int = 30) -> pe.Panel:
    """Two periods of independent normal outcomes; nothing happens."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"area": np.repeat(np.arange(n), 2), "year": np.tile([2001, 2002], n)})
    table["start"] = np.repeat(np.where(np.arange(n) < treated, start, 0), 2)
    table["rate"] = rng.normal(size=2 * n)
    return pe.Panel(table, unit="area", time="year", cohort="start", never=0)


def change_of(panel: pe.Panel) -> tuple[np.ndarray, np.ndarray]:
    wide = panel.wide("rate")
    return wide[:, 1] - wide[:, 0], np.isfinite(panel.cohort)


def means_with(variance: float):
    """Difference of mean changes, with the variance that is known: S^2 (1/n1 + 1/n0)."""

    def method(panel: pe.Panel, outcome: str) -> Estimate:
        change, treated = change_of(panel)
        value = change[treated].mean() - change[~treated].mean()
        spread = variance * (1 / treated.sum() + 1 / (~treated).sum())
        return Estimate(np.array([value]), make_terms({"estimand": "att"}, 1), Covariance(np.array([[spread]])))

    return method


def untreated_variance(panel: pe.Panel) -> float:
    change, treated = change_of(panel)
    return float(change[~treated].var(ddof=1))


def overall(panel: pe.Panel, outcome: str) -> Estimate:
    return did.imputation(panel, outcome, pretrend=False).average()


def ratio(panel: pe.Panel, outcome: str) -> Estimate:
    return did.imputation(panel, outcome, family="poisson", pretrend=False).average()


def z_test_with(variance: float):
    """The same as a test: rejections only, and quick."""

    def method(panel: pe.Panel, outcome: str) -> Test:
        change, treated = change_of(panel)
        spread = np.sqrt(variance * (1 / treated.sum() + 1 / (~treated).sum()))
        z = (change[treated].mean() - change[~treated].mean()) / spread
        return Test("no effect", float(z), float(2 * stats.norm.sf(abs(z))), "normal")

    return method


def test_power_of_a_difference_of_means_is_the_closed_form() -> None:
    """Over random assignments of a fixed population the variance is S^2 (1/n1 + 1/n0) exactly, and the law normal."""
    panel = normal_panel()
    s2 = untreated_variance(panel)
    spread = np.sqrt(s2 * (1 / 30 + 1 / 140))
    effects = [-0.4, -0.8, -1.2]
    curve = resample.power(z_test_with(s2), panel, "rate", effects=effects, scale="identity", replicates=900, rng=5)
    z = stats.norm.ppf(0.975)
    for effect, row in zip([0.0, *effects], curve.table.to_dict("records"), strict=True):
        shift = effect / spread
        expected = stats.norm.cdf(-z + shift) + stats.norm.cdf(-z - shift)
        assert row["effect"] == effect
        assert row["areas"] == 30
        assert row["rejected"] == pytest.approx(expected, abs=3.5 * row["error"])
        assert row["error"] == pytest.approx(np.sqrt(row["rejected"] * (1 - row["rejected"]) / 900), rel=0.1)
    (found,) = curve.mde().to_dict("records")
    assert found["direction"] == "decrease"
    assert found["effect"] == pytest.approx(-(z + stats.norm.ppf(0.8)) * spread, abs=3.5 * found["error"])
    assert 0.005 < found["error"] < 0.05
    assert found["reason"] == ""


def test_estimates_cover_and_have_the_width_of_their_law() -> None:
    panel = normal_panel()
    s2 = untreated_variance(panel)
    spread = np.sqrt(s2 * (1 / 30 + 1 / 140))
    curve = resample.power(means_with(s2), panel, "rate", effects=[-0.8], replicates=150, rng=5)
    for effect, row in zip([0.0, -0.8], curve.table.to_dict("records"), strict=True):
        assert row["estimate"] == pytest.approx(effect, abs=4 * 1.2533 * spread / np.sqrt(150))
        assert row["coverage"] == pytest.approx(0.95, abs=3.5 * row["coverage_error"])
        assert row["width"] == pytest.approx(2 * stats.norm.ppf(0.975) * spread)  # the same in every replicate
        assert (row["given"], row["refused"]) == (1, 0)


def test_the_error_of_the_detectable_effect_is_its_spread() -> None:
    """Delta method against fresh replicates of a test whose power is known."""
    rng = np.random.default_rng(8)
    distances, z = np.array([1.0, 2.0, 3.0, 4.0]), stats.norm.ppf(0.975)
    values, errors = [], []
    for _ in range(400):
        draws = rng.normal(size=(300, 1))  # the same noise under every effect
        value, error, reason = detectable(distances, (distances + draws > z).astype(float), 0.8)
        assert reason == ""
        values.append(value)
        errors.append(error)
    assert np.mean(values) == pytest.approx(z + stats.norm.ppf(0.8), abs=4 * np.std(values) / 20)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


@pytest.mark.parametrize(
    ("shares", "reason"),
    [([0.1, 0.3, 0.6], "no effect tried is found that often (at most 60%)"), ([0.9, 0.95, 1.0], "the smallest effect")],
)
def test_a_detectable_effect_outside_the_grid_is_not_invented(shares: list[float], reason: str) -> None:
    rejected = (np.arange(100)[:, None] < 100 * np.array(shares)).astype(float)
    value, error, said = detectable(np.array([1.0, 2.0, 3.0]), rejected, 0.8)
    assert np.isnan(value)
    assert np.isnan(error)
    assert said.startswith(reason)


def test_pool_adjacent_violators_by_hand() -> None:
    assert non_decreasing(np.array([1.0, 3.0, 2.0, 4.0])).tolist() == [1, 2.5, 2.5, 4]
    assert non_decreasing(np.array([3.0, 2.0, 1.0])).tolist() == [2, 2, 2]


def test_effects_without_noise_come_back_exactly() -> None:
    for outcome, scale, method, effects in (
        ("level", "identity", overall, [-2.0, 0.5]),
        ("amount", "log", ratio, [0.5, 1.25]),
    ):
        table = staggered(n=60, noise=0.0)
        table["level"] = table["rate"]
        table["amount"] = np.exp(table["rate"])
        curve = resample.power(method, panel_of(table), outcome, effects=effects, replicates=3)
        assert curve.scale == scale
        assert curve.table["estimate"].tolist() == pytest.approx([0.0 if scale == "identity" else 1.0, *effects])


def fake(start: list[float], y: np.ndarray) -> pe.Panel:
    n, periods = y.shape
    table = pd.DataFrame({"area": np.repeat(np.arange(n), periods), "year": np.tile(np.arange(periods), n)})
    table["start"], table["y"] = np.repeat(start, periods), y.ravel()
    return pe.Panel(table, unit="area", time="year", cohort="start")


def test_thinned_counts_are_poisson_and_nested() -> None:
    """Y ~ Poisson(8): mean and variance are 8r for any ratio."""
    rng = np.random.default_rng(4)
    y = rng.poisson(8.0, size=(400, 60)).astype(float)
    panel = fake([1.0] * 399 + [np.inf], y)
    rates = rates_of(panel, "y")
    assert rates.phi < 0.005
    found = dict(planted(panel, "y", [0.4, 1.5, 0.7, 1.2], "log", rates, np.random.default_rng(9)))
    on = slice(1, None)
    cells = 399 * 59
    for effect, other in found.items():
        new = other.wide("y")
        assert (new == np.rint(new)).all()
        np.testing.assert_array_equal(new[:, 0], y[:, 0])  # before the start
        np.testing.assert_array_equal(new[-1], y[-1])  # never treated
        treated = new[:399, on]
        assert treated.mean() == pytest.approx(8 * effect, abs=4 * np.sqrt(8 * effect / cells))
        assert treated.var() == pytest.approx(8 * effect, rel=4 * np.sqrt(2.3 / cells))
    assert (found[0.4].wide("y") <= found[0.7].wide("y")).all()
    assert (found[0.7].wide("y") <= y).all()
    assert (found[1.5].wide("y") >= found[1.2].wide("y")).all()
    # what is kept and what is lost are independent: the mark of Poisson thinning
    kept = found[0.7].wide("y")[:399, on].ravel()
    lost = y[:399, on].ravel() - kept
    assert abs(np.corrcoef(kept, lost)[0, 1]) < 4 / np.sqrt(cells)
    assert panel.wide("y").sum() == y.sum()  # the panel itself is as it was
    assert panel.frame["y"].sum() == y.sum()
    assert found[0.7].frame["y"].sum() == found[0.7].wide("y").sum()


def test_added_events_keep_the_law_of_overdispersed_counts() -> None:
    """Rates gamma around unit means, squared coefficient of variation 0.1: variance r m + 0.1 (r m)^2 for any r."""
    rng = np.random.default_rng(6)
    mean = np.repeat([[4.0], [20.0], [100.0]], 200, axis=0)
    y = rng.poisson(mean * rng.gamma(10, 0.1, size=(600, 40))).astype(float)
    panel = fake([1.0] * 599 + [np.inf], y)
    rates = rates_of(panel, "y")
    assert rates.phi == pytest.approx(0.1, rel=0.05)
    found = dict(planted(panel, "y", [0.6, 1.4], "log", rates, np.random.default_rng(9)))
    for effect, other in found.items():
        new = other.wide("y")[:, 1:]
        for first in (0, 200):  # the last block holds the area without a start
            m = effect * float(mean[first, 0])
            block = new[first : first + 200]
            assert block.mean() == pytest.approx(m, rel=0.02)
            assert block.var() == pytest.approx(m + 0.1 * m**2, rel=0.06)


def test_rates_where_cells_are_missing_and_exposure_differs() -> None:
    """Noise-free counts of unit times period effects come back."""
    table = staggered(n=10, periods=6, starts={2004: 3}, noise=0.0)
    number = np.arange(10)[:, None]
    table["youth"] = (1_000.0 + 100 * (np.arange(60) % 7)).round()
    table["y"] = table["youth"] * (2.0 + np.repeat(number, 6)) * np.tile([1, 2, 3, 4, 5, 6], 10)
    panel = pe.Panel(table.drop(index=[1, 22, 40]), unit="area", time="year", cohort="start", never=0,
                     exposure="youth", missing="pairwise")  # fmt: skip
    panel = panel.for_outcome("y")
    rates = rates_of(panel, "y")
    np.testing.assert_allclose(rates.mean, panel.column("y"), rtol=1e-9)
    assert rates.phi == 0


def test_share_of_the_first_period_gets_that_share_of_the_effect() -> None:
    table = staggered(n=12, periods=4, starts={2002: 4}, noise=0.0)
    table["start"] = pd.to_datetime(
        table["start"].where(table["start"] > 0).map("{:.0f}-07-01".format, na_action="ignore")
    )
    table["year"] = pd.PeriodIndex(table["year"].astype(str), freq="Y")
    panel = pe.Panel(table, unit="area", time="year", cohort="start", never=None, partial_period="share")
    share = float(panel.share[0])
    assert 0.4 < share < 0.6
    ((_, other),) = planted(panel, "rate", [2.0], "identity", None, np.random.default_rng(0))
    gap = (other.wide("rate") - panel.wide("rate"))[0]
    assert gap.tolist() == pytest.approx([0, 0, 2 * share, 2])
    curve = resample.power(overall, panel, "rate", effects=[2.0], areas=2, replicates=3)
    assert curve.table["estimate"].tolist() == pytest.approx([0.0, 2.0])


def test_power_does_not_fall_with_the_effect_or_the_number_of_areas() -> None:
    """Law 103. The planted data are nested, so that within one test it holds without noise of its own."""
    panel = normal_panel(120, treated=10)
    s2 = untreated_variance(panel)
    effects = [-0.2, -0.5, -1.0, -1.5, -2.0]
    design = {"start": 2002, "areas": [4, 8, 16, 32], "scale": "identity"}
    curve = resample.power(z_test_with(s2), panel, "rate", effects=effects, **design, replicates=120, rng=2)
    table = curve.table.pivot(index="areas", columns="effect", values="rejected")[effects]
    assert table.index.tolist() == [4, 8, 16, 32]
    assert (np.diff(table.to_numpy(), axis=1) >= 0).all()
    error = curve.table["error"].max()
    assert (np.diff(table.to_numpy(), axis=0) >= -3 * error).all()
    assert (table.loc[32] - table.loc[4]).max() > 0.5
    detected = curve.mde().set_index("areas")["effect"].abs()
    assert detected.loc[8] > detected.loc[16] > detected.loc[32]


def test_who_gets_a_start() -> None:
    """Treated areas are gone, the waves are those of the programme, and only eligible areas are drawn."""
    panel = panel_of(staggered())
    pool = [f"a{i:03d}" for i in range(15, 40)]
    seen: list[pd.Series] = []

    def look(given: pe.Panel, outcome: str) -> Test:
        seen.append(pd.Series(given.cohort, index=given.units))
        return Test("none", 0.0, 0.5, "none")

    with pytest.warns(PmgEvalWarning, match="PMG-SMALL-POOL"):
        resample.power(look, panel, "rate", effects=[1.0], eligible=pool, scale="identity", replicates=20)
    assert len(seen) == 40  # no effect, and one
    drawn = set()
    for cohort in seen:
        assert cohort.index.tolist() == [f"a{i:03d}" for i in range(11, 40)]
        assert cohort[np.isfinite(cohort)].value_counts().to_dict() == {2004.0: 6, 2006.0: 5}
        drawn |= set(cohort.index[np.isfinite(cohort)])
    assert drawn == set(pool)
    seen.clear()
    resample.power(look, panel, "rate", effects=[1.0], planned=True, start={2003: 2, 2005: 1}, scale="identity",
                   replicates=30)  # fmt: skip
    assert {unit for cohort in seen for unit in cohort.index[np.isfinite(cohort)]} & {f"a{i:03d}" for i in range(11)}
    assert all(len(cohort) == 40 for cohort in seen)
    assert all(cohort[np.isfinite(cohort)].value_counts().to_dict() == {2003.0: 2, 2005.0: 1} for cohort in seen)


def test_the_same_bits_for_any_number_of_processes_and_after_an_interruption(tmp_path: Path) -> None:
    panel = panel_of(counts(n=40, periods=6))
    options = {"effects": [0.8, 1.2], "start": 2005, "areas": [3, 6], "rng": 4}
    plain = resample.power(ratio, panel, "suspects", replicates=6, **options)
    two = resample.power(ratio, panel, "suspects", replicates=6, n_jobs=2, **options)
    pd.testing.assert_frame_equal(plain.table, two.table, check_exact=True)
    path = tmp_path / "power.jsonl"
    resample.power(ratio, panel, "suspects", replicates=4, checkpoint=path, **options)
    told: list[tuple[str, int, int]] = []
    with listening(lambda *message: told.append(message)):
        resumed = resample.power(ratio, panel, "suspects", replicates=6, checkpoint=path, **options)
    assert told == [("placebo programmes", done, 6) for done in (4, 5, 6)]
    pd.testing.assert_frame_equal(plain.table, resumed.table, check_exact=True)
    with pytest.raises(DataError, match="PMG-CHECKPOINT"):
        resample.power(ratio, panel, "suspects", replicates=6, checkpoint=path, **{**options, "effects": [0.8, 1.3]})
    assert plain.provenance.options["areas"] == [3, 6]
    assert plain.provenance.seed == 4


def test_a_refusal_finds_nothing_and_is_listed() -> None:
    panel = normal_panel(60, treated=5)

    def sometimes(given: pe.Panel, outcome: str) -> Estimate:
        if change_of(given)[0][np.isfinite(given.cohort)].mean() < -0.6:
            raise DesignError("PMG-NO", "too low for me")
        return means_with(1e-6)(given, outcome)

    curve = resample.power(sometimes, panel, "rate", effects=[-1.0], replicates=60)
    null, effect = curve.table.to_dict("records")
    assert null["refused"] < effect["refused"] < 1
    assert effect["rejected"] == pytest.approx(1 - effect["refused"])
    assert effect["given"] == pytest.approx(1 - effect["refused"])
    assert curve.refusals["reason"].unique().tolist() == ["PMG-NO: too low for me"]
    assert curve.refusals["replicates"].sum() == round(60 * (null["refused"] + effect["refused"]))

    def never(given: pe.Panel, outcome: str) -> Estimate:
        raise DesignError("PMG-NO", "never")

    with pytest.raises(InferenceError, match="PMG-REFUSED"):
        resample.power(never, panel, "rate", effects=[-1.0], scale="identity", replicates=3)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"effects": [0.0]}, "PMG-EFFECTS"),
        ({"effects": []}, "PMG-EFFECTS"),
        ({"effects": [1.0, 1.0]}, "PMG-EFFECTS"),
        ({"effects": [np.inf]}, "PMG-EFFECTS"),
        ({"effects": [-1.0], "scale": "log"}, "PMG-EFFECTS"),
        ({"scale": "probit"}, "PMG-OPTION"),
        ({"areas": 5}, "PMG-OPTION"),
        ({"start": 2004, "areas": 0}, "PMG-OPTION"),
        ({"start": 2004, "areas": 2.5}, "PMG-OPTION"),
        ({"start": {2004: 2}, "areas": 2}, "PMG-OPTION"),
        ({"start": {2004: True}}, "PMG-OPTION"),
        ({"start": 2000}, "PMG-START"),
        ({"start": 2009}, "PMG-START"),
        ({"start": "soon"}, "PMG-TIME-TYPE"),
        ({"start": 2004, "areas": 49}, "PMG-POOL"),
        ({"eligible": ["nowhere"]}, "PMG-POOL"),
        ({"eligible": ["a020"]}, "PMG-POOL"),  # one area for eleven
        ({"alpha": 0.0}, "PMG-LEVEL"),
        ({"replicates": 1}, "PMG-DRAWS"),
        ({"n_jobs": 0}, "PMG-JOBS"),
    ],
)
def test_options_that_cannot_be(options: dict, code: str) -> None:
    with pytest.raises((DataError, DesignError), match=code):
        resample.power(overall, panel_of(staggered(n=60)), "rate", **{"effects": [1.0], "replicates": 2, **options})


def test_methods_that_cannot_be() -> None:
    panel = panel_of(staggered(n=80))
    with pytest.raises(DataError, match="PMG-ONE-TERM"):
        resample.power(did.imputation, panel, "rate", effects=[1.0], replicates=2)
    with pytest.raises(DataError, match="PMG-PLANT-SCALE"):
        resample.power(lambda *_: Test("none", 0.0, 0.5, "none"), panel, "rate", effects=[1.0], replicates=2)
    with pytest.raises(DataError, match="PMG-PANEL"):
        resample.power(overall, staggered(), "rate", effects=[1.0], replicates=2)


def test_warnings_of_the_method_stay_inside_and_the_panel_s_come_once() -> None:
    def loud(panel: pe.Panel, outcome: str) -> Estimate:
        pe.errors.warn("PMG-FEW-PLACEBOS", "few")
        return overall(panel, outcome)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resample.power(loud, panel_of(staggered(n=80)), "rate", effects=[1.0], replicates=2)


def test_areas_that_start_after_the_last_period_stay_and_are_never_drawn() -> None:
    table = staggered()
    late = table["area"] >= "a030"
    table.loc[late, "start"] = 2015
    ground = ground_of(panel_of(table), start=2005, areas=3, eligible=None, planned=False)
    assert ground.panel.n_units == 29
    assert ground.pool.tolist() == list(range(19))
    assert ground.panel.cohort[19:].tolist() == [2015.0] * 10


def test_a_panel_with_other_values() -> None:
    table = counts(n=12, periods=4, starts={2002: 3})
    table["suspects"] = table["suspects"].astype(float)
    table.loc[30, "suspects"] = np.nan
    panel = panel_of(table, missing="pairwise").for_outcome("suspects")
    new = panel.column("suspects") + 1
    other = panel.with_values("suspects", new)
    np.testing.assert_array_equal(other.column("suspects"), new)
    np.testing.assert_array_equal(other.frame["suspects"], new)
    np.testing.assert_array_equal(other.wide("suspects"), panel.wide("suspects") + 1)
    np.testing.assert_array_equal(other.wide("youth"), panel.wide("youth"))
    assert other.fingerprint != panel.fingerprint
    assert other.with_values("suspects", panel.column("suspects")).fingerprint == panel.fingerprint
    whole = panel_of(counts(n=12, periods=4, starts={2002: 3}))
    assert whole.with_values("suspects", whole.column("suspects") * 2).frame["suspects"].dtype.kind == "i"
    assert whole.with_values("suspects", whole.column("suspects") / 2).frame["suspects"].dtype.kind == "f"
    for name, values, code in (
        ("youth", new, "PMG-ROLES"),
        ("suspects", new[1:], "PMG-SHAPE"),
        ("x", new, "PMG-COLUMN"),
    ):
        with pytest.raises(DataError, match=code):
            panel.with_values(name, values)
