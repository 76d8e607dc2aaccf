"""A signature fixes the types of the frame that a model is given."""

from __future__ import annotations

import subprocess
import sys

import polars as pl

from perennial.models.rows import to_frame
from perennial.models.signature import Field, Signature

SALARY = Signature(
    inputs=[
        Field(name="person", type="int64", required=False),
        Field(name="date", type="date", required=False),
        Field(name="education", type="int64"),
        Field(name="experience", type="float64", nullable=True),
        Field(name="occupation", type="string", categories=["clerk", "farmer"]),
        Field(name="union", type="bool"),
    ],
    columns=[Field(name="education", type="int64")],
    output=Field(name="log_wage", type="float64"),
    task="regression",
    key="person",
    time="date",
)
GOOD = {"education": 12, "experience": 2.5, "occupation": "clerk", "union": True}


def test_records_become_a_frame_of_exactly_the_input_types() -> None:
    frame = to_frame(SALARY, [{**GOOD, "experience": None}, GOOD])
    assert frame.schema == {
        "education": pl.Int64(),
        "experience": pl.Float64(),
        "occupation": pl.String(),
        "union": pl.Boolean(),
    }
    assert frame["experience"].to_list() == [None, 2.5]


def test_reading_a_package_imports_no_frame_library() -> None:
    program = (
        "import sys, perennial.models.signature, perennial.models.package;"
        "heavy = ('polars', 'numpy', 'pandas', 'pyarrow', 'sklearn', 'narwhals', 'sqlalchemy');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_optional_columns_are_left_out_of_the_frame_wherever_they_are_sent() -> None:
    frame = to_frame(SALARY, [GOOD, {"person": 7, "date": "1981-01-01", **GOOD}])
    assert frame.columns == ["education", "experience", "occupation", "union"]
    assert frame.height == 2


def test_a_time_without_zone_is_utc_and_missing_times_stay_missing() -> None:
    times = Signature(
        inputs=[Field(name="t", type="datetime", nullable=True), Field(name="d", type="date", nullable=True)],
        columns=[],
        output=Field(name="y", type="float64"),
        task="regression",
    )
    sent = ["2024-05-01T12:00:00", "2024-05-01T12:00:00.25Z", "2024-05-01T12:00:00-02:00", None]
    frame = to_frame(times, [{"t": t, "d": d} for t, d in zip(sent, [None, "2024-05-01", None, None], strict=True)])
    seconds = [None if value is None else value.timestamp() - 1714564800 for value in frame["t"]]
    assert seconds == [0.0, 0.25, 7200.0, None]
    assert frame["d"].null_count() == 3
