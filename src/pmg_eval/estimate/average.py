r"""Averages of terms with estimated weights.

.. math:: \bar\theta=\frac{\sum w\theta}{\sum w},\qquad
          \bar\psi=\sum\frac{w}{W}\psi+\sum\frac{\theta-\bar\theta}{W}\psi_w,\qquad W=\sum w.

The weight of an average is W with influence :math:`\sum\psi_w`, so averages can be averaged again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate.carriers import Influence, Uncertainty
from pmg_eval.estimate.terms import NOTES, REFERENCE, make_terms
from pmg_eval.numerics.rows import Array

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate

By = Literal["event_time", "cohort", "period", "unit", "group"]
Overall = Literal["simple", "cohort", "event_time", "period"]
PRETREND = "pretrend"
_LOST_PARTS = "leave out unidentified cells"
_LOST = "leaves out"


def average(estimate: Estimate[Any], by: By | None, overall: Overall, balance: int | None) -> Estimate[Any]:
    """See :meth:`Estimate.average`."""
    if by is not None:
        if by not in ("event_time", "cohort", "period", "unit", "group"):
            raise DataError(
                "PMG-OPTION", f"unknown by={by!r}", fix='"event_time", "cohort", "period", "unit", "group" or None'
            )
        return _grouped(estimate, [by], balance)
    if overall == "simple":
        return _grouped(estimate, [], balance)
    if overall not in ("cohort", "event_time", "period"):
        raise DataError(
            "PMG-OPTION", f"unknown overall={overall!r}", fix='"simple", "cohort", "event_time" or "period"'
        )
    inner = _grouped(estimate, [overall], balance, post_only=True)
    keep = _rows(estimate, [overall], balance, post_only=True)
    if overall == "cohort":
        # A cohort counts by its size, not by how long it was observed.
        periods = estimate.terms.loc[keep & _usable(estimate)]
        inner = _rescaled(inner, periods.groupby("cohort", sort=False)["event_time"].nunique())
    else:
        inner = _equal_weights(inner)
    outer = _grouped(inner, [], None, all_rows=True)
    n_lost = int((keep & ~np.isfinite(estimate.values)).sum())
    return replace(
        outer,
        terms=_saying_lost(outer.terms, [n_lost] * len(outer)),
        provenance=estimate.provenance.then(f"average(overall={overall!r}, balance={balance})"),
    )


def average_values(estimate: Estimate[Any], terms: pd.DataFrame, by: By | None) -> Array:
    """``estimate.average(by=by).values`` in the order of ``terms`` (one row, or one per label), by plain sums.

    NaN where the estimate has no such term. For re-estimation, where labels and a law are not needed and cost more than
    the sums.
    """
    own, weight = estimate.terms, _weights(estimate)
    used = np.isfinite(estimate.values) & (weight > 0)
    if "event_time" in own and by != "event_time":
        used &= (own["event_time"] >= 0).to_numpy(dtype=bool, na_value=False)
    position = np.zeros(len(own), dtype=np.int64)
    if by is not None:
        position = pd.Index(terms[by]).get_indexer(pd.Index(own[by]))
        used &= position >= 0
    total = np.bincount(position[used], weight[used], minlength=len(terms))
    with np.errstate(invalid="ignore"):
        return np.asarray(
            np.bincount(position[used], weight[used] * estimate.values[used], minlength=len(terms)) / total
        )


def _rescaled(inner: Estimate[Any], counts: pd.Series[Any]) -> Estimate[Any]:
    factor = 1 / inner.terms["cohort"].map(counts).to_numpy(dtype=np.float64)
    terms = inner.terms.assign(weight=inner.terms["weight"] * factor)
    law = inner.uncertainty
    if isinstance(law, Influence) and law.weight_psi is not None:
        law = replace(law, weight_psi=law.weight_psi.scale_columns(factor))
    return replace(inner, terms=terms, uncertainty=law)


def _equal_weights(inner: Estimate[Any]) -> Estimate[Any]:
    law = inner.uncertainty
    if isinstance(law, Influence):
        law = replace(law, weight_psi=None)
    found = np.isfinite(inner.values)  # a period in which nothing is identified has no say
    return replace(inner, terms=inner.terms.assign(weight=found.astype(np.float64)), uncertainty=law)


def _rows(estimate: Estimate[Any], by: Sequence[str], balance: int | None, post_only: bool = False) -> Any:
    """Which rows enter: finite (or reference) ones; treated periods only, unless by event time; balanced if asked."""
    terms = estimate.terms
    keep = np.ones(len(terms), dtype=bool)
    if "event_time" in terms:
        post = (terms["event_time"] >= 0).to_numpy(dtype=bool, na_value=False)
        if post_only or "event_time" not in by:
            keep &= post
    elif "event_time" in by or balance is not None:
        raise DataError("PMG-TERMS", "these terms have no event_time", fix="average by a label they have")
    if balance is not None:
        keep &= _balanced(terms, balance)
    return keep


def _balanced(terms: pd.DataFrame, balance: int) -> Any:
    """Rows of cohorts (or units) that are observed `balance` periods after their start, up to that event time."""
    who = "cohort" if "cohort" in terms else "unit"
    reached = terms.loc[(terms["event_time"] == balance).to_numpy(dtype=bool, na_value=False), who].unique()
    if len(reached) == 0:
        raise DataError("PMG-BALANCE", f"no {who} is observed {balance} periods after its start", fix="smaller balance")
    in_window = (terms["event_time"] <= balance).to_numpy(dtype=bool, na_value=False)
    pre = terms[who].isna().to_numpy()  # pre-trend rows belong to no cohort
    return in_window & (terms[who].isin(reached).to_numpy() | pre)


def _grouped(
    estimate: Estimate[Any],
    by: Sequence[str],
    balance: int | None,
    *,
    post_only: bool = False,
    all_rows: bool = False,
) -> Estimate[Any]:
    from scipy import sparse

    terms = estimate.terms
    for name in by:
        if name not in terms.columns:
            raise InferenceError(
                "PMG-TERMS",
                f"these terms have no {name!r} (they are {', '.join(estimate.labels)})",
                fix="effects of single areas: pmg_eval.effect_per_area or did.imputation",
            )
    keep = np.ones(len(terms), dtype=bool) if all_rows else _rows(estimate, by, balance, post_only)
    weights, usable = _weights(estimate), _usable(estimate)
    index = np.flatnonzero(keep)
    if not usable[index].any():
        raise InferenceError(
            "PMG-NO-TERMS", "no identified term is left to average", where=_statuses(terms.iloc[index])
        )
    codes, heads = _codes(terms, index, by)
    m = int(codes.max()) + 1
    lost = ~np.isfinite(estimate.values[index])
    n_lost = np.bincount(codes[lost & (terms["status"].to_numpy()[index] != REFERENCE)], minlength=m)
    why = {code: "; ".join(_statuses(terms.iloc[index[codes == code]])) for code in _empty(codes, usable[index])}
    index, codes = index[usable[index]], codes[usable[index]]
    weight, value = weights[index], estimate.values[index]
    total = np.bincount(codes, weight, minlength=m)
    with np.errstate(invalid="ignore"):  # a group without any identified term stays, as NaN with its reason
        values = np.bincount(codes, weight * value, minlength=m) / total
    shape = (m, len(terms))
    linear = sparse.csr_array((weight / total[codes], (codes, index)), shape=shape)
    deviation = np.asarray((value - values[codes]) / total[codes])
    law = _law(estimate.uncertainty, linear, codes, index, deviation, shape)
    new_terms = _terms(terms, index, codes, heads, np.asarray(total, dtype=np.float64), law, estimate)
    status = new_terms["status"].to_numpy(dtype=object).copy()
    for code, reason in why.items():
        status[code] = reason or "no weight"
    return replace(
        estimate,
        values=values,
        terms=_saying_lost(new_terms.assign(status=status), np.where(np.isfinite(values), n_lost, 0)),
        uncertainty=law,
        provenance=estimate.provenance.then(f"average(by={list(by) or None}, balance={balance})"),
    )


def _usable(estimate: Estimate[Any]) -> Any:
    """Terms that can enter an average: a value, and a weight above zero."""
    return np.isfinite(estimate.values) & (_weights(estimate) > 0)


def _empty(codes: Any, usable: Any) -> Any:
    """Groups without a usable term."""
    return np.setdiff1d(codes, codes[usable])


def _weights(estimate: Estimate[Any]) -> Array:
    if "weight" not in estimate.terms:
        return np.ones(len(estimate.terms))
    return estimate.terms["weight"].to_numpy(dtype=np.float64)


def _statuses(terms: pd.DataFrame) -> list[str]:
    return sorted(set(terms["status"].astype(str)) - {""})


def _codes(terms: pd.DataFrame, index: Any, by: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Group codes in ascending order of the labels, and the label columns of the groups.

    Estimands stay apart; in an event study the pre-trend rows come first because time does.
    """
    keys = [name for name in ("outcome", *by, "estimand") if name in terms.columns]
    combined: Any = np.zeros(len(index), dtype=np.int64)
    for name in keys:
        found, levels = pd.factorize(pd.Index(terms[name].array[index]), sort=True, use_na_sentinel=True)
        combined = combined * (len(levels) + 1) + found + 1
    _, first, codes = np.unique(combined, return_index=True, return_inverse=True)
    heads = {name: terms[name].array[index[first]] for name in keys}
    return codes.astype(np.int64), heads


