"""Measure a row of batches and judge the newest by the others."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from perennial.data.history.guard import BUDGET, Guard, Unusual, judge, learn
from perennial.data.history.metrics import BatchMetrics, measure
from perennial.data.scan import Scan

__all__ = ["judge_newest", "measured"]

KEPT = 60  # batches that are looked back on; what was usual long before says little about the next one
MOST_ROWS = 2_000_000  # of a batch that are measured, the first ones


def judge_newest(batches: Sequence[Scan], *, budget: float = BUDGET) -> tuple[Guard, list[Unusual]]:
    """What is unusual about the last of these batches, given all before it.

    Args:
        batches: Oldest first. Of a batch larger than MOST_ROWS only the first rows are measured, and cutting it off
            behind them is not noticed; its number of rows is the schema's business (`min_rows`).
        budget: Probability that a sound batch is called unusual.

    Raises:
        DataError: Fewer than 9 batches.
    """
    history: list[BatchMetrics] = []
    rows: list[pl.DataFrame] = []
    for batch in batches[-KEPT - 1 :]:
        frame = measured(batch)
        history.append(measure(frame, history[-1] if history else None))
        rows = [*rows[-2:], frame]
    guard = learn(
        history[:-1],
        last=rows[-2] if len(rows) > 1 else None,
        before_last=rows[-3] if len(rows) > 2 else None,
        budget=budget,
    )
    return guard, judge(guard, history[-1])


def measured(batch: Scan) -> pl.DataFrame:
    """The rows of a batch that are measured: all, up to MOST_ROWS."""
    frames: list[pl.DataFrame] = []
    left = MOST_ROWS
    for frame in batch.batches():
        frames.append(frame.head(left))
        left -= frames[-1].height
        if left <= 0:
            break
    return pl.concat(frames, how="vertical_relaxed") if frames else batch.lazy().collect()
