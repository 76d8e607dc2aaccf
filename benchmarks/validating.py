"""Twelve checks of 10 million rows x 10 columns in one Parquet file, and drift and profile, beside peers and limits.

Each figure is of a process of its own, from after the imports to the verdict, reading included, with its peak memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from measure import Figure, Report, say
from peers import SILENT, python_of, version_of

SHARED = Path(__file__).parents[2] / "shared" / "bench" / "peers" / "validation.py"

OURS = """
import json, resource, sys, time
import polars, pyarrow, pyarrow.parquet
from pathlib import Path
from perennial.data.scan import scan
from perennial.data.schema import Column, Schema
from perennial.data.validation import validate
colors = ["red", "green", "blue", "black", "white"]
schema = Schema(columns=[
    Column(name="id", type="int64", unique=True),
    Column(name="age", type="int64", at_least=0, at_most=120),
    Column(name="qty", type="int64", at_least=1, at_most=1000),
    Column(name="x0", type="float64", at_least=-50, at_most=50),
    *(Column(name=f"x{i}", type="float64", nullable=True) for i in (1, 2, 3)),
    Column(name="color", type="string", categories=colors),
    Column(name="kind", type="string", categories=colors, nullable=True),
    Column(name="code", type="string", patterns=["[A-Z]{2}-[0-9]{6}"]),
])
began = time.perf_counter()
found = validate(scan(Path(sys.argv[1])), schema)
wall = time.perf_counter() - began
assert found.violations == [], found.violations
print(json.dumps({"wall": wall, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

DRIFT = """
import json, resource, sys, time
import numpy as np, polars as pl
from perennial.data.profile.drift import drift
from perennial.data.scan import scan
def side(seed, rows, shift):
    draw = np.random.default_rng(seed)
    numbers = {f"n{i}": draw.normal(shift if i < 3 else 0, 1, rows) for i in range(20)}
    texts = {f"c{i}": draw.choice(["a", "b", "c", "d", "e", "f", "g", "h"], rows).tolist() for i in range(5)}
    return scan(pl.DataFrame({**numbers, **texts}))
rows = int(sys.argv[1])
one, other = side(0, rows, 0.0), side(1, rows, 0.3)
drift(one, other)
began = time.perf_counter()
found = drift(one, other)
wall = time.perf_counter() - began
assert sum(column.decision == "shifted" for column in found) == 3
print(json.dumps({"wall": wall, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

EVIDENTLY = """
import json, resource, sys, time
import numpy as np, pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
def side(seed, rows, shift):
    draw = np.random.default_rng(seed)
    numbers = {f"n{i}": draw.normal(shift if i < 3 else 0, 1, rows) for i in range(20)}
    texts = {f"c{i}": draw.choice(list("abcdefgh"), rows) for i in range(5)}
    return pd.DataFrame({**numbers, **texts})
rows = int(sys.argv[1])
one, other = side(0, rows, 0.0), side(1, rows, 0.3)
began = time.perf_counter()
Report([DataDriftPreset()]).run(other, one).dict()
wall = time.perf_counter() - began
print(json.dumps({"wall": wall, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

PROFILE = """
import json, resource, sys, time
import polars
from pathlib import Path
from perennial.data.profile.page import page
from perennial.data.profile.profiles import profile
from perennial.data.scan import scan
began = time.perf_counter()
page(profile(scan(Path(sys.argv[1]))))
wall = time.perf_counter() - began
print(json.dumps({"wall": wall, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

SCAN = """
import json, resource, sys, time
import polars as pl
import polars.selectors as cs
began = time.perf_counter()
pl.scan_parquet(sys.argv[1]).select(pl.all().null_count().name.suffix(" n"), cs.numeric().mean().name.suffix(" m"),
    cs.numeric().std().name.suffix(" s"), cs.numeric().min().name.suffix(" l"), cs.numeric().max().name.suffix(" h"),
    pl.all().approx_n_unique().name.suffix(" d")).collect(engine="streaming")
wall = time.perf_counter() - began
print(json.dumps({"wall": wall, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

MAKE = """
import sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
path, rows = sys.argv[1], int(sys.argv[2])
draw, writer, colors = np.random.default_rng(0), None, np.array(["red", "green", "blue", "black", "white"])
for first in range(0, rows, 1_000_000):
    n = min(1_000_000, rows - first)
    ids = np.arange(first, first + n)
    table = pa.table({"id": ids, "age": draw.integers(0, 100, n), "qty": draw.integers(1, 1000, n),
        **{f"x{i}": draw.normal(size=n) for i in range(4)}, "color": pa.array(colors[draw.integers(0, 5, n)]),
        "kind": pa.array(colors[draw.integers(0, 5, n)]),
        "code": pa.array(np.char.add("AB-", (100000 + ids % 900000).astype(str)))})
    writer = writer or pq.ParquetWriter(path, table.schema)
    writer.write_table(table)
writer.close()
"""


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    rows = 1_000_000 if quick else 10_000_000
    path = folder / "rows.parquet"
    _python(sys.executable, MAKE, str(path), str(rows))
    rounds = 3
    say(f"{rows:,} rows, twelve checks")
    beside = [("polars, one plan in memory", "limit-polars"), ("polars, streaming", "limit-polars-streaming")]
    peers = python_of("checks", "dataframely", "pandera[polars]", "great_expectations", "pandas", "pyarrow", "psutil")
    told: dict[str, list[dict[str, float]]] = {"Perennial": []}
    for _ in range(rounds):
        told["Perennial"].append(_python(sys.executable, OURS, str(path)))
        for says, peer in beside:
            told.setdefault(says, []).append(_shared(sys.executable, peer, rows, path))
        for package, peer in (("dataframely", "dataframely"), ("pandera", "pandera-polars")) if peers else ():
            told.setdefault(f"{package} {version_of(peers, package)}", []).append(_shared(peers, peer, rows, path))
    if peers and not quick:
        says = f"Great Expectations {version_of(peers, 'great_expectations')}"
        told[says] = [_shared(peers, "gx-pandas", rows, path)]
    for unit, key, what in (("s", "wall", "validated"), ("MB", "peak", "validated: peak memory")):
        ours, *others = (Figure(says, [one[key] for one in found], unit) for says, found in told.items() if found)
        aim = ("1.2 s" if key == "wall" else "1,000 MB") if not quick else ""
        report.add(f"{rows:,} rows x 10 columns, 12 checks, {what}", ours, *others, aim=aim)
    say("profile")
    ours, limit = ([_python(sys.executable, code, str(path)) for _ in range(rounds)] for code in (PROFILE, SCAN))
    name = "one streaming pass of polars: counts, moments, rough distinct counts"
    for unit, key, what in (("s", "wall", ""), ("MB", "peak", ": peak memory")):
        report.add(
            f"{rows:,} rows x 10 columns, profile and page{what}",
            Figure("Perennial", [one[key] for one in ours], unit),
            Figure(name, [one[key] for one in limit], unit),
        )
    path.unlink()
    evidently = python_of("evidently", "evidently", "pandas<3")
    for number, aim in ((100_000, "0.06 s"), (1_000_000, "0.4 s")):
        say(f"drift of 25 columns, {number:,} rows a side")
        ours = Figure("Perennial", [_python(sys.executable, DRIFT, str(number))["wall"] for _ in range(rounds)], "s")
        others: list[Figure] = []
        if evidently and number == 100_000:
            walls = [_python(evidently, EVIDENTLY, str(number))["wall"] for _ in range(1 if quick else rounds)]
            others.append(Figure(f"Evidently {version_of(evidently, 'evidently')}", walls, "s"))
        report.add(f"drift of 25 columns, {number:,} rows a side", ours, *others, aim=aim)


def _shared(python: Path | str, peer: str, rows: int, path: Path) -> dict[str, float]:
    command = [str(python), str(SHARED), "--peer", peer, "--n", str(rows), "--data", str(path), "--child"]
    return _ran(command)


def _python(python: Path | str, code: str, *words: str) -> dict[str, float]:
    return _ran([str(python), "-c", code, *words])


def _ran(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, env={**os.environ, **SILENT}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[:4]}: {done.stderr[-2000:]}")
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines else {}
