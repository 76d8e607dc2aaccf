"""NAME[@VERSION]|PATH means the same to every verb of `perennial data`, and looking leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from .conftest import Perennial

pytestmark = pytest.mark.usefixtures("tables")

LOOKING = (
    ("suspects", "one.csv"),
    ("profile", "one.csv", "--against", "two.csv"),
    ("diff", "one.csv", "two.csv"),
    ("schema", "infer", "one.csv"),
    ("validate", "one.csv", "--schema", "one.toml"),
    ("batches", *(f"batches/{number}.csv" for number in range(9))),
)
NAMING = (
    ("suspects",),
    ("profile",),
    ("diff",),
    ("diff", "one.csv"),
    ("schema", "infer"),
    ("validate",),
    ("batches",),
    ("validate", "one.csv", "--schema", "one.toml", "--against"),
    ("profile", "one.csv", "--against"),
    ("suspects", "one.csv", "--clean"),
)


@pytest.fixture
def tables(project: Path) -> None:
    frame = pl.DataFrame({"id": range(1, 31), "fare": [2.5, 3.5, 4.5] * 10})
    frame.write_csv(project / "one.csv")
    frame.with_columns(fare=pl.col("fare") + 1).write_csv(project / "two.csv")
    (project / "one.toml").write_text('[columns]\nid = "int64"\nfare = "float64"\n')
    (project / "batches").mkdir()
    for number in range(9):
        frame.write_csv(project / "batches" / f"{number}.csv")


@pytest.mark.parametrize("words", LOOKING, ids=lambda words: words[0])
def test_paths_are_looked_at_without_a_workspace(perennial: Perennial, project: Path, words: tuple[str, ...]) -> None:
    said = perennial("data", *words, "--json")
    assert (said.code, isinstance(said.json, dict)) == (0, True), said.err
    assert not (project / ".perennial").exists()


@pytest.mark.parametrize("what", ["wages", "wages@2", "wages.csv", "no/wages", "x" * 300])
@pytest.mark.parametrize("words", NAMING, ids=" ".join)
def test_what_is_not_there_is_wrong_use_and_makes_nothing(
    perennial: Perennial, project: Path, words: tuple[str, ...], what: str
) -> None:
    before = sorted(project.iterdir())
    said = perennial("data", *words, what)
    assert (said.code, said.out) == (2, ""), said.err
    looks_like_a_path = "/" in what or what.endswith(".csv")
    assert ("there is no such file" if looks_like_a_path else "there is no workspace") in said.err
    assert sorted(project.iterdir()) == before


def test_a_dataset_may_be_called_like_a_file_and_a_file_goes_first(perennial: Perennial, project: Path) -> None:
    for name in ("one.csv", "team/one"):
        assert perennial("data", "add", "one.csv", name).code == 0
    assert perennial("data", "diff", "one.csv", "one.csv@latest", "--json").json["after"] == "one.csv@1"
    assert perennial("data", "diff", "team/one", "one.csv", "--json").json["before"] == "team/one@1"
    (project / "one.csv").unlink()
    assert perennial("data", "diff", "one.csv", "two.csv", "--json").json["before"] == "one.csv@1"


def test_versions_up_to_the_one_that_is_named_are_the_batches(perennial: Perennial, project: Path) -> None:
    for number in range(9):
        table = pl.read_csv(project / "one.csv").with_columns(fare=pl.col("fare") + 0.01 * number)
        table.write_csv(project / "one.csv")
        assert perennial("data", "add", "one.csv", "wages").code == 0
    told = perennial("data", "batches", "wages@9")
    assert told.out.endswith("wages@9: like the batches before it\n"), told
    assert perennial("data", "batches", "wages@2").code == 2
