"""The Open Inference Protocol over gRPC, on grpc.aio: a server in each process that answers, all on one port.

Written against `Predictor`, which whoever routes requests offers; the tensors are those of `inputs` and `outputs`. A
request with raw contents is answered with raw contents, another with typed ones. The caller's deadline is passed on, or
the parameter `timeout` (microseconds) where that is less. A client's metadata `idempotency-key` makes a repeated call
one prediction.

Importing this takes a tenth of a second and some megabytes: only who listens for gRPC imports it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import grpc
import msgspec
import numpy as np
from google.protobuf.message import DecodeError
from grpc import StatusCode, aio

from perennial.errors import Conflict, Forbidden, Invalid, Mistake, NotFound, PerennialError, TooLarge, Unavailable
from perennial.serve.forwarding import LARGE_BYTES
from perennial.serve.line import Deadline
from perennial.serve.protocols.grpc_messages import CONTENTS, METHODS, SERVICE, message
from perennial.serve.protocols.inference import timeout_of
from perennial.serve.protocols.inputs import CONTENT_TYPES, Tensor, asked_of
from perennial.serve.protocols.models import (
    EXTENSIONS,
    ServerState,
    find,
    index,
    metadata,
    not_by_clients,
    statistics,
)
from perennial.serve.protocols.outputs import Output, check_wanted, outputs_of, parameters_of, version_of
from perennial.serve.protocols.protocol import HttpRequest, Reply
from perennial.serve.protocols.tensors import DATATYPES, to_raw

if TYPE_CHECKING:
    from perennial.serve.answer import Answer
    from perennial.serve.asked import Asked
    from perennial.serve.intake import Intake

__all__ = ["MAX_BYTES", "GrpcServer", "Predictor", "infer"]

log = logging.getLogger("perennial.serve.grpc")

MAX_BYTES = 10 * 1024 * 1024  # RELIABILITY 9: of one request
MAX_KEY = 250  # characters of an idempotency key
MAX_AGE_S = 10.0  # of a connection, up to a tenth more: its client makes a new one, maybe to another process
AGE_GRACE_S = 60.0  # for calls that are on it then
MAX_CALLS = 1000  # at a time in one process; more are refused as RESOURCE_EXHAUSTED before they are read
MAX_SAID = 2000  # characters of a status: names that a caller made up may be longer than its channel takes back
SOURCE = "grpc"
_STATUS: tuple[tuple[type[PerennialError], StatusCode], ...] = (
    (NotFound, StatusCode.NOT_FOUND), (Conflict, StatusCode.ABORTED), (TooLarge, StatusCode.RESOURCE_EXHAUSTED),
    (Forbidden, StatusCode.PERMISSION_DENIED), (Deadline, StatusCode.DEADLINE_EXCEEDED),
    (Unavailable, StatusCode.UNAVAILABLE), (Mistake, StatusCode.INVALID_ARGUMENT),
)  # fmt: skip
_OF_ANSWER = {
    429: StatusCode.RESOURCE_EXHAUSTED, 503: StatusCode.UNAVAILABLE, 504: StatusCode.DEADLINE_EXCEEDED,
}  # fmt: skip
_SMALL = {  # datatypes that share a wider field
    name: (np.iinfo(DATATYPES[name].dtype).min, np.iinfo(DATATYPES[name].dtype).max)
    for name in ("INT8", "INT16", "UINT8", "UINT16")
}

_Context: TypeAlias = "aio.ServicerContext[Any, Any] | _HandedOn"
HandOver: TypeAlias = "Callable[[HttpRequest, Callable[[Reply | PerennialError], None]], None]"


class Predictor(Protocol):
    """Who answers predictions in this process. All in one event loop."""

    async def predict(
        self,
        endpoint: str,
        version: str | None,
        asked_maker: Callable[[Intake], Asked],
        *,
        key: str,
        timeout_s: float | None,
        source: str,
        trace: tuple[str, str],
    ) -> tuple[Answer, Intake]:
        """Answer a request, and the intake that it passed.

        Args:
            endpoint: As in the spec.
            version: Of the model, where the client insists on one.
            asked_maker: Makes the rows with the endpoint's intake, in this call; what it raises is raised.
            key: Of the client, which makes a repetition the same request; empty without one.
            timeout_s: What is left of the caller's patience, seconds.
            source: The protocol, for the capture.
            trace: The caller's own trace: W3C's `traceparent` and `tracestate`, empty without.

        Raises:
            PerennialError: No such endpoint or version, or the rows are not as they should be.
        """
        ...

    def state(self) -> ServerState:
        """What the service says of itself now."""
        ...


class GrpcServer:
    """One listening server. Made, started and stopped in the event loop that answers.

    `address` is "host:port"; several processes may listen on the same one (SO_REUSEPORT), the kernel spreads the
    connections. `port` is the one that was bound, for an address that ends in ":0".
    """

    def __init__(
        self, predictor: Predictor, address: str, *, max_bytes: int = MAX_BYTES, tls: Any = None,
        hand_over: HandOver | None = None,
    ) -> None:  # fmt: skip
        """`hand_over` answers requests over LARGE_BYTES, which would hold up the others here."""
        self._calls = _Calls(predictor, hand_over)
        self._server = aio.server(
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", max_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.max_connection_age_ms", int(MAX_AGE_S * 1000)),
                ("grpc.max_connection_age_grace_ms", int(AGE_GRACE_S * 1000)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.max_pings_without_data", 0),
            ],
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        handlers = {
            # Bytes come in as they are: what does not parse is the caller's mistake, grpc would call it our failure.
            name: grpc.unary_unary_rpc_method_handler(self._calls.of(name), None, _sent)
            for name in METHODS
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = (
            self._server.add_insecure_port(address) if tls is None else self._server.add_secure_port(address, tls)
        )

    async def start(self) -> None:
        """Accept calls from now on."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let those that run end within `grace_s` seconds, then cut them off."""
        await self._server.stop(grace_s)


