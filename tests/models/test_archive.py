"""Archives of strangers: what is not a plain file with a plain name is refused by name, and nothing lies elsewhere."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perennial.errors import Invalid, PerennialError, TooLarge
from perennial.models.archive import FREE, Limits, is_archive, unpack


def zipped(path: Path, *members: tuple[Any, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as opened:
        for name, data in members:
            opened.writestr(name, data)
    return path


def tarred(path: Path, *members: tuple[Any, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as opened:  # type: ignore[call-overload]
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data) if info.isreg() else 0
            opened.addfile(info, io.BytesIO(data))
    return path


def unix(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    return info


def in_tar(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("pack, name", [(zipped, "a.zip"), (tarred, "a.tar.gz"), (tarred, "a.tar")])
def test_files_come_out_as_they_went_in(tmp_path: Path, pack: Callable[..., Path], name: str) -> None:
    big = os.urandom(3_000_000)
    archive = pack(tmp_path / name, ("MLmodel", b"flavors: {}"), ("./data/model.ubj", big), ("data/empty", b""))
    assert is_archive(archive)
    paths = unpack(archive, tmp_path / "out")
    assert paths == ["MLmodel", "data/model.ubj", "data/empty"]
    assert (tmp_path / "out/data/model.ubj").read_bytes() == big
    assert stat.S_IMODE((tmp_path / "out/MLmodel").stat().st_mode) == 0o600


BAD_NAMES = {
    "../outside": "leads out of the folder",
    "a/../../outside": "leads out of the folder",
    "/tmp/outside": "has an absolute name",
    "a\\..\\outside": "has a backslash in its name",
    "C:outside": "names a drive",
    "line\nbreak": "has a name that is none",
    "x" * 1001: "has a name that is none",
}


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_C11_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, pack: Callable[..., Path], name: str) -> None:
    archive = pack(tmp_path / "a", ("good", b"1"), (name, b"marker"))
    with pytest.raises(Invalid, match="the archive's member") as caught:
        unpack(archive, tmp_path / "deep/er/out")
    assert BAD_NAMES[name] in caught.value.what
    assert ascii(name)[1:60] in caught.value.what
    assert everything_in(tmp_path) == ["a", "deep", "deep/er", "deep/er/out", "deep/er/out/good"]


def test_C11_a_NUL_does_not_hide_the_end_of_a_name(tmp_path: Path) -> None:
    data = zipped(tmp_path / "a.zip", ("model.txt#.py", b"marker")).read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(b"model.txt#.py", b"model.txt\x00.py"))
    with pytest.raises(Invalid, match="has a name that is none"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_C11_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int) -> None:
    archive = zipped(tmp_path / "a.zip", (unix("inner", kind), b"/etc/passwd"), ("inner/x", b"marker"))
    with pytest.raises(Invalid, match="'inner' is a link or a device"):
        unpack(archive, tmp_path / "out")
    assert everything_in(tmp_path / "out") == []


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
def test_C11_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tarred(tmp_path / "a.tgz", (in_tar("inner", kind, "/etc"), b""), ("inner/x", b"marker"))
    if kind == tarfile.CONTTYPE:  # an old name for a regular file; what lies below it is the mistake
        with pytest.raises(Invalid, match="'inner/x' lies below a file of the same name"):
            unpack(archive, tmp_path / "out")
        return
    with pytest.raises(Invalid, match="'inner' is a link or a device"):
        unpack(archive, tmp_path / "out")
    assert everything_in(tmp_path / "out") == []


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(
    "first, second",
    [
        ("MLmodel", "mlmodel"),
        ("straße", "STRASSE"),
        ("caf\u00e9", "cafe\u0301"),
        ("a/b", "A/B"),
        ("a", "a"),
        ("a/b", "a"),
        ("a", "A/b"),
        ("a", "./a"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_C11_names_that_a_disk_may_take_for_one_are_refused(
    tmp_path: Path, pack: Callable[..., Path], first: str, second: str
) -> None:
    archive = pack(tmp_path / "a", (first, b"1"), (second, b"2"))
    with pytest.raises(Invalid, match=r"is there twice|lies below a file") as caught:
        unpack(archive, tmp_path / "out")
    assert ascii(second) in caught.value.what


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_C11_a_bomb_is_refused_before_it_is_written(tmp_path: Path, pack: Callable[..., Path]) -> None:
    archive = pack(tmp_path / "a", ("good", b"1"), ("bomb", bytes(8 * FREE)))
    assert archive.stat().st_size * 100 < 8 * FREE
    with pytest.raises(TooLarge, match="more than 100 times its size, reached in"):
        unpack(archive, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) <= FREE + 1


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_C11_limits_of_count_size_and_ratio_hold_from_one_above(tmp_path: Path, pack: Callable[..., Path]) -> None:
    archive = pack(tmp_path / "a", *((f"f{i}", os.urandom(1000)) for i in range(4)))
    unpack(archive, tmp_path / "fits", limits=Limits(count=4, size=4000))
    with pytest.raises(TooLarge, match="more than 3 members"):
        unpack(archive, tmp_path / "many", limits=Limits(count=3))
    with pytest.raises(TooLarge, match=r"more than 3999 bytes, reached in 'f3'"):
        unpack(archive, tmp_path / "large", limits=Limits(size=3999))
    dense = pack(tmp_path / "b", ("zeros", bytes(FREE + 1)))
    ratio = -(-(FREE + 1) // dense.stat().st_size)
    unpack(dense, tmp_path / "dense", limits=Limits(ratio=ratio))
    with pytest.raises(TooLarge, match=f"more than {ratio - 1} times"):
        unpack(dense, tmp_path / "denser", limits=Limits(ratio=ratio - 1))


def test_C11_a_zip_that_lies_about_sizes_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("lie", bytes(1_000_000)))
    data = archive.read_bytes()
    size = (1_000_000).to_bytes(4, "little")
    assert data.count(size) == 2
    archive.write_bytes(data.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(PerennialError, match="archive"):
        unpack(archive, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) <= 10


def test_C11_a_tar_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    with gzip.open(tmp_path / "a.tgz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            file.write(b"x" * (1 << 20))
    with pytest.raises((Invalid, TooLarge), match="header"):
        unpack(tmp_path / "a.tgz", tmp_path / "out")


def test_C11_sparse_encrypted_and_oddly_compressed_members_are_refused(tmp_path: Path) -> None:
    sparse = tarfile.TarInfo("holes")
    sparse.type = tarfile.GNUTYPE_SPARSE
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as opened:
        opened.addfile(sparse, io.BytesIO(b""))
    with pytest.raises(Invalid, match="sparse file"):
        unpack(tmp_path / "a.tar", tmp_path / "o1")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_BZIP2) as packed:
        packed.writestr("model", b"x" * 100)
    with pytest.raises(Invalid, match="compressed by method 12"):
        unpack(tmp_path / "b.zip", tmp_path / "o2")
    data = bytearray(zipped(tmp_path / "c.zip", ("model", b"x")).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "c.zip").write_bytes(data)
    with pytest.raises(Invalid, match="'model' is encrypted"):
        unpack(tmp_path / "c.zip", tmp_path / "o3")


def test_C11_what_is_no_archive_is_refused_and_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"not a zip")
    assert not is_archive(tmp_path / "a.zip")
    with pytest.raises(Invalid, match="damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    archive = zipped(tmp_path / "b.zip", ("a", b"1"))
    archive.write_bytes(archive.read_bytes()[:-10])
    with pytest.raises(Invalid, match="damaged"):
        unpack(archive, tmp_path / "cut")
    (tmp_path / "there").mkdir()
    with pytest.raises(Invalid, match="a new folder only"):
        unpack(zipped(tmp_path / "c.zip", ("a", b"1")), tmp_path / "there")
    assert everything_in(tmp_path / "there") == []
