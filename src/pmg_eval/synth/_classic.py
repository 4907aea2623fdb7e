"""The synthetic control of Abadie, Diamond and Hainmueller, unit by unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from pmg_eval.errors import DataError, DesignError, warn
from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.panel import Panel
from pmg_eval.synth._areas import Area, effect_range, fit_areas
from pmg_eval.synth._classic_result import details_of, terms_of
from pmg_eval.synth._details import SynthDetails
from pmg_eval.synth._door import FEWEST_PRE, Design, Donors, Family, design
from pmg_eval.synth._predictors import Predictor, Table, importance

PoorFit = Literal["refuse", "keep"]
FEW_DONORS = 2
_REFERENCES = (
    "10.1257/000282803321455188",  # Abadie and Gardeazabal (2003)
    "10.1198/jasa.2009.ap08746",  # Abadie, Diamond and Hainmueller (2010)
    "10.1080/01621459.2021.1971535",  # Abadie and L'Hour (2021), which of several best fits
)


def classic(
    panel: Panel,
    outcome: str,
    *,
    predictors: Sequence[Predictor] | None = None,
    v: Sequence[float] | None = None,
    donors: Donors = "untreated",
    anticipation: int = 0,
    family: Family = "gaussian",
    poor_fit: PoorFit = "refuse",
) -> Estimate[SynthDetails]:
    r"""Gap between every treated unit and a weighted mean of donors that resembled it before its start.

    For a unit that starts in g, with weights :math:`w_j\ge0,\ \sum_jw_j=1` on the donors,

    .. math:: \hat\tau_t=y_t-\sum_jw_jy_{jt},\qquad
              w=\arg\min_w\sum_{t<g}\Big(y_t-\sum_jw_jy_{jt}\Big)^2,

    the unit of the outcome. With predictors :math:`x_m` the sum is :math:`\sum_mv_m(x_m-\sum_jw_jx_{jm})^2` instead,
    predictors in units of their standard deviation. With ``family="poisson"`` the fit is on rates per person-year and a
    term is observed over expected events, :math:`y_t/(E_t\sum_jw_jr_{jt})`. The minimum is exact.

    Parameters
    ----------
    panel : Panel
        Units observed over time with ``cohort=``. Donors have to be observed in every period.
    outcome : str
        Numeric column; counts (at least 0) for ``family="poisson"``, with the panel's exposure.
    predictors : sequence of Predictor, optional
        What to fit. Default: the outcome itself in every period before the start, with equal weights.
    v : sequence of float, optional
        Importance of each predictor (scaled to sum to one); needed with predictors. Choosing it by the fit (nested V)
        is not there yet.
    donors : {"untreated", "others"} or list of unit labels
        ``"untreated"`` (default): untreated and uncontaminated through the last period. A list narrows that pool.
        ``"others"``: every unit with a start against all other units whatever theirs, the in-space placebo, without
        refusals.
    anticipation : int
        Periods before the start that are left out of the fit. Default 0.
    family : {"gaussian", "poisson"}
        Differences, or ratios of rates.
    poor_fit : {"refuse", "keep"}
        An area whose root mean squared error before the start is above the 90th percentile of its placebos' (each donor
        against the other donors, same periods) is NaN with the reason in ``status``; ``"keep"`` gives the number, with
        the same status.

    Returns
    -------
    Estimate[SynthDetails]
        One term per treated unit and observed period: ``estimand`` ("gap", or "rate_ratio" on the log scale),
        ``outcome, unit, cohort, period, event_time``; support ``weight`` (the unit's weight; the expected count),
        ``n_treated, n_control``. Rows before the start show the fit and enter no average but the event study's. No law
        (``uncertainty=None``): ``pe.effect_per_area(panel, outcome, estimator=synth.classic)`` gives one from all
        in-space placebos.

    Raises
    ------
    DataError
        Unknown options or columns, negative counts, missing values (by the panel's policy), PMG-DONORS, PMG-V,
        PMG-PREDICTOR, PMG-PREDICTOR-MISSING, PMG-PREDICTOR-CONSTANT.
    DesignError
        PMG-SHORT-PRE (no unit has four periods before its start), PMG-POOR-FIT (every unit is refused), PMG-NO-DONORS,
        PMG-NO-TREATED, PMG-NO-EXPOSURE, PMG-SHARE, PMG-CROSS-SECTION, PMG-PREDICTOR-POST.

    Warns
    -----
    PmgEvalWarning
        PMG-NON-UNIQUE: units inside the hull of their donors, where other weights fit as well; the range of their mean
        effect over all of them is printed. PMG-FEW-DONORS: fewer than two effective donors (1 over the sum of squared
        weights): in effect one area is compared with another.

    Notes
    -----
    Assumes: (1) a weighted mean of donors that follows the unit before its start would have followed it afterwards
    (probe: rows before the start, ``resample.placebo_in_time``); (2) donors are untouched by the programme (probe:
    ``contaminated_from=``, or ``donors=`` without the neighbors); (3) no anticipation beyond ``anticipation``; (4)
    the past is long and quiet enough that a good fit is no fit of noise (probe: ``synth.hull``: a unit inside the hull
    fits perfectly whatever is true).

    When not to use: with a short past (below 4 periods it is refused; with more donors than periods weights are rarely
    unique); for units outside the donors' range (refused; ``synth.sdid`` allows a constant difference); for the
    largest or smallest unit, whatever its fit.

    Weights that fit equally well: those of the nearest donors are taken (see the documentation page), so that the
    answer does not depend on the order of rows or names. Fewer than ten donors cannot single out the worst tenth: then
    only a fit three times worse than the worst placebo is refused. With one donor there is no placebo and nothing is
    refused. Sampling weights of the panel weigh treated units in averages; those of donors do not enter.

    Deviations from R Synth: the exact minimum instead of the iterate of an interior point routine, whose zero weights
    are about 1e-7.

    References
    ----------
    Abadie, Diamond and Hainmueller (2010), JASA, doi:10.1198/jasa.2009.ap08746. Abadie (2021), Journal of Economic
    Literature, doi:10.1257/jel.20191450. Abadie and L'Hour (2021), JASA, doi:10.1080/01621459.2021.1971535.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import synth
    >>> rng = np.random.default_rng(0)
    >>> rate = rng.normal(10, 2, (12, 9)) + np.arange(9)
    >>> rate[0] = (rate[1] + rate[2]) / 2 + 3 * (np.arange(9) >= 7)
    >>> df = pd.DataFrame([(i, t, 7 if i == 0 else 0, rate[i, t]) for i in range(12) for t in range(9)],
    ...                   columns=["area", "year", "start", "rate"])
    >>> gaps = synth.classic(pe.Panel(df, unit="area", time="year", cohort="start", never=0), "rate")
    >>> float(gaps.average().values[0].round(6)), gaps.details.weights[["donor", "weight"]].round(6).values.tolist()
    (3.0, [[1.0, 0.5], [2.0, 0.5]])
    """
    _need_option(poor_fit)
    weights = importance(predictors, v)
    study = design(panel, outcome, donors=donors, family=family, anticipation=anticipation)
    table = None if predictors is None or weights is None else Table(study, predictors, weights)
    areas = fit_areas(study, table, keep=poor_fit == "keep")
    if not study.others:
        _need_one(study, areas)
        _warn(study, areas)
    values, terms = terms_of(study, areas, outcome)
    options = {
        "outcome": outcome,
        "predictors": None if table is None else [item.name for item in table.predictors],
        "v": None if table is None else table.v.tolist(),
        "donors": donors if isinstance(donors, str) else [str(donor) for donor in donors],
        "anticipation": study.anticipation,
        "family": family,
        "poor_fit": poor_fit,
    }
    return Estimate(
        values=values,
        terms=terms,
        uncertainty=None,
        details=details_of(study, areas, table),
        scale="log" if family == "poisson" else "identity",
        provenance=_provenance(study, areas, options),
    )


def _need_option(poor_fit: object) -> None:
    if not isinstance(poor_fit, str) or poor_fit not in ("refuse", "keep"):
        raise DataError("PMG-OPTION", f"unknown poor_fit={poor_fit!r}", fix='"refuse" or "keep"')


def _need_one(study: Design, areas: Sequence[Area]) -> None:
    """Refuse when there is no area left to speak of."""
    if any(area.shown for area in areas):
        return
    names = [study.panel.units[area.unit] for area in areas]
    if all(area.short for area in areas):
        raise DesignError(
            "PMG-SHORT-PRE",
            f"no treated unit is observed in {FEWEST_PRE} periods before its start",
            where=names,
            fix="earlier periods; did.imputation needs one period before the start, synth.sdid two",
        )
    poor = [area for area in areas if area.poor]
    raise DesignError(
        "PMG-POOR-FIT",
        "no treated unit can be imitated by its donors: the error before the start is above the 90th percentile of the "
        "placebos'",
        where=[f"{study.panel.units[area.unit]}: {area.pre_rmspe:.4g} against {area.limit:.4g}" for area in poor],
        fix='synth.sdid (allows a constant difference), other donors, or poor_fit="keep" to see the numbers',
    )


def _warn(study: Design, areas: Sequence[Area]) -> None:
    shown = [(str(study.panel.units[area.unit]), area) for area in areas if area.shown]
    several = [(name, area) for name, area in shown if area.fit is not None and not area.fit.unique]
    if several:
        ranges = [(name, *effect_range(study, area)) for name, area in several]
        warn(
            "PMG-NON-UNIQUE",
            f"{len(several)} of {len(areas)} treated units are fitted equally well by many weights; mean effects over "
            "all of them range",
            where=[f"{name}: {low:.4g} to {high:.4g}" for name, low, high in ranges],
            fix="read synth.hull; a longer past, or fewer donors that are more alike",
            stacklevel=4,
        )
    lone = [name for name, area in shown if area.fit is not None and _effective(area) < FEW_DONORS]
    if lone:
        warn(
            "PMG-FEW-DONORS",
            "treated units compared with fewer than two effective donors",
            where=lone,
            fix="see details.weights; a shock to one donor would look like an effect",
            stacklevel=4,
        )


def _effective(area: Area) -> float:
    return 0.0 if area.fit is None else 1 / float(np.square(area.fit.weights).sum())


def _notes(study: Design, areas: Sequence[Area]) -> list[str]:
    units = study.panel.units
    notes = [str(notice.text) for notice in study.panel.notes]
    if len(study.excluded):
        reasons = study.excluded["reason"].value_counts()
        shown = "; ".join(f"{count}: {reason}" for reason, count in reasons.items())
        notes.append(f"units that are neither treated nor donors: {shown}")
    groups = {
        "treated units without an estimate (see status)": [a for a in areas if not a.shown],
        "kept in spite of a poor fit": [a for a in areas if a.shown and a.poor],
        "weights not unique": [a for a in areas if a.fit is not None and not a.fit.unique],
    }
    notes += [f"{what}: {_first([units[area.unit] for area in found])}" for what, found in groups.items() if found]
    if len(study.donors) == 1 and not study.others:
        notes.append("one donor: no placebo to judge the fit by, and no inference")
    return notes


def _first(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:5])) + (f" (first 5 of {len(names)})" if len(names) > 5 else "")


def _provenance(study: Design, areas: Sequence[Area], options: dict[str, Any]) -> Provenance:
    return Provenance(
        estimator="synth.classic",
        options=options,
        data=study.panel.fingerprint,
        assumptions=(
            "a weighted mean of donors that followed the unit before its start would have followed it afterwards",
            f"no anticipation more than {study.anticipation} periods before treatment",
            "donors are not affected by the treatment of others",
        ),
        references=_REFERENCES,
        notes=tuple(_notes(study, areas)),
    )
