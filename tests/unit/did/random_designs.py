"""Random staggered designs with everything that goes wrong in them, and slow answers that share no code with src.

A design is a plain table (``unit, code, cohort, weight, dirty, x, z, y, people, cases``; codes are years, quarters or
months, +inf means never) and the options it was drawn for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval import did
from pmg_eval.panel import Panel

Cell = tuple[float, int]


@dataclass(frozen=True)
class Design:
    table: pd.DataFrame
    freq: str
    missing: str
    weighted: bool
    anticipation: int
    base_period: str
    never_only: bool

    @property
    def weight(self) -> Any:
        return self.table["weight"].to_numpy() if self.weighted else np.ones(len(self.table))

    @property
    def controls(self) -> Any:
        return did.NeverTreated() if self.never_only else did.NotYetTreated()

    @property
    def spread(self) -> float:
        return float(self.table["y"].std())

    def panel(self, **roles: Any) -> Panel:
        frame = self.table.rename(columns={"code": "time", "cohort": "start"})
        if self.freq != "Y":
            frame["time"] = pd.PeriodIndex.from_ordinals(frame["time"].astype(int), freq=self.freq)
            for name in ("start", "dirty"):
                frame[name] = self._periods(frame[name])
            roles["never"] = None
        if self.weighted:
            roles["weight"] = "weight"
        return Panel(
            frame,
            unit="unit",
            time="time",
            cohort="start",
            contaminated_from="dirty",
            exposure="people",
            missing=self.missing,  # type: ignore[arg-type]
            **roles,
        )

    def _periods(self, codes: pd.Series[Any]) -> Any:
        known = [pd.Period(ordinal=int(code), freq=self.freq) if np.isfinite(code) else pd.NaT for code in codes]
        return pd.PeriodIndex(known, freq=self.freq)


def design(seed: int) -> Design:
    """Gaps, absent rows, late and lone cohorts, weights of zero, contaminated controls, scales from 1e-9 to 1e9."""
    rng = np.random.default_rng([7, seed])
    n, periods = int(rng.integers(8, 36)), int(rng.integers(3, 9))
    freq = str(rng.choice(["Y", "Q", "M"], p=[0.6, 0.2, 0.2]))
    codes = (int(rng.integers(1990, 2015)) if freq == "Y" else int(rng.integers(60, 200))) + np.arange(periods)
    if periods > 4 and rng.random() < 0.3:
        codes = np.delete(codes, rng.integers(1, periods - 1))
    starts = [np.inf] * int(rng.integers(0, 4))
    starts += rng.choice(np.arange(codes[0], codes[-1] + 3), int(rng.integers(1, 4))).tolist()
    cohort = rng.choice(np.array(starts, dtype=float), n)
    if rng.random() < 0.3:
        cohort[0] = rng.choice(codes[1:])
    weight = rng.uniform(0.3, 3, n)
    if rng.random() < 0.4:
        weight[1:][rng.random(n - 1) < 0.15] = 0
    dirty = np.full(n, np.inf)
    if rng.random() < 0.4:
        dirty = np.where(rng.random(n) < 0.2, rng.choice(codes, n), dirty)
    level, trend = rng.normal(size=n), np.cumsum(rng.normal(size=len(codes))) / 3
    people = np.exp(rng.uniform(np.log(10), np.log(1e7), n) if rng.random() < 0.3 else rng.normal(6, 0.5, n))

    table = pd.DataFrame({"unit": np.repeat(np.arange(n), len(codes)), "code": np.tile(codes, n)})
    unit, time = table["unit"].to_numpy(), np.tile(np.arange(len(codes)), n)
    table["cohort"], table["weight"], table["dirty"] = cohort[unit], weight[unit], dirty[unit]
    table["x"], table["z"] = rng.normal(size=n)[unit], rng.normal(size=len(table))
    treated = (table["code"] >= table["cohort"]).to_numpy()
    noise = rng.normal(size=len(table)) / 2
    table["y"] = 2 * level[unit] + trend[time] + treated + 0.3 * table["z"] + noise
    table["y"] *= rng.choice([1.0, 1e9, 1e-9], p=[0.8, 0.1, 0.1])
    table["people"] = people[unit] * rng.uniform(0.9, 1.1, len(table))
    rate = np.exp(-3 + 0.3 * level[unit] + 0.2 * trend[time] - 0.3 * treated)
    table["cases"] = rng.poisson(table["people"] * rate * rng.choice([1.0, 0.02]))
    if rng.random() < 0.3:
        table["cases"] = table["cases"].mask(np.isin(unit, np.flatnonzero(rng.random(n) < 0.15)), 0)
    missing = "error"
    if rng.random() < 0.5:
        missing, table = "pairwise", table[rng.random(len(table)) > 0.12].reset_index(drop=True)
    return Design(
        table,
        freq,
        missing,
        weighted=bool(rng.random() < 0.6),
        anticipation=int(rng.choice([0, 0, 0, 1, 2])),
        base_period=str(rng.choice(["varying", "universal", "average"])),
        never_only=bool(rng.random() < 0.5),
    )


def codes_of(values: Any) -> list[int]:
    """Calendar codes of labels."""
    return [int(getattr(value, "ordinal", value)) for value in values]


# ---- group-time cells as two-group means ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Groups:
    """Units of one cell; None instead when the cell is the base itself."""

    base: list[int]
    treated: list[int]
    controls: list[int]


def groups(plan: Design) -> dict[Cell, Groups | None]:
    """Who is compared with whom, cell by cell, in words of the documentation."""
    table, early = plan.table, plan.anticipation
    seen = set(zip(table["unit"], table["code"], strict=True))
    first = table.drop_duplicates("unit").set_index("unit")
    weight = dict(zip(table["unit"], plan.weight, strict=True))
    codes = sorted(table["code"].unique())
    units = [unit for unit in first.index if first["cohort"][unit] > codes[0] + early]
    found: dict[Cell, Groups | None] = {}
    for cohort in sorted({first["cohort"][unit] for unit in units if first["cohort"][unit] <= codes[-1]}):
        own = [unit for unit in units if first["cohort"][unit] == cohort]
        inhabited = [code for code in codes if any((unit, code) in seen for unit in own)]
        natural = [code for code in codes if code + early < cohort]
        before = [code for code in natural if code in inhabited] or natural
        for position, code in enumerate(codes):
            if plan.base_period == "average":
                base = before
            elif plan.base_period == "universal" or code >= cohort:
                base = before[-1:]
            elif position == 0:
                continue
            else:
                base = [earlier for earlier in codes[:position] if earlier in inhabited][-1:] or [codes[position - 1]]
            if base == [code]:
                found[cohort, int(code)] = None
                continue
            latest = max(code, base[-1])
            here = [u for u in units if weight[u] > 0 and all((u, other) in seen for other in (code, *base))]
            controls = [u for u in here if first["dirty"][u] > latest and first["cohort"][u] != cohort]
            until = np.inf if plan.never_only else latest + early + 1
            controls = [u for u in controls if first["cohort"][u] >= until]
            found[cohort, int(code)] = Groups(base, [u for u in here if u in own], controls)
    return found


def change(plan: Design, column: str, unit: int, cell: Cell, base: list[int]) -> float:
    rows = plan.table[plan.table["unit"] == unit].set_index("code")[column]
    return float(rows[cell[1]] - rows[base].mean())


def difference_of_means(plan: Design, cell: Cell, who: Groups) -> float:
    weight = dict(zip(plan.table["unit"], plan.weight, strict=True))
    sides = []
    for side in (who.treated, who.controls):
        changes = [change(plan, "y", unit, cell, who.base) for unit in side]
        sides.append(np.average(changes, weights=[weight[unit] for unit in side]))
    return float(sides[0] - sides[1])


def log_rate_ratio(plan: Design, cell: Cell, who: Groups) -> float | str:
    """Both groups' common log change given every unit's total, by bisection."""
    from scipy.optimize import brentq

    weight = dict(zip(plan.table["unit"], plan.weight, strict=True))
    rows = plan.table.set_index(["unit", "code"])
    shifts = []
    for side in (who.treated, who.controls):
        w = np.array([weight[unit] for unit in side])
        later, base = (
            [
                np.array([rows[name].loc[[(u, code) for code in when]].sum() for u in side])
                for name in ("cases", "people")
            ]
            for when in ([cell[1]], who.base)
        )
        if not w @ base[0] > 0 or not w @ later[0] > 0:
            shifts.append(-np.inf if w @ base[0] > 0 else np.nan)
            continue

        def score(shift: float, w: Any = w, later: Any = later, base: Any = base) -> float:
            chance = 1 / (1 + base[1] / later[1] * np.exp(-shift))
            return float(w @ (later[0] - (later[0] + base[0]) * chance))

        shifts.append(brentq(score, -80, 80, xtol=1e-14))
    if np.isnan(shifts[0]) or not np.isfinite(shifts[1]):
        return "zero_events"
    return float(shifts[0] - shifts[1])


# ---- imputation as a regression with dummies -------------------------------------------------------------------------


@dataclass(frozen=True)
class Regression:
    """Untreated observations regressed on dummies; everything by row of the table."""

    treated: Any
    untreated: Any
    identified: Any
    residual: Any
    design: Any
    solver: Any  # of the weighted untreated part


def regression(plan: Design, covariate: str | None = None) -> Regression:
    table, weight = plan.table, plan.weight
    event = (table["code"] - table["cohort"]).to_numpy()
    treated = (event >= -plan.anticipation) & (weight > 0)
    untreated = (event < -plan.anticipation) & (table["code"] < table["dirty"]).to_numpy() & (weight > 0)
    design = pd.get_dummies(table[["unit", "code"]].astype(str), dtype=float).to_numpy()
    if covariate is not None:
        design = np.column_stack([design, table[covariate]])
    root = np.sqrt(weight[untreated])[:, None]
    solver = np.linalg.pinv(design[untreated] * root, rcond=1e-10)
    y = table["y"].to_numpy()
    residual = y - design @ (solver @ (y[untreated] * root[:, 0]))
    loose = design - design @ solver @ (design[untreated] * root)
    return Regression(treated, untreated, np.abs(loose).max(axis=1) < 1e-7, residual, design, solver)


def conservative_error(plan: Design, fit: Regression, rows: Any) -> float:
    """Standard error of the average over treated rows, as Borusyak, Jaravel and Spiess (2024) write it."""
    table, weight = plan.table, plan.weight
    v = np.zeros(len(table))
    v[rows] = weight[rows] / weight[rows].sum()
    v[fit.untreated] -= (v[rows] @ fit.design[rows] @ fit.solver) * np.sqrt(weight[fit.untreated])
    error = fit.residual.copy()
    for _, members in table.iloc[rows].groupby(["cohort", "code"]):
        at = members.index.to_numpy()
        error[at] -= (v[at] ** 2 @ fit.residual[at]) / (v[at] ** 2).sum()
    used = fit.untreated.copy()
    used[rows] = True
    return float(np.sqrt((pd.Series(v * error * used).groupby(table["unit"]).sum() ** 2).sum()))


def event_coefficients(plan: Design, fit: Regression) -> dict[int, float]:
    """Event-time dummies among the untreated (the last one left out): coefficient, NaN where it is not identified."""
    event = (plan.table["code"] - plan.table["cohort"]).to_numpy()
    times = np.unique(event[fit.untreated & np.isfinite(event)])
    if not len(times):
        return {}
    dummies = (event[:, None] == times[:-1]) & fit.untreated[:, None]
    root = np.sqrt(plan.weight[fit.untreated])[:, None]
    design = np.column_stack([fit.design, dummies])[fit.untreated] * root
    solver = np.linalg.pinv(design, rcond=1e-9)
    k = len(times) - 1
    coefficient = (solver @ (plan.table["y"].to_numpy()[fit.untreated] * root[:, 0]))[-k:] if k else np.zeros(0)
    loose = np.abs(np.eye(design.shape[1]) - solver @ design).max(axis=1)[-k:] if k else np.zeros(0)
    found = np.where(loose < 1e-6, coefficient, np.nan)
    return {int(time): float(value) for time, value in zip(times, [*found, 0.0], strict=True)}