def _law(
    law: Uncertainty | None, linear: Any, codes: Any, index: Any, deviation: Array, shape: tuple[int, int]
) -> Uncertainty | None:
    from scipy import sparse

    if law is None:
        return None
    mapped = law.map(linear)
    if not isinstance(law, Influence) or not isinstance(mapped, Influence):
        return mapped
    psi, weight_psi = mapped.psi, None
    if law.weight_psi is not None:
        psi = psi.plus(law.weight_psi.map(sparse.csr_array((deviation, (codes, index)), shape=shape)))
        summing = sparse.csr_array((np.ones(len(index)), (codes, index)), shape=shape)
        weight_psi = law.weight_psi.map(summing).compact()
    treated = None if mapped.treated is None else mapped.treated.compact()
    return replace(mapped, psi=psi.compact(), weight_psi=weight_psi, treated=treated)


def _terms(
    terms: pd.DataFrame,
    index: Any,
    codes: Any,
    heads: dict[str, Any],
    total: Array,
    law: Uncertainty | None,
    estimate: Estimate[Any],
) -> pd.DataFrame:
    m = len(total)
    columns: dict[str, Any] = {**heads, "weight": total}

    def numbers(name: str) -> Array:
        return np.asarray(terms[name].to_numpy(dtype=np.float64, na_value=np.nan)[index])

    for name in ("n_persons", "n_events", "exposure"):
        if name in terms:
            columns[name] = np.bincount(codes, numbers(name), minlength=m)
    if "n_control" in terms:  # what the weakest cell rests on
        weakest = np.full(m, np.inf)
        np.fmin.at(weakest, codes, numbers("n_control"))
        columns["n_control"] = _whole(np.where(total > 0, weakest, 0.0))
    if "n_treated" in terms:
        columns["n_treated"] = _treated_units(terms, index, codes, law, estimate, m)
    if "n_units" in terms and "n_control" in terms and "n_treated" in terms:
        columns["n_units"] = columns["n_treated"] + columns["n_control"]
    for name in NOTES:
        columns[name] = _common(terms[name].to_numpy(dtype=object)[index], codes, m)
    pooled = np.bincount(codes, minlength=m) > 1
    # An interval from counts describes one cell; the parts of an average have weights and a covariance of their own.
    changed = pooled & ~np.isin(columns["interval"].astype(str), ("wald", "placebo"))
    columns["interval"] = np.where(changed | (total == 0), "wald", columns["interval"])
    parts = np.char.startswith(terms["status"].to_numpy(dtype=str)[index], _LOST)
    columns["status"] = np.where(
        pooled & (np.bincount(codes, parts, minlength=m) > 0), f"parts of it {_LOST_PARTS}", columns["status"]
    )
    return make_terms(columns, m)


