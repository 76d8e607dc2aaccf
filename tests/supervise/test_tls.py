"""With a certificate among the settings the tree comes up, and predictions are asked over TLS."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.serve.test_tls import certificate


def test_up_is_ready_when_the_service_answers_over_tls(tmp_path: Path) -> None:
    paths = certificate(tmp_path / "tls")
    told = {"PERENNIAL_TLS_CERTIFICATE": str(paths[0]), "PERENNIAL_TLS_KEY": str(paths[1])}
    up = subprocess.Popen(
        [sys.executable, "-m", "perennial", "up", "--json", "--port", "0", "--serving-port", "0"],
        cwd=tmp_path, env=os.environ | told, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert up.stdout is not None
    try:
        address = urlsplit(json.loads(up.stdout.readline())["serving"])
        assert address.scheme == "https"
        context = ssl.create_default_context(cafile=str(paths[0]))
        connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=60, context=context)
        connection.request("GET", "/livez")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        connection.close()
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(90) == 0
        up.stdout.close()
