"""Figures beside their limits and peers: collect them, print one JSON line each, and the table at the end."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alternating(rounds: int, warm: int, works: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Wall seconds of each piece of work, all of them once in each round, so that a noisy minute meets all alike."""
    for _ in range(warm):
        for work in works.values():
            work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(timed(work))
    return taken


@dataclass(frozen=True)
class Figure:
    """Values of one measurement. `unit` "s", "ms", "us" or "MB" is better when small, "x/s" when large."""

    who: str
    values: Sequence[float]
    unit: str

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def is_rate(self) -> bool:
        return self.unit.endswith("/s")

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        spread = f" ({short(low)}–{short(high)})" if len(self.values) > 1 else ""
        return f"{short(self.median)}{spread} {self.unit}"


class Report:
    """What was measured, in order."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, Figure, tuple[Figure, ...], str]] = []
        self._texts: list[str] = []

    def add(self, work: str, ours: Figure, *beside: Figure, aim: str = "") -> None:
        """One piece of work: our figure, those of the same run beside it, and the aim."""
        self._rows.append((work, ours, beside, aim))
        for figure in (ours, *beside):
            line = {
                "work": work,
                "who": figure.who,
                "unit": figure.unit,
                "median": significant(figure.median),
                "min": significant(min(figure.values)),
                "max": significant(max(figure.values)),
                "n": len(figure.values),
            }
            print(json.dumps(line), flush=True)

    def text(self, markdown: str) -> None:
        """Something that is told below the table, such as a table of its own."""
        self._texts.append(markdown)

    def table(self) -> str:
        """Markdown. A ratio above 1 says how many times as long (or as much) ours takes."""
        lines = ["| work | Perennial | beside it | its figure | ratio | aim |", "|---|---|---|---|---|---|"]
        for work, ours, beside, aim in self._rows:
            told = (work, str(ours), aim)
            for other in beside or (None,):
                name, figure, ratio = (other.who, str(other), _ratio(ours, other)) if other else ("", "", "")
                lines.append(f"| {told[0]} | {told[1]} | {name} | {figure} | {ratio} | {told[2]} |")
                told = ("", "", "")
        return "\n\n".join(["\n".join(lines), *self._texts])


def _ratio(ours: Figure, other: Figure) -> str:
    if ours.unit != other.unit:
        return ""
    longer = other.median / ours.median if ours.is_rate else ours.median / other.median
    return short(longer)


def significant(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


def short(value: float) -> str:
    """Three digits that matter, thousands with a comma."""
    rounded = significant(value, 3)
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


@contextmanager
def neighbours(subject: str, heard: list[tuple[str, float, float]]) -> Generator[None]:
    """Append (subject, seconds, cores that other processes used meanwhile); ours are those that ended by then."""

    def busy() -> float:
        told = psutil.cpu_times()
        return sum(told) - told.idle - getattr(told, "iowait", 0.0) - getattr(told, "guest", 0.0)

    began, all_before, ours_before = time.monotonic(), busy(), sum(os.times()[:4])
    yield
    seconds = time.monotonic() - began
    others = (busy() - all_before) - (sum(os.times()[:4]) - ours_before)
    heard.append((subject, seconds, max(0.0, others / seconds)))


def machine(folder: Path) -> str:
    """The class of machine in one line, with what a flush to this disk costs."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{_processor()}, {psutil.cpu_count()} cores, {memory:.0f} GB, {platform.system()}, "
        f"Python {platform.python_version()}; fsync of 4 KB: median {flush_ms(folder):.2f} ms"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def flush_ms(folder: Path, rounds: int = 100) -> float:
    path, taken = folder / "flush", []
    with path.open("wb", buffering=0) as file:
        for _ in range(rounds):
            file.write(bytes(4096))
            taken.append(timed(lambda: os.fsync(file.fileno())))
    path.unlink()
    return statistics.median(taken) * 1e3
