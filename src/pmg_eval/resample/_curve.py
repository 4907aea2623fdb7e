"""Specification curve: all reasonable analyses side by side, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import InferenceError
from pmg_eval.estimate import Provenance
from pmg_eval.estimate.inference import check_level
from pmg_eval.estimate.scales import SCALES, ScaleName
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.resample._curve_plan import Found, Specification, estimated, planned
from pmg_eval.resample._curve_test import joint_tests
from pmg_eval.resample._door import need_label, need_seed, need_whole
from pmg_eval.typing import Estimator


@dataclass(frozen=True, eq=False)
class Curve:
    """Estimates of all specifications, ascending.

    Attributes
    ----------
    table : DataFrame
        One row per specification, by effect: ``rank`` (0, 1, ...), ``specification``, ``panel`` and ``outcome``, one
        column per option of a grid; ``estimate, std_error, p_value, conf_low, conf_high``, ``effect`` (distance from no
        effect on the interval's scale: log points for ratios), ``significant``, ``n_treated, n_control``, ``method,
        status``, and ``refused`` (why there is no estimate; these rows come last, without a rank).
    tests : DataFrame
        Joint tests of no effect in any area, all specifications under the same random adoption paths: ``statistic``
        ("median", "share significant", "average z"), ``observed, p_value, p_error, p_min``. Empty with ``draws=0``.
    median : float
        Median estimate on its natural scale; NaN when scales differ.
    share_same_sign : float
        Share of the estimates with the sign of the median effect.
    share_significant : float
        Share of the specifications with a p-value that are significant in the direction of the median effect.
    scale : {"identity", "log", "mixed"} or another scale
    level : float
    provenance : Provenance
    """

    table: pd.DataFrame
    tests: pd.DataFrame
    median: float
    share_same_sign: float
    share_significant: float
    scale: ScaleName | Literal["mixed"]
    level: float
    provenance: Provenance = field(default_factory=Provenance)

    def to_frame(self) -> pd.DataFrame:
        """A copy of ``table``."""
        return self.table.copy()

    def __str__(self) -> str:
        shown = int(self.table["rank"].notna().sum())
        refused = len(self.table) - shown
        middle = "scales differ" if np.isnan(self.median) else f"median {self.median:.4g}"
        text = (
            f"{shown} specification{'' if shown == 1 else 's'}"
            + (f" ({refused} refused)" if refused else "")
            + f": {middle}; "
            f"{self.share_same_sign:.0%} share its sign, {self.share_significant:.0%} are significant with it"
        )
        for row in self.tests.itertuples():
            text += f"; {row.statistic}: p = {row.p_value:.3g}"
        return text

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        from pmg_eval.estimate.serialize import jsonable

        def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
            return [{str(key): jsonable(value) for key, value in row.items()} for row in table.to_dict("records")]

        return {
            "schema": "pmg-eval-curve/1",
            "table": rows(self.table),
            "tests": rows(self.tests),
            "median": jsonable(self.median),
            "share_same_sign": jsonable(self.share_same_sign),
            "share_significant": jsonable(self.share_significant),
            "scale": self.scale,
            "level": self.level,
            "provenance": self.provenance.to_dict(),
        }


def curve(
    specifications: Mapping[str, Estimator] | Mapping[str, Sequence[Any]],
    panel: Panel | Mapping[str, Panel],
    outcome: str | Sequence[str],
    *,
    estimator: Estimator | None = None,
    level: float = 0.95,
    draws: int = 199,
    eligible: Sequence[Any] | None = None,
    within: str | None = None,
    rng: int | np.random.Generator = 0,
    n_jobs: int = 1,
    checkpoint: str | Path | None = None,
) -> Curve:
    r"""Estimate every specification, and test all of them together.

    The joint tests give the same randomly exchanged adoption paths to all specifications, so that their dependence is
    that of the data, and compare what happened with what happens then:

    .. math:: p=\frac{1+\#\{r:|S_r|\ge|S|\}}{1+R},\qquad
              S\in\{\text{median effect},\ \text{share significant in one direction},\ \textstyle\sum z/\sqrt m\}.

    Parameters
    ----------
    specifications : mapping
        Name -> estimator (``functools.partial`` binds options); or, with ``estimator``, option -> values to cross.
        An estimate of several terms is averaged (``.average()``).
    panel : Panel or mapping of Panels
        Several: other samples or other start dates of the same areas (labels must agree).
    outcome : str or sequence of str
    estimator : callable, optional
        The estimator whose options form the grid.
    level : float, default 0.95
        Of intervals; ``significant`` means a p-value of at most 1 - level.
    draws : int, default 199
        Random assignments of the joint tests (all of them are enumerated when there are no more); 0 leaves them out.
        Every draw estimates every specification.
    eligible, within
        Comparison areas that might have been chosen, and a unit label inside whose levels paths are exchanged, as for
        :func:`randomize`; of the first panel.
    rng, n_jobs
        Seed; processes, on which results do not depend.
    checkpoint : path, optional
        File from which interrupted draws continue.

    Returns
    -------
    Curve

    Raises
    ------
    DataError
        PMG-OPTION (nothing to estimate), PMG-COLUMN, PMG-CHECKPOINT, and whatever is wrong with a panel or outcome.
    DesignError
        PMG-POOL (a treated area that is not in all panels, or one assignment only).
    InferenceError
        PMG-CURVE: no specification gave an estimate.

    Notes
    -----
    Assumes: (1) all specifications answer the same question and are defensible: a curve over bad ones proves nothing;
    (2) for the tests, that adoption was as good as random in the pool, as for :func:`randomize`. A specification that
    is refused is listed with its reason. Effects must have the same unit (ratios on the log scale do) for the median to
    mean something. What cannot be estimated under a random assignment counts against an effect.

    When not to use: in place of one declared analysis. The smallest p-value of a curve is not a finding.

    Deviations from Simonsohn et al.: adoption paths are exchanged instead of shuffling a treatment column, and tests
    are two-sided.

    References
    ----------
    Simonsohn, Simmons and Nelson (2020), doi:10.1038/s41562-020-0912-z.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import did, resample
    >>> rng = np.random.default_rng(1)
    >>> table = pd.DataFrame([(i, t, 4 if i < 6 else 0) for i in range(20) for t in range(7)],
    ...                      columns=["area", "year", "start"])
    >>> table["rate"] = rng.normal(size=140) + 1.0 * ((table["start"] > 0) & (table["year"] >= 4))
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> grid = {"base_period": ["varying", "average"], "anticipation": [0, 1]}
    >>> found = resample.curve(grid, panel, "rate", estimator=did.group_time, draws=0)
    >>> found.table[["base_period", "anticipation", "estimate"]].round(3).values.tolist()
    [['varying', 1, -0.113], ['average', 1, 0.441], ['average', 0, 0.838], ['varying', 0, 2.028]]
    """
    check_level(level)
    need_whole("draws", draws, 0, example="199")
    need_seed(rng)
    need_label("within", within)
    specs, panels = planned(specifications, panel, outcome, estimator)
    found = [estimated(spec, panels, level) for spec in specs]
    usable = [number for number, one in enumerate(found) if np.isfinite(one.effect)]
    if not usable:
        reasons = sorted({one.refused for one in found})
        raise InferenceError("PMG-CURVE", f"none of {len(found)} specifications gave an estimate", where=reasons)
    tests = joint_tests(
        [specs[number] for number in usable],
        [found[number] for number in usable],
        panels,
        level=level,
        draws=draws,
        eligible=eligible,
        within=within,
        rng=rng,
        n_jobs=n_jobs,
        checkpoint=checkpoint,
    )
    options: dict[str, Any] = {"specifications": len(specs), "draws": draws, "within": within, "level": level}
    options["eligible"] = None if eligible is None else [str(unit) for unit in eligible]
    provenance = Provenance(
        estimator="resample.curve",
        options={**options, "names": [spec.name for spec in specs]},
        data=" ".join(dict.fromkeys(one.fingerprint for one in panels.values())),
        seed=None if isinstance(rng, np.random.Generator) else int(rng),
        references=("10.1038/s41562-020-0912-z",),
    )
    return _curve(specs, found, tests, level, provenance)


def _curve(
    specs: list[Specification], found: list[Found], tests: pd.DataFrame, level: float, provenance: Provenance
) -> Curve:
    effect = np.array([one.effect for one in found])
    usable = np.isfinite(effect)
    scales = {one.scale for one, good in zip(found, usable, strict=True) if good}
    middle = float(np.median(effect[usable]))
    p_value = np.array([one.p_value for one in found])
    significant = p_value <= (1 - level) * (1 + 1e-12)
    tested = usable & np.isfinite(p_value)
    with_it = significant & (effect * middle > 0)
    scale: Any = scales.pop() if len(scales) == 1 else "mixed"
    return Curve(
        _table(specs, found, effect, significant),
        tests,
        np.nan if scale == "mixed" else _natural(middle, scale),
        float((effect[usable] * middle > 0).mean()),
        float(with_it[tested].mean()) if tested.any() else np.nan,
        scale,
        level,
        provenance,
    )


def _natural(effect: float, name: ScaleName) -> float:
    scale = SCALES[name]
    return float(scale.back(np.array([effect + scale.null_on_scale()]))[0])


def _table(specs: list[Specification], found: list[Found], effect: Array, significant: Any) -> pd.DataFrame:
    """One row per specification; those without an estimate last."""
    options = list(dict.fromkeys(name for spec in specs for name in spec.options))
    rows = []
    for spec, one, marked in zip(specs, found, significant, strict=True):
        shown = {name: _shown(spec.options.get(name)) for name in options}
        rows.append({"specification": spec.name, **spec.place, **shown, **one.row(), "significant": bool(marked)})
    table = pd.DataFrame(rows)
    order = np.argsort(effect, kind="stable")  # NaN last
    table = table.iloc[order].reset_index(drop=True)
    rank = pd.Series(range(len(table)), dtype="Int64").where(np.isfinite(effect[order]))
    table.insert(0, "rank", rank)
    return table


def _shown(value: Any) -> Any:
    """An option as it stands in a table: numbers and text as they are."""
    return value if value is None or isinstance(value, str | bool | int | float) else repr(value)
