"""Requests broken at random in every wire format: refused with a pointer, never another exception, no growth."""

from __future__ import annotations

import copy
import json
import random
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from perennial.errors import Invalid
from perennial.models.signature import Field
from perennial.serve.asked import Asked
from perennial.serve.intake import Intake
from perennial.serve.protocols.inference import HEAD_LENGTH, OpenInference
from perennial.serve.protocols.kserve import KServe
from perennial.serve.protocols.protocol import HttpRequest

from .wire import COLUMNS, ROW, numbers, post, regression, tensor, texts

CASES = 20_000
NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1.7e308, float("nan"),
    float("inf"), "", "x0", "age", "é", "\ud800", "\0", "1", "NaN", "a" * 5000, "2024-13-45", "2024-05-01T12:30:00Z",
    "AP8=", "!", [], [[]], [1], [1, [2]], [[1], [2, 3]], [None], ["a"], {}, {"a": 1},
    {"binary_data_size": 8}, "FP64", "BYTES",
    "UINT64", "FP16", "BOOL", "INT8", "inputs", {"content_type": "str"}, {"content_type": "base64"}, [2, 1], [1, 2],
    [0], [-1], [2**62, 2**62], [1] * 40,
]  # fmt: skip
IMAGE = Intake(regression([Field(name="image", type="float64", shape=[2, 2]), Field(name="k", type="int64")]))
WAGE = Intake(regression())
TWO = numbers(2)
KINDS = {"int64": "INT64", "float64": "FP64", "bool": "BOOL"}


def _columns(rows: int) -> list[dict[str, Any]]:
    return [
        tensor(field.name, KINDS.get(field.type, "BYTES"), [rows, 1], [ROW[field.name]] * rows)
        for field in COLUMNS
        if field.required
    ]


def _raw(rows: int) -> tuple[dict[str, Any], bytes]:
    pieces = {
        "age": struct.pack(f"<{rows}q", *range(rows)), "hours": struct.pack(f"<{rows}f", *range(rows)),
        "union": b"\1" * rows, "sector": texts(b"ab") * rows, "photo": texts(b"\0\xff") * rows,
        "since": texts(b"2024-05-01T12:30:00Z") * rows, "born": texts(b"1983-02-28") * rows,
    }  # fmt: skip
    kinds = {"age": "INT64", "hours": "FP32", "union": "BOOL"}
    inputs = [tensor(k, kinds.get(k, "BYTES"), [rows], binary_data_size=len(v)) for k, v in pieces.items()]
    return {"inputs": inputs, "parameters": {"binary_data_output": True}}, b"".join(pieces.values())


# What is well formed, as body, raw bytes and the endpoint that takes it.
SEEDS: dict[str, list[tuple[Any, bytes | None, Intake]]] = {
    "inference": [
        ({"inputs": _columns(1), "id": "a", "outputs": [{"name": "wage"}]}, None, WAGE),
        ({"inputs": _columns(12)}, None, WAGE),
        (*_raw(1), WAGE),
        (*_raw(12), WAGE),
        ({"inputs": [tensor("x", "FP64", [2, 2], [[1, 2], [3, 4]])]}, None, TWO),
        ({"inputs": [tensor("x", "FP64", [20, 2], binary_data_size=320)]}, bytes(320), TWO),
        ({"inputs": [tensor("image", "FP32", [1, 2, 2], [[[1, 2], [3, 4]]]), tensor("k", "INT8", [1], [1])]},
         None, IMAGE),
        ({"inputs": [tensor("image", "BF16", [9, 2, 2], binary_data_size=72), tensor("k", "UINT64", [9], [1] * 9)]},
         bytes(72), IMAGE),
    ],
    "kserve": [
        ({"instances": [{k: v for k, v in ROW.items() if v is not None}] * 2}, None, WAGE),
        ({"instances": [[1, 2], [3, 4]]}, None, TWO),
        ({"inputs": {"x0": [1, 2], "x1": [3, 4]}}, None, TWO),
        ({"instances": [[[[1, 2], [3, 4]], 1]]}, None, IMAGE),
    ],
}  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in _places(item, (*path, key)))]


