"""Statistics behind monitoring, gates and staged deployment: arrays in, results out.

Pure functions and frozen values. Nothing here reads storage, knows a model or raises an alert, and every random step
takes a seed.
"""

from __future__ import annotations

from perennial.stats.bins import Bins, CategoryBins, NumericBins, bins_from_dict
from perennial.stats.canary import CanaryDecision, canary_test, log_bayes_factor
from perennial.stats.edetector import Design, Kind, State, Step, advance, alarms, log_bets, update
from perennial.stats.errors import BinMismatch, LengthMismatch, NothingToCount, OutOfRange, StatsError
from perennial.stats.intervals import bootstrap_interval, first_mean, percentile_interval, root_mean
from perennial.stats.means import (
    Band,
    asymptotic_half_width,
    asymptotic_interval,
    asymptotic_rho,
    betting_interval,
    clopper_pearson,
    empirical_bernstein_sequence,
    upper_bound,
)
from perennial.stats.multiple import Selection, benjamini_hochberg, benjamini_yekutieli, e_benjamini_hochberg
from perennial.stats.paired import (
    PairedVerdict,
    noninferiority_rows,
    paired_anytime,
    paired_losses,
    paired_rmse,
    paired_verdict,
)
from perennial.stats.resampling import Resampled, resample_means
from perennial.stats.results import Finding, Interval
from perennial.stats.shift import (
    hellinger,
    js_distance,
    l_infinity,
    merge_sparse,
    noise_floor,
    psi,
    smooth_shares,
    tolerance_test,
)
from perennial.stats.tails import noncentral_chi2_sf

__all__ = [
    "Band",
    "BinMismatch",
    "Bins",
    "CanaryDecision",
    "CategoryBins",
    "Design",
    "Finding",
    "Interval",
    "Kind",
    "LengthMismatch",
    "NothingToCount",
    "NumericBins",
    "OutOfRange",
    "PairedVerdict",
    "Resampled",
    "Selection",
    "State",
    "StatsError",
    "Step",
    "advance",
    "alarms",
    "asymptotic_half_width",
    "asymptotic_interval",
    "asymptotic_rho",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "betting_interval",
    "bins_from_dict",
    "bootstrap_interval",
    "canary_test",
    "clopper_pearson",
    "e_benjamini_hochberg",
    "empirical_bernstein_sequence",
    "first_mean",
    "hellinger",
    "js_distance",
    "l_infinity",
    "log_bayes_factor",
    "log_bets",
    "merge_sparse",
    "noise_floor",
    "noncentral_chi2_sf",
    "noninferiority_rows",
    "paired_anytime",
    "paired_losses",
    "paired_rmse",
    "paired_verdict",
    "percentile_interval",
    "psi",
    "resample_means",
    "root_mean",
    "smooth_shares",
    "tolerance_test",
    "update",
    "upper_bound",
]
