"""Statistics behind monitoring, gates and staged deployment: arrays in, results out.

Pure functions and frozen values. Nothing here reads storage, knows a model or raises an alert, and every random step
takes a seed.
"""

from __future__ import annotations

from perennial.stats.adaptive import adaptation_bound, adapted
from perennial.stats.attribution import AttributionDrift, attribution_drift
from perennial.stats.bins import Bins, CategoryBins, NumericBins, bins_from_dict
from perennial.stats.canary import CanaryDecision, canary_test, log_bayes_factor
from perennial.stats.cross_validation import corrected_resampled_t
from perennial.stats.delong import auc, paired_auc
from perennial.stats.edetector import Design, Kind, State, Step, advance, alarms, log_bets, update
from perennial.stats.errors import BinMismatch, LengthMismatch, NothingToCount, OutOfRange, StatsError
from perennial.stats.intervals import bootstrap_interval, first_mean, percentile_interval, root_mean
from perennial.stats.mcnemar import mcnemar
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
from perennial.stats.selective import RiskThreshold, risk_threshold
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
from perennial.stats.slice_line import FoundSlice, slice_line
from perennial.stats.tails import noncentral_chi2_sf, student_quantile
from perennial.stats.test_set import Ladder, looks_borne, rows_needed, uses_left

__all__ = [
    "AttributionDrift",
    "Band",
    "BinMismatch",
    "Bins",
    "CanaryDecision",
    "CategoryBins",
    "Design",
    "Finding",
    "FoundSlice",
    "Interval",
    "Kind",
    "Ladder",
    "LengthMismatch",
    "NothingToCount",
    "NumericBins",
    "OutOfRange",
    "PairedVerdict",
    "Resampled",
    "RiskThreshold",
    "Selection",
    "State",
    "StatsError",
    "Step",
    "adaptation_bound",
    "adapted",
    "advance",
    "alarms",
    "asymptotic_half_width",
    "asymptotic_interval",
    "asymptotic_rho",
    "attribution_drift",
    "auc",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "betting_interval",
    "bins_from_dict",
    "bootstrap_interval",
    "canary_test",
    "clopper_pearson",
    "corrected_resampled_t",
    "e_benjamini_hochberg",
    "empirical_bernstein_sequence",
    "first_mean",
    "hellinger",
    "js_distance",
    "l_infinity",
    "log_bayes_factor",
    "log_bets",
    "looks_borne",
    "mcnemar",
    "merge_sparse",
    "noise_floor",
    "noncentral_chi2_sf",
    "noninferiority_rows",
    "paired_anytime",
    "paired_auc",
    "paired_losses",
    "paired_rmse",
    "paired_verdict",
    "percentile_interval",
    "psi",
    "resample_means",
    "risk_threshold",
    "root_mean",
    "rows_needed",
    "slice_line",
    "smooth_shares",
    "student_quantile",
    "tolerance_test",
    "update",
    "upper_bound",
    "uses_left",
]
