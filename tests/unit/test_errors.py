"""Errors say what, where (first five) and what to do, and keep everything as attributes."""

import pickle
import warnings

import pytest

from pmg_eval import errors
from pmg_eval.errors import (
    DataError,
    DesignError,
    DisclosureError,
    InferenceError,
    NumericalError,
    PmgEvalError,
    PmgEvalWarning,
    Problem,
    warn,
)


def test_text_and_attributes() -> None:
    found = DataError("PMG-X", "rows are missing", where=(f"area {i}" for i in range(12)), fix="fill them in")
    assert str(found) == (
        "[PMG-X] rows are missing; where: area 0, area 1, area 2, area 3, area 4 (first 5 of 12). "
        "What to do: fill them in"
    )
    assert found.code == "PMG-X"
    assert found.what == "rows are missing"
    assert found.fix == "fill them in"
    assert found.where == tuple(f"area {i}" for i in range(12))
    assert found.problems == (Problem("PMG-X", "rows are missing", found.where, "fill them in"),)


def test_short_texts() -> None:
    assert str(DataError("PMG-X", "bad")) == "[PMG-X] bad"
    assert str(DataError("PMG-X", "bad", where=[1, 2])) == "[PMG-X] bad; where: 1, 2"
    assert str(DataError("PMG-X", "bad", where=range(5))) == "[PMG-X] bad; where: 0, 1, 2, 3, 4"
    assert str(DataError("PMG-X", "bad", fix="good")) == "[PMG-X] bad. What to do: good"


def test_all_problems_at_once() -> None:
    found = DataError.of([Problem("PMG-A", "one", (1,), "mend"), Problem("PMG-B", "two")])
    assert isinstance(found, DataError)
    assert found.code == "PMG-A"
    assert found.where == (1,)
    assert [problem.code for problem in found.problems] == ["PMG-A", "PMG-B"]
    assert str(found) == "2 problems found:\n  1. [PMG-A] one; where: 1. What to do: mend\n  2. [PMG-B] two"
    assert str(DataError.of(Problem("PMG-A", "one") for _ in range(1))) == "[PMG-A] one"


@pytest.mark.parametrize("kind", [DataError, DesignError, NumericalError, InferenceError, DisclosureError])
def test_one_tree(kind: type[PmgEvalError]) -> None:
    with pytest.raises(PmgEvalError) as caught:
        raise kind("PMG-X", "bad")
    assert type(caught.value) is kind
    assert not issubclass(kind, ValueError | KeyError)  # catching those must not swallow ours


def test_errors_survive_the_way_back_from_another_process() -> None:
    """joblib sends an exception of a worker by pickle; it must arrive as itself, not as a TypeError."""
    found = DataError.of([Problem("PMG-A", "one", ("x",), "mend"), Problem("PMG-B", "two")])
    back = pickle.loads(pickle.dumps(found))  # noqa: S301 (our own bytes)
    assert type(back) is DataError
    assert str(back) == str(found)
    assert (back.code, back.where, back.fix, back.problems) == (found.code, found.where, found.fix, found.problems)
    with pytest.warns(PmgEvalWarning) as caught:
        warn("PMG-W", "careful", where=["x"], fix="look")
    again = pickle.loads(pickle.dumps(caught[0].message))  # noqa: S301
    assert (str(again), again.code, again.where) == (str(caught[0].message), "PMG-W", ("x",))


def test_warnings_have_a_code_and_point_at_the_caller() -> None:
    def library() -> None:
        warn("PMG-W", "few areas", where=range(7), fix="more areas")

    with pytest.warns(PmgEvalWarning) as caught:
        library()
    message = caught[0].message
    assert message.code == "PMG-W"
    assert message.where == tuple(range(7))
    assert str(message) == "[PMG-W] few areas; where: 0, 1, 2, 3, 4 (first 5 of 7). What to do: more areas"
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", PmgEvalWarning)
        with pytest.raises(PmgEvalWarning):
            library()
    assert issubclass(errors.PmgEvalWarning, UserWarning)
