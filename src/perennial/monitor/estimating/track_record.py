"""What was estimated beside what came true: the only ground on which one estimator is preferred to another.

An entry is made for each window, metric and estimator once the window's labels are there. The record is a plain value
that is stored as JSON; `add` gives a longer one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from perennial.monitor.windows import Window

__all__ = ["CONSTANT", "MIN_WINDOWS", "Entry", "Standing", "TrackRecord", "entries_of"]

CONSTANT: Final = "constant"  # the estimator that says "as on the reference": who does not beat it has no use
MIN_WINDOWS: Final = 5  # labelled ones, below which no estimator is preferred by its record


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One estimate of one metric of one window, and what it came to.

    Attributes:
        start: Of the window, microseconds; None where rows have no times.
        end: Its end.
        rows: Rows of the window.
        metric: Name of the metric.
        method: Name of the estimator.
        estimate: What it said.
        low: Lower end of its band.
        high: Upper end.
        realised: The metric once the labels were there.
    """

    rows: int
    metric: str
    method: str
    estimate: float
    low: float
    high: float
    realised: float
    start: int | None = None
    end: int | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How an estimator of a metric has done.

    Attributes:
        metric: Name of the metric.
        method: Name of the estimator.
        windows: Number of labelled windows.
        mae: Mean distance of estimate and realised value.
        bias: Mean of estimate less realised value.
        covered: Share of windows whose realised value lay within the band.
    """

    metric: str
    method: str
    windows: int
    mae: float
    bias: float
    covered: float


class TrackRecord(msgspec.Struct, frozen=True):
    """All entries, the oldest first."""

    entries: tuple[Entry, ...] = ()

    def add(self, entries: Iterable[Entry]) -> TrackRecord:
        """A record with these entries as well; one of the same window, metric and method takes the former's place."""
        kept: dict[tuple[int, int | None, str, str], Entry] = {}
        timeless: list[Entry] = []
        for entry in (*self.entries, *entries):
            if entry.start is None:
                timeless.append(entry)
            else:
                kept[entry.start, entry.end, entry.metric, entry.method] = entry
        return TrackRecord((*timeless, *sorted(kept.values(), key=lambda entry: entry.start or 0)))

    def standings(self, metric: str | None = None) -> list[Standing]:
        """Of each estimator of each metric (or of one), the best of a metric first."""
        groups: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries:
            if metric in (None, entry.metric):
                groups.setdefault((entry.metric, entry.method), []).append(entry)
        found = [_standing(name, method, group) for (name, method), group in groups.items()]
        return sorted(found, key=lambda one: (one.metric, one.mae))

    def best(self, metric: str, methods: Sequence[str]) -> str | None:
        """The estimator with the smallest mean error over the windows that all of them have estimated.

        None where that are fewer than 5. Of equals the first named.
        """
        by_window: dict[tuple[int | None, int | None, int], dict[str, float]] = {}
        seen: dict[str, int] = {}
        for entry in self.entries:
            if entry.metric == metric and entry.method in methods:
                # Windows without times are told apart by their order.
                number = seen[entry.method] = seen.get(entry.method, 0) + (entry.start is None)
                key = (entry.start, entry.end, number if entry.start is None else 0)
                by_window.setdefault(key, {})[entry.method] = abs(entry.estimate - entry.realised)
        shared = [errors for errors in by_window.values() if len(errors) == len(methods)]
        if len(shared) < MIN_WINDOWS:
            return None
        return min(methods, key=lambda method: float(np.mean([errors[method] for errors in shared])))

    def words(self, metric: str, method: str) -> str:
        """One sentence about an estimator, to stand beside its estimates."""
        found = {one.method: one for one in self.standings(metric)}
        if method not in found:
            return "no labelled window yet to judge this estimate by"
        one = found[method]
        said = f"off by {one.mae:.4f} on average over {one.windows} labelled windows, {one.covered:.0%} within the band"
        if CONSTANT in found:
            said += f" (the reference value: off by {found[CONSTANT].mae:.4f})"
        return said


def entries_of(
    estimates: Iterable[tuple[str, str, float, float, float]],
    realised: Mapping[str, float],
    *,
    rows: int,
    window: Window | None,
) -> list[Entry]:
    """Entries from (metric, method, value, low, high) and the realised metrics, without those that are not defined."""
    return [
        Entry(
            start=None if window is None else window.start,
            end=None if window is None else window.end,
            rows=rows,
            metric=metric,
            method=method,
            estimate=value,
            low=low,
            high=high,
            realised=realised[metric],
        )
        for metric, method, value, low, high in estimates
        if metric in realised and np.isfinite(value) and np.isfinite(realised[metric])
    ]


def _standing(metric: str, method: str, group: list[Entry]) -> Standing:
    off = np.array([entry.estimate - entry.realised for entry in group])
    return Standing(
        metric=metric,
        method=method,
        windows=len(group),
        mae=float(np.abs(off).mean()),
        bias=float(off.mean()),
        covered=float(np.mean([entry.low <= entry.realised <= entry.high for entry in group])),
    )
