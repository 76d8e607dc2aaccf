"""Requests that are wrong in one way or another, over every protocol; drawn from a seed, so each can be had again.

Those over gRPC are `hostile_grpc`.
"""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PROTOCOLS", "Hostile", "Protocol", "generate", "raw"]


@dataclass(frozen=True)
class Protocol:
    """A good request of one protocol. `document` is its JSON, `body` its bytes where it is none."""

    name: str
    path: str
    kind: str
    document: Any = None
    body: bytes = b""
    headers: Mapping[str, str] | None = None

    def good(self) -> bytes:
        return json.dumps(self.document).encode() if self.document is not None else self.body


@dataclass(frozen=True)
class Hostile:
    """One request. `is_surely_wrong`: no right service answers it with 200; the others were only changed at random."""

    what: str
    request: bytes
    is_surely_wrong: bool


def _tensor(name: str, datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


_RECORDS = [{"person": "p1", "x": 1.0}, {"person": "p2", "x": 2.5}]
_TENSORS = {"inputs": [_tensor("person", "BYTES", ["p1", "p2"]), _tensor("x", "FP64", [1.0, 2.5])]}
_SPLIT = {"dataframe_split": {"columns": ["person", "x"], "data": [["p1", 1.0], ["p2", 2.5]]}}
_JSON = "application/json"
_LABELS = {"labels": [{"id": "0" * 26, "label": 1.0}, {"entity": "p1", "label": 2.5}]}


def _arrow() -> bytes:
    """A stream of two rows."""
    import pyarrow as pa
    import pyarrow.ipc as ipc

    table = pa.table({"person": ["p1", "p2"], "x": [1.0, 2.5]})
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _binary() -> tuple[bytes, Mapping[str, str]]:
    """Tensors whose raw bytes follow the JSON, and the header that says where."""
    people = b"".join(struct.pack("<I", len(text)) + text for text in (b"p1", b"p2"))
    numbers = struct.pack("<2d", 1.0, 2.5)
    inputs = [
        {"name": name, "shape": [2], "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
        for name, datatype, raw in (("person", "BYTES", people), ("x", "FP64", numbers))
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return head + people + numbers, {"inference-header-content-length": str(len(head))}


PROTOCOLS = (
    Protocol("plain, records", "/predict/wage", _JSON, {"records": _RECORDS}),
    Protocol("plain, columns", "/predict/wage", _JSON, {"columns": {"person": ["p1", "p2"], "x": [1.0, 2.5]}}),
    Protocol("explain", "/explain/wage", _JSON, {"records": _RECORDS[:1]}),
    Protocol("inference v2", "/v2/models/wage/infer", _JSON, _TENSORS),
    Protocol("KServe v1", "/v1/models/wage:predict", _JSON, {"instances": _RECORDS}),
    Protocol("invocations, split", "/invocations", _JSON, _SPLIT),
    Protocol("invocations, records", "/invocations", _JSON, {"dataframe_records": _RECORDS}),
    Protocol("invocations, inputs", "/invocations", _JSON, {"inputs": {"person": ["p1", "p2"], "x": [1.0, 2.5]}}),
    Protocol("inference v2, binary", "/v2/models/wage/infer", "", body=_binary()[0], headers=_binary()[1]),
    Protocol("Arrow", "/predict/wage", "application/vnd.apache.arrow.stream", body=_arrow()),
    Protocol("feedback", "/feedback/wage", _JSON, _LABELS),
    Protocol("invocations, CSV", "/invocations", "text/csv", body=b"person,x\np1,1.0\np2,2.5\n"),
)


def raw(protocol: Protocol, body: bytes, kind: str | None = None, extra: str = "") -> bytes:
    told = "".join(f"{name}: {value}\r\n" for name, value in (protocol.headers or {}).items() if name not in extra)
    head = f"POST {protocol.path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind or protocol.kind}\r\n{told}{extra}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


# Text that stands for a value and is none, or none that a column can hold.
_VALUES = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5000, "-" + "9" * 5000, '"\\ud800"', '"\\udfff\\ud800"',
    "nul", "tru", "01", "1.", ".5", "+1", "0x10", "1e", "'1'", '"\\x41"', '"\t"', '"\n"', "[", "{", "]", "}", "", ",",
    "[" * 65 + "]" * 65, "[" * 20_000, '{"a":' * 65 + "1" + "}" * 65, "[[1.0]]", "{}", '{"a": 1}', "undefined",
    '"' + "a" * (1024 * 1024 + 1) + '"',
)  # fmt: skip
_WRONG_TYPES = ("a text", True, [], {}, [1.0, 2.0], {"x": 1.0}, "1,5", "", " ")
_MARK = "@@here@@"


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from _places(value, (*path, key))


def _with(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(document))
    if not path:
        return value
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


def _numbers(document: Any) -> list[tuple[Any, ...]]:
    """Where the numbers of x are."""
    found = []
    for path in _places(document):
        value = document
        for key in path:
            value = value[key]
        if isinstance(value, float):
            found.append(path)
    return found


Made = tuple[str, bytes, bool]


def _bad_value(draw: random.Random, protocol: Protocol) -> Made:
    path, value = draw.choice(_numbers(protocol.document)), draw.choice(_VALUES)
    text = json.dumps(_with(protocol.document, path, _MARK)).replace(f'"{_MARK}"', value)
    return f"the value {value[:20]}", text.encode(), True


def _wrong_type(draw: random.Random, protocol: Protocol) -> Made:
    path, value = draw.choice(_numbers(protocol.document)), draw.choice(_WRONG_TYPES)
    return f"{value!r} as a number", json.dumps(_with(protocol.document, path, value)).encode(), True


def _other_shape(draw: random.Random, protocol: Protocol) -> Made:
    path = draw.choice(list(_places(protocol.document)))
    value = draw.choice((None, [], {}, 1, "text", True, [[]], [{}], [None]))
    return f"{value!r} at {path}", json.dumps(_with(protocol.document, path, value)).encode(), False


def _cut(draw: random.Random, protocol: Protocol) -> Made:
    good = protocol.good()
    return "cut off", good[: draw.randrange(len(good))].rstrip(), protocol.document is not None


def _flipped(draw: random.Random, protocol: Protocol) -> Made:
    data = bytearray(protocol.good())
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return "bytes changed", bytes(data), False


def _inserted(draw: random.Random, protocol: Protocol) -> Made:
    good, at = protocol.good(), draw.randrange(len(protocol.good()))
    return "bytes put in", good[:at] + draw.randbytes(draw.randint(1, 30)) + good[at:], False


def _noise(draw: random.Random, protocol: Protocol) -> Made:
    return "noise", draw.randbytes(draw.randint(1, 2000)), protocol.document is not None


def _renamed(draw: random.Random, protocol: Protocol) -> Made:
    name = draw.choice(('"x"', '"records"', '"columns"', '"inputs"', '"data"', '"shape"', '"datatype"', '"instances"'))
    other = draw.choice(('"y"', '""', '"X"', '"x "', '"__proto__"', '"\\u0000"', '"' + "k" * 300 + '"'))
    return f"{name} named {other[:20]}", protocol.good().replace(name.encode(), other.encode(), 1), False


def _twice(draw: random.Random, protocol: Protocol) -> Made:
    return "a key twice", protocol.good().replace(b"{", b'{"x": 1, "x": 2, "records": 1, ', 1), False


def _encoded(draw: random.Random, protocol: Protocol) -> Made:
    name = draw.choice(("utf-16", "utf-32", "utf-8-sig", "cp037"))
    return f"in {name}", protocol.good().decode("latin-1").encode(name), False


def _deep(draw: random.Random, protocol: Protocol) -> Made:
    depth = draw.choice((65, 1000, 100_000))
    return f"{depth} levels deep", b'{"records":' + b"[" * depth + b"]" * depth + b"}", True


def _trailing(draw: random.Random, protocol: Protocol) -> Made:
    return (
        "more behind it",
        protocol.good() + draw.choice((b"}", b"]", b",", b"null", b"{}", b"\0")),
        protocol.document is not None,
    )


def _shapes(draw: random.Random, protocol: Protocol) -> Made:
    document = json.loads(json.dumps(_TENSORS))
    tensor = draw.choice(document["inputs"])
    key = draw.choice(("shape", "datatype", "data", "name", "parameters"))
    tensor[key] = draw.choice(
        ([3], [2, 2], [-2], [0], [2**63], [2**31, 2**31], [1.5], ["2"], [], None, "FP65", "BYTES", "INT8", "BOOL", 7,
         [1.0], [1.0, 2.0, 3.0], [[1.0], [2.0, 3.0]], {"binary_data_size": -1}, {"binary_data_size": 2**62})
    )  # fmt: skip
    return f"{key} = {tensor[key]!r}", json.dumps(document).encode(), False


_MAKERS: tuple[Callable[[random.Random, Protocol], Made], ...] = (
    _bad_value, _wrong_type, _other_shape, _cut, _flipped, _inserted, _noise, _renamed, _twice, _encoded, _deep,
    _trailing, _shapes,
)  # fmt: skip
_OF_JSON = {_bad_value, _wrong_type, _other_shape, _shapes}
_KINDS = (
    "",
    "text/plain",
    "application/xml",
    "application/octet-stream",
    "application/json; charset=klingon",
    "a/b;;;=",
)
_HEADERS = (
    "content-encoding: gzip\r\n",
    "content-encoding: br\r\n",
    "x-request-timeout-ms: -5\r\n",
    "x-request-timeout-ms: NaN\r\n",
    f"idempotency-key: {'k' * 300}\r\n",
)
_LENGTHS = ("-1", "99999999999", "5", "abc", "8,8", "0")


def generate(count: int, seed: int, protocols: tuple[Protocol, ...]) -> Iterator[Hostile]:
    """So many of them. Rare ones differ in their headers."""
    draw = random.Random(seed)
    for _ in range(count):
        protocol = draw.choice(protocols)
        rare = draw.random()
        if rare < 0.02:
            kind = draw.choice(_KINDS)
            yield Hostile(f"{protocol.name}: type {kind!r}", raw(protocol, protocol.good(), kind or " "), False)
            continue
        if rare < 0.04:  # where a binary part would begin
            length = draw.choice(_LENGTHS)
            extra = f"inference-header-content-length: {length}\r\n"
            yield Hostile(f"{protocol.name}: binary at {length}", raw(protocol, protocol.good(), None, extra), False)
            continue
        if rare < 0.06:
            good = protocol.good()
            extra = draw.choice(_HEADERS)
            yield Hostile(f"{protocol.name}: {extra.strip()[:40]}", raw(protocol, good, None, extra), False)
            continue
        maker = draw.choice(_MAKERS)
        if protocol.document is None and maker in _OF_JSON:
            maker = _flipped
        what, body, sure = maker(draw, protocol)
        sure = sure and protocol.path != "/feedback/wage"  # a label of another kind is refused when it is taken up
        yield Hostile(f"{protocol.name}: {what}", raw(protocol, body), sure)
