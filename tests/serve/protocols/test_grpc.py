"""The gRPC service over a real channel: messages as the protocol numbers them, tensors as over HTTP, statuses."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from grpc import StatusCode, aio, ssl_channel_credentials, ssl_server_credentials

from perennial.errors import Conflict, NotFound, TooLarge, Unavailable
from perennial.models.signature import Field
from perennial.serve.answer import Answer
from perennial.serve.asked import Asked
from perennial.serve.intake import Intake
from perennial.serve.line import Deadline
from perennial.serve.protocols.grpc_messages import METHODS, SERVICE, message
from perennial.serve.protocols.grpc_service import GrpcServer
from perennial.serve.protocols.models import ModelState, ServerState

from .wire import COLUMNS, FIRST, ROW, answer, classification, numbers, regression, texts

Infer, Inferred = message("ModelInferRequest"), message("ModelInferResponse")


class Endpoints:
    """Who answers: real intakes, and answers that tell what was asked."""

    def __init__(self) -> None:
        self.intakes = {
            "wage": Intake(regression()),
            "two": numbers(2),
            "digit": Intake(classification(["no", "yés"])),
            "grade": Intake(classification([1, 2], "int64")),
        }
        self.asked: list[Asked] = []
        self.told: list[dict[str, Any]] = []
        self.outcome: Answer | Exception | None = None

    async def predict(
        self, endpoint: str, version: str | None, asked_maker: Callable[[Intake], Asked], **told: Any
    ) -> tuple[Answer, Intake]:
        if endpoint not in self.intakes:
            raise NotFound(f"there is no model {endpoint!r}")
        intake = self.intakes[endpoint]
        asked = asked_maker(intake)
        self.asked.append(asked)
        self.told.append({**told, "version": version})
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome is not None:
            return self.outcome, intake
        if intake.signature.task == "regression":
            return answer([float(at) for at in range(asked.height)]), intake
        labels: Any = intake.signature.classes
        rows = asked.height
        return answer([labels[0]] * rows, classes=labels, probabilities=[[0.75, 0.25]] * rows), intake

    def state(self) -> ServerState:
        return ServerState(
            version="1.2",
            is_ready=True,
            models=(
                ModelState(name="wage", versions=("3",), state="READY", signature=regression()),
                ModelState(name="digit", versions=(), state="LOADING", signature=classification(["no", "yes"])),
            ),
        )


def ask(
    call: str, request: Any, endpoints: Endpoints | None = None, *, response: Any = None, max_bytes: int = 2**20,
    **options: Any,
) -> Any:  # fmt: skip
    """One call over a channel; `request` is a message or bytes."""

    async def run() -> Any:
        server = GrpcServer(endpoints or Endpoints(), "127.0.0.1:0", max_bytes=max_bytes)
        await server.start()
        try:
            async with aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                made = channel.unary_unary(
                    f"/{SERVICE}/{call}", lambda sent: sent if isinstance(sent, bytes) else sent.SerializeToString(),
                    (response or message(f"{call}Response")).FromString,
                )  # fmt: skip
                return await made(request, timeout=60, **options)
        finally:
            await server.stop(0)

    return asyncio.run(run())


def refused(call: str, request: Any, endpoints: Endpoints | None = None, **options: Any) -> tuple[StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as error:
        ask(call, request, endpoints, **options)
    return error.value.code(), error.value.details() or ""


def infer(name: str, *tensors: tuple[str, str, list[int], Any], raw: bool = False, **more: Any) -> Any:
    """A request; contents are the field's name and elements, or raw bytes."""
    request = Infer(model_name=name, **more)
    for tensor, datatype, shape, contents in tensors:
        made = request.inputs.add(name=tensor, datatype=datatype, shape=shape)
        if raw:
            request.raw_input_contents.append(contents)
        elif contents is not None:
            field, elements = contents
            getattr(made.contents, f"{field}_contents").extend(elements)
    return request


def delimited(number: int, payload: bytes) -> bytes:
    """A field of bytes, text or a message as protobuf writes it."""
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload


