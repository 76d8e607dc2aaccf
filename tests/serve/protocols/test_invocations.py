"""MLflow's scoring protocol: each of its forms becomes the same rows, and answers are its own."""

from __future__ import annotations

import io
import json
import random
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perennial.errors import Invalid, TooLarge
from perennial.serve.protocols.csv_rows import MISSING
from perennial.serve.protocols.invocations import Invocations, ping, version
from perennial.serve.protocols.protocol import Unsupported
from tests.serve.protocols.asking import FIRED, IMAGES, ROW, answered, intake, mutated, request, rows

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
SCORING = Invocations()
NAMES, VALUES = list(ROW), list(ROW.values())


def asked(body: Any, kind: str = JSON, **options: Any) -> list[dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return rows(SCORING.decode(request(data, kind), intake(**options)))


def refused(body: Any, kind: str = JSON, error: type[Exception] = Invalid, **options: Any) -> Any:
    with pytest.raises(error) as found:
        asked(body, kind, **options)
    return found.value


def parquet(frame: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(frame.to_arrow() if isinstance(frame, pl.DataFrame) else frame, sink, **options)
    return sink.getvalue()


FORMS: dict[str, Any] = {
    "split": {"dataframe_split": {"columns": NAMES, "index": [7], "data": [VALUES]}},
    "split with a column more": {"dataframe_split": {"columns": [*NAMES, "rownames"], "data": [[*VALUES, 1]]}},
    "split without names": {"dataframe_split": {"data": [VALUES]}},
    "records": {"dataframe_records": [{**ROW, "rownames": 1}]},
    "instances by row": {"instances": [ROW], "params": {"any": 1}},
    "instances by column": {"instances": {name: [value] for name, value in ROW.items()}},
    "inputs by column": {"inputs": {name: [value] for name, value in ROW.items()}, "params": None},
    "instances without names": {"instances": [VALUES]},
    "whole number as a float": {"dataframe_records": [{**ROW, "education": 12.0}]},
    "whole column as floats": {"inputs": {name: [12.0 if name == "education" else ROW[name]] for name in ROW}},
}


@pytest.mark.parametrize("body", FORMS.values(), ids=list(FORMS))
def test_each_form_of_json_is_the_same_row(body: Any) -> None:
    assert asked(body) == [ROW]
    assert asked(body, 'application/json ; charset="UTF-8"') == [ROW]


def test_csv_is_read_as_pandas_reads_it() -> None:
    head = b"rownames,education,wage_before,region,union,hired\r\n"
    assert asked(head + b'1,12,4.95,"south",True,1984-05-01\r\n', CSV) == [ROW]
    bare = {name: value for name, value in ROW.items() if name not in ("wage_before", "hired")}
    for text in sorted(MISSING - {""}):
        line = f"1,12,{text},south,TRUE,\n\n"
        assert asked(head + line.encode(), CSV) == [bare]
    assert asked("\ufeffeducation,region,union\n12,south,true\n".encode(), CSV) == [bare]
    quoted = 'education,region,union\n12,"no ""such\nplace",true\n'
    assert asked(quoted.encode(), CSV)[0]["region"] == 'no "such\nplace'


def test_parquet_of_pandas_types_and_text_dictionaries() -> None:
    frame = pl.DataFrame({**{name: [value, value] for name, value in ROW.items()}, "rownames": [1, 2]})
    frame = frame.with_columns(pl.col("hired").str.to_date(), pl.col("education").cast(pl.Int32))
    for options in ({}, {"compression": "zstd", "data_page_version": "2.0"}, {"use_dictionary": False}):
        assert asked(parquet(frame, **options), PARQUET) == [ROW, ROW]
    coded = frame.with_columns(pl.col("region").cast(pl.Categorical))
    assert asked(parquet(coded), PARQUET) == [ROW, ROW]
    gaps = frame.with_columns(wage_before=pl.lit(None, pl.Float64))
    assert asked(parquet(gaps), PARQUET)[0].keys() == ROW.keys() - {"wage_before"}


def test_a_column_that_may_be_missing_may_be_absent_and_no_other() -> None:
    bare = {"education": 12, "region": "south", "union": False}
    for body in ({"dataframe_records": [bare]}, {"inputs": {name: [value] for name, value in bare.items()}}):
        assert asked(body) == [bare]
    error = refused({"dataframe_records": [bare, {"education": 12, "union": False}]})
    assert (error.what, error.where) == ("column 'region' is missing", "dataframe_records[1].region")


def test_a_tensor_is_one_value() -> None:
    image = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    for body in ({"inputs": [image, image]}, {"instances": [{"image": image}] * 2}, {"inputs": {"image": [image] * 2}}):
        found = asked(body, signature=IMAGES)
        assert [dict(row) for row in found] == [{"image": image}] * 2
    assert "image" in str(refused({"inputs": [[[1.0, 2.0], [3.0, 4.0]]]}, signature=IMAGES))


REFUSED: dict[str, tuple[Any, str]] = {
    "a list": ([1], ""),
    "a number": (b"1", ""),
    "no JSON": (b"{", ""),
    "none of the keys": ({"messages": []}, ""),
    "two of the keys": ({"inputs": [], "instances": []}, ""),
    "params that are none": ({"inputs": [VALUES], "params": [1]}, "params"),
    "records as columns": ({"dataframe_records": {"education": [1]}}, "dataframe_records"),
    "no rows": ({"dataframe_records": []}, "dataframe_records"),
    "no rows, split": ({"dataframe_split": {"columns": NAMES, "data": []}}, "dataframe_split"),
    "a row that is none": ({"dataframe_records": [3]}, "dataframe_records[0]"),
    "split as a list": ({"dataframe_split": [[1]]}, "dataframe_split"),
    "split with a key more": ({"dataframe_split": {"data": [[1]], "dtype": "int"}}, "dataframe_split"),
    "split, ragged": (
        {"dataframe_split": {"columns": NAMES, "data": [VALUES, VALUES[1:]]}},
        "dataframe_split.data[1]",
    ),
    "split, a name twice": ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 1]]}}, "dataframe_split.columns"),
    "a fraction": ({"dataframe_records": [{**ROW, "education": 12.5}]}, "dataframe_records[0].education"),
    "null where none was": ({"dataframe_records": [{**ROW, "region": None}]}, "dataframe_records[0].region"),
    "columns of two lengths": ({"inputs": {**{n: [v] for n, v in ROW.items()}, "union": []}}, "inputs.union"),
    "a column that is no list": ({"inputs": ROW}, "inputs.education"),
    "infinite": (b'{"inputs": [[12, 1e999, "south", true, null]]}', "inputs.wage_before[0]"),
    "a digit too many": (
        b'{"dataframe_records": [{"education": ' + b"9" * 5000 + b', "region": "south", "union": true}]}',
        "dataframe_records[0].education",
    ),
    "a name twice": (b'{"dataframe_records": [{"education": 1, "education" : 2}]}', "education"),
    "half a letter": ({"dataframe_records": [{**ROW, "region": "\ud800"}]}, "dataframe_records[0].region"),
    "nested too deep": (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ""),
}


