"""The policy: from the design to the law of the headline, and what stands beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DesignError, InferenceError, NumericalError
from pmg_eval.estimate import Estimate, Influence
from pmg_eval.estimate.scales import SCALES
from pmg_eval.estimate.stored import side_by_side
from pmg_eval.infer._tried import MANY, SOME, DefaultDetails, Method, agreement, row_of, tried_table
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._placebo_law import NEEDED

REFUSALS = (DesignError, InferenceError, NumericalError)
PooledBy = Literal["cohort", "event_time"]
ENOUGH_CONTROLS = 40
_NAMES = {"jackknife": "jackknife", "placebo": "placebo law"}
_JACKKNIFE_NOTE = re.compile(r"(; )?undefined without .*: no jackknife")


@dataclass(frozen=True)
class Design:
    r"""What the policy looks at: areas behind the estimate.

    Attributes
    ----------
    n_treated : int
        Treated areas with an effect.
    effective : (k,) float
        As many equal ones per term: :math:`(\sum\omega^2)^2/\sum\omega^4` of their weights.
    n_control : float
        Comparison areas of the weakest term.
    """

    n_treated: int
    effective: Array
    n_control: float

    @property
    def n_effective(self) -> float:
        """The smallest over the terms."""
        return float(self.effective.min())

    @property
    def size(self) -> Literal["one", "few", "some", "many"]:
        if self.n_treated <= 1:
            return "one"
        if self.n_effective < SOME:
            return "few"
        return "many" if self.n_effective >= MANY and self.n_control >= ENOUGH_CONTROLS else "some"


def pooled_law(areas: Estimate[Any], whole: Estimate[Any], by: PooledBy | None = None) -> Estimate[Any]:
    """Averages ``whole`` with the law of the placebo errors of ``areas``, combined with the areas' weights."""
    if areas.uncertainty is None:
        raise InferenceError("PMG-NO-LAW", "the areas have no placebo law", fix="more comparison areas")
    fewest = int(areas.terms.loc[np.isfinite(areas.values), "n_placebo"].min())
    if fewest < NEEDED and np.isfinite(areas.values).sum() > 1:
        raise InferenceError(
            "PMG-FEW-PLACEBOS",
            f"{fewest} placebo areas: combinations of a handful of errors say little about those of several areas",
            fix=f"{NEEDED} or more comparison areas",
        )
    pooled = areas.average(by=by) if by else areas.average()
    law = None if pooled.uncertainty is None else pooled.uncertainty.take(_same_terms(pooled, whole, by))
    terms = whole.terms.assign(
        interval="placebo",
        method=("" if by is None and len(areas) == 1 else "pooled ") + pooled.terms["method"].iloc[0],
        status=[_JACKKNIFE_NOTE.sub("", str(status)) for status in whole.terms["status"]],
    )
    return Estimate(whole.values, terms, law, areas.details, whole.scale, provenance=areas.provenance)


def _same_terms(pooled: Estimate[Any], whole: Estimate[Any], by: str | None) -> Any:
    if by is None:
        return np.zeros(len(whole), dtype=np.int64)
    position = pd.Index(pooled.terms[by]).get_indexer(pd.Index(whole.terms[by]))
    if (position < 0).any():
        raise InferenceError(
            "PMG-NO-LAW", f"no placebo law for some {by}", where=list(whole.terms.loc[position < 0, by])
        )
    return position


def design_of(whole: Estimate[Any], panel: Panel, own: Estimate[Any] | None = None) -> Design:
    """Treated and comparison areas behind the weakest term.

    Who stands behind an average is in its influence values; where there are none (synthetic controls), in the weights
    of the areas in ``own``, the estimate that was averaged.
    """
    started = np.isfinite(panel.cohort) & ~panel.always_treated & (panel.cohort <= panel.time_codes[-1])
    n_treated = int(started.sum())
    effective = np.full(len(whole), float(n_treated))
    law = whole.uncertainty
    support = law.support(whole.dependence) if isinstance(law, Influence) else None
    if support is not None and np.isfinite(support.n_effective).any():
        effective = np.where(np.isfinite(support.n_effective), support.n_effective, effective)
        n_treated = int(np.nanmin(support.n_treated))
    elif own is not None and {"unit", "weight"} <= set(own.terms):
        effective = _effective(whole, own)
    n_control = float((~np.isfinite(panel.cohort)).sum())
    if "n_control" in whole.terms:
        n_control = float(whole.terms["n_control"].to_numpy(dtype=np.float64, na_value=np.nan).min())
    return Design(n_treated, effective, n_control)


def _effective(whole: Estimate[Any], own: Estimate[Any]) -> Array:
    """Effective number of areas behind each average, from the weights of the areas' own terms."""
    terms = own.terms
    used = np.isfinite(own.values)
    if "event_time" in terms:
        used &= (terms["event_time"] >= 0).to_numpy(dtype=bool, na_value=False)
    table = terms.loc[used]
    cohorts = whole.terms["cohort"] if "cohort" in whole.terms and "cohort" in table else None
    found = []
    for row in range(len(whole)):
        mine = table if cohorts is None else table.loc[table["cohort"] == cohorts.iloc[row]]
        square = mine.groupby("unit", sort=False)["weight"].sum().to_numpy(dtype=np.float64) ** 2
        found.append(square.sum() ** 2 / (square**2).sum() if square.sum() > 0 else np.nan)
    return np.array(found)


