"""Look into an ONNX graph before anything runs it: references to other files and foreign operators are refused.

A tensor of an ONNX model may say that its numbers lie in another file, at a path that the model chooses (CVE-2022-25882
is about such paths). A package is whole in itself, so any such reference is refused, wherever it stands: initializers,
constants of nodes, graphs within nodes, functions. The few fields of protocol buffers that this needs are read here,
so that the service needs no ONNX library for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from perennial.errors import Corrupt, TooLarge

__all__ = ["MAX_BYTES", "check_onnx"]

MAX_BYTES = 2**31 - 1  # what one protobuf message can hold
MAX_DEPTH = 32  # graphs within graphs
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})  # the last one is ONNX Runtime's own, built in

# Field numbers of onnx.proto3, by message: which fields hold which messages.
_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {},
    "opset": {},
}
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_DOMAIN = {"opset": 1, "node": 7, "function": 10}


def check_onnx(data: bytes, *, where: str = "", max_bytes: int = MAX_BYTES) -> None:
    """Refuse what reads other files, runs foreign operators or is no ONNX model.

    Raises:
        Corrupt: It is not one, or holds something that is not allowed; says what.
        TooLarge: It is over `max_bytes`.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"the ONNX graph has {len(data)} bytes, more than {max_bytes}", where=where)
    try:
        found = _objection(memoryview(data), "model", 0)
    except (IndexError, ValueError) as error:
        raise Corrupt("this is not an ONNX model", where=where, remedy="do not use this package") from error
    if found:
        raise Corrupt(f"the ONNX graph {found}", where=where, remedy="do not use this model")


def _objection(data: memoryview, kind: str, depth: int) -> str | None:
    if depth > MAX_DEPTH:
        return f"nests graphs more than {MAX_DEPTH // 3} deep"
    has_graph = False
    for number, wire, value in _fields(data):
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == 1)):
            name = next(
                (bytes(told).decode() for at, _, told in _fields(data) if at == _NAME and isinstance(told, memoryview)),
                "",
            )
            return f"takes the tensor {name!r} from another file"
        if number == _DOMAIN.get(kind) and isinstance(value, memoryview) and bytes(value).decode() not in DOMAINS:
            return f"uses operators of {bytes(value).decode()!r}, which are not part of ONNX"
        part = _PARTS[kind].get(number)
        has_graph |= part == "graph"
        if part == "training":
            return "holds a training procedure"
        if part is not None:
            if wire != 2 or not isinstance(value, memoryview):
                raise ValueError("a message is expected")
            found = _objection(value, part, depth + 1)
            if found:
                return found
    if kind == "model" and not has_graph:
        raise ValueError("there is no graph")
    return None


def _fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """(field number, wire type, value) of one message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(data):
            raise ValueError("the message ends too early")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
