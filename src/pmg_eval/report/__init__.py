"""Figures, tables and pages (L4): knows estimates, never an estimator."""

from pmg_eval.report._page import page as html
from pmg_eval.report._write import write_text

__all__ = ["html", "write_text"]
