"""Every registered estimator of spells obeys the laws it claims, on random valid data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from pmg_eval import recidivism
from pmg_eval.errors import DesignError
from pmg_eval.panel import Spells
from pmg_eval.recidivism._curves import Curves
from pmg_eval.recidivism._risk import risk_table
from pmg_eval.recidivism._robust import psi
from pmg_eval.registry import REGISTRY, SPELL_LAWS, SPELL_REGISTRY, Entry, register

pytestmark = pytest.mark.filterwarnings("ignore::pmg_eval.errors.PmgEvalWarning")

EXAMPLES = settings.default.max_examples
seeds = st.integers(0, EXAMPLES - 1 if EXAMPLES <= 25 else 2**31)
TIMES = [2, 4, 7, 9]
LAST = 12


def claimed(law: str) -> Any:
    names = sorted(name for name, entry in SPELL_REGISTRY.items() if law in entry.laws)
    assert names
    return pytest.mark.parametrize("name", names)


def table(name: str, seed: int, *, late: bool = False, censoring: bool = True, one_cause: bool = False) -> pd.DataFrame:
    """Persons with ties, two causes, two groups, four of each to the end; follow-up is complete for prevalence."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(18, 40))
    frame = pd.DataFrame({"id": np.arange(n) * 3 + 7, "group": rng.choice(["A", "B"], n)})
    late = late and name != "recidivism.prevalence"
    frame["entry"] = rng.integers(0, 4, n) if late else 0
    frame["exit"] = frame["entry"] + rng.integers(1, 9, n)
    frame["event"] = rng.random(n) < 0.6
    frame["event"] = frame["event"] | (not censoring)
    if name == "recidivism.prevalence":
        frame.loc[~frame["event"], "exit"] = LAST
    stay = pd.DataFrame({"id": np.arange(8) + 5000, "group": list("AAAABBBB"), "entry": 0, "exit": LAST})
    frame = pd.concat([frame, stay.assign(event=not censoring)], ignore_index=True)
    causes = ["recidivism"] if one_cause else ["recidivism", "death"]
    kind = np.random.default_rng(seed + 1).choice(causes, len(frame), p=None if one_cause else [0.7, 0.3])
    kind[-8:] = "recidivism"
    first = [int(np.flatnonzero((frame["group"] == g) & (frame.index < n))[0]) for g in "AB"]
    frame.loc[first, "event"] = True  # each group has an event of each cause, so the terms are the same everywhere
    kind[first[0]] = "recidivism"
    frame["cause"] = np.where(frame["event"], kind, None)
    frame["event"] = frame["event"].astype(int)
    frame["w"] = np.random.default_rng(seed + 2).uniform(0.5, 2, len(frame))
    frame["f"] = np.random.default_rng(seed + 3).integers(1, 4, len(frame))
    return frame


def spells(frame: pd.DataFrame, *, entry: bool = True, **roles: Any) -> Spells:
    at = {"entry": "entry"} if entry and "entry" in frame else {}
    fixed = {"person": "id", "exit": "exit", "event": "event", "cause": "cause", "group": "group"}
    return Spells(frame, **{**fixed, **at, **roles})


def run(entry: Entry, data: Any, times: list[int] | None = None) -> Any:
    options = dict(entry.options)
    if entry.function is not recidivism.prevalence:
        options["horizons"] = TIMES if times is None else times
    return entry.function(data, **options)


def same(after: Any, before: Any, rtol: float = 1e-10) -> None:
    """Equal terms, values and covariance."""
    assert after.terms[["n_persons", "n_events"]].equals(before.terms[["n_persons", "n_events"]])
    assert_allclose(after.values, before.values, rtol=rtol, atol=1e-14)
    assert_allclose(after.cov(), before.cov(), rtol=1e-8, atol=1e-14)


def of(name: str) -> Entry:
    return SPELL_REGISTRY[name]


def test_every_law_is_claimed_or_refused_with_a_reason() -> None:
    functions = {entry.function for entry in SPELL_REGISTRY.values()}
    assert functions == {recidivism.kaplan_meier, recidivism.cumulative_incidence, recidivism.prevalence}
    for name, entry in SPELL_REGISTRY.items():
        assert entry.name == name
        assert name.split("[")[0] == f"recidivism.{entry.function.__name__}"
        assert entry.laws | set(entry.not_claimed) == set(SPELL_LAWS), name
        assert not entry.laws & set(entry.not_claimed), name
        assert all(len(reason) > 25 for reason in entry.not_claimed.values()), name


