"""`ws.data` as a person uses it in a notebook: by name, with files and rows beside."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import perennial
from perennial.data import asof_join, sources, validate
from perennial.data.catalog import Catalog
from perennial.errors import DataError, NotFound

FRAME = pl.DataFrame(
    {"person": range(200), "wage": [10.0 + i % 7 for i in range(200)], "job": ["clerk", "smith"] * 100}
)


@pytest.fixture
def data(tmp_path: Path):
    with perennial.open(tmp_path / "ws") as ws:
        yield ws.data


def test_a_frame_is_a_version_and_comes_back(data: Catalog) -> None:
    made = data.add(FRAME, "wages", note="the first", tag="gold")
    assert made.name == "wages@1"
    assert data["wages@gold"].frame().sort("person").equals(FRAME)
    assert repr(data) == "<datasets: wages>"
    assert repr(made) == "<dataset wages@1: 200 rows, accepted>"
    assert data["wages"].versions()[0].note == "the first"


def test_what_can_be_done_with_a_version(data: Catalog) -> None:
    data.add(FRAME, "wages")
    wages = data.add(FRAME.with_columns(wage=pl.col("wage") * 3), "wages")
    assert wages.name == "wages@2"
    assert wages.diff(1, key=["person"]).changed == 200
    assert [column.column for column in wages.drift(1) if column.decision == "shifted"] == ["wage"]
    assert [violation.kind for violation in wages.version.violations] == ["range"]
    assert wages.validate().violations == []  # a wider range is taken over by rule, and stays told with the version
    assert [violation.kind for violation in wages.validate(data["wages@1"].version.schema).violations] == ["range"]
    assert "wage" in wages.profile()._repr_html_()
    assert wages.suspects().rows == 200
    assert wages.lazy().select(pl.len()).collect().item() == sum(part.height for part in wages) == 200
    assert wages.schema.columns[0].name == "person"


def test_files_are_added_and_checked_out(data: Catalog, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"\xff\xd8a")
    photos = data.add(tmp_path / "photos", "photos")
    assert repr(photos) == "<dataset photos@1: 1 files, accepted>"
    photos.checkout(tmp_path / "again")
    assert (tmp_path / "again" / "a.jpg").read_bytes() == b"\xff\xd8a"
    with pytest.raises(DataError):
        photos.frame()


def test_a_version_goes_to_a_remote_and_comes_back(data: Catalog, tmp_path: Path) -> None:
    data.add(FRAME, "wages")
    remote = (tmp_path / "remote").as_uri()
    assert data.push("wages", to=remote).versions == 1
    data.remotes.set(name="origin", url=remote)
    with perennial.open(tmp_path / "other") as other:
        (pulled,) = other.data.pull("wages", source=remote)
        assert pulled.frame().sort("person").equals(FRAME)
        with pytest.raises(NotFound, match="there is no remote 'origin'"):
            other.data.pull("wages", source="origin")


def test_the_public_names_are_found() -> None:
    labels = pl.DataFrame({"at": [2]})
    assert asof_join(labels, pl.DataFrame({"at": [1], "x": [5]}), time="at")["x"].to_list() == [5]
    assert sources.files is not None
    assert validate is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = perennial.data.nothing
