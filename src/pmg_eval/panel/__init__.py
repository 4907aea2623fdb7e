"""Validated unit x period data. Everything behind `Panel` trusts what passed the door."""

from pmg_eval.panel._panel import Panel
from pmg_eval.panel._report import Cell, Notice

__all__ = ["Cell", "Notice", "Panel"]
