"""What tests of profiles share: tables as users have them, whole and cut at random."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

from perennial.monitor.profiling.profiles import WindowProfile
from perennial.monitor.profiling.tallies import ColumnTally, LossSums
from perennial.monitor.sample import Sample, sample_of

HOUR = 3_600_000_000


def adult(folder: Path) -> Sample:
    frame = pl.read_csv(folder / "adult_census" / "adult_train.csv.gz", null_values="?")
    return sample_of(frame, target="income")


def bikes(folder: Path) -> Sample:
    """Hours of two years with their event times; the columns that only count time are left out."""
    frame = pl.read_csv(folder / "bike_sharing" / "hour.csv.gz", try_parse_dates=True)
    timed = frame.with_columns(at=pl.col("dteday").cast(pl.Datetime("us")) + pl.duration(hours=pl.col("hr")))
    return sample_of(timed.drop("dteday", "instant", "casual", "registered", "yr"), target="cnt", time="at")


def with_inputs(sample: Sample, inputs: pl.DataFrame) -> Sample:
    return replace(sample, inputs=inputs)


def record(profile: WindowProfile) -> dict[str, Any]:
    """Everything that must add up exactly; sums, which are rounded, apart (see `sums`)."""
    return {
        "rows": profile.rows,
        "columns": {name: _exact(tally) for name, tally in profile.columns.items()},
        "prediction": None if profile.prediction is None else _exact(profile.prediction),
        "label": None if profile.label is None else _exact(profile.label),
        "scores": None if profile.scores is None else profile.scores.tolist(),
        "labelled": None if profile.losses is None else profile.losses.n.tolist(),
        "slices": {name: sums.n.tolist() for name, sums in profile.slices.items()},
        "calendar": None if profile.calendar is None else profile.calendar.tolist(),
        "times": (profile.first, profile.last),
        "distinct": profile.distinct_rows.as_dict(),
    }


def sums(profile: WindowProfile) -> list[float]:
    told: list[float] = []
    for tally in profile.columns.values():
        told += [tally.total, tally.squares, *tally.beyond]
    losses: list[LossSums] = [*profile.slices.values(), *([profile.losses] if profile.losses else [])]
    for one in losses:
        told += [*one.total.tolist(), *one.squares.tolist()]
    return told


def _exact(tally: ColumnTally) -> dict[str, Any]:
    stored = tally.as_dict()
    return {name: value for name, value in stored.items() if name not in ("total", "squares", "beyond")}


NUMBERS = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 1.0, 2.0, float("nan"), float("inf"), float("-inf"), 1e-300, 1e6]),
    st.floats(-100, 100),
)
TEXTS = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "", "ä", "\U0001f6b2"]), st.text(max_size=3))


@st.composite
def samples(draw: st.DrawFn, *, least: int = 0) -> Sample:
    """Rows of a classification with numbers, texts, flags and times, some of them missing."""
    rows = draw(st.integers(least, 40))

    def column(values: st.SearchStrategy[Any], dtype: Any) -> pl.Series:
        return pl.Series(draw(st.lists(values, min_size=rows, max_size=rows)), dtype=dtype)

    labels = st.sampled_from(["no", "yes", None])
    probs = np.array(draw(st.lists(st.floats(0, 1), min_size=rows, max_size=rows)), dtype=np.float64)
    return Sample(
        inputs=pl.DataFrame(
            {
                "n": column(NUMBERS, pl.Float64),
                "whole": column(st.one_of(st.none(), st.integers(-3, 3)), pl.Int64),
                "t": column(TEXTS, pl.String),
                "flag": column(st.one_of(st.none(), st.booleans()), pl.Boolean),
                "when": column(st.one_of(st.none(), st.integers(0, 10**15)), pl.Int64).cast(pl.Datetime("us")),
            }
        ),
        task="classification",
        classes=("no", "yes"),
        predictions=column(st.sampled_from(["no", "yes"]), pl.String),
        labels=column(labels, pl.String),
        probs=np.column_stack([1.0 - probs, probs]),
        at=np.array(draw(st.lists(st.integers(0, 10**14), min_size=rows, max_size=rows)), dtype=np.int64),
    )
