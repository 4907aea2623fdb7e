"""Programmes that never happened on the user's own panel: who gets a start, and an effect of a known size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, warn
from pmg_eval.estimate.scales import SCALES
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._door import is_number
from pmg_eval.resample._pool import listed, pool_mask

PlantScale: TypeAlias = Literal["identity", "log"]
"""``"identity"``: an effect is a difference; ``"log"``: a ratio."""

ROOMY = 3  # a pool this many times the areas: below it the assignments hardly differ from each other


@dataclass(frozen=True, eq=False)
class Ground:
    """Where placebo programmes are placed.

    Attributes
    ----------
    panel : Panel
        Without the areas that were really treated.
    pool : (m,) int
        Positions of the areas that may be given a start.
    cohort, share : (s,) float
        Start (calendar code) and treated share of its first period of every place in the programme.
    sizes : tuple of int
        Numbers of areas to try: the first ``size`` places are filled.
    """

    panel: Panel
    pool: Any
    cohort: Array
    share: Array
    sizes: tuple[int, ...]

    def assigned(self, order: Any, size: int) -> Panel:
        """The panel in which the first ``size`` areas of ``order`` (a permutation of the pool) have a start."""
        cohort = self.panel.cohort.copy()
        cohort[order[:size]] = self.cohort[:size]
        if self.panel.share is None:
            return self.panel.with_cohort(cohort)
        share = self.panel.share.copy()
        share[order[:size]] = self.share[:size]
        return self.panel.with_cohort(cohort, share)


def ground_of(
    panel: Panel,
    *,
    start: Any,
    areas: int | Sequence[int] | None,
    eligible: Sequence[Any] | None,
    planned: bool,
) -> Ground:
    """Read the options that :func:`~pmg_eval.resample.power` and :func:`~pmg_eval.resample.calibrate` share.

    Raises
    ------
    DataError
        PMG-OPTION, PMG-POOL (labels that are unknown, treated or contaminated), PMG-TIME-TYPE.
    DesignError
        PMG-POOL (fewer eligible areas than the programme has, or nobody left to compare with), PMG-START.
    """
    started = np.isfinite(panel.cohort) & (panel.cohort <= panel.time_codes[-1])
    places = started & ~panel.always_treated
    cohort, share = panel.cohort[places], np.ones(int(places.sum()))
    if panel.share is not None:
        share = panel.share[places]
    order = np.argsort(cohort, kind="stable")
    cohort, share = cohort[order], share[order]
    if start is not None:
        cohort = _planned_starts(panel, start, areas, len(cohort))
        share = np.ones(len(cohort))
    elif areas is not None:
        cohort, share = _one_start(panel, cohort, share, areas)
    sizes = _sizes(areas, len(cohort))
    if planned:
        untouched = np.full(panel.n_units, np.inf)
        base = panel.with_cohort(untouched, None if panel.share is None else np.ones(panel.n_units))
    else:
        base = panel.select(~started)
    pool = np.flatnonzero(pool_mask(base, _narrowed(panel, base, eligible)))
    _check_room(base, pool, max(sizes))
    return Ground(base, pool, cohort, share, sizes)


def _planned_starts(panel: Panel, start: Any, areas: int | Sequence[int] | None, own: int) -> Array:
    """Calendar codes of a planned programme: one start, or how many areas start when."""
    if isinstance(start, Mapping):
        if areas is not None:
            raise DataError("PMG-OPTION", "areas= beside a mapping of starts", fix="start={period: number of areas}")
        for label, count in start.items():
            _whole(count, f"start[{label!r}]")
        codes = [code for label, count in start.items() for code in [panel.time_code(label)] * count]
    else:
        most = own if areas is None else max(_counts(areas))
        codes = [panel.time_code(start)] * most
    found = np.sort(np.array(codes, dtype=np.float64))
    outside = (found <= panel.time_codes[0]) | (found > panel.time_codes[-1])
    if outside.any():
        raise DesignError(
            "PMG-START",
            "a start without a period before it, or after the last one",
            where=[panel.time_label(code) for code in np.unique(found[outside])],
            fix="a start inside the observed periods, as far from their end as the study will last",
        )
    return found


def _one_start(panel: Panel, cohort: Array, share: Array, areas: int | Sequence[int]) -> tuple[Array, Array]:
    """The panel's only start, for as many areas as asked for."""
    starts = np.unique(np.column_stack([cohort, share]), axis=0)
    if len(starts) != 1:
        raise DataError(
            "PMG-OPTION",
            f"areas= needs one start; this panel has {len(starts)}",
            where=[panel.time_label(code) for code in np.unique(cohort)],
            fix="start=..., or start={period: number of areas}",
        )
    most = max(_counts(areas))
    return np.full(most, starts[0, 0]), np.full(most, starts[0, 1])


