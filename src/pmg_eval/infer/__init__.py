"""From an estimate to a statement: the default policy, sensitivity, pooling, multiplicity, equivalence."""

from pmg_eval.infer._adjust import adjust
from pmg_eval.infer._default import default
from pmg_eval.infer._equivalence import equivalence
from pmg_eval.infer._honest import honest
from pmg_eval.infer._honest_options import Combined, RelativeMagnitude, Smoothness
from pmg_eval.infer._pool import pool
from pmg_eval.infer._pool_details import PoolDetails
from pmg_eval.infer._pretrend_power import PretrendPower, pretrend_power
from pmg_eval.infer._ranks import Ranks, ranks
from pmg_eval.infer._shock import CommonShock, common_shock
from pmg_eval.infer._shrink import ShrinkDetails, shrink
from pmg_eval.infer._tried import DefaultDetails

__all__ = [
    "Combined",
    "CommonShock",
    "DefaultDetails",
    "PoolDetails",
    "PretrendPower",
    "Ranks",
    "RelativeMagnitude",
    "ShrinkDetails",
    "Smoothness",
    "adjust",
    "common_shock",
    "default",
    "equivalence",
    "honest",
    "pool",
    "pretrend_power",
    "ranks",
    "shrink",
]
