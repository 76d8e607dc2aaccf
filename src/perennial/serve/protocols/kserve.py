"""KServe v1: `POST /v1/models/{endpoint}:predict`, the rows as `instances` or `inputs`.

A row is an object of columns, or a list of the required columns in the signature's order; a model with one required
column takes its bare values as well. `inputs` may also be an object of columns. Other keys (`parameters`,
`signature_name`) say nothing here.

The answer is `{"predictions": [...]}`, a number or label for each row and null where there is none; beside it `id` (of
the first row, the others count on), `versions`, and where there are any `probabilities` with `classes`, `intervals`,
`sets`, `errors` and `flags`, one entry for each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from perennial.errors import Invalid
from perennial.serve.protocols.inference import refuse
from perennial.serve.protocols.json_values import parse
from perennial.serve.protocols.protocol import HttpRequest, Reply

if TYPE_CHECKING:
    from perennial.models.signature import Field
    from perennial.serve.answer import Answer
    from perennial.serve.asked import Asked
    from perennial.serve.intake import Intake

__all__ = ["KServe"]

_REMEDY = 'send {"instances": [...]}, each row an object or a list'
_OPTIONAL = ("classes", "probabilities", "intervals", "sets", "errors", "flags")


class KServe:
    """KServe's first protocol (`WireFormat`)."""

    name = "kserve"
    tells_rows = False

    def decode(self, request: HttpRequest, intake: Intake) -> Asked:
        """The rows of a request; see `WireFormat`."""
        body = parse(request.body, _REMEDY)
        if not isinstance(body, dict):
            raise Invalid("the body is no object", where="instances", remedy=_REMEDY)
        given = cast("dict[str, Any]", body)
        found = [key for key in ("instances", "inputs") if given.get(key) is not None]
        if len(found) != 1:
            raise Invalid(
                'the body needs either "instances" or "inputs"', where=found[-1] if found else "instances",
                remedy=_REMEDY,
            )  # fmt: skip
        key = found[0]
        rows: Any = given[key]
        if key == "inputs" and isinstance(rows, dict):
            return intake.of_columns(cast("dict[str, Any]", rows), key)
        if not isinstance(rows, list):
            raise Invalid(f"{key} is no list of rows", where=key, remedy=_REMEDY)
        return _rows(cast("list[Any]", rows), intake, key)

    def encode(self, answer: Answer, request: HttpRequest, intake: Intake) -> Reply:
        """`{"predictions": [...], "id": ..., "versions": [...]}`."""
        if answer.status != 200:
            return self.refuse(answer.status, "", answer.message, "", answer.id)
        told: dict[str, Any] = {"predictions": answer.values, "id": answer.id, "versions": answer.versions}
        for name in _OPTIONAL:
            value = getattr(answer, name)
            if value is not None:
                told[name] = value
        return Reply(body=msgspec.json.encode(told))

    def refuse(self, status: int, code: str, message: str, where: str, request_id: str) -> Reply:
        """`{"error": "..."}`."""
        return refuse(status, message, where, request_id)


def _rows(rows: list[Any], intake: Intake, where: str) -> Asked:
    first = rows[0] if rows else {}
    if isinstance(first, dict):
        return intake.of_records(rows, where)
    needed = [intake.signature.inputs[i] for i in intake.required]
    if len(needed) == 1 and _depth(first) == len(needed[0].shape or ()):
        return intake.of_columns({needed[0].name: rows}, where)
    if len(needed) == 1 and needed[0].shape is not None:
        return intake.of_columns({needed[0].name: _bare(rows, needed[0], where)}, where)
    return intake.of_matrix(rows, where)


def _bare(rows: list[Any], field: Field, where: str) -> list[Any]:
    """Rows that are lists of one tensor, as the tensors."""
    for at, row in enumerate(rows):
        if not isinstance(row, list) or len(cast("list[Any]", row)) != 1:
            raise Invalid(
                f"a row is a list of one value, of column {field.name!r}", where=f"{where}[{at}]", remedy=_REMEDY
            )
    return [row[0] for row in rows]


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        depth += 1
        listed = cast("list[Any]", value)
        value = listed[0] if listed else None
    return depth
