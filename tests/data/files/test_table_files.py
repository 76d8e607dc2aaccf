"""Added files that hold one table have rows and a schema, and are held against the one that is accepted."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import polars as pl
import pytest
from msgspec.structs import replace

from perennial.data.catalog import Catalog
from perennial.data.files.add import add
from perennial.data.scan import scan_version
from perennial.errors import DataError, Refused

FRAME = pl.DataFrame({"id": range(200), "wage": [1.5 + index for index in range(200)], "sex": ["f", "m"] * 100})


def write(path: Path, frame: pl.DataFrame = FRAME) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.name.split(".")[1:]:
        case ["csv"]:
            frame.write_csv(path)
        case ["csv", "gz"]:
            path.write_bytes(gzip.compress(frame.write_csv().encode()))
        case ["parquet"]:
            frame.write_parquet(path)
        case ["jsonl"]:
            frame.write_ndjson(path)
        case _:
            frame.write_ipc(path)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "t.jsonl", "t.arrow"])
def test_a_file_with_a_table_has_rows_and_a_schema(catalog: Catalog, tmp_path: Path, name: str) -> None:
    version = add(write(tmp_path / name), "t", catalog)
    assert (version.kind, version.rows, version.state) == ("files", 200, "accepted")
    assert [column.name for column in version.schema.columns] == ["id", "wage", "sex"]
    accepted = catalog.schemas.get(name="t")
    assert accepted is not None
    assert accepted.schema.columns == version.schema.columns
    scan = scan_version(version, catalog.objects, catalog.scratch)
    assert scan.lazy().collect()["wage"].to_list() == FRAME["wage"].to_list()


def test_a_large_file_that_lies_in_chunks_is_scanned(catalog: Catalog, tmp_path: Path) -> None:
    rows = 1_200_000
    pl.DataFrame({"x": pl.int_range(rows, eager=True), "y": pl.int_range(rows, eager=True) * 7}).write_csv(
        tmp_path / "t.csv"
    )
    assert (tmp_path / "t.csv").stat().st_size > 16 << 20
    version = add(tmp_path / "t.csv", "t", catalog)
    assert version.rows == rows
    for _ in range(2):
        scan = scan_version(version, catalog.objects, catalog.scratch)
        assert int(scan.lazy().select(pl.col("y").sum()).collect().item()) == 7 * rows * (rows - 1) // 2


def test_a_folder_of_parts_is_one_table(catalog: Catalog, tmp_path: Path) -> None:
    for month in (1, 2):
        write(tmp_path / "t" / f"month={month}" / "part.csv")
    (tmp_path / "t" / "_SUCCESS").touch()
    first = add(tmp_path / "t", "t", catalog)
    assert (first.rows, first.files) == (400, 3)
    write(tmp_path / "t" / "month=3" / "part.csv")
    second = add(tmp_path / "t", "t", catalog)
    assert second.changes == {"added": 1, "modified": 0, "deleted": 0, "rows": 200}


def test_a_lost_column_makes_a_draft(catalog: Catalog, tmp_path: Path) -> None:
    add(write(tmp_path / "t.csv"), "t", catalog)
    draft = add(write(tmp_path / "t.csv", FRAME.drop("wage")), "t", catalog)
    assert draft.state == "draft"
    assert any(violation.kind == "lost" and violation.column == "wage" for violation in draft.violations)
    assert catalog.datasets.get(name="t").version == 1


def test_bad_rows_store_nothing_when_the_schema_says_so(catalog: Catalog, tmp_path: Path) -> None:
    first = add(write(tmp_path / "t.csv"), "t", catalog)
    wage = replace(first.schema.columns[1], at_most=1000.0, severity="error")
    columns = [first.schema.columns[0], wage, first.schema.columns[2]]
    catalog.schemas.propose(name="t", schema=replace(first.schema, columns=columns, bad_rows="stop"))
    (proposed, *_) = catalog.schemas.list(name="t")
    catalog.schemas.decide(name="t", version=proposed.version, accept=True)
    bad = write(tmp_path / "t.csv", FRAME.with_columns(wage=pl.lit(2000.0)))
    with pytest.raises(Refused, match="bad rows"):
        add(bad, "t", catalog)
    assert len(catalog.datasets.list(name="t")) == 1


def test_files_that_are_no_table_are_kept_as_they_are(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_bytes(b"\x00\x01\x02" * 50)
    version = add(tmp_path / "odd.csv", "odd", catalog)
    assert (version.rows, version.state) == (0, "accepted")
    assert [violation.severity for violation in version.violations] == ["warning"]
    write(tmp_path / "two" / "a.csv")
    write(tmp_path / "two" / "b.csv", FRAME.rename({"wage": "pay"}))
    assert add(tmp_path / "two", "two", catalog).state == "accepted"


def test_a_table_that_cannot_be_read_any_more_makes_a_draft(catalog: Catalog, tmp_path: Path) -> None:
    add(write(tmp_path / "t.csv"), "t", catalog)
    with open(tmp_path / "t.csv", "a") as file:
        file.write("1,2\n")
    draft = add(tmp_path / "t.csv", "t", catalog)
    assert draft.state == "draft"
    assert "this is no table" in draft.violations[0].says
    assert add(tmp_path / "t.csv", "other", catalog, as_is=True).violations == []


def test_images_are_no_table(catalog: Catalog, folder: Path) -> None:
    version = add(folder, "images", catalog)
    assert (version.rows, version.schema.columns, version.violations) == (0, [], [])
    assert catalog.schemas.get(name="images") is None
    with pytest.raises(DataError, match="are not one table"):
        scan_version(version, catalog.objects, catalog.scratch)


def test_adding_the_same_table_again_reads_no_row(catalog: Catalog, tmp_path: Path) -> None:
    version = add(write(tmp_path / "t.csv"), "t", catalog)
    os.utime(tmp_path / "t.csv", (1, 1))
    assert add(tmp_path / "t.csv", "t", catalog) == version