class TestMessages:
    def test_a_request_written_by_hand_is_understood(self) -> None:
        matrix = struct.pack("<2d", 1.5, 2.5)
        tensor = delimited(1, b"input-0") + delimited(2, b"FP64") + delimited(3, b"\1\2")
        body = delimited(1, b"two") + delimited(3, b"a7") + delimited(5, tensor) + delimited(7, matrix)
        endpoints = Endpoints()

        class Raw:
            FromString = staticmethod(bytes)

        made = ask("ModelInfer", body, endpoints, response=Raw)
        assert endpoints.asked[0].rows() == [(1.5, 2.5)]
        output = delimited(1, b"wage") + delimited(2, b"FP64") + delimited(3, b"\1")
        assert delimited(1, b"wage") + delimited(2, b"3") + delimited(3, b"a7") in made
        assert made.endswith(delimited(5, output) + delimited(6, struct.pack("<d", 0.0)))

    def test_the_health_calls(self) -> None:
        assert ask("ServerLive", b"").live is True
        assert ask("ServerReady", b"").ready is True
        assert ask("ModelReady", message("ModelReadyRequest")(name="wage", version="3")).ready is True
        assert ask("ModelReady", message("ModelReadyRequest")(name="digit")).ready is False

    def test_metadata(self) -> None:
        server = ask("ServerMetadata", b"")
        assert (server.name, server.version, "binary_tensor_data" in server.extensions) == ("perennial", "1.2", True)
        model = ask("ModelMetadata", message("ModelMetadataRequest")(name="wage"))
        assert [tensor.name for tensor in model.inputs] == [field.name for field in COLUMNS]
        assert (model.outputs[0].name, model.outputs[0].datatype, list(model.outputs[0].shape)) == (
            "wage",
            "FP64",
            [-1],
        )
        assert list(model.versions) == ["3"]


class TestPredictions:
    def test_typed_contents_are_answered_with_typed_contents(self) -> None:
        columns = [
            ("age", "INT32", "int", [41]), ("hours", "FP32", "fp32", [37.5]), ("union", "BOOL", "bool", [True]),
            ("sector", "BYTES", "bytes", ["Café".encode()]), ("photo", "BYTES", "bytes", [b"\0\xff"]),
            ("since", "BYTES", "bytes", [b"2024-05-01T12:30:00Z"]), ("born", "BYTES", "bytes", [b"1983-02-28"]),
        ]  # fmt: skip
        endpoints = Endpoints()
        made = ask("ModelInfer", infer("wage", *[(n, d, [1, 1], (f, e)) for n, d, f, e in columns]), endpoints)
        assert endpoints.asked[0].records() == [ROW]
        assert list(made.outputs[0].contents.fp64_contents) == [0.0]
        assert (made.model_name, made.model_version, made.id) == ("wage", "3", FIRST)
        assert made.parameters["prediction_id"].string_param == FIRST
        assert not made.raw_output_contents

    @pytest.mark.parametrize("rows", [1, 50])
    def test_raw_contents_are_answered_with_raw_contents(self, rows: int) -> None:
        raw = struct.pack(f"<{rows * 2}f", *range(rows * 2))
        made = ask("ModelInfer", infer("digit", ("m", "FP32", [rows, 2], raw), raw=True))
        assert [output.name for output in made.outputs] == ["digit", "probabilities"]
        assert list(made.raw_output_contents) == [texts(b"no") * rows, struct.pack("<2d", 0.75, 0.25) * rows]
        assert made.outputs[1].parameters["classes"].string_param == '["no","yés"]'

    def test_every_datatype_has_typed_contents(self) -> None:
        fields = {
            "BOOL": "bool", "INT8": "int", "INT16": "int", "INT32": "int", "INT64": "int64", "UINT8": "uint",
            "UINT16": "uint", "UINT32": "uint", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64",
        }  # fmt: skip
        for datatype, field in fields.items():
            endpoints = Endpoints()
            kind = "bool" if datatype == "BOOL" else "float64"
            endpoints.intakes["one"] = Intake(regression([Field(name="x", type=kind)]))
            for rows in (1, 40):
                ask("ModelInfer", infer("one", ("x", datatype, [rows], (field, [1] * rows))), endpoints)
                assert endpoints.asked[-1].rows() == [(True if kind == "bool" else 1.0,)] * rows

    def test_outputs_select(self) -> None:
        request = infer("digit", ("m", "FP64", [1, 2], ("fp64", [1, 2])))
        request.outputs.add(name="probabilities")
        assert [output.name for output in ask("ModelInfer", request).outputs] == ["probabilities"]
        request.outputs.add(name="gold")
        code, says = refused("ModelInfer", request)
        assert (code, "outputs[1].name" in says) == (StatusCode.INVALID_ARGUMENT, True)

    def test_rows_without_an_answer(self) -> None:
        endpoints = Endpoints()
        endpoints.outcome = answer([1, None], classes=[1, 2])
        made = ask("ModelInfer", infer("grade", ("m", "FP64", [2, 2], ("fp64", [1, 2, 3, 4]))), endpoints)
        assert made.outputs[0].datatype == "FP64"
        assert math.isnan(made.outputs[0].contents.fp64_contents[1])

    def test_deadline_key_and_version_are_passed_on(self) -> None:
        endpoints = Endpoints()
        request = infer("two", ("m", "FP64", [1, 2], ("fp64", [1, 2])), model_version="3")
        ask("ModelInfer", request, endpoints, metadata=(("idempotency-key", "k7"),))
        told = endpoints.told[0]
        assert 30 < told["timeout_s"] < 61  # of 60, less the way to the server; the wire rounds it
        assert (told["key"], told["version"], told["source"]) == ("k7", "3", "grpc")


