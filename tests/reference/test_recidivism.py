"""Kaplan-Meier, cumulative incidence and Gray's test against R survival and cmprsk, and numbers worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

from _shared import dataset, reference
from pmg_eval import recidivism
from pmg_eval.panel import Spells

pytestmark = pytest.mark.filterwarnings("ignore:.PMG-FEW-AT-RISK")  # toys
EXACT = {"rtol": 1e-8, "atol": 1e-14}


def rossi(**roles: Any) -> Spells:
    df = dataset("rossi").reset_index()
    return Spells(df, person="index", exit="week", event="arrest", time_unit="weeks", **roles)


def mgus2(**roles: Any) -> Spells:
    """The first of progression (pcm) and death, in months, as in R's help of survfit."""
    df = dataset("mgus2")
    progressed = df["pstat"] == 1
    df["etime"] = df["ptime"].where(progressed, df["futime"])
    df["event"] = (progressed | (df["death"] == 1)).astype(int)
    df["cause"] = np.where(progressed, "pcm", np.where(df["death"] == 1, "death", None))
    return Spells(df, person="id", exit="etime", event="event", cause="cause", time_unit="months", **roles)


def toy() -> Spells:
    """Eleven persons with ties."""
    kind = {0: None, 1: "one", 2: "two"}
    df = pd.DataFrame({"t": [1, 5, 3, 6, 1, 3, 2, 5, 2, 3, 6], "e": [0, 1, 1, 1, 2, 1, 0, 1, 0, 2, 2]}).reset_index()
    df["event"], df["cause"] = (df["e"] > 0).astype(int), df["e"].map(kind)
    return Spells(df, person="index", exit="t", event="event", cause="cause")


def strata(results: dict[str, Any], names: list[str]) -> dict[str, slice]:
    """Rows of each stratum in R's stacked columns."""
    out, start = {}, 0
    for name in names:
        size = results["strata"][name]
        out[name] = slice(start, start + size)
        start += size
    return out


# ---- Kaplan-Meier ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("r_type", "ours"), [("plain", "plain"), ("log", "log"), ("log-log", "log-log"),
                                              ("arcsin", "arcsine")])  # fmt: skip
def test_km_rossi_by_fin(r_type: str, ours: str) -> None:
    results = reference("km_rossi_by_fin")["results"][r_type]
    found = recidivism.kaplan_meier(rossi(group="fin")).details.band(conf_type=ours)
    compared = 0
    for fin, rows in strata(results, ["fin=0", "fin=1"]).items():
        mine = found[found["group"] == int(fin[-1])].reset_index(drop=True)
        assert mine["time"].tolist() == results["time"][rows]
        survival = 1 - mine["estimate"].to_numpy()
        np.testing.assert_allclose(survival, results["surv"][rows], **EXACT)
        np.testing.assert_allclose(mine["std_error"] / survival, results["std_err"][rows], **EXACT)
        np.testing.assert_allclose(1 - mine["conf_high"], results["lower"][rows], **EXACT)
        np.testing.assert_allclose(1 - mine["conf_low"], results["upper"][rows], **EXACT)
        assert mine["n_at_risk"].tolist() == results["n_risk"][rows]
        assert mine["n_events"].tolist() == results["n_event"][rows]
        np.testing.assert_allclose((mine["n_events"] / mine["n_at_risk"]).cumsum(), results["cumhaz"][rows], **EXACT)
        compared += len(mine)
    assert compared == 69


def test_km_rossi_at_three_horizons() -> None:
    found = recidivism.kaplan_meier(rossi(), horizons=[10, 26, "1y"])
    np.testing.assert_allclose(1 - found.values, [0.965277777778, 0.875, 0.736111111111], rtol=1e-11)
    frame = found.to_frame()
    np.testing.assert_allclose(
        1 - frame[["conf_high", "conf_low"]].iloc[-1].to_numpy(dtype=float),
        [0.691859715796, 0.775063183375],
        rtol=1e-11,
    )


CONF = {
    "log": (0.695701386766, 0.778868029026),
    "log-log": (0.691859715796, 0.775063183375),
    "plain": (0.694549874940, 0.777672347282),
    "logit": (0.692513633676, 0.775530712655),
    "arcsine": (0.693562439455, 0.776561775373),
}