def influence(name: str, data: Spells) -> tuple[np.ndarray, np.ndarray]:
    """psi (rows, terms) in the order of the terms, and the person of each row."""
    table_ = risk_table(data)
    km = of(name).function is recidivism.kaplan_meier
    places = [[table_.causes.index("recidivism") + 1]] if km else [[1], [2]][: len(table_.causes)]
    shown = list(range(len(places)))
    curves = Curves(table_, places, tuple(table_.causes), shown, None, "robust")
    blocks = [psi(curve, rows, TIMES, shown) for curve, rows in zip(curves, curves.rows, strict=True)]
    width = len(shown) * len(TIMES)
    out = np.zeros((sum(map(len, blocks)), width * len(blocks)))
    for number, block in enumerate(blocks):
        out[data.rows().group == number, number * width : (number + 1) * width] = block
    return out, data.rows().cluster


@claimed("influence")
@given(seed=seeds)
def test_influence(name: str, seed: int) -> None:
    """psi is d theta / d log w, in random directions by central differences; its squares over persons are the law."""
    frame = table(name, seed, late=True)
    cut = frame.iloc[3:4].assign(entry=frame["entry"].iloc[3] + 20, exit=frame["entry"].iloc[3] + 25, event=0)
    frame.loc[3, ["event", "cause"]] = [0, None]
    frame = pd.concat([frame, cut.assign(cause=None)], ignore_index=True)  # somebody with two spells
    whole = spells(frame, weight="w", weight_kind="survey")
    estimate = run(of(name), whole)
    found, person = influence(name, whole)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        direction, step = rng.normal(size=len(frame)), 1e-5
        moved = [run(of(name), whole.with_weight(np.exp(sign * step * direction))).values for sign in (1, -1)]
        slope = (moved[0] - moved[1]) / (2 * step)
        assert_allclose(direction @ found, slope, rtol=1e-6, atol=1e-8)
    sums = np.zeros((person.max() + 1, found.shape[1]))
    np.add.at(sums, person, found)
    cov = estimate.cov()
    assert np.isfinite(cov).any()
    assert_allclose(cov[np.isfinite(cov)], (sums.T @ sums)[np.isfinite(cov)], rtol=1e-10, atol=1e-15)


@claimed("row_order")
@given(seed=seeds)
def test_row_order(name: str, seed: int) -> None:
    frame = table(name, seed, late=True)
    data, mixed = spells(frame), spells(frame.sample(frac=1, random_state=seed))
    assert data.fingerprint == mixed.fingerprint
    same(run(of(name), mixed), run(of(name), data), rtol=1e-12)


@claimed("relabel_persons")
@given(seed=seeds)
def test_relabel_persons(name: str, seed: int) -> None:
    frame = table(name, seed, late=True)
    other = frame.assign(id=[f"p{hash((seed, i)) % 10**9}-{i}" for i in range(len(frame))])
    assert spells(other).fingerprint == spells(frame).fingerprint
    same(run(of(name), spells(other)), run(of(name), spells(frame)), rtol=1e-12)


@claimed("irrelevant_columns")
@given(seed=seeds)
def test_irrelevant_columns(name: str, seed: int) -> None:
    frame = table(name, seed, late=True)
    more = frame.assign(x=np.nan, y="text", z=pd.NaT)
    assert spells(more).fingerprint == spells(frame).fingerprint
    same(run(of(name), spells(more)), run(of(name), spells(frame)), rtol=0)


@claimed("integer_weights")
@given(seed=seeds)
def test_integer_weights(name: str, seed: int) -> None:
    frame = table(name, seed, late=True)
    many = frame.loc[frame.index.repeat(frame["f"])].reset_index(drop=True)
    many["id"] = np.arange(len(many))
    # the numbers of persons are those that stand behind the row
    same(run(of(name), spells(frame, weight="f", weight_kind="frequency")), run(of(name), spells(many)))


@claimed("scale_weights")
@given(seed=seeds)
def test_scale_weights(name: str, seed: int) -> None:
    frame = table(name, seed, late=True)
    before = run(of(name), spells(frame, weight="w", weight_kind="ipw"))
    same(run(of(name), spells(frame.assign(w=7.5 * frame["w"]), weight="w", weight_kind="ipw")), before)


@claimed("zero_weight")
@given(seed=seeds)
def test_zero_weight(name: str, seed: int) -> None:
    frame = table(name, seed, late=True).assign(f=1)
    ghost = frame.iloc[:3].assign(id=[-1, -2, -3], f=0)
    more = pd.concat([frame, ghost], ignore_index=True)
    same(run(of(name), spells(more, weight="f", weight_kind="frequency")), run(of(name), spells(frame)), rtol=1e-12)


@claimed("entry_zero")
@given(seed=seeds)
def test_entry_zero(name: str, seed: int) -> None:
    frame = table(name, seed)
    same(run(of(name), spells(frame)), run(of(name), spells(frame, entry=False)), rtol=0)


