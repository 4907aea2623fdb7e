"""From fitted blocks to terms and to the tables of the details."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DesignError
from pmg_eval.estimate import make_terms
from pmg_eval.numerics.rows import Array
from pmg_eval.synth._details import SdidDetails
from pmg_eval.synth._door import Design, time_labels
from pmg_eval.synth._sdid_fit import Block, Refused

NOT_POSITIVE = "the expected rate is not positive: no rate ratio"
ONE_DONOR = "all weight on one comparison unit: no jackknife"


@dataclass(frozen=True, eq=False)
class Terms:
    """Numbers of the terms of one block, all (T,); those of periods without a row are NaN or zero.

    Attributes
    ----------
    value, weight : effect (or rate ratio) and its weight (units; or the expected count)
    gap : observed minus synthetic, on the scale of the fit
    observed : treated mean (level)
    n_treated, n_events, exposure : counts
    """

    value: Array
    weight: Array
    gap: Array
    observed: Array
    n_treated: Array
    n_events: Array
    exposure: Array


def terms_of(design: Design, block: Block) -> Terms:
    """Effect in every period: the treated mean against the weighted donors, both net of the time-weighted past."""
    seen = ~np.isnan(block.own)
    gap = np.where(block.rows, block.treated_change() - block.control, np.nan)
    observed = np.where(block.rows, (block.parts() * np.nan_to_num(design.outcome[block.treated])).sum(axis=0), np.nan)
    own_weight = design.panel.unit_weight[block.treated]
    zero = np.zeros(len(gap))
    if design.exposure is None:
        share = share_of(design, block)
        weight = own_weight @ seen * share
        return Terms(gap / share, weight, gap, observed, seen.sum(axis=0), zero, zero)
    events, person_years = counts_of(design, block)
    expected = own_weight @ (person_years * (block.level[:, None] + block.control))
    possible = expected > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(possible, own_weight @ events / expected, np.nan)
    return Terms(
        value,
        np.where(possible, expected, 0.0),
        gap,
        observed,
        seen.sum(axis=0),
        events.sum(axis=0),
        person_years.sum(axis=0),
    )


def share_of(design: Design, block: Block) -> Array:
    """Treated share (T,) of each period: below one in a first period that treatment started inside of."""
    share = np.ones(len(block.rows))
    if design.panel.share is not None:
        first = design.panel.time_codes == block.cohort
        share[first] = design.panel.share[block.treated] @ block.parts()[:, first]
    return np.where(share > 0, share, 1.0)


def counts_of(design: Design, block: Block) -> tuple[Array, Array]:
    """Events and person-years (n1, T) of the treated units, zero where not observed."""
    if design.exposure is None:
        raise DesignError("PMG-NO-EXPOSURE", "rates need person-years", fix="Panel(..., exposure=...)")
    seen = ~np.isnan(block.own)
    person_years = np.where(seen, design.exposure[block.treated], 0.0)
    return np.where(seen, design.outcome[block.treated] * person_years, 0.0), person_years


def table_of(
    design: Design, blocks: Sequence[Block | Refused], found: Sequence[Terms | None], outcome: str, by_unit: bool
) -> tuple[Array, pd.DataFrame]:
    """Values and terms, blocks one after the other, periods ascending."""
    panel = design.panel
    size = np.array([int(block.rows.sum()) for block in blocks])
    period = np.concatenate([np.flatnonzero(block.rows) for block in blocks])

    def each(name: str, missing: float = 0.0) -> Array:
        return np.concatenate(
            [
                np.full(width, missing) if terms is None else getattr(terms, name)[block.rows]
                for block, terms, width in zip(blocks, found, size, strict=True)
            ]
        )

    value = each("value", np.nan)
    n_treated = each("n_treated").astype(np.int64)
    n_control = np.repeat([_size(block) for block in blocks], size)
    codes = np.array([int(block.cohort) for block in blocks])
    columns: dict[str, Any] = {
        "estimand": "att" if design.exposure is None else "rate_ratio",
        "outcome": outcome,
        "cohort": time_labels(panel, np.repeat(codes, size)),
        "period": panel.times.take(period),
        "event_time": panel.time_codes[period] - np.repeat(codes, size),
        "weight": each("weight"),
        "n_units": n_treated + n_control,
        "n_treated": n_treated,
        "n_control": n_control,
        "method": "synthetic difference-in-differences" if by_unit else "",
        "status": _status(blocks, size, value),
    }
    if by_unit:
        columns["unit"] = panel.units.take(np.repeat([int(block.treated[0]) for block in blocks], size))
    if design.exposure is not None:
        columns["n_events"], columns["exposure"] = each("n_events"), each("exposure")
    return value, make_terms(columns, len(value))


def _size(block: Block | Refused) -> int:
    return 0 if isinstance(block, Refused) else len(block.donors)


def _status(blocks: Sequence[Block | Refused], size: Any, value: Array) -> Any:
    status = np.repeat(np.array([_reason(block) for block in blocks], dtype=object), size)
    status[np.isnan(value) & (status == "")] = NOT_POSITIVE
    return status


def _reason(block: Block | Refused) -> str:
    if isinstance(block, Refused):
        return block.reason
    return ONE_DONOR if len(block.donors) > 1 and len(block.unit.active) == 1 else ""


def details_of(
    design: Design, blocks: Sequence[Block | Refused], found: Sequence[Terms | None], by_unit: bool
) -> SdidDetails:
    """Weights, fit and paths of every block."""
    panel = design.panel
    fitted = [block for block in blocks if isinstance(block, Block)]
    known = [terms for terms in found if terms is not None]

    def table(of: Sequence[Block | Refused], count: Callable[[Any], int], columns: dict[str, Any]) -> pd.DataFrame:
        size = [count(block) for block in of]
        head: dict[str, Any] = {"cohort": time_labels(panel, np.repeat([int(block.cohort) for block in of], size))}
        if by_unit:
            head["unit"] = panel.units.take(np.repeat([int(block.treated[0]) for block in of], size))
        return pd.DataFrame({**head, **columns}, index=pd.RangeIndex(sum(size)))

    donors = np.concatenate([block.donors[block.unit.active] for block in fitted])
    before = np.concatenate([np.flatnonzero(block.window.pre)[block.time.active] for block in fitted])
    rows = np.concatenate([np.flatnonzero(block.rows) for block in fitted])
    observed = np.concatenate([terms.observed[block.rows] for block, terms in zip(fitted, known, strict=True)])
    gap = np.concatenate([terms.gap[block.rows] for block, terms in zip(fitted, known, strict=True)])
    return SdidDetails(
        weights=table(
            fitted,
            lambda block: len(block.unit.active),
            {
                "donor": panel.units.take(donors),
                "weight": np.concatenate([block.unit.weights[block.unit.active] for block in fitted]),
            },
        ),
        time_weights=table(
            fitted,
            lambda block: len(block.time.active),
            {
                "period": panel.times.take(before),
                "weight": np.concatenate([block.time.weights[block.time.active] for block in fitted]),
            },
        ),
        fit=table(blocks, lambda _: 1, _fit_columns(blocks, found)),
        paths=table(
            fitted,
            lambda block: int(block.rows.sum()),
            {"period": panel.times.take(rows), "observed": observed, "synthetic": observed - gap},
        ),
        excluded=design.excluded,
    )


def _fit_columns(blocks: Sequence[Block | Refused], found: Sequence[Terms | None]) -> dict[str, Any]:
    rows = []
    for block, terms in zip(blocks, found, strict=True):
        if isinstance(block, Refused) or terms is None:
            n_pre = block.n_pre if isinstance(block, Refused) else 0
            rows.append((len(block.treated), n_pre, int(block.rows.sum()), 0, *[np.nan] * 10))
            continue
        omega, lam = block.unit, block.time
        rows.append(
            (
                len(block.treated),
                int(block.window.pre.sum()),
                int(block.window.post.sum()),
                len(block.donors),
                block.noise,
                block.zeta_unit,
                block.zeta_time,
                omega.objective / len(lam.weights),
                lam.objective / len(omega.weights),
                _root_mean_square(terms.gap[block.window.pre]),
                _root_mean_square(terms.gap[block.window.post]),
                1 / float(np.square(omega.weights).sum()),
                1 / float(np.square(lam.weights).sum()),
                max(omega.kkt_gap, lam.kkt_gap),
            )
        )
    return dict(zip(_FIT, map(list, zip(*rows, strict=True)), strict=True))


_FIT = (
    "n_treated",
    "n_pre",
    "n_post",
    "n_donors",
    "noise",
    "zeta_unit",
    "zeta_time",
    "objective_unit",
    "objective_time",
    "pre_rmspe",
    "post_rmspe",
    "effective_donors",
    "effective_periods",
    "kkt_gap",
)


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.square(values).mean()))
