"""What becomes of rows that break with the schema: a draft, quarantine, or no version at all."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl
import pytest
from msgspec.structs import replace

from perennial.data import collect as collecting
from perennial.data import sources
from perennial.data.catalog import Catalog
from perennial.data.collect import Terms, collect
from perennial.data.scan import scan_manifest
from perennial.data.schema import Check
from perennial.data.tables import read_manifest
from perennial.data.validation import UserCheck
from perennial.errors import Refused
from perennial.types import Digest

from .test_files_and_functions import rows

GOOD = pl.DataFrame({"t": range(10), "wage": [float(i) for i in range(10)]})
BAD = pl.concat([GOOD, pl.DataFrame({"t": [10, 11], "wage": [-7.0, 11.0]})])


def begin(catalog: Catalog, bad_rows: Literal["warn", "quarantine", "stop"]) -> None:
    """A first version, and a schema in which a person demands that no wage is negative."""
    first = collect(GOOD, name="wages", rooms=catalog)
    check = Check(name="positive", where="wage >= 0")
    schema = replace(first.schema, checks=[check], bad_rows=bad_rows)
    proposed = catalog.schemas.propose(name="wages", schema=schema)
    catalog.schemas.decide(name="wages", version=proposed.version, accept=True)


def table(frame: pl.DataFrame) -> Any:
    return frame


def function(frame: pl.DataFrame) -> Any:
    return sources.function(lambda: frame)


@pytest.mark.parametrize("make", [table, function, pl.DataFrame.lazy])
@pytest.mark.parametrize("memory", [1 << 20, 10])
def test_f31_bad_rows_are_kept_out_with_their_reasons(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, make: Any, memory: int
) -> None:
    begin(catalog, "quarantine")
    monkeypatch.setattr(collecting, "MEMORY_BYTES", memory)
    second = collect(make(BAD), name="wages", rooms=catalog)
    assert (second.state, second.rows, second.version) == ("accepted", 11, 2)
    assert sorted(rows(catalog, second)["t"]) == [*range(10), 11]
    assert any("positive" in violation.says or violation.kind == "check" for violation in second.violations)
    assert second.quarantine is not None
    kept_out = scan_manifest(Digest(second.quarantine), catalog.objects, "quarantine").table()
    assert kept_out.column("wage").to_pylist() == [-7.0]
    assert len(kept_out.column_names) == 3
    assert catalog.objects.has(read_manifest(Digest(second.quarantine), catalog.objects).files[0].digest)


def test_f31_a_batch_without_a_good_row_changes_nothing(catalog: Catalog) -> None:
    begin(catalog, "quarantine")
    with pytest.raises(Refused, match="every row of 'wages' is bad"):
        collect(GOOD.with_columns(wage=-1.0 - pl.col("wage")), name="wages", rooms=catalog)
    assert [version.version for version in catalog.datasets.list()] == [1]


@pytest.mark.parametrize("make", [table, function])
def test_f31_bad_rows_stop_the_collection_when_they_shall(catalog: Catalog, make: Any) -> None:
    begin(catalog, "stop")
    with pytest.raises(Refused, match="'wages' was stopped") as caught:
        collect(make(BAD), name="wages", rooms=catalog)
    assert "quarantine" in caught.value.remedy
    assert [version.version for version in catalog.datasets.list()] == [1]
    collect(make(BAD), name="wages", rooms=catalog, terms=Terms(bad_rows="quarantine"))  # a loop's word goes first
    assert catalog.datasets.get(name="wages").rows == 11


def test_bad_rows_make_a_draft_otherwise(catalog: Catalog) -> None:
    begin(catalog, "warn")
    second = collect(BAD, name="wages", rooms=catalog)
    assert (second.state, second.rows, second.quarantine) == ("draft", 12, None)


def test_a_loops_own_checks_count_from_the_first_version_on(catalog: Catalog) -> None:
    checks = [
        UserCheck(name="positive", holds=pl.col("wage") >= 0, severity="error"),
        UserCheck(name="early", holds=lambda frame: frame["t"] < 11, severity="error"),
    ]
    made = collect(BAD, name="wages", rooms=catalog, terms=Terms(checks=checks, bad_rows="quarantine"))
    assert (made.version, made.rows, made.state) == (1, 10, "accepted")


def test_an_increment_is_checked_by_itself_and_goes_on_behind_its_bad_rows(catalog: Catalog) -> None:
    begin(catalog, "quarantine")
    catalog.datasets.remove(name="wages", version=1)
    collect(sources.function(lambda: GOOD, cursor="t"), name="wages", rooms=catalog)
    worse = pl.concat([GOOD, pl.DataFrame({"t": [10, 11], "wage": [10.0, -7.0]})])
    second = collect(sources.function(lambda: worse, cursor="t"), name="wages", rooms=catalog)
    assert rows(catalog, second)["t"] == [*range(11)]
    assert second.source is not None
    assert second.source["cursor"]["value"] == 11  # not fetched again, whatever it was
    assert second.quarantine is not None
