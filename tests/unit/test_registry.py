"""Every estimator once, with a claim or a reason for every law."""

from dataclasses import FrozenInstanceError

import pytest

from pmg_eval import did, synth
from pmg_eval.errors import DesignError
from pmg_eval.registry import LAWS, REGISTRY, Entry, register
from unit.resample.panels import counts, panel_of, staggered


def test_every_public_estimator_is_registered() -> None:
    registered = {entry.function for entry in REGISTRY.values()}
    assert {did.group_time, did.imputation, synth.classic, synth.sdid} <= registered
    for name, entry in REGISTRY.items():
        assert entry.name == name
        family = entry.function.__module__.split(".")[1]
        assert name.split("[")[0] == f"{family}.{entry.function.__name__}"


@pytest.mark.parametrize("name", list(REGISTRY))
def test_each_law_is_claimed_or_has_its_reason(name: str) -> None:
    entry = REGISTRY[name]
    assert entry.laws | set(entry.not_claimed) == set(LAWS)
    assert not entry.laws & set(entry.not_claimed)
    assert all(len(reason) > 15 for reason in entry.not_claimed.values())


def test_an_entry_is_an_estimator() -> None:
    panel, count = panel_of(staggered(n=12)), panel_of(counts(n=12))
    assert REGISTRY["did.imputation"](panel, "rate").provenance.estimator == "did.imputation"
    assert REGISTRY["did.group_time[universal]"](panel, "rate").provenance.options["base_period"] == "universal"
    assert REGISTRY["did.imputation[poisson]"](count, "suspects").scale == "log"


def test_registering() -> None:
    before = dict(REGISTRY)
    reasons = dict.fromkeys(set(LAWS) - {"row_order"}, "not looked at")

    def code(entry: Entry) -> str:
        with pytest.raises(DesignError) as caught:
            register(entry)
        assert caught.value.code == "PMG-REGISTRY"
        return str(caught.value)

    assert "already" in code(REGISTRY["did.imputation"])
    assert "row_order" in code(Entry("x", did.imputation, not_claimed=reasons))
    unknown = code(Entry("x", did.imputation, laws=frozenset({"row_order", "beauty"}), not_claimed=reasons))
    assert "beauty" in unknown
    assert before == REGISTRY
    entry = Entry("x", did.imputation, laws=frozenset({"row_order"}), not_claimed=reasons)
    with pytest.raises(FrozenInstanceError):
        entry.name = "y"
    try:
        register(entry)
        assert REGISTRY["x"] is entry
    finally:
        REGISTRY.pop("x", None)
    assert before == REGISTRY
