"""Wild cluster bootstrap against R fwildclusterboot: enumerated cases exactly, random ones within Monte-Carlo error.

Two numbers of that package are not matched, with proof beside them: the p-values of its kinds 13 and 33, and the last
digits of its intervals.
"""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from _shared import dataset, needs_shared, reference
from pmg_eval import resample
from pmg_eval.estimate import Estimate, LinearFit, Test, fit_linear

pytestmark = needs_shared
ALTERNATIVES = {"two-tailed": "two-tailed", "equal-tailed": "equal-tailed", ">": "greater", "<": "less"}
ENUMERATED = {"wildboot_castle_cl9_enum": ("cl9", "post"), "wildboot_base_stagg_cl8_enum": ("cl8", "D")}
KEYS = [
    (name, f"{kind}|rademacher|{side}")
    for name, kinds in (
        ("wildboot_castle_cl9_enum", ("fnw11", "11", "31", "13", "33")),
        ("wildboot_base_stagg_cl8_enum", ("fnw11", "31")),
    )
    for kind in kinds
    for side in ALTERNATIVES
]


@cache
def castle() -> Estimate[LinearFit]:
    d = dataset("castle_panel")
    rows = pd.DataFrame({"unit": d["sid"], "time": d["year"], "cl9": d["sid"] % 9})
    return fit_linear(d["l_homicide"].to_numpy(), d[["post"]].to_numpy(dtype=float), ["post"], rows, absorb=True)


@cache
def base_stagg() -> Estimate[LinearFit]:
    d = dataset("base_stagg")
    rows = pd.DataFrame({"unit": d["id"], "time": d["year"], "cl8": d["id"] % 8})
    treated = (d["year"] >= d["year_treated"]).astype(float)
    return fit_linear(d["y"].to_numpy(), np.column_stack([treated, d["x1"]]), ["D", "x1"], rows, absorb=True)


def ours(name: str, kind: str, **options: Any) -> Test:
    cluster, term = ENUMERATED[name]
    estimate = castle() if "castle" in name else base_stagg()
    options = {"ties": False, "kind": kind.removeprefix("fnw"), **options}
    return resample.wild(estimate, term=term, cluster=cluster, **options)  # type: ignore[arg-type]


def test_every_enumerated_case_is_looked_at() -> None:
    for name in ENUMERATED:
        assert {key for file, key in KEYS if file == name} == set(reference(name)["results"])


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_enumerated(name: str, key: str) -> None:
    kind, _, side = key.split("|")
    found = reference(name)["results"][key]
    # Its "11" counts draws that tie with the data where rounding made them larger: to the right, not to the left.
    test = ours(name, kind, alternative=ALTERNATIVES[side], ties=kind == "11" and side != "<")
    assert test.p_error == 0
    assert test.details is not None
    assert len(test.details) == found["B_used"] == 2 ** found["N_G"]
    assert test.estimate == pytest.approx(found["point_estimate"], rel=1e-8)
    if "t_boot_sorted" in found:
        assert_allclose(np.sort(test.details["t"]), found["t_boot_sorted"], rtol=1e-8, atol=1e-10)
        at = found["t_boot_quantiles_type1"]
        assert_allclose(np.quantile(test.details["t"], at["p"], method="inverted_cdf"), at["q"], rtol=1e-8, atol=1e-10)
    if kind in ("13", "33"):
        assert test.statistic * np.sqrt(8 / 9) == pytest.approx(found["t_stat"], rel=1e-8)
        assert inconsistent_p(test, found["t_stat"], side) == found["p_val"]
    else:
        assert test.statistic == pytest.approx(found["t_stat"], rel=1e-8)
        assert test.p_value == found["p_val"]


def inconsistent_p(test: Test, statistic: float, side: str) -> float:
    """p of kinds 13 and 33 as the package has it: CV3 with (G-1)/G in the draws, without it in the statistic."""
    assert test.details is not None
    draws = test.details["t"].to_numpy()
    above, below = float((draws > statistic).mean()), float((draws < statistic).mean())
    return {"two-tailed": above + float((draws < -statistic).mean()), ">": above, "<": below}.get(
        side, 2 * min(above, below)
    )


