"""Every registered estimator obeys the laws it claims, on random valid data."""

import warnings
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from laws.valid_data import Averages, averages, panel, table, treated
from pmg_eval import did, synth  # noqa: F401  (they register)
from pmg_eval.registry import LAWS, REGISTRY, Entry

# Few seeds by default, so that laws share the estimates they start from; any seed in the full run.
EXAMPLES = settings.default.max_examples
seeds = st.integers(0, EXAMPLES - 1 if EXAMPLES <= 25 else 2**31)


def claimed(law: str):
    """Every estimator that claims the law."""
    names = sorted(name for name, entry in REGISTRY.items() if law in entry.laws)
    return pytest.mark.parametrize("name", names)


def same(after, before, *, values=None, se: bool = True, rtol: float = 1e-9) -> None:
    """Equal values (or the given ones) and standard errors."""
    want = before.values if values is None else values
    scale = max(float(np.nanmax(np.abs(want))), 1e-8)
    assert_allclose(after.values, want, rtol=rtol, atol=1e-9 * scale)
    if se:
        assert_allclose(after.se, before.se, rtol=1e-7, atol=1e-10 * scale)


def run(entry: Entry, frame: pd.DataFrame) -> Averages:
    with warnings.catch_warnings():  # what a synthetic control says about random data
        warnings.filterwarnings("ignore", r"\[PMG-(NON-UNIQUE|FEW-DONORS)\]")
        return averages(entry(panel(frame), "y"))


@lru_cache(maxsize=1024)
def base(name: str, seed: int) -> tuple[Entry, pd.DataFrame, Averages]:
    """The estimator, its data and its averages before anything is changed."""
    entry = REGISTRY[name]
    frame = table(entry.data, seed)
    return entry, frame, run(entry, frame)


def test_every_law_is_claimed_or_refused_with_a_reason() -> None:
    for name, entry in REGISTRY.items():
        assert entry.laws | set(entry.not_claimed) == set(LAWS), name
        assert all(len(reason) > 15 for reason in entry.not_claimed.values()), name
        assert not entry.laws & set(entry.not_claimed), name


@claimed("influence")
@given(seed=seeds)
def test_influence(name: str, seed: int) -> None:
    """psi_i = n d theta / d log w_i, by central differences."""
    entry, frame, whole = base(name, seed)
    before = panel(frame)
    step = 1e-5
    for unit in np.random.default_rng(seed).choice(before.n_units, 2, replace=False):
        moved = []
        for sign in (1, -1):
            multiplier = np.ones(before.n_units)
            multiplier[unit] += sign * step
            moved.append(averages(entry(before.with_weight(multiplier), "y")).values)
        slope = whole.n * (moved[0] - moved[1]) / (2 * step)
        row = int(np.flatnonzero(whole.units == before.units[unit])[0])
        assert_allclose(whole.psi[row], slope, rtol=1e-6, atol=1e-6 * np.abs(whole.psi).max())


@claimed("zero_influence_sum")
@given(seed=seeds)
def test_zero_influence_sum(name: str, seed: int) -> None:
    psi = base(name, seed)[2].psi
    assert_allclose(psi.sum(axis=0), 0, atol=1e-9 * np.abs(psi).sum())


@claimed("row_order")
@given(seed=seeds)
def test_row_order(name: str, seed: int) -> None:
    entry, frame, before = base(name, seed)
    shuffled = frame.sample(frac=1, random_state=seed % 1000)
    after = run(entry, shuffled)
    assert np.array_equal(after.values, before.values, equal_nan=True)
    assert np.array_equal(after.se, before.se, equal_nan=True)


@claimed("relabel_units")
@given(seed=seeds)
def test_relabel_units(name: str, seed: int) -> None:
    entry, frame, before = base(name, seed)
    renamed = frame.assign(unit=["GM" + str(9999 - unit) for unit in frame["unit"]])
    same(run(entry, renamed), before)


@claimed("shift_time")
@given(seed=seeds, shift=st.integers(-500, 500))
def test_shift_time(name: str, seed: int, shift: int) -> None:
    entry, frame, before = base(name, seed)
    moved = frame.assign(
        year=frame["year"] + shift, start=frame["start"].where(frame["start"] == 0, frame["start"] + shift)
    )
    same(run(entry, moved), before)


@claimed("irrelevant_columns")
@given(seed=seeds)
def test_irrelevant_columns(name: str, seed: int) -> None:
    entry, frame, before = base(name, seed)
    more = frame.assign(remark="free text", empty=np.nan, other=1)[["empty", *frame.columns[::-1], "remark", "other"]]
    after = run(entry, more)
    assert np.array_equal(after.values, before.values, equal_nan=True)


@claimed("add_constant")
@given(seed=seeds, constant=st.floats(-1e3, 1e3))
def test_add_constant(name: str, seed: int, constant: float) -> None:
    entry, frame, before = base(name, seed)
    same(run(entry, frame.assign(y=frame["y"] + constant)), before, rtol=1e-8)


