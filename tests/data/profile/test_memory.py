"""A table larger than what memory is allowed is profiled, and compared, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

LIMIT_MB = 256  # over what the imports take

PROGRAM = """
import resource, sys, threading, time
import psutil
from perennial.data.profile import profile
from perennial.data.profile.drift import drift
from perennial.data.profile.page import page
from perennial.data.scan import scan
import polars, pyarrow.parquet
me, most, done = psutil.Process(), [0], threading.Event()
before = me.memory_info().rss
def watch():
    while not done.wait(0.005):
        most[0] = max(most[0], me.memory_info().rss)
threading.Thread(target=watch, daemon=True).start()
source = scan(sys.argv[1])
page(profile(source, target="n0"))
drift(source, source)
done.set()
print((most[0] - before) / 2**20)
"""


def write(path: Path, megabytes: int) -> None:
    """Random numbers, categories and keys, in row groups as writers make them; the bytes of the file as asked for."""
    random = np.random.default_rng(0)
    rows = 250_000
    writer = None
    while writer is None or path.stat().st_size < megabytes * 2**20:
        columns: dict[str, pa.Array] = {f"n{k}": pa.array(random.normal(size=rows)) for k in range(8)}
        columns["category"] = pa.array(np.array(["red", "green", "blue"])[random.integers(0, 3, rows)])
        columns["key"] = pa.array(random.integers(0, 10**9, rows)).cast(pa.string())
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def memory_mb(path: Path) -> float:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_a_table_is_profiled_and_compared_within_the_memory_limit(tmp_path: Path) -> None:
    write(tmp_path / "large.parquet", 150)
    assert memory_mb(tmp_path / "large.parquet") < LIMIT_MB


@pytest.mark.long
def test_a_gigabyte_of_parquet_is_profiled_within_the_memory_limit(tmp_path: Path) -> None:
    write(tmp_path / "large.parquet", 1024)
    assert memory_mb(tmp_path / "large.parquet") < LIMIT_MB


def test_long_texts_that_take_more_than_the_memory_limit_are_profiled_within_it(tmp_path: Path) -> None:
    texts = [str(k) + "x" * 20_000 for k in range(14_000)]
    pq.write_table(
        pa.table({"n0": np.arange(14_000.0), "text": texts}),
        tmp_path / "long.parquet",
        compression="none",
        use_dictionary=False,
        row_group_size=1_000,
    )
    assert (tmp_path / "long.parquet").stat().st_size > LIMIT_MB * 2**20
    assert memory_mb(tmp_path / "long.parquet") < LIMIT_MB
