"""Covariates of the conditional parallel-trends assumption: from a formula to standardised columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmg_eval.errors import DataError
from pmg_eval.numerics.wls import factorize

if TYPE_CHECKING:
    from pmg_eval.panel import Panel

Array = NDArray[np.float64]

_PLAIN = re.compile(r"[A-Za-z_]\w*(\s*\+\s*[A-Za-z_]\w*)*")
_ESCAPES = re.compile("⧛?\x1b?\\[[0-9;]*m⧚?")  # colors that formulaic writes for a terminal
_NAME = re.compile(r"`([^`]+)`|([A-Za-z_][\w.]*)(\s*\()?")


@dataclass(frozen=True, eq=False)
class Design:
    """Standardised covariates with an intercept first.

    Attributes
    ----------
    constant : (p, n) array or None
        Covariates that do not change within units (or one column per row of repeated cross-sections).
    by_period : (T, p, n) array or None
        Covariates that do.
    columns : tuple of str
        Their names, after dropping constant and collinear ones.
    notes : tuple of str
    """

    constant: Array | None
    by_period: Array | None
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.columns

    def at(self, periods: tuple[int, ...]) -> Array | None:
        """The (p, n) design measured in these periods (their mean)."""
        if self.empty:
            return None
        if self.by_period is None:
            return self.constant
        if len(periods) == 1:
            return np.asarray(self.by_period[periods[0]])
        return np.asarray(self.by_period[list(periods)].mean(axis=0))

    def key(self, periods: tuple[int, ...]) -> tuple[int, ...]:
        """Cells with equal keys have the same covariates."""
        return () if self.by_period is None else periods

    def select(self, units: NDArray[np.bool_]) -> Design:
        """The covariates of some units."""
        constant = None if self.constant is None else self.constant[:, units]
        by_period = None if self.by_period is None else self.by_period[:, :, units]
        return Design(constant, by_period, self.columns, self.notes)


def right_hand_side(formula: str) -> str:
    """The text after the tilde; a left-hand side is refused."""
    left, _, right = formula.rpartition("~")
    if left.strip():
        raise DataError(
            "PMG-FORMULA",
            f"covariates={formula!r} has a left-hand side",
            fix='name the outcome as the second argument and write covariates="~ x + z"',
        )
    if not right.strip():
        raise DataError(
            "PMG-FORMULA", f"covariates={formula!r} names no covariate", fix="covariates=None, or a formula"
        )
    return right.strip()


def names_in(formula: str, frame: pd.DataFrame) -> list[str]:
    """Columns a formula needs; plain sums of names are taken as columns whether they exist or not."""
    text = right_hand_side(formula)
    if _PLAIN.fullmatch(text):
        return list(dict.fromkeys(name.strip() for name in text.split("+")))
    found = []
    for quoted, name, call in _NAME.findall(text):
        label = quoted or name
        if label in frame.columns and not call:
            found.append(label)
        elif quoted:
            found.append(label)  # the panel will name its closest match
    return list(dict.fromkeys(found))


def evaluate(formula: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of a formula, finite, without its intercept.

    Raises
    ------
    DataError
        PMG-FORMULA, or PMG-COVARIATE for missing and infinite values. What the formula's own functions have to say is
        shown only where it is about names: it could quote values.
    """
    text = right_hand_side(formula)
    if _PLAIN.fullmatch(text):
        names = list(dict.fromkeys(name.strip() for name in text.split("+")))
        if all(pd.api.types.is_numeric_dtype(frame[name]) for name in names):  # the common case needs no parser
            return _finite(frame[names].astype(np.float64), formula)
    from formulaic import model_matrix
    from formulaic.errors import FactorEvaluationError, FormulaicError

    reason = ""
    try:
        with np.errstate(all="ignore"):
            matrix = model_matrix("~ " + text, frame, na_action="ignore")
        if isinstance(matrix, pd.DataFrame):
            return _finite(matrix.drop(columns="Intercept", errors="ignore").astype(np.float64), formula)
        reason = "it has several parts"
    except FactorEvaluationError as error:
        unknown = re.search(r"name '[^']*' is not defined", str(error))
        reason = unknown.group() if unknown else "one of its terms cannot be computed from these columns"
    except (FormulaicError, SyntaxError) as error:
        reason = _ESCAPES.sub("", str(error)).split("\n")[0].rstrip(".")
    except (ArithmeticError, LookupError, TypeError, ValueError):
        reason = "one of its terms cannot be computed from these columns"
    raise DataError(
        "PMG-FORMULA",
        f"covariates={formula!r} cannot be evaluated: {reason}",
        fix='for example "~ x + np.log(z) + C(region)", with columns of the panel',
    )


