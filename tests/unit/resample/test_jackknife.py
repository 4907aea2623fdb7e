"""The cluster jackknife is leaving out and estimating again, by the letter of CV3."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import pmg_eval as pe
from _shared import dataset, needs_shared, reference
from laws.valid_data import table as valid
from pmg_eval import did, resample, synth
from pmg_eval.errors import DataError, DesignError, PmgEvalWarning
from pmg_eval.estimate import Estimate, fit_linear
from pmg_eval.registry import REGISTRY
from unit.resample.panels import counts, panel_of, staggered


def overall(panel: pe.Panel, outcome: str) -> Estimate:
    return did.imputation(panel, outcome, pretrend=False).average()


def by_cohort(panel: pe.Panel, outcome: str) -> Estimate:
    return did.group_time(panel, outcome).average(by="cohort")


def cv3(replicates: np.ndarray) -> np.ndarray:
    count = len(replicates)
    centred = replicates - replicates.mean(axis=0)
    return (count - 1) / count * centred.T @ centred


@pytest.mark.parametrize("estimator", [overall, by_cohort])
def test_literally_without_each_unit(estimator) -> None:
    """Panels built anew from the table without the unit: nothing is shared with the jackknife's own path."""
    table = staggered(n=16, periods=7, starts={2003: 3, 2005: 3})
    found = resample.jackknife(estimator, panel_of(table), "rate")
    units = sorted(table["area"].unique())
    replicates = np.array([estimator(panel_of(table[table["area"] != unit]), "rate").values for unit in units])
    assert_allclose(found.cov(), cv3(replicates), rtol=1e-10, atol=1e-16)
    assert_allclose(found.details.leave_one_out, replicates, rtol=1e-10, atol=1e-14)
    assert found.details.leave_one_out.index.tolist() == units
    assert_allclose(found.values, estimator(panel_of(table), "rate").values)


@needs_shared
@pytest.mark.parametrize(("name", "cluster"), [("summclust_castle_state_fe", None), ("summclust_castle_cl9", "cl9")])
def test_against_summclust(name: str, cluster: str | None) -> None:
    """R summclust's CRV3J of the two-way fixed effects coefficient; its values stem from iterative absorption."""
    table = dataset("castle_panel").assign(cl9=lambda d: d["sid"] % 9)
    panel = pe.Panel(table, unit="sid", time="year", cohort="g", never=0, cluster="cl9")

    def twfe(panel: pe.Panel, outcome: str) -> Estimate:
        design = panel.column("post")[:, None]
        return fit_linear(panel.column(outcome), design, ["post"], panel.row_labels, absorb=True)

    found, results = resample.jackknife(twfe, panel, "l_homicide", cluster=cluster), reference(name)["results"]
    assert_allclose(found.values[0], results["tidy"]["coef"], rtol=1e-8)
    # summclust prints CRV3, centred at the estimate; CRV3J is centred at the mean of the replicates, as ours
    jack = dict(zip(results["beta_jack"]["colnames"], results["beta_jack"]["values"][0], strict=True))
    without = found.details.leave_one_out[0]
    assert_allclose(without, [jack[str(label)] for label in without.index], rtol=1e-8)
    row = results["vcov_CRV3J"]["names"].index("post")
    assert_allclose(found.cov()[0, 0], results["vcov_CRV3J"]["values"][row][row], rtol=1e-8)


def test_the_number_of_processes_does_not_matter() -> None:
    panel = panel_of(staggered(n=12, periods=6, starts={2003: 4}))
    one, two = (resample.jackknife(by_cohort, panel, "rate", n_jobs=n) for n in (1, 2))
    assert one.to_json() == two.to_json()
    assert np.array_equal(one.details.leave_one_out, two.details.leave_one_out)
    with pytest.raises(DataError) as caught:
        resample.jackknife(by_cohort, panel, "rate", n_jobs=0)
    assert caught.value.code == "PMG-JOBS"


def test_clusters() -> None:
    table = staggered(n=24, periods=7, starts={2003: 8, 2005: 8})
    panel = panel_of(table, region="region")
    found = resample.jackknife(overall, panel, "rate", cluster="region")
    regions = sorted(table["region"].unique())
    replicates = [overall(panel_of(table[table["region"] != region]), "rate").values for region in regions]
    assert_allclose(found.cov(), cv3(np.array(replicates)), rtol=1e-10)
    assert found.uncertainty.rows["region"].tolist() == regions
    assert found.uncertainty.n == 8
    frame = found.to_frame()
    assert frame["df"][0] == pytest.approx(7, abs=0.1)  # eight regions with two treated areas each
    assert "8 regions" in frame["method"][0]
    for label in ("province", None):
        if label:
            with pytest.raises(DataError, match="province"):
                resample.jackknife(overall, panel, "rate", cluster=label)