@claimed("split_spell")
@given(seed=seeds)
def test_split_spell(name: str, seed: int) -> None:
    frame = table(name, seed, late=True)
    long = frame["exit"] - frame["entry"] >= 2
    middle = frame["entry"] + np.random.default_rng(seed).integers(1, 2, len(frame)).clip(1)
    head = frame[long].assign(exit=middle[long], event=0, cause=None)
    tail = frame[long].assign(entry=middle[long])
    cut = pd.concat([frame[~long], tail, head], ignore_index=True)
    data = spells(cut)
    assert data.n_rows > len(frame)
    assert data.n_persons == len(frame)
    same(run(of(name), data), run(of(name), spells(frame)), rtol=1e-12)


@claimed("groups_apart")
@given(seed=seeds)
def test_groups_apart(name: str, seed: int) -> None:
    frame = table(name, seed, late=True)
    both = run(of(name), spells(frame))
    for group in "AB":
        alone = spells(frame[frame["group"] == group])
        if alone.causes == spells(frame).causes:
            part = both.where(group=group)
            own = run(of(name), alone)
            same(part, own, rtol=1e-12)
    across = both.cov()[(both.terms["group"] == "A").to_numpy()][:, (both.terms["group"] == "B").to_numpy()]
    assert_allclose(across[np.isfinite(across)], 0)


@claimed("additive_counts")
@given(seed=seeds)
def test_additive_counts(name: str, seed: int) -> None:
    frame = table(name, seed, late=True)
    pick = np.random.default_rng(seed).integers(0, 3, len(frame))
    whole = recidivism.Counts.of(spells(frame))
    parts = [recidivism.Counts.of(spells(frame[pick == part])) for part in range(3)]
    added = parts[0] + parts[1] + parts[2]
    assert added == whole
    assert added.fingerprint == whole.fingerprint == spells(frame).fingerprint
    same(run(of(name), added), run(of(name), spells(frame)), rtol=0)


@claimed("complete")
@given(seed=seeds)
def test_complete(name: str, seed: int) -> None:
    """Kaplan-Meier knows no deaths, so it has one cause here."""
    km = of(name).function is recidivism.kaplan_meier
    frame = table(name, seed, censoring=False, one_cause=km)
    found = run(of(name), spells(frame, entry=False))
    for row, term in found.terms.iterrows():
        own = frame[frame["group"] == term["group"]]
        share = ((own["exit"] <= term["horizon"]) & (own["cause"] == term["outcome"])).mean()
        assert found.values[row] == pytest.approx(share, rel=1e-14, abs=1e-15)


@claimed("monotone")
@given(seed=seeds)
def test_monotone(name: str, seed: int) -> None:
    frame = table(name, seed, late=True)
    found = run(of(name), spells(frame), list(range(LAST + 1)))
    assert ((found.values >= 0) & (found.values <= 1)).all()
    for _, block in found.terms.groupby(["outcome", "group"]):
        assert (np.diff(found.values[block.index]) >= 0).all()


@claimed("time_unit")
@given(seed=seeds)
def test_time_unit(name: str, seed: int) -> None:
    frame = table(name, seed, late=True)
    weeks = frame.assign(entry=7 * frame["entry"], exit=7 * frame["exit"])
    before = run(of(name), spells(frame, time_unit="weeks"))
    same(run(of(name), spells(weeks), [7 * time for time in TIMES]), before, rtol=0)


@claimed("one_cause")
@given(seed=seeds)
def test_one_cause(name: str, seed: int) -> None:
    data = spells(table(name, seed, late=True, one_cause=True))
    same(run(of(name), data), run(of("recidivism.kaplan_meier"), data), rtol=1e-12)


@claimed("causes_sum")
@given(seed=seeds)
def test_causes_sum(name: str, seed: int) -> None:
    data = spells(table(name, seed, late=True))
    found = run(of(name), data)
    free = 1 - recidivism.kaplan_meier(data, cause=list(data.causes), horizons=TIMES).values
    total = pd.Series(found.values).groupby([found.terms["group"], found.terms["horizon"]]).sum().to_numpy()
    assert_allclose(total + free, 1.0, atol=1e-14)


def test_registering_checks_the_laws_of_the_kind() -> None:
    before = dict(SPELL_REGISTRY)
    reasons = dict.fromkeys(set(SPELL_LAWS) - {"row_order"}, "not looked at")
    for wrong in (
        Entry("x", recidivism.prevalence, data="spells", not_claimed=reasons),
        Entry(
            "x", recidivism.prevalence, data="spells", laws=frozenset({"row_order", "shift_time"}), not_claimed=reasons
        ),
        SPELL_REGISTRY["recidivism.prevalence"],
    ):
        with pytest.raises(DesignError, match="PMG-REGISTRY"):
            register(wrong)
    assert before == SPELL_REGISTRY
    assert not set(SPELL_REGISTRY) & set(REGISTRY)
    entry = SPELL_REGISTRY["recidivism.prevalence"]
    frame = table(entry.name, 1)
    assert entry(spells(frame, entry=False)).terms["horizon"].tolist() == [4, 8, 4, 8]
