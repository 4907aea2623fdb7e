"""Re-estimation: jackknife, randomization, placebo laws. They receive an estimator as a callable and know no family."""

from pmg_eval.resample._jackknife import JackknifeDetails, jackknife
from pmg_eval.resample._placebo import PlaceboDetails, placebo
from pmg_eval.resample._placebo_in_time import placebo_in_time
from pmg_eval.resample._randomize import randomize

__all__ = ["JackknifeDetails", "PlaceboDetails", "jackknife", "placebo", "placebo_in_time", "randomize"]
