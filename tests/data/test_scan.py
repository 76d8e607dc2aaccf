"""A table is read the same way whatever it lies in; a bad file is named with its line and a remedy."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from perennial.data.scan import Scan, scan
from perennial.errors import DataError, NotFound

ROWS = {"i": [1, 2, 3], "f": [0.5, None, 1.5], "s": ["a", "b,c", 'd "e"'], "b": [True, False, None]}
TABLE = pa.table(ROWS)


def written(folder: Path, name: str) -> Path:
    path, frame = folder / name, pl.DataFrame(ROWS)
    match name.partition(".")[2]:
        case "parquet":
            pq.write_table(TABLE, path)
        case "csv":
            frame.write_csv(path)
        case "csv.gz":
            path.write_bytes(gzip.compress(frame.write_csv().encode()))
        case "tsv":
            frame.write_csv(path, separator="\t")
        case "jsonl":
            frame.write_ndjson(path)
        case "arrow":
            with ipc.new_file(path, TABLE.schema) as sink:
                sink.write_table(TABLE)
    return path


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz", "t.tsv", "t.jsonl", "t.arrow"])
def test_a_table_is_the_same_in_every_format_and_in_every_way_of_reading(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    found = scan(path)
    assert found.table().to_pydict() == ROWS
    assert found.lazy().collect().to_dict(as_series=False) == ROWS
    assert found.lazy().filter(pl.col("i") > 1).select("s").collect()["s"].to_list() == ["b,c", 'd "e"']
    assert [batch.height for batch in found.batches(rows=2)] == [2, 1]
    assert next(found.batches(columns=["s", "i"])).columns == ["s", "i"]
    assert (found.count(), found.types()["f"]) == (3, "float64")
    from_bytes = Scan(format=found.format, parts=(path.read_bytes(),), says="bytes")
    assert from_bytes.lazy().collect().to_dict(as_series=False) == ROWS


def bad(path: Path, content: str | bytes) -> DataError:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        scan(path).table()
    assert str(path) in caught.value.where
    assert caught.value.remedy
    with pytest.raises(DataError, match=re.escape(caught.value.what)):
        scan(path).lazy().collect()
    return caught.value


@pytest.mark.parametrize(
    "content, says, line",
    [
        ("a,b,c\n1,2,3\n4,5\n6,7,8\n", "line 3 has 2 fields where the header has 3", 3),
        ('a,b\n"x\ny",1\n4,5,6\n', "line 4 has 3 fields where the header has 2", 4),
        ("a,b\n1,2\n3;4\n", "line 3 has 1 fields where the header has 2: from here on it is separated by ';'", 3),
        ('a,b\n1,"x\n2,y\n3,z\n', "a quote opens and never closes", 2),
        ("a,b\n1,x\n2,é\n".encode("latin1"), "the text is not UTF-8: byte 0xe9 at position 10", 3),
        ("a,b\n1,2\n".encode("utf-16"), "the text is UTF-16", None),
        ("", "the file is empty", None),
        ("\n \n", "the file is empty", None),
        ("1,2\n3,4\n", "the first line holds values, not names of columns: 1, 2", 1),
        ("a,a\n1,2\n", "two columns are named 'a'", 1),
        ("a,\n1,2\n", "a column has no name", 1),
    ],
)
def test_a_bad_csv_is_refused_with_its_line(tmp_path: Path, content: str | bytes, says: str, line: int | None) -> None:
    error = bad(tmp_path / "bad.csv", content)
    assert error.what.startswith(says)
    assert line is None or error.where.endswith(f"line {line}")


def test_a_bad_line_far_down_is_found(tmp_path: Path) -> None:
    rows = "1,x\n" * 1_500_000
    assert bad(tmp_path / "a.csv", "a,b\n" + rows + "1\n").where.endswith("line 1500002")
    assert bad(tmp_path / "b.csv", ("a,b\n" + rows + "2,é\n").encode("latin1")).where.endswith("line 1500002")


@pytest.mark.parametrize(
    "content, kind, values",
    [
        ("\ufeffa;b\n1;2\n", "int64", [1]),  # a byte order mark, and another separator
        ('a,b\n1,5" pipe\n', "int64", [1]),  # a lone quote within a text
        ("a\n" + "1\n" * 900_000 + "2.5\n", "float64", None),  # beyond what a sample would show
        ("a\n" + "1\n" * 900_000 + "none\n", "string", None),
        ("a\n" + "\n" * 2_000_000 + "2020-01-01\n", "date", None),
        ('a,b\n"",1\n,2\n', "string", ["", None]),
        ("a,b\n2020-01-01,1\n2020-01-01 10:00:00,2\n", "datetime", None),
    ],
)
def test_a_csv_column_has_the_type_that_fits_all_its_values(
    tmp_path: Path, content: str, kind: str, values: list[Any] | None
) -> None:
    (tmp_path / "t.csv").write_text(content)
    found = scan(tmp_path / "t.csv")
    assert found.types()["a"] == kind
    assert values is None or found.table().column("a").to_pylist() == values


@pytest.mark.parametrize(
    "content, says",
    [
        ('{"a":1}\n{"a":\n{"a":3}\n', "line 2 is not JSON"),
        ('{"a":1}\n[2]\n', "line 2 is not an object"),
        ('{"a":1}\n{"a":2', "line 2 is not JSON"),
        ("", "the file is empty"),
    ],
)
def test_bad_json_lines_are_refused_with_their_number(tmp_path: Path, content: str, says: str) -> None:
    assert bad(tmp_path / "bad.jsonl", content).what.startswith(says)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.csv.gz"])
def test_a_truncated_file_is_called_so(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    assert bad(path, path.read_bytes()[:-12]).what.startswith("the file is cut off or damaged")
    assert bad(path, b"").what == "the file is empty"


def test_another_thing_under_the_name_of_a_format_is_no_such_file(tmp_path: Path) -> None:
    assert bad(tmp_path / "t.parquet", "a,b\n1,2\n").what.startswith("this is no Parquet file")


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv")
    found = scan(path)
    batches = found.batches(rows=1)
    next(batches)
    with path.open("a") as file:
        file.write("4,1.0,x,true\n")
    with pytest.raises(DataError, match="the file changed while it was read"):
        list(batches)
    with pytest.raises(DataError, match="the file changed while it was read"):
        list(found.batches())  # nor is it read another way than it was looked at
    assert scan(path).count() == 4


def test_numbers_of_two_types_in_a_folder_are_one_column_of_floats(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,s\n1,a\n")
    (tmp_path / "b.csv").write_text("x,s\n2.5,\n")
    found = scan(tmp_path)
    assert found.types() == {"x": "float64", "s": "string"}
    assert found.table().to_pydict() == {"x": [1.0, 2.5], "s": ["a", None]}
    assert found.lazy().collect()["x"].to_list() == [1.0, 2.5]
    for i, table in enumerate((pa.table({"x": [1]}), pa.table({"x": [0.5]}))):
        pq.write_table(table, (tmp_path / f"{i}.parquet"))
    parts = tuple(sorted(tmp_path.glob("*.parquet")))
    assert Scan(format="parquet", parts=parts, says="x").lazy().collect()["x"].to_list() == [1.0, 0.5]


@pytest.mark.parametrize(
    "second, says",
    [
        ("x,s\nlots,b\n", "column 'x' holds string, in the files before it int64"),
        ("x\n1\n", "there is no column 's'"),
        ("x,s,z\n1,a,2\n", "there is no column 'z'"),
    ],
)
def test_a_file_that_differs_from_the_others_is_named(tmp_path: Path, second: str, says: str) -> None:
    (tmp_path / "a.csv").write_text("x,s\n1,a\n")
    (tmp_path / "b.csv").write_text(second)
    with pytest.raises(DataError, match=says) as caught:
        scan(tmp_path).table()
    assert "b.csv" in str(caught.value)


def test_the_texts_of_a_csv_are_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,s\n007,\n1.50,a\n")
    assert next(scan(tmp_path / "a.csv").texts()).to_dict(as_series=False) == {"x": ["007", "1.50"], "s": [None, "a"]}


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        scan(tmp_path / "none.csv")
    (tmp_path / "cat.png").write_bytes(b"x")
    with pytest.raises(DataError, match="this is no table"):
        scan(tmp_path)


def test_a_refused_file_ends_the_command_and_does_not_abort_the_process(tmp_path: Path) -> None:
    (tmp_path / "ragged.csv").write_text("a,b,c\n1,2,3\n4,5\n")
    words = [sys.executable, "-m", "perennial", "data", "profile", "ragged.csv"]
    # Several: threads that still read when the interpreter ends take it down now and then only.
    running = [subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ended = [(process.communicate()[1], process.returncode) for process in running]
    assert [code for _, code in ended] == [2] * 4, ended
    assert "line 3 has 2 fields" in ended[0][0]
