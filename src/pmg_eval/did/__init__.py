"""Difference-in-differences (L2): effects per cohort and period, averaged afterwards."""

from pmg_eval.did import _register as _register
from pmg_eval.did._cases import cases_avoided
from pmg_eval.did._controls import NeverTreated, NotYetTreated
from pmg_eval.did._group_time import group_time
from pmg_eval.did._group_time_result import GroupTimeDetails
from pmg_eval.did._imputation import imputation
from pmg_eval.did._imputation_result import ImputationDetails

__all__ = [
    "GroupTimeDetails",
    "ImputationDetails",
    "NeverTreated",
    "NotYetTreated",
    "cases_avoided",
    "group_time",
    "imputation",
]
