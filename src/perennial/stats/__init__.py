"""Statistics behind monitoring, gates and staged deployment: arrays in, results out.

Pure functions and frozen values. Nothing here reads storage, knows a model or raises an alert, and every random step
takes a seed.
"""

from __future__ import annotations

from perennial.stats.adaptive import adaptation_bound, adapted
from perennial.stats.agreement import fleiss_kappa, krippendorff_alpha
from perennial.stats.atc import atc_accuracy, atc_threshold, doc_accuracy
from perennial.stats.attribution import AttributionDrift, attribution_drift
from perennial.stats.betting_sequence import BettingState, betting_sequence, betting_start, betting_update
from perennial.stats.bins import Bins, CategoryBins, NumericBins, bins_from_dict
from perennial.stats.calibrators import (
    IsotonicMap,
    SoftmaxCalibration,
    bias_corrected_temperature,
    isotonic,
    temperature,
)
from perennial.stats.canary import CanaryDecision, canary_test, log_bayes_factor
from perennial.stats.cbpe import Confidence, ExpectedSums, fit_confidence, metric_sds, sampling_band
from perennial.stats.chunk_thresholds import (
    ChunkThreshold,
    block_bootstrap_threshold,
    chunk_multiplier,
    chunk_threshold,
)
from perennial.stats.class_weights import bbse_weights, em_priors, rlls_weights
from perennial.stats.classifier_test import auc_null_sd, classifier_test
from perennial.stats.cross_validation import corrected_resampled_t
from perennial.stats.delong import auc, paired_auc
from perennial.stats.distances import (
    ks_critical,
    ks_distance,
    ks_distance_from_bins,
    ks_test,
    ks_test_from_bins,
    wasserstein,
    wasserstein_from_bins,
)
from perennial.stats.dle import LossSums, loss_sds, loss_sums
from perennial.stats.edetector import Design, Kind, State, Step, advance, alarms, log_bet_sum, log_bets, update
from perennial.stats.errors import BinMismatch, LengthMismatch, NothingToCount, OutOfRange, StatsError
from perennial.stats.group_sequential import alpha_spent, constant_bounds, crossing_probs, spending_bounds
from perennial.stats.intervals import bootstrap_interval, first_mean, percentile_interval, root_mean
from perennial.stats.label_shift import LabelShift, estimate_priors
from perennial.stats.lure import draw_in_turn, lure, lure_weights
from perennial.stats.martingale import (
    JumperState,
    conformal_p_values,
    fixed_reference_margin,
    fixed_reference_p_values,
    jump,
    martingale_test,
)
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
from perennial.stats.pape import RatioDiagnostics, density_ratios, ratio_diagnostics
from perennial.stats.pca_error import ErrorSums, Pca, fit_pca, pca_test
from perennial.stats.powered import active_mean, active_probs, powered_mean
from perennial.stats.resampling import Resampled, resample_means
from perennial.stats.results import Finding, Interval
from perennial.stats.selective import RiskThreshold, risk_threshold
from perennial.stats.shift import hellinger, js_distance, l_infinity, noise_floor, psi, smooth_shares
from perennial.stats.slice_line import FoundSlice, slice_line
from perennial.stats.sparse_bins import merge_sparse
from perennial.stats.staleness import Schedule, best_schedule, excess_schedule, loss_by_age, periodic_schedule, schedule
from perennial.stats.tails import noncentral_chi2_sf, student_quantile
from perennial.stats.test_set import Ladder, looks_borne, rows_needed, uses_left
from perennial.stats.tolerance import tolerance_test, tolerance_tests
from perennial.stats.two_sample import energy_distance, energy_test, median_distance, mmd2, mmd_test
from perennial.stats.ville import Gate, GateState

__all__ = [
    "AttributionDrift",
    "Band",
    "BettingState",
    "BinMismatch",
    "Bins",
    "CanaryDecision",
    "CategoryBins",
    "ChunkThreshold",
    "Confidence",
    "Design",
    "ErrorSums",
    "ExpectedSums",
    "Finding",
    "FoundSlice",
    "Gate",
    "GateState",
    "Interval",
    "IsotonicMap",
    "JumperState",
    "Kind",
    "LabelShift",
    "Ladder",
    "LengthMismatch",
    "LossSums",
    "NothingToCount",
    "NumericBins",
    "OutOfRange",
    "PairedVerdict",
    "Pca",
    "RatioDiagnostics",
    "Resampled",
    "RiskThreshold",
    "Schedule",
    "Selection",
    "SoftmaxCalibration",
    "State",
    "StatsError",
    "Step",
    "active_mean",
    "active_probs",
    "adaptation_bound",
    "adapted",
    "advance",
    "alarms",
    "alpha_spent",
    "asymptotic_half_width",
    "asymptotic_interval",
    "asymptotic_rho",
    "atc_accuracy",
    "atc_threshold",
    "attribution_drift",
    "auc",
    "auc_null_sd",
    "bbse_weights",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "best_schedule",
    "betting_interval",
    "betting_sequence",
    "betting_start",
    "betting_update",
    "bias_corrected_temperature",
    "bins_from_dict",
    "block_bootstrap_threshold",
    "bootstrap_interval",
    "canary_test",
    "chunk_multiplier",
    "chunk_threshold",
    "classifier_test",
    "clopper_pearson",
    "conformal_p_values",
    "constant_bounds",
    "corrected_resampled_t",
    "crossing_probs",
    "density_ratios",
    "doc_accuracy",
    "draw_in_turn",
    "e_benjamini_hochberg",
    "em_priors",
    "empirical_bernstein_sequence",
    "energy_distance",
    "energy_test",
    "estimate_priors",
    "excess_schedule",
    "first_mean",
    "fit_confidence",
    "fit_pca",
    "fixed_reference_margin",
    "fixed_reference_p_values",
    "fleiss_kappa",
    "hellinger",
    "isotonic",
    "js_distance",
    "jump",
    "krippendorff_alpha",
    "ks_critical",
    "ks_distance",
    "ks_distance_from_bins",
    "ks_test",
    "ks_test_from_bins",
    "l_infinity",
    "log_bayes_factor",
    "log_bet_sum",
    "log_bets",
    "looks_borne",
    "loss_by_age",
    "loss_sds",
    "loss_sums",
    "lure",
    "lure_weights",
    "martingale_test",
    "mcnemar",
    "median_distance",
    "merge_sparse",
    "metric_sds",
    "mmd2",
    "mmd_test",
    "noise_floor",
    "noncentral_chi2_sf",
    "noninferiority_rows",
    "paired_anytime",
    "paired_auc",
    "paired_losses",
    "paired_rmse",
    "paired_verdict",
    "pca_test",
    "percentile_interval",
    "periodic_schedule",
    "powered_mean",
    "psi",
    "ratio_diagnostics",
    "resample_means",
    "risk_threshold",
    "rlls_weights",
    "root_mean",
    "rows_needed",
    "sampling_band",
    "schedule",
    "slice_line",
    "smooth_shares",
    "spending_bounds",
    "student_quantile",
    "temperature",
    "tolerance_test",
    "tolerance_tests",
    "update",
    "upper_bound",
    "uses_left",
    "wasserstein",
    "wasserstein_from_bins",
]