@pytest.mark.parametrize("body, where", REFUSED.values(), ids=list(REFUSED))
def test_S13_malformed_json_is_refused_where_it_is_wrong(body: Any, where: str) -> None:
    assert refused(body).where == where


def test_S13_nan_of_python_clients_is_missing() -> None:
    bare = {name: value for name, value in ROW.items() if name != "wage_before"}
    assert asked(json.dumps({"dataframe_records": [{**ROW, "wage_before": float("nan")}]}).encode()) == [bare]


@pytest.mark.parametrize(
    "body, where",
    [
        (b"", ""),
        (b"education,region,union\n", "csv"),
        (b"education,region,union\n12,south\n", "csv[0]"),
        (b"education,education,region,union\n12,12,south,true\n", "csv"),
        (b"education,region,union\ntwelve,south,true\n", "csv.education[0]"),
        (b"education,region,union\n1_2,south,true\n", "csv.education[0]"),
        (b"education,region,union\n12,south,maybe\n", "csv.union[0]"),
        (b"education,region,union,wage_before\n12,south,true,inf\n", "csv.wage_before[0]"),
        (b'education,region,union\n12,"south,true\n', ""),
        (b"education,region,union\n12,\xff,true\n", ""),
        (b"," * 20_000, "csv"),
    ],
)
def test_S13_malformed_csv_is_refused_where_it_is_wrong(body: bytes, where: str) -> None:
    assert refused(body, CSV).where == where


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/json; version=2",
        "text/csv; charset=utf-16",
        "application/json, text/csv",
    ],
)
def test_another_content_type_or_charset_is_415_in_plain_text(kind: str) -> None:
    error = refused(FORMS["split"], kind, Unsupported)
    reply = SCORING.refuse(415, error.code, str(error), "", "r1")
    assert (reply.status, reply.kind.partition(b";")[0]) == (415, b"text/plain")