def _finite(matrix: pd.DataFrame, formula: str) -> pd.DataFrame:
    fine = np.isfinite(matrix.to_numpy()).all(axis=0)
    bad = [str(name) for name, good in zip(matrix.columns, fine, strict=True) if not good]
    if bad:
        raise DataError(
            "PMG-COVARIATE",
            f"covariates={formula!r} give missing or infinite values",
            where=bad,
            fix="check the transformation (a logarithm of zero?) or drop these units",
        )
    return matrix


def covariate_design(panel: Panel, formula: str | None) -> Design:
    """Evaluate a formula on the panel's rows and standardise it.

    Parameters
    ----------
    panel : Panel
        Already restricted to rows with complete covariates.
    formula : str or None
        Right-hand side; the intercept is always in.
    """
    if formula is None:
        return Design(None, None, ())
    frame = panel.frame
    names = names_in(formula, frame)
    single = panel.is_panel and _constant_within_units(panel, names)
    if single:
        first = np.flatnonzero(np.diff(panel.row_unit, prepend=-1))
        frame = frame[names].iloc[first].reset_index(drop=True)
    matrix = evaluate(formula, frame)
    raw = matrix.to_numpy(dtype=np.float64)
    columns, kept, notes = _independent_columns(raw, [str(name) for name in matrix.columns])
    standard = np.vstack([np.ones(len(columns)), columns.T])
    if single or not panel.is_panel:
        return Design(standard, None, kept, notes)
    by_period = np.stack([np.asarray(panel.wide_rows(row)).T for row in standard], axis=1)
    return Design(None, np.ascontiguousarray(by_period), kept, notes)


def _constant_within_units(panel: Panel, names: list[str]) -> bool:
    """Whether every covariate has one value per unit (then one row per unit is enough)."""
    first = np.flatnonzero(np.diff(panel.row_unit, prepend=-1))
    for name in names:
        column = panel.frame[name].to_numpy()
        if panel.balanced:
            grid = column.reshape(panel.n_units, -1)
            same = bool((grid == grid[:, :1]).all())
        else:
            same = bool((column == column[first][panel.row_unit]).all())
        if not same:
            return False
    return True


def _independent_columns(raw: Array, names: list[str]) -> tuple[Array, tuple[str, ...], tuple[str, ...]]:
    """Columns with mean 0 and standard deviation 1, without constants and linear combinations of others."""
    top = np.abs(raw).max(axis=0, initial=0.0)
    raw = raw / np.where(top > 0, top, 1.0)  # squares of very large values would overflow
    centre = raw.mean(axis=0)
    centred = raw - centre
    spread = np.sqrt(np.square(centred).mean(axis=0))
    varies = spread > 1e-12 * np.maximum(np.abs(centre), 1e-300)
    standard = centred[:, varies] / spread[varies]
    left = [name for name, keep in zip(names, varies, strict=True) if keep]
    lost = [name for name, keep in zip(names, varies, strict=True) if not keep]
    if standard.shape[1] > 1:
        dropped = set(factorize(standard, rtol=1e-10).dropped)
        lost += [left[column] for column in sorted(dropped)]
        keep = [column for column in range(len(left)) if column not in dropped]
        standard, left = standard[:, keep], [left[column] for column in keep]
    notes = (f"covariates dropped because they are constant or collinear: {', '.join(lost)}",) if lost else ()
    return standard, tuple(left), notes