def test_interval_is_t_with_the_guards_degrees_of_freedom_and_no_further_factor() -> None:
    panel = panel_of(staggered(n=30, starts={2004: 6}))
    found = resample.jackknife(overall, panel, "rate")
    frame = found.to_frame().iloc[0]
    assert frame["df"] == pytest.approx(5)
    assert frame["std_error"] == found.se[0]
    raw = overall(panel, "rate")
    assert found.se[0] == pytest.approx(raw.se[0] * np.sqrt(6 / 5), rel=0.05)


def test_a_cohort_of_one_unit_has_no_jackknife_and_says_so() -> None:
    panel = panel_of(staggered(n=20, starts={2004: 4, 2006: 1}))
    found = resample.jackknife(by_cohort, panel, "rate")
    frame = found.to_frame()
    assert frame["std_error"].isna().tolist() == [False, True]
    assert "undefined without a004: no jackknife" in frame["status"][1]
    assert np.isfinite(frame["estimate"]).all()
    assert found.where(cohort=2004).test().p_value == pytest.approx(frame["p_value"][0])
    # the missing law of one term does not spoil what is derived from the others
    assert np.isfinite(found.map([[1.0, 0.0]]).se).all()
    assert np.isfinite(found.average(by="cohort").se).tolist() == [True, False]


def test_one_treated_unit_at_all() -> None:
    """Without it nothing is estimated: the number stays, and the status names the way out."""
    found = resample.jackknife(overall, panel_of(staggered(n=12, starts={2004: 1})), "rate").to_frame()
    assert np.isfinite(found["estimate"][0])
    assert np.isnan(found["std_error"][0])
    assert "effect_per_area" in found["status"][0]


def test_reference_rows_stay_reference_rows() -> None:
    def study(panel: pe.Panel, outcome: str) -> Estimate:
        return did.group_time(panel, outcome, base_period="universal").average(by="event_time")

    found = resample.jackknife(study, panel_of(staggered(n=16, periods=7, starts={2003: 4})), "rate")
    row = found.terms["event_time"].tolist().index(-1)
    assert found.terms["status"][row] == "reference"
    assert found.values[row] == 0
    assert found.se[row] == 0
    assert np.isnan(found.to_frame()["conf_low"][row])
    assert (np.delete(found.se, row) > 0).all()


def test_ratios_keep_their_scale_and_can_be_averaged() -> None:
    panel = panel_of(counts(n=20, starts={2004: 5, 2006: 4}))

    def ratio(panel: pe.Panel, outcome: str) -> Estimate:
        return did.imputation(panel, outcome, family="poisson", pretrend=False).average(by="cohort")

    found = resample.jackknife(ratio, panel, "suspects")
    assert found.scale == "log"
    frame = found.to_frame()
    assert_allclose(frame["conf_low"] * frame["conf_high"], frame["estimate"] ** 2, rtol=1e-12)
    logs = found.apply(np.log, lambda x: 1 / x)
    assert_allclose(logs.se, found.se / found.values)


def test_spread_names_the_extremes() -> None:
    table = staggered(n=14, periods=6, starts={2003: 5}, noise=0.1)
    odd = (table["area"] == "a002") & (table["year"] >= 2003)
    table.loc[odd, "rate"] += 50
    found = resample.jackknife(overall, panel_of(table), "rate")
    spread = found.details.spread().iloc[0]
    assert spread["without_low"] == "a002"
    assert spread["low"] == found.details.leave_one_out[0].min()
    assert spread["high"] == found.details.leave_one_out[0].max()


def test_provenance() -> None:
    panel = panel_of(staggered(n=12, starts={2004: 3}), region="region")
    one, other = (
        resample.jackknife(overall, panel, "rate"),
        resample.jackknife(overall, panel, "rate", cluster="region"),
    )
    assert one.provenance.steps[-1].startswith("jackknife")
    assert one.provenance.digest != other.provenance.digest
    assert "10.1002/jae.2969" in one.provenance.references


