"""Arrow streams in and out: every writer's types, no copy of numbers, and nothing believed before it was checked."""

from __future__ import annotations

import datetime as dt
import io
import json
import random
import struct
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc as ipc
import pytest

from perennial.errors import Invalid, TooLarge
from perennial.serve.asked import Asked
from perennial.serve.protocols.arrow import ARROW, Arrow
from perennial.serve.protocols.protocol import Unsupported
from tests.serve.protocols.asking import FIRED, IMAGES, MARRIED, ROW, answered, intake, mutated, request, rows

FORMAT = Arrow()
KIND = ARROW.decode()
TABLE = pa.table({name: [value, value] for name, value in ROW.items()})


def stream(table: pa.Table, compression: str | None = None, rows: int | None = None) -> bytes:
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


def decoded(body: bytes, **options: Any) -> Asked:
    return FORMAT.decode(request(body, KIND), intake(**options))


def refused(body: bytes, error: type[Exception] = Invalid, **options: Any) -> Any:
    with pytest.raises(error) as found:
        decoded(body, **options)
    return found.value


def test_streams_of_pyarrow_and_polars_are_the_same_rows() -> None:
    frame = pl.DataFrame({name: [value, value] for name, value in ROW.items()})
    sink = io.BytesIO()
    frame.write_ipc_stream(sink)  # texts as views
    packed = io.BytesIO()
    frame.with_columns(pl.col("region").cast(pl.Categorical)).write_ipc_stream(packed, compression="zstd")
    bodies = [stream(TABLE), stream(TABLE, "lz4"), stream(TABLE, "zstd", 1), sink.getvalue(), packed.getvalue()]
    for body in bodies:
        assert rows(decoded(body)) == [ROW, ROW]


def test_types_become_those_of_the_signature() -> None:
    table = TABLE.set_column(0, "education", pa.array([12, 12], pa.uint8()))
    table = table.set_column(1, "wage_before", pa.array([4.95, None], pa.float64()))
    table = table.set_column(2, "region", pa.array(["south", "south"], pa.large_string()).dictionary_encode())
    table = table.set_column(4, "hired", pa.array([dt.date(1984, 5, 1), None]))
    first, second = rows(decoded(stream(table)))
    assert first == ROW
    assert second == {name: ROW[name] for name in ("education", "region", "union")}
    days = TABLE.set_column(4, "hired", pa.array([dt.date(1984, 5, 1)] * 2, pa.date64()))
    assert rows(decoded(stream(days)))[0] == ROW
    halves = TABLE.set_column(1, "wage_before", pa.array([0.5, 0.25], pa.float16()))
    assert rows(decoded(stream(halves)))[1]["wage_before"] == 0.25


def test_numbers_share_the_memory_of_the_request() -> None:
    table = TABLE.set_column(0, "education", pa.array([12, 13], pa.int64()))
    found = decoded(stream(table)).columns()[1]
    assert isinstance(found, np.ndarray)
    assert not found.flags.writeable  # it is the body's
    assert found.base is not None


def test_a_tensor_column_is_an_array() -> None:
    images = np.arange(12.0).reshape(2, 2, 3)
    for kind in (pa.list_(pa.list_(pa.float64(), 3), 2), pa.list_(pa.list_(pa.float64()))):
        table = pa.table({"image": pa.array(images.tolist(), kind)})
        found = decoded(stream(table), signature=IMAGES).columns()[0]
        np.testing.assert_array_equal(np.asarray(found), images)
    ragged = pa.table({"image": [[[1.0, 2.0, 3.0], [4.0]]]})
    assert refused(stream(ragged), signature=IMAGES).where.startswith("columns.image")
    texts = pa.table({"image": [[["a"]]]})
    assert "no model takes" in refused(stream(texts), signature=IMAGES).what


@pytest.mark.parametrize(
    "name, column, where",
    [
        ("region", pa.array(["south", None]), "columns.region[1]"),
        ("education", pa.array([1.5, 2.0]), "columns.education[0]"),
        ("education", pa.array(["a", "b"]), "columns.education"),
        ("education", pa.array([{"a": 1}, {"a": 2}]), "columns.education"),
        ("wage_before", pa.array([1.0, float("inf")]), "columns.wage_before[1]"),
        ("hired", pa.array([0, 2**62], pa.timestamp("s")), "columns.hired"),
        ("union", pa.array([1, 0]), "columns.union"),
    ],
)
def test_S13_a_value_that_is_not_of_its_column_is_named(name: str, column: pa.Array, where: str) -> None:
    table = TABLE.set_column(TABLE.column_names.index(name), name, column)
    assert refused(stream(table)).where.startswith(where)


def test_S13_columns_that_are_too_many_missing_or_twice() -> None:
    assert refused(stream(TABLE.append_column("age", [[1, 2]]))).where == "columns.age"
    assert refused(stream(TABLE.drop_columns(["union"]))).where == "columns.union"
    assert refused(stream(TABLE.append_column("union", [[True, True]]))).where == "columns.union"
    assert refused(stream(TABLE.slice(0, 0))).where == "columns"


def test_another_content_type_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        FORMAT.decode(request(stream(TABLE), "application/vnd.apache.arrow.file"), intake())


