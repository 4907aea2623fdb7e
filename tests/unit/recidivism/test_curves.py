"""Kaplan-Meier and cumulative incidence: horizons, refusals, intervals, contrasts, robust variances."""

from __future__ import annotations

import json
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pmg_eval import recidivism
from pmg_eval.errors import DataError, DesignError, InferenceError, PmgEvalError, PmgEvalWarning
from pmg_eval.estimate import Estimate
from pmg_eval.panel import Spells
from pmg_eval.recidivism import _bounds, _curves, _robust
from pmg_eval.recidivism._risk import curve, risk_table
from unit.estimate.schemas import problems

pytestmark = pytest.mark.filterwarnings("ignore:.PMG-FEW-AT-RISK")


def frame(n: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    out = pd.DataFrame({"id": np.arange(n), "cohort": rng.choice([2019, 2020, 2021], n)})
    out["days"] = np.minimum(rng.geometric(0.002, n), np.where(out["cohort"] == 2021, 400, 800))
    out["new"] = (out["days"] < np.where(out["cohort"] == 2021, 400, 800)) & (rng.random(n) < 0.8)
    out["why"] = np.where(out["new"], rng.choice(["recidivism", "death"], n, p=[0.8, 0.2]), None)
    out["area"], out["w"] = rng.integers(0, 12, n), rng.uniform(0.5, 2, n)
    return out.astype({"new": int})


def spells(df: pd.DataFrame | None = None, **roles: Any) -> Spells:
    return Spells(frame() if df is None else df, **{"person": "id", "exit": "days", "event": "new", **roles})


def error(call: Any) -> PmgEvalError:
    with pytest.raises(PmgEvalError) as caught:
        call()
    return caught.value


# ---- horizons --------------------------------------------------------------------------------------------------------


def test_two_years_is_730_days_and_says_so() -> None:
    found = recidivism.kaplan_meier(spells(), horizons="2y")
    assert found.terms["horizon"].tolist() == [730]
    assert found.provenance.options["horizons"] == [730]
    assert found.values == recidivism.kaplan_meier(spells(), horizons=730).values
    for unit, days in (("weeks", 104), ("months", 24), ("years", 2)):
        long = Spells(frame().assign(days=frame()["days"] % 140), person="id", exit="days", event="new", time_unit=unit,
                      same_day="count")  # fmt: skip
        assert recidivism.kaplan_meier(long, horizons="2y").terms["horizon"].tolist() == [days]


def test_default_horizons() -> None:
    """Whole years that half of the groups reach with ten at risk, and the last day up to which all are followed."""
    found = recidivism.kaplan_meier(spells(group="cohort"))
    assert sorted(set(found.terms["horizon"])) == [365, 400, 730]  # 2021 ends at 400, the other two at 800
    assert found.where(group=2021, horizon=730).terms["status"].item().endswith("ends at 400 days")
    assert recidivism.kaplan_meier(spells()).terms["horizon"].tolist() == [365, 730, 800]
    old = frame().assign(cohort=lambda d: d["cohort"].clip(2020))
    assert sorted(set(recidivism.kaplan_meier(spells(old, group="cohort")).terms["horizon"])) == [365, 400, 730]
    young = frame().assign(days=lambda d: d["days"].clip(upper=390), new=lambda d: d["new"].where(d["days"] < 390, 0))
    assert recidivism.kaplan_meier(spells(young)).terms["horizon"].tolist() == [365, 390]
    months = Spells(
        frame().assign(days=frame()["days"] // 31 + 1), person="id", exit="days", event="new", time_unit="months"
    )
    assert recidivism.kaplan_meier(months).terms["horizon"].tolist() == [12, 24, 26]


def test_default_horizons_of_very_many_groups() -> None:
    df = pd.DataFrame({"id": range(1200), "g": range(1200), "days": 800, "new": 0})
    assert set(recidivism.kaplan_meier(spells(df, group="g")).terms["horizon"]) == {730}


@pytest.mark.parametrize("horizons", [-1, 1.5, "two years", "y", True, [], [30, "x"], None])
def test_horizons_that_are_none(horizons: Any) -> None:
    if horizons is None:
        assert error(lambda: recidivism.prevalence(spells(), horizon=None)).code == "PMG-HORIZON-TYPE"  # type: ignore[arg-type]
    else:
        assert error(lambda: recidivism.kaplan_meier(spells(), horizons=horizons)).code == "PMG-HORIZON-TYPE"


def test_a_two_year_figure_of_a_one_year_cohort_is_refused() -> None:
    """Another package carries the plateau forward: 0.19 where complete cohorts have 0.30."""
    young = spells(frame().query("cohort == 2021"))
    for estimator in (recidivism.kaplan_meier, recidivism.cumulative_incidence):
        caught = error(lambda e=estimator: e(young, horizons="2y"))
        assert isinstance(caught, InferenceError)
        assert caught.code == "PMG-HORIZON"
        assert caught.where == ("all: 400 days",)
    both = recidivism.kaplan_meier(spells(group="cohort"), horizons="2y")
    last = both.to_frame().iloc[-1]
    assert np.isnan(last[["estimate", "std_error", "conf_low", "conf_high"]].to_numpy(dtype=float)).all()
    assert last["status"] == "not identified: follow-up of this group ends at 400 days"
    assert np.isfinite(both.values[:2]).all()
    assert both.details.curves.query("group == 2021")["time"].max() == 400


def test_known_for_ever_once_everybody_had_the_event() -> None:
    df = pd.DataFrame({"id": range(12), "days": [1, 2, 3, 3] * 3, "new": 1})
    found = recidivism.kaplan_meier(spells(df), horizons=[3, 9999]).to_frame()
    assert found["estimate"].tolist() == [1.0, 1.0]
    assert found["status"].tolist() == ["everybody had the event: exact lower limit"] * 2
    np.testing.assert_allclose(found["conf_low"], 0.025 ** (1 / 12), rtol=1e-12)
    cut = recidivism.kaplan_meier(spells(df.assign(new=[0, *[1] * 11])), horizons=3).to_frame()
    assert cut["status"].tolist() == ["everybody had the event or was censored: no interval"]
    assert cut[["std_error", "conf_low", "conf_high"]].isna().all(axis=None)


def test_few_at_risk() -> None:
    df = pd.DataFrame({"id": range(20), "days": [10] * 15 + [20] * 5, "new": [1, 0] * 10})
    with pytest.warns(PmgEvalWarning, match=r"PMG-FEW-AT-RISK.*all at 20"):
        found = recidivism.kaplan_meier(spells(df), horizons=[10, 20])
    assert found.terms["status"].tolist() == ["", "few at risk: 5"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody asked for day 20
        assert recidivism.kaplan_meier(spells(df)).terms["status"].tolist() == ["few at risk: 5"]


# ---- starts ----------------------------------------------------------------------------------------------------------


def test_start_is_a_ratio_of_survivals() -> None:
    whole = 1 - recidivism.kaplan_meier(spells(), horizons=[100, 300]).values
    found = recidivism.kaplan_meier(spells(), horizons=300, start=100)
    assert 1 - found.values[0] == pytest.approx(whole[1] / whole[0], rel=1e-14)
    late = frame().query("days > 100").assign(start=100)
    np.testing.assert_allclose(
        found.se, recidivism.kaplan_meier(spells(late, entry="start"), horizons=300, start=100).se, rtol=1e-12
    )
    assert found.terms["n_persons"].tolist() == [len(late)]
    assert found.provenance.options["start"] == 100
    robust = recidivism.kaplan_meier(spells(), horizons=300, start=100, variance="robust")
    np.testing.assert_allclose(robust.se, found.se, rtol=1e-12)


def test_start_of_cumulative_incidence() -> None:
    data = spells(cause="why")
    begun = recidivism.cumulative_incidence(data, horizons=[100, 300])
    free = 1 - begun.where(horizon=100).values.sum()
    found = recidivism.cumulative_incidence(data, horizons=300, start=100)
    rise = begun.where(horizon=300).values - begun.where(horizon=100).values
    np.testing.assert_allclose(found.values, rise / free, rtol=1e-13)


def test_start_that_cannot_be() -> None:
    assert error(lambda: recidivism.kaplan_meier(spells(), horizons=50, start=100)).code == "PMG-HORIZON-TYPE"
    assert error(lambda: recidivism.kaplan_meier(spells(), horizons=5000, start=3000)).code == "PMG-HORIZON"


def test_nobody_at_risk_at_first() -> None:
    """Everybody enters on day 3: the share since day 0 is not identified, that since day 3 is."""
    df = frame().assign(start=3, days=frame()["days"] + 3)
    caught = error(lambda: recidivism.kaplan_meier(spells(df, entry="start"), horizons=103))
    assert caught.code == "PMG-EMPTY-RISK-SET"
    assert "start=3" in caught.fix
    found = recidivism.kaplan_meier(spells(df, entry="start"), horizons=103, start=3)
    np.testing.assert_allclose(found.values, recidivism.kaplan_meier(spells(), horizons=100).values, rtol=1e-14)


def test_a_hole_in_the_middle() -> None:
    df = pd.DataFrame(
        [(1, 0, 4, 0), (2, 0, 5, 1), (3, 0, 6, 0), (4, 9, 12, 1), (5, 9, 15, 0)], columns=["id", "start", "days", "new"]
    )
    with pytest.warns(PmgEvalWarning, match=r"PMG-EMPTY-RISK-SET.*start=9"):
        found = recidivism.kaplan_meier(spells(df, entry="start"), horizons=[5, 6, 7, 12])
    assert found.values[:2].tolist() == [0.5, 0.5]
    assert np.isnan(found.values[2:]).all()
    assert found.terms["status"][2].startswith("the risk set was empty on day 7 and others entered later: start=9")
    assert found.details.curves["time"].tolist() == [5, 6]
    after = recidivism.kaplan_meier(spells(df, entry="start"), horizons=12, start=9)
    assert after.values.tolist() == [0.5]


# ---- causes ----------------------------------------------------------------------------------------------------------


def test_kaplan_meier_needs_its_event() -> None:
    caught = error(lambda: recidivism.kaplan_meier(spells(cause="why")))
    assert caught.code == "PMG-CAUSE"
    assert "cumulative_incidence" in caught.fix
    with pytest.warns(PmgEvalWarning, match=r"PMG-COMPETING.*cumulative_incidence"):
        found = recidivism.kaplan_meier(spells(cause="why"), cause="recidivism", horizons=700)
    assert "exits by other causes" in found.provenance.notes[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # on day 5 hardly anybody has died
        recidivism.kaplan_meier(spells(cause="why"), cause="recidivism", horizons=5)
    df = frame().assign(new=(frame()["why"] == "recidivism").astype(int))
    np.testing.assert_array_equal(found.values, recidivism.kaplan_meier(spells(df), horizons=700).values)
    either = recidivism.kaplan_meier(spells(cause="why"), cause=["death", "recidivism"], horizons=300)
    assert either.terms["outcome"].tolist() == ["death or recidivism"]
    np.testing.assert_array_equal(either.values, recidivism.kaplan_meier(spells(), horizons=300).values)


def test_few_competing_exits_are_a_note() -> None:
    df = frame()
    one = df.index[(df["why"] == "death") & (df["days"] < 300)][0]
    df.loc[(df["why"] == "death") & (df.index != one), ["new", "why"]] = [0, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = recidivism.kaplan_meier(spells(df, cause="why"), cause="recidivism", horizons=300)
    assert "up to 0.5% of a group" in found.provenance.notes[-1]


def test_causes_asked_for() -> None:
    data = spells(cause="why")
    whole = recidivism.cumulative_incidence(data, horizons=[100, 300])
    assert whole.terms["outcome"].tolist() == ["death", "death", "recidivism", "recidivism"]
    one = recidivism.cumulative_incidence(data, cause="recidivism", horizons=[100, 300])
    np.testing.assert_array_equal(one.values, whole.where(outcome="recidivism").values)
    np.testing.assert_allclose(one.cov(), whole.where(outcome="recidivism").cov(), rtol=1e-14)
    assert error(lambda: recidivism.cumulative_incidence(data, cause="murder")).code == "PMG-CAUSE"
    assert error(lambda: recidivism.cumulative_incidence(data, cause=[])).code == "PMG-CAUSE"
    assert error(lambda: recidivism.cumulative_incidence(data, cause=["death", "death"])).code == "PMG-CAUSE"
    assert error(lambda: recidivism.cumulative_incidence(data, cause=1)).code == "PMG-CAUSE"  # type: ignore[arg-type]
    assert error(lambda: recidivism.cumulative_incidence(data, variance="greenwood")).code == "PMG-OPTION"  # type: ignore[arg-type]
    assert error(lambda: recidivism.kaplan_meier(data, variance="delta")).code == "PMG-OPTION"  # type: ignore[arg-type]


# ---- laws of the error -----------------------------------------------------------------------------------------------


def multinomial_covariance(df: pd.DataFrame, times: list[int], aalen: bool = False) -> np.ndarray:
    """Sum over days and causes of derivative x covariance x derivative, one by one, by numerical derivatives."""
    causes = ["death", "recidivism"]
    days = sorted(df.loc[df["new"] == 1, "days"].unique())
    at_risk = np.array([(df["days"] >= day).sum() for day in days], dtype=float)
    events = np.array([[((df["days"] == day) & (df["why"] == c)).sum() for c in causes] for day in days], dtype=float)

    def incidence(share: np.ndarray) -> np.ndarray:
        free = np.concatenate([[1.0], np.cumprod(1 - share.sum(axis=1))])[:-1]
        total = np.cumsum(free[:, None] * share, axis=0)
        places = np.searchsorted(days, times, side="right") - 1
        return np.concatenate([np.where(places >= 0, total[places, k], 0.0) for k in range(2)])

    share, step = events / at_risk[:, None], 1e-6
    cov = np.zeros((2 * len(times),) * 2)
    for s in range(len(days)):
        slopes = []
        for k in range(2):
            moved = [share.copy(), share.copy()]
            moved[0][s, k] += step
            moved[1][s, k] -= step
            slopes.append((incidence(moved[0]) - incidence(moved[1])) / (2 * step))
        own = (np.diag(share[s]) - np.outer(share[s], share[s])) / at_risk[s]
        if aalen:
            own = np.diag((at_risk[s] - events[s]) / max(at_risk[s] - 1, 1) * events[s] / at_risk[s] ** 2)
        cov += np.array(slopes).T @ own @ np.array(slopes)
    return cov


@pytest.mark.parametrize("variance", ["delta", "aalen"])
def test_covariance_over_causes_and_horizons(variance: Any) -> None:
    df, times = frame(60, seed=4), [50, 150, 300]
    df["days"] = df["days"] // 25 * 25 + 1  # ties
    found = recidivism.cumulative_incidence(spells(df, cause="why"), horizons=times, variance=variance)
    np.testing.assert_allclose(
        found.cov(), multinomial_covariance(df, times, variance == "aalen"), rtol=1e-7, atol=1e-12
    )


@pytest.mark.parametrize("variance", ["delta", "aalen", "robust"])
def test_curves_and_terms_agree(variance: Any) -> None:
    data = spells(cause="why", group="cohort")
    found = recidivism.cumulative_incidence(data, horizons=[200, 390], variance=variance)
    curves = found.details.curves
    frame_ = found.to_frame()
    for row, term in found.terms.iterrows():
        own = curves[(curves["group"] == term["group"]) & (curves["cause"] == term["outcome"])]
        last = own[own["time"] <= term["horizon"]].iloc[-1]
        for column in ("estimate", "std_error", "conf_low", "conf_high"):
            assert last[column] == pytest.approx(frame_[column][row], rel=1e-10), column
    numbers = ["estimate", "std_error", "conf_low", "conf_high", "n_at_risk", "n_events"]
    assert list(curves) == ["group", "cause", "time", *numbers]
    assert curves.groupby(["group", "cause"], sort=False)["n_events"].sum().tolist() == [
        int(((frame()["cohort"] == g) & (frame()["why"] == c)).sum()) for g in (2019, 2020, 2021) for c in data.causes
    ]


def test_robust_without_weights_is_greenwood() -> None:
    usual = recidivism.kaplan_meier(spells(group="cohort"), horizons=[100, 300])
    robust = recidivism.kaplan_meier(spells(group="cohort"), horizons=[100, 300], variance="robust")
    np.testing.assert_allclose(robust.cov(), usual.cov(), rtol=1e-10, atol=1e-18)
    np.testing.assert_allclose(
        robust.details.curves["std_error"], usual.details.curves["std_error"], rtol=1e-9, atol=1e-12
    )
    assert robust.terms["method"][0] == "Kaplan-Meier, robust variance, 200 clusters (person)"


def test_robust_with_late_entry_is_not_greenwood() -> None:
    """0.2357 (sqrt 2 / 6) against 0.25 on five persons."""
    df = pd.DataFrame([(0, 4, 1), (2, 9, 1), (1, 6, 0), (5, 10, 1), (3, 7, 1)], columns=["start", "days", "new"])
    data = spells(df.assign(id=range(5)), entry="start")
    assert recidivism.kaplan_meier(data, horizons=7).se[0] == pytest.approx(0.25, rel=1e-14)
    assert recidivism.kaplan_meier(data, horizons=7, variance="robust").se[0] == pytest.approx(2**0.5 / 6, rel=1e-14)


def jackknife(df: pd.DataFrame, by: str, estimator: Any, **roles: Any) -> np.ndarray:
    """Derivative in the weight of every cluster, by central differences; squares summed."""
    slopes = []
    for value in sorted(df[by].unique()):
        step = 1e-5
        sides = [
            estimator(spells(df.assign(w=df["w"] * np.where(df[by] == value, 1 + sign * step, 1.0)), **roles)).values
            for sign in (1, -1)
        ]
        slopes.append((sides[0] - sides[1]) / (2 * step))
    return np.array(slopes).T @ np.array(slopes)


@pytest.mark.parametrize("name", ["kaplan_meier", "cumulative_incidence", "prevalence"])
def test_clusters_that_reach_over_groups(name: str) -> None:
    df = frame(150, seed=6)
    roles = {"cause": "why", "group": "cohort", "weight": "w", "weight_kind": "survey", "cluster": "area"}
    if name == "prevalence":
        df["days"] = df["days"].where(df["new"] == 1, 800)

    def estimator(data: Spells) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PmgEvalWarning)
            if name == "cumulative_incidence":
                return recidivism.cumulative_incidence(data, horizons=[200, 390])
            if name == "kaplan_meier":
                return recidivism.kaplan_meier(data, cause="recidivism", horizons=[200, 390])
            return recidivism.prevalence(data, cause="recidivism", horizon=[200, 390])

    found = estimator(spells(df, **roles))
    known = np.isfinite(found.cov())
    assert known.mean() > 0.9
    want = jackknife(df, "area", estimator, **roles)
    np.testing.assert_allclose(found.cov()[known], want[known], rtol=1e-6, atol=1e-10)
    assert found.to_frame()["df"].tolist() == [11.0] * len(found)
    assert "12 clusters (area)" in found.terms["method"][0] or name == "prevalence"


def test_intervals_of_clusters_use_t() -> None:
    found = recidivism.kaplan_meier(spells(cluster="area"), horizons=300)
    row = found.to_frame().iloc[0]
    f, se = row["estimate"], row["std_error"]
    half = stats.t.ppf(0.975, 11) * se / ((1 - f) * -np.log1p(-f))
    want = 1 - np.exp(-np.exp(np.log(-np.log1p(-f)) + np.array([-half, half])))
    np.testing.assert_allclose(row[["conf_low", "conf_high"]].to_numpy(dtype=float), want, rtol=1e-10)
    last = found.details.curves.query("time <= 300").iloc[-1]
    np.testing.assert_allclose(last[["conf_low", "conf_high"]].to_numpy(dtype=float), want, rtol=1e-8)


@pytest.mark.parametrize("entry", [False, True])
def test_robust_curve_by_prefix_sums_is_that_of_all_influence_values(entry: bool) -> None:
    rng = np.random.default_rng(3)
    df = frame(80, seed=7).assign(start=rng.integers(0, 40, 80))
    df["days"] = df["start"] * entry + df["days"] // 40 + 1
    roles: dict[str, Any] = {"cause": "why", "weight": "w", "weight_kind": "ipw"}
    data = spells(df, **(roles | ({"entry": "start"} if entry else {})))
    table = risk_table(data)
    one = curve(table, 0, [[1], [2]], None)
    rows = next(iter(_robust.group_rows(data.rows(), [one], [[1], [2]], start=None, frequency=False)))
    for cause in (0, 1):
        values = _robust.psi(one, rows, [int(day) for day in one.day], [cause])
        np.testing.assert_allclose(
            _robust.robust_variance(one, rows, cause), (values**2).sum(axis=0), rtol=1e-9, atol=1e-16
        )


def test_robust_curve_with_clusters_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    data = spells(cluster="area", cause="why")
    whole = recidivism.cumulative_incidence(data, horizons=300).details.curves
    monkeypatch.setattr(_robust, "_MOST_GRID", 5_000)
    blocks = recidivism.cumulative_incidence(data, horizons=300).details.curves
    pd.testing.assert_frame_equal(whole, blocks)
    monkeypatch.setattr(_robust, "_MOST_GRID", 10)
    assert recidivism.cumulative_incidence(data, horizons=300).details.curves["std_error"].isna().all()


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_robust, "_MOST_VALUES", 10)
    caught = error(lambda: recidivism.kaplan_meier(spells(cluster="area", group="cohort"), horizons=300))
    assert isinstance(caught, DesignError)
    assert caught.code == "PMG-TOO-MANY"
    assert error(lambda: recidivism.kaplan_meier(spells(), horizons=range(30_000))).code == "PMG-TOO-MANY"


def test_a_variance_without_form() -> None:
    weighted = spells(cause="why", weight="w", weight_kind="survey")
    assert error(lambda: recidivism.cumulative_incidence(weighted, variance="aalen")).code == "PMG-VARIANCE"
    assert recidivism.cumulative_incidence(weighted, horizons=300).provenance.options["variance"] == "robust"


# ---- what an estimate can do -----------------------------------------------------------------------------------------


def test_contrasts_between_cohorts() -> None:
    found = recidivism.cumulative_incidence(
        spells(cause="why", group="cohort"), cause="recidivism", horizons=[100, 300]
    )
    difference = found.contrast("group")
    assert difference.terms["contrast"].tolist() == ["2020 - 2019", "2021 - 2019"] * 2
    one = found.where(horizon=300)
    np.testing.assert_allclose(difference.where(horizon=300).se, np.sqrt(one.se[1:] ** 2 + one.se[0] ** 2), rtol=1e-12)
    test = one.test("equal")
    assert test.distribution == "chi-squared(2)"
    link = np.log(-np.log1p(-one.values))
    variance = (one.se / ((1 - one.values) * np.log1p(-one.values))) ** 2
    mean = np.average(link, weights=1 / variance)
    assert test.statistic == pytest.approx(((link - mean) ** 2 / variance).sum(), rel=1e-10)
    rise = found.where(group=2019).contrast("horizon")  # type: ignore[arg-type]
    cov = found.where(group=2019).cov()
    assert rise.se[0] == pytest.approx(np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]), rel=1e-12)


def test_a_group_without_events_has_a_limit_but_no_contrast() -> None:
    df = frame()
    df.loc[df["cohort"] == 2019, ["new", "why"]] = [0, None]
    found = recidivism.kaplan_meier(spells(df, group="cohort"), horizons=100)
    row = found.to_frame().iloc[0]
    assert row["estimate"] == row["conf_low"] == 0
    assert row["conf_high"] == pytest.approx(1 - 0.025 ** (1 / row["n_persons"]), rel=1e-12)
    assert np.isnan(row["std_error"])
    assert found.contrast("group").to_frame()["conf_low"].isna().all()
    curves = found.details.curves.query("group == 2019")
    assert len(curves) == 1  # the end of follow-up
    assert curves["conf_high"].iloc[0] == pytest.approx(1 - 0.025 ** (1 / curves["n_at_risk"].iloc[0]), rel=1e-12)


def test_several_group_columns() -> None:
    df = frame().assign(sex=lambda d: np.where(d["id"] % 2, "girls", "boys"))
    found = recidivism.kaplan_meier(spells(df, group=["cohort", "sex"]), horizons=100)
    assert found.terms["group"].tolist()[:2] == ["2019, boys", "2019, girls"]
    assert list(found.details.groups)[:3] == ["group", "cohort", "sex"]


@pytest.mark.parametrize("name", ["kaplan_meier", "cumulative_incidence"])
def test_json(name: str) -> None:
    """The file holds numbers and labels, is valid, and comes back."""
    found = getattr(recidivism, name)(spells(group="cohort"), horizons=[100, 300, 700])
    text = found.to_json()
    assert problems(json.loads(text), "estimate") == []
    back = Estimate.from_json(text)
    np.testing.assert_array_equal(back.values, found.values)
    pd.testing.assert_frame_equal(
        back.to_frame().drop(columns="df"), found.to_frame().drop(columns="df"), check_dtype=False
    )


def test_details_hold_counts_and_no_rows() -> None:
    found = recidivism.kaplan_meier(spells(group="cohort"), horizons=100)
    assert isinstance(found.details.source, _curves.Curves)
    assert found.details.source.table.spells is None
    robust = recidivism.kaplan_meier(spells(cluster="area"), horizons=100)
    assert isinstance(robust.details.source, pd.DataFrame)


def test_details_of_kaplan_meier() -> None:
    details = recidivism.kaplan_meier(spells(group="cohort"), horizons=100).details
    assert details.groups["last_time"].tolist() == [800, 800, 400]
    assert details.groups["n_new"].sum() == frame()["new"].sum()
    survival = details.survival
    np.testing.assert_allclose(survival["survival"], 1 - details.curves["estimate"])
    assert (survival["conf_low"] <= survival["survival"]).all()
    assert error(lambda: details.band(conf_type="exact")).code == "PMG-OPTION"  # type: ignore[arg-type]
    assert error(lambda: details.band(level=2)).code == "PMG-LEVEL"
    wide, narrow = details.band(0.99), details.band(0.5)
    assert (wide["conf_low"] <= narrow["conf_low"]).all()


def test_many_groups_are_computed_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = recidivism.kaplan_meier(spells(group="cohort"), horizons=100)
    monkeypatch.setattr(_curves, "_KEPT", 0)
    again = recidivism.kaplan_meier(spells(group="cohort"), horizons=100)
    assert again.details.source._kept == {}
    pd.testing.assert_frame_equal(again.details.curves, kept.details.curves)


def test_bounds_by_hand() -> None:
    share, se = np.array([0.3]), np.array([0.05])
    low, high = _bounds.bounds(share, se, 2.0, "log", of_survival=False)
    np.testing.assert_allclose([low[0], high[0]], [0.3 * np.exp(-1 / 3), 0.3 * np.exp(1 / 3)])
    low, high = _bounds.bounds(share, se, 2.0, "log", of_survival=True)
    np.testing.assert_allclose([low[0], high[0]], [1 - 0.7 * np.exp(1 / 7), 1 - 0.7 * np.exp(-1 / 7)])
    flat = _bounds.bounds(share, np.array([0.0]), 2.0, "plain", of_survival=True)
    assert np.isnan(flat).all()


def test_kaplan_meier_by_fractions() -> None:
    df = pd.DataFrame({"id": range(9), "days": [2, 2, 3, 5, 5, 5, 8, 9, 9], "new": [1, 0, 1, 1, 1, 0, 0, 1, 0]})
    found = recidivism.kaplan_meier(spells(df), horizons=[2, 3, 5, 9])
    s = [Fraction(8, 9)]
    s += [s[-1] * Fraction(6, 7)]
    s += [s[-1] * Fraction(4, 6)]
    s += [s[-1] * Fraction(1, 2)]
    np.testing.assert_allclose(found.values, [float(1 - value) for value in s], rtol=1e-15)
    sums = np.cumsum([Fraction(1, 9 * 8), Fraction(1, 7 * 6), Fraction(2, 6 * 4), Fraction(1, 2 * 1)])
    np.testing.assert_allclose(found.se**2, [float(a * a * b) for a, b in zip(s, sums, strict=True)], rtol=1e-14)


def test_data_errors_come_first() -> None:
    assert isinstance(error(lambda: recidivism.kaplan_meier([1, 2])), DataError)  # type: ignore[arg-type]
