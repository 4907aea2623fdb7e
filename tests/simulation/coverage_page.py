"""docs/evidence/coverage.md from the stored results."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simulation.coverage_gate import bounds, passes
from simulation.coverage_store import FOLDER, ROOT, Stored, read
from simulation.coverage_study import CELLS, EFFECT, PEERS, REPLICATES, SEED, Sums
from simulation.pmg_panels import Scenario

PAGE = ROOT / "docs" / "evidence" / "coverage.md"

TEXT = """# Coverage: how often the intervals contain the truth

Made by `python scripts/coverage.py` from the results in `docs/evidence/coverage/` (seed {seed}); not edited by hand. A
small version runs in the tests, and a test fails when a default leaves its bounds.

## The pooled effect under the default, in 24 designs

**Panels.** 120 municipalities x 14 years (2012-2025): the 60 largest of 340 with log-normal populations, from which the
treated are drawn at random, and 60 of the others. Counts are Poisson around exp(log population + area effect + common
trend + AR(1) shock with rho 0.6 and sd 0.12 + effect): over-dispersed and serially correlated. True rate ratio
{ratio:.3f}. "Common" is 10 events per 1,000 inhabitants and year, "rare" 0.7. Starts: one or two areas in 2022; four,
two each in 2022 and 2023; eight, four each in 2022 and 2024; 27 as in the programme (15 in 2022, 4 in 2023, 8 in 2024).

**What disturbs.** *City shock*: the 60 large cities share an AR(1) shock (sd 0.05, loadings 0.5 to 1.5) that the others
do not have; the default is given the large cities as comparison group, because they are the areas that might have been
chosen. *Heterogeneous*: effects differ between areas (sd 0.15 on the log scale). *Trend*: rates of treated areas grow
by one percent a year more than those of others, whatever the programme does; the identifying assumption is violated and
no interval can repair that: these rows show what then happens.

**Default.** `infer.default(did.imputation, ...)` with Poisson counts: the law is chosen by the number of treated areas,
counted as so many equal ones. A rate ratio weighs areas by their events, so that 27 large cities of unequal size count
like six to ten equal ones, and the headline is there mostly the wider of jackknife and pooled placebo law.

{default}

Coverage (± Monte-Carlo standard error) is of the realized effect of the treated areas, the events expected with over
those expected without the programme; for log-linear methods (below) of the mean log effect over treated areas and
years. Power is the share of all replicates whose interval lies wholly below a ratio of one. Width is the geometric mean
width in log points, bias the mean error of the log ratio. **Gate**: 93.5 to 97.5 % from 20 treated areas on, 93.5 to
99.5 % below and where the default is the wider of two intervals, each with two Monte-Carlo standard errors; no gate
where the design violates the assumption.
{shown}
## The same panels under the defaults of other packages

Coverage and, in brackets, power. *Guard*: a bare `did.imputation(...).average()` of this library. The others are what
packages print by default, from our own algebra, which the reference tests show to be theirs: *CS normal*, group-time
effects with never-treated controls, influence function, normal quantiles (R did, Stata csdid, Python differences and
diff-diff); *imputation normal*, conservative variance, normal quantiles (Stata did_imputation, R didimputation); *TWFE
CR1*, two-way regression clustered by area, t with G - 1 degrees of freedom. These three are given
log((count + 0.5) / population). Bold: below 90 %.

{peers}

{all_areas}
{log_rates}
{heterogeneous}
**Origin.** {origin}

## The interval of one area

**Design.** 340 municipalities x 14 years (2012-2025), log-normal population, 27 treated (15 from 2022, 4 from 2023,
8 from 2024), the same law of the counts. Every treated area has the true rate ratio {ratio:.3f}. "Large": treated areas
drawn from the 60 largest; "small": from ranks 200-340. The interval is that of
`pe.effect_per_area(panel, "suspects")` with its defaults (Poisson imputation, size-scaled placebo law, 313
placebos).

{areas}

Coverage is the share of area intervals that contain the true ratio; ± is its Monte-Carlo standard error over panels
(areas of one panel share their controls). Power is the share of intervals wholly below 1. "Interval given" is below
100 % where an area had fewer than one event a year before the start or none after it: there the library shows the
ratio without a test.

**Power is low for single areas, and that is the truth of such data**: a change of ten percent in one area is found
one time in seven to ten. A table of 27 stars is not information; read the intervals, and the pooled effect.
"""


def page(folder: Path = FOLDER) -> str:
    """The text of the page."""
    known = [(scenario, read(folder, scenario.name)) for scenario in CELLS]
    known = [(scenario, stored) for scenario, stored in known if stored.replicates]
    fewest = min((stored.replicates for _, stored in known), default=0)
    short = "" if fewest >= REPLICATES and len(known) == len(CELLS) else _unfinished(len(known), fewest)
    return TEXT.format(
        seed=SEED,
        ratio=np.exp(EFFECT),
        default=table(_HEAD, (_row(scenario, stored.sums()["default"]) for scenario, stored in known)),
        shown=short,
        peers=table(_PEERS, (_peer_row(scenario, stored.sums()) for scenario, stored in known)),
        all_areas=_all_areas(known),
        log_rates=_log_rates(known),
        heterogeneous=_population(known),
        origin=_origin([stored for _, stored in known]),
        areas=_areas(folder),
    )


def _unfinished(cells: int, fewest: int) -> str:
    return f"""
