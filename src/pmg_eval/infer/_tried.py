"""What was tried beside the headline, which of it is valid for the design, and whether it agrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from pmg_eval.estimate import Draws, Estimate, Test
from pmg_eval.numerics.rows import Array

ALPHA = 0.05
MANY, SOME = 20, 6
"""Effective numbers of treated areas from which a jackknife stands alone, and from which it is tried at all."""
Method: TypeAlias = Callable[[], Any]
Agreement = Literal["agree", "mixed", "alone"]
COLUMNS = [
    *("method", "role", "valid", "estimate", "conf_low", "conf_high", "p_value", "p_min", "p_error", "note"),
]


@dataclass(frozen=True, eq=False)
class DefaultDetails:
    r"""How the default inference was chosen.

    Attributes
    ----------
    headline : str
        The law behind the interval.
    n_treated : int
        Treated areas with an effect.
    n_effective : float
        As many equal ones: :math:`(\sum\omega^2)^2/\sum\omega^4` (the smallest over the terms).
    n_control : float
        Comparison areas.
    level : float
    tried : DataFrame
        One row per method and term: ``method, role`` ("headline" or "beside"), ``valid`` (for this number of areas),
        ``estimate, conf_low, conf_high, p_value, p_min`` (smallest attainable), ``p_error`` (Monte-Carlo), ``note``
        (why it is not valid or could not be had; of a randomization test, its distribution), labels of the terms.
    agreement : {"agree", "mixed", "alone"}
        Whether all valid methods lie on the same side of 5 % (one whose p is within two Monte-Carlo errors of it
        contradicts nothing); ``"alone"`` when no other is valid.
    law : object
        Details of the headline's own method (:class:`~pmg_eval.resample.PlaceboDetails`,
        :class:`~pmg_eval.resample.JackknifeDetails`).
    """

    headline: str
    n_treated: int
    n_effective: float
    n_control: float
    level: float
    tried: pd.DataFrame
    agreement: Agreement
    law: Any

    def __repr__(self) -> str:
        return (
            f"DefaultDetails({self.headline}; {self.n_treated} treated areas count like {self.n_effective:.1f}; "
            f"agreement: {self.agreement}; more in tried)"
        )

    def mixed(self) -> str:
        """The disagreement in words; empty when there is none."""
        if self.agreement != "mixed":
            return ""
        head = self.tried.loc[self.tried["role"] == "headline"]
        rest = self.tried.loc[(self.tried["role"] == "beside") & self.tried["valid"].astype(bool)]
        said = []
        for _, row in head.iterrows():
            same = _same(rest, row)
            other = same.loc[_across(same, row)]
            named = ", ".join(
                f"{name} p = {p:.3f}" for name, p in zip(other["method"], other["p_value"], strict=True) if p == p
            )
            if named:
                said.append(f"{row['method']} p = {row['p_value']:.3f}, but {named}")
        return "mixed evidence: " + "; ".join(said)


def row_of(
    name: str,
    found: Estimate[Any] | Test | None,
    level: float,
    effective: Array | None,
    *,
    chosen: Any = False,
    reason: str = "",
) -> pd.DataFrame:
    """Rows of one method: its intervals, or why there are none."""
    words = {"jackknife": "jackknife", "placebo": "placebo law", "randomization": "randomization in the pool"}[name]
    head = {"method": words, "role": "headline" if np.any(chosen) else "beside"}
    if found is None:
        return pd.DataFrame([{**head, "valid": False, "note": reason}]).reindex(columns=COLUMNS)
    if isinstance(found, Test):
        able = found.p_min <= ALPHA
        return pd.DataFrame(
            [
                {
                    **head,
                    "valid": able,
                    "p_value": found.p_value,
                    "p_min": found.p_min,
                    "p_error": found.p_error,
                    "note": found.distribution if able else f"its smallest p is {found.p_min:.3g}",
                }
            ]
        ).reindex(columns=COLUMNS)
    rows = _rows(words, head, found, level, effective)
    return rows.assign(role=np.where(np.broadcast_to(chosen, len(rows)), "headline", "beside"))


def _rows(
    words: str, head: dict[str, Any], found: Estimate[Any], level: float, effective: Array | None
) -> pd.DataFrame:
    frame = found.to_frame(level)
    law = found.uncertainty
    p_min = law.p_min if isinstance(law, Draws) else np.zeros(len(frame))
    p_value = frame["p_value"].to_numpy(dtype=np.float64)
    error = law.p_error(p_value) if isinstance(law, Draws) else np.zeros(len(frame))
    why = _invalid(words, effective, frame)
    labels = [name for name in ("cohort", "unit") if name in frame and frame[name].notna().any()]
    return pd.DataFrame(
        {
            **{name: [value] * len(frame) for name, value in head.items()},
            "valid": [not text for text in why],
            **{name: frame[name].to_numpy() for name in ("estimate", "conf_low", "conf_high")},
            "p_value": p_value,
            "p_min": p_min,
            "p_error": error,
            "note": why,
            **{name: frame[name].to_numpy() for name in labels},
        }
    )


def _invalid(words: str, effective: Array | None, frame: pd.DataFrame) -> list[str]:
    """Why a method is not valid for the number of areas, per term; empty where it is."""
    none = ~np.isfinite(frame["conf_low"].to_numpy(dtype=np.float64))
    said = [str(status) if lost else "" for status, lost in zip(frame["status"], none, strict=True)]
    if words != "jackknife" or effective is None:
        return said
    # With so few areas it keeps its level (94-99 %) but finds next to nothing: its silence is no contradiction.
    return [
        text or (f"counts like {n:.1f} equal areas: t with so few degrees of freedom has no power" if n < SOME else "")
        for text, n in zip(said, effective, strict=True)
    ]


def tried_table(rows: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All rows, the headline first."""
    labels = [name for name in ("cohort", "unit") if any(name in row for row in rows)]
    known = [row.reindex(columns=[*labels, *COLUMNS]).dropna(axis=1, how="all") for row in rows]
    table = pd.concat(known, ignore_index=True).reindex(columns=[*labels, *COLUMNS])
    table["valid"] = table["valid"].astype(bool)
    table["note"] = table["note"].fillna("")
    return table.sort_values("role", key=lambda role: role != "headline", kind="stable", ignore_index=True)


