"""HTTP and gRPC speak TLS with one certificate and key; a renewed one is taken without a lost request."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from perennial.errors import ConfigError
from perennial.serve.protocols.grpc_messages import SERVICE, message
from perennial.serve.tls import tls_of
from perennial.store.files import LocalFiles

ROW = {"person": "p", "x": 1.0}


def certificate(folder: Path, name: str = "service", *, password: bytes | None = None) -> tuple[Path, Path]:
    """A self-signed certificate of this machine, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30)).add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    kind = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    files = LocalFiles()
    files.mkdirs(folder)
    paths = folder / "certificate.pem", folder / "key.pem"
    files.write_atomic(paths[0], made.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, kind)
    files.write_atomic(paths[1], pem, mode=0o600)
    return paths


def https(service: Any, trusted: Path) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(trusted))
    return http.client.HTTPSConnection("127.0.0.1", service.port, timeout=60.0, context=context)


def ask(connection: http.client.HTTPSConnection, *rows: dict[str, Any], **headers: str) -> tuple[int, Any]:
    connection.request("POST", "/predict/wage", json.dumps({"records": list(rows)}), headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def serve(place: Any, paths: tuple[Path, Path], *options: str) -> Any:
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve("--tls-certificate", str(paths[0]), "--tls-key", str(paths[1]), *options)
    place.applied()
    return service


def test_https_answers_who_trusts_the_certificate_and_nobody_without_tls(place: Any, tmp_path: Path) -> None:
    paths = certificate(tmp_path)
    service = serve(place, paths, "--fronts", "2")
    assert place.status().address.startswith("https://")
    connection = https(service, paths[0])
    for x in (1.0, 2.0):  # kept alive
        status, told = ask(connection, ROW | {"x": x})
        assert (status, told["predictions"][0]["prediction"]) == (200, pytest.approx(x + 1))
    assert connection.sock.version() == "TLSv1.3"
    connection.close()
    many = [{"person": "p" * 150, "x": float(at)} for at in range(9000)]  # a large one, which another front answers
    status, told = ask(connection, *many)
    assert (status, len(told["predictions"])) == (200, 9000)
    connection.close()
    stranger = https(service, certificate(tmp_path / "other")[0])
    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.request("GET", "/livez")
    stranger.close()
    with pytest.raises((http.client.HTTPException, OSError)):
        service.get("/livez")
    old = ssl.create_default_context(cafile=str(paths[0]))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    raw = socket.create_connection(("127.0.0.1", service.port), 60.0)
    with old.wrap_socket(raw, server_hostname="localhost") as older:
        assert older.version() == "TLSv1.2"
    assert service.stop() == 0


def test_grpc_speaks_tls_with_the_same_certificate(place: Any, tmp_path: Path) -> None:
    paths = certificate(tmp_path)
    serve(place, paths, "--grpc-port", "0", "--fronts", "1")
    address = place.status().grpc
    asked = message("ModelInferRequest")(model_name="wage")
    asked.inputs.add(name="person", datatype="BYTES", shape=[2]).contents.bytes_contents.extend([b"p", b"q"])
    asked.inputs.add(name="x", datatype="FP64", shape=[2]).contents.fp64_contents.extend([1.0, 2.0])
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(paths[0].read_bytes())) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer", None, message("ModelInferResponse").FromString)
        (output,) = infer(asked.SerializeToString(), timeout=60.0).outputs
    assert list(output.contents.fp64_contents) == pytest.approx([2.0, 3.0])
    for credentials in (None, grpc.ssl_channel_credentials(certificate(tmp_path / "other")[0].read_bytes())):
        channel = grpc.insecure_channel(address) if credentials is None else grpc.secure_channel(address, credentials)
        with channel:
            live = channel.unary_unary(f"/{SERVICE}/ServerLive")
            with pytest.raises(grpc.RpcError) as refused:
                live(b"", timeout=20.0)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_S10_a_renewed_certificate_is_taken_while_clients_ask_over_tls(place: Any, tmp_path: Path) -> None:
    paths = certificate(tmp_path, "old")
    service = serve(place, paths, "--fronts", "2")
    both = tmp_path / "both.pem"
    LocalFiles().write_atomic(both, paths[0].read_bytes())
    errors: list[str] = []
    served: list[float] = []
    ending = threading.Event()

    def client(at: int) -> None:
        connection = https(service, both)
        count = 0
        while not ending.is_set():
            count += 1
            x = at * 1e6 + count
            try:
                status, told = ask(connection, {"person": "p", "x": x})
            except (OSError, http.client.HTTPException) as error:
                errors.append(repr(error))
                return
            if status != 200:
                errors.append(str(told))
            else:
                served.append(told["predictions"][0]["prediction"] - x)
            if connection.sock is None:  # the answer said that it was the last one of this connection
                connection = https(service, both)
        connection.close()

    before = service.fronts()
    old = paths[0].read_bytes()
    certificate(tmp_path, "new")
    LocalFiles().write_atomic(both, old + paths[0].read_bytes())
    threads = [threading.Thread(target=client, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    service.process.send_signal(signal.SIGHUP)
    place.until(lambda: len(now := service.fronts()) == 2 and not set(now) & set(before), "fronts that are all new")
    said = len(served)
    place.until(lambda: len(served) > said + 50, "progress of the clients")
    ending.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert served == pytest.approx([1.0] * len(served))
    connection = https(service, paths[0])  # who trusts the new one alone
    assert ask(connection, ROW)[0] == 200
    connection.close()


def test_files_that_cannot_be_used_are_told_before_anything_starts(tmp_path: Path) -> None:
    good, other = certificate(tmp_path / "a"), certificate(tmp_path / "b")
    locked = certificate(tmp_path / "c", password=b"secret")
    text = tmp_path / "text.pem"
    LocalFiles().write_atomic(text, b"hello")
    assert tls_of("", "") is None
    for paths, says in (
        ((good[0], ""), "tls_key is missing"), (("", good[1]), "tls_certificate is missing"),
        ((good[0], other[1]), "cannot be used"), (locked, "password"), ((text, good[1]), "cannot be used"),
        ((tmp_path / "nothing", good[1]), "cannot be used"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=says):
            tls_of(*map(str, paths))
    LocalFiles().mkdirs(tmp_path / "workspace")
    told = subprocess.run(
        [sys.executable, "-m", "perennial.serve", "--workspace", str(tmp_path / "workspace"), "--port", "0",
         "--tls-certificate", str(good[0]), "--tls-key", str(other[1])],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (told.returncode, "cannot be used" in told.stderr) == (2, True)
