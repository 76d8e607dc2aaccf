"""An h2o cluster of one process on loopback, for as long as it is needed."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from perennial.errors import ConfigError, UserCodeError
from perennial.models.flavors.h2o_mojo import jar
from perennial.store.scratch import scratch_folder, scratch_of_user

__all__ = ["cluster"]

START_S = 180.0  # a JVM beside busy neighbours takes a minute
END_S = 10.0


@contextmanager
def cluster(*, memory_mib: int = 1024, start_s: float = START_S) -> Generator[str]:
    """Its address, for `h2o.connect(url=...)`; it ends with the block.

    Raises:
        ConfigError: There is no Java. UserCodeError: It does not come up.
    """
    with scratch_folder(scratch_of_user()) as folder:
        port = _free_port()
        command = [
            *(_java(), f"-Xmx{memory_mib}m", "-jar", str(jar())),
            *("-name", f"perennial-{secrets.token_hex(4)}", "-ip", "127.0.0.1", "-web_ip", "127.0.0.1"),
            *("-port", str(port), "-nthreads", "1", "-ice_root", str(folder), "-log_level", "WARN"),
        ]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            _await(process, url, time.monotonic() + start_s)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if found is None:
        raise ConfigError("there is no Java runtime", remedy="install Java 17 (openjdk-17-jre-headless)")
    return found


def _free_port() -> int:
    # h2o takes the port after it as well, so both must be free.
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def _await(process: subprocess.Popen[bytes], url: str, deadline: float) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with opener.open(f"{url}/3/Cloud", timeout=5):  # loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise UserCodeError(
        f"the h2o cluster did not come up (exit code {process.poll()})", remedy="try: java -jar h2o.jar, and read on"
    )
