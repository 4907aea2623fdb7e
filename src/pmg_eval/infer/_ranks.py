"""Ranks of areas with their uncertainty: a league table never without it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, InferenceError
from pmg_eval.estimate import Draws, Estimate, Provenance
from pmg_eval.estimate.inference import check_level, guard_of
from pmg_eval.estimate.scales import SCALES
from pmg_eval.infer._pool_input import Areas, gather, label_of
from pmg_eval.infer._rank_sets import RankSets, rank_sets
from pmg_eval.infer._shrink import shrink
from pmg_eval.numerics.rows import Array
from pmg_eval.resample._door import need_seed, need_whole

Best = Literal["lowest", "highest"]
_CHUNK = 2_000


@dataclass(frozen=True, eq=False)
class Ranks:
    """A league table with what is and is not known about it.

    Attributes
    ----------
    table : DataFrame
        One row per ranked area, best first: labels; ``estimate, conf_low, conf_high`` (raw); ``rank`` and the
        simultaneous set ``rank_low``-``rank_high``; ``shrunk, shrunk_low, shrunk_high``
        (:func:`~pmg_eval.infer.shrink`, robust); ``expected_rank, p_best, p_worst`` under the shrunken law, ``p_error``
        (largest Monte-Carlo standard error of the two); ``note``.
    level : float
    best : {"lowest", "highest"}
        Which end of the estimates is rank 1.
    critical, critical_error : float
        Quantile behind the rank sets (first step) and its Monte-Carlo error (half of a 95 % interval).
    borderline : int
        Pairs of areas that the error of the quantile could decide otherwise; 0: the sets do not depend on the seed.
    draws : int
    dropped : DataFrame
        Labels of areas without a rank, and ``reason``.
    """

    table: pd.DataFrame
    level: float
    best: Best
    critical: float
    critical_error: float
    borderline: int
    draws: int
    dropped: pd.DataFrame
    provenance: Provenance = field(default_factory=Provenance)

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.table.copy()

    def pick(self, which: Any) -> pd.DataFrame:
        """One area, with what its being picked does to its raw estimate.

        Parameters
        ----------
        which : "best", "worst", or the label of a unit
            The area with the first or the last rank of the estimates, or a named one.
        """
        if which in ("best", "worst"):
            return self.table.iloc[[0 if which == "best" else -1]].reset_index(drop=True)
        if "unit" not in self.table:
            raise DataError("PMG-TERMS", "ranks without unit labels", fix='"best" or "worst"')
        found: pd.DataFrame = self.table[self.table["unit"] == which]
        if not len(found):
            raise DataError("PMG-UNIT", f"no ranked area {which!r}", where=list(self.table["unit"]))
        return found.reset_index(drop=True)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        from pmg_eval.estimate.serialize import jsonable

        def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
            return [{str(name): jsonable(value) for name, value in row.items()} for row in table.to_dict("records")]

        return {
            "schema": "pmg-eval-ranks/1",
            "level": self.level,
            "best": self.best,
            "critical": jsonable(self.critical),
            "critical_error": jsonable(self.critical_error),
            "borderline": self.borderline,
            "draws": self.draws,
            "table": rows(self.table),
            "dropped": rows(self.dropped),
            "provenance": jsonable(self.provenance.to_dict()),
        }

    def __str__(self) -> str:
        # labels that say the same of every area only take room
        same = [name for name in self.table.columns[: self.table.columns.get_loc("estimate")] if name != "unit"]
        same = [name for name in same if len(self.table) > 1 and self.table[name].nunique(dropna=False) == 1]
        shown = self.table.drop(columns=["note", "p_error", *same])
        head = f"Ranks of {len(self.table)} areas ({self.best} is best), {self.level:.0%} simultaneous sets"
        return f"{head}\n{shown.to_string(index=False, float_format=lambda number: f'{number:.4g}')}"

    def __repr__(self) -> str:
        return str(self)


def ranks(
    estimate: Estimate[Any],
    *,
    level: float = 0.95,
    best: Best = "lowest",
    draws: int = 9_999,
    rng: int | np.random.Generator = 0,
) -> Ranks:
    r"""Which rank each area may have, all areas at once.

    An area can be shown to be better than another only where their difference stands out from its error. All ordered
    pairs are tested together (step-down, on the joint law of the errors, :math:`\alpha` for even one wrong statement);
    the set of ranks of area j is

    .. math:: \{1+\#\{k:\ k\ \text{shown better than}\ j\},\dots,n-\#\{k:\ j\ \text{shown better than}\ k\}\},

    and all n sets hold their true rank together with probability at least ``level``.

    Parameters
    ----------
    estimate : Estimate
        Raw effects, one row per area (``pe.effect_per_area(...)``). A placebo law is used as it is; other laws are
        drawn as normal, or t where the guard gives degrees of freedom.
    level : float
    best : {"lowest", "highest"}
        ``"lowest"``: the largest reduction is best.
    draws : int
        Draws of the errors (a placebo law has its own number) and of the shrunken law.
    rng : int or Generator
        Seed.

    Returns
    -------
    Ranks
        ``table`` (best first), the Monte-Carlo error of the quantile, and the areas without a rank.

    Raises
    ------
    DataError
        Effects that are shrunk already.
    DesignError, InferenceError
        Fewer than two areas that can be ranked: no estimate, or a placebo law too small for this level.

    Assumes
    -------
    1. The joint law of the errors is right; that areas share controls is in it (it cancels in differences). Probe: the
    placebo checks of the estimate. 2. For ``expected_rank``, ``p_best``, ``p_worst``: true effects are normal around
    their mean, as the precision-weighted answer to "which is best" needs *some* law. Probe: ``shrink(...).details``.

    When not to use it: to reward or to close. Ranks are mostly noise where areas are small; wide sets say so. An area
    that was picked *because* it is best or worst has a raw estimate that is too extreme on average (regression to the
    mean); its row says that, and the shrunken value stands beside it: given the law of the effects it is right on
    average whatever the area was picked for.

    References
    ----------
    Mogstad, Romano, Shaikh and Wilhelm (2024), doi:10.1093/restud/rdad006; Laird and Louis (1989),
    doi:10.3102/10769986014001029; Dawid (1994), doi:10.1214/lnms/1215463797.

    Examples
    --------
    >>> import numpy as np, pmg_eval as pe
    >>> from pmg_eval.estimate import make_terms
    >>> areas = pe.Estimate(np.array([-9.0, 0.0, 0.5]), make_terms({"unit": list("abc")}, 3), pe.Covariance(np.eye(3)))
    >>> ranks(areas).table[["unit", "rank", "rank_low", "rank_high"]].values.tolist()
    [['a', 1, 1, 1], ['b', 2, 2, 3], ['c', 3, 2, 3]]
    """
    check_level(level)
    if best not in ("lowest", "highest"):
        raise DataError("PMG-OPTION", f"best={best!r}", fix='"lowest" or "highest"')
    need_whole("draws", draws, example="9_999")
    need_seed(rng)
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    for_errors, for_ranks = generator.spawn(2)
    areas = _rankable(estimate, gather(estimate), level)
    errors = _errors(estimate, areas, draws, for_errors)
    side = -1.0 if best == "lowest" else 1.0
    sets = rank_sets(side * areas.y, areas.v, side * errors, level)
    table = _table(estimate, areas, sets, level, side, draws, for_ranks)
    lost = [row for row, why in enumerate(areas.reason) if why]
    dropped = estimate.terms.iloc[lost][estimate.labels].assign(reason=[areas.reason[row] for row in lost])
    provenance = estimate.provenance.then("infer.ranks")
    seed = None if isinstance(rng, np.random.Generator) else int(rng)
    provenance = replace(
        provenance,
        options={**provenance.options, "ranks": {"best": best, "draws": draws, "level": level, "seed": seed}},
        references=(*provenance.references, "10.1093/restud/rdad006"),
    )
    return Ranks(
        table,
        level,
        best,
        sets.critical,
        sets.critical_error,
        sets.borderline,
        len(errors),
        dropped.reset_index(drop=True),
        provenance,
    )


def _rankable(estimate: Estimate[Any], areas: Areas, level: float) -> Areas:
    """Without areas of which the law can show nothing at this level."""
    law = estimate.uncertainty
    smallest = np.zeros(len(estimate))
    if isinstance(law, Draws):
        smallest = law.p_min
    elif "p_min" in estimate.terms:
        smallest = estimate.terms["p_min"].to_numpy(dtype=np.float64, na_value=np.nan)
    silent = smallest > (1 - level) * (1 + 1e-12)
    reason = [
        why or (f"its law cannot show anything at {level:.4g}: the smallest p is {smallest[row]:.3g}" if cut else "")
        for row, (why, cut) in enumerate(zip(areas.reason, silent, strict=True))
    ]
    kept = ~silent[areas.position]
    if kept.sum() < 2:
        lost = [row for row, why in enumerate(reason) if why]
        kind = InferenceError if len(areas.position) > 1 else DesignError
        raise kind(
            "PMG-FEW-AREAS",
            f"{int(kept.sum())} areas to rank" + "".join(f"; {why}" for why in sorted({reason[row] for row in lost})),
            where=label_of(estimate, lost),
            fix="a larger placebo pool, or a lower level" if silent.any() else "two areas or more",
        )
    return Areas(areas.position[kept], areas.y[kept], areas.v[np.ix_(kept, kept)], areas.x[kept], areas.names, reason)


def _errors(estimate: Estimate[Any], areas: Areas, draws: int, generator: np.random.Generator) -> Array:
    """Draws (R, n) of the errors on the scale of the intervals."""
    law = estimate.uncertainty
    if isinstance(law, Draws):
        slope = np.abs(SCALES[estimate.scale].slope(estimate.values[areas.position]))
        return np.asarray(law.take(areas.position).judged(several=True) * slope)
    root = np.linalg.cholesky(areas.v)
    errors = generator.standard_normal((draws, len(areas.y))) @ root.T
    df = float(guard_of(estimate.take(areas.position), True).df.min())
    if np.isfinite(df):
        errors *= np.sqrt(df / generator.chisquare(df, size=(draws, 1)))
    return np.asarray(errors)


def _table(
    estimate: Estimate[Any],
    areas: Areas,
    sets: RankSets,
    level: float,
    side: float,
    draws: int,
    generator: np.random.Generator,
) -> pd.DataFrame:
    part = estimate.take(areas.position)
    table = part.interval(level)[[*estimate.labels, "estimate", "conf_low", "conf_high"]].reset_index(drop=True)
    table = table.assign(rank=sets.rank, rank_low=sets.low, rank_high=sets.high)
    table = table.assign(**_shrunken(part, level, side, draws, generator))
    table = table.sort_values("rank", kind="stable").reset_index(drop=True)
    return table.assign(note=_notes(table))


def _shrunken(
    part: Estimate[Any], level: float, side: float, draws: int, generator: np.random.Generator
) -> dict[str, Any]:
    """Shrunken values and ranks under their law; NaN for two areas, which say nothing about how far areas differ."""
    n = len(part)
    names = ("shrunk", "shrunk_low", "shrunk_high", "expected_rank", "p_best", "p_worst", "p_error")
    if n < 3:
        return dict.fromkeys(names, np.full(n, np.nan))
    pulled = shrink(part)
    shown = pulled.to_frame(level)
    scale = SCALES[part.scale]
    slope = np.abs(scale.slope(pulled.values))
    value, vector = np.linalg.eigh(pulled.cov() * np.outer(slope, slope))
    root = vector * np.sqrt(np.clip(value, 0, None))
    centre = scale.to(pulled.values)
    total, first, last = np.zeros(n), np.zeros(n), np.zeros(n)
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        score = side * (centre + generator.standard_normal((size, n)) @ root.T)
        place = np.argsort(np.argsort(-score, axis=1), axis=1)
        total += place.sum(axis=0)
        first += (place == 0).sum(axis=0)
        last += (place == n - 1).sum(axis=0)
    p_best, p_worst = first / draws, last / draws
    error = np.sqrt(np.maximum(p_best * (1 - p_best), p_worst * (1 - p_worst)) / draws)
    columns = (shown["estimate"], shown["conf_low"], shown["conf_high"], 1 + total / draws, p_best, p_worst, error)
    return {name: np.asarray(column, dtype=np.float64) for name, column in zip(names, columns, strict=True)}


def _notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the first or the last row must know."""
    notes = [""] * len(table)
    n = len(table)
    for row, word, way in ((0, "best", "good"), (n - 1, "worst", "bad")):
        shrunk = table["shrunk"].iloc[row]
        beside = f"; after shrinkage {shrunk:.4g}" if np.isfinite(shrunk) else ""
        notes[row] = f"picked as {word} of {n} on its estimate: on average too {way} (regression to the mean){beside}"
    return notes


__all__ = ["Ranks", "ranks"]