def _whole(numbers: Array) -> Any:
    return numbers.astype(np.int64) if np.isfinite(numbers).all() else numbers


def _common(texts: Any, codes: Any, m: int) -> Any:
    """The text that all rows of a group share, else "" (also for a group without rows)."""
    kinds, distinct = pd.factorize(texts)
    low = np.full(m, len(distinct))
    high = np.full(m, -1)
    np.minimum.at(low, codes, kinds)
    np.maximum.at(high, codes, kinds)
    return np.where(low == high, np.asarray(distinct, dtype=object)[np.minimum(low, len(distinct) - 1)], "")


def _treated_units(
    terms: pd.DataFrame, index: Any, codes: Any, law: Uncertainty | None, estimate: Estimate[Any], m: int
) -> Any:
    """Distinct treated units behind an average: counted from their weights where those are known."""
    support = law.support(estimate.dependence) if isinstance(law, Influence) else None
    filled = np.isin(np.arange(m), codes)
    if support is not None and np.isfinite(support.n_treated[filled]).all():
        return np.where(filled, support.n_treated, 0).astype(np.int64)
    n_treated = terms["n_treated"].iloc[index]
    if "unit" in terms:
        counted = terms["unit"].iloc[index].groupby(codes).nunique()
    elif "cohort" in terms:
        by_cohort = n_treated.groupby([codes, terms["cohort"].iloc[index].astype(str).to_numpy()]).max()
        counted = by_cohort.groupby(level=0).sum()
    else:
        counted = n_treated.groupby(codes).max()
    return counted.reindex(range(m), fill_value=0).to_numpy()


def _saying_lost(terms: pd.DataFrame, number: Any) -> pd.DataFrame:
    """Say on each average how many unidentified cells it leaves out."""
    said = [f"{_LOST} {n} unidentified cell{'s' if n > 1 else ''}" if n else "" for n in number]
    status = terms["status"].astype(str)
    return terms.assign(status=[new or old for new, old in zip(said, status, strict=True)])