def agreement(tried: pd.DataFrame) -> Agreement:
    """Whether the valid methods lie on one side of 5 %."""
    head = tried.loc[tried["role"] == "headline"]
    rest = tried.loc[(tried["role"] == "beside") & tried["valid"] & tried["p_value"].notna()]
    if len(rest) == 0:
        return "alone"
    head = head.loc[head["p_value"].notna()]
    if len(head) == 0:
        return "alone"
    mixed = any(_across(same := _same(rest, row), row).any() and len(same) for _, row in head.iterrows())
    return "mixed" if mixed else "agree"


def _across(rest: pd.DataFrame, row: pd.Series[Any]) -> Any:
    """Which rows lie on the other side of 5 %, by more than two Monte-Carlo errors of their p."""
    p = rest["p_value"].to_numpy(dtype=np.float64)
    clear = np.abs(p - ALPHA) > 2 * np.nan_to_num(rest["p_error"].to_numpy(dtype=np.float64))
    return ((p < ALPHA) != (row["p_value"] < ALPHA)) & clear


def _same(rest: pd.DataFrame, row: pd.Series[Any]) -> pd.DataFrame:
    """Rows of other methods about the same term."""
    keep = np.ones(len(rest), dtype=bool)
    for name in ("cohort", "unit"):
        if name in rest and row[name] == row[name]:
            keep &= (rest[name] == row[name]).to_numpy(dtype=bool, na_value=False)
    return rest.loc[keep]
