"""A register of persons and a panel of municipalities, simulated, so that the truth can stand beside every estimate.

Nothing here is about real persons: names and dates of the 27 areas are public, all numbers are drawn.
"""

from __future__ import annotations

import pmg_eval as pe
from pmg_eval import did, recidivism


def persons(world: recidivism.Simulation) -> None:
    """Who has a new case within two years?"""
    spells = world.spells(group="sex")
    print(spells)
    print()

    fit = recidivism.cumulative_incidence(spells, horizons=["1y", "2y"])
    print("Share that left by each cause (a person who died has no new case later):")
    print(
        fit.to_frame()[["outcome", "group", "horizon", "estimate", "conf_low", "conf_high"]]
        .round(3)
        .to_string(index=False)
    )
    print()

    curve = recidivism.kaplan_meier(spells, cause="recidivism", horizons="2y")
    print("The same with deaths and emigration as the end of observation (Kaplan-Meier; slightly higher):")
    print(curve.to_frame()[["group", "estimate", "conf_low", "conf_high"]].round(3).to_string(index=False))
    print()

    difference = fit.where(outcome="recidivism", horizon=730).contrast("group").to_frame().iloc[0]
    interval = f"{difference['conf_low']:+.3f} to {difference['conf_high']:+.3f}"
    print(f"Two-year recidivism, {difference['contrast']}: {difference['estimate']:+.3f} ({interval})")

    cohorts = recidivism.cumulative_incidence(world.spells(group="cohort"), cause="recidivism", horizons="2y")
    shown = cohorts.to_frame()[["group", "estimate", "conf_low", "conf_high", "status"]]
    print("Two-year recidivism by year of the index case; what is not known yet is not given:")
    print(shown.tail(5).round(3).to_string(index=False))
    print()


def areas(world: recidivism.Simulation) -> None:
    """What did the programme do in each municipality?"""
    panel = world.panel()
    print(panel)
    print()

    overall = did.imputation(panel, "suspects", family="poisson").average().to_frame().iloc[0]
    truth = world.truth_effects().set_index("unit")
    print(f"Suspects against expected, all areas: {overall['estimate']:.3f}", end="")
    print(f" ({overall['conf_low']:.3f} to {overall['conf_high']:.3f}); truth {truth.loc['overall', 'ratio']:.3f}")

    table = pe.effect_per_area(panel, "suspects").to_frame()[["unit", "cohort", "estimate", "conf_low", "conf_high"]]
    table["truth"] = table["unit"].map(truth["ratio"])
    table["covered"] = table["truth"].between(table["conf_low"], table["conf_high"])
    print(table.round(3).to_string(index=False))
    print(f"{table['covered'].sum()} of {len(table)} intervals contain the truth; 95 % of them should.")


def main() -> None:
    """Persons, then areas."""
    world = recidivism.simulate(n_persons=5_000, n_areas=120, rng=1)
    persons(world)
    areas(world)


if __name__ == "__main__":
    main()
