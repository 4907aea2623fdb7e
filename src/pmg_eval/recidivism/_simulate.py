"""`simulate`: a register of persons and a panel of municipalities of which the truth is known."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from pmg_eval.recidivism import _simulate_tables as tables
from pmg_eval.recidivism._simulate_areas import chosen_order, municipalities, with_border_changes
from pmg_eval.recidivism._simulate_codes import HORIZON
from pmg_eval.recidivism._simulate_events import draw_worlds
from pmg_eval.recidivism._simulate_options import Options, checked, generator_of
from pmg_eval.recidivism._simulate_persons import draw_persons
from pmg_eval.recidivism._simulate_programme import effect_on_log_rate, expected_with, neighbor_pairs, realized_with
from pmg_eval.recidivism._simulate_result import Simulation

# One stream of random numbers per component: a change in one leaves the others as they are. Only append.
_STREAMS = (
    *("size", "rate", "noise", "covid", "layout", "count", "selection", "border", "strength", "prevented"),
    *("person", "exit", "frailty", "event", "extra", "missing", "intervention"),
)


def simulate(
    *,
    n_persons: int = 50_000,
    n_areas: int = 340,
    years: tuple[int, int] = (2012, 2025),
    effect: float = -0.10,
    phase_in: int = 4,
    spillover: float = 0.0,
    anticipation: bool = False,
    selection: bool = True,
    registration_shock: bool = True,
    heterogeneity: float = 0.0,
    as_of: Any = "2026-01-01",
    rng: int | np.random.Generator = 0,
) -> Simulation:
    r"""Simulate a Dutch-looking register and panel with the 27 areas of the programme, their waves, and the truth.

    Suspects of area i, year t, age a and kind k (first, repeat, very serious) are Poisson with mean

    .. math:: \mu_{itak}=E_{ita}\,r_{at}\,\lambda_i\,e^{u_{it}}\,\pi_{ak}\;
              \tfrac14\sum_{q\in t}e^{m_k\delta_{iq}},

    (E person-years, r national rate, :math:`\lambda` gamma with coefficient of variation 0.4, u AR(1), :math:`\pi` mix,
    m factor of the kind, :math:`\delta` effect of the programme in quarter q); new cases of persons are a Poisson
    process whose rate carries the same :math:`e^{m_k\delta_{iq}}`. Each person and each count exists in two worlds,
    without and with the programme, on common random numbers; the register and the panel show the second.

    Parameters
    ----------
    n_persons : int
        Index cases, one per person. Default 50,000. Does not change the areas.
    n_areas : int
        Municipalities, of which 27 are treated and 20 were added in 2024. At least 60.
    years : (first, last)
        Of the panel and of the index cases; must contain 2017-2024.
    effect : float
        Log effect of the programme at full strength on an average mix of cases. Default -0.10 (about 10 % fewer). 0
        (with ``spillover=0``) is a placebo: both worlds are the same, to the last case.
    phase_in : int
        Quarters over which the effect rises linearly from the execution date on; 0 = at once. Default 4.
    spillover : float
        Log effect on municipalities next to one in which the programme runs; positive = displacement. Default 0.
    anticipation : bool
        Whether 30 % of the effect is there from the plan date on.
    selection : bool
        Whether the 27 are those with the highest rates of 2017-2021 among the large municipalities (regression to the
        mean then looks like an effect), or a random draw of the large ones.
    registration_shock : bool
        Whether fewer suspects and offences were registered in 2020 and 2021.
    heterogeneity : float
        Standard deviation of the areas' effects, as a share of ``effect``. Default 0 (all equal).
    as_of : date
        Extract date of the register, from the day after the last year on. What is registered later is not in it.
    rng : int or Generator
        Seed.

    Returns
    -------
    Simulation
        Tables (``areas, neighbors, area_year, index_case, event, risk_interval, intervention, extract``), truth
        (``truth_area, truth_person``), and ``panel()``, ``spell_table()``, ``spells()``, ``truth_effects()``,
        ``truth_recidivism()``.

    Raises
    ------
    DataError
        PMG-OPTION, with all options that are wrong.

    Notes
    -----
    The names, waves and dates of the areas are real and public; all sizes, rates, counts and persons are drawn. Which
    numbers are published and which are guesses stands in ``docs/simulate.md``. The size of the effect is an option, not
    a finding: do not use a simulation as evidence about the programme.

    Examples
    --------
    >>> from pmg_eval.recidivism import simulate
    >>> simulation = simulate(n_persons=2_000, rng=1)
    >>> simulation.areas["wave"].value_counts().sort_index().tolist()
    [313, 15, 4, 8]
    >>> truth = simulation.truth_effects().set_index("unit")["ratio"]
    >>> bool(0.89 < truth["overall"] < 0.95)
    True
    """
    asked = {
        "n_persons": n_persons,
        "n_areas": n_areas,
        "years": years,
        "effect": effect,
        "phase_in": phase_in,
        "spillover": spillover,
        "anticipation": anticipation,
        "selection": selection,
        "registration_shock": registration_shock,
        "heterogeneity": heterogeneity,
        "as_of": as_of,
    }
    options = checked(asked)
    streams = dict(zip(_STREAMS, generator_of(rng).spawn(len(_STREAMS)), strict=True))
    return _simulation(options, streams)


def _simulation(options: Options, streams: dict[str, np.random.Generator]) -> Simulation:
    drawn = municipalities(options, streams)
    order = chosen_order(drawn, options.selection, streams["selection"])
    country = with_border_changes(drawn.take(order), streams["border"])
    areas = tables.area_table(country)
    pairs = neighbor_pairs(country.position)
    last_year = int(np.datetime64(options.as_of, "D").astype("datetime64[Y]").astype(np.int64)) + 1970
    last_year = max(last_year, options.years[1] + 1 + HORIZON // 365)
    change = effect_on_log_rate(areas, pairs, options, last_year, streams["strength"])
    expected = expected_with(country, change)
    count = realized_with(country.count, country.mean, expected, streams["prevented"])

    persons = draw_persons(options, country, streams)
    worlds = draw_worlds(options, persons, change, 4 * options.years[0], streams)
    index = tables.index_table(persons, areas, options.as_of, streams["missing"])
    return Simulation(
        areas=areas,
        neighbors=tables.neighbor_table(pairs, areas),
        area_year=tables.area_year_table(country, areas, count),
        index_case=index,
        event=tables.event_table(worlds, options.as_of, streams["missing"]),
        risk_interval=tables.risk_table(persons, worlds, options.as_of),
        intervention=tables.intervention_table(persons, areas, options.as_of, streams["intervention"]),
        extract=tables.extract_table(options),
        truth_area=tables.truth_area_table(country, areas, expected, count),
        truth_person=tables.truth_person_table(persons, worlds, index),
        options=MappingProxyType(_written(options)),
    )


def _written(options: Options) -> dict[str, Any]:
    """The options with their defaults, as text and numbers."""
    given = {name: getattr(options, name) for name in Options.__dataclass_fields__}
    return {**given, "as_of": str(np.datetime64(options.as_of, "D"))}
