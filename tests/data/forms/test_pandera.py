"""pandera and we agree about tables, and its schemas come and go without loss."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pandera.pandas as frames
import pandera.polars as pandera
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from perennial.data.forms.pandera import from_pandera, from_yaml, to_pandera
from perennial.data.scan import scan
from perennial.data.schema import Check, Column, Dependency, Order, Schema
from perennial.data.validation import validate
from perennial.errors import Invalid

from .made import schemas

TRIPS = Schema(
    columns=[
        Column(name="trip", type="int64", unique=True, severity="error"),
        Column(name="fare", type="float64", nullable=True, at_least=0.0, at_most=1000.0, severity="error"),
        Column(name="tips", type="float64", severity="error", absent_in=["serving"]),
        Column(name="paid", type="string", nullable=True, categories=["cash", "card"], missing=["?"], severity="error"),
        Column(name="zip", type="string", patterns=[r"\d{5}"], missing=["-"], severity="error"),
        Column(name="city", type="string", nullable=True, presence=0.5, severity="error"),
        Column(name="at", type="datetime", at_least="2020-01-01T00:00:00+00:00", severity="error"),
    ],
    keys=[["trip"], ["zip", "at"]],
    dependencies=[Dependency(determinants=["zip"], dependent="city", severity="error")],
    orders=[Order(lower="tips", upper="fare", severity="error")],
    checks=[Check(name="round", where="fare < 999 OR tips = 0")],
    min_rows=2,
)
FRAME = pl.DataFrame(
    {
        "trip": [1, 2, 3],
        "fare": [10.0, None, 0.0],
        "tips": [1.0, 2.0, 0.0],
        "paid": ["cash", None, "?"],
        "zip": ["12345", "12345", "54321"],
        "city": ["York", None, "Leeds"],
        "at": pl.Series(["2021-01-01", "2022-01-01", "2023-01-01"]).str.to_datetime(time_unit="us", time_zone="UTC"),
    }
)
BAD: dict[str, pl.Expr] = {
    "a value twice": pl.lit(1).alias("trip"),
    "a number is missing": pl.lit(None, dtype=pl.Float64).alias("tips"),
    "another type": pl.col("trip").cast(pl.String),
    "below the limit": pl.Series("fare", [10.0, 2.0, -1.0]),  # type: ignore[dict-item]
    "above the limit": pl.Series("fare", [10.0, 2.0, 1001.0]),  # type: ignore[dict-item]
    "another category": pl.Series("paid", ["cash", "coin", "cash"]),  # type: ignore[dict-item]
    "another form": pl.Series("zip", ["12345", "12345", "543210"]),  # type: ignore[dict-item]
    "a text for missing": pl.Series("zip", ["12345", "12345", "-"]),  # type: ignore[dict-item]
    "too few": pl.Series("city", [None, None, "Leeds"]),  # type: ignore[dict-item]
    "too early": pl.col("at").dt.offset_by("-5y"),
    "a key twice": pl.Series("at", [FRAME["at"][0], FRAME["at"][0], FRAME["at"][2]]),  # type: ignore[dict-item]
    "another city": pl.Series("city", ["York", "Bath", "Leeds"]),  # type: ignore[dict-item]
    "tips above the fare": pl.Series("tips", [11.0, 2.0, 0.0]),  # type: ignore[dict-item]
    "the check": pl.Series("fare", [999.5, 2.0, 0.0]),  # type: ignore[dict-item]
}


def refuses(schema: Any, frame: pl.DataFrame) -> bool:
    try:
        schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors:
        return True
    return False


def breaks(frame: pl.DataFrame) -> bool:
    """What our own validation says."""
    return any(violation.severity == "error" for violation in validate(scan(frame), TRIPS).violations)


def test_a_table_that_fits_passes_here_and_there() -> None:
    assert not refuses(to_pandera(TRIPS), FRAME)
    assert not breaks(FRAME)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_table_that_breaks_a_demand_is_refused_here_and_there(bad: pl.Expr) -> None:
    frame = FRAME.with_columns(bad)
    assert refuses(to_pandera(TRIPS), frame)
    assert breaks(frame)


def test_too_few_rows_are_refused_and_a_lost_column_is_where_it_has_to_be_there() -> None:
    assert refuses(to_pandera(TRIPS), FRAME.head(1))
    less = replace(TRIPS, orders=[], checks=[])
    assert refuses(to_pandera(less), FRAME.drop("tips"))
    assert not refuses(to_pandera(less, environment="serving"), FRAME.drop("tips"))


def test_a_warning_here_is_a_warning_there() -> None:
    warns = Schema(columns=[Column(name="paid", type="string", categories=["card"])])
    with pytest.warns(UserWarning, match="isin"):
        to_pandera(warns).validate(FRAME.drop_nulls())


def test_a_share_that_need_not_be_reached_by_every_row() -> None:
    most = Schema(columns=[Column(name="paid", type="string", categories=["a"], coverage=0.5, severity="error")])
    assert not refuses(to_pandera(most), pl.DataFrame({"paid": ["a", "a", "b"]}))
    assert refuses(to_pandera(most), pl.DataFrame({"paid": ["a", "b", "b"]}))


def test_a_pattern_that_python_does_not_know_is_checked_all_the_same() -> None:
    names = Schema(columns=[Column(name="name", type="string", patterns=[r"\p{Lu}\p{Ll}*"], severity="error")])
    assert not refuses(to_pandera(names), pl.DataFrame({"name": ["Élodie", "Ada"]}))
    assert refuses(to_pandera(names), pl.DataFrame({"name": ["Élodie", "ada"]}))
    assert from_pandera(to_pandera(names)) == (names, [])


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(schemas())
def test_a_schema_comes_back_from_pandera_as_it_was(schema: Schema) -> None:
    assert from_pandera(to_pandera(replace(schema, checks=[]))) == (replace(schema, checks=[]), [])
    assert from_pandera(to_pandera(replace(schema, checks=[]), environment="serving")).lost == []


def test_what_pandera_can_write_as_yaml_comes_back_from_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pandera warns of what it leaves out
        text = to_pandera(TRIPS, plain=True).to_yaml()
    schema, lost = from_pandera(pandera.DataFrameSchema.from_yaml(text))
    assert lost == []
    assert {column.name: column.type for column in schema.columns} == {c.name: c.type for c in TRIPS.columns}
    assert schema.keys == [["trip"]]
    assert schema.columns[1] == TRIPS.columns[1]


def test_C21_a_yaml_that_would_run_something_is_refused(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with pytest.raises(Invalid, match="not pandera's YAML"):
        from_yaml(f"columns: !!python/object/apply:os.mkdir ['{made}']")
    assert not made.exists()


def test_panderas_words_win_where_somebody_changed_them() -> None:
    made = to_pandera(TRIPS).update_column("fare", checks=[pandera.Check.le(5.0)])
    fare = from_pandera(made).schema.columns[1]
    assert (fare.at_least, fare.at_most, fare.nullable) == (None, 5.0, True)


class Trips(pandera.DataFrameModel):
    trip: int = pandera.Field(gt=0, unique=True)
    paid: str = pandera.Field(isin=["cash", "card"], nullable=True)
    zip: str = pandera.Field(str_matches=r"\d{5}", str_length={"max_value": 9})


def test_a_model_of_pandera_is_read_and_what_is_lost_is_told() -> None:
    schema, lost = from_pandera(Trips)
    assert schema.columns == [
        Column(name="trip", type="int64", at_least=1.0, unique=True, severity="error"),
        Column(name="paid", type="string", nullable=True, categories=["cash", "card"], severity="error"),
        Column(name="zip", type="string", patterns=[r"(?:\d{5})(?s:.*)"], severity="error"),
    ]
    assert lost == ["column 'zip': check 'str_length'"]


def test_a_schema_for_pandas_is_read_too() -> None:
    made = frames.DataFrameSchema(
        {
            "a": frames.Column(float, frames.Check.in_range(0, 1, include_max=False), coerce=True),
            "b": frames.Column("datetime64[ns, UTC]", required=False),
            "c": frames.Column(str, frames.Check(lambda texts: texts != "", name="not_empty")),
            "d": frames.Column(None),
        },
        index=frames.Index(int),
        unique=["a", "b"],
        strict=True,
        drop_invalid_rows=True,
    )
    schema, lost = from_pandera(made)
    assert schema == Schema(
        columns=[
            Column(name="a", type="float64", at_least=0.0, at_most=1.0, severity="error"),
            Column(name="b", type="datetime", absent_in=["serving", "training"], severity="error"),
            Column(name="c", type="string", severity="error"),
        ],
        keys=[["a", "b"]],
        bad_rows="quarantine",
    )
    assert lost == [
        "column 'a': that 1 itself is excluded",
        "column 'a': coerce=True",
        "column 'c': check 'not_empty'",
        "column 'd': left out, as its type is not said",
        "strict=True",
        "the index",
    ]


def test_what_is_no_schema_of_panderas_is_refused() -> None:
    with pytest.raises(Invalid, match="str is no schema of pandera's"):
        from_pandera("a")


def test_without_pandera_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['pandera'] = None\n"
        "from perennial.data.forms.pandera import to_pandera\n"
        "from perennial.data.schema import Column, Schema\n"
        "from perennial.errors import ConfigError\n"
        "try:\n    to_pandera(Schema(columns=[Column(name='a', type='bool')]))\n"
        "except ConfigError as error:\n    print(error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "pip install 'perennial[pandera]'\n", done.stderr
