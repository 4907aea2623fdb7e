"""What is measured: suites of cells, and what each was meant to reach."""

from dataclasses import dataclass, field

FLOOR = "one pass"


@dataclass(frozen=True)
class Cell:
    """One task on one data set (a name of make_data.py), for the packages that can do it."""

    data: str
    variant: str
    tools: tuple[str, ...]
    calls: int
    repeats: int = 5


@dataclass(frozen=True)
class Aim:
    """`factor` times: a package takes at least that many times ours, or ours at most that many passes over the days."""

    words: str
    data: str
    variant: str
    against: str
    factor: float


@dataclass(frozen=True)
class Suite:
    """Cells that share workers, columns and aims.

    compared: the workers' numbers to compare with ours, and what to call them. threads: for everybody's linear algebra
    (None: whatever each takes by default).
    """

    title: str
    cells: tuple[Cell, ...]
    compared: dict[str, str]
    threads: int | None = 1
    floor: bool = False
    aims: tuple[Aim, ...] = field(default=())


GROUP_TIME = ("pmg_eval", "diff_diff", "csdid", "moderndid", "differences")
WILD = ("pmg_eval", "diff_diff", "wildboottest", "pyfixest")
SURVIVAL = ("pmg_eval", "statsmodels", "lifelines")

SUITES = {
    "did": Suite(
        "Group-time effects",
        tuple(
            Cell(size, variant, GROUP_TIME, calls=1 if size == "l" else 2, repeats=3 if size == "l" else 5)
            for size in ("s", "m", "l")
            for variant in ("no band", "band")
        ),
        compared={"simple": "ATT differs by"},
        threads=None,
    ),
    "placebo": Suite(
        "All placebos of one treated unit",
        (Cell("california", "p value", ("pmg_eval", "panelkit", "statspai", "mlsynth"), calls=9),),
        compared={"simple": "effect differs by", "p_value": "p differs by"},
        aims=(Aim("All 38 California placebos", "california", "p value", "panelkit", 5),),
    ),
    "staggered": Suite(
        "A synthetic control for each of 27 areas",
        (
            Cell("areas", "poor fit kept", ("pmg_eval", "statspai", "panelkit"), calls=5),
            Cell("areas", "poor fit refused", ("pmg_eval", "statspai", "panelkit"), calls=5),
            Cell("areas", "with placebos", ("pmg_eval", "statspai"), calls=3),
        ),
        compared={"units": "unique effects differ by up to"},
        aims=tuple(
            Aim(f"27 staggered areas x 313 donors, {variant}", "areas", variant, "statspai", 10)
            for variant in ("poor fit kept", "poor fit refused", "with placebos")
        ),
    ),
    "sdid": Suite(
        "Synthetic difference-in-differences, point estimate",
        (
            Cell("california", "effect", ("pmg_eval", "panelkit", "statspai", "synthdid_py"), calls=9),
            Cell("areas", "effect", ("pmg_eval", "panelkit", "synthdid_py"), calls=5),
        ),
        compared={"simple": "effect differs by"},
    ),
    "wild": Suite(
        "Restricted wild cluster bootstrap, 9,999 draws",
        tuple(
            Cell(data, variant, WILD if variant == "p" else ("pmg_eval", "diff_diff"), calls=3, repeats=3)
            for data in ("states", "areas")
            for variant in ("p", "p and interval")
        ),
        compared={"simple": "coefficient differs by", "p_value": "p differs by", "interval": "interval differs by"},
        aims=tuple(
            Aim(f"Wild cluster bootstrap of {words}, {variant}", data, variant, tool, 5)
            for data, words in (("states", "50 clusters x 11"), ("areas", "340 clusters x 14"))
            for variant, tools in (("p", WILD[1:]), ("p and interval", ("diff_diff",)))
            for tool in tools
        ),
    ),
    "bands": Suite(
        "Event study with a simultaneous band, 999 draws",
        tuple(
            Cell(size, variant, ("pmg_eval", tool), calls=3, repeats=3)
            for size in ("s", "m")
            for variant, tool in (("regression", "pyfixest"), ("group-time", "diff_diff"))
        ),
        compared={"simple": "last effect differs by", "critical": "critical value differs by"},
        aims=tuple(
            Aim(f"Band of an event study ({variant}), {words}", size, variant, tool, 5)
            for size, words in (("s", "300 x 10"), ("m", "10,000 x 20"))
            for variant, tool in (("regression", "pyfixest"), ("group-time", "diff_diff"))
        ),
    ),
    "survival": Suite(
        "Time to the first new offense",
        (
            Cell("persons-100k", "kaplan_meier", SURVIVAL, calls=5),
            Cell("persons-100k", "cumulative_incidence", SURVIVAL, calls=5),
            Cell("persons-1m", "kaplan_meier", SURVIVAL, calls=5),
            Cell("persons-1m", "cumulative_incidence", SURVIVAL, calls=2, repeats=3),
            Cell("persons-5m", "kaplan_meier", SURVIVAL, calls=5),
            Cell("persons-5m", "cumulative_incidence", ("pmg_eval", "statsmodels"), calls=5),
        ),
        compared={"simple": "share at 730 days differs by", "std_error": "SE differs by"},
        floor=True,
        aims=(
            Aim("Kaplan-Meier of 5,000,000 persons", "persons-5m", "kaplan_meier", FLOOR, 3),
            Aim(
                "Cumulative incidence with variance of 5,000,000 persons",
                "persons-5m",
                "cumulative_incidence",
                FLOOR,
                15,
            ),
        ),
    ),
}
