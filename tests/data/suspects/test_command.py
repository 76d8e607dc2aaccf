"""`perennial data suspects`."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from perennial.cli.main import main

from .test_suspects import places, put


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    places().write_csv("clean.csv")
    put(places(), "state", r4="OR").write_csv("dirty.csv")
    return tmp_path


def test_it_tells_cell_reason_and_repair(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "suspects", "dirty.csv"]) == 0
    told = capsys.readouterr().out
    assert "1 of 960 cells" in told
    assert "PA" in told


def test_with_a_clean_table_it_tells_precision_and_recall(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "suspects", "dirty.csv", "--clean", "clean.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(cell["row"], cell["column"]) for cell in told["cells"]] == [(4, "state")]
    assert told["measured"][0] | {"column": "all"} == {
        "column": "all",
        "wrong": 1,
        "suspects": 1,
        "hits": 1,
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
    }


def test_all_suspects_go_to_a_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "suspects", "dirty.csv", "--limit", "0", "--out", "found.csv"]) == 0
    assert "and 1 more" in capsys.readouterr().out
    written = pl.read_csv(files / "found.csv")
    assert written.select("row", "column", "repair").rows() == [(4, "state", "PA")]


@pytest.mark.parametrize(
    "words", [["nowhere.csv"], ["dirty.csv", "--min-score", "7"], ["dirty.csv", "--clean", "nowhere.csv"]]
)
def test_what_is_not_there_or_makes_no_sense_is_2(
    words: list[str], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "suspects", *words]) == 2
    assert capsys.readouterr().out == ""


def test_a_clean_table_of_another_shape_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places().head(3).write_csv("short.csv")
    assert main(["data", "suspects", "dirty.csv", "--clean", "short.csv"]) == 2
    assert "3 x 4" in capsys.readouterr().err


def test_a_dataset_is_looked_at_by_its_name(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "add", "dirty.csv", "places"]) == 0
    capsys.readouterr()
    assert main(["data", "suspects", "places@1", "--json"]) == 0
    assert [(cell["row"], cell["repair"]) for cell in json.loads(capsys.readouterr().out)["cells"]] == [(4, "PA")]