@pytest.mark.parametrize("conf_type", CONF)
def test_km_rossi_intervals(conf_type: Any) -> None:
    last = recidivism.kaplan_meier(rossi()).details.band(conf_type=conf_type).iloc[-1]
    assert last["time"] == 52
    np.testing.assert_allclose((1 - last["conf_high"], 1 - last["conf_low"]), CONF[conf_type], rtol=1e-11)


def test_km_with_late_entry() -> None:
    """Sums by hand: 3/4, 3/4 x 2/3, x 1/2, x 0."""
    df = pd.DataFrame([(0, 4, 1), (2, 9, 1), (1, 6, 0), (5, 10, 1), (3, 7, 1)], columns=["a", "b", "e"]).reset_index()
    spells = Spells(df, person="index", entry="a", exit="b", event="e")
    curve = recidivism.kaplan_meier(spells, horizons=[4, 7, 9]).details.survival
    assert curve["time"].tolist() == [4, 7, 9, 10]
    np.testing.assert_allclose(curve["survival"], [0.75, 0.5, 0.25, 0.0], rtol=1e-15)
    assert curve["n_at_risk"].tolist() == [4, 3, 2, 1]


# ---- cumulative incidence --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["pcm", "death"])
def test_aalen_johansen_mgus2(cause: str) -> None:
    """Estimates, standard errors and R's default (log) interval at every time; R's time points include censorings."""
    results = reference("aalen_johansen_mgus2")["results"]
    state = results["states"].index(cause)
    band = recidivism.cumulative_incidence(mgus2(group="sex")).details.band(conf_type="log")
    compared = 0
    for sex, rows in strata(results, ["sex=F", "sex=M"]).items():
        mine = band[(band["group"] == sex[-1]) & (band["cause"] == cause)]
        times = np.array(results["time"][rows])
        place = np.searchsorted(mine["time"], times, side="right") - 1
        for name, ours in (("pstate", "estimate"), ("std_err", "std_error"), ("lower", "conf_low"),
                           ("upper", "conf_high")):  # fmt: skip
            want = np.array([row[state] for row in results[name][rows]], dtype=float)
            got = np.where(place >= 0, mine[ours].to_numpy()[place], np.nan)
            if name in ("pstate", "std_err"):
                got = np.where(place >= 0, got, 0.0)
            np.testing.assert_allclose(got, want, **EXACT)
            compared += int(np.isfinite(want).sum())
        at_risk = np.array([row[0] for row in results["n_risk"][rows]])
        own = np.isin(times, mine["time"])
        np.testing.assert_array_equal(mine["n_at_risk"], at_risk[own])
    assert compared > 1700


def test_survival_of_aalen_johansen_is_the_rest() -> None:
    results = reference("aalen_johansen_mgus2")["results"]
    times = [12, 60, 120, 240, 360]
    found = recidivism.cumulative_incidence(mgus2(group="sex"), horizons=times)
    for sex, rows in strata(results, ["sex=F", "sex=M"]).items():
        free = 1 - found.values[(found.terms["group"] == sex[-1]).to_numpy()].reshape(2, -1).sum(axis=0)
        place = np.searchsorted(results["time"][rows], times, side="right") - 1
        np.testing.assert_allclose(free, np.array(results["pstate"][rows])[place, 0], **EXACT)


def test_mgus2_pcm() -> None:
    found = recidivism.cumulative_incidence(mgus2(), cause="pcm", horizons=[60, 120, 240])
    np.testing.assert_allclose(found.values, [0.0341037129743, 0.0637221680131, 0.0998137159355], rtol=1e-11)
    np.testing.assert_allclose(found.se, [0.00488925790767, 0.00679684842396, 0.00978484679339], rtol=1e-11)


def test_tied_toy_by_hand() -> None:
    """S: 10/11, 4/7 of it, 1/2, 0; F_1 jumps by S(t-) d/Y."""
    found = recidivism.cumulative_incidence(toy(), cause="one", horizons=[3, 5, 6])
    after_1 = Fraction(10, 11)
    after_3 = after_1 * Fraction(4, 7)
    f3 = after_1 * Fraction(2, 7)
    f5 = f3 + after_3 * Fraction(2, 4)
    f6 = f5 + after_3 * Fraction(2, 4) * Fraction(1, 2)
    np.testing.assert_allclose(found.values, [float(f) for f in (f3, f5, f6)], rtol=1e-15)
    np.testing.assert_allclose(found.values, [0.25974025974, 0.519480519481, 0.649350649351], rtol=1e-11)


