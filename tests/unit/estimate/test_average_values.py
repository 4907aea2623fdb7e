"""Averages by plain sums are the averages, bit for bit; what a replicate lacks is NaN."""

from functools import partial

import numpy as np
import pytest

from pmg_eval import did, resample, synth
from pmg_eval.estimate.average import average_values
from pmg_eval.evaluation._parts import Parts
from unit.resample.panels import counts, panel_of, staggered

GAUSSIAN = panel_of(staggered(n=30, periods=7, starts={2003: 4, 2005: 1}))
POISSON = panel_of(counts(n=30, periods=7, starts={2003: 4, 2005: 1}))
ESTIMATORS = {
    "imputation": did.imputation,
    "group_time": did.group_time,
    "universal": partial(did.group_time, base_period="universal"),
    "sdid": synth.sdid,
    "classic": partial(synth.classic, poor_fit="keep"),
}


@pytest.mark.parametrize("by", [None, "cohort", "event_time"])
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.filterwarnings("ignore::pmg_eval.PmgEvalWarning")
def test_the_values_of_averages(name: str, by: str | None) -> None:
    for panel, outcome, family in ((GAUSSIAN, "rate", "gaussian"), (POISSON, "suspects", "poisson")):
        found = ESTIMATORS[name](panel, outcome, family=family)
        whole = found.average(by=by)
        given = whole.take(np.flatnonzero(whole.terms["status"] != "reference"))
        np.testing.assert_array_equal(average_values(found, given.terms, by), given.values)
        turned = given.take(np.arange(len(given))[::-1])
        np.testing.assert_array_equal(average_values(found, turned.terms, by), turned.values)


def test_a_cohort_that_a_replicate_lacks_is_missing() -> None:
    whole = did.imputation(GAUSSIAN, "rate").average(by="cohort")
    part = GAUSSIAN.select(GAUSSIAN.units != GAUSSIAN.units[4])
    found = average_values(did.imputation(part, "rate"), whole.terms, "cohort")
    assert np.isnan(found).tolist() == [False, True]


def test_a_jackknife_of_values_is_that_of_estimates() -> None:
    parts = Parts(did.imputation, (("group_time", did.group_time),))
    quick = resample.jackknife(parts, GAUSSIAN, "rate")
    slow = resample.jackknife(lambda panel, outcome: parts(panel, outcome), GAUSSIAN, "rate")
    assert quick.details is not None
    assert slow.details is not None
    np.testing.assert_array_equal(quick.details.leave_one_out, slow.details.leave_one_out)
