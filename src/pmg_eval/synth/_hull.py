"""Whether a treated area lies inside the convex hull of its donors, and how far the perfect fits disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DesignError, NumericalError
from pmg_eval.estimate import Estimate, Provenance, make_terms
from pmg_eval.numerics.rows import Array
from pmg_eval.panel import Panel
from pmg_eval.synth._door import Design, Donors, Family, design
from pmg_eval.synth._fit import fit_weights

OUTSIDE, ONE_FIT, MANY_FITS = "outside the hull", "inside, unique weights", "inside, many perfect fits"
MANY_BEST = "outside the hull, many best fits"
NO_UPPER = "no upper bound: a best fit expects no event"
_COLUMNS = (
    "unit", "cohort", "inside", "unique", "distance", "n_pre", "n_post", "n_donors",
    "low", "high", "width", "both_signs", "effective_donors", "status",
)  # fmt: skip
_NO_EFFECT = {"gaussian": 0.0, "poisson": 1.0}


@dataclass(frozen=True, eq=False)
class HullDetails:
    """Place of every treated area relative to its donors.

    Attributes
    ----------
    table : DataFrame
        One row per treated area: ``unit, cohort, inside, unique`` (the weights of its best fit), ``distance`` (root
        mean square error of the best fit before the start; 0 inside), ``n_pre, n_post, n_donors, low, high, width``
        (range of the mean effect over all best fits), ``both_signs`` (the range holds effects on both sides of no
        effect), ``effective_donors`` (1 / sum of squared weights; NaN where the weights are not unique), ``status``.
    excluded : DataFrame
        ``donor, reason``.
    """

    table: pd.DataFrame
    excluded: pd.DataFrame


def hull(
    panel: Panel,
    outcome: str,
    *,
    donors: Donors = "untreated",
    anticipation: int = 0,
    family: Family = "gaussian",
) -> Estimate[HullDetails]:
    r"""Bounds on the effect of every treated area over all synthetic controls that fit equally well.

    Of the weights on the simplex that fit the area's periods before its start best,

    .. math:: W_i=\operatorname*{argmin}_{w\ge0,\;1'w=1}\sum_{t<g_i}\Bigl(Y_{it}-\sum_jw_jY_{jt}\Bigr)^2,

    the smallest and the largest mean effect after the start,

    .. math:: \min_{w\in W_i},\ \max_{w\in W_i}\ \frac1{T_i}\sum_{t\ge g_i}\Bigl(Y_{it}-\sum_jw_jY_{jt}\Bigr),

    in the unit of the outcome. Inside the hull the fit is perfect and :math:`W_i` usually has many members; outside it
    the fit is the nearest point, as a rule with one set of weights. With ``family="poisson"`` paths are rates (count
    per person-year) and the effect is the rate ratio :math:`\sum_tY_{it}/\sum_tE_{it}\sum_jw_jr_{jt}`: observed over
    expected events.

    Parameters
    ----------
    panel : Panel
        Units observed over time with ``cohort=``; an area may have gaps, a donor may not.
    outcome : str
        Numeric column; counts (at least 0) for ``family="poisson"``.
    donors : {"untreated", "others"} or sequence of unit labels
        Pool. Default: units that stay untreated and uncontaminated. ``"others"``: every unit with a start is compared
        with all other units whatever their start (placebos in space).
    anticipation : int
        Periods before the start that are not fitted. Default 0.
    family : {"gaussian", "poisson"}
        Differences of outcomes, or ratios of rates.

    Returns
    -------
    Estimate[HullDetails]
        Two terms per treated area, ``contrast`` "low" and "high": ``estimand`` ("att", or "rate_ratio" on the log
        scale), ``outcome, unit, cohort``; ``n_treated, n_control`` (donors). No law of the error, and weight 0: bounds
        are not averaged. ``status`` says "outside the hull", "inside, unique weights" or "inside, many perfect fits".
        ``details.table`` has one row per area.

    Raises
    ------
    DataError
        PMG-OPTION, PMG-DONORS, PMG-NEGATIVE; missing values (by the panel's policy).
    DesignError
        PMG-NO-TREATED, PMG-NO-DONORS, PMG-NO-EXPOSURE, PMG-CROSS-SECTION, PMG-SHARE; PMG-SHORT-PRE when no area is
        observed both before and after its start (one such area: NaN with a status).

    Notes
    -----
    Assumes: (1) without the programme the area would have followed one of its best fits, and nothing says which;
    (2) no anticipation beyond ``anticipation``; (3) donors untouched by the programme of others (probe:
    ``contaminated_from=`` of the panel); (4) outcomes measured without error: a perfect fit also fits the noise.

    What it does not say: the range is not a confidence interval. It holds what the *choice of weights* leaves open and
    nothing of sampling error, so a narrow range is no precise estimate and a range without zero is no significant
    effect. Nor is its midpoint an estimate. Many perfect fits are a property of the data (short pre-periods, many
    donors), not of the software: any program that returns one answer has picked it by its starting point or its
    rounding. More pre-periods make areas leave the hull; whether "outside" is near or far says ``distance``.

    When not to use: for an effect with its uncertainty (``pe.effect_per_area``). Where the range is wide, choose
    weights by a rule that the data support (``synth.sdid``, penalized weights) or do not match levels at all
    (``did.imputation``).

    An area is inside when no direction separates it from its donors by an angle of more than 1e-6, weights are unique
    when none can move by more than 1e-6; the fit is that of ``synth.classic``. With ``partial_period="share"`` the
    effect is the sum of the gaps over the sum of the treated shares.

    References
    ----------
    Abadie, Diamond and Hainmueller (2010), JASA, doi:10.1198/jasa.2009.ap08746. Abadie and L'Hour (2021), JASA,
    doi:10.1080/01621459.2021.1971535 (non-uniqueness inside the hull, and a rule that picks close donors).

    Examples
    --------
    Area "a" is matched perfectly by "b" and "c", by "d" and "e", and by every mixture of the two pairs.

    >>> import pandas as pd, pmg_eval as pe
    >>> from pmg_eval.synth import hull
    >>> paths = {"a": (2, 2, 5), "b": (1, 1, 4), "c": (3, 3, 4), "d": (1, 3, 1), "e": (3, 1, 1)}
    >>> df = pd.DataFrame([(area, year, 3 if area == "a" else 0, cases) for area, path in paths.items()
    ...                    for year, cases in enumerate(path, 1)], columns=["area", "year", "start", "cases"])
    >>> panel = pe.Panel(df, unit="area", time="year", cohort="start", never=0)
    >>> bounds = hull(panel, "cases")
    >>> bounds.to_frame()[["unit", "contrast", "estimate", "status"]].round(6).values.tolist()
    [['a', 'low', 1.0, 'inside, many perfect fits'], ['a', 'high', 4.0, 'inside, many perfect fits']]
    """
    plan = design(panel, outcome, donors=donors, family=family, anticipation=anticipation)
    table = pd.DataFrame([_area(plan, int(unit), outcome) for unit in plan.treated], columns=list(_COLUMNS))
    if (table[["n_pre", "n_post"]] == 0).any(axis=1).all():
        raise DesignError(
            "PMG-SHORT-PRE",
            "no treated area is observed both before and after its start",
            where=table["unit"].tolist(),
            fix="less anticipation, or a longer window",
        )
    return Estimate(
        values=table[["low", "high"]].to_numpy(dtype=np.float64).ravel(),
        terms=_terms(plan, table, outcome),
        details=HullDetails(table, plan.excluded),
        scale="log" if family == "poisson" else "identity",
        provenance=_provenance(plan, outcome, donors),
    )


def _area(plan: Design, unit: int, outcome: str) -> dict[str, Any]:
    """One row of the table."""
    before, after, pool = plan.before(unit), plan.after(unit), plan.donors_of(unit)
    row: dict[str, Any] = {
        "unit": plan.panel.units[unit],
        "cohort": plan.panel.time_label(plan.panel.cohort[unit]),
        "inside": False,
        "unique": False,
        "n_pre": int(before.sum()),
        "n_post": int(after.sum()),
        "n_donors": len(pool),
        "both_signs": False,
    }
    empty = dict.fromkeys(("distance", "low", "high", "width", "effective_donors"), np.nan)
    if not (before.any() and after.any()):
        return {**row, **empty, "status": f"not observed {'after its start' if before.any() else 'before its start'}"}
    try:
        fit = fit_weights(np.ascontiguousarray(plan.outcome[pool][:, before].T), plan.outcome[unit, before])
        values = _values(plan, unit, pool, after)
        smallest, largest = fit.range_of(values)
        unique = smallest == largest and fit.unique
    except NumericalError as error:
        return {**row, **empty, "status": error.what}
    low, high = _effects(plan, unit, outcome, after, (smallest, largest), float(np.abs(values).max()))
    kind = (ONE_FIT if unique else MANY_FITS) if fit.inside else (OUTSIDE if unique else MANY_BEST)
    no_effect = _NO_EFFECT[plan.family]
    return {
        **row,
        "inside": fit.inside,
        "unique": unique,
        "distance": 0.0 if fit.inside else float(np.sqrt(fit.objective / before.sum())),
        "low": low,
        "high": high,
        "width": high - low,
        "both_signs": bool(low < no_effect < high),
        "effective_donors": float(1 / np.sum(np.square(fit.weights))) if unique else np.nan,
        "status": f"{kind}; {NO_UPPER}" if np.isnan(high) else kind,
    }


def _values(plan: Design, unit: int, pool: Any, after: Any) -> Array:
    """What each donor (J,) alone would say: minus the mean effect, or the number of events expected after the start."""
    paths = plan.outcome[pool][:, after]
    if plan.exposure is not None:
        return np.asarray(paths @ plan.exposure[unit, after])
    treated = np.ones(int(after.sum()))
    if plan.panel.share is not None:
        first = plan.panel.time_codes[after] == plan.panel.cohort[unit]
        treated = np.where(first, plan.panel.share[unit], 1.0)
    return np.asarray((paths - plan.outcome[unit, after]).sum(axis=1) / treated.sum())


def _effects(
    plan: Design, unit: int, outcome: str, after: Any, span: tuple[float, float], size: float
) -> tuple[float, float]:
    """Range of effects from the range of what the donors say."""
    if plan.exposure is None:
        return 0.0 - span[1], 0.0 - span[0]
    events = float(plan.panel.wide(outcome)[unit, after].sum())
    fewest, most = (value if value > 1e-9 * size else 0.0 for value in span)
    return events / most if most > 0 else np.nan, events / fewest if fewest > 0 else np.nan


def _terms(plan: Design, table: pd.DataFrame, outcome: str) -> pd.DataFrame:
    k = len(table)
    twice = table.loc[table.index.repeat(2)].reset_index(drop=True)
    return make_terms(
        {
            "estimand": "rate_ratio" if plan.family == "poisson" else "att",
            "outcome": outcome,
            "unit": twice["unit"],
            "cohort": twice["cohort"],
            "contrast": ["low", "high"] * k,
            "weight": 0.0,
            "n_treated": 1,
            "n_control": twice["n_donors"],
            "method": "range over all best fits",
            "status": twice["status"],
        },
        2 * k,
    )


def _provenance(plan: Design, outcome: str, donors: Donors) -> Provenance:
    panel = plan.panel
    notes = [str(notice.text) for notice in panel.notes]
    for reason, group in plan.excluded.groupby("reason", sort=False):
        notes.append(f"left out of the donors: {len(group)} units ({reason})")
    return Provenance(
        estimator="synth.hull",
        options={
            "outcome": outcome,
            "donors": donors if isinstance(donors, str) else [str(unit) for unit in donors],
            "family": plan.family,
            "anticipation": plan.anticipation,
        },
        data=panel.fingerprint,
        assumptions=(
            "without the programme the area would have followed one of its best fits; which one is not known",
            f"no anticipation more than {plan.anticipation} periods before treatment",
            "donors are not affected by the treatment of others",
        ),
        references=("10.1198/jasa.2009.ap08746", "10.1080/01621459.2021.1971535"),
        notes=tuple(notes),
    )
