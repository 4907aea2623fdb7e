"""did.group_time against R did 2.5.1 (DRDID 1.2.3): cells, averages, influence, pre-test."""

from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from _shared import SHARED, dataset, reference
from pmg_eval.did._cells_rc import doubly_robust_sections
from pmg_eval.did._controls import NeverTreated, NotYetTreated
from pmg_eval.did._group_time import GroupTimeDetails, group_time
from pmg_eval.errors import InferenceError
from pmg_eval.estimate import Estimate, clustered
from pmg_eval.panel import Panel

# fastglm stops its logit at a relative change of the deviance of 1e-8; everything without a logit agrees to 1e-12.
TOLERANCE = 1e-8
EXACT = 1e-11

NAMES = sorted(path.stem for path in (SHARED / "reference").glob("did_*.json"))
AVERAGES = {
    "agg_group": ("cohort", False),
    "agg_dynamic": ("event_time", False),
    "agg_calendar": ("period", False),
    "agg_dynamic_balanced": ("event_time", True),
}


def numbers(values: list[Any]) -> Any:
    return np.array([np.nan if value is None or isinstance(value, str) else value for value in values], dtype=float)


def tolerance(name: str) -> float:
    return TOLERANCE if "xlpop" in name and "_reg_" not in name else EXACT


def close(found: Any, expected: Any, name: str) -> None:
    expected = np.atleast_1d(expected)
    np.testing.assert_allclose(
        np.atleast_1d(found), expected, rtol=tolerance(name), atol=1e-2 * tolerance(name) * np.abs(expected).max()
    )


@cache
def fitted(name: str) -> tuple[Estimate[GroupTimeDetails], dict[str, Any]]:
    """The estimate with the options of the file, and the file's results."""
    saved = reference(name)
    options = saved["options"]
    df = dataset("castle_panel" if "castle" in name else "mpdta")
    if "mpdta" in name:
        df = df.rename(columns={"first.treat": "g"}).assign(statefp=lambda frame: frame["countyreal"] // 1000)
    panel = Panel(
        df,
        unit=options["idname"] if options["panel"] else None,
        time=options["tname"],
        cohort="g",
        never=0,
        weight=options["weightsname"],
        cluster=options["clustervars"],
    )
    estimate = group_time(
        panel,
        options["yname"],
        controls=NeverTreated() if options["control_group"] == "nevertreated" else NotYetTreated(),
        covariates=None if options["xformla"] == "~1" else options["xformla"],
        method={"reg": "or"}.get(options["est_method"], options["est_method"]),
        anticipation=options["anticipation"],
        base_period=options["base_period"],
    )
    if options["clustervars"]:
        estimate = estimate.assuming(clustered(options["clustervars"]))
    return estimate, {**saved["results"], "balance": options["balance_e"]}


def test_all_files_are_compared() -> None:
    assert len(NAMES) == 32


@pytest.mark.parametrize("name", NAMES)
def test_cells(name: str) -> None:
    estimate, results = fitted(name)
    assert estimate.terms["cohort"].tolist() == results["group"]
    assert estimate.terms["period"].tolist() == results["time"]
    close(estimate.values, results["att"], name)
    expected = numbers(results["se"])
    reference_rows = np.isnan(expected)
    assert ((estimate.terms["status"] == "reference") == reference_rows).all()
    close(estimate.se[~reference_rows], expected[~reference_rows], name)
    assert estimate.uncertainty is not None
    assert estimate.uncertainty.n == results["n_inffunc"]  # type: ignore[attr-defined]
    close(estimate.uncertainty.psi.column_sumsq(), results["inffunc_colsumsq"], name)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_averages(name: str) -> None:
    estimate, results = fitted(name)
    simple = estimate.average()
    close(simple.values, results["agg_simple"]["overall_att"], name)
    close(simple.se, results["agg_simple"]["overall_se"], name)
    for key, (by, balanced) in AVERAGES.items():
        balance = results["balance"] if balanced else None
        average = estimate.average(by=by, balance=balance)  # type: ignore[arg-type]
        expected = numbers(results[key]["se"])
        known = np.isfinite(expected)
        assert average.terms[by].tolist() == results[key]["egt"]
        close(average.values, results[key]["att"], name)
        close(average.se[known], expected[known], name)
        overall = estimate.average(overall=by, balance=balance)  # type: ignore[arg-type]
        close(overall.values, results[key]["overall_att"], name)
        close(overall.se, results[key]["overall_se"], name)


@pytest.mark.parametrize("name", NAMES)
def test_pre_test(name: str) -> None:
    estimate, results = fitted(name)
    if results["W"] is None:  # cohorts of one unit: as many pre-treatment terms as the covariance has no rank for
        with pytest.raises(InferenceError) as caught:
            estimate.test("pre", guard=False)
        assert caught.value.code == "PMG-SINGULAR"
        return
    # R tests every period before the start, anticipated ones included; our "pre" leaves those out
    found = estimate.where(event_time=lambda time: time < 0).test(guard=False)
    close(found.statistic, results["W"][0], name)
    assert found.p_value == pytest.approx(results["Wpval"][0][0], abs=6e-6)  # R rounds it to five digits


def test_covariates_are_those_of_the_earlier_period() -> None:
    """Castle's poverty rate varies over time."""
    estimate, results = fitted("did_castle_reg_nevertreated_poverty_popwt")
    assert estimate.details is not None
    assert estimate.details.covariates == ("poverty",)
    close(estimate.values, results["att"], "did_castle")


def test_always_treated_and_anticipating_cohorts_are_left_out() -> None:
    estimate, _ = fitted("did_mpdta_dr_notyettreated_xlpop_varying_ant1")
    assert estimate.details is not None
    assert estimate.details.dropped.to_dict("list") == {"cohort": [2004], "n_units": [20]}
    assert any("20 units left out" in note for note in estimate.provenance.notes)


def test_published_influence_of_the_cross_section_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    """DRDID's influence (ours, so that the numbers agree) is not the derivative: SEs differ by 0.1 % at most here."""
    estimate, _ = fitted("did_mpdta_rc_dr_nevertreated_xlpop")
    panel = Panel(dataset("mpdta").rename(columns={"first.treat": "g"}), unit=None, time="year", cohort="g", never=0)
    exact = partial(doubly_robust_sections, exact=True)
    monkeypatch.setattr("pmg_eval.did._group_time_solve.doubly_robust_sections", exact)
    derivative = group_time(panel, "lemp", controls=NeverTreated(), covariates="~ lpop")
    np.testing.assert_array_equal(estimate.values, derivative.values)
    ratio = estimate.se / derivative.se
    assert np.abs(ratio - 1).max() < 1.2e-3
    assert np.abs(ratio - 1).max() > 1e-5
    kinds = [fitted(f"did_mpdta_rc_{method}_nevertreated_xlpop")[0].uncertainty.kind for method in ("dr", "reg")]  # type: ignore[union-attr]
    assert kinds == ["score", "derivative"]
