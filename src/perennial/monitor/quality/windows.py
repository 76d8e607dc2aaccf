"""Issues of a window as a whole: rows loaded twice or again, rows that are lacking, times of another zone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from perennial.monitor.profiling.hashes import KeptHashes
from perennial.monitor.profiling.profiles import Profiler, WindowProfile
from perennial.monitor.profiling.tallies import ColumnTally
from perennial.monitor.quality.issue import QualityIssue
from perennial.monitor.windows import CELLS, DAY, HOUR, HOURS, WEEK, calendar_cells
from perennial.stats.batches import MIN_BATCHES, learn_law
from perennial.stats.shares import excess_share_test

__all__ = ["window_issues"]

REPEATED_TOLERANCE = 0.05  # of the distinct rows
COPIED_TOLERANCE = 0.1
ROWS_TOLERANCE = math.log(2.0)  # half as many or twice as many rows are no issue by themselves
HALF = 0.5  # an hour may hold half of its share of the reference before its emptiness says anything
ZONE_ROWS = 500  # independent rows that a window is taken to hold, for what the hours of its events say
LAGS_TOLERANCE = 0.02
SPREAD = 0.1  # of the hours' shares that is spread evenly, so that no hour is impossible


def window_issues(
    profiler: Profiler,
    reference: WindowProfile,
    current: WindowProfile,
    former: Sequence[WindowProfile],
    *,
    level: float,
) -> Iterator[QualityIssue]:
    """All issues of the window as a whole."""
    yield from _duplicates(reference, current, level)
    yield from _stale(current, former, level)
    yield from _row_count(current, former, level)
    yield from _truncated(reference, current, level)
    yield from _hours_moved(reference, current, level)
    for name, plan in profiler.columns.items():
        if plan.is_hour:
            yield from _lags_moved(name, reference.columns[name], current.columns[name], level)


def _duplicates(reference: WindowProfile, current: WindowProfile, level: float) -> Iterator[QualityIssue]:
    before, after = reference.distinct_rows, current.distinct_rows
    if not len(before.hashes) or not len(after.hashes):
        return
    # More rows repeat each other more often: at most in proportion.
    growth = max(1.0, current.rows / reference.rows)
    usual = min(len(before.hashes), math.ceil(_repeated(before) * growth))
    test = excess_share_test(
        _repeated(after),
        len(after.hashes),
        reference_successes=usual,
        reference_trials=len(before.hashes),
        tolerance=REPEATED_TOLERANCE,
        alpha=level,
    )
    if test.decision == "above" and test.statistic is not None:
        share = usual / len(before.hashes)
        yield QualityIssue(
            kind="duplicates",
            column=None,
            reference_value=share,
            current_value=test.statistic,
            p_or_e=test.p_value,
            evidence="p",
            tolerance=REPEATED_TOLERANCE,
            severity="critical",
            says=f"{test.statistic:.1%} of the distinct rows occur more than once ({share:.1%} at most before): "
            "loaded twice?",
            remedy="look whether a file or message was taken twice",
        )


def _stale(current: WindowProfile, former: Sequence[WindowProfile], level: float) -> Iterator[QualityIssue]:
    own = current.distinct_rows
    for window in reversed(former):
        shared, kept = own.shared(window.distinct_rows)
        if not shared:
            continue
        # A row drawn as that window's were is one of its rows with probability 1 - (rows seen once)/rows (Good-Turing).
        counts = window.distinct_rows.counts
        again, seen = int(counts.sum() - (counts == 1).sum()), int(counts.sum())
        test = excess_share_test(
            shared,
            kept,
            reference_successes=again,
            reference_trials=seen,
            tolerance=COPIED_TOLERANCE,
            alpha=level / max(1, len(former)),
        )
        if test.decision == "above" and test.statistic is not None:
            where = "the rows before" if window.window is None else f"the window of {_moment(window.window.start)}"
            yield QualityIssue(
                kind="stale_copy",
                column=None,
                reference_value=again / seen,
                current_value=test.statistic,
                p_or_e=test.p_value,
                evidence="p",
                tolerance=COPIED_TOLERANCE,
                severity="critical",
                says=f"{test.statistic:.0%} of the distinct rows were in {where}: a copy of old rows?",
                remedy="look whether the source delivers new rows, and take this window out of any training",
            )
            return


def _row_count(current: WindowProfile, former: Sequence[WindowProfile], level: float) -> Iterator[QualityIssue]:
    length = _length(current)
    alike = [one for one in former if _length(one) == length]
    if len(alike) < MIN_BATCHES:
        return
    # Times of a week of their own, where there are enough of them.
    if current.window is not None and length is not None and length <= DAY:
        same = [one for one in alike if one.window and (one.window.start - current.window.start) % WEEK == 0]
        alike = same if len(same) >= MIN_BATCHES else alike
    law = learn_law([math.log1p(one.rows) for one in alike], noise=1.0 / math.sqrt(max(alike[-1].rows, 1.0)))
    if law is None:
        return
    value = math.log1p(current.rows)
    beyond = max(0.0, abs(value - law.centre) - ROWS_TOLERANCE)
    p_value = law.rate_of(law.centre + beyond)
    if p_value <= level:
        expected = math.expm1(law.centre)
        yield QualityIssue(
            kind="row_count",
            column=None,
            reference_value=expected,
            current_value=current.rows,
            p_or_e=p_value,
            evidence="p",
            tolerance=math.exp(ROWS_TOLERANCE),
            severity="critical" if value < law.centre else "warn",
            says=f"{current.rows:.0f} rows, {expected:.0f} expected from {law.n} windows before",
            remedy="look whether rows were lost or taken twice on the way",
            assumption="windows are alike but for noise "
            + ("(normal)" if law.kind == "normal" else "(Chebyshev: any law of this mean and spread)"),
        )


def _truncated(reference: WindowProfile, current: WindowProfile, level: float) -> Iterator[QualityIssue]:
    """Nothing after some hour of the window, although the reference has rows at these hours."""
    if current.window is None or current.last is None or reference.calendar is None or current.calendar is None:
        return
    start, end = current.window.start, current.window.end
    if not 2 * HOUR <= end - start <= WEEK:
        return
    hours = np.arange(start // HOUR, -(-end // HOUR), dtype=np.int64) * HOUR
    usual = _by_hour_of_week(reference.calendar)[calendar_cells(hours) % (CELLS // 4)]
    if not usual.sum():
        return
    empty = hours >= (current.last // HOUR + 1) * HOUR
    share = float(usual[empty].sum() / usual.sum())
    p_value = (1.0 - HALF * share) ** current.rows * len(hours)
    if share and p_value <= level:
        yield QualityIssue(
            kind="truncated",
            column=None,
            reference_value=share,
            current_value=0.0,
            p_or_e=min(1.0, p_value),
            evidence="p",
            tolerance=HALF,
            severity="critical",
            says=f"no rows after {_moment(current.last)}, {int(empty.sum())} hours before the window ends; "
            f"{share:.1%} of the rows used to come then",
            remedy="look whether the source stopped or a file was cut off; count the window again afterwards",
        )


def _hours_moved(reference: WindowProfile, current: WindowProfile, level: float) -> Iterator[QualityIssue]:
    if reference.calendar is None or current.calendar is None or current.first is None or current.last is None:
        return
    if current.last - current.first < 20 * HOUR:
        return  # not a whole day: which hours it holds says nothing
    was, now = (_by_hour(one.calendar) for one in (reference, current))
    if not was.sum():
        return
    p = (1.0 - SPREAD) * was / was.sum() + SPREAD / HOURS
    moved = np.stack([np.roll(p, lag) for lag in range(HOURS)])
    # The power of a likelihood ratio below 1 is an e-value too: rows of one hour are not independent.
    power = min(1.0, ZONE_ROWS / now.sum())
    log_ratios = power * (np.log(moved) - np.log(p)) @ now
    lag = int(np.argmax(log_ratios))
    e_value = float(np.exp(np.minimum(log_ratios[1:], 700.0)).mean())
    q = now / now.sum()
    straight, shifted = (float(np.abs(q - shares).sum() / 2.0) for shares in (p, moved[lag]))
    if lag and e_value >= 1.0 / level and shifted < straight / 2.0:
        hours = lag if lag <= HOURS // 2 else lag - HOURS
        yield QualityIssue(
            kind="timezone_shift",
            column=None,
            reference_value=0.0,
            current_value=float(hours),
            p_or_e=e_value,
            evidence="e",
            tolerance=SPREAD,
            severity="critical",
            says=f"events come {abs(hours)} hours {'later' if hours > 0 else 'earlier'} in the day than they did: "
            "another time zone?",
            remedy="look in which zone the source writes its times",
            assumption=f"of each window, {ZONE_ROWS} rows are independent of each other",
        )


def _lags_moved(name: str, before: ColumnTally, after: ColumnTally, level: float) -> Iterator[QualityIssue]:
    if not before.lags.sum() or not after.lags.sum():
        return
    lag = int(np.argmax(after.lags))
    if lag == 0:
        return
    test = excess_share_test(
        int(after.lags[lag]),
        int(after.lags.sum()),
        reference_successes=int(before.lags[lag]),
        reference_trials=int(before.lags.sum()),
        tolerance=LAGS_TOLERANCE,
        alpha=level,
    )
    if test.decision == "above" and test.statistic is not None and test.statistic > HALF:
        hours = lag if lag <= HOURS // 2 else lag - HOURS
        yield QualityIssue(
            kind="timezone_shift",
            column=name,
            reference_value=0.0,
            current_value=float(hours),
            p_or_e=test.p_value,
            evidence="p",
            tolerance=LAGS_TOLERANCE,
            severity="critical",
            says=f"{name} was the hour of the event; it is {abs(hours)} hours {'ahead' if hours > 0 else 'behind'} in "
            f"{test.statistic:.0%} of the rows: another time zone?",
            remedy="look in which zone the source writes this column",
        )


def _repeated(kept: KeptHashes) -> int:
    return int((kept.counts > 1).sum())


def _length(profile: WindowProfile) -> int | None:
    return None if profile.window is None else profile.window.end - profile.window.start


def _by_hour(calendar: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return np.zeros(HOURS, np.int64) if calendar is None else calendar.reshape(-1, HOURS).sum(axis=0)


def _by_hour_of_week(calendar: NDArray[np.int64]) -> NDArray[np.int64]:
    return calendar.reshape(4, -1).sum(axis=0)


def _moment(at: int) -> str:
    return str(np.datetime64(at, "us").astype("datetime64[m]")).replace("T", " ")