def test_refusals() -> None:
    table = staggered(n=12, starts={2004: 3}).assign(half=lambda d: d["area"] < "a006")
    table["half"] = table["half"].map({True: "x", False: "y"})
    with pytest.raises(DesignError) as caught:
        resample.jackknife(overall, panel_of(table, region="half"), "rate", cluster="half")
    assert caught.value.code == "PMG-FEW-CLUSTERS"
    people = pd.DataFrame({"year": [1, 2] * 20, "start": [2, 2, 0, 0] * 10, "y": np.arange(40.0)})
    sections = pe.Panel(people, unit=None, time="year", cohort="start", never=0)
    with pytest.raises(DesignError) as caught:
        resample.jackknife(partial(did.group_time), sections, "y")
    assert caught.value.code == "PMG-CLUSTER"

    def twins(panel: pe.Panel, outcome: str) -> Estimate:
        fit = overall(panel, outcome)
        return fit.take([0, 0])

    with pytest.raises(DataError, match="same labels"):
        resample.jackknife(twins, panel_of(table), "rate")


def test_units_that_the_missing_policy_drops_are_not_left_out_once_more() -> None:
    table = staggered(n=16, periods=6, starts={2003: 4})
    table.loc[(table["area"] == "a010") & (table["year"] == 2001), "rate"] = np.nan
    found = resample.jackknife(overall, panel_of(table, missing="drop_unit"), "rate")
    complete = resample.jackknife(overall, panel_of(table[table["area"] != "a010"]), "rate")
    assert found.uncertainty.n == complete.uncertainty.n == 15
    assert_allclose(found.se, complete.se)


@pytest.mark.filterwarnings(r"ignore:\[PMG-(NON-UNIQUE|FEW-DONORS)\]")
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_registered_estimator_without_each_cluster(name: str) -> None:
    """Law 49: the jackknife over a label is re-estimation on tables without its rows, for every estimator."""
    entry = REGISTRY[name]
    frame = valid(entry.data, 3).assign(block=lambda d: "b" + (d["unit"] % 4).astype(str))

    def panel(frame: pd.DataFrame) -> pe.Panel:
        roles = {"exposure": "people"} if entry.data == "counts" else {}
        columns = {"unit": "unit", "time": "year", "cohort": "start", "weight": "weight", "cluster": "block"}
        return pe.Panel(frame, never=0, **columns, **roles)

    def average(panel: pe.Panel, outcome: str) -> Estimate:
        return entry(panel, outcome).average()

    found = resample.jackknife(average, panel(frame), "y", cluster="block")
    blocks = sorted(frame["block"].unique())
    want = np.array([average(panel(frame[frame["block"] != block]), "y").values for block in blocks])
    assert found.details.leave_one_out.index.tolist() == blocks
    assert_allclose(found.details.leave_one_out, want, rtol=1e-9, atol=1e-12)
    assert_allclose(found.cov(), cv3(want), rtol=1e-7)


def test_interrupted_and_resumed(tmp_path) -> None:
    panel = panel_of(staggered(n=12, periods=5, starts={2003: 4}))
    stops = tmp_path / "stops"
    stops.write_text("")

    def interrupted(panel: pe.Panel, outcome: str) -> Estimate:
        done = len(stops.read_text())
        stops.write_text("x" * (done + 1))
        if done in (4, 5, 9):
            raise KeyboardInterrupt
        return overall(panel, outcome)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            resample.jackknife(interrupted, panel, "rate", checkpoint=tmp_path / "c")
    found = resample.jackknife(interrupted, panel, "rate", checkpoint=tmp_path / "c")
    once = resample.jackknife(overall, panel, "rate")
    assert found.details.leave_one_out.to_numpy().tobytes() == once.details.leave_one_out.to_numpy().tobytes()
    assert found.to_json() == once.to_json()
    with pytest.raises(DataError, match="the estimator"):
        resample.jackknife(overall, panel, "rate", checkpoint=tmp_path / "c")
    assert len(stops.read_text()) == 18  # twelve units, the panel itself four times, two replicates that stopped


def test_an_estimator_that_weighs_nobody_has_t_all_the_same() -> None:
    """A synthetic control carries no influence values: degrees of freedom from the number of treated areas."""
    panel = panel_of(staggered(n=30, periods=9, starts={2005: 3, 2006: 2}))

    def control(panel: pe.Panel, outcome: str) -> pe.Estimate:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PmgEvalWarning)
            return synth.classic(panel, outcome, poor_fit="keep").average()

    def by_cohort(panel: pe.Panel, outcome: str) -> pe.Estimate:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PmgEvalWarning)
            return synth.classic(panel, outcome, poor_fit="keep").average(by="cohort")

    assert resample.jackknife(control, panel, "rate").to_frame()["df"].tolist() == [4]
    assert resample.jackknife(by_cohort, panel, "rate").to_frame()["df"].tolist() == [2, 1]
