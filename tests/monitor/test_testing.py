"""`assert_no_shift` fails for what has shifted, with columns and numbers, and passes for what has not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import perennial.monitor
from perennial.monitor.reporting.testing import Shifted, assert_no_shift

N = 2000


def rows(seed: int, *, shift: float = 0.0, factor: float = 1.0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "id": np.arange(N),
            "age": draw.normal(40.0 + shift, 10.0, N),
            "income": draw.gamma(4.0, 500.0, N) * factor,
            "town": draw.choice(["Lyon", "Oslo", "Riga"], N),
        }
    )


@pytest.mark.parametrize(
    "of", [pl.from_arrow, pa.Table.to_pandas, lambda table: table], ids=["polars", "pandas", "arrow"]
)
def test_frames_of_three_libraries_pass_when_nothing_changed(of: object) -> None:
    assert callable(of)
    report = assert_no_shift(of(rows(0).to_arrow()), of(rows(1).to_arrow()))
    assert [one.name for one in report.columns] == ["age", "income", "town"]
    assert report.left_out == {"id": "a row counter: ascending, every value once"}


def test_what_shifted_is_named_with_its_numbers() -> None:
    with pytest.raises(Shifted) as failed:
        assert_no_shift(rows(0), rows(1, shift=8.0))
    message = str(failed.value)
    assert re.search(
        r"^2,000 rows are not like the 2,000 of the reference:\n  age shifted: PSI 0\.\d+, 0\.05 tolerated", message
    )
    assert re.search(r"mean [34]\d\.\d+ before, 4[78]\.\d+ now", message)
    assert "income" not in message
    assert "at most 5 %" in message
    assert failed.value.report.shifted[0].name == "age"


def test_another_unit_is_told_as_one() -> None:
    with pytest.raises(AssertionError, match="income looks like 1000 times what it was: another unit"):
        assert_no_shift(rows(0), rows(1, factor=1000.0))


def test_what_is_tolerated_passes() -> None:
    shifted = rows(1, shift=3.0)
    with pytest.raises(Shifted):
        assert_no_shift(rows(0), shifted, tolerance=0.01)
    assert_no_shift(rows(0), shifted, tolerance=0.25)


def test_columns_are_chosen_or_ignored() -> None:
    shifted = rows(1, shift=8.0)
    assert_no_shift(rows(0), shifted, ignore=["age"])
    report = assert_no_shift(rows(0), shifted, columns=["town"])
    assert [one.name for one in report.columns] == ["town"]


def test_too_few_rows_are_no_success() -> None:
    with pytest.raises(Shifted, match=r"too few rows to tell for 3 of 3 columns \(age, income, town\)"):
        assert_no_shift(rows(0), rows(1).head(20))
    assert_no_shift(rows(0), rows(1).head(20), undecided="pass")


def test_a_model_that_got_worse_fails() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(0.0, 1.0, N)
    before = pl.DataFrame({"x": x, "y": x + draw.normal(0.0, 0.1, N), "answer": x})
    now = before.with_columns(y=pl.col("x") + 1.0)
    with pytest.raises(Shifted, match="the answers are worse: RMSE 1 "):
        assert_no_shift(before, now, target="y", prediction="answer")


def test_files_are_taken_as_they_lie(tmp_path: Path) -> None:
    rows(0).write_parquet(tmp_path / "before.parquet")
    rows(1, shift=8.0).write_csv(tmp_path / "now.csv")
    page = tmp_path / "pages" / "report.html"
    with pytest.raises(Shifted, match="the whole report: "):
        assert_no_shift(tmp_path / "before.parquet", str(tmp_path / "now.csv"), html=page)
    assert "What was found" in page.read_text()


def test_the_room_offers_both_functions() -> None:
    assert perennial.monitor.assert_no_shift is assert_no_shift
    frame = rows(0).to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert perennial.monitor.compare(frame, rows(1), thorough=False).is_quiet


def test_the_same_rows_again_are_a_copy() -> None:
    report = perennial.monitor.compare(rows(0), rows(0), thorough=False)
    assert [one.kind for one in report.issues] == ["stale copy"]
    assert not report.shifted


TESTS = """\
import polars as pl

def test_same(assert_no_shift):
    assert_no_shift("before.parquet", "same.parquet")

def test_older(assert_no_shift):
    assert_no_shift("before.parquet", "older.parquet")
"""


def test_pytest_shows_the_columns_and_no_traceback(tmp_path: Path) -> None:
    for name, frame in (("before", rows(0)), ("same", rows(1)), ("older", rows(2, shift=8.0))):
        frame.write_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "test_data.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "--shift-reports", "pages", "test_data.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert re.search(r"^  age shifted: PSI 0\.\d+, 0\.05 tolerated", done.stdout, re.MULTILINE)
    assert "perennial/monitor/reporting/testing.py" not in done.stdout
    assert [page.name for page in (tmp_path / "pages").iterdir()] == ["test_older.html"]


def test_pytest_starts_without_anything_heavy() -> None:
    heavy = "{'numpy', 'polars', 'sklearn', 'pandas'}"
    code = f"import sys, perennial.monitor.reporting.pytest_plugin; print(*{heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
