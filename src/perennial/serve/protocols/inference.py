"""Open Inference Protocol v2 over HTTP: `POST /v2/models/{endpoint}[/versions/{version}]/infer`.

A body is JSON, or with the header `Inference-Header-Content-Length` a JSON head of that length and the raw bytes of
each tensor that has `parameters.binary_data_size`, in the order of the inputs. That header decides, never the content
type: clients leave it out. Which tensors a request may hold is told in `inputs`, which an answer holds in `outputs`.

The answer has the framing that was asked for: `parameters.binary_data_output` for all outputs, or
`outputs[].parameters.binary_data` for one. Its `id` is the request's as text, or the prediction id where there was
none. `parameters.timeout`, microseconds, is how long the caller waits. Errors are `{"error": "..."}` with 400 for
whatever is wrong with a request.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast

import msgspec
from msgspec import Meta, Struct

from perennial.errors import Invalid
from perennial.serve.protocols.inputs import CONTENT_TYPES, Tensor, asked_of
from perennial.serve.protocols.json_values import parse
from perennial.serve.protocols.outputs import Output, check_wanted, outputs_of, parameters_of, version_of
from perennial.serve.protocols.protocol import JSON, HttpRequest, Reply
from perennial.serve.protocols.tensors import DATATYPES, MAX_DIMS, MAX_LENGTH, to_raw
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from perennial.serve.answer import Answer
    from perennial.serve.asked import Asked
    from perennial.serve.intake import Intake

__all__ = ["BINARY", "HEAD_LENGTH", "OpenInference", "refuse", "timeout_of"]

HEAD_LENGTH = b"inference-header-content-length"
BINARY = b"application/octet-stream"
MAX_TENSORS = 4096  # inputs of one request
_REMEDY = 'send {"inputs": [{"name", "shape", "datatype", "data"}]}'

_Shape = Annotated[list[Annotated[int, Meta(ge=1, le=MAX_LENGTH)]], Meta(min_length=1, max_length=MAX_DIMS)]
_Parameters = dict[str, Any]


class _Input(Struct, tag_field="datatype", kw_only=True, gc=False):
    name: str
    shape: _Shape
    parameters: _Parameters | None = None
    data: list[Any] | None = None


def _kind(datatype: str, json: Any) -> Any:
    """Inputs of one datatype: their data are checked while they are parsed, unless they are nested."""
    fields = [] if json is None else [("data", list[json | list[Any] | None] | None, None)]
    return msgspec.defstruct(datatype, fields, bases=(_Input,), tag=datatype, kw_only=True, gc=False)


_CLASSES: dict[str, type[_Input]] = {kind.name: _kind(kind.name, kind.json) for kind in DATATYPES.values()}

if TYPE_CHECKING:
    _AnyInput = _Input
else:  # made from the table, which a type checker does not follow
    _AnyInput = Union[tuple(_CLASSES.values())]  # noqa: UP007


class _Wanted(Struct, kw_only=True, gc=False):
    name: str
    parameters: _Parameters | None = None


class _Head(Struct, kw_only=True):
    model_name: object = None  # the address says it; KServe's client repeats it
    id: str | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    parameters: _Parameters | None = None
    outputs: list[_Wanted] | None = None


class _Body(_Head, kw_only=True):
    inputs: Annotated[list[_AnyInput], Meta(min_length=1, max_length=MAX_TENSORS)]


class _Floats(Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """An input as most requests have it: a tensor of floats in the JSON. Without a union it is read more quickly."""

    name: str
    shape: list[int]
    datatype: Literal["FP64", "FP32"]
    data: list[float]


class _FloatsBody(_Head, kw_only=True):
    inputs: Annotated[list[_Floats], Meta(min_length=1, max_length=MAX_TENSORS)]


class _Kept(Struct, kw_only=True):
    """What the answer needs of the request."""

    id: str | None
    wanted: list[str] | None
    binary: bool | dict[str, bool]


class _OutputJSON(Struct, kw_only=True, omit_defaults=True, gc=False):
    name: str
    shape: list[int]
    datatype: str
    parameters: _Parameters | None = None
    data: list[Any] | None = None


class _ResponseJSON(Struct, kw_only=True):
    model_name: str
    model_version: str
    id: str
    parameters: dict[str, str]
    outputs: list[_OutputJSON]


_decoder: Any = msgspec.json.Decoder(ready(_Body))
_quick_decoder: Any = msgspec.json.Decoder(ready(_FloatsBody))


class OpenInference:
    """The Open Inference Protocol (`WireFormat`)."""

    name = "inference"
    tells_rows = False

    def decode(self, request: HttpRequest, intake: Intake) -> Asked:
        """The rows of a request; see `WireFormat`. Leaves its id and what it wants for the answer."""
        body, rest = _split(request)
        floats = _floats(body) if rest is None else None
        if floats is not None:
            self._note(floats, request, intake)
            return _of_floats(floats.inputs, intake)
        whole = _head(body)
        self._note(whole, request, intake)
        return _one_row(whole.inputs, rest, intake) or asked_of(_tensors(whole.inputs, rest), intake)

    def _note(self, head: _Head, request: HttpRequest, intake: Intake) -> None:
        """Keep what the answer needs."""
        parameters = head.parameters or {}
        if head.outputs:
            check_wanted([output.name for output in head.outputs], intake.signature)
        content = _content_type(parameters, "parameters.content_type")
        if content is not None and content not in CONTENT_TYPES:
            raise Invalid(
                f"the content type {content!r} is not known here",
                where="parameters.content_type",
                remedy=f"send one of {', '.join(CONTENT_TYPES)}, or none",
            )
        request.timeout_s = timeout_of(parameters.get("timeout"))
        request.kept = _Kept(
            id=None if head.id is None else str(head.id),
            wanted=[output.name for output in head.outputs] if head.outputs else None,
            binary=_binary(parameters, head.outputs or ()),
        )

    def encode(self, answer: Answer, request: HttpRequest, intake: Intake) -> Reply:
        """The answer as tensors; see `outputs`."""
        kept = request.kept
        if not isinstance(kept, _Kept):
            raise TypeError("encode answers a request that decode has read")
        if answer.status != 200:
            return self.refuse(answer.status, "", answer.message, "", answer.id)
        told: list[_OutputJSON] = []
        pieces: list[bytes] = []
        for output in outputs_of(answer, intake.signature, kept.wanted):
            is_binary = kept.binary if isinstance(kept.binary, bool) else kept.binary.get(output.name, False)
            told.append(_told(output, pieces) if is_binary else _plain(output))
        head = msgspec.json.encode(
            _ResponseJSON(
                model_name=answer.endpoint,
                model_version=version_of(answer),
                id=answer.id if kept.id is None else kept.id,
                parameters=parameters_of(answer),
                outputs=told,
            )
        )
        if not pieces:
            return Reply(body=head)
        return Reply(body=b"".join([head, *pieces]), kind=BINARY, headers=[(HEAD_LENGTH, str(len(head)).encode())])

    def refuse(self, status: int, code: str, message: str, where: str, request_id: str) -> Reply:
        """`{"error": "..."}`: clients of this protocol show that text alone, so it says where and which request."""
        return refuse(status, message, where, request_id)


def refuse(status: int, message: str, where: str = "", request_id: str = "") -> Reply:
    """An error in the shape of the Open Inference Protocol and of KServe; both know no 422."""
    text = message if not where or where in message else f"{message} (at {where})"
    told = f"{text} [request {request_id}]" if request_id else text
    return Reply(status=400 if status == 422 else status, body=msgspec.json.encode({"error": told}), kind=JSON)


def _split(request: HttpRequest) -> tuple[bytes, memoryview | None]:
    claimed = request.headers.get(HEAD_LENGTH)
    if claimed is None:
        return request.body, None
    length = int(claimed) if claimed.isdigit() and len(claimed) <= 18 else -1
    if not 0 < length <= len(request.body):
        raise Invalid(
            f"the JSON shall have {claimed[:20].decode('latin-1')} bytes, the whole body has {len(request.body)}",
            where="Inference-Header-Content-Length",
            remedy="send the length of the JSON that the body begins with",
        )
    return request.body[:length], memoryview(request.body)[length:]


def _head(body: bytes) -> _Body:
    try:
        head: _Body = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explained(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # A bare NaN, as Python clients write it; whatever else is wrong is told by the strict parser.
        return _strictly(body)
    # As many colons as names: no name came twice. Colons in texts look the same, then the strict parser tells.
    return head if body.count(b":") == _names(head) else _strictly(body)


def _strictly(body: bytes) -> _Body:
    try:
        return msgspec.convert(parse(body, _REMEDY), ready(_Body))
    except msgspec.ValidationError as error:
        raise _explained(error) from None


def _names(head: _Body) -> int:
    count = _names_around(head)
    for tensor in head.inputs:
        count += 4 if tensor.data is not None else 3
        if tensor.parameters is not None:
            count += _parameter_names(tensor.parameters)
    return count


def _names_around(head: _Head) -> int:
    """How many names there are besides those of the inputs."""
    count = 1 + sum(part is not None for part in (head.model_name, head.id, head.outputs))
    count += _parameter_names(head.parameters)
    for output in head.outputs or ():
        count += 1 + _parameter_names(output.parameters)
    return count


def _parameter_names(parameters: _Parameters | None) -> int:
    return 0 if parameters is None else 1 + len(parameters)


def _explained(error: msgspec.ValidationError) -> Invalid:
    reason, _, path = str(error).partition(" - at `$")
    where = path.rstrip("`").lstrip(".") or "inputs"
    return Invalid(f"the request is not as it should be: {reason[0].lower()}{reason[1:]}", where=where, remedy=_REMEDY)


_ONE = ([1], [1, 1])
_LISTED = frozenset(_CLASSES[name] for name, kind in DATATYPES.items() if kind.json is not None and name != "UINT64")
_FLOATS = frozenset({_CLASSES["FP32"], _CLASSES["FP64"]})
_UNPACKED = {_CLASSES[name]: kind for name, kind in DATATYPES.items() if kind.letter and name != "BOOL"}


@lru_cache(maxsize=256)
def _unpacker(letters: str) -> struct.Struct:
    return struct.Struct(f"<{letters}")


def _floats(body: bytes) -> _FloatsBody | None:
    """A request of tensors of floats; None for anything else, and for what the general way explains."""
    try:
        head: _FloatsBody = _quick_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return head if body.count(b":") == _names_around(head) + 4 * len(head.inputs) else None  # as in `_head`


def _of_floats(inputs: Sequence[_Floats], intake: Intake) -> Asked:
    """The rows; one row, a tensor for each column or all of them in one, takes a few steps over all columns."""
    asked: Asked | None = None
    values = [tensor.data[0] for tensor in inputs if len(tensor.data) == 1 and tensor.shape in _ONE]
    if len(values) == len(inputs):
        asked = intake.of_named(tuple([tensor.name for tensor in inputs]), values)
    elif len(inputs) == 1 and _is_row(inputs[0], intake) and len(inputs[0].data) == len(intake.names):
        asked = intake.of_row(inputs[0].data)
    if asked is not None:
        return asked
    return asked_of(
        [Tensor(name=one.name, datatype=one.datatype, shape=one.shape, data=one.data) for one in inputs], intake
    )


def _is_row(tensor: _Input | _Floats, intake: Intake) -> bool:
    """Whether it holds all columns of one row, under a name that is no column's."""
    width = len(intake.names)
    return tensor.shape == [1, width] and width == len(intake.required) and tensor.name not in intake.names


