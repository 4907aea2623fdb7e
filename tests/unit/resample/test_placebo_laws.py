"""Laws of placebos: unscaled, matched in size, scaled; and what single areas with few events are told."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from pmg_eval import did, resample
from pmg_eval.errors import DataError, DesignError, PmgEvalWarning
from pmg_eval.estimate import Estimate
from pmg_eval.resample import Plain, SizeMatched, SizeModel
from pmg_eval.resample._placebo_rare import intraclass, ratio_interval
from unit.resample.differences import differences, noise_panel, paths
from unit.resample.panels import counts, panel_of, staggered

imputed = partial(did.imputation, pretrend=False)
ratios = partial(did.imputation, pretrend=False, family="poisson")


def quiet(*args, **options) -> Estimate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)
        return resample.placebo(*args, **{"draws": 1_999, **options})


# --- Conley and Taber ------------------------------------------------------------------------------------------------


def test_conley_taber_by_hand() -> None:
    """Changes 5 (treated) and 1, 2, 4, 9: effect 5 - 4; placebos 1 - 5, 2 - 14/3, 4 - 4, 9 - 7/3."""
    panel = noise_panel(np.array([[0.0, 5], [0, 1], [0, 2], [0, 4], [0, 9]]), {0: 1})
    with pytest.warns(PmgEvalWarning, match="4 placebo areas"):
        found = resample.placebo(differences, panel, "rate", law="conley_taber", draws=1_000)
    assert found.values.tolist() == [1.0]
    assert_allclose(found.details.placebos["effect"], [-4, -8 / 3, 0, 20 / 3], atol=1e-12)
    assert found.details.checks["p_plain"].tolist() == [4 / 5]  # three of four are as large, and itself
    frame = found.to_frame(0.8)
    assert frame["p_value"][0] == pytest.approx(4 / 5)  # its rank among the placebos and itself
    assert_allclose(frame[["conf_low", "conf_high"]], [[1 - 20 / 3, 1 + 20 / 3]])
    assert_allclose(found.to_frame(0.5)[["conf_low", "conf_high"]], [[1 - 4, 1 + 4]])
    assert found.to_frame(0.81)["conf_low"].isna().all()  # p_min is 1/5
    assert_allclose(found.terms["p_min"], 1 / 5)
    assert found.terms["method"][0] == "placebo law, unscaled, by inversion"
    assert found.details.checks["p_error"][0] == pytest.approx(4 / 5 * np.sqrt(3 / 4 * 1 / 4 / 1_000))
    assert found.details.variance["b"].tolist() == [0]
    assert "a + b/size" not in " ".join(found.provenance.assumptions)


def test_unscaled_and_scaled_are_the_same_for_areas_of_one_size() -> None:
    panel = panel_of(staggered(n=60, starts={2005: 3}))
    named, plain, scaled = (quiet(imputed, panel, "rate", law=law) for law in ("conley_taber", Plain(), SizeModel()))
    assert np.array_equal(named.uncertainty.errors, plain.uncertainty.errors)
    assert_allclose(plain.uncertainty.errors, scaled.uncertainty.errors, rtol=1e-9)
    assert scaled.provenance.options["placebo"]["law"] == "SizeModel()"
    assert named.provenance.digest == plain.provenance.digest != scaled.provenance.digest


# --- matched in size -------------------------------------------------------------------------------------------------


def sized(treated: int, size: float, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(treated)
    people = np.exp(np.linspace(0, 4, n))
    people[:treated] = size
    return rng.normal(size=(n, 6)) / np.sqrt(people)[:, None], people


def test_matched_placebos_are_the_nearest_in_log_size() -> None:
    values, people = sized(1, 20.0)
    found = quiet(differences, noise_panel(values, {0: 3}, people), "rate", law=SizeMatched(n=25), draws=1_000)
    near = np.argsort(np.abs(np.log(people[1:] / 20)), kind="stable")[:25]
    effect = paths(values, 3, np.arange(1, 80)).mean(axis=1)[near]
    assert_allclose(np.unique(found.uncertainty.errors), np.sort(effect))
    assert found.terms["n_placebo"].tolist() == [25]
    assert_allclose(found.terms["p_min"], 1 / 26)
    assert found.terms["method"][0] == "placebo law, 25 nearest in size, by inversion"
    cells = quiet(
        differences, noise_panel(values, {0: 3}, people), "rate", by="cell", law=SizeMatched(n=25), draws=1_000
    )
    assert_allclose(np.unique(cells.uncertainty.errors[:, 1]), np.sort(paths(values, 3, np.arange(1, 80))[near, 1]))
    assert (cells.terms["n_placebo"] == 25).all()


def test_the_matched_interval_stands_beside_the_scaled_one() -> None:
    values, people = sized(1, 20.0)
    panel = noise_panel(values, {0: 3}, people)
    check = quiet(differences, panel, "rate").details.checks.iloc[0]
    near = np.argsort(np.abs(np.log(people[1:] / 20)), kind="stable")[:60]
    effect = np.sort(np.abs(paths(values, 3, np.arange(1, 80)).mean(axis=1)[near]))
    own = differences(panel, "rate").values.mean()
    half = effect[58 - 1]  # 0.95 x 61 = 57.95
    assert_allclose(check[["matched_low", "matched_high"]].astype(float), [own - half, own + half])
    assert check["p_size_matched"] == pytest.approx((1 + (effect >= abs(own)).sum()) / 61)
    assert (check["p_size_matched"] <= 0.05) == (check["matched_low"] > 0 or check["matched_high"] < 0)
    few = quiet(differences, noise_panel(values[:16], {0: 3}, people[:16]), "rate").details.checks
    assert few[["matched_low", "matched_high"]].isna().all().all()
    ratio = quiet(ratios, panel_of(counts(n=50, starts={2005: 2})), "suspects")
    half = np.log(ratio.details.checks["matched_high"] / ratio.values)
    assert_allclose(half, np.log(ratio.values / ratio.details.checks["matched_low"]))


def test_matched_pools_too_small_for_several_areas_are_refused() -> None:
    values, people = sized(8, 20.0, n=90)
    panel = noise_panel(values, dict.fromkeys(range(8), 3), people)
    with pytest.raises(DesignError, match="PMG-MATCHED-POOL") as caught:
        quiet(differences, panel, "rate", law=SizeMatched(n=23))
    assert "SizeMatched(n=24)" in str(caught.value)
    assert len(quiet(differences, panel, "rate", law=SizeMatched(n=24))) == 8
    assert len(quiet(differences, panel, "rate", law="size_matched")) == 8  # 60 of 82
    alone = noise_panel(values, {0: 3}, people)
    assert quiet(differences, alone, "rate", law=SizeMatched(n=19)).to_frame()["conf_low"].notna().all()


def test_unknown_laws_are_refused() -> None:
    panel = noise_panel(*sized(1, 20.0)[:1], {0: 3})
    for law in ("nearest", None, SizeMatched):
        with pytest.raises(DataError, match="PMG-OPTION"):
            quiet(differences, panel, "rate", law=law)
    for n in (18, 25.0, True):
        with pytest.raises(DataError, match="PMG-OPTION"):
            SizeMatched(n=n)


def test_p_values_of_an_area_without_an_effect_are_uniform() -> None:
    """200 panels of 121 areas with noise that shrinks with size: Kolmogorov-Smirnov at 1e-4, as for all laws."""
    rng = np.random.default_rng(17)
    people = np.exp(rng.normal(0, 1, 121))
    fixed = noise_panel(np.zeros((121, 3)), {0: 2}, people)
    found = []
    for _ in range(200):
        noise = rng.standard_normal((121, 3)) * np.sqrt(0.3 + 1 / people)[:, None]
        areas = resample.placebo(differences, fixed.with_values("rate", noise.ravel()), "rate", draws=960)
        found.append((areas.to_frame()["p_value"][0], areas.details.checks["p_size_matched"][0]))
    for p in np.array(found).T:
        assert stats.kstest(p, "uniform").pvalue > 1e-4
        assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 200))


# --- few events ------------------------------------------------------------------------------------------------------


def test_the_exact_interval_is_that_of_a_binomial_share() -> None:
    """The ratio of R's poisson.test(c(11, 21), c(800, 3011)), and scipy's Clopper-Pearson for many others."""
    low, high = ratio_interval(11, 21, 800 / 3011, 0.0)
    assert_allclose((low, high), (0.8584264, 4.2772659), rtol=1e-6)
    for after, before in ((0, 5), (3, 0), (1, 7), (20, 4)):
        exact = stats.binomtest(after, after + before).proportion_ci(0.95, method="exact")
        odds = [share / (1 - share) / 0.4 if share < 1 else np.inf for share in (exact.low, exact.high)]
        assert_allclose(ratio_interval(after, before, 0.4, 0.0), odds, rtol=1e-9)
    assert ratio_interval(0, 0, 0.4, 0.0) == (0.0, np.inf)


def test_the_overdispersed_interval_inverts_beta_binomial_tails() -> None:
    for after, before, r in ((2, 6, 0.05), (0, 9, 0.2), (7, 1, 0.01), (4, 0, 0.1)):
        total, growth = after + before, 0.5
        low, high = ratio_interval(after, before, growth, r)
        k, scale = np.arange(total + 1), (1 - r) / r

        def mass(ratio, k=k, total=total, growth=growth, scale=scale) -> np.ndarray:
            share = ratio * growth / (1 + ratio * growth)
            return stats.betabinom.pmf(k, total, share * scale, (1 - share) * scale)

        exact = ratio_interval(after, before, growth, 0.0)
        if after > 0:
            assert mass(low)[after:].sum() == pytest.approx(0.025, rel=1e-6)
        if before > 0 and high > exact[1]:
            assert mass(high)[: after + 1].sum() == pytest.approx(0.025, rel=1e-6)
        assert low <= exact[0]
        assert high >= exact[1]
        assert (high > exact[1]) == (before > 1)  # at 7 of 8 events more mass lies on 8 of 8
        assert_allclose(ratio_interval(after, before, growth, 1e-6), exact, rtol=1e-4)
        assert ratio_interval(after, before, growth, 1e-9) == exact  # below that, rounding


def test_intraclass_correlation() -> None:
    """Equal totals: Williams' equation is linear. Binomial counts have none; beta-binomial ones give theirs back."""
    after, total, share = np.array([9.0, 1, 6, 2]), np.full(4, 10.0), np.full(4, 0.5)
    square = ((after - 5) ** 2 / 2.5).mean()
    assert intraclass(after, total, share) == pytest.approx((square - 1) / 9)
    assert intraclass(np.array([5.0, 4, 6, 5]), total, share) == 0
    rng = np.random.default_rng(2)
    for r in (0.01, 0.1):
        total = rng.integers(5, 200, 4_000).astype(float)
        share = rng.uniform(0.2, 0.6, 4_000)
        drawn = rng.binomial(total.astype(int), rng.beta(share * (1 - r) / r, (1 - share) * (1 - r) / r))
        assert intraclass(drawn.astype(float), total, share) == pytest.approx(r, rel=0.15)


