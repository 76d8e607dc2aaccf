"""Who gets notices, on loopback: a mail server and a web server, with certificates of an authority of their own."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

JANUARY = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Papers:
    """Files in PEM form: who vouches, and the certificate with its key."""

    authority: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def papers(folder: Path, host: str = "localhost") -> Papers:
    """A certificate for this host; for localhost it names 127.0.0.1, too."""

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def builder(subject: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("authority of the tests"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(JANUARY)
            .not_valid_after(JANUARY + datetime.timedelta(days=36_500))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = builder("authority of the tests", root, is_authority=True).sign(root, hashes.SHA256())
    inside = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))] if host == "localhost" else []
    names = x509.SubjectAlternativeName([x509.DNSName(host), *inside])
    certificate = (
        builder(host, leaf, is_authority=False).add_extension(names, critical=False).sign(root, hashes.SHA256())
    )
    made = Papers(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
    made.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    made.key.write_bytes(leaf.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return made


@dataclass
class Mailbox:
    """A mail server of RFC 5321, as much as a client needs; `refuse` answers with this code at this command."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, list[str], bool]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    refuse: dict[str, int] = field(default_factory=dict)


@contextmanager
def mail_server(tls: ssl.SSLContext | None = None, *, at_once: bool = False) -> Iterator[Mailbox]:
    """`at_once`: it speaks TLS from the first byte, else after STARTTLS."""
    box = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.is_safe = False
            if at_once:
                self.secure()
            self.say("220 tests ready")
            sender, receivers = "", list[str]()
            while line := self.rfile.readline(1000).decode().strip():
                word, _, rest = line.partition(" ")
                word = word.upper()
                if word in box.refuse:
                    self.say(f"{box.refuse[word]} secret of the inside")
                elif word == "EHLO":
                    offers = [*([] if self.is_safe or tls is None else ["STARTTLS"])]
                    offers += ["AUTH PLAIN"] if self.is_safe else []
                    for number, offer in enumerate(["tests", *offers], 1):
                        self.say(f"250{' ' if number == len(offers) + 1 else '-'}{offer}")
                elif word == "STARTTLS":
                    self.say("220 go on")
                    self.secure()
                elif word == "AUTH":
                    _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                    box.logins.append((user, password))
                    self.say("235 welcome")
                elif word == "MAIL":
                    sender, receivers = rest, []
                    self.say("250 ok")
                elif word == "RCPT":
                    receivers.append(rest)
                    self.say("250 ok")
                elif word == "DATA":
                    self.say("354 end with a dot")
                    lines = list[bytes]()
                    while (data := self.rfile.readline()) != b".\r\n":
                        lines.append(data.removeprefix(b"."))
                    mail = message_from_bytes(b"".join(lines), policy=policy.default)
                    box.mails.append(cast(EmailMessage, mail))
                    box.envelopes.append((sender, receivers, self.is_safe))
                    self.say("250 taken")
                elif word == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

        def secure(self) -> None:
            assert tls is not None
            self.request = tls.wrap_socket(self.request, server_side=True)
            self.setup()
            self.is_safe = True

        def finish(self) -> None:
            super().finish()
            self.request.close()

        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), quiet(Handler))) as port:
        box.port = port
        yield box


@dataclass
class Hook:
    """A web server that keeps what is posted; `answers` are the statuses to come, 200 after them."""

    port: int = 0
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    location: str = ""
    drip_s: float = 0.0


@contextmanager
def web_server(tls: ssl.SSLContext | None = None) -> Iterator[Hook]:
    hook = Hook()
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            hook.posts.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            if hook.drip_s:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not stop.wait(hook.drip_s):
                    self.wfile.write(b"x")
                return
            self.send_response(hook.answers.pop(0) if hook.answers else 200)
            if hook.location:
                self.send_header("location", hook.location)
            self.end_headers()
            self.wfile.write(b"secret of the inside")

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), quiet(Handler))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    try:
        with serving(server) as port:
            hook.port = port
            yield hook
    finally:
        stop.set()


def quiet(handler: type[socketserver.BaseRequestHandler]) -> Callable[..., socketserver.BaseRequestHandler]:
    """A client that hangs up is what some tests are about."""

    class Quiet(handler):  # type: ignore[misc, valid-type]
        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                pass  # it was cut off, as it was to be

        def finish(self) -> None:
            try:
                super().finish()
            except OSError:
                pass

    return Quiet


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
