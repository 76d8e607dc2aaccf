"""TLS of the service: one certificate and key, for HTTP and for gRPC.

TLS 1.2 and 1.3, with the ciphers that Python and gRPC choose. The files are read when a front starts, so a renewed
certificate is taken with the next restart of the fronts (SIGHUP), which loses no request.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from perennial.errors import ConfigError

__all__ = ["grpc_tls_of", "tls_of"]


def tls_of(certificate: str, key: str) -> ssl.SSLContext | None:
    """What HTTP needs to speak TLS; None without a certificate.

    Raises:
        ConfigError: One of the files is missing or not what it should be, or they do not belong together.
    """
    if not certificate and not key:
        return None
    if not certificate or not key:
        lacking = "tls_key" if certificate else "tls_certificate"
        raise ConfigError(f"{lacking} is missing", where=certificate or key, remedy="name both files, or neither")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except OSError as error:  # of which ssl's errors are
        raise ConfigError(
            f"the certificate and its key cannot be used: {error}", where=f"{certificate}, {key}",
            remedy="two files in PEM form that belong together, the key without a password",
        ) from error  # fmt: skip
    return context


def grpc_tls_of(certificate: str, key: str) -> Any:
    """What gRPC needs to speak TLS; None without a certificate. Files that `tls_of` has taken are taken here."""
    if not certificate:
        return None
    import grpc

    return grpc.ssl_server_credentials([(Path(key).read_bytes(), Path(certificate).read_bytes())])


def _no_password() -> str:
    raise OSError("the key has a password")