@claimed("scale_outcome")
@given(seed=seeds, factor=st.sampled_from([-2.0, 1e-9, 1e9, 0.3]))
def test_scale_outcome(name: str, seed: int, factor: float) -> None:
    entry, frame, before = base(name, seed)
    after = run(entry, frame.assign(y=frame["y"] * factor))
    same(after, before, values=before.values * factor, se=False)
    assert_allclose(after.se, before.se * abs(factor), rtol=1e-7, atol=1e-10 * abs(factor))


@claimed("unit_effects")
@given(seed=seeds)
def test_unit_effects(name: str, seed: int) -> None:
    entry, frame, before = base(name, seed)
    added = np.random.default_rng(seed).normal(0, 5, 10_000)[frame["unit"]]
    same(run(entry, frame.assign(y=frame["y"] + added)), before, rtol=1e-8)


@claimed("period_effects")
@given(seed=seeds)
def test_period_effects(name: str, seed: int) -> None:
    entry, frame, before = base(name, seed)
    added = np.random.default_rng(seed).normal(0, 5, 3000)[frame["year"]]
    same(run(entry, frame.assign(y=frame["y"] + added)), before, rtol=1e-8)


@claimed("planted_effect")
@given(seed=seeds, effect=st.floats(-50, 50))
def test_planted_effect(name: str, seed: int, effect: float) -> None:
    entry, frame, before = base(name, seed)
    after = run(entry, frame.assign(y=frame["y"] + effect * treated(frame)))
    study = before.event_time
    if entry.options.get("anticipation"):
        return _planted_with_anticipation(after, before, effect, study)
    post = (study >= 0) & np.isfinite(before.values)  # a short past has no synthetic control
    assert post.any()
    assert_allclose((after.values - before.values)[post], effect, rtol=1e-8, atol=1e-9)
    assert_allclose(after.se[post], before.se[post], rtol=1e-7, atol=1e-10 * max(1, abs(effect)))
    return None


def _planted_with_anticipation(after, before, effect: float, study: np.ndarray) -> None:
    """Comparison units must not be in their own anticipation window, so a constant effect is found as it is."""
    assert_allclose((after.values - before.values)[study >= 0], effect, rtol=1e-8, atol=1e-9)


@claimed("additive")
@given(seed=seeds)
def test_additive(name: str, seed: int) -> None:
    entry, frame, before = base(name, seed)
    other = np.random.default_rng(seed + 1).normal(size=len(frame))
    parts = before, run(entry, frame.assign(y=other))
    whole = run(entry, frame.assign(y=frame["y"] + other))
    same(whole, parts[0], values=parts[0].values + parts[1].values, se=False, rtol=1e-8)


@claimed("scale_weights")
@given(seed=seeds)
def test_scale_weights(name: str, seed: int) -> None:
    entry, frame, before = base(name, seed)
    same(run(entry, frame.assign(weight=7.5 * frame["weight"])), before)


@claimed("duplicate_controls")
@given(seed=seeds)
def test_duplicate_controls(name: str, seed: int) -> None:
    """Every never-treated unit twice: the same as double weight for them."""
    entry, frame, _ = base(name, seed)
    never = frame.loc[frame["start"] == 0]
    twice = pd.concat([frame, never.assign(unit=never["unit"] + 10_000)], ignore_index=True)
    heavier = frame.assign(weight=frame["weight"] * np.where(frame["start"] == 0, 2.0, 1.0))
    same(run(entry, twice), run(entry, heavier), se=False)


@claimed("exposure_scale")
@given(seed=seeds)
def test_exposure_scale(name: str, seed: int) -> None:
    entry, frame, before = base(name, seed)
    after = run(entry, frame.assign(y=3 * frame["y"], people=3 * frame["people"]))
    same(after, before, rtol=1e-8)


@claimed("unit_rate_effects")
@given(seed=seeds)
def test_unit_rate_effects(name: str, seed: int) -> None:
    """A unit's exposure in other units of measurement is absorbed by its effect."""
    entry, frame, before = base(name, seed)
    factor = np.random.default_rng(seed).uniform(0.1, 10, 10_000)[frame["unit"]]
    same(run(entry, frame.assign(people=frame["people"] * factor)), before, rtol=1e-8)


@claimed("homogeneous")
@given(seed=seeds, effect=st.floats(-0.9, 2))
def test_homogeneous(name: str, seed: int, effect: float) -> None:
    """Without noise every average is the effect itself (a ratio of 1 + effect for counts)."""
    entry, frame, _ = base(name, seed)
    rng = np.random.default_rng(seed)
    unit, year = rng.normal(size=10_000)[frame["unit"]], rng.normal(size=3000)[frame["year"]]
    if entry.data == "panel":
        clean, want = frame.assign(y=unit + year + effect * treated(frame)), effect
    else:
        mean = frame["people"] * np.exp(0.2 * unit + 0.2 * year) * (1 + effect * treated(frame))
        clean, want = frame.assign(y=mean), 1 + effect
    found = run(entry, clean)
    post = found.event_time >= 0
    assert_allclose(found.values[post], want, rtol=1e-7, atol=1e-7)
