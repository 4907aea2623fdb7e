"""The specifications of a curve: what is estimated on which panel and outcome, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Estimate
from pmg_eval.estimate.inference import _computed  # a table per draw would cost more than many an estimate
from pmg_eval.estimate.scales import SCALES, ScaleName
from pmg_eval.estimate.stored import LEVEL, from_covariance
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._door import estimated as estimate_of
from pmg_eval.resample._door import need_estimator
from pmg_eval.resample._options import options_of
from pmg_eval.typing import Estimator

Place = tuple[str, str]
"""Name of a panel and an outcome."""


@dataclass(frozen=True)
class Specification:
    """One analysis: an estimator, a panel, an outcome, and the options it stands for."""

    name: str
    estimator: Estimator
    at: Place
    place: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What a specification gave; ``effect`` is the distance from no effect on the interval's scale."""

    effect: float
    p_value: float
    scale: ScaleName = "identity"
    estimate: float = np.nan
    std_error: float = np.nan
    conf_low: float = np.nan
    conf_high: float = np.nan
    n_treated: float = np.nan
    n_control: float = np.nan
    method: str = ""
    status: str = ""
    refused: str = ""

    def row(self) -> dict[str, Any]:
        """Columns of the table, in its order."""
        names = ("estimate", "std_error", "p_value", "conf_low", "conf_high", "effect", "n_treated", "n_control")
        return {name: getattr(self, name) for name in (*names, "method", "status", "refused")}


def planned(
    specifications: Any, panel: Any, outcome: Any, estimator: Estimator | None
) -> tuple[list[Specification], dict[Place, Panel]]:
    """All specifications, and the panel of every place after its missing-value policy.

    Raises
    ------
    DataError
        PMG-OPTION.
    """
    if not isinstance(specifications, Mapping) or not specifications:
        raise DataError(
            "PMG-OPTION", "specifications must be a mapping with something in it", fix='{"imputation": did.imputation}'
        )
    panels = panel if isinstance(panel, Mapping) else {"": panel}
    outcomes = list(outcome) if isinstance(outcome, list | tuple | pd.Index) else [outcome]
    if not panels or not outcomes:
        raise DataError("PMG-OPTION", "a curve needs at least one panel and one outcome")
    for one in panels.values():
        need_panel(one)
    named = _named(specifications) if estimator is None else _grid(specifications, estimator)
    ready = {(name, y): one.for_outcome(y) for name, one in panels.items() for y in outcomes}
    specs = []
    for (name, y), (label, chosen, options) in product(ready, named):
        place = {"panel": str(name), "outcome": y} if isinstance(panel, Mapping) else {"outcome": y}
        specs.append(Specification(label, chosen, (name, y), place, options))
    return specs, ready


def _named(specifications: Mapping[str, Any]) -> list[tuple[str, Estimator, Mapping[str, Any]]]:
    wrong = [name for name, value in specifications.items() if not callable(value)]
    if wrong:
        raise DataError(
            "PMG-OPTION",
            "these specifications are no estimators",
            where=wrong,
            fix="functions of a panel and an outcome; or estimator= beside it, when this is a grid of its options",
        )
    for name, value in specifications.items():
        _need_known(value, _bound(value), str(name))
    return [(str(name), value, _bound(value)) for name, value in specifications.items()]


def _bound(estimator: Any) -> dict[str, Any]:
    """Options that a partial binds."""
    return dict(estimator.keywords) if isinstance(estimator, partial) else {}


def _need_known(estimator: Estimator, options: Mapping[str, Any], name: str) -> None:
    """Refuse options that the estimator does not have: a specification with a typing error is none."""
    known = options_of(estimator)
    unknown = [] if known is None else [str(option) for option in options if option not in known]
    if unknown:
        raise DataError(
            "PMG-OPTION",
            f"the estimator{' of ' + repr(name) if name else ''} has no option {unknown[0]!r}",
            where=unknown,
            fix=f"its options: {', '.join(known or ['none'])}",
        )


def _grid(options: Mapping[str, Any], estimator: Estimator) -> list[tuple[str, Estimator, Mapping[str, Any]]]:
    wrong = [name for name, values in options.items() if isinstance(values, str) or not isinstance(values, Sequence)]
    if wrong or any(len(values) == 0 for values in options.values()):
        raise DataError(
            "PMG-OPTION", "a grid needs a list of values per option", where=wrong, fix='{"anticipation": [0, 1]}'
        )
    need_estimator(estimator)
    _need_known(estimator, options, "")
    found: list[tuple[str, Estimator, Mapping[str, Any]]] = []
    for values in product(*options.values()):
        chosen = dict(zip(options, values, strict=True))
        name = ", ".join(f"{key}={value}" for key, value in chosen.items())
        found.append((name, partial(estimator, **chosen), chosen))
    return found


def estimated(spec: Specification, panels: Mapping[Place, Panel], level: float) -> Found:
    """The one number of a specification with its interval, or why there is none."""
    try:
        one = _single(estimate_of(spec.estimator, panels[spec.at], spec.at[1]))
        frame = one.to_frame(level).iloc[0]
    except (DataError, DesignError, InferenceError, NumericalError) as refused:
        return Found(np.nan, np.nan, refused=f"[{refused.code}] {refused.what}")
    effect = effect_of(one)
    numbers: dict[str, Any] = {
        name: float(frame[name]) if name in frame.index and frame[name] == frame[name] else np.nan
        for name in ("estimate", "std_error", "p_value", "conf_low", "conf_high", "n_treated", "n_control")
    }
    method, status = str(frame["method"]), str(frame["status"])
    why = "" if np.isfinite(effect) else status or "the estimate is missing or infinite"
    p_value = numbers.pop("p_value")
    return replace(
        Found(np.nan if why else effect, p_value, one.scale, method=method, status=status, refused=why), **numbers
    )


def _single(estimate: Estimate[Any]) -> Estimate[Any]:
    one = estimate if len(estimate) == 1 else estimate.average()
    if len(one) != 1:
        raise DataError("PMG-ONE-TERM", f"a specification needs one term, not {len(one)}", fix="average() it")
    return one


def effect_of(one: Estimate[Any]) -> float:
    """Distance from no effect on the interval's scale."""
    scale = SCALES[one.scale]
    with np.errstate(all="ignore"):
        return float((scale.to(one.values) - scale.null_on_scale())[0])


def effect_and_p(spec: Specification, panel: Panel) -> tuple[float, float]:
    """Effect and p-value of a specification on another panel; NaN where it cannot be estimated."""
    try:
        one = _single(spec.estimator(panel, spec.at[1]))
        return effect_of(one), float(_computed(from_covariance(one), LEVEL, True)["p_value"][0])
    except (DataError, DesignError, InferenceError, NumericalError):
        return np.nan, np.nan
