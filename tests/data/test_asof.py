"""Features as they were known at each row's time: nothing of the future, nothing lost, every engine alike."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.data.asof import asof_join, asof_join_files
from perennial.errors import DataError

TIMES = st.integers(0, 20)
PEOPLE = st.sampled_from(["a", "b", "c"])
LABELS = st.lists(st.tuples(PEOPLE, TIMES), max_size=20)
FEATURES = st.dictionaries(st.tuples(PEOPLE, TIMES), st.integers(0, 99), max_size=20)


def frames(labels: list[tuple[str, int]], features: dict[tuple[str, int], int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    left = pl.DataFrame(
        {"who": [who for who, _ in labels], "at": [at for _, at in labels]}, schema={"who": pl.String, "at": pl.Int64}
    )
    right = pl.DataFrame(
        {"who": [who for who, _ in features], "seen": [at for _, at in features], "value": list(features.values())},
        schema={"who": pl.String, "seen": pl.Int64, "value": pl.Int64},
    )
    return left, right


def by_definition(
    labels: list[tuple[str, int]],
    features: dict[tuple[str, int], int],
    *,
    delay: int,
    tolerance: int | None,
    equal: bool,
) -> list[int | None]:
    answers: list[int | None] = []
    for who, at in labels:
        known = [
            seen for whose, seen in features if whose == who and (seen + delay < at or (equal and seen + delay == at))
        ]
        newest = max(known, default=None)
        is_fresh = newest is not None and (tolerance is None or at - newest <= tolerance)
        answers.append(features[who, newest] if is_fresh and newest is not None else None)
    return answers


@settings(max_examples=150, deadline=None)
@given(LABELS, FEATURES, st.integers(0, 5), st.none() | st.integers(0, 10), st.booleans())
def test_each_row_gets_the_newest_that_was_known(
    labels: list[tuple[str, int]],
    features: dict[tuple[str, int], int],
    delay: int,
    tolerance: int | None,
    equal: bool,
) -> None:
    left, right = frames(labels, features)
    made = asof_join(
        left, right, time="at", feature_time="seen", by="who", delay=delay, tolerance=tolerance, include_equal=equal
    )
    assert made.select("who", "at").rows() == labels
    expected = by_definition(labels, features, delay=delay, tolerance=tolerance, equal=equal)
    assert made["value"].to_list() == expected


@settings(max_examples=100, deadline=None)
@given(LABELS, FEATURES, TIMES)
def test_what_comes_later_changes_nothing(
    labels: list[tuple[str, int]], features: dict[tuple[str, int], int], now: int
) -> None:
    early = [(who, at) for who, at in labels if at <= now]
    left, right = frames(early, features)
    poisoned = right.with_columns(value=pl.when(pl.col("seen") >= now).then(-999).otherwise(pl.col("value")))
    honest = asof_join(left, right, time="at", feature_time="seen", by="who")
    assert asof_join(left, poisoned, time="at", feature_time="seen", by="who").equals(honest)


@pytest.mark.parametrize("tolerance", [None, "2d"])
@pytest.mark.parametrize("equal", [False, True])
def test_files_are_joined_as_frames_are(tmp_path: Path, tolerance: str | None, equal: bool) -> None:
    day = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    left = pl.DataFrame(
        {"who": [1, 2, 1, 3] * 50, "at": [day + dt.timedelta(hours=7 * i) for i in range(200)], "n": range(200)}
    ).sample(fraction=1.0, shuffle=True, seed=0)
    right = pl.DataFrame(
        {"who": [1, 2] * 30, "seen": [day + dt.timedelta(hours=21 * i) for i in range(60)], "value": range(60)}
    )
    left.write_parquet(tmp_path / "labels.parquet")
    right.write_csv(tmp_path / "features.csv")
    options: dict[str, Any] = {
        "time": "at",
        "feature_time": "seen",
        "by": "who",
        "delay": "6h",
        "tolerance": tolerance,
        "include_equal": equal,
    }
    made = asof_join_files(
        tmp_path / "labels.parquet", tmp_path / "features.csv", tmp_path / "out.parquet", scratch=tmp_path, **options
    )
    expected = asof_join(left, right, **options)
    assert made.lazy().collect().rows() == expected.rows()
    assert expected["value"].null_count() not in (0, 200)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.csv", "labels.parquet", "out.parquet"]


def test_a_day_is_known_when_it_is_over() -> None:
    labels = pl.DataFrame({"at": [dt.date(2024, 1, 2), dt.date(2024, 1, 3)]})
    sales = pl.DataFrame({"day": [dt.date(2024, 1, 1), dt.date(2024, 1, 2)], "sales": [10, 20]})
    assert asof_join(labels, sales, time="at", feature_time="day", delay="1d")["sales"].to_list() == [None, 10]
    assert asof_join(labels, sales, time="at", feature_time="day", delay="1d", include_equal=True)[
        "sales"
    ].to_list() == [10, 20]


def test_a_pandas_frame_comes_back_as_one() -> None:
    labels = pd.DataFrame({"at": pd.to_datetime(["2024-01-02", "2024-01-01"])})
    features = pd.DataFrame({"at": pd.to_datetime(["2024-01-01"]), "value": [7.0]})
    made = asof_join(labels, features, time="at")
    assert isinstance(made, pd.DataFrame)
    assert made["value"].fillna(-1).to_list() == [7.0, -1.0]


@pytest.mark.parametrize(
    "labels, features, options, says",
    [
        ({"at": [1]}, {"at": [0], "v": [1]}, {"by": "who"}, "the rows have no column 'who'"),
        ({"at": [1]}, {"seen": [0], "v": [1]}, {}, "the features have no column 'at'"),
        ({"at": [1, None]}, {"at": [0], "v": [1]}, {}, "the time 'at' is missing in 1 of the rows"),
        ({"at": [1]}, {"at": [0, 0], "v": [1, 2]}, {}, "several features have the time 0"),
        ({"at": [1], "v": [2]}, {"at": [0], "v": [1]}, {}, "both the rows and the features have a column 'v'"),
        ({"at": [1]}, {"at": ["x"], "v": [1]}, {}, "'at' is String, which is no time"),
        ({"at": [1]}, {"at": [dt.date(2024, 1, 1)], "v": [1]}, {}, "cannot be compared"),
        ({"at": [1]}, {"at": [0], "v": [1]}, {"delay": "1d"}, "the times are numbers"),
        ({"at": [dt.date(2024, 1, 1)]}, {"at": [dt.date(2024, 1, 1)], "v": [1]}, {"delay": 3}, "of no unit"),
    ],
)
def test_what_cannot_be_joined_says_why(
    labels: dict[str, Any], features: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        asof_join(pl.DataFrame(labels), pl.DataFrame(features), time="at", **options)
