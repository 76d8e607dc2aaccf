"""A request is accepted exactly when the model can mean it; otherwise the answer points at the value."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.errors import Invalid
from perennial.models.rows import to_frame
from perennial.models.signature import Field, Signature
from perennial.serve.asked import Asked
from perennial.serve.intake import Intake

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


def rows(asked: Asked) -> list[dict[str, object]]:
    return asked.records()


def decode(*records: object) -> list[dict[str, object]]:
    return rows(Intake(SALARY).decode(json.dumps({"records": records}).encode()))


def refusal(body: bytes | dict[str, object]) -> Invalid:
    with pytest.raises(Invalid) as caught:
        Intake(SALARY).decode(body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value


def test_a_good_record_comes_back_as_it_was() -> None:
    sent = {**GOOD, "person": 7, "date": "1981-01-01"}
    absent = {"person": None, "date": None}
    assert decode(sent, GOOD) == [sent, absent | GOOD]


def test_an_integer_is_a_number_and_nan_is_null() -> None:
    found = decode({**GOOD, "experience": 3}, {**GOOD, "experience": math.nan}, {**GOOD, "experience": None})
    assert [row["experience"] for row in found] == [3.0, None, None]


def test_columns_and_records_mean_the_same() -> None:
    columns = {name: [value, value] for name, value in GOOD.items()}
    assert rows(Intake(SALARY).decode(json.dumps({"columns": columns}).encode())) == decode(GOOD, GOOD)


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
    intake = Intake(SALARY, max_rows=3)
    assert intake.decode(json.dumps({"records": [GOOD] * 3}).encode()).height == 3
    with pytest.raises(Invalid, match="1 to 3 rows"):
        intake.decode(json.dumps({"records": [GOOD] * 4}).encode())


def test_bytes_travel_as_base64() -> None:
    image = Signature(
        inputs=[Field(name="a column", type="binary"), Field(name="taken", type="datetime")],
        columns=[],
        output=Field(name="label", type="int64"),
        task="classification",
    )
    body = b'{"records": [{"a column": "iVBO", "taken": "2024-05-01T12:00:00+02:00"}]}'
    frame = to_frame(image, Intake(image).decode(body).records())
    assert frame["a column"].to_list() == [b"\x89PN"]
    assert frame["taken"].dtype == pl.Datetime("us", "UTC")
    assert str(frame["taken"][0]) == "2024-05-01 10:00:00+00:00"
    with pytest.raises(Invalid, match="base64"):
        Intake(image).decode(b'{"records": [{"a column": "@", "taken": "2024-05-01T12:00:00Z"}]}')


def test_a_name_that_comes_twice_is_refused_wherever_it_is() -> None:
    good = json.dumps({"records": [GOOD]})
    for twice in (
        good.replace('"education": 12', '"education": 12, "education": 13'),
        good.replace('"education": 12', '"education": 12, "educ\\u0061tion": 13'),
        good[:-1] + ", " + good[1:],
        json.dumps({"columns": {name: [value] for name, value in GOOD.items()}}).replace(
            '"union": [true]', '"union": [true], "union": [false]'
        ),
        # Where columns are left out, and null where a text could be, fewer names than there could be are expected.
        json.dumps({"records": [GOOD, {**GOOD, "person": 7}]}).replace('"person": 7', '"person": 7, "person": 8'),
        json.dumps({"records": [{**GOOD, "date": None}]}).replace('"union": true', '"union": true, "union": true'),
        json.dumps({"columns": {"date": [None, None], **{name: [value] * 2 for name, value in GOOD.items()}}}).replace(
            '"education"', '"union": [true, false], "education"'
        ),
    ):
        assert "twice" in refusal(twice.encode()).what


def test_columns_that_are_left_out_and_those_that_are_null_are_the_same_rows() -> None:
    absent, null = dict(GOOD), {**GOOD, "person": None, "date": None}
    for body in (
        {"records": [absent]},
        {"records": [null]},
        {"columns": {name: [value] for name, value in null.items()}},
    ):
        found = Intake(SALARY).decode(json.dumps(body).encode())
        assert found.rows() == [(None, None, 12, 2.5, "clerk", True)]


def test_the_depth_limit_is_that_of_the_body_whatever_stands_in_texts() -> None:
    fine = json.dumps({"records": [{**GOOD, "experience": math.nan, "occupation": "[" * 1000 + '\\"{'}]})
    assert Intake(SALARY).decode(fine.encode()).height == 1


def test_arrays_lists_records_and_a_matrix_of_the_same_values_are_the_same_rows() -> None:
    signature = Signature(
        inputs=[Field(name="a", type="float64", nullable=True), Field(name="b", type="int64")],
        columns=[],
        output=Field(name="y", type="float64"),
        task="regression",
    )
    intake = Intake(signature)
    a, b = [0.5, None, -3.0], [1, 2, 3]
    wanted = list(zip(a, b, strict=True))
    as_array = np.array([math.nan if value is None else value for value in a])
    made = [
        intake.of_records([{"a": x, "b": y} for x, y in wanted]),
        intake.of_columns({"a": a, "b": b}),
        intake.of_columns({"a": as_array, "b": np.array(b, dtype=np.int16)}),
        intake.of_columns({"b": np.array(b, dtype=float), "a": as_array}),
        intake.of_matrix([list(row) for row in wanted]),
        intake.of_matrix(np.column_stack([as_array, b])),
    ]
    assert [asked.rows() for asked in made] == [wanted] * len(made)
    with pytest.raises(Invalid, match="whole number"):
        intake.of_columns({"a": as_array, "b": np.array([1.0, 2.5, 3.0])})
    with pytest.raises(Invalid, match="out of range"):
        intake.of_columns({"a": np.array([1.0, np.inf, 3.0]), "b": b})


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "education": st.integers(-(2**63), 2**63 - 1),
            "experience": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "occupation": st.text(st.characters(exclude_categories=["Cs"])),
            "union": st.booleans(),
        }
    ),
    min_size=1,
    max_size=5,
)


@given(ROWS, st.booleans())
def test_whatever_is_of_the_types_comes_back_as_it_was_written(found: list[dict[str, object]], is_ascii: bool) -> None:
    absent = {"person": None, "date": None}
    intake = Intake(SALARY)
    body = json.dumps({"records": found}, ensure_ascii=is_ascii).encode()
    columns = json.dumps({"columns": {name: [row[name] for row in found] for name in found[0]}}, ensure_ascii=is_ascii)
    wanted = [absent | row for row in found]
    assert rows(intake.decode(body)) == wanted
    assert rows(intake.decode(columns.encode())) == wanted
    assert rows(intake.of_records(found)) == wanted
