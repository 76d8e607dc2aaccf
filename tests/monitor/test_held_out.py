"""The rows that a version was judged on survive being stored."""

from __future__ import annotations

import numpy as np
import polars as pl

from perennial.monitor.held_out import MAX_ROWS, from_parquet, to_parquet
from perennial.monitor.sample import Sample


def sample(rows: int) -> Sample:
    draw = np.random.default_rng(0)
    probs = draw.dirichlet([1.0, 2.0, 3.0], rows)
    classes = ("7", "b", "ü")
    return Sample(
        inputs=pl.DataFrame({"prediction": draw.normal(size=rows), "kind": draw.choice(["x", "y"], rows)}),
        task="classification",
        classes=classes,
        predictions=pl.Series([classes[place] for place in probs.argmax(axis=1)]),
        probs=probs,
        labels=pl.Series([None, *draw.choice(classes, rows - 1).tolist()], dtype=pl.String),
        at=np.arange(rows, dtype=np.int64) * 1_000_000,
    )


def test_every_part_of_the_rows_comes_back_also_a_column_that_is_called_like_a_part() -> None:
    kept = sample(100)
    back = from_parquet(to_parquet(kept))
    assert back.inputs.equals(kept.inputs)
    assert (back.task, back.classes) == (kept.task, kept.classes)
    assert back.probs is not None
    assert kept.probs is not None
    assert back.at is not None
    assert kept.at is not None
    assert np.array_equal(back.probs, kept.probs)
    assert np.array_equal(back.at, kept.at)
    assert back.labels is not None
    assert back.labels.to_list() == (kept.labels.to_list() if kept.labels is not None else 0)
    assert np.array_equal(back.losses(), kept.losses(), equal_nan=True)


def test_numbers_without_truth_probabilities_or_times_come_back() -> None:
    kept = Sample(inputs=pl.DataFrame({"a": [1, None]}), task="regression", predictions=pl.Series([0.5, None]))
    back = from_parquet(to_parquet(kept))
    assert (back.labels, back.probs, back.at, back.classes) == (None, None, None, ())
    assert back.inputs.equals(kept.inputs)
    assert not back.is_labelled.any()


def test_of_many_rows_an_even_part_is_kept_with_the_first_and_the_last() -> None:
    kept = sample(MAX_ROWS * 2)
    back = from_parquet(to_parquet(kept))
    assert back.rows == MAX_ROWS
    assert back.at is not None
    assert (back.at[0], back.at[-1]) == (0, (2 * MAX_ROWS - 1) * 1_000_000)
