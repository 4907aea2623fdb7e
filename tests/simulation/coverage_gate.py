"""What the coverage of the default must be."""

from simulation.coverage_study import Sums
from simulation.pmg_panels import Scenario

LOWEST, HIGHEST, HIGHEST_OF_TWO = 0.935, 0.975, 0.995
MANY = 20


def bounds(scenario: Scenario, default: Sums) -> tuple[float, float] | None:
    """Between which the coverage of the default must lie, or None where the cell violates its assumptions.

    The wider limit holds for fewer than 20 treated areas, and where the default is the wider of two intervals.
    """
    if scenario.disturbance == "trend":
        return None
    of_two = any("wider of two" in words for words in default.words or {})
    return LOWEST, HIGHEST_OF_TWO if of_two or scenario.n_treated < MANY else HIGHEST


def passes(scenario: Scenario, default: Sums) -> bool | None:
    """Whether the default is inside its bounds, two Monte-Carlo standard errors allowed; None without bounds."""
    allowed = bounds(scenario, default)
    if allowed is None:
        return None
    slack = 2 * default.coverage_error
    return bool(allowed[0] - slack <= default.coverage <= allowed[1] + slack)
