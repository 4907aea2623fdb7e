"""Validated unit x period data, and spells at risk. Everything behind the two trusts what passed their doors."""

from pmg_eval.panel._panel import Panel
from pmg_eval.panel._report import Cell, Notice
from pmg_eval.panel._spells import Spells

__all__ = ["Cell", "Notice", "Panel", "Spells"]