def test_tied_toy_with_both_variances() -> None:
    delta = recidivism.cumulative_incidence(toy(), cause="one", horizons=[3, 5, 6])
    np.testing.assert_allclose(delta.se, [0.157187664801, 0.177106875451, 0.167116374245], rtol=1e-11)
    aalen = recidivism.cumulative_incidence(toy(), cause="one", horizons=[3, 5, 6], variance="aalen")
    np.testing.assert_allclose(aalen.se**2, [0.0287850677461, 0.0364311013662, 0.0379490639231], rtol=1e-11)


def test_cuminc_mgus2() -> None:
    results = reference("cuminc_gray_mgus2")["results"]
    times = [int(name) for name in results["est"]["colnames"]]
    found = recidivism.cumulative_incidence(mgus2(group="sex"), horizons=times, variance="aalen")
    for row, name in enumerate(results["est"]["rownames"]):
        sex, code = name.split()
        part = found.where(group=sex, outcome={"1": "pcm", "2": "death"}[code])
        np.testing.assert_allclose(part.values, results["est"]["values"][row], **EXACT)
        np.testing.assert_allclose(part.se**2, results["var"]["values"][row], **EXACT)


@pytest.mark.parametrize(("name", "rho"), [("cuminc_gray_mgus2", 0), ("cuminc_gray_rho1_mgus2", 1)])
def test_gray(name: str, rho: float) -> None:
    tests = reference(name)["results"]["tests"]
    for cause, (statistic, p_value, df) in zip(("pcm", "death"), tests["values"], strict=True):
        found = recidivism.gray_test(mgus2(group="sex"), cause=cause, rho=rho)
        np.testing.assert_allclose(found.statistic, statistic, rtol=1e-11)
        np.testing.assert_allclose(found.p_value, p_value, rtol=1e-11)
        assert found.distribution == f"chi-squared({df})"


# ---- where other packages are wrong ----------------------------------------------------------------------------------


def test_ties_are_exact_and_not_random() -> None:
    """A package that breaks ties at random gives 0.6429 to 0.6494 on the toy; there is one answer."""
    values = {float(recidivism.cumulative_incidence(toy(), cause="one", horizons=6).values[0]) for _ in range(5)}
    assert len(values) == 1
    assert values.pop() == pytest.approx(50 / 77, rel=1e-15)
    together = recidivism.cumulative_incidence(toy(), horizons=[1, 3, 5]).values.reshape(2, 3).sum(axis=0)
    survival = 1 - recidivism.kaplan_meier(toy(), cause=["one", "two"], horizons=[1, 3, 5]).values
    np.testing.assert_allclose(together + survival, 1.0, atol=1e-15)


def test_the_horizons_asked_for_do_not_change_the_answer() -> None:
    """A package that takes a timeline returns half the incidence, 0.2 for 0.4, when the timeline skips event days."""
    df = pd.DataFrame({"id": range(5), "t": [1, 2, 3, 6, 7], "event": [1, 1, 1, 1, 0]})
    df["cause"] = ["one", "two", "two", "one", None]
    spells = Spells(df, person="id", exit="t", event="event", cause="cause")
    found = recidivism.cumulative_incidence(spells, cause=["one", "two"], horizons=[0, 2, 4, 6])
    np.testing.assert_allclose(found.values, [0.0, 0.2, 0.2, 0.4, 0.0, 0.2, 0.4, 0.4], rtol=1e-15)


def test_an_event_on_day_0_counts() -> None:
    """One of four on day 0: 0.25, where a package that starts at 0 drops it."""
    df = pd.DataFrame({"id": range(4), "days": [0, 5, 9, 9], "event": [1, 1, 0, 0]})
    spells = Spells(df, person="id", exit="days", event="event", same_day="count")
    np.testing.assert_array_equal(recidivism.kaplan_meier(spells, horizons=[0, 5]).values, [0.25, 0.5])
    np.testing.assert_array_equal(recidivism.cumulative_incidence(spells, horizons=[0, 5]).values, [0.25, 0.5])
    np.testing.assert_array_equal(recidivism.prevalence(spells, horizon=[0, 5]).values, [0.25, 0.5])


def test_the_last_standard_error_is_a_number() -> None:
    """A package that gives NaN at the last time; R gives 0.1671."""
    last = recidivism.cumulative_incidence(toy()).details.curves.query("cause == 'one'").iloc[-1]
    assert last["time"] == 6
    assert last["std_error"] == pytest.approx(0.167116374245, rel=1e-11)
    assert np.isfinite([last["conf_low"], last["conf_high"]]).all()
