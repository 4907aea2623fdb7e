"""Other people's names for the parts of an estimate: statsmodels' attributes, broom's tables, plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.estimate.stored import level_of

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate

_BROOM = {"std_error": "std.error", "p_value": "p.value", "conf_low": "conf.low", "conf_high": "conf.high"}


def term_index(estimate: Estimate[Any]) -> pd.Index[Any]:
    """One label per term: the labels that distinguish the terms, joined by colons."""
    labels = [name for name in estimate.labels if estimate.terms[name].nunique(dropna=False) > 1]
    labels = labels or estimate.labels[:1]
    if not labels:
        return pd.RangeIndex(len(estimate), name="term")
    parts = [name + "=" + estimate.terms[name].astype(str) for name in labels]
    text = parts[0]
    for part in parts[1:]:
        text = text + ":" + part
    return pd.Index(text, name="term")


def params(estimate: Estimate[Any]) -> pd.Series[float]:
    """Values with the term labels."""
    return pd.Series(estimate.values, index=term_index(estimate), name="estimate")


def column(estimate: Estimate[Any], name: str) -> pd.Series[float]:
    """One column of ``to_frame`` with the term labels."""
    return pd.Series(estimate.to_frame()[name].to_numpy(), index=term_index(estimate), name=name)


def conf_int(estimate: Estimate[Any], alpha: float) -> pd.DataFrame:
    """Columns 0 and 1."""
    frame = estimate.to_frame(1 - alpha)
    return pd.DataFrame(frame[["conf_low", "conf_high"]].to_numpy(), index=term_index(estimate), columns=[0, 1])


def cov_params(estimate: Estimate[Any]) -> pd.DataFrame:
    """Covariance with term labels on both sides."""
    index = term_index(estimate)
    return pd.DataFrame(estimate.cov(), index=index, columns=index)


def tidy(estimate: Estimate[Any], level: float | None) -> pd.DataFrame:
    """Broom's column names (dots), one row per term."""
    frame = estimate.to_frame(level).rename(columns=_BROOM)
    frame.insert(0, "term", term_index(estimate).astype(str))
    return frame


def glance(estimate: Estimate[Any]) -> pd.DataFrame:
    """One row about the whole estimate."""
    law = estimate.uncertainty
    return pd.DataFrame(
        {
            "estimator": [estimate.provenance.estimator],
            "n_terms": [len(estimate)],
            "n_rows": [getattr(law, "n", np.nan)],
            "scale": [estimate.scale],
            "dependence": [estimate.dependence.name],
            "data": [estimate.provenance.data[:12]],
        }
    )


def summary(estimate: Estimate[Any], level: float | None) -> str:
    """A plain text table, its conventions and notes."""
    level = level_of(estimate, level)
    frame = estimate.to_frame(level)
    shown = [
        *[name for name in estimate.labels if frame[name].nunique(dropna=False) > 1 or name == "estimand"],
        "estimate",
        "std_error",
        "conf_low",
        "conf_high",
        "p_value",
        *[name for name in ("n_treated", "n_control") if name in frame],
        *(["status"] if (frame["status"] != "").any() else []),
    ]
    head = f"{estimate.provenance.estimator or 'Estimate'}: {len(estimate)} term{'s' * (len(estimate) != 1)}"
    methods = ", ".join(dict.fromkeys(frame["method"]))
    lines = [head, "", frame[shown].to_string(index=False, float_format=lambda x: f"{x:.4f}", max_rows=60), ""]
    lines.append(f"{level:.0%} intervals; {methods}")
    lines += [f"note: {note}" for note in estimate.provenance.notes]
    return "\n".join(lines)