def test_S12_rows_are_counted_before_anything_is_made_of_them() -> None:
    assert decoded(stream(TABLE), max_rows=2).height == 2
    assert "1" in refused(stream(TABLE), max_rows=1).what
    # Nulls and runs need no bytes: two thousand of these bytes claim a thousand million rows.
    many = pa.RecordBatch.from_arrays([pa.nulls(1_000_000_000)], names=["wage_before"])
    body = stream(pa.Table.from_batches([many]))
    assert len(body) < 2000
    assert refused(body).where == "rows"


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_S12_a_compressed_bomb_is_refused_by_the_sizes_that_its_buffers_name(compression: str) -> None:
    table = pa.table(
        {"wage_before": np.zeros(10_000_000), **{n: [ROW[n]] * 10_000_000 for n in ("education", "union")}}
    )
    body = stream(table.select(["wage_before"]), compression)
    assert len(body) < 1 << 20
    assert "unpacks" in refused(body, TooLarge, max_rows=10**9).what


def test_S12_a_size_that_lies_is_refused() -> None:
    body = stream(pa.table({"wage_before": np.zeros(1000)}), "zstd")
    at = body.index(struct.pack("<q", 8000))
    for lie in (1 << 40, -2, 8001, 10):
        error = refused(body[:at] + struct.pack("<q", lie) + body[at + 8 :], Exception)
        assert isinstance(error, Invalid | TooLarge), lie


def test_S12_texts_that_are_named_many_times_are_weighed_first() -> None:
    one = pa.array(["south" * 200_000])
    coded = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100, np.int32)), one)
    rest = {"education": [1] * 100, "union": [True] * 100}
    assert "texts" in refused(stream(pa.table({"region": coded, **rest})), TooLarge).what
    sink = io.BytesIO()
    pl.DataFrame({"region": ["south" * 200_000] * 100, **rest}).write_ipc_stream(sink)
    found = refused(sink.getvalue(), TooLarge)
    assert "texts" in found.what or "unpacks" in found.what


def test_S13_an_offset_out_of_bounds_is_refused() -> None:
    body = stream(TABLE.select(["region"]))
    at = body.index(struct.pack("<iii", 0, 5, 10))
    for lie in ((0, 5, 1 << 30), (0, 1 << 30, 10), (-5, 5, 10), (0, 10, 5)):
        assert refused(body[:at] + struct.pack("<iii", *lie) + body[at + 12 :]).what


def test_C21_an_extension_type_is_refused_and_none_of_its_code_runs() -> None:
    class Evil(pa.ExtensionType):
        made = 0

        def __init__(self) -> None:
            super().__init__(pa.int64(), "evil")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> Evil:
            cls.made += 1
            return cls()

    pa.register_extension_type(Evil())
    try:
        body = stream(TABLE.set_column(0, "education", pa.ExtensionArray.from_storage(Evil(), pa.array([1, 2]))))
        Evil.made = 0
        assert "extension" in refused(body).what
    finally:
        pa.unregister_extension_type("evil")
    assert rows(decoded(body))[0]["education"] == 1  # of a type that nobody registered here only the numbers are left


def test_the_answer_is_a_table_with_what_each_row_was_answered() -> None:
    answer = answered(
        values=["yes", None],
        classes=["no", "yes"],
        probabilities=[[0.25, 0.75], None],
        errors=[None, "it failed"],
        flags=FIRED,
        sets=[["yes"], None],
    )
    reply = FORMAT.encode(answer, request(b"", KIND), intake(MARRIED))
    assert (reply.status, reply.kind) == (200, ARROW)
    table = ipc.open_stream(reply.body).read_all()
    assert table.schema.metadata == {b"endpoint": b"wage"}
    first, second = table.to_pylist()
    assert first == {
        "id": "0000000000010000020000000f",
        "prediction": "yes",
        "probability_no": 0.25,
        "probability_yes": 0.75,
        "set": ["yes"],
        "version": 3,
        "arm": "live",
        "error": None,
        "flags": [{"guard": "range", "action": "flag", "column": "education", "says": "beyond 18"}],
    }
    assert (second["id"], second["prediction"], second["probability_yes"], second["error"], second["flags"]) == (
        "00000000000100000200000010", None, None, "it failed", [],
    )  # fmt: skip


def test_numbers_with_intervals_and_errors_of_the_whole_request() -> None:
    reply = FORMAT.encode(answered(intervals=[[1.0, 9.0], None]), request(b"", KIND), intake())
    table = pl.read_ipc_stream(io.BytesIO(reply.body))
    assert table["prediction"].to_list() == [5.5, None]
    assert (table["low"].to_list(), table["high"].to_list()) == ([1.0, None], [9.0, None])
    late = FORMAT.encode(answered(status=504, message="late", values=[None, None]), request(b"", KIND), intake())
    assert (late.status, late.kind, json.loads(late.body)["message"]) == (504, b"application/json", "late")
    assert json.loads(FORMAT.refuse(422, "C", "m", "columns.a", "r").body)["where"] == "columns.a"


def test_S13_ten_thousand_mutations_are_answered_or_refused_and_nothing_else() -> None:
    draw = random.Random(20260602)
    polars = io.BytesIO()
    pl.DataFrame({name: [value] * 3 for name, value in ROW.items()}).write_ipc_stream(polars)
    coded = TABLE.set_column(2, "region", TABLE["region"].combine_chunks().dictionary_encode())
    bodies = [stream(TABLE), stream(TABLE, "lz4"), stream(TABLE, "zstd"), stream(coded, rows=1), polars.getvalue()]
    taken = intake(max_rows=100)
    outcomes = {"rows": 0, "refused": 0}
    for _ in range(10_000):
        try:
            found = FORMAT.decode(request(mutated(draw.choice(bodies), draw), KIND), taken)
        except (Invalid, TooLarge):
            outcomes["refused"] += 1
        else:
            assert 1 <= len(found.rows()) <= 100
            outcomes["rows"] += 1
    assert min(outcomes.values()) > 300, outcomes
