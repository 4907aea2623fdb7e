"""Small estimates whose influence values are known exactly."""

from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.estimate import Covariance, Estimate, Influence, Rows, Support, make_terms


def labels(n: int, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"unit": np.arange(n), **columns})


def by_influence(
    values: Any,
    columns: dict[str, Any],
    psi: Any = None,
    *,
    rows: pd.DataFrame | None = None,
    weight_psi: Any = None,
    treated: Any = None,
    n: int | None = None,
    seed: int = 0,
    **more: Any,
) -> Estimate[None]:
    values = np.asarray(values, dtype=np.float64)
    psi = np.random.default_rng(seed).normal(size=(30, len(values))) if psi is None else np.asarray(psi, dtype=float)
    law = Influence(
        Rows(left=psi),
        labels(len(psi)) if rows is None else rows,
        len(psi) if n is None else n,
        weight_psi=None if weight_psi is None else Rows(left=np.asarray(weight_psi, dtype=float)),
        treated=None if treated is None else Rows(left=np.asarray(treated, dtype=float)),
    )
    scale = more.pop("scale", "identity")
    law = Influence(**{**vars(law), **more})
    return Estimate(values, make_terms(columns, len(values)), law, scale=scale)


def by_covariance(values: Any, se: Any, columns: dict[str, Any] | None = None, **more: Any) -> Estimate[None]:
    values = np.atleast_1d(np.asarray(values, dtype=np.float64))
    matrix = np.asarray(se, dtype=np.float64)
    matrix = matrix if matrix.ndim == 2 else np.diag(np.atleast_1d(matrix) ** 2)
    scale = more.pop("scale", "identity")
    law = Covariance(matrix, **more)
    terms = make_terms({"estimand": "att"} if columns is None else columns, len(values))
    return Estimate(values, terms, law, scale=scale)


def support(n_treated: Any, n_effective: Any) -> Support:
    return Support(np.asarray(n_treated, dtype=float), np.asarray(n_effective, dtype=float))
