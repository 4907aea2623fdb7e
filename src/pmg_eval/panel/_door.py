"""What everything that takes a panel asks first."""

from __future__ import annotations

from pmg_eval.errors import DataError
from pmg_eval.panel._panel import Panel


def need_panel(panel: object) -> None:
    """Refuse a bare table: its columns have no roles yet."""
    if not isinstance(panel, Panel):
        raise DataError(
            "PMG-PANEL",
            f"a Panel is needed, not {type(panel).__name__}",
            fix="pe.Panel(df, unit=..., time=..., cohort=...) says what the columns mean",
        )
