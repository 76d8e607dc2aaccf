"""What DVC tracks is taken over from its cache, each file checked; what is missing hides nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from perennial.data.catalog import Catalog
from perennial.data.files.checkout import checkout
from perennial.data.files.dvc import import_dvc
from perennial.errors import NotFound

from .machines import content


class Project:
    """A project as DVC leaves it: `.dvc` files beside what they track, and the bytes in its cache."""

    def __init__(self, root: Path, *, layout: str = "files/md5") -> None:
        self.root = root
        self.cache = root / ".dvc" / "cache" / layout
        self.cache.mkdir(parents=True)
        (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n['remote \"far\"']\n    url = s3://b/p\n")

    def store(self, data: bytes, *, ending: str = "", md5: str = "") -> str:
        md5 = md5 or hashlib.md5(data, usedforsecurity=False).hexdigest()
        path = self.cache / md5[:2] / (md5[2:] + ending)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return md5 + ending

    def track_file(self, path: str, data: bytes, more: str = "  hash: md5\n") -> str:
        md5 = self.store(data)
        name = path.rpartition("/")[2]
        where = self.root / f"{path}.dvc"
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(f"outs:\n- md5: {md5}\n  size: {len(data)}\n{more}  path: {name}\n")
        return md5

    def track_folder(self, path: str, files: dict[str, bytes]) -> None:
        listed = [{"md5": self.store(data), "relpath": name} for name, data in files.items()]
        md5 = self.store(json.dumps(listed).encode(), ending=".dir")
        (self.root / f"{path}.dvc").write_text(
            f"outs:\n- md5: {md5}\n  size: 9\n  nfiles: {len(files)}\n  hash: md5\n  path: {path}\n"
        )


FILES = {"a.png": b"a" * 10, "deep/b.png": b"b" * 400_000, "deep/caf\u00e9.png": b"c", "empty": b""}


@pytest.mark.parametrize("layout", ["files/md5", ""])
def test_files_and_folders_of_both_layouts_of_the_cache(catalog: Catalog, tmp_path: Path, layout: str) -> None:
    project = Project(tmp_path / "project", layout=layout)
    project.track_file("data/wages.bin", b"wages")
    project.track_folder("images", FILES)
    done = import_dvc(project.root, catalog)
    assert [(each.path, each.name, each.version, each.files) for each in done] == [
        ("images", "images", 1, 4),
        ("data/wages.bin", "data.wages.bin", 1, 1),
    ]
    checkout(catalog.datasets.get(name="images"), tmp_path / "out", catalog)
    assert content(tmp_path / "out") == {name: ("file", data) for name, data in FILES.items()}
    assert [each.version for each in import_dvc(project.root, catalog)] == [1, 1]
    assert len(catalog.datasets.list()) == 2


def test_what_is_missing_or_damaged_is_told_and_the_rest_is_imported(catalog: Catalog, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.track_file("a.bin", b"sound")
    lost = project.track_file("b.bin", b"lost")
    (project.cache / lost[:2] / lost[2:]).unlink()
    damaged = project.track_file("c.bin", b"damaged")
    (project.cache / damaged[:2] / damaged[2:]).write_bytes(b"other")
    (project.root / "d.dvc").write_text("outs:\n  just words\n")
    (project.root / "e.dvc").write_text("outs:\n- md5: ../../../../etc/passwd\n  path: e\n")
    (project.root / "f.dvc").write_text("outs:\n- path: f\n  hash: md5\n")
    done = {each.path: each for each in import_dvc(project.root, catalog)}
    assert done["a.bin"].version == 1
    says = {path: each.problem for path, each in done.items() if each.problem}
    assert "dvc pull" in says["b.bin"]
    assert "other bytes" in says["c.bin"]
    assert "cannot be read as a file of DVC" in says["d.dvc"]
    assert "not an MD5" in says["e"]
    assert "dvc commit" in says["f"]
    assert [version.name for version in catalog.datasets.list()] == ["a.bin"]


def test_text_that_old_dvc_hashed_with_other_line_ends(catalog: Catalog, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", layout="")
    text = b"a line\r\nanother\r\n" * 100
    md5 = hashlib.md5(text.replace(b"\r\n", b"\n"), usedforsecurity=False).hexdigest()
    project.store(text, md5=md5)
    (project.root / "t.txt.dvc").write_text(f"md5: 1\nouts:\n- md5: {md5}\n  path: t.txt\n")
    (done,) = import_dvc(project.root, catalog)
    assert done.problem == ""
    checkout(catalog.datasets.get(name="t.txt"), tmp_path / "t.txt", catalog)
    assert (tmp_path / "t.txt").read_bytes() == text


def test_what_a_pipeline_made_and_where_else_its_cache_is(catalog: Catalog, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    md5 = project.store(b"made")
    project.cache.parent.parent.rename(tmp_path / "shared cache")
    (project.root / ".dvc" / "config.local").write_text("[cache]\n    dir = ../../shared cache\n")
    (project.root / "dvc.lock").write_text(
        "schema: '2.0'\n"
        "stages:\n"
        "  prepare:\n"
        "    cmd: python prepare.py --with many words that make the line so long that it is\n"
        "      folded by whoever writes it\n"
        "    deps:\n"
        "    - path: raw\n"
        "      md5: 00000000000000000000000000000000\n"
        "    outs:\n"
        "    - path: 'it''s made'\n"
        "      hash: md5\n"
        f"      md5: {md5}\n"
        "      size: 4\n"
        "      isexec: true\n"
        "  other:\n"
        "    cmd: none\n"
    )
    (done,) = import_dvc(project.root, catalog, prefix="old.")
    assert (done.name, done.problem, done.version) == ("old.it's made", "", 1)
    checkout(catalog.datasets.get(name="old.it's made"), tmp_path, catalog)
    assert (tmp_path / "it's made").stat().st_mode & 0o100


def test_a_dry_run_changes_nothing(catalog: Catalog, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.track_folder("images", FILES)
    (done,) = import_dvc(project.root, catalog, dry_run=True)
    assert (done.files, done.version) == (4, None)
    assert catalog.datasets.list() == []
    assert list(catalog.objects.digests()) == []


def test_a_folder_that_dvc_does_not_track_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="DVC tracks nothing here"):
        import_dvc(tmp_path, catalog)