@pytest.mark.parametrize("kind", ["13", "33"])
def test_cv3_draws_are_regressions_without_each_cluster(kind: str) -> None:
    """The proof for kinds 13 and 33: statistic and draws from regressions run one by one, on one scale.

    The draw that repeats the data has the statistic itself, so whatever factor the draws have the statistic has too;
    in the package's file the largest draws have (G-1)/G and the statistic has not.
    """
    d = dataset("castle_panel")
    label = (d["sid"] % 9).to_numpy()
    dummies = [pd.get_dummies(d[name], dtype=float).to_numpy() for name in ("sid", "year")]
    others = np.hstack([dummies[0], dummies[1][:, 1:]])
    design = np.hstack([d[["post"]].to_numpy(dtype=float), others])
    y = d["l_homicide"].to_numpy()
    names = pd.unique(label)
    # the units of the cluster have no rows without it: their zero singular values must not be inverted
    inverse = {g: np.linalg.pinv(design[label != g], rcond=1e-10) for g in names}
    everything = np.linalg.pinv(design, rcond=1e-10)
    restricted = np.linalg.lstsq(others, y, rcond=None)[0]
    resid = y - others @ restricted
    if kind == "33":
        for g in names:
            far = label != g
            resid[~far] = y[~far] - others[~far] @ np.linalg.lstsq(others[far], y[far], rcond=None)[0]

    def t(outcome: np.ndarray) -> float:
        beta = (everything @ outcome)[0]
        change = np.array([(inverse[g] @ outcome[label != g])[0] - beta for g in names])
        return float(beta / np.sqrt((change**2).sum() * 8 / 9))

    signs = np.where(np.random.default_rng(5).random((30, 9)) < 0.5, -1.0, 1.0)
    drawn = [t(others @ restricted + sign[pd.factorize(label)[0]] * resid) for sign in signs]
    place = [int((sign < 0) @ (1 << np.arange(9))) for sign in signs]
    test = ours("wildboot_castle_cl9_enum", kind)
    assert test.details is not None
    assert_allclose(test.details["t"].to_numpy()[place], drawn, rtol=1e-8)
    assert test.statistic == pytest.approx(t(y), rel=1e-10)
    assert test.p_value == 0.25


@pytest.mark.parametrize("side", ["two-tailed", "equal-tailed"])
@pytest.mark.parametrize("name", ENUMERATED)
def test_enumerated_interval(name: str, side: str) -> None:
    """Ours is the exact step of p; the package stops after ten steps of a root search, up to 1.1e-5 away.

    The proof: p crosses 0.05 at our ends, and has no step within 1e-6 (its nominal tolerance) of the package's.
    """
    theirs = reference(name)["results"][f"fnw11|rademacher|{side}"]["conf_int"]
    test = ours(name, "11", alternative=side)
    assert_allclose([test.conf_low, test.conf_high], theirs, rtol=0, atol=1.1e-5)

    def p(null: float) -> float:
        return ours(name, "11", alternative=side, null=null, invert=False).p_value

    for end, inward in ((test.conf_low, 1), (test.conf_high, -1)):
        assert p(end + inward * 1e-9) >= 0.05 > p(end - inward * 1e-9)
    for end in theirs:
        assert p(end - 1e-6) == p(end) == p(end + 1e-6)


@pytest.mark.parametrize("weights", ["rademacher", "webb", "mammen"])
def test_random_draws(weights: str) -> None:
    """99,999 draws there and 49,999 here: p within three errors of the difference, intervals and quantiles near."""
    results = reference("wildboot_castle_state_webb")["results"]
    for side, alternative in ALTERNATIVES.items():
        found = results[f"fnw11|{weights}|{side}"]
        test = resample.wild(castle(), weights=weights, alternative=alternative, draws=49_999, rng=3, ties=False)  # type: ignore[arg-type]
        assert test.statistic == pytest.approx(found["t_stat"], rel=1e-8)
        share = found["p_val"] / 2 if side == "equal-tailed" else found["p_val"]
        error = np.sqrt(share * (1 - share) * (1 / 49_999 + 1 / found["B_used"]))
        assert abs(test.p_value - found["p_val"]) < 3 * error * (2 if side == "equal-tailed" else 1)
        if found["conf_int"] is not None:
            assert_allclose([test.conf_low, test.conf_high], found["conf_int"], atol=2e-3)
        if "t_boot_quantiles_type1" in found:
            assert test.details is not None
            at = found["t_boot_quantiles_type1"]
            # error of a quantile, with the normal density in place of the true one
            density = np.exp(-np.square(at["q"]) / 2) / np.sqrt(2 * np.pi)
            p = np.array(at["p"])
            error = np.sqrt(p * (1 - p) * (1 / 49_999 + 1 / found["B_used"])) / density
            drawn = np.quantile(test.details["t"], p, method="inverted_cdf")
            assert (np.abs(drawn - at["q"]) < 5 * error).all()


def test_every_random_case_is_looked_at() -> None:
    keys = {f"fnw11|{weights}|{side}" for weights in ("rademacher", "webb", "mammen") for side in ALTERNATIVES}
    assert keys == set(reference("wildboot_castle_state_webb")["results"])
