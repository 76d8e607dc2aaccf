"""Calls over gRPC that are wrong in one way or another: messages of other bytes, tensors that contradict themselves."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any

__all__ = ["OURS", "ask", "generate"]

OURS = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS")  # what says that we failed
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
_SHAPES = ([3], [2, 2], [-2], [0], [2**62], [2**31, 2**31], [], [1] * 100)
_DATATYPES = ("FP65", "BYTES", "INT8", "BOOL", "FP16", "", "fp64", "UINT64")


def _good(draw: random.Random) -> Any:
    from perennial.serve.protocols.grpc_messages import message

    made = message("ModelInferRequest")(model_name="wage")
    is_raw = draw.random() < 0.5
    people, numbers = [b"p1", b"p2"], [1.0, 2.5]
    person = made.inputs.add(name="person", datatype="BYTES", shape=[2])
    x = made.inputs.add(name="x", datatype="FP64", shape=[2])
    if is_raw:
        made.raw_input_contents.append(b"".join(struct.pack("<I", len(text)) + text for text in people))
        made.raw_input_contents.append(struct.pack("<2d", *numbers))
    else:
        person.contents.bytes_contents.extend(people)
        x.contents.fp64_contents.extend(numbers)
    return made


def _changed(draw: random.Random, made: Any) -> tuple[str, bytes]:
    """A message that parses and says what cannot be."""
    tensor = draw.choice(made.inputs)
    kind = draw.randrange(9)
    if kind == 0:
        del tensor.shape[:]
        tensor.shape.extend(draw.choice(_SHAPES))
        return f"shape {list(tensor.shape)[:4]}", made.SerializeToString()
    if kind == 1:
        tensor.datatype = draw.choice(_DATATYPES)
        return f"datatype {tensor.datatype!r}", made.SerializeToString()
    if kind == 2:
        tensor.name = draw.choice(("", "y", "person", "x" * 10_000))
        return f"a tensor named {tensor.name[:10]!r}", made.SerializeToString()
    if kind == 3:
        made.raw_input_contents.append(draw.randbytes(draw.randrange(40)))
        return "one raw content too many", made.SerializeToString()
    if kind == 4:
        made.model_name = draw.choice(("", "nothing", "wage/../wage", "w" * 100_000))
        return f"model {made.model_name[:10]!r}", made.SerializeToString()
    if kind == 5:
        made.model_version = draw.choice(("0", "-1", "latest", "9" * 500))
        return f"version {made.model_version[:10]!r}", made.SerializeToString()
    if kind == 6:
        made.parameters["timeout"].string_param = "soon"
        return "a timeout of words", made.SerializeToString()
    if kind == 7:
        tensor.contents.fp64_contents.extend([float("nan"), float("inf"), -1e308])
        tensor.contents.int_contents.append(2**31 - 1)
        return "contents of several kinds", made.SerializeToString()
    made.outputs.add(name=draw.choice(("", "nothing", "prediction", "set")))
    return "an output that is not there", made.SerializeToString()


def generate(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """So many of them: what is wrong, the method, the bytes of its message."""
    draw = random.Random(seed)
    for _ in range(count):
        method = "ModelInfer" if draw.random() < 0.9 else draw.choice(METHODS)
        made = _good(draw)
        kind = draw.randrange(4)
        if kind == 0:
            what, body = _changed(draw, made)
        elif kind == 1:
            data = bytearray(made.SerializeToString())
            for _ in range(draw.randint(1, 8)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            what, body = "bytes changed", bytes(data)
        elif kind == 2:
            data = made.SerializeToString()
            what, body = "cut off", data[: draw.randrange(len(data))]
        else:
            what, body = "noise", draw.randbytes(draw.randint(0, 500))
        yield f"{method}: {what}", method, body


def ask(address: str, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Send them one after the other: how often each status came, and what was answered as a failure of ours."""
    import grpc

    from perennial.serve.protocols.grpc_messages import SERVICE

    statuses = Counter[str]()
    bad = list[str]()
    with grpc.insecure_channel(address) as channel:
        calls = {method: channel.unary_unary(f"/{SERVICE}/{method}") for method in METHODS}
        for what, method, body in generate(count, seed):
            try:
                calls[method](body, timeout=20.0)
                status = "OK"
            except grpc.RpcError as error:
                status = error.code().name
            statuses[status] += 1
            if status in OURS:
                bad.append(f"{what} -> {status}")
    return statuses, bad
