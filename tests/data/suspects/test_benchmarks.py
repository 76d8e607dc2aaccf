"""The published dirty tables: what is found without labels, and what is left alone in clean ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from perennial.data.scan import scan
from perennial.data.suspects import measure, suspects


@pytest.mark.parametrize("name, least", [("beers", 0.95), ("hospital", 0.95)])
def test_wrong_cells_of_the_benchmarks_are_found(name: str, least: float, shared_data: Path) -> None:
    dirty, clean = scan(shared_data / name / "dirty.csv"), scan(shared_data / name / "clean.csv")
    found = suspects(dirty)
    figures = measure(found, dirty, clean)[0]
    assert figures.wrong == {"beers": 4362, "hospital": 509}[name]
    assert figures.f1 >= least
    assert all(cell.reasons for cell in found.cells)


@pytest.mark.parametrize("name", ["beers", "hospital"])
def test_most_repairs_are_what_the_clean_table_holds(name: str, shared_data: Path) -> None:
    clean = next(scan(shared_data / name / "clean.csv").texts())
    found = suspects(scan(shared_data / name / "dirty.csv"))
    named = dict(zip(found.columns, clean.columns, strict=True))
    known = [cell for cell in found.cells if cell.repair is not None]
    right = [cell for cell in known if (clean[named[cell.column]][cell.row] or "") == cell.repair]
    assert len(known) > 0.85 * len(found)
    assert len(right) > 0.9 * len(known)


@pytest.mark.parametrize(
    "file, most",
    [
        ("beers/clean.csv", 0.002),
        ("hospital/clean.csv", 0.002),
        ("chicago_taxi/train.csv.gz", 0.0005),
        ("bike_sharing/day.csv", 0.0005),
        ("check_values/Salaries.csv", 0.0005),
        ("adult_census/adult_test.csv.gz", 0.0005),
    ],
)
def test_clean_tables_are_left_alone(file: str, most: float, shared_data: Path) -> None:
    found = suspects(scan(shared_data / file))
    assert len(found) <= most * found.rows * len(found.columns)
