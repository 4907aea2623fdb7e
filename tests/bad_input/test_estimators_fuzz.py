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
from pmg_eval import did
from pmg_eval.errors import PmgEvalError, PmgEvalWarning
from pmg_eval.estimate import Estimate
from pmg_eval.panel import Panel

Answer = tuple[Any, ...]

ESTIMATORS: dict[str, Callable[..., Estimate[Any]]] = {
    "group_time": did.group_time,
    "imputation": did.imputation,
    "imputation given x": partial(did.imputation, covariates="~ x"),
    "poisson": partial(did.imputation, family="poisson", pretrend=False),
}
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
SECONDS = 5.0  # far above what one frame takes, far below a hang


def answer(estimator: str, call: Call) -> Answer:
    """Overall effect, its standard error, and the treated cells; or the code of the refusal."""
    try:
        estimate = ESTIMATORS[estimator](Panel(call.frame, **call.roles), call.outcome)
        overall = estimate.average()
    except PmgEvalError as error:
        return (error.code,)
    nothing_unsaid(estimate)
    nothing_unsaid(overall)
    return overall.values, overall.se, estimate.values


def nothing_unsaid(estimate: Estimate[Any]) -> None:
    frame = estimate.to_frame()
    empty = frame[["estimate", "std_error"]].isna().any(axis=1)
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
    return [name for name in ESTIMATORS if name != "poisson" or drawn.clean.outcome == "count"]


def shown(drawn: Drawn, estimator: str) -> str:
    return f"frame {drawn.index}: {drawn.mutation.label} {drawn.mutation.name!r}, {estimator}"


def check_harmless(drawn: Drawn, estimator: str) -> None:
    same(answer(estimator, drawn.mutated), answer(estimator, drawn.clean), shown(drawn, estimator))


def check_refused(drawn: Drawn, estimator: str) -> None:
    if drawn.mutation.name in ONLY_WITH_X and estimator != "imputation given x":
        check_harmless(drawn, estimator)
        return
    with pytest.raises(PmgEvalError) as caught:
        ESTIMATORS[estimator](Panel(drawn.mutated.frame, **drawn.mutated.roles), drawn.mutated.outcome)
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
    if estimator == "poisson":
        assert found == ("PMG-SHARE",)
        return
    if len(want) == 1:
        assert found == want, shown(drawn, estimator)
        return
    clean = ESTIMATORS[estimator](Panel(drawn.clean.frame, **drawn.clean.roles), drawn.clean.outcome)
    start = ((clean.terms["event_time"] == 0) & (clean.terms["estimand"] == "att")).to_numpy()
    same(found[2:], (np.where(start, clean.values / 0.75, clean.values),), shown(drawn, estimator))


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


def test_most_clean_frames_give_a_number() -> None:
    """A fuzz whose clean frames are all refused would prove nothing."""
    numbers = sum(len(answer("group_time", draw(index).clean)) > 1 for index in range(40))
    assert numbers >= 36
