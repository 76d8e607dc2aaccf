"""Many small files into the object store and out again, beside reading and hashing them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from measure import Figure, Report, alternating, say

FILES, BYTES = 20_000, 4096


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    from blake3 import blake3

    from perennial.store.objects import ObjectStore

    count = FILES // 4 if quick else FILES
    say(f"{count} files of {BYTES} bytes")
    source = folder / "files"
    source.mkdir()
    paths = [source / f"{number:05}" for number in range(count)]
    for path in paths:
        path.write_bytes(os.urandom(BYTES))
    digests: list[str] = []

    def put() -> None:
        shutil.rmtree(folder / "store", ignore_errors=True)
        with ObjectStore(folder / "store") as store:
            digests[:] = store.put_many(path.read_bytes() for path in paths)

    def get() -> None:
        with ObjectStore(folder / "store") as store:
            for digest in digests:
                store.get(digest)

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

    taken = alternating(3, 1, {"put": put, "get": get, "hashed": hashed, "written": written})
    plain = Figure("reading and hashing each file", taken["hashed"], "s")
    report.add(
        f"{count:,} files of 4 KB, put, durable",
        Figure("Perennial", taken["put"], "s"),
        plain,
        Figure("copying all into one file, one flush", taken["written"], "s"),
        aim="1.0 s" if count == FILES else "",
    )
    report.add(f"{count:,} objects of 4 KB, got and verified", Figure("Perennial", taken["get"], "s"), plain)
    shutil.rmtree(source)
