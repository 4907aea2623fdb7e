"""Re-estimation: jackknife, randomization, placebo laws. They receive an estimator as a callable and know no family."""

from pmg_eval.resample._bootstrap import BootstrapDetails, bootstrap
from pmg_eval.resample._calibrate import Calibration, calibrate
from pmg_eval.resample._conformal import conformal
from pmg_eval.resample._curve import Curve, curve
from pmg_eval.resample._donut import donut
from pmg_eval.resample._jackknife import JackknifeDetails, jackknife
from pmg_eval.resample._jackknife_plus import jackknife_plus
from pmg_eval.resample._leave_one_out import LeaveOneOut, leave_one_out
from pmg_eval.resample._placebo import placebo
from pmg_eval.resample._placebo_details import PlaceboDetails
from pmg_eval.resample._placebo_in_time import placebo_in_time
from pmg_eval.resample._placebo_law import Plain, SizeMatched, SizeModel
from pmg_eval.resample._power import PowerCurve, power
from pmg_eval.resample._randomize import randomize
from pmg_eval.resample._wild import wild

__all__ = [
    "BootstrapDetails",
    "Calibration",
    "Curve",
    "JackknifeDetails",
    "LeaveOneOut",
    "PlaceboDetails",
    "Plain",
    "PowerCurve",
    "SizeMatched",
    "SizeModel",
    "bootstrap",
    "calibrate",
    "conformal",
    "curve",
    "donut",
    "jackknife",
    "jackknife_plus",
    "leave_one_out",
    "placebo",
    "placebo_in_time",
    "power",
    "randomize",
    "wild",
]