class _NoAnswer(Exception):
    """The request was taken and no row of it answered."""

    def __init__(self, status: StatusCode, says: str) -> None:
        super().__init__(says)
        self.status = status
        self.says = says


def _sent(made: Any) -> bytes:
    return made if isinstance(made, bytes) else made.SerializeToString()


async def infer(predictor: Predictor, request: HttpRequest) -> Reply:
    """Answer a ModelInfer that another process handed on: a response of gRPC, or its status as JSON."""
    told = await _Calls(predictor).told("ModelInfer", request.body, _HandedOn(request.headers))
    if isinstance(told, _NoAnswer):
        return Reply(status=400, body=msgspec.json.encode({"status": told.status.name, "message": told.says}))
    return Reply(body=_sent(told), kind=b"application/octet-stream")


class _HandedOn:
    """What of a call's context matters, as another process told it."""

    def __init__(self, headers: dict[bytes, bytes]) -> None:
        self._headers = headers

    def time_remaining(self) -> float | None:
        told = self._headers.get(b"x-request-timeout-ms")
        return None if told is None else int(told) / 1000

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._headers.items()]


class _Calls:
    """The calls of the service, each from bytes to a message."""

    def __init__(self, predictor: Predictor, hand_over: HandOver | None = None) -> None:
        self._predictor = predictor
        self._hand_over = hand_over
        self._makers: dict[str, Callable[[Any, _Context], Awaitable[Any]]] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server,
            "ModelMetadata": self._model,
            "ModelInfer": self._infer,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }

    def of(self, name: str) -> Callable[[bytes, aio.ServicerContext[Any, Any]], Awaitable[Any]]:
        """One call: the request is parsed, and what is raised becomes a status."""

        async def call(body: bytes, context: aio.ServicerContext[Any, Any]) -> Any:
            told = await self.told(name, body, context)
            return await context.abort(told.status, told.says) if isinstance(told, _NoAnswer) else told

        return call

    async def told(self, name: str, body: bytes, context: _Context) -> Any:
        """The response to these bytes, or why there is none."""
        try:
            if self._hand_over is not None and name == "ModelInfer" and len(body) > LARGE_BYTES:
                return await self._elsewhere(self._hand_over, body, context)
            return await self._makers[name](message(f"{name}Request").FromString(body), context)
        except _NoAnswer as error:
            status, says = error.status, error.says
        except PerennialError as error:
            status, says = _status_of(error), f"{error.what} (at {error.where})" if error.where else error.what
        except DecodeError:
            status, says = StatusCode.INVALID_ARGUMENT, f"these bytes are no {name}Request"
        except Exception:  # the boundary of a request: a fault of ours is told as such, and the log has the rest
            request_id = os.urandom(8).hex()
            log.exception("request %s failed", request_id)
            status, says = StatusCode.INTERNAL, f"the prediction service failed [request {request_id}]"
        return _NoAnswer(status, says[:MAX_SAID])

    async def _elsewhere(self, hand_over: HandOver, body: bytes, context: _Context) -> bytes:
        """The response of a process that is there for large requests."""
        headers = {b"host": b"localhost"}
        key, remaining = _key(context), context.time_remaining()
        sent = {"idempotency-key": key, **dict(zip(("traceparent", "tracestate"), _trace(context), strict=True))}
        headers |= {name.encode(): value.encode("latin-1", "replace") for name, value in sent.items() if value}
        if remaining is not None:
            headers[b"x-request-timeout-ms"] = b"%d" % max(1, int(remaining * 1000))
        waiter: asyncio.Future[Reply | PerennialError] = asyncio.get_running_loop().create_future()
        request = HttpRequest(method="POST", path="/grpc/infer", headers=headers, body=body)
        hand_over(request, lambda told: None if waiter.done() else waiter.set_result(told))
        told = await waiter
        if isinstance(told, PerennialError):
            raise told
        if told.status == 200:
            return told.body
        said: dict[str, str] = msgspec.json.decode(told.body)
        raise _NoAnswer(StatusCode[said.get("status", "UNAVAILABLE")], said["message"])

    async def _live(self, request: Any, context: _Context) -> Any:
        return message("ServerLiveResponse")(live=True)

    async def _ready(self, request: Any, context: _Context) -> Any:
        return message("ServerReadyResponse")(ready=self._predictor.state().is_ready)

    async def _model_ready(self, request: Any, context: _Context) -> Any:
        model = find(self._predictor.state(), request.name, request.version or None)
        return message("ModelReadyResponse")(ready=model.state == "READY")

    async def _server(self, request: Any, context: _Context) -> Any:
        state = self._predictor.state()
        return message("ServerMetadataResponse")(name=state.name, version=state.version, extensions=EXTENSIONS)

    async def _model(self, request: Any, context: _Context) -> Any:
        version = request.version or None
        told = metadata(find(self._predictor.state(), request.name, version), version)
        made = message("ModelMetadataResponse")(name=told["name"], versions=told["versions"], platform=told["platform"])
        for field in ("inputs", "outputs"):
            for tensor in told[field]:
                getattr(made, field).add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        return made

    async def _statistics(self, request: Any, context: _Context) -> Any:
        found = statistics(self._predictor.state(), request.name, request.version or None)
        for told in found:
            told.pop("batch_stats")  # nothing is counted by size of batch
        return message("ModelStatisticsResponse")(model_stats=found)

    async def _index(self, request: Any, context: _Context) -> Any:
        return message("RepositoryIndexResponse")(
            models=index(self._predictor.state(), is_ready_only=bool(request.ready))
        )

    async def _load(self, request: Any, context: _Context) -> Any:
        raise not_by_clients("load", request.model_name)

    async def _unload(self, request: Any, context: _Context) -> Any:
        raise not_by_clients("unload", request.model_name)

    async def _infer(self, request: Any, context: _Context) -> Any:
        is_raw = len(request.raw_input_contents) > 0
        wanted: list[str] = [output.name for output in request.outputs]

        def asked(intake: Intake) -> Asked:
            if wanted:
                check_wanted(wanted, intake.signature)
            return asked_of(_tensors(request), intake)

        patience = [told for told in (context.time_remaining(), _timeout(request)) if told is not None]
        answer, intake = await self._predictor.predict(
            request.model_name,
            request.model_version or None,
            asked,
            key=_key(context),
            timeout_s=min(patience, default=None),
            source=SOURCE,
            trace=_trace(context),
        )
        if answer.status != 200:
            raise _NoAnswer(_OF_ANSWER.get(answer.status, StatusCode.INTERNAL), f"{answer.message} [{answer.id}]")
        made = message("ModelInferResponse")(
            model_name=answer.endpoint, model_version=version_of(answer), id=request.id or answer.id
        )
        for name, value in parameters_of(answer).items():
            made.parameters[name].string_param = value
        for output in outputs_of(answer, intake.signature, wanted):
            _add(made, output, is_raw=is_raw)
        return made


