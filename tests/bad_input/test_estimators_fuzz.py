"""Mutated frames through the estimators: the clean number, or the listed code and the clean number after the repair."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bad_input.cases import Call
from bad_input.mutations import MUTATIONS, Drawn, draw
from pmg_eval import did, synth
from pmg_eval.errors import PmgEvalError, PmgEvalWarning
from pmg_eval.estimate import Estimate
from pmg_eval.panel import Panel

Answer = tuple[Any, ...]

ESTIMATORS: dict[str, Callable[..., Estimate[Any]]] = {
    "group_time": did.group_time,
    "imputation": did.imputation,
    "imputation given x": partial(did.imputation, covariates="~ x"),
    "poisson": partial(did.imputation, family="poisson", pretrend=False),
    "classic": partial(synth.classic, poor_fit="keep"),
    "classic of rates": partial(synth.classic, family="poisson"),
    "sdid": synth.sdid,
    "sdid of rates": partial(synth.sdid, weights="unit", family="poisson"),
    "hull": synth.hull,
    "hull of rates": partial(synth.hull, family="poisson"),
}
OF_COUNTS = {"poisson", "classic of rates", "sdid of rates", "hull of rates"}
# Repairs after which every cell is there again; the others leave cells out.
LOSSLESS = {
    "repeated rows",
    "zero undeclared",
    "missing cohort undeclared",
    "dates without freq",
    "text years",
    "text waves",
    "keys in the index",
}
ONLY_WITH_X = {"missing covariate"}
PLACE = ("inside", "unique", "distance", "n_pre", "n_post", "n_donors", "width", "effective_donors")
SECONDS = 5.0  # far above what one frame takes, far below a hang


def answer(estimator: str, call: Call) -> Answer:
    """Overall effect, its standard error if there is one, and all terms; or the code of the refusal."""
    try:
        estimate = run(estimator, call)
        nothing_unsaid(estimate)
        if estimator.startswith("hull"):  # bounds have no average
            return estimate.values, *(estimate.details.table[name].to_numpy(dtype=float) for name in PLACE)
        overall = estimate.average()
    except PmgEvalError as error:
        return (error.code,)
    nothing_unsaid(overall)
    law = () if overall.uncertainty is None else (overall.se,)
    return overall.values, *law, estimate.values


def run(estimator: str, call: Call) -> Estimate[Any]:
    with warnings.catch_warnings():
        # What a synthetic control has to say about its weights is no reaction to the mutation.
        warnings.filterwarnings("ignore", r"\[PMG-(NON-UNIQUE|FEW-DONORS)\]", PmgEvalWarning)
        return ESTIMATORS[estimator](Panel(call.frame, **call.roles), call.outcome)


def nothing_unsaid(estimate: Estimate[Any]) -> None:
    frame = estimate.to_frame()
    wanted = ["estimate"] if estimate.uncertainty is None else ["estimate", "std_error"]
    empty = frame[wanted].isna().any(axis=1)
    assert (frame.loc[empty, "status"] != "").all(), frame[empty]


def same(found: Answer, want: Answer, what: str) -> None:
    assert len(found) == len(want), f"{what}: {found} for {want}"
    if isinstance(want[0], str) or isinstance(found[0], str):
        assert found == want, what
        return
    for left, right in zip(found, want, strict=True):
        scale = np.nanmax(np.abs(right), initial=1e-300)
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-10 * scale, err_msg=what)


def kinds(drawn: Drawn) -> list[str]:
    return [name for name in ESTIMATORS if name not in OF_COUNTS or drawn.clean.outcome == "count"]


def shown(drawn: Drawn, estimator: str) -> str:
    return f"frame {drawn.index}: {drawn.mutation.label} {drawn.mutation.name!r}, {estimator}"


def check_harmless(drawn: Drawn, estimator: str) -> None:
    same(answer(estimator, drawn.mutated), answer(estimator, drawn.clean), shown(drawn, estimator))


def check_refused(drawn: Drawn, estimator: str) -> None:
    if drawn.mutation.name in ONLY_WITH_X and estimator != "imputation given x":
        check_harmless(drawn, estimator)
        return
    with pytest.raises(PmgEvalError) as caught:
        run(estimator, drawn.mutated)
    assert {problem.code for problem in caught.value.problems} == {drawn.mutation.code}, shown(drawn, estimator)
    assert all(problem.fix for problem in caught.value.problems), shown(drawn, estimator)


def check_repaired(drawn: Drawn, estimator: str) -> None:
    call = drawn.repaired
    assert call is not None
    if drawn.mutation.name in ONLY_WITH_X and estimator != "imputation given x":
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)  # what is lost may differ between the arms by chance
        found = answer(estimator, call)
        if drawn.mutation.name == "start inside a year":
            check_share(drawn, estimator, found)
            return
        same(found, answer(estimator, without_what_is_lost(drawn)), shown(drawn, estimator))


def without_what_is_lost(drawn: Drawn) -> Call:
    """The clean call, less the cells that the mutation made unusable."""
    clean, mutated = drawn.clean, drawn.mutated.frame
    if drawn.mutation.name in LOSSLESS:
        return clean
    if drawn.mutation.name == "decimal comma":  # written with three decimals
        return clean.with_(clean.frame.assign(**{clean.outcome: clean.frame[clean.outcome].astype(float).round(3)}))
    kept = mutated.dropna(subset=[clean.outcome, "x", "people"])[["id", "year"]]
    return clean.with_(clean.frame.merge(kept, on=["id", "year"]), missing="pairwise")


def check_share(drawn: Drawn, estimator: str, found: Answer) -> None:
    """Three quarters of the first period were treated: its effects are those of the clean frame over 0.75."""
    want = answer(estimator, drawn.clean)
    if estimator in OF_COUNTS:
        assert found == ("PMG-SHARE",)
        return
    if len(want) == 1:
        assert found == want, shown(drawn, estimator)
        return
    clean = run(estimator, drawn.clean)
    if estimator == "hull":
        years = np.repeat(clean.details.table["n_post"], 2)
        same(found[:1], (clean.values * years / (years - 0.25),), shown(drawn, estimator))
        return
    start = ((clean.terms["event_time"] == 0) & (clean.terms["estimand"] != "pretrend")).to_numpy()
    same(found[-1:], (np.where(start, clean.values / 0.75, clean.values),), shown(drawn, estimator))


CHECKS = {"harmless": [check_harmless], "repairable": [check_refused, check_repaired], "fatal": [check_refused]}


def test_fuzz(fuzz_frames: int) -> None:
    done: Counter[str] = Counter()
    for index in range(fuzz_frames):
        drawn = draw(index)
        frame = drawn.mutated.frame
        before = frame.copy(deep=True) if isinstance(frame, pd.DataFrame) else None
        start = time.perf_counter()
        for estimator in kinds(drawn):
            for check in CHECKS[drawn.mutation.label]:
                check(drawn, estimator)
        assert time.perf_counter() - start < SECONDS * len(kinds(drawn)), f"frame {index} took too long"
        if before is not None:
            pd.testing.assert_frame_equal(frame, before)
        done[drawn.mutation.label] += 1
    assert done["harmless"] >= 0.4 * fuzz_frames


def test_repairs_are_all_accounted_for() -> None:
    lossy = {"missing outcome", "NA outcome", "missing exposure", "absent rows", "decimal comma", "start inside a year"}
    repairable = {mutation.name for mutation in MUTATIONS if mutation.label == "repairable"}
    assert repairable == LOSSLESS | lossy | ONLY_WITH_X


@pytest.mark.parametrize(
    ("estimator", "least"),
    [("group_time", 36), ("classic", 20), ("sdid", 30), ("hull", 36), ("classic of rates", 20), ("hull of rates", 36)],
)
def test_most_clean_frames_give_a_number(estimator: str, least: int) -> None:
    """A fuzz whose clean frames are all refused would prove nothing. (Four years before the start are not in all.)"""
    drawn = [draw(index) for index in range(80)]
    calls = [item.clean for item in drawn if estimator in kinds(item)][:40]
    assert sum(len(answer(estimator, call)) > 1 for call in calls) >= least * len(calls) / 40
