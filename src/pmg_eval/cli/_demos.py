"""The demonstration: one programme in many areas, one in a single area, and one whose true effect is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pmg_eval import demo
from pmg_eval.cli._job import Job
from pmg_eval.panel import Panel

_SEED = 20_231_124
_DRAWS = 199  # less than the default: a demonstration should not take minutes


@dataclass(frozen=True)
class Demo:
    """What it is called, and what makes it."""

    title: str
    make: Callable[[], Job]


def castle() -> Job:
    """Many treated areas, at different times, counts."""
    panel = Panel(demo.castle(), unit="state", time="year", treatment="law", exposure="population")
    return Job(panel, "homicides", {"title": DEMOS["castle"].title, "draws": _DRAWS})


def texas() -> Job:
    """One treated area, levels."""
    panel = Panel(demo.texas(), unit="state", time="year", treatment="expansion")
    return Job(panel, "prisoners", {"title": DEMOS["texas"].title})


def simulated() -> Job:
    """A register and a panel in the likeness of the Dutch programme, whose true effects are known."""
    from pmg_eval import recidivism

    world = recidivism.simulate(n_persons=20_000, rng=_SEED)
    options = {
        "title": DEMOS["simulated"].title,
        "draws": _DRAWS,
        "spells": world.spells(group="sex"),
        "horizons": ["1y", "2y", "5y"],
        "truth": world.truth_table(),
    }
    return Job(world.panel(), "suspects", options)


DEMOS = {
    "castle": Demo("Castle-doctrine laws and homicide, 50 US states, 2000-2010", castle),
    "texas": Demo("Prison expansion in Texas and Black men in prison, 1985-2000", texas),
    "simulated": Demo("A simulated programme in 27 of 340 municipalities, with its true effects", simulated),
}
