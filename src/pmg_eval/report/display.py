"""The display backend of an estimate: ``Estimate.plot()`` and its table in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate import Estimate
from pmg_eval.estimate.stored import level_of
from pmg_eval.report._event_study import event_study
from pmg_eval.report._forest import forest
from pmg_eval.report._style import WIDE
from pmg_eval.report._tables import escaped, estimate_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 60
_LEVEL = 0.95


def plot(
    estimate: Estimate[Any],
    *,
    kind: Literal["event_study", "forest"] | None = None,
    level: float = _LEVEL,
    band: bool | pd.DataFrame = False,
    rng: int | np.random.Generator = 0,
    sort: bool = True,
    width: float = WIDE,
    title: str | None = None,
) -> Figure:
    """The figure that fits the labels of an estimate.

    Parameters
    ----------
    estimate : Estimate
    kind : {"event_study", "forest"}, optional
        Default: an event study for terms with event times, else a forest plot (areas, waves, groups).
    level : float
        Confidence level.
    band : bool or DataFrame
        Shade the simultaneous band of an event study: computed (True) or as ``estimate.band()`` returned it.
    rng : int or Generator
        Seed of the band.
    sort : bool
        Order a forest plot by estimate.
    width : float
        Width in points.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Made without pyplot: nothing is shown or kept open; ``figure.savefig(...)`` writes it.

    Raises
    ------
    DataError
        ``PMG-EXTRA`` without matplotlib; ``PMG-PLOT`` for terms that no figure fits.
    """
    if kind not in (None, "event_study", "forest"):
        raise DataError("PMG-OPTION", f"unknown kind {kind!r}", fix='"event_study" or "forest"')
    if len(estimate) == 0:
        raise DataError("PMG-PLOT", "there is no term to draw")
    timed = "event_time" in estimate.terms and bool(estimate.terms["event_time"].notna().any())
    if kind == "forest" or (kind is None and not timed):
        return forest(estimate, level=level, width=width, sort=sort, title=title)
    limits = band if isinstance(band, pd.DataFrame) else None
    if band is True:
        timed_rows = np.flatnonzero(estimate.terms["event_time"].notna()) if timed else np.arange(len(estimate))
        limits = estimate.take(timed_rows).band(level, rng=rng)
    return event_study(estimate, limits, level=level, width=width, title=title)


def html(estimate: Estimate[Any]) -> str:
    """An escaped table with caption, method and notes, for a notebook; no script, no template engine."""
    table = estimate_table(estimate, level_of(estimate, None), _ROWS).html()
    shown = estimate.take(range(min(_ROWS, len(estimate)))).to_frame()
    methods = [name for name in dict.fromkeys(shown["method"]) if name]
    lines = [f"Method: {'; '.join(methods)}"] if methods else []
    lines += list(estimate.provenance.notes)
    notes = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    # The classes keep a notebook from reading dollar signs in labels as formulas.
    return (
        '<div class="pmg-eval tex2jax_ignore mathjax_ignore" style="overflow-x: auto">\n'
        f"{table}\n" + (f"<ul>{notes}</ul>\n" if notes else "") + "</div>"
    )


__all__ = ["html", "plot"]
