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
    early = perennial("data", "batches", "wages@2")
    assert (early.code, "too few" in early.err) == (2, True)
    assert perennial("data", "batches", "wages", "--budget", "7").code == 2


@pytest.mark.parametrize(
    "words",
    [("profile", "one.csv"), ("diff", "one.csv", "two.csv"), ("suspects", "one.csv")],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("out", ["no/such/folder.html", "."])
def test_a_file_that_cannot_be_written_is_wrong_use(perennial: Perennial, words: tuple[str, ...], out: str) -> None:
    said = perennial("data", *words, "--out", out)
    assert (said.code, said.out) == (2, "")
    assert "ConfigError: the file cannot be written" in said.err


@pytest.mark.parametrize("words", [("list", "nope"), ("tag", "nope"), ("log", "nope"), ("show", "nope")], ids=" ".join)
def test_a_dataset_that_is_not_there_is_wrong_use_everywhere(perennial: Perennial, words: tuple[str, ...]) -> None:
    assert perennial("data", "add", "one.csv", "wages").code == 0
    said = perennial("data", *words)
    assert (said.code, said.out) == (2, "")
    assert "there is no dataset 'nope'" in said.err


def test_status_of_a_workspace_that_is_not_there_is_wrong_use(perennial: Perennial) -> None:
    said = perennial("data", "status", "--home", "nowhere")
    assert (said.code, "there is no workspace" in said.err) == (2, True)


def test_a_flipped_bit_is_told_of_every_version_and_mended_by_reading_again(
    perennial: Perennial, project: Path
) -> None:
    (project / "photo.jpg").write_bytes(bytes(range(256)) * 40)
    for name in ("photo", "copy"):
        assert perennial("data", "add", "photo.jpg", name).code == 0
    pack = max((project / ".perennial" / "objects").rglob("*.pack"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 3] ^= 1
    pack.write_bytes(data)
    told = perennial("data", "verify", "--json")
    assert told.code == 1
    assert sorted(one["dataset"] for one in told.json["problems"]) == ["copy@1", "photo@1"]
    assert perennial("data", "checkout", "photo", "again.jpg").code == 3
    assert "--reread" in perennial("data", "verify").out
    assert perennial("data", "add", "photo.jpg", "photo", "--reread").code == 0
    assert perennial("data", "verify").code == 0
