"""`perennial data` for files: what a person types, in the order in which they meet it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from .conftest import Perennial

HEAVY = ("sqlalchemy", "numpy", "polars", "pyarrow", "pandas", "blake3", "http.client")


@pytest.fixture
def images(project: Path) -> Path:
    """A folder that was added as version 1."""
    folder = project / "images"
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "tom.png").write_bytes(b"tom" * 100)
    (folder / "rex.png").write_bytes(b"rex")
    return folder


def test_a_folder_from_the_first_version_to_the_last(perennial: Perennial, images: Path) -> None:
    added = perennial("data", "add", "images", "images", "--note", "as they came", "--json")
    assert (added.code, added.json["version"], added.json["files"]) == (0, 1, 2)
    assert "unchanged" in perennial("data", "status").out

    (images / "rex.png").write_bytes(b"max")
    (images / "new.png").write_bytes(b"new")
    (images / "cats" / "tom.png").unlink()
    (images / "cats").rmdir()
    (told,) = perennial("data", "status", "--json").json
    assert (told["modified"], told["added"], told["deleted"]) == (["rex.png"], ["new.png"], ["cats/tom.png"])
    assert "1 modified, 1 added, 1 deleted" in perennial("data", "status", "images").out

    said = perennial("data", "add", "images", "images", "--tag", "mended")
    assert said.out.splitlines() == ["images@2: 2 files, 6 B", "  since version 1: 1 added, 1 modified, 1 deleted"]
    assert perennial("data", "add", "images", "images", "--json").json["version"] == 2

    listed = perennial("data", "list").out
    assert "images@2" in listed
    assert "files" in listed
    log = perennial("data", "log", "images").out.splitlines()
    assert log[0].startswith("images@2")
    assert "tagged mended" in log[0]
    assert "as they came" in log[-1]
    shown = perennial("data", "show", "images@mended", "--files", "--json").json
    assert [path["path"] for path in shown["paths"]] == ["new.png", "rex.png"]

    back = perennial("data", "checkout", "images@1", "--json").json
    assert (back["written"], back["removed"]) == (2, 1)
    assert (images / "cats" / "tom.png").exists()
    assert perennial("data", "verify").code == 0


def test_what_a_person_changed_is_not_overwritten(perennial: Perennial, images: Path) -> None:
    perennial("data", "add", "images", "images")
    (images / "rex.png").write_bytes(b"mine")
    refused = perennial("data", "checkout", "images")
    assert refused.code == 2
    assert "changed by hand: rex.png" in refused.err
    assert "--force" in refused.err
    assert perennial("data", "checkout", "images", "--force").code == 0
    assert (images / "rex.png").read_bytes() == b"rex"


def test_a_version_is_given_up_and_its_bytes_are_freed(perennial: Perennial, images: Path, project: Path) -> None:
    perennial("data", "add", "images", "images")
    (images / "cats" / "tom.png").write_bytes(os.urandom(500_000))
    perennial("data", "add", "images", "images", "--tag", "big")
    assert "500 kB" in perennial("data", "du").out
    assert perennial("data", "rm", "images@2").code == 2  # it is tagged
    perennial("data", "tag", "images", "big", "--delete")
    assert perennial("data", "rm", "images@2", "--dry-run", "--json").json["versions"] == [2]
    assert perennial("data", "rm", "images@2").code == 0
    would = perennial("data", "gc", "--dry-run", "--json").json
    assert would["freed_bytes"] > 500_000
    assert perennial("data", "gc", "--json").json["freed_bytes"] == would["freed_bytes"]
    assert perennial("data", "gc", "--json").json["freed_bytes"] == 0
    gone = perennial("data", "checkout", "images@2")
    assert (gone.code, "was removed" in gone.err) == (2, True)
    assert perennial("data", "checkout", "images@1", "elsewhere").code == 0
    assert perennial("data", "verify").code == 0


def test_a_flipped_bit_is_named_with_version_and_path(perennial: Perennial, images: Path, project: Path) -> None:
    perennial("data", "add", "images", "images")
    perennial("data", "add", "images/rex.png", "rex")
    packs = (project / ".perennial" / "objects" / "packs").glob("*.pack")
    (pack,) = (pack for pack in packs if b"tomtom" in pack.read_bytes())
    data = bytearray(pack.read_bytes())
    data[data.index(b"tomtom") + 50] ^= 1
    pack.write_bytes(data)
    found = perennial("data", "verify", "images@1", "--json")
    assert found.code == 1
    assert [(each["dataset"], each["path"]) for each in found.json["problems"]] == [("images@1", "cats/tom.png")]
    assert perennial("data", "verify", "rex").code == 0
    # Adding the same file again mends it.
    (images / "cats" / "tom.png").touch()
    perennial("data", "add", "images", "images")
    assert perennial("data", "verify").code == 0


def test_names_that_are_no_text_are_shown_escaped(perennial: Perennial, project: Path) -> None:
    (project / "odd").mkdir()
    (project / "odd" / os.fsdecode(b"caf\xe9")).write_bytes(b"1")
    (project / "odd" / "two\nlines\\").write_bytes(b"2")
    assert perennial("data", "add", "odd", "odd").code == 0
    (project / "odd" / os.fsdecode(b"caf\xe9")).write_bytes(b"12")
    assert perennial("data", "status", "--json").json[0]["modified"] == ["caf\\xe9"]
    assert "caf\\xe9" in perennial("data", "status").out
    paths = perennial("data", "show", "odd", "--files", "--json").json["paths"]
    assert [path["path"] for path in paths] == ["caf\\xe9", "two\\nlines\\\\"]


def test_a_path_is_watched_until_it_is_given_up(perennial: Perennial, images: Path) -> None:
    perennial("data", "add", "images", "pictures")
    assert perennial("data", "rm", "images").code == 0
    assert perennial("data", "status", "--json").json == []
    assert perennial("data", "status", "images").code == 2
    assert (images / "rex.png").exists()
    assert perennial("data", "show", "pictures").code == 0
    said = perennial("data", "rm", "pictures")
    assert (said.code, "--all" in said.err) == (2, True)
    assert perennial("data", "rm", "pictures", "--all", "--json").json["versions"] == [1]


def test_a_draft_is_the_answer_no_and_says_how_to_go_on(perennial: Perennial, project: Path) -> None:
    (project / "t.csv").write_text("id,wage\n" + "".join(f"{row},{row * 1.5}\n" for row in range(100)))
    assert perennial("data", "add", "t.csv", "t").code == 0
    (project / "t.csv").write_text("id\n" + "".join(f"{row}\n" for row in range(100)))
    said = perennial("data", "add", "t.csv", "t")
    assert said.code == 1
    assert "perennial data accept t@2" in said.out
    assert perennial("data", "show", "t").out.startswith("t version 1")
    assert perennial("data", "accept", "t@2").code == 0
    assert perennial("data", "show", "t").out.startswith("t version 2")


def test_rows_of_a_file_or_of_a_database_are_a_table(perennial: Perennial, project: Path) -> None:
    (project / "t.csv").write_text("id,wage\n" + "".join(f"{row},{row * 1.5}\n" for row in range(100)))
    files = perennial("data", "add", "t.csv", "files", "--json").json
    rows = perennial("data", "add", "t.csv", "rows", "--table", "--note", "as rows", "--json").json
    assert (files["kind"], files["rows"]) == ("files", 100)
    assert (rows["kind"], rows["rows"], rows["note"]) == ("table", 100, "as rows")
    with closing(sqlite3.connect(project / "t.db")) as database:
        database.execute("create table people (id integer, wage real)")
        database.executemany("insert into people values (?, ?)", [(row, row * 1.5) for row in range(50)])
        database.commit()
    address = f"sqlite:///{project}/t.db?table=people"
    assert perennial("data", "add", address, "people", "--json").json["rows"] == 50
    checked_out = perennial("data", "checkout", "rows", "--json").json
    assert (Path(checked_out["path"]) / "part-00000.parquet").exists()


def test_import_tells_what_could_not_be_imported(perennial: Perennial, project: Path) -> None:
    assert perennial("data", "import").code == 2
    (project / ".dvc" / "cache").mkdir(parents=True)
    (project / "x.dvc").write_text(f"outs:\n- md5: {'0' * 32}\n  path: x\n")
    said = perennial("data", "import", "--json")
    assert said.code == 1
    assert said.json[0]["version"] is None
    assert "dvc pull" in said.err


def test_status_opens_no_database_and_imports_nothing_heavy(perennial: Perennial, images: Path) -> None:
    perennial("data", "add", "images", "images")
    settle(perennial)
    code = (
        "import sys; from perennial.cli.main import main; code = main(['data', 'status']); "
        f"print([name for name in {HEAVY!r} if name in sys.modules]); sys.exit(code)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


def settle(perennial: Perennial) -> None:
    """Wait until files that were written just now are old enough to be known by how they look."""
    places = Path(".perennial/places")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        before = {path: path.stat().st_mtime_ns for path in places.iterdir()}
        perennial("data", "status")
        if before == {path: path.stat().st_mtime_ns for path in places.iterdir()}:
            return
    raise AssertionError("files are hashed again and again")
