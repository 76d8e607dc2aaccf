"""`perennial data profile`: a page from a path or a dataset, and what to look at first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

Perennial = Callable[..., Any]


@pytest.fixture
def table(project: Path) -> Path:
    frame = pl.DataFrame({"pay": [1.5, 2.5, None, 3.5] * 50, "city": ["a", "b", "?", "a"] * 50})
    frame.write_parquet(project / "wages.parquet")
    frame.with_columns(pl.col("pay") * 100).write_parquet(project / "later.parquet")
    return project / "wages.parquet"


def test_a_file_gets_a_page_beside_and_says_what_is_worth_a_look(perennial: Perennial, table: Path) -> None:
    said = perennial("data", "profile", "wages.parquet", "--target", "pay")
    assert said.code == 0
    assert said.out.startswith("wages.html: 200 rows, 2 columns")
    assert "pay is missing in 25 % of the rows" in said.out
    assert "What tells about pay" in (table.parent / "wages.html").read_text()


def test_two_versions_are_compared(perennial: Perennial, table: Path) -> None:
    said = perennial("data", "profile", "later.parquet", "--against", "wages.parquet", "--out", "x.html", "--json")
    assert said.code == 0
    assert said.json["page"] == "x.html"
    assert {one["column"]: one["decision"] for one in said.json["drift"]}["pay"] == "shifted"
    assert "before" in (table.parent / "x.html").read_text()


@pytest.mark.parametrize("words", [("nothing.csv",), ("nothing",), ("wages.parquet", "--target", "x")])
def test_what_is_not_there_is_wrong_use_with_a_remedy(
    perennial: Perennial, table: Path, words: tuple[str, ...]
) -> None:
    said = perennial("data", "profile", *words)
    assert said.code == 2
    assert not (table.parent / "wages.html").exists()
    assert "NotFound: " in said.err


def test_a_dataset_is_named_with_its_version(perennial: Perennial, table: Path) -> None:
    assert perennial("data", "add", "wages.parquet", "wages").code == 0
    said = perennial("data", "profile", "wages@1", "--against", "later.parquet", "--json")
    assert said.code == 0, said.err
    assert (said.json["page"], said.json["name"], said.json["rows"]) == ("wages-1.html", "wages@1", 200)
    assert "wages@1" in (table.parent / "wages-1.html").read_text()


def test_two_versions_of_one_dataset_are_compared(perennial: Perennial, table: Path) -> None:
    for name in ("wages.parquet", "later.parquet"):
        perennial("data", "add", name, "wages", "--as-is")
    said = perennial("data", "profile", "wages@2", "--against", "wages@1", "--json")
    assert said.code == 0, said.err
    assert {one["column"]: one["decision"] for one in said.json["drift"]}["pay"] == "shifted"
