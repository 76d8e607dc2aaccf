"""Delta and Iceberg tables at a pinned version, and objects in a bucket."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.data import sources
from perennial.data.catalog import Catalog
from perennial.data.collect import collect
from perennial.data.sources import collect_source
from perennial.errors import DataError, Invalid, NotFound

from .test_files_and_functions import rows


def test_a_delta_table_is_read_at_the_version_that_was_named(catalog: Catalog, tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    path = str(tmp_path / "trips")
    deltalake.write_deltalake(path, pa.table({"t": [1, 2], "city": ["a", "b"]}), partition_by=["city"])
    deltalake.write_deltalake(path, pa.table({"t": [3], "city": ["a"]}), mode="append")
    old = collect_source(f"delta:{path}@0", "old", catalog)
    assert sorted(rows(catalog, old)["t"]) == [1, 2]
    assert old.source == {"kind": "delta", "path": path, "version": 0}
    new = collect_source(f"delta:{path}", "new", catalog, cursor="t")
    assert (new.rows, new.source and new.source["version"]) == (3, 1)
    deltalake.write_deltalake(path, pa.table({"t": [4, 0], "city": ["c", "c"]}), mode="append")
    newer = collect_source(f"delta:{path}", "new", catalog, cursor="t")
    assert (newer.rows, newer.source and newer.source["version"]) == (4, 2)
    with pytest.raises(DataError, match="cannot be read at version 9"):
        collect_source(f"delta:{path}@9", "old", catalog)
    with pytest.raises(DataError, match="cannot be read"):
        collect_source(f"delta:{tmp_path / 'none'}", "old", catalog)


def test_an_iceberg_table_is_read_at_the_snapshot_that_was_named(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iceberg = pytest.importorskip("pyiceberg.catalog")
    monkeypatch.setenv("LAKE", f"sqlite:///{tmp_path / 'lake.db'}")
    properties = {"type": "sql", "uri": "${LAKE}", "warehouse": f"file://{tmp_path / 'lake'}"}
    (tmp_path / "lake").mkdir()
    lake = iceberg.load_catalog("lake", **(properties | {"uri": f"sqlite:///{tmp_path / 'lake.db'}"}))
    try:
        lake.create_namespace("city")
        table = lake.create_table("city.trips", schema=pa.schema([("t", pa.int64()), ("s", pa.string())]))
        source = sources.iceberg("city.trips", "lake", properties=properties)
        with pytest.raises(DataError, match="the Iceberg table is empty"):
            collect(source, name="trips", rooms=catalog)
        table.append(pa.table({"t": [1, 2], "s": ["a", "b"]}))
        pinned = table.current_snapshot().snapshot_id
        table.append(pa.table({"t": [3], "s": ["c"]}))
        first = collect(source, name="trips", rooms=catalog)
        assert sorted(rows(catalog, first)["t"]) == [1, 2, 3]
        assert first.source is not None
        assert first.source["snapshot"] == table.current_snapshot().snapshot_id
        old = collect(sources.iceberg("city.trips", "lake", pinned, properties=properties), name="old", rooms=catalog)
        assert (old.rows, old.source and old.source["snapshot"]) == (2, pinned)
        assert str(tmp_path) not in str(old.source)
        with pytest.raises(NotFound, match="no snapshot 7"):
            collect(sources.iceberg("city.trips", "lake", 7, properties=properties), name="old", rooms=catalog)
        with pytest.raises(NotFound, match="no Iceberg table"):
            collect(sources.iceberg("city.none", "lake", properties=properties), name="old", rooms=catalog)
    finally:
        lake.close()


@pytest.mark.parametrize("address, extra", [("delta:trips@3", "delta"), ("iceberg:city.trips@4", "iceberg")])
def test_a_missing_package_names_its_extra(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, address: str, extra: str
) -> None:
    for name in ("deltalake", "pyiceberg", "pyiceberg.catalog"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Invalid, match="needs the package") as caught:
        collect_source(address, "t", catalog)
    assert caught.value.remedy == f"pip install 'perennial[{extra}]'"
    with pytest.raises(Invalid, match="is no version"):
        collect_source(f"{address}x", "t", catalog)


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_objects_are_found_by_prefix_and_pattern(
    catalog: Catalog, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    put, address = request.getfixturevalue("bucket") if kind == "s3" else (None, f"file://{tmp_path / 'lake'}")
    files = {"2025/a.csv": b"x\n1\n", "2025/b.csv": b"x\n2\n", "2026/a.csv": b"x\n3\n", "2025/readme.txt": b"hello"}
    for name, data in files.items():
        if put is not None:
            put(name, data)
        else:
            (tmp_path / "lake" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "lake" / name).write_bytes(data)
    assert rows(catalog, collect_source(f"{address}/2025/", "a", catalog))["x"] == [1, 2]
    found = collect_source(f"{address}/*/a.csv", "b", catalog)
    assert rows(catalog, found)["x"] == [1, 3]
    assert found.source == {"kind": "object", "url": f"{address}/*/a.csv", "files": 2}
    one = collect_source(f"{address}/2025/b.csv", "c", catalog, cursor="x")
    assert rows(catalog, one)["x"] == [2]
    with pytest.raises(NotFound, match="there is no table"):
        collect_source(f"{address}/2025/*.parquet", "d", catalog)
