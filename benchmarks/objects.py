"""Many small files and a large one into the object store and out again, and a collection, beside the bare work."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from measure import Figure, Report, alternating, say

FILES, BYTES = 20_000, 4096
LARGE_BYTES = 2_000_000_000


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    small(report, folder, FILES // 4 if quick else FILES)
    large(report, folder, LARGE_BYTES // 8 if quick else LARGE_BYTES)


def small(report: Report, folder: Path, count: int) -> None:
    from blake3 import blake3

    from perennial.store.gc import collect_garbage
    from perennial.store.objects import Copy, ObjectStore
    from perennial.store.records import Records, create_tables
    from perennial.store.tables import import_tables

    say(f"{count} files of {BYTES} bytes")
    source, out = folder / "files", folder / "out"
    source.mkdir()
    paths = [source / f"{number:05}" for number in range(count)]
    for path in paths:
        path.write_bytes(os.urandom(BYTES))
    digests = [blake3(path.read_bytes()).hexdigest() for path in paths]

    def put() -> None:
        shutil.rmtree(folder / "store", ignore_errors=True)
        with ObjectStore(folder / "store") as store, store.until_committed():
            for _ in store.put_files(paths):
                pass

    def get() -> None:
        with ObjectStore(folder / "store") as store:
            for digest in digests:
                store.get(digest)

    def checkout() -> None:
        fresh(out)
        with ObjectStore(folder / "store") as store:
            items = [Copy(digest, b"%s/%05d" % (os.fsencode(out), number)) for number, digest in enumerate(digests)]
            store.checkout_many(items, is_new=True)

    def copied() -> None:
        fresh(out)
        subprocess.run(["cp", "-r", f"{source}/.", out], check=True)

    def hashed() -> None:
        for path in paths:
            blake3(path.read_bytes()).digest()

    def written() -> None:
        """All bytes into one file, and one flush."""
        with (folder / "one").open("wb") as file:
            for path in paths:
                file.write(path.read_bytes())
            file.flush()
            os.fsync(file.fileno())

    def collect() -> None:
        """After `put`: nothing names anything."""
        with ObjectStore(folder / "store") as store, Records.open(f"sqlite:///{folder}/records.db") as records:
            create_tables(records, import_tables())
            collect_garbage(records, store)

    works = {"put": put, "get": get, "checkout": checkout, "copied": copied, "hashed": hashed, "written": written}
    taken = alternating(3, 1, works | {"collect": collect})
    plain = Figure("reading and hashing each file", taken["hashed"], "s")
    report.add(
        f"{count:,} files of 4 KB, put, durable",
        Figure("Perennial", taken["put"], "s"),
        plain,
        Figure("copying all into one file, one flush", taken["written"], "s"),
        aim="0.5 s" if count == FILES else "",
    )
    report.add(f"{count:,} objects of 4 KB, got and verified", Figure("Perennial", taken["get"], "s"), plain)
    report.add(
        f"{count:,} files of 4 KB, written out and verified",
        Figure("Perennial", taken["checkout"], "s"),
        Figure("cp -r", taken["copied"], "s"),
        aim="1.2 x",
    )
    report.add(f"{count:,} objects that nothing names, collected", Figure("Perennial", taken["collect"], "s"), plain)
    shutil.rmtree(source)
    shutil.rmtree(out)


def large(report: Report, folder: Path, size: int) -> None:
    from blake3 import blake3

    from perennial.store.objects import Copy, ObjectStore
    from perennial.types import Digest

    say(f"one file of {size / 1e9:.2g} GB")
    source, target = folder / "large", folder / "large-again"
    with source.open("wb") as file:
        for start in range(0, size, 1 << 24):
            file.write(os.urandom(min(1 << 24, size - start)))
    digest = Digest(blake3(max_threads=blake3.AUTO).update_mmap(source).hexdigest())

    def put() -> None:
        shutil.rmtree(folder / "store", ignore_errors=True)
        with ObjectStore(folder / "store") as store:
            store.put_file(source)

    def checkout() -> None:
        target.unlink(missing_ok=True)
        with ObjectStore(folder / "store") as store:
            store.checkout_many([Copy(digest, os.fsencode(target))], is_new=True)

    def copied() -> None:
        target.unlink(missing_ok=True)
        subprocess.run(["cp", source, target], check=True)

    def copied_durably() -> None:
        copied()
        subprocess.run(["sync", target], check=True)

    works = {"put": put, "checkout": checkout, "copied": copied, "copied_durably": copied_durably}
    taken = alternating(2, 0, works)
    says = f"one file of {size / 1e9:.2g} GB of random bytes"
    report.add(
        f"{says}, put, durable",
        Figure("Perennial", taken["put"], "s"),
        Figure("cp, and one flush", taken["copied_durably"], "s"),
        aim="2 s" if size == LARGE_BYTES else "",
    )
    plain = Figure("cp", taken["copied"], "s")
    report.add(f"{says}, written out and verified", Figure("Perennial", taken["checkout"], "s"), plain, aim="1.2 x")
    source.unlink()
    target.unlink()
    shutil.rmtree(folder / "store")


def fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
