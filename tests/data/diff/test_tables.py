"""What two tables have different, against a definition in plain Python and on two vintages of a real series."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.data.diff.tables import diff_tables
from perennial.data.scan import scan
from perennial.errors import DataError

ROWS = st.dictionaries(
    st.integers(0, 12),
    st.tuples(st.none() | st.integers(0, 2), st.sampled_from(["x", "y", None])),
    min_size=1,
    max_size=10,
)


def frame(rows: dict[int, tuple[int | None, str | None]]) -> pl.DataFrame:
    values = {"id": list(rows), "n": [n for n, _ in rows.values()], "t": [t for _, t in rows.values()]}
    return pl.DataFrame(values, schema={"id": pl.Int64, "n": pl.Int64, "t": pl.String})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, ROWS)
def test_rows_are_matched_by_their_key(
    tmp_path: Path, old: dict[int, tuple[int | None, str | None]], new: dict[int, tuple[int | None, str | None]]
) -> None:
    found = diff_tables(scan(frame(old)), scan(frame(new)), scratch=tmp_path, key=["id"])
    both = old.keys() & new.keys()
    assert (found.rows_before, found.rows_after) == (len(old), len(new))
    assert (found.added, found.removed) == (len(new.keys() - both), len(old.keys() - both))
    assert found.changed == sum(old[key] != new[key] for key in both)
    assert found.unchanged == sum(old[key] == new[key] for key in both)
    by_column = {column.name: column.changed for column in found.columns}
    assert by_column == {"id": 0} | {
        name: sum(old[key][place] != new[key][place] for key in both) for place, name in enumerate(("n", "t"))
    }
    assert found.is_equal == (old == new)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from("abc"), min_size=1), st.lists(st.sampled_from("abc"), min_size=1))
def test_without_a_key_whole_rows_are_counted(tmp_path: Path, old: list[str], new: list[str]) -> None:
    old, new = [*old, "z", "z"], [*new, "z", "z"]  # so that no column tells rows apart
    found = diff_tables(scan(pl.DataFrame({"t": old})), scan(pl.DataFrame({"t": new})), scratch=tmp_path)
    assert found.key == []
    assert found.added == (Counter(new) - Counter(old)).total()
    assert found.removed == (Counter(old) - Counter(new)).total()
    assert found.unchanged == (Counter(old) & Counter(new)).total()


def test_two_vintages_of_a_series_differ_in_119_months(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "clothing_store_sales"
    found = diff_tables(
        scan(folder / "us_clothing_store_sales_monthly_vintage_2023.csv"),
        scan(folder / "us_clothing_store_sales_monthly.csv"),
        scratch=tmp_path,
    )
    assert found.key == ["observation_date"]  # found, though it was called DATE
    assert [column.before_name for column in found.columns] == ["DATE", "RSCCASN"]
    assert (found.added, found.removed, found.changed, found.unchanged) == (16, 0, 119, 260)
    first = found.first_changes[0]
    assert first.key == {"observation_date": "2013-01-01"}
    assert (first.before, first.after) == ("15168.0", "15169")


def test_columns_come_go_and_change_their_type(tmp_path: Path) -> None:
    before = pl.DataFrame({"id": [1, 2], "old": ["p", "q"], "size": [1, 2]})
    after = pl.DataFrame({"id": [1, 2], "size": ["1", "3"], "new": [True, False]})
    found = diff_tables(scan(before), scan(after), scratch=tmp_path)
    assert (found.lost_columns, found.new_columns) == (["old"], ["new"])
    size = found.columns[1]
    assert (size.before_type, size.after_type, size.changed) == ("int64", "string", 1)


def test_a_rename_can_be_told(tmp_path: Path) -> None:
    before, after = pl.DataFrame({"id": [1, 2], "a": [1.5, 2.5]}), pl.DataFrame({"id": [1, 2], "b": [7.5, 8.5]})
    assert diff_tables(scan(before), scan(after), scratch=tmp_path).lost_columns == ["a"]
    found = diff_tables(scan(before), scan(after), scratch=tmp_path, renames={"a": "b"})
    assert (found.lost_columns, found.changed) == ([], 2)
    with pytest.raises(DataError, match="there is no column 'c' after"):
        diff_tables(scan(before), scan(after), scratch=tmp_path, renames={"a": "c"})


def test_a_key_that_is_none_is_refused_with_its_first_value(tmp_path: Path) -> None:
    table = scan(pl.DataFrame({"id": [1, 1, None], "v": [1, 2, 3]}))
    with pytest.raises(DataError, match="1 keys occur in several rows before; the first is '1', in 2 rows"):
        diff_tables(table, table, scratch=tmp_path, key=["id"])
    with pytest.raises(DataError, match="no column 'nr' in both"):
        diff_tables(table, table, scratch=tmp_path, key=["nr"])


def test_missing_keys_and_nan_are_values_like_any_other(tmp_path: Path) -> None:
    before = pl.DataFrame({"id": [1, None], "v": [float("nan"), 1.0]})
    found = diff_tables(scan(before), scan(before), scratch=tmp_path, key=["id"])
    assert (found.added, found.removed, found.changed, found.unchanged) == (0, 0, 0, 2)


def test_any_name_may_be_a_column(tmp_path: Path) -> None:
    odd = pl.DataFrame({'a"b': [1, 2], "select": ["x", "y"], "here": [1, 1], "é\n": [None, 2.0]})
    odd.write_parquet(tmp_path / "it's.parquet")
    changed = odd.with_columns(here=pl.lit(2))
    changed.write_parquet(tmp_path / "other.parquet")
    found = diff_tables(scan(tmp_path / "it's.parquet"), scan(tmp_path / "other.parquet"), scratch=tmp_path / "scratch")
    assert {column.name: column.changed for column in found.columns} == {'a"b': 0, "select": 0, "here": 2, "é\n": 0}
    assert list((tmp_path / "scratch").iterdir()) == []
