"""Common shocks: whether areas are independent, as errors clustered on areas suppose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, DesignError, warn
from pmg_eval.estimate import Estimate, Influence, Provenance, Test, clustered
from pmg_eval.infer._moran import MoranLaw, moran
from pmg_eval.numerics.absorb import TwoWay
from pmg_eval.numerics.groups import group_mean
from pmg_eval.panel import Panel
from pmg_eval.panel._door import need_panel
from pmg_eval.resample._door import need_given, need_label, need_seed, need_whole

_FEW = 20  # regions below which an error clustered on them is itself too small
_LAWS = ("randomization", "normal", "permutation")


@dataclass(frozen=True, eq=False)
class CommonShock:
    """Two looks at dependence between areas.

    Attributes
    ----------
    errors : DataFrame (k)
        Per term: labels, ``estimate``, ``std_error`` as the estimate has it, ``std_error_region`` clustered on regions
        (with G/(G-1) and the guard), their ``ratio``, ``conf_low_region``, ``conf_high_region``, ``n_regions``,
        ``status``. Missing where there are no regions.
    moran : Test
        Moran's I of ``changes`` against no resemblance of neighbors (one-sided).
    changes : DataFrame (n)
        ``unit``, ``change`` (residual change of the untreated areas) and ``n_neighbors``.
    note : str
        What to do about it; empty where nothing was found.
    """

    errors: pd.DataFrame
    moran: Test
    changes: pd.DataFrame
    note: str = ""
    provenance: Provenance = field(default_factory=Provenance)

    def to_frame(self) -> pd.DataFrame:
        """A copy of the errors."""
        return self.errors.copy()

    def __str__(self) -> str:
        known = self.errors["ratio"].dropna()
        first = f"error by region over error by area: {known.min():.2f} to {known.max():.2f}. " if len(known) else ""
        return f"{first}{self.moran} {self.note}".strip()

    def __repr__(self) -> str:
        return str(self)


def common_shock(
    estimate: Estimate[Any],
    panel: Panel,
    outcome: str,
    *,
    region: str | None = None,
    neighbors: Literal["borders", "region"] | None = None,
    law: MoranLaw = "randomization",
    draws: int = 9_999,
    rng: int | np.random.Generator = 0,
) -> CommonShock:
    r"""Look for shocks that areas share: the error by region beside the error by area, and Moran's I of changes.

    A shock common to the areas of a region (or to large cities) is in no error clustered on areas: nominal 95 %
    intervals then cover 60 to 80 %. Two looks at it:

    *Errors.* The influence values summed to regions before they are squared. Clearly larger than by area: the areas of
    a region move together.

    *Changes.* For the never treated, uncontaminated areas, residuals :math:`\ddot y_{it}` of the outcome on area and
    period effects, and of each area the mean from the first start :math:`t_0` on minus the mean before,

    .. math:: c_i=\overline{\ddot y}_{i,t\ge t_0}-\overline{\ddot y}_{i,t<t_0}

    (in a balanced panel its change minus the average change). Moran's I of c asks whether neighbors changed alike.

    Parameters
    ----------
    estimate : Estimate
        With influence rows (else the errors are missing and only the changes are looked at).
    panel, outcome : Panel, str
    region : str, optional
        Label of the units; default: the region role of the panel.
    neighbors : {"borders", "region"}, optional
        Who is a neighbor: the borders given to the panel (default where there are some), or whoever lies in the same
        region. Neighbors share a weight of one (row-standardized); areas without one are left out.
    law : {"randomization", "normal", "permutation"}
        Of Moran's I: normal with the variance of a random order of the given changes, or that of normal changes, or
        ``draws`` random orders.
    draws, rng
        For ``law="permutation"``.

    Returns
    -------
    CommonShock

    Raises
    ------
    DataError
        PMG-COLUMN (unknown region), PMG-OPTION, PMG-NEIGHBORS (neither borders nor regions).
    DesignError
        PMG-FEW-AREAS: fewer than four untreated areas with a neighbor, seen before and after, or changes that are all
        equal; PMG-CROSS-SECTION.

    Warns
    -----
    PmgEvalWarning
        PMG-FEW-CLUSTERS: fewer than 20 regions; the error by region is then too small as well.

    Assumes
    -------
    1. Under no dependence changes are exchangeable: very unequal areas make them unequally noisy, which Moran's I can
    take for resemblance where sizes cluster in space. Probe: rates or logs instead of counts, ``law="permutation"``.
    2. Shocks follow borders or regions. A shock to large cities everywhere does not: probe it by a ``region`` column
    that holds the size class, and by ``resample.randomize(eligible=...)``.

    Notes
    -----
    It does not correct anything: where it finds dependence use randomization within the eligible pool
    (``resample.randomize``), or ``conley`` and region errors as a sensitivity. No finding is no proof: with few areas
    the test has little power.

    References
    ----------
    Moran (1950), doi:10.1093/biomet/37.1-2.17; Cliff and Ord (1981), Spatial Processes; Ferman (2019), How much
    should we trust in independent clusters?, MPRA paper 93746.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import did, infer
    >>> rng = np.random.default_rng(1)
    >>> table = pd.DataFrame([(i, t, 3 if i < 8 else 0, i % 24) for i in range(96) for t in range(5)],
    ...                      columns=["area", "year", "start", "district"])
    >>> shock = rng.normal(size=(24, 5))[table["district"], table["year"]]
    >>> table["rate"] = rng.normal(size=len(table)) + shock
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0, region="district")
    >>> found = infer.common_shock(did.imputation(panel, "rate").average(), panel, "rate")
    >>> found.moran.p_value < 0.05
    True
    """
    need_given(estimate)
    need_panel(panel)
    if law not in _LAWS:
        raise DataError("PMG-OPTION", f"unknown law {law!r}", fix=f"one of {', '.join(_LAWS)}")
    if neighbors not in (None, "borders", "region"):
        raise DataError("PMG-OPTION", f"unknown neighbors {neighbors!r}", fix='"borders", "region" or None')
    need_label("region", region)
    need_whole("draws", draws, example="9_999")
    need_seed(rng)
    panel = panel.for_outcome(outcome)
    region = _region(panel, region)
    changes = _changes(panel, outcome)
    links, kept, words = _links(panel, np.flatnonzero(np.isfinite(changes)), region, neighbors)
    values = changes[kept]
    if len(kept) < 4 or np.ptp(values) <= 1e-12 * np.abs(values).max(initial=0.0):
        raise DesignError(
            "PMG-FEW-AREAS",
            f"{len(kept)} untreated areas have an untreated neighbor and different changes",
            fix="at least four are needed; give neighbors= or a coarser region= to the panel",
        )
    generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
    found = moran(values, links, law, draws, generator.spawn(1)[0])
    test = Test(
        hypothesis=f"residual changes of {outcome!r} in untreated areas do not resemble those of {words}",
        statistic=found.value,
        p_value=found.p_value,
        distribution=f"{draws:,} random orders" if law == "permutation" else f"normal, variance under {law}",
        p_min=found.p_min,
        p_error=found.p_error,
        method="Moran's I, one-sided",
        note=f"Moran's I of {len(kept)} areas; {found.expected:.3g} is expected.",
        details=pd.DataFrame(
            {
                "moran": [found.value],
                "expected": [found.expected],
                "variance": [found.variance],
                "n_units": [len(kept)],
                "n_links": [links.nnz],
            }
        ),
    )
    errors = _errors(estimate, region)
    table = pd.DataFrame(
        {"unit": panel.units[kept], "change": values, "n_neighbors": np.diff(links.indptr).astype(np.int64)}
    )
    return CommonShock(
        errors, test, table, _advice(errors, test), _provenance(estimate, panel, outcome, region, words, law)
    )


def _provenance(
    estimate: Estimate[Any], panel: Panel, outcome: str, region: str | None, words: str, law: str
) -> Provenance:
    options = {
        "of": estimate.provenance.estimator,
        "outcome": outcome,
        "region": region,
        "neighbors": words,
        "law": law,
    }
    return Provenance(estimator="infer.common_shock", options=options, data=panel.fingerprint)


def _region(panel: Panel, region: str | None) -> str | None:
    if region is None:
        return "region" if "region" in panel.unit_labels else None
    if region not in panel.unit_labels:
        raise DataError(
            "PMG-COLUMN",
            f"no unit label {region!r}",
            where=list(panel.unit_labels.columns),
            fix="name it as region= or cluster= of the Panel",
        )
    return region


def _changes(panel: Panel, outcome: str) -> Any:
    """Residual change (n,) of every untreated area seen before and after the first start; NaN for the others."""
    if not panel.is_panel:
        raise DesignError("PMG-CROSS-SECTION", "repeated cross-sections have no change per unit")
    clean = ~np.isfinite(panel.cohort) & (panel.contaminated_from > panel.time_codes[-1])
    starts = panel.cohort[np.isfinite(panel.cohort) & ~panel.always_treated]
    first = starts.min() if len(starts) else np.inf
    values = panel.column(outcome)
    rows = clean[panel.row_unit] & np.isfinite(values)
    unit, time = panel.row_unit[rows], panel.row_time[rows]
    residual = TwoWay(unit, time, panel.n_units, panel.n_periods).residualize(values[rows])
    after = panel.time_codes[time] >= first
    late, early = (group_mean(unit[side], residual[side], panel.n_units) for side in (after, ~after))
    return late - early


def _links(panel: Panel, areas: Any, region: str | None, neighbors: str | None) -> tuple[Any, Any, str]:
    """Row-standardized weights (m, m) of the areas that have a neighbor, their positions, and who neighbors are."""
    from scipy import sparse

    if neighbors is None:
        neighbors = "borders" if panel.neighbors is not None else "region"
    count = panel.n_units
    if neighbors == "borders":
        if panel.neighbors is None:
            raise DataError("PMG-NEIGHBORS", "the panel has no borders", fix="give neighbors= to the Panel")
        pairs = panel.neighbors
        touching = sparse.csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    else:
        if region is None:
            raise DataError(
                "PMG-NEIGHBORS",
                "the panel has neither borders nor regions",
                fix="give neighbors= or region= to the Panel",
            )
        codes = pd.factorize(panel.unit_labels[region])[0]
        member = sparse.csr_array((np.ones(count), (np.arange(count), codes)))
        touching = sparse.csr_array(member @ member.T) - sparse.eye_array(count, format="csr")
    touching = sparse.csr_array(touching)[areas][:, areas]
    touching.eliminate_zeros()
    has = np.diff(touching.indptr) > 0  # borders count in both directions, so who has none is nobody's neighbor
    touching = sparse.csr_array(touching[has][:, has])
    degree = np.diff(touching.indptr)
    words = "bordering areas" if neighbors == "borders" else f"areas of the same {region}"
    return sparse.csr_array(sparse.diags_array(1 / degree) @ touching), areas[has], words


def _errors(estimate: Estimate[Any], region: str | None) -> pd.DataFrame:
    frame = estimate.to_frame()
    table = frame[[*estimate.labels, "estimate", "std_error"]].copy()
    absent = ("std_error_region", "ratio", "conf_low_region", "conf_high_region")
    reason = ""
    if region is None:
        reason = "no region"
    elif not isinstance(estimate.uncertainty, Influence):
        reason = "no influence rows to sum to regions"
    if reason:
        return table.assign(**dict.fromkeys(absent, np.nan), n_regions=0, status=reason)
    by_region = estimate.assuming(clustered(str(region), correction="G")).to_frame()
    count = int(estimate.uncertainty.rows[region].nunique())  # type: ignore[union-attr]
    if count < _FEW:
        warn(
            "PMG-FEW-CLUSTERS",
            f"{count} regions only: an error clustered on them is itself too small",
            fix="read it as a lower bound, and compare with resample.randomize within regions",
            stacklevel=5,
        )
    status = by_region["status"].astype(str).to_numpy(dtype=object)
    few = f"{count} regions: a lower bound"
    return table.assign(
        std_error_region=by_region["std_error"],
        ratio=by_region["std_error"] / table["std_error"],
        conf_low_region=by_region["conf_low"],
        conf_high_region=by_region["conf_high"],
        n_regions=count,
        status=[own or (few if count < _FEW else "") for own in status],
    )


def _advice(errors: pd.DataFrame, test: Test) -> str:
    notes = []
    if test.p_value < 0.05:
        notes.append("Neighbors changed alike: areas are not independent")
    if (errors["ratio"] > 1.25).any():
        notes.append("Errors by region are clearly larger than by area")
    if notes:
        notes.append("use resample.randomize in the eligible pool, within regions, or pe.conley as a sensitivity")
    return "; ".join(notes) + ("." if notes else "")