class TestRefusals:
    @pytest.mark.parametrize(
        "request_, where",
        [
            (infer("two"), "inputs"),
            (infer("two", ("m", "FP64", [1, 2], ("fp64", [1]))), "inputs[0].data"),
            (infer("two", ("m", "FP64", [1, 2], ("fp32", [1, 2]))), "inputs[0].contents"),
            (infer("two", ("m", "FP64", [1, 2], None)), "inputs[0].data"),
            (infer("two", ("m", "FP16", [1, 2], None)), "inputs[0].datatype"),
            (infer("two", ("m", "FP17", [1, 2], ("fp64", [1, 2]))), "inputs[0].datatype"),
            (infer("two", ("m", "INT8", [1, 2], ("int", [1, 128]))), "inputs[0].contents.int_contents[1]"),
            (infer("two", ("m", "UINT16", [1, 2], ("uint", [65536, 1]))), "inputs[0].contents.uint_contents[0]"),
            (infer("two", ("m", "FP64", [], ("fp64", [1, 2]))), "inputs[0].shape"),
            (infer("two", ("m", "FP64", [-1, 2], ("fp64", [1, 2]))), "inputs[0].shape[0]"),
            (infer("two", ("m", "FP64", [1, 2], bytes(15)), raw=True), "inputs[0].shape"),
            (infer("two", ("m", "FP64", [2**62, 2**62], bytes(16)), raw=True), "inputs[0].shape[0]"),
            (infer("two", ("m", "FP64", [1, 2], ("fp64", [1, math.inf]))), "inputs[0].data[0][1]"),
            (infer("two", ("x0", "FP64", [1], ("fp64", [1])), ("z", "FP64", [1], ("fp64", [1]))), "inputs[1].name"),
        ],
    )  # fmt: skip
    def test_S13_what_is_wrong_is_pointed_at(self, request_: Any, where: str) -> None:
        code, says = refused("ModelInfer", request_)
        assert (code, says.endswith(f"(at {where})")) == (StatusCode.INVALID_ARGUMENT, True), says

    def test_raw_contents_exclude_typed_ones(self) -> None:
        request = infer("two", ("m", "FP64", [1, 2], ("fp64", [1, 2])))
        request.raw_input_contents.append(bytes(16))
        assert refused("ModelInfer", request)[0] == StatusCode.INVALID_ARGUMENT
        request = infer("two", ("x0", "FP64", [1], bytes(8)), ("x1", "FP64", [1], bytes(8)), raw=True)
        del request.raw_input_contents[1]
        assert "raw_input_contents" in refused("ModelInfer", request)[1]

    @pytest.mark.parametrize("call", METHODS)
    def test_S13_bytes_that_are_no_message_are_the_callers_mistake(self, call: str) -> None:
        code, says = refused(call, b"\x0a\xff\xff\xff\xff\x0fx")
        assert (code, says) == (StatusCode.INVALID_ARGUMENT, f"these bytes are no {call}Request")

    def test_names_that_are_not_utf8(self) -> None:
        assert refused("ModelInfer", delimited(1, b"\xff"))[0] == StatusCode.INVALID_ARGUMENT

    def test_S12_a_message_over_the_limit_is_not_read(self) -> None:
        request = infer("two", ("m", "FP64", [1, 2], bytes(100_000)), raw=True)
        assert refused("ModelInfer", request, max_bytes=50_000)[0] == StatusCode.RESOURCE_EXHAUSTED

    @pytest.mark.parametrize(
        "outcome, code",
        [
            (NotFound("gone"), StatusCode.NOT_FOUND), (Conflict("other"), StatusCode.ABORTED),
            (TooLarge("much"), StatusCode.RESOURCE_EXHAUSTED), (Unavailable("later"), StatusCode.UNAVAILABLE),
            (Deadline("late"), StatusCode.DEADLINE_EXCEEDED), (RuntimeError("secret /path"), StatusCode.INTERNAL),
            (answer([None], status=500, message="failed"), StatusCode.INTERNAL),
            (answer([None], status=503, message="later"), StatusCode.UNAVAILABLE),
            (answer([None], status=504, message="late"), StatusCode.DEADLINE_EXCEEDED),
        ],
    )  # fmt: skip
    def test_each_error_has_its_status(self, outcome: Any, code: StatusCode) -> None:
        endpoints = Endpoints()
        endpoints.outcome = outcome
        found, says = refused("ModelInfer", infer("two", ("m", "FP64", [1, 2], ("fp64", [1, 2]))), endpoints)
        assert found == code
        assert "secret" not in says

    def test_what_is_not_there(self) -> None:
        assert refused("ModelInfer", infer("gold", ("m", "FP64", [1, 2], ("fp64", [1, 2]))))[0] == StatusCode.NOT_FOUND
        for call in ("ModelReady", "ModelMetadata"):
            assert refused(call, message(f"{call}Request")(name="gold"))[0] == StatusCode.NOT_FOUND
        assert refused("ModelLoad", b"", response=Inferred)[0] == StatusCode.UNIMPLEMENTED


