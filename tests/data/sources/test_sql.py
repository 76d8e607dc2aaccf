"""Rows of a database: streamed, incremental, of one type, and without secrets in what is kept."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path

import pytest

from perennial.data import sources
from perennial.data.catalog import Catalog
from perennial.data.collect import collect
from perennial.data.sources import collect_source
from perennial.errors import ConfigError, DataError, Invalid, NotFound

from .test_files_and_functions import rows


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "city.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table trips (id integer, fare real, note text)")
        connection.executemany("insert into trips values (?, ?, ?)", [(i, i / 2, None) for i in range(50_000)])
        connection.execute("insert into trips values (50000, 1, 'a: b %s')")
    connection.close()
    return path


def add(database: Path, *values: tuple[object, ...]) -> None:
    with sqlite3.connect(database) as connection:
        connection.executemany("insert into trips values (?, ?, ?)", values)
    connection.close()


def test_a_table_is_read_whole_whatever_its_first_rows_lack(catalog: Catalog, database: Path) -> None:
    made = collect_source(f"sqlite:///{database}?table=trips", "trips", catalog, tag="first", note="from the city")
    assert (made.rows, made.note, [column.type for column in made.schema.columns]) == (
        50_001,
        "from the city",
        ["int64", "float64", "string"],
    )
    assert made.source == {"kind": "sql", "url": f"sqlite:///{database}", "query": "trips"}
    assert catalog.datasets.get(name="trips", version="first") == made
    query = "select id as i, 'x:y' as s from trips where note like 'a: b %' -- a comment: here"
    found = collect_source(f"sqlite:///{database}", "one", catalog, query=f"{query}\n;")
    assert rows(catalog, found) == {"i": [50_000], "s": ["x:y"]}


def test_with_a_cursor_only_newer_rows_are_asked_for(catalog: Catalog, database: Path) -> None:
    source = sources.sql(f"sqlite:///{database}", "select * from trips;", cursor="id")
    first = collect(source, name="trips", rooms=catalog)
    add(database, (50_002, 7, "new"), (50_001, 6, "newer"), (3, 0, "late"))
    second = collect(source, name="trips", rooms=catalog)
    assert (second.rows, second.changes["rows"]) == (first.rows + 2, 2)
    assert rows(catalog, second)["note"][-2:] == ["newer", "new"]
    assert collect(source, name="trips", rooms=catalog) == second


def test_values_that_no_one_type_takes_are_named(catalog: Catalog, database: Path) -> None:
    add(database, (1, "many", None))
    with pytest.raises(DataError, match=r"column 'fare' holds values of different kinds .* 'many'") as caught:
        collect(sources.sql(f"sqlite:///{database}", "trips"), name="trips", rooms=catalog)
    assert caught.value.where == "row 50001"
    with pytest.raises(DataError, match="two columns named 'id'"):
        collect(sources.sql(f"sqlite:///{database}", "select id, id from trips"), name="trips", rooms=catalog)
    with pytest.raises(DataError, match="no such table"):
        collect(sources.sql(f"sqlite:///{database}", "absent"), name="trips", rooms=catalog)
    assert catalog.datasets.list() == []


def test_a_wrong_address_says_what_is_wrong(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such database"):
        collect_source(f"sqlite:///{tmp_path / 'none.db'}?table=t", "t", catalog)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(Invalid, match="which rows"):
        collect_source("sqlite:///x.db", "t", catalog)
    with pytest.raises(ConfigError, match="no database of this kind"):
        collect_source("bigtable9000://host/db?table=t", "t", catalog)
    with pytest.raises(ConfigError, match="no variable 'CITY_PASSWORD'"):
        collect_source("postgresql://u:${CITY_PASSWORD}@host/db?table=t", "t", catalog)


def test_c12_a_password_is_neither_stored_nor_shown(
    catalog: Catalog, pg_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    plain = pg_database.replace("+psycopg", "")
    password = plain.split(":")[2].split("@")[0]
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("create table trips (at timestamptz, day date, fare numeric, ok boolean, tags jsonb)")
        connection.execute(
            "insert into trips select '2024-01-01Z'::timestamptz + i * interval '1 second', '2024-01-01', i / 4.0, "
            "i % 2 = 0, '{\"a\": 1}' from generate_series(1, 45000) i"
        )
        monkeypatch.setenv("CITY_PASSWORD", password)
        url = pg_database.replace(password, "${CITY_PASSWORD}")
        first = collect_source(f"{url}?table=trips", "trips", catalog, cursor="at", overlap="10s")
        assert [column.type for column in first.schema.columns] == ["datetime", "date", "float64", "bool", "string"]
        assert first.source is not None
        assert password not in str(first.source)
        assert first.source["cursor"]["value"] == "2024-01-01T12:30:00+00:00"
        connection.execute("insert into trips values ('2024-01-01 12:29:55Z', '2024-01-01', 0, true, null)")
        connection.execute("insert into trips values ('2024-01-02Z', '2024-01-02', 0, true, null)")
    second = collect_source(f"{url}?table=trips", "trips", catalog, cursor="at", overlap="10s")
    assert second.rows == first.rows + 2
    assert rows(catalog, second)["at"][-2:] == [
        dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
        dt.datetime(2024, 1, 1, 12, 29, 55, tzinfo=dt.UTC),
    ]
    monkeypatch.setenv("CITY_PASSWORD", "wrong-secret")
    with pytest.raises(DataError, match="does not answer the query") as caught:
        collect_source(f"{url}?table=trips", "trips", catalog)
    assert "wrong-secret" not in repr(caught.value)


def test_the_rows_of_a_query_stream(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = 1000
    monkeypatch.setattr("perennial.data.sources.databases.FETCH_ROWS", fetched)
    reading = sources.sql(f"sqlite:///{database}", "trips").read(tmp_path, None, None)
    assert max(batch.height for batch in reading.rows.batches()) == fetched  # pyright: ignore[reportAttributeAccessIssue]
