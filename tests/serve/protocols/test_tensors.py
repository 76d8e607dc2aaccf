"""Tensors: raw bytes and JSON data to elements, and every lie about them refused with its place."""

from __future__ import annotations

import math
import struct

import ml_dtypes
import numpy as np
import pytest

from perennial.errors import Invalid
from perennial.serve.protocols.tensors import DATATYPES, FEW, MAX_DIMS, from_json, from_raw, size_of, to_raw

from .wire import texts

LETTERS = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i",
    "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
"""How `struct`, an implementation of its own, writes each datatype."""

EDGES = {
    "BOOL": [True, False], "UINT8": [0, 255], "UINT16": [0, 65535], "UINT32": [0, 2**32 - 1], "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127], "INT16": [-32768, 32767], "INT32": [-(2**31), 2**31 - 1], "INT64": [-(2**63), 2**63 - 1],
    "FP16": [-0.5, 65504.0], "FP32": [-0.5, 2.0**127], "FP64": [-0.1, 1.7e308],
}  # fmt: skip


def listed(values) -> list:
    return values if isinstance(values, list) else values.tolist()


@pytest.mark.parametrize("count", [2, FEW, FEW + 1, 1000])
@pytest.mark.parametrize("name", LETTERS)
def test_raw_numbers_are_little_endian_and_come_back_as_they_went(name: str, count: int) -> None:
    values = [EDGES[name][i % 2] for i in range(count)]
    raw = struct.pack(f"<{count}{LETTERS[name]}", *values)
    found = from_raw(DATATYPES[name], memoryview(raw), [count], "inputs[0]")
    assert listed(found) == values
    assert to_raw(DATATYPES[name], found) == raw


@pytest.mark.parametrize("count", [3, 100])
def test_bf16_is_the_upper_half_of_a_float32(count: int) -> None:
    numbers = np.random.default_rng(7).normal(size=count).astype(np.float32)
    raw = numbers.astype(ml_dtypes.bfloat16).tobytes()
    found = np.asarray(from_raw(DATATYPES["BF16"], raw, [count], "inputs[0]"))
    assert found.tolist() == numbers.astype(ml_dtypes.bfloat16).astype(np.float32).tolist()
    assert to_raw(DATATYPES["BF16"], numbers) == raw
    assert math.isnan(np.asarray(from_raw(DATATYPES["BF16"], to_raw(DATATYPES["BF16"], [math.nan]), [1], ""))[0])


def test_bytes_have_their_length_before_them() -> None:
    raw = b"\x02\0\0\0\xc3\xa9\0\0\0\0\x01\0\0\0\xff"
    assert from_raw(DATATYPES["BYTES"], raw, [3], "inputs[0]") == [b"\xc3\xa9", b"", b"\xff"]
    assert to_raw(DATATYPES["BYTES"], ["é", None, b"\xff"]) == raw


@pytest.mark.parametrize(
    "raw, shape, where",
    [
        (b"", [1], "inputs[0].shape"),
        (texts(b"ab", b"c"), [1], "inputs[0].shape"),  # more than claimed
        (texts(b"ab"), [2], "inputs[0].shape"),
        (texts(b"abcd"), [2], "inputs[0].data[1]"),
        (b"\xff\xff\xff\xffab", [1], "inputs[0].data[0]"),  # a length of 4 GiB
        (b"\x03\0\0\0ab\0\0", [1], "inputs[0].shape"),
        (texts(b"ab")[:-1], [1], "inputs[0].data[0]"),
        (texts(b"ab") + b"\0\0\0", [2], "inputs[0].data[1]"),  # half a length
        (texts(b"ab"), [2**31 - 1], "inputs[0].shape"),
    ],
)
def test_S13_lengths_that_lie_are_told_by_element(raw: bytes, shape: list[int], where: str) -> None:
    with pytest.raises(Invalid) as told:
        from_raw(DATATYPES["BYTES"], raw, shape, "inputs[0]")
    assert told.value.where == where