def _one_row(inputs: Sequence[_Input], rest: memoryview | None, intake: Intake) -> Asked | None:
    """One row with a plain tensor for each column, or all of them in one tensor, which most requests are, in a few
    steps over all tensors; None for anything else.

    Whatever is odd or wrong is left to the way that explains it.
    """
    if len(inputs) == 1 and (row := _in_one(inputs[0], intake)) is not None:
        return intake.of_row(row)
    values = _listed(inputs) if rest is None else _unpacked(inputs, rest)
    return None if values is None else intake.of_named(tuple([tensor.name for tensor in inputs]), values)


def _listed(inputs: Sequence[_Input]) -> list[Any] | None:
    """The one value of each tensor that has its data in the JSON."""
    if not _LISTED.issuperset(map(type, inputs)):
        return None
    values = [
        tensor.data[0]
        for tensor in inputs
        if tensor.data is not None and len(tensor.data) == 1 and tensor.shape in _ONE and not tensor.parameters
    ]
    return values if len(values) == len(inputs) and list not in map(type, values) else None


def _unpacked(inputs: Sequence[_Input], rest: memoryview) -> list[Any] | None:
    """The one value of each tensor, where all of them are raw numbers."""
    letters = ""
    for tensor in inputs:
        datatype = _UNPACKED.get(type(tensor))
        if (
            datatype is None
            or tensor.data is not None
            or tensor.shape not in _ONE
            or tensor.parameters != {"binary_data_size": datatype.size_bytes}
        ):
            return None
        letters += datatype.letter
    unpacker = _unpacker(letters)
    return list(unpacker.unpack(rest)) if unpacker.size == len(rest) else None