def test_two_servers_share_a_port() -> None:
    async def run() -> int:
        with socket.socket() as held:  # as the parent holds it: bound, never listening
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{held.getsockname()[1]}"
            servers = [GrpcServer(Endpoints(), address) for _ in range(2)]
            for server in servers:
                await server.start()
            answered = 0
            for _ in range(8):  # a connection each
                options = (("grpc.use_local_subchannel_pool", 1),)
                async with aio.insecure_channel(address, options=options) as channel:
                    call: Callable[..., Awaitable[bytes]] = channel.unary_unary(f"/{SERVICE}/ServerLive")
                    answered += await call(b"", timeout=60) == b"\x08\x01"
            for server in servers:
                await server.stop(0)
            return answered

    assert asyncio.run(run()) == 8


def test_a_client_that_waits_no_longer_ends_its_call() -> None:
    cancelled = asyncio.Event()

    class Slow(Endpoints):
        async def predict(self, *asked: Any, **told: Any) -> tuple[Answer, Intake]:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise AssertionError

    async def run() -> StatusCode:
        server = GrpcServer(Slow(), "127.0.0.1:0")
        await server.start()
        async with aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            try:
                await call(infer("two").SerializeToString(), timeout=0.2)
            except aio.AioRpcError as error:
                await asyncio.wait_for(cancelled.wait(), 60)
                await server.stop(0)
                return error.code()
        raise AssertionError

    assert asyncio.run(run()) == StatusCode.DEADLINE_EXCEEDED


def test_nothing_of_grpc_is_loaded_before_it_is_wanted() -> None:
    code = (
        "import sys, perennial.serve.protocols.inference, perennial.serve.protocols.kserve;"
        "assert not [name for name in sys.modules if name.startswith(('grpc', 'google.protobuf', 'pandas', 'sklearn'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def certificate() -> tuple[bytes, bytes]:
    """A key, and a certificate for localhost that it signed itself."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return secret, made.public_bytes(pem)


def test_with_a_certificate_it_answers_who_trusts_it_and_nobody_else() -> None:
    secret, public = certificate()
    _, other = certificate()

    async def live(port: int, trusted: bytes | None) -> Any:
        address = f"localhost:{port}"
        channel = (
            aio.insecure_channel(address)
            if trusted is None
            else aio.secure_channel(address, ssl_channel_credentials(root_certificates=trusted))
        )
        async with channel:
            call = channel.unary_unary(f"/{SERVICE}/ServerLive", None, message("ServerLiveResponse").FromString)
            return await call(b"", timeout=60)

    async def run() -> None:
        tls = ssl_server_credentials([(secret, public)])
        server = GrpcServer(Endpoints(), "localhost:0", tls=tls)
        await server.start()
        try:
            assert (await live(server.port, public)).live
            for trusted in (other, None):
                with pytest.raises(aio.AioRpcError) as error:
                    await live(server.port, trusted)
                assert error.value.code() is StatusCode.UNAVAILABLE
        finally:
            await server.stop(0)

    asyncio.run(run())


def test_the_index_and_the_statistics_are_those_of_http_and_nobody_loads_or_unloads() -> None:
    index = ask("RepositoryIndex", message("RepositoryIndexRequest")())
    assert [(model.name, model.version, model.state) for model in index.models] == [
        ("wage", "3", "READY"), ("digit", "", "LOADING"),
    ]  # fmt: skip
    ready = ask("RepositoryIndex", message("RepositoryIndexRequest")(ready=True))
    assert [model.name for model in ready.models] == ["wage"]
    (told,) = ask("ModelStatistics", message("ModelStatisticsRequest")(name="wage")).model_stats
    assert (told.name, told.version, told.inference_count, told.inference_stats.success.count) == ("wage", "3", 0, 0)
    assert len(ask("ModelStatistics", message("ModelStatisticsRequest")()).model_stats) == 2
    assert refused("ModelStatistics", message("ModelStatisticsRequest")(name="gold"))[0] is StatusCode.NOT_FOUND
    for call in ("RepositoryModelLoad", "RepositoryModelUnload"):
        code, says = refused(call, message(f"{call}Request")(model_name="wage"))
        assert (code, "not" in says) == (StatusCode.ABORTED, True)