def test_errors_have_mlflows_shape_and_never_422() -> None:
    error = refused({"messages": []})
    reply = SCORING.refuse(400, error.code, str(error), error.where, "r1")
    told = json.loads(reply.body)
    assert (reply.status, told["error_code"]) == (400, "BAD_REQUEST")
    assert "dataframe_split" in told["message"]
    reply = SCORING.refuse(422, "INVALID_PARAMETER_VALUE", "no", "inputs.union", "r1")
    assert (reply.status, json.loads(reply.body)["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert SCORING.refuse(503, "TEMPORARILY_UNAVAILABLE", "later", "", "r1").status == 503


def test_answers_are_a_list_of_predictions_with_null_for_none_and_nan() -> None:
    made = request(b"", JSON)
    reply = SCORING.encode(answered(values=[5.5, None]), made, intake())
    assert (reply.status, reply.kind, reply.body) == (200, b"application/json", b'{"predictions":[5.5,null]}')
    headers = dict(reply.headers)
    assert headers == {b"x-prediction-id": b"0000000000010000020000000f", b"x-model-version": b"3"}
    assert SCORING.encode(answered(values=[float("nan"), 1.0]), made, intake()).body == b'{"predictions":[null,1.0]}'
    fired = SCORING.encode(answered(values=["yes", "no"], versions=[3, 4], flags=FIRED), made, intake())
    assert dict(fired.headers)[b"x-guards"] == b"range:flag"
    assert dict(fired.headers)[b"x-model-version"] == b"3,4"
    failed = SCORING.encode(answered(status=500, message="it failed", values=[None, None]), made, intake())
    assert (failed.status, json.loads(failed.body)["message"]) == (400, "it failed")
    assert SCORING.encode(answered(status=504, message="late", values=[None, None]), made, intake()).status == 504


def test_ping_and_version() -> None:
    assert (ping().status, ping().body) == (200, b"\n")
    assert version().body.count(b".") == 2


def test_S12_rows_over_the_limit_are_refused_before_they_are_kept() -> None:
    many = [ROW] * 11
    for body in ({"dataframe_records": many}, {"dataframe_split": {"columns": NAMES, "data": [VALUES] * 11}}):
        assert "10" in refused(body, max_rows=10).what
    assert len(asked({"dataframe_records": many[:10]}, max_rows=10)) == 10
    lines = b"education,region,union\n" + b"12,south,true\n" * 3_000_000
    assert "10" in refused(lines, CSV, max_rows=10).what
    frame = pl.DataFrame({name: [value] * 11 for name, value in ROW.items()})
    assert refused(parquet(frame), PARQUET, max_rows=10).where == "rows"


def test_S12_a_parquet_bomb_is_refused_from_its_page_headers() -> None:
    texts = pa.table({"region": ["south" * 200_000 for _ in range(100)], "education": [1] * 100, "union": [True] * 100})
    bomb = parquet(texts, compression="zstd", use_dictionary=False, data_page_size=1 << 30)
    assert len(bomb) < 1 << 20
    error = refused(bomb, PARQUET, TooLarge)
    assert "unpacks" in error.what
    # One text of a megabyte, named by each row: the pages are small, what they say is not.
    coded = parquet(texts, compression="zstd", use_dictionary=True)
    assert len(coded) < 1 << 20
    assert "texts" in refused(coded, PARQUET, TooLarge).what


def test_S12_a_footer_that_lies_about_sizes_is_not_believed() -> None:
    texts = pa.table({"region": ["south" * 40_000_000], "education": [1], "union": [True]})
    bomb = parquet(texts, compression="zstd", use_dictionary=False, write_statistics=False, store_schema=False)
    honest = pq.ParquetFile(io.BytesIO(bomb)).metadata.row_group(0).column(0).total_uncompressed_size
    at = bomb.index(_zigzag(honest), len(bomb) - 600)
    lying = bomb[:at] + _zigzag(1 << 27)[: len(_zigzag(honest))] + bomb[at + len(_zigzag(honest)) :]
    assert pq.ParquetFile(io.BytesIO(lying)).metadata.row_group(0).column(0).total_uncompressed_size != honest
    assert "unpacks" in refused(lying, PARQUET, TooLarge).what


def test_S12_repeated_values_and_prefix_coding_are_refused_in_parquet() -> None:
    lists = pa.table({"education": [[1, 2]], "region": ["south"], "union": [True]})
    assert refused(parquet(lists), PARQUET).where == "parquet.education"
    prefixed = pa.table({"region": ["south", "southern"], "education": [1, 2], "union": [True, True]})
    coded = parquet(prefixed, use_dictionary=False, column_encoding={"region": "DELTA_BYTE_ARRAY"})
    assert "DELTA_BYTE_ARRAY" in refused(coded, PARQUET).what


def _zigzag(number: int) -> bytes:
    number <<= 1
    made = bytearray()
    while number >= 128:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def _bodies() -> list[tuple[str, bytes]]:
    frame = pl.DataFrame({name: [value] * 3 for name, value in ROW.items()})
    found = [(JSON, json.dumps(body).encode()) for body in FORMS.values()]
    found += [(PARQUET, parquet(frame, compression=packed)) for packed in ("none", "snappy", "zstd")]
    found.append((PARQUET, parquet(frame.with_columns(pl.col("hired").str.to_date()), data_page_version="2.0")))
    found.append((CSV, frame.write_csv().encode()))
    return found


def test_S13_ten_thousand_mutations_are_answered_or_refused_and_nothing_else() -> None:
    draw = random.Random(20260601)
    bodies = _bodies()
    taken = intake(max_rows=100)
    outcomes = {"rows": 0, "refused": 0}
    for _ in range(10_000):
        kind, body = draw.choice(bodies)
        try:
            found = SCORING.decode(request(mutated(body, draw), kind), taken)
        except (Invalid, TooLarge):
            outcomes["refused"] += 1
        else:
            assert 1 <= len(found.rows()) <= 100
            outcomes["rows"] += 1
    assert min(outcomes.values()) > 500, outcomes
