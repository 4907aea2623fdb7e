"""The family's estimators, the data they need and the laws they claim."""

from __future__ import annotations

from typing import Any

from pmg_eval.did._controls import NeverTreated
from pmg_eval.did._group_time import group_time
from pmg_eval.did._imputation import imputation
from pmg_eval.registry import LAWS, Entry, register

_ALWAYS = {"row_order", "relabel_units", "shift_time", "irrelevant_columns", "scale_weights", "duplicate_controls"}
_LINEAR = {
    "add_constant",
    "scale_outcome",
    "unit_effects",
    "period_effects",
    "planted_effect",
    "additive",
    "homogeneous",
    "zero_influence_sum",
}
_RATIO = {"exposure_scale", "unit_rate_effects", "homogeneous", "zero_influence_sum"}
_NO_EXPOSURE = "the estimator does not use exposure"
_NO_SHIFT = (
    "effects are ratios: the model is multiplicative, so shifts of the outcome are not effects of units or periods"
)
_SCORE = (
    "kind='score': residuals are centred at cohort x event time (published variance), not at the weight derivative; "
    "variance='derivative' claims the law"
)


def _claims(laws: set[str], reasons: dict[str, str]) -> dict[str, Any]:
    return {"laws": frozenset(laws), "not_claimed": {law: reasons[law] for law in LAWS if law not in laws}}


_linear = _claims(_ALWAYS | _LINEAR | {"influence"}, dict.fromkeys(_RATIO, _NO_EXPOSURE))
_CENTRED = (
    "residuals are centred with squared weights (as published) or leave-one-out, so their weighted sum is not zero"
)
_score = _claims(
    (_ALWAYS | _LINEAR) - {"zero_influence_sum"},
    {**dict.fromkeys(_RATIO, _NO_EXPOSURE), "influence": _SCORE, "zero_influence_sum": _CENTRED},
)
_ratio = _claims(_ALWAYS | _RATIO | {"influence"}, dict.fromkeys(_LINEAR, _NO_SHIFT))
_ratio_score = _claims(
    (_ALWAYS | _RATIO) - {"zero_influence_sum"},
    {**dict.fromkeys(_LINEAR, _NO_SHIFT), "influence": _SCORE, "zero_influence_sum": _CENTRED},
)

for _entry in (
    Entry("did.group_time", group_time, {}, **_linear),
    Entry("did.group_time[never, dr, x]", group_time, {"controls": NeverTreated(), "covariates": "~ x"}, **_linear),
    Entry("did.group_time[ipw, x]", group_time, {"method": "ipw", "covariates": "~ x"}, **_linear),
    Entry("did.group_time[or, x]", group_time, {"method": "or", "covariates": "~ x"}, **_linear),
    Entry("did.group_time[universal]", group_time, {"base_period": "universal"}, **_linear),
    Entry(
        "did.group_time[average, anticipation 1]", group_time, {"base_period": "average", "anticipation": 1}, **_linear
    ),
    Entry("did.group_time[poisson]", group_time, {"family": "poisson"}, data="counts", **_ratio),
    Entry(
        "did.group_time[poisson, or, x]",
        group_time,
        {"family": "poisson", "method": "or", "covariates": "~ x"},
        data="counts",
        **_ratio,
    ),
    Entry("did.imputation", imputation, {}, **_score),
    Entry("did.imputation[leave_out]", imputation, {"variance": "leave_out"}, **_score),
    Entry("did.imputation[derivative]", imputation, {"variance": "derivative"}, **_linear),
    Entry("did.imputation[derivative, x]", imputation, {"variance": "derivative", "covariates": "~ z"}, **_linear),
    Entry("did.imputation[poisson]", imputation, {"family": "poisson"}, data="counts", **_ratio_score),
    Entry(
        "did.imputation[poisson, derivative]",
        imputation,
        {"family": "poisson", "variance": "derivative"},
        data="counts",
        **_ratio,
    ),
):
    register(_entry)
