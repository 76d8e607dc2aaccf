"""Files and functions as sources: collected whole, or only what is new."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from perennial.data import collect as collecting
from perennial.data import sources
from perennial.data.catalog import Catalog
from perennial.data.collect import Terms, collect
from perennial.data.datasets import DatasetVersion
from perennial.data.scan import scan_version
from perennial.data.tables import read_manifest
from perennial.errors import DataError, Invalid, NotFound


def rows(catalog: Catalog, version: DatasetVersion) -> dict[str, list[Any]]:
    return scan_version(version, catalog.objects, catalog.scratch).table().to_pydict()


def test_files_of_a_pattern_are_one_dataset(catalog: Catalog, tmp_path: Path) -> None:
    for name, number in (("b.csv", 2), ("a.csv", 1), ("other.txt", 3)):
        (tmp_path / name).write_text(f"x,s\n{number},t\n")
    source = sources.files(tmp_path / "*.csv")
    first = collect(source, name="numbers", rooms=catalog)
    assert rows(catalog, first) == {"x": [1, 2], "s": ["t", "t"]}
    assert first.source == {"kind": "files", "path": str(tmp_path / "*.csv"), "files": 2}
    assert collect(source, name="numbers", rooms=catalog) == first
    assert collect(pl.DataFrame({"x": [2, 1], "s": ["t", "t"]}), name="numbers", rooms=catalog) == first
    with pytest.raises(NotFound, match="no file matches"):
        collect(sources.files(tmp_path / "*.parquet"), name="numbers", rooms=catalog)


def test_a_bad_file_leaves_the_dataset_as_it_was(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    first = collect(sources.files(tmp_path / "a.csv"), name="numbers", rooms=catalog)
    (tmp_path / "a.csv").write_text("x\n1,2\n")
    with pytest.raises(DataError, match="line 2 has 2 fields"):
        collect(sources.files(tmp_path / "a.csv"), name="numbers", rooms=catalog)
    assert catalog.datasets.list() == [first]


def test_with_a_cursor_only_newer_rows_are_fetched_and_appended(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("day,x\n2024-01-01,1\n2024-01-02,2\n")
    source = sources.files(path, cursor="day")
    first = collect(source, name="days", rooms=catalog)
    assert first.source is not None
    assert first.source["cursor"] == {"column": "day", "value": "2024-01-02", "type": "date32[day]"}
    assert collect(source, name="days", rooms=catalog) == first
    path.write_text("day,x\n2024-01-03,3\n2024-01-02,99\n2024-01-04,4\n")  # a late row is not seen
    second = collect(source, name="days", rooms=catalog)
    assert rows(catalog, second)["x"] == [1, 2, 3, 4]
    assert (second.rows, second.parent, second.changes) == (4, 1, {"rows": 2, "columns": 0})
    assert second.source is not None
    assert second.source["cursor"]["value"] == "2024-01-04"
    old, new = (read_manifest(version.stored, catalog.objects).files for version in (first, second))
    assert new[: len(old)] == old


def test_an_overlap_finds_late_rows_and_drops_known_ones(catalog: Catalog) -> None:
    table = pl.DataFrame({"t": [1, 2, 3, 3], "x": [10, 20, 30, 30]})
    source = sources.function(lambda: table, cursor="t", overlap=2)
    collect(source, name="late", rooms=catalog)
    table = pl.DataFrame({"t": [0, 2, 2, 3, 3, 3, 4], "x": [0, 20, 21, 30, 30, 30, 40]})
    second = collect(source, name="late", rooms=catalog)
    assert sorted(rows(catalog, second)["x"]) == [10, 20, 21, 30, 30, 30, 40]
    assert collect(source, name="late", rooms=catalog) == second
    with pytest.raises(Invalid, match="overlap of '1h'"):
        collect(sources.function(lambda: table, cursor="t", overlap="1h"), name="late", rooms=catalog)


def test_a_function_is_told_where_to_go_on(catalog: Catalog) -> None:
    told: list[object] = []

    def orders(after: int | None) -> Iterator[list[dict[str, Any]]]:
        told.append(after)
        start = 0 if after is None else after + 1
        for number in range(start, start + 3):
            yield [{"number": number, "name": None if number < 4 else "late"}]

    source = sources.function(orders, cursor="number")
    first = collect(source, name="orders", rooms=catalog)
    assert rows(catalog, first) == {"number": [0, 1, 2], "name": [None] * 3}
    assert told == [None]
    second = collect(source, name="orders", rooms=catalog)
    # A column that held nothing has a type now: everything is collected anew, and a person decides.
    assert told == [None, 2, None]
    assert (second.version, second.state) == (1, "accepted")


def test_other_columns_than_before_are_collected_anew_as_a_draft(catalog: Catalog) -> None:
    table = pl.DataFrame({"t": [1, 2], "x": [1, 2]})
    source = sources.function(lambda: table, cursor="t")
    collect(source, name="wide", rooms=catalog)
    table = pl.DataFrame({"t": [1, 2, 3], "z": [1, 2, 3]})
    second = collect(source, name="wide", rooms=catalog)
    assert (second.state, second.rows) == ("draft", 3)
    assert any("'x' is gone" in violation.says for violation in second.violations)
    assert catalog.datasets.get(name="wide").version == 1


@pytest.mark.parametrize("column, says", [("nothing", "there is no column 'nothing'"), ("flag", "tells nothing")])
def test_a_cursor_must_be_a_column_that_grows(catalog: Catalog, column: str, says: str) -> None:
    table = pl.DataFrame({"t": [1, 2], "flag": [True, False]})
    with pytest.raises(DataError, match=says):
        collect(sources.function(lambda: table, cursor=column), name="bad", rooms=catalog)


def test_pieces_of_different_types_are_one_column_or_an_error(catalog: Catalog) -> None:
    good = [pl.DataFrame({"x": [1]}), pl.DataFrame({"x": [2.5]}), pl.DataFrame({"x": [None]})]
    made = collect(sources.function(lambda: iter(good)), name="mixed", rooms=catalog)
    assert rows(catalog, made) == {"x": [1.0, 2.5, None]}
    bad = [pl.DataFrame({"x": [1]}), pl.DataFrame({"x": ["a"]})]
    with pytest.raises(DataError, match="column 'x' holds string, in the files before it int64"):
        collect(sources.function(lambda: iter(bad)), name="mixed", rooms=catalog)
    with pytest.raises(DataError, match="gave nothing"):
        collect(sources.function(lambda: iter([])), name="mixed", rooms=catalog)


@pytest.mark.parametrize("make", [lambda frame: frame.lazy(), lambda frame: sources.function(lambda: frame)])
def test_what_is_large_is_stored_as_it_comes(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    monkeypatch.setattr(collecting, "MEMORY_BYTES", 1 << 10)
    frame = pl.DataFrame({"x": range(1000, 0, -1)})
    first = collect(make(frame), name="large", rooms=catalog, terms=Terms(target="x"))
    assert read_manifest(first.stored, catalog.objects).format == 2
    assert rows(catalog, first)["x"] == frame["x"].to_list()
    assert collect(make(frame), name="large", rooms=catalog) == first
    more = pl.concat([frame, pl.DataFrame({"x": [-1]})])
    second = collect(make(more), name="large", rooms=catalog)
    assert [file.rows for file in read_manifest(second.stored, catalog.objects).files] == [1000, 1]
    with pytest.raises(DataError, match="the target 'x' is missing in 1 of") as caught:
        collect(
            make(pl.concat([frame, pl.DataFrame({"x": [None]}, schema={"x": pl.Int64})])),
            name="large",
            rooms=catalog,
            terms=Terms(target="x"),
        )
    assert caught.value.where == "first in row 1000"
    assert len(catalog.datasets.list()) == 2


def test_nothing_heavy_is_imported_before_a_source_is_read() -> None:
    script = (
        "import sys, perennial.data.sources; print(*({'polars', 'pyarrow', 'sqlalchemy', 'numpy'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
