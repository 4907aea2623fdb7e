"""Real data to try the library on; they come from the package ``causaldata`` (``pip install "pmg_eval[demo]"``)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.numerics.rows import Array

_STATES = [
    "Alabama",
    "Alaska",
    "Arizona",
    "Arkansas",
    "California",
    "Colorado",
    "Connecticut",
    "Delaware",
    "District of Columbia",
    "Florida",
    "Georgia",
    "Hawaii",
    "Idaho",
    "Illinois",
    "Indiana",
    "Iowa",
    "Kansas",
    "Kentucky",
    "Louisiana",
    "Maine",
    "Maryland",
    "Massachusetts",
    "Michigan",
    "Minnesota",
    "Mississippi",
    "Missouri",
    "Montana",
    "Nebraska",
    "Nevada",
    "New Hampshire",
    "New Jersey",
    "New Mexico",
    "New York",
    "North Carolina",
    "North Dakota",
    "Ohio",
    "Oklahoma",
    "Oregon",
    "Pennsylvania",
    "Rhode Island",
    "South Carolina",
    "South Dakota",
    "Tennessee",
    "Texas",
    "Utah",
    "Vermont",
    "Virginia",
    "Washington",
    "West Virginia",
    "Wisconsin",
    "Wyoming",
]
_RATES = ("homicide", "robbery", "assault", "burglary", "larceny", "motor", "murder")


def castle() -> pd.DataFrame:
    """Homicides and castle-doctrine laws in 50 US states, 2000-2010 (Cheng and Hoekstra 2013).

    The laws widened the right to use lethal force in self-defence; 21 states adopted one between 2005 and 2009, most of
    them during the year.

    Returns
    -------
    DataFrame (550 rows)
        ``state`` (name), ``year``, ``homicides`` (count), ``population``, ``law`` (1 from the first full year
        with the law, 2006 to 2010).

    Raises
    ------
    DataError
        The package ``causaldata`` is not installed.

    Notes
    -----
    The source gives crime *rates* per 100,000, of seven kinds, with one population as their denominator. The counts are
    whole numbers, which pins that population down: among the populations for which the number of homicides is whole it
    is the one for which all seven counts are (to one person in 12 million: the rates have seven digits).

    References
    ----------
    Cheng and Hoekstra (2013), doi:10.3368/jhr.48.3.821.
    """
    try:
        from causaldata import castle as source
    except ModuleNotFoundError:
        raise DataError(
            "PMG-EXTRA", "the demo data come from the package causaldata", fix='pip install "pmg_eval[demo]"'
        ) from None
    raw = source.load_pandas().data
    rates = raw[list(_RATES)].to_numpy(dtype=np.float64)
    population = _population(rates, raw["popwt"].to_numpy(dtype=np.float64))
    return pd.DataFrame(
        {
            "state": [_STATES[int(code) - 1] for code in raw["sid"]],
            "year": raw["year"].to_numpy(dtype=np.int64),
            "homicides": np.round(rates[:, 0] * population / 1e5).astype(np.int64),
            "population": population.astype(np.int64),
            "law": raw["post"].to_numpy(dtype=np.int64),
        }
    )


def _population(rates: Array, near: Array) -> Array:
    """Population of each row, within 25 % of ``near``, that makes all counts whole numbers."""
    found = np.empty(len(rates))
    for row, (rate, centre) in enumerate(zip(rates, near, strict=True)):
        middle = rate[0] * centre / 1e5
        homicides = np.arange(max(1, np.floor(0.75 * middle)), np.ceil(1.25 * middle) + 1)
        candidate = np.round(homicides / rate[0] * 1e5)
        count = candidate[:, None] * rate / 1e5
        found[row] = candidate[np.abs(count - np.round(count)).max(axis=1).argmin()]
    return found
