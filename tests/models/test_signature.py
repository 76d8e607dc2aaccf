"""A request is accepted exactly when the model can mean it; otherwise the answer points at the value."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import polars as pl
import pytest

from perennial.errors import Invalid
from perennial.models.signature import Field, Requests, Signature

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


def decode(*records: object) -> list[dict[str, object]]:
    return Requests(SALARY).decode(json.dumps({"records": records}).encode())


def refusal(body: bytes | dict[str, object]) -> Invalid:
    with pytest.raises(Invalid) as caught:
        Requests(SALARY).decode(body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value


def test_a_good_record_comes_back_as_it_was() -> None:
    sent = {**GOOD, "person": 7, "date": "1981-01-01"}
    assert decode(sent, GOOD) == [sent, GOOD]


def test_an_integer_is_a_number_and_nan_is_null() -> None:
    rows = decode({**GOOD, "experience": 3}, {**GOOD, "experience": math.nan}, {**GOOD, "experience": None})
    assert [row["experience"] for row in rows] == [3.0, None, None]


def test_columns_and_records_mean_the_same() -> None:
    columns = {name: [value, value] for name, value in GOOD.items()}
    assert Requests(SALARY).decode(json.dumps({"columns": columns}).encode()) == decode(GOOD, GOOD)


@pytest.mark.parametrize(
    "change, where, says",
    [
        ({"education": 12.5}, "records[1].education", "'education' expects a whole number"),
        ({"education": 12.0}, "records[1].education", "'education' expects a whole number"),
        ({"education": "12"}, "records[1].education", "'education' expects a whole number"),
        ({"education": True}, "records[1].education", "'education' expects a whole number"),
        ({"education": None}, "records[1].education", "'education' is null, and no training row was"),
        ({"education": 2**63}, "records[1].education", "'education' expects a whole number"),
        ({"education": math.nan}, "records[1].education", "'education' is null, and no training row was"),
        ({"union": 1}, "records[1].union", "'union' expects true or false"),
        ({"occupation": 3}, "records[1].occupation", "'occupation' expects text"),
        ({"occupation": "x" * (1024 * 1024 + 1)}, "records[1].occupation", "'occupation' expects text"),
        ({"date": "yesterday"}, "records[1].date", "'date' expects a date such as 2024-05-01"),
        ({"wage": 3}, "records[1].wage", "'wage' is unknown"),
    ],
)
def test_a_wrong_value_is_named_with_its_row(change: dict[str, object], where: str, says: str) -> None:
    error = refusal({"records": [GOOD, {**GOOD, **change}]})
    assert error.where == where
    assert says in error.what
    assert error.remedy


def test_a_wrong_value_in_columns_is_named_with_its_row() -> None:
    error = refusal({"columns": {**{name: [value, value] for name, value in GOOD.items()}, "education": [1, "x"]}})
    assert (error.where, "'education' expects a whole number" in error.what) == ("columns.education[1]", True)


def test_a_missing_column_is_named() -> None:
    error = refusal({"records": [{name: value for name, value in GOOD.items() if name != "union"}]})
    assert (error.what, error.where) == ("column 'union' is missing", "records[0].union")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b"3",
        b"null",
        b"{}",
        b'{"rows": []}',
        b'{"records": []}',
        b'{"records": {}}',
        b'{"records": [1]}',
        b'{"columns": {}}',
        b'{"records": [], "columns": {}}',
        b'{"records": [{"education": Infinity}]}',
        b'{"records": [{"experience": 1e999}]}',
        b'{"records": [{"occupation": "\\ud800"}]}',
        b"[" * 100_000,
        b'{"records":' * 2_000,
    ],
)
def test_what_is_not_a_request_is_invalid_and_nothing_else(body: bytes) -> None:
    assert refusal(body).what


def test_columns_of_different_length_are_refused() -> None:
    error = refusal({"columns": {**{name: [value, value] for name, value in GOOD.items()}, "union": [True]}})
    assert "values" in error.what


def test_the_row_limit_holds_one_below_and_one_above() -> None:
    requests = Requests(SALARY, max_rows=3)
    assert len(requests.decode(json.dumps({"records": [GOOD] * 3}).encode())) == 3
    with pytest.raises(Invalid, match="1 to 3 rows"):
        requests.decode(json.dumps({"records": [GOOD] * 4}).encode())


def test_bytes_travel_as_base64() -> None:
    image = Signature(
        inputs=[Field(name="a column", type="binary"), Field(name="taken", type="datetime")],
        columns=[],
        output=Field(name="label", type="int64"),
        task="classification",
    )
    body = b'{"records": [{"a column": "iVBO", "taken": "2024-05-01T12:00:00+02:00"}]}'
    frame = image.parse(Requests(image).decode(body))
    assert frame["a column"].to_list() == [b"\x89PN"]
    assert frame["taken"].dtype == pl.Datetime("us", "UTC")
    assert str(frame["taken"][0]) == "2024-05-01 10:00:00+00:00"
    with pytest.raises(Invalid, match="base64"):
        Requests(image).decode(b'{"records": [{"a column": "@", "taken": "2024-05-01T12:00:00Z"}]}')


def test_parse_gives_a_frame_of_exactly_the_input_types() -> None:
    frame = SALARY.parse([{**GOOD, "experience": None}, GOOD])
    assert frame.schema == {
        "education": pl.Int64(),
        "experience": pl.Float64(),
        "occupation": pl.String(),
        "union": pl.Boolean(),
    }
    assert frame["experience"].to_list() == [None, 2.5]
    assert SALARY.parse({name: [value] for name, value in GOOD.items()}).height == 1


def test_checking_a_request_imports_no_frame_library() -> None:
    program = (
        "import sys, perennial.models.signature, perennial.models.package;"
        "heavy = ('polars', 'numpy', 'pandas', 'pyarrow', 'sklearn', 'narwhals', 'sqlalchemy');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_optional_columns_are_left_out_of_the_frame_wherever_they_are_sent() -> None:
    frame = SALARY.parse([GOOD, {"person": 7, "date": "1981-01-01", **GOOD}])
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
    frame = times.parse({"t": sent, "d": [None, "2024-05-01", None, None]})
    seconds = [None if value is None else value.timestamp() - 1714564800 for value in frame["t"]]
    assert seconds == [0.0, 0.25, 7200.0, None]
    assert frame["d"].null_count() == 3
