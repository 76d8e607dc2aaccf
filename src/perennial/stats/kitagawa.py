"""How much of a change in a mean is a change in who is there, and how much a change in how each group fares.

Rows fall into segments (the values of a column, the classes of a label). The mean moves because the segments' shares
move (composition), because their own means move (rate), or both; the two parts add up to the whole without a rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Ints, finite_vector, same_length, vector
from perennial.stats.errors import LengthMismatch, NothingToCount, OutOfRange
from perennial.stats.intervals import percentile_interval
from perennial.stats.resampling import Draws
from perennial.stats.results import Interval, Json, plain

__all__ = ["MeanChange", "SegmentedChange", "kitagawa", "segmented_change"]

RESAMPLES: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanChange:
    """A change of a mean, by segment; arrays of shape (k,).

    Attributes:
        reference_share: Share of the rows in each segment, before; sums to 1.
        current_share: The same after.
        reference_mean: Mean of each segment before; that of after where it had no row before.
        current_mean: Mean of each segment after; that of before where it has no row after.
    """

    reference_share: Floats
    current_share: Floats
    reference_mean: Floats
    current_mean: Floats

    @property
    def composition(self) -> Floats:
        """Part of each segment in what its share did: (w1 - w0)(r0 + r1)/2."""
        return (self.current_share - self.reference_share) * (self.reference_mean + self.current_mean) / 2.0

    @property
    def rate(self) -> Floats:
        """Part of each segment in what its mean did: (r1 - r0)(w0 + w1)/2."""
        return (self.current_mean - self.reference_mean) * (self.reference_share + self.current_share) / 2.0

    @property
    def contribution(self) -> Floats:
        """What each segment adds to the change, for either reason: w1 r1 - w0 r0."""
        return self.current_share * self.current_mean - self.reference_share * self.reference_mean

    @property
    def total(self) -> float:
        """The change of the mean: all composition and all rate together."""
        return float(self.contribution.sum())

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "reference_share": plain(self.reference_share),
            "current_share": plain(self.current_share),
            "reference_mean": plain(self.reference_mean),
            "current_mean": plain(self.current_mean),
            "composition": plain(self.composition),
            "rate": plain(self.rate),
            "contribution": plain(self.contribution),
            "total": self.total,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentedChange:
    """A change of a mean measured on rows.

    Attributes:
        by_segment: The parts of each segment.
        composition: All that the shares did.
        rate: All that the segments' own means did.
        total: Their sum.
    """

    by_segment: MeanChange
    composition: Interval
    rate: Interval
    total: Interval

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "by_segment": self.by_segment.as_dict(),
            "composition": self.composition.as_dict(),
            "rate": self.rate.as_dict(),
            "total": self.total.as_dict(),
        }


def kitagawa(
    reference_shares: ArrayLike, current_shares: ArrayLike, reference_means: ArrayLike, current_means: ArrayLike
) -> MeanChange:
    """Split the change of a mean into composition and rate, segment by segment.

    sum(w1 r1) - sum(w0 r0) = sum (w1 - w0)(r0 + r1)/2 + sum (r1 - r0)(w0 + w1)/2, exactly. A segment without rows on
    one side has no mean there (pass NaN): then all of its part is composition.

    Args:
        reference_shares: w0, shape (k,), non-negative, summing to 1.
        current_shares: w1, same segments.
        reference_means: r0, shape (k,), in the unit of what is averaged; NaN where w0 is 0.
        current_means: r1, same segments; NaN where w1 is 0.

    Raises:
        LengthMismatch: The arrays differ in length.
        OutOfRange: Shares are negative or do not sum to 1, or a mean is missing where there are rows.
        NothingToCount: There is no segment.

    Source: Kitagawa (1955), Components of a Difference Between Two Rates, JASA 50, 1168-1194; for means of linear
    models the same split is Oaxaca's and Blinder's (1973).

    >>> change = kitagawa([0.5, 0.5], [0.3, 0.7], [0.1, 0.3], [0.15, 0.3])
    >>> round(float(change.composition.sum()), 3), round(float(change.rate.sum()), 3), round(change.total, 3)
    (0.035, 0.02, 0.055)
    """
    w0, w1 = vector(reference_shares, "reference_shares"), vector(current_shares, "current_shares")
    r0, r1 = vector(reference_means, "reference_means"), vector(current_means, "current_means")
    if len(w0) == 0:
        raise NothingToCount("reference_shares")
    for name, array in (("current_shares", w1), ("reference_means", r0), ("current_means", r1)):
        if len(array) != len(w0):
            raise LengthMismatch(name, len(w0), len(array))
    for name, shares, means in (("reference", w0, r0), ("current", w1, r1)):
        if not bool((shares >= 0.0).all()) or abs(float(shares.sum()) - 1.0) > 1e-6:
            raise OutOfRange(f"{name}_shares", f"summing to {float(shares.sum()):g}", "non-negative, summing to 1")
        if not bool(np.isfinite(means[shares > 0.0]).all()):
            raise OutOfRange(f"{name}_means", "not finite", "finite wherever the segment has rows")
    r0, r1 = np.where(w0 > 0.0, r0, np.nan), np.where(w1 > 0.0, r1, np.nan)
    before = np.nan_to_num(np.where(np.isnan(r0), r1, r0))  # a segment without rows on both sides counts for nothing
    after = np.nan_to_num(np.where(np.isnan(r1), r0, r1))
    return MeanChange(reference_share=w0, current_share=w1, reference_mean=before, current_mean=after)


def segmented_change(
    reference_codes: ArrayLike,
    reference_values: ArrayLike,
    current_codes: ArrayLike,
    current_values: ArrayLike,
    *,
    segments: int | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SegmentedChange:
    """Split the change of a mean between two sets of rows into composition and rate, with bootstrap intervals.

    Args:
        reference_codes: Segment of each row, 0..k-1, shape (n,).
        reference_values: What is averaged, such as losses, shape (n,).
        current_codes: shape (m,).
        current_values: shape (m,).
        segments: k; the largest code and one more if None.
        confidence: Coverage of each interval.
        resamples: Bootstrap resamples of either side.
        seed: Equal seeds give equal intervals.

    Raises:
        LengthMismatch: Codes and values of a side differ in length.
        NothingToCount: A side has no row.
        OutOfRange: A code is negative or too large, a value is not finite, or a setting is out of range.

    >>> split = segmented_change([0, 0, 1, 1], [0.0, 0.2, 0.3, 0.3], [0, 1, 1, 1], [0.1, 0.3, 0.3, 0.3])
    >>> round(split.composition.estimate, 3), round(split.rate.estimate, 3)
    (0.05, 0.0)
    """
    before, after = finite_vector(reference_values, "reference_values"), finite_vector(current_values, "current_values")
    codes_before, codes_after = _codes(reference_codes, "reference_codes"), _codes(current_codes, "current_codes")
    same_length("reference_codes", codes_before, len(before))
    same_length("current_codes", codes_after, len(after))
    if min(len(before), len(after)) == 0:
        raise NothingToCount("reference_values" if len(before) == 0 else "current_values")
    largest = int(max(codes_before.max(), codes_after.max()))
    k = largest + 1 if segments is None else segments
    if largest >= k:
        raise OutOfRange("codes", largest, f"0 to {k - 1}")
    w0, r0, w0s, r0s = _resampled(codes_before, before, k, resamples, seed)
    w1, r1, w1s, r1s = _resampled(codes_after, after, k, resamples, seed + 1)
    whole = kitagawa(w0, w1, r0, r1)
    r0s, r1s = np.where(w0s > 0.0, r0s, r1s), np.where(w1s > 0.0, r1s, r0s)
    # A segment that one resample holds on neither side has share 0 on both, and no part.
    r0s, r1s = np.nan_to_num(r0s), np.nan_to_num(r1s)
    composition = ((w1s - w0s) * (r0s + r1s) / 2.0).sum(axis=1)
    rate = ((r1s - r0s) * (w0s + w1s) / 2.0).sum(axis=1)
    units = min(len(before), len(after))

    def interval(estimate: float, resampled: Floats) -> Interval:
        return percentile_interval(estimate, resampled, units=units, confidence=confidence)

    return SegmentedChange(
        by_segment=whole,
        composition=interval(float(whole.composition.sum()), composition),
        rate=interval(float(whole.rate.sum()), rate),
        total=interval(whole.total, composition + rate),
    )


def _codes(values: ArrayLike, name: str) -> Ints:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iub"):
        raise OutOfRange(name, f"{array.dtype} of shape {array.shape}", "whole numbers of shape (n,)")
    if array.size and int(array.min()) < 0:
        raise OutOfRange(name, int(array.min()), "0 or more")
    return array.astype(np.int64)


def _resampled(codes: Ints, values: Floats, k: int, resamples: int, seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Shares and means of each segment, shape (k,), and the same in each resample, shape (resamples, k)."""
    draws = Draws(len(codes), resamples=resamples, seed=seed)
    cell = draws.group * k + codes
    counts = np.bincount(cell, minlength=draws.groups * k).reshape(draws.groups, k).astype(np.float64)
    sums = np.bincount(cell, values, minlength=draws.groups * k).reshape(draws.groups, k)
    drawn_counts, drawn_sums = draws.weights @ counts, draws.weights @ sums
    with np.errstate(invalid="ignore", divide="ignore"):
        shares, means = counts.sum(axis=0) / len(codes), sums.sum(axis=0) / counts.sum(axis=0)
        return shares, means, drawn_counts / drawn_counts.sum(axis=1, keepdims=True), drawn_sums / drawn_counts
