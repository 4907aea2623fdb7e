"""Real data to try the library on; they come from the package ``causaldata`` (``pip install "pmg_eval[demo]"``)."""

from __future__ import annotations

from importlib import import_module

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
_EXPANSION = 1993
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
    raw = _source("castle")
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


def texas() -> pd.DataFrame:
    """Men in prison in the US states, 1985-2000, and the prison expansion of Texas (Cunningham 2021, chapter 10).

    From 1993 on Texas built prisons until its capacity had doubled; no other state did anything of that size.

    Returns
    -------
    DataFrame (816 rows: 50 states and the District of Columbia, 16 years)
        ``state`` (name), ``year``, ``prisoners`` (Black men in prison), ``expansion`` (1 in Texas from 1993 on),
        ``white_prisoners`` (white men in prison; 14 cells are missing), ``income`` (dollars a head), ``unemployment``,
        ``poverty``, ``black``, ``aged_15_to_19`` (percent of the population, or of the labor force), ``alcohol``
        (gallons a head), ``aids`` (deaths per 100,000).

    Raises
    ------
    DataError
        The package ``causaldata`` is not installed.

    Notes
    -----
    The first prisons opened during 1993, so the first full year is 1994: an effect that begins small is to be expected.
    The numbers are levels, and Texas is among the largest states: comparison states that move by the same number of
    prisoners a year do not move by the same percentage. Vermont has no Black prisoner until 1993 in this source.

    References
    ----------
    Cunningham (2021), Causal Inference: The Mixtape, doi:10.2307/j.ctv1c29t27.
    """
    raw = _source("texas")
    names = {
        "state": "state",
        "year": "year",
        "bmprison": "prisoners",
        "wmprison": "white_prisoners",
        "income": "income",
        "ur": "unemployment",
        "poverty": "poverty",
        "black": "black",
        "perc1519": "aged_15_to_19",
        "alcohol": "alcohol",
        "aidscapita": "aids",
    }
    table = raw[list(names)].rename(columns=names)
    for name in ("year", "prisoners", "income"):
        table[name] = table[name].astype(np.int64)
    for name in table.columns[table.dtypes == np.float32]:
        table[name] = table[name].map(str).astype(np.float64)  # the decimals of the source, not their nearest binaries
    expansion = ((table["state"] == "Texas") & (table["year"] >= _EXPANSION)).astype(np.int64)
    table.insert(3, "expansion", expansion)
    return table


def _source(name: str) -> pd.DataFrame:
    """A data set of the package causaldata."""
    try:
        module = import_module(f"causaldata.{name}")
    except ModuleNotFoundError:
        raise DataError(
            "PMG-EXTRA", "the demo data come from the package causaldata", fix='pip install "pmg_eval[demo]"'
        ) from None
    frame: pd.DataFrame = module.load_pandas().data
    return frame


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