def _status_of(error: PerennialError) -> StatusCode:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), StatusCode.INTERNAL)


def _sent_with(context: _Context, name: str) -> str | bytes:
    """What the caller's metadata say under this name; "" without."""
    sent: Sequence[tuple[str, str | bytes]] = cast("Any", context.invocation_metadata()) or ()
    return next((value for known, value in sent if known == name), "")


def _trace(context: _Context) -> tuple[str, str]:
    parent, state = _sent_with(context, "traceparent"), _sent_with(context, "tracestate")
    return (parent, state) if isinstance(parent, str) and isinstance(state, str) else ("", "")


def _key(context: _Context) -> str:
    key = _sent_with(context, "idempotency-key")
    if not isinstance(key, str) or len(key) > MAX_KEY:
        raise Invalid(
            f"an idempotency-key is text of at most {MAX_KEY} characters",
            where="idempotency-key",
            remedy="send a shorter one",
        )
    return key


def _timeout(request: Any) -> float | None:
    """What the parameter `timeout` says, where there is one."""
    if "timeout" not in request.parameters:
        return None
    said = request.parameters["timeout"]
    kind: str | None = said.WhichOneof("parameter_choice")
    return timeout_of(getattr(said, kind) if kind is not None else None)


def _tensors(request: Any) -> list[Tensor]:
    raw: Sequence[bytes] = request.raw_input_contents
    inputs: Sequence[Any] = request.inputs
    _check_content_type(request.parameters, "parameters")
    if not inputs:
        raise Invalid("there are no inputs", where="inputs", remedy="send a tensor for each column")
    if raw and len(raw) != len(inputs):
        raise Invalid(
            f"there are {len(inputs)} inputs and {len(raw)} raw contents",
            where="raw_input_contents",
            remedy="send the raw bytes of each input, or of none",
        )
    found: list[Tensor] = []
    for at, tensor in enumerate(inputs):
        where = f"inputs[{at}]"
        content = _check_content_type(tensor.parameters, f"{where}.parameters") if tensor.parameters else None
        if raw and tensor.HasField("contents"):
            raise Invalid("raw contents exclude typed ones", where=f"{where}.contents", remedy="leave one of them out")
        found.append(
            Tensor(
                name=tensor.name,
                datatype=tensor.datatype,
                shape=list(tensor.shape),
                data=None if raw else _typed(tensor, where),
                raw=raw[at] if raw else None,
                content_type=content,
            )
        )
    return found


