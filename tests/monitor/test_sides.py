"""Two tables become two samples of one shape, and what cannot be compared is named."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from perennial.errors import Invalid
from perennial.monitor.reporting.sides import Roles, two_sides

N = 300


def table(**columns: object) -> pl.DataFrame:
    return pl.DataFrame({"x": np.arange(N) % 7 * 1.0, **columns})


def test_both_sides_know_the_classes_of_both_in_one_order() -> None:
    before = table(y=["no", "yes"] * (N // 2), p=[0.2, 0.9] * (N // 2))
    now = table(y=["no"] * N, p=[0.3] * N)
    sides = two_sides(before, now, Roles(target="y", probs="p"))
    assert sides.reference.classes == sides.current.classes == ("no", "yes")
    assert sides.current.probs is not None
    assert sides.current.probs[0].tolist() == pytest.approx([0.7, 0.3])
    assert sides.current.predictions is not None
    assert set(sides.current.predictions) == {"no"}


def test_what_one_side_has_not_is_none_there() -> None:
    before = table(y=["a", "b", "c"] * (N // 3), pa=[0.5] * N, pb=[0.3] * N, pc=[0.2] * N)
    probs = {"a": "pa", "b": "pb", "c": "pc"}
    sides = two_sides(before, table(), Roles(target="y", probs=probs))
    assert sides.reference.labels is not None
    assert sides.reference.probs is not None
    assert (sides.current.labels, sides.current.probs, sides.current.at) == (None, None, None)
    assert sides.current.inputs.columns == ["x"]


@pytest.mark.parametrize(
    "name, column, why",
    [
        ("row", np.arange(N), "a row counter"),
        ("key", [f"order {i}" for i in range(N)], "a key"),
        ("made", pl.Series(np.arange(N)).cast(pl.Datetime("us")), "a moment"),
        ("empty", pl.Series([None] * N), "empty in both tables"),
        ("list", [[1.0]] * N, "no numbers and no categories"),
    ],
)
def test_what_would_always_differ_is_left_out_and_named(name: str, column: object, why: str) -> None:
    sides = two_sides(table(**{name: column}), table(**{name: column}), Roles())
    assert sides.reference.inputs.columns == ["x"]
    assert why in sides.left_out[name]


def test_a_column_of_whole_numbers_that_is_no_counter_is_compared() -> None:
    sides = two_sides(table(age=np.arange(N) % 80), table(age=np.arange(N) % 80), Roles())
    assert sides.reference.inputs.columns == ["x", "age"]


def test_a_column_of_one_table_is_left_out() -> None:
    sides = two_sides(table(old=[1] * N), table(new=[1] * N), Roles())
    assert sides.left_out == {"old": "not in the current table", "new": "not in the reference table"}


def test_a_column_that_lost_all_its_values_is_still_compared() -> None:
    sides = two_sides(table(z=[1.5] * N), table(z=pl.Series([None] * N)), Roles())
    assert sides.current.inputs["z"].dtype == pl.Float64
    assert sides.current.inputs["z"].null_count() == N


@pytest.mark.parametrize("scale", [1, 1_000, 1_000_000], ids=["seconds", "milliseconds", "microseconds"])
def test_unix_time_is_told_by_its_size(scale: int) -> None:
    day = 1_483_056_000 * scale  # 2016-12-30, as the taxi trips write it in seconds
    sides = two_sides(table(t=[day] * N), table(t=[day] * N), Roles(time="t"))
    assert sides.current.at is not None
    assert pl.Series(sides.current.at[:1]).cast(pl.Datetime("us")).dt.to_string("%Y-%m-%d")[0] == "2016-12-30"


def test_columns_that_do_not_agree_are_a_sentence() -> None:
    with pytest.raises(Invalid, match=r"y holds List\(Int64\) and Int64"):
        two_sides(table(y=[[1]] * N), table(y=[1] * N), Roles(target="y"))
    with pytest.raises(Invalid, match="no column 'nowhere' in either table"):
        two_sides(table(), table(), Roles(target="nowhere"))
    with pytest.raises(Invalid, match="the current table has no rows"):
        two_sides(table(), table().clear(), Roles())
    with pytest.raises(Invalid, match="share no column"):
        two_sides(table().rename({"x": "a"}), table().rename({"x": "b"}), Roles())
