"""What the tests of the wire formats share: an endpoint with a column of each kind, its answers, raw bytes by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from perennial.models.signature import Field, Signature
from perennial.serve.answer import Answer, Flag
from perennial.serve.intake import Intake
from perennial.serve.protocols.protocol import HttpRequest

FIRST = "0000000000010000020000000f"
COLUMNS = [
    Field(name="age", type="int64"),
    Field(name="hours", type="float64", nullable=True),
    Field(name="union", type="bool"),
    Field(name="sector", type="string"),
    Field(name="photo", type="binary"),
    Field(name="since", type="datetime"),
    Field(name="born", type="date"),
    Field(name="region", type="string", required=False),
]
ROW = {
    "age": 41, "hours": 37.5, "union": True, "sector": "Café", "photo": "AP8=", "since": "2024-05-01T12:30:00Z",
    "born": "1983-02-28", "region": None,
}  # fmt: skip


def regression(columns: Sequence[Field] = COLUMNS, **options: Any) -> Signature:
    return Signature(
        inputs=list(columns), columns=list(columns), output=Field(name="wage", type="float64"), task="regression",
        **options,
    )  # fmt: skip


def classification(classes: list[Any], kind: Any = "string") -> Signature:
    columns = [Field(name="a", type="float64"), Field(name="b", type="float64")]
    return Signature(
        inputs=columns, columns=columns, output=Field(name="digit", type=kind), task="classification", classes=classes
    )


def numbers(count: int) -> Intake:
    """An endpoint of so many columns of numbers."""
    return Intake(regression([Field(name=f"x{i}", type="float64") for i in range(count)]))


def post(body: Any, rest: bytes | None = None, **headers: str) -> HttpRequest:
    """A request; with `rest` in the binary framing."""
    head = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    if rest is not None:
        named.setdefault(b"inference-header-content-length", str(len(head)).encode())
    return HttpRequest(method="POST", path="/v2/models/wage/infer", headers=named, body=head + (rest or b""))


def tensor(name: str, datatype: str, shape: list[int], data: Any = None, **parameters: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
    if data is not None:
        made["data"] = data
    return {**made, "parameters": parameters} if parameters else made


def texts(*elements: bytes) -> bytes:
    """BYTES in raw form."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def answer(values: list[Any], **more: Any) -> Answer:
    rows = len(values)
    told = {"versions": [3] * rows, "arms": ["live"] * rows, **more}
    return Answer(id=FIRST, endpoint="wage", at=1, values=values, **told)


def fired(column: str) -> Flag:
    return Flag(guard="range", action="flag", column=column, says="above 1")