def settle(
    whole: Estimate[Any],
    design: Design,
    spread: Method,
    pooled: Method,
    *,
    level: float,
    random: Method | None,
    beside: bool,
) -> Estimate[DefaultDetails]:
    """The policy: which of the laws is the headline; the others, where valid, stand beside it."""
    size = design.size
    wanted = {"one": ("placebo",), "few": ("placebo",), "some": ("jackknife", "placebo"), "many": ("jackknife",)}[size]
    asked = ("jackknife", "placebo") if beside and size != "one" else wanted
    found: dict[str, Estimate[Any]] = {}
    refused: dict[str, str] = {}
    for name, method in (("jackknife", spread), ("placebo", pooled)):
        if name in asked:
            _attempt(name, method, found, refused)
    candidates = [name for name in wanted if name in found and _given(found[name], level)]
    if not candidates and size != "one":  # no placebo pool: with two areas or more the jackknife's t(n1-1) still holds
        if "jackknife" not in found:
            _attempt("jackknife", spread, found, refused)
        candidates = [name for name in ("jackknife", "placebo") if name in found and _given(found[name], level)]
    if not candidates:
        candidates = [name for name in wanted if name in found]  # it says itself why it has no interval
    if not candidates:
        raise InferenceError(
            "PMG-NO-INFERENCE",
            f"no interval is valid for {design.n_treated} treated and {design.n_control:.0f} comparison areas: "
            + "; ".join(f"{name}: {why}" for name, why in refused.items()),
            fix="more comparison areas, or report the estimate without an interval",
        )
    head, chosen = _wider(found, candidates, level)
    rows = [row_of(name, one, level, design.effective, chosen=chosen == name) for name, one in found.items()]
    rows += [row_of(name, None, level, None, reason=why) for name, why in refused.items()]
    if random is not None:
        rows.append(_attempted_test(random))
    tried = tried_table(rows)
    details = DefaultDetails(
        headline=_words(chosen, candidates),
        n_treated=design.n_treated,
        n_effective=design.n_effective,
        n_control=design.n_control,
        level=level,
        tried=tried,
        agreement=agreement(tried),
        law=found[str(chosen[0])].details,
    )
    terms = head.terms.assign(method=_method_words(chosen, candidates, head))
    return replace(head, terms=terms, details=details, provenance=head.provenance.then("infer.default"))


def _wider(found: dict[str, Estimate[Any]], candidates: Sequence[str], level: float) -> tuple[Estimate[Any], Any]:
    """The law with the wider interval, term by term, and its name for each."""
    widths = np.array([_widths(found[name], level) for name in candidates])
    chosen = np.array(candidates, dtype=object)[np.argmax(widths, axis=0)]
    if (chosen == chosen[0]).all():
        return found[str(chosen[0])], chosen
    rows = [np.flatnonzero(chosen == name) for name in candidates]
    parts = [found[name].take(index) for name, index in zip(candidates, rows, strict=True)]
    return side_by_side(*parts, level=level).take(np.argsort(np.concatenate(rows))), chosen


def _attempt(name: str, method: Method, found: dict[str, Estimate[Any]], refused: dict[str, str]) -> None:
    try:
        found[name] = method()
    except REFUSALS as why:
        refused[name] = why.what


def _attempted_test(random: Method) -> Any:
    try:
        return row_of("randomization", random(), np.nan, None)
    except REFUSALS as why:
        return row_of("randomization", None, np.nan, None, reason=why.what)


def _given(estimate: Estimate[Any], level: float) -> bool:
    """Whether every term with a value has an interval."""
    frame = estimate.to_frame(level)
    return bool(frame.loc[frame["estimate"].notna(), "conf_low"].notna().all())


def _widths(estimate: Estimate[Any], level: float) -> Array:
    """Width (k,) of the intervals on the scale on which they are symmetric; minus infinity where there is none."""
    frame = estimate.to_frame(level)
    scale = SCALES[estimate.scale]
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (scale.to(frame[name].to_numpy(dtype=np.float64)) for name in ("conf_low", "conf_high"))
        width = np.abs(high - low)
    return np.where(np.isnan(width), -np.inf, width)


def _words(chosen: Any, candidates: Sequence[str]) -> str:
    names = list(dict.fromkeys(_NAMES[name] for name in chosen))
    if len(candidates) < 2:
        return names[0]
    return f"{names[0]} (the wider of two)" if len(names) == 1 else f"{' or '.join(names)} (the wider for each term)"


def _method_words(chosen: Any, candidates: Sequence[str], head: Estimate[Any]) -> Any:
    if len(candidates) < 2:
        return head.terms["method"]
    other = {name: _NAMES[next(one for one in candidates if one != name)] for name in candidates}
    return [
        f"{method} (wider than the {other[name]})" for method, name in zip(head.terms["method"], chosen, strict=True)
    ]
