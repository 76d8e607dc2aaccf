"""Collecting a table takes the same memory however large the table is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# Over what the process takes when everything is imported and has run once. How many groups of rows a plan reads ahead
# is decided by polars; here each is a million rows.
LIMITS_MB = {"files": 256, "plan": 640}
SCRIPT = """
import re, sys
from pathlib import Path
import polars as pl
from perennial.api import connect
from perennial.data import sources
from perennial.data.collect import collect

def memory_mb(of):
    return int(re.search(of + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000

kind, small, large, home = sys.argv[1:]
make = {"files": sources.files, "plan": lambda folder: pl.scan_parquet(f"{folder}/*.parquet")}[kind]
with connect.open(Path(home)) as ws:
    collect(make(small), name="small", rooms=ws.data)
    before = memory_mb("VmRSS")
    version = collect(make(large), name="large", rooms=ws.data)
    print(version.rows, memory_mb("VmHWM") - before)
"""


def write(folder: Path, files: int, rows: int) -> int:
    """Parquet files whose rows are hard to pack; gives their bytes."""
    random = np.random.default_rng(0)
    words = pa.array([f"word {number}" for number in range(1000)])
    folder.mkdir()
    for number in range(files):
        columns = {
            "id": np.arange(number * rows, (number + 1) * rows),
            "a": random.random(rows),
            "b": random.normal(size=rows),
            "c": random.integers(0, 10**9, rows),
            "s": words.take(pa.array(random.integers(0, 1000, rows))),
        }
        pq.write_table(pa.table(columns), folder / f"{number:03}.parquet", compression="none", use_dictionary=["s"])
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", LIMITS_MB)
def test_a_gigabyte_is_collected_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "small", 1, 300_000)
    assert write(tmp_path / "large", 31, 1_000_000) >= 10**9
    arguments = [kind, str(tmp_path / "small"), str(tmp_path / "large"), str(tmp_path / "home")]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
    rows, more_mb = done.stdout.split()
    assert int(rows) == 31_000_000
    assert float(more_mb) < LIMITS_MB[kind]
