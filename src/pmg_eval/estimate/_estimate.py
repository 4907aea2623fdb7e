"""The one result noun: values, labels, and the law of their error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import adapters, display, serialize
from pmg_eval.estimate.average import By, Overall, average
from pmg_eval.estimate.bands import band
from pmg_eval.estimate.carriers import Influence, Uncertainty
from pmg_eval.estimate.inference import to_frame, wald_test
from pmg_eval.estimate.kernels import Dependence, independent
from pmg_eval.estimate.monte_carlo import monte_carlo
from pmg_eval.estimate.nouns import Test
from pmg_eval.estimate.provenance import Provenance
from pmg_eval.estimate.scales import SCALES, ScaleName
from pmg_eval.estimate.stored import from_covariance
from pmg_eval.estimate.terms import labels_of, make_terms, select
from pmg_eval.numerics.rows import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from typing_extensions import TypeVar as _TypeVar

    D = _TypeVar("D", default=Any)  # a bare ``Estimate`` is an Estimate of any details
else:
    D = TypeVar("D")


def _no_law(what: str) -> InferenceError:
    return InferenceError(
        "PMG-NO-LAW",
        f"{what} needs the law of the error, which this estimate does not carry",
        fix="resample.placebo or pmg_eval.effect_per_area give one",
    )


def _without_dust(difference: Estimate[None], parts: Estimate[Any], matrix: Any) -> Estimate[None]:
    """Exact zeros where two terms are the same number computed twice: rounding has no p-value."""
    law = difference.uncertainty
    if law is None or matrix.nnz == 0 or matrix.min() >= 0:  # nothing is subtracted
        return difference
    size = abs(matrix)
    with np.errstate(invalid="ignore"):
        same = difference.se <= 1e-10 * (size @ np.nan_to_num(parts.se))
        same &= np.abs(difference.values) <= 1e-10 * (size @ np.nan_to_num(np.abs(parts.values) + parts.se))
    if not same.any():
        return difference
    from scipy import sparse

    kept = sparse.diags_array(np.where(same, 0.0, 1.0)).tocsr()
    kept.eliminate_zeros()
    return replace(difference, values=np.where(same, 0.0, difference.values), uncertainty=law.map(kept))


@dataclass(frozen=True, eq=False)
class Estimate(Generic[D]):
    r"""Numbers, their labels and the law of their error.

    Attributes
    ----------
    values : (k,) float
        The estimates; NaN where ``terms.status`` says why.
    terms : DataFrame (k)
        Label columns (:data:`~pmg_eval.estimate.terms.LABELS`), support columns (weight, n_treated, n_control, ...),
        ``interval``, ``method`` and ``status``.
    uncertainty : Influence, Draws, Covariance or None
        Law of the error.
    details : D
        What is particular to the method (a small frozen dataclass), or None.
    scale : {"identity", "log", "logit", "cloglog"}
        Scale on which a Wald interval is symmetric; values themselves are on the natural scale.
    provenance : Provenance
    dependence : Dependence
        Kernel used by :meth:`cov`; change it with :meth:`assuming`.
    """

    values: Array
    terms: pd.DataFrame
    uncertainty: Uncertainty | None = None
    details: D | None = None
    scale: ScaleName = "identity"
    provenance: Provenance = field(default_factory=Provenance)
    dependence: Dependence = field(default_factory=independent)

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64).view()
        values.flags.writeable = False
        object.__setattr__(self, "values", values)
        if self.values.shape != (len(self.terms),):
            raise DataError("PMG-TERMS", f"{self.values.shape} values but {len(self.terms)} terms", fix="report a bug")
        if self.scale not in SCALES:
            raise DataError("PMG-SCALE", f"unknown scale {self.scale!r}", fix=f"one of {', '.join(SCALES)}")
        missing = [name for name in ("interval", "method", "status") if name not in self.terms]
        if missing or not isinstance(self.terms.index, pd.RangeIndex):
            terms = self.terms.reset_index(drop=True)
            object.__setattr__(self, "terms", make_terms(dict(terms), len(terms)))

    # -- reading ------------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return len(self.values)

    @property
    def labels(self) -> list[str]:
        """Label columns in use."""
        return labels_of(self.terms)

    def cov(self, dependence: Dependence | None = None) -> Array:
        """Covariance (k, k): raw algebra, without the small-sample guard.

        Parameters
        ----------
        dependence : Dependence, optional
            Kernel instead of the estimate's own (``pe.clustered("state")``, ``pe.hac(2)``, ...).
        """
        if self.uncertainty is None:
            raise _no_law("a covariance")
        if dependence is not None:
            self._need_rows(dependence)
        return self.uncertainty.cov(dependence or self.dependence)

    def _need_rows(self, dependence: Dependence) -> None:
        """Refuse a kernel where there are no influence rows left to weigh with it."""
        if not isinstance(self.uncertainty, Influence) and dependence.name != self.dependence.name:
            raise InferenceError(
                "PMG-NO-INFLUENCE",
                f"{dependence.name} needs influence values, which this estimate does not carry",
                fix="choose the dependence before saving or resampling",
            )

    @property
    def se(self) -> Array:
        """Standard errors (k,): raw algebra, without the guard; NaN where the value is NaN."""
        if self.uncertainty is None:
            raise _no_law("a standard error")
        variance = self.uncertainty.variance(self.dependence)
        variance = np.where(np.isfinite(self.values), variance, np.nan)
        return np.sqrt(np.where(variance < 0, np.nan, variance))

    def influence(self, *, units: bool = True) -> pd.DataFrame:
        """Influence values as a table: one row per unit (or per row of the fit), one column per term.

        The column mean of the squares over n is the variance; see :class:`Influence`.
        """
        if not isinstance(self.uncertainty, Influence):
            raise InferenceError("PMG-NO-INFLUENCE", "this estimate carries no influence values")
        law = self.uncertainty.by_unit() if units and "unit" in self.uncertainty.rows else self.uncertainty
        return pd.DataFrame(law.psi.dense(), index=pd.MultiIndex.from_frame(law.rows.astype(object)))

    def to_frame(self, level: float | None = None, *, guard: bool = True) -> pd.DataFrame:
        """One row per term: labels, estimate, std_error, statistic, p_value, conf_low, conf_high, df, support, status.

        Parameters
        ----------
        level : float, optional
            Confidence level of the interval. Default: 0.95; of a result read back from a file, the level of the file.
        guard : bool
            Apply the small-sample guard (see :mod:`pmg_eval.estimate.guard`). ``False`` gives raw algebra with normal
            quantiles, and says so in ``method``.

        Raises
        ------
        InferenceError
            PMG-STORED-LEVEL for a result read back from a file at a level that cannot be had from it (see
            :meth:`from_dict`).
        """
        return to_frame(self, level, guard)

    def interval(self, level: float | None = None, *, method: str | None = None, guard: bool = True) -> pd.DataFrame:
        """Label columns, estimate and the interval of each term.

        Parameters
        ----------
        level : float, optional
            As for :meth:`to_frame`.
        method : str, optional
            Kind of interval instead of the estimator's own (``terms.interval``): ``"wald"``, or a rule from the counts
            in ``terms``: ``"wilson"``, ``"clopper_pearson"``, ``"jeffreys"``, ``"exact_poisson"``, ``"byar"``.
        guard : bool
        """
        chosen = self
        if method is not None:
            bare = from_covariance(self)
            chosen = replace(bare, terms=bare.terms.assign(interval=method))
        frame = to_frame(chosen, level, guard)
        return frame[[*self.labels, "estimate", "conf_low", "conf_high", "status"]]

    def band(
        self,
        level: float = 0.95,
        *,
        rng: int | np.random.Generator | None = None,
        draws: int = 9_999,
        method: Literal["gaussian", "multiplier"] = "gaussian",
        guard: bool = True,
    ) -> pd.DataFrame:
        """Simultaneous (sup-t) band over all terms with a standard error.

        Parameters
        ----------
        level : float
            Probability that the band covers all terms at once.
        rng : int or Generator
            Seed (SPEC 7); when None one is drawn, and stored in ``.attrs["seed"]``.
        draws : int
            Number of random draws.
        method : {"gaussian", "multiplier"}
            Gaussian plug-in from the covariance (cost independent of n), or Rademacher multipliers on the influence
            rows.

        Returns
        -------
        DataFrame
            As :meth:`to_frame`, with the band in ``conf_low``/``conf_high``; ``.attrs`` hold the critical value and its
            Monte-Carlo standard error (``critical_value_error``).
        """
        return band(from_covariance(self), level, rng, draws, method, guard)

    def monte_carlo(self, level: float = 0.95) -> pd.DataFrame:
        """Monte-Carlo standard errors of the numbers of :meth:`to_frame`: how far they would move with other draws.

        Parameters
        ----------
        level : float

        Returns
        -------
        DataFrame
            Label columns, ``std_error_error, p_value_error, conf_low_error, conf_high_error`` (see
            :meth:`Draws.monte_carlo`). Of draws that enumerate all there is (every eligible area once) they say how
            much such a number of draws can tell.

        Raises
        ------
        InferenceError
            PMG-NO-DRAWS: the law is not one of draws.
        """
        return monte_carlo(self, level)

    def test(
        self,
        hypothesis: Literal["pre", "all", "equal"] | ArrayLike | None = None,
        value: float | ArrayLike = 0.0,
        *,
        guard: bool = True,
    ) -> Test:
        """Joint Wald test.

        Parameters
        ----------
        hypothesis : {"pre", "all", "equal"} or (q, k) array
            All pre-treatment effects are zero; all terms are zero (default); all terms are equal; or A·theta = value.
        value : float or (q,)
            Right-hand side for an array hypothesis.
        """
        return wald_test(from_covariance(self), hypothesis, value, guard)

    def summary(self, level: float | None = None) -> str:
        """A plain text table with its method, dependence and notes."""
        return adapters.summary(self, level)

    # -- deriving -----------------------------------------------------------------------------------------------------
    def where(self, **conditions: Any) -> Estimate[D]:
        """The terms that meet all conditions: a value, a list, a slice (inclusive), or a function of the column."""
        return self.take(select(self.terms, conditions))

    def take(self, index: Any) -> Estimate[D]:
        """The terms at these positions (or where a mask is True)."""
        index = np.asarray(index)
        index = np.flatnonzero(index) if index.dtype == np.bool_ else index.astype(np.int64)
        law = None if self.uncertainty is None else self.uncertainty.take(index)
        terms = self.terms.iloc[index].reset_index(drop=True)
        return replace(self, values=self.values[index], terms=terms, uncertainty=law)

    def map(self, matrix: Any, terms: pd.DataFrame | None = None) -> Estimate[None]:
        r"""Linear map :math:`\theta\to A\theta,\ \psi\to\psi A'`.

        Parameters
        ----------
        matrix : (m, k) array or sparse array
        terms : DataFrame (m), optional
            Labels of the new terms (default: ``contrast`` = 0..m-1).
        """
        from scipy import sparse

        matrix = matrix if hasattr(matrix, "tocsr") else np.atleast_2d(np.asarray(matrix, dtype=np.float64))
        if matrix.shape[1] != len(self):
            raise DataError("PMG-SHAPE", f"a map of {matrix.shape} does not fit {len(self)} terms")
        matrix = sparse.csr_array(matrix)  # a term with coefficient zero plays no part, even when it is NaN
        matrix.eliminate_zeros()
        known = from_covariance(self)
        law = None if known.uncertainty is None else known.uncertainty.map(matrix)
        mapped: Estimate[None] = Estimate(
            np.asarray(matrix @ self.values),
            known._new_terms(matrix, terms),
            law,
            provenance=known.provenance.then("map"),
            dependence=self.dependence,
        )
        return _without_dust(mapped, known, matrix)

    def _new_terms(self, matrix: Any, terms: pd.DataFrame | None) -> pd.DataFrame:
        m = matrix.shape[0]
        named = {"contrast": np.arange(m)} if terms is None else dict(terms.reset_index(drop=True))
        columns: dict[str, Any] = {}
        interval = set(self.terms["interval"])
        method = set(self.terms["method"])
        columns["interval"] = interval.pop() if len(interval) == 1 and interval <= {"wald", "placebo"} else "wald"
        columns["method"] = method.pop() if len(method) == 1 else ""
        if "n_control" in self.terms:
            used = matrix.toarray() != 0
            controls = self.terms["n_control"].to_numpy(dtype=np.float64, na_value=np.nan)
            columns["n_control"] = np.where(used, controls, np.inf).min(axis=1)
        return make_terms({**columns, **named}, m)

    def apply(
        self,
        function: Callable[[Array], Array],
        derivative: Callable[[Array], Array],
        *,
        scale: ScaleName = "identity",
    ) -> Estimate[D]:
        r"""Smooth map of every term: :math:`\theta\to g(\theta),\ \psi\to g'(\theta)\psi`.

        A support rule (such as ``wilson``) does not survive it: the interval becomes Wald on ``scale``.
        """
        from scipy import sparse

        known = from_covariance(self)
        with np.errstate(all="ignore"):
            values = np.asarray(function(self.values), dtype=np.float64)
            slope = np.asarray(derivative(self.values), dtype=np.float64)
        lost = np.isfinite(self.values) & ~np.isfinite(values)
        slope = np.where(np.isfinite(slope) & ~lost, slope, np.nan)
        law = None if known.uncertainty is None else known.uncertainty.map(sparse.diags_array(slope).tocsr())
        if isinstance(law, Influence) and isinstance(self.uncertainty, Influence):
            # neither the weights nor who stands behind a term change
            law = replace(law, weight_psi=self.uncertainty.weight_psi, treated=self.uncertainty.treated)
        terms = known.terms.assign(
            interval=known.terms["interval"].where(known.terms["interval"] == "placebo", "wald"),
            status=known.terms["status"].mask(lost, "outside the domain of the map"),
        )
        return replace(
            known,
            values=np.where(lost, np.nan, values),
            terms=terms,
            uncertainty=law,
            scale=scale,
            provenance=known.provenance.then("apply"),
        )

    def average(self, by: By | None = None, *, overall: Overall = "simple", balance: int | None = None) -> Estimate[D]:
        """Weighted averages with the influence of estimated weights.

        Parameters
        ----------
        by : {"event_time", "cohort", "period", "unit", "group"}, optional
            One average per value of this label; None gives one overall number. Pre-treatment terms enter only the
            event study.
        overall : {"simple", "cohort", "event_time", "period"}
            Weights of the overall number: every treated cell by its weight; cohorts by their size; event times
            equally; periods equally.
        balance : int, optional
            Keep only cohorts observed this many periods after their start, and event times up to it.
        """
        return average(from_covariance(self), by, overall, balance)

    def assuming(self, dependence: Dependence) -> Estimate[D]:
        """The same numbers under another dependence between rows."""
        if self.uncertainty is not None:
            self._need_rows(dependence)
        if isinstance(self.uncertainty, Influence):
            dependence.diagonal(self.uncertainty.take(np.arange(min(1, len(self)))))  # refuse now, not at print time
        return replace(self, dependence=dependence)

    def contrast(self, across: Literal["group", "outcome", "cohort", "period", "event_time", "unit"]) -> Estimate[None]:
        """Differences between terms that agree in every label but ``across``: each against the first of its kind.

        Typical use: ``pe.stack(a, b).contrast("group")`` for the difference between two estimators.
        """
        if across not in self.terms:
            raise DataError("PMG-TERMS", f"terms have no column {across!r}", where=self.labels)
        keys = [name for name in self.labels if name != across and name != "estimand"]
        rows, heads = [], []
        grouped = self.terms.groupby(keys, sort=False, dropna=False) if keys else [((), self.terms)]
        for _, block in grouped:
            positions = block.index.to_numpy()
            for other in positions[1:]:
                row = np.zeros(len(self))
                row[positions[0]], row[other] = -1.0, 1.0
                rows.append(row)
                head = {name: block.iloc[0][name] for name in keys}
                head["contrast"] = f"{self.terms[across].iloc[other]} - {self.terms[across].iloc[positions[0]]}"
                heads.append(head)
        if not rows:
            raise DataError(
                "PMG-CONTRAST", f"no two terms differ in {across!r} only", fix="check the labels with .terms"
            )
        return self.map(np.array(rows), pd.DataFrame(heads))

    # -- out ----------------------------------------------------------------------------------------------------------
    def to_dict(self, level: float | None = None) -> dict[str, Any]:
        """JSON-able values (schema ``pmg-eval-estimate/1``): no influence values, no microdata."""
        return serialize.to_dict(self, level)

    def to_json(self, level: float | None = None) -> str:
        """:meth:`to_dict` as text."""
        return serialize.to_json(self, level)

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Estimate[None]:
        """Read what :meth:`to_dict` wrote.

        Standard errors, p-values and intervals come back as they were printed, also of selected terms (``where``,
        ``take``); writing them again gives the same file. The law of the error itself is not in a file, only its
        covariance: another level, ``guard=False``, ``map``, ``apply``, ``average``, ``contrast``, ``test``, ``band``
        and ``interval(method=...)`` use that, and ``method`` says so. Another level of a placebo law is refused
        (InferenceError PMG-STORED-LEVEL), because its intervals do not follow from a covariance.

        Raises
        ------
        DataError
            PMG-RESULT-FORMAT for anything that is not such a result, or a damaged one.
        """
        return serialize.from_dict(saved)

    @classmethod
    def from_json(cls, text: str) -> Estimate[None]:
        """Read what :meth:`to_json` wrote (see :meth:`from_dict`)."""
        return serialize.from_json(text)

    @property
    def params(self) -> pd.Series[float]:
        """Values as a labelled Series (statsmodels' name)."""
        return adapters.params(self)

    @property
    def bse(self) -> pd.Series[float]:
        """Guarded standard errors as a labelled Series (statsmodels' name)."""
        return adapters.column(self, "std_error")

    @property
    def pvalues(self) -> pd.Series[float]:
        """p-values as a labelled Series (statsmodels' name)."""
        return adapters.column(self, "p_value")

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Interval with columns 0 and 1 (statsmodels' name)."""
        return adapters.conf_int(self, alpha)

    def cov_params(self) -> pd.DataFrame:
        """Labelled covariance (statsmodels' name)."""
        return adapters.cov_params(self)

    def tidy(self, level: float | None = None) -> pd.DataFrame:
        """One row per term in broom's column names."""
        return adapters.tidy(self, level)

    def glance(self) -> pd.DataFrame:
        """One row that describes the estimate as a whole."""
        return adapters.glance(self)

    def plot(self, **options: Any) -> Any:
        """A matplotlib figure: event study, or a forest plot of areas or cohorts."""
        return display.backend().plot(self, **options)

    def _repr_html_(self) -> str:
        return str(display.backend().html(self))

    def __repr__(self) -> str:
        return adapters.summary(self, None)