**Not finished**: {cells} of {len(CELLS)} cells, {fewest} of {REPLICATES:,} replicates in the shortest.
"""


def table(head: str, rows: Iterable[str]) -> str:
    """A table with its rule."""
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows])


def _percent(value: float, digits: int = 0) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.{digits}f} %"


def _within(value: float, error: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f} ± {100 * error:.1f} %"


_HEAD = "| treated | counts | design | headline | coverage at 95 % | gate | power | width | bias | no interval |"
_PEERS = "| treated | counts | design | default | " + " | ".join(PEERS) + " |"


def _labels(scenario: Scenario) -> str:
    number, counts, _ = scenario.name.split(" ", 2)
    return f"| {int(number)} | {counts} | {scenario.disturbance} "


def _headline(default: Sums) -> str:
    """Laws behind the intervals, with their shares where there are several."""
    laws: dict[str, int] = {}
    for words, count in (default.words or {}).items():
        for law in ("jackknife", "placebo law"):
            if words.startswith(law):
                laws[law] = laws.get(law, 0) + count
    of_two = sum(count for words, count in (default.words or {}).items() if "wider of two" in words)
    text = ", ".join(
        law if len(laws) == 1 else f"{law} {_percent(n / default.given)}" for law, n in sorted(laws.items())
    )
    return text + ("" if not of_two else " (wider of two)" if of_two == default.given else
                   f" (wider of two: {_percent(of_two / default.given)})")  # fmt: skip


def _row(scenario: Scenario, default: Sums) -> str:
    columns = (
        _headline(default),
        _within(default.coverage, default.coverage_error),
        _gate(scenario, default),
        _percent(default.power),
        f"{default.width:.2f}",
        f"{default.bias:+.3f} ± {default.bias_error:.3f}",
        _percent(default.refused, 1),
    )
    return f"{_labels(scenario)}| {' | '.join(columns)} |"


def _peer_row(scenario: Scenario, found: dict[str, Sums]) -> str:
    return f"{_labels(scenario)}| " + " | ".join(_cell(found[name]) for name in ("default", *PEERS)) + " |"


def _cell(found: Sums) -> str:
    if not found.given:
        return "no interval"
    text = f"{100 * found.coverage:.1f}"
    text = f"**{text}**" if found.coverage < 0.9 else text
    text += f" ({100 * found.power:.0f})"
    return text if found.refused < 0.005 else f"{text}, {_percent(found.refused)} without interval"


def _all_areas(known: Sequence[tuple[Scenario, Stored]]) -> str:
    rows = [
        f"{int(scenario.name[:2])} treated {_cell(stored.sums()['default, all areas'])}"
        for scenario, stored in known
        if scenario.disturbance == "city shock"
    ]
    if not rows:
        return ""
    return (
        "**Another comparison group.** Compared with *all* areas the default covers under the city shock (power): "
        + "; ".join(rows)
        + ".\n"
    )


def _log_rates(known: Sequence[tuple[Scenario, Stored]]) -> str:
    """The jackknife alone."""
    for scenario, stored in known:
        found = stored.sums().get("default, log rates")
        if found is not None:
            return (
                "**The jackknife alone.** Log rates count every area alike, so that 27 areas are 27 and the headline "
                f"is the {_headline(found)}. The default for log rates covers "
                f"{_within(found.coverage, found.coverage_error)} with {int(scenario.name[:2])} treated, common and "
                f"independent (power {_percent(found.power)}, width {found.width:.2f}, gate "
                f"{_gate(scenario, found)}).\n"
            )
    return ""


def _gate(scenario: Scenario, found: Sums) -> str:
    allowed = bounds(scenario, found)
    verdict = {None: "–", True: "inside", False: "**outside**"}[passes(scenario, found)]
    return verdict if allowed is None else f"{100 * allowed[0]:.1f}-{100 * allowed[1]:.1f}: {verdict}"


def _population(known: Sequence[tuple[Scenario, Stored]]) -> str:
    """The other estimand: the mean effect in areas like these."""
    rows = []
    for scenario, stored in known:
        if scenario.disturbance == "heterogeneous":
            found = stored.sums()["default"]
            rows.append(
                f"{int(scenario.name[:2])} treated {100 * found.covered_population / max(found.given, 1):.1f} %"
            )
    if not rows:
        return ""
    return (
        "**Heterogeneous effects: of whom?** The jackknife counts the differences between areas as noise, as it must "
        "for the mean effect in *areas like these*; for the treated areas themselves it is then too wide. The placebo "
        "law holds for the treated areas themselves. Coverage of the mean effect in areas like these: "
        + "; ".join(rows)
        + ".\n"
    )


def _origin(stored: Sequence[Stored]) -> str:
    chunks = [chunk for one in stored for chunk in one.chunks]
    if not chunks:
        return "no results yet."

    def several(name: str) -> str:
        return ", ".join(sorted({str(chunk[name]) for chunk in chunks}))

    dates = sorted(chunk["date"] for chunk in chunks)
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    hours = sum(chunk["cpu_seconds"] for chunk in chunks) / 3_600
    total = sum(chunk["replicates"] for chunk in chunks)
    return (
        f"{total:,} panels in {len(chunks)} chunks, {hours:.1f} CPU-hours, {when}; pmg_eval {several('version')}, code "
        f"{several('code')} (hash of the estimators without comments), Python {several('python')}, numpy "
        f"{several('numpy')}."
    )


def _areas(folder: Path) -> str:
    head = "| design | areas | events a year (median) | interval given | coverage at 95 % | power | width, log points |"
    path = folder / "areas.json"
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.exists() else []
    return table(
        head,
        (
            f"| {cell['design']} | {cell['areas']:,} | {cell['median_count']:.0f} | {_percent(cell['given'])} | "
            f"{_within(cell['coverage'], cell['coverage_error'])} | {_percent(cell['power'])} | {cell['width']:.2f} |"
            for cell in cells
        ),
    )