def _counts(areas: int | Sequence[int]) -> list[int]:
    given = [areas] if np.isscalar(areas) else list(areas)  # type: ignore[arg-type]
    if not given:
        raise DataError("PMG-OPTION", "areas= names no number", fix="areas=5, or areas=[5, 10, 20]")
    return [_whole(count, "areas") for count in given]


def _whole(count: Any, name: str) -> int:
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise DataError("PMG-OPTION", f"{name}={count!r} is not a number of areas", fix="1 or more")
    return int(count)


def _sizes(areas: int | Sequence[int] | None, places: int) -> tuple[int, ...]:
    if places == 0:
        raise DesignError(
            "PMG-NO-TREATED", "no area starts inside the observed periods", fix="start= and areas= of the programme"
        )
    return (places,) if areas is None else tuple(dict.fromkeys(sorted(_counts(areas))))


def _narrowed(panel: Panel, base: Panel, eligible: Sequence[Any] | None) -> list[Any] | None:
    """The eligible areas that are still there: those really treated are left out, an unknown one is an error."""
    if eligible is None:
        return None
    wanted = pd.Index(listed(eligible))
    unknown = wanted[panel.units.get_indexer(wanted) < 0].tolist()
    if unknown:
        raise DataError("PMG-POOL", "eligible names units that are not in the panel", where=unknown)
    kept: list[Any] = wanted[base.units.get_indexer(wanted) >= 0].tolist()
    return kept


def _check_room(base: Panel, pool: Any, most: int) -> None:
    if len(pool) < most or base.n_units - most < 1:
        raise DesignError(
            "PMG-POOL",
            f"{len(pool)} eligible untreated areas for a programme of {most}, with others left to compare with",
            fix="a wider eligible=, or a smaller programme (start=, areas=)",
        )
    if len(pool) < ROOMY * most:
        warn(
            "PMG-SMALL-POOL",
            f"{len(pool)} eligible areas for a programme of {most}: the placebo programmes overlap, so that the spread "
            "of their estimates is smaller than that of new areas",
            fix=f"a pool of {ROOMY * most} or more, or fewer areas",
            stacklevel=5,
        )


def distance(effect: float, scale: PlantScale) -> float:
    """Signed size of an effect on the scale on which effects add."""
    link = SCALES[scale]
    return float(link.to(np.array([effect]))[0] - link.null_on_scale())


def check_effects(effects: Sequence[float], scale: PlantScale) -> list[float]:
    """Distinct effects, none of them the null; ratios are positive.

    Raises
    ------
    DataError
        PMG-EFFECTS.
    """
    numbers: list[Any] = [effects] if np.ndim(effects) == 0 else list(effects)
    if isinstance(effects, Mapping) or not all(map(is_number, numbers)):
        raise DataError(
            "PMG-EFFECTS", f"effects={effects!r} must be numbers", fix="effects=[0.9, 0.8] (ratios) or [-1.0, -2.0]"
        )
    given = [float(effect) for effect in numbers]
    unfit = [effect for effect in given if not np.isfinite(effect) or (scale == "log" and effect <= 0)]
    if not given or unfit or len(set(given)) < len(given) or SCALES[scale].null in given:
        words = "positive ratios other than 1" if scale == "log" else "differences other than 0"
        raise DataError("PMG-EFFECTS", f"effects must be distinct {words}", where=unfit or given)
    return given


