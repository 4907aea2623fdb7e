"""Monte-Carlo errors of the numbers that a law of draws gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pmg_eval.errors import InferenceError
from pmg_eval.estimate.carriers import Draws
from pmg_eval.estimate.inference import check_level
from pmg_eval.estimate.scales import SCALES
from pmg_eval.estimate.terms import REFERENCE

if TYPE_CHECKING:
    from pmg_eval.estimate._estimate import Estimate

COLUMNS = ("std_error_error", "p_value_error", "conf_low_error", "conf_high_error")


def monte_carlo(estimate: Estimate[Any], level: float) -> pd.DataFrame:
    """See :meth:`Estimate.monte_carlo`."""
    check_level(level)
    law = estimate.uncertainty
    if not isinstance(law, Draws):
        raise InferenceError(
            "PMG-NO-DRAWS",
            "only a law of draws has a Monte-Carlo error; the numbers of this estimate were computed without them "
            "(or read back from a file, which does not hold the draws)",
        )
    scale = SCALES[estimate.scale]
    with np.errstate(all="ignore"):
        centre, slope = scale.to(estimate.values), np.abs(scale.slope(estimate.values))
        # The same law on the scale of the interval as in to_frame.
        scaled = law.times(np.where(np.isfinite(slope), slope, 1.0))
        deviation = centre - scale.null_on_scale()
        found = scaled.monte_carlo(level, np.where(np.isfinite(deviation), deviation, np.nan))
        half = scaled.half_width(level)
        ends = [scale.back(centre + side * half) for side in ((-1, 1) if scale.increasing else (1, -1))]
        low, high = (found.half_width / np.abs(scale.slope(end)) for end in ends)
        spread = found.std_error / np.where(np.isfinite(slope), slope, 1.0)
    silent = ~np.isfinite(estimate.values) | (estimate.terms["status"] == REFERENCE).to_numpy()
    p_value = np.where(np.isfinite(deviation), found.p_value, np.nan)
    frame = estimate.terms[estimate.labels].copy()
    for name, numbers in zip(COLUMNS, (spread, p_value, low, high), strict=True):
        frame[name] = np.where(silent, np.nan, numbers)
    return frame
