"""The family's estimators, the data they need and the laws they claim."""

from __future__ import annotations

from typing import Any

from pmg_eval.registry import LAWS, Entry, register
from pmg_eval.synth._classic import classic
from pmg_eval.synth._predictors import Predictor
from pmg_eval.synth._sdid import sdid

_ALWAYS = {"row_order", "relabel_units", "shift_time", "irrelevant_columns", "scale_weights"}
_LEVELS = {"add_constant", "scale_outcome", "planted_effect"}
_NO_LAW = "no influence law: weights are not smooth in the sample, and one treated unit's weight has no effect"
_NO_EXPOSURE = "the estimator does not use exposure"
_NO_SHIFT = "effects are ratios of rates: a shift of the counts is not an effect of units or periods"
_LEVEL_MATCH = "donors have to match the level of the treated unit: its own constant changes the best weights"
_NOT_ADDITIVE = "weights depend on the outcome, so those of a sum are not the weights of its parts"
_TWINS = (
    "every donor's placebo would fit its own copy perfectly, which changes the refusal of poor fits; "
    "poor_fit='keep' claims the law"
)
_LINES = "without noise the treated need not lie in the hull of the donors: their own constants differ"
_NOISE = "the penalty depends on the spread of first differences over all donors, which this changes"
_RATE_LEVELS = "rates are matched in levels, so a unit's own scale changes its best weights"

_COMMON = {
    "influence": _NO_LAW,
    "zero_influence_sum": _NO_LAW,
    "unit_effects": _LEVEL_MATCH,
    "additive": _NOT_ADDITIVE,
    "duplicate_controls": _TWINS,
    "exposure_scale": _NO_EXPOSURE,
    "unit_rate_effects": _NO_EXPOSURE,
    "homogeneous": _LINES,
}
_RATES = {
    **_COMMON,
    **dict.fromkeys((*_LEVELS, "unit_effects", "period_effects", "additive"), _NO_SHIFT),
    "unit_rate_effects": _RATE_LEVELS,
    "homogeneous": _RATE_LEVELS,
}
_SDID = {
    "influence": "kind='score': the jackknife with fixed weights, as published, not the derivative in the weights",
    "period_effects": _NOISE,
    "duplicate_controls": _NOISE,
    "additive": _NOT_ADDITIVE,
    "exposure_scale": _NO_EXPOSURE,
    "unit_rate_effects": _NO_EXPOSURE,
}
_SDID_RATES = {
    **_SDID,
    **dict.fromkeys((*_LEVELS, "unit_effects", "period_effects", "additive"), _NO_SHIFT),
    "unit_rate_effects": "rates are followed in differences, so a unit's own scale changes its best weights",
    "homogeneous": "growth in common is no change in common when the levels of rates differ",
}


def _claims(laws: set[str], reasons: dict[str, str]) -> dict[str, Any]:
    return {"laws": frozenset(laws), "not_claimed": {law: reasons[law] for law in LAWS if law not in laws}}


_gap = _ALWAYS | _LEVELS | {"period_effects"}
_sdid = _ALWAYS | _LEVELS | {"unit_effects", "homogeneous", "zero_influence_sum"}
_THREE = [Predictor("y"), Predictor("z"), Predictor("x")]

for _entry in (
    Entry("synth.classic", classic, {}, **_claims(_gap, _COMMON)),
    Entry("synth.classic[keep]", classic, {"poor_fit": "keep"}, **_claims(_gap | {"duplicate_controls"}, _COMMON)),
    Entry(
        "synth.classic[predictors]",
        classic,
        {"predictors": _THREE, "v": [2.0, 1.0, 1.0], "poor_fit": "keep"},
        **_claims(_gap, {**_COMMON, "duplicate_controls": "predictors are scaled by their spread over all donors"}),
    ),
    Entry(
        "synth.classic[poisson]",
        classic,
        {"family": "poisson"},
        data="counts",
        **_claims(_ALWAYS | {"exposure_scale"}, _RATES),
    ),
    Entry("synth.sdid", sdid, {}, **_claims(_sdid, _SDID)),
    Entry(
        "synth.sdid[poisson]",
        sdid,
        {"family": "poisson"},
        data="counts",
        **_claims(_ALWAYS | {"exposure_scale", "zero_influence_sum"}, _SDID_RATES),
    ),
):
    register(_entry)