def _in_one(tensor: _Input, intake: Intake) -> list[Any] | None:
    """The values of a tensor [1, columns] under a name that is no column's, in the order of the columns."""
    if not _is_row(tensor, intake):
        return None
    data = tensor.data
    if data is None or tensor.parameters or type(tensor) not in _LISTED:
        return None
    if len(data) == 1 and isinstance(data[0], list):
        data = cast("list[Any]", data[0])
        if type(tensor) not in _FLOATS or set(map(type, data)) != {float}:
            return None  # nothing has looked at these yet
    return data if len(data) == len(intake.names) and list not in map(type, data) else None


def _tensors(inputs: Sequence[_Input], rest: memoryview | None) -> list[Tensor]:
    found: list[Tensor] = []
    used = 0
    for at, tensor in enumerate(inputs):
        parameters = tensor.parameters
        raw: memoryview | None = None
        content: str | None = None
        if parameters is not None:
            where = f"inputs[{at}].parameters"
            content = _content_type(parameters, f"{where}.content_type")
            size = parameters.get("binary_data_size")
            if size is not None:
                raw = _raw(tensor, size, used, rest, f"{where}.binary_data_size")
                used += len(raw)
        if raw is None and tensor.data is None:
            raise Invalid(
                "there are no data",
                where=f"inputs[{at}].data",
                remedy="send data, or parameters.binary_data_size and raw bytes behind the JSON",
            )
        found.append(
            Tensor(
                name=tensor.name, datatype=type(tensor).__name__, shape=tensor.shape, data=tensor.data, raw=raw,
                content_type=content,
            )
        )  # fmt: skip
    if rest is not None and used != len(rest):
        raise Invalid(
            f"{len(rest)} bytes follow the JSON, the inputs claim {used}",
            where="inputs",
            remedy="send parameters.binary_data_size with each tensor whose bytes follow",
        )
    return found