def _mutated(body: Any, dice: random.Random) -> Any:
    """One to three values replaced, taken away, doubled or given another name."""
    made = copy.deepcopy(body)
    for _ in range(dice.choice((1, 1, 2, 3))):
        place = dice.choice(_places(made))
        if not place:
            return dice.choice(NASTY)
        owner = made
        for key in place[:-1]:
            owner = owner[key]
        kind = dice.randrange(5)
        if kind == 0:
            del owner[place[-1]]
        elif kind == 1 and isinstance(owner, list):
            owner.append(copy.deepcopy(owner[place[-1]]))
        elif kind == 1:
            owner[dice.choice(("name", "data", "x9", ""))] = owner.pop(place[-1])
        else:
            owner[place[-1]] = copy.deepcopy(dice.choice(NASTY))
        if not isinstance(made, dict | list):
            return made
    return made


def _broken(body: bytes, dice: random.Random) -> bytes:
    """Some bytes changed, cut off, doubled or put in."""
    made = bytearray(body)
    for _ in range(dice.choice((1, 1, 2, 8))):
        at = dice.randrange(len(made) + 1)
        kind = dice.randrange(5)
        if kind == 0 and at < len(made):
            made[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del made[at:]
        elif kind == 2:
            made[at:at] = dice.choice(
                (b"[", b"{", b'"', b"\xff", b"\\", b"\\ud800", b"NaN", b"1e999", b"\0", b"[" * 200)
            )
        elif kind == 3:
            made[at:at] = made[at : at + dice.randrange(40)]
        else:
            del made[at : at + dice.randrange(9)]
    return bytes(made)


def _case(protocol: str, dice: random.Random) -> tuple[HttpRequest, Intake, bool]:
    """A request, its endpoint, and whether its body is still JSON."""
    body, rest, intake = dice.choice(SEEDS[protocol])
    is_json = dice.random() < 0.6
    if is_json and dice.random() < 0.8:
        body = _mutated(body, dice)
    head = json.dumps(body).encode()
    if not is_json:
        head = _broken(head, dice)
    if rest is not None and dice.random() < 0.4:
        rest = _broken(rest, dice)
    request = post(head, rest)
    if rest is not None and dice.random() < 0.1:
        lie = dice.choice(
            (b"", b"-1", b"0", b"1", b"99999999", b"1e2", b"\xb2", str(len(head) - 1).encode(), b"9" * 5000)
        )
        request.headers[HEAD_LENGTH] = lie
    return request, intake, is_json


def _decode(protocol: str) -> Callable[[HttpRequest, Intake], Asked]:
    return {"inference": OpenInference(), "kserve": KServe()}[protocol].decode


@pytest.mark.parametrize("protocol", SEEDS)
def test_S13_C18_malformed_requests_are_refused_with_a_pointer(protocol: str) -> None:
    dice = random.Random(20_261_127)
    decode = _decode(protocol)
    counts = {"answered": 0, "pointed": 0, "no JSON": 0}
    unpointed: list[Invalid] = []
    cases = CASES if protocol == "inference" else CASES // 4
    for _ in range(cases):
        request, intake, is_json = _case(protocol, dice)
        try:
            asked = decode(request, intake)
        except Invalid as error:
            if is_json and not error.where and "not JSON" not in error.what:
                unpointed.append(error)
            counts["pointed" if error.where else "no JSON"] += 1
        else:
            _check(asked, intake)
            counts["answered"] += 1
    assert unpointed == []
    assert min(counts.values()) > cases / 100, counts


def _check(asked: Asked, intake: Intake) -> None:
    """What was let through is rows of the signature: finite numbers, columns of one length, writable text."""
    assert asked.height >= 1
    for row in asked.rows():
        assert len(row) == len(intake.names)
    encoded = json.dumps(asked.rows(), allow_nan=False, default=lambda array: array.tolist(), ensure_ascii=False)
    encoded.encode()


@pytest.mark.parametrize("protocol", SEEDS)
def test_S13_malformed_requests_leave_nothing_behind(protocol: str) -> None:
    dice = random.Random(7)
    decode = _decode(protocol)

    def some(count: int) -> None:
        for _ in range(count):
            request, intake, _ = _case(protocol, dice)
            try:
                decode(request, intake)
            except Invalid:
                continue

    some(400)
    tracemalloc.start()
    some(100)
    before = tracemalloc.get_traced_memory()[0]
    some(800)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 200_000
