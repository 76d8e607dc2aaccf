"""How long small requests wait while one client sends large ones: plain, compressed, over gRPC, and bombs.

One service with two fronts and a linear model; four clients ask for one row on kept connections, as quickly as they are
answered, beside one that sends the same large request again and again. Printed are the quantiles of the small ones.
`python benchmarks/large_bodies.py [--seconds 8]`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from reliability.trial import Trial
from service import Running

ROWS = 10_000
CLIENTS = 4


def names() -> list[str]:
    draw = random.Random(0)
    return [draw.randbytes(430).hex() for _ in range(ROWS)]


def body() -> bytes:
    """9 MB of JSON, which zlib makes half as long."""
    rows = [{"person": name, "x": float(at)} for at, name in enumerate(names())]
    return json.dumps({"records": rows}).encode()


def call() -> bytes:
    """The same as a message of gRPC."""
    from perennial.serve.protocols.grpc_messages import message

    made = message("ModelInferRequest")(model_name="wage")
    person = made.inputs.add(name="person", datatype="BYTES", shape=[ROWS])
    person.contents.bytes_contents.extend(name.encode() for name in names())
    made.inputs.add(name="x", datatype="FP64", shape=[ROWS]).contents.fp64_contents.extend(map(float, range(ROWS)))
    return made.SerializeToString()


def post(running: Running, data: bytes, **headers: str) -> Callable[[], str]:
    def ask() -> str:
        connection = http.client.HTTPConnection(running.host, running.port, timeout=60)
        try:
            connection.request("POST", "/predict/wage", data, {k.replace("_", "-"): v for k, v in headers.items()})
            response = connection.getresponse()
            response.read()
            return str(response.status)
        finally:
            connection.close()

    return ask


def over_grpc(address: str, data: bytes) -> Callable[[], str]:
    import grpc

    channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    def ask() -> str:
        try:
            return f"OK, {len(infer(data, timeout=60)):,} bytes"
        except grpc.RpcError as error:
            return error.code().name

    return ask


def small(running: Running, seconds: float) -> list[float]:
    """Waiting times of small requests, milliseconds."""
    took: list[float] = []
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(running.host, running.port, timeout=60)
        count = 0
        while time.monotonic() < end:
            count += 1
            data = json.dumps({"records": [{"person": "p", "x": float(number * 1000 + count % 1000)}]})
            began = time.perf_counter()
            connection.request("POST", "/predict/wage", data)
            response = connection.getresponse()
            response.read()
            took.append((time.perf_counter() - began) * 1000)
            if response.status != 200:
                raise SystemExit(f"a small request was answered with {response.status}")
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(took)


def beside(ask: Callable[[], str] | None, measure: Callable[[], list[float]]) -> tuple[list[float], dict[str, int]]:
    """The small ones while somebody asks this again and again, and how that was answered."""
    ending = threading.Event()
    answers: dict[str, int] = {}

    def send() -> None:
        while ask is not None and not ending.is_set():
            said = ask()
            answers[said] = answers.get(said, 0) + 1

    sender = threading.Thread(target=send)
    sender.start()
    took = measure()
    ending.set()
    sender.join()
    return took, answers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8.0)
    seconds: float = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), short=True)
        workspace = trial.workspace()
        workspace.desire(trial.endpoint(live=trial.linear(workspace, 1)))
        with trial.start(workspace, "--fronts", "2", "--grpc-port", "0") as running:
            from perennial.serve.spec import read_status

            status = read_status(workspace.folder / "serving" / "status.json")
            assert status is not None
            plain = body()
            packed = zlib.compress(plain, 9)
            bomb = zlib.compress(b" " * 1_000_000_000, 9)[:5_000_000]
            cases: dict[str, Callable[[], str] | None] = {
                "nobody": None,
                f"plain, {len(plain) / 1e6:.1f} MB": post(running, plain),
                f"deflate, {len(packed) / 1e6:.2f} of {len(plain) / 1e6:.1f} MB": post(
                    running, packed, Content_Encoding="deflate"
                ),
                f"a bomb, {len(bomb) / 1e6:.2f} MB of 1 GB": post(running, bomb, Content_Encoding="deflate"),
                "gRPC, 9 MB": over_grpc(status.grpc, call()),
            }
            print(f"{'beside':<28}{'asked':>8}{'p50':>9}{'p99':>9}{'p99.9':>9}{'longest':>9}  ms; the large ones")
            for name, ask in cases.items():
                if ask is not None:
                    ask()  # the first one starts the process for large requests
                took, answers = beside(ask, lambda: small(running, seconds))
                found = [took[min(len(took) - 1, int(len(took) * q))] for q in (0.5, 0.99, 0.999, 1.0)]
                print(f"{name:<28}{len(took):>8}" + "".join(f"{value:>9.1f}" for value in found) + f"  {answers}")


if __name__ == "__main__":
    main()
