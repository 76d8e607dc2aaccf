"""Arrow IPC streams in and out, for large batches: `POST /predict/{endpoint}`, `application/vnd.apache.arrow.stream`.

The answer is a table of as many rows: `id`, `prediction`, a column `probability_LABEL` for each class, `low` and `high`
or `set` where the endpoint promises them, `version`, `arm`, `error`, and `flags` as a list for each row. What the table
is of (endpoint, status) stands in the schema's metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from perennial.errors import Invalid
from perennial.serve.frames import row_ids
from perennial.serve.protocols.protocol import HttpRequest, Reply, Unsupported

if TYPE_CHECKING:
    import pyarrow as pa

    from perennial.serve.answer import Answer
    from perennial.serve.asked import Asked
    from perennial.serve.intake import Intake

__all__ = ["ARROW", "Arrow"]

ARROW = b"application/vnd.apache.arrow.stream"
UNPACKED_BYTES = 64 * 1024 * 1024  # what a stream may come to; bodies have a limit of their own


class Arrow:
    """Arrow's stream format (`WireFormat`)."""

    name = "arrow"
    tells_rows = True

    def __init__(self, *, max_unpacked_bytes: int = UNPACKED_BYTES) -> None:
        self._limit = max_unpacked_bytes

    def decode(self, request: HttpRequest, intake: Intake) -> Asked:
        """The rows of a stream.

        Raises:
            Invalid, Unsupported, TooLarge: As `WireFormat`; or it would unpack to more than the limit.
        """
        kind = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != ARROW:
            raise Unsupported(f"this takes {ARROW.decode()}", remedy=f"send content-type: {ARROW.decode()}")
        from perennial.serve.protocols.arrow_columns import columns_of  # pyarrow, which other formats do not need

        table = _read(request.body, max_rows=intake.max_rows, max_bytes=self._limit)
        unknown = [name for name in table.column_names if name not in intake.names]
        if unknown:
            known = ", ".join(intake.names)
            raise Invalid(f"column {unknown[0]!r} is unknown", where=f"columns.{unknown[0]}", remedy=f"send {known}")
        return intake.of_columns(columns_of(table, intake.names, where="columns", max_bytes=self._limit))

    def encode(self, answer: Answer, request: HttpRequest, intake: Intake) -> Reply:
        """The answers as a stream of one batch; errors of the whole request as JSON, like those before the model."""
        if answer.status != 200:
            return self.refuse(answer.status, "UNANSWERED", answer.message, "", answer.id)
        import pyarrow as pa
        import pyarrow.ipc as ipc

        table = _table(answer, intake.signature.task)
        sink = pa.BufferOutputStream()
        with ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return Reply(body=sink.getvalue().to_pybytes(), kind=ARROW)

    def refuse(self, status: int, code: str, message: str, where: str, request_id: str) -> Reply:
        """An error, as JSON."""
        told = {"error_code": code, "message": message, "request_id": request_id}
        return Reply(status=status, body=msgspec.json.encode({**told, "where": where} if where else told))


def _read(body: bytes, *, max_rows: int, max_bytes: int) -> pa.Table:
    """The table of a stream whose every offset and text was checked: nothing after this reads out of bounds."""
    import pyarrow as pa
    import pyarrow.ipc as ipc

    from perennial.serve.protocols.arrow_messages import check_stream

    check_stream(body, max_rows=max_rows, max_bytes=max_bytes)
    try:
        options = ipc.IpcReadOptions(use_threads=False)
        with ipc.open_stream(pa.py_buffer(body), options=options) as reader:
            _refuse_strange(reader.schema)
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise Invalid(f"this is no Arrow stream: {told}", remedy="send one made by pyarrow.ipc.new_stream") from None
    return table.replace_schema_metadata(None)


def _refuse_strange(schema: pa.Schema) -> None:
    """Types that somebody registered run code of theirs when they are read; none of a model's columns needs one."""
    import pyarrow as pa

    for field in schema:
        if isinstance(field.type, pa.BaseExtensionType):
            raise Invalid(
                f"column {field.name!r} is of an extension type",
                where=f"columns.{field.name}",
                remedy="send plain types",
            )


def _table(answer: Answer, task: str) -> pa.Table:
    import pyarrow as pa

    rows = answer.rows
    columns: dict[str, Any] = {
        "id": pa.array(row_ids(answer.id, rows), pa.string()),
        "prediction": pa.array(answer.values, pa.float64() if task == "regression" else None),
    }
    if answer.classes is not None and answer.probabilities is not None:
        table = [row if row is not None else [None] * len(answer.classes) for row in answer.probabilities]
        by_class: list[Any] = list(zip(*table, strict=True)) if table else [[] for _ in answer.classes]
        for label, column in zip(answer.classes, by_class, strict=True):
            columns[f"probability_{label}"] = pa.array(column, pa.float64())
    if answer.intervals is not None:
        columns["low"], columns["high"] = (
            pa.array([None if pair is None else pair[end] for pair in answer.intervals], pa.float64()) for end in (0, 1)
        )
    if answer.sets is not None:
        columns["set"] = pa.array(answer.sets)
    columns["version"] = pa.array(answer.versions, pa.int64())
    columns["arm"] = pa.array(answer.arms, pa.string())
    columns["error"] = pa.nulls(rows, pa.string()) if answer.errors is None else pa.array(answer.errors, pa.string())
    flag = pa.struct([(name, pa.string()) for name in ("guard", "action", "column", "says")])
    if answer.flags is None:
        none = pa.array([], flag)
        columns["flags"] = pa.ListArray.from_arrays(pa.array([0] * (rows + 1), pa.int32()), none)
    else:
        flags = [[msgspec.structs.asdict(one) for one in row] for row in answer.flags]
        columns["flags"] = pa.array(flags, pa.list_(flag))
    return pa.table(columns).replace_schema_metadata({"endpoint": answer.endpoint})