@pytest.mark.parametrize("name", [name for name in DATATYPES if name != "BYTES"])
@pytest.mark.parametrize("shape", [[3], [1], [2, 2], [2**31 - 1, 2**31 - 1, 2**31 - 1]])
def test_S13_shape_times_size_must_be_the_number_of_bytes(name: str, shape: list[int]) -> None:
    with pytest.raises(Invalid, match="needs") as told:
        from_raw(DATATYPES[name], bytes(2 * DATATYPES[name].size_bytes), shape, "inputs[0]")
    assert told.value.where == "inputs[0].shape"


@pytest.mark.parametrize(
    "shape, where",
    [
        ([], "shape"), ([0], "shape[0]"), ([3, 0], "shape[1]"), ([-1], "shape[0]"), ([2**31], "shape[0]"),
        ([10**40], "shape[0]"), ([1] * (MAX_DIMS + 1), "shape"),
    ],
)  # fmt: skip
def test_S13_empty_negative_and_huge_shapes_are_refused(shape: list[int], where: str) -> None:
    with pytest.raises(Invalid) as told:
        size_of(shape, "inputs[0]")
    assert told.value.where == f"inputs[0].{where}"


@pytest.mark.parametrize("count", [3, 40])
def test_a_bool_is_one_byte_zero_or_one(count: int) -> None:
    raw = bytearray(count)
    raw[2] = 2
    with pytest.raises(Invalid, match="0 or 1") as told:
        from_raw(DATATYPES["BOOL"], bytes(raw), [count], "inputs[0]")
    assert told.value.where == "inputs[0].data[2]"


@pytest.mark.parametrize("shape", [[2, 3], [6], [1, 2, 3, 1], [20, 10]])
def test_json_is_flat_or_nested_as_the_shape_says(shape: list[int]) -> None:
    flat = [float(i) for i in range(math.prod(shape))]
    nested = np.array(flat).reshape(shape).tolist()
    for data in (flat, nested):
        assert listed(from_json(DATATYPES["FP64"], data, shape, "inputs[0]")) == flat


def test_missing_numbers_in_json_are_null() -> None:
    few = from_json(DATATYPES["FP64"], [1.5, None], [2], "inputs[0]")
    many = from_json(DATATYPES["FP64"], [1.5, None] * 20, [40], "inputs[0]")
    whole = from_json(DATATYPES["INT64"], [1, None] * 20, [40], "inputs[0]")
    assert few == [1.5, None]
    assert np.isnan(np.asarray(many)).tolist() == [False, True] * 20
    assert whole == [1, None] * 20


@pytest.mark.parametrize(
    "name, data, shape, where",
    [
        ("FP64", [1.0], [2], "data"),
        ("FP64", [], [1], "data"),
        ("FP64", [1.0, [2.0]], [2], "data"),  # ragged
        ("FP64", [[1.0], [2.0, 3.0]], [2, 2], "data"),
        ("FP64", [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [3, 2], "data"),  # transposed
        ("FP64", [[1.0, 2.0]], [2], "data[0]"),
        ("FP64", [[[1.0]], [[2.0]]], [2, 1], "data[0][0]"),
        ("FP64", [[1.0], ["2"]], [2, 1], "data[1][0]"),  # no text becomes a number
        ("FP64", [[1.0], [True]], [2, 1], "data[1][0]"),
        ("INT8", [[1], [128]], [2, 1], "data[1][0]"),
        ("INT8", [[1], [1.5]], [2, 1], "data[1][0]"),
        ("UINT64", [[2**64]], [1, 1], "data[0]"),
        ("BYTES", [["a"], [1]], [2, 1], "data[1][0]"),
        ("FP16", [1.0], [1], "datatype"),
        ("BF16", [1.0], [1], "datatype"),
    ],
)
def test_S13_data_that_are_not_of_the_shape_or_datatype(name: str, data: list, shape: list[int], where: str) -> None:
    with pytest.raises(Invalid) as told:
        from_json(DATATYPES[name], data, shape, "inputs[0]")
    assert told.value.where == f"inputs[0].{where}"


def test_a_claim_costs_no_memory() -> None:
    import tracemalloc

    tracemalloc.start()
    for name in ("FP64", "BYTES"):
        with pytest.raises(Invalid):
            from_raw(DATATYPES[name], bytes(8), [2**31 - 1, 2**31 - 1], "inputs[0]")
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
