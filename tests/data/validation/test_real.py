"""What the documented data sets are known to have wrong is found, and little else."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from msgspec.structs import replace

from perennial.data.inference import infer
from perennial.data.scan import Scan, scan
from perennial.data.schema import Schema
from perennial.data.validation import UserCheck, validate
from perennial.data.validation.drift import distances
from perennial.data.validation.reading import readings
from perennial.data.validation.sweep import Table


@pytest.fixture(scope="module")
def taxi(shared_data: Path) -> dict[str, Scan]:
    names = {"train": "train.csv.gz", "eval": "eval.csv.gz", "serving": "serving.csv"}
    return {name: scan(shared_data / "chicago_taxi" / file) for name, file in names.items()}


@pytest.fixture(scope="module")
def schema(taxi: dict[str, Scan]) -> Schema:
    return infer(taxi["train"], target="tips")


def test_the_eval_set_has_the_anomalies_that_its_page_names(taxi: dict[str, Scan], schema: Schema) -> None:
    found = {(one.column, one.kind): one for one in validate(taxi["eval"], schema, examples=20).violations}
    payment, company = found["payment_type", "category"], found["company", "category"]
    assert payment.says == "column 'payment_type' has 1 value never seen: 'Prcard' (row 1746)"
    assert (company.count, len(company.values)) == (16, 15)
    assert {"2092 - 61288 Sbeih company", "6574 - Babylon Express Inc."} <= set(company.values)
    assert found["pickup_census_tract", "missing"].says.endswith("has no value at all in 5,000 rows")
    # Beside them two extremes: one trip of 1,710 miles (train: 191 at most), one tip of 47 (train: 26.55).
    assert set(found) - {("payment_type", "category"), ("company", "category"), ("pickup_census_tract", "missing")} == {
        ("trip_miles", "range"),
        ("tips", "range"),
    }


def test_serving_data_need_no_target_and_training_data_do(taxi: dict[str, Scan], schema: Schema) -> None:
    assert validate(taxi["serving"], schema, environment="serving").is_acceptable
    (error,) = validate(taxi["serving"], schema).errors
    assert (error.column, error.kind) == ("tips", "lost")


@pytest.mark.parametrize(
    "column, one, other, distance, at",
    [
        ("payment_type", "train", "serving", 0.0225, "Credit Card"),
        ("company", "train", "eval", 0.008209, "Blue Ribbon Taxi Association Inc."),
        ("payment_type", "train", "eval", 0.0048, None),
    ],
)
def test_distances_are_those_of_the_preparing_project(
    taxi: dict[str, Scan], column: str, one: str, other: str, distance: float, at: str | None
) -> None:
    tables = [Table(taxi[name], readings(taxi[name], [])) for name in (one, other)]
    (found,) = distances(*tables, [column])
    assert found.value == pytest.approx(distance, abs=5e-7)
    assert at is None or found.at == at


def test_drift_beyond_its_limit_is_told(taxi: dict[str, Scan], schema: Schema) -> None:
    limits = {"company": {"drift_limit": 0.001}, "payment_type": {"drift_limit": 0.01, "skew_limit": 0.01}}
    limited = replace(schema, columns=[replace(one, **limits.get(one.name, {})) for one in schema.columns])
    drift = validate(taxi["eval"], limited, reference=taxi["train"]).violations
    assert [one.column for one in drift if one.kind == "drift"] == ["company"]
    skew = validate(taxi["serving"], limited, environment="serving", reference=taxi["train"]).violations
    (told,) = [one.says for one in skew if one.kind == "drift"]
    assert "column 'payment_type' is 0.0225 from" in told
    assert "(L-infinity, most at 'Credit Card'), at most 0.01 is expected" in told


def test_adult_census_marks_missing_values_and_its_test_labels_have_a_dot(shared_data: Path) -> None:
    train, test = (scan(shared_data / "adult_census" / f"adult_{name}.csv.gz") for name in ("train", "test"))
    schema = infer(train)
    marked = [one.name for one in schema.columns if one.missing == ["?"]]
    assert marked == ["workclass", "occupation", "native_country"]
    assert all(one.missing is None for one in schema.columns if one.name not in marked)
    (found,) = validate(test, schema).violations
    assert (found.column, found.values, found.count) == ("income", ["<=50K.", ">50K."], 16281)
    check = UserCheck(name="no row twice", holds=pl.struct(pl.all()).is_first_distinct())
    (twice,) = validate(train, schema, checks=[check]).violations
    assert twice.count == 24
