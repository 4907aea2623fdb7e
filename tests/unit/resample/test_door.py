"""What cannot be used is refused before any work, with a sentence that says which argument and what to do."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pmg_eval as pe
from pmg_eval import did, infer, resample, synth
from pmg_eval.errors import DataError, InferenceError


def make(n: int = 24, treated: int = 6, periods: int = 6) -> pe.Panel:
    rng = np.random.default_rng(3)
    table = pd.DataFrame([(i, 2014 + t) for i in range(n) for t in range(periods)], columns=["area", "year"])
    table["start"] = np.where(table["area"] < treated, 2017, 0)
    table["size"] = np.where(table["area"] % 2 == 0, "large", "small")
    table["rate"] = rng.normal(10, 1, n)[table["area"]] + rng.normal(0, 0.5, len(table))
    return pe.Panel(table, unit="area", time="year", cohort="start", never=0, region="size")


PANEL = make()
ONE = make(treated=1)


def overall(panel: pe.Panel, outcome: str) -> Any:
    return did.imputation(panel, outcome, pretrend=False).average()


Call = Callable[..., Any]
CALLS: dict[str, Call] = {
    "bootstrap": lambda e, **k: resample.bootstrap(e, PANEL, "rate", draws=19, **k),
    "calibrate": lambda e, **k: resample.calibrate(PANEL, "rate", {"a": e}, effects=[-1.0], replicates=2, **k),
    "calibrate, default": lambda e, **k: resample.calibrate(
        PANEL, "rate", estimator=e, effects=[-1.0], replicates=2, **k
    ),
    "cluster bootstrap": lambda e, **k: resample.bootstrap(e, PANEL, "rate", kind="cluster", draws=9, **k),
    "conformal": lambda e, **k: resample.conformal(e, ONE, "rate", invert=False, **k),
    "donut": lambda e, **k: resample.donut(e, PANEL, "rate", **k),
    "jackknife": lambda e, **k: resample.jackknife(e, PANEL, "rate", **k),
    "jackknife_plus": lambda e, **k: resample.jackknife_plus(e, ONE, "rate", quantile="interpolated", **k),
    "leave_one_out": lambda e, **k: resample.leave_one_out(e, PANEL, "rate", **k),
    "placebo": lambda e, **k: resample.placebo(e, PANEL, "rate", **k),
    "placebo_in_time": lambda e, **k: resample.placebo_in_time(e, PANEL, "rate", periods=1, **k),
    "power": lambda e, **k: resample.power(e, PANEL, "rate", effects=[-1.0], replicates=2, **k),
    "randomize": lambda e, **k: resample.randomize(e, PANEL, "rate", draws=9, **k),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_estimator_is_a_function(name: str) -> None:
    for given in ("imputation", 3, overall(PANEL, "rate")):
        with pytest.raises(DataError, match="must be a function of a panel and an outcome") as caught:
            CALLS[name](given)
        assert caught.value.code == "PMG-ESTIMATOR"


@pytest.mark.parametrize("name", [name for name in CALLS if name != "calibrate, default"])
def test_an_estimator_returns_an_estimate(name: str) -> None:
    for returned in (3.0, None, pd.DataFrame()):

        def wrong(panel: pe.Panel, outcome: str, found: Any = returned) -> Any:
            return found

        with pytest.raises(DataError, match="must return an Estimate, not") as caught:
            CALLS[name](wrong)
        assert caught.value.code == "PMG-ESTIMATOR"


def test_errors_of_an_estimator_of_ones_own_are_not_hidden() -> None:
    def broken(panel: pe.Panel, outcome: str) -> Any:
        raise ZeroDivisionError("mine")

    for name in set(CALLS) - {"calibrate, default"}:
        with pytest.raises(ZeroDivisionError, match="mine"):
            CALLS[name](broken)


RANDOM = ("bootstrap", "calibrate", "cluster bootstrap", "placebo", "power", "randomize")


@pytest.mark.parametrize("name", RANDOM)
def test_a_seed_gives_the_same_numbers_again(name: str) -> None:
    for seed in (None, "seed", -1, 1.5, True):
        with pytest.raises(DataError, match="PMG-SEED"):
            CALLS[name](did.imputation if name == "placebo" else overall, rng=seed)


@pytest.mark.parametrize("name", [name for name in CALLS if not name.startswith(("donut", "placebo_in"))])
def test_a_number_of_processes(name: str) -> None:
    chosen = {"placebo": did.imputation, "conformal": synth.sdid, "jackknife_plus": synth.sdid}.get(name, overall)
    for jobs in (0, "all", 1.5, None, -2):
        with pytest.raises(DataError, match="PMG-JOBS"):
            CALLS[name](chosen, n_jobs=jobs)


def test_labels_eligible_areas_and_checkpoints() -> None:
    for name, label in (("bootstrap", "cluster"), ("jackknife", "cluster"), ("randomize", "within")):
        with pytest.raises(DataError, match=f"{label}=.'size'. must name one label"):
            CALLS[name](overall, **{label: ["size"]})
    with pytest.raises(DataError, match=r"by=.'size'. must name one label"):
        resample.leave_one_out(overall, PANEL, "rate", by=["size"])  # type: ignore[arg-type]
    for name in ("calibrate", "placebo", "power", "randomize"):
        for given in ("large", 5, PANEL):
            with pytest.raises(DataError, match=r"PMG-POOL.*must be a list of unit labels"):
                CALLS[name](did.imputation if name == "placebo" else overall, eligible=given)
    with pytest.raises(DataError, match="checkpoint=3 is no path"):
        resample.jackknife(overall, PANEL, "rate", checkpoint=3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="PMG-UNIT"):
        resample.conformal(synth.sdid, ONE, "rate", unit=[0], invert=False)


def test_counts_are_whole_numbers() -> None:
    for value in (0, -5, 1.5, "many", None, np.nan, True):
        for call in (
            lambda v: resample.randomize(overall, PANEL, "rate", draws=v),
            lambda v: resample.bootstrap(overall, PANEL, "rate", draws=v),
            lambda v: resample.power(overall, PANEL, "rate", effects=[-1.0], replicates=v),
            lambda v: resample.conformal(synth.sdid, ONE, "rate", draws=v),
        ):
            with pytest.raises(DataError, match="PMG-DRAWS"):
                call(value)
        with pytest.raises(DataError, match=r"batches=.* must be a whole number"):
            resample.placebo(did.imputation, PANEL, "rate", batches=value)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="PMG-OPTION"):
        resample.placebo_in_time(overall, PANEL, "rate", periods="two")  # type: ignore[arg-type]


def test_numbers_are_numbers() -> None:
    for effects in ("big", ["a"], [[1]], {}, {"a": 1}):
        with pytest.raises(DataError, match="PMG-EFFECTS"):
            resample.power(overall, PANEL, "rate", effects=effects, replicates=2)  # type: ignore[arg-type]
    for alpha in (None, "0.05", 5):
        with pytest.raises(DataError, match=r"alpha=.* must lie between 0 and 1"):  # not "level=": nobody gave one
            resample.power(overall, PANEL, "rate", effects=[-1.0], alpha=alpha)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"planned='no'"):  # a text is always true
        resample.power(overall, PANEL, "rate", effects=[-1.0], planned="no")  # type: ignore[arg-type]
    for null in ("x", None, ["a"], [1.0, 2.0]):
        with pytest.raises(DataError, match=r"PMG-SHAPE.*null=0.0"):
            resample.conformal(synth.sdid, ONE, "rate", null=null)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="PMG-METHODS"):
        resample.calibrate(PANEL, "rate", overall)  # type: ignore[arg-type]


def test_a_specification_with_an_unknown_option_is_none() -> None:
    with pytest.raises(DataError, match=r"no option 'base_periodd'.*base_period"):
        resample.curve({"base_periodd": ["varying"]}, PANEL, "rate", estimator=did.group_time, draws=0)
    with pytest.raises(DataError, match="of 'mine' has no option 'famly'"):
        resample.curve({"mine": partial(did.imputation, famly="poisson")}, PANEL, "rate", draws=0)
    with pytest.raises(DataError, match="PMG-ESTIMATOR"):
        resample.curve({"base_period": ["varying"]}, PANEL, "rate", estimator="group_time", draws=0)  # type: ignore[arg-type]
    with pytest.raises(InferenceError, match="must return an Estimate"):
        resample.curve({"a": lambda panel, outcome: 3.0}, PANEL, "rate", draws=0)  # type: ignore[dict-item]
    anything = resample.curve({"a": lambda p, y, **k: overall(p, y)}, PANEL, "rate", draws=0)
    assert len(anything.table) == 1


def test_results_are_printed_in_a_few_lines() -> None:
    fast: dict[str, Any] = {"effects": [-1.0], "replicates": 3}
    shown = {
        "power": repr(resample.power(overall, PANEL, "rate", **fast)),
        "calibrate": repr(resample.calibrate(PANEL, "rate", {"mine": overall}, **fast)),
        "curve": repr(resample.curve({"a": overall}, PANEL, "rate", draws=0)),
        "without": repr(resample.leave_one_out(overall, PANEL, "rate")),
        "boot": repr(resample.bootstrap(overall, PANEL, "rate", draws=99).details),
        "jackknife": repr(resample.jackknife(overall, PANEL, "rate").details),
    }
    assert max(map(len, shown.values())) < 800
    assert shown["power"].startswith("Power at alpha = 0.05 of differences, 3 replicates\n")
    assert "mine" in shown["calibrate"]
    assert shown["curve"].startswith("1 specification: median")
    assert shown["without"].startswith("Estimates without each unit (6)\n")
    assert (
        shown["boot"]
        == "BootstrapDetails(kind='multiplier', 99 replicates of 1 term; more in spread() and intervals())"
    )
    assert shown["jackknife"].startswith("JackknifeDetails(24 estimates of 1 term")


def test_a_placebo_in_time_says_so() -> None:
    found = resample.placebo_in_time(overall, PANEL, "rate", periods=1)
    assert "placebo in time: as if the programme had started 1 period earlier" in repr(found)
    assert found.provenance.steps[-1] == "placebo_in_time(periods=1, anticipation=0)"


def test_what_is_analyzed_further_is_an_estimate_of_the_right_kind() -> None:
    table = overall(PANEL, "rate").to_frame()
    for call in (
        infer.adjust,
        infer.pool,
        infer.shrink,
        infer.ranks,
        infer.pretrend_power,
        lambda e: infer.equivalence(e, 0.1),
        lambda e: infer.common_shock(e, PANEL, "rate"),
    ):
        for given in (table, None, "x", PANEL):
            with pytest.raises(DataError, match="an Estimate is needed, not"):
                call(given)
    study = did.group_time(PANEL, "rate").average(by="event_time")
    for pooling in (infer.pool, infer.shrink, infer.ranks):
        with pytest.raises(DataError, match=r"different periods .event_time. of the same areas"):
            pooling(study)
