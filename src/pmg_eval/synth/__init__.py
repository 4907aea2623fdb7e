"""Synthetic controls (L2): a treated unit beside a weighted mean of donors that resembled it before its start."""

from pmg_eval.synth import _register as _register
from pmg_eval.synth._classic import classic
from pmg_eval.synth._details import SdidDetails, SynthDetails
from pmg_eval.synth._hull import HullDetails, hull
from pmg_eval.synth._predictors import Predictor
from pmg_eval.synth._sdid import sdid

__all__ = ["HullDetails", "Predictor", "SdidDetails", "SynthDetails", "classic", "hull", "sdid"]