def are_counts(panel: Panel, outcome: str) -> bool:
    """Whether the outcome could be a count: whole numbers, none negative."""
    values = panel.column(outcome)
    return bool((values >= 0).all() and (values == np.rint(values)).all())


@dataclass(frozen=True, eq=False)
class Rates:
    r"""What is known of the rates behind counts: :math:`\lambda\sim Gamma(1/\phi,\,1/(\phi m))` in each row.

    Attributes
    ----------
    mean : (N,) float
        Unit times period effect (times exposure), fitted to all rows.
    phi : float
        Squared coefficient of variation of the rates around it.
    """

    mean: Array
    phi: float

    def drawn(self, y: Array, rng: np.random.Generator) -> Array:
        """Rates given the counts."""
        if self.phi <= 0:
            return self.mean
        possible = self.mean > 0
        scale = np.where(possible, self.phi * self.mean / (1 + self.phi * self.mean), 0.0)
        return rng.gamma(1 / self.phi + y) * scale


def rates_of(panel: Panel, outcome: str, rounds: int = 20) -> Rates:
    """Poisson means by scaling the rows' margins to the counts' (exact in one round where all cells are there)."""
    y, unit, period = panel.column(outcome), panel.row_unit, panel.row_time
    mean = np.ones(len(y)) if panel.exposure is None else np.asarray(panel.exposure, dtype=np.float64).copy()
    for _ in range(rounds):
        for codes in (period, unit):
            total, now = np.bincount(codes, y), np.bincount(codes, mean)
            mean = mean * np.divide(total, now, out=np.zeros_like(total), where=now > 0)[codes]
    lost = (1 - 1 / max(len(np.unique(unit)), 2)) * (1 - 1 / max(len(np.unique(period)), 2))
    square = float((mean**2).sum())
    excess = float(((y - mean) ** 2).sum()) / lost - float(mean.sum())
    return Rates(mean, max(excess / square, 0.0) if square > 0 else 0.0)


def planted(
    panel: Panel,
    outcome: str,
    effects: Sequence[float],
    scale: PlantScale,
    rates: Rates | None,
    rng: np.random.Generator,
) -> Iterator[tuple[float, Panel]]:
    r"""The panel with each effect in the rows after the start, one at a time.

    A difference is added, a ratio multiplies. Of counts (``rates`` is given) a ratio below 1 keeps every event with
    that probability, and one above 1 adds Poisson events at ``rates.drawn``; the events of a smaller ratio are events
    of the larger one, which keeps noise out of comparisons of effects. Where the panel has a treated share of the
    first period, the effect there is that share of the whole.
    """
    y = panel.column(outcome)
    start = panel.cohort[panel.row_unit]
    code = panel.time_codes[panel.row_time]
    amount = np.where(code >= start, 1.0, 0.0)
    if panel.share is not None:
        amount = np.where(code == start, panel.share[panel.row_unit], amount)
    if scale == "identity" or rates is None:
        for effect in effects:
            changed = y + amount * effect if scale == "identity" else y * (1 + amount * (effect - 1))
            yield effect, panel.with_values(outcome, changed)
        return
    down, up = rng.spawn(2)
    kept, last = y.astype(np.int64), np.ones(len(y))
    for effect in sorted((effect for effect in effects if effect < 1), reverse=True):
        ratio = 1 + amount * (effect - 1)
        kept, last = down.binomial(kept, np.clip(ratio / last, 0.0, 1.0)), ratio
        yield effect, panel.with_values(outcome, kept.astype(np.float64))
    rate, total, last = rates.drawn(y, up), y, np.ones(len(y))
    for effect in sorted(effect for effect in effects if effect > 1):
        ratio = 1 + amount * (effect - 1)
        total, last = total + up.poisson((ratio - last) * rate), ratio
        yield effect, panel.with_values(outcome, total)
