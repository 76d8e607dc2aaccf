"""Counts and times of one process, made to be added up: the parent sums over the fronts what `/metrics` tells."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from perennial.serve.orders import Report

__all__ = ["BOUNDS_S", "Counters", "prometheus"]

BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
Labels = tuple[str, ...]

_SAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "requests_total": ("Requests by protocol and answer.", ("endpoint", "protocol", "code")),
    "rows_total": ("Rows answered by a version.", ("endpoint", "version", "arm")),
    "row_errors_total": ("Rows without an answer.", ("endpoint", "version", "arm")),
    "refused_total": ("Requests refused before they were computed.", ("endpoint", "reason")),
    "guards_total": ("Rows on which a guard fired.", ("endpoint", "guard", "action")),
    "fallbacks_total": (
        "Rows that another arm answered than they were meant for.",
        ("endpoint", "arm"),
    ),
    "shadow_rows_total": ("Rows answered by a shadow version.", ("endpoint", "version")),
    "batches_total": ("Calls of a model.", ("model",)),
    "batch_rows_total": ("Rows of these calls.", ("model",)),
    "connections": ("Open connections.", ()),
}


class Counters:
    """Counts by name and labels, and latencies by endpoint and version."""

    __slots__ = ("counts", "latencies")

    def __init__(self) -> None:
        self.counts: dict[tuple[str, Labels], float] = {}
        self.latencies: dict[Labels, tuple[list[int], list[float]]] = {}

    def add(self, name: str, labels: Labels, by: float = 1) -> None:
        key = (name, labels)
        self.counts[key] = self.counts.get(key, 0) + by

    def took(self, labels: Labels, seconds: float) -> None:
        """Count a request of this endpoint and version that took so long."""
        known = self.latencies.get(labels)
        if known is None:
            known = self.latencies[labels] = ([0] * (len(BOUNDS_S) + 1), [0.0])
        known[0][bisect_left(BOUNDS_S, seconds)] += 1
        known[1][0] += seconds

    def told(self) -> tuple[list[tuple[str, Labels, float]], list[tuple[Labels, list[int], float]]]:
        """Everything, as a `Report` holds it."""
        return (
            [(name, labels, value) for (name, labels), value in self.counts.items()],
            [(labels, buckets, total[0]) for labels, (buckets, total) in self.latencies.items()],
        )


def prometheus(reports: Iterable[Report], gauges: dict[str, float]) -> bytes:
    """The sum of these reports in Prometheus' text format, with `gauges` of the whole service."""
    received = stored = dropped = pending = shadow = 0
    counts: dict[tuple[str, Labels], float] = {}
    latencies: dict[Labels, tuple[list[int], float]] = {}
    for report in reports:
        received += report.received
        stored += report.stored
        dropped += report.dropped
        pending += report.pending
        shadow += report.shadow_pending
        for name, labels, value in report.counts:
            key = (name, tuple(labels))
            counts[key] = counts.get(key, 0) + value
        for labels, buckets, total in report.latencies:
            known = latencies.get(tuple(labels), ([0] * len(buckets), 0.0))
            latencies[tuple(labels)] = (
                [a + b for a, b in zip(known[0], buckets, strict=True)], known[1] + total
            )  # fmt: skip
    lines: list[str] = []
    # Rows: received = stored + dropped + pending, at every moment.
    for name, value in (("received", received), ("stored", stored), ("dropped", dropped)):
        lines += _family(f"predictions_{name}_total", f"Rows of predictions {name}.", "counter", [("", value)])
    lines += _family("predictions_pending", "Rows that are being answered.", "gauge", [("", pending)])
    lines += _family("shadow_pending", "Requests whose shadow answer is owed.", "gauge", [("", shadow)])
    for name, value in gauges.items():
        lines += _family(name, f"{name.replace('_', ' ').capitalize()}.", "gauge", [("", value)])
    for name, (says, names) in _SAYS.items():
        found = sorted((labels, value) for (known, labels), value in counts.items() if known == name)
        if found:
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += _family(name, says, kind, [(_labels(names, labels), value) for labels, value in found])
    lines += _histogram(latencies)
    return ("\n".join(lines) + "\n").encode()


def _histogram(latencies: dict[Labels, tuple[list[int], float]]) -> list[str]:
    if not latencies:
        return []
    name = "perennial_request_seconds"
    lines = [f"# HELP {name} From the last byte of a request to its answer.", f"# TYPE {name} histogram"]
    for labels, (buckets, total) in sorted(latencies.items()):
        told = _labels(("endpoint", "version"), labels)
        count = 0
        for bound, rows in zip((*map(str, BOUNDS_S), "+Inf"), buckets, strict=True):
            count += rows
            lines.append(f'{name}_bucket{{{told},le="{bound}"}} {count}')
        lines += [f"{name}_sum{{{told}}} {total:.6f}", f"{name}_count{{{told}}} {count}"]
    return lines


def _family(name: str, says: str, kind: str, values: Sequence[tuple[str, float]]) -> list[str]:
    name = f"perennial_{name}"
    lines = [f"# HELP {name} {says}", f"# TYPE {name} {kind}"]
    return lines + [
        f"{name}{{{labels}}} {_number(value)}" if labels else f"{name} {_number(value)}" for labels, value in values
    ]


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
