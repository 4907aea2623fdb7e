"""The coverage study: 24 named cells, our default beside the defaults of other packages, in chunks that add up."""

import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import pmg_eval as pe
from pmg_eval import did, infer
from pmg_eval.errors import PmgEvalError
from pmg_eval.estimate.inference import t_quantile
from pmg_eval.estimate.linear import fit_linear
from simulation.pmg_panels import LARGE, Scenario, Truth, Waves, panel_of, scenario_table

SEED = 20261124
EFFECT = -0.10
REPLICATES = 1_000
CHUNK = 100
LEVEL = 0.95
COMMON, RARE = 0.0100, 0.0007

WAVES: Mapping[int, Waves] = {
    1: ((2022, 1),),
    2: ((2022, 2),),
    4: ((2022, 2), (2023, 2)),
    8: ((2022, 4), (2024, 4)),
    27: ((2022, 15), (2023, 4), (2024, 8)),
}
DISTURBANCES = ("independent", "city shock", "heterogeneous", "trend")
CELLS: tuple[Scenario, ...] = (
    *(Scenario(f"{n:02d} common {what}", waves, COMMON, what) for what in DISTURBANCES for n, waves in WAVES.items()),
    *(Scenario(f"{n:02d} rare independent", WAVES[n], RARE) for n in (1, 4, 8, 27)),
)

IMPUTATION = partial(did.imputation, family="poisson", pretrend=False)
Log = tuple[float, float, float]
"""Estimate, lower and upper limit of a log effect."""


@dataclass(frozen=True)
class Answer:
    """What one method said of one panel; ``words`` is the headline, or the reason of a refusal."""

    estimate: float
    low: float
    high: float
    words: str = ""


Method = Callable[[pe.Panel], Answer]


def default(panel: pe.Panel) -> Answer:
    """The policy of few treated areas, what the headline needs only."""
    effect = infer.default(IMPUTATION, panel, "suspects", beside=False)
    row = effect.to_frame(LEVEL).iloc[0]
    words = effect.details.headline if row["conf_low"] == row["conf_low"] else str(row["status"])
    return Answer(*_logs(row), words)


def default_among_large(panel: pe.Panel) -> Answer:
    """The same with the comparison group that shares the shock."""
    return default(panel.select(np.arange(panel.n_units) < LARGE))


def default_log_rates(panel: pe.Panel) -> Answer:
    """The same for log rates, where every area counts alike: 27 areas are 27, and the jackknife stands alone."""
    effect = infer.default(partial(did.imputation, pretrend=False), panel, "log_rate", beside=False)
    row = effect.to_frame(LEVEL).iloc[0]
    return Answer(float(row["estimate"]), float(row["conf_low"]), float(row["conf_high"]), effect.details.headline)


def guard(panel: pe.Panel) -> Answer:
    """A bare estimate: influence function, t with the guard's degrees of freedom."""
    row = IMPUTATION(panel, "suspects").average().to_frame(LEVEL).iloc[0]
    return Answer(*_logs(row), str(row["status"]))


def callaway_santanna(panel: pe.Panel) -> Answer:
    """Never-treated controls, simple average, influence function, normal quantiles: R did, csdid, differences."""
    found = did.group_time(panel, "log_rate", controls=did.NeverTreated()).average()
    return _plain(found.to_frame(LEVEL, guard=False).iloc[0])


def borusyak_jaravel_spiess(panel: pe.Panel) -> Answer:
    """Conservative variance, normal quantiles: Stata did_imputation, R didimputation."""
    found = did.imputation(panel, "log_rate", pretrend=False).average()
    return _plain(found.to_frame(LEVEL, guard=False).iloc[0])


def two_way(panel: pe.Panel) -> Answer:
    """Two-way fixed effects, CR1 by area, t with G - 1 degrees of freedom: the usual regression."""
    started = panel.cohort[panel.row_unit] <= panel.time_codes[panel.row_time]
    fit = fit_linear(
        panel.column("log_rate"), started[:, None].astype(np.float64), ["treated"], panel.row_labels, absorb=True
    )
    error = float(np.sqrt(fit.details.cluster_robust("unit", "CR1")[0][0, 0]))
    half = float(t_quantile((1 + LEVEL) / 2, np.array([panel.n_units - 1.0]))[0]) * error
    value = float(fit.values[0])
    return Answer(value, value - half, value + half)


METHODS: Mapping[str, Method] = {
    "default": default,
    "guard": guard,
    "CS normal": callaway_santanna,
    "imputation normal": borusyak_jaravel_spiess,
    "TWFE CR1": two_way,
}
LINEAR = frozenset({"CS normal", "imputation normal", "TWFE CR1", "default, log rates"})
"""Methods on log rates: they estimate the mean of the log effects, the others the log of the ratio of sums."""
PEERS = ("guard", "CS normal", "imputation normal", "TWFE CR1")


def methods_of(scenario: Scenario) -> dict[str, Method]:
    """Where cities share a shock the default is given the comparison group that shares it; and all areas beside."""
    if scenario.disturbance == "city shock":
        return {**METHODS, "default": default_among_large, "default, all areas": default}
    if scenario.name == "27 common independent":
        return {**METHODS, "default, log rates": default_log_rates}
    return dict(METHODS)