def _typed(tensor: Any, where: str) -> list[Any]:
    """The elements of typed contents, all of the tensor's datatype."""
    datatype: str = tensor.datatype
    if datatype not in CONTENTS:
        raise Invalid(
            f"there are no typed contents of {datatype!r}",
            where=f"{where}.datatype",
            remedy=f"send {datatype} as raw contents"
            if datatype in DATATYPES
            else f"send one of {', '.join(DATATYPES)}",
        )
    field = CONTENTS[datatype]
    for descriptor, _ in tensor.contents.ListFields():
        if descriptor.name != field:
            raise Invalid(
                f"{datatype} is in {field}, not in {descriptor.name}",
                where=f"{where}.contents",
                remedy=f"send {field}",
            )
    elements: list[Any] = list(getattr(tensor.contents, field))
    if datatype in _SMALL and elements:
        low, high = _SMALL[datatype]
        if min(elements) < low or max(elements) > high:
            wrong = next(at for at, value in enumerate(elements) if not low <= value <= high)
            raise Invalid(
                f"a number of {datatype} is from {low} to {high}",
                where=f"{where}.contents.{field}[{wrong}]",
                remedy="send a wider datatype",
            )
    return elements


def _check_content_type(parameters: Mapping[str, Any], where: str) -> str | None:
    if "content_type" not in parameters:
        return None
    said = parameters["content_type"]
    content: str | None = said.string_param if said.WhichOneof("parameter_choice") == "string_param" else None
    if content not in CONTENT_TYPES:
        raise Invalid(
            "this content type is not known here",
            where=f"{where}.content_type",
            remedy=f"send one of {', '.join(CONTENT_TYPES)}, or none",
        )
    return content


def _add(made: Any, output: Output, *, is_raw: bool) -> None:
    tensor = made.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
    for name, value in (output.parameters or {}).items():
        tensor.parameters[name].string_param = value
    datatype = DATATYPES[output.datatype]
    if is_raw:
        made.raw_output_contents.append(to_raw(datatype, output.values))
        return
    values = output.values if isinstance(output.values, list) else output.values.tolist()
    if output.datatype == "BYTES":
        values = [b"" if value is None else value.encode() for value in values]
    elif output.datatype == "FP64" and len(values) > 0:
        values = [float("nan") if value is None else value for value in values]
    getattr(tensor.contents, CONTENTS[output.datatype]).extend(values)