def _raw(tensor: _Input, size: object, used: int, rest: memoryview | None, where: str) -> memoryview:
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Invalid("binary_data_size is a number of bytes", where=where, remedy="send the length of the raw bytes")
    if tensor.data is not None:
        raise Invalid("a tensor has data or raw bytes, not both", where=where, remedy="leave one of them out")
    left = 0 if rest is None else len(rest) - used
    if rest is None or size > left:
        raise Invalid(
            f"the tensor claims {size} raw bytes, {left} are left",
            where=where,
            remedy="send the raw bytes behind the JSON, and its length as the header Inference-Header-Content-Length",
        )
    return rest[used : used + size]


def timeout_of(said: object) -> float | None:
    """The parameter `timeout` of a request in seconds; None, and 0 as clients send it, is no limit of the caller's.

    Raises:
        Invalid: It is no number of microseconds.
    """
    if said is None or (said == 0 and not isinstance(said, bool)):
        return None
    if not isinstance(said, int) or isinstance(said, bool) or not 0 < said < 2**64:
        raise Invalid("a timeout is a number of microseconds", where="parameters.timeout", remedy="send a whole number")
    return said / 1e6


def _content_type(parameters: _Parameters, where: str) -> str | None:
    content = parameters.get("content_type")
    if content is not None and not isinstance(content, str):
        raise Invalid("a content type is text", where=where, remedy=f"send one of {', '.join(CONTENT_TYPES)}")
    return content


def _binary(parameters: _Parameters, outputs: Sequence[_Wanted]) -> bool | dict[str, bool]:
    every = _flag(parameters, "binary_data_output", "parameters") or False
    if not outputs:
        return every
    said: dict[str, bool] = {}
    for at, output in enumerate(outputs):
        one = _flag(output.parameters or {}, "binary_data", f"outputs[{at}].parameters")
        said[output.name] = every if one is None else one
    return said


def _flag(parameters: _Parameters, name: str, where: str) -> bool | None:
    flag = parameters.get(name)
    if flag is not None and not isinstance(flag, bool):
        raise Invalid(f"{name} is true or false", where=f"{where}.{name}", remedy="send true or false")
    return flag


def _plain(output: Output) -> _OutputJSON:
    values = output.values if isinstance(output.values, list) else cast("list[Any]", output.values.tolist())
    return _OutputJSON(
        name=output.name, shape=output.shape, datatype=output.datatype, parameters=output.parameters, data=values
    )


def _told(output: Output, pieces: list[bytes]) -> _OutputJSON:
    raw = to_raw(DATATYPES[output.datatype], output.values)
    pieces.append(raw)
    return _OutputJSON(
        name=output.name, shape=output.shape, datatype=output.datatype,
        parameters={**(output.parameters or {}), "binary_data_size": len(raw)},
    )  # fmt: skip
