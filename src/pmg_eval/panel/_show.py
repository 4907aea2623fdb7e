"""What a panel says about itself: sizes, waves, notes; never a value of a column."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from pmg_eval.panel._core import Core

_MOST_WAVES = 12


def facts(core: Core) -> list[tuple[str, str]]:
    """Rows (what, text) shown by both representations."""
    periods = len(core.time_codes)
    span = ""
    if periods:
        first, last = (core.calendar.label(int(core.time_codes[at])) for at in (0, -1))
        span = f" ({first} to {last})"
    rows = len(core.row_unit)
    if core.is_panel:
        size = f"{core.n_units} units x {periods} periods{span}, {rows} rows"
        balance = "balanced" if rows == core.n_units * periods else _holes(core, rows)
    else:
        size, balance = f"{rows} rows in {periods} periods{span}", "repeated cross-sections"
    out = [("size", size), ("balance", balance), ("waves", _waves(core)), ("roles", _roles(core))]
    out.append(("missing", f'"{core.policy}"' + (_complete(core) if core.complete else "")))
    return out


def _holes(core: Core, rows: int) -> str:
    exempt = 0 if core.exempt is None else int(core.exempt.sum())
    holes = core.n_units * len(core.time_codes) - rows
    left_out = f", {exempt} of them left out on purpose" if exempt else ""
    return f"not balanced: {holes} cells without a row{left_out}"


def _waves(core: Core) -> str:
    codes, counts = np.unique(core.cohort[np.isfinite(core.cohort)], return_counts=True)
    waves = [
        f"{core.calendar.label(int(code))} ({count})"
        for code, count in zip(codes[:_MOST_WAVES], counts[:_MOST_WAVES], strict=True)
    ]
    if len(codes) > _MOST_WAVES:
        waves.append(f"{len(codes) - _MOST_WAVES} more")
    waves.append(f"never treated ({int(np.isposinf(core.cohort).sum())})")
    return ", ".join(waves)


def _roles(core: Core) -> str:
    hidden = ("missing", "freq", "partial_period", "selection_window")
    return ", ".join(f"{role}={_name(name)}" for role, name in core.roles.items() if role not in hidden)


def _name(name: Any) -> str:
    return ", ".join(str(part) for part in name) if isinstance(name, tuple) else str(name)


def _complete(core: Core) -> str:
    return " applied to " + ", ".join(sorted(str(name) for name in core.complete))


def text(core: Core) -> str:
    lines = ["Panel", *(f"  {what}: {value}" for what, value in facts(core))]
    if core.notes:
        lines += ["  notes:", *(f"    {notice}" for notice in core.notes)]
    return "\n".join(lines)


def html(core: Core) -> str:
    def row(head: str, body: str) -> str:
        return f"<tr><th>{escape(head, quote=True)}</th><td>{escape(body, quote=True)}</td></tr>"

    rows = [row(what, value) for what, value in facts(core)]
    rows += [row(notice.code, notice.text) for notice in core.notes]
    return f"<table><caption>Panel</caption><tbody>{''.join(rows)}</tbody></table>"