def test_rare_areas_are_described() -> None:
    """Comparison counts double after the start, so that B events before mean 2 B x 4/5 expected in the four years."""
    table = counts(n=60, starts={2005: 4})
    after, treated = table["year"] >= 2005, table["start"] > 0
    table["youth"] = 1_000
    table["suspects"] = np.where(after, 20, 10)
    for area, values in (
        ("a000", [1, 0, 1, 0, 1, 2, 0, 1, 0]),
        ("a001", [0, 0, 0, 0, 0, 1, 0, 0, 0]),
        ("a002", [3, 3, 3, 3, 3, 0, 0, 0, 0]),
    ):
        table.loc[table["area"] == area, "suspects"] = values
    bump = np.random.default_rng(0).integers(0, 3, len(table))
    table["suspects"] = table["suspects"].mask(~treated, table["suspects"] + bump - bump.mean().round().astype(int))
    level = table[~treated].groupby(after)["suspects"].sum()
    growth = level[True] / level[False]
    found = quiet(ratios, panel_of(table), "suspects")
    rare = found.details.rare.set_index("unit")
    assert rare.index.tolist() == ["a000", "a001", "a002"]
    assert rare["events_before"].tolist() == [3, 0, 15]
    assert rare["events_after"].tolist() == [3, 1, 0]
    assert_allclose(rare["expected_after"], np.array([3, 0, 15]) * growth)
    assert_allclose(rare["rate_ratio"], [1 / growth, np.nan, 0])
    assert rare["rate_ratio"]["a000"] == pytest.approx(found.values[0])
    share = stats.binomtest(3, 6).proportion_ci(0.95, method="exact")
    assert_allclose(
        rare.loc["a000", ["exact_low", "exact_high"]].astype(float),
        [share.low / (1 - share.low) / growth, share.high / (1 - share.high) / growth],
    )
    assert rare.loc["a001", "exact_high"] == np.inf
    assert (rare["exact_low"] >= rare["overdispersed_low"]).all()
    assert (rare["exact_high"] <= rare["overdispersed_high"]).all()
    assert (rare["dispersion"] >= 1).all()
    frame = found.to_frame().set_index("unit")
    assert frame.loc[rare.index, "conf_low"].isna().all()
    assert frame.loc[["a000", "a002"], "status"].str.contains("details.rare").all()
    assert len(quiet(imputed, panel_of(staggered(n=50)), "rate").details.rare) == 0


def test_counts_that_vary_more_than_poisson_widen_the_second_interval() -> None:
    rng = np.random.default_rng(5)
    table = counts(n=80, starts={2005: 1}, level=0.02)
    factor = pd.Series(rng.gamma(4, 0.25, 160), index=range(160))
    key = table["area"].str[1:].astype(int) * 2 + (table["year"] >= 2005)
    wild = table.assign(suspects=np.round(table["suspects"] * key.map(factor)).astype(int))
    for each in (table, wild):
        each.loc[each["area"] == "a000", "suspects"] = [1, 0, 1, 0, 1, 2, 0, 1, 0]
    calm, noisy = (quiet(ratios, panel_of(t), "suspects").details.rare.iloc[0] for t in (table, wild))
    assert noisy["dispersion"] > 1.1 > calm["dispersion"] >= 1
    assert calm["exact_high"] == pytest.approx(noisy["exact_high"], rel=0.3)
    assert noisy["overdispersed_high"] / noisy["exact_high"] > calm["overdispersed_high"] / calm["exact_high"]
