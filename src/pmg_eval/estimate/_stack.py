"""The joint law of different estimators on the same units: rows aligned by label, absent ones count as zero."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate.carriers import Draws, Influence, Uncertainty
from pmg_eval.estimate.inference import anticipation_of
from pmg_eval.estimate.kernels import Clustered, independent
from pmg_eval.estimate.provenance import Provenance
from pmg_eval.estimate.terms import make_terms
from pmg_eval.numerics.rows import Array, Rows

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate


def stack(*estimates: Estimate[Any], names: tuple[str, ...] | None = None) -> Estimate[None]:
    r"""Put estimates on the same units side by side, with their joint covariance.

    Row i of the stack holds :math:`\psi_i` of every estimate; a unit that an estimate did not use has zero there.
    The contrast of two estimators then gets its own standard error, usually much smaller than either's.

    Parameters
    ----------
    *estimates : Estimate
        With influence values whose rows can be summed to ``unit`` (or all without any law).
    names : tuple of str, optional
        Value of the label ``group`` per estimate (default: the estimators' names, numbered when equal).

    Raises
    ------
    DataError
        Fewer than two estimates, or unequal scales.
    InferenceError
        Carriers that cannot be joined (draws from separate runs, covariances of separate fits).

    Examples
    --------
    >>> import numpy as np, pandas as pd, pmg_eval as pe
    >>> rng = np.random.default_rng(1)
    >>> table = pd.DataFrame([(i, t, 3 if i < 5 else 0, rng.normal()) for i in range(20) for t in range(5)],
    ...                      columns=["area", "year", "start", "rate"])
    >>> panel = pe.Panel(table, unit="area", time="year", cohort="start", never=0)
    >>> a = pe.did.group_time(panel, "rate").average()
    >>> b = pe.did.imputation(panel, "rate").average()
    >>> both = pe.stack(a, b)
    >>> both.contrast("group").se.shape
    (1,)
    """
    from pmg_eval.estimate._estimate import Estimate

    if len(estimates) < 2:
        raise DataError("PMG-STACK", "stack needs at least two estimates")
    scales = {estimate.scale for estimate in estimates}
    if len(scales) > 1:
        raise DataError("PMG-STACK", f"estimates on different scales: {sorted(scales)}", fix="apply(...) one of them")
    groups = names or _names(estimates)
    if len(groups) != len(estimates):
        raise DataError("PMG-STACK", f"{len(groups)} names for {len(estimates)} estimates")
    if len(set(groups)) < len(groups):
        raise DataError("PMG-STACK", f"names must differ: {', '.join(map(str, groups))}")
    kernels = dict.fromkeys(_kernel(estimate) for estimate in estimates if estimate.uncertainty is not None)
    if len(kernels) > 1:
        raise DataError(
            "PMG-STACK",
            f"estimates that assume different dependence: {'; '.join(kernels)}",
            fix="give all of them the same .assuming(...)",
        )
    tables = []
    for estimate, group in zip(estimates, groups, strict=True):
        table = estimate.terms.copy()
        prefix = [f"{group}: {old}" if old else group for old in table["group"]] if "group" in table else group
        tables.append(table.assign(group=prefix))
    terms = _concatenated(tables)
    first = estimates[0]
    provenance = Provenance(
        estimator="stack",
        options={
            "estimates": [estimate.provenance.to_dict()["digest"] for estimate in estimates],
            "names": list(groups),
            "anticipation": max(anticipation_of(estimate) for estimate in estimates),
        },
        data=first.provenance.data,
        assumptions=tuple(dict.fromkeys(text for e in estimates for text in e.provenance.assumptions)),
        references=tuple(dict.fromkeys(text for e in estimates for text in e.provenance.references)),
        notes=tuple(dict.fromkeys(text for e in estimates for text in e.provenance.notes)),
    )
    return Estimate(
        np.concatenate([estimate.values for estimate in estimates]),
        make_terms(terms, sum(map(len, estimates))),
        _join(estimates),
        scale=first.scale,
        provenance=provenance,
        dependence=first.dependence,
    )


def _concatenated(tables: list[pd.DataFrame]) -> dict[str, Any]:
    """Columns below each other; a label one of the tables lacks is missing there, and integers stay integers."""
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for table in tables for name in table.columns):
        parts = [
            table[name].to_numpy(dtype=object) if name in table else np.full(len(table), np.nan, dtype=object)
            for table in tables
        ]
        column = pd.Series(np.concatenate(parts), dtype=object)
        gaps = column.isna().to_numpy()
        whole = 0 < gaps.sum() < len(column) and all(isinstance(value, int | np.integer) for value in column[~gaps])
        columns[name] = column.astype("Int64") if whole else column.infer_objects()
    return columns


def _names(estimates: tuple[Estimate[Any], ...]) -> tuple[str, ...]:
    plain = [estimate.provenance.estimator or "estimate" for estimate in estimates]
    if len(set(plain)) == len(plain):
        return tuple(plain)
    return tuple(f"{name} {number}" for number, name in enumerate(plain, 1))


def _kernel(estimate: Estimate[Any]) -> str:
    """Name of the kernel; the rows of a stack are units, for which independence and unit clusters are the same."""
    kernel = estimate.dependence
    by_unit = isinstance(kernel, Clustered) and kernel.by == ("unit",) and kernel.correction == "none"
    return independent().name if by_unit else kernel.name


def _one_run(estimates: tuple[Estimate[Any], ...]) -> bool:
    """Whether replicate r means the same in all: one seed, one data set, the same terms in the same order."""
    first = estimates[0]
    keys = [name for name in ("unit", "cohort", "n_placebo") if name in first.terms]
    return all(
        e.provenance.seed is not None
        and e.provenance.seed == first.provenance.seed
        and [name for name in ("unit", "cohort", "n_placebo") if name in e.terms] == keys
        and e.terms[keys].equals(first.terms[keys])
        for e in estimates
    )


def _join(estimates: tuple[Estimate[Any], ...]) -> Uncertainty | None:
    laws = [estimate.uncertainty for estimate in estimates]
    if all(law is None for law in laws):
        return None
    if all(isinstance(law, Draws) for law in laws):
        draws = [law for law in laws if isinstance(law, Draws)]
        if len({law.errors.shape for law in draws}) == 1 and _one_run(estimates):
            return _join_draws(draws)
    if not all(isinstance(law, Influence) for law in laws):
        raise InferenceError(
            "PMG-STACK",
            "a joint law needs influence values from every estimate",
            fix="stack the estimates before resampling, or resample.jackknife of a function that returns both",
        )
    return _join_influence([law.by_unit() if "unit" in law.rows else law for law in laws if isinstance(law, Influence)])


def _join_draws(laws: list[Draws]) -> Draws:
    """Replicates side by side; the same areas behind all of them are the same draws."""
    errors, p_min = np.hstack([law.errors for law in laws]), np.concatenate([law.p_min for law in laws])
    first, shared = laws[0], [law.sources for law in laws]
    known = [
        np.array([law.source_p, law.lone_p]) for law in laws if law.source_p is not None and law.lone_p is not None
    ]
    if len(known) < len(laws) or not all(np.array_equal(p, known[0]) for p in known):
        return Draws(errors, p_min)
    from scipy import sparse

    return replace(first, errors=errors, p_min=p_min, sources=sparse.vstack(shared, format="csr"))


def _join_influence(laws: list[Influence]) -> Influence:
    if all(law.rows.equals(laws[0].rows) for law in laws[1:]):
        positions = [np.arange(len(laws[0].rows))] * len(laws)
        rows = laws[0].rows
    elif all("unit" in law.rows for law in laws):
        units = pd.Index(laws[0].rows["unit"])
        for law in laws[1:]:
            units = units.append(pd.Index(law.rows["unit"]).difference(units, sort=False))
        positions = [units.get_indexer(pd.Index(law.rows["unit"])) for law in laws]
        rows = _merged_labels(laws, units)
    else:
        raise InferenceError("PMG-STACK", "influence rows without a unit label must be the same rows")
    n = len(rows)
    ks = [law.psi.shape[1] for law in laws]
    psi = np.zeros((n, sum(ks)))
    treated = np.zeros((n, sum(ks)))
    weight_psi = np.zeros((n, sum(ks)))
    start = 0
    for law, where, k in zip(laws, positions, ks, strict=True):
        block = slice(start, start + k)
        psi[where, block] = law.psi.dense() * (n / law.n)  # contributions psi/n are what adds up
        if law.treated is not None:
            treated[where, block] = law.treated.dense()
        if law.weight_psi is not None:
            weight_psi[where, block] = law.weight_psi.dense() * (n / law.n)
        start += k
    return replace(
        laws[0],
        psi=Rows(left=psi),
        rows=rows,
        n=n,
        kind="derivative" if all(law.kind == "derivative" for law in laws) else "score",
        n_obs=None,
        n_params=None,
        n_params_nested={},
        weight_psi=Rows(left=weight_psi) if any(law.weight_psi is not None for law in laws) else None,
        treated=Rows(left=treated) if any(law.treated is not None for law in laws) else None,
        group_size=_group_size(laws, positions, n),
        corrected=all(law.corrected for law in laws),
    )


def _group_size(laws: list[Influence], positions: list[Any], n: int) -> Array | None:
    """The smaller group where laws centre residuals differently: the guard is never less careful than either's."""
    if all(law.group_size is None for law in laws):
        return None
    size = np.full(n, np.nan)
    for law, where in zip(laws, positions, strict=True):
        if law.group_size is not None:
            size[where] = np.fmin(size[where], law.group_size)
    return size


def _merged_labels(laws: list[Influence], units: pd.Index[Any]) -> pd.DataFrame:
    shared = [name for name in laws[0].rows.columns if all(name in law.rows.columns for law in laws)]
    tables = [law.rows[shared].set_index("unit", drop=False) for law in laws]
    merged = pd.concat(tables)
    merged = merged.loc[~merged.index.duplicated()]
    return merged.loc[units].reset_index(drop=True)
