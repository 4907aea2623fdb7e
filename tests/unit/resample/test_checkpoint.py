"""Checkpoints: a resumed job is the uninterrupted one bit for bit, and only the same job may resume."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pmg_eval as pe
from pmg_eval import did
from pmg_eval._progress import listening
from pmg_eval.errors import DataError
from pmg_eval.resample import _checkpoint
from pmg_eval.resample._checkpoint import job_key
from pmg_eval.resample._describe import described
from pmg_eval.resample._tasks import run
from unit.resample.panels import panel_of, staggered

KEY = {"data": "d", "options": {"a": 1}, "seed": 0}
ODD = [0.1 + 0.2, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1.7976931348623157e308, 1 / 3]


class Interrupted(Exception):
    """Stands for Ctrl-C."""


def work(task: int) -> list[float]:
    rng = np.random.default_rng(task)
    return [float(task), *rng.normal(size=3).tolist(), ODD[task % len(ODD)]]


def stopping_at(point: int, done: list[int]):
    def task(number: int) -> list[float]:
        if number == point:
            raise Interrupted
        done.append(number)
        return work(number)

    return task


def bits(results: list) -> bytes:
    return np.array(results, dtype=np.float64).tobytes()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_with_a_checkpoint_the_same_bits_as_without(tmp_path: Path, n_jobs: int) -> None:
    plain = run(work, range(16), 1)
    first = run(work, range(16), n_jobs, checkpoint=tmp_path / "c.jsonl", key=KEY)
    again = run(stopping_at(0, []), range(16), 1, checkpoint=tmp_path / "c.jsonl", key=KEY)  # nothing is computed
    assert bits(plain) == bits(first) == bits(again)
    assert str(first[1][4]) == "-0.0"


def test_interrupted_twenty_times_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At random points, written after every result or only at the end: each task runs once."""
    whole = bits(run(work, range(30), 1))
    rng = np.random.default_rng(7)
    for number in range(20):
        monkeypatch.setattr(_checkpoint, "_SECONDS", [0.0, 1.0][number % 2])
        path = tmp_path / f"{number}.jsonl"
        done: list[int] = []
        for point in np.sort(rng.choice(30, size=int(rng.integers(1, 4)), replace=False)):
            with pytest.raises(Interrupted):
                run(stopping_at(point, done), range(30), 1, checkpoint=path, key=KEY)
        assert bits(run(stopping_at(-1, done), range(30), 1, checkpoint=path, key=KEY)) == whole
        assert done == list(range(30))


KILLED = """
import os, sys, time
import numpy as np
from pmg_eval.resample import _checkpoint
from pmg_eval.resample._tasks import run
_checkpoint._SECONDS = 0.0
def work(task):
    time.sleep(0.02)
    return np.random.default_rng(task).normal(size=3)
found = run(work, range(int(sys.argv[2])), 1, checkpoint=sys.argv[1], key={"data": "d", "options": 1, "seed": 0})
print(np.array(found).tobytes().hex())
"""


def test_kill_nine(tmp_path: Path) -> None:
    path = tmp_path / "killed.jsonl"
    victim = subprocess.Popen([sys.executable, "-c", KILLED, str(path), "100000"], env=dict(os.environ))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (not path.exists() or path.read_bytes().count(b"\n") < 4):
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    done = path.read_bytes().count(b"\n") - 1
    assert done >= 3

    def draw(task: int) -> np.ndarray:
        return np.random.default_rng(task).normal(size=3)

    computed = []
    key = {"data": "d", "options": 1, "seed": 0}
    total = done + 5
    found = run(lambda task: computed.append(task) or draw(task), range(total), 1, checkpoint=path, key=key)
    assert np.array(found).tobytes() == np.array([draw(task) for task in range(total)]).tobytes()
    assert computed[0] in (done, done + 1)  # the line that was being written
    assert computed[-1] == total - 1


