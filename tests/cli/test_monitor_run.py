"""`perennial monitor run`: two files in, a verdict as an exit code, and the report as text, JSON, a page and charts."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest

from .conftest import Perennial

N = 1200


def rows(seed: int, *, shift: float = 0.0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.normal(shift, 1.0, N)
    return pl.DataFrame(
        {
            "x": x,
            "town": draw.choice(["Lyon", "Oslo"], N),
            "y": x + draw.normal(0.0, 0.1, N),
            "said": x,
            "day": [f"2026-0{1 + i * 3 // N}-15" for i in range(N)],
        }
    )


@pytest.fixture
def tables(project: Path) -> Path:
    rows(0).write_parquet(project / "before.parquet")
    rows(1).write_csv(project / "same.csv")
    rows(2, shift=1.0).with_columns(y=pl.col("said") + 1.0).write_csv(project / "other.csv")
    return project


ROLES = ("--target", "y", "--prediction", "said", "--time", "day", "--quick")


def test_nothing_found_is_0_and_needs_no_workspace(perennial: Perennial, tables: Path) -> None:
    said = perennial("monitor", "run", "--reference", "before.parquet", "--current", "same.csv", *ROLES)
    assert said.code == 0, said.err
    assert "no input shifted beyond its tolerance" in said.out
    assert sorted(path.name for path in tables.iterdir()) == ["before.parquet", "other.csv", "same.csv"]


def test_something_found_is_1_and_told_in_every_form(perennial: Perennial, tables: Path) -> None:
    words = ("monitor", "run", "--reference", "before.parquet", "--current", "other.csv", *ROLES, "--window", "month")
    said = perennial(*words, "--html", "report.html", "--charts", "deep/charts", "--json")
    assert said.code == 1, said.err
    found = said.json
    assert found["severity"] == "critical"
    assert [one["name"] for one in found["columns"] if one["decision"] == "shifted"] == ["x"]
    assert found["grid"]["labels"] == ["2026-01", "2026-02", "2026-03"]
    assert "What was found" in Path(found["page"]).read_text()
    assert {"columns", "rmse", "column-x"} <= set(found["charts"])
    for file in found["charts"].values():
        ET.fromstring(Path(file).read_text())
    text = perennial(*words, "--html", "report.html")
    assert "the answers are worse: RMSE 1 (0." in text.out
    assert text.out.rstrip().endswith("the whole report: report.html")


def test_options_decide_what_counts(perennial: Perennial, tables: Path) -> None:
    words = ("monitor", "run", "--reference", "before.parquet", "--current", "other.csv", "--quick")
    said = perennial(*words, "--ignore", "y, said, day", "--tolerance", "5", "--json")
    assert [one["decision"] for one in said.json["columns"]] == ["within tolerance", "within tolerance"]
    said = perennial(*words, "--ignore", "x,y,said,day", "--json")
    assert said.code == 0
    assert [one["name"] for one in said.json["columns"]] == ["town"]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("--target", "nowhere"), "no column 'nowhere' in either table"),
        (("--window", "fortnight", "--time", "day"), "there is no window 'fortnight'"),
        (("--probs", "a=p,b"), "'b' names no class and its column"),
        (("--model", "nowhere.onnx"), "there is no such file"),
    ],
)
def test_what_cannot_be_asked_is_2_with_the_remedy(
    perennial: Perennial, tables: Path, words: tuple[str, ...], sentence: str
) -> None:
    said = perennial("monitor", "run", "--reference", "before.parquet", "--current", "same.csv", *words)
    assert said.code == 2
    assert sentence in said.err
    assert "to go on: " in said.err
