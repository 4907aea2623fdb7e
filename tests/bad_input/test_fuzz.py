"""Mutated frames: harmless ones give the clean arrays exactly, the others the listed code; nothing else escapes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bad_input.mutations import MUTATIONS, Drawn, draw
from pmg_eval.errors import DesignError, PmgEvalError, PmgEvalWarning
from pmg_eval.panel import Panel

ARRAYS = ("time_codes", "cohort", "row_unit", "row_time", "weight", "unit_weight", "exposure", "contaminated_from")


def shown(drawn: Drawn) -> str:
    return f"frame {drawn.index}: {drawn.mutation.label} {drawn.mutation.name!r}"


def keep(frame: Any) -> Any:
    return frame.copy(deep=True) if isinstance(frame, pd.DataFrame) else frame


def same_frame(frame: Any, before: Any) -> bool:
    if not isinstance(frame, pd.DataFrame):
        return True  # polars and pyarrow tables cannot be changed in place by reading
    pd.testing.assert_frame_equal(frame, before)
    return True


def check_harmless(drawn: Drawn) -> None:
    expected, found = drawn.clean.panel(), drawn.mutated.panel()
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=f"{shown(drawn)} {name}")
    for column in (drawn.clean.outcome, "x"):
        np.testing.assert_array_equal(found.wide(column), expected.wide(column), err_msg=shown(drawn))
        np.testing.assert_array_equal(found.column(column), expected.column(column), err_msg=shown(drawn))
    assert found.n_units == expected.n_units
    if not drawn.mutation.relabels:
        assert found.units.tolist() == expected.units.tolist(), shown(drawn)
        assert found.times.tolist() == expected.times.tolist(), shown(drawn)
        assert found.fingerprint == expected.fingerprint, shown(drawn)
        assert [notice.code for notice in found.notes] == [notice.code for notice in expected.notes], shown(drawn)


def check_refused(drawn: Drawn) -> None:
    with pytest.raises(PmgEvalError) as caught:
        drawn.mutated.panel()
    assert {problem.code for problem in caught.value.problems} == {drawn.mutation.code}, shown(drawn)


def check_repaired(drawn: Drawn) -> None:
    call = drawn.repaired
    assert call is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PmgEvalWarning)  # what is lost may differ between the arms by chance
        try:
            panel = call.panel()
        except DesignError:
            return  # a small panel may lose its last comparison unit: also a clear answer
    assert isinstance(panel, Panel)
    assert np.isfinite(panel.column(call.outcome)).all()


def test_fuzz(fuzz_frames: int) -> None:
    harmless = 0
    for index in range(fuzz_frames):
        drawn = draw(index)
        before = keep(drawn.mutated.frame)
        if drawn.mutation.label == "harmless":
            harmless += 1
            check_harmless(drawn)
        else:
            check_refused(drawn)
        if drawn.mutation.label == "repairable":
            check_repaired(drawn)
        assert same_frame(drawn.mutated.frame, before), shown(drawn)
    assert harmless >= 0.4 * fuzz_frames


def test_default_run_reaches_every_mutation() -> None:
    reached = {draw(index).mutation.name for index in range(200)}
    assert reached == {mutation.name for mutation in MUTATIONS}


def test_same_index_gives_the_same_frame() -> None:
    pd.testing.assert_frame_equal(draw(1).mutated.frame, draw(1).mutated.frame)