def test_progress_continues(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(stopping_at(3, []), range(5), 1, "things", checkpoint=tmp_path / "c", key=KEY)
    seen = []
    with listening(lambda *what: seen.append(what)):
        run(work, range(5), 1, "things", checkpoint=tmp_path / "c", key=KEY)
    assert seen == [("things", 3, 5), ("things", 4, 5), ("things", 5, 5)]


def test_more_tasks_of_the_same_job_and_a_job_in_parts(tmp_path: Path) -> None:
    path, done = tmp_path / "c", []
    run(work, range(4), 1, checkpoint=path, key=KEY)
    assert bits(run(stopping_at(-1, done), range(9), 1, checkpoint=path, key=KEY)) == bits(run(work, range(9), 1))
    assert done == [4, 5, 6, 7, 8]
    assert len(run(stopping_at(0, []), range(2), 1, checkpoint=path, key=KEY)) == 2
    later = run(stopping_at(-1, done), range(7, 12), 1, checkpoint=path, key=KEY, first=7)
    assert bits(later) == bits(run(work, range(7, 12), 1))
    assert done[5:] == [9, 10, 11]
    with pytest.raises(DataError) as caught:
        run(work, range(99, 100), 1, checkpoint=path, key=KEY, first=99)
    assert caught.value.code == "PMG-CHECKPOINT"


def full(path: Path) -> bytes:
    """A file with a header and four lines of one result each."""
    for count in range(1, 5):
        run(work, range(count), 1, checkpoint=path, key=KEY)
    return path.read_bytes()


def test_the_file_is_private_json_lines_that_say_nothing_but_results(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.touch(mode=0o644)
    lines = full(path).decode().splitlines()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(lines) == 5
    header = json.loads(lines[0])
    assert set(header) == {"check", "schema", "data", "options", "seed", "version"}
    assert all(len(header[part]) == 64 for part in ("data", "options", "seed"))
    assert json.loads(lines[3])["results"][0][4] == {"float": "nan"}
    fresh = tmp_path / "fresh"
    run(work, range(1), 1, checkpoint=fresh, key=KEY)
    assert fresh.stat().st_mode & 0o777 == 0o600


def test_every_torn_end_is_dropped(tmp_path: Path) -> None:
    """Cut anywhere: what is whole is kept, and the job ends as if nothing had happened."""
    path = tmp_path / "c"
    raw, whole = full(path), bits(run(work, range(4), 1))
    for size in range(0, len(raw), 23):
        path.write_bytes(raw[:size])
        done: list[int] = []
        assert bits(run(stopping_at(-1, done), range(4), 1, checkpoint=path, key=KEY)) == whole
        kept = max(0, raw[:size].count(b"\n") - 1)
        assert done == list(range(kept, 4))
        path.write_bytes(raw)


def test_any_other_damage_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c"
    raw = full(path)
    lines = raw.splitlines(keepends=True)
    rng = np.random.default_rng(3)
    damaged = [b"".join([lines[0], lines[2], lines[1], *lines[3:]]), b"".join([*lines[:2], *lines[3:]])]
    damaged += [raw[:-1] + b" \n", raw + b"{}\n", raw + b"\n", b"some text\n", b"some text", b"[1]\n", b"\xff\xfe\n"]
    for place in rng.choice(len(raw) - 1, size=60, replace=False):
        changed = bytearray(raw)
        changed[place] = changed[place] ^ 1
        damaged.append(bytes(changed))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            run(work, range(4), 1, checkpoint=path, key=KEY)
        assert caught.value.code == "PMG-CHECKPOINT"
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("part", "words"),
    [("data", "the data"), ("options", "the estimator or an option"), ("seed", "the seed")],
)
def test_another_job_is_refused_and_says_what_differs(tmp_path: Path, part: str, words: str) -> None:
    path = tmp_path / "c"
    run(work, range(2), 1, checkpoint=path, key=KEY)
    with pytest.raises(DataError) as caught:
        run(work, range(2), 1, checkpoint=path, key={**KEY, part: "secret 123"})
    assert caught.value.code == "PMG-CHECKPOINT"
    assert words in str(caught.value)
    others = {"the data", "the estimator or an option", "the seed", "the version"} - {words}
    assert not any(other in str(caught.value) for other in others)
    assert "secret" not in str(caught.value)
    with pytest.raises(DataError):
        run(work, range(2), 1, "another kind of job", checkpoint=path, key=KEY)


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c"
    run(work, range(2), 1, checkpoint=path, key=KEY)
    found = {"pmg_eval": "99.0", "python": "3", "numpy": "1", "pandas": "1", "scipy": "1"}
    monkeypatch.setattr("pmg_eval.estimate.provenance._found_versions", lambda: found)
    with pytest.raises(DataError, match=r"the version \(pmg_eval .* -> 99.0"):
        run(work, range(2), 1, checkpoint=path, key=KEY)


def test_what_cannot_be_done(tmp_path: Path) -> None:
    def code(*options, function=work, **more) -> str:
        with pytest.raises(DataError) as caught:
            run(function, range(2), 1, *options, **more)
        return caught.value.code

    assert code(checkpoint=tmp_path / "c") == "PMG-CHECKPOINT"  # no key
    assert code(checkpoint=tmp_path / "no" / "c", key=KEY) == "PMG-CHECKPOINT"
    assert code(checkpoint=tmp_path, key=KEY) == "PMG-CHECKPOINT"
    assert code(checkpoint=tmp_path / "d", key=KEY, function=lambda task: {1}) == "PMG-CHECKPOINT"


def test_one_job_at_a_time(tmp_path: Path) -> None:
    with _checkpoint.opened(tmp_path / "c", KEY, ""), pytest.raises(DataError, match="another job"):
        run(work, range(2), 1, checkpoint=tmp_path / "c", key=KEY)


def test_the_key_sees_data_estimator_options_and_seed() -> None:
    table = staggered(n=12)
    panel = panel_of(table, region="region").for_outcome("rate")
    pretrend = partial(did.imputation, pretrend=False)

    def key(estimator=pretrend, panel=panel, outcome="rate", options=None, seed=0) -> str:
        return json.dumps(job_key(estimator, panel, outcome, options or {}, seed), default=str)

    changed = table.assign(rate=lambda d: d["rate"] + (d.index == 50) * 1e-9)
    moved = table.assign(region=lambda d: d["region"].where(d["area"] != "a003", "r7"))
    step = 1.0
    keys = [
        key(),
        key(panel=panel_of(changed, region="region").for_outcome("rate")),
        key(panel=panel_of(moved, region="region").for_outcome("rate")),
        key(partial(did.imputation, pretrend=True)),
        key(did.imputation),
        key(did.group_time),
        key(partial(did.group_time, controls=did.NotYetTreated())),
        key(lambda panel, outcome: did.imputation(panel, outcome).average()),
        key(lambda panel, outcome: did.imputation(panel, outcome).average(by="cohort")),
        key(lambda panel, outcome: step),
        key(options={"within": "region"}),
        key(seed=1),
        key(seed=np.random.default_rng(0)),
        key(seed=np.random.default_rng(1)),
    ]
    step = 2.0
    keys.append(key(lambda panel, outcome: step))
    assert len(set(keys)) == len(keys)
    assert " at 0x" not in "".join(keys)
    assert key(seed=np.random.default_rng(1)) == keys[13]  # the same generator draws the same
    used = np.random.default_rng(1)
    used.spawn(1)
    assert key(seed=used) != keys[13]
    shuffled = table.sample(frac=1, random_state=0)
    assert key(panel=panel_of(shuffled, region="region").for_outcome("rate")) == keys[0]


class Callable_:
    def __init__(self, shift: float) -> None:
        self.shift = shift

    def __call__(self, panel: pe.Panel, outcome: str) -> float:
        return self.shift

    def method(self, panel: pe.Panel, outcome: str) -> float:
        return self.shift


def test_descriptions() -> None:
    assert described(partial(did.imputation, pretrend=False)) == [
        "pmg_eval.did._imputation.imputation",
        [],
        {"pretrend": False},
    ]
    assert described([1, 2.5, "a", None, True, np.float64(0.1), np.int64(3)]) == [1, "2.5", "a", None, True, "0.1", 3]
    assert described(np.arange(3.0)) == described(np.arange(3.0)) != described(np.arange(3))
    assert described(pd.Series([1, 2])) != described(pd.Series([1, 3]))
    assert described(Callable_(1.0)) == described(Callable_(1.0)) != described(Callable_(2.0))
    assert described(Callable_(1.0).method) != described(Callable_(2.0).method)
    assert described(len) == "builtins.len"
    assert described(np) == "numpy"
    assert described({"b", "a"}) == ["a", "b"]
    assert "0x" not in repr(described(object()))

    def recursive(panel: pe.Panel, outcome: str) -> float:
        return recursive(panel, outcome)

    assert described(recursive) == described(recursive)
