"""Millions of captured predictions: written as the service writes them, taken up, merged, and looked for.

Frames of one row of scikit-learn's digits (64 numbers, 10 probabilities) go through the real writer into segments, and
the owner's ingest makes a Parquet chunk of what is new again and again; then tending merges the chunks. Each part runs
in a process of its own, so that its peak of memory is its own. `python benchmarks/compaction.py [--rows 2000000]`.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from processes import environment

TOGETHER = 64  # frames of one write: what a busy front has in one turn of its loop
SECOND_US = 1_000_000
DIFFERENT = 30_000  # rows; more than a slice, so that no chunk is small because its rows repeat
SLICE = 20_000  # rows that are new when they are taken up: an owner looks every moment
APART_US = 40_000  # between two requests: two million are a day
START_US = 1_780_000_000 * SECOND_US
ENDPOINT = "digits"
LOOKUPS = 200


class Watch:
    """Time and processor time of something that is done in pieces."""

    def __init__(self) -> None:
        self._s = self._cpu_s = self._began = self._cpu_began = 0.0

    def go(self) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self._s += time.perf_counter() - self._began
        self._cpu_s += time.process_time() - self._cpu_began

    def told(self) -> dict[str, float]:
        return {"s": self._s, "cpu_s": self._cpu_s}


def fill(folder: Path, rows: int) -> dict[str, Any]:
    """Write the segments, and take up what is new after each slice."""
    import numpy as np
    from sklearn.datasets import load_digits

    from perennial.serve.frames import Answered, encode
    from perennial.serve.segments import SegmentWriter
    from perennial.store.files import LocalFiles
    from perennial.types import Micros

    images, labels = load_digits(return_X_y=True)
    draw = np.random.default_rng(0)
    chosen = draw.integers(0, len(images), DIFFERENT)
    noise = draw.integers(-1, 2, (DIFFERENT, 64)) * (images[chosen] > 0)
    asked: list[list[float]] = np.clip(images[chosen] + noise, 0, 16).tolist()
    tables = draw.dirichlet(np.ones(10) * 0.2, DIFFERENT).round(4).tolist()
    answers: list[int] = labels[chosen].tolist()
    writer = SegmentWriter(folder / "serving" / "segments", LocalFiles())
    layout = writer.layout(ENDPOINT, [f"pixel_{at}" for at in range(64)], classes=list(range(10)))
    predictions, _ = opened(folder)
    writing, taking = Watch(), Watch()
    taken = 0
    writing.go()
    for first in range(0, rows, TOGETHER):
        frames: list[bytes] = []
        for number in range(first, min(first + TOGETHER, rows)):
            at = START_US + number * APART_US
            which = number % DIFFERENT
            told = writer.issue(1, Micros(at))
            frames.append(encode(Answered(
                id=told, at=at, layout=layout, key=told, request="", status=200, versions=1 + number * 4 // rows,
                arms="live", rows=[asked[which]], values=[answers[which]], probabilities=[tables[which]],
                latency_us=200 + number % 100, source="plain",
            )))  # fmt: skip
        writer.append_many(frames, rows=len(frames))
        if (first + TOGETHER) % SLICE < TOGETHER or first + TOGETHER >= rows:
            if first + TOGETHER >= rows:
                writer.close()
            writing.stop()
            taking.go()
            report = predictions.ingest()
            taking.stop()
            taken += report.predictions
            if report.damaged:
                raise SystemExit(f"{report.damaged} frames are damaged")
            writing.go()
    writing.stop()
    if taken != rows:
        raise SystemExit(f"{taken} of {rows} rows were taken up")
    size = sum(path.stat().st_size for path in (folder / "serving" / "segments").iterdir())
    return {**writing.told(), "taking": taking.told(), "written": size, **chunks(predictions, folder),
            "segments": len(list((folder / "serving" / "segments").iterdir()))}  # fmt: skip


def opened(folder: Path) -> tuple[Any, Any]:
    from perennial.capture.predictions import Predictions
    from perennial.store.objects import ObjectStore
    from perennial.store.records import Records, create_tables
    from perennial.store.tables import import_tables

    import_tables()
    objects = ObjectStore(folder / "objects")
    records = Records.open(f"sqlite:///{folder / 'records.db'}")
    create_tables(records)
    return Predictions(records, objects, folder / "serving" / "segments"), objects


def tend(folder: Path, rows: int) -> dict[str, Any]:
    """Merge what is small, and delete segments that are taken up."""
    predictions, _ = opened(folder)
    before = chunks(predictions, folder)["chunks"]
    watch = Watch()
    watch.go()
    report = predictions.tend()
    watch.stop()
    after = chunks(predictions, folder)
    if after["rows"] != rows:
        raise SystemExit(f"{after['rows']} of {rows} rows are there after merging")
    return {**watch.told(), "merged": report.merged, "into": report.into, "before": before,
            "deleted": report.deleted_segments, **after}  # fmt: skip


def chunks(predictions: Any, folder: Path) -> dict[str, Any]:
    """What the catalogue holds."""
    found = predictions.chunks(endpoint=ENDPOINT)
    sizes = [path.stat().st_size for path in (folder / "objects").rglob("*") if path.is_file()]
    named = sum(_size(folder, chunk.digest) for chunk in found)
    return {"chunks": len(found), "rows": sum(chunk.rows for chunk in found), "bytes": named, "objects": sum(sizes)}


def _size(folder: Path, digest: str) -> int:
    from perennial.store.objects import ObjectStore
    from perennial.types import Digest

    with ObjectStore(folder / "objects") as objects:
        return objects.size(Digest(digest))


def find(folder: Path, rows: int) -> dict[str, Any]:
    """Look for predictions by id, by time, and by version; each found one is checked."""
    predictions, _ = opened(folder)
    draw = random.Random(0)
    found = predictions.search(endpoint=ENDPOINT, limit=1000)  # the newest
    span = rows * APART_US
    took: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        got = work()
        took.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        return got

    ids = [told.id for told in found[:20]]
    for _ in range(LOOKUPS // 10):
        since = START_US + draw.randrange(max(1, span - 60 * SECOND_US))
        until = since + 60 * SECOND_US
        told = timed("a minute, the newest 50", lambda a=since, b=until: predictions.search(
            endpoint=ENDPOINT, since=a, until=b))  # fmt: skip
        if not told or not all(since <= one.at < until for one in told):
            raise SystemExit("what was found is not of the minute")
        ids += [one.id for one in told[:5]]
        version = draw.randrange(1, 5)
        told = timed("a version, the newest 50", lambda v=version: predictions.search(endpoint=ENDPOINT, version=v))
        if {one.version for one in told} != {version} or len(told) != 50:
            raise SystemExit("what was found is not of the version")
    draw.shuffle(ids)
    for id_ in ids[:LOOKUPS]:
        one = timed("an id", lambda i=id_: predictions.find(prediction_id=i))
        if one.id != id_ or len(one.input) != 64:
            raise SystemExit(f"{id_} was not found as it was written")
    return {name: {"median": sorted(times)[len(times) // 2], "p95": sorted(times)[int(len(times) * 0.95)],
                   "n": len(times)} for name, times in took.items()}  # fmt: skip


PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {"fill": fill, "tend": tend, "find": find}


def part(name: str, folder: Path, rows: int) -> dict[str, Any]:
    """Run one part in a process of its own; with its peak of memory."""
    done = subprocess.run(
        [sys.executable, __file__, "--part", name, "--folder", str(folder), "--rows", str(rows)],
        env=environment(OMP_NUM_THREADS="1", POLARS_MAX_THREADS="1"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", choices=PARTS)
    options = parser.parse_args()
    rows: int = options.rows
    if options.part:
        told = PARTS[options.part](options.folder, rows)
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        print(json.dumps(told | {"peak_mb": peak / 1e6}))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        filled = part("fill", folder, rows)
        written = filled["written"]
        print(f"{'':<12}{'rows/s':>12}{'of CPU':>12}{'MB/s':>9}{'s':>9}{'peak MB':>9}{'bytes/row':>11}")

        def line(told: dict[str, Any], name: str, size: float, says: str) -> None:
            print(
                f"{name:<12}{rows / told['s']:>12,.0f}{rows / told['cpu_s']:>12,.0f}"
                f"{written / 1e6 / told['s']:>9.0f}{told['s']:>9.1f}"
                f"{told['peak_mb']:>9.0f}{size / rows:>11.0f}  {says}", flush=True,
            )  # fmt: skip

        line(filled, "written", written, f"{filled['segments']} segments, {written / 1e6:,.0f} MB")
        taken = filled | filled["taking"]
        line(taken, "taken up", taken["bytes"], f"{taken['chunks']} chunks")
        merged = part("tend", folder, rows)
        line(merged, "merged", merged["bytes"], f"{merged['merged']} chunks into {merged['into']}, {merged['chunks']} "
             f"are there; {merged['deleted']} segments deleted")  # fmt: skip
        for what, times in part("find", folder, rows).items():
            if what != "peak_mb":
                print(f"{what:<26}median {times['median']:>8.1f} ms  95 % {times['p95']:>8.1f} ms  of {times['n']}")


if __name__ == "__main__":
    main()