def _logs(row: Any) -> Log:
    with np.errstate(divide="ignore"):
        estimate, low, high = np.log(np.array([row["estimate"], row["conf_low"], row["conf_high"]], dtype=np.float64))
    return float(estimate), float(low), float(high)


def _plain(row: Any) -> Answer:
    return Answer(float(row["estimate"]), float(row["conf_low"]), float(row["conf_high"]), str(row["status"]))


@dataclass(frozen=True)
class Sums:
    """What a method did in some replicates: everything that the table needs, and that adds up over chunks.

    ``covered`` is of the effect of the treated that were drawn, ``covered_population`` of all such areas, both among
    the ``given`` intervals; ``below`` and ``above`` are intervals on one side of no effect; ``error`` and ``error2``
    the sum of the errors of finite estimates (``finite``) and of their squares, ``log_width`` that of the logs of the
    widths; ``words`` count headlines and reasons.
    """

    replicates: int = 0
    given: int = 0
    covered: int = 0
    covered_population: int = 0
    below: int = 0
    above: int = 0
    finite: int = 0
    error: float = 0.0
    error2: float = 0.0
    log_width: float = 0.0
    words: Mapping[str, int] | None = None

    def plus(self, other: "Sums") -> "Sums":
        words = Counter(self.words or {}) + Counter(other.words or {})
        names = [name for name in self.__dataclass_fields__ if name != "words"]
        return Sums(**{name: getattr(self, name) + getattr(other, name) for name in names}, words=dict(words))

    @property
    def coverage(self) -> float:
        return self.covered / self.given if self.given else np.nan

    @property
    def coverage_error(self) -> float:
        """Monte-Carlo standard error; at a share of one or zero that of one replicate more or less."""
        kept = (self.covered + 1) / (self.given + 2)
        share = self.coverage if 0 < self.covered < self.given else kept
        return float(np.sqrt(share * (1 - share) / self.given)) if self.given else np.nan

    @property
    def power(self) -> float:
        """Share of all replicates in which a reduction is found; who refuses finds nothing."""
        return self.below / self.replicates

    @property
    def refused(self) -> float:
        return 1 - self.given / self.replicates

    @property
    def width(self) -> float:
        """Geometric mean."""
        return float(np.exp(self.log_width / self.given)) if self.given else np.nan

    @property
    def bias(self) -> float:
        return self.error / self.finite if self.finite else np.nan

    @property
    def bias_error(self) -> float:
        if self.finite < 2:
            return np.nan
        spread = (self.error2 - self.error**2 / self.finite) / (self.finite - 1)
        return float(np.sqrt(max(spread, 0.0) / self.finite))


def sums_of(answer: Answer, truth: float, population: float) -> Sums:
    """One replicate."""
    given = not (np.isnan(answer.low) or np.isnan(answer.high))
    error = answer.estimate - truth
    finite = bool(np.isfinite(error))
    return Sums(
        replicates=1,
        given=int(given),
        covered=int(answer.low <= truth <= answer.high),
        covered_population=int(answer.low <= population <= answer.high),
        below=int(answer.high < 0),
        above=int(answer.low > 0),
        finite=int(finite),
        error=error if finite else 0.0,
        error2=error**2 if finite else 0.0,
        log_width=float(np.log(answer.high - answer.low)) if given else 0.0,
        words={answer.words: 1} if answer.words else {},
    )


def one_replicate(scenario: Scenario, rng: np.random.Generator, methods: Mapping[str, Method]) -> dict[str, Sums]:
    """All methods on one panel."""
    table, truth = scenario_table(scenario, rng, EFFECT)
    panel = panel_of(table)
    return {name: sums_of(answered(method, panel), *_targets(name, truth)) for name, method in methods.items()}


def answered(method: Method, panel: pe.Panel) -> Answer:
    """A refusal is an answer without an interval."""
    try:
        return method(panel)
    except PmgEvalError as refused:
        return Answer(np.nan, np.nan, np.nan, f"{refused.code}: {refused.what}")


def _targets(name: str, truth: Truth) -> tuple[float, float]:
    return (truth.mean_log, truth.population_mean_log) if name in LINEAR else (truth.ratio, truth.population_ratio)


def run_chunk(
    scenario: Scenario, chunk: int, replicates: int = CHUNK, methods: Mapping[str, Method] | None = None
) -> dict[str, Sums]:
    """Replicates ``chunk * CHUNK`` and following of a cell; the same numbers whenever and wherever it runs."""
    chosen = methods_of(scenario) if methods is None else methods
    seed = np.random.SeedSequence([SEED, zlib.crc32(scenario.name.encode()), chunk])
    total = {name: Sums() for name in chosen}
    for child in np.random.default_rng(seed).spawn(replicates):
        found = one_replicate(scenario, child, chosen)
        total = {name: sums.plus(found[name]) for name, sums in total.items()}
    return total


def added(chunks: Sequence[Mapping[str, Sums]]) -> dict[str, Sums]:
    """The chunks of one cell as one."""
    total: dict[str, Sums] = {}
    for chunk in chunks:
        total = {name: total.get(name, Sums()).plus(sums) for name, sums in chunk.items()}
    return total
