"""What a test of parallel trends before the start could have found, and what it lets through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate import Estimate, Provenance
from pmg_eval.estimate.inference import check_level
from pmg_eval.estimate.scales import ScaleName
from pmg_eval.infer._pretest import Pretest, pretest, standing
from pmg_eval.infer._study import STUDY, Study, study_of
from pmg_eval.numerics.rows import Array
from pmg_eval.resample._door import is_number, need_given, need_seed

Violation = Callable[[Array], Array] | Mapping[int, float] | Sequence[float] | Array
_IMPUTED = (
    "imputed effects are measured against all periods before the start, not against the reference: give their expected "
    "values as violation={event time: value}"
)


@dataclass(frozen=True, eq=False)
class PretrendPower:
    r"""What the pre-test could find.

    Attributes
    ----------
    slopes : DataFrame
        Linear trends that a test finds with a given power: ``test`` ("any": some pre-period is significant by itself;
        "joint": Wald test of all), ``power, slope`` (per period; log points for ratios), ``slope_error`` (of the
        numerical integration).
    tests : DataFrame
        Per test: ``size`` (probability to reject without any trend), ``power`` (under the violation), ``power_error``,
        ``bayes_factor`` (probability of passing under the violation over that under parallel trends).
    terms : DataFrame
        Per event time: ``role, estimate, std_error``, ``violation`` (expected coefficient if there is a trend and no
        effect, which is the bias), ``after_any, after_joint`` (the same among the studies that pass the test) and
        ``status``.
    likelihood_ratio : float
        Likelihood of the pre-treatment coefficients under the violation over that under parallel trends.
    after_error : float
        Largest standard error that the numerical integration leaves in ``after_any`` (0 for one pre-period).
    slope : float
        Of the violation; NaN when it is not linear.
    reference : int
        Event time against which coefficients are measured.
    scale, level, provenance
    """

    slopes: pd.DataFrame
    tests: pd.DataFrame
    terms: pd.DataFrame
    likelihood_ratio: float
    after_error: float
    slope: float
    reference: int
    scale: ScaleName
    level: float
    provenance: Provenance = field(default_factory=Provenance)

    def to_frame(self) -> pd.DataFrame:
        """A copy of ``terms``."""
        return self.terms.copy()

    def __str__(self) -> str:
        any_one = self.slopes.loc[self.slopes["test"] == "any"]
        unit = "log points a period" if self.scale == "log" else "a period"
        said = [f"{row.power:.0%} power against a slope of {row.slope:.3g} {unit}" for row in any_one.itertuples()]
        power = float(self.tests["power"].to_numpy()[0])  # of the first test, "any"
        trend = "the violation" if np.isnan(self.slope) else f"a slope of {self.slope:.3g}"
        return (
            f"pre-test ({int((self.terms['role'] == 'pre').sum())} periods, any significant at {1 - self.level:.2g}): "
            f"{'; '.join(said)}; {trend} would pass it in {1 - power:.0%} of studies"
        )

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        from pmg_eval.estimate.serialize import jsonable

        def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
            return [{str(key): jsonable(value) for key, value in row.items()} for row in table.to_dict("records")]

        return {
            "schema": "pmg-eval-pretrend-power/1",
            "slopes": rows(self.slopes),
            "tests": rows(self.tests),
            "terms": rows(self.terms),
            "likelihood_ratio": jsonable(self.likelihood_ratio),
            "after_error": jsonable(self.after_error),
            "slope": jsonable(self.slope),
            "reference": self.reference,
            "scale": self.scale,
            "level": self.level,
            "provenance": self.provenance.to_dict(),
        }


def pretrend_power(
    estimate: Estimate[Any],
    *,
    slope: float | None = None,
    power: float | Sequence[float] = (0.5, 0.8),
    violation: Violation | None = None,
    reference: int | None = None,
    level: float = 0.95,
    guard: bool = True,
    rng: int | np.random.Generator = 0,
) -> PretrendPower:
    r"""Power of the test for diverging trends before the start, and the bias that passes it.

    Coefficients :math:`\hat\beta\sim N(\delta,\Sigma)` under a violation :math:`\delta` of parallel trends, linear
    :math:`\delta_t=\gamma(t-t_{ref})` unless given. The usual pre-test passes when no pre-period is significant by
    itself, :math:`B=\{|\hat\beta_t|\le c_t\,se_t\ \forall t\in pre\}`. Power is :math:`1-\Pr(B)`, and among the studies
    that pass the expected coefficients are

    .. math:: E[\hat\beta_{post}\mid B]=\delta_{post}
              +\Sigma_{post,pre}\Sigma_{pre}^{-1}\left(E[\hat\beta_{pre}\mid B]-\delta_{pre}\right).

    The joint test has a :math:`\chi^2` law with non-centrality
    :math:`\lambda=\delta_{pre}'\Sigma_{pre}^{-1}\delta_{pre}`, and :math:`E[\hat\beta_{pre}\mid pass]=\delta_{pre}
    F_{q+2,\lambda}(c)/F_{q,\lambda}(c)`. With the guard's degrees of freedom, standard errors are random:
    :math:`se_t\sqrt{\chi^2_{df}/df}` with one :math:`\chi^2` for all, which gives non-central t and F laws.

    Parameters
    ----------
    estimate : Estimate
        An event study: one term per ``event_time``, all measured against one reference period
        (``did.group_time(..., base_period="universal").average(by="event_time")``, ``did.imputation(...)
        .average(by="event_time")``).
    slope : float, optional
        Trend per period whose consequences are shown (log points for ratios). Default: the one that the pre-test finds
        with the first ``power``.
    power : float or sequence
        For which slopes are sought.
    violation : callable, mapping, or array, optional
        Another violation than a line: a function of event time (its value at the reference is subtracted), the expected
        coefficient per event time, or one per term of ``estimate``. On the log scale for ratios.
    reference : int, optional
        Event time of the reference period, where the terms have no row with status ``"reference"``.
    level : float, default 0.95
        Confidence level of the pre-test.
    guard : bool
        Test with the guard's standard errors and t quantiles, as ``to_frame`` does. ``False``: normal quantiles, as the
        R package.
    rng : int or Generator
        Seed of the numerical integration (two or more pre-periods; its error is in the tables).

    Returns
    -------
    PretrendPower

    Raises
    ------
    DataError
        PMG-TERMS (no event study), PMG-LEVEL, PMG-VIOLATION.
    InferenceError
        PMG-BASE-PERIOD (no common reference period), PMG-NO-PRE (no pre-period with a standard error), PMG-SINGULAR.

    Notes
    -----
    Assumes: (1) coefficients are jointly normal with the covariance of the estimate; (2) the violation is the same
    whatever was observed. Pre-periods that rest on fewer than five treated areas (where others rest on
    more) are left out, as ``evaluate`` does. For placebo and bootstrap laws the critical values are those of the draws.

    When not to use: as a licence. A pre-test with power says that a trend of this size was unlikely to go unseen, not
    that there is none; ``infer.honest`` carries the doubt into the interval.

    Deviations from R pretrends: level and guard instead of 1.96 (the same with ``guard=False, level=0.9500042``); the
    joint test is added; the exact reference period, not always -1, has the zero.

    References
    ----------
    Roth (2022), doi:10.1257/aeri.20210236.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> from pmg_eval import infer
    >>> law = pe.Covariance(np.diag([0.2, 0.1, 0.1]) ** 2)
    >>> study = pe.Estimate([0.1, -0.1, 0.3], pd.DataFrame({"event_time": [-3, -2, 0]}), law)
    >>> found = infer.pretrend_power(study, reference=-1)
    >>> found.slopes.round(3)[["test", "power", "slope"]].values.tolist()
    [['any', 0.5, 0.141], ['any', 0.8, 0.209], ['joint', 0.5, 0.157], ['joint', 0.8, 0.219]]
    >>> found.terms["violation"].round(2).tolist()  # half of all studies would not have seen this
    [-0.28, -0.14, 0.14]
    """
    need_given(estimate)
    check_level(level)
    need_seed(rng)
    targets: list[Any] = [power] if np.ndim(power) == 0 else list(power)  # type: ignore[arg-type]
    if not targets or not all(is_number(value) and 0 < value < 1 for value in targets):
        raise DataError("PMG-LEVEL", f"power={power!r} must lie between 0 and 1", fix="for example (0.5, 0.8)")
    if slope is not None and (not is_number(slope) or not np.isfinite(slope)):
        raise DataError("PMG-VIOLATION", f"slope={slope!r} must be a finite number", fix="for example 0.1")
    if slope is not None and violation is not None:
        raise DataError("PMG-VIOLATION", "give a slope or a violation, not both")
    if reference is not None and not is_number(reference):
        raise DataError("PMG-OPTION", f"reference={reference!r} must be an event time", fix="for example -1")
    study = study_of(estimate, reference, level, guard)
    test = pretest(study, level, rng)
    time = study.time - study.reference
    slopes = _slopes(test, time[study.pre], targets)
    if slope is None and violation is None:
        found = slopes.loc[slopes["test"] == "any", "slope"]
        slope = float(found.dropna().iloc[0]) if found.notna().any() else 0.0
    delta = _linear(study, float(slope)) if slope is not None else _given(study, violation, len(estimate))
    tests, after, error = standing(test, study, delta)
    terms = study.table.assign(violation=delta, **after)[[*STUDY, "violation", *after, "status"]]
    if study.imputed and np.isnan(delta[study.post]).any():
        terms["status"] = terms["status"].mask(np.isnan(delta) & study.post, _IMPUTED)
    return PretrendPower(
        slopes,
        tests,
        terms.reset_index(drop=True),
        test.likelihood_ratio(study.values[study.pre], delta[study.pre]),
        error,
        np.nan if slope is None else float(slope),
        study.reference,
        estimate.scale,
        level,
        estimate.provenance.then("pretrend_power"),
    )


def _slopes(test: Pretest, time: Array, targets: list[float]) -> pd.DataFrame:
    """Slopes found with each power, by both tests; NaN where even no trend is rejected more often."""
    rows: list[dict[str, Any]] = []
    for target in targets:
        found, error = test.slope_any(time, target)
        rows.append({"test": "any", "power": target, "slope": found, "slope_error": error})
    for target in targets:
        rows.append({"test": "joint", "power": target, "slope": test.slope_joint(time, target), "slope_error": 0.0})
    return pd.DataFrame(rows)


def _linear(study: Study, slope: float) -> Array:
    delta = slope * (study.time - study.reference)
    return np.where(study.post & study.imputed, np.nan, delta)


def _given(study: Study, violation: Any, k: int) -> Array:
    """Expected coefficient of every event time under a violation that is not a line."""
    if callable(violation):
        at = np.append(study.time, float(study.reference))
        path = np.asarray(violation(at), dtype=np.float64)
        if path.shape != at.shape:
            raise DataError("PMG-VIOLATION", "the violation must return one number per event time")
        delta = np.where(study.post & study.imputed, np.nan, path[:-1] - path[-1])
    elif isinstance(violation, Mapping):
        known = {float(key): float(value) for key, value in violation.items()}
        delta = np.array([known.get(float(t), 0.0 if t == study.reference else np.nan) for t in study.time])
    else:
        numbers = [violation] if np.ndim(violation) == 0 else list(violation)
        if not all(map(is_number, numbers)):
            raise DataError(
                "PMG-VIOLATION",
                "the violation must be a function of event time, a mapping, or numbers",
                fix="for example violation=lambda time: 0.1 * time",
            )
        path = np.asarray(numbers, dtype=np.float64)
        if path.shape != (k,):
            raise DataError("PMG-VIOLATION", f"{path.size} values of the violation for {k} terms")
        delta = path[study.rows]
    if not np.isfinite(delta[study.pre]).all():
        raise DataError(
            "PMG-VIOLATION",
            "the violation has no value in some pre-period",
            where=study.time[study.pre & ~np.isfinite(delta)].astype(int).tolist(),
        )
    return np.asarray(delta)


__all__ = ["PretrendPower", "pretrend_power"]
